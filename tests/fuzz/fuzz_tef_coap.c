// Fuzz target: CoAP messages to sagate-tef, over its procedures and a store in memory. Whatever is taken gets an answer
// that is a CoAP message of the same token.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/tefserver/coap.h"
#include "tests/unit/tefserver_rig.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void run(struct tef_rig *rig, const struct coap_message *message, const char *client)
{
    static struct coap_message back;
    static uint8_t out[COAP_ANSWER_MAX];
    struct procedure_answer answer = {.rsc = RSC_BAD_REQUEST};
    struct procedure_request request;
    struct slice id;
    char target[COAP_TARGET_MAX];
    const struct procedure_peer peer = {.client_id = client, .exported = rig->exported};
    if (coap_read_request(message, target, &request, &id) == SAGATE_OK)
        procedure_run(&rig->settings, &rig->settings.functions[0], rig->store, &peer, &request, RIG_NOW, &answer);
    if (answer.rsc >= 4000 && answer.content != NULL)
        abort();
    int n = coap_write_answer(message, &answer, id, out);
    procedure_answer_release(&answer);
    if (n == SAGATE_ETOOBIG)
        return;
    if (n < 0 || coap_parse(out, (size_t)n, &back) != SAGATE_OK || !coap_token_equal(&back.token, &message->token))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct coap_message message;
    struct tef_rig rig;
    if (coap_parse(data, len, &message) != SAGATE_OK || !coap_is_request(message.code))
        return 0;
    if (!rig_open(&rig, TEF_MAF))
        abort();
    run(&rig, &message, RIG_SOURCE);
    run(&rig, &message, RIG_TARGET);
    tef_store_close(rig.store);
    return 0;
}
