// The load generator: its histogram, mixes of operations, requests and answers, and hellos of floods.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/binding/coap/message.h"
#include "dataplane/handshake/peek.h"
#include "perf/hello.h"
#include "perf/latency.h"
#include "perf/request.h"
#include "tests/unit/unit.h"

#include <string.h>

// --- histogram ---------------------------------------------------------------------------------------------------

static void test_percentiles_are_exact_to_half_a_percent(void)
{
    static struct latency latency;
    for (uint64_t us = 1; us <= 60000000; us += us / 777 + 1) {
        latency_clear(&latency);
        latency_add(&latency, us);
        latency_add(&latency, LATENCY_MAX_US * 2ULL);
        uint64_t told = latency_percentile(&latency, 0.5);
        CU_ASSERT_FATAL(told >= us && (double)(told - us) <= 0.005 * (double)us);
    }
}

static void test_percentiles_of_many(void)
{
    static struct latency latency;
    CU_ASSERT_EQUAL(latency_percentile(&latency, 0.5), 0);
    for (uint64_t us = 1; us <= 200; us++)
        latency_add(&latency, us);
    CU_ASSERT_EQUAL(latency_percentile(&latency, 0.5), 100);
    CU_ASSERT_EQUAL(latency_percentile(&latency, 0.99), 198);
    CU_ASSERT_EQUAL(latency_percentile(&latency, 1), 200);
    latency_add(&latency, 70000000);
    CU_ASSERT_EQUAL(latency.max_us, 70000000);
    CU_ASSERT(latency_percentile(&latency, 1) >= LATENCY_MAX_US);
}

static void test_histogram_names_each_bucket_with_something(void)
{
    static struct latency latency;
    char text[256] = "";
    latency_add(&latency, 3);
    latency_add(&latency, 3);
    latency_add(&latency, 1000);
    FILE *out = fmemopen(text, sizeof text, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(out);
    latency_print(&latency, out);
    (void)fclose(out);
    CU_ASSERT_STRING_EQUAL(text, "[[3,2],[1001,1]]");
}

// --- mixes -------------------------------------------------------------------------------------------------------

static void test_mix(void)
{
    struct request_mix mix;
    CU_ASSERT_FATAL(request_mix_parse("retrieve=70,create=20,discover=9,notify=1", &mix));
    CU_ASSERT_EQUAL(mix.total, 100);
    unsigned found[REQUEST_OPERATIONS] = {0};
    for (unsigned i = 0; i < mix.total; i++)
        found[request_mix_at(&mix, i)]++;
    CU_ASSERT_EQUAL(found[REQUEST_RETRIEVE], 70);
    CU_ASSERT_EQUAL(found[REQUEST_CREATE], 20);
    CU_ASSERT_EQUAL(found[REQUEST_DISCOVER], 9);
    CU_ASSERT_EQUAL(found[REQUEST_NOTIFY], 1);
    CU_ASSERT_FATAL(request_mix_parse("notify=5", &mix));
    CU_ASSERT_EQUAL(request_mix_at(&mix, 0), REQUEST_NOTIFY);
}

static void test_bad_mixes(void)
{
    static const char *const bad[] = {"",         "retrieve",   "retrieve=",         "retrieve=x",
                                      "delete=1", "retrieve=0", "create=1;notify=1", "retrieve=-1"};
    struct request_mix mix;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CU_ASSERT_FALSE(request_mix_parse(bad[i], &mix));
}

// --- CoAP --------------------------------------------------------------------------------------------------------

static uint32_t uint_of(const struct coap_message *message, uint16_t number)
{
    const struct coap_option *option = coap_find(message, number);
    return option == NULL ? UINT32_MAX : coap_uint(option->value);
}

static bool text_is(const struct coap_message *message, uint16_t number, const char *text)
{
    const struct coap_option *option = coap_find(message, number);
    return option != NULL && slice_is(option->value, text);
}

static size_t segments_of(const struct coap_message *message)
{
    size_t count = 0;
    for (size_t i = 0; i < message->option_count; i++)
        count += message->options[i].number == COAP_URI_PATH ? 1U : 0U;
    return count;
}

static const struct request example = {.path = "/cse-in/ae/cnt/la", .from = "Cdev1", .id = 7, .message = 9};

static void write_coap(const struct request *request, uint8_t *bytes, struct coap_message *message)
{
    size_t len = request_write_coap(request, bytes);
    CU_ASSERT_FATAL(len > 0 && coap_parse(bytes, len, message) == SAGATE_OK);
    CU_ASSERT_EQUAL(message->type, COAP_CON);
    CU_ASSERT_EQUAL(message->mid, request->message);
    CU_ASSERT(text_is(message, 279, "Cdev1") && text_is(message, 283, "r7") && text_is(message, 271, "3"));
}

static void test_coap_operations(void)
{
    uint8_t bytes[REQUEST_COAP_MAX];
    struct coap_message message;
    struct request request = example;
    request_setup(64);
    write_coap(&request, bytes, &message);
    CU_ASSERT_EQUAL(message.code, COAP_GET);
    CU_ASSERT_EQUAL(segments_of(&message), 4);
    CU_ASSERT_EQUAL(message.payload.len, 0);
    request.operation = REQUEST_CREATE;
    write_coap(&request, bytes, &message);
    CU_ASSERT_EQUAL(message.code, COAP_POST);
    CU_ASSERT_EQUAL(segments_of(&message), 3);
    CU_ASSERT_EQUAL(uint_of(&message, 267), 4);
    CU_ASSERT_EQUAL(uint_of(&message, COAP_CONTENT_FORMAT), 50);
    CU_ASSERT_EQUAL(message.payload.len, 64);
    request.operation = REQUEST_DISCOVER;
    write_coap(&request, bytes, &message);
    CU_ASSERT_EQUAL(message.code, COAP_GET);
    CU_ASSERT(text_is(&message, COAP_URI_QUERY, "fu=1"));
    request.operation = REQUEST_NOTIFY;
    write_coap(&request, bytes, &message);
    CU_ASSERT_EQUAL(message.code, COAP_POST);
    CU_ASSERT_PTR_NULL(coap_find(&message, 267));
    CU_ASSERT(message.payload.len > 0);
}

static enum request_answer judge(struct request *request, uint8_t code, uint16_t option, uint32_t value)
{
    uint8_t bytes[64];
    uint8_t acknowledgement[4];
    bool acknowledge;
    struct coap_list list = {0};
    struct coap_writer writer;
    struct coap_token token = {.len = 4};
    memcpy(token.bytes, &request->message, 4);
    if (option != 0)
        coap_list_add_uint(&list, option, value);
    coap_begin(&writer, bytes, sizeof bytes, COAP_CON, code, 77, &token);
    coap_list_write(&list, &writer);
    enum request_answer answer =
        request_judge_coap(request, bytes, (size_t)coap_end(&writer), &acknowledge, acknowledgement);
    CU_ASSERT(acknowledge);
    CU_ASSERT_EQUAL(memcmp(acknowledgement, (uint8_t[]){0x60, 0, 0, 77}, 4), 0);
    return answer;
}

static void test_coap_content_in_blocks(void)
{
    enum { CONTENT = 2500 };
    uint8_t bytes[REQUEST_COAP_MAX];
    char content[CONTENT + 1] = "";
    struct coap_message message;
    struct request request = example;
    request.operation = REQUEST_CREATE;
    request_setup(CONTENT);
    for (uint32_t number = 0; number < 3; number++) {
        write_coap(&request, bytes, &message);
        struct coap_block block;
        const struct coap_option *option = coap_find(&message, COAP_BLOCK1);
        CU_ASSERT_FATAL(option != NULL && coap_block_parse(option->value, &block));
        CU_ASSERT_EQUAL(block.number, number);
        CU_ASSERT_EQUAL(block.more, number < 2);
        CU_ASSERT_EQUAL(block.size, 1024);
        memcpy(content + block.offset, message.payload.data, message.payload.len);
        if (number < 2)
            CU_ASSERT_EQUAL_FATAL(judge(&request, COAP_CONTINUE, COAP_BLOCK1, number << 4 | 14), REQUEST_CONTINUE);
        request.message++;
    }
    CU_ASSERT_EQUAL(strlen(content), CONTENT);
    CU_ASSERT_EQUAL(strncmp(content, "{\"m2m:cin\":{\"con\":\"", 18), 0);
    CU_ASSERT_STRING_EQUAL(content + CONTENT - 3, "\"}}");
    request.message--;
    CU_ASSERT_EQUAL(judge(&request, COAP_CREATED, 0, 0), REQUEST_OK);
}

static void test_coap_answers(void)
{
    uint8_t bytes[REQUEST_COAP_MAX];
    struct coap_message message;
    struct request request = example;
    CU_ASSERT_EQUAL(judge(&request, COAP_CONTENT, 0, 0), REQUEST_OK);
    CU_ASSERT_EQUAL(judge(&request, COAP_CODE(4, 3), 0, 0), REQUEST_REFUSED);
    CU_ASSERT_EQUAL(judge(&request, COAP_CONTENT, COAP_BLOCK2, 14), REQUEST_NEXT_BLOCK);
    write_coap(&request, bytes, &message);
    CU_ASSERT_EQUAL(uint_of(&message, COAP_BLOCK2), 1 << 4 | 6);
    CU_ASSERT_EQUAL(judge(&request, COAP_CONTENT, COAP_BLOCK2, 14), REQUEST_MALFORMED); // the first once more
    CU_ASSERT_EQUAL(judge(&request, COAP_CONTENT, COAP_BLOCK2, 1 << 4 | 6), REQUEST_OK);
    struct request other = request;
    other.message++;
    uint8_t acknowledgement[4];
    bool acknowledge;
    const uint8_t empty[] = {0x60, 0, 0, 9};
    CU_ASSERT_EQUAL(request_judge_coap(&request, empty, sizeof empty, &acknowledge, acknowledgement), REQUEST_MORE);
    CU_ASSERT_EQUAL(request_judge_coap(&request, empty, 3, &acknowledge, acknowledgement), REQUEST_MALFORMED);
}

// --- HTTP --------------------------------------------------------------------------------------------------------

static void test_http_operations(void)
{
    static uint8_t bytes[REQUEST_HTTP_MAX + 1];
    struct request request = example;
    request.host = "gate.example";
    request_setup(65536);
    bytes[request_write_http(&request, bytes)] = '\0';
    CU_ASSERT_STRING_EQUAL((char *)bytes,
                           "GET /cse-in/ae/cnt/la HTTP/1.1\r\nHost: gate.example\r\nX-M2M-Origin: Cdev1\r\n"
                           "X-M2M-RI: r7\r\nX-M2M-RVI: 3\r\nAccept: application/json\r\n\r\n");
    request.operation = REQUEST_CREATE;
    size_t len = request_write_http(&request, bytes);
    bytes[len] = '\0';
    CU_ASSERT_EQUAL(strncmp((char *)bytes, "POST /cse-in/ae/cnt HTTP/1.1\r\n", 30), 0);
    CU_ASSERT_PTR_NOT_NULL(
        strstr((char *)bytes, "\r\nContent-Type: application/json;ty=4\r\nContent-Length: 65536\r\n"));
    const char *end = strstr((char *)bytes, "\r\n\r\n");
    CU_ASSERT_FATAL(end != NULL && strlen(end + 4) == 65536);
    request.operation = REQUEST_DISCOVER;
    bytes[request_write_http(&request, bytes)] = '\0';
    CU_ASSERT_EQUAL(strncmp((char *)bytes, "GET /cse-in/ae/cnt?fu=1 HTTP/1.1\r\n", 34), 0);
    request.operation = REQUEST_NOTIFY;
    bytes[request_write_http(&request, bytes)] = '\0';
    CU_ASSERT_PTR_NULL(strstr((char *)bytes, "ty=4"));
    CU_ASSERT_PTR_NOT_NULL(strstr((char *)bytes, "m2m:sgn"));
}

static void test_http_answer_in_pieces(void)
{
    static const char answer[] = "HTTP/1.1 201 Created\r\nX-M2M-RSC: 2001\r\nContent-Length: 5\r\n\r\nhello";
    size_t len = sizeof answer - 1;
    for (size_t cut = 0; cut <= len; cut++) {
        struct request_reader reader = {0};
        enum request_answer first = cut > 0 ? request_read_http(&reader, (const uint8_t *)answer, cut) : REQUEST_MORE;
        if (cut < len) {
            CU_ASSERT_EQUAL(first, REQUEST_MORE);
            first = request_read_http(&reader, (const uint8_t *)answer + cut, len - cut);
        }
        CU_ASSERT_EQUAL(first, REQUEST_OK);
        CU_ASSERT_PTR_NULL(reader.head);
    }
    struct request_reader reader = {0};
    static const char refusal[] = "HTTP/1.1 403 Forbidden\r\n\r\n";
    CU_ASSERT_EQUAL(request_read_http(&reader, (const uint8_t *)refusal, sizeof refusal - 1), REQUEST_REFUSED);
}

// --- hellos ------------------------------------------------------------------------------------------------------

static void check_hello(bool dtls13, size_t cookie_len)
{
    uint8_t bytes[HELLO_MAX];
    uint8_t filler[32];
    struct peek_hello seen;
    struct peek_record record;
    memset(filler, 0x5a, sizeof filler);
    struct hello hello = {
        .dtls13 = dtls13, .random = filler, .cookie = filler, .cookie_len = cookie_len, .identity = "dev1"};
    size_t len = hello_write(&hello, bytes);
    CU_ASSERT_FATAL(len <= sizeof bytes && peek_dtls_hello(slice_of(bytes, len), &seen, &record));
    CU_ASSERT_EQUAL(record.whole.len, len);
    CU_ASSERT_EQUAL(memcmp(seen.random, filler, sizeof filler), 0);
    CU_ASSERT_EQUAL(seen.tls13, dtls13);
    CU_ASSERT_EQUAL(seen.cookie.len, dtls13 ? 0 : cookie_len);
    CU_ASSERT_EQUAL(seen.retry_cookie.len, dtls13 ? cookie_len : 0);
    CU_ASSERT(seen.cid.data != NULL);
    if (dtls13)
        CU_ASSERT(slice_is(seen.psk_identity, "dev1") && seen.key_share);
    CU_ASSERT_EQUAL(peek_offers(&seen, 0xc0a8), !dtls13);
}

static void test_hellos_are_well_formed(void)
{
    check_hello(false, 0);
    check_hello(false, 32);
    check_hello(true, 0);
    check_hello(true, 32);
}

static const struct unit_test tests[] = {
    {"percentiles are exact to half a percent", test_percentiles_are_exact_to_half_a_percent},
    {"percentiles of many", test_percentiles_of_many},
    {"a histogram names each bucket with something", test_histogram_names_each_bucket_with_something},
    {"a mix of operations", test_mix},
    {"bad mixes", test_bad_mixes},
    {"operations over CoAP", test_coap_operations},
    {"content in blocks over CoAP", test_coap_content_in_blocks},
    {"answers over CoAP", test_coap_answers},
    {"operations over HTTP", test_http_operations},
    {"an HTTP answer in pieces", test_http_answer_in_pieces},
    {"hellos are well formed", test_hellos_are_well_formed},
};
UNIT_MAIN("sagate-load", tests)
