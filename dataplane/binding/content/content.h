// A streaming scan of a primitive's content (JSON, CBOR, XML) that allocates nothing and looks for the few things
// sagate must see: a second originator, and in an answer the AE-ID. The content itself is never changed.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_BINDING_CONTENT_CONTENT_H
#define SAGATE_DATAPLANE_BINDING_CONTENT_CONTENT_H

#include "common/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum content_kind { CONTENT_UNKNOWN, CONTENT_JSON, CONTENT_CBOR, CONTENT_XML };

// The kind that a media type names ("application/json; charset=utf-8", "application/vnd.onem2m-res+cbor",
// case-insensitive), CONTENT_UNKNOWN for others. The same for a CoAP Content-Format number (TS-0008 table 6.2.2.2-1,
// and 10015, 10016).
enum content_kind content_kind_of_media_type(struct slice media_type);
enum content_kind content_kind_of_format(unsigned format);

enum { CONTENT_DEPTH_MAX = 64, CONTENT_VALUE_MAX = 256, CONTENT_FIELDS_MAX = 4 };

// A member to look for by its path from the root, for instance {"fr"} or {"m2m:rqp", "fr"} or {"m2m:ae", "aei"}.
// "*" as first step matches any single member of the root.
struct content_field {
    const char *path[2];
    size_t steps; // 1 or 2
};

// What was found for a field. A text value is given unescaped. `count` counts occurrences; `differs` is set when two
// occurrences differ or one is no text or longer than CONTENT_VALUE_MAX (value then holds the first that fit).
struct content_found {
    uint32_t count;
    bool differs;
    uint16_t len;
    char value[CONTENT_VALUE_MAX];
};

struct content_scan; // content_scan_size() bytes, aligned like max_align_t, given by the caller
size_t content_scan_size(void);

// Prepares a scan. `declared` CONTENT_UNKNOWN: the kind is told from the first byte ('{' '[' or white space: JSON; '<':
// XML; >= 0x80: CBOR; anything else: malformed). `fields` stay the caller's and must outlive the scan. depth_max is at
// most CONTENT_DEPTH_MAX.
void content_scan_init(struct content_scan *scan, enum content_kind declared, const struct content_field *fields,
                       size_t field_count, unsigned depth_max);

// Feeds the next piece, of any size. SAGATE_OK; SAGATE_EMALFORMED (also: the first byte does not fit the declared kind,
// so that a lenient reader behind sagate might read something else); SAGATE_ETOOBIG (depth). After an error all calls
// fail.
int content_scan_feed(struct content_scan *scan, const uint8_t *data, size_t len);

// The end of the content: SAGATE_OK, or SAGATE_EMALFORMED when it is incomplete. Empty content is well-formed.
int content_scan_end(struct content_scan *scan);

// The result for field number `index`; complete only after content_scan_end.
const struct content_found *content_scan_found(const struct content_scan *scan, size_t index);

// The same in one call over content that is at hand whole. `found` has field_count elements.
int content_scan_all(enum content_kind declared, struct slice content, const struct content_field *fields,
                     size_t field_count, unsigned depth_max, struct content_found *found);

// Where a second originator can hide in the content of a request: {"fr"} and {"m2m:rqp","fr"} (bindings.md section 8).
extern const struct content_field content_originator_fields[2];

#endif
