// Folded TLS streams against wolfSSL's client: every suite and both versions, records in pieces, key updates, alerts,
// sinks that refuse, and what a peer with the right keys may still do wrong.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "tests/unit/handshake_rig.h"
#include "tests/unit/stream_pair.h"
#include "tests/unit/unit.h"

#include <string.h>

static uint8_t bytes[PAIR_SEALED];

static void every_suite_carries_data_both_ways(void)
{
    static const size_t sizes[] = {1, 100, 16383, 16384, 16385, PAIR_LONG};
    for (size_t i = 0; i < PAIR_SUITES; i++) {
        struct pair pair;
        pair_open(&pair, &pair_suites[i]);
        CU_ASSERT_STRING_EQUAL(stream_protocol(pair.stream), pair_suites[i].tls13 ? "TLSv1.3" : "TLSv1.2");
        CU_ASSERT_STRING_EQUAL(stream_cipher(pair.stream), pair_suites[i].name);
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
            CU_ASSERT_TRUE(pair_echo(&pair, sizes[k]));
        pair_close(&pair);
    }
}

static void listeners_fold_what_they_offer(void)
{
    static const struct {
        struct tls_client_options peer;
        bool folds;
    } others[] = {{{.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256"}, true},
                  {{.ciphers = "ECDHE-ECDSA-AES128-CCM"}, true},
                  {{.ciphers = "ECDHE-ECDSA-AES128-CCM-8"}, true},
                  {{.ciphers = "ECDHE-ECDSA-AES128-SHA256"}, false},
                  {{.ciphers = "TLS13-AES256-GCM-SHA384", .tls13 = true}, true},
                  {{.ciphers = "TLS13-CHACHA20-POLY1305-SHA256", .tls13 = true}, true}};
    static const struct rig_options listener = {
        .psk = true, .certificates = 1, .version_min = CONFIG_TLS_1_2, .version_max = CONFIG_TLS_1_3};
    for (size_t i = 0; i < PAIR_SUITES + sizeof others / sizeof *others; i++) {
        struct rig rig;
        struct tls_client_options peer = {.identity = "dev", .key = {pair_psk, sizeof pair_psk}};
        if (i < PAIR_SUITES && !pair_suites[i].offered)
            continue;
        if (i >= PAIR_SUITES) {
            peer = others[i - PAIR_SUITES].peer;
        } else {
            peer.ciphers = peer.psk_suite13 = pair_suites[i].name;
            peer.tls13 = pair_suites[i].tls13;
        }
        CU_ASSERT_EQUAL_FATAL(rig_open(&rig, &listener), SAGATE_OK);
        rig.key = slice_of(pair_psk, sizeof pair_psk);
        struct tls_client *client = tls_client_new(&peer);
        CU_ASSERT_PTR_NOT_NULL_FATAL(client);
        CU_ASSERT_EQUAL_FATAL(rig_accept(&rig), SAGATE_OK);
        rig_run(&rig, client);
        CU_ASSERT_PTR_NOT_NULL_FATAL(rig.record);
        CU_ASSERT_EQUAL(record_folded(rig.record), i < PAIR_SUITES || others[i - PAIR_SUITES].folds);
        CU_ASSERT_STRING_EQUAL(record_protocol(rig.record), peer.tls13 ? "TLSv1.3" : "TLSv1.2");
        CU_ASSERT_STRING_EQUAL(record_cipher(rig.record), peer.ciphers);
        CU_ASSERT_TRUE(rig_echo(&rig, client, PAIR_LONG));
        tls_client_free(client);
        rig_close(&rig);
    }
}

// All that the client has to say, in one piece.
static size_t gather(struct tls_client *client, uint8_t *out, size_t cap)
{
    struct slice chunk;
    size_t len = 0;
    while (tls_client_output(client, &chunk)) {
        CU_ASSERT_TRUE_FATAL(len + chunk.len <= cap);
        memcpy(out + len, chunk.data, chunk.len);
        len += chunk.len;
    }
    return len;
}

static void data_may_come_with_the_finished(void)
{
    static const struct rig_options listener = {
        .psk = true, .version_min = CONFIG_TLS_1_2, .version_max = CONFIG_TLS_1_3};
    static const struct tls_client_options peer = {
        .tls13 = true, .ciphers = "TLS13-AES128-GCM-SHA256", .identity = "dev", .key = {pair_psk, sizeof pair_psk}};
    for (size_t cut = 0; cut <= 1; cut++) { // the last byte comes later
        struct rig rig;
        int status;
        CU_ASSERT_EQUAL_FATAL(rig_open(&rig, &listener), SAGATE_OK);
        rig.key = slice_of(pair_psk, sizeof pair_psk);
        struct tls_client *client = tls_client_new(&peer);
        CU_ASSERT_EQUAL_FATAL(rig_accept(&rig), SAGATE_OK);
        (void)tls_client_run(client);
        rig_client_to_server(&rig, client);
        rig_server_to_client(&rig, client);
        CU_ASSERT_EQUAL_FATAL(tls_client_run(client), SAGATE_DONE);
        CU_ASSERT_EQUAL(tls_client_write(client, "early", 5), SAGATE_OK);
        CU_ASSERT_EQUAL(tls_client_write(client, "birds", 5), SAGATE_OK);
        size_t len = gather(client, bytes, sizeof bytes);
        rig_give(&rig, bytes, len - cut);
        CU_ASSERT_PTR_NOT_NULL_FATAL(rig.record);
        CU_ASSERT_TRUE(record_folded(rig.record));
        CU_ASSERT_EQUAL(record_open(rig.record, pair_plain, sizeof pair_plain, &status), 5);
        CU_ASSERT_EQUAL(memcmp(pair_plain, "early", 5), 0);
        if (cut > 0) {
            CU_ASSERT_EQUAL(record_open(rig.record, pair_plain, sizeof pair_plain, &status), 0);
            CU_ASSERT_EQUAL(status, SAGATE_AGAIN);
            rig_give(&rig, bytes + len - cut, cut);
        }
        CU_ASSERT_EQUAL(record_open(rig.record, pair_plain, sizeof pair_plain, &status), 5);
        CU_ASSERT_EQUAL(memcmp(pair_plain, "birds", 5), 0);
        CU_ASSERT_TRUE(rig_echo(&rig, client, 100));
        tls_client_free(client);
        rig_close(&rig);
    }
}

static void records_come_in_any_pieces(void)
{
    static const size_t lengths[] = {5, 1, 0, 300, 16384, 7};
    static uint8_t wire[40000];
    static const size_t steps[] = {1, 2, 3, 5, 6, 100, 4096, 16384, sizeof wire};
    for (size_t which = PAIR_TLS12; which <= PAIR_TLS13; which += PAIR_TLS13 - PAIR_TLS12) {
        struct pair pair;
        pair_open(&pair, &pair_suites[which]);
        for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
            size_t len = 0;
            size_t records = 0;
            size_t n;
            int status = SAGATE_OK;
            for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
                len += pair_craft(&pair, TLS_APPLICATION, pair_pattern, lengths[i], wire + len);
            for (size_t at = 0; at < len; at += steps[s]) {
                size_t step = len - at < steps[s] ? len - at : steps[s];
                uint8_t *own = malloc(step); // so that a sanitizer sees who looks at it later
                CU_ASSERT_PTR_NOT_NULL_FATAL(own);
                memcpy(own, wire + at, step);
                stream_lend(pair.stream, slice_of(own, step));
                while ((status = pair_open_next(&pair, &n)) == SAGATE_OK) {
                    CU_ASSERT_TRUE(n == lengths[records] && memcmp(pair_plain, pair_pattern, n) == 0);
                    records++;
                }
                free(own);
                CU_ASSERT_EQUAL_FATAL(status, SAGATE_AGAIN);
            }
            CU_ASSERT_EQUAL(records, 6);
            CU_ASSERT_TRUE(pair_idle_is_small(&pair));
        }
        pair_close(&pair);
    }
}

static void what_a_pause_leaves_behind_is_kept(void)
{
    static uint8_t wire[4000];
    for (size_t which = PAIR_TLS12; which <= PAIR_TLS13; which += PAIR_TLS13 - PAIR_TLS12) {
        struct pair pair;
        size_t n;
        size_t len = 0;
        pair_open(&pair, &pair_suites[which]);
        for (size_t i = 1; i <= 10; i++)
            len += pair_craft(&pair, TLS_APPLICATION, pair_pattern, i, wire + len);
        stream_lend(pair.stream, slice_of(wire, len - 3));
        CU_ASSERT_EQUAL(pair_open_next(&pair, &n), SAGATE_OK);
        CU_ASSERT_EQUAL(n, 1);
        CU_ASSERT_EQUAL(stream_keep(pair.stream), SAGATE_OK);
        uint8_t tail[3];
        memcpy(tail, wire + len - 3, 3);
        memset(wire, 0, sizeof wire);
        CU_ASSERT_EQUAL(pair_open_next(&pair, &n), SAGATE_OK);
        CU_ASSERT_EQUAL(n, 2);
        CU_ASSERT_EQUAL(stream_input(pair.stream, slice_of(tail, 3)), SAGATE_OK);
        for (size_t i = 3; i <= 10; i++) {
            CU_ASSERT_EQUAL(pair_open_next(&pair, &n), SAGATE_OK);
            CU_ASSERT_EQUAL(n, i);
        }
        CU_ASSERT_EQUAL(pair_open_next(&pair, &n), SAGATE_AGAIN);
        CU_ASSERT_TRUE(pair_idle_is_small(&pair));
        int rc = SAGATE_OK;
        for (int i = 0; i < 20 && rc == SAGATE_OK; i++)
            rc = stream_input(pair.stream, slice_of(wire, sizeof wire));
        CU_ASSERT_EQUAL(rc, SAGATE_ELIMIT);
        pair_close(&pair);
    }
}

static void every_flipped_bit_ends_the_stream(void)
{
    for (size_t which = 0; which < PAIR_SUITES; which++) {
        struct pair pair;
        uint8_t good[100];
        uint8_t bad[100];
        pair_open(&pair, &pair_suites[which]);
        struct stream before = *pair.stream;
        size_t len = pair_craft(&pair, TLS_APPLICATION, "hello", 5, good);
        for (size_t bit = 0; bit < 8 * len; bit++) {
            memcpy(bad, good, len);
            bad[bit / 8] ^= (uint8_t)(1U << bit % 8);
            size_t sent = pair.sent;
            *pair.stream = before;
            int status = pair_give(&pair, bad, len);
            bool longer = status == SAGATE_AGAIN && (bit / 8 == 3 || bit / 8 == 4); // waits for the rest
            CU_ASSERT_TRUE(status == SAGATE_EGONE || longer);
            CU_ASSERT_EQUAL(pair.sent - sent, longer ? 0 : 1);
            if (bit / 8 >= TLS_HEADER) {
                if (pair.tls13)
                    pair.state13.in.next = before.tls13.out.next;
                else
                    pair.tls12.next_in = before.tls12.next_out;
                CU_ASSERT_TRUE(pair_sent_alert(&pair, 2, ALERT_BAD_RECORD_MAC));
            }
            if (!longer) { // it stays ended
                size_t n;
                CU_ASSERT_EQUAL(stream_seal(pair.stream, good, 1), SAGATE_EGONE);
                CU_ASSERT_EQUAL(pair_open_next(&pair, &n), SAGATE_EGONE);
                stream_close(pair.stream);
                CU_ASSERT_EQUAL(pair.sent - sent, 1);
            }
            free(pair.stream->in);
        }
        *pair.stream = before;
        CU_ASSERT_EQUAL(pair_give(&pair, good, len), SAGATE_OK);
        pair_close(&pair);
    }
}

static void replayed_records_end_the_stream(void)
{
    for (size_t which = PAIR_TLS12; which <= PAIR_TLS13; which += PAIR_TLS13 - PAIR_TLS12) {
        struct pair pair;
        pair_open(&pair, &pair_suites[which]);
        size_t len = pair_craft(&pair, TLS_APPLICATION, "hello", 5, bytes);
        CU_ASSERT_EQUAL(pair_give(&pair, bytes, len), SAGATE_OK);
        CU_ASSERT_EQUAL(pair_give(&pair, bytes, len), SAGATE_EGONE);
        CU_ASSERT_TRUE(pair_sent_alert(&pair, 2, ALERT_BAD_RECORD_MAC));
        pair_close(&pair);
    }
}

static void records_that_are_too_long_end_the_stream(void)
{
    static const size_t beyond[] = {TLS12_BODY_MAX + 1, TLS13_BODY_MAX + 1};
    for (size_t i = 0; i <= 1; i++) {
        struct pair pair;
        pair_open(&pair, &pair_suites[i == 0 ? PAIR_TLS12 : PAIR_TLS13]);
        uint8_t header[TLS_HEADER] = {TLS_APPLICATION, 3, 3};
        tls_put(header + 3, beyond[i], 2);
        CU_ASSERT_EQUAL(pair_give(&pair, header, sizeof header), SAGATE_EGONE); // before its content comes
        CU_ASSERT_TRUE(pair_sent_alert(&pair, 2, 22));
        pair_close(&pair);
        // As long as the header may say, but not what is inside.
        pair_open(&pair, &pair_suites[i == 0 ? PAIR_TLS12 : PAIR_TLS13]);
        tls_put(header + 3, beyond[i] - 1, 2);
        memset(bytes, 0, sizeof bytes);
        memcpy(bytes, header, sizeof header);
        CU_ASSERT_EQUAL(pair_give(&pair, bytes, TLS_HEADER + beyond[i] - 1), SAGATE_EGONE);
        CU_ASSERT_TRUE(pair_sent_alert(&pair, 2, 22));
        pair_close(&pair);
    }
}

static void padding_is_taken_off(void)
{
    struct pair pair;
    size_t n;
    pair_open(&pair, &pair_suites[PAIR_TLS13]);
    memcpy(pair_plain, pair_pattern, 100);
    memset(pair_plain + 100, 0, sizeof pair_plain - 100);
    pair_plain[100] = TLS_APPLICATION;
    // Sealed as content of type 0, so that the byte behind becomes padding.
    size_t len = pair_craft(&pair, 0, pair_plain, 150, bytes);
    stream_lend(pair.stream, slice_of(bytes, len));
    CU_ASSERT_EQUAL(pair_open_next(&pair, &n), SAGATE_OK);
    CU_ASSERT_TRUE(n == 100 && memcmp(pair_plain, pair_pattern, n) == 0);
    memset(pair_plain, 0, sizeof pair_plain);
    CU_ASSERT_EQUAL(pair_give_crafted(&pair, 0, pair_plain, 150), SAGATE_EGONE); // nothing but padding
    CU_ASSERT_TRUE(pair_sent_alert(&pair, 2, ALERT_UNEXPECTED_MESSAGE));
    pair_close(&pair);
}

static void what_carries_nothing_is_bounded(void)
{
    static const uint8_t warning[] = {1, 90};
    for (size_t which = PAIR_TLS12; which <= PAIR_TLS13; which += PAIR_TLS13 - PAIR_TLS12) {
        for (int type = TLS_ALERT; type <= TLS_APPLICATION; type += 2) {
            struct pair pair;
            int status = SAGATE_OK;
            int count = 0;
            pair_open(&pair, &pair_suites[which]);
            for (int round = 0; round < 3; round++) { // data in between
                for (int i = 0; i < 32; i++)
                    CU_ASSERT_EQUAL(
                        pair_give_crafted(&pair, (uint8_t)type, warning, type == TLS_ALERT ? sizeof warning : 0),
                        type == TLS_ALERT ? SAGATE_AGAIN : SAGATE_OK);
                CU_ASSERT_EQUAL(pair_give_crafted(&pair, TLS_APPLICATION, "x", 1), SAGATE_OK);
            }
            while (status != SAGATE_EGONE && count++ < 100)
                status = pair_give_crafted(&pair, (uint8_t)type, warning, type == TLS_ALERT ? sizeof warning : 0);
            CU_ASSERT_EQUAL(count, 33);
            CU_ASSERT_TRUE(pair_sent_alert(&pair, 2, ALERT_UNEXPECTED_MESSAGE));
            pair_close(&pair);
        }
    }
}

static void close_notify_goes_both_ways(void)
{
    for (size_t which = PAIR_TLS12; which <= PAIR_TLS13; which += PAIR_TLS13 - PAIR_TLS12) {
        struct pair pair;
        size_t n;
        uint8_t got[10];
        pair_open(&pair, &pair_suites[which]);
        CU_ASSERT_EQUAL(tls_client_write(pair.client, "last", 4), SAGATE_OK);
        tls_client_close(pair.client);
        size_t len = gather(pair.client, bytes, sizeof bytes);
        stream_lend(pair.stream, slice_of(bytes, len));
        CU_ASSERT_EQUAL(pair_open_next(&pair, &n), SAGATE_OK);
        CU_ASSERT_EQUAL(pair_open_next(&pair, &n), SAGATE_DONE);
        CU_ASSERT_EQUAL(stream_seal(pair.stream, (const uint8_t *)"answer", 6), SAGATE_OK); // half-close
        CU_ASSERT_EQUAL(tls_client_read(pair.client, got, sizeof got), 6);
        stream_close(pair.stream);
        CU_ASSERT_EQUAL(tls_client_read(pair.client, got, sizeof got), SAGATE_EGONE);
        CU_ASSERT_EQUAL(tls_client_alert(pair.client), 0);
        pair_close(&pair);
    }
}

static void fatal_alerts_end_the_stream_without_an_answer(void)
{
    static const uint8_t alerts[][2] = {{2, 80}, {2, 20}, {1, 80}};
    for (size_t which = PAIR_TLS12; which <= PAIR_TLS13; which += PAIR_TLS13 - PAIR_TLS12) {
        for (size_t i = 0; i < 2 + which / PAIR_TLS13; i++) { // in TLS 1.3 whatever the level says
            struct pair pair;
            pair_open(&pair, &pair_suites[which]);
            CU_ASSERT_EQUAL(pair_give_crafted(&pair, TLS_ALERT, alerts[i], 2), SAGATE_EGONE);
            CU_ASSERT_EQUAL(stream_seal(pair.stream, pair_pattern, 5), SAGATE_EGONE);
            stream_close(pair.stream);
            CU_ASSERT_EQUAL(pair.sent, 0);
            pair_close(&pair);
        }
    }
}

static void what_does_not_belong_ends_the_stream(void)
{
    static const uint8_t hello_request[] = {0, 0, 0, 0};
    static const uint8_t ticket[] = {4, 0, 0, 1, 0};
    static const uint8_t hello[] = {1, 0, 0, 1, 0};
    static const uint8_t update[] = {24, 0, 0, 1, 0};
    static const uint8_t wrong_update[] = {24, 0, 0, 1, 2};
    static const uint8_t long_update[] = {24, 0, 0, 2, 0, 0};
    static const uint8_t two_updates[] = {24, 0, 0, 1, 0, 24, 0, 0, 1, 0};
    static const uint8_t one[] = {1};
    static const uint8_t level[] = {3, 0};
    static const struct {
        int versions; // 12, 13, or 25: both
        uint8_t type;
        const uint8_t *body;
        size_t len;
        uint8_t alert;
    } cases[] = {
        {25, TLS_HANDSHAKE, hello_request, sizeof hello_request, ALERT_UNEXPECTED_MESSAGE},
        {25, TLS_HANDSHAKE, ticket, sizeof ticket, ALERT_UNEXPECTED_MESSAGE},
        {13, TLS_HANDSHAKE, hello, sizeof hello, ALERT_UNEXPECTED_MESSAGE},
        {12, TLS_HANDSHAKE, update, sizeof update, ALERT_UNEXPECTED_MESSAGE},
        {12, TLS_HANDSHAKE, hello, 3, ALERT_UNEXPECTED_MESSAGE},
        {13, TLS_HANDSHAKE, hello, 0, ALERT_UNEXPECTED_MESSAGE},
        {13, TLS_HANDSHAKE, wrong_update, sizeof wrong_update, ALERT_ILLEGAL_PARAMETER},
        {13, TLS_HANDSHAKE, long_update, sizeof long_update, ALERT_UNEXPECTED_MESSAGE},
        {13, TLS_HANDSHAKE, two_updates, sizeof two_updates, ALERT_UNEXPECTED_MESSAGE},
        {25, TLS_CHANGE_CIPHER_SPEC, one, sizeof one, ALERT_UNEXPECTED_MESSAGE},
        {13, 99, one, sizeof one, ALERT_UNEXPECTED_MESSAGE},
        {25, TLS_ALERT, one, sizeof one, ALERT_DECODE_ERROR},
        {25, TLS_ALERT, two_updates, 4, ALERT_DECODE_ERROR},
        {12, TLS_ALERT, level, sizeof level, ALERT_DECODE_ERROR},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int version = 12; version <= 13; version++) {
            struct pair pair;
            if (cases[i].versions != 25 && cases[i].versions != version)
                continue;
            pair_open(&pair, &pair_suites[version == 12 ? PAIR_TLS12 : PAIR_TLS13]);
            CU_ASSERT_EQUAL(pair_give_crafted(&pair, cases[i].type, cases[i].body, cases[i].len), SAGATE_EGONE);
            CU_ASSERT_TRUE(pair_sent_alert(&pair, 2, cases[i].alert));
            pair_close(&pair);
        }
    }
}

static void what_is_not_protected_ends_the_stream(void)
{
    static const uint8_t change[] = {20, 3, 3, 0, 1, 1};
    static const uint8_t alert[] = {21, 3, 3, 0, 2, 1, 0};
    static const uint8_t message[] = {22, 3, 3, 0, 4, 0, 0, 0, 0};
    static const uint8_t nothing[] = {23, 3, 3, 0, 0};
    static const uint8_t version[] = {23, 3, 1, 0, 40};
    static const uint8_t http[] = "GET / HTTP/1.1\r\n";
    const struct {
        const uint8_t *record;
        size_t len;
        uint8_t alert12, alert13;
    } cases[] = {{change, sizeof change, 20, 10},   {alert, sizeof alert, 20, 10},
                 {message, sizeof message, 20, 10}, {nothing, sizeof nothing, 20, 20},
                 {version, sizeof version, 70, 20}, {http, 1, 10, 10}};
    for (size_t which = PAIR_TLS12; which <= PAIR_TLS13; which += PAIR_TLS13 - PAIR_TLS12) {
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct pair pair;
            pair_open(&pair, &pair_suites[which]);
            memset(bytes, 0, 100);
            memcpy(bytes, cases[i].record, cases[i].len);
            CU_ASSERT_EQUAL(pair_give(&pair, bytes, cases[i].record == version ? 45 : cases[i].len), SAGATE_EGONE);
            CU_ASSERT_TRUE(pair_sent_alert(&pair, 2, pair.tls13 ? cases[i].alert13 : cases[i].alert12));
            pair_close(&pair);
        }
    }
}

static void renegotiation_is_refused_with_a_warning(void)
{
    struct pair pair;
    uint8_t hello[300] = {1, 0, 1, 40};
    pair_open(&pair, &pair_suites[PAIR_TLS12]);
    for (int round = 0; round < 2; round++) { // data in between
        for (int i = 0; i < 4; i++) {
            CU_ASSERT_EQUAL(pair_give_crafted(&pair, TLS_HANDSHAKE, hello, 200), SAGATE_AGAIN);
            CU_ASSERT_TRUE(pair_sent_alert(&pair, 1, 100));
            CU_ASSERT_EQUAL(pair_give_crafted(&pair, TLS_HANDSHAKE, hello + 200, 100), SAGATE_AGAIN);
        }
        CU_ASSERT_EQUAL(pair.sent, (size_t)(4 * round + 4));
        CU_ASSERT_EQUAL(pair_give_crafted(&pair, TLS_APPLICATION, "x", 1), SAGATE_OK);
    }
    for (int i = 0; i < 4; i++)
        CU_ASSERT_EQUAL(pair_give_crafted(&pair, TLS_HANDSHAKE, hello, sizeof hello), SAGATE_AGAIN);
    pair.tls12.next_in += 3; // not looked at
    CU_ASSERT_EQUAL(pair_give_crafted(&pair, TLS_HANDSHAKE, hello, sizeof hello), SAGATE_EGONE);
    pair.tls12.next_in += 1;
    CU_ASSERT_TRUE(pair_sent_alert(&pair, 2, ALERT_UNEXPECTED_MESSAGE));
    pair_close(&pair);
}

static void key_updates_of_the_client_are_followed(void)
{
    for (size_t which = PAIR_TLS13; which < PAIR_SUITES; which++) {
        struct pair pair;
        pair_open(&pair, &pair_suites[which]);
        for (int i = 0; i < 20; i++) {
            struct slice chunk;
            size_t n;
            CU_ASSERT_EQUAL(wolfSSL_update_keys(tls_client_object(pair.client)), WOLFSSL_SUCCESS);
            CU_ASSERT_TRUE_FATAL(tls_client_output(pair.client, &chunk));
            stream_lend(pair.stream, chunk);
            CU_ASSERT_EQUAL(pair_open_next(&pair, &n), SAGATE_AGAIN);
            CU_ASSERT_EQUAL(pair.stream->tls13.in.next, 0);
            CU_ASSERT_EQUAL(pair.stream->tls13.out.next, 0); // it wanted ours as well
            CU_ASSERT_TRUE(pair_echo(&pair, 1000));
        }
        pair_close(&pair);
    }
}

static void floods_of_key_updates_end_the_stream(void)
{
    static const uint8_t update[] = {24, 0, 0, 1, 1};
    struct pair pair;
    int status = SAGATE_OK;
    int count = 0;
    pair_open(&pair, &pair_suites[PAIR_TLS13]);
    while (status != SAGATE_EGONE && count++ < 100) {
        status = pair_give_crafted(&pair, TLS_HANDSHAKE, update, sizeof update);
        CU_ASSERT_EQUAL(tls13_update(&pair.state13, &pair.state13.out), SAGATE_OK);
        if (status == SAGATE_AGAIN)
            CU_ASSERT_EQUAL(tls13_update(&pair.state13, &pair.state13.in), SAGATE_OK);
    }
    CU_ASSERT_EQUAL(count, 17);
    CU_ASSERT_TRUE(pair_sent_alert(&pair, 2, ALERT_UNEXPECTED_MESSAGE));
    pair_close(&pair);
}

static void key_updates_may_come_in_pieces_but_alone(void)
{
    static const uint8_t update[] = {24, 0, 0, 1, 0};
    struct pair pair;
    for (size_t cut = 1; cut < sizeof update; cut++) {
        pair_open(&pair, &pair_suites[PAIR_TLS13]);
        CU_ASSERT_EQUAL(pair_give_crafted(&pair, TLS_HANDSHAKE, update, cut), SAGATE_AGAIN);
        CU_ASSERT_EQUAL(pair_give_crafted(&pair, TLS_HANDSHAKE, update + cut, sizeof update - cut), SAGATE_AGAIN);
        CU_ASSERT_EQUAL(tls13_update(&pair.state13, &pair.state13.out), SAGATE_OK);
        CU_ASSERT_EQUAL(pair_give_crafted(&pair, TLS_APPLICATION, "x", 1), SAGATE_OK);
        pair_close(&pair);
        pair_open(&pair, &pair_suites[PAIR_TLS13]);
        CU_ASSERT_EQUAL(pair_give_crafted(&pair, TLS_HANDSHAKE, update, cut), SAGATE_AGAIN);
        CU_ASSERT_EQUAL(pair_give_crafted(&pair, TLS_APPLICATION, "x", 1), SAGATE_EGONE);
        CU_ASSERT_TRUE(pair_sent_alert(&pair, 2, ALERT_UNEXPECTED_MESSAGE));
        pair_close(&pair);
    }
}

static void keys_are_updated_before_their_limit(void)
{
    for (size_t which = PAIR_TLS13; which < PAIR_SUITES; which++) {
        struct pair pair;
        uint8_t got[100];
        pair_open(&pair, &pair_suites[which]);
        uint64_t limit = aead_properties(pair.stream->tls13.aead)->seal_limit;
        // As if the peer had seen all the others: both sides of the direction jump.
        pair.stream->tls13.out.next = pair.state13.in.next = limit - TLS_RESERVE - 1;
        CU_ASSERT_EQUAL(stream_seal(pair.stream, (const uint8_t *)"old", 3), SAGATE_OK);
        CU_ASSERT_EQUAL(pair.sent, 1);
        CU_ASSERT_EQUAL(stream_seal(pair.stream, (const uint8_t *)"new", 3), SAGATE_OK);
        CU_ASSERT_EQUAL(pair.sent, 3);
        CU_ASSERT_EQUAL(pair.stream->tls13.out.next, 1);
        CU_ASSERT_EQUAL(tls13_update(&pair.state13, &pair.state13.in), SAGATE_OK);
        uint8_t type;
        size_t len;
        CU_ASSERT_EQUAL(pair_last_sent(&pair, &type, got, sizeof got, &len), SAGATE_OK);
        CU_ASSERT_TRUE(type == TLS_APPLICATION && len == 3 && memcmp(got, "new", 3) == 0);
        pair_close(&pair);
    }
}

static void tls12_ends_at_the_limit_of_its_key(void)
{
    for (size_t which = 0; which < PAIR_TLS13; which++) {
        struct pair pair;
        pair_open(&pair, &pair_suites[which]);
        uint64_t limit = aead_properties(pair.stream->tls12.aead)->seal_limit;
        pair.stream->tls12.next_out = pair.tls12.next_in = limit - TLS_RESERVE;
        CU_ASSERT_EQUAL(stream_seal(pair.stream, (const uint8_t *)"one", 3), SAGATE_EGONE);
        CU_ASSERT_EQUAL(pair.sent, 0);
        stream_close(pair.stream); // the peer is told
        CU_ASSERT_TRUE(pair_sent_alert(&pair, 1, 0));
        pair_close(&pair);
    }
}

static void sinks_that_refuse_get_all_later(void)
{
    static const uint8_t update[] = {24, 0, 0, 1, 1};
    static uint8_t got[PAIR_LONG];
    for (size_t which = PAIR_TLS12; which <= PAIR_TLS13; which += PAIR_TLS13 - PAIR_TLS12) {
        struct pair pair;
        size_t have = 0;
        int n = 1;
        pair_open(&pair, &pair_suites[which]);
        pair.sink_says = SAGATE_ELIMIT;
        CU_ASSERT_EQUAL(stream_seal(pair.stream, pair_pattern, PAIR_LONG), SAGATE_AGAIN); // taken whole
        CU_ASSERT_EQUAL(stream_seal(pair.stream, pair_pattern, 1), SAGATE_ELIMIT);
        CU_ASSERT_EQUAL(stream_seal(pair.stream, NULL, 0), SAGATE_ELIMIT);
        if (pair.tls13)
            CU_ASSERT_EQUAL(pair_give_crafted(&pair, TLS_HANDSHAKE, update, sizeof update), SAGATE_AGAIN);
        pair.sink_says = SAGATE_AGAIN;
        CU_ASSERT_EQUAL(stream_seal(pair.stream, NULL, 0), SAGATE_AGAIN);
        CU_ASSERT_TRUE(pair_idle_is_small(&pair));
        CU_ASSERT_EQUAL(stream_seal(pair.stream, (const uint8_t *)"end", 3), SAGATE_AGAIN);
        while (n > 0) {
            n = tls_client_read(pair.client, got, sizeof got);
            have += n > 0 ? (size_t)n : 0;
        }
        CU_ASSERT_EQUAL(have, PAIR_LONG + 3);
        pair.sink_says = SAGATE_EGONE;
        CU_ASSERT_EQUAL(stream_seal(pair.stream, pair_pattern, 1), SAGATE_EGONE);
        pair.sink_says = SAGATE_OK;
        CU_ASSERT_EQUAL(stream_seal(pair.stream, pair_pattern, 1), SAGATE_EGONE);
        pair_close(&pair);
    }
}

// A peer that never reads cannot make us keep answers without end.
static void answers_that_nobody_takes_are_bounded(void)
{
    static const uint8_t update[] = {24, 0, 0, 1, 1};
    struct pair pair;
    int status = SAGATE_OK;
    int count = 0;
    pair_open(&pair, &pair_suites[PAIR_TLS13]);
    pair.sink_says = SAGATE_ELIMIT;
    while (status != SAGATE_EGONE && count++ < 20000) {
        status = pair_give_crafted(&pair, TLS_HANDSHAKE, update, sizeof update);
        CU_ASSERT_EQUAL(tls13_update(&pair.state13, &pair.state13.out), SAGATE_OK);
        if (status == SAGATE_AGAIN)
            CU_ASSERT_EQUAL(pair_give_crafted(&pair, TLS_APPLICATION, "x", 1), SAGATE_OK);
    }
    CU_ASSERT_EQUAL(status, SAGATE_EGONE);
    CU_ASSERT_TRUE(count < 5000);
    pair_close(&pair);
}

// RFC 8448 3: the traffic keys and the first records of application data.
static void keys_are_those_of_rfc_8448(void)
{
    static const uint8_t client_secret[32] = {0x9e, 0x40, 0x64, 0x6c, 0xe7, 0x9a, 0x7f, 0x9d, 0xc0, 0x5a, 0xf8,
                                              0x88, 0x9b, 0xce, 0x65, 0x52, 0x87, 0x5a, 0xfa, 0x0b, 0x06, 0xdf,
                                              0x00, 0x87, 0xf7, 0x92, 0xeb, 0xb7, 0xc1, 0x75, 0x04, 0xa5};
    static const uint8_t server_secret[32] = {0xa1, 0x1a, 0xf9, 0xf0, 0x55, 0x31, 0xf8, 0x56, 0xad, 0x47, 0x11,
                                              0x6b, 0x45, 0xa9, 0x50, 0x32, 0x82, 0x04, 0xb4, 0xf4, 0x4b, 0xfb,
                                              0x6b, 0x3a, 0x4b, 0x4f, 0x1f, 0x3f, 0xcb, 0x63, 0x16, 0x43};
    static const uint8_t client_key[16] = {0x17, 0x42, 0x2d, 0xda, 0x59, 0x6e, 0xd5, 0xd9,
                                           0xac, 0xd8, 0x90, 0xe3, 0xc6, 0x3f, 0x50, 0x51};
    static const uint8_t server_iv[12] = {0xcf, 0x78, 0x2b, 0x88, 0xdd, 0x83, 0x54, 0x9a, 0xad, 0xf1, 0xe9, 0x84};
    struct tls13 state;
    CU_ASSERT_EQUAL(tls13_init(&state, AEAD_AES_128_GCM, client_secret, server_secret, 32), SAGATE_OK);
    CU_ASSERT_EQUAL(memcmp(state.in.key, client_key, sizeof client_key), 0);
    CU_ASSERT_EQUAL(memcmp(state.out.iv, server_iv, sizeof server_iv), 0);
    CU_ASSERT_EQUAL(tls13_init(&state, AEAD_NONE, client_secret, server_secret, 32), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(tls13_init(&state, AEAD_AES_128_GCM, client_secret, server_secret, 20), SAGATE_EINVAL);
}

static const struct unit_test tests[] = {
    {"every suite carries data both ways", every_suite_carries_data_both_ways},
    {"listeners fold what they offer", listeners_fold_what_they_offer},
    {"data may come with the Finished", data_may_come_with_the_finished},
    {"records come in any pieces", records_come_in_any_pieces},
    {"what a pause leaves behind is kept", what_a_pause_leaves_behind_is_kept},
    {"every flipped bit ends the stream", every_flipped_bit_ends_the_stream},
    {"replayed records end the stream", replayed_records_end_the_stream},
    {"records that are too long end the stream", records_that_are_too_long_end_the_stream},
    {"padding is taken off", padding_is_taken_off},
    {"what carries nothing is bounded", what_carries_nothing_is_bounded},
    {"close_notify goes both ways", close_notify_goes_both_ways},
    {"fatal alerts end the stream without an answer", fatal_alerts_end_the_stream_without_an_answer},
    {"what does not belong ends the stream", what_does_not_belong_ends_the_stream},
    {"what is not protected ends the stream", what_is_not_protected_ends_the_stream},
    {"renegotiation is refused with a warning", renegotiation_is_refused_with_a_warning},
    {"key updates of the client are followed", key_updates_of_the_client_are_followed},
    {"floods of key updates end the stream", floods_of_key_updates_end_the_stream},
    {"key updates may come in pieces, but alone", key_updates_may_come_in_pieces_but_alone},
    {"keys are updated before their limit", keys_are_updated_before_their_limit},
    {"TLS 1.2 ends at the limit of its key", tls12_ends_at_the_limit_of_its_key},
    {"sinks that refuse get all later", sinks_that_refuse_get_all_later},
    {"answers that nobody takes are bounded", answers_that_nobody_takes_are_bounded},
    {"keys are those of RFC 8448", keys_are_those_of_rfc_8448},
};

int main(void)
{
    for (size_t i = 0; i < sizeof pair_pattern; i++)
        pair_pattern[i] = (uint8_t)(i % 251);
    return unit_main("stream", tests, sizeof tests / sizeof *tests);
}
