// The server: listens for the functions' clients, and gives what they ask to the procedures. One event loop.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_TEFSERVER_SERVER_H
#define SAGATE_CONTROLPLANE_TEFSERVER_SERVER_H

#include "controlplane/tefserver/audit.h"
#include "controlplane/tefserver/counts.h"
#include "dataplane/handshake/handshake.h"

struct server;

enum { SERVER_ERROR_MAX = 512 };

// What functions offer to clients, from the files that the settings name. SAGATE_OK; SAGATE_ECONFIG with the reason in
// `why`; SAGATE_ENOMEM.
int server_contexts(const struct settings *settings, struct handshake_contexts **contexts, char why[SERVER_ERROR_MAX]);

// Begins to listen. All arguments must stay until server_free; the contexts are the server's. SAGATE_OK; SAGATE_ESYS,
// SAGATE_ECONFIG (what the client of an MEF is made of), SAGATE_ENOMEM with the reason in `why` (then the contexts are
// freed too).
int server_new(struct event_base *base, const struct settings *settings, struct tef_store *store, struct audit *audit,
               struct counts *counts, struct handshake_contexts *contexts, struct server **server,
               char why[SERVER_ERROR_MAX]);
void server_free(struct server *server); // closes; NULL is allowed

// A whole file in secret memory, for server_forget; an empty slice with the reason.
struct slice server_read_pem(const char *path, char why[SERVER_ERROR_MAX]);
void server_forget(struct slice bytes);

#endif
