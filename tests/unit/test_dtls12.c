// DTLS 1.2 records against wolfSSL: a server object does the handshake with a client in memory, its keys are taken, and
// the rest goes through struct dtls12. Every AEAD, with and without Connection IDs.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/record/dtls12.h"
#include "tests/unit/tls_client.h"
#include "tests/unit/unit.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <string.h>

enum { RECORD = 2048 };

static uint8_t psk[16] = "0123456789abcde";
static uint8_t cid_of_server[8] = {1, 2, 3, 4, 5, 6, 7, 8};
static uint8_t cid_of_client[3] = {9, 10, 11};

static const struct kind {
    enum aead aead;
    const char *suite;
    bool cid;
} kinds[] = {
    {AEAD_AES_128_GCM, "PSK-AES128-GCM-SHA256", false},
    {AEAD_AES_256_GCM, "PSK-AES256-GCM-SHA384", false},
    {AEAD_AES_128_CCM, "PSK-AES128-CCM", false},
    {AEAD_AES_128_CCM_8, "PSK-AES128-CCM-8", false},
    {AEAD_CHACHA20_POLY1305, "PSK-CHACHA20-POLY1305", false},
    {AEAD_AES_128_GCM, "PSK-AES128-GCM-SHA256", true},
    {AEAD_AES_128_CCM_8, "PSK-AES128-CCM-8", true},
    {AEAD_CHACHA20_POLY1305, "PSK-CHACHA20-POLY1305", true},
};

enum { KINDS = sizeof kinds / sizeof *kinds };

struct pair {
    struct tls_client *client;
    WOLFSSL_CTX *context;
    WOLFSSL *server;
    struct dtls12 state; // the server's
};

static int receive(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    (void)ssl;
    struct pair *pair = context;
    struct slice chunk;
    if (!tls_client_output(pair->client, &chunk) || chunk.len > (size_t)size)
        return WOLFSSL_CBIO_ERR_WANT_READ;
    memcpy(buffer, chunk.data, chunk.len);
    return (int)chunk.len;
}

static int transmit(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    (void)ssl;
    struct pair *pair = context;
    tls_client_input(pair->client, (const uint8_t *)buffer, (size_t)size);
    return size;
}

static unsigned int give_psk(WOLFSSL *ssl, const char *identity, unsigned char *key, unsigned int max)
{
    (void)ssl;
    (void)identity;
    if (max < sizeof psk)
        return 0;
    memcpy(key, psk, sizeof psk);
    return sizeof psk;
}

static void use_cids(struct pair *pair)
{
    WOLFSSL *client = tls_client_object(pair->client);
    CU_ASSERT_EQUAL_FATAL(wolfSSL_dtls_cid_use(client), WOLFSSL_SUCCESS);
    CU_ASSERT_EQUAL_FATAL(wolfSSL_dtls_cid_set(client, cid_of_client, sizeof cid_of_client), WOLFSSL_SUCCESS);
    CU_ASSERT_EQUAL_FATAL(wolfSSL_dtls_cid_use(pair->server), WOLFSSL_SUCCESS);
    CU_ASSERT_EQUAL_FATAL(wolfSSL_dtls_cid_set(pair->server, cid_of_server, sizeof cid_of_server), WOLFSSL_SUCCESS);
}

static void take_state(struct pair *pair, const struct kind *kind)
{
    struct dtls12 *state = &pair->state;
    const struct aead_properties *aead = aead_properties(kind->aead);
    *state = (struct dtls12){.aead = (uint8_t)kind->aead, .next_out = 1ULL << 48 | 1};
    memcpy(state->key_in, wolfSSL_GetClientWriteKey(pair->server), aead->key);
    memcpy(state->key_out, wolfSSL_GetServerWriteKey(pair->server), aead->key);
    memcpy(state->iv_in, wolfSSL_GetClientWriteIV(pair->server), aead->iv);
    memcpy(state->iv_out, wolfSSL_GetServerWriteIV(pair->server), aead->iv);
    if (kind->cid) {
        state->cid_in_len = sizeof cid_of_server;
        memcpy(state->cid_in, cid_of_server, sizeof cid_of_server);
        state->cid_out_len = sizeof cid_of_client;
        memcpy(state->cid_out, cid_of_client, sizeof cid_of_client);
    }
    wolfSSL_free(pair->server); // nothing of what follows needs it
    pair->server = NULL;
}

static void establish(struct pair *pair, const struct kind *kind)
{
    const struct tls_client_options options = {
        .dtls = true, .ciphers = kind->suite, .identity = "dev", .key = {psk, sizeof psk}};
    *pair = (struct pair){.client = tls_client_new(&options), .context = wolfSSL_CTX_new(wolfDTLSv1_2_server_method())};
    CU_ASSERT_TRUE_FATAL(pair->client != NULL && pair->context != NULL);
    CU_ASSERT_EQUAL_FATAL(wolfSSL_CTX_set_cipher_list(pair->context, kind->suite), WOLFSSL_SUCCESS);
    wolfSSL_CTX_SetIORecv(pair->context, receive);
    wolfSSL_CTX_SetIOSend(pair->context, transmit);
    wolfSSL_CTX_set_psk_server_callback(pair->context, give_psk);
    pair->server = wolfSSL_new(pair->context);
    CU_ASSERT_PTR_NOT_NULL_FATAL(pair->server);
    wolfSSL_SetIOReadCtx(pair->server, pair);
    wolfSSL_SetIOWriteCtx(pair->server, pair);
    wolfSSL_dtls_set_using_nonblock(pair->server, 1);
    if (kind->cid)
        use_cids(pair);
    int client = SAGATE_AGAIN;
    int server = WOLFSSL_FATAL_ERROR;
    for (int round = 0; round < 12 && (client != SAGATE_DONE || server != WOLFSSL_SUCCESS); round++) {
        client = tls_client_run(pair->client);
        if (server != WOLFSSL_SUCCESS)
            server = wolfSSL_accept(pair->server);
    }
    CU_ASSERT_EQUAL_FATAL(client, SAGATE_DONE);
    CU_ASSERT_EQUAL_FATAL(server, WOLFSSL_SUCCESS);
    CU_ASSERT_STRING_EQUAL(tls_client_cipher(pair->client), kind->suite);
    take_state(pair, kind);
}

static void finish(struct pair *pair)
{
    tls_client_free(pair->client);
    wolfSSL_CTX_free(pair->context);
}

static size_t take(struct pair *pair, uint8_t out[RECORD])
{
    struct slice chunk;
    CU_ASSERT_TRUE_FATAL(tls_client_output(pair->client, &chunk) && chunk.len <= RECORD);
    memcpy(out, chunk.data, chunk.len);
    return chunk.len;
}

static size_t client_seals(struct pair *pair, const void *data, size_t len, uint8_t out[RECORD])
{
    CU_ASSERT_EQUAL(tls_client_write(pair->client, data, len), SAGATE_OK);
    return take(pair, out);
}

// Opens the only record of a datagram; -1: it was no record.
static int open_datagram(struct dtls12 *state, const uint8_t *data, size_t len, uint8_t out[RECORD], size_t *n)
{
    struct slice rest = slice_of(data, len);
    struct dtls12_record record;
    *n = 0;
    if (dtls12_next(state, &rest, &record) != SAGATE_OK)
        return -1;
    return (int)dtls12_open(state, &record, out, RECORD, n, NULL);
}

// The peer's end of a state.
static struct dtls12 mirror(const struct dtls12 *state)
{
    struct dtls12 peer = {.aead = state->aead,
                          .next_out = 1ULL << 48 | 1,
                          .cid_in_len = state->cid_out_len,
                          .cid_out_len = state->cid_in_len};
    memcpy(peer.key_in, state->key_out, sizeof peer.key_in);
    memcpy(peer.key_out, state->key_in, sizeof peer.key_out);
    memcpy(peer.iv_in, state->iv_out, sizeof peer.iv_in);
    memcpy(peer.iv_out, state->iv_in, sizeof peer.iv_out);
    memcpy(peer.cid_in, state->cid_out, sizeof peer.cid_in);
    memcpy(peer.cid_out, state->cid_in, sizeof peer.cid_out);
    return peer;
}

static void records_pass_both_ways(void)
{
    static const size_t sizes[] = {1, 15, 16, 17, 100, 1000, 1300};
    for (size_t k = 0; k < KINDS; k++) {
        struct pair pair;
        uint8_t data[1300];
        uint8_t sealed[RECORD];
        uint8_t out[RECORD];
        size_t n;
        establish(&pair, &kinds[k]);
        for (size_t i = 0; i < sizeof data; i++)
            data[i] = (uint8_t)(i * 7 + k);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            size_t len = client_seals(&pair, data, sizes[i], sealed);
            CU_ASSERT_EQUAL(sealed[0], kinds[k].cid ? 25 : 23);
            CU_ASSERT_EQUAL(open_datagram(&pair.state, sealed, len, out, &n), DTLS12_DATA);
            CU_ASSERT_EQUAL_FATAL(n, sizes[i]);
            CU_ASSERT_EQUAL(memcmp(out, data, n), 0);
            CU_ASSERT_EQUAL(dtls12_seal(&pair.state, 23, data, sizes[i], sealed, sizeof sealed, &len), SAGATE_OK);
            CU_ASSERT_EQUAL(len, dtls12_sealed_len(&pair.state, sizes[i]));
            CU_ASSERT_TRUE(len <= sizes[i] + DTLS12_OVERHEAD_MAX);
            tls_client_input(pair.client, sealed, len);
            CU_ASSERT_EQUAL_FATAL(tls_client_read(pair.client, out, sizeof out), (int)sizes[i]);
            CU_ASSERT_EQUAL(memcmp(out, data, sizes[i]), 0);
        }
        finish(&pair);
    }
}

static void window_takes_each_record_once(void)
{
    enum { COUNT = 140 };
    static uint8_t sealed[COUNT][RECORD];
    for (size_t k = 0; k < KINDS; k++) {
        struct pair pair;
        size_t lengths[COUNT];
        uint8_t out[RECORD];
        size_t n;
        establish(&pair, &kinds[k]);
        for (size_t i = 0; i < COUNT; i++) {
            uint8_t byte = (uint8_t)i;
            lengths[i] = client_seals(&pair, &byte, 1, sealed[i]);
        }
#define OPEN(i) open_datagram(&pair.state, sealed[i], lengths[i], out, &n)
        CU_ASSERT_EQUAL(OPEN(0), DTLS12_DATA);
        CU_ASSERT_EQUAL(OPEN(0), DTLS12_REPLAYED);
        CU_ASSERT_EQUAL(OPEN(63), DTLS12_DATA);
        CU_ASSERT_EQUAL(OPEN(0), DTLS12_REPLAYED);
        for (size_t i = 62; i >= 1; i--) { // the other way round, all within the window
            CU_ASSERT_EQUAL(OPEN(i), DTLS12_DATA);
            CU_ASSERT_TRUE(n == 1 && out[0] == i);
        }
        for (size_t i = 0; i < 64; i++)
            CU_ASSERT_EQUAL(OPEN(i), DTLS12_REPLAYED);
        CU_ASSERT_EQUAL(OPEN(70), DTLS12_DATA);
        CU_ASSERT_EQUAL(OPEN(64), DTLS12_DATA);
        CU_ASSERT_EQUAL(OPEN(130), DTLS12_DATA); // 66 is the oldest within the window now
        CU_ASSERT_EQUAL(OPEN(67), DTLS12_DATA);
        CU_ASSERT_EQUAL(OPEN(66), DTLS12_REPLAYED); // 64 behind: beyond it
        CU_ASSERT_EQUAL(OPEN(70), DTLS12_REPLAYED);
        CU_ASSERT_EQUAL(OPEN(67), DTLS12_REPLAYED);
        CU_ASSERT_EQUAL(OPEN(139), DTLS12_DATA);
        CU_ASSERT_EQUAL(OPEN(139), DTLS12_REPLAYED);
        CU_ASSERT_EQUAL(pair.state.failed, 0); // none of these cost a decryption
#undef OPEN
        finish(&pair);
    }
}

static void window_is_not_moved_by_forgeries(void)
{
    struct pair pair;
    uint8_t first[RECORD];
    uint8_t later[RECORD];
    uint8_t out[RECORD];
    size_t n;
    establish(&pair, &kinds[0]);
    size_t first_len = client_seals(&pair, "a", 1, first);
    size_t later_len = client_seals(&pair, "b", 1, later);
    later[5] = 0x7f; // a very high sequence number
    CU_ASSERT_EQUAL(open_datagram(&pair.state, later, later_len, out, &n), DTLS12_FORGED);
    CU_ASSERT_EQUAL(pair.state.failed, 1);
    later[5] = 0;
    CU_ASSERT_EQUAL(open_datagram(&pair.state, later, later_len, out, &n), DTLS12_DATA);
    CU_ASSERT_EQUAL(open_datagram(&pair.state, first, first_len, out, &n), DTLS12_DATA);
    finish(&pair);
}

static void spoiled_records_are_dropped(void)
{
    for (size_t k = 0; k < KINDS; k++) {
        struct pair pair;
        uint8_t good[RECORD];
        uint8_t bad[RECORD];
        uint8_t out[RECORD];
        size_t n;
        establish(&pair, &kinds[k]);
        size_t len = client_seals(&pair, "hello", 5, good);
        for (size_t i = 0; i < len * 8; i++) {
            memcpy(bad, good, len);
            bad[i / 8] ^= (uint8_t)(1U << i % 8);
            CU_ASSERT_NOT_EQUAL(open_datagram(&pair.state, bad, len, out, &n), DTLS12_DATA);
            CU_ASSERT_EQUAL(n, 0);
        }
        for (size_t i = 0; i < len; i++) {
            CU_ASSERT_EQUAL(open_datagram(&pair.state, good, i, out, &n), -1);
            // The same with a length that fits.
            memcpy(bad, good, len);
            size_t header = DTLS12_HEADER + (kinds[k].cid ? sizeof cid_of_server : 0);
            if (i >= header) {
                bad[header - 2] = (uint8_t)((i - header) >> 8);
                bad[header - 1] = (uint8_t)(i - header);
                int verdict = open_datagram(&pair.state, bad, i, out, &n);
                CU_ASSERT_TRUE(verdict == DTLS12_MALFORMED || verdict == DTLS12_FORGED);
            }
        }
        CU_ASSERT_EQUAL(open_datagram(&pair.state, good, len, out, &n), DTLS12_DATA);
        CU_ASSERT_TRUE(n == 5 && memcmp(out, "hello", 5) == 0);
        finish(&pair);
    }
}

static void other_epochs_cost_nothing(void)
{
    struct pair pair;
    uint8_t sealed[RECORD];
    uint8_t out[RECORD];
    size_t n;
    establish(&pair, &kinds[0]);
    size_t len = client_seals(&pair, "hello", 5, sealed);
    static const uint8_t epochs[] = {0, 2, 255};
    for (size_t i = 0; i < sizeof epochs; i++) {
        sealed[4] = epochs[i];
        CU_ASSERT_EQUAL(open_datagram(&pair.state, sealed, len, out, &n), DTLS12_OTHER_EPOCH);
    }
    sealed[4] = 1;
    CU_ASSERT_EQUAL(pair.state.failed, 0);
    CU_ASSERT_EQUAL(open_datagram(&pair.state, sealed, len, out, &n), DTLS12_DATA);
    finish(&pair);
}

static void close_notify_passes_both_ways(void)
{
    static const uint8_t notify[] = {1, 0};
    for (size_t k = 0; k < KINDS; k++) {
        struct pair pair;
        uint8_t sealed[RECORD];
        uint8_t out[RECORD];
        size_t len;
        size_t n;
        establish(&pair, &kinds[k]);
        tls_client_close(pair.client);
        len = take(&pair, sealed);
        CU_ASSERT_EQUAL(open_datagram(&pair.state, sealed, len, out, &n), DTLS12_CLOSED);
        CU_ASSERT_EQUAL(open_datagram(&pair.state, sealed, len, out, &n), DTLS12_REPLAYED);
        CU_ASSERT_EQUAL(dtls12_seal(&pair.state, 21, notify, 2, sealed, sizeof sealed, &len), SAGATE_OK);
        tls_client_input(pair.client, sealed, len);
        CU_ASSERT_EQUAL(tls_client_read(pair.client, out, sizeof out), SAGATE_EGONE);
        CU_ASSERT_EQUAL(tls_client_alert(pair.client), 0);
        finish(&pair);
    }
}

// What a peer may put into a record: each has its verdict.
static void contents_have_their_verdicts(void)
{
    static const struct {
        uint8_t type;
        const char *content;
        size_t len;
        enum dtls12_verdict verdict;
    } cases[] = {
        {23, "", 0, DTLS12_DATA},
        {23, "x", 1, DTLS12_DATA},
        {21, "\x01\x00", 2, DTLS12_CLOSED},
        {21, "\x02\x00", 2, DTLS12_CLOSED},
        {21, "\x02\x50", 2, DTLS12_FATAL},
        {21, "\x01\x64", 2, DTLS12_WARNING},
        {21, "\x03\x50", 2, DTLS12_UNWANTED},
        {21, "\x00\x00", 2, DTLS12_UNWANTED},
        {21, "\x02", 1, DTLS12_UNWANTED},
        {21, "\x02\x50\x02", 3, DTLS12_UNWANTED},
        {21, "", 0, DTLS12_UNWANTED},
        {22, "\x01", 1, DTLS12_MESSAGE},
        {22, "", 0, DTLS12_MESSAGE},
        {20, "\x01", 1, DTLS12_UNWANTED},
        {24, "x", 1, DTLS12_UNWANTED},
        {255, "x", 1, DTLS12_UNWANTED},
    };
    for (size_t k = 0; k < KINDS; k++) {
        struct pair pair;
        establish(&pair, &kinds[k]);
        struct dtls12 peer = mirror(&pair.state);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            uint8_t sealed[RECORD];
            uint8_t out[RECORD];
            size_t len;
            size_t n;
            CU_ASSERT_EQUAL(dtls12_seal(&peer, cases[i].type, (const uint8_t *)cases[i].content, cases[i].len, sealed,
                                        sizeof sealed, &len),
                            SAGATE_OK);
            CU_ASSERT_EQUAL(open_datagram(&pair.state, sealed, len, out, &n), (int)cases[i].verdict);
            bool gives = cases[i].verdict == DTLS12_DATA || cases[i].verdict == DTLS12_MESSAGE;
            CU_ASSERT_TRUE(n == (gives ? cases[i].len : 0) && memcmp(out, cases[i].content, n) == 0);
        }
        finish(&pair);
    }
}

static void connection_ids_must_match(void)
{
    struct pair pair;
    uint8_t sealed[RECORD];
    uint8_t out[RECORD];
    size_t len;
    size_t n;
    establish(&pair, &kinds[KINDS - 1]);
    struct dtls12 peer = mirror(&pair.state);
    for (size_t i = 0; i < sizeof cid_of_server; i++) { // a foreign one costs no decryption
        CU_ASSERT_EQUAL(dtls12_seal(&peer, 23, (const uint8_t *)"x", 1, sealed, sizeof sealed, &len), SAGATE_OK);
        sealed[11 + i] ^= 1;
        CU_ASSERT_EQUAL(open_datagram(&pair.state, sealed, len, out, &n), DTLS12_OTHER_CID);
        sealed[11 + i] ^= 1;
        CU_ASSERT_EQUAL(open_datagram(&pair.state, sealed, len, out, &n), DTLS12_DATA);
    }
    // None, where one was agreed (RFC 9146 3).
    struct dtls12 without = peer;
    without.cid_out_len = 0;
    CU_ASSERT_EQUAL(dtls12_seal(&without, 23, (const uint8_t *)"x", 1, sealed, sizeof sealed, &len), SAGATE_OK);
    CU_ASSERT_EQUAL(open_datagram(&pair.state, sealed, len, out, &n), DTLS12_OTHER_CID);
    CU_ASSERT_EQUAL(pair.state.failed, 0);
    // One, where none was agreed.
    pair.state.cid_in_len = 0;
    CU_ASSERT_EQUAL(dtls12_seal(&peer, 23, (const uint8_t *)"x", 1, sealed, sizeof sealed, &len), SAGATE_OK);
    CU_ASSERT_EQUAL(open_datagram(&pair.state, sealed, len, out, &n), -1);
    finish(&pair);
}

// RFC 9146 5: zeros may follow the type; a record of nothing else is none.
static void padding_is_taken_off(void)
{
    struct pair pair;
    uint8_t sealed[RECORD];
    uint8_t out[RECORD];
    size_t len;
    size_t n;
    establish(&pair, &kinds[KINDS - 1]);
    struct dtls12 peer = mirror(&pair.state);
    // dtls12_seal appends the type; with type 0 the last bytes of the content are type and padding.
    CU_ASSERT_EQUAL(dtls12_seal(&peer, 0, (const uint8_t *)"ab\0\x17\0\0", 6, sealed, sizeof sealed, &len), SAGATE_OK);
    CU_ASSERT_EQUAL(open_datagram(&pair.state, sealed, len, out, &n), DTLS12_DATA);
    CU_ASSERT_TRUE(n == 3 && memcmp(out, "ab\0", 3) == 0);
    CU_ASSERT_EQUAL(dtls12_seal(&peer, 0, (const uint8_t *)"\0\0\0", 3, sealed, sizeof sealed, &len), SAGATE_OK);
    CU_ASSERT_EQUAL(open_datagram(&pair.state, sealed, len, out, &n), DTLS12_UNWANTED);
    finish(&pair);
}

static void sealing_ends_at_the_limits(void)
{
    for (size_t k = 0; k < KINDS; k++) {
        struct pair pair;
        uint8_t sealed[RECORD];
        size_t len;
        uint64_t epoch = 1ULL << 48;
        uint64_t limit = aead_properties(kinds[k].aead)->seal_limit;
        if (limit >= epoch)
            limit = epoch - 1;
        establish(&pair, &kinds[k]);
        pair.state.next_out = epoch + limit - DTLS12_RESERVE - 1;
        CU_ASSERT_EQUAL(dtls12_seal(&pair.state, 23, (const uint8_t *)"x", 1, sealed, sizeof sealed, &len), SAGATE_OK);
        CU_ASSERT_EQUAL(dtls12_seal(&pair.state, 23, (const uint8_t *)"x", 1, sealed, sizeof sealed, &len),
                        SAGATE_EGONE);
        CU_ASSERT_EQUAL(pair.state.next_out, epoch + limit - DTLS12_RESERVE);
        for (int i = 0; i < DTLS12_RESERVE; i++) // an association that ends must be able to say so
            CU_ASSERT_EQUAL(dtls12_seal(&pair.state, 21, (const uint8_t *)"\1\0", 2, sealed, sizeof sealed, &len),
                            SAGATE_OK);
        CU_ASSERT_EQUAL(dtls12_seal(&pair.state, 21, (const uint8_t *)"\1\0", 2, sealed, sizeof sealed, &len),
                        SAGATE_EGONE);
        CU_ASSERT_EQUAL(pair.state.next_out, epoch + limit); // the epoch is not run into
        finish(&pair);
    }
}

static void sealing_is_all_or_nothing(void)
{
    static uint8_t data[16385];
    static uint8_t sealed[17000];
    struct pair pair;
    size_t len;
    establish(&pair, &kinds[3]);
    uint64_t before = pair.state.next_out;
    size_t need = dtls12_sealed_len(&pair.state, 100);
    CU_ASSERT_EQUAL(dtls12_seal(&pair.state, 23, data, 100, sealed, need - 1, &len), SAGATE_ETOOBIG);
    CU_ASSERT_EQUAL(dtls12_seal(&pair.state, 23, data, 16385, sealed, sizeof sealed, &len), SAGATE_ETOOBIG);
    CU_ASSERT_EQUAL(pair.state.next_out, before);
    CU_ASSERT_EQUAL(dtls12_seal(&pair.state, 23, data, 100, sealed, need, &len), SAGATE_OK);
    CU_ASSERT_EQUAL(len, need);
    finish(&pair);
}

static void forgeries_end_at_the_limit(void)
{
    for (size_t k = 0; k < KINDS; k++) {
        struct pair pair;
        uint8_t sealed[RECORD];
        uint8_t out[RECORD];
        size_t n;
        establish(&pair, &kinds[k]);
        size_t len = client_seals(&pair, "hello", 5, sealed);
        sealed[len - 1] ^= 1;
        pair.state.failed = aead_properties(kinds[k].aead)->forgery_limit - 2;
        CU_ASSERT_EQUAL(open_datagram(&pair.state, sealed, len, out, &n), DTLS12_FORGED);
        CU_ASSERT_EQUAL(open_datagram(&pair.state, sealed, len, out, &n), DTLS12_EXHAUSTED);
        finish(&pair);
    }
}

static void numbers_repeat_no_nonce(void)
{
    struct pair pair;
    establish(&pair, &kinds[0]);
    uint64_t last = 0;
    for (int i = 0; i < 1000; i++) {
        uint8_t sealed[RECORD];
        size_t len;
        uint64_t nonce = 0;
        CU_ASSERT_EQUAL(dtls12_seal(&pair.state, 23, (const uint8_t *)"x", 1, sealed, sizeof sealed, &len), SAGATE_OK);
        CU_ASSERT_EQUAL(memcmp(sealed + 3, sealed + 13, 8), 0); // epoch and sequence number (RFC 6655 3)
        for (size_t b = 13; b < 21; b++)
            nonce = nonce << 8 | sealed[b];
        CU_ASSERT_TRUE(nonce > last);
        last = nonce;
    }
    finish(&pair);
}

// What is sealed opens, for any content, in place as well as into another buffer.
static void round_trips_hold(void)
{
    unsigned random = 12345;
    for (size_t k = 0; k < KINDS; k++) {
        struct pair pair;
        establish(&pair, &kinds[k]);
        struct dtls12 peer = mirror(&pair.state);
        pair.state.newest = pair.state.window = 0;
        for (int i = 0; i < 300; i++) {
            uint8_t data[RECORD];
            uint8_t sealed[RECORD];
            uint8_t out[RECORD];
            size_t len;
            size_t n;
            random = random * 1103515245U + 12345U;
            size_t size = (random >> 16) % 1300;
            for (size_t b = 0; b < size; b++)
                data[b] = (uint8_t)(random >> b % 24);
            CU_ASSERT_EQUAL(dtls12_seal(&peer, 23, data, size, sealed, sizeof sealed, &len), SAGATE_OK);
            struct slice rest = slice_of(sealed, len);
            struct dtls12_record record;
            bool newest = false;
            CU_ASSERT_EQUAL(dtls12_next(&pair.state, &rest, &record), SAGATE_OK);
            CU_ASSERT_EQUAL(rest.len, 0);
            size_t skip = (size_t)(record.body.data - sealed) + aead_properties(kinds[k].aead)->explicit_nonce;
            uint8_t *to = i % 2 == 0 ? out : sealed + skip;
            CU_ASSERT_EQUAL(dtls12_open(&pair.state, &record, to, i % 2 == 0 ? sizeof out : len - skip, &n, &newest),
                            DTLS12_DATA);
            CU_ASSERT_TRUE(newest);
            CU_ASSERT_TRUE(n == size && memcmp(to, data, size) == 0);
        }
        finish(&pair);
    }
}

static void batches_notice_doubles(void)
{
    enum { COUNT = 4 };
    static const enum dtls12_verdict want[COUNT] = {DTLS12_DATA, DTLS12_REPLAYED, DTLS12_DATA, DTLS12_FORGED};
    struct pair pair;
    uint8_t sealed[COUNT][RECORD];
    uint8_t out[COUNT][RECORD];
    size_t lengths[COUNT];
    struct dtls12_job jobs[COUNT];
    struct aead_job *aead[COUNT];
    establish(&pair, &kinds[3]);
    lengths[0] = client_seals(&pair, "one", 3, sealed[0]);
    lengths[1] = lengths[0];
    memcpy(sealed[1], sealed[0], lengths[0]);
    lengths[2] = client_seals(&pair, "two", 3, sealed[2]);
    lengths[3] = client_seals(&pair, "bad", 3, sealed[3]);
    sealed[3][lengths[3] - 1] ^= 1;
    for (size_t i = 0; i < COUNT; i++) {
        struct slice rest = slice_of(sealed[i], lengths[i]);
        struct dtls12_record record;
        CU_ASSERT_EQUAL(dtls12_next(&pair.state, &rest, &record), SAGATE_OK);
        CU_ASSERT_EQUAL(dtls12_open_prepare(&pair.state, &record, out[i], RECORD, &jobs[i]), DTLS12_DATA);
        aead[i] = &jobs[i].aead;
    }
    aead_open(aead, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        size_t n;
        CU_ASSERT_EQUAL(dtls12_open_judge(&pair.state, &jobs[i], &n, NULL), want[i]);
    }
    finish(&pair);
}

static const struct unit_test tests[] = {
    {"records pass both ways", records_pass_both_ways},
    {"window takes each record once", window_takes_each_record_once},
    {"window is not moved by forgeries", window_is_not_moved_by_forgeries},
    {"spoiled records are dropped", spoiled_records_are_dropped},
    {"other epochs cost nothing", other_epochs_cost_nothing},
    {"close_notify passes both ways", close_notify_passes_both_ways},
    {"contents have their verdicts", contents_have_their_verdicts},
    {"Connection IDs must match", connection_ids_must_match},
    {"padding is taken off", padding_is_taken_off},
    {"sealing ends at the limits", sealing_ends_at_the_limits},
    {"sealing is all or nothing", sealing_is_all_or_nothing},
    {"forgeries end at the limit", forgeries_end_at_the_limit},
    {"numbers repeat no nonce", numbers_repeat_no_nonce},
    {"round trips hold", round_trips_hold},
    {"batches notice doubles", batches_notice_doubles},
};

UNIT_MAIN("dtls12", tests)
