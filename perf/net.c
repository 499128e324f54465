// Sockets bound to every address; the source address of each datagram goes with it, as does that which an answer came
// to.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "perf/net.h"

#include "perf/load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 64, ROOM = 2048, SOCKETS_MAX = 4096, BUFFER = 16 << 20, EVENTS = 256, ROUNDS = 8 };

// What an event is about: the upper half of its data.
enum { EVENT_SOCKET, EVENT_WATCHED, EVENT_STREAM, EVENT_SHIFT = 32 };
enum { GENERATION_STEP = 4099 }; // addresses from one generation to the next

union control {
    char bytes[CMSG_SPACE(sizeof(struct in_pktinfo))];
    struct cmsghdr aligned;
};

struct batch {
    struct mmsghdr messages[BATCH];
    struct iovec vectors[BATCH];
    union control controls[BATCH];
    uint8_t data[BATCH][ROOM];
};

struct net_socket {
    int fd;
    unsigned queued;
    bool waits; // is one of `waiting`
    struct batch out;
};

static struct net_socket *sockets[SOCKETS_MAX];
static struct net_socket *waiting[SOCKETS_MAX]; // those with something queued
static unsigned socket_count, waiting_count;
static struct address target;
static uint32_t source, devices;
static uint32_t span; // endpoints of one generation
static int epoll, watched = -1;
static struct batch in;
static uint64_t dropped;

static void set_buffer(int fd, int forced, int option)
{
    int size = BUFFER;
    if (setsockopt(fd, SOL_SOCKET, forced, &size, sizeof size) != 0)
        (void)setsockopt(fd, SOL_SOCKET, option, &size, sizeof size);
}

static struct net_socket *open_socket(unsigned number)
{
    struct net_socket *new = calloc(1, sizeof *new);
    struct sockaddr_in any = {.sin_family = AF_INET};
    int one = 1;
    if (new == NULL)
        load_fail("memory is short");
    new->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (new->fd < 0 || bind(new->fd, (struct sockaddr *)&any, sizeof any) != 0 ||
        setsockopt(new->fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof one) != 0)
        load_fail("UDP socket: %s", strerror(errno));
    set_buffer(new->fd, SO_RCVBUFFORCE, SO_RCVBUF);
    set_buffer(new->fd, SO_SNDBUFFORCE, SO_SNDBUF);
    for (unsigned i = 0; i < BATCH; i++) {
        struct msghdr *message = &new->out.messages[i].msg_hdr;
        new->out.vectors[i].iov_base = new->out.data[i];
        *message = (struct msghdr){.msg_name = &target.any,
                                   .msg_namelen = target.len,
                                   .msg_iov = &new->out.vectors[i],
                                   .msg_iovlen = 1,
                                   .msg_control = new->out.controls[i].bytes,
                                   .msg_controllen = sizeof new->out.controls[i].bytes};
        struct cmsghdr *header = CMSG_FIRSTHDR(message);
        if (header == NULL)
            load_fail("no room for a source address");
        header->cmsg_level = IPPROTO_IP;
        header->cmsg_type = IP_PKTINFO;
        header->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
    }
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)EVENT_SOCKET << EVENT_SHIFT | number};
    (void)epoll_ctl(epoll, EPOLL_CTL_ADD, new->fd, &event);
    return new;
}

void net_setup(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    (void)prctl(PR_SET_TIMERSLACK, 1UL); // an open loop is to be on time
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        load_fail("epoll: %s", strerror(errno));
}

void net_open(const struct address *to, uint32_t from, uint32_t count, unsigned generations)
{
    if (to->any.sa_family != AF_INET)
        load_fail("devices over UDP need an IPv4 target");
    target = *to;
    source = from;
    devices = count;
    unsigned groups = (count + NET_ADDRESSES - 1) / NET_ADDRESSES;
    span = groups * NET_ADDRESSES;
    socket_count = groups * generations;
    if (socket_count > SOCKETS_MAX)
        load_fail("at most %u devices", SOCKETS_MAX / generations * NET_ADDRESSES);
    for (unsigned i = 0; i < socket_count; i++)
        sockets[i] = open_socket(i);
}

// A permutation of the addresses of each socket for each generation.
uint32_t net_endpoint(uint32_t device, unsigned generation)
{
    uint32_t place = (device + generation * GENERATION_STEP) % NET_ADDRESSES;
    return generation * span + device / NET_ADDRESSES * NET_ADDRESSES + place;
}

static void flush(struct net_socket *from)
{
    unsigned sent = 0;
    while (sent < from->queued) {
        int n = sendmmsg(from->fd, from->out.messages + sent, from->queued - sent, 0);
        if (n <= 0) {
            // As if the network had lost it: what matters is sent again.
            dropped++;
            n = 1;
        }
        sent += (unsigned)n;
    }
    from->queued = 0;
}

void net_flush(void)
{
    for (unsigned i = 0; i < waiting_count; i++) {
        flush(waiting[i]);
        waiting[i]->waits = false;
    }
    waiting_count = 0;
}

uint8_t *net_reserve(uint32_t endpoint)
{
    struct net_socket *from = sockets[endpoint / NET_ADDRESSES];
    if (from->queued == BATCH)
        flush(from);
    return from->out.data[from->queued];
}

void net_commit(uint32_t endpoint, size_t len)
{
    struct net_socket *from = sockets[endpoint / NET_ADDRESSES];
    struct in_pktinfo info = {.ipi_spec_dst.s_addr = htonl(source + endpoint % NET_ADDRESSES)};
    from->out.vectors[from->queued].iov_len = len;
    struct cmsghdr *header = CMSG_FIRSTHDR(&from->out.messages[from->queued].msg_hdr);
    if (header == NULL)
        return;
    memcpy(CMSG_DATA(header), &info, sizeof info);
    if (!from->waits)
        waiting[waiting_count++] = from;
    from->waits = true;
    from->queued++;
}

void net_send(uint32_t endpoint, const void *data, size_t len)
{
    if (len > NET_DATAGRAM_MAX)
        return;
    memcpy(net_reserve(endpoint), data, len);
    net_commit(endpoint, len);
}

void net_watch(int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)EVENT_WATCHED << EVENT_SHIFT};
    (void)epoll_ctl(epoll, fd >= 0 ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, fd >= 0 ? fd : watched, &event);
    watched = fd;
}

void net_watch_stream(int fd, uint32_t device)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.u64 = (uint64_t)EVENT_STREAM << EVENT_SHIFT | device};
    (void)epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

// The device that a datagram came to; `devices`: none of ours.
static uint32_t device_of(unsigned number, struct msghdr *message)
{
    unsigned groups = span / NET_ADDRESSES;
    uint32_t shift = number / groups * GENERATION_STEP % NET_ADDRESSES;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL; header = CMSG_NXTHDR(message, header)) {
        struct in_pktinfo info;
        if (header->cmsg_level != IPPROTO_IP || header->cmsg_type != IP_PKTINFO)
            continue;
        memcpy(&info, CMSG_DATA(header), sizeof info);
        uint32_t place = ntohl(info.ipi_addr.s_addr) - source;
        uint32_t device = number % groups * NET_ADDRESSES + (place + NET_ADDRESSES - shift) % NET_ADDRESSES;
        return place < NET_ADDRESSES && device < devices ? device : devices;
    }
    return devices;
}

static void receive(unsigned number, const struct net_handlers *handlers)
{
    int count;
    unsigned generation = number / (span / NET_ADDRESSES);
    unsigned left = ROUNDS; // then it is others' turn
    do {
        for (unsigned i = 0; i < BATCH; i++) {
            in.vectors[i] = (struct iovec){.iov_base = in.data[i], .iov_len = ROOM};
            in.messages[i].msg_hdr = (struct msghdr){.msg_iov = &in.vectors[i],
                                                     .msg_iovlen = 1,
                                                     .msg_control = in.controls[i].bytes,
                                                     .msg_controllen = sizeof in.controls[i].bytes};
        }
        count = recvmmsg(sockets[number]->fd, in.messages, BATCH, 0, NULL);
        for (int i = 0; i < count; i++) {
            uint32_t device = device_of(number, &in.messages[i].msg_hdr);
            if (device < devices)
                handlers->datagram(device, generation, in.data[i], in.messages[i].msg_len);
        }
    } while (count == BATCH && --left > 0);
}

bool net_wait(uint64_t timeout_us, const struct net_handlers *handlers)
{
    struct epoll_event events[EVENTS];
    struct timespec timeout = {.tv_sec = (time_t)(timeout_us / 1000000),
                               .tv_nsec = (long)(timeout_us % 1000000) * 1000};
    bool ordered = false;
    net_flush();
    int count = epoll_pwait2(epoll, events, EVENTS, &timeout, NULL);
    for (int i = 0; i < count; i++) {
        uint32_t about = (uint32_t)events[i].data.u64;
        switch (events[i].data.u64 >> EVENT_SHIFT) {
        case EVENT_SOCKET:
            receive(about, handlers);
            break;
        case EVENT_STREAM:
            handlers->stream(about);
            break;
        default:
            ordered = true;
            break;
        }
    }
    net_flush();
    return ordered;
}

uint64_t net_dropped(void)
{
    return dropped;
}
