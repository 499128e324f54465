// Memory that outlives the processes that use it: the workers' counters and their associations.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_SUPERVISOR_MEMORY_H
#define SAGATE_CONTROLPLANE_SUPERVISOR_MEMORY_H

#include "common/stats.h"
#include "controlplane/config/config.h"

#include <stddef.h>
#include <stdint.h>

struct memory {
    unsigned workers;
    int stats_fd;
    const uint8_t *stats;           // mapped for reading
    int stores[CONFIG_WORKERS_MAX]; // memfd of each worker's associations, of fixed size
    size_t store_len;
};

void memory_init(struct memory *memory);

// `associations`: of one worker at most. SAGATE_OK or SAGATE_ESYS (errno); memory_release is needed in either case.
int memory_make(struct memory *memory, unsigned workers, unsigned associations);

// Forgets all associations. The data process must not run.
void memory_clear_stores(struct memory *memory);

// A counter, summed over all workers.
uint64_t memory_sum(const struct memory *memory, enum stat_id stat);

void memory_release(struct memory *memory);

#endif
