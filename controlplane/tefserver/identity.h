// Whom a verified certificate of a client names: one of the clients that were provisioned (TS-0003 8.1.2.1, 10.1.1).
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_TEFSERVER_IDENTITY_H
#define SAGATE_CONTROLPLANE_TEFSERVER_IDENTITY_H

#include "controlplane/tefserver/store.h"

// An AE-ID is a uniformResourceIdentifier "SCHEME://SP/…", a CSE-ID the dNSName that is its public domain name
// (TS-0001 6.5.1.1); as in dataplane/handshake/certificate.h, AE-IDs go first. SAGATE_OK; SAGATE_ENOTFOUND (no client,
// or several), SAGATE_EMALFORMED, SAGATE_ESYS.
int identity_of_certificate(struct tef_store *store, struct slice der, struct tef_store_client *client);

#endif
