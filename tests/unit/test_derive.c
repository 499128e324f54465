// Derived keys: the vectors for Km, Kpsa and usage-constrained keys, the split of what an exporter gave, bad arguments.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/derive.h"
#include "common/error.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

static uint8_t ke[DERIVE_KEY];

static void is_key(const uint8_t key[DERIVE_KEY], const char *expected)
{
    char text[2 * DERIVE_KEY + 1];
    for (size_t i = 0; i < DERIVE_KEY; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", key[i]);
    CU_ASSERT_STRING_EQUAL(text, expected);
}

static void vectors(void)
{
    uint8_t key[DERIVE_KEY];
    for (size_t i = 0; i < sizeof ke; i++)
        ke[i] = (uint8_t)i;
    CU_ASSERT_EQUAL(derive_km(ke, slice_text("maf.example.com"), key), SAGATE_OK);
    is_key(key, "3055bf32dd9c95586aaffa2ae2e165dfeffd0803566e16bdd343171457da8a5e");
    CU_ASSERT_EQUAL(derive_kpsa(ke, slice_text("//sp.example.com/in-cse"), key), SAGATE_OK);
    is_key(key, "ad2ff76394c8374f7529cfb320ffb554b98e4335531daff9ee4990a031187129");
    CU_ASSERT_EQUAL(derive_usage(ke, 21, slice_text("maf.example.com"), key), SAGATE_OK);
    is_key(key, "f8610e4d1a428f72308e2941f53a1a0fdc1afa7b1dde3ec59fc52381dcbeb66a");
}

static void split(void)
{
    uint8_t exported[DERIVE_EXPORTED], key[DERIVE_KEY];
    char id[DERIVE_ID_TEXT];
    for (size_t i = 0; i < sizeof exported; i++)
        exported[i] = (uint8_t)(0xf0 + i);
    derive_split(exported, id, key);
    CU_ASSERT_STRING_EQUAL(id, "F0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF");
    CU_ASSERT_EQUAL(memcmp(key, exported + 16, sizeof key), 0);
}

static void bad_arguments(void)
{
    static const uint8_t name[256] = {'a'};
    uint8_t key[DERIVE_KEY];
    CU_ASSERT_EQUAL(derive_km(ke, slice_of(name, 0), key), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(derive_kpsa(ke, slice_of(name, 256), key), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(derive_kpsa(ke, slice_of(name, 255), key), SAGATE_OK);
    CU_ASSERT_EQUAL(derive_usage(ke, 9, slice_text("a"), key), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(derive_usage(ke, 100, slice_text("a"), key), SAGATE_EINVAL);
}

static void targets(void)
{
    char out[32];
    CU_ASSERT_EQUAL(derive_target_fqdn(slice_text("//sp.example/in-cse"), out, sizeof out), 17);
    CU_ASSERT_STRING_EQUAL(out, "in-cse.sp.example");
    CU_ASSERT_EQUAL(derive_target_fqdn(slice_text("//sp.example/in-cse"), out, 18), 17);
    CU_ASSERT_EQUAL(derive_target_fqdn(slice_text("//sp.example/in-cse"), out, 17), SAGATE_ETOOBIG);
    CU_ASSERT_EQUAL(derive_target_fqdn(slice_text("maf.example"), out, 12), 11);
    CU_ASSERT_STRING_EQUAL(out, "maf.example");
    CU_ASSERT_EQUAL(derive_target_fqdn(slice_text("maf.example"), out, 11), SAGATE_ETOOBIG);
    static const char *const wrong[] = {"", "//", "//sp", "///a", "//sp/", "//sp/a/b"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CU_ASSERT_EQUAL(derive_target_fqdn(slice_text(wrong[i]), out, sizeof out), SAGATE_EINVAL);
}

static const struct unit_test tests[] = {
    {"vectors", vectors},
    {"split", split},
    {"bad arguments", bad_arguments},
    {"targets", targets},
};

UNIT_MAIN("derive", tests)
