// A growing text that wipes every buffer it leaves behind, since configuration and credentials hold secrets.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_CONFIG_TEXT_H
#define SAGATE_CONTROLPLANE_CONFIG_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct text {
    char *data; // NUL-terminated once something was added
    size_t len, cap;
    bool failed; // memory was short; what was added since is lost
};

// Append; a failure is remembered in `failed`. text_add must not be given secrets through `format` arguments, since
// the C library may copy them; text_bytes and text_quoted may.
void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_bytes(struct text *text, const void *data, size_t len);

// Appends a libconfig string literal with its quotes. Bytes of UTF-8 pass; control characters are written as \xHH.
void text_quoted(struct text *text, const char *value);

// The text, now the caller's (to wipe and free), or NULL when memory was short; an empty text gives "".
char *text_take(struct text *text);

// Wipes and releases.
void text_free(struct text *text);

#endif
