// Identities whose keys are at a MAF or MEF: dispatch by FQDN, single flight, cache, negative cache, checks of what
// came (TS-0003 8.2.2.3, 8.3.4.3, 10.3.5, 10.3.4). One thread, the event loop's.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_RESOLVER_REMOTE_H
#define SAGATE_CONTROLPLANE_RESOLVER_REMOTE_H

#include "common/principal.h"
#include "common/slice.h"
#include "controlplane/tef/client.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { REMOTE_TEFS_MAX = 32 };

// How a key is fetched: tef_client_fetch behind a pointer, so that tests need no network.
struct remote_fetcher {
    int (*fetch)(void *context, struct slice relative_key_id, tef_done *done, void *done_context);
    void *context;
};

struct remote_tef {
    const char *name, *fqdn; // copied
    enum tef_kind kind;
    struct remote_fetcher fetcher;
    const char *admin_fqdn; // that an answer must name; "": any
    const char *target;     // our absolute CSE-ID; an answer that has targets must name it
    bool target_required;   // an answer without targets is refused
    bool suid_optional;     // fetchCredentials (TS-0003 8.3.2.1) tells none; another one is refused all the same
    bool first_half;        // psk is the first half of the key (TS-0003 8.8.1), else the whole (8.2.2.3)
    const char *sp_id;      // "//sp.example": of the AE-IDs and CSE-IDs that an answer may name
    const char *upstream;   // at which alone an AE-ID from an answer is valid; "": at every one
};

// The mapping of Credential-IDs that are no oneM2M identifier (TS-0003 8.2.1 d): fills the principal's CSE-ID or
// AE-IDs from what is provisioned for "11-KmID" or "12-KcID". SAGATE_OK or SAGATE_ENOTFOUND.
typedef int remote_map(void *context, struct slice credential_id, struct principal *principal);

struct remote_limits {
    size_t waiting;            // identities that are being asked for, at most
    size_t cached;             // keys and negatives that are held; the least recently used negative goes first, then
                               // the least recently used key, so that guessed identities do not displace keys
    unsigned deadline_ms;      // from question to answer
    unsigned negative_seconds; // for which an unknown identity is remembered
    unsigned cache_seconds;    // hard cap on holding a key (TS-0003 8.8.2.8 note)
};

struct remote_answer {
    // SAGATE_OK; SAGATE_ENOTFOUND: there is no key that may be used; SAGATE_EUNAVAILABLE: that could not be found out
    // now, which ends no association. The peer must not tell the two failures apart.
    int result;
    struct slice key;
    uint32_t cache_seconds;
    const struct principal *principal; // framework MAF (PSK for an MEF), expires_at set
};

struct remote_events {
    void *context;
    // An answer to remote_resolve that said SAGATE_PARKED; slices end with the call. Never from inside remote_resolve.
    void (*resolved)(void *context, struct slice identity, const struct remote_answer *answer);
    // A cached key is void (expired, flushed, its TEF removed): associations of `credential_id` end.
    void (*revoked)(void *context, const char *identity, const char *credential_id);
};

struct remote;
struct remote *remote_new(struct event_base *base, const struct remote_events *events, remote_map *map,
                          void *map_context);
// NULL is allowed. Questions that wait are not answered; what fetchers still answer later is dropped.
void remote_free(struct remote *remote);

// Takes a new set of TEFs and limits; keys of TEFs that are no longer there, or that are checked in another way, are
// revoked, and questions at them answered as unavailable. What a fetcher still answers later is dropped, so that the
// caller ends its clients after this call. SAGATE_OK, SAGATE_ENOMEM (nothing changed).
int remote_apply(struct remote *remote, const struct remote_tef *tefs, size_t count,
                 const struct remote_limits *limits);

// SAGATE_OK: *answer is there (from cache, positive or negative, its slices live until the next call).
// SAGATE_PARKED: `resolved` will be called once. SAGATE_ENOTFOUND: no TEF of ours has this FQDN, or the identity is not
// well-formed (sec:relKeyID '@' FQDN); nothing was sent and nothing is remembered.
int remote_resolve(struct remote *remote, struct slice identity, int64_t now, struct remote_answer *answer);

// Voids one identity, or all when absent; with `revoke` their associations end too. The number of entries.
size_t remote_flush(struct remote *remote, struct slice identity, bool revoke);

// Drops what has expired and tells it. Returns the next expiry in wall-clock seconds, 0: none.
int64_t remote_expire(struct remote *remote, int64_t now);

enum remote_refusal { // why an answer was not taken
    REMOTE_SUID,
    REMOTE_TARGET,
    REMOTE_ADMIN,
    REMOTE_EXPIRED,
    REMOTE_NO_SOURCE,
    REMOTE_NOT_MAPPED,
    REMOTE_FOREIGN,
    REMOTE_KEY,
    REMOTE_REFUSALS
};
const char *remote_refusal_name(enum remote_refusal refusal);
struct remote_counters {
    uint64_t cache_hits, negative_hits, asked, joined, found, not_found, failed, deadline, overflow, malformed_identity,
        unknown_fqdn, expired, flushed, evicted, refused[REMOTE_REFUSALS];
    size_t waiting, cached, negative; // now
};
void remote_counters(const struct remote *remote, struct remote_counters *counters);

// Shows what is held, in any order, until `visit` says false. Holds no key.
struct remote_entry {
    const char *identity, *tef;
    const struct principal *principal; // NULL: negative
    int64_t until;                     // of being held, wall-clock seconds
};
void remote_each(const struct remote *remote, bool (*visit)(void *context, const struct remote_entry *entry),
                 void *context);

#endif
