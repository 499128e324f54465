// The supervisor: reads the configuration, owns sockets and descriptors, starts the control and the data process, and
// starts them again when they end.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_SUPERVISOR_SUPERVISOR_H
#define SAGATE_CONTROLPLANE_SUPERVISOR_SUPERVISOR_H

// Descriptor number on which a child finds its socket to the supervisor.
enum { SUPERVISOR_CHILD_FD = 3 };

// Runs in the foreground until SIGTERM or SIGINT; returns the exit status. `program`: argv[0].
int supervisor_run(const char *config_path, const char *program);

// "sagate -t": checks the configuration with all files that it names and prints what it would do. Exit status.
int supervisor_check(const char *config_path);

#endif
