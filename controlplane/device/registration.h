// Registration of a key at a MAF or an MEF (TS-0003 8.8.2.7, 8.3.5.2.7): what is asked, and what the answer says.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_DEVICE_REGISTRATION_H
#define SAGATE_CONTROLPLANE_DEVICE_REGISTRATION_H

#include "common/slice.h"
#include "controlplane/device/options.h"

#include <time.h>

enum { REGISTRATION_ID_MAX = 256 };

// The content of the request as JSON; the text is from secret_alloc and NUL-terminated, to be freed with secret_free:
// it holds the key value when there is one (`key` not empty). NULL when memory is short.
char *registration_content(const struct options *options, struct slice key, time_t now);

// The relativeKeyID of an answer: SAGATE_OK or SAGATE_EMALFORMED. It holds letters, digits, '.', '_' and '-' only.
int registration_read(struct slice answer, char id[REGISTRATION_ID_MAX]);

// Makes the key that `options` wants of the registered one, in place: SAGATE_OK; SAGATE_EINVAL (`key` is not 32 bytes
// long, the target cannot be used), SAGATE_ETOOBIG, SAGATE_ESYS.
int registration_derive(const struct options *options, uint8_t *key, size_t len);

#endif
