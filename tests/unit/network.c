// Datagrams that wait between the two sides.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/network.h"

#include "common/error.h"
#include "tests/unit/unit.h"

#include <string.h>

static void carry(struct network *network, struct slice datagram)
{
    if (network->count++ == network->lost)
        return;
    CU_ASSERT_TRUE_FATAL(network->waiting < 16 && datagram.len <= NETWORK_DATAGRAM);
    memcpy(network->bytes[network->waiting], datagram.data, datagram.len);
    network->lengths[network->waiting++] = datagram.len;
}

static void deliver(struct network *network, struct rig *rig, struct tls_client *to_client)
{
    for (size_t n = 0; n < network->waiting; n++) {
        bool backwards = to_client != NULL ? network->backwards_to_client : network->backwards;
        size_t i = backwards ? network->waiting - 1 - n : n;
        for (int times = 0; times < (network->twice ? 2 : 1); times++) {
            if (to_client != NULL)
                tls_client_input(to_client, network->bytes[i], network->lengths[i]);
            else
                rig_give(rig, network->bytes[i], network->lengths[i]);
        }
    }
    network->waiting = 0;
}

void network_run(struct network *network, struct rig *rig, struct tls_client *client)
{
    uint8_t out[64];
    int status;
    for (int round = 0; round < 30; round++) {
        struct slice datagram;
        size_t before = network->count;
        rig->client = tls_client_run(client);
        if (rig->client == SAGATE_DONE)
            (void)tls_client_read(client, out, sizeof out); // the server's last flight may have come again
        while (tls_client_output(client, &datagram))
            carry(network, datagram);
        deliver(network, rig, NULL);
        if (rig->record != NULL)
            CU_ASSERT_EQUAL(record_open(rig->record, out, sizeof out, &status), 0);
        for (struct rig_chunk *chunk = rig->sent; chunk != NULL; chunk = chunk->next)
            carry(network, slice_of(chunk->bytes, chunk->len));
        (void)rig_drop_sent(rig);
        deliver(network, rig, client);
        if (network->count != before)
            continue;
        if (rig->client == SAGATE_AGAIN)
            tls_client_timeout(client);
        if (rig->handshake != NULL && handshake_timer_ms(rig->handshake) > 0)
            (void)handshake_timeout(rig->handshake);
    }
}
