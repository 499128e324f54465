// The key store: where long-term keys live (TS-0003 6.3.1), behind one interface that tells the protection level of
// each home. One thread. Nothing of a key is in a message.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_KEYSTORE_KEYSTORE_H
#define SAGATE_CONTROLPLANE_KEYSTORE_KEYSTORE_H

#include "common/slice.h"

#include <stddef.h>
#include <stdint.h>

// Homes of keys and how a setting names them:
//   "file:PATH"                the key as hexadecimal digits in a file of mode 0600 (0640 with root's group), level 1
//   "keyring:DESCRIPTION"      a "user" or "logon"-readable key of the kernel keyring (session, then user), level 1
//   "pkcs11:…"                 RFC 7512; a secret key or data object whose value the token gives out, level 2
enum keystore_home { KEYSTORE_FILE, KEYSTORE_KEYRING, KEYSTORE_PKCS11 };

// Protection levels of TS-0003 6.3.1.
enum { KEYSTORE_LEVEL_NONE, KEYSTORE_LEVEL_LOW, KEYSTORE_LEVEL_MEDIUM, KEYSTORE_LEVEL_HIGH };

enum { KEYSTORE_KEY_MAX = 64, KEYSTORE_REFERENCE_MAX = 1024, KEYSTORE_ERROR_MAX = 256 };

// How files are reached: a descriptor at its beginning, which the caller of `open_file` closes; -1 with errno. NULL:
// the path is opened as it is.
struct keystore_files {
    int (*open_file)(void *context, const char *path);
    void *context;
};

// The home that a reference names, without touching the key: SAGATE_OK; SAGATE_EINVAL with the reason in `why`.
int keystore_parse(const char *reference, enum keystore_home *home, char why[KEYSTORE_ERROR_MAX]);
const char *keystore_home_name(enum keystore_home home);
unsigned keystore_level(enum keystore_home home);

// The path behind "file:", or NULL: what the supervisor opens for the control process.
const char *keystore_file_path(const char *reference);

// Reads a key of 1 … KEYSTORE_KEY_MAX bytes into memory of secret_alloc, the caller's to secret_free. A PKCS#11 PIN
// comes from pin-source=file:… or pin-value=… of the URI. May block for as long as the token takes. SAGATE_OK;
// SAGATE_EINVAL, SAGATE_ENOTFOUND, SAGATE_EPERM (mode of the file, PIN), SAGATE_EUNSUPPORTED (the
// token does not give the value out), SAGATE_ESYS, SAGATE_ENOMEM; then the reason is in `why`.
int keystore_load(const char *reference, const struct keystore_files *files, uint8_t **key, size_t *len,
                  char why[KEYSTORE_ERROR_MAX]);

#endif
