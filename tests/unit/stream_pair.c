// The pair: a handshake over memory, then the server side folded.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/stream_pair.h"

#include "common/error.h"
#include "tests/unit/tls_certificates.h"
#include "tests/unit/unit.h"

#include <string.h>

uint8_t pair_psk[16] = "0123456789abcde";
uint8_t pair_plain[RECORD_PLAINTEXT_MAX];
uint8_t pair_pattern[PAIR_LONG];
static uint8_t bytes[PAIR_SEALED];

const struct pair_suite pair_suites[PAIR_SUITES] = {
    {false, "PSK-AES128-GCM-SHA256", true},   {false, "PSK-AES128-CCM", true},
    {false, "PSK-AES128-CCM-8", true},        {false, "ECDHE-PSK-AES128-GCM-SHA256", true},
    {false, "PSK-AES256-GCM-SHA384", false},  {false, "PSK-CHACHA20-POLY1305", false},
    {true, "TLS13-AES128-GCM-SHA256", true},  {true, "TLS13-CHACHA20-POLY1305-SHA256", true},
    {true, "TLS13-AES128-CCM-SHA256", true},  {true, "TLS13-AES128-CCM-8-SHA256", true},
    {true, "TLS13-AES256-GCM-SHA384", false}, // not with a PSK
};

static int to_client(void *context, const uint8_t *data, size_t len)
{
    struct pair *pair = context;
    if (pair->sink_says == SAGATE_ELIMIT || pair->sink_says == SAGATE_EGONE)
        return pair->sink_says;
    tls_client_input(pair->client, data, len);
    pair->sent++;
    pair->last_len = len <= sizeof pair->last ? len : 0;
    memcpy(pair->last, data, pair->last_len);
    return pair->sink_says;
}

static unsigned int psk12(WOLFSSL *ssl, const char *identity, unsigned char *key, unsigned int max)
{
    (void)ssl;
    (void)identity;
    (void)max;
    memcpy(key, pair_psk, sizeof pair_psk);
    return sizeof pair_psk;
}

static unsigned int psk13(WOLFSSL *ssl, const char *identity, unsigned char *key, unsigned int max, const char **suite)
{
    const struct session *session = wolfSSL_GetIOReadCtx(ssl);
    const struct pair *pair = session->sink.context;
    *suite = pair->suite;
    return psk12(ssl, identity, key, max);
}

static int note_secret(WOLFSSL *ssl, int id, const unsigned char *secret, int len, void *context)
{
    struct pair *pair = context;
    (void)ssl;
    if (id == CLIENT_TRAFFIC_SECRET)
        memcpy(pair->client_secret, secret, (size_t)len);
    if (id == SERVER_TRAFFIC_SECRET)
        memcpy(pair->server_secret, secret, (size_t)len);
    pair->secret_len = (size_t)len;
    return 0;
}

static void take_client_keys(struct pair *pair)
{
    WOLFSSL *ssl = tls_client_object(pair->client);
    if (pair->tls13) {
        CU_ASSERT_EQUAL_FATAL(tls13_init(&pair->state13, pair->stream->tls13.aead, pair->server_secret,
                                         pair->client_secret, pair->secret_len),
                              SAGATE_OK);
        return;
    }
    const struct aead_properties *aead = aead_properties(pair->stream->tls12.aead);
    pair->tls12 = (struct tls12){.aead = pair->stream->tls12.aead, .next_in = 1, .next_out = 1};
    memcpy(pair->tls12.key_out, wolfSSL_GetClientWriteKey(ssl), aead->key);
    memcpy(pair->tls12.iv_out, wolfSSL_GetClientWriteIV(ssl), aead->iv);
    memcpy(pair->tls12.key_in, wolfSSL_GetServerWriteKey(ssl), aead->key);
    memcpy(pair->tls12.iv_in, wolfSSL_GetServerWriteIV(ssl), aead->iv);
}

static void shake_hands(struct pair *pair)
{
    struct slice chunk;
    int client = SAGATE_AGAIN;
    int server = 0;
    for (int round = 0; round < 8; round++) {
        if (client != SAGATE_DONE)
            client = tls_client_run(pair->client);
        while (tls_client_output(pair->client, &chunk))
            CU_ASSERT_EQUAL_FATAL(session_input(pair->session, chunk), SAGATE_OK);
        session_release_all(pair->session);
        if (server != WOLFSSL_SUCCESS)
            server = wolfSSL_accept(pair->session->ssl);
    }
    CU_ASSERT_EQUAL_FATAL(client, SAGATE_DONE);
    CU_ASSERT_EQUAL_FATAL(server, WOLFSSL_SUCCESS);
}

void pair_open(struct pair *pair, const struct pair_suite *suite)
{
    const struct tls_client_options options = {.tls13 = suite->tls13,
                                               .ciphers = suite->name,
                                               .psk_suite13 = suite->name,
                                               .identity = suite->offered || !suite->tls13 ? "dev" : NULL,
                                               .key = {pair_psk, sizeof pair_psk}};
    *pair = (struct pair){.suite = suite->name, .tls13 = suite->tls13};
    pair->client = tls_client_new(&options);
    pair->context = wolfSSL_CTX_new(wolfTLS_server_method());
    CU_ASSERT_PTR_NOT_NULL_FATAL(pair->client);
    CU_ASSERT_PTR_NOT_NULL_FATAL(pair->context);
    (void)wolfSSL_set_tls13_secret_cb(tls_client_object(pair->client), note_secret, pair);
    CU_ASSERT_EQUAL_FATAL(wolfSSL_CTX_set_cipher_list(pair->context, suite->name), WOLFSSL_SUCCESS);
    if (options.identity != NULL) {
        wolfSSL_CTX_set_psk_server_callback(pair->context, psk12);
        wolfSSL_CTX_set_psk_server_tls13_callback(pair->context, psk13);
    } else {
        (void)wolfSSL_CTX_use_certificate_chain_buffer(pair->context, (const uint8_t *)tls_certificate_one,
                                                       (long)strlen(tls_certificate_one));
        (void)wolfSSL_CTX_use_PrivateKey_buffer(pair->context, (const uint8_t *)tls_key_one, (long)strlen(tls_key_one),
                                                WOLFSSL_FILETYPE_PEM);
    }
    (void)wolfSSL_CTX_set_group_messages(pair->context);
    (void)wolfSSL_CTX_no_ticket_TLSv13(pair->context);
    session_prepare(pair->context);
    const struct handshake_sink sink = {.send = to_client, .context = pair};
    pair->session = session_new(pair->context, false, &sink);
    CU_ASSERT_PTR_NOT_NULL_FATAL(pair->session);
    pair->session->owner = pair;
    shake_hands(pair);
    pair->stream = stream_take(pair->session);
    CU_ASSERT_PTR_NOT_NULL_FATAL(pair->stream);
    take_client_keys(pair);
    pair->sent = 0;
}

void pair_close(struct pair *pair)
{
    stream_free(pair->stream);
    tls_client_free(pair->client);
    wolfSSL_CTX_free(pair->context);
}

// A record as the client would have sealed it.
size_t pair_craft(struct pair *pair, uint8_t type, const void *data, size_t len, uint8_t *out)
{
    size_t n = 0;
    int rc = pair->tls13 ? tls13_seal(&pair->state13, type, data, len, out, PAIR_SEALED, &n)
                         : tls12_seal(&pair->tls12, type, data, len, out, PAIR_SEALED, &n);
    CU_ASSERT_EQUAL_FATAL(rc, SAGATE_OK);
    return n;
}

int pair_open_next(struct pair *pair, size_t *len)
{
    int status = SAGATE_EINTERNAL;
    *len = stream_open(pair->stream, pair_plain, sizeof pair_plain, &status);
    return status;
}

int pair_give(struct pair *pair, const uint8_t *data, size_t len)
{
    size_t n;
    stream_lend(pair->stream, slice_of(data, len));
    int status = pair_open_next(pair, &n);
    (void)stream_keep(pair->stream);
    return status;
}

int pair_give_crafted(struct pair *pair, uint8_t type, const void *data, size_t len)
{
    return pair_give(pair, bytes, pair_craft(pair, type, data, len, bytes));
}

// Opens what the server sent last, one record, as the client would.
int pair_last_sent(struct pair *pair, uint8_t *type, uint8_t *content, size_t cap, size_t *len)
{
    struct tls_record record;
    struct slice rest = slice_of(pair->last, pair->last_len);
    size_t need;
    if (tls_next(&rest, TLS12_BODY_MAX, &record, &need) != SAGATE_OK)
        return SAGATE_ENOTFOUND;
    *type = record.type;
    return pair->tls13 ? tls13_open(&pair->state13, &record, content, cap, type, len)
                       : tls12_open(&pair->tls12, &record, content, cap, len);
}

bool pair_sent_alert(struct pair *pair, uint8_t level, uint8_t description)
{
    uint8_t type;
    uint8_t alert[64];
    size_t len;
    return pair_last_sent(pair, &type, alert, sizeof alert, &len) == SAGATE_OK && type == TLS_ALERT && len == 2 &&
           alert[0] == level && alert[1] == description;
}

bool pair_idle_is_small(const struct pair *pair)
{
    return pair->stream->in == NULL && pair->stream->out == NULL;
}

bool pair_echo(struct pair *pair, size_t len)
{
    static uint8_t got[PAIR_LONG];
    struct slice chunk;
    size_t have = 0;
    size_t n;
    if (tls_client_write(pair->client, pair_pattern, len) != SAGATE_OK)
        return false;
    while (tls_client_output(pair->client, &chunk)) {
        stream_lend(pair->stream, chunk);
        while (pair_open_next(pair, &n) == SAGATE_OK) {
            if (n > sizeof got - have)
                return false;
            memcpy(got + have, pair_plain, n);
            have += n;
        }
    }
    if (have != len || memcmp(got, pair_pattern, len) != 0 || stream_seal(pair->stream, got, len) != SAGATE_OK)
        return false;
    memset(got, 0, sizeof got);
    int read = 1;
    for (have = 0; have < len && read > 0; have += read > 0 ? (size_t)read : 0)
        read = tls_client_read(pair->client, got + have, sizeof got - have);
    return have == len && memcmp(got, pair_pattern, len) == 0 && pair_idle_is_small(pair);
}
