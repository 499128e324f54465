// Registration of a key: content and answer.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/device/registration.h"

#include "common/derive.h"
#include "common/error.h"
#include "common/secret.h"
#include "controlplane/device/association.h"

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/coding.h>

#include <jansson.h>
#include <stdio.h>

enum { TEXT_MAX = 16 * 1024, BASE64_MAX = 4 * (ASSOCIATION_KEY_MAX + 2) / 3 + 8 };

// Members are those of controlplane/tef/profile.h. The key is written behind what the library made, so that no copy of
// it stays in memory that is not wiped.
char *registration_content(const struct options *options, struct slice key, time_t now)
{
    char expires[32];
    struct tm fields;
    time_t end = now + (time_t)options->lifetime;
    (void)strftime(expires, sizeof expires, "%Y%m%dT%H%M%S", gmtime_r(&end, &fields));
    json_t *targets = json_array();
    for (size_t i = 0; i < options->target_count; i++)
        (void)json_array_append_new(targets, json_string(options->targets[i]));
    json_t *content = json_pack("{s:s, s:s, s:i, s:o}", "et", expires, "adminFQDN", options->admin, "SUID",
                                (int)options->suid, "targetIDs", targets);
    char *members = content == NULL ? NULL : json_dumps(content, JSON_COMPACT);
    char *text = members == NULL ? NULL : secret_alloc(TEXT_MAX);
    json_decref(content);
    if (text != NULL) {
        char base64[BASE64_MAX] = "";
        word32 base64_len = sizeof base64 - 1;
        if (key.len > 0 && Base64_Encode_NoNl(key.data, (word32)key.len, (byte *)base64, &base64_len) == 0)
            base64[base64_len] = '\0';
        int len = snprintf(text, TEXT_MAX, "{\"sec:symmKeyReg\":%.*s%s%s%s}}", (int)strlen(members) - 1, members,
                           key.len > 0 ? ",\"keyValue\":\"" : "", base64, key.len > 0 ? "\"" : "");
        secret_zero(base64, sizeof base64);
        if (len < 0 || len >= TEXT_MAX) {
            secret_free(text);
            text = NULL;
        }
    }
    free(members);
    return text;
}

int registration_read(struct slice answer, char id[REGISTRATION_ID_MAX])
{
    json_t *root = json_loadb((const char *)answer.data, answer.len, JSON_REJECT_DUPLICATES, NULL);
    const json_t *resource = json_object_get(root, "sec:symmKeyReg");
    const json_t *value = json_object_get(resource, "relativeKeyID");
    const char *text = json_string_value(value);
    size_t len = text == NULL ? 0 : strlen(text);
    bool good = len > 0 && len < REGISTRATION_ID_MAX && len == json_string_length(value) &&
                strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == len;
    if (good)
        memcpy(id, text, len + 1);
    json_decref(root);
    return good ? SAGATE_OK : SAGATE_EMALFORMED;
}

int registration_derive(const struct options *options, uint8_t *key, size_t len)
{
    char fqdn[ONEM2M_ABSOLUTE_MAX];
    struct slice target = slice_text(options->derive_for);
    if (options->derivation == DERIVATION_NONE)
        return SAGATE_OK;
    uint8_t *made = len == DERIVE_KEY ? secret_alloc(DERIVE_KEY) : NULL;
    if (made == NULL)
        return SAGATE_EINVAL;
    int rc;
    if (options->derivation == DERIVATION_KM) {
        rc = derive_km(key, target, made);
    } else if (options->derivation == DERIVATION_KPSA) {
        rc = derive_kpsa(key, target, made);
    } else {
        rc = derive_target_fqdn(target, fqdn, sizeof fqdn);
        rc = rc < 0 ? rc : derive_usage(key, options->suid, slice_of(fqdn, (size_t)rc), made);
    }
    if (rc == SAGATE_OK)
        memcpy(key, made, DERIVE_KEY);
    secret_free(made);
    return rc;
}
