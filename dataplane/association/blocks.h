// Memory for principals inside a region: blocks of 64 bytes << order, halved and joined again (a buddy system).
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_ASSOCIATION_BLOCKS_H
#define SAGATE_DATAPLANE_ASSOCIATION_BLOCKS_H

#include "dataplane/association/region.h"

// The order of the smallest block with room for `bytes` (at most 64 KiB).
unsigned blocks_order(size_t bytes);

// A block as unit + 1; 0 when there is no room.
uint32_t blocks_take(struct store *store, unsigned order);
void blocks_release(struct store *store, uint32_t block, unsigned order);
void *blocks_memory(const struct store *store, uint32_t block);
// True when a block of that order may begin there.
bool blocks_valid(const struct store *store, uint32_t block, unsigned order);

// Making the lists of free blocks anew: begin, claim each block that is in use (false: it overlaps another one),
// disclaim those that are not after all, end.
void blocks_rebuild_begin(struct store *store);
bool blocks_claim(struct store *store, uint32_t block, unsigned order);
void blocks_disclaim(struct store *store, uint32_t block, unsigned order);
void blocks_rebuild_end(struct store *store);

#endif
