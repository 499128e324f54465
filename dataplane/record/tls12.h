// TLS 1.2 records with an AEAD (RFC 5246 6.2.3.3; RFC 5288, 6655, 7905). No I/O, no allocation; one thread per state.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_RECORD_TLS12_H
#define SAGATE_DATAPLANE_RECORD_TLS12_H

#include "dataplane/record/aead.h"
#include "dataplane/record/tls.h"

enum {
    TLS12_BODY_MAX = TLS_PLAINTEXT_MAX + 2048, // RFC 5246 6.2.3
    TLS12_OVERHEAD_MAX = TLS_HEADER + 8 + AEAD_TAG_MAX,
};

// Both directions, without pointers; never to be used twice: a nonce would repeat. Explicit nonces are the sequence
// number. The owner fills it in and wipes it.
struct tls12 {
    uint64_t next_in, next_out; // sequence numbers of the next records
    uint8_t key_in[AEAD_KEY_MAX], key_out[AEAD_KEY_MAX];
    uint8_t iv_in[AEAD_IV_MAX], iv_out[AEAD_IV_MAX];
    uint8_t aead; // enum aead
};

// Opens the record into `out`, which holds what the AEAD encrypted (TLS_PLAINTEXT_MAX bytes are always enough; the
// bytes behind the explicit nonce themselves will do). SAGATE_OK with *len bytes; SAGATE_ERECORD (bad_record_mac);
// SAGATE_ETOOBIG (record_overflow, or does not fit `cap`); SAGATE_EVERSION; SAGATE_EINTERNAL.
int tls12_open(struct tls12 *state, const struct tls_record *record, uint8_t *out, size_t cap, size_t *len);

// Bytes of a record with `len` bytes of content.
size_t tls12_sealed_len(const struct tls12 *state, size_t len);

// Seals one record into `out`, which must not overlap `data`. The sequence number is used up before anything is
// encrypted. SAGATE_OK with *out_len bytes; SAGATE_ETOOBIG (nothing used up); SAGATE_EGONE (the key's limit is reached:
// the association must end; alerts have TLS_RESERVE records left); SAGATE_EINTERNAL.
int tls12_seal(struct tls12 *state, uint8_t type, const uint8_t *data, size_t len, uint8_t *out, size_t cap,
               size_t *out_len);

#endif
