// What listeners offer: one WOLFSSL_CTX per (listener, certificate), and the choice by server name.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "common/secret.h"
#include "dataplane/handshake/internal.h"

#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/hmac.h>
#include <wolfssl/wolfcrypt/sha256.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

// PSK first: a peer that has a key is to prove who it is. Forward secrecy before none, AEAD before CBC.
static const char suites_tls13[] = "TLS13-AES128-GCM-SHA256:TLS13-AES256-GCM-SHA384:TLS13-CHACHA20-POLY1305-SHA256:"
                                   "TLS13-AES128-CCM-SHA256:TLS13-AES128-CCM-8-SHA256";
static const char suites_dtls13[] = "TLS13-AES128-GCM-SHA256:TLS13-CHACHA20-POLY1305-SHA256:TLS13-AES128-CCM-SHA256:"
                                    "TLS13-AES128-CCM-8-SHA256:TLS13-AES256-GCM-SHA384";
static const char suites_tls_psk[] =
    "ECDHE-PSK-AES128-GCM-SHA256:ECDHE-PSK-AES128-CBC-SHA256:PSK-AES128-GCM-SHA256:PSK-AES128-CCM:PSK-AES128-CCM-8:"
    "PSK-AES128-CBC-SHA256";
static const char suites_tls_ecdsa[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-CCM:ECDHE-ECDSA-AES128-CCM-8:"
                                       "ECDHE-ECDSA-AES128-SHA256";
static const char suites_dtls_psk[] = "PSK-AES128-GCM-SHA256:PSK-AES128-CCM-8";
static const char suites_dtls_ecdsa[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-CCM-8";

struct report {
    char *text;
    size_t cap;
};

static int refuse(const struct report *report, const struct config_listener *listener, const char *file,
                  const char *why)
{
    (void)snprintf(report->text, report->cap, "listener '%s': %s: %s", listener->name, file, why);
    return SAGATE_ECONFIG;
}

// The suites of TLS 1.2 and DTLS 1.2 need an elliptic-curve key (TS-0003 10.2.3).
static bool key_is_ecc(struct slice pem)
{
    bool ecc = false;
    if (pem.len == 0 || pem.len > 65536)
        return false;
    uint8_t *der = secret_alloc(pem.len);
    if (der == NULL)
        return false;
    int len = wc_KeyPemToDer(pem.data, (int)pem.len, der, (int)pem.len, NULL);
    ecc_key key;
    if (len > 0 && wc_ecc_init(&key) == 0) {
        word32 at = 0;
        ecc = wc_EccPrivateKeyDecode(der, &at, &key, (word32)len) == 0;
        wc_ecc_free(&key);
    }
    secret_free(der);
    return ecc;
}

static int load_certificate(WOLFSSL_CTX *ctx, const struct config *config, const struct config_listener *listener,
                            const struct handshake_files *files, size_t index, const struct report *report)
{
    const struct config_certificate *certificate = &config->certificates[index];
    struct slice chain = files->chain[index];
    struct slice key = files->key[index];
    if (chain.len == 0 || wolfSSL_CTX_use_certificate_chain_buffer(ctx, chain.data, (long)chain.len) != WOLFSSL_SUCCESS)
        return refuse(report, listener, certificate->chain_file, "no usable PEM certificate chain");
    if (key.len == 0 ||
        wolfSSL_CTX_use_PrivateKey_buffer(ctx, key.data, (long)key.len, WOLFSSL_FILETYPE_PEM) != WOLFSSL_SUCCESS)
        return refuse(report, listener, certificate->key_file, "no usable PEM private key");
    if (wolfSSL_CTX_check_private_key(ctx) != WOLFSSL_SUCCESS)
        return refuse(report, listener, certificate->key_file, "the key does not belong to the certificate");
    bool only_tls12 = listener->transport == CONFIG_DTLS || listener->version_max == CONFIG_TLS_1_2;
    if (only_tls12 && !key_is_ecc(key))
        return refuse(report, listener, certificate->key_file,
                      "an elliptic-curve key is needed for (D)TLS 1.2 (TS-0003 10.2.3)");
    return SAGATE_OK;
}

static WOLFSSL_METHOD *method_of(const struct config_listener *listener)
{
    bool dtls = listener->transport == CONFIG_DTLS;
    if (listener->version_max == CONFIG_TLS_1_2)
        return dtls ? wolfDTLSv1_2_server_method() : wolfTLSv1_2_server_method();
    if (listener->version_min == CONFIG_TLS_1_3)
        return dtls ? wolfDTLSv1_3_server_method() : wolfTLSv1_3_server_method();
    return dtls ? wolfDTLS_server_method() : wolfTLS_server_method();
}

static void list_suites(const struct config_listener *listener, bool certificate, char *out, size_t cap)
{
    bool dtls = listener->transport == CONFIG_DTLS;
    bool tls13 = listener->version_max == CONFIG_TLS_1_3;
    bool tls12 = listener->version_min == CONFIG_TLS_1_2;
    const char *parts[3] = {tls13 ? (dtls ? suites_dtls13 : suites_tls13) : NULL,
                            tls12 && listener->psk ? (dtls ? suites_dtls_psk : suites_tls_psk) : NULL,
                            tls12 && certificate ? (dtls ? suites_dtls_ecdsa : suites_tls_ecdsa) : NULL};
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < 3; i++) {
        if (parts[i] == NULL)
            continue;
        int n = snprintf(out + at, cap - at, "%s%s", at > 0 ? ":" : "", parts[i]);
        at += n > 0 ? (size_t)n : 0;
    }
}

// P-256 is what TS-0003 names. Over DTLS none of the hybrid groups: their shares would not fit one datagram together
// with the rest of a ClientHello.
static bool set_groups(WOLFSSL_CTX *ctx, bool dtls, enum config_tls_version newest)
{
    int groups[] = {WOLFSSL_ECC_SECP256R1, WOLFSSL_ECC_X25519,     WOLFSSL_ECC_SECP384R1,
                    WOLFSSL_ECC_SECP521R1, WOLFSSL_X25519MLKEM768, WOLFSSL_SECP256R1MLKEM768};
    int nist[] = {WOLFSSL_ECC_SECP256R1, WOLFSSL_ECC_SECP384R1, WOLFSSL_ECC_SECP521R1};
    enum { ALL = sizeof groups / sizeof *groups, CLASSIC = ALL - 2, NIST = sizeof nist / sizeof *nist };
    if (newest != CONFIG_TLS_1_3)
        return true;
    // Whoever brings his own library may have left some of them out.
    return (!dtls && wolfSSL_CTX_set_groups(ctx, groups, ALL) == WOLFSSL_SUCCESS) ||
           wolfSSL_CTX_set_groups(ctx, groups, CLASSIC) == WOLFSSL_SUCCESS ||
           wolfSSL_CTX_set_groups(ctx, nist, NIST) == WOLFSSL_SUCCESS;
}

static int set_up(WOLFSSL_CTX *ctx, const struct config_listener *listener, bool certificate,
                  const struct report *report)
{
    char suites[1024];
    list_suites(listener, certificate, suites, sizeof suites);
    if (wolfSSL_CTX_set_cipher_list(ctx, suites) != WOLFSSL_SUCCESS)
        return refuse(report, listener, "cipher suites", "the library was built without them");
    wolfSSL_CTX_set_verify(ctx, WOLFSSL_VERIFY_NONE, NULL);
    (void)wolfSSL_CTX_set_session_cache_mode(ctx, WOLFSSL_SESS_CACHE_OFF);
    if (wolfSSL_CTX_set_TicketEncCb(ctx, handshake_ticket) != WOLFSSL_SUCCESS)
        return refuse(report, listener, "session tickets", "the library was built without them");
    (void)wolfSSL_CTX_set_group_messages(ctx);
    bool dtls = listener->transport == CONFIG_DTLS;
    if (listener->version_min == CONFIG_TLS_1_2 &&
        wolfSSL_CTX_SetMinVersion(ctx, dtls ? WOLFSSL_DTLSV1_2 : WOLFSSL_TLSV1_2) != WOLFSSL_SUCCESS)
        return refuse(report, listener, "version_min", "not supported by the library");
    if (!set_groups(ctx, dtls, listener->version_max))
        return refuse(report, listener, "groups", "not supported by the library");
    if (listener->psk) {
        wolfSSL_CTX_set_psk_server_callback(ctx, handshake_psk_tls12);
        if (listener->version_max == CONFIG_TLS_1_3)
            wolfSSL_CTX_set_psk_server_tls13_callback(ctx, handshake_psk_tls13);
    }
    session_prepare(ctx);
    return SAGATE_OK;
}

// Whom the certificates of devices are from (TS-0003 8.1.2.2).
static int set_anchors(WOLFSSL_CTX *ctx, const struct config *config, const struct config_listener *listener,
                       const struct handshake_files *files, const struct report *report)
{
    struct slice anchors[CONFIG_TRUST_ANCHORS_MAX];
    size_t bad = 0;
    if (listener->client_certificates == CONFIG_CLIENT_CERTIFICATES_NONE)
        return SAGATE_OK;
    for (size_t i = 0; i < listener->trust_anchor_count; i++)
        anchors[i] = files->anchors[listener->trust_anchors[i]];
    if (verify_set_up(ctx, listener->client_certificates, anchors, listener->trust_anchor_count, &bad) == SAGATE_OK)
        return SAGATE_OK;
    return refuse(report, listener, config->trust_anchors[listener->trust_anchors[bad]].file,
                  "no usable PEM certificates of certification authorities (CA:TRUE)");
}

static struct config_certificate *copy_names(const struct config_certificate *certificate)
{
    struct config_certificate *copy = calloc(1, sizeof *copy);
    if (copy == NULL)
        return NULL;
    copy->server_names = calloc(certificate->server_name_count + 1, sizeof *copy->server_names);
    while (copy->server_names != NULL && copy->server_name_count < certificate->server_name_count) {
        char *name = strdup(certificate->server_names[copy->server_name_count]);
        if (name == NULL)
            break;
        copy->server_names[copy->server_name_count++] = name;
    }
    return copy;
}

static void free_names(struct config_certificate *copy)
{
    if (copy == NULL)
        return;
    for (size_t i = 0; i < copy->server_name_count; i++)
        free(copy->server_names[i]);
    free(copy->server_names);
    free(copy);
}

static int build_context(struct context_listener *out, size_t at, const struct config *config,
                         const struct config_listener *listener, const struct handshake_files *files,
                         const struct report *report)
{
    bool certificate = listener->certificate_count > 0;
    WOLFSSL_CTX *ctx = wolfSSL_CTX_new(method_of(listener));
    if (ctx == NULL)
        return SAGATE_ENOMEM;
    out->contexts[at].ctx = ctx;
#ifdef SINGLE_THREADED
    // One generator for all objects of a context, instead of one that each makes and tests. A context and its objects
    // are one worker's alone, and contexts share nothing that is written: the library's session cache and curve cache
    // are off. So nothing needs the locks that such a build of the library leaves out.
    if (wolfSSL_CTX_new_rng(ctx) != WOLFSSL_SUCCESS)
        return SAGATE_ENOMEM;
#endif
    if (certificate) {
        size_t index = listener->certificates[at];
        int rc = load_certificate(ctx, config, listener, files, index, report);
        if (rc != SAGATE_OK)
            return rc;
        out->certificates[at] = copy_names(&config->certificates[index]);
        if (out->certificates[at] == NULL ||
            out->certificates[at]->server_name_count != config->certificates[index].server_name_count)
            return SAGATE_ENOMEM;
    }
    int rc = set_up(ctx, listener, certificate, report);
    return rc == SAGATE_OK ? set_anchors(ctx, config, listener, files, report) : rc;
}

// Tickets are good for a listener of this name as long as it asks the same of its peers.
static bool make_binding(const struct config_listener *listener, uint8_t binding[WC_SHA256_DIGEST_SIZE])
{
    const uint8_t asked[] = {listener->psk, listener->certificate_count > 0, (uint8_t)listener->client_certificates};
    wc_Sha256 hash;
    if (wc_InitSha256(&hash) != 0)
        return false;
    bool made = wc_Sha256Update(&hash, asked, sizeof asked) == 0 &&
                wc_Sha256Update(&hash, (const uint8_t *)listener->name, (word32)strlen(listener->name)) == 0 &&
                wc_Sha256Final(&hash, binding) == 0;
    wc_Sha256Free(&hash);
    return made;
}

static int build_listener(struct context_listener *out, const struct config *config,
                          const struct config_listener *listener, const struct handshake_files *files,
                          const struct report *report)
{
    out->dtls = listener->transport == CONFIG_DTLS;
    out->psk = listener->psk;
    out->tls12 = listener->version_min == CONFIG_TLS_1_2;
    out->tls13 = listener->version_max == CONFIG_TLS_1_3;
    out->unknown_name_refused = listener->unknown_server_name_refused;
    out->client_certificates = listener->client_certificates;
    if (!make_binding(listener, out->binding))
        return SAGATE_ENOMEM;
    if (!listener->psk && listener->certificate_count == 0)
        return refuse(report, listener, "credentials", "neither keys (psk) nor a certificate");
    size_t count = listener->certificate_count > 0 ? listener->certificate_count : 1;
    out->contexts = calloc(count, sizeof *out->contexts);
    out->certificates = calloc(count, sizeof *out->certificates);
    if (out->contexts == NULL || out->certificates == NULL)
        return SAGATE_ENOMEM;
    out->count = count;
    for (size_t i = 0; i < count; i++) {
        int rc = build_context(out, i, config, listener, files, report);
        if (rc != SAGATE_OK)
            return rc;
    }
    return SAGATE_OK;
}

int handshake_contexts_new(const struct config *config, const struct handshake_files *files,
                           struct handshake_contexts **contexts, char *error, size_t error_cap)
{
    struct report report = {.text = error, .cap = error_cap};
    uint8_t secret[HANDSHAKE_COOKIE_SECRET];
    if (error_cap > 0)
        error[0] = '\0';
    if (wolfSSL_Init() != WOLFSSL_SUCCESS || getrandom(secret, sizeof secret, 0) != (ssize_t)sizeof secret)
        return SAGATE_ENOMEM;
    struct handshake_contexts *new = calloc(1, sizeof *new);
    if (new == NULL)
        return SAGATE_ENOMEM;
    int rc = SAGATE_OK;
    new->references = 1;
    new->cookie_secret = secret_alloc(2 * HANDSHAKE_COOKIE_SECRET);
    new->listeners = calloc(config->listener_count + 1, sizeof *new->listeners);
    if (new->cookie_secret == NULL || new->listeners == NULL)
        rc = SAGATE_ENOMEM;
    else
        handshake_cookie_secret(new, secret);
    secret_zero(secret, sizeof secret);
    for (size_t i = 0; rc == SAGATE_OK && i < config->listener_count; i++) {
        new->listener_count = i + 1;
        rc = build_listener(&new->listeners[i], config, &config->listeners[i], files, &report);
    }
    if (rc != SAGATE_OK) {
        handshake_contexts_free(new);
        return rc;
    }
    *contexts = new;
    return SAGATE_OK;
}

void handshake_contexts_export(struct handshake_contexts *contexts)
{
    contexts->exports = true;
}

static void free_listening(struct handshake_contexts *contexts)
{
    for (size_t i = 0; i < contexts->listener_count; i++) {
        for (size_t k = 0; k < contexts->listeners[i].count; k++) {
            session_free(contexts->listeners[i].contexts[k].listening);
            contexts->listeners[i].contexts[k].listening = NULL;
        }
    }
}

struct handshake_contexts *contexts_reference(struct handshake_contexts *contexts)
{
    contexts->references++;
    return contexts;
}

void handshake_contexts_free(struct handshake_contexts *contexts)
{
    if (contexts == NULL || --contexts->references > 0)
        return;
    free_listening(contexts);
    for (size_t i = 0; i < contexts->listener_count; i++) {
        struct context_listener *listener = &contexts->listeners[i];
        for (size_t k = 0; k < listener->count; k++) {
            wolfSSL_CTX_free(listener->contexts[k].ctx);
            free_names(listener->certificates[k]);
        }
        free(listener->contexts);
        free(listener->certificates);
    }
    free(contexts->listeners);
    secret_free(contexts->cookie_secret);
    secret_free(contexts->ticket_secret);
    free(contexts);
}

// HMAC-SHA256 over parts: false when the library fails.
static bool mac_of(const uint8_t *secret, const struct slice *parts, size_t count, uint8_t mac[WC_SHA256_DIGEST_SIZE])
{
    Hmac hmac;
    if (wc_HmacInit(&hmac, NULL, INVALID_DEVID) != 0)
        return false;
    bool ok = wc_HmacSetKey(&hmac, WC_SHA256, secret, HANDSHAKE_COOKIE_SECRET) == 0;
    for (size_t i = 0; ok && i < count; i++)
        ok = parts[i].len == 0 || wc_HmacUpdate(&hmac, parts[i].data, (word32)parts[i].len) == 0;
    ok = ok && wc_HmacFinal(&hmac, mac) == 0;
    wc_HmacFree(&hmac);
    return ok;
}

int handshake_contexts_tickets(struct handshake_contexts *contexts, const uint8_t secret[HANDSHAKE_TICKET_SECRET],
                               uint32_t lifetime_seconds)
{
    if (contexts->ticket_secret == NULL)
        contexts->ticket_secret = secret_alloc(HANDSHAKE_TICKET_SECRET);
    if (contexts->ticket_secret == NULL)
        return SAGATE_ENOMEM;
    memcpy(contexts->ticket_secret, secret, HANDSHAKE_TICKET_SECRET);
    contexts->tickets = (struct tickets){.secret = contexts->ticket_secret, .lifetime = lifetime_seconds};
    free_listening(contexts); // they know whether there are any
    for (size_t i = 0; i < contexts->listener_count && lifetime_seconds > 0; i++) {
        for (size_t k = 0; k < contexts->listeners[i].count; k++) {
            (void)wolfSSL_CTX_set_timeout(contexts->listeners[i].contexts[k].ctx, lifetime_seconds);
            (void)wolfSSL_CTX_set_TicketHint(contexts->listeners[i].contexts[k].ctx, (int)lifetime_seconds);
        }
    }
    return SAGATE_OK;
}

void handshake_cookie_secret(struct handshake_contexts *contexts, const uint8_t secret[HANDSHAKE_COOKIE_SECRET])
{
    const struct slice label = slice_text("DTLS 1.3 cookie");
    uint8_t *secret13 = contexts->cookie_secret + HANDSHAKE_COOKIE_SECRET;
    memcpy(contexts->cookie_secret, secret, HANDSHAKE_COOKIE_SECRET);
    // With one secret for both versions the cookie of a crafted DTLS 1.2 hello would be one of DTLS 1.3 for any
    // address. Should the library fail, a random one serves: only cookies of others are not good then.
    if (!mac_of(secret, &label, 1, secret13) &&
        getrandom(secret13, HANDSHAKE_COOKIE_SECRET, 0) != HANDSHAKE_COOKIE_SECRET)
        abort();
    free_listening(contexts); // they hold the old one
}

bool contexts_cookie12(const struct handshake_contexts *contexts, const struct peek_hello *hello, struct slice peer,
                       uint8_t cookie[HANDSHAKE_COOKIE])
{
    const uint8_t version[] = {(uint8_t)(hello->version >> 8), (uint8_t)hello->version};
    const struct slice parts[] = {peer,
                                  slice_of(version, sizeof version),
                                  slice_of(hello->random, PEEK_RANDOM),
                                  hello->session,
                                  hello->suites,
                                  hello->compression};
    return mac_of(contexts->cookie_secret, parts, sizeof parts / sizeof *parts, cookie);
}

bool contexts_made_cookie12(const struct handshake_contexts *contexts, const struct peek_hello *hello,
                            struct slice peer)
{
    uint8_t cookie[HANDSHAKE_COOKIE];
    return hello->cookie.len == sizeof cookie && contexts_cookie12(contexts, hello, peer, cookie) &&
           secret_equal(cookie, hello->cookie.data, sizeof cookie);
}

bool contexts_made_cookie13(const struct handshake_contexts *contexts, const struct peek_hello *hello,
                            struct slice peer)
{
    uint8_t mac[WC_SHA256_DIGEST_SIZE];
    struct slice cookie = hello->retry_cookie;
    if (cookie.len <= HANDSHAKE_RETRY_MAC)
        return false;
    size_t len = cookie.len - HANDSHAKE_RETRY_MAC;
    const struct slice parts[] = {slice_of(cookie.data, len), peer};
    return mac_of(contexts->cookie_secret + HANDSHAKE_COOKIE_SECRET, parts, 2, mac) &&
           secret_equal(mac, cookie.data + len, sizeof mac);
}

void handshake_contexts_cid(struct handshake_contexts *contexts, size_t len, void (*make)(void *context, uint8_t *cid),
                            void *context)
{
    contexts->cid_len = len <= HANDSHAKE_CID_MAX && make != NULL ? (uint8_t)len : 0;
    contexts->make_cid = make;
    contexts->make_cid_context = context;
    free_listening(contexts); // they know the old length
}

static bool name_is(struct slice name, const char *configured)
{
    return strlen(configured) == name.len && strncasecmp((const char *)name.data, configured, name.len) == 0;
}

struct context *contexts_select(struct context_listener *listener, struct slice server_name)
{
    if (server_name.data == NULL || listener->certificates[0] == NULL)
        return &listener->contexts[0];
    for (size_t i = 0; i < listener->count; i++) {
        const struct config_certificate *certificate = listener->certificates[i];
        for (size_t k = 0; k < certificate->server_name_count; k++) {
            if (name_is(server_name, certificate->server_names[k]))
                return &listener->contexts[i];
        }
    }
    return listener->unknown_name_refused ? NULL : &listener->contexts[0];
}
