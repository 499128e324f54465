// From the subjectAltName of a certificate to a client.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/tefserver/identity.h"

#include "common/error.h"

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/asn.h>

#include <string.h>

// What follows the scheme: an absolute AE-ID has none, and a URI must have one (RFC 5280 4.2.1.6).
static struct slice absolute_of(struct slice uri)
{
    const uint8_t *start = memmem(uri.data, uri.len, "://", 3);
    if (start == NULL)
        return (struct slice){0};
    start++;
    return slice_of(start, uri.len - (size_t)(start - uri.data));
}

static int find(struct tef_store *store, const DNS_entry *name, struct tef_store_client *client)
{
    struct slice text = slice_of(name->name, name->len > 0 ? (size_t)name->len : 0);
    if (text.len == 0)
        return SAGATE_ENOTFOUND;
    if (name->type == ASN_DNS_TYPE)
        return tef_store_client_by_name(store, text, client);
    struct slice absolute = absolute_of(text);
    return absolute.data == NULL ? SAGATE_ENOTFOUND : tef_store_client_by_id(store, absolute, client);
}

// The one client that names of this type name.
static int find_all(struct tef_store *store, const DNS_entry *names, int type, struct tef_store_client *client)
{
    struct tef_store_client other;
    bool found = false;
    for (const DNS_entry *name = names; name != NULL; name = name->next) {
        if (name->type != type)
            continue;
        int result = find(store, name, &other);
        if (result == SAGATE_ENOTFOUND)
            continue;
        if (result != SAGATE_OK)
            return result;
        if (found && strcmp(other.id, client->id) != 0)
            return SAGATE_ENOTFOUND;
        *client = other;
        found = true;
    }
    return found ? SAGATE_OK : SAGATE_ENOTFOUND;
}

int identity_of_certificate(struct tef_store *store, struct slice der, struct tef_store_client *client)
{
    DecodedCert decoded;
    if (der.len == 0 || der.len > INT32_MAX)
        return SAGATE_EMALFORMED;
    wc_InitDecodedCert(&decoded, der.data, (word32)der.len, NULL);
    int result = SAGATE_EMALFORMED;
    if (wc_ParseCert(&decoded, CERT_TYPE, NO_VERIFY, NULL) == 0) {
        result = find_all(store, decoded.altNames, ASN_URI_TYPE, client);
        if (result == SAGATE_ENOTFOUND)
            result = find_all(store, decoded.altNames, ASN_DNS_TYPE, client);
    }
    wc_FreeDecodedCert(&decoded);
    return result;
}
