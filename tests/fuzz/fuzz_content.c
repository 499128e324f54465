// Fuzz target: the scan of content gives the same result however the content is cut into pieces. The first byte chooses
// the declared kind and the cutting.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/binding/content/content.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { FIELDS = 4 };

static const struct content_field fields[FIELDS] = {
    {.path = {"fr"}, .steps = 1},
    {.path = {"m2m:rqp", "fr"}, .steps = 2},
    {.path = {"*", "aei"}, .steps = 2},
    {.path = {"m2m:ae", "ri"}, .steps = 2},
};

// Pieces of 1 to 16 bytes, in an order that `seed` gives, each in memory of its own.
static int scan_in_pieces(struct content_scan *scan, const uint8_t *data, size_t len, uint32_t seed)
{
    int result = SAGATE_OK;
    for (size_t at = 0; at < len && result == SAGATE_OK;) {
        seed = seed * 1664525U + 1013904223U;
        size_t part = (seed >> 28) + 1;
        if (part > len - at)
            part = len - at;
        uint8_t *piece = malloc(part);
        if (piece == NULL)
            abort();
        memcpy(piece, data + at, part);
        result = content_scan_feed(scan, piece, part);
        free(piece);
        at += part;
    }
    return result == SAGATE_OK ? content_scan_end(scan) : result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    enum content_kind kind = (enum content_kind)(data[0] & 3);
    unsigned depth = (data[0] & 0x80) != 0 ? 3 : CONTENT_DEPTH_MAX;
    struct content_found whole[FIELDS];
    int expected = content_scan_all(kind, slice_of(data + 1, len - 1), fields, FIELDS, depth, whole);
    struct content_scan *scan = malloc(content_scan_size());
    if (scan == NULL)
        abort();
    content_scan_init(scan, kind, fields, FIELDS, depth);
    if (scan_in_pieces(scan, data + 1, len - 1, data[0]) != expected)
        abort();
    for (size_t i = 0; expected == SAGATE_OK && i < FIELDS; i++) {
        const struct content_found *found = content_scan_found(scan, i);
        if (found->count != whole[i].count || found->differs != whole[i].differs || found->len != whole[i].len ||
            memcmp(found->value, whole[i].value, found->len) != 0)
            abort();
    }
    free(scan);
    return 0;
}
