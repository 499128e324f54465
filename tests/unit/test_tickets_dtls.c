// Session tickets over DTLS 1.2 and 1.3: who resumes, who does not, what is looked at before a cookie, and abbreviated
// handshakes whose datagrams are lost or repeated.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/handshake/internal.h"
#include "dataplane/record/record.h"
#include "tests/unit/handshake_rig.h"
#include "tests/unit/network.h"
#include "tests/unit/unit.h"

#include <string.h>

enum { LIFETIME = 7200, CHAIN = 320, DATAGRAM = 2048, OUR_CID = 8 };

static uint8_t secret[TICKETS_SECRET] = {7};
static uint8_t psk[16] = "0123456789abcde";
static const uint8_t peer_cid[5] = {0xc1, 0xc2, 0xc3, 0xc4, 0xc5};

static const struct rig_options listener = {.dtls = true,
                                            .psk = true,
                                            .certificates = 1,
                                            .version_min = CONFIG_TLS_1_2,
                                            .version_max = CONFIG_TLS_1_3,
                                            .cid_len = OUR_CID};

#define PSK .dtls = true, .identity = "dev", .key = {psk, sizeof psk}
static const struct tls_client_options kinds[] = {
    {PSK, .ciphers = "PSK-AES128-CCM-8"},
    {PSK, .ciphers = "PSK-AES128-GCM-SHA256"},
    {PSK, .tls13 = true, .ciphers = "TLS13-AES128-GCM-SHA256"},
    {PSK, .tls13 = true, .psk_alone = true, .ciphers = "TLS13-AES128-GCM-SHA256"},
    {.dtls = true, .ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256"},
    {.dtls = true, .tls13 = true, .ciphers = "TLS13-CHACHA20-POLY1305-SHA256"},
    {.dtls = true, .tls13 = true, .ciphers = "TLS13-AES256-GCM-SHA384"},
};
enum { KINDS = sizeof kinds / sizeof *kinds, PSK_KINDS = 4, CCM8 = 0, GCM = 1, FIRST_13 = 2 };

static void open_server(struct rig *rig, uint32_t lifetime)
{
    CU_ASSERT_EQUAL_FATAL(rig_open(rig, &listener), SAGATE_OK);
    CU_ASSERT_EQUAL_FATAL(handshake_contexts_tickets(rig->contexts, secret, lifetime), SAGATE_OK);
    rig->key = slice_of(psk, sizeof psk);
}

static struct tls_client *new_client(const struct tls_client_options *peer, WOLFSSL_SESSION *session)
{
    struct tls_client *client = tls_client_new(peer);
    CU_ASSERT_PTR_NOT_NULL_FATAL(client);
    WOLFSSL *ssl = tls_client_object(client);
    (void)wolfSSL_UseSessionTicket(ssl);
    if (session != NULL)
        CU_ASSERT_EQUAL(wolfSSL_set_session(ssl, session), WOLFSSL_SUCCESS);
    return client;
}

static int open_next(struct rig *rig)
{
    static uint8_t out[RECORD_PLAINTEXT_MAX];
    int status = SAGATE_EINTERNAL;
    (void)record_open(rig->record, out, sizeof out, &status);
    return status;
}

// What follows a handshake of DTLS 1.3: the client reads the ticket, and acknowledges it.
static void take_ticket(struct rig *rig, struct tls_client *client)
{
    uint8_t byte;
    rig_server_to_client(rig, client);
    (void)tls_client_read(client, &byte, 1);
    rig_client_to_server(rig, client);
    CU_ASSERT_EQUAL(open_next(rig), SAGATE_AGAIN);
    rig_server_to_client(rig, client);
}

// Both sides are settled: data passes, and the client has what it needs for the next time.
static WOLFSSL_SESSION *settle(struct rig *rig, struct tls_client *client)
{
    if (rig->record == NULL)
        return NULL;
    CU_ASSERT_TRUE(record_folded(rig->record));
    take_ticket(rig, client);
    CU_ASSERT_TRUE(rig_echo(rig, client, 1000));
    return wolfSSL_get1_session(tls_client_object(client));
}

static WOLFSSL_SESSION *connect_once(struct rig *rig, const struct tls_client_options *peer, WOLFSSL_SESSION *session)
{
    struct tls_client *client = new_client(peer, session);
    rig_run(rig, client);
    WOLFSSL_SESSION *taken = settle(rig, client);
    tls_client_free(client);
    return taken;
}

static WOLFSSL_SESSION *first_session(const struct tls_client_options *peer)
{
    struct rig rig;
    open_server(&rig, LIFETIME);
    WOLFSSL_SESSION *session = connect_once(&rig, peer, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(session);
    CU_ASSERT_FALSE(rig.resumed);
    CU_ASSERT_EQUAL(rig.framework, peer->identity != NULL ? FRAMEWORK_PSK : FRAMEWORK_NONE);
    rig_close(&rig);
    return session;
}

static struct tls_client_options offering(struct tls_client_options peer)
{
    peer.offer_cid = true;
    peer.cid = slice_of(peer_cid, sizeof peer_cid);
    return peer;
}

static void another_process_resumes(void)
{
    for (size_t i = 0; i < 2 * (size_t)KINDS; i++) {
        struct rig rig;
        bool cid = i >= KINDS;
        const struct tls_client_options peer = cid ? offering(kinds[i - KINDS]) : kinds[i];
        bool proven = peer.identity != NULL;
        WOLFSSL_SESSION *session = first_session(&peer);
        for (int round = 0; round < 3; round++) {
            open_server(&rig, LIFETIME);
            WOLFSSL_SESSION *next = connect_once(&rig, &peer, session);
            CU_ASSERT_PTR_NOT_NULL(next);
            CU_ASSERT_TRUE(rig.resumed);
            CU_ASSERT_EQUAL(rig.framework, proven ? FRAMEWORK_PSK : FRAMEWORK_NONE);
            CU_ASSERT_EQUAL(rig.parked, proven ? 1 : 0); // the key must still be there
            CU_ASSERT_STRING_EQUAL(rig.identity, proven ? "dev" : "");
            CU_ASSERT_EQUAL(rig.cids, cid ? 1 : 0);
            CU_ASSERT_EQUAL(rig.record == NULL ? 0 : record_cid(rig.record).len, cid ? OUR_CID : 0);
            wolfSSL_SESSION_free(session);
            session = next;
            rig_close(&rig);
        }
        wolfSSL_SESSION_free(session);
    }
}

static void try_listener(const struct rig_options *options, const struct tls_client_options *peer)
{
    WOLFSSL_SESSION *session = NULL;
    for (int round = 0; round < 3; round++) {
        struct rig rig;
        CU_ASSERT_EQUAL_FATAL(rig_open(&rig, options), SAGATE_OK);
        CU_ASSERT_EQUAL_FATAL(handshake_contexts_tickets(rig.contexts, secret, LIFETIME), SAGATE_OK);
        rig.key = slice_of(psk, sizeof psk);
        WOLFSSL_SESSION *next = connect_once(&rig, peer, session);
        CU_ASSERT_PTR_NOT_NULL_FATAL(next);
        CU_ASSERT_EQUAL(rig.resumed, round > 0);
        wolfSSL_SESSION_free(session);
        session = next;
        rig_close(&rig);
    }
    wolfSSL_SESSION_free(session);
}

static void other_listeners_and_peers_resume(void)
{
    struct rig_options without_keys = listener;
    struct rig_options without_certificate = listener;
    struct rig_options only_12 = listener;
    struct tls_client_options both = kinds[CCM8];
    without_keys.psk = false;
    without_certificate.certificates = 0;
    only_12.version_max = CONFIG_TLS_1_2;
    both.any_version = true;
    both.ciphers = NULL;
    for (size_t i = 0; i < KINDS; i++)
        try_listener(kinds[i].identity != NULL ? &without_certificate : &without_keys, &kinds[i]);
    try_listener(&only_12, &both);
    try_listener(&listener, &both);
}

// Whoever comes back again and again, each time with the ticket of the time before, is never turned away, and hardly
// ever has to prove itself in full.
static void a_long_chain_of_resumptions_goes_on(void)
{
    for (size_t i = 0; i < KINDS; i++) {
        struct rig rig;
        unsigned in_full = 0;
        WOLFSSL_SESSION *session = first_session(&kinds[i]);
        for (int round = 0; round < CHAIN && session != NULL; round++) {
            open_server(&rig, LIFETIME);
            WOLFSSL_SESSION *next = connect_once(&rig, &kinds[i], session);
            CU_ASSERT_PTR_NOT_NULL(next);
            CU_ASSERT_EQUAL(rig.framework, kinds[i].identity != NULL ? FRAMEWORK_PSK : FRAMEWORK_NONE);
            in_full += rig.resumed ? 0 : 1;
            wolfSSL_SESSION_free(session);
            session = next;
            rig_close(&rig);
        }
        CU_ASSERT_EQUAL(in_full, kinds[i].tls13 ? 1 : 0);
        wolfSSL_SESSION_free(session);
    }
}

static void tickets_of_removed_identities_are_refused(void)
{
    for (size_t i = 0; i < PSK_KINDS; i++) {
        struct rig rig;
        WOLFSSL_SESSION *session = first_session(&kinds[i]);
        open_server(&rig, LIFETIME);
        rig.key = slice_of(psk, 0);
        WOLFSSL_SESSION *next = connect_once(&rig, &kinds[i], session);
        CU_ASSERT_EQUAL(rig.parked, 2);                       // asked again, for the handshake in full
        CU_ASSERT_TRUE(rig.record == NULL || kinds[i].tls13); // where a certificate serves
        CU_ASSERT_EQUAL(rig.framework, FRAMEWORK_NONE);
        CU_ASSERT_FALSE(rig.resumed);
        wolfSSL_SESSION_free(next);
        rig_close(&rig);
        wolfSSL_SESSION_free(session);
    }
}

// The peer would prove another identity now, but what it resumes was proven as the first.
static void who_resumes_is_who_the_ticket_says(void)
{
    for (size_t i = 0; i < PSK_KINDS; i++) {
        struct rig rig;
        struct tls_client_options other = kinds[i];
        other.identity = "successor";
        WOLFSSL_SESSION *session = first_session(&kinds[i]);
        open_server(&rig, LIFETIME);
        WOLFSSL_SESSION *next = connect_once(&rig, &other, session);
        CU_ASSERT_PTR_NOT_NULL(rig.record);
        CU_ASSERT_TRUE(rig.resumed);
        CU_ASSERT_EQUAL(rig.framework, FRAMEWORK_PSK);
        CU_ASSERT_EQUAL(rig.parked, 1);
        CU_ASSERT_STRING_EQUAL(rig.identity, "dev");
        wolfSSL_SESSION_free(next);
        wolfSSL_SESSION_free(session);
        rig_close(&rig);
    }
}

// Until the handshake parks; the answer is the test's.
static void run_to_park(struct rig *rig, struct tls_client *client)
{
    rig->key = (struct slice){0};
    rig_run(rig, client);
    CU_ASSERT_EQUAL_FATAL(rig->server, SAGATE_PARKED);
    CU_ASSERT_STRING_EQUAL(rig->identity, "dev");
}

// The answer for the ticket is "unknown", that for the PSK the key.
static void what_a_ticket_cannot_prove_a_key_still_can(void)
{
    for (size_t i = 0; i < PSK_KINDS; i++) {
        struct rig rig;
        struct tls_client_options other = kinds[i];
        other.identity = "successor";
        WOLFSSL_SESSION *session = first_session(&kinds[i]);
        struct tls_client *client = new_client(&other, session);
        open_server(&rig, LIFETIME);
        run_to_park(&rig, client);
        rig.server = handshake_resolve(rig.handshake, (struct slice){0});
        rig_server_to_client(&rig, client);
        rig.key = slice_of(psk, sizeof psk);
        if (rig.server == SAGATE_PARKED) { // DTLS 1.3: it came with the same ClientHello
            CU_ASSERT_TRUE(slice_is(handshake_identity(rig.handshake), "successor"));
            rig.server = handshake_resolve(rig.handshake, rig.key);
        }
        rig_run(&rig, client);
        CU_ASSERT_PTR_NOT_NULL(rig.record);
        CU_ASSERT_EQUAL(rig.framework, FRAMEWORK_PSK);
        CU_ASSERT_FALSE(rig.resumed);
        wolfSSL_SESSION_free(settle(&rig, client));
        tls_client_free(client);
        rig_close(&rig);
        wolfSSL_SESSION_free(session);
    }
}

// A server that is asked for a ticket of another one: 0: tickets are off; 1: other keys; 2: another listener; 3: the
// key of another period.
static void open_stranger(struct rig *rig, int why)
{
    static const uint8_t other[TICKETS_SECRET] = {1};
    open_server(rig, why == 0 ? 0 : why == 3 ? LIFETIME / 2 : LIFETIME);
    if (why == 1)
        CU_ASSERT_EQUAL(handshake_contexts_tickets(rig->contexts, other, LIFETIME), SAGATE_OK);
    if (why == 2)
        rig->contexts->listeners[0].binding[0] ^= 1;
}

static void tickets_that_are_not_ours_mean_a_full_handshake(void)
{
    for (size_t i = 0; i < KINDS; i++) {
        for (int why = 0; why < 4; why++) {
            struct rig rig;
            WOLFSSL_SESSION *session = first_session(&kinds[i]);
            open_stranger(&rig, why);
            WOLFSSL_SESSION *next = connect_once(&rig, &kinds[i], session);
            CU_ASSERT_PTR_NOT_NULL(rig.record);
            CU_ASSERT_FALSE(rig.resumed);
            CU_ASSERT_EQUAL(rig.framework, kinds[i].identity != NULL ? FRAMEWORK_PSK : FRAMEWORK_NONE);
            wolfSSL_SESSION_free(next);
            wolfSSL_SESSION_free(session);
            rig_close(&rig);
        }
    }
}

static size_t take(struct tls_client *client, uint8_t *out)
{
    struct slice chunk;
    CU_ASSERT_TRUE_FATAL(tls_client_output(client, &chunk) && chunk.len <= DATAGRAM);
    memcpy(out, chunk.data, chunk.len);
    return chunk.len;
}

// The second ClientHello, with the cookie.
static size_t second_hello(struct rig *rig, struct tls_client *client, uint8_t *hello)
{
    CU_ASSERT_EQUAL_FATAL(tls_client_run(client), SAGATE_AGAIN);
    rig_client_to_server(rig, client);
    CU_ASSERT_EQUAL(rig->first, HANDSHAKE_COOKIE_SENT);
    CU_ASSERT_PTR_NULL(rig->handshake);
    rig_server_to_client(rig, client);
    CU_ASSERT_EQUAL_FATAL(tls_client_run(client), SAGATE_AGAIN);
    return take(client, hello);
}

// From another address the cookie is wrong: the ticket asks for nothing then, and no Connection ID is spent.
static void nothing_is_asked_before_the_cookie(void)
{
    for (size_t i = 0; i < KINDS; i++) {
        struct rig rig;
        uint8_t hello[DATAGRAM];
        const struct tls_client_options peer = offering(kinds[i]);
        WOLFSSL_SESSION *session = first_session(&peer);
        struct tls_client *client = new_client(&peer, session);
        open_server(&rig, LIFETIME);
        size_t len = second_hello(&rig, client, hello);
        rig.peer.v4.sin_port ^= 1;
        rig_give(&rig, hello, len);
        CU_ASSERT_EQUAL(rig.first, kinds[i].tls13 ? HANDSHAKE_REJECTED : HANDSHAKE_COOKIE_SENT);
        CU_ASSERT_PTR_NULL(rig.handshake);
        CU_ASSERT_EQUAL(rig.parked, 0);
        CU_ASSERT_EQUAL(rig.cids, 0);
        (void)rig_drop_sent(&rig);
        rig.peer.v4.sin_port ^= 1;
        rig_give(&rig, hello, len);
        rig_server_to_client(&rig, client);
        rig_run(&rig, client);
        CU_ASSERT_TRUE(rig.resumed);
        CU_ASSERT_EQUAL(rig.cids, 1);
        wolfSSL_SESSION_free(settle(&rig, client));
        tls_client_free(client);
        rig_close(&rig);
        wolfSSL_SESSION_free(session);
    }
}

// A ticket that was changed on its way: DTLS 1.2 goes on in full, DTLS 1.3 too, but binders no longer fit there.
static void forged_tickets_are_not_taken(void)
{
    for (size_t i = 0; i < PSK_KINDS; i++) {
        struct rig rig;
        uint8_t hello[DATAGRAM];
        struct peek_hello parts;
        struct peek_record record;
        WOLFSSL_SESSION *session = first_session(&kinds[i]);
        struct tls_client *client = new_client(&kinds[i], session);
        open_server(&rig, LIFETIME);
        size_t len = second_hello(&rig, client, hello);
        CU_ASSERT_TRUE_FATAL(peek_dtls_hello(slice_of(hello, len), &parts, &record));
        struct slice ticket = kinds[i].tls13 ? parts.psk_identity : parts.ticket;
        CU_ASSERT_TRUE_FATAL(tickets_shaped(ticket));
        hello[ticket.data - hello + 70] ^= 1;
        rig_give(&rig, hello, len);
        CU_ASSERT_FALSE(rig.resumed);
        CU_ASSERT_TRUE(kinds[i].tls13 || rig.parked == 0);
        CU_ASSERT_PTR_NULL(rig.record);
        tls_client_free(client);
        rig_close(&rig);
        wolfSSL_SESSION_free(session);
    }
}

// The suite of a HelloRetryRequest is named without a look at the ticket: with other suites than before, the peer gets
// a full handshake.
static void tickets_of_another_suite_give_way(void)
{
    struct rig rig;
    struct tls_client_options peer = kinds[FIRST_13];
    peer.ciphers = "TLS13-AES128-CCM-SHA256";
    peer.psk_suite13 = peer.ciphers;
    WOLFSSL_SESSION *session = first_session(&peer);
    peer.ciphers = "TLS13-AES128-GCM-SHA256:TLS13-AES128-CCM-SHA256";
    peer.psk_suite13 = "TLS13-AES128-GCM-SHA256";
    open_server(&rig, LIFETIME);
    WOLFSSL_SESSION *next = connect_once(&rig, &peer, session);
    CU_ASSERT_PTR_NOT_NULL(next);
    CU_ASSERT_FALSE(rig.resumed);
    CU_ASSERT_EQUAL(rig.framework, FRAMEWORK_PSK);
    rig_close(&rig);
    wolfSSL_SESSION_free(next);
    wolfSSL_SESSION_free(session);
}

// DTLS 1.2: the ticket opens, but the peer no longer offers its suite.
static void peers_with_another_suite_begin_in_full(void)
{
    for (size_t i = CCM8; i <= GCM; i++) {
        struct rig rig;
        struct tls_client_options peer = kinds[i];
        WOLFSSL_SESSION *session = first_session(&peer);
        peer.identity = "successor";
        peer.ciphers = kinds[i == CCM8 ? GCM : CCM8].ciphers;
        open_server(&rig, LIFETIME);
        WOLFSSL_SESSION *next = connect_once(&rig, &peer, session);
        CU_ASSERT_PTR_NOT_NULL(next);
        CU_ASSERT_FALSE(rig.resumed);
        CU_ASSERT_EQUAL(rig.framework, FRAMEWORK_PSK);
        CU_ASSERT_STRING_EQUAL(rig.identity, "successor");
        rig_close(&rig);
        wolfSSL_SESSION_free(next);
        wolfSSL_SESSION_free(session);
    }
}

static void add(uint8_t *length, size_t n)
{
    size_t sum = ((size_t)length[0] << 8 | length[1]) + n;
    length[0] = (uint8_t)(sum >> 8);
    length[1] = (uint8_t)sum;
}

// DTLS 1.2: a ticket opens that the library does not take up (RFC 7627 5.3: the peer has the extended master secret
// now). The identity that it brought proves nothing then.
static void tickets_that_are_not_taken_up_prove_nothing(void)
{
    static const uint8_t extended_master_secret[4] = {0, 23, 0, 0};
    struct rig rig;
    uint8_t hello[DATAGRAM];
    struct peek_hello parts;
    struct peek_record record;
    open_server(&rig, LIFETIME);
    struct tls_client *client = new_client(&kinds[CCM8], NULL);
    CU_ASSERT_EQUAL(wolfSSL_DisableExtendedMasterSecret(tls_client_object(client)), WOLFSSL_SUCCESS);
    rig_run(&rig, client);
    WOLFSSL_SESSION *session = settle(&rig, client);
    CU_ASSERT_PTR_NOT_NULL_FATAL(session);
    tls_client_free(client);
    rig_close(&rig);

    open_server(&rig, LIFETIME);
    client = new_client(&kinds[CCM8], session);
    size_t len = second_hello(&rig, client, hello);
    CU_ASSERT_TRUE_FATAL(peek_dtls_hello(slice_of(hello, len), &parts, &record));
    memcpy(hello + len, extended_master_secret, 4);
    add(hello + 11, 4); // of the record, of the message, of its fragment, of the extensions
    add(hello + 15, 4);
    add(hello + 23, 4);
    add(hello + (parts.compression.data - hello) + parts.compression.len, 4);
    rig_give(&rig, hello, len + 4);
    CU_ASSERT_EQUAL(rig.parked, 1);
    CU_ASSERT_STRING_EQUAL(rig.identity, "dev");
    CU_ASSERT_EQUAL(rig.server, SAGATE_AGAIN);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig.handshake);
    rig_give(&rig, hello, len + 4);
    CU_ASSERT_EQUAL(rig.handshake->state, HANDSHAKE_KEY);
    CU_ASSERT_EQUAL(handshake_identity(rig.handshake).len, 0);
    tls_client_free(client);
    rig_close(&rig);
    wolfSSL_SESSION_free(session);
}

// --- datagrams lost and repeated -----------------------------------------------------------------------------------

// The handshake at the point where the server has sent its flight with the Finished.
static struct tls_client *begin_resumption(struct rig *rig, const struct tls_client_options *peer)
{
    uint8_t hello[DATAGRAM];
    WOLFSSL_SESSION *session = first_session(peer);
    struct tls_client *client = new_client(peer, session);
    open_server(rig, LIFETIME);
    size_t len = second_hello(rig, client, hello);
    rig_give(rig, hello, len);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig->handshake);
    wolfSSL_SESSION_free(session);
    return client;
}

// DTLS 1.2: nobody else's records end an abbreviated handshake.
static void forged_records_end_no_resumption(void)
{
    static const uint8_t forged[] = {20, 254, 253, 0, 0,  0,  0,  0,  0,  0,  9,  0,  1,  1, // ChangeCipherSpec
                                     22, 254, 253, 0, 1,  0,  0,  0,  0,  0,  99, 0,  24, 0,  1,  2,  3,  4, 5,
                                     6,  7,   8,   9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23};
    for (size_t i = CCM8; i <= GCM; i++) {
        struct rig rig;
        struct tls_client *client = begin_resumption(&rig, &kinds[i]);
        for (int times = 0; times < 10; times++)
            rig_give(&rig, forged, sizeof forged);
        CU_ASSERT_EQUAL(rig.server, SAGATE_AGAIN);
        rig_server_to_client(&rig, client);
        rig_run(&rig, client);
        CU_ASSERT_PTR_NOT_NULL(rig.record);
        CU_ASSERT_TRUE(rig.resumed);
        wolfSSL_SESSION_free(settle(&rig, client));
        tls_client_free(client);
        rig_close(&rig);
    }
}

// Whichever datagram is lost, or all repeated.
static void try_network(const struct tls_client_options *peer, WOLFSSL_SESSION *session, bool stranger,
                        struct network *network)
{
    struct rig rig;
    struct tls_client *client = new_client(peer, session);
    if (stranger)
        open_stranger(&rig, 1);
    else
        open_server(&rig, LIFETIME);
    network_run(network, &rig, client);
    CU_ASSERT_EQUAL(rig.client, SAGATE_DONE);
    CU_ASSERT_PTR_NOT_NULL(rig.record);
    CU_ASSERT_EQUAL(rig.resumed, session != NULL && !stranger);
    CU_ASSERT_EQUAL(rig.framework, peer->identity != NULL ? FRAMEWORK_PSK : FRAMEWORK_NONE);
    CU_ASSERT_TRUE(rig_echo(&rig, client, 100));
    tls_client_free(client);
    rig_close(&rig);
}

static void try_losses(const struct tls_client_options *peer, WOLFSSL_SESSION *session, bool stranger)
{
    bool lost = true;
    for (size_t n = 0; lost && n < 30; n++) {
        struct network network = {.lost = n, .twice = n % 2 == 1};
        try_network(peer, session, stranger, &network);
        lost = network.count > n;
    }
}

// In full with the ticket that it brings, abbreviated, and in full since the ticket is a stranger's.
static void any_datagram_may_be_lost(void)
{
    for (size_t i = 0; i < 2 * (size_t)KINDS; i++) {
        const struct tls_client_options peer = i >= KINDS ? offering(kinds[i - KINDS]) : kinds[i];
        WOLFSSL_SESSION *session = first_session(&peer);
        try_losses(&peer, NULL, false);
        try_losses(&peer, session, false);
        try_losses(&peer, session, true);
        wolfSSL_SESSION_free(session);
    }
}

// DTLS 1.2: the client's flight is the last one. Whoever repeats it gets no answer.
static void the_clients_last_flight_draws_nothing_when_repeated(void)
{
    for (size_t i = CCM8; i <= GCM; i++) {
        struct rig rig;
        uint8_t flight[DATAGRAM];
        struct tls_client *client = begin_resumption(&rig, &kinds[i]);
        rig_server_to_client(&rig, client);
        CU_ASSERT_EQUAL(tls_client_run(client), SAGATE_DONE);
        size_t len = take(client, flight);
        rig_give(&rig, flight, len);
        CU_ASSERT_PTR_NOT_NULL_FATAL(rig.record);
        CU_ASSERT_PTR_NULL(rig.sent);
        for (int again = 0; again < 3; again++) {
            rig_give(&rig, flight, len);
            while (open_next(&rig) != SAGATE_AGAIN)
                ;
            tls_client_timeout(client);
            rig_client_to_server(&rig, client);
            while (open_next(&rig) != SAGATE_AGAIN)
                ;
        }
        CU_ASSERT_PTR_NULL(rig.sent);
        CU_ASSERT_TRUE(rig_echo(&rig, client, 100));
        tls_client_free(client);
        rig_close(&rig);
    }
}

// DTLS 1.2, in full: the NewSessionTicket belongs to the server's last flight, without which no Finished is taken.
static void a_lost_ticket_is_repeated_with_the_last_flight(void)
{
    for (size_t i = CCM8; i <= GCM; i++) {
        struct rig rig;
        struct rig later;
        struct tls_client *client = new_client(&kinds[i], NULL);
        open_server(&rig, LIFETIME);
        while (rig.record == NULL) {
            CU_ASSERT_EQUAL_FATAL(tls_client_run(client), SAGATE_AGAIN);
            rig_client_to_server(&rig, client);
            if (rig.record == NULL)
                rig_server_to_client(&rig, client);
        }
        for (int lost = 0; lost < 3; lost++) {
            CU_ASSERT_TRUE(rig_drop_sent(&rig) > 0);
            CU_ASSERT_EQUAL(tls_client_run(client), SAGATE_AGAIN);
            tls_client_timeout(client);
            rig_client_to_server(&rig, client);
            CU_ASSERT_EQUAL(open_next(&rig), SAGATE_AGAIN);
        }
        rig_server_to_client(&rig, client);
        CU_ASSERT_EQUAL(tls_client_run(client), SAGATE_DONE);
        WOLFSSL_SESSION *session = settle(&rig, client);
        open_server(&later, LIFETIME);
        WOLFSSL_SESSION *next = connect_once(&later, &kinds[i], session);
        CU_ASSERT_TRUE(later.resumed);
        wolfSSL_SESSION_free(next);
        wolfSSL_SESSION_free(session);
        rig_close(&later);
        tls_client_free(client);
        rig_close(&rig);
    }
}

// What comes while the key is awaited is the peer's own repetition, or a stranger's: nothing of it goes to the library.
static void a_parked_ticket_waits_for_its_key_alone(void)
{
    static const uint8_t forged[] = {20, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 1};
    for (size_t i = 0; i < PSK_KINDS; i++) {
        struct rig rig;
        uint8_t hello[DATAGRAM];
        WOLFSSL_SESSION *session = first_session(&kinds[i]);
        struct tls_client *client = new_client(&kinds[i], session);
        open_server(&rig, LIFETIME);
        rig.key = (struct slice){0};
        size_t len = second_hello(&rig, client, hello);
        for (int again = 0; again < 3; again++) {
            rig_give(&rig, hello, len);
            rig_give(&rig, forged, sizeof forged);
            CU_ASSERT_EQUAL(rig.server, SAGATE_PARKED);
            CU_ASSERT_PTR_NULL(rig.sent);
        }
        rig.server = handshake_resolve(rig.handshake, slice_of(psk, sizeof psk));
        rig_server_to_client(&rig, client);
        rig_run(&rig, client);
        CU_ASSERT_TRUE(rig.resumed);
        CU_ASSERT_EQUAL(rig.framework, FRAMEWORK_PSK);
        wolfSSL_SESSION_free(settle(&rig, client));
        tls_client_free(client);
        rig_close(&rig);
        wolfSSL_SESSION_free(session);
    }
}

static const struct unit_test tests[] = {
    {"another process resumes", another_process_resumes},
    {"other listeners and peers resume", other_listeners_and_peers_resume},
    {"a long chain of resumptions goes on", a_long_chain_of_resumptions_goes_on},
    {"tickets of removed identities are refused", tickets_of_removed_identities_are_refused},
    {"who resumes is who the ticket says", who_resumes_is_who_the_ticket_says},
    {"what a ticket cannot prove a key still can", what_a_ticket_cannot_prove_a_key_still_can},
    {"tickets that are not ours mean a full handshake", tickets_that_are_not_ours_mean_a_full_handshake},
    {"nothing is asked before the cookie", nothing_is_asked_before_the_cookie},
    {"forged tickets are not taken", forged_tickets_are_not_taken},
    {"tickets of another suite give way", tickets_of_another_suite_give_way},
    {"peers with another suite begin in full", peers_with_another_suite_begin_in_full},
    {"tickets that are not taken up prove nothing", tickets_that_are_not_taken_up_prove_nothing},
    {"forged records end no resumption", forged_records_end_no_resumption},
    {"any datagram may be lost", any_datagram_may_be_lost},
    {"the client's last flight draws nothing when repeated", the_clients_last_flight_draws_nothing_when_repeated},
    {"a lost ticket is repeated with the last flight", a_lost_ticket_is_repeated_with_the_last_flight},
    {"a parked ticket waits for its key alone", a_parked_ticket_waits_for_its_key_alone},
};

UNIT_MAIN("tickets_dtls", tests)
