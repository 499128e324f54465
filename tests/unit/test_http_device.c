// The HTTP binding as a device sees it: what is refused and how, what a CSE gets to see of a request, and limits.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/http_fakes.h"
#include "tests/unit/unit.h"

#define GET    "GET /cse/ae HTTP/1.1\r\nHost: gw\r\n"
#define POST   "POST /cse/ae HTTP/1.1\r\nHost: gw\r\n"
#define WHO    "X-M2M-Origin: Cdev1\r\nX-M2M-RI: r1\r\n"
#define JSON   "Content-Type: application/json\r\n"
#define CSE_OK "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\nX-M2M-RI: r1\r\nContent-Length: 2\r\n\r\n{}"
#define CSE_GET \
    "GET /cse/ae HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nX-M2M-Origin: Cdev1\r\nX-M2M-RVI: 3\r\nX-M2M-RI: r1\r\n"
#define ANSWER_200 "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\nX-M2M-RI: r1\r\n"

#define TEN(x) x x x x x x x x x x

struct refusal {
    const char *request;
    const char *status; // how the answer begins
    const char *rsc;
    bool close;
    enum stat_id stat; // STAT_COUNT: none of this module's
};

static const struct refusal refusals[] = {
    // Framing that two readers could read in two ways.
    {POST WHO "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    {POST WHO "Content-Length: 2\r\nContent-Length: 9\r\n\r\n{}", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    {POST WHO "Content-Length: 2, 2\r\n\r\n{}", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    {POST WHO "Content-Length: +2\r\n\r\n{}", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    {POST WHO "Content-Length: 0x2\r\n\r\n{}", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    {POST WHO "Content-Length:\r\n\r\n{}", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    {POST WHO "Content-Length: 99999999999999999999\r\n\r\n{}", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    {POST WHO "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 400 ", "4000", true,
     STAT_HTTP_MALFORMED},
    {POST WHO "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", "HTTP/1.1 400 ", "4000", true,
     STAT_HTTP_MALFORMED},
    {POST WHO "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    {POST WHO "Transfer-Encoding: identity\r\n\r\n", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    {POST WHO "Transfer-Encoding: xchunked\r\n\r\n", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    {POST WHO "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 400 ", "4000",
     true, STAT_HTTP_MALFORMED},
    {POST WHO "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    {POST WHO "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    {POST WHO JSON "Transfer-Encoding: chunked\r\n\r\n2;a=b\n{}\r\n0\r\n\r\n", "HTTP/1.1 400 ", "4000", true,
     STAT_HTTP_MALFORMED},
    {POST WHO "X: a\rContent-Length: 5\r\n\r\n", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    {POST WHO "X: a\nContent-Length: 5\r\n\r\n", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    {POST WHO "X-M2M_Origin: CAdmin\r\n\r\n", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    {POST WHO "X-M2M-Origin\t: CAdmin\r\n\r\n", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    // The start line and Host.
    {"GET /cse HTTP/1.0\r\nHost: gw\r\n" WHO "\r\n", "HTTP/1.1 505 ", "4000", true, STAT_HTTP_MALFORMED},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1 505 ", "4000", true, STAT_HTTP_MALFORMED},
    {"GET /cse HTTP/1.1\r\n" WHO "\r\n", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    {GET "Host: gw\r\n" WHO "\r\n", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    {"GET /cse HTTP/1.1\r\nHost: a b\r\n" WHO "\r\n", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    {"GET http://gw/cse HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    {"GET //gw/cse HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    {"GET gw:80 HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    {"GET /cse#ae HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    {"GET /cse%2 HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    {"GET /cse\\ae HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    {"\x16\x03\x01\x02", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    // A second originator, or a second value of what must be there once.
    {GET WHO "X-M2M-Origin: Cdev1\r\n\r\n", "HTTP/1.1 400 ", "4000", false, STAT_REFUSED_SECOND_ORIGINATOR},
    {GET "x-m2m-origin: CAdmin\r\n" WHO "\r\n", "HTTP/1.1 400 ", "4000", false, STAT_REFUSED_SECOND_ORIGINATOR},
    {GET WHO "X-M2M-RI: r2\r\n\r\n", "HTTP/1.1 400 ", "4000", false, STAT_REFUSED_MALFORMED},
    {GET WHO "X-M2M-RVI: 3\r\nX-M2M-RVI: 2a\r\n\r\n", "HTTP/1.1 400 ", "4000", false, STAT_REFUSED_MALFORMED},
    {POST WHO JSON "Content-Type: application/json;ty=2\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 400 ", "4000", false,
     STAT_REFUSED_MALFORMED},
    {POST WHO "Content-Type: application/json;x=\"; ty=2\"\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 400 ", "4000",
     false, STAT_REFUSED_MALFORMED},
    {POST WHO "Content-Type: application/json;ty=4;ty=2\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 400 ", "4000", false,
     STAT_REFUSED_MALFORMED},
    {POST WHO "Content-Type: application/json;TY=2\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 400 ", "4000", false,
     STAT_REFUSED_MALFORMED},
    {POST WHO "Content-Type: application/json;ty=02\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 400 ", "4000", false,
     STAT_REFUSED_MALFORMED},
    {POST WHO JSON "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 415 ", "4015", false,
     STAT_REFUSED_MALFORMED},
    {POST WHO "Content-Type: application/json;charset=utf-7\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 415 ", "4015",
     false, STAT_REFUSED_MALFORMED},
    // Fields that a connection option would take away behind the check.
    {POST WHO "Connection: Content-Type\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 400 ", "4000", true,
     STAT_HTTP_MALFORMED},
    {GET WHO "Connection: close, X-M2M-Origin\r\n\r\n", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    // The primitive.
    {GET "X-M2M-Origin: Cdev1\r\n\r\n", "HTTP/1.1 400 ", "4000", false, STAT_REFUSED_MALFORMED},
    {GET "X-M2M-Origin: Cdev1\r\nX-M2M-RI: 123456789012345678901\r\n\r\n", "HTTP/1.1 400 ", "4000", false,
     STAT_REFUSED_MALFORMED},
    {"GET / HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n", "HTTP/1.1 400 ", "4000", false, STAT_REFUSED_MALFORMED},
    {"GET /~/ HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n", "HTTP/1.1 400 ", "4000", false, STAT_REFUSED_MALFORMED},
    {"GET /_/?a=b HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n", "HTTP/1.1 400 ", "4000", false, STAT_REFUSED_MALFORMED},
    {GET "X-M2M-RI: r1\r\n\r\n", "HTTP/1.1 400 ", "4000", false, STAT_REFUSED_FROM_MISSING},
    {GET "X-M2M-Origin:\r\nX-M2M-RI: r1\r\n\r\n", "HTTP/1.1 400 ", "4000", false, STAT_REFUSED_FROM_MISSING},
    {GET "X-M2M-Origin: CAdmin\r\nX-M2M-RI: r1\r\n\r\n", "HTTP/1.1 403 ", "4106", false, STAT_REFUSED_ORIGINATOR},
    {GET "X-M2M-Origin: Cdev1,CAdmin\r\nX-M2M-RI: r1\r\n\r\n", "HTTP/1.1 403 ", "4106", false, STAT_REFUSED_ORIGINATOR},
    // An originator in the query.
    {"GET /cse?fr=CAdmin HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n", "HTTP/1.1 403 ", "4106", false,
     STAT_REFUSED_SECOND_ORIGINATOR},
    {"GET /cse?a=b&%66%72=%43Admin HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n", "HTTP/1.1 403 ", "4106", false,
     STAT_REFUSED_SECOND_ORIGINATOR},
    {"GET /cse?fr=Cdev1&fr=Cdev2 HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n", "HTTP/1.1 400 ", "4000", false,
     STAT_REFUSED_SECOND_ORIGINATOR},
    {"GET /cse?fr%00=CAdmin HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n", "HTTP/1.1 403 ", "4106", false,
     STAT_REFUSED_SECOND_ORIGINATOR},
    {"GET /cse?fr=Cdev1%00 HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n", "HTTP/1.1 403 ", "4106", false,
     STAT_REFUSED_SECOND_ORIGINATOR},
    {"GET /cse?a=b;fr=CAdmin&c HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n", "HTTP/1.1 403 ", "4106", false,
     STAT_REFUSED_SECOND_ORIGINATOR},
    {"GET /cse?&&a?=b&fr HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n", "HTTP/1.1 403 ", "4106", false,
     STAT_REFUSED_SECOND_ORIGINATOR},
    {"GET /cse?fr=" TEN(TEN("0123456789")) TEN("0123456789") TEN("0123456789") " HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n",
     "HTTP/1.1 403 ", "4106", false, STAT_REFUSED_SECOND_ORIGINATOR},
    {"GET /cse?f%7=CAdmin HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n", "HTTP/1.1 400 ", "4000", true, STAT_HTTP_MALFORMED},
    // Methods, upgrades, expectations.
    {"OPTIONS * HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n", "HTTP/1.1 405 ", "4005", false, STAT_REFUSED_OPERATION},
    {"CONNECT gw:80 HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n", "HTTP/1.1 405 ", "4005", false, STAT_REFUSED_OPERATION},
    {"TRACE /cse HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n", "HTTP/1.1 405 ", "4005", false, STAT_REFUSED_OPERATION},
    {"PATCH /cse HTTP/1.1\r\nHost: gw\r\n" WHO "Content-Length: 2\r\n\r\n{}", "HTTP/1.1 405 ", "4005", false,
     STAT_REFUSED_OPERATION},
    {"get /cse HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n", "HTTP/1.1 405 ", "4005", false, STAT_REFUSED_OPERATION},
    {GET WHO "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "HTTP/1.1 501 ", "5001", false,
     STAT_REFUSED_MALFORMED},
    {POST WHO "Expect: 200-maybe\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 417 ", "4000", true, STAT_HTTP_MALFORMED},
    // The content.
    {POST WHO JSON "Content-Length: 3\r\n\r\n{!}", "HTTP/1.1 400 ", "4000", false, STAT_REFUSED_CONTENT},
    {POST WHO JSON "Content-Length: 2\r\n\r\n{x", "HTTP/1.1 400 ", "4000", false, STAT_REFUSED_CONTENT},
    {POST WHO JSON "Content-Length: 15\r\n\r\n{\"fr\":\"CAdmin\"}", "HTTP/1.1 403 ", "4106", false,
     STAT_REFUSED_SECOND_ORIGINATOR},
    {POST WHO JSON "Content-Length: 14\r\n\r\n{\"fr\":\"Cdev2\"}", "HTTP/1.1 400 ", "4000", false,
     STAT_REFUSED_SECOND_ORIGINATOR},
    {POST WHO JSON "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"fr\"\r\nA\r\n:\"CAdmin\"}\r\n0\r\n\r\n", "HTTP/1.1 403 ",
     "4106", false, STAT_REFUSED_SECOND_ORIGINATOR},
    {POST WHO JSON "Content-Length: 27\r\n\r\n{\"m2m:rqp\":{\"fr\":\"CAdmin\"}}", "HTTP/1.1 403 ", "4106", false,
     STAT_REFUSED_SECOND_ORIGINATOR},
    {POST WHO JSON "Content-Length: 27\r\n\r\n{\"fr\":\"Cdev1\",\"fr\":\"CAdmi\"}", "HTTP/1.1 400 ", "4000", false,
     STAT_REFUSED_SECOND_ORIGINATOR},
    {POST WHO JSON "Content-Length: 4097\r\n\r\n{", "HTTP/1.1 413 ", "4000", true, STAT_REFUSED_LIMIT},
    {GET "X: " TEN(TEN(TEN("0123456789"))) "\r\n\r\n", "HTTP/1.1 431 ", "4000", true, STAT_HTTP_MALFORMED},
};

static void check_refusal(const struct refusal *refusal, size_t cut)
{
    struct bench *bench = bench_new();
    char rsc[32];
    size_t len = strlen(refusal->request);
    uint64_t before = refusal->stat == STAT_COUNT ? 0 : bench_stat(bench, refusal->stat);
    bench_device_says(bench, 0, refusal->request, cut);
    bench_device_says(bench, 0, refusal->request + cut, len - cut);
    (void)snprintf(rsc, sizeof rsc, "\r\nX-M2M-RSC: %s\r\n", refusal->rsc);
    const char *heard = bench_heard(bench, 0);
    bool good = strncmp(heard, refusal->status, strlen(refusal->status)) == 0 && strstr(heard, rsc) != NULL &&
                strstr(heard, "\r\n\r\n{\"m2m:dbg\":\"") != NULL && bench->stream_count == 0 &&
                (strstr(heard, "\r\nConnection: close\r\n") != NULL) == refusal->close &&
                bench->devices[0].closed == refusal->close;
    CU_ASSERT_TRUE(good);
    if (!good)
        (void)fprintf(stderr, "request cut at %zu:\n%s\nanswer:\n%s\n", cut, refusal->request, heard);
    CU_ASSERT_EQUAL(bench_stat(bench, refusal->stat), before + 1);
    if (!refusal->close) { // the stream is in step: another request is served
        bench_says(bench, GET WHO "\r\n");
        CU_ASSERT_EQUAL(bench->stream_count, 1);
    }
    bench_free(bench);
}

static void refused_and_never_forwarded(void)
{
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        size_t len = strlen(refusals[i].request);
        size_t step = len > 1000 ? 997 : 7;
        for (size_t cut = 0; cut <= len; cut += step)
            check_refusal(&refusals[i], cut);
        check_refusal(&refusals[i], len);
    }
}

static void refusal_byte_for_byte(void)
{
    struct bench *bench = bench_new();
    bench_says(bench, GET "X-M2M-Origin: CAdmin\r\nX-M2M-RI: 77\r\nX-M2M-RVI: 2a\r\n\r\n");
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0),
                           "HTTP/1.1 403 Forbidden\r\nX-M2M-RSC: 4106\r\nX-M2M-RI: 77\r\nX-M2M-RVI: 2a\r\n"
                           "Content-Type: application/json\r\nContent-Length: 52\r\n\r\n"
                           "{\"m2m:dbg\":\"not the originator of this association\"}");
    bench_says(bench, "HEAD /cse HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n");
    const char *heard = bench_heard(bench, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(heard, "HTTP/1.1 405 Method Not Allowed\r\nX-M2M-RSC: 4005\r\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(heard, "\r\nAllow: GET, POST, PUT, DELETE\r\n"));
    CU_ASSERT_PTR_NULL(strchr(heard, '{')); // HEAD: no content
    // What could be read of a broken head is echoed.
    bench_says(bench, GET "X-M2M-RI: 78\r\nBroken : x\r\n\r\n");
    CU_ASSERT_PTR_NOT_NULL(strstr(bench_heard(bench, 0), "\r\nX-M2M-RI: 78\r\nX-M2M-RVI: 3\r\n"));
    bench_free(bench);
}

static void no_identity(void)
{
    struct bench *bench = bench_new();
    principal_release(bench->devices[0].device.principal);
    bench->devices[0].device.principal = NULL;
    bench_says(bench, GET WHO "\r\n");
    CU_ASSERT_PTR_NOT_NULL(strstr(bench_heard(bench, 0), "HTTP/1.1 403 Forbidden\r\nX-M2M-RSC: 4107\r\n"));
    CU_ASSERT_EQUAL(bench->stream_count, 0);
    bench_free(bench);
}

static const struct {
    const char *request, *forwarded;
} forwards[] = {
    {GET WHO "\r\n", CSE_GET "\r\n"},
    // Nothing that speaks of identity or of the hop travels along; the rest does, in order and as it was written.
    {"GET /~/cse/ae?fu=1&lbl=a+b%20c HTTP/1.1\r\nHost: gw\r\n" WHO
     "x-sagate-originator: CAdmin\r\nX-SAGate-Anything: 1\r\nForwarded: for=1.2.3.4\r\nX-Forwarded-For: 1.2.3.4\r\n"
     "X-Real-IP: 1.2.3.4\r\nRemoteAddress: 1.2.3.4\r\nClient-Cert: :x:\r\nClient-Cert-Chain: :x:\r\n"
     "X-HTTP-Method-Override: DELETE\r\nConnection: keep-alive, Hop\r\nHop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
     "Trailer: a\r\nUpgrade: h2c\r\nProxy-Authorization: x\r\nAccept: application/json\r\nX-Other: a  b\r\n\r\n",
     "GET /~/cse/ae?fu=1&lbl=a+b%20c HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nX-M2M-Origin: Cdev1\r\nX-M2M-RVI: 3\r\n"
     "X-M2M-RI: r1\r\nAccept: application/json\r\nX-Other: a  b\r\n\r\n"},
    {"GET /_/sp.example/cse HTTP/1.1\r\nHost: gw\r\n" WHO "X-M2M-RVI: 2a\r\nAuthorization: t\r\n\r\n",
     "GET /_/sp.example/cse HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nX-M2M-Origin: Cdev1\r\nX-M2M-RVI: 2a\r\n"
     "X-M2M-RI: r1\r\nAuthorization: t\r\n\r\n"},
    {"GET /cse?fr=Cdev1&f%72=Cde%761&FR=x&afr=y&fra=z&a=fr=b HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n",
     "GET /cse?fr=Cdev1&f%72=Cde%761&FR=x&afr=y&fra=z&a=fr=b HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n"
     "X-M2M-Origin: Cdev1\r\nX-M2M-RVI: 3\r\nX-M2M-RI: r1\r\n\r\n"},
    // A registration without From goes without one.
    {POST "X-M2M-RI: r1\r\nAccept-Encoding: gzip\r\nContent-Type: application/json; ty=2\r\nContent-Length: 2\r\n\r\n"
          "{}",
     "POST /cse/ae HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nX-M2M-RVI: 3\r\nX-M2M-RI: r1\r\n"
     "Content-Type: application/json; ty=2\r\nContent-Length: 2\r\n\r\n{}"},
    // A chunked body that is short is sent whole; its trailer is dropped.
    {POST WHO JSON "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n7\r\n\"a\":12}\r\n0\r\nX-M2M-Origin: CAdmin\r\n\r\n",
     "POST /cse/ae HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nX-M2M-Origin: Cdev1\r\nX-M2M-RVI: 3\r\nX-M2M-RI: r1\r\n" JSON
     "Content-Length: 8\r\n\r\n{\"a\":12}"},
    {POST WHO JSON "Content-Length: 14\r\n\r\n{\"fr\":\"Cdev1\"}",
     "POST /cse/ae HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nX-M2M-Origin: Cdev1\r\nX-M2M-RVI: 3\r\nX-M2M-RI: r1\r\n" JSON
     "Content-Length: 14\r\n\r\n{\"fr\":\"Cdev1\"}"},
    {"DELETE /cse/ae HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n",
     "DELETE /cse/ae HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nX-M2M-Origin: Cdev1\r\nX-M2M-RVI: 3\r\nX-M2M-RI: r1\r\n\r\n"},
    {"PUT /cse/ae HTTP/1.1\r\nHost: gw\r\n" WHO "\r\n",
     "PUT /cse/ae HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nX-M2M-Origin: Cdev1\r\nX-M2M-RVI: 3\r\nX-M2M-RI: r1\r\n"
     "Content-Length: 0\r\n\r\n"},
};

static void forwarded_byte_for_byte(void)
{
    for (size_t i = 0; i < sizeof forwards / sizeof *forwards; i++) {
        size_t len = strlen(forwards[i].request);
        for (size_t cut = 0; cut <= len; cut++) {
            struct bench *bench = bench_new();
            bench_device_says(bench, 0, forwards[i].request, cut);
            bench_device_says(bench, 0, forwards[i].request + cut, len - cut);
            bench_connected(bench, 0);
            const char *written = bench_written(bench, 0);
            CU_ASSERT_STRING_EQUAL(written, forwards[i].forwarded);
            if (strcmp(written, forwards[i].forwarded) != 0)
                (void)fprintf(stderr, "forward %zu cut at %zu: %s\n", i, cut, written);
            bench_cse_says(bench, 0, CSE_OK);
            CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), ANSWER_200 "Content-Length: 2\r\n\r\n{}");
            CU_ASSERT_FALSE(bench->devices[0].closed);
            bench_free(bench);
        }
    }
}

static void identity_headers(void)
{
    struct bench *bench = bench_new();
    bench->upstream.http_identity = CONFIG_IDENTITY_HEADERS;
    free(bench->upstream.authorization);
    bench->upstream.authorization = strdup("Bearer gateway");
    bench_says(bench, GET WHO "Authorization: forged\r\nX-SAGate-Authenticated: false\r\n\r\n");
    bench_connected(bench, 0);
    CU_ASSERT_STRING_EQUAL(bench_written(bench, 0),
                           CSE_GET "Authorization: Bearer gateway\r\nX-SAGate-Originator: //sp.example/id-in/Cdev1\r\n"
                                   "X-SAGate-Credential-ID: 12-dev1\r\nX-SAGate-Framework: psk\r\n"
                                   "X-SAGate-Authenticated: true\r\n"
                                   "Forwarded: for=\"198.51.100.7:4711\";proto=https\r\n\r\n");
    bench_free(bench);
    bench = bench_new(); // a registration has no originator yet; a strange credential cannot break out of its line
    bench->upstream.http_identity = CONFIG_IDENTITY_HEADERS;
    principal_release(bench->devices[0].device.principal);
    bench->devices[0].device.principal =
        principal_new(FRAMEWORK_CERTIFICATE, slice_text("12-a\r\nX: %b"), (struct slice){0});
    (void)address_parse_pair("[2001:db8::7]:4711", &bench->devices[0].device.peer);
    bench_says(bench, POST "X-M2M-RI: r1\r\nContent-Type: application/json;ty=2\r\nContent-Length: 0\r\n\r\n");
    bench_connected(bench, 0);
    const char *written = bench_written(bench, 0);
    CU_ASSERT_PTR_NULL(strstr(written, "X-SAGate-Originator"));
    CU_ASSERT_PTR_NULL(strstr(written, "X-M2M-Origin"));
    CU_ASSERT_PTR_NOT_NULL(strstr(written, "X-SAGate-Credential-ID: 12-a%0D%0AX:%20%25b\r\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(written, "Forwarded: for=\"[2001:db8::7]:4711\";proto=https\r\n"));
    bench_free(bench);
}

static void pipelined_in_order(void)
{
    struct bench *bench = bench_new();
    bench_says(bench, GET WHO "\r\n" GET "X-M2M-Origin: Cx\r\nX-M2M-RI: r2\r\n\r\n" GET WHO "\r\nGET /half");
    CU_ASSERT_TRUE(bench->devices[0].paused);
    CU_ASSERT_EQUAL(http_in_flight(bench->http), 1);
    bench_connected(bench, 0);
    CU_ASSERT_STRING_EQUAL(bench_written(bench, 0), CSE_GET "\r\n"); // one after the other
    bench_cse_says(bench, 0, CSE_OK);
    const char *heard = bench_heard(bench, 0);
    CU_ASSERT_PTR_EQUAL(strstr(heard, "HTTP/1.1 200 "), heard);
    CU_ASSERT_PTR_NOT_NULL(strstr(heard, "{}HTTP/1.1 403 "));
    CU_ASSERT_STRING_EQUAL(bench_written(bench, 0), CSE_GET "\r\n"); // the third, on the same connection
    CU_ASSERT_TRUE(bench->devices[0].paused);
    bench_cse_says(bench, 0, CSE_OK);
    CU_ASSERT_FALSE(bench->devices[0].paused); // the rest of the fourth may come
    CU_ASSERT_PTR_NOT_NULL(strstr(bench_heard(bench, 0), "HTTP/1.1 200 "));
    CU_ASSERT_EQUAL(bench->stream_count, 1);
    CU_ASSERT_EQUAL(bench->ended_answered, 2);
    CU_ASSERT_EQUAL(bench->stats->primitives[STATS_HTTP][ONEM2M_RETRIEVE][STATS_RSC_2000], 2);
    CU_ASSERT_EQUAL(bench->stats->primitives[STATS_HTTP][ONEM2M_RETRIEVE][STATS_RSC_4106], 1);
    bench_free(bench);
}

static void flood_of_input(void)
{
    struct bench *bench = bench_new();
    static char flood[100000];
    memset(flood, 'x', sizeof flood);
    bench_says(bench, GET WHO "\r\n");
    for (int i = 0; i < 3; i++) // although it was paused
        bench_device_says(bench, 0, flood, sizeof flood);
    CU_ASSERT_TRUE(bench->devices[0].closed);
    CU_ASSERT_TRUE(bench->streams[0].aborted);
    CU_ASSERT_EQUAL(http_in_flight(bench->http), 0);
    bench_free(bench);
}

static void connection_close_and_drain(void)
{
    struct bench *bench = bench_new();
    bench_says(bench, GET WHO "Connection: close\r\n\r\n" GET WHO "\r\n");
    bench_connected(bench, 0);
    bench_cse_says(bench, 0, CSE_OK);
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), ANSWER_200 "Content-Length: 2\r\nConnection: close\r\n\r\n{}");
    CU_ASSERT_TRUE(bench->devices[0].closed);
    CU_ASSERT_STRING_EQUAL(bench_written(bench, 0), CSE_GET "\r\n"); // what came after "close" is not served
    http_drain(bench->http, true);
    bench_device_says(bench, 1, GET WHO "\r\n", strlen(GET WHO "\r\n"));
    bench_cse_says(bench, 0, CSE_OK);
    CU_ASSERT_PTR_NOT_NULL(strstr(bench_heard(bench, 1), "\r\nConnection: close\r\n"));
    CU_ASSERT_TRUE(bench->devices[1].closed);
    bench_free(bench);
}

static void end_of_input(void)
{
    struct bench *bench = bench_new();
    bench_says(bench, GET WHO "\r\n");
    http_device_eof(bench->http, &bench->devices[0].device, bench->now_us);
    bench_connected(bench, 0);
    CU_ASSERT_FALSE(bench->devices[0].closed);
    bench_cse_says(bench, 0, CSE_OK);
    CU_ASSERT_PTR_NOT_NULL(strstr(bench_heard(bench, 0), "HTTP/1.1 200 ")); // complete, so answered
    CU_ASSERT_TRUE(bench->devices[0].closed);
    bench_device_says(bench, 1, GET, strlen(GET));
    http_device_eof(bench->http, &bench->devices[1].device, bench->now_us);
    CU_ASSERT_TRUE(bench->devices[1].closed);
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 1), "");
    bench_free(bench);
}

static void slow_devices(void)
{
    struct bench *bench = bench_new();
    bench_says(bench, GET "X-M2M-RI: r9\r\nX: ");
    for (int i = 0; i < 12; i++) { // slow-loris: a byte a second does not move the deadline
        bench_wait(bench, 1000);
        bench_says(bench, "a");
    }
    const char *heard = bench_heard(bench, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(heard, "HTTP/1.1 408 Request Timeout\r\nX-M2M-RSC: 4000\r\nX-M2M-RI: r9\r\n"));
    CU_ASSERT_TRUE(bench->devices[0].closed);
    CU_ASSERT_EQUAL(bench_stat(bench, STAT_HTTP_SLOW), 1);
    bench_device_says(bench, 1, POST WHO JSON "Content-Length: 20\r\n\r\n{",
                      strlen(POST WHO JSON "Content-Length: 20\r\n\r\n{"));
    bench_wait(bench, 21000);
    CU_ASSERT_PTR_NOT_NULL(strstr(bench_heard(bench, 1), "HTTP/1.1 408 "));
    CU_ASSERT_TRUE(bench->devices[1].closed);
    bench_device_says(bench, 2, GET "X-M2M-RI: r1\r\n\r\n", strlen(GET "X-M2M-RI: r1\r\n\r\n"));
    (void)bench_heard(bench, 2);
    bench_wait(bench, 61000); // idle between two requests: closed without a word
    CU_ASSERT_TRUE(bench->devices[2].closed);
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 2), "");
    bench_free(bench);
}

static void expectation(void)
{
    struct bench *bench = bench_new();
    bench_says(bench, POST WHO JSON "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), "HTTP/1.1 100 Continue\r\n\r\n");
    bench_says(bench, "{}");
    bench_connected(bench, 0);
    const char *written = bench_written(bench, 0);
    CU_ASSERT_PTR_NULL(strstr(written, "Expect"));
    CU_ASSERT_PTR_NOT_NULL(strstr(written, "\r\n\r\n{}"));
    bench_cse_says(bench, 0, CSE_OK);
    (void)bench_heard(bench, 0);
    bench_says(bench, POST "X-M2M-Origin: Cx\r\nX-M2M-RI: r1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    const char *heard = bench_heard(bench, 0);
    CU_ASSERT_PTR_EQUAL(strstr(heard, "HTTP/1.1 403 "), heard); // no invitation for what is refused
    CU_ASSERT_TRUE(bench->devices[0].closed);                   // whether a body follows cannot be known
    bench_free(bench);
}

static void body_of_a_refused_request(void)
{
    struct bench *bench = bench_new();
    bench_says(bench, POST "X-M2M-Origin: Cx\r\nX-M2M-RI: r1\r\nContent-Length: 40\r\n\r\n");
    CU_ASSERT_PTR_NOT_NULL(strstr(bench_heard(bench, 0), "HTTP/1.1 403 "));
    bench_says(bench, "GET /evil HTTP/1.1\r\nHost: gw\r\n\r\n 2345678" GET WHO "\r\n"); // 40 bytes are no request
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), "");
    bench_connected(bench, 0);
    CU_ASSERT_STRING_EQUAL(bench_written(bench, 0), CSE_GET "\r\n");
    bench_device_says(bench, 1, POST "X-M2M-RI: r1\r\nContent-Length: 65\r\n\r\n",
                      strlen(POST "X-M2M-RI: r1\r\nContent-Length: 65\r\n\r\n"));
    CU_ASSERT_TRUE(bench->devices[1].closed); // too much to read for nothing
    bench_free(bench);
}

static const struct unit_test tests[] = {
    {"refused and never forwarded", refused_and_never_forwarded},
    {"refusal byte for byte", refusal_byte_for_byte},
    {"no identity", no_identity},
    {"forwarded byte for byte", forwarded_byte_for_byte},
    {"identity headers", identity_headers},
    {"pipelined, in order", pipelined_in_order},
    {"flood of input", flood_of_input},
    {"Connection: close and drain", connection_close_and_drain},
    {"end of input", end_of_input},
    {"slow devices", slow_devices},
    {"Expect: 100-continue", expectation},
    {"body of a refused request", body_of_a_refused_request},
};

UNIT_MAIN("http_device", tests)
