// Timers of one worker: a hierarchical wheel with a resolution of one millisecond. One thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_WORKER_TIMER_H
#define SAGATE_DATAPLANE_WORKER_TIMER_H

#include <stdbool.h>
#include <stdint.h>

// Embedded in whatever waits; zero-initialised means "not set".
struct timer {
    struct timer *next, **link; // link: NULL when the timer is not set
    uint64_t expires_ms;
    void (*fire)(struct timer *timer, void *context, uint64_t now_ms);
    void *context;
};

struct timer_wheel;

// NULL when memory is short. Owned by the caller.
struct timer_wheel *timer_wheel_new(uint64_t now_ms);
void timer_wheel_free(struct timer_wheel *wheel); // timers that are still set are forgotten, not fired

// Sets, or moves, a timer to fire at the first run with now_ms >= expires_ms. O(1), never fails.
void timer_set(struct timer_wheel *wheel, struct timer *timer, uint64_t expires_ms);
void timer_cancel(struct timer *timer); // no effect when the timer is not set
static inline bool timer_is_set(const struct timer *timer)
{
    return timer->link != 0;
}

// Fires what is due. A timer is unset before its function runs, which may set or cancel any timer.
void timer_wheel_run(struct timer_wheel *wheel, uint64_t now_ms);

// Milliseconds until timer_wheel_run may have work, at most `cap`; never later than the first timer.
uint64_t timer_wheel_wait(const struct timer_wheel *wheel, uint64_t now_ms, uint64_t cap);

#endif
