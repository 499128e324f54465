// TLS and DTLS towards one TEF: what its client proves itself with and what it demands of the TEF
// (TS-0003 8.8.2.2, 10.2).
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_TEF_TLS_H
#define SAGATE_CONTROLPLANE_TEF_TLS_H

#include "controlplane/tef/client.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

struct tef_tls;

// SAGATE_OK; SAGATE_EINVAL with the reason in `why`; SAGATE_ENOMEM. What the settings point to is copied.
int tef_tls_new(const struct tef_client_settings *settings, struct tef_tls **tls, char why[TEF_ERROR_MAX]);
void tef_tls_free(struct tef_tls *tls); // NULL is allowed; sessions must be gone

// The connected socket of a session: TCP, or UDP where the settings' binding is CoAP.
struct tef_socket {
    int fd;
    unsigned heard; // datagrams that came; UDP only
};

// A session over a connected socket; NULL when memory is short. The socket stays the caller's and must not move.
WOLFSSL *tef_tls_session(struct tef_tls *tls, struct tef_socket *socket);
bool tef_tls_is_datagram(const struct tef_tls *tls);

// The reason for a handshake that took too long. SAGATE_EHANDSHAKE where the TEF fell silent in the midst of it: over
// DTLS that is how it takes a wrong key (RFC 6347 4.1.2.7); else SAGATE_EUNAVAILABLE.
int tef_tls_silence(const struct tef_tls *tls, const struct tef_socket *socket, char why[TEF_ERROR_MAX]);

// A step of the handshake: SAGATE_DONE, SAGATE_AGAIN (*write says whether for writing); SAGATE_EHANDSHAKE,
// SAGATE_EUNAVAILABLE with the reason in `why`.
int tef_tls_connect(struct tef_tls *tls, WOLFSSL *session, bool *write, char why[TEF_ERROR_MAX]);

// What wolfSSL_read or wolfSSL_write returned, as SAGATE_AGAIN, SAGATE_EGONE (the TEF closed), SAGATE_EHANDSHAKE (it
// refused us, which TLS 1.3 tells late) or SAGATE_EUNAVAILABLE; the latter three with the reason in `why`.
int tef_tls_result(WOLFSSL *session, int returned, bool *write, char why[TEF_ERROR_MAX]);

#endif
