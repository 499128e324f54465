// TLS 1.3 records (RFC 8446 5.2 to 5.5) and the keys they are made with (7.2, 7.3). No I/O, no allocation; one thread
// per state.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_RECORD_TLS13_H
#define SAGATE_DATAPLANE_RECORD_TLS13_H

#include "dataplane/record/aead.h"
#include "dataplane/record/tls.h"

#include <stdbool.h>

enum {
    TLS13_BODY_MAX = TLS_PLAINTEXT_MAX + 256,
    TLS13_INNER_MAX = TLS_PLAINTEXT_MAX + 1, // content, its type, padding
    TLS13_OVERHEAD_MAX = TLS_HEADER + 1 + AEAD_TAG_MAX,
    TLS13_SECRET_MAX = 48,
};

// One direction.
struct tls13_half {
    uint64_t next; // sequence number of the next record
    uint8_t key[AEAD_KEY_MAX];
    uint8_t iv[AEAD_IV_MAX];
    uint8_t secret[TLS13_SECRET_MAX]; // application_traffic_secret_N
};

// Without pointers; never to be used twice: a nonce would repeat. The owner wipes it.
struct tls13 {
    struct tls13_half in, out;
    uint8_t aead;       // enum aead
    uint8_t secret_len; // 32 (SHA-256) or 48 (SHA-384)
};

// Sets both directions up from the traffic secrets; sequence numbers are 0. SAGATE_OK; SAGATE_EINVAL (unknown AEAD or
// length); SAGATE_EINTERNAL.
int tls13_init(struct tls13 *state, enum aead aead, const uint8_t *secret_in, const uint8_t *secret_out,
               size_t secret_len);

// The next generation of keys for one direction (`&state->in` or `&state->out`): SAGATE_OK, SAGATE_EINTERNAL.
int tls13_update(const struct tls13 *state, struct tls13_half *half);

// True when the key in use towards the peer is near its limit (RFC 8446 5.5): a KeyUpdate is to go first.
bool tls13_is_due(const struct tls13 *state);

// Opens the record into `out`, which must hold what the AEAD encrypted, type and padding included (TLS13_INNER_MAX
// bytes are always enough). SAGATE_OK with *len bytes of content and its *type; SAGATE_ERECORD (bad_record_mac);
// SAGATE_ETOOBIG (record_overflow, or does not fit `cap`); SAGATE_EMALFORMED (unexpected_message: not protected, or
// nothing but padding); SAGATE_EINTERNAL.
int tls13_open(struct tls13 *state, const struct tls_record *record, uint8_t *out, size_t cap, uint8_t *type,
               size_t *len);

size_t tls13_sealed_len(const struct tls13 *state, size_t len);

// Seals one record into `out`, which must not overlap `data`; no padding. Results as of tls12_seal: SAGATE_EGONE only
// for who ignores tls13_is_due; TLS_RESERVE records are left then for KeyUpdate and alerts.
int tls13_seal(struct tls13 *state, uint8_t type, const uint8_t *data, size_t len, uint8_t *out, size_t cap,
               size_t *out_len);

#endif
