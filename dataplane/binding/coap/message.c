// CoAP message parser and writer.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/binding/coap/message.h"

#include "common/error.h"

enum { VERSION = 1, PAYLOAD_MARKER = 0xff, OPTION_HEAD_MAX = 5 };

struct reader {
    const uint8_t *at, *end;
};

// A nibble of an option head, extended by one or two bytes (RFC 7252 section 3.1); false at 15 or at the end of input.
static inline bool read_extended(struct reader *in, unsigned nibble, uint32_t *value)
{
    *value = nibble;
    if (nibble < 13)
        return true;
    size_t extra = nibble == 13 ? 1 : 2;
    if (nibble == 15 || (size_t)(in->end - in->at) < extra)
        return false;
    *value = extra == 1 ? 13U + in->at[0] : 269U + ((uint32_t)in->at[0] << 8 | in->at[1]);
    in->at += extra;
    return true;
}

static int parse_options(struct reader *in, struct coap_message *message)
{
    uint32_t number = 0;
    while (in->at < in->end) {
        uint8_t head = *in->at++;
        uint32_t delta, len;
        if (head == PAYLOAD_MARKER) {
            if (in->at == in->end)
                return SAGATE_EMALFORMED;
            message->payload = slice_of(in->at, (size_t)(in->end - in->at));
            return SAGATE_OK;
        }
        if (!read_extended(in, head >> 4, &delta) || !read_extended(in, head & 15U, &len))
            return SAGATE_EMALFORMED;
        number += delta;
        if (number > UINT16_MAX || (size_t)(in->end - in->at) < len)
            return SAGATE_EMALFORMED;
        if (message->option_count < COAP_OPTIONS_MAX) {
            message->options[message->option_count++] =
                (struct coap_option){.number = (uint16_t)number, .value = slice_of(in->at, len)};
        } else if (coap_is_critical((uint16_t)number)) {
            message->critical_cut = true;
        }
        in->at += len;
    }
    return SAGATE_OK;
}

// Which codes go with which types (RFC 7252 section 4.2, 4.3 and table 1).
static bool code_fits(const struct coap_message *message)
{
    unsigned class = coap_class(message->code);
    if (message->code == 0)
        return message->type != COAP_NON;
    if (class == 1 || class == 3 || class > 5)
        return false;
    if (message->type == COAP_RST)
        return false;
    return message->type != COAP_ACK || class != 0;
}

int coap_parse(const uint8_t *data, size_t len, struct coap_message *message)
{
    if (len < COAP_HEAD || data[0] >> 6 != VERSION)
        return SAGATE_EINVAL;
    message->type = (enum coap_type)(data[0] >> 4 & 3U);
    message->code = data[1];
    message->mid = (uint16_t)(data[2] << 8 | data[3]);
    message->token.len = data[0] & 15U;
    message->option_count = 0;
    message->critical_cut = false;
    message->payload = (struct slice){0};
    if (!code_fits(message) || message->token.len > COAP_TOKEN_MAX || len - COAP_HEAD < message->token.len)
        return SAGATE_EMALFORMED;
    if (message->code == 0)
        return len == COAP_HEAD && message->token.len == 0 ? SAGATE_OK : SAGATE_EMALFORMED;
    memcpy(message->token.bytes, data + COAP_HEAD, message->token.len);
    struct reader in = {.at = data + COAP_HEAD + message->token.len, .end = data + len};
    return parse_options(&in, message);
}

const struct coap_option *coap_find(const struct coap_message *message, uint16_t number)
{
    for (size_t i = 0; i < message->option_count; i++) {
        if (message->options[i].number == number)
            return &message->options[i];
    }
    return NULL;
}

uint32_t coap_uint(struct slice value)
{
    uint32_t number = 0;
    if (value.len > 4)
        return UINT32_MAX;
    for (size_t i = 0; i < value.len; i++)
        number = number << 8 | value.data[i];
    return number;
}

bool coap_block_parse(struct slice value, struct coap_block *block)
{
    if (value.len > 3)
        return false;
    uint32_t bits = coap_uint(value);
    unsigned exponent = bits & 7U;
    block->number = bits >> 4;
    block->more = (bits & 8U) != 0;
    block->size = 16U << exponent;
    block->offset = block->number << (exponent + 4); // 20 and 10 bits at most
    return exponent != 7;
}

static inline void put(struct coap_writer *writer, const void *data, size_t len)
{
    if (writer->full || writer->cap - writer->len < len) {
        writer->full = true;
        return;
    }
    if (len > 0)
        memcpy(writer->data + writer->len, data, len);
    writer->len += len;
}

void coap_begin(struct coap_writer *writer, uint8_t *data, size_t cap, enum coap_type type, uint8_t code, uint16_t mid,
                const struct coap_token *token)
{
    uint8_t head[COAP_HEAD];
    coap_write_empty(head, type, mid);
    head[0] = (uint8_t)(head[0] | token->len);
    head[1] = code;
    *writer = (struct coap_writer){.data = data, .cap = cap};
    put(writer, head, sizeof head);
    put(writer, token->bytes, token->len);
}

// Returns the nibble and writes the extension bytes to *out, which moves on.
static inline unsigned extend(uint32_t value, uint8_t **out)
{
    if (value < 13)
        return value;
    if (value < 269) {
        *(*out)++ = (uint8_t)(value - 13);
        return 13;
    }
    *(*out)++ = (uint8_t)((value - 269) >> 8);
    *(*out)++ = (uint8_t)(value - 269);
    return 14;
}

// Writes the head of an option, at most OPTION_HEAD_MAX bytes; returns its length.
static inline size_t option_head(uint8_t *out, uint32_t delta, uint32_t len)
{
    uint8_t *end = out + 1;
    unsigned nibble = extend(delta, &end);
    out[0] = (uint8_t)(nibble << 4 | extend(len, &end));
    return (size_t)(end - out);
}

// Most values are short: two moves that overlap are less than a call.
static inline void copy_value(uint8_t *to, struct slice value)
{
    const uint8_t *from = value.data;
    size_t len = value.len;
    uint64_t first, last;
    uint32_t first_half, last_half;
    if (len > 16) {
        memcpy(to, from, len);
    } else if (len >= sizeof first) {
        memcpy(&first, from, sizeof first);
        memcpy(&last, from + len - sizeof last, sizeof last);
        memcpy(to, &first, sizeof first);
        memcpy(to + len - sizeof last, &last, sizeof last);
    } else if (len >= sizeof first_half) {
        memcpy(&first_half, from, sizeof first_half);
        memcpy(&last_half, from + len - sizeof last_half, sizeof last_half);
        memcpy(to, &first_half, sizeof first_half);
        memcpy(to + len - sizeof last_half, &last_half, sizeof last_half);
    } else {
        for (size_t i = 0; i < len; i++)
            to[i] = from[i];
    }
}

// Inlined into the loop over a list, since the call costs about as much as the rest.
__attribute__((always_inline)) static inline void add(struct coap_writer *writer, uint16_t number, struct slice value)
{
    uint8_t head[OPTION_HEAD_MAX];
    if (number < writer->last || value.len > UINT16_MAX) {
        writer->disordered = true;
        return;
    }
    uint32_t delta = (uint32_t)number - writer->last;
    writer->last = number;
    if (!writer->full && writer->cap - writer->len >= OPTION_HEAD_MAX + value.len) { // it fits, whatever its head is
        uint8_t *at = writer->data + writer->len;
        size_t len = option_head(at, delta, (uint32_t)value.len);
        copy_value(at + len, value);
        writer->len += len + value.len;
        return;
    }
    put(writer, head, option_head(head, delta, (uint32_t)value.len));
    put(writer, value.data, value.len);
}

void coap_add(struct coap_writer *writer, uint16_t number, struct slice value)
{
    add(writer, number, value);
}

void coap_add_payload(struct coap_writer *writer, struct slice payload)
{
    static const uint8_t marker = PAYLOAD_MARKER;
    if (payload.len == 0)
        return;
    put(writer, &marker, 1);
    put(writer, payload.data, payload.len);
}

int coap_end(const struct coap_writer *writer)
{
    if (writer->disordered)
        return SAGATE_EINVAL;
    return writer->full ? SAGATE_ETOOBIG : (int)writer->len;
}

void coap_list_insert(struct coap_list *list, uint16_t number, struct slice value)
{
    if (list->count == COAP_LIST_MAX) {
        list->full = true;
        return;
    }
    // Moved down past greater numbers only, which keeps the sort stable.
    size_t at = list->count++;
    while (at > 0 && list->options[at - 1].number > number) {
        list->options[at] = list->options[at - 1];
        at--;
    }
    list->options[at] = (struct coap_option){.number = number, .value = value};
}

void coap_list_add_uint(struct coap_list *list, uint16_t number, uint32_t value)
{
    if (list->count == COAP_LIST_MAX || list->scratch_len + 4 > sizeof list->scratch) {
        list->full = true;
        return;
    }
    uint8_t *start = list->scratch + list->scratch_len;
    size_t len = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        if (len > 0 || value >> shift != 0)
            start[len++] = (uint8_t)(value >> shift);
    }
    list->scratch_len += len;
    coap_list_add(list, number, slice_of(start, len));
}

void coap_list_write(struct coap_list *list, struct coap_writer *writer)
{
    struct coap_writer copy = *writer; // which nobody else knows, so that it can be held in registers
    for (size_t i = 0; i < list->count; i++)
        add(&copy, list->options[i].number, list->options[i].value);
    copy.full = copy.full || list->full;
    *writer = copy;
}

void coap_write_empty(uint8_t out[COAP_HEAD], enum coap_type type, uint16_t mid)
{
    out[0] = (uint8_t)(VERSION << 6 | (unsigned)type << 4);
    out[1] = 0;
    out[2] = (uint8_t)(mid >> 8);
    out[3] = (uint8_t)mid;
}
