// sagate-perf-instructions: what one worker does for CoAP requests, over the io driver in memory, so that instructions
// can be counted: devices with DTLS 1.2 PSK and a Connection ID ask, a CSE answers, again and again.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/worker_rig.h"

#include <stdio.h>
#include <stdlib.h>

enum { DEVICES = 32, REQUESTS_DEFAULT = 20000, WARM_UP = 20000 };

// The smallest record of exchanges, so that it is full after the warm-up and its oldest entries make room.
#define LIMITS  "coap_exchange_bytes = 1048576"
#define REQUEST "CON GET @abcd /cse-in /ae /cnt /la 271=3 279=Cdev%u 283=r%u"
#define ANSWER  "ACK 2.05 @* 12=#50 283=r%u 307=#2000 |{\"m2m:cin\":{\"con\":\"21.5\"}}"

static struct scene_device *devices[DEVICES];
static uint16_t next_mid;
static size_t answered;

static void must(bool condition, const char *what)
{
    if (condition)
        return;
    (void)fprintf(stderr, "sagate-perf-instructions: %s\n", what);
    exit(EXIT_FAILURE);
}

// What is counted: --toggle-collect of callgrind takes this name. Works until nothing is left to do.
__attribute__((noinline)) void measured(void);
void measured(void)
{
    (void)worker_round(scene.worker, 0);
}

static void open_devices(void)
{
    char identity[32];
    scene_open(LIMITS);
    for (unsigned i = 0; i < DEVICES; i++) {
        (void)snprintf(identity, sizeof identity, "dev%u", i);
        devices[i] = scene_dtls_with_cid(identity, false, slice_of("", 0), "192.0.2.1", (uint16_t)(40000 + i));
        must(scene_establish(devices[i]), "a handshake fails");
    }
}

static void ask(void)
{
    uint8_t data[IO_DATAGRAM_MAX];
    char text[128];
    for (unsigned i = 0; i < DEVICES; i++) {
        (void)snprintf(text, sizeof text, REQUEST, i, i);
        size_t len = text_to_coap(text, next_mid, NULL, data, sizeof data);
        must(tls_client_write(devices[i]->client, data, len) == SAGATE_OK, "a device cannot write");
        scene_flush(devices[i]);
    }
    next_mid++;
}

static struct scene_device *device_at(const struct address *address)
{
    for (unsigned i = 0; i < DEVICES; i++) {
        if (address_equal(&devices[i]->address, address))
            return devices[i];
    }
    return NULL;
}

static void answer(io_id socket, const uint8_t *request)
{
    static unsigned number;
    uint8_t data[IO_DATAGRAM_MAX];
    char text[128];
    struct address from;
    struct coap_token token = {.len = COAP_TOKEN_MAX};
    memcpy(token.bytes, request + COAP_HEAD, COAP_TOKEN_MAX);
    (void)snprintf(text, sizeof text, ANSWER, number++ % DEVICES);
    size_t len = text_to_coap(text, (uint16_t)(request[2] << 8 | request[3]), &token, data, sizeof data);
    (void)address_parse("127.0.0.1", 5683, &from);
    must(mem_inject(scene.io, socket, &from, data, len) == SAGATE_OK, "the CSE cannot answer");
}

// Brings to the CSE and to the devices what the worker has sent.
static void deliver(void)
{
    io_id id;
    struct address to;
    const uint8_t *data;
    size_t len;
    uint8_t plain[IO_DATAGRAM_MAX];
    while (mem_take(scene.io, &id, &to, &data, &len)) {
        struct scene_device *device = device_at(&to);
        if (device == NULL) {
            answer(id, data);
            continue;
        }
        tls_client_input(device->client, data, len);
        if (tls_client_read(device->client, plain, sizeof plain) > 0 && plain[1] == COAP_CONTENT)
            answered++;
    }
}

static void run(size_t requests, void (*round)(void))
{
    answered = 0;
    size_t asked = 0;
    while (asked < requests) {
        ask();
        round();
        deliver();
        round();
        deliver();
        asked += DEVICES;
        scene_advance(1);
    }
    must(answered == asked, "requests without an answer");
}

static void warm(void)
{
    (void)worker_round(scene.worker, 0);
}

int main(int argc, char **argv)
{
    size_t requests = argc > 1 ? strtoul(argv[1], NULL, 10) : REQUESTS_DEFAULT;
    open_devices();
    run(WARM_UP, warm);
    run(requests, measured);
    (void)printf("%zu requests\n", answered);
    scene_close();
    return 0;
}
