// The sockets that the supervisor owns: listeners of devices (one per worker), the control socket, the metrics
// listener.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_SUPERVISOR_SOCKETS_H
#define SAGATE_CONTROLPLANE_SUPERVISOR_SOCKETS_H

#include "controlplane/config/config.h"

#include <stdbool.h>
#include <stddef.h>

// One listener's sockets, one per worker in an SO_REUSEPORT group. They outlive the data process.
struct socket_group {
    char *name; // of the listener in the newest configuration
    enum config_transport transport;
    struct address address;
    bool sent; // the running data process has them
    int fds[CONFIG_WORKERS_MAX];
};

struct sockets {
    unsigned workers;
    size_t group_count;
    struct socket_group groups[CONFIG_LISTENERS_MAX];
    int control, metrics; // -1: none
    char *control_path;
    struct address metrics_address;
};

void sockets_init(struct sockets *sockets, unsigned workers);

// Makes `next` hold what `config` asks for: sockets of `current` where listener and address are the same, new ones
// else. SAGATE_OK; else nothing stays open that was not before, and `error` says which listener and why.
int sockets_open(const struct config *config, const struct sockets *current, struct sockets *next, char *error,
                 size_t error_cap);

// Closes the sockets of `old` that `kept` does not share. `kept` may be NULL: all. The path of a control socket that is
// not kept is removed.
void sockets_close(struct sockets *old, const struct sockets *kept);

#endif
