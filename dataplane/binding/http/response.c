// Answers: reading a CSE's, writing a device's.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/binding/http/response.h"

#include "common/error.h"
#include "dataplane/binding/http/forward.h"

enum { RETRY_AFTER_SECONDS = 5 };

// When a CSE leaves X-M2M-RSC out: TS-0009 table 6.3.2-1 read backwards.
static int derive_rsc(int status, enum onem2m_operation operation)
{
    static const struct {
        int status, rsc;
    } table[] = {{201, 2001}, {202, 1000}, {304, 2000}, {400, 4000}, {403, 4103}, {404, 4004}, {405, 4005}, {406, 5207},
                 {408, 4008}, {409, 4105}, {415, 4015}, {501, 5001}, {502, 5103}, {503, 5103}, {504, 4008}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (table[i].status == status)
            return table[i].rsc;
    }
    if (status < 300 && operation == ONEM2M_UPDATE)
        return RSC_UPDATED;
    if (status < 300 && operation == ONEM2M_DELETE)
        return RSC_DELETED;
    if (status < 300)
        return RSC_OK;
    return status >= 400 && status < 500 ? RSC_BAD_REQUEST : RSC_INTERNAL_SERVER_ERROR;
}

static int read_framing(const struct http_head *head, struct http_response *response)
{
    struct slice length, coding;
    size_t lengths = http_head_find(head, "Content-Length", &length);
    size_t codings = http_head_find(head, "Transfer-Encoding", &coding);
    if (lengths > 1 || codings > 1 || (lengths > 0 && codings > 0))
        return SAGATE_EMALFORMED;
    if (codings == 1 && (!http_same(coding, "chunked") || head->version == 10))
        return SAGATE_EMALFORMED;
    if (lengths == 1 && http_number(length, &response->length) != SAGATE_OK)
        return SAGATE_EMALFORMED;
    if (response->status == 204 || response->status == 304 || (lengths == 1 && response->length == 0))
        response->framing = HTTP_BODY_NONE;
    else if (codings == 1)
        response->framing = HTTP_BODY_CHUNKED;
    else
        response->framing = lengths == 1 ? HTTP_BODY_LENGTH : HTTP_BODY_UNTIL_CLOSE;
    return SAGATE_OK;
}

int http_response_read(const struct http_head *head, const struct primitive *primitive, struct http_response *response)
{
    struct slice value;
    uint64_t rsc = 0;
    *response = (struct http_response){.status = head->status};
    if (head->status < 200)
        return head->status == 101 ? SAGATE_EMALFORMED : SAGATE_OK;
    if (read_framing(head, response) != SAGATE_OK)
        return SAGATE_EMALFORMED;
    size_t codes = http_head_find(head, "X-M2M-RSC", &value);
    if (codes > 1 || (codes == 1 && (http_number(value, &rsc) != SAGATE_OK || rsc < 1000 || rsc > 9999)))
        return SAGATE_EMALFORMED;
    response->rsc = codes == 1 ? (int)rsc : derive_rsc(head->status, primitive->operation);
    // The answer to another request would be another device's.
    size_t identifiers = http_head_find(head, "X-M2M-RI", &value);
    if (identifiers > 1 || (identifiers == 1 && value.len > 0 && !slice_equal(value, primitive->request_id)))
        return SAGATE_EMALFORMED;
    response->closes = head->version == 10 || http_connection_names(head, slice_text("close"));
    response->keep = !response->closes && response->framing != HTTP_BODY_UNTIL_CLOSE;
    return SAGATE_OK;
}

static const char *reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } table[] = {{200, "OK"},
                 {201, "Created"},
                 {202, "Accepted"},
                 {204, "No Content"},
                 {304, "Not Modified"},
                 {400, "Bad Request"},
                 {401, "Unauthorized"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {406, "Not Acceptable"},
                 {408, "Request Timeout"},
                 {409, "Conflict"},
                 {413, "Content Too Large"},
                 {415, "Unsupported Media Type"},
                 {417, "Expectation Failed"},
                 {431, "Request Header Fields Too Large"},
                 {500, "Internal Server Error"},
                 {501, "Not Implemented"},
                 {503, "Service Unavailable"},
                 {504, "Gateway Timeout"},
                 {505, "HTTP Version Not Supported"}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (table[i].status == status)
            return table[i].text;
    }
    return "";
}

static void status_line(struct buffer *out, int status)
{
    buffer_text(out, "HTTP/1.1 ");
    buffer_number(out, (uint64_t)status);
    buffer_text(out, " ");
    buffer_text(out, reason(status));
    buffer_text(out, "\r\n");
}

static void field(struct buffer *out, const char *name, struct slice value)
{
    if (value.len == 0)
        return;
    buffer_text(out, name);
    buffer_text(out, ": ");
    buffer_slice(out, value);
    buffer_text(out, "\r\n");
}

static void field_number(struct buffer *out, const char *name, uint64_t value)
{
    buffer_text(out, name);
    buffer_text(out, ": ");
    buffer_number(out, value);
    buffer_text(out, "\r\n");
}

void http_answer_own(struct buffer *out, const struct http_answer *answer)
{
    static const char before[] = "{\"m2m:dbg\":\"", after[] = "\"}";
    status_line(out, answer->status);
    field_number(out, "X-M2M-RSC", (uint64_t)answer->rsc);
    field(out, "X-M2M-RI", answer->request_id);
    field(out, "X-M2M-RVI", answer->release_version);
    if (answer->status == 405)
        field(out, "Allow", slice_text("GET, POST, PUT, DELETE"));
    if (answer->status == 503)
        field_number(out, "Retry-After", RETRY_AFTER_SECONDS);
    field(out, "Content-Type", slice_text("application/json"));
    field_number(out, "Content-Length", sizeof before - 1 + strlen(answer->debug) + sizeof after - 1);
    if (answer->close)
        field(out, "Connection", slice_text("close"));
    buffer_text(out, "\r\n");
    if (answer->is_head)
        return;
    buffer_text(out, before);
    buffer_text(out, answer->debug);
    buffer_text(out, after);
}

void http_answer_head(struct buffer *out, const struct http_head *head, const struct http_response *response,
                      struct slice request_id, enum http_framing framing, uint64_t length, bool close)
{
    status_line(out, response->status);
    field_number(out, "X-M2M-RSC", (uint64_t)response->rsc);
    field(out, "X-M2M-RI", request_id);
    for (size_t i = 0; i < head->field_count; i++) {
        if (!http_response_field_passes(head, i))
            continue;
        buffer_slice(out, http_head_name(head, i));
        buffer_text(out, ": ");
        buffer_slice(out, http_head_value(head, i));
        buffer_text(out, "\r\n");
    }
    if (framing == HTTP_BODY_CHUNKED)
        field(out, "Transfer-Encoding", slice_text("chunked"));
    else if (response->status != 204 && response->status != 304)
        field_number(out, "Content-Length", framing == HTTP_BODY_NONE ? 0 : length);
    if (close)
        field(out, "Connection", slice_text("close"));
    buffer_text(out, "\r\n");
}
