// The data process: takes its configuration and descriptors from the supervisor, and runs one thread per worker.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_WORKER_DATA_H
#define SAGATE_DATAPLANE_WORKER_DATA_H

// Runs until the supervisor's socket closes or SIGTERM comes; returns the exit status of the process. Privileges have
// been dropped by the caller. `lock_down` is called once, after all threads and rings exist and before the first
// packet; it installs the system call filter and returns 0 or a negative error, which ends the process.
int data_main(int supervisor_fd, int (*lock_down)(void));

#endif
