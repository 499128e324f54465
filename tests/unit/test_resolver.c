// The resolver: who gets a key, for how long, as whom; and what workers are told when that changes.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "common/secret.h"
#include "controlplane/resolver/resolver.h"
#include "tests/unit/unit.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char folder[64];
static char path[96];
static char problem[256];
static char told[4096];
static struct registrations *store;
static struct resolver *resolver;
static struct credentials *current;

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
    size_t used = strlen(told);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(told + used, sizeof told - used, format, arguments);
    va_end(arguments);
}

static void on_revoked(void *context, const char *identity, const char *credential_id)
{
    (void)context;
    tell("revoked(%s,%s) ", identity, credential_id);
}

static void on_principal(void *context, const struct principal *principal)
{
    (void)context;
    tell("principal(%s:", principal->credential_id);
    for (size_t i = 0; i < principal->ae_count; i++)
        tell(" %s%s%s", principal->aes[i].stem, principal->aes[i].upstream != NULL ? "@" : "",
             principal->aes[i].upstream != NULL ? principal->aes[i].upstream : "");
    tell(") ");
}

static void on_owner(void *context, struct slice stem, struct slice upstream, struct slice credential_id, bool removed)
{
    (void)context;
    tell("%s(%.*s%s%.*s,%.*s) ", removed ? "disown" : "own", (int)stem.len, stem.data, upstream.len > 0 ? "@" : "",
         (int)upstream.len, upstream.len > 0 ? (const char *)upstream.data : "", (int)credential_id.len,
         credential_id.data);
}

static const struct resolver_events events = {NULL, on_revoked, on_principal, on_owner};

static void add(struct credentials *set, const char *identity, uint8_t key_byte, const char *cse_id, const char *ae1,
                const char *ae2, int64_t expires_at)
{
    uint8_t key[16];
    char names[4][128];
    char *aes[] = {names[0], names[1]};
    char why[CREDENTIALS_ERROR_MAX] = "";
    memset(key, key_byte, sizeof key);
    (void)snprintf(names[0], sizeof names[0], "%s", ae1 == NULL ? "" : ae1);
    (void)snprintf(names[1], sizeof names[1], "%s", ae2 == NULL ? "" : ae2);
    (void)snprintf(names[2], sizeof names[2], "%s", identity);
    (void)snprintf(names[3], sizeof names[3], "%s", cse_id == NULL ? "" : cse_id);
    struct credential credential = {.identity = names[2],
                                    .key = key,
                                    .key_len = sizeof key,
                                    .cse_id = cse_id == NULL ? NULL : names[3],
                                    .ae_count = (ae1 != NULL ? 1U : 0U) + (ae2 != NULL ? 1U : 0U),
                                    .aes = aes,
                                    .expires_at = expires_at};
    CU_ASSERT_EQUAL_FATAL(credentials_add(set, &credential, why), SAGATE_OK);
}

static void apply(struct credentials *set)
{
    told[0] = '\0';
    CU_ASSERT_EQUAL_FATAL(resolver_apply(resolver, set, NULL, problem, sizeof problem), SAGATE_OK);
    credentials_free(current);
    current = set;
}

static struct credentials *usual(void)
{
    struct credentials *set = credentials_new(false);
    add(set, "dev@x", 1, NULL, "C*", NULL, 0);
    add(set, "fixed@x", 2, NULL, "Cdev1", NULL, 0);
    add(set, "mn@x", 3, "/mn1", NULL, NULL, 0);
    add(set, "other@x", 4, NULL, "C*", "S*", 1000);
    return set;
}

static void setup(void)
{
    (void)snprintf(folder, sizeof folder, "/tmp/sagate-test-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/registrations.db", folder);
    CU_ASSERT_EQUAL_FATAL(registrations_open(path, &store, problem, sizeof problem), SAGATE_OK);
    resolver = resolver_new(store, &events);
    CU_ASSERT_PTR_NOT_NULL_FATAL(resolver);
    apply(usual());
    told[0] = '\0';
}

static void teardown(void)
{
    resolver_free(resolver);
    registrations_close(store);
    credentials_free(current);
    current = NULL;
    (void)unlink(path);
    (void)rmdir(folder);
}

static int registered_at(const char *upstream, const char *credential_id, const char *aei)
{
    struct registration registration = {slice_text(credential_id), slice_text(upstream), slice_text(aei),
                                        slice_text(""), slice_text("")};
    return resolver_registered(resolver, &registration);
}

static int registered(const char *credential_id, const char *aei)
{
    return registered_at("in", credential_id, aei);
}

static int deleted(const char *upstream, const char *to)
{
    return resolver_deleted(resolver, slice_text(upstream), slice_text(to), slice_text("cse"));
}

static void known_identity_gets_key_and_principal(void)
{
    struct resolver_answer answer;
    uint8_t key[16];
    setup();
    memset(key, 3, sizeof key);
    resolver_resolve(resolver, slice_text("mn@x"), 500, &answer);
    CU_ASSERT_EQUAL_FATAL(answer.result, SAGATE_OK);
    CU_ASSERT_TRUE(slice_equal(answer.key, slice_of(key, sizeof key)));
    CU_ASSERT_EQUAL(answer.cache_seconds, RESOLVER_CACHE_SECONDS);
    CU_ASSERT_STRING_EQUAL(answer.principal->credential_id, "12-mn@x");
    CU_ASSERT_STRING_EQUAL(answer.principal->cse_id, "/mn1");
    CU_ASSERT_EQUAL(answer.principal->framework, FRAMEWORK_PSK);
    teardown();
}

static void unknown_and_expired_look_the_same(void)
{
    struct resolver_answer answer, expired;
    setup();
    resolver_resolve(resolver, slice_text("nobody"), 500, &answer);
    resolver_resolve(resolver, slice_text("other@x"), 1000, &expired);
    CU_ASSERT_EQUAL(answer.result, SAGATE_ENOTFOUND);
    CU_ASSERT_EQUAL(answer.key.len, 0);
    CU_ASSERT_EQUAL(expired.result, answer.result);
    CU_ASSERT_EQUAL(expired.key.len, answer.key.len);
    CU_ASSERT_EQUAL(expired.key.data, answer.key.data);
    CU_ASSERT_EQUAL(expired.cache_seconds, answer.cache_seconds);
    CU_ASSERT_EQUAL(expired.principal, answer.principal);
    // Never a prefix, a longer one, or one with a NUL inside.
    resolver_resolve(resolver, slice_of("dev@x\0", 6), 500, &answer);
    CU_ASSERT_EQUAL(answer.result, SAGATE_ENOTFOUND);
    resolver_resolve(resolver, slice_text("dev@"), 500, &answer);
    CU_ASSERT_EQUAL(answer.result, SAGATE_ENOTFOUND);
    resolver_resolve(resolver, slice_of("", 0), 500, &answer);
    CU_ASSERT_EQUAL(answer.result, SAGATE_ENOTFOUND);
    teardown();
}

static void nothing_is_remembered_beyond_expiry(void)
{
    struct resolver_answer answer;
    setup();
    resolver_resolve(resolver, slice_text("other@x"), 990, &answer);
    CU_ASSERT_EQUAL(answer.result, SAGATE_OK);
    CU_ASSERT_EQUAL(answer.cache_seconds, 10);
    CU_ASSERT_EQUAL(resolver_expire(resolver, 999), 1000);
    CU_ASSERT_STRING_EQUAL(told, "");
    CU_ASSERT_EQUAL(resolver_expire(resolver, 1000), 0);
    CU_ASSERT_STRING_EQUAL(told, "revoked(other@x,12-other@x) ");
    told[0] = '\0';
    CU_ASSERT_EQUAL(resolver_expire(resolver, 1001), 0);
    CU_ASSERT_STRING_EQUAL(told, "");
    teardown();
}

static void assigned_ae_id_belongs_to_the_credential(void)
{
    struct resolver_answer answer;
    setup();
    CU_ASSERT_EQUAL(registered("12-dev@x", "Cae7"), SAGATE_OK);
    CU_ASSERT_STRING_EQUAL(told, "principal(12-dev@x: C* Cae7@in) own(Cae7@in,12-dev@x) ");
    resolver_resolve(resolver, slice_text("dev@x"), 500, &answer);
    CU_ASSERT_EQUAL(answer.principal->ae_count, 2);
    // After a restart it still does.
    resolver_free(resolver);
    resolver = resolver_new(store, &events);
    CU_ASSERT_EQUAL(resolver_apply(resolver, current, NULL, problem, sizeof problem), SAGATE_OK);
    resolver_resolve(resolver, slice_text("dev@x"), 500, &answer);
    CU_ASSERT_EQUAL_FATAL(answer.principal->ae_count, 2);
    CU_ASSERT_STRING_EQUAL(answer.principal->aes[1].stem, "Cae7");
    CU_ASSERT_STRING_EQUAL(answer.principal->aes[1].upstream, "in");
    teardown();
}

static void deleted_ae_is_forgotten_everywhere(void)
{
    setup();
    struct registration registration = {slice_text("12-dev@x"), slice_text("in"), slice_text("Cae7"), slice_text("ri7"),
                                        slice_text("cse/ae7")};
    CU_ASSERT_EQUAL(resolver_registered(resolver, &registration), SAGATE_OK);
    registration.upstream = slice_text("in2");
    CU_ASSERT_EQUAL(resolver_registered(resolver, &registration), SAGATE_OK);
    told[0] = '\0';
    CU_ASSERT_EQUAL(deleted("in", "cse/ae7/cnt"), SAGATE_ENOTFOUND);
    CU_ASSERT_EQUAL(deleted("in", "cse/ae7"), SAGATE_OK);
    // It is still registered at the other CSE.
    CU_ASSERT_STRING_EQUAL(told, "principal(12-dev@x: C* Cae7@in2) disown(Cae7@in,12-dev@x) ");
    told[0] = '\0';
    CU_ASSERT_EQUAL(deleted("in2", "ri7"), SAGATE_OK);
    CU_ASSERT_STRING_EQUAL(told, "principal(12-dev@x: C*) disown(Cae7@in2,12-dev@x) ");
    registration.structured = slice_text("-/ae7");
    CU_ASSERT_EQUAL(resolver_registered(resolver, &registration), SAGATE_OK);
    CU_ASSERT_EQUAL(deleted("in2", "cse/ae7"), SAGATE_OK);
    CU_ASSERT_EQUAL(registrations_count(store), 0);
    teardown();
}

static void another_cse_may_give_the_same_ae_id_to_another(void)
{
    setup();
    CU_ASSERT_EQUAL(registered_at("in", "12-dev@x", "Cae7"), SAGATE_OK);
    told[0] = '\0';
    CU_ASSERT_EQUAL(registered_at("in2", "12-other@x", "Cae7"), SAGATE_OK);
    CU_ASSERT_STRING_EQUAL(told, "principal(12-other@x: C* S* Cae7@in2) own(Cae7@in2,12-other@x) ");
    CU_ASSERT_EQUAL(registered_at("in2", "12-dev@x", "Cae7"), SAGATE_EEXISTS);
    CU_ASSERT_EQUAL(registered_at("in", "12-other@x", "Cae7"), SAGATE_EEXISTS);
    CU_ASSERT_EQUAL(registered_at("in2", "12-dev@x", "Cdev1"), SAGATE_EEXISTS); // configured: at every CSE
    CU_ASSERT_EQUAL(registered_at("", "12-dev@x", "Cae8"), SAGATE_EINVAL);
    // After a restart the same.
    resolver_free(resolver);
    resolver = resolver_new(store, &events);
    CU_ASSERT_EQUAL(resolver_apply(resolver, current, NULL, problem, sizeof problem), SAGATE_OK);
    told[0] = '\0';
    CU_ASSERT_EQUAL(deleted("in", "Cae7"), SAGATE_OK);
    CU_ASSERT_STRING_EQUAL(told, "principal(12-dev@x: C*) disown(Cae7@in,12-dev@x) ");
    CU_ASSERT_EQUAL(registered_at("in", "12-other@x", "Cae7"), SAGATE_OK);
    told[0] = '\0';
    CU_ASSERT_EQUAL(resolver_forget(resolver, slice_text("other@x"), slice_text("Cae7")), SAGATE_OK);
    CU_ASSERT_STRING_EQUAL(told, "principal(12-other@x: C* S* Cae7@in2) disown(Cae7@in,12-other@x) "
                                 "principal(12-other@x: C* S*) disown(Cae7@in2,12-other@x) ");
    CU_ASSERT_EQUAL(registrations_count(store), 0);
    teardown();
}

static void an_owned_ae_id_is_not_given_away(void)
{
    setup();
    CU_ASSERT_EQUAL(registered("12-dev@x", "Cae7"), SAGATE_OK);
    told[0] = '\0';
    CU_ASSERT_EQUAL(registered("12-other@x", "Cae7"), SAGATE_EEXISTS);
    // The worker that had learned it already hears what is true.
    CU_ASSERT_STRING_EQUAL(told, "principal(12-other@x: C* S*) ");
    CU_ASSERT_EQUAL(registered("12-dev@x", "Cdev1"), SAGATE_EEXISTS); // fixed for fixed@x
    CU_ASSERT_EQUAL(registered("12-fixed@x", "Cdev1"), SAGATE_OK);
    CU_ASSERT_EQUAL(registrations_count(store), 1); // what is configured is not learned
    // A credential that is gone blocks nobody.
    struct credentials *set = credentials_new(false);
    add(set, "other@x", 4, NULL, "C*", "S*", 1000);
    apply(set);
    CU_ASSERT_EQUAL(registered("12-other@x", "Cae7"), SAGATE_OK);
    teardown();
}

static void only_what_a_pattern_admits_is_learned(void)
{
    setup();
    CU_ASSERT_EQUAL(registered("12-dev@x", "Sae1"), SAGATE_EDENIED);
    CU_ASSERT_EQUAL(registered("12-fixed@x", "Cother"), SAGATE_EDENIED);
    CU_ASSERT_EQUAL(registered("12-mn@x", "Cother"), SAGATE_EDENIED);
    CU_ASSERT_EQUAL(registered("12-dev@x", "C*"), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(registered("12-dev@x", "Ca*"), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(registered("12-dev@x", ""), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(registered("12-dev@x", "C a"), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(registered("12-nobody", "Ca"), SAGATE_ENOTFOUND);
    CU_ASSERT_EQUAL(registered("dev@x", "Ca"), SAGATE_ENOTFOUND);
    CU_ASSERT_EQUAL(registrations_count(store), 0);
    teardown();
}

static void ae_ids_of_a_credential_are_bounded(void)
{
    char aei[32];
    setup();
    for (int i = 1; i < PRINCIPAL_AES_MAX; i++) {
        (void)snprintf(aei, sizeof aei, "C%d", i);
        CU_ASSERT_EQUAL_FATAL(registered("12-dev@x", aei), SAGATE_OK);
        told[0] = '\0';
    }
    CU_ASSERT_EQUAL(registered("12-dev@x", "Cmore"), SAGATE_ELIMIT);
    CU_ASSERT_EQUAL(registered("12-dev@x", "C1"), SAGATE_OK); // registering again is no growth
    CU_ASSERT_EQUAL(resolver_forget(resolver, slice_text("dev@x"), slice_text("C1")), SAGATE_OK);
    CU_ASSERT_EQUAL(resolver_forget(resolver, slice_text("dev@x"), slice_text("C1")), SAGATE_ENOTFOUND);
    CU_ASSERT_EQUAL(registered("12-dev@x", "Cmore"), SAGATE_OK);
    teardown();
}

static void reload_tells_what_changed_and_no_more(void)
{
    setup();
    CU_ASSERT_EQUAL(registered("12-dev@x", "Cae7"), SAGATE_OK);
    apply(usual());
    CU_ASSERT_STRING_EQUAL(told, "");
    struct credentials *set = credentials_new(false);
    add(set, "dev@x", 9, NULL, "C*", NULL, 0);         // another key
    add(set, "fixed@x", 2, NULL, "Cdev1", "Cdev2", 0); // another AE-ID
    add(set, "mn@x", 3, "/mn2", NULL, NULL, 0);        // another CSE-ID
    add(set, "new@x", 5, NULL, "Cnew", NULL, 0);       // other@x is gone
    apply(set);
    CU_ASSERT_STRING_EQUAL(told, "revoked(dev@x,12-dev@x) revoked(fixed@x,) principal(12-fixed@x: Cdev1 Cdev2) "
                                 "revoked(mn@x,12-mn@x) revoked(new@x,) revoked(other@x,12-other@x) ");
    teardown();
}

static void what_a_narrower_pattern_excludes_is_not_used(void)
{
    struct resolver_answer answer;
    setup();
    CU_ASSERT_EQUAL(registered("12-dev@x", "Cae7"), SAGATE_OK);
    struct credentials *set = credentials_new(false);
    add(set, "dev@x", 1, NULL, "Cb*", NULL, 0);
    apply(set);
    resolver_resolve(resolver, slice_text("dev@x"), 500, &answer);
    CU_ASSERT_EQUAL(answer.principal->ae_count, 1);
    // Nor what the operator has given to another by name.
    set = credentials_new(false);
    add(set, "dev@x", 1, NULL, "C*", NULL, 0);
    add(set, "fixed@x", 2, NULL, "Cae7", NULL, 0);
    apply(set);
    resolver_resolve(resolver, slice_text("dev@x"), 500, &answer);
    CU_ASSERT_EQUAL(answer.principal->ae_count, 1);
    apply(usual());
    resolver_resolve(resolver, slice_text("dev@x"), 500, &answer);
    CU_ASSERT_EQUAL(answer.principal->ae_count, 2);
    teardown();
}

static void the_file_wins_over_run_time(void)
{
    struct resolver_identity identity;
    setup();
    struct credentials *run_time = credentials_new(false);
    add(run_time, "dev@x", 7, NULL, "Cx", NULL, 0);
    add(run_time, "added@x", 7, NULL, "Cy", NULL, 0);
    CU_ASSERT_EQUAL(resolver_apply(resolver, current, run_time, problem, sizeof problem), SAGATE_OK);
    CU_ASSERT_EQUAL(resolver_find(resolver, slice_text("dev@x"), &identity), SAGATE_OK);
    CU_ASSERT_EQUAL(identity.source, RESOLVER_FILE);
    CU_ASSERT_EQUAL(identity.credential->key[0], 1);
    CU_ASSERT_EQUAL(resolver_find(resolver, slice_text("added@x"), &identity), SAGATE_OK);
    CU_ASSERT_EQUAL(identity.source, RESOLVER_RUN_TIME);
    CU_ASSERT_EQUAL(resolver_count(resolver, RESOLVER_FILE), 4);
    CU_ASSERT_EQUAL(resolver_count(resolver, RESOLVER_RUN_TIME), 1);
    resolver_free(resolver);
    resolver = NULL;
    credentials_free(run_time);
    teardown();
}

static bool note_identity(void *context, const struct resolver_identity *identity)
{
    size_t *left = context;
    tell("%s ", identity->credential->identity);
    return --*left > 0;
}

static void note_owner(void *context, struct slice stem, struct slice upstream, struct slice credential_id)
{
    (void)context;
    on_owner(NULL, stem, upstream, credential_id, false);
}

static void note_registree(void *context, struct slice cse_id)
{
    (void)context;
    tell("%.*s ", (int)cse_id.len, cse_id.data);
}

static void walks(void)
{
    size_t two = 2;
    size_t many = 100;
    setup();
    resolver_each(resolver, (struct slice){0}, note_identity, &two);
    tell("| ");
    resolver_each(resolver, slice_text("fixed@x"), note_identity, &many);
    tell("| ");
    resolver_each(resolver, slice_text("g"), note_identity, &many);
    CU_ASSERT_STRING_EQUAL(told, "dev@x fixed@x | mn@x other@x | mn@x other@x ");
    told[0] = '\0';
    CU_ASSERT_EQUAL(registered("12-other@x", "Sae"), SAGATE_OK);
    told[0] = '\0';
    resolver_owners(resolver, note_owner, NULL);
    resolver_registrees(resolver, note_registree, NULL);
    CU_ASSERT_STRING_EQUAL(told, "own(Cdev1,12-fixed@x) own(Sae@in,12-other@x) /mn1 ");
    teardown();
}

static void a_check_changes_nothing(void)
{
    setup();
    struct credentials *set = credentials_new(false);
    add(set, "new@x", 1, NULL, "Cnew", NULL, 0);
    CU_ASSERT_EQUAL(resolver_check(resolver, set, NULL, problem, sizeof problem), SAGATE_OK);
    CU_ASSERT_STRING_EQUAL(told, "");
    CU_ASSERT_EQUAL(resolver_count(resolver, RESOLVER_FILE), 4);
    credentials_free(set);
    teardown();
}

static void a_set_that_does_not_fit_changes_nothing(void)
{
    char identity[64], cse_id[128];
    setup();
    struct credentials *set = credentials_new(false);
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(identity, sizeof identity, "mn%d@x", i);
        (void)snprintf(cse_id, sizeof cse_id, "/%0100d", i);
        add(set, identity, 1, cse_id, NULL, NULL, 0);
    }
    CU_ASSERT_EQUAL(resolver_check(resolver, set, NULL, problem, sizeof problem), SAGATE_ELIMIT);
    CU_ASSERT_PTR_NOT_NULL(strstr(problem, "too many credentials of CSEs"));
    CU_ASSERT_EQUAL(resolver_apply(resolver, set, NULL, problem, sizeof problem), SAGATE_ELIMIT);
    CU_ASSERT_PTR_NOT_NULL(strstr(problem, "too many credentials of CSEs"));
    CU_ASSERT_STRING_EQUAL(told, "");
    CU_ASSERT_EQUAL(resolver_count(resolver, RESOLVER_FILE), 4);
    credentials_free(set);
    teardown();
}

static const struct unit_test tests[] = {
    {"known identity gets key and principal", known_identity_gets_key_and_principal},
    {"unknown and expired look the same", unknown_and_expired_look_the_same},
    {"nothing is remembered beyond expiry", nothing_is_remembered_beyond_expiry},
    {"assigned AE-ID belongs to the credential", assigned_ae_id_belongs_to_the_credential},
    {"deleted AE is forgotten everywhere", deleted_ae_is_forgotten_everywhere},
    {"another CSE may give the same AE-ID to another", another_cse_may_give_the_same_ae_id_to_another},
    {"an owned AE-ID is not given away", an_owned_ae_id_is_not_given_away},
    {"only what a pattern admits is learned", only_what_a_pattern_admits_is_learned},
    {"AE-IDs of a credential are bounded", ae_ids_of_a_credential_are_bounded},
    {"reload tells what changed and no more", reload_tells_what_changed_and_no_more},
    {"what a narrower pattern excludes is not used", what_a_narrower_pattern_excludes_is_not_used},
    {"the file wins over run time", the_file_wins_over_run_time},
    {"walks", walks},
    {"a check changes nothing", a_check_changes_nothing},
    {"a set that does not fit changes nothing", a_set_that_does_not_fit_changes_nothing},
};

UNIT_MAIN("resolver", tests)
