// What a device associates with: a PSK identity and its key, from a key file or an association file.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_DEVICE_ASSOCIATION_H
#define SAGATE_CONTROLPLANE_DEVICE_ASSOCIATION_H

#include "common/slice.h"

#include <stdint.h>

enum { ASSOCIATION_IDENTITY_MAX = 512, ASSOCIATION_KEY_MAX = 64, ASSOCIATION_FILE_MAX = 1024 };

// Keep it in memory of secret_alloc.
struct association {
    char identity[ASSOCIATION_IDENTITY_MAX + 1];
    uint8_t key[ASSOCIATION_KEY_MAX];
    size_t key_len;
};

// 1 to 64 bytes as hexadecimal digits, white space around them allowed: the number of bytes, or SAGATE_EMALFORMED.
int association_parse_key(struct slice text, uint8_t key[ASSOCIATION_KEY_MAX]);

// The two lines "identity = …" and "key = hexadecimal digits", in either order; empty lines and lines that begin with
// '#' are passed over. SAGATE_OK; SAGATE_EMALFORMED, after which `out` is wiped.
int association_parse(struct slice text, struct association *out);

// Files; `-1` and errno as usual are SAGATE_ESYS. Read: SAGATE_OK, SAGATE_EMALFORMED, SAGATE_ETOOBIG, SAGATE_ESYS.
int association_read(const char *path, struct association *out);
int association_read_key(const char *path, struct association *out);
// Writes with mode 0600: SAGATE_OK or SAGATE_ESYS.
int association_write(const char *path, const struct association *association);

#endif
