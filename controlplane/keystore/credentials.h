// Credentials: the provisioned pre-shared keys (KpsaID and Kpsa, TS-0003 8.2.2.1), and the file that holds them.
// One thread per object. No message of this module holds key bytes.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_KEYSTORE_CREDENTIALS_H
#define SAGATE_CONTROLPLANE_KEYSTORE_CREDENTIALS_H

#include "common/principal.h"
#include "common/slice.h"
#include "controlplane/config/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    CREDENTIALS_IDENTITY_MAX = 512,   // bytes; RFC 4279 section 5.3 asks for at least 128
    CREDENTIALS_KEY_MAX = 64,         // bytes; the same section
    CREDENTIALS_KEY_SHORT = 16,       // shorter ones need allow_short_keys
    CREDENTIALS_FILE_MAX = 256 << 20, // bytes
    CREDENTIALS_ERROR_MAX = 256,
};

struct credential {
    char *identity; // KpsaID: UTF-8 without control characters, 1 … CREDENTIALS_IDENTITY_MAX bytes
    uint8_t *key;   // from secret_alloc
    size_t key_len; // 1 … CREDENTIALS_KEY_MAX
    char *cse_id;   // "/mn1" when the peer is a CSE, else NULL
    size_t ae_count;
    char **aes;         // AE-ID-Stems or patterns ("Cdev1", "C*"); none when cse_id is set
    int64_t expires_at; // wall-clock seconds; 0: never
};

struct credentials {
    size_t count;
    struct credential *entries; // sorted by identity, byte by byte
    bool allow_short_keys;
    size_t short_keys; // how many are shorter than CREDENTIALS_KEY_SHORT: for one warning to the operator
};

// An empty set, or NULL when memory is short.
struct credentials *credentials_new(bool allow_short_keys);
void credentials_free(struct credentials *credentials); // wipes; NULL is allowed

// Reads a credentials file through a descriptor, which stays the caller's, and which must be at the beginning of a
// regular file that belongs to root or to `owner` and gives group and others nothing. `path` serves for messages only.
// SAGATE_OK with a new set; SAGATE_EPERM for owner and mode, SAGATE_ECONFIG for the content, SAGATE_ESYS when reading
// fails, each with lines in `errors`; SAGATE_ENOMEM.
int credentials_read(int fd, const char *path, uid_t owner, struct credentials **credentials,
                     struct config_errors *errors);

// The credential of a PSK identity, or NULL. Binary search. An expired credential is found too: see
// credential_is_expired.
const struct credential *credentials_find(const struct credentials *credentials, struct slice identity);

// `now` in wall-clock seconds.
bool credential_is_expired(const struct credential *credential, int64_t now);

// Whether a credential could stand in the set: SAGATE_OK, or SAGATE_EINVAL with the reason in `why`.
int credentials_check(const struct credentials *credentials, const struct credential *credential,
                      char why[CREDENTIALS_ERROR_MAX]);

// True for an AE-ID-Stem ("Cdev1") or a pattern ("C*"), as `aes` may hold.
bool credential_ae_ok(const char *stem);

// Adds a copy. SAGATE_OK; SAGATE_EEXISTS; SAGATE_EINVAL with the reason in `why` (CREDENTIALS_ERROR_MAX bytes, written
// on every failure); SAGATE_ENOMEM.
int credentials_add(struct credentials *credentials, const struct credential *credential,
                    char why[CREDENTIALS_ERROR_MAX]);

// Removes and wipes: SAGATE_OK or SAGATE_ENOTFOUND.
int credentials_remove(struct credentials *credentials, struct slice identity);

// Keys from text ("00ff…", an even number of hexadecimal digits) and times from "2030-01-01T00:00:00Z" (RFC 3339, UTC):
// SAGATE_OK or SAGATE_EINVAL. `key` has room for CREDENTIALS_KEY_MAX bytes.
int credentials_parse_hex(const char *hex, size_t len, uint8_t *key, size_t *key_len);
int credentials_parse_time(const char *text, int64_t *seconds);

// Writes the set in the format of the file into `fd` at its position: SAGATE_OK, SAGATE_ENOMEM, SAGATE_ESYS.
int credentials_write_fd(int fd, const struct credentials *credentials);

// Replaces the file as one step: a new one of mode 0600 beside it, fsync, rename, fsync of the folder. Returns as
// credentials_write_fd; on failure the old file is untouched and errno tells why.
int credentials_write(const char *path, const struct credentials *credentials);

#endif
