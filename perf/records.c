// sagate-perf-records: what it costs to open and to seal a record, one after another through wolfCrypt and side by side
// through the engine, by AEAD, length and batch.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/record/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH_MAX = 64, LEN_MAX = 1024, ADDITIONAL = 13, RECORDS = 4096, ROUNDS = 9 };

static struct record_bytes {
    uint8_t key[AEAD_KEY_MAX], additional[ADDITIONAL];
    uint8_t plain[LEN_MAX], sealed[LEN_MAX + AEAD_TAG_MAX], out[LEN_MAX + AEAD_TAG_MAX];
    struct aead_job job;
} records[BATCH_MAX];
static struct aead_job *jobs[BATCH_MAX];

// Of this thread's own work, so that others who use the core disturb little.
static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static void prepare(enum aead aead, size_t len, bool seal)
{
    for (size_t i = 0; i < BATCH_MAX; i++) {
        struct record_bytes *record = &records[i];
        jobs[i] = &record->job;
        record->job = (struct aead_job){
            .aead = aead,
            .key = record->key,
            .additional = record->additional,
            .additional_len = ADDITIONAL,
            .in = record->plain,
            .out = record->sealed,
            .len = len,
        };
        memset(record->key, (int)i + 1, sizeof record->key);
    }
    aead_seal(jobs, BATCH_MAX);
    for (size_t i = 0; i < BATCH_MAX; i++) {
        records[i].job.in = seal ? records[i].plain : records[i].sealed;
        records[i].job.out = records[i].out;
    }
}

// Nanoseconds of a record; the best of some rounds, since a machine has other things to do.
static double measure(struct engine *engine, size_t batch, bool seal)
{
    double best = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t begin = now_ns();
        size_t done = 0;
        for (; done < RECORDS; done += batch) {
            if (seal)
                engine_seal(engine, jobs, batch);
            else
                engine_open(engine, jobs, batch);
        }
        double each = (double)(now_ns() - begin) / (double)done;
        if (best == 0 || each < best)
            best = each;
    }
    for (size_t i = 0; i < batch; i++) {
        if (records[i].job.result != SAGATE_OK) {
            (void)fprintf(stderr, "sagate-perf-records: a record fails\n");
            exit(EXIT_FAILURE);
        }
    }
    return best;
}

int main(void)
{
    static const struct {
        enum aead aead;
        const char *name;
    } aeads[] = {
        {AEAD_AES_128_CCM_8, "AES-128-CCM-8"}, {AEAD_AES_128_GCM, "AES-128-GCM"}, {AEAD_AES_256_GCM, "AES-256-GCM"}};
    static const size_t lens[] = {64, 100, 256, 1024};
    static const size_t batches[] = {1, 2, 3, 4, 6, 8, 16, 32, 64};
    struct engine *engine = engine_new();
    (void)printf("%s; nanoseconds of one record, keys expanded for each\n", engine_name(engine));
    (void)printf("%-14s %-5s %5s %5s %10s %10s\n", "AEAD", "", "bytes", "batch", "wolfCrypt", "engine");
    for (size_t a = 0; a < sizeof aeads / sizeof *aeads; a++) {
        for (size_t l = 0; l < 2 * sizeof lens / sizeof *lens; l++) {
            bool seal = l % 2 == 1;
            size_t len = lens[l / 2];
            prepare(aeads[a].aead, len, seal);
            double serial = measure(NULL, BATCH_MAX, seal);
            for (size_t b = 0; b < sizeof batches / sizeof *batches; b++)
                (void)printf("%-14s %-5s %5zu %5zu %10.0f %10.0f\n", aeads[a].name, seal ? "seal" : "open", len,
                             batches[b], serial, measure(engine, batches[b], seal));
        }
    }
    engine_free(engine);
    return 0;
}
