// The counting side of the stage profile, and its source of time.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/profile.h"

#include <time.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>
#endif

_Thread_local struct profile *profile_thread __attribute__((tls_model("local-exec")));

const char *profile_stage_name(enum profile_stage stage)
{
    static const char *const names[PROFILE_STAGE_COUNT] = {
#define X(id, name) [PROFILE_##id] = (name),
        PROFILE_STAGES(X)
#undef X
    };
    return names[stage];
}

const char *profile_unit_name(enum profile_unit unit)
{
    return unit == PROFILE_CYCLES ? "cycles" : "nanoseconds";
}

static uint64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

#if defined(__x86_64__)
static enum profile_unit choose(void)
{
    enum { LEAF = 0x80000007, INVARIANT = 1 << 8 }; // advanced power management; in EDX
    unsigned a, b, c, d;
    return __get_cpuid((unsigned)LEAF, &a, &b, &c, &d) != 0 && (d & INVARIANT) != 0 ? PROFILE_CYCLES
                                                                                    : PROFILE_NANOSECONDS;
}

static uint64_t cycles(void)
{
    return __rdtsc();
}
#else
static enum profile_unit choose(void)
{
    return PROFILE_NANOSECONDS;
}

static uint64_t cycles(void)
{
    return nanoseconds();
}
#endif

enum profile_unit profile_unit(void)
{
    // Whichever thread is first, all choose the same.
    static int chosen;
    int unit = __atomic_load_n(&chosen, __ATOMIC_RELAXED);
    if (unit == 0) {
        unit = (int)choose();
        __atomic_store_n(&chosen, unit, __ATOMIC_RELAXED);
    }
    return (enum profile_unit)unit;
}

uint64_t profile_ticks(void)
{
    return profile_unit() == PROFILE_CYCLES ? cycles() : nanoseconds();
}

// One thread writes, another process reads.
static void set(uint64_t *counter, uint64_t value)
{
    __atomic_store_n(counter, value, __ATOMIC_RELAXED);
}

// The time until now is the innermost stage's.
static void charge(struct profile *profile)
{
    uint64_t now = profile_ticks();
    unsigned innermost = profile->depth < PROFILE_DEPTH ? profile->depth : PROFILE_DEPTH - 1;
    uint64_t *ticks = &profile->counts->stages[profile->stages[innermost]].ticks;
    set(ticks, *ticks + (now - profile->since));
    profile->since = now;
}

static void count_call(struct profile *profile, enum profile_stage stage)
{
    uint64_t *calls = &profile->counts->stages[stage].calls;
    set(calls, *calls + 1);
}

void profile_begin(struct profile *profile, struct stats_profile *counts, enum profile_stage stage)
{
    for (size_t i = 0; i < PROFILE_STAGE_COUNT; i++) {
        set(&counts->stages[i].calls, 0);
        set(&counts->stages[i].ticks, 0);
    }
    set(&counts->unit, profile_unit());
    set(&counts->batches, 0);
    set(&counts->events, 0);
    // Until the end these are when it began.
    set(&counts->nanoseconds, nanoseconds());
    set(&counts->ticks, profile_ticks());
    *profile = (struct profile){.counts = counts, .since = counts->ticks, .stages = {stage}};
    profile_thread = profile;
}

void profile_end(uint64_t ticket)
{
    struct profile *profile = profile_thread;
    if (profile == NULL)
        return;
    charge(profile);
    struct stats_profile *counts = profile->counts;
    set(&counts->ticks, profile->since - counts->ticks);
    set(&counts->nanoseconds, nanoseconds() - counts->nanoseconds);
    __atomic_store_n(&counts->ticket, ticket, __ATOMIC_RELEASE);
    profile_thread = NULL;
}

void profile_push(enum profile_stage stage)
{
    struct profile *profile = profile_thread;
    charge(profile);
    count_call(profile, stage);
    profile->depth++;
    if (profile->depth < PROFILE_DEPTH)
        profile->stages[profile->depth] = stage;
}

void profile_pop(void)
{
    struct profile *profile = profile_thread;
    charge(profile);
    // One that was entered before the counting began is not known here.
    if (profile->depth > 0)
        profile->depth--;
}

void profile_turn(enum profile_stage stage)
{
    struct profile *profile = profile_thread;
    charge(profile);
    count_call(profile, stage);
    profile->depth = 0;
    profile->stages[0] = stage;
}
