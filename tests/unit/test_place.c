// State that outlives its process: a child opens and seals over shared memory, is killed wherever it is, and the next
// one goes on. No number is used twice to seal, and no record is taken twice.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/record/number.h"
#include "dataplane/record/record.h"
#include "tests/unit/unit.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 100, RECORDS = 60000, RECORD = 48, AGAIN = 100, START_MAX = 50000 };

struct shared {
    _Atomic uint32_t started; // children that have begun to take records
    struct record_flight flight;
    union record_keys keys;
    volatile uint64_t sent;     // the highest number that a record left with
    volatile uint32_t repeated; // records that left with one that is not higher
    volatile uint32_t offered;  // the next of the records below
    volatile uint8_t taken[RECORDS];
    uint8_t records[RECORDS][RECORD]; // of the peer
    size_t len;
};

struct child {
    struct shared *shared;
    enum record_kind kind;
    struct dtls13 peer;
};

static int note(void *context, const uint8_t *data, size_t len)
{
    struct child *child = context;
    struct shared *shared = child->shared;
    uint64_t number = 0;
    if (child->kind == RECORD_DTLS13) {
        struct slice rest = slice_of(data, len);
        struct dtls13_record record;
        struct dtls13_opened opened;
        uint8_t out[RECORD];
        if (dtls13_next(0, &rest, &record) == SAGATE_OK &&
            dtls13_open(&child->peer, &record, out, sizeof out, &opened) == DTLS13_DATA)
            number = opened.number;
    } else {
        number = number_get(data + 3, 8);
    }
    if (number <= shared->sent)
        shared->repeated++;
    shared->sent = number;
    return SAGATE_OK;
}

static _Noreturn void serve(struct shared *shared, enum record_kind kind)
{
    struct child child = {.shared = shared, .kind = kind};
    const struct record_place place = {.flight = &shared->flight, .keys = &shared->keys};
    const struct handshake_sink sink = {.send = note, .context = &child};
    struct record *record = record_resume(kind, &place, &sink);
    if (record == NULL)
        _exit(EXIT_FAILURE);
    if (kind == RECORD_DTLS13) {
        dtls13_mirror(&child.peer, &shared->keys.dtls13);
        child.peer.newest = shared->keys.dtls13.next_out;
    }
    shared->started++;
    uint32_t i = shared->offered > AGAIN ? shared->offered - AGAIN : 0; // what may have been taken is offered again
    for (; i < RECORDS; i++) {
        uint8_t out[RECORD];
        int status;
        (void)record_lend(record, shared->records[i], shared->len);
        (void)record_open(record, out, sizeof out, &status);
        if (status == SAGATE_OK)
            shared->taken[i]++;
        if (i >= shared->offered)
            shared->offered = i + 1;
        (void)record_seal(record, (const uint8_t *)"answer", 6);
    }
    for (;;)
        (void)pause();
}

static void run(struct shared *shared, enum record_kind kind)
{
    for (int round = 0; round < ROUNDS; round++) {
        uint32_t started = shared->started;
        pid_t pid = fork();
        CU_ASSERT_TRUE_FATAL(pid >= 0);
        if (pid == 0)
            serve(shared, kind);
        // In every second round it dies at work, however long the machine takes to start it; in the others at any time.
        for (int waited = 0; round % 2 == 0 && shared->started == started && waited < START_MAX; waited++)
            (void)usleep(100);
        (void)usleep((useconds_t)(rand() % 1500)); // NOLINT: any time will do
        (void)kill(pid, SIGKILL);
        int status = 0;
        CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
        CU_ASSERT_TRUE(WIFSIGNALED(status)); // else it could not go on
    }
    uint32_t taken = 0;
    for (size_t i = 0; i < RECORDS; i++) {
        CU_ASSERT_TRUE(shared->taken[i] <= 1);
        taken += shared->taken[i];
    }
    CU_ASSERT_TRUE(taken > 0 && taken <= shared->offered);
    CU_ASSERT_TRUE(shared->sent > 0);
    CU_ASSERT_EQUAL(shared->repeated, 0);
}

static struct shared *map(void)
{
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CU_ASSERT_TRUE_FATAL(shared != MAP_FAILED);
    return shared;
}

static void dtls12_survives(void)
{
    struct shared *shared = map();
    struct dtls12 client = {.aead = AEAD_AES_128_CCM_8, .next_out = 1ULL << 48};
    for (size_t i = 0; i < RECORDS; i++)
        CU_ASSERT_EQUAL_FATAL(dtls12_seal(&client, DTLS12_APPLICATION, (const uint8_t *)"hello", 5, shared->records[i],
                                          RECORD, &shared->len),
                              SAGATE_OK);
    shared->keys.dtls12 = (struct dtls12){.aead = AEAD_AES_128_CCM_8, .next_out = 1ULL << 48};
    run(shared, RECORD_DTLS12);
    (void)munmap(shared, sizeof *shared);
}

static void dtls13_survives(void)
{
    struct shared *shared = map();
    static const uint8_t secret[DTLS13_SECRET_MAX] = {1};
    struct dtls13 client;
    CU_ASSERT_EQUAL_FATAL(dtls13_init(&shared->keys.dtls13, AEAD_AES_128_GCM, DTLS13_EPOCH_FIRST, secret, secret,
                                      slice_of(secret, 0), slice_of(secret, 0)),
                          SAGATE_OK);
    dtls13_mirror(&client, &shared->keys.dtls13);
    for (size_t i = 0; i < RECORDS; i++)
        CU_ASSERT_EQUAL_FATAL(dtls13_seal(&client, DTLS13_APPLICATION, (const uint8_t *)"hello", 5, shared->records[i],
                                          RECORD, &shared->len),
                              SAGATE_OK);
    run(shared, RECORD_DTLS13);
    (void)munmap(shared, sizeof *shared);
}

static const struct unit_test tests[] = {
    {"DTLS 1.2 survives", dtls12_survives},
    {"DTLS 1.3 survives", dtls13_survives},
};

UNIT_MAIN("place", tests)
