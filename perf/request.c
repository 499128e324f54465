// Writes requests and judges answers.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "perf/request.h"

#include "common/error.h"
#include "dataplane/binding/coap/message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    OPTION_RVI = 271,
    OPTION_FR = 279,
    OPTION_RQI = 283,
    OPTION_TY = 267,
    CONTENT_INSTANCE = 4, // resource type
    FORMAT_JSON = 50,
    BLOCK_EXPONENT = 6,
    BLOCK_MORE = 8,
    DETAIL = 0x1f, // of a CoAP code
    READER_HEAD_MAX = 16384,
};

const char *const request_operation_names[REQUEST_OPERATIONS] = {"retrieve", "create", "discover", "notify"};

static const char opening[] = "{\"m2m:cin\":{\"con\":\"";
static const char closing[] = "\"}}";
static const char notification[] =
    "{\"m2m:sgn\":{\"nev\":{\"rep\":{\"m2m:cin\":{\"con\":\"21.5\"}},\"net\":3},\"sur\":\"/id-in/sub1\"}}";

static char content[REQUEST_CONTENT_MAX];
static size_t content_len;

bool request_mix_parse(const char *text, struct request_mix *mix)
{
    *mix = (struct request_mix){0};
    while (*text != '\0') {
        size_t name = strcspn(text, "=,");
        unsigned i = 0;
        while (i < REQUEST_OPERATIONS &&
               (strlen(request_operation_names[i]) != name || strncmp(request_operation_names[i], text, name) != 0))
            i++;
        if (i == REQUEST_OPERATIONS || text[name] != '=')
            return false;
        char *end;
        unsigned long weight = strtoul(text + name + 1, &end, 10);
        if (end == text + name + 1 || (*end != ',' && *end != '\0') || weight > 1000000)
            return false;
        mix->weight[i] += (unsigned)weight;
        mix->total += (unsigned)weight;
        text = *end == ',' ? end + 1 : end;
    }
    return mix->total > 0;
}

enum request_operation request_mix_at(const struct request_mix *mix, unsigned number)
{
    unsigned i = 0;
    while (i + 1 < REQUEST_OPERATIONS && number >= mix->weight[i])
        number -= mix->weight[i++];
    return (enum request_operation)i;
}

void request_setup(size_t bytes)
{
    content_len = bytes < REQUEST_CONTENT_MIN ? REQUEST_CONTENT_MIN : bytes;
    content_len = content_len > REQUEST_CONTENT_MAX ? REQUEST_CONTENT_MAX : content_len;
    for (size_t i = 0; i < content_len; i++)
        content[i] = (char)('a' + i % 26);
    memcpy(content, opening, sizeof opening - 1);
    memcpy(content + content_len - (sizeof closing - 1), closing, sizeof closing - 1);
}

static struct slice body_of(enum request_operation operation)
{
    if (operation == REQUEST_CREATE)
        return slice_of(content, content_len);
    return operation == REQUEST_NOTIFY ? slice_of(notification, sizeof notification - 1) : slice_of("", 0);
}

// What is created lies in the parent of what is retrieved.
static size_t path_len(const struct request *request)
{
    size_t len = strlen(request->path);
    bool virtual = len > 3 &&
                   (strcmp(request->path + len - 3, "/la") == 0 || strcmp(request->path + len - 3, "/ol") == 0);
    return virtual && request->operation != REQUEST_RETRIEVE ? len - 3 : len;
}

// --- CoAP --------------------------------------------------------------------------------------------------------

static struct coap_token token_of(uint32_t message)
{
    struct coap_token token = {.len = sizeof message};
    memcpy(token.bytes, &message, sizeof message);
    return token;
}

static void add_path(struct coap_list *list, const struct request *request)
{
    const char *segment = request->path;
    const char *end = segment + path_len(request);
    while (segment < end) {
        if (*segment == '/') {
            segment++;
            continue;
        }
        const char *slash = memchr(segment, '/', (size_t)(end - segment));
        size_t len = (size_t)((slash != NULL ? slash : end) - segment);
        coap_list_add(list, COAP_URI_PATH, slice_of(segment, len));
        segment += len;
    }
}

// The block of the body that goes into this message, with its option.
static struct slice add_block(struct coap_list *list, const struct request *request, struct slice body)
{
    if (body.len <= REQUEST_BLOCK || request->offset >= body.len)
        return body;
    size_t left = body.len - request->offset;
    uint32_t number = request->offset / REQUEST_BLOCK;
    coap_list_add_uint(list, COAP_BLOCK1, number << 4 | (left > REQUEST_BLOCK ? BLOCK_MORE : 0U) | BLOCK_EXPONENT);
    if (number == 0)
        coap_list_add_uint(list, COAP_SIZE1, (uint32_t)body.len);
    return slice_of(body.data + request->offset, left < REQUEST_BLOCK ? left : REQUEST_BLOCK);
}

static void add_onem2m(struct coap_list *list, const struct request *request, const char *id)
{
    if (request->from == NULL)
        return;
    if (request->operation == REQUEST_CREATE)
        coap_list_add_uint(list, OPTION_TY, CONTENT_INSTANCE);
    coap_list_add(list, OPTION_RVI, slice_of("3", 1));
    coap_list_add(list, OPTION_FR, slice_of(request->from, strlen(request->from)));
    coap_list_add(list, OPTION_RQI, slice_of(id, strlen(id)));
}

size_t request_write_coap(const struct request *request, uint8_t out[REQUEST_COAP_MAX])
{
    struct coap_list list;
    struct coap_writer writer;
    char id[16];
    struct slice body = body_of(request->operation);
    struct coap_token token = token_of(request->message);
    list.count = list.scratch_len = 0;
    list.full = false;
    (void)snprintf(id, sizeof id, "r%u", request->id);
    add_path(&list, request);
    if (body.len > 0)
        coap_list_add_uint(&list, COAP_CONTENT_FORMAT, FORMAT_JSON);
    if (request->operation == REQUEST_DISCOVER)
        coap_list_add(&list, COAP_URI_QUERY, slice_of("fu=1", 4));
    if (request->block > 0) {
        coap_list_add_uint(&list, COAP_BLOCK2, request->block << 4 | BLOCK_EXPONENT);
        body = slice_of("", 0);
    } else {
        body = add_block(&list, request, body);
    }
    add_onem2m(&list, request, id);
    bool post = request->operation == REQUEST_CREATE || request->operation == REQUEST_NOTIFY;
    coap_begin(&writer, out, REQUEST_COAP_MAX, COAP_CON, post ? COAP_POST : COAP_GET, (uint16_t)request->message,
               &token);
    coap_list_write(&list, &writer);
    coap_add_payload(&writer, body);
    int len = list.full ? 0 : coap_end(&writer);
    return len > 0 ? (size_t)len : 0;
}

static enum request_answer judge_blocks(struct request *request, const struct coap_message *message)
{
    struct coap_block block;
    if (message->code == COAP_CONTINUE) {
        request->offset += REQUEST_BLOCK;
        return request->offset < body_of(request->operation).len ? REQUEST_CONTINUE : REQUEST_MALFORMED;
    }
    const struct coap_option *more = coap_find(message, COAP_BLOCK2);
    if (more == NULL)
        return REQUEST_OK;
    if (!coap_block_parse(more->value, &block) || block.size != REQUEST_BLOCK || block.number != request->block)
        return REQUEST_MALFORMED;
    if (!block.more)
        return REQUEST_OK;
    request->block++;
    return REQUEST_NEXT_BLOCK;
}

enum request_answer request_judge_coap(struct request *request, const uint8_t *data, size_t len, bool *acknowledge,
                                       uint8_t acknowledgement[4])
{
    struct coap_message message;
    struct coap_token token = token_of(request->message);
    *acknowledge = false;
    if (coap_parse(data, len, &message) != SAGATE_OK)
        return REQUEST_MALFORMED;
    if (message.code == 0)
        return REQUEST_MORE;
    if (message.type == COAP_CON) {
        *acknowledge = true;
        coap_write_empty(acknowledgement, COAP_ACK, message.mid);
    }
    if (!coap_token_equal(&message.token, &token))
        return REQUEST_MORE;
    request->status = coap_class(message.code) * 100 + (message.code & DETAIL);
    return coap_class(message.code) == 2 ? judge_blocks(request, &message) : REQUEST_REFUSED;
}

// --- HTTP --------------------------------------------------------------------------------------------------------

size_t request_write_http(const struct request *request, uint8_t out[REQUEST_HTTP_MAX])
{
    static const char *const types[REQUEST_OPERATIONS] = {
        [REQUEST_CREATE] = "Content-Type: application/json;ty=4\r\n",
        [REQUEST_NOTIFY] = "Content-Type: application/json\r\n",
    };
    char parameters[384] = "";
    char about_body[128] = "";
    struct slice body = body_of(request->operation);
    const char *type = types[request->operation];
    if (request->from != NULL)
        (void)snprintf(parameters, sizeof parameters, "X-M2M-Origin: %s\r\nX-M2M-RI: r%u\r\nX-M2M-RVI: 3\r\n",
                       request->from, request->id);
    if (type != NULL)
        (void)snprintf(about_body, sizeof about_body, "%sContent-Length: %zu\r\n", type, body.len);
    int len = snprintf((char *)out, REQUEST_HEAD_MAX,
                       "%s %.*s%s HTTP/1.1\r\nHost: %s\r\n%s%sAccept: application/json\r\n\r\n",
                       type != NULL ? "POST" : "GET", (int)path_len(request), request->path,
                       request->operation == REQUEST_DISCOVER ? "?fu=1" : "", request->host, parameters, about_body);
    if (len <= 0 || len >= REQUEST_HEAD_MAX)
        return 0;
    memcpy(out + len, body.data, body.len);
    return (size_t)len + body.len;
}

void request_reader_reset(struct request_reader *reader)
{
    free(reader->head);
    *reader = (struct request_reader){0};
}

// Digits behind blanks; never beyond `end`.
static uint64_t number_at(const char *text, const char *end)
{
    uint64_t value = 0;
    while (text < end && *text == ' ')
        text++;
    for (; text < end && *text >= '0' && *text <= '9' && value < UINT32_MAX; text++)
        value = value * 10 + (uint64_t)(*text - '0');
    return value;
}

static uint64_t length_of(const char *head, size_t len)
{
    static const char name[] = "content-length:";
    const char *end = head + len;
    for (const char *line = head; line != NULL && line < end;) {
        if ((size_t)(end - line) >= sizeof name && strncasecmp(line, name, sizeof name - 1) == 0)
            return number_at(line + sizeof name - 1, end);
        const char *next = memchr(line, '\n', (size_t)(end - line));
        line = next == NULL ? NULL : next + 1;
    }
    return 0;
}

// Keeps what there is of a head.
static enum request_answer keep(struct request_reader *reader, const uint8_t *data, size_t len)
{
    if (reader->head_len + len > READER_HEAD_MAX)
        return REQUEST_MALFORMED;
    char *head = realloc(reader->head, reader->head_len + len);
    if (head == NULL)
        return REQUEST_MALFORMED;
    memcpy(head + reader->head_len, data, len);
    reader->head = head;
    reader->head_len += len;
    return REQUEST_MORE;
}

enum request_answer request_read_http(struct request_reader *reader, const uint8_t *data, size_t len)
{
    enum { STATUS_AT = 9 };
    size_t body = len;
    if (!reader->in_body) {
        const char *head = (const char *)data;
        size_t have = len;
        if (reader->head != NULL) {
            if (keep(reader, data, len) == REQUEST_MALFORMED)
                return REQUEST_MALFORMED;
            head = reader->head;
            have = reader->head_len;
        }
        const char *end = memmem(head, have, "\r\n\r\n", 4);
        if (end == NULL)
            return reader->head != NULL ? REQUEST_MORE : keep(reader, data, len);
        size_t head_len = (size_t)(end - head) + 4;
        if (head_len <= STATUS_AT)
            return REQUEST_MALFORMED;
        reader->in_body = true;
        reader->status = (unsigned)number_at(head + STATUS_AT, end);
        reader->body_left = length_of(head, head_len);
        body = have - head_len;
    }
    if (body < reader->body_left) {
        reader->body_left -= body;
        return REQUEST_MORE;
    }
    unsigned status = reader->status;
    request_reader_reset(reader);
    reader->status = status;
    return status / 100 == 2 ? REQUEST_OK : REQUEST_REFUSED;
}
