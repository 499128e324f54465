// Tables from a key to a number, in memory that outlives the process: four bytes for each of twice as many entries as
// there can be numbers. The keys themselves lie elsewhere; what an entry has of them are a few bits of a keyed hash.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_ASSOCIATION_INDEX_H
#define SAGATE_DATAPLANE_ASSOCIATION_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;

// The hash of the key that `number` has, whatever that number is; and whether it is in use and has that key.
typedef uint64_t index_hash(const struct store *store, uint32_t number);
typedef bool index_match(const struct store *store, uint32_t number, const void *key);

struct index {
    uint32_t *entries; // 0: empty; else the number, and above its bits some of the hash
    uint32_t capacity;
    unsigned number_bits;
    index_hash *hash;
    index_match *match;
};

// An index of at most `numbers` of the numbers 1 … highest at a time, in index_bytes(numbers) of memory.
void index_init(struct index *index, uint32_t *entries, uint32_t numbers, uint32_t highest, index_hash *hash,
                index_match *match);
size_t index_bytes(uint32_t numbers);

// The number with that key; 0: none. Looks at few entries, and never at more than 1024.
uint32_t index_find(const struct store *store, const struct index *index, uint64_t hash, const void *key);
// Has the processor fetch where such a key would be.
void index_prefetch(const struct index *index, uint64_t hash);
// False: no room near enough, which does not happen as long as at most half of the entries are in use.
bool index_insert(struct index *index, uint64_t hash, uint32_t number);
// `number` still has its key.
void index_remove(const struct store *store, struct index *index, uint32_t number);

#endif
