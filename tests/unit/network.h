// A network between a client and a server side in memory that loses, repeats and reorders datagrams.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_UNIT_NETWORK_H
#define SAGATE_TESTS_UNIT_NETWORK_H

#include "tests/unit/handshake_rig.h"

enum { NETWORK_DATAGRAM = 2048 };

struct network {
    size_t lost; // number of the datagram that gets lost, over both directions
    // What is sent together arrives last first: wolfSSL's client ends a handshake of DTLS 1.3 whose ServerHello is
    // late.
    bool backwards, backwards_to_client;
    bool twice;   // and each twice
    size_t count; // datagrams so far
    uint8_t bytes[16][NETWORK_DATAGRAM];
    size_t lengths[16];
    size_t waiting;
};

// Both sides until they are done, timers included.
void network_run(struct network *network, struct rig *rig, struct tls_client *client);

#endif
