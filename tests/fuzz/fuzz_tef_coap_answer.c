// Fuzz target: answers of a TEF over CoAP. The first byte says what was asked, and how; then each answer stands behind
// two bytes of its length, and an answer that asks for more is followed by the next.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "controlplane/tef/coap.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int result, const struct tef_response *response)
{
    if (response->body_len > TEF_BODY_MAX || strlen(response->request_id) > TEF_REQUEST_ID_MAX)
        abort();
    if (result == SAGATE_DONE && (response->status < 200 || response->status > 599 ||
                                  (response->rsc != 0 && (response->rsc < 1000 || response->rsc > 9999))))
        abort();
    if (result == SAGATE_EMALFORMED && (response->why == NULL || response->why[0] == '\0'))
        abort();
}

// What is sent next is always a message of ours.
static void ask(struct tef_exchange *exchange, unsigned number)
{
    static struct coap_message message;
    struct slice bytes = tef_exchange_next(exchange, (uint16_t)number, number);
    if (coap_parse(bytes.data, bytes.len, &message) != SAGATE_OK || !coap_is_request(message.code) ||
        !tef_exchange_is(exchange, &message.token) || message.payload.len > 4 * TEF_COAP_BLOCK)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct tef_response response;
    static struct coap_message message;
    static char body[3001];
    if (len < 1)
        return 0;
    memset(body, 'b', sizeof body - 1);
    const struct tef_message request = {.method = (data[0] & 1U) != 0 ? "POST" : "GET",
                                        .target = "/0A1B",
                                        .host = "maf.example",
                                        .origin = "//sp.example/in-cse",
                                        .request_id = "r-1",
                                        .body = (data[0] & 1U) != 0 ? body : NULL};
    struct tef_exchange *exchange;
    if (tef_exchange_new(&request, (data[0] & 2U) != 0 ? TEF_NUMBERING_OLD : TEF_NUMBERING_CURRENT, &exchange) !=
        SAGATE_OK)
        abort();
    int result = SAGATE_AGAIN;
    data++;
    len--;
    for (unsigned number = 1; result == SAGATE_AGAIN && len > 2; number++) {
        size_t one = (size_t)data[0] << 8 | data[1];
        data += 2;
        len -= 2;
        one = one < len ? one : len;
        ask(exchange, number);
        if (coap_parse(data, one, &message) == SAGATE_OK && message.code != 0 && !coap_is_request(message.code)) {
            result = tef_exchange_take(exchange, &message, &response);
            check(result, &response);
        }
        data += one;
        len -= one;
    }
    tef_exchange_free(exchange);
    return 0;
}
