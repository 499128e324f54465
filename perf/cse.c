// sagate-perf-cse: stands in for a CSE in measurements. Answers every HTTP or CoAP request at once, or after a fixed
// delay, with the same small content, so that what is measured is the gateway in front of it. It judges nothing.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/address.h"
#include "common/clock.h"
#include "common/error.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CLIENTS_MAX = 4096, BUFFER = 16 * 1024, EVENTS = 256, BATCH = 64, DATAGRAM = 2048, LATE_MAX = 16384 };

static const char content[] = "{\"m2m:cin\":{\"ty\":4,\"rn\":\"latest\",\"con\":\"21.5\"}}";

struct client {
    size_t used;
    char buffer[BUFFER];
};

static struct client *clients[CLIENTS_MAX]; // by descriptor
static int epoll;
static unsigned delay_ms; // that every answer waits
static unsigned blocks;   // Block2 (RFC 7959): how many a resource has for who asks for one

// Answers that wait. All wait equally long, so the first is always the next.
struct late {
    uint64_t due_us;
    int fd;
    struct sockaddr_storage peer;
    socklen_t peer_len; // 0: a stream
    size_t len;
    uint8_t data[DATAGRAM];
};

static struct late late[LATE_MAX];
static unsigned late_first, late_count;

// True: it waits; false: answers go at once. What finds no room is lost, as in a CSE that is overrun.
static bool put_off(int fd, const struct sockaddr_storage *peer, socklen_t peer_len, const void *data, size_t len)
{
    if (delay_ms == 0)
        return false;
    if (late_count == LATE_MAX || len == 0 || len > DATAGRAM)
        return true;
    struct late *answer = &late[(late_first + late_count++) % LATE_MAX];
    *answer = (struct late){.due_us = clock_us() + delay_ms * 1000ULL, .fd = fd, .peer_len = peer_len, .len = len};
    if (peer_len > 0)
        answer->peer = *peer;
    memcpy(answer->data, data, len);
    return true;
}

// Sends what is due; milliseconds until the next is, -1: none waits.
static int send_late(void)
{
    for (uint64_t now = clock_us(); late_count > 0; late_count--) {
        const struct late *answer = &late[late_first];
        if (answer->due_us > now)
            return (int)((answer->due_us - now + 999) / 1000);
        const struct sockaddr *peer = answer->peer_len > 0 ? (const struct sockaddr *)&answer->peer : NULL;
        (void)sendto(answer->fd, answer->data, answer->len, MSG_NOSIGNAL, peer, answer->peer_len);
        late_first = (late_first + 1) % LATE_MAX;
    }
    return -1;
}

static int listen_on(const char *text, int type)
{
    struct address address;
    if (address_parse_pair(text, &address) != SAGATE_OK)
        return -1;
    int fd = socket(address.any.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;
    int size = 4 << 20;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (bind(fd, &address.any, address.len) != 0 || (type == SOCK_STREAM && listen(fd, 1024) != 0)) {
        (void)fprintf(stderr, "sagate-perf-cse: %s: %s\n", text, strerror(errno));
        return -1;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    (void)epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    return fd;
}

// Copies the request identifier into the answer; the rest of the head is constant.
static size_t http_answer(const char *head, size_t head_len, char *out, size_t cap)
{
    static const char name[] = "\r\nx-m2m-ri: ";
    const char *id = "";
    size_t id_len = 0;
    for (size_t i = 0; i + sizeof name - 1 < head_len; i++) {
        if (head[i] == '\r' && strncasecmp(head + i, name, sizeof name - 1) == 0) {
            id = head + i + sizeof name - 1;
            id_len = strcspn(id, "\r");
            break;
        }
    }
    int len = snprintf(out, cap,
                       "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\nX-M2M-RI: %.*s\r\nX-M2M-RVI: 3\r\n"
                       "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                       (int)id_len, id, sizeof content - 1, content);
    return len < 0 ? 0 : (size_t)len;
}

static void http_input(int fd)
{
    struct client *client = clients[fd];
    ssize_t got = recv(fd, client->buffer + client->used, BUFFER - client->used - 1, 0);
    if (got <= 0) {
        if (got < 0 && errno == EAGAIN)
            return;
        close(fd);
        return;
    }
    client->used += (size_t)got;
    client->buffer[client->used] = '\0';
    char *end;
    while ((end = strstr(client->buffer, "\r\n\r\n")) != NULL) {
        char answer[1024];
        size_t head = (size_t)(end - client->buffer) + 4;
        size_t len = http_answer(client->buffer, head, answer, sizeof answer);
        if (!put_off(fd, NULL, 0, answer, len) && send(fd, answer, len, MSG_NOSIGNAL) != (ssize_t)len) {
            close(fd);
            return;
        }
        memmove(client->buffer, client->buffer + head, client->used - head + 1);
        client->used -= head;
    }
}

static void accept_all(int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (fd >= CLIENTS_MAX) {
            close(fd);
            continue;
        }
        if (clients[fd] == NULL)
            clients[fd] = malloc(sizeof *clients[fd]);
        clients[fd]->used = 0;
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        (void)epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

// The head of an option whose number is so much (13 or more) above the one before it, and whose value is short.
static size_t option_delta(uint8_t *out, unsigned delta, size_t len)
{
    if (delta < 269) {
        out[0] = (uint8_t)(0xd0 | len);
        out[1] = (uint8_t)(delta - 13);
        return 2;
    }
    out[0] = (uint8_t)(0xe0 | len);
    out[1] = (uint8_t)((delta - 269) >> 8);
    out[2] = (uint8_t)(delta - 269);
    return 3;
}

// A piggybacked 2.05 with the request's token, its RQI option (283) and RSC 2000 (307); one block (option 23) of it
// where one was asked for.
static size_t coap_answer(const uint8_t *in, size_t len, uint8_t *out)
{
    size_t token = in[0] & 0x0fU;
    size_t at = 4 + token;
    unsigned number = 0;
    const uint8_t *id = NULL;
    size_t id_len = 0;
    bool block = false;
    uint32_t block_value = 0;
    while (at < len && in[at] != 0xff) {
        unsigned delta = in[at] >> 4;
        size_t size = in[at] & 0x0fU;
        at++;
        if (delta == 13)
            delta = 13U + in[at++];
        else if (delta == 14) {
            delta = 269U + ((unsigned)in[at] << 8 | in[at + 1]);
            at += 2;
        }
        if (size == 13)
            size = 13U + in[at++];
        number += delta;
        if (number == 283) {
            id = in + at;
            id_len = size;
        } else if (number == 23 && blocks > 0 && at + size <= len) {
            block = true;
            for (size_t i = 0; i < size; i++)
                block_value = block_value << 8 | in[at + i];
        }
        at += size;
    }
    memcpy(out, in, 4 + token);
    out[0] = (uint8_t)(0x60 | token);
    out[1] = 0x45;
    size_t used = 4 + token;
    out[used++] = 0xc1; // Content-Format 50
    out[used++] = 50;
    unsigned last = 12;
    size_t content_len = sizeof content - 1;
    if (block) {
        uint32_t number_of = block_value >> 4;
        content_len = 16; // blocks of the smallest size, whatever was asked for
        block_value = number_of << 4 | (number_of + 1 < blocks ? 8U : 0U);
        out[used++] = 0xb3; // Block2
        out[used++] = (uint8_t)(block_value >> 16);
        out[used++] = (uint8_t)(block_value >> 8);
        out[used++] = (uint8_t)block_value;
        last = 23;
    }
    if (id != NULL && id_len < 13) {
        used += option_delta(out + used, 283 - last, id_len);
        memcpy(out + used, id, id_len);
        used += id_len;
        last = 283;
    }
    if (id != NULL) { // else it is no primitive, and its sender may not know our options
        used += option_delta(out + used, 307 - last, 2);
        out[used++] = 2000 >> 8;
        out[used++] = 2000 & 0xff;
    }
    out[used++] = 0xff;
    memcpy(out + used, content, content_len);
    return used + content_len;
}

// What came at once is answered at once, so that the CSE costs the load generator's core little.
static struct {
    struct mmsghdr in[BATCH], out[BATCH];
    struct iovec in_vector[BATCH], out_vector[BATCH];
    struct sockaddr_storage peer[BATCH];
    uint8_t in_data[BATCH][DATAGRAM], out_data[BATCH][DATAGRAM];
} batch;

// The answer to a message; 0: none.
static size_t coap_reply(const uint8_t *in, size_t len, uint8_t *out)
{
    if (len < 4)
        return 0;
    if (in[1] == 0 && (in[0] & 0x30) == 0) {
        memcpy(out, (const uint8_t[]){0x70, 0, in[2], in[3]}, 4); // a ping is answered with a reset
        return 4;
    }
    return in[1] >= 1 && in[1] <= 4 ? coap_answer(in, len, out) : 0;
}

static void coap_input(int fd)
{
    int count;
    do {
        unsigned answers = 0;
        for (unsigned i = 0; i < BATCH; i++) {
            batch.in_vector[i] = (struct iovec){.iov_base = batch.in_data[i], .iov_len = DATAGRAM - 4};
            batch.in[i].msg_hdr = (struct msghdr){.msg_name = &batch.peer[i],
                                                  .msg_namelen = sizeof batch.peer[i],
                                                  .msg_iov = &batch.in_vector[i],
                                                  .msg_iovlen = 1};
        }
        count = recvmmsg(fd, batch.in, BATCH, 0, NULL);
        for (int i = 0; i < count; i++) {
            size_t len = coap_reply(batch.in_data[i], batch.in[i].msg_len, batch.out_data[answers]);
            batch.out_vector[answers] = (struct iovec){.iov_base = batch.out_data[answers], .iov_len = len};
            batch.out[answers].msg_hdr = (struct msghdr){.msg_name = &batch.peer[i],
                                                         .msg_namelen = batch.in[i].msg_hdr.msg_namelen,
                                                         .msg_iov = &batch.out_vector[answers],
                                                         .msg_iovlen = 1};
            if (put_off(fd, &batch.peer[i], batch.in[i].msg_hdr.msg_namelen, batch.out_data[answers], len))
                continue;
            answers += len > 0 ? 1U : 0U;
        }
        (void)sendmmsg(fd, batch.out, answers, 0);
    } while (count == BATCH);
}

int main(int argc, char **argv)
{
    for (; argc > 3 && argv[1][0] == '-'; argc -= 2, argv += 2) {
        if (strcmp(argv[1], "--delay-ms") == 0)
            delay_ms = (unsigned)strtoul(argv[2], NULL, 10);
        else if (strcmp(argv[1], "--blocks") == 0)
            blocks = (unsigned)strtoul(argv[2], NULL, 10);
        else
            argc = 0;
    }
    if (argc != 3) {
        (void)fprintf(stderr,
                      "usage: sagate-perf-cse [--delay-ms N] [--blocks N] HTTP-ADDRESS:PORT COAP-ADDRESS:PORT\n");
        return 2;
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    int http = listen_on(argv[1], SOCK_STREAM);
    int coap = listen_on(argv[2], SOCK_DGRAM);
    if (http < 0 || coap < 0)
        return EXIT_FAILURE;
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll, events, EVENTS, send_late());
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == http)
                accept_all(http);
            else if (fd == coap)
                coap_input(coap);
            else
                http_input(fd);
        }
    }
}
