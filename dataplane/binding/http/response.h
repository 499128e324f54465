// What the head of a CSE's answer says, and the heads of the answers that devices get.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_BINDING_HTTP_RESPONSE_H
#define SAGATE_DATAPLANE_BINDING_HTTP_RESPONSE_H

#include "dataplane/binding/http/request.h"

// How a body is framed. UNTIL_CLOSE: neither a length nor a coding was given (RFC 9112 section 6.3, rule 8).
enum http_framing { HTTP_BODY_NONE, HTTP_BODY_LENGTH, HTTP_BODY_CHUNKED, HTTP_BODY_UNTIL_CLOSE };

struct http_response {
    int status;
    int rsc; // X-M2M-RSC, else derived from the status and the operation
    enum http_framing framing;
    uint64_t length;
    bool closes; // the CSE says that it will end the connection
    bool keep;   // the connection may carry another request
};

// Reads a complete head: SAGATE_OK or SAGATE_EMALFORMED (conflicting lengths, unknown codings, a status code that is
// no number or there twice, the identifier of another request, a protocol switch).
int http_response_read(const struct http_head *head, const struct primitive *primitive, struct http_response *response);

struct http_answer {
    int status;
    int rsc;
    struct slice request_id, release_version; // empty: left out
    const char *debug;                        // for m2m:dbg
    bool is_head;                             // the request was HEAD: no body
    bool close;
};

// Appends a whole answer of sagate's own. Status 405 brings Allow, 503 brings Retry-After.
void http_answer_own(struct buffer *out, const struct http_answer *answer);

// Appends the head of a CSE's answer as the device gets it: framing and length are of the body that will follow.
void http_answer_head(struct buffer *out, const struct http_head *head, const struct http_response *response,
                      struct slice request_id, enum http_framing framing, uint64_t length, bool close);

#endif
