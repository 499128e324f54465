// A configuration as it was when it was checked: the settings, copies of every file that they name, and the sockets. A
// child can be started with it at any time, whatever has become of the files.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_SUPERVISOR_GENERATION_H
#define SAGATE_CONTROLPLANE_SUPERVISOR_GENERATION_H

#include "controlplane/config/config.h"
#include "controlplane/supervisor/sockets.h"

#include <stddef.h>
#include <stdint.h>

struct file_copy {
    int fd;      // a sealed memfd; -1: none
    void *pages; // the mapping that keeps it out of swap space; MAP_FAILED: none
    size_t len;
};

struct generation {
    uint64_t number;
    struct config *config;
    struct file_copy credentials;
    struct file_copy certificates[CONFIG_CERTIFICATES_MAX][2]; // chain, key
    struct file_copy trust_anchors[CONFIG_TRUST_ANCHORS_MAX];
    struct file_copy tef_keys[CONFIG_TEFS_MAX]; // of those whose key is in a file
    struct sockets sockets;                     // none until sockets_open
    char note[256];                             // for the operator; "" for none
};

// Loads a configuration, checks everything that it names (credentials file, certificates and keys, trust anchors,
// keys towards MAFs and MEFs, users) and keeps copies of the files. `running`: gives the values of what only a new
// start changes; NULL at the start. SAGATE_OK with *generation owned by the caller, else a SAGATE_E* with lines in
// `error`.
int generation_load(const char *path, const struct config *running, struct generation **generation, char *error,
                    size_t error_cap);

// A descriptor of the copy with a position of its own, at the beginning; the caller's to close. -1 with errno.
int file_copy_open(const struct file_copy *copy);

// Closes what `kept` does not share (sockets_close). NULL is allowed.
void generation_free(struct generation *generation, const struct sockets *kept);

// Makes the state directory (owned by the control user, mode 0700) and the folder of the control socket where they are
// missing. SAGATE_OK or SAGATE_ESYS with a line in `error`.
int generation_directories(const struct config *config, char *error, size_t error_cap);

#endif
