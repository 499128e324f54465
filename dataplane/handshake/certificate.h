// Whom a verified certificate names (TS-0003 8.1.2.1, 10.1.1): an AE by a URI, a CSE by its public domain name.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_HANDSHAKE_CERTIFICATE_H
#define SAGATE_DATAPLANE_HANDSHAKE_CERTIFICATE_H

#include "common/principal.h"
#include "common/slice.h"
#include "controlplane/config/config.h"

// Makes the principal of a certificate (DER) that was verified. From its subjectAltName:
//   AE-ID   uniformResourceIdentifier "SCHEME://SP/S…" or "SCHEME://SP/CSE/C…" with the SP-ID, and for the latter the
//           CSE-ID, of an upstream; several are allowed
//   CSE-ID  dNSName "CSE.IN-CSE.SP", the public domain name of a CSE below that of an upstream (TS-0001 6.5.1.1); it
//           is looked at when there is no AE-ID, since a CSE may do more than an AE
// Credential-ID: "33-" (AE-ID) or "32-" (CSE-ID) and the SHA-256 of the certificate in hexadecimal (TS-0003 10.4).
// expires_at: notAfter. An AE-ID that is not one at every upstream belongs to those where it is.
// SAGATE_OK with *principal the caller's, NULL when the certificate names nobody; SAGATE_EMALFORMED, SAGATE_ENOMEM.
int certificate_principal(const struct config *config, struct slice der, struct principal **principal);

// Adds an AE-ID in absolute form ("//SP/S…", "//SP/CSE/C…") to `principal`: SAGATE_OK, SAGATE_ENOTFOUND (none of an
// upstream of the configuration), or as principal_add_ae.
int certificate_add_ae(const struct config *config, struct slice absolute, struct principal *principal);

#endif
