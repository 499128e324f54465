// Checks of what a MAF or MEF answered: for us, of its kind, still valid, about one whom the key may stand for.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/resolver/remote_check.h"

#include "common/error.h"
#include "common/onem2m.h"

#include <stdio.h>
#include <strings.h>

static const char *const names[REMOTE_REFUSALS] = {
    [REMOTE_SUID] = "suid",           [REMOTE_TARGET] = "target",
    [REMOTE_ADMIN] = "admin",         [REMOTE_EXPIRED] = "expired",
    [REMOTE_NO_SOURCE] = "no_source", [REMOTE_NOT_MAPPED] = "not_mapped",
    [REMOTE_FOREIGN] = "foreign",     [REMOTE_KEY] = "key",
};

const char *remote_refusal_name(enum remote_refusal refusal)
{
    return (unsigned)refusal < REMOTE_REFUSALS ? names[refusal] : "unknown";
}

bool remote_split(struct slice identity, struct slice *relative_key_id, struct slice *fqdn)
{
    if (identity.data == NULL || identity.len == 0 || identity.len > REMOTE_IDENTITY_MAX)
        return false;
    const uint8_t *at = memchr(identity.data, '@', identity.len);
    if (at == NULL)
        return false;
    *relative_key_id = slice_of(identity.data, (size_t)(at - identity.data));
    *fqdn = slice_of(at + 1, identity.len - relative_key_id->len - 1);
    return fqdn->len > 0 && memchr(fqdn->data, '@', fqdn->len) == NULL && tef_relative_key_id_ok(*relative_key_id);
}

void remote_credential_id(struct slice identity, char *out)
{
    int used = snprintf(out, ONEM2M_CREDENTIAL_MAX + 1, "12-%.*s", (int)identity.len, (const char *)identity.data);
    bool behind_at = false;
    for (int i = 0; i < used; i++) {
        if (behind_at && out[i] >= 'A' && out[i] <= 'Z')
            out[i] = (char)(out[i] - 'A' + 'a');
        behind_at = behind_at || out[i] == '@';
    }
}

// True when `text` is what stands behind "//sp.example" of an identifier in `absolute`.
static bool strip(const char *prefix, const char *absolute, const char **rest)
{
    size_t len = strlen(prefix);
    if (strncmp(absolute, prefix, len) != 0 || absolute[len] != '/')
        return false;
    *rest = absolute + len + 1;
    return true;
}

static bool names_target(const struct remote_tef *tef, const char *target)
{
    char absolute[ONEM2M_ABSOLUTE_MAX + 1];
    return onem2m_absolute(slice_text(target), tef->sp_id, "", absolute, sizeof absolute) > 0 &&
           strcmp(absolute, tef->target) == 0;
}

static bool is_for_us(const struct remote_tef *tef, const struct tef_key *key)
{
    if (key->target_count == 0)
        return !tef->target_required;
    for (size_t i = 0; i < key->target_count; i++) {
        if (names_target(tef, key->targets[i]))
            return true;
    }
    return false;
}

static int usable_len(const struct remote_tef *tef, const struct tef_key *key, size_t *psk_len)
{
    if (key->key_len == 0 || key->key_len > sizeof key->key || (tef->first_half && key->key_len % 2 != 0))
        return REMOTE_KEY;
    *psk_len = tef->first_half ? key->key_len / 2 : key->key_len;
    return REMOTE_TAKEN;
}

static int check_fields(const struct remote_tef *tef, struct slice relative_key_id, const struct tef_key *key,
                        int64_t now)
{
    unsigned suid = tef->kind == TEF_MAF ? REMOTE_SUID_MAF : REMOTE_SUID_MEF;
    if (key->relative_key_id[0] != '\0' && !slice_is(relative_key_id, key->relative_key_id))
        return REMOTE_KEY;
    if (key->suid != suid && !(tef->suid_optional && key->suid == 0))
        return REMOTE_SUID;
    if (tef->admin_fqdn[0] != '\0' && strcasecmp(tef->admin_fqdn, key->admin_fqdn) != 0)
        return REMOTE_ADMIN;
    if (!is_for_us(tef, key))
        return REMOTE_TARGET;
    if (key->expires_at <= now)
        return REMOTE_EXPIRED;
    return key->source_id[0] == '\0' ? REMOTE_NO_SOURCE : REMOTE_TAKEN;
}

static bool is_stem(const char *text, enum onem2m_id_kind kind)
{
    return onem2m_id_kind(slice_text(text)) == kind && !onem2m_id_is_wish(slice_text(text)) &&
           strchr(text, '*') == NULL;
}

enum verdict { VERDICT_NAMED, VERDICT_FOREIGN, VERDICT_UNKNOWN };

// Makes of an absolute or SP-relative CSE-ID or AE-ID what a principal has.
static enum verdict read_source(const struct remote_tef *tef, const char *source, struct principal *principal)
{
    char absolute[ONEM2M_ABSOLUTE_MAX + 1];
    const char *rest, *stem;
    enum onem2m_id_kind kind = onem2m_id_kind(slice_text(source));
    if (kind != ONEM2M_ID_ABSOLUTE && kind != ONEM2M_ID_SP_RELATIVE)
        return VERDICT_UNKNOWN;
    if (onem2m_absolute(slice_text(source), tef->sp_id, "", absolute, sizeof absolute) < 0)
        return VERDICT_UNKNOWN;
    // A key of our own CSE-ID would let a peer speak as the CSE itself.
    if (!strip(tef->sp_id, absolute, &rest) || strcmp(absolute, tef->target) == 0)
        return VERDICT_FOREIGN;
    if (strip(tef->target, absolute, &stem)) {
        if (!is_stem(stem, ONEM2M_ID_STEM_C))
            return VERDICT_UNKNOWN;
    } else if (strchr(rest, '/') != NULL) {
        return VERDICT_FOREIGN; // an AE of another CSE
    } else {
        if (onem2m_id_is_wish(slice_text(rest)))
            return VERDICT_UNKNOWN;
        stem = is_stem(rest, ONEM2M_ID_STEM_S) ? rest : NULL;
    }
    if (stem != NULL)
        return principal_add_ae(principal, slice_text(stem), slice_text(tef->upstream)) == SAGATE_OK ? VERDICT_NAMED
                                                                                                     : VERDICT_UNKNOWN;
    principal->cse_id = slice_copy(slice_text(rest - 1));
    return principal->cse_id != NULL ? VERDICT_NAMED : VERDICT_UNKNOWN;
}

static bool is_mapped(struct principal *principal, const char *source, remote_map *map, void *context)
{
    char id[ONEM2M_CREDENTIAL_MAX + 1];
    int len = snprintf(id, sizeof id, "11-%s", source);
    if (map(context, slice_of(id, (size_t)len), principal) != SAGATE_OK &&
        map(context, slice_text(principal->credential_id), principal) != SAGATE_OK)
        return false;
    return principal->cse_id != NULL || principal->ae_count > 0;
}

int remote_check(const struct remote_tef *tef, struct slice identity, const struct tef_key *key, int64_t now,
                 remote_map *map, void *map_context, struct principal **principal, size_t *psk_len)
{
    char credential_id[ONEM2M_CREDENTIAL_MAX + 1];
    struct slice relative_key_id, fqdn;
    if (!remote_split(identity, &relative_key_id, &fqdn))
        return REMOTE_KEY;
    int refusal = check_fields(tef, relative_key_id, key, now);
    if (refusal == REMOTE_TAKEN)
        refusal = usable_len(tef, key, psk_len);
    if (refusal != REMOTE_TAKEN)
        return refusal;
    remote_credential_id(identity, credential_id);
    struct principal *made = principal_new(tef->kind == TEF_MAF ? FRAMEWORK_MAF : FRAMEWORK_PSK,
                                           slice_text(credential_id), slice_text(NULL));
    if (made == NULL)
        return REMOTE_KEY;
    made->expires_at = key->expires_at;
    enum verdict verdict = read_source(tef, key->source_id, made);
    if (verdict == VERDICT_NAMED || (verdict == VERDICT_UNKNOWN && is_mapped(made, key->source_id, map, map_context))) {
        *principal = made;
        return REMOTE_TAKEN;
    }
    principal_release(made);
    return verdict == VERDICT_FOREIGN ? REMOTE_FOREIGN : REMOTE_NOT_MAPPED;
}
