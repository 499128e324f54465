// Identities and principals of one worker: two chained tables, entries bounded and least recently used first out.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/worker/keys.h"

#include "common/error.h"
#include "common/hash.h"
#include "common/onem2m.h"
#include "common/plane.h"
#include "common/secret.h"

#include <stdlib.h>
#include <string.h>

enum { ASKED_MS = 60000 }; // an unanswered question is forgotten after this, and asked anew by the next peer

struct entry {
    struct key key;
    uint64_t expires_ms;
    uint64_t hash;
    struct entry *next;          // in its bucket
    struct entry *newer, *older; // by use
    size_t identity_len;
    uint8_t identity[];
};

struct named_principal {
    struct principal *principal; // holds a reference
    struct named_principal *next;
};

struct keys {
    size_t max, count, bucket_mask;
    struct entry **buckets;
    struct entry *newest, *oldest;
    struct named_principal **principals; // by Credential-ID; as many buckets
    size_t sweep;                        // next bucket of principals to look for unused ones
    size_t expire;                       // next bucket of entries to look for old ones
    struct hash_key hash_key;
};

struct keys *keys_new(size_t max)
{
    struct keys *keys = calloc(1, sizeof *keys);
    if (keys == NULL)
        return NULL;
    size_t buckets = 64;
    while (buckets < max)
        buckets *= 2;
    keys->max = max;
    keys->bucket_mask = buckets - 1;
    keys->buckets = calloc(buckets, sizeof(struct entry *));
    keys->principals = calloc(buckets, sizeof(struct named_principal *));
    hash_key_random(&keys->hash_key);
    if (keys->buckets == NULL || keys->principals == NULL) {
        keys_free(keys);
        return NULL;
    }
    return keys;
}

static void unlink_by_use(struct keys *keys, struct entry *entry)
{
    *(entry->newer != NULL ? &entry->newer->older : &keys->newest) = entry->older;
    *(entry->older != NULL ? &entry->older->newer : &keys->oldest) = entry->newer;
}

static void link_newest(struct keys *keys, struct entry *entry)
{
    entry->newer = NULL;
    entry->older = keys->newest;
    *(keys->newest != NULL ? &keys->newest->newer : &keys->oldest) = entry;
    keys->newest = entry;
}

static void clear_key(struct entry *entry)
{
    secret_free(entry->key.bytes);
    principal_release(entry->key.principal);
    entry->key = (struct key){.state = KEY_NONE};
}

static void remove_entry(struct keys *keys, struct entry *entry)
{
    struct entry **link = &keys->buckets[entry->hash & keys->bucket_mask];
    while (*link != entry)
        link = &(*link)->next;
    *link = entry->next;
    unlink_by_use(keys, entry);
    clear_key(entry);
    free(entry);
    keys->count--;
}

void keys_free(struct keys *keys)
{
    if (keys == NULL)
        return;
    while (keys->oldest != NULL)
        remove_entry(keys, keys->oldest);
    for (size_t i = 0; keys->principals != NULL && i <= keys->bucket_mask; i++) {
        while (keys->principals[i] != NULL) {
            struct named_principal *named = keys->principals[i];
            keys->principals[i] = named->next;
            principal_release(named->principal);
            free(named);
        }
    }
    free(keys->buckets);
    free(keys->principals);
    free(keys);
}

static struct entry *find_entry(struct keys *keys, struct slice identity)
{
    uint64_t hash = hash_bytes(&keys->hash_key, identity.data, identity.len);
    struct entry *entry = keys->buckets[hash & keys->bucket_mask];
    while (entry != NULL &&
           (entry->hash != hash || !slice_equal(slice_of(entry->identity, entry->identity_len), identity)))
        entry = entry->next;
    return entry;
}

static struct entry *get_entry(struct keys *keys, struct slice identity)
{
    struct entry *entry = find_entry(keys, identity);
    if (entry != NULL)
        return entry;
    if (keys->count >= keys->max)
        remove_entry(keys, keys->oldest);
    entry = calloc(1, sizeof *entry + identity.len);
    if (entry == NULL)
        return NULL;
    memcpy(entry->identity, identity.data, identity.len);
    entry->identity_len = identity.len;
    entry->hash = hash_bytes(&keys->hash_key, identity.data, identity.len);
    struct entry **bucket = &keys->buckets[entry->hash & keys->bucket_mask];
    entry->next = *bucket;
    *bucket = entry;
    link_newest(keys, entry);
    keys->count++;
    return entry;
}

const struct key *keys_find(struct keys *keys, struct slice identity, uint64_t now_ms)
{
    static const struct key none = {.state = KEY_NONE};
    struct entry *entry = find_entry(keys, identity);
    if (entry == NULL)
        return &none;
    if (now_ms >= entry->expires_ms) {
        remove_entry(keys, entry);
        return &none;
    }
    unlink_by_use(keys, entry);
    link_newest(keys, entry);
    return &entry->key;
}

int keys_asked(struct keys *keys, struct slice identity, uint64_t now_ms)
{
    struct entry *entry = get_entry(keys, identity);
    if (entry == NULL)
        return SAGATE_ENOMEM;
    clear_key(entry);
    entry->key.state = KEY_ASKED;
    entry->expires_ms = now_ms + ASKED_MS;
    return SAGATE_OK;
}

static struct named_principal **principal_link(struct keys *keys, const char *credential_id)
{
    uint64_t hash = hash_bytes(&keys->hash_key, credential_id, strlen(credential_id));
    struct named_principal **link = &keys->principals[hash & keys->bucket_mask];
    while (*link != NULL && strcmp((*link)->principal->credential_id, credential_id) != 0)
        link = &(*link)->next;
    return link;
}

// A principal that only the table still refers to has no association and no key: gone. A few buckets at a time.
static void sweep_principals(struct keys *keys)
{
    for (size_t i = 0; i < 8; i++) {
        struct named_principal **link = &keys->principals[keys->sweep++ & keys->bucket_mask];
        while (*link != NULL) {
            struct named_principal *named = *link;
            if (named->principal->references > 1) {
                link = &named->next;
                continue;
            }
            *link = named->next;
            principal_release(named->principal);
            free(named);
        }
    }
}

// The one object of the credential of `fresh`, which is taken over, with a reference for the caller.
static struct principal *intern_fresh(struct keys *keys, struct principal *fresh)
{
    if (fresh == NULL)
        return NULL;
    struct named_principal **link = principal_link(keys, fresh->credential_id);
    if (*link != NULL) {
        principal_replace((*link)->principal, fresh);
        principal_release(fresh);
        return principal_reference((*link)->principal);
    }
    struct named_principal *named = calloc(1, sizeof *named);
    if (named == NULL) {
        principal_release(fresh);
        return NULL;
    }
    named->principal = fresh;
    *link = named;
    return principal_reference(fresh);
}

// The same of the credential that `packed` names; NULL when malformed.
static struct principal *intern(struct keys *keys, struct slice packed)
{
    return intern_fresh(keys, plane_unpack_principal(packed));
}

struct principal *keys_intern_proven(struct keys *keys, struct principal *fresh)
{
    sweep_principals(keys);
    return intern_fresh(keys, fresh);
}

struct principal *keys_intern(struct keys *keys, struct slice packed)
{
    struct plane_packed head;
    char credential_id[ONEM2M_CREDENTIAL_MAX + 1];
    sweep_principals(keys);
    if (!plane_packed_principal(packed, &head) || head.credential_id.len > ONEM2M_CREDENTIAL_MAX)
        return NULL;
    memcpy(credential_id, head.credential_id.data, head.credential_id.len);
    credential_id[head.credential_id.len] = '\0';
    const struct named_principal *named = *principal_link(keys, credential_id);
    // What is at hand may know more than what was kept: an AE-ID that was assigned a moment ago.
    return named != NULL ? principal_reference(named->principal) : intern(keys, packed);
}

int keys_answered(struct keys *keys, struct slice identity, struct slice key, struct slice packed,
                  uint32_t cache_seconds, uint64_t now_ms)
{
    struct principal *principal = NULL;
    uint8_t *bytes = NULL;
    sweep_principals(keys);
    if (key.len > 0) {
        principal = intern(keys, packed);
        if (principal == NULL)
            return SAGATE_EMALFORMED;
        bytes = secret_alloc(key.len);
    }
    struct entry *entry = get_entry(keys, identity);
    if (entry == NULL || (key.len > 0 && bytes == NULL)) {
        secret_free(bytes);
        principal_release(principal);
        return SAGATE_ENOMEM;
    }
    clear_key(entry);
    if (bytes != NULL)
        memcpy(bytes, key.data, key.len);
    entry->key = (struct key){
        .state = bytes != NULL ? KEY_KNOWN : KEY_REFUSED, .bytes = bytes, .len = key.len, .principal = principal};
    entry->expires_ms = now_ms + (uint64_t)cache_seconds * 1000;
    return SAGATE_OK;
}

void keys_expire(struct keys *keys, uint64_t now_ms, size_t buckets)
{
    for (size_t i = 0; i < buckets; i++) {
        struct entry *next;
        for (struct entry *entry = keys->buckets[keys->expire++ & keys->bucket_mask]; entry != NULL; entry = next) {
            next = entry->next;
            if (now_ms >= entry->expires_ms)
                remove_entry(keys, entry);
        }
    }
}

void keys_forget_answers(struct keys *keys)
{
    struct entry *newer;
    for (struct entry *entry = keys->oldest; entry != NULL; entry = newer) {
        newer = entry->newer;
        if (entry->key.state != KEY_ASKED)
            remove_entry(keys, entry);
    }
}

bool keys_has_principal(struct keys *keys, const char *credential_id)
{
    return *principal_link(keys, credential_id) != NULL;
}

void keys_forget(struct keys *keys, struct slice identity)
{
    struct entry *entry = find_entry(keys, identity);
    if (entry != NULL)
        remove_entry(keys, entry);
}

int keys_update_principal(struct keys *keys, struct slice packed)
{
    struct principal *fresh = plane_unpack_principal(packed);
    if (fresh == NULL)
        return SAGATE_EMALFORMED;
    struct named_principal **link = principal_link(keys, fresh->credential_id);
    int result = *link == NULL ? SAGATE_ENOTFOUND : SAGATE_OK;
    if (*link != NULL)
        principal_replace((*link)->principal, fresh);
    principal_release(fresh);
    return result;
}

void keys_each_asked(struct keys *keys, void (*each)(void *context, struct slice identity), void *context)
{
    struct entry *entry = keys->oldest;
    while (entry != NULL) {
        struct entry *newer = entry->newer;
        if (entry->key.state == KEY_ASKED)
            each(context, slice_of(entry->identity, entry->identity_len));
        entry = newer;
    }
}
