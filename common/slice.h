// A view of bytes that somebody else owns; never NUL-terminated.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_COMMON_SLICE_H
#define SAGATE_COMMON_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct slice {
    const uint8_t *data; // NULL: absent; an empty value that is present has a non-NULL pointer
    size_t len;
};

static inline struct slice slice_of(const void *data, size_t len)
{
    return (struct slice){.data = (const uint8_t *)data, .len = len};
}

static inline struct slice slice_text(const char *text)
{
    return (struct slice){.data = (const uint8_t *)text, .len = text == NULL ? 0 : strlen(text)};
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool slice_is(struct slice a, const char *text)
{
    return slice_equal(a, slice_text(text));
}

// A copy with a NUL behind it, to free; NULL when memory is short.
static inline char *slice_copy(struct slice from)
{
    char *copy = (char *)malloc(from.len + 1);
    if (copy == NULL)
        return NULL;
    if (from.len > 0)
        memcpy(copy, from.data, from.len);
    copy[from.len] = '\0';
    return copy;
}

#endif
