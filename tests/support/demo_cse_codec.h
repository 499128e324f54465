// CoAP messages (RFC 7252 section 3) for the demonstration CSE: its own codec, so that it shares none with sagate.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_SUPPORT_DEMO_CSE_CODEC_H
#define SAGATE_TESTS_SUPPORT_DEMO_CSE_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { COAP_CON, COAP_NON, COAP_ACK, COAP_RST };
enum { COAP_OPTIONS_MAX = 80, COAP_DATAGRAM_MAX = 65536, COAP_ANSWER_MAX = 2048, COAP_BLOCK_BYTES = 1024 };
enum {
    OPTION_URI_HOST = 3,
    OPTION_OBSERVE = 6,
    OPTION_URI_PORT = 7,
    OPTION_LOCATION_PATH = 8,
    OPTION_URI_PATH = 11,
    OPTION_CONTENT_FORMAT = 12,
    OPTION_MAX_AGE = 14,
    OPTION_URI_QUERY = 15,
    OPTION_ACCEPT = 17,
    OPTION_BLOCK2 = 23,
    OPTION_BLOCK1 = 27,
    OPTION_SIZE2 = 28,
    OPTION_SIZE1 = 60
};

struct coap_option {
    uint16_t number;
    size_t len;
    const uint8_t *value;
};

struct coap_message {
    uint8_t type, code, token_len, token[8];
    uint16_t id;
    size_t option_count;
    struct coap_option options[COAP_OPTIONS_MAX];
    const uint8_t *payload;
    size_t payload_len;
};

// False for a message format error. The views in *message are of `data`.
bool coap_parse(const uint8_t *data, size_t len, struct coap_message *message);
const struct coap_option *coap_find(const struct coap_message *message, uint16_t number);
uint32_t coap_uint(const struct coap_option *option);

// A message under construction; options must be added in ascending order. `overflow` tells that something was left out.
struct coap_writer {
    uint8_t bytes[COAP_ANSWER_MAX];
    size_t len;
    uint16_t last;
    bool overflow;
};
void coap_begin(struct coap_writer *w, uint8_t type, uint8_t code, uint16_t id, const uint8_t *token,
                uint8_t token_len);
void coap_add(struct coap_writer *w, uint16_t number, const void *value, size_t len);
void coap_add_uint(struct coap_writer *w, uint16_t number, uint32_t value); // in the fewest bytes
void coap_add_payload(struct coap_writer *w, const void *payload, size_t len);

#endif
