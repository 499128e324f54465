// A (D)TLS association as a client, with deadlines: wolfSSL's client over one connected socket.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_DEVICE_LINK_H
#define SAGATE_CONTROLPLANE_DEVICE_LINK_H

#include "controlplane/device/association.h"
#include "controlplane/device/options.h"
#include "controlplane/device/report.h"

#include <sys/types.h>

struct link;

// Connects and makes the handshake, reporting both. `psk` (NULL: the certificate of the options) and `options` are
// the caller's and must outlive the link. EXIT_DONE and *out, to be closed with link_close; else the exit status.
int link_open(const struct options *options, const struct association *psk, const struct report *report,
              struct link **out);

// Sends one message (a datagram with DTLS): SAGATE_OK, or SAGATE_EGONE.
int link_write(struct link *link, const uint8_t *data, size_t len);

// Waits until `deadline_ms` (CLOCK_MONOTONIC) for data: its length; 0 when the peer has closed; SAGATE_ETIMEOUT,
// SAGATE_EGONE (link_why says more).
ssize_t link_read(struct link *link, uint8_t *data, size_t cap, int64_t deadline_ms);
const char *link_why(struct link *link);

// Keying material of this session without a context (RFC 5705, RFC 8446 7.5): SAGATE_OK or SAGATE_ESYS.
int link_export(struct link *link, const char *label, uint8_t *out, size_t len);

// Says close_notify; NULL is allowed.
void link_close(struct link *link);

// Milliseconds of CLOCK_MONOTONIC.
int64_t link_now_ms(void);

#endif
