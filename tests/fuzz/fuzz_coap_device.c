// Fuzz target: the whole CoAP binding between a device and a CSE that both send anything, while time passes.
// Input: steps of one byte for what happens (below), two for a length, and that many bytes.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "tests/unit/coap_fakes.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum step {
    DEVICE_SENDS,
    DEVICE_REPLIES, // with the Message ID of what it was sent last
    CSE_SENDS,
    CSE_REPLIES, // with the Message ID and token of the last request
    TIME_PASSES,
    SOCKET_FAILS,
    DEVICE_GOES,
    CONFIGURATION_CHANGES,
    STEPS
};

static uint8_t last_mid[2], request_mid[2], token[COAP_TOKEN_MAX];
static io_id socket_used;

// Learns Message IDs and tokens; whatever leaves must be well-formed, and no request to a CSE may name anybody but the
// originators of the association.
static void look(void)
{
    static struct coap_message message;
    const struct world_message *sent;
    while ((sent = world_next()) != NULL) {
        if (coap_parse(sent->data, sent->len, &message) != SAGATE_OK)
            abort();
        memcpy(sent->id == 0 ? last_mid : request_mid, sent->data + 2, 2);
        if (sent->id == 0 || !coap_is_request(message.code) || message.token.len != COAP_TOKEN_MAX)
            continue;
        socket_used = sent->id;
        memcpy(token, message.token.bytes, sizeof token);
        const struct coap_option *from = coap_find(&message, 279);
        bool forged = from != NULL && !slice_is(from->value, "C1") && !slice_is(from->value, "C2");
        if (forged || coap_find(&message, 256) != NULL || coap_find(&message, 65020) != NULL)
            abort();
    }
}

static void change_configuration(void)
{
    static struct config changed;
    static struct config_upstream upstreams[2];
    static unsigned turn;
    turn = !turn;
    upstreams[turn] = world.upstream;
    upstreams[turn].servers = &world.servers[turn];
    changed = world.config;
    changed.upstreams = &upstreams[turn];
    size_t before = coap_in_flight(world.coap);
    if (coap_reload(world.coap, &changed, world.now_us / 1000) == SAGATE_OK)
        world.config.upstreams = changed.upstreams;
    world.dropped += (unsigned)(before - coap_in_flight(world.coap));
}

static void take(enum step step, uint8_t *bytes, size_t len)
{
    switch (step) {
    case DEVICE_REPLIES:
        if (len >= 4)
            memcpy(bytes + 2, last_mid, 2);
        __attribute__((fallthrough));
    case DEVICE_SENDS:
        world_device_sends(bytes, len);
        break;
    case CSE_REPLIES:
        if (len >= 4 && (bytes[0] >> 4 & 3) >= COAP_ACK)
            memcpy(bytes + 2, request_mid, 2);
        if (len >= 4 + sizeof token && (bytes[0] & 15) == sizeof token)
            memcpy(bytes + 4, token, sizeof token);
        __attribute__((fallthrough));
    case CSE_SENDS:
        world_cse_sends(socket_used, bytes, len);
        break;
    case TIME_PASSES:
        world_advance(len == 0 ? 1 : 100U * bytes[0]);
        break;
    case SOCKET_FAILS:
        world_cse_error(socket_used);
        break;
    case DEVICE_GOES:
        world_device_gone();
        break;
    default:
        change_configuration();
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint8_t bytes[IO_DATAGRAM_MAX];
    world_prepare();
    world.listener.coap_numbering = len > 0 ? data[0] % 3 : 0;
    world.config.limits.coap_exchange_bytes = 4096;
    world_start();
    socket_used = 1;
    for (size_t at = 1; at + 3 <= len;) {
        enum step step = data[at] % STEPS;
        size_t size = (size_t)data[at + 1] << 8 | data[at + 2];
        at += 3;
        size = size > len - at ? len - at : size;
        size = size > sizeof bytes ? sizeof bytes : size;
        memcpy(bytes, data + at, size);
        at += size;
        take(step, bytes, size);
        look();
    }
    world_device_gone();
    world_advance(60000);
    if (coap_in_flight(world.coap) != 0 ||
        world.begun != world.ended_answered + world.ended_failed + world.ended_untold + world.dropped)
        abort();
    world_stop();
    return 0;
}
