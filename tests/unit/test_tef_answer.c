// What TEFs answer: all spellings of names are understood, wrong kinds and lengths are refused, times both ways.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "controlplane/tef/answer.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEX16 "000102030405060708090a0b0c0d0e0f"

static struct tef_key key;
static const char *why;

static int parse(const char *body)
{
    return tef_parse_key(tef_profile_default(TEF_MAF), slice_text(body), &key, &why);
}

static void check_key(const char *body)
{
    CU_ASSERT_EQUAL_FATAL(parse(body), SAGATE_OK);
    CU_ASSERT_EQUAL(key.key_len, 16);
    for (uint8_t i = 0; i < 16; i++)
        CU_ASSERT_EQUAL(key.key[i], i);
    CU_ASSERT_EQUAL(key.expires_at, 1893456000);
    CU_ASSERT_EQUAL(key.suid, 32);
    CU_ASSERT_STRING_EQUAL(key.source_id, "//sp.example/Sae");
    CU_ASSERT_STRING_EQUAL(key.relative_key_id, "0A1B");
    CU_ASSERT_EQUAL(key.target_count, 1);
    CU_ASSERT_STRING_EQUAL(key.targets[0], "//sp.example/in-cse");
    CU_ASSERT_STRING_EQUAL(key.admin_fqdn, "admin.example");
    tef_key_wipe(&key);
    CU_ASSERT_EQUAL(key.key_len, 0);
}

static void spellings(void)
{
    check_key("{\"sec:symmKeyReg\":{\"et\":\"20300101T000000\",\"adminFQDN\":\"admin.example\",\"SUID\":32,"
              "\"targetIDs\":[\"//sp.example/in-cse\"],\"sourceID\":\"//sp.example/Sae\","
              "\"keyValue\":\"AAECAwQFBgcICQoLDA0ODw==\",\"rn\":\"0A1B\",\"other\":{\"x\":[1]}}}");
    check_key("{\"symmKeyReg\":{\"expirationTime\":\"20300101T000000,123\",\"adminFQDN\":\"admin.example\","
              "\"SUID\":32,\"targetIDs\":[\"//sp.example/in-cse\"],\"sourceMAFClientID\":\"//sp.example/Sae\","
              "\"keyValue\":\"" HEX16 "\",\"resourceName\":\"0A1B\"}}");
    check_key("{\"expirationTime\":\"2030-01-01T01:00:00+01:00\",\"adminFQDN\":\"admin.example\",\"SUID\":32,"
              "\"targetIDs\":[\"//sp.example/in-cse\"],\"creator\":\"//sp.example/Sae\","
              "\"keyValue\":\"AAECAwQFBgcICQoLDA0ODw\",\"relativeKeyID\":\"0A1B\",\"rn\":\"another\"}");
}

static void own_names(void)
{
    struct tef_profile profile = *tef_profile_default(TEF_MEF);
    char value[] = "kv", root[] = "x:key";
    profile.key_value = value;
    profile.key_root = root;
    profile.encoding = TEF_ENCODING_HEX;
    const char *body = "{\"x:key\":{\"kv\":\"AAbb\",\"sourceMEFClientID\":\"Sae\"}}";
    CU_ASSERT_EQUAL(tef_parse_key(&profile, slice_text(body), &key, &why), SAGATE_OK);
    CU_ASSERT_EQUAL(key.key_len, 2);
    CU_ASSERT_STRING_EQUAL(key.source_id, "Sae");
    profile.encoding = TEF_ENCODING_BASE64;
    CU_ASSERT_EQUAL(tef_parse_key(&profile, slice_text(body), &key, &why), SAGATE_OK);
    CU_ASSERT_EQUAL(key.key_len, 3);
}

static void wrong_is_refused(void)
{
    static const char *const bodies[] = {
        "",
        "x",
        "[]",
        "{\"sec:symmKeyReg\":[]}",
        "{\"SUID\":32,\"SUID\":32}",
        "{\"keyValue\":\"\"}",
        "{\"keyValue\":1}",
        "{\"keyValue\":null}",
        "{\"keyValue\":\"=\"}",
        "{\"keyValue\":\"AAECA\"}",
        "{\"keyValue\":\"AA=A\"}",
        "{\"keyValue\":\"AB==\"}",
        "{\"keyValue\":\"A-__\"}",
        "{\"keyValue\":\"AA\\u0000A\"}",
        "{\"SUID\":\"32\"}",
        "{\"SUID\":3.0}",
        "{\"SUID\":9}",
        "{\"SUID\":100}",
        "{\"SUID\":-1}",
        "{\"et\":1}",
        "{\"et\":\"tomorrow\"}",
        "{\"et\":\"19690101T000000\"}",
        "{\"targetIDs\":\"//sp/cse\"}",
        "{\"targetIDs\":[1]}",
        "{\"sourceID\":\"\"}",
        "{\"sourceID\":\"a\\r\\nb\"}",
        "{\"sourceID\":{}}",
        "{\"relativeKeyID\":\"../x\"}",
        "{\"rn\":\"..\"}",
        ("{\"targetIDs\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"a\",\"b\",\"c\",\"d\",\"e\",\"f\","
         "\"g\",\"h\"]}"),
        "{} {}"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        int rc = parse(bodies[i]);
        if (rc != SAGATE_EMALFORMED || why[0] == '\0')
            printf("\n%s: %d\n", bodies[i], rc);
        CU_ASSERT_EQUAL(rc, SAGATE_EMALFORMED);
        CU_ASSERT_NOT_EQUAL(why[0], '\0');
    }
}

static void lengths(void)
{
    static char body[TEF_BODY_MAX + 100];
    char digits[2 * TEF_KEY_MAX + 3];
    memset(digits, 'a', sizeof digits);
    digits[2 * TEF_KEY_MAX] = '\0';
    (void)snprintf(body, sizeof body, "{\"keyValue\":\"%s\"}", digits);
    CU_ASSERT_EQUAL(parse(body), SAGATE_OK);
    CU_ASSERT_EQUAL(key.key_len, 64);
    (void)snprintf(body, sizeof body, "{\"keyValue\":\"%saa\"}", digits);
    CU_ASSERT_EQUAL(parse(body), SAGATE_EMALFORMED); // 65 bytes
    CU_ASSERT_EQUAL(key.key[0], 0);
    (void)snprintf(body, sizeof body, "{\"sourceID\":\"%s%s\"}", digits, digits + 1);
    CU_ASSERT_EQUAL(parse(body), SAGATE_OK);
    (void)snprintf(body, sizeof body, "{\"sourceID\":\"%s%s\"}", digits, digits);
    CU_ASSERT_EQUAL(parse(body), SAGATE_EMALFORMED);
    memset(body, ' ', sizeof body);
    memcpy(body, "{}", 2);
    CU_ASSERT_EQUAL(tef_parse_key(tef_profile_default(TEF_MAF), slice_of(body, TEF_BODY_MAX), &key, &why), SAGATE_OK);
    CU_ASSERT_EQUAL(tef_parse_key(tef_profile_default(TEF_MAF), slice_of(body, TEF_BODY_MAX + 1), &key, &why),
                    SAGATE_EMALFORMED);
}

static int credentials(const char *body)
{
    return tef_parse_credentials(tef_profile_default(TEF_MEF), slice_text(body), 1000, &key, &why);
}

static void older_method(void)
{
    CU_ASSERT_EQUAL(credentials("{\"Status\":true,\"Credential\":\"" HEX16 "\",\"EnroleeID\":\"//sp/Sae\","
                                "\"Lifetime\":60}"),
                    SAGATE_OK);
    CU_ASSERT_EQUAL(key.key_len, 16);
    CU_ASSERT_EQUAL(key.expires_at, 1060);
    CU_ASSERT_STRING_EQUAL(key.source_id, "//sp/Sae");
    CU_ASSERT_EQUAL(credentials("{\"Status\":true,\"Lifetime\":\"20300101T000000\"}"), SAGATE_OK);
    CU_ASSERT_EQUAL(key.expires_at, 1893456000);
    CU_ASSERT_EQUAL(credentials("{\"Status\":false,\"ErrorString\":\"x\"}"), SAGATE_ENOTFOUND);
    CU_ASSERT_EQUAL(credentials("{\"Status\":\"true\"}"), SAGATE_EMALFORMED);
    CU_ASSERT_EQUAL(credentials("{}"), SAGATE_EMALFORMED);
    CU_ASSERT_EQUAL(credentials("{\"Status\":true,\"Lifetime\":0}"), SAGATE_EMALFORMED);
    CU_ASSERT_EQUAL(credentials("{\"Status\":true,\"Lifetime\":9223372036854775807}"), SAGATE_EMALFORMED);
}

static int registration_of(const char *body, struct tef_registration *registration)
{
    return tef_parse_registration(tef_profile_default(TEF_MAF), slice_text(body), registration, &why);
}

static void registrations(void)
{
    struct tef_registration registration;
    CU_ASSERT_EQUAL(registration_of("{\"sec:mafClientReg\":{\"ri\":\"reg-1\",\"et\":\"20300101T000000\","
                                    "\"assignedSymmKeyID\":\"k@maf.example\"}}",
                                    &registration),
                    SAGATE_OK);
    CU_ASSERT_STRING_EQUAL(registration.id, "reg-1");
    CU_ASSERT_EQUAL(registration.expires_at, 1893456000);
    CU_ASSERT_STRING_EQUAL(registration.assigned_key_id, "k@maf.example");
    CU_ASSERT_EQUAL(registration_of("{\"resourceID\":\"/maf/reg-1\"}", &registration), SAGATE_OK);
    CU_ASSERT_EQUAL(registration_of("{\"ri\":\"a/../b\"}", &registration), SAGATE_EMALFORMED);
    CU_ASSERT_EQUAL(registration_of("{\"ri\":\"a b\"}", &registration), SAGATE_EMALFORMED);
    CU_ASSERT_EQUAL(registration_of("{\"ri\":\"a?b\"}", &registration), SAGATE_EMALFORMED);
    CU_ASSERT_EQUAL(registration_of("{\"ri\":\"a%2fb\"}", &registration), SAGATE_EMALFORMED);
    CU_ASSERT_STRING_EQUAL(registration.id, "");
}

static void is_text(char *text, const char *expected)
{
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    CU_ASSERT_STRING_EQUAL(text, expected);
    free(text);
}

static void requests(void)
{
    const struct tef_profile *maf = tef_profile_default(TEF_MAF), *mef = tef_profile_default(TEF_MEF);
    static const uint8_t bytes[] = {0, 1, 2, 3};
    is_text(tef_make_registration(maf, TEF_MAF, "admin.example", 1893456000),
            "{\"sec:mafClientReg\":{\"et\":\"20300101T000000\",\"adminFQDN\":\"admin.example\"}}");
    is_text(tef_make_registration(mef, TEF_MEF, "admin.example", 1893456000),
            "{\"sec:mefClientReg\":{\"et\":\"20300101T000000\",\"adminFQDN\":\"admin.example\"}}");
    is_text(tef_make_key(maf, "admin.example", 32, "//sp/cse", 1893456000, slice_of(bytes, sizeof bytes)),
            "{\"sec:symmKeyReg\":{\"et\":\"20300101T000000\",\"adminFQDN\":\"admin.example\",\"SUID\":32,"
            "\"targetIDs\":[\"//sp/cse\"],\"keyValue\":\"AAECAw==\"}}");
    is_text(tef_make_key(maf, "a", 32, NULL, 1893456000, slice_of(NULL, 0)),
            "{\"sec:symmKeyReg\":{\"et\":\"20300101T000000\",\"adminFQDN\":\"a\",\"SUID\":32}}");
    is_text(tef_make_update(maf, "sec:symmKeyReg", 0), "{\"sec:symmKeyReg\":{\"et\":\"19700101T000000\"}}");
}

static void times(void)
{
    static const char *const bad[] = {"",
                                      "2030",
                                      "20300101",
                                      "20300101T00000",
                                      "20300101T0000000",
                                      "20301301T000000",
                                      "20300001T000000",
                                      "20300230T000000",
                                      "20300100T000000",
                                      "20300101T240000",
                                      "20300101T006000",
                                      "20300101T000060",
                                      "20300101T000000,",
                                      "20300101 000000",
                                      "20300101T000000Z",
                                      "2030-01-01T00:00:00",
                                      "2030-01-01T00:00:00+1:00",
                                      "-0300101T000000"};
    int64_t seconds;
    char text[16];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CU_ASSERT_EQUAL(tef_parse_time(slice_text(bad[i]), &seconds), SAGATE_EMALFORMED);
    CU_ASSERT_EQUAL(tef_parse_time(slice_text("20240229T235959,999"), &seconds), SAGATE_OK);
    CU_ASSERT_EQUAL(seconds, 1709251199);
    tef_format_time(seconds, text);
    CU_ASSERT_STRING_EQUAL(text, "20240229T235959");
    CU_ASSERT_EQUAL(tef_parse_time(slice_text("2024-02-29T23:59:59.9-00:01"), &seconds), SAGATE_OK);
    CU_ASSERT_EQUAL(seconds, 1709251259);
    tef_format_time(INT64_MAX, text);
    CU_ASSERT_STRING_EQUAL(text, "99991231T235959");
    tef_format_time(INT64_MIN, text);
    CU_ASSERT_STRING_EQUAL(text, "19700101T000000");
}

static void relative_key_ids(void)
{
    char longest[TEF_ID_MAX + 1];
    memset(longest, 'a', sizeof longest);
    CU_ASSERT_TRUE(tef_relative_key_id_ok(slice_text("aZ0._-")));
    CU_ASSERT_TRUE(tef_relative_key_id_ok(slice_of(longest, TEF_ID_MAX)));
    CU_ASSERT_FALSE(tef_relative_key_id_ok(slice_of(longest, TEF_ID_MAX + 1)));
    static const char *const bad[] = {"", ".", "..", "a/b", "a%2f", "a@b", "a b", "a\n", "\xc3\xa4"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CU_ASSERT_FALSE(tef_relative_key_id_ok(slice_text(bad[i])));
}

static const struct unit_test tests[] = {
    {"all spellings of names", spellings},
    {"names of the profile", own_names},
    {"wrong kinds are refused", wrong_is_refused},
    {"lengths", lengths},
    {"credentials of the older method", older_method},
    {"registrations", registrations},
    {"bodies of requests", requests},
    {"times", times},
    {"relative key IDs", relative_key_ids},
};

UNIT_MAIN("tef_answer", tests)
