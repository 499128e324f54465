// The originator check (TS-0004 7.3.2.1) and the AE-IDs that a CSE assigns. The rules stand in pep.h in their order.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/pep/pep.h"

#include "common/error.h"
#include "common/hash.h"
#include "dataplane/binding/content/content.h"

#include <stdlib.h>
#include <string.h>

enum { OWNER_BUCKETS_MIN = 64, CONTENT_DEPTH = 64 };
enum { PENDING_NOTHING, PENDING_REGISTER, PENDING_DELETE };

struct owner {
    struct owner *next;
    uint64_t hash;
    size_t stem_len, upstream_len, credential_len;
    char text[]; // stem, upstream, credential
};

struct pep {
    struct pep_events events;
    struct stats *stats;
    struct hash_key key;
    struct owner **buckets;
    size_t bucket_count, owner_count; // bucket_count is a power of two
    size_t registree_count;
    char **registrees; // sorted
};

// One request under check.
struct check {
    struct pep *pep;
    const struct config_upstream *upstream;
    const struct principal *principal;
    const struct primitive *primitive;
    struct slice from; // len 0: absent
    enum onem2m_id_kind kind;
    struct slice absolute; // of From
    char buffer[ONEM2M_ABSOLUTE_MAX];
};

// What a rule says; NULL: nothing against it.
struct refusal {
    int rsc;
    enum stat_id stat;
    const char *debug;
};

static const struct refusal no_association = {RSC_SECURITY_ASSOCIATION_REQUIRED, STAT_REFUSED_NO_ASSOCIATION,
                                              "a security association with a proven identity is required"};
static const struct refusal from_form = {RSC_BAD_REQUEST, STAT_REFUSED_FROM_FORM, "From is not well-formed"};
static const struct refusal from_no_stem = {RSC_BAD_REQUEST, STAT_REFUSED_FROM_FORM,
                                            "From of an AE must be an AE-ID-Stem"};
static const struct refusal from_missing = {RSC_BAD_REQUEST, STAT_REFUSED_FROM_MISSING, "From is missing"};
static const struct refusal reserved = {RSC_ORIGINATOR_NOT_AUTHENTICATED, STAT_REFUSED_RESERVED,
                                        "From is reserved to the CSE"};
static const struct refusal not_authenticated = {RSC_ORIGINATOR_NOT_AUTHENTICATED, STAT_REFUSED_ORIGINATOR,
                                                 "From is not an identity that the security association proved"};
static const struct refusal ae_creates_csr = {RSC_OPERATION_NOT_ALLOWED, STAT_REFUSED_OPERATION,
                                              "an AE may not create a remoteCSE"};
static const struct refusal cse_creates_ae = {RSC_BAD_REQUEST, STAT_REFUSED_OPERATION,
                                              "an AE registers with its own association, not through a CSE"};
static const struct refusal csr_not_own = {RSC_SECURITY_ASSOCIATION_REQUIRED, STAT_REFUSED_ORIGINATOR,
                                           "a CSE registers with its own CSE-ID only"};

static bool starts_with(struct slice text, struct slice start)
{
    return text.len >= start.len && slice_equal(slice_of(text.data, start.len), start);
}

static struct slice without(struct slice text, size_t count)
{
    return slice_of(text.data + count, text.len - count);
}

static struct slice last_segment(struct slice text)
{
    size_t start = text.len;
    while (start > 0 && text.data[start - 1] != '/')
        start--;
    return without(text, start);
}

static void count_stat(struct pep *pep, enum stat_id stat)
{
    if (pep->stats != NULL)
        stats_add(pep->stats, stat, 1);
}

// ---- registrees and owners ----

struct pep *pep_new(const struct pep_events *events, struct stats *stats)
{
    struct pep *pep = calloc(1, sizeof *pep);
    if (pep == NULL)
        return NULL;
    if (events != NULL)
        pep->events = *events;
    pep->stats = stats;
    pep->bucket_count = OWNER_BUCKETS_MIN;
    pep->buckets = calloc(pep->bucket_count, sizeof *pep->buckets);
    hash_key_random(&pep->key);
    if (pep->buckets == NULL) {
        free(pep);
        return NULL;
    }
    return pep;
}

static void free_texts(char **texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(texts[i]);
    free(texts);
}

void pep_free(struct pep *pep)
{
    if (pep == NULL)
        return;
    pep_clear_owners(pep);
    free(pep->buckets);
    free_texts(pep->registrees, pep->registree_count);
    free(pep);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int pep_set_registrees(struct pep *pep, const struct slice *cse_ids, size_t count)
{
    char **texts = calloc(count == 0 ? 1 : count, sizeof *texts);
    if (texts == NULL)
        return SAGATE_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        texts[i] = slice_copy(cse_ids[i]);
        if (texts[i] == NULL) {
            free_texts(texts, i);
            return SAGATE_ENOMEM;
        }
    }
    qsort(texts, count, sizeof *texts, compare_texts);
    free_texts(pep->registrees, pep->registree_count);
    pep->registrees = texts;
    pep->registree_count = count;
    return SAGATE_OK;
}

static bool has_registree(const struct pep *pep, struct slice cse_id)
{
    char text[ONEM2M_ABSOLUTE_MAX];
    if (pep->registree_count == 0 || cse_id.len >= sizeof text)
        return false;
    memcpy(text, cse_id.data, cse_id.len);
    text[cse_id.len] = '\0';
    const char *key = text;
    return bsearch(&key, pep->registrees, pep->registree_count, sizeof *pep->registrees, compare_texts) != NULL;
}

static struct slice owner_stem(const struct owner *owner)
{
    return slice_of(owner->text, owner->stem_len);
}

static struct slice owner_upstream(const struct owner *owner)
{
    return slice_of(owner->text + owner->stem_len, owner->upstream_len);
}

static struct slice owner_credential(const struct owner *owner)
{
    return slice_of(owner->text + owner->stem_len + owner->upstream_len, owner->credential_len);
}

static struct owner **find_owner(struct pep *pep, struct slice stem, struct slice upstream, struct slice credential_id)
{
    uint64_t hash = hash_bytes(&pep->key, stem.data, stem.len);
    struct owner **link = &pep->buckets[hash & (pep->bucket_count - 1)];
    while (*link != NULL &&
           ((*link)->hash != hash || !slice_equal(owner_stem(*link), stem) ||
            !slice_equal(owner_upstream(*link), upstream) || !slice_equal(owner_credential(*link), credential_id)))
        link = &(*link)->next;
    return link;
}

// Another credential owns the stem at this upstream: there, or everywhere.
static bool other_owns(const struct pep *pep, struct slice stem, const struct config_upstream *upstream,
                       const struct principal *principal)
{
    uint64_t hash = hash_bytes(&pep->key, stem.data, stem.len);
    const struct owner *owner = pep->buckets[hash & (pep->bucket_count - 1)];
    for (; owner != NULL; owner = owner->next) {
        if (owner->hash == hash && slice_equal(owner_stem(owner), stem) &&
            (owner->upstream_len == 0 || slice_is(owner_upstream(owner), upstream->name)) &&
            !slice_is(owner_credential(owner), principal->credential_id))
            return true;
    }
    return false;
}

// Keeps the chains short; a table that cannot grow still works.
static void grow_buckets(struct pep *pep)
{
    size_t count = pep->bucket_count * 2;
    struct owner **buckets = calloc(count, sizeof *buckets);
    if (buckets == NULL)
        return;
    for (size_t i = 0; i < pep->bucket_count; i++) {
        struct owner *next;
        for (struct owner *owner = pep->buckets[i]; owner != NULL; owner = next) {
            next = owner->next;
            owner->next = buckets[owner->hash & (count - 1)];
            buckets[owner->hash & (count - 1)] = owner;
        }
    }
    free(pep->buckets);
    pep->buckets = buckets;
    pep->bucket_count = count;
}

int pep_add_owner(struct pep *pep, struct slice stem, struct slice upstream, struct slice credential_id)
{
    const struct slice parts[] = {stem, upstream, credential_id};
    if (*find_owner(pep, stem, upstream, credential_id) != NULL)
        return SAGATE_OK;
    struct owner *owner = malloc(sizeof *owner + stem.len + upstream.len + credential_id.len);
    if (owner == NULL)
        return SAGATE_ENOMEM;
    if (pep->owner_count >= pep->bucket_count)
        grow_buckets(pep);
    owner->hash = hash_bytes(&pep->key, stem.data, stem.len);
    owner->stem_len = stem.len;
    owner->upstream_len = upstream.len;
    owner->credential_len = credential_id.len;
    char *text = owner->text;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i].len > 0)
            memcpy(text, parts[i].data, parts[i].len);
        text += parts[i].len;
    }
    struct owner **bucket = &pep->buckets[owner->hash & (pep->bucket_count - 1)];
    owner->next = *bucket;
    *bucket = owner;
    pep->owner_count++;
    return SAGATE_OK;
}

void pep_remove_owner(struct pep *pep, struct slice stem, struct slice upstream, struct slice credential_id)
{
    struct owner **link = find_owner(pep, stem, upstream, credential_id);
    struct owner *owner = *link;
    if (owner == NULL)
        return;
    *link = owner->next;
    pep->owner_count--;
    free(owner);
}

void pep_clear_owners(struct pep *pep)
{
    for (size_t i = 0; i < pep->bucket_count; i++) {
        while (pep->buckets[i] != NULL) {
            struct owner *owner = pep->buckets[i];
            pep->buckets[i] = owner->next;
            free(owner);
        }
    }
    pep->owner_count = 0;
}

// ---- identifiers as one upstream sees them ----

static bool is_stem(enum onem2m_id_kind kind)
{
    return kind == ONEM2M_ID_STEM_C || kind == ONEM2M_ID_STEM_S;
}

static int to_absolute(const struct config_upstream *upstream, struct slice id, char *out, size_t cap)
{
    return onem2m_absolute(id, upstream->sp_id, upstream->cse_id, out, cap);
}

// What follows the upstream's own CSE in an identifier or address: "/id-in/x/y" and "//sp.example/id-in/x/y" give
// "x/y". NULL data when it is not under that CSE; the empty slice for the CSE itself.
static struct slice below_cse(const struct config_upstream *upstream, struct slice id)
{
    struct slice sp = slice_text(upstream->sp_id);
    struct slice cse = slice_text(upstream->cse_id);
    if (starts_with(id, sp))
        id = without(id, sp.len);
    if (!starts_with(id, cse))
        return slice_of(NULL, 0);
    id = without(id, cse.len);
    // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a slice with bytes has an address
    if (id.len > 0 && id.data[0] != '/')
        return slice_of(NULL, 0);
    return id.len == 0 ? id : without(id, 1);
}

// The AE-ID-Stem that an identifier of an AE of this CSE names in any of its forms; NULL data when it names none.
static struct slice stem_of(const struct config_upstream *upstream, struct slice id)
{
    struct slice sp = slice_text(upstream->sp_id);
    struct slice stem = below_cse(upstream, id);
    if (stem.data == NULL && starts_with(id, sp)) // "//sp.example/S…"
        id = without(id, sp.len);
    if (stem.data == NULL)
        stem = id.len > 1 && id.data[0] == '/' && id.data[1] == 'S' ? without(id, 1) : id;
    return is_stem(onem2m_id_kind(stem)) && !onem2m_id_is_wish(stem) ? stem : slice_of(NULL, 0);
}

// An identifier without what any of its forms puts in front: CSEs differ in how much of that they heed.
static struct slice bare(const struct config_upstream *upstream, struct slice id)
{
    struct slice sp = slice_text(upstream->sp_id);
    struct slice below = below_cse(upstream, id);
    if (below.len > 0)
        return below;
    if (starts_with(id, sp))
        id = without(id, sp.len);
    // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a slice with bytes has an address
    return id.len > 0 && id.data[0] == '/' ? without(id, 1) : id;
}

// True when two identifiers name one entity, in whatever forms.
static bool is_same(const struct config_upstream *upstream, struct slice a, struct slice b)
{
    char absolute_a[ONEM2M_ABSOLUTE_MAX];
    char absolute_b[ONEM2M_ABSOLUTE_MAX];
    // All forms of an identifier end alike, so that most need no closer look.
    if (a.len == 0 || b.len == 0 || a.data[a.len - 1] != b.data[b.len - 1] ||
        !slice_equal(last_segment(a), last_segment(b)))
        return false;
    if (slice_equal(a, b) || slice_equal(bare(upstream, a), bare(upstream, b)))
        return true;
    int len_a = to_absolute(upstream, a, absolute_a, sizeof absolute_a);
    int len_b = to_absolute(upstream, b, absolute_b, sizeof absolute_b);
    return len_a >= 0 && len_a == len_b && memcmp(absolute_a, absolute_b, (size_t)len_a) == 0;
}

static bool is_reserved(const struct config_upstream *upstream, struct slice id)
{
    if (is_same(upstream, id, slice_text(upstream->cse_id)))
        return true;
    for (size_t i = 0; i < upstream->full_access_count; i++) {
        if (is_same(upstream, id, slice_text(upstream->full_access_originators[i])))
            return true;
    }
    return false;
}

// ---- the rules ----

static bool is_pattern(const struct principal_ae *ae)
{
    return ae->upstream == NULL && strchr(ae->stem, '*') != NULL;
}

static bool has_ae(const struct principal *principal, struct slice stem, const struct config_upstream *upstream)
{
    for (size_t i = 0; i < principal->ae_count; i++) {
        const struct principal_ae *ae = &principal->aes[i];
        if (!slice_is(stem, ae->stem))
            continue;
        // C stems are one CSE's own: what was learned at one may be another AE's at the next (TS-0001 7.2).
        if (ae->upstream == NULL ? !is_pattern(ae) : strcmp(ae->upstream, upstream->name) == 0)
            return true;
    }
    return false;
}

static bool pattern_admits(const struct principal *principal, struct slice stem)
{
    for (size_t i = 0; i < principal->ae_count; i++) {
        if (is_pattern(&principal->aes[i]) && onem2m_stem_match(principal->aes[i].stem, stem))
            return true;
    }
    return false;
}

// Whether an AE-ID or pattern fits the wish "C" or "S"; any fits an absent one.
static bool fits_wish(const char *stem, struct slice wish)
{
    return wish.len == 0 || stem[0] == (char)wish.data[0] || stem[0] == '*';
}

// Rule 7. *instead is set when a fixed AE-ID takes the place of the wish.
static const struct refusal *check_wish(const struct check *check, struct slice *instead)
{
    const struct principal *principal = check->principal;
    size_t fixed = 0;
    for (size_t i = 0; i < principal->ae_count; i++) {
        const struct principal_ae *ae = &principal->aes[i];
        if (ae->upstream != NULL || !fits_wish(ae->stem, check->from))
            continue;
        if (is_pattern(ae)) {
            *instead = slice_of(NULL, 0);
            return NULL;
        }
        fixed++;
        *instead = slice_text(ae->stem);
    }
    if (fixed != 1 || !check->upstream->registration_substitute)
        return &not_authenticated;
    return is_reserved(check->upstream, *instead) ? &reserved : NULL;
}

static const struct refusal *check_ae(const struct check *check, struct slice *instead)
{
    bool create = check->primitive->operation == ONEM2M_CREATE;
    if (check->from.len > 0 && !is_stem(check->kind))
        return &from_no_stem;
    if (create && check->primitive->ty == ONEM2M_TY_REMOTE_CSE)
        return &ae_creates_csr;
    if (!create || check->primitive->ty != ONEM2M_TY_AE)
        return has_ae(check->principal, check->from, check->upstream) ? NULL : &not_authenticated;
    if (check->from.len == 0 || onem2m_id_is_wish(check->from))
        return check_wish(check, instead);
    if (has_ae(check->principal, check->from, check->upstream))
        return NULL;
    bool free_to_take = pattern_admits(check->principal, check->from) &&
                        !other_owns(check->pep, check->from, check->upstream, check->principal);
    return free_to_take ? NULL : &not_authenticated;
}

// The CSE part of an absolute identifier: "//sp.example/mn1/C1" gives "//sp.example/mn1".
static struct slice cse_part(struct slice absolute)
{
    size_t slashes = 0;
    size_t i = 0;
    while (i < absolute.len && (absolute.data[i] != '/' || ++slashes < 4))
        i++;
    return slice_of(absolute.data, i);
}

static bool is_own_cse(const struct check *check, struct slice absolute)
{
    char own[ONEM2M_ABSOLUTE_MAX];
    int len = to_absolute(check->upstream, slice_text(check->principal->cse_id), own, sizeof own);
    return len > 0 && slice_equal(absolute, slice_of(own, (size_t)len));
}

static bool is_registree(const struct check *check, struct slice absolute)
{
    struct slice sp = slice_text(check->upstream->sp_id);
    if (has_registree(check->pep, absolute))
        return true;
    return starts_with(absolute, sp) && has_registree(check->pep, without(absolute, sp.len));
}

static bool looks_like_ae(const struct check *check)
{
    struct slice cse = cse_part(check->absolute);
    struct slice last = last_segment(check->absolute);
    if (cse.len < check->absolute.len)
        return last.data[0] == 'C' || last.data[0] == 'S';
    return last.data[0] == 'S' && !is_registree(check, check->absolute); // "/S…", unless a CSE has that name
}

static const struct refusal *check_cse(const struct check *check)
{
    bool create = check->primitive->operation == ONEM2M_CREATE;
    if (create && check->primitive->ty == ONEM2M_TY_AE)
        return &cse_creates_ae;
    // An identifier that only its own CSE can place says nothing here.
    if (check->kind == ONEM2M_ID_OTHER)
        return &from_form;
    if (is_own_cse(check, check->absolute))
        return NULL;
    if (create && check->primitive->ty == ONEM2M_TY_REMOTE_CSE)
        return looks_like_ae(check) ? &ae_creates_csr : &csr_not_own;
    struct slice cse = cse_part(check->absolute);
    // The absolute form puts a bare C stem, and any AE of the receiver itself, under the receiver's CSE-ID.
    if (below_cse(check->upstream, check->absolute).data != NULL)
        return &not_authenticated;
    if (!is_own_cse(check, cse) && is_registree(check, cse))
        return &not_authenticated;
    return NULL;
}

// Rules 1 to 12. From and its absolute form are left in *check.
static const struct refusal *apply(struct check *check, struct slice *instead)
{
    if (check->principal == NULL)
        return &no_association;
    if (check->from.len > 0) {
        check->kind = onem2m_id_kind(check->from);
        int len = onem2m_absolute_of(check->kind, check->from, check->upstream->sp_id, check->upstream->cse_id,
                                     check->buffer, sizeof check->buffer);
        if (len < 0)
            return &from_form;
        check->absolute = slice_of(check->buffer, (size_t)len);
        if (is_reserved(check->upstream, check->from))
            return &reserved;
    } else if (check->primitive->operation != ONEM2M_CREATE || check->primitive->ty != ONEM2M_TY_AE) {
        return &from_missing;
    }
    return check->principal->cse_id == NULL ? check_ae(check, instead) : check_cse(check);
}

// Writes From in the form that the upstream wants; the length or an error.
static int write_from(const struct config_upstream *upstream, struct slice from, char *out, size_t cap)
{
    bool wish = onem2m_id_is_wish(from);
    size_t skip = strlen(upstream->sp_id);
    if (!wish && upstream->from_form == CONFIG_FROM_ABSOLUTE)
        return to_absolute(upstream, from, out, cap);
    if (!wish && upstream->from_form == CONFIG_FROM_SP_RELATIVE && is_stem(onem2m_id_kind(from))) {
        int len = to_absolute(upstream, from, out, cap);
        if (len < 0)
            return len;
        memmove(out, out + skip, (size_t)len - skip);
        return len - (int)skip;
    }
    if (from.len > cap)
        return SAGATE_ETOOBIG;
    if (from.len > 0)
        memcpy(out, from.data, from.len);
    return (int)from.len;
}

static struct slice route_of(const struct principal *principal, const struct pep_verdict *verdict)
{
    for (size_t i = 0; i < principal->ae_count; i++) {
        if (is_pattern(&principal->aes[i]))
            return slice_text(principal->credential_id);
    }
    return verdict->originator_len > 0 ? slice_of(verdict->originator, verdict->originator_len)
                                       : slice_text(principal->credential_id);
}

static int refuse(struct pep *pep, struct pep_verdict *verdict, const struct refusal *refusal)
{
    *verdict = (struct pep_verdict){.rsc = refusal->rsc, .refusal = refusal->stat, .debug = refusal->debug};
    count_stat(pep, refusal->stat);
    return SAGATE_OK;
}

// All but its buffer, which is for each request anew, and long.
static void begin_check(struct check *check, struct pep *pep, const struct device *device,
                        const struct primitive *primitive, struct slice from)
{
    check->pep = pep;
    check->upstream = device->upstream;
    check->principal = device->principal;
    check->primitive = primitive;
    check->from = from;
    check->kind = ONEM2M_ID_INVALID;
    check->absolute = slice_of(NULL, 0);
}

int pep_check(struct pep *pep, const struct device *device, const struct primitive *primitive,
              struct pep_verdict *verdict)
{
    struct check check;
    begin_check(&check, pep, device, primitive, primitive->from);
    struct slice instead = slice_of(NULL, 0);
    const struct refusal *refusal = apply(&check, &instead);
    if (refusal != NULL)
        return refuse(pep, verdict, refusal);
    struct slice from = instead.data != NULL ? instead : check.from;
    verdict->rsc = 0;
    verdict->refusal = STAT_COUNT;
    verdict->debug = NULL;
    verdict->from_len = 0;
    verdict->originator_len = 0;
    verdict->route = slice_text(device->principal->credential_id);
    if (from.len == 0)
        return SAGATE_OK;
    int len = write_from(device->upstream, from, verdict->from, sizeof verdict->from);
    // A wish is no identity yet: nothing was authenticated that could be told.
    bool nobody = onem2m_id_is_wish(from) && device->principal->cse_id == NULL;
    int originator_len = 0;
    if (!nobody && instead.data == NULL) {
        memcpy(verdict->originator, check.absolute.data, check.absolute.len + 1);
        originator_len = (int)check.absolute.len;
    } else if (!nobody) {
        originator_len = to_absolute(device->upstream, from, verdict->originator, sizeof verdict->originator);
    }
    if (len < 0 || originator_len < 0)
        return refuse(pep, verdict, &from_form);
    verdict->from_len = (size_t)len;
    verdict->originator_len = (size_t)originator_len;
    verdict->route = route_of(device->principal, verdict);
    return SAGATE_OK;
}

int pep_check_second(struct pep *pep, const struct device *device, const struct primitive *primitive,
                     const struct pep_verdict *verdict, struct slice second)
{
    char first[ONEM2M_ABSOLUTE_MAX];
    struct slice from = slice_of(verdict->from, verdict->from_len);
    struct check check;
    begin_check(&check, pep, device, primitive, slice_of(NULL, 0));
    if (second.len == 0 && from.len == 0)
        return 0;
    int rsc = RSC_BAD_REQUEST;
    int len = to_absolute(device->upstream, second, check.buffer, sizeof check.buffer);
    if (len >= 0) {
        int first_len = to_absolute(device->upstream, from, first, sizeof first);
        if (first_len == len && memcmp(first, check.buffer, (size_t)len) == 0)
            return 0;
        // In another form than a stem an AE may name itself in the content.
        struct slice stem = stem_of(device->upstream, second);
        bool ae = device->principal != NULL && device->principal->cse_id == NULL;
        struct slice instead = slice_of(NULL, 0);
        check.from = ae && stem.data != NULL ? stem : second;
        rsc = apply(&check, &instead) == NULL ? RSC_BAD_REQUEST : RSC_ORIGINATOR_NOT_AUTHENTICATED;
    }
    count_stat(pep, STAT_REFUSED_SECOND_ORIGINATOR);
    return rsc;
}

// ---- answers ----

static unsigned hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - (unsigned)'0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - (unsigned)'a' + 10 : 16;
}

// RFC 3986 2.3.
static bool is_unreserved(unsigned c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '-' || c == '.' || c == '_' ||
           c == '~';
}

// Copies To with encoded unreserved characters decoded; every other encoding stays as it is. A CSE takes both for the
// same address. False, and nothing remembered, when it does not fit.
static bool remember_to(struct slice to, struct pep_pending *pending)
{
    size_t len = 0;
    for (size_t i = 0; i < to.len; i++) {
        uint8_t c = to.data[i];
        if (c == '%' && to.len - i > 2) {
            unsigned high = hex_digit(to.data[i + 1]);
            unsigned low = hex_digit(to.data[i + 2]);
            if (high < 16 && low < 16 && is_unreserved(high << 4 | low)) {
                c = (uint8_t)(high << 4 | low);
                i += 2;
            }
        }
        if (len == sizeof pending->to)
            return false;
        pending->to[len++] = (char)c;
    }
    // "~" and "_" that were encoded stood for the start of an SP-relative and an absolute address (TS-0009 6.2.2.1).
    if (len > 1 && pending->to[0] == '~' && pending->to[1] == '/')
        memmove(pending->to, pending->to + 1, --len);
    else if (len > 1 && pending->to[0] == '_' && pending->to[1] == '/')
        pending->to[0] = '/';
    pending->to_len = (uint16_t)len;
    return true;
}

bool pep_wants_answer(const struct primitive *primitive, const struct pep_verdict *verdict, struct pep_pending *pending)
{
    bool registers = primitive->operation == ONEM2M_CREATE && primitive->ty == ONEM2M_TY_AE;
    pending->kind = PENDING_NOTHING;
    pending->from_len = pending->to_len = 0;
    if (!registers && primitive->operation != ONEM2M_DELETE)
        return false;
    bool fits = remember_to(primitive->to, pending);
    if (!registers && !fits)
        return false;
    pending->kind = registers ? PENDING_REGISTER : PENDING_DELETE;
    struct slice stem = last_segment(slice_of(verdict->from, verdict->from_len));
    if (registers && stem.len > 0 && !onem2m_id_is_wish(stem) && stem.len <= sizeof pending->from) {
        memcpy(pending->from, stem.data, stem.len);
        pending->from_len = (uint16_t)stem.len;
    }
    return true;
}

// To as the CSE itself names the resource: without its own CSE-ID in front, "-" standing for the CSEBase.
static struct slice cse_relative(const struct config_upstream *upstream, struct slice to)
{
    while (to.len > 1 && to.data[to.len - 1] == '/')
        to.len--;
    struct slice below = below_cse(upstream, to);
    if (below.data == NULL)
        return to;
    return below.len == 0 ? slice_text("-") : below;
}

static bool may_learn(const struct pep *pep, const struct principal *principal, const struct config_upstream *upstream,
                      struct slice stem, struct slice requested)
{
    if (stem.data == NULL || is_reserved(upstream, stem) || other_owns(pep, stem, upstream, principal))
        return false;
    // The CSE was asked for one AE-ID and names another: only one that the credential may have is believed.
    return requested.len == 0 || slice_equal(stem, requested) || has_ae(principal, stem, upstream) ||
           pattern_admits(principal, stem);
}

static struct slice found_text(const struct content_found *found)
{
    return found->count > 0 && !found->differs ? slice_of(found->value, found->len) : slice_of(NULL, 0);
}

static void answer_register(struct pep *pep, struct principal *principal, size_t upstream_index,
                            const struct config_upstream *upstream, const struct pep_pending *pending,
                            struct slice content)
{
    static const struct content_field fields[3] = {
        {.path = {"*", "aei"}, .steps = 2}, {.path = {"*", "ri"}, .steps = 2}, {.path = {"*", "rn"}, .steps = 2}};
    struct content_found found[3] = {0};
    int result = content_scan_all(CONTENT_UNKNOWN, content, fields, 3, CONTENT_DEPTH, found);
    if (result != SAGATE_OK)
        memset(found, 0, sizeof found);
    struct slice requested = slice_of(pending->from, pending->from_len);
    // An answer without the attribute (rcn 0) confirms what was asked for; one that cannot be read confirms nothing.
    struct slice stem = requested.len > 0 && found[0].count == 0 && result == SAGATE_OK
                            ? requested
                            : stem_of(upstream, found_text(&found[0]));
    bool known = may_learn(pep, principal, upstream, stem, requested);
    int added = known ? principal_add_ae(principal, stem, slice_text(upstream->name)) : SAGATE_EINVAL;
    if (added != SAGATE_OK && added != SAGATE_EEXISTS) {
        count_stat(pep, STAT_REGISTRATIONS_UNLEARNED);
        return;
    }
    if (added == SAGATE_OK)
        count_stat(pep, STAT_REGISTRATIONS_LEARNED);
    // The control plane tells all workers; this one must not lend the AE-ID to another credential until then.
    (void)pep_add_owner(pep, stem, slice_text(upstream->name), slice_text(principal->credential_id));
    char structured[sizeof pending->to + CONTENT_VALUE_MAX + 1];
    size_t len = 0;
    struct slice to = cse_relative(upstream, slice_of(pending->to, pending->to_len));
    struct slice rn = found_text(&found[2]);
    if (to.len > 0 && rn.len > 0) {
        memcpy(structured, to.data, to.len);
        structured[to.len] = '/';
        memcpy(structured + to.len + 1, rn.data, rn.len);
        len = to.len + 1 + rn.len;
    }
    if (pep->events.registered != NULL)
        pep->events.registered(pep->events.context, principal, upstream_index, stem, found_text(&found[1]),
                               slice_of(len > 0 ? structured : NULL, len));
}

// The name in an address that can be an AE's: a child of the CSEBase, or a resource ID alone. Empty for others.
static struct slice ae_name(struct slice to)
{
    struct slice last = last_segment(to);
    size_t before = to.len - last.len;
    bool deeper = before > 0 && memchr(to.data, '/', before - 1) != NULL;
    return deeper ? slice_text("") : last;
}

static void answer_delete(struct pep *pep, struct principal *principal, size_t upstream_index,
                          const struct config_upstream *upstream, const struct pep_pending *pending)
{
    struct slice to = cse_relative(upstream, slice_of(pending->to, pending->to_len));
    // The AE-ID is often the resource ID or the name as well; what only the control plane can tell comes back from it.
    struct slice name = ae_name(to);
    struct slice at = slice_text(upstream->name);
    bool learned = principal != NULL && principal->cse_id == NULL && principal->framework == FRAMEWORK_PSK;
    if (learned && principal_remove_ae(principal, name, at) == SAGATE_OK) {
        pep_remove_owner(pep, name, at, slice_text(principal->credential_id));
        count_stat(pep, STAT_REGISTRATIONS_FORGOTTEN);
    }
    if (pep->events.deleted != NULL)
        pep->events.deleted(pep->events.context, upstream_index, to);
}

void pep_answer(struct pep *pep, struct principal *principal, size_t upstream_index,
                const struct config_upstream *upstream, const struct pep_pending *pending, int rsc,
                struct slice content)
{
    if (pending->kind == PENDING_REGISTER && rsc == RSC_CREATED && principal != NULL)
        answer_register(pep, principal, upstream_index, upstream, pending, content);
    if (pending->kind == PENDING_DELETE && rsc == RSC_DELETED)
        answer_delete(pep, principal, upstream_index, upstream, pending);
}
