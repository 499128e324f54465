// An MEF of this process is asked through its procedures, one elsewhere through the client that sagate has; what either
// says is judged the same.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/tefserver/enrolled.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/secret.h"
#include "controlplane/keystore/keystore.h"
#include "controlplane/tef/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { CONNECTIONS = 2, IN_FLIGHT = 8 };
_Static_assert((int)TEF_ERROR_MAX <= (int)SERVER_ERROR_MAX && (int)KEYSTORE_ERROR_MAX <= (int)SERVER_ERROR_MAX,
               "one text for all");

struct enrolled {
    struct tef_client *clients[SETTINGS_MEFS_MAX]; // NULL: a function of this process
    struct tef_profile profiles[SETTINGS_MEFS_MAX];
};

struct enrolled_wait {
    struct server *server;
    const struct settings_mef *mef;
    const struct settings_function *function;
    enrolled_done *done; // NULL: given up
    void *context;
    char relative[TEF_ID_MAX + 1];
};

bool enrolled_maf_id(const char *fqdn, char id[TEF_ID_MAX + 1])
{
    size_t first = strcspn(fqdn, ".");
    if (fqdn[first] == '\0' || fqdn[first + 1] == '\0' || first == 0)
        return false;
    int len = snprintf(id, TEF_ID_MAX + 1, "//%s/%.*s", fqdn + first + 1, (int)first, fqdn);
    return len > 0 && len <= TEF_ID_MAX;
}

static bool same_name(struct slice text, const char *fqdn)
{
    return text.len == strlen(fqdn) && strncasecmp((const char *)text.data, fqdn, text.len) == 0;
}

static bool names_target(const struct tef_key *key, const char *id)
{
    for (size_t i = 0; i < key->target_count; i++) {
        if (strcmp(key->targets[i], id) == 0)
            return true;
    }
    return false;
}

// Whether what an MEF told lets somebody in, here and now.
static bool acceptable(const struct server *server, const struct settings_mef *mef, const char *maf_id,
                       const struct tef_key *km)
{
    struct tef_store_client client;
    if (km->key_len == 0 || (km->expires_at != 0 && km->expires_at <= clock_wall()))
        return false;
    // The older method tells neither; there the MEF has compared both with what it was asked.
    if (!mef->derived && (km->suid != TEF_SUID_KM || !names_target(km, maf_id)))
        return false;
    return tef_store_client_by_id(server->store, slice_text(km->source_id), &client) == SAGATE_OK;
}

static void name_key(struct tef_key *km, const char *relative)
{
    (void)snprintf(km->relative_key_id, sizeof km->relative_key_id, "%s", relative);
}

// --- An MEF of this process --------------------------------------------------------------------------------------

static const struct settings_function *function_of(const struct settings *settings, const struct settings_mef *mef)
{
    for (size_t i = 0; i < settings->function_count; i++) {
        const struct settings_function *function = &settings->functions[i];
        if (function->kind == TEF_MEF && strcasecmp(function->fqdn, mef->fqdn) == 0)
            return function;
    }
    return NULL;
}

static int read_answer(const struct settings_mef *mef, const struct procedure_answer *answer, struct tef_key *km)
{
    const struct tef_profile *profile = tef_profile_default(TEF_MEF);
    const char *why;
    if (answer->rsc / 1000 != 2)
        return SAGATE_ENOTFOUND;
    struct slice content = slice_text(answer->content);
    return mef->derived ? tef_parse_credentials(profile, content, clock_wall(), km, &why)
                        : tef_parse_key(profile, content, km, &why);
}

static int ask_here(struct server *server, const struct settings_mef *mef, const char *maf_id, const char *relative,
                    struct tef_key *km)
{
    const struct settings_function *function = function_of(server->settings, mef);
    char target[sizeof "/fetchCredentials//21" + TEF_ID_MAX];
    struct procedure_answer answer;
    if (function == NULL)
        return SAGATE_ENOTFOUND;
    (void)snprintf(target, sizeof target, mef->derived ? "/fetchCredentials/%s/21" : "/%s", relative);
    const struct procedure_peer peer = {.client_id = maf_id};
    const struct procedure_request request = {
        .operation = ONEM2M_RETRIEVE, .target = slice_text(target), .content = slice_of("", 0)};
    procedure_run(server->settings, function, server->store, &peer, &request, clock_wall(), &answer);
    counts_answer(server->counts, &answer);
    audit_write(server->audit, function->fqdn, maf_id, &answer);
    int result = read_answer(mef, &answer, km);
    procedure_answer_release(&answer);
    return result;
}

// --- An MEF elsewhere --------------------------------------------------------------------------------------------

static enum onem2m_rsc rsc_of(int result)
{
    return result == SAGATE_OK ? RSC_OK : result == SAGATE_ENOTFOUND ? RSC_NOT_FOUND : RSC_TARGET_NOT_REACHABLE;
}

// As the MEF itself would log it.
static void log_question(const struct enrolled_wait *wait, const char *maf_id, int result)
{
    struct procedure_answer answer = {
        .rsc = rsc_of(result), .procedure = wait->mef->derived ? PROCEDURE_FETCH_CREDENTIALS : PROCEDURE_KEY_RETRIEVAL};
    memcpy(answer.id, wait->relative, sizeof answer.id);
    counts_answer(wait->server->counts, &answer);
    audit_write(wait->server->audit, wait->mef->fqdn, maf_id, &answer);
}

static void on_fetched(void *context, int result, const struct tef_key *key)
{
    struct enrolled_wait *wait = context;
    char maf_id[TEF_ID_MAX + 1] = "";
    (void)enrolled_maf_id(wait->function->fqdn, maf_id);
    log_question(wait, maf_id, result);
    struct tef_key *km = NULL;
    if (result == SAGATE_OK && wait->done != NULL && acceptable(wait->server, wait->mef, maf_id, key))
        km = secret_alloc(sizeof *km);
    if (km != NULL) {
        *km = *key;
        name_key(km, wait->relative);
    }
    if (wait->done != NULL)
        wait->done(wait->context, km);
    secret_free(km);
    free(wait);
}

void enrolled_give_up(struct enrolled_wait *wait)
{
    if (wait != NULL)
        wait->done = NULL;
}

static int ask_elsewhere(struct tef_client *client, const struct enrolled_wait *question, struct enrolled_wait **wait)
{
    struct enrolled_wait *new = malloc(sizeof *new);
    if (new == NULL)
        return SAGATE_ENOMEM;
    *new = *question;
    int result = tef_client_fetch(client, slice_text(new->relative), on_fetched, new);
    if (result != SAGATE_OK) {
        free(new);
        return result;
    }
    *wait = new;
    return SAGATE_PARKED;
}

// --- Which of them -----------------------------------------------------------------------------------------------

// What this MAF has assigned (8.8.2.3).
static int find_assigned(struct server *server, struct slice relative, struct tef_key *km)
{
    struct tef_store_key *stored = secret_alloc(sizeof *stored);
    int result =
        stored == NULL ? SAGATE_ENOMEM : tef_store_key_find(server->store, TEF_MAF, relative, clock_wall(), stored);
    if (result == SAGATE_OK && stored->key.suid != TEF_SUID_KM)
        result = SAGATE_ENOTFOUND; // a key for another use
    if (result == SAGATE_OK)
        *km = stored->key;
    secret_free(stored);
    return result;
}

int enrolled_find(struct server *server, const struct settings_function *function, struct slice identity,
                  enrolled_done *done, void *context, struct enrolled_wait **wait, struct tef_key *km)
{
    const struct settings *settings = server->settings;
    struct enrolled_wait question = {.server = server, .function = function, .done = done, .context = context};
    char maf_id[TEF_ID_MAX + 1];
    const uint8_t *at = identity.len == 0 ? NULL : memchr(identity.data, '@', identity.len);
    if (at == NULL || function->kind != TEF_MAF || settings->mef_count == 0)
        return SAGATE_ENOTFOUND;
    struct slice relative = slice_of(identity.data, (size_t)(at - identity.data));
    struct slice fqdn = slice_of(at + 1, identity.len - relative.len - 1);
    if (!tef_relative_key_id_ok(relative) || !enrolled_maf_id(function->fqdn, maf_id))
        return SAGATE_ENOTFOUND;
    if (same_name(fqdn, function->fqdn))
        return find_assigned(server, relative, km);
    memcpy(question.relative, relative.data, relative.len);
    for (size_t i = 0; i < settings->mef_count; i++) {
        question.mef = &settings->mefs[i];
        if (!same_name(fqdn, question.mef->fqdn))
            continue;
        if (server->enrolled->clients[i] != NULL)
            return ask_elsewhere(server->enrolled->clients[i], &question, wait);
        int result = ask_here(server, question.mef, maf_id, question.relative, km);
        if (result == SAGATE_OK && !acceptable(server, question.mef, maf_id, km))
            result = SAGATE_ENOTFOUND;
        name_key(km, question.relative);
        return result;
    }
    return SAGATE_ENOTFOUND;
}

// --- Clients -----------------------------------------------------------------------------------------------------

struct material {
    uint8_t *psk;
    size_t psk_len;
    struct slice chain, key, anchors;
};

static void material_free(struct material *material)
{
    secret_free(material->psk);
    server_forget(material->chain);
    server_forget(material->key);
    server_forget(material->anchors);
}

static int client_new(struct server *server, const struct settings_mef *mef, const char *maf_id,
                      struct tef_profile *profile, struct tef_client **client, char why[SERVER_ERROR_MAX])
{
    struct material material = {0};
    char problem[SERVER_ERROR_MAX] = "";
    bool psk = mef->psk_identity[0] != '\0';
    int result = psk ? keystore_load(mef->psk, NULL, &material.psk, &material.psk_len, problem) : SAGATE_OK;
    *profile = *tef_profile_default(TEF_MEF);
    profile->method = mef->derived ? TEF_METHOD_FETCH_CREDENTIALS : TEF_METHOD_KEY_RETRIEVAL;
    if (!psk) {
        material.chain = server_read_pem(mef->chain_file, problem);
        material.key = server_read_pem(mef->key_file, problem);
        material.anchors = server_read_pem(mef->trust_anchors_file, problem);
        result = problem[0] == '\0' ? SAGATE_OK : SAGATE_ECONFIG;
    }
    const struct tef_client_settings settings = {.kind = TEF_MEF,
                                                 .binding = mef->coap ? TEF_COAP : TEF_HTTP,
                                                 .name = mef->fqdn,
                                                 .fqdn = mef->fqdn,
                                                 .address = mef->address,
                                                 .profile = profile,
                                                 .client_id = maf_id,
                                                 .admin_fqdn = "",
                                                 .psk_identity = psk ? mef->psk_identity : NULL,
                                                 .psk = slice_of(material.psk, material.psk_len),
                                                 .certificate = material.chain,
                                                 .private_key = material.key,
                                                 .trust_anchors = material.anchors,
                                                 .connections = CONNECTIONS,
                                                 .in_flight = IN_FLIGHT,
                                                 .timeout_ms = mef->timeout_milliseconds,
                                                 .fetch_suid = TEF_SUID_KM};
    if (result == SAGATE_OK)
        result = tef_client_new(server->base, &settings, client, problem);
    if (result != SAGATE_OK)
        (void)snprintf(why, SERVER_ERROR_MAX, "MEF '%.100s': %.350s", mef->fqdn,
                       problem[0] != '\0' ? problem : sagate_strerror(result));
    material_free(&material);
    return result == SAGATE_OK || result == SAGATE_ENOMEM ? result : SAGATE_ECONFIG;
}

static const char *first_maf(const struct settings *settings)
{
    for (size_t i = 0; i < settings->function_count; i++) {
        if (settings->functions[i].kind == TEF_MAF)
            return settings->functions[i].fqdn;
    }
    return "";
}

int enrolled_new(struct server *server, struct enrolled **enrolled, char why[SERVER_ERROR_MAX])
{
    const struct settings *settings = server->settings;
    char maf_id[TEF_ID_MAX + 1];
    struct enrolled *new = calloc(1, sizeof *new);
    if (new == NULL)
        return SAGATE_ENOMEM;
    int result = SAGATE_OK;
    for (size_t i = 0; i < settings->mef_count && result == SAGATE_OK; i++) {
        const struct settings_mef *mef = &settings->mefs[i];
        if (mef->address.len > 0 && enrolled_maf_id(first_maf(settings), maf_id))
            result = client_new(server, mef, maf_id, &new->profiles[i], &new->clients[i], why);
    }
    if (result != SAGATE_OK) {
        enrolled_free(new);
        return result;
    }
    *enrolled = new;
    return SAGATE_OK;
}

void enrolled_free(struct enrolled *enrolled)
{
    if (enrolled == NULL)
        return;
    for (size_t i = 0; i < SETTINGS_MEFS_MAX; i++)
        tef_client_free(enrolled->clients[i]);
    free(enrolled);
}
