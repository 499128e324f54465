// Times in buckets whose width grows with them.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "perf/latency.h"

#include <inttypes.h>
#include <string.h>

enum { HALF_BITS = 8, WORD_BITS = 64 };

static unsigned bucket_of(uint64_t us)
{
    if (us < LATENCY_HALF)
        return (unsigned)us;
    if (us > LATENCY_MAX_US)
        us = LATENCY_MAX_US;
    unsigned shift = (unsigned)(WORD_BITS - 1 - __builtin_clzll(us)) - HALF_BITS;
    return (shift + 1) * LATENCY_HALF + (unsigned)(us >> shift) - LATENCY_HALF;
}

static uint64_t upper_of(unsigned bucket)
{
    if (bucket < LATENCY_HALF)
        return bucket;
    unsigned shift = bucket / LATENCY_HALF - 1;
    return ((uint64_t)(bucket % LATENCY_HALF + LATENCY_HALF + 1) << shift) - 1;
}

void latency_add(struct latency *latency, uint64_t us)
{
    latency->buckets[bucket_of(us)]++;
    latency->count++;
    latency->max_us = us > latency->max_us ? us : latency->max_us;
}

void latency_clear(struct latency *latency)
{
    memset(latency, 0, sizeof *latency);
}

uint64_t latency_percentile(const struct latency *latency, double part)
{
    uint64_t seen = 0;
    for (unsigned i = 0; latency->count > 0 && i < LATENCY_BUCKETS; i++) {
        seen += latency->buckets[i];
        if (seen > 0 && (double)seen >= part * (double)latency->count)
            return upper_of(i) < latency->max_us ? upper_of(i) : latency->max_us;
    }
    return 0;
}

void latency_print(const struct latency *latency, FILE *out)
{
    const char *separator = "";
    (void)fputc('[', out);
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        if (latency->buckets[i] == 0)
            continue;
        (void)fprintf(out, "%s[%" PRIu64 ",%" PRIu64 "]", separator, upper_of(i), latency->buckets[i]);
        separator = ",";
    }
    (void)fputc(']', out);
}
