// CoAP messages as text.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/coap_text.h"

#include "common/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const types[] = {"CON", "NON", "ACK", "RST"};
static const char *const methods[] = {"-", "GET", "POST", "PUT", "DELETE", "FETCH"};

static bool is_uint(uint16_t number)
{
    static const uint16_t numbers[] = {6, 7, 12, 14, 17, 23, 27, 28, 60, 264, 265, 267, 303, 307, 319, 323};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (numbers[i] == number)
            return true;
    }
    return false;
}

static enum coap_type parse_type(const char *word, size_t len)
{
    for (enum coap_type type = COAP_CON; type <= COAP_RST; type++) {
        if (strlen(types[type]) == len && memcmp(types[type], word, len) == 0)
            return type;
    }
    abort();
}

static uint8_t parse_code(const char *word, size_t len)
{
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (strlen(methods[i]) == len && memcmp(methods[i], word, len) == 0)
            return (uint8_t)i;
    }
    if (len != 4 || word[1] != '.')
        abort();
    return COAP_CODE(word[0] - '0', (word[2] - '0') * 10 + (word[3] - '0'));
}

static void add_word(struct coap_list *list, const char *word, size_t len)
{
    char *rest;
    if (word[0] == '/') {
        coap_list_add(list, COAP_URI_PATH, slice_of(word + 1, len - 1));
        return;
    }
    uint16_t number = (uint16_t)strtoul(word, &rest, 10);
    if (*rest != '=' || rest >= word + len)
        abort();
    if (rest[1] == '#')
        coap_list_add_uint(list, number, (uint32_t)strtoul(rest + 2, NULL, 10));
    else
        coap_list_add(list, number, slice_of(rest + 1, (size_t)(word + len - rest - 1)));
}

size_t text_to_coap(const char *text, uint16_t mid, const struct coap_token *token, uint8_t *out, size_t cap)
{
    struct coap_list list = {0};
    struct coap_writer writer;
    struct coap_token own = {.len = 0};
    struct slice payload = {0};
    enum coap_type type = COAP_CON;
    uint8_t code = 0;
    for (unsigned index = 0; *text != '\0'; index++) {
        size_t len = strcspn(text, " ");
        if (index == 0) {
            type = parse_type(text, len);
        } else if (index == 1) {
            code = parse_code(text, len);
        } else if (text[0] == '@') {
            own.len = (uint8_t)(len - 1);
            memcpy(own.bytes, text + 1, len - 1);
            if (len == 2 && text[1] == '*' && token != NULL)
                own = *token;
        } else if (text[0] == '|') {
            payload = slice_text(text + 1);
            break;
        } else {
            add_word(&list, text, len);
        }
        text += len;
        text += strspn(text, " ");
    }
    coap_begin(&writer, out, cap, type, code, mid, &own);
    coap_list_write(&list, &writer);
    coap_add_payload(&writer, payload);
    int len = coap_end(&writer);
    if (len < 0)
        abort();
    return (size_t)len;
}

struct text {
    char *out;
    size_t len, cap;
};

static void put(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(text->out + text->len, text->cap - text->len, format, arguments);
    va_end(arguments);
    if (len < 0 || (size_t)len >= text->cap - text->len)
        abort();
    text->len += (size_t)len;
}

static bool printable(struct slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] <= 0x20 || value.data[i] > 0x7e)
            return false;
    }
    return true;
}

static void put_option(struct text *text, const struct coap_option *option)
{
    if (option->number == COAP_URI_PATH)
        put(text, " /%.*s", (int)option->value.len, (const char *)option->value.data);
    else if (is_uint(option->number) || !printable(option->value))
        put(text, " %u=#%u", option->number, coap_uint(option->value));
    else
        put(text, " %u=%.*s", option->number, (int)option->value.len, (const char *)option->value.data);
}

const char *coap_to_text(const uint8_t *data, size_t len, char *out, size_t cap)
{
    static struct coap_message message;
    struct text text = {.out = out, .cap = cap};
    if (coap_parse(data, len, &message) != SAGATE_OK) {
        put(&text, "malformed");
        return out;
    }
    put(&text, "%s ", types[message.type]);
    if (coap_class(message.code) == 0)
        put(&text, "%s", message.code > 5 ? "method" : methods[message.code]);
    else
        put(&text, "%u.%02u", coap_class(message.code), message.code & 31U);
    if (message.token.len == COAP_TOKEN_MAX)
        put(&text, " @*");
    else if (message.token.len > 0)
        put(&text, " @%.*s", message.token.len, (const char *)message.token.bytes);
    for (size_t i = 0; i < message.option_count; i++)
        put_option(&text, &message.options[i]);
    if (message.payload.len > 0)
        put(&text, " |%.*s", (int)message.payload.len, (const char *)message.payload.data);
    return out;
}
