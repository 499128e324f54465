// HTTP requests to a TEF: the strict head of the gateway's own binding, and a body of at most TEF_BODY_MAX bytes.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/tefserver/message.h"

#include "common/error.h"
#include "common/secret.h"

#include <string.h>

void message_init(struct message *message)
{
    *message = (struct message){0};
    http_head_init(&message->head, HTTP_REQUEST_HEAD, MESSAGE_HEAD_MAX);
}

void message_release(struct message *message)
{
    http_head_release(&message->head);
    secret_free(message->body);
    message->body = NULL;
}

static int take_method(struct slice method, enum onem2m_operation *operation)
{
    static const struct {
        const char *name;
        enum onem2m_operation operation;
    } methods[] = {
        {"GET", ONEM2M_RETRIEVE}, {"POST", ONEM2M_CREATE}, {"PUT", ONEM2M_UPDATE}, {"DELETE", ONEM2M_DELETE}};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (slice_is(method, methods[i].name)) {
            *operation = methods[i].operation;
            return SAGATE_OK;
        }
    }
    return SAGATE_EUNSUPPORTED;
}

// At most one field of this name, without control characters.
static int take_field(const struct http_head *head, const char *name, size_t max, struct slice *value)
{
    *value = (struct slice){0};
    size_t count = http_head_find(head, name, value);
    if (count > 1 || value->len > max)
        return SAGATE_EMALFORMED;
    for (size_t i = 0; i < value->len; i++) {
        if (value->data[i] < ' ' || value->data[i] > '~')
            return SAGATE_EMALFORMED;
    }
    return SAGATE_OK;
}

static struct slice trim(struct slice text)
{
    while (text.len > 0 && (text.data[0] == ' ' || text.data[0] == '\t'))
        text = slice_of(text.data + 1, text.len - 1);
    while (text.len > 0 && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t'))
        text.len--;
    return text;
}

// "application/json", "application/vnd.onem2m-res+json", with "ty=" for a CREATE (TS-0009 6.4.2.2).
static int take_type(struct slice value, unsigned *type)
{
    bool first = true;
    *type = 0;
    while (value.len > 0) {
        const uint8_t *end = memchr(value.data, ';', value.len);
        size_t len = end == NULL ? value.len : (size_t)(end - value.data);
        struct slice part = trim(slice_of(value.data, len));
        value = end == NULL ? slice_of(value.data, 0) : slice_of(end + 1, value.len - len - 1);
        if (first && !http_same(part, "application/json") && !http_same(part, "application/vnd.onem2m-res+json"))
            return SAGATE_EUNSUPPORTED;
        if (!first && http_begins(part, "ty=")) {
            uint64_t number = 0;
            if (http_number(slice_of(part.data + 3, part.len - 3), &number) != SAGATE_OK || number > 65535)
                return SAGATE_EMALFORMED;
            *type = (unsigned)number;
        }
        first = false;
    }
    return SAGATE_OK;
}

// The body's length is stated or there is none: a chunked one is not taken.
static int take_length(const struct http_head *head, size_t *len)
{
    struct slice value = {0};
    uint64_t number = 0;
    if (http_head_find(head, "Transfer-Encoding", &value) > 0)
        return SAGATE_EUNSUPPORTED;
    size_t count = http_head_find(head, "Content-Length", &value);
    if (count > 1 || (count == 1 && http_number(value, &number) != SAGATE_OK))
        return SAGATE_EMALFORMED;
    *len = (size_t)number;
    return number > TEF_BODY_MAX ? SAGATE_ETOOBIG : SAGATE_OK;
}

static int take_head(struct message *message)
{
    const struct http_head *head = &message->head;
    struct procedure_request *request = &message->request;
    struct slice host = {0}, type = {0};
    int result = take_field(head, "X-M2M-RI", MESSAGE_ID_MAX, &message->id);
    if (result == SAGATE_OK)
        result = take_method(http_head_method(head), &request->operation);
    if (result == SAGATE_OK)
        result = take_length(head, &message->body_len);
    if (result == SAGATE_OK)
        result = take_field(head, "X-M2M-Origin", TEF_ID_MAX, &request->origin);
    if (result == SAGATE_OK)
        result = take_field(head, "Content-Type", MESSAGE_ID_MAX, &type);
    if (result == SAGATE_OK && message->body_len > 0)
        result = take_type(type, &request->type);
    if (result == SAGATE_OK && http_head_find(head, "Host", &host) != 1) // RFC 9112 3.2
        result = SAGATE_EMALFORMED;
    if (result != SAGATE_OK)
        return result;
    request->target = http_head_target(head);
    const uint8_t *query = request->target.len == 0 ? NULL : memchr(request->target.data, '?', request->target.len);
    if (query != NULL)
        request->target.len = (size_t)(query - request->target.data);
    message->close = http_connection_names(head, slice_text("close"));
    if (message->body_len > 0) {
        message->body = secret_alloc(message->body_len);
        if (message->body == NULL)
            return SAGATE_ENOMEM;
    }
    return SAGATE_OK;
}

int message_feed(struct message *message, const uint8_t *data, size_t len, size_t *used)
{
    *used = 0;
    if (!message->head_done) {
        int result = http_head_feed(&message->head, data, len, used);
        if (result == SAGATE_OK)
            result = take_head(message);
        if (result != SAGATE_OK)
            return result;
        message->head_done = true;
    }
    size_t want = message->body_len - message->body_have;
    size_t take = len - *used < want ? len - *used : want;
    if (take > 0)
        memcpy(message->body + message->body_have, data + *used, take);
    message->body_have += take;
    *used += take;
    if (message->body_have < message->body_len)
        return SAGATE_AGAIN;
    message->request.content = slice_of(message->body, message->body_len);
    return SAGATE_OK;
}

enum onem2m_rsc message_refusal(int error)
{
    switch (error) {
    case SAGATE_EUNSUPPORTED:
    case SAGATE_EVERSION:
        return RSC_NOT_IMPLEMENTED;
    case SAGATE_ENOMEM:
        return RSC_INTERNAL_SERVER_ERROR;
    default:
        return RSC_BAD_REQUEST;
    }
}

static const char *reason_of(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 201:
        return "Created";
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 409:
        return "Conflict";
    case 501:
        return "Not Implemented";
    default:
        return "Internal Server Error";
    }
}

void message_answer(const struct procedure_answer *answer, struct slice id, bool close, struct buffer *out)
{
    int status = onem2m_rsc_http((int)answer->rsc);
    size_t len = answer->content == NULL ? 0 : strlen(answer->content);
    (void)buffer_room(out, 1024 + len); // at once, so that no part of a key is left behind by a move
    buffer_text(out, "HTTP/1.1 ");
    buffer_number(out, (uint64_t)status);
    buffer_text(out, " ");
    buffer_text(out, reason_of(status));
    buffer_text(out, "\r\nX-M2M-RSC: ");
    buffer_number(out, (uint64_t)answer->rsc);
    if (id.len > 0) {
        buffer_text(out, "\r\nX-M2M-RI: ");
        buffer_slice(out, id);
    }
    if (answer->rsc == RSC_CREATED) {
        buffer_text(out, "\r\nContent-Location: /");
        buffer_text(out, answer->id);
    }
    if (len > 0)
        buffer_text(out, "\r\nContent-Type: application/json\r\nCache-Control: no-store");
    if (close)
        buffer_text(out, "\r\nConnection: close");
    buffer_text(out, "\r\nContent-Length: ");
    buffer_number(out, len);
    buffer_text(out, "\r\n\r\n");
    if (len > 0)
        buffer_add(out, answer->content, len);
}
