// One WOLFSSL_CTX per TEF. With a key only suites that use it are offered; with a certificate the TEF's own must lead
// to a trust anchor and name exactly the FQDN (TS-0003 10.1.1.7: no wildcards).
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/tef/tls.h"

#include "common/error.h"
#include "common/secret.h"

#include <wolfssl/wolfcrypt/asn.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

struct tef_tls {
    WOLFSSL_CTX *ctx;
    char *fqdn, *identity;
    uint8_t *psk;
    size_t psk_len;
    bool certificate, wrong_name, datagram;
};

static const char suites_psk[] =
    "TLS13-AES128-GCM-SHA256:TLS13-CHACHA20-POLY1305-SHA256:ECDHE-PSK-AES128-GCM-SHA256:ECDHE-PSK-AES128-CBC-SHA256:"
    "PSK-AES128-GCM-SHA256:PSK-AES128-CBC-SHA256";
static const char suites_certificate[] =
    "TLS13-AES128-GCM-SHA256:TLS13-AES256-GCM-SHA384:TLS13-CHACHA20-POLY1305-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES128-SHA256";

// Those that TS-0003 10.2.2 and 10.2.3 demand for DTLS, and the better ones.
static const char suites_dtls_psk[] =
    "TLS13-AES128-GCM-SHA256:TLS13-CHACHA20-POLY1305-SHA256:PSK-AES128-GCM-SHA256:PSK-AES128-CCM-8";
static const char suites_dtls_certificate[] = "TLS13-AES128-GCM-SHA256:TLS13-AES256-GCM-SHA384:"
                                              "TLS13-CHACHA20-POLY1305-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256:"
                                              "ECDHE-ECDSA-AES128-CCM-8";

// The library tells its callback the certificate manager and not the object, so it is noted here whose turn it is.
static _Thread_local struct tef_tls *verifying;

static int receive(WOLFSSL *session, char *buffer, int size, void *context)
{
    (void)session;
    const struct tef_socket *socket = context;
    ssize_t n = recv(socket->fd, buffer, (size_t)size, 0);
    if (n > 0)
        return (int)n;
    if (n == 0)
        return WOLFSSL_CBIO_ERR_CONN_CLOSE;
    return errno == EAGAIN || errno == EINTR ? WOLFSSL_CBIO_ERR_WANT_READ : WOLFSSL_CBIO_ERR_CONN_RST;
}

static int transmit(WOLFSSL *session, char *buffer, int size, void *context)
{
    (void)session;
    const struct tef_socket *socket = context;
    ssize_t n = send(socket->fd, buffer, (size_t)size, MSG_NOSIGNAL);
    if (n >= 0)
        return (int)n;
    return errno == EAGAIN || errno == EINTR ? WOLFSSL_CBIO_ERR_WANT_WRITE : WOLFSSL_CBIO_ERR_CONN_RST;
}

static int receive_datagram(WOLFSSL *session, char *buffer, int size, void *context)
{
    (void)session;
    struct tef_socket *socket = context;
    ssize_t n = recv(socket->fd, buffer, (size_t)size, 0);
    if (n < 0)
        return errno == ECONNREFUSED ? WOLFSSL_CBIO_ERR_CONN_RST : WOLFSSL_CBIO_ERR_WANT_READ;
    if (n == 0)
        return WOLFSSL_CBIO_ERR_WANT_READ;
    socket->heard++;
    return (int)n;
}

// What is not sent is lost, as a datagram may be; why the socket does not take it, the next receive tells.
static int transmit_datagram(WOLFSSL *session, char *buffer, int size, void *context)
{
    (void)session;
    const struct tef_socket *socket = context;
    (void)send(socket->fd, buffer, (size_t)size, MSG_NOSIGNAL);
    return size;
}

static unsigned int give_psk(WOLFSSL *session, const char *hint, char *identity, unsigned int identity_max,
                             unsigned char *key, unsigned int key_max)
{
    (void)hint; // none is used (TS-0003 8.8.2.2)
    const struct tef_tls *tls = wolfSSL_get_psk_callback_ctx(session);
    size_t len = strlen(tls->identity);
    if (len > identity_max || tls->psk_len > key_max)
        return 0;
    memcpy(identity, tls->identity, len + 1);
    memcpy(key, tls->psk, tls->psk_len);
    return (unsigned int)tls->psk_len;
}

static unsigned int give_psk13(WOLFSSL *session, const char *hint, char *identity, unsigned int identity_max,
                               unsigned char *key, unsigned int key_max, const char **suite)
{
    *suite = "TLS13-AES128-GCM-SHA256";
    return give_psk(session, hint, identity, identity_max, key, key_max);
}

static bool names(const uint8_t *der, size_t len, const char *fqdn)
{
    DecodedCert decoded;
    bool found = false;
    wc_InitDecodedCert(&decoded, der, (word32)len, NULL);
    if (wc_ParseCert(&decoded, CERT_TYPE, NO_VERIFY, NULL) == 0) {
        for (const DNS_entry *entry = decoded.altNames; entry != NULL && !found; entry = entry->next)
            found = (entry->type == ASN_DNS_TYPE || entry->type == ASN_URI_TYPE) && entry->len > 0 &&
                    (size_t)entry->len == strlen(fqdn) && strncasecmp(entry->name, fqdn, (size_t)entry->len) == 0;
    }
    wc_FreeDecodedCert(&decoded);
    return found;
}

// Called for every certificate of the TEF's chain, its own last, with the library's verdict, which stays.
static int on_verified(int good, WOLFSSL_X509_STORE_CTX *store)
{
    if (verifying == NULL || !good || store->error != 0 || store->totalCerts == 0)
        return 0;
    if (store->error_depth > 0)
        return 1;
    verifying->wrong_name = !names(store->certs[0].buffer, store->certs[0].length, verifying->fqdn);
    return !verifying->wrong_name;
}

static int invalid(char why[TEF_ERROR_MAX], const char *text)
{
    (void)snprintf(why, TEF_ERROR_MAX, "%s", text);
    return SAGATE_EINVAL;
}

static int set_psk(struct tef_tls *tls, const struct tef_client_settings *settings, char why[TEF_ERROR_MAX])
{
    size_t identity_len = strlen(settings->psk_identity);
    if (identity_len == 0 || identity_len >= MAX_PSK_ID_LEN)
        return invalid(why, "the PSK identity is empty or too long");
    if (settings->psk.len == 0 || settings->psk.len > TEF_KEY_MAX)
        return invalid(why, "the PSK is empty or too long");
    tls->identity = strdup(settings->psk_identity);
    tls->psk = secret_alloc(settings->psk.len);
    if (tls->identity == NULL || tls->psk == NULL)
        return SAGATE_ENOMEM;
    memcpy(tls->psk, settings->psk.data, settings->psk.len);
    tls->psk_len = settings->psk.len;
    // A TEF that shows a certificate instead of using the key is refused: there are no anchors.
    wolfSSL_CTX_set_verify(tls->ctx, WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_EXCEPT_PSK, NULL);
    return SAGATE_OK;
}

static int set_certificate(struct tef_tls *tls, const struct tef_client_settings *settings, char why[TEF_ERROR_MAX])
{
    tls->certificate = true;
    if (settings->trust_anchors.len == 0 ||
        wolfSSL_CTX_load_verify_buffer_ex(tls->ctx, settings->trust_anchors.data, (long)settings->trust_anchors.len,
                                          WOLFSSL_FILETYPE_PEM, 0, WOLFSSL_LOAD_FLAG_DATE_ERR_OKAY) != WOLFSSL_SUCCESS)
        return invalid(why, "no usable PEM trust anchors");
    if (settings->certificate.len == 0 ||
        wolfSSL_CTX_use_certificate_chain_buffer(tls->ctx, settings->certificate.data,
                                                 (long)settings->certificate.len) != WOLFSSL_SUCCESS)
        return invalid(why, "no usable PEM certificate chain");
    if (settings->private_key.len == 0 ||
        wolfSSL_CTX_use_PrivateKey_buffer(tls->ctx, settings->private_key.data, (long)settings->private_key.len,
                                          WOLFSSL_FILETYPE_PEM) != WOLFSSL_SUCCESS)
        return invalid(why, "no usable PEM private key");
    if (wolfSSL_CTX_check_private_key(tls->ctx) != WOLFSSL_SUCCESS)
        return invalid(why, "the private key does not belong to the certificate");
    wolfSSL_CTX_set_verify(tls->ctx, WOLFSSL_VERIFY_PEER, NULL);
    // Unlike the callback of wolfSSL_CTX_set_verify it is called when all is well, too.
    wolfSSL_CertManagerSetVerify(wolfSSL_CTX_GetCertManager(tls->ctx), on_verified);
    return SAGATE_OK;
}

static int set_up(struct tef_tls *tls, const struct tef_client_settings *settings, char why[TEF_ERROR_MAX])
{
    tls->fqdn = strdup(settings->fqdn);
    tls->datagram = settings->binding == TEF_COAP;
    tls->ctx = wolfSSL_CTX_new(tls->datagram ? wolfDTLS_client_method() : wolfTLS_client_method());
    if (tls->fqdn == NULL || tls->ctx == NULL)
        return SAGATE_ENOMEM;
#ifdef SINGLE_THREADED
    // One generator for all objects of the context, which is one thread's alone.
    if (wolfSSL_CTX_new_rng(tls->ctx) != WOLFSSL_SUCCESS)
        return SAGATE_ENOMEM;
#endif
    bool psk = settings->psk_identity != NULL;
    const char *suites =
        tls->datagram ? (psk ? suites_dtls_psk : suites_dtls_certificate) : (psk ? suites_psk : suites_certificate);
    if (wolfSSL_CTX_set_cipher_list(tls->ctx, suites) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_SetMinVersion(tls->ctx, tls->datagram ? WOLFSSL_DTLSV1_2 : WOLFSSL_TLSV1_2) != WOLFSSL_SUCCESS)
        return invalid(why, "the TLS library was built without the cipher suites");
    (void)wolfSSL_CTX_set_session_cache_mode(tls->ctx, WOLFSSL_SESS_CACHE_OFF);
    (void)wolfSSL_CTX_set_group_messages(tls->ctx);
    wolfSSL_CTX_SetIORecv(tls->ctx, tls->datagram ? receive_datagram : receive);
    wolfSSL_CTX_SetIOSend(tls->ctx, tls->datagram ? transmit_datagram : transmit);
    return psk ? set_psk(tls, settings, why) : set_certificate(tls, settings, why);
}

int tef_tls_new(const struct tef_client_settings *settings, struct tef_tls **tls, char why[TEF_ERROR_MAX])
{
    struct tef_tls *new = calloc(1, sizeof *new);
    if (new == NULL || wolfSSL_Init() != WOLFSSL_SUCCESS) {
        free(new);
        return SAGATE_ENOMEM;
    }
    int rc = set_up(new, settings, why);
    if (rc != SAGATE_OK) {
        tef_tls_free(new);
        return rc;
    }
    *tls = new;
    return SAGATE_OK;
}

void tef_tls_free(struct tef_tls *tls)
{
    if (tls == NULL)
        return;
    wolfSSL_CTX_free(tls->ctx);
    free(tls->fqdn);
    free(tls->identity);
    secret_free(tls->psk);
    free(tls);
}

bool tef_tls_is_datagram(const struct tef_tls *tls)
{
    return tls->datagram;
}

WOLFSSL *tef_tls_session(struct tef_tls *tls, struct tef_socket *socket)
{
    WOLFSSL *session = wolfSSL_new(tls->ctx);
    if (session == NULL)
        return NULL;
    wolfSSL_SetIOReadCtx(session, socket);
    wolfSSL_SetIOWriteCtx(session, socket);
    if (tls->datagram)
        wolfSSL_dtls_set_using_nonblock(session, 1);
    if (wolfSSL_UseSNI(session, WOLFSSL_SNI_HOST_NAME, tls->fqdn, (unsigned short)strlen(tls->fqdn)) !=
        WOLFSSL_SUCCESS) {
        wolfSSL_free(session);
        return NULL;
    }
    if (!tls->certificate) {
        (void)wolfSSL_set_psk_callback_ctx(session, tls);
        // Set on the object, since the extension of TLS 1.3 is made when the callback is there.
        wolfSSL_set_psk_client_tls13_callback(session, give_psk13);
        wolfSSL_set_psk_client_callback(session, give_psk);
    }
    return session;
}

static const char *alert_name(int code)
{
    static const struct {
        int code;
        const char *name;
    } alerts[] = {{20, "bad_record_mac"},          {40, "handshake_failure"},     {42, "bad_certificate"},
                  {43, "unsupported_certificate"}, {44, "certificate_revoked"},   {45, "certificate_expired"},
                  {46, "certificate_unknown"},     {47, "illegal_parameter"},     {48, "unknown_ca"},
                  {49, "access_denied"},           {50, "decode_error"},          {51, "decrypt_error"},
                  {70, "protocol_version"},        {71, "insufficient_security"}, {80, "internal_error"},
                  {112, "unrecognized_name"},      {115, "unknown_psk_identity"}, {116, "certificate_required"}};
    for (size_t i = 0; i < sizeof alerts / sizeof *alerts; i++) {
        if (alerts[i].code == code)
            return alerts[i].name;
    }
    return "alert";
}

// A fatal alert that came, or 0.
static int alert_of(WOLFSSL *session)
{
    WOLFSSL_ALERT_HISTORY history = {{-1, -1}, {-1, -1}};
    (void)wolfSSL_get_alert_history(session, &history);
    return history.last_rx.level == alert_fatal && history.last_rx.code > 0 ? history.last_rx.code : 0;
}

int tef_tls_result(WOLFSSL *session, int returned, bool *write, char why[TEF_ERROR_MAX])
{
    int error = wolfSSL_get_error(session, returned);
    int alert = alert_of(session);
    *write = error == WOLFSSL_ERROR_WANT_WRITE;
    if (error == WOLFSSL_ERROR_WANT_READ || *write)
        return SAGATE_AGAIN;
    if (alert != 0) {
        (void)snprintf(why, TEF_ERROR_MAX, "it refused the session with alert %d (%s)", alert, alert_name(alert));
        return SAGATE_EHANDSHAKE;
    }
    if (error == WOLFSSL_ERROR_ZERO_RETURN || error == SOCKET_PEER_CLOSED_E || error == WOLFSSL_ERROR_SYSCALL ||
        error == SOCKET_ERROR_E) {
        bool refused = error != WOLFSSL_ERROR_ZERO_RETURN && wolfSSL_dtls(session) == 1;
        (void)snprintf(why, TEF_ERROR_MAX, refused ? "nobody listens at its port" : "it closed the connection");
        return SAGATE_EGONE;
    }
    char text[WOLFSSL_MAX_ERROR_SZ];
    wolfSSL_ERR_error_string_n((unsigned long)error, text, sizeof text);
    (void)snprintf(why, TEF_ERROR_MAX, "%s: %.80s (%d)", wolfSSL_dtls(session) == 1 ? "DTLS" : "TLS", text, error);
    return error == MEMORY_E ? SAGATE_EUNAVAILABLE : SAGATE_EHANDSHAKE;
}

int tef_tls_connect(struct tef_tls *tls, WOLFSSL *session, bool *write, char why[TEF_ERROR_MAX])
{
    tls->wrong_name = false;
    verifying = tls;
    int returned = wolfSSL_connect(session);
    verifying = NULL;
    // The library would keep them as anchors, also when they have expired (RFC 5280 6.1: the whole path each time).
    if (tls->certificate)
        (void)wolfSSL_CertManagerUnloadIntermediateCerts(wolfSSL_CTX_GetCertManager(tls->ctx));
    if (returned == WOLFSSL_SUCCESS)
        return SAGATE_DONE;
    int rc = tef_tls_result(session, returned, write, why);
    if (tls->wrong_name && rc != SAGATE_AGAIN)
        (void)snprintf(why, TEF_ERROR_MAX, "its certificate does not name '%.200s'", tls->fqdn);
    if (rc != SAGATE_EGONE)
        return rc;
    if (!tls->datagram)
        (void)snprintf(why, TEF_ERROR_MAX, "it closed the connection during the TLS handshake%s%.150s%s",
                       tls->certificate ? "" : "; does it know the PSK identity '",
                       tls->certificate ? "" : tls->identity, tls->certificate ? "" : "'?");
    return SAGATE_EUNAVAILABLE;
}

int tef_tls_silence(const struct tef_tls *tls, const struct tef_socket *socket, char why[TEF_ERROR_MAX])
{
    enum { WITHOUT_COOKIE = 1 }; // datagrams that come before it has any state of ours
    if (!tls->datagram || socket->heard <= WITHOUT_COOKIE) {
        (void)snprintf(why, TEF_ERROR_MAX, "the %s handshake took too long", tls->datagram ? "DTLS" : "TLS");
        return SAGATE_EUNAVAILABLE;
    }
    (void)snprintf(why, TEF_ERROR_MAX, "it fell silent during the DTLS handshake%s%.150s%s",
                   tls->certificate ? "" : "; does it know the PSK identity '", tls->certificate ? "" : tls->identity,
                   tls->certificate ? "" : "' with this key?");
    return SAGATE_EHANDSHAKE;
}
