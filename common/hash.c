// SipHash-1-3 and the stable mix.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/hash.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v1 = ROTL(s->v1, 13) ^ s->v0;
    s->v0 = ROTL(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = ROTL(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = ROTL(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = ROTL(s->v1, 17) ^ s->v2;
    s->v2 = ROTL(s->v2, 32);
}

void hash_key_random(struct hash_key *key)
{
    if (getrandom(key, sizeof *key, 0) != (ssize_t)sizeof *key)
        abort();
}

uint64_t hash_bytes(const struct hash_key *key, const void *data, size_t len)
{
    const uint8_t *in = data;
    struct sip s = {
        .v0 = 0x736f6d6570736575ULL ^ key->k0,
        .v1 = 0x646f72616e646f6dULL ^ key->k1,
        .v2 = 0x6c7967656e657261ULL ^ key->k0,
        .v3 = 0x7465646279746573ULL ^ key->k1,
    };
    uint64_t word;
    size_t whole = len / 8;
    for (size_t i = 0; i < whole; i++) {
        memcpy(&word, in + i * 8, 8);
        s.v3 ^= word;
        sip_round(&s);
        s.v0 ^= word;
    }
    word = (uint64_t)len << 56;
    for (size_t i = whole * 8; i < len; i++)
        word |= (uint64_t)in[i] << (8 * (i % 8));
    s.v3 ^= word;
    sip_round(&s);
    s.v0 ^= word;
    s.v2 ^= 0xff;
    sip_round(&s);
    sip_round(&s);
    sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

uint64_t hash_stable(const void *data, size_t len, uint64_t seed)
{
    const struct hash_key key = {.k0 = seed, .k1 = 0x9e3779b97f4a7c15ULL};
    return hash_bytes(&key, data, len);
}
