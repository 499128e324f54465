// sagate-perf-cse: stands in for a CSE in measurements. Answers every HTTP or CoAP request at once, or after a
// fixed delay, with a small content, so that what is measured is the gateway in front of it. It judges nothing, but
// takes what is created, also in blocks.
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

enum { CLIENTS_MAX = 4096, BUFFER = 80 * 1024, EVENTS = 256, BATCH = 64, DATAGRAM = 2048, LATE_MAX = 16384 };

static const char content[] = "{\"m2m:cin\":{\"ty\":4,\"rn\":\"latest\",\"con\":\"21.5\"}}";
static const char found[] = "{\"m2m:uril\":[\"cse-in/ae/cnt\",\"cse-in/ae/cnt/latest\"]}";

struct client {
    size_t used;
    char buffer[BUFFER];
};

static struct client *clients[CLIENTS_MAX]; // by descriptor
static int epoll;
static unsigned delay_ms; // that every answer waits
static unsigned blocks;   // how many a resource has for who asks for one (Block2, RFC 7959)

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

// A header field's value in a head, or NULL. `name` is in lower case, with the line break before it and the colon.
static const char *http_field(const char *head, size_t head_len, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i + len < head_len; i++) {
        if (head[i] == '\r' && strncasecmp(head + i, name, len) == 0)
            return head + i + len;
    }
    return NULL;
}

// Copies the request identifier into the answer; the rest of the head is constant.
static size_t http_answer(const char *head, size_t head_len, char *out, size_t cap)
{
    const char *id = http_field(head, head_len, "\r\nx-m2m-ri: ");
    const char *type = head[0] == 'P' ? http_field(head, head_len, "\r\ncontent-type:") : NULL;
    bool creates = type != NULL && memmem(type, strcspn(type, "\r"), "ty=", 3) != NULL;
    bool discovers = head[0] == 'G' && memmem(head, strcspn(head, "\r"), "fu=1", 4) != NULL;
    const char *body = discovers ? found : content;
    int len = snprintf(out, cap,
                       "HTTP/1.1 %s\r\nX-M2M-RSC: %s\r\nX-M2M-RI: %.*s\r\nX-M2M-RVI: 3\r\n"
                       "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                       creates ? "201 Created" : "200 OK", creates ? "2001" : "2000",
                       id != NULL ? (int)strcspn(id, "\r") : 0, id != NULL ? id : "", strlen(body), body);
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
        const char *length = client->buffer[0] == 'P' ? http_field(client->buffer, head, "\r\ncontent-length:") : NULL;
        size_t whole = head + (length != NULL ? strtoul(length, NULL, 10) : 0);
        if (client->used < whole)
            return;
        size_t len = http_answer(client->buffer, head, answer, sizeof answer);
        if (!put_off(fd, NULL, 0, answer, len) && send(fd, answer, len, MSG_NOSIGNAL) != (ssize_t)len) {
            close(fd);
            return;
        }
        memmove(client->buffer, client->buffer + whole, client->used - whole + 1);
        client->used -= whole;
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

// What a CoAP request has that its answer depends on.
struct asked {
    const uint8_t *id;     // RQI (283),
    size_t id_len;         // at most 12 bytes are given back
    bool creates;          // TY (267) is there
    bool discovers;        // Uri-Query is there
    const uint8_t *wanted; // Block2,
    size_t wanted_len;     // at most 3 bytes
    const uint8_t *block;  // Block1,
    size_t block_len;      // at most 3 bytes
};

static void note_option(struct asked *asked, unsigned number, const uint8_t *value, size_t len)
{
    if (number == 283) {
        asked->id = value;
        asked->id_len = len;
    } else if (number == 267) {
        asked->creates = true;
    } else if (number == 15) {
        asked->discovers = true;
    } else if (number == 23 && len <= 3) {
        asked->wanted = value;
        asked->wanted_len = len;
    } else if (number == 27 && len >= 1 && len <= 3) {
        asked->block = value;
        asked->block_len = len;
    }
}

static struct asked read_options(const uint8_t *in, size_t len)
{
    struct asked asked = {.id = NULL};
    size_t at = 4 + (in[0] & 0x0fU);
    unsigned number = 0;
    while (at < len && in[at] != 0xff) {
        unsigned delta = in[at] >> 4;
        size_t size = in[at] & 0x0fU;
        at++;
        if (delta == 13) {
            delta = 13U + in[at++];
        } else if (delta == 14) {
            delta = 269U + ((unsigned)in[at] << 8 | in[at + 1]);
            at += 2;
        }
        if (size == 13)
            size = 13U + in[at++];
        number += delta;
        if (at + size <= len)
            note_option(&asked, number, in + at, size);
        at += size;
    }
    return asked;
}

// An option of at most 12 bytes.
static size_t put_option(uint8_t *out, unsigned *last, unsigned number, const void *value, size_t len)
{
    unsigned delta = number - *last;
    size_t used = 1;
    *last = number;
    out[0] = (uint8_t)((delta < 13 ? delta : delta < 269 ? 13U : 14U) << 4 | len);
    if (delta >= 269) {
        out[used++] = (uint8_t)((delta - 269) >> 8);
        out[used++] = (uint8_t)(delta - 269);
    } else if (delta >= 13) {
        out[used++] = (uint8_t)(delta - 13);
    }
    memcpy(out + used, value, len);
    return used + len;
}

// Block2: the one that was asked for, of the smallest size whatever size that was.
static size_t put_block(uint8_t *out, unsigned *last, const struct asked *asked)
{
    uint32_t value = 0;
    for (size_t i = 0; i < asked->wanted_len; i++)
        value = value << 8 | asked->wanted[i];
    value = (value & ~15U) | ((value >> 4) + 1 < blocks ? 8U : 0U);
    return put_option(out, last, 23, (uint8_t[]){(uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value}, 3);
}

// Piggybacked, with the request's token, its RQI and RSC (307); 2.31 to all but the last block.
static size_t coap_answer(const uint8_t *in, size_t len, uint8_t *out)
{
    enum { BLOCK = 16, CREATED = 0x41, CONTENT = 0x45, CONTINUE = 0x5f, MORE = 8, JSON = 50 };
    struct asked asked = read_options(in, len);
    size_t token = in[0] & 0x0fU;
    unsigned last = 0;
    bool goes_on = asked.block != NULL && (asked.block[asked.block_len - 1] & MORE) != 0;
    uint8_t rsc[] = {2000 >> 8, (uint8_t)(2000 + (asked.creates ? 1 : 0))};
    memcpy(out, in, 4 + token);
    out[0] = (uint8_t)(0x60 | token);
    out[1] = goes_on ? CONTINUE : asked.creates ? CREATED : CONTENT;
    size_t used = 4 + token;
    if (!goes_on)
        used += put_option(out + used, &last, 12, (uint8_t[]){JSON}, 1);
    bool in_blocks = asked.wanted != NULL && blocks > 0;
    if (in_blocks)
        used += put_block(out + used, &last, &asked);
    if (asked.block != NULL)
        used += put_option(out + used, &last, 27, asked.block, asked.block_len);
    if (goes_on)
        return used;
    if (asked.id != NULL && asked.id_len < 13)
        used += put_option(out + used, &last, 283, asked.id, asked.id_len);
    if (asked.id != NULL) // else it is no primitive, and its sender may not know our options
        used += put_option(out + used, &last, 307, rsc, sizeof rsc);
    out[used++] = 0xff;
    const char *body = asked.discovers ? found : content;
    size_t body_len = in_blocks ? BLOCK : asked.discovers ? sizeof found - 1 : sizeof content - 1;
    memcpy(out + used, body, body_len);
    return used + body_len;
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
    for (; argc > 3; argc -= 2, argv += 2) {
        if (strcmp(argv[1], "--delay-ms") == 0)
            delay_ms = (unsigned)strtoul(argv[2], NULL, 10);
        else if (strcmp(argv[1], "--blocks") == 0)
            blocks = (unsigned)strtoul(argv[2], NULL, 10);
        else
            break;
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
