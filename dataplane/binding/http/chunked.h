// The chunked transfer coding (RFC 9112 section 7.1), incremental and strict: chunk extensions and trailer fields
// are checked for their form and dropped.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_BINDING_HTTP_CHUNKED_H
#define SAGATE_DATAPLANE_BINDING_HTTP_CHUNKED_H

#include "dataplane/binding/http/buffer.h"

enum {
    HTTP_TRAILER_MAX = 2048,         // bytes of one trailer section
    HTTP_CHUNK_EXTENSION_MAX = 1024, // bytes of all chunk extensions of one message
};

struct http_chunked {
    uint64_t left; // of the chunk in hand
    uint8_t state;
    uint8_t digits;
    uint16_t trailer;   // bytes of trailer section seen
    uint16_t extension; // bytes of chunk extensions seen
};

void http_chunked_init(struct http_chunked *chunked);

// Takes bytes up to the end of the next run of chunk data; *used says how many, *piece is that run (a part of `data`,
// maybe empty). SAGATE_AGAIN: go on with the rest, or with more when all is used. SAGATE_DONE: the message ends at
// *used. SAGATE_EMALFORMED; SAGATE_ETOOBIG (a size of more than eight digits, a trailer or extensions beyond their
// bounds).
int http_chunked_feed(struct http_chunked *chunked, const uint8_t *data, size_t len, size_t *used, struct slice *piece);

// Appends one chunk; nothing for an empty piece, which would end the message. And the end of the message.
void http_chunked_write(struct buffer *out, struct slice piece);
void http_chunked_finish(struct buffer *out);

#endif
