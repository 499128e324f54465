// The ring of recorded replies.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/binding/coap/recorded.h"

#include "common/hash.h"

#include <stdlib.h>

enum { ALIGN = 8, BYTES_PER_BUCKET = 128, BUCKETS_MIN = 16 };
#define NONE UINT32_MAX

struct entry {
    uint64_t association; // 0: filler up to the end of the ring
    uint64_t expires_ms;
    uint32_t size; // with this head, a multiple of ALIGN
    uint32_t next; // offset in units of ALIGN of the next older entry of the bucket, or NONE
    uint16_t mid;
    uint16_t len;
    uint32_t unused;
};

struct recorded {
    struct stats *stats;
    struct hash_key key;
    size_t bytes;      // a multiple of ALIGN
    size_t head, used; // where the next entry goes; bytes from the oldest entry to there
    uint32_t bucket_mask;
    uint32_t *buckets; // offset in units of ALIGN plus 1; 0: empty, so that untouched pages stay unmapped
    uint8_t *ring;
};

static struct entry *entry_at(const struct recorded *recorded, size_t offset)
{
    return (struct entry *)(void *)(recorded->ring + offset);
}

static uint32_t *bucket_of(const struct recorded *recorded, uint64_t association, uint16_t mid)
{
    struct {
        uint64_t association;
        uint64_t mid;
    } key = {.association = association, .mid = mid};
    return &recorded->buckets[hash_bytes(&recorded->key, &key, sizeof key) & recorded->bucket_mask];
}

struct recorded *recorded_new(size_t bytes, struct stats *stats)
{
    struct recorded *recorded = calloc(1, sizeof *recorded);
    if (recorded == NULL)
        return NULL;
    size_t buckets = BUCKETS_MIN;
    while (buckets < bytes / BYTES_PER_BUCKET)
        buckets *= 2;
    recorded->stats = stats;
    recorded->bytes = bytes / ALIGN * ALIGN;
    recorded->bucket_mask = (uint32_t)(buckets - 1);
    recorded->buckets = calloc(buckets, sizeof *recorded->buckets);
    recorded->ring = calloc(1, recorded->bytes == 0 ? 1 : recorded->bytes);
    hash_key_random(&recorded->key);
    if (recorded->buckets == NULL || recorded->ring == NULL) {
        recorded_free(recorded);
        return NULL;
    }
    return recorded;
}

void recorded_free(struct recorded *recorded)
{
    if (recorded == NULL)
        return;
    free(recorded->buckets);
    free(recorded->ring);
    free(recorded);
}

static size_t oldest(const struct recorded *recorded)
{
    return recorded->head >= recorded->used ? recorded->head - recorded->used
                                            : recorded->head + recorded->bytes - recorded->used;
}

static void drop_oldest(struct recorded *recorded, uint64_t now_ms)
{
    size_t offset = oldest(recorded);
    struct entry *entry = entry_at(recorded, offset);
    recorded->used -= entry->size;
    if (entry->association == 0)
        return;
    if (entry->expires_ms > now_ms && recorded->stats != NULL)
        stats_add(recorded->stats, STAT_COAP_EXCHANGES_EVICTED, 1);
    // The oldest entry is the last of its chain.
    uint32_t *link = bucket_of(recorded, entry->association, entry->mid);
    uint32_t unit = (uint32_t)(offset / ALIGN);
    if (*link == unit + 1) {
        *link = 0;
        return;
    }
    struct entry *at = entry_at(recorded, (size_t)(*link - 1) * ALIGN);
    while (at->next != unit)
        at = entry_at(recorded, (size_t)at->next * ALIGN);
    at->next = NONE;
}

// Makes `size` contiguous bytes at the head. The size to use may be somewhat larger: a rest of the ring too small for
// a filler belongs to the entry before it.
static size_t make_room(struct recorded *recorded, size_t size, uint64_t now_ms)
{
    size_t to_end = recorded->bytes - recorded->head;
    if (to_end < size) {
        while (recorded->bytes - recorded->used < to_end)
            drop_oldest(recorded, now_ms);
        *entry_at(recorded, recorded->head) = (struct entry){.size = (uint32_t)to_end};
        recorded->used += to_end;
        recorded->head = 0;
        to_end = recorded->bytes;
    }
    if (to_end - size < sizeof(struct entry))
        size = to_end;
    while (recorded->bytes - recorded->used < size)
        drop_oldest(recorded, now_ms);
    return size;
}

void recorded_add(struct recorded *recorded, uint64_t association, uint16_t mid, struct slice reply, uint64_t now_ms,
                  uint64_t expires_ms)
{
    size_t size = (sizeof(struct entry) + reply.len + ALIGN - 1) / ALIGN * ALIGN;
    if (reply.len > UINT16_MAX || size > recorded->bytes) {
        if (recorded->stats != NULL)
            stats_add(recorded->stats, STAT_COAP_EXCHANGES_EVICTED, 1);
        return;
    }
    size = make_room(recorded, size, now_ms);
    struct entry *entry = entry_at(recorded, recorded->head);
    uint32_t *link = bucket_of(recorded, association, mid);
    *entry = (struct entry){.association = association,
                            .expires_ms = expires_ms,
                            .size = (uint32_t)size,
                            .next = *link == 0 ? NONE : *link - 1,
                            .mid = mid,
                            .len = (uint16_t)reply.len};
    if (reply.len > 0)
        memcpy(entry + 1, reply.data, reply.len);
    *link = (uint32_t)(recorded->head / ALIGN) + 1;
    recorded->head = (recorded->head + size) % recorded->bytes;
    recorded->used += size;
}

bool recorded_find(const struct recorded *recorded, uint64_t association, uint16_t mid, uint64_t now_ms,
                   struct slice *reply)
{
    uint32_t unit = *bucket_of(recorded, association, mid) - 1;
    while (unit != NONE) {
        const struct entry *entry = entry_at(recorded, (size_t)unit * ALIGN);
        if (entry->association == association && entry->mid == mid) {
            *reply = slice_of(entry + 1, entry->len);
            return entry->expires_ms > now_ms;
        }
        unit = entry->next;
    }
    return false;
}

struct recorded *recorded_resize(struct recorded *recorded, size_t bytes, uint64_t now_ms)
{
    struct recorded *resized = recorded_new(bytes, recorded->stats);
    if (resized == NULL)
        return NULL;
    size_t offset = oldest(recorded);
    for (size_t done = 0; done < recorded->used;) {
        const struct entry *entry = entry_at(recorded, offset);
        if (entry->association != 0 && entry->expires_ms > now_ms)
            recorded_add(resized, entry->association, entry->mid, slice_of(entry + 1, entry->len), now_ms,
                         entry->expires_ms);
        done += entry->size;
        offset = (offset + entry->size) % recorded->bytes;
    }
    recorded_free(recorded);
    return resized;
}
