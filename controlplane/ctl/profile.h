// The answer to `profile` as a table for people.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_CTL_PROFILE_H
#define SAGATE_CONTROLPLANE_CTL_PROFILE_H

#include <jansson.h>

// Writes it to standard output; stages that nothing entered are left out. Takes no reference.
void profile_print(const json_t *answer);

#endif
