// The parts of the probe: each is a list of questions to the kernel, asked for every cipher and version.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_KERNEL_KTLS_PROBE_H
#define SAGATE_TESTS_KERNEL_KTLS_PROBE_H

#include "ktls_pair.h"

// Asked in a process of its own, over a pair that is open. Returns 0 for yes, or a negative errno.
typedef int probe_ask(struct pair *pair);

struct probe {
    const char *name;
    probe_ask *ask;
    uint16_t version; // for this version only; 0: for both
};

// Lists end with an entry without a name.
extern const struct probe probes_plain[];
extern const struct probe probes_rekey[];
extern const struct probe probes_uring[];
extern const struct probe probes_splice[];

#endif
