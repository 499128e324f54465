// Kernel TLS through the io_uring driver: keys at their place in the stream, records of other types, forgeries, new
// keys. Where this machine's kernel has no TLS, that the driver says so and the stream goes on.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/io/io.h"
#include "dataplane/record/tls13.h"
#include "tests/unit/unit.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LIMIT = 1 << 20, BIG = 300000 };

static struct io *io;
static io_stream stream;
static int peer = -1;
static struct tls13 state;       // the peer's
static struct ktls_keys out, in; // the kernel's
static struct ktls_support support;
static uint8_t bytes[2 * BIG];

static void make_keys(void)
{
    ktls_make(true, KTLS_AES_128_GCM, state.in.key, state.in.iv, 0, &out);
    ktls_make(true, KTLS_AES_128_GCM, state.out.key, state.out.iv, 0, &in);
}

static bool next_event(struct io_event *event, enum io_event_type type)
{
    for (int i = 0; i < 200; i++) {
        if (io_wait(io, event, 1, 10000) == 1)
            return event->type == type;
    }
    return false;
}

static void open_pair(void)
{
    static const uint8_t here[32] = {1};
    static const uint8_t there[32] = {2};
    const struct io_options options = {
        .receive_buffers = 64, .streams_max = 8, .stream_high_water = LIMIT, .stream_limit = LIMIT};
    struct io_event event;
    struct address address;
    io_id id;
    CU_ASSERT_EQUAL_FATAL(address_parse("127.0.0.1", 0, &address), SAGATE_OK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(bind(listener, &address.any, address.len), 0);
    CU_ASSERT_EQUAL_FATAL(listen(listener, 1), 0);
    CU_ASSERT_EQUAL_FATAL(getsockname(listener, &address.any, &address.len), 0);
    CU_ASSERT_EQUAL_FATAL(connect(peer, &address.any, address.len), 0);
    struct timeval patience = {.tv_sec = 5};
    (void)setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    CU_ASSERT_EQUAL_FATAL(io_create(&io_uring_driver, &options, &io), SAGATE_OK);
    CU_ASSERT_EQUAL_FATAL(io_add_listener(io, listener, NULL, &id), SAGATE_OK);
    CU_ASSERT_TRUE_FATAL(next_event(&event, IO_ACCEPTED));
    stream = event.stream;
    CU_ASSERT_EQUAL_FATAL(tls13_init(&state, AEAD_AES_128_GCM, here, there, 32), SAGATE_OK);
    make_keys();
}

static void close_pair(void)
{
    io_destroy(io);
    close(peer);
}

static void turn(void)
{
    struct io_event event;
    for (int i = 0; i < 5; i++)
        CU_ASSERT_EQUAL(io_wait(io, &event, 1, 1000), 0);
}

// The next record that the peer reads: its content type, 0 when there is none that opens.
static uint8_t read_record(uint8_t *content, size_t *len)
{
    uint8_t sealed[TLS_HEADER + TLS13_BODY_MAX];
    struct tls_record record;
    uint8_t type = 0;
    size_t need;
    if (recv(peer, sealed, TLS_HEADER, MSG_WAITALL) != TLS_HEADER)
        return 0;
    size_t body = (size_t)tls_get(sealed + 3, 2);
    if (body > TLS13_BODY_MAX || recv(peer, sealed + TLS_HEADER, body, MSG_WAITALL) != (ssize_t)body)
        return 0;
    struct slice rest = slice_of(sealed, TLS_HEADER + body);
    if (tls_next(&rest, TLS13_BODY_MAX, &record, &need) != SAGATE_OK ||
        tls13_open(&state, &record, content, TLS13_INNER_MAX, &type, len) != SAGATE_OK)
        return 0;
    return type;
}

static void write_record(uint8_t type, const void *data, size_t len)
{
    uint8_t sealed[200];
    size_t n;
    CU_ASSERT_EQUAL_FATAL(tls13_seal(&state, type, data, len, sealed, sizeof sealed, &n), SAGATE_OK);
    CU_ASSERT_EQUAL(send(peer, sealed, n, MSG_NOSIGNAL), (ssize_t)n);
}

static void without_kernel_tls_the_stream_goes_on(void)
{
    struct io_event event;
    if (ktls_probe(&support))
        return;
    open_pair();
    CU_ASSERT_EQUAL(io_stream_kernel_tls(io, stream, IO_OUT, &out), SAGATE_EUNSUPPORTED);
    CU_ASSERT_EQUAL(io_stream_kernel_tls(io, stream, IO_IN, &in), SAGATE_EUNSUPPORTED);
    CU_ASSERT_EQUAL(io_stream_write(io, stream, "pong", 4), SAGATE_OK);
    turn();
    CU_ASSERT_EQUAL(recv(peer, bytes, 4, MSG_WAITALL), 4);
    CU_ASSERT_EQUAL(send(peer, "ping", 4, MSG_NOSIGNAL), 4);
    CU_ASSERT_TRUE(next_event(&event, IO_DATA) && event.len == 4 && event.record == 0);
    CU_ASSERT_EQUAL(io_stream_kernel_tls(io, stream + 1, IO_OUT, &out), SAGATE_EGONE);
    close_pair();
}

static void keys_come_into_force_at_their_place(void)
{
    static uint8_t content[TLS13_INNER_MAX];
    size_t len = 0;
    size_t have = 0;
    if (!ktls_probe(&support))
        return;
    open_pair();
    for (size_t i = 0; i < BIG; i++)
        bytes[i] = (uint8_t)(i % 251);
    CU_ASSERT_EQUAL(io_stream_write(io, stream, "before", 6), SAGATE_OK);
    CU_ASSERT_EQUAL(io_stream_kernel_tls(io, stream, IO_OUT, &out), SAGATE_OK);
    CU_ASSERT_EQUAL(io_stream_kernel_tls(io, stream, IO_OUT, &out), SAGATE_AGAIN); // the first wait for their turn
    CU_ASSERT_EQUAL(io_stream_write(io, stream, "one", 3), SAGATE_OK);
    CU_ASSERT_EQUAL(io_stream_write_record(io, stream, TLS_ALERT, "\1\132", 2), SAGATE_OK);
    CU_ASSERT_EQUAL(io_stream_write(io, stream, bytes, BIG), SAGATE_OK);
    turn();
    CU_ASSERT_EQUAL(recv(peer, content, 6, MSG_WAITALL), 6);
    CU_ASSERT_EQUAL(memcmp(content, "before", 6), 0);
    CU_ASSERT_EQUAL(read_record(content, &len), TLS_APPLICATION);
    CU_ASSERT_TRUE(len == 3 && memcmp(content, "one", 3) == 0);
    CU_ASSERT_EQUAL(read_record(content, &len), TLS_ALERT);
    CU_ASSERT_TRUE(len == 2 && content[1] == 90);
    while (have < BIG && read_record(content, &len) == TLS_APPLICATION && len <= BIG - have) {
        CU_ASSERT_EQUAL(memcmp(content, bytes + have, len), 0);
        have += len;
        turn();
    }
    CU_ASSERT_EQUAL(have, BIG);
    CU_ASSERT_TRUE(io_stream_records(io, stream) >= state.in.next);
    if (support.rekey) {
        CU_ASSERT_EQUAL(io_stream_write_record(io, stream, TLS_HANDSHAKE, "\30\0\0\1\0", 5), SAGATE_OK);
        struct tls13 next = state;
        CU_ASSERT_EQUAL(tls13_update(&next, &next.in), SAGATE_OK);
        ktls_make(true, KTLS_AES_128_GCM, next.in.key, next.in.iv, 0, &out);
        CU_ASSERT_EQUAL(io_stream_kernel_tls(io, stream, IO_OUT, &out), SAGATE_OK);
        CU_ASSERT_EQUAL(io_stream_write(io, stream, "new", 3), SAGATE_OK);
        turn();
        CU_ASSERT_EQUAL(read_record(content, &len), TLS_HANDSHAKE);
        state = next;
        CU_ASSERT_EQUAL(read_record(content, &len), TLS_APPLICATION);
        CU_ASSERT_TRUE(len == 3 && memcmp(content, "new", 3) == 0);
    }
    close_pair();
}

static void what_comes_is_opened(void)
{
    struct io_event event;
    if (!ktls_probe(&support))
        return;
    open_pair();
    CU_ASSERT_EQUAL(send(peer, "clear", 5, MSG_NOSIGNAL), 5);
    CU_ASSERT_TRUE(next_event(&event, IO_DATA) && event.len == 5);
    write_record(TLS_APPLICATION, "in the socket already", 21);
    CU_ASSERT_EQUAL(io_stream_kernel_tls(io, stream, IO_IN, &in), SAGATE_OK);
    CU_ASSERT_TRUE(next_event(&event, IO_DATA) && event.len == 21 && event.record == 0);
    write_record(TLS_ALERT, "\1\132", 2);
    CU_ASSERT_TRUE(next_event(&event, IO_DATA) && event.record == TLS_ALERT && event.len == 2);
    CU_ASSERT_TRUE(event.data[1] == 90);
    write_record(TLS_APPLICATION, "more", 4);
    CU_ASSERT_TRUE(next_event(&event, IO_DATA) && event.record == 0 && event.len == 4);
    if (support.rekey) {
        write_record(TLS_HANDSHAKE, "\30\0\0\1\0", 5);
        CU_ASSERT_EQUAL(tls13_update(&state, &state.out), SAGATE_OK);
        write_record(TLS_APPLICATION, "new", 3);
        CU_ASSERT_TRUE(next_event(&event, IO_DATA) && event.record == TLS_HANDSHAKE && event.len == 5);
        ktls_make(true, KTLS_AES_128_GCM, state.out.key, state.out.iv, 0, &in);
        CU_ASSERT_EQUAL(io_stream_kernel_tls(io, stream, IO_IN, &in), SAGATE_OK);
        CU_ASSERT_TRUE(next_event(&event, IO_DATA) && event.record == 0 && event.len == 3);
    }
    state.out.iv[0] ^= 1;
    write_record(TLS_APPLICATION, "forged", 6);
    CU_ASSERT_TRUE(next_event(&event, IO_DATA) && event.record == IO_RECORD_FORGED && event.len == 0);
    CU_ASSERT_EQUAL(io_stream_write(io, stream, "last", 4), SAGATE_OK); // what is left to say goes
    io_stream_close(io, stream);
    turn();
    CU_ASSERT_EQUAL(recv(peer, bytes, 5, MSG_WAITALL), 4);
    close_pair();
}

// What was received and not delivered is not for the kernel.
static void keys_wait_for_what_was_received(void)
{
    struct io_event event;
    if (!ktls_probe(&support))
        return;
    open_pair();
    CU_ASSERT_EQUAL(io_wait(io, &event, 1, 1000), 0); // receiving has begun
    CU_ASSERT_EQUAL(send(peer, "clear", 5, MSG_NOSIGNAL), 5);
    CU_ASSERT_EQUAL(io_stream_pause(io, stream, true), SAGATE_OK);
    (void)io_wait(io, &event, 1, 1000);
    int rc = io_stream_kernel_tls(io, stream, IO_IN, &in);
    CU_ASSERT_TRUE(rc == SAGATE_AGAIN || rc == SAGATE_OK);
    if (rc == SAGATE_AGAIN) {
        CU_ASSERT_EQUAL(io_stream_pause(io, stream, false), SAGATE_OK);
        CU_ASSERT_TRUE(next_event(&event, IO_DATA) && event.len == 5 && memcmp(event.data, "clear", 5) == 0);
        CU_ASSERT_EQUAL(io_stream_kernel_tls(io, stream, IO_IN, &in), SAGATE_OK);
        write_record(TLS_APPLICATION, "opened", 6);
        CU_ASSERT_TRUE(next_event(&event, IO_DATA) && event.len == 6 && memcmp(event.data, "opened", 6) == 0);
    }
    close_pair();
}

static const struct unit_test tests[] = {
    {"without kernel TLS the stream goes on", without_kernel_tls_the_stream_goes_on},
    {"keys come into force at their place", keys_come_into_force_at_their_place},
    {"what comes is opened", what_comes_is_opened},
    {"keys wait for what was received", keys_wait_for_what_was_received},
};

UNIT_MAIN("io_tls", tests)
