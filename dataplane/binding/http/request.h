// What a device's request head says, read by the rules of TS-0009 section 6 and RFC 9110, 9112: the primitive, how the
// body is framed, and what is wrong with it.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_BINDING_HTTP_REQUEST_H
#define SAGATE_DATAPLANE_BINDING_HTTP_REQUEST_H

#include "common/onem2m.h"
#include "common/stats.h"
#include "dataplane/binding/content/content.h"
#include "dataplane/binding/http/head.h"
#include "dataplane/binding/primitive.h"

// Why a request is refused, and how that is said.
struct http_problem {
    int status;
    int rsc;
    enum stat_id stat; // the counter that belongs to it; STAT_COUNT: none
    const char *debug;
    bool close; // the stream cannot be read further
};

struct http_request {
    struct primitive primitive; // slices into the head, except `to` when to_text is set
    char *to_text;              // the absolute form of To, which does not stand in the target as such
    bool operation_known;
    bool is_head; // an answer must have no body
    bool chunked; // the body's framing; neither this nor a length: no body
    uint64_t length;
    bool close;          // "Connection: close"
    bool expect;         // "Expect: 100-continue"
    uint64_t expires_ms; // relative X-M2M-RET, or UINT64_MAX
    enum content_kind content;
};

// Reads a complete head. request_id_max: longest X-M2M-RI. SAGATE_OK; SAGATE_EDENIED with *problem filled and of
// *request what could be told (at least what an answer needs); SAGATE_ENOMEM. Release in every case.
int http_request_read(const struct http_head *head, size_t request_id_max, struct http_request *request,
                      struct http_problem *problem);
void http_request_release(struct http_request *request);

// Originators in the query, which some CSEs take for From: the next parameter whose name is `fr` when percent-decoded.
// *query is http_request_query at first, and then what is left. False: there is none. *len is the length of its decoded
// value, which is cut after sizeof value bytes, longer than any originator.
struct slice http_request_query(const struct http_head *head);
bool http_query_originator(struct slice *query, char value[ONEM2M_ABSOLUTE_MAX + 1], size_t *len);

// What can be told of a head that is not complete or not well-formed: the request identifier and release version, when
// their fields stand there once.
void http_request_glean(const struct http_head *head, struct http_request *request);

#endif
