// The devices of one run and what is under way with them: slots, each with one handshake or request.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_PERF_FLEET_H
#define SAGATE_PERF_FLEET_H

#include "perf/device.h"
#include "perf/request.h"

enum fleet_task {
    FLEET_REST,       // answers are awaited, nothing new begins
    FLEET_ESTABLISH,  // every device, once
    FLEET_HANDSHAKES, // one device after the other: handshake, close
    FLEET_REQUESTS,   // the first `window` devices, one request after the other
    FLEET_PACED,      // every device; pace.c says when
    FLEET_SAMPLE,     // one request of each device of a random sample
};

struct fleet_slot {
    uint64_t first_us; // when the request or handshake under way began, or should have begun
    uint64_t sent_us;  // when it, or a flight of it, was sent last
    struct request_reader reader;
    uint32_t device; // of a free slot: the next free one plus 1
    uint32_t id, offset, block;
    uint8_t tries;     // how often the request or flight under way was sent
    uint8_t attempts;  // handshakes that were begun in this slot
    uint8_t operation; // enum request_operation
    bool busy;
    bool asks;  // once established, a request goes
    bool probe; // repeated every PROBE_REPEAT_US, until its deadline
    bool stuck; // the handshake could not begin; later
};

struct fleet {
    const struct load_options *options;
    struct device *devices;
    uint32_t count;
    struct fleet_slot *slots;                 // the first is the probe's
    uint32_t slot_count, slot_cap, slot_free; // free: plus 1, 0: none
    uint32_t window, busy;                    // busy: without the probe's
    enum fleet_task task;
    uint64_t next; // of the task: device, or place in the sample
    uint32_t *sample;
    uint32_t sample_size;
    uint32_t *idle; // FLEET_PACED: devices with nothing under way
    uint32_t idle_count;
    uint32_t answered, answered_again, unanswered; // of the sample; again: only after another handshake
    uint32_t established;
    unsigned tries;
    uint64_t probe_end_us, probe_answered_us;
    uint32_t probes_sent;
};

extern struct fleet fleet; // there is one

void fleet_open(const struct load_options *options);
// Begins a task with this many slots; what the task before has under way is given up (its answers are not counted).
void fleet_begin(enum fleet_task task, uint32_t window);
// A random sample of the devices, the last one (which probes) left out.
void fleet_draw(uint32_t size);
// One request of the last device, sent anew until it is answered or the time is over.
void fleet_probe(unsigned seconds);
bool fleet_probing(void);
// Waits for input and deadlines once. True when the watched descriptor has input.
bool fleet_turn(void);
// True when the task has nothing under way and nothing to begin.
bool fleet_done(void);

// --- for pace.c ------------------------------------------------------------------------------------------------------

// Devices that take part in the task.
uint32_t fleet_active(void);
// FLEET_PACED: has an idle device, drawn at random, send a request; its latency counts from `first_us`.
void fleet_ask(uint64_t first_us);
// Ends the association of a device, drawn at random, and makes another; or has it go on from another endpoint. At once,
// or after the answer that it waits for.
void fleet_churn(void);
void fleet_move(void);
// A number below `bound`.
uint32_t fleet_random(uint32_t bound);

#endif
