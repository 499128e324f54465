// Requests as both bindings have them (TS-0032 section 4 as far as it is known), and what answers mean.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/clock.h"
#include "common/error.h"
#include "controlplane/tef/internal.h"

#include <stdio.h>
#include <string.h>

static unsigned suid_of(const struct tef_client *client)
{
    return client->settings.fetch_suid != 0 ? client->settings.fetch_suid : TEF_SUID_KPSA;
}

// base + "/" + id without a double slash.
static void join(const char *base, const char *id, char *out, size_t cap)
{
    size_t len = strlen(base);
    (void)snprintf(out, cap, "%s%s%s", base, len > 0 && base[len - 1] == '/' ? "" : "/", id);
}

static void target_of(const struct tef_client *client, const struct request *request, char *out, size_t cap)
{
    const struct tef_profile *profile = client->settings.profile;
    const char *keys = profile->key_path[0] != '\0' ? profile->key_path : profile->registration_path;
    if (request->kind == REQUEST_REGISTER)
        (void)snprintf(out, cap, "%s", profile->registration_path);
    else if (request->kind != REQUEST_FETCH && request->id[0] == '/')
        (void)snprintf(out, cap, "%s", request->id); // a path of its own
    else if (request->kind != REQUEST_FETCH)
        join(profile->registration_path, request->id, out, cap);
    else if (client->settings.kind == TEF_MEF && profile->method == TEF_METHOD_FETCH_CREDENTIALS)
        (void)snprintf(out, cap, "/fetchCredentials/%s@%s/%u", request->id, client->settings.fqdn, suid_of(client));
    else
        join(keys, request->id, out, cap);
}

int request_describe(struct tef_client *client, struct request *request, struct request_text *text)
{
    static const char *const methods[] = {"GET", "POST", "PUT", "DELETE"};
    const struct tef_profile *profile = client->settings.profile;
    *text = (struct request_text){0};
    target_of(client, request, text->target, sizeof text->target);
    (void)snprintf(request->request_id, sizeof request->request_id, "%08x-%llu", client->random,
                   (unsigned long long)++client->request_number);
    request->asked_until = clock_wall() + client->settings.registration_seconds;
    if (request->kind == REQUEST_REGISTER)
        text->body =
            tef_make_registration(profile, client->settings.kind, client->settings.admin_fqdn, request->asked_until);
    else if (request->kind == REQUEST_UPDATE)
        text->body = tef_make_update(profile, profile->registration_root, request->asked_until);
    if (text->body == NULL && (request->kind == REQUEST_REGISTER || request->kind == REQUEST_UPDATE))
        return SAGATE_ENOMEM;
    text->message = (struct tef_message){.method = methods[request->kind],
                                         .target = text->target,
                                         .host = client->host,
                                         .origin = client->settings.client_id,
                                         .request_id = request->request_id,
                                         .body = text->body,
                                         .type = request->kind == REQUEST_REGISTER ? profile->registration_type : 0};
    return SAGATE_OK;
}

// By the response status code, or by that of the binding where there is none (TS-0009 6.3, TS-0008 6.2.4).
static int class_of(const struct tef_response *response, const char **why)
{
    unsigned code = response->rsc != 0 ? response->rsc / 1000 : (unsigned)response->status / 100;
    if (response->rsc == 0 && (response->status == 408 || response->status == 429))
        return SAGATE_EUNAVAILABLE; // says nothing about the key
    if (response->rsc != 0 && code == 2 && response->status >= 300) {
        *why = "the response status code and the status contradict each other";
        return SAGATE_EMALFORMED;
    }
    if (code == 2)
        return SAGATE_OK;
    if (code == 4)
        return SAGATE_ENOTFOUND;
    if (code == 5)
        return SAGATE_EUNAVAILABLE;
    *why = "a status code that means nothing here";
    return SAGATE_EMALFORMED;
}

static int key_of(const struct tef_client *client, const struct request *request, struct slice body,
                  struct tef_key *key, const char **why)
{
    const struct tef_profile *profile = client->settings.profile;
    bool older = client->settings.kind == TEF_MEF && profile->method == TEF_METHOD_FETCH_CREDENTIALS;
    int rc =
        older ? tef_parse_credentials(profile, body, clock_wall(), key, why) : tef_parse_key(profile, body, key, why);
    if (rc != SAGATE_OK)
        return rc;
    if (older)
        key->suid = suid_of(client); // such an answer has none: it is for the one in the request's path
    if (key->key_len == 0)
        *why = "it has no key";
    else if (key->relative_key_id[0] != '\0' && strcmp(key->relative_key_id, request->id) != 0)
        *why = "it is about another key";
    else
        return SAGATE_OK;
    tef_key_wipe(key);
    return SAGATE_EMALFORMED;
}

int request_judge(const struct tef_client *client, const struct request *request, const struct tef_response *response,
                  struct tef_key *key, const char **why)
{
    *why = "";
    if (response->request_id[0] != '\0' && strcmp(response->request_id, request->request_id) != 0) {
        *why = "it has the identifier of another request";
        return SAGATE_EMALFORMED;
    }
    int rc = class_of(response, why);
    if (rc != SAGATE_OK || request->kind != REQUEST_FETCH)
        return rc;
    return key_of(client, request, slice_of(response->body, response->body_len), key, why);
}
