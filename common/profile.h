// The stage profile: how long a worker is in each stage of its loop, counted while somebody asks (sagatectl profile).
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_COMMON_PROFILE_H
#define SAGATE_COMMON_PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// X(id, name), in the order in which a request passes them. docs/operations.md tells what belongs to each.
#define PROFILE_STAGES(X)        \
    X(WAIT, "io wait")           \
    X(SYSTEM, "io system calls") \
    X(IO, "io driver")           \
    X(LOOKUP, "lookup")          \
    X(HANDSHAKE, "handshake")    \
    X(OPEN, "record open")       \
    X(BINDING, "binding")        \
    X(CONTENT, "content")        \
    X(PEP, "pep")                \
    X(UPSTREAM, "upstream send") \
    X(ANSWER, "upstream answer") \
    X(SEAL, "record seal")       \
    X(TIMERS, "timers")          \
    X(PLANE, "plane messages")   \
    X(WORKER, "worker")

enum profile_stage {
#define X(id, name) PROFILE_##id,
    PROFILE_STAGES(X)
#undef X
        PROFILE_STAGE_COUNT
};

// What a tick is.
enum profile_unit {
    PROFILE_NANOSECONDS = 1,
    PROFILE_CYCLES // of the processor's time stamp counter, which runs at one rate whatever the core's frequency is
};

// In struct stats: written by the worker while it counts, else left as the last time was.
struct stats_profile {
    uint64_t ticket;             // of the order; the last to be written when it ends
    uint64_t unit;               // enum profile_unit
    uint64_t ticks, nanoseconds; // from its begin to its end
    uint64_t batches, events;    // batches with at least one event, and events in them
    uint64_t requests, handshakes;
    struct {
        uint64_t calls, ticks;
    } stages[PROFILE_STAGE_COUNT];
};

enum { PROFILE_DEPTH = 8 }; // stages that lie within each other

// One per thread that counts. The stages that are entered and not left yet: the innermost gets the time.
struct profile {
    struct stats_profile *counts;
    uint64_t since; // ticks, when the innermost stage was last entered or gone back to
    unsigned depth; // place of the innermost in `stages`; those that find no place count for the last that has one
    enum profile_stage stages[PROFILE_DEPTH];
};

// NULL while the thread does not count: all that is asked then is this one word. In the thread's static block, so that
// it is read without a call; all code goes into programs.
extern _Thread_local struct profile *profile_thread __attribute__((tls_model("local-exec")));

const char *profile_stage_name(enum profile_stage stage);
const char *profile_unit_name(enum profile_unit unit);

// The source of ticks, chosen at the first call: the time stamp counter of an x86-64 whose counter never stops and
// never changes its rate (CPUID 80000007H), else the monotonic clock. Any thread.
enum profile_unit profile_unit(void);
uint64_t profile_ticks(void);

// Clears `counts` and counts into it from now on, in `stage`. `profile` is the thread's until profile_end. That thread.
void profile_begin(struct profile *profile, struct stats_profile *counts, enum profile_stage stage);
// The length of it all and the ticket are in `counts` then.
void profile_end(uint64_t ticket);

// The slow side of what follows.
void profile_push(enum profile_stage stage);
void profile_pop(void);
void profile_turn(enum profile_stage stage);

static inline bool profile_is_on(void)
{
    return __builtin_expect(profile_thread != NULL, 0) != 0;
}

// A stage begins within the one in hand, which goes on when it is left.
static inline void profile_enter(enum profile_stage stage)
{
    if (profile_is_on())
        profile_push(stage);
}
static inline void profile_leave(void)
{
    if (profile_is_on())
        profile_pop();
}

// The loop goes on to the next stage; none lies within another now.
static inline void profile_next(enum profile_stage stage)
{
    if (profile_is_on())
        profile_turn(stage);
}

#endif
