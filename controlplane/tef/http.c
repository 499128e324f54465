// Answers are read line by line; nothing is repaired.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/tef/http.h"

#include "common/error.h"
#include "common/secret.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { STATUS_LINE, FIELDS, BODY, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILERS, COMPLETE, BROKEN };
enum { INTERIM_MAX = 8 };

void tef_response_reset(struct tef_response *response)
{
    secret_zero(response, sizeof *response);
}

static int refuse(struct tef_response *response, const char *why)
{
    response->state = BROKEN;
    response->why = why;
    return SAGATE_EMALFORMED;
}

// One line without its CRLF in response->line, NUL-terminated. A line feed alone ends none.
static int take_line(struct tef_response *response, const uint8_t *data, size_t len, size_t *at)
{
    while (*at < len) {
        uint8_t c = data[(*at)++];
        if (response->cr) {
            response->cr = false;
            if (c != '\n')
                return refuse(response, "a carriage return without a line feed");
            response->line[response->line_len] = '\0';
            return SAGATE_OK;
        }
        if (c == '\r') {
            response->cr = true;
            continue;
        }
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return refuse(response, "a control character in the head");
        if (response->line_len + 1 >= sizeof response->line)
            return refuse(response, "a line of the head is too long");
        response->line[response->line_len++] = (char)c;
    }
    return SAGATE_AGAIN;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int status_line(struct tef_response *response)
{
    const char *line = response->line;
    if (response->line_len < 12 || memcmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') ||
        line[8] != ' ' || !is_digit(line[9]) || !is_digit(line[10]) || !is_digit(line[11]) ||
        (line[12] != ' ' && line[12] != '\0'))
        return refuse(response, "no status line of HTTP/1.1");
    response->version_1_0 = line[7] == '0';
    response->close = response->version_1_0;
    response->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
    if (response->status < 100 || response->status > 599 || response->status == 101)
        return refuse(response, "a status code that is none");
    response->state = FIELDS;
    return SAGATE_OK;
}

static bool number(const char *text, uint64_t *value)
{
    size_t len = strlen(text);
    *value = 0;
    if (len == 0 || len > 9)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!is_digit(text[i]))
            return false;
        *value = *value * 10 + (uint64_t)(text[i] - '0');
    }
    return true;
}

static int content_length(struct tef_response *response, const char *value)
{
    if (response->has_length)
        return refuse(response, "Content-Length stands twice");
    if (!number(value, &response->left))
        return refuse(response, "Content-Length is no number");
    response->has_length = true;
    return response->left <= TEF_BODY_MAX ? SAGATE_OK : refuse(response, "the body is too long");
}

static int field(struct tef_response *response, const char *name, const char *value)
{
    uint64_t rsc;
    if (strcasecmp(name, "Content-Length") == 0)
        return content_length(response, value);
    if (strcasecmp(name, "Transfer-Encoding") == 0) {
        if (response->chunked || response->version_1_0 || strcasecmp(value, "chunked") != 0)
            return refuse(response, "a transfer coding other than chunked");
        response->chunked = true;
    } else if (strcasecmp(name, "Content-Encoding") == 0) {
        if (strcasecmp(value, "identity") != 0)
            return refuse(response, "a content coding");
    } else if (strcasecmp(name, "Connection") == 0) {
        if (strcasestr(value, "close") != NULL)
            response->close = true;
    } else if (strcasecmp(name, "X-M2M-RSC") == 0) {
        if (response->rsc != 0 || !number(value, &rsc) || rsc < 1000 || rsc > 9999)
            return refuse(response, "X-M2M-RSC is no response status code");
        response->rsc = (unsigned)rsc;
    } else if (strcasecmp(name, "X-M2M-RI") == 0) {
        size_t len = strlen(value);
        if (response->request_id[0] != '\0' || len == 0 || len > TEF_REQUEST_ID_MAX)
            return refuse(response, "X-M2M-RI is no request identifier of ours");
        memcpy(response->request_id, value, len + 1);
    }
    return SAGATE_OK;
}

static bool is_token(const char *text)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        bool letter = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') || is_digit(*text);
        if (!letter && strchr(others, *text) == NULL)
            return false;
    }
    return true;
}

static int field_line(struct tef_response *response, bool trailer)
{
    char *colon = strchr(response->line, ':');
    if (++response->fields > TEF_FIELDS_MAX)
        return refuse(response, "too many fields");
    if (colon == NULL)
        return refuse(response, "a field without a colon");
    *colon = '\0';
    if (!is_token(response->line))
        return refuse(response, "a field name that is none");
    char *value = colon + 1, *end = response->line + response->line_len;
    while (*value == ' ' || *value == '\t')
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        *--end = '\0';
    return trailer ? SAGATE_OK : field(response, response->line, value);
}

static int end_of_head(struct tef_response *response)
{
    if (response->chunked && response->has_length)
        return refuse(response, "both Content-Length and Transfer-Encoding");
    if (response->status < 200) {
        unsigned interim = response->interim + 1;
        if (interim > INTERIM_MAX || response->chunked || (response->has_length && response->left > 0))
            return refuse(response, "interim answers that are none");
        tef_response_reset(response);
        response->interim = interim;
        return SAGATE_OK;
    }
    if (response->status == 204 || response->status == 304) {
        if (response->chunked || (response->has_length && response->left > 0))
            return refuse(response, "a body where none can be");
        response->state = COMPLETE;
    } else if (response->chunked) {
        response->state = CHUNK_SIZE;
    } else if (!response->has_length) {
        return refuse(response, "the length of the body is not told");
    } else {
        response->state = response->left > 0 ? BODY : COMPLETE;
    }
    return SAGATE_OK;
}

static int chunk_size(struct tef_response *response)
{
    uint64_t size = 0;
    if (response->line_len == 0 || response->line_len > 8)
        return refuse(response, "a chunk without a plain size"); // extensions are refused as well
    for (size_t i = 0; i < response->line_len; i++) {
        char c = response->line[i];
        int digit = is_digit(c)              ? c - '0'
                    : (c >= 'a' && c <= 'f') ? c - 'a' + 10
                    : (c >= 'A' && c <= 'F') ? c - 'A' + 10
                                             : -1;
        if (digit < 0)
            return refuse(response, "a chunk without a plain size");
        size = size << 4 | (uint64_t)digit;
    }
    if (size > TEF_BODY_MAX - response->body_len)
        return refuse(response, "the body is too long");
    response->left = size;
    response->state = size > 0 ? CHUNK : TRAILERS;
    return SAGATE_OK;
}

static int line_done(struct tef_response *response)
{
    int rc = SAGATE_OK;
    switch (response->state) {
    case STATUS_LINE:
        rc = status_line(response);
        break;
    case FIELDS:
        rc = response->line_len > 0 ? field_line(response, false) : end_of_head(response);
        break;
    case CHUNK_SIZE:
        rc = chunk_size(response);
        break;
    case CHUNK_END:
        if (response->line_len > 0)
            return refuse(response, "a chunk longer than its size");
        response->state = CHUNK_SIZE;
        break;
    default:
        if (response->line_len > 0)
            rc = field_line(response, true);
        else
            response->state = COMPLETE;
    }
    response->line_len = 0;
    return rc;
}

static void take_body(struct tef_response *response, const uint8_t *data, size_t len, size_t *at)
{
    size_t n = len - *at < response->left ? len - *at : (size_t)response->left;
    memcpy(response->body + response->body_len, data + *at, n);
    response->body_len += n;
    response->left -= n;
    *at += n;
    if (response->left == 0)
        response->state = response->chunked ? CHUNK_END : COMPLETE;
}

int tef_response_feed(struct tef_response *response, struct slice bytes, size_t *used)
{
    *used = 0;
    if (response->state == BROKEN)
        return SAGATE_EMALFORMED;
    while (response->state != COMPLETE) {
        if (response->state == BODY || response->state == CHUNK) {
            if (*used == bytes.len)
                return SAGATE_AGAIN;
            take_body(response, bytes.data, bytes.len, used);
            continue;
        }
        int rc = take_line(response, bytes.data, bytes.len, used);
        if (rc == SAGATE_OK)
            rc = line_done(response);
        if (rc != SAGATE_OK)
            return rc;
    }
    return SAGATE_DONE;
}

int tef_request_write(const struct tef_message *message, char *out, size_t cap)
{
    char type[64] = "", content[160] = "";
    size_t body_len = message->body == NULL ? 0 : strlen(message->body);
    if (message->type > 0)
        (void)snprintf(type, sizeof type, ";ty=%u", message->type);
    if (message->body != NULL)
        (void)snprintf(content, sizeof content, "Content-Type: application/json%s\r\nContent-Length: %zu\r\n", type,
                       body_len);
    int n = snprintf(out, cap,
                     "%s %s HTTP/1.1\r\nHost: %s\r\nX-M2M-Origin: %s\r\nX-M2M-RI: %s\r\nX-M2M-RVI: 3\r\n"
                     "Accept: application/json\r\n%s\r\n%s",
                     message->method, message->target, message->host, message->origin, message->request_id, content,
                     message->body == NULL ? "" : message->body);
    return n > 0 && (size_t)n < cap ? n : SAGATE_ETOOBIG;
}
