// TLS records on a stream (RFC 5246 6.2.1, RFC 8446 5.1): where one ends, and what both versions share. No I/O.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_RECORD_TLS_H
#define SAGATE_DATAPLANE_RECORD_TLS_H

#include "common/slice.h"

#include <stddef.h>
#include <stdint.h>

enum {
    TLS_CHANGE_CIPHER_SPEC = 20, // content types
    TLS_ALERT = 21,
    TLS_HANDSHAKE = 22,
    TLS_APPLICATION = 23,
    TLS_VERSION = 0x0303, // on every record but a first ClientHello's
    TLS_HEADER = 5,
    TLS_PLAINTEXT_MAX = 16384,
    TLS_RESERVE = 16, // records kept back from data below a key's limit, for alerts
};

struct tls_record {
    uint8_t type;
    uint16_t version;
    struct slice header, body;
};

// Takes the next record off a stream. `body_max`: the longest that the version allows. SAGATE_OK; SAGATE_AGAIN (it is
// not complete; *need is how many bytes it takes in all, as far as that can be told); SAGATE_ETOOBIG (record_overflow);
// SAGATE_EMALFORMED (no content type of TLS).
int tls_next(struct slice *stream, size_t body_max, struct tls_record *record, size_t *need);

static inline void tls_put(uint8_t *out, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        out[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

static inline uint64_t tls_get(const uint8_t *in, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | in[i];
    return value;
}

#endif
