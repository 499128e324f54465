// The devices of one run and what is under way with them: a fixed number of slots, each with one handshake or request.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_PERF_FLEET_H
#define SAGATE_PERF_FLEET_H

#include "perf/device.h"

enum fleet_task {
    FLEET_REST,       // answers are awaited, nothing new begins
    FLEET_ESTABLISH,  // every device, once
    FLEET_HANDSHAKES, // one device after the other: handshake, close
    FLEET_REQUESTS,   // slot i: device i, one request after the other
    FLEET_SAMPLE,     // one request of each device of a random sample
};

struct fleet_slot {
    uint32_t device;
    bool busy;
    bool probe; // repeated every PROBE_REPEAT_US, until its deadline
};

struct fleet {
    const struct load_options *options;
    struct device *devices;
    uint32_t count;
    struct fleet_slot *slots; // the last is the probe's
    uint32_t slot_max, window, busy;
    enum fleet_task task;
    uint64_t next; // of the task: device, or place in the sample
    uint32_t *sample;
    uint32_t sample_size;
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

#endif
