// The AEADs of folded associations, over raw keys and in batches. Pure functions over bytes, any thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_RECORD_AEAD_H
#define SAGATE_DATAPLANE_RECORD_AEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum aead { // values are kept in struct dtls12, which may outlive a process: never renumber
    AEAD_NONE = 0,
    AEAD_AES_128_GCM = 1,       // RFC 5116 5.1; TLS 1.2: RFC 5288
    AEAD_AES_256_GCM = 2,       // RFC 5116 5.2
    AEAD_AES_128_CCM = 3,       // RFC 5116 5.3; TLS 1.2: RFC 6655
    AEAD_AES_128_CCM_8 = 4,     // RFC 6655 6.1
    AEAD_CHACHA20_POLY1305 = 5, // RFC 8439; TLS 1.2: RFC 7905
    AEAD_COUNT = 6,
};

enum { AEAD_KEY_MAX = 32, AEAD_IV_MAX = 12, AEAD_NONCE = 12, AEAD_TAG_MAX = 16 };

struct aead_properties {
    uint8_t key, tag; // bytes
    // (D)TLS 1.2: bytes of the write IV, and of the nonce that each record carries (0: made from the sequence number).
    uint8_t iv, explicit_nonce;
    // Records that one key may seal, and records that may fail to open, before the key is given up: RFC 9325 4.4, which
    // for (D)TLS 1.2 names the limits of RFC 8446 5.5 and RFC 9147 4.5.3. See aead.c for AES-128-CCM-8.
    uint64_t seal_limit, forgery_limit;
};

// All zero for AEAD_NONE and unknown values.
const struct aead_properties *aead_properties(enum aead aead);

// One record. The tag follows the ciphertext, as in RFC 5116. `in` and `out` are the same or do not overlap.
struct aead_job {
    const uint8_t *key; // raw, aead_properties()->key bytes
    const uint8_t *additional;
    const uint8_t *in;
    uint8_t *out;
    size_t len;            // of the plaintext
    size_t additional_len; // bytes
    enum aead aead;
    int result; // set by the functions below
    uint8_t nonce[AEAD_NONCE];
};

// Seals each: `len` bytes of `in` become `len` + tag bytes of `out`. result: SAGATE_OK, SAGATE_EINTERNAL.
void aead_seal(struct aead_job *const *jobs, size_t count);

// Opens each: `len` + tag bytes of `in` become `len` bytes of `out`. result: SAGATE_OK; SAGATE_ERECORD (not authentic;
// compared in constant time, `out` holds zeros); SAGATE_EINTERNAL.
void aead_open(struct aead_job *const *jobs, size_t count);

// True when `done` was opened from the very bytes that `job` is to be opened from, with the same key (by its address),
// nonce and additional data, so that its result may stand for the other's.
bool aead_same(const struct aead_job *job, const struct aead_job *done);

#endif
