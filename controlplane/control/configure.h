// What the supervisor sends: configurations, descriptors, news of processes. Private to this folder.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_CONTROL_CONFIGURE_H
#define SAGATE_CONTROLPLANE_CONTROL_CONFIGURE_H

#include "controlplane/control/state.h"

// Event callback for the supervisor's socket; ends the loop when that closes. `context` is the struct control.
void configure_on_supervisor(evutil_socket_t fd, short what, void *context);

// Drops a configuration that was begun.
void configure_discard(struct control *control);

// A file that came with the configuration that is being checked or applied: a descriptor at its beginning, the caller's
// to close, which shares its position with others of the same file; -1 with errno, ENOENT when no such file came.
int configure_open_file(struct control *control, const char *path);

#endif
