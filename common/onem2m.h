// oneM2M identifiers, operations and response status codes (TS-0001 7.2, TS-0004 6.2.3, 6.6.3; TS-0009 6.3.2;
// TS-0008 6.2.4).
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_COMMON_ONEM2M_H
#define SAGATE_COMMON_ONEM2M_H

#include "common/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    ONEM2M_ID_MAX = 255,        // longest originator sagate takes: what a CoAP option holds (TS-0008 table 6.2.2.4.0-1)
    ONEM2M_ABSOLUTE_MAX = 1024, // room for "//SP/cse/" and such an identifier
    ONEM2M_CREDENTIAL_MAX = 516, // "12-" and a PSK identity of at most 512 bytes
};

enum onem2m_operation { ONEM2M_CREATE = 1, ONEM2M_RETRIEVE, ONEM2M_UPDATE, ONEM2M_DELETE, ONEM2M_NOTIFY };
enum { ONEM2M_TY_AE = 2, ONEM2M_TY_REMOTE_CSE = 16 };

enum onem2m_rsc {
    RSC_OK = 2000,
    RSC_CREATED = 2001,
    RSC_DELETED = 2002,
    RSC_UPDATED = 2004,
    RSC_BAD_REQUEST = 4000,
    RSC_RELEASE_VERSION_NOT_SUPPORTED = 4001,
    RSC_NOT_FOUND = 4004,
    RSC_OPERATION_NOT_ALLOWED = 4005,
    RSC_REQUEST_TIMEOUT = 4008,
    RSC_UNSUPPORTED_MEDIA_TYPE = 4015,
    RSC_ORIGINATOR_HAS_NO_PRIVILEGE = 4103,
    RSC_CONFLICT = 4105,
    RSC_ORIGINATOR_NOT_AUTHENTICATED = 4106,
    RSC_SECURITY_ASSOCIATION_REQUIRED = 4107,
    RSC_INTERNAL_SERVER_ERROR = 5000,
    RSC_NOT_IMPLEMENTED = 5001,
    RSC_TARGET_NOT_REACHABLE = 5103,
};

// "CREATE"… for logs and metrics; "UNKNOWN" for other values.
const char *onem2m_operation_name(enum onem2m_operation operation);

// Name such as "ORIGINATOR_NOT_AUTHENTICATED", or "UNKNOWN".
const char *onem2m_rsc_name(int rsc);

// HTTP status and CoAP code (class << 5 | detail) for a response status code; unknown codes map by their class.
// `operation` matters for 2000 only (2.05 for RETRIEVE, 2.04 for the others).
int onem2m_rsc_http(int rsc);
uint8_t onem2m_rsc_coap(int rsc, enum onem2m_operation operation);

enum onem2m_id_kind {
    ONEM2M_ID_INVALID,     // empty, too long, or a character outside RFC 3986 unreserved plus the separators
    ONEM2M_ID_STEM_C,      // "C…"; `wish` below when it is the single letter
    ONEM2M_ID_STEM_S,      // "S…"
    ONEM2M_ID_SP_RELATIVE, // "/…"
    ONEM2M_ID_ABSOLUTE,    // "//SP/…"
    ONEM2M_ID_OTHER,       // well-formed and none of these
};

// What form an originator has. A comma is accepted in stems, since a CSE in the field assigns such identifiers.
enum onem2m_id_kind onem2m_id_kind(struct slice id);

// True for the one-letter wishes "C" and "S" of an AE registration (TS-0001 10.2.2.2).
bool onem2m_id_is_wish(struct slice id);

// Writes the absolute form (design: canonical form for comparison): stem C → "//SP/cse/C…", stem S → "//SP/S…",
// "/…" → "//SP/…", "//…" unchanged. `sp_id` is "//sp.example", `cse_id` the registrar's "/cse". `out` is
// NUL-terminated. Returns the length, SAGATE_EINVAL for an invalid identifier, SAGATE_ETOOBIG when it does not fit.
int onem2m_absolute(struct slice id, const char *sp_id, const char *cse_id, char *out, size_t cap);
// The same of an identifier whose kind is known already.
int onem2m_absolute_of(enum onem2m_id_kind kind, struct slice id, const char *sp_id, const char *cse_id, char *out,
                       size_t cap);

// Matches an AE-ID stem against a pattern in which '*' stands for any run of characters (m2m app rule, TS-0001 9.6.29).
bool onem2m_stem_match(const char *pattern, struct slice stem);

// True when `text` may stand in a Credential-ID value: letters, digits, '.', '_', '-', '@' (TS-0003 10.4).
bool onem2m_credential_value_ok(struct slice text);

#endif
