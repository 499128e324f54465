// The client of a TEF over TLS, against a TEF that answers as each test wants: keys, refusals, nonsense, lost
// connections, wrong credentials, registration.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "tests/unit/tef_rig.h"
#include "tests/unit/tls_certificates.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#define KEY_BODY \
    "{\"sec:symmKeyReg\":{\"keyValue\":\"AAECAwQFBgcICQoLDA0ODw==\",\"SUID\":32,\"et\":\"20990101T000000\"}}"

static struct rig rig;
static int answer_status;
static unsigned answer_rsc;
static const char *answer_body;
static unsigned hang_ups;

static void scripted(struct rig *r, size_t peer, const char *request, char answer[RIG_ANSWER_MAX])
{
    (void)request;
    if (hang_ups > 0) {
        hang_ups--;
        rig_hang_up(r, peer);
        return;
    }
    if (answer_body != NULL)
        rig_format(answer, answer_status, answer_rsc, answer_body);
}

static void set_answer(int status, unsigned rsc, const char *body)
{
    answer_status = status;
    answer_rsc = rsc;
    answer_body = body;
}

static struct tef_status status_of(void)
{
    struct tef_status status;
    tef_client_status(rig.client, &status);
    return status;
}

static void fetched(enum rig_proof proof, bool tls13, const char *suites)
{
    struct tef_client_settings settings = rig_settings(proof);
    set_answer(200, 2000, KEY_BODY);
    rig_open(&rig, scripted, proof, tls13, suites);
    rig_client(&rig, &settings);
    rig_fetch(&rig);
    rig_fetch(&rig);
    rig_run(&rig, 2, 2);
    CU_ASSERT_EQUAL(rig.result, SAGATE_OK);
    CU_ASSERT_EQUAL(rig.key.key_len, 16);
    CU_ASSERT_EQUAL(rig.key.key[15], 15);
    CU_ASSERT_EQUAL(rig.connects, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.last, "GET /0A1B HTTP/1.1\r\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.last, "\r\nX-M2M-Origin: //sp.example/in-cse\r\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.last, ":8443\r\n"));
    struct tef_status status = status_of();
    CU_ASSERT_EQUAL(status.requests, 2);
    CU_ASSERT_EQUAL(status.ok, 2);
    CU_ASSERT_EQUAL(status.connections, 1);
    CU_ASSERT_EQUAL(status.waiting + status.in_flight, 0);
    CU_ASSERT_TRUE(status.registered);
    CU_ASSERT_STRING_EQUAL(status.last_error, "");
    uint64_t answered = 0;
    for (size_t i = 0; i < TEF_LATENCY_BUCKETS; i++)
        answered += status.latency[i];
    CU_ASSERT_EQUAL(answered, 2);
    rig_close(&rig);
}

static void every_session(void)
{
    fetched(RIG_PSK, false, "PSK-AES128-CBC-SHA256");
    fetched(RIG_PSK, false, "PSK-AES128-GCM-SHA256");
    fetched(RIG_PSK, true, NULL);
    fetched(RIG_CERTIFICATE, false, "ECDHE-ECDSA-AES128-GCM-SHA256");
    fetched(RIG_CERTIFICATE, true, NULL);
}

static void judged(int status, unsigned rsc, const char *body, int result)
{
    struct tef_client_settings settings = rig_settings(RIG_PSK);
    set_answer(status, rsc, body);
    rig_open(&rig, scripted, RIG_PSK, true, NULL);
    rig_client(&rig, &settings);
    rig_fetch(&rig);
    rig_run(&rig, 1, 1);
    CU_ASSERT_EQUAL(rig.result, result);
    CU_ASSERT_EQUAL(status_of().last_error[0] != '\0', result == SAGATE_EMALFORMED || result == SAGATE_EUNAVAILABLE);
    rig_close(&rig);
}

static void answers(void)
{
    judged(404, 4004, "{}", SAGATE_ENOTFOUND);
    judged(403, 4103, "", SAGATE_ENOTFOUND);
    judged(500, 5000, "", SAGATE_EUNAVAILABLE);
    judged(200, 4004, "", SAGATE_ENOTFOUND);
    judged(404, 2000, KEY_BODY, SAGATE_EMALFORMED);
    judged(200, 2000, "", SAGATE_EMALFORMED);
    judged(200, 2000, "nonsense", SAGATE_EMALFORMED);
    judged(200, 2000, "{\"SUID\":32}", SAGATE_EMALFORMED);
    judged(200, 2000, "{\"keyValue\":\"\"}", SAGATE_EMALFORMED);
    judged(200, 2000, "{\"keyValue\":\"AAECAwQFBgcICQoLDA0ODw==\",\"rn\":\"0A1C\"}", SAGATE_EMALFORMED);
    judged(200, 2000, "{\"keyValue\":\"AAECAwQFBgcICQoLDA0ODw==\",\"rn\":\"0A1B\"}", SAGATE_OK);
    judged(300, 3000, "", SAGATE_EMALFORMED);
}

static void nonsense(struct rig *r, size_t peer, const char *request, char answer[RIG_ANSWER_MAX])
{
    (void)peer;
    (void)request;
    if (r->requests == 1)
        (void)snprintf(answer, RIG_ANSWER_MAX, "SSH-2.0-x\r\n");
    else
        rig_format(answer, 200, 2000, KEY_BODY);
}

static void nonsense_ends_the_connection(void)
{
    struct tef_client_settings settings = rig_settings(RIG_PSK);
    rig_open(&rig, nonsense, RIG_PSK, false, NULL);
    rig_client(&rig, &settings);
    rig_fetch(&rig);
    rig_run(&rig, 1, 1);
    CU_ASSERT_EQUAL(rig.result, SAGATE_EMALFORMED);
    rig_fetch(&rig);
    rig_run(&rig, 2, 2);
    CU_ASSERT_EQUAL(rig.result, SAGATE_OK);
    CU_ASSERT_EQUAL(rig.connects, 2);
    rig_close(&rig);
}

static void wrong_request_id(struct rig *r, size_t peer, const char *request, char answer[RIG_ANSWER_MAX])
{
    (void)r;
    (void)peer;
    (void)request;
    (void)snprintf(answer, RIG_ANSWER_MAX, "HTTP/1.1 200 x\r\nX-M2M-RI: other\r\nContent-Length: %zu\r\n\r\n%s",
                   strlen(KEY_BODY), KEY_BODY);
}

static void answers_to_others(void)
{
    struct tef_client_settings settings = rig_settings(RIG_PSK);
    rig_open(&rig, wrong_request_id, RIG_PSK, true, NULL);
    rig_client(&rig, &settings);
    rig_fetch(&rig);
    rig_run(&rig, 1, 1);
    CU_ASSERT_EQUAL(rig.result, SAGATE_EMALFORMED);
    rig_close(&rig);
}

static void many_over_few_connections(void)
{
    struct tef_client_settings settings = rig_settings(RIG_PSK);
    set_answer(200, 2000, NULL);
    rig_open(&rig, scripted, RIG_PSK, true, NULL);
    rig_client(&rig, &settings);
    for (int i = 0; i < 20; i++)
        rig_fetch(&rig);
    rig_run(&rig, 0, 8);
    struct tef_status status = status_of();
    CU_ASSERT_EQUAL(status.connections, 2);
    CU_ASSERT_EQUAL(status.in_flight, 8);
    CU_ASSERT_EQUAL(status.waiting, 12);
    char answer[RIG_ANSWER_MAX];
    rig_format(answer, 200, 2000, KEY_BODY);
    set_answer(200, 2000, KEY_BODY);
    for (size_t peer = 0; peer < 2; peer++) {
        for (int i = 0; i < 4; i++)
            rig_answer(&rig, peer, answer);
    }
    rig_run(&rig, 20, 20);
    CU_ASSERT_EQUAL(rig.connects, 2);
    CU_ASSERT_EQUAL(status_of().ok, 20);
    rig_close(&rig);
}

static void lost_requests_are_asked_again(void)
{
    struct tef_client_settings settings = rig_settings(RIG_PSK);
    set_answer(200, 2000, KEY_BODY);
    rig_open(&rig, scripted, RIG_PSK, true, NULL);
    rig_client(&rig, &settings);
    rig_fetch(&rig);
    rig_run(&rig, 1, 1);
    hang_ups = 1;
    rig_fetch(&rig);
    rig_run(&rig, 2, 3);
    CU_ASSERT_EQUAL(rig.result, SAGATE_OK);
    CU_ASSERT_EQUAL(rig.connects, 2);
    hang_ups = 1000;
    rig_fetch(&rig);
    rig_run(&rig, 3, 4);
    CU_ASSERT_EQUAL(rig.result, SAGATE_EUNAVAILABLE);
    hang_ups = 0;
    rig_fetch(&rig);
    rig_run(&rig, 4, 5);
    CU_ASSERT_EQUAL(rig.result, SAGATE_OK);
    rig_close(&rig);
}

static void down_and_up_again(void)
{
    struct tef_client_settings settings = rig_settings(RIG_PSK);
    set_answer(200, 2000, KEY_BODY);
    rig_open(&rig, scripted, RIG_PSK, false, NULL);
    settings.timeout_ms = 300;
    rig_client(&rig, &settings);
    rig.refuse = true;
    rig_fetch(&rig);
    rig_run(&rig, 1, 0);
    CU_ASSERT_EQUAL(rig.result, SAGATE_EUNAVAILABLE);
    CU_ASSERT_PTR_NOT_NULL(strstr(status_of().last_error, "connecting failed"));
    rig_close(&rig);
    settings.timeout_ms = 20000;
    rig_open(&rig, scripted, RIG_PSK, false, NULL);
    rig_client(&rig, &settings);
    rig.refuse = true;
    rig_fetch(&rig);
    while (rig.connects < 2)
        (void)event_base_loop(rig.base, EVLOOP_ONCE);
    rig.refuse = false;
    rig_run(&rig, 1, 1);
    CU_ASSERT_EQUAL(rig.result, SAGATE_OK);
    rig_close(&rig);
}

static void silence(void)
{
    struct tef_client_settings settings = rig_settings(RIG_PSK);
    set_answer(200, 2000, NULL);
    settings.timeout_ms = 300;
    rig_open(&rig, scripted, RIG_PSK, true, NULL);
    rig_client(&rig, &settings);
    rig_fetch(&rig);
    rig_run(&rig, 1, 1);
    CU_ASSERT_EQUAL(rig.result, SAGATE_ETIMEOUT);
    CU_ASSERT_EQUAL(status_of().timeouts, 1);
    CU_ASSERT_EQUAL(status_of().connections, 0);
    rig_close(&rig);
}

static void refused(const struct tef_client_settings *settings, enum rig_proof proof, bool tls13, int result,
                    const char *text)
{
    set_answer(200, 2000, KEY_BODY);
    rig_open(&rig, scripted, proof, tls13, NULL);
    rig_client(&rig, settings);
    rig_fetch(&rig);
    rig_run(&rig, 1, 0);
    CU_ASSERT_EQUAL(rig.result, result);
    CU_ASSERT_EQUAL(rig.requests, 0);
    CU_ASSERT_EQUAL(status_of().handshake_failures > 0, result == SAGATE_EHANDSHAKE);
    if (strstr(status_of().last_error, text) == NULL)
        printf("\n%d: %s\n", tls13, status_of().last_error);
    CU_ASSERT_PTR_NOT_NULL(strstr(status_of().last_error, text));
    rig_close(&rig);
}

// What keeps a client from registering is told as what it is, not as what came of it.
static void registration_tells_the_cause(void)
{
    struct tef_client_settings settings = rig_settings(RIG_PSK);
    settings.register_client = true;
    settings.psk = slice_text("another key of another client");
    rig_open(&rig, scripted, RIG_PSK, true, NULL);
    rig_client(&rig, &settings);
    while (status_of().handshake_failures < 1)
        (void)event_base_loop(rig.base, EVLOOP_ONCE);
    CU_ASSERT_PTR_NOT_NULL(strstr(status_of().last_error, "it refused the session with alert"));
    CU_ASSERT_FALSE(status_of().registered);
    rig_close(&rig);
    settings = rig_settings(RIG_PSK);
    settings.register_client = true;
    set_answer(403, 4103, "");
    rig_open(&rig, scripted, RIG_PSK, true, NULL);
    rig_client(&rig, &settings);
    while (status_of().not_found < 1)
        (void)event_base_loop(rig.base, EVLOOP_ONCE);
    CU_ASSERT_STRING_EQUAL(status_of().last_error, "registration failed: refused");
    rig_close(&rig);
}

// Some TEFs hang up instead of telling what they do not like, as this one does in TLS 1.2.
static void hung_up(struct tef_client_settings *settings, enum rig_proof proof)
{
    settings->timeout_ms = 300;
    refused(settings, proof, false, SAGATE_EUNAVAILABLE, "does it know the PSK identity");
    settings->timeout_ms = 10000;
}

static void wrong_credentials(void)
{
    for (int tls13 = 0; tls13 < 2; tls13++) {
        struct tef_client_settings settings = rig_settings(RIG_PSK);
        settings.psk = slice_text("another key of another client");
        refused(&settings, RIG_PSK, tls13 == 1, SAGATE_EHANDSHAKE, "alert");
        settings = rig_settings(RIG_PSK);
        settings.psk_identity = "somebody@maf.example";
        if (tls13 == 0)
            hung_up(&settings, RIG_PSK);
        else
            refused(&settings, RIG_PSK, true, SAGATE_EHANDSHAKE, "");
        settings = rig_settings(RIG_PSK); // a certificate does not do instead of the key
        if (tls13 == 0)
            hung_up(&settings, RIG_CERTIFICATE);
        else
            refused(&settings, RIG_CERTIFICATE, true, SAGATE_EHANDSHAKE, "");
        settings = rig_settings(RIG_CERTIFICATE);
        settings.fqdn = "two.example";
        refused(&settings, RIG_CERTIFICATE, tls13 == 1, SAGATE_EHANDSHAKE, "does not name 'two.example'");
        settings = rig_settings(RIG_CERTIFICATE);
        settings.trust_anchors = slice_text(tls_certificate_two);
        refused(&settings, RIG_CERTIFICATE, tls13 == 1, SAGATE_EHANDSHAKE, "TLS: ");
        settings = rig_settings(RIG_CERTIFICATE); // who is not known there
        settings.certificate = slice_text(tls_certificate_one);
        settings.private_key = slice_text(tls_key_one);
        refused(&settings, RIG_CERTIFICATE, tls13 == 1, SAGATE_EHANDSHAKE, "alert");
    }
}

static void no_tls_at_all(void)
{
    struct tef_client_settings settings = rig_settings(RIG_PSK);
    rig_open(&rig, scripted, RIG_PSK, true, NULL);
    rig_client(&rig, &settings);
    rig.plain_text = true;
    rig_fetch(&rig);
    rig_run(&rig, 1, 0);
    CU_ASSERT_EQUAL(rig.result, SAGATE_EHANDSHAKE);
    rig_close(&rig);
}

static unsigned registrations, renewals, leaves;
static bool forgotten;

static void registrar(struct rig *r, size_t peer, const char *request, char answer[RIG_ANSWER_MAX])
{
    (void)r;
    (void)peer;
    if (strncmp(request, "POST / ", 7) == 0 && strstr(request, "application/json;ty=1\r\n") != NULL &&
        strstr(request, "\"adminFQDN\":\"admin.example\"") != NULL) {
        registrations++;
        rig_format(answer, 201, 2001, "{\"sec:mafClientReg\":{\"ri\":\"reg-1\"}}");
    } else if (strncmp(request, "PUT /reg-1 ", 11) == 0) {
        renewals++;
        rig_format(answer, forgotten ? 404 : 200, forgotten ? 4004 : 2004, "");
        forgotten = false;
    } else if (strncmp(request, "DELETE /reg-1 ", 14) == 0) {
        leaves++;
        rig_format(answer, 200, 2002, "");
    } else {
        rig_format(answer, 400, 4000, "");
    }
}

static void on_left(void *context)
{
    ((struct rig *)context)->done++;
}

static void registration(void)
{
    struct tef_client_settings settings = rig_settings(RIG_PSK);
    settings.register_client = true;
    settings.registration_seconds = 2;
    registrations = renewals = leaves = 0;
    forgotten = false;
    rig_open(&rig, registrar, RIG_PSK, true, NULL);
    rig_client(&rig, &settings);
    CU_ASSERT_FALSE(status_of().registered);
    rig_run(&rig, 0, 2);
    CU_ASSERT_EQUAL(registrations, 1);
    CU_ASSERT_EQUAL(renewals, 1);
    CU_ASSERT_TRUE(status_of().registered);
    CU_ASSERT_TRUE(status_of().registration_expires_at > 0);
    forgotten = true;
    rig_run(&rig, 0, 4);
    CU_ASSERT_EQUAL(renewals, 2);
    CU_ASSERT_EQUAL(registrations, 2);
    rig_run(&rig, 0, 5);
    tef_client_leave(rig.client, 20000, on_left, &rig);
    CU_ASSERT_EQUAL(rig.done, 0);
    rig_run(&rig, 1, 6);
    CU_ASSERT_EQUAL(leaves, 1);
    CU_ASSERT_FALSE(status_of().registered);
    rig_close(&rig);
    CU_ASSERT_EQUAL(rig.done, 1);
}

static void leaving_without_registration(void)
{
    struct tef_client_settings settings = rig_settings(RIG_PSK);
    rig_open(&rig, registrar, RIG_PSK, true, NULL);
    rig_client(&rig, &settings);
    tef_client_leave(rig.client, 20000, on_left, &rig);
    CU_ASSERT_EQUAL(rig.done, 0);
    rig_run(&rig, 1, 0);
    CU_ASSERT_EQUAL(rig.connects, 0);
    rig_close(&rig);
}

static void older_method(void)
{
    struct tef_client_settings settings = rig_settings(RIG_PSK);
    struct tef_profile profile = *tef_profile_default(TEF_MEF);
    profile.method = TEF_METHOD_FETCH_CREDENTIALS;
    settings.kind = TEF_MEF;
    settings.profile = &profile;
    set_answer(200, 2000, "{\"Status\":true,\"Credential\":\"000102030405060708090a0b0c0d0e0f\",\"Lifetime\":60}");
    rig_open(&rig, scripted, RIG_PSK, true, NULL);
    rig_client(&rig, &settings);
    rig_fetch(&rig);
    rig_run(&rig, 1, 1);
    CU_ASSERT_EQUAL(rig.result, SAGATE_OK);
    CU_ASSERT_EQUAL(rig.key.key_len, 16);
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.last, "GET /fetchCredentials/0A1B@maf.example/22 HTTP/1.1\r\n"));
    set_answer(200, 2000, "{\"Status\":false,\"ErrorString\":\"x\"}");
    rig_fetch(&rig);
    rig_run(&rig, 2, 2);
    CU_ASSERT_EQUAL(rig.result, SAGATE_ENOTFOUND);
    rig_close(&rig);
}

static void ended_early(void)
{
    struct tef_client_settings settings = rig_settings(RIG_PSK);
    set_answer(200, 2000, NULL);
    rig_open(&rig, scripted, RIG_PSK, true, NULL);
    rig_client(&rig, &settings);
    rig_fetch(&rig);
    rig_run(&rig, 0, 1);
    rig_fetch(&rig);
    rig_close(&rig);
    CU_ASSERT_EQUAL(rig.done, 2);
    CU_ASSERT_EQUAL(rig.result, SAGATE_EUNAVAILABLE);
    tef_client_free(NULL);
}

static void wrong(const struct tef_client_settings *settings, const char *text)
{
    char why[TEF_ERROR_MAX];
    struct tef_client *client = NULL;
    struct event_base *base = event_base_new();
    CU_ASSERT_EQUAL(tef_client_new(base, settings, &client, why), SAGATE_EINVAL);
    CU_ASSERT_PTR_NULL(client);
    CU_ASSERT_STRING_EQUAL(why, text);
    event_base_free(base);
}

static void wrong_settings(void)
{
    struct tef_client_settings settings = rig_settings(RIG_PSK);
    settings.client_id = "//sp/a\r\nb";
    wrong(&settings, "the client's ID is none");
    settings = rig_settings(RIG_PSK);
    settings.psk.len = 0;
    wrong(&settings, "the PSK is empty or too long");
    settings = rig_settings(RIG_CERTIFICATE);
    settings.trust_anchors = slice_text("nonsense");
    wrong(&settings, "no usable PEM trust anchors");
    settings = rig_settings(RIG_CERTIFICATE);
    settings.private_key = slice_text(tls_key_one);
    wrong(&settings, "the private key does not belong to the certificate");
    settings = rig_settings(RIG_PSK);
    settings.connections = 17;
    wrong(&settings, "connections or requests per connection out of range");
}

static const struct unit_test tests[] = {
    {"keys are fetched in every kind of session", every_session},
    {"answers are judged", answers},
    {"nonsense ends the connection", nonsense_ends_the_connection},
    {"answers to other requests", answers_to_others},
    {"many requests over few connections", many_over_few_connections},
    {"lost requests are asked again", lost_requests_are_asked_again},
    {"a TEF that is down, and up again", down_and_up_again},
    {"a TEF that does not answer", silence},
    {"wrong credentials on both sides", wrong_credentials},
    {"the cause is told when a registration fails", registration_tells_the_cause},
    {"a TEF without TLS", no_tls_at_all},
    {"registration, renewal, loss and leave", registration},
    {"leaving without registration", leaving_without_registration},
    {"credentials by the older method", older_method},
    {"a client that ends early", ended_early},
    {"wrong settings", wrong_settings},
};

UNIT_MAIN("tef_client", tests)
