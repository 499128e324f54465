// Datagrams of many devices over few sockets: an endpoint is a source address and port of its own, a socket serves
// NET_ADDRESSES of them. One thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_PERF_NET_H
#define SAGATE_PERF_NET_H

#include "common/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NET_ADDRESSES = 16384, NET_DATAGRAM_MAX = 1500 };

// Sockets for endpoints 0 … count - 1, from IPv4 address `source` (host byte order; every address behind it must be
// the machine's own, as 127.0.0.0/8 is) to `target`. Ends the program when that fails.
void net_open(const struct address *target, uint32_t source, uint32_t count);

// Room for one datagram of NET_DATAGRAM_MAX bytes from an endpoint; net_commit queues it. Sent with net_wait at latest.
uint8_t *net_reserve(uint32_t endpoint);
void net_commit(uint32_t endpoint, size_t len);
void net_send(uint32_t endpoint, const void *data, size_t len);
void net_flush(void);

// Also wait for input on this descriptor; -1: no more.
void net_watch(int fd);
// Sends what is queued, waits up to `timeout_ms`, and hands over what came. True when the watched descriptor has input.
typedef void net_input(uint32_t endpoint, uint8_t *data, size_t len);
bool net_wait(int timeout_ms, net_input *input);

uint64_t net_dropped(void); // datagrams that the kernel did not take

#endif
