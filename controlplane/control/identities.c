// The identities commands: who may come, from the operator's file and added at run time. Key bytes come in by
// "identities add" and never leave.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "common/secret.h"
#include "controlplane/control/commands.h"
#include "controlplane/control/state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT_DEFAULT = 1000, LIMIT_MAX = 10000 };

struct listing {
    json_t *identities;
    size_t limit;
    int64_t now;
    const char *last;
    bool more;
    struct slice only; // absent: all
};

// What a principal may act as, and until when.
static json_t *describe_principal(const struct principal *principal)
{
    json_t *fixed = json_array();
    json_t *learned = json_array();
    for (size_t i = 0; i < principal->ae_count; i++) {
        const struct principal_ae *ae = &principal->aes[i];
        json_t *stem = commands_text(slice_text(ae->stem));
        if (ae->upstream == NULL)
            (void)json_array_append_new(fixed, stem);
        else
            (void)json_array_append_new(
                learned, json_pack("{s:o, s:o}", "ae_id", stem, "upstream", commands_text(slice_text(ae->upstream))));
    }
    json_t *object = json_object();
    (void)json_object_set_new(object, "credential_id", commands_text(slice_text(principal->credential_id)));
    (void)json_object_set_new(object, "cse_id",
                              principal->cse_id == NULL ? json_null() : commands_text(slice_text(principal->cse_id)));
    (void)json_object_set_new(object, "ae_ids", fixed);
    (void)json_object_set_new(object, "learned", learned);
    (void)json_object_set_new(object, "expires", commands_time(principal->expires_at));
    return object;
}

static json_t *describe(const struct resolver_identity *identity, int64_t now)
{
    json_t *object = describe_principal(identity->principal);
    (void)json_object_set_new(object, "identity", commands_text(slice_text(identity->credential->identity)));
    (void)json_object_set_new(object, "source", json_string(identity->source == RESOLVER_FILE ? "file" : "run-time"));
    (void)json_object_set_new(object, "expired", json_boolean(credential_is_expired(identity->credential, now)));
    return object;
}

static bool list_one(void *context, const struct resolver_identity *identity)
{
    struct listing *listing = context;
    if (json_array_size(listing->identities) == listing->limit) {
        listing->more = true;
        return false;
    }
    (void)json_array_append_new(listing->identities, describe(identity, listing->now));
    listing->last = identity->credential->identity;
    return true;
}

// Keys of MAFs and MEFs that are held follow the last page of what is provisioned.
static bool list_held(void *context, const struct remote_entry *entry)
{
    struct listing *listing = context;
    if (listing->only.data != NULL && !slice_is(listing->only, entry->identity))
        return true;
    if (entry->principal == NULL)
        return true;
    if (json_array_size(listing->identities) == listing->limit)
        return false;
    json_t *object = describe_principal(entry->principal);
    (void)json_object_set_new(object, "identity", commands_text(slice_text(entry->identity)));
    (void)json_object_set_new(object, "source",
                              json_string(entry->principal->framework == FRAMEWORK_MAF ? "maf" : "mef"));
    (void)json_object_set_new(object, "tef", commands_text(slice_text(entry->tef)));
    (void)json_object_set_new(object, "held_until", commands_time(entry->until));
    (void)json_object_set_new(object, "expired", json_boolean(entry->principal->expires_at <= listing->now));
    (void)json_array_append_new(listing->identities, object);
    return true;
}

void identities_list(struct control *control, struct control_request *request, const json_t *command)
{
    const json_t *cursor = json_object_get(command, "cursor");
    const json_t *only = json_object_get(command, "identity");
    struct listing listing = {.identities = json_array(), .now = clock_wall()};
    struct resolver_identity identity;
    if (!commands_limit(request, command, LIMIT_DEFAULT, LIMIT_MAX, &listing.limit)) {
        json_decref(listing.identities);
        return;
    }
    if (only != NULL) {
        struct slice wanted = slice_of(json_string_value(only), json_string_length(only));
        listing.only = wanted;
        if (wanted.data != NULL && resolver_find(control->resolver, wanted, &identity) == SAGATE_OK)
            (void)list_one(&listing, &identity);
        else if (wanted.data != NULL)
            remote_each(control->remote, list_held, &listing);
        if (json_array_size(listing.identities) == 0) {
            json_decref(listing.identities);
            control_request_fail(request, "there is no such identity");
            return;
        }
    } else {
        resolver_each(control->resolver, slice_of(json_string_value(cursor), json_string_length(cursor)), list_one,
                      &listing);
        if (!listing.more)
            remote_each(control->remote, list_held, &listing);
    }
    json_t *answer = json_pack("{s:o}", "identities", listing.identities);
    if (listing.more)
        (void)json_object_set_new(answer, "next", commands_text(slice_text(listing.last)));
    control_request_answer(request, answer);
}

// The run-time identities without one of them; the resolver still uses the set they stand in.
static struct credentials *copy_run_time(const struct control *control, const char *without)
{
    const struct credentials *old = control->run_time;
    bool allow_short = old->allow_short_keys || (control->file != NULL && control->file->allow_short_keys);
    struct credentials *copy = credentials_new(allow_short);
    char why[CREDENTIALS_ERROR_MAX];
    for (size_t i = 0; copy != NULL && i < old->count; i++) {
        if (without != NULL && strcmp(old->entries[i].identity, without) == 0)
            continue;
        if (credentials_add(copy, &old->entries[i], why) != SAGATE_OK) {
            credentials_free(copy);
            return NULL;
        }
    }
    return copy;
}

// Stores and takes the new set, or frees it and answers why not.
static bool replace_run_time(struct control *control, struct control_request *request, struct credentials *set)
{
    char problem[256];
    // Stored first: nobody should be told of what a restart would undo.
    if (credentials_write(control->run_time_path, set) != SAGATE_OK) {
        int error = errno;
        credentials_free(set);
        log_error("control: cannot write %s: %s", control->run_time_path, strerror(error));
        control_request_fail(request, "cannot write %s: %s", control->run_time_path, strerror(error));
        return false;
    }
    if (resolver_apply(control->resolver, control->file, set, problem, sizeof problem) != SAGATE_OK) {
        credentials_free(set);
        if (credentials_write(control->run_time_path, control->run_time) != SAGATE_OK)
            log_error("control: cannot write %s: %s", control->run_time_path, strerror(errno));
        control_request_fail(request, "%s", problem);
        return false;
    }
    credentials_free(control->run_time);
    control->run_time = set;
    control_send_sets(control);
    control_schedule_expiry(control);
    return true;
}

// Fills a credential that points into `command`; NULL, or what is wrong with it.
static const char *read_credential(const json_t *command, struct credential *credential, const char **aes)
{
    const json_t *key = json_object_get(command, "key_hex");
    const json_t *list = json_object_get(command, "ae_ids");
    const char *expires = json_string_value(json_object_get(command, "expires"));
    const char *cse_id = json_string_value(json_object_get(command, "cse_id"));
    const char *identity = json_string_value(json_object_get(command, "identity"));
    if (identity == NULL)
        return "\"identity\" is missing";
    if (key == NULL ||
        credentials_parse_hex(json_string_value(key) == NULL ? "" : json_string_value(key), json_string_length(key),
                              credential->key, &credential->key_len) != SAGATE_OK)
        return "\"key_hex\" must be an even number of hexadecimal digits, for 1 to 64 bytes";
    if (json_object_get(command, "expires") != NULL &&
        (expires == NULL || credentials_parse_time(expires, &credential->expires_at) != SAGATE_OK))
        return "\"expires\" must be a time in UTC such as \"2030-01-01T00:00:00Z\"";
    if (list != NULL && (!json_is_array(list) || json_array_size(list) > PRINCIPAL_AES_MAX))
        return "\"ae_ids\" must be an array of at most 256 strings";
    for (size_t i = 0; i < json_array_size(list); i++) {
        aes[i] = json_string_value(json_array_get(list, i));
        if (aes[i] == NULL)
            return "\"ae_ids\" must be an array of at most 256 strings";
    }
    credential->ae_count = json_array_size(list);
    // credentials_add copies and changes nothing, though the struct that it takes also serves for owned strings.
    memcpy(&credential->identity, &identity, sizeof identity);
    memcpy(&credential->cse_id, &cse_id, sizeof cse_id);
    memcpy(&credential->aes, &aes, sizeof aes);
    return NULL;
}

void identities_add(struct control *control, struct control_request *request, const json_t *command)
{
    const char *aes[PRINCIPAL_AES_MAX];
    struct credential credential = {.key = secret_alloc(CREDENTIALS_KEY_MAX)};
    struct resolver_identity known;
    char why[CREDENTIALS_ERROR_MAX] = "out of memory";
    const char *wrong = credential.key == NULL ? why : read_credential(command, &credential, aes);
    struct credentials *set = NULL;
    if (wrong == NULL && resolver_find(control->resolver, slice_text(credential.identity), &known) == SAGATE_OK)
        wrong = "there is such an identity already";
    if (wrong == NULL) {
        set = copy_run_time(control, NULL);
        if (set == NULL || credentials_add(set, &credential, why) != SAGATE_OK)
            wrong = why;
    }
    secret_free(credential.key);
    if (wrong != NULL) {
        credentials_free(set);
        control_request_fail(request, "%s", wrong);
        return;
    }
    if (!replace_run_time(control, request, set))
        return;
    log_info("control: identity %s added", credential.identity);
    control_request_answer(request, json_pack("{s:s}", "identity", credential.identity));
}

void identities_remove(struct control *control, struct control_request *request, const json_t *command)
{
    const char *identity = json_string_value(json_object_get(command, "identity"));
    struct resolver_identity known;
    if (identity == NULL || resolver_find(control->resolver, slice_text(identity), &known) != SAGATE_OK) {
        control_request_fail(request, "there is no such identity");
        return;
    }
    if (known.source == RESOLVER_FILE) {
        control_request_fail(request, "%s is in the credentials file; remove it from %s and reload", identity,
                             control->config->credentials_file);
        return;
    }
    struct credentials *set = copy_run_time(control, identity);
    if (set == NULL) {
        control_request_fail(request, "%s", sagate_strerror(SAGATE_ENOMEM));
        return;
    }
    if (!replace_run_time(control, request, set))
        return;
    log_info("control: identity %s removed", identity);
    control_request_answer(request, json_pack("{s:s}", "identity", identity));
}

void identities_forget(struct control *control, struct control_request *request, const json_t *command)
{
    const json_t *identity = json_object_get(command, "identity");
    const json_t *ae_id = json_object_get(command, "ae_id");
    if (!json_is_string(identity) || !json_is_string(ae_id)) {
        control_request_fail(request, "\"identity\" and \"ae_id\" are needed");
        return;
    }
    int result = resolver_forget(control->resolver, slice_of(json_string_value(identity), json_string_length(identity)),
                                 slice_of(json_string_value(ae_id), json_string_length(ae_id)));
    if (result == SAGATE_OK)
        result = registrations_flush(control->registrations);
    if (result == SAGATE_OK)
        control_request_answer(request, json_object());
    else if (result == SAGATE_ENOTFOUND)
        control_request_fail(request, "this identity has not learned such an AE-ID");
    else
        control_request_fail(request, "the registrations cannot be written; see the log");
}

void identities_flush(struct control *control, struct control_request *request, const json_t *command)
{
    const json_t *identity = json_object_get(command, "identity");
    const json_t *end = json_object_get(command, "end_associations");
    if ((identity != NULL && !json_is_string(identity)) || (end != NULL && !json_is_boolean(end))) {
        control_request_fail(request, "\"identity\" must be a string, \"end_associations\" true or false");
        return;
    }
    size_t count = remote_flush(control->remote, slice_of(json_string_value(identity), json_string_length(identity)),
                                json_is_true(end));
    log_info("control: %zu keys and unknown identities of MAFs and MEFs flushed%s", count,
             json_is_true(end) ? ", their associations end" : "");
    control_request_answer(request, json_pack("{s:I}", "flushed", (json_int_t)count));
}
