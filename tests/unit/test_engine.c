// Records side by side and one after another: both ways of working give the same bytes and the same verdicts.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/record/engine.h"
#include "tests/unit/unit.h"

#include <string.h>

enum { JOBS_MAX = 300, LEN_MAX = 16384, ROUNDS = 60, ADDITIONAL_MAX = 60, UNTOUCHED = 0xa5 };

static struct one {
    uint8_t key[AEAD_KEY_MAX], additional[ADDITIONAL_MAX];
    uint8_t in[LEN_MAX + AEAD_TAG_MAX], expected[LEN_MAX + AEAD_TAG_MAX], out[LEN_MAX + AEAD_TAG_MAX + 1];
    struct aead_job job;
} ones[JOBS_MAX];
static struct aead_job *jobs[JOBS_MAX];

// Always the same numbers, so that what fails fails again.
static uint64_t state = 1;
static unsigned draw(unsigned below)
{
    state = state * 6364136223846793005U + 1442695040888963407U;
    return (unsigned)(state >> 33) % below;
}

static void draw_bytes(uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)draw(256);
}

static size_t draw_len(void)
{
    switch (draw(8)) {
    case 0:
        return draw(2); // nothing, or one byte
    case 1:
        return 16 * draw(20); // whole blocks
    case 2:
        return draw(LEN_MAX + 1);
    default:
        return draw(300);
    }
}

static enum aead draw_aead(bool ccm)
{
    static const enum aead ccms[] = {AEAD_AES_128_CCM_8, AEAD_AES_128_CCM};
    return ccm ? ccms[draw(2)] : (enum aead)(1 + draw(AEAD_COUNT - 1));
}

static size_t tag_of(const struct one *one)
{
    return aead_properties(one->job.aead)->tag;
}

static void draw_one(struct one *one, bool ccm)
{
    draw_bytes(one->key, sizeof one->key);
    draw_bytes(one->additional, sizeof one->additional);
    one->job = (struct aead_job){
        .aead = draw_aead(ccm), .key = one->key, .additional = one->additional, .in = one->in, .len = draw_len()};
    // Now and then more than any record has.
    one->job.additional_len = draw(10) == 0 ? draw(ADDITIONAL_MAX + 1) : 5 + draw(35);
    draw_bytes(one->job.nonce, sizeof one->job.nonce);
    draw_bytes(one->in, one->job.len);
}

static void aim(struct one *one, uint8_t *out)
{
    memset(one->out, UNTOUCHED, sizeof one->out);
    one->job.out = out;
    one->job.result = SAGATE_EINTERNAL;
}

// What one way seals the other seals to the same bytes; half of them in place.
static void seal_both(struct engine *engine, size_t count)
{
    for (size_t i = 0; i < count; i++)
        aim(&ones[i], ones[i].expected);
    aead_seal(jobs, count);
    for (size_t i = 0; i < count; i++) {
        struct one *one = &ones[i];
        CU_ASSERT_EQUAL(one->job.result, SAGATE_OK);
        aim(one, one->out);
        if (i % 2 == 1) {
            memcpy(one->out, one->in, one->job.len);
            one->job.in = one->out;
        }
    }
    engine_seal(engine, jobs, count);
    for (size_t i = 0; i < count; i++) {
        const struct one *one = &ones[i];
        size_t len = one->job.len + tag_of(one);
        CU_ASSERT_EQUAL(one->job.result, SAGATE_OK);
        CU_ASSERT_EQUAL(memcmp(one->out, one->expected, len), 0);
        CU_ASSERT_EQUAL(one->out[len], UNTOUCHED);
    }
}

// Spoils one bit of what came: of the tag mostly, else of the ciphertext, the nonce, the additional data or the key.
static void spoil(struct one *one)
{
    uint8_t bit = (uint8_t)(1U << draw(8));
    switch (draw(6)) {
    case 0:
        one->job.nonce[draw(AEAD_NONCE)] ^= bit;
        break;
    case 1:
        one->additional[draw(5)] ^= bit; // there are at least so many, but for the rare ones
        if (one->job.additional_len < 5)
            one->expected[one->job.len] ^= bit;
        break;
    case 2:
        one->key[draw(16)] ^= bit;
        break;
    case 3:
        one->expected[draw((unsigned)one->job.len + 1)] ^= bit; // or the first byte of the tag
        break;
    default:
        one->expected[one->job.len + draw((unsigned)tag_of(one))] ^= bit;
        break;
    }
}

// What one way sealed the other opens, and refuses when it was spoiled; nothing is left of the plaintext then.
static void open_all(struct engine *engine, size_t count)
{
    static const uint8_t zeros[LEN_MAX];
    bool spoiled[JOBS_MAX] = {false};
    for (size_t i = 0; i < count; i++) {
        struct one *one = &ones[i];
        spoiled[i] = draw(3) == 0;
        aim(one, one->out);
        if (spoiled[i])
            spoil(one);
        one->job.in = one->expected;
        if (i % 2 == 1) {
            memcpy(one->out, one->expected, one->job.len + tag_of(one));
            one->job.in = one->out;
        }
    }
    engine_open(engine, jobs, count);
    for (size_t i = 0; i < count; i++) {
        const struct one *one = &ones[i];
        CU_ASSERT_EQUAL(one->job.result, spoiled[i] ? SAGATE_ERECORD : SAGATE_OK);
        CU_ASSERT_EQUAL(memcmp(one->out, spoiled[i] ? zeros : one->in, one->job.len), 0);
    }
}

static void compare(struct engine *engine)
{
    static const size_t counts[] = {1, 2, 3, 4, 5, 8, 15, 16, 17, 33, 64, 127, 128, 129, JOBS_MAX};
    for (size_t i = 0; i < JOBS_MAX; i++)
        jobs[i] = &ones[i].job;
    for (unsigned round = 0; round < ROUNDS; round++) {
        size_t count = counts[round % (sizeof counts / sizeof *counts)];
        for (size_t i = 0; i < count; i++)
            draw_one(&ones[i], round % 2 == 0);
        seal_both(engine, count);
        open_all(engine, count);
    }
}

static void both_ways_agree(void)
{
    struct engine *engine = engine_new();
    (void)printf("(%s) ", engine_name(engine));
    compare(engine);
    engine_free(engine);
}

static void without_an_engine(void)
{
    compare(NULL);
    CU_ASSERT_STRING_EQUAL(engine_name(NULL), "wolfCrypt");
    CU_ASSERT_FALSE(engine_takes(NULL, AEAD_AES_128_CCM_8));
    engine_free(NULL);
}

// One that fails leaves no trace in the scratch memory that the next batch uses.
static void batches_do_not_disturb_each_other(void)
{
    struct engine *engines[2] = {engine_new(), engine_new()};
    for (size_t i = 0; i < JOBS_MAX; i++)
        jobs[i] = &ones[i].job;
    for (unsigned round = 0; round < 20; round++) {
        for (size_t i = 0; i < 8; i++)
            draw_one(&ones[i], true);
        seal_both(engines[round % 2], 8);
        open_all(engines[(round + 1) % 2], 8);
    }
    engine_free(engines[0]);
    engine_free(engines[1]);
}

static const struct unit_test tests[] = {
    {"side by side gives what one after another gives", both_ways_agree},
    {"without an engine the same", without_an_engine},
    {"batches and engines do not disturb each other", batches_do_not_disturb_each_other},
};
UNIT_MAIN("engine", tests)
