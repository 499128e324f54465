// The store of AE-IDs that CSEs assigned (TS-0001 10.2.2.2), so that who owns which survives a restart: one SQLite
// file.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_RESOLVER_REGISTRATIONS_H
#define SAGATE_CONTROLPLANE_RESOLVER_REGISTRATIONS_H

#include "common/slice.h"

#include <stddef.h>

// One registration as given to and by the store; the strings belong to whoever fills it and end with the call.
struct registration {
    struct slice credential_id; // owner, "12-KpsaID"
    struct slice upstream;      // name in the configuration
    struct slice aei;           // AE-ID stem
    struct slice resource_id;   // ri of the AE; may be empty
    struct slice structured;    // structured CSE-relative address; may be empty
};

struct registrations;
typedef void registrations_visit(void *context, const struct registration *registration);

// Opens or creates the file (mode 0600). One thread. SAGATE_OK with *out the caller's; SAGATE_ESYS (cannot be opened,
// damaged), SAGATE_EVERSION (written by a later sagate), SAGATE_ENOMEM; then `problem` holds the reason.
int registrations_open(const char *path, struct registrations **out, char *problem, size_t problem_len);
void registrations_close(struct registrations *registrations); // stores what is pending; NULL is allowed

// Stores a registration, or takes over its place (upstream, aei) when there is one. Changes become durable with
// registrations_flush, so that many cost one write to disk. SAGATE_OK or SAGATE_ESYS.
int registrations_put(struct registrations *registrations, const struct registration *registration);

// Removes the registration at `upstream` whose resource id, AE-ID or structured address is `to`, and shows what it was.
// In a structured address "-", `base` (the name of the CSEBase as far as it is configured; may be empty) and whatever
// a registration at that upstream shows to be the CSEBase stand for each other. SAGATE_OK, SAGATE_ENOTFOUND,
// SAGATE_ESYS.
int registrations_remove(struct registrations *registrations, struct slice upstream, struct slice to, struct slice base,
                         registrations_visit *removed, void *context);

// Removes every registration of one AE-ID by one credential. The number removed, or SAGATE_ESYS.
int registrations_forget(struct registrations *registrations, struct slice credential_id, struct slice aei);

// Shows all registrations, or those of one AE-ID (`aei` with data). SAGATE_OK or SAGATE_ESYS.
int registrations_each(struct registrations *registrations, struct slice aei, registrations_visit *visit,
                       void *context);

// Number of registrations.
size_t registrations_count(const struct registrations *registrations);

// Makes all changes durable. SAGATE_OK, or SAGATE_ESYS (they stay pending and are tried again with the next flush).
int registrations_flush(struct registrations *registrations);

#endif
