// The scan of content: what is well-formed, and what is found, however the content is cut into pieces.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/binding/content/content.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#define BYTES(literal)                                  \
    {                                                   \
        (const uint8_t *)(literal), sizeof(literal) - 1 \
    }

struct row {
    enum content_kind kind;
    struct slice content;
    int result;
    const char *value; // of the field looked for; NULL: not found
    uint32_t count;
    bool differs;
};

static const struct content_field fr_fields[2] = {{.path = {"fr"}, .steps = 1},
                                                  {.path = {"m2m:rqp", "fr"}, .steps = 2}};
static const struct content_field aei_fields[1] = {{.path = {"*", "aei"}, .steps = 2}};

// Scans in two pieces; `cut` of the whole length means one piece.
static int scan_cut(const struct row *row, const struct content_field *fields, size_t count, size_t cut, size_t step,
                    struct content_found *found)
{
    _Alignas(16) static uint8_t memory[16384];
    struct content_scan *scan = (struct content_scan *)(void *)memory;
    CU_ASSERT_FATAL(content_scan_size() <= sizeof memory);
    memset(memory, 0xa5, sizeof memory);
    content_scan_init(scan, row->kind, fields, count, 8);
    int result = content_scan_feed(scan, row->content.data, cut);
    for (size_t at = cut; at < row->content.len; at += step) {
        size_t part = row->content.len - at < step ? row->content.len - at : step;
        result = content_scan_feed(scan, row->content.data + at, part);
    }
    int end = content_scan_end(scan);
    if (result != SAGATE_OK)
        CU_ASSERT_EQUAL(end, result); // after an error all calls fail
    for (size_t i = 0; i < count; i++)
        found[i] = *content_scan_found(scan, i);
    return end;
}

static bool matches(const struct row *row, int result, const struct content_found *found)
{
    if (result != row->result)
        return false;
    if (result != SAGATE_OK)
        return true;
    return found->count == row->count && found->differs == row->differs &&
           slice_is(slice_of(found->value, found->len), row->value == NULL ? "" : row->value);
}

static void run_rows(const struct row *rows, size_t count, const struct content_field *fields, size_t field_count,
                     size_t index)
{
    struct content_found found[CONTENT_FIELDS_MAX];
    for (size_t i = 0; i < count; i++) {
        const struct row *row = &rows[i];
        bool good =
            matches(row, content_scan_all(row->kind, row->content, fields, field_count, 8, found), &found[index]);
        for (size_t cut = 0; cut <= row->content.len; cut++) {
            int result = scan_cut(row, fields, field_count, cut, row->content.len + 1, found);
            good = good && matches(row, result, &found[index]);
        }
        good = good && matches(row, scan_cut(row, fields, field_count, 0, 1, found), &found[index]);
        CU_ASSERT_TRUE(good);
        if (!good)
            printf("\n  row %zu: %.*s\n", i, (int)row->content.len, (const char *)row->content.data);
    }
}

#define RUN(rows, fields, index) \
    run_rows(rows, sizeof(rows) / sizeof *(rows), fields, sizeof(fields) / sizeof *(fields), index)

#define GOOD(kind, text)                             \
    {                                                \
        kind, BYTES(text), SAGATE_OK, NULL, 0, false \
    }
#define BAD(kind, text)                                      \
    {                                                        \
        kind, BYTES(text), SAGATE_EMALFORMED, NULL, 0, false \
    }
#define DEEP(kind, text)                                  \
    {                                                     \
        kind, BYTES(text), SAGATE_ETOOBIG, NULL, 0, false \
    }
#define FOUND(kind, text, val)                      \
    {                                               \
        kind, BYTES(text), SAGATE_OK, val, 1, false \
    }

static void json_grammar(void)
{
    static const struct row rows[] = {
        GOOD(CONTENT_JSON, ""),
        GOOD(CONTENT_JSON, "{}"),
        GOOD(CONTENT_JSON, " [ ] \r\n\t"),
        GOOD(CONTENT_JSON, "null"),
        GOOD(CONTENT_JSON, "true"),
        GOOD(CONTENT_JSON, " false "),
        GOOD(CONTENT_JSON, "0"),
        GOOD(CONTENT_JSON, "-0.10e+5"),
        GOOD(CONTENT_JSON, "12E2"),
        GOOD(CONTENT_JSON, "[1,-2,3.5,\"x\",{\"a\":[]},[[]],true,null]"),
        GOOD(CONTENT_JSON, "{\"a\" : \"\\u00e9\\ud83d\\ude00\\n\\\"\\\\\\/\", \"b\":{}}"),
        GOOD(CONTENT_JSON, "[[[[[[[[]]]]]]]]"),
        DEEP(CONTENT_JSON, "[[[[[[[[[]]]]]]]]]"),
        BAD(CONTENT_JSON, " "),
        BAD(CONTENT_JSON, "\xef\xbb\xbf{}"),
        BAD(CONTENT_JSON, "{} {}"),
        BAD(CONTENT_JSON, "{}x"),
        BAD(CONTENT_JSON, "{} \0"),
        BAD(CONTENT_JSON, "{"),
        BAD(CONTENT_JSON, "{]"),
        BAD(CONTENT_JSON, "[}"),
        BAD(CONTENT_JSON, "[1,]"),
        BAD(CONTENT_JSON, "[,1]"),
        BAD(CONTENT_JSON, "{\"a\":1,}"),
        BAD(CONTENT_JSON, "{\"a\"}"),
        BAD(CONTENT_JSON, "{\"a\":}"),
        BAD(CONTENT_JSON, "{a:1}"),
        BAD(CONTENT_JSON, "{'a':1}"),
        BAD(CONTENT_JSON, "{\"a\":1 \"b\":2}"),
        BAD(CONTENT_JSON, "{\"a\":1}/* */"),
        BAD(CONTENT_JSON, "01"),
        BAD(CONTENT_JSON, "-"),
        BAD(CONTENT_JSON, "+1"),
        BAD(CONTENT_JSON, ".5"),
        BAD(CONTENT_JSON, "1."),
        BAD(CONTENT_JSON, "1.e5"),
        BAD(CONTENT_JSON, "1e"),
        BAD(CONTENT_JSON, "1e+"),
        BAD(CONTENT_JSON, "1e5e"),
        BAD(CONTENT_JSON, "NaN"),
        BAD(CONTENT_JSON, "tru"),
        BAD(CONTENT_JSON, "truex"),
        BAD(CONTENT_JSON, "True"),
        BAD(CONTENT_JSON, "\"a"),
        BAD(CONTENT_JSON, "\"a\nb\""),
        BAD(CONTENT_JSON, "\"a\0b\""),
        BAD(CONTENT_JSON, "\"\\x41\""),
        BAD(CONTENT_JSON, "\"\\u12g4\""),
        BAD(CONTENT_JSON, "\"\\ud800\""),
        BAD(CONTENT_JSON, "\"\\ud800x\""),
        BAD(CONTENT_JSON, "\"\\ud800\\n\""),
        BAD(CONTENT_JSON, "\"\\ud800\\u0041\""),
        BAD(CONTENT_JSON, "\"\\udc00\""),
        BAD(CONTENT_JSON, "{\"\xc1\xa6r\":\"Cdev2\"}"), // overlong form of "f"
        BAD(CONTENT_JSON, "{\"f\xff\":\"Cdev2\"}"),
        BAD(CONTENT_JSON, "{\"fr\xc3\":\"Cdev2\"}"),
        GOOD(CONTENT_UNKNOWN, " {}"),
        GOOD(CONTENT_UNKNOWN, "[]"),
        GOOD(CONTENT_UNKNOWN, ""),
        BAD(CONTENT_UNKNOWN, "true"),
        BAD(CONTENT_UNKNOWN, "\"x\""),
        BAD(CONTENT_UNKNOWN, "fr=Cdev2"),
        BAD(CONTENT_JSON, "<a/>"),
        BAD(CONTENT_XML, "{}"),
        BAD(CONTENT_CBOR, "{\"fr\":\"Cdev2\"}"),
        BAD(CONTENT_CBOR, "<fr>Cdev2</fr>"),
        BAD(CONTENT_JSON, "\xa0"),
    };
    RUN(rows, fr_fields, 0);
}

static void json_members(void)
{
    static const struct row rows[] = {
        FOUND(CONTENT_JSON, "{\"fr\":\"Cdev2\"}", "Cdev2"),
        FOUND(CONTENT_UNKNOWN, "\n{ \"fr\" : \"Cdev2\" }", "Cdev2"),
        FOUND(CONTENT_JSON, "{\"op\":1,\"pc\":{\"fr\":\"inner\"},\"fr\":\"Cdev2\"}", "Cdev2"),
        FOUND(CONTENT_JSON, "{\"\\u0066r\":\"Cdev2\"}", "Cdev2"),
        FOUND(CONTENT_JSON, "{\"\\u0066\\u0072\":\"C\\u0064ev\\u0032\"}", "Cdev2"),
        FOUND(CONTENT_JSON, "{\"fr\":\"\\ud83d\\ude00\"}", "\xf0\x9f\x98\x80"),
        FOUND(CONTENT_JSON, "{\"FR\":\"Cdev2\"}", "Cdev2"),
        FOUND(CONTENT_JSON, "{\"fr\\u0000x\":\"Cdev2\"}", "Cdev2"),
        FOUND(CONTENT_JSON, "{\"fr\":\"\"}", ""),
        GOOD(CONTENT_JSON, "{\"fro\":\"Cdev2\",\"f\":\"fr\",\"\":1}"),
        GOOD(CONTENT_JSON, "{\"m2m:cin\":{\"con\":\"fr\",\"fr\":\"x\"}}"),
        GOOD(CONTENT_JSON, "[{\"fr\":\"Cdev2\"}]"),
        GOOD(CONTENT_JSON, "[[\"fr\",\"Cdev2\"]]"),
        {CONTENT_JSON, BYTES("{\"fr\":\"C1\",\"fr\":\"C1\"}"), SAGATE_OK, "C1", 2, false},
        {CONTENT_JSON, BYTES("{\"fr\":\"C1\",\"\\u0066r\":\"C2\"}"), SAGATE_OK, "C1", 2, true},
        {CONTENT_JSON, BYTES("{\"fr\":null}"), SAGATE_OK, NULL, 1, true},
        {CONTENT_JSON, BYTES("{\"fr\":12}"), SAGATE_OK, NULL, 1, true},
        {CONTENT_JSON, BYTES("{\"fr\":[\"C1\"]}"), SAGATE_OK, NULL, 1, true},
        {CONTENT_JSON, BYTES("{\"fr\":{\"fr\":\"C1\"}}"), SAGATE_OK, NULL, 1, true},
        {CONTENT_JSON, BYTES("{\"fr\":true,\"fr\":\"C1\"}"), SAGATE_OK, "C1", 2, true},
    };
    static const struct row wrapped[] = {
        FOUND(CONTENT_JSON, "{\"m2m:rqp\":{\"op\":1,\"fr\":\"Cdev2\"}}", "Cdev2"),
        FOUND(CONTENT_JSON, "{\"a\":{\"b\":{}},\"m2m:rqp\":{\"fr\":\"Cdev2\"},\"b\":{\"fr\":\"x\"}}", "Cdev2"),
        GOOD(CONTENT_JSON, "{\"m2m:rqp\":{\"pc\":{\"fr\":\"Cdev2\"}}}"),
        GOOD(CONTENT_JSON, "{\"m2m:rqp\":[{\"fr\":\"Cdev2\"}]}"),
        GOOD(CONTENT_JSON, "{\"fr\":\"Cdev2\"}"),
        GOOD(CONTENT_JSON, "[{\"m2m:rqp\":{\"fr\":\"Cdev2\"}}]"),
        {CONTENT_JSON, BYTES("{\"m2m:rqp\":{\"fr\":\"C1\"},\"m2m:rqp\":{\"fr\":\"C2\"}}"), SAGATE_OK, "C1", 2, true},
    };
    static const struct row star[] = {
        FOUND(CONTENT_JSON, "{\"m2m:ae\":{\"rn\":\"dev\",\"aei\":\"Cdev2\",\"ri\":\"r\"}}", "Cdev2"),
        GOOD(CONTENT_JSON, "{\"aei\":\"Cdev2\"}"),
        GOOD(CONTENT_JSON, "{\"m2m:ae\":{\"x\":{\"aei\":\"Cdev2\"}}}"),
    };
    RUN(rows, fr_fields, 0);
    RUN(wrapped, fr_fields, 1);
    RUN(star, aei_fields, 0);
}

static void long_values_do_not_fit(void)
{
    char text[512];
    struct content_found found[2];
    memset(text, 'C', sizeof text);
    for (size_t len = CONTENT_VALUE_MAX; len <= CONTENT_VALUE_MAX + 1; len++) {
        static const char head[] = "{\"fr\":\"";
        memcpy(text, head, sizeof head - 1);
        memset(text + sizeof head - 1, 'C', len);
        memcpy(text + sizeof head - 1 + len, "\"}", 2);
        struct slice content = slice_of(text, sizeof head - 1 + len + 2);
        CU_ASSERT_EQUAL(content_scan_all(CONTENT_JSON, content, fr_fields, 2, 8, found), SAGATE_OK);
        CU_ASSERT_EQUAL(found[0].count, 1);
        CU_ASSERT_EQUAL(found[0].differs, len > CONTENT_VALUE_MAX);
        CU_ASSERT_EQUAL(found[0].len, len > CONTENT_VALUE_MAX ? 0 : len);
    }
    // A name longer than any that is looked for is no name.
    memset(text, 'f', sizeof text);
    memcpy(text, "{\"", 2);
    memcpy(text + 400, "\":\"x\"}", 6);
    CU_ASSERT_EQUAL(content_scan_all(CONTENT_JSON, slice_of(text, 406), fr_fields, 2, 8, found), SAGATE_OK);
    CU_ASSERT_EQUAL(found[0].count, 0);
}

static void cbor_grammar(void)
{
    static const struct row rows[] = {
        GOOD(CONTENT_CBOR, ""),
        GOOD(CONTENT_CBOR, "\x00"),
        GOOD(CONTENT_CBOR, "\x1b\x00\x00\x00\x00\x00\x00\x00\x01"),
        GOOD(CONTENT_CBOR, "\x38\x63"),
        GOOD(CONTENT_CBOR, "\xf9\x3c\x00"),
        GOOD(CONTENT_CBOR, "\xfa\x47\xc3\x50\x00"),
        GOOD(CONTENT_CBOR, "\xfb\x3f\xf1\x99\x99\x99\x99\x99\x9a"),
        GOOD(CONTENT_CBOR, "\xf6"),
        GOOD(CONTENT_CBOR, "\xf8\xff"),
        GOOD(CONTENT_CBOR, "\x40"),
        GOOD(CONTENT_CBOR, "\x44\x01\x02\x03\x04"),
        GOOD(CONTENT_CBOR, "\xc1\x1a\x51\x4b\x67\xb0"),
        GOOD(CONTENT_CBOR, "\x83\x01\x82\x02\x03\x82\x04\x05"),
        GOOD(CONTENT_CBOR, "\x9f\x01\x82\x02\x03\x9f\x04\x05\xff\xff"),
        GOOD(CONTENT_CBOR, "\xa2\x01\x02\x03\x04"),
        GOOD(CONTENT_CBOR, "\x5f\x42\x01\x02\x40\x43\x03\x04\x05\xff"),
        GOOD(CONTENT_CBOR, "\x7f\xff"),
        GOOD(CONTENT_CBOR, "\xbf\x61\x61\x01\x61\x62\x9f\x02\x03\xff\xff"),
        GOOD(CONTENT_CBOR, "\xa1\x82\x01\x02\x03"), // an array as key
        GOOD(CONTENT_CBOR, "\xbf\xff"),
        GOOD(CONTENT_UNKNOWN, "\xa0"),
        GOOD(CONTENT_CBOR, "\x81\x81\x81\x81\x81\x81\x81\x80"),
        DEEP(CONTENT_CBOR, "\x81\x81\x81\x81\x81\x81\x81\x81\x80"),
        DEEP(CONTENT_CBOR, "\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1\x00"),
        DEEP(CONTENT_CBOR, "\xc1\xc1\xc1\xc1\x81\xc1\xc1\xc1\xc1\x00"),
        BAD(CONTENT_CBOR, "\x18"),
        BAD(CONTENT_CBOR, "\x1c"),
        BAD(CONTENT_CBOR, "\x1f"),
        BAD(CONTENT_CBOR, "\x3f"),
        BAD(CONTENT_CBOR, "\xdf\x00"),
        BAD(CONTENT_CBOR, "\xf8\x1f"),
        BAD(CONTENT_CBOR, "\xfc"),
        BAD(CONTENT_CBOR, "\xff"),
        BAD(CONTENT_CBOR, "\x41"),
        BAD(CONTENT_CBOR, "\x5b\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        BAD(CONTENT_CBOR, "\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        BAD(CONTENT_CBOR, "\xbb\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        BAD(CONTENT_CBOR, "\x81"),
        BAD(CONTENT_CBOR, "\x9f\x01"),
        BAD(CONTENT_CBOR, "\xa1\x01"),
        BAD(CONTENT_CBOR, "\xbf\x01\xff"),
        BAD(CONTENT_CBOR, "\xc1"),
        BAD(CONTENT_CBOR, "\x9f\xc1\xff"),
        BAD(CONTENT_CBOR, "\x81\xff"),
        BAD(CONTENT_CBOR, "\x5f\x61\x61\xff"),
        BAD(CONTENT_CBOR, "\x5f\x5f\xff\xff"),
        BAD(CONTENT_CBOR, "\x5f\x00\xff"),
        BAD(CONTENT_CBOR, "\x7f\xc1\x61\x61\xff"),
        BAD(CONTENT_CBOR, "\x00\x00"),
        BAD(CONTENT_CBOR, "\xa0\xa0"),
        BAD(CONTENT_CBOR, "\xa1\xc1\x62"
                          "fr\x61"
                          "C"), // a tagged key
        BAD(CONTENT_CBOR, "\xa1\xd8\x1d\x00\x61"
                          "C"),                    // a shared value as key
        BAD(CONTENT_CBOR, "\xd9\x01\x00\xa0"),     // string references
        BAD(CONTENT_CBOR, "\xa1\x62\xc1\xa6\x01"), // a name that is no UTF-8
    };
    RUN(rows, fr_fields, 0);
}

static void cbor_members(void)
{
    static const struct row rows[] = {
        FOUND(CONTENT_CBOR,
              "\xa1\x62"
              "fr"
              "\x65"
              "Cdev2",
              "Cdev2"),
        FOUND(CONTENT_UNKNOWN,
              "\xa1\x62"
              "fr"
              "\x65"
              "Cdev2",
              "Cdev2"),
        FOUND(CONTENT_CBOR,
              "\xa1\x42"
              "fr"
              "\x45"
              "Cdev2",
              "Cdev2"),
        FOUND(CONTENT_CBOR,
              "\xa1\x42"
              "fr"
              "\x65"
              "Cdev2",
              "Cdev2"),
        FOUND(CONTENT_CBOR,
              "\xa1\x78\x02"
              "fr"
              "\x7a\x00\x00\x00\x05"
              "Cdev2",
              "Cdev2"),
        FOUND(CONTENT_CBOR,
              "\xbf\x7f\x61"
              "f"
              "\x61"
              "r"
              "\xff\x7f\x63"
              "Cde"
              "\x60\x62"
              "v2"
              "\xff\xff",
              "Cdev2"),
        FOUND(CONTENT_CBOR,
              "\xa1\x5f\x41"
              "f"
              "\x41"
              "r"
              "\xff\x5f\x45"
              "Cdev2"
              "\xff",
              "Cdev2"),
        FOUND(CONTENT_CBOR,
              "\xa1\x62"
              "fr"
              "\xc1\x65"
              "Cdev2",
              "Cdev2"),
        FOUND(CONTENT_CBOR,
              "\xc1\xa1\x62"
              "fr"
              "\x65"
              "Cdev2",
              "Cdev2"),
        FOUND(CONTENT_CBOR,
              "\xa3\x01\x80\x61"
              "x\xa1\x62"
              "fr\x61y\x62"
              "Fr\x60",
              ""),
        GOOD(CONTENT_CBOR, "\x81\xa1\x62"
                           "fr"
                           "\x65"
                           "Cdev2"),
        GOOD(CONTENT_CBOR, "\xa1\xa1\x62"
                           "fr"
                           "\x61"
                           "C\x61"
                           "C"), // {{"fr": "C"}: "C"}
        GOOD(CONTENT_CBOR, "\xa1\x81\x62"
                           "fr"
                           "\x61"
                           "C"), // {["fr"]: "C"}
        GOOD(CONTENT_CBOR, "\xa1\xbf\x62"
                           "fr"
                           "\x61"
                           "C\xff\x61"
                           "C"), // the same with indefinite length
        {CONTENT_CBOR,
         BYTES("\xa2\x62"
               "fr"
               "\x61"
               "C"
               "\x42"
               "fr"
               "\x41"
               "C"),
         SAGATE_OK, "C", 2, false},
        {CONTENT_CBOR,
         BYTES("\xa2\x62"
               "fr"
               "\x61"
               "C"
               "\x42"
               "fr"
               "\x41"
               "S"),
         SAGATE_OK, "C", 2, true},
        {CONTENT_CBOR,
         BYTES("\xa1\x62"
               "fr"
               "\x00"),
         SAGATE_OK, NULL, 1, true},
        {CONTENT_CBOR,
         BYTES("\xa1\x62"
               "fr"
               "\x80"),
         SAGATE_OK, NULL, 1, true},
        {CONTENT_CBOR,
         BYTES("\xa1\x62"
               "fr"
               "\xf6"),
         SAGATE_OK, NULL, 1, true},
    };
    static const struct row wrapped[] = {
        FOUND(CONTENT_CBOR,
              "\xa1\x67"
              "m2m:rqp"
              "\xa1\x62"
              "fr"
              "\x65"
              "Cdev2",
              "Cdev2"),
        FOUND(CONTENT_CBOR,
              "\xbf\x47"
              "m2m:rqp"
              "\xbf\x42"
              "fr"
              "\x65"
              "Cdev2"
              "\xff\xff",
              "Cdev2"),
        GOOD(CONTENT_CBOR, "\xa1\x67"
                           "m2m:rqp"
                           "\x81\xa1\x62"
                           "fr"
                           "\x65"
                           "Cdev2"),
        GOOD(CONTENT_CBOR, "\xa1\x62"
                           "fr"
                           "\x65"
                           "Cdev2"),
    };
    static const struct row star[] = {
        FOUND(CONTENT_CBOR,
              "\xa1\x66"
              "m2m:ae"
              "\xa1\x63"
              "aei"
              "\x65"
              "Cdev2",
              "Cdev2"),
        FOUND(CONTENT_CBOR,
              "\xa1\x05\xa1\x63"
              "aei"
              "\x65"
              "Cdev2",
              "Cdev2"),
    };
    RUN(rows, fr_fields, 0);
    RUN(wrapped, fr_fields, 1);
    RUN(star, aei_fields, 0);
}

static void xml_grammar(void)
{
    static const struct row rows[] = {
        GOOD(CONTENT_XML, ""),
        GOOD(CONTENT_XML, "<a/>"),
        GOOD(CONTENT_UNKNOWN, "<a></a >"),
        GOOD(CONTENT_XML, " \n<a/>"),
        GOOD(CONTENT_XML, "<?xml version=\"1.0\"?><a/>"),
        GOOD(CONTENT_XML, "<?xml version='1.0' encoding='utf-8' standalone='yes' ?>\n<a/>\n"),
        GOOD(CONTENT_XML,
             "<!-- c --><a x='1' y = \"&lt;'\"><!--d--><?pi data? ?>t<b/>&amp;&#65;&#x0041;</a><!-- e -->"),
        GOOD(CONTENT_XML, "<a><![CDATA[<b>]]]]><![CDATA[>&]]></a>"),
        GOOD(CONTENT_XML, "<m2m:ae xmlns:m2m=\"http://www.onem2m.org/xml/protocols\" rn=\"x\"><api>N</api></m2m:ae>"),
        GOOD(CONTENT_XML, "<a fr='Cdev2'/>"),
        GOOD(CONTENT_XML, "<fr>Cdev2</fr>"),
        GOOD(CONTENT_XML, "<\xc3\xa9/>"),
        GOOD(CONTENT_XML, "<a><a><a><a><a><a><a><a/></a></a></a></a></a></a></a>"),
        DEEP(CONTENT_XML, "<a><a><a><a><a><a><a><a><a/></a></a></a></a></a></a></a></a>"),
        BAD(CONTENT_XML, " "),
        BAD(CONTENT_XML, "x<a/>"),
        BAD(CONTENT_XML, "\xef\xbb\xbf<a/>"),
        BAD(CONTENT_XML, " <?xml version=\"1.0\"?><a/>"),
        BAD(CONTENT_XML, "<?xml version=\"1.0\" encoding=\"UTF-7\"?><a/>"),
        BAD(CONTENT_XML, "<?xml version=\"1.0\" encoding=\"UTF-16\"?><a/>"),
        BAD(CONTENT_XML, "<?xml encoding=\"UTF-8\"?><a/>"),
        BAD(CONTENT_XML, "<?xml version=\"1.0\"encoding=\"UTF-8\"?><a/>"),
        BAD(CONTENT_XML, "<?xml version=\"1.0\" x=\"y\"?><a/>"),
        BAD(CONTENT_XML, "<?XML version=\"1.0\"?><a/>"),
        BAD(CONTENT_XML, "<?xml?><a/>"),
        BAD(CONTENT_XML, "<?xml version=\"1.1\"?><a/>"),
        BAD(CONTENT_XML, "<?p?q?><a/>"),
        GOOD(CONTENT_XML, "<?p?><?p q?\?><a/>"),
        BAD(CONTENT_XML, "<a/><?xml version=\"1.0\"?>"),
        BAD(CONTENT_XML, "<?xml version=\"1.0\"?>"),
        BAD(CONTENT_XML, "<!DOCTYPE a [<!ENTITY x 'y'>]><a/>"),
        BAD(CONTENT_XML, "<a>&x;</a>"),
        BAD(CONTENT_XML, "<a>&</a>"),
        BAD(CONTENT_XML, "<a>&#0;</a>"),
        BAD(CONTENT_XML, "<a>&#x;</a>"),
        BAD(CONTENT_XML, "<a>&#xd800;</a>"),
        BAD(CONTENT_XML, "<a>&#x110000;</a>"),
        BAD(CONTENT_XML, "<a>&#99999999999;</a>"),
        BAD(CONTENT_XML, "<a b='&x;'/>"),
        BAD(CONTENT_XML, "<a b='<'/>"),
        BAD(CONTENT_XML, "<a b=c/>"),
        BAD(CONTENT_XML, "<a b/>"),
        BAD(CONTENT_XML, "<a b='1'c='2'/>"),
        BAD(CONTENT_XML, "<a>"),
        BAD(CONTENT_XML, "<a></b>"),
        BAD(CONTENT_XML, "<a></aa>"),
        BAD(CONTENT_XML, "<aa></a>"),
        BAD(CONTENT_XML, "<a><b></a></b>"),
        BAD(CONTENT_XML, "</a>"),
        BAD(CONTENT_XML, "<a/><b/>"),
        BAD(CONTENT_XML, "<a/>x"),
        BAD(CONTENT_XML, "<a/><![CDATA[x]]>"),
        BAD(CONTENT_XML, "<a>]]></a>"),
        BAD(CONTENT_XML, "<a><!-- -- --></a>"),
        BAD(CONTENT_XML, "<a><!-- --->"),
        BAD(CONTENT_XML, "< a/>"),
        BAD(CONTENT_XML, "<1/>"),
        BAD(CONTENT_XML, "<a:/>"),
        BAD(CONTENT_XML, "<:a/>"),
        BAD(CONTENT_XML, "<a:b:c/>"),
        BAD(CONTENT_XML, "<a\xff/>"),
        BAD(CONTENT_XML, "<a>\x01</a>"),
        BAD(CONTENT_XML, "<a>\0</a>"),
        BAD(CONTENT_XML, "<\0a\0/\0>\0"),
        BAD(CONTENT_XML, "<a/ >"),
    };
    RUN(rows, fr_fields, 0);
}

static void xml_elements(void)
{
    static const struct row rows[] = {
        FOUND(CONTENT_XML, "<m2m:rqp><op>1</op><fr>Cdev2</fr></m2m:rqp>", "Cdev2"),
        FOUND(CONTENT_UNKNOWN, "<rqp><fr>Cdev2</fr></rqp>", "Cdev2"),
        FOUND(CONTENT_XML, "<x><y:fr z='1'>C&#100;e<![CDATA[v]]>2</y:fr></x>", "Cdev2"),
        FOUND(CONTENT_XML, "<x><fr>&lt;]]&gt;</fr></x>", "<]]>"),
        FOUND(CONTENT_XML, "<x><fr><![CDATA[a]]]b]]></fr></x>", "a]]]b"),
        FOUND(CONTENT_XML, "<x><fr/></x>", ""),
        GOOD(CONTENT_XML, "<x><pc><fr>Cdev2</fr></pc></x>"),
        GOOD(CONTENT_XML, "<x><fro>Cdev2</fro></x>"),
        {CONTENT_XML, BYTES("<x><fr>C1</fr><fr>C1</fr></x>"), SAGATE_OK, "C1", 2, false},
        {CONTENT_XML, BYTES("<x><fr>C1</fr><n:fr>C2</n:fr></x>"), SAGATE_OK, "C1", 2, true},
        {CONTENT_XML, BYTES("<x><fr>C1<b/></fr></x>"), SAGATE_OK, NULL, 1, true},
        {CONTENT_XML, BYTES("<x><fr>C<!-- -->1</fr></x>"), SAGATE_OK, NULL, 1, true},
        {CONTENT_XML, BYTES("<x><fr>C<?p q?>1</fr></x>"), SAGATE_OK, NULL, 1, true},
    };
    static const struct row wrapped[] = {
        FOUND(CONTENT_XML, "<m2m:rqp><fr>Cdev2</fr></m2m:rqp>", "Cdev2"),
        FOUND(CONTENT_XML, "<rqp><fr>Cdev2</fr></rqp>", "Cdev2"),
        FOUND(CONTENT_XML, "<other:rqp><fr>Cdev2</fr></other:rqp>", "Cdev2"),
        GOOD(CONTENT_XML, "<m2m:rsp><fr>Cdev2</fr></m2m:rsp>"),
        GOOD(CONTENT_XML, "<x><m2m:rqp><fr>Cdev2</fr></m2m:rqp></x>"),
    };
    static const struct row star[] = {
        FOUND(CONTENT_XML, "<m2m:ae rn=\"dev\"><ty>2</ty><aei>Cdev2</aei></m2m:ae>", "Cdev2"),
    };
    RUN(rows, fr_fields, 0);
    RUN(wrapped, fr_fields, 1);
    RUN(star, aei_fields, 0);
}

static void names_of_open_elements_are_bounded(void)
{
    static char text[8192];
    struct content_found found[2];
    memset(text, 'a', sizeof text);
    text[0] = '<';
    CU_ASSERT_EQUAL(content_scan_all(CONTENT_XML, slice_of(text, sizeof text), fr_fields, 2, 8, found), SAGATE_ETOOBIG);
}

static void media_types_have_kinds(void)
{
    static const struct {
        const char *type;
        enum content_kind kind;
    } rows[] = {
        {"application/json", CONTENT_JSON},
        {"Application/JSON; charset=utf-8", CONTENT_JSON},
        {" application/vnd.onem2m-res+json;ty=2", CONTENT_JSON},
        {"application/vnd.onem2m-res+cbor", CONTENT_CBOR},
        {"application/cbor ;ty=4", CONTENT_CBOR},
        {"application/vnd.onem2m-ntfy+XML", CONTENT_XML},
        {"application/xml", CONTENT_XML},
        {"text/xml", CONTENT_XML},
        {"text/plain", CONTENT_UNKNOWN},
        {"application/jsonx", CONTENT_UNKNOWN},
        {"text/plain;x=application/json", CONTENT_UNKNOWN},
        {"+json", CONTENT_UNKNOWN},
        {"", CONTENT_UNKNOWN},
        {";", CONTENT_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        CU_ASSERT_EQUAL(content_kind_of_media_type(slice_text(rows[i].type)), rows[i].kind);
    static const unsigned xml[] = {41, 10002, 10006, 10008, 10014};
    static const unsigned json[] = {50, 10001, 10003, 10007, 10009, 10015, 10016};
    static const unsigned cbor[] = {60, 10010, 10011, 10012, 10013};
    for (size_t i = 0; i < sizeof xml / sizeof *xml; i++)
        CU_ASSERT_EQUAL(content_kind_of_format(xml[i]), CONTENT_XML);
    for (size_t i = 0; i < sizeof json / sizeof *json; i++)
        CU_ASSERT_EQUAL(content_kind_of_format(json[i]), CONTENT_JSON);
    for (size_t i = 0; i < sizeof cbor / sizeof *cbor; i++)
        CU_ASSERT_EQUAL(content_kind_of_format(cbor[i]), CONTENT_CBOR);
    CU_ASSERT_EQUAL(content_kind_of_format(0), CONTENT_UNKNOWN);
    CU_ASSERT_EQUAL(content_kind_of_format(42), CONTENT_UNKNOWN);
}

static const struct unit_test tests[] = {
    {"JSON grammar", json_grammar},
    {"JSON members", json_members},
    {"long values do not fit", long_values_do_not_fit},
    {"CBOR grammar", cbor_grammar},
    {"CBOR members", cbor_members},
    {"XML grammar", xml_grammar},
    {"XML elements", xml_elements},
    {"names of open elements are bounded", names_of_open_elements_are_bounded},
    {"media types have kinds", media_types_have_kinds},
};

UNIT_MAIN("content", tests)
