// Fuzz target: answers to the load generator. The first byte chooses HTTP (its other bits: where the bytes are cut in
// two) or CoAP. However an HTTP answer is cut, what is said of it is the same.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "perf/request.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void read_http(const uint8_t *data, size_t len, size_t cut)
{
    struct request_reader whole = {.head = NULL};
    struct request_reader pieces = {.head = NULL};
    enum request_answer expected = request_read_http(&whole, data, len);
    enum request_answer answer = cut > 0 ? request_read_http(&pieces, data, cut) : REQUEST_MORE;
    if (answer == REQUEST_MORE && cut < len)
        answer = request_read_http(&pieces, data + cut, len - cut);
    // An answer may end before the cut: what follows it is then another's.
    if (answer != expected || (answer == REQUEST_OK && pieces.status / 100 != 2))
        abort();
    request_reader_reset(&whole);
    request_reader_reset(&pieces);
}

static void judge_coap(const uint8_t *data, size_t len)
{
    struct request request = {.operation = REQUEST_CREATE, .message = 0x01020304};
    bool acknowledge;
    uint8_t acknowledgement[4];
    request_setup(3000);
    enum request_answer answer = request_judge_coap(&request, data, len, &acknowledge, acknowledgement);
    if ((answer == REQUEST_CONTINUE) != (request.offset == REQUEST_BLOCK) ||
        (answer == REQUEST_NEXT_BLOCK) != (request.block == 1))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 2)
        return 0;
    if ((data[0] & 1) == 0)
        judge_coap(data + 1, len - 1);
    else
        read_http(data + 1, len - 1, (size_t)(data[0] >> 1) % (len - 1));
    return 0;
}
