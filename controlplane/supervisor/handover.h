// How a configuration gets to the control and the data process: as text and open descriptors, so that neither process
// needs to reach the files.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_SUPERVISOR_HANDOVER_H
#define SAGATE_CONTROLPLANE_SUPERVISOR_HANDOVER_H

#include "controlplane/supervisor/internal.h"

// Sends the CONFIG sequence to a child; `all`: with what a new process needs, else only what has changed; `check_only`:
// control shall only say whether it would take it. An answer is then expected from the child (`asked`, `answer_by_ms`).
// SAGATE_OK, or the error of plane_send: the child cannot be in a known state and must be ended.
int handover_config(struct supervisor *supervisor, struct child *child, struct generation *generation, bool all,
                    bool check_only);

// Notes that the data process has all sockets of `sockets`.
void handover_mark_sent(struct sockets *sockets);

#endif
