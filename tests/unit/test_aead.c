// The AEADs: published vectors, tags and every other input spoiled, in place, in batches.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/record/aead.h"
#include "tests/unit/unit.h"

#include <string.h>

// GCM: McGrew and Viega, test cases 4 and 16. CCM-8: NIST SP 800-38C, example 3; CCM with the long tag: the same input
// through OpenSSL. ChaCha20-Poly1305: RFC 8439 2.8.2.
static const struct vector {
    enum aead aead;
    const char *key, *nonce, *additional, *plain, *sealed;
} vectors[] = {
    {AEAD_AES_128_GCM, "feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
     "feedfacedeadbeeffeedfacedeadbeefabaddad2",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657"
     "ba637b39",
     "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac97"
     "3d58e0915bc94fbc3221a5db94fae95ae7121a47"},
    {AEAD_AES_256_GCM, "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
     "feedfacedeadbeeffeedfacedeadbeefabaddad2",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657"
     "ba637b39",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0a"
     "bcc9f66276fc6ece0f4e1768cddf8853bb2d551b"},
    {AEAD_AES_128_CCM_8, "404142434445464748494a4b4c4d4e4f", "101112131415161718191a1b",
     "000102030405060708090a0b0c0d0e0f10111213", "202122232425262728292a2b2c2d2e2f3031323334353637",
     "e3b201a9f5b71a7a9b1ceaeccd97e70b6176aad9a4428aa5484392fbc1b09951"},
    {AEAD_AES_128_CCM, "404142434445464748494a4b4c4d4e4f", "101112131415161718191a1b",
     "000102030405060708090a0b0c0d0e0f10111213", "202122232425262728292a2b2c2d2e2f3031323334353637",
     "e3b201a9f5b71a7a9b1ceaeccd97e70b6176aad9a4428aa5c87ae488918de93f17dd3e4934347f44"},
    {AEAD_CHACHA20_POLY1305, "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
     "070000004041424344454647", "50515253c0c1c2c3c4c5c6c7",
     "4c616469657320616e642047656e746c656d656e206f662074686520636c617373206f66202739393a204966204920636f756c64206f6666"
     "657220796f75206f6e6c79206f6e652074697020666f7220746865206675747572652c2073756e73637265656e20776f756c642062652069"
     "742e",
     "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b29"
     "05d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b"
     "61161ae10b594f09e26a7e902ecbd0600691"},
};

enum { VECTORS = sizeof vectors / sizeof *vectors };

struct bytes {
    size_t len;
    uint8_t at[256];
};

static struct bytes from_hex(const char *hex)
{
    struct bytes bytes = {.len = strlen(hex) / 2};
    for (size_t i = 0; i < bytes.len; i++) {
        const char digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        bytes.at[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return bytes;
}

struct loaded {
    struct bytes key, nonce, additional, plain, sealed;
    uint8_t out[256];
    struct aead_job job;
};

static void load(struct loaded *loaded, const struct vector *vector)
{
    *loaded = (struct loaded){
        .key = from_hex(vector->key),
        .nonce = from_hex(vector->nonce),
        .additional = from_hex(vector->additional),
        .plain = from_hex(vector->plain),
        .sealed = from_hex(vector->sealed),
    };
    loaded->job = (struct aead_job){
        .aead = vector->aead,
        .key = loaded->key.at,
        .additional = loaded->additional.at,
        .additional_len = loaded->additional.len,
        .in = loaded->plain.at,
        .out = loaded->out,
        .len = loaded->plain.len,
        .result = 99,
    };
    memcpy(loaded->job.nonce, loaded->nonce.at, sizeof loaded->job.nonce);
}

static int open_vector(struct loaded *loaded)
{
    struct aead_job *job = &loaded->job;
    memset(loaded->out, 0xee, sizeof loaded->out);
    job->in = loaded->sealed.at;
    job->out = loaded->out;
    aead_open(&job, 1);
    return job->result;
}

static void published_vectors_hold(void)
{
    for (size_t i = 0; i < VECTORS; i++) {
        struct loaded loaded;
        struct aead_job *job = &loaded.job;
        load(&loaded, &vectors[i]);
        const struct aead_properties *properties = aead_properties(vectors[i].aead);
        CU_ASSERT_EQUAL(properties->key, loaded.key.len);
        CU_ASSERT_EQUAL(properties->iv + properties->explicit_nonce, AEAD_NONCE);
        CU_ASSERT_EQUAL(loaded.plain.len + properties->tag, loaded.sealed.len);
        aead_seal(&job, 1);
        CU_ASSERT_EQUAL(job->result, SAGATE_OK);
        CU_ASSERT_EQUAL(memcmp(loaded.out, loaded.sealed.at, loaded.sealed.len), 0);
        CU_ASSERT_EQUAL(open_vector(&loaded), SAGATE_OK);
        CU_ASSERT_EQUAL(memcmp(loaded.out, loaded.plain.at, loaded.plain.len), 0);
    }
}

static void everything_is_authenticated(void)
{
    for (size_t i = 0; i < VECTORS; i++) {
        struct loaded loaded;
        load(&loaded, &vectors[i]);
        struct {
            uint8_t *at;
            size_t len;
        } inputs[] = {{loaded.key.at, loaded.key.len},
                      {loaded.job.nonce, AEAD_NONCE},
                      {loaded.additional.at, loaded.additional.len},
                      {loaded.sealed.at, loaded.sealed.len}};
        for (size_t k = 0; k < sizeof inputs / sizeof *inputs; k++) {
            for (size_t at = 0; at < inputs[k].len; at++) {
                static const uint8_t zeros[256];
                uint8_t bit = (uint8_t)(1U << at % 8);
                inputs[k].at[at] ^= bit;
                CU_ASSERT_EQUAL(open_vector(&loaded), SAGATE_ERECORD);
                CU_ASSERT_EQUAL(memcmp(loaded.out, zeros, loaded.plain.len), 0);
                inputs[k].at[at] ^= bit;
            }
        }
        CU_ASSERT_EQUAL(open_vector(&loaded), SAGATE_OK);
    }
}

static void batches_of_all_kinds_work_in_place(void)
{
    struct loaded loaded[VECTORS];
    struct aead_job *jobs[VECTORS];
    for (size_t i = 0; i < VECTORS; i++) {
        load(&loaded[i], &vectors[i]);
        jobs[i] = &loaded[i].job;
        memcpy(loaded[i].out, loaded[i].plain.at, loaded[i].plain.len);
        jobs[i]->in = jobs[i]->out = loaded[i].out;
    }
    aead_seal(jobs, VECTORS);
    for (size_t i = 0; i < VECTORS; i++) {
        CU_ASSERT_EQUAL(jobs[i]->result, SAGATE_OK);
        CU_ASSERT_EQUAL(memcmp(loaded[i].out, loaded[i].sealed.at, loaded[i].sealed.len), 0);
    }
    loaded[1].out[3] ^= 1; // one that is spoiled leaves the others alone
    aead_open(jobs, VECTORS);
    for (size_t i = 0; i < VECTORS; i++) {
        CU_ASSERT_EQUAL(jobs[i]->result, i == 1 ? SAGATE_ERECORD : SAGATE_OK);
        CU_ASSERT_EQUAL(memcmp(loaded[i].out, loaded[i].plain.at, loaded[i].plain.len) == 0, i != 1);
    }
}

static void empty_plaintext_has_a_tag(void)
{
    for (size_t i = 0; i < VECTORS; i++) {
        struct loaded loaded;
        struct aead_job *job = &loaded.job;
        load(&loaded, &vectors[i]);
        job->len = 0;
        aead_seal(&job, 1);
        CU_ASSERT_EQUAL(job->result, SAGATE_OK);
        memcpy(loaded.sealed.at, loaded.out, AEAD_TAG_MAX);
        CU_ASSERT_EQUAL(open_vector(&loaded), SAGATE_OK);
        loaded.sealed.at[0] ^= 1;
        CU_ASSERT_EQUAL(open_vector(&loaded), SAGATE_ERECORD);
    }
}

static void unknown_kinds_are_refused(void)
{
    struct loaded loaded;
    struct aead_job *job = &loaded.job;
    load(&loaded, &vectors[0]);
    job->aead = AEAD_NONE;
    aead_seal(&job, 1);
    CU_ASSERT_EQUAL(job->result, SAGATE_EINTERNAL);
    CU_ASSERT_EQUAL(open_vector(&loaded), SAGATE_EINTERNAL);
    CU_ASSERT_EQUAL(aead_properties(AEAD_COUNT)->key, 0);
}

static const struct unit_test tests[] = {
    {"published vectors hold", published_vectors_hold},
    {"everything is authenticated", everything_is_authenticated},
    {"batches of all kinds work in place", batches_of_all_kinds_work_in_place},
    {"empty plaintext has a tag", empty_plaintext_has_a_tag},
    {"unknown kinds are refused", unknown_kinds_are_refused},
};

UNIT_MAIN("aead", tests)
