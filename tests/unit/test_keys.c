// What a worker knows of identities: states, times, bounds, and the one principal of a credential.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "common/plane.h"
#include "dataplane/worker/keys.h"
#include "tests/unit/unit.h"

#include <stdio.h>

static struct slice packed(const char *credential_id, const char *ae)
{
    static uint8_t bytes[1024];
    struct principal *principal = principal_new(FRAMEWORK_PSK, slice_text(credential_id), slice_of(NULL, 0));
    if (ae != NULL)
        (void)principal_add_ae(principal, slice_text(ae), slice_text(""));
    int len = plane_pack_principal(principal, bytes, sizeof bytes);
    principal_release(principal);
    CU_ASSERT_TRUE_FATAL(len > 0);
    return slice_of(bytes, (size_t)len);
}

static int answer(struct keys *keys, const char *identity, const char *credential_id, uint64_t now_ms)
{
    return keys_answered(keys, slice_text(identity), slice_text("key"), packed(credential_id, "C1"), 10, now_ms);
}

static enum key_state state(struct keys *keys, const char *identity, uint64_t now_ms)
{
    return keys_find(keys, slice_text(identity), now_ms)->state;
}

static void states(void)
{
    struct keys *keys = keys_new(8);
    CU_ASSERT_PTR_NOT_NULL_FATAL(keys);
    CU_ASSERT_EQUAL(state(keys, "a", 0), KEY_NONE);
    CU_ASSERT_EQUAL(keys_asked(keys, slice_text("a"), 0), SAGATE_OK);
    CU_ASSERT_EQUAL(state(keys, "a", 0), KEY_ASKED);
    CU_ASSERT_EQUAL(answer(keys, "a", "12-a", 0), SAGATE_OK);
    const struct key *key = keys_find(keys, slice_text("a"), 1);
    CU_ASSERT_EQUAL(key->state, KEY_KNOWN);
    CU_ASSERT_TRUE(slice_is(slice_of(key->bytes, key->len), "key"));
    CU_ASSERT_STRING_EQUAL(key->principal->credential_id, "12-a");
    CU_ASSERT_EQUAL(state(keys, "b", 1), KEY_NONE);
    CU_ASSERT_EQUAL(state(keys, "", 1), KEY_NONE);
    CU_ASSERT_EQUAL(keys_answered(keys, slice_text("b"), slice_of(NULL, 0), slice_of(NULL, 0), 10, 0), SAGATE_OK);
    CU_ASSERT_EQUAL(state(keys, "b", 1), KEY_REFUSED);
    // From known to refused, and back to nothing.
    CU_ASSERT_EQUAL(keys_answered(keys, slice_text("a"), slice_of(NULL, 0), slice_of(NULL, 0), 10, 0), SAGATE_OK);
    CU_ASSERT_EQUAL(state(keys, "a", 1), KEY_REFUSED);
    keys_forget(keys, slice_text("a"));
    keys_forget(keys, slice_text("never"));
    CU_ASSERT_EQUAL(state(keys, "a", 1), KEY_NONE);
    keys_free(keys);
    keys_free(NULL);
}

static void times(void)
{
    struct keys *keys = keys_new(8);
    (void)answer(keys, "a", "12-a", 1000);
    CU_ASSERT_EQUAL(state(keys, "a", 10999), KEY_KNOWN);
    CU_ASSERT_EQUAL(state(keys, "a", 11000), KEY_NONE);
    (void)keys_answered(keys, slice_text("b"), slice_of(NULL, 0), slice_of(NULL, 0), 2, 1000);
    CU_ASSERT_EQUAL(state(keys, "b", 2999), KEY_REFUSED);
    CU_ASSERT_EQUAL(state(keys, "b", 3000), KEY_NONE);
    // A question that nobody answers may be asked again one day.
    (void)keys_asked(keys, slice_text("c"), 1000);
    CU_ASSERT_EQUAL(state(keys, "c", 30000), KEY_ASKED);
    CU_ASSERT_EQUAL(state(keys, "c", 1000 + 3600000), KEY_NONE);
    keys_free(keys);
}

static void malformed(void)
{
    struct keys *keys = keys_new(8);
    (void)keys_asked(keys, slice_text("a"), 0);
    struct slice whole = packed("12-a", NULL);
    for (size_t len = 0; len < whole.len; len++)
        CU_ASSERT_EQUAL(keys_answered(keys, slice_text("a"), slice_text("key"), slice_of(whole.data, len), 10, 0),
                        SAGATE_EMALFORMED);
    CU_ASSERT_EQUAL(state(keys, "a", 1), KEY_ASKED);
    CU_ASSERT_EQUAL(keys_update_principal(keys, slice_of(whole.data, 3)), SAGATE_EMALFORMED);
    keys_free(keys);
}

static void bounds(void)
{
    struct keys *keys = keys_new(100);
    char name[16];
    char credential_id[32];
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof name, "id%d", i);
        (void)snprintf(credential_id, sizeof credential_id, "12-id%d", i);
        CU_ASSERT_EQUAL(answer(keys, name, credential_id, 0), SAGATE_OK);
        CU_ASSERT_EQUAL(state(keys, "id0", 0), KEY_KNOWN); // used all the time, so it stays
    }
    CU_ASSERT_EQUAL(state(keys, "id999", 0), KEY_KNOWN);
    CU_ASSERT_EQUAL(state(keys, "id910", 0), KEY_KNOWN);
    CU_ASSERT_EQUAL(state(keys, "id900", 0), KEY_NONE);
    CU_ASSERT_EQUAL(state(keys, "id1", 0), KEY_NONE);
    keys_free(keys);
}

static void one_principal(void)
{
    struct keys *keys = keys_new(8);
    (void)answer(keys, "a", "12-a", 0);
    struct principal *held = principal_reference(keys_find(keys, slice_text("a"), 0)->principal);
    CU_ASSERT_STRING_EQUAL(held->aes[0].stem, "C1");
    // Who holds it sees what changes, whoever brings it.
    CU_ASSERT_EQUAL(keys_update_principal(keys, packed("12-a", "C2")), SAGATE_OK);
    CU_ASSERT_STRING_EQUAL(held->aes[0].stem, "C2");
    CU_ASSERT_EQUAL(keys_update_principal(keys, packed("12-b", "C9")), SAGATE_ENOTFOUND);
    (void)keys_answered(keys, slice_text("a"), slice_text("key"), packed("12-a", "C3"), 10, 0);
    CU_ASSERT_PTR_EQUAL(keys_find(keys, slice_text("a"), 0)->principal, held);
    CU_ASSERT_STRING_EQUAL(held->aes[0].stem, "C3");
    // Even when the identity was forgotten meanwhile, an association goes on with the one object.
    keys_forget(keys, slice_text("a"));
    for (int i = 0; i < 100; i++)
        (void)keys_answered(keys, slice_text("x"), slice_of(NULL, 0), slice_of(NULL, 0), 10, 0);
    CU_ASSERT_EQUAL(keys_update_principal(keys, packed("12-a", "C4")), SAGATE_OK);
    CU_ASSERT_STRING_EQUAL(held->aes[0].stem, "C4");
    // Without anybody it goes in time.
    principal_release(held);
    for (int i = 0; i < 100; i++)
        (void)keys_answered(keys, slice_text("x"), slice_of(NULL, 0), slice_of(NULL, 0), 10, 0);
    CU_ASSERT_EQUAL(keys_update_principal(keys, packed("12-a", "C5")), SAGATE_ENOTFOUND);
    keys_free(keys);
}

static void proven_principals(void)
{
    struct keys *keys = keys_new(8);
    struct principal *first = principal_new(FRAMEWORK_CERTIFICATE, slice_text("33-a"), slice_of(NULL, 0));
    (void)principal_add_ae(first, slice_text("C1"), slice_text(""));
    first->expires_at = 1000;
    struct principal *held = keys_intern_proven(keys, first);
    CU_ASSERT_PTR_NOT_NULL_FATAL(held);
    CU_ASSERT_STRING_EQUAL(held->aes[0].stem, "C1");
    // What is proven later holds for all.
    struct principal *again = principal_new(FRAMEWORK_CERTIFICATE, slice_text("33-a"), slice_of(NULL, 0));
    (void)principal_add_ae(again, slice_text("C2"), slice_text(""));
    again->expires_at = 2000;
    struct principal *other = keys_intern_proven(keys, again);
    CU_ASSERT_PTR_EQUAL(other, held);
    CU_ASSERT_STRING_EQUAL(held->aes[0].stem, "C2");
    CU_ASSERT_EQUAL(held->expires_at, 2000);
    principal_release(other);
    principal_release(held);
    CU_ASSERT_PTR_NULL(keys_intern_proven(keys, NULL));
    keys_free(keys);
}

static char asked[64];
static void note(void *context, struct slice identity)
{
    CU_ASSERT_PTR_EQUAL(context, asked);
    (void)strncat(asked, (const char *)identity.data, identity.len);
}

static void each_asked(void)
{
    struct keys *keys = keys_new(8);
    (void)keys_asked(keys, slice_text("a"), 0);
    (void)answer(keys, "b", "12-b", 0);
    (void)keys_asked(keys, slice_text("c"), 0);
    (void)keys_answered(keys, slice_text("d"), slice_of(NULL, 0), slice_of(NULL, 0), 10, 0);
    (void)keys_asked(keys, slice_text("e"), 0);
    (void)answer(keys, "e", "12-e", 0);
    asked[0] = '\0';
    keys_each_asked(keys, note, asked);
    CU_ASSERT_STRING_EQUAL(asked, "ac");
    keys_free(keys);
}

static const struct unit_test tests[] = {
    {"states", states},
    {"times", times},
    {"malformed principals", malformed},
    {"the least recently used goes first", bounds},
    {"one principal for each credential", one_principal},
    {"principals that were proven", proven_principals},
    {"unanswered questions", each_asked},
};
UNIT_MAIN("keys", tests)
