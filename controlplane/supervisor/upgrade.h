// Upgrades: the data process of another program goes on with the associations of the one before.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_SUPERVISOR_UPGRADE_H
#define SAGATE_CONTROLPLANE_SUPERVISOR_UPGRADE_H

#include "controlplane/supervisor/internal.h"

#include <stdbool.h>
#include <sys/types.h>

// Begins one, or refuses it at once. Control gets one PLANE_UPGRADE_RESULT, now or later.
void upgrade_begin(struct supervisor *supervisor, const struct plane_upgrade *order);

// A process that is none of the two children has ended.
void upgrade_on_probe_end(struct supervisor *supervisor, pid_t pid, int status);

// The data process has answered to its configuration.
void upgrade_on_result(struct supervisor *supervisor, const struct plane_config_result *result);

// The data process has ended. True: it is part of an upgrade, and the next one is to be started at once.
bool upgrade_on_data_end(struct supervisor *supervisor);

// Ends steps that take too long.
void upgrade_overdue(struct supervisor *supervisor);

// Goes back to the supervisor's own program for the data process. False when it is that one already.
bool upgrade_undo(struct supervisor *supervisor);

// Ends a program that is being asked, and closes what is open.
void upgrade_release(struct supervisor *supervisor);

#endif
