// TCP connections of devices, each from an address of its own where that is to be had. What cannot be sent at once
// waits here. One thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_PERF_TCP_H
#define SAGATE_PERF_TCP_H

#include "common/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// For `count` devices. `source`: first address, host byte order; 0: the kernel's choice.
void tcp_open(const struct address *target, uint32_t source, uint32_t count);

// Begins a connection; events go to the stream handler of net_wait. False: refused, or there are no descriptors.
bool tcp_connect(uint32_t device);
// Forgets what waits, and closes.
void tcp_close(uint32_t device);

// As recv(2) of a non-blocking socket, and what was put back first: 0 at the end, -1 when there is nothing.
ssize_t tcp_receive(uint32_t device, void *data, size_t cap);
// Keeps received bytes that are of no use yet; the next tcp_receive begins with them. False: memory is short.
bool tcp_put_back(uint32_t device, const void *data, size_t len);

// Sends, at once or later. False when the connection is broken.
bool tcp_send(uint32_t device, const void *data, size_t len);
// Sends what waits; to be called at every event.
bool tcp_flush(uint32_t device);

#endif
