// DTLS handshakes against a wolfSSL client in memory: Connection IDs, DTLS 1.3 and its cookie, versions, datagrams that
// are lost, repeated, reordered or forged.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/handshake/peek.h"
#include "tests/unit/handshake_rig.h"
#include "tests/unit/network.h"
#include "tests/unit/tls_certificates.h"
#include "tests/unit/unit.h"

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/hmac.h>

#include <malloc.h>
#include <string.h>

static const uint8_t key_right[16] = "0123456789abcde";
static const uint8_t key_wrong[16] = "fedcba987654321";
static const uint8_t peer_cid[10] = {0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca};

enum { OUR_CID = 8, DATAGRAM = 2048, ALERT_ILLEGAL = 47, ALERT_DECRYPT_ERROR = 51, ALERT_VERSION = 70 };

#define PSK         .dtls = true, .identity = "dev@sp.example", .key = {key_right, sizeof key_right}
#define PSK12       PSK, .ciphers = "PSK-AES128-CCM-8"
#define PSK13       PSK, .tls13 = true, .ciphers = "TLS13-AES128-GCM-SHA256"
#define CERTIFICATE .dtls = true, .server_name = "two.example", .ca = tls_certificate_two

// What peers do, in both versions.
static const struct tls_client_options peers[] = {
    {PSK12},
    {CERTIFICATE, .ciphers = "ECDHE-ECDSA-AES128-CCM-8"},
    {PSK13},
    {PSK13, .psk_alone = true},
    {CERTIFICATE, .tls13 = true},
};
enum { PEERS = sizeof peers / sizeof *peers, PEER_12 = 0, PEER_13 = 2 };

static const struct rig_options both = {.dtls = true, .psk = true, .certificates = 2, .version_max = CONFIG_TLS_1_3};

static struct tls_client *start(struct rig *rig, const struct rig_options *listener,
                                const struct tls_client_options *peer, size_t cid_len)
{
    struct rig_options options = *listener;
    options.cid_len = cid_len;
    CU_ASSERT_EQUAL_FATAL(rig_open(rig, &options), SAGATE_OK);
    rig->key = slice_of(key_right, sizeof key_right);
    struct tls_client *client = tls_client_new(peer);
    CU_ASSERT_PTR_NOT_NULL_FATAL(client);
    return client;
}

static void finish(struct rig *rig, struct tls_client *client)
{
    tls_client_free(client);
    rig_close(rig);
}

static void established(struct rig *rig, struct tls_client *client)
{
    CU_ASSERT_EQUAL(rig->server, SAGATE_DONE);
    CU_ASSERT_EQUAL(rig->client, SAGATE_DONE);
    CU_ASSERT_TRUE(rig->record != NULL && rig_echo(rig, client, 100));
}

static struct tls_client_options offering(struct tls_client_options peer, size_t len)
{
    peer.offer_cid = true;
    peer.cid = slice_of(peer_cid, len);
    return peer;
}

// --- Connection IDs ----------------------------------------------------------------------------------------------

// The header of the next record of a side: whether it has this Connection ID, or none when `cid` is empty.
static bool has_cid(struct slice datagram, bool tls13, struct slice cid)
{
    struct peek_record record;
    if (peek_dtls_record(&datagram, cid.len, &record) != SAGATE_OK || datagram.len != 0)
        return false;
    if (tls13 ? record.type != PEEK_TYPE_UNIFIED : record.type != (cid.len > 0 ? PEEK_TYPE_CID : PEEK_TYPE_APPLICATION))
        return false;
    return slice_equal(record.cid, cid) && (cid.len > 0 || record.cid.data == NULL);
}

static void try_cids(const struct tls_client_options *peer, size_t ours, size_t expected_cids)
{
    static const uint8_t made[OUR_CID] = {1, 1, 1, 1, 1, 1, 1, 1};
    struct rig rig;
    struct slice datagram;
    bool used = expected_cids > 0;
    struct tls_client *client = start(&rig, &both, peer, ours);
    rig_run(&rig, client);
    established(&rig, client);
    CU_ASSERT_EQUAL(rig.cids, expected_cids);
    CU_ASSERT_EQUAL(tls_client_write(client, "x", 1), SAGATE_OK);
    CU_ASSERT_TRUE_FATAL(tls_client_output(client, &datagram));
    CU_ASSERT_TRUE(has_cid(datagram, peer->tls13, slice_of(made, used ? ours : 0)));
    CU_ASSERT_EQUAL(record_seal(rig.record, (const uint8_t *)"y", 1), SAGATE_OK);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig.sent);
    CU_ASSERT_TRUE(has_cid(slice_of(rig.sent->bytes, rig.sent->len), peer->tls13,
                           slice_of(peer_cid, peer->offer_cid ? peer->cid.len : 0)));
    finish(&rig, client);
}

static void connection_ids_are_given_to_who_offers(void)
{
    static const size_t theirs[] = {0, 5, 10};
    static const size_t ours[] = {4, 8, 0};
    for (size_t i = 0; i < PEERS; i++) {
        try_cids(&peers[i], OUR_CID, 0);
        for (size_t k = 0; k < 9; k++) {
            struct tls_client_options peer = offering(peers[i], theirs[k / 3]);
            try_cids(&peer, ours[k % 3], ours[k % 3] > 0);
        }
    }
}

static void no_connection_id_is_spent_on_a_hello_without_a_cookie(void)
{
    for (size_t i = 0; i < PEERS; i++) {
        struct rig rig;
        struct slice hello;
        struct tls_client_options peer = offering(peers[i], 5);
        struct tls_client *client = start(&rig, &both, &peer, OUR_CID);
        (void)tls_client_run(client);
        CU_ASSERT_TRUE_FATAL(tls_client_output(client, &hello));
        for (int k = 0; k < 3; k++)
            rig_give(&rig, hello.data, hello.len);
        CU_ASSERT_EQUAL(rig.first, HANDSHAKE_COOKIE_SENT);
        CU_ASSERT_EQUAL(rig.cids, 0);
        finish(&rig, client);
    }
}

// RFC 6347 4.2.1: in the numbers of the hello, the same each time, and for nobody else.
static void cookie_is_of_the_hello_and_its_peer(void)
{
    static const uint8_t answer[] = {22, 0xfe, 0xfd, 0,  0, 0, 0, 0, 0, 3, 9, 0, 47,
                                     3,  0,    0,    35, 0, 0, 0, 0, 0, 0, 0, 35};
    enum { COOKIE = 28, LENGTH = COOKIE + 32 };
    struct rig rig;
    struct slice sent;
    uint8_t hello[DATAGRAM];
    uint8_t cookies[3][LENGTH - COOKIE];
    struct tls_client *client = start(&rig, &both, &peers[PEER_12], OUR_CID);
    (void)tls_client_run(client);
    CU_ASSERT_TRUE_FATAL(tls_client_output(client, &sent) && sent.len <= sizeof hello);
    memcpy(hello, sent.data, sent.len);
    hello[9] = 3;
    hello[10] = 9;
    for (size_t i = 0; i < 3; i++) {
        rig.peer.v4.sin_port = (uint16_t)(rig.peer.v4.sin_port + i / 2);
        rig_give(&rig, hello, sent.len);
        CU_ASSERT_EQUAL(rig.first, HANDSHAKE_COOKIE_SENT);
        CU_ASSERT_TRUE_FATAL(rig.sent != NULL && rig.sent->len == LENGTH);
        CU_ASSERT_EQUAL(memcmp(rig.sent->bytes, answer, sizeof answer), 0);
        CU_ASSERT_EQUAL(memcmp(rig.sent->bytes + sizeof answer, "\xfe\xff\x20", 3), 0);
        memcpy(cookies[i], rig.sent->bytes + COOKIE, sizeof cookies[i]);
        (void)rig_drop_sent(&rig);
    }
    CU_ASSERT_EQUAL(memcmp(cookies[0], cookies[1], sizeof *cookies), 0);
    CU_ASSERT_NOT_EQUAL(memcmp(cookies[0], cookies[2], sizeof *cookies), 0);
    finish(&rig, client);
}

// The second hello of a peer, copied; the first was answered.
static size_t second_hello(struct rig *rig, struct tls_client *client, uint8_t out[DATAGRAM])
{
    struct slice hello;
    (void)tls_client_run(client);
    rig_client_to_server(rig, client);
    rig_server_to_client(rig, client);
    (void)tls_client_run(client);
    CU_ASSERT_TRUE_FATAL(tls_client_output(client, &hello) && hello.len <= DATAGRAM - 64);
    memcpy(out, hello.data, hello.len);
    return hello.len;
}

static void add_to(uint8_t *field, size_t bytes, size_t more)
{
    size_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | field[i];
    value += more;
    for (size_t i = bytes; i-- > 0; value >>= 8)
        field[i] = (uint8_t)value;
}

// Makes the peer's Connection ID of a hello longer by `more` bytes.
static size_t lengthen_cid(uint8_t *bytes, size_t len, size_t more)
{
    struct peek_hello hello;
    struct peek_record record;
    CU_ASSERT_TRUE_FATAL(peek_dtls_hello(slice_of(bytes, len), &hello, &record));
    CU_ASSERT_PTR_NOT_NULL_FATAL(hello.cid.data);
    size_t at = (size_t)(hello.cid.data - bytes);
    memmove(bytes + at + more, bytes + at, len - at);
    add_to(bytes + at - 1, 1, more); // the Connection ID
    add_to(bytes + at - 3, 2, more); // its extension
    add_to(bytes + 11, 2, more);     // the record
    add_to(bytes + 14, 3, more);     // the message
    add_to(bytes + 22, 3, more);     // its fragment
    size_t extensions = (size_t)(hello.suites.data + hello.suites.len - bytes);
    extensions += 1U + bytes[extensions];
    add_to(bytes + extensions, 2, more);
    return len + more;
}

static void longer_connection_ids_than_the_library_takes_are_left_out(void)
{
    uint8_t hello[DATAGRAM];
    struct rig rig;
    struct tls_client_options peer = offering(peers[PEER_12], 10);
    struct tls_client *client = start(&rig, &both, &peer, OUR_CID);
    size_t len = second_hello(&rig, client, hello);
    len = lengthen_cid(hello, len, 7);
    rig_give(&rig, hello, len);
    CU_ASSERT_EQUAL(rig.first, HANDSHAKE_STARTED);
    CU_ASSERT_EQUAL(rig.server, SAGATE_AGAIN);
    CU_ASSERT_TRUE(rig.sent_count > 1);
    CU_ASSERT_EQUAL(rig.cids, 0);
    finish(&rig, client);
}

// A Finished that does not open ends the handshake, also in a record of type 25.
static void wrong_keys_are_noticed_behind_a_connection_id(void)
{
    for (int with = 0; with <= 1; with++) {
        struct rig rig;
        struct tls_client_options peer = with == 1 ? offering(peers[PEER_12], 5) : peers[PEER_12];
        struct tls_client *client = start(&rig, &both, &peer, OUR_CID);
        rig.key = slice_of(key_wrong, sizeof key_wrong);
        rig_run(&rig, client);
        CU_ASSERT_EQUAL(rig.cids, with == 1 ? 1U : 0U);
        CU_ASSERT_EQUAL(rig.server, SAGATE_EHANDSHAKE);
        CU_ASSERT_EQUAL(rig.client, SAGATE_EHANDSHAKE);
        CU_ASSERT_EQUAL(rig.cause, HANDSHAKE_CAUSE_CREDENTIAL);
        CU_ASSERT_EQUAL(tls_client_alert(client), 20); // bad_record_mac
        finish(&rig, client);
    }
}

// Records that cannot be the peer's end no handshake: of another Connection ID, of the other version, of none.
static void foreign_records_end_no_handshake(void)
{
    static const uint8_t junk[][40] = {
        {25, 254, 253, 0, 1, 0, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 0, 3, 1, 2, 3},
        {22, 254, 253, 0, 1, 0, 0, 0, 0, 0, 9, 0, 3, 1, 2, 3},
        {26, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 0, 0},
        {0x2e, 1, 2, 0, 20},
        {0x3e, 9, 9, 9, 9, 9, 9, 9, 9, 1, 2, 0, 20},
        {0x3f, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 0, 20},
        {0x3b, 1},
        {0x20, 5, 5, 5},
        {24, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 1},
    };
    for (size_t i = 0; i < PEERS; i++) {
        struct rig rig;
        struct tls_client_options peer = offering(peers[i], 5);
        struct tls_client *client = start(&rig, &both, &peer, OUR_CID);
        for (int round = 0; round < 10; round++) {
            rig.client = tls_client_run(client);
            for (size_t k = 0; k < sizeof junk / sizeof *junk && rig.record == NULL; k++)
                rig_give(&rig, junk[k], sizeof junk[k]);
            rig_client_to_server(&rig, client);
            for (size_t k = 0; k < sizeof junk / sizeof *junk && rig.record == NULL; k++)
                rig_give(&rig, junk[k], sizeof junk[k]);
            rig_server_to_client(&rig, client);
        }
        established(&rig, client);
        finish(&rig, client);
    }
}

// --- lost, repeated, reordered -----------------------------------------------------------------------------------

static void any_datagram_may_be_lost(void)
{
    for (size_t i = 0; i < 2 * PEERS; i++) {
        bool lost = true;
        for (size_t n = 0; lost && n < 30; n++) {
            struct rig rig;
            struct network *network = calloc(1, sizeof *network);
            struct tls_client_options peer = i < PEERS ? peers[i] : offering(peers[i - PEERS], 5);
            peer.single_messages = n % 2 == 1;
            struct tls_client *client = start(&rig, &both, &peer, OUR_CID);
            network->lost = n;
            network_run(network, &rig, client);
            established(&rig, client);
            lost = network->count > n;
            finish(&rig, client);
            free(network);
        }
    }
}

static void disorder_and_doubles_are_taken(void)
{
    for (size_t i = 0; i < 2 * PEERS; i++) {
        for (int how = 1; how <= 3; how++) {
            struct rig rig;
            struct network *network = calloc(1, sizeof *network);
            struct tls_client_options peer = i < PEERS ? peers[i] : offering(peers[i - PEERS], 5);
            peer.single_messages = true;
            struct tls_client *client = start(&rig, &both, &peer, OUR_CID);
            network->lost = SIZE_MAX;
            network->backwards = (how & 1) != 0;
            network->backwards_to_client = network->backwards && !peer.tls13;
            network->twice = (how & 2) != 0;
            network_run(network, &rig, client);
            established(&rig, client);
            finish(&rig, client);
            free(network);
        }
    }
}

// --- DTLS 1.3: cookie, park --------------------------------------------------------------------------------------

static size_t allocated(void)
{
    return mallinfo2().uordblks;
}

static void first_hellos_leave_nothing_behind(void)
{
    for (size_t i = 0; i < PEERS; i++) {
        struct rig rig;
        struct slice hello;
        struct tls_client_options peer = offering(peers[i], 5);
        struct tls_client *client = start(&rig, &both, &peer, OUR_CID);
        (void)tls_client_run(client);
        CU_ASSERT_TRUE_FATAL(tls_client_output(client, &hello));
        size_t before = 0;
        for (unsigned k = 0; k < 4000; k++) {
            before = k == 1000 ? allocated() : before;
            rig.peer.v4.sin_port = (uint16_t)k;
            rig.peer.v4.sin_addr.s_addr = k * 2654435761U;
            rig_give(&rig, hello.data, hello.len);
            CU_ASSERT_EQUAL(rig.first, HANDSHAKE_COOKIE_SENT);
            CU_ASSERT_EQUAL(rig_drop_sent(&rig), 1);
        }
        CU_ASSERT_PTR_NULL(rig.handshake);
        CU_ASSERT_EQUAL(rig.parked, 0);
        CU_ASSERT_EQUAL(allocated(), before);
        finish(&rig, client);
    }
}

static void wrong_cookies_cost_nothing(void)
{
    uint8_t hello[DATAGRAM];
    struct peek_hello parts;
    struct peek_record record;
    struct rig rig;
    struct tls_client *client = start(&rig, &both, &peers[PEER_13], OUR_CID);
    size_t len = second_hello(&rig, client, hello);
    CU_ASSERT_TRUE_FATAL(peek_dtls_hello(slice_of(hello, len), &parts, &record));
    uint8_t *cookie = hello + (parts.retry_cookie.data - hello);
    size_t before = allocated();
    for (size_t i = 0; i < parts.retry_cookie.len; i++) {
        cookie[i] ^= 0x10;
        rig_give(&rig, hello, len);
        cookie[i] ^= 0x10;
        CU_ASSERT_EQUAL(rig.first, HANDSHAKE_REJECTED);
        CU_ASSERT_TRUE(rig.sent != NULL && rig.sent->len == 15 && rig.sent->bytes[14] == ALERT_ILLEGAL);
        CU_ASSERT_EQUAL(rig_drop_sent(&rig), 1);
    }
    (void)address_parse("192.0.2.8", 40000, &rig.peer);
    rig_give(&rig, hello, len);
    CU_ASSERT_EQUAL(rig.first, HANDSHAKE_REJECTED);
    (void)rig_drop_sent(&rig);
    CU_ASSERT_EQUAL(allocated(), before);
    CU_ASSERT_PTR_NULL(rig.handshake);
    CU_ASSERT_EQUAL(rig.parked, 0);
    (void)address_parse("192.0.2.7", 40000, &rig.peer);
    rig_give(&rig, hello, len);
    CU_ASSERT_EQUAL(rig.first, HANDSHAKE_STARTED);
    CU_ASSERT_EQUAL(rig.parked, 1);
    rig_server_to_client(&rig, client);
    rig_run(&rig, client);
    established(&rig, client);
    finish(&rig, client);
}

// Whoever gets cookies of DTLS 1.2 for texts of its choice cannot make one of DTLS 1.3 of them.
static void cookies_of_the_versions_are_apart(void)
{
    static const uint8_t secret[HANDSHAKE_COOKIE_SECRET] = {7};
    uint8_t hello[DATAGRAM];
    uint8_t name[8] = {AF_INET};
    struct peek_hello parts;
    struct peek_record record;
    struct rig rig;
    Hmac hmac;
    struct tls_client *client = start(&rig, &both, &peers[PEER_13], OUR_CID);
    handshake_cookie_secret(rig.contexts, secret);
    size_t len = second_hello(&rig, client, hello);
    CU_ASSERT_TRUE_FATAL(peek_dtls_hello(slice_of(hello, len), &parts, &record));
    uint8_t *mac = hello + (parts.retry_cookie.data - hello) + parts.retry_cookie.len - 32;
    memcpy(name + 2, &rig.peer.v4.sin_port, 2);
    memcpy(name + 4, &rig.peer.v4.sin_addr, 4);
    CU_ASSERT_EQUAL(wc_HmacInit(&hmac, NULL, INVALID_DEVID), 0);
    CU_ASSERT_EQUAL(wc_HmacSetKey(&hmac, WC_SHA256, secret, sizeof secret), 0);
    CU_ASSERT_EQUAL(wc_HmacUpdate(&hmac, parts.retry_cookie.data, (word32)parts.retry_cookie.len - 32), 0);
    CU_ASSERT_EQUAL(wc_HmacUpdate(&hmac, name, sizeof name), 0);
    CU_ASSERT_EQUAL(wc_HmacFinal(&hmac, mac), 0);
    wc_HmacFree(&hmac);
    rig_give(&rig, hello, len);
    CU_ASSERT_EQUAL(rig.first, HANDSHAKE_REJECTED);
    finish(&rig, client);
}

static void parked_hello_is_kept(void)
{
    for (size_t i = PEER_13; i < PEER_13 + 2; i++) {
        uint8_t hello[DATAGRAM];
        static const uint8_t alert[] = {21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 80};
        struct rig rig;
        struct tls_client_options peer = offering(peers[i], 5);
        struct tls_client *client = start(&rig, &both, &peer, OUR_CID);
        rig.key = (struct slice){0};
        size_t len = second_hello(&rig, client, hello);
        rig_give(&rig, hello, len);
        CU_ASSERT_EQUAL_FATAL(rig.server, SAGATE_PARKED);
        CU_ASSERT_STRING_EQUAL(rig.identity, "dev@sp.example");
        CU_ASSERT_EQUAL(handshake_timer_ms(rig.handshake), 0);
        CU_ASSERT_TRUE(handshake_owns(rig.handshake, hello, len));
        size_t sent = rig.sent_count;
        size_t before = allocated();
        for (int k = 0; k < 100; k++) {
            rig_give(&rig, hello, len);
            rig_give(&rig, alert, sizeof alert);
        }
        CU_ASSERT_EQUAL(rig.server, SAGATE_PARKED);
        CU_ASSERT_EQUAL(rig.sent_count, sent);
        CU_ASSERT_EQUAL(allocated(), before);
        rig.key = slice_of(key_right, sizeof key_right);
        rig_give(&rig, NULL, 0);
        CU_ASSERT_EQUAL(rig.server, SAGATE_AGAIN);
        CU_ASSERT_TRUE(handshake_timer_ms(rig.handshake) > 0);
        rig_server_to_client(&rig, client);
        rig_run(&rig, client);
        established(&rig, client);
        CU_ASSERT_EQUAL(rig.cids, 1);
        finish(&rig, client);
    }
}

static void parked_hello_outlives_its_contexts(void)
{
    uint8_t hello[DATAGRAM];
    struct rig rig;
    struct tls_client_options peer = offering(peers[PEER_13], 5);
    struct tls_client *client = start(&rig, &both, &peer, OUR_CID);
    rig.key = (struct slice){0};
    size_t len = second_hello(&rig, client, hello);
    rig_give(&rig, hello, len);
    CU_ASSERT_EQUAL_FATAL(rig.server, SAGATE_PARKED);
    handshake_contexts_free(rig.contexts);
    rig.contexts = NULL;
    rig.key = slice_of(key_right, sizeof key_right);
    rig_give(&rig, NULL, 0);
    rig_server_to_client(&rig, client);
    rig_run(&rig, client);
    established(&rig, client);
    finish(&rig, client);
}

// An unknown identity ends as a wrong key does, or becomes a handshake by certificate where the hello allows it.
static void unknown_identity_may_become_a_certificate_handshake(void)
{
    for (int alone = 0; alone <= 1; alone++) {
        for (int known = 0; known <= 1; known++) {
            struct rig rig;
            struct tls_client_options peer = peers[PEER_13 + alone];
            struct tls_client *client = start(&rig, &both, &peer, OUR_CID);
            rig.key = known == 1 ? slice_of(key_wrong, sizeof key_wrong) : slice_of("", 0);
            rig_run(&rig, client);
            bool certificate = alone == 0 && known == 0;
            CU_ASSERT_EQUAL(rig.parked, 1);
            CU_ASSERT_EQUAL(rig.server, certificate ? SAGATE_DONE : SAGATE_EHANDSHAKE);
            if (certificate) {
                CU_ASSERT_EQUAL(rig.framework, FRAMEWORK_NONE);
            } else {
                CU_ASSERT_EQUAL(rig.cause, HANDSHAKE_CAUSE_CREDENTIAL);
                CU_ASSERT_EQUAL(tls_client_alert(client), ALERT_DECRYPT_ERROR);
            }
            finish(&rig, client);
        }
    }
}

static void unusable_identities_fail_as_wrong_keys_do(void)
{
    uint8_t hello[DATAGRAM];
    struct peek_hello parts;
    struct peek_record record;
    struct rig rig;
    static const struct rig_options psk = {.dtls = true, .psk = true, .version_max = CONFIG_TLS_1_3};
    struct tls_client *client = start(&rig, &psk, &peers[PEER_13], OUR_CID);
    size_t len = second_hello(&rig, client, hello);
    CU_ASSERT_TRUE_FATAL(peek_dtls_hello(slice_of(hello, len), &parts, &record));
    hello[parts.psk_identity.data - hello + 3] = '\0';
    rig_give(&rig, hello, len);
    CU_ASSERT_EQUAL(rig.server, SAGATE_EHANDSHAKE);
    CU_ASSERT_EQUAL(rig.parked, 0);
    CU_ASSERT_EQUAL(rig.cause, HANDSHAKE_CAUSE_CREDENTIAL);
    finish(&rig, client);
}

static void longest_identity_is_taken(void)
{
    struct rig rig;
    char identity[HANDSHAKE_IDENTITY_MAX + 1];
    memset(identity, 'a', sizeof identity);
    identity[sizeof identity - 1] = '\0';
    static const struct rig_options psk = {.dtls = true, .psk = true, .version_max = CONFIG_TLS_1_3};
    struct tls_client_options peer = peers[PEER_13];
    peer.identity = identity;
    struct tls_client *client = start(&rig, &psk, &peer, OUR_CID);
    rig_run(&rig, client);
    CU_ASSERT_EQUAL(rig.server, SAGATE_DONE); // the longest that is taken
    CU_ASSERT_EQUAL(rig.parked, 1);
    finish(&rig, client);
}

static void restarted_peer_is_noticed(void)
{
    for (size_t i = 0; i < PEERS; i++) {
        uint8_t hello[DATAGRAM];
        struct slice other;
        struct rig rig;
        struct tls_client *client = start(&rig, &both, &peers[i], OUR_CID);
        struct tls_client *again = tls_client_new(&peers[i]);
        CU_ASSERT_PTR_NOT_NULL_FATAL(again);
        size_t len = second_hello(&rig, client, hello);
        rig_give(&rig, hello, len);
        CU_ASSERT_PTR_NOT_NULL_FATAL(rig.handshake);
        CU_ASSERT_TRUE(handshake_owns(rig.handshake, hello, len));
        (void)tls_client_run(again);
        CU_ASSERT_TRUE_FATAL(tls_client_output(again, &other));
        CU_ASSERT_FALSE(handshake_owns(rig.handshake, other.data, other.len));
        size_t sent = rig.sent_count;
        CU_ASSERT_EQUAL(handshake_run(rig.handshake, other.data, other.len), SAGATE_AGAIN);
        CU_ASSERT_EQUAL(rig.sent_count, sent);
        tls_client_free(again);
        rig_server_to_client(&rig, client);
        rig_run(&rig, client);
        established(&rig, client);
        finish(&rig, client);
    }
}

// --- versions ----------------------------------------------------------------------------------------------------

static void versions_meet(void)
{
    static const struct rig_options old = {.dtls = true, .psk = true, .version_max = CONFIG_TLS_1_2};
    static const struct rig_options new = {
        .dtls = true, .psk = true, .version_min = CONFIG_TLS_1_3, .version_max = CONFIG_TLS_1_3};
#define ANY PSK, .any_version = true, .ciphers = "TLS13-AES128-GCM-SHA256:PSK-AES128-CCM-8"
    const struct {
        const struct rig_options *listener;
        struct tls_client_options peer;
        const char *protocol; // NULL: none
    } cases[] = {
        {&both, {ANY}, "DTLSv1.3"},   {&old, {ANY}, "DTLSv1.2"},    {&new, {ANY}, "DTLSv1.3"},
        {&both, {PSK12}, "DTLSv1.2"}, {&both, {PSK13}, "DTLSv1.3"}, {&new, {PSK12}, NULL},
        {&old, {PSK13}, NULL},        {&new, {PSK13}, "DTLSv1.3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig rig;
        struct tls_client_options peer = offering(cases[i].peer, 3);
        struct tls_client *client = start(&rig, cases[i].listener, &peer, OUR_CID);
        rig_run(&rig, client);
        if (cases[i].protocol != NULL) {
            established(&rig, client);
            CU_ASSERT_STRING_EQUAL(record_protocol(rig.record), cases[i].protocol);
        } else {
            CU_ASSERT_EQUAL(rig.first, HANDSHAKE_REJECTED);
            CU_ASSERT_EQUAL(rig.client, SAGATE_EHANDSHAKE);
            CU_ASSERT_EQUAL(tls_client_alert(client), ALERT_VERSION);
        }
        finish(&rig, client);
    }
}

// RFC 8446 4.1.3: so that nobody in between can hide the newer version.
static void older_version_is_marked(void)
{
    uint8_t hello[DATAGRAM];
    struct rig rig;
    struct tls_client *client = start(&rig, &both, &peers[PEER_12], 0);
    size_t len = second_hello(&rig, client, hello);
    rig_give(&rig, hello, len);
    CU_ASSERT_TRUE_FATAL(rig.sent != NULL && rig.sent->len > 59 && rig.sent->bytes[13] == PEEK_SERVER_HELLO);
    CU_ASSERT_EQUAL(memcmp(rig.sent->bytes + 27 + 24, "DOWNGRD\1", 8), 0);
    finish(&rig, client);
}

static const struct unit_test tests[] = {
    {"Connection IDs are given to who offers", connection_ids_are_given_to_who_offers},
    {"no Connection ID is spent on a hello without a cookie", no_connection_id_is_spent_on_a_hello_without_a_cookie},
    {"cookie is of the hello and its peer", cookie_is_of_the_hello_and_its_peer},
    {"longer Connection IDs than the library takes are left out",
     longer_connection_ids_than_the_library_takes_are_left_out},
    {"wrong keys are noticed behind a Connection ID", wrong_keys_are_noticed_behind_a_connection_id},
    {"foreign records end no handshake", foreign_records_end_no_handshake},
    {"any datagram may be lost", any_datagram_may_be_lost},
    {"disorder and doubles are taken", disorder_and_doubles_are_taken},
    {"first hellos leave nothing behind", first_hellos_leave_nothing_behind},
    {"wrong cookies cost nothing", wrong_cookies_cost_nothing},
    {"cookies of the versions are apart", cookies_of_the_versions_are_apart},
    {"parked hello is kept", parked_hello_is_kept},
    {"parked hello outlives its contexts", parked_hello_outlives_its_contexts},
    {"unknown identity may become a certificate handshake", unknown_identity_may_become_a_certificate_handshake},
    {"unusable identities fail as wrong keys do", unusable_identities_fail_as_wrong_keys_do},
    {"longest identity is taken", longest_identity_is_taken},
    {"restarted peer is noticed", restarted_peer_is_noticed},
    {"versions meet", versions_meet},
    {"older version is marked", older_version_is_marked},
};

UNIT_MAIN("handshake_dtls", tests)
