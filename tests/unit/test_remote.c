// Identities of MAFs and MEFs: who is asked, what is remembered, and which answers are taken.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/resolver/remote.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "controlplane/resolver/resolver.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

enum { ASKED_MAX = 64, DEADLINE_MS = 20 };

static struct event_base *base;
static struct remote *remote;
static struct remote_tef tefs[2];
static struct remote_limits limits;

static struct {
    struct {
        char id[256];
        tef_done *done;
        void *context;
    } asked[ASKED_MAX];
    size_t count;
    int refuse_with;
} fetcher;

static struct {
    size_t resolved, revoked;
    int result;
    char identity[600], credential_id[600], source[600]; // source: the AE-ID or CSE-ID of the last principal
    char upstream[64];                                   // that its AE-ID holds for
    uint8_t key[64];
    size_t key_len;
    uint32_t cache_seconds;
    enum framework framework;
    int64_t expires_at;
} told;

static char mapped[64]; // the Credential-ID that is provisioned

static int fetch(void *context, struct slice id, tef_done *done, void *done_context)
{
    (void)context;
    if (fetcher.refuse_with != SAGATE_OK)
        return fetcher.refuse_with;
    (void)snprintf(fetcher.asked[fetcher.count].id, sizeof fetcher.asked[0].id, "%.*s", (int)id.len,
                   (const char *)id.data);
    fetcher.asked[fetcher.count].done = done;
    fetcher.asked[fetcher.count++].context = done_context;
    return SAGATE_OK;
}

static void note(const struct remote_answer *answer)
{
    told.result = answer->result;
    told.cache_seconds = answer->cache_seconds;
    told.key_len = answer->key.len;
    told.source[0] = told.credential_id[0] = told.upstream[0] = '\0';
    if (answer->result != SAGATE_OK)
        return;
    memcpy(told.key, answer->key.data, answer->key.len);
    const struct principal *principal = answer->principal;
    (void)snprintf(told.source, sizeof told.source, "%s",
                   principal->cse_id != NULL ? principal->cse_id : principal->aes[0].stem);
    if (principal->ae_count > 0 && principal->aes[0].upstream != NULL)
        (void)snprintf(told.upstream, sizeof told.upstream, "%s", principal->aes[0].upstream);
    (void)snprintf(told.credential_id, sizeof told.credential_id, "%s", principal->credential_id);
    told.framework = principal->framework;
    told.expires_at = principal->expires_at;
}

static void on_resolved(void *context, struct slice identity, const struct remote_answer *answer)
{
    (void)context;
    told.resolved++;
    (void)snprintf(told.identity, sizeof told.identity, "%.*s", (int)identity.len, (const char *)identity.data);
    note(answer);
    (void)event_base_loopbreak(base);
}

static void on_revoked(void *context, const char *identity, const char *credential_id)
{
    (void)context;
    told.revoked++;
    (void)snprintf(told.identity, sizeof told.identity, "%s", identity);
    (void)snprintf(told.credential_id, sizeof told.credential_id, "%s", credential_id);
}

static int map(void *context, struct slice credential_id, struct principal *principal)
{
    (void)context;
    if (!slice_is(credential_id, mapped))
        return SAGATE_ENOTFOUND;
    return principal_add_ae(principal, slice_text("Cmapped"), slice_text(""));
}

static void setup(void)
{
    static const struct remote_events events = {.resolved = on_resolved, .revoked = on_revoked};
    memset(&fetcher, 0, sizeof fetcher);
    memset(&told, 0, sizeof told);
    mapped[0] = '\0';
    log_set_level(LOG_LEVEL_ERROR);
    tefs[0] = (struct remote_tef){.name = "maf",
                                  .fqdn = "maf.example",
                                  .kind = TEF_MAF,
                                  .fetcher = {.fetch = fetch},
                                  .admin_fqdn = "admin.example",
                                  .target = "//sp.example/id-in",
                                  .sp_id = "//sp.example",
                                  .upstream = "in"};
    tefs[1] = tefs[0];
    tefs[1].name = "mef";
    tefs[1].fqdn = "mef.example";
    tefs[1].kind = TEF_MEF;
    tefs[1].admin_fqdn = "";
    limits = (struct remote_limits){
        .waiting = 3, .cached = 4, .deadline_ms = DEADLINE_MS, .negative_seconds = 60, .cache_seconds = 3600};
    base = event_base_new();
    remote = remote_new(base, &events, map, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(remote);
    CU_ASSERT_EQUAL_FATAL(remote_apply(remote, tefs, 2, &limits), SAGATE_OK);
}

static void teardown(void)
{
    remote_free(remote);
    event_base_free(base);
}

static struct tef_key good_key(void)
{
    struct tef_key key = {.key_len = 32, .expires_at = clock_wall() + 1000, .suid = 32, .target_count = 1};
    memset(key.key, 0x5a, 32);
    (void)snprintf(key.source_id, sizeof key.source_id, "//sp.example/id-in/Cdev1");
    (void)snprintf(key.admin_fqdn, sizeof key.admin_fqdn, "Admin.Example");
    (void)snprintf(key.targets[0], sizeof key.targets[0], "//sp.example/id-in");
    return key;
}

static int resolve_at(const char *identity, int64_t now)
{
    struct remote_answer answer;
    int result = remote_resolve(remote, slice_text(identity), now, &answer);
    if (result == SAGATE_OK)
        note(&answer);
    return result;
}

static int resolve(const char *identity)
{
    return resolve_at(identity, clock_wall());
}

static void answer(size_t which, int result, const struct tef_key *key)
{
    CU_ASSERT_FATAL(which < fetcher.count);
    fetcher.asked[which].done(fetcher.asked[which].context, result, key);
}

// Asks for a new identity and has it answered.
static void fetched(const char *identity, const struct tef_key *key)
{
    CU_ASSERT_EQUAL_FATAL(resolve(identity), SAGATE_PARKED);
    answer(fetcher.count - 1, SAGATE_OK, key);
}

static struct remote_counters counters(void)
{
    struct remote_counters now;
    remote_counters(remote, &now);
    return now;
}

static void only_well_formed_identities_of_known_tefs_are_asked_for(void)
{
    static const char *const bad[] = {"",
                                      "@maf.example",
                                      "a",
                                      "a@",
                                      "a@@maf.example",
                                      "a@b@maf.example",
                                      "a/b@maf.example",
                                      "..@maf.example",
                                      "a b@maf.example",
                                      "a*@maf.example"};
    char longest[600];
    setup();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CU_ASSERT_EQUAL(resolve(bad[i]), SAGATE_ENOTFOUND);
    memset(longest, 'a', 501);
    (void)snprintf(longest + 501, sizeof longest - 501, "@maf.example");
    CU_ASSERT_EQUAL(resolve(longest), SAGATE_ENOTFOUND);
    CU_ASSERT_EQUAL(counters().malformed_identity, sizeof bad / sizeof *bad + 1);
    CU_ASSERT_EQUAL(resolve("a@maf.example.org"), SAGATE_ENOTFOUND);
    CU_ASSERT_EQUAL(resolve("a@af.example"), SAGATE_ENOTFOUND);
    CU_ASSERT_EQUAL(counters().unknown_fqdn, 2);
    CU_ASSERT_EQUAL(fetcher.count, 0);
    CU_ASSERT_EQUAL(resolve("Key-1@MAF.Example"), SAGATE_PARKED);
    CU_ASSERT_STRING_EQUAL(fetcher.asked[0].id, "Key-1");
    answer(0, SAGATE_ENOTFOUND, NULL);
    CU_ASSERT_STRING_EQUAL(told.identity, "Key-1@MAF.Example");
    teardown();
}

static void a_key_is_fetched_once_and_held(void)
{
    struct tef_key key = good_key();
    setup();
    CU_ASSERT_EQUAL(resolve("k1@Maf.Example"), SAGATE_PARKED);
    CU_ASSERT_EQUAL(resolve("k1@Maf.Example"), SAGATE_PARKED);
    CU_ASSERT_EQUAL(fetcher.count, 1);
    CU_ASSERT_EQUAL(resolve("K1@Maf.Example"), SAGATE_PARKED); // another identity: the local part is opaque
    CU_ASSERT_EQUAL(fetcher.count, 2);
    answer(0, SAGATE_OK, &key);
    CU_ASSERT_EQUAL(told.resolved, 1);
    CU_ASSERT_EQUAL(told.result, SAGATE_OK);
    CU_ASSERT_EQUAL(told.key_len, 32);
    CU_ASSERT_EQUAL(memcmp(told.key, key.key, 32), 0);
    CU_ASSERT_EQUAL(told.cache_seconds, RESOLVER_CACHE_SECONDS);
    CU_ASSERT_EQUAL(told.framework, FRAMEWORK_MAF);
    CU_ASSERT_EQUAL(told.expires_at, key.expires_at);
    CU_ASSERT_STRING_EQUAL(told.credential_id, "12-k1@maf.example");
    CU_ASSERT_STRING_EQUAL(told.source, "Cdev1");
    CU_ASSERT_STRING_EQUAL(told.upstream, "in");
    CU_ASSERT_EQUAL(resolve("k1@Maf.Example"), SAGATE_OK);
    CU_ASSERT_EQUAL(told.result, SAGATE_OK);
    CU_ASSERT_EQUAL(fetcher.count, 2);
    struct remote_counters now = counters();
    CU_ASSERT_EQUAL(now.joined, 1);
    CU_ASSERT_EQUAL(now.asked, 2);
    CU_ASSERT_EQUAL(now.cache_hits, 1);
    CU_ASSERT_EQUAL(now.waiting, 1);
    CU_ASSERT_EQUAL(now.cached, 1);
    answer(1, SAGATE_EUNAVAILABLE, NULL);
    CU_ASSERT_EQUAL(counters().waiting, 0);
    teardown();
}

static void unknown_is_remembered_and_failure_is_not(void)
{
    setup();
    CU_ASSERT_EQUAL(resolve("k1@maf.example"), SAGATE_PARKED);
    answer(0, SAGATE_ENOTFOUND, NULL);
    CU_ASSERT_EQUAL(told.result, SAGATE_ENOTFOUND);
    CU_ASSERT_EQUAL(told.cache_seconds, RESOLVER_NEGATIVE_CACHE_SECONDS);
    CU_ASSERT_EQUAL(resolve("k1@maf.example"), SAGATE_OK);
    CU_ASSERT_EQUAL(told.result, SAGATE_ENOTFOUND);
    CU_ASSERT_EQUAL(counters().negative_hits, 1);
    CU_ASSERT_EQUAL(resolve_at("k1@maf.example", clock_wall() + 61), SAGATE_PARKED);
    answer(1, SAGATE_EUNAVAILABLE, NULL);
    CU_ASSERT_EQUAL(told.result, SAGATE_EUNAVAILABLE);
    CU_ASSERT_EQUAL(told.cache_seconds, 1);
    CU_ASSERT_EQUAL(resolve("k1@maf.example"), SAGATE_PARKED);
    answer(2, SAGATE_ETIMEOUT, NULL);
    CU_ASSERT_EQUAL(counters().failed, 2);
    teardown();
}

static void a_deadline_answers_and_a_late_key_is_kept(void)
{
    struct tef_key key = good_key();
    setup();
    CU_ASSERT_EQUAL(resolve("k1@maf.example"), SAGATE_PARKED);
    (void)event_base_dispatch(base);
    CU_ASSERT_EQUAL(told.resolved, 1);
    CU_ASSERT_EQUAL(told.result, SAGATE_EUNAVAILABLE);
    CU_ASSERT_EQUAL(counters().deadline, 1);
    CU_ASSERT_EQUAL(resolve("k1@maf.example"), SAGATE_PARKED); // waits for the same answer
    CU_ASSERT_EQUAL(fetcher.count, 1);
    (void)event_base_dispatch(base);
    CU_ASSERT_EQUAL(told.resolved, 2);
    answer(0, SAGATE_OK, &key);
    CU_ASSERT_EQUAL(told.resolved, 2);
    CU_ASSERT_EQUAL(resolve("k1@maf.example"), SAGATE_OK);
    CU_ASSERT_EQUAL(told.result, SAGATE_OK);
    teardown();
}

static void waiting_and_held_are_bounded(void)
{
    struct tef_key key = good_key();
    char identity[32];
    setup();
    for (int i = 0; i < 3; i++) {
        (void)snprintf(identity, sizeof identity, "w%d@maf.example", i);
        CU_ASSERT_EQUAL(resolve(identity), SAGATE_PARKED);
    }
    CU_ASSERT_EQUAL(resolve("w3@maf.example"), SAGATE_OK);
    CU_ASSERT_EQUAL(told.result, SAGATE_EUNAVAILABLE);
    CU_ASSERT_EQUAL(counters().overflow, 1);
    for (size_t i = 0; i < 3; i++)
        answer(i, SAGATE_OK, &key);
    fetched("w3@maf.example", &key);
    CU_ASSERT_EQUAL(resolve("w0@maf.example"), SAGATE_OK); // now the most recently used
    fetched("w4@maf.example", &key);
    CU_ASSERT_EQUAL(counters().evicted, 1);
    CU_ASSERT_EQUAL(counters().cached, 4);
    CU_ASSERT_EQUAL(resolve("w0@maf.example"), SAGATE_OK);
    CU_ASSERT_EQUAL(resolve("w1@maf.example"), SAGATE_PARKED); // the least recently used went
    answer(fetcher.count - 1, SAGATE_ENOTFOUND, NULL);         // and no negative displaces a key
    CU_ASSERT_EQUAL(counters().cached, 4);
    CU_ASSERT_EQUAL(counters().negative, 0);
    fetcher.refuse_with = SAGATE_ELIMIT;
    CU_ASSERT_EQUAL(resolve("w9@maf.example"), SAGATE_OK);
    CU_ASSERT_EQUAL(told.result, SAGATE_EUNAVAILABLE);
    teardown();
}

// The refusal of a key, REMOTE_REFUSALS when it was taken.
static int refusal_of(const struct tef_key *key, const char *identity)
{
    struct remote_counters before = counters();
    (void)remote_flush(remote, slice_of(NULL, 0), false);
    fetched(identity, key);
    struct remote_counters after = counters();
    for (int i = 0; i < REMOTE_REFUSALS; i++) {
        if (after.refused[i] != before.refused[i]) {
            CU_ASSERT_EQUAL(told.result, SAGATE_ENOTFOUND);
            return i;
        }
    }
    CU_ASSERT_EQUAL(told.result, SAGATE_OK);
    return REMOTE_REFUSALS;
}

static int refusal_of_maf(const struct tef_key *key)
{
    return refusal_of(key, "k1@maf.example");
}

static void answers_are_checked(void)
{
    setup();
    struct tef_key key = good_key();
    CU_ASSERT_EQUAL(refusal_of_maf(&key), REMOTE_REFUSALS);
    key.suid = 22;
    CU_ASSERT_EQUAL(refusal_of_maf(&key), REMOTE_SUID);
    CU_ASSERT_EQUAL(refusal_of(&key, "k1@mef.example"), REMOTE_REFUSALS);
    CU_ASSERT_EQUAL(told.framework, FRAMEWORK_PSK);
    key.suid = 0;
    CU_ASSERT_EQUAL(refusal_of(&key, "k1@mef.example"), REMOTE_SUID);
    key = good_key();
    (void)snprintf(key.targets[0], sizeof key.targets[0], "//sp.example/other");
    CU_ASSERT_EQUAL(refusal_of_maf(&key), REMOTE_TARGET);
    key.target_count = 2;
    (void)snprintf(key.targets[1], sizeof key.targets[1], "/id-in");
    CU_ASSERT_EQUAL(refusal_of_maf(&key), REMOTE_REFUSALS);
    key.target_count = 0;
    CU_ASSERT_EQUAL(refusal_of_maf(&key), REMOTE_REFUSALS);
    tefs[0].target_required = true;
    CU_ASSERT_EQUAL(remote_apply(remote, tefs, 2, &limits), SAGATE_OK);
    CU_ASSERT_EQUAL(refusal_of_maf(&key), REMOTE_TARGET);
    key = good_key();
    key.admin_fqdn[0] = 'x';
    CU_ASSERT_EQUAL(refusal_of_maf(&key), REMOTE_ADMIN);
    key = good_key();
    key.expires_at = clock_wall() - 1;
    CU_ASSERT_EQUAL(refusal_of_maf(&key), REMOTE_EXPIRED);
    key.expires_at = 0;
    CU_ASSERT_EQUAL(refusal_of_maf(&key), REMOTE_EXPIRED);
    key = good_key();
    key.source_id[0] = '\0';
    CU_ASSERT_EQUAL(refusal_of_maf(&key), REMOTE_NO_SOURCE);
    key = good_key();
    (void)snprintf(key.relative_key_id, sizeof key.relative_key_id, "K1");
    CU_ASSERT_EQUAL(refusal_of_maf(&key), REMOTE_KEY);
    (void)snprintf(key.relative_key_id, sizeof key.relative_key_id, "k1");
    CU_ASSERT_EQUAL(refusal_of_maf(&key), REMOTE_REFUSALS);
    key.key_len = 0;
    CU_ASSERT_EQUAL(refusal_of_maf(&key), REMOTE_KEY);
    teardown();
}

static void fetched_credentials_need_no_suid(void)
{
    struct tef_key key = good_key();
    setup();
    tefs[1].suid_optional = true;
    CU_ASSERT_EQUAL(remote_apply(remote, tefs, 2, &limits), SAGATE_OK);
    key.suid = 0;
    CU_ASSERT_EQUAL(refusal_of(&key, "k1@mef.example"), REMOTE_REFUSALS);
    key.suid = 32;
    CU_ASSERT_EQUAL(refusal_of(&key, "k1@mef.example"), REMOTE_SUID);
    teardown();
}

static void the_first_half_serves_where_it_is_set(void)
{
    struct tef_key key = good_key();
    setup();
    tefs[0].first_half = true;
    CU_ASSERT_EQUAL(remote_apply(remote, tefs, 2, &limits), SAGATE_OK);
    CU_ASSERT_EQUAL(refusal_of_maf(&key), REMOTE_REFUSALS);
    CU_ASSERT_EQUAL(told.key_len, 16);
    CU_ASSERT_EQUAL(memcmp(told.key, key.key, 16), 0);
    key.key_len = 31;
    CU_ASSERT_EQUAL(refusal_of_maf(&key), REMOTE_KEY);
    teardown();
}

static void the_source_tells_who_the_peer_is(void)
{
    static const struct {
        const char *source;
        int refusal;
        const char *is;
    } cases[] = {
        {"//sp.example/mn1", REMOTE_REFUSALS, "/mn1"},
        {"/mn1", REMOTE_REFUSALS, "/mn1"},
        {"//sp.example/Sdev", REMOTE_REFUSALS, "Sdev"},
        {"//sp.example/id-in/Cdev", REMOTE_REFUSALS, "Cdev"},
        {"//sp.example/id-in", REMOTE_FOREIGN, NULL},
        {"/id-in", REMOTE_FOREIGN, NULL},
        {"//sp.example2/mn1", REMOTE_FOREIGN, NULL},
        {"//other.example/Sdev", REMOTE_FOREIGN, NULL},
        {"//sp.example/mn1/Cdev", REMOTE_FOREIGN, NULL},
        {"//sp.example/id-in/Sdev", REMOTE_NOT_MAPPED, NULL},
        {"//sp.example/id-in/C*", REMOTE_NOT_MAPPED, NULL},
        {"//sp.example/id-in/C", REMOTE_NOT_MAPPED, NULL},
        {"//sp.example/S", REMOTE_NOT_MAPPED, NULL},
        {"//sp.example/S*", REMOTE_NOT_MAPPED, NULL},
        {"//sp.example/*", REMOTE_NOT_MAPPED, NULL},
        {"//sp.example/", REMOTE_NOT_MAPPED, NULL},
        {"Cdev", REMOTE_NOT_MAPPED, NULL},
        {"km@maf.example", REMOTE_NOT_MAPPED, NULL},
    };
    setup();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tef_key key = good_key();
        (void)snprintf(key.source_id, sizeof key.source_id, "%s", cases[i].source);
        int refusal = refusal_of_maf(&key);
        CU_ASSERT_EQUAL(refusal, cases[i].refusal);
        if (refusal != cases[i].refusal)
            (void)fprintf(stderr, "%s: %s\n", cases[i].source, remote_refusal_name((enum remote_refusal)refusal));
        if (cases[i].is != NULL)
            CU_ASSERT_STRING_EQUAL(told.source, cases[i].is);
        if (cases[i].is != NULL)
            CU_ASSERT_STRING_EQUAL(told.upstream, cases[i].is[0] == '/' ? "" : tefs[0].upstream);
    }
    teardown();
}

// An AE-ID that a TEF names holds at the CSEs whose keys it hands out, and at no other.
static void sources_hold_at_one_upstream(void)
{
    struct tef_key key = good_key();
    setup();
    tefs[1].upstream = "other";
    CU_ASSERT_EQUAL(remote_apply(remote, tefs, 2, &limits), SAGATE_OK);
    CU_ASSERT_EQUAL(resolve("k1@maf.example"), SAGATE_PARKED);
    answer(0, SAGATE_OK, &key);
    CU_ASSERT_STRING_EQUAL(told.upstream, "in");
    key.suid = 22;
    CU_ASSERT_EQUAL(resolve("k1@mef.example"), SAGATE_PARKED);
    answer(1, SAGATE_OK, &key);
    CU_ASSERT_EQUAL(told.result, SAGATE_OK);
    CU_ASSERT_STRING_EQUAL(told.source, "Cdev1");
    CU_ASSERT_STRING_EQUAL(told.upstream, "other");
    teardown();
}

static void other_sources_are_mapped(void)
{
    struct tef_key key = good_key();
    setup();
    (void)snprintf(key.source_id, sizeof key.source_id, "km@maf.example");
    (void)snprintf(mapped, sizeof mapped, "11-km@maf.example");
    CU_ASSERT_EQUAL(refusal_of_maf(&key), REMOTE_REFUSALS);
    CU_ASSERT_STRING_EQUAL(told.source, "Cmapped");
    CU_ASSERT_STRING_EQUAL(told.upstream, ""); // the operator has said so, for all of them
    (void)snprintf(mapped, sizeof mapped, "12-k1@maf.example");
    CU_ASSERT_EQUAL(refusal_of_maf(&key), REMOTE_REFUSALS);
    (void)snprintf(mapped, sizeof mapped, "12-k2@maf.example");
    CU_ASSERT_EQUAL(refusal_of_maf(&key), REMOTE_NOT_MAPPED);
    teardown();
}

static void keys_end_when_they_expire(void)
{
    struct tef_key key = good_key();
    int64_t now = clock_wall();
    setup();
    key.expires_at = now + 100;
    fetched("k1@maf.example", &key);
    CU_ASSERT_TRUE(told.cache_seconds <= 100);
    key.expires_at = now + 100000;
    fetched("k2@maf.example", &key);
    CU_ASSERT_EQUAL(remote_expire(remote, now), now + 100);
    CU_ASSERT_EQUAL(told.revoked, 0);
    CU_ASSERT_TRUE(remote_expire(remote, now + 101) > now + 3000);
    CU_ASSERT_EQUAL(told.revoked, 1);
    CU_ASSERT_STRING_EQUAL(told.identity, "k1@maf.example");
    CU_ASSERT_STRING_EQUAL(told.credential_id, "12-k1@maf.example");
    // Held no longer for the cap, which does not end what the key has made.
    CU_ASSERT_EQUAL(remote_expire(remote, now + 10000), 0);
    CU_ASSERT_EQUAL(told.revoked, 1);
    CU_ASSERT_EQUAL(counters().cached, 0);
    CU_ASSERT_EQUAL(counters().expired, 1);
    teardown();
}

static void flushes_are_told(void)
{
    struct tef_key key = good_key();
    setup();
    fetched("k1@maf.example", &key);
    fetched("k1@MAF.example", &key);
    fetched("k2@maf.example", &key);
    CU_ASSERT_EQUAL(remote_flush(remote, slice_text("k1@Maf.Example"), false), 2);
    CU_ASSERT_EQUAL(told.revoked, 2);
    CU_ASSERT_STRING_EQUAL(told.credential_id, "");
    CU_ASSERT_EQUAL(remote_flush(remote, slice_text("k1@maf.example"), true), 0);
    CU_ASSERT_EQUAL(remote_flush(remote, slice_of(NULL, 0), true), 1);
    CU_ASSERT_STRING_EQUAL(told.credential_id, "12-k2@maf.example");
    CU_ASSERT_EQUAL(counters().flushed, 3);
    teardown();
}

static bool count_shown(void *context, const struct remote_entry *entry)
{
    size_t *count = context;
    CU_ASSERT_STRING_EQUAL(entry->tef, "maf");
    (*count)++;
    return true;
}

static void a_tef_that_goes_takes_its_keys_along(void)
{
    struct tef_key key = good_key();
    size_t shown = 0;
    setup();
    fetched("k1@maf.example", &key);
    key.suid = 22;
    fetched("k1@mef.example", &key);
    CU_ASSERT_EQUAL(resolve("k2@mef.example"), SAGATE_PARKED);
    CU_ASSERT_EQUAL(remote_apply(remote, tefs, 1, &limits), SAGATE_OK);
    CU_ASSERT_EQUAL(told.revoked, 1);
    CU_ASSERT_EQUAL(told.result, SAGATE_EUNAVAILABLE);
    CU_ASSERT_EQUAL(told.resolved, 3);
    answer(2, SAGATE_OK, &key); // too late
    CU_ASSERT_EQUAL(told.resolved, 3);
    remote_each(remote, count_shown, &shown);
    CU_ASSERT_EQUAL(shown, 1);
    CU_ASSERT_EQUAL(resolve("k1@maf.example"), SAGATE_OK);
    CU_ASSERT_EQUAL(resolve("k1@mef.example"), SAGATE_ENOTFOUND);
    CU_ASSERT_EQUAL(resolve("k3@maf.example"), SAGATE_PARKED);
    teardown(); // while one waits
    answer(3, SAGATE_EUNAVAILABLE, NULL);
}

static const struct unit_test tests[] = {
    {"only well-formed identities of known TEFs are asked for",
     only_well_formed_identities_of_known_tefs_are_asked_for},
    {"a key is fetched once and held", a_key_is_fetched_once_and_held},
    {"unknown is remembered and failure is not", unknown_is_remembered_and_failure_is_not},
    {"a deadline answers and a late key is kept", a_deadline_answers_and_a_late_key_is_kept},
    {"waiting and held are bounded", waiting_and_held_are_bounded},
    {"answers are checked", answers_are_checked},
    {"fetched credentials need no SUID", fetched_credentials_need_no_suid},
    {"the first half serves where it is set", the_first_half_serves_where_it_is_set},
    {"the source tells who the peer is", the_source_tells_who_the_peer_is},
    {"an AE-ID that a TEF names holds at its upstream", sources_hold_at_one_upstream},
    {"other sources are mapped", other_sources_are_mapped},
    {"keys end when they expire", keys_end_when_they_expire},
    {"flushes are told", flushes_are_told},
    {"a TEF that goes takes its keys along", a_tef_that_goes_takes_its_keys_along},
};

UNIT_MAIN("remote", tests)
