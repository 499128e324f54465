// What the files of the TEFs in force share. Private to them.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_CONTROL_TEFS_INTERNAL_H
#define SAGATE_CONTROLPLANE_CONTROL_TEFS_INTERNAL_H

#include "controlplane/config/config.h"
#include "controlplane/resolver/remote.h"
#include "controlplane/tef/client.h"

#include <stddef.h>
#include <stdint.h>

enum { TEF_DIGEST = 32 };

struct one_tef {
    enum tef_kind kind;
    char *name, *fqdn, *client_id;
    struct tef_profile profile; // every string its own
    struct tef_client *client;
    uint8_t digest[TEF_DIGEST]; // of the settings and keys
};

struct control;
struct tefs {
    struct remote *remote;
    struct remote_events events;
    struct one_tef *list[CONFIG_TEFS_MAX];
    size_t count;
    size_t leaving; // clients that still de-register, and one
    void (*left)(struct control *control);
};

#endif
