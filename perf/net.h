// What devices send and receive on. Datagrams of many devices go over few sockets: an endpoint is a source address and
// port of its own, a socket serves NET_ADDRESSES of them. One thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_PERF_NET_H
#define SAGATE_PERF_NET_H

#include "common/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NET_ADDRESSES = 16384, NET_DATAGRAM_MAX = 1500, NET_GENERATIONS = 4 };

// Before anything else; ends the program when it fails.
void net_setup(void);

// Sockets for `count` devices, from IPv4 address `source` (host byte order; every address behind it must be the
// machine's own, as 127.0.0.0/8 is) to `target`; each device has as many endpoints as there are generations (at most
// NET_GENERATIONS), and uses one after the other. Ends the program when that fails.
void net_open(const struct address *target, uint32_t source, uint32_t count, unsigned generations);

// The endpoint of a device; both addresses and ports differ between generations.
uint32_t net_endpoint(uint32_t device, unsigned generation);

// Room for one datagram of NET_DATAGRAM_MAX bytes from an endpoint; net_commit queues it. Sent with net_wait at latest.
uint8_t *net_reserve(uint32_t endpoint);
void net_commit(uint32_t endpoint, size_t len);
void net_send(uint32_t endpoint, const void *data, size_t len);
void net_flush(void);

// Also wait for input on this descriptor; -1: no more.
void net_watch(int fd);
// Also wait for whatever happens to a stream, edge-triggered.
void net_watch_stream(int fd, uint32_t device);

struct net_handlers {
    void (*datagram)(uint32_t device, unsigned generation, uint8_t *data, size_t len);
    void (*stream)(uint32_t device);
};
// Sends what is queued, waits up to `timeout_us`, and hands over what came. True when the watched descriptor has input.
bool net_wait(uint64_t timeout_us, const struct net_handlers *handlers);

uint64_t net_dropped(void); // datagrams that the kernel did not take

#endif
