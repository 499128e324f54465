// Fuzz target: answers of a TEF over HTTP. The first byte says where the input is cut; a cut changes nothing.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "controlplane/tef/http.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct tef_response whole, parts;
    size_t used = 0, first = 0, second = 0;
    if (len < 2)
        return 0;
    size_t cut = (size_t)data[0] * (len - 1) / 255;
    data++;
    len--;
    tef_response_reset(&whole);
    tef_response_reset(&parts);
    int result = tef_response_feed(&whole, slice_of(data, len), &used);
    int again = tef_response_feed(&parts, slice_of(data, cut), &first);
    if (again == SAGATE_AGAIN)
        again = tef_response_feed(&parts, slice_of(data + cut, len - cut), &second);
    if (again != result || first + second != used || whole.body_len > TEF_BODY_MAX ||
        whole.body_len != parts.body_len || memcmp(whole.body, parts.body, whole.body_len) != 0)
        abort();
    if (result == SAGATE_DONE &&
        (whole.status < 200 || whole.status > 599 || strlen(whole.request_id) > TEF_REQUEST_ID_MAX))
        abort();
    if (result == SAGATE_EMALFORMED && (whole.why == NULL || whole.why[0] == '\0'))
        abort();
    return 0;
}
