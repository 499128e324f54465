// AEADs by wolfCrypt, one record after another. Keys are expanded for each record, so that nothing but raw keys is
// kept. SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/record/aead.h"

#include "common/error.h"
#include "common/secret.h"

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/aes.h>
#include <wolfssl/wolfcrypt/chacha20_poly1305.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#include <string.h>

// Limits. GCM: 2^24.5 records sealed (RFC 8446 5.5), 2^36 forgeries (RFC 9147 4.5.3). CCM: 2^23 and 2^23.5 (RFC 9147
// appendix B). ChaCha20-Poly1305: only sequence numbers bound what is sealed. AES-128-CCM-8: the confidentiality limit
// is that of CCM; for forgeries RFC 9147 leaves the number to the implementation, since the 2^7 of its appendix B.3
// would let anybody who forges an address end the association. 2^23.5 is taken here: the chance that any forgery
// succeeds with one key stays below 2^-40, and ending one association takes more than eleven million datagrams.
#define LIMIT_2_23   8388608U
#define LIMIT_2_23_5 11863283U
#define LIMIT_2_24_5 23726566U
#define LIMIT_2_36   (1ULL << 36)
#define LIMIT_2_48   (1ULL << 48)

const struct aead_properties *aead_properties(enum aead aead)
{
    static const struct aead_properties properties[AEAD_COUNT] = {
        [AEAD_AES_128_GCM] = {16, 16, 4, 8, LIMIT_2_24_5, LIMIT_2_36},
        [AEAD_AES_256_GCM] = {32, 16, 4, 8, LIMIT_2_24_5, LIMIT_2_36},
        [AEAD_AES_128_CCM] = {16, 16, 4, 8, LIMIT_2_23, LIMIT_2_23_5},
        [AEAD_AES_128_CCM_8] = {16, 8, 4, 8, LIMIT_2_23, LIMIT_2_23_5},
        [AEAD_CHACHA20_POLY1305] = {32, 16, 12, 0, LIMIT_2_48, LIMIT_2_36},
    };
    return &properties[aead < AEAD_COUNT ? aead : AEAD_NONE];
}

// To make the library's object anew for each record costs more than to wipe what a record's key leaves in it.
static _Thread_local Aes thread_aes;
static _Thread_local bool thread_aes_ready;

static bool is_ccm(const struct aead_job *job)
{
    return job->aead == AEAD_AES_128_CCM || job->aead == AEAD_AES_128_CCM_8;
}

// The thread's object with the key of a job; NULL: the library refuses it.
static Aes *begin_aes(const struct aead_job *job, size_t key)
{
    Aes *aes = &thread_aes;
    if (!thread_aes_ready && wc_AesInit(aes, NULL, INVALID_DEVID) != 0)
        return NULL;
    thread_aes_ready = true;
    int rc = is_ccm(job) ? wc_AesCcmSetKey(aes, job->key, (word32)key) : wc_AesGcmSetKey(aes, job->key, (word32)key);
    return rc == 0 ? aes : NULL;
}

static void end_aes(const struct aead_job *job)
{
    secret_zero(thread_aes.key, sizeof thread_aes.key);
    if (!is_ccm(job))
        secret_zero(&thread_aes.gcm, sizeof thread_aes.gcm);
}

static int seal_aes(const struct aead_job *job, size_t key, size_t tag)
{
    int rc = BAD_FUNC_ARG;
    Aes *aes = begin_aes(job, key);
    if (aes != NULL && is_ccm(job))
        rc = wc_AesCcmEncrypt(aes, job->out, job->in, (word32)job->len, job->nonce, AEAD_NONCE, job->out + job->len,
                              (word32)tag, job->additional, (word32)job->additional_len);
    else if (aes != NULL)
        rc = wc_AesGcmEncrypt(aes, job->out, job->in, (word32)job->len, job->nonce, AEAD_NONCE, job->out + job->len,
                              (word32)tag, job->additional, (word32)job->additional_len);
    end_aes(job);
    return rc;
}

static int open_aes(const struct aead_job *job, size_t key, size_t tag)
{
    int rc = BAD_FUNC_ARG;
    Aes *aes = begin_aes(job, key);
    if (aes != NULL && is_ccm(job))
        rc = wc_AesCcmDecrypt(aes, job->out, job->in, (word32)job->len, job->nonce, AEAD_NONCE, job->in + job->len,
                              (word32)tag, job->additional, (word32)job->additional_len);
    else if (aes != NULL)
        rc = wc_AesGcmDecrypt(aes, job->out, job->in, (word32)job->len, job->nonce, AEAD_NONCE, job->in + job->len,
                              (word32)tag, job->additional, (word32)job->additional_len);
    end_aes(job);
    return rc;
}

static int seal_one(const struct aead_job *job)
{
    const struct aead_properties *properties = aead_properties(job->aead);
    if (job->aead == AEAD_CHACHA20_POLY1305)
        return wc_ChaCha20Poly1305_Encrypt(job->key, job->nonce, job->additional, (word32)job->additional_len, job->in,
                                           (word32)job->len, job->out, job->out + job->len);
    return properties->key == 0 ? BAD_FUNC_ARG : seal_aes(job, properties->key, properties->tag);
}

static int open_one(const struct aead_job *job)
{
    const struct aead_properties *properties = aead_properties(job->aead);
    if (job->aead == AEAD_CHACHA20_POLY1305)
        return wc_ChaCha20Poly1305_Decrypt(job->key, job->nonce, job->additional, (word32)job->additional_len, job->in,
                                           (word32)job->len, job->in + job->len, job->out);
    return properties->key == 0 ? BAD_FUNC_ARG : open_aes(job, properties->key, properties->tag);
}

void aead_seal(struct aead_job *const *jobs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        jobs[i]->result = seal_one(jobs[i]) == 0 ? SAGATE_OK : SAGATE_EINTERNAL;
}

void aead_open(struct aead_job *const *jobs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct aead_job *job = jobs[i];
        switch (open_one(job)) {
        case 0:
            job->result = SAGATE_OK;
            continue;
        case WC_NO_ERR_TRACE(AES_GCM_AUTH_E):
        case WC_NO_ERR_TRACE(AES_CCM_AUTH_E):
        case WC_NO_ERR_TRACE(MAC_CMP_FAILED_E):
            job->result = SAGATE_ERECORD;
            break;
        default:
            job->result = SAGATE_EINTERNAL;
            break;
        }
        secret_zero(job->out, job->len); // plaintext that nobody vouches for
    }
}

bool aead_same(const struct aead_job *job, const struct aead_job *done)
{
    return job->aead == done->aead && job->key == done->key && job->in == done->in && job->len == done->len &&
           job->additional_len == done->additional_len && memcmp(job->nonce, done->nonce, sizeof job->nonce) == 0 &&
           memcmp(job->additional, done->additional, job->additional_len) == 0;
}
