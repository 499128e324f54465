// The client of a TEF in CoAP over DTLS: what http has as well, and what only datagrams have: loss, answers in any
// order and by themselves, an association that only one side knows.
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
static unsigned drops;   // requests that are lost
static unsigned empties; // acknowledgements and resets that came
static struct coap_token held[16];
static unsigned held_count;

static struct tef_status status_of(void)
{
    struct tef_status status;
    tef_client_status(rig.client, &status);
    return status;
}

static void start(rig_coap_script *script, enum rig_proof proof, bool dtls13, const char *suites,
                  const struct tef_client_settings *settings)
{
    struct tef_client_settings coap = settings != NULL ? *settings : rig_settings(proof);
    coap.binding = TEF_COAP;
    drops = empties = held_count = 0;
    rig_open_dtls(&rig, script, proof, dtls13, suites);
    rig_client(&rig, &coap);
}

static bool lost(const struct coap_message *request)
{
    if (!coap_is_request(request->code)) {
        empties++;
        return true;
    }
    if (drops == 0)
        return false;
    drops--;
    return true;
}

static void scripted(struct rig *r, size_t peer, const struct coap_message *request)
{
    if (!lost(request))
        rig_coap(r, peer, COAP_ACK, COAP_CONTENT, request->mid, &request->token, 2000, -1, KEY_BODY);
}

static void fetched(enum rig_proof proof, bool dtls13, const char *suites)
{
    start(scripted, proof, dtls13, suites, NULL);
    rig_fetch(&rig);
    rig_fetch(&rig);
    rig_run(&rig, 2, 2);
    CU_ASSERT_EQUAL(rig.result, SAGATE_OK);
    CU_ASSERT_EQUAL(rig.key.key_len, 16);
    CU_ASSERT_EQUAL(rig.key.key[15], 15);
    CU_ASSERT_EQUAL(rig.connects, 1);
    struct tef_status status = status_of();
    CU_ASSERT_EQUAL(status.ok, 2);
    CU_ASSERT_EQUAL(status.connections, 1);
    CU_ASSERT_EQUAL(status.waiting + status.in_flight, 0);
    CU_ASSERT_STRING_EQUAL(status.last_error, "");
    rig_close(&rig);
}

static void every_session(void)
{
    fetched(RIG_PSK, false, "PSK-AES128-CCM-8");
    fetched(RIG_PSK, false, "PSK-AES128-GCM-SHA256");
    fetched(RIG_PSK, true, NULL);
    fetched(RIG_CERTIFICATE, false, "ECDHE-ECDSA-AES128-CCM-8");
    fetched(RIG_CERTIFICATE, true, NULL);
}

static uint8_t answer_code;
static unsigned answer_rsc;
static const char *answer_body;

static void given(struct rig *r, size_t peer, const struct coap_message *request)
{
    if (!lost(request))
        rig_coap(r, peer, COAP_ACK, answer_code, request->mid, &request->token, answer_rsc, -1, answer_body);
}

static void judged(uint8_t code, unsigned rsc, const char *body, int result)
{
    answer_code = code;
    answer_rsc = rsc;
    answer_body = body;
    start(given, RIG_PSK, true, NULL, NULL);
    rig_fetch(&rig);
    rig_run(&rig, 1, 1);
    CU_ASSERT_EQUAL(rig.result, result);
    CU_ASSERT_EQUAL(rig.requests, 1);
    CU_ASSERT_EQUAL(status_of().connections, 1);
    rig_close(&rig);
}

static void answers(void)
{
    judged(COAP_CODE(4, 4), 4004, "", SAGATE_ENOTFOUND);
    judged(COAP_CODE(4, 3), 4103, "", SAGATE_ENOTFOUND);
    judged(COAP_CODE(4, 4), 0, "", SAGATE_ENOTFOUND);
    judged(COAP_CODE(4, 29), 0, "", SAGATE_EUNAVAILABLE);
    judged(COAP_CODE(5, 0), 5000, "", SAGATE_EUNAVAILABLE);
    judged(COAP_CODE(5, 3), 0, "", SAGATE_EUNAVAILABLE);
    judged(COAP_CODE(4, 4), 2000, KEY_BODY, SAGATE_EMALFORMED);
    judged(COAP_CONTENT, 4004, "", SAGATE_ENOTFOUND);
    judged(COAP_CONTENT, 2000, "nonsense", SAGATE_EMALFORMED);
    judged(COAP_CONTENT, 0, KEY_BODY, SAGATE_OK);
    judged(COAP_CODE(3, 0), 0, "", SAGATE_EMALFORMED);
}

static void loss(void)
{
    start(scripted, RIG_PSK, false, NULL, NULL);
    drops = 1;
    rig_fetch(&rig);
    rig_run(&rig, 1, 2);
    CU_ASSERT_EQUAL(rig.result, SAGATE_OK);
    CU_ASSERT_EQUAL(rig.connects, 1);
    rig_close(&rig);
}

// Acknowledges, and answers the same later; as a TEF does that has to ask somebody else.
static void separate(struct rig *r, size_t peer, const struct coap_message *request)
{
    if (lost(request))
        return;
    rig_coap(r, peer, COAP_ACK, 0, request->mid, NULL, 0, -1, "");
    for (int i = 0; i < 2; i++) // the second is a repetition
        rig_coap(r, peer, COAP_CON, COAP_CONTENT, 77, &request->token, 2000, -1, KEY_BODY);
}

static void answers_by_themselves(void)
{
    start(separate, RIG_PSK, true, NULL, NULL);
    rig_fetch(&rig);
    rig_run(&rig, 1, 1);
    CU_ASSERT_EQUAL(rig.result, SAGATE_OK);
    rig_fetch(&rig);
    rig_run(&rig, 2, 2);
    CU_ASSERT_TRUE(empties >= 2); // an acknowledgement, and a reset for the repetition
    CU_ASSERT_EQUAL(rig.connects, 1);
    rig_close(&rig);
}

static void hold(struct rig *r, size_t peer, const struct coap_message *request)
{
    (void)r;
    (void)peer;
    if (!lost(request) && held_count < 16)
        held[held_count++] = request->token;
}

static void many_in_any_order(void)
{
    struct tef_client_settings settings = rig_settings(RIG_PSK);
    settings.connections = 1;
    settings.timeout_ms = 20000;
    start(hold, RIG_PSK, true, NULL, &settings);
    for (int i = 0; i < 6; i++)
        rig_fetch(&rig);
    rig_run(&rig, 0, 4);
    CU_ASSERT_EQUAL(status_of().in_flight, 4);
    CU_ASSERT_EQUAL(status_of().waiting, 2);
    for (unsigned i = 4; i-- > 0;)
        rig_coap(&rig, 0, COAP_NON, COAP_CONTENT, (uint16_t)i, &held[i], 2000, -1, KEY_BODY);
    rig_run(&rig, 4, 6);
    CU_ASSERT_EQUAL(rig.result, SAGATE_OK);
    CU_ASSERT_EQUAL(rig.connects, 1);
    CU_ASSERT_EQUAL(status_of().ok, 4);
    rig_close(&rig);
    CU_ASSERT_EQUAL(rig.done, 6);
    CU_ASSERT_EQUAL(rig.result, SAGATE_EUNAVAILABLE);
}

static void in_blocks(struct rig *r, size_t peer, const struct coap_message *request)
{
    static const char text[] = KEY_BODY;
    char part[65] = "";
    struct coap_block block = {0};
    const struct coap_option *option = coap_find(request, COAP_BLOCK2);
    if (lost(request))
        return;
    if (option != NULL)
        CU_ASSERT_TRUE(coap_block_parse(option->value, &block));
    size_t at = (size_t)block.number * 64;
    size_t left = at < sizeof text - 1 ? sizeof text - 1 - at : 0;
    memcpy(part, text + at, left < 64 ? left : 64);
    rig_coap(r, peer, COAP_ACK, COAP_CONTENT, request->mid, &request->token, 2000,
             (int)(block.number << 4 | (left > 64 ? 8U : 0U) | 2U), part);
}

static void blocks(void)
{
    start(in_blocks, RIG_PSK, true, NULL, NULL);
    rig_fetch(&rig);
    rig_run(&rig, 1, 2);
    CU_ASSERT_EQUAL(rig.result, SAGATE_OK);
    CU_ASSERT_EQUAL(rig.key.suid, 32);
    CU_ASSERT_EQUAL(rig.requests, 2);
    rig_close(&rig);
}

static void reset(struct rig *r, size_t peer, const struct coap_message *request)
{
    if (!lost(request))
        rig_coap(r, peer, COAP_RST, 0, request->mid, NULL, 0, -1, "");
}

static void resets(void)
{
    start(reset, RIG_PSK, true, NULL, NULL);
    rig_fetch(&rig);
    rig_run(&rig, 1, 1);
    CU_ASSERT_EQUAL(rig.result, SAGATE_EUNAVAILABLE);
    CU_ASSERT_PTR_NOT_NULL(strstr(status_of().last_error, "reset"));
    rig_close(&rig);
}

static void ping(struct rig *r, size_t peer, const struct coap_message *request)
{
    if (lost(request))
        return;
    rig_coap(r, peer, COAP_CON, 0, 1, NULL, 0, -1, "");
    rig_coap(r, peer, COAP_CON, COAP_GET, 2, NULL, 0, -1, ""); // a TEF asks nothing of its clients
    rig_coap(r, peer, COAP_ACK, COAP_CONTENT, (uint16_t)(request->mid + 1), &request->token, 4004, -1, "");
    scripted(r, peer, request);
}

static void what_nobody_asked_for(void)
{
    start(ping, RIG_PSK, true, NULL, NULL);
    rig_fetch(&rig);
    rig_run(&rig, 1, 1);
    CU_ASSERT_EQUAL(rig.result, SAGATE_OK);
    rig_fetch(&rig);
    rig_run(&rig, 2, 2);
    CU_ASSERT_TRUE(empties >= 2);
    rig_close(&rig);
}

static void silence(void)
{
    struct tef_client_settings settings = rig_settings(RIG_PSK);
    settings.timeout_ms = 300;
    start(hold, RIG_PSK, true, NULL, &settings);
    rig_fetch(&rig);
    rig_run(&rig, 1, 1);
    CU_ASSERT_EQUAL(rig.result, SAGATE_ETIMEOUT);
    CU_ASSERT_EQUAL(status_of().timeouts, 1);
    CU_ASSERT_EQUAL(status_of().connections, 0);
    rig_close(&rig);
}

static void another_association(void)
{
    struct tef_client_settings settings = rig_settings(RIG_PSK);
    settings.timeout_ms = 20000;
    start(scripted, RIG_PSK, false, NULL, &settings);
    rig_fetch(&rig);
    rig_run(&rig, 1, 1);
    rig_forget(&rig, 0); // as a TEF does that was killed
    rig_fetch(&rig);
    rig_run(&rig, 2, 2);
    CU_ASSERT_EQUAL(rig.result, SAGATE_OK);
    CU_ASSERT_EQUAL(rig.connects, 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(status_of().last_error, "does not answer any more"));
    rig_hang_up(&rig, 1); // with a close_notify
    rig_fetch(&rig);
    rig_run(&rig, 3, 3);
    CU_ASSERT_EQUAL(rig.result, SAGATE_OK);
    rig_close(&rig);
}

static void refused(const struct tef_client_settings *settings, enum rig_proof proof, bool dtls13, const char *text)
{
    start(scripted, proof, dtls13, NULL, settings);
    rig_fetch(&rig);
    rig_run(&rig, 1, 0);
    CU_ASSERT_EQUAL(rig.result != SAGATE_OK, 1);
    CU_ASSERT_EQUAL(rig.requests, 0);
    while (status_of().last_error[0] == '\0' || strstr(status_of().last_error, "no connection within") != NULL)
        (void)event_base_loop(rig.base, EVLOOP_ONCE); // its reason comes right behind the end of the request
    if (strstr(status_of().last_error, text) == NULL)
        printf("\n%d: %s\n", dtls13, status_of().last_error);
    CU_ASSERT_PTR_NOT_NULL(strstr(status_of().last_error, text));
    rig_close(&rig);
}

static void wrong_credentials(void)
{
    for (int dtls13 = 0; dtls13 < 2; dtls13++) {
        struct tef_client_settings settings = rig_settings(RIG_PSK);
        settings.timeout_ms = 500;
        settings.psk = slice_text("another key of another client");
        refused(&settings, RIG_PSK, dtls13 == 1, "");
        settings = rig_settings(RIG_CERTIFICATE);
        settings.timeout_ms = 1500;
        settings.fqdn = "two.example";
        refused(&settings, RIG_CERTIFICATE, dtls13 == 1, "does not name 'two.example'");
        settings = rig_settings(RIG_CERTIFICATE);
        settings.timeout_ms = 1500;
        settings.trust_anchors = slice_text(tls_certificate_two);
        refused(&settings, RIG_CERTIFICATE, dtls13 == 1, "DTLS: ");
    }
}

static void registrar(struct rig *r, size_t peer, const struct coap_message *request)
{
    bool first = request->code == COAP_POST;
    if (lost(request))
        return;
    if (request->code == COAP_DELETE)
        r->done++;
    rig_coap(r, peer, COAP_ACK, first ? COAP_CREATED : COAP_DELETED, request->mid, &request->token, first ? 2001 : 2002,
             -1, first ? "{\"sec:mafClientReg\":{\"ri\":\"reg-1\"}}" : "");
}

static void registration(void)
{
    struct tef_client_settings settings = rig_settings(RIG_PSK);
    settings.register_client = true;
    start(registrar, RIG_PSK, true, NULL, &settings);
    rig_run(&rig, 0, 1);
    while (!status_of().registered)
        (void)event_base_loop(rig.base, EVLOOP_ONCE);
    tef_client_leave(rig.client, 20000, NULL, NULL);
    rig_run(&rig, 1, 2);
    CU_ASSERT_FALSE(status_of().registered);
    rig_close(&rig);
}

static const struct unit_test tests[] = {
    {"every session", every_session},
    {"answers", answers},
    {"loss", loss},
    {"answers by themselves", answers_by_themselves},
    {"many in any order", many_in_any_order},
    {"blocks", blocks},
    {"resets", resets},
    {"what nobody asked for", what_nobody_asked_for},
    {"silence", silence},
    {"another association", another_association},
    {"wrong credentials", wrong_credentials},
    {"registration", registration},
};
UNIT_MAIN("tef_client_coap", tests)
