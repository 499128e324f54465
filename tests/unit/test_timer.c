// The timer wheel: fires at the right millisecond, near and far, and survives changes from inside a timer.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/worker/timer.h"
#include "tests/unit/unit.h"

#include <stdint.h>

static uint64_t fired_at;
static unsigned fired;
static struct timer_wheel *wheel;

static void note(struct timer *timer, void *context, uint64_t now)
{
    (void)timer;
    (void)context;
    fired_at = now;
    fired++;
}

static void again(struct timer *timer, void *context, uint64_t now)
{
    (void)context;
    fired++;
    timer_set(wheel, timer, now + 10);
}

static void fires_at_its_time(void)
{
    static const uint64_t distances[] = {1, 2, 255, 256, 257, 300, 65535, 65536, 70000, 247000, 20000000};
    for (size_t i = 0; i < sizeof distances / sizeof *distances; i++) {
        uint64_t start = 1000003;
        wheel = timer_wheel_new(start);
        struct timer timer = {.fire = note};
        fired = 0;
        timer_set(wheel, &timer, start + distances[i]);
        uint64_t now = start;
        while (fired == 0 && now < start + distances[i] + 10) {
            uint64_t wait = timer_wheel_wait(wheel, now, 100000);
            CU_ASSERT_FATAL(wait > 0);
            now += wait;
            timer_wheel_run(wheel, now);
        }
        CU_ASSERT_EQUAL(fired, 1);
        CU_ASSERT_EQUAL(fired_at, start + distances[i]);
        CU_ASSERT_FALSE(timer_is_set(&timer));
        timer_wheel_free(wheel);
    }
}

static void cancelled_does_not_fire(void)
{
    wheel = timer_wheel_new(5);
    struct timer one = {.fire = note};
    struct timer two = {.fire = note};
    fired = 0;
    timer_set(wheel, &one, 10);
    timer_set(wheel, &two, 10);
    timer_cancel(&one);
    timer_cancel(&one);
    timer_wheel_run(wheel, 20);
    CU_ASSERT_EQUAL(fired, 1);
    timer_set(wheel, &two, 3); // in the past: fires with the next millisecond
    timer_wheel_run(wheel, 21);
    CU_ASSERT_EQUAL(fired, 2);
    timer_wheel_free(wheel);
}

static void may_set_itself_again(void)
{
    wheel = timer_wheel_new(0);
    struct timer timer = {.fire = again};
    fired = 0;
    timer_set(wheel, &timer, 10);
    for (uint64_t now = 1; now <= 1000; now++)
        timer_wheel_run(wheel, now);
    CU_ASSERT_EQUAL(fired, 100);
    timer_cancel(&timer);
    timer_wheel_free(wheel);
}

static const struct unit_test tests[] = {
    {"fires at its time", fires_at_its_time},
    {"cancelled does not fire", cancelled_does_not_fire},
    {"may set itself again", may_set_itself_again},
};

UNIT_MAIN("timer", tests)
