// JSON (RFC 8259), byte by byte. Stricter than the RFC in one point: an escaped surrogate without its partner is
// malformed, since readers differ in whether they drop it.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/binding/content/scan.h"

enum json_state {
    JSON_VALUE,
    JSON_VALUE_OR_END, // after '['
    JSON_NAME,         // after ',' in an object
    JSON_NAME_OR_END,  // after '{'
    JSON_COLON,
    JSON_AFTER, // a value is complete
    JSON_STRING,
    JSON_ESCAPE,
    JSON_HEX,
    JSON_LITERAL,
    JSON_MINUS,
    JSON_ZERO,
    JSON_INTEGER,
    JSON_POINT,
    JSON_FRACTION,
    JSON_E,
    JSON_E_SIGN,
    JSON_EXPONENT,
};

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool in_object(const struct content_scan *scan)
{
    return scan->depth > 0 && (scan->json.objects >> (scan->depth - 1) & 1) != 0;
}

static int open_container(struct content_scan *scan, bool object)
{
    scan_value_other(scan);
    if (scan->depth >= scan->depth_max)
        return SAGATE_ETOOBIG;
    uint64_t bit = 1ULL << scan->depth++;
    scan->json.objects = object ? scan->json.objects | bit : scan->json.objects & ~bit;
    scan->json.state = object ? JSON_NAME_OR_END : JSON_VALUE_OR_END;
    return SAGATE_OK;
}

static int close_container(struct content_scan *scan, bool object)
{
    if (scan->depth == 0 || in_object(scan) != object)
        return SAGATE_EMALFORMED;
    scan->depth--;
    scan->json.state = JSON_AFTER;
    return SAGATE_OK;
}

static int begin_string(struct content_scan *scan, bool name)
{
    scan->json.name = name;
    scan->json.high = 0;
    if (name)
        scan_name_begin(scan);
    else
        (void)scan_value_begin(scan);
    scan->json.state = JSON_STRING;
    return SAGATE_OK;
}

static int begin_literal(struct content_scan *scan, const char *rest)
{
    scan_value_other(scan);
    scan->json.literal = rest;
    scan->json.state = JSON_LITERAL;
    return SAGATE_OK;
}

static int begin_number(struct content_scan *scan, enum json_state state)
{
    scan_value_other(scan);
    scan->json.state = (uint8_t)state;
    return SAGATE_OK;
}

static int begin_value(struct content_scan *scan, uint8_t c)
{
    switch (c) {
    case '{':
        return open_container(scan, true);
    case '[':
        return open_container(scan, false);
    case '"':
        return begin_string(scan, false);
    case 't':
        return begin_literal(scan, "rue");
    case 'f':
        return begin_literal(scan, "alse");
    case 'n':
        return begin_literal(scan, "ull");
    case '-':
        return begin_number(scan, JSON_MINUS);
    case '0':
        return begin_number(scan, JSON_ZERO);
    default:
        return is_digit(c) ? begin_number(scan, JSON_INTEGER) : SAGATE_EMALFORMED;
    }
}

static bool string_byte(struct content_scan *scan, uint8_t c)
{
    if (scan->json.name)
        return scan_name_byte(scan, c);
    if (scan->capturing != 0)
        scan_value_byte(scan, c);
    return true;
}

static int end_string(struct content_scan *scan)
{
    if (!scan->json.name) {
        if (scan->capturing != 0)
            scan_value_end(scan);
        scan->json.state = JSON_AFTER;
        return SAGATE_OK;
    }
    // A name is looked for only where everything around it is an object.
    uint64_t around = (1ULL << (scan->depth < 2 ? scan->depth : 2)) - 1;
    bool all_objects = (scan->json.objects & around) == around;
    scan->json.state = JSON_COLON;
    return scan_name_end(scan, all_objects ? scan->depth : 0) ? SAGATE_OK : SAGATE_EMALFORMED;
}

static int step_string(struct content_scan *scan, uint8_t c)
{
    if (c < 0x20 || (scan->json.high != 0 && c != '\\'))
        return SAGATE_EMALFORMED;
    if (c == '"')
        return end_string(scan);
    if (c == '\\') {
        scan->json.state = JSON_ESCAPE;
        return SAGATE_OK;
    }
    return string_byte(scan, c) ? SAGATE_OK : SAGATE_EMALFORMED;
}

static int step_escape(struct content_scan *scan, uint8_t c)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    if (c == 'u') {
        scan->json.unit = 0;
        scan->json.hex_digits = 0;
        scan->json.state = JSON_HEX;
        return SAGATE_OK;
    }
    const char *at = c == 0 ? NULL : strchr(from, c);
    if (at == NULL || scan->json.high != 0 || !string_byte(scan, (uint8_t)to[at - from]))
        return SAGATE_EMALFORMED;
    scan->json.state = JSON_STRING;
    return SAGATE_OK;
}

static int step_hex(struct content_scan *scan, uint8_t c)
{
    struct scan_json *json = &scan->json;
    uint8_t lower = c | 0x20;
    if (!is_digit(c) && (lower < 'a' || lower > 'f'))
        return SAGATE_EMALFORMED;
    json->unit = (uint16_t)(json->unit << 4 | (is_digit(c) ? c - '0' : lower - 'a' + 10));
    if (++json->hex_digits < 4)
        return SAGATE_OK;
    bool low = json->unit >= 0xdc00 && json->unit <= 0xdfff;
    if (low != (json->high != 0))
        return SAGATE_EMALFORMED;
    json->state = JSON_STRING;
    if (json->unit >= 0xd800 && json->unit <= 0xdbff) {
        json->high = json->unit;
        return SAGATE_OK;
    }
    uint32_t code = low ? 0x10000U + ((uint32_t)(json->high - 0xd800) << 10) + (json->unit - 0xdc00U) : json->unit;
    json->high = 0;
    uint8_t bytes[4];
    size_t len = scan_utf8_encode(code, bytes);
    for (size_t i = 0; i < len; i++) {
        if (!string_byte(scan, bytes[i]))
            return SAGATE_EMALFORMED;
    }
    return SAGATE_OK;
}

static int step_after(struct content_scan *scan, uint8_t c)
{
    if (c == '}' || c == ']')
        return close_container(scan, c == '}');
    if (c != ',' || scan->depth == 0)
        return SAGATE_EMALFORMED;
    scan->json.state = in_object(scan) ? JSON_NAME : JSON_VALUE;
    return SAGATE_OK;
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

// Between tokens, where white space may stand.
static int step_between(struct content_scan *scan, uint8_t c)
{
    if (is_space(c))
        return SAGATE_OK;
    switch (scan->json.state) {
    case JSON_VALUE_OR_END:
        return c == ']' ? close_container(scan, false) : begin_value(scan, c);
    case JSON_NAME_OR_END:
        if (c == '}')
            return close_container(scan, true);
        return c == '"' ? begin_string(scan, true) : SAGATE_EMALFORMED;
    case JSON_NAME:
        return c == '"' ? begin_string(scan, true) : SAGATE_EMALFORMED;
    case JSON_COLON:
        scan->json.state = JSON_VALUE;
        return c == ':' ? SAGATE_OK : SAGATE_EMALFORMED;
    case JSON_AFTER:
        return step_after(scan, c);
    default:
        return begin_value(scan, c);
    }
}

// A number ends with the first byte that cannot belong to it.
static bool number_may_end(uint8_t state)
{
    return state == JSON_ZERO || state == JSON_INTEGER || state == JSON_FRACTION || state == JSON_EXPONENT;
}

static int step_number(struct content_scan *scan, uint8_t c)
{
    struct scan_json *json = &scan->json;
    bool e = c == 'e' || c == 'E';
    if (json->state == JSON_MINUS && is_digit(c)) {
        json->state = c == '0' ? JSON_ZERO : JSON_INTEGER;
    } else if ((json->state == JSON_ZERO || json->state == JSON_INTEGER) && c == '.') {
        json->state = JSON_POINT;
    } else if (number_may_end(json->state) && json->state != JSON_EXPONENT && e) {
        json->state = JSON_E;
    } else if (json->state == JSON_POINT && is_digit(c)) {
        json->state = JSON_FRACTION;
    } else if (json->state == JSON_E && (c == '+' || c == '-')) {
        json->state = JSON_E_SIGN;
    } else if ((json->state == JSON_E || json->state == JSON_E_SIGN) && is_digit(c)) {
        json->state = JSON_EXPONENT;
    } else if (json->state == JSON_ZERO || !is_digit(c)) {
        if (!number_may_end(json->state))
            return SAGATE_EMALFORMED;
        json->state = JSON_AFTER;
        return step_between(scan, c);
    }
    return SAGATE_OK;
}

static int step_literal(struct content_scan *scan, uint8_t c)
{
    if ((uint8_t)*scan->json.literal != c)
        return SAGATE_EMALFORMED;
    if (*++scan->json.literal == '\0')
        scan->json.state = JSON_AFTER;
    return SAGATE_OK;
}

void scan_json_init(struct content_scan *scan)
{
    scan->json = (struct scan_json){.state = JSON_VALUE};
}

int scan_json_feed(struct content_scan *scan, const uint8_t *data, size_t len)
{
    int result = SAGATE_OK;
    for (size_t i = 0; result == SAGATE_OK && i < len; i++) {
        switch (scan->json.state) {
        case JSON_STRING:
            // Most of a primitive is the text of strings that nobody looks for.
            while (!scan->json.name && scan->capturing == 0 && scan->json.high == 0 && i + 1 < len && data[i] >= 0x20 &&
                   data[i] != '"' && data[i] != '\\')
                i++;
            result = step_string(scan, data[i]);
            break;
        case JSON_ESCAPE:
            result = step_escape(scan, data[i]);
            break;
        case JSON_HEX:
            result = step_hex(scan, data[i]);
            break;
        case JSON_LITERAL:
            result = step_literal(scan, data[i]);
            break;
        case JSON_MINUS:
        case JSON_ZERO:
        case JSON_INTEGER:
        case JSON_POINT:
        case JSON_FRACTION:
        case JSON_E:
        case JSON_E_SIGN:
        case JSON_EXPONENT:
            result = step_number(scan, data[i]);
            break;
        default:
            result = step_between(scan, data[i]);
            break;
        }
    }
    return result;
}

int scan_json_end(struct content_scan *scan)
{
    bool complete = scan->json.state == JSON_AFTER || number_may_end(scan->json.state);
    return complete && scan->depth == 0 ? SAGATE_OK : SAGATE_EMALFORMED;
}
