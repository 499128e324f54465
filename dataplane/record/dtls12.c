// Header, nonce and additional data of DTLS 1.2 records, and the window against replays.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/record/dtls12.h"

#include "common/error.h"
#include "common/secret.h"
#include "dataplane/record/number.h"

#include <string.h>

enum { VERSION = 0xfefd, PLAINTEXT_MAX = 16384, ALERT_FATAL = 2, ALERT_WARNING = 1 };

int dtls12_next(const struct dtls12 *state, struct slice *datagram, struct dtls12_record *record)
{
    if (datagram->len == 0)
        return SAGATE_AGAIN;
    const uint8_t *at = datagram->data;
    bool with_cid = at[0] == DTLS12_CID;
    size_t header = DTLS12_HEADER + (with_cid ? state->cid_in_len : 0U);
    // Without an agreement nobody can say where such a header ends.
    if (datagram->len < header || (with_cid && state->cid_in_len == 0))
        return SAGATE_EMALFORMED;
    size_t len = (size_t)number_get(at + header - 2, 2);
    if (datagram->len - header < len)
        return SAGATE_EMALFORMED;
    *record = (struct dtls12_record){
        .type = at[0],
        .version = (uint16_t)number_get(at + 1, 2),
        .epoch = (uint16_t)number_get(at + 3, 2),
        .sequence = number_get(at + 5, 6),
        .body = slice_of(at + header, len),
    };
    if (with_cid)
        record->cid = slice_of(at + 11, state->cid_in_len);
    *datagram = slice_of(at + header + len, datagram->len - header - len);
    return SAGATE_OK;
}

// RFC 5246 6.2.3.3, RFC 9146 5.3. `len`: of what the AEAD encrypts.
static size_t additional_data(uint8_t *out, uint64_t number, uint8_t type, struct slice cid, size_t len)
{
    uint8_t *at = out;
    if (cid.len > 0) {
        memset(at, 0xff, 8);
        at[8] = DTLS12_CID;
        at[9] = (uint8_t)cid.len;
        at[10] = DTLS12_CID;
        number_put(at + 11, VERSION, 2);
        number_put(at + 13, number, 8);
        memcpy(at + 21, cid.data, cid.len);
        at += 21 + cid.len;
    } else {
        number_put(at, number, 8);
        at[8] = type;
        number_put(at + 9, VERSION, 2);
        at += 11;
    }
    number_put(at, len, 2);
    return (size_t)(at + 2 - out);
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

enum dtls12_verdict dtls12_open_prepare(const struct dtls12 *state, const struct dtls12_record *record, uint8_t *out,
                                        size_t cap, struct dtls12_job *job)
{
    const struct aead_properties *aead = aead_properties(state->aead);
    size_t overhead = (size_t)aead->explicit_nonce + aead->tag;
    if (record->version != VERSION)
        return DTLS12_MALFORMED;
    if (record->epoch != state->next_out >> 48)
        return DTLS12_OTHER_EPOCH;
    if (record->cid.len != state->cid_in_len ||
        (record->cid.len > 0 && !secret_equal(record->cid.data, state->cid_in, state->cid_in_len)))
        return DTLS12_OTHER_CID;
    // With a Connection ID the real type is inside, as the last byte.
    size_t inner = record->cid.len > 0 ? 1 : 0;
    if (record->body.len < overhead + inner || record->body.len - overhead > PLAINTEXT_MAX + inner ||
        record->body.len - overhead > cap)
        return DTLS12_MALFORMED;
    if (number_seen(state->newest, state->window, record->sequence))
        return DTLS12_REPLAYED;
    uint64_t number = (uint64_t)record->epoch << 48 | record->sequence;
    uint8_t implicit[8];
    number_put(implicit, number, 8);
    job->sequence = record->sequence;
    job->type = record->type;
    job->aead = (struct aead_job){
        .aead = state->aead,
        .key = state->key_in,
        .additional = job->additional,
        .in = record->body.data + aead->explicit_nonce,
        .out = out,
        .len = record->body.len - overhead,
    };
    job->aead.additional_len = additional_data(job->additional, number, record->type, record->cid, job->aead.len);
    make_nonce(job->aead.nonce, aead, state->iv_in, aead->explicit_nonce > 0 ? record->body.data : implicit);
    return DTLS12_DATA;
}

static enum dtls12_verdict judge_content(uint8_t type, const uint8_t *data, size_t len)
{
    switch (type) {
    case DTLS12_APPLICATION:
        return DTLS12_DATA;
    case DTLS12_HANDSHAKE:
        return DTLS12_MESSAGE;
    case DTLS12_ALERT:
        if (len != 2 || (data[0] != ALERT_WARNING && data[0] != ALERT_FATAL))
            return DTLS12_UNWANTED;
        if (data[1] == 0)
            return DTLS12_CLOSED;
        return data[0] == ALERT_FATAL ? DTLS12_FATAL : DTLS12_WARNING;
    default:
        return DTLS12_UNWANTED;
    }
}

enum dtls12_verdict dtls12_open_judge(struct dtls12 *state, const struct dtls12_job *job, size_t *len, bool *newest)
{
    *len = 0;
    if (job->aead.result == SAGATE_EINTERNAL)
        return DTLS12_MALFORMED;
    if (job->aead.result != SAGATE_OK) {
        state->failed++;
        return state->failed >= aead_properties(state->aead)->forgery_limit ? DTLS12_EXHAUSTED : DTLS12_FORGED;
    }
    if (number_seen(state->newest, state->window, job->sequence)) // by another record of the same batch
        return DTLS12_REPLAYED;
    if (newest != NULL)
        *newest = job->sequence > state->newest || state->window == 0;
    number_mark(&state->newest, &state->window, job->sequence);
    size_t n = job->aead.len;
    uint8_t type = job->type;
    if (type == DTLS12_CID) { // RFC 9146 5: content, type, zeros
        while (n > 0 && job->aead.out[n - 1] == 0)
            n--;
        if (n == 0)
            return DTLS12_UNWANTED;
        type = job->aead.out[--n];
    }
    enum dtls12_verdict verdict = judge_content(type, job->aead.out, n);
    if (verdict == DTLS12_DATA || verdict == DTLS12_MESSAGE)
        *len = n;
    return verdict;
}

enum dtls12_verdict dtls12_open(struct dtls12 *state, const struct dtls12_record *record, uint8_t *out, size_t cap,
                                size_t *len, bool *newest)
{
    return dtls12_open_ahead(state, record, NULL, out, cap, len, newest);
}

enum dtls12_verdict dtls12_open_ahead(struct dtls12 *state, const struct dtls12_record *record,
                                      const struct dtls12_job *ahead, uint8_t *out, size_t cap, size_t *len,
                                      bool *newest)
{
    struct dtls12_job job;
    *len = 0;
    if (newest != NULL)
        *newest = false;
    enum dtls12_verdict verdict = dtls12_open_prepare(state, record, out, cap, &job);
    if (verdict != DTLS12_DATA)
        return verdict;
    if (ahead != NULL && ahead->aead.result != SAGATE_EINTERNAL && aead_same(&job.aead, &ahead->aead)) {
        job.aead.result = ahead->aead.result;
        memcpy(out, ahead->aead.out, job.aead.len);
    } else {
        struct aead_job *one = &job.aead;
        aead_open(&one, 1);
    }
    return dtls12_open_judge(state, &job, len, newest);
}

size_t dtls12_sealed_len(const struct dtls12 *state, size_t len)
{
    const struct aead_properties *aead = aead_properties(state->aead);
    size_t inner = state->cid_out_len > 0 ? 1 : 0;
    return DTLS12_HEADER + state->cid_out_len + (size_t)aead->explicit_nonce + len + inner + aead->tag;
}

static bool is_used_up(const struct dtls12 *state, uint8_t type)
{
    uint64_t limit = aead_properties(state->aead)->seal_limit;
    if (limit > NUMBER_SEQUENCE_MASK)
        limit = NUMBER_SEQUENCE_MASK;
    if (type != DTLS12_ALERT)
        limit = limit > DTLS12_RESERVE ? limit - DTLS12_RESERVE : 0;
    return (state->next_out & NUMBER_SEQUENCE_MASK) >= limit;
}

int dtls12_seal_prepare(struct dtls12 *state, uint8_t type, const uint8_t *data, size_t len, uint8_t *out, size_t cap,
                        size_t *out_len, struct dtls12_job *job)
{
    const struct aead_properties *aead = aead_properties(state->aead);
    if (len > PLAINTEXT_MAX || dtls12_sealed_len(state, len) > cap)
        return SAGATE_ETOOBIG;
    if (is_used_up(state, type))
        return SAGATE_EGONE;
    uint64_t number = number_next(&state->next_out);
    struct slice cid = slice_of(state->cid_out, state->cid_out_len);
    uint8_t *at = out;
    *at++ = cid.len > 0 ? DTLS12_CID : type;
    number_put(at, VERSION, 2);
    number_put(at + 2, number, 8);
    uint8_t *sent_number = at + 2;
    at += 10;
    if (cid.len > 0) {
        memcpy(at, cid.data, cid.len);
        at += cid.len;
    }
    size_t inner = len + (cid.len > 0 ? 1 : 0);
    number_put(at, aead->explicit_nonce + inner + aead->tag, 2);
    at += 2;
    if (aead->explicit_nonce > 0) {
        memcpy(at, sent_number, 8);
        at += 8;
    }
    const uint8_t *in = data;
    if (cid.len > 0) {
        if (len > 0)
            memcpy(at, data, len);
        at[len] = type;
        in = at;
    }
    job->sequence = number & NUMBER_SEQUENCE_MASK;
    job->type = type;
    job->aead = (struct aead_job){
        .aead = state->aead, .key = state->key_out, .additional = job->additional, .in = in, .out = at, .len = inner};
    job->aead.additional_len = additional_data(job->additional, number, type, cid, inner);
    make_nonce(job->aead.nonce, aead, state->iv_out, sent_number);
    *out_len = (size_t)(at - out) + inner + aead->tag;
    return SAGATE_OK;
}

int dtls12_seal(struct dtls12 *state, uint8_t type, const uint8_t *data, size_t len, uint8_t *out, size_t cap,
                size_t *out_len)
{
    struct dtls12_job job;
    int rc = dtls12_seal_prepare(state, type, data, len, out, cap, out_len, &job);
    if (rc != SAGATE_OK)
        return rc;
    struct aead_job *one = &job.aead;
    aead_seal(&one, 1);
    return job.aead.result;
}
