// Answers of a TEF over HTTP/1.1 (RFC 9112), read strictly and within bounds, and the requests (TS-0032 over TS-0009).
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_TEF_HTTP_H
#define SAGATE_CONTROLPLANE_TEF_HTTP_H

#include "controlplane/tef/answer.h"

#include <stdbool.h>

enum { TEF_LINE_MAX = 2048, TEF_FIELDS_MAX = 64, TEF_REQUEST_ID_MAX = 63, TEF_REQUEST_MAX = 8192 };

// One answer; coap.h gives the same. It may hold a key: memory of secret_alloc is its place. All zero before the first
// byte.
struct tef_response {
    int state;
    int status;
    unsigned rsc; // X-M2M-RSC; 0: absent
    bool close;   // the TEF closes the connection after it
    char request_id[TEF_REQUEST_ID_MAX + 1];
    size_t body_len;
    uint8_t body[TEF_BODY_MAX];
    const char *why; // static text of an error
    // What only the reader needs.
    bool version_1_0, has_length, chunked, cr;
    unsigned fields, interim;
    uint64_t left; // bytes of the body or the chunk that are to come
    size_t line_len;
    char line[TEF_LINE_MAX];
};

// Wipes it and makes it ready for the next answer.
void tef_response_reset(struct tef_response *response);

// Takes bytes; *used says how many. SAGATE_DONE: complete, the rest is of the next answer. SAGATE_AGAIN: more is
// needed. SAGATE_EMALFORMED with response->why, after which only a reset helps; a body longer than TEF_BODY_MAX or
// without a told length, several of a field that must be single, and content codings are refused.
int tef_response_feed(struct tef_response *response, struct slice bytes, size_t *used);

// A request: strings without control characters, `body` NULL for none, `type` 0 for none.
struct tef_message {
    const char *method, *target, *host, *origin, *request_id, *body;
    unsigned type; // ty= of a CREATE
};

// Its bytes; the length, or SAGATE_ETOOBIG.
int tef_request_write(const struct tef_message *message, char *out, size_t cap);

#endif
