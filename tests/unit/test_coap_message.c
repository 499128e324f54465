// The CoAP codec and the option tables: what is taken, what is refused, and the bytes that are written.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/binding/coap/message.h"
#include "dataplane/binding/coap/numbering.h"
#include "dataplane/binding/coap/recorded.h"
#include "tests/unit/unit.h"

#include <stdlib.h>

#define BYTES(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

static const struct {
    const char *what;
    const uint8_t *data;
    size_t len;
    int status;
} parsing[] = {
    {"empty CON", BYTES(0x40, 0, 0, 1), SAGATE_OK},
    {"empty RST", BYTES(0x70, 0, 0, 1), SAGATE_OK},
    {"shorter than a head", BYTES(0x40, 1, 0), SAGATE_EINVAL},
    {"version 0", BYTES(0x00, 1, 0, 1), SAGATE_EINVAL},
    {"version 2", BYTES(0x80, 1, 0, 1), SAGATE_EINVAL},
    {"empty NON", BYTES(0x50, 0, 0, 1), SAGATE_EMALFORMED},
    {"empty with a token", BYTES(0x41, 0, 0, 1, 9), SAGATE_EMALFORMED},
    {"empty with more", BYTES(0x40, 0, 0, 1, 0xff, 1), SAGATE_EMALFORMED},
    {"GET", BYTES(0x40, 1, 0, 1), SAGATE_OK},
    {"token of 8", BYTES(0x48, 1, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8), SAGATE_OK},
    {"token length 9", BYTES(0x49, 1, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9), SAGATE_EMALFORMED},
    {"token length 15", BYTES(0x4f, 1, 0, 1), SAGATE_EMALFORMED},
    {"token cut", BYTES(0x44, 1, 0, 1, 1, 2), SAGATE_EMALFORMED},
    {"request in an ACK", BYTES(0x60, 1, 0, 1), SAGATE_EMALFORMED},
    {"request in a RST", BYTES(0x70, 1, 0, 1), SAGATE_EMALFORMED},
    {"response in a RST", BYTES(0x70, 0x45, 0, 1), SAGATE_EMALFORMED},
    {"response in an ACK", BYTES(0x60, 0x45, 0, 1), SAGATE_OK},
    {"code class 1", BYTES(0x40, 0x21, 0, 1), SAGATE_EMALFORMED},
    {"code class 3", BYTES(0x40, 0x61, 0, 1), SAGATE_EMALFORMED},
    {"code class 7", BYTES(0x40, 0xe1, 0, 1), SAGATE_EMALFORMED},
    {"option", BYTES(0x40, 1, 0, 1, 0xb1, 'a'), SAGATE_OK},
    {"option value cut", BYTES(0x40, 1, 0, 1, 0xb2, 'a'), SAGATE_EMALFORMED},
    {"option delta 15", BYTES(0x40, 1, 0, 1, 0xf1, 'a'), SAGATE_EMALFORMED},
    {"option length 15", BYTES(0x40, 1, 0, 1, 0x1f, 'a'), SAGATE_EMALFORMED},
    {"extended delta cut", BYTES(0x40, 1, 0, 1, 0xe0, 1), SAGATE_EMALFORMED},
    {"extended length cut", BYTES(0x40, 1, 0, 1, 0x1d), SAGATE_EMALFORMED},
    {"number beyond 65535", BYTES(0x40, 1, 0, 1, 0xe0, 0xff, 0xff), SAGATE_EMALFORMED},
    {"payload", BYTES(0x40, 2, 0, 1, 0xff, '{'), SAGATE_OK},
    {"payload marker without payload", BYTES(0x40, 2, 0, 1, 0xff), SAGATE_EMALFORMED},
};

static void parses_strictly(void)
{
    for (size_t i = 0; i < sizeof parsing / sizeof *parsing; i++) {
        struct coap_message message;
        // An exact copy, so that a sanitizer sees a read beyond the end.
        uint8_t *copy = malloc(parsing[i].len);
        CU_ASSERT_FATAL(copy != NULL);
        memcpy(copy, parsing[i].data, parsing[i].len);
        int status = coap_parse(copy, parsing[i].len, &message);
        if (status != parsing[i].status)
            printf("\n  %s: %d instead of %d", parsing[i].what, status, parsing[i].status);
        CU_ASSERT_EQUAL(status, parsing[i].status);
        if (status == SAGATE_EMALFORMED)
            CU_ASSERT_EQUAL(message.mid, 1);
        free(copy);
    }
}

static size_t with_options(uint8_t *out, size_t cap, size_t count, uint16_t number)
{
    struct coap_writer writer;
    struct coap_token token = {.len = 0};
    coap_begin(&writer, out, cap, COAP_CON, COAP_GET, 1, &token);
    for (size_t i = 0; i < count; i++)
        coap_add(&writer, number, slice_text("x"));
    int len = coap_end(&writer);
    CU_ASSERT_FATAL(len > 0);
    return (size_t)len;
}

static void bounds_options(void)
{
    uint8_t data[512];
    struct coap_message message;
    size_t len = with_options(data, sizeof data, COAP_OPTIONS_MAX, COAP_URI_PATH);
    CU_ASSERT_EQUAL(coap_parse(data, len, &message), SAGATE_OK);
    CU_ASSERT_FALSE(message.critical_cut);
    len = with_options(data, sizeof data, COAP_OPTIONS_MAX + 1, COAP_URI_PATH);
    CU_ASSERT_EQUAL(coap_parse(data, len, &message), SAGATE_OK);
    CU_ASSERT_TRUE(message.critical_cut);
    len = with_options(data, sizeof data, COAP_OPTIONS_MAX + 1, COAP_ETAG);
    CU_ASSERT_EQUAL(coap_parse(data, len, &message), SAGATE_OK);
    CU_ASSERT_FALSE(message.critical_cut);
    CU_ASSERT_EQUAL(message.option_count, COAP_OPTIONS_MAX);
}

static void writes_in_order(void)
{
    static const uint8_t expected[] = {0x51, 0x02, 0x12, 0x34, 0xaa, 0xb1, 'a', 0x11, 50,  0xdd, 0xf2, 0x00, 'C',  'C',
                                       'C',  'C',  'C',  'C',  'C',  'C',  'C', 'C',  'C', 'C',  'C',  0x0,  0xff, '{'};
    uint8_t out[64];
    struct coap_writer writer;
    struct coap_list list = {0};
    struct coap_token token = {.len = 1, .bytes = {0xaa}};
    coap_list_add(&list, 267, slice_text("CCCCCCCCCCCCC"));
    coap_list_add_uint(&list, COAP_CONTENT_FORMAT, 50);
    coap_list_add(&list, COAP_URI_PATH, slice_text("a"));
    coap_list_add_uint(&list, 267, 0);
    coap_begin(&writer, out, sizeof out, COAP_NON, COAP_POST, 0x1234, &token);
    coap_list_write(&list, &writer);
    coap_add_payload(&writer, slice_text("{"));
    int len = coap_end(&writer);
    CU_ASSERT_EQUAL_FATAL(len, (int)sizeof expected);
    CU_ASSERT_EQUAL(memcmp(out, expected, sizeof expected), 0);

    coap_begin(&writer, out, sizeof out, COAP_NON, COAP_POST, 1, &token);
    coap_add(&writer, 12, slice_text(""));
    coap_add(&writer, 11, slice_text(""));
    CU_ASSERT_EQUAL(coap_end(&writer), SAGATE_EINVAL);
    coap_begin(&writer, out, 8, COAP_NON, COAP_POST, 1, &token);
    coap_add_payload(&writer, slice_text("long"));
    CU_ASSERT_EQUAL(coap_end(&writer), SAGATE_ETOOBIG);
}

static void writes_what_it_parses(void)
{
    static const uint16_t numbers[] = {1, 12, 13, 14, 268, 269, 270, 1000, 65535};
    static const size_t lengths[] = {0, 1, 12, 13, 268, 269, 400};
    static uint8_t value[400];
    uint8_t out[1024];
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        for (size_t j = 0; j < sizeof lengths / sizeof *lengths; j++) {
            struct coap_writer writer;
            struct coap_message message;
            struct coap_token token = {.len = 0};
            coap_begin(&writer, out, sizeof out, COAP_CON, COAP_GET, 1, &token);
            coap_add(&writer, numbers[i], slice_of(value, lengths[j]));
            CU_ASSERT_EQUAL_FATAL(coap_parse(out, (size_t)coap_end(&writer), &message), SAGATE_OK);
            CU_ASSERT_EQUAL_FATAL(message.option_count, 1);
            CU_ASSERT_EQUAL(message.options[0].number, numbers[i]);
            CU_ASSERT_EQUAL(message.options[0].value.len, lengths[j]);
        }
    }
}

static void reads_blocks(void)
{
    struct coap_block block;
    CU_ASSERT_TRUE(coap_block_parse(slice_of("\x1e", 1), &block));
    CU_ASSERT_EQUAL(block.number, 1);
    CU_ASSERT_TRUE(block.more);
    CU_ASSERT_EQUAL(block.size, 1024);
    CU_ASSERT_EQUAL(block.offset, 1024);
    CU_ASSERT_TRUE(coap_block_parse(slice_of("", 0), &block));
    CU_ASSERT_EQUAL(block.size, 16);
    CU_ASSERT_TRUE(coap_block_parse(slice_of("\xff\xff\xf6", 3), &block));
    CU_ASSERT_EQUAL(block.offset, 0xfffffU << 10);
    CU_ASSERT_FALSE(coap_block_parse(slice_of("\x07", 1), &block));
    CU_ASSERT_FALSE(coap_block_parse(slice_of("\0\0\0\0", 4), &block));
}

static const struct {
    const char *what;
    uint16_t numbers[4];
    enum config_numbering spoken;
    int status;
    enum numbering numbering;
} numberings[] = {
    {"FR and RQI of today", {279, 283}, CONFIG_NUMBERING_BOTH, SAGATE_OK, NUMBERING_CURRENT},
    {"FR and RQI of before", {256, 257}, CONFIG_NUMBERING_BOTH, SAGATE_OK, NUMBERING_OLD},
    {"TY beside an old RQI", {257, 267}, CONFIG_NUMBERING_BOTH, SAGATE_OK, NUMBERING_OLD},
    {"TY beside a current RQI", {267, 283}, CONFIG_NUMBERING_BOTH, SAGATE_OK, NUMBERING_CURRENT},
    {"TY alone", {267}, CONFIG_NUMBERING_BOTH, SAGATE_OK, NUMBERING_CURRENT},
    {"an old number alone", {262}, CONFIG_NUMBERING_BOTH, SAGATE_OK, NUMBERING_OLD},
    {"one numbering spoken", {283}, CONFIG_NUMBERING_OLD, SAGATE_OK, NUMBERING_OLD},
    {"the other spoken", {257}, CONFIG_NUMBERING_CURRENT, SAGATE_OK, NUMBERING_CURRENT},
    {"both FR", {256, 279}, CONFIG_NUMBERING_CURRENT, SAGATE_EMALFORMED, 0},
    {"both RQI", {257, 283}, CONFIG_NUMBERING_BOTH, SAGATE_EMALFORMED, 0},
    {"old FR, current RQI", {256, 283}, CONFIG_NUMBERING_OLD, SAGATE_EMALFORMED, 0},
};

static void tells_numberings(void)
{
    for (size_t i = 0; i < sizeof numberings / sizeof *numberings; i++) {
        struct coap_message message = {0};
        enum numbering numbering = NUMBERING_CURRENT;
        for (size_t j = 0; j < 4 && numberings[i].numbers[j] != 0; j++)
            message.options[message.option_count++].number = numberings[i].numbers[j];
        CU_ASSERT_EQUAL(numbering_of(&message, numberings[i].spoken, &numbering), numberings[i].status);
        if (numberings[i].status == SAGATE_OK)
            CU_ASSERT_EQUAL(numbering, numberings[i].numbering);
    }
}

static void tables_agree(void)
{
    static const uint16_t pairs[][2] = {
        [ONEM2M_FR] = {279, 256},   [ONEM2M_RQI] = {283, 257},  [ONEM2M_NM] = {0, 258},    [ONEM2M_OT] = {259, 259},
        [ONEM2M_RQET] = {291, 260}, [ONEM2M_RSET] = {295, 261}, [ONEM2M_OET] = {299, 262}, [ONEM2M_RTURI] = {263, 263},
        [ONEM2M_EC] = {303, 264},   [ONEM2M_RSC] = {307, 265},  [ONEM2M_GID] = {311, 266}, [ONEM2M_TY] = {267, 267},
        [ONEM2M_CTO] = {319, 268},  [ONEM2M_CTS] = {323, 269},  [ONEM2M_ATI] = {327, 270}, [ONEM2M_RVI] = {271, 0},
        [ONEM2M_ASRI] = {275, 0},   [ONEM2M_VSI] = {331, 0},    [ONEM2M_GTM] = {335, 0},   [ONEM2M_AUS] = {339, 0},
        [ONEM2M_OMR] = {343, 0},    [ONEM2M_PRPI] = {347, 0},   [ONEM2M_MSU] = {351, 0}};
    CU_ASSERT_EQUAL(sizeof pairs / sizeof *pairs, NUMBERING_OPTIONS);
    for (int i = 0; i < NUMBERING_OPTIONS; i++) {
        for (int side = 0; side < 2; side++) {
            if (pairs[i][side] != 0)
                CU_ASSERT_EQUAL(numbering_find((enum numbering)side, pairs[i][side]), i);
        }
    }
    CU_ASSERT_EQUAL(numbering_find(NUMBERING_CURRENT, 256), -1);
    CU_ASSERT_EQUAL(numbering_find(NUMBERING_OLD, 279), -1);
    CU_ASSERT_EQUAL(numbering_find(NUMBERING_OLD, 0), -1);
}

static bool has(const struct recorded *recorded, uint16_t mid, uint64_t now, const char *reply)
{
    struct slice found;
    return recorded_find(recorded, 7, 1, mid, now, &found) && slice_is(found, reply);
}

static void records_replies(void)
{
    struct stats *stats = calloc(1, sizeof *stats);
    CU_ASSERT_FATAL(stats != NULL);
    struct recorded *recorded = recorded_new(200, stats);
    struct slice reply;
    CU_ASSERT_FATAL(recorded != NULL);
    recorded_add(recorded, 7, 1, 10, slice_text("ten"), 0, 1000);
    recorded_add(recorded, 7, 1, 11, slice_text("eleven"), 0, 1000);
    CU_ASSERT_TRUE(has(recorded, 10, 999, "ten"));
    CU_ASSERT_TRUE(has(recorded, 11, 999, "eleven"));
    CU_ASSERT_FALSE(has(recorded, 10, 1000, "ten"));
    CU_ASSERT_FALSE(recorded_find(recorded, 7, 2, 10, 0, &reply));
    recorded_add(recorded, 7, 1, 10, slice_text("again"), 5, 2000);
    CU_ASSERT_TRUE(has(recorded, 10, 999, "again"));
    for (uint16_t mid = 20; mid < 2000; mid++) {
        recorded_add(recorded, 7, 1, mid, slice_of("0123456789012345678901234567890123456789", mid % 40), 10, 1000);
        CU_ASSERT_TRUE(recorded_find(recorded, 7, 1, mid, 10, &reply));
        CU_ASSERT_EQUAL(reply.len, (size_t)mid % 40);
    }
    CU_ASSERT_TRUE(recorded_find(recorded, 7, 1, 1998, 10, &reply));
    CU_ASSERT_FALSE(recorded_find(recorded, 7, 1, 20, 10, &reply));
    CU_ASSERT_TRUE(stats_get(&stats->counters[STAT_COAP_EXCHANGES_EVICTED]) > 1900);
    recorded = recorded_resize(recorded, 100000, 10);
    CU_ASSERT_FATAL(recorded != NULL);
    CU_ASSERT_TRUE(recorded_find(recorded, 7, 1, 1999, 10, &reply));
    CU_ASSERT_TRUE(recorded_find(recorded, 7, 1, 1998, 10, &reply));
    recorded_free(recorded);
    recorded = recorded_new(0, NULL);
    CU_ASSERT_FATAL(recorded != NULL);
    recorded_add(recorded, 7, 1, 1, slice_text("x"), 0, 10);
    CU_ASSERT_FALSE(recorded_find(recorded, 7, 1, 1, 0, &reply));
    recorded_free(recorded);
    free(stats);
}

// Whatever is found is the newest reply of its message, and what came last is found.
static void keeps_the_newest_replies(void)
{
    enum { MIDS = 300, LAST = 20 };
    uint32_t newest[MIDS] = {0};
    uint8_t bytes[100] = {0};
    uint64_t state = 1;
    struct slice reply;
    struct recorded *recorded = recorded_new(4096, NULL);
    CU_ASSERT_FATAL(recorded != NULL);
    size_t wrong = 0;
    size_t missing = 0;
    for (uint32_t i = 1; i <= 50000; i++) {
        state = state * 6364136223846793005U + 1442695040888963407U;
        uint16_t mid = (uint16_t)((state >> 33) % MIDS);
        newest[mid] = i;
        memcpy(bytes, &i, sizeof i);
        recorded_add(recorded, 7, 1, mid, slice_of(bytes, sizeof i + (state >> 50) % 90), 0, 1000);
        for (uint16_t at = 0; at < MIDS; at++) {
            bool found = recorded_find(recorded, 7, 1, at, 0, &reply);
            wrong += found && memcmp(reply.data, &newest[at], sizeof newest[at]) != 0;
            missing += !found && newest[at] + LAST > i && newest[at] != 0;
        }
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_EQUAL(missing, 0);
    recorded_free(recorded);
}

static void shares_the_memory(void)
{
    static const uint8_t reply[1000];
    struct recorded *recorded = recorded_new(1U << 20, NULL);
    struct slice found;
    CU_ASSERT_FATAL(recorded != NULL);
    for (uint64_t owner = 0; owner < 16; owner++)
        recorded_add(recorded, owner, 100 + owner, 1, slice_text("x"), 0, 1000);
    for (int i = 0; i < 5000; i++)
        recorded_add(recorded, 3, 50, (uint16_t)i, slice_of(reply, sizeof reply), 0, 1000);
    for (uint64_t owner = 0; owner < 16; owner++)
        CU_ASSERT_EQUAL(recorded_find(recorded, owner, 100 + owner, 1, 0, &found), owner != 3);
    CU_ASSERT_TRUE(recorded_find(recorded, 3, 50, 4999, 0, &found));
    recorded = recorded_resize(recorded, 2U << 20, 0);
    CU_ASSERT_FATAL(recorded != NULL);
    CU_ASSERT_TRUE(recorded_find(recorded, 9, 109, 1, 0, &found));
    CU_ASSERT_TRUE(recorded_find(recorded, 3, 50, 4999, 0, &found));
    recorded_free(recorded);
}

static const struct unit_test tests[] = {
    {"parses strictly", parses_strictly},
    {"bounds the number of options", bounds_options},
    {"writes in ascending order", writes_in_order},
    {"writes what it parses", writes_what_it_parses},
    {"reads block options", reads_blocks},
    {"tells the numberings apart", tells_numberings},
    {"the option table is that of TS-0008", tables_agree},
    {"records replies in a bounded ring", records_replies},
    {"keeps the newest replies", keeps_the_newest_replies},
    {"one credential does not push out the replies of others", shares_the_memory},
};

UNIT_MAIN("coap message", tests)
