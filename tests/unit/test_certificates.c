// Certificates of devices: who is let in with TLS 1.2, TLS 1.3, DTLS 1.2 and DTLS 1.3, and whom a certificate names.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/handshake/certificate.h"
#include "dataplane/handshake/session.h"
#include "tests/unit/handshake_rig.h"
#include "tests/unit/tls_certificates.h"
#include "tests/unit/tls_device_certificates.h"
#include "tests/unit/unit.h"

#include <wolfssl/wolfcrypt/asn_public.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ALERT_BAD_CERTIFICATE = 42,
    ALERT_CERTIFICATE_EXPIRED = 45,
    ALERT_UNKNOWN_CA = 48,
    ALERT_CERTIFICATE_REQUIRED = 116,
};

static const uint8_t key_bytes[16] = "0123456789abcde";

struct protocol {
    bool dtls, tls13;
    const char *name;
};

static const struct protocol protocols[] = {
    {false, false, "TLSv1.2"}, {false, true, "TLSv1.3"}, {true, false, "DTLSv1.2"}, {true, true, "DTLSv1.3"}};
enum { PROTOCOLS = sizeof protocols / sizeof *protocols };

// What the listener asks for, and what the client has.
struct meeting {
    enum config_client_certificates wanted;
    const char *certificate; // NULL: none
    const char *key;         // NULL: the right one
    const char *identity;    // NULL: no PSK
    bool any_suite;          // with an identity: offers suites with certificates as well
    bool unknown;            // the identity
};

static struct rig_options listener_for(const struct protocol *protocol, enum config_client_certificates wanted)
{
    return (struct rig_options){.dtls = protocol->dtls,
                                .psk = true,
                                .certificates = 1,
                                .version_min = CONFIG_TLS_1_2,
                                .version_max = CONFIG_TLS_1_3,
                                .client_certificates = wanted,
                                .anchors = wanted == CONFIG_CLIENT_CERTIFICATES_NONE ? NULL : tls_device_ca};
}

static const char *ciphers_for(const struct protocol *protocol, const struct meeting *meeting)
{
    if (protocol->tls13)
        return "TLS13-AES128-GCM-SHA256";
    if (meeting->identity == NULL)
        return protocol->dtls ? "ECDHE-ECDSA-AES128-CCM-8" : "ECDHE-ECDSA-AES128-GCM-SHA256";
    return meeting->any_suite ? "ECDHE-ECDSA-AES128-GCM-SHA256:PSK-AES128-GCM-SHA256" : "PSK-AES128-GCM-SHA256";
}

static struct tls_client *meet(struct rig *rig, const struct protocol *protocol, const struct meeting *meeting)
{
    const struct rig_options options = listener_for(protocol, meeting->wanted);
    const struct tls_client_options peer = {.dtls = protocol->dtls,
                                            .tls13 = protocol->tls13,
                                            .ciphers = ciphers_for(protocol, meeting),
                                            .identity = meeting->identity,
                                            .key = slice_of(key_bytes, sizeof key_bytes),
                                            .certificate = meeting->certificate,
                                            .certificate_key = meeting->key != NULL ? meeting->key : tls_device_key};
    CU_ASSERT_EQUAL_FATAL(rig_open(rig, &options), SAGATE_OK);
    rig->key = slice_of(key_bytes, meeting->unknown ? 0 : sizeof key_bytes);
    struct tls_client *client = tls_client_new(&peer);
    CU_ASSERT_PTR_NOT_NULL_FATAL(client);
    if (!protocol->dtls)
        CU_ASSERT_EQUAL_FATAL(rig_accept(rig), SAGATE_OK);
    rig_run(rig, client);
    return client;
}

static void part(struct rig *rig, struct tls_client *client)
{
    tls_client_free(client);
    rig_close(rig);
}

// The meeting ends with an association of this framework, whose records go both ways.
static void agrees(const struct meeting *meeting, enum framework framework)
{
    for (size_t i = 0; i < PROTOCOLS; i++) {
        struct rig rig;
        struct tls_client *client = meet(&rig, &protocols[i], meeting);
        bool done = rig.server == SAGATE_DONE && rig.client == SAGATE_DONE && rig.record != NULL;
        if (!done)
            printf("\n  %s: server %d, client %d, alert %d", protocols[i].name, rig.server, rig.client,
                   tls_client_alert(client));
        CU_ASSERT_TRUE(done);
        CU_ASSERT_EQUAL(rig.framework, framework);
        CU_ASSERT_EQUAL(rig.certificate_len > 0, framework == FRAMEWORK_CERTIFICATE);
        CU_ASSERT_TRUE(done && rig_echo(&rig, client, 400));
        CU_ASSERT_TRUE(done && strcmp(record_protocol(rig.record), protocols[i].name) == 0);
        // Folded like every other association, so that it costs no more.
        CU_ASSERT_TRUE(done && record_folded(rig.record));
        part(&rig, client);
    }
}

// The meeting ends with the alert, whatever the protocol; `alert13` in (D)TLS 1.3.
static void refuses(const struct meeting *meeting, int alert, int alert13)
{
    for (size_t i = 0; i < PROTOCOLS; i++) {
        struct rig rig;
        struct tls_client *client = meet(&rig, &protocols[i], meeting);
        if (rig.server == SAGATE_DONE)
            CU_ASSERT_EQUAL(tls_client_read(client, (char[1]){0}, 1), SAGATE_EGONE);
        int got = tls_client_alert(client);
        if (got == -1) // (D)TLS 1.3: the client was done before its certificate was looked at
            CU_ASSERT_TRUE(tls_client_read(client, (char[1]){0}, 1) <= 0);
        got = tls_client_alert(client);
        if (got != (protocols[i].tls13 ? alert13 : alert))
            printf("\n  %s: alert %d, server %d", protocols[i].name, got, rig.server);
        CU_ASSERT_EQUAL(got, protocols[i].tls13 ? alert13 : alert);
        CU_ASSERT_EQUAL(rig.server, SAGATE_EHANDSHAKE);
        CU_ASSERT_EQUAL(rig.cause, HANDSHAKE_CAUSE_CERTIFICATE);
        CU_ASSERT_PTR_NULL(rig.record);
        part(&rig, client);
    }
}

static void a_certificate_of_the_anchor_is_taken(void)
{
    const struct meeting required = {.wanted = CONFIG_CLIENT_CERTIFICATES_REQUIRED, .certificate = tls_device_ae};
    const struct meeting optional = {.wanted = CONFIG_CLIENT_CERTIFICATES_OPTIONAL, .certificate = tls_device_ae};
    agrees(&required, FRAMEWORK_CERTIFICATE);
    agrees(&optional, FRAMEWORK_CERTIFICATE);
}

static void what_is_for_clients_alone_is_taken(void)
{
    const struct meeting meeting = {.wanted = CONFIG_CLIENT_CERTIFICATES_REQUIRED, .certificate = tls_device_cse};
    agrees(&meeting, FRAMEWORK_CERTIFICATE);
}

static void none_is_asked_for_unless_the_listener_says_so(void)
{
    const struct meeting meeting = {.wanted = CONFIG_CLIENT_CERTIFICATES_NONE, .certificate = tls_device_ae};
    agrees(&meeting, FRAMEWORK_NONE);
}

static void without_a_certificate(void)
{
    const struct meeting optional = {.wanted = CONFIG_CLIENT_CERTIFICATES_OPTIONAL};
    const struct meeting required = {.wanted = CONFIG_CLIENT_CERTIFICATES_REQUIRED};
    agrees(&optional, FRAMEWORK_NONE);
    refuses(&required, ALERT_HANDSHAKE_FAILURE, ALERT_CERTIFICATE_REQUIRED);
}

static void expired_and_foreign_ones_are_refused(void)
{
    static const enum config_client_certificates modes[] = {CONFIG_CLIENT_CERTIFICATES_OPTIONAL,
                                                            CONFIG_CLIENT_CERTIFICATES_REQUIRED};
    for (size_t i = 0; i < 2; i++) {
        const struct meeting expired = {.wanted = modes[i], .certificate = tls_device_ae_expired};
        const struct meeting foreign = {.wanted = modes[i], .certificate = tls_device_ae_foreign};
        const struct meeting server = {.wanted = modes[i], .certificate = tls_device_ae_server};
        refuses(&expired, ALERT_CERTIFICATE_EXPIRED, ALERT_CERTIFICATE_EXPIRED);
        refuses(&foreign, ALERT_UNKNOWN_CA, ALERT_UNKNOWN_CA);
        refuses(&server, ALERT_BAD_CERTIFICATE, ALERT_BAD_CERTIFICATE);
    }
}

// Certificates are no secrets: what counts is the key.
static void a_certificate_of_somebody_else_is_refused(void)
{
    static const enum config_client_certificates modes[] = {CONFIG_CLIENT_CERTIFICATES_OPTIONAL,
                                                            CONFIG_CLIENT_CERTIFICATES_REQUIRED};
    for (size_t i = 0; i < 2 * PROTOCOLS; i++) {
        const struct meeting stolen = {
            .wanted = modes[i / PROTOCOLS], .certificate = tls_device_ae, .key = tls_key_one};
        struct rig rig;
        struct tls_client *client = meet(&rig, &protocols[i % PROTOCOLS], &stolen);
        CU_ASSERT_EQUAL(rig.server, SAGATE_EHANDSHAKE);
        if (rig.cause != HANDSHAKE_CAUSE_CERTIFICATE)
            printf("\n  %s: cause %d, client %d", protocols[i % PROTOCOLS].name, rig.cause, rig.client);
        CU_ASSERT_EQUAL(rig.cause, HANDSHAKE_CAUSE_CERTIFICATE);
        CU_ASSERT_PTR_NULL(rig.record);
        part(&rig, client);
    }
}

// A key proves an identity, so that no certificate is wanted besides (RFC 4279 2, RFC 8446 4.3.2).
static void a_key_serves_instead(void)
{
    struct meeting meeting = {.wanted = CONFIG_CLIENT_CERTIFICATES_REQUIRED, .identity = "dev@sp.example"};
    agrees(&meeting, FRAMEWORK_PSK);
    meeting.certificate = tls_device_ae;
    meeting.any_suite = true;
    agrees(&meeting, FRAMEWORK_PSK);
    meeting.wanted = CONFIG_CLIENT_CERTIFICATES_OPTIONAL;
    agrees(&meeting, FRAMEWORK_PSK);
}

// (D)TLS 1.3: of two proofs that a peer offers, one is enough.
static void a_certificate_serves_for_an_unknown_identity(void)
{
    struct meeting meeting = {.wanted = CONFIG_CLIENT_CERTIFICATES_REQUIRED,
                              .certificate = tls_device_ae,
                              .identity = "dev@sp.example",
                              .unknown = true};
    for (size_t i = 1; i < PROTOCOLS; i += 2) {
        struct rig rig;
        struct tls_client *client = meet(&rig, &protocols[i], &meeting);
        CU_ASSERT_EQUAL(rig.server, SAGATE_DONE);
        CU_ASSERT_EQUAL(rig.framework, FRAMEWORK_CERTIFICATE);
        CU_ASSERT_TRUE(rig_echo(&rig, client, 10));
        part(&rig, client);
    }
    meeting.certificate = NULL;
    for (size_t i = 1; i < PROTOCOLS; i += 2) {
        struct rig rig;
        struct tls_client *client = meet(&rig, &protocols[i], &meeting);
        CU_ASSERT_EQUAL(rig.server, SAGATE_EHANDSHAKE);
        CU_ASSERT_EQUAL(rig.cause, HANDSHAKE_CAUSE_CERTIFICATE);
        part(&rig, client);
    }
}

static const char *chain_of(const char *leaf)
{
    static char chain[8192];
    (void)snprintf(chain, sizeof chain, "%s%s", leaf, tls_device_issuer);
    return chain;
}

static void issuers_below_the_anchor(void)
{
    struct meeting meeting = {.wanted = CONFIG_CLIENT_CERTIFICATES_REQUIRED, .certificate = chain_of(tls_device_below)};
    agrees(&meeting, FRAMEWORK_CERTIFICATE);
    meeting.certificate = tls_device_below; // without the one between
    refuses(&meeting, ALERT_UNKNOWN_CA, ALERT_UNKNOWN_CA);
    meeting.certificate = chain_of(tls_device_beyond); // against its name constraints
    refuses(&meeting, ALERT_BAD_CERTIFICATE, ALERT_BAD_CERTIFICATE);
}

// What one peer brings along is no anchor for the next.
static void issuers_of_others_do_not_count(void)
{
    const struct protocol *protocol = &protocols[0];
    struct rig rig;
    const struct meeting first = {.wanted = CONFIG_CLIENT_CERTIFICATES_REQUIRED,
                                  .certificate = chain_of(tls_device_below)};
    struct tls_client *client = meet(&rig, protocol, &first);
    CU_ASSERT_EQUAL(rig.server, SAGATE_DONE);
    tls_client_free(client);
    record_free(rig.record);
    rig.record = NULL;
    (void)rig_drop_sent(&rig);
    const struct tls_client_options peer = {
        .ciphers = ciphers_for(protocol, &first), .certificate = tls_device_below, .certificate_key = tls_device_key};
    client = tls_client_new(&peer);
    CU_ASSERT_EQUAL_FATAL(rig_accept(&rig), SAGATE_OK);
    rig_run(&rig, client);
    CU_ASSERT_EQUAL(rig.server, SAGATE_EHANDSHAKE);
    part(&rig, client);
}

// ---- tickets ----

// What follows a handshake of DTLS 1.3: the client reads the ticket, and acknowledges it.
static void take_ticket(struct rig *rig, struct tls_client *client)
{
    static uint8_t out[RECORD_PLAINTEXT_MAX];
    uint8_t byte;
    int status;
    rig_server_to_client(rig, client);
    (void)tls_client_read(client, &byte, 1);
    rig_client_to_server(rig, client);
    (void)record_open(rig->record, out, sizeof out, &status);
    rig_server_to_client(rig, client);
}

// One peer and one listener, which gives tickets; `session` is what the peer has of an earlier time, and is replaced by
// what it has now.
static void meet_again(struct rig *rig, const struct protocol *protocol, const struct meeting *meeting,
                       WOLFSSL_SESSION **session)
{
    static const uint8_t secret[HANDSHAKE_TICKET_SECRET] = {7};
    const struct rig_options options = listener_for(protocol, meeting->wanted);
    const struct tls_client_options peer = {.dtls = protocol->dtls,
                                            .tls13 = protocol->tls13,
                                            .ciphers = ciphers_for(protocol, meeting),
                                            .identity = meeting->identity,
                                            .key = slice_of(key_bytes, sizeof key_bytes),
                                            .certificate = meeting->certificate,
                                            .certificate_key = tls_device_key};
    CU_ASSERT_EQUAL_FATAL(rig_open(rig, &options), SAGATE_OK);
    CU_ASSERT_EQUAL_FATAL(handshake_contexts_tickets(rig->contexts, secret, 7200), SAGATE_OK);
    rig->key = slice_of(key_bytes, sizeof key_bytes);
    struct tls_client *client = tls_client_new(&peer);
    CU_ASSERT_PTR_NOT_NULL_FATAL(client);
    (void)wolfSSL_UseSessionTicket(tls_client_object(client));
    if (*session != NULL)
        CU_ASSERT_EQUAL(wolfSSL_set_session(tls_client_object(client), *session), WOLFSSL_SUCCESS);
    if (!protocol->dtls)
        CU_ASSERT_EQUAL_FATAL(rig_accept(rig), SAGATE_OK);
    rig_run(rig, client);
    wolfSSL_SESSION_free(*session);
    *session = NULL;
    if (rig->record != NULL) {
        if (protocol->dtls)
            take_ticket(rig, client);
        CU_ASSERT_TRUE(rig_echo(rig, client, 10));
        *session = wolfSSL_get1_session(tls_client_object(client));
    }
    tls_client_free(client);
}

// A ticket carries no certificate, so it opens nothing where certificates are asked for.
static void tickets_do_not_stand_for_certificates(void)
{
    static const char *const shown[] = {tls_device_ae, NULL};
    for (size_t i = 0; i < 2 * (size_t)PROTOCOLS; i++) {
        const struct meeting meeting = {.wanted = CONFIG_CLIENT_CERTIFICATES_OPTIONAL,
                                        .certificate = shown[i / PROTOCOLS]};
        WOLFSSL_SESSION *session = NULL;
        for (int time = 0; time < 2; time++) {
            struct rig rig;
            meet_again(&rig, &protocols[i % PROTOCOLS], &meeting, &session);
            CU_ASSERT_EQUAL(rig.server, SAGATE_DONE);
            CU_ASSERT_FALSE(rig.resumed);
            CU_ASSERT_EQUAL(rig.framework, meeting.certificate != NULL ? FRAMEWORK_CERTIFICATE : FRAMEWORK_NONE);
            rig_close(&rig);
        }
        wolfSSL_SESSION_free(session);
    }
}

// A ticket does stand for a key, also where else a certificate is demanded.
static void tickets_stand_for_keys(void)
{
    static const enum config_client_certificates wanted[] = {CONFIG_CLIENT_CERTIFICATES_OPTIONAL,
                                                             CONFIG_CLIENT_CERTIFICATES_REQUIRED};
    for (size_t i = 0; i < 4 * (size_t)PROTOCOLS; i++) {
        const struct meeting meeting = {
            .wanted = wanted[i / PROTOCOLS % 2], .identity = "dev", .any_suite = i / PROTOCOLS >= 2};
        WOLFSSL_SESSION *session = NULL;
        for (int time = 0; time < 3; time++) {
            struct rig rig;
            meet_again(&rig, &protocols[i % PROTOCOLS], &meeting, &session);
            CU_ASSERT_EQUAL(rig.server, SAGATE_DONE);
            CU_ASSERT_EQUAL(rig.resumed, time > 0);
            CU_ASSERT_EQUAL(rig.framework, FRAMEWORK_PSK);
            CU_ASSERT_EQUAL(rig.certificate_len, 0);
            rig_close(&rig);
        }
        wolfSSL_SESSION_free(session);
    }
}

// What was good where nobody was asked is not once certificates are: with a certificate, a key, and neither.
static void tickets_end_when_certificates_are_asked_for(void)
{
    static const enum framework frameworks[] = {FRAMEWORK_CERTIFICATE, FRAMEWORK_PSK, FRAMEWORK_NONE};
    for (size_t i = 0; i < 3 * (size_t)PROTOCOLS; i++) {
        const struct protocol *protocol = &protocols[i % PROTOCOLS];
        enum framework framework = frameworks[i / PROTOCOLS];
        struct meeting meeting = {.certificate = framework == FRAMEWORK_CERTIFICATE ? tls_device_ae : NULL,
                                  .identity = framework == FRAMEWORK_PSK ? "dev" : NULL};
        WOLFSSL_SESSION *session = NULL;
        struct rig rig;
        meet_again(&rig, protocol, &meeting, &session);
        CU_ASSERT_EQUAL(rig.server, SAGATE_DONE);
        rig_close(&rig);
        meet_again(&rig, protocol, &meeting, &session);
        CU_ASSERT_TRUE(rig.resumed);
        rig_close(&rig);
        meeting.wanted = CONFIG_CLIENT_CERTIFICATES_REQUIRED;
        meet_again(&rig, protocol, &meeting, &session);
        CU_ASSERT_FALSE(rig.resumed);
        CU_ASSERT_EQUAL(rig.server, framework == FRAMEWORK_NONE ? SAGATE_EHANDSHAKE : SAGATE_DONE);
        CU_ASSERT_EQUAL(rig.framework, framework);
        rig_close(&rig);
        wolfSSL_SESSION_free(session);
    }
}

static void anchors_must_be_authorities(void)
{
    char mixed[4096];
    (void)snprintf(mixed, sizeof mixed, "%s%s", tls_device_ca, tls_device_ae);
    const char *bad[] = {"", "nonsense", tls_device_key, tls_device_ae, mixed};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct rig rig;
        struct rig_options options = listener_for(&protocols[0], CONFIG_CLIENT_CERTIFICATES_OPTIONAL);
        options.anchors = bad[i];
        CU_ASSERT_EQUAL(rig_open(&rig, &options), SAGATE_ECONFIG);
        rig_close(&rig);
    }
}

// ---- whom a certificate names ----

#define UPSTREAM(n, sp, cse)                        \
    {                                               \
        .name = (n), .sp_id = (sp), .cse_id = (cse) \
    }
static struct config_upstream upstreams[] = {UPSTREAM((char[]){"in"}, (char[]){"//sp.example"}, (char[]){"/id-in"}),
                                             UPSTREAM((char[]){"two"}, (char[]){"//sp.example"}, (char[]){"/id-two"}),
                                             UPSTREAM((char[]){"far"}, (char[]){"//far.example"}, (char[]){"/id-in"})};

static struct config with_upstreams(size_t count)
{
    return (struct config){.upstream_count = count, .upstreams = upstreams};
}

static struct principal *principal_of(const char *pem, size_t upstream_count)
{
    static uint8_t der[4096];
    const struct config config = with_upstreams(upstream_count);
    struct principal *principal = NULL;
    int len = wc_CertPemToDer((const unsigned char *)pem, (int)strlen(pem), der, sizeof der, CERT_TYPE);
    CU_ASSERT_TRUE_FATAL(len > 0);
    CU_ASSERT_EQUAL(certificate_principal(&config, slice_of(der, (size_t)len), &principal), SAGATE_OK);
    return principal;
}

static bool has(const struct principal *principal, const char *stem, const char *upstream)
{
    for (size_t i = 0; i < principal->ae_count; i++) {
        const struct principal_ae *ae = &principal->aes[i];
        bool there =
            upstream == NULL ? ae->upstream == NULL : ae->upstream != NULL && strcmp(ae->upstream, upstream) == 0;
        if (there && strcmp(ae->stem, stem) == 0)
            return true;
    }
    return false;
}

static void an_ae_certificate_names_its_ae(void)
{
    struct principal *principal = principal_of(tls_device_ae_2038, 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(principal);
    CU_ASSERT_EQUAL(principal->framework, FRAMEWORK_CERTIFICATE);
    CU_ASSERT_PTR_NULL(principal->cse_id);
    CU_ASSERT_EQUAL_FATAL(principal->ae_count, 1);
    CU_ASSERT_STRING_EQUAL(principal->aes[0].stem, "Cae");
    CU_ASSERT_PTR_NULL(principal->aes[0].upstream);
    CU_ASSERT_EQUAL(principal->expires_at, 2145916800); // 2038-01-01
    CU_ASSERT_EQUAL(strncmp(principal->credential_id, "33-", 3), 0);
    CU_ASSERT_EQUAL(strlen(principal->credential_id), 67);
    CU_ASSERT_EQUAL(strspn(principal->credential_id + 3, "0123456789abcdef"), 64);
    struct principal *other = principal_of(tls_device_ae, 1); // the same AE-ID
    CU_ASSERT_STRING_NOT_EQUAL(principal->credential_id, other->credential_id);
    CU_ASSERT_EQUAL(other->expires_at, 4733510400);
    principal_release(principal);
    principal_release(other);
}

static void a_cse_certificate_names_its_cse(void)
{
    struct principal *principal = principal_of(tls_device_cse, 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(principal);
    CU_ASSERT_STRING_EQUAL(principal->cse_id, "/mn1");
    CU_ASSERT_EQUAL(principal->ae_count, 0);
    CU_ASSERT_EQUAL(strncmp(principal->credential_id, "32-", 3), 0);
    principal_release(principal);
}

// An AE may do less than a CSE.
static void with_both_it_is_an_ae_certificate(void)
{
    struct principal *principal = principal_of(tls_device_two_aes, 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(principal);
    CU_ASSERT_PTR_NULL(principal->cse_id);
    CU_ASSERT_EQUAL_FATAL(principal->ae_count, 2);
    CU_ASSERT_TRUE(has(principal, "Sae", NULL));
    CU_ASSERT_TRUE(has(principal, "Cother", NULL));
    principal_release(principal);
}

static void others_name_nobody(void)
{
    CU_ASSERT_PTR_NULL(principal_of(tls_device_nobody, 1));
    CU_ASSERT_PTR_NULL(principal_of(tls_device_beyond, 1)); // another service provider
    CU_ASSERT_PTR_NULL(principal_of(tls_device_ca, 1));
}

// An AE-ID-Stem with C is one CSE's own, one with S the service provider's (TS-0001 7.2).
static void ae_ids_belong_to_their_cse(void)
{
    struct principal *principal = principal_of(tls_device_two_aes, 3);
    CU_ASSERT_PTR_NOT_NULL_FATAL(principal);
    CU_ASSERT_EQUAL_FATAL(principal->ae_count, 3);
    CU_ASSERT_TRUE(has(principal, "Sae", "in"));
    CU_ASSERT_TRUE(has(principal, "Sae", "two"));
    CU_ASSERT_TRUE(has(principal, "Cother", "in"));
    principal_release(principal);
}

static void forms_of_ae_ids(void)
{
    static const struct {
        const char *absolute;
        int result;
    } forms[] = {
        {"//sp.example/id-in/Cae", SAGATE_OK},
        {"//sp.example/Sae", SAGATE_OK},
        {"//sp.example/id-in/C", SAGATE_ENOTFOUND}, // a wish
        {"//sp.example/S", SAGATE_ENOTFOUND},
        {"//sp.example/id-in/C*", SAGATE_ENOTFOUND}, // no pattern
        {"//sp.example/*", SAGATE_ENOTFOUND},
        {"//sp.example/id-in/Sae", SAGATE_ENOTFOUND},
        {"//sp.example/Cae", SAGATE_ENOTFOUND},
        {"//sp.example/id-in", SAGATE_ENOTFOUND},
        {"//sp.example/id-in/", SAGATE_ENOTFOUND},
        {"//sp.example/id-in/Cae/x", SAGATE_ENOTFOUND},
        {"//sp.example/id-in//Cae", SAGATE_ENOTFOUND},
        {"//sp.example/id-inn/Cae", SAGATE_ENOTFOUND},
        {"//sp.example.org/id-in/Cae", SAGATE_ENOTFOUND},
        {"//SP.example/id-in/Cae", SAGATE_ENOTFOUND},
        {"//sp.example/id-in/C%61e", SAGATE_ENOTFOUND},
        {"//sp.example", SAGATE_ENOTFOUND},
        {"/id-in/Cae", SAGATE_ENOTFOUND},
        {"", SAGATE_ENOTFOUND},
    };
    const struct config config = with_upstreams(1);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct principal *principal = principal_new(FRAMEWORK_CERTIFICATE, slice_text("33-x"), (struct slice){0});
        int result = certificate_add_ae(&config, slice_text(forms[i].absolute), principal);
        if (result != forms[i].result)
            printf("\n  %s: %d", forms[i].absolute, result);
        CU_ASSERT_EQUAL(result, forms[i].result);
        CU_ASSERT_EQUAL(principal->ae_count, result == SAGATE_OK ? 1 : 0);
        principal_release(principal);
    }
}

static void damaged_certificates_name_nobody(void)
{
    uint8_t der[4096];
    const struct config config = with_upstreams(3);
    int len = wc_CertPemToDer((const unsigned char *)tls_device_two_aes, (int)strlen(tls_device_two_aes), der,
                              sizeof der, CERT_TYPE);
    CU_ASSERT_TRUE_FATAL(len > 0);
    for (size_t cut = 0; cut < (size_t)len; cut++) {
        struct principal *principal = NULL;
        uint8_t *exact = malloc(cut + 1); // so that a tool sees every byte too many
        CU_ASSERT_PTR_NOT_NULL_FATAL(exact);
        memcpy(exact, der, cut);
        CU_ASSERT_EQUAL(certificate_principal(&config, slice_of(exact, cut), &principal), SAGATE_EMALFORMED);
        CU_ASSERT_PTR_NULL(principal);
        free(exact);
    }
}

static const struct unit_test tests[] = {
    {"a certificate of the anchor is taken", a_certificate_of_the_anchor_is_taken},
    {"what is for clients alone is taken", what_is_for_clients_alone_is_taken},
    {"none is asked for unless the listener says so", none_is_asked_for_unless_the_listener_says_so},
    {"without a certificate", without_a_certificate},
    {"expired and foreign ones are refused", expired_and_foreign_ones_are_refused},
    {"a certificate of somebody else is refused", a_certificate_of_somebody_else_is_refused},
    {"a key serves instead", a_key_serves_instead},
    {"a certificate serves for an unknown identity", a_certificate_serves_for_an_unknown_identity},
    {"issuers below the anchor", issuers_below_the_anchor},
    {"issuers of others do not count", issuers_of_others_do_not_count},
    {"tickets do not stand for certificates", tickets_do_not_stand_for_certificates},
    {"tickets stand for keys", tickets_stand_for_keys},
    {"tickets end when certificates are asked for", tickets_end_when_certificates_are_asked_for},
    {"anchors must be authorities", anchors_must_be_authorities},
    {"an AE certificate names its AE", an_ae_certificate_names_its_ae},
    {"a CSE certificate names its CSE", a_cse_certificate_names_its_cse},
    {"with both it is an AE certificate", with_both_it_is_an_ae_certificate},
    {"others name nobody", others_name_nobody},
    {"AE-IDs belong to their CSE", ae_ids_belong_to_their_cse},
    {"forms of AE-IDs", forms_of_ae_ids},
    {"damaged certificates name nobody", damaged_certificates_name_nobody},
};

UNIT_MAIN("certificates", tests)
