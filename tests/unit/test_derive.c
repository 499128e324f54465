// Unit tests of the derived keys: the vectors of TS-0003's formulas, and what no argument may be.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/derive.h"
#include "common/error.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

static uint8_t ke[DERIVE_KEY];

static void is(const uint8_t key[DERIVE_KEY], const char *hex)
{
    char text[2 * DERIVE_KEY + 1];
    for (size_t i = 0; i < DERIVE_KEY; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", key[i]);
    CU_ASSERT_STRING_EQUAL(text, hex);
}

static void vectors(void)
{
    uint8_t key[DERIVE_KEY];
    for (size_t i = 0; i < sizeof ke; i++)
        ke[i] = (uint8_t)i;
    CU_ASSERT_EQUAL(derive_km(ke, slice_text("maf.example.com"), key), SAGATE_OK);
    is(key, "3055bf32dd9c95586aaffa2ae2e165dfeffd0803566e16bdd343171457da8a5e");
    CU_ASSERT_EQUAL(derive_kpsa(ke, slice_text("//sp.example.com/in-cse"), key), SAGATE_OK);
    is(key, "ad2ff76394c8374f7529cfb320ffb554b98e4335531daff9ee4990a031187129");
    CU_ASSERT_EQUAL(derive_usage(ke, 21, slice_text("maf.example.com"), key), SAGATE_OK);
    is(key, "f8610e4d1a428f72308e2941f53a1a0fdc1afa7b1dde3ec59fc52381dcbeb66a");
}

static void arguments(void)
{
    static const char long_name[300] = {[0 ... 298] = 'a'};
    uint8_t key[DERIVE_KEY];
    CU_ASSERT_EQUAL(derive_km(ke, slice_text(""), key), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(derive_kpsa(ke, slice_text(long_name), key), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(derive_usage(ke, 9, slice_text("a"), key), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(derive_usage(ke, 100, slice_text("a"), key), SAGATE_EINVAL);
}

static void exported(void)
{
    uint8_t bytes[DERIVE_EXPORTED];
    uint8_t key[DERIVE_KEY];
    char id[DERIVE_ID_TEXT];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(0xa0 + i);
    derive_split(bytes, id, key);
    CU_ASSERT_STRING_EQUAL(id, "A0A1A2A3A4A5A6A7A8A9AAABACADAEAF");
    CU_ASSERT_EQUAL(memcmp(key, bytes + DERIVE_ID, DERIVE_KEY), 0);
}

static void targets(void)
{
    static const struct {
        const char *target, *fqdn; // NULL: none
    } table[] = {
        {"//sp.example/in-cse", "in-cse.sp.example"},
        {"//sp.example/Sae", "Sae.sp.example"},
        {"//sp.example/in-cse/Cae", "Cae.in-cse.sp.example"},
        {"maf.example", "maf.example"},
        {"//sp.example", NULL},
        {"//sp.example/", NULL},
        {"///in-cse", NULL},
        {"//", NULL},
        {"", NULL},
    };
    char out[64];
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        int len = derive_target_fqdn(slice_text(table[i].target), out, sizeof out);
        if (table[i].fqdn == NULL) {
            CU_ASSERT_EQUAL(len, SAGATE_EINVAL);
            continue;
        }
        CU_ASSERT_EQUAL_FATAL(len, (int)strlen(table[i].fqdn));
        CU_ASSERT_STRING_EQUAL(out, table[i].fqdn);
        CU_ASSERT_EQUAL(derive_target_fqdn(slice_text(table[i].target), out, (size_t)len), SAGATE_ETOOBIG);
    }
}

static const struct unit_test tests[] = {
    {"vectors", vectors},
    {"bad arguments", arguments},
    {"what an exporter gave", exported},
    {"FQDN of a target", targets},
};
UNIT_MAIN("derive", tests)
