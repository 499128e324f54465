// The PROXY protocol header, version 2, in front of a connection to a CSE: whom the connection speaks for.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_BINDING_HTTP_PROXY_V2_H
#define SAGATE_DATAPLANE_BINDING_HTTP_PROXY_V2_H

#include "common/address.h"
#include "common/slice.h"

// TLV types of the range for custom use.
enum { PROXY_V2_ORIGINATOR = 0xE0, PROXY_V2_CREDENTIAL_ID = 0xE1 };
enum { PROXY_V2_MAX = 2048 };

// Writes the header: source `peer`, destination `local` (when it has the same family, else the unspecified address), a
// TLV for each of the two texts that is not empty. Returns its length; SAGATE_ETOOBIG when it does not fit `cap`;
// SAGATE_EINVAL for a peer that is neither IPv4 nor IPv6.
int proxy_v2_write(uint8_t *out, size_t cap, const struct address *peer, const struct address *local,
                   struct slice originator, struct slice credential_id);

#endif
