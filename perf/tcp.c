// Connections by number of the device.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "perf/tcp.h"

#include "perf/load.h"
#include "perf/net.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SOURCES = 65536 }; // addresses that are used in turn

// Bytes that wait, one way.
struct stash {
    uint8_t *data;
    size_t len;
};

struct connection {
    int fd; // 0: none
    struct stash in, out;
};

static struct connection *connections;
static struct address target;
static uint32_t source;

void tcp_open(const struct address *to, uint32_t from, uint32_t count)
{
    target = *to;
    source = from;
    connections = calloc(count, sizeof *connections);
    if (connections == NULL)
        load_fail("memory is short");
}

static bool stash_add(struct stash *stash, const void *data, size_t len)
{
    if (len == 0)
        return true;
    uint8_t *more = realloc(stash->data, stash->len + len);
    if (more == NULL)
        return false;
    memcpy(more + stash->len, data, len);
    stash->data = more;
    stash->len += len;
    return true;
}

static void stash_take(struct stash *stash, size_t len)
{
    stash->len -= len;
    if (stash->len > 0) {
        memmove(stash->data, stash->data + len, stash->len);
        return;
    }
    free(stash->data);
    stash->data = NULL;
}

static bool bind_source(int fd, uint32_t device)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(source + device % SOURCES)};
    int one = 1;
    if (source == 0 || target.any.sa_family != AF_INET)
        return true;
    return setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one) == 0 &&
           bind(fd, (struct sockaddr *)&own, sizeof own) == 0;
}

bool tcp_connect(uint32_t device)
{
    struct connection *connection = &connections[device];
    int one = 1;
    int fd = socket(target.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    if (!bind_source(fd, device) || (connect(fd, &target.any, target.len) != 0 && errno != EINPROGRESS)) {
        close(fd);
        return false;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connection->fd = fd;
    net_watch_stream(fd, device);
    return true;
}

void tcp_close(uint32_t device)
{
    struct connection *connection = &connections[device];
    if (connection->fd > 0)
        close(connection->fd);
    free(connection->in.data);
    free(connection->out.data);
    *connection = (struct connection){0};
}

ssize_t tcp_receive(uint32_t device, void *data, size_t cap)
{
    struct connection *connection = &connections[device];
    size_t kept = connection->in.len < cap ? connection->in.len : cap;
    if (kept > 0) {
        memcpy(data, connection->in.data, kept);
        stash_take(&connection->in, kept);
    }
    if (kept == cap)
        return (ssize_t)kept;
    ssize_t got = recv(connection->fd, (uint8_t *)data + kept, cap - kept, 0);
    if (got < 0 && errno != EAGAIN && errno != EINTR && errno != ENOTCONN)
        got = 0;
    if (got > 0)
        return got + (ssize_t)kept;
    // The end, if it is one, comes again.
    if (kept > 0 && got < 0 && !tcp_put_back(device, data, kept))
        return 0;
    return got;
}

bool tcp_put_back(uint32_t device, const void *data, size_t len)
{
    return stash_add(&connections[device].in, data, len);
}

bool tcp_flush(uint32_t device)
{
    struct connection *connection = &connections[device];
    while (connection->out.len > 0) {
        ssize_t sent = send(connection->fd, connection->out.data, connection->out.len, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN || errno == ENOTCONN;
        stash_take(&connection->out, (size_t)sent);
    }
    return true;
}

bool tcp_send(uint32_t device, const void *data, size_t len)
{
    struct connection *connection = &connections[device];
    if (connection->out.len > 0)
        return stash_add(&connection->out, data, len);
    ssize_t sent = send(connection->fd, data, len, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != ENOTCONN)
        return false;
    size_t done = sent > 0 ? (size_t)sent : 0;
    return done == len || stash_add(&connection->out, (const uint8_t *)data + done, len - done);
}
