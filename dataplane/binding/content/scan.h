// The scan behind content.h: what the three grammars share, and their states. Private to this folder.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_BINDING_CONTENT_SCAN_H
#define SAGATE_DATAPLANE_BINDING_CONTENT_SCAN_H

#include "dataplane/binding/content/content.h"

enum { SCAN_NAME_MAX = 64, SCAN_XML_NAMES = 2048, SCAN_XML_DECLARATION_MAX = 128 };

// A character of UTF-8 in progress: how many bytes follow, and the range of the next.
struct scan_utf8 {
    uint8_t left, low, high;
};

struct scan_json {
    uint64_t objects;    // bit n: container number n+1 is an object
    uint8_t state;       // enum json_state
    bool name;           // the string in progress is a member name
    uint8_t hex_digits;  // of the \u escape in progress
    uint16_t unit, high; // its UTF-16 unit; a high surrogate that waits for its low one, else 0
    const char *literal; // rest of true, false or null
};

struct scan_cbor_frame {
    uint64_t left; // items to come; a pair of a map counts two
    bool map, indefinite;
    bool key;     // map: the next item is a key
    bool in_key;  // the container is itself, or is inside of, a map key
    uint8_t tags; // before the container
};

struct scan_cbor {
    struct scan_cbor_frame frames[CONTENT_DEPTH_MAX];
    uint64_t value; // argument of the head in progress; bytes left of a string
    uint8_t state;  // enum cbor_state
    uint8_t initial, need;
    uint8_t tags;        // before the item in progress
    uint8_t nested_tags; // before the containers that are open; they count as depth, as readers nest for them
    uint8_t sink;        // enum cbor_sink
    uint8_t chunk;       // major type of the indefinite-length string in progress, else 0
    bool done;           // the root item is complete
};

struct scan_xml {
    // Names of the open elements one after the other, then the name or declaration in progress: end tags must match.
    char names[SCAN_XML_NAMES];
    uint16_t starts[CONTENT_DEPTH_MAX + 1];
    uint16_t open;    // length of the names of open elements
    uint16_t len;     // with the one in progress
    uint16_t matched; // of the end tag in progress
    uint8_t state;    // enum xml_state
    uint8_t quote;    // of the attribute value in progress
    uint8_t run;      // of characters that count together: ']' '-' or those of a keyword
    uint8_t entity_len;
    bool in_attribute; // where the reference in progress stands
    bool at_start;     // an XML declaration may still come
    bool root_seen;
    char entity[8];
};

struct content_scan {
    const struct content_field *fields;
    uint8_t field_count;
    uint8_t kind; // enum content_kind; CONTENT_UNKNOWN until the first byte
    bool any;     // a byte was fed
    uint8_t depth, depth_max;
    int error;

    uint8_t name_len;
    bool name_long; // longer than any that is looked for
    bool name_cut;  // a NUL was met: a C string ends there, so the rest does not count
    struct scan_utf8 name_utf8;
    char name[SCAN_NAME_MAX];

    uint8_t first;     // fields whose first step is the member of the root that is in progress
    uint8_t want;      // fields whose value comes next
    uint8_t capturing; // fields whose value is in progress
    uint8_t stored;    // fields that have a value
    bool value_bad;    // no text, or too long
    uint16_t value_len;
    char value[CONTENT_VALUE_MAX];

    struct content_found found[CONTENT_FIELDS_MAX];
    union {
        struct scan_json json;
        struct scan_cbor cbor;
        struct scan_xml xml;
    };
};

// One step of UTF-8 validation (RFC 3629: no overlong form, no surrogate); false when `byte` may not come here.
bool scan_utf8_step(struct scan_utf8 *utf8, uint8_t byte);
// Writes a code point as UTF-8; returns its length.
size_t scan_utf8_encode(uint32_t code, uint8_t out[4]);

// A member or element name, unescaped, byte by byte. scan_name_byte is false when the name is no UTF-8.
void scan_name_begin(struct content_scan *scan);
bool scan_name_byte(struct content_scan *scan, uint8_t byte);
// The name is complete. Level 1: a member of the root; level 2: a member of such a member; others match nothing.
bool scan_name_end(struct content_scan *scan, unsigned level);
// XML: the root element is level 1, its children level 2; one-step paths are looked for at level 2.
void scan_element(struct content_scan *scan, unsigned level, struct slice local_name);

// The value of the last name begins: true when its text is wanted (then scan_value_byte… and scan_value_end).
bool scan_value_begin(struct content_scan *scan);
void scan_value_byte(struct content_scan *scan, uint8_t byte);
void scan_value_end(struct content_scan *scan);
// The value of the last name is something else than text.
void scan_value_other(struct content_scan *scan);

// The grammars. Each gives SAGATE_OK, SAGATE_EMALFORMED or SAGATE_ETOOBIG.
void scan_json_init(struct content_scan *scan);
int scan_json_feed(struct content_scan *scan, const uint8_t *data, size_t len);
int scan_json_end(struct content_scan *scan);
void scan_cbor_init(struct content_scan *scan);
int scan_cbor_feed(struct content_scan *scan, const uint8_t *data, size_t len);
int scan_cbor_end(struct content_scan *scan);
void scan_xml_init(struct content_scan *scan);
int scan_xml_feed(struct content_scan *scan, const uint8_t *data, size_t len);
int scan_xml_end(struct content_scan *scan);

#endif
