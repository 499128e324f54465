// The CoAP binding from the outside: the bytes that a device and a CSE see for each of the ways a request can go.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/coap_trace.h"

#include "common/error.h"

#define REQUEST       "CON GET @t /cse-in /ae 279=C1 283=r1 271=3"
#define FORWARDED     "CON GET @* /cse-in /ae 271=3 279=C1 283=r1"
#define ANSWER        "2.05 @* 12=#50 271=3 283=r1 307=#2000 |{}"
#define DEVICE_ANSWER "2.05 @t 12=#50 271=3 283=r1 307=#2000 |{}"

static void answers_piggybacked(void)
{
    begin();
    device_sends(1, REQUEST);
    cse_gets(FORWARDED);
    CU_ASSERT_EQUAL(coap_in_flight(world.coap), 1);
    CU_ASSERT_EQUAL(world.device.in_flight, 1);
    cse_sends(trace.cse_mid, "ACK " ANSWER);
    device_gets("ACK " DEVICE_ANSWER);
    CU_ASSERT_EQUAL(trace.device_mid, 1);
    CU_ASSERT_EQUAL(world.device.in_flight, 0);
    CU_ASSERT_EQUAL(world.stats->primitives[STATS_COAP][ONEM2M_RETRIEVE][STATS_RSC_2000], 1);
    // The CSE answers twice, the device asks twice.
    cse_sends(trace.cse_mid, "ACK " ANSWER);
    silence();
    device_sends(1, REQUEST);
    device_gets("ACK " DEVICE_ANSWER);
    CU_ASSERT_EQUAL(counted(STAT_COAP_DUPLICATES), 1);
    CU_ASSERT_EQUAL(counted(STAT_COAP_UPSTREAM_MALFORMED), 1);
    world_advance(247001);
    device_sends(1, REQUEST);
    cse_gets(FORWARDED);
    end();
}

static void answers_separately(void)
{
    begin();
    device_sends(7, REQUEST);
    cse_gets(FORWARDED);
    cse_sends(trace.cse_mid, "ACK -");
    device_sends(7, REQUEST); // a duplicate before anything was sent
    silence();
    world_advance(1000);
    device_gets("ACK -");
    CU_ASSERT_EQUAL(trace.device_mid, 7);
    device_sends(7, REQUEST);
    device_gets("ACK -");
    cse_sends(900, "CON " ANSWER);
    cse_gets("ACK -");
    CU_ASSERT_EQUAL(trace.cse_mid, 900);
    device_gets("CON " DEVICE_ANSWER);
    uint16_t mid = trace.device_mid;
    cse_sends(900, "CON " ANSWER); // our ACK was lost
    cse_gets("ACK -");
    for (int i = 0; i < 4; i++) {
        world_advance_to_next(3000U << i);
        device_gets("CON " DEVICE_ANSWER);
        CU_ASSERT_EQUAL(trace.device_mid, mid);
    }
    device_sends(mid, "ACK -");
    world_advance(100000);
    silence();
    device_sends(7, REQUEST);
    device_gets("ACK -");
    CU_ASSERT_EQUAL(counted(STAT_COAP_RETRANSMISSIONS_DEVICE), 4);
    end();
}

static void gives_up_on_reset_and_silence(void)
{
    begin();
    for (uint16_t i = 0; i < 2; i++) {
        device_sends(i, REQUEST);
        cse_gets(FORWARDED);
        world_advance(1000);
        device_gets("ACK -");
        cse_sends(trace.cse_mid, "ACK " ANSWER);
        device_gets("CON " DEVICE_ANSWER);
        if (i == 0)
            device_sends(trace.device_mid, "RST -");
        world_advance(200000);
        for (int j = 0; j < 4 && i == 1; j++)
            device_gets("CON " DEVICE_ANSWER);
        silence();
    }
    end();
}

static void answers_non_with_non(void)
{
    begin();
    device_sends(3, "NON GET @t /cse-in /ae 279=C1 283=r1 271=3");
    cse_gets(FORWARDED);
    world_advance(1500);
    silence();
    cse_sends(50, "NON " ANSWER);
    device_gets("NON " DEVICE_ANSWER);
    uint16_t mid = trace.device_mid;
    device_sends(3, "NON GET @t /cse-in /ae 279=C1 283=r1 271=3");
    device_gets("NON " DEVICE_ANSWER);
    CU_ASSERT_EQUAL(trace.device_mid, mid);
    cse_sends(50, "NON " ANSWER);
    silence();
    world_advance(145001);
    device_sends(3, "NON GET @t /cse-in /ae 279=C1 283=r1 271=3");
    cse_gets(FORWARDED);
    end();
}

static void keeps_the_message_layer(void)
{
    static const uint8_t malformed_con[] = {0x49, 1, 0, 5};
    static const uint8_t malformed_non[] = {0x59, 1, 0, 5};
    static const uint8_t other_version[] = {0x80, 1, 0, 5};
    begin();
    device_sends(4, "CON -");
    device_gets("RST -");
    CU_ASSERT_EQUAL(trace.device_mid, 4);
    world_device_sends(malformed_con, sizeof malformed_con);
    device_gets("RST -");
    CU_ASSERT_EQUAL(trace.device_mid, 5);
    world_device_sends(malformed_non, sizeof malformed_non);
    world_device_sends(other_version, sizeof other_version);
    device_sends(6, "ACK -");
    device_sends(6, "RST -");
    device_sends(6, "ACK 2.05 @x");
    silence();
    device_sends(8, "CON 2.05 @x");
    device_gets("RST -");
    device_sends(9, "NON 2.05 @x");
    device_gets("RST -");
    CU_ASSERT_EQUAL(counted(STAT_COAP_MALFORMED), 6);
    end();
}

static void retransmits_to_the_cse(void)
{
    begin();
    world.upstream.request_milliseconds = 200000;
    device_sends(1, REQUEST);
    cse_gets(FORWARDED);
    uint16_t mid = trace.cse_mid;
    world_advance(1000);
    device_gets("ACK -");
    for (int i = 0; i < 4; i++) {
        world_advance_to_next(3000U << i);
        cse_gets(FORWARDED);
        CU_ASSERT_EQUAL(trace.cse_mid, mid);
    }
    world_advance_to_next(48000);
    device_gets("CON 5.04 @t 12=#50 271=3 283=r1 307=#4008 |{\"m2m:dbg\":\"the CSE did not answer in time\"}");
    device_sends(trace.device_mid, "ACK -");
    CU_ASSERT_EQUAL(counted(STAT_COAP_RETRANSMISSIONS_UPSTREAM), 4);
    CU_ASSERT_EQUAL(world.ended_untold, 1);
    cse_sends(99, "CON " ANSWER); // too late
    cse_gets("RST -");
    silence();
    end();
}

static void ends_requests_that_fail(void)
{
    begin();
    device_sends(1, REQUEST);
    cse_gets(FORWARDED);
    cse_sends(trace.cse_mid, "RST -");
    device_gets("ACK 5.03 @t 12=#50 14=#5 271=3 283=r1 307=#5103 |{\"m2m:dbg\":\"the CSE rejected the request\"}");
    device_sends(2, REQUEST);
    cse_gets(FORWARDED);
    world_cse_error(trace.socket);
    device_gets("ACK 5.03 @t 12=#50 14=#5 271=3 283=r1 307=#5103 |{\"m2m:dbg\":\"the CSE cannot be reached\"}");
    device_sends(3, REQUEST);
    cse_gets(FORWARDED);
    cse_sends(trace.cse_mid, "ACK -");
    world_advance(30000);
    device_gets("ACK -");
    device_gets("CON 5.04 @t 12=#50 271=3 283=r1 307=#4008 |{\"m2m:dbg\":\"the CSE did not answer in time\"}");
    CU_ASSERT_EQUAL(world.ended_failed, 2);
    CU_ASSERT_EQUAL(world.ended_untold, 1); // the CSE is not to blame for being out of time
    world.unavailable = true;
    device_sends(4, REQUEST);
    device_gets("ACK 5.03 @t 12=#50 14=#5 271=3 283=r1 307=#5103 |{\"m2m:dbg\":\"no CSE is available\"}");
    world.unavailable = false;
    world.full = true;
    device_sends(5, REQUEST);
    device_gets("ACK 5.03 @t 12=#50 14=#5 271=3 283=r1 307=#5103 |{\"m2m:dbg\":\"the CSE has too many requests\"}");
    CU_ASSERT_EQUAL(counted(STAT_LIMIT_IN_FLIGHT_UPSTREAM), 1);
    CU_ASSERT_EQUAL(counted(STAT_REFUSED_UNAVAILABLE), 3);
    CU_ASSERT_EQUAL(counted(STAT_REFUSED_TIMEOUT), 1);
    end();
}

static void bounds_requests_of_an_association(void)
{
    begin();
    for (uint16_t i = 0; i < 4; i++) {
        device_sends(i, REQUEST);
        cse_gets(FORWARDED);
    }
    device_sends(9, REQUEST);
    device_gets("ACK 5.03 @t 12=#50 14=#5 271=3 283=r1 307=#5103 "
                "|{\"m2m:dbg\":\"too many requests of this association\"}");
    CU_ASSERT_EQUAL(counted(STAT_LIMIT_IN_FLIGHT_ASSOCIATION), 1);
    cse_sends(trace.cse_mid, "ACK " ANSWER);
    device_gets("ACK " DEVICE_ANSWER);
    device_sends(10, REQUEST);
    cse_gets(FORWARDED);
    end();
}

static void drops_nonsense_of_the_cse(void)
{
    static const char *const nonsense[] = {"ACK -",
                                           "RST -",
                                           "ACK 2.05 @* 65001=x",
                                           "ACK 2.05 @wrong",
                                           "ACK 2.05 @12345678",
                                           "ACK 2.05 @* 11=x",
                                           "ACK 2.05 @* 307=abc",
                                           "ACK 2.05 @* 283=a 283=b"};
    begin();
    device_sends(1, REQUEST);
    cse_gets(FORWARDED);
    uint16_t mid = trace.cse_mid;
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++)
        cse_sends(i < 2 ? (uint16_t)(mid + 1) : mid, nonsense[i]);
    silence();
    cse_sends(70, "CON 2.05 @* 65001=x");
    cse_gets("RST -");
    cse_sends(71, "CON GET /x");
    cse_gets("RST -");
    cse_sends(72, "CON -");
    cse_gets("RST -");
    world_cse_sends(trace.socket, (const uint8_t *)"\x80", 1);
    silence();
    CU_ASSERT_EQUAL(counted(STAT_COAP_UPSTREAM_MALFORMED), 11);
    cse_sends(mid, "ACK " ANSWER);
    device_gets("ACK " DEVICE_ANSWER);
    end();
}

static void takes_answers_from_their_socket_only(void)
{
    world_prepare();
    world.upstream.coap_source_ports = 3;
    world_start();
    device_sends(1, REQUEST);
    cse_gets(FORWARDED);
    io_id right = trace.socket;
    uint16_t mid = trace.cse_mid;
    trace.socket = right % 3 + 1;
    cse_sends(mid, "ACK " ANSWER);
    silence();
    cse_sends(5, "CON " ANSWER);
    cse_gets("RST -");
    trace.socket = right;
    cse_sends(mid, "ACK " ANSWER);
    device_gets("ACK " DEVICE_ANSWER);
    end();
}

// What a device sends, as the CSE gets it, and back. NULL: refused.
static const struct {
    const char *what;
    enum config_numbering listener, upstream;
    enum config_identity identity;
    const char *sent, *forwarded, *answer, *returned;
} mapping[] = {
    {"queries and standard options pass", 0, 0, 0,
     "CON PUT @t 1=e 3=host 7=#99 /~ /id-in /a 15=rcn=1 15=fu=1%2B2 12=#50 17=#50 60=#9 279=C1 283=r1 |{}",
     "CON PUT @* 1=e /~ /id-in /a 12=#50 15=rcn=1 15=fu=1%2B2 17=#50 60=#9 279=C1 283=r1 |{}",
     "ACK 2.04 @* 4=tag 8=loc 8=b 14=#0 283=other 307=#2004", "ACK 2.04 @t 4=tag 8=loc 8=b 14=#0 283=r1 307=#2004"},
    {"unknown elective options of a device end, of a CSE pass when safe", 0, 0, 0,
     "CON GET @t /a 279=C1 283=r1 65020=Cevil 65052=x 65084=y 65000=z", "CON GET @* /a 279=C1 283=r1",
     "ACK 2.05 @* 256=x 279=/id-in 283=r1 307=#2000 64992=v 64994=w 65020=z",
     "ACK 2.05 @t 279=/id-in 283=r1 307=#2000 64992=v"},
    {"identity options", 0, 0, CONFIG_IDENTITY_OPTIONS, "CON GET @t /a 279=C1 283=r1 65020=Cevil 65084=y",
     "CON GET @* /a 279=C1 283=r1 65020=//sp/id-in/C1 65052=12-dev1@sp 65084=192.0.2.7:40000",
     "ACK 2.05 @* 283=r1 307=#2000", "ACK 2.05 @t 283=r1 307=#2000"},
    {"old device, current CSE", CONFIG_NUMBERING_OLD, CONFIG_NUMBERING_CURRENT, 0,
     "CON POST @t /a 256=C1 257=r1 259=20260101T000000 260=20260101T000001 261=20260101T000002 262=20260101T000003 "
     "263=u 264=#1 266=g 267=#4 12=#50 |{}",
     "CON POST @* /a 12=#50 259=20260101T000000 263=u 267=#4 279=C1 283=r1 291=20260101T000001 295=20260101T000002 "
     "299=20260101T000003 303=#1 311=g |{}",
     "ACK 2.01 @* 271=3 283=r1 307=#2001 319=#5 323=#1 327=a 331=v",
     "ACK 2.01 @t 257=r1 265=#2001 268=#5 269=#1 270=a"},
    {"current device, old CSE", CONFIG_NUMBERING_CURRENT, CONFIG_NUMBERING_OLD, 0,
     "CON POST @t /a 279=C1 283=r1 271=3 291=20260101T000001 303=#1 311=g 267=#4 331=v",
     "CON POST @* /a 256=C1 257=r1 260=20260101T000001 264=#1 266=g 267=#4",
     "ACK 2.01 @* 257=r1 265=#2001 261=20260101T000001,123456",
     "ACK 2.01 @t 271=3 283=r1 295=20260101T000001 307=#2001"},
    {"both, old is meant", CONFIG_NUMBERING_BOTH, CONFIG_NUMBERING_CURRENT, 0, "CON POST @t /a 256=C1 257=r1 267=#4",
     "CON POST @* /a 267=#4 279=C1 283=r1", "ACK 2.01 @* 283=r1", "ACK 2.01 @t 257=r1 265=#2001"},
    {"both, current is meant", CONFIG_NUMBERING_BOTH, CONFIG_NUMBERING_OLD, 0, "CON POST @t /a 279=C1 283=r1 267=#4",
     "CON POST @* /a 256=C1 257=r1 267=#4", "ACK 2.01 @*", "ACK 2.01 @t 283=r1 307=#2001"},
    {"an option that the CSE's numbering lacks", 0, CONFIG_NUMBERING_OLD, 0, "CON GET @t /a 279=C1 283=r1 339=s", NULL,
     "4.02", "4000"},
    {"a NOTIFY answered without RSC", 0, 0, 0, "CON POST @t /a 279=C1 283=r1 |{}", "CON POST @* /a 279=C1 283=r1 |{}",
     "ACK 2.04 @*", "ACK 2.04 @t 283=r1 307=#2000"},
    {"op in the query", 0, 0, 0, "CON POST @t /a 15=op=2 15=rt=1 279=C1 283=r1",
     "CON POST @* /a 15=op=2 15=rt=1 279=C1 283=r1", "ACK 4.04 @*", "ACK 4.04 @t 283=r1 307=#4004"},
    {"blocks pass", 0, 0, 0, "CON GET @t /a 23=#22 279=C1 283=r1", "CON GET @* /a 23=#22 279=C1 283=r1",
     "ACK 2.05 @* 23=#30 28=#5000 307=#2000 |x", "ACK 2.05 @t 23=#30 28=#5000 283=r1 307=#2000 |x"},
};

static void maps_primitives(void)
{
    for (size_t i = 0; i < sizeof mapping / sizeof *mapping; i++) {
        world_prepare();
        world.listener.coap_numbering = mapping[i].listener;
        world.upstream.coap_numbering = mapping[i].upstream;
        world.upstream.coap_identity = mapping[i].identity;
        world_start();
        device_sends(1, mapping[i].sent);
        if (mapping[i].forwarded != NULL) {
            cse_gets(mapping[i].forwarded);
            cse_sends(trace.cse_mid, mapping[i].answer);
            device_gets(mapping[i].returned);
        } else {
            CU_ASSERT_EQUAL(world.begun, 0);
            CU_ASSERT_EQUAL(world.sent_count, 1);
            CU_ASSERT_EQUAL(world.sent[0].data[1], COAP_BAD_OPTION);
        }
        end();
    }
}

static void gives_the_release_version(void)
{
    static char version[] = "2a";
    world_prepare();
    world.listener.release_version_default = version;
    world_start();
    device_sends(1, "CON GET @t /a 279=C1 283=r1");
    cse_gets("CON GET @* /a 271=2a 279=C1 283=r1");
    cse_sends(trace.cse_mid, "ACK 2.05 @*");
    device_gets("ACK 2.05 @t 271=2a 283=r1 307=#2000");
    end();
}

// Requests that are answered without the CSE: code, response status code.
static const struct {
    const char *what, *sent;
    uint8_t code;
    int rsc;
} refused[] = {
    {"FETCH", "CON FETCH @t /a 279=C1 283=r1", COAP_METHOD_NOT_ALLOWED, 4005},
    {"Proxy-Uri", "CON GET @t 35=coap://x/ 279=C1 283=r1", COAP_NO_PROXYING, 5001},
    {"Proxy-Scheme", "CON GET @t /a 39=coap 279=C1 283=r1", COAP_NO_PROXYING, 5001},
    {"unknown critical option", "CON GET @t /a 65001=x 279=C1 283=r1", COAP_BAD_OPTION, 4000},
    {"OSCORE", "CON GET @t /a 9=x 279=C1 283=r1", COAP_BAD_OPTION, 4000},
    {"repeated critical option", "CON GET @t /a 17=#50 17=#60 279=C1 283=r1", COAP_BAD_OPTION, 4000},
    {"TY of three bytes", "CON POST @t /a 267=abc 279=C1 283=r1", COAP_BAD_OPTION, 4000},
    {"RVI of three bytes", "CON GET @t /a 271=abc 279=C1 283=r1", COAP_BAD_OPTION, 4000},
    {"RQI missing", "CON GET @t /a 279=C1", COAP_BAD_REQUEST, 4000},
    {"RQI empty", "CON GET @t /a 279=C1 283=", COAP_BAD_REQUEST, 4000},
    {"RQI too long for the CSE",
     "CON GET @t /a 279=C1 283=0123456789012345678901234567890123456789012345678901234567890123456789"
     "01234567890123456789012345678901234567890",
     COAP_BAD_REQUEST, 4000},
    {"From missing", "CON GET @t /a 283=r1", COAP_BAD_REQUEST, 4000},
    {"From of another", "CON GET @t /a 279=C9 283=r1", COAP_CODE(4, 3), 4106},
    {"two op", "CON POST @t /a 15=op=2 15=op=4 279=C1 283=r1", COAP_BAD_REQUEST, 4000},
    {"op against the method", "CON GET @t /a 15=op=4 279=C1 283=r1", COAP_BAD_REQUEST, 4000},
    {"op unknown", "CON POST @t /a 15=op=6 279=C1 283=r1", COAP_BAD_REQUEST, 4000},
    {"TY beside op=5", "CON POST @t /a 15=op=5 267=#2 279=C1 283=r1", COAP_BAD_REQUEST, 4000},
    {"slash in a segment", "CON GET @t /a/b 279=C1 283=r1", COAP_BAD_REQUEST, 4000},
    {"dots", "CON GET @t /.. 279=C1 283=r1", COAP_BAD_REQUEST, 4000},
    {"Block1 of size 7", "CON PUT @t /a 27=#7 279=C1 283=r1 |{}", COAP_BAD_REQUEST, 4000},
    {"content that is none", "CON PUT @t /a 12=#50 279=C1 283=r1 |nonsense", COAP_BAD_REQUEST, 4000},
    {"content that is cut", "CON PUT @t /a 12=#50 279=C1 283=r1 |{\"a\":{}", COAP_BAD_REQUEST, 4000},
};

static void refuses(void)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        static struct coap_message message;
        begin();
        device_sends(1, refused[i].sent);
        const struct world_message *answer = world_next();
        CU_ASSERT_FATAL(answer != NULL && answer->id == 0);
        CU_ASSERT_EQUAL(coap_parse(answer->data, answer->len, &message), SAGATE_OK);
        const struct coap_option *rsc = coap_find(&message, 307);
        if (message.code != refused[i].code || rsc == NULL || coap_uint(rsc->value) != (uint32_t)refused[i].rsc)
            printf("\n  %s: code %u", refused[i].what, message.code);
        CU_ASSERT_EQUAL(message.type, COAP_ACK);
        CU_ASSERT_EQUAL(message.code, refused[i].code);
        CU_ASSERT_TRUE(rsc != NULL && coap_uint(rsc->value) == (uint32_t)refused[i].rsc);
        CU_ASSERT_TRUE(coap_find(&message, 12) != NULL && coap_uint(coap_find(&message, 12)->value) == 50);
        CU_ASSERT_TRUE(message.payload.len > 12 && memcmp(message.payload.data, "{\"m2m:dbg\":\"", 12) == 0);
        silence();
        device_sends(1, refused[i].sent);
        const struct world_message *again = world_next();
        CU_ASSERT_TRUE(again != NULL && again->data[1] == refused[i].code);
        CU_ASSERT_EQUAL(world.begun, 0);
        end();
    }
}

static void shows_registrations_to_the_pep(void)
{
    begin();
    device_sends(1, "CON POST @t /cse-in 12=#50 267=#2 283=r1 |{}");
    cse_gets("CON POST @* /cse-in 12=#50 267=#2 283=r1 |{}");
    cse_sends(trace.cse_mid, "ACK 2.01 @* 307=#2001 |{}");
    device_gets("ACK 2.01 @t 283=r1 307=#2001 |{}");
    CU_ASSERT_EQUAL(world.pep_answers, 1);
    CU_ASSERT_EQUAL(world.pep_answer_rsc, 2001);
    // The device goes before the CSE has answered: the answer is learned from all the same, and not sent.
    device_sends(2, "CON POST @t /cse-in 12=#50 267=#2 283=r2 |{}");
    cse_gets("CON POST @* /cse-in 12=#50 267=#2 283=r2 |{}");
    world_device_gone();
    cse_sends(trace.cse_mid, "ACK 2.01 @* 307=#2001 |{}");
    silence();
    CU_ASSERT_EQUAL(world.pep_answers, 2);
    end();
}

static void answers_that_do_not_fit(void)
{
    begin();
    world.device_datagram_max = 100;
    device_sends(1, REQUEST);
    cse_gets(FORWARDED);
    cse_sends(trace.cse_mid, "ACK 2.05 @* |{0123456789012345678901234567890123456789012345678901234567890123456789"
                             "0123456789012345678901234567890123456789}");
    device_gets("ACK 5.00 @t 12=#50 271=3 283=r1 307=#5000 |{\"m2m:dbg\":\"the answer does not fit a datagram\"}");
    end();
}

static void checks_health(void)
{
    begin();
    world.checker.check(world.checker.context, &world.upstream, &world.servers[0]);
    world_advance(2);
    cse_gets("CON -");
    cse_sends(trace.cse_mid, "RST -");
    CU_ASSERT_EQUAL(world.healthy, 1);
    world.checker.check(world.checker.context, &world.upstream, &world.servers[0]);
    world_advance(3000);
    cse_gets("CON -");
    CU_ASSERT_EQUAL(world.unhealthy, 1);
    world.upstream.coap_health = CONFIG_HEALTH_REQUEST;
    world.checker.check(world.checker.context, &world.upstream, &world.servers[0]);
    world_advance(2);
    char seen[512];
    const struct world_message *probe = world_next();
    CU_ASSERT_FATAL(probe != NULL);
    CU_ASSERT_PTR_NOT_NULL(strstr(coap_to_text(probe->data, probe->len, seen, sizeof seen),
                                  "/cse-in 15=rcn=1 271=3 279=Cmonitor 283=health-"));
    uint16_t mid = mid_of(probe);
    trace.token.len = 4;
    memcpy(trace.token.bytes, probe->data + 4, 4);
    cse_sends(mid, "ACK -");
    CU_ASSERT_EQUAL(world.healthy, 1);
    cse_sends(77, "CON 2.05 @* |x");
    cse_gets("ACK -");
    CU_ASSERT_EQUAL(world.healthy, 2);
    world.checker.check(world.checker.context, &world.upstream, &world.servers[0]);
    world_cse_error(trace.socket);
    CU_ASSERT_EQUAL(world.unhealthy, 2);
    world.upstream.coap_health = CONFIG_HEALTH_NONE;
    world.checker.check(world.checker.context, &world.upstream, &world.servers[0]);
    CU_ASSERT_EQUAL(world.healthy, 3);
    (void)world_next();
    silence();
    end();
}

static void takes_a_new_configuration(void)
{
    begin();
    struct config changed = world.config;
    struct config_upstream upstream = world.upstream;
    struct config_server second = world.servers[1];
    device_sends(1, REQUEST);
    cse_gets(FORWARDED);
    // The same server stays.
    changed.upstreams = &upstream;
    changed.limits.coap_exchange_bytes = 4096;
    CU_ASSERT_EQUAL(coap_reload(world.coap, &changed, world.now_us / 1000), SAGATE_OK);
    world.config.upstreams = &upstream;
    cse_sends(trace.cse_mid, "ACK " ANSWER);
    device_gets("ACK " DEVICE_ANSWER);
    device_sends(2, REQUEST);
    cse_gets(FORWARDED);
    // Another one takes its place.
    struct config_upstream other = upstream;
    other.servers = &second;
    changed.upstreams = &other;
    CU_ASSERT_EQUAL(coap_reload(world.coap, &changed, world.now_us / 1000), SAGATE_OK);
    world.config.upstreams = &other;
    world.dropped = 1;
    device_gets("ACK 5.03 @t 12=#50 14=#5 271=3 283=r1 307=#5103 |{\"m2m:dbg\":\"the path to the CSE was closed\"}");
    device_sends(3, REQUEST);
    cse_gets(FORWARDED);
    cse_sends(trace.cse_mid, "ACK " ANSWER);
    device_gets("ACK " DEVICE_ANSWER);
    device_sends(3, REQUEST);
    device_gets("ACK " DEVICE_ANSWER);
    end();
}

// 255.255.255.255 cannot be connected to.
static void goes_on_without_a_socket(void)
{
    begin();
    struct config changed = world.config;
    struct config_upstream upstream = world.upstream;
    struct config_server servers[2] = {world.servers[0], world.servers[1]};
    changed.upstreams = &upstream;
    upstream.servers = servers;
    upstream.server_count = 2;
    upstream.health_fall = 3;
    CU_ASSERT_EQUAL(address_parse("255.255.255.255", 5683, &servers[1].coap), SAGATE_OK);
    device_sends(1, REQUEST);
    cse_gets(FORWARDED);
    CU_ASSERT_EQUAL(coap_reload(world.coap, &changed, world.now_us / 1000), SAGATE_OK);
    CU_ASSERT_EQUAL(world.unhealthy, 3);
    world.config.upstreams = &upstream;
    cse_sends(trace.cse_mid, "ACK " ANSWER);
    device_gets("ACK " DEVICE_ANSWER);
    // Each check tries again.
    world.checker.check(world.checker.context, &upstream, &servers[1]);
    CU_ASSERT_EQUAL(world.unhealthy, 4);
    upstream.coap_health = CONFIG_HEALTH_NONE;
    world.checker.check(world.checker.context, &upstream, &servers[1]);
    CU_ASSERT_EQUAL(world.unhealthy, 5);
    // Chosen all the same, before its health is known.
    upstream.servers = &servers[1];
    device_sends(2, REQUEST);
    device_gets("ACK 5.03 @t 12=#50 14=#5 271=3 283=r1 307=#5103 |{\"m2m:dbg\":\"no CSE is available\"}");
    CU_ASSERT_EQUAL(address_parse("127.0.0.1", 45684, &servers[1].coap), SAGATE_OK);
    world.checker.check(world.checker.context, &upstream, &servers[1]);
    CU_ASSERT_EQUAL(world.healthy, 1);
    device_sends(3, REQUEST);
    cse_gets(FORWARDED);
    end();
}

static void starts_without_a_socket(void)
{
    world_prepare();
    CU_ASSERT_EQUAL(address_parse("255.255.255.255", 5683, &world.servers[0].coap), SAGATE_OK);
    world_start();
    CU_ASSERT_EQUAL(world.unhealthy, 1);
    device_sends(1, REQUEST);
    device_gets("ACK 5.03 @t 12=#50 14=#5 271=3 283=r1 307=#5103 |{\"m2m:dbg\":\"no CSE is available\"}");
    end();
}

static void takes_another_number_of_sockets(void)
{
    begin();
    struct config changed = world.config;
    struct config_upstream upstream = world.upstream;
    changed.upstreams = &upstream;
    upstream.coap_source_ports = 3;
    device_sends(1, REQUEST);
    cse_gets(FORWARDED);
    CU_ASSERT_EQUAL(coap_reload(world.coap, &changed, world.now_us / 1000), SAGATE_OK);
    world.config.upstreams = &upstream;
    device_gets("ACK 5.03 @t 12=#50 14=#5 271=3 283=r1 307=#5103 |{\"m2m:dbg\":\"the path to the CSE was closed\"}");
    CU_ASSERT_EQUAL(world.ended_untold, 1);
    device_sends(2, REQUEST);
    cse_gets(FORWARDED);
    end();
}

static const struct unit_test tests[] = {
    {"answers piggybacked", answers_piggybacked},
    {"answers separately", answers_separately},
    {"gives up on reset and silence", gives_up_on_reset_and_silence},
    {"answers NON with NON", answers_non_with_non},
    {"keeps the message layer", keeps_the_message_layer},
    {"retransmits to the CSE", retransmits_to_the_cse},
    {"ends requests that fail", ends_requests_that_fail},
    {"bounds the requests of an association", bounds_requests_of_an_association},
    {"drops nonsense of the CSE", drops_nonsense_of_the_cse},
    {"takes answers from their socket only", takes_answers_from_their_socket_only},
    {"maps primitives", maps_primitives},
    {"gives the release version", gives_the_release_version},
    {"refuses", refuses},
    {"shows registrations to the originator check", shows_registrations_to_the_pep},
    {"answers that do not fit", answers_that_do_not_fit},
    {"checks health", checks_health},
    {"takes a new configuration", takes_a_new_configuration},
    {"goes on without a socket", goes_on_without_a_socket},
    {"starts without a socket", starts_without_a_socket},
    {"takes another number of sockets", takes_another_number_of_sockets},
};

UNIT_MAIN("coap", tests)
