// Histograms of times, as HdrHistogram has them: exact to 511 us, then 256 buckets for each power of two (0.4 % wide).
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_PERF_LATENCY_H
#define SAGATE_PERF_LATENCY_H

#include <stdint.h>
#include <stdio.h>

enum { LATENCY_HALF = 256, LATENCY_BUCKETS = 19 * LATENCY_HALF, LATENCY_MAX_US = 60000000 };

// Zero-initialised means empty. What took longer than LATENCY_MAX_US counts as that, but in `max_us`.
struct latency {
    uint64_t count, max_us;
    uint64_t buckets[LATENCY_BUCKETS];
};

void latency_add(struct latency *latency, uint64_t us);
void latency_clear(struct latency *latency);
// The upper end, in microseconds, of the bucket that holds this part of all (0 to 1); never more than the longest; 0:
// empty.
uint64_t latency_percentile(const struct latency *latency, double part);
// "[[upper_us, count], …]" of the buckets that are not empty.
void latency_print(const struct latency *latency, FILE *out);

#endif
