// Clients over DTLS, of one function: a socket and its associations. For server.c alone.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_TEFSERVER_DATAGRAM_H
#define SAGATE_CONTROLPLANE_TEFSERVER_DATAGRAM_H

#include "controlplane/tefserver/connection.h"

struct datagram;

// Binds and receives; NULL with errno when that is not to be had.
struct datagram *datagram_new(struct server *server, size_t function);
void datagram_free(struct datagram *datagram); // NULL is allowed

#endif
