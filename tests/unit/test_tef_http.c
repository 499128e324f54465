// Answers of a TEF over HTTP: what is taken, in whatever pieces it comes, and what is refused; requests.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "controlplane/tef/http.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

static struct tef_response response;

// One byte at a time: the length that was used, or an error.
static int feed(const char *text, size_t *used)
{
    int rc = SAGATE_AGAIN;
    tef_response_reset(&response);
    for (*used = 0; rc == SAGATE_AGAIN && text[*used] != '\0';) {
        size_t n;
        rc = tef_response_feed(&response, slice_of(text + *used, 1), &n);
        *used += n;
    }
    return rc;
}

static void taken(void)
{
    size_t used;
    const char *plain = "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000 \r\nx-m2m-ri:\t7\r\nOther: \xc3\xa4\r\n"
                        "Content-Length: 5\r\n\r\nhelloHTTP";
    CU_ASSERT_EQUAL(feed(plain, &used), SAGATE_DONE);
    CU_ASSERT_EQUAL(used, strlen(plain) - 4);
    CU_ASSERT_EQUAL(response.status, 200);
    CU_ASSERT_EQUAL(response.rsc, 2000);
    CU_ASSERT_STRING_EQUAL(response.request_id, "7");
    CU_ASSERT_TRUE(slice_is(slice_of(response.body, response.body_len), "hello"));
    CU_ASSERT_FALSE(response.close);
    CU_ASSERT_EQUAL(
        feed("HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\n", &used),
        SAGATE_DONE);
    CU_ASSERT_TRUE(slice_is(slice_of(response.body, response.body_len), "hello"));
    CU_ASSERT_EQUAL(feed("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", &used),
                    SAGATE_DONE);
    CU_ASSERT_EQUAL(response.status, 204);
    CU_ASSERT_TRUE(response.close);
    CU_ASSERT_EQUAL(feed("HTTP/1.0 404 x\r\nContent-Length: 0\r\n\r\n", &used), SAGATE_DONE);
    CU_ASSERT_TRUE(response.close);
    CU_ASSERT_EQUAL(feed("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", &used), SAGATE_AGAIN);
}

static void refused(void)
{
    static const char *const bad[] = {
        "hello, I am no HTTP server\r\n",
        "HTTP/2.0 200 OK\r\n",
        "HTTP/1.1 20 OK\r\n",
        "HTTP/1.1 999 OK\r\n",
        "HTTP/1.1 101 Switching\r\n",
        "HTTP/1.1 200 OK\n",
        "HTTP/1.1 200 OK\rx",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n",
        "HTTP/1.1 200 OK\r\n folded: 1\r\n",
        "HTTP/1.1 200 OK\r\nA : 1\r\n",
        "HTTP/1.1 200 OK\r\n: 1\r\n",
        "HTTP/1.1 200 OK\r\nA: \x01\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 16385\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n",
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n",
        "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2\r\n",
        "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\nX-M2M-RSC: 4004\r\n",
        "HTTP/1.1 200 OK\r\nX-M2M-RI: 1\r\nX-M2M-RI: 1\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4001\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        size_t used;
        int rc = feed(bad[i], &used);
        if (rc != SAGATE_EMALFORMED)
            printf("\n%zu: %s", i, bad[i]);
        CU_ASSERT_EQUAL(rc, SAGATE_EMALFORMED);
        CU_ASSERT_PTR_NOT_NULL(response.why);
    }
}

static void bounds(void)
{
    size_t used;
    char line[TEF_LINE_MAX + 1];
    memset(line, 'a', sizeof line);
    tef_response_reset(&response);
    CU_ASSERT_EQUAL(tef_response_feed(&response, slice_of(line, sizeof line), &used), SAGATE_EMALFORMED);
    tef_response_reset(&response);
    int rc = tef_response_feed(&response, slice_text("HTTP/1.1 200 OK\r\n"), &used);
    for (unsigned i = 0; i <= TEF_FIELDS_MAX && rc == SAGATE_AGAIN; i++)
        rc = tef_response_feed(&response, slice_text("A: b\r\n"), &used);
    CU_ASSERT_EQUAL(rc, SAGATE_EMALFORMED);
    tef_response_reset(&response);
    rc = SAGATE_AGAIN;
    for (unsigned i = 0; i < 100 && rc == SAGATE_AGAIN; i++)
        rc = tef_response_feed(&response, slice_text("HTTP/1.1 100 Continue\r\n\r\n"), &used);
    CU_ASSERT_EQUAL(rc, SAGATE_EMALFORMED);
}

static void requests(void)
{
    char out[512];
    struct tef_message message = {.method = "POST",
                                  .target = "/x",
                                  .host = "maf.example:443",
                                  .origin = "//sp/cse",
                                  .request_id = "1",
                                  .body = "{}",
                                  .type = 1};
    const char *expected = "POST /x HTTP/1.1\r\nHost: maf.example:443\r\nX-M2M-Origin: //sp/cse\r\nX-M2M-RI: 1\r\n"
                           "X-M2M-RVI: 3\r\nAccept: application/json\r\nContent-Type: application/json;ty=1\r\n"
                           "Content-Length: 2\r\n\r\n{}";
    CU_ASSERT_EQUAL(tef_request_write(&message, out, sizeof out), (int)strlen(expected));
    CU_ASSERT_STRING_EQUAL(out, expected);
    message.body = NULL;
    message.method = "GET";
    CU_ASSERT_TRUE(tef_request_write(&message, out, sizeof out) > 0);
    CU_ASSERT_PTR_NULL(strstr(out, "Content"));
    CU_ASSERT_EQUAL(tef_request_write(&message, out, 20), SAGATE_ETOOBIG);
}

static const struct unit_test tests[] = {
    {"answers are taken", taken},
    {"what is no answer is refused", refused},
    {"bounds", bounds},
    {"requests", requests},
};

UNIT_MAIN("tef_http", tests)
