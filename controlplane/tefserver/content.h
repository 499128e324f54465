// Bodies of requests to a TEF and of its answers, as JSON. Pure; any thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_TEFSERVER_CONTENT_H
#define SAGATE_CONTROLPLANE_TEFSERVER_CONTENT_H

#include "controlplane/tefserver/store.h"

// What a request says; has_… tell what was there.
struct content {
    bool has_expiry, has_targets, has_labels;
    int64_t expires_at;
    char admin_fqdn[TEF_ID_MAX + 1]; // lower case; "" for none
    unsigned suid;                   // 0: none
    size_t target_count;
    char targets[TEF_TARGETS_MAX][TEF_ID_MAX + 1];
    char labels[TEF_STORE_LABELS_MAX]; // a JSON array
    uint8_t key[TEF_KEY_MAX];
    size_t key_len; // 0: none
};
void content_wipe(struct content *content);

// Reads {ROOT: {…}} with the names of `profile`, short or long. SAGATE_OK; SAGATE_EMALFORMED for anything that is not
// that: no JSON object, another root, a member that is unknown or of a wrong kind, an identifier that is none, a key
// of 0 or more than TEF_KEY_MAX bytes; SAGATE_ENOMEM.
int content_read(const struct tef_profile *profile, const char *root, struct slice body, struct content *content);

// Strings to wipe and free; NULL when memory is short. Without `with_value` a key has none.
char *content_of_key(const struct tef_profile *profile, const struct tef_store_key *key, bool with_value);
// `assigned_key_id`: the KmID of assignedSymmKeyID; "" for none.
char *content_of_registration(const struct tef_profile *profile, const struct tef_store_registration *registration,
                              const char *assigned_key_id);
char *content_of_credentials(const struct tef_key *derived, int64_t now);

#endif
