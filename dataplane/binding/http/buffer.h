// A growable run of bytes of the HTTP binding. Who owns one bounds it; running out of memory is remembered in `failed`,
// so that a message can be put together and checked once at its end.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_BINDING_HTTP_BUFFER_H
#define SAGATE_DATAPLANE_BINDING_HTTP_BUFFER_H

#include "common/slice.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct buffer {
    uint8_t *data;
    size_t len, cap;
    bool failed;
};

static inline void buffer_release(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}

// Empty for the next use, with its memory unless that is more than `most`.
static inline void buffer_reuse(struct buffer *buffer, size_t most)
{
    if (buffer->cap > most)
        buffer_release(buffer);
    buffer->len = 0;
    buffer->failed = false;
}

static inline bool buffer_room(struct buffer *buffer, size_t more)
{
    if (buffer->failed)
        return false;
    if (more <= buffer->cap - buffer->len)
        return true;
    size_t cap = buffer->cap < 512 ? 512 : buffer->cap;
    while (cap - buffer->len < more)
        cap *= 2;
    uint8_t *grown = realloc(buffer->data, cap);
    if (grown == NULL) {
        buffer->failed = true;
        return false;
    }
    buffer->data = grown;
    buffer->cap = cap;
    return true;
}

static inline void buffer_add(struct buffer *buffer, const void *data, size_t len)
{
    if (len == 0 || !buffer_room(buffer, len))
        return;
    memcpy(buffer->data + buffer->len, data, len);
    buffer->len += len;
}

static inline void buffer_slice(struct buffer *buffer, struct slice slice)
{
    buffer_add(buffer, slice.data, slice.len);
}

static inline void buffer_text(struct buffer *buffer, const char *text)
{
    buffer_add(buffer, text, strlen(text));
}

static inline void buffer_number(struct buffer *buffer, uint64_t number)
{
    char text[24];
    int len = snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    buffer_add(buffer, text, (size_t)len);
}

static inline void buffer_hex(struct buffer *buffer, uint64_t number)
{
    char text[24];
    int len = snprintf(text, sizeof text, "%llx", (unsigned long long)number);
    buffer_add(buffer, text, (size_t)len);
}

// Removes the first `count` bytes (at most what is there).
static inline void buffer_drop(struct buffer *buffer, size_t count)
{
    if (count >= buffer->len) {
        buffer->len = 0;
        return;
    }
    memmove(buffer->data, buffer->data + count, buffer->len - count);
    buffer->len -= count;
}

static inline struct slice buffer_view(const struct buffer *buffer)
{
    return slice_of(buffer->data, buffer->len);
}

#endif
