// Folded associations of DTLS 1.3 against wolfSSL's client: data, key updates, the ACK of the last flight when it was
// lost, alerts, and what is unwanted.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/record/adopt.h"
#include "tests/unit/dtls_pair.h"
#include "tests/unit/unit.h"

#include <string.h>
#include <unistd.h>

static const struct pair_options kinds[] = {
    {.dtls13 = true, .suite = "TLS13-AES128-GCM-SHA256", .psk = true},
    {.dtls13 = true, .suite = "TLS13-AES256-GCM-SHA384", .psk = true},
    {.dtls13 = true, .suite = "TLS13-CHACHA20-POLY1305-SHA256", .psk = true},
    {.dtls13 = true, .suite = "TLS13-AES128-CCM-SHA256", .psk = true},
    {.dtls13 = true, .suite = "TLS13-AES128-CCM-8-SHA256", .psk = true},
    {.dtls13 = true, .suite = "TLS13-AES128-GCM-SHA256"},
    {.dtls13 = true, .suite = "TLS13-AES256-GCM-SHA384", .client_certificate = true},
    {.dtls13 = true, .suite = "TLS13-AES128-GCM-SHA256", .psk = true, .tickets = true},
    {.dtls13 = true, .suite = "TLS13-AES256-GCM-SHA384", .tickets = true},
    {.dtls13 = true, .suite = "TLS13-AES128-CCM-8-SHA256", .psk = true, .cid = true, .cid_in = 8},
    {.dtls13 = true, .suite = "TLS13-AES128-GCM-SHA256", .psk = true, .cid = true, .cid_out = 5},
    {.dtls13 = true, .suite = "TLS13-AES256-GCM-SHA384", .cid = true, .cid_in = 8},
    {.dtls13 = true, .suite = "TLS13-AES256-GCM-SHA384", .psk = true, .cid = true, .cid_in = 8, .cid_out = 10},
    {.dtls13 = true,
     .suite = "TLS13-CHACHA20-POLY1305-SHA256",
     .tickets = true,
     .cid = true,
     .cid_in = 4,
     .cid_out = 1},
    {.dtls13 = true, .suite = "TLS13-AES128-GCM-SHA256", .psk = true, .cid = true},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

struct memory {
    struct record_flight flight;
    union record_keys keys;
};

// Establishes, with the state where the test can see it.
static struct dtls13 *establish(struct pair *pair, const struct pair_options *options, struct memory *memory)
{
    const struct record_place place = {.flight = &memory->flight, .keys = &memory->keys};
    *memory = (struct memory){0};
    CU_ASSERT_TRUE_FATAL(pair_establish(pair, options));
    CU_ASSERT_EQUAL_FATAL(record_kind(pair->record), RECORD_DTLS13);
    record_settle(pair->record, &place);
    return &memory->keys.dtls13;
}

static void data_passes_both_ways(void)
{
    for (size_t k = 0; k < KINDS; k++) {
        struct pair pair;
        struct memory memory;
        const struct pair_options *kind = &kinds[k];
        struct dtls13 *state = establish(&pair, kind, &memory);
        CU_ASSERT_STRING_EQUAL(record_protocol(pair.record), "DTLSv1.3");
        CU_ASSERT_STRING_EQUAL(record_cipher(pair.record), kind->suite);
        CU_ASSERT_EQUAL(record_cid(pair.record).len, kind->cid_in);
        CU_ASSERT_EQUAL(state->cid_out_len, kind->cid_out);
        static const size_t sizes[] = {1, 2, 7, 8, 100, 1300};
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            CU_ASSERT_TRUE(pair_echo(&pair, sizes[i]));
            CU_ASSERT_EQUAL(record_newest(pair.record), kind->cid_in > 0);
        }

        // The next process.
        const struct handshake_sink sink = pair_sink(&pair);
        const struct record_place place = {.flight = &memory.flight, .keys = &memory.keys};
        record_free(pair.record);
        pair.record = record_resume(RECORD_DTLS13, &place, &sink);
        CU_ASSERT_PTR_NOT_NULL_FATAL(pair.record);
        CU_ASSERT_TRUE(pair_echo(&pair, 50));
        pair_close(&pair);
    }
}

static int server_reads(struct pair *pair)
{
    static uint8_t out[RECORD_PLAINTEXT_MAX];
    size_t len;
    return pair_server_reads(pair, out, sizeof out, &len);
}

static int client_reads(struct pair *pair)
{
    static uint8_t out[RECORD_PLAINTEXT_MAX];
    return pair_client_reads(pair, out, sizeof out);
}

static int gives(struct pair *pair, const uint8_t *bytes, size_t len)
{
    pair_put(&pair->to_server, bytes, len);
    return server_reads(pair);
}

// The client's end of the records, so that a test can seal what no library would.
static struct dtls13 client_of(const struct dtls13 *state)
{
    struct dtls13 client;
    dtls13_mirror(&client, state);
    client.next_out += 20; // within the window of what the real one has sealed
    return client;
}

static int gives_sealed(struct pair *pair, struct dtls13 *client, uint8_t type, const void *data, size_t len)
{
    uint8_t sealed[500];
    size_t n;
    CU_ASSERT_EQUAL_FATAL(dtls13_seal(client, type, data, len, sealed, sizeof sealed, &n), SAGATE_OK);
    return gives(pair, sealed, n);
}

// Opens what the server has sent next with the client's end; -1: nothing was sent.
static int takes(struct pair *pair, struct dtls13 *client, uint8_t out[500], size_t *len)
{
    struct pair_chunk *chunk = pair_take(&pair->to_client);
    struct dtls13_record record;
    struct dtls13_opened opened;
    *len = 0;
    if (chunk == NULL)
        return -1;
    struct slice rest = slice_of(chunk->bytes, chunk->len);
    CU_ASSERT_EQUAL(dtls13_next(client->cid_in_len, &rest, &record), SAGATE_OK);
    int verdict = (int)dtls13_open(client, &record, out, 500, &opened);
    *len = opened.len;
    free(chunk);
    return verdict;
}

static void client_updates_its_keys(void)
{
    for (size_t k = 0; k < KINDS; k++) {
        struct pair pair;
        struct memory memory;
        struct dtls13 *state = establish(&pair, &kinds[k], &memory);
        CU_ASSERT_TRUE(pair_echo(&pair, 10));
        for (uint64_t i = 1; i <= 6; i++) {
            CU_ASSERT_EQUAL(wolfSSL_update_keys(pair.client), WOLFSSL_SUCCESS);
            CU_ASSERT_EQUAL(server_reads(&pair), SAGATE_AGAIN); // an ACK, and our own KeyUpdate
            CU_ASSERT_EQUAL(client_reads(&pair), 0);
            CU_ASSERT_EQUAL(client_reads(&pair), 0);
            CU_ASSERT_EQUAL(server_reads(&pair), SAGATE_AGAIN); // the ACK of ours
            CU_ASSERT_TRUE(pair_echo(&pair, 100));
            CU_ASSERT_EQUAL(state->newest >> 48, 3 + i);
            CU_ASSERT_EQUAL(state->next_out >> 48, 3 + i);
            CU_ASSERT_EQUAL(state->flags, 0);
        }
        CU_ASSERT_TRUE(pair_echo(&pair, 1000));
        pair_close(&pair);
    }
}

static void keys_are_updated_before_their_limit(void)
{
    for (size_t k = 0; k < KINDS; k++) {
        struct pair pair;
        struct memory memory;
        struct dtls13 *state = establish(&pair, &kinds[k], &memory);
        CU_ASSERT_TRUE(pair_echo(&pair, 10));
        uint64_t limit = aead_properties(state->aead)->seal_limit;
        limit = limit >> 48 != 0 ? (1ULL << 48) - 1 : limit;
        CU_ASSERT_FALSE(dtls13_update_is_due(state));
        state->next_out = 3ULL << 48 | (limit - limit / 8);
        // wolfSSL does not follow such a leap, so that the client is one of our own.
        struct dtls13 client = client_of(state);
        uint8_t out[500];
        size_t len;
        client.newest = state->next_out;
        CU_ASSERT_EQUAL(record_seal(pair.record, (const uint8_t *)"a", 1), SAGATE_OK);
        CU_ASSERT_EQUAL(takes(&pair, &client, out, &len), DTLS13_MESSAGE);
        CU_ASSERT_TRUE(len == 13 && out[0] == 24 && out[12] == 0);
        uint64_t number = client.newest;
        int message_seq = out[5];
        CU_ASSERT_EQUAL(takes(&pair, &client, out, &len), DTLS13_DATA);
        for (int i = 0; i < 62; i++) {
            CU_ASSERT_EQUAL(record_seal(pair.record, (const uint8_t *)"b", 1), SAGATE_OK);
            CU_ASSERT_EQUAL(takes(&pair, &client, out, &len), DTLS13_DATA);
        }
        CU_ASSERT_EQUAL(record_seal(pair.record, (const uint8_t *)"b", 1), SAGATE_OK); // no ACK has come: again
        CU_ASSERT_EQUAL(takes(&pair, &client, out, &len), DTLS13_MESSAGE);
        CU_ASSERT_EQUAL(takes(&pair, &client, out, &len), DTLS13_DATA);
        uint8_t ack[18] = {0, 16, 0, 0, 0, 0, 0, 0, 0, 3};
        for (int i = 0; i < 8; i++)
            ack[10 + i] = (uint8_t)((number & 0xffffffffffff) >> (8 * (7 - i)));
        ack[17]--; // a record before it
        CU_ASSERT_EQUAL(gives_sealed(&pair, &client, DTLS13_ACK, ack, sizeof ack), SAGATE_AGAIN);
        CU_ASSERT_EQUAL(state->next_out >> 48, 3);
        ack[17]++;
        ack[9] = 2; // another epoch
        CU_ASSERT_EQUAL(gives_sealed(&pair, &client, DTLS13_ACK, ack, sizeof ack), SAGATE_AGAIN);
        CU_ASSERT_EQUAL(state->next_out >> 48, 3);
        ack[9] = 3;
        ack[13] ^= 0x80; // one that was never sent
        CU_ASSERT_EQUAL(gives_sealed(&pair, &client, DTLS13_ACK, ack, sizeof ack), SAGATE_AGAIN);
        CU_ASSERT_EQUAL(state->next_out >> 48, 3);
        ack[13] ^= 0x80;
        CU_ASSERT_EQUAL(gives_sealed(&pair, &client, DTLS13_ACK, ack, sizeof ack), SAGATE_AGAIN);
        CU_ASSERT_EQUAL(state->next_out, 4ULL << 48);
        CU_ASSERT_EQUAL(state->flags, 0);
        client.flags |= DTLS13_UPDATE_IN; // what the KeyUpdate told it
        CU_ASSERT_EQUAL(record_seal(pair.record, (const uint8_t *)"c", 1), SAGATE_OK);
        CU_ASSERT_EQUAL(takes(&pair, &client, out, &len), DTLS13_DATA);
        CU_ASSERT_EQUAL(client.newest >> 48, 4);
        // A second one has the next message_seq.
        state->next_out = 4ULL << 48 | (limit - limit / 8);
        client.newest = state->next_out - 1;
        CU_ASSERT_EQUAL(record_seal(pair.record, (const uint8_t *)"d", 1), SAGATE_OK);
        CU_ASSERT_EQUAL(takes(&pair, &client, out, &len), DTLS13_MESSAGE);
        CU_ASSERT_EQUAL(out[5], (uint8_t)memory.flight.rest.post.message_out);
        CU_ASSERT_EQUAL(out[5], message_seq + 1);
        pair_close(&pair);
    }
}

// wolfSSL's client takes our KeyUpdate, and follows.
static void update_of_ours_is_followed(void)
{
    for (size_t k = 0; k < KINDS; k++) {
        struct pair pair;
        struct memory memory;
        struct dtls13 *state = establish(&pair, &kinds[k], &memory);
        CU_ASSERT_TRUE(pair_echo(&pair, 10));
        // As if it had asked for one, with message numbers from 50 on.
        static const uint8_t message[13] = {24, 0, 0, 1, 0, 50, 0, 0, 0, 0, 0, 1, 1};
        struct dtls13 client = client_of(state);
        CU_ASSERT_EQUAL(gives_sealed(&pair, &client, DTLS13_HANDSHAKE, message, sizeof message), SAGATE_AGAIN);
        CU_ASSERT_EQUAL(client_reads(&pair), 0);
        CU_ASSERT_EQUAL(client_reads(&pair), 0);
        CU_ASSERT_EQUAL(server_reads(&pair), SAGATE_AGAIN);
        CU_ASSERT_EQUAL(state->next_out, 4ULL << 48);
        CU_ASSERT_EQUAL(record_seal(pair.record, (const uint8_t *)"abc", 3), SAGATE_OK);
        CU_ASSERT_EQUAL(client_reads(&pair), 3);
        pair_close(&pair);
    }
}

static void lost_ack_of_the_last_flight_is_repeated(void)
{
    static struct pair pairs[KINDS];
    static struct memory memories[KINDS];
    for (size_t k = 0; k < KINDS; k++) {
        (void)establish(&pairs[k], &kinds[k], &memories[k]);
        CU_ASSERT_TRUE(pair_drop(&pairs[k].to_client) > 0);
    }
    (void)sleep(1); // wolfSSL sends a flight again only when the last time is a second ago
    for (size_t k = 0; k < KINDS; k++) {
        struct pair *pair = &pairs[k];
        for (int i = 0; i < 3 && pair->to_server.first == NULL; i++)
            CU_ASSERT_EQUAL(wolfSSL_dtls_got_timeout(pair->client), WOLFSSL_SUCCESS);
        CU_ASSERT_PTR_NOT_NULL(pair->to_server.first);
        while (pair->to_server.first != NULL)
            CU_ASSERT_EQUAL(server_reads(pair), SAGATE_AGAIN);
        CU_ASSERT_EQUAL(client_reads(pair), 0);
        CU_ASSERT_TRUE(pair->client_done);
        CU_ASSERT_TRUE(pair_echo(pair, 100));
        pair_close(pair);
    }
}

// However many tickets the library has sent: numbers of records and messages go on where it was.
static void numbers_go_on_after_many_tickets(void)
{
    for (int count = 1; count <= 20; count++) {
        struct pair pair;
        struct memory memory = {0};
        const struct record_place place = {.flight = &memory.flight, .keys = &memory.keys};
        const struct dtls13 *state = &memory.keys.dtls13;
        CU_ASSERT_TRUE_FATAL(pair_open(&pair, &kinds[7]));
        for (int i = 1; i < count; i++)
            CU_ASSERT_EQUAL(wolfSSL_send_SessionTicket(pair.session->ssl), WOLFSSL_SUCCESS);
        pair.record = record_adopt(pair.session);
        CU_ASSERT_PTR_NOT_NULL_FATAL(pair.record);
        pair.session = NULL;
        CU_ASSERT_EQUAL_FATAL(record_kind(pair.record), RECORD_DTLS13);
        record_settle(pair.record, &place);
        CU_ASSERT_EQUAL(state->next_out & 0xffff, 1U + (unsigned)count); // the ACK as well
        for (int i = 0; i <= count; i++)
            CU_ASSERT_EQUAL(client_reads(&pair), 0);
        while (pair.to_server.first != NULL)
            CU_ASSERT_EQUAL(server_reads(&pair), SAGATE_AGAIN); // ACKs of the tickets
        CU_ASSERT_TRUE(pair_echo(&pair, 10));
        CU_ASSERT_EQUAL(wolfSSL_update_keys(pair.client), WOLFSSL_SUCCESS);
        CU_ASSERT_EQUAL(server_reads(&pair), SAGATE_AGAIN);
        CU_ASSERT_EQUAL(client_reads(&pair), 0);
        CU_ASSERT_EQUAL(client_reads(&pair), 0);
        CU_ASSERT_EQUAL(server_reads(&pair), SAGATE_AGAIN);
        CU_ASSERT_EQUAL(state->next_out >> 48, 4);
        CU_ASSERT_TRUE(pair_echo(&pair, 10));
        pair_close(&pair);
    }
}

static void records_of_the_handshake_draw_a_few_acks(void)
{
    uint8_t record[60] = {0x2e, 1, 2, 0, 40};
    struct pair pair;
    struct memory memory;
    uint8_t out[500];
    size_t len;
    struct dtls13 *state = establish(&pair, &kinds[0], &memory);
    struct dtls13 client = client_of(state);
    (void)pair_drop(&pair.to_client);
    for (int i = 0; i < 20; i++)
        CU_ASSERT_EQUAL(gives(&pair, record, 45), i < 8 ? SAGATE_AGAIN : SAGATE_ERECORD);
    for (int i = 0; i < 8; i++) {
        CU_ASSERT_EQUAL(takes(&pair, &client, out, &len), DTLS13_ACKED);
        size_t count = 2 + (size_t)i; // the one that was received, and one for each that came
        CU_ASSERT_EQUAL(len, 2 + 16 * count);
        CU_ASSERT_TRUE(out[9] == 2 && out[17] == memory.flight.rest.post.acked_sequence);
        CU_ASSERT_EQUAL(out[len - 1], out[17] + 1 + i);
    }
    CU_ASSERT_EQUAL(takes(&pair, &client, out, &len), -1);
    CU_ASSERT_EQUAL(memory.keys.dtls13.failed, 0);
    pair_close(&pair);
    state = establish(&pair, &kinds[0], &memory);
    (void)pair_drop(&pair.to_client);
    memory.flight.since_s -= 61; // a minute later
    CU_ASSERT_EQUAL(gives(&pair, record, 45), SAGATE_ERECORD);
    CU_ASSERT_EQUAL(pair_drop(&pair.to_client), 0);
    pair_close(&pair);
}

static void messages_are_taken_once_and_in_order(void)
{
    struct pair pair;
    struct memory memory;
    uint8_t out[500];
    size_t len;
    struct dtls13 *state = establish(&pair, &kinds[0], &memory);
    struct dtls13 client = client_of(state);
    uint8_t update[13] = {24, 0, 0, 1, 0, 9, 0, 0, 0, 0, 0, 1, 0};
    (void)pair_drop(&pair.to_client);
    for (int i = 0; i < 3; i++) { // the ACK was lost
        CU_ASSERT_EQUAL(gives_sealed(&pair, &client, DTLS13_HANDSHAKE, update, sizeof update), SAGATE_AGAIN);
        CU_ASSERT_EQUAL(takes(&pair, &client, out, &len), DTLS13_ACKED);
        uint64_t number = client.next_out - 1;
        CU_ASSERT_TRUE(len == 18 && out[9] == 3 && out[16] == (uint8_t)(number >> 8) && out[17] == (uint8_t)number);
    }
    CU_ASSERT_EQUAL(state->flags, DTLS13_UPDATE_IN);
    CU_ASSERT_EQUAL(memory.flight.refusals, 1);
    CU_ASSERT_EQUAL(gives_sealed(&pair, &client, DTLS13_APPLICATION, "old", 3), SAGATE_OK); // reordered
    CU_ASSERT_EQUAL(dtls13_update_out(&client), SAGATE_OK);
    CU_ASSERT_EQUAL(gives_sealed(&pair, &client, DTLS13_APPLICATION, "new", 3), SAGATE_OK);
    CU_ASSERT_EQUAL(state->newest >> 48, 4);
    update[5] = 11; // one is missing
    CU_ASSERT_EQUAL(gives_sealed(&pair, &client, DTLS13_HANDSHAKE, update, sizeof update), SAGATE_ERECORD);
    CU_ASSERT_EQUAL(takes(&pair, &client, out, &len), -1);
    update[5] = 10;
    update[11] = 0; // in pieces
    CU_ASSERT_EQUAL(gives_sealed(&pair, &client, DTLS13_HANDSHAKE, update, 12), SAGATE_ERECORD);
    update[11] = 1;
    CU_ASSERT_EQUAL(gives_sealed(&pair, &client, DTLS13_HANDSHAKE, update, sizeof update), SAGATE_AGAIN);
    CU_ASSERT_EQUAL(state->flags, DTLS13_UPDATE_IN);
    pair_close(&pair);
}

static void flood_of_updates_ends_the_association(void)
{
    struct pair pair;
    struct memory memory;
    uint8_t out[500];
    size_t len;
    struct dtls13 *state = establish(&pair, &kinds[0], &memory);
    struct dtls13 client = client_of(state);
    uint8_t update[13] = {24, 0, 0, 1, 0, 9, 0, 0, 0, 0, 0, 1, 0};
    (void)pair_drop(&pair.to_client);
    int rc = SAGATE_AGAIN;
    int count = 0;
    for (; count < 100 && rc == SAGATE_AGAIN; count++) {
        memory.flight.rest.post.minute = count == 0 ? 0 : memory.flight.rest.post.minute;
        rc = gives_sealed(&pair, &client, DTLS13_HANDSHAKE, update, sizeof update);
        update[5]++;
        CU_ASSERT_EQUAL(dtls13_update_out(&client), SAGATE_OK);
    }
    CU_ASSERT_EQUAL(rc, SAGATE_EGONE);
    CU_ASSERT_TRUE(count >= 9 && count <= 18); // 18: a minute has just passed
    while (takes(&pair, &client, out, &len) == DTLS13_ACKED)
        continue;
    CU_ASSERT_EQUAL(record_seal(pair.record, out, 3), SAGATE_EGONE);
    record_close(pair.record);
    CU_ASSERT_EQUAL(pair_drop(&pair.to_client), 0);
    pair_close(&pair);
}

static void unwanted_messages_end_the_association(void)
{
    static const struct {
        uint8_t bytes[20], len, alert;
        bool cid;
    } cases[] = {
        {{13, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0}, 12, 10, false},                // CertificateRequest
        {{1, 0, 0, 2, 0, 9, 0, 0, 0, 0, 0, 2, 3, 3}, 14, 10, false},           // ClientHello
        {{24, 0, 0, 1, 0, 9, 0, 0, 0, 0, 0, 1, 2}, 13, 47, false},             // KeyUpdate with a wrong value,
        {{24, 0, 0, 2, 0, 9, 0, 0, 0, 0, 0, 2, 0, 0}, 14, 50, false},          // of a wrong length
        {{24, 0, 0}, 3, 50, false},                                            // no message
        {{9, 0, 0, 1, 0, 9, 0, 0, 0, 0, 0, 1, 1}, 13, 10, false},              // RequestConnectionId without one
        {{10, 0, 0, 5, 0, 9, 0, 0, 0, 0, 0, 5, 0, 2, 1, 7, 0}, 17, 10, false}, // NewConnectionId
        {{10, 0, 0, 5, 0, 9, 0, 0, 0, 0, 0, 5, 0, 2, 9, 7, 0}, 17, 50, true},  // with a length that is too large,
        {{10, 0, 0, 5, 0, 9, 0, 0, 0, 0, 0, 5, 0, 1, 1, 7, 0}, 17, 50, true},  // twice
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pair pair;
        struct memory memory;
        struct pair_options options = kinds[0];
        options.cid = cases[i].cid;
        options.cid_in = 8;
        options.cid_out = 5;
        struct dtls13 *state = establish(&pair, &options, &memory);
        struct dtls13 client = client_of(state);
        CU_ASSERT_EQUAL(client_reads(&pair), 0);
        CU_ASSERT_EQUAL(gives_sealed(&pair, &client, DTLS13_HANDSHAKE, cases[i].bytes, cases[i].len), SAGATE_EGONE);
        CU_ASSERT_EQUAL(client_reads(&pair), -1);
        WOLFSSL_ALERT_HISTORY history = {{-1, -1}, {-1, -1}};
        (void)wolfSSL_get_alert_history(pair.client, &history);
        CU_ASSERT_EQUAL(history.last_rx.code, cases[i].alert);
        pair_close(&pair);
    }
}

static void new_connection_id_is_used(void)
{
    static const uint8_t spare[] = {10, 0, 0, 5, 0, 9, 0, 0, 0, 0, 0, 5, 0, 2, 1, 7, 1};
    static const uint8_t at_once[] = {10, 0, 0, 7, 0, 10, 0, 0, 0, 0, 0, 7, 0, 4, 3, 7, 8, 9, 0};
    static const uint8_t request[] = {9, 0, 0, 1, 0, 11, 0, 0, 0, 0, 0, 1, 3};
    struct pair pair;
    struct memory memory;
    struct pair_options options = kinds[0];
    options.cid = true;
    options.cid_in = 8;
    options.cid_out = 5;
    struct dtls13 *state = establish(&pair, &options, &memory);
    struct dtls13 client = client_of(state);
    (void)pair_drop(&pair.to_client);
    CU_ASSERT_EQUAL(gives_sealed(&pair, &client, DTLS13_HANDSHAKE, spare, sizeof spare), SAGATE_AGAIN);
    CU_ASSERT_EQUAL(dtls13_cid_out(state).len, 5);
    CU_ASSERT_EQUAL(gives_sealed(&pair, &client, DTLS13_HANDSHAKE, at_once, sizeof at_once), SAGATE_AGAIN);
    CU_ASSERT_TRUE(slice_equal(dtls13_cid_out(state), slice_of((const uint8_t *)"\7\10\11", 3)));
    CU_ASSERT_EQUAL(gives_sealed(&pair, &client, DTLS13_HANDSHAKE, request, sizeof request), SAGATE_AGAIN);
    CU_ASSERT_EQUAL(pair_drop(&pair.to_client), 3); // ACKs
    CU_ASSERT_EQUAL(record_seal(pair.record, (const uint8_t *)"x", 1), SAGATE_OK);
    CU_ASSERT_EQUAL(memcmp(pair.to_client.first->bytes + 1, "\7\10\11", 3), 0);
    pair_close(&pair);
}

static void acks_that_make_no_sense_are_dropped(void)
{
    static const uint8_t ack[40] = {0, 16};
    struct pair pair;
    struct memory memory;
    struct dtls13 *state = establish(&pair, &kinds[0], &memory);
    struct dtls13 client = client_of(state);
    for (size_t len = 0; len < sizeof ack; len++)
        CU_ASSERT_EQUAL(gives_sealed(&pair, &client, DTLS13_ACK, ack, len), len == 18 ? SAGATE_AGAIN : SAGATE_ERECORD);
    CU_ASSERT_TRUE(pair_echo(&pair, 10));
    pair_close(&pair);
}

static void close_notify_passes_both_ways(void)
{
    for (size_t k = 0; k < KINDS; k++) {
        for (int first = 0; first <= 1; first++) {
            struct pair pair;
            struct memory memory;
            (void)establish(&pair, &kinds[k], &memory);
            CU_ASSERT_TRUE(pair_echo(&pair, 10));
            if (first == 1)
                record_close(pair.record);
            else
                (void)wolfSSL_shutdown(pair.client);
            if (first == 0) {
                CU_ASSERT_EQUAL(server_reads(&pair), SAGATE_DONE);
                record_close(pair.record);
            }
            CU_ASSERT_EQUAL(record_seal(pair.record, (const uint8_t *)"x", 1), SAGATE_EGONE);
            CU_ASSERT_EQUAL(client_reads(&pair), -1);
            pair_close(&pair);
        }
    }
}

static void alerts_of_the_client_are_heard(void)
{
    struct pair pair;
    struct memory memory;
    struct dtls13 *state = establish(&pair, &kinds[0], &memory);
    struct dtls13 client = client_of(state);
    (void)pair_drop(&pair.to_client);
    CU_ASSERT_EQUAL(gives_sealed(&pair, &client, DTLS13_ALERT, "\1\132", 2), SAGATE_AGAIN); // user_canceled
    CU_ASSERT_EQUAL(gives_sealed(&pair, &client, DTLS13_ALERT, "\2", 1), SAGATE_ERECORD);
    CU_ASSERT_EQUAL(gives_sealed(&pair, &client, 99, "x", 1), SAGATE_ERECORD);
    CU_ASSERT_EQUAL(gives_sealed(&pair, &client, DTLS13_ALERT, "\1\24", 2), SAGATE_EGONE); // its level is no matter
    CU_ASSERT_EQUAL(gives_sealed(&pair, &client, DTLS13_APPLICATION, "x", 1), SAGATE_EGONE);
    record_close(pair.record);
    CU_ASSERT_EQUAL(pair_drop(&pair.to_client), 0);
    pair_close(&pair);
}

static void bad_records_change_nothing(void)
{
    for (size_t k = 0; k < KINDS; k++) {
        struct pair pair;
        struct memory memory;
        struct dtls13 *state = establish(&pair, &kinds[k], &memory);
        CU_ASSERT_TRUE(pair_echo(&pair, 10));
        CU_ASSERT_EQUAL(wolfSSL_write(pair.client, "hello", 5), 5);
        struct pair_chunk *sealed = pair_take(&pair.to_server);
        const struct dtls13 before = *state;
        (void)pair_drop(&pair.to_client);
        for (size_t bit = 0; bit < 8 * sealed->len; bit++) {
            memory.flight.flights = 0; // a flipped epoch may ask for an ACK
            sealed->bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
            CU_ASSERT_EQUAL(gives(&pair, sealed->bytes, sealed->len), SAGATE_ERECORD);
            sealed->bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        }
        for (size_t len = 1; len < sealed->len; len++)
            CU_ASSERT_EQUAL(gives(&pair, sealed->bytes, len), SAGATE_ERECORD);
        CU_ASSERT_TRUE(state->failed > 0);
        state->failed = before.failed;
        CU_ASSERT_EQUAL(memcmp(state, &before, sizeof before), 0);
        CU_ASSERT_EQUAL(gives(&pair, sealed->bytes, sealed->len), SAGATE_OK);
        CU_ASSERT_EQUAL(gives(&pair, sealed->bytes, sealed->len), SAGATE_ERECORD); // a replay
        CU_ASSERT_EQUAL(pair_drop(&pair.to_client), 0);
        CU_ASSERT_TRUE(pair_echo(&pair, 10));
        free(sealed);
        pair_close(&pair);
    }
}

static void clear_records_are_dropped(void)
{
    static const uint8_t hello[] = {22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 3, 1, 0, 0};
    static const uint8_t ack[] = {26, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 0, 0};
    static const uint8_t alert[] = {21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40};
    struct pair pair;
    struct memory memory;
    (void)establish(&pair, &kinds[0], &memory);
    CU_ASSERT_TRUE(pair_echo(&pair, 10));
    CU_ASSERT_EQUAL(gives(&pair, hello, sizeof hello), SAGATE_ERECORD);
    CU_ASSERT_EQUAL(gives(&pair, ack, sizeof ack), SAGATE_ERECORD);
    CU_ASSERT_EQUAL(gives(&pair, alert, sizeof alert), SAGATE_ERECORD);
    CU_ASSERT_EQUAL(pair_drop(&pair.to_client), 0);
    CU_ASSERT_TRUE(pair_echo(&pair, 10));
    pair_close(&pair);
}

static void address_is_worth_adopting_from_the_newest_only(void)
{
    struct pair pair;
    struct memory memory;
    struct pair_options options = kinds[0];
    options.cid = true;
    options.cid_in = 8;
    struct dtls13 *state = establish(&pair, &options, &memory);
    struct dtls13 client = client_of(state);
    uint8_t old[200];
    size_t len;
    CU_ASSERT_EQUAL(dtls13_seal(&client, DTLS13_APPLICATION, old, 1, old + 100, 100, &len), SAGATE_OK);
    CU_ASSERT_EQUAL(gives_sealed(&pair, &client, DTLS13_APPLICATION, "x", 1), SAGATE_OK);
    CU_ASSERT_TRUE(record_newest(pair.record));
    CU_ASSERT_EQUAL(gives(&pair, old + 100, len), SAGATE_OK);
    CU_ASSERT_FALSE(record_newest(pair.record));
    CU_ASSERT_EQUAL(gives_sealed(&pair, &client, DTLS13_ACK, "\0\0", 2), SAGATE_AGAIN);
    CU_ASSERT_TRUE(record_newest(pair.record));
    CU_ASSERT_EQUAL(gives(&pair, old + 100, len), SAGATE_ERECORD);
    CU_ASSERT_FALSE(record_newest(pair.record));
    pair_close(&pair);
}

static void nonsense_is_not_resumed(void)
{
    struct pair pair;
    struct memory memory;
    (void)establish(&pair, &kinds[0], &memory);
    const struct memory good = memory;
    const struct record_place place = {.flight = &memory.flight, .keys = &memory.keys};
    const struct handshake_sink sink = pair_sink(&pair);
    for (int i = 0; i <= 9; i++) {
        memory = good;
        memory.keys.dtls13.aead = i == 0 ? 0 : i == 1 ? 6 : good.keys.dtls13.aead;
        memory.keys.dtls13.cid_in_len = i == 2 ? 17 : 0;
        memory.keys.dtls13.cid_out_len = i == 3 ? 255 : 0;
        memory.keys.dtls13.next_out &= i == 4 ? 0 : UINT64_MAX;
        memory.keys.dtls13.newest &= i == 5 ? 0 : UINT64_MAX;
        memory.keys.dtls13.flags = i == 6 ? DTLS13_CHANGING : i == 7 ? 128 : 0;
        memory.flight.flights = i == 8 ? 9 : 0;
        struct record *record = record_resume(RECORD_DTLS13, &place, &sink);
        CU_ASSERT_TRUE((record != NULL) == (i == 9));
        record_free(record);
    }
    pair_close(&pair);
}

static const struct unit_test tests[] = {
    {"data passes both ways", data_passes_both_ways},
    {"client updates its keys", client_updates_its_keys},
    {"keys are updated before their limit", keys_are_updated_before_their_limit},
    {"update of ours is followed", update_of_ours_is_followed},
    {"lost ACK of the last flight is repeated", lost_ack_of_the_last_flight_is_repeated},
    {"numbers go on after many tickets", numbers_go_on_after_many_tickets},
    {"records of the handshake draw a few ACKs", records_of_the_handshake_draw_a_few_acks},
    {"messages are taken once and in order", messages_are_taken_once_and_in_order},
    {"flood of updates ends the association", flood_of_updates_ends_the_association},
    {"unwanted messages end the association", unwanted_messages_end_the_association},
    {"new Connection ID is used", new_connection_id_is_used},
    {"ACKs that make no sense are dropped", acks_that_make_no_sense_are_dropped},
    {"close_notify passes both ways", close_notify_passes_both_ways},
    {"alerts of the client are heard", alerts_of_the_client_are_heard},
    {"bad records change nothing", bad_records_change_nothing},
    {"clear records are dropped", clear_records_are_dropped},
    {"address is worth adopting from the newest only", address_is_worth_adopting_from_the_newest_only},
    {"nonsense is not resumed", nonsense_is_not_resumed},
};

UNIT_MAIN("fold13", tests)
