// sagate-perf-wolfssl: the limit that handshakes are measured against. wolfSSL's server and client in one process, with
// queues in memory between them; only the server's calls are timed, from making the object to freeing it after the
// client's close_notify.
// SPDX-License-Identifier: GPL-3.0-or-later
#include <wolfssl/options.h>

#include <getopt.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wolfssl/ssl.h>

enum { QUEUE = 32, DATAGRAM = 2048, TURNS = 100, CID = 8, WARM_UP = 200 };

struct queue {
    unsigned first, count;
    size_t len[QUEUE];
    uint8_t data[QUEUE][DATAGRAM];
};

struct side {
    struct queue *in, *out;
    WOLFSSL_CTX *context;
    WOLFSSL *ssl;
};

static struct {
    bool dtls13, no_cid;
    const char *cipher, *certificate, *key, *trust; // files: "server" and "device" pairs, one CA
    const char *device_certificate, *device_key;
    double seconds;
    unsigned hold;
} options = {.cipher = "PSK-AES128-CCM-8", .seconds = 2};

static struct queue to_server, to_client;
static struct side server = {.in = &to_server, .out = &to_client}, client = {.in = &to_client, .out = &to_server};
static double server_seconds, began;
static bool in_server;
static int64_t server_bytes;

static void fail(const char *what)
{
    (void)fprintf(stderr, "sagate-perf-wolfssl: %s\n", what);
    exit(EXIT_FAILURE);
}

static double cpu_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void enter_server(void)
{
    in_server = true;
    began = cpu_now();
}

static void leave_server(void)
{
    server_seconds += cpu_now() - began;
    in_server = false;
}

// Counts what the server's objects occupy.
static void *count_malloc(size_t size)
{
    void *made = malloc(size);
    if (in_server && made != NULL)
        server_bytes += (int64_t)malloc_usable_size(made);
    return made;
}

static void count_free(void *old)
{
    if (in_server && old != NULL)
        server_bytes -= (int64_t)malloc_usable_size(old);
    free(old);
}

static void *count_realloc(void *old, size_t size)
{
    if (in_server && old != NULL)
        server_bytes -= (int64_t)malloc_usable_size(old);
    void *made = realloc(old, size);
    if (in_server && made != NULL)
        server_bytes += (int64_t)malloc_usable_size(made);
    return made;
}

static int receive(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    (void)ssl;
    struct queue *in = ((struct side *)context)->in;
    if (in->count == 0)
        return WOLFSSL_CBIO_ERR_WANT_READ;
    size_t len = in->len[in->first];
    if (len > (size_t)size)
        len = (size_t)size;
    memcpy(buffer, in->data[in->first], len);
    in->first = (in->first + 1) % QUEUE;
    in->count--;
    return (int)len;
}

static int transmit(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    (void)ssl;
    struct queue *out = ((struct side *)context)->out;
    if (out->count == QUEUE || size > DATAGRAM)
        fail("a queue is full");
    unsigned at = (out->first + out->count++) % QUEUE;
    memcpy(out->data[at], buffer, (size_t)size);
    out->len[at] = (size_t)size;
    return size;
}

static const uint8_t psk[16] = "0123456789abcde";

static unsigned int client_psk(WOLFSSL *ssl, const char *hint, char *identity, unsigned int identity_max,
                               unsigned char *key, unsigned int key_max)
{
    (void)ssl;
    (void)hint;
    (void)key_max;
    (void)snprintf(identity, identity_max, "perf0@sp.example");
    memcpy(key, psk, sizeof psk);
    return sizeof psk;
}

static unsigned int client_psk13(WOLFSSL *ssl, const char *hint, char *identity, unsigned int identity_max,
                                 unsigned char *key, unsigned int key_max, const char **suite)
{
    *suite = options.cipher;
    return client_psk(ssl, hint, identity, identity_max, key, key_max);
}

static unsigned int server_psk(WOLFSSL *ssl, const char *identity, unsigned char *key, unsigned int key_max)
{
    (void)ssl;
    (void)identity;
    (void)key_max;
    memcpy(key, psk, sizeof psk);
    return sizeof psk;
}

static unsigned int server_psk13(WOLFSSL *ssl, const char *identity, unsigned char *key, unsigned int key_max,
                                 const char **suite)
{
    *suite = options.cipher;
    return server_psk(ssl, identity, key, key_max);
}

static void load_files(WOLFSSL_CTX *context, const char *certificate, const char *key, int verify)
{
    if (wolfSSL_CTX_use_certificate_chain_file(context, certificate) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_use_PrivateKey_file(context, key, WOLFSSL_FILETYPE_PEM) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_load_verify_locations(context, options.trust, NULL) != WOLFSSL_SUCCESS)
        fail("certificates and keys cannot be used");
    wolfSSL_CTX_set_verify(context, verify, NULL);
}

static void set_up(struct side *side, WOLFSSL_METHOD *method)
{
    side->context = wolfSSL_CTX_new(method);
    if (side->context == NULL || wolfSSL_CTX_set_cipher_list(side->context, options.cipher) != WOLFSSL_SUCCESS)
        fail("unknown cipher");
    wolfSSL_CTX_SetIORecv(side->context, receive);
    wolfSSL_CTX_SetIOSend(side->context, transmit);
    (void)wolfSSL_CTX_set_group_messages(side->context);
    (void)wolfSSL_CTX_set_session_cache_mode(side->context, WOLFSSL_SESS_CACHE_OFF);
    (void)wolfSSL_CTX_no_ticket_TLSv13(side->context);
    (void)wolfSSL_CTX_NoTicketTLSv12(side->context);
}

static void set_up_both(void)
{
    (void)wolfSSL_Init();
    (void)wolfSSL_SetAllocators(count_malloc, count_free, count_realloc);
    set_up(&server, options.dtls13 ? wolfDTLSv1_3_server_method() : wolfDTLSv1_2_server_method());
    set_up(&client, options.dtls13 ? wolfDTLSv1_3_client_method() : wolfDTLSv1_2_client_method());
    if (options.certificate != NULL) {
        load_files(server.context, options.certificate, options.key,
                   WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT);
        load_files(client.context, options.device_certificate, options.device_key, WOLFSSL_VERIFY_PEER);
    } else if (options.dtls13) {
        wolfSSL_CTX_set_psk_server_tls13_callback(server.context, server_psk13);
    } else {
        wolfSSL_CTX_set_psk_server_callback(server.context, server_psk);
    }
}

static void new_object(struct side *side)
{
    uint8_t cid[CID] = "cid-1234";
    side->ssl = wolfSSL_new(side->context);
    if (side->ssl == NULL)
        fail("memory is short");
    wolfSSL_SetIOReadCtx(side->ssl, side);
    wolfSSL_SetIOWriteCtx(side->ssl, side);
    wolfSSL_dtls_set_using_nonblock(side->ssl, 1);
    if (!options.no_cid && (wolfSSL_dtls_cid_use(side->ssl) != WOLFSSL_SUCCESS ||
                            (side == &server && wolfSSL_dtls_cid_set(side->ssl, cid, CID) != WOLFSSL_SUCCESS)))
        fail("Connection IDs are not to be had");
}

static void new_server(void)
{
    static uint8_t secret[32] = "the secret of the cookies";
    uint8_t peer[8] = {2, 0, 0, 1, 127, 0, 0, 1};
    new_object(&server);
    if (wolfSSL_DTLS_SetCookieSecret(server.ssl, secret, sizeof secret) != 0 ||
        wolfSSL_dtls_set_peer(server.ssl, peer, sizeof peer) != WOLFSSL_SUCCESS)
        fail("the cookie cannot be set");
}

static void new_client(void)
{
    new_object(&client);
    if (options.dtls13)
        (void)wolfSSL_UseKeyShare(client.ssl, WOLFSSL_ECC_SECP256R1);
    if (options.certificate == NULL && options.dtls13)
        wolfSSL_set_psk_client_tls13_callback(client.ssl, client_psk13);
    else if (options.certificate == NULL)
        wolfSSL_set_psk_client_callback(client.ssl, client_psk);
}

static void judge(WOLFSSL *ssl, int rc, const char *who)
{
    int error = rc == WOLFSSL_SUCCESS ? 0 : wolfSSL_get_error(ssl, rc);
    if (error != 0 && error != WOLFSSL_ERROR_WANT_READ && error != WOLFSSL_ERROR_WANT_WRITE)
        fail(wolfSSL_ERR_reason_error_string((unsigned long)error) != NULL
                 ? wolfSSL_ERR_reason_error_string((unsigned long)error)
                 : who);
}

// One handshake with a stateless cookie exchange; both objects are left established.
static void handshake(void)
{
    bool started = false;
    bool accepted = false;
    bool connected = false;
    to_server.count = to_client.count = 0;
    enter_server();
    new_server();
    leave_server();
    new_client();
    for (unsigned turn = 0; turn < TURNS && !(accepted && connected && to_server.count + to_client.count == 0);
         turn++) {
        if (!connected) {
            int rc = wolfSSL_connect(client.ssl);
            judge(client.ssl, rc, "client");
            connected = rc == WOLFSSL_SUCCESS;
        } else if (to_client.count > 0) {
            char byte;
            (void)wolfSSL_read(client.ssl, &byte, 1); // an acknowledgement of DTLS 1.3
        }
        enter_server();
        while (!started && to_server.count > 0)
            started = wolfDTLS_accept_stateless(server.ssl) == WOLFSSL_SUCCESS;
        int rc = started && !accepted ? wolfSSL_accept(server.ssl) : WOLFSSL_SUCCESS;
        leave_server();
        judge(server.ssl, rc, "server");
        accepted = started && rc == WOLFSSL_SUCCESS;
        if (accepted)
            to_server.count = 0;
    }
    if (!accepted || !connected)
        fail("a handshake does not end");
}

// As devices of the load generator do: a handshake, then close_notify.
static void whole_life(void)
{
    char byte;
    handshake();
    (void)wolfSSL_shutdown(client.ssl);
    enter_server();
    (void)wolfSSL_read(server.ssl, &byte, 1);
    wolfSSL_free(server.ssl);
    leave_server();
    wolfSSL_free(client.ssl);
}

static void measure(void)
{
    unsigned long long count = 0;
    for (unsigned i = 0; i < WARM_UP; i++)
        whole_life();
    server_seconds = 0;
    double end = cpu_now() + options.seconds;
    while (cpu_now() < end) {
        whole_life();
        count++;
    }
    WOLFSSL **held = calloc(options.hold + 1U, sizeof(WOLFSSL *));
    server_bytes = 0;
    for (unsigned i = 0; held != NULL && i < options.hold; i++) {
        handshake();
        held[i] = server.ssl;
        wolfSSL_free(client.ssl);
    }
    printf("{\"seconds\":%.3f,\"handshakes\":%llu,\"requests\":0,\"server_cpu\":%.6f,\"held_bytes\":%.1f}\n",
           options.seconds, count, server_seconds, options.hold > 0 ? (double)server_bytes / options.hold : 0.0);
    for (unsigned i = 0; held != NULL && i < options.hold; i++)
        wolfSSL_free(held[i]);
    free(held);
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"security", 1, NULL, 's'},   {"cipher", 1, NULL, 'c'}, {"no-cid", 0, NULL, 'n'},
        {"seconds", 1, NULL, 't'},    {"hold", 1, NULL, 'h'},   {"certificate", 1, NULL, 'C'},
        {"key", 1, NULL, 'K'},        {"trust", 1, NULL, 'T'},  {"device-certificate", 1, NULL, 'd'},
        {"device-key", 1, NULL, 'k'}, {NULL, 0, NULL, 0}};
    int id;
    while ((id = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (id) {
        case 's':
            options.dtls13 = strcmp(optarg, "dtls1.3") == 0;
            break;
        case 'c':
            options.cipher = optarg;
            break;
        case 'n':
            options.no_cid = true;
            break;
        case 't':
            options.seconds = strtod(optarg, NULL);
            break;
        case 'h':
            options.hold = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'C':
            options.certificate = optarg;
            break;
        case 'K':
            options.key = optarg;
            break;
        case 'T':
            options.trust = optarg;
            break;
        case 'd':
            options.device_certificate = optarg;
            break;
        case 'k':
            options.device_key = optarg;
            break;
        default:
            (void)fprintf(stderr, "usage: sagate-perf-wolfssl [--security dtls1.2|dtls1.3] [--cipher NAME] [--no-cid]\n"
                                  "  [--seconds N] [--hold N] [--certificate FILE --key FILE --trust FILE\n"
                                  "  --device-certificate FILE --device-key FILE]\n");
            return 2;
        }
    }
    set_up_both();
    measure();
    return EXIT_SUCCESS;
}
