// Fuzz target: requests to sagate-tef, over its procedures and a store in memory. The first byte says where the input
// is cut, which changes nothing; whatever is taken gets an answer that names no key to who may not have it.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/tefserver/message.h"
#include "tests/unit/tefserver_rig.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void run(struct tef_rig *rig, const struct message *message, const char *client)
{
    struct procedure_answer answer;
    struct buffer out = {0};
    const struct procedure_peer peer = {.client_id = client, .exported = rig->exported};
    procedure_run(&rig->settings, &rig->settings.functions[0], rig->store, &peer, &message->request, RIG_NOW, &answer);
    if (answer.rsc >= 4000 && answer.content != NULL)
        abort();
    if (strcmp(client, RIG_TARGET) == 0 && answer.rsc == RSC_CREATED)
        abort(); // it has no administrator
    message_answer(&answer, message->id, message->close, &out);
    procedure_answer_release(&answer);
    buffer_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct message whole, parts;
    struct tef_rig rig;
    size_t used = 0, first = 0, second = 0;
    if (len < 2)
        return 0;
    size_t cut = (size_t)data[0] * (len - 1) / 256;
    data++;
    len--;
    message_init(&whole);
    message_init(&parts);
    int result = message_feed(&whole, data, len, &used);
    int again = message_feed(&parts, data, cut, &first);
    if (again == SAGATE_AGAIN)
        again = message_feed(&parts, data + cut, len - cut, &second);
    if (again != result || (result == SAGATE_OK && first + second != used))
        abort();
    if (result == SAGATE_OK) {
        if (!rig_open(&rig, TEF_MAF))
            abort();
        run(&rig, &whole, RIG_SOURCE);
        run(&rig, &whole, RIG_TARGET);
        tef_store_close(rig.store);
    }
    message_release(&whole);
    message_release(&parts);
    return 0;
}
