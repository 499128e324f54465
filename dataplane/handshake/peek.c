// Parsing of the handshake messages that travel in clear. Every length is checked against what is left of its parent.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/handshake/peek.h"

#include "common/error.h"

#include <stdlib.h>
#include <string.h>

enum {
    DTLS_MESSAGE_HEADER = 12,
    TLS_MESSAGE_HEADER = 4,
    TLS_RECORD_MAX = 16384, // plaintext
    EXTENSION_SERVER_NAME = 0,
    EXTENSION_SIGNATURE_ALGORITHMS = 13,
    EXTENSION_SESSION_TICKET = 35,
    EXTENSION_PRE_SHARED_KEY = 41,
    EXTENSION_SUPPORTED_VERSIONS = 43,
    EXTENSION_COOKIE = 44,
    EXTENSION_KEY_SHARE = 51,
    EXTENSION_CONNECTION_ID = 54,
    VERSION_TLS12 = 0x0303,
    VERSION_TLS13 = 0x0304,
    VERSION_DTLS12 = 0xfefd,
    VERSION_DTLS13 = 0xfefc,
    UNIFIED_FIXED = 0xe0, // the first byte of a unified header: 001CSLEE (RFC 9147 4)
    UNIFIED_CID = 0x10,
    UNIFIED_SEQUENCE_16 = 0x08,
    UNIFIED_LENGTH = 0x04,
    UNIFIED_EPOCH = 0x03,
};

static bool take(struct slice *from, size_t len, struct slice *out)
{
    if (from->len < len)
        return false;
    *out = slice_of(from->data, len);
    from->data += len;
    from->len -= len;
    return true;
}

// A big-endian number of one to six bytes.
static bool take_number(struct slice *from, size_t bytes, uint64_t *out)
{
    struct slice raw;
    if (!take(from, bytes, &raw))
        return false;
    *out = 0;
    for (size_t i = 0; i < bytes; i++)
        *out = *out << 8 | raw.data[i];
    return true;
}

static bool take_vector(struct slice *from, size_t length_bytes, struct slice *out)
{
    uint64_t len;
    return take_number(from, length_bytes, &len) && take(from, (size_t)len, out);
}

static bool read_server_name(struct slice body, struct peek_hello *hello)
{
    struct slice list;
    if (!take_vector(&body, 2, &list) || body.len != 0 || list.len == 0)
        return false;
    while (list.len > 0) {
        uint64_t type;
        struct slice name;
        if (!take_number(&list, 1, &type) || !take_vector(&list, 2, &name) || name.len == 0)
            return false;
        if (type != 0)
            continue;
        if (hello->server_name.data != NULL)
            return false; // RFC 6066 3: one name of a type
        hello->server_name = name;
    }
    return true;
}

static bool read_supported_versions(struct slice body, bool dtls, struct peek_hello *hello)
{
    struct slice list;
    uint64_t version;
    if (!take_vector(&body, 1, &list) || body.len != 0 || list.len % 2 != 0)
        return false;
    hello->versions = true;
    while (take_number(&list, 2, &version)) {
        hello->tls12 = hello->tls12 || version == (dtls ? VERSION_DTLS12 : VERSION_TLS12);
        hello->tls13 = hello->tls13 || version == (dtls ? VERSION_DTLS13 : VERSION_TLS13);
    }
    return true;
}

static bool read_pre_shared_key(struct slice body, struct peek_hello *hello)
{
    struct slice list;
    struct slice binders;
    if (!take_vector(&body, 2, &list) || !take_vector(&body, 2, &binders) || body.len != 0 || list.len == 0)
        return false;
    while (list.len > 0) {
        struct slice identity;
        uint64_t age;
        if (!take_vector(&list, 2, &identity) || !take_number(&list, 4, &age) || identity.len == 0)
            return false;
        if (hello->psk_identity.data == NULL)
            hello->psk_identity = identity;
        if (age == 0 && hello->psk_external.data == NULL)
            hello->psk_external = identity;
    }
    return true;
}

static bool read_extension(uint64_t type, struct slice body, bool dtls, struct peek_hello *hello)
{
    switch (type) {
    case EXTENSION_SERVER_NAME:
        return hello->server_name.data == NULL && read_server_name(body, hello);
    case EXTENSION_SIGNATURE_ALGORITHMS:
        hello->signature_algorithms = true;
        return true;
    case EXTENSION_SESSION_TICKET:
        hello->ticket = body;
        return true;
    case EXTENSION_SUPPORTED_VERSIONS:
        return read_supported_versions(body, dtls, hello);
    case EXTENSION_KEY_SHARE:
        hello->key_share = body.len > 2; // the list is not empty
        return true;
    case EXTENSION_COOKIE:
        return hello->retry_cookie.data == NULL && take_vector(&body, 2, &hello->retry_cookie) && body.len == 0 &&
               hello->retry_cookie.len > 0;
    case EXTENSION_CONNECTION_ID:
        return !dtls || (hello->cid.data == NULL && take_vector(&body, 1, &hello->cid) && body.len == 0);
    case EXTENSION_PRE_SHARED_KEY:
        return hello->psk_identity.data == NULL && read_pre_shared_key(body, hello);
    default:
        return true;
    }
}

int peek_client_hello(struct slice body, bool dtls, struct peek_hello *hello)
{
    uint64_t version;
    struct slice random;
    *hello = (struct peek_hello){0};
    if (!take_number(&body, 2, &version) || !take(&body, PEEK_RANDOM, &random) ||
        !take_vector(&body, 1, &hello->session) || hello->session.len > 32)
        return SAGATE_EMALFORMED;
    hello->version = (uint16_t)version;
    hello->random = random.data;
    if (dtls && !take_vector(&body, 1, &hello->cookie))
        return SAGATE_EMALFORMED;
    if (!take_vector(&body, 2, &hello->suites) || hello->suites.len == 0 || hello->suites.len % 2 != 0 ||
        !take_vector(&body, 1, &hello->compression) || hello->compression.len == 0)
        return SAGATE_EMALFORMED;
    if (body.len == 0)
        return SAGATE_OK; // no extensions (RFC 5246 7.4.1.2)
    struct slice extensions;
    if (!take_vector(&body, 2, &extensions) || body.len != 0)
        return SAGATE_EMALFORMED;
    while (extensions.len > 0) {
        uint64_t type;
        struct slice content;
        if (!take_number(&extensions, 2, &type) || !take_vector(&extensions, 2, &content) ||
            !read_extension(type, content, dtls, hello))
            return SAGATE_EMALFORMED;
    }
    return SAGATE_OK;
}

bool peek_offers(const struct peek_hello *hello, uint16_t suite)
{
    struct slice list = hello->suites;
    uint64_t offered;
    while (take_number(&list, 2, &offered)) {
        if (offered == suite)
            return true;
    }
    return false;
}

int peek_client_key_exchange(struct slice body, struct slice *identity)
{
    return take_vector(&body, 2, identity) ? SAGATE_OK : SAGATE_EMALFORMED;
}

static bool server_hello_takes_psk(struct slice body)
{
    uint64_t number;
    struct slice part;
    struct slice extensions;
    if (!take_number(&body, 2, &number) || !take(&body, PEEK_RANDOM, &part) || !take_vector(&body, 1, &part) ||
        !take_number(&body, 2, &number) || !take_number(&body, 1, &number) || !take_vector(&body, 2, &extensions))
        return false;
    while (extensions.len > 0) {
        if (!take_number(&extensions, 2, &number) || !take_vector(&extensions, 2, &part))
            return false;
        if (number == EXTENSION_PRE_SHARED_KEY)
            return true;
    }
    return false;
}

bool peek_server_took_psk(struct slice records, bool *seen)
{
    bool taken = false;
    uint64_t type;
    uint64_t version;
    struct slice body;
    *seen = false;
    while (take_number(&records, 1, &type) && take_number(&records, 2, &version) && take_vector(&records, 2, &body)) {
        uint64_t message;
        struct slice content;
        if (type != PEEK_TYPE_HANDSHAKE || !take_number(&body, 1, &message) || message != PEEK_SERVER_HELLO ||
            !take_vector(&body, 3, &content))
            continue;
        *seen = true;
        taken = server_hello_takes_psk(content);
    }
    return taken;
}

bool peek_dtls_server_took_psk(struct slice datagram, bool *seen)
{
    bool taken = false;
    struct peek_record record;
    struct peek_fragment fragment;
    *seen = false;
    while (peek_dtls_record(&datagram, 0, &record) == SAGATE_OK && record.epoch == 0) {
        struct slice body = record.body;
        if (record.type != PEEK_TYPE_HANDSHAKE || peek_dtls_fragment(&body, &fragment) != SAGATE_OK ||
            fragment.type != PEEK_SERVER_HELLO || fragment.data.len != fragment.length)
            continue;
        *seen = true;
        taken = server_hello_takes_psk(fragment.data);
    }
    return taken;
}

static bool take_unified(struct slice *rest, size_t cid_len, struct peek_record *record)
{
    uint8_t first = rest->data[0];
    struct slice number;
    (void)take(rest, 1, &number);
    record->type = PEEK_TYPE_UNIFIED;
    record->epoch = first & UNIFIED_EPOCH;
    record->version = 0;
    record->sequence = 0;
    if ((first & UNIFIED_CID) != 0 && (cid_len == 0 || !take(rest, cid_len, &record->cid)))
        return false;
    if (!take(rest, (first & UNIFIED_SEQUENCE_16) != 0 ? 2 : 1, &number))
        return false;
    return (first & UNIFIED_LENGTH) != 0 ? take_vector(rest, 2, &record->body) : take(rest, rest->len, &record->body);
}

static bool take_plain(struct slice *rest, size_t cid_len, struct peek_record *record)
{
    uint64_t type;
    uint64_t version;
    uint64_t epoch;
    if (!take_number(rest, 1, &type) || !take_number(rest, 2, &version) || !take_number(rest, 2, &epoch) ||
        !take_number(rest, 6, &record->sequence) || version >> 8 != 0xfe)
        return false;
    record->type = (uint8_t)type;
    record->version = (uint16_t)version;
    record->epoch = (uint16_t)epoch;
    if (type == PEEK_TYPE_CID) {
        if (cid_len == 0 || !take(rest, cid_len, &record->cid))
            return false;
    } else if (type != PEEK_TYPE_ACK && (type < PEEK_TYPE_CHANGE_CIPHER_SPEC || type > PEEK_TYPE_APPLICATION)) {
        return false;
    }
    return take_vector(rest, 2, &record->body);
}

int peek_dtls_record(struct slice *datagram, size_t cid_len, struct peek_record *record)
{
    if (datagram->len == 0)
        return SAGATE_AGAIN;
    struct slice rest = *datagram;
    const uint8_t *start = rest.data;
    bool unified = (start[0] & UNIFIED_FIXED) == PEEK_TYPE_UNIFIED;
    record->cid = (struct slice){0};
    if (!(unified ? take_unified(&rest, cid_len, record) : take_plain(&rest, cid_len, record)) || record->body.len == 0)
        return SAGATE_EMALFORMED;
    record->whole = slice_of(start, datagram->len - rest.len);
    *datagram = rest;
    return SAGATE_OK;
}

int peek_dtls_fragment(struct slice *body, struct peek_fragment *fragment)
{
    if (body->len == 0)
        return SAGATE_AGAIN;
    struct slice rest = *body;
    uint64_t type;
    uint64_t length;
    uint64_t message_seq;
    uint64_t offset;
    if (!take_number(&rest, 1, &type) || !take_number(&rest, 3, &length) || !take_number(&rest, 2, &message_seq) ||
        !take_number(&rest, 3, &offset) || !take_vector(&rest, 3, &fragment->data) ||
        offset + fragment->data.len > length)
        return SAGATE_EMALFORMED;
    fragment->type = (uint8_t)type;
    fragment->length = (uint32_t)length;
    fragment->message_seq = (uint16_t)message_seq;
    fragment->offset = (uint32_t)offset;
    *body = rest;
    return SAGATE_OK;
}

bool peek_dtls_hello(struct slice datagram, struct peek_hello *hello, struct peek_record *record)
{
    struct peek_fragment fragment;
    if (peek_dtls_record(&datagram, 0, record) != SAGATE_OK || record->type != PEEK_TYPE_HANDSHAKE ||
        record->epoch != 0)
        return false;
    struct slice body = record->body;
    if (peek_dtls_fragment(&body, &fragment) != SAGATE_OK || body.len != 0 || fragment.type != PEEK_CLIENT_HELLO ||
        fragment.data.len != fragment.length)
        return false;
    return peek_client_hello(fragment.data, true, hello) == SAGATE_OK;
}

const uint8_t *peek_dtls_random(struct slice datagram)
{
    struct peek_record record;
    struct peek_fragment fragment;
    if (peek_dtls_record(&datagram, 0, &record) != SAGATE_OK || record.type != PEEK_TYPE_HANDSHAKE || record.epoch != 0)
        return NULL;
    struct slice body = record.body;
    if (peek_dtls_fragment(&body, &fragment) != SAGATE_OK || fragment.type != PEEK_CLIENT_HELLO ||
        fragment.offset != 0 || fragment.data.len < 2 + PEEK_RANDOM)
        return NULL;
    return fragment.data.data + 2;
}

int peek_assembly_add(struct peek_assembly *assembly, const struct peek_fragment *fragment)
{
    if (!assembly->started) {
        if (fragment->length > sizeof assembly->bytes)
            return SAGATE_EMALFORMED;
        assembly->started = true;
        assembly->message_seq = fragment->message_seq;
        assembly->length = fragment->length;
        assembly->missing = fragment->length;
    }
    if (fragment->message_seq != assembly->message_seq || fragment->length != assembly->length)
        return SAGATE_EMALFORMED;
    for (size_t i = 0; i < fragment->data.len; i++) {
        size_t at = fragment->offset + i;
        uint8_t bit = (uint8_t)(1U << (at % 8));
        if ((assembly->seen[at / 8] & bit) != 0) {
            if (assembly->bytes[at] != fragment->data.data[i])
                return SAGATE_EMALFORMED;
            continue;
        }
        assembly->seen[at / 8] |= bit;
        assembly->bytes[at] = fragment->data.data[i];
        assembly->missing--;
    }
    return assembly->missing == 0 ? SAGATE_DONE : SAGATE_AGAIN;
}

static size_t message_length(const struct peek_stream *stream)
{
    const uint8_t *m = stream->message;
    return TLS_MESSAGE_HEADER + ((size_t)m[1] << 16 | (size_t)m[2] << 8 | m[3]);
}

static bool make_room(struct peek_stream *stream, size_t need)
{
    if (need <= stream->cap)
        return true;
    size_t cap = need < 512 ? 512 : need;
    uint8_t *grown = realloc(stream->message, cap);
    if (grown == NULL)
        return false;
    stream->message = grown;
    stream->cap = cap;
    return true;
}

// Bytes that may be taken now: up to the end of the message's header, then up to its end.
static size_t wanted(const struct peek_stream *stream)
{
    size_t target = stream->len < TLS_MESSAGE_HEADER ? TLS_MESSAGE_HEADER : message_length(stream);
    return target - stream->len;
}

static int start_record(struct peek_stream *stream)
{
    const uint8_t *h = stream->header;
    size_t len = (size_t)h[3] << 8 | h[4];
    if (h[1] != 3 || h[0] < PEEK_TYPE_CHANGE_CIPHER_SPEC || h[0] > PEEK_TYPE_APPLICATION)
        return SAGATE_EMALFORMED;
    if (h[0] != PEEK_TYPE_HANDSHAKE)
        return SAGATE_EUNSUPPORTED;
    if (len == 0 || len > TLS_RECORD_MAX)
        return SAGATE_EMALFORMED;
    stream->record_left = len;
    return SAGATE_OK;
}

static int push_body(struct peek_stream *stream, struct slice bytes, size_t *at)
{
    if (stream->record_left == 0)
        return SAGATE_EMALFORMED; // pushed on after an error
    size_t n = wanted(stream);
    if (n > stream->record_left)
        n = stream->record_left;
    if (n > bytes.len - *at)
        n = bytes.len - *at;
    if (!make_room(stream, stream->len + n))
        return SAGATE_ENOMEM;
    memcpy(stream->message + stream->len, bytes.data + *at, n);
    stream->len += n;
    stream->record_left -= n;
    *at += n;
    if (stream->record_left == 0)
        stream->header_len = 0;
    if (stream->len < TLS_MESSAGE_HEADER)
        return SAGATE_AGAIN;
    if (message_length(stream) > stream->limit)
        return SAGATE_ETOOBIG;
    return stream->len == message_length(stream) ? SAGATE_DONE : SAGATE_AGAIN;
}

int peek_stream_push(struct peek_stream *stream, struct slice bytes, size_t *used)
{
    size_t at = 0;
    int rc = SAGATE_AGAIN;
    while (rc == SAGATE_AGAIN && at < bytes.len) {
        if (stream->header_len < PEEK_TLS_HEADER) {
            stream->header[stream->header_len++] = bytes.data[at++];
            // The type shows at once whether this is TLS, before a slow peer sends more.
            if (stream->header[0] < PEEK_TYPE_CHANGE_CIPHER_SPEC || stream->header[0] > PEEK_TYPE_APPLICATION)
                rc = SAGATE_EMALFORMED;
            else if (stream->header_len == PEEK_TLS_HEADER && (rc = start_record(stream)) == SAGATE_OK)
                rc = SAGATE_AGAIN;
        } else {
            rc = push_body(stream, bytes, &at);
        }
    }
    *used = at;
    return rc;
}

struct slice peek_stream_message(const struct peek_stream *stream, uint8_t *type)
{
    *type = stream->message[0];
    return slice_of(stream->message + TLS_MESSAGE_HEADER, stream->len - TLS_MESSAGE_HEADER);
}

void peek_stream_next(struct peek_stream *stream, size_t limit)
{
    stream->len = 0;
    stream->limit = limit;
}

void peek_stream_release(struct peek_stream *stream)
{
    free(stream->message);
    *stream = (struct peek_stream){0};
}
