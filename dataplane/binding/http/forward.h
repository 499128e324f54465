// The head of the request that a CSE gets, built anew from what was read: identity from the verdict alone, and nothing
// of the device's that speaks of identity, of the hop, or of another request.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_BINDING_HTTP_FORWARD_H
#define SAGATE_DATAPLANE_BINDING_HTTP_FORWARD_H

#include "common/principal.h"
#include "controlplane/config/config.h"
#include "dataplane/binding/http/request.h"
#include "dataplane/pep/pep.h"

struct http_forward {
    const struct http_head *head;
    const struct http_request *request;
    const struct pep_verdict *verdict;
    const struct principal *principal;
    const struct config_upstream *upstream;
    const struct config_server *server;
    const struct address *peer;
    struct slice release_version; // empty: none
    bool chunked;                 // towards the CSE
    uint64_t length;              // else
    bool plain;                   // the answer must be readable: no Accept-Encoding
};

// Appends the head; out->failed tells of memory.
void http_forward_head(struct buffer *out, const struct http_forward *forward);

// Whether a field of a message goes on to the other side: not hop-by-hop (RFC 9110 section 7.6.1), not named by
// Connection, and not one of those that sagate sets or removes.
bool http_request_field_passes(const struct http_head *head, size_t index);
bool http_response_field_passes(const struct http_head *head, size_t index);

#endif
