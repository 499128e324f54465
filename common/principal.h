// Who a peer was proven to be, and as whom it may act (TS-0003 8.2.1: what Entity B stores with the association).
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_COMMON_PRINCIPAL_H
#define SAGATE_COMMON_PRINCIPAL_H

#include "common/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum framework { FRAMEWORK_NONE, FRAMEWORK_PSK, FRAMEWORK_CERTIFICATE, FRAMEWORK_MAF, FRAMEWORK_GBA };

// "none", "psk", "certificate", "maf", "gba".
const char *framework_name(enum framework framework);

// True where the proof was a key that the control plane gave: provisioned, of a MAF, or of GBA.
bool framework_has_key(enum framework framework);

enum { PRINCIPAL_AES_MAX = 256 };

struct principal_ae {
    char *stem; // AE-ID-Stem, or a pattern with '*' that says as what the peer may register
    char
        *upstream; // NULL: configured, holds at every upstream. Else learned from an answer of this upstream (its name)
                   // and valid there alone, since another CSE may give the same C stem to another AE; never a pattern
};

// One per credential and process; counted references, one thread.
struct principal {
    uint32_t references;
    uint32_t streams; // TLS associations that have it; its holder's own count
    enum framework framework;
    char *credential_id; // "12-KpsaID" (TS-0003 10.4)
    char *cse_id;        // SP-relative CSE-ID ("/mn1") when the peer is a CSE, else NULL
    size_t ae_count;
    struct principal_ae *aes;
    int64_t expires_at; // wall-clock seconds; 0: never
};

// A principal with one reference and copies of the strings; NULL when memory is short.
struct principal *principal_new(enum framework framework, struct slice credential_id, struct slice cse_id);

// Adds an AE-ID or pattern, learned at `upstream`, or configured when that is empty: 0, SAGATE_EEXISTS (configured, or
// learned there already), SAGATE_ELIMIT (PRINCIPAL_AES_MAX), SAGATE_ENOMEM.
int principal_add_ae(struct principal *principal, struct slice stem, struct slice upstream);

// Removes an AE-ID that was learned at `upstream`: 0 or SAGATE_ENOTFOUND (also for one that is configured).
int principal_remove_ae(struct principal *principal, struct slice stem, struct slice upstream);

// Makes `principal` say what `other` says (AE-IDs, CSE-ID, expiry), keeping its references and its Credential-ID.
// `other` gets what it said before and stays the caller's to release.
void principal_replace(struct principal *principal, struct principal *other);

struct principal *principal_reference(struct principal *principal);
void principal_release(struct principal *principal); // NULL is allowed

#endif
