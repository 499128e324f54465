// How a configuration gets from its files to the control and the data process: checked as a whole, then handed over as
// text and open descriptors, so that neither process needs to reach the files.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_SUPERVISOR_HANDOVER_H
#define SAGATE_CONTROLPLANE_SUPERVISOR_HANDOVER_H

#include "controlplane/supervisor/internal.h"

#include <stddef.h>

// Loads a configuration and checks everything it names: the credentials file, certificates and keys, users.
// SAGATE_OK; SAGATE_ECONFIG with lines in `error`; SAGATE_ENOMEM.
int handover_load(const char *path, struct config **config, char *error, size_t error_cap);

// Makes the state directory (owned by the control user, mode 0700) and the folder of the control socket where they are
// missing. SAGATE_OK or SAGATE_ESYS with a line in `error`.
int handover_directories(const struct config *config, char *error, size_t error_cap);

// Sends the CONFIG sequence to a child; `all`: with what a new process needs, else only what has changed.
// SAGATE_OK, or the error of plane_send; the child's death is seen elsewhere.
int handover_config(struct supervisor *supervisor, struct child *child, const struct config *config,
                    const struct sockets *sockets, bool all);

// Notes that the data process has all sockets of `sockets`.
void handover_mark_sent(struct sockets *sockets);

#endif
