// When things happen by themselves: requests at a constant rate or after a pause, ends of associations, new addresses.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_PERF_PACE_H
#define SAGATE_PERF_PACE_H

#include "perf/load.h"

#include <stdbool.h>
#include <stdint.h>

// For every task that begins. `asks`: the task is FLEET_PACED; `lives`: associations end and addresses change.
void pace_begin(const struct load_options *options, bool asks, bool lives);
// Does what is due; microseconds until something else is, at most `most_us`.
uint64_t pace_run(uint64_t most_us);
// FLEET_PACED: requests that had to wait for a device since the last call.
uint64_t pace_waited(void);

#endif
