// What a TEF counts, and its HTTP server for monitoring (Prometheus text format). One thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_TEFSERVER_COUNTS_H
#define SAGATE_CONTROLPLANE_TEFSERVER_COUNTS_H

#include "common/address.h"
#include "controlplane/tefserver/procedures.h"

#include <event2/event.h>

enum { COUNTS_CODES = 12 }; // response status codes; the last is all others
enum counts_handshake { COUNTS_PSK, COUNTS_CERTIFICATE, COUNTS_FAILED, COUNTS_HANDSHAKES };

struct counts {
    uint64_t connections; // now
    uint64_t refused;     // over the limit
    uint64_t handshakes[COUNTS_HANDSHAKES];
    uint64_t answers[PROCEDURE_TOTAL][COUNTS_CODES];
};

void counts_answer(struct counts *counts, const struct procedure_answer *answer);

// The metrics as text; a string to free, NULL when memory is short.
char *counts_render(const struct counts *counts);

struct counts_http;
// Serves /metrics and /healthz at an address. NULL when that is not to be had (errno), or memory is short.
struct counts_http *counts_http_new(struct event_base *base, const struct address *address,
                                    const struct counts *counts);
void counts_http_free(struct counts_http *http); // NULL is allowed

#endif
