// The engine over libipsec-mb. AES-CCM is serial within a record, so the library works on several records at a time;
// keys are expanded for each, since nothing but raw keys is kept.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "common/secret.h"
#include "dataplane/record/engine.h"

#include <intel-ipsec-mb.h>

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum {
    ALIGNMENT = 64,
    KEY = 16,               // AES-128
    KEY_EXPANDED = 11 * 16, // FIPS 197 5.2
    ADDITIONAL_MAX = 46,    // what the library takes for CCM
    LEN_MAX = 16384 + 256,  // well below its limit, and no record is longer
    NAME_MAX_LEN = 64,
};

_Static_assert((int)ENGINE_JOBS_MAX <= (int)IMB_MAX_BURST_SIZE, "more do not fit the library's queue");

// What one record needs while it is worked on.
struct lane {
    DECLARE_ALIGNED(uint8_t key[KEY_EXPANDED], 16);
    uint8_t tag[AEAD_TAG_MAX];
};

// All of it is secret: the library's queues hold keys and blocks of plaintext.
struct engine {
    struct lane lanes[ENGINE_JOBS_MAX];
    DECLARE_ALIGNED(uint8_t unused[KEY_EXPANDED], 16); // keys of the inverse cipher, which CCM does without
    IMB_MGR *manager;
    void *allocation;
    size_t used; // lanes with keys in them
};

// The same for all engines of a process.
static char name[NAME_MAX_LEN];

static const char *architecture(const IMB_MGR *manager)
{
    switch ((IMB_ARCH)manager->used_arch) {
    case IMB_ARCH_SSE:
        return "SSE";
    case IMB_ARCH_AVX:
        return "AVX";
    case IMB_ARCH_AVX2:
        return "AVX2";
    case IMB_ARCH_AVX512:
        return (manager->features & IMB_FEATURE_VAES) != 0 ? "AVX512 with VAES" : "AVX512";
    default:
        return NULL; // no AES instructions
    }
}

static size_t aligned(size_t len)
{
    return (len + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

struct engine *engine_new(void)
{
    // Both in one piece: secret_alloc locks whole pages.
    uint8_t *allocation = secret_alloc(ALIGNMENT + aligned(sizeof(struct engine)) + imb_get_mb_mgr_size());
    if (allocation == NULL)
        return NULL;
    struct engine *engine = (struct engine *)(void *)(allocation + ALIGNMENT - (uintptr_t)allocation % ALIGNMENT);
    IMB_ARCH ignored;
    engine->allocation = allocation;
    engine->manager = imb_set_pointers_mb_mgr((uint8_t *)engine + aligned(sizeof *engine), 0, 1);
    if (engine->manager != NULL)
        init_mb_mgr_auto(engine->manager, &ignored);
    if (engine->manager == NULL || imb_get_errno(engine->manager) != 0 || architecture(engine->manager) == NULL) {
        secret_free(allocation);
        return NULL;
    }
    (void)snprintf(name, sizeof name, "libipsec-mb %s, %s", imb_get_version_str(), architecture(engine->manager));
    return engine;
}

void engine_free(struct engine *engine)
{
    if (engine != NULL)
        secret_free(engine->allocation);
}

const char *engine_name(const struct engine *engine)
{
    return engine == NULL ? "wolfCrypt" : name;
}

bool engine_takes(const struct engine *engine, enum aead aead)
{
    return engine != NULL && (aead == AEAD_AES_128_CCM || aead == AEAD_AES_128_CCM_8);
}

static bool is_taken(const struct engine *engine, const struct aead_job *job)
{
    return engine_takes(engine, job->aead) && job->len > 0 && job->len <= LEN_MAX &&
           job->additional_len <= ADDITIONAL_MAX;
}

static void fill(struct engine *engine, IMB_JOB *at, struct lane *lane, struct aead_job *job, bool seal)
{
    size_t tag = aead_properties(job->aead)->tag;
    IMB_AES_KEYEXP_128(engine->manager, job->key, lane->key, engine->unused);
    at->enc_keys = lane->key;
    at->dec_keys = lane->key; // CCM has no other
    at->key_len_in_bytes = KEY;
    at->src = job->in;
    at->dst = job->out;
    at->cipher_start_src_offset_in_bytes = 0;
    at->hash_start_src_offset_in_bytes = 0;
    at->msg_len_to_cipher_in_bytes = job->len;
    at->msg_len_to_hash_in_bytes = job->len;
    at->iv = job->nonce;
    at->iv_len_in_bytes = AEAD_NONCE;
    at->auth_tag_output = seal ? job->out + job->len : lane->tag;
    at->auth_tag_output_len_in_bytes = tag;
    at->u.CCM.aad = job->additional;
    at->u.CCM.aad_len_in_bytes = job->additional_len;
    at->cipher_mode = IMB_CIPHER_CCM;
    at->hash_alg = IMB_AUTH_AES_CCM;
    at->cipher_direction = seal ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
    at->chain_order = seal ? IMB_ORDER_HASH_CIPHER : IMB_ORDER_CIPHER_HASH;
    at->user_data = job;
    at->user_data2 = lane;
    job->result = SAGATE_EINTERNAL;
}

static void finish(const IMB_JOB *at)
{
    struct aead_job *job = at->user_data;
    const struct lane *lane = at->user_data2;
    if (at->status != IMB_STATUS_COMPLETED)
        return;
    job->result = SAGATE_OK;
    if (at->cipher_direction == IMB_DIR_DECRYPT &&
        !secret_equal(lane->tag, job->in + job->len, aead_properties(job->aead)->tag))
        job->result = SAGATE_ERECORD;
}

// At most ENGINE_JOBS_MAX, all of which the library takes.
static void run(struct engine *engine, struct aead_job *const *jobs, size_t count, bool seal)
{
    IMB_MGR *manager = engine->manager;
    IMB_JOB *batch[ENGINE_JOBS_MAX];
    if (IMB_GET_NEXT_BURST(manager, (uint32_t)count, batch) != count) { // cannot be: each batch is flushed
        if (seal)
            aead_seal(jobs, count);
        else
            aead_open(jobs, count);
        return;
    }
    for (size_t i = 0; i < count; i++)
        fill(engine, batch[i], &engine->lanes[i], jobs[i], seal);
    size_t left = count;
    uint32_t done = IMB_SUBMIT_BURST_NOCHECK(manager, (uint32_t)count, batch);
    for (;;) {
        for (uint32_t i = 0; i < done; i++)
            finish(batch[i]);
        left -= done;
        if (left == 0)
            break;
        done = IMB_FLUSH_BURST(manager, (uint32_t)left, batch);
        if (done == 0) // cannot be; what is left has failed
            break;
    }
    for (size_t i = 0; !seal && i < count; i++) {
        if (jobs[i]->result != SAGATE_OK)
            secret_zero(jobs[i]->out, jobs[i]->len); // plaintext that nobody vouches for
    }
    secret_zero(engine->lanes, count * sizeof *engine->lanes);
}

static void run_all(struct engine *engine, struct aead_job *const *jobs, size_t count, bool seal)
{
    struct aead_job *taken[ENGINE_JOBS_MAX];
    void (*serial)(struct aead_job *const *, size_t) = seal ? aead_seal : aead_open;
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (!is_taken(engine, jobs[i])) {
            serial(&jobs[i], 1);
            continue;
        }
        taken[n++] = jobs[i];
        if (n == ENGINE_JOBS_MAX) {
            run(engine, taken, n, seal);
            n = 0;
        }
    }
    if (n >= ENGINE_JOBS_MIN)
        run(engine, taken, n, seal);
    else
        serial(taken, n);
}

void engine_open(struct engine *engine, struct aead_job *const *jobs, size_t count)
{
    run_all(engine, jobs, count, false);
}

void engine_seal(struct engine *engine, struct aead_job *const *jobs, size_t count)
{
    run_all(engine, jobs, count, true);
}
