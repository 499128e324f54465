// Header, nonce and additional data of TLS 1.2 records.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/record/tls12.h"

#include "common/error.h"

#include <string.h>

enum { ADDITIONAL = 13 };

// RFC 5246 6.2.3.3
static void additional_data(uint8_t out[ADDITIONAL], uint64_t number, uint8_t type, size_t len)
{
    tls_put(out, number, 8);
    out[8] = type;
    tls_put(out + 9, TLS_VERSION, 2);
    tls_put(out + 11, len, 2);
}

// RFC 5288 3 and RFC 6655 3: salt and explicit part; RFC 7905 2: IV and number combined.
static void make_nonce(uint8_t nonce[AEAD_NONCE], const struct aead_properties *aead, const uint8_t *iv,
                       const uint8_t number[8])
{
    memcpy(nonce, iv, aead->iv);
    if (aead->explicit_nonce > 0) {
        memcpy(nonce + aead->iv, number, 8);
        return;
    }
    for (size_t i = 0; i < 8; i++)
        nonce[AEAD_NONCE - 8 + i] ^= number[i];
}

int tls12_open(struct tls12 *state, const struct tls_record *record, uint8_t *out, size_t cap, size_t *len)
{
    const struct aead_properties *aead = aead_properties(state->aead);
    size_t overhead = (size_t)aead->explicit_nonce + aead->tag;
    uint8_t additional[ADDITIONAL];
    uint8_t number[8];
    *len = 0;
    if (record->version != TLS_VERSION)
        return SAGATE_EVERSION;
    if (record->body.len < overhead)
        return SAGATE_ERECORD;
    size_t inner = record->body.len - overhead;
    if (inner > TLS_PLAINTEXT_MAX || inner > cap)
        return SAGATE_ETOOBIG;
    tls_put(number, state->next_in, 8);
    additional_data(additional, state->next_in, record->type, inner);
    struct aead_job job = {
        .aead = state->aead,
        .key = state->key_in,
        .additional = additional,
        .additional_len = sizeof additional,
        .in = record->body.data + aead->explicit_nonce,
        .out = out,
        .len = inner,
    };
    make_nonce(job.nonce, aead, state->iv_in, aead->explicit_nonce > 0 ? record->body.data : number);
    struct aead_job *one = &job;
    aead_open(&one, 1);
    if (job.result != SAGATE_OK)
        return job.result;
    state->next_in++;
    *len = inner;
    return SAGATE_OK;
}

size_t tls12_sealed_len(const struct tls12 *state, size_t len)
{
    const struct aead_properties *aead = aead_properties(state->aead);
    return TLS_HEADER + (size_t)aead->explicit_nonce + len + aead->tag;
}

int tls12_seal(struct tls12 *state, uint8_t type, const uint8_t *data, size_t len, uint8_t *out, size_t cap,
               size_t *out_len)
{
    const struct aead_properties *aead = aead_properties(state->aead);
    uint8_t additional[ADDITIONAL];
    uint8_t number[8];
    if (len > TLS_PLAINTEXT_MAX || tls12_sealed_len(state, len) > cap)
        return SAGATE_ETOOBIG;
    if (state->next_out >= aead->seal_limit - (type == TLS_ALERT ? 0 : TLS_RESERVE))
        return SAGATE_EGONE;
    tls_put(number, state->next_out, 8);
    additional_data(additional, state->next_out, type, len);
    state->next_out++;
    out[0] = type;
    tls_put(out + 1, TLS_VERSION, 2);
    tls_put(out + 3, aead->explicit_nonce + len + aead->tag, 2);
    memcpy(out + TLS_HEADER, number, aead->explicit_nonce);
    struct aead_job job = {
        .aead = state->aead,
        .key = state->key_out,
        .additional = additional,
        .additional_len = sizeof additional,
        .in = data,
        .out = out + TLS_HEADER + aead->explicit_nonce,
        .len = len,
    };
    make_nonce(job.nonce, aead, state->iv_out, number);
    struct aead_job *one = &job;
    aead_seal(&one, 1);
    *out_len = tls12_sealed_len(state, len);
    return job.result;
}
