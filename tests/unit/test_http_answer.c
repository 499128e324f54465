// A CSE's answers through the HTTP binding, with everything that a CSE may do wrong: held while short, else streamed.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/http_fakes.h"
#include "tests/unit/http_messages.h"
#include "tests/unit/unit.h"

// The longest answer that is held until it is whole.
enum { HELD = 16384 };

#define INTERIM      "HTTP/1.1 100 a\r\n\r\n"
#define NINE_INTERIM INTERIM INTERIM INTERIM INTERIM INTERIM INTERIM INTERIM INTERIM INTERIM

enum ending { STAYS, CLOSES, SILENT };

struct quirk {
    const char *answer; // of the CSE
    enum ending ending; // what it does then
    const char *heard;  // by the device
    bool reused;        // whether the connection serves the next request
    unsigned malformed;
};

static const struct quirk quirks[] = {
    {OK, STAYS, OK, true, 0},
    {OK "\r\n", STAYS, OK, true, 0},                         // a stray CRLF
    {OK "\r\nHTTP/1.1 200 OK\r\n\r\n", STAYS, OK, false, 1}, // a second answer
    {OK "x", STAYS, OK, false, 1},
    {"HTTP/1.1 200\r\nX-M2M-RSC: 2000\r\nContent-Length: 2\r\n\r\n{}", STAYS, OK, true, 0},
    {"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n{}", STAYS, OK, true, 0},
    {"HTTP/1.0 200 OK\r\nX-M2M-RSC: 2000\r\nContent-Length: 2\r\n\r\n{}", STAYS, OK, false, 0},
    {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", STAYS, OK, false, 0},
    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" OK, STAYS, OK, true, 0},
    {"HTTP/1.1 204 No Content\r\nX-M2M-RSC: 2000\r\n\r\n", STAYS,
     "HTTP/1.1 204 No Content\r\nX-M2M-RSC: 2000\r\nX-M2M-RI: r1\r\n\r\n", true, 0},
    {"HTTP/1.1 204 No Content\r\nX-M2M-RSC: 2000\r\n\r\n\r\n", STAYS,
     "HTTP/1.1 204 No Content\r\nX-M2M-RSC: 2000\r\nX-M2M-RI: r1\r\n\r\n", true, 0},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-T: 1\r\n\r\n", STAYS, OK, true, 0},
    // No framing: until the connection ends, or until nothing came for a while.
    {"HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\n\r\n{}", CLOSES, OK, false, 0},
    {"HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\n\r\n", CLOSES, OK_HEAD "Content-Length: 0\r\n\r\n", false, 0},
    {"HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\n\r\n\r\n", CLOSES, OK_HEAD "Content-Length: 0\r\n\r\n", false, 0},
    {"HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\n\r\n", SILENT, OK_HEAD "Content-Length: 0\r\n\r\n", false, 0},
    {"HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\n\r\n\r\n", SILENT, OK_HEAD "Content-Length: 0\r\n\r\n", false, 0},
    // Only end-to-end fields pass; the identifier is the request's.
    {"HTTP/1.1 201 Created\r\nX-M2M-RSC: 2001\r\nServer: c\r\nConnection: keep-alive, hop\r\nHop: 1\r\nKeep-Alive: "
     "5\r\n"
     "X-SAGate-Originator: x\r\nX-M2M-RVI: 3\r\nContent-Location: /a\r\nContent-Length: 0\r\n\r\n",
     STAYS,
     "HTTP/1.1 201 Created\r\nX-M2M-RSC: 2001\r\nX-M2M-RI: r1\r\nServer: c\r\nX-M2M-RVI: 3\r\nContent-Location: /a\r\n"
     "Content-Length: 0\r\n\r\n",
     true, 0},
    {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", STAYS,
     "HTTP/1.1 404 Not Found\r\nX-M2M-RSC: 4004\r\nX-M2M-RI: r1\r\nContent-Length: 0\r\n\r\n", true, 0},
    {"HTTP/1.1 409 Conflict\r\nX-M2M-RSC: 4106\r\nContent-Length: 0\r\n\r\n", STAYS,
     "HTTP/1.1 409 Conflict\r\nX-M2M-RSC: 4106\r\nX-M2M-RI: r1\r\nContent-Length: 0\r\n\r\n", true, 0},
};

static const char *const nonsense[] = {
    "SSH-2.0-x\r\n",
    "HTTP/2.0 200 OK\r\n\r\n",
    "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\nX-M2M-RSC: 4004\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX-M2M-RSC: OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX-M2M-RI: of-another\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
    // More interim answers than are waited through.
    NINE_INTERIM,
};

static void answers_byte_for_byte(void)
{
    for (size_t i = 0; i < sizeof quirks / sizeof *quirks; i++) {
        struct bench *bench = bench_new();
        bench_says(bench, GET);
        bench_connected(bench, 0);
        bench_cse_says(bench, 0, quirks[i].answer);
        if (quirks[i].ending == CLOSES)
            bench_cse_event(bench, 0, IO_EOF, 0);
        if (quirks[i].ending == SILENT) {
            CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), "");
            bench_wait(bench, 300);
        }
        const char *heard = bench_heard(bench, 0);
        CU_ASSERT_STRING_EQUAL(heard, quirks[i].heard);
        if (strcmp(heard, quirks[i].heard) != 0)
            (void)fprintf(stderr, "quirk %zu: %s", i, heard);
        CU_ASSERT_EQUAL(bench_stat(bench, STAT_HTTP_UPSTREAM_MALFORMED), quirks[i].malformed);
        CU_ASSERT_EQUAL(bench->ended_answered, 1);
        CU_ASSERT_EQUAL(bench->streams[0].open, quirks[i].reused);
        CU_ASSERT_FALSE(bench->devices[0].closed);
        bench_says(bench, GET);
        CU_ASSERT_EQUAL(bench->stream_count, quirks[i].reused ? 1 : 2);
        bench_free(bench);
    }
}

// What an answer is must not depend on how it is cut into pieces.
static void answers_cut_everywhere(void)
{
    for (size_t i = 0; i < 12; i++) {
        size_t len = strlen(quirks[i].answer);
        for (size_t cut = 0; cut < len; cut++) {
            struct bench *bench = bench_new();
            bench_says(bench, GET);
            bench_connected(bench, 0);
            bench_cse_data(bench, 0, quirks[i].answer, cut);
            bench_cse_data(bench, 0, quirks[i].answer + cut, len - cut);
            const char *heard = bench_heard(bench, 0);
            size_t head = (size_t)(strstr(quirks[i].heard, "\r\n\r\n") - quirks[i].heard);
            CU_ASSERT_EQUAL(strncmp(heard, quirks[i].heard, head), 0);
            CU_ASSERT_EQUAL(bench->ended_answered, 1);
            bench_free(bench);
        }
    }
}

static void nonsense_is_5103(void)
{
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
        struct bench *bench = bench_new();
        bench_says(bench, GET);
        bench_connected(bench, 0);
        bench_cse_says(bench, 0, nonsense[i]);
        const char *heard = bench_heard(bench, 0);
        CU_ASSERT_EQUAL(strncmp(heard, UNREACHABLE, strlen(UNREACHABLE)), 0);
        if (strncmp(heard, UNREACHABLE, strlen(UNREACHABLE)) != 0)
            (void)fprintf(stderr, "nonsense %zu: %s\n", i, heard);
        CU_ASSERT_TRUE(bench->streams[0].aborted);
        CU_ASSERT_EQUAL(bench->ended_failed, 1);
        CU_ASSERT_EQUAL(bench_stat(bench, STAT_HTTP_UPSTREAM_MALFORMED), 1);
        CU_ASSERT_FALSE(bench->devices[0].closed);
        bench_free(bench);
    }
}

static void unasked_bytes(void)
{
    struct bench *bench = bench_new();
    bench_says(bench, GET);
    bench_connected(bench, 0);
    bench_cse_says(bench, 0, OK);
    bench_cse_says(bench, 0, "\r\n"); // let pass
    CU_ASSERT_TRUE(bench->streams[0].open);
    bench_cse_says(bench, 0, OK);
    CU_ASSERT_TRUE(bench->streams[0].closed);
    CU_ASSERT_EQUAL(bench_stat(bench, STAT_HTTP_UPSTREAM_MALFORMED), 1);
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), OK); // once
    bench_says(bench, GET);
    bench_connected(bench, 1);
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), "");
    bench_free(bench);
}

// A CSE that says it will close is waited for, however long it takes over its content.
static void announced_close_is_waited_for(void)
{
    struct bench *bench = bench_new();
    bench_says(bench, GET);
    bench_connected(bench, 0);
    bench_cse_says(bench, 0, "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\nConnection: close\r\n\r\n");
    bench_wait(bench, 1000);
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), "");
    bench_cse_says(bench, 0, "{}");
    bench_cse_event(bench, 0, IO_EOF, 0);
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), OK);
    bench_free(bench);
}

static void cse_says_many(struct bench *bench, size_t s, size_t count)
{
    char text[HELD + 1];
    CU_ASSERT_TRUE_FATAL(count <= sizeof text);
    memset(text, 'a', count);
    bench_cse_data(bench, s, text, count);
}

static bool all_the_same(const char *text, size_t count)
{
    return strspn(text, "a") >= count;
}

static void closes_in_mid_answer(void)
{
    static const struct {
        const char *answer;
        size_t more; // bytes of content after it
        bool begun;  // the device has seen a part of it
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nCont", 0, false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", 0, false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 16384\r\n\r\n", HELD - 1, false},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", 0, false},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4e20\r\n", HELD, false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 16385\r\n\r\n", 1, true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 16385\r\n\r\n", HELD, true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4e20\r\n", HELD + 1, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bench *bench = bench_new();
        bench_says(bench, GET);
        bench_connected(bench, 0);
        bench_cse_says(bench, 0, cases[i].answer);
        cse_says_many(bench, 0, cases[i].more);
        bench_cse_event(bench, 0, IO_EOF, 0);
        const char *heard = bench_heard(bench, 0);
        CU_ASSERT_EQUAL(bench->devices[0].closed, cases[i].begun);
        CU_ASSERT_EQUAL(strncmp(heard, UNREACHABLE, strlen(UNREACHABLE)) == 0, !cases[i].begun);
        CU_ASSERT_PTR_NULL(strstr(heard, "\r\n0\r\n\r\n")); // cut short, and seen to be
        CU_ASSERT_EQUAL(bench->ended_failed, 1);
        if (!cases[i].begun) { // the association serves on
            bench_says(bench, GET);
            bench_connected(bench, 1);
            bench_cse_says(bench, 1, OK);
            CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), OK);
        }
        bench_free(bench);
    }
}

static void short_answers_are_held(void)
{
    struct bench *bench = bench_new();
    bench_says(bench, GET);
    bench_connected(bench, 0);
    bench_cse_says(bench, 0, OK_HEAD "Content-Length: 16384\r\n\r\n");
    cse_says_many(bench, 0, HELD - 1);
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), "");
    cse_says_many(bench, 0, 1);
    const char *heard = bench_heard(bench, 0);
    const size_t head = strlen(OK_HEAD "Content-Length: 16384\r\n\r\n");
    CU_ASSERT_EQUAL(strncmp(heard, OK_HEAD "Content-Length: 16384\r\n\r\n", head), 0);
    CU_ASSERT_EQUAL_FATAL(strlen(heard), head + HELD);
    CU_ASSERT_TRUE(all_the_same(heard + head, HELD));
    bench_says(bench, GET);
    bench_cse_says(bench, 0, OK_HEAD "Transfer-Encoding: chunked\r\n\r\n4000\r\n");
    cse_says_many(bench, 0, HELD);
    bench_cse_says(bench, 0, "\r\n");
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), "");
    bench_cse_says(bench, 0, "0\r\n\r\n");
    heard = bench_heard(bench, 0);
    CU_ASSERT_EQUAL(strncmp(heard, OK_HEAD "Content-Length: 16384\r\n\r\n", head), 0);
    CU_ASSERT_EQUAL(strlen(heard), head + HELD);
    CU_ASSERT_TRUE(bench->streams[0].open);
    bench_free(bench);
}

// What is longer and has no length is passed on in chunks, from the byte on that is too many to hold.
static void long_answers_stream(void)
{
    static const struct {
        const char *head, *end;
        enum ending ending;
    } cases[] = {{"Transfer-Encoding: chunked\r\n\r\n4003\r\n", "{}\r\n0\r\n\r\n", STAYS},
                 {"Connection: close\r\n\r\n", "{}", CLOSES}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bench *bench = bench_new();
        bench_says(bench, GET);
        bench_connected(bench, 0);
        bench_cse_says(bench, 0, OK_HEAD);
        bench_cse_says(bench, 0, cases[i].head);
        cse_says_many(bench, 0, HELD);
        CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), "");
        cse_says_many(bench, 0, 1);
        const char *heard = bench_heard(bench, 0);
        const size_t head = strlen(OK_HEAD "Transfer-Encoding: chunked\r\n\r\n4001\r\n");
        CU_ASSERT_EQUAL(strncmp(heard, OK_HEAD "Transfer-Encoding: chunked\r\n\r\n4001\r\n", head), 0);
        CU_ASSERT_EQUAL_FATAL(strlen(heard), head + HELD + 1 + 2);
        CU_ASSERT_TRUE(all_the_same(heard + head, HELD + 1));
        bench_cse_says(bench, 0, cases[i].end);
        if (cases[i].ending == CLOSES)
            bench_cse_event(bench, 0, IO_EOF, 0);
        CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), "2\r\n{}\r\n0\r\n\r\n");
        CU_ASSERT_EQUAL(bench->ended_answered, 1);
        CU_ASSERT_EQUAL(bench->streams[0].open, cases[i].ending == STAYS);
        CU_ASSERT_FALSE(bench->devices[0].closed);
        bench_free(bench);
    }
}

static void slow_reader(void)
{
    struct bench *bench = bench_new();
    bench_says(bench, GET GET);
    bench_connected(bench, 0);
    bench->send_result = SAGATE_AGAIN;
    bench_cse_says(bench, 0, OK_HEAD "Content-Length: 16390\r\n\r\n{1");
    CU_ASSERT_TRUE(bench->streams[0].paused);
    bench_cse_says(bench, 0, "23"); // of the same batch
    CU_ASSERT_PTR_NULL(strstr(bench_heard(bench, 0), "23"));
    bench->send_result = SAGATE_OK;
    http_device_writable(bench->http, &bench->devices[0].device, bench->now_us);
    CU_ASSERT_FALSE(bench->streams[0].paused);
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), "23");
    cse_says_many(bench, 0, HELD);
    CU_ASSERT_EQUAL(strlen(bench_heard(bench, 0)), HELD);
    (void)bench_written(bench, 0);
    bench->send_result = SAGATE_AGAIN;
    bench_cse_says(bench, 0, "4}");
    CU_ASSERT_STRING_EQUAL(bench_written(bench, 0), ""); // the second request waits until the device has read
    bench->send_result = SAGATE_OK;
    http_device_writable(bench->http, &bench->devices[0].device, bench->now_us);
    CU_ASSERT_STRING_NOT_EQUAL(bench_written(bench, 0), "");
    bench->send_result = SAGATE_AGAIN;
    bench_cse_says(bench, 0, OK_HEAD "Content-Length: 16385\r\n\r\n{1");
    bench_wait(bench, 21000); // it never reads
    CU_ASSERT_TRUE(bench->devices[0].closed);
    CU_ASSERT_TRUE(bench->streams[0].aborted);
    CU_ASSERT_EQUAL(bench->ended_failed, 0);
    bench_free(bench);
}

static void registration_is_seen(void)
{
    static const char answer[] = "HTTP/1.1 201 Created\r\nX-M2M-RSC: 2001\r\nTransfer-Encoding: chunked\r\n\r\n"
                                 "9\r\n{\"m2m:ae\"\r\n3\r\n:1}\r\n0\r\n\r\n";
    struct bench *bench = bench_new();
    bench_says(bench, REGISTER);
    bench_connected(bench, 0);
    bench_cse_says(bench, 0, answer);
    CU_ASSERT_EQUAL(bench->answers, 1);
    CU_ASSERT_EQUAL(bench->answer_rsc, 2001);
    CU_ASSERT_EQUAL(bench->answer_len, 12);
    CU_ASSERT_STRING_EQUAL(bench->answer_content, "{\"m2m:ae\":1}");
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), "HTTP/1.1 201 Created\r\nX-M2M-RSC: 2001\r\nX-M2M-RI: r1\r\n"
                                                  "Content-Length: 12\r\n\r\n{\"m2m:ae\":1}");
    bench_says(bench, DELETE);
    bench_cse_says(bench, 0, "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2002\r\nContent-Length: 0\r\n\r\n");
    CU_ASSERT_EQUAL(bench->answers, 2);
    CU_ASSERT_EQUAL(bench->answer_rsc, 2002);
    bench_says(bench, GET);
    bench_cse_says(bench, 0, OK);
    CU_ASSERT_EQUAL(bench->answers, 2);
    bench_free(bench);
}

// It is told all the same, without its content, and passed on: at once when its length says so, else when it is seen.
static void registration_answer_too_long_to_hold(void)
{
    static char body[40000];
    memset(body, 'a', sizeof body);
    struct bench *bench = bench_new();
    bench_says(bench, REGISTER);
    bench_connected(bench, 0);
    bench_cse_says(bench, 0, "HTTP/1.1 201 Created\r\nX-M2M-RSC: 2001\r\nContent-Length: 80000\r\n\r\n");
    CU_ASSERT_EQUAL(bench->answers, 1);
    CU_ASSERT_EQUAL(bench->answer_rsc, 2001);
    CU_ASSERT_EQUAL(bench->answer_len, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(bench_heard(bench, 0), "\r\nContent-Length: 80000\r\n\r\n"));
    bench_cse_data(bench, 0, body, sizeof body);
    bench_cse_data(bench, 0, body, sizeof body);
    CU_ASSERT_EQUAL(strlen(bench_heard(bench, 0)), 80000);
    CU_ASSERT_EQUAL(bench->answers, 1);
    bench_says(bench, DELETE);
    bench_cse_says(bench, 0, "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2002\r\nTransfer-Encoding: chunked\r\n\r\n13880\r\n");
    bench_cse_data(bench, 0, body, sizeof body);
    CU_ASSERT_STRING_EQUAL(bench_heard(bench, 0), "");
    CU_ASSERT_EQUAL(bench->answers, 1);
    bench_cse_data(bench, 0, body, sizeof body);
    bench_cse_says(bench, 0, "\r\n0\r\n\r\n");
    CU_ASSERT_EQUAL(bench->answers, 2);
    CU_ASSERT_EQUAL(bench->answer_rsc, 2002);
    CU_ASSERT_EQUAL(bench->answer_len, 0);
    const char *heard = bench_heard(bench, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(heard, "\r\nTransfer-Encoding: chunked\r\n\r\n13880\r\naaa"));
    CU_ASSERT_PTR_NOT_NULL(strstr(heard, "aaa\r\n0\r\n\r\n"));
    bench_free(bench);
}

static const struct unit_test tests[] = {
    {"answers byte for byte", answers_byte_for_byte},
    {"answers cut everywhere", answers_cut_everywhere},
    {"nonsense is 5103", nonsense_is_5103},
    {"closes in mid-answer", closes_in_mid_answer},
    {"short answers are held", short_answers_are_held},
    {"long answers stream", long_answers_stream},
    {"unasked bytes", unasked_bytes},
    {"announced close is waited for", announced_close_is_waited_for},
    {"slow reader", slow_reader},
    {"registration is seen", registration_is_seen},
    {"registration answer too long to hold", registration_answer_too_long_to_hold},
};

UNIT_MAIN("http_answer", tests)
