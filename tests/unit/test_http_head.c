// HTTP messages byte by byte: heads, the chunked coding and the PROXY header, every input cut at every place.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/binding/http/chunked.h"
#include "dataplane/binding/http/head.h"
#include "dataplane/binding/http/proxy_v2.h"
#include "tests/unit/unit.h"

#define REQUEST "GET /cse HTTP/1.1\r\n"
#define ANSWER  "HTTP/1.1 200 OK\r\n"

struct head_case {
    const char *text;
    size_t len; // 0: of the text
    enum http_head_kind kind;
    int expected;
};

static const struct head_case heads[] = {
    {REQUEST "Host: a\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_OK},
    {"\r\n" REQUEST "Host: a\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_OK},
    {REQUEST "\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_OK},
    {REQUEST "A:\r\nB: \t x \t\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_OK},
    {REQUEST "Host: a\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_AGAIN},
    {"\r\n\r\n" REQUEST "\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {"\n" REQUEST "\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {"GET /cse HTTP/1.1\nHost: a\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {"GET /cse HTTP/1.1\r\r\nHost: a\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {"GET  /cse HTTP/1.1\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {"GET /cse  HTTP/1.1\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {"GET /cse HTTP/1.1 \r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {"GET\t/cse HTTP/1.1\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {" GET /cse HTTP/1.1\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {"GET /c\x01se HTTP/1.1\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {"GET /c\xc3\xa9 HTTP/1.1\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {"GET /cse\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {"GET /cse http/1.1\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {"GET /cse HTTP/1.10\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {"GET /cse HTTP/1.0\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EVERSION},
    {"GET /cse HTTP/2.0\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EVERSION},
    {REQUEST "A: b\nC: d\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {REQUEST "A: b\rC: d\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {REQUEST "A: b\r\n\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {REQUEST "A: b\r\n folded\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {REQUEST "A: b\r\n\tfolded\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {REQUEST " A: b\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {REQUEST "A : b\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {REQUEST "A\t: b\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {REQUEST ": b\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {REQUEST "A\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {REQUEST "A(: b\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {REQUEST "X_M2M_Origin: b\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {REQUEST "A: b\x7f\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {REQUEST "A: b\0c\r\n\r\n", sizeof REQUEST "A: b\0c\r\n\r\n" - 1, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {REQUEST "A\0: b\r\n\r\n", sizeof REQUEST "A\0: b\r\n\r\n" - 1, HTTP_REQUEST_HEAD, SAGATE_EMALFORMED},
    {REQUEST "A: \xc3\xa9\r\n\r\n", 0, HTTP_REQUEST_HEAD, SAGATE_OK},
    {ANSWER "X-M2M-RSC: 2000\r\n\r\n", 0, HTTP_RESPONSE_HEAD, SAGATE_OK},
    {"\r\n" ANSWER "\r\n", 0, HTTP_RESPONSE_HEAD, SAGATE_OK},
    {"HTTP/1.0 200 \r\n\r\n", 0, HTTP_RESPONSE_HEAD, SAGATE_OK},
    {"HTTP/1.1 200\r\n\r\n", 0, HTTP_RESPONSE_HEAD, SAGATE_OK},
    {ANSWER "a_b: c\r\n\r\n", 0, HTTP_RESPONSE_HEAD, SAGATE_OK},
    {"HTTP/1.1 20 OK\r\n\r\n", 0, HTTP_RESPONSE_HEAD, SAGATE_EMALFORMED},
    {"HTTP/1.1 2000 OK\r\n\r\n", 0, HTTP_RESPONSE_HEAD, SAGATE_EMALFORMED},
    {"HTTP/1.1 099 OK\r\n\r\n", 0, HTTP_RESPONSE_HEAD, SAGATE_EMALFORMED},
    {"HTTP/1.1  200 OK\r\n\r\n", 0, HTTP_RESPONSE_HEAD, SAGATE_EMALFORMED},
    {"HTTP/2.0 200 OK\r\n\r\n", 0, HTTP_RESPONSE_HEAD, SAGATE_EVERSION},
    {"garbage\r\n\r\n", 0, HTTP_RESPONSE_HEAD, SAGATE_EMALFORMED},
    {ANSWER "A: b\nC: d\r\n\r\n", 0, HTTP_RESPONSE_HEAD, SAGATE_EMALFORMED},
    {ANSWER "A: b\r\n c\r\n\r\n", 0, HTTP_RESPONSE_HEAD, SAGATE_EMALFORMED},
};

// Feeds the two parts, and asks how it ended and how much was taken.
static int feed_cut(struct http_head *head, const struct head_case *c, size_t len, size_t cut, size_t *taken)
{
    size_t used = 0;
    http_head_init(head, c->kind, 1024);
    int result = http_head_feed(head, (const uint8_t *)c->text, cut, &used);
    *taken = used;
    if (result != SAGATE_AGAIN)
        return result;
    result = http_head_feed(head, (const uint8_t *)c->text + cut, len - cut, &used);
    *taken += used;
    return result;
}

static void heads_cut_everywhere(void)
{
    static struct http_head head;
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        size_t len = heads[i].len > 0 ? heads[i].len : strlen(heads[i].text);
        for (size_t cut = 0; cut <= len; cut++) {
            size_t taken = 0;
            int result = feed_cut(&head, &heads[i], len, cut, &taken);
            CU_ASSERT_EQUAL(result, heads[i].expected);
            if (result != heads[i].expected)
                (void)fprintf(stderr, "head %zu cut at %zu: %s", i, cut, heads[i].text);
            if (result == SAGATE_OK)
                CU_ASSERT_EQUAL(taken, len);
            http_head_release(&head);
        }
    }
}

static void head_parts(void)
{
    static const char text[] =
        "POST /~/cse/ae?x=1 HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nx-m2m-RI: \t12 3 \r\nHost: b\r\n\r\nbody";
    static struct http_head head;
    struct slice value;
    for (size_t cut = 0; cut < sizeof text - 5; cut++) {
        const struct head_case c = {text, 0, HTTP_REQUEST_HEAD, SAGATE_OK};
        size_t taken = 0;
        CU_ASSERT_EQUAL(feed_cut(&head, &c, sizeof text - 1, cut, &taken), SAGATE_OK);
        CU_ASSERT_EQUAL(taken, sizeof text - 5); // the body is not taken
        CU_ASSERT_TRUE(slice_is(http_head_method(&head), "POST"));
        CU_ASSERT_TRUE(slice_is(http_head_target(&head), "/~/cse/ae?x=1"));
        CU_ASSERT_EQUAL(http_head_find(&head, "host", &value), 2);
        CU_ASSERT_TRUE(slice_is(value, "a"));
        CU_ASSERT_EQUAL(http_head_find(&head, "X-M2M-RI", &value), 1);
        CU_ASSERT_TRUE(slice_is(value, "12 3"));
        CU_ASSERT_EQUAL(http_head_find(&head, "X-Empty", &value), 1);
        CU_ASSERT_TRUE(value.data != NULL && value.len == 0);
        CU_ASSERT_EQUAL(http_head_find(&head, "X-None", &value), 0);
        CU_ASSERT_PTR_NULL(value.data);
        http_head_release(&head);
    }
}

static void head_limits(void)
{
    static struct http_head head;
    static const char line[] = "A: b\r\n";
    size_t used = 0;
    http_head_init(&head, HTTP_REQUEST_HEAD, sizeof REQUEST - 1 + 2);
    CU_ASSERT_EQUAL(http_head_feed(&head, (const uint8_t *)REQUEST "\r\n", sizeof REQUEST - 1 + 2, &used), SAGATE_OK);
    http_head_release(&head);
    http_head_init(&head, HTTP_REQUEST_HEAD, sizeof REQUEST - 1 + 1);
    CU_ASSERT_EQUAL(http_head_feed(&head, (const uint8_t *)REQUEST "\r\n", sizeof REQUEST - 1 + 2, &used),
                    SAGATE_ETOOBIG);
    http_head_release(&head);
    http_head_init(&head, HTTP_REQUEST_HEAD, 65536);
    int result = http_head_feed(&head, (const uint8_t *)REQUEST, sizeof REQUEST - 1, &used);
    for (size_t i = 0; i < HTTP_FIELDS_MAX; i++) {
        CU_ASSERT_EQUAL(result, SAGATE_AGAIN);
        result = http_head_feed(&head, (const uint8_t *)line, sizeof line - 1, &used);
    }
    CU_ASSERT_EQUAL(result, SAGATE_AGAIN);
    CU_ASSERT_EQUAL(http_head_feed(&head, (const uint8_t *)line, sizeof line - 1, &used), SAGATE_ETOOBIG);
    http_head_release(&head);
}

static const struct {
    const char *text;
    int expected;
    const char *content;
} chunks[] = {
    {"5\r\nhello\r\n0\r\n\r\n", SAGATE_DONE, "hello"},
    {"5\r\nhello\r\nA\r\n, big world\r\n", SAGATE_EMALFORMED, NULL},
    {"5\r\nhello\r\nb\r\n, big world\r\n00\r\n\r\n", SAGATE_DONE, "hello, big world"},
    {"0\r\nExpires: now\r\nA:\r\n\r\n", SAGATE_DONE, ""},
    {"5\r\nhel", SAGATE_AGAIN, NULL},
    {"5;name=value\r\nhello\r\n0;x=\"y\"\r\n\r\n", SAGATE_DONE, "hello"},
    {";name=value\r\nhello\r\n0\r\n\r\n", SAGATE_EMALFORMED, NULL},
    {"5;name\nhello\r\n0\r\n\r\n", SAGATE_EMALFORMED, NULL},
    {"5;name\rhello\r\n0\r\n\r\n", SAGATE_EMALFORMED, NULL},
    {"5 \r\nhello\r\n0\r\n\r\n", SAGATE_EMALFORMED, NULL},
    {" 5\r\nhello\r\n0\r\n\r\n", SAGATE_EMALFORMED, NULL},
    {"0x5\r\nhello\r\n0\r\n\r\n", SAGATE_EMALFORMED, NULL},
    {"+5\r\nhello\r\n0\r\n\r\n", SAGATE_EMALFORMED, NULL},
    {"-1\r\nhello\r\n0\r\n\r\n", SAGATE_EMALFORMED, NULL},
    {"\r\nhello\r\n0\r\n\r\n", SAGATE_EMALFORMED, NULL},
    {"5\nhello\r\n0\r\n\r\n", SAGATE_EMALFORMED, NULL},
    {"5\r\nhello\n0\r\n\r\n", SAGATE_EMALFORMED, NULL},
    {"5\r\nhelloX\r\n0\r\n\r\n", SAGATE_EMALFORMED, NULL},
    {"5\r\nhello\r\n0\r\n\n", SAGATE_EMALFORMED, NULL},
    {"5\r\nhello\r\n0\r\n folded: x\r\n\r\n", SAGATE_EMALFORMED, NULL},
    {"5\r\nhello\r\n0\r\nno colon\r\n\r\n", SAGATE_EMALFORMED, NULL},
    {"100000000\r\nhello", SAGATE_ETOOBIG, NULL},
    {"000000005\r\nhello", SAGATE_ETOOBIG, NULL},
};

static int decode(struct http_chunked *chunked, const char *text, size_t len, struct buffer *content)
{
    int result = SAGATE_AGAIN;
    for (size_t at = 0; at < len && result == SAGATE_AGAIN;) {
        size_t used = 0;
        struct slice piece;
        result = http_chunked_feed(chunked, (const uint8_t *)text + at, len - at, &used, &piece);
        buffer_slice(content, piece);
        at += used;
        CU_ASSERT_FATAL(used > 0);
    }
    return result;
}

static void chunks_cut_everywhere(void)
{
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        size_t len = strlen(chunks[i].text);
        for (size_t cut = 0; cut <= len; cut++) {
            struct http_chunked chunked;
            struct buffer content = {0};
            http_chunked_init(&chunked);
            int result = decode(&chunked, chunks[i].text, cut, &content);
            if (result == SAGATE_AGAIN && cut < len)
                result = decode(&chunked, chunks[i].text + cut, len - cut, &content);
            CU_ASSERT_EQUAL(result, chunks[i].expected);
            if (result != chunks[i].expected)
                (void)fprintf(stderr, "chunks %zu cut at %zu\n", i, cut);
            if (result == SAGATE_DONE)
                CU_ASSERT_TRUE(slice_is(buffer_view(&content), chunks[i].content));
            buffer_release(&content);
        }
    }
}

static void trailer_is_bounded(void)
{
    static const char line[] = "A: 0123456789012345678901234567890123456789\r\n";
    struct http_chunked chunked;
    struct buffer content = {0};
    http_chunked_init(&chunked);
    int result = decode(&chunked, "0\r\n", 3, &content);
    size_t lines = 0;
    while (result == SAGATE_AGAIN && lines++ < 1000)
        result = decode(&chunked, line, sizeof line - 1, &content);
    CU_ASSERT_EQUAL(result, SAGATE_ETOOBIG);
    CU_ASSERT_TRUE(lines <= HTTP_TRAILER_MAX / (sizeof line - 1) + 1);
    buffer_release(&content);
}

static void chunks_written(void)
{
    struct buffer out = {0};
    http_chunked_write(&out, slice_text("0123456789abcdefg"));
    http_chunked_write(&out, slice_text(""));
    http_chunked_finish(&out);
    CU_ASSERT_TRUE(slice_is(buffer_view(&out), "11\r\n0123456789abcdefg\r\n0\r\n\r\n"));
    buffer_release(&out);
}

static void proxy_header_v4(void)
{
    static const uint8_t expected[] = "\r\n\r\n\0\r\nQUIT\n"
                                      "\x21\x11\x00\x19"
                                      "\xC6\x33\x64\x07\xC0\x00\x02\x01\x12\x67\x20\xFB"
                                      "\xE0\x00\x04//a/"
                                      "\xE1\x00\x03"
                                      "12-";
    uint8_t out[PROXY_V2_MAX];
    struct address peer, local;
    CU_ASSERT_EQUAL(address_parse_pair("198.51.100.7:4711", &peer), SAGATE_OK);
    CU_ASSERT_EQUAL(address_parse_pair("192.0.2.1:8443", &local), SAGATE_OK);
    int len = proxy_v2_write(out, sizeof out, &peer, &local, slice_text("//a/"), slice_text("12-"));
    CU_ASSERT_EQUAL_FATAL(len, (int)sizeof expected - 1);
    CU_ASSERT_EQUAL(memcmp(out, expected, (size_t)len), 0);
    CU_ASSERT_EQUAL(proxy_v2_write(out, (size_t)len - 1, &peer, &local, slice_text("//a/"), slice_text("12-")),
                    SAGATE_ETOOBIG);
}

static void proxy_header_v6(void)
{
    uint8_t out[PROXY_V2_MAX];
    struct address peer, local;
    CU_ASSERT_EQUAL(address_parse_pair("[2001:db8::7]:4711", &peer), SAGATE_OK);
    CU_ASSERT_EQUAL(address_parse_pair("192.0.2.1:8443", &local), SAGATE_OK); // another family: left unspecified
    CU_ASSERT_EQUAL(proxy_v2_write(out, sizeof out, &peer, &local, slice_text(""), slice_text("")), 16 + 36);
    CU_ASSERT_EQUAL(memcmp(out + 12, "\x21\x21\x00\x24\x20\x01\x0d\xb8", 8), 0);
    CU_ASSERT_EQUAL(memcmp(out + 32, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x12\x67\0\0", 20), 0);
    struct address none = {0};
    CU_ASSERT_EQUAL(proxy_v2_write(out, sizeof out, &none, &local, slice_text(""), slice_text("")), SAGATE_EINVAL);
}

static const struct unit_test tests[] = {
    {"heads cut everywhere", heads_cut_everywhere},
    {"head parts", head_parts},
    {"head limits", head_limits},
    {"chunks cut everywhere", chunks_cut_everywhere},
    {"trailer is bounded", trailer_is_bounded},
    {"chunks written", chunks_written},
    {"proxy header, IPv4", proxy_header_v4},
    {"proxy header, IPv6", proxy_header_v6},
};

UNIT_MAIN("http_head", tests)
