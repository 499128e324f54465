// The io drivers, datagrams, polled descriptors and the driver as a whole: one set of tests over memory and over
// loopback sockets, and some for io_uring alone.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/io_world.h"

#include <fcntl.h>
#include <pthread.h>

// Datagrams.

static void datagrams_go_both_ways(void)
{
    struct address address;
    char answer[64];
    open_io();
    io_id id = add_udp(&address);
    int fd = udp_peer();
    bring(id, fd, &address, "hello", 5);
    CU_ASSERT_TRUE_FATAL(until(1));
    CU_ASSERT_TRUE(saw(0, IO_DATAGRAM, "hello") && seen[0].id == id && seen[0].user == &user_a);
    CU_ASSERT_EQUAL(io_datagram_send(io, id, &from, "world!", 6), SAGATE_OK);
    CU_ASSERT_EQUAL(take(fd, answer, sizeof answer), 6);
    CU_ASSERT_EQUAL(memcmp(answer, "world!", 6), 0);
    // A reservation that is not committed sends nothing; a shorter commit sends less.
    CU_ASSERT_PTR_NOT_NULL(io_datagram_reserve(io, 100));
    uint8_t *room = io_datagram_reserve(io, 10);
    CU_ASSERT_PTR_NOT_NULL_FATAL(room);
    memcpy(room, "short", 5);
    CU_ASSERT_EQUAL(io_datagram_commit(io, id, &from, 11), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(io_datagram_commit(io, id, &from, 5), SAGATE_OK);
    CU_ASSERT_EQUAL(io_datagram_commit(io, id, &from, 5), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(take(fd, answer, sizeof answer), 5);
    CU_ASSERT_EQUAL(io_datagram_send(io, id, &from, answer, IO_DATAGRAM_MAX + 1), SAGATE_ETOOBIG);
    CU_ASSERT_EQUAL(io_datagram_send(io, id + 1, &from, answer, 5), SAGATE_EINVAL);
    look();
    CU_ASSERT_EQUAL(io->counters.datagrams_received, 1);
    CU_ASSERT_EQUAL(io->counters.datagrams_sent, 2);
    done_with(fd);
    close_io(NULL);
}

static void input_that_waits_is_told(void)
{
    struct address address;
    open_io();
    io_id id = add_udp(&address);
    int fd = udp_peer();
    bring(id, fd, &address, "one", 3);
    CU_ASSERT_TRUE(until(1));
    CU_ASSERT_FALSE(io_waits(io));
    bring(id, fd, &address, "two", 3);
    CU_ASSERT_TRUE(io_waits(io));
    CU_ASSERT_TRUE(until(2));
    CU_ASSERT_FALSE(io_waits(io));
    done_with(fd);
    close_io(NULL);
}

static void sizes_of_datagrams(void)
{
    struct address address;
    char data[IO_DATAGRAM_MAX + 1];
    fill(data, sizeof data);
    open_io();
    io_id id = add_udp(&address);
    int fd = udp_peer();
    bring(id, fd, &address, data, IO_DATAGRAM_MAX + 1);
    bring(id, fd, &address, data, IO_DATAGRAM_MAX);
    bring(id, fd, &address, data, 0);
    bring(id, fd, &address, "end", 3);
    CU_ASSERT_TRUE(until(3));
    CU_ASSERT_EQUAL(seen_count, 3);
    CU_ASSERT_EQUAL(seen[0].len, IO_DATAGRAM_MAX);
    CU_ASSERT_EQUAL(seen[1].len, 0);
    CU_ASSERT_TRUE(saw(2, IO_DATAGRAM, "end"));
    CU_ASSERT_EQUAL(io->counters.datagrams_truncated, 1);
    CU_ASSERT_EQUAL(io_datagram_send(io, id, &from, data, IO_DATAGRAM_MAX), SAGATE_OK);
    CU_ASSERT_EQUAL(take(fd, data, sizeof data), IO_DATAGRAM_MAX);
    done_with(fd);
    close_io(NULL);
}

static void a_batch_is_bounded_and_ordered(void)
{
    struct address address;
    open_io();
    io_id id = add_udp(&address);
    int fd = udp_peer();
    look_max(IO_BATCH_MAX, 0);
    for (size_t i = 0; i < 8; i++)
        bring(id, fd, &address, &"01234567"[i], 1);
    while (seen_count < 8)
        CU_ASSERT_FATAL(look_max(3, -1) <= 3);
    for (size_t i = 0; i < 8; i++)
        CU_ASSERT_EQUAL(seen[i].text[0], (char)('0' + i));
    CU_ASSERT_EQUAL(look_max(3, 0), 0);
    done_with(fd);
    close_io(NULL);
}

static void many_datagrams_reuse_the_buffers(void)
{
    struct address address;
    open_with(8, HIGH_WATER, LIMIT);
    io_id id = add_udp(&address);
    int fd = udp_peer();
    char answer[8];
    for (unsigned i = 0; i < 500; i++) {
        size_t before = seen_count;
        bring(id, fd, &address, &i, sizeof i);
        CU_ASSERT_TRUE_FATAL(until(before + 1));
        CU_ASSERT_EQUAL(io_datagram_send(io, id, &from, &i, sizeof i), SAGATE_OK);
        CU_ASSERT_EQUAL_FATAL(take(fd, answer, sizeof answer), sizeof i);
        CU_ASSERT_EQUAL(memcmp(answer, &i, sizeof i), 0);
    }
    // More at once than there are buffers: the rest waits in the socket.
    seen_count = 0;
    for (unsigned i = 0; i < 40; i++)
        bring(id, fd, &address, &i, sizeof i);
    CU_ASSERT_TRUE(until(40));
    done_with(fd);
    close_io(NULL);
}

static void a_removed_id_is_silent(void)
{
    struct address address;
    open_io();
    io_id id = add_udp(&address);
    int fd = udp_peer();
    look_max(IO_BATCH_MAX, 0);
    for (int i = 0; i < 3; i++)
        bring(id, fd, &address, "x", 1);
    CU_ASSERT_EQUAL(look_max(1, -1), 1);
    io_remove(io, id);
    io_remove(io, id);
    CU_ASSERT_EQUAL(io_datagram_send(io, id, &from, "x", 1), SAGATE_EINVAL);
    settle();
    CU_ASSERT_EQUAL(seen_count, 1);
    if (!is_mem()) { // the address is free again
        int again = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        CU_ASSERT_EQUAL(bind(again, &address.any, address.len), 0);
        close(again);
    }
    io_id other = add_udp(&address);
    CU_ASSERT_NOT_EQUAL(other, id);
    bring(other, fd, &address, "new", 3);
    CU_ASSERT_TRUE(until(2) && saw(1, IO_DATAGRAM, "new") && seen[1].id == other);
    done_with(fd);
    close_io(NULL);
}

// A socket of the driver that is connected to `target`. `plain`: its path cuts up nothing, so that the kernel refuses
// several datagrams in one.
static io_id add_connected(const struct address *target, bool plain)
{
    struct address address;
    io_id id = 0;
    int on = plain;
    if (is_mem())
        return add_udp(&address);
    int fd = bound_socket(SOCK_DGRAM, &address);
    CU_ASSERT_EQUAL(connect(fd, &target->any, target->len), 0);
    CU_ASSERT_EQUAL(setsockopt(fd, SOL_SOCKET, SO_NO_CHECK, &on, sizeof on), 0);
    CU_ASSERT_EQUAL(io_add_datagram(io, fd, &user_a, &id), SAGATE_OK);
    return id;
}

// Forty of one length, then some of others, also long and empty ones.
static size_t len_of(size_t number)
{
    static const size_t lens[] = {9, 9, 9, 1300, 1300, 0, 0, 1, 9, 9};
    return number < 40 ? 9 : lens[number % 10];
}

static void datagrams_of_one_length_stay_apart(void)
{
    enum { COUNT = 100, EMPTY = 12, TO_SECOND = 34 };
    for (int plain = 0; plain < 2; plain++) {
        struct address target[2] = {{.len = 0}, {.len = 0}};
        int fds[2] = {-1, -1};
        io_id ids[2];
        bool got[COUNT] = {false};
        uint8_t data[IO_DATAGRAM_MAX] = {0};
        open_with(256, HIGH_WATER, LIMIT);
        for (int i = 0; i < 2; i++) {
            fds[i] = is_mem() ? -1 : bound_socket(SOCK_DGRAM, &target[i]);
            ids[i] = add_connected(&target[i], plain == 1);
        }
        for (uint8_t i = 0; i < COUNT; i++) {
            data[0] = i;
            CU_ASSERT_EQUAL(io_datagram_send(io, ids[i % 3 == 0], NULL, data, len_of(i)), SAGATE_OK);
        }
        size_t whole = 0;
        size_t empty = 0;
        for (size_t i = 0; i < COUNT; i++) {
            ssize_t len = take(fds[i >= COUNT - TO_SECOND], data, sizeof data);
            empty += len == 0;
            whole += len > 0 && data[0] < COUNT && !got[data[0]] && (size_t)len == len_of(data[0]);
            got[len > 0 ? data[0] % COUNT : 45] = true;
        }
        CU_ASSERT_EQUAL(empty, EMPTY);
        CU_ASSERT_EQUAL(whole, COUNT - EMPTY);
        settle();
        CU_ASSERT_EQUAL(seen_count, 0);
        CU_ASSERT_EQUAL(io->counters.datagrams_sent, COUNT);
        CU_ASSERT_EQUAL(io->counters.datagrams_send_failed, 0);
        done_with(fds[0]);
        done_with(fds[1]);
        close_io(NULL);
    }
}

static void a_refused_datagram_is_reported(void)
{
    struct address address, target = {.len = 0};
    io_id id = 0;
    open_io();
    int server = -1;
    if (is_mem()) {
        id = add_udp(&address);
        mem_inject_error(io, id, ECONNREFUSED);
    } else {
        close(bound_socket(SOCK_DGRAM, &target));
        int fd = bound_socket(SOCK_DGRAM, &address);
        CU_ASSERT_EQUAL(connect(fd, &target.any, target.len), 0);
        CU_ASSERT_EQUAL(io_add_datagram(io, fd, &user_a, &id), SAGATE_OK);
        look_max(IO_BATCH_MAX, 0);
    }
    CU_ASSERT_EQUAL(io_datagram_send(io, id, NULL, "x", 1), SAGATE_OK);
    CU_ASSERT_TRUE(until(1));
    CU_ASSERT_TRUE(saw(0, IO_DATAGRAM_ERROR, NULL) && seen[0].id == id && seen[0].error == ECONNREFUSED);
    seen_count = 0;
    if (!is_mem()) {
        server = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        CU_ASSERT_EQUAL_FATAL(bind(server, &target.any, target.len), 0);
    }
    bring(id, server, &address, "back", 4);
    CU_ASSERT_TRUE(until(1) && saw(seen_count - 1, IO_DATAGRAM, "back"));
    done_with(server);
    close_io(NULL);
}

// Polled descriptors, and the end.

static void polling_is_level_triggered(void)
{
    int ends[2];
    io_id id = 0;
    char byte;
    open_io();
    CU_ASSERT_EQUAL_FATAL(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    CU_ASSERT_EQUAL(io_add_poll(io, ends[0], &user_b, &id), SAGATE_OK);
    settle();
    CU_ASSERT_EQUAL(seen_count, 0);
    CU_ASSERT_EQUAL(write(ends[1], "x", 1), 1);
    if (is_mem())
        mem_set_readable(io, id, true);
    for (int i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(look_max(IO_BATCH_MAX, -1), 1);
    CU_ASSERT_TRUE(saw(2, IO_READABLE, NULL) && seen[2].id == id && seen[2].user == &user_b);
    CU_ASSERT_EQUAL(read(ends[0], &byte, 1), 1);
    if (is_mem())
        mem_set_readable(io, id, false);
    settle();
    CU_ASSERT_EQUAL(seen_count, 3);
    CU_ASSERT_EQUAL(write(ends[1], "x", 1), 1);
    if (is_mem())
        mem_set_readable(io, id, true);
    io_remove(io, id);
    settle();
    CU_ASSERT_EQUAL(seen_count, 3);
    CU_ASSERT_EQUAL(read(ends[0], &byte, 1), 1); // the descriptor stays the caller's
    close(ends[0]);
    close(ends[1]);
    close_io(NULL);
}

static void destroying_releases_all(void)
{
    struct address address, udp;
    struct peer peer;
    static char data[LIMIT];
    fill(data, sizeof data);
    open_io();
    io_destroy(io); // never waited
    open_io();
    io_stream stream = open_stream(&peer);
    io_id id = add_udp(&udp);
    int fd = udp_peer();
    io_stream connecting;
    add_tcp(&address);
    bring(id, fd, &udp, "x", 1);
    peer_write(&peer, "undelivered", 11);
    look_max(1, 0);
    io_stream_pause(io, stream, true);
    look_max(1, 0);
    CU_ASSERT_EQUAL(io_stream_write(io, stream, data, LIMIT), SAGATE_AGAIN);
    CU_ASSERT_EQUAL(io_stream_connect(io, &address, &user_a, &connecting), SAGATE_OK);
    CU_ASSERT_PTR_NOT_NULL(io_datagram_reserve(io, 10));
    done_with(fd);
    close_io(&peer);
}

// io_uring alone.

static void *use(void *unused)
{
    (void)unused;
    datagrams_go_both_ways();
    open_io();
    for (int i = 0; i < 3; i++)
        look();
    return NULL;
}

static void *use_io(void *context)
{
    struct peer *peer = context;
    CU_ASSERT_TRUE(until(1) && saw(0, IO_ACCEPTED, NULL));
    peer_write(peer, "thread", 6);
    CU_ASSERT_TRUE(until(2) && saw(1, IO_DATA, "thread"));
    return NULL;
}

static void made_in_one_thread_used_in_another(void)
{
    pthread_t thread;
    struct address address;
    open_io();
    io_id listener = add_tcp(&address);
    struct peer peer = peer_open(listener, &address);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, use_io, &peer), 0);
    pthread_join(thread, NULL);
    close_io(&peer);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, use, NULL), 0);
    pthread_join(thread, NULL);
    io_destroy(io);
}

static void transmit_buffers_are_bounded(void)
{
    struct address address;
    char data[8];
    open_with(64, HIGH_WATER, LIMIT);
    io_id id = add_udp(&address);
    int fd = udp_peer();
    bring(id, fd, &address, "x", 1);
    CU_ASSERT_TRUE(until(1));
    int sent = 0;
    while (sent < 1000 && io_datagram_send(io, id, &from, "y", 1) == SAGATE_OK)
        sent++;
    CU_ASSERT_EQUAL(sent, 64);
    CU_ASSERT_EQUAL(io->counters.datagrams_no_buffer, 1);
    CU_ASSERT_EQUAL(take(fd, data, sizeof data), 1);
    CU_ASSERT_EQUAL(io_datagram_send(io, id, &from, "y", 1), SAGATE_OK);
    look();
    CU_ASSERT_EQUAL(io->counters.datagrams_sent, 65);
    done_with(fd);
    close_io(NULL);
}

// What is queued goes out, and the answer is waited for, in one system call: the sending does not end the waiting.
static void sending_does_not_end_waiting(void)
{
    struct address address;
    open_io();
    io_id id = add_udp(&address);
    int fd = udp_peer();
    bring(id, fd, &address, "x", 1);
    CU_ASSERT_TRUE_FATAL(until(1));
    const struct address to = from;
    look();
    seen_count = 0;
    bring(id, fd, &address, "y", 1); // its coming ends the waiting
    for (int i = 0; i < 8; i++)
        CU_ASSERT_EQUAL(io_datagram_send(io, id, &to, "answer", 6), SAGATE_OK);
    uint64_t enters = io->counters.enters;
    look_max(IO_BATCH_MAX, -1);
    CU_ASSERT_EQUAL(io->counters.enters - enters, 1);
    CU_ASSERT_TRUE(saw(0, IO_DATAGRAM, "y"));
    CU_ASSERT_EQUAL(io->counters.datagrams_sent, 8);
    done_with(fd);
    close_io(NULL);
}

// A failure is told at once all the same, and the datagrams that went with it are not lost to the count.
static void a_failed_datagram_ends_waiting(void)
{
    struct address address;
    struct address nobody;
    open_io();
    int fd = udp_peer();
    io_id id = add_udp(&address);
    CU_ASSERT_EQUAL(address_parse_pair("[::1]:9", &nobody), SAGATE_OK); // of a family that the socket has not
    CU_ASSERT_EQUAL(io_datagram_send(io, id, &nobody, "lost", 4), SAGATE_OK);
    look_max(IO_BATCH_MAX, 1000);
    CU_ASSERT_EQUAL(io->counters.datagrams_send_failed, 1);
    CU_ASSERT_EQUAL(io->counters.datagrams_sent, 0);
    for (int i = 0; i < TRIES; i++) { // its buffer is used again
        CU_ASSERT_EQUAL(io_datagram_send(io, id, &nobody, "lost", 4), SAGATE_OK);
        look();
    }
    CU_ASSERT_EQUAL(io->counters.datagrams_send_failed, 1 + TRIES);
    CU_ASSERT_EQUAL(io->counters.datagrams_no_buffer, 0);
    done_with(fd);
    close_io(NULL);
}

static void bad_options_are_refused(void)
{
    struct io_options options = {.receive_buffers = 3, .streams_max = 1};
    CU_ASSERT_EQUAL(io_create(driver, &options, &io), SAGATE_EINVAL);
}

#define SHARED(X)                         \
    X(datagrams_go_both_ways)             \
    X(input_that_waits_is_told)           \
    X(sizes_of_datagrams)                 \
    X(a_batch_is_bounded_and_ordered)     \
    X(many_datagrams_reuse_the_buffers)   \
    X(a_removed_id_is_silent)             \
    X(datagrams_of_one_length_stay_apart) \
    X(a_refused_datagram_is_reported)     \
    X(polling_is_level_triggered)         \
    X(destroying_releases_all)

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
URING(made_in_one_thread_used_in_another)
URING(transmit_buffers_are_bounded)
URING(sending_does_not_end_waiting)
URING(a_failed_datagram_ends_waiting)
URING(bad_options_are_refused)

#define MEM_ROW(test)   {"mem: " #test, mem_##test},
#define URING_ROW(test) {"uring: " #test, uring_##test},

// The rows of memory first, so that they can be run alone.
static const struct unit_test tests[] = {
    SHARED(MEM_ROW) SHARED(URING_ROW) URING_ROW(made_in_one_thread_used_in_another)
        URING_ROW(transmit_buffers_are_bounded) URING_ROW(sending_does_not_end_waiting)
            URING_ROW(a_failed_datagram_ends_waiting) URING_ROW(bad_options_are_refused)};

// NOLINTNEXTLINE(bugprone-macro-parentheses): it is one term of a sum
#define ONE(test) +1
enum { MEM_TESTS = SHARED(ONE) };

int main(void)
{
    return io_main("io", tests, sizeof tests / sizeof *tests, MEM_TESTS);
}
