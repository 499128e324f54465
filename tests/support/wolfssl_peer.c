// A device that speaks (D)TLS with wolfSSL's client side. What comes on its standard input goes out as application
// data, and the other way round, so that the end-to-end tests write the requests.
// SPDX-License-Identifier: GPL-3.0-or-later
//
// Each read of standard input becomes one record, each record one write to standard output: with a socket that keeps
// the bounds of messages (SOCK_SEQPACKET) that holds for datagrams too. A message that begins with '!' is an order:
//   !reconnect   ends the association and begins another from a new address, resuming the session when it can
//   !rekey       updates the keys (version 1.3), and tells so on standard error
// The end of the input ends the association. Each association is told by a line on standard error:
//   connected DTLSv1.2 TLS_PSK_WITH_AES_128_CCM_8 cid_sent=8 cid_received=0 resumed=no
// The alert of a handshake that failed is one as well: alert 51
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MESSAGE_MAX = 16384, KEY_MAX = 64, CID_MAX = 32, POLL_MILLISECONDS = 200, HANDSHAKE_POLLS = 100 };

struct peer {
    bool dtls, use_cid, tickets, no_ecdhe;
    int version; // 2 or 3, of 1.2 or 1.3
    struct sockaddr_in address;
    const char *suite, *identity, *ca, *certificate, *key_file, *server_name;
    uint8_t key[KEY_MAX], cid[CID_MAX];
    size_t key_len, cid_len;
    WOLFSSL_CTX *ctx;
    WOLFSSL *ssl;
    WOLFSSL_SESSION *session;
    int fd;
};

static _Noreturn void fail(const char *what, int error)
{
    (void)fprintf(stderr, "failed: %s: %d %s\n", what, error,
                  error != 0 ? wolfSSL_ERR_reason_error_string((unsigned long)error) : "");
    exit(1);
}

static int receive(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    (void)ssl;
    const struct peer *peer = context;
    ssize_t n = recv(peer->fd, buffer, (size_t)size, MSG_DONTWAIT);
    if (n > 0)
        return (int)n;
    if (n == 0 && !peer->dtls)
        return WOLFSSL_CBIO_ERR_CONN_CLOSE;
    if (n == 0 || errno == EAGAIN || errno == EINTR || errno == ECONNREFUSED)
        return WOLFSSL_CBIO_ERR_WANT_READ;
    return WOLFSSL_CBIO_ERR_CONN_RST;
}

static int transmit(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    (void)ssl;
    const struct peer *peer = context;
    ssize_t n = send(peer->fd, buffer, (size_t)size, MSG_NOSIGNAL);
    if (n >= 0)
        return (int)n;
    return peer->dtls ? size : WOLFSSL_CBIO_ERR_CONN_CLOSE; // a datagram that is lost
}

static unsigned psk_tls12(WOLFSSL *ssl, const char *hint, char *identity, unsigned identity_max, unsigned char *key,
                          unsigned key_max)
{
    (void)hint;
    const struct peer *peer = wolfSSL_get_psk_callback_ctx(ssl);
    if (strlen(peer->identity) >= identity_max || peer->key_len > key_max)
        return 0;
    memcpy(identity, peer->identity, strlen(peer->identity) + 1);
    memcpy(key, peer->key, peer->key_len);
    return (unsigned)peer->key_len;
}

static unsigned psk_tls13(WOLFSSL *ssl, const char *hint, char *identity, unsigned identity_max, unsigned char *key,
                          unsigned key_max, const char **suite)
{
    const struct peer *peer = wolfSSL_get_psk_callback_ctx(ssl);
    *suite = peer->suite;
    return psk_tls12(ssl, hint, identity, identity_max, key, key_max);
}

static WOLFSSL_METHOD *method_of(const struct peer *peer)
{
    if (peer->dtls)
        return peer->version == 3 ? wolfDTLSv1_3_client_method() : wolfDTLSv1_2_client_method();
    return peer->version == 3 ? wolfTLSv1_3_client_method() : wolfTLSv1_2_client_method();
}

static void set_up(struct peer *peer)
{
    peer->ctx = wolfSSL_CTX_new(method_of(peer));
    if (peer->ctx == NULL || wolfSSL_CTX_set_cipher_list(peer->ctx, peer->suite) != WOLFSSL_SUCCESS)
        fail(peer->suite, 0);
    wolfSSL_CTX_SetIORecv(peer->ctx, receive);
    wolfSSL_CTX_SetIOSend(peer->ctx, transmit);
    if (peer->identity != NULL) {
        wolfSSL_CTX_set_psk_client_callback(peer->ctx, psk_tls12);
        if (peer->version == 3)
            wolfSSL_CTX_set_psk_client_tls13_callback(peer->ctx, psk_tls13);
        if (peer->no_ecdhe && wolfSSL_CTX_no_dhe_psk(peer->ctx) != 0)
            fail("psk_ke", 0);
    }
    if (peer->ca != NULL && wolfSSL_CTX_load_verify_locations(peer->ctx, peer->ca, NULL) != WOLFSSL_SUCCESS)
        fail(peer->ca, 0);
    if (peer->certificate != NULL &&
        (wolfSSL_CTX_use_certificate_chain_file(peer->ctx, peer->certificate) != WOLFSSL_SUCCESS ||
         wolfSSL_CTX_use_PrivateKey_file(peer->ctx, peer->key_file, WOLFSSL_FILETYPE_PEM) != WOLFSSL_SUCCESS))
        fail(peer->certificate, 0);
}

static void new_object(struct peer *peer)
{
    peer->fd = socket(AF_INET, peer->dtls ? SOCK_DGRAM : SOCK_STREAM, 0);
    if (peer->fd < 0 || connect(peer->fd, (struct sockaddr *)&peer->address, sizeof peer->address) != 0)
        fail("connect", 0);
    peer->ssl = wolfSSL_new(peer->ctx);
    if (peer->ssl == NULL)
        fail("no memory", 0);
    wolfSSL_SetIOReadCtx(peer->ssl, peer);
    wolfSSL_SetIOWriteCtx(peer->ssl, peer);
    wolfSSL_set_psk_callback_ctx(peer->ssl, peer);
    if (peer->dtls)
        wolfSSL_dtls_set_using_nonblock(peer->ssl, 1);
    if (peer->server_name != NULL)
        (void)wolfSSL_UseSNI(peer->ssl, WOLFSSL_SNI_HOST_NAME, peer->server_name,
                             (unsigned short)strlen(peer->server_name));
    if (peer->tickets && wolfSSL_UseSessionTicket(peer->ssl) != WOLFSSL_SUCCESS)
        fail("session ticket", 0);
    if (peer->session != NULL && wolfSSL_set_session(peer->ssl, peer->session) != WOLFSSL_SUCCESS)
        fail("session", 0);
    if (peer->use_cid && (wolfSSL_dtls_cid_use(peer->ssl) != WOLFSSL_SUCCESS ||
                          wolfSSL_dtls_cid_set(peer->ssl, peer->cid, (unsigned)peer->cid_len) != WOLFSSL_SUCCESS))
        fail("Connection ID", 0);
}

// Waits for the socket, and for standard input too when that is wanted. A wait in vain lets DTLS send again.
static void wait_for(struct peer *peer, struct pollfd fds[2], bool input)
{
    fds[0] = (struct pollfd){.fd = peer->fd, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = input ? STDIN_FILENO : -1, .events = POLLIN};
    (void)poll(fds, 2, POLL_MILLISECONDS);
}

static void tell(const struct peer *peer)
{
    unsigned sent = 0, received = 0;
    if (peer->use_cid && wolfSSL_dtls_cid_is_enabled(peer->ssl)) {
        (void)wolfSSL_dtls_cid_get_tx_size(peer->ssl, &sent);
        (void)wolfSSL_dtls_cid_get_rx_size(peer->ssl, &received);
    }
    (void)fprintf(stderr, "connected %s %s cid_sent=%u cid_received=%u resumed=%s\n", wolfSSL_get_version(peer->ssl),
                  wolfSSL_get_cipher_name(peer->ssl), sent, received, wolfSSL_session_reused(peer->ssl) ? "yes" : "no");
}

static void tell_alert(const struct peer *peer)
{
    WOLFSSL_ALERT_HISTORY history;
    if (wolfSSL_get_alert_history(peer->ssl, &history) == WOLFSSL_SUCCESS && history.last_rx.code >= 0)
        (void)fprintf(stderr, "alert %d\n", history.last_rx.code);
}

static void start(struct peer *peer)
{
    new_object(peer);
    int ticks = 0;
    while (wolfSSL_connect(peer->ssl) != WOLFSSL_SUCCESS) {
        int error = wolfSSL_get_error(peer->ssl, WOLFSSL_FATAL_ERROR);
        if (error != WOLFSSL_ERROR_WANT_READ && error != WOLFSSL_ERROR_WANT_WRITE) {
            tell_alert(peer);
            fail("handshake", error);
        }
        struct pollfd fds[2];
        wait_for(peer, fds, false);
        if (fds[0].revents != 0)
            continue;
        if (++ticks == HANDSHAKE_POLLS)
            fail("handshake: no answer", 0);
        if (peer->dtls && ticks % 5 == 0)
            (void)wolfSSL_dtls_got_timeout(peer->ssl);
    }
    tell(peer);
}

static void end(struct peer *peer)
{
    wolfSSL_SESSION_free(peer->session);
    peer->session = peer->tickets ? wolfSSL_get1_session(peer->ssl) : NULL;
    (void)wolfSSL_shutdown(peer->ssl);
    wolfSSL_free(peer->ssl);
    close(peer->fd);
}

static void take_order(struct peer *peer, const char *order)
{
    if (strcmp(order, "!reconnect") == 0) {
        end(peer);
        start(peer);
    } else if (strcmp(order, "!rekey") == 0 && wolfSSL_update_keys(peer->ssl) == WOLFSSL_SUCCESS) {
        (void)fprintf(stderr, "rekeyed\n");
    } else {
        fail(order, 0);
    }
}

// Passes one message of standard input on; false at its end.
static bool pass_input(struct peer *peer)
{
    static char message[MESSAGE_MAX + 1];
    ssize_t n = read(STDIN_FILENO, message, MESSAGE_MAX);
    if (n <= 0)
        return false;
    message[n] = '\0';
    if (message[0] == '!')
        take_order(peer, message);
    else if (wolfSSL_write(peer->ssl, message, (int)n) != (int)n)
        fail("write", wolfSSL_get_error(peer->ssl, WOLFSSL_FATAL_ERROR));
    return true;
}

// Passes on what has arrived; false when the association has ended.
static bool pass_output(struct peer *peer)
{
    static char message[MESSAGE_MAX];
    for (;;) {
        int n = wolfSSL_read(peer->ssl, message, sizeof message);
        if (n > 0) {
            if (write(STDOUT_FILENO, message, (size_t)n) != n)
                return false;
            continue;
        }
        int error = wolfSSL_get_error(peer->ssl, n);
        if (error == WOLFSSL_ERROR_WANT_READ || error == WOLFSSL_ERROR_WANT_WRITE)
            return true;
        if (error == WOLFSSL_ERROR_ZERO_RETURN || n == 0)
            return false;
        fail("read", error);
    }
}

static void serve(struct peer *peer)
{
    for (;;) {
        struct pollfd fds[2];
        wait_for(peer, fds, true);
        if (fds[0].revents == 0 && fds[1].revents == 0 && peer->dtls && peer->version == 3)
            (void)wolfSSL_dtls_got_timeout(peer->ssl); // acknowledgements and key updates that are due
        if (fds[0].revents != 0 && !pass_output(peer)) {
            (void)fprintf(stderr, "ended by the server\n");
            return;
        }
        if (fds[1].revents != 0 && !pass_input(peer))
            return;
    }
}

static size_t from_hex(const char *text, uint8_t *out, size_t cap)
{
    size_t len = strlen(text) / 2;
    if (len > cap || strlen(text) % 2 != 0)
        fail("hexadecimal digits", 0);
    for (size_t i = 0; i < len; i++) {
        const char digits[3] = {text[2 * i], text[2 * i + 1], '\0'};
        out[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return len;
}

static const struct option long_options[] = {
    {"dtls", no_argument, NULL, 'd'},
    {"version", required_argument, NULL, 'v'},
    {"host", required_argument, NULL, 'h'},
    {"port", required_argument, NULL, 'p'},
    {"suite", required_argument, NULL, 's'},
    {"identity", required_argument, NULL, 'i'},
    {"key", required_argument, NULL, 'k'},
    {"ca", required_argument, NULL, 'a'},
    {"cid", required_argument, NULL, 'c'},
    {"certificate", required_argument, NULL, 'x'},
    {"key-file", required_argument, NULL, 'y'},
    {"server-name", required_argument, NULL, 'n'},
    {"tickets", no_argument, NULL, 't'},
    {"no-ecdhe", no_argument, NULL, 'e'},
    {NULL, 0, NULL, 0},
};

static void take_option(struct peer *peer, int option)
{
    switch (option) {
    case 'd':
        peer->dtls = true;
        break;
    case 'v':
        peer->version = strcmp(optarg, "1.3") == 0 ? 3 : 2;
        break;
    case 'h':
        peer->address.sin_addr.s_addr = inet_addr(optarg);
        break;
    case 'p':
        peer->address.sin_port = htons((uint16_t)atoi(optarg));
        break;
    case 's':
        peer->suite = optarg;
        break;
    case 'i':
        peer->identity = optarg;
        break;
    case 'k':
        peer->key_len = from_hex(optarg, peer->key, sizeof peer->key);
        break;
    case 'a':
        peer->ca = optarg;
        break;
    case 'c':
        peer->use_cid = true;
        peer->cid_len = from_hex(optarg, peer->cid, sizeof peer->cid);
        break;
    case 'x':
        peer->certificate = optarg;
        break;
    case 'y':
        peer->key_file = optarg;
        break;
    case 'n':
        peer->server_name = optarg;
        break;
    case 't':
        peer->tickets = true;
        break;
    case 'e':
        peer->no_ecdhe = true;
        break;
    default:
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct peer peer = {.version = 2, .address = {.sin_family = AF_INET}, .suite = ""};
    peer.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;)
        take_option(&peer, option);
    wolfSSL_Init();
    set_up(&peer);
    start(&peer);
    serve(&peer);
    end(&peer);
    wolfSSL_SESSION_free(peer.session);
    wolfSSL_CTX_free(peer.ctx);
    wolfSSL_Cleanup();
    return 0;
}
