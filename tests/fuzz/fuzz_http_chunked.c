// Fuzz target: the chunked coding. The first byte says where the input is cut; a cut changes nothing, and what was
// decoded survives being encoded again.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/binding/http/chunked.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int decode(struct http_chunked *chunked, const uint8_t *data, size_t len, struct buffer *content)
{
    int result = SAGATE_AGAIN;
    for (size_t at = 0; at < len && result == SAGATE_AGAIN;) {
        size_t used = 0;
        struct slice piece;
        result = http_chunked_feed(chunked, data + at, len - at, &used, &piece);
        if (used == 0 || used > len - at)
            abort();
        buffer_slice(content, piece);
        at += used;
    }
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct buffer whole = {0}, parts = {0}, wire = {0}, again = {0};
    struct http_chunked chunked;
    if (len < 2)
        return 0;
    size_t cut = (size_t)data[0] * (len - 1) / 256;
    data++;
    len--;
    http_chunked_init(&chunked);
    int result = decode(&chunked, data, len, &whole);
    http_chunked_init(&chunked);
    int split = decode(&chunked, data, cut, &parts);
    if (split == SAGATE_AGAIN)
        split = decode(&chunked, data + cut, len - cut, &parts);
    if (split != result || !slice_equal(buffer_view(&whole), buffer_view(&parts)))
        abort();
    http_chunked_write(&wire, buffer_view(&whole));
    http_chunked_finish(&wire);
    http_chunked_init(&chunked);
    if (decode(&chunked, wire.data, wire.len, &again) != SAGATE_DONE ||
        !slice_equal(buffer_view(&whole), buffer_view(&again)))
        abort();
    buffer_release(&whole);
    buffer_release(&parts);
    buffer_release(&wire);
    buffer_release(&again);
    return 0;
}
