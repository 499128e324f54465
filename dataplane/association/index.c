// Linear probing, and deletion that moves what follows back, so that no marks of deleted entries pile up.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/association/index.h"

enum {
    // Chains of such a length do not come about by chance while half of the entries are empty, and nobody who does not
    // know the key of the hash can make one. In a damaged table the search ends here.
    PROBES_MAX = 1024,
};

size_t index_bytes(uint32_t numbers)
{
    return (size_t)numbers * 2 * sizeof(uint32_t);
}

void index_init(struct index *index, uint32_t *entries, uint32_t numbers, uint32_t highest, index_hash *hash,
                index_match *match)
{
    unsigned bits = 1;
    while (highest >> bits != 0)
        bits++;
    *index =
        (struct index){.entries = entries, .capacity = numbers * 2, .number_bits = bits, .hash = hash, .match = match};
}

// The upper half of the hash chooses the place, the lower one the tag.
static uint32_t home(const struct index *index, uint64_t hash)
{
    return (uint32_t)(((hash >> 32) * index->capacity) >> 32);
}

static uint32_t entry_of(const struct index *index, uint64_t hash, uint32_t number)
{
    return (uint32_t)hash << index->number_bits | number;
}

static uint32_t number_of(const struct index *index, uint32_t entry)
{
    return entry & ((1U << index->number_bits) - 1);
}

static uint32_t next(const struct index *index, uint32_t at)
{
    return at + 1 == index->capacity ? 0 : at + 1;
}

uint32_t index_find(const struct store *store, const struct index *index, uint64_t hash, const void *key)
{
    const uint32_t tag = entry_of(index, hash, 0);
    uint32_t at = home(index, hash);
    for (unsigned i = 0; i < PROBES_MAX && i < index->capacity; i++, at = next(index, at)) {
        uint32_t entry = index->entries[at];
        if (entry == 0)
            return 0;
        uint32_t number = number_of(index, entry);
        if ((entry ^ number) == tag && index->match(store, number, key))
            return number;
    }
    return 0;
}

void index_prefetch(const struct index *index, uint64_t hash)
{
    __builtin_prefetch(&index->entries[home(index, hash)], 1);
}

bool index_insert(struct index *index, uint64_t hash, uint32_t number)
{
    uint32_t at = home(index, hash);
    for (unsigned i = 0; i < PROBES_MAX && i < index->capacity; i++, at = next(index, at)) {
        if (index->entries[at] == 0) {
            index->entries[at] = entry_of(index, hash, number);
            return true;
        }
    }
    return false;
}

// How far `at` is behind `from`, in a circle.
static uint32_t distance(const struct index *index, uint32_t from, uint32_t at)
{
    return at >= from ? at - from : at + index->capacity - from;
}

// Closes the gap at `gap` with the entries behind it that may lie there.
static void close_gap(const struct store *store, struct index *index, uint32_t gap)
{
    uint32_t at = gap;
    for (unsigned i = 0; i < PROBES_MAX && i < index->capacity; i++) {
        at = next(index, at);
        uint32_t entry = index->entries[at];
        if (entry == 0)
            break;
        uint32_t wanted = home(index, index->hash(store, number_of(index, entry)));
        if (distance(index, wanted, at) >= distance(index, gap, at)) {
            index->entries[gap] = entry;
            gap = at;
        }
    }
    index->entries[gap] = 0;
}

void index_remove(const struct store *store, struct index *index, uint32_t number)
{
    uint64_t hash = index->hash(store, number);
    uint32_t at = home(index, hash);
    for (unsigned i = 0; i < PROBES_MAX && i < index->capacity; i++, at = next(index, at)) {
        uint32_t entry = index->entries[at];
        if (entry == 0)
            return;
        if (number_of(index, entry) == number) {
            close_gap(store, index, at);
            return;
        }
    }
}
