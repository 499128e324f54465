// Keys that TS-0003 derives, with HMAC-SHA-256 of the library.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/derive.h"

#include "common/error.h"
#include "common/secret.h"

#include <stdio.h>
#include <string.h>
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/hmac.h>

enum { ARGUMENT_MAX = 255 };

void derive_split(const uint8_t exported[DERIVE_EXPORTED], char id[DERIVE_ID_TEXT], uint8_t key[DERIVE_KEY])
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < DERIVE_ID; i++) {
        id[2 * i] = digits[exported[i] >> 4];
        id[2 * i + 1] = digits[exported[i] & 15];
    }
    id[DERIVE_ID_TEXT - 1] = '\0';
    memcpy(key, exported + DERIVE_ID, DERIVE_KEY);
}

// The label goes in without its NUL; `suid` may be empty.
static int derive(const uint8_t ke[DERIVE_KEY], const char *label, const char *suid, struct slice name,
                  uint8_t key[DERIVE_KEY])
{
    Hmac hmac;
    if (name.data == NULL || name.len == 0 || name.len > ARGUMENT_MAX)
        return SAGATE_EINVAL;
    int result = wc_HmacInit(&hmac, NULL, INVALID_DEVID);
    if (result == 0) {
        result = wc_HmacSetKey(&hmac, WC_SHA256, ke, DERIVE_KEY);
        if (result == 0)
            result = wc_HmacUpdate(&hmac, (const byte *)label, (word32)strlen(label));
        if (result == 0 && suid[0] != '\0')
            result = wc_HmacUpdate(&hmac, (const byte *)suid, (word32)strlen(suid));
        if (result == 0)
            result = wc_HmacUpdate(&hmac, (const byte *)name.data, (word32)name.len);
        if (result == 0)
            result = wc_HmacFinal(&hmac, key);
        wc_HmacFree(&hmac);
        secret_zero(&hmac, sizeof hmac);
    }
    if (result != 0)
        secret_zero(key, DERIVE_KEY);
    return result == 0 ? SAGATE_OK : SAGATE_ESYS;
}

int derive_km(const uint8_t ke[DERIVE_KEY], struct slice maf_id, uint8_t key[DERIVE_KEY])
{
    return derive(ke, "oneM2M Enrolment Key to Master Credential derivation", "", maf_id, key);
}

int derive_kpsa(const uint8_t ke[DERIVE_KEY], struct slice b_id, uint8_t key[DERIVE_KEY])
{
    return derive(ke, "oneM2M Enrolment Key to Provisioned Secure Connection Key derivation", "", b_id, key);
}

int derive_usage(const uint8_t ke[DERIVE_KEY], unsigned suid, struct slice target_fqdn, uint8_t key[DERIVE_KEY])
{
    if (suid < 10 || suid > 99)
        return SAGATE_EINVAL;
    // TS-0003 leaves the encoding of the SUID open: its two decimal digits, as m2m:suid is written.
    const char text[] = {(char)('0' + suid / 10), (char)('0' + suid % 10), '\0'};
    return derive(ke, "oneM2M Enrolment Key to Usage-Constrained Symmetric Key derivation", text, target_fqdn, key);
}

int derive_target_fqdn(struct slice target, char *out, size_t cap)
{
    if (target.data == NULL || target.len == 0 || memchr(target.data, '\0', target.len) != NULL)
        return SAGATE_EINVAL;
    const char *text = (const char *)target.data, *end = text + target.len;
    if (target.len >= cap && (target.len < 2 || memcmp(text, "//", 2) != 0 || target.len - 2 >= cap))
        return SAGATE_ETOOBIG;
    if (target.len < 2 || memcmp(text, "//", 2) != 0) {
        memcpy(out, text, target.len);
        out[target.len] = '\0';
        return (int)target.len;
    }
    text += 2;
    const char *slash = memchr(text, '/', (size_t)(end - text));
    // A longer path has no FQDN form in TS-0001 6.5.1.1.
    if (slash == NULL || slash == text || slash + 1 == end || memchr(slash + 1, '/', (size_t)(end - slash - 1)) != NULL)
        return SAGATE_EINVAL;
    int domain = (int)(slash - text), local = (int)(end - slash - 1);
    (void)snprintf(out, cap, "%.*s.%.*s", local, slash + 1, domain, text);
    return domain + 1 + local;
}
