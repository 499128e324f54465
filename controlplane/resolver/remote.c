// Identities whose keys are at a MAF or MEF: one table of what is held and what is being asked for.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/resolver/remote.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/onem2m.h"
#include "common/secret.h"
#include "controlplane/keystore/credentials.h"
#include "controlplane/resolver/resolver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

enum {
    SUID_MAF = 32, // distributed by a MAF for an association (TS-0004 6.3.4.2.39)
    SUID_MEF = 22, // provisioned through an MEF for one
    BUCKETS_MIN = 1024,
    RETRY_SECONDS = 1, // a worker asks again after this where it could not be found out
};

// Credential-ID types (TS-0003 10.4): of KmID; of KpsaID and KcID.
#define TYPE_KM "11-"
#define TYPE_KC "12-"

struct tef {
    char *name, *fqdn, *admin_fqdn, *target, *sp_id, *upstream;
    enum tef_kind kind;
    struct remote_fetcher fetcher;
    bool target_required, first_half;
};

enum entry_state { ENTRY_WAITING, ENTRY_KEY, ENTRY_NEGATIVE };

struct entry;
// What a fetch knows; it outlives the entry when that was given up.
struct question {
    struct remote *remote;
    struct entry *entry; // NULL: nobody waits any more
};

struct entry {
    LIST_ENTRY(entry) bucket;
    TAILQ_ENTRY(entry) use; // the least recently used first; entries that wait are in none
    enum entry_state state;
    struct tef *tef; // NULL: gone while the answer was waited for
    struct question *question;
    struct event *deadline;
    uint8_t *key;
    size_t key_len;
    struct principal *principal;
    uint64_t askers; // while it waits
    int64_t until;   // wall-clock seconds
    bool expires;    // at `until` the key itself is void, not only its place here
    size_t len;
    char identity[];
};

LIST_HEAD(bucket, entry);
TAILQ_HEAD(uses, entry);

struct remote {
    struct event_base *base;
    const struct remote_events *events;
    remote_map *map;
    void *map_context;
    struct tef *tefs;
    size_t tef_count;
    struct remote_limits limits;
    struct hash_key hash_key;
    struct bucket *buckets;
    size_t bucket_count;
    struct uses uses;
    struct remote_counters counters;
    struct log_sample sample_unknown, sample_refused, sample_failed, sample_overflow;
};

const char *remote_refusal_name(enum remote_refusal refusal)
{
    static const char *const names[REMOTE_REFUSALS] = {
        [REMOTE_SUID] = "suid",           [REMOTE_TARGET] = "target",
        [REMOTE_ADMIN] = "admin_fqdn",    [REMOTE_EXPIRED] = "expired",
        [REMOTE_NO_SOURCE] = "no_source", [REMOTE_NOT_MAPPED] = "not_mapped",
        [REMOTE_FOREIGN] = "foreign",     [REMOTE_KEY] = "key",
    };
    return (unsigned)refusal < REMOTE_REFUSALS ? names[refusal] : "unknown";
}

static const char *refusal_reason(enum remote_refusal refusal)
{
    static const char *const reasons[REMOTE_REFUSALS] = {
        [REMOTE_SUID] = "its SUID is not one for associations",
        [REMOTE_TARGET] = "its target is another entity than this CSE",
        [REMOTE_ADMIN] = "it belongs to another administrating stakeholder (admin_fqdn)",
        [REMOTE_EXPIRED] = "it has no expiration time, or one in the past",
        [REMOTE_NO_SOURCE] = "the answer does not say whose it is (source client)",
        [REMOTE_NOT_MAPPED] = "its source client is no AE-ID or CSE-ID, and no provisioned credential maps it to one",
        [REMOTE_FOREIGN] = "its source client belongs to another service provider or CSE",
        [REMOTE_KEY] = "the answer has no key, or is about another key than the one asked for",
    };
    return reasons[refusal];
}

struct remote *remote_new(struct event_base *base, const struct remote_events *events, remote_map *map,
                          void *map_context)
{
    struct remote *remote = calloc(1, sizeof *remote);
    struct bucket *buckets = calloc(BUCKETS_MIN, sizeof *buckets);
    if (remote == NULL || buckets == NULL) {
        free(remote);
        free(buckets);
        return NULL;
    }
    remote->base = base;
    remote->events = events;
    remote->map = map;
    remote->map_context = map_context;
    remote->buckets = buckets;
    remote->bucket_count = BUCKETS_MIN;
    hash_key_random(&remote->hash_key);
    TAILQ_INIT(&remote->uses);
    return remote;
}

static struct bucket *bucket_of(struct remote *remote, const void *identity, size_t len)
{
    return &remote->buckets[hash_bytes(&remote->hash_key, identity, len) & (remote->bucket_count - 1)];
}

static struct entry *find(struct remote *remote, struct slice identity)
{
    struct entry *entry;
    LIST_FOREACH(entry, bucket_of(remote, identity.data, identity.len), bucket)
    {
        if (slice_equal(slice_of(entry->identity, entry->len), identity))
            return entry;
    }
    return NULL;
}

// Takes the entry out of all that it is in, and ends it.
static void drop(struct remote *remote, struct entry *entry)
{
    LIST_REMOVE(entry, bucket);
    if (entry->state == ENTRY_WAITING) {
        remote->counters.waiting--;
        if (entry->question != NULL)
            entry->question->entry = NULL;
    } else {
        TAILQ_REMOVE(&remote->uses, entry, use);
        *(entry->state == ENTRY_KEY ? &remote->counters.cached : &remote->counters.negative) -= 1;
    }
    if (entry->deadline != NULL)
        event_free(entry->deadline);
    secret_free(entry->key);
    principal_release(entry->principal);
    free(entry);
}

static void tefs_free(struct tef *tefs, size_t count)
{
    for (size_t i = 0; tefs != NULL && i < count; i++) {
        free(tefs[i].name);
        free(tefs[i].fqdn);
        free(tefs[i].admin_fqdn);
        free(tefs[i].target);
        free(tefs[i].sp_id);
        free(tefs[i].upstream);
    }
    free(tefs);
}

void remote_free(struct remote *remote)
{
    if (remote == NULL)
        return;
    for (size_t i = 0; i < remote->bucket_count; i++) {
        struct entry *entry;
        while ((entry = LIST_FIRST(&remote->buckets[i])) != NULL)
            drop(remote, entry);
    }
    tefs_free(remote->tefs, remote->tef_count);
    free(remote->buckets);
    free(remote);
}

static bool take_tef(struct tef *tef, const struct remote_tef *from)
{
    *tef = (struct tef){
        .name = strdup(from->name),
        .fqdn = strdup(from->fqdn),
        .admin_fqdn = strdup(from->admin_fqdn),
        .target = strdup(from->target),
        .sp_id = strdup(from->sp_id),
        .upstream = strdup(from->upstream),
        .kind = from->kind,
        .fetcher = from->fetcher,
        .target_required = from->target_required,
        .first_half = from->first_half,
    };
    return tef->name != NULL && tef->fqdn != NULL && tef->admin_fqdn != NULL && tef->target != NULL &&
           tef->sp_id != NULL && tef->upstream != NULL;
}

// Whether what was accepted from one would be accepted from the other, with the same result.
static bool same_tef(const struct tef *a, const struct tef *b)
{
    return a->kind == b->kind && strcasecmp(a->fqdn, b->fqdn) == 0 && strcmp(a->admin_fqdn, b->admin_fqdn) == 0 &&
           strcmp(a->target, b->target) == 0 && strcmp(a->sp_id, b->sp_id) == 0 &&
           strcmp(a->upstream, b->upstream) == 0 && a->target_required == b->target_required &&
           a->first_half == b->first_half;
}

static struct tef *same_in(struct tef *tefs, size_t count, const struct tef *old)
{
    for (size_t i = 0; old != NULL && i < count; i++) {
        if (same_tef(&tefs[i], old))
            return &tefs[i];
    }
    return NULL;
}

static void tell_revoked(struct remote *remote, const struct entry *entry, bool associations)
{
    char identity[CREDENTIALS_IDENTITY_MAX + 1];
    memcpy(identity, entry->identity, entry->len);
    identity[entry->len] = '\0';
    remote->events->revoked(remote->events->context, identity,
                            associations && entry->principal != NULL ? entry->principal->credential_id : "");
}

// A table for as many entries as the limits allow; without memory for it the old one stays and only gets slower.
static void resize(struct remote *remote)
{
    size_t wanted = BUCKETS_MIN;
    while (wanted < remote->limits.cached + remote->limits.waiting && wanted < (size_t)1 << 24)
        wanted *= 2;
    struct bucket *buckets = wanted == remote->bucket_count ? NULL : calloc(wanted, sizeof *buckets);
    if (buckets == NULL)
        return;
    struct bucket *old = remote->buckets;
    size_t old_count = remote->bucket_count;
    remote->buckets = buckets;
    remote->bucket_count = wanted;
    for (size_t i = 0; i < old_count; i++) {
        struct entry *entry;
        while ((entry = LIST_FIRST(&old[i])) != NULL) {
            LIST_REMOVE(entry, bucket);
            LIST_INSERT_HEAD(bucket_of(remote, entry->identity, entry->len), entry, bucket);
        }
    }
    free(old);
}

static void make_room(struct remote *remote)
{
    while (remote->counters.cached + remote->counters.negative > remote->limits.cached) {
        remote->counters.evicted++;
        drop(remote, TAILQ_FIRST(&remote->uses));
    }
}

int remote_apply(struct remote *remote, const struct remote_tef *tefs, size_t count, const struct remote_limits *limits)
{
    struct tef *fresh = calloc(count + 1, sizeof *fresh);
    bool ok = fresh != NULL;
    for (size_t i = 0; ok && i < count; i++)
        ok = take_tef(&fresh[i], &tefs[i]);
    if (!ok) {
        tefs_free(fresh, count);
        return SAGATE_ENOMEM;
    }
    for (size_t i = 0; i < remote->bucket_count; i++) {
        struct entry *next;
        for (struct entry *entry = LIST_FIRST(&remote->buckets[i]); entry != NULL; entry = next) {
            next = LIST_NEXT(entry, bucket);
            entry->tef = same_in(fresh, count, entry->tef);
            if (entry->tef == NULL && entry->state != ENTRY_WAITING) {
                tell_revoked(remote, entry, entry->state == ENTRY_KEY);
                drop(remote, entry);
            }
        }
    }
    tefs_free(remote->tefs, remote->tef_count);
    remote->tefs = fresh;
    remote->tef_count = count;
    remote->limits = *limits;
    resize(remote);
    make_room(remote);
    return SAGATE_OK;
}

// Splits RelativeKeyID '@' FQDN. False: it is nothing of the kind, so nobody is to be asked.
static bool split(struct slice identity, struct slice *local, struct slice *fqdn)
{
    const uint8_t *at = identity.len == 0 ? NULL : memchr(identity.data, '@', identity.len);
    if (at == NULL || identity.len > CREDENTIALS_IDENTITY_MAX)
        return false;
    *local = slice_of(identity.data, (size_t)(at - identity.data));
    *fqdn = slice_of(at + 1, identity.len - local->len - 1);
    return tef_relative_key_id_ok(*local) && fqdn->len > 0 && memchr(fqdn->data, '@', fqdn->len) == NULL;
}

static struct tef *tef_of(struct remote *remote, struct slice fqdn)
{
    for (size_t i = 0; i < remote->tef_count; i++) {
        struct tef *tef = &remote->tefs[i];
        if (strlen(tef->fqdn) == fqdn.len && strncasecmp(tef->fqdn, (const char *)fqdn.data, fqdn.len) == 0)
            return tef;
    }
    return NULL;
}

// Seconds for which a worker may hold what the entry says.
static uint32_t worker_seconds(const struct entry *entry, int64_t now, int64_t most)
{
    int64_t left = entry->until - now;
    left = left > most ? most : left;
    return left < 1 ? 1 : (uint32_t)left;
}

static void answer_from(const struct entry *entry, int64_t now, struct remote_answer *answer)
{
    bool key = entry->state == ENTRY_KEY;
    *answer = (struct remote_answer){
        .result = key ? SAGATE_OK : SAGATE_ENOTFOUND,
        .cache_seconds = worker_seconds(entry, now, key ? RESOLVER_CACHE_SECONDS : RESOLVER_NEGATIVE_CACHE_SECONDS),
        .key = slice_of(entry->key, entry->key_len),
        .principal = entry->principal,
    };
}

static void tell(struct remote *remote, struct slice identity, uint64_t askers, const struct remote_answer *answer)
{
    remote->events->resolved(remote->events->context, identity, askers, answer);
}

// The question could not be answered. It is not remembered here, and by workers for a moment only.
static void give_up(struct remote *remote, struct entry *entry)
{
    char identity[CREDENTIALS_IDENTITY_MAX];
    size_t len = entry->len;
    uint64_t askers = entry->askers;
    memcpy(identity, entry->identity, len);
    drop(remote, entry);
    tell(remote, slice_of(identity, len), askers,
         &(struct remote_answer){.result = SAGATE_EUNAVAILABLE, .cache_seconds = RETRY_SECONDS});
}

static void on_deadline(evutil_socket_t fd, short what, void *context)
{
    struct question *question = context;
    (void)fd;
    (void)what;
    question->remote->counters.deadline++;
    give_up(question->remote, question->entry);
}

// From waiting to held.
static void settle(struct remote *remote, struct entry *entry, enum entry_state state)
{
    remote->counters.waiting--;
    *(state == ENTRY_KEY ? &remote->counters.cached : &remote->counters.negative) += 1;
    entry->state = state;
    entry->question = NULL;
    event_free(entry->deadline);
    entry->deadline = NULL;
    TAILQ_INSERT_TAIL(&remote->uses, entry, use);
}

static bool names_target(const struct tef *tef, const struct tef_key *key)
{
    if (key->target_count == 0)
        return !tef->target_required;
    for (size_t i = 0; i < key->target_count; i++) {
        if (strcmp(key->targets[i], tef->target) == 0)
            return true;
    }
    return false;
}

// The identifier inside the service provider's domain, "/…"; NULL: of another; "" for what is no such identifier.
static const char *within_sp(const struct tef *tef, const char *source)
{
    size_t sp_len = strlen(tef->sp_id);
    if (strncmp(source, "//", 2) == 0)
        return strncmp(source, tef->sp_id, sp_len) == 0 && source[sp_len] == '/' ? source + sp_len : NULL;
    return source[0] == '/' ? source : "";
}

static int add_ae(struct principal *principal, const struct tef *tef, const char *stem, enum onem2m_id_kind kind)
{
    struct slice text = slice_text(stem);
    if (onem2m_id_kind(text) != kind || onem2m_id_is_wish(text) || strpbrk(stem, "*/") != NULL)
        return SAGATE_EINVAL;
    return principal_add_ae(principal, text, slice_text(tef->upstream));
}

// Who the source client is (TS-0003 8.2.1): an AE-ID or CSE-ID of this service provider. REMOTE_REFUSALS: done.
static enum remote_refusal take_identifier(const struct tef *tef, const char *within, struct principal *principal)
{
    const char *cse_id = tef->target + strlen(tef->sp_id); // "/cse" of "//sp/cse"
    size_t cse_len = strlen(cse_id);
    int result = SAGATE_EINVAL;
    if (onem2m_id_kind(slice_text(within)) != ONEM2M_ID_SP_RELATIVE)
        return REMOTE_FOREIGN;
    if (strncmp(within, cse_id, cse_len) == 0 && within[cse_len] == '/')
        result = add_ae(principal, tef, within + cse_len + 1, ONEM2M_ID_STEM_C);
    else if (within[1] == 'S')
        result = add_ae(principal, tef, within + 1, ONEM2M_ID_STEM_S);
    else if (within[1] != '\0' && strpbrk(within + 1, "*/") == NULL && strcmp(within, cse_id) != 0)
        result = (principal->cse_id = strdup(within)) == NULL ? SAGATE_ENOMEM : SAGATE_OK;
    return result == SAGATE_OK ? REMOTE_REFUSALS : REMOTE_FOREIGN;
}

static enum remote_refusal take_source(struct remote *remote, const struct tef *tef, const struct entry *entry,
                                       const char *source, struct principal *principal)
{
    const char *within = within_sp(tef, source);
    char credential_id[ONEM2M_CREDENTIAL_MAX + 1];
    if (within == NULL)
        return REMOTE_FOREIGN;
    if (within[0] != '\0')
        return take_identifier(tef, within, principal);
    // TS-0003 8.2.2.3 says KmID, type 11; table 10.4-1 has KcID under 12.
    int len = snprintf(credential_id, sizeof credential_id, TYPE_KM "%s",
                       strncmp(source, TYPE_KM, sizeof TYPE_KM - 1) == 0 ? source + sizeof TYPE_KM - 1 : source);
    if (len > 0 && (size_t)len < sizeof credential_id &&
        remote->map(remote->map_context, slice_of(credential_id, (size_t)len), principal) == SAGATE_OK)
        return REMOTE_REFUSALS;
    len = snprintf(credential_id, sizeof credential_id, TYPE_KC "%.*s", (int)entry->len, entry->identity);
    return len > 0 && (size_t)len < sizeof credential_id &&
                   remote->map(remote->map_context, slice_of(credential_id, (size_t)len), principal) == SAGATE_OK
               ? REMOTE_REFUSALS
               : REMOTE_NOT_MAPPED;
}

// What no answer may get wrong, whoever the source is.
static enum remote_refusal check(const struct tef *tef, const struct entry *entry, const struct tef_key *key)
{
    size_t local = (size_t)((const char *)memchr(entry->identity, '@', entry->len) - entry->identity);
    if (key->key_len == 0 || key->key_len > TEF_KEY_MAX || (tef->first_half && key->key_len < 2))
        return REMOTE_KEY;
    if (key->relative_key_id[0] != '\0' &&
        !slice_equal(slice_text(key->relative_key_id), slice_of(entry->identity, local)))
        return REMOTE_KEY;
    if (key->suid != (tef->kind == TEF_MAF ? SUID_MAF : SUID_MEF))
        return REMOTE_SUID;
    if (!names_target(tef, key))
        return REMOTE_TARGET;
    if (tef->admin_fqdn[0] != '\0' && strcasecmp(tef->admin_fqdn, key->admin_fqdn) != 0)
        return REMOTE_ADMIN;
    if (key->expires_at <= clock_wall())
        return REMOTE_EXPIRED;
    return key->source_id[0] == '\0' ? REMOTE_NO_SOURCE : REMOTE_REFUSALS;
}

// Makes the entry hold the key. REMOTE_REFUSALS: it does, or memory was short and it has no principal.
static enum remote_refusal take_key(struct remote *remote, struct entry *entry, const struct tef_key *key)
{
    const struct tef *tef = entry->tef;
    char credential_id[ONEM2M_CREDENTIAL_MAX + 1];
    enum remote_refusal refusal = check(tef, entry, key);
    if (refusal != REMOTE_REFUSALS)
        return refusal;
    int len = snprintf(credential_id, sizeof credential_id, TYPE_KC "%.*s", (int)entry->len, entry->identity);
    struct principal *principal = principal_new(tef->kind == TEF_MAF ? FRAMEWORK_MAF : FRAMEWORK_PSK,
                                                slice_of(credential_id, (size_t)len), slice_of(NULL, 0));
    size_t key_len = tef->first_half ? key->key_len / 2 : key->key_len;
    uint8_t *copy = secret_alloc(key_len);
    if (principal != NULL && copy != NULL)
        refusal = take_source(remote, tef, entry, key->source_id, principal);
    if (principal == NULL || copy == NULL || refusal != REMOTE_REFUSALS) {
        principal_release(principal);
        secret_free(copy);
        return refusal;
    }
    memcpy(copy, key->key, key_len);
    int64_t cap = clock_wall() + remote->limits.cache_seconds;
    principal->expires_at = key->expires_at;
    entry->key = copy;
    entry->key_len = key_len;
    entry->principal = principal;
    entry->expires = key->expires_at <= cap;
    entry->until = entry->expires ? key->expires_at : cap;
    return REMOTE_REFUSALS;
}

// The identity may be what a peer made up: it is shown only once a TEF of ours was asked about it, so it is
// well-formed.
static void refused(struct remote *remote, const struct entry *entry, enum remote_refusal refusal)
{
    remote->counters.refused[refusal]++;
    log_sampled(&remote->sample_refused, LOG_LEVEL_WARNING, "resolver: %s \"%s\": the key of %.*s is not used: %s",
                entry->tef->kind == TEF_MAF ? "MAF" : "MEF", entry->tef->name, (int)entry->len, entry->identity,
                refusal_reason(refusal));
}

static void keep_negative(struct remote *remote, struct entry *entry)
{
    entry->until = clock_wall() + remote->limits.negative_seconds;
    settle(remote, entry, ENTRY_NEGATIVE);
}

// Tells what the entry has become, and then makes room, which may drop it.
static void finish(struct remote *remote, struct entry *entry)
{
    struct remote_answer answer;
    answer_from(entry, clock_wall(), &answer);
    tell(remote, slice_of(entry->identity, entry->len), entry->askers, &answer);
    make_room(remote);
}

static void on_done(void *context, int result, const struct tef_key *key)
{
    struct question *question = context;
    struct remote *remote = question->remote;
    struct entry *entry = question->entry;
    free(question);
    if (entry == NULL)
        return;
    entry->question = NULL;
    if (entry->tef == NULL || (result != SAGATE_OK && result != SAGATE_ENOTFOUND)) {
        remote->counters.failed++;
        log_sampled(&remote->sample_failed, LOG_LEVEL_WARNING, "resolver: the key of %.*s could not be had: %s",
                    (int)entry->len, entry->identity,
                    entry->tef == NULL ? "its TEF was taken out of the configuration" : sagate_strerror(result));
        give_up(remote, entry);
        return;
    }
    if (result == SAGATE_ENOTFOUND) {
        remote->counters.not_found++;
        log_sampled(&remote->sample_unknown, LOG_LEVEL_INFO, "resolver: %s \"%s\" has no key for us of %.*s",
                    entry->tef->kind == TEF_MAF ? "MAF" : "MEF", entry->tef->name, (int)entry->len, entry->identity);
        keep_negative(remote, entry);
        finish(remote, entry);
        return;
    }
    enum remote_refusal refusal = take_key(remote, entry, key);
    if (refusal != REMOTE_REFUSALS) {
        refused(remote, entry, refusal);
        keep_negative(remote, entry);
    } else if (entry->principal == NULL) { // memory was short
        remote->counters.failed++;
        give_up(remote, entry);
        return;
    } else {
        remote->counters.found++;
        settle(remote, entry, ENTRY_KEY);
    }
    finish(remote, entry);
}

static struct entry *entry_new(struct remote *remote, struct slice identity, struct tef *tef)
{
    struct entry *entry = calloc(1, sizeof *entry + identity.len);
    struct question *question = calloc(1, sizeof *question);
    struct event *deadline = question == NULL ? NULL : event_new(remote->base, -1, EV_TIMEOUT, on_deadline, question);
    if (entry == NULL || deadline == NULL) {
        if (deadline != NULL)
            event_free(deadline);
        free(question);
        free(entry);
        return NULL;
    }
    *question = (struct question){remote, entry};
    entry->state = ENTRY_WAITING;
    entry->tef = tef;
    entry->question = question;
    entry->deadline = deadline;
    entry->len = identity.len;
    memcpy(entry->identity, identity.data, identity.len);
    LIST_INSERT_HEAD(bucket_of(remote, identity.data, identity.len), entry, bucket);
    remote->counters.waiting++;
    return entry;
}

static int ask(struct remote *remote, struct slice identity, struct slice local, struct tef *tef, unsigned asker,
               struct remote_answer *answer)
{
    *answer = (struct remote_answer){.result = SAGATE_EUNAVAILABLE, .cache_seconds = RETRY_SECONDS};
    if (remote->counters.waiting >= remote->limits.waiting) {
        remote->counters.overflow++;
        log_sampled(&remote->sample_overflow, LOG_LEVEL_WARNING,
                    "resolver: %zu identities are being asked for already (resolver.waiting)",
                    remote->counters.waiting);
        return SAGATE_OK;
    }
    struct entry *entry = entry_new(remote, identity, tef);
    if (entry == NULL)
        return SAGATE_OK;
    struct question *question = entry->question;
    if (tef->fetcher.fetch(tef->fetcher.context, local, on_done, question) != SAGATE_OK) {
        remote->counters.overflow++;
        drop(remote, entry);
        free(question);
        return SAGATE_OK;
    }
    remote->counters.asked++;
    entry->askers = UINT64_C(1) << asker;
    const struct timeval deadline = {.tv_sec = remote->limits.deadline_ms / 1000,
                                     .tv_usec = (suseconds_t)(remote->limits.deadline_ms % 1000) * 1000};
    (void)event_add(entry->deadline, &deadline);
    return SAGATE_PARKED;
}

int remote_resolve(struct remote *remote, struct slice identity, unsigned asker, int64_t now,
                   struct remote_answer *answer)
{
    struct slice local;
    struct slice fqdn;
    if (!split(identity, &local, &fqdn)) {
        remote->counters.malformed_identity++;
        return SAGATE_ENOTFOUND;
    }
    struct tef *tef = tef_of(remote, fqdn);
    if (tef == NULL) {
        remote->counters.unknown_fqdn++;
        return SAGATE_ENOTFOUND;
    }
    struct entry *entry = find(remote, identity);
    if (entry != NULL && entry->state == ENTRY_WAITING) {
        remote->counters.joined++;
        entry->askers |= UINT64_C(1) << asker;
        return SAGATE_PARKED;
    }
    if (entry != NULL && entry->until > now) {
        *(entry->state == ENTRY_KEY ? &remote->counters.cache_hits : &remote->counters.negative_hits) += 1;
        TAILQ_REMOVE(&remote->uses, entry, use);
        TAILQ_INSERT_TAIL(&remote->uses, entry, use);
        answer_from(entry, now, answer);
        return SAGATE_OK;
    }
    if (entry != NULL)
        drop(remote, entry);
    return ask(remote, identity, local, tef, asker, answer);
}

size_t remote_flush(struct remote *remote, struct slice identity, bool revoke)
{
    size_t count = 0;
    struct entry *next;
    for (struct entry *entry = TAILQ_FIRST(&remote->uses); entry != NULL; entry = next) {
        next = TAILQ_NEXT(entry, use);
        if (identity.data != NULL && !slice_equal(identity, slice_of(entry->identity, entry->len)))
            continue;
        tell_revoked(remote, entry, revoke);
        drop(remote, entry);
        count++;
    }
    remote->counters.flushed += count;
    return count;
}

int64_t remote_expire(struct remote *remote, int64_t now)
{
    int64_t first = 0;
    struct entry *next;
    for (struct entry *entry = TAILQ_FIRST(&remote->uses); entry != NULL; entry = next) {
        next = TAILQ_NEXT(entry, use);
        if (entry->until > now) {
            first = first == 0 || entry->until < first ? entry->until : first;
            continue;
        }
        if (entry->state == ENTRY_KEY) {
            tell_revoked(remote, entry, entry->expires);
            remote->counters.expired += entry->expires ? 1 : 0;
        }
        drop(remote, entry);
    }
    return first;
}

void remote_counters(const struct remote *remote, struct remote_counters *counters)
{
    *counters = remote->counters;
}

void remote_each(const struct remote *remote, bool (*visit)(void *context, const struct remote_entry *entry),
                 void *context)
{
    const struct entry *entry;
    char identity[CREDENTIALS_IDENTITY_MAX + 1];
    TAILQ_FOREACH(entry, &remote->uses, use)
    {
        memcpy(identity, entry->identity, entry->len);
        identity[entry->len] = '\0';
        const struct remote_entry shown = {.identity = identity,
                                           .tef = entry->tef == NULL ? "" : entry->tef->name,
                                           .principal = entry->principal,
                                           .until = entry->until};
        if (!visit(context, &shown))
            return;
    }
}
