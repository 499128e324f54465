// Key derivation, nonces and inner plaintext of TLS 1.3 records.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/record/tls13.h"

#include "common/error.h"
#include "common/secret.h"

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/hmac.h>
#include <wolfssl/wolfcrypt/kdf.h>

#include <string.h>

// RFC 8446 7.1, with an empty context.
static int expand(const struct tls13 *state, const uint8_t *secret, const char *label, uint8_t *out, size_t len)
{
    static const uint8_t prefix[] = "tls13 ";
    int hash = state->secret_len == WC_SHA384_DIGEST_SIZE ? WC_SHA384 : WC_SHA256;
    int rc = wc_Tls13_HKDF_Expand_Label(out, (word32)len, secret, state->secret_len, prefix, sizeof prefix - 1,
                                        (const uint8_t *)label, (word32)strlen(label), NULL, 0, hash);
    return rc == 0 ? SAGATE_OK : SAGATE_EINTERNAL;
}

static int make_keys(const struct tls13 *state, struct tls13_half *half) // 7.3
{
    int rc = expand(state, half->secret, "key", half->key, aead_properties(state->aead)->key);
    if (rc == SAGATE_OK)
        rc = expand(state, half->secret, "iv", half->iv, sizeof half->iv);
    half->next = 0;
    return rc;
}

int tls13_init(struct tls13 *state, enum aead aead, const uint8_t *secret_in, const uint8_t *secret_out,
               size_t secret_len)
{
    bool known = secret_len == WC_SHA256_DIGEST_SIZE || secret_len == WC_SHA384_DIGEST_SIZE;
    if (!known || aead_properties(aead)->key == 0)
        return SAGATE_EINVAL;
    *state = (struct tls13){.aead = (uint8_t)aead, .secret_len = (uint8_t)secret_len};
    memcpy(state->in.secret, secret_in, secret_len);
    memcpy(state->out.secret, secret_out, secret_len);
    int rc = make_keys(state, &state->in);
    return rc == SAGATE_OK ? make_keys(state, &state->out) : rc;
}

int tls13_update(const struct tls13 *state, struct tls13_half *half) // 7.2
{
    uint8_t next[TLS13_SECRET_MAX];
    int rc = expand(state, half->secret, "traffic upd", next, state->secret_len);
    if (rc == SAGATE_OK) {
        memcpy(half->secret, next, state->secret_len);
        rc = make_keys(state, half);
    }
    secret_zero(next, sizeof next);
    return rc;
}

bool tls13_is_due(const struct tls13 *state)
{
    return state->out.next >= aead_properties(state->aead)->seal_limit - TLS_RESERVE;
}

static void make_nonce(uint8_t nonce[AEAD_NONCE], const struct tls13_half *half) // 5.3
{
    uint8_t number[8];
    tls_put(number, half->next, sizeof number);
    memcpy(nonce, half->iv, AEAD_NONCE);
    for (size_t i = 0; i < sizeof number; i++)
        nonce[AEAD_NONCE - sizeof number + i] ^= number[i];
}

int tls13_open(struct tls13 *state, const struct tls_record *record, uint8_t *out, size_t cap, uint8_t *type,
               size_t *len)
{
    size_t tag = aead_properties(state->aead)->tag;
    *len = 0;
    if (record->type != TLS_APPLICATION)
        return SAGATE_EMALFORMED;
    if (record->body.len < tag)
        return SAGATE_ERECORD;
    size_t inner = record->body.len - tag;
    if (inner > TLS13_INNER_MAX || inner > cap)
        return SAGATE_ETOOBIG;
    struct aead_job job = {
        .aead = state->aead,
        .key = state->in.key,
        .additional = record->header.data,
        .additional_len = record->header.len,
        .in = record->body.data,
        .out = out,
        .len = inner,
    };
    make_nonce(job.nonce, &state->in);
    struct aead_job *one = &job;
    aead_open(&one, 1);
    if (job.result != SAGATE_OK)
        return job.result;
    state->in.next++;
    while (inner > 0 && out[inner - 1] == 0) // 5.4
        inner--;
    if (inner == 0)
        return SAGATE_EMALFORMED;
    *type = out[inner - 1];
    *len = inner - 1;
    return SAGATE_OK;
}

size_t tls13_sealed_len(const struct tls13 *state, size_t len)
{
    return TLS_HEADER + len + 1 + aead_properties(state->aead)->tag;
}

int tls13_seal(struct tls13 *state, uint8_t type, const uint8_t *data, size_t len, uint8_t *out, size_t cap,
               size_t *out_len)
{
    const struct aead_properties *aead = aead_properties(state->aead);
    size_t need = tls13_sealed_len(state, len);
    if (len > TLS_PLAINTEXT_MAX || need > cap)
        return SAGATE_ETOOBIG;
    if (state->out.next >= aead->seal_limit - (type == TLS_APPLICATION ? TLS_RESERVE : 0))
        return SAGATE_EGONE;
    uint8_t *inner = out + TLS_HEADER;
    out[0] = TLS_APPLICATION;
    tls_put(out + 1, TLS_VERSION, 2);
    tls_put(out + 3, need - TLS_HEADER, 2);
    if (len > 0)
        memcpy(inner, data, len);
    inner[len] = type;
    struct aead_job job = {
        .aead = state->aead,
        .key = state->out.key,
        .additional = out,
        .additional_len = TLS_HEADER,
        .in = inner,
        .out = inner,
        .len = len + 1,
    };
    make_nonce(job.nonce, &state->out);
    state->out.next++;
    struct aead_job *one = &job;
    aead_seal(&one, 1);
    *out_len = need;
    return job.result;
}
