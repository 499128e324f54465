// sagate-perf-instructions: what one worker does for CoAP requests or for handshakes, over the io driver in memory, so
// that instructions can be counted: devices with DTLS 1.2 PSK and a Connection ID ask and a CSE answers, or devices
// come one after the other, each with a cookie exchange and a handshake.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/handshake/allocator.h"
#include "tests/unit/worker_rig.h"

#include <stdio.h>
#include <stdlib.h>

enum { DEVICES = 32, HANDSHAKES_MAX = 20000, TIMES_DEFAULT = 20000, WARM_UP = 20000 };

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

static struct scene_device *establish(unsigned number)
{
    char identity[32];
    (void)snprintf(identity, sizeof identity, "dev%u", number % DEVICES);
    struct scene_device *device =
        scene_dtls_with_cid(identity, false, slice_of("", 0), "192.0.2.1", (uint16_t)(20000 + number));
    must(scene_establish(device), "a handshake fails");
    return device;
}

static void count_handshakes(unsigned handshakes)
{
    must(handshakes <= HANDSHAKES_MAX, "too many handshakes");
    for (unsigned i = 0; i < handshakes; i++) {
        // Its association stays; the scene's place for it is the next device's.
        struct scene_device *device = establish(i);
        scene_drop(device);
        tls_client_free(device->client);
        scene.device_count--;
    }
    (void)printf("%u handshakes\n", handshakes);
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

static void count_requests(size_t requests)
{
    for (unsigned i = 0; i < DEVICES; i++)
        devices[i] = establish(i);
    run(WARM_UP, warm);
    run(requests, measured);
    (void)printf("%zu requests\n", answered);
}

int main(int argc, char **argv)
{
    bool handshakes = argc > 1 && strcmp(argv[1], "handshakes") == 0;
    size_t times = argc > 2 ? strtoul(argv[2], NULL, 10) : TIMES_DEFAULT;
    if (argc > 3 || (argc > 1 && !handshakes && strcmp(argv[1], "requests") != 0)) {
        (void)fprintf(stderr, "usage: sagate-perf-instructions [requests|handshakes [NUMBER]]\n");
        return EXIT_FAILURE;
    }
    allocator_install(); // as the data process does
    scene_open(LIMITS);
    if (handshakes)
        count_handshakes((unsigned)times);
    else
        count_requests(times);
    scene_close();
    return 0;
}
