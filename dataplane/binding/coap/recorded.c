// The rings of recorded replies.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/binding/coap/recorded.h"

#include "common/hash.h"

#include <stdlib.h>

// A ring smaller than RING_MIN would not hold a few dozen of the largest replies.
enum { ALIGN = 8, BYTES_PER_BUCKET = 128, BUCKETS_MIN = 16, RINGS_MAX = 16, RING_MIN = 65536, PLACE_BITS = 48 };
#define PLACE_MASK ((1ULL << PLACE_BITS) - 1)

// An entry's place is how much was written to its ring before it, so that one that is gone can be told from those that
// are there; in units of ALIGN, enough for petabytes. The first is at the size of the ring, so that 0 is none.

struct entry {
    uint64_t association; // 0: filler up to the end of the ring
    uint64_t expires_ms;
    uint32_t size; // with this head, a multiple of ALIGN
    uint32_t back; // from its place to that of the next older entry of the bucket, which may be gone; 0: none
    uint16_t mid;
    uint16_t len;
    uint32_t owner;
};

struct ring {
    struct stats *stats;
    struct hash_key key;
    size_t bytes;      // a multiple of ALIGN
    size_t head, used; // where the next entry goes; bytes from the oldest entry to there
    uint64_t written;  // place of the next entry
    uint32_t bucket_mask;
    // Place of the newest entry of each, which may be gone, and above PLACE_BITS a mark for each that may be there:
    // most look-ups are for what is not, and need not touch an entry.
    uint64_t *buckets;
    uint8_t *data;
};

struct recorded {
    size_t count;
    struct ring rings[RINGS_MAX];
};

static struct entry *entry_at(const struct ring *ring, size_t offset)
{
    return (struct entry *)(void *)(ring->data + offset);
}

// The entry of that place; NULL when it is gone.
static struct entry *entry_of(const struct ring *ring, uint64_t place)
{
    uint64_t behind = (ring->written - place) * ALIGN;
    if (behind == 0 || behind > ring->used)
        return NULL;
    return entry_at(ring, ring->head >= behind ? ring->head - behind : ring->head + ring->bytes - behind);
}

static uint64_t *bucket_of(const struct ring *ring, uint64_t association, uint16_t mid, uint64_t *mark)
{
    struct {
        uint64_t association;
        uint64_t mid;
    } key = {.association = association, .mid = mid};
    uint64_t hash = hash_bytes(&ring->key, &key, sizeof key);
    *mark = 1ULL << (PLACE_BITS + (hash >> 60));
    return &ring->buckets[hash & ring->bucket_mask];
}

static bool ring_init(struct ring *ring, size_t bytes, struct stats *stats)
{
    size_t buckets = BUCKETS_MIN;
    while (buckets < bytes / BYTES_PER_BUCKET)
        buckets *= 2;
    ring->stats = stats;
    ring->bytes = bytes / ALIGN * ALIGN;
    ring->written = ring->bytes / ALIGN;
    ring->bucket_mask = (uint32_t)(buckets - 1);
    ring->buckets = calloc(buckets, sizeof *ring->buckets);
    ring->data = calloc(1, ring->bytes == 0 ? 1 : ring->bytes);
    hash_key_random(&ring->key);
    return ring->buckets != NULL && ring->data != NULL;
}

struct recorded *recorded_new(size_t bytes, struct stats *stats)
{
    struct recorded *recorded = calloc(1, sizeof *recorded);
    if (recorded == NULL)
        return NULL;
    recorded->count = bytes / RING_MIN;
    if (recorded->count == 0)
        recorded->count = 1;
    if (recorded->count > RINGS_MAX)
        recorded->count = RINGS_MAX;
    bool made = true;
    for (size_t i = 0; i < recorded->count && made; i++)
        made = ring_init(&recorded->rings[i], bytes / recorded->count, stats);
    if (!made) {
        recorded_free(recorded);
        return NULL;
    }
    return recorded;
}

void recorded_free(struct recorded *recorded)
{
    if (recorded == NULL)
        return;
    for (size_t i = 0; i < recorded->count; i++) {
        free(recorded->rings[i].buckets);
        free(recorded->rings[i].data);
    }
    free(recorded);
}

static size_t oldest(const struct ring *ring)
{
    return ring->head >= ring->used ? ring->head - ring->used : ring->head + ring->bytes - ring->used;
}

static void drop_oldest(struct ring *ring, uint64_t now_ms)
{
    const struct entry *entry = entry_at(ring, oldest(ring));
    ring->used -= entry->size;
    if (entry->association != 0 && entry->expires_ms > now_ms && ring->stats != NULL)
        stats_add(ring->stats, STAT_COAP_EXCHANGES_EVICTED, 1);
}

// Makes `size` contiguous bytes at the head. The size to use may be somewhat larger: a rest of the ring too small for
// a filler belongs to the entry before it.
static size_t make_room(struct ring *ring, size_t size, uint64_t now_ms)
{
    size_t to_end = ring->bytes - ring->head;
    if (to_end < size) {
        while (ring->bytes - ring->used < to_end)
            drop_oldest(ring, now_ms);
        *entry_at(ring, ring->head) = (struct entry){.size = (uint32_t)to_end};
        ring->used += to_end;
        ring->written += to_end / ALIGN;
        ring->head = 0;
        to_end = ring->bytes;
    }
    if (to_end - size < sizeof(struct entry))
        size = to_end;
    while (ring->bytes - ring->used < size)
        drop_oldest(ring, now_ms);
    return size;
}

static void add(struct ring *ring, uint32_t owner, uint64_t association, uint16_t mid, struct slice reply,
                uint64_t now_ms, uint64_t expires_ms)
{
    size_t size = (sizeof(struct entry) + reply.len + ALIGN - 1) / ALIGN * ALIGN;
    if (reply.len > UINT16_MAX || size > ring->bytes) {
        if (ring->stats != NULL)
            stats_add(ring->stats, STAT_COAP_EXCHANGES_EVICTED, 1);
        return;
    }
    size = make_room(ring, size, now_ms);
    struct entry *entry = entry_at(ring, ring->head);
    uint64_t mark;
    uint64_t *bucket = bucket_of(ring, association, mid, &mark);
    uint64_t newest = *bucket & PLACE_MASK;
    bool alone = entry_of(ring, newest) == NULL;
    *entry = (struct entry){.association = association,
                            .expires_ms = expires_ms,
                            .size = (uint32_t)size,
                            .back = alone ? 0 : (uint32_t)(ring->written - newest),
                            .mid = mid,
                            .len = (uint16_t)reply.len,
                            .owner = owner};
    if (reply.len > 0)
        memcpy(entry + 1, reply.data, reply.len);
    *bucket = ring->written | mark | (alone ? 0 : *bucket & ~PLACE_MASK);
    ring->head = (ring->head + size) % ring->bytes;
    ring->used += size;
    ring->written += size / ALIGN;
}

void recorded_add(struct recorded *recorded, uint64_t owner, uint64_t association, uint16_t mid, struct slice reply,
                  uint64_t now_ms, uint64_t expires_ms)
{
    uint32_t half = (uint32_t)owner;
    add(&recorded->rings[half % recorded->count], half, association, mid, reply, now_ms, expires_ms);
}

bool recorded_find(const struct recorded *recorded, uint64_t owner, uint64_t association, uint16_t mid, uint64_t now_ms,
                   struct slice *reply)
{
    const struct ring *ring = &recorded->rings[(uint32_t)owner % recorded->count];
    uint64_t mark;
    uint64_t bucket = *bucket_of(ring, association, mid, &mark);
    uint64_t place = bucket & PLACE_MASK;
    const struct entry *entry = (bucket & mark) == 0 ? NULL : entry_of(ring, place);
    while (entry != NULL && (entry->association != association || entry->mid != mid)) {
        place -= entry->back;
        entry = entry->back == 0 ? NULL : entry_of(ring, place);
    }
    if (entry == NULL)
        return false;
    *reply = slice_of(entry + 1, entry->len);
    return entry->expires_ms > now_ms;
}

static void copy(const struct ring *ring, struct recorded *to, uint64_t now_ms)
{
    size_t offset = oldest(ring);
    for (size_t done = 0; done < ring->used;) {
        const struct entry *entry = entry_at(ring, offset);
        if (entry->association != 0 && entry->expires_ms > now_ms)
            recorded_add(to, entry->owner, entry->association, entry->mid, slice_of(entry + 1, entry->len), now_ms,
                         entry->expires_ms);
        done += entry->size;
        offset = (offset + entry->size) % ring->bytes;
    }
}

struct recorded *recorded_resize(struct recorded *recorded, size_t bytes, uint64_t now_ms)
{
    struct recorded *resized = recorded_new(bytes, recorded->rings[0].stats);
    if (resized == NULL)
        return NULL;
    for (size_t i = 0; i < recorded->count; i++)
        copy(&recorded->rings[i], resized, now_ms);
    recorded_free(recorded);
    return resized;
}
