// The control process: event loop, configuration, and what it says to supervisor and workers (design: control plane).
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_CONTROL_CONTROL_H
#define SAGATE_CONTROLPLANE_CONTROL_CONTROL_H

// Runs the control process over the supervisor's socket (common/plane.h), which it takes over, until that closes or
// SIGTERM comes. The caller has already changed user and dropped privileges; files are written only below
// process.state_directory (registrations.db, credentials.conf).
//
// The supervisor sends CONFIG_BEGIN, CONFIG_TEXT, CONFIG_FILE (the credentials file), CHANNEL (one per worker), STATS,
// SOCKET ("control", "metrics"), CONFIG_COMMIT and gets CONFIG_RESULT. At a reload the same without what has not
// changed; on an error the former state stays. CONFIG_COMMIT with `check_only` gets the same answer and changes
// nothing. STATE, before the first commit, repeats what the process before was ordered; it is sent back when it
// changes. CHANNEL and STATS take effect at once, in and outside such a sequence.
// Exit status for the process: 0 after an orderly end, 1 when it could not begin.
int control_main(int supervisor_fd);

#endif
