// Keys in PKCS#11 tokens (TS-0003 6.3.1, RFC 7512). Private to this folder.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_KEYSTORE_KEYSTORE_PKCS11_H
#define SAGATE_CONTROLPLANE_KEYSTORE_KEYSTORE_PKCS11_H

#include "controlplane/keystore/keystore.h"

// SAGATE_OK, or SAGATE_EINVAL with the reason: `reference` is no URI of a token's object.
int keystore_pkcs11_check(const char *reference, char why[KEYSTORE_ERROR_MAX]);

// As keystore_load, for a reference that begins with "pkcs11:".
int keystore_pkcs11_load(const char *reference, uint8_t **key, size_t *len, char why[KEYSTORE_ERROR_MAX]);

#endif
