// Keys that TS-0003 derives: what a (D)TLS exporter gave, split (10.3.1), and keys from an enrolment key Ke (10.3.2,
// 10.3.3, 10.3.7). Pure functions; any thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_COMMON_DERIVE_H
#define SAGATE_COMMON_DERIVE_H

#include "common/slice.h"

#include <stddef.h>
#include <stdint.h>

// Labels for the exporter of RFC 5705 and RFC 8446 7.5, without a context (TS-0003 10.3.1).
#define DERIVE_LABEL_BOOTSTRAP  "EXPORTER-oneM2M-Bootstrap"  // Ke and RelativeKeID, Enrolee and MEF
#define DERIVE_LABEL_CONNECTION "EXPORTER-oneM2M-Connection" // Kc and KcID, source client and MAF
#define DERIVE_LABEL_ESCERTKE   "EXPORTER-oneM2M-ESCertKE"   // pairwiseE2EKey and its ID

enum {
    DERIVE_EXPORTED = 48, // bytes that an exporter gives: the ID, then the key
    DERIVE_ID = 16,
    DERIVE_KEY = 32,
    DERIVE_ID_TEXT = 2 * DERIVE_ID + 1, // hexBinary, upper case, NUL
};

// The recipe for Km and Kpsa: their own (10.3.2, 10.3.3), or that of usage-constrained keys (10.3.7); TS-0003 has both.
enum derive_recipe { DERIVE_RECIPE_NAMED, DERIVE_RECIPE_USAGE };

// Splits what an exporter gave (TS-0003 10.3.1): the ID as hexBinary, the key as bytes.
void derive_split(const uint8_t exported[DERIVE_EXPORTED], char id[DERIVE_ID_TEXT], uint8_t key[DERIVE_KEY]);

// All: 32 bytes into `key`; SAGATE_OK, SAGATE_EINVAL (an empty or longer than 255 bytes argument, a SUID outside
// 10 … 99), SAGATE_ESYS (the library failed; `key` is wiped). Identifiers go in as they are (UTF-8, NFKC).
int derive_km(const uint8_t ke[DERIVE_KEY], struct slice maf_id, uint8_t key[DERIVE_KEY]); // 10.3.2
int derive_kpsa(const uint8_t ke[DERIVE_KEY], struct slice b_id, uint8_t key[DERIVE_KEY]); // 10.3.3
int derive_usage(const uint8_t ke[DERIVE_KEY], unsigned suid, struct slice target_fqdn, uint8_t key[DERIVE_KEY]);

// The FQDN form of a target: of an absolute CSE-ID "//sp.example/in-cse" it is "in-cse.sp.example" (TS-0001 6.5.1.1),
// of an absolute AE-ID "//sp.example/Sae" "Sae.sp.example"; anything without a leading "//" is copied. The length, or
// SAGATE_EINVAL, SAGATE_ETOOBIG; NUL-terminated.
int derive_target_fqdn(struct slice target, char *out, size_t cap);

#endif
