// The replies given to devices, kept for the life of their exchange so that a duplicate gets the same one
// (RFC 7252 section 4.5). Rings of bytes: the oldest of a ring go first when room is needed; nothing is allocated per
// reply. A credential has one of the rings, so that a busy one does not push out the replies of all others.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_BINDING_COAP_RECORDED_H
#define SAGATE_DATAPLANE_BINDING_COAP_RECORDED_H

#include "common/slice.h"
#include "common/stats.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EXCHANGE_LIFETIME_MS = 247000, NON_LIFETIME_MS = 145000 }; // RFC 7252 section 4.8.2

struct recorded;

// `bytes`: memory for replies. `stats` may be NULL. NULL when memory is short.
struct recorded *recorded_new(size_t bytes, struct stats *stats);
void recorded_free(struct recorded *recorded);

// A ring of another size with the same content, the oldest left out where it is too small. NULL when memory is short
// (the old one stays); else the old one is freed.
struct recorded *recorded_resize(struct recorded *recorded, size_t bytes, uint64_t now_ms);

// Keeps a copy of `reply` until expires_ms, or less when memory is short (counted COAP_EXCHANGES_EVICTED).
// `owner`: keyed hash of the credential, which chooses the ring; the same for the life of an association.
void recorded_add(struct recorded *recorded, uint64_t owner, uint64_t association, uint16_t mid, struct slice reply,
                  uint64_t now_ms, uint64_t expires_ms);

// True, and the reply (valid until the next recorded_add), when that message was answered and has not expired.
bool recorded_find(const struct recorded *recorded, uint64_t owner, uint64_t association, uint16_t mid, uint64_t now_ms,
                   struct slice *reply);

#endif
