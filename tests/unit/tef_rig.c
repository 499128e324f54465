// The TEF for tests: wolfSSL servers at the other ends of socket pairs.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/tef_rig.h"

#include "common/clock.h"
#include "common/error.h"
#include "dataplane/binding/coap/numbering.h"
#include "tests/unit/tls_certificates.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct rig_peer {
    struct rig *rig;
    size_t index;
    int fd;
    WOLFSSL *session;
    struct event *readable;
    bool accepted, forgotten;
    size_t len;
    char in[RIG_REQUEST_MAX];
};

static unsigned int server_psk(WOLFSSL *session, const char *identity, unsigned char *key, unsigned int key_max)
{
    (void)session;
    if (strcmp(identity, RIG_IDENTITY) != 0 || key_max < strlen(RIG_KEY))
        return 0;
    memcpy(key, RIG_KEY, strlen(RIG_KEY));
    return (unsigned int)strlen(RIG_KEY);
}

static unsigned int server_psk13(WOLFSSL *session, const char *identity, unsigned char *key, unsigned int key_max,
                                 const char **suite)
{
    *suite = "TLS13-AES128-GCM-SHA256";
    return server_psk(session, identity, key, key_max);
}

static void complete_coap(struct rig_peer *peer)
{
    static struct coap_message message;
    struct rig *rig = peer->rig;
    CU_ASSERT_EQUAL_FATAL(coap_parse((const uint8_t *)peer->in, peer->len, &message), SAGATE_OK);
    peer->len = 0;
    if (coap_is_request(message.code))
        rig->requests++;
    rig->coap(rig, peer->index, &message);
}

static void complete(struct rig_peer *peer)
{
    static char answer[RIG_ANSWER_MAX];
    struct rig *rig = peer->rig;
    for (;;) {
        peer->in[peer->len] = '\0';
        char *end = strstr(peer->in, "\r\n\r\n");
        if (end == NULL)
            return;
        const char *length = strstr(peer->in, "Content-Length: ");
        size_t body = length != NULL && length < end ? (size_t)atoi(length + 16) : 0;
        size_t len = (size_t)(end + 4 - peer->in) + body;
        if (len > peer->len)
            return;
        memcpy(rig->last, peer->in, len);
        rig->last[len] = '\0';
        memmove(peer->in, peer->in + len, peer->len - len);
        peer->len -= len;
        rig->requests++;
        answer[0] = '\0';
        size_t index = peer->index;
        rig->script(rig, index, rig->last, answer);
        if (rig->peers[index] == NULL)
            return;
        if (answer[0] != '\0')
            rig_answer(rig, index, answer);
    }
}

static bool wants(WOLFSSL *session, int rc)
{
    int error = wolfSSL_get_error(session, rc);
    return error == WOLFSSL_ERROR_WANT_READ || error == WOLFSSL_ERROR_WANT_WRITE;
}

static void on_peer(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct rig_peer *peer = context;
    struct rig *rig = peer->rig;
    size_t index = peer->index;
    if (peer->forgotten) {
        (void)recv(peer->fd, peer->in, sizeof peer->in, MSG_DONTWAIT);
        return;
    }
    if (!peer->accepted) {
        int rc = wolfSSL_accept(peer->session);
        if (rc != WOLFSSL_SUCCESS) {
            if (!wants(peer->session, rc))
                rig_hang_up(rig, index);
            return;
        }
        peer->accepted = true;
    }
    for (;;) {
        int n = wolfSSL_read(peer->session, peer->in + peer->len, (int)(sizeof peer->in - 1 - peer->len));
        if (n <= 0) {
            if (!wants(peer->session, n))
                rig_hang_up(rig, index);
            return;
        }
        peer->len += (size_t)n;
        if (rig->coap != NULL)
            complete_coap(peer);
        else
            complete(peer);
        if (rig->peers[index] == NULL)
            return;
    }
}

static int rig_connect(void *context, const struct address *address)
{
    struct rig *rig = context;
    int fds[2];
    (void)address;
    rig->connects++;
    size_t index = 0;
    while (index < RIG_PEERS_MAX && rig->peers[index] != NULL)
        index++;
    if (rig->refuse || index == RIG_PEERS_MAX) {
        errno = ECONNREFUSED;
        return -1;
    }
    int type = rig->coap != NULL ? SOCK_DGRAM : SOCK_STREAM;
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    struct rig_peer *peer = calloc(1, sizeof *peer);
    CU_ASSERT_PTR_NOT_NULL_FATAL(peer);
    peer->rig = rig;
    peer->index = index;
    peer->fd = fds[1];
    peer->session = wolfSSL_new(rig->ctx);
    CU_ASSERT_PTR_NOT_NULL_FATAL(peer->session);
    wolfSSL_set_fd(peer->session, peer->fd);
    if (rig->coap != NULL) {
        wolfSSL_SetIOReadCtx(peer->session, peer);
        wolfSSL_SetIOWriteCtx(peer->session, peer);
        wolfSSL_dtls_set_using_nonblock(peer->session, 1);
    }
    peer->readable = event_new(rig->base, peer->fd, EV_READ | EV_PERSIST, on_peer, peer);
    rig->peers[index] = peer;
    if (rig->plain_text) {
        CU_ASSERT_EQUAL(write(peer->fd, "HTTP/1.1 400 Bad\r\n\r\n", 20), 20);
    } else {
        event_add(peer->readable, NULL);
    }
    return fds[0];
}

void rig_hang_up(struct rig *rig, size_t index)
{
    struct rig_peer *peer = rig->peers[index];
    if (peer == NULL)
        return;
    rig->peers[index] = NULL;
    event_free(peer->readable);
    if (peer->accepted)
        (void)wolfSSL_shutdown(peer->session);
    wolfSSL_free(peer->session);
    close(peer->fd);
    free(peer);
}

void rig_forget(struct rig *rig, size_t index)
{
    rig->peers[index]->forgotten = true;
}

void rig_coap(struct rig *rig, size_t index, enum coap_type type, uint8_t code, uint16_t mid,
              const struct coap_token *token, unsigned rsc, int block2, const char *body)
{
    static uint8_t bytes[4096];
    static const struct coap_token none;
    struct coap_list list = {0};
    struct coap_writer writer;
    coap_begin(&writer, bytes, sizeof bytes, type, code, mid, token == NULL ? &none : token);
    if (rsc > 0)
        coap_list_add_uint(&list, numbering_rows[ONEM2M_RSC].number[NUMBERING_CURRENT], rsc);
    if (block2 >= 0)
        coap_list_add_uint(&list, COAP_BLOCK2, (uint32_t)block2);
    coap_list_write(&list, &writer);
    coap_add_payload(&writer, slice_text(body));
    int len = coap_end(&writer);
    CU_ASSERT_TRUE_FATAL(len > 0);
    CU_ASSERT_EQUAL(wolfSSL_write(rig->peers[index]->session, bytes, len), len);
}

void rig_answer(struct rig *rig, size_t index, const char *answer)
{
    CU_ASSERT_EQUAL(wolfSSL_write(rig->peers[index]->session, answer, (int)strlen(answer)), (int)strlen(answer));
}

static int receive_datagram(WOLFSSL *session, char *buffer, int size, void *context)
{
    (void)session;
    ssize_t n = recv(((struct rig_peer *)context)->fd, buffer, (size_t)size, MSG_DONTWAIT);
    return n > 0 ? (int)n : WOLFSSL_CBIO_ERR_WANT_READ;
}

static int transmit_datagram(WOLFSSL *session, char *buffer, int size, void *context)
{
    (void)session;
    (void)send(((struct rig_peer *)context)->fd, buffer, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
    return size;
}

static int make_cookie(WOLFSSL *session, unsigned char *cookie, int size, void *context)
{
    (void)session;
    (void)context;
    memset(cookie, 'c', (size_t)size);
    return size;
}

static void set_up(struct rig *rig, enum rig_proof proof, WOLFSSL_METHOD *method, const char *suites);

void rig_open(struct rig *rig, rig_script *script, enum rig_proof proof, bool tls13, const char *suites)
{
    memset(rig, 0, sizeof *rig);
    rig->script = script;
    set_up(rig, proof, tls13 ? wolfTLSv1_3_server_method() : wolfTLSv1_2_server_method(), suites);
}

void rig_open_dtls(struct rig *rig, rig_coap_script *script, enum rig_proof proof, bool dtls13, const char *suites)
{
    memset(rig, 0, sizeof *rig);
    rig->coap = script;
    set_up(rig, proof, dtls13 ? wolfDTLSv1_3_server_method() : wolfDTLSv1_2_server_method(), suites);
    wolfSSL_CTX_SetIORecv(rig->ctx, receive_datagram);
    wolfSSL_CTX_SetIOSend(rig->ctx, transmit_datagram);
    wolfSSL_CTX_SetGenCookie(rig->ctx, make_cookie);
}

static void set_up(struct rig *rig, enum rig_proof proof, WOLFSSL_METHOD *method, const char *suites)
{
    (void)signal(SIGPIPE, SIG_IGN); // the library writes to connections that the client has left
    (void)wolfSSL_Init();
    rig->base = event_base_new();
    rig->ctx = wolfSSL_CTX_new(method);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig->ctx);
    if (suites != NULL)
        CU_ASSERT_EQUAL(wolfSSL_CTX_set_cipher_list(rig->ctx, suites), WOLFSSL_SUCCESS);
    if (proof == RIG_PSK) {
        wolfSSL_CTX_set_psk_server_callback(rig->ctx, server_psk);
        wolfSSL_CTX_set_psk_server_tls13_callback(rig->ctx, server_psk13);
        return;
    }
    const unsigned char *certificate = (const unsigned char *)tls_certificate_one;
    const unsigned char *key = (const unsigned char *)tls_key_one, *ca = (const unsigned char *)tls_certificate_two;
    CU_ASSERT_EQUAL(wolfSSL_CTX_use_certificate_chain_buffer(rig->ctx, certificate, (long)strlen(tls_certificate_one)),
                    WOLFSSL_SUCCESS);
    CU_ASSERT_EQUAL(wolfSSL_CTX_use_PrivateKey_buffer(rig->ctx, key, (long)strlen(tls_key_one), WOLFSSL_FILETYPE_PEM),
                    WOLFSSL_SUCCESS);
    CU_ASSERT_EQUAL(
        wolfSSL_CTX_load_verify_buffer(rig->ctx, ca, (long)strlen(tls_certificate_two), WOLFSSL_FILETYPE_PEM),
        WOLFSSL_SUCCESS);
    wolfSSL_CTX_set_verify(rig->ctx, WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
}

void rig_close(struct rig *rig)
{
    tef_client_free(rig->client);
    for (size_t i = 0; i < RIG_PEERS_MAX; i++)
        rig_hang_up(rig, i);
    wolfSSL_CTX_free(rig->ctx);
    event_base_free(rig->base);
    tef_key_wipe(&rig->key);
}

struct tef_client_settings rig_settings(enum rig_proof proof)
{
    struct tef_client_settings settings = {.kind = TEF_MAF,
                                           .binding = TEF_HTTP,
                                           .name = "test",
                                           .fqdn = proof == RIG_PSK ? "maf.example" : "one.example",
                                           .profile = tef_profile_default(TEF_MAF),
                                           .client_id = "//sp.example/in-cse",
                                           .admin_fqdn = "admin.example",
                                           .connections = 2,
                                           .in_flight = 4,
                                           .timeout_ms = 10000,
                                           .registration_seconds = 3600};
    CU_ASSERT_EQUAL(address_parse("192.0.2.1", 8443, &settings.address), SAGATE_OK);
    if (proof == RIG_PSK) {
        settings.psk_identity = RIG_IDENTITY;
        settings.psk = slice_text(RIG_KEY);
    } else {
        settings.certificate = slice_text(tls_certificate_two);
        settings.private_key = slice_text(tls_key_two);
        settings.trust_anchors = slice_text(tls_certificate_one);
    }
    return settings;
}

void rig_client(struct rig *rig, const struct tef_client_settings *settings)
{
    char why[TEF_ERROR_MAX];
    int rc = tef_client_new(rig->base, settings, &rig->client, why);
    if (rc != SAGATE_OK)
        printf("\n%s\n", why);
    CU_ASSERT_EQUAL_FATAL(rc, SAGATE_OK);
    tef_client_set_connect(rig->client, rig_connect, rig);
}

static void on_done(void *context, int result, const struct tef_key *key)
{
    struct rig *rig = context;
    rig->done++;
    rig->result = result;
    CU_ASSERT_EQUAL(key != NULL, result == SAGATE_OK);
    if (key != NULL)
        rig->key = *key;
}

void rig_fetch(struct rig *rig)
{
    unsigned before = rig->done;
    CU_ASSERT_EQUAL(tef_client_fetch(rig->client, slice_text("0A1B"), on_done, rig), SAGATE_OK);
    CU_ASSERT_EQUAL(rig->done, before);
}

void rig_run(struct rig *rig, unsigned done, unsigned requests)
{
    // Far beyond what any of it takes: only a failure meets it.
    uint64_t end = clock_ms() + 30000;
    while ((rig->done < done || rig->requests < requests) && clock_ms() < end) {
        struct timeval step = {.tv_usec = 100000};
        (void)event_base_loopexit(rig->base, &step);
        (void)event_base_loop(rig->base, EVLOOP_ONCE);
    }
    CU_ASSERT_FALSE(rig->done < done || rig->requests < requests);
}

void rig_format(char answer[RIG_ANSWER_MAX], int status, unsigned rsc, const char *body)
{
    (void)snprintf(answer, RIG_ANSWER_MAX, "HTTP/1.1 %d x\r\nX-M2M-RSC: %u\r\nContent-Length: %zu\r\n\r\n%s", status,
                   rsc, strlen(body), body);
}
