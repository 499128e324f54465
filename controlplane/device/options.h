// The command line of sagate-device, checked before anything is done.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_DEVICE_OPTIONS_H
#define SAGATE_CONTROLPLANE_DEVICE_OPTIONS_H

#include "common/onem2m.h"

#include <stdbool.h>
#include <stddef.h>

enum command { COMMAND_REQUEST, COMMAND_OBSERVE, COMMAND_ASSOCIATE, COMMAND_REGISTER_KEY, COMMAND_ENROL };
// What the key of the file is made of the registered key with (TS-0003 10.3.2, 10.3.3, 10.3.7).
enum derivation { DERIVATION_NONE, DERIVATION_KM, DERIVATION_KPSA, DERIVATION_USAGE };
enum { OPTIONS_TARGETS_MAX = 16, OPTIONS_HOST_MAX = 256 };

struct options {
    enum command command;
    bool dtls, cid, json;
    int version; // 2 or 3, of 1.2 or 1.3
    char host[OPTIONS_HOST_MAX];
    const char *port; // points into the argument
    // Where the credentials are; either an association file, or an identity with its key file, or a certificate.
    const char *association, *psk_identity, *psk_file, *certificate, *certificate_key, *ca, *server_name, *cipher;
    // The request.
    enum onem2m_operation operation;
    const char *from, *to, *content;
    unsigned type;         // 0: none
    unsigned count;        // notifications
    unsigned long timeout; // seconds, of each step
    // Registration of a key.
    const char *fqdn, *client_id, *admin, *key_value_file, *output;
    const char *targets[OPTIONS_TARGETS_MAX];
    size_t target_count;
    unsigned suid;
    enum derivation derivation;
    const char *derive_for; // the target of the derivation
    unsigned long lifetime; // seconds
};

// Reads a command line as main() has it; strings point into `argv`. SAGATE_OK, or SAGATE_EINVAL with the reason in
// `why`. argv[1] is the command.
int options_parse(int argc, char **argv, struct options *out, char *why, size_t cap);

// "HOST:PORT", "[V6]:PORT": the host into `host`, the port as a pointer into `text`. SAGATE_OK or SAGATE_EINVAL.
int options_split_host(const char *text, char host[OPTIONS_HOST_MAX], const char **port);

#endif
