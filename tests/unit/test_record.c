// Records of established associations: what is forged, replayed or too large, sinks that refuse, renegotiation.
// SPDX-License-Identifier: GPL-3.0-or-later
#include <wolfssl/options.h>
#define handshake_failure wolfssl_alert_handshake_failure
#include <wolfssl/ssl.h>
#undef handshake_failure
#include <wolfssl/wolfcrypt/aes.h>

#include "common/error.h"
#include "tests/unit/handshake_rig.h"
#include "tests/unit/unit.h"

#include <string.h>

static const uint8_t key[16] = "0123456789abcde";

static const struct rig_options dtls_options = {.dtls = true, .psk = true};
static const struct rig_options tls_options = {
    .psk = true, .version_min = CONFIG_TLS_1_2, .version_max = CONFIG_TLS_1_3};
static const struct tls_client_options dtls_peer = {
    .dtls = true, .ciphers = "PSK-AES128-CCM-8", .identity = "dev", .key = {key, sizeof key}};
static const struct tls_client_options tls_peer = {
    .ciphers = "PSK-AES128-CCM-8", .identity = "dev", .key = {key, sizeof key}};
static const struct tls_client_options tls13_peer = {
    .tls13 = true, .ciphers = "TLS13-AES128-GCM-SHA256", .identity = "dev", .key = {key, sizeof key}};

static struct tls_client *establish(struct rig *rig, const struct tls_client_options *peer)
{
    CU_ASSERT_EQUAL_FATAL(rig_open(rig, peer->dtls ? &dtls_options : &tls_options), SAGATE_OK);
    rig->key = slice_of(key, sizeof key);
    struct tls_client *client = tls_client_new(peer);
    CU_ASSERT_PTR_NOT_NULL_FATAL(client);
    if (!peer->dtls)
        CU_ASSERT_EQUAL_FATAL(rig_accept(rig), SAGATE_OK);
    rig_run(rig, client);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig->record);
    return client;
}

static void finish(struct rig *rig, struct tls_client *client)
{
    tls_client_free(client);
    rig_close(rig);
}

static int open_next(struct rig *rig, size_t *len)
{
    static uint8_t out[RECORD_PLAINTEXT_MAX];
    int status = SAGATE_EINTERNAL;
    *len = record_open(rig->record, out, sizeof out, &status);
    return status;
}

// The client's next datagram, or write, copied.
static size_t take(struct tls_client *client, uint8_t *out, size_t cap)
{
    struct slice chunk;
    CU_ASSERT_TRUE_FATAL(tls_client_output(client, &chunk) && chunk.len <= cap);
    memcpy(out, chunk.data, chunk.len);
    return chunk.len;
}

static void spoiled_datagrams_never_end_the_association(void)
{
    struct rig rig;
    uint8_t good[200];
    uint8_t bad[200];
    size_t n;
    struct tls_client *client = establish(&rig, &dtls_peer);
    CU_ASSERT_EQUAL(tls_client_write(client, "hello", 5), SAGATE_OK);
    size_t len = take(client, good, sizeof good);
    for (int opened = 0; opened <= 1; opened++) { // before and after the first application data
        for (size_t i = 0; i < len; i++) {
            for (unsigned bit = 0; bit < 8; bit++) {
                memcpy(bad, good, len);
                bad[i] ^= (uint8_t)(1U << bit);
                rig_give(&rig, bad, len);
                int status = open_next(&rig, &n);
                while (status == SAGATE_ERECORD) // a shorter record leaves a malformed rest
                    status = open_next(&rig, &n);
                CU_ASSERT_EQUAL(status, SAGATE_AGAIN);
            }
        }
        for (size_t i = 0; i < len; i++) {
            rig_give(&rig, good, i);
            CU_ASSERT_EQUAL(open_next(&rig, &n), i == 0 ? SAGATE_AGAIN : SAGATE_ERECORD);
        }
        if (opened == 0) {
            rig_give(&rig, good, len);
            CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_OK);
            CU_ASSERT_EQUAL(n, 5);
        }
        rig_give(&rig, good, len); // a replay
        CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_ERECORD);
    }
    CU_ASSERT_TRUE(rig_echo(&rig, client, 100));
    finish(&rig, client);
}

static void forged_alerts_in_clear_are_ignored(void)
{
    static const uint8_t fatal[] = {21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 99, 0, 2, 2, 20};
    static const uint8_t notify[] = {21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 98, 0, 2, 1, 0};
    struct rig rig;
    size_t n;
    struct tls_client *client = establish(&rig, &dtls_peer);
    for (int i = 0; i < 20; i++) {
        rig_give(&rig, fatal, sizeof fatal);
        CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_ERECORD);
        rig_give(&rig, notify, sizeof notify);
        CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_ERECORD);
    }
    CU_ASSERT_TRUE(rig_echo(&rig, client, 100));
    finish(&rig, client);
}

static void each_record_of_a_datagram_has_its_verdict(void)
{
    struct rig rig;
    uint8_t two[400];
    size_t n;
    struct tls_client *client = establish(&rig, &dtls_peer);
    CU_ASSERT_EQUAL(tls_client_write(client, "one", 3), SAGATE_OK);
    size_t first = take(client, two, sizeof two);
    CU_ASSERT_EQUAL(tls_client_write(client, "three", 5), SAGATE_OK);
    size_t len = first + take(client, two + first, sizeof two - first);
    // Behind one that is not authentic nothing is tried.
    two[first - 1] ^= 1;
    rig_give(&rig, two, len);
    CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_ERECORD);
    CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_AGAIN);
    two[first - 1] ^= 1;
    rig_give(&rig, two, first);
    CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_OK);
    rig_give(&rig, two, len); // the first one is a replay now
    CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_ERECORD);
    CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_OK);
    CU_ASSERT_EQUAL(n, 5);
    CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_AGAIN);
    finish(&rig, client);
}

static void too_large_datagrams_are_refused(void)
{
    static uint8_t data[1500];
    struct rig rig;
    struct tls_client *client = establish(&rig, &dtls_peer);
    size_t sent = rig.sent_count;
    CU_ASSERT_EQUAL(record_seal(rig.record, data, 1401), SAGATE_ETOOBIG);
    CU_ASSERT_EQUAL(record_seal(rig.record, data, 1400), SAGATE_ETOOBIG); // with its overhead
    CU_ASSERT_EQUAL(rig.sent_count, sent);
    CU_ASSERT_EQUAL(record_seal(rig.record, data, 1350), SAGATE_OK);
    CU_ASSERT_EQUAL(rig.sent_count, sent + 1);
    (void)rig_drop_sent(&rig);
    CU_ASSERT_TRUE(rig_echo(&rig, client, 1300));
    rig.sink_says = SAGATE_ELIMIT;
    CU_ASSERT_EQUAL(record_seal(rig.record, data, 10), SAGATE_ELIMIT);
    rig.sink_says = SAGATE_OK;
    CU_ASSERT_TRUE(rig_echo(&rig, client, 10));
    finish(&rig, client);
}

static bool only_whole_records(const struct rig *rig)
{
    for (const struct rig_chunk *chunk = rig->sent; chunk != NULL; chunk = chunk->next) {
        size_t at = 0;
        while (at + 5 <= chunk->len)
            at += 5 + ((size_t)chunk->bytes[at + 3] << 8 | chunk->bytes[at + 4]);
        if (at != chunk->len)
            return false;
    }
    return true;
}

static void full_sink_gets_whole_records_later(void)
{
    static uint8_t data[40000];
    static uint8_t got[40000];
    const struct tls_client_options *const peers[] = {&tls_peer, &tls13_peer};
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i % 251);
    for (size_t p = 0; p < 2; p++) {
        struct rig rig;
        struct tls_client *client = establish(&rig, peers[p]);
        rig.sink_says = SAGATE_ELIMIT;
        CU_ASSERT_EQUAL(record_seal(rig.record, data, sizeof data), SAGATE_AGAIN); // taken whole
        CU_ASSERT_EQUAL(record_seal(rig.record, data, 10), SAGATE_ELIMIT);         // nothing taken
        CU_ASSERT_EQUAL(record_seal(rig.record, NULL, 0), SAGATE_ELIMIT);
        CU_ASSERT_PTR_NULL(rig.sent);
        rig.sink_says = SAGATE_AGAIN;
        CU_ASSERT_EQUAL(record_seal(rig.record, NULL, 0), SAGATE_AGAIN);
        rig.sink_says = SAGATE_OK;
        CU_ASSERT_EQUAL(record_seal(rig.record, (const uint8_t *)"end", 3), SAGATE_OK);
        CU_ASSERT_TRUE(only_whole_records(&rig));
        rig_server_to_client(&rig, client);
        size_t have = 0;
        int n = 1;
        while (n > 0 && have < sizeof got) {
            n = tls_client_read(client, got + have, sizeof got - have);
            have += n > 0 ? (size_t)n : 0;
        }
        CU_ASSERT_EQUAL(have, sizeof data);
        CU_ASSERT_EQUAL(memcmp(got, data, sizeof data), 0);
        CU_ASSERT_EQUAL(tls_client_read(client, got, sizeof got), 3);
        rig.sink_says = SAGATE_EGONE;
        CU_ASSERT_EQUAL(record_seal(rig.record, data, 10), SAGATE_EGONE);
        CU_ASSERT_EQUAL(record_seal(rig.record, data, 10), SAGATE_EGONE);
        finish(&rig, client);
    }
}

static void stream_input_is_bounded_and_may_come_in_any_pieces(void)
{
    static uint8_t data[30000];
    static uint8_t garbage[4096];
    struct rig rig;
    struct slice chunk;
    size_t n;
    size_t have = 0;
    struct tls_client *client = establish(&rig, &tls_peer);
    CU_ASSERT_EQUAL(tls_client_write(client, data, sizeof data), SAGATE_OK);
    while (tls_client_output(client, &chunk)) {
        for (size_t i = 0; i < chunk.len; i++) {
            CU_ASSERT_EQUAL(record_input(rig.record, chunk.data + i, 1), SAGATE_OK);
            if (open_next(&rig, &n) == SAGATE_OK)
                have += n;
        }
    }
    CU_ASSERT_EQUAL(have, sizeof data);
    int rc = SAGATE_OK;
    for (int i = 0; i < 100 && rc == SAGATE_OK; i++)
        rc = record_input(rig.record, garbage, sizeof garbage);
    CU_ASSERT_EQUAL(rc, SAGATE_ELIMIT);
    finish(&rig, client);
}

static void spoiled_stream_ends(void)
{
    const struct tls_client_options *const peers[] = {&tls_peer, &tls13_peer};
    for (size_t p = 0; p < 2; p++) {
        struct rig rig;
        uint8_t bytes[200];
        size_t n;
        struct tls_client *client = establish(&rig, peers[p]);
        CU_ASSERT_EQUAL(tls_client_write(client, "hello", 5), SAGATE_OK);
        size_t len = take(client, bytes, sizeof bytes);
        bytes[len - 1] ^= 1;
        rig_give(&rig, bytes, len);
        CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_EGONE);
        CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_EGONE);
        CU_ASSERT_EQUAL(record_seal(rig.record, bytes, 3), SAGATE_EGONE);
        record_close(rig.record);
        finish(&rig, client);
    }
}

static void put(uint8_t *out, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        out[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

// A record as the client would have sealed it, of any type (RFC 6655, RFC 7251: AES-128-CCM-8).
static size_t craft(struct tls_client *client, bool dtls, uint64_t sequence, uint8_t type, const uint8_t *data,
                    size_t len, uint8_t *out)
{
    WOLFSSL *ssl = tls_client_object(client);
    Aes aes;
    uint8_t nonce[12];
    uint8_t additional[13];
    size_t header = dtls ? 13 : 5;
    uint64_t number = dtls ? 1ULL << 48 | sequence : sequence;
    memcpy(nonce, wolfSSL_GetClientWriteIV(ssl), 4);
    put(nonce + 4, number, 8);
    put(additional, number, 8);
    additional[8] = type;
    put(additional + 9, dtls ? 0xfefd : 0x0303, 2);
    put(additional + 11, len, 2);
    out[0] = type;
    put(out + 1, dtls ? 0xfefd : 0x0303, 2);
    if (dtls)
        put(out + 3, number, 8);
    put(out + header - 2, 8 + len + 8, 2);
    memcpy(out + header, nonce + 4, 8);
    CU_ASSERT_EQUAL_FATAL(wc_AesInit(&aes, NULL, INVALID_DEVID), 0);
    CU_ASSERT_EQUAL_FATAL(wc_AesCcmSetKey(&aes, wolfSSL_GetClientWriteKey(ssl), 16), 0);
    CU_ASSERT_EQUAL_FATAL(wc_AesCcmEncrypt(&aes, out + header + 8, data, (word32)len, nonce, sizeof nonce,
                                           out + header + 8 + len, 8, additional, sizeof additional),
                          0);
    wc_AesFree(&aes);
    return header + 8 + len + 8;
}

static void crafted_records_are_what_the_client_seals(void)
{
    for (int dtls = 0; dtls <= 1; dtls++) {
        struct rig rig;
        uint8_t bytes[100];
        size_t n;
        struct tls_client *client = establish(&rig, dtls == 1 ? &dtls_peer : &tls_peer);
        size_t len = craft(client, dtls == 1, 1, 23, (const uint8_t *)"hello", 5, bytes);
        rig_give(&rig, bytes, len);
        CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_OK);
        CU_ASSERT_EQUAL(n, 5);
        finish(&rig, client);
    }
}

// The first ClientHello of a fresh client, without its record header.
static size_t fresh_hello(bool dtls, uint16_t message_seq, uint8_t *out, size_t cap)
{
    struct tls_client *fresh = tls_client_new(dtls ? &dtls_peer : &tls_peer);
    CU_ASSERT_PTR_NOT_NULL_FATAL(fresh);
    (void)tls_client_run(fresh);
    size_t len = take(fresh, out, cap);
    size_t header = dtls ? 13 : 5;
    memmove(out, out + header, len - header);
    if (dtls)
        put(out + 4, message_seq, 2);
    tls_client_free(fresh);
    return len - header;
}

static void renegotiation_is_refused(void)
{
    for (int variant = 0; variant < 8; variant++) {
        bool dtls = variant >= 2;
        struct rig rig;
        uint8_t hello[600];
        uint8_t bytes[700];
        size_t n;
        struct tls_client *client = establish(&rig, dtls ? &dtls_peer : &tls_peer);
        uint64_t sequence = 1;
        if (variant % 2 == 1) { // also when application data has come
            size_t first = craft(client, dtls, sequence++, 23, (const uint8_t *)"x", 1, bytes);
            rig_give(&rig, bytes, first);
            CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_OK);
        }
        size_t len = fresh_hello(dtls,
                                 (uint16_t)(variant / 2 == 1   ? 0
                                            : variant / 2 == 2 ? 4
                                                               : 9),
                                 hello, sizeof hello);
        rig_give(&rig, bytes, craft(client, dtls, sequence++, 22, hello, len, bytes));
        int status = open_next(&rig, &n);
        CU_ASSERT_TRUE(status == SAGATE_AGAIN || (dtls && status == SAGATE_ERECORD));
        CU_ASSERT_EQUAL(n, 0);
        rig_give(&rig, bytes, craft(client, dtls, sequence++, 23, (const uint8_t *)"x", 1, bytes));
        CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_OK);
        record_close(rig.record);
        finish(&rig, client);
    }
}

static void hello_requests_and_warnings_are_bounded(void)
{
    static const uint8_t request[] = {0, 0, 0, 0};
    static const uint8_t request_dtls[] = {0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0};
    static const uint8_t warning[] = {1, 90};
    const struct {
        bool dtls;
        uint8_t type;
        struct slice body;
    } cases[] = {{false, 22, {request, sizeof request}},
                 {true, 22, {request_dtls, sizeof request_dtls}},
                 {false, 21, {warning, sizeof warning}},
                 {true, 21, {warning, sizeof warning}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig rig;
        uint8_t bytes[100];
        size_t n;
        int status = SAGATE_AGAIN;
        struct tls_client *client = establish(&rig, cases[i].dtls ? &dtls_peer : &tls_peer);
        size_t before = rig.sent_count;
        for (uint64_t k = 1; k <= 200; k++) {
            size_t len = craft(client, cases[i].dtls, k, cases[i].type, cases[i].body.data, cases[i].body.len, bytes);
            rig_give(&rig, bytes, len);
            status = open_next(&rig, &n);
            CU_ASSERT_EQUAL(n, 0);
        }
        CU_ASSERT_TRUE(cases[i].dtls || status == SAGATE_EGONE);
        CU_ASSERT_TRUE(rig.sent_count - before <= 10);
        finish(&rig, client);
    }
}

static void authentic_alerts_end_the_association(void)
{
    static const uint8_t fatal[] = {2, 80};
    for (int dtls = 0; dtls <= 1; dtls++) {
        struct rig rig;
        uint8_t bytes[100];
        size_t n;
        struct tls_client *client = establish(&rig, dtls == 1 ? &dtls_peer : &tls_peer);
        rig_give(&rig, bytes, craft(client, dtls == 1, 1, 21, fatal, sizeof fatal, bytes));
        CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_EGONE);
        finish(&rig, client);
    }
}

static void last_flight_is_sent_again_within_bounds(void)
{
    static const uint8_t message[24] = {20, 0, 0, 12, 0, 3, 0, 0, 0, 0, 0, 12};
    struct rig rig;
    size_t n;
    struct tls_client *client = establish(&rig, &dtls_peer);
    size_t before = rig.sent_count;
    uint8_t forged[100] = {22, 254, 253, 0, 1};
    for (unsigned i = 1; i <= 50; i++) { // nobody but the peer can use up what is kept for it
        forged[10] = (uint8_t)i;
        forged[12] = 40;
        rig_give(&rig, forged, 53);
        CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_ERECORD);
    }
    CU_ASSERT_EQUAL(rig.sent_count, before);
    uint8_t finished[100];
    size_t len = 0;
    for (unsigned i = 1; i <= 50; i++) {
        len = craft(client, true, i, 22, message, sizeof message, finished);
        rig_give(&rig, finished, len);
        int status = open_next(&rig, &n);
        CU_ASSERT_TRUE(status == SAGATE_AGAIN || (i > 8 && status == SAGATE_ERECORD));
    }
    CU_ASSERT_TRUE(rig.sent_count > before);
    CU_ASSERT_TRUE(rig.sent_count - before <= 16);
    (void)rig_drop_sent(&rig);
    len = craft(client, true, 51, 23, message, sizeof message, finished);
    rig_give(&rig, finished, len);
    CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_OK);
    before = rig.sent_count;
    len = craft(client, true, 52, 22, message, sizeof message, finished); // when data has come nothing is repeated
    rig_give(&rig, finished, len);
    CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_ERECORD);
    CU_ASSERT_EQUAL(rig.sent_count, before);
    finish(&rig, client);
}

static const struct unit_test tests[] = {
    {"spoiled datagrams never end the association", spoiled_datagrams_never_end_the_association},
    {"forged alerts in clear are ignored", forged_alerts_in_clear_are_ignored},
    {"each record of a datagram has its verdict", each_record_of_a_datagram_has_its_verdict},
    {"too large datagrams are refused", too_large_datagrams_are_refused},
    {"full sink gets whole records later", full_sink_gets_whole_records_later},
    {"stream input is bounded and may come in any pieces", stream_input_is_bounded_and_may_come_in_any_pieces},
    {"spoiled stream ends", spoiled_stream_ends},
    {"crafted records are what the client seals", crafted_records_are_what_the_client_seals},
    {"renegotiation is refused", renegotiation_is_refused},
    {"HelloRequests and warnings are bounded", hello_requests_and_warnings_are_bounded},
    {"authentic alerts end the association", authentic_alerts_end_the_association},
    {"last flight is sent again within bounds", last_flight_is_sent_again_within_bounds},
};

UNIT_MAIN("record", tests)
