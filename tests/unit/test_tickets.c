// Session tickets: what is in one and who may open it; resumption with wolfSSL's client in TLS 1.2 and 1.3.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/handshake/internal.h"
#include "dataplane/record/record.h"
#include "tests/unit/handshake_rig.h"
#include "tests/unit/unit.h"

#include <string.h>

enum { SESSION = 140, ROOM = 172, WIRE = TICKETS_FRAME + ROOM, LIFETIME = 7200, CHAIN = 320 };

static uint8_t secret[TICKETS_SECRET] = {7};
static uint8_t psk[16] = "0123456789abcde";
static const uint8_t binding_bytes[32] = {9};
static const struct tickets tickets = {.secret = secret, .lifetime = LIFETIME};

static struct slice binding(void)
{
    return slice_of(binding_bytes, sizeof binding_bytes);
}

// A ticket as it goes over the wire.
static int make(const char *identity, int64_t now, uint8_t wire[WIRE])
{
    const struct ticket_parts parts = {
        .name = wire,
        .iv = wire + TICKETS_NAME,
        .body = wire + TICKETS_NAME + TICKETS_IV + TICKETS_LENGTH,
        .mac = wire + WIRE - TICKETS_MAC,
        .len = ROOM,
    };
    struct ticket_proof proof = {.identity = slice_text(identity == NULL ? "" : identity), .key = 0x01020304};
    memset(wire, 0, WIRE);
    wire[TICKETS_NAME + TICKETS_IV + 1] = ROOM;
    for (size_t i = 0; i < SESSION; i++)
        parts.body[i] = (uint8_t)i;
    return tickets_seal(&tickets, binding(), identity == NULL ? NULL : &proof, SESSION, now, &parts);
}

static int open_at(int64_t now, const uint8_t *wire, struct ticket *ticket)
{
    return tickets_open(&tickets, binding(), slice_of(wire, WIRE), now, ticket);
}

static void tickets_bring_back_session_and_identity(void)
{
    static const char *const identities[] = {"", "x", "0123456789abcdef0123456789abcdef@in-cse.sp.example",
                                             "1234567890123456789012345678901234567890123456789012345"}; // 55
    uint8_t wire[WIRE];
    uint8_t again[WIRE];
    for (size_t i = 0; i < sizeof identities / sizeof *identities; i++) {
        struct ticket ticket;
        CU_ASSERT_EQUAL(make(identities[i], 1000000, wire), SAGATE_OK);
        CU_ASSERT_EQUAL(open_at(1000000, wire, &ticket), SAGATE_OK);
        CU_ASSERT_TRUE(slice_is(ticket.proof.identity, identities[i]));
        CU_ASSERT_EQUAL(ticket.proof.key, 0x01020304);
        CU_ASSERT_EQUAL(ticket.len, ROOM);
        for (size_t k = 0; k < SESSION; k++)
            CU_ASSERT_EQUAL(ticket.bytes[k], k);
        CU_ASSERT_EQUAL(make(identities[i], 1000000, again), SAGATE_OK);
        CU_ASSERT_NOT_EQUAL(memcmp(wire, again, sizeof wire), 0);
        CU_ASSERT_TRUE(tickets_shaped(slice_of(wire, sizeof wire)));
    }
}

static void nobody_opens_a_ticket_without_a_proof(void)
{
    uint8_t wire[WIRE];
    struct ticket ticket;
    CU_ASSERT_EQUAL(make(NULL, 1000000, wire), SAGATE_OK);
    CU_ASSERT_EQUAL(open_at(1000000, wire, &ticket), SAGATE_ERECORD);
    CU_ASSERT_EQUAL(make("12345678901234567890123456789012345678901234567890123456", 1000000, wire), SAGATE_OK);
    CU_ASSERT_EQUAL(open_at(1000000, wire, &ticket), SAGATE_ERECORD); // a byte too long to be kept
}

static void tickets_last_for_their_lifetime(void)
{
    static const int64_t starts[] = {1000000 * (int64_t)LIFETIME, 1000000 * (int64_t)LIFETIME + LIFETIME - 1};
    uint8_t wire[WIRE];
    struct ticket ticket;
    for (size_t i = 0; i < 2; i++) { // whatever the age of the key
        CU_ASSERT_EQUAL(make("dev", starts[i], wire), SAGATE_OK);
        CU_ASSERT_EQUAL(open_at(starts[i], wire, &ticket), SAGATE_OK);
        CU_ASSERT_EQUAL(open_at(starts[i] + LIFETIME - 1, wire, &ticket), SAGATE_OK);
        CU_ASSERT_EQUAL(open_at(starts[i] + LIFETIME, wire, &ticket), SAGATE_OK);
        CU_ASSERT_EQUAL(open_at(starts[i] + LIFETIME + 1, wire, &ticket), SAGATE_ERECORD);
        CU_ASSERT_EQUAL(open_at(starts[i] + 100 * (int64_t)LIFETIME, wire, &ticket), SAGATE_ERECORD);
        CU_ASSERT_EQUAL(open_at(starts[i] - LIFETIME, wire, &ticket), SAGATE_ERECORD);
    }
}

static void changed_tickets_do_not_open(void)
{
    uint8_t wire[WIRE + 1] = {0};
    struct ticket ticket;
    CU_ASSERT_EQUAL(make("dev", 1000000, wire), SAGATE_OK);
    for (size_t bit = 0; bit < 8 * (size_t)WIRE; bit++) {
        wire[bit / 8] ^= (uint8_t)(1U << bit % 8);
        CU_ASSERT_EQUAL(open_at(1000000, wire, &ticket), SAGATE_ERECORD);
        wire[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    for (size_t len = 0; len <= sizeof wire; len++) {
        int rc = tickets_open(&tickets, binding(), slice_of(wire, len), 1000000, &ticket);
        CU_ASSERT_EQUAL(rc, len == WIRE ? SAGATE_OK : SAGATE_ERECORD);
    }
    static const uint8_t other[32] = {8};
    struct tickets stranger = {.secret = other, .lifetime = LIFETIME};
    CU_ASSERT_EQUAL(tickets_open(&tickets, slice_of(other, 32), slice_of(wire, WIRE), 1000000, &ticket),
                    SAGATE_ERECORD);
    CU_ASSERT_EQUAL(tickets_open(&stranger, binding(), slice_of(wire, WIRE), 1000000, &ticket), SAGATE_ERECORD);
}

// --- resumption ----------------------------------------------------------------------------------------------------

static const struct rig_options listener = {
    .psk = true, .certificates = 1, .version_min = CONFIG_TLS_1_2, .version_max = CONFIG_TLS_1_3};

enum { KINDS = 5, PSK_KINDS = 3 };
static const struct tls_client_options kinds[KINDS] = {
    {.ciphers = "PSK-AES128-CCM-8", .identity = "dev", .key = {psk, sizeof psk}},
    {.ciphers = "ECDHE-PSK-AES128-GCM-SHA256", .identity = "dev", .key = {psk, sizeof psk}},
    {.tls13 = true, .ciphers = "TLS13-AES128-GCM-SHA256", .identity = "dev", .key = {psk, sizeof psk}},
    {.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256"},
    {.tls13 = true, .ciphers = "TLS13-CHACHA20-POLY1305-SHA256"},
};

// One connection to a process of its own: what the client took away, with what it came.
static WOLFSSL_SESSION *connect_once(struct rig *rig, const struct tls_client_options *peer, WOLFSSL_SESSION *session)
{
    uint8_t byte;
    WOLFSSL_SESSION *taken = NULL;
    struct tls_client *client = tls_client_new(peer);
    CU_ASSERT_PTR_NOT_NULL_FATAL(client);
    WOLFSSL *ssl = tls_client_object(client);
    (void)wolfSSL_UseSessionTicket(ssl);
    if (session != NULL)
        CU_ASSERT_EQUAL(wolfSSL_set_session(ssl, session), WOLFSSL_SUCCESS);
    CU_ASSERT_EQUAL_FATAL(rig_accept(rig), SAGATE_OK);
    rig_run(rig, client);
    if (rig->record != NULL) {
        CU_ASSERT_TRUE(record_folded(rig->record));
        CU_ASSERT_TRUE(rig_echo(rig, client, 1000));
        (void)tls_client_read(client, &byte, 1); // a ticket of TLS 1.3
        taken = wolfSSL_get1_session(ssl);
    }
    tls_client_free(client);
    return taken;
}

static void open_server(struct rig *rig, uint32_t lifetime)
{
    CU_ASSERT_EQUAL_FATAL(rig_open(rig, &listener), SAGATE_OK);
    CU_ASSERT_EQUAL_FATAL(handshake_contexts_tickets(rig->contexts, secret, lifetime), SAGATE_OK);
    rig->key = slice_of(psk, sizeof psk);
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

static void another_process_resumes(void)
{
    for (size_t i = 0; i < KINDS; i++) {
        struct rig rig;
        bool proven = kinds[i].identity != NULL;
        WOLFSSL_SESSION *session = first_session(&kinds[i]);
        for (int round = 0; round < 3; round++) {
            open_server(&rig, LIFETIME);
            WOLFSSL_SESSION *next = connect_once(&rig, &kinds[i], session);
            CU_ASSERT_PTR_NOT_NULL(next);
            CU_ASSERT_TRUE(rig.resumed);
            CU_ASSERT_EQUAL(rig.framework, proven ? FRAMEWORK_PSK : FRAMEWORK_NONE);
            CU_ASSERT_EQUAL(rig.parked, proven ? 1 : 0); // the key must still be there
            CU_ASSERT_STRING_EQUAL(rig.identity, proven ? "dev" : "");
            wolfSSL_SESSION_free(session);
            session = next;
            rig_close(&rig);
        }
        wolfSSL_SESSION_free(session);
    }
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
        wolfSSL_SESSION_free(next);
        rig_close(&rig);
        wolfSSL_SESSION_free(session);
    }
}

// Whoever had the old key is out, and gets in again with the new one only.
static void tickets_of_a_replaced_key_are_refused(void)
{
    static uint8_t replaced[16] = "replaced replace";
    for (size_t i = 0; i < PSK_KINDS; i++) {
        for (int knows = 0; knows < 2; knows++) {
            struct rig rig;
            struct tls_client_options peer = kinds[i];
            WOLFSSL_SESSION *session = first_session(&kinds[i]);
            open_server(&rig, LIFETIME);
            rig.key = slice_of(replaced, sizeof replaced);
            if (knows == 1)
                peer.key = rig.key;
            WOLFSSL_SESSION *next = connect_once(&rig, &peer, session);
            CU_ASSERT_EQUAL(rig.record != NULL, knows == 1);
            CU_ASSERT_FALSE(rig.resumed);
            wolfSSL_SESSION_free(next);
            wolfSSL_SESSION_free(session);
            rig_close(&rig);
        }
    }
}

// A listener that asks for something else than before takes nothing of what was enough then.
static void tickets_do_not_outlive_what_a_listener_asks_for(void)
{
    for (size_t i = 0; i < KINDS; i++) {
        struct rig rig;
        bool psk_peer = kinds[i].identity != NULL;
        struct rig_options changed = listener;
        changed.psk = !psk_peer;
        changed.certificates = psk_peer ? 1 : 0;
        WOLFSSL_SESSION *session = first_session(&kinds[i]);
        CU_ASSERT_EQUAL_FATAL(rig_open(&rig, &changed), SAGATE_OK);
        CU_ASSERT_EQUAL_FATAL(handshake_contexts_tickets(rig.contexts, secret, LIFETIME), SAGATE_OK);
        rig.key = slice_of(psk, sizeof psk);
        WOLFSSL_SESSION *next = connect_once(&rig, &kinds[i], session);
        CU_ASSERT_FALSE(rig.resumed);
        CU_ASSERT_NOT_EQUAL(rig.framework, FRAMEWORK_PSK);
        CU_ASSERT_TRUE(rig.record == NULL || psk_peer); // where a certificate serves
        wolfSSL_SESSION_free(next);
        wolfSSL_SESSION_free(session);
        rig_close(&rig);
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
        CU_ASSERT_EQUAL(rig.framework, FRAMEWORK_PSK);
        CU_ASSERT_EQUAL(rig.parked, 1);
        CU_ASSERT_STRING_EQUAL(rig.identity, "dev");
        wolfSSL_SESSION_free(next);
        wolfSSL_SESSION_free(session);
        rig_close(&rig);
    }
}

// The answer for the ticket is "unknown", that for the PSK the key.
static void what_a_ticket_cannot_prove_a_key_still_can(void)
{
    for (size_t i = 0; i < PSK_KINDS; i++) {
        struct rig rig;
        struct tls_client_options other = kinds[i];
        other.identity = "successor";
        WOLFSSL_SESSION *session = first_session(&kinds[i]);
        struct tls_client *client = tls_client_new(&other);
        CU_ASSERT_PTR_NOT_NULL_FATAL(client);
        (void)wolfSSL_UseSessionTicket(tls_client_object(client));
        CU_ASSERT_EQUAL(wolfSSL_set_session(tls_client_object(client), session), WOLFSSL_SUCCESS);
        open_server(&rig, LIFETIME);
        rig.key = (struct slice){0};
        CU_ASSERT_EQUAL_FATAL(rig_accept(&rig), SAGATE_OK);
        rig_run(&rig, client);
        CU_ASSERT_EQUAL(rig.server, SAGATE_PARKED);
        CU_ASSERT_STRING_EQUAL(rig.identity, "dev");
        rig.server = handshake_resolve(rig.handshake, (struct slice){0});
        rig_server_to_client(&rig, client);
        rig.key = slice_of(psk, sizeof psk);
        if (rig.server == SAGATE_PARKED) { // TLS 1.3: it came with the same ClientHello
            CU_ASSERT_TRUE(slice_is(handshake_identity(rig.handshake), "successor"));
            rig.server = handshake_resolve(rig.handshake, rig.key);
        }
        rig_run(&rig, client);
        CU_ASSERT_PTR_NOT_NULL(rig.record);
        CU_ASSERT_EQUAL(rig.framework, FRAMEWORK_PSK);
        CU_ASSERT_FALSE(rig.resumed);
        tls_client_free(client);
        rig_close(&rig);
        wolfSSL_SESSION_free(session);
    }
}

static void tickets_that_are_not_ours_mean_a_full_handshake(void)
{
    for (size_t i = 0; i < KINDS; i++) {
        for (int why = 0; why < 3; why++) {
            struct rig rig;
            uint8_t other[TICKETS_SECRET] = {1};
            WOLFSSL_SESSION *session = first_session(&kinds[i]);
            open_server(&rig, why == 0 ? 0 : LIFETIME); // tickets are off
            if (why == 1)
                CU_ASSERT_EQUAL(handshake_contexts_tickets(rig.contexts, other, LIFETIME), SAGATE_OK);
            if (why == 2)
                rig.contexts->listeners[0].binding[0] ^= 1;
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

static void identities_too_long_for_a_ticket_prove_themselves_each_time(void)
{
    static const char identity[] = "0123456789abcdef0123456789abcdef@a-rather-long-name.of.a-service-provider.example";
    for (size_t i = 0; i < PSK_KINDS; i++) {
        struct rig rig;
        struct tls_client_options peer = kinds[i];
        peer.identity = identity;
        WOLFSSL_SESSION *session = first_session(&peer);
        open_server(&rig, LIFETIME);
        WOLFSSL_SESSION *next = connect_once(&rig, &peer, session);
        CU_ASSERT_PTR_NOT_NULL(rig.record);
        CU_ASSERT_FALSE(rig.resumed);
        CU_ASSERT_EQUAL(rig.framework, FRAMEWORK_PSK);
        CU_ASSERT_STRING_EQUAL(rig.identity, identity);
        wolfSSL_SESSION_free(next);
        wolfSSL_SESSION_free(session);
        rig_close(&rig);
    }
}

// A ticket from before the peer had a key does not keep it from proving that it has one now.
static void tickets_without_identity_give_way_to_a_key(void)
{
    struct rig rig;
    const struct tls_client_options bare = {.tls13 = true, .ciphers = "TLS13-AES128-GCM-SHA256"};
    WOLFSSL_SESSION *session = first_session(&bare);
    open_server(&rig, LIFETIME);
    WOLFSSL_SESSION *next = connect_once(&rig, &kinds[2], session);
    CU_ASSERT_EQUAL(rig.framework, FRAMEWORK_PSK);
    CU_ASSERT_STRING_EQUAL(rig.identity, "dev");
    wolfSSL_SESSION_free(next);
    wolfSSL_SESSION_free(session);
    rig_close(&rig);
}

static const struct unit_test tests[] = {
    {"tickets bring back session and identity", tickets_bring_back_session_and_identity},
    {"nobody opens a ticket without a proof", nobody_opens_a_ticket_without_a_proof},
    {"tickets last for their lifetime", tickets_last_for_their_lifetime},
    {"changed tickets do not open", changed_tickets_do_not_open},
    {"another process resumes", another_process_resumes},
    {"a long chain of resumptions goes on", a_long_chain_of_resumptions_goes_on},
    {"tickets of removed identities are refused", tickets_of_removed_identities_are_refused},
    {"tickets of a replaced key are refused", tickets_of_a_replaced_key_are_refused},
    {"tickets do not outlive what a listener asks for", tickets_do_not_outlive_what_a_listener_asks_for},
    {"who resumes is who the ticket says", who_resumes_is_who_the_ticket_says},
    {"what a ticket cannot prove a key still can", what_a_ticket_cannot_prove_a_key_still_can},
    {"tickets that are not ours mean a full handshake", tickets_that_are_not_ours_mean_a_full_handshake},
    {"identities too long for a ticket prove themselves each time",
     identities_too_long_for_a_ticket_prove_themselves_each_time},
    {"tickets without identity give way to a key", tickets_without_identity_give_way_to_a_key},
};

UNIT_MAIN("tickets", tests)
