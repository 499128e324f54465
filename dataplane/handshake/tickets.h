// Session tickets (RFC 5077, RFC 8446 4.6.1): the library's session with the PSK identity that was proven behind it,
// under keys that every worker and the next process can make again. No state for a ticket is kept.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_HANDSHAKE_TICKETS_H
#define SAGATE_DATAPLANE_HANDSHAKE_TICKETS_H

#include "common/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TICKETS_SECRET = 32,
    TICKETS_NAME = 16, // what the library puts around what it has encrypted
    TICKETS_IV = 16,
    TICKETS_LENGTH = 2,
    TICKETS_MAC = 32,
    TICKETS_FRAME = TICKETS_NAME + TICKETS_IV + TICKETS_LENGTH + TICKETS_MAC,
    TICKETS_BODY_MAX = 1024, // longest body that is handled
    TICKETS_SPARE = 32,      // bytes of its frame that a ticket uses for more body
};

struct tickets {
    const uint8_t *secret; // TICKETS_SECRET bytes
    uint32_t lifetime;     // seconds that a ticket is good for; keys are of such a period
};

// The parts of a ticket as the library keeps them: name, IV, body, MAC. The key takes four bytes of the name, twelve of
// the IV and sixteen of the MAC; the rest of them lengthens the body, so that an identity of 55 bytes finds room in
// what the library offers by default.
struct ticket_parts {
    uint8_t *name, *iv, *body, *mac;
    size_t len; // of the body
};

// What a ticket says of the peer.
struct ticket_proof {
    struct slice identity; // empty: it proved none
    uint32_t key;          // tickets_key of the key that proved the identity
};

// What a ticket remembers of a key, so that it is of no use once the identity has another one.
uint32_t tickets_key(const struct tickets *tickets, struct slice key);

// Seals a ticket in place: `session` bytes of the body become `parts->len`, with the proof behind them. `binding`: of
// the listener, for which alone the ticket is good. `now`: seconds (CLOCK_REALTIME). One whose identity does not fit,
// or without a proof (NULL), is sealed as one that nobody will open. SAGATE_OK; SAGATE_EINVAL (body too short or too
// long); SAGATE_EINTERNAL.
int tickets_seal(const struct tickets *tickets, struct slice binding, const struct ticket_proof *proof, size_t session,
                 int64_t now, const struct ticket_parts *parts);

// An opened ticket: the session, `len` bytes in all, and what was proven. The owner wipes it.
struct ticket {
    uint8_t bytes[TICKETS_BODY_MAX + TICKETS_SPARE];
    size_t len;
    struct ticket_proof proof; // its identity is in `bytes`
};

// True when the bytes look like a ticket, whoever made it.
bool tickets_shaped(struct slice bytes);

// Opens a whole ticket as it came: SAGATE_OK; SAGATE_ERECORD (forged, expired, of another listener, or of no use).
int tickets_open(const struct tickets *tickets, struct slice binding, struct slice bytes, int64_t now,
                 struct ticket *ticket);

#endif
