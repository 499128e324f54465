// Fuzz target: the whole HTTP binding between two devices and their CSE. The input is a row of steps: a byte that says
// who does what, and for bytes on a stream a length byte and the bytes.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/http_fakes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum step { DEVICE_SAYS, CSE_SAYS, CONNECTED, REFUSED, CSE_EOF, CSE_CLOSED, WAIT, GONE, WRITABLE, CONGEST, DEVICE_EOF };

// The last connection that was opened, and the one before it.
static size_t stream_chosen(const struct bench *bench, uint8_t choice)
{
    size_t back = 1 + (choice >> 7);
    return bench->stream_count >= back ? bench->stream_count - back : 0;
}

static void act(struct bench *bench, uint8_t choice, const uint8_t *data, size_t len)
{
    size_t n = (choice >> 6) & 1, s = stream_chosen(bench, choice);
    struct bench_device *device = &bench->devices[n];
    switch (choice & 15) {
    case DEVICE_SAYS:
        if (!device->closed)
            bench_device_says(bench, n, data, len);
        break;
    case CSE_SAYS:
        bench_cse_data(bench, s, data, len);
        break;
    case CONNECTED:
        bench_connected(bench, s);
        break;
    case REFUSED:
        bench_refused(bench, s);
        break;
    case CSE_EOF:
        bench_cse_event(bench, s, IO_EOF, 0);
        break;
    case CSE_CLOSED:
        bench_cse_event(bench, s, IO_CLOSED, choice >> 7);
        break;
    case WAIT:
        bench_wait(bench, (choice & 0x80) != 0 ? 6000 : 210);
        break;
    case GONE:
        bench_device_gone(bench, n);
        break;
    case WRITABLE:
        bench->send_result = bench->write_result = SAGATE_OK;
        bench_cse_event(bench, s, IO_WRITABLE, 0);
        if (!device->gone)
            http_device_writable(bench->http, &device->device, bench->now_us);
        break;
    case CONGEST:
        bench->send_result = (choice & 0x40) != 0 ? SAGATE_AGAIN : SAGATE_OK;
        bench->write_result = (choice & 0x80) != 0 ? SAGATE_AGAIN : SAGATE_OK;
        break;
    case DEVICE_EOF:
        if (!device->gone && !device->closed)
            http_device_eof(bench->http, &device->device, bench->now_us);
        break;
    default:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct bench *bench = bench_new();
    if (len > 0 && (data[0] & 1) != 0)
        bench->upstream.http_identity = CONFIG_IDENTITY_HEADERS;
    if (len > 0 && (data[0] & 2) != 0)
        bench->upstream.http_identity = CONFIG_IDENTITY_PROXY_V2;
    for (size_t at = 1; at < len;) {
        uint8_t choice = data[at++];
        size_t count = 0;
        if ((choice & 15) <= CSE_SAYS) {
            if (at == len)
                break;
            count = data[at++];
            count = count < len - at ? count : len - at;
        }
        act(bench, choice, data + at, count);
        at += count;
    }
    // Whatever happened: what was begun ends once.
    for (size_t n = 0; n < BENCH_DEVICES; n++)
        bench_device_gone(bench, n);
    bench_wait(bench, 6000);
    if (http_in_flight(bench->http) != 0 ||
        bench->begun != bench->ended_answered + bench->ended_failed + bench->ended_untold ||
        bench->devices[0].device.in_flight + bench->devices[1].device.in_flight != 0)
        abort();
    bench_free(bench);
    return 0;
}
