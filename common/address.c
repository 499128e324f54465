// Addresses to and from text.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/address.h"

#include "common/error.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int address_parse(const char *host, uint16_t port, struct address *out)
{
    char bare[INET6_ADDRSTRLEN + 2];
    size_t len = strlen(host);
    if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
        host++;
        len -= 2;
    }
    if (len == 0 || len >= sizeof bare)
        return SAGATE_EINVAL;
    memcpy(bare, host, len);
    bare[len] = '\0';
    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, bare, &out->v4.sin_addr) == 1) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(port);
        out->len = sizeof out->v4;
        return SAGATE_OK;
    }
    if (inet_pton(AF_INET6, bare, &out->v6.sin6_addr) == 1) {
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons(port);
        out->len = sizeof out->v6;
        return SAGATE_OK;
    }
    return SAGATE_EINVAL;
}

int address_parse_pair(const char *text, struct address *out)
{
    const char *colon = strrchr(text, ':');
    char host[INET6_ADDRSTRLEN + 3];
    if (colon == NULL || colon == text || (size_t)(colon - text) >= sizeof host)
        return SAGATE_EINVAL;
    char *end = NULL;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (colon[1] < '0' || colon[1] > '9' || *end != '\0' || port == 0 || port > UINT16_MAX)
        return SAGATE_EINVAL;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    // An IPv6 address without brackets would make the last group look like a port.
    if (strchr(host, ':') != NULL && host[0] != '[')
        return SAGATE_EINVAL;
    return address_parse(host, (uint16_t)port, out);
}

// Decimal digits without a NUL; returns what is behind them.
static char *put_number(char *at, unsigned value)
{
    char digits[10];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    while (count > 0)
        *at++ = digits[--count];
    return at;
}

// By hand, since it is written for every request that goes to a CSE.
static void format_v4(const struct address *address, char *text)
{
    const uint8_t *bytes = (const uint8_t *)&address->v4.sin_addr;
    for (int i = 0; i < 4; i++) {
        text = put_number(text, bytes[i]);
        *text++ = i < 3 ? '.' : ':';
    }
    *put_number(text, ntohs(address->v4.sin_port)) = '\0';
}

const char *address_format(const struct address *address, char text[ADDRESS_TEXT_MAX])
{
    char host[INET6_ADDRSTRLEN] = "?";
    switch (address->len == 0 ? AF_UNSPEC : address->any.sa_family) {
    case AF_INET:
        format_v4(address, text);
        break;
    case AF_INET6:
        (void)inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof host);
        (void)snprintf(text, ADDRESS_TEXT_MAX, "[%s]:%u", host, (unsigned)ntohs(address->v6.sin6_port));
        break;
    default:
        (void)snprintf(text, ADDRESS_TEXT_MAX, "-");
        break;
    }
    return text;
}

bool address_equal(const struct address *a, const struct address *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_INET)
        return a->v4.sin_port == b->v4.sin_port && a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
    return a->v6.sin6_port == b->v6.sin6_port && a->v6.sin6_scope_id == b->v6.sin6_scope_id &&
           memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof a->v6.sin6_addr) == 0;
}
