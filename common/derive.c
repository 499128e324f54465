// Keys that TS-0003 derives: HMAC-SHA-256 of wolfCrypt.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/derive.h"

#include "common/error.h"
#include "common/secret.h"

#include <stdio.h>
#include <string.h>
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/hmac.h>

enum { ARGUMENT_MAX = 255, SUID_MIN = 10, SUID_MAX = 99 };

void derive_split(const uint8_t exported[DERIVE_EXPORTED], char id[DERIVE_ID_TEXT], uint8_t key[DERIVE_KEY])
{
    for (size_t i = 0; i < DERIVE_ID; i++)
        (void)snprintf(id + 2 * i, 3, "%02X", exported[i]);
    memcpy(key, exported + DERIVE_ID, DERIVE_KEY);
}

// HMAC over up to three parts that follow each other.
static int derive(const uint8_t ke[DERIVE_KEY], const char *label, const char *number, struct slice name,
                  uint8_t key[DERIVE_KEY])
{
    Hmac hmac;
    if (name.len == 0 || name.len > ARGUMENT_MAX)
        return SAGATE_EINVAL;
    int result = wc_HmacInit(&hmac, NULL, INVALID_DEVID);
    if (result == 0)
        result = wc_HmacSetKey(&hmac, WC_SHA256, ke, DERIVE_KEY);
    if (result == 0)
        result = wc_HmacUpdate(&hmac, (const uint8_t *)label, (word32)strlen(label));
    if (result == 0 && number != NULL)
        result = wc_HmacUpdate(&hmac, (const uint8_t *)number, (word32)strlen(number));
    if (result == 0)
        result = wc_HmacUpdate(&hmac, name.data, (word32)name.len);
    if (result == 0)
        result = wc_HmacFinal(&hmac, key);
    wc_HmacFree(&hmac);
    if (result == 0)
        return SAGATE_OK;
    secret_zero(key, DERIVE_KEY);
    return SAGATE_ESYS;
}

int derive_km(const uint8_t ke[DERIVE_KEY], struct slice maf_id, uint8_t key[DERIVE_KEY])
{
    return derive(ke, "oneM2M Enrolment Key to Master Credential derivation", NULL, maf_id, key);
}

int derive_kpsa(const uint8_t ke[DERIVE_KEY], struct slice b_id, uint8_t key[DERIVE_KEY])
{
    return derive(ke, "oneM2M Enrolment Key to Provisioned Secure Connection Key derivation", NULL, b_id, key);
}

int derive_usage(const uint8_t ke[DERIVE_KEY], unsigned suid, struct slice target_fqdn, uint8_t key[DERIVE_KEY])
{
    char number[16];
    if (suid < SUID_MIN || suid > SUID_MAX)
        return SAGATE_EINVAL;
    // As decimal text: the encoding is not stated.
    (void)snprintf(number, sizeof number, "%u", suid);
    return derive(ke, "oneM2M Enrolment Key to Usage-Constrained Symmetric Key derivation", number, target_fqdn, key);
}

int derive_target_fqdn(struct slice target, char *out, size_t cap)
{
    struct slice sp = target;
    struct slice rest = {0};
    if (target.len >= 2 && memcmp(target.data, "//", 2) == 0) {
        sp = slice_of(target.data + 2, target.len - 2);
        const uint8_t *slash = sp.len == 0 ? NULL : memchr(sp.data, '/', sp.len);
        if (slash == NULL)
            return SAGATE_EINVAL;
        rest = slice_of(slash + 1, sp.len - (size_t)(slash - sp.data) - 1);
        sp.len = (size_t)(slash - sp.data);
        // "//sp/cse/Cae" has the AE in front of its CSE.
        if (rest.len == 0 || sp.len == 0 || rest.data[0] == '/' || rest.data[rest.len - 1] == '/')
            return SAGATE_EINVAL;
    }
    if (sp.len == 0)
        return SAGATE_EINVAL;
    if (sp.len + rest.len + 2 > cap)
        return SAGATE_ETOOBIG;
    char *to = out;
    while (rest.len > 0) { // the last part first
        size_t from = rest.len;
        while (from > 0 && rest.data[from - 1] != '/')
            from--;
        memcpy(to, rest.data + from, rest.len - from);
        to += rest.len - from;
        *to++ = '.';
        rest.len = from > 0 ? from - 1 : 0;
    }
    memcpy(to, sp.data, sp.len);
    to[sp.len] = '\0';
    return (int)(to - out) + (int)sp.len;
}
