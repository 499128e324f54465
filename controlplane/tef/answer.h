// What a TEF's answers and requests say, as JSON: pure functions over bytes (TS-0003 8.8.2.3, 8.8.2.7, 8.8.2.8,
// 8.3.5.2, 8.3.2.1). Any thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_TEF_ANSWER_H
#define SAGATE_CONTROLPLANE_TEF_ANSWER_H

#include "common/slice.h"
#include "controlplane/tef/profile.h"

#include <stddef.h>
#include <stdint.h>

enum { TEF_KEY_MAX = 64, TEF_ID_MAX = 255, TEF_BODY_MAX = 16 * 1024, TEF_TARGETS_MAX = 16 };

// A registered symmetric key as a TEF tells it. The strings are NUL-terminated copies; the key is wiped with
// tef_key_wipe by whoever holds the struct.
struct tef_key {
    uint8_t key[TEF_KEY_MAX];
    size_t key_len;     // 0: the answer has none
    int64_t expires_at; // wall-clock seconds; 0: the answer has none
    unsigned suid;      // 0: the answer has none
    char relative_key_id[TEF_ID_MAX + 1], source_id[TEF_ID_MAX + 1], admin_fqdn[TEF_ID_MAX + 1];
    size_t target_count;
    char targets[TEF_TARGETS_MAX][TEF_ID_MAX + 1];
};
void tef_key_wipe(struct tef_key *key);

// The body of an answer that holds a key registration (key retrieval, registration, update). Unknown members are
// ignored; long and short names are taken. SAGATE_OK; SAGATE_EMALFORMED with a static text in *why (no JSON, a member
// of a wrong kind, a key of 0 or more than 64 bytes, a time that is none, an identifier with control characters or too
// long, more targets than fit); SAGATE_ENOMEM. Which members must be there is for the caller to check.
int tef_parse_key(const struct tef_profile *profile, struct slice body, struct tef_key *key, const char **why);

// The body of an answer to 8.3.2.1 fetchCredentials {Status, Credential, EnroleeID, Lifetime | ErrorString}: as above;
// Status false is SAGATE_ENOTFOUND.
int tef_parse_credentials(const struct tef_profile *profile, struct slice body, int64_t now, struct tef_key *key,
                          const char **why);

struct tef_registration {
    char id[TEF_ID_MAX + 1]; // of the resource, to update and delete it
    int64_t expires_at;
    char assigned_key_id[TEF_ID_MAX + 1]; // KmID, after remote provisioning
};
int tef_parse_registration(const struct tef_profile *profile, struct slice body, struct tef_registration *registration,
                           const char **why);

// Bodies of requests: a string to free, NULL when memory is short. expires_at in wall-clock seconds. `key` may be
// empty (both sides export it from their session); `targets` may be NULL.
char *tef_make_registration(const struct tef_profile *profile, enum tef_kind kind, const char *admin_fqdn,
                            int64_t expires_at);
char *tef_make_key(const struct tef_profile *profile, const char *admin_fqdn, unsigned suid, const char *target,
                   int64_t expires_at, struct slice key);
char *tef_make_update(const struct tef_profile *profile, const char *root, int64_t expires_at);

// "20300101T000000" with or without ",frac", and RFC 3339 (TS-0004 6.3.3 m2m:timestamp, UTC): SAGATE_OK or
// SAGATE_EMALFORMED. And back, into 16 bytes with NUL.
int tef_parse_time(struct slice text, int64_t *seconds);
void tef_format_time(int64_t seconds, char out[16]);

// True for sec:relKeyID: letters, digits, '.', '_', '-', 1 … TEF_ID_MAX bytes (TS-0003 12.2), and not "." or "..".
int tef_relative_key_id_ok(struct slice text);

#endif
