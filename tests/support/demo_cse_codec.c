// CoAP messages, taken apart and put together.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "demo_cse_codec.h"

#include <string.h>

// Reads the extended form of an option's delta or length.
static bool extended(const uint8_t *data, size_t len, size_t *at, size_t nibble, size_t *value)
{
    if (nibble == 15)
        return false;
    if (nibble < 13) {
        *value = nibble;
        return true;
    }
    size_t need = nibble == 13 ? 1 : 2;
    if (*at + need > len)
        return false;
    *value = nibble == 13 ? data[*at] + 13U : (size_t)(data[*at] << 8 | data[*at + 1]) + 269;
    *at += need;
    return true;
}

bool coap_parse(const uint8_t *data, size_t len, struct coap_message *message)
{
    memset(message, 0, sizeof *message);
    if (len < 4 || data[0] >> 6 != 1)
        return false;
    message->type = data[0] >> 4 & 3;
    message->token_len = data[0] & 15;
    message->code = data[1];
    message->id = (uint16_t)(data[2] << 8 | data[3]);
    if (message->token_len > 8 || len < 4U + message->token_len)
        return false;
    memcpy(message->token, data + 4, message->token_len);
    if (message->code == 0)
        return len == 4;
    size_t at = 4U + message->token_len, number = 0;
    while (at < len && data[at] != 0xff) {
        size_t delta, option_len;
        uint8_t first = data[at++];
        if (!extended(data, len, &at, first >> 4, &delta) || !extended(data, len, &at, first & 15, &option_len))
            return false;
        number += delta;
        if (number > UINT16_MAX || option_len > len - at || message->option_count == COAP_OPTIONS_MAX)
            return false;
        message->options[message->option_count++] = (struct coap_option){(uint16_t)number, option_len, data + at};
        at += option_len;
    }
    if (at < len) {
        message->payload = data + at + 1;
        message->payload_len = len - at - 1;
        return message->payload_len > 0;
    }
    return true;
}

const struct coap_option *coap_find(const struct coap_message *message, uint16_t number)
{
    for (size_t i = 0; i < message->option_count; i++)
        if (message->options[i].number == number)
            return &message->options[i];
    return NULL;
}

uint32_t coap_uint(const struct coap_option *option)
{
    uint32_t value = 0;
    for (size_t i = 0; option != NULL && i < option->len && i < 4; i++)
        value = value << 8 | option->value[i];
    return value;
}

static void put(struct coap_writer *w, const void *bytes, size_t len)
{
    if (w->overflow || len > sizeof w->bytes - w->len) {
        w->overflow = true;
        return;
    }
    if (len > 0)
        memcpy(w->bytes + w->len, bytes, len);
    w->len += len;
}

void coap_begin(struct coap_writer *w, uint8_t type, uint8_t code, uint16_t id, const uint8_t *token, uint8_t token_len)
{
    uint8_t head[4] = {(uint8_t)(0x40 | type << 4 | token_len), code, (uint8_t)(id >> 8), (uint8_t)id};
    w->len = 0;
    w->last = 0;
    w->overflow = false;
    put(w, head, sizeof head);
    put(w, token, token_len);
}

static uint8_t nibble_of(size_t value)
{
    return (uint8_t)(value < 13 ? value : value < 269 ? 13 : 14);
}

static void put_extended(struct coap_writer *w, size_t value)
{
    uint8_t two[2];
    if (value < 13)
        return;
    if (value < 269) {
        two[0] = (uint8_t)(value - 13);
        put(w, two, 1);
        return;
    }
    two[0] = (uint8_t)((value - 269) >> 8);
    two[1] = (uint8_t)(value - 269);
    put(w, two, 2);
}

void coap_add(struct coap_writer *w, uint16_t number, const void *value, size_t len)
{
    size_t delta = (size_t)(number - w->last);
    uint8_t first = (uint8_t)(nibble_of(delta) << 4 | nibble_of(len));
    put(w, &first, 1);
    put_extended(w, delta);
    put_extended(w, len);
    put(w, value, len);
    w->last = number;
}

void coap_add_uint(struct coap_writer *w, uint16_t number, uint32_t value)
{
    uint8_t bytes[4];
    size_t len = 0;
    for (int shift = 24; shift >= 0; shift -= 8)
        if (len > 0 || (value >> shift & 0xff) != 0)
            bytes[len++] = (uint8_t)(value >> shift);
    coap_add(w, number, bytes, len);
}

void coap_add_payload(struct coap_writer *w, const void *payload, size_t len)
{
    static const uint8_t marker = 0xff;
    if (len == 0)
        return;
    put(w, &marker, 1);
    put(w, payload, len);
}
