// Fuzz target: what sagate-device reads. The first byte says what the rest is.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "controlplane/device/association.h"
#include "controlplane/device/message.h"
#include "controlplane/device/registration.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct reply reply;
    static struct association association;
    static const struct coap_token token = {.len = 1, .bytes = {'t'}};
    char id[REGISTRATION_ID_MAX];
    bool acknowledge;
    uint16_t mid;
    if (len == 0)
        return 0;
    reply.content_len = 0;
    switch (data[0]) {
    case 'c':
        (void)reply_read_coap(data + 1, len - 1, &token, &reply, &acknowledge, &mid);
        break;
    case 'h':
        (void)reply_read_http(data + 1, len - 1, (len & 1) != 0, &reply);
        break;
    case 'a':
        if (association_parse(slice_of(data + 1, len - 1), &association) == SAGATE_OK &&
            (association.key_len == 0 || association.key_len > ASSOCIATION_KEY_MAX || association.identity[0] == '\0'))
            abort();
        break;
    default:
        if (registration_read(slice_of(data + 1, len - 1), id) == SAGATE_OK && id[0] == '\0')
            abort();
        break;
    }
    if (reply.content_len > CONTENT_MAX)
        abort();
    return 0;
}
