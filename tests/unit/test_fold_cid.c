// Folded associations of DTLS 1.2 with Connection IDs (RFC 9146), against wolfSSL's client.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "tests/unit/dtls_pair.h"
#include "tests/unit/unit.h"

#include <string.h>

static const struct pair_options kinds[] = {
    {.suite = "PSK-AES128-CCM-8", .psk = true, .cid = true, .cid_in = 8, .cid_out = 5},
    {.suite = "PSK-AES128-GCM-SHA256", .psk = true, .cid = true, .cid_in = 4, .cid_out = 10},
    {.suite = "ECDHE-ECDSA-AES128-GCM-SHA256", .cid = true, .cid_in = 8, .cid_out = 1},
    {.suite = "ECDHE-ECDSA-AES128-CCM-8", .client_certificate = true, .cid = true, .cid_in = 8},
    {.suite = "PSK-AES128-CCM-8", .psk = true, .cid = true, .cid_in = 8},
    {.suite = "PSK-AES128-CCM-8", .psk = true, .cid = true, .cid_out = 5},
    {.suite = "PSK-AES128-CCM-8", .psk = true, .cid = true},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

struct memory {
    struct record_flight flight;
    union record_keys keys;
};

static struct dtls12 *establish(struct pair *pair, const struct pair_options *options, struct memory *memory)
{
    const struct record_place place = {.flight = &memory->flight, .keys = &memory->keys};
    *memory = (struct memory){0};
    CU_ASSERT_TRUE_FATAL(pair_establish(pair, options));
    CU_ASSERT_EQUAL_FATAL(record_kind(pair->record), RECORD_DTLS12);
    record_settle(pair->record, &place);
    return &memory->keys.dtls12;
}

static int gives(struct pair *pair, const uint8_t *bytes, size_t len)
{
    static uint8_t out[RECORD_PLAINTEXT_MAX];
    size_t n;
    pair_put(&pair->to_server, bytes, len);
    return pair_server_reads(pair, out, sizeof out, &n);
}

static void data_passes_both_ways(void)
{
    for (size_t k = 0; k < KINDS; k++) {
        struct pair pair;
        struct memory memory;
        struct dtls12 *state = establish(&pair, &kinds[k], &memory);
        CU_ASSERT_EQUAL(record_cid(pair.record).len, kinds[k].cid_in);
        CU_ASSERT_EQUAL(state->cid_out_len, kinds[k].cid_out);
        static const size_t sizes[] = {1, 16, 100, 1300};
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            CU_ASSERT_TRUE(pair_echo(&pair, sizes[i]));
            CU_ASSERT_EQUAL(record_newest(pair.record), kinds[k].cid_in > 0);
        }
        CU_ASSERT_EQUAL(wolfSSL_write(pair.client, "x", 1), 1);
        CU_ASSERT_EQUAL(pair.to_server.first->bytes[0], kinds[k].cid_in > 0 ? 25 : 23);
        CU_ASSERT_EQUAL(record_seal(pair.record, (const uint8_t *)"x", 1), SAGATE_OK);
        CU_ASSERT_EQUAL(pair.to_client.first->bytes[0], kinds[k].cid_out > 0 ? 25 : 23);
        pair_close(&pair);
    }
}

static void lost_last_flight_is_repeated(void)
{
    for (size_t k = 0; k < KINDS; k++) {
        struct pair pair;
        struct memory memory;
        uint8_t out[100];
        size_t len;
        (void)establish(&pair, &kinds[k], &memory);
        for (int lost = 0; lost < 3; lost++) {
            CU_ASSERT_TRUE(pair_drop(&pair.to_client) > 0);
            CU_ASSERT_EQUAL(pair_client_reads(&pair, out, sizeof out), 0);
            CU_ASSERT_EQUAL(wolfSSL_dtls_got_timeout(pair.client), WOLFSSL_SUCCESS);
            while (pair.to_server.first != NULL)
                CU_ASSERT_EQUAL(pair_server_reads(&pair, out, sizeof out, &len), SAGATE_AGAIN);
        }
        CU_ASSERT_EQUAL(pair_client_reads(&pair, out, sizeof out), 0);
        CU_ASSERT_TRUE(pair.client_done);
        CU_ASSERT_TRUE(pair_echo(&pair, 100));
        pair_close(&pair);
    }
}

// The client's end of the records.
static struct dtls12 client_of(const struct dtls12 *state)
{
    struct dtls12 client = {.aead = state->aead, .next_out = 1ULL << 48 | 20, .cid_out_len = state->cid_in_len};
    memcpy(client.key_out, state->key_in, sizeof client.key_out);
    memcpy(client.iv_out, state->iv_in, sizeof client.iv_out);
    memcpy(client.cid_out, state->cid_in, sizeof client.cid_out);
    return client;
}

static void address_is_worth_adopting_from_the_newest_only(void)
{
    static const uint8_t hello[60] = {1, 0, 0, 48, 0, 9, 0, 0, 0, 0, 0, 48, 254, 253};
    struct pair pair;
    struct memory memory;
    uint8_t old[100];
    uint8_t sealed[200];
    size_t old_len;
    size_t len;
    struct dtls12 *state = establish(&pair, &kinds[0], &memory);
    struct dtls12 client = client_of(state);
    CU_ASSERT_EQUAL(dtls12_seal(&client, 23, hello, 1, old, sizeof old, &old_len), SAGATE_OK);
    CU_ASSERT_EQUAL(dtls12_seal(&client, 23, hello, 1, sealed, sizeof sealed, &len), SAGATE_OK);
    CU_ASSERT_FALSE(record_newest(pair.record));
    CU_ASSERT_EQUAL(gives(&pair, sealed, len), SAGATE_OK);
    CU_ASSERT_TRUE(record_newest(pair.record));
    CU_ASSERT_EQUAL(gives(&pair, old, old_len), SAGATE_OK);
    CU_ASSERT_FALSE(record_newest(pair.record));
    CU_ASSERT_EQUAL(gives(&pair, sealed, len), SAGATE_ERECORD); // a replay
    CU_ASSERT_FALSE(record_newest(pair.record));
    CU_ASSERT_EQUAL(dtls12_seal(&client, 22, hello, sizeof hello, sealed, sizeof sealed, &len), SAGATE_OK);
    CU_ASSERT_EQUAL(gives(&pair, sealed, len), SAGATE_AGAIN); // a renegotiation that was refused is authentic
    CU_ASSERT_TRUE(record_newest(pair.record));
    sealed[20] ^= 1;
    CU_ASSERT_EQUAL(gives(&pair, sealed, len), SAGATE_ERECORD);
    CU_ASSERT_FALSE(record_newest(pair.record));
    pair_close(&pair);
}

static void foreign_connection_ids_are_dropped(void)
{
    struct pair pair;
    struct memory memory;
    uint8_t sealed[100];
    size_t len;
    struct dtls12 *state = establish(&pair, &kinds[0], &memory);
    struct dtls12 client = client_of(state);
    client.cid_out[7] ^= 1;
    CU_ASSERT_EQUAL(dtls12_seal(&client, 23, sealed, 1, sealed + 50, 50, &len), SAGATE_OK);
    CU_ASSERT_EQUAL(gives(&pair, sealed + 50, len), SAGATE_ERECORD);
    client.cid_out_len = 0;
    CU_ASSERT_EQUAL(dtls12_seal(&client, 23, sealed, 1, sealed + 50, 50, &len), SAGATE_OK);
    CU_ASSERT_EQUAL(gives(&pair, sealed + 50, len), SAGATE_ERECORD);
    CU_ASSERT_EQUAL(state->failed, 0);
    CU_ASSERT_TRUE(pair_echo(&pair, 10));
    pair_close(&pair);
}

static const struct unit_test tests[] = {
    {"data passes both ways", data_passes_both_ways},
    {"lost last flight is repeated", lost_last_flight_is_repeated},
    {"address is worth adopting from the newest only", address_is_worth_adopting_from_the_newest_only},
    {"foreign Connection IDs are dropped", foreign_connection_ids_are_dropped},
};

UNIT_MAIN("fold_cid", tests)
