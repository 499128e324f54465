// Who does what next, what came of it, and what is sent again.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "perf/fleet.h"

#include "common/clock.h"
#include "perf/net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
    REQUEST_REPEAT_US = 2000000, // RFC 7252 4.8: ACK_TIMEOUT, doubled each time
    FLIGHT_REPEAT_US = 1000000,  // RFC 6347 4.2.4.1, doubled each time
    PROBE_REPEAT_US = 10000,
    LOOK_US = 100000, // how often deadlines are looked at
    ATTEMPTS_MAX = 3, // handshakes of a device of the sample
    HOPELESS = 1000,  // failed handshakes before the first that succeeds
};

struct fleet fleet;

static void begin_next(uint32_t slot);
static void start(struct device *device);
static void settle(struct device *device, bool answered);

void fleet_open(const struct load_options *options)
{
    fleet = (struct fleet){.options = options, .count = options->devices, .tries = options->tries};
    fleet.slot_max = fleet.count + 1;
    fleet.devices = calloc(fleet.count, sizeof *fleet.devices);
    fleet.slots = calloc(fleet.slot_max, sizeof *fleet.slots);
    fleet.sample = calloc(fleet.count, sizeof *fleet.sample);
    if (fleet.devices == NULL || fleet.slots == NULL || fleet.sample == NULL)
        load_fail("memory is short");
    for (uint32_t i = 0; i < fleet.count; i++)
        fleet.devices[i].index = i;
    device_setup(options);
    net_open(&options->target, options->source, fleet.count);
}

static void leave(struct device *device)
{
    struct fleet_slot *slot = &fleet.slots[device->slot - 1];
    slot->busy = slot->probe = false;
    device->slot = 0;
    fleet.busy--;
}

static void enter(uint32_t slot, struct device *device)
{
    fleet.slots[slot] = (struct fleet_slot){.device = device->index, .busy = true};
    device->slot = slot + 1;
    device->tries = device->attempts = 0;
    device->first_us = clock_us();
    fleet.busy++;
}

static void send_request(struct device *device)
{
    uint8_t request[LOAD_REQUEST_MAX];
    char from[LOAD_TEXT_MAX];
    const struct load_options *options = fleet.options;
    if (options->from != NULL)
        load_text(options->from, device->index % options->identities, from);
    size_t len = load_request_coap(options->path, options->from != NULL ? from : NULL, device->number, request);
    device->sent_us = clock_us();
    device->tries++;
    device_send(device, request, len);
}

static void new_request(struct device *device)
{
    device->number++;
    device->tries = 0;
    device->first_us = clock_us();
    send_request(device);
}

// The device is established: goes on with what its slot is for.
static void ready(struct device *device)
{
    uint32_t slot = device->slot - 1;
    load_counters.handshakes++;
    if (fleet.task == FLEET_HANDSHAKES) {
        latency_add(clock_us() - device->first_us);
        device_close(device);
    } else {
        load_counters.again += device->had_one ? 1U : 0U;
        fleet.established += device->had_one ? 0U : 1U;
        device->had_one = true;
    }
    if (fleet.slots[slot].probe || fleet.task == FLEET_REQUESTS || fleet.task == FLEET_SAMPLE) {
        new_request(device);
        return;
    }
    leave(device);
    begin_next(slot);
}

static void gone(struct device *device)
{
    if (load_counters.handshakes_failed >= HOPELESS && load_counters.handshakes == 0)
        load_fail("%d handshakes failed, none succeeded", HOPELESS);
    if (device->slot == 0)
        return;
    if (fleet.task == FLEET_SAMPLE && device->attempts >= ATTEMPTS_MAX) {
        fleet.unanswered++;
        settle(device, false);
        return;
    }
    start(device);
}

static void handle(struct device *device, enum device_event event)
{
    if (event == DEVICE_READY && device->slot != 0)
        ready(device);
    else if (event == DEVICE_GONE)
        gone(device);
}

static void start(struct device *device)
{
    device->sent_us = clock_us();
    device->tries = 1;
    if (device->attempts < UINT8_MAX)
        device->attempts++;
    handle(device, device_start(device));
}

static void act(uint32_t slot, struct device *device)
{
    enter(slot, device);
    if (device_established(device))
        new_request(device);
    else
        start(device);
}

// Without security nothing is to be done for it.
static bool established_already(struct device *device)
{
    if (fleet.options->security == LOAD_NONE && device->state == DEVICE_NEW) {
        (void)device_start(device);
        fleet.established++;
    }
    return device_established(device);
}

static void begin_next(uint32_t slot)
{
    if (slot >= fleet.window)
        return;
    switch (fleet.task) {
    case FLEET_ESTABLISH:
        while (fleet.next < fleet.count && established_already(&fleet.devices[fleet.next]))
            fleet.next++;
        if (fleet.next < fleet.count)
            act(slot, &fleet.devices[fleet.next++]);
        break;
    case FLEET_HANDSHAKES:
        while (fleet.devices[fleet.next % fleet.count].slot != 0)
            fleet.next++;
        act(slot, &fleet.devices[fleet.next++ % fleet.count]);
        break;
    case FLEET_REQUESTS:
        act(slot, &fleet.devices[slot]);
        break;
    case FLEET_SAMPLE:
        if (fleet.next < fleet.sample_size)
            act(slot, &fleet.devices[fleet.sample[fleet.next++]]);
        break;
    case FLEET_REST:
    default:
        break;
    }
}

// Devices for anything but probes, which have the last one where there are such.
static uint32_t usable(void)
{
    return fleet.options->mode == LOAD_HOLD && fleet.count > 1 ? fleet.count - 1 : fleet.count;
}

void fleet_begin(enum fleet_task task, uint32_t window)
{
    for (uint32_t i = 0; i + 1 < fleet.slot_max; i++) {
        if (!fleet.slots[i].busy)
            continue;
        struct device *device = &fleet.devices[fleet.slots[i].device];
        if (!device_established(device))
            device_forget(device);
        leave(device);
    }
    fleet.task = task;
    fleet.next = 0;
    fleet.answered = fleet.answered_again = fleet.unanswered = 0;
    fleet.window = window < usable() ? window : usable();
    for (uint32_t i = 0; i < fleet.window; i++) {
        if (!fleet.slots[i].busy)
            begin_next(i);
        // What has been queued should not wait for all the others: a handshake takes its time.
        if (i % 16 == 15)
            net_flush();
    }
}

void fleet_draw(uint32_t size)
{
    uint32_t most = usable();
    fleet.sample_size = size < most ? size : most;
    for (uint32_t i = 0; i < most; i++)
        fleet.sample[i] = i;
    for (uint32_t i = 0; i < fleet.sample_size; i++) { // Fisher and Yates
        uint32_t random;
        if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
            load_fail("no random numbers");
        uint32_t other = i + (uint32_t)((uint64_t)random * (most - i) >> 32);
        uint32_t kept = fleet.sample[i];
        fleet.sample[i] = fleet.sample[other];
        fleet.sample[other] = kept;
    }
}

void fleet_probe(unsigned seconds)
{
    uint32_t slot = fleet.slot_max - 1;
    struct device *device = &fleet.devices[fleet.count - 1];
    if (device->slot != 0)
        load_fail("the probing device is busy");
    fleet.probe_end_us = clock_us() + seconds * 1000000ULL;
    fleet.probe_answered_us = 0;
    fleet.probes_sent = 0;
    enter(slot, device);
    fleet.slots[slot].probe = true;
    if (device_established(device))
        new_request(device);
    else
        start(device);
}

bool fleet_probing(void)
{
    return fleet.slots[fleet.slot_max - 1].busy;
}

bool fleet_done(void)
{
    if (fleet.busy > (fleet_probing() ? 1U : 0U))
        return false;
    return fleet.task == FLEET_REST || (fleet.task == FLEET_ESTABLISH && fleet.next >= fleet.count) ||
           (fleet.task == FLEET_SAMPLE && fleet.next >= fleet.sample_size);
}

// The request of a device has come to its end.
static void settle(struct device *device, bool answered)
{
    uint32_t slot = device->slot - 1;
    if (fleet.slots[slot].probe) {
        fleet.probe_answered_us = answered ? clock_us() : 0;
        leave(device);
        return;
    }
    if (fleet.task == FLEET_REQUESTS) {
        new_request(device);
        return;
    }
    leave(device);
    begin_next(slot);
}

static void answer_came(struct device *device, const uint8_t *data, size_t len)
{
    bool acknowledge;
    uint8_t acknowledgement[4];
    enum load_answer answer = load_answer_coap(data, len, device->number, &acknowledge, acknowledgement);
    if (acknowledge)
        device_send(device, acknowledgement, sizeof acknowledgement);
    if (answer == LOAD_MALFORMED)
        load_counters.errors++;
    if ((answer != LOAD_OK && answer != LOAD_REFUSED) || device->slot == 0)
        return;
    bool probe = fleet.slots[device->slot - 1].probe;
    if (fleet.task == FLEET_SAMPLE && !probe) {
        uint32_t *counter = device->attempts > 0 ? &fleet.answered_again : &fleet.answered;
        (*(answer == LOAD_OK ? counter : &fleet.unanswered))++;
    }
    if (!probe) {
        load_counters.requests++;
        load_counters.refused += answer == LOAD_REFUSED ? 1U : 0U;
        latency_add(clock_us() - device->first_us);
    }
    settle(device, true);
}

// No answer after the last try: the device takes the association for lost, and does what a device does then.
static void give_up(struct device *device)
{
    load_counters.lost++;
    device_forget(device);
    if (fleet.task == FLEET_SAMPLE && device->attempts > 0) {
        fleet.unanswered++;
        settle(device, false);
        return;
    }
    start(device);
}

static void look(struct device *device, uint64_t now)
{
    const struct fleet_slot *slot = &fleet.slots[device->slot - 1];
    bool handshake = device->state == DEVICE_HANDSHAKE;
    uint64_t base = handshake ? FLIGHT_REPEAT_US : REQUEST_REPEAT_US;
    unsigned shift = device->tries > 0 ? device->tries - 1U : 0U;
    uint64_t after = slot->probe && !handshake ? PROBE_REPEAT_US : base << (shift < 5 ? shift : 5);
    if (now - device->sent_us < after)
        return;
    if (handshake) {
        load_counters.retransmitted++;
        device->sent_us = now;
        device->tries++;
        handle(device, device_timeout(device));
    } else if (slot->probe) {
        if (now >= fleet.probe_end_us) {
            settle(device, false);
            return;
        }
        fleet.probes_sent++;
        device->tries = 0;
        send_request(device);
    } else if (device->tries >= fleet.tries) {
        give_up(device);
    } else {
        load_counters.retransmitted++;
        send_request(device);
    }
}

static void input(uint32_t endpoint, uint8_t *data, size_t len)
{
    struct device *device = &fleet.devices[endpoint];
    handle(device, device_input(device, data, len, answer_came));
}

bool fleet_turn(void)
{
    static uint64_t next_look;
    bool probing = fleet_probing();
    bool ordered = net_wait(probing ? PROBE_REPEAT_US / 2000 : LOOK_US / 2000, input);
    uint64_t now = clock_us();
    if (fleet_probing())
        look(&fleet.devices[fleet.count - 1], now);
    if (now < next_look)
        return ordered;
    next_look = now + LOOK_US;
    for (uint32_t i = 0; i < fleet.window; i++) {
        if (fleet.slots[i].busy)
            look(&fleet.devices[fleet.slots[i].device], now);
        else
            begin_next(i);
    }
    return ordered;
}
