// Fuzz target: the CoAP parser; what parses must be written again and then parse to the same message.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/binding/coap/message.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void compare(const struct coap_message *a, const struct coap_message *b)
{
    bool same = a->type == b->type && a->code == b->code && a->mid == b->mid &&
                coap_token_equal(&a->token, &b->token) && a->option_count == b->option_count &&
                slice_equal(a->payload, b->payload);
    for (size_t i = 0; same && i < a->option_count; i++)
        same = a->options[i].number == b->options[i].number && slice_equal(a->options[i].value, b->options[i].value);
    if (!same)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct coap_message message, again;
    static uint8_t out[1 << 16];
    struct coap_writer writer;
    struct coap_block block;
    if (len > sizeof out / 2 || coap_parse(data, len, &message) != SAGATE_OK)
        return 0;
    coap_begin(&writer, out, sizeof out, message.type, message.code, message.mid, &message.token);
    for (size_t i = 0; i < message.option_count; i++) {
        coap_add(&writer, message.options[i].number, message.options[i].value);
        (void)coap_block_parse(message.options[i].value, &block);
    }
    coap_add_payload(&writer, message.payload);
    int written = coap_end(&writer);
    if (written < 0 || coap_parse(out, (size_t)written, &again) != SAGATE_OK)
        abort();
    compare(&message, &again);
    return 0;
}
