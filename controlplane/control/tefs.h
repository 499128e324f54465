// The MAFs and MEFs of the configuration in force: a client for each, and the resolver that asks them. Private to this
// folder; one thread, the event loop's.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_CONTROL_TEFS_H
#define SAGATE_CONTROLPLANE_CONTROL_TEFS_H

#include "controlplane/control/state.h"

struct evbuffer;

// Before the first configuration: SAGATE_OK or SAGATE_ENOMEM. And at the end; NULL is allowed.
int tefs_open(struct control *control);
void tefs_close(struct tefs *tefs);

// Reads the keys of a configuration that is not in force yet, through configure_open_file: SAGATE_OK, or
// SAGATE_ECONFIG, SAGATE_ENOMEM with lines in `errors`. Nothing changes.
int tefs_check(struct control *control, const struct config *config, struct config_errors *errors);

// Takes the TEFs of a configuration: a client whose settings and key are as before goes on, others end and begin.
// Returns as tefs_check; on failure all is as before.
int tefs_apply(struct control *control, const struct config *config, struct config_errors *errors);

// A worker asks about an identity that no provisioned credential has: answered at once, or later.
void tefs_resolve(struct control *control, unsigned worker, struct slice identity);

// Ends the clients' registrations, as far as that takes no longer than TEFS_LEAVE_MS; then calls `left`.
enum { TEFS_LEAVE_MS = 1000 };
void tefs_leave(struct control *control, void (*left)(struct control *control));

// Prometheus text of all clients and the resolver.
void tefs_write_metrics(void *context, struct evbuffer *out);

// Commands "tef status" and "identities flush".
void tefs_status(struct control *control, struct control_request *request, const json_t *command);
void tefs_flush(struct control *control, struct control_request *request, const json_t *command);

#endif
