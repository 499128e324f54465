// SipHash-1-3 for tables whose keys a peer chooses (a keyed hash, so that nobody can aim for one bucket).
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_COMMON_HASH_H
#define SAGATE_COMMON_HASH_H

#include <stddef.h>
#include <stdint.h>

struct hash_key {
    uint64_t k0, k1;
};

// Fills a key from the kernel's random source; aborts the process when that has none.
void hash_key_random(struct hash_key *key);

uint64_t hash_bytes(const struct hash_key *key, const void *data, size_t len);

// Unkeyed 64-bit mix for rendezvous hashing, where every worker and every run must agree.
uint64_t hash_stable(const void *data, size_t len, uint64_t seed);

#endif
