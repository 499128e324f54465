// Who is at the other end: keys for handshakes, and what an established one has proven. For the server's files.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_TEFSERVER_PEER_H
#define SAGATE_CONTROLPLANE_TEFSERVER_PEER_H

#include "controlplane/tefserver/connection.h"
#include "dataplane/record/record.h"

struct peer {
    char client_id[TEF_ID_MAX + 1]; // "": nobody that is known
    uint8_t *exported;              // secret memory; NULL: none
};
void peer_release(struct peer *peer);

// Ends a park with the key of the identity; as handshake_resolve.
int peer_resolve(struct tef_store *store, struct handshake *handshake);

// Uses up an established handshake: the record, and who it is. False when it is nobody of ours, or memory was short;
// there may be a record then, too.
bool peer_take(struct server *server, const struct settings_function *function, struct handshake *handshake,
               struct peer *peer, struct record **record);

// Counts a handshake that failed, and logs some of them.
void peer_failed(struct server *server, const struct settings_function *function, const struct handshake *handshake);

#endif
