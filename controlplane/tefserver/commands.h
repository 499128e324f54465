// The commands of sagate-tef that provision clients and keys. They print to standard output, errors to standard error.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_TEFSERVER_COMMANDS_H
#define SAGATE_CONTROLPLANE_TEFSERVER_COMMANDS_H

#include "controlplane/tefserver/settings.h"
#include "controlplane/tefserver/store.h"

// Runs "client add …" and the others; argv[0] is the first word. The exit status: 0, 1 (failed), 2 (usage).
int command_run(const struct settings *settings, struct tef_store *store, int argc, char **argv);

// The commands for the usage text.
extern const char command_usage[];

#endif
