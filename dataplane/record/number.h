// Record numbers: as bytes in network order, and the window against replays (RFC 6347 4.1.2.6, RFC 9147 4.5.1).
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_RECORD_NUMBER_H
#define SAGATE_DATAPLANE_RECORD_NUMBER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NUMBER_WINDOW = 64, NUMBER_EPOCH_SHIFT = 48 };
#define NUMBER_SEQUENCE_MASK ((1ULL << NUMBER_EPOCH_SHIFT) - 1)

static inline void number_put(uint8_t *out, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        out[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

static inline uint64_t number_get(const uint8_t *in, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | in[i];
    return value;
}

// True when the number was seen, or is older than the window. Bit i of the window: newest - i was seen; 0: nothing was.
static inline bool number_seen(uint64_t newest, uint64_t window, uint64_t number)
{
    if (number > newest)
        return false;
    uint64_t behind = newest - number;
    return behind >= NUMBER_WINDOW || (window >> behind & 1) != 0;
}

// Marks a number that was not. A process that dies between the steps leaves a window that drops too much, never one
// that takes a record twice.
static inline void number_mark(uint64_t *newest, uint64_t *window, uint64_t number)
{
    if (number <= *newest) {
        *window |= 1ULL << (*newest - number);
        return;
    }
    uint64_t ahead = number - *newest;
    uint64_t after = (ahead >= NUMBER_WINDOW ? 0 : *window << ahead) | 1;
    *window = UINT64_MAX;
    atomic_signal_fence(memory_order_seq_cst);
    *newest = number;
    atomic_signal_fence(memory_order_seq_cst);
    *window = after;
}

// Takes the next number for a record to be sealed: it is used up before it is used, should the process die in between.
static inline uint64_t number_next(uint64_t *next)
{
    uint64_t number = (*next)++;
    atomic_signal_fence(memory_order_seq_cst);
    return number;
}

#endif
