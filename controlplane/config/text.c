// Growing text, wiped on every move.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/config/text.h"

#include "common/secret.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(struct text *text, size_t more)
{
    if (text->failed || more >= SIZE_MAX / 2 - text->len) {
        text->failed = true;
        return false;
    }
    size_t need = text->len + more + 1;
    if (need <= text->cap)
        return true;
    // Not realloc, which may free the old bytes without wiping them.
    size_t cap = text->cap < 256 ? 256 : text->cap * 2;
    if (cap < need)
        cap = need;
    char *data = malloc(cap);
    if (data == NULL) {
        text->failed = true;
        return false;
    }
    if (text->len > 0)
        memcpy(data, text->data, text->len);
    data[text->len] = '\0';
    if (text->data != NULL)
        secret_zero(text->data, text->cap);
    free(text->data);
    text->data = data;
    text->cap = cap;
    return true;
}

void text_bytes(struct text *text, const void *data, size_t len)
{
    if (!reserve(text, len))
        return;
    if (len > 0)
        memcpy(text->data + text->len, data, len);
    text->len += len;
    text->data[text->len] = '\0';
}

void text_add(struct text *text, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int len = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (len < 0) {
        text->failed = true;
    } else if (reserve(text, (size_t)len)) {
        (void)vsnprintf(text->data + text->len, (size_t)len + 1, format, again);
        text->len += (size_t)len;
    }
    va_end(again);
}

void text_quoted(struct text *text, const char *value)
{
    text_bytes(text, "\"", 1);
    for (const char *c = value; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\')
            text_bytes(text, "\\", 1);
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            text_add(text, "\\x%02X", (unsigned)(unsigned char)*c);
        else
            text_bytes(text, c, 1);
    }
    text_bytes(text, "\"", 1);
}

char *text_take(struct text *text)
{
    text_bytes(text, "", 0);
    if (text->failed) {
        text_free(text);
        return NULL;
    }
    char *data = text->data;
    *text = (struct text){0};
    return data;
}

void text_free(struct text *text)
{
    if (text->data != NULL)
        secret_zero(text->data, text->cap);
    free(text->data);
    *text = (struct text){0};
}
