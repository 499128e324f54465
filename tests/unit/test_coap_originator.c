// Every place where a second originator can hide in a CoAP request: the CSE never sees the request, or never the
// forgery.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/coap_trace.h"

#define ALL "279=C1 283=r1"

static const struct {
    const char *what;
    enum config_numbering listener;
    const char *sent;      // by an association that may act as C1 and C2
    const char *forwarded; // NULL: nothing is
    const char *code;      // of the answer, when nothing is forwarded; NULL: silence
    enum stat_id counter;
} places[] = {
    {"FR twice, the same", 0, "CON GET @t /a 279=C1 279=C1 283=r1", NULL, "ACK 4.02", STAT_REFUSED_MALFORMED},
    {"FR twice, another", 0, "CON GET @t /a 279=C1 279=CAdmin 283=r1", NULL, "ACK 4.02", STAT_REFUSED_MALFORMED},
    {"FR twice in a NON", 0, "NON GET @t /a 279=C1 279=CAdmin 283=r1", NULL, NULL, STAT_REFUSED_MALFORMED},
    {"old FR twice", CONFIG_NUMBERING_OLD, "CON GET @t /a 256=C1 256=CAdmin 257=r1", NULL, "ACK 4.02",
     STAT_REFUSED_MALFORMED},
    {"old FR twice, both spoken", CONFIG_NUMBERING_BOTH, "CON GET @t /a 256=C1 256=CAdmin 257=r1", NULL, "ACK 4.02",
     STAT_REFUSED_MALFORMED},
    {"256 beside 279", 0, "CON GET @t /a 256=CAdmin " ALL, NULL, "ACK 4.02", STAT_REFUSED_MALFORMED},
    {"256 beside 279, the same", CONFIG_NUMBERING_BOTH, "CON GET @t /a 256=C1 " ALL, NULL, "ACK 4.02",
     STAT_REFUSED_MALFORMED},
    {"279 beside 256", CONFIG_NUMBERING_OLD, "CON GET @t /a 256=C1 257=r1 279=CAdmin", NULL, "ACK 4.02",
     STAT_REFUSED_MALFORMED},
    {"old RQI beside FR", 0, "CON GET @t /a 257=r1 279=C1", NULL, "ACK 4.02", STAT_REFUSED_MALFORMED},
    {"both RQI", CONFIG_NUMBERING_BOTH, "CON GET @t /a 257=r1 " ALL, NULL, "ACK 4.02", STAT_REFUSED_MALFORMED},
    {"RQI twice", 0, "CON GET @t /a 279=C1 283=r1 283=r2", NULL, "ACK 4.02", STAT_REFUSED_MALFORMED},
    {"TY twice", 0, "CON POST @t /a 267=#4 267=#2 " ALL, NULL, "ACK 4.02", STAT_REFUSED_MALFORMED},
    {"old FR where only the current one is spoken", 0, "CON GET @t /a 256=CAdmin", NULL, "ACK 4.00",
     STAT_REFUSED_MALFORMED},
    {"current FR where only the old one is spoken", CONFIG_NUMBERING_OLD, "CON GET @t /a " ALL, NULL, "ACK 4.02",
     STAT_REFUSED_MALFORMED},
    {"fr in the query", 0, "CON GET @t /a 15=fr=CAdmin " ALL, NULL, "ACK 4.03", STAT_REFUSED_SECOND_ORIGINATOR},
    {"fr in the query, an own one", 0, "CON GET @t /a 15=fr=C2 " ALL, NULL, "ACK 4.00", STAT_REFUSED_SECOND_ORIGINATOR},
    {"fr in the query twice", 0, "CON GET @t /a 15=fr=C1 15=fr=CAdmin " ALL, NULL, "ACK 4.00", STAT_REFUSED_MALFORMED},
    {"fr in the query, the same", 0, "CON GET @t /a 15=fr=C1 " ALL, "CON GET @* /a 15=fr=C1 " ALL, NULL, STAT_COUNT},
    {"fr in the content", 0, "CON PUT @t /a 12=#50 " ALL " |{\"rvi\":\"5\",\"fr\":\"CAdmin\"}", NULL, "ACK 4.03",
     STAT_REFUSED_SECOND_ORIGINATOR},
    {"fr in the content of a NON", 0, "NON PUT @t /a 12=#50 " ALL " |{\"fr\":\"CAdmin\"}", NULL, "NON 4.03",
     STAT_REFUSED_SECOND_ORIGINATOR},
    {"fr in the content of a GET", 0, "CON GET @t /a 12=#50 " ALL " |{\"fr\":\"CAdmin\"}", NULL, "ACK 4.03",
     STAT_REFUSED_SECOND_ORIGINATOR},
    {"fr in the content, an own one", 0, "CON PUT @t /a 12=#50 " ALL " |{\"fr\":\"C2\"}", NULL, "ACK 4.00",
     STAT_REFUSED_SECOND_ORIGINATOR},
    {"fr in the content, the same", 0, "CON PUT @t /a 12=#50 " ALL " |{\"fr\":\"C1\"}",
     "CON PUT @* /a 12=#50 " ALL " |{\"fr\":\"C1\"}", NULL, STAT_COUNT},
    {"fr twice in the content", 0, "CON PUT @t /a 12=#50 " ALL " |{\"fr\":\"C1\",\"fr\":\"CAdmin\"}", NULL, "ACK 4.00",
     STAT_REFUSED_SECOND_ORIGINATOR},
    {"a wrapped primitive", 0, "CON POST @t /a 12=#50 " ALL " |{\"m2m:rqp\":{\"fr\":\"CAdmin\"}}", NULL, "ACK 4.03",
     STAT_REFUSED_SECOND_ORIGINATOR},
    {"fr in content of unknown format", 0, "CON PUT @t /a " ALL " |{\"fr\":\"CAdmin\"}", NULL, "ACK 4.03",
     STAT_REFUSED_SECOND_ORIGINATOR},
    {"fr in content of one block", 0, "CON PUT @t /a 12=#50 27=#2 " ALL " |{\"fr\":\"CAdmin\"}", NULL, "ACK 4.03",
     STAT_REFUSED_SECOND_ORIGINATOR},
    {"fr in a registration", 0, "CON POST @t /a 12=#50 267=#2 283=r1 |{\"fr\":\"CAdmin\"}", NULL, "ACK 4.03",
     STAT_REFUSED_SECOND_ORIGINATOR},
    {"identity options", 0, "CON GET @t /a " ALL " 65020=CAdmin 65020=C1 65052=12-x 65084=10.0.0.1",
     "CON GET @* /a " ALL, NULL, STAT_COUNT},
    {"FR of nobody", 0, "CON GET @t /a 279= 283=r1", NULL, "ACK 4.00", STAT_COUNT},
    {"Proxy-Uri", 0, "CON GET @t 35=coap://cse/?fr=CAdmin " ALL, NULL, "ACK 5.05", STAT_REFUSED_MALFORMED},
    {"Uri-Host", 0, "CON GET @t 3=CAdmin /a " ALL, "CON GET @* /a " ALL, NULL, STAT_COUNT},
    {"Uri-Host twice", 0, "CON GET @t 3=a 3=b /a " ALL, NULL, "ACK 4.02", STAT_REFUSED_MALFORMED},
};

static void no_second_originator(void)
{
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char seen[4096] = "";
        world_prepare();
        world.listener.coap_numbering = places[i].listener;
        world_start();
        device_sends(1, places[i].sent);
        if (places[i].forwarded != NULL) {
            cse_gets(places[i].forwarded);
        } else {
            const struct world_message *answer = world_next();
            if (answer != NULL)
                (void)coap_to_text(answer->data, answer->len, seen, sizeof seen);
            bool right = places[i].code == NULL
                             ? answer == NULL
                             : answer != NULL && answer->id == 0 && strncmp(seen, places[i].code, 8) == 0;
            if (!right)
                printf("\n  %s: %s", places[i].what, seen);
            CU_ASSERT_TRUE(right);
            CU_ASSERT_EQUAL(world.begun, 0);
        }
        if (places[i].counter != STAT_COUNT)
            CU_ASSERT_EQUAL(counted(places[i].counter), 1);
        end();
    }
}

// The CSE may be told more than it tells: what it sends under sagate's names does not reach a device either.
static void no_identity_towards_the_device(void)
{
    begin();
    device_sends(1, "CON GET @t /a " ALL);
    cse_gets("CON GET @* /a " ALL);
    cse_sends(trace.cse_mid, "ACK 2.05 @* 256=CAdmin 65020=CAdmin 65052=x 65084=y");
    device_gets("ACK 2.05 @t 283=r1 307=#2000");
    end();
}

static void nobody_is_refused_whole(void)
{
    begin();
    world.device.principal = NULL;
    device_sends(1, "CON GET @t /a 271=3 " ALL);
    device_gets("ACK 4.03 @t 12=#50 271=3 283=r1 307=#4107 |{\"m2m:dbg\":\"refused\"}");
    end();
}

static const struct unit_test tests[] = {
    {"no second originator passes", no_second_originator},
    {"no identity option reaches a device", no_identity_towards_the_device},
    {"a peer without identity gets a complete answer", nobody_is_refused_whole},
};

UNIT_MAIN("coap originator", tests)
