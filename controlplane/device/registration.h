// Registration of a key at a MAF or an MEF (TS-0003 8.8.2.7, 8.3.5.2.7): what is asked, and what the answer says.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_DEVICE_REGISTRATION_H
#define SAGATE_CONTROLPLANE_DEVICE_REGISTRATION_H

#include "common/slice.h"
#include "controlplane/device/options.h"

#include <time.h>

enum { REGISTRATION_ID = 16, REGISTRATION_KEY = 32, REGISTRATION_ID_MAX = 256 };

// The content of the request as JSON; the text is from secret_alloc and NUL-terminated, to be freed with secret_free:
// it holds the key value when there is one (`key` not empty). NULL when memory is short.
char *registration_content(const struct options *options, struct slice key, time_t now);

// The relativeKeyID of an answer: SAGATE_OK or SAGATE_EMALFORMED. It holds letters, digits, '.', '_' and '-' only.
int registration_read(struct slice answer, char id[REGISTRATION_ID_MAX]);

// Whether `id` is that of what was exported (TS-0003 10.3.1): its first 16 bytes as upper-case hexadecimal digits.
bool registration_is_exported(const char *id, const uint8_t exported[REGISTRATION_ID]);

#endif
