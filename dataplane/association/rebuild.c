// Checks a region, and makes what is made of its slots anew. Both take one look at each slot.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/association/rebuild.h"

#include "dataplane/association/blocks.h"
#include "dataplane/association/principals.h"
#include "dataplane/association/slots.h"
#include "dataplane/association/wheel.h"

#include <stdlib.h>

enum { AHEAD = 12 }; // slots whose places in the indexes are on their way from memory

static bool listener_valid(const struct address *address)
{
    return (address->len == sizeof address->v4 && address->any.sa_family == AF_INET) ||
           (address->len == sizeof address->v6 && address->any.sa_family == AF_INET6);
}

static bool header_sound(const struct store *store)
{
    const struct region_header *header = store->header;
    for (unsigned i = 0; i < REGION_ARENAS; i++) {
        if (header->arenas[i].used > store->max)
            return false;
    }
    for (unsigned i = 0; i < REGION_LISTENERS; i++) {
        if (header->listeners[i].address.len != 0 && !listener_valid(&header->listeners[i].address))
            return false;
    }
    return header->principals_used <= store->max && header->chunks_used <= store->chunks && header->move.slot == 0 &&
           wheel_valid(store);
}

// Whether all of a published slot makes sense.
static bool published_sound(const struct store *store, const struct slot *head, unsigned arena)
{
    struct address peer;
    return head->kind == RECORD_DTLS12 + arena && slots_peer(head, &peer) &&
           store_listener_address(store, head->listener) != NULL &&
           (head->principal == 0 || principals_valid(store, head->principal));
}

struct tally {
    uint32_t taken, published;
    uint32_t *references; // of each principal
};

static bool slot_sound(const struct store *store, const struct slot *head, unsigned arena, struct tally *tally)
{
    tally->taken += head->kind != 0;
    tally->published += head->published;
    if (head->published == 0)
        return head->kind == 0 || head->kind == RECORD_DTLS12 + arena;
    if (head->published != 1 || !published_sound(store, head, arena))
        return false;
    if (head->principal != 0)
        tally->references[head->principal - 1]++;
    return true;
}

bool rebuild_sound(const struct store *store)
{
    const struct region_header *header = store->header;
    if (header->changing % 2 != 0 || !header_sound(store))
        return false;
    struct tally tally = {.references = calloc(header->principals_used + 1, sizeof(uint32_t))};
    bool sound = tally.references != NULL; // without memory for the check the other way serves too
    for (unsigned arena = 0; arena < REGION_ARENAS; arena++) {
        for (uint32_t place = 0; sound && place < header->arenas[arena].used; place++)
            sound = slot_sound(store, region_slot(store, region_number(store, arena, place)), arena, &tally);
    }
    for (uint32_t i = 0; sound && i < header->principals_used; i++)
        sound = store->principals[i].block == 0 || store->principals[i].references == tally.references[i];
    free(tally.references);
    return sound && tally.taken == header->taken && tally.published == header->published;
}

void rebuild_drop(struct store *store)
{
    for (unsigned arena = 0; arena < REGION_ARENAS; arena++) {
        for (uint32_t place = 0; place < store->header->arenas[arena].used; place++) {
            const store_slot slot = region_number(store, arena, place);
            const struct slot *head = region_slot(store, slot);
            if (head->kind == 0 || (head->published == 1 && head->busy == 0))
                continue;
            store->lost += head->busy != 0;
            store_release(store, slot);
        }
    }
}

// The address of a slot that was being moved is the old one again.
static void undo_move(struct store *store)
{
    struct region_move *move = &store->header->move;
    struct slot *head = region_published(store, move->slot);
    if (head != NULL) {
        struct peer_key key = {.port = move->port, .family = move->family, .listener = head->listener};
        for (size_t i = 0; i < sizeof key.address; i++)
            key.address[i] = move->address[i];
        slots_set_peer(head, &key);
    }
    atomic_signal_fence(memory_order_seq_cst);
    move->slot = 0;
}

static bool keep(struct store *store, store_slot slot, unsigned arena)
{
    const struct slot *head = region_slot(store, slot);
    if (head->kind == 0 || head->published != 1 || head->busy != 0 || !published_sound(store, head, arena) ||
        store->header->published >= store->max || !slots_index(store, slot))
        return false;
    if (head->principal == 0 || principals_join(store, slot))
        return true;
    slots_unindex(store, slot);
    return false;
}

static void rebuild_slot(struct store *store, store_slot slot, unsigned arena)
{
    const struct slot *head = region_slot(store, slot);
    if (keep(store, slot, arena)) {
        wheel_file(store, slot, head->look_s);
        store->header->taken++;
        store->header->published++;
        return;
    }
    store->lost += head->kind != 0 && (head->published != 0 || head->busy != 0);
    slots_free(store, slot);
}

static void clear_header(struct store *store)
{
    struct region_header *header = store->header;
    for (unsigned i = 0; i < REGION_ARENAS; i++) {
        if (header->arenas[i].used > store->max)
            header->arenas[i].used = store->max;
        header->arenas[i].free = 0;
    }
    for (unsigned i = 0; i < REGION_LISTENERS; i++) {
        if (!listener_valid(&header->listeners[i].address))
            header->listeners[i].address.len = 0;
    }
    header->taken = header->published = 0;
    wheel_clear(store);
}

void rebuild_all(struct store *store)
{
    struct region_header *header = store->header;
    region_begin(store);
    clear_header(store);
    undo_move(store);
    uint8_t *indexes = (uint8_t *)store->by_address.entries;
    region_clear(store, indexes, (size_t)((uint8_t *)store->cids - indexes));
    principals_rebuild_begin(store);
    // Backwards, so that low places are given away first.
    for (unsigned arena = 0; arena < REGION_ARENAS; arena++) {
        for (uint32_t place = header->arenas[arena].used; place > 0; place--) {
            if (place > AHEAD)
                slots_prefetch(store, region_number(store, arena, place - 1 - AHEAD));
            rebuild_slot(store, region_number(store, arena, place - 1), arena);
        }
    }
    principals_rebuild_end(store);
    region_end(store);
}
