// oneM2M identifiers: their forms, their absolute form, patterns; response status codes in HTTP and CoAP.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "common/onem2m.h"
#include "tests/unit/unit.h"

#include <string.h>

static void identifiers_have_forms(void)
{
    static const struct {
        const char *id;
        enum onem2m_id_kind kind;
    } rows[] = {
        {"", ONEM2M_ID_INVALID},
        {"C", ONEM2M_ID_STEM_C},
        {"S", ONEM2M_ID_STEM_S},
        {"C190XX7T", ONEM2M_ID_STEM_C},
        {"CAE20261124T023245,9540005", ONEM2M_ID_STEM_C},
        {"S190-._~x", ONEM2M_ID_STEM_S},
        {"c190", ONEM2M_ID_OTHER},
        {"dev,1", ONEM2M_ID_INVALID},
        {"id-in", ONEM2M_ID_OTHER},
        {"Cbase/ae", ONEM2M_ID_OTHER},
        {"/id-in", ONEM2M_ID_SP_RELATIVE},
        {"/id-in/Cdev1", ONEM2M_ID_SP_RELATIVE},
        {"/id-in/Cdev,1", ONEM2M_ID_SP_RELATIVE},
        {"/id,in", ONEM2M_ID_INVALID},
        {"/S1", ONEM2M_ID_SP_RELATIVE},
        {"//sp.example/id-in", ONEM2M_ID_ABSOLUTE},
        {"//sp.example/id-in/Cdev1", ONEM2M_ID_ABSOLUTE},
        {"//SP.example/id-in", ONEM2M_ID_INVALID},
        {"//sp.example", ONEM2M_ID_INVALID},
        {"//sp.example/", ONEM2M_ID_INVALID},
        {"///id-in", ONEM2M_ID_INVALID},
        {"/", ONEM2M_ID_INVALID},
        {"//", ONEM2M_ID_INVALID},
        {"/id-in/", ONEM2M_ID_INVALID},
        {"/id-in//Cdev1", ONEM2M_ID_INVALID},
        {"/x/../id-in", ONEM2M_ID_INVALID},
        {"/./id-in", ONEM2M_ID_INVALID},
        {".", ONEM2M_ID_INVALID},
        {"/..a", ONEM2M_ID_SP_RELATIVE},
        {"C dev", ONEM2M_ID_INVALID},
        {"C%41", ONEM2M_ID_INVALID},
        {"Cdev1\r\nX: y", ONEM2M_ID_INVALID},
        {"Cd\xc3\xa9v", ONEM2M_ID_INVALID},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CU_ASSERT_EQUAL(onem2m_id_kind(slice_text(rows[i].id)), rows[i].kind);
        if (onem2m_id_kind(slice_text(rows[i].id)) != rows[i].kind)
            printf("\n  row '%s'", rows[i].id);
    }
    CU_ASSERT_EQUAL(onem2m_id_kind(slice_of("Cdev\0x", 6)), ONEM2M_ID_INVALID);
    CU_ASSERT_EQUAL(onem2m_id_kind(slice_of(NULL, 0)), ONEM2M_ID_INVALID);
    char longest[ONEM2M_ID_MAX + 1];
    memset(longest, 'C', sizeof longest);
    CU_ASSERT_EQUAL(onem2m_id_kind(slice_of(longest, ONEM2M_ID_MAX)), ONEM2M_ID_STEM_C);
    CU_ASSERT_EQUAL(onem2m_id_kind(slice_of(longest, ONEM2M_ID_MAX + 1)), ONEM2M_ID_INVALID);
    CU_ASSERT_TRUE(onem2m_id_is_wish(slice_text("C")));
    CU_ASSERT_TRUE(onem2m_id_is_wish(slice_text("S")));
    CU_ASSERT_FALSE(onem2m_id_is_wish(slice_text("CC")));
    CU_ASSERT_FALSE(onem2m_id_is_wish(slice_text("")));
}

static void absolute_form_is_canonical(void)
{
    static const struct {
        const char *id, *absolute;
    } rows[] = {
        {"Cdev1", "//sp.example/id-in/Cdev1"},
        {"/id-in/Cdev1", "//sp.example/id-in/Cdev1"},
        {"//sp.example/id-in/Cdev1", "//sp.example/id-in/Cdev1"},
        {"Sdev1", "//sp.example/Sdev1"},
        {"/Sdev1", "//sp.example/Sdev1"},
        {"/mn1", "//sp.example/mn1"},
        {"//other.example/mn1", "//other.example/mn1"},
        {"admin", "//sp.example/id-in/admin"},
    };
    char out[ONEM2M_ABSOLUTE_MAX];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int len = onem2m_absolute(slice_text(rows[i].id), "//sp.example", "/id-in", out, sizeof out);
        CU_ASSERT_EQUAL(len, (int)strlen(rows[i].absolute));
        CU_ASSERT_STRING_EQUAL(out, rows[i].absolute);
    }
    CU_ASSERT_EQUAL(onem2m_absolute(slice_text("/x//y"), "//sp.example", "/id-in", out, sizeof out), SAGATE_EINVAL);
    size_t exact = strlen("//sp.example/id-in/Cdev1");
    CU_ASSERT_EQUAL(onem2m_absolute(slice_text("Cdev1"), "//sp.example", "/id-in", out, exact), SAGATE_ETOOBIG);
    CU_ASSERT_EQUAL(onem2m_absolute(slice_text("Cdev1"), "//sp.example", "/id-in", out, exact + 1), (int)exact);
    CU_ASSERT_EQUAL(onem2m_absolute(slice_text("Cdev1"), "//sp.example", "/id-in", out, 0), SAGATE_ETOOBIG);
}

static void patterns_match(void)
{
    static const struct {
        const char *pattern, *stem;
        bool match;
    } rows[] = {
        {"*", "", true},
        {"*", "Cdev1", true},
        {"C*", "Cdev1", true},
        {"C*", "Sdev1", false},
        {"C*", "C", true},
        {"C123*X", "C123X", true},
        {"C123*X", "C123abX", true},
        {"C123*X", "C123abY", false},
        {"C*a*b", "Cxaab", true},
        {"C*a*b", "Cxaabc", false},
        {"Cdev1", "Cdev1", true},
        {"Cdev1", "Cdev12", false},
        {"Cdev1", "Cdev", false},
        {"**", "Cx", true},
        {"", "", true},
        {"", "C", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        CU_ASSERT_EQUAL(onem2m_stem_match(rows[i].pattern, slice_text(rows[i].stem)), rows[i].match);
}

static void status_codes_map(void)
{
    static const struct {
        int rsc, http;
        unsigned coap; // class * 100 + detail
    } rows[] = {
        {1000, 202, 204}, {1001, 202, 201}, {1002, 202, 204}, {2000, 200, 204}, {2001, 201, 201}, {2002, 200, 202},
        {2004, 200, 204}, {4000, 400, 400}, {4102, 400, 400}, {4110, 400, 400}, {4123, 400, 400}, {6010, 400, 400},
        {6022, 400, 400}, {6023, 400, 400}, {6024, 400, 400}, {4120, 400, 402}, {4122, 400, 402}, {4101, 403, 403},
        {4103, 403, 403}, {4106, 403, 403}, {4107, 403, 403}, {4108, 403, 403}, {4109, 403, 403}, {4111, 403, 403},
        {4112, 403, 403}, {4113, 403, 403}, {4114, 403, 403}, {4115, 403, 403}, {4116, 403, 403}, {4117, 403, 403},
        {4126, 403, 403}, {4127, 403, 403}, {4128, 403, 403}, {5105, 403, 403}, {5203, 403, 403}, {5205, 403, 403},
        {5208, 403, 403}, {5214, 403, 403}, {5215, 403, 403}, {5218, 403, 403}, {5222, 403, 403}, {4004, 404, 404},
        {4118, 404, 404}, {4119, 404, 404}, {4121, 404, 404}, {5103, 404, 404}, {5107, 404, 404}, {6003, 404, 404},
        {6005, 404, 404}, {4005, 405, 405}, {5207, 406, 406}, {4015, 415, 415}, {4104, 409, 400}, {4105, 409, 403},
        {4124, 409, 400}, {5106, 409, 400}, {5219, 409, 400}, {5220, 409, 400}, {6028, 409, 400}, {6029, 409, 400},
        {5000, 500, 500}, {5204, 500, 500}, {5209, 500, 500}, {5210, 500, 500}, {5211, 500, 500}, {5212, 500, 500},
        {5216, 500, 500}, {5217, 500, 500}, {5221, 500, 500}, {6020, 500, 500}, {6021, 500, 500}, {6025, 500, 500},
        {6026, 500, 500}, {4001, 501, 501}, {4125, 501, 501}, {5001, 501, 501}, {5206, 501, 501}, {4008, 504, 504},
        {6030, 504, 504}, {6031, 504, 504},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t code = (uint8_t)((rows[i].coap / 100) << 5 | rows[i].coap % 100);
        CU_ASSERT_EQUAL(onem2m_rsc_http(rows[i].rsc), rows[i].http);
        CU_ASSERT_EQUAL(onem2m_rsc_coap(rows[i].rsc, ONEM2M_NOTIFY), code);
        CU_ASSERT_STRING_NOT_EQUAL(onem2m_rsc_name(rows[i].rsc), "UNKNOWN");
    }
    CU_ASSERT_EQUAL(onem2m_rsc_coap(2000, ONEM2M_RETRIEVE), 0x45);
    CU_ASSERT_EQUAL(onem2m_rsc_http(4999), 400);
    CU_ASSERT_EQUAL(onem2m_rsc_coap(4999, ONEM2M_CREATE), 0x80);
    CU_ASSERT_EQUAL(onem2m_rsc_http(5999), 500);
    CU_ASSERT_EQUAL(onem2m_rsc_coap(5999, ONEM2M_CREATE), 0xa0);
    CU_ASSERT_EQUAL(onem2m_rsc_http(2999), 200);
    CU_ASSERT_EQUAL(onem2m_rsc_http(-1), 500);
    CU_ASSERT_STRING_EQUAL(onem2m_rsc_name(4106), "ORIGINATOR_NOT_AUTHENTICATED");
    CU_ASSERT_STRING_EQUAL(onem2m_rsc_name(4999), "UNKNOWN");
    CU_ASSERT_STRING_EQUAL(onem2m_operation_name(ONEM2M_DELETE), "DELETE");
    CU_ASSERT_STRING_EQUAL(onem2m_operation_name((enum onem2m_operation)9), "UNKNOWN");
}

static void credential_values_are_narrow(void)
{
    CU_ASSERT_TRUE(onem2m_credential_value_ok(slice_text("dev-1_a.b@sp.example")));
    CU_ASSERT_FALSE(onem2m_credential_value_ok(slice_text("")));
    CU_ASSERT_FALSE(onem2m_credential_value_ok(slice_text("dev 1")));
    CU_ASSERT_FALSE(onem2m_credential_value_ok(slice_text("dev\n1")));
    CU_ASSERT_FALSE(onem2m_credential_value_ok(slice_text("dev/1")));
}

static const struct unit_test tests[] = {
    {"identifiers have forms", identifiers_have_forms},
    {"absolute form is canonical", absolute_form_is_canonical},
    {"patterns match", patterns_match},
    {"status codes map", status_codes_map},
    {"credential values are narrow", credential_values_are_narrow},
};

UNIT_MAIN("onem2m", tests)
