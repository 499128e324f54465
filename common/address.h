// An IPv4 or IPv6 address with port, as the kernel has it and as text.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_COMMON_ADDRESS_H
#define SAGATE_COMMON_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { ADDRESS_TEXT_MAX = 64 }; // "[ffff:…%scope]:65535" with its NUL

struct address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
    socklen_t len; // 0: no address
};

// Parses a numeric address ("127.0.0.1", "::1", "[::1]") and a port in host byte order: 0 or SAGATE_EINVAL.
int address_parse(const char *host, uint16_t port, struct address *out);

// Parses "127.0.0.1:5683" or "[::1]:5683": 0 or SAGATE_EINVAL.
int address_parse_pair(const char *text, struct address *out);

// Writes "127.0.0.1:5684" or "[::1]:5684"; returns `text`.
const char *address_format(const struct address *address, char text[ADDRESS_TEXT_MAX]);

// Same family, address, port and scope.
bool address_equal(const struct address *a, const struct address *b);

#endif
