// Keys of MAFs and MEFs: a hash table of identities that are asked for, known or known to be unknown.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/resolver/remote.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/onem2m.h"
#include "common/secret.h"
#include "controlplane/resolver/remote_check.h"
#include "controlplane/resolver/resolver.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

// After a failure that says nothing of the identity: the device may try again soon.
enum { FAILED_CACHE_SECONDS = 1, BUCKETS_MIN = 64 };

enum state { ASKING, KEY, NEGATIVE };

struct question;

struct entry {
    LIST_ENTRY(entry) chain;
    TAILQ_ENTRY(entry) used; // in `keys` or `negatives`, the least recently used first
    char *identity;          // as the peer spelled it
    size_t identity_len;
    uint64_t hash; // of the identity with its FQDN in lower case
    enum state state;
    const struct remote_tef *tef;
    struct question *question; // ASKING
    uint8_t *key;              // KEY
    size_t key_len;
    struct principal *principal;
    int64_t until; // KEY, NEGATIVE
};
LIST_HEAD(chain, entry);
TAILQ_HEAD(order, entry);

// Outlives its entry when that is flushed, since the fetcher will call in any case.
struct question {
    LIST_ENTRY(question) all;
    struct remote *remote; // NULL once that is gone
    struct entry *entry;   // NULL: nobody wants the answer any more
    struct event *deadline;
    bool told; // the deadline has passed and that was answered
};
LIST_HEAD(questions, question);

struct remote {
    struct event_base *base;
    struct remote_events events;
    remote_map *map;
    void *map_context;
    struct remote_tef *tefs;
    size_t tef_count;
    struct remote_limits limits;
    struct hash_key hash_key;
    struct chain *buckets;
    size_t bucket_count; // a power of two
    struct order keys, negatives;
    struct questions questions;
    struct remote_counters counters;
};

struct remote *remote_new(struct event_base *base, const struct remote_events *events, remote_map *map,
                          void *map_context)
{
    struct remote *remote = calloc(1, sizeof *remote);
    if (remote == NULL)
        return NULL;
    *remote = (struct remote){.base = base, .events = *events, .map = map, .map_context = map_context};
    hash_key_random(&remote->hash_key);
    TAILQ_INIT(&remote->keys);
    TAILQ_INIT(&remote->negatives);
    LIST_INIT(&remote->questions);
    return remote;
}

static void tefs_free(struct remote_tef *tefs, size_t count)
{
    for (size_t i = 0; tefs != NULL && i < count; i++) {
        const char *strings[] = {tefs[i].name,   tefs[i].fqdn,  tefs[i].admin_fqdn,
                                 tefs[i].target, tefs[i].sp_id, tefs[i].upstream};
        for (size_t s = 0; s < sizeof strings / sizeof *strings; s++)
            free((void *)(uintptr_t)strings[s]);
    }
    free(tefs);
}

static struct remote_tef *tefs_copy(const struct remote_tef *tefs, size_t count)
{
    struct remote_tef *copy = calloc(count + 1, sizeof *copy);
    bool whole = copy != NULL;
    for (size_t i = 0; whole && i < count; i++) {
        copy[i] = tefs[i];
        copy[i].name = strdup(tefs[i].name);
        copy[i].fqdn = strdup(tefs[i].fqdn);
        copy[i].admin_fqdn = strdup(tefs[i].admin_fqdn);
        copy[i].target = strdup(tefs[i].target);
        copy[i].sp_id = strdup(tefs[i].sp_id);
        copy[i].upstream = strdup(tefs[i].upstream);
        whole = copy[i].name != NULL && copy[i].fqdn != NULL && copy[i].admin_fqdn != NULL && copy[i].target != NULL &&
                copy[i].sp_id != NULL && copy[i].upstream != NULL;
    }
    if (whole)
        return copy;
    tefs_free(copy, count);
    return NULL;
}

static uint64_t hash_identity(const struct remote *remote, struct slice identity)
{
    char canonical[ONEM2M_CREDENTIAL_MAX + 1];
    remote_credential_id(identity, canonical);
    return hash_bytes(&remote->hash_key, canonical, strlen(canonical));
}

static struct chain *bucket_of(const struct remote *remote, uint64_t hash)
{
    return &remote->buckets[hash & (remote->bucket_count - 1)];
}

static struct entry *find(const struct remote *remote, struct slice identity, uint64_t hash)
{
    for (struct entry *entry = LIST_FIRST(bucket_of(remote, hash)); entry != NULL; entry = LIST_NEXT(entry, chain)) {
        if (entry->hash == hash && slice_equal(identity, slice_of(entry->identity, entry->identity_len)))
            return entry;
    }
    return NULL;
}

static struct slice identity_of(const struct entry *entry)
{
    return slice_of(entry->identity, entry->identity_len);
}

// Takes the entry out of the list of its state.
static void leave_state(struct remote *remote, struct entry *entry)
{
    switch (entry->state) {
    case ASKING:
        if (entry->question != NULL) {
            entry->question->entry = NULL;
            entry->question = NULL;
        }
        remote->counters.waiting--;
        break;
    case KEY:
        TAILQ_REMOVE(&remote->keys, entry, used);
        remote->counters.cached--;
        break;
    case NEGATIVE:
        TAILQ_REMOVE(&remote->negatives, entry, used);
        remote->counters.negative--;
        break;
    }
}

static void entry_free(struct entry *entry)
{
    secret_free(entry->key);
    principal_release(entry->principal);
    free(entry->identity);
    free(entry);
}

static void drop(struct remote *remote, struct entry *entry)
{
    leave_state(remote, entry);
    LIST_REMOVE(entry, chain);
    entry_free(entry);
}

static void question_free(struct question *question)
{
    if (question->deadline != NULL)
        event_free(question->deadline);
    free(question);
}

// Walks all entries; `visit` may drop the one that it is given.
static void walk(struct remote *remote, void (*visit)(struct remote *remote, struct entry *entry, void *context),
                 void *context)
{
    for (size_t i = 0; i < remote->bucket_count; i++) {
        struct entry *next;
        for (struct entry *entry = LIST_FIRST(&remote->buckets[i]); entry != NULL; entry = next) {
            next = LIST_NEXT(entry, chain);
            visit(remote, entry, context);
        }
    }
}

static void drop_visited(struct remote *remote, struct entry *entry, void *context)
{
    (void)context;
    drop(remote, entry);
}

void remote_free(struct remote *remote)
{
    if (remote == NULL)
        return;
    walk(remote, drop_visited, NULL);
    struct question *question;
    LIST_FOREACH(question, &remote->questions, all)
    {
        question->remote = NULL;
        event_free(question->deadline);
        question->deadline = NULL;
    }
    tefs_free(remote->tefs, remote->tef_count);
    free(remote->buckets);
    free(remote);
}

// Nothing was learned of the identity, so that associations which it has made go on.
static const struct remote_answer failed = {.result = SAGATE_EUNAVAILABLE, .cache_seconds = FAILED_CACHE_SECONDS};

static void tell_failed(struct remote *remote, const struct entry *entry)
{
    remote->events.resolved(remote->events.context, identity_of(entry), &failed);
}

static void revoke(struct remote *remote, const struct entry *entry, bool associations)
{
    bool end = associations && entry->principal != NULL;
    remote->events.revoked(remote->events.context, entry->identity, end ? entry->principal->credential_id : "");
}

static void trim(struct remote *remote)
{
    while (remote->counters.cached + remote->counters.negative > remote->limits.cached) {
        struct entry *oldest = TAILQ_FIRST(&remote->negatives);
        if (oldest == NULL)
            oldest = TAILQ_FIRST(&remote->keys);
        drop(remote, oldest);
        remote->counters.evicted++;
    }
}

// The TEF of a new set that answers as `old` did.
static const struct remote_tef *same_tef(const struct remote_tef *tefs, size_t count, const struct remote_tef *old)
{
    for (size_t i = 0; i < count; i++) {
        const struct remote_tef *one = &tefs[i];
        if (strcmp(one->name, old->name) == 0 && strcasecmp(one->fqdn, old->fqdn) == 0 && one->kind == old->kind &&
            strcasecmp(one->admin_fqdn, old->admin_fqdn) == 0 && strcmp(one->target, old->target) == 0 &&
            strcmp(one->sp_id, old->sp_id) == 0 && strcmp(one->upstream, old->upstream) == 0 &&
            one->target_required == old->target_required && one->suid_optional == old->suid_optional &&
            one->first_half == old->first_half)
            return one;
    }
    return NULL;
}

static void rebind(struct remote *remote, struct entry *entry, void *context)
{
    (void)context;
    const struct remote_tef *tef = same_tef(remote->tefs, remote->tef_count, entry->tef);
    if (tef != NULL) {
        entry->tef = tef;
        return;
    }
    if (entry->state != ASKING)
        revoke(remote, entry, true);
    else if (!entry->question->told)
        tell_failed(remote, entry);
    drop(remote, entry);
}

static void move(struct chain *from, size_t from_count, struct chain *to, size_t to_count)
{
    for (size_t i = 0; i < from_count; i++) {
        struct entry *entry;
        while ((entry = LIST_FIRST(&from[i])) != NULL) {
            LIST_REMOVE(entry, chain);
            LIST_INSERT_HEAD(&to[entry->hash & (to_count - 1)], entry, chain);
        }
    }
}

int remote_apply(struct remote *remote, const struct remote_tef *tefs, size_t count, const struct remote_limits *limits)
{
    size_t bucket_count = BUCKETS_MIN;
    while (bucket_count < limits->cached + limits->waiting)
        bucket_count *= 2;
    struct remote_tef *copy = tefs_copy(tefs, count);
    struct chain *buckets = calloc(bucket_count, sizeof *buckets);
    if (copy == NULL || buckets == NULL) {
        tefs_free(copy, count);
        free(buckets);
        return SAGATE_ENOMEM;
    }
    move(remote->buckets, remote->bucket_count, buckets, bucket_count);
    free(remote->buckets);
    remote->buckets = buckets;
    remote->bucket_count = bucket_count;
    struct remote_tef *old = remote->tefs;
    size_t old_count = remote->tef_count;
    remote->tefs = copy;
    remote->tef_count = count;
    walk(remote, rebind, NULL);
    tefs_free(old, old_count);
    remote->limits = *limits;
    trim(remote);
    return SAGATE_OK;
}

static const struct remote_tef *tef_of(const struct remote *remote, struct slice fqdn)
{
    for (size_t i = 0; i < remote->tef_count; i++) {
        const char *own = remote->tefs[i].fqdn;
        if (strlen(own) == fqdn.len && strncasecmp(own, (const char *)fqdn.data, fqdn.len) == 0)
            return &remote->tefs[i];
    }
    return NULL;
}

static uint32_t seconds_left(const struct entry *entry, int64_t now, uint32_t most)
{
    int64_t left = entry->until - now;
    return left < 1 ? 1 : left < (int64_t)most ? (uint32_t)left : most;
}

static void answer_from(const struct entry *entry, int64_t now, struct remote_answer *answer)
{
    if (entry->state == KEY)
        *answer = (struct remote_answer){.result = SAGATE_OK,
                                         .key = slice_of(entry->key, entry->key_len),
                                         .cache_seconds = seconds_left(entry, now, RESOLVER_CACHE_SECONDS),
                                         .principal = entry->principal};
    else
        *answer = (struct remote_answer){.result = SAGATE_ENOTFOUND,
                                         .cache_seconds = seconds_left(entry, now, RESOLVER_NEGATIVE_CACHE_SECONDS)};
}

static void on_deadline(evutil_socket_t fd, short what, void *context)
{
    static struct log_sample sample;
    struct question *question = context;
    struct remote *remote = question->remote;
    (void)fd;
    (void)what;
    if (question->entry == NULL || question->told)
        return;
    question->told = true;
    remote->counters.deadline++;
    log_sampled(&sample, LOG_LEVEL_WARNING,
                "resolver: %s did not answer for a key within %u ms (resolver.deadline_milliseconds)",
                question->entry->tef->name, remote->limits.deadline_ms);
    tell_failed(remote, question->entry);
}

static void arm(struct question *question)
{
    unsigned ms = question->remote->limits.deadline_ms;
    struct timeval timeout = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    question->told = false;
    (void)evtimer_add(question->deadline, &timeout);
}

static void become_negative(struct remote *remote, struct entry *entry, int64_t now)
{
    leave_state(remote, entry);
    entry->state = NEGATIVE;
    entry->until = now + remote->limits.negative_seconds;
    TAILQ_INSERT_TAIL(&remote->negatives, entry, used);
    remote->counters.negative++;
}

static bool become_key(struct remote *remote, struct entry *entry, const struct tef_key *key, size_t len,
                       struct principal *principal, int64_t now)
{
    uint8_t *copy = secret_alloc(len);
    if (copy == NULL)
        return false;
    memcpy(copy, key->key, len);
    leave_state(remote, entry);
    entry->state = KEY;
    entry->key = copy;
    entry->key_len = len;
    entry->principal = principal;
    int64_t most = now + remote->limits.cache_seconds;
    entry->until = principal->expires_at < most ? principal->expires_at : most;
    TAILQ_INSERT_TAIL(&remote->keys, entry, used);
    remote->counters.cached++;
    return true;
}

// A key came: takes it, or remembers that it cannot be used.
static void take_key(struct remote *remote, struct entry *entry, const struct tef_key *key, int64_t now)
{
    static struct log_sample sample;
    struct principal *principal = NULL;
    size_t len = 0;
    int refusal =
        remote_check(entry->tef, identity_of(entry), key, now, remote->map, remote->map_context, &principal, &len);
    if (refusal == REMOTE_TAKEN && become_key(remote, entry, key, len, principal, now)) {
        remote->counters.found++;
        return;
    }
    if (refusal == REMOTE_TAKEN) {
        principal_release(principal);
        refusal = REMOTE_KEY;
    }
    remote->counters.refused[refusal]++;
    log_sampled(&sample, LOG_LEVEL_WARNING, "resolver: the answer of %s for %s is not used: %s (docs/metrics.md)",
                entry->tef->name, entry->identity, remote_refusal_name((enum remote_refusal)refusal));
    become_negative(remote, entry, now);
}

static void take_result(struct remote *remote, struct entry *entry, int result, const struct tef_key *key, bool told)
{
    static struct log_sample sample;
    int64_t now = clock_wall();
    if (result == SAGATE_OK && key != NULL) {
        take_key(remote, entry, key, now);
    } else if (result == SAGATE_ENOTFOUND) {
        static struct log_sample unknown;
        remote->counters.not_found++;
        log_sampled(&unknown, LOG_LEVEL_INFO, "resolver: %s has no key for us of %s", entry->tef->name,
                    entry->identity);
        become_negative(remote, entry, now);
    } else {
        remote->counters.failed++;
        log_sampled(&sample, LOG_LEVEL_WARNING, "resolver: %s gave no key: %s", entry->tef->name,
                    sagate_strerror(result));
        if (!told)
            tell_failed(remote, entry);
        drop(remote, entry);
        return;
    }
    if (!told) {
        struct remote_answer answer;
        answer_from(entry, now, &answer);
        remote->events.resolved(remote->events.context, identity_of(entry), &answer);
    }
    trim(remote); // last: the entry itself may go
}

static void on_done(void *context, int result, const struct tef_key *key)
{
    struct question *question = context;
    struct remote *remote = question->remote;
    struct entry *entry = question->entry;
    bool told = question->told;
    if (remote != NULL)
        LIST_REMOVE(question, all);
    if (entry != NULL)
        entry->question = NULL;
    question_free(question);
    if (remote != NULL && entry != NULL)
        take_result(remote, entry, result, key, told);
}

static struct question *question_new(struct remote *remote, struct entry *entry)
{
    struct question *question = calloc(1, sizeof *question);
    if (question == NULL)
        return NULL;
    *question = (struct question){.remote = remote, .entry = entry};
    question->deadline = evtimer_new(remote->base, on_deadline, question);
    if (question->deadline != NULL)
        return question;
    free(question);
    return NULL;
}

static struct entry *entry_new(struct remote *remote, const struct remote_tef *tef, struct slice identity,
                               uint64_t hash)
{
    struct entry *entry = calloc(1, sizeof *entry);
    if (entry == NULL)
        return NULL;
    *entry = (struct entry){.identity = slice_copy(identity), .identity_len = identity.len, .hash = hash, .tef = tef};
    entry->question = question_new(remote, entry);
    if (entry->identity != NULL && entry->question != NULL)
        return entry;
    if (entry->question != NULL)
        question_free(entry->question);
    entry_free(entry);
    return NULL;
}

static int ask(struct remote *remote, const struct remote_tef *tef, struct slice identity, uint64_t hash,
               struct remote_answer *answer)
{
    static struct log_sample sample;
    struct slice relative_key_id, fqdn;
    struct entry *entry = NULL;
    if (remote->counters.waiting < remote->limits.waiting)
        entry = entry_new(remote, tef, identity, hash);
    if (entry != NULL && remote_split(identity, &relative_key_id, &fqdn) &&
        tef->fetcher.fetch(tef->fetcher.context, relative_key_id, on_done, entry->question) == SAGATE_OK) {
        LIST_INSERT_HEAD(bucket_of(remote, hash), entry, chain);
        LIST_INSERT_HEAD(&remote->questions, entry->question, all);
        remote->counters.waiting++;
        remote->counters.asked++;
        arm(entry->question);
        return SAGATE_PARKED;
    }
    if (entry != NULL) {
        question_free(entry->question);
        entry_free(entry);
    }
    remote->counters.overflow++;
    log_sampled(&sample, LOG_LEVEL_WARNING,
                "resolver: %s is not asked: %zu identities wait for a key already (resolver.waiting)", tef->name,
                remote->counters.waiting);
    *answer = failed;
    return SAGATE_OK;
}

static int answer_held(struct remote *remote, struct entry *entry, int64_t now, struct remote_answer *answer)
{
    struct order *order = entry->state == KEY ? &remote->keys : &remote->negatives;
    TAILQ_REMOVE(order, entry, used);
    TAILQ_INSERT_TAIL(order, entry, used);
    if (entry->state == KEY)
        remote->counters.cache_hits++;
    else
        remote->counters.negative_hits++;
    answer_from(entry, now, answer);
    return SAGATE_OK;
}

// Tells the end of the key itself; what is only held no longer is fetched again when it is needed.
static void expire(struct remote *remote, struct entry *entry, int64_t now)
{
    if (entry->state == KEY && entry->principal->expires_at <= now) {
        remote->counters.expired++;
        revoke(remote, entry, true);
    }
    drop(remote, entry);
}

int remote_resolve(struct remote *remote, struct slice identity, int64_t now, struct remote_answer *answer)
{
    struct slice relative_key_id, fqdn;
    if (!remote_split(identity, &relative_key_id, &fqdn)) {
        remote->counters.malformed_identity++;
        return SAGATE_ENOTFOUND;
    }
    const struct remote_tef *tef = tef_of(remote, fqdn);
    if (tef == NULL) {
        remote->counters.unknown_fqdn++;
        return SAGATE_ENOTFOUND;
    }
    uint64_t hash = hash_identity(remote, identity);
    struct entry *entry = find(remote, identity, hash);
    if (entry != NULL && entry->state == ASKING) {
        remote->counters.joined++;
        if (entry->question->told)
            arm(entry->question);
        return SAGATE_PARKED;
    }
    if (entry != NULL && entry->until > now)
        return answer_held(remote, entry, now, answer);
    if (entry != NULL)
        expire(remote, entry, now);
    return ask(remote, tef, identity, hash, answer);
}

struct flush {
    size_t count;
    bool revoke;
    const char *canonical; // NULL: all
};

static void flush_one(struct remote *remote, struct entry *entry, void *context)
{
    struct flush *flush = context;
    char canonical[ONEM2M_CREDENTIAL_MAX + 1];
    if (entry->state == ASKING)
        return;
    if (flush->canonical != NULL) {
        remote_credential_id(identity_of(entry), canonical);
        if (strcmp(canonical, flush->canonical) != 0)
            return;
    }
    revoke(remote, entry, flush->revoke);
    drop(remote, entry);
    remote->counters.flushed++;
    flush->count++;
}

size_t remote_flush(struct remote *remote, struct slice identity, bool revoke_associations)
{
    char canonical[ONEM2M_CREDENTIAL_MAX + 1];
    struct flush flush = {.revoke = revoke_associations};
    if (identity.data != NULL && identity.len > REMOTE_IDENTITY_MAX)
        return 0;
    if (identity.data != NULL) {
        remote_credential_id(identity, canonical);
        flush.canonical = canonical;
    }
    walk(remote, flush_one, &flush);
    return flush.count;
}

struct expiry {
    int64_t now, next;
};

static void expire_one(struct remote *remote, struct entry *entry, void *context)
{
    struct expiry *expiry = context;
    if (entry->state == ASKING)
        return;
    if (entry->until <= expiry->now)
        expire(remote, entry, expiry->now);
    else if (entry->state == KEY && (expiry->next == 0 || entry->until < expiry->next))
        expiry->next = entry->until;
}

int64_t remote_expire(struct remote *remote, int64_t now)
{
    struct expiry expiry = {.now = now};
    walk(remote, expire_one, &expiry);
    return expiry.next;
}

void remote_counters(const struct remote *remote, struct remote_counters *counters)
{
    *counters = remote->counters;
}

void remote_each(const struct remote *remote, bool (*visit)(void *context, const struct remote_entry *entry),
                 void *context)
{
    for (size_t i = 0; i < remote->bucket_count; i++) {
        for (const struct entry *entry = LIST_FIRST(&remote->buckets[i]); entry != NULL;
             entry = LIST_NEXT(entry, chain)) {
            struct remote_entry shown = {.identity = entry->identity,
                                         .tef = entry->tef->name,
                                         .principal = entry->principal,
                                         .until = entry->until};
            if (entry->state != ASKING && !visit(context, &shown))
                return;
        }
    }
}
