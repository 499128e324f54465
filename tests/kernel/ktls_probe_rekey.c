// The probe's questions about KeyUpdate (RFC 8446 4.6.3) and new keys on a socket that has keys.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "ktls_probe.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

static const uint8_t key_update[] = {24, 0, 0, 1, 0};

static int expect(struct pair *pair, uint8_t type, const void *data, size_t size)
{
    uint8_t got_type;
    char got[64];
    int rc = pair_receive(pair->right, &got_type, got, sizeof got);
    if (rc < 0)
        return rc;
    return (size_t)rc == size && got_type == type && memcmp(got, data, size) == 0 ? 0 : -EBADMSG;
}

static int ask_transmit(struct pair *pair)
{
    int rc = pair_send_record(pair->left, RECORD_HANDSHAKE, key_update, sizeof key_update);
    pair_keys(pair);
    return rc == 0 ? pair_install(pair, pair->left, TLS_TX) : rc;
}

static int ask_receive(struct pair *pair)
{
    int rc = pair_send_record(pair->left, RECORD_HANDSHAKE, key_update, sizeof key_update);
    if (rc == 0)
        rc = expect(pair, RECORD_HANDSHAKE, key_update, sizeof key_update);
    pair_keys(pair);
    return rc == 0 ? pair_install(pair, pair->right, TLS_RX) : rc;
}

// Both ends, three times, with data between; the data is already there when the receiver takes the new keys.
static int ask_both(struct pair *pair)
{
    for (size_t i = 0; i < 3; i++) {
        int rc = pair_send_record(pair->left, RECORD_DATA, "old", 3);
        if (rc == 0)
            rc = ask_transmit(pair);
        if (rc == 0)
            rc = pair_send_record(pair->left, RECORD_DATA, "new", 3);
        if (rc == 0)
            rc = expect(pair, RECORD_DATA, "old", 3);
        if (rc == 0)
            rc = expect(pair, RECORD_HANDSHAKE, key_update, sizeof key_update);
        if (rc == 0)
            rc = pair_install(pair, pair->right, TLS_RX);
        if (rc == 0)
            rc = expect(pair, RECORD_DATA, "new", 3);
        if (rc != 0)
            return rc;
    }
    return 0;
}

// Waits until the receiver could go on, with a record under new keys in its queue.
static int past_update(struct pair *pair)
{
    int rc = ask_transmit(pair);
    if (rc == 0)
        rc = pair_send_record(pair->left, RECORD_DATA, "new", 3);
    return rc == 0 ? expect(pair, RECORD_HANDSHAKE, key_update, sizeof key_update) : rc;
}

// What recv() says between the KeyUpdate that was read and the new keys.
static int ask_expired(struct pair *pair)
{
    int rc = past_update(pair);
    char data[16];
    if (rc == 0 && recv(pair->right, data, sizeof data, 0) < 0)
        rc = -errno;
    return rc;
}

// That attempt does no harm.
static int ask_expired_then_keys(struct pair *pair)
{
    int rc = past_update(pair);
    char data[16];
    if (rc == 0 && recv(pair->right, data, sizeof data, 0) >= 0)
        rc = -EBADMSG;
    if (rc == 0)
        rc = pair_install(pair, pair->right, TLS_RX);
    return rc == 0 ? expect(pair, RECORD_DATA, "new", 3) : rc;
}

// poll() between the two stays silent, so that nothing spins.
static int ask_expired_poll(struct pair *pair)
{
    int rc = past_update(pair);
    struct pollfd ready = {.fd = pair->right, .events = POLLIN};
    if (rc == 0 && poll(&ready, 1, 200) != 0)
        rc = -EAGAIN;
    return rc;
}

// With two in the queue, a read gets one.
static int ask_update_alone(struct pair *pair)
{
    int rc = pair_send_record(pair->left, RECORD_HANDSHAKE, key_update, sizeof key_update);
    if (rc == 0)
        rc = pair_send_record(pair->left, RECORD_HANDSHAKE, key_update, sizeof key_update);
    return rc == 0 ? expect(pair, RECORD_HANDSHAKE, key_update, sizeof key_update) : rc;
}

const struct probe probes_rekey[] = {
    {"new keys for sending", ask_transmit, 0},
    {"new keys for receiving, after a KeyUpdate", ask_receive, 0},
    {"KeyUpdate three times with data between", ask_both, TLS_1_3_VERSION},
    {"error of recv before the new keys", ask_expired, TLS_1_3_VERSION},
    {"new keys after that error", ask_expired_then_keys, TLS_1_3_VERSION},
    {"poll is silent before the new keys", ask_expired_poll, TLS_1_3_VERSION},
    {"a read ends at a KeyUpdate", ask_update_alone, TLS_1_3_VERSION},
    {NULL, NULL, 0},
};
