// What a TEF does for its clients, and what it refuses.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/tefserver/procedures.h"

#include "common/derive.h"
#include "common/error.h"
#include "common/secret.h"
#include "controlplane/tefserver/content.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

const char *procedure_name(enum procedure procedure)
{
    static const char *const names[] = {
#define X(id, name) name,
        PROCEDURES(X)
#undef X
    };
    return (size_t)procedure < PROCEDURE_TOTAL ? names[procedure] : "none";
}

void procedure_answer_release(struct procedure_answer *answer)
{
    if (answer->content != NULL)
        secret_zero(answer->content, strlen(answer->content));
    free(answer->content);
    answer->content = NULL;
}

// One request on its way.
struct run {
    const struct settings *settings;
    const struct settings_function *function;
    const struct tef_profile *profile;
    struct tef_store *store;
    const struct procedure_peer *peer;
    const struct procedure_request *request;
    int64_t now;
    struct tef_store_client client;
    struct content content;
    struct tef_store_key key;
    struct tef_store_registration registration;
    struct procedure_answer *answer;
};

static enum onem2m_rsc rsc_of(int result)
{
    switch (result) {
    case SAGATE_OK:
        return RSC_OK;
    case SAGATE_ENOTFOUND:
        return RSC_NOT_FOUND;
    case SAGATE_EEXISTS:
        return RSC_CONFLICT;
    case SAGATE_EMALFORMED:
    case SAGATE_EINVAL:
        return RSC_BAD_REQUEST;
    default:
        return RSC_INTERNAL_SERVER_ERROR;
    }
}

static enum onem2m_rsc give(struct run *run, enum onem2m_rsc rsc, char *content)
{
    run->answer->content = content;
    return content == NULL ? RSC_INTERNAL_SERVER_ERROR : rsc;
}

static void name_resource(struct run *run, const char *id)
{
    (void)snprintf(run->answer->id, sizeof run->answer->id, "%s", id);
}

static bool random_id(const char *prefix, char out[TEF_ID_MAX + 1])
{
    uint8_t bytes[DERIVE_ID];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return false;
    int at = snprintf(out, TEF_ID_MAX + 1, "%s", prefix);
    for (size_t i = 0; i < sizeof bytes; i++)
        at += snprintf(out + at, (size_t)(TEF_ID_MAX + 1 - at), "%02X", bytes[i]);
    return true;
}

bool procedure_random_key(struct tef_key *key, size_t len)
{
    key->key_len = len;
    return len <= sizeof key->key && getrandom(key->key, len, 0) == (ssize_t)len && random_id("", key->relative_key_id);
}

// True when the client was provisioned for this administrator.
static bool administered(const struct run *run, const char *fqdn)
{
    size_t len = strlen(fqdn);
    for (const char *at = run->client.admins; *at != '\0';) {
        size_t one = strcspn(at, " ");
        if (one == len && memcmp(at, fqdn, len) == 0)
            return true;
        at += one + (at[one] == ' ' ? 1 : 0);
    }
    return false;
}

// The time that was asked for, cut to `longest` from now; false when it is over already.
static bool take_expiry(const struct run *run, unsigned longest, int64_t *expires_at)
{
    int64_t last = run->now + longest;
    if (!run->content.has_expiry) {
        *expires_at = last;
        return true;
    }
    *expires_at = run->content.expires_at < last ? run->content.expires_at : last;
    return *expires_at > run->now;
}

static int read_content(struct run *run, const char *root)
{
    return content_read(run->profile, root, run->request->content, &run->content);
}

// --- Client registrations (8.8.2.3 to 8.8.2.6) -------------------------------------------------------------------

// A client that has come with a key of an MEF goes on with it under an identity of this MAF
// (assignedSymmKeyID, 8.8.2.3).
static enum onem2m_rsc assign_key(struct run *run)
{
    const struct tef_key *km = run->peer->km;
    if (km == NULL)
        return RSC_OK;
    struct tef_key *key = &run->key.key;
    run->key = (struct tef_store_key){0};
    memcpy(key->key, km->key, sizeof key->key);
    key->key_len = km->key_len;
    key->expires_at = km->expires_at != 0 ? km->expires_at : run->now + run->settings->limits.key_seconds;
    key->suid = TEF_SUID_KM;
    (void)snprintf(key->relative_key_id, sizeof key->relative_key_id, "%s", km->relative_key_id);
    (void)snprintf(key->source_id, sizeof key->source_id, "%s", run->client.id);
    int result = tef_store_key_add(run->store, run->function->kind, &run->key);
    return result == SAGATE_OK || result == SAGATE_EEXISTS ? RSC_OK : rsc_of(result);
}

static char *registration_content(const struct run *run)
{
    char assigned[2 * TEF_ID_MAX + 2] = "";
    if (run->peer->km != NULL)
        (void)snprintf(assigned, sizeof assigned, "%s@%s", run->peer->km->relative_key_id, run->function->fqdn);
    return content_of_registration(run->profile, &run->registration, assigned);
}

static enum onem2m_rsc register_client(struct run *run)
{
    struct tef_store_registration *registration = &run->registration;
    size_t count = 0;
    run->answer->procedure = PROCEDURE_CLIENT_REGISTRATION;
    int result = read_content(run, run->profile->registration_root);
    const struct content *content = &run->content;
    if (result != SAGATE_OK || content->admin_fqdn[0] == '\0' || content->has_targets || content->suid != 0 ||
        content->key_len > 0)
        return result == SAGATE_ENOMEM ? RSC_INTERNAL_SERVER_ERROR : RSC_BAD_REQUEST;
    if (!administered(run, content->admin_fqdn))
        return RSC_ORIGINATOR_HAS_NO_PRIVILEGE;
    if (!take_expiry(run, run->settings->limits.registration_seconds, &registration->expires_at))
        return RSC_BAD_REQUEST;
    result = tef_store_registration_count(run->store, run->function->kind, run->client.id, &count);
    if (result != SAGATE_OK || !random_id("reg-", registration->id))
        return RSC_INTERNAL_SERVER_ERROR;
    if (count >= run->settings->limits.registrations_per_client)
        return RSC_ORIGINATOR_HAS_NO_PRIVILEGE;
    (void)snprintf(registration->client_id, sizeof registration->client_id, "%s", run->client.id);
    (void)snprintf(registration->admin_fqdn, sizeof registration->admin_fqdn, "%s", content->admin_fqdn);
    (void)snprintf(registration->labels, sizeof registration->labels, "%s", content->labels);
    enum onem2m_rsc assigned = assign_key(run);
    if (assigned != RSC_OK)
        return assigned;
    result = tef_store_registration_put(run->store, run->function->kind, registration);
    if (result != SAGATE_OK)
        return rsc_of(result);
    name_resource(run, registration->id);
    return give(run, RSC_CREATED, registration_content(run));
}

static enum onem2m_rsc update_registration(struct run *run)
{
    struct tef_store_registration *registration = &run->registration;
    int result = read_content(run, run->profile->registration_root);
    const struct content *content = &run->content;
    if (result != SAGATE_OK || (!content->has_expiry && !content->has_labels) || content->admin_fqdn[0] != '\0' ||
        content->has_targets || content->suid != 0 || content->key_len > 0)
        return result == SAGATE_ENOMEM ? RSC_INTERNAL_SERVER_ERROR : RSC_BAD_REQUEST;
    if (content->has_expiry && !take_expiry(run, run->settings->limits.registration_seconds, &registration->expires_at))
        return RSC_BAD_REQUEST;
    if (content->has_labels)
        (void)snprintf(registration->labels, sizeof registration->labels, "%s", content->labels);
    result = tef_store_registration_put(run->store, run->function->kind, registration);
    return result != SAGATE_OK ? rsc_of(result) : give(run, RSC_UPDATED, registration_content(run));
}

static enum onem2m_rsc on_registration(struct run *run)
{
    static const enum procedure procedures[] = {[ONEM2M_RETRIEVE] = PROCEDURE_CLIENT_RETRIEVAL,
                                                [ONEM2M_UPDATE] = PROCEDURE_CLIENT_UPDATE,
                                                [ONEM2M_DELETE] = PROCEDURE_CLIENT_DEREGISTRATION};
    enum onem2m_operation operation = run->request->operation;
    run->answer->procedure = procedures[operation];
    name_resource(run, run->registration.id);
    if (strcmp(run->registration.client_id, run->client.id) != 0)
        return RSC_ORIGINATOR_HAS_NO_PRIVILEGE;
    if (operation == ONEM2M_RETRIEVE)
        return give(run, RSC_OK, registration_content(run));
    if (operation == ONEM2M_UPDATE)
        return update_registration(run);
    int result = tef_store_registration_remove(run->store, run->function->kind, run->registration.id);
    return result == SAGATE_OK ? RSC_DELETED : rsc_of(result);
}

// --- Keys (8.8.2.7 to 8.8.2.10, 8.3.5.2) -------------------------------------------------------------------------

// Keys for an association or ESPrim are for one target (8.8.1); all of them for somebody.
static bool targets_fit(unsigned suid, size_t count)
{
    unsigned use = suid % 10;
    return use == 2 || use == 3 ? count == 1 : count > 0;
}

// A client may name others that are clients here, and anybody when it was provisioned so.
static enum onem2m_rsc check_targets(struct run *run)
{
    struct tef_store_client target;
    for (size_t i = 0; i < run->content.target_count && !run->client.target_any; i++) {
        int result = tef_store_client_by_id(run->store, slice_text(run->content.targets[i]), &target);
        if (result != SAGATE_OK)
            return result == SAGATE_ENOTFOUND ? RSC_ORIGINATOR_HAS_NO_PRIVILEGE : RSC_INTERNAL_SERVER_ERROR;
    }
    return RSC_OK;
}

static void copy_targets(const struct content *content, struct tef_key *key)
{
    key->target_count = content->target_count;
    memcpy(key->targets, content->targets, sizeof key->targets);
}

// The value that came with the request under a new ID, or both from the session.
static bool make_key(struct run *run)
{
    struct tef_key *key = &run->key.key;
    const struct content *content = &run->content;
    if (content->key_len > 0) {
        memcpy(key->key, content->key, content->key_len);
        key->key_len = content->key_len;
        return random_id("", key->relative_key_id);
    }
    if (run->peer->exported == NULL)
        return false;
    derive_split(run->peer->exported, key->relative_key_id, key->key);
    key->key_len = DERIVE_KEY;
    return true;
}

// A MAF distributes keys of SUIDs 3x, an MEF those of 2x (TS-0004 6.3.4.2.39).
static bool suid_fits(const struct run *run, unsigned suid)
{
    return suid / 10 == (run->function->kind == TEF_MAF ? 3 : 2);
}

static enum onem2m_rsc register_key(struct run *run)
{
    struct tef_key *key = &run->key.key;
    size_t count = 0;
    run->answer->procedure = PROCEDURE_KEY_REGISTRATION;
    int result = read_content(run, run->profile->key_root);
    const struct content *content = &run->content;
    if (result != SAGATE_OK || content->admin_fqdn[0] == '\0' || !suid_fits(run, content->suid) ||
        !targets_fit(content->suid, content->target_count))
        return result == SAGATE_ENOMEM ? RSC_INTERNAL_SERVER_ERROR : RSC_BAD_REQUEST;
    if (!administered(run, content->admin_fqdn))
        return RSC_ORIGINATOR_HAS_NO_PRIVILEGE;
    if (!take_expiry(run, run->settings->limits.key_seconds, &key->expires_at))
        return RSC_BAD_REQUEST;
    enum onem2m_rsc rsc = check_targets(run);
    if (rsc != RSC_OK)
        return rsc;
    if (tef_store_key_count(run->store, run->function->kind, run->client.id, &count) != SAGATE_OK || !make_key(run))
        return RSC_INTERNAL_SERVER_ERROR;
    if (count >= run->settings->limits.keys_per_client)
        return RSC_ORIGINATOR_HAS_NO_PRIVILEGE;
    (void)snprintf(key->source_id, sizeof key->source_id, "%s", run->client.id);
    (void)snprintf(key->admin_fqdn, sizeof key->admin_fqdn, "%s", content->admin_fqdn);
    (void)snprintf(run->key.labels, sizeof run->key.labels, "%s", content->labels);
    key->suid = content->suid;
    copy_targets(content, key);
    name_resource(run, key->relative_key_id);
    result = tef_store_key_add(run->store, run->function->kind, &run->key);
    return result != SAGATE_OK ? rsc_of(result)
                               : give(run, RSC_CREATED, content_of_key(run->profile, &run->key, false));
}

static bool is_target(const struct run *run)
{
    for (size_t i = 0; i < run->key.key.target_count; i++) {
        if (strcmp(run->key.key.targets[i], run->client.id) == 0)
            return true;
    }
    return false;
}

static enum onem2m_rsc update_key(struct run *run)
{
    struct tef_key *key = &run->key.key;
    int result = read_content(run, run->profile->key_root);
    const struct content *content = &run->content;
    if (result != SAGATE_OK || (!content->has_expiry && !content->has_labels && !content->has_targets) ||
        content->admin_fqdn[0] != '\0' || content->suid != 0 || content->key_len > 0 ||
        (content->has_targets && !targets_fit(key->suid, content->target_count)))
        return result == SAGATE_ENOMEM ? RSC_INTERNAL_SERVER_ERROR : RSC_BAD_REQUEST;
    if (content->has_expiry && !take_expiry(run, run->settings->limits.key_seconds, &key->expires_at))
        return RSC_BAD_REQUEST;
    enum onem2m_rsc rsc = check_targets(run);
    if (rsc != RSC_OK)
        return rsc;
    if (content->has_targets)
        copy_targets(content, key);
    if (content->has_labels)
        (void)snprintf(run->key.labels, sizeof run->key.labels, "%s", content->labels);
    result = tef_store_key_update(run->store, run->function->kind, &run->key);
    return result != SAGATE_OK ? rsc_of(result)
                               : give(run, RSC_UPDATED, content_of_key(run->profile, &run->key, false));
}

static enum onem2m_rsc on_key(struct run *run)
{
    static const enum procedure procedures[] = {[ONEM2M_RETRIEVE] = PROCEDURE_KEY_RETRIEVAL,
                                                [ONEM2M_UPDATE] = PROCEDURE_KEY_UPDATE,
                                                [ONEM2M_DELETE] = PROCEDURE_KEY_DEREGISTRATION};
    enum onem2m_operation operation = run->request->operation;
    run->answer->procedure = procedures[operation];
    name_resource(run, run->key.key.relative_key_id);
    bool source = strcmp(run->key.key.source_id, run->client.id) == 0;
    if (!source && !(operation == ONEM2M_RETRIEVE && is_target(run)))
        return RSC_ORIGINATOR_HAS_NO_PRIVILEGE;
    if (operation == ONEM2M_RETRIEVE)
        return give(run, RSC_OK, content_of_key(run->profile, &run->key, true));
    if (operation == ONEM2M_UPDATE)
        return update_key(run);
    int result = tef_store_key_remove(run->store, run->function->kind, run->key.key.relative_key_id);
    return result == SAGATE_OK ? RSC_DELETED : rsc_of(result);
}

// --- fetchCredentials (8.3.2.1) ----------------------------------------------------------------------------------

static int derive(const struct run *run, unsigned suid, uint8_t key[DERIVE_KEY])
{
    char name[TEF_ID_MAX + 1];
    const uint8_t *ke = run->key.key.key;
    struct slice client = slice_text(run->client.id);
    bool named = run->settings->credential_recipe == SETTINGS_RECIPE_NAMED;
    int len = derive_target_fqdn(client, name, sizeof name);
    if (len < 0)
        return len;
    if (named && suid == TEF_SUID_KM)
        return derive_km(ke, slice_of(name, (size_t)len), key);
    if (named && suid == TEF_SUID_KPSA)
        return derive_kpsa(ke, client, key);
    return derive_usage(ke, suid, slice_of(name, (size_t)len), key);
}

// KeID is "RELATIVE@FQDN", or its left part alone.
static struct slice relative_part(const struct run *run, struct slice id)
{
    const uint8_t *at = memchr(id.data, '@', id.len);
    if (at == NULL)
        return id;
    size_t len = (size_t)(at - id.data);
    struct slice fqdn = slice_of(at + 1, id.len - len - 1);
    bool ours = fqdn.len == strlen(run->function->fqdn) &&
                strncasecmp((const char *)fqdn.data, run->function->fqdn, fqdn.len) == 0;
    return ours ? slice_of(id.data, len) : slice_of(id.data, 0);
}

static enum onem2m_rsc fetch_credentials(struct run *run, struct slice rest)
{
    run->answer->procedure = PROCEDURE_FETCH_CREDENTIALS;
    if (run->request->operation != ONEM2M_RETRIEVE)
        return RSC_OPERATION_NOT_ALLOWED;
    const uint8_t *slash = rest.len == 0 ? NULL : memchr(rest.data, '/', rest.len);
    if (slash == NULL || rest.data + rest.len != slash + 3)
        return RSC_BAD_REQUEST;
    unsigned suid = (unsigned)(slash[1] - '0') * 10 + (unsigned)(slash[2] - '0');
    struct slice id = relative_part(run, slice_of(rest.data, (size_t)(slash - rest.data)));
    if (slash[1] < '0' || slash[1] > '9' || slash[2] < '0' || slash[2] > '9' || !suid_fits(run, suid))
        return RSC_BAD_REQUEST;
    if (!tef_relative_key_id_ok(id))
        return RSC_NOT_FOUND;
    int result = tef_store_key_find(run->store, run->function->kind, id, run->now, &run->key);
    if (result != SAGATE_OK)
        return rsc_of(result);
    name_resource(run, run->key.key.relative_key_id);
    // Ke has its length from the exporter (10.3.1); another key is none.
    if (!is_target(run) || run->key.key.suid != suid || run->key.key.key_len != DERIVE_KEY)
        return RSC_ORIGINATOR_HAS_NO_PRIVILEGE;
    uint8_t key[DERIVE_KEY];
    result = derive(run, suid, key);
    if (result == SAGATE_OK)
        memcpy(run->key.key.key, key, sizeof key);
    secret_zero(key, sizeof key);
    return result != SAGATE_OK ? RSC_INTERNAL_SERVER_ERROR
                               : give(run, RSC_OK, content_of_credentials(&run->key.key, run->now));
}

// --- Which of them -----------------------------------------------------------------------------------------------

static enum onem2m_rsc on_resource(struct run *run, struct slice id)
{
    if (run->request->operation == ONEM2M_CREATE || run->request->operation == ONEM2M_NOTIFY)
        return RSC_OPERATION_NOT_ALLOWED;
    if (!tef_relative_key_id_ok(id))
        return RSC_NOT_FOUND;
    int result = tef_store_key_find(run->store, run->function->kind, id, run->now, &run->key);
    if (result == SAGATE_OK && !suid_fits(run, run->key.key.suid))
        return RSC_NOT_FOUND; // Km of a client, which is nobody's to fetch
    if (result == SAGATE_OK)
        return on_key(run);
    if (result == SAGATE_ENOTFOUND)
        result = tef_store_registration_find(run->store, run->function->kind, id, run->now, &run->registration);
    return result == SAGATE_OK ? on_registration(run) : rsc_of(result);
}

static enum onem2m_rsc dispatch(struct run *run)
{
    static const char fetch[] = "/fetchCredentials/";
    const struct procedure_request *request = run->request;
    struct slice target = request->target;
    if (tef_store_client_by_id(run->store, slice_text(run->peer->client_id), &run->client) != SAGATE_OK)
        return RSC_ORIGINATOR_HAS_NO_PRIVILEGE; // taken away meanwhile
    // TS-0003 7.2.1: the handshake says who it is.
    if (request->origin.data != NULL && !slice_is(request->origin, run->client.id))
        return RSC_ORIGINATOR_NOT_AUTHENTICATED;
    if (target.len == 0 || target.data[0] != '/')
        return RSC_BAD_REQUEST;
    if (target.len == 1) {
        if (request->operation != ONEM2M_CREATE)
            return RSC_OPERATION_NOT_ALLOWED;
        return request->type == run->profile->registration_type ? register_client(run)
               : request->type == run->profile->key_type        ? register_key(run)
                                                                : RSC_BAD_REQUEST;
    }
    if (run->function->kind == TEF_MEF && target.len >= sizeof fetch - 1 &&
        memcmp(target.data, fetch, sizeof fetch - 1) == 0)
        return fetch_credentials(run, slice_of(target.data + sizeof fetch - 1, target.len - (sizeof fetch - 1)));
    return on_resource(run, slice_of(target.data + 1, target.len - 1));
}

void procedure_run(const struct settings *settings, const struct settings_function *function, struct tef_store *store,
                   const struct procedure_peer *peer, const struct procedure_request *request, int64_t now,
                   struct procedure_answer *answer)
{
    *answer = (struct procedure_answer){.rsc = RSC_INTERNAL_SERVER_ERROR};
    struct run *run = secret_alloc(sizeof *run);
    if (run == NULL)
        return;
    run->settings = settings;
    run->function = function;
    run->profile = tef_profile_default(function->kind);
    run->store = store;
    run->peer = peer;
    run->request = request;
    run->now = now;
    run->answer = answer;
    answer->rsc = dispatch(run);
    secret_free(run);
}
