// Packed principals in a region, one for each Credential-ID, and the circle of slots that refer to each. Internal to
// the store.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_ASSOCIATION_PRINCIPALS_H
#define SAGATE_DATAPLANE_ASSOCIATION_PRINCIPALS_H

#include "dataplane/association/region.h"

uint64_t principals_hash(const struct store *store, uint32_t principal);
bool principals_match(const struct store *store, uint32_t principal, const void *credential_id); // struct slice

// True when the bytes are short enough and the Credential-ID occurs in them, or when they are empty.
bool principals_acceptable(struct slice credential_id, struct slice packed);

// Makes a slot refer to the principal of that Credential-ID. SAGATE_OK; SAGATE_ELIMIT: no room, nothing has changed.
int principals_attach(struct store *store, store_slot slot, struct slice credential_id, struct slice packed);
void principals_detach(struct store *store, store_slot slot);

// True when that number is of a principal whose bytes are all there.
bool principals_valid(const struct store *store, uint32_t principal);

// Making all of it anew: begin; join for each slot with a principal (false: it has none that is valid); end.
void principals_rebuild_begin(struct store *store);
bool principals_join(struct store *store, store_slot slot);
void principals_rebuild_end(struct store *store);

#endif
