// Counts the allocations that the worker of a scene makes in its rounds: its own code and all libraries, but not the io
// driver in memory, which stands for the network and allocates as it likes.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_UNIT_ALLOCATIONS_H
#define SAGATE_TESTS_UNIT_ALLOCATIONS_H

#include <stdint.h>

// After scene_open: the rounds of the scene's worker are counted from now on.
void allocations_count(void);

// Calls of malloc, calloc, realloc and the like so far.
uint64_t allocations_counted(void);

#endif
