// Fuzz target: HTTP heads. The first byte chooses request or response and where the input is cut; a cut changes
// nothing, and what is taken can be read and passes into no line that it was not.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/binding/http/request.h"
#include "dataplane/binding/http/response.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void inspect(const struct http_head *head)
{
    for (size_t i = 0; i < head->field_count; i++) {
        struct slice value = http_head_value(head, i);
        if (!http_is_token(http_head_name(head, i)))
            abort();
        for (size_t j = 0; j < value.len; j++) {
            if (value.data[j] == '\r' || value.data[j] == '\n' || value.data[j] == '\0')
                abort();
        }
    }
}

static void read(const struct http_head *head)
{
    struct http_request request;
    struct http_response response;
    struct http_problem problem;
    const struct primitive primitive = {.operation = ONEM2M_RETRIEVE};
    if (head->kind == HTTP_REQUEST_HEAD) {
        (void)http_request_read(head, 64, &request, &problem);
        http_request_release(&request);
    } else {
        (void)http_response_read(head, &primitive, &response);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct http_head whole, parts;
    size_t used = 0, first = 0, second = 0;
    if (len < 2)
        return 0;
    enum http_head_kind kind = (data[0] & 1) != 0 ? HTTP_RESPONSE_HEAD : HTTP_REQUEST_HEAD;
    size_t cut = (size_t)(data[0] >> 1) * (len - 1) / 128;
    data++;
    len--;
    http_head_init(&whole, kind, 4096);
    http_head_init(&parts, kind, 4096);
    int result = http_head_feed(&whole, data, len, &used);
    int again = http_head_feed(&parts, data, cut, &first);
    if (again == SAGATE_AGAIN)
        again = http_head_feed(&parts, data + cut, len - cut, &second);
    if (again != result || (result == SAGATE_OK && first + second != used))
        abort();
    inspect(&whole);
    if (result == SAGATE_OK)
        read(&whole);
    http_head_release(&whole);
    http_head_release(&parts);
    return 0;
}
