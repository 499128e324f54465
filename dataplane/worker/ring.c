// A ring for one writer and one reader: each owns one counter and only reads the other's.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/worker/ring.h"

#include "common/error.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { CACHE_LINE = 64 };

// Each side has a line of its own, with what it last saw of the other's counter: so it looks at the other's line only
// when the ring seems full, or empty.
struct ring {
    alignas(CACHE_LINE) _Atomic uint32_t written; // counts without end
    uint32_t read_seen;
    alignas(CACHE_LINE) _Atomic uint32_t read;
    uint32_t written_seen;
    alignas(CACHE_LINE) struct ring_datagram *places; // set once, before `written` leaves 0
};

struct ring *ring_new(void)
{
    struct ring *ring = aligned_alloc(CACHE_LINE, sizeof *ring);
    if (ring != NULL)
        memset(ring, 0, sizeof *ring);
    return ring;
}

void ring_free(struct ring *ring)
{
    if (ring == NULL)
        return;
    free(ring->places);
    free(ring);
}

int ring_push(struct ring *ring, uint8_t listener, const struct address *peer, const void *data, size_t len)
{
    const uint32_t written = atomic_load_explicit(&ring->written, memory_order_relaxed);
    if (len > RING_DATAGRAM_MAX)
        return SAGATE_ETOOBIG;
    if (written - ring->read_seen >= RING_PLACES) {
        ring->read_seen = atomic_load_explicit(&ring->read, memory_order_acquire);
        if (written - ring->read_seen >= RING_PLACES)
            return SAGATE_ELIMIT;
    }
    if (ring->places == NULL) {
        ring->places = calloc(RING_PLACES, sizeof *ring->places);
        if (ring->places == NULL)
            return SAGATE_ENOMEM;
    }
    struct ring_datagram *place = &ring->places[written % RING_PLACES];
    place->listener = listener;
    place->len = (uint16_t)len;
    place->peer = *peer;
    if (len > 0)
        memcpy(place->data, data, len);
    atomic_store_explicit(&ring->written, written + 1, memory_order_release);
    return SAGATE_OK;
}

struct ring_datagram *ring_peek(struct ring *ring)
{
    const uint32_t read = atomic_load_explicit(&ring->read, memory_order_relaxed);
    if (read == ring->written_seen) {
        ring->written_seen = atomic_load_explicit(&ring->written, memory_order_acquire);
        if (read == ring->written_seen)
            return NULL;
    }
    return &ring->places[read % RING_PLACES];
}

void ring_pop(struct ring *ring)
{
    const uint32_t read = atomic_load_explicit(&ring->read, memory_order_relaxed);
    atomic_store_explicit(&ring->read, read + 1, memory_order_release);
}
