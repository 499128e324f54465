// The io drivers, streams: one set of tests over memory and over loopback sockets, and one for io_uring alone.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/io_world.h"

static void a_stream_lives_and_ends(void)
{
    struct peer peer;
    char data[64];
    ssize_t end;
    open_io();
    io_stream stream = open_stream(&peer);
    peer_write(&peer, "ping", 4);
    CU_ASSERT_TRUE(until(1));
    CU_ASSERT_TRUE(saw(0, IO_DATA, "ping") && seen[0].stream == stream && seen[0].user == &user_b);
    CU_ASSERT_EQUAL(io_stream_write(io, stream, "pong", 4), SAGATE_OK);
    CU_ASSERT_EQUAL(peer_read(&peer, data, 4, &end), 4);
    CU_ASSERT_EQUAL(memcmp(data, "pong", 4), 0);
    CU_ASSERT_EQUAL(io_stream_queued(io, stream), 0);
    peer_eof(&peer);
    CU_ASSERT_TRUE(until(2) && saw(1, IO_EOF, NULL));
    CU_ASSERT_EQUAL(io_stream_write(io, stream, "bye", 3), SAGATE_OK);
    io_stream_close(io, stream);
    CU_ASSERT_EQUAL(io_stream_write(io, stream, "no", 2), SAGATE_EGONE);
    CU_ASSERT_EQUAL(io_stream_pause(io, stream, true), SAGATE_EGONE);
    CU_ASSERT_EQUAL(io_stream_set_user(io, stream, NULL), SAGATE_EGONE);
    io_stream_close(io, stream);
    io_stream_abort(io, stream);
    CU_ASSERT_EQUAL(peer_read(&peer, data, sizeof data, &end), 3);
    CU_ASSERT_EQUAL(end, 0);
    settle();
    CU_ASSERT_EQUAL(seen_count, 2);
    close_io(&peer);
}

static void closing_sends_what_is_queued(void)
{
    static char sent[300000], got[sizeof sent + 1];
    struct peer peer;
    ssize_t end;
    fill(sent, sizeof sent);
    open_with(64, HIGH_WATER, 1000000);
    io_stream stream = open_stream(&peer);
    if (is_mem())
        mem_peer_window(peer.mem, 5000);
    CU_ASSERT_EQUAL(io_stream_pause(io, stream, true), SAGATE_OK);
    peer_write(&peer, "unread by the worker", 20);
    settle();
    CU_ASSERT_EQUAL(io_stream_write(io, stream, sent, sizeof sent), SAGATE_AGAIN);
    io_stream_close(io, stream);
    CU_ASSERT_EQUAL(peer_read(&peer, got, sizeof got, &end), sizeof sent);
    CU_ASSERT_EQUAL(end, 0);
    CU_ASSERT_EQUAL(memcmp(sent, got, sizeof sent), 0);
    settle();
    CU_ASSERT_EQUAL(seen_count, 0);
    close_io(&peer);
}

static void aborting_resets(void)
{
    struct peer peer;
    char data[8];
    ssize_t end;
    open_io();
    io_stream stream = open_stream(&peer);
    look();
    io_stream_abort(io, stream);
    CU_ASSERT_EQUAL(io_stream_write(io, stream, "no", 2), SAGATE_EGONE);
    CU_ASSERT_EQUAL(peer_read(&peer, data, sizeof data, &end), 0);
    CU_ASSERT_EQUAL(end, -2);
    settle();
    CU_ASSERT_EQUAL(seen_count, 0);
    close_io(&peer);
}

static void a_reset_closes_the_stream_once(void)
{
    struct peer peer;
    open_io();
    io_stream stream = open_stream(&peer);
    peer_write(&peer, "last", 4);
    CU_ASSERT_TRUE(until(1) && saw(0, IO_DATA, "last"));
    peer_reset(&peer);
    CU_ASSERT_TRUE(until(2));
    CU_ASSERT_TRUE(saw(1, IO_CLOSED, NULL) && seen[1].stream == stream && seen[1].error == ECONNRESET);
    CU_ASSERT_EQUAL(io_stream_write(io, stream, "no", 2), SAGATE_EGONE);
    settle();
    CU_ASSERT_EQUAL(seen_count, 2);
    close_io(&peer);
}

static void nothing_follows_a_close(void)
{
    for (int abort = 0; abort < 2; abort++) {
        struct address address;
        struct peer one, two;
        open_io();
        io_id listener = add_tcp(&address);
        one = peer_open(listener, &address);
        two = peer_open(listener, &address);
        CU_ASSERT_TRUE_FATAL(until(2));
        io_stream streams[] = {seen[0].stream, seen[1].stream};
        CU_ASSERT_NOT_EQUAL(streams[0], streams[1]);
        seen_count = 0;
        look_max(1, 0);
        peer_write(&one, "1", 1);
        peer_write(&two, "2", 1);
        peer_eof(&one);
        peer_eof(&two);
        CU_ASSERT_EQUAL(look_max(1, -1), 1); // the second stream's is at hand and held back
        for (int i = 0; i < 2; i++) {
            if (abort != 0)
                io_stream_abort(io, streams[i]);
            else
                io_stream_close(io, streams[i]);
        }
        settle();
        CU_ASSERT_EQUAL(seen_count, 1);
        done_with(one.fd);
        close_io(&two);
    }
}

static void output_has_a_limit(void)
{
    static char data[LIMIT + 1], got[LIMIT + 1];
    struct peer peer;
    ssize_t end;
    fill(data, sizeof data);
    open_io();
    io_stream stream = open_stream(&peer);
    CU_ASSERT_EQUAL(io_stream_write(io, stream, data, HIGH_WATER - 1), SAGATE_OK);
    CU_ASSERT_EQUAL(io_stream_write(io, stream, data + HIGH_WATER - 1, 1), SAGATE_AGAIN);
    CU_ASSERT_EQUAL(io_stream_write(io, stream, data, LIMIT - HIGH_WATER + 1), SAGATE_ELIMIT);
    CU_ASSERT_EQUAL(io_stream_queued(io, stream), HIGH_WATER);
    CU_ASSERT_EQUAL(io_stream_write(io, stream, data + HIGH_WATER, LIMIT - HIGH_WATER), SAGATE_AGAIN);
    CU_ASSERT_EQUAL(io_stream_write(io, stream, data, 1), SAGATE_ELIMIT);
    CU_ASSERT_EQUAL(peer_read(&peer, got, LIMIT, &end), LIMIT);
    CU_ASSERT_EQUAL(memcmp(data, got, LIMIT), 0);
    CU_ASSERT_TRUE(until(1) && saw(0, IO_WRITABLE, NULL) && seen[0].stream == stream && seen[0].user == &user_b);
    settle();
    CU_ASSERT_EQUAL(seen_count, 1);
    close_io(&peer);
}

static void pausing_holds_input_back(void)
{
    struct peer peer;
    open_io();
    io_stream stream = open_stream(&peer);
    peer_write(&peer, "one", 3);
    CU_ASSERT_TRUE(until(1) && saw(0, IO_DATA, "one"));
    CU_ASSERT_EQUAL(io_stream_pause(io, stream, true), SAGATE_OK);
    peer_write(&peer, "two", 3);
    settle();
    peer_write(&peer, "three", 5);
    peer_eof(&peer);
    settle();
    CU_ASSERT_EQUAL(seen_count, 1);
    CU_ASSERT_EQUAL(io_stream_write(io, stream, "still", 5), SAGATE_OK);
    CU_ASSERT_EQUAL(io_stream_pause(io, stream, false), SAGATE_OK);
    for (int i = 0; i < TRIES && !saw(seen_count - 1, IO_EOF, NULL); i++)
        look();
    char all[32] = "";
    for (size_t i = 1; i + 1 < seen_count; i++)
        strncat(all, seen[i].text, 10);
    CU_ASSERT_STRING_EQUAL(all, "twothree");
    CU_ASSERT_TRUE(saw(seen_count - 1, IO_EOF, NULL));
    close_io(&peer);
}

static void pausing_holds_back_what_has_arrived(void)
{
    struct address address;
    struct peer peers[2];
    open_io();
    io_id listener = add_tcp(&address);
    for (int i = 0; i < 2; i++)
        peers[i] = peer_open(listener, &address);
    CU_ASSERT_TRUE_FATAL(until(2));
    io_stream streams[] = {seen[0].stream, seen[1].stream};
    look_max(1, 0); // receiving starts
    seen_count = 0;
    for (int i = 0; i < 2; i++) {
        peer_write(&peers[i], "text", 4);
        peer_eof(&peers[i]);
    }
    CU_ASSERT_EQUAL(look_max(1, -1), 1);
    io_stream other = seen[0].stream == streams[0] ? streams[1] : streams[0];
    CU_ASSERT_EQUAL(io_stream_pause(io, other, true), SAGATE_OK);
    CU_ASSERT_TRUE(until(2)); // the other's end
    settle();
    CU_ASSERT_EQUAL(seen_count, 2);
    CU_ASSERT_EQUAL(io_stream_pause(io, other, false), SAGATE_OK);
    CU_ASSERT_TRUE(until(4));
    CU_ASSERT_TRUE(saw(2, IO_DATA, "text") && seen[2].stream == other);
    CU_ASSERT_TRUE(saw(3, IO_EOF, NULL) && seen[3].stream == other);
    done_with(peers[0].fd);
    close_io(&peers[1]);
}

static void data_comes_after_the_user_is_set(void)
{
    struct address address;
    open_io();
    io_id listener = add_tcp(&address);
    struct peer peer = peer_open(listener, &address);
    peer_write(&peer, "at once", 7);
    CU_ASSERT_TRUE_FATAL(until(1));
    CU_ASSERT_EQUAL(seen_count, 1);
    CU_ASSERT_EQUAL(io_stream_set_user(io, seen[0].stream, &user_b), SAGATE_OK);
    CU_ASSERT_TRUE(until(2) && saw(1, IO_DATA, "at once") && seen[1].user == &user_b);
    close_io(&peer);
}

// Many bytes through few buffers, the stream paused and resumed all the time: none lost, none doubled, order kept.
static void nothing_is_lost_by_pausing(void)
{
    enum { TOTAL = 1000000 };
    static char data[TOTAL], got[TOTAL];
    struct peer peer;
    size_t put = 0, have = 0;
    bool ended = false;
    fill(data, sizeof data);
    open_with(4, HIGH_WATER, LIMIT);
    io_stream stream = open_stream(&peer);
    for (unsigned round = 0; round < 20000 && !ended; round++) {
        if (put < TOTAL && is_mem()) {
            mem_peer_write(peer.mem, data + put, 10000);
            put += 10000;
        } else if (put < TOTAL) {
            ssize_t n = send(peer.fd, data + put, TOTAL - put, MSG_DONTWAIT | MSG_NOSIGNAL);
            put += n > 0 ? (size_t)n : 0;
        } else {
            peer_eof(&peer);
        }
        struct io_event events[2];
        int count = io_wait(io, events, 2, round % 3 == 0 ? 0 : 1000);
        for (int i = 0; i < count; i++) {
            CU_ASSERT_FALSE(ended);
            ended = events[i].type == IO_EOF;
            CU_ASSERT_FATAL(have + events[i].len <= TOTAL);
            if (events[i].type == IO_DATA)
                memcpy(got + have, events[i].data, events[i].len);
            have += events[i].len;
        }
        io_stream_pause(io, stream, round % 4 < 2);
    }
    CU_ASSERT_TRUE(ended);
    CU_ASSERT_EQUAL(have, TOTAL);
    CU_ASSERT_EQUAL(memcmp(data, got, TOTAL), 0);
    close_io(&peer);
}

static void streams_are_bounded(void)
{
    struct address address;
    struct peer peers[STREAMS_MAX + 2];
    io_stream stream = 0;
    open_io();
    io_id listener = add_tcp(&address);
    for (size_t i = 0; i < STREAMS_MAX; i++)
        peers[i] = peer_open(listener, &address);
    CU_ASSERT_TRUE_FATAL(until(STREAMS_MAX));
    peers[STREAMS_MAX] = peer_open(listener, &address);
    settle();
    CU_ASSERT_EQUAL(seen_count, STREAMS_MAX);
    CU_ASSERT_EQUAL(io->counters.streams_refused, 1);
    CU_ASSERT_EQUAL(io_stream_connect(io, &address, &user_a, &stream), SAGATE_ELIMIT);
    io_stream_close(io, seen[3].stream);
    io_stream_abort(io, seen[4].stream);
    settle();
    peers[STREAMS_MAX + 1] = peer_open(listener, &address);
    CU_ASSERT_TRUE(until(STREAMS_MAX + 1));
    CU_ASSERT_EQUAL(io->counters.streams_accepted, STREAMS_MAX + 1);
    for (size_t i = 0; i < STREAMS_MAX + 2; i++)
        done_with(peers[i].fd);
    close_io(NULL);
}

static void connecting_succeeds(void)
{
    struct address address, to;
    struct peer peer = {.fd = -1};
    char data[8];
    ssize_t end;
    open_io();
    address_parse("127.0.0.1", 80, &address);
    int listener = is_mem() ? -1 : bound_socket(SOCK_STREAM, &address);
    CU_ASSERT_FATAL(is_mem() || listen(listener, 4) == 0);
    io_stream stream = 0;
    CU_ASSERT_EQUAL(io_stream_connect(io, &address, &user_a, &stream), SAGATE_OK);
    CU_ASSERT_EQUAL(io_stream_write(io, stream, "early", 5), SAGATE_OK);
    if (is_mem()) {
        peer.mem = mem_take_connect(io, &to);
        CU_ASSERT_PTR_NOT_NULL_FATAL(peer.mem);
        CU_ASSERT_TRUE(address_equal(&to, &address));
        CU_ASSERT_PTR_NULL(mem_take_connect(io, &to));
        mem_accept(peer.mem);
    }
    CU_ASSERT_TRUE_FATAL(until(1));
    CU_ASSERT_TRUE(saw(0, IO_CONNECTED, NULL) && seen[0].stream == stream && seen[0].user == &user_a);
    CU_ASSERT_EQUAL(seen[0].error, 0);
    if (!is_mem())
        peer.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CU_ASSERT_EQUAL(peer_read(&peer, data, 5, &end), 5);
    CU_ASSERT_EQUAL(memcmp(data, "early", 5), 0);
    peer_write(&peer, "answer", 6);
    CU_ASSERT_TRUE(until(2) && saw(1, IO_DATA, "answer"));
    done_with(listener);
    close_io(&peer);
}

static void connecting_fails(void)
{
    struct address address;
    open_io();
    address_parse("127.0.0.1", 80, &address);
    if (!is_mem())
        close(bound_socket(SOCK_STREAM, &address));
    io_stream stream = 0, given_up = 0;
    CU_ASSERT_EQUAL(io_stream_connect(io, &address, &user_a, &given_up), SAGATE_OK);
    CU_ASSERT_EQUAL(io_stream_connect(io, &address, &user_b, &stream), SAGATE_OK);
    io_stream_close(io, given_up);
    if (is_mem())
        mem_refuse(mem_take_connect(io, NULL), ECONNREFUSED);
    CU_ASSERT_TRUE_FATAL(until(1));
    CU_ASSERT_TRUE(saw(0, IO_CONNECTED, NULL) && seen[0].stream == stream && seen[0].user == &user_b);
    CU_ASSERT_EQUAL(seen[0].error, ECONNREFUSED);
    CU_ASSERT_EQUAL(io_stream_write(io, stream, "no", 2), SAGATE_EGONE);
    settle();
    CU_ASSERT_EQUAL(seen_count, 1);
    close_io(NULL);
}

// io_uring alone.

static void paused_streams_do_not_starve_others(void)
{
    static char data[60000];
    struct address address;
    struct peer peers[STREAMS_MAX];
    open_with(8, HIGH_WATER, LIMIT);
    io_id listener = add_tcp(&address);
    for (size_t i = 0; i < STREAMS_MAX; i++)
        peers[i] = peer_open(listener, &address);
    CU_ASSERT_TRUE_FATAL(until(STREAMS_MAX));
    io_stream last = seen[STREAMS_MAX - 1].stream;
    io_stream streams[STREAMS_MAX];
    for (size_t i = 0; i < STREAMS_MAX; i++)
        streams[i] = seen[i].stream;
    look_max(IO_BATCH_MAX, 0); // receiving starts
    seen_count = 0;
    for (size_t i = 0; i < STREAMS_MAX - 1; i++)
        CU_ASSERT_EQUAL(send(peers[i].fd, data, sizeof data, MSG_DONTWAIT), sizeof data);
    look_max(0, 10000); // the kernel fills the buffers, nothing is delivered yet
    for (size_t i = 0; i < STREAMS_MAX - 1; i++)
        CU_ASSERT_EQUAL(io_stream_pause(io, streams[i], true), SAGATE_OK);
    settle();
    CU_ASSERT_EQUAL(seen_count, 0);
    CU_ASSERT_EQUAL(send(peers[STREAMS_MAX - 1].fd, "free", 4, 0), 4);
    CU_ASSERT_TRUE(until(1));
    CU_ASSERT_TRUE(saw(0, IO_DATA, "free") && seen[0].stream == last);
    // And nothing of theirs is lost.
    size_t have = 0;
    for (size_t i = 0; i < STREAMS_MAX - 1; i++)
        CU_ASSERT_EQUAL(io_stream_pause(io, streams[i], false), SAGATE_OK);
    for (int tries = 0; tries < TRIES && have < (STREAMS_MAX - 1) * sizeof data; tries++) {
        seen_count = 0;
        look();
        for (size_t i = 0; i < seen_count; i++)
            have += seen[i].len;
    }
    CU_ASSERT_EQUAL(have, (STREAMS_MAX - 1) * sizeof data);
    for (size_t i = 0; i < STREAMS_MAX; i++)
        done_with(peers[i].fd);
    close_io(NULL);
}

#define SHARED(X)                          \
    X(a_stream_lives_and_ends)             \
    X(closing_sends_what_is_queued)        \
    X(aborting_resets)                     \
    X(a_reset_closes_the_stream_once)      \
    X(nothing_follows_a_close)             \
    X(output_has_a_limit)                  \
    X(pausing_holds_input_back)            \
    X(pausing_holds_back_what_has_arrived) \
    X(data_comes_after_the_user_is_set)    \
    X(nothing_is_lost_by_pausing)          \
    X(streams_are_bounded)                 \
    X(connecting_succeeds)                 \
    X(connecting_fails)

#define MEM(test)                \
    static void mem_##test(void) \
    {                            \
        driver = &io_mem_driver; \
        test();                  \
    }
#define URING(test)                \
    static void uring_##test(void) \
    {                              \
        driver = &io_uring_driver; \
        test();                    \
    }
SHARED(MEM)
SHARED(URING)
URING(paused_streams_do_not_starve_others)

#define MEM_ROW(test)   {"mem: " #test, mem_##test},
#define URING_ROW(test) {"uring: " #test, uring_##test},

// The rows of memory first, so that they can be run alone.
static const struct unit_test tests[] = {SHARED(MEM_ROW) SHARED(URING_ROW)
                                             URING_ROW(paused_streams_do_not_starve_others)};

// NOLINTNEXTLINE(bugprone-macro-parentheses): it is one term of a sum
#define ONE(test) +1
enum { MEM_TESTS = SHARED(ONE) };

int main(void)
{
    return io_main("io_stream", tests, sizeof tests / sizeof *tests, MEM_TESTS);
}
