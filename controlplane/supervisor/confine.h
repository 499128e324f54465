// Gives up what a process does not need: user, privileges, core files, system calls.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_SUPERVISOR_CONFINE_H
#define SAGATE_CONTROLPLANE_SUPERVISOR_CONFINE_H

// Becomes `user` for good (groups, real, effective and saved ids; no new privileges; not dumpable), when the process
// runs as root and `user` is not "". Raises the limits for descriptors and locked memory first. One thread must run.
// SAGATE_OK; SAGATE_ENOTFOUND: no such user; SAGATE_EPERM with errno set.
int confine_user(const char *user);

// Limits all threads of the data process to the system calls that workers need; whatever else is tried fails with
// EPERM, and starting a program or tracing a process kills it. SAGATE_OK or SAGATE_ESYS. Does nothing in a build with a
// sanitizer, whose run-time needs more.
int confine_data(void);

#endif
