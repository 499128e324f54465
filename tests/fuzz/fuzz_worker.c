// Fuzz target: a whole worker between strangers, devices and a CSE. The input is a script; a step is one byte (three
// bits what, five bits which), two bytes of length and as many bytes:
//   0  a datagram from address `which`, as it stands
//   1  bytes on the stream number `which` (opened when it is not yet), as they stand
//   2  application data of an established DTLS device     3  the same of an established TLS device
//   4  bytes from the CSE: over a connection, or (bit 4) as a datagram whose id and token fit the last request
//   5  a plane message from the control process
//   6  the clock moves on, by the first byte of the step's bytes times 100 ms; or (bit 4) the end of a stream
//   7  another configuration
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/worker_rig.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

// Small tables, so that a run is short and limits are met.
#define FEW "associations = 4; handshakes = 4; parked = 2; connections = 8; coap_exchange_bytes = 1048576;"

enum { STREAMS = 4, STEPS = 64 };

static struct mem_peer *streams[STREAMS];
static struct scene_device *dtls, *tls;

static void from_stream(unsigned which, const uint8_t *data, size_t len)
{
    struct address from;
    which %= STREAMS;
    (void)address_parse("198.51.100.1", (uint16_t)(1000 + which), &from);
    if (streams[which] == NULL && scene.worker->listeners[1] != NULL)
        streams[which] = mem_open(scene.io, scene.worker->listeners[1]->id, &from);
    if (streams[which] != NULL)
        (void)mem_peer_write(streams[which], data, len);
}

static void from_device(struct scene_device **device, bool is_dtls, const uint8_t *data, size_t len)
{
    if (*device == NULL) {
        *device = is_dtls ? scene_dtls("wild1", "192.0.2.1", 40000) : scene_tls("dev1", false);
        (void)scene_establish(*device);
    }
    if ((*device)->state == SAGATE_DONE && len > 0)
        (void)tls_client_write((*device)->client, data, len);
}

static void from_cse(bool datagram, const uint8_t *data, size_t len)
{
    static uint8_t message[IO_DATAGRAM_MAX];
    if (!datagram) {
        if (scene.connection_count > 0)
            (void)mem_peer_write(scene.connections[scene.connection_count - 1], data, len);
        return;
    }
    if (scene.cse_count > 0)
        scene.last = scene.to_cse[(scene.cse_first + scene.cse_count - 1) % SCENE_MESSAGES];
    scene.cse_count = 0;
    struct address from;
    (void)address_parse("127.0.0.1", 5683, &from);
    if (scene.last.len < 12 || len < 12 || len > sizeof message)
        return;
    memcpy(message, data, len);
    memcpy(message + 2, scene.last.bytes + 2, 10);
    (void)mem_inject(scene.io, scene.last.socket, &from, message, len);
}

static void end_stream(unsigned which)
{
    struct mem_peer *stream = which == 0 && tls != NULL ? tls->stream : streams[which % STREAMS];
    if (stream != NULL && which % 2 == 0)
        mem_peer_eof(stream);
    else if (stream != NULL)
        mem_peer_reset(stream, 104);
}

static void step(unsigned what, unsigned which, const uint8_t *data, size_t len)
{
    struct address from;
    switch (what) {
    case 0:
        (void)address_parse("192.0.2.1", (uint16_t)(40000 + which % 4), &from);
        scene_inject(&from, data, len);
        break;
    case 1:
        from_stream(which, data, len);
        break;
    case 2:
        from_device(&dtls, true, data, len < 1400 ? len : 1400);
        break;
    case 3:
        from_device(&tls, false, data, len);
        break;
    case 4:
        from_cse((which & 16U) != 0, data, len);
        break;
    case 5:
        (void)send(scene.control, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        break;
    case 6:
        if ((which & 16U) != 0)
            end_stream(which & 15U);
        else
            scene_advance(len > 0 ? data[0] * 100U : 1);
        break;
    default:
        (void)scene_swap(
            scene_config(FEW, SCENE_SERVER, which % 2 == 0 ? SCENE_DTLS ", " SCENE_TLS : SCENE_TLS ", " SCENE_DTLS), 0);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const uint8_t secret[HANDSHAKE_COOKIE_SECRET] = {4, 5, 6}; // so that the cookies in the seeds are good
    size_t at = 0;
    memset(streams, 0, sizeof streams);
    dtls = tls = NULL;
    scene_open(FEW);
    log_set_level(LOG_LEVEL_ERROR);
    handshake_cookie_secret(scene.worker->contexts, secret);
    for (int steps = 0; steps < STEPS && at + 3 <= len; steps++) {
        unsigned head = data[at];
        size_t n = (size_t)data[at + 1] << 8 | data[at + 2];
        at += 3;
        n = n < len - at ? n : len - at;
        step(head >> 5, head & 31U, data + at, n);
        at += n;
        scene_pump();
        if (scene.connection_count > SCENE_CONNECTIONS - 4 || scene.cse_count > SCENE_MESSAGES - 32)
            break;
    }
    // Whatever came, what is counted as there is there.
    uint64_t associations = scene_counted(STAT_ASSOCIATIONS_DTLS) + scene_counted(STAT_ASSOCIATIONS_TLS);
    if (associations != store_count(scene.worker->store) + association_streams(scene.worker->associations) ||
        scene_counted(STAT_HANDSHAKES_IN_PROGRESS) != scene.worker->pending_count)
        abort();
    scene_close();
    return 0;
}
