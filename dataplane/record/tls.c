// Framing of TLS records.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/record/tls.h"

#include "common/error.h"

int tls_next(struct slice *stream, size_t body_max, struct tls_record *record, size_t *need)
{
    *need = TLS_HEADER;
    if (stream->len == 0)
        return SAGATE_AGAIN;
    const uint8_t *at = stream->data;
    if (at[0] < TLS_CHANGE_CIPHER_SPEC || at[0] > TLS_APPLICATION)
        return SAGATE_EMALFORMED;
    if (stream->len < TLS_HEADER)
        return SAGATE_AGAIN;
    size_t len = (size_t)tls_get(at + 3, 2);
    if (len > body_max)
        return SAGATE_ETOOBIG;
    *need = TLS_HEADER + len;
    if (stream->len < *need)
        return SAGATE_AGAIN;
    *record = (struct tls_record){
        .type = at[0],
        .version = (uint16_t)tls_get(at + 1, 2),
        .header = slice_of(at, TLS_HEADER),
        .body = slice_of(at + TLS_HEADER, len),
    };
    *stream = slice_of(at + *need, stream->len - *need);
    return SAGATE_OK;
}
