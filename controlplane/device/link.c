// A (D)TLS association as a client.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/device/link.h"

#include "common/error.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { RESEND_MILLISECONDS = 1000 };

struct link {
    const struct options *options;
    const struct association *psk;
    WOLFSSL_CTX *ctx;
    WOLFSSL *ssl;
    int fd;
    int socket_error; // of the last receive or send
};

// The suites of sagate's listeners, so that a PSK is never mixed with a certificate.
static const char psk12[] = "ECDHE-PSK-AES128-GCM-SHA256:ECDHE-PSK-AES128-CBC-SHA256:PSK-AES128-GCM-SHA256:"
                            "PSK-AES128-CCM:PSK-AES128-CCM-8:PSK-AES128-CBC-SHA256";
static const char psk_dtls12[] = "PSK-AES128-GCM-SHA256:PSK-AES128-CCM-8";
static const char certificate12[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-CCM:ECDHE-ECDSA-AES128-CCM-8:"
                                    "ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-GCM-SHA256";
// One hash for all, since the binder of a PSK is made with that of the first (RFC 8446 4.2.11).
static const char suites13[] = "TLS13-AES128-GCM-SHA256:TLS13-CHACHA20-POLY1305-SHA256:TLS13-AES128-CCM-SHA256";

int64_t link_now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int receive(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    (void)ssl;
    struct link *link = context;
    ssize_t n = recv(link->fd, buffer, (size_t)size, MSG_DONTWAIT);
    if (n > 0)
        return (int)n;
    if (n == 0)
        return link->options->dtls ? WOLFSSL_CBIO_ERR_WANT_READ : WOLFSSL_CBIO_ERR_CONN_CLOSE;
    if (errno == EAGAIN || errno == EINTR)
        return WOLFSSL_CBIO_ERR_WANT_READ;
    link->socket_error = errno;
    // A datagram that nobody took: the server may come yet, and the deadline ends the wait.
    return link->options->dtls ? WOLFSSL_CBIO_ERR_WANT_READ : WOLFSSL_CBIO_ERR_CONN_RST;
}

static int transmit(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    (void)ssl;
    struct link *link = context;
    ssize_t n = send(link->fd, buffer, (size_t)size, MSG_NOSIGNAL);
    if (n >= 0)
        return (int)n;
    link->socket_error = errno;
    return link->options->dtls ? size : WOLFSSL_CBIO_ERR_CONN_CLOSE;
}

static unsigned give_psk(WOLFSSL *ssl, const char *hint, char *identity, unsigned identity_max, unsigned char *key,
                         unsigned key_max)
{
    (void)hint;
    const struct link *link = wolfSSL_get_psk_callback_ctx(ssl);
    // The library gives room for 512 bytes and counts the NUL apart.
    if (strlen(link->psk->identity) > identity_max || link->psk->key_len > key_max)
        return 0;
    memcpy(identity, link->psk->identity, strlen(link->psk->identity) + 1);
    memcpy(key, link->psk->key, link->psk->key_len);
    return (unsigned)link->psk->key_len;
}

static unsigned give_psk13(WOLFSSL *ssl, const char *hint, char *identity, unsigned identity_max, unsigned char *key,
                           unsigned key_max, const char **suite)
{
    const struct link *link = wolfSSL_get_psk_callback_ctx(ssl);
    *suite = link->options->cipher != NULL ? link->options->cipher : "TLS13-AES128-GCM-SHA256";
    return give_psk(ssl, hint, identity, identity_max, key, key_max);
}

static WOLFSSL_METHOD *method_of(const struct options *options)
{
    if (options->dtls)
        return options->version == 3 ? wolfDTLSv1_3_client_method() : wolfDTLSv1_2_client_method();
    return options->version == 3 ? wolfTLSv1_3_client_method() : wolfTLSv1_2_client_method();
}

static const char *suites_of(const struct link *link)
{
    if (link->options->cipher != NULL)
        return link->options->cipher;
    if (link->options->version == 3)
        return suites13;
    if (link->psk == NULL)
        return certificate12;
    return link->options->dtls ? psk_dtls12 : psk12;
}

// What is wrong with the files or options, or NULL.
static const char *set_up_context(struct link *link)
{
    const struct options *options = link->options;
    (void)wolfSSL_Init();
    link->ctx = wolfSSL_CTX_new(method_of(options));
    if (link->ctx == NULL || wolfSSL_CTX_set_cipher_list(link->ctx, suites_of(link)) != WOLFSSL_SUCCESS)
        return "--cipher: no such cipher suite in this version (names are wolfSSL's, as in PSK-AES128-CCM-8)";
    wolfSSL_CTX_SetIORecv(link->ctx, receive);
    wolfSSL_CTX_SetIOSend(link->ctx, transmit);
    if (link->psk != NULL && options->version == 3)
        wolfSSL_CTX_set_psk_client_tls13_callback(link->ctx, give_psk13);
    else if (link->psk != NULL)
        wolfSSL_CTX_set_psk_client_callback(link->ctx, give_psk);
    if (options->ca == NULL)
        wolfSSL_CTX_set_verify(link->ctx, WOLFSSL_VERIFY_NONE, NULL);
    else if (wolfSSL_CTX_load_verify_locations(link->ctx, options->ca, NULL) != WOLFSSL_SUCCESS)
        return "--ca: no usable certificate in this file";
    if (options->certificate != NULL &&
        wolfSSL_CTX_use_certificate_chain_file(link->ctx, options->certificate) != WOLFSSL_SUCCESS)
        return "--certificate: no usable certificate in this file";
    if (options->certificate != NULL &&
        wolfSSL_CTX_use_PrivateKey_file(link->ctx, options->certificate_key, WOLFSSL_FILETYPE_PEM) != WOLFSSL_SUCCESS)
        return "--key: no usable key in this file, or one that does not belong to the certificate";
    return NULL;
}

static const char *set_up_object(struct link *link)
{
    const struct options *options = link->options;
    const char *name = options->server_name != NULL ? options->server_name : options->fqdn;
    link->ssl = wolfSSL_new(link->ctx);
    if (link->ssl == NULL)
        return "memory is short";
    wolfSSL_SetIOReadCtx(link->ssl, link);
    wolfSSL_SetIOWriteCtx(link->ssl, link);
    wolfSSL_set_psk_callback_ctx(link->ssl, link);
    wolfSSL_KeepArrays(link->ssl); // for link_export
    if (options->dtls)
        wolfSSL_dtls_set_using_nonblock(link->ssl, 1);
    if (name != NULL &&
        (wolfSSL_UseSNI(link->ssl, WOLFSSL_SNI_HOST_NAME, name, (unsigned short)strlen(name)) != WOLFSSL_SUCCESS ||
         (options->ca != NULL && wolfSSL_check_domain_name(link->ssl, name) != WOLFSSL_SUCCESS)))
        return "--server-name or --fqdn: not a host name";
    // An empty Connection ID of its own: the device asks for the server's, and needs none itself.
    if (options->cid && (wolfSSL_dtls_cid_use(link->ssl) != WOLFSSL_SUCCESS ||
                         wolfSSL_dtls_cid_set(link->ssl, NULL, 0) != WOLFSSL_SUCCESS))
        return "--cid: not to be had";
    return NULL;
}

static int connect_one(struct link *link, const struct addrinfo *found)
{
    link->fd = socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, found->ai_protocol);
    if (link->fd < 0)
        return SAGATE_ESYS;
    struct timeval limit = {.tv_sec = (time_t)link->options->timeout};
    (void)setsockopt(link->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit); // bounds connect() too
    if (connect(link->fd, found->ai_addr, found->ai_addrlen) == 0)
        return SAGATE_OK;
    int error = errno;
    close(link->fd);
    link->fd = -1;
    errno = error == EINPROGRESS ? ETIMEDOUT : error;
    return SAGATE_ESYS;
}

static int connect_socket(struct link *link, const struct report *report)
{
    const struct options *options = link->options;
    const struct addrinfo wish = {.ai_socktype = options->dtls ? SOCK_DGRAM : SOCK_STREAM};
    struct addrinfo *found = NULL;
    json_t *details = json_pack("{s:s, s:s, s:s}", "host", options->host, "port", options->port, "transport",
                                options->dtls ? "udp" : "tcp");
    int rc = getaddrinfo(options->host, options->port, &wish, &found);
    if (rc != 0)
        return report_failure(report, "connect", details, gai_strerror(rc), "is the host name right?", EXIT_CONNECT);
    rc = SAGATE_ESYS;
    for (const struct addrinfo *one = found; one != NULL && rc != SAGATE_OK; one = one->ai_next)
        rc = connect_one(link, one);
    int error = errno;
    freeaddrinfo(found);
    if (rc != SAGATE_OK)
        return report_failure(report, "connect", details, strerror(error),
                              "is the server running, and is this its address and port?", EXIT_CONNECT);
    report_step(report, "connect", details);
    return EXIT_DONE;
}

// Waits until the socket can be read or `deadline_ms`; true when time is left.
static bool wait_for_socket(struct link *link, int64_t deadline_ms)
{
    int64_t left = deadline_ms - link_now_ms();
    if (left <= 0)
        return false;
    bool resend = link->options->dtls && left > RESEND_MILLISECONDS;
    struct pollfd fd = {.fd = link->fd, .events = POLLIN};
    int ready = poll(&fd, 1, resend ? RESEND_MILLISECONDS : (int)left);
    if (ready == 0 && link->options->dtls && !wolfSSL_is_init_finished(link->ssl))
        (void)wolfSSL_dtls_got_timeout(link->ssl);
    return true;
}

static int fail_handshake(struct link *link, const struct report *report, json_t *details, int error)
{
    WOLFSSL_ALERT_HISTORY history = {.last_rx = {.code = -1}, .last_tx = {.code = -1}};
    (void)wolfSSL_get_alert_history(link->ssl, &history);
    int received = history.last_rx.code;
    int sent = history.last_tx.code;
    const char *why = error == 0 ? "no answer in time" : wolfSSL_ERR_reason_error_string((unsigned long)error);
    const char *hint = "an unknown identity looks like this too: a server may stay silent";
    if (link->socket_error != 0) {
        (void)json_object_set_new(details, "socket", json_string(strerror(link->socket_error)));
        hint = "nobody listens there";
    }
    if (received >= 0) {
        (void)json_object_set_new(details, "alert_received", json_string(report_alert_name(received)));
        hint = report_alert_hint(received);
    } else if (sent > 0) {
        (void)json_object_set_new(details, "alert_sent", json_string(report_alert_name(sent)));
        hint = "the device itself gave up: the server's certificate does not pass --ca or --server-name, or it does "
               "not answer as the protocol wants";
    }
    return report_failure(report, "handshake", details, why, hint, EXIT_HANDSHAKE);
}

static void describe(struct link *link, json_t *details)
{
    unsigned sent = 0;
    (void)json_object_set_new(details, "version", json_string(wolfSSL_get_version(link->ssl)));
    (void)json_object_set_new(details, "cipher", json_string(wolfSSL_get_cipher_name(link->ssl)));
    if (link->options->cid && wolfSSL_dtls_cid_is_enabled(link->ssl) == 1)
        (void)wolfSSL_dtls_cid_get_tx_size(link->ssl, &sent);
    if (link->options->cid)
        (void)json_object_set_new(details, "cid_bytes", json_integer((json_int_t)sent));
    if (link->psk == NULL)
        (void)json_object_set_new(details, "server_verified", json_boolean(link->options->ca != NULL));
}

static int make_handshake(struct link *link, const struct report *report)
{
    int64_t deadline = link_now_ms() + (int64_t)link->options->timeout * 1000;
    json_t *details = json_object();
    if (link->psk != NULL)
        (void)json_object_set_new(details, "identity", json_string(link->psk->identity));
    int rc;
    while ((rc = wolfSSL_connect(link->ssl)) != WOLFSSL_SUCCESS) {
        int error = wolfSSL_get_error(link->ssl, rc);
        if (error != WOLFSSL_ERROR_WANT_READ && error != WOLFSSL_ERROR_WANT_WRITE)
            return fail_handshake(link, report, details, error);
        if (!wait_for_socket(link, deadline))
            return fail_handshake(link, report, details, 0);
    }
    describe(link, details);
    report_step(report, "handshake", details);
    return EXIT_DONE;
}

int link_open(const struct options *options, const struct association *psk, const struct report *report,
              struct link **out)
{
    struct link *link = calloc(1, sizeof *link);
    if (link == NULL)
        return report_failure(report, "connect", NULL, "memory is short", NULL, EXIT_USAGE);
    *link = (struct link){.options = options, .psk = psk, .fd = -1};
    const char *wrong = set_up_context(link);
    if (wrong == NULL)
        wrong = set_up_object(link);
    int status =
        wrong == NULL ? connect_socket(link, report) : report_failure(report, "options", NULL, wrong, NULL, EXIT_USAGE);
    if (status == EXIT_DONE)
        status = make_handshake(link, report);
    if (status != EXIT_DONE) {
        link_close(link);
        return status;
    }
    *out = link;
    return EXIT_DONE;
}

int link_write(struct link *link, const uint8_t *data, size_t len)
{
    return wolfSSL_write(link->ssl, data, (int)len) == (int)len ? SAGATE_OK : SAGATE_EGONE;
}

ssize_t link_read(struct link *link, uint8_t *data, size_t cap, int64_t deadline_ms)
{
    for (;;) {
        int len = wolfSSL_read(link->ssl, data, (int)cap);
        if (len > 0)
            return len;
        int error = wolfSSL_get_error(link->ssl, len);
        if (error == WOLFSSL_ERROR_ZERO_RETURN)
            return 0;
        if (error != WOLFSSL_ERROR_WANT_READ && error != WOLFSSL_ERROR_WANT_WRITE)
            return SAGATE_EGONE;
        if (!wait_for_socket(link, deadline_ms))
            return SAGATE_ETIMEOUT;
    }
}

const char *link_why(struct link *link)
{
    WOLFSSL_ALERT_HISTORY history = {.last_rx = {.code = -1}};
    if (wolfSSL_get_alert_history(link->ssl, &history) == WOLFSSL_SUCCESS && history.last_rx.code >= 0)
        return report_alert_name(history.last_rx.code);
    return link->socket_error != 0 ? strerror(link->socket_error) : "the association has ended";
}

int link_export(struct link *link, const char *label, uint8_t *out, size_t len)
{
    return wolfSSL_export_keying_material(link->ssl, out, len, label, strlen(label), NULL, 0, 0) == WOLFSSL_SUCCESS
               ? SAGATE_OK
               : SAGATE_ESYS;
}

void link_close(struct link *link)
{
    if (link == NULL)
        return;
    if (link->ssl != NULL && link->fd >= 0)
        (void)wolfSSL_shutdown(link->ssl);
    wolfSSL_free(link->ssl);
    wolfSSL_CTX_free(link->ctx);
    if (link->fd >= 0)
        close(link->fd);
    free(link);
}
