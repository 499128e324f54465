// The tables of all settings, and the objects that they are read into before names and addresses are resolved.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_CONFIG_TABLES_H
#define SAGATE_CONTROLPLANE_CONFIG_TABLES_H

#include "controlplane/config/config.h"
#include "controlplane/config/tree.h"

enum { CONFIG_UPSTREAMS_MAX = CONFIG_SERVERS_MAX }; // each has at least one server

// Each begins with what it becomes, so that one table fills both parts.
struct raw_listener {
    struct config_listener listener;
    char *host;
    unsigned port;
    char *upstream;
    unsigned unknown_name; // 1: refuse
    size_t name_count;     // of certificates
    char **names;
    size_t anchor_count; // of trust anchors
    char **anchors;
};

struct raw_server {
    struct config_server server;
    char *http, *coap;
};

struct raw_upstream {
    struct config_upstream upstream;
    char *authorization_file;
};

struct raw_tef {
    struct config_tef tef;
    char *host;
    unsigned port, binding;
    char *upstream, *certificate;
    size_t anchor_count; // of trust anchors
    char **anchors;
};

struct raw_control {
    char *socket, *mode, *group;
};

struct raw_metrics {
    char *host;
    unsigned port;
};

extern const struct tree_group table_root, table_process, table_limits, table_certificate, table_trust_anchor,
    table_server, table_upstream, table_listener, table_tef, table_profile, table_resolver, table_protection,
    table_control, table_metrics;
extern const struct tree_group *const table_all[]; // ended by NULL

// parse.c: reads the whole tree into an empty configuration.
void config_read_tree(struct tree *tree, struct config *config);

// check.c: what no setting alone can tell. Errors go to the tree.
void config_check_tree(struct tree *tree, const struct config *config);

// write.c: the text for the other processes; NULL when memory is short.
char *config_write_text(const struct config *config);

#endif
