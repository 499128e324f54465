// Folded associations of a listener: what folds, the last flight when it was lost, alerts, renegotiation, and how
// datagrams come in and go out.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/handshake/internal.h"
#include "dataplane/record/fold.h"
#include "tests/unit/handshake_rig.h"
#include "tests/unit/unit.h"

#include <string.h>

static const uint8_t key[16] = "0123456789abcde";

static const struct rig_options dtls_options = {.dtls = true, .psk = true, .certificates = 1};
static const struct rig_options tls_options = {
    .psk = true, .certificates = 1, .version_min = CONFIG_TLS_1_2, .version_max = CONFIG_TLS_1_3};

#define KEY             \
    {                   \
        key, sizeof key \
    }
#define PSK(is_dtls, is_tls13, name)                                                                         \
    {                                                                                                        \
        .dtls = (is_dtls), .tls13 = (is_tls13), .ciphers = (name), .psk_suite13 = (name), .identity = "dev", \
        .key = KEY                                                                                           \
    }

static const struct tls_client_options ccm8 = PSK(true, false, "PSK-AES128-CCM-8");
static const struct tls_client_options gcm = PSK(true, false, "PSK-AES128-GCM-SHA256");
static const struct tls_client_options ecdsa = {.dtls = true, .ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256"};
static const struct tls_client_options ecdsa_ccm8 = {.dtls = true, .ciphers = "ECDHE-ECDSA-AES128-CCM-8"};

static const struct tls_client_options *const folding[] = {&ccm8, &gcm, &ecdsa, &ecdsa_ccm8};
enum { FOLDING = sizeof folding / sizeof *folding };

static struct tls_client *open_rig(struct rig *rig, const struct tls_client_options *peer)
{
    CU_ASSERT_EQUAL_FATAL(rig_open(rig, peer->dtls ? &dtls_options : &tls_options), SAGATE_OK);
    rig->key = slice_of(key, sizeof key);
    struct tls_client *client = tls_client_new(peer);
    CU_ASSERT_PTR_NOT_NULL_FATAL(client);
    if (!peer->dtls)
        CU_ASSERT_EQUAL_FATAL(rig_accept(rig), SAGATE_OK);
    return client;
}

static struct tls_client *establish(struct rig *rig, const struct tls_client_options *peer)
{
    struct tls_client *client = open_rig(rig, peer);
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

static size_t take(struct tls_client *client, uint8_t *out, size_t cap)
{
    struct slice chunk;
    CU_ASSERT_TRUE_FATAL(tls_client_output(client, &chunk) && chunk.len <= cap);
    memcpy(out, chunk.data, chunk.len);
    return chunk.len;
}

// The client's side of the records, so that a test can seal what no library would.
static struct dtls12 client_state(struct tls_client *client)
{
    WOLFSSL *ssl = tls_client_object(client);
    bool is_gcm = strstr(tls_client_cipher(client), "GCM") != NULL;
    struct dtls12 state = {.aead = is_gcm ? AEAD_AES_128_GCM : AEAD_AES_128_CCM_8, .next_out = 1ULL << 48 | 100};
    memcpy(state.key_out, wolfSSL_GetClientWriteKey(ssl), 16);
    memcpy(state.iv_out, wolfSSL_GetClientWriteIV(ssl), 4);
    memcpy(state.key_in, wolfSSL_GetServerWriteKey(ssl), 16);
    memcpy(state.iv_in, wolfSSL_GetServerWriteIV(ssl), 4);
    return state;
}

static int give_sealed(struct rig *rig, struct dtls12 *state, uint8_t type, const void *data, size_t len)
{
    uint8_t sealed[500];
    size_t n;
    CU_ASSERT_EQUAL_FATAL(dtls12_seal(state, type, data, len, sealed, sizeof sealed, &n), SAGATE_OK);
    rig_give(rig, sealed, n);
    return open_next(rig, &n);
}

static void aead_suites_fold_and_others_do_not(void)
{
    static const struct {
        struct tls_client_options peer;
        const char *protocol;
        bool folds;
    } cases[] = {
        {PSK(true, false, "PSK-AES128-CCM-8"), "DTLSv1.2", true},
        {PSK(true, false, "PSK-AES128-GCM-SHA256"), "DTLSv1.2", true},
        {{.dtls = true, .ciphers = "ECDHE-ECDSA-AES128-CCM-8"}, "DTLSv1.2", true},
        {{.dtls = true, .ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256"}, "DTLSv1.2", true},
        {PSK(false, false, "PSK-AES128-GCM-SHA256"), "TLSv1.2", true},
        {PSK(false, false, "PSK-AES128-CBC-SHA256"), "TLSv1.2", false},
        {PSK(false, true, "TLS13-AES128-GCM-SHA256"), "TLSv1.3", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig rig;
        struct tls_client *client = establish(&rig, &cases[i].peer);
        CU_ASSERT_EQUAL(record_folded(rig.record), cases[i].folds);
        CU_ASSERT_STRING_EQUAL(record_protocol(rig.record), cases[i].protocol);
        CU_ASSERT_STRING_EQUAL(record_cipher(rig.record), cases[i].peer.ciphers);
        CU_ASSERT_TRUE(rig_echo(&rig, client, 1));
        CU_ASSERT_TRUE(rig_echo(&rig, client, 1300));
        finish(&rig, client);
    }
}

// The client loses the server's last flight, however often, and asks again with its own.
static void lost_last_flight_is_repeated(void)
{
    for (size_t k = 0; k < FOLDING; k++) {
        for (int single = 0; single <= 1; single++) {
            struct rig rig;
            size_t n;
            struct tls_client_options peer = *folding[k];
            peer.single_messages = single == 1;
            struct tls_client *client = open_rig(&rig, &peer);
            while (rig.record == NULL) {
                CU_ASSERT_EQUAL_FATAL(tls_client_run(client), SAGATE_AGAIN);
                rig_client_to_server(&rig, client);
                if (rig.record == NULL)
                    rig_server_to_client(&rig, client);
            }
            CU_ASSERT_TRUE(record_folded(rig.record));
            for (int lost = 0; lost < 3; lost++) {
                CU_ASSERT_TRUE(rig_drop_sent(&rig) > 0);
                CU_ASSERT_EQUAL(tls_client_run(client), SAGATE_AGAIN);
                tls_client_timeout(client);
                rig_client_to_server(&rig, client);
                CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_AGAIN);
            }
            rig_server_to_client(&rig, client);
            CU_ASSERT_EQUAL(tls_client_run(client), SAGATE_DONE);
            CU_ASSERT_TRUE(rig_echo(&rig, client, 100));
            finish(&rig, client);
        }
    }
}

static void repeated_flight_has_new_numbers(void)
{
    static const uint8_t finished[24] = {20, 0, 0, 12, 0, 3, 0, 0, 0, 0, 0, 12};
    struct rig rig;
    struct tls_client *client = establish(&rig, &ccm8);
    struct dtls12 state = client_state(client);
    uint64_t last_clear = 0;
    uint64_t last_sealed = 0;
    for (int i = 0; i < 8; i++) {
        CU_ASSERT_EQUAL(give_sealed(&rig, &state, 22, finished, sizeof finished), SAGATE_AGAIN);
        CU_ASSERT_PTR_NOT_NULL_FATAL(rig.sent);
        struct slice rest = slice_of(rig.sent->bytes, rig.sent->len);
        struct dtls12_record clear;
        struct dtls12_record sealed;
        uint8_t out[64];
        size_t n;
        CU_ASSERT_EQUAL(dtls12_next(&state, &rest, &clear), SAGATE_OK);
        CU_ASSERT_TRUE(clear.type == 20 && clear.epoch == 0 && clear.body.len == 1 && clear.sequence > last_clear);
        CU_ASSERT_EQUAL(dtls12_next(&state, &rest, &sealed), SAGATE_OK);
        CU_ASSERT_TRUE(rest.len == 0 && sealed.epoch == 1 && sealed.sequence > last_sealed);
        CU_ASSERT_EQUAL(dtls12_open(&state, &sealed, out, sizeof out, &n, NULL), DTLS12_MESSAGE);
        CU_ASSERT_TRUE(n == 24 && out[0] == 20);
        last_clear = clear.sequence;
        last_sealed = sealed.sequence;
        (void)rig_drop_sent(&rig);
    }
    CU_ASSERT_EQUAL(give_sealed(&rig, &state, 22, finished, sizeof finished), SAGATE_ERECORD); // enough is enough
    CU_ASSERT_PTR_NULL(rig.sent);
    CU_ASSERT_EQUAL(give_sealed(&rig, &state, 23, "x", 1), SAGATE_OK);
    finish(&rig, client);
}

static void clear_records_draw_nothing(void)
{
    static const uint8_t change[] = {20, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 1};
    struct rig rig;
    size_t n;
    struct tls_client *client = establish(&rig, &ccm8);
    for (int i = 0; i < 100; i++) {
        rig_give(&rig, change, sizeof change);
        CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_AGAIN);
    }
    CU_ASSERT_PTR_NULL(rig.sent);
    CU_ASSERT_TRUE(rig_echo(&rig, client, 10));
    rig_give(&rig, change, sizeof change);
    CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_ERECORD);
    finish(&rig, client);
}

static void close_notify_passes_both_ways(void)
{
    for (size_t k = 0; k < FOLDING; k++) {
        for (int first = 0; first <= 1; first++) {
            struct rig rig;
            uint8_t out[64];
            size_t n;
            struct tls_client *client = establish(&rig, folding[k]);
            if (first == 1)
                record_close(rig.record);
            else
                tls_client_close(client);
            rig_client_to_server(&rig, client);
            if (first == 0) {
                CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_DONE);
                CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_DONE);
                record_close(rig.record);
            }
            size_t sent = rig.sent_count;
            record_close(rig.record); // once is enough
            CU_ASSERT_EQUAL(rig.sent_count, sent);
            CU_ASSERT_EQUAL(record_seal(rig.record, out, 3), SAGATE_EGONE);
            rig_server_to_client(&rig, client);
            CU_ASSERT_EQUAL(tls_client_read(client, out, sizeof out), SAGATE_EGONE);
            CU_ASSERT_EQUAL(tls_client_alert(client), 0);
            finish(&rig, client);
        }
    }
}

static void fatal_alert_ends_without_an_answer(void)
{
    struct rig rig;
    size_t n;
    struct tls_client *client = establish(&rig, &gcm);
    struct dtls12 state = client_state(client);
    CU_ASSERT_EQUAL(give_sealed(&rig, &state, 21, "\2\120", 2), SAGATE_EGONE);
    CU_ASSERT_EQUAL(give_sealed(&rig, &state, 23, "x", 1), SAGATE_EGONE);
    CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_EGONE);
    CU_ASSERT_EQUAL(record_seal(rig.record, key, 3), SAGATE_EGONE);
    record_close(rig.record);
    CU_ASSERT_PTR_NULL(rig.sent);
    finish(&rig, client);
}

static void renegotiation_gets_a_warning_within_bounds(void)
{
    static const uint8_t hello[60] = {1, 0, 0, 48, 0, 9, 0, 0, 0, 0, 0, 48, 254, 253};
    for (size_t k = 0; k < FOLDING; k++) {
        struct rig rig;
        uint8_t out[64];
        struct tls_client *client = establish(&rig, folding[k]);
        struct dtls12 state = client_state(client);
        CU_ASSERT_EQUAL(give_sealed(&rig, &state, 22, hello, sizeof hello), SAGATE_AGAIN);
        rig_server_to_client(&rig, client);
        CU_ASSERT_EQUAL(tls_client_read(client, out, sizeof out), 0);
        CU_ASSERT_EQUAL(tls_client_alert(client), 100);
        size_t before = rig.sent_count;
        for (int i = 0; i < 100; i++)
            (void)give_sealed(&rig, &state, 22, hello, sizeof hello);
        CU_ASSERT_TRUE(rig.sent_count - before <= 4);
        CU_ASSERT_EQUAL(give_sealed(&rig, &state, 23, "x", 1), SAGATE_OK); // the association goes on
        before = rig.sent_count;
        CU_ASSERT_EQUAL(give_sealed(&rig, &state, 22, hello, sizeof hello), SAGATE_AGAIN);
        CU_ASSERT_EQUAL(rig.sent_count, before + 1);
        CU_ASSERT_EQUAL(record_seal(rig.record, key, 3), SAGATE_OK);
        finish(&rig, client);
    }
}

static void lent_datagrams_are_opened_in_place(void)
{
    struct rig rig;
    uint8_t three[600];
    uint8_t out[64];
    size_t len = 0;
    size_t n;
    int status;
    struct tls_client *client = establish(&rig, &ccm8);
    for (uint8_t i = 1; i <= 3; i++) {
        CU_ASSERT_EQUAL(tls_client_write(client, &i, 1), SAGATE_OK);
        len += take(client, three + len, sizeof three - len);
    }
    CU_ASSERT_EQUAL(record_lend(rig.record, three, len), SAGATE_OK);
    memset(three + len, 0, sizeof three - len);
    for (uint8_t i = 1; i <= 3; i++) {
        n = record_open(rig.record, out, sizeof out, &status);
        CU_ASSERT_TRUE(status == SAGATE_OK && n == 1 && out[0] == i);
    }
    CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_AGAIN);
    // The rest of one that was not opened to its end is not looked at any more.
    CU_ASSERT_EQUAL(tls_client_write(client, "a", 1), SAGATE_OK);
    CU_ASSERT_EQUAL(tls_client_write(client, "b", 1), SAGATE_OK);
    uint8_t *gone = malloc(600);
    CU_ASSERT_PTR_NOT_NULL_FATAL(gone);
    size_t first = take(client, gone, 600);
    CU_ASSERT_EQUAL(record_lend(rig.record, gone, first), SAGATE_OK);
    free(gone);
    len = take(client, three, sizeof three);
    CU_ASSERT_EQUAL(record_input(rig.record, three, len), SAGATE_OK);
    CU_ASSERT_EQUAL(tls_client_write(client, "c", 1), SAGATE_OK);
    uint8_t last[200];
    len = take(client, last, sizeof last);
    CU_ASSERT_EQUAL(record_lend(rig.record, last, len), SAGATE_OK); // behind what was copied
    n = record_open(rig.record, out, sizeof out, &status);
    CU_ASSERT_TRUE(status == SAGATE_OK && n == 1 && out[0] == 'b');
    n = record_open(rig.record, out, sizeof out, &status);
    CU_ASSERT_TRUE(status == SAGATE_OK && n == 1 && out[0] == 'c');
    CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_AGAIN);
    finish(&rig, client);
}

static void copied_input_is_bounded(void)
{
    static uint8_t datagram[40000];
    struct rig rig;
    size_t n;
    struct tls_client *client = establish(&rig, &ccm8);
    memset(datagram, 23, sizeof datagram);
    CU_ASSERT_EQUAL(record_input(rig.record, datagram, sizeof datagram), SAGATE_OK);
    CU_ASSERT_EQUAL(record_input(rig.record, datagram, sizeof datagram), SAGATE_OK); // lost
    size_t dropped = 0;
    int status = open_next(&rig, &n);
    for (; status == SAGATE_ERECORD; status = open_next(&rig, &n))
        dropped++;
    CU_ASSERT_EQUAL(status, SAGATE_AGAIN);
    CU_ASSERT_TRUE(dropped >= 1 && dropped < 10);
    CU_ASSERT_TRUE(rig_echo(&rig, client, 10));
    finish(&rig, client);
}

// A handshake that waits for the key; the client has sent all that it has to send.
static struct tls_client *park(struct rig *rig)
{
    struct tls_client *client = open_rig(rig, &ccm8);
    rig->key = (struct slice){0};
    for (int round = 0; round < 3 && rig->parked == 0; round++) {
        (void)tls_client_run(client);
        rig_client_to_server(rig, client);
        rig_server_to_client(rig, client);
    }
    CU_ASSERT_EQUAL_FATAL(rig->server, SAGATE_PARKED);
    return client;
}

// Data that arrives together with the client's last flight is not lost by the fold.
static void input_behind_the_handshake_is_kept(void)
{
    struct rig rig;
    uint8_t early[200];
    size_t len;
    size_t n;
    struct tls_client *client = park(&rig);
    struct dtls12 state = client_state(client); // its keys are complete
    CU_ASSERT_EQUAL(dtls12_seal(&state, 23, (const uint8_t *)"early", 5, early, sizeof early, &len), SAGATE_OK);
    rig_give(&rig, early, len);
    CU_ASSERT_EQUAL(handshake_resolve(rig.handshake, slice_of(key, sizeof key)), SAGATE_DONE);
    CU_ASSERT_EQUAL(handshake_finish(rig.handshake, &rig.framework, &rig.record), SAGATE_OK);
    rig.handshake = NULL;
    CU_ASSERT_TRUE(record_folded(rig.record));
    CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_OK);
    CU_ASSERT_EQUAL(n, 5);
    CU_ASSERT_EQUAL(open_next(&rig, &n), SAGATE_AGAIN);
    finish(&rig, client);
}

static void last_flight_is_kept_for_a_minute(void)
{
    static const uint8_t finished[24] = {20, 0, 0, 12, 0, 3, 0, 0, 0, 0, 0, 12};
    struct rig rig;
    struct fold fold;
    uint8_t sealed[200];
    uint8_t out[200];
    size_t len;
    int status;
    struct tls_client *client = park(&rig);
    struct dtls12 state = client_state(client);
    CU_ASSERT_EQUAL(handshake_resolve(rig.handshake, slice_of(key, sizeof key)), SAGATE_DONE);
    CU_ASSERT_TRUE_FATAL(fold_take(&fold, rig.handshake->session));
    rig.handshake->session = NULL;
    (void)rig_drop_sent(&rig);
    for (int late = 0; late <= 1; late++) {
        fold.place.flight->since_s -= late == 0 ? 50 : 11;
        CU_ASSERT_EQUAL(dtls12_seal(&state, 22, finished, sizeof finished, sealed, sizeof sealed, &len), SAGATE_OK);
        fold_lend(&fold, slice_of(sealed, len));
        CU_ASSERT_EQUAL(fold_open(&fold, out, sizeof out, &status), 0);
        CU_ASSERT_EQUAL(status, late == 0 ? SAGATE_AGAIN : SAGATE_ERECORD);
        CU_ASSERT_EQUAL(rig_drop_sent(&rig), late == 0 ? 1 : 0);
    }
    fold_release(&fold);
    finish(&rig, client);
}

static void limits_end_the_association(void)
{
    struct rig rig;
    struct fold fold;
    uint8_t sealed[200];
    uint8_t out[200];
    size_t len;
    int status;
    struct tls_client *client = park(&rig);
    struct dtls12 state = client_state(client);
    CU_ASSERT_EQUAL(handshake_resolve(rig.handshake, slice_of(key, sizeof key)), SAGATE_DONE);
    CU_ASSERT_TRUE_FATAL(fold_take(&fold, rig.handshake->session));
    rig.handshake->session = NULL;
    (void)rig_drop_sent(&rig);
    struct dtls12 *folded = fold.place.keys;
    folded->next_out = (1ULL << 48) + aead_properties(AEAD_AES_128_CCM_8)->seal_limit - DTLS12_RESERVE;
    CU_ASSERT_EQUAL(fold_send(&fold, key, 3), SAGATE_EGONE);
    CU_ASSERT_EQUAL(rig_drop_sent(&rig), 0);
    fold_alert(&fold, 1, 0);
    CU_ASSERT_EQUAL(rig_drop_sent(&rig), 1);
    folded->failed = aead_properties(AEAD_AES_128_CCM_8)->forgery_limit - 1;
    CU_ASSERT_EQUAL(dtls12_seal(&state, 23, key, 3, sealed, sizeof sealed, &len), SAGATE_OK);
    sealed[len - 1] ^= 1;
    fold_lend(&fold, slice_of(sealed, len));
    CU_ASSERT_EQUAL(fold_open(&fold, out, sizeof out, &status), 0);
    CU_ASSERT_EQUAL(status, SAGATE_EGONE);
    fold_release(&fold);
    finish(&rig, client);
}

struct room {
    uint8_t bytes[2000];
    size_t reserved, committed;
    bool full;
    unsigned sends;
};

static int room_send(void *context, const uint8_t *data, size_t len)
{
    struct room *room = context;
    (void)data;
    (void)len;
    room->sends++;
    return SAGATE_OK;
}

static uint8_t *room_reserve(void *context, size_t len)
{
    struct room *room = context;
    room->reserved = len;
    return room->full || len > sizeof room->bytes ? NULL : room->bytes;
}

static int room_commit(void *context, size_t len)
{
    struct room *room = context;
    room->committed = len;
    return SAGATE_OK;
}

static void records_are_written_into_the_room_of_the_sink(void)
{
    struct rig rig;
    static struct room room;
    uint8_t out[64];
    const struct handshake_sink sink = {
        .send = room_send, .context = &room, .reserve = room_reserve, .commit = room_commit};
    struct tls_client *client = establish(&rig, &ccm8);
    record_set_sink(rig.record, &sink);
    CU_ASSERT_EQUAL(record_seal(rig.record, (const uint8_t *)"hello", 5), SAGATE_OK);
    CU_ASSERT_TRUE(room.committed > 5 && room.committed <= room.reserved);
    CU_ASSERT_EQUAL(room.sends, 0);
    tls_client_input(client, room.bytes, room.committed);
    CU_ASSERT_EQUAL(tls_client_read(client, out, sizeof out), 5);
    CU_ASSERT_EQUAL(memcmp(out, "hello", 5), 0);
    room.full = true; // lost, and nothing else happens
    room.committed = 0;
    CU_ASSERT_EQUAL(record_seal(rig.record, (const uint8_t *)"lost", 4), SAGATE_OK);
    CU_ASSERT_EQUAL(room.committed, 0);
    room.full = false;
    CU_ASSERT_EQUAL(record_seal(rig.record, (const uint8_t *)"again", 5), SAGATE_OK);
    tls_client_input(client, room.bytes, room.committed);
    CU_ASSERT_EQUAL(tls_client_read(client, out, sizeof out), 5);
    finish(&rig, client);
}

struct memory { // of an owner of states, as the store is
    struct record_flight flight;
    union record_keys keys;
};

static struct record_place place_in(struct memory *memory)
{
    return (struct record_place){.flight = &memory->flight, .keys = &memory->keys};
}

static void state_goes_on_where_its_owner_wants_it(void)
{
    for (size_t k = 0; k < FOLDING; k++) {
        struct rig rig;
        struct memory memory = {0};
        const struct record_place place = place_in(&memory);
        struct tls_client *client = establish(&rig, folding[k]);
        CU_ASSERT_TRUE(rig_echo(&rig, client, 20));
        CU_ASSERT_EQUAL(record_kind(rig.record), RECORD_DTLS12);
        record_settle(rig.record, &place);
        CU_ASSERT_TRUE(rig_echo(&rig, client, 30));
        const struct handshake_sink sink = rig_sink(&rig);
        record_free(rig.record);
        struct memory moved = memory; // as if another process had mapped it elsewhere
        const struct record_place place_there = place_in(&moved);
        rig.record = record_resume(RECORD_DTLS12, &place_there, &sink);
        CU_ASSERT_PTR_NOT_NULL_FATAL(rig.record);
        CU_ASSERT_TRUE(rig_echo(&rig, client, 40));
        CU_ASSERT_STRING_EQUAL(record_protocol(rig.record), "DTLSv1.2");
        CU_ASSERT_STRING_EQUAL(record_cipher(rig.record), folding[k]->ciphers);
        CU_ASSERT_EQUAL(record_cid(rig.record).len, 0);
        CU_ASSERT_FALSE(record_newest(rig.record)); // no Connection ID
        finish(&rig, client);
        CU_ASSERT_TRUE(moved.keys.dtls12.next_out > 1ULL << 48); // wiped by its owner
    }
}

static void nonsense_is_not_resumed(void)
{
    struct rig rig;
    struct memory memory = {0};
    const struct record_place place = place_in(&memory);
    struct tls_client *client = establish(&rig, &ccm8);
    record_settle(rig.record, &place);
    const struct memory good = memory;
    const struct handshake_sink sink = rig_sink(&rig);
    for (int i = 0; i < 8; i++) {
        memory = good;
        memory.keys.dtls12.aead = i == 0 ? 0 : i == 1 ? 6 : good.keys.dtls12.aead;
        memory.keys.dtls12.cid_in_len = i == 2 ? 17 : 0;
        memory.keys.dtls12.cid_out_len = i == 3 ? 200 : 0;
        memory.keys.dtls12.next_out ^= i == 4 ? 1ULL << 50 : 0;
        memory.flight.flights = i == 5 ? 9 : 8;
        struct record *record = record_resume(i == 6 ? RECORD_HELD : RECORD_DTLS12, &place, &sink);
        CU_ASSERT_TRUE((record != NULL) == (i == 7));
        record_free(record);
    }
    finish(&rig, client);
}

static void suites_and_protocols_have_their_names(void)
{
    CU_ASSERT_STRING_EQUAL(record_suite_name(0xc0a8), "PSK-AES128-CCM-8");
    CU_ASSERT_STRING_EQUAL(record_suite_name(0xc02b), "ECDHE-ECDSA-AES128-GCM-SHA256");
    CU_ASSERT_STRING_EQUAL(record_suite_name(0x1301), "TLS13-AES128-GCM-SHA256");
    CU_ASSERT_STRING_EQUAL(record_suite_name(0xfefe), "None");
    CU_ASSERT_STRING_EQUAL(record_protocol_name(RECORD_DTLS12), "DTLSv1.2");
    CU_ASSERT_STRING_EQUAL(record_protocol_name(RECORD_DTLS13), "DTLSv1.3");
    CU_ASSERT_STRING_EQUAL(record_protocol_name(RECORD_STREAM), "");
}

static const struct unit_test tests[] = {
    {"AEAD suites fold and others do not", aead_suites_fold_and_others_do_not},
    {"lost last flight is repeated", lost_last_flight_is_repeated},
    {"repeated flight has new numbers", repeated_flight_has_new_numbers},
    {"clear records draw nothing", clear_records_draw_nothing},
    {"close_notify passes both ways", close_notify_passes_both_ways},
    {"fatal alert ends without an answer", fatal_alert_ends_without_an_answer},
    {"renegotiation gets a warning within bounds", renegotiation_gets_a_warning_within_bounds},
    {"lent datagrams are opened in place", lent_datagrams_are_opened_in_place},
    {"copied input is bounded", copied_input_is_bounded},
    {"input behind the handshake is kept", input_behind_the_handshake_is_kept},
    {"last flight is kept for a minute", last_flight_is_kept_for_a_minute},
    {"limits end the association", limits_end_the_association},
    {"records are written into the room of the sink", records_are_written_into_the_room_of_the_sink},
    {"state goes on where its owner wants it", state_goes_on_where_its_owner_wants_it},
    {"nonsense is not resumed", nonsense_is_not_resumed},
    {"suites and protocols have their names", suites_and_protocols_have_their_names},
};

UNIT_MAIN("fold", tests)
