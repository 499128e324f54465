// The configuration of sagate-tef: a libconfig file, checked whole.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_TEFSERVER_SETTINGS_H
#define SAGATE_CONTROLPLANE_TEFSERVER_SETTINGS_H

#include "common/address.h"
#include "controlplane/config/config.h"
#include "controlplane/tef/profile.h"

enum { SETTINGS_FUNCTIONS_MAX = 8, SETTINGS_MEFS_MAX = 8 };

enum settings_recipe { SETTINGS_RECIPE_NAMED, SETTINGS_RECIPE_USAGE };

struct settings_function {
    enum tef_kind kind;
    char *fqdn;
    struct address address;
    bool coap; // over DTLS, else HTTP over TLS
    bool psk;
    char *chain_file, *key_file, *trust_anchors_file; // "" for none
    enum config_tls_version version_max;
    char *export_label; // never "": the default of the kind
};

// An MEF whose keys a MAF here takes from its clients.
struct settings_mef {
    char *fqdn;
    bool derived;           // Km is made from the registered key (TS-0003 8.3.2.1, 10.3.2), else it is that key
    struct address address; // len 0: a function of this process; nothing below matters then
    bool coap;
    char *psk_identity, *psk;                         // psk: a keystore reference with an absolute path
    char *chain_file, *key_file, *trust_anchors_file; // "" for none
    unsigned timeout_milliseconds;
};

struct settings_limits {
    unsigned connections, handshake_seconds, idle_seconds;
    unsigned key_seconds, registration_seconds; // longest lifetimes
    unsigned keys_per_client, registrations_per_client;
};

struct settings {
    char *store, *store_key, *audit_log; // store_key: a keystore reference with an absolute path
    struct address metrics;              // len 0: none
    enum log_level log_level;
    unsigned answer_delay_milliseconds;
    enum settings_recipe credential_recipe;
    struct settings_limits limits;
    size_t function_count;
    struct settings_function functions[SETTINGS_FUNCTIONS_MAX];
    size_t mef_count;
    struct settings_mef mefs[SETTINGS_MEFS_MAX];
};

// SAGATE_OK with *settings the caller's; SAGATE_ECONFIG with every error found in `errors`; SAGATE_ENOMEM.
int settings_load(const char *path, struct settings **settings, struct config_errors *errors);
void settings_free(struct settings *settings); // NULL is allowed

#endif
