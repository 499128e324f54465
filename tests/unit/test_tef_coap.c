// Requests to a TEF as CoAP messages, in blocks and without, and what its answers are taken for.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "controlplane/tef/coap.h"
#include "dataplane/binding/coap/numbering.h"
#include "tests/unit/unit.h"

#include <string.h>

static struct tef_response response;
static struct tef_exchange *exchange;
static uint64_t tokens;

static void begin_in(const char *method, const char *target, const char *body, enum tef_numbering numbering)
{
    const struct tef_message message = {.method = method,
                                        .target = target,
                                        .host = "maf.example:5684",
                                        .origin = "//sp.example/in-cse",
                                        .request_id = "r-1",
                                        .body = body,
                                        .type = body == NULL ? 0 : 1};
    tef_exchange_free(exchange);
    CU_ASSERT_EQUAL_FATAL(tef_exchange_new(&message, numbering, &exchange), SAGATE_OK);
}

static void begin(const char *method, const char *body)
{
    begin_in(method, "/0A1B", body, TEF_NUMBERING_CURRENT);
}

static struct coap_message *sent(void)
{
    static struct coap_message message;
    tokens++;
    struct slice bytes = tef_exchange_next(exchange, (uint16_t)(tokens + 7), tokens);
    CU_ASSERT_EQUAL_FATAL(coap_parse(bytes.data, bytes.len, &message), SAGATE_OK);
    CU_ASSERT_EQUAL(message.type, COAP_CON);
    CU_ASSERT_EQUAL(message.mid, tef_exchange_mid(exchange));
    CU_ASSERT_TRUE(tef_exchange_is(exchange, &message.token));
    return &message;
}

static bool has(const struct coap_message *message, uint16_t number, const char *value)
{
    for (size_t i = 0; i < message->option_count; i++) {
        if (message->options[i].number == number && slice_is(message->options[i].value, value))
            return true;
    }
    return false;
}

static struct coap_block block_of(const struct coap_message *message, uint16_t number)
{
    struct coap_block block = {0};
    const struct coap_option *option = coap_find(message, number);
    CU_ASSERT_PTR_NOT_NULL_FATAL(option);
    CU_ASSERT_TRUE(coap_block_parse(option->value, &block));
    return block;
}

// An answer of these options; numbers 0 end them.
struct answered {
    uint8_t code;
    uint16_t numbers[6];
    uint32_t values[6];
    const char *body;
};

static int take(const struct answered *from)
{
    static uint8_t bytes[4096];
    static struct coap_message message;
    struct coap_list list = {0};
    struct coap_writer writer;
    const struct coap_token token = {0};
    for (size_t i = 0; i < 6 && from->numbers[i] != 0; i++)
        coap_list_add_uint(&list, from->numbers[i], from->values[i]);
    coap_begin(&writer, bytes, sizeof bytes, COAP_ACK, from->code, 7, &token);
    coap_list_write(&list, &writer);
    coap_add_payload(&writer, slice_text(from->body == NULL ? "" : from->body));
    int len = coap_end(&writer);
    CU_ASSERT_TRUE_FATAL(len > 0);
    CU_ASSERT_EQUAL_FATAL(coap_parse(bytes, (size_t)len, &message), SAGATE_OK);
    return tef_exchange_take(exchange, &message, &response);
}

static void a_request(void)
{
    begin("GET", NULL);
    const struct coap_message *message = sent();
    CU_ASSERT_EQUAL(message->code, COAP_GET);
    CU_ASSERT_TRUE(has(message, COAP_URI_HOST, "maf.example"));
    CU_ASSERT_TRUE(has(message, COAP_URI_PATH, "0A1B"));
    CU_ASSERT_TRUE(has(message, COAP_ACCEPT, "2"));
    CU_ASSERT_TRUE(has(message, 279, "//sp.example/in-cse"));
    CU_ASSERT_TRUE(has(message, 283, "r-1"));
    CU_ASSERT_TRUE(has(message, 271, "3"));
    CU_ASSERT_PTR_NULL(coap_find(message, 267));
    begin_in("POST", "/", "{}", TEF_NUMBERING_OLD);
    message = sent();
    CU_ASSERT_EQUAL(message->code, COAP_POST);
    CU_ASSERT_PTR_NULL(coap_find(message, COAP_URI_PATH));
    CU_ASSERT_TRUE(has(message, 256, "//sp.example/in-cse"));
    CU_ASSERT_TRUE(has(message, 257, "r-1"));
    CU_ASSERT_TRUE(has(message, 267, "\1"));
    CU_ASSERT_PTR_NULL(coap_find(message, 271));
    CU_ASSERT_TRUE(slice_is(message->payload, "{}"));
    begin_in("GET", "/fetchCredentials/0A@mef.example/22", NULL, TEF_NUMBERING_CURRENT);
    message = sent();
    CU_ASSERT_TRUE(has(message, COAP_URI_PATH, "fetchCredentials"));
    CU_ASSERT_TRUE(has(message, COAP_URI_PATH, "0A@mef.example"));
    CU_ASSERT_TRUE(has(message, COAP_URI_PATH, "22"));
}

static void what_does_not_fit(void)
{
    char target[400] = "/";
    struct tef_exchange *none = NULL;
    memset(target + 1, 'a', 256);
    const struct tef_message message = {
        .method = "GET", .target = target, .host = "h", .origin = "o", .request_id = "r"};
    CU_ASSERT_EQUAL(tef_exchange_new(&message, TEF_NUMBERING_CURRENT, &none), SAGATE_ETOOBIG);
    CU_ASSERT_PTR_NULL(none);
    tef_exchange_free(NULL);
}

static void codes(void)
{
    static const struct {
        uint8_t code;
        int status;
    } rows[] = {{COAP_CONTENT, 205},    {COAP_CREATED, 201},     {COAP_CODE(4, 4), 404},
                {COAP_CODE(4, 3), 403}, {COAP_UNAVAILABLE, 503}, {COAP_TOO_LARGE, 413}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        begin("GET", NULL);
        CU_ASSERT_EQUAL(take(&(struct answered){.code = rows[i].code, .numbers = {307}, .values = {4004}, .body = "x"}),
                        SAGATE_DONE);
        CU_ASSERT_EQUAL(response.status, rows[i].status);
        CU_ASSERT_EQUAL(response.rsc, 4004);
        CU_ASSERT_EQUAL(response.body_len, 1);
    }
    begin_in("GET", "/a", NULL, TEF_NUMBERING_OLD);
    CU_ASSERT_EQUAL(take(&(struct answered){.code = COAP_CONTENT, .numbers = {265}, .values = {2000}}), SAGATE_DONE);
    CU_ASSERT_EQUAL(response.rsc, 2000);
    CU_ASSERT_STRING_EQUAL(response.request_id, "");
}

static void malformed(const struct answered *answer)
{
    begin("GET", NULL);
    CU_ASSERT_EQUAL(take(answer), SAGATE_EMALFORMED);
    CU_ASSERT_TRUE(response.why != NULL && response.why[0] != '\0');
}

static void nonsense(void)
{
    malformed(&(struct answered){.code = COAP_CONTINUE});
    malformed(&(struct answered){.code = COAP_CONTENT, .numbers = {9}}); // critical, and unknown
    malformed(&(struct answered){.code = COAP_CONTENT, .numbers = {COAP_CONTENT_FORMAT}, .values = {41}});
    malformed(&(struct answered){.code = COAP_CONTENT, .numbers = {307}, .values = {70000}});
    malformed(&(struct answered){.code = COAP_CONTENT, .numbers = {307}, .values = {7}});
    malformed(&(struct answered){.code = COAP_CONTENT, .numbers = {307, 307}, .values = {2000, 2000}});
    malformed(&(struct answered){.code = COAP_CONTENT, .numbers = {283}, .values = {0}}); // an empty one
    malformed(&(struct answered){.code = COAP_CONTENT, .numbers = {COAP_BLOCK2}, .values = {0x17}});
    malformed(&(struct answered){.code = COAP_CONTENT, .numbers = {COAP_BLOCK2}, .values = {0x10}});
    malformed(&(struct answered){.code = COAP_CONTENT, .numbers = {COAP_BLOCK2}, .values = {0x08}, .body = "short"});
    // An elective one is passed over, and a refusal may be told in plain text.
    begin("GET", NULL);
    CU_ASSERT_EQUAL(take(&(struct answered){.code = COAP_CONTENT, .numbers = {10}}), SAGATE_DONE);
    begin("GET", NULL);
    CU_ASSERT_EQUAL(take(&(struct answered){
                        .code = COAP_CODE(4, 4), .numbers = {COAP_CONTENT_FORMAT}, .values = {0}, .body = "no"}),
                    SAGATE_DONE);
}

// A block of 16 bytes.
static int block(uint32_t number, bool more, uint32_t etag, const char *body)
{
    return take(&(struct answered){.code = COAP_CONTENT,
                                   .numbers = {307, COAP_BLOCK2, COAP_ETAG},
                                   .values = {2000, number << 4 | (more ? 8U : 0U), etag},
                                   .body = body});
}

static void answers_in_blocks(void)
{
    begin("GET", NULL);
    CU_ASSERT_PTR_NULL(coap_find(sent(), COAP_BLOCK2));
    CU_ASSERT_EQUAL(block(0, true, 5, "0123456789abcdef"), SAGATE_AGAIN);
    struct coap_block asked = block_of(sent(), COAP_BLOCK2);
    CU_ASSERT_EQUAL(asked.number, 1);
    CU_ASSERT_EQUAL(asked.size, 16);
    CU_ASSERT_EQUAL(block(1, true, 5, "0123456789ABCDEF"), SAGATE_AGAIN);
    CU_ASSERT_EQUAL(block_of(sent(), COAP_BLOCK2).number, 2);
    CU_ASSERT_EQUAL(block(2, false, 5, "end"), SAGATE_DONE);
    CU_ASSERT_TRUE(slice_is(slice_of(response.body, response.body_len), "0123456789abcdef0123456789ABCDEFend"));
    CU_ASSERT_EQUAL(response.status, 205);
    CU_ASSERT_EQUAL(response.rsc, 2000);

    static const struct {
        uint32_t number, etag;
        const char *body;
    } bad[] = {{2, 5, "0123456789abcdef"}, {0, 5, "0123456789abcdef"}, {1, 6, "0123456789abcdef"}, {1, 5, "short"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        begin("GET", NULL);
        CU_ASSERT_EQUAL(block(0, true, 5, "0123456789abcdef"), SAGATE_AGAIN);
        CU_ASSERT_EQUAL(block(bad[i].number, true, bad[i].etag, bad[i].body), SAGATE_EMALFORMED);
    }
    // One that is gone by then.
    begin("GET", NULL);
    CU_ASSERT_EQUAL(block(0, true, 5, "0123456789abcdef"), SAGATE_AGAIN);
    CU_ASSERT_EQUAL(take(&(struct answered){.code = COAP_CODE(4, 4), .numbers = {307}, .values = {4004}}), SAGATE_DONE);
    CU_ASSERT_EQUAL(response.rsc, 4004);
    CU_ASSERT_EQUAL(response.body_len, 0);
}

static void answers_without_end(void)
{
    static char text[TEF_COAP_BLOCK + 1];
    int rc = SAGATE_AGAIN;
    uint32_t number = 0;
    memset(text, 'a', TEF_COAP_BLOCK);
    begin("GET", NULL);
    for (; rc == SAGATE_AGAIN && number <= TEF_BODY_MAX / TEF_COAP_BLOCK; number++)
        rc = take(&(struct answered){
            .code = COAP_CONTENT, .numbers = {COAP_BLOCK2}, .values = {number << 4 | 0xeU}, .body = text});
    CU_ASSERT_EQUAL(rc, SAGATE_EMALFORMED);
    CU_ASSERT_EQUAL(number, TEF_BODY_MAX / TEF_COAP_BLOCK + 1);
}

static char body[2501];

static void long_body(void)
{
    for (size_t i = 0; i < sizeof body - 1; i++)
        body[i] = (char)('a' + i % 26);
    begin("POST", body);
}

static int continued(uint32_t number, uint32_t exponent)
{
    return take(
        &(struct answered){.code = COAP_CONTINUE, .numbers = {COAP_BLOCK1}, .values = {number << 4 | 8U | exponent}});
}

// What is sent from `at` on, in blocks of `size`, to the end.
static void sent_whole(size_t at, uint32_t size)
{
    for (;;) {
        const struct coap_message *message = sent();
        struct coap_block one = block_of(message, COAP_BLOCK1);
        CU_ASSERT_EQUAL(one.offset, at);
        CU_ASSERT_EQUAL(one.size, size);
        CU_ASSERT_TRUE(message->payload.len > 0 && memcmp(message->payload.data, body + at, message->payload.len) == 0);
        at += message->payload.len;
        CU_ASSERT_EQUAL(one.more, at < sizeof body - 1);
        if (!one.more)
            break;
        uint32_t exponent = 0;
        while (16U << exponent < size)
            exponent++;
        CU_ASSERT_EQUAL_FATAL(continued(one.number, exponent), SAGATE_AGAIN);
    }
    CU_ASSERT_EQUAL(at, sizeof body - 1);
    CU_ASSERT_EQUAL(continued(0, 0), SAGATE_EMALFORMED);
    CU_ASSERT_EQUAL(take(&(struct answered){.code = COAP_CREATED, .numbers = {307}, .values = {2001}}), SAGATE_DONE);
}

static void requests_in_blocks(void)
{
    long_body();
    sent_whole(0, 1024);
    // A TEF that wants smaller ones, from the second block on and from the beginning.
    long_body();
    CU_ASSERT_EQUAL(coap_uint(coap_find(sent(), COAP_SIZE1)->value), sizeof body - 1);
    CU_ASSERT_EQUAL(continued(0, 2), SAGATE_AGAIN);
    sent_whole(1024, 64);
    long_body();
    CU_ASSERT_EQUAL(take(&(struct answered){.code = COAP_TOO_LARGE, .numbers = {COAP_BLOCK1}, .values = {4}}),
                    SAGATE_AGAIN);
    sent_whole(0, 256);
    // One that is content with nothing.
    long_body();
    CU_ASSERT_EQUAL(take(&(struct answered){.code = COAP_TOO_LARGE, .numbers = {COAP_BLOCK1}, .values = {6}}),
                    SAGATE_DONE);
    CU_ASSERT_EQUAL(response.status, 413);
    long_body();
    CU_ASSERT_EQUAL(continued(1, 6), SAGATE_EMALFORMED);
    tef_exchange_free(exchange);
    exchange = NULL;
}

static const struct unit_test tests[] = {
    {"a request", a_request},
    {"what does not fit", what_does_not_fit},
    {"codes", codes},
    {"nonsense", nonsense},
    {"answers in blocks", answers_in_blocks},
    {"answers without end", answers_without_end},
    {"requests in blocks", requests_in_blocks},
};
UNIT_MAIN("tef_coap", tests)
