// What the files of the store share: how a region is laid out, and the process's handle of it. Whatever is read from a
// region may be damaged, so every number is checked before it becomes an address, and every loop over links is bounded.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_ASSOCIATION_REGION_H
#define SAGATE_DATAPLANE_ASSOCIATION_REGION_H

#include "common/hash.h"
#include "dataplane/association/index.h"
#include "dataplane/association/store.h"

#include <stdatomic.h>

enum {
    REGION_ARENAS = 2, // slots of 256 bytes, slots of 384
    REGION_LISTENERS = 255,
    REGION_SECRETS = 4,
    REGION_BUCKETS = 1024,                   // of the wheel, one second each
    REGION_UNIT = 64,                        // smallest block for a principal
    REGION_ORDERS = 11,                      // blocks of 64 bytes << 0 … 10
    REGION_CHUNK = 1 << (REGION_ORDERS - 1), // units of the largest block
    REGION_RANDOM = 512,
};

struct region_arena {
    uint32_t used; // places ever taken: what is behind them was never touched
    uint32_t free; // the slot that was freed last, the first of a list over wheel_next
};

struct region_move { // where a slot was before the move that is under way
    store_slot slot; // 0: none
    uint16_t port;
    uint8_t family;
    uint8_t address[16];
};

struct region_principal {
    uint32_t block;      // unit + 1; 0: not in use. Written at once, so that there is always the old or the new one
    uint32_t references; // slots
    uint32_t first;      // of the circle of slots over same_next; not in use: the next that is free
};

struct region_header {
    uint64_t magic; // written last
    uint32_t layout, slot_bytes, dtls12_bytes, dtls13_bytes, header_bytes;
    uint32_t max, worker, connection_id_bytes;
    uint32_t changing; // odd: somebody is in the middle of a change
    uint32_t taken, published;
    uint32_t reserved;
    struct hash_key key;
    uint8_t secrets[REGION_SECRETS][STORE_SECRET];
    struct region_arena arenas[REGION_ARENAS];
    struct region_move move;
    uint32_t wheel_s;       // the wheel has run up to this second
    uint32_t wheel_pending; // slots of a bucket that is being run
    uint32_t wheel[REGION_BUCKETS];
    uint32_t principals_used, principals_free;
    uint32_t chunks_used; // largest blocks ever taken
    uint32_t blocks_free[REGION_ORDERS];
    struct store_listener listeners[REGION_LISTENERS];
};

struct store {
    uint8_t *base;
    size_t bytes;
    int fd; // the caller's; used by store_open only
    uint32_t max, cid_bytes;
    bool locked;
    uint32_t lost;
    uint64_t hand; // of store_idle_longest
    struct region_header *header;
    struct index by_address, by_cid, by_name; // of slots, slots, principals
    uint64_t *cids;                           // of each slot, filled up with zeros; 0: none
    struct region_principal *principals;      // number 1 is the first
    uint8_t *unit_state;                      // of each unit: BLOCK_FREE and order for the first of a free block
    uint8_t *units;
    uint32_t chunks; // of units
    uint8_t *slots[REGION_ARENAS];
    size_t random_used;
    uint8_t random[REGION_RANDOM]; // for Connection IDs
};

// Maps a region and finds its parts. SAGATE_OK; SAGATE_EINVAL, SAGATE_ESYS as store_open.
int region_map(struct store *store, const struct store_options *options);
void region_unmap(struct store *store);

// True when the region is one of this layout with these options.
bool region_fits(const struct store *store, const struct store_options *options);
// Clears it and begins anew.
void region_make(struct store *store, const struct store_options *options);
// Makes everything between two addresses of the region zero and untouched where the system can do that.
void region_clear(const struct store *store, void *from, size_t bytes);

// A change that must be seen whole or not at all lies between these. They do not nest.
static inline void region_begin(struct store *store)
{
    *(volatile uint32_t *)&store->header->changing |= 1;
    atomic_signal_fence(memory_order_seq_cst);
}

static inline void region_end(struct store *store)
{
    atomic_signal_fence(memory_order_seq_cst);
    *(volatile uint32_t *)&store->header->changing += 1;
}

static inline uint32_t region_number(const struct store *store, unsigned arena, uint32_t place)
{
    return arena * store->max + place + 1;
}

static inline unsigned region_arena_of(const struct store *store, store_slot slot)
{
    return slot > store->max;
}

// The slot of that number, in use or not; NULL when there never was one.
static inline struct slot *region_slot(const struct store *store, store_slot slot)
{
    static const size_t sizes[REGION_ARENAS] = {STORE_SLOT_DTLS12, STORE_SLOT_DTLS13};
    if (slot == 0 || slot > REGION_ARENAS * store->max)
        return NULL;
    unsigned arena = region_arena_of(store, slot);
    uint32_t place = slot - 1 - arena * store->max;
    if (place >= store->header->arenas[arena].used)
        return NULL;
    return (struct slot *)(void *)(store->slots[arena] + place * sizes[arena]);
}

static inline struct slot *region_published(const struct store *store, store_slot slot)
{
    struct slot *head = region_slot(store, slot);
    return head != NULL && head->kind != 0 && head->published == 1 ? head : NULL;
}

#endif
