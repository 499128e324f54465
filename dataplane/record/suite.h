// What a handshake has negotiated, in the record layer's words.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_RECORD_SUITE_H
#define SAGATE_DATAPLANE_RECORD_SUITE_H

#include "dataplane/handshake/session.h"
#include "dataplane/record/aead.h"

// The AEAD of an established session's suite; AEAD_NONE: another kind of cipher, or one that we have not.
enum aead suite_aead(WOLFSSL *ssl);

#endif
