// Counting how long each stage of a worker takes, on the order of control and for a time that the order names.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/profile.h"
#include "dataplane/worker/internal.h"

static const enum stat_id handshakes[] = {STAT_HANDSHAKES_OK_PSK, STAT_HANDSHAKES_OK_MAF,
                                          STAT_HANDSHAKES_OK_CERTIFICATE, STAT_HANDSHAKES_OK_NONE};

static uint64_t handshakes_done(const struct stats *stats)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof handshakes / sizeof *handshakes; i++)
        sum += stats->counters[handshakes[i]];
    return sum;
}

static uint64_t primitives_answered(const struct stats *stats)
{
    uint64_t sum = 0;
    for (unsigned binding = 0; binding < STATS_BINDINGS; binding++) {
        for (unsigned operation = 0; operation < STATS_OPERATIONS; operation++) {
            for (unsigned row = 0; row < STATS_RSC_COUNT; row++)
                sum += stats->primitives[binding][operation][row];
        }
    }
    return sum;
}

static void end(struct worker *worker)
{
    struct stats_profile *counts = &worker->stats->profile;
    stats_set(&counts->requests, primitives_answered(worker->stats) - counts->requests);
    stats_set(&counts->handshakes, handshakes_done(worker->stats) - counts->handshakes);
    profile_end(worker->profile_ticket);
    const struct plane_message message = {.type = PLANE_PROFILED, .profiled = {.ticket = worker->profile_ticket}};
    channel_send(worker, &message);
}

static void on_time(struct timer *timer, void *context, uint64_t now_ms)
{
    (void)timer;
    (void)now_ms;
    end(context);
}

void profile_init(struct worker *worker)
{
    worker->profile_timer = (struct timer){.fire = on_time, .context = worker};
}

void profile_free(struct worker *worker)
{
    if (profile_thread == &worker->profile)
        profile_thread = NULL;
}

void profile_order(struct worker *worker, const struct plane_profile *order)
{
    struct stats_profile *counts = &worker->stats->profile;
    if (profile_is_on()) {
        timer_cancel(&worker->profile_timer);
        end(worker);
    }
    if (order->milliseconds == 0)
        return;
    worker->profile_ticket = order->ticket;
    // Until the end these are what had been before.
    stats_set(&counts->requests, primitives_answered(worker->stats));
    stats_set(&counts->handshakes, handshakes_done(worker->stats));
    profile_begin(&worker->profile, counts, PROFILE_PLANE);
    timer_set(worker->wheel, &worker->profile_timer, worker->now_ms + order->milliseconds);
}

int profile_wait(struct worker *worker, int64_t timeout_us)
{
    struct stats_profile *counts = worker->profile.counts;
    profile_next(PROFILE_IO);
    // First a look, so that work that the system calls do is told from waiting with nothing to do.
    int count = io_wait(worker->io, worker->events, WORKER_EVENTS, 0);
    if (count == 0 && timeout_us != 0)
        count = io_wait(worker->io, worker->events, WORKER_EVENTS, timeout_us);
    if (count > 0) {
        stats_count(&counts->batches, 1);
        stats_count(&counts->events, (uint64_t)count);
    }
    profile_next(PROFILE_WORKER);
    return count;
}
