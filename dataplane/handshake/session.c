// wolfSSL's input and output functions over memory. DTLS input is handed out one record at a time, since wolfSSL drops
// the rest of a datagram together with a bad record.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/handshake/session.h"

#include "common/error.h"
#include "common/secret.h"
#include "dataplane/record/dtls13.h"

#include <stdlib.h>
#include <string.h>

static void drop_input(struct session *session)
{
    free(session->in);
    session->in = NULL;
    session->in_at = session->in_len = session->in_cap = session->in_released = 0;
}

static int receive_record(struct session *session, char *buffer, size_t size)
{
    struct slice rest = slice_of(session->in + session->in_at, session->in_released - session->in_at);
    while (peek_dtls_record(&rest, session->cid_len, &session->last) == SAGATE_OK) {
        size_t len = session->last.whole.len;
        session->in_at += len;
        if (len > size)
            continue; // larger than the library reads: as if it had been lost
        memcpy(buffer, session->last.whole.data, len);
        return (int)len;
    }
    session->in_at = session->in_released;
    return WOLFSSL_CBIO_ERR_WANT_READ;
}

static int receive(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    (void)ssl;
    struct session *session = context;
    if (session->in_at == session->in_len)
        drop_input(session);
    size_t left = session->in_released - session->in_at;
    if (left == 0 || size <= 0)
        return WOLFSSL_CBIO_ERR_WANT_READ;
    if (session->dtls)
        return receive_record(session, buffer, (size_t)size);
    size_t n = left < (size_t)size ? left : (size_t)size;
    memcpy(buffer, session->in + session->in_at, n);
    session->in_at += n;
    return (int)n;
}

// DTLS 1.3: keeps a record that was sealed, in place of the oldest.
static void keep_sealed(struct session *session, uint8_t cid_len, struct slice record)
{
    if (record.len > sizeof session->sealed)
        return;
    while (session->sealed_len + record.len > sizeof session->sealed) {
        struct slice rest = slice_of(session->sealed, session->sealed_len);
        struct dtls13_record oldest;
        if (dtls13_next(cid_len, &rest, &oldest) != SAGATE_OK)
            rest.len = 0;
        memmove(session->sealed, rest.data, rest.len);
        session->sealed_len = rest.len;
    }
    memcpy(session->sealed + session->sealed_len, record.data, record.len);
    session->sealed_len += record.len;
}

static bool note_unified(struct session *session, struct slice datagram)
{
    struct dtls13_record record;
    unsigned int cid_len = 0;
    if (datagram.len == 0 || wolfSSL_GetVersion(session->ssl) != WOLFSSL_DTLSV1_3)
        return false;
    if (wolfSSL_dtls_cid_is_enabled(session->ssl) == 1)
        (void)wolfSSL_dtls_cid_get_tx_size(session->ssl, &cid_len);
    while (dtls13_next((uint8_t)cid_len, &datagram, &record) == SAGATE_OK) {
        if (record.clear)
            continue;
        bool traffic = record.epoch_bits == DTLS13_EPOCH_FIRST;
        session->traffic_sealed += traffic ? 1 : 0;
        if (traffic || record.whole.len <= SESSION_SEALED_HANDSHAKE)
            keep_sealed(session, (uint8_t)cid_len, record.whole);
    }
    return true;
}

// DTLS 1.2: the NewSessionTicket belongs to the last flight, which may have to be sent again.
static void note_ticket(struct session *session, struct slice body)
{
    struct peek_fragment fragment;
    const uint8_t *start = body.data;
    while (peek_dtls_fragment(&body, &fragment) == SAGATE_OK) {
        size_t len = (size_t)(body.data - start);
        if (fragment.type == PEEK_NEW_SESSION_TICKET) {
            bool fits = fragment.data.len == fragment.length && len <= SESSION_TICKET_MAX;
            uint8_t *kept = fits ? malloc(len) : NULL;
            free(session->ticket);
            session->ticket = kept;
            session->ticket_missed = kept == NULL;
            session->ticket_len = kept != NULL ? (uint16_t)len : 0;
            if (kept != NULL)
                memcpy(kept, start, len);
        }
        start = body.data;
    }
}

// Notes what is needed when the records change hands: how far the numbers in clear are, and what was sealed last.
static void note_sent(struct session *session, struct slice datagram)
{
    struct slice rest = datagram;
    struct peek_record record;
    while (rest.len > 0 && rest.data[0] <= PEEK_TYPE_APPLICATION && peek_dtls_record(&rest, 0, &record) == SAGATE_OK &&
           record.epoch == 0) {
        session->next_sequence = record.sequence + 1;
        if (record.type == PEEK_TYPE_HANDSHAKE)
            note_ticket(session, record.body);
        datagram = rest;
    }
    if (datagram.len == 0 || note_unified(session, datagram))
        return;
    session->sealed_len = datagram.len <= sizeof session->sealed ? datagram.len : 0;
    memcpy(session->sealed, datagram.data, session->sealed_len);
}

static void note_server_hello(struct session *session, struct slice sent)
{
    bool seen;
    bool taken = session->dtls ? peek_dtls_server_took_psk(sent, &seen) : peek_server_took_psk(sent, &seen);
    if (seen) {
        session->server_hello = true;
        session->psk_accepted = taken;
    }
}

// The same on a stream: its last encrypted handshake record is the Finished of TLS 1.2.
static void note_sent_stream(struct session *session, struct slice bytes)
{
    enum { HEADER = 5, HANDSHAKE = 22 };
    while (bytes.len > HEADER) {
        size_t len = HEADER + ((size_t)bytes.data[3] << 8 | bytes.data[4]);
        if (len > bytes.len)
            return;
        bool fits = bytes.data[0] == HANDSHAKE && len <= sizeof session->sealed;
        session->sealed_len = fits ? len : 0;
        memcpy(session->sealed, bytes.data, session->sealed_len);
        bytes = slice_of(bytes.data + len, bytes.len - len);
    }
}

static int send_datagram(struct session *session, const uint8_t *data, size_t len)
{
    note_sent(session, slice_of(data, len));
    session->sent = data[0];
    session->refused = session->sink.send(session->sink.context, data, len);
    if (session->refused == SAGATE_EGONE) {
        session->broken = true;
        return WOLFSSL_CBIO_ERR_CONN_CLOSE;
    }
    return (int)len; // a datagram that was not taken is one that was lost
}

static bool keep_pending(struct session *session, const uint8_t *data, size_t len)
{
    size_t need = session->out_len + len;
    if (need > session->pending_max)
        return false;
    if (need > session->out_cap) {
        size_t cap = need + 1024;
        uint8_t *grown = realloc(session->out, cap);
        if (grown == NULL)
            return false;
        session->out = grown;
        session->out_cap = cap;
    }
    memcpy(session->out + session->out_len, data, len);
    session->out_len = need;
    session->stopped = true;
    return true;
}

static int send_stream(struct session *session, const uint8_t *data, size_t len)
{
    int rc = session_flush(session);
    if (rc == SAGATE_OK) {
        rc = session->sink.send(session->sink.context, data, len);
        session->stopped = rc == SAGATE_AGAIN;
        if (rc == SAGATE_OK || rc == SAGATE_AGAIN)
            return (int)len;
    }
    if (rc == SAGATE_ELIMIT && keep_pending(session, data, len))
        return (int)len;
    session->broken = true;
    return WOLFSSL_CBIO_ERR_CONN_CLOSE;
}

// A fatal illegal_parameter in clear, in a record of its own.
static bool is_illegal_parameter(const struct session *session, struct slice bytes)
{
    size_t header = session->dtls ? PEEK_DTLS_HEADER : PEEK_DTLS_HEADER - 8; // without epoch and sequence number
    bool clear = !session->dtls || (bytes.len > 4 && bytes.data[3] == 0 && bytes.data[4] == 0);
    return bytes.len == header + 2 && bytes.data[0] == PEEK_TYPE_ALERT && clear && bytes.data[header] == 2 &&
           bytes.data[header + 1] == ALERT_ILLEGAL_PARAMETER;
}

static int transmit(WOLFSSL *ssl, char *buffer, int size, void *context)
{
    (void)ssl;
    struct session *session = context;
    const uint8_t *data = (const uint8_t *)buffer;
    if (session->broken || size <= 0)
        return WOLFSSL_CBIO_ERR_CONN_CLOSE;
    if (session->owner != NULL && !session->server_hello &&
        is_illegal_parameter(session, slice_of(data, (size_t)size))) {
        session->alert_held = true;
        return size;
    }
    // A datagram holds its ServerHello whole; that of a stream may be the second, after a HelloRetryRequest.
    if (session->owner != NULL && !(session->dtls && session->server_hello))
        note_server_hello(session, slice_of(data, (size_t)size));
    if (session->dtls)
        return send_datagram(session, data, (size_t)size);
    if (session->owner != NULL)
        note_sent_stream(session, slice_of(data, (size_t)size));
    return send_stream(session, data, (size_t)size);
}

static int note_secret(WOLFSSL *ssl, int id, const unsigned char *secret, int len, void *context)
{
    (void)ssl;
    struct session *session = context;
    if (len <= 0 || len > SESSION_SECRET_MAX)
        return 0;
    if (id == SERVER_HANDSHAKE_TRAFFIC_SECRET) {
        memcpy(session->handshake_secret, secret, (size_t)len);
        return 0;
    }
    if (id == CLIENT_TRAFFIC_SECRET)
        memcpy(session->client_secret, secret, (size_t)len);
    else if (id == SERVER_TRAFFIC_SECRET)
        memcpy(session->server_secret, secret, (size_t)len);
    else
        return 0;
    session->secret_len = (size_t)len;
    return 0;
}

void session_prepare(WOLFSSL_CTX *context)
{
    wolfSSL_CTX_SetIORecv(context, receive);
    wolfSSL_CTX_SetIOSend(context, transmit);
}

struct session *session_new(WOLFSSL_CTX *context, bool dtls, const struct handshake_sink *sink)
{
    struct session *session = calloc(1, sizeof *session);
    if (session == NULL)
        return NULL;
    session->sink = *sink;
    session->dtls = dtls;
    session->pending_max = SESSION_PENDING_MAX;
    session->ssl = wolfSSL_new(context);
    if (session->ssl == NULL) {
        free(session);
        return NULL;
    }
    wolfSSL_SetIOReadCtx(session->ssl, session);
    wolfSSL_SetIOWriteCtx(session->ssl, session);
    (void)wolfSSL_set_tls13_secret_cb(session->ssl, note_secret, session);
    if (dtls)
        wolfSSL_dtls_set_using_nonblock(session->ssl, 1);
    return session;
}

void session_free(struct session *session)
{
    if (session == NULL)
        return;
    wolfSSL_free(session->ssl);
    drop_input(session);
    free(session->out);
    free(session->ticket);
    secret_zero(session->client_secret, sizeof session->client_secret);
    secret_zero(session->server_secret, sizeof session->server_secret);
    secret_zero(session->handshake_secret, sizeof session->handshake_secret);
    free(session);
}

int session_input(struct session *session, struct slice bytes)
{
    if (bytes.len == 0)
        return SAGATE_OK;
    size_t left = session->in_len - session->in_at;
    if (left + bytes.len > SESSION_INPUT_MAX)
        return SAGATE_ELIMIT;
    if (left == 0)
        session->in_at = session->in_len = session->in_released = 0;
    if (session->in_len + bytes.len > session->in_cap) {
        uint8_t *grown = malloc(left + bytes.len);
        if (grown == NULL)
            return SAGATE_ENOMEM;
        if (left > 0)
            memcpy(grown, session->in + session->in_at, left);
        free(session->in);
        session->in = grown;
        session->in_cap = left + bytes.len;
        session->in_released -= session->in_at;
        session->in_at = 0;
        session->in_len = left;
    }
    memcpy(session->in + session->in_len, bytes.data, bytes.len);
    session->in_len += bytes.len;
    return SAGATE_OK;
}

int session_flush(struct session *session)
{
    if (session->out_len == 0)
        return SAGATE_OK;
    int rc = session->sink.send(session->sink.context, session->out, session->out_len);
    if (rc == SAGATE_ELIMIT)
        return SAGATE_ELIMIT;
    free(session->out);
    session->out = NULL;
    session->out_len = session->out_cap = 0;
    session->stopped = rc == SAGATE_AGAIN;
    if (rc == SAGATE_OK || rc == SAGATE_AGAIN)
        return SAGATE_OK;
    session->broken = true;
    return SAGATE_EGONE;
}

void session_alert_bare(const struct handshake_sink *sink, bool dtls, uint64_t sequence, uint8_t description)
{
    uint8_t record[PEEK_DTLS_HEADER + 2] = {PEEK_TYPE_ALERT};
    size_t at = 1;
    record[at++] = dtls ? 0xfe : 3;
    record[at++] = dtls ? 0xfd : 3;
    if (dtls) {
        at += 2; // epoch 0
        for (int shift = 40; shift >= 0; shift -= 8)
            record[at++] = (uint8_t)(sequence >> shift);
    }
    record[at++] = 0;
    record[at++] = 2;
    record[at++] = 2; // fatal
    record[at++] = description;
    (void)sink->send(sink->context, record, at);
}

void session_alert(struct session *session, uint8_t description)
{
    if (session->broken || session_flush(session) != SAGATE_OK)
        return;
    session_alert_bare(&session->sink, session->dtls, session->next_sequence, description);
}
