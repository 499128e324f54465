// What a program says of itself (sagate --probe): its version, and what it must have in common with the data process
// that it takes the place of.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_SUPERVISOR_BUILD_H
#define SAGATE_CONTROLPLANE_SUPERVISOR_BUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BUILD_TEXT_MAX = 256, BUILD_VERSION_MAX = 64 };

struct build {
    char version[BUILD_VERSION_MAX]; // printable, not empty
    uint32_t plane;                  // PLANE_VERSION
    uint32_t store;                  // STORE_LAYOUT
    uint32_t counters;               // STATS_LAYOUT
};

void build_own(struct build *build);

// "sagate VERSION", "plane N", "store N", "counters N", a line each.
void build_write(const struct build *build, char text[BUILD_TEXT_MAX]);

// Reads what build_write wrote; lines behind it are not looked at. SAGATE_OK or SAGATE_EMALFORMED.
int build_read(const char *text, struct build *build);

// Whether the data process of `next` can serve under a supervisor of `own`. When not, `reason` is a text for the
// operator.
bool build_fits(const struct build *own, const struct build *next, char *reason, size_t cap);

// Whether it can go on with the associations of `current`.
bool build_keeps(const struct build *current, const struct build *next, char *reason, size_t cap);

#endif
