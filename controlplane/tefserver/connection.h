// One client's connection: handshake, records, HTTP, answers in order. For server.c alone.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_TEFSERVER_CONNECTION_H
#define SAGATE_CONTROLPLANE_TEFSERVER_CONNECTION_H

#include "controlplane/tefserver/server.h"

#include <event2/util.h>

struct connection;

// What connections share. The list is that of all connections.
struct server {
    struct event_base *base;
    const struct settings *settings;
    struct tef_store *store;
    struct audit *audit;
    struct counts *counts;
    struct handshake_contexts *contexts;
    struct connection *connections;
    struct enrolled *enrolled;
    struct event *expiry;
    struct server_listener {
        struct server *server;
        size_t function;                 // index
        struct evconnlistener *listener; // HTTP
        struct datagram *datagram;       // CoAP
    } listeners[SETTINGS_FUNCTIONS_MAX];
};

// Takes an accepted socket, which is closed when there is no memory.
void connection_new(struct server *server, size_t function, evutil_socket_t fd);
void connection_free(struct connection *connection);

#endif
