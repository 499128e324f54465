// From PSK identity to key and principal: the provisioned credentials, and the AE-IDs that CSEs assigned to their
// holders (TS-0003 8.2.2.1, 10.4; TS-0001 10.2.2.2). One thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_RESOLVER_RESOLVER_H
#define SAGATE_CONTROLPLANE_RESOLVER_RESOLVER_H

#include "common/principal.h"
#include "common/slice.h"
#include "controlplane/keystore/credentials.h"
#include "controlplane/resolver/registrations.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum resolver_source { RESOLVER_FILE, RESOLVER_RUN_TIME };

// Seconds for which a worker may remember an answer.
enum { RESOLVER_CACHE_SECONDS = 300, RESOLVER_NEGATIVE_CACHE_SECONDS = 10 };

// What the workers must hear. Called from inside the functions below; must not call back.
struct resolver_events {
    void *context;
    // The key of `identity` is void; the associations of `credential_id` end ("": none ends).
    void (*revoked)(void *context, const char *identity, const char *credential_id);
    void (*principal)(void *context, const struct principal *principal); // has changed
    // `credential_id` owns `stem`, which was learned at `upstream`, or does no longer.
    void (*owner)(void *context, struct slice stem, struct slice upstream, struct slice credential_id, bool removed);
};

struct resolver_answer {
    int result; // SAGATE_OK or SAGATE_ENOTFOUND (unknown and expired look the same)
    struct slice key;
    uint32_t cache_seconds;
    const struct principal *principal; // NULL unless SAGATE_OK
};

struct resolver_identity {
    const struct credential *credential;
    const struct principal *principal; // with the AE-IDs learned
    enum resolver_source source;
};

struct resolver_counters {
    uint64_t found, unknown, expired;                                                // answers
    uint64_t stored, removed, refused_owner, refused_limit, refused_pattern, failed; // registrations
};

struct resolver;

// `registrations` and `events` outlive the resolver. NULL when memory is short.
struct resolver *resolver_new(struct registrations *registrations, const struct resolver_events *events);
void resolver_free(struct resolver *resolver); // NULL is allowed

// Takes new sets of credentials, which must live until the next call or resolver_free, and tells what changed: gone,
// or another key or CSE-ID: revoked with its associations; other AE-IDs or expiry: revoked without, and the principal;
// new: revoked without, since a worker may remember it as unknown. An identity in both sets is the file's.
// SAGATE_OK; SAGATE_ELIMIT, SAGATE_ENOMEM, SAGATE_ESYS: nothing has changed and `problem` says why.
int resolver_apply(struct resolver *resolver, const struct credentials *file, const struct credentials *run_time,
                   char *problem, size_t problem_len);

// Whether resolver_apply would take these sets: returns as it does, and nothing changes in any case.
int resolver_check(const struct resolver *resolver, const struct credentials *file, const struct credentials *run_time,
                   char *problem, size_t problem_len);

// Who is this? The slices and the principal live until the next change.
void resolver_resolve(struct resolver *resolver, struct slice identity, int64_t now, struct resolver_answer *answer);

// A CSE assigned an AE-ID. SAGATE_OK: stored and told. SAGATE_ENOTFOUND: no such credential. SAGATE_EEXISTS: another
// credential owns the AE-ID, by configuration or at this upstream; SAGATE_EDENIED: no pattern of the credential admits
// it; SAGATE_ELIMIT: PRINCIPAL_AES_MAX; SAGATE_EINVAL: no AE-ID; SAGATE_ESYS: not stored. After a refusal the principal
// is told again, so that workers drop what one of them had learned.
int resolver_registered(struct resolver *resolver, const struct registration *registration);

// A CSE deleted a resource; if it was a registered AE, its AE-ID is forgotten for this upstream and that is told.
// `base`: see registrations_remove. SAGATE_OK, SAGATE_ENOTFOUND, SAGATE_ESYS.
int resolver_deleted(struct resolver *resolver, struct slice upstream, struct slice to, struct slice base);

// The operator's way to forget an AE-ID that was learned (an AE that expired at its CSE), at every upstream. SAGATE_OK,
// SAGATE_ENOTFOUND, SAGATE_ESYS, SAGATE_ENOMEM.
int resolver_forget(struct resolver *resolver, struct slice identity, struct slice aei);

// Tells the credentials that have expired since the last call. Returns the next expiry in wall-clock seconds, 0: none.
int64_t resolver_expire(struct resolver *resolver, int64_t now);

// SAGATE_OK and *out, or SAGATE_ENOTFOUND.
int resolver_find(const struct resolver *resolver, struct slice identity, struct resolver_identity *out);

// Shows identities in their order, beginning behind `after` (absent: with the first), until `visit` says false.
void resolver_each(const struct resolver *resolver, struct slice after,
                   bool (*visit)(void *context, const struct resolver_identity *identity), void *context);

// Every AE-ID without '*' with the upstream at which it was learned (empty: configured) and the credential that owns
// it; every CSE-ID.
void resolver_owners(const struct resolver *resolver,
                     void (*visit)(void *context, struct slice stem, struct slice upstream, struct slice credential_id),
                     void *context);
void resolver_registrees(const struct resolver *resolver, void (*visit)(void *context, struct slice cse_id),
                         void *context);

size_t resolver_count(const struct resolver *resolver, enum resolver_source source);
const struct resolver_counters *resolver_get_counters(const struct resolver *resolver);

#endif
