// Keys of slots, the list of free ones, and walks over all.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/association/slots.h"

#include "common/secret.h"

#include <stddef.h>
#include <string.h>

enum { SCOPE = 2, IDLE_SAMPLE = 64 }; // bytes 2 … 5 of a link-local address hold its scope

static const size_t sizes[REGION_ARENAS] = {STORE_SLOT_DTLS12, STORE_SLOT_DTLS13};

static bool link_local(const uint8_t *address)
{
    return address[0] == 0xfe && (address[1] & 0xc0) == 0x80; // fe80::/10
}

bool slots_key(const struct address *peer, uint8_t listener, struct peer_key *key)
{
    static const uint8_t zeros[4];
    *key = (struct peer_key){.listener = listener};
    if (peer->len == 0)
        return false;
    if (peer->any.sa_family == AF_INET) {
        key->family = 4;
        key->port = peer->v4.sin_port;
        memcpy(key->address, &peer->v4.sin_addr, 4);
        return true;
    }
    if (peer->any.sa_family != AF_INET6)
        return false;
    key->family = 6;
    key->port = peer->v6.sin6_port;
    memcpy(key->address, &peer->v6.sin6_addr, 16);
    if (link_local(key->address)) {
        if (memcmp(key->address + SCOPE, zeros, sizeof zeros) != 0)
            return false;
        memcpy(key->address + SCOPE, &peer->v6.sin6_scope_id, sizeof zeros);
    }
    return true;
}

bool slots_peer(const struct slot *head, struct address *peer)
{
    memset(peer, 0, sizeof *peer);
    const uint8_t family = head->family & (uint8_t)~SLOTS_YIELDED;
    if (family == 4) {
        peer->v4.sin_family = AF_INET;
        peer->v4.sin_port = head->port;
        memcpy(&peer->v4.sin_addr, head->address, 4);
        peer->len = sizeof peer->v4;
    } else if (family == 6) {
        peer->v6.sin6_family = AF_INET6;
        peer->v6.sin6_port = head->port;
        memcpy(&peer->v6.sin6_addr, head->address, 16);
        if (link_local(head->address)) {
            memcpy(&peer->v6.sin6_scope_id, head->address + SCOPE, 4);
            memset(peer->v6.sin6_addr.s6_addr + SCOPE, 0, 4);
        }
        peer->len = sizeof peer->v6;
    }
    return peer->len != 0;
}

void slots_set_peer(struct slot *head, const struct peer_key *key)
{
    head->listener = key->listener;
    head->family = key->family;
    head->port = key->port;
    memcpy(head->address, key->address, sizeof head->address);
}

static struct peer_key key_of(const struct slot *head)
{
    struct peer_key key = {.port = head->port, .family = head->family, .listener = head->listener};
    memcpy(key.address, head->address, sizeof key.address);
    return key;
}

static uint64_t hash_key(const struct store *store, const struct peer_key *key)
{
    return hash_bytes(&store->header->key, key, sizeof *key);
}

uint64_t slots_hash_address(const struct store *store, uint32_t slot)
{
    const struct slot *head = region_slot(store, slot);
    if (head == NULL)
        return 0;
    const struct peer_key key = key_of(head);
    return hash_key(store, &key);
}

bool slots_match_address(const struct store *store, uint32_t slot, const void *wanted)
{
    const struct slot *head = region_published(store, slot);
    if (head == NULL)
        return false;
    const struct peer_key key = key_of(head);
    return memcmp(&key, wanted, sizeof key) == 0;
}

static uint64_t hash_cid(const struct store *store, uint64_t cid)
{
    return hash_bytes(&store->header->key, &cid, sizeof cid);
}

uint64_t slots_hash_cid(const struct store *store, uint32_t slot)
{
    return region_slot(store, slot) == NULL ? 0 : hash_cid(store, store->cids[slot - 1]);
}

bool slots_match_cid(const struct store *store, uint32_t slot, const void *cid)
{
    return region_slot(store, slot) != NULL && memcmp(&store->cids[slot - 1], cid, sizeof(uint64_t)) == 0 &&
           region_published(store, slot) != NULL;
}

store_slot slots_by_key(const struct store *store, const struct peer_key *key)
{
    return index_find(store, &store->by_address, hash_key(store, key), key);
}

store_slot slots_by_cid(const struct store *store, uint64_t cid)
{
    return cid == 0 ? 0 : index_find(store, &store->by_cid, hash_cid(store, cid), &cid);
}

static bool found_by_address(const struct store *store, store_slot slot)
{
    return (region_slot(store, slot)->family & SLOTS_YIELDED) == 0;
}

static bool index_address(struct store *store, store_slot slot)
{
    const struct peer_key key = key_of(region_slot(store, slot));
    return !found_by_address(store, slot) ||
           (slots_by_key(store, &key) == 0 && index_insert(&store->by_address, hash_key(store, &key), slot));
}

bool slots_index(struct store *store, store_slot slot)
{
    const uint64_t cid = store->cids[slot - 1];
    if (slots_by_cid(store, cid) != 0 || (cid == 0 && !found_by_address(store, slot)) || !index_address(store, slot))
        return false;
    if (cid == 0 || index_insert(&store->by_cid, hash_cid(store, cid), slot))
        return true;
    if (found_by_address(store, slot))
        index_remove(store, &store->by_address, slot);
    return false;
}

void slots_prefetch(const struct store *store, store_slot slot)
{
    index_prefetch(&store->by_address, slots_hash_address(store, slot));
    index_prefetch(&store->by_cid, slots_hash_cid(store, slot));
}

void slots_unindex(struct store *store, store_slot slot)
{
    if (found_by_address(store, slot))
        index_remove(store, &store->by_address, slot);
    if (store->cids[slot - 1] != 0)
        index_remove(store, &store->by_cid, slot);
}

store_slot slots_take(struct store *store, unsigned arena)
{
    struct region_arena *places = &store->header->arenas[arena];
    store_slot slot = places->free;
    const struct slot *head = region_slot(store, slot);
    if (head != NULL && head->kind == 0 && region_arena_of(store, slot) == arena) {
        places->free = head->wheel_next;
        return slot;
    }
    places->free = 0; // the end, or damaged
    return places->used < store->max ? region_number(store, arena, places->used++) : 0;
}

void slots_free(struct store *store, store_slot slot)
{
    struct slot *head = region_slot(store, slot);
    const unsigned arena = region_arena_of(store, slot);
    secret_zero((uint8_t *)head + sizeof head->generation, sizes[arena] - sizeof head->generation);
    store->cids[slot - 1] = 0;
    head->wheel_next = store->header->arenas[arena].free;
    store->header->arenas[arena].free = slot;
}

// Places of both arenas, in their order, that were ever used.
static uint64_t places(const struct store *store)
{
    return (uint64_t)store->header->arenas[0].used + store->header->arenas[1].used;
}

static store_slot slot_at(const struct store *store, uint64_t place)
{
    const uint32_t first = store->header->arenas[0].used;
    return place < first ? region_number(store, 0, (uint32_t)place)
                         : region_number(store, 1, (uint32_t)(place - first));
}

store_slot store_idle_longest(struct store *store, uint32_t now_s, uint32_t idle_seconds)
{
    const uint64_t all = places(store);
    store_slot longest = 0;
    uint32_t longest_s = 0;
    for (unsigned i = 0; i < IDLE_SAMPLE && i < all; i++) {
        store_slot slot = slot_at(store, store->hand++ % all);
        const struct slot *head = region_published(store, slot);
        if (head == NULL || head->last_s > now_s)
            continue;
        uint32_t idle_s = now_s - head->last_s;
        if (idle_s >= idle_seconds && (longest == 0 || idle_s > longest_s)) {
            longest = slot;
            longest_s = idle_s;
        }
    }
    return longest;
}

store_slot store_walk(const struct store *store, uint64_t *cursor, size_t *budget)
{
    // The cursor is a slot's number - 1, so that it means the same place after more places came into use.
    while (*cursor < (uint64_t)REGION_ARENAS * store->max) {
        const store_slot slot = (store_slot)*cursor + 1;
        const unsigned arena = region_arena_of(store, slot);
        if (region_slot(store, slot) == NULL) {
            *cursor = (uint64_t)(arena + 1) * store->max; // behind the last place of the arena
            continue;
        }
        if (*budget == 0)
            return 0;
        --*budget;
        ++*cursor;
        if (region_published(store, slot) != NULL)
            return slot;
    }
    *cursor = 0;
    return 0;
}
