// Fuzz target: decoding of plane messages; what decodes must encode to the same bytes.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "common/plane.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void walk_lists(struct plane_message *message)
{
    struct slice text;
    struct plane_association entry;
    struct slice list = message->registrees.cse_ids;
    if (message->type == PLANE_REGISTREES) {
        while (plane_next_text(&list, &text) == SAGATE_OK)
            continue;
    }
    if (message->type == PLANE_LISTED) {
        list = message->listed.entries;
        while (plane_next_association(&list, &entry) == SAGATE_OK)
            continue;
    }
    if (message->type == PLANE_RESOLVED)
        principal_release(plane_unpack_principal(message->resolved.principal));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static uint8_t again[PLANE_MESSAGE_MAX];
    struct plane_message message;
    if (len > PLANE_MESSAGE_MAX || plane_decode(data, len, &message) != SAGATE_OK)
        return 0;
    int encoded = plane_encode(&message, again, sizeof again);
    if (encoded != (int)len || memcmp(again, data, len) != 0)
        abort();
    walk_lists(&message);
    return 0;
}
