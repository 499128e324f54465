// What the scans of JSON, CBOR and XML share: media types, matching of names, collecting of values.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/binding/content/content.h"

#include "common/error.h"
#include "common/profile.h"
#include "dataplane/binding/content/scan.h"

#include <stddef.h>
#include <strings.h>

const struct content_field content_originator_fields[2] = {
    {.path = {"fr"}, .steps = 1},
    {.path = {"m2m:rqp", "fr"}, .steps = 2},
};

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static bool equal_nocase(struct slice text, const char *word)
{
    return text.len == strlen(word) && strncasecmp((const char *)text.data, word, text.len) == 0;
}

static bool ends_nocase(struct slice text, const char *word)
{
    size_t len = strlen(word);
    return text.len > len && equal_nocase(slice_of(text.data + text.len - len, len), word);
}

enum content_kind content_kind_of_media_type(struct slice media_type)
{
    while (media_type.len > 0 && is_space(media_type.data[0]))
        media_type = slice_of(media_type.data + 1, media_type.len - 1);
    const uint8_t *end = media_type.len == 0 ? NULL : memchr(media_type.data, ';', media_type.len);
    if (end != NULL)
        media_type.len = (size_t)(end - media_type.data);
    while (media_type.len > 0 && is_space(media_type.data[media_type.len - 1]))
        media_type.len--;
    if (media_type.len == 0)
        return CONTENT_UNKNOWN;
    if (equal_nocase(media_type, "application/json") || ends_nocase(media_type, "+json"))
        return CONTENT_JSON;
    if (equal_nocase(media_type, "application/cbor") || ends_nocase(media_type, "+cbor"))
        return CONTENT_CBOR;
    if (equal_nocase(media_type, "application/xml") || equal_nocase(media_type, "text/xml") ||
        ends_nocase(media_type, "+xml"))
        return CONTENT_XML;
    return CONTENT_UNKNOWN;
}

enum content_kind content_kind_of_format(unsigned format)
{
    switch (format) {
    case 41:
    case 10002:
    case 10006:
    case 10008:
    case 10014:
        return CONTENT_XML;
    case 50:
    case 10001:
    case 10003:
    case 10007:
    case 10009:
    case 10015:
    case 10016:
        return CONTENT_JSON;
    case 60:
    case 10010:
    case 10011:
    case 10012:
    case 10013:
        return CONTENT_CBOR;
    default:
        return CONTENT_UNKNOWN;
    }
}

bool scan_utf8_step(struct scan_utf8 *utf8, uint8_t byte)
{
    if (utf8->left > 0) {
        if (byte < utf8->low || byte > utf8->high)
            return false;
        *utf8 = (struct scan_utf8){.left = (uint8_t)(utf8->left - 1), .low = 0x80, .high = 0xbf};
        return true;
    }
    if (byte < 0x80)
        return true;
    if (byte < 0xc2 || byte > 0xf4)
        return false;
    utf8->left = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
    utf8->low = byte == 0xe0 ? 0xa0 : byte == 0xf0 ? 0x90 : 0x80;
    utf8->high = byte == 0xed ? 0x9f : byte == 0xf4 ? 0x8f : 0xbf;
    return true;
}

size_t scan_utf8_encode(uint32_t code, uint8_t out[4])
{
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    size_t len = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = len - 1; i > 0; i--) {
        out[i] = (uint8_t)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    out[0] = (uint8_t)((0xf00U >> len) | code);
    return len;
}

void scan_name_begin(struct content_scan *scan)
{
    scan->name_len = 0;
    scan->name_long = false;
    scan->name_cut = false;
    scan->name_utf8 = (struct scan_utf8){0};
}

bool scan_name_byte(struct content_scan *scan, uint8_t byte)
{
    if (byte == 0)
        scan->name_cut = true;
    if (scan->name_cut)
        return true;
    if (!scan_utf8_step(&scan->name_utf8, byte))
        return false;
    if (scan->name_len < SCAN_NAME_MAX)
        scan->name[scan->name_len++] = (char)byte;
    else
        scan->name_long = true;
    return true;
}

// Without regard to case, since a JSON reader in the field looks members up so: "FR" must not hide from this scan.
static bool step_matches(const char *step, struct slice name)
{
    return strcmp(step, "*") == 0 || equal_nocase(name, step);
}

bool scan_name_end(struct content_scan *scan, unsigned level)
{
    struct slice name = slice_of(scan->name, scan->name_long ? 0 : scan->name_len);
    scan->want = 0;
    if (level == 1)
        scan->first = 0;
    for (unsigned i = 0; (level == 1 || level == 2) && i < scan->field_count; i++) {
        const struct content_field *field = &scan->fields[i];
        bool open = level == 1 || (scan->first & (1U << i)) != 0;
        if (!open || (level == 2 && field->steps != 2) || !step_matches(field->path[level - 1], name))
            continue;
        if (level == 1 && field->steps == 2)
            scan->first |= (uint8_t)(1U << i);
        else
            scan->want |= (uint8_t)(1U << i);
    }
    return scan->name_cut || scan->name_utf8.left == 0;
}

static const char *local_part(const char *step)
{
    const char *colon = strrchr(step, ':');
    return colon == NULL ? step : colon + 1;
}

void scan_element(struct content_scan *scan, unsigned level, struct slice local_name)
{
    scan->want = 0;
    if (level == 1)
        scan->first = 0;
    for (unsigned i = 0; (level == 1 || level == 2) && i < scan->field_count; i++) {
        const struct content_field *field = &scan->fields[i];
        uint8_t bit = (uint8_t)(1U << i);
        if (level == 1 && (field->steps == 1 || step_matches(local_part(field->path[0]), local_name)))
            scan->first |= bit;
        if (level == 2 && (scan->first & bit) != 0 &&
            step_matches(local_part(field->path[field->steps - 1]), local_name))
            scan->want |= bit;
    }
}

bool scan_value_begin(struct content_scan *scan)
{
    scan->capturing = scan->want;
    scan->want = 0;
    scan->value_len = 0;
    scan->value_bad = false;
    return scan->capturing != 0;
}

void scan_value_byte(struct content_scan *scan, uint8_t byte)
{
    if (scan->value_len < CONTENT_VALUE_MAX)
        scan->value[scan->value_len++] = (char)byte;
    else
        scan->value_bad = true;
}

void scan_value_end(struct content_scan *scan)
{
    for (unsigned i = 0; i < scan->field_count; i++) {
        uint8_t bit = (uint8_t)(1U << i);
        struct content_found *found = &scan->found[i];
        if ((scan->capturing & bit) == 0)
            continue;
        if (found->count < UINT32_MAX)
            found->count++;
        if (scan->value_bad) {
            found->differs = true;
        } else if ((scan->stored & bit) == 0) {
            memcpy(found->value, scan->value, scan->value_len);
            found->len = scan->value_len;
            scan->stored |= bit;
        } else if (!slice_equal(slice_of(found->value, found->len), slice_of(scan->value, scan->value_len))) {
            found->differs = true;
        }
    }
    scan->capturing = 0;
}

void scan_value_other(struct content_scan *scan)
{
    if (scan_value_begin(scan)) {
        scan->value_bad = true;
        scan_value_end(scan);
    }
}

size_t content_scan_size(void)
{
    return sizeof(struct content_scan);
}

static void start(struct content_scan *scan, enum content_kind kind)
{
    scan->kind = (uint8_t)kind;
    if (kind == CONTENT_JSON)
        scan_json_init(scan);
    else if (kind == CONTENT_CBOR)
        scan_cbor_init(scan);
    else if (kind == CONTENT_XML)
        scan_xml_init(scan);
}

void content_scan_init(struct content_scan *scan, enum content_kind declared, const struct content_field *fields,
                       size_t field_count, unsigned depth_max)
{
    // What the grammars hold is prepared by their init, so that their larger arrays need no clearing.
    memset(scan, 0, offsetof(struct content_scan, json));
    scan->fields = fields;
    scan->field_count = (uint8_t)(field_count < CONTENT_FIELDS_MAX ? field_count : CONTENT_FIELDS_MAX);
    scan->depth_max = (uint8_t)(depth_max < CONTENT_DEPTH_MAX ? depth_max : CONTENT_DEPTH_MAX);
    start(scan, declared);
}

static enum content_kind kind_of_first_byte(uint8_t byte)
{
    if (byte == '{' || byte == '[' || byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n')
        return CONTENT_JSON;
    if (byte == '<')
        return CONTENT_XML;
    return byte >= 0x80 ? CONTENT_CBOR : CONTENT_UNKNOWN;
}

int content_scan_feed(struct content_scan *scan, const uint8_t *data, size_t len)
{
    if (scan->error != SAGATE_OK || len == 0)
        return scan->error;
    scan->any = true;
    if (scan->kind == CONTENT_UNKNOWN)
        start(scan, kind_of_first_byte(data[0]));
    profile_enter(PROFILE_CONTENT);
    switch ((enum content_kind)scan->kind) {
    case CONTENT_JSON:
        scan->error = scan_json_feed(scan, data, len);
        break;
    case CONTENT_CBOR:
        scan->error = scan_cbor_feed(scan, data, len);
        break;
    case CONTENT_XML:
        scan->error = scan_xml_feed(scan, data, len);
        break;
    case CONTENT_UNKNOWN:
        scan->error = SAGATE_EMALFORMED;
        break;
    }
    profile_leave();
    return scan->error;
}

int content_scan_end(struct content_scan *scan)
{
    if (scan->error != SAGATE_OK || !scan->any)
        return scan->error;
    if (scan->kind == CONTENT_JSON)
        scan->error = scan_json_end(scan);
    else if (scan->kind == CONTENT_CBOR)
        scan->error = scan_cbor_end(scan);
    else
        scan->error = scan_xml_end(scan);
    return scan->error;
}

const struct content_found *content_scan_found(const struct content_scan *scan, size_t index)
{
    return index < scan->field_count ? &scan->found[index] : NULL;
}

int content_scan_all(enum content_kind declared, struct slice content, const struct content_field *fields,
                     size_t field_count, unsigned depth_max, struct content_found *found)
{
    struct content_scan scan;
    content_scan_init(&scan, declared, fields, field_count, depth_max);
    int result = content_scan_feed(&scan, content.data, content.len);
    if (result == SAGATE_OK)
        result = content_scan_end(&scan);
    for (size_t i = 0; i < scan.field_count; i++)
        found[i] = scan.found[i];
    return result;
}
