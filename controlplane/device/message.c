// Requests as bytes, and answers.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/device/message.h"

#include "common/error.h"
#include "dataplane/binding/coap/numbering.h"
#include "dataplane/binding/http/chunked.h"
#include "dataplane/binding/http/head.h"

#include <stdio.h>

enum { FORMAT_JSON = 50, HEAD_MAX = 16 * 1024, RELEASE_VERSION = '3' };

static uint16_t number_of(enum numbering_option option)
{
    return numbering_rows[option].number[NUMBERING_CURRENT];
}

// The path, and what stands behind '?' in it, as options.
static void add_target(struct coap_list *list, const char *to)
{
    size_t path = strcspn(to, "?");
    for (size_t at = 0; at < path;) {
        size_t len = strcspn(to + at, "/?");
        if (len > 0)
            coap_list_add(list, COAP_URI_PATH, slice_of(to + at, len));
        at += len + 1;
    }
    for (const char *query = to[path] == '?' ? to + path + 1 : ""; *query != '\0';) {
        size_t len = strcspn(query, "&");
        if (len > 0)
            coap_list_add(list, COAP_URI_QUERY, slice_of(query, len));
        query += len + (query[len] == '&');
    }
}

static uint8_t method_of(enum onem2m_operation operation)
{
    static const uint8_t methods[] = {[ONEM2M_CREATE] = COAP_POST,
                                      [ONEM2M_RETRIEVE] = COAP_GET,
                                      [ONEM2M_UPDATE] = COAP_PUT,
                                      [ONEM2M_DELETE] = COAP_DELETE,
                                      [ONEM2M_NOTIFY] = COAP_POST};
    return methods[operation];
}

int request_write_coap(const struct request *request, uint16_t mid, const struct coap_token *token, uint8_t *out,
                       size_t cap)
{
    static const uint8_t release[] = {RELEASE_VERSION};
    struct coap_list list = {0};
    struct coap_writer writer;
    if (request->content.len > COAP_CONTENT_MAX)
        return SAGATE_ETOOBIG;
    if (request->observe != OBSERVE_NOT)
        coap_list_add_uint(&list, COAP_OBSERVE, request->observe == OBSERVE_END);
    add_target(&list, request->to);
    if (request->content.len > 0)
        coap_list_add_uint(&list, COAP_CONTENT_FORMAT, FORMAT_JSON);
    coap_list_add_uint(&list, COAP_ACCEPT, FORMAT_JSON);
    if (request->block > 0) {
        uint32_t exponent = 0;
        while (exponent < 6 && 16U << exponent < request->block_size)
            exponent++;
        coap_list_add_uint(&list, COAP_BLOCK2, request->block << 4 | exponent);
    }
    coap_list_add(&list, number_of(ONEM2M_FR), slice_text(request->from));
    coap_list_add(&list, number_of(ONEM2M_RQI), slice_text(request->id));
    coap_list_add(&list, number_of(ONEM2M_RVI), slice_of(release, 1));
    if (request->type > 0)
        coap_list_add_uint(&list, number_of(ONEM2M_TY), request->type);
    if (list.full)
        return SAGATE_ETOOBIG;
    coap_begin(&writer, out, cap, COAP_CON, method_of(request->operation), mid, token);
    coap_list_write(&list, &writer);
    coap_add_payload(&writer, request->content);
    return coap_end(&writer);
}

int request_write_http(const struct request *request, uint8_t *out, size_t cap)
{
    static const char *const methods[] = {[ONEM2M_CREATE] = "POST",
                                          [ONEM2M_RETRIEVE] = "GET",
                                          [ONEM2M_UPDATE] = "PUT",
                                          [ONEM2M_DELETE] = "DELETE",
                                          [ONEM2M_NOTIFY] = "POST"};
    char content[96] = "";
    char type[24] = "";
    if (request->type > 0)
        (void)snprintf(type, sizeof type, ";ty=%u", request->type);
    if (request->content.len > 0)
        (void)snprintf(content, sizeof content, "Content-Type: application/json%s\r\nContent-Length: %zu\r\n", type,
                       request->content.len);
    int len = snprintf((char *)out, cap,
                       "%s %s HTTP/1.1\r\nHost: %s\r\nX-M2M-Origin: %s\r\nX-M2M-RI: %s\r\nX-M2M-RVI: %c\r\n"
                       "Accept: application/json\r\n%s\r\n",
                       methods[request->operation], request->to, request->host, request->from, request->id,
                       RELEASE_VERSION, content);
    if (len < 0 || (size_t)len + request->content.len >= cap)
        return SAGATE_ETOOBIG;
    if (request->content.len > 0)
        memcpy(out + len, request->content.data, request->content.len);
    return len + (int)request->content.len;
}

static bool append(struct reply *reply, struct slice piece)
{
    if (piece.len > CONTENT_MAX - reply->content_len)
        return false;
    if (piece.len > 0)
        memcpy(reply->content + reply->content_len, piece.data, piece.len);
    reply->content_len += piece.len;
    return true;
}

static void keep_id(struct reply *reply, struct slice id)
{
    size_t len = id.len < REPLY_ID_MAX - 1 ? id.len : REPLY_ID_MAX - 1;
    if (len > 0)
        memcpy(reply->id, id.data, len);
    reply->id[len] = '\0';
}

static int read_options(const struct coap_message *message, struct reply *reply)
{
    const struct coap_option *rsc = coap_find(message, number_of(ONEM2M_RSC));
    const struct coap_option *id = coap_find(message, number_of(ONEM2M_RQI));
    const struct coap_option *observe = coap_find(message, COAP_OBSERVE);
    const struct coap_option *option = coap_find(message, COAP_BLOCK2);
    struct coap_block block = {0};
    uint32_t value = rsc == NULL ? 0 : coap_uint(rsc->value);
    if (value > UINT16_MAX || (option != NULL && !coap_block_parse(option->value, &block)))
        return SAGATE_EMALFORMED;
    if (block.offset != reply->content_len && block.number > 0)
        return SAGATE_EMALFORMED;
    if (block.number == 0)
        reply->content_len = 0;
    reply->rsc = (int)value;
    reply->observed = observe != NULL;
    reply->sequence = observe == NULL ? 0 : coap_uint(observe->value);
    reply->more = block.more;
    reply->block = block.number;
    reply->block_size = block.size;
    keep_id(reply, id == NULL ? slice_text("") : id->value);
    return SAGATE_OK;
}

int reply_read_coap(const uint8_t *data, size_t len, const struct coap_token *token, struct reply *reply,
                    bool *acknowledge, uint16_t *mid)
{
    struct coap_message message;
    *acknowledge = false;
    int rc = coap_parse(data, len, &message);
    if (rc != SAGATE_OK)
        return SAGATE_EMALFORMED;
    *mid = message.mid;
    if (message.type == COAP_RST)
        return SAGATE_EGONE;
    if (message.code == 0 || coap_is_request(message.code) || !coap_token_equal(&message.token, token))
        return SAGATE_AGAIN;
    *acknowledge = message.type == COAP_CON;
    reply->coap = true;
    reply->code = message.code;
    rc = read_options(&message, reply);
    if (rc != SAGATE_OK)
        return rc;
    return append(reply, message.payload) ? SAGATE_OK : SAGATE_ETOOBIG;
}

static int read_chunks(struct slice body, struct reply *reply)
{
    struct http_chunked chunked;
    struct slice piece;
    size_t used;
    http_chunked_init(&chunked);
    for (;;) {
        int rc = http_chunked_feed(&chunked, body.data, body.len, &used, &piece);
        if (rc < 0)
            return rc;
        if (!append(reply, piece))
            return SAGATE_ETOOBIG;
        if (rc == SAGATE_DONE)
            return SAGATE_OK;
        body = slice_of(body.data + used, body.len - used);
        if (body.len == 0 || (used == 0 && piece.len == 0))
            return SAGATE_AGAIN;
    }
}

static int read_body(const struct http_head *head, struct slice body, bool ended, struct reply *reply)
{
    struct slice value;
    uint64_t length = 0;
    reply->content_len = 0;
    if (head->status == 204 || head->status == 304)
        return SAGATE_OK;
    if (http_head_find(head, "Transfer-Encoding", &value) > 0)
        return http_same(value, "chunked") ? read_chunks(body, reply) : SAGATE_EMALFORMED;
    if (http_head_find(head, "Content-Length", &value) > 0) {
        if (http_number(value, &length) != SAGATE_OK)
            return SAGATE_EMALFORMED;
        if (length > CONTENT_MAX)
            return SAGATE_ETOOBIG;
        if (body.len < length)
            return SAGATE_AGAIN;
        body.len = (size_t)length;
    } else if (!ended) {
        return SAGATE_AGAIN;
    }
    return append(reply, body) ? SAGATE_OK : SAGATE_ETOOBIG;
}

static int read_fields(const struct http_head *head, struct reply *reply)
{
    struct slice value;
    uint64_t rsc = 0;
    if (http_head_find(head, "X-M2M-RSC", &value) > 0 && (http_number(value, &rsc) != SAGATE_OK || rsc > UINT16_MAX))
        return SAGATE_EMALFORMED;
    reply->rsc = (int)rsc;
    reply->code = head->status;
    reply->coap = false;
    if (http_head_find(head, "X-M2M-RI", &value) > 0)
        keep_id(reply, value);
    return SAGATE_OK;
}

int reply_read_http(const uint8_t *data, size_t len, bool ended, struct reply *reply)
{
    struct http_head head;
    size_t used;
    int rc;
    for (;;) { // interim responses (RFC 9110 15.2) are passed over
        http_head_init(&head, HTTP_RESPONSE_HEAD, HEAD_MAX);
        rc = http_head_feed(&head, data, len, &used);
        if (rc != SAGATE_OK || head.status >= 200)
            break;
        http_head_release(&head);
        data += used;
        len -= used;
    }
    if (rc == SAGATE_OK)
        rc = read_fields(&head, reply);
    if (rc == SAGATE_OK)
        rc = read_body(&head, slice_of(data + used, len - used), ended, reply);
    http_head_release(&head);
    return rc == SAGATE_AGAIN && ended ? SAGATE_EMALFORMED : rc;
}

bool reply_good(const struct reply *reply)
{
    if (reply->rsc != 0)
        return reply->rsc / 1000 == 2;
    return reply->coap ? coap_class((uint8_t)reply->code) == 2 : reply->code / 100 == 2;
}
