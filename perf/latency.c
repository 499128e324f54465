// Answer times in logarithmic buckets.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "perf/load.h"

#include <math.h>
#include <string.h>

enum { BUCKETS = 4000 };

static const double first_us = 10.0;
static const double width = 1.005;
static uint64_t buckets[BUCKETS];

void latency_add(uint64_t us)
{
    double at = (double)us <= first_us ? 0.0 : ceil(log((double)us / first_us) / log(width));
    buckets[at < BUCKETS - 1 ? (unsigned)at : BUCKETS - 1]++;
}

void latency_clear(void)
{
    memset(buckets, 0, sizeof buckets);
}

double latency_percentile(double part)
{
    uint64_t total = 0;
    uint64_t seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++)
        total += buckets[i];
    for (unsigned i = 0; total > 0 && i < BUCKETS; i++) {
        seen += buckets[i];
        if ((double)seen >= part * (double)total)
            return first_us * pow(width, i);
    }
    return 0;
}
