// Steps of a trace through the CoAP binding: what a device or a CSE sends, and what it must see.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_UNIT_COAP_TRACE_H
#define SAGATE_TESTS_UNIT_COAP_TRACE_H

#include "tests/unit/coap_fakes.h"
#include "tests/unit/coap_text.h"
#include "tests/unit/unit.h"

#include <stdio.h>

struct trace {
    uint16_t device_mid, cse_mid; // of the last message to the device, to a CSE
    struct coap_token token;      // sagate's, of the last request to a CSE
    io_id socket;                 // that it went over
};
static struct trace trace;

static inline uint16_t mid_of(const struct world_message *message)
{
    return (uint16_t)(message->data[2] << 8 | message->data[3]);
}

static inline void device_sends(uint16_t mid, const char *text)
{
    uint8_t data[IO_DATAGRAM_MAX];
    world_device_sends(data, text_to_coap(text, mid, NULL, data, sizeof data));
}

// "@*" is the token of the last request.
static inline void cse_sends(uint16_t mid, const char *text)
{
    uint8_t data[IO_DATAGRAM_MAX];
    world_cse_sends(trace.socket, data, text_to_coap(text, mid, &trace.token, data, sizeof data));
}

static inline void expect(bool to_device, const char *text)
{
    char seen[4096];
    const struct world_message *message = world_next();
    if (message == NULL) {
        printf("\n  nothing sent, expected %s", text);
        CU_FAIL("nothing sent");
        return;
    }
    (void)coap_to_text(message->data, message->len, seen, sizeof seen);
    if ((message->id == 0) != to_device || strcmp(seen, text) != 0) {
        printf("\n  %s got %s\n  instead of %s %s", message->id == 0 ? "device" : "CSE", seen,
               to_device ? "device" : "CSE", text);
        CU_FAIL("another message than expected");
    }
    if (message->id == 0) {
        trace.device_mid = mid_of(message);
        return;
    }
    trace.cse_mid = mid_of(message);
    trace.socket = message->id;
    if (message->data[0] != 0x48)
        return;
    trace.token.len = 8;
    memcpy(trace.token.bytes, message->data + 4, 8);
}

static inline void device_gets(const char *text)
{
    expect(true, text);
}

static inline void cse_gets(const char *text)
{
    expect(false, text);
}

static inline void silence(void)
{
    char seen[4096];
    const struct world_message *message = world_next();
    if (message != NULL)
        printf("\n  %s got %s instead of nothing", message->id == 0 ? "device" : "CSE",
               coap_to_text(message->data, message->len, seen, sizeof seen));
    CU_ASSERT_PTR_NULL(message);
}

static inline uint64_t counted(enum stat_id id)
{
    return stats_get(&world.stats->counters[id]);
}

static inline void begin(void)
{
    world_prepare();
    world_start();
}

// Ends the world; whatever began towards a CSE has ended.
static inline void end(void)
{
    world_device_gone();
    world_advance(60000);
    CU_ASSERT_EQUAL(coap_in_flight(world.coap), 0);
    CU_ASSERT_EQUAL(world.begun, world.ended_answered + world.ended_failed + world.ended_untold + world.dropped);
    world_stop();
}

#endif
