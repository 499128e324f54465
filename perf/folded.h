// Associations of devices without the library's object: traffic keys on the record layers of the data plane, in the
// client's role. No I/O.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_PERF_FOLDED_H
#define SAGATE_PERF_FOLDED_H

#include "dataplane/handshake/session.h" // the library
#include "perf/load.h"

enum { FOLDED_SECRET_MAX = 48, FOLDED_RECORD_MAX = 16384 + 512 };

// (D)TLS 1.3: the first traffic secrets, from the client's side.
struct folded_secrets {
    uint8_t in[FOLDED_SECRET_MAX], out[FOLDED_SECRET_MAX];
    size_t len;
};

// Bytes of an association.
size_t folded_size(enum load_security security);

// Takes the keys out of an object whose handshake is done. False: not a suite that we have; nothing has changed.
bool folded_take(enum load_security security, void *keys, WOLFSSL *ssl, const struct folded_secrets *secrets);

enum folded_type { FOLDED_ALERT = 21, FOLDED_HANDSHAKE = 22, FOLDED_DATA = 23, FOLDED_ACK = 26 };

// Seals one record into `out`; its length, or 0.
size_t folded_seal(enum load_security security, void *keys, enum folded_type type, const uint8_t *data, size_t len,
                   uint8_t *out, size_t cap);

enum folded_result {
    FOLDED_NOTHING, // a record that brought nothing
    FOLDED_GOT,     // application data
    FOLDED_ANSWER,  // a record that has to be answered with this one
    FOLDED_END,     // no more (whole) record
    FOLDED_GONE,    // the association is over
};
struct folded_content {
    const uint8_t *data;
    size_t len;
    enum folded_type type; // of FOLDED_ANSWER
};

// Opens the next of the received bytes, in place, and moves *data and *len behind it.
enum folded_result folded_open(enum load_security security, void *keys, uint8_t **data, size_t *len,
                               struct folded_content *content);
// After FOLDED_ANSWER was sealed: our keys change when what went was a KeyUpdate.
void folded_answered(enum load_security security, void *keys, const struct folded_content *content);

// The Connection ID that was agreed for either way is not empty.
bool folded_with_cid(enum load_security security, const void *keys);

#endif
