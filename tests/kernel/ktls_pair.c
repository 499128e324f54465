// Two ends of a TCP connection with kernel TLS: sockets, keys, records.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "ktls_pair.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SOL_TLS
#define SOL_TLS 282
#endif
#ifndef TCP_ULP
#define TCP_ULP 31
#endif

static int or_errno(int rc)
{
    return rc < 0 ? -errno : 0;
}

int pair_connect(int *left, int *right)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *left = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *right = -1;
    int rc = 0;
    if (listener < 0 || *left < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, 1) < 0 || getsockname(listener, (struct sockaddr *)&address, &length) < 0 ||
        connect(*left, (struct sockaddr *)&address, sizeof address) < 0)
        rc = -errno;
    else
        rc = or_errno(*right = accept4(listener, NULL, NULL, SOCK_CLOEXEC));
    close(listener);
    return rc;
}

void pair_keys(struct pair *pair)
{
    if (getrandom(&pair->keys, sizeof pair->keys, 0) != (ssize_t)sizeof pair->keys)
        abort();
    pair->keys.info.version = pair->version;
    pair->keys.info.cipher_type = pair->cipher->type;
    // The sequence number is the last member of every one of these structures.
    memset((uint8_t *)&pair->keys + pair->cipher->size - 8, 0, 8);
}

int pair_layer(int fd)
{
    return or_errno(setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof "tls"));
}

int pair_install(const struct pair *pair, int fd, int direction)
{
    return or_errno(setsockopt(fd, SOL_TLS, direction, &pair->keys, (socklen_t)pair->cipher->size));
}

int pair_open(struct pair *pair, const struct cipher *cipher, uint16_t version)
{
    pair->cipher = cipher;
    pair->version = version;
    pair_keys(pair);
    int rc = pair_connect(&pair->left, &pair->right);
    if (rc == 0)
        rc = pair_layer(pair->left);
    if (rc == 0)
        rc = pair_layer(pair->right);
    if (rc == 0)
        rc = pair_install(pair, pair->left, TLS_TX);
    if (rc == 0)
        rc = pair_install(pair, pair->right, TLS_RX);
    return rc;
}

int pair_send_record(int fd, uint8_t type, const void *data, size_t size)
{
    union {
        char bytes[CMSG_SPACE(1)];
        struct cmsghdr align;
    } control = {.bytes = {0}};
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_TLS;
    head->cmsg_type = TLS_SET_RECORD_TYPE;
    head->cmsg_len = CMSG_LEN(1);
    *CMSG_DATA(head) = type;
    message.msg_controllen = head->cmsg_len;
    ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    if (sent < 0)
        return -errno;
    return (size_t)sent == size ? 0 : -EMSGSIZE;
}

int pair_receive(int fd, uint8_t *type, void *data, size_t size)
{
    union {
        char bytes[CMSG_SPACE(1)];
        struct cmsghdr align;
    } control = {.bytes = {0}};
    struct iovec part = {.iov_base = data, .iov_len = size};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t got = recvmsg(fd, &message, 0);
    if (got < 0)
        return -errno;
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    bool known = head != NULL && head->cmsg_level == SOL_TLS && head->cmsg_type == TLS_GET_RECORD_TYPE;
    *type = known ? *CMSG_DATA(head) : 0;
    return (int)got;
}

void pair_fill(uint8_t *data, size_t size, size_t offset)
{
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)((offset + i) % 251 + (offset + i) / 65521);
}

int pair_check(const uint8_t *data, size_t size, size_t offset)
{
    for (size_t i = 0; i < size; i++) {
        if (data[i] != (uint8_t)((offset + i) % 251 + (offset + i) / 65521))
            return -EILSEQ;
    }
    return 0;
}

int pair_feed(int fd, size_t total, size_t piece)
{
    pid_t child = fork();
    if (child != 0)
        return or_errno(child);
    uint8_t data[65536];
    for (size_t sent = 0; sent < total;) {
        size_t size = total - sent < piece ? total - sent : piece;
        pair_fill(data, size, sent);
        ssize_t rc = send(fd, data, size, MSG_NOSIGNAL);
        if (rc < 0)
            _exit(1);
        sent += (size_t)rc;
    }
    _exit(0);
}

int pair_drain(int fd, size_t total)
{
    uint8_t data[65536];
    for (size_t seen = 0; seen < total;) {
        ssize_t got = recv(fd, data, sizeof data, 0);
        if (got <= 0)
            return got < 0 ? -errno : -EPIPE;
        int rc = pair_check(data, (size_t)got, seen);
        if (rc != 0)
            return rc;
        seen += (size_t)got;
    }
    return 0;
}
