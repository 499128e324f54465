// One worker takes another configuration: what stays, what ends, and where new requests go.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/unit.h"
#include "tests/unit/worker_rig.h"

#define GET_1    "CON GET @t /a 279=Cdev1 283=r1"
#define CSE_1    "CON GET @* /a 279=Cdev1 283=r1 65020=//sp.example/id-in/Cdev1 65052=12-dev1 65084=192.0.2.1:1"
#define CSE_OK   "ACK 2.05 @* 283=r1 307=#2000 |{}"
#define OK_1     "ACK 2.05 @t 283=r1 307=#2000 |{}"
#define HTTP_1   "GET /a HTTP/1.1\r\nHost: gw\r\nX-M2M-Origin: Cdev1\r\nX-M2M-RI: r1\r\n\r\n"
#define HTTP_2   "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\nX-M2M-RI: r1\r\nContent-Length: 0\r\n\r\n"
#define DTLS     scene_counted(STAT_ASSOCIATIONS_DTLS)
#define TLS      scene_counted(STAT_ASSOCIATIONS_TLS)
#define BOTH     SCENE_DTLS ", " SCENE_TLS
#define SERVER_2 "{ name = \"s2\"; http = \"127.0.0.2:8080\"; coap = \"127.0.0.2:5683\"; }"
#define DTLS_2                                                                                                        \
    "{ name = \"dtls2\"; transport = \"dtls\"; binding = \"coap\"; address = \"127.0.0.1\"; port = 5694; upstream = " \
    "\"in\"; }"
#define TLS_2                                                                                                       \
    "{ name = \"tls2\"; transport = \"tls\"; binding = \"http\"; address = \"127.0.0.1\"; port = 8444; upstream = " \
    "\"in\"; version_max = \"1.3\"; certificates = [ \"one\" ]; }"

static struct scene_device *device, *stream;

static void open_with_both(void)
{
    scene_open("");
    device = scene_dtls("dev1", "192.0.2.1", 1);
    stream = scene_tls("dev1", true);
    CU_ASSERT_TRUE_FATAL(scene_establish(device) && stream->state == SAGATE_DONE);
}

static void coap_works(uint16_t mid)
{
    scene_device_says(device, mid, GET_1);
    CU_ASSERT_TRUE(scene_cse_hears(CSE_1));
    scene_cse_says(CSE_OK);
    CU_ASSERT_TRUE(scene_device_hears(device, OK_1));
}

static void http_works(struct scene_device *over, size_t connection)
{
    scene_device_writes(over, HTTP_1);
    CU_ASSERT_PTR_NOT_NULL(strstr(scene_cse_reads(connection), "X-SAGate-Credential-ID: 12-dev1\r\n"));
    scene_cse_writes(connection, HTTP_2);
    CU_ASSERT_PTR_NOT_NULL(strstr(scene_device_reads(over), "X-M2M-RSC: 2000\r\n"));
}

static void nothing_changes(void)
{
    open_with_both();
    struct scene_device *waiting = scene_dtls_without_finished("dev1", "192.0.2.2", 1);
    http_works(stream, 0);
    // A request under way while the configuration is swapped.
    scene_device_says(device, 1, GET_1);
    CU_ASSERT_TRUE(scene_cse_hears(CSE_1));
    CU_ASSERT_TRUE(scene_swap(scene_config("", SCENE_SERVER, BOTH), 0));
    scene_cse_says(CSE_OK);
    CU_ASSERT_TRUE(scene_device_hears(device, OK_1));
    waiting->held = false;
    CU_ASSERT_TRUE(scene_establish(waiting));
    coap_works(2);
    http_works(stream, 0);
    CU_ASSERT_EQUAL(scene.connection_count, 1);
    scene_close();
}

static void order_of_listeners(void)
{
    open_with_both();
    struct scene_device *waiting = scene_dtls_without_finished("dev1", "192.0.2.2", 1);
    CU_ASSERT_TRUE(scene_swap(scene_config("", SCENE_SERVER, SCENE_TLS ", " SCENE_DTLS), 0));
    coap_works(1);
    http_works(stream, 0);
    waiting->held = false;
    CU_ASSERT_TRUE(scene_establish(waiting));
    CU_ASSERT_TRUE(scene_establish(scene_tls(NULL, true)));
    CU_ASSERT_TRUE(scene_establish(scene_dtls("dev1", "192.0.2.3", 1)));
    scene_close();
}

static void removed_listener(void)
{
    open_with_both();
    struct scene_device *waiting = scene_tls("dev1", true);
    waiting->held = true;
    scene_pump();
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_IN_PROGRESS), 1);
    CU_ASSERT_TRUE(scene_swap(scene_config("", SCENE_SERVER, SCENE_DTLS), 0));
    CU_ASSERT_EQUAL(TLS, 0);
    CU_ASSERT_EQUAL(DTLS, 1);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_IN_PROGRESS), 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_ENDED_OPERATOR), 1);
    char byte[1];
    CU_ASSERT_EQUAL(tls_client_read(stream->client, byte, 1), SAGATE_EGONE);
    CU_ASSERT_EQUAL(mem_peer_state(stream->stream), MEM_CLOSED);
    CU_ASSERT_EQUAL(mem_peer_state(waiting->stream), MEM_CLOSED);
    coap_works(1);
    CU_ASSERT_TRUE(scene_swap(scene_config("", SCENE_SERVER, SCENE_TLS), 1));
    CU_ASSERT_EQUAL(DTLS, 0);
    CU_ASSERT_EQUAL(tls_client_read(device->client, byte, 1), SAGATE_EGONE);
    CU_ASSERT_TRUE(scene_establish(scene_tls("dev1", true)));
    scene_close();
}

static void added_listener(void)
{
    scene_open_config(scene_config("", SCENE_SERVER, SCENE_DTLS));
    device = scene_dtls("dev1", "192.0.2.1", 1);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    CU_ASSERT_TRUE(scene_swap(scene_config("", SCENE_SERVER, SCENE_TLS ", " SCENE_DTLS), 1));
    stream = scene_tls("dev1", true);
    CU_ASSERT_TRUE(scene_establish(stream));
    coap_works(1);
    http_works(stream, 0);
    scene_close();
}

// An address that nobody listens at any more costs nothing, however many there were.
static void many_addresses(void)
{
    char listeners[1024];
    scene_open_config(scene_config("", SCENE_SERVER, SCENE_DTLS));
    device = scene_dtls("dev1", "192.0.2.1", 1);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    for (unsigned port = 6000; port < 6300; port++) {
        (void)snprintf(listeners, sizeof listeners,
                       SCENE_DTLS ", { name = \"other\"; transport = \"dtls\"; binding = \"coap\"; address = "
                                  "\"127.0.0.1\"; port = %u; upstream = \"in\"; }",
                       port);
        bool taken = scene_swap(scene_config("", SCENE_SERVER, listeners), 2);
        CU_ASSERT_TRUE(taken);
        scene_advance(10);
    }
    coap_works(1);
    scene_restart();
    coap_works(2);
    scene_close();
}

// One new listener has a socket and the next has none: the configuration before stays whole.
static void refused(void)
{
    open_with_both();
    CU_ASSERT_FALSE(scene_swap(scene_config("", SCENE_SERVER, TLS_2 ", " SCENE_DTLS ", " DTLS_2), 1));
    coap_works(1);
    http_works(stream, 0);
    CU_ASSERT_TRUE(scene_establish(scene_dtls("dev1", "192.0.2.3", 1)));
    CU_ASSERT_TRUE(scene_swap(scene_config("", SCENE_SERVER, TLS_2 ", " SCENE_DTLS ", " DTLS_2 ", " SCENE_TLS), 5));
    coap_works(2);
    http_works(stream, 0);
    scene_close();
}

static void another_server(void)
{
    open_with_both();
    http_works(stream, 0);
    coap_works(1);
    io_id before = scene.last.socket;
    // One request under way at the server that goes.
    scene_device_says(device, 2, GET_1);
    CU_ASSERT_TRUE(scene_cse_hears(CSE_1));
    CU_ASSERT_TRUE(scene_swap(scene_config("", SERVER_2, BOTH), 0));
    uint8_t answer[2048];
    char text[4096] = "nothing";
    int n = tls_client_read(device->client, answer, sizeof answer);
    if (n > 0)
        (void)coap_to_text(answer, (size_t)n, text, sizeof text);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "307=#5103"));
    coap_works(3);
    CU_ASSERT_NOT_EQUAL(scene.last.socket, before);
    http_works(stream, 1);
    struct address wanted;
    (void)address_parse("127.0.0.2", 8080, &wanted);
    CU_ASSERT_TRUE(address_equal(&scene.connected_to[1], &wanted));
    CU_ASSERT_NOT_EQUAL(mem_peer_state(scene.connections[0]), MEM_OPEN);
    CU_ASSERT_EQUAL(DTLS, 1);
    CU_ASSERT_EQUAL(TLS, 1);
    scene_close();
}

// A request under way over HTTP finishes at the server that goes, or ends with an answer; the device learns of it.
static void another_server_in_mid_request(void)
{
    open_with_both();
    scene_device_writes(stream, HTTP_1);
    (void)scene_cse_reads(0);
    CU_ASSERT_TRUE(scene_swap(scene_config("", SERVER_2, BOTH), 0));
    if (mem_peer_state(scene.connections[0]) == MEM_OPEN)
        scene_cse_writes(0, HTTP_2);
    CU_ASSERT_PTR_NOT_NULL(strstr(scene_device_reads(stream), "X-M2M-RI: r1\r\n"));
    http_works(stream, 1);
    scene_close();
}

static void limits_change(void)
{
    open_with_both();
    CU_ASSERT_TRUE(scene_swap(scene_config("association_idle_seconds = 60; handshakes = 1;", SCENE_SERVER, BOTH), 0));
    (void)scene_dtls_without_finished("dev1", "192.0.2.2", 1);
    struct scene_device *late = scene_dtls("dev1", "192.0.2.3", 1);
    CU_ASSERT_FALSE(scene_establish(late));
    CU_ASSERT_TRUE(scene_counted(STAT_LIMIT_HANDSHAKES) > 0);
    scene_close();
}

static const struct unit_test tests[] = {
    {"nothing changes for associations and handshakes", nothing_changes},
    {"listeners in another order", order_of_listeners},
    {"a listener is removed", removed_listener},
    {"a listener is added", added_listener},
    {"many addresses", many_addresses},
    {"a listener without a socket", refused},
    {"another server", another_server},
    {"another server in mid-request", another_server_in_mid_request},
    {"limits change", limits_change},
};
UNIT_MAIN("worker: another configuration", tests)
