// Fuzz target: peeking. The first byte chooses: a TLS stream in pieces, a DTLS datagram, a bare ClientHello, a bare
// ClientKeyExchange. However the pieces are cut, the same must be found.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/handshake/peek.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void inside(struct slice whole, struct slice part)
{
    if (part.data != NULL && (part.data < whole.data || part.data + part.len > whole.data + whole.len))
        abort();
}

static void read_hello(struct slice body, bool dtls)
{
    struct peek_hello hello;
    if (peek_client_hello(body, dtls, &hello) != SAGATE_OK)
        return;
    inside(body, hello.cookie);
    inside(body, hello.suites);
    inside(body, hello.server_name);
    inside(body, hello.psk_identity);
    inside(body, hello.retry_cookie);
    inside(body, hello.cid);
    (void)peek_offers(&hello, 0xc0a8);
}

// Reads up to four messages in steps of this many bytes; returns a sum over what was found.
static size_t read_stream(struct slice bytes, size_t step)
{
    struct peek_stream stream = {.limit = PEEK_HELLO_MAX};
    size_t sum = 0;
    size_t at = 0;
    int rc = SAGATE_AGAIN;
    for (int messages = 0; messages < 4 && at < bytes.len && (rc == SAGATE_AGAIN || rc == SAGATE_DONE);) {
        size_t used;
        size_t n = bytes.len - at < step ? bytes.len - at : step;
        rc = peek_stream_push(&stream, slice_of(bytes.data + at, n), &used);
        at += used;
        if (rc == SAGATE_DONE) {
            uint8_t type;
            struct slice identity;
            struct slice body = peek_stream_message(&stream, &type);
            sum = sum * 31 + body.len * 256 + type;
            read_hello(body, false);
            if (peek_client_key_exchange(body, &identity) == SAGATE_OK)
                inside(body, identity);
            peek_stream_next(&stream, PEEK_KEY_MAX);
            messages++;
        }
    }
    peek_stream_release(&stream);
    return sum * 31 + at;
}

static void read_datagram(struct slice datagram, size_t cid_len)
{
    struct peek_record record;
    struct peek_fragment fragment;
    struct peek_hello hello;
    struct peek_assembly assembly = {0};
    bool seen;
    const uint8_t *random = peek_dtls_random(datagram);
    if (random != NULL)
        inside(datagram, slice_of(random, PEEK_RANDOM));
    if (peek_dtls_hello(datagram, &hello, &record)) {
        inside(datagram, record.whole);
        if (random != hello.random)
            abort();
    }
    (void)peek_dtls_server_took_psk(datagram, &seen);
    struct slice rest = datagram;
    while (peek_dtls_record(&rest, cid_len, &record) == SAGATE_OK) {
        inside(datagram, record.whole);
        inside(record.whole, record.cid);
        inside(record.whole, record.body);
        if (record.cid.data != NULL && record.cid.len != cid_len)
            abort();
        struct slice body = record.body;
        while (peek_dtls_fragment(&body, &fragment) == SAGATE_OK) {
            inside(record.body, fragment.data);
            if (fragment.type == PEEK_CLIENT_KEY_EXCHANGE && peek_assembly_add(&assembly, &fragment) == SAGATE_DONE) {
                struct slice identity;
                (void)peek_client_key_exchange(slice_of(assembly.bytes, assembly.length), &identity);
            }
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 2 || len > 70000)
        return 0;
    struct slice rest = slice_of(data + 1, len - 1);
    struct slice identity;
    bool seen;
    switch (data[0] % 5) {
    case 0:
        if (read_stream(rest, rest.len) != read_stream(rest, 1 + data[1] % 7U))
            abort();
        break;
    case 1:
        read_datagram(rest, 0);
        read_datagram(rest, 8);
        break;
    case 2:
        read_hello(rest, data[1] % 2 == 0);
        break;
    case 3:
        if (peek_client_key_exchange(rest, &identity) == SAGATE_OK)
            inside(rest, identity);
        break;
    default:
        (void)peek_server_took_psk(rest, &seen);
        break;
    }
    return 0;
}
