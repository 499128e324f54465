// Handshakes and records against a wolfSSL client in memory: every suite that is offered, wrong keys, unknown
// identities, lost and repeated datagrams, refused hellos.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "tests/unit/handshake_rig.h"
#include "tests/unit/tls_certificates.h"
#include "tests/unit/unit.h"

#include <string.h>
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/curve25519.h>

static const uint8_t key_right[16] = "0123456789abcde";
static const uint8_t key_wrong[16] = "fedcba987654321";

#define RIGHT                       \
    {                               \
        key_right, sizeof key_right \
    }
#define WRONG                       \
    {                               \
        key_wrong, sizeof key_wrong \
    }

static const struct rig_options dtls_psk = {.dtls = true, .psk = true};
static const struct rig_options tls_all = {
    .psk = true, .certificates = 2, .version_min = CONFIG_TLS_1_2, .version_max = CONFIG_TLS_1_3};
static const struct rig_options tls_psk = {.psk = true, .version_min = CONFIG_TLS_1_2, .version_max = CONFIG_TLS_1_3};
static const struct rig_options dtls_all = {.dtls = true, .psk = true, .certificates = 2};
static const struct rig_options dtls13_psk = {.dtls = true, .psk = true, .version_max = CONFIG_TLS_1_3};
static const struct rig_options dtls13_all = {
    .dtls = true, .psk = true, .certificates = 2, .version_max = CONFIG_TLS_1_3};

static struct tls_client *start(struct rig *rig, const struct rig_options *options,
                                const struct tls_client_options *peer)
{
    CU_ASSERT_EQUAL_FATAL(rig_open(rig, options), SAGATE_OK);
    rig->key = slice_of(key_right, sizeof key_right);
    struct tls_client *client = tls_client_new(peer);
    CU_ASSERT_PTR_NOT_NULL_FATAL(client);
    if (!options->dtls)
        CU_ASSERT_EQUAL_FATAL(rig_accept(rig), SAGATE_OK);
    return client;
}

static void finish(struct rig *rig, struct tls_client *client)
{
    tls_client_free(client);
    rig_close(rig);
}

struct suite {
    const struct rig_options *listener;
    struct tls_client_options peer;
    const char *protocol, *cipher;
    enum framework framework;
};

#define DTLS_PSK(name)                                                                                                \
    {                                                                                                                 \
        &dtls_psk, {.dtls = true, .ciphers = (name), .identity = "dev@sp.example", .key = RIGHT}, "DTLSv1.2", (name), \
            FRAMEWORK_PSK                                                                                             \
    }
#define TLS_PSK(name)                                                                                               \
    {                                                                                                               \
        &tls_all, {.ciphers = (name), .identity = "dev@sp.example", .key = RIGHT}, "TLSv1.2", (name), FRAMEWORK_PSK \
    }
#define TLS_CERTIFICATE(name)                                                                                      \
    {                                                                                                              \
        &tls_all, {.ciphers = (name), .server_name = "one.example", .ca = tls_certificate_one}, "TLSv1.2", (name), \
            FRAMEWORK_NONE                                                                                         \
    }
#define DTLS_CERTIFICATE(name)                                                                                 \
    {                                                                                                          \
        &dtls_all, {.dtls = true, .ciphers = (name), .server_name = "two.example", .ca = tls_certificate_two}, \
            "DTLSv1.2", (name), FRAMEWORK_NONE                                                                 \
    }
#define TLS13_PSK(name)                                                                                            \
    {                                                                                                              \
        &tls_psk,                                                                                                  \
            {.tls13 = true, .ciphers = (name), .identity = "dev@sp.example", .key = RIGHT, .psk_suite13 = (name)}, \
            "TLSv1.3", (name), FRAMEWORK_PSK                                                                       \
    }
#define TLS13_CERTIFICATE(name)                                                                                \
    {                                                                                                          \
        &tls_all, {.tls13 = true, .ciphers = (name), .server_name = "two.example", .ca = tls_certificate_two}, \
            "TLSv1.3", (name), FRAMEWORK_NONE                                                                  \
    }
#define DTLS13_PSK(name, alone)               \
    {                                         \
        &dtls13_psk,                          \
            {.dtls = true,                    \
             .tls13 = true,                   \
             .ciphers = (name),               \
             .psk_alone = (alone),            \
             .identity = "dev@sp.example",    \
             .key = RIGHT,                    \
             .psk_suite13 = (name)},          \
            "DTLSv1.3", (name), FRAMEWORK_PSK \
    }
#define DTLS13_CERTIFICATE(name)                                                                                       \
    {                                                                                                                  \
        &dtls13_all,                                                                                                   \
            {.dtls = true, .tls13 = true, .ciphers = (name), .server_name = "two.example", .ca = tls_certificate_two}, \
            "DTLSv1.3", (name), FRAMEWORK_NONE                                                                         \
    }

static const struct suite suites[] = {
    DTLS_PSK("PSK-AES128-CCM-8"),
    DTLS_PSK("PSK-AES128-GCM-SHA256"),
    DTLS_CERTIFICATE("ECDHE-ECDSA-AES128-CCM-8"),
    DTLS_CERTIFICATE("ECDHE-ECDSA-AES128-GCM-SHA256"),
    TLS_PSK("PSK-AES128-CBC-SHA256"),
    TLS_PSK("PSK-AES128-GCM-SHA256"),
    TLS_PSK("PSK-AES128-CCM"),
    TLS_PSK("PSK-AES128-CCM-8"),
    TLS_PSK("ECDHE-PSK-AES128-CBC-SHA256"),
    TLS_PSK("ECDHE-PSK-AES128-GCM-SHA256"),
    TLS_CERTIFICATE("ECDHE-ECDSA-AES128-SHA256"),
    TLS_CERTIFICATE("ECDHE-ECDSA-AES128-GCM-SHA256"),
    TLS_CERTIFICATE("ECDHE-ECDSA-AES128-CCM"),
    TLS_CERTIFICATE("ECDHE-ECDSA-AES128-CCM-8"),
    TLS13_PSK("TLS13-AES128-GCM-SHA256"),
    TLS13_PSK("TLS13-CHACHA20-POLY1305-SHA256"),
    TLS13_PSK("TLS13-AES128-CCM-SHA256"),
    TLS13_PSK("TLS13-AES128-CCM-8-SHA256"),
    TLS13_CERTIFICATE("TLS13-AES128-GCM-SHA256"),
    TLS13_CERTIFICATE("TLS13-AES256-GCM-SHA384"),
    TLS13_CERTIFICATE("TLS13-CHACHA20-POLY1305-SHA256"),
    TLS13_CERTIFICATE("TLS13-AES128-CCM-SHA256"),
    TLS13_CERTIFICATE("TLS13-AES128-CCM-8-SHA256"),
    DTLS13_PSK("TLS13-AES128-GCM-SHA256", false),
    DTLS13_PSK("TLS13-CHACHA20-POLY1305-SHA256", false),
    DTLS13_PSK("TLS13-AES128-CCM-SHA256", false),
    DTLS13_PSK("TLS13-AES128-CCM-8-SHA256", false),
    DTLS13_PSK("TLS13-AES128-GCM-SHA256", true),
    DTLS13_PSK("TLS13-AES128-CCM-8-SHA256", true),
    DTLS13_CERTIFICATE("TLS13-AES128-GCM-SHA256"),
    DTLS13_CERTIFICATE("TLS13-AES256-GCM-SHA384"),
    DTLS13_CERTIFICATE("TLS13-CHACHA20-POLY1305-SHA256"),
    DTLS13_CERTIFICATE("TLS13-AES128-CCM-SHA256"),
    DTLS13_CERTIFICATE("TLS13-AES128-CCM-8-SHA256"),
};

static void try_suite(const struct suite *suite, bool single_messages, size_t step)
{
    struct rig rig;
    struct tls_client_options peer = suite->peer;
    peer.single_messages = single_messages;
    struct tls_client *client = start(&rig, suite->listener, &peer);
    rig.step = suite->listener->dtls ? 0 : step;
    rig_run(&rig, client);
    if (rig.server != SAGATE_DONE || rig.client != SAGATE_DONE)
        printf("\n%s: server %d client %d\n", suite->cipher, rig.server, rig.client);
    CU_ASSERT_EQUAL_FATAL(rig.server, SAGATE_DONE);
    CU_ASSERT_EQUAL_FATAL(rig.client, SAGATE_DONE);
    CU_ASSERT_EQUAL(rig.framework, suite->framework);
    CU_ASSERT_EQUAL(rig.parked, suite->framework == FRAMEWORK_PSK ? 1 : 0);
    if (suite->framework == FRAMEWORK_PSK)
        CU_ASSERT_STRING_EQUAL(rig.identity, "dev@sp.example");
    CU_ASSERT_STRING_EQUAL(record_protocol(rig.record), suite->protocol);
    CU_ASSERT_STRING_EQUAL(record_cipher(rig.record), suite->cipher);
    CU_ASSERT_TRUE(rig_echo(&rig, client, 1));
    CU_ASSERT_TRUE(rig_echo(&rig, client, 1000));
    if (!suite->listener->dtls)
        CU_ASSERT_TRUE(rig_echo(&rig, client, 50000));
    tls_client_close(client);
    rig_client_to_server(&rig, client);
    uint8_t out[64];
    int status = SAGATE_OK;
    CU_ASSERT_EQUAL(record_open(rig.record, out, sizeof out, &status), 0);
    CU_ASSERT_EQUAL(status, SAGATE_DONE);
    record_close(rig.record);
    rig_server_to_client(&rig, client);
    CU_ASSERT_EQUAL(tls_client_read(client, out, sizeof out), SAGATE_EGONE);
    finish(&rig, client);
}

static void every_suite_works(void)
{
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++)
        try_suite(&suites[i], false, 0);
}

static void messages_may_be_split_anywhere(void)
{
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++) {
        try_suite(&suites[i], true, 1);
        try_suite(&suites[i], false, 7);
    }
}

static const struct tls_client_options psk_peers[] = {
    {.dtls = true, .ciphers = "PSK-AES128-CCM-8", .identity = "dev@sp.example", .key = RIGHT},
    {.dtls = true, .ciphers = "PSK-AES128-GCM-SHA256", .identity = "dev@sp.example", .key = RIGHT},
    {.ciphers = "PSK-AES128-CBC-SHA256", .identity = "dev@sp.example", .key = RIGHT},
    {.ciphers = "PSK-AES128-GCM-SHA256", .identity = "dev@sp.example", .key = RIGHT},
    {.ciphers = "ECDHE-PSK-AES128-CBC-SHA256", .identity = "dev@sp.example", .key = RIGHT},
    {.tls13 = true, .ciphers = "TLS13-AES128-GCM-SHA256", .identity = "dev@sp.example", .key = RIGHT},
    {.dtls = true, .tls13 = true, .ciphers = "TLS13-AES128-GCM-SHA256", .identity = "dev@sp.example", .key = RIGHT},
    {.dtls = true,
     .tls13 = true,
     .psk_alone = true,
     .ciphers = "TLS13-AES128-GCM-SHA256",
     .identity = "dev@sp.example",
     .key = RIGHT},
};
enum { PEER_TLS13 = 5, PEER_DTLS13, PEER_DTLS13_ALONE };

static const struct rig_options *listener_of(const struct tls_client_options *peer)
{
    if (!peer->dtls)
        return &tls_psk;
    return peer->tls13 ? &dtls13_psk : &dtls_psk;
}

// What a peer sees and what is counted, when the server's answer to the park is `key`.
struct outcome {
    int server, client, alert;
    enum handshake_cause cause;
    size_t sent;
};

static struct outcome try_key(const struct tls_client_options *peer, struct slice key)
{
    struct rig rig;
    struct tls_client *client = start(&rig, listener_of(peer), peer);
    rig.key = key;
    rig_run(&rig, client);
    struct outcome outcome = {.server = rig.server,
                              .client = rig.client,
                              .alert = tls_client_alert(client),
                              .cause = rig.cause,
                              .sent = rig.sent_count};
    CU_ASSERT_PTR_NULL(rig.record);
    finish(&rig, client);
    return outcome;
}

static void wrong_key_and_unknown_identity_look_the_same(void)
{
    for (size_t i = 0; i < sizeof psk_peers / sizeof *psk_peers; i++) {
        struct outcome wrong = try_key(&psk_peers[i], slice_of(key_wrong, sizeof key_wrong));
        struct outcome unknown = try_key(&psk_peers[i], slice_of("", 0));
        CU_ASSERT_EQUAL(wrong.server, SAGATE_EHANDSHAKE);
        CU_ASSERT_EQUAL(wrong.client, SAGATE_EHANDSHAKE);
        CU_ASSERT_EQUAL(wrong.cause, HANDSHAKE_CAUSE_CREDENTIAL);
        CU_ASSERT_TRUE(wrong.alert > 0);
        CU_ASSERT_EQUAL(unknown.server, wrong.server);
        CU_ASSERT_EQUAL(unknown.client, wrong.client);
        CU_ASSERT_EQUAL(unknown.cause, wrong.cause);
        CU_ASSERT_EQUAL(unknown.alert, wrong.alert);
        CU_ASSERT_EQUAL(unknown.sent, wrong.sent);
    }
}

static void long_identities_are_taken(void)
{
    static const size_t lengths[] = {286, 440}; // the client takes no more with ECDHE-PSK
    for (size_t i = 0; i < sizeof psk_peers / sizeof *psk_peers; i++) {
        for (size_t k = 0; k < 2; k++) {
            char identity[513];
            struct rig rig;
            memset(identity, 'a', sizeof identity);
            identity[lengths[k]] = '\0';
            struct tls_client_options peer = psk_peers[i];
            peer.identity = identity;
            struct tls_client *client = start(&rig, listener_of(&peer), &peer);
            rig_run(&rig, client);
            CU_ASSERT_EQUAL(rig.server, SAGATE_DONE);
            CU_ASSERT_EQUAL(rig.client, SAGATE_DONE);
            CU_ASSERT_STRING_EQUAL(rig.identity, identity);
            finish(&rig, client);
        }
    }
}

static void unknown_identity_may_become_a_certificate_handshake(void)
{
    struct rig rig;
    struct tls_client_options peer = psk_peers[PEER_TLS13];
    struct tls_client *client = start(&rig, &tls_all, &peer);
    rig.key = slice_of("", 0);
    rig_run(&rig, client);
    CU_ASSERT_EQUAL(rig.server, SAGATE_DONE);
    CU_ASSERT_EQUAL(rig.parked, 1);
    CU_ASSERT_EQUAL(rig.framework, FRAMEWORK_NONE);
    finish(&rig, client);
}

static void parked_input_is_kept(void)
{
    for (size_t i = 0; i < sizeof psk_peers / sizeof *psk_peers; i++) {
        struct rig rig;
        struct tls_client *client = start(&rig, listener_of(&psk_peers[i]), &psk_peers[i]);
        rig.key = (struct slice){0};
        rig_run(&rig, client);
        CU_ASSERT_EQUAL_FATAL(rig.server, SAGATE_PARKED);
        CU_ASSERT_EQUAL(handshake_timer_ms(rig.handshake), 0);
        size_t sent = rig.sent_count;
        if (psk_peers[i].dtls) {
            for (int k = 0; k < 5; k++) {
                tls_client_timeout(client);
                rig_client_to_server(&rig, client);
            }
            CU_ASSERT_EQUAL(rig.server, SAGATE_PARKED);
        }
        CU_ASSERT_EQUAL(rig.sent_count, sent);
        rig.key = slice_of(key_right, sizeof key_right);
        rig_give(&rig, NULL, 0);
        rig_run(&rig, client);
        CU_ASSERT_EQUAL(rig.server, SAGATE_DONE);
        CU_ASSERT_EQUAL(rig.client, SAGATE_DONE);
        CU_ASSERT_TRUE(rig_echo(&rig, client, 10));
        finish(&rig, client);
    }
}

static void parked_stream_is_bounded(void)
{
    static uint8_t flood[8192];
    struct rig rig;
    struct tls_client *client = start(&rig, &tls_psk, &psk_peers[3]);
    rig.key = (struct slice){0};
    rig_run(&rig, client);
    CU_ASSERT_EQUAL_FATAL(rig.server, SAGATE_PARKED);
    for (int i = 0; i < 9 && rig.server == SAGATE_PARKED; i++)
        rig_give(&rig, flood, sizeof flood);
    CU_ASSERT_EQUAL(rig.server, SAGATE_EHANDSHAKE);
    finish(&rig, client);
}

static void client_that_gives_up_is_told_apart(void)
{
    static const uint8_t alert[] = {21, 3, 3, 0, 2, 2, 90};
    struct rig rig;
    struct tls_client *client = start(&rig, &tls_psk, &psk_peers[3]);
    rig.client = tls_client_run(client);
    rig_client_to_server(&rig, client);
    CU_ASSERT_EQUAL(rig.server, SAGATE_AGAIN);
    rig_give(&rig, alert, sizeof alert);
    CU_ASSERT_EQUAL(rig.server, SAGATE_EHANDSHAKE);
    CU_ASSERT_EQUAL(rig.cause, HANDSHAKE_CAUSE_PEER);
    finish(&rig, client);
}

static void garbage_is_refused(void)
{
    static const char *const first[] = {"GET / HTTP/1.1\r\n\r\n",       "\x16\x03\x01\x00\x00",
                                        "\x15\x03\x01\x00\x02\x01\x00", "\x17\x03\x03\x00\x01x",
                                        "\x16\x03\x01\x40\x01\x01",     "\x80\x2e\x01\x03\x01"};
    static const size_t lengths[] = {18, 5, 7, 6, 6, 5};
    for (size_t i = 0; i < 6; i++) {
        struct rig rig;
        CU_ASSERT_EQUAL_FATAL(rig_open(&rig, &tls_all), SAGATE_OK);
        CU_ASSERT_EQUAL_FATAL(rig_accept(&rig), SAGATE_OK);
        rig_give(&rig, (const uint8_t *)first[i], lengths[i]);
        CU_ASSERT_EQUAL(rig.server, SAGATE_EHANDSHAKE);
        CU_ASSERT_EQUAL(rig.cause, HANDSHAKE_CAUSE_PROTOCOL);
        CU_ASSERT_EQUAL(rig.sent_count, 1); // an alert
        rig_close(&rig);
    }
}

static void suites_without_credential_are_not_offered(void)
{
    static const struct rig_options certificate_only = {
        .certificates = 1, .version_min = CONFIG_TLS_1_2, .version_max = CONFIG_TLS_1_3};
    static const struct rig_options old_only = {
        .psk = true, .certificates = 1, .version_min = CONFIG_TLS_1_2, .version_max = CONFIG_TLS_1_2};
    static const struct rig_options new_only = {
        .psk = true, .certificates = 1, .version_min = CONFIG_TLS_1_3, .version_max = CONFIG_TLS_1_3};
    const struct {
        const struct rig_options *listener;
        struct tls_client_options peer;
    } cases[] = {
        {&certificate_only, psk_peers[3]}, {&tls_psk, {.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256"}},
        {&tls_psk, {.tls13 = true}},       {&old_only, {.tls13 = true}},
        {&new_only, psk_peers[3]},         {&new_only, {.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig rig;
        struct tls_client *client = start(&rig, cases[i].listener, &cases[i].peer);
        rig_run(&rig, client);
        CU_ASSERT_EQUAL(rig.server, SAGATE_EHANDSHAKE);
        CU_ASSERT_EQUAL(rig.client, SAGATE_EHANDSHAKE);
        CU_ASSERT_EQUAL(rig.cause, HANDSHAKE_CAUSE_PROTOCOL);
        CU_ASSERT_TRUE(tls_client_alert(client) > 0);
        finish(&rig, client);
    }
}

static void server_name_chooses_the_certificate(void)
{
    static const struct rig_options strict = {
        .certificates = 2, .unknown_name_refused = true, .version_min = CONFIG_TLS_1_2, .version_max = CONFIG_TLS_1_3};
    static const struct rig_options strict_dtls = {.dtls = true, .certificates = 2, .unknown_name_refused = true};
    const struct {
        const struct rig_options *listener;
        struct tls_client_options peer;
        int client;
    } cases[] = {
        {&strict, {.tls13 = true, .server_name = "TWO.example", .ca = tls_certificate_two}, SAGATE_DONE},
        {&strict, {.tls13 = true, .ca = tls_certificate_one}, SAGATE_DONE},
        {&strict, {.tls13 = true, .server_name = "three.example"}, SAGATE_EHANDSHAKE},
        {&tls_all, {.tls13 = true, .server_name = "three.example"}, SAGATE_DONE},
        {&tls_all, {.tls13 = true, .server_name = "two.example", .ca = tls_certificate_one}, SAGATE_EHANDSHAKE},
        {&strict_dtls, {.dtls = true, .server_name = "two.example", .ca = tls_certificate_two}, SAGATE_DONE},
        {&strict_dtls, {.dtls = true, .server_name = "three.example"}, SAGATE_EHANDSHAKE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig rig;
        struct tls_client *client = start(&rig, cases[i].listener, &cases[i].peer);
        rig_run(&rig, client);
        CU_ASSERT_EQUAL(rig.client, cases[i].client);
        if (cases[i].client != SAGATE_DONE && cases[i].peer.ca == NULL)
            CU_ASSERT_EQUAL(tls_client_alert(client), 112); // unrecognized_name
        finish(&rig, client);
    }
}

static void cookie_is_bound_to_the_address(void)
{
    struct rig rig;
    struct slice hello;
    struct tls_client *client = start(&rig, &dtls_psk, &psk_peers[0]);
    for (int i = 0; i < 100; i++) { // any number of first hellos is answered, and starts nothing
        struct tls_client *stranger = tls_client_new(&psk_peers[0]);
        CU_ASSERT_PTR_NOT_NULL_FATAL(stranger);
        (void)tls_client_run(stranger);
        CU_ASSERT_TRUE_FATAL(tls_client_output(stranger, &hello));
        rig_give(&rig, hello.data, hello.len);
        CU_ASSERT_EQUAL(rig.first, HANDSHAKE_COOKIE_SENT);
        CU_ASSERT_EQUAL(rig_drop_sent(&rig), 1);
        tls_client_free(stranger);
    }
    (void)tls_client_run(client);
    rig_client_to_server(&rig, client);
    rig_server_to_client(&rig, client);
    (void)tls_client_run(client);
    CU_ASSERT_TRUE_FATAL(tls_client_output(client, &hello));
    (void)address_parse("192.0.2.8", 40000, &rig.peer);
    rig_give(&rig, hello.data, hello.len);
    CU_ASSERT_EQUAL(rig.first, HANDSHAKE_COOKIE_SENT);
    CU_ASSERT_PTR_NULL(rig.handshake);
    (void)address_parse("192.0.2.7", 40000, &rig.peer);
    rig_give(&rig, hello.data, hello.len);
    CU_ASSERT_EQUAL(rig.first, HANDSHAKE_STARTED);
    CU_ASSERT_PTR_NOT_NULL(rig.handshake);
    finish(&rig, client);
}

static void cookie_of_another_instance_is_good_with_the_same_secret(void)
{
    static const uint8_t secret[HANDSHAKE_COOKIE_SECRET] = {1, 2, 3};
    struct rig first;
    struct rig second;
    struct slice hello;
    struct tls_client *client = start(&first, &dtls_psk, &psk_peers[0]);
    CU_ASSERT_EQUAL_FATAL(rig_open(&second, &dtls_psk), SAGATE_OK);
    handshake_cookie_secret(first.contexts, secret);
    (void)tls_client_run(client);
    rig_client_to_server(&first, client);
    rig_server_to_client(&first, client);
    (void)tls_client_run(client);
    CU_ASSERT_TRUE_FATAL(tls_client_output(client, &hello));
    rig_give(&second, hello.data, hello.len);
    CU_ASSERT_EQUAL(second.first, HANDSHAKE_COOKIE_SENT);
    handshake_cookie_secret(second.contexts, secret);
    rig_give(&second, hello.data, hello.len);
    CU_ASSERT_EQUAL(second.first, HANDSHAKE_STARTED);
    rig_close(&second);
    finish(&first, client);
}

// Any change of a good datagram is judged without harm, and the listening object still serves the next peer.
static void spoiled_hellos_do_no_harm(void)
{
    struct rig rig;
    struct slice hello;
    uint8_t copy[600];
    struct tls_client *client = start(&rig, &dtls_psk, &psk_peers[0]);
    (void)tls_client_run(client);
    CU_ASSERT_TRUE_FATAL(tls_client_output(client, &hello) && hello.len <= sizeof copy);
    size_t len = hello.len;
    memcpy(copy, hello.data, len);
    for (size_t i = 0; i < len; i++)
        rig_give(&rig, copy, i);
    CU_ASSERT_EQUAL(rig.sent_count, 0);
    for (size_t i = 0; i < len; i++) {
        copy[i] ^= 0x55;
        rig_give(&rig, copy, len);
        copy[i] ^= 0x55;
        CU_ASSERT_PTR_NULL(rig.handshake);
    }
    (void)rig_drop_sent(&rig);
    rig_give(&rig, copy, len);
    CU_ASSERT_EQUAL(rig.first, HANDSHAKE_COOKIE_SENT);
    rig_server_to_client(&rig, client);
    rig_run(&rig, client);
    CU_ASSERT_EQUAL(rig.server, SAGATE_DONE);
    CU_ASSERT_EQUAL(rig.client, SAGATE_DONE);
    finish(&rig, client);
}

static void other_datagrams_are_no_hello(void)
{
    static const uint8_t old_version[] = {22, 254, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12,
                                          1,  0,   0,   0, 0, 0, 0, 0, 0, 0, 0, 0};
    static const uint8_t encrypted[] = {22, 254, 253, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3};
    static const uint8_t data[] = {23, 254, 253, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3};
    static const uint8_t coap[] = {0x40, 0, 0, 1};
    const struct slice cases[] = {slice_of(old_version, sizeof old_version), slice_of(encrypted, sizeof encrypted),
                                  slice_of(data, sizeof data), slice_of(coap, sizeof coap), slice_of("", 0)};
    struct rig rig;
    CU_ASSERT_EQUAL_FATAL(rig_open(&rig, &dtls_psk), SAGATE_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rig_give(&rig, cases[i].data, cases[i].len);
        CU_ASSERT_EQUAL(rig.first, HANDSHAKE_NOT_A_HELLO);
    }
    CU_ASSERT_EQUAL(rig.sent_count, 0);
    rig_close(&rig);
}

// Loses the datagrams of one round after another, with the timers as the way out.
static void lost_flights_are_sent_again(void)
{
    for (unsigned lost = 0; lost < 8; lost++) {
        for (int single = 0; single <= 1; single++) {
            struct rig rig;
            struct slice chunk;
            struct tls_client_options peer = psk_peers[0];
            peer.single_messages = single == 1;
            struct tls_client *client = start(&rig, &dtls_psk, &peer);
            for (unsigned round = 0; round < 12; round++) {
                rig.client = tls_client_run(client);
                if (round == lost / 2 && lost % 2 == 0) {
                    while (tls_client_output(client, &chunk))
                        continue;
                }
                rig_client_to_server(&rig, client);
                if (round == lost / 2 && lost % 2 == 1)
                    (void)rig_drop_sent(&rig);
                rig_server_to_client(&rig, client);
                if (rig.client == SAGATE_AGAIN && round >= lost / 2)
                    tls_client_timeout(client);
                if (rig.handshake != NULL && round > lost / 2 && handshake_timer_ms(rig.handshake) > 0)
                    (void)handshake_timeout(rig.handshake);
                // The last flight is repeated when the record sees the peer's again.
                uint8_t out[64];
                int status;
                if (rig.record != NULL)
                    CU_ASSERT_EQUAL(record_open(rig.record, out, sizeof out, &status), 0);
                rig_server_to_client(&rig, client);
            }
            CU_ASSERT_EQUAL(rig.server, SAGATE_DONE);
            CU_ASSERT_EQUAL(rig.client, SAGATE_DONE);
            CU_ASSERT_TRUE(rig.record != NULL && rig_echo(&rig, client, 20));
            finish(&rig, client);
        }
    }
}

static void disorder_and_doubles_are_taken(void)
{
    struct rig rig;
    struct slice chunk;
    uint8_t kept[16][2048];
    size_t lengths[16];
    struct tls_client_options peer = psk_peers[0];
    peer.single_messages = true;
    struct tls_client *client = start(&rig, &dtls_psk, &peer);
    for (int round = 0; round < 8; round++) {
        size_t count = 0;
        rig.client = tls_client_run(client);
        while (count < 16 && tls_client_output(client, &chunk)) {
            CU_ASSERT_TRUE_FATAL(chunk.len <= sizeof kept[0]);
            memcpy(kept[count], chunk.data, chunk.len);
            lengths[count++] = chunk.len;
        }
        for (size_t i = count; i-- > 0;) { // last first, each twice
            rig_give(&rig, kept[i], lengths[i]);
            if (rig.handshake != NULL)
                rig_give(&rig, kept[i], lengths[i]);
        }
        rig_server_to_client(&rig, client);
    }
    CU_ASSERT_EQUAL(rig.server, SAGATE_DONE);
    CU_ASSERT_EQUAL(rig.client, SAGATE_DONE);
    finish(&rig, client);
}

static void junk_in_a_dtls_handshake_is_dropped(void)
{
    static const uint8_t junk[][20] = {
        {23, 254, 253, 0, 1, 0, 0, 0, 0, 0, 9, 0, 3, 1, 2, 3},  // data before there are keys
        {22, 254, 253, 0, 7, 0, 0, 0, 0, 0, 9, 0, 3, 1, 2, 3},  // unknown epoch
        {20, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 200, 1},      // longer than the datagram
        {22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 4, 16, 0, 0}, // no whole header
        {0x40, 1, 2, 3},
    };
    struct rig rig;
    struct tls_client *client = start(&rig, &dtls_psk, &psk_peers[0]);
    for (int round = 0; round < 8; round++) {
        rig.client = tls_client_run(client);
        for (size_t i = 0; i < sizeof junk / sizeof *junk && rig.handshake != NULL; i++)
            rig_give(&rig, junk[i], sizeof junk[i]);
        rig_client_to_server(&rig, client);
        rig_server_to_client(&rig, client);
    }
    CU_ASSERT_EQUAL(rig.server, SAGATE_DONE);
    CU_ASSERT_EQUAL(rig.client, SAGATE_DONE);
    finish(&rig, client);
}

static void restarted_peer_is_noticed(void)
{
    struct rig rig;
    struct slice hello;
    struct tls_client *client = start(&rig, &dtls_psk, &psk_peers[0]);
    struct tls_client *again = tls_client_new(&psk_peers[0]);
    CU_ASSERT_PTR_NOT_NULL_FATAL(again);
    (void)tls_client_run(client);
    rig_client_to_server(&rig, client);
    rig_server_to_client(&rig, client);
    (void)tls_client_run(client);
    CU_ASSERT_TRUE_FATAL(tls_client_output(client, &hello));
    rig_give(&rig, hello.data, hello.len);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig.handshake);
    CU_ASSERT_TRUE(handshake_owns(rig.handshake, hello.data, hello.len));
    (void)tls_client_run(again);
    CU_ASSERT_TRUE_FATAL(tls_client_output(again, &hello));
    CU_ASSERT_FALSE(handshake_owns(rig.handshake, hello.data, hello.len));
    size_t sent = rig.sent_count;
    CU_ASSERT_EQUAL(handshake_run(rig.handshake, hello.data, hello.len), SAGATE_AGAIN);
    CU_ASSERT_EQUAL(rig.sent_count, sent);
    tls_client_free(again);
    rig_server_to_client(&rig, client);
    rig_run(&rig, client);
    CU_ASSERT_EQUAL(rig.client, SAGATE_DONE);
    finish(&rig, client);
}

static void contexts_may_go_before_their_handshakes(void)
{
    for (int when = 0; when < 2; when++) {
        struct rig rig;
        struct tls_client *client = start(&rig, &tls_psk, &psk_peers[3]);
        if (when == 1) {
            (void)tls_client_run(client);
            rig_client_to_server(&rig, client);
        }
        handshake_contexts_free(rig.contexts);
        rig.contexts = NULL;
        rig_run(&rig, client);
        CU_ASSERT_EQUAL(rig.server, SAGATE_DONE);
        CU_ASSERT_EQUAL(rig.client, SAGATE_DONE);
        CU_ASSERT_TRUE(rig_echo(&rig, client, 10));
        finish(&rig, client);
    }
}

static void bad_credentials_are_a_configuration_error(void)
{
    char error[256];
    struct handshake_contexts *contexts = NULL;
    static char name[] = "edge";
    static char file[] = "edge.pem";
    size_t index = 0;
    struct config_certificate certificate = {.chain_file = file, .key_file = file};
    struct config_listener listener = {
        .name = name, .transport = CONFIG_TLS, .version_max = CONFIG_TLS_1_3, .certificates = &index};
    struct config config = {
        .certificate_count = 1, .certificates = &certificate, .listener_count = 1, .listeners = &listener};
    static struct handshake_files files;
    CU_ASSERT_EQUAL(handshake_contexts_new(&config, &files, &contexts, error, sizeof error), SAGATE_ECONFIG);
    listener.certificate_count = 1;
    files.chain[0] = slice_text("no certificate");
    files.key[0] = slice_text(tls_key_one);
    CU_ASSERT_EQUAL(handshake_contexts_new(&config, &files, &contexts, error, sizeof error), SAGATE_ECONFIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(error, "edge.pem"));
    files.chain[0] = slice_text(tls_certificate_one);
    files.key[0] = slice_text(tls_key_two);
    CU_ASSERT_EQUAL(handshake_contexts_new(&config, &files, &contexts, error, sizeof error), SAGATE_ECONFIG);
    CU_ASSERT_PTR_NULL(contexts);
}

// What other code leaves in the vector registers does not matter to the library.
static void x25519_does_not_depend_on_registers(void)
{
    // Its lowest four bits are zero, for which no entry of a table of multiples is taken.
    static const uint8_t private[CURVE25519_KEYSIZE] = {[0] = 16, [31] = 0x40};
    static const uint8_t expected[CURVE25519_KEYSIZE] = {
        0x8d, 0x20, 0xf8, 0xc7, 0xbb, 0xfb, 0x9a, 0xf3, 0xda, 0x4e, 0xf5, 0x32, 0xed, 0x44, 0xef, 0xc6,
        0x8c, 0xe6, 0x42, 0xbc, 0x5d, 0x0c, 0x5c, 0xb1, 0xd7, 0xb9, 0x1b, 0x96, 0xc7, 0x4e, 0xdf, 0x02};
    uint8_t public[CURVE25519_KEYSIZE];
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2"))
        __asm__ volatile("vpcmpeqd %%ymm9, %%ymm9, %%ymm9" ::: "xmm9");
#endif
    CU_ASSERT_EQUAL(wc_curve25519_make_pub(sizeof public, public, sizeof private, private), 0);
    CU_ASSERT_EQUAL(memcmp(public, expected, sizeof public), 0);
}

static const struct unit_test tests[] = {
    {"every suite works", every_suite_works},
    {"messages may be split anywhere", messages_may_be_split_anywhere},
    {"wrong key and unknown identity look the same", wrong_key_and_unknown_identity_look_the_same},
    {"long identities are taken", long_identities_are_taken},
    {"unknown identity may become a certificate handshake", unknown_identity_may_become_a_certificate_handshake},
    {"parked input is kept", parked_input_is_kept},
    {"parked stream is bounded", parked_stream_is_bounded},
    {"client that gives up is told apart", client_that_gives_up_is_told_apart},
    {"garbage is refused", garbage_is_refused},
    {"suites without credential are not offered", suites_without_credential_are_not_offered},
    {"server name chooses the certificate", server_name_chooses_the_certificate},
    {"cookie is bound to the address", cookie_is_bound_to_the_address},
    {"cookie of another instance is good with the same secret",
     cookie_of_another_instance_is_good_with_the_same_secret},
    {"spoiled hellos do no harm", spoiled_hellos_do_no_harm},
    {"other datagrams are no hello", other_datagrams_are_no_hello},
    {"lost flights are sent again", lost_flights_are_sent_again},
    {"disorder and doubles are taken", disorder_and_doubles_are_taken},
    {"junk in a DTLS handshake is dropped", junk_in_a_dtls_handshake_is_dropped},
    {"restarted peer is noticed", restarted_peer_is_noticed},
    {"contexts may go before their handshakes", contexts_may_go_before_their_handshakes},
    {"bad credentials are a configuration error", bad_credentials_are_a_configuration_error},
    {"X25519 does not depend on registers", x25519_does_not_depend_on_registers},
};

UNIT_MAIN("handshake", tests)
