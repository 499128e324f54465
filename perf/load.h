// What the parts of the load generator share.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_PERF_LOAD_H
#define SAGATE_PERF_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOAD_REQUEST_MAX = 2048 };

struct load_options {
    const char *mode;     // "coap" (DTLS) or "https"
    const char *target;   // "127.0.0.1:5684"
    const char *identity; // PSK identity; NULL: server certificate only
    const char *key_hex;
    const char *cipher; // wolfSSL's name; NULL: its choice
    const char *from;   // originator; NULL: no oneM2M parameters at all
    const char *path;
    unsigned connections, seconds, warm_up;
    bool handshakes; // measure handshakes instead of requests: each connection is closed and opened again
};

// Writes one request; the length. `number` makes message id, token and request identifier unique.
size_t load_request_coap(const struct load_options *options, uint32_t number, uint8_t out[LOAD_REQUEST_MAX]);
size_t load_request_http(const struct load_options *options, uint32_t number, uint8_t out[LOAD_REQUEST_MAX]);

enum load_answer { LOAD_MORE, LOAD_OK, LOAD_REFUSED, LOAD_MALFORMED };

// Judges an answer. CoAP: one datagram; LOAD_MORE for an empty acknowledgement or another request's answer; a separate
// confirmable answer sets *acknowledge and the 4 bytes to send. HTTP: everything received so far for this request;
// *used is the length of the answer when it is whole.
enum load_answer load_answer_coap(const uint8_t *data, size_t len, uint32_t number, bool *acknowledge,
                                  uint8_t acknowledgement[4]);
enum load_answer load_answer_http(const uint8_t *data, size_t len, size_t *used);

#endif
