// What TEFs say, as JSON: strict about kinds and lengths, tolerant of names, since no published text fixes those.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/tef/answer.h"

#include "common/error.h"
#include "common/secret.h"

#include <jansson.h>
#include <malloc.h>
#include <pthread.h>
#include <string.h>

enum { NAMES = 6 };
static const int64_t lifetime_max = 100LL * 366 * 86400;

void tef_key_wipe(struct tef_key *key)
{
    secret_zero(key, sizeof *key);
}

// Parser and tree of jansson hold the key for a while, in several buffers: all its memory is wiped when it is freed.
static void wiping_free(void *memory)
{
    if (memory != NULL)
        secret_zero(memory, malloc_usable_size(memory));
    free(memory);
}

static void wipe_jansson(void)
{
    json_set_alloc_funcs(malloc, wiping_free);
}

static void prepare(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, wipe_jansson);
}

static int malformed(const char **why, const char *text)
{
    *why = text;
    return SAGATE_EMALFORMED;
}

static int load(struct slice body, json_t **document, const char **why)
{
    json_error_t error;
    prepare();
    *why = "";
    *document = NULL;
    if (body.len == 0 || body.len > TEF_BODY_MAX)
        return malformed(why, body.len == 0 ? "no body" : "the body is too long");
    *document = json_loadb((const char *)body.data, body.len, JSON_REJECT_DUPLICATES, &error);
    secret_zero(&error, sizeof error); // its text may quote the input
    if (*document == NULL)
        return malformed(why, "no JSON");
    if (json_is_object(*document))
        return SAGATE_OK;
    json_decref(*document);
    *document = NULL;
    return malformed(why, "no JSON object");
}

// The resource: below its root member, whose name may lack the prefix, or the document itself.
static const json_t *resource_of(const json_t *document, const char *root)
{
    const json_t *inner = json_object_get(document, root);
    const char *colon = strchr(root, ':');
    if (inner == NULL && colon != NULL)
        inner = json_object_get(document, colon + 1);
    return inner == NULL ? document : inner;
}

static const json_t *member(const json_t *resource, const char *const names[NAMES])
{
    for (size_t i = 0; i < NAMES && names[i] != NULL; i++) {
        const json_t *value = json_object_get(resource, names[i]);
        if (value != NULL)
            return value;
    }
    return NULL;
}

static bool printable(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    }
    return true;
}

static int copy_id(const json_t *value, char out[TEF_ID_MAX + 1], const char **why)
{
    if (value == NULL)
        return SAGATE_OK;
    if (!json_is_string(value))
        return malformed(why, "an identifier is no string");
    size_t len = json_string_length(value);
    if (len == 0 || len > TEF_ID_MAX)
        return malformed(why, len == 0 ? "an identifier is empty" : "an identifier is too long");
    if (!printable(json_string_value(value), len))
        return malformed(why, "an identifier has control characters");
    memcpy(out, json_string_value(value), len + 1);
    return SAGATE_OK;
}

static int copy_time(const json_t *value, int64_t *seconds, const char **why)
{
    if (value == NULL)
        return SAGATE_OK;
    if (!json_is_string(value))
        return malformed(why, "expirationTime is no string");
    if (tef_parse_time(slice_of(json_string_value(value), json_string_length(value)), seconds) != SAGATE_OK ||
        *seconds <= 0)
        return malformed(why, "expirationTime is no time");
    return SAGATE_OK;
}

static int copy_suid(const json_t *value, unsigned *suid, const char **why)
{
    if (value == NULL)
        return SAGATE_OK;
    if (!json_is_integer(value))
        return malformed(why, "SUID is no integer");
    if (json_integer_value(value) < 10 || json_integer_value(value) > 99)
        return malformed(why, "SUID is none");
    *suid = (unsigned)json_integer_value(value);
    return SAGATE_OK;
}

static int copy_targets(const json_t *value, struct tef_key *key, const char **why)
{
    if (value == NULL)
        return SAGATE_OK;
    if (!json_is_array(value))
        return malformed(why, "targetIDs is no list");
    if (json_array_size(value) > TEF_TARGETS_MAX)
        return malformed(why, "targetIDs is too long");
    for (size_t i = 0; i < json_array_size(value); i++) {
        int rc = copy_id(json_array_get(value, i), key->targets[i], why);
        if (rc != SAGATE_OK)
            return rc;
    }
    key->target_count = json_array_size(value);
    return SAGATE_OK;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_hex(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (hex_digit(text[i]) < 0)
            return false;
    }
    return len % 2 == 0;
}

static bool decode_hex(const char *text, size_t len, struct tef_key *key)
{
    if (len % 2 != 0 || len / 2 > TEF_KEY_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        int digit = hex_digit(text[i]);
        if (digit < 0)
            return false;
        key->key[i / 2] = (uint8_t)(key->key[i / 2] << 4 | digit);
    }
    key->key_len = len / 2;
    return true;
}

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// RFC 4648 section 4; the padding may be absent, bits that say nothing must be zero.
static bool decode_base64(const char *text, size_t len, struct tef_key *key)
{
    uint32_t bits = 0;
    unsigned count = 0;
    size_t out = 0, padding = 0;
    while (len > 0 && padding < 2 && text[len - 1] == '=') {
        len--;
        padding++;
    }
    if (len % 4 == 1 || (padding > 0 && (len + padding) % 4 != 0))
        return false;
    for (size_t i = 0; i < len; i++) {
        const char *digit = text[i] == '\0' ? NULL : strchr(base64_digits, text[i]);
        if (digit == NULL)
            return false;
        bits = (bits << 6 | (uint32_t)(digit - base64_digits)) & 0xffffff;
        count += 6;
        if (count < 8)
            continue;
        count -= 8;
        if (out == TEF_KEY_MAX)
            return false;
        key->key[out++] = (uint8_t)(bits >> count);
    }
    key->key_len = out;
    return (bits & ((1U << count) - 1)) == 0;
}

static int copy_key(const struct tef_profile *profile, const json_t *value, struct tef_key *key, const char **why)
{
    if (value == NULL)
        return SAGATE_OK;
    if (!json_is_string(value))
        return malformed(why, "the key is no string");
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    // Base64 of a key of 16 bytes or more that has only digits and a to f does not come about by chance.
    bool hex = profile->encoding == TEF_ENCODING_HEX || (profile->encoding == TEF_ENCODING_AUTO && is_hex(text, len));
    if (len == 0)
        return malformed(why, "the key is empty");
    if (!(hex ? decode_hex(text, len, key) : decode_base64(text, len, key)) || key->key_len == 0)
        return malformed(why, "the key is no encoding of 1 to 64 bytes");
    return SAGATE_OK;
}

static int copy_relative(const struct tef_profile *profile, const json_t *resource, struct tef_key *key,
                         const char **why)
{
    const char *const names[NAMES] = {profile->relative_key_id, "relativeKeyID", "RelativeKeyID", "resourceName", "rn"};
    const json_t *value = member(resource, names);
    int rc = copy_id(value, key->relative_key_id, why);
    if (rc != SAGATE_OK || value == NULL)
        return rc;
    return tef_relative_key_id_ok(slice_text(key->relative_key_id)) ? SAGATE_OK
                                                                    : malformed(why, "relativeKeyID is none");
}

static int read_key(const struct tef_profile *profile, const json_t *resource, struct tef_key *key, const char **why)
{
    const char *const key_value[NAMES] = {profile->key_value, "keyValue", "KeyValue"};
    const char *const expires[NAMES] = {profile->expiration_time, "expirationTime"};
    const char *const suid[NAMES] = {profile->suid, "SUID", "suid"};
    const char *const source[NAMES] = {profile->source_id, "sourceMAFClientID", "sourceMEFClientID",
                                       "sourceID",         "creator",           "cr"};
    const char *const admin[NAMES] = {profile->admin_fqdn, "adminFQDN"};
    const char *const targets[NAMES] = {profile->target_ids, "targetIDs"};
    if (!json_is_object(resource))
        return malformed(why, "the resource is no object");
    int rc = copy_key(profile, member(resource, key_value), key, why);
    if (rc == SAGATE_OK)
        rc = copy_time(member(resource, expires), &key->expires_at, why);
    if (rc == SAGATE_OK)
        rc = copy_suid(member(resource, suid), &key->suid, why);
    if (rc == SAGATE_OK)
        rc = copy_id(member(resource, source), key->source_id, why);
    if (rc == SAGATE_OK)
        rc = copy_id(member(resource, admin), key->admin_fqdn, why);
    if (rc == SAGATE_OK)
        rc = copy_targets(member(resource, targets), key, why);
    return rc == SAGATE_OK ? copy_relative(profile, resource, key, why) : rc;
}

int tef_parse_key(const struct tef_profile *profile, struct slice body, struct tef_key *key, const char **why)
{
    json_t *document;
    memset(key, 0, sizeof *key);
    int rc = load(body, &document, why);
    if (rc != SAGATE_OK)
        return rc;
    rc = read_key(profile, resource_of(document, profile->key_root), key, why);
    json_decref(document);
    if (rc != SAGATE_OK)
        tef_key_wipe(key);
    return rc;
}

// Lifetime: whole seconds from now, or a time.
static int copy_lifetime(const json_t *value, int64_t now, struct tef_key *key, const char **why)
{
    if (value == NULL || !json_is_integer(value))
        return copy_time(value, &key->expires_at, why);
    if (json_integer_value(value) <= 0 || json_integer_value(value) > lifetime_max)
        return malformed(why, "Lifetime is none");
    key->expires_at = now + json_integer_value(value);
    return SAGATE_OK;
}

static int read_credentials(const struct tef_profile *profile, const json_t *answer, int64_t now, struct tef_key *key,
                            const char **why)
{
    const json_t *status = json_object_get(answer, "Status");
    if (!json_is_boolean(status))
        return malformed(why, "Status is no boolean");
    if (json_is_false(status))
        return SAGATE_ENOTFOUND;
    int rc = copy_key(profile, json_object_get(answer, "Credential"), key, why);
    if (rc == SAGATE_OK)
        rc = copy_id(json_object_get(answer, "EnroleeID"), key->source_id, why);
    return rc == SAGATE_OK ? copy_lifetime(json_object_get(answer, "Lifetime"), now, key, why) : rc;
}

int tef_parse_credentials(const struct tef_profile *profile, struct slice body, int64_t now, struct tef_key *key,
                          const char **why)
{
    json_t *document;
    memset(key, 0, sizeof *key);
    int rc = load(body, &document, why);
    if (rc != SAGATE_OK)
        return rc;
    rc = read_credentials(profile, document, now, key, why);
    json_decref(document);
    if (rc != SAGATE_OK)
        tef_key_wipe(key);
    return rc;
}

// An ID becomes part of a request's target: unreserved characters and '/' of RFC 3986 and no way out of the path.
static bool is_path(const char *text)
{
    static const char others[] = "._-~/";
    for (const char *c = text; *c != '\0'; c++) {
        bool letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9');
        if (!letter && strchr(others, *c) == NULL)
            return false;
        bool begins = c == text || c[-1] == '/';
        if (begins && *c == '.' && (c[1] == '/' || c[1] == '\0' || (c[1] == '.' && (c[2] == '/' || c[2] == '\0'))))
            return false;
    }
    return true;
}

static int read_registration(const struct tef_profile *profile, const json_t *resource,
                             struct tef_registration *registration, const char **why)
{
    const char *const id[NAMES] = {profile->resource_id, "resourceID", "ri", "mafClientRegID", "mefClientRegID"};
    const char *const expires[NAMES] = {profile->expiration_time, "expirationTime"};
    const char *const assigned[NAMES] = {"assignedSymmKeyID"};
    if (!json_is_object(resource))
        return malformed(why, "the resource is no object");
    int rc = copy_id(member(resource, id), registration->id, why);
    if (rc == SAGATE_OK && !is_path(registration->id))
        rc = malformed(why, "resourceID is no path");
    if (rc == SAGATE_OK)
        rc = copy_time(member(resource, expires), &registration->expires_at, why);
    return rc == SAGATE_OK ? copy_id(member(resource, assigned), registration->assigned_key_id, why) : rc;
}

int tef_parse_registration(const struct tef_profile *profile, struct slice body, struct tef_registration *registration,
                           const char **why)
{
    json_t *document;
    memset(registration, 0, sizeof *registration);
    int rc = load(body, &document, why);
    if (rc != SAGATE_OK)
        return rc;
    rc = read_registration(profile, resource_of(document, profile->registration_root), registration, why);
    json_decref(document);
    if (rc != SAGATE_OK)
        memset(registration, 0, sizeof *registration);
    return rc;
}

// The text of {root: resource}; takes the resource.
static char *dump(const char *root, json_t *resource, bool complete)
{
    json_t *document = json_object();
    char *text = NULL;
    if (json_object_set_new(document, root, resource) == 0 && complete)
        text = json_dumps(document, JSON_COMPACT);
    json_decref(document);
    return text;
}

static bool set_time(json_t *resource, const struct tef_profile *profile, int64_t expires_at)
{
    char time[16];
    tef_format_time(expires_at, time);
    return json_object_set_new(resource, profile->expiration_time, json_string(time)) == 0;
}

char *tef_make_registration(const struct tef_profile *profile, enum tef_kind kind, const char *admin_fqdn,
                            int64_t expires_at)
{
    (void)kind; // the profile is of this kind
    prepare();
    json_t *resource = json_object();
    bool complete = set_time(resource, profile, expires_at) &&
                    json_object_set_new(resource, profile->admin_fqdn, json_string(admin_fqdn)) == 0;
    return dump(profile->registration_root, resource, complete);
}

static void encode(const struct tef_profile *profile, struct slice key, char out[2 * TEF_KEY_MAX + 1])
{
    static const char hex[] = "0123456789ABCDEF";
    size_t at = 0;
    if (profile->encoding == TEF_ENCODING_HEX) {
        for (size_t i = 0; i < key.len; i++) {
            out[at++] = hex[key.data[i] >> 4];
            out[at++] = hex[key.data[i] & 15];
        }
    } else {
        for (size_t i = 0; i < key.len; i += 3) {
            size_t left = key.len - i;
            uint32_t bits = (uint32_t)key.data[i] << 16 | (left > 1 ? (uint32_t)key.data[i + 1] << 8 : 0) |
                            (left > 2 ? key.data[i + 2] : 0);
            out[at++] = base64_digits[bits >> 18];
            out[at++] = base64_digits[bits >> 12 & 63];
            out[at++] = left > 1 ? base64_digits[bits >> 6 & 63] : '=';
            out[at++] = left > 2 ? base64_digits[bits & 63] : '=';
        }
    }
    out[at] = '\0';
}

char *tef_make_key(const struct tef_profile *profile, const char *admin_fqdn, unsigned suid, const char *target,
                   int64_t expires_at, struct slice key)
{
    char text[2 * TEF_KEY_MAX + 1];
    if (key.len > TEF_KEY_MAX)
        return NULL;
    prepare();
    json_t *resource = json_object();
    bool complete = set_time(resource, profile, expires_at) &&
                    json_object_set_new(resource, profile->admin_fqdn, json_string(admin_fqdn)) == 0 &&
                    json_object_set_new(resource, profile->suid, json_integer((json_int_t)suid)) == 0;
    if (complete && target != NULL)
        complete = json_object_set_new(resource, profile->target_ids, json_pack("[s]", target)) == 0;
    if (complete && key.len > 0) {
        encode(profile, key, text);
        complete = json_object_set_new(resource, profile->key_value, json_string(text)) == 0;
        secret_zero(text, sizeof text);
    }
    return dump(profile->key_root, resource, complete);
}

char *tef_make_update(const struct tef_profile *profile, const char *root, int64_t expires_at)
{
    prepare();
    json_t *resource = json_object();
    return dump(root, resource, set_time(resource, profile, expires_at));
}

int tef_relative_key_id_ok(struct slice text)
{
    if (text.len == 0 || text.len > TEF_ID_MAX || slice_is(text, ".") || slice_is(text, ".."))
        return 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && c != '.' && c != '_' && c != '-')
            return 0;
    }
    return 1;
}
