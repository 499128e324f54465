// Two worlds for the tests of the io drivers, memory and loopback sockets, behind one set of helpers.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_UNIT_IO_WORLD_H
#define SAGATE_TESTS_UNIT_IO_WORLD_H

#include "common/error.h"
#include "dataplane/io/io.h"
#include "dataplane/io/mem.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TRIES = 500, SEEN_MAX = 4096, STREAMS_MAX = 16, HIGH_WATER = 1000, LIMIT = 2000 };

struct seen {
    enum io_event_type type;
    io_id id;
    io_stream stream;
    struct io_user *user;
    int error;
    size_t len;
    char text[32];
};

// The peer's end of a stream, in either world.
struct peer {
    struct mem_peer *mem;
    int fd;
};

static const struct io_driver *driver;
static struct io *io;
static struct seen seen[SEEN_MAX];
static size_t seen_count;
static struct address from; // of the last datagram
static struct io_user user_a = {1}, user_b = {2};

static inline bool is_mem(void)
{
    return driver == &io_mem_driver;
}

static inline void open_with(unsigned buffers, size_t high_water, size_t limit)
{
    struct io_options options = {
        .receive_buffers = buffers, .streams_max = STREAMS_MAX, .stream_high_water = high_water, .stream_limit = limit};
    seen_count = 0;
    io = NULL;
    CU_ASSERT_EQUAL_FATAL(io_create(driver, &options, &io), SAGATE_OK);
}

static inline void open_io(void)
{
    open_with(64, HIGH_WATER, LIMIT);
}

static inline int look_max(size_t max, int64_t timeout_us)
{
    struct io_event events[IO_BATCH_MAX];
    int count = io_wait(io, events, max, timeout_us);
    CU_ASSERT_FATAL(count >= 0 && (size_t)count <= max);
    for (int i = 0; i < count && seen_count < SEEN_MAX; i++) {
        struct seen *s = &seen[seen_count++];
        *s = (struct seen){.type = events[i].type,
                           .id = events[i].id,
                           .stream = events[i].stream,
                           .user = events[i].user,
                           .error = events[i].error,
                           .len = events[i].len};
        if (events[i].len > 0)
            memcpy(s->text, events[i].data, events[i].len < sizeof s->text - 1 ? events[i].len : sizeof s->text - 1);
        if (events[i].type == IO_DATAGRAM)
            from = *events[i].peer;
    }
    return count;
}

static inline void look(void)
{
    look_max(IO_BATCH_MAX, 10000);
}

// Waits until `count` events in all have been seen.
static inline bool until(size_t count)
{
    for (int i = 0; i < TRIES && seen_count < count; i++)
        look();
    return seen_count >= count;
}

// Gives what should not come a chance to come.
static inline void settle(void)
{
    for (int i = 0; i < 5; i++)
        look();
}

static inline bool saw(size_t i, enum io_event_type type, const char *text)
{
    return i < seen_count && seen[i].type == type && (text == NULL || strcmp(seen[i].text, text) == 0);
}

// Sockets. Those for the driver are non-blocking, as they may come from elsewhere.

static inline int bound_socket(int type, struct address *address)
{
    int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT_EQUAL_FATAL(address_parse("127.0.0.1", 0, address), SAGATE_OK);
    CU_ASSERT_EQUAL_FATAL(bind(fd, &address->any, address->len), 0);
    CU_ASSERT_EQUAL_FATAL(getsockname(fd, &address->any, &address->len), 0);
    return fd;
}

static inline io_id add_udp(struct address *address)
{
    io_id id = 0;
    address_parse("127.0.0.1", 5684, address);
    int fd = is_mem() ? -1 : bound_socket(SOCK_DGRAM, address);
    CU_ASSERT_EQUAL_FATAL(io_add_datagram(io, fd, &user_a, &id), SAGATE_OK);
    CU_ASSERT_NOT_EQUAL(id, 0);
    return id;
}

static inline io_id add_tcp(struct address *address)
{
    io_id id = 0;
    address_parse("127.0.0.1", 8443, address);
    int fd = is_mem() ? -1 : bound_socket(SOCK_STREAM, address);
    CU_ASSERT_FATAL(is_mem() || listen(fd, 16) == 0);
    CU_ASSERT_EQUAL_FATAL(io_add_listener(io, fd, &user_a, &id), SAGATE_OK);
    return id;
}

static inline void bring(io_id id, int fd, const struct address *to, const void *data, size_t len)
{
    struct address peer;
    address_parse("192.0.2.1", 1234, &peer);
    bool done = is_mem() ? mem_inject(io, id, &peer, data, len) == SAGATE_OK
                         : sendto(fd, data, len, 0, &to->any, to->len) == (ssize_t)len;
    CU_ASSERT_TRUE(done);
}

static inline int udp_peer(void)
{
    struct address address;
    return is_mem() ? -1 : bound_socket(SOCK_DGRAM, &address);
}

static inline void done_with(int fd)
{
    if (fd >= 0)
        close(fd);
}

// What the driver sent to the peer, or -1.
static inline ssize_t take(int fd, void *data, size_t size)
{
    for (int i = 0; i < TRIES; i++) {
        look_max(IO_BATCH_MAX, 1000);
        if (!is_mem()) {
            ssize_t got = recv(fd, data, size, MSG_DONTWAIT);
            if (got >= 0)
                return got;
            continue;
        }
        io_id id;
        struct address to;
        const uint8_t *bytes;
        size_t len;
        if (mem_take(io, &id, &to, &bytes, &len)) {
            memcpy(data, bytes, len < size ? len : size);
            return (ssize_t)len;
        }
    }
    return -1;
}

// Streams from the peer's side.

static inline struct peer peer_open(io_id listener, const struct address *to)
{
    struct peer peer = {.fd = -1};
    if (is_mem()) {
        struct address address;
        address_parse("192.0.2.1", 1234, &address);
        peer.mem = mem_open(io, listener, &address);
        return peer;
    }
    peer.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL(connect(peer.fd, &to->any, to->len), 0);
    return peer;
}

// The peer writes; where the kernel takes no more now, the driver gets its turn.
static inline void peer_write(struct peer *peer, const void *data, size_t len)
{
    const char *bytes = data;
    if (is_mem()) {
        CU_ASSERT_EQUAL(mem_peer_write(peer->mem, data, len), SAGATE_OK);
        return;
    }
    while (len > 0) {
        ssize_t put = send(peer->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put < 0 && errno != EAGAIN)
            break;
        if (put < 0)
            look();
        else
            bytes += put;
        len -= put < 0 ? 0 : (size_t)put;
    }
    CU_ASSERT_EQUAL(len, 0);
}

// -1: nothing now; 0: the end; -2: reset.
static inline ssize_t peer_read_some(struct peer *peer, void *data, size_t size)
{
    if (is_mem()) {
        size_t got = mem_peer_read(peer->mem, data, size);
        if (got > 0)
            return (ssize_t)got;
        enum mem_peer_state state = mem_peer_state(peer->mem);
        return state == MEM_CLOSED ? 0 : state == MEM_RESET ? -2 : -1;
    }
    ssize_t got = recv(peer->fd, data, size, MSG_DONTWAIT);
    if (got >= 0)
        return got;
    return errno == EAGAIN ? -1 : -2;
}

// Reads until `size` bytes or an end, with the driver running. Returns the bytes; *end is 0, -1 or -2 as above.
static inline size_t peer_read(struct peer *peer, char *data, size_t size, ssize_t *end)
{
    size_t have = 0;
    *end = -1;
    for (int i = 0; i < TRIES && have < size; i++) {
        look_max(IO_BATCH_MAX, 1000);
        ssize_t got = peer_read_some(peer, data + have, size - have);
        *end = got > 0 ? -1 : got;
        if (got > 0)
            have += (size_t)got;
        else if (got != -1)
            break;
    }
    return have;
}

static inline void peer_eof(struct peer *peer)
{
    if (is_mem())
        mem_peer_eof(peer->mem);
    else
        shutdown(peer->fd, SHUT_WR);
}

static inline void peer_reset(struct peer *peer)
{
    struct linger none = {.l_onoff = 1};
    if (is_mem()) {
        mem_peer_reset(peer->mem, ECONNRESET);
        return;
    }
    setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close(peer->fd);
    peer->fd = -1;
}

// A connection that the driver has accepted; the log is empty after it.
static inline io_stream open_stream(struct peer *peer)
{
    struct address address;
    io_id listener = add_tcp(&address);
    *peer = peer_open(listener, &address);
    CU_ASSERT_TRUE_FATAL(until(1));
    CU_ASSERT_TRUE(saw(0, IO_ACCEPTED, NULL) && seen[0].id == listener && seen[0].user == &user_a);
    io_stream stream = seen[0].stream;
    CU_ASSERT_EQUAL(io_stream_set_user(io, stream, &user_b), SAGATE_OK);
    seen_count = 0;
    return stream;
}

static inline void close_io(struct peer *peer)
{
    if (peer != NULL)
        done_with(peer->fd);
    io_destroy(io);
}

static inline void fill(char *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (char)('a' + i % 23);
}

// The first `mem_count` tests are those over memory, which need no io_uring.
static inline int io_main(const char *suite, const struct unit_test *tests, size_t count, size_t mem_count)
{
    struct io_options options = {.receive_buffers = 1, .streams_max = 1};
    if (io_create(&io_uring_driver, &options, &io) == SAGATE_EUNSUPPORTED) {
        printf("io_uring is not available here (%s): its tests are skipped\n", strerror(errno));
        count = mem_count;
    } else {
        io_destroy(io);
    }
    return unit_main(suite, tests, count);
}

#endif
