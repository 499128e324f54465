// One worker and its TLS devices: handshakes, HTTP to the CSE and back, and how streams end.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/handshake/session.h"
#include "tests/unit/unit.h"
#include "tests/unit/worker_rig.h"

#include <errno.h>

#define HOST    "Host: gw\r\n"
#define WHO     "X-M2M-Origin: Cdev1\r\nX-M2M-RI: r1\r\nX-M2M-RVI: 3\r\n"
#define GET     "GET /cse/ae HTTP/1.1\r\n" HOST WHO "\r\n"
#define CSE_200 "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\nX-M2M-RI: r1\r\nContent-Length: 2\r\n\r\n{}"
#define DEVICES scene_counted(STAT_ASSOCIATIONS_TLS)

static bool has(const char *text, const char *part)
{
    bool found = strstr(text, part) != NULL;
    if (!found)
        printf("\n  no \"%s\" in: %s", part, text);
    return found;
}

// The connection that was opened last gets a request of the device, and the device gets the answer.
static void one_request(struct scene_device *device)
{
    scene_device_writes(device, GET);
    CU_ASSERT_TRUE_FATAL(scene.connection_count > 0);
    size_t last = scene.connection_count - 1;
    const char *request = scene_cse_reads(last);
    CU_ASSERT_TRUE(has(request, "GET /cse/ae HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n"));
    CU_ASSERT_TRUE(has(request, "X-M2M-Origin: Cdev1\r\n"));
    CU_ASSERT_TRUE(has(request, "X-SAGate-Originator: //sp.example/id-in/Cdev1\r\n"));
    CU_ASSERT_TRUE(has(request, "X-SAGate-Credential-ID: 12-dev1\r\n"));
    CU_ASSERT_TRUE(has(request, "X-SAGate-Framework: psk\r\n"));
    CU_ASSERT_TRUE(has(request, "X-SAGate-Authenticated: true\r\n"));
    CU_ASSERT_TRUE(has(request, "Forwarded: for=\"192.0.2.9:"));
    scene_cse_writes(last, CSE_200);
    const char *answer = scene_device_reads(device);
    CU_ASSERT_TRUE(has(answer, "HTTP/1.1 200 OK\r\n"));
    CU_ASSERT_TRUE(has(answer, "X-M2M-RSC: 2000\r\n"));
    CU_ASSERT_TRUE(has(answer, "\r\n\r\n{}"));
}

static void psk(bool tls13)
{
    scene_open("");
    struct scene_device *device = scene_tls("dev1", tls13);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    CU_ASSERT_EQUAL(DEVICES, 1);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_OK_PSK), 1);
    one_request(device);
    one_request(device);
    CU_ASSERT_EQUAL(scene.connection_count, 1); // kept alive on both sides
    tls_client_close(device->client);
    scene_pump();
    CU_ASSERT_EQUAL(DEVICES, 0);
    CU_ASSERT_EQUAL(mem_peer_state(device->stream), MEM_CLOSED);
    scene_close();
}

static void psk_12(void)
{
    psk(false);
}

static void psk_13(void)
{
    psk(true);
}

static void certificate(bool tls13)
{
    scene_open("");
    struct scene_device *device = scene_tls(NULL, tls13);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_OK_NONE), 1);
    CU_ASSERT_EQUAL(scene.resolves, 0);
    scene_device_writes(device, GET);
    const char *answer = scene_device_reads(device);
    CU_ASSERT_TRUE(has(answer, "HTTP/1.1 403 "));
    CU_ASSERT_TRUE(has(answer, "X-M2M-RSC: 4107\r\n"));
    CU_ASSERT_EQUAL(scene.connection_count, 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_REFUSED_NO_ASSOCIATION), 1);
    scene_close();
}

static void certificate_12(void)
{
    certificate(false);
}

static void certificate_13(void)
{
    certificate(true);
}

static void forged_headers(void)
{
    scene_open("");
    struct scene_device *device = scene_tls("dev1", true);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    scene_device_writes(device, "GET /cse/ae HTTP/1.1\r\n" HOST WHO
                                "X-SAGate-Originator: CAdmin\r\nX-SAGate-Credential-ID: 12-boss\r\n\r\n");
    const char *request = scene_cse_reads(0);
    CU_ASSERT_TRUE(has(request, "X-SAGate-Originator: //sp.example/id-in/Cdev1\r\n"));
    CU_ASSERT_PTR_NULL(strstr(request, "CAdmin"));
    CU_ASSERT_PTR_NULL(strstr(request, "boss"));
    scene_close();
}

static void another_originator(void)
{
    scene_open("");
    struct scene_device *device = scene_tls("dev1", true);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    scene_device_writes(device, "GET /a HTTP/1.1\r\n" HOST "X-M2M-Origin: Cdev2\r\nX-M2M-RI: r1\r\n\r\n");
    CU_ASSERT_TRUE(has(scene_device_reads(device), "X-M2M-RSC: 4106\r\n"));
    CU_ASSERT_EQUAL(scene.connection_count, 0);
    scene_close();
}

static void wrong_key_and_unknown(void)
{
    int alerts[2];
    for (size_t i = 0; i < 2; i++) {
        scene_open("");
        struct scene_device *device = scene_tls(i == 0 ? "unknown" : "dev1", false);
        if (i == 1) {
            scene.asks = true;
            scene_pump();
            CU_ASSERT_TRUE(scene_control_hears_resolve("dev1"));
            const struct plane_message answer = {.type = PLANE_RESOLVED,
                                                 .resolved = {.identity = slice_text("dev1"),
                                                              .key = scene_key("wrong"),
                                                              .cache_seconds = 300,
                                                              .principal = scene_principal("dev1", "Cdev1")}};
            scene_control_says(&answer);
        }
        CU_ASSERT_FALSE(scene_establish(device));
        CU_ASSERT_EQUAL(DEVICES, 0);
        CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_IN_PROGRESS), 0);
        CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_FAILED_CREDENTIAL), 1);
        CU_ASSERT_EQUAL(mem_peer_state(device->stream), MEM_CLOSED);
        alerts[i] = tls_client_alert(device->client);
        scene_close();
    }
    CU_ASSERT_EQUAL(alerts[0], alerts[1]);
}

static void gone_in_the_handshake(void)
{
    scene_open("");
    scene.asks = true;
    struct scene_device *parked = scene_tls("dev1", false);
    struct scene_device *silent = scene_tls("dev1", false);
    silent->held = true;
    scene_pump();
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_IN_PROGRESS), 2);
    mem_peer_eof(silent->stream);
    mem_peer_reset(parked->stream, ECONNRESET);
    scene_pump();
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_IN_PROGRESS), 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_PARKED), 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_FAILED_GONE), 2);
    scene_resolved("dev1", SAGATE_OK, "Cdev1"); // for nobody
    scene_pump();
    CU_ASSERT_EQUAL(DEVICES, 0);
    scene_close();
}

static void slow_handshake(void)
{
    scene_open("handshake_seconds = 5;");
    struct scene_device *device = scene_tls("dev1", true);
    device->held = true;
    scene_pump();
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_IN_PROGRESS), 1);
    scene_advance(4999);
    CU_ASSERT_EQUAL(mem_peer_state(device->stream), MEM_OPEN);
    scene_advance(1);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_IN_PROGRESS), 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_FAILED_TIMEOUT), 1);
    CU_ASSERT_EQUAL(mem_peer_state(device->stream), MEM_CLOSED);
    scene_close();
}

static void no_tls_at_all(void)
{
    scene_open("");
    struct scene_device *device = scene_tls("dev1", true);
    device->held = true;
    (void)mem_peer_write(device->stream, GET, strlen(GET));
    scene_pump();
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_FAILED_PROTOCOL), 1);
    CU_ASSERT_EQUAL(mem_peer_state(device->stream), MEM_CLOSED);
    CU_ASSERT_EQUAL(scene.connection_count, 0);
    scene_close();
}

// The device ends in the middle of a request, or after it.
static void end_of_input(void)
{
    scene_open("");
    struct scene_device *cut = scene_tls("dev1", true);
    CU_ASSERT_TRUE_FATAL(scene_establish(cut));
    scene_device_writes(cut, "POST /cse/ae HTTP/1.1\r\n" HOST WHO
                             "Content-Type: application/json;ty=4\r\nContent-Length: 100\r\n\r\n{\"m2m");
    mem_peer_eof(cut->stream);
    scene_pump();
    CU_ASSERT_EQUAL(DEVICES, 0);
    CU_ASSERT_EQUAL(scene.connection_count, 0);

    struct scene_device *half = scene_tls("dev1", true);
    CU_ASSERT_TRUE_FATAL(scene_establish(half));
    scene_device_writes(half, GET);
    mem_peer_eof(half->stream);
    scene_pump();
    CU_ASSERT_EQUAL(DEVICES, 1); // still waits for its answer
    scene_cse_writes(0, CSE_200);
    CU_ASSERT_TRUE(has(scene_device_reads(half), "X-M2M-RSC: 2000\r\n"));
    CU_ASSERT_EQUAL(DEVICES, 0);
    CU_ASSERT_EQUAL(mem_peer_state(half->stream), MEM_CLOSED);
    scene_close();
}

// What follows a close_notify is ignored, however much it is (RFC 5246 7.2.1, RFC 8446 6.1).
static void more_after_the_end(void)
{
    static const char *const suites[] = {"PSK-AES128-GCM-SHA256", "PSK-AES128-CBC-SHA256", "TLS13-AES128-GCM-SHA256"};
    static uint8_t junk[10000];
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++) {
        scene_open("");
        struct scene_device *device = scene_tls_with_suites("dev1", i == 2, suites[i]);
        CU_ASSERT_TRUE_FATAL(scene_establish(device));
        scene_device_writes(device, GET);
        tls_client_close(device->client);
        scene_pump();
        for (int round = 0; round < 20; round++) {
            (void)mem_peer_write(device->stream, junk, sizeof junk);
            scene_pump();
        }
        CU_ASSERT_EQUAL(DEVICES, 1); // still waits for its answer
        scene_cse_writes(0, CSE_200);
        CU_ASSERT_TRUE(has(scene_device_reads(device), "X-M2M-RSC: 2000\r\n"));
        CU_ASSERT_EQUAL(DEVICES, 0);
        scene_close();
    }
}

static void reset_in_mid_request(void)
{
    scene_open("");
    struct scene_device *device = scene_tls("dev1", true);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    scene_device_writes(device, GET);
    CU_ASSERT_TRUE(has(scene_cse_reads(0), "GET /cse/ae"));
    mem_peer_reset(device->stream, ECONNRESET);
    scene_pump();
    CU_ASSERT_EQUAL(DEVICES, 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_ENDED_PEER), 1);
    // The CSE's answer is for nobody, and the next device gets its own.
    (void)mem_peer_write(scene.connections[0], CSE_200, strlen(CSE_200));
    struct scene_device *next = scene_tls("dev1", true);
    CU_ASSERT_TRUE_FATAL(scene_establish(next));
    one_request(next);
    CU_ASSERT_STRING_EQUAL(scene_device_reads(next), "");
    scene_close();
}

// The control process ends an association whose stream is closed by the device in the same batch.
static void killed_and_closed_at_once(void)
{
    scene_open("");
    struct scene_device *device = scene_tls("dev1", true);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    scene_device_writes(device, GET);
    uint64_t cursor = 0;
    size_t budget = SIZE_MAX;
    struct association *association = association_walk(scene.worker->associations, &cursor, &budget);
    CU_ASSERT_PTR_NOT_NULL_FATAL(association);
    const struct plane_message order = {.type = PLANE_KILL,
                                        .kill = {.ticket = 1, .association = association->device.association}};
    scene_control_says(&order);
    mem_peer_reset(device->stream, ECONNRESET);
    mem_peer_reset(scene.connections[0], ECONNRESET);
    scene_pump();
    CU_ASSERT_EQUAL(DEVICES, 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_ENDED_OPERATOR), 1);
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_ENDED_PEER), 0);
    scene_close();
}

static void revoked_and_closed_at_once(void)
{
    scene_open("");
    struct scene_device *device = scene_tls("dev1", false);
    device->held = true;
    for (int i = 0; i < 2; i++) {
        scene_flush(device);
        scene_pump();
    }
    // Its ClientKeyExchange is there, its Finished is lost with the connection.
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_IN_PROGRESS) + DEVICES, 1);
    const struct plane_message order = {
        .type = PLANE_REVOKED, .revoked = {.identity = slice_text("dev1"), .credential_id = slice_text("12-dev1")}};
    scene_control_says(&order);
    mem_peer_reset(device->stream, ECONNRESET);
    scene_pump();
    scene_advance(10);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_IN_PROGRESS) + DEVICES, 0);
    scene_close();
}

static void cse_cannot_be_reached(void)
{
    scene_open("");
    struct scene_device *device = scene_tls("dev1", true);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    scene.refuse = true;
    scene_device_writes(device, GET);
    const char *answer = scene_device_reads(device);
    CU_ASSERT_TRUE(has(answer, "X-M2M-RSC: 5103\r\n"));
    scene.refuse = false;
    one_request(device);
    scene_close();
}

enum { BIG = 400 * 1000 };

// A large answer for a device that reads slowly: the CSE is held back, nothing is lost, and little is kept here.
static void slow_reader(void)
{
    static char piece[10001];
    static char head[256];
    size_t kept = 0;
    size_t got = 0;
    scene_open("");
    struct scene_device *device = scene_tls("dev1", true);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    scene_device_writes(device, GET);
    (void)scene_cse_reads(0);
    device->used = false; // reads nothing
    mem_peer_window(device->stream, 1000);
    (void)snprintf(head, sizeof head,
                   "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\nX-M2M-RI: r1\r\nContent-Type: application/octet-stream\r\n"
                   "Content-Length: %d\r\n\r\n",
                   BIG);
    scene_cse_writes(0, head);
    for (size_t i = 0; i < sizeof piece - 1; i++)
        piece[i] = (char)('a' + i % 23);
    for (size_t i = 0; i < BIG / (sizeof piece - 1); i++)
        scene_cse_writes(0, piece);
    uint64_t cursor = 0;
    size_t budget = SIZE_MAX;
    const struct association *association = association_walk(scene.worker->associations, &cursor, &budget);
    CU_ASSERT_PTR_NOT_NULL_FATAL(association);
    kept = io_stream_queued(scene.io, association->endpoint.stream);
    CU_ASSERT_TRUE(kept > 0 && kept < 192 * 1024);
    mem_peer_window(device->stream, 5000);
    device->used = true;
    size_t from = 0;
    bool right = true;
    for (int i = 0; i < 1000 && got < BIG; i++) {
        scene_pump();
        const char *text = scene_device_reads(device);
        if (from == 0) {
            const char *body = strstr(text, "\r\n\r\n");
            if (body == NULL)
                continue;
            text = body + 4;
            from = 1;
        }
        for (; *text != '\0'; text++, got++)
            right = right && *text == (char)('a' + got % (sizeof piece - 1) % 23);
    }
    CU_ASSERT_TRUE(right);
    CU_ASSERT_EQUAL(got, BIG);
    mem_peer_window(device->stream, SIZE_MAX);
    one_request(device);
    scene_close();
}

// Requests that a device sends before it has the answer to the first: kept in order, the rest held back.
static void many_requests_at_once(void)
{
    static char burst[200 * 128];
    size_t len = 0;
    for (size_t i = 0; i < 100; i++)
        len += (size_t)snprintf(burst + len, sizeof burst - len,
                                "GET /cse/%zu HTTP/1.1\r\n" HOST "X-M2M-Origin: Cdev1\r\nX-M2M-RI: r%zu\r\n\r\n", i, i);
    scene_open("");
    struct scene_device *device = scene_tls("dev1", true);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    scene_device_writes(device, burst);
    size_t answered = 0;
    for (int round = 0; round < 300 && answered < 100; round++) {
        char answer[256];
        char wanted[64];
        bool moved = false;
        for (size_t c = 0; c < scene.connection_count; c++) {
            const char *ri = strstr(scene_cse_reads(c), "X-M2M-RI: r");
            if (ri == NULL)
                continue;
            (void)snprintf(answer, sizeof answer,
                           "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\nX-M2M-RI: r%d\r\nContent-Length: 0\r\n\r\n",
                           atoi(ri + 11));
            scene_cse_writes(c, answer);
            moved = true;
        }
        const char *text = scene_device_reads(device);
        for (const char *at = strstr(text, "X-M2M-RI: "); at != NULL; at = strstr(at + 1, "X-M2M-RI: ")) {
            (void)snprintf(wanted, sizeof wanted, "X-M2M-RI: r%zu\r\n", answered++);
            CU_ASSERT_EQUAL(strncmp(at, wanted, strlen(wanted)), 0);
        }
        if (!moved && *text == '\0')
            break;
    }
    CU_ASSERT_EQUAL(answered, 100);
    CU_ASSERT_EQUAL(DEVICES, 1);
    scene_close();
}

static void damaged_record(void)
{
    scene_open("");
    struct scene_device *device = scene_tls("dev1", true);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    (void)mem_peer_write(device->stream, "\x17\x03\x03\x00\x20", 5);
    (void)mem_peer_write(device->stream, GET, 32);
    scene_pump();
    CU_ASSERT_EQUAL(DEVICES, 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_ENDED_ERROR), 1);
    CU_ASSERT_EQUAL(scene.connection_count, 0);
    scene_close();
}

// The next process has the secret of the one before, and takes its tickets.
static void tickets_survive_the_process(void)
{
    for (int version = 2; version <= 3; version++) {
        scene_open("");
        struct scene_device *device = scene_tls("dev1", version == 3);
        (void)wolfSSL_UseSessionTicket(tls_client_object(device->client));
        CU_ASSERT_TRUE_FATAL(scene_establish(device));
        one_request(device);
        WOLFSSL_SESSION *session = wolfSSL_get1_session(tls_client_object(device->client));
        CU_ASSERT_PTR_NOT_NULL_FATAL(session);
        scene_restart();
        device = scene_tls("dev1", version == 3);
        (void)wolfSSL_UseSessionTicket(tls_client_object(device->client));
        CU_ASSERT_EQUAL(wolfSSL_set_session(tls_client_object(device->client), session), WOLFSSL_SUCCESS);
        CU_ASSERT_TRUE_FATAL(scene_establish(device));
        CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_RESUMED), 1);
        one_request(device);
        wolfSSL_SESSION_free(session);
        scene_close();
    }
}

static void handshakes_are_limited(void)
{
    scene_open("handshakes = 1;");
    struct scene_device *first = scene_tls("dev1", true);
    first->held = true;
    scene_pump();
    struct scene_device *second = scene_tls("dev1", true);
    scene_pump();
    CU_ASSERT_EQUAL(mem_peer_state(second->stream), MEM_RESET);
    CU_ASSERT_EQUAL(scene_counted(STAT_LIMIT_HANDSHAKES), 1);
    first->held = false;
    CU_ASSERT_TRUE(scene_establish(first));
    scene_close();
}

static void limit_per_identity(void)
{
    scene_open("associations_per_identity = 2;");
    struct scene_device *first = scene_tls("dev1", true);
    CU_ASSERT_TRUE(scene_establish(first));
    CU_ASSERT_TRUE(scene_establish(scene_tls("dev1", false)));
    (void)scene_establish(scene_tls("dev1", true));
    CU_ASSERT_EQUAL(DEVICES, 2);
    CU_ASSERT_EQUAL(scene_counted(STAT_LIMIT_IDENTITY), 1);
    CU_ASSERT_TRUE(scene_establish(scene_tls("dev2", true)));
    // One that ends makes room.
    mem_peer_reset(first->stream, ECONNRESET);
    scene_pump();
    CU_ASSERT_TRUE(scene_establish(scene_tls("dev1", true)));
    CU_ASSERT_EQUAL(DEVICES, 3);
    scene_close();
}

static const struct unit_test tests[] = {
    {"PSK, TLS 1.2", psk_12},
    {"limit per identity", limit_per_identity},
    {"PSK, TLS 1.3", psk_13},
    {"server certificate only, TLS 1.2", certificate_12},
    {"server certificate only, TLS 1.3", certificate_13},
    {"forged identity headers", forged_headers},
    {"From of another is refused here", another_originator},
    {"a wrong key and an unknown identity end alike", wrong_key_and_unknown},
    {"a peer that goes in the handshake", gone_in_the_handshake},
    {"a handshake past its deadline", slow_handshake},
    {"plain HTTP on the TLS port", no_tls_at_all},
    {"the end of input in and after a request", end_of_input},
    {"what follows the end of input is ignored", more_after_the_end},
    {"tickets survive the process", tickets_survive_the_process},
    {"a reset in mid-request", reset_in_mid_request},
    {"killed and closed in one batch", killed_and_closed_at_once},
    {"revoked and closed in one batch", revoked_and_closed_at_once},
    {"a CSE that refuses the connection", cse_cannot_be_reached},
    {"a large answer for a slow reader", slow_reader},
    {"many requests at once", many_requests_at_once},
    {"a damaged record ends the association", damaged_record},
    {"handshakes are limited", handshakes_are_limited},
};
UNIT_MAIN("worker: TLS", tests)
