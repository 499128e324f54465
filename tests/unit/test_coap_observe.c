// Observations (RFC 7641) and bodies in blocks (RFC 7959) through the CoAP binding.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/coap_trace.h"

#include "common/error.h"

static void registers(uint16_t mid, const char *request, const char *forwarded)
{
    device_sends(mid, request);
    cse_gets(forwarded);
    cse_sends(trace.cse_mid, "ACK 2.05 @* 6=#1 283=r1 307=#2000 |{}");
}

static void begin_observed(void)
{
    begin();
    registers(1, "CON GET @o /a 6=#0 279=C1 283=r1", "CON GET @* 6=#0 /a 279=C1 283=r1");
    device_gets("ACK 2.05 @o 6=#1 283=r1 307=#2000 |{}");
    CU_ASSERT_EQUAL(counted(STAT_COAP_OBSERVATIONS), 1);
    CU_ASSERT_EQUAL(world.device.in_flight, 0);
}

static void passes_notifications(void)
{
    begin_observed();
    cse_sends(100, "NON 2.05 @* 6=#2 307=#2000 |{2}");
    device_gets("NON 2.05 @o 6=#2 283=r1 307=#2000 |{2}");
    cse_sends(100, "NON 2.05 @* 6=#2 307=#2000 |{2}");
    silence();
    cse_sends(101, "CON 2.05 @* 6=#3 307=#2000 |{3}");
    cse_gets("ACK -");
    device_gets("CON 2.05 @o 6=#3 283=r1 307=#2000 |{3}");
    world_advance_to_next(3000);
    device_gets("CON 2.05 @o 6=#3 283=r1 307=#2000 |{3}");
    device_sends(trace.device_mid, "ACK -");
    world_advance(100000);
    silence();
    // The registration's Message ID may be used again, the observation is untouched.
    world_advance(247000);
    device_sends(1, "CON GET @x /b 279=C1 283=r2");
    struct coap_token token = trace.token;
    cse_gets("CON GET @* /b 279=C1 283=r2");
    cse_sends(trace.cse_mid, "ACK 2.05 @*");
    device_gets("ACK 2.05 @x 283=r2 307=#2000");
    trace.token = token;
    // An answer without Observe, or an error, is the last one.
    cse_sends(102, "CON 4.04 @* 307=#4004");
    cse_gets("ACK -");
    device_gets("CON 4.04 @o 283=r1 307=#4004");
    device_sends(trace.device_mid, "ACK -");
    CU_ASSERT_EQUAL(counted(STAT_COAP_OBSERVATIONS), 0);
    cse_sends(103, "NON 2.05 @* 6=#4");
    cse_gets("RST -");
    silence();
    end();
}

static void a_newer_notification_replaces(void)
{
    begin_observed();
    cse_sends(101, "CON 2.05 @* 6=#3 |{3}");
    cse_gets("ACK -");
    device_gets("CON 2.05 @o 6=#3 283=r1 307=#2000 |{3}");
    uint16_t first = trace.device_mid;
    cse_sends(102, "CON 2.05 @* 6=#5 |{5}");
    cse_gets("ACK -");
    cse_sends(103, "CON 2.05 @* 6=#4 |{4}"); // overtaken
    cse_gets("ACK -");
    silence();
    world_advance_to_next(3000);
    device_gets("CON 2.05 @o 6=#5 283=r1 307=#2000 |{5}");
    CU_ASSERT_NOT_EQUAL(trace.device_mid, first);
    cse_sends(104, "CON 2.05 @* 6=#6 |{6}");
    cse_gets("ACK -");
    device_sends(trace.device_mid, "ACK -");
    device_gets("CON 2.05 @o 6=#6 283=r1 307=#2000 |{6}");
    device_sends(trace.device_mid, "ACK -");
    world_advance(100000);
    silence();
    CU_ASSERT_EQUAL(counted(STAT_COAP_OBSERVATIONS), 1);
    end();
}

// How an observation ends; after each of them the next notification is rejected towards the CSE.
static void is_cancelled(void)
{
    for (int way = 0; way < 3; way++) {
        begin_observed();
        cse_sends(101, way == 0 ? "NON 2.05 @* 6=#3 |{3}" : "CON 2.05 @* 6=#3 |{3}");
        if (way > 0)
            cse_gets("ACK -");
        device_gets(way == 0 ? "NON 2.05 @o 6=#3 283=r1 307=#2000 |{3}" : "CON 2.05 @o 6=#3 283=r1 307=#2000 |{3}");
        if (way == 1)
            world_device_gone();
        else if (way == 0)
            device_sends(trace.device_mid, "RST -");
        world_advance(200000);
        for (int i = 0; i < 4 && way == 2; i++)
            device_gets("CON 2.05 @o 6=#3 283=r1 307=#2000 |{3}");
        CU_ASSERT_EQUAL(counted(STAT_COAP_OBSERVATIONS), 0);
        cse_sends(102, "CON 2.05 @* 6=#4 |{4}");
        cse_gets("RST -");
        silence();
        end();
    }
}

static void deregisters_under_the_same_token(void)
{
    begin_observed();
    struct coap_token token = trace.token;
    io_id socket = trace.socket;
    device_sends(2, "CON GET @o /a 6=#0 279=C1 283=r2"); // registers again
    cse_gets("CON GET @* 6=#0 /a 279=C1 283=r2");
    CU_ASSERT_TRUE(coap_token_equal(&token, &trace.token) && socket == trace.socket);
    cse_sends(trace.cse_mid, "ACK 2.05 @* 6=#9");
    device_gets("ACK 2.05 @o 6=#9 283=r2 307=#2000");
    CU_ASSERT_EQUAL(counted(STAT_COAP_OBSERVATIONS), 1);
    device_sends(3, "CON GET @o /a 6=#1 279=C1 283=r3");
    cse_gets("CON GET @* 6=#1 /a 279=C1 283=r3");
    CU_ASSERT_TRUE(coap_token_equal(&token, &trace.token) && socket == trace.socket);
    cse_sends(trace.cse_mid, "ACK 2.05 @*");
    device_gets("ACK 2.05 @o 283=r3 307=#2000");
    CU_ASSERT_EQUAL(counted(STAT_COAP_OBSERVATIONS), 0);
    end();
}

static void bounds_observations(void)
{
    begin();
    registers(1, "CON GET @a /a 6=#0 279=C1 283=r1", "CON GET @* 6=#0 /a 279=C1 283=r1");
    device_gets("ACK 2.05 @a 6=#1 283=r1 307=#2000 |{}");
    registers(2, "NON GET @b /a 6=#0 279=C1 283=r1", "CON GET @* 6=#0 /a 279=C1 283=r1");
    device_gets("NON 2.05 @b 6=#1 283=r1 307=#2000 |{}");
    // One too many is served as a plain GET.
    device_sends(3, "CON GET @c /a 6=#0 279=C1 283=r1");
    cse_gets("CON GET @* /a 279=C1 283=r1");
    cse_sends(trace.cse_mid, "ACK 2.05 @*");
    device_gets("ACK 2.05 @c 283=r1 307=#2000");
    CU_ASSERT_EQUAL(counted(STAT_COAP_OBSERVATIONS), 2);
    // Observe belongs to GET.
    device_sends(4, "CON PUT @c /a 6=#0 279=C1 283=r1 |{}");
    cse_gets("CON PUT @* /a 279=C1 283=r1 |{}");
    end();
}

static void ends_with_its_server(void)
{
    begin_observed();
    struct config changed = world.config;
    struct config_upstream upstream = world.upstream;
    changed.upstreams = &upstream;
    upstream.servers = &world.servers[1];
    CU_ASSERT_EQUAL(coap_reload(world.coap, &changed, world.now_us / 1000), SAGATE_OK);
    device_gets("CON 5.03 @o 12=#50 14=#5 283=r1 307=#5103 |{\"m2m:dbg\":\"the path to the CSE was closed\"}");
    device_sends(trace.device_mid, "ACK -");
    end();
}

// --- blocks ------------------------------------------------------------------------------------------------------

#define HEAD   "CON PUT @t /a 12=#50 "
#define TO_CSE "CON PUT @* /a 12=#50 "

static void block(uint16_t mid, const char *text, const char *forwarded, const char *answer, const char *returned)
{
    device_sends(mid, text);
    cse_gets(forwarded);
    cse_sends(trace.cse_mid, answer);
    device_gets(returned);
}

static void passes_blocks(void)
{
    begin();
    block(1, HEAD "27=#8 279=C1 283=r1 |{\"fr\":\"C1\",\"a\":\"", TO_CSE "27=#8 279=C1 283=r1 |{\"fr\":\"C1\",\"a\":\"",
          "ACK 2.31 @* 27=#8", "ACK 2.31 @t 27=#8");
    block(2, HEAD "27=#24 279=C1 283=r1 |0123456789abcdef", TO_CSE "27=#24 279=C1 283=r1 |0123456789abcdef",
          "ACK 2.31 @* 27=#24", "ACK 2.31 @t 27=#24");
    block(3, HEAD "27=#32 279=C1 283=r1 |\"}", TO_CSE "27=#32 279=C1 283=r1 |\"}", "ACK 2.04 @* 27=#32",
          "ACK 2.04 @t 27=#32 283=r1 307=#2004");
    end();
}

static const struct {
    const char *what, *blocks[3], *answer;
} bad_blocks[] = {
    {"begins in the middle", {HEAD "27=#24 279=C1 283=r1 |0123456789abcdef"}, "4.08"},
    {"a gap", {HEAD "27=#8 279=C1 283=r1 |{\"a\":\"0123456789", HEAD "27=#32 279=C1 283=r1 |\"}"}, "4.08"},
    {"another From", {HEAD "27=#8 279=C1 283=r1 |{\"a\":\"0123456789", HEAD "27=#16 279=C2 283=r1 |\"}"}, "4.00"},
    {"a block that is too short", {HEAD "27=#8 279=C1 283=r1 |{\"a\":\"0"}, "4.00"},
    {"another format",
     {HEAD "27=#8 279=C1 283=r1 |{\"a\":\"0123456789", "CON PUT @t /a 12=#60 27=#16 279=C1 283=r1 |\"}"},
     "4.00"},
    {"another request identifier",
     {HEAD "27=#8 279=C1 283=r1 |{\"a\":\"0123456789", HEAD "27=#16 279=C1 283=r2 |\"}"},
     "4.00"},
    {"another query",
     {HEAD "27=#8 279=C1 283=r1 |{\"a\":\"0123456789", HEAD "15=rcn=0 27=#16 279=C1 283=r1 |\"}"},
     "4.08"},
    {"another method",
     {HEAD "27=#8 279=C1 283=r1 |{\"a\":\"0123456789", "CON POST @t /a 12=#50 27=#16 279=C1 283=r1 |\"}"},
     "4.08"},
    {"a further oneM2M option",
     {HEAD "27=#8 279=C1 283=r1 |{\"a\":\"0123456789", HEAD "27=#16 279=C1 283=r1 311=g |\"}"},
     "4.08"},
    {"content without its end",
     {HEAD "27=#8 279=C1 283=r1 |{\"a\":\"0123456789", HEAD "27=#16 279=C1 283=r1 |\""},
     "4.00"},
    {"a forged originator across blocks",
     {HEAD "27=#8 279=C1 283=r1 |{\"a\":\"012\",\"fr\":", HEAD "27=#16 279=C1 283=r1 |\"CAdmin\"}"},
     "4.03"},
    {"an own originator that is another one",
     {HEAD "27=#8 279=C1 283=r1 |{\"a\":\"0123\",\"fr\"", HEAD "27=#16 279=C1 283=r1 |:\"C2\"}"},
     "4.00"},
};

// The CSE takes the block that it was just sent, and the device hears so.
static void cse_takes_block(void)
{
    const struct world_message *passed = world_next();
    CU_ASSERT_TRUE_FATAL(passed != NULL && passed->id != 0);
    trace.cse_mid = mid_of(passed);
    trace.socket = passed->id;
    trace.token.len = 8;
    memcpy(trace.token.bytes, passed->data + 4, 8);
    cse_sends(trace.cse_mid, "ACK 2.31 @*");
    device_gets("ACK 2.31 @t");
}

// The device is refused with that CoAP code, and nothing goes to the CSE.
static void refused(const char *what, const char *code)
{
    char seen[1024] = "";
    const struct world_message *refusal = world_next();
    CU_ASSERT_TRUE_FATAL(refusal != NULL && refusal->id == 0);
    (void)coap_to_text(refusal->data, refusal->len, seen, sizeof seen);
    if (strncmp(seen + 4, code, 4) != 0)
        printf("\n  %s: %s", what, seen);
    CU_ASSERT_EQUAL(strncmp(seen + 4, code, 4), 0);
    silence();
}

static void refuses_bad_blocks(void)
{
    for (size_t i = 0; i < sizeof bad_blocks / sizeof *bad_blocks; i++) {
        begin();
        size_t at = 0;
        for (; at < 2 && bad_blocks[i].blocks[at + 1] != NULL; at++) {
            device_sends((uint16_t)at, bad_blocks[i].blocks[at]);
            cse_takes_block();
        }
        unsigned begun = world.begun;
        device_sends((uint16_t)at, bad_blocks[i].blocks[at]);
        refused(bad_blocks[i].what, bad_blocks[i].answer);
        CU_ASSERT_EQUAL(world.begun, begun);
        // The transfer is gone: what would complete it is out of order now.
        device_sends(50, HEAD "27=#16 279=C1 283=r1 |\"}");
        refused(bad_blocks[i].what, "4.08");
        CU_ASSERT_EQUAL(world.begun, begun);
        end();
    }
}

static void keeps_transfers_apart(void)
{
    static struct device other, third;
    uint8_t data[256];
    world_prepare();
    world.upstream.coap_source_ports = 2;
    world.sockets_max = 2;
    world_start();
    other = world.device;
    other.association = 78;
    third = world.device;
    third.association = 79;
    device_sends(1, HEAD "27=#8 279=C1 283=r1 |{\"a\":\"0123456789");
    cse_gets(TO_CSE "27=#8 279=C1 283=r1 |{\"a\":\"0123456789");
    io_id socket = trace.socket;
    size_t len = text_to_coap(HEAD "27=#8 279=C1 283=r1 |{\"b\":\"0123456789", 1, NULL, data, sizeof data);
    coap_from_device(world.coap, &other, data, len, world.now_us);
    cse_gets(TO_CSE "27=#8 279=C1 283=r1 |{\"b\":\"0123456789");
    CU_ASSERT_NOT_EQUAL(trace.socket, socket); // a CSE would join blocks of one path and address
    coap_from_device(world.coap, &third, data, len, world.now_us);
    device_gets("ACK 5.03 @t 12=#50 14=#5 283=r1 307=#5103 |{\"m2m:dbg\":\"no path to the CSE is free\"}");
    world_advance(247001);
    while (world_next() != NULL)
        continue;
    coap_from_device(world.coap, &third, data, len, world.now_us);
    cse_gets(TO_CSE "27=#8 279=C1 283=r1 |{\"b\":\"0123456789");
    coap_device_gone(world.coap, &other, world.now_us);
    coap_device_gone(world.coap, &third, world.now_us);
    end();
}

// A CSE may join blocks by Request-Tag (RFC 9175) or by any other option; only one of two such transfers goes on.
static void keeps_to_one_transfer(void)
{
    static const struct {
        const char *a0, *b0, *a1, *b1, *code; // code: of the answer to a1
        bool ends;                            // a1 ends the other transfer as well
    } cases[] = {
        {HEAD "27=#8 279=C1 283=r1 292=A |{\"a\":12345678,\"f", HEAD "27=#8 279=C1 283=r1 292=B |{\"a\":12345678,\"g",
         HEAD "27=#16 279=C1 283=r1 292=A |r\":\"CAdmin\"}", HEAD "27=#16 279=C1 283=r1 292=B |r\":\"CAdmin\"}", "4.08",
         false},
        {HEAD "27=#8 279=C1 283=r1 292=A |{\"a\":12345678,\"f", HEAD "27=#8 279=C1 283=r2 |{\"a\":12345678,\"g",
         HEAD "27=#16 279=C1 283=r1 292=A |r\":\"CAdmin\"}", HEAD "27=#16 279=C1 283=r2 |r\":\"CAdmin\"}", "4.08",
         false},
        {HEAD "15=x=1 27=#8 279=C1 283=r1 |{\"a\":12345678,\"f", HEAD "27=#8 279=C1 283=r1 |{\"a\":12345678,\"g",
         HEAD "15=x=1 27=#16 279=C1 283=r1 |r\":\"CAdmin\"}", HEAD "27=#16 279=C1 283=r1 |r\":\"CAdmin\"}", "4.08",
         true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin();
        device_sends(1, cases[i].a0);
        cse_takes_block();
        device_sends(2, cases[i].b0);
        cse_takes_block();
        device_sends(3, cases[i].a1);
        refused("the older transfer", cases[i].code);
        device_sends(4, cases[i].b1);
        if (cases[i].ends)
            refused("the newer transfer", "4.08");
        else
            cse_takes_block();
        device_sends(5, cases[i].a1);
        refused("the older transfer again", "4.08");
        end();
    }
}

// What the CSE may still be sent again never meets blocks of another transfer.
static void sends_one_block_at_a_time(void)
{
    begin();
    world.sockets_max = 1;
    device_sends(1, HEAD "27=#8 279=C1 283=r1 |{\"a\":\"0123456789");
    cse_gets(TO_CSE "27=#8 279=C1 283=r1 |{\"a\":\"0123456789");
    device_sends(2, HEAD "27=#16 279=C1 283=r1 |\"}");
    refused("a block too early", "5.03");
    cse_sends(trace.cse_mid, "ACK 2.31 @*");
    device_gets("ACK 2.31 @t");
    device_sends(3, HEAD "27=#16 279=C1 283=r1 |\"}");
    cse_gets(TO_CSE "27=#16 279=C1 283=r1 |\"}");
    device_sends(4, HEAD "27=#8 279=C1 283=r1 |{\"a\":\"0123456789");
    refused("a transfer while the last block of one is on its way", "5.03");
    cse_sends(trace.cse_mid, "ACK 2.04 @*");
    device_gets("ACK 2.04 @t 283=r1 307=#2004");
    // After a block that the CSE refused or did not answer there is none.
    for (int way = 0; way < 2; way++) {
        device_sends((uint16_t)(5 + 2 * way), HEAD "27=#8 279=C1 283=r1 |{\"a\":\"0123456789");
        cse_gets(TO_CSE "27=#8 279=C1 283=r1 |{\"a\":\"0123456789");
        if (way == 0)
            cse_sends(trace.cse_mid, "ACK 5.00 @*");
        else
            world_cse_error(trace.socket);
        CU_ASSERT_PTR_NOT_NULL(world_next());
        device_sends((uint16_t)(6 + 2 * way), HEAD "27=#16 279=C1 283=r1 |\"}");
        refused("a block after a failure", "4.08");
    }
    // The device goes while a block is on its way.
    device_sends(20, HEAD "27=#8 279=C1 283=r1 |{\"a\":\"0123456789");
    cse_gets(TO_CSE "27=#8 279=C1 283=r1 |{\"a\":\"0123456789");
    world_device_gone();
    cse_sends(trace.cse_mid, "ACK 2.31 @*");
    silence();
    end();
}

// Block2 says how the answer is to come, which only the last block gets.
static void passes_block2_with_the_last_block(void)
{
    begin();
    device_sends(1, HEAD "23=#2 27=#8 28= 279=C1 283=r1 |{\"a\":\"0123456789");
    cse_gets(TO_CSE "27=#8 279=C1 283=r1 |{\"a\":\"0123456789");
    cse_sends(trace.cse_mid, "ACK 2.31 @*");
    device_gets("ACK 2.31 @t");
    device_sends(2, HEAD "23=#1 27=#16 279=C1 283=r1 |\"}");
    cse_gets(TO_CSE "23=#1 27=#16 279=C1 283=r1 |\"}");
    end();
}

enum { MANY = 10 };
static struct device many[MANY];

static void one_sends(size_t which, uint16_t mid, const char *path, const char *rest)
{
    char text[256];
    uint8_t data[256];
    (void)snprintf(text, sizeof text, "CON PUT @t /%s 12=#50 %s", path, rest);
    coap_from_device(world.coap, &many[which], data, text_to_coap(text, mid, NULL, data, sizeof data), world.now_us);
}

#define FIRST  "27=#8 279=C1 283=r1 |{\"a\":\"0123456789"
#define SECOND "27=#16 279=C1 283=r1 |\"}"

static void abandoned_transfers_give_way(void)
{
    static const char *const paths[MANY] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
    begin();
    world.sockets_max = 1;
    for (size_t i = 0; i < MANY; i++) {
        many[i] = world.device;
        many[i].association = 100 + i;
    }
    // The socket of a path.
    one_sends(0, 1, "a", FIRST);
    cse_takes_block();
    world_advance(4000);
    one_sends(1, 1, "a", FIRST);
    refused("the path is taken", "5.03");
    world_advance(2000);
    one_sends(1, 2, "a", FIRST);
    cse_takes_block();
    one_sends(0, 2, "a", SECOND);
    refused("the transfer that gave way", "4.08");
    one_sends(1, 3, "a", SECOND);
    cse_takes_block();
    // The share of a credential.
    for (size_t i = 0; i < 8; i++) {
        one_sends(i, 10, paths[i], FIRST);
        cse_takes_block();
        world_advance(100);
    }
    one_sends(8, 10, paths[8], FIRST);
    refused("a ninth of one credential", "5.03");
    world_advance(4500);
    one_sends(8, 11, paths[8], FIRST);
    cse_takes_block();
    one_sends(0, 11, paths[0], SECOND);
    refused("the oldest", "4.08");
    one_sends(7, 11, paths[7], SECOND);
    cse_takes_block();
    for (size_t i = 0; i < MANY; i++)
        coap_device_gone(world.coap, &many[i], world.now_us);
    end();
}

enum { CREATORS = 16, CREATES = 2000 };
static struct device creators[CREATORS];
static struct principal *owners[CREATORS];

// One block of a device, and what it is answered: the code, 0 for a block that went to the CSE.
static unsigned creates(size_t which, uint16_t mid, const char *block)
{
    char text[256];
    uint8_t data[256];
    (void)snprintf(text, sizeof text, "CON POST @t /cnt 12=#50 %s", block);
    world.sent_count = world.sent_seen = 0;
    coap_from_device(world.coap, &creators[which], data, text_to_coap(text, mid, NULL, data, sizeof data),
                     world.now_us);
    const struct world_message *message = world_next();
    CU_ASSERT_PTR_NOT_NULL_FATAL(message);
    if (message->id == 0)
        return message->data[1];
    trace.cse_mid = mid_of(message);
    trace.socket = message->id;
    trace.token.len = 8;
    memcpy(trace.token.bytes, message->data + 4, 8);
    return 0;
}

static unsigned takes(const char *answer)
{
    cse_sends(trace.cse_mid, answer);
    const struct world_message *message = world_next();
    CU_ASSERT_PTR_NOT_NULL_FATAL(message);
    return message->data[1];
}

static void begin_creators(unsigned ports)
{
    world_prepare();
    world.upstream.coap_source_ports = ports;
    world_start();
    for (size_t i = 0; i < CREATORS; i++) {
        char credential[32];
        (void)snprintf(credential, sizeof credential, "12-dev%zu@sp", i);
        owners[i] = principal_new(FRAMEWORK_PSK, slice_text(credential), (struct slice){0});
        CU_ASSERT_PTR_NOT_NULL_FATAL(owners[i]);
        CU_ASSERT_EQUAL(principal_add_ae(owners[i], slice_text("C1"), slice_text("")), SAGATE_OK);
        creators[i] = world.device;
        creators[i].principal = owners[i];
        creators[i].association = 200 + i;
    }
}

static void end_creators(void)
{
    for (size_t i = 0; i < CREATORS; i++) {
        coap_device_gone(world.coap, &creators[i], world.now_us);
        principal_release(owners[i]);
    }
    end();
}

// Whoever has its answer is in nobody's way, however many came before in no time.
static void finished_transfers_free_their_path(void)
{
    for (unsigned ports = 1; ports <= 8; ports += 7) {
        begin_creators(ports);
        for (unsigned n = 0; n < CREATES; n++) {
            size_t which = n % CREATORS;
            uint16_t mid = (uint16_t)(2 * n);
            CU_ASSERT_EQUAL(creates(which, mid, FIRST), 0);
            CU_ASSERT_EQUAL(takes("ACK 2.31 @*"), 0x5f);
            CU_ASSERT_EQUAL(creates(which, (uint16_t)(mid + 1), SECOND), 0);
            CU_ASSERT_EQUAL(takes(n % 3 == 0 ? "ACK 4.03 @* 307=#4103" : "ACK 2.01 @*"), n % 3 == 0 ? 0x83 : 0x41);
        }
        end_creators();
    }
}

static void interleave(unsigned n)
{
    uint16_t mid = (uint16_t)(2 * n);
    io_id paths[CREATORS];
    for (size_t i = 0; i < CREATORS; i++) {
        CU_ASSERT_EQUAL(creates(i, mid, FIRST), 0);
        CU_ASSERT_EQUAL(takes("ACK 2.31 @*"), 0x5f);
        paths[i] = trace.socket;
        for (size_t k = 0; k < i; k++)
            CU_ASSERT_NOT_EQUAL(paths[i], paths[k]);
    }
    for (size_t i = CREATORS; i > 0; i--) {
        CU_ASSERT_EQUAL(creates(i - 1, (uint16_t)(mid + 1), SECOND), 0);
        CU_ASSERT_EQUAL(trace.socket, paths[i - 1]);
        CU_ASSERT_EQUAL(takes("ACK 2.01 @*"), 0x41);
    }
}

// Also when more have one path at a time than there are source ports, and one of them gave up on the way.
static void transfers_that_interleave_are_all_answered(void)
{
    for (unsigned ports = 1; ports <= CREATORS; ports *= 4) {
        static struct device lost;
        begin_creators(ports);
        lost = creators[0];
        lost.association = 300;
        for (unsigned n = 0; n < CREATES; n += CREATORS) {
            if (n == CREATORS) {
                struct device keeps = creators[0];
                creators[0] = lost;
                CU_ASSERT_EQUAL(creates(0, 1, FIRST), 0);
                CU_ASSERT_EQUAL(takes("ACK 2.31 @*"), 0x5f);
                lost = creators[0];
                creators[0] = keeps;
            }
            interleave(n);
        }
        coap_device_gone(world.coap, &lost, world.now_us);
        end_creators();
    }
}

static const struct unit_test tests[] = {
    {"passes notifications", passes_notifications},
    {"a newer notification replaces an older", a_newer_notification_replaces},
    {"an observation is cancelled", is_cancelled},
    {"deregisters under the same token", deregisters_under_the_same_token},
    {"bounds observations", bounds_observations},
    {"an observation ends with its server", ends_with_its_server},
    {"passes blocks", passes_blocks},
    {"refuses bad blocks", refuses_bad_blocks},
    {"keeps transfers apart", keeps_transfers_apart},
    {"keeps to one transfer of a device and path", keeps_to_one_transfer},
    {"sends one block at a time", sends_one_block_at_a_time},
    {"passes Block2 with the last block", passes_block2_with_the_last_block},
    {"abandoned transfers give way", abandoned_transfers_give_way},
    {"finished transfers free their path", finished_transfers_free_their_path},
    {"transfers that interleave are all answered", transfers_that_interleave_are_all_answered},
};

UNIT_MAIN("coap observe and blocks", tests)
