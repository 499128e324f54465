// The timer wheel: four levels of 256 slots; a timer moves to a finer level as its time comes near.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/worker/timer.h"

#include <stddef.h>
#include <stdlib.h>

enum { LEVELS = 4, BITS = 8, SLOTS = 1 << BITS, MASK = SLOTS - 1 };

struct timer_wheel {
    uint64_t now; // the last millisecond whose slot was run
    struct timer *slots[LEVELS][SLOTS];
};

struct timer_wheel *timer_wheel_new(uint64_t now_ms)
{
    struct timer_wheel *wheel = calloc(1, sizeof *wheel);
    if (wheel != NULL)
        wheel->now = now_ms;
    return wheel;
}

void timer_wheel_free(struct timer_wheel *wheel)
{
    free(wheel);
}

void timer_cancel(struct timer *timer)
{
    if (timer->link == NULL)
        return;
    *timer->link = timer->next;
    if (timer->next != NULL)
        timer->next->link = timer->link;
    timer->link = NULL;
    timer->next = NULL;
}

static void push(struct timer **slot, struct timer *timer)
{
    timer->next = *slot;
    if (*slot != NULL)
        (*slot)->link = &timer->next;
    *slot = timer;
    timer->link = slot;
}

static void place(struct timer_wheel *wheel, struct timer *timer)
{
    // What is due already goes into the next slot to run.
    uint64_t when = timer->expires_ms > wheel->now ? timer->expires_ms : wheel->now + 1;
    uint64_t distance = when - wheel->now;
    int level = 0;
    while (level < LEVELS - 1 && distance >= (1ULL << (BITS * (level + 1))))
        level++;
    if (level == LEVELS - 1 && distance >= (1ULL << (BITS * LEVELS)))
        when = wheel->now + (1ULL << (BITS * LEVELS)) - 1; // placed again when that time comes
    push(&wheel->slots[level][(when >> (BITS * level)) & MASK], timer);
}

void timer_set(struct timer_wheel *wheel, struct timer *timer, uint64_t expires_ms)
{
    timer_cancel(timer);
    timer->expires_ms = expires_ms;
    place(wheel, timer);
}

static void cascade(struct timer_wheel *wheel, int level)
{
    struct timer **slot = &wheel->slots[level][(wheel->now >> (BITS * level)) & MASK];
    struct timer *list = *slot;
    *slot = NULL;
    while (list != NULL) {
        struct timer *timer = list;
        list = timer->next;
        timer->link = NULL;
        timer->next = NULL;
        // Due in this very millisecond: into the slot that is about to run.
        if (timer->expires_ms <= wheel->now)
            push(&wheel->slots[0][wheel->now & MASK], timer);
        else
            place(wheel, timer);
    }
}

void timer_wheel_run(struct timer_wheel *wheel, uint64_t now_ms)
{
    while (wheel->now < now_ms) {
        wheel->now++;
        for (int level = 1; level < LEVELS; level++) {
            if ((wheel->now & ((1ULL << (BITS * level)) - 1)) != 0)
                break;
            cascade(wheel, level);
        }
        struct timer **slot = &wheel->slots[0][wheel->now & MASK];
        while (*slot != NULL) {
            struct timer *timer = *slot;
            timer_cancel(timer);
            timer->fire(timer, timer->context, now_ms);
        }
    }
}

uint64_t timer_wheel_wait(const struct timer_wheel *wheel, uint64_t now_ms, uint64_t cap)
{
    if (now_ms > wheel->now)
        return 0;
    // Looking at the finest level only is enough: a coarser one needs a look at the next cascade, at most 256 ms away.
    uint64_t next_cascade = SLOTS - (wheel->now & MASK);
    if (cap > next_cascade)
        cap = next_cascade;
    for (uint64_t i = 1; i <= cap; i++) {
        if (wheel->slots[0][(wheel->now + i) & MASK] != NULL)
            return i;
    }
    return cap;
}
