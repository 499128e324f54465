// Slots of a region by what they are found by, and the list of free ones. Internal to the store.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_ASSOCIATION_SLOTS_H
#define SAGATE_DATAPLANE_ASSOCIATION_SLOTS_H

#include "dataplane/association/region.h"

// In the family of a slot: it is not found by its address, which another one has.
enum { SLOTS_YIELDED = 0x80 };

struct peer_key {
    uint16_t port; // network order
    uint8_t address[16];
    uint8_t family, listener;
};
_Static_assert(sizeof(struct peer_key) == 20, "hashed as bytes");

// As struct slot has it. False: no IPv4 or IPv6 address, or a link-local one in whose place for the scope is something.
bool slots_key(const struct address *peer, uint8_t listener, struct peer_key *key);
// The other way; false when the head holds no such address.
bool slots_peer(const struct slot *head, struct address *peer);
void slots_set_peer(struct slot *head, const struct peer_key *key);

uint64_t slots_hash_address(const struct store *store, uint32_t slot);
bool slots_match_address(const struct store *store, uint32_t slot, const void *key);
uint64_t slots_hash_cid(const struct store *store, uint32_t slot);
bool slots_match_cid(const struct store *store, uint32_t slot, const void *cid);

store_slot slots_by_key(const struct store *store, const struct peer_key *key);
store_slot slots_by_cid(const struct store *store, uint64_t cid);

// Puts a slot into the indexes by what is in its head and in store->cids. False: one of its keys is there already, and
// the slot is in no index.
bool slots_index(struct store *store, store_slot slot);
// Has the processor fetch what slots_index will need.
void slots_prefetch(const struct store *store, store_slot slot);
void slots_unindex(struct store *store, store_slot slot);

// A slot from the list of free ones, or one that was never used; 0: none.
store_slot slots_take(struct store *store, unsigned arena);
// Wipes all but the generation and puts the slot on the list of free ones.
void slots_free(struct store *store, store_slot slot);

#endif
