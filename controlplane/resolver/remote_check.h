// What an answer of a MAF or MEF must say before its key is used, and whom it makes of the peer. Private to this
// folder; pure but for `map`.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_RESOLVER_REMOTE_CHECK_H
#define SAGATE_CONTROLPLANE_RESOLVER_REMOTE_CHECK_H

#include "controlplane/resolver/remote.h"

enum { REMOTE_IDENTITY_MAX = 512, REMOTE_TAKEN = -1 };

// Usage of keys that a key registration names (TS-0003 table of SUID values).
enum { REMOTE_SUID_MEF = 22, REMOTE_SUID_MAF = 32 };

// Splits "relKeyID@FQDN" (TS-0003 10.4, 12.2): false when it is not well-formed. The FQDN is not checked but for being
// there: it is compared with those of the TEFs.
bool remote_split(struct slice identity, struct slice *relative_key_id, struct slice *fqdn);

// "12-" and the identity with its FQDN in lower case; `out` has room for ONEM2M_CREDENTIAL_MAX + 1 bytes.
void remote_credential_id(struct slice identity, char *out);

// Checks the answer to a question for `identity`, which remote_split takes. REMOTE_TAKEN with *principal, the caller's
// to release, and the length of the PSK, which is the front of key->key, in *psk_len; else an enum remote_refusal.
// SAGATE_ENOMEM does not fit in there: then REMOTE_KEY.
int remote_check(const struct remote_tef *tef, struct slice identity, const struct tef_key *key, int64_t now,
                 remote_map *map, void *map_context, struct principal **principal, size_t *psk_len);

#endif
