// Once all is warm, a request costs no allocation, whatever its binding, with a body or without; and an association
// that wakes a few.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/allocations.h"
#include "tests/unit/unit.h"
#include "tests/unit/worker_rig.h"

enum { WARM_UP = 500, REQUESTS = 10000, TURNS = 200, REST_MS = 11000, WAKE_ALLOCATIONS = 6 };

#define HEAD     "Host: gw\r\nX-M2M-Origin: Cdev1\r\nX-M2M-RI: r1\r\nX-M2M-RVI: 3\r\n"
#define HTTP_GET "GET /cse/ae HTTP/1.1\r\n" HEAD "\r\n"
#define HTTP_POST \
    "POST /cse/ae HTTP/1.1\r\n" HEAD "Content-Type: application/json;ty=4\r\nContent-Length: 28\r\n\r\n" CONTENT
#define CONTENT "{\"m2m:cin\":{\"con\":\"21.500\"}}"
#define HTTP_200                                                                                               \
    "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\nX-M2M-RI: r1\r\nContent-Type: application/json\r\nContent-Length: " \
    "28\r\n\r\n" CONTENT
#define HTTP_201 "HTTP/1.1 201 Created\r\nX-M2M-RSC: 2001\r\nX-M2M-RI: r1\r\nContent-Length: 0\r\n\r\n"

static struct scene_device *device;
static uint16_t mid;
static size_t answered;

static void coap(const char *request, const char *forwarded, const char *answer, const char *heard)
{
    scene_device_says(device, mid++, request);
    CU_ASSERT_TRUE_FATAL(scene_cse_hears(forwarded));
    scene_cse_says(answer);
    CU_ASSERT_TRUE_FATAL(scene_device_hears(device, heard));
    answered++;
    scene_advance(1);
}

#define WHO " 65020=//sp.example/id-in/Cdev1 65052=12-dev1 65084=192.0.2.1:40000"

static void coap_retrieve(void)
{
    coap("CON GET @t /cse /ae 279=Cdev1 283=r1", "CON GET @* /cse /ae 279=Cdev1 283=r1" WHO,
         "ACK 2.05 @* 12=#50 283=r1 307=#2000 |" CONTENT, "ACK 2.05 @t 12=#50 283=r1 307=#2000 |" CONTENT);
}

static void coap_create(void)
{
    coap("CON POST @t /cse /ae 12=#50 267=#4 279=Cdev1 283=r1 |" CONTENT,
         "CON POST @* /cse /ae 12=#50 267=#4 279=Cdev1 283=r1" WHO " |" CONTENT, "ACK 2.01 @* 283=r1 307=#2001",
         "ACK 2.01 @t 283=r1 307=#2001");
}

static void coap_after_rest(void)
{
    scene_advance(REST_MS);
    coap_retrieve();
}

static void http(const char *request, const char *answer, const char *code)
{
    scene_device_writes(device, request);
    (void)scene_cse_reads(0);
    scene_cse_writes(0, answer);
    CU_ASSERT_PTR_NOT_NULL_FATAL(strstr(scene_device_reads(device), code));
    answered++;
    scene_advance(1);
}

static void http_retrieve(void)
{
    http(HTTP_GET, HTTP_200, "X-M2M-RSC: 2000");
}

static void http_create(void)
{
    http(HTTP_POST, HTTP_201, "X-M2M-RSC: 2001");
}

// Allocations of so many requests, after a warm-up.
static uint64_t allocations_of(size_t requests, void (*request)(void))
{
    allocations_count();
    for (size_t i = 0; i < WARM_UP; i++)
        request();
    uint64_t before = allocations_counted();
    answered = 0;
    for (size_t i = 0; i < requests; i++)
        request();
    CU_ASSERT_EQUAL(answered, requests);
    return allocations_counted() - before;
}

static void open_dtls(void)
{
    scene_open("coap_exchange_bytes = 1048576");
    device = scene_dtls_with_cid("dev1", false, slice_of("", 0), "192.0.2.1", 40000);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
}

static void open_tls(bool tls13)
{
    scene_open("");
    device = scene_tls("dev1", tls13);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
}

static void over_dtls(void)
{
    open_dtls();
    CU_ASSERT_EQUAL(allocations_of(REQUESTS, coap_retrieve), 0);
    CU_ASSERT_EQUAL(allocations_of(REQUESTS, coap_create), 0);
    scene_close();
}

// Waking makes the record's object anew and, if it is the first association of its credential at hand, the principal.
static void over_dtls_after_rest(void)
{
    open_dtls();
    CU_ASSERT_TRUE(allocations_of(TURNS, coap_after_rest) <= TURNS * WAKE_ALLOCATIONS);
    scene_close();
}

static void over_tls_12(void)
{
    open_tls(false);
    CU_ASSERT_EQUAL(allocations_of(REQUESTS, http_retrieve), 0);
    CU_ASSERT_EQUAL(allocations_of(REQUESTS, http_create), 0);
    CU_ASSERT_EQUAL(scene.connection_count, 1); // kept alive
    scene_close();
}

static void over_tls_13(void)
{
    open_tls(true);
    CU_ASSERT_EQUAL(allocations_of(REQUESTS, http_retrieve), 0);
    CU_ASSERT_EQUAL(allocations_of(REQUESTS, http_create), 0);
    scene_close();
}

// The instrument itself: what is known to allocate is seen.
static void a_handshake_is_seen(void)
{
    open_dtls();
    allocations_count();
    uint64_t before = allocations_counted();
    CU_ASSERT_TRUE(scene_establish(scene_tls("dev2", true)));
    CU_ASSERT_TRUE(allocations_counted() > before);
    scene_close();
}

static const struct unit_test tests[] = {
    {"a handshake is seen", a_handshake_is_seen},
    {"CoAP over DTLS", over_dtls},
    {"CoAP over DTLS after rest", over_dtls_after_rest},
    {"HTTP over TLS 1.2", over_tls_12},
    {"HTTP over TLS 1.3", over_tls_13},
};

UNIT_MAIN("worker_allocations", tests)
