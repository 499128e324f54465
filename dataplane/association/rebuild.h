// What is done with a region that an earlier process has left: is it sound, and if not, what can be had from its slots.
// Internal to the store.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_ASSOCIATION_REBUILD_H
#define SAGATE_DATAPLANE_ASSOCIATION_REBUILD_H

#include "dataplane/association/region.h"

// False: its last process ended in the middle of a change, or parts of the region do not agree.
bool rebuild_sound(const struct store *store);
// For a sound region: frees the slots that were not published, and drops those that were busy.
void rebuild_drop(struct store *store);
// For another one: the same, and makes everything but the slots and the bytes of the principals anew.
void rebuild_all(struct store *store);

#endif
