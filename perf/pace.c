// An open loop knows when each request is due, whatever became of those before. Pauses, lives and addresses have
// exponential lengths, so that which device is next, and when, needs no memory of each.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "perf/pace.h"

#include "common/clock.h"
#include "perf/fleet.h"

#include <math.h>

enum { BURST = 64 }; // requests that are sent before input is looked at

static const struct load_options *options;
static bool asking, living;
static uint64_t start_us, asked; // open loop: request i is due at start_us + i / rate
static bool starved;             // it found no idle device,
static uint64_t free_us;         // the last time then
static uint64_t waited;
static uint32_t thinking; // devices that pause
static uint64_t next_think_us, next_churn_us, next_move_us;

static uint64_t exponential(double mean_us)
{
    double uniform = ((double)fleet_random(UINT32_MAX) + 1.0) / ((double)UINT32_MAX + 1.0);
    return (uint64_t)(-log(uniform) * mean_us);
}

// The first of many devices that do something every so often in the mean.
static uint64_t after(uint64_t now, double mean_us, uint32_t devices)
{
    return now + exponential(mean_us / (devices > 0 ? devices : 1));
}

void pace_begin(const struct load_options *given, bool asks, bool lives)
{
    options = given;
    asking = asks;
    living = lives;
    start_us = free_us = clock_us();
    asked = 0;
    starved = false;
    next_think_us = start_us;
    thinking = 0;
    next_churn_us = after(start_us, options->churn * 1e6, fleet_active());
    next_move_us = after(start_us, options->rebind * 1e6, fleet_active());
}

static uint64_t due_us(void)
{
    return start_us + (uint64_t)((double)asked * 1e6 / options->rate);
}

static uint64_t run_open(uint64_t now)
{
    for (unsigned i = 0; i < BURST && due_us() <= now; i++) {
        if (fleet.idle_count == 0) {
            starved = true;
            return UINT64_MAX; // the next answer wakes us
        }
        if (starved)
            free_us = now;
        starved = false;
        uint64_t due = due_us();
        if (due < free_us)
            waited++;
        else
            latency_add(&load_late, now - due);
        asked++;
        fleet_ask(due);
    }
    return due_us();
}

static uint64_t run_thinking(uint64_t now)
{
    unsigned begun = 0;
    if (fleet.idle_count != thinking) // others think now: as if all began anew, since an exponential has no memory
        next_think_us = after(now, options->think * 1e3, fleet.idle_count);
    for (; begun < BURST && fleet.idle_count > 0 && next_think_us <= now; begun++) {
        fleet_ask(now);
        next_think_us = after(next_think_us, options->think * 1e3, fleet.idle_count);
    }
    thinking = fleet.idle_count;
    return fleet.idle_count > 0 ? next_think_us : UINT64_MAX;
}

static uint64_t run_lives(uint64_t now)
{
    uint64_t next = UINT64_MAX;
    uint32_t active = fleet_active();
    if (active == 0)
        return next;
    for (; options->churn > 0 && next_churn_us <= now;
         next_churn_us = after(next_churn_us, options->churn * 1e6, active))
        fleet_churn();
    for (; options->rebind > 0 && next_move_us <= now;
         next_move_us = after(next_move_us, options->rebind * 1e6, active))
        fleet_move();
    if (options->churn > 0)
        next = next_churn_us;
    return options->rebind > 0 && next_move_us < next ? next_move_us : next;
}

uint64_t pace_run(uint64_t most_us)
{
    uint64_t now = clock_us();
    uint64_t next = now + most_us;
    uint64_t own = UINT64_MAX;
    if (asking)
        own = options->rate > 0 ? run_open(now) : run_thinking(now);
    next = own < next ? own : next;
    own = living ? run_lives(now) : UINT64_MAX;
    next = own < next ? own : next;
    now = clock_us();
    return next > now ? next - now : 0;
}

uint64_t pace_waited(void)
{
    uint64_t since = waited;
    waited = 0;
    return since;
}
