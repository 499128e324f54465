// Who is at the other end: keys for handshakes, and what an established one has proven. For the server's files.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_TEFSERVER_PEER_H
#define SAGATE_CONTROLPLANE_TEFSERVER_PEER_H

#include "controlplane/tefserver/enrolled.h"
#include "dataplane/record/record.h"

struct peer {
    char client_id[TEF_ID_MAX + 1]; // "": nobody that is known
    uint8_t *exported;              // secret memory; NULL: none
    struct tef_key *km;             // secret memory: what a client brought from an MEF; NULL: it was provisioned
    struct enrolled_wait *wait;     // an MEF is being asked
};
void peer_release(struct peer *peer);

// Ends a park with the key of the identity; as handshake_resolve. SAGATE_PARKED while peer->wait: `done` will be called
// with `context`, for peer_resolved.
int peer_resolve(struct server *server, const struct settings_function *function, struct handshake *handshake,
                 struct peer *peer, enrolled_done *done, void *context);
int peer_resolved(struct handshake *handshake, struct peer *peer, const struct tef_key *km);

// Uses up an established handshake: the record, and who it is. False when it is nobody of ours, or memory was short;
// there may be a record then, too.
bool peer_take(struct server *server, const struct settings_function *function, struct handshake *handshake,
               struct peer *peer, struct record **record);

// Counts a handshake that failed, and logs some of them.
void peer_failed(struct server *server, const struct settings_function *function, const struct handshake *handshake);

#endif
