// CoAP messages over datagrams: a strict parser that copies nothing and a bounded writer (RFC 7252 section 3).
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_BINDING_COAP_MESSAGE_H
#define SAGATE_DATAPLANE_BINDING_COAP_MESSAGE_H

#include "common/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { COAP_OPTIONS_MAX = 64, COAP_TOKEN_MAX = 8, COAP_HEAD = 4 };
enum coap_type { COAP_CON, COAP_NON, COAP_ACK, COAP_RST };

#define COAP_CODE(class, detail) ((uint8_t)((class) << 5 | (detail)))
enum coap_method { COAP_GET = 1, COAP_POST, COAP_PUT, COAP_DELETE };
enum {
    COAP_CREATED = COAP_CODE(2, 1),
    COAP_DELETED = COAP_CODE(2, 2),
    COAP_VALID = COAP_CODE(2, 3),
    COAP_CHANGED = COAP_CODE(2, 4),
    COAP_CONTENT = COAP_CODE(2, 5),
    COAP_CONTINUE = COAP_CODE(2, 31),
    COAP_BAD_REQUEST = COAP_CODE(4, 0),
    COAP_BAD_OPTION = COAP_CODE(4, 2),
    COAP_METHOD_NOT_ALLOWED = COAP_CODE(4, 5),
    COAP_INCOMPLETE = COAP_CODE(4, 8),
    COAP_TOO_LARGE = COAP_CODE(4, 13),
    COAP_SERVER_ERROR = COAP_CODE(5, 0),
    COAP_UNAVAILABLE = COAP_CODE(5, 3),
    COAP_GATEWAY_TIMEOUT = COAP_CODE(5, 4),
    COAP_NO_PROXYING = COAP_CODE(5, 5),
};

// Option numbers of RFC 7252, 7641, 7959, 9175.
enum coap_option_number {
    COAP_IF_MATCH = 1,
    COAP_URI_HOST = 3,
    COAP_ETAG = 4,
    COAP_IF_NONE_MATCH = 5,
    COAP_OBSERVE = 6,
    COAP_URI_PORT = 7,
    COAP_LOCATION_PATH = 8,
    COAP_URI_PATH = 11,
    COAP_CONTENT_FORMAT = 12,
    COAP_MAX_AGE = 14,
    COAP_URI_QUERY = 15,
    COAP_ACCEPT = 17,
    COAP_LOCATION_QUERY = 20,
    COAP_BLOCK2 = 23,
    COAP_BLOCK1 = 27,
    COAP_SIZE2 = 28,
    COAP_PROXY_URI = 35,
    COAP_PROXY_SCHEME = 39,
    COAP_SIZE1 = 60,
    COAP_ECHO = 252,
    COAP_REQUEST_TAG = 292,
};

struct coap_token {
    uint8_t len;
    uint8_t bytes[COAP_TOKEN_MAX];
};

struct coap_option {
    uint16_t number;
    struct slice value; // points into the datagram; non-NULL also when empty
};

struct coap_message {
    enum coap_type type;
    uint8_t code; // 0: empty message
    uint16_t mid;
    struct coap_token token;
    size_t option_count;
    struct coap_option options[COAP_OPTIONS_MAX]; // ascending numbers
    bool critical_cut; // more options than COAP_OPTIONS_MAX, a critical one among those left out
    struct slice payload;
};

// Parses one datagram. SAGATE_OK; SAGATE_EMALFORMED: a message format error, type and mid are filled (for a reset);
// SAGATE_EINVAL: shorter than a head or of another version, to be ignored in silence (RFC 7252 section 3).
// The message points into `data`.
int coap_parse(const uint8_t *data, size_t len, struct coap_message *message);

static inline unsigned coap_class(uint8_t code)
{
    return code >> 5;
}
static inline bool coap_is_request(uint8_t code)
{
    return code != 0 && coap_class(code) == 0;
}
static inline bool coap_is_critical(uint16_t number)
{
    return (number & 1U) != 0;
}
static inline bool coap_is_unsafe(uint16_t number)
{
    return (number & 2U) != 0;
}
static inline bool coap_token_equal(const struct coap_token *a, const struct coap_token *b)
{
    return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

// First option of that number, or NULL.
const struct coap_option *coap_find(const struct coap_message *message, uint16_t number);

// Value of a uint option of at most 4 bytes (RFC 7252 section 3.2); longer ones give UINT32_MAX.
uint32_t coap_uint(struct slice value);

// A Block1 or Block2 value (RFC 7959 section 2.2): false when it is longer than 3 bytes or its size exponent is 7.
struct coap_block {
    uint32_t number;
    bool more;
    uint32_t size;   // bytes
    uint32_t offset; // number * size
};
bool coap_block_parse(struct slice value, struct coap_block *block);

// A message under construction. Errors stick and come out of coap_end.
struct coap_writer {
    uint8_t *data;
    size_t len, cap;
    uint16_t last;
    bool full, disordered;
};
void coap_begin(struct coap_writer *writer, uint8_t *data, size_t cap, enum coap_type type, uint8_t code, uint16_t mid,
                const struct coap_token *token);
void coap_add(struct coap_writer *writer, uint16_t number, struct slice value); // ascending, equal numbers in order
void coap_add_payload(struct coap_writer *writer, struct slice payload);        // last; nothing when empty
// The length, SAGATE_ETOOBIG, or SAGATE_EINVAL when the options did not ascend.
int coap_end(const struct coap_writer *writer);

// Options in any order, given to a writer in ascending order; equal numbers keep their order. Values are not copied
// but for uints, which stand in the list itself: it must not be moved once it has some.
enum { COAP_LIST_MAX = COAP_OPTIONS_MAX + 12 };
struct coap_list {
    size_t count;
    bool full;
    struct coap_option options[COAP_LIST_MAX];
    size_t scratch_len;
    uint8_t scratch[COAP_LIST_MAX * 4];
};
void coap_list_insert(struct coap_list *list, uint16_t number, struct slice value);
static inline void coap_list_add(struct coap_list *list, uint16_t number, struct slice value)
{
    // Most come in order already.
    if (list->count < COAP_LIST_MAX && (list->count == 0 || list->options[list->count - 1].number <= number))
        list->options[list->count++] = (struct coap_option){.number = number, .value = value};
    else
        coap_list_insert(list, number, value);
}
void coap_list_add_uint(struct coap_list *list, uint16_t number, uint32_t value); // minimal length
// The same with a value that is written already, of whatever length.
static inline void coap_list_add_uint_value(struct coap_list *list, uint16_t number, struct slice value)
{
    while (value.data != NULL && value.len > 0 && value.data[0] == 0) {
        value.data++;
        value.len--;
    }
    coap_list_add(list, number, value);
}
void coap_list_write(struct coap_list *list, struct coap_writer *writer);

// Writes an empty message (ACK, RST or ping) of COAP_HEAD bytes.
void coap_write_empty(uint8_t out[COAP_HEAD], enum coap_type type, uint16_t mid);

#endif
