// Datagrams with a ClientHello that nobody means (RFC 6347, RFC 9147), for floods.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_PERF_HELLO_H
#define SAGATE_PERF_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HELLO_MAX = 512, HELLO_RANDOM = 32 };

struct hello {
    bool dtls13;
    const uint8_t *random; // HELLO_RANDOM bytes
    const uint8_t *cookie; // DTLS 1.2: in its field; 1.3: in the extension
    size_t cookie_len;     // at most 32; 0: the first ClientHello
    const char *identity;  // DTLS 1.3: a PSK of this identity is offered; may be NULL
};

// The length of one whole record.
size_t hello_write(const struct hello *hello, uint8_t out[HELLO_MAX]);

#endif
