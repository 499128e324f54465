// Who does what next, what came of it, and what is sent again.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "perf/fleet.h"

#include "common/clock.h"
#include "perf/net.h"
#include "perf/pace.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

enum {
    REQUEST_REPEAT_US = 2000000, // RFC 7252 4.8: ACK_TIMEOUT, doubled each time
    FLIGHT_REPEAT_US = 1000000,  // RFC 6347 4.2.4.1, doubled each time
    STREAM_PATIENCE_US = 30000000,
    PROBE_REPEAT_US = 10000,
    LOOK_US = 100000, // how often deadlines are looked at
    ATTEMPTS_MAX = 3, // handshakes of a device of the sample
    HOPELESS = 1000,  // failed handshakes before the first that succeeds
    PROBE_SLOT = 0,
    FLUSH_EVERY = 16, // handshakes that begin: what has been queued should not wait for all the others
};

struct fleet fleet;

static void start(struct device *device);
static void settle(struct device *device, bool answered);

// --- slots and numbers -------------------------------------------------------------------------------------------

uint32_t fleet_random(uint32_t bound)
{
    static uint64_t state;
    if (state == 0 && (getrandom(&state, sizeof state, 0) != (ssize_t)sizeof state || state == 0))
        state = 1;
    state ^= state << 13; // xorshift
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)((state >> 32) * bound >> 32);
}

static struct fleet_slot *slot_of(const struct device *device)
{
    return &fleet.slots[device->slot - 1];
}

static uint32_t take_slot(void)
{
    enum { STEP = 256 };
    if (fleet.slot_free > 0) {
        uint32_t slot = fleet.slot_free - 1;
        fleet.slot_free = fleet.slots[slot].device;
        return slot;
    }
    if (fleet.slot_count == fleet.slot_cap) {
        uint32_t cap = fleet.slot_cap * 2 + STEP;
        struct fleet_slot *more = realloc(fleet.slots, cap * sizeof *more);
        if (more == NULL)
            load_fail("memory is short");
        fleet.slots = more;
        fleet.slot_cap = cap;
    }
    return fleet.slot_count++;
}

static void leave(struct device *device)
{
    uint32_t place = device->slot - 1;
    struct fleet_slot *slot = &fleet.slots[place];
    request_reader_reset(&slot->reader);
    slot->busy = slot->probe = false;
    device->slot = 0;
    if (place == PROBE_SLOT)
        return;
    slot->device = fleet.slot_free;
    fleet.slot_free = place + 1;
    fleet.busy--;
}

static void enter(uint32_t place, struct device *device, uint64_t first_us, bool asks)
{
    fleet.slots[place] =
        (struct fleet_slot){.device = device_index(device), .busy = true, .asks = asks, .first_us = first_us};
    device->slot = place + 1;
    fleet.busy += place == PROBE_SLOT ? 0U : 1U;
}

static void rest(struct device *device)
{
    if (fleet.task == FLEET_PACED && device_index(device) < fleet_active())
        fleet.idle[fleet.idle_count++] = device_index(device);
}

// --- requests ----------------------------------------------------------------------------------------------------

static struct request request_of(const struct device *device, const char *path, const char *from)
{
    const struct fleet_slot *slot = slot_of(device);
    return (struct request){.operation = (enum request_operation)slot->operation,
                            .path = path,
                            .from = from,
                            .host = fleet.options->target_text,
                            .id = slot->id,
                            .message = device->number,
                            .offset = slot->offset,
                            .block = slot->block};
}

static void send_request(struct device *device)
{
    static uint8_t bytes[REQUEST_HTTP_MAX];
    char from[LOAD_TEXT_MAX];
    char path[LOAD_TEXT_MAX];
    const struct load_options *options = fleet.options;
    struct fleet_slot *slot = slot_of(device);
    uint32_t number = device_index(device) % options->identities;
    load_text(options->path, number, path);
    if (options->from != NULL)
        load_text(options->from, number, from);
    struct request request = request_of(device, path, options->from != NULL ? from : NULL);
    size_t len = device_is_stream() ? request_write_http(&request, bytes) : request_write_coap(&request, bytes);
    if (len == 0)
        load_fail("a request does not fit: shorter --path or --from");
    slot->sent_us = clock_us();
    slot->tries++;
    device_send(device, bytes, len);
}

// One more message of the same request.
static void next_message(struct device *device)
{
    device->number++;
    slot_of(device)->tries = 0;
    send_request(device);
}

static void new_request(struct device *device)
{
    struct fleet_slot *slot = slot_of(device);
    const struct request_mix *mix = &fleet.options->mix;
    request_reader_reset(&slot->reader);
    slot->offset = slot->block = 0;
    slot->id = device->number + 1;
    slot->operation = (uint8_t)request_mix_at(mix, mix->total > 1 ? fleet_random(mix->total) : 0);
    if (fleet.task != FLEET_PACED) // else it was due long before
        slot->first_us = clock_us();
    next_message(device);
}

// --- what tasks begin ----------------------------------------------------------------------------------------------

// Devices for anything but probes, which have the last one where there are such.
static uint32_t usable(void)
{
    return fleet.options->mode == LOAD_HOLD && fleet.count > 1 ? fleet.count - 1 : fleet.count;
}

uint32_t fleet_active(void)
{
    return fleet.task == FLEET_REQUESTS ? fleet.window : usable();
}

static void act(struct device *device, uint64_t first_us, bool asks)
{
    enter(take_slot(), device, first_us, asks);
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

// False when there is nothing to begin.
static bool begin_one(void)
{
    switch (fleet.task) {
    case FLEET_ESTABLISH:
        while (fleet.next < fleet.count && established_already(&fleet.devices[fleet.next]))
            fleet.next++;
        if (fleet.next >= fleet.count)
            return false;
        act(&fleet.devices[fleet.next++], clock_us(), false);
        return true;
    case FLEET_HANDSHAKES:
        while (fleet.devices[fleet.next % fleet.count].slot != 0)
            fleet.next++;
        act(&fleet.devices[fleet.next++ % fleet.count], clock_us(), false);
        return true;
    case FLEET_REQUESTS:
        if (fleet.next >= fleet.window)
            return false;
        act(&fleet.devices[fleet.next++], clock_us(), true);
        return true;
    case FLEET_SAMPLE:
        if (fleet.next >= fleet.sample_size)
            return false;
        act(&fleet.devices[fleet.sample[fleet.next++]], clock_us(), true);
        return true;
    case FLEET_PACED:
    case FLEET_REST:
    default:
        return false;
    }
}

static void begin_more(void)
{
    unsigned begun = 0;
    while (fleet.busy < fleet.window && begin_one())
        if (++begun % FLUSH_EVERY == 0)
            net_flush();
}

static void give_all_up(void)
{
    for (uint32_t i = PROBE_SLOT + 1; i < fleet.slot_count; i++) {
        if (!fleet.slots[i].busy)
            continue;
        struct device *device = &fleet.devices[fleet.slots[i].device];
        // An answer on a stream that nobody waits for would be taken for the next one.
        if (!device_established(device) || device_is_stream())
            device_forget(device);
        leave(device);
    }
    fleet.slot_count = PROBE_SLOT + 1;
    fleet.slot_free = 0;
    fleet.idle_count = 0;
}

void fleet_begin(enum fleet_task task, uint32_t window)
{
    give_all_up();
    fleet.task = task;
    fleet.next = 0;
    fleet.answered = fleet.answered_again = fleet.unanswered = 0;
    fleet.window = window < usable() ? window : usable();
    for (uint32_t i = 0; task == FLEET_PACED && i < usable(); i++)
        fleet.devices[i].slot == 0 ? rest(&fleet.devices[i]) : (void)0;
    pace_begin(fleet.options, task == FLEET_PACED, task == FLEET_PACED || task == FLEET_REQUESTS || task == FLEET_REST);
    begin_more();
}

void fleet_ask(uint64_t first_us)
{
    uint32_t place = fleet_random(fleet.idle_count);
    struct device *device = &fleet.devices[fleet.idle[place]];
    fleet.idle[place] = fleet.idle[--fleet.idle_count];
    (void)established_already(device);
    act(device, first_us, true);
}

// --- samples and probes --------------------------------------------------------------------------------------------

void fleet_draw(uint32_t size)
{
    uint32_t most = usable();
    fleet.sample_size = size < most ? size : most;
    for (uint32_t i = 0; i < most; i++)
        fleet.sample[i] = i;
    for (uint32_t i = 0; i < fleet.sample_size; i++) { // Fisher and Yates
        uint32_t other = i + fleet_random(most - i);
        uint32_t kept = fleet.sample[i];
        fleet.sample[i] = fleet.sample[other];
        fleet.sample[other] = kept;
    }
}

void fleet_probe(unsigned seconds)
{
    struct device *device = &fleet.devices[fleet.count - 1];
    if (device->slot != 0)
        load_fail("the probing device is busy");
    fleet.probe_end_us = clock_us() + seconds * 1000000ULL;
    fleet.probe_answered_us = 0;
    fleet.probes_sent = 0;
    enter(PROBE_SLOT, device, clock_us(), true);
    fleet.slots[PROBE_SLOT].probe = true;
    if (device_established(device))
        new_request(device);
    else
        start(device);
}

bool fleet_probing(void)
{
    return fleet.slots[PROBE_SLOT].busy;
}

bool fleet_done(void)
{
    if (fleet.busy > 0)
        return false;
    return fleet.task == FLEET_REST || (fleet.task == FLEET_ESTABLISH && fleet.next >= fleet.count) ||
           (fleet.task == FLEET_SAMPLE && fleet.next >= fleet.sample_size);
}

// --- what came of it -----------------------------------------------------------------------------------------------

static void ready(struct device *device);

static void start(struct device *device)
{
    struct fleet_slot *slot = slot_of(device);
    slot->sent_us = clock_us();
    slot->tries = 1;
    slot->stuck = false;
    if (slot->attempts < UINT8_MAX)
        slot->attempts++;
    device->ends = device->moves = false;
    // Of what happens later the handler hears.
    enum device_event event = device_start(device);
    if (event == DEVICE_READY)
        ready(device);
    else if (event == DEVICE_GONE)
        slot_of(device)->stuck = true;
    if (load_counters.handshakes_failed >= HOPELESS && load_counters.handshakes == 0)
        load_fail("%d handshakes failed, none succeeded", HOPELESS);
}

// The device is established: goes on with what its slot is for.
static void ready(struct device *device)
{
    const struct fleet_slot *slot = slot_of(device);
    load_counters.handshakes++;
    if (fleet.task == FLEET_HANDSHAKES && !slot->probe) {
        latency_add(&load_latency, clock_us() - slot->first_us);
        device_close(device);
    } else {
        load_counters.again += device->had_one ? 1U : 0U;
        fleet.established += device->had_one ? 0U : 1U;
        device->had_one = true;
    }
    if (slot->asks) {
        new_request(device);
        return;
    }
    leave(device);
    rest(device);
    begin_more();
}

// Its handshake ended as it was to end.
static void alerted(struct device *device)
{
    latency_add(&load_latency, clock_us() - slot_of(device)->first_us);
    leave(device);
    rest(device);
    begin_more();
}

static void gone(struct device *device)
{
    if (load_counters.handshakes_failed >= HOPELESS && load_counters.handshakes == 0)
        load_fail("%d handshakes failed, none succeeded", HOPELESS);
    if (device->slot == 0)
        return;
    request_reader_reset(&slot_of(device)->reader);
    if (fleet.task == FLEET_SAMPLE && !slot_of(device)->probe && slot_of(device)->attempts >= ATTEMPTS_MAX) {
        fleet.unanswered++;
        settle(device, false);
        return;
    }
    start(device);
}

static void event_came(struct device *device, enum device_event event)
{
    if (event == DEVICE_READY && device->slot != 0)
        ready(device);
    else if (event == DEVICE_ALERTED && device->slot != 0)
        alerted(device);
    else if (event == DEVICE_GONE)
        gone(device);
}

static void end_association(struct device *device)
{
    device_close(device);
    load_counters.churned++;
    start(device);
}

void fleet_churn(void)
{
    uint32_t place = fleet_random(fleet_active());
    uint32_t index = place;
    if (fleet.task == FLEET_PACED && place < fleet.idle_count) {
        index = fleet.idle[place];
        fleet.idle[place] = fleet.idle[--fleet.idle_count];
    } else if (fleet.task == FLEET_PACED) {
        place = fleet_random(fleet.slot_count);
        if (!fleet.slots[place].busy || place == PROBE_SLOT)
            return;
        index = fleet.slots[place].device;
    }
    struct device *device = &fleet.devices[index];
    if (fleet.options->security == LOAD_NONE || !device_established(device)) {
        if (device->slot == 0)
            rest(device);
    } else if (device->slot != 0) {
        device->ends = true;
    } else {
        enter(take_slot(), device, clock_us(), false);
        end_association(device);
    }
}

void fleet_move(void)
{
    struct device *device = &fleet.devices[fleet_random(fleet_active())];
    if (device_is_stream() || !device_established(device))
        return;
    if (device->slot != 0)
        device->moves = true;
    else
        device_rebind(device);
}

// The request of a device has come to its end.
static void settle(struct device *device, bool answered)
{
    struct fleet_slot *slot = slot_of(device);
    if (slot->probe) {
        fleet.probe_answered_us = answered ? clock_us() : 0;
        leave(device);
        return;
    }
    if (device->moves)
        device_rebind(device);
    device->moves = false;
    if (device->ends && (fleet.task == FLEET_PACED || fleet.task == FLEET_REQUESTS)) {
        slot->asks = fleet.task == FLEET_REQUESTS;
        slot->attempts = 0;
        end_association(device);
        return;
    }
    if (fleet.task == FLEET_REQUESTS) {
        slot->attempts = 0;
        new_request(device);
        return;
    }
    leave(device);
    rest(device);
    begin_more();
}

static void count_answer(const struct device *device, enum request_answer answer)
{
    static bool said;
    const struct fleet_slot *slot = slot_of(device);
    if (slot->probe)
        return;
    if (answer == REQUEST_REFUSED && !said)
        (void)fprintf(stderr, "sagate-load: a %s was refused: %u\n", request_operation_names[slot->operation],
                      slot->reader.status);
    said = said || answer == REQUEST_REFUSED;
    if (fleet.task == FLEET_SAMPLE) {
        uint32_t *counter = slot->attempts > 0 ? &fleet.answered_again : &fleet.answered;
        (*(answer == REQUEST_OK ? counter : &fleet.unanswered))++;
    }
    load_counters.requests++;
    load_counters.operations[slot->operation]++;
    load_counters.refused += answer == REQUEST_REFUSED ? 1U : 0U;
    latency_add(&load_latency, clock_us() - slot->first_us);
}

static enum request_answer judge(struct device *device, const uint8_t *data, size_t len)
{
    struct request none = {.message = device->number};
    struct fleet_slot *slot = device->slot != 0 ? slot_of(device) : NULL;
    bool acknowledge;
    uint8_t acknowledgement[4];
    if (device_is_stream())
        return slot != NULL ? request_read_http(&slot->reader, data, len) : REQUEST_MORE;
    struct request request = slot != NULL ? request_of(device, "", NULL) : none;
    enum request_answer answer = request_judge_coap(&request, data, len, &acknowledge, acknowledgement);
    if (acknowledge)
        device_send(device, acknowledgement, sizeof acknowledgement);
    if (slot == NULL)
        return REQUEST_MORE;
    slot->offset = request.offset;
    slot->block = request.block;
    slot->reader.status = request.status;
    return answer;
}

static void data_came(struct device *device, const uint8_t *data, size_t len)
{
    enum request_answer answer = judge(device, data, len);
    switch (answer) {
    case REQUEST_OK:
    case REQUEST_REFUSED:
        count_answer(device, answer);
        settle(device, true);
        break;
    case REQUEST_CONTINUE:
    case REQUEST_NEXT_BLOCK:
        next_message(device);
        break;
    case REQUEST_MALFORMED:
        load_counters.errors++;
        break;
    case REQUEST_MORE:
    default:
        break;
    }
}

// No answer after the last try: the device takes the association for lost, and does what a device does then.
static void give_up(struct device *device)
{
    load_counters.lost++;
    device_forget(device);
    if (fleet.task == FLEET_SAMPLE && slot_of(device)->attempts > 0) {
        fleet.unanswered++;
        settle(device, false);
        return;
    }
    start(device);
}

// --- deadlines -----------------------------------------------------------------------------------------------------

static uint64_t patience(const struct fleet_slot *slot, bool handshake)
{
    uint64_t base = handshake ? FLIGHT_REPEAT_US : REQUEST_REPEAT_US;
    unsigned shift = slot->tries > 0 ? slot->tries - 1U : 0U;
    if (slot->probe && !handshake)
        return PROBE_REPEAT_US;
    return device_is_stream() ? STREAM_PATIENCE_US : base << (shift < 5 ? shift : 5);
}

static void look_at_request(struct device *device, uint64_t now)
{
    const struct fleet_slot *slot = slot_of(device);
    if (slot->probe && now >= fleet.probe_end_us) {
        settle(device, false);
    } else if (device_is_stream()) {
        if (!slot->probe)
            give_up(device);
    } else if (slot->probe) {
        fleet.probes_sent++;
        slot_of(device)->tries = 0;
        send_request(device);
    } else if (slot->tries >= fleet.tries) {
        give_up(device);
    } else {
        load_counters.retransmitted++;
        send_request(device);
    }
}

static void look(struct device *device, uint64_t now)
{
    struct fleet_slot *slot = slot_of(device);
    if (slot->stuck) {
        start(device);
        return;
    }
    if (device->state == DEVICE_TICKET && now - slot->sent_us >= FLIGHT_REPEAT_US) {
        event_came(device, device_timeout(device));
        return;
    }
    bool handshake = device->state == DEVICE_HANDSHAKE;
    if (now - slot->sent_us < patience(slot, handshake))
        return;
    if (!handshake) {
        look_at_request(device, now);
        return;
    }
    load_counters.retransmitted += device_is_stream() ? 0U : 1U;
    slot->sent_us = now;
    slot->tries++;
    event_came(device, device_timeout(device));
}

bool fleet_turn(void)
{
    static uint64_t next_look;
    uint64_t most = fleet_probing() ? PROBE_REPEAT_US / 2 : LOOK_US / 2;
    bool ordered = device_wait(pace_run(most));
    uint64_t now = clock_us();
    if (fleet_probing())
        look(&fleet.devices[fleet.count - 1], now);
    if (now < next_look)
        return ordered;
    next_look = now + LOOK_US;
    for (uint32_t i = PROBE_SLOT + 1; i < fleet.slot_count; i++) {
        if (fleet.slots[i].busy)
            look(&fleet.devices[fleet.slots[i].device], now);
    }
    begin_more();
    return ordered;
}

void fleet_open(const struct load_options *options)
{
    static const struct device_handlers handlers = {.data = data_came, .event = event_came};
    fleet = (struct fleet){.options = options, .count = options->devices, .tries = options->tries};
    fleet.devices = device_setup(options, &handlers);
    fleet.sample = calloc(fleet.count, sizeof *fleet.sample);
    fleet.idle = calloc(fleet.count, sizeof *fleet.idle);
    if (fleet.sample == NULL || fleet.idle == NULL)
        load_fail("memory is short");
    (void)take_slot(); // the probe's
    fleet.slots[PROBE_SLOT] = (struct fleet_slot){.busy = false};
    request_setup(options->payload);
}
