// Monotonic time, in milliseconds and microseconds since an arbitrary start.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_COMMON_CLOCK_H
#define SAGATE_COMMON_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000U + (uint64_t)now.tv_nsec / 1000U;
}

static inline uint64_t clock_ms(void)
{
    return clock_us() / 1000U;
}

// Wall-clock seconds since 1970, for expiry times and what people read.
static inline int64_t clock_wall(void)
{
    return (int64_t)time(NULL);
}

#endif
