// Header, record number, nonce and key schedule of DTLS 1.3 records.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/record/dtls13.h"

#include "common/error.h"
#include "common/secret.h"
#include "dataplane/record/number.h"

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/aes.h>
#include <wolfssl/wolfcrypt/chacha.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/kdf.h>

#include <string.h>

enum {
    PLAINTEXT_MAX = 16384,
    CLEAR_HEADER = 13, // of a DTLSPlaintext
    FIXED = 0x20,      // bits of the unified header (RFC 9147 4)
    FIXED_MASK = 0xe0,
    WITH_CID = 0x10,
    LONG_NUMBER = 0x08,
    WITH_LENGTH = 0x04,
    EPOCH_MASK = 0x03,
    EPOCH_LAST = UINT16_MAX,
    ALERT_CLOSE_NOTIFY = 0,
    ALERT_USER_CANCELED = 90,
};

enum way { WAY_IN, WAY_OUT };

// --- where things lie --------------------------------------------------------------------------------------------

size_t dtls13_secret_len(enum aead aead)
{
    if (aead_properties(aead)->key == 0)
        return 0;
    return aead == AEAD_AES_256_GCM ? 48 : 32; // RFC 8446 B.4
}

struct layout {
    size_t key, secret; // bytes
    size_t number_key;  // bytes, 0: left out
    size_t way;         // all of one way
    size_t cids, end;   // where the Connection IDs begin and end
};

static struct layout layout_for(enum aead aead, size_t cids)
{
    struct layout layout = {.key = aead_properties(aead)->key, .secret = dtls13_secret_len(aead)};
    layout.number_key = layout.key;
    layout.way = 2 * layout.key + AEAD_IV_MAX + layout.secret;
    if (2 * layout.way + cids > DTLS13_BYTES) {
        layout.number_key = 0;
        layout.way -= layout.key;
    }
    layout.cids = 2 * layout.way;
    layout.end = layout.cids + cids;
    return layout;
}

static struct layout layout_of(const struct dtls13 *state)
{
    return layout_for(state->aead, (size_t)state->cid_in_len + state->cid_out_len);
}

void dtls13_change(struct dtls13 *state)
{
    state->flags |= DTLS13_CHANGING;
    atomic_signal_fence(memory_order_seq_cst);
}

static void changed(struct dtls13 *state, uint8_t done)
{
    atomic_signal_fence(memory_order_seq_cst);
    state->flags &= (uint8_t) ~(done | DTLS13_CHANGING);
}

struct slice dtls13_cid_in(const struct dtls13 *state)
{
    return slice_of(state->bytes + layout_of(state).cids, state->cid_in_len);
}

struct slice dtls13_cid_out(const struct dtls13 *state)
{
    return slice_of(state->bytes + layout_of(state).cids + state->cid_in_len, state->cid_out_len);
}

bool dtls13_set_cid_out(struct dtls13 *state, struct slice cid)
{
    struct layout now = layout_of(state);
    if (cid.len > DTLS13_CID_MAX)
        return false;
    struct layout then = layout_for(state->aead, state->cid_in_len + cid.len);
    if (then.way != now.way || then.end > DTLS13_BYTES)
        return false;
    dtls13_change(state);
    memset(state->bytes + now.cids + state->cid_in_len, 0, state->cid_out_len);
    memcpy(state->bytes + now.cids + state->cid_in_len, cid.data, cid.len);
    state->cid_out_len = (uint8_t)cid.len;
    changed(state, 0);
    return true;
}

bool dtls13_is_sane(const struct dtls13 *state)
{
    return dtls13_secret_len(state->aead) > 0 && state->cid_in_len <= DTLS13_CID_MAX &&
           state->cid_out_len <= DTLS13_CID_MAX && layout_of(state).end <= DTLS13_BYTES &&
           (state->flags & ~(DTLS13_UPDATE_IN | DTLS13_UPDATE_OUT)) == 0 &&
           state->newest >> NUMBER_EPOCH_SHIFT >= DTLS13_EPOCH_FIRST &&
           state->next_out >> NUMBER_EPOCH_SHIFT >= DTLS13_EPOCH_FIRST;
}

// --- key schedule ------------------------------------------------------------------------------------------------

// HKDF-Expand-Label with the prefix of RFC 9147 5.9 and no context.
static bool expand(enum aead aead, const uint8_t *secret, const char *label, uint8_t *out, size_t len)
{
    static const uint8_t protocol[] = {'d', 't', 'l', 's', '1', '3'};
    static const uint8_t no_context[1];
    size_t secret_len = dtls13_secret_len(aead);
    return wc_Tls13_HKDF_Expand_Label(out, (word32)len, secret, (word32)secret_len, protocol, sizeof protocol,
                                      (const byte *)label, (word32)strlen(label), no_context, 0,
                                      secret_len == 48 ? WC_SHA384 : WC_SHA256) == 0;
}

struct keys { // of one way and epoch
    uint8_t key[AEAD_KEY_MAX], iv[AEAD_IV_MAX], number_key[AEAD_KEY_MAX], secret[DTLS13_SECRET_MAX];
};

static bool derive(enum aead aead, struct keys *keys)
{
    size_t key = aead_properties(aead)->key;
    return expand(aead, keys->secret, "key", keys->key, key) &&
           expand(aead, keys->secret, "iv", keys->iv, AEAD_IV_MAX) &&
           expand(aead, keys->secret, "sn", keys->number_key, key);
}

static void keys_store(struct dtls13 *state, enum way way, const struct keys *keys)
{
    struct layout layout = layout_of(state);
    uint8_t *at = state->bytes + (size_t)way * layout.way;
    memcpy(at, keys->key, layout.key);
    at += layout.key;
    memcpy(at, keys->iv, AEAD_IV_MAX);
    at += AEAD_IV_MAX;
    memcpy(at, keys->number_key, layout.number_key);
    at += layout.number_key;
    memcpy(at, keys->secret, layout.secret);
}

static bool keys_load(const struct dtls13 *state, enum way way, struct keys *keys)
{
    struct layout layout = layout_of(state);
    const uint8_t *at = state->bytes + (size_t)way * layout.way;
    memcpy(keys->key, at, layout.key);
    at += layout.key;
    memcpy(keys->iv, at, AEAD_IV_MAX);
    at += AEAD_IV_MAX;
    memcpy(keys->secret, at + layout.number_key, layout.secret);
    if (layout.number_key == 0)
        return expand(state->aead, keys->secret, "sn", keys->number_key, layout.key);
    memcpy(keys->number_key, at, layout.number_key);
    return true;
}

// The keys of the next epoch (RFC 8446 7.2).
static bool keys_next(const struct dtls13 *state, enum way way, struct keys *next)
{
    struct layout layout = layout_of(state);
    const uint8_t *secret = state->bytes + (size_t)(way + 1) * layout.way - layout.secret;
    return expand(state->aead, secret, "traffic upd", next->secret, layout.secret) && derive(state->aead, next);
}

static bool install(struct dtls13 *state, enum way way, const uint8_t *secret)
{
    struct keys keys;
    memcpy(keys.secret, secret, dtls13_secret_len(state->aead));
    bool ok = derive(state->aead, &keys);
    if (ok)
        keys_store(state, way, &keys);
    secret_zero(&keys, sizeof keys);
    return ok;
}

int dtls13_init(struct dtls13 *state, enum aead aead, uint16_t epoch, const uint8_t *secret_in,
                const uint8_t *secret_out, struct slice cid_in, struct slice cid_out)
{
    if (dtls13_secret_len(aead) == 0 || cid_in.len > DTLS13_CID_MAX || cid_out.len > DTLS13_CID_MAX)
        return SAGATE_EINVAL;
    state->aead = (uint8_t)aead;
    state->cid_in_len = (uint8_t)cid_in.len;
    state->cid_out_len = (uint8_t)cid_out.len;
    state->next_out = state->newest = (uint64_t)epoch << NUMBER_EPOCH_SHIFT;
    uint8_t *cids = state->bytes + layout_of(state).cids;
    if (cid_in.len > 0)
        memcpy(cids, cid_in.data, cid_in.len);
    if (cid_out.len > 0)
        memcpy(cids + cid_in.len, cid_out.data, cid_out.len);
    return install(state, WAY_IN, secret_in) && install(state, WAY_OUT, secret_out) ? SAGATE_OK : SAGATE_EINTERNAL;
}

void dtls13_mirror(struct dtls13 *peer, const struct dtls13 *state)
{
    struct layout layout = layout_of(state);
    *peer = (struct dtls13){.aead = state->aead, .cid_in_len = state->cid_out_len, .cid_out_len = state->cid_in_len};
    peer->newest = state->next_out & ~NUMBER_SEQUENCE_MASK;
    peer->next_out = state->newest & ~NUMBER_SEQUENCE_MASK;
    memcpy(peer->bytes, state->bytes + layout.way, layout.way);
    memcpy(peer->bytes + layout.way, state->bytes, layout.way);
    memcpy(peer->bytes + layout.cids, dtls13_cid_out(state).data, state->cid_out_len);
    memcpy(peer->bytes + layout.cids + state->cid_out_len, dtls13_cid_in(state).data, state->cid_in_len);
}

int dtls13_update_out(struct dtls13 *state)
{
    struct keys next;
    uint64_t epoch = (state->next_out >> NUMBER_EPOCH_SHIFT) + 1;
    int rc = SAGATE_EGONE;
    if (epoch <= EPOCH_LAST && keys_next(state, WAY_OUT, &next)) {
        dtls13_change(state);
        keys_store(state, WAY_OUT, &next);
        state->next_out = epoch << NUMBER_EPOCH_SHIFT;
        changed(state, DTLS13_UPDATE_OUT);
        rc = SAGATE_OK;
    }
    secret_zero(&next, sizeof next);
    return rc;
}

static void update_in(struct dtls13 *state, const struct keys *next)
{
    dtls13_change(state);
    keys_store(state, WAY_IN, next);
    state->newest = ((state->newest >> NUMBER_EPOCH_SHIFT) + 1) << NUMBER_EPOCH_SHIFT;
    state->window = 0;
    state->failed = 0;
    changed(state, DTLS13_UPDATE_IN);
}

// --- header and record number ------------------------------------------------------------------------------------

static int next_clear(struct slice *datagram, struct dtls13_record *record)
{
    const uint8_t *at = datagram->data;
    if (at[0] < 20 || at[0] > DTLS13_ACK || datagram->len < CLEAR_HEADER)
        return SAGATE_EMALFORMED;
    size_t whole = CLEAR_HEADER + (size_t)number_get(at + 11, 2);
    if (whole > datagram->len)
        return SAGATE_EMALFORMED;
    *record = (struct dtls13_record){.clear = true, .whole = slice_of(at, whole)};
    *datagram = slice_of(at + whole, datagram->len - whole);
    return SAGATE_OK;
}

int dtls13_next(uint8_t cid_len, struct slice *datagram, struct dtls13_record *record)
{
    if (datagram->len == 0)
        return SAGATE_AGAIN;
    const uint8_t *at = datagram->data;
    if ((at[0] & FIXED_MASK) != FIXED)
        return next_clear(datagram, record);
    bool with_cid = (at[0] & WITH_CID) != 0;
    if (with_cid && cid_len == 0) // nobody can say where such a header ends
        return SAGATE_EMALFORMED;
    size_t number_at = 1 + (with_cid ? cid_len : 0U);
    size_t number_len = (at[0] & LONG_NUMBER) != 0 ? 2 : 1;
    size_t header = number_at + number_len + ((at[0] & WITH_LENGTH) != 0 ? 2 : 0);
    if (datagram->len < header)
        return SAGATE_EMALFORMED;
    size_t body = datagram->len - header;
    if ((at[0] & WITH_LENGTH) != 0) {
        size_t len = (size_t)number_get(at + header - 2, 2);
        if (len > body)
            return SAGATE_EMALFORMED;
        body = len;
    }
    *record = (struct dtls13_record){
        .epoch_bits = at[0] & EPOCH_MASK,
        .number_at = (uint8_t)number_at,
        .number_len = (uint8_t)number_len,
        .whole = slice_of(at, header + body),
        .header = slice_of(at, header),
        .body = slice_of(at + header, body),
    };
    if (with_cid)
        record->cid = slice_of(at + 1, cid_len);
    *datagram = slice_of(at + header + body, datagram->len - header - body);
    return SAGATE_OK;
}

// RFC 9147 4.2.3.
static bool make_mask(enum aead aead, const uint8_t *number_key, const uint8_t sample[DTLS13_CIPHERTEXT_MIN],
                      uint8_t mask[DTLS13_CIPHERTEXT_MIN])
{
    int rc;
    if (aead == AEAD_CHACHA20_POLY1305) {
        ChaCha chacha;
        word32 counter = (word32)sample[0] | (word32)sample[1] << 8 | (word32)sample[2] << 16 | (word32)sample[3] << 24;
        memset(mask, 0, DTLS13_CIPHERTEXT_MIN);
        rc = wc_Chacha_SetKey(&chacha, number_key, AEAD_KEY_MAX);
        if (rc == 0)
            rc = wc_Chacha_SetIV(&chacha, sample + 4, counter);
        if (rc == 0)
            rc = wc_Chacha_Process(&chacha, mask, mask, DTLS13_CIPHERTEXT_MIN);
        secret_zero(&chacha, sizeof chacha);
        return rc == 0;
    }
    Aes aes;
    if (wc_AesInit(&aes, NULL, INVALID_DEVID) != 0)
        return false;
    rc = wc_AesSetKeyDirect(&aes, number_key, aead_properties(aead)->key, NULL, AES_ENCRYPTION);
    if (rc == 0)
        rc = wc_AesEncryptDirect(&aes, mask, sample);
    wc_AesFree(&aes);
    return rc == 0;
}

// The full sequence number: the one that is closest to the next that is expected (RFC 9147 4.2.2).
static uint64_t reconstruct(uint64_t expected, uint64_t low, size_t bytes)
{
    uint64_t span = 1ULL << (8 * bytes);
    uint64_t sequence = (expected & ~(span - 1)) | low;
    if (sequence + span / 2 < expected && sequence + span <= NUMBER_SEQUENCE_MASK)
        return sequence + span;
    if (sequence > expected + span / 2 && sequence >= span)
        return sequence - span;
    return sequence;
}

// RFC 8446 5.3; the epoch is no part of it (RFC 9147 4).
static void make_nonce(uint8_t nonce[AEAD_NONCE], const uint8_t *iv, uint64_t sequence)
{
    memcpy(nonce, iv, AEAD_NONCE);
    for (size_t i = 0; i < 6; i++)
        nonce[AEAD_NONCE - 1 - i] ^= (uint8_t)(sequence >> (8 * i));
}

// --- opening -----------------------------------------------------------------------------------------------------

// Where a record stands: epoch and window, of now or, after a KeyUpdate, of the next epoch.
struct place {
    bool next;
    uint64_t newest, window; // as in the state
};

static enum dtls13_verdict find_epoch(const struct dtls13 *state, uint8_t bits, struct place *place)
{
    uint64_t epoch = state->newest >> NUMBER_EPOCH_SHIFT;
    *place = (struct place){.newest = state->newest, .window = state->window};
    if (bits == (epoch & EPOCH_MASK))
        return DTLS13_DATA;
    if ((state->flags & DTLS13_UPDATE_IN) != 0 && bits == ((epoch + 1) & EPOCH_MASK)) {
        *place = (struct place){.next = true, .newest = (epoch + 1) << NUMBER_EPOCH_SHIFT};
        return DTLS13_DATA;
    }
    return epoch == DTLS13_EPOCH_FIRST && bits == DTLS13_EPOCH_HANDSHAKE ? DTLS13_EARLIER : DTLS13_OTHER_EPOCH;
}

static enum dtls13_verdict check(const struct dtls13 *state, const struct dtls13_record *record, size_t cap,
                                 struct place *place)
{
    size_t tag = aead_properties(state->aead)->tag;
    if (record->clear)
        return DTLS13_CLEAR;
    if (record->cid.len != state->cid_in_len ||
        (record->cid.len > 0 && !secret_equal(record->cid.data, dtls13_cid_in(state).data, record->cid.len)))
        return DTLS13_OTHER_CID;
    enum dtls13_verdict verdict = find_epoch(state, record->epoch_bits, place);
    if (verdict != DTLS13_DATA)
        return verdict;
    if (record->body.len < DTLS13_CIPHERTEXT_MIN || record->body.len < tag + 1 ||
        record->body.len - tag > PLAINTEXT_MAX + 1 || record->body.len - tag > cap)
        return DTLS13_MALFORMED;
    return DTLS13_DATA;
}

// Where the keys that a record needs lie: in the state, or with those of the next epoch.
struct keys_at {
    const uint8_t *key, *iv, *number_key;
};

// False when the record number key is not kept.
static bool keys_in_place(const struct dtls13 *state, enum way way, struct keys_at *at)
{
    struct layout layout = layout_of(state);
    at->key = state->bytes + (size_t)way * layout.way;
    at->iv = at->key + layout.key;
    at->number_key = at->iv + AEAD_IV_MAX;
    return layout.number_key > 0;
}

// Fills the job of a record whose mask is known. DTLS13_DATA, DTLS13_REPLAYED.
static enum dtls13_verdict fill_job(const struct dtls13 *state, const struct keys_at *keys,
                                    const struct dtls13_record *record, const struct place *place, uint8_t *out,
                                    struct dtls13_job *job)
{
    memcpy(job->header, record->header.data, record->header.len);
    for (size_t i = 0; i < record->number_len; i++)
        job->header[record->number_at + i] ^= job->mask[i];
    uint64_t expected = (place->newest & NUMBER_SEQUENCE_MASK) + (place->window != 0 ? 1 : 0);
    uint64_t low = number_get(job->header + record->number_at, record->number_len);
    uint64_t sequence = reconstruct(expected, low, record->number_len);
    job->state = state;
    job->number = (place->newest & ~NUMBER_SEQUENCE_MASK) | sequence;
    if (number_seen(place->newest, place->window, job->number))
        return DTLS13_REPLAYED;
    job->aead = (struct aead_job){
        .aead = state->aead,
        .key = keys->key,
        .additional = job->header,
        .additional_len = record->header.len,
        .in = record->body.data,
        .out = out,
        .len = record->body.len - aead_properties(state->aead)->tag,
    };
    make_nonce(job->aead.nonce, keys->iv, sequence);
    return DTLS13_DATA;
}

enum dtls13_verdict dtls13_open_prepare(const struct dtls13 *state, const struct dtls13_record *record, uint8_t *out,
                                        size_t cap, struct dtls13_job *job)
{
    struct place place;
    struct keys_at keys;
    enum dtls13_verdict verdict = check(state, record, cap, &place);
    if (verdict != DTLS13_DATA)
        return verdict;
    if (place.next || !keys_in_place(state, WAY_IN, &keys))
        return DTLS13_OTHER_EPOCH;
    if (!make_mask(state->aead, keys.number_key, record->body.data, job->mask))
        return DTLS13_MALFORMED;
    return fill_job(state, &keys, record, &place, out, job);
}

// True when a job that was done ahead is about this record and the keys that are in use now.
static bool is_about(const struct dtls13_job *ahead, const struct dtls13 *state, const struct dtls13_record *record,
                     const struct place *place)
{
    return ahead != NULL && ahead->state == state && !place->next && ahead->aead.in == record->body.data &&
           ahead->number >> NUMBER_EPOCH_SHIFT == place->newest >> NUMBER_EPOCH_SHIFT &&
           ahead->aead.result != SAGATE_EINTERNAL;
}

// Opens with these keys: DTLS13_DATA: it is authentic.
static enum dtls13_verdict decrypt(const struct dtls13 *state, const struct keys_at *keys,
                                   const struct dtls13_record *record, const struct dtls13_job *ahead,
                                   const struct place *place, uint8_t *out, struct dtls13_opened *opened)
{
    struct dtls13_job job;
    bool about = is_about(ahead, state, record, place);
    if (about)
        memcpy(job.mask, ahead->mask, sizeof job.mask);
    else if (!make_mask(state->aead, keys->number_key, record->body.data, job.mask))
        return DTLS13_MALFORMED;
    enum dtls13_verdict verdict = fill_job(state, keys, record, place, out, &job);
    opened->number = job.number;
    if (verdict != DTLS13_DATA)
        return verdict;
    if (about && aead_same(&job.aead, &ahead->aead)) {
        job.aead.result = ahead->aead.result;
        memcpy(out, ahead->aead.out, job.aead.len);
    } else {
        struct aead_job *one = &job.aead;
        aead_open(&one, 1);
    }
    opened->len = job.aead.len;
    return job.aead.result == SAGATE_OK        ? DTLS13_DATA
           : job.aead.result == SAGATE_ERECORD ? DTLS13_FORGED
                                               : DTLS13_MALFORMED;
}

static enum dtls13_verdict count_failure(struct dtls13 *state)
{
    uint64_t limit = aead_properties(state->aead)->forgery_limit;
    if (state->failed < UINT32_MAX) // of 32 bits: below the limit of some AEADs, which is as well
        state->failed++;
    return state->failed >= limit || state->failed == UINT32_MAX ? DTLS13_EXHAUSTED : DTLS13_FORGED;
}

// Content, type, zeros (RFC 8446 5.2).
static enum dtls13_verdict judge_content(const uint8_t *content, struct dtls13_opened *opened)
{
    size_t n = opened->len;
    opened->len = 0;
    while (n > 0 && content[n - 1] == 0)
        n--;
    if (n == 0)
        return DTLS13_UNWANTED;
    uint8_t type = content[--n];
    switch (type) {
    case DTLS13_APPLICATION:
    case DTLS13_HANDSHAKE:
    case DTLS13_ACK:
        opened->len = n;
        return type == DTLS13_APPLICATION ? DTLS13_DATA : type == DTLS13_ACK ? DTLS13_ACKED : DTLS13_MESSAGE;
    case DTLS13_ALERT:
        if (n != 2)
            return DTLS13_UNWANTED;
        if (content[1] == ALERT_CLOSE_NOTIFY)
            return DTLS13_CLOSED;
        return content[1] == ALERT_USER_CANCELED ? DTLS13_WARNING : DTLS13_FATAL;
    default:
        return DTLS13_UNWANTED;
    }
}

enum dtls13_verdict dtls13_open(struct dtls13 *state, const struct dtls13_record *record, uint8_t *out, size_t cap,
                                struct dtls13_opened *opened)
{
    return dtls13_open_ahead(state, record, NULL, out, cap, opened);
}

// The keys that open a record: those in place, or in `keys` what has to be derived. False: the library failed.
static bool find_keys(const struct dtls13 *state, const struct place *place, struct keys *keys, struct keys_at *at)
{
    if (!place->next && keys_in_place(state, WAY_IN, at))
        return true;
    *at = (struct keys_at){.key = keys->key, .iv = keys->iv, .number_key = keys->number_key};
    return place->next ? keys_next(state, WAY_IN, keys) : keys_load(state, WAY_IN, keys);
}

enum dtls13_verdict dtls13_open_ahead(struct dtls13 *state, const struct dtls13_record *record,
                                      const struct dtls13_job *ahead, uint8_t *out, size_t cap,
                                      struct dtls13_opened *opened)
{
    struct place place;
    struct keys keys;
    struct keys_at at;
    *opened = (struct dtls13_opened){0};
    enum dtls13_verdict verdict = check(state, record, cap, &place);
    if (verdict != DTLS13_DATA)
        return verdict;
    verdict = find_keys(state, &place, &keys, &at) ? decrypt(state, &at, record, ahead, &place, out, opened)
                                                   : DTLS13_MALFORMED;
    if (verdict == DTLS13_DATA && place.next)
        update_in(state, &keys);
    if (at.key == keys.key)
        secret_zero(&keys, sizeof keys);
    if (verdict != DTLS13_DATA) {
        opened->len = 0;
        return verdict == DTLS13_FORGED ? count_failure(state) : verdict;
    }
    opened->new_epoch = place.next;
    opened->newest = opened->number > state->newest || state->window == 0;
    number_mark(&state->newest, &state->window, opened->number);
    return judge_content(out, opened);
}

// --- sealing -----------------------------------------------------------------------------------------------------

// Of what is encrypted: content, type, and zeros where there would be too little for the mask.
static size_t inner_len(const struct dtls13 *state, size_t len)
{
    size_t least = DTLS13_CIPHERTEXT_MIN - (size_t)aead_properties(state->aead)->tag;
    return len + 1 < least ? least : len + 1;
}

size_t dtls13_sealed_len(const struct dtls13 *state, size_t len)
{
    return 1 + (size_t)state->cid_out_len + 2 + 2 + inner_len(state, len) + aead_properties(state->aead)->tag;
}

static uint64_t seal_limit(const struct dtls13 *state)
{
    uint64_t limit = aead_properties(state->aead)->seal_limit;
    return limit < NUMBER_SEQUENCE_MASK ? limit : NUMBER_SEQUENCE_MASK;
}

bool dtls13_update_is_due(const struct dtls13 *state)
{
    uint64_t limit = seal_limit(state);
    return (state->next_out & NUMBER_SEQUENCE_MASK) >= limit - limit / 8;
}

static bool is_used_up(const struct dtls13 *state, uint8_t type)
{
    uint64_t limit = seal_limit(state) - (type == DTLS13_ALERT ? 0 : DTLS13_RESERVE);
    return (state->next_out & NUMBER_SEQUENCE_MASK) >= limit;
}

static size_t put_header(const struct dtls13 *state, uint64_t number, size_t body, uint8_t *out)
{
    struct slice cid = dtls13_cid_out(state);
    uint8_t *at = out;
    *at++ = (uint8_t)(FIXED | LONG_NUMBER | WITH_LENGTH | (cid.len > 0 ? WITH_CID : 0) |
                      (number >> NUMBER_EPOCH_SHIFT & EPOCH_MASK));
    if (cid.len > 0)
        memcpy(at, cid.data, cid.len);
    at += cid.len;
    number_put(at, number, 2);
    number_put(at + 2, body, 2);
    return (size_t)(at + 4 - out);
}

bool dtls13_seal_finish(const struct dtls13_job *job, uint8_t *out)
{
    struct keys keys;
    struct keys_at at;
    uint8_t mask[DTLS13_CIPHERTEXT_MIN];
    size_t header = job->aead.additional_len;
    bool in_place = keys_in_place(job->state, WAY_OUT, &at);
    if (!in_place)
        at.number_key = keys.number_key;
    bool ok = job->aead.result == SAGATE_OK && (in_place || keys_load(job->state, WAY_OUT, &keys)) &&
              make_mask(job->state->aead, at.number_key, out + header, mask);
    if (!in_place)
        secret_zero(&keys, sizeof keys);
    if (!ok)
        return false;
    out[header - 4] ^= mask[0];
    out[header - 3] ^= mask[1];
    return true;
}

int dtls13_seal_prepare(struct dtls13 *state, uint8_t type, const uint8_t *data, size_t len, uint8_t *out, size_t cap,
                        size_t *out_len, struct dtls13_job *job)
{
    struct keys_at keys;
    if (len > PLAINTEXT_MAX || dtls13_sealed_len(state, len) > cap)
        return SAGATE_ETOOBIG;
    if (is_used_up(state, type))
        return SAGATE_EGONE;
    uint64_t number = number_next(&state->next_out);
    size_t inner = inner_len(state, len);
    size_t body = inner + aead_properties(state->aead)->tag;
    size_t header = put_header(state, number, body, out);
    uint8_t *content = out + header;
    if (len > 0)
        memcpy(content, data, len);
    content[len] = type;
    memset(content + len + 1, 0, inner - len - 1);
    memcpy(job->header, out, header);
    (void)keys_in_place(state, WAY_OUT, &keys);
    job->state = state;
    job->number = number;
    job->aead = (struct aead_job){
        .aead = state->aead,
        .key = keys.key,
        .additional = job->header,
        .additional_len = header,
        .in = content,
        .out = content,
        .len = inner,
    };
    make_nonce(job->aead.nonce, keys.iv, number & NUMBER_SEQUENCE_MASK);
    *out_len = header + body;
    return SAGATE_OK;
}

int dtls13_seal(struct dtls13 *state, uint8_t type, const uint8_t *data, size_t len, uint8_t *out, size_t cap,
                size_t *out_len)
{
    struct dtls13_job job;
    int rc = dtls13_seal_prepare(state, type, data, len, out, cap, out_len, &job);
    if (rc != SAGATE_OK)
        return rc;
    struct aead_job *one = &job.aead;
    aead_seal(&one, 1);
    return dtls13_seal_finish(&job, out) ? SAGATE_OK : SAGATE_EINTERNAL;
}
