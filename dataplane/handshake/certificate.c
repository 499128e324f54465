// From a certificate to its principal. The library takes the certificate apart, as it did to verify it.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/handshake/certificate.h"

#include "common/error.h"
#include "common/onem2m.h"
#include "dataplane/handshake/session.h"

#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/hash.h>

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { TYPE_LEN = 3, CREDENTIAL_ID = TYPE_LEN + 2 * WC_SHA256_DIGEST_SIZE + 1, LABEL_MAX = 63 };
#define TYPE_CSE "32-" // TS-0003 table 10.4-1
#define TYPE_AE  "33-"

static bool starts_with(struct slice text, const char *start)
{
    size_t len = strlen(start);
    return text.len >= len && memcmp(text.data, start, len) == 0;
}

static struct slice without(struct slice text, size_t count)
{
    return slice_of(text.data + count, text.len - count);
}

// The AE-ID-Stem of an absolute AE-ID at this upstream; NULL data: it is none there.
static struct slice stem_at(const struct config_upstream *upstream, struct slice absolute)
{
    const struct slice none = {0};
    if (!starts_with(absolute, upstream->sp_id))
        return none;
    struct slice relative = without(absolute, strlen(upstream->sp_id));
    size_t cse_len = strlen(upstream->cse_id);
    enum onem2m_id_kind wanted = ONEM2M_ID_STEM_S;
    if (starts_with(relative, upstream->cse_id) && relative.len > cse_len && relative.data[cse_len] == '/') {
        relative = without(relative, cse_len);
        wanted = ONEM2M_ID_STEM_C;
    }
    if (relative.len < 2 || relative.data[0] != '/')
        return none;
    struct slice stem = without(relative, 1);
    bool whole = memchr(stem.data, '/', stem.len) == NULL && !onem2m_id_is_wish(stem);
    return whole && onem2m_id_kind(stem) == wanted ? stem : none;
}

int certificate_add_ae(const struct config *config, struct slice absolute, struct principal *principal)
{
    size_t count = 0;
    struct slice stem = {0};
    for (size_t i = 0; i < config->upstream_count; i++) {
        struct slice here = stem_at(&config->upstreams[i], absolute);
        count += here.data != NULL ? 1 : 0;
        stem = here.data != NULL ? here : stem;
    }
    if (count == 0)
        return SAGATE_ENOTFOUND;
    if (count == config->upstream_count)
        return principal_add_ae(principal, stem, slice_text(""));
    int result = SAGATE_OK;
    for (size_t i = 0; i < config->upstream_count && result == SAGATE_OK; i++) {
        if (stem_at(&config->upstreams[i], absolute).data != NULL)
            result = principal_add_ae(principal, stem, slice_text(config->upstreams[i].name));
    }
    return result;
}

// What follows the scheme, which says nothing: an absolute AE-ID has none, and a URI must have one (RFC 5280 4.2.1.6).
static struct slice without_scheme(struct slice uri)
{
    size_t at = 0;
    while (at < uri.len && uri.data[at] != ':' && uri.data[at] != '/')
        at++;
    return at > 0 && at < uri.len && uri.data[at] == ':' ? without(uri, at + 1) : (struct slice){0};
}

static bool same_name(struct slice name, const char *text)
{
    size_t len = strlen(text);
    return name.len == len && strncasecmp((const char *)name.data, text, len) == 0;
}

// The label in front of the public domain name of the upstream's CSE; NULL data: the name is none of its registrees'.
static struct slice label_at(const struct config_upstream *upstream, struct slice name)
{
    const struct slice none = {0};
    const uint8_t *dot = name.len == 0 ? NULL : memchr(name.data, '.', name.len);
    size_t label = dot == NULL ? 0 : (size_t)(dot - name.data);
    size_t cse_len = strlen(upstream->cse_id) - 1;
    if (label == 0 || label > LABEL_MAX || name.len < label + 1 + cse_len + 1)
        return none;
    struct slice parent = without(name, label + 1);
    bool below = same_name(slice_of(parent.data, cse_len), upstream->cse_id + 1) && parent.data[cse_len] == '.' &&
                 same_name(without(parent, cse_len + 1), upstream->sp_id + 2);
    struct slice cse = slice_of(name.data, label);
    // A dNSName may hold any character here, and neither a pattern nor the address of something at a CSE is a CSE-ID.
    bool plain = memchr(cse.data, '*', cse.len) == NULL && memchr(cse.data, '/', cse.len) == NULL;
    return below && plain ? cse : none;
}

// The CSE-ID that the certificate names: the length written to `cse_id`, 0: none, or several that differ.
static size_t find_cse(const struct config *config, const DNS_entry *names, char cse_id[LABEL_MAX + 2])
{
    size_t len = 0;
    for (const DNS_entry *name = names; name != NULL; name = name->next) {
        for (size_t i = 0; name->type == ASN_DNS_TYPE && name->len > 0 && i < config->upstream_count; i++) {
            struct slice label = label_at(&config->upstreams[i], slice_of(name->name, (size_t)name->len));
            if (label.data == NULL)
                continue;
            if (len > 0 && (len != label.len + 1 || memcmp(cse_id + 1, label.data, label.len) != 0))
                return 0;
            cse_id[0] = '/';
            memcpy(cse_id + 1, label.data, label.len);
            len = label.len + 1;
        }
    }
    bool valid = len > 0 && onem2m_id_kind(slice_of(cse_id, len)) == ONEM2M_ID_SP_RELATIVE;
    return valid ? len : 0;
}

static int name_credential(struct slice der, char out[CREDENTIAL_ID])
{
    uint8_t digest[WC_SHA256_DIGEST_SIZE];
    if (der.len == 0 || der.len > INT32_MAX || wc_Sha256Hash(der.data, (word32)der.len, digest) != 0)
        return SAGATE_EMALFORMED;
    memcpy(out, TYPE_AE, TYPE_LEN + 1);
    for (size_t i = 0; i < sizeof digest; i++)
        (void)snprintf(out + TYPE_LEN + 2 * i, 3, "%02x", digest[i]);
    return SAGATE_OK;
}

static int read_expiry(const DecodedCert *decoded, int64_t *expires_at)
{
    const byte *date = NULL;
    byte format = 0;
    int len = 0;
    struct tm when = {0};
    if (decoded->afterDate == NULL ||
        wc_GetDateInfo(decoded->afterDate, decoded->afterDateLen, &date, &format, &len) != 0 ||
        wc_GetDateAsCalendarTime(date, len, format, &when) != 0)
        return SAGATE_EMALFORMED;
    *expires_at = timegm(&when);
    return *expires_at > 0 ? SAGATE_OK : SAGATE_EMALFORMED;
}

static int add_names(const struct config *config, const DNS_entry *names, struct principal *principal)
{
    int result = SAGATE_OK;
    for (const DNS_entry *name = names; name != NULL && result == SAGATE_OK; name = name->next) {
        if (name->type != ASN_URI_TYPE || name->len <= 0)
            continue;
        struct slice absolute = without_scheme(slice_of(name->name, (size_t)name->len));
        result = absolute.data == NULL ? SAGATE_OK : certificate_add_ae(config, absolute, principal);
        if (result == SAGATE_ENOTFOUND || result == SAGATE_EEXISTS)
            result = SAGATE_OK;
    }
    return result;
}

static int make(const struct config *config, struct slice der, const DecodedCert *decoded, struct principal **out)
{
    char credential_id[CREDENTIAL_ID];
    char cse_id[LABEL_MAX + 2];
    int64_t expires_at = 0;
    if (name_credential(der, credential_id) != SAGATE_OK || read_expiry(decoded, &expires_at) != SAGATE_OK)
        return SAGATE_EMALFORMED;
    struct principal *principal = principal_new(FRAMEWORK_CERTIFICATE, slice_text(credential_id), (struct slice){0});
    int result = principal == NULL ? SAGATE_ENOMEM : add_names(config, decoded->altNames, principal);
    if (result == SAGATE_OK && principal->ae_count == 0) {
        size_t len = find_cse(config, decoded->altNames, cse_id);
        principal_release(principal);
        memcpy(credential_id, TYPE_CSE, TYPE_LEN);
        principal =
            len == 0 ? NULL : principal_new(FRAMEWORK_CERTIFICATE, slice_text(credential_id), slice_of(cse_id, len));
        result = len > 0 && principal == NULL ? SAGATE_ENOMEM : SAGATE_OK;
    }
    if (result != SAGATE_OK) {
        principal_release(principal);
        return result;
    }
    if (principal != NULL)
        principal->expires_at = expires_at;
    *out = principal;
    return SAGATE_OK;
}

int certificate_principal(const struct config *config, struct slice der, struct principal **principal)
{
    DecodedCert decoded;
    *principal = NULL;
    if (der.len == 0 || der.len > INT32_MAX)
        return SAGATE_EMALFORMED;
    wc_InitDecodedCert(&decoded, der.data, (word32)der.len, NULL);
    int result = wc_ParseCert(&decoded, CERT_TYPE, NO_VERIFY, NULL) != 0 ? SAGATE_EMALFORMED
                                                                         : make(config, der, &decoded, principal);
    wc_FreeDecodedCert(&decoded);
    return result;
}
