// What the files of the supervisor share. Not for others.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_SUPERVISOR_INTERNAL_H
#define SAGATE_CONTROLPLANE_SUPERVISOR_INTERNAL_H

#include "common/plane.h"
#include "controlplane/supervisor/sockets.h"

#include <stdbool.h>
#include <sys/types.h>

enum child_number { CHILD_CONTROL, CHILD_DATA, CHILD_COUNT };

struct child {
    const char *role;
    char *user;
    pid_t pid; // 0: not running
    int fd;    // socket to it; -1: not running
    bool ready;
    uint32_t restarts;
    uint64_t started_ms, start_at_ms;
};

struct reload {
    bool active;
    uint64_t ticket; // of the control socket's client; 0: SIGHUP
    uint64_t deadline_ms;
    struct config *config;
    struct sockets sockets;
    char note[256];
};

struct supervisor {
    const char *config_path;
    struct config *config;
    struct sockets sockets;
    int channels[CONFIG_WORKERS_MAX][2]; // [0]: control's end, [1]: the worker's
    int stats_fd, signal_fd;
    uint64_t generation;
    struct child children[CHILD_COUNT];
    struct reload reload;
    bool reload_again, stopping, failed, once_ready;
    uint64_t stop_at_ms;
};

#endif
