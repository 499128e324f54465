// JSON of a TEF: every member of a request is checked, since what is stored is told to others.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/tefserver/content.h"

#include "common/error.h"
#include "common/onem2m.h"
#include "common/secret.h"

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/coding.h>

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BASE64_MAX = 4 * ((TEF_KEY_MAX + 2) / 3) + 1, LABELS = 32, LABEL_MAX = 128 };

void content_wipe(struct content *content)
{
    secret_zero(content, sizeof *content);
}

static bool named(const char *name, const char *short_name, const char *long_name)
{
    return strcmp(name, short_name) == 0 || strcmp(name, long_name) == 0;
}

static bool take_time(const json_t *value, struct content *content)
{
    const char *text = json_string_value(value);
    content->has_expiry = true;
    return text != NULL && tef_parse_time(slice_of(text, json_string_length(value)), &content->expires_at) == SAGATE_OK;
}

// A domain name, in lower case.
static bool take_name(const json_t *value, char out[TEF_ID_MAX + 1])
{
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    if (text == NULL || len == 0 || len > 253)
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (!isalnum(c) && c != '.' && c != '-')
            return false;
        out[i] = (char)tolower(c);
    }
    out[len] = '\0';
    return true;
}

static bool take_targets(const json_t *value, struct content *content)
{
    size_t count = json_array_size(value);
    content->has_targets = true;
    if (!json_is_array(value) || count > TEF_TARGETS_MAX)
        return false;
    for (size_t i = 0; i < count; i++) {
        const json_t *element = json_array_get(value, i);
        struct slice id = slice_of(json_string_value(element), json_string_length(element));
        if (id.data == NULL || id.len > TEF_ID_MAX || onem2m_id_kind(id) != ONEM2M_ID_ABSOLUTE)
            return false;
        memcpy(content->targets[i], id.data, id.len);
        content->targets[i][id.len] = '\0';
    }
    content->target_count = count;
    return true;
}

static bool take_labels(const json_t *value, struct content *content)
{
    content->has_labels = true;
    if (!json_is_array(value) || json_array_size(value) > LABELS)
        return false;
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *label = json_array_get(value, i);
        if (!json_is_string(label) || json_string_length(label) > LABEL_MAX)
            return false;
    }
    size_t len = json_dumpb(value, content->labels, sizeof content->labels - 1, JSON_COMPACT);
    if (len == 0 || len >= sizeof content->labels)
        return false;
    content->labels[len] = '\0';
    return true;
}

static bool take_suid(const json_t *value, struct content *content)
{
    json_int_t suid = json_integer_value(value);
    content->suid = suid >= 10 && suid <= 99 ? (unsigned)suid : 0;
    return json_is_integer(value) && content->suid != 0;
}

// Base64, as RFC 4648 section 4 has it, and nothing else.
static bool take_key(const json_t *value, struct content *content)
{
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    word32 out = sizeof content->key;
    if (text == NULL || len == 0 || len >= BASE64_MAX || len % 4 != 0 || strpbrk(text, "\r\n \t") != NULL)
        return false;
    if (Base64_Decode((const byte *)text, (word32)len, content->key, &out) != 0 || out == 0)
        return false;
    content->key_len = out;
    return true;
}

static bool take(const struct tef_profile *profile, const char *name, const json_t *value, struct content *content)
{
    if (named(name, profile->expiration_time, "expirationTime"))
        return take_time(value, content);
    if (named(name, profile->labels, "labels"))
        return take_labels(value, content);
    if (named(name, profile->admin_fqdn, "adminFQDN"))
        return take_name(value, content->admin_fqdn);
    if (named(name, profile->suid, "SUID"))
        return take_suid(value, content);
    if (named(name, profile->target_ids, "targetIDs"))
        return take_targets(value, content);
    if (named(name, profile->key_value, "keyValue"))
        return take_key(value, content);
    return false;
}

// Jansson keeps a copy of a key that a request brings; it is overwritten before it goes back to the heap.
static void wipe_strings(json_t *object)
{
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        if (json_is_string(value)) {
            union {
                const char *seen;
                char *own;
            } text = {.seen = json_string_value(value)};
            secret_zero(text.own, json_string_length(value));
        }
    }
}

int content_read(const struct tef_profile *profile, const char *root, struct slice body, struct content *content)
{
    const char *name;
    json_t *value;
    *content = (struct content){0};
    json_t *json = body.len == 0 ? NULL : json_loadb((const char *)body.data, body.len, JSON_REJECT_DUPLICATES, NULL);
    json_t *members = json_object_size(json) == 1 ? json_object_get(json, root) : NULL;
    bool good = json_is_object(members);
    if (good) {
        json_object_foreach(members, name, value)
        {
            good = good && take(profile, name, value, content);
        }
        wipe_strings(members);
    }
    json_decref(json);
    if (!good)
        content_wipe(content);
    return good ? SAGATE_OK : SAGATE_EMALFORMED;
}

// --- Answers -----------------------------------------------------------------------------------------------------

static void add(json_t *object, const char *name, json_t *value)
{
    (void)json_object_set_new(object, name, value);
}

static void add_time(json_t *object, const char *name, int64_t seconds)
{
    char text[16];
    tef_format_time(seconds, text);
    add(object, name, json_string(text));
}

static void add_labels(json_t *object, const struct tef_profile *profile, const char *labels)
{
    if (labels[0] != '\0')
        add(object, profile->labels, json_loads(labels, 0, NULL));
}

static char *finish(const char *root, json_t *members)
{
    json_t *json = root == NULL ? members : json_object();
    if (root != NULL)
        add(json, root, members);
    char *text = json_dumps(json, JSON_COMPACT);
    wipe_strings(members);
    json_decref(json);
    return text;
}

static void add_key(json_t *object, const char *name, const struct tef_key *key)
{
    char text[BASE64_MAX + 1];
    word32 len = sizeof text;
    if (Base64_Encode_NoNl(key->key, (word32)key->key_len, (byte *)text, &len) == 0)
        add(object, name, json_stringn(text, len));
    secret_zero(text, sizeof text);
}

char *content_of_key(const struct tef_profile *profile, const struct tef_store_key *key, bool with_value)
{
    const struct tef_key *k = &key->key;
    json_t *members = json_object();
    json_t *targets = json_array();
    for (size_t i = 0; i < k->target_count; i++)
        (void)json_array_append_new(targets, json_string(k->targets[i]));
    add_time(members, profile->expiration_time, k->expires_at);
    add(members, profile->source_id, json_string(k->source_id));
    add(members, profile->admin_fqdn, json_string(k->admin_fqdn));
    add(members, profile->suid, json_integer(k->suid));
    add(members, profile->target_ids, targets);
    add_labels(members, profile, key->labels);
    add(members, profile->relative_key_id, json_string(k->relative_key_id));
    if (with_value)
        add_key(members, profile->key_value, k);
    return finish(profile->key_root, members);
}

char *content_of_registration(const struct tef_profile *profile, const struct tef_store_registration *registration,
                              const char *assigned_key_id)
{
    json_t *members = json_object();
    add(members, profile->resource_id, json_string(registration->id));
    add(members, "clientID", json_string(registration->client_id));
    add_time(members, profile->expiration_time, registration->expires_at);
    add(members, profile->admin_fqdn, json_string(registration->admin_fqdn));
    add_labels(members, profile, registration->labels);
    if (assigned_key_id[0] != '\0')
        add(members, "assignedSymmKeyID", json_string(assigned_key_id));
    return finish(profile->registration_root, members);
}

char *content_of_credentials(const struct tef_key *derived, int64_t now)
{
    json_t *members = json_object();
    add(members, "Status", json_true());
    add_key(members, "Credential", derived);
    add(members, "EnroleeID", json_string(derived->source_id));
    add(members, "Lifetime", json_integer(derived->expires_at - now));
    return finish(NULL, members);
}
