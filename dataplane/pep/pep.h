// The originator check: is the From of a primitive one that the association proved (TS-0003 7.2.1, TS-0004 7.3.2.1),
// and the bookkeeping of AE-IDs that a CSE assigns (TS-0001 10.2.2.2). One instance per worker, one thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_PEP_PEP_H
#define SAGATE_DATAPLANE_PEP_PEP_H

#include "common/onem2m.h"
#include "common/stats.h"
#include "dataplane/binding/device.h"
#include "dataplane/binding/primitive.h"

struct pep;

// What the control plane must hear; called in the order in which the answers were seen.
struct pep_events {
    void *context;
    // The CSE answered 2001 to an AE CREATE: `aei` now belongs to the credential. `resource_id` is the AE's ri (may be
    // absent), `structured` its structured CSE-relative address, parent "/" rn (may be absent). The strings are the
    // caller's and end with the call.
    void (*registered)(void *context, const struct principal *principal, size_t upstream, struct slice aei,
                       struct slice resource_id, struct slice structured);
    // The CSE answered 2002 to a DELETE of `to` (CSE-relative form). The control plane knows whether that was an AE.
    void (*deleted)(void *context, size_t upstream, struct slice to);
};

struct pep_verdict {
    int rsc;              // 0: forward; else the response status code to refuse with
    enum stat_id refusal; // which counter (STAT_REFUSED_…) belongs to it; counted by pep_check already
    const char *debug;    // text for m2m:dbg; static; tells a peer nothing about others' credentials
    // When forwarded: From to put into the primitive, in the form that the upstream wants (config_from_form); length 0:
    // the primitive goes without From (an AE registration that leaves the AE-ID to the CSE).
    char from[ONEM2M_ABSOLUTE_MAX];
    size_t from_len;
    // The authenticated originator in absolute form for X-SAGate-Originator / option 65020; for a registration that
    // leaves the AE-ID to the CSE (From absent, "C" or "S"): empty.
    char originator[ONEM2M_ABSOLUTE_MAX];
    size_t originator_len;
    // What upstream_pick hashes, so that one AE stays with one CSE: the originator; but the Credential-ID of a
    // principal with a pattern, whose AE-ID is not known yet when it registers. Valid while the principal is.
    struct slice route;
};

// `stats` may be NULL. NULL when memory is short.
struct pep *pep_new(const struct pep_events *events, struct stats *stats);
void pep_free(struct pep *pep);

// SP-relative CSE-IDs of all CSEs that have a credential here ("other registrees", rows 5 and 7). Replaces the set.
// 0 or SAGATE_ENOMEM (the old set stays).
int pep_set_registrees(struct pep *pep, const struct slice *cse_ids, size_t count);

// AE-ID stems that belong to one credential alone, so that a wildcard credential cannot register as them.
// `credential_id` owns `stem` at the upstream of that name, or at every one when `upstream` is empty. Idempotent; a
// second owner of the same stem is recorded too. 0 or SAGATE_ENOMEM.
int pep_add_owner(struct pep *pep, struct slice stem, struct slice upstream, struct slice credential_id);
void pep_remove_owner(struct pep *pep, struct slice stem, struct slice upstream, struct slice credential_id);
void pep_clear_owners(struct pep *pep);

// Checks one primitive. A "learned AE-ID" is one that was learned at the device's upstream: C stems are unique per
// registrar CSE only. Rules, in this order (first that fails decides):
//  1. no principal                                                        → 4107 (REFUSED_NO_ASSOCIATION)
//  2. malformed From (ONEM2M_ID_INVALID)                                  → 4000 (REFUSED_FROM_FORM)
//  3. From, in absolute form, is the upstream's own CSE-ID or one of its full_access_originators, in whatever form →
//  4106 (REFUSED_RESERVED)
//  4. From absent and not CREATE of an AE                                 → 4000 (REFUSED_FROM_MISSING)
//  AE principal (no cse_id):
//  5. From present and not an AE-ID-Stem                                  → 4000 (REFUSED_FROM_FORM)
//  6. CREATE of ty 16                                                     → 4005 (REFUSED_OPERATION)
//  7. CREATE of an AE with From absent, "C" or "S": allowed when a pattern of the principal admits such an identifier
//     (absent: any pattern); else, with exactly one fixed AE-ID that fits the wish: that AE-ID is put in its place when
//     the upstream says registration_substitute; else                      → 4106 (REFUSED_ORIGINATOR)
//  8. CREATE of an AE with a full stem: fixed or learned AE-ID of this principal, or it matches a pattern and no other
//     credential owns it (pep_add_owner); else                             → 4106 (REFUSED_ORIGINATOR)
//  9. anything else: From is a fixed or learned AE-ID of this principal (a pattern alone does not do); else → 4106
//  CSE principal:
//  10. CREATE of an AE                                                     → 4000 (REFUSED_OPERATION): no transit of
//  registrations
//  11. CREATE of ty 16 with an AE-ID as From → 4005; with another CSE-ID than its own → 4107 (REFUSED_ORIGINATOR)
//  12. From is a bare C stem, the CSE-ID of another registree, or an AE-ID whose CSE part is another registree or the
//  upstream's own CSE → 4106; ONEM2M_ID_OTHER → 4000 (REFUSED_FROM_FORM)
// Returns SAGATE_OK with the verdict filled, whatever it is; SAGATE_EINTERNAL never leaves a forwarding verdict.
int pep_check(struct pep *pep, const struct device *device, const struct primitive *primitive,
              struct pep_verdict *verdict);

// Checks an originator found elsewhere in the message (content, a second option): `from` is the one that pep_check
// forwarded. A refusal is counted here (REFUSED_SECOND_ORIGINATOR). 0 when it names the same originator; 4106 when it
// is one that the principal may not use; 4000 when it is another one that it may use (bindings.md section 8, rule 2).
int pep_check_second(struct pep *pep, const struct device *device, const struct primitive *primitive,
                     const struct pep_verdict *verdict, struct slice second);

// What must be remembered of a forwarded primitive until its answer, when pep_wants_answer says so.
struct pep_pending {
    uint8_t kind;      // 0: nothing to observe
    uint16_t from_len; // AE registration with a full stem: that stem; else 0
    uint16_t to_len;
    char from[ONEM2M_ID_MAX + 1];
    char to[512]; // with unreserved characters decoded (RFC 3986 6.2.2.2), so that equal addresses look the same
};

// True (and *pending filled) when the answer has to be shown to pep_answer: CREATE of an AE, and every DELETE (but one
// whose To does not fit `to`). `verdict` is the forwarding one that pep_check gave for this primitive.
bool pep_wants_answer(const struct primitive *primitive, const struct pep_verdict *verdict,
                      struct pep_pending *pending);

// Shows the answer of the CSE: learns or forgets an AE-ID at once in this worker's principal, and tells the control
// plane. `content` is the answer's content, whole. NULL device: it has gone; the control plane is told all the same
// through `principal`. Never fails; what cannot be learned is counted (REGISTRATIONS_UNLEARNED).
void pep_answer(struct pep *pep, struct principal *principal, size_t upstream_index,
                const struct config_upstream *upstream, const struct pep_pending *pending, int rsc,
                struct slice content);

#endif
