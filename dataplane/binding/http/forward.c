// Building the request head towards a CSE.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/binding/http/forward.h"

static bool among(struct slice name, const char *const *names)
{
    for (; *names != NULL; names++) {
        if (http_same(name, *names))
            return true;
    }
    return false;
}

static bool hop_by_hop(const struct http_head *head, struct slice name)
{
    static const char *const names[] = {"Connection", "Keep-Alive",     "TE", "Trailer", "Transfer-Encoding",
                                        "Upgrade",    "HTTP2-Settings", NULL};
    return among(name, names) || http_begins(name, "Proxy-") || http_connection_names(head, name);
}

bool http_request_field_passes(const struct http_head *head, size_t index)
{
    // The last ones make some servers see another method or target than the one that was checked.
    static const char *const names[] = {
        "Host",           "Content-Length",    "Expect",        "X-M2M-Origin",
        "X-M2M-RVI",      "Forwarded",         "X-Real-IP",     "remoteaddress",
        "Client-Cert",    "Client-Cert-Chain", "X-HTTP-Method", "X-HTTP-Method-Override",
        "X-Original-URL", "X-Method-Override", "X-Rewrite-URL", NULL};
    struct slice name = http_head_name(head, index);
    return !among(name, names) && !http_begins(name, "X-SAGate-") && !http_begins(name, "X-Forwarded-") &&
           !hop_by_hop(head, name);
}

bool http_response_field_passes(const struct http_head *head, size_t index)
{
    static const char *const names[] = {"Content-Length", "X-M2M-RI", "X-M2M-RSC", NULL};
    struct slice name = http_head_name(head, index);
    return !among(name, names) && !http_begins(name, "X-SAGate-") && !hop_by_hop(head, name);
}

static void put(struct buffer *out, const char *name, struct slice value)
{
    buffer_text(out, name);
    buffer_text(out, ": ");
    buffer_slice(out, value);
    buffer_text(out, "\r\n");
}

// A credential's name may hold any byte (a PSK identity); what has no place in a field value is percent-encoded.
static void put_encoded(struct buffer *out, const char *name, struct slice value)
{
    buffer_text(out, name);
    buffer_text(out, ": ");
    for (size_t i = 0; i < value.len; i++) {
        uint8_t c = value.data[i];
        if (c > ' ' && c < 0x7f && c != '%') {
            buffer_add(out, &c, 1);
        } else {
            char text[4];
            (void)snprintf(text, sizeof text, "%%%02X", c);
            buffer_text(out, text);
        }
    }
    buffer_text(out, "\r\n");
}

static void put_identity(struct buffer *out, const struct http_forward *forward)
{
    char peer[ADDRESS_TEXT_MAX];
    if (forward->verdict->originator_len > 0)
        put(out, "X-SAGate-Originator", slice_of(forward->verdict->originator, forward->verdict->originator_len));
    put_encoded(out, "X-SAGate-Credential-ID", slice_text(forward->principal->credential_id));
    put(out, "X-SAGate-Framework", slice_text(framework_name(forward->principal->framework)));
    put(out, "X-SAGate-Authenticated", slice_text("true"));
    buffer_text(out, "Forwarded: for=\"");
    buffer_text(out, address_format(forward->peer, peer));
    buffer_text(out, "\";proto=https\r\n");
}

static void put_framing(struct buffer *out, const struct http_forward *forward)
{
    enum onem2m_operation operation = forward->request->primitive.operation;
    if (forward->chunked) {
        buffer_text(out, "Transfer-Encoding: chunked\r\n");
    } else if (forward->length > 0 || (operation != ONEM2M_RETRIEVE && operation != ONEM2M_DELETE)) {
        buffer_text(out, "Content-Length: ");
        buffer_number(out, forward->length);
        buffer_text(out, "\r\n");
    }
}

void http_forward_head(struct buffer *out, const struct http_forward *forward)
{
    const struct http_head *head = forward->head;
    const char *authorization = forward->upstream->authorization;
    bool own_authorization = authorization != NULL && authorization[0] != '\0';
    char address[ADDRESS_TEXT_MAX];
    buffer_slice(out, http_head_method(head));
    buffer_text(out, " ");
    buffer_slice(out, http_head_target(head));
    buffer_text(out, " HTTP/1.1\r\n");
    put(out, "Host", slice_text(address_format(&forward->server->http, address)));
    if (forward->verdict->from_len > 0)
        put(out, "X-M2M-Origin", slice_of(forward->verdict->from, forward->verdict->from_len));
    if (forward->release_version.len > 0)
        put(out, "X-M2M-RVI", forward->release_version);
    for (size_t i = 0; i < head->field_count; i++) {
        struct slice name = http_head_name(head, i);
        if (!http_request_field_passes(head, i) || (own_authorization && http_same(name, "Authorization")) ||
            (forward->plain && http_same(name, "Accept-Encoding")))
            continue;
        buffer_slice(out, name);
        buffer_text(out, ": ");
        buffer_slice(out, http_head_value(head, i));
        buffer_text(out, "\r\n");
    }
    if (own_authorization)
        put(out, "Authorization", slice_text(authorization));
    if (forward->upstream->http_identity == CONFIG_IDENTITY_HEADERS)
        put_identity(out, forward);
    put_framing(out, forward);
    buffer_text(out, "\r\n");
}
