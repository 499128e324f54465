// One worker and devices with certificates: whom they may act as, and what ends their associations.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/tls_device_certificates.h"
#include "tests/unit/unit.h"
#include "tests/unit/worker_rig.h"

#include <errno.h>

#define HOME "192.0.2.1", 40000
#define LISTENER(name, transport, binding, port, more)                           \
    "{ name = \"" name "\"; transport = \"" transport "\"; binding = \"" binding \
    "\"; address = \"127.0.0.1\"; port = " port "; upstream = \"in\"; certificates = [ \"one\" ]; " more " }"
#define ASKING(how)                                                                                                 \
    LISTENER("dtls", "dtls", "coap", "5684", "client_certificates = \"" how "\"; trust_anchors = [ \"devices\" ];") \
    ", " LISTENER("tls", "tls", "http", "8443", "client_certificates = \"" how "\"; trust_anchors = [ \"devices\" ];")
#define REQUEST(from) "GET /a HTTP/1.1\r\nHost: gw\r\nX-M2M-Origin: " from "\r\nX-M2M-RI: r1\r\n\r\n"
#define CSE_200       "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\nX-M2M-RI: r1\r\nContent-Length: 2\r\n\r\n{}"
#define CSE_201                                                                                             \
    "HTTP/1.1 201 Created\r\nX-M2M-RSC: 2001\r\nX-M2M-RI: r1\r\nContent-Type: application/json\r\nContent-" \
    "Length: 30\r\n\r\n{\"m2m:ae\":{\"ri\":\"x\",\"rn\":\"Cae\"}}"
#define CSE_DELETED "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2002\r\nX-M2M-RI: r1\r\nContent-Length: 0\r\n\r\n"

static void open_asking(bool required)
{
    scene_open_config(scene_config("", SCENE_SERVER, required ? ASKING("required") : ASKING("optional")));
}

static bool has(const char *text, const char *part)
{
    bool found = strstr(text, part) != NULL;
    if (!found)
        printf("\n  no \"%s\" in: %s", part, text);
    return found;
}

// What the CSE gets when a device says so over TLS; it answers.
static const char *told_to_cse(struct scene_device *device, const char *request, const char *answer)
{
    static char text[SCENE_TEXT];
    size_t before = scene.connection_count;
    scene_device_writes(device, request);
    CU_ASSERT_TRUE_FATAL(scene.connection_count > 0);
    (void)snprintf(text, sizeof text, "%s", scene_cse_reads(scene.connection_count - 1));
    CU_ASSERT_TRUE(text[0] != '\0' || scene.connection_count == before);
    scene_cse_writes(scene.connection_count - 1, answer);
    return text;
}

static void an_ae_over(bool tls13)
{
    open_asking(true);
    struct scene_device *device = scene_with_certificate(tls_device_ae, false, tls13, HOME);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_OK_CERTIFICATE), 1);
    CU_ASSERT_EQUAL(scene.resolves, 0);
    const char *request = told_to_cse(device, REQUEST("Cae"), CSE_200);
    CU_ASSERT_TRUE(has(request, "X-M2M-Origin: Cae\r\n"));
    CU_ASSERT_TRUE(has(request, "X-SAGate-Originator: //sp.example/id-in/Cae\r\n"));
    CU_ASSERT_TRUE(has(request, "X-SAGate-Framework: certificate\r\n"));
    CU_ASSERT_TRUE(has(request, "X-SAGate-Credential-ID: 33-"));
    CU_ASSERT_TRUE(has(scene_device_reads(device), "HTTP/1.1 200 OK\r\n"));
    scene_device_writes(device, REQUEST("Cother"));
    CU_ASSERT_TRUE(has(scene_device_reads(device), "X-M2M-RSC: 4106\r\n"));
    scene_close();
}

static void an_ae_over_tls12(void)
{
    an_ae_over(false);
}

static void an_ae_over_tls13(void)
{
    an_ae_over(true);
}

// Get the credential that the store knows the only association by.
static const char *credential_in_store(void)
{
    static char text[ONEM2M_CREDENTIAL_MAX + 1];
    uint64_t cursor = 0;
    size_t budget = 100000;
    struct plane_packed packed = {0};
    store_slot slot = store_walk(scene.worker->store, &cursor, &budget);
    CU_ASSERT_TRUE(slot != 0 && plane_packed_principal(store_principal(scene.worker->store, slot), &packed));
    CU_ASSERT_EQUAL(packed.framework, FRAMEWORK_CERTIFICATE);
    (void)snprintf(text, sizeof text, "%.*s", (int)packed.credential_id.len, (const char *)packed.credential_id.data);
    return text;
}

static void one_get(struct scene_device *device, uint16_t mid, const char *credential_id)
{
    char wanted[256];
    (void)snprintf(wanted, sizeof wanted,
                   "CON GET @* /a 279=Cae 283=r1 65020=//sp.example/id-in/Cae 65052=%s 65084=192.0.2.1:40000",
                   credential_id);
    scene_device_says(device, mid, "CON GET @t /a 279=Cae 283=r1");
    CU_ASSERT_TRUE(scene_cse_hears(wanted));
    scene_cse_says("ACK 2.05 @* 283=r1 307=#2000 |{}");
    CU_ASSERT_TRUE(scene_device_hears(device, "ACK 2.05 @t 283=r1 307=#2000 |{}"));
}

static void datagrams(bool dtls13)
{
    open_asking(true);
    struct scene_device *device = scene_with_certificate(tls_device_ae, true, dtls13, HOME);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_OK_CERTIFICATE), 1);
    char credential_id[ONEM2M_CREDENTIAL_MAX + 1];
    (void)snprintf(credential_id, sizeof credential_id, "%s", credential_in_store());
    one_get(device, 1, credential_id);
    scene_device_says(device, 2, "CON GET @t /a 279=Cother 283=r1");
    CU_ASSERT_TRUE(scene_cse_hears(NULL));
    CU_ASSERT_TRUE(scene_device_hears(device, "ACK 4.03 @t 12=#50 283=r1 307=#4106 |{\"m2m:dbg\":\"From is not an "
                                              "identity that the security association proved\"}"));
    // The identity lies in the store with the association, and control has no part in it.
    scene_restart();
    const struct plane_message hello = {.type = PLANE_HELLO, .hello = {.boot = 12345}};
    scene_control_says(&hello);
    for (int i = 0; i < 10; i++)
        scene_advance(500);
    CU_ASSERT_EQUAL(scene.resolves, 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_DTLS), 1);
    one_get(device, 3, credential_id);
    const struct plane_message kill = {.type = PLANE_KILL,
                                       .kill = {.ticket = 1, .credential_id = slice_text(credential_id)}};
    scene_control_says(&kill);
    for (int i = 0; i < 10; i++)
        scene_advance(10);
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_DTLS), 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_ENDED_OPERATOR), 1);
    scene_close();
}

static void an_ae_over_dtls12(void)
{
    datagrams(false);
}

static void an_ae_over_dtls13(void)
{
    datagrams(true);
}

static void nobody_gets_through(const char *pem)
{
    open_asking(false);
    struct scene_device *device = scene_with_certificate(pem, false, true, HOME);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_OK_CERTIFICATE), 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_OK_NONE), 1);
    scene_device_writes(device, REQUEST("Cae"));
    CU_ASSERT_TRUE(has(scene_device_reads(device), "X-M2M-RSC: 4107\r\n"));
    CU_ASSERT_EQUAL(scene.connection_count, 0);
    scene_close();
}

static void without_a_certificate(void)
{
    nobody_gets_through(NULL);
}

static void with_one_that_names_nobody(void)
{
    nobody_gets_through(tls_device_nobody);
}

static void refused_handshakes_are_counted(void)
{
    static const char *const shown[] = {NULL, tls_device_ae_expired, tls_device_ae_foreign};
    open_asking(true);
    for (unsigned i = 0; i < 6; i++) {
        struct scene_device *device =
            scene_with_certificate(shown[i / 2], i % 2 == 0, false, "192.0.2.1", (uint16_t)(40000 + i));
        CU_ASSERT_FALSE(scene_establish(device));
        CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_FAILED_CERTIFICATE), i + 1);
    }
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_IN_PROGRESS), 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_DTLS) + scene_counted(STAT_ASSOCIATIONS_TLS), 0);
    scene_close();
}

static void a_cse_acts_as_itself(void)
{
    open_asking(true);
    struct scene_device *device = scene_with_certificate(tls_device_cse, false, true, HOME);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    CU_ASSERT_TRUE(has(told_to_cse(device, REQUEST("/mn1"), CSE_200), "X-SAGate-Originator: //sp.example/mn1\r\n"));
    (void)scene_device_reads(device);
    scene_device_writes(device, REQUEST("Cae"));
    CU_ASSERT_TRUE(has(scene_device_reads(device), "X-M2M-RSC: 4106\r\n"));
    scene_close();
}

#define REGISTER                                                                                                    \
    "POST /cse-in HTTP/1.1\r\nHost: gw\r\nX-M2M-Origin: Cae\r\nX-M2M-RI: r1\r\nContent-Type: application/json;ty=2" \
    "\r\nContent-Length: 13\r\n\r\n{\"m2m:ae\":{}}"
#define DELETE "DELETE /cse-in/Cae HTTP/1.1\r\nHost: gw\r\nX-M2M-Origin: Cae\r\nX-M2M-RI: r1\r\n\r\n"

// What a certificate says is not forgotten with the AE's resource.
static void an_ae_that_was_deleted_registers_again(void)
{
    open_asking(true);
    struct scene_device *device = scene_with_certificate(tls_device_ae, false, true, HOME);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    for (int time = 0; time < 2; time++) {
        CU_ASSERT_TRUE(has(told_to_cse(device, REGISTER, CSE_201), "POST /cse-in "));
        CU_ASSERT_TRUE(has(scene_device_reads(device), "X-M2M-RSC: 2001\r\n"));
        CU_ASSERT_TRUE(has(told_to_cse(device, DELETE, CSE_DELETED), "DELETE /cse-in/Cae "));
        CU_ASSERT_TRUE(has(scene_device_reads(device), "X-M2M-RSC: 2002\r\n"));
    }
    scene_close();
}

// One certificate is one identity, and its associations over TLS are counted like those of a key.
static void streams_of_a_certificate_are_limited(void)
{
    scene_open_config(scene_config("associations_per_identity = 2;", SCENE_SERVER, ASKING("required")));
    struct scene_device *first = scene_with_certificate(tls_device_ae, false, true, HOME);
    CU_ASSERT_TRUE_FATAL(scene_establish(first));
    CU_ASSERT_TRUE(scene_establish(scene_with_certificate(tls_device_ae, false, false, HOME)));
    (void)scene_establish(scene_with_certificate(tls_device_ae, false, true, HOME));
    CU_ASSERT_EQUAL(scene_counted(STAT_LIMIT_IDENTITY), 1);
    CU_ASSERT_TRUE(scene_establish(scene_with_certificate(tls_device_cse, false, true, HOME)));
    CU_ASSERT_EQUAL(scene_counted(STAT_LIMIT_IDENTITY), 1);
    // One that ends makes room.
    mem_peer_reset(first->stream, ECONNRESET);
    scene_pump();
    CU_ASSERT_TRUE(scene_establish(scene_with_certificate(tls_device_ae, false, true, HOME)));
    CU_ASSERT_EQUAL(scene_counted(STAT_LIMIT_IDENTITY), 1);
    scene_close();
}

// A reload takes the anchor away: who is there stays, nobody new gets in.
static void anchors_that_are_gone(void)
{
    open_asking(true);
    struct scene_device *device = scene_with_certificate(tls_device_ae, true, false, HOME);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    const char *credential_id = credential_in_store();
    CU_ASSERT_TRUE(scene_swap(scene_config("", SCENE_SERVER, SCENE_DTLS ", " SCENE_TLS), 0));
    one_get(device, 1, credential_id);
    struct scene_device *other = scene_with_certificate(tls_device_ae, false, true, "192.0.2.2", 40000);
    CU_ASSERT_TRUE(scene_establish(other));
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_OK_CERTIFICATE), 1);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_OK_NONE), 1);
    scene_close();
}

static const struct unit_test tests[] = {
    {"an AE over TLS 1.2", an_ae_over_tls12},
    {"an AE over TLS 1.3", an_ae_over_tls13},
    {"an AE over DTLS 1.2", an_ae_over_dtls12},
    {"an AE over DTLS 1.3", an_ae_over_dtls13},
    {"without a certificate", without_a_certificate},
    {"with one that names nobody", with_one_that_names_nobody},
    {"refused handshakes are counted", refused_handshakes_are_counted},
    {"a CSE acts as itself", a_cse_acts_as_itself},
    {"an AE that was deleted registers again", an_ae_that_was_deleted_registers_again},
    {"streams of a certificate are limited", streams_of_a_certificate_are_limited},
    {"anchors that are gone", anchors_that_are_gone},
};
UNIT_MAIN("worker: certificates", tests)
