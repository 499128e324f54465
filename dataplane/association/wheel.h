// The wheel that looks at slots when their time comes: a list for each of 1024 seconds over the heads of the slots.
// Internal to the store.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_ASSOCIATION_WHEEL_H
#define SAGATE_DATAPLANE_ASSOCIATION_WHEEL_H

#include "dataplane/association/region.h"

// Files a slot that is in no list, to be looked at in a second that the wheel has not run yet.
void wheel_file(struct store *store, store_slot slot, uint32_t at_s);
void wheel_unlink(struct store *store, store_slot slot);

// True when the heads of the lists are slots, or nothing.
bool wheel_valid(const struct store *store);
void wheel_clear(struct store *store);

#endif
