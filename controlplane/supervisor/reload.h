// Reloads: from the files to both children, or to neither.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_SUPERVISOR_RELOAD_H
#define SAGATE_CONTROLPLANE_SUPERVISOR_RELOAD_H

#include "controlplane/supervisor/internal.h"

// Begins a reload. `ticket`: of a client, which is refused at once while none can begin; 0: SIGHUP, which is then
// remembered in `reload_again`.
void reload_begin(struct supervisor *supervisor, uint64_t ticket);

// Begins a reload that was remembered as soon as one can begin.
void reload_remembered(struct supervisor *supervisor);

// A child's answer to a configuration, at the start and later.
void reload_on_result(struct supervisor *supervisor, struct child *child, const struct plane_config_result *result);

// Ends children that have not answered in time.
void reload_overdue(struct supervisor *supervisor);

// A child has ended; it is started again elsewhere.
void reload_on_end(struct supervisor *supervisor, const struct child *child);

#endif
