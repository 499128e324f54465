// A region to test the store with, and a check that all of a store agrees.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_UNIT_STORE_RIG_H
#define SAGATE_TESTS_UNIT_STORE_RIG_H

#include "dataplane/association/store.h"

enum { STORE_RIG_NOW = 5000, STORE_RIG_LISTENER = 0 };

struct store_rig {
    struct store_options options; // its descriptor is the rig's
    struct store *store;
    enum store_found found;
};

// A fresh region for `max` associations of worker 3 with Connection IDs of 8 bytes, opened, with one listener.
void store_rig_new(struct store_rig *rig, uint32_t max);
// Closes the store and opens it again: what a new process does.
void store_rig_reopen(struct store_rig *rig);
void store_rig_free(struct store_rig *rig);

// The address of peer `number`: every third IPv6, every ninth of them link-local.
struct address store_rig_peer(uint32_t number);
// "10-device<number>", and a packed principal of at least `len` bytes; in static memory, for four calls and for one.
struct slice store_rig_name(uint32_t number);
struct slice store_rig_principal(uint32_t number, size_t len);

// Takes and publishes an association of peer `number` with a Connection ID, which is noted in its keys, and the
// principal `principal` (0: none). 0 when that failed.
store_slot store_rig_add(struct store_rig *rig, uint8_t kind, uint32_t number, uint32_t principal);
// The Connection ID in the keys of a slot made so.
uint8_t *store_rig_cid(struct store_rig *rig, store_slot slot);

// Asserts that each association is found by all its keys, and that counts, principals and wheel agree with the slots.
void store_rig_check(struct store_rig *rig);

#endif
