// Certificates of peers: the library verifies them, and hands over the one that is the peer's own.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/handshake/internal.h"

#include <wolfssl/wolfcrypt/asn.h>

#include <stdlib.h>
#include <string.h>

enum { ANCHOR_MAX = 16 * 1024 };

// The library tells its callback the certificate manager and not the object, so it is noted here whose turn it is.
static _Thread_local struct leaf *noting;

// Called for every certificate of a peer's chain, the peer's own last, with the library's verdict, which stays.
static int on_verified(int good, WOLFSSL_X509_STORE_CTX *store)
{
    if (noting == NULL)
        return 0;
    if (good && store->totalCerts == 0)
        return 1; // it has none, and need not have one
    if (!good || store->error != 0) {
        noting->refused = true;
        return 0;
    }
    if (store->error_depth > 0) {
        noting->issuers = store->userCtx;
        return 1;
    }
    const WOLFSSL_BUFFER_INFO *own = &store->certs[0];
    free(noting->der);
    noting->der = malloc(own->length > 0 ? own->length : 1);
    noting->len = noting->der == NULL ? 0 : own->length;
    if (noting->der == NULL)
        return 0;
    memcpy(noting->der, own->buffer, own->length);
    return 1;
}

void verify_begin(struct leaf *leaf)
{
    noting = leaf;
}

void verify_end(struct leaf *leaf)
{
    noting = NULL;
    // The library would keep them as anchors, also when they have expired (RFC 5280 6.1: the whole path each time).
    if (leaf->issuers != NULL)
        (void)wolfSSL_CertManagerUnloadIntermediateCerts(leaf->issuers);
    leaf->issuers = NULL;
}

static bool is_authority(const uint8_t *der, size_t len)
{
    DecodedCert decoded;
    wc_InitDecodedCert(&decoded, der, (word32)len, NULL);
    bool authority = wc_ParseCert(&decoded, CERT_TYPE, NO_VERIFY, NULL) == 0 && decoded.isCA != 0;
    wc_FreeDecodedCert(&decoded);
    return authority;
}

// Every certificate of a bundle. The library itself would take those of devices as well.
static bool load_bundle(WOLFSSL_CTX *ctx, struct slice pem)
{
    static const char begin[] = "-----BEGIN CERTIFICATE-----";
    const uint8_t *at = pem.len == 0 ? NULL : memmem(pem.data, pem.len, begin, sizeof begin - 1);
    bool good = at != NULL;
    uint8_t *der = malloc(ANCHOR_MAX);
    while (good && at != NULL) {
        size_t left = pem.len - (size_t)(at - pem.data);
        int len = der == NULL || left > INT32_MAX ? -1 : wc_CertPemToDer(at, (int)left, der, ANCHOR_MAX, CERT_TYPE);
        // An anchor is a name and a key (RFC 5280 6.1.1 d): its dates say nothing, and must not keep sagate from
        // starting.
        good = len > 0 && is_authority(der, (size_t)len) &&
               wolfSSL_CTX_load_verify_buffer_ex(ctx, der, len, WOLFSSL_FILETYPE_ASN1, 0,
                                                 WOLFSSL_LOAD_FLAG_DATE_ERR_OKAY) == WOLFSSL_SUCCESS;
        at = memmem(at + 1, left - 1, begin, sizeof begin - 1);
    }
    free(der);
    return good;
}

int verify_set_up(WOLFSSL_CTX *ctx, enum config_client_certificates wanted, const struct slice *anchors, size_t count,
                  size_t *bad)
{
    for (*bad = 0; *bad < count; (*bad)++) {
        if (!load_bundle(ctx, anchors[*bad]))
            return SAGATE_ECONFIG;
    }
    int mode = WOLFSSL_VERIFY_PEER;
    if (wanted == CONFIG_CLIENT_CERTIFICATES_REQUIRED)
        mode |= WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    wolfSSL_CTX_set_verify(ctx, mode, NULL);
    // Unlike the callback of wolfSSL_CTX_set_verify it is called when all is well, too.
    wolfSSL_CertManagerSetVerify(wolfSSL_CTX_GetCertManager(ctx), on_verified);
    return SAGATE_OK;
}
