// The chunked coding's decoder and encoder.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/binding/http/chunked.h"

#include "common/error.h"
#include "dataplane/binding/http/head.h"

enum state {
    SIZE,
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    LINE_START,
    NAME,
    VALUE,
    VALUE_LF,
    END_LF,
    DONE,
    BROKEN
};
enum { DIGITS_MAX = 8 };

void http_chunked_init(struct http_chunked *chunked)
{
    *chunked = (struct http_chunked){.state = SIZE};
}

static int digit_of(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int step_size(struct http_chunked *chunked, uint8_t c)
{
    int digit = digit_of(c);
    if (digit < 0) {
        chunked->state = c == ';' ? EXTENSION : SIZE_LF;
        return (c == '\r' || c == ';') && chunked->digits > 0 ? SAGATE_AGAIN : SAGATE_EMALFORMED;
    }
    if (++chunked->digits > DIGITS_MAX)
        return SAGATE_ETOOBIG;
    chunked->left = chunked->left * 16 + (uint64_t)digit;
    return SAGATE_AGAIN;
}

// An extension means nothing here and is dropped (RFC 9112 7.1.1); no byte of it may look like the end of a line.
static int step_extension(struct http_chunked *chunked, uint8_t c)
{
    if (++chunked->extension > HTTP_CHUNK_EXTENSION_MAX)
        return SAGATE_ETOOBIG;
    if (c == '\r')
        chunked->state = SIZE_LF;
    return c == '\r' || c == '\t' || (c >= ' ' && c < 0x7f) ? SAGATE_AGAIN : SAGATE_EMALFORMED;
}

static int step_trailer(struct http_chunked *chunked, uint8_t c)
{
    if (++chunked->trailer > HTTP_TRAILER_MAX)
        return SAGATE_ETOOBIG;
    switch (chunked->state) {
    case LINE_START:
        chunked->state = c == '\r' ? END_LF : NAME;
        return c == '\r' || http_is_tchar(c) ? SAGATE_AGAIN : SAGATE_EMALFORMED;
    case NAME:
        if (c == ':')
            chunked->state = VALUE;
        return c == ':' || http_is_tchar(c) ? SAGATE_AGAIN : SAGATE_EMALFORMED;
    case VALUE:
        if (c == '\r')
            chunked->state = VALUE_LF;
        return c == '\r' || c == '\t' || (c >= ' ' && c != 0x7f) ? SAGATE_AGAIN : SAGATE_EMALFORMED;
    case VALUE_LF:
        chunked->state = LINE_START;
        return c == '\n' ? SAGATE_AGAIN : SAGATE_EMALFORMED;
    default: // END_LF
        chunked->state = DONE;
        return c == '\n' ? SAGATE_DONE : SAGATE_EMALFORMED;
    }
}

static int step(struct http_chunked *chunked, uint8_t c)
{
    switch (chunked->state) {
    case SIZE:
        return step_size(chunked, c);
    case EXTENSION:
        return step_extension(chunked, c);
    case SIZE_LF:
        chunked->digits = 0;
        chunked->state = chunked->left > 0 ? DATA : LINE_START;
        return c == '\n' ? SAGATE_AGAIN : SAGATE_EMALFORMED;
    case DATA_CR:
        chunked->state = DATA_LF;
        return c == '\r' ? SAGATE_AGAIN : SAGATE_EMALFORMED;
    case DATA_LF:
        chunked->state = SIZE;
        return c == '\n' ? SAGATE_AGAIN : SAGATE_EMALFORMED;
    case DONE:
    case BROKEN:
        return SAGATE_EMALFORMED;
    default:
        return step_trailer(chunked, c);
    }
}

int http_chunked_feed(struct http_chunked *chunked, const uint8_t *data, size_t len, size_t *used, struct slice *piece)
{
    *used = 0;
    *piece = slice_of(data, 0);
    while (*used < len) {
        if (chunked->state == DATA) {
            size_t left = len - *used;
            size_t take = left < chunked->left ? left : (size_t)chunked->left;
            *piece = slice_of(data + *used, take);
            *used += take;
            chunked->left -= take;
            if (chunked->left == 0)
                chunked->state = DATA_CR;
            return SAGATE_AGAIN;
        }
        int result = step(chunked, data[(*used)++]);
        if (result < 0)
            chunked->state = BROKEN;
        if (result != SAGATE_AGAIN)
            return result;
    }
    return SAGATE_AGAIN;
}

void http_chunked_write(struct buffer *out, struct slice piece)
{
    if (piece.len == 0)
        return;
    buffer_hex(out, piece.len);
    buffer_text(out, "\r\n");
    buffer_slice(out, piece);
    buffer_text(out, "\r\n");
}

void http_chunked_finish(struct buffer *out)
{
    buffer_text(out, "0\r\n\r\n");
}
