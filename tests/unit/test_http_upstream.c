// The HTTP binding as CSEs see it: connections, bodies that are streamed, the ends of requests in mid-way, health
// checks.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/http_fakes.h"
#include "tests/unit/http_messages.h"
#include "tests/unit/unit.h"

#define POST "POST /cse/ae HTTP/1.1\r\nHost: gw\r\nX-M2M-Origin: Cdev1\r\nX-M2M-RI: r1\r\n"
#define CSE_POST \
    "POST /cse/ae HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nX-M2M-Origin: Cdev1\r\nX-M2M-RVI: 3\r\nX-M2M-RI: r1\r\n"

static void closes_before_an_answer(void)
{
    struct bench *bench = bench_new();
    bench_says(bench, GET);
    bench_connected(bench, 0);
    bench_cse_event(bench, 0, IO_EOF, 0); // fresh connection: not tried again
    CU_ASSERT_EQUAL(strncmp(bench_heard(bench, 0), UNREACHABLE, strlen(UNREACHABLE)), 0);
    bench_says(bench, GET);
    bench_connected(bench, 1);
    bench_cse_says(bench, 1, OK);
    (void)bench_heard(bench, 0);
    (void)bench_written(bench, 1);
    bench_says(bench, GET); // on the kept connection, which ends: once more, on a fresh one
    bench_cse_event(bench, 1, IO_CLOSED, 104);
    CU_ASSERT_EQUAL_FATAL(bench->stream_count, 3);
    bench_connected(bench, 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(bench_written(bench, 2), "GET /cse/ae HTTP/1.1\r\n"));
    bench_cse_event(bench, 2, IO_EOF, 0); // and not a third time
    CU_ASSERT_EQUAL(strncmp(bench_heard(bench, 0), UNREACHABLE, strlen(UNREACHABLE)), 0);
    CU_ASSERT_EQUAL(bench->stream_count, 3);
    bench_free(bench);
}

static void nothing_that_changes_is_sent_twice(void)
{
    static const char *const requests[] = {
        POST "Content-Length: 2\r\n\r\n{}", DELETE, REGISTER,
        "PUT /cse HTTP/1.1\r\nHost: gw\r\nX-M2M-Origin: Cdev1\r\nX-M2M-RI: r1\r\n\r\n"};
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        struct bench *bench = bench_new();
        bench_says(bench, GET);
        bench_connected(bench, 0);
        bench_cse_says(bench, 0, OK);
        (void)bench_heard(bench, 0);
        bench_says(bench, requests[i]);
        bench_cse_event(bench, 0, IO_CLOSED, 104);
        CU_ASSERT_EQUAL(strncmp(bench_heard(bench, 0), UNREACHABLE, strlen(UNREACHABLE)), 0);
        CU_ASSERT_EQUAL(bench->stream_count, 1);
        CU_ASSERT_EQUAL(bench->answers, 0);
        bench_free(bench);
    }
}

static void never_answers(void)
{
    struct bench *bench = bench_new();
    bench_says(bench, GET);
    bench_connected(bench, 0);
    bench_wait(bench, 4000);
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), "");
    bench_wait(bench, 1100);
    CU_ASSERT_PTR_NOT_NULL(strstr(bench_heard(bench, 0), "HTTP/1.1 504 Gateway Timeout\r\nX-M2M-RSC: 4008\r\n"));
    CU_ASSERT_TRUE(bench->streams[0].aborted);
    CU_ASSERT_EQUAL(bench_stat(bench, STAT_REFUSED_TIMEOUT), 1);
    CU_ASSERT_EQUAL(bench->ended_untold, 1);
    bench_says(bench, "GET /a HTTP/1.1\r\nHost: gw\r\nX-M2M-Origin: Cdev1\r\nX-M2M-RI: r1\r\nX-M2M-RET: 50\r\n\r\n");
    bench_wait(bench, 60); // its own expiration is nearer; the connection is not even there
    CU_ASSERT_PTR_NOT_NULL(strstr(bench_heard(bench, 0), "HTTP/1.1 504 "));
    CU_ASSERT_TRUE(bench->streams[1].aborted);
    CU_ASSERT_EQUAL(http_in_flight(bench->http), 0);
    CU_ASSERT_EQUAL(bench->ended_failed, 0); // the device's choice says nothing of the CSE
    bench_free(bench);
}

static void unavailable(void)
{
    static const char expected[] =
        "HTTP/1.1 503 Service Unavailable\r\nX-M2M-RSC: 5103\r\nX-M2M-RI: r1\r\nX-M2M-RVI: 3\r\n"
        "Retry-After: 5\r\nContent-Type: application/json\r\n";
    struct bench *bench = bench_new();
    bench->unavailable = true;
    bench_says(bench, GET);
    CU_ASSERT_EQUAL(strncmp(bench_heard(bench, 0), expected, sizeof expected - 1), 0);
    bench->unavailable = false;
    bench->room = 0;
    bench_says(bench, GET);
    CU_ASSERT_EQUAL(strncmp(bench_heard(bench, 0), expected, sizeof expected - 1), 0);
    CU_ASSERT_EQUAL(bench_stat(bench, STAT_LIMIT_IN_FLIGHT_UPSTREAM), 1);
    bench->room = 1;
    bench->config.limits.requests_per_association = 0;
    bench_says(bench, GET);
    CU_ASSERT_EQUAL(strncmp(bench_heard(bench, 0), expected, sizeof expected - 1), 0);
    CU_ASSERT_EQUAL(bench_stat(bench, STAT_LIMIT_IN_FLIGHT_ASSOCIATION), 1);
    bench->config.limits.requests_per_association = 1;
    bench->connect_result = SAGATE_ESYS;
    bench_says(bench, GET);
    CU_ASSERT_EQUAL(strncmp(bench_heard(bench, 0), UNREACHABLE, strlen(UNREACHABLE)), 0);
    bench->connect_result = SAGATE_OK;
    bench_says(bench, GET);
    bench_refused(bench, 0);
    CU_ASSERT_EQUAL(strncmp(bench_heard(bench, 0), UNREACHABLE, strlen(UNREACHABLE)), 0);
    CU_ASSERT_EQUAL(bench->ended_failed, 2);
    CU_ASSERT_FALSE(bench->devices[0].closed);
    CU_ASSERT_EQUAL(bench->devices[0].device.in_flight, 0);
    bench_free(bench);
}

static void pool_and_queue(void)
{
    struct bench *bench = bench_new(); // two connections at most
    for (size_t n = 0; n < 4; n++)
        bench_device_says(bench, n, GET, sizeof GET - 1);
    CU_ASSERT_EQUAL(bench->stream_count, 2);
    CU_ASSERT_EQUAL(http_in_flight(bench->http), 4);
    CU_ASSERT_EQUAL(bench->stats->servers[0].connections, 2);
    bench_connected(bench, 0);
    bench_connected(bench, 1);
    bench_device_gone(bench, 2); // waits in the queue: leaves it
    (void)bench_written(bench, 0);
    bench_cse_says(bench, 0, OK);
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), OK);
    CU_ASSERT_PTR_NOT_NULL(strstr(bench_written(bench, 0), "GET /cse/ae "));
    bench_cse_says(bench, 0, OK);
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 3), OK);
    bench_cse_says(bench, 1, OK);
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 1), OK);
    (void)bench_written(bench, 0);
    (void)bench_written(bench, 1);
    bench_says(bench, GET);
    CU_ASSERT_STRING_EQUAL(bench_written(bench, 0), ""); // the one used last is used first
    CU_ASSERT_STRING_NOT_EQUAL(bench_written(bench, 1), "");
    bench_wait(bench, 3000);
    bench_cse_says(bench, 1, OK);
    bench_wait(bench, 28000);
    CU_ASSERT_TRUE(bench->streams[0].closed); // idle for too long, closed in order
    CU_ASSERT_TRUE(bench->streams[1].open);
    bench_cse_event(bench, 1, IO_EOF, 0);
    CU_ASSERT_TRUE(bench->streams[1].closed);
    CU_ASSERT_EQUAL(bench->stats->servers[0].connections, 0);
    bench_free(bench);
}

static void queue_is_bounded(void)
{
    struct bench *bench = bench_new();
    bench->upstream.connections = 1;
    bench->upstream.requests = 1;
    for (size_t n = 0; n < 3; n++)
        bench_device_says(bench, n, GET, sizeof GET - 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(bench_heard(bench, 2), "HTTP/1.1 503 "));
    bench_connected(bench, 0);
    bench_wait(bench, 5100); // the one that was sent and the one that waits
    CU_ASSERT_PTR_NOT_NULL(strstr(bench_heard(bench, 0), "HTTP/1.1 504 "));
    CU_ASSERT_EQUAL(bench->ended_untold, 2 + 1);
    bench_free(bench);
    bench = bench_new();
    bench->upstream.connections = 1;
    for (size_t n = 0; n < 2; n++)
        bench_device_says(bench, n, GET, sizeof GET - 1);
    bench_refused(bench, 0); // the next in the queue tries for itself
    CU_ASSERT_EQUAL(bench->stream_count, 2);
    bench_connected(bench, 1);
    bench_cse_says(bench, 1, OK);
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 1), OK);
    bench_free(bench);
}

static void say_many(struct bench *bench, char c, size_t count)
{
    char text[4096];
    memset(text, c, count);
    bench_device_says(bench, 0, text, count);
}

static void long_body_streams(void)
{
    struct bench *bench = bench_new(); // whole up to 64 bytes
    bench_says(bench, POST "Content-Length: 202\r\n\r\n{");
    say_many(bench, 'a', 100);
    CU_ASSERT_TRUE_FATAL(bench->stream_count == 1);
    say_many(bench, 'b', 50); // not connected: held, and the device is held back
    CU_ASSERT_TRUE(bench->devices[0].paused);
    bench_connected(bench, 0);
    CU_ASSERT_FALSE(bench->devices[0].paused);
    const char *written = bench_written(bench, 0);
    CU_ASSERT_EQUAL(strncmp(written, CSE_POST "Content-Length: 202\r\n\r\n{aaaa", strlen(CSE_POST) + 28), 0);
    CU_ASSERT_EQUAL(strlen(written), strlen(CSE_POST "Content-Length: 202\r\n\r\n{") + 149); // one byte is held back
    bench->write_result = SAGATE_AGAIN;
    say_many(bench, 'c', 10);
    CU_ASSERT_STRING_EQUAL(bench_written(bench, 0), "bccccccccc");
    bench->write_result = SAGATE_OK;
    say_many(bench, 'd', 30);
    CU_ASSERT_STRING_EQUAL(bench_written(bench, 0), ""); // the CSE does not keep up
    bench_cse_event(bench, 0, IO_WRITABLE, 0);
    CU_ASSERT_EQUAL(strlen(bench_written(bench, 0)), 30);
    say_many(bench, 'e', 10);
    CU_ASSERT_EQUAL(strlen(bench_written(bench, 0)), 10);
    bench_says(bench, "}");
    CU_ASSERT_STRING_EQUAL(bench_written(bench, 0), "e}"); // checked, so the end goes out
    bench_cse_says(bench, 0, OK);
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), OK);
    CU_ASSERT_TRUE(bench->streams[0].open);
    bench_free(bench);
}

static void long_chunked_body_streams(void)
{
    struct bench *bench = bench_new();
    bench_says(bench, POST "Transfer-Encoding: chunked\r\n\r\n61\r\n{");
    say_many(bench, 'a', 96);
    bench_says(bench, "\r\n1\r\n}\r\n");
    bench_connected(bench, 0);
    const char *written = bench_written(bench, 0);
    CU_ASSERT_EQUAL(strncmp(written, CSE_POST "Transfer-Encoding: chunked\r\n\r\n60\r\n{aaa", strlen(CSE_POST) + 38),
                    0);
    CU_ASSERT_PTR_NULL(strstr(written, "\r\n0\r\n"));
    bench_says(bench, "0\r\nX-M2M-Origin: CAdmin\r\n\r\n");
    CU_ASSERT_STRING_EQUAL(bench_written(bench, 0), "1\r\n}\r\n0\r\n\r\n");
    bench_cse_says(bench, 0, OK);
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), OK);
    bench_free(bench);
}

static void long_body_that_does_not_pass(void)
{
    static const struct {
        const char *begin, *end, *answer;
    } cases[] = {
        {POST "Content-Length: 117\r\n\r\n{", ",\"fr\":\"CAdmin\"", "HTTP/1.1 403 Forbidden\r\nX-M2M-RSC: 4106\r\n"},
        {POST "Content-Length: 117\r\n\r\n{", ",\"fr\":\"CAdmin\"}", "HTTP/1.1 403 Forbidden\r\nX-M2M-RSC: 4106\r\n"},
        {POST "Content-Length: 116\r\n\r\n{", ",\"fr\":\"Cdev2\"}", "HTTP/1.1 400 Bad Request\r\nX-M2M-RSC: 4000\r\n"},
        {POST "Content-Length: 103\r\n\r\n{", "!}", "HTTP/1.1 400 Bad Request\r\nX-M2M-RSC: 4000\r\n"},
        {POST "Content-Length: 103\r\n\r\n{", "x]", "HTTP/1.1 400 Bad Request\r\nX-M2M-RSC: 4000\r\n"},
        {POST "Transfer-Encoding: chunked\r\n\r\n65\r\n{", "\r\ne\r\n,\"fr\":\"CAdmin\"\r\n",
         "HTTP/1.1 403 Forbidden\r\nX-M2M-RSC: 4106\r\n"},
        {POST "Transfer-Encoding: chunked\r\n\r\n65\r\n{", "\r\n;", "HTTP/1.1 400 Bad Request\r\nX-M2M-RSC: 4000\r\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bench *bench = bench_new();
        bench_says(bench, cases[i].begin);
        say_many(bench, 'a', 100);
        bench_connected(bench, 0);
        CU_ASSERT_STRING_NOT_EQUAL(bench_written(bench, 0), "");
        bench_says(bench, cases[i].end);
        const char *heard = bench_heard(bench, 0);
        CU_ASSERT_EQUAL(strncmp(heard, cases[i].answer, strlen(cases[i].answer)), 0);
        if (strncmp(heard, cases[i].answer, strlen(cases[i].answer)) != 0)
            (void)fprintf(stderr, "case %zu: %s\n", i, heard);
        CU_ASSERT_PTR_NOT_NULL(strstr(heard, "\r\nConnection: close\r\n"));
        const char *rest = bench_written(bench, 0);
        CU_ASSERT_PTR_NULL(strchr(rest, '}')); // the CSE never has the whole of it
        CU_ASSERT_PTR_NULL(strchr(rest, 'C')); // nor anything of the piece that does not pass
        CU_ASSERT_TRUE(bench->streams[0].aborted);
        CU_ASSERT_TRUE(bench->devices[0].closed);
        CU_ASSERT_EQUAL(bench->ended_failed, 0); // not the CSE's fault
        bench_free(bench);
    }
}

// A body of which a byte comes now and then, begun by device n.
static void upload(struct bench *bench, size_t n)
{
    char text[512];
    (void)snprintf(text, sizeof text, "%sContent-Length: 4000\r\n\r\n{%0100d", POST, 0);
    bench_device_says(bench, n, text, strlen(text));
}

static void slow_upload_has_an_end(void)
{
    struct bench *bench = bench_new(); // a quarter of 64 bytes in 20 seconds
    upload(bench, 0);
    bench_connected(bench, 0);
    for (int i = 0; i < 6; i++) { // fast enough
        bench_wait(bench, 15000);
        say_many(bench, 'a', 16);
    }
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), "");
    CU_ASSERT_TRUE(bench->streams[0].open);
    for (int i = 0; i < 4; i++) { // never silent for long, and too slow
        bench_wait(bench, 5100);
        say_many(bench, 'a', 1);
    }
    CU_ASSERT_PTR_NOT_NULL(strstr(bench_heard(bench, 0), "HTTP/1.1 408 Request Timeout\r\nX-M2M-RSC: 4000\r\n"));
    CU_ASSERT_TRUE(bench->streams[0].aborted);
    CU_ASSERT_TRUE(bench->devices[0].closed);
    CU_ASSERT_EQUAL(bench->ended_untold, 1);
    CU_ASSERT_EQUAL(bench_stat(bench, STAT_HTTP_SLOW), 1);
    bench_free(bench);
}

static void slow_cse_is_not_the_devices_fault(void)
{
    struct bench *bench = bench_new();
    bench->upstream.request_milliseconds = 60000;
    upload(bench, 0);
    bench->write_result = SAGATE_AGAIN;
    bench_connected(bench, 0);
    bench->write_result = SAGATE_OK;
    say_many(bench, 'a', 200); // not taken all: held until the CSE reads on
    CU_ASSERT_TRUE(http_in_flight(bench->http) == 1);
    bench_wait(bench, 39000);
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), "");
    bench_cse_event(bench, 0, IO_WRITABLE, 0);
    bench_wait(bench, 15000); // the whole time again from here
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), "");
    bench_wait(bench, 6000);
    CU_ASSERT_PTR_NOT_NULL(strstr(bench_heard(bench, 0), "HTTP/1.1 408 "));
    bench_free(bench);
}

static void uploads_leave_connections_to_others(void)
{
    static const char rest[] = "}";
    struct bench *bench = bench_new(); // two connections, so one for uploads
    upload(bench, 0);
    upload(bench, 1); // waits
    upload(bench, 2); // one may wait
    CU_ASSERT_EQUAL(bench->stream_count, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(bench_heard(bench, 2), "HTTP/1.1 503 "));
    bench_connected(bench, 0);
    bench_device_says(bench, 3, GET, sizeof GET - 1); // overtakes the upload that waits
    CU_ASSERT_EQUAL_FATAL(bench->stream_count, 2);
    bench_connected(bench, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(bench_written(bench, 1), "GET /cse/ae "));
    bench_cse_says(bench, 1, OK);
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 3), OK);
    CU_ASSERT_STRING_EQUAL(bench_written(bench, 1), ""); // idle, and yet not for the upload
    for (size_t left = 4000 - 101 - 1; left > 0; left -= left < 2000 ? left : 2000)
        say_many(bench, 'a', left < 2000 ? left : 2000);
    CU_ASSERT_STRING_EQUAL(bench_written(bench, 1), "");
    bench_device_says(bench, 0, rest, 1); // complete: the other upload's turn, before this one is answered
    CU_ASSERT_PTR_NOT_NULL(strstr(bench_written(bench, 1), CSE_POST "Content-Length: 4000\r\n"));
    bench_cse_says(bench, 0, OK);
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), OK);
    bench_device_gone(bench, 1);
    CU_ASSERT_TRUE(bench->streams[1].aborted);
    upload(bench, 0); // both places are free again
    CU_ASSERT_PTR_NOT_NULL(strstr(bench_written(bench, 0), CSE_POST));
    upload(bench, 2 + 1);
    bench_wait(bench, 5100); // what waits has the deadline of a request
    CU_ASSERT_PTR_NOT_NULL(strstr(bench_heard(bench, 3), "HTTP/1.1 504 "));
    CU_ASSERT_EQUAL(bench->ended_failed, 0);
    bench_free(bench);
}

static void impatient_cse_is_not_blamed(void)
{
    struct bench *bench = bench_new();
    upload(bench, 0);
    bench_connected(bench, 0);
    bench_cse_event(bench, 0, IO_CLOSED, 104);
    CU_ASSERT_EQUAL(strncmp(bench_heard(bench, 0), UNREACHABLE, strlen(UNREACHABLE)), 0);
    CU_ASSERT_EQUAL(bench->ended_untold, 1);
    upload(bench, 1);
    bench_refused(bench, 1);
    CU_ASSERT_EQUAL(bench->ended_failed, 1);
    bench_free(bench);
}

static void body_beyond_its_limit(void)
{
    struct bench *bench = bench_new();
    bench_says(bench, POST "Transfer-Encoding: chunked\r\n\r\nffff\r\n{");
    say_many(bench, 'a', 100);
    bench_connected(bench, 0);
    say_many(bench, 'a', 3990);
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), "");
    say_many(bench, 'a', 10);
    CU_ASSERT_PTR_NOT_NULL(strstr(bench_heard(bench, 0), "HTTP/1.1 413 Content Too Large\r\nX-M2M-RSC: 4000\r\n"));
    CU_ASSERT_TRUE(bench->streams[0].aborted);
    CU_ASSERT_TRUE(bench->devices[0].closed);
    bench_free(bench);
}

static void answer_before_the_end_of_the_request(void)
{
    struct bench *bench = bench_new();
    bench_says(bench, POST "Content-Length: 500\r\n\r\n{");
    say_many(bench, 'a', 100);
    bench_connected(bench, 0);
    bench_cse_says(bench, 0, "HTTP/1.1 413 x\r\nX-M2M-RSC: 4000\r\nContent-Length: 0\r\n\r\n");
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0),
                           "HTTP/1.1 413 Content Too Large\r\nX-M2M-RSC: 4000\r\nX-M2M-RI: r1\r\n"
                           "Content-Length: 0\r\nConnection: close\r\n\r\n");
    CU_ASSERT_TRUE(bench->devices[0].closed);
    CU_ASSERT_FALSE(bench->streams[0].open);
    bench_free(bench);
}

static void device_goes_away(void)
{
    struct bench *bench = bench_new();
    bench_says(bench, GET);
    bench_connected(bench, 0);
    bench_device_gone(bench, 0);
    CU_ASSERT_TRUE(bench->streams[0].aborted);
    CU_ASSERT_EQUAL(bench->ended_untold, 1); // no fault of the CSE
    bench_device_says(bench, 1, REGISTER, sizeof REGISTER - 1);
    bench_connected(bench, 1);
    bench_device_gone(bench, 1); // the registration is still seen to its end
    CU_ASSERT_TRUE(bench->streams[1].open);
    CU_ASSERT_EQUAL(http_in_flight(bench->http), 1);
    bench_cse_says(bench, 1, "HTTP/1.1 201 Created\r\nX-M2M-RSC: 2001\r\nContent-Length: 2\r\n\r\n{}");
    CU_ASSERT_EQUAL(bench->answers, 1);
    CU_ASSERT_EQUAL(bench->answer_rsc, 2001);
    CU_ASSERT_EQUAL(http_in_flight(bench->http), 0);
    bench_device_says(bench, 2, REGISTER, sizeof REGISTER - 1);
    bench_device_gone(bench, 2);
    bench_wait(bench, 6000);
    CU_ASSERT_EQUAL(http_in_flight(bench->http), 0);
    bench_free(bench);
}

static void proxy_v2_connections(void)
{
    static const char second[] = "GET /a HTTP/1.1\r\nHost: gw\r\nX-M2M-Origin: Cdev2\r\nX-M2M-RI: r1\r\n\r\n";
    struct bench *bench = bench_new();
    bench->upstream.http_identity = CONFIG_IDENTITY_PROXY_V2;
    bench_says(bench, GET);
    bench_connected(bench, 0);
    CU_ASSERT_EQUAL(bench->streams[0].written.len > 60, true);
    const char *written = bench_written(bench, 0);
    CU_ASSERT_EQUAL(memcmp(written, "\r\n\r\n\0\r\nQUIT\n\x21\x11", 14), 0);
    CU_ASSERT_EQUAL(memcmp(written + 28,
                           "\xE0\x00\x18//sp.example/id-in/Cdev1\xE1\x00\x07"
                           "12-dev1GET /cse/ae ",
                           27 + 10 + 12),
                    0);
    bench_cse_says(bench, 0, OK);
    bench_says(bench, GET); // the same originator: the same connection, announced once
    CU_ASSERT_EQUAL(strncmp(bench_written(bench, 0), "GET /cse/ae ", 12), 0);
    bench_cse_says(bench, 0, OK);
    bench_device_says(bench, 1, GET, sizeof GET - 1); // another association: its own
    CU_ASSERT_EQUAL(bench->stream_count, 2);
    bench_connected(bench, 1);
    bench_cse_says(bench, 1, OK);
    bench_says(bench, second); // another originator: closed, and another opened
    CU_ASSERT_FALSE(bench->streams[0].open);
    CU_ASSERT_EQUAL(bench->stream_count, 3);
    bench_connected(bench, 2);
    bench_cse_says(bench, 2, OK);
    bench_device_says(bench, 2, GET, sizeof GET - 1); // no room: the one not used for longest gives way
    CU_ASSERT_FALSE(bench->streams[1].open);
    CU_ASSERT_EQUAL(bench->stream_count, 4);
    bench_device_gone(bench, 0);
    CU_ASSERT_FALSE(bench->streams[2].open);
    bench_free(bench);
}

static void reload(void)
{
    struct bench *bench = bench_new();
    struct config config = bench->config;
    struct config_upstream upstream = bench->upstream;
    struct config_server server = bench->servers[0];
    upstream.servers = &server;
    config.upstreams = &upstream;
    bench_says(bench, GET);
    bench_connected(bench, 0);
    bench_device_says(bench, 1, GET, sizeof GET - 1);
    bench_connected(bench, 1);
    bench_cse_says(bench, 1, OK); // idle
    CU_ASSERT_EQUAL(http_reload(bench->http, &config, bench->now_us / 1000), SAGATE_OK);
    CU_ASSERT_TRUE(bench->streams[1].open); // kept: the server stays
    struct config none = bench->config;
    none.upstream_count = 0;
    CU_ASSERT_EQUAL(http_reload(bench->http, &none, bench->now_us / 1000), SAGATE_OK);
    CU_ASSERT_FALSE(bench->streams[1].open);
    bench_cse_says(bench, 0, OK);
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), OK); // finished all the same
    CU_ASSERT_FALSE(bench->streams[0].open);
    CU_ASSERT_EQUAL(http_reload(bench->http, &bench->config, bench->now_us / 1000), SAGATE_OK);
    bench_free(bench);
}

static void check(struct bench *bench)
{
    bench->checker->check(bench->checker->context, &bench->upstream, &bench->servers[0]);
    bench_wait(bench, 1);
}

static void health_checks(void)
{
    static const struct {
        const char *answer;
        bool healthy;
    } cases[] = {{"HTTP/1.1 200 OK\r\n\r\n", true},           {"HTTP/1.1 100 a\r\n\r\nHTTP/1.1 404 x\r\n\r\n", true},
                 {"HTTP/1.1 403 Forbidden\r\n\r\n", true},    {"HTTP/1.1 500 Broken\r\n\r\n", false},
                 {"HTTP/1.1 503 Unavailable\r\n\r\n", false}, {"nonsense", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bench *bench = bench_new();
        check(bench);
        bench_connected(bench, 0);
        CU_ASSERT_STRING_EQUAL(bench_written(bench, 0),
                               "GET /cse-in HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nX-M2M-Origin: Chealth\r\n"
                               "X-M2M-RI: sagate-health\r\nX-M2M-RVI: 3\r\nAccept: application/json\r\n"
                               "Connection: close\r\n\r\n");
        bench_cse_says(bench, 0, cases[i].answer);
        CU_ASSERT_EQUAL(bench->health_good, cases[i].healthy ? 1 : 0);
        CU_ASSERT_EQUAL(bench->health_bad, cases[i].healthy ? 0 : 1);
        CU_ASSERT_FALSE(bench->streams[0].open);
        bench_wait(bench, 5000); // told once
        CU_ASSERT_EQUAL(bench->health_good + bench->health_bad, 1);
        bench_free(bench);
    }
}

static void reload_without_the_server_that_is_checked(void)
{
    struct bench *bench = bench_new();
    struct config config = bench->config;
    struct config_upstream upstream = bench->upstream;
    upstream.server_count = 0;
    config.upstreams = &upstream;
    check(bench);
    bench_connected(bench, 0);
    CU_ASSERT_EQUAL(http_reload(bench->http, &config, bench->now_us / 1000), SAGATE_OK);
    CU_ASSERT_TRUE(bench->streams[0].aborted);
    bench_wait(bench, 5000);
    CU_ASSERT_EQUAL(bench->health_good + bench->health_bad, 0);
    CU_ASSERT_EQUAL(http_reload(bench->http, &bench->config, bench->now_us / 1000), SAGATE_OK);
    bench_free(bench);
}

static void health_checks_that_get_nowhere(void)
{
    struct bench *bench = bench_new();
    check(bench);
    bench_refused(bench, 0);
    CU_ASSERT_EQUAL(bench->health_bad, 1);
    check(bench);
    bench_connected(bench, 1);
    bench_wait(bench, 1100); // no answer
    CU_ASSERT_EQUAL(bench->health_bad, 2);
    check(bench);
    bench_connected(bench, 2);
    bench_cse_event(bench, 2, IO_EOF, 0);
    CU_ASSERT_EQUAL(bench->health_bad, 3);
    bench->connect_result = SAGATE_ESYS;
    check(bench);
    CU_ASSERT_EQUAL(bench->health_bad, 4);
    bench->connect_result = SAGATE_OK;
    bench->upstream.http_health = CONFIG_HEALTH_CONNECT;
    check(bench);
    bench_connected(bench, 3);
    CU_ASSERT_EQUAL(bench->health_good, 1);
    CU_ASSERT_STRING_EQUAL(bench_written(bench, 3), "");
    check(bench); // still under way at the end
    bench_free(bench);
}

static const struct unit_test tests[] = {
    {"closes before an answer", closes_before_an_answer},
    {"nothing that changes is sent twice", nothing_that_changes_is_sent_twice},
    {"never answers", never_answers},
    {"unavailable", unavailable},
    {"pool and queue", pool_and_queue},
    {"queue is bounded", queue_is_bounded},
    {"long body streams", long_body_streams},
    {"long chunked body streams", long_chunked_body_streams},
    {"long body that does not pass", long_body_that_does_not_pass},
    {"slow upload has an end", slow_upload_has_an_end},
    {"slow CSE is not the device's fault", slow_cse_is_not_the_devices_fault},
    {"uploads leave connections to others", uploads_leave_connections_to_others},
    {"impatient CSE is not blamed", impatient_cse_is_not_blamed},
    {"body beyond its limit", body_beyond_its_limit},
    {"answer before the end of the request", answer_before_the_end_of_the_request},
    {"device goes away", device_goes_away},
    {"PROXY v2 connections", proxy_v2_connections},
    {"reload", reload},
    {"health checks", health_checks},
    {"reload without the server that is checked", reload_without_the_server_that_is_checked},
    {"health checks that get nowhere", health_checks_that_get_nowhere},
};

UNIT_MAIN("http_upstream", tests)
