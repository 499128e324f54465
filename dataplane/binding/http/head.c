// The head parser: one state for each place between two bytes at which a reader could be led astray.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/binding/http/head.h"

#include "common/error.h"

#include <strings.h>

enum state {
    START,
    START_LF,
    METHOD,
    TARGET,
    VERSION,
    STATUS,
    STATUS_END,
    REASON,
    LINE_LF,
    FIELD_START,
    NAME,
    VALUE,
    VALUE_LF,
    END_LF,
    COMPLETE,
};

enum { VERSION_LEN = 8, STATUS_LEN = 3 };

// One empty line before a request (RFC 9112 section 2.2); two before a response, since a CSE in the field sends a stray
// CRLF after a body.
static unsigned empty_lines_max(enum http_head_kind kind)
{
    return kind == HTTP_REQUEST_HEAD ? 1 : 2;
}

bool http_is_tchar(uint8_t c)
{
    if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'))
        return true;
    return c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

bool http_is_token(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!http_is_tchar(text.data[i]))
            return false;
    }
    return text.len > 0;
}

bool http_same(struct slice text, const char *other)
{
    return text.len == strlen(other) && (text.len == 0 || strncasecmp((const char *)text.data, other, text.len) == 0);
}

bool http_begins(struct slice text, const char *prefix)
{
    size_t len = strlen(prefix);
    return text.len >= len && strncasecmp((const char *)text.data, prefix, len) == 0;
}

static bool is_ows(uint8_t c)
{
    return c == ' ' || c == '\t';
}

bool http_list_next(struct slice *rest, struct slice *element)
{
    while (rest->len > 0) {
        const uint8_t *comma = memchr(rest->data, ',', rest->len);
        size_t len = comma == NULL ? rest->len : (size_t)(comma - rest->data);
        *element = slice_of(rest->data, len);
        size_t step = comma == NULL ? len : len + 1;
        *rest = slice_of(rest->data + step, rest->len - step);
        while (element->len > 0 && is_ows(element->data[0]))
            *element = slice_of(element->data + 1, element->len - 1);
        while (element->len > 0 && is_ows(element->data[element->len - 1]))
            element->len--;
        if (element->len > 0)
            return true;
    }
    return false;
}

bool http_connection_names(const struct http_head *head, struct slice option)
{
    for (size_t i = 0; i < head->field_count; i++) {
        struct slice named;
        if (!http_same(http_head_name(head, i), "Connection"))
            continue;
        struct slice rest = http_head_value(head, i);
        while (http_list_next(&rest, &named)) {
            if (named.len == option.len &&
                strncasecmp((const char *)named.data, (const char *)option.data, named.len) == 0)
                return true;
        }
    }
    return false;
}

int http_number(struct slice text, uint64_t *number)
{
    if (text.len == 0 || text.len > 18)
        return SAGATE_EMALFORMED;
    *number = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return SAGATE_EMALFORMED;
        *number = *number * 10 + (uint64_t)(text.data[i] - '0');
    }
    return SAGATE_OK;
}

void http_head_init(struct http_head *head, enum http_head_kind kind, size_t max)
{
    head->bytes = (struct buffer){0};
    http_head_again(head, kind, max, 0);
}

void http_head_again(struct http_head *head, enum http_head_kind kind, size_t max, size_t keep)
{
    buffer_reuse(&head->bytes, keep);
    head->kind = kind;
    head->state = START;
    head->error = SAGATE_OK;
    head->max = max;
    head->mark = 0;
    head->empty_lines = 0;
    head->method_len = head->target_at = head->target_len = 0;
    head->version = 0;
    head->status = 0;
    head->field_count = 0;
}

void http_head_release(struct http_head *head)
{
    buffer_release(&head->bytes);
}

static int end_version(struct http_head *head)
{
    const uint8_t *text = head->bytes.data + head->mark;
    if (head->bytes.len - head->mark != VERSION_LEN || memcmp(text, "HTTP/", 5) != 0 || text[6] != '.' ||
        text[5] < '0' || text[5] > '9' || text[7] < '0' || text[7] > '9')
        return SAGATE_EMALFORMED;
    head->version = (text[5] - '0') * 10 + (text[7] - '0');
    if (head->version == 11 || (head->kind == HTTP_RESPONSE_HEAD && head->version == 10))
        return SAGATE_OK;
    return SAGATE_EVERSION;
}

static int end_status(struct http_head *head)
{
    const uint8_t *text = head->bytes.data + head->mark;
    if (head->bytes.len - head->mark != STATUS_LEN)
        return SAGATE_EMALFORMED;
    head->status = 0;
    for (size_t i = 0; i < STATUS_LEN; i++) {
        if (text[i] < '0' || text[i] > '9')
            return SAGATE_EMALFORMED;
        head->status = head->status * 10 + (text[i] - '0');
    }
    return head->status >= 100 && head->status <= 599 ? SAGATE_OK : SAGATE_EMALFORMED;
}

static int end_name(struct http_head *head)
{
    if (head->field_count == HTTP_FIELDS_MAX)
        return SAGATE_ETOOBIG;
    struct http_field *field = &head->fields[head->field_count];
    field->name = (uint32_t)head->mark;
    field->name_len = (uint32_t)(head->bytes.len - head->mark);
    return SAGATE_OK;
}

static void end_value(struct http_head *head)
{
    struct http_field *field = &head->fields[head->field_count++];
    size_t from = head->mark, to = head->bytes.len;
    while (from < to && is_ows(head->bytes.data[from]))
        from++;
    while (to > from && is_ows(head->bytes.data[to - 1]))
        to--;
    field->value = (uint32_t)from;
    field->value_len = (uint32_t)(to - from);
}

// A byte of the start line. The byte itself is appended by the caller afterwards; marks are set past it.
static int step_start_line(struct http_head *head, uint8_t c)
{
    size_t next = head->bytes.len + 1;
    int result = SAGATE_OK;
    switch (head->state) {
    case START:
        if (c == '\r' && head->empty_lines < empty_lines_max(head->kind)) {
            head->state = START_LF;
            return SAGATE_OK;
        }
        head->mark = 0;
        head->state = head->kind == HTTP_REQUEST_HEAD ? METHOD : VERSION;
        if (head->kind == HTTP_REQUEST_HEAD)
            return http_is_tchar(c) ? SAGATE_OK : SAGATE_EMALFORMED;
        return c == 'H' ? SAGATE_OK : SAGATE_EMALFORMED;
    case START_LF:
        head->empty_lines++;
        head->state = START;
        return c == '\n' ? SAGATE_OK : SAGATE_EMALFORMED;
    case METHOD:
        if (c != ' ')
            return http_is_tchar(c) ? SAGATE_OK : SAGATE_EMALFORMED;
        head->method_len = (uint32_t)head->bytes.len;
        head->mark = next;
        head->state = TARGET;
        return SAGATE_OK;
    case TARGET:
        if (c != ' ')
            return c > ' ' && c < 0x7f ? SAGATE_OK : SAGATE_EMALFORMED;
        head->target_at = (uint32_t)head->mark;
        head->target_len = (uint32_t)(head->bytes.len - head->mark);
        head->mark = next;
        head->state = VERSION;
        return head->target_len > 0 ? SAGATE_OK : SAGATE_EMALFORMED;
    case VERSION:
        if (c != (head->kind == HTTP_REQUEST_HEAD ? '\r' : ' '))
            return head->bytes.len - head->mark < VERSION_LEN ? SAGATE_OK : SAGATE_EMALFORMED;
        result = end_version(head);
        head->mark = next;
        head->state = head->kind == HTTP_REQUEST_HEAD ? LINE_LF : STATUS;
        return result;
    case STATUS:
        // The blank after the status is often left out together with the reason phrase.
        if (c != ' ' && c != '\r')
            return head->bytes.len - head->mark < STATUS_LEN ? SAGATE_OK : SAGATE_EMALFORMED;
        head->state = c == ' ' ? REASON : LINE_LF;
        return end_status(head);
    default: // REASON
        if (c == '\r')
            head->state = LINE_LF;
        return c == '\r' || c == '\t' || (c >= ' ' && c != 0x7f) ? SAGATE_OK : SAGATE_EMALFORMED;
    }
}

static int step_field(struct http_head *head, uint8_t c)
{
    size_t next = head->bytes.len + 1;
    switch (head->state) {
    case FIELD_START:
        head->mark = head->bytes.len;
        head->state = c == '\r' ? END_LF : NAME;
        // White space here would be obs-fold or a field before the first one (RFC 9112 sections 2.2, 5.2).
        return c == '\r' || http_is_tchar(c) ? SAGATE_OK : SAGATE_EMALFORMED;
    case NAME:
        if (c != ':')
            return http_is_tchar(c) ? SAGATE_OK : SAGATE_EMALFORMED;
        if (head->kind == HTTP_REQUEST_HEAD && memchr(head->bytes.data + head->mark, '_', head->bytes.len - head->mark))
            return SAGATE_EMALFORMED; // read as '-' by some servers, so a second name for the same field
        int result = end_name(head);
        head->mark = next;
        head->state = VALUE;
        return result;
    case VALUE:
        if (c == '\r') {
            end_value(head);
            head->state = VALUE_LF;
            return SAGATE_OK;
        }
        return c == '\t' || (c >= ' ' && c != 0x7f) ? SAGATE_OK : SAGATE_EMALFORMED;
    default: // LINE_LF, VALUE_LF, END_LF
        if (c != '\n')
            return SAGATE_EMALFORMED;
        head->state = head->state == END_LF ? COMPLETE : FIELD_START;
        return SAGATE_OK;
    }
}

int http_head_feed(struct http_head *head, const uint8_t *data, size_t len, size_t *used)
{
    *used = 0;
    if (head->error != SAGATE_OK)
        return head->error;
    if (head->state == COMPLETE)
        return SAGATE_OK;
    size_t room = head->max - head->bytes.len;
    if (!buffer_room(&head->bytes, len < room ? len : room))
        return head->error = SAGATE_ENOMEM;
    while (*used < len) {
        if (head->bytes.len == head->max)
            return head->error = SAGATE_ETOOBIG;
        uint8_t c = data[(*used)++];
        bool before = head->state == START_LF || (head->state == START && c == '\r');
        int result = head->state < LINE_LF ? step_start_line(head, c) : step_field(head, c);
        if (result != SAGATE_OK)
            return head->error = result;
        if (before)
            continue; // an empty line before the start line is no part of the head
        head->bytes.data[head->bytes.len++] = c;
        if (head->state == COMPLETE)
            return SAGATE_OK;
    }
    return SAGATE_AGAIN;
}

struct slice http_head_method(const struct http_head *head)
{
    return slice_of(head->bytes.data, head->method_len);
}

struct slice http_head_target(const struct http_head *head)
{
    if (head->target_len == 0)
        return (struct slice){0};
    return slice_of(head->bytes.data + head->target_at, head->target_len);
}

struct slice http_head_name(const struct http_head *head, size_t index)
{
    return slice_of(head->bytes.data + head->fields[index].name, head->fields[index].name_len);
}

struct slice http_head_value(const struct http_head *head, size_t index)
{
    return slice_of(head->bytes.data + head->fields[index].value, head->fields[index].value_len);
}

size_t http_head_find(const struct http_head *head, const char *name, struct slice *value)
{
    size_t count = 0;
    *value = (struct slice){0};
    for (size_t i = 0; i < head->field_count; i++) {
        if (!http_same(http_head_name(head, i), name))
            continue;
        if (count++ == 0)
            *value = http_head_value(head, i);
    }
    return count;
}
