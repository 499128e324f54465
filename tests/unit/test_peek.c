// Peeking: identities and names are found in real hellos, at every split; what is malformed is refused, every cut too.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/handshake/peek.h"
#include "tests/unit/tls_client.h"
#include "tests/unit/unit.h"

#include <string.h>

enum { TLS_RECORD = 5, TLS_MESSAGE = 4 };

static const uint8_t key[16] = {1};

// The first flight of a client, copied.
static size_t first_flight(const struct tls_client_options *options, uint8_t *out, size_t cap)
{
    struct slice chunk;
    struct tls_client *client = tls_client_new(options);
    CU_ASSERT_PTR_NOT_NULL_FATAL(client);
    (void)tls_client_run(client);
    CU_ASSERT_TRUE_FATAL(tls_client_output(client, &chunk) && chunk.len <= cap);
    memcpy(out, chunk.data, chunk.len);
    size_t len = chunk.len;
    tls_client_free(client);
    return len;
}

static size_t tls_flight(uint8_t *out, size_t cap)
{
    const struct tls_client_options options = {
        .tls13 = true, .identity = "dev@sp.example", .key = {key, sizeof key}, .server_name = "one.example"};
    return first_flight(&options, out, cap);
}

static void tls_hello_is_read(void)
{
    uint8_t bytes[2048];
    struct peek_hello hello;
    size_t len = tls_flight(bytes, sizeof bytes);
    struct slice body = slice_of(bytes + TLS_RECORD + TLS_MESSAGE, len - TLS_RECORD - TLS_MESSAGE);
    CU_ASSERT_EQUAL(peek_client_hello(body, false, &hello), SAGATE_OK);
    CU_ASSERT_EQUAL(hello.version, 0x0303);
    CU_ASSERT_TRUE(hello.tls13);
    CU_ASSERT_TRUE(slice_is(hello.server_name, "one.example"));
    CU_ASSERT_TRUE(slice_is(hello.psk_identity, "dev@sp.example"));
    CU_ASSERT_TRUE(peek_offers(&hello, 0x1301));
    CU_ASSERT_FALSE(peek_offers(&hello, 0x00ff));
}

static void no_cut_of_a_hello_is_taken(void)
{
    uint8_t bytes[2048];
    struct peek_hello hello;
    size_t len = tls_flight(bytes, sizeof bytes) - TLS_RECORD - TLS_MESSAGE;
    for (size_t i = 0; i < len; i++) {
        uint8_t exact[2048]; // so that a sanitizer sees what is read past the end
        memcpy(exact + sizeof exact - i, bytes + TLS_RECORD + TLS_MESSAGE, i);
        int rc = peek_client_hello(slice_of(exact + sizeof exact - i, i), false, &hello);
        bool without_extensions = rc == SAGATE_OK && hello.server_name.data == NULL && !hello.tls13;
        CU_ASSERT_TRUE(rc == SAGATE_EMALFORMED || without_extensions);
    }
}

static void stream_is_read_at_every_split(void)
{
    uint8_t bytes[2048];
    size_t len = tls_flight(bytes, sizeof bytes);
    for (size_t step = 1; step <= len; step += step < 20 ? 1 : 37) {
        struct peek_stream stream = {.limit = PEEK_HELLO_MAX};
        int rc = SAGATE_AGAIN;
        size_t at = 0;
        while (rc == SAGATE_AGAIN && at < len) {
            size_t used;
            size_t n = len - at < step ? len - at : step;
            rc = peek_stream_push(&stream, slice_of(bytes + at, n), &used);
            at += used;
        }
        uint8_t type;
        CU_ASSERT_EQUAL_FATAL(rc, SAGATE_DONE);
        CU_ASSERT_EQUAL(at, len);
        struct slice body = peek_stream_message(&stream, &type);
        CU_ASSERT_EQUAL(type, PEEK_CLIENT_HELLO);
        CU_ASSERT_TRUE(slice_equal(body, slice_of(bytes + TLS_RECORD + TLS_MESSAGE, len - TLS_RECORD - TLS_MESSAGE)));
        peek_stream_release(&stream);
    }
}

static void messages_may_share_and_span_records(void)
{
    // Two messages of 3 and 2 bytes: record one has the first and half of the second's header, then one byte a record.
    static const uint8_t bytes[] = {22, 3,  3, 0, 9, 16, 0, 0,  3, 'a', 'b', 'c', 1,   0,  22, 3, 3, 0, 1,
                                    0,  22, 3, 3, 0, 1,  2, 22, 3, 3,   0,   1,   'x', 22, 3,  3, 0, 1, 'y'};
    struct peek_stream stream = {.limit = 100};
    size_t used;
    size_t more;
    uint8_t type;
    CU_ASSERT_EQUAL(peek_stream_push(&stream, slice_of(bytes, sizeof bytes), &used), SAGATE_DONE);
    CU_ASSERT_EQUAL(used, 12);
    CU_ASSERT_TRUE(slice_is(peek_stream_message(&stream, &type), "abc"));
    CU_ASSERT_EQUAL(type, 16);
    peek_stream_next(&stream, 100);
    CU_ASSERT_EQUAL(peek_stream_push(&stream, slice_of(bytes + used, sizeof bytes - used), &more), SAGATE_DONE);
    CU_ASSERT_EQUAL(used + more, sizeof bytes);
    CU_ASSERT_TRUE(slice_is(peek_stream_message(&stream, &type), "xy"));
    peek_stream_release(&stream);
}

static void streams_that_are_no_handshake_are_refused(void)
{
    const struct {
        struct slice bytes;
        int rc;
    } cases[] = {
        {slice_text("G"), SAGATE_EMALFORMED},
        {slice_of("\x16\x02\x00\x00\x01", 5), SAGATE_EMALFORMED},
        {slice_of("\x16\x03\x01\x00\x00", 5), SAGATE_EMALFORMED},
        {slice_of("\x16\x03\x01\x40\x01", 5), SAGATE_EMALFORMED},
        {slice_of("\x15\x03\x01\x00\x02", 5), SAGATE_EUNSUPPORTED},
        {slice_of("\x17\x03\x01\x00\x02", 5), SAGATE_EUNSUPPORTED},
        {slice_of("\x16\x03\x01\x00\x04\x01\x00\x40\x00", 9), SAGATE_ETOOBIG},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peek_stream stream = {.limit = PEEK_HELLO_MAX};
        size_t used;
        CU_ASSERT_EQUAL(peek_stream_push(&stream, cases[i].bytes, &used), cases[i].rc);
        peek_stream_release(&stream);
    }
}

static void dtls_hello_must_be_whole_and_first(void)
{
    const struct tls_client_options options = {.dtls = true,
                                               .ciphers = "PSK-AES128-CCM-8",
                                               .identity = "dev",
                                               .key = {key, sizeof key},
                                               .server_name = "one.example"};
    uint8_t bytes[2048];
    struct peek_hello hello;
    struct peek_record record;
    size_t len = first_flight(&options, bytes, sizeof bytes);
    CU_ASSERT_TRUE(peek_dtls_hello(slice_of(bytes, len), &hello, &record));
    CU_ASSERT_EQUAL(hello.version, 0xfefd);
    CU_ASSERT_EQUAL(hello.cookie.len, 0);
    CU_ASSERT_TRUE(slice_is(hello.server_name, "one.example"));
    CU_ASSERT_EQUAL(record.whole.len, len);
    for (size_t i = 0; i < len; i++)
        CU_ASSERT_FALSE(peek_dtls_hello(slice_of(bytes, i), &hello, &record));
    CU_ASSERT_TRUE(peek_dtls_hello(slice_of(bytes, len + 20), &hello, &record)); // what follows is left alone
    CU_ASSERT_EQUAL(record.whole.len, len);
    static const size_t fields[] = {0, 1, 4, 13, 14, 20}; // type, version, epoch, message type, length, offset
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        bytes[fields[i]] ^= 1;
        CU_ASSERT_FALSE(peek_dtls_hello(slice_of(bytes, len), &hello, &record));
        bytes[fields[i]] ^= 1;
    }
}

static void identity_is_the_first_field(void)
{
    struct slice identity;
    CU_ASSERT_EQUAL(peek_client_key_exchange(slice_of("\0\3dev", 5), &identity), SAGATE_OK);
    CU_ASSERT_TRUE(slice_is(identity, "dev"));
    CU_ASSERT_EQUAL(peek_client_key_exchange(slice_of("\0\3dev\2xy", 8), &identity), SAGATE_OK); // ECDHE_PSK
    CU_ASSERT_TRUE(slice_is(identity, "dev"));
    CU_ASSERT_EQUAL(peek_client_key_exchange(slice_of("\0\0", 2), &identity), SAGATE_OK);
    CU_ASSERT_EQUAL(identity.len, 0);
    CU_ASSERT_EQUAL(peek_client_key_exchange(slice_of("\0\4dev", 5), &identity), SAGATE_EMALFORMED);
    CU_ASSERT_EQUAL(peek_client_key_exchange(slice_of("\0", 1), &identity), SAGATE_EMALFORMED);
}

static struct peek_fragment piece(const char *text, uint32_t offset, size_t len)
{
    return (struct peek_fragment){.type = 16,
                                  .message_seq = 2,
                                  .length = (uint32_t)strlen(text),
                                  .offset = offset,
                                  .data = slice_of(text + offset, len)};
}

static void fragments_are_joined_in_any_order(void)
{
    struct peek_assembly assembly = {0};
    struct peek_fragment one = piece("hello world", 6, 5);
    struct peek_fragment two = piece("hello world", 0, 3);
    struct peek_fragment three = piece("hello world", 2, 6);
    struct peek_fragment lie = piece("HELLO world", 0, 3);
    struct peek_fragment other = piece("another one", 0, 3);
    other.message_seq = 3;
    CU_ASSERT_EQUAL(peek_assembly_add(&assembly, &one), SAGATE_AGAIN);
    CU_ASSERT_EQUAL(peek_assembly_add(&assembly, &one), SAGATE_AGAIN);
    CU_ASSERT_EQUAL(peek_assembly_add(&assembly, &two), SAGATE_AGAIN);
    CU_ASSERT_EQUAL(peek_assembly_add(&assembly, &lie), SAGATE_EMALFORMED);
    CU_ASSERT_EQUAL(peek_assembly_add(&assembly, &other), SAGATE_EMALFORMED);
    CU_ASSERT_EQUAL(peek_assembly_add(&assembly, &three), SAGATE_DONE);
    CU_ASSERT_EQUAL(memcmp(assembly.bytes, "hello world", 11), 0);
    struct peek_assembly empty = {0};
    struct peek_fragment huge = {.type = 16, .length = PEEK_KEY_MAX + 1, .data = slice_of("x", 1)};
    CU_ASSERT_EQUAL(peek_assembly_add(&empty, &huge), SAGATE_EMALFORMED);
}

static void second_names_are_malformed(void)
{
    static const uint8_t head[] = {3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,    0, 0, 0,
                                   0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0xa8, 1, 0};
    static const char *const tails[] = {
        "\0\x0a\0\0\0\6\0\4\0\0\1a",                    // good
        "\0\x0e\0\0\0\x0a\0\x08\0\0\1a\0\0\1b",         // two names in a list
        "\0\x14\0\0\0\6\0\4\0\0\1a\0\0\0\6\0\4\0\0\1b", // the extension twice
        "\0\x09\0\0\0\5\0\3\0\0\0",                     // an empty name
        "\0\x0a\0\0\0\6\0\5\0\0\1a",                    // a list longer than its extension
    };
    static const size_t lengths[] = {12, 16, 22, 11, 12};
    for (size_t i = 0; i < 5; i++) {
        uint8_t bytes[100];
        struct peek_hello hello;
        memcpy(bytes, head, sizeof head);
        memcpy(bytes + sizeof head, tails[i], lengths[i]);
        int rc = peek_client_hello(slice_of(bytes, sizeof head + lengths[i]), false, &hello);
        CU_ASSERT_EQUAL(rc, i == 0 ? SAGATE_OK : SAGATE_EMALFORMED);
    }
}

static const struct unit_test tests[] = {
    {"TLS hello is read", tls_hello_is_read},
    {"no cut of a hello is taken", no_cut_of_a_hello_is_taken},
    {"stream is read at every split", stream_is_read_at_every_split},
    {"messages may share and span records", messages_may_share_and_span_records},
    {"streams that are no handshake are refused", streams_that_are_no_handshake_are_refused},
    {"DTLS hello must be whole and first", dtls_hello_must_be_whole_and_first},
    {"identity is the first field", identity_is_the_first_field},
    {"fragments are joined in any order", fragments_are_joined_in_any_order},
    {"second names are malformed", second_names_are_malformed},
};

UNIT_MAIN("peek", tests)
