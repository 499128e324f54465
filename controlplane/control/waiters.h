// Which workers wait for the key of an identity that is being fetched. One thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_CONTROL_WAITERS_H
#define SAGATE_CONTROLPLANE_CONTROL_WAITERS_H

#include "common/slice.h"

#include <stddef.h>
#include <stdint.h>

struct waiters;

struct waiters *waiters_new(void); // NULL when memory is short
void waiters_free(struct waiters *waiters);

// Worker 0 … 63 waits for `identity`. SAGATE_OK, or SAGATE_ENOMEM. There are as many identities as remote_resolve
// (controlplane/resolver/remote.h) lets wait.
int waiters_add(struct waiters *waiters, struct slice identity, unsigned worker);

// Takes out who waits, one bit for each worker; 0: nobody.
uint64_t waiters_take(struct waiters *waiters, struct slice identity);

size_t waiters_count(const struct waiters *waiters); // identities

#endif
