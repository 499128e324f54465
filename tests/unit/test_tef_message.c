// HTTP requests to a TEF and its answers: what is taken, however the stream is cut, and what is refused.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "controlplane/tefserver/coap.h"
#include "controlplane/tefserver/message.h"
#include "tests/unit/unit.h"

#include <string.h>

#define HEAD "POST /x?y HTTP/1.1\r\nHost: maf\r\nX-M2M-RI: r1\r\nX-M2M-Origin: //sp.example/Sdev1\r\n"

static int feed(struct message *message, const char *text, size_t *used)
{
    message_init(message);
    return message_feed(message, (const uint8_t *)text, strlen(text), used);
}

static void requests_are_taken_in_any_pieces(void)
{
    static const char text[] = HEAD "Content-Type: application/json; ty=2\r\nContent-Length: 2\r\n\r\n{}GET";
    static struct message message;
    for (size_t cut = 1; cut < sizeof text - 4; cut++) {
        size_t first = 0, second = 0;
        message_init(&message);
        CU_ASSERT_EQUAL(message_feed(&message, (const uint8_t *)text, cut, &first), SAGATE_AGAIN);
        CU_ASSERT_EQUAL(message_feed(&message, (const uint8_t *)text + cut, sizeof text - 1 - cut, &second), SAGATE_OK);
        CU_ASSERT_EQUAL(first + second, sizeof text - 4);
        CU_ASSERT_EQUAL(message.request.operation, ONEM2M_CREATE);
        CU_ASSERT_EQUAL(message.request.type, 2);
        CU_ASSERT_TRUE(slice_is(message.request.target, "/x"));
        CU_ASSERT_TRUE(slice_is(message.request.origin, "//sp.example/Sdev1"));
        CU_ASSERT_TRUE(slice_is(message.request.content, "{}"));
        CU_ASSERT_TRUE(slice_is(message.id, "r1"));
        message_release(&message);
    }
}

static void what_is_not_understood_is_refused(void)
{
    static const struct {
        const char *text;
        int result;
    } cases[] = {
        {"PATCH / HTTP/1.1\r\nHost: a\r\n\r\n", SAGATE_EUNSUPPORTED},
        {"GET / HTTP/1.1\r\n\r\n", SAGATE_EMALFORMED},
        {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", SAGATE_EMALFORMED},
        {HEAD "X-M2M-Origin: //sp.example/Sdev2\r\n\r\n", SAGATE_EMALFORMED},
        {HEAD "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", SAGATE_EMALFORMED},
        {HEAD "Content-Length: -1\r\n\r\n", SAGATE_EMALFORMED},
        {HEAD "Content-Length: 99999\r\n\r\n", SAGATE_ETOOBIG},
        {HEAD "Transfer-Encoding: chunked\r\n\r\n", SAGATE_EUNSUPPORTED},
        {HEAD "Content-Type: application/xml\r\nContent-Length: 1\r\n\r\n", SAGATE_EUNSUPPORTED},
        {HEAD "Content-Type: application/json;ty=x\r\nContent-Length: 1\r\n\r\n", SAGATE_EMALFORMED},
    };
    static struct message message;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t used = 0;
        CU_ASSERT_EQUAL(feed(&message, cases[i].text, &used), cases[i].result);
        message_release(&message);
    }
}

static void answers_are_complete(void)
{
    struct buffer out = {0};
    char content[] = "{}";
    const struct procedure_answer answer = {.rsc = RSC_CREATED, .id = "AB", .content = content};
    message_answer(&answer, slice_text("r1"), true, &out);
    buffer_add(&out, "", 1);
    CU_ASSERT_FALSE(out.failed);
    CU_ASSERT_STRING_EQUAL((const char *)out.data,
                           "HTTP/1.1 201 Created\r\nX-M2M-RSC: 2001\r\nX-M2M-RI: r1\r\nContent-Location: /AB\r\n"
                           "Content-Type: application/json\r\nCache-Control: no-store\r\nConnection: close\r\n"
                           "Content-Length: 2\r\n\r\n{}");
    buffer_release(&out);
}

static void coap_messages_are_taken(void)
{
    static const char origin[] = "//sp.example/Sdev1";
    static uint8_t bytes[COAP_ANSWER_MAX];
    static struct coap_message message;
    const struct coap_token token = {.len = 2, .bytes = {1, 2}};
    struct coap_writer writer;
    struct procedure_request request;
    struct procedure_answer answer = {.rsc = RSC_CREATED, .id = "AB"};
    struct slice id;
    char target[COAP_TARGET_MAX];
    for (int critical = 0; critical < 2; critical++) {
        coap_begin(&writer, bytes, sizeof bytes, COAP_CON, COAP_POST, 9, &token);
        coap_add(&writer, COAP_URI_PATH, slice_text("a"));
        coap_add(&writer, COAP_URI_PATH, slice_text("b"));
        coap_add(&writer, COAP_CONTENT_FORMAT, slice_text("2"));
        coap_add(&writer, 267, slice_of("\2", 1));
        coap_add(&writer, 279, slice_text(origin));
        coap_add(&writer, 283, slice_text("r1"));
        if (critical != 0)
            coap_add(&writer, 65001, slice_text("x"));
        coap_add_payload(&writer, slice_text("{}"));
        CU_ASSERT_EQUAL_FATAL(coap_parse(bytes, (size_t)coap_end(&writer), &message), SAGATE_OK);
        CU_ASSERT_EQUAL(coap_read_request(&message, target, &request, &id),
                        critical != 0 ? SAGATE_EUNSUPPORTED : SAGATE_OK);
        CU_ASSERT_TRUE(slice_is(id, "r1"));
    }
    CU_ASSERT_EQUAL(request.type, 2);
    CU_ASSERT_TRUE(slice_is(request.origin, origin));
    CU_ASSERT_TRUE(slice_is(request.content, "{}"));
    int len = coap_write_answer(&message, &answer, slice_text("r1"), bytes);
    CU_ASSERT_EQUAL_FATAL(coap_parse(bytes, (size_t)len, &message), SAGATE_OK);
    CU_ASSERT_EQUAL(message.type, COAP_ACK);
    CU_ASSERT_EQUAL(message.code, COAP_CREATED);
    CU_ASSERT_EQUAL(message.mid, 9);
    CU_ASSERT_TRUE(coap_token_equal(&message.token, &token));
}

static const struct unit_test tests[] = {
    {"requests are taken in any pieces", requests_are_taken_in_any_pieces},
    {"what is not understood is refused", what_is_not_understood_is_refused},
    {"answers are complete", answers_are_complete},
    {"CoAP messages are taken", coap_messages_are_taken},
};

UNIT_MAIN("tef_message", tests)
