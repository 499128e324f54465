// From PSK identity to key and principal: one sorted array of identities, rebuilt whole when credentials change.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/resolver/resolver.h"

#include "common/error.h"
#include "common/log.h"
#include "common/onem2m.h"
#include "common/plane.h"
#include "common/secret.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Credential-ID of a KpsaID (TS-0003 10.4): type 12.
static const char credential_type[] = "12-";
enum { TYPE_LEN = sizeof credential_type - 1 };

// Above this many new identities at once nobody is told: what a worker remembers as unknown it forgets by itself soon.
enum { ADDED_TOLD_MAX = 1000 };

struct entry {
    const struct credential *credential;
    struct principal *principal;
    enum resolver_source source;
    bool revoked; // has expired, and that was told
};

// An AE-ID that the configuration fixes.
struct fixed {
    const char *stem;
};

struct set {
    struct entry *entries; // by identity
    size_t count;
    struct fixed *fixed; // by stem
    size_t fixed_count;
};

struct resolver {
    struct registrations *registrations;
    const struct resolver_events *events;
    struct set set;
    struct resolver_counters counters;
};

struct resolver *resolver_new(struct registrations *registrations, const struct resolver_events *events)
{
    struct resolver *resolver = calloc(1, sizeof *resolver);
    if (resolver != NULL) {
        resolver->registrations = registrations;
        resolver->events = events;
    }
    return resolver;
}

static void set_free(struct set *set)
{
    for (size_t i = 0; i < set->count; i++)
        principal_release(set->entries[i].principal);
    free(set->entries);
    free(set->fixed);
    *set = (struct set){0};
}

void resolver_free(struct resolver *resolver)
{
    if (resolver == NULL)
        return;
    set_free(&resolver->set);
    free(resolver);
}

static int compare_text(struct slice a, struct slice b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a;
    const struct entry *y = b;
    int order = strcmp(x->credential->identity, y->credential->identity);
    return order != 0 ? order : (int)x->source - (int)y->source;
}

static int compare_fixed(const void *a, const void *b)
{
    return strcmp(((const struct fixed *)a)->stem, ((const struct fixed *)b)->stem);
}

// Index of the first entry whose identity is not below `identity`.
static size_t lower_bound(const struct set *set, struct slice identity)
{
    size_t low = 0;
    size_t high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_text(slice_text(set->entries[middle].credential->identity), identity) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct entry *find(const struct set *set, struct slice identity)
{
    size_t at = lower_bound(set, identity);
    if (at == set->count || !slice_is(identity, set->entries[at].credential->identity))
        return NULL;
    return &set->entries[at];
}

static struct entry *find_by_credential(const struct set *set, struct slice credential_id)
{
    if (credential_id.len < TYPE_LEN || memcmp(credential_id.data, credential_type, TYPE_LEN) != 0)
        return NULL;
    return find(set, slice_of(credential_id.data + TYPE_LEN, credential_id.len - TYPE_LEN));
}

static bool is_fixed(const struct set *set, struct slice stem)
{
    size_t low = 0;
    size_t high = set->fixed_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_text(slice_text(set->fixed[middle].stem), stem);
        if (order == 0)
            return true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static bool is_pattern(const char *stem)
{
    return strchr(stem, '*') != NULL;
}

static bool holds(const struct credential *credential, struct slice stem)
{
    for (size_t i = 0; i < credential->ae_count; i++) {
        if (slice_is(stem, credential->aes[i]))
            return true;
    }
    return false;
}

static bool admits(const struct credential *credential, struct slice stem)
{
    for (size_t i = 0; i < credential->ae_count; i++) {
        if (is_pattern(credential->aes[i]) && onem2m_stem_match(credential->aes[i], stem))
            return true;
    }
    return false;
}

static int make_principal(struct entry *entry)
{
    const struct credential *credential = entry->credential;
    char id[ONEM2M_CREDENTIAL_MAX + 1];
    int len = snprintf(id, sizeof id, "%s%s", credential_type, credential->identity);
    if (len < 0 || (size_t)len >= sizeof id)
        return SAGATE_ETOOBIG;
    entry->principal = principal_new(FRAMEWORK_PSK, slice_text(id), slice_text(credential->cse_id));
    if (entry->principal == NULL)
        return SAGATE_ENOMEM;
    entry->principal->expires_at = credential->expires_at;
    for (size_t i = 0; i < credential->ae_count; i++) {
        int result = principal_add_ae(entry->principal, slice_text(credential->aes[i]), slice_text(""));
        if (result < 0 && result != SAGATE_EEXISTS)
            return result;
    }
    return SAGATE_OK;
}

static void add_learned(void *context, const struct registration *registration)
{
    const struct set *set = context;
    struct entry *entry = find_by_credential(set, registration->credential_id);
    // What the credential's patterns admit no longer, or the operator has given to somebody by name, is kept in the
    // store and not used.
    if (entry == NULL || is_fixed(set, registration->aei) || !admits(entry->credential, registration->aei))
        return;
    int result = principal_add_ae(entry->principal, registration->aei, registration->upstream);
    if (result < 0 && result != SAGATE_EEXISTS)
        log_warning("resolver: %s: AE-ID %.*s is left out: %s", entry->principal->credential_id,
                    (int)registration->aei.len, registration->aei.data, sagate_strerror(result));
}

static void append(struct set *set, const struct credentials *credentials, enum resolver_source source)
{
    for (size_t i = 0; credentials != NULL && i < credentials->count; i++)
        set->entries[set->count++] = (struct entry){.credential = &credentials->entries[i], .source = source};
}

static void drop_doubles(struct set *set)
{
    size_t kept = 0;
    for (size_t i = 0; i < set->count; i++) {
        const char *identity = set->entries[i].credential->identity;
        if (kept > 0 && strcmp(set->entries[kept - 1].credential->identity, identity) == 0) {
            log_warning("resolver: identity %s was added at run time and is in the credentials file too; the file's "
                        "is used",
                        identity);
            continue;
        }
        set->entries[kept++] = set->entries[i];
    }
    set->count = kept;
}

static int make_fixed(struct set *set)
{
    size_t total = 0;
    for (size_t i = 0; i < set->count; i++)
        total += set->entries[i].credential->ae_count;
    set->fixed = calloc(total + 1, sizeof *set->fixed);
    if (set->fixed == NULL)
        return SAGATE_ENOMEM;
    for (size_t i = 0; i < set->count; i++) {
        const struct credential *credential = set->entries[i].credential;
        for (size_t n = 0; n < credential->ae_count; n++) {
            if (!is_pattern(credential->aes[n]))
                set->fixed[set->fixed_count++].stem = credential->aes[n];
        }
    }
    qsort(set->fixed, set->fixed_count, sizeof *set->fixed, compare_fixed);
    return SAGATE_OK;
}

static int set_make(struct set *set, const struct credentials *file, const struct credentials *run_time,
                    struct registrations *registrations, char *problem, size_t problem_len)
{
    size_t most = (file == NULL ? 0 : file->count) + (run_time == NULL ? 0 : run_time->count);
    set->entries = calloc(most + 1, sizeof *set->entries);
    if (set->entries == NULL)
        return SAGATE_ENOMEM;
    append(set, file, RESOLVER_FILE);
    append(set, run_time, RESOLVER_RUN_TIME);
    qsort(set->entries, set->count, sizeof *set->entries, compare_entries);
    drop_doubles(set);
    size_t registrees = 0;
    for (size_t i = 0; i < set->count; i++) {
        int result = make_principal(&set->entries[i]);
        if (result < 0) {
            (void)snprintf(problem, problem_len, "credential %s: %s", set->entries[i].credential->identity,
                           result == SAGATE_ELIMIT ? "too many AE-IDs" : sagate_strerror(result));
            return result;
        }
        if (set->entries[i].credential->cse_id != NULL)
            registrees += sizeof(uint32_t) + strlen(set->entries[i].credential->cse_id);
    }
    // The set of CSE-IDs goes to the workers in one message.
    if (registrees > PLANE_MESSAGE_MAX - 64) {
        (void)snprintf(problem, problem_len, "too many credentials of CSEs: their CSE-IDs take %zu of at most %d bytes",
                       registrees, PLANE_MESSAGE_MAX - 64);
        return SAGATE_ELIMIT;
    }
    int result = make_fixed(set);
    return result < 0 ? result : registrations_each(registrations, (struct slice){0}, add_learned, set);
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool same_aes(const struct credential *a, const struct credential *b)
{
    if (a->ae_count != b->ae_count)
        return false;
    for (size_t i = 0; i < a->ae_count; i++) {
        if (strcmp(a->aes[i], b->aes[i]) != 0)
            return false;
    }
    return true;
}

static void tell_changed(struct resolver *resolver, const struct entry *old, struct entry *new)
{
    const struct resolver_events *events = resolver->events;
    const struct credential *a = old->credential;
    const struct credential *b = new->credential;
    if (a->key_len != b->key_len || !secret_equal(a->key, b->key, a->key_len) || !same_text(a->cse_id, b->cse_id)) {
        events->revoked(events->context, b->identity, new->principal->credential_id);
    } else if (!same_aes(a, b) || a->expires_at != b->expires_at) {
        events->revoked(events->context, b->identity, "");
        events->principal(events->context, new->principal);
    } else {
        new->revoked = old->revoked;
    }
}

// Walks both sorted sets side by side.
static void tell_differences(struct resolver *resolver, struct set *new)
{
    const struct resolver_events *events = resolver->events;
    const struct set *old = &resolver->set;
    bool tell_added = new->count <= old->count + ADDED_TOLD_MAX;
    size_t i = 0;
    size_t j = 0;
    while (i < old->count || j < new->count) {
        int order;
        if (i == old->count)
            order = 1;
        else if (j == new->count)
            order = -1;
        else
            order = strcmp(old->entries[i].credential->identity, new->entries[j].credential->identity);
        if (order < 0) {
            const struct entry *gone = &old->entries[i++];
            events->revoked(events->context, gone->credential->identity, gone->principal->credential_id);
        } else if (order > 0) {
            const struct entry *added = &new->entries[j++];
            if (tell_added)
                events->revoked(events->context, added->credential->identity, "");
        } else {
            tell_changed(resolver, &old->entries[i++], &new->entries[j++]);
        }
    }
}

// set_make with a text for every failure, after which nothing is left of the set.
static int try_make(const struct resolver *resolver, const struct credentials *file, const struct credentials *run_time,
                    struct set *new, char *problem, size_t problem_len)
{
    (void)snprintf(problem, problem_len, "%s", "");
    int result = set_make(new, file, run_time, resolver->registrations, problem, problem_len);
    if (result >= 0)
        return SAGATE_OK;
    if (problem[0] == '\0')
        (void)snprintf(problem, problem_len, "credentials: %s", sagate_strerror(result));
    set_free(new);
    return result;
}

int resolver_check(const struct resolver *resolver, const struct credentials *file, const struct credentials *run_time,
                   char *problem, size_t problem_len)
{
    struct set set = {0};
    int result = try_make(resolver, file, run_time, &set, problem, problem_len);
    if (result == SAGATE_OK)
        set_free(&set);
    return result;
}

int resolver_apply(struct resolver *resolver, const struct credentials *file, const struct credentials *run_time,
                   char *problem, size_t problem_len)
{
    struct set new = {0};
    int result = try_make(resolver, file, run_time, &new, problem, problem_len);
    if (result != SAGATE_OK)
        return result;
    tell_differences(resolver, &new);
    set_free(&resolver->set);
    resolver->set = new;
    return SAGATE_OK;
}

void resolver_resolve(struct resolver *resolver, struct slice identity, int64_t now, struct resolver_answer *answer)
{
    const struct entry *entry = find(&resolver->set, identity);
    *answer = (struct resolver_answer){.result = SAGATE_ENOTFOUND, .cache_seconds = RESOLVER_NEGATIVE_CACHE_SECONDS};
    if (entry == NULL) {
        resolver->counters.unknown++;
        return;
    }
    int64_t expires_at = entry->credential->expires_at;
    if (expires_at != 0 && expires_at <= now) {
        resolver->counters.expired++;
        return;
    }
    resolver->counters.found++;
    answer->result = SAGATE_OK;
    answer->key = slice_of(entry->credential->key, entry->credential->key_len);
    answer->cache_seconds = RESOLVER_CACHE_SECONDS;
    if (expires_at != 0 && expires_at - now < RESOLVER_CACHE_SECONDS)
        answer->cache_seconds = (uint32_t)(expires_at - now);
    answer->principal = entry->principal;
}

struct owner_check {
    const struct set *set;
    struct slice credential_id, upstream;
    bool taken;
};

static void check_owner(void *context, const struct registration *registration)
{
    struct owner_check *check = context;
    // At another CSE the AE-ID is another AE's. A credential that is configured no longer owns nothing.
    if (slice_equal(registration->upstream, check->upstream) &&
        !slice_equal(registration->credential_id, check->credential_id) &&
        find_by_credential(check->set, registration->credential_id) != NULL)
        check->taken = true;
}

static bool is_stem(struct slice aei)
{
    if (aei.len == 0 || aei.len > ONEM2M_ID_MAX)
        return false;
    for (size_t i = 0; i < aei.len; i++) {
        if (aei.data[i] <= 0x20 || aei.data[i] >= 0x7f || aei.data[i] == '*' || aei.data[i] == '/')
            return false;
    }
    return true;
}

// May this credential have this AE-ID? SAGATE_DONE: it is configured, there is nothing to learn.
static int check_registered(struct resolver *resolver, const struct entry *entry,
                            const struct registration *registration)
{
    struct slice aei = registration->aei;
    if (!is_stem(aei) || registration->upstream.len == 0)
        return SAGATE_EINVAL;
    if (holds(entry->credential, aei))
        return SAGATE_DONE;
    struct owner_check check = {.set = &resolver->set,
                                .credential_id = slice_text(entry->principal->credential_id),
                                .upstream = registration->upstream};
    int result = registrations_each(resolver->registrations, aei, check_owner, &check);
    if (result < 0)
        return result;
    if (check.taken || is_fixed(&resolver->set, aei)) {
        resolver->counters.refused_owner++;
        return SAGATE_EEXISTS;
    }
    if (!admits(entry->credential, aei)) {
        resolver->counters.refused_pattern++;
        return SAGATE_EDENIED;
    }
    return SAGATE_OK;
}

static int learn(struct resolver *resolver, struct entry *entry, const struct registration *registration)
{
    const struct resolver_events *events = resolver->events;
    int result = principal_add_ae(entry->principal, registration->aei, registration->upstream);
    bool added = result == SAGATE_OK;
    if (result < 0 && result != SAGATE_EEXISTS) {
        resolver->counters.refused_limit++;
        return result;
    }
    result = registrations_put(resolver->registrations, registration);
    if (result < 0) {
        if (added)
            (void)principal_remove_ae(entry->principal, registration->aei, registration->upstream);
        resolver->counters.failed++;
        return result;
    }
    resolver->counters.stored++;
    if (added) {
        events->principal(events->context, entry->principal);
        events->owner(events->context, registration->aei, registration->upstream,
                      slice_text(entry->principal->credential_id), false);
    }
    return SAGATE_OK;
}

int resolver_registered(struct resolver *resolver, const struct registration *registration)
{
    static struct log_sample sample;
    struct entry *entry = find_by_credential(&resolver->set, registration->credential_id);
    if (entry == NULL)
        return SAGATE_ENOTFOUND;
    int result = check_registered(resolver, entry, registration);
    if (result == SAGATE_DONE)
        return SAGATE_OK;
    if (result == SAGATE_OK)
        result = learn(resolver, entry, registration);
    if (result < 0) {
        const char *why = result == SAGATE_EEXISTS   ? "it belongs to another credential"
                          : result == SAGATE_EDENIED ? "no AE-ID pattern of the credential admits it"
                          : result == SAGATE_ELIMIT  ? "the credential has as many AE-IDs as it may"
                                                     : sagate_strerror(result);
        log_sampled(&sample, LOG_LEVEL_WARNING, "resolver: AE-ID %.*s, assigned at %.*s, is not given to %s: %s",
                    (int)registration->aei.len, registration->aei.data, (int)registration->upstream.len,
                    registration->upstream.data, entry->principal->credential_id, why);
        resolver->events->principal(resolver->events->context, entry->principal);
    }
    return result;
}

// Takes from a credential an AE-ID that was learned at one upstream.
static void unlearn(const struct resolver *resolver, const struct entry *entry, struct slice aei, struct slice upstream)
{
    const struct resolver_events *events = resolver->events;
    if (principal_remove_ae(entry->principal, aei, upstream) != SAGATE_OK)
        return;
    events->principal(events->context, entry->principal);
    events->owner(events->context, aei, upstream, slice_text(entry->principal->credential_id), true);
}

struct removed {
    uint8_t credential_id[ONEM2M_CREDENTIAL_MAX];
    uint8_t aei[ONEM2M_ID_MAX];
    size_t credential_len, aei_len;
};

static void note_removed(void *context, const struct registration *registration)
{
    struct removed *removed = context;
    if (registration->credential_id.len > sizeof removed->credential_id || registration->aei.len > sizeof removed->aei)
        return;
    removed->credential_len = registration->credential_id.len;
    memcpy(removed->credential_id, registration->credential_id.data, removed->credential_len);
    removed->aei_len = registration->aei.len;
    memcpy(removed->aei, registration->aei.data, removed->aei_len);
}

int resolver_deleted(struct resolver *resolver, struct slice upstream, struct slice to, struct slice base)
{
    struct removed removed = {.aei_len = 0};
    int result = registrations_remove(resolver->registrations, upstream, to, base, note_removed, &removed);
    if (result < 0)
        return result;
    resolver->counters.removed++;
    const struct entry *entry =
        find_by_credential(&resolver->set, slice_of(removed.credential_id, removed.credential_len));
    if (entry != NULL)
        unlearn(resolver, entry, slice_of(removed.aei, removed.aei_len), upstream);
    return SAGATE_OK;
}

int resolver_forget(struct resolver *resolver, struct slice identity, struct slice aei)
{
    const struct entry *entry = find(&resolver->set, identity);
    if (entry == NULL)
        return SAGATE_ENOTFOUND;
    struct slice credential_id = slice_text(entry->principal->credential_id);
    int removed = registrations_forget(resolver->registrations, credential_id, aei);
    if (removed <= 0)
        return removed < 0 ? SAGATE_ESYS : SAGATE_ENOTFOUND;
    resolver->counters.removed += (uint64_t)removed;
    // Backwards: unlearning puts the last one into the gap.
    for (size_t i = entry->principal->ae_count; i-- > 0;) {
        const struct principal_ae *ae = &entry->principal->aes[i];
        if (ae->upstream == NULL || !slice_is(aei, ae->stem))
            continue;
        char *upstream = slice_copy(slice_text(ae->upstream)); // the principal's goes first
        if (upstream == NULL)
            return SAGATE_ENOMEM;
        unlearn(resolver, entry, aei, slice_text(upstream));
        free(upstream);
    }
    return SAGATE_OK;
}

int64_t resolver_expire(struct resolver *resolver, int64_t now)
{
    const struct resolver_events *events = resolver->events;
    int64_t next = 0;
    for (size_t i = 0; i < resolver->set.count; i++) {
        struct entry *entry = &resolver->set.entries[i];
        int64_t at = entry->credential->expires_at;
        if (at == 0 || entry->revoked)
            continue;
        if (at <= now) {
            entry->revoked = true;
            log_info("resolver: credential %s has expired", entry->principal->credential_id);
            events->revoked(events->context, entry->credential->identity, entry->principal->credential_id);
        } else if (next == 0 || at < next) {
            next = at;
        }
    }
    return next;
}

static void show(const struct entry *entry, struct resolver_identity *out)
{
    *out = (struct resolver_identity){
        .credential = entry->credential, .principal = entry->principal, .source = entry->source};
}

int resolver_find(const struct resolver *resolver, struct slice identity, struct resolver_identity *out)
{
    const struct entry *entry = find(&resolver->set, identity);
    if (entry == NULL)
        return SAGATE_ENOTFOUND;
    show(entry, out);
    return SAGATE_OK;
}

void resolver_each(const struct resolver *resolver, struct slice after,
                   bool (*visit)(void *context, const struct resolver_identity *identity), void *context)
{
    const struct set *set = &resolver->set;
    size_t i = after.data == NULL ? 0 : lower_bound(set, after);
    if (after.data != NULL && i < set->count && slice_is(after, set->entries[i].credential->identity))
        i++;
    for (; i < set->count; i++) {
        struct resolver_identity identity;
        show(&set->entries[i], &identity);
        if (!visit(context, &identity))
            return;
    }
}

void resolver_owners(const struct resolver *resolver,
                     void (*visit)(void *context, struct slice stem, struct slice upstream, struct slice credential_id),
                     void *context)
{
    for (size_t i = 0; i < resolver->set.count; i++) {
        const struct principal *principal = resolver->set.entries[i].principal;
        for (size_t n = 0; n < principal->ae_count; n++) {
            const struct principal_ae *ae = &principal->aes[n];
            if (!is_pattern(ae->stem))
                visit(context, slice_text(ae->stem), slice_text(ae->upstream), slice_text(principal->credential_id));
        }
    }
}

void resolver_registrees(const struct resolver *resolver, void (*visit)(void *context, struct slice cse_id),
                         void *context)
{
    for (size_t i = 0; i < resolver->set.count; i++) {
        if (resolver->set.entries[i].credential->cse_id != NULL)
            visit(context, slice_text(resolver->set.entries[i].credential->cse_id));
    }
}

size_t resolver_count(const struct resolver *resolver, enum resolver_source source)
{
    size_t count = 0;
    for (size_t i = 0; i < resolver->set.count; i++) {
        if (resolver->set.entries[i].source == source)
            count++;
    }
    return count;
}

const struct resolver_counters *resolver_get_counters(const struct resolver *resolver)
{
    return &resolver->counters;
}
