// Datagrams that the kernel brought to the wrong worker, on their way to the right one: a ring between two workers of
// one process, one that writes and one that reads, without a lock.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_WORKER_RING_H
#define SAGATE_DATAPLANE_WORKER_RING_H

#include "common/address.h"

#include <stddef.h>
#include <stdint.h>

enum {
    RING_PLACES = 256,
    RING_DATAGRAM_MAX = 2048, // bytes
};

struct ring_datagram {
    uint8_t listener; // its number, in a numbering that both workers share
    uint16_t len;
    struct address peer;
    uint8_t data[RING_DATAGRAM_MAX];
};

struct ring;

// An empty ring; its half a megabyte of places is allocated with the first datagram. NULL when memory is short.
struct ring *ring_new(void);
void ring_free(struct ring *ring); // when no thread uses it any more; NULL is allowed

// The thread that writes. Copies a datagram into the ring: SAGATE_OK; SAGATE_ELIMIT (full: the datagram is lost, which
// the caller counts); SAGATE_ETOOBIG (longer than RING_DATAGRAM_MAX); SAGATE_ENOMEM (with the first one only).
int ring_push(struct ring *ring, uint8_t listener, const struct address *peer, const void *data, size_t len);

// The thread that reads. The oldest datagram, which may be changed where it lies, until ring_pop; NULL: none.
struct ring_datagram *ring_peek(struct ring *ring);
// Gives the place of what ring_peek gave back. Not without such.
void ring_pop(struct ring *ring);

#endif
