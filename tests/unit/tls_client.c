// The client: two queues of chunks, wolfSSL between them.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/tls_client.h"

#include "common/error.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <stdlib.h>
#include <string.h>

struct chunk {
    struct chunk *next;
    size_t at, len;
    uint8_t bytes[];
};

struct queue {
    struct chunk *first, **last;
};

struct tls_client {
    struct tls_client_options options;
    WOLFSSL_CTX *ctx;
    WOLFSSL *ssl;
    uint8_t key[64];
    struct queue in, out;
    struct chunk *given; // what tls_client_output returned last
};

static void push(struct queue *queue, const void *data, size_t len)
{
    struct chunk *chunk = malloc(sizeof *chunk + len);
    if (chunk == NULL)
        abort();
    *chunk = (struct chunk){.len = len};
    memcpy(chunk->bytes, data, len);
    *queue->last = chunk;
    queue->last = &chunk->next;
}

static struct chunk *pop(struct queue *queue)
{
    struct chunk *chunk = queue->first;
    if (chunk != NULL) {
        queue->first = chunk->next;
        if (queue->first == NULL)
            queue->last = &queue->first;
    }
    return chunk;
}

static void drain(struct queue *queue)
{
    for (struct chunk *chunk = pop(queue); chunk != NULL; chunk = pop(queue))
        free(chunk);
}

static int receive(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    (void)ssl;
    struct tls_client *client = context;
    struct chunk *chunk = client->in.first;
    if (chunk == NULL)
        return WOLFSSL_CBIO_ERR_WANT_READ;
    size_t n = chunk->len - chunk->at < (size_t)size ? chunk->len - chunk->at : (size_t)size;
    memcpy(buffer, chunk->bytes + chunk->at, n);
    chunk->at += n;
    if (client->options.dtls || chunk->at == chunk->len)
        free(pop(&client->in));
    return (int)n;
}

static int transmit(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    (void)ssl;
    struct tls_client *client = context;
    push(&client->out, buffer, (size_t)size);
    return size;
}

static unsigned int give_psk(WOLFSSL *ssl, const char *hint, char *identity, unsigned int identity_max,
                             unsigned char *key, unsigned int key_max)
{
    (void)hint;
    const struct tls_client *client = wolfSSL_GetIOReadCtx(ssl);
    size_t len = strlen(client->options.identity);
    if (len > identity_max || client->options.key.len > key_max)
        return 0;
    memcpy(identity, client->options.identity, len + 1);
    memcpy(key, client->key, client->options.key.len);
    return (unsigned int)client->options.key.len;
}

static unsigned int give_psk13(WOLFSSL *ssl, const char *hint, char *identity, unsigned int identity_max,
                               unsigned char *key, unsigned int key_max, const char **suite)
{
    const struct tls_client *client = wolfSSL_GetIOReadCtx(ssl);
    const char *wanted = client->options.psk_suite13;
    *suite = wanted != NULL ? wanted : "TLS13-AES128-GCM-SHA256";
    return give_psk(ssl, hint, identity, identity_max, key, key_max);
}

static WOLFSSL_METHOD *method_of(const struct tls_client_options *options)
{
    if (options->dtls && options->any_version)
        return wolfDTLS_client_method();
    if (options->dtls)
        return options->tls13 ? wolfDTLSv1_3_client_method() : wolfDTLSv1_2_client_method();
    return options->tls13 ? wolfTLSv1_3_client_method() : wolfTLSv1_2_client_method();
}

static bool set_up(struct tls_client *client)
{
    const struct tls_client_options *options = &client->options;
    if (options->ciphers != NULL && wolfSSL_CTX_set_cipher_list(client->ctx, options->ciphers) != WOLFSSL_SUCCESS)
        return false;
    if (options->ca != NULL) {
        if (wolfSSL_CTX_load_verify_buffer(client->ctx, (const unsigned char *)options->ca, (long)strlen(options->ca),
                                           WOLFSSL_FILETYPE_PEM) != WOLFSSL_SUCCESS)
            return false;
    } else {
        wolfSSL_CTX_set_verify(client->ctx, WOLFSSL_VERIFY_NONE, NULL);
    }
    if (options->certificate != NULL &&
        (wolfSSL_CTX_use_certificate_chain_buffer(client->ctx, (const unsigned char *)options->certificate,
                                                  (long)strlen(options->certificate)) != WOLFSSL_SUCCESS ||
         wolfSSL_CTX_use_PrivateKey_buffer(client->ctx, (const unsigned char *)options->certificate_key,
                                           (long)strlen(options->certificate_key),
                                           WOLFSSL_FILETYPE_PEM) != WOLFSSL_SUCCESS))
        return false;
    if (!options->single_messages)
        (void)wolfSSL_CTX_set_group_messages(client->ctx);
    wolfSSL_CTX_SetIORecv(client->ctx, receive);
    wolfSSL_CTX_SetIOSend(client->ctx, transmit);
    client->ssl = wolfSSL_new(client->ctx);
    if (client->ssl == NULL)
        return false;
    wolfSSL_SetIOReadCtx(client->ssl, client);
    wolfSSL_SetIOWriteCtx(client->ssl, client);
    if (options->dtls)
        wolfSSL_dtls_set_using_nonblock(client->ssl, 1);
    if (options->offer_cid && (wolfSSL_dtls_cid_use(client->ssl) != WOLFSSL_SUCCESS ||
                               wolfSSL_dtls_cid_set(client->ssl, (unsigned char *)(uintptr_t)options->cid.data,
                                                    (unsigned)options->cid.len) != WOLFSSL_SUCCESS))
        return false;
    if (options->psk_alone && wolfSSL_no_dhe_psk(client->ssl) != 0)
        return false;
    // Set on the object, since the extension of TLS 1.3 is made when the callback is there and the object can be asked.
    if (options->identity != NULL && (options->tls13 || options->any_version))
        wolfSSL_set_psk_client_tls13_callback(client->ssl, give_psk13);
    if (options->identity != NULL && !options->tls13)
        wolfSSL_set_psk_client_callback(client->ssl, give_psk);
    if (options->server_name != NULL &&
        (wolfSSL_UseSNI(client->ssl, WOLFSSL_SNI_HOST_NAME, options->server_name,
                        (unsigned short)strlen(options->server_name)) != WOLFSSL_SUCCESS ||
         (options->ca != NULL && wolfSSL_check_domain_name(client->ssl, options->server_name) != WOLFSSL_SUCCESS)))
        return false;
    return true;
}

struct tls_client *tls_client_new(const struct tls_client_options *options)
{
    (void)wolfSSL_Init();
    struct tls_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        return NULL;
    client->options = *options;
    client->in.last = &client->in.first;
    client->out.last = &client->out.first;
    if (options->key.len <= sizeof client->key && options->key.len > 0)
        memcpy(client->key, options->key.data, options->key.len);
    client->ctx = wolfSSL_CTX_new(method_of(options));
    if (client->ctx == NULL || !set_up(client)) {
        tls_client_free(client);
        return NULL;
    }
    return client;
}

void tls_client_free(struct tls_client *client)
{
    if (client == NULL)
        return;
    wolfSSL_free(client->ssl);
    wolfSSL_CTX_free(client->ctx);
    drain(&client->in);
    drain(&client->out);
    free(client->given);
    free(client);
}

static bool wants(WOLFSSL *ssl, int rc)
{
    int error = wolfSSL_get_error(ssl, rc);
    return error == WOLFSSL_ERROR_WANT_READ || error == WOLFSSL_ERROR_WANT_WRITE;
}

int tls_client_run(struct tls_client *client)
{
    int rc = wolfSSL_connect(client->ssl);
    if (rc == WOLFSSL_SUCCESS)
        return SAGATE_DONE;
    return wants(client->ssl, rc) ? SAGATE_AGAIN : SAGATE_EHANDSHAKE;
}

void tls_client_timeout(struct tls_client *client)
{
    (void)wolfSSL_dtls_got_timeout(client->ssl);
}

void tls_client_input(struct tls_client *client, const uint8_t *data, size_t len)
{
    push(&client->in, data, len);
}

bool tls_client_output(struct tls_client *client, struct slice *out)
{
    free(client->given);
    client->given = pop(&client->out);
    if (client->given == NULL)
        return false;
    *out = slice_of(client->given->bytes, client->given->len);
    return true;
}

int tls_client_write(struct tls_client *client, const void *data, size_t len)
{
    return wolfSSL_write(client->ssl, data, (int)len) == (int)len ? SAGATE_OK : SAGATE_EGONE;
}

int tls_client_read(struct tls_client *client, void *out, size_t cap)
{
    int n = wolfSSL_read(client->ssl, out, (int)cap);
    if (n > 0)
        return n;
    return wants(client->ssl, n) ? 0 : SAGATE_EGONE;
}

bool tls_client_update_keys(struct tls_client *client)
{
    return wolfSSL_update_keys(client->ssl) == WOLFSSL_SUCCESS;
}

void tls_client_close(struct tls_client *client)
{
    (void)wolfSSL_shutdown(client->ssl);
}

int tls_client_alert(const struct tls_client *client)
{
    WOLFSSL_ALERT_HISTORY history = {{-1, -1}, {-1, -1}};
    (void)wolfSSL_get_alert_history(client->ssl, &history);
    return history.last_rx.code;
}

const char *tls_client_cipher(const struct tls_client *client)
{
    return wolfSSL_get_cipher_name(client->ssl);
}

void *tls_client_object(const struct tls_client *client)
{
    return client->ssl;
}
