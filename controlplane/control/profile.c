// What the workers counted in a stage profile, as the answer to the command.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/profile.h"
#include "controlplane/control/state.h"

struct stage {
    uint64_t calls, ticks;
};

struct sums {
    unsigned workers;
    enum profile_unit unit;
    uint64_t ticks, nanoseconds, batches, events, requests, handshakes;
    struct stage stages[PROFILE_STAGE_COUNT];
};

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

// A member only where it can be told.
static void set_ratio(json_t *object, const char *name, uint64_t value, uint64_t by)
{
    (void)json_object_set_new(object, name, by == 0 ? json_null() : json_real((double)value / (double)by));
}

static void add_worker(struct sums *sums, const struct stats *stats, uint64_t ticket)
{
    const struct stats_profile *counts = &stats->profile;
    if (stats_get(&stats->layout) != STATS_LAYOUT || __atomic_load_n(&counts->ticket, __ATOMIC_ACQUIRE) != ticket)
        return;
    sums->workers++;
    sums->unit = (enum profile_unit)stats_get(&counts->unit);
    sums->ticks += stats_get(&counts->ticks);
    sums->nanoseconds += stats_get(&counts->nanoseconds);
    sums->batches += stats_get(&counts->batches);
    sums->events += stats_get(&counts->events);
    sums->requests += stats_get(&counts->requests);
    sums->handshakes += stats_get(&counts->handshakes);
    for (size_t i = 0; i < PROFILE_STAGE_COUNT; i++) {
        sums->stages[i].calls += stats_get(&counts->stages[i].calls);
        sums->stages[i].ticks += stats_get(&counts->stages[i].ticks);
    }
}

static json_t *describe_stage(const struct sums *sums, enum profile_stage stage, uint64_t busy)
{
    const struct stage *one = &sums->stages[stage];
    json_t *object = json_pack("{s:s, s:o, s:o}", "stage", profile_stage_name(stage), "calls", number(one->calls),
                               "ticks", number(one->ticks));
    set_ratio(object, "per_call", one->ticks, one->calls);
    set_ratio(object, "per_batch", one->ticks, sums->batches);
    set_ratio(object, "per_request", one->ticks, sums->requests);
    set_ratio(object, "per_handshake", one->ticks, sums->handshakes);
    if (stage == PROFILE_WAIT)
        (void)json_object_set_new(object, "share", json_null());
    else
        set_ratio(object, "share", one->ticks, busy);
    return object;
}

json_t *profile_describe(const struct control *control, uint64_t ticket)
{
    struct sums sums = {.unit = PROFILE_NANOSECONDS};
    for (unsigned i = 0; control->stats != NULL && i < control->stats_workers; i++) {
        const uint8_t *at = (const uint8_t *)control->stats + (size_t)i * (size_t)METRICS_STRIDE;
        add_worker(&sums, (const struct stats *)(const void *)at, ticket);
    }
    json_t *stages = json_array();
    uint64_t wait = sums.stages[PROFILE_WAIT].ticks;
    uint64_t busy = sums.ticks > wait ? sums.ticks - wait : 0;
    for (size_t i = 0; i < PROFILE_STAGE_COUNT; i++)
        (void)json_array_append_new(stages, describe_stage(&sums, (enum profile_stage)i, busy));
    json_t *answer = json_pack("{s:I, s:s, s:o, s:o, s:o, s:o, s:o}", "workers", (json_int_t)sums.workers, "unit",
                               profile_unit_name(sums.unit), "nanoseconds", number(sums.nanoseconds), "batches",
                               number(sums.batches), "events", number(sums.events), "requests", number(sums.requests),
                               "handshakes", number(sums.handshakes));
    set_ratio(answer, "ticks_per_nanosecond", sums.ticks, sums.nanoseconds);
    set_ratio(answer, "busy", busy, sums.ticks);
    set_ratio(answer, "busy_per_request", busy, sums.requests);
    set_ratio(answer, "busy_per_handshake", busy, sums.handshakes);
    (void)json_object_set_new(answer, "stages", stages);
    return answer;
}
