// Asking another program what it is, before a data process is started with it.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_SUPERVISOR_PROBE_H
#define SAGATE_CONTROLPLANE_SUPERVISOR_PROBE_H

#include "controlplane/supervisor/build.h"

#include <stddef.h>
#include <sys/types.h>

// Opens a program that a data process may be started with: a regular file that can be executed, of root or the user of
// the supervisor, which nobody else may write. What is opened is what is started later, whatever becomes of the path.
// A descriptor (close-on-exec), or a negative error with a text in `reason`.
int probe_open(const char *path, char *reason, size_t cap);

// Starts it with --probe as `user` (confine_user). A process id with the reading end of its output in *output, which
// must be closed; or SAGATE_ESYS (errno). The caller waits for the process, and ends it after a while.
pid_t probe_start(int program, const char *user, int *output);

// Reads what it has said, once it has ended. SAGATE_OK or SAGATE_EMALFORMED.
int probe_answer(int output, struct build *build);

#endif
