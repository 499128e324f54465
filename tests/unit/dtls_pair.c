// The two ends, and the queues of datagrams between them.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/dtls_pair.h"

#include "common/error.h"
#include "dataplane/record/adopt.h"
#include "tests/unit/tls_certificates.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t key[16] = "0123456789abcde";
static const uint8_t cid_server[16] = "\1server-cid-123";
static const uint8_t cid_client[16] = "\2client-cid-123";

void pair_put(struct pair_queue *queue, const uint8_t *bytes, size_t len)
{
    struct pair_chunk *chunk = malloc(sizeof *chunk + len);
    if (chunk == NULL)
        abort();
    *chunk = (struct pair_chunk){.len = len};
    memcpy(chunk->bytes, bytes, len);
    *queue->last = chunk;
    queue->last = &chunk->next;
}

struct pair_chunk *pair_take(struct pair_queue *queue)
{
    struct pair_chunk *chunk = queue->first;
    if (chunk == NULL)
        return NULL;
    queue->first = chunk->next;
    if (queue->first == NULL)
        queue->last = &queue->first;
    return chunk;
}

size_t pair_drop(struct pair_queue *queue)
{
    size_t count = 0;
    for (struct pair_chunk *chunk = pair_take(queue); chunk != NULL; chunk = pair_take(queue)) {
        free(chunk);
        count++;
    }
    return count;
}

static int give(struct pair_queue *queue, char *buffer, int size)
{
    struct pair_chunk *chunk = pair_take(queue);
    if (chunk == NULL)
        return WOLFSSL_CBIO_ERR_WANT_READ;
    int n = chunk->len < (size_t)size ? (int)chunk->len : size;
    memcpy(buffer, chunk->bytes, (size_t)n);
    free(chunk);
    return n;
}

static int client_receive(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    (void)ssl;
    struct pair *pair = context;
    return give(&pair->to_client, buffer, size);
}

static int server_receive(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    (void)ssl;
    struct pair *pair = context;
    return give(&pair->to_server, buffer, size);
}

static int client_send(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    (void)ssl;
    struct pair *pair = context;
    pair_put(&pair->to_server, (const uint8_t *)buffer, (size_t)size);
    return size;
}

static int server_send(void *context, const uint8_t *data, size_t len)
{
    struct pair *pair = context;
    pair_put(&pair->to_client, data, len);
    pair->sent++;
    return SAGATE_OK;
}

struct handshake_sink pair_sink(struct pair *pair)
{
    return (struct handshake_sink){.send = server_send, .context = pair};
}

static unsigned int client_psk(WOLFSSL *ssl, const char *hint, char *identity, unsigned int identity_max,
                               unsigned char *out, unsigned int max)
{
    (void)ssl;
    (void)hint;
    if (identity_max < 4 || max < sizeof key)
        return 0;
    memcpy(identity, "dev", 4);
    memcpy(out, key, sizeof key);
    return sizeof key;
}

static unsigned int client_psk13(WOLFSSL *ssl, const char *hint, char *identity, unsigned int identity_max,
                                 unsigned char *out, unsigned int max, const char **suite)
{
    const struct pair *pair = wolfSSL_GetIOReadCtx(ssl);
    *suite = pair->options.suite;
    return client_psk(ssl, hint, identity, identity_max, out, max);
}

static unsigned int server_psk(WOLFSSL *ssl, const char *identity, unsigned char *out, unsigned int max)
{
    (void)ssl;
    (void)identity;
    if (max < sizeof key)
        return 0;
    memcpy(out, key, sizeof key);
    return sizeof key;
}

static unsigned int server_psk13(WOLFSSL *ssl, const char *identity, unsigned char *out, unsigned int max,
                                 const char **suite)
{
    const struct pair *pair = wolfSSL_GetIOReadCtx(ssl);
    *suite = pair->options.suite;
    return server_psk(ssl, identity, out, max);
}

// A ticket that nobody will ever open.
static int make_ticket(WOLFSSL *ssl, unsigned char *name, unsigned char *iv, unsigned char *mac, int encrypt,
                       unsigned char *ticket, int len, int *out_len, void *context)
{
    (void)ssl;
    (void)context;
    for (int i = 0; i < len; i++)
        ticket[i] ^= 0x5a;
    memset(name, 1, WOLFSSL_TICKET_NAME_SZ);
    memset(iv, 1, WOLFSSL_TICKET_IV_SZ);
    memset(mac, 1, WOLFSSL_TICKET_MAC_SZ);
    *out_len = len;
    return encrypt ? WOLFSSL_TICKET_RET_OK : WOLFSSL_TICKET_RET_REJECT;
}

static bool use_certificate(WOLFSSL_CTX *ctx, const char *certificate, const char *private_key)
{
    return wolfSSL_CTX_use_certificate_chain_buffer(ctx, (const unsigned char *)certificate,
                                                    (long)strlen(certificate)) == WOLFSSL_SUCCESS &&
           wolfSSL_CTX_use_PrivateKey_buffer(ctx, (const unsigned char *)private_key, (long)strlen(private_key),
                                             WOLFSSL_FILETYPE_PEM) == WOLFSSL_SUCCESS;
}

static bool make_contexts(struct pair *pair)
{
    const struct pair_options *options = &pair->options;
    pair->client_ctx = wolfSSL_CTX_new(options->dtls13 ? wolfDTLSv1_3_client_method() : wolfDTLSv1_2_client_method());
    pair->server_ctx = wolfSSL_CTX_new(options->dtls13 ? wolfDTLSv1_3_server_method() : wolfDTLSv1_2_server_method());
    if (pair->client_ctx == NULL || pair->server_ctx == NULL ||
        wolfSSL_CTX_set_cipher_list(pair->client_ctx, options->suite) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_set_cipher_list(pair->server_ctx, options->suite) != WOLFSSL_SUCCESS)
        return false;
    wolfSSL_CTX_set_verify(pair->client_ctx, WOLFSSL_VERIFY_NONE, NULL);
    (void)wolfSSL_CTX_set_group_messages(pair->client_ctx);
    (void)wolfSSL_CTX_set_group_messages(pair->server_ctx);
    session_prepare(pair->server_ctx);
    if (options->tickets && wolfSSL_CTX_set_TicketEncCb(pair->server_ctx, make_ticket) != WOLFSSL_SUCCESS)
        return false;
    if (options->psk && options->dtls13)
        wolfSSL_CTX_set_psk_server_tls13_callback(pair->server_ctx, server_psk13);
    else if (options->psk)
        wolfSSL_CTX_set_psk_server_callback(pair->server_ctx, server_psk);
    if (!options->psk && !use_certificate(pair->server_ctx, tls_certificate_one, tls_key_one))
        return false;
    if (!options->client_certificate)
        return true;
    wolfSSL_CTX_set_verify(pair->server_ctx, WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return use_certificate(pair->client_ctx, tls_certificate_two, tls_key_two) &&
           wolfSSL_CTX_load_verify_buffer(pair->server_ctx, (const unsigned char *)tls_certificate_two,
                                          (long)strlen(tls_certificate_two), WOLFSSL_FILETYPE_PEM) == WOLFSSL_SUCCESS;
}

static bool make_ends(struct pair *pair)
{
    const struct pair_options *options = &pair->options;
    const struct handshake_sink sink = pair_sink(pair);
    pair->session = session_new(pair->server_ctx, true, &sink);
    pair->client = wolfSSL_new(pair->client_ctx);
    if (pair->session == NULL || pair->client == NULL)
        return false;
    WOLFSSL *server = pair->session->ssl;
    wolfSSL_SSLSetIORecv(pair->client, client_receive);
    wolfSSL_SSLSetIOSend(pair->client, client_send);
    wolfSSL_SetIOReadCtx(pair->client, pair);
    wolfSSL_SetIOWriteCtx(pair->client, pair);
    wolfSSL_dtls_set_using_nonblock(pair->client, 1);
    wolfSSL_SSLSetIORecv(server, server_receive);
    wolfSSL_SetIOReadCtx(server, pair);
    if (options->psk && options->dtls13)
        wolfSSL_set_psk_client_tls13_callback(pair->client, client_psk13);
    else if (options->psk)
        wolfSSL_set_psk_client_callback(pair->client, client_psk);
    if (!options->cid)
        return true;
    return wolfSSL_dtls_cid_use(pair->client) == WOLFSSL_SUCCESS && wolfSSL_dtls_cid_use(server) == WOLFSSL_SUCCESS &&
           wolfSSL_dtls_cid_set(server, options->cid_in > 0 ? (unsigned char *)(uintptr_t)cid_server : NULL,
                                options->cid_in) == WOLFSSL_SUCCESS &&
           wolfSSL_dtls_cid_set(pair->client, options->cid_out > 0 ? (unsigned char *)(uintptr_t)cid_client : NULL,
                                options->cid_out) == WOLFSSL_SUCCESS;
}

static bool wants(WOLFSSL *ssl, int rc)
{
    int error = wolfSSL_get_error(ssl, rc);
    return error == WOLFSSL_ERROR_WANT_READ || error == WOLFSSL_ERROR_WANT_WRITE;
}

bool pair_open(struct pair *pair, const struct pair_options *options)
{
    *pair = (struct pair){.options = *options};
    pair->to_client.last = &pair->to_client.first;
    pair->to_server.last = &pair->to_server.first;
    (void)wolfSSL_Init();
    if (!make_contexts(pair) || !make_ends(pair))
        return false;
    for (int round = 0; round < 10; round++) {
        int rc = wolfSSL_connect(pair->client);
        if (rc != WOLFSSL_SUCCESS && !wants(pair->client, rc))
            return false;
        rc = wolfSSL_accept(pair->session->ssl);
        if (rc == WOLFSSL_SUCCESS)
            return true;
        if (!wants(pair->session->ssl, rc))
            return false;
    }
    return false;
}

bool pair_establish(struct pair *pair, const struct pair_options *options)
{
    if (!pair_open(pair, options))
        return false;
    pair->record = record_adopt(pair->session);
    if (pair->record != NULL)
        pair->session = NULL;
    return pair->record != NULL;
}

void pair_close(struct pair *pair)
{
    record_free(pair->record);
    session_free(pair->session);
    wolfSSL_free(pair->client);
    wolfSSL_CTX_free(pair->client_ctx);
    wolfSSL_CTX_free(pair->server_ctx);
    (void)pair_drop(&pair->to_client);
    (void)pair_drop(&pair->to_server);
    *pair = (struct pair){0};
}

int pair_client_reads(struct pair *pair, void *out, size_t cap)
{
    if (!pair->client_done) {
        int rc = wolfSSL_connect(pair->client);
        if (rc != WOLFSSL_SUCCESS)
            return wants(pair->client, rc) ? 0 : -1;
        pair->client_done = true;
    }
    int n = wolfSSL_read(pair->client, out, (int)cap);
    if (n > 0)
        return n;
    return wants(pair->client, n) ? 0 : -1;
}

int pair_server_reads(struct pair *pair, uint8_t *out, size_t cap, size_t *len)
{
    int status = SAGATE_AGAIN;
    *len = 0;
    for (struct pair_chunk *chunk = pair_take(&pair->to_server); chunk != NULL; chunk = pair_take(&pair->to_server)) {
        (void)record_input(pair->record, chunk->bytes, chunk->len);
        free(chunk);
        *len = record_open(pair->record, out, cap, &status);
        if (status != SAGATE_AGAIN)
            break;
    }
    return status;
}

bool pair_echo(struct pair *pair, size_t len)
{
    static uint8_t data[1500];
    static uint8_t got[RECORD_PLAINTEXT_MAX];
    size_t n;
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 7 + 1);
    (void)pair_client_reads(pair, got, sizeof got); // what is left of the handshake
    if (wolfSSL_write(pair->client, data, (int)len) != (int)len)
        return false;
    if (pair_server_reads(pair, got, sizeof got, &n) != SAGATE_OK || n != len || memcmp(got, data, len) != 0)
        return false;
    data[0] ^= 1;
    return record_seal(pair->record, data, len) == SAGATE_OK && pair_client_reads(pair, got, sizeof got) == (int)len &&
           memcmp(got, data, len) == 0;
}
