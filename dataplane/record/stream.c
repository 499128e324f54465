// Taking the keys out of a WOLFSSL object, and a stream's records: whole ones out of pieces, pieces that the sink
// refused, alerts and the few handshake messages that may still come.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/record/stream.h"

#include "common/error.h"
#include "common/secret.h"
#include "dataplane/io/io.h"
#include "dataplane/record/suite.h"

#include <stdlib.h>
#include <string.h>

enum {
    ALERT_RECORD_OVERFLOW = 22,
    ALERT_USER_CANCELED = 90,
    ALERT_NO_RENEGOTIATION = 100,
    ALERT_CLOSE_NOTIFY = 0,
    WARNING = 1, // alert levels
    FATAL = 2,
    CLIENT_HELLO = 1, // handshake message types
    FINISHED = 20,
    KEY_UPDATE = 24,
    MESSAGE_HEADER = 4,
    VERIFY_DATA = 12,
    HELLO_MAX = TLS_PLAINTEXT_MAX,
    // Between two records of data: what costs work and carries nothing.
    QUIET_MAX = 32, // empty records and warnings
    REFUSALS_MAX = 4,
    UPDATES_MAX = 16,
    KERNEL_TRIES_MAX = 16,
    KERNEL_MARGIN = 65536, // records that may be queued for the kernel and are not counted yet
    SEALED_MAX = TLS_PLAINTEXT_MAX + TLS12_OVERHEAD_MAX,
};
_Static_assert((int)TLS12_OVERHEAD_MAX >= (int)TLS13_OVERHEAD_MAX, "one buffer for both versions");

// Opens our own Finished, the only record that the library has sealed: it shows that keys and numbers are right.
static bool proves_right(const struct tls12 *state, const struct session *session)
{
    const struct aead_properties *aead = aead_properties(state->aead);
    struct tls12 peer = {.aead = state->aead};
    struct tls_record record;
    struct slice rest = slice_of(session->sealed, session->sealed_len);
    uint8_t message[SESSION_SEALED_MAX];
    size_t len = 0;
    size_t need;
    memcpy(peer.key_in, state->key_out, sizeof peer.key_in);
    memcpy(peer.iv_in, state->iv_out, sizeof peer.iv_in);
    bool opened = tls_next(&rest, TLS12_BODY_MAX, &record, &need) == SAGATE_OK && rest.len == 0 &&
                  record.type == TLS_HANDSHAKE &&
                  tls12_open(&peer, &record, message, sizeof message, &len) == SAGATE_OK;
    bool right = opened && len == MESSAGE_HEADER + VERIFY_DATA && message[0] == FINISHED && state->next_out == 1;
    secret_zero(&peer, sizeof peer);
    secret_zero(message, sizeof message);
    if (!right || aead->explicit_nonce == 0)
        return right;
    // The library's explicit nonces begin at a random value, ours are the sequence number: they must not meet.
    uint64_t nonce = tls_get(record.body.data, aead->explicit_nonce);
    return nonce < state->next_out || nonce - state->next_out > aead->seal_limit;
}

static bool take_tls12(struct tls12 *state, const struct session *session)
{
    WOLFSSL *ssl = session->ssl;
    const struct aead_properties *aead = aead_properties(suite_aead(ssl));
    const uint8_t *key_in = wolfSSL_GetClientWriteKey(ssl);
    const uint8_t *key_out = wolfSSL_GetServerWriteKey(ssl);
    const uint8_t *iv_in = wolfSSL_GetClientWriteIV(ssl);
    const uint8_t *iv_out = wolfSSL_GetServerWriteIV(ssl);
    word64 in = 0;
    word64 out = 0;
    if (aead->key == 0 || key_in == NULL || key_out == NULL || iv_in == NULL || iv_out == NULL)
        return false;
    (void)wolfSSL_GetPeerSequenceNumber(ssl, &in); // returns whether it is 0
    (void)wolfSSL_GetSequenceNumber(ssl, &out);
    *state = (struct tls12){.aead = (uint8_t)suite_aead(ssl), .next_in = in, .next_out = out};
    memcpy(state->key_in, key_in, aead->key);
    memcpy(state->key_out, key_out, aead->key);
    memcpy(state->iv_in, iv_in, aead->iv);
    memcpy(state->iv_out, iv_out, aead->iv);
    return in == 1 && proves_right(state, session);
}

static bool take_tls13(struct tls13 *state, const struct session *session)
{
    word64 in = 0;
    word64 out = 0; // tickets have gone already
    (void)wolfSSL_GetPeerSequenceNumber(session->ssl, &in);
    (void)wolfSSL_GetSequenceNumber(session->ssl, &out);
    if (tls13_init(state, suite_aead(session->ssl), session->client_secret, session->server_secret,
                   session->secret_len) != SAGATE_OK)
        return false;
    state->in.next = in;
    state->out.next = out;
    return in == 0;
}

static bool take_keys(struct stream *stream, const struct session *session)
{
    switch (wolfSSL_GetVersion(session->ssl)) {
    case WOLFSSL_TLSV1_2:
        return take_tls12(&stream->tls12, session);
    case WOLFSSL_TLSV1_3:
        stream->is_tls13 = true;
        return take_tls13(&stream->tls13, session);
    default:
        return false;
    }
}

struct stream *stream_take(struct session *session)
{
    if (session->dtls || session->broken || wolfSSL_pending(session->ssl) != 0)
        return NULL;
    struct stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL)
        return NULL;
    stream->sink = session->sink;
    stream->cipher = wolfSSL_get_cipher_name(session->ssl);
    if (!take_keys(stream, session) ||
        stream_input(stream, slice_of(session->in + session->in_at, session->in_len - session->in_at)) != SAGATE_OK) {
        stream_free(stream);
        return NULL;
    }
    stream->out = session->out;
    stream->out_len = (uint32_t)session->out_len;
    stream->out_cap = (uint32_t)session->out_cap;
    stream->stopped = session->stopped;
    session->out = NULL;
    session->out_len = 0;
    session_free(session);
    return stream;
}

static void drop_input(struct stream *stream)
{
    free(stream->in);
    stream->in = NULL;
    stream->in_at = stream->in_len = stream->in_cap = 0;
}

void stream_free(struct stream *stream)
{
    if (stream == NULL)
        return;
    drop_input(stream);
    free(stream->out);
    secret_zero(stream, sizeof *stream);
    free(stream);
}

void stream_set_sink(struct stream *stream, const struct handshake_sink *sink)
{
    stream->sink = *sink;
}

// Appends to what is ours, in room for `want` bytes at least.
static int append(struct stream *stream, struct slice bytes, size_t want)
{
    size_t left = stream->in_len - stream->in_at;
    if (bytes.len == 0)
        return SAGATE_OK;
    if (left + bytes.len > SESSION_INPUT_MAX)
        return SAGATE_ELIMIT;
    if (want < left + bytes.len)
        want = left + bytes.len;
    if (stream->in_at + want > stream->in_cap) {
        uint8_t *grown = malloc(want);
        if (grown == NULL)
            return SAGATE_ENOMEM;
        if (left > 0)
            memcpy(grown, stream->in + stream->in_at, left);
        free(stream->in);
        stream->in = grown;
        stream->in_cap = (uint32_t)want;
        stream->in_at = 0;
        stream->in_len = (uint32_t)left;
    }
    memcpy(stream->in + stream->in_len, bytes.data, bytes.len);
    stream->in_len += (uint32_t)bytes.len;
    return SAGATE_OK;
}

int stream_keep(struct stream *stream)
{
    struct slice bytes = slice_of(stream->lent, stream->lent_len);
    stream->lent = NULL;
    stream->lent_len = 0;
    return append(stream, bytes, 0);
}

int stream_input(struct stream *stream, struct slice bytes)
{
    int rc = stream_keep(stream);
    return rc == SAGATE_OK ? append(stream, bytes, 0) : rc;
}

void stream_lend(struct stream *stream, struct slice bytes)
{
    stream->lent = bytes.data;
    stream->lent_len = (uint32_t)bytes.len;
}

// The next whole record, as tls_next; of what is borrowed only the rest of a record that began earlier is copied.
static int next_record(struct stream *stream, struct tls_record *record)
{
    size_t max = stream->is_tls13 ? (size_t)TLS13_BODY_MAX : (size_t)TLS12_BODY_MAX;
    size_t need;
    if (stream->in_at == stream->in_len) {
        drop_input(stream);
        struct slice rest = slice_of(stream->lent, stream->lent_len);
        int rc = tls_next(&rest, max, record, &need);
        stream->lent = rest.data;
        stream->lent_len = (uint32_t)rest.len;
        if (rc != SAGATE_AGAIN)
            return rc;
        rc = append(stream, rest, need);
        stream->lent_len = 0;
        return rc == SAGATE_OK ? SAGATE_AGAIN : rc;
    }
    for (;;) {
        struct slice rest = slice_of(stream->in + stream->in_at, stream->in_len - stream->in_at);
        size_t have = rest.len;
        int rc = tls_next(&rest, max, record, &need);
        stream->in_at += (uint32_t)(have - rest.len);
        if (rc != SAGATE_AGAIN || stream->lent_len == 0)
            return rc;
        size_t more = need - have < stream->lent_len ? need - have : stream->lent_len;
        rc = append(stream, slice_of(stream->lent, more), need);
        if (rc != SAGATE_OK)
            return rc;
        stream->lent += more;
        stream->lent_len -= (uint32_t)more;
    }
}

static int keep_pending(struct stream *stream, const uint8_t *data, size_t len)
{
    size_t need = stream->out_len + len;
    if ((need > SESSION_PENDING_MAX && !stream->whole) || need > UINT32_MAX / 2)
        return SAGATE_EGONE;
    if (stream->out == NULL || need > stream->out_cap) {
        size_t cap = need + need / 2;
        uint8_t *grown = realloc(stream->out, cap);
        if (grown == NULL)
            return SAGATE_EGONE;
        stream->out = grown;
        stream->out_cap = (uint32_t)cap;
    }
    memcpy(stream->out + stream->out_len, data, len);
    stream->out_len = (uint32_t)need;
    stream->stopped = true;
    return SAGATE_OK;
}

// Offers what is pending to the sink: SAGATE_OK (nothing is left), SAGATE_ELIMIT, SAGATE_EGONE.
static int flush(struct stream *stream)
{
    if (stream->out_len == 0)
        return SAGATE_OK;
    int rc = stream->sink.send(stream->sink.context, stream->out, stream->out_len);
    if (rc == SAGATE_ELIMIT)
        return SAGATE_ELIMIT;
    free(stream->out);
    stream->out = NULL;
    stream->out_len = stream->out_cap = 0;
    stream->stopped = rc == SAGATE_AGAIN;
    if (rc == SAGATE_OK || rc == SAGATE_AGAIN)
        return SAGATE_OK;
    stream->dead = true;
    return SAGATE_EGONE;
}

static int give(struct stream *stream, const uint8_t *record, size_t len)
{
    int rc = flush(stream);
    if (rc == SAGATE_OK) {
        rc = stream->sink.send(stream->sink.context, record, len);
        stream->stopped = rc == SAGATE_AGAIN;
    }
    if (rc == SAGATE_ELIMIT)
        rc = keep_pending(stream, record, len);
    if (rc == SAGATE_OK || rc == SAGATE_AGAIN)
        return SAGATE_OK;
    stream->dead = true;
    return SAGATE_EGONE;
}

// A record of another type than data. Behind data that the sink has refused there is no place for it: SAGATE_AGAIN.
static int send_by_kernel(struct stream *stream, uint8_t type, const uint8_t *data, size_t len)
{
    int rc = flush(stream);
    if (rc == SAGATE_ELIMIT)
        return SAGATE_AGAIN;
    if (rc == SAGATE_OK)
        rc = stream->kernel->send(stream->sink.context, type, data, len);
    if (rc == SAGATE_OK || rc == SAGATE_AGAIN)
        return SAGATE_OK;
    return rc == SAGATE_ELIMIT ? SAGATE_AGAIN : SAGATE_EGONE;
}

// Seals one record and gives it to the sink, or keeps it: SAGATE_OK, SAGATE_EGONE (also at the key's limit),
// SAGATE_EINTERNAL.
static int send_record(struct stream *stream, uint8_t type, const uint8_t *data, size_t len)
{
    if (stream->kernel_out)
        return type == TLS_APPLICATION ? give(stream, data, len) : send_by_kernel(stream, type, data, len);
    uint8_t sealed[SEALED_MAX];
    size_t made;
    int rc = stream->is_tls13 ? tls13_seal(&stream->tls13, type, data, len, sealed, sizeof sealed, &made)
                              : tls12_seal(&stream->tls12, type, data, len, sealed, sizeof sealed, &made);
    return rc == SAGATE_OK ? give(stream, sealed, made) : rc;
}

static void send_alert(struct stream *stream, uint8_t level, uint8_t description)
{
    const uint8_t alert[] = {level, description};
    if (!stream->dead)
        (void)send_record(stream, TLS_ALERT, alert, sizeof alert);
}

static int fail(struct stream *stream, uint8_t description)
{
    send_alert(stream, FATAL, description);
    stream->dead = true;
    return SAGATE_EGONE;
}

// The end in order, where the peer did nothing wrong.
static int leave(struct stream *stream)
{
    stream_close(stream);
    stream->dead = true;
    return SAGATE_EGONE;
}

// Keys of one direction, as they are now, to the kernel: results of io_stream_kernel_tls.
static int kernel_keys(struct stream *stream, bool out)
{
    static const enum ktls_cipher ciphers[AEAD_COUNT] = {[AEAD_AES_128_GCM] = KTLS_AES_128_GCM,
                                                         [AEAD_AES_256_GCM] = KTLS_AES_256_GCM,
                                                         [AEAD_AES_128_CCM] = KTLS_AES_128_CCM,
                                                         [AEAD_CHACHA20_POLY1305] = KTLS_CHACHA20_POLY1305};
    enum aead aead = stream->is_tls13 ? stream->tls13.aead : stream->tls12.aead;
    const struct ktls_support *support = stream->kernel->support;
    enum ktls_cipher cipher = ciphers[aead];
    bool supported = (out ? support->out : support->in)[stream->is_tls13][cipher];
    struct ktls_keys keys;
    if (aead == AEAD_AES_128_CCM_8 || !supported)
        return SAGATE_EUNSUPPORTED;
    if (stream->is_tls13) {
        const struct tls13_half *half = out ? &stream->tls13.out : &stream->tls13.in;
        ktls_make(true, cipher, half->key, half->iv, half->next, &keys);
    } else {
        const struct tls12 *state = &stream->tls12;
        ktls_make(false, cipher, out ? state->key_out : state->key_in, out ? state->iv_out : state->iv_in,
                  out ? state->next_out : state->next_in, &keys);
    }
    int rc = stream->kernel->keys(stream->sink.context, out, &keys);
    secret_zero(&keys, sizeof keys);
    return rc;
}

// RFC 8446 4.6.3: the message goes under the old key, what follows under the next.
static int send_key_update(struct stream *stream)
{
    static const uint8_t message[] = {KEY_UPDATE, 0, 0, 1, 0}; // update_not_requested
    if (stream->kernel_out && !stream->kernel->support->rekey)
        return SAGATE_EUNSUPPORTED;
    int rc = send_record(stream, TLS_HANDSHAKE, message, sizeof message);
    stream->update_owed = rc == SAGATE_AGAIN;
    if (rc == SAGATE_AGAIN)
        return SAGATE_OK;
    if (rc == SAGATE_OK)
        rc = tls13_update(&stream->tls13, &stream->tls13.out);
    return rc == SAGATE_OK && stream->kernel_out ? kernel_keys(stream, true) : rc;
}

// Near the limit of the key in use: the next key, or SAGATE_EGONE where there is none.
static int mind_limit(struct stream *stream)
{
    enum aead aead = stream->is_tls13 ? stream->tls13.aead : stream->tls12.aead;
    uint64_t used = stream->is_tls13 ? stream->tls13.out.next : stream->tls12.next_out;
    bool due = stream->is_tls13 && tls13_is_due(&stream->tls13);
    if (stream->kernel_out)
        due = used + stream->kernel->records(stream->sink.context) + KERNEL_MARGIN >= aead_properties(aead)->seal_limit;
    if (!due && !stream->update_owed)
        return SAGATE_OK;
    return stream->is_tls13 && send_key_update(stream) == SAGATE_OK ? SAGATE_OK : SAGATE_EGONE;
}

static uint8_t alert_of(int error)
{
    switch (error) {
    case SAGATE_ERECORD:
        return ALERT_BAD_RECORD_MAC;
    case SAGATE_ETOOBIG:
        return ALERT_RECORD_OVERFLOW;
    case SAGATE_EMALFORMED:
        return ALERT_UNEXPECTED_MESSAGE;
    case SAGATE_EVERSION:
        return ALERT_PROTOCOL_VERSION;
    default:
        return ALERT_INTERNAL_ERROR;
    }
}

// The following judge what a record held: SAGATE_AGAIN (look at the next), SAGATE_DONE, SAGATE_EGONE.

static int quiet(struct stream *stream)
{
    return ++stream->quiet > QUIET_MAX ? fail(stream, ALERT_UNEXPECTED_MESSAGE) : SAGATE_AGAIN;
}

static int judge_alert(struct stream *stream, const uint8_t *alert, size_t len)
{
    if (len != 2 || (alert[0] != WARNING && alert[0] != FATAL && !stream->is_tls13))
        return fail(stream, ALERT_DECODE_ERROR);
    if (alert[1] == ALERT_CLOSE_NOTIFY)
        return SAGATE_DONE;
    // In TLS 1.3 the level says nothing (RFC 8446 6).
    if (stream->is_tls13 ? alert[1] == ALERT_USER_CANCELED : alert[0] == WARNING)
        return quiet(stream);
    stream->dead = true;
    return SAGATE_EGONE;
}

// Renegotiation is refused with a warning, and it is the client's choice to go on (RFC 5246 7.2.2).
static int judge_message12(struct stream *stream, const uint8_t *data, size_t len)
{
    if (len == 0)
        return quiet(stream);
    while (len > 0) {
        if (stream->skip > 0) {
            size_t n = len < stream->skip ? len : stream->skip;
            stream->skip -= (uint32_t)n;
            data += n;
            len -= n;
            continue;
        }
        if (len < MESSAGE_HEADER || data[0] != CLIENT_HELLO || tls_get(data + 1, 3) > HELLO_MAX ||
            stream->refusals == REFUSALS_MAX)
            return fail(stream, ALERT_UNEXPECTED_MESSAGE);
        stream->refusals++;
        stream->skip = (uint32_t)tls_get(data + 1, 3) + MESSAGE_HEADER;
        send_alert(stream, WARNING, ALERT_NO_RENEGOTIATION);
    }
    return stream->dead ? SAGATE_EGONE : SAGATE_AGAIN;
}

// SAGATE_EUNSUPPORTED: the kernel has the old keys, and takes no others.
static int follow_key_update(struct stream *stream, bool answer)
{
    if (stream->kernel_in && !stream->kernel->support->rekey)
        return SAGATE_EUNSUPPORTED;
    int rc = tls13_update(&stream->tls13, &stream->tls13.in);
    if (rc == SAGATE_OK && stream->kernel_in)
        rc = kernel_keys(stream, false);
    return rc == SAGATE_OK && answer ? send_key_update(stream) : rc;
}

// Nothing but KeyUpdate belongs here: without post-handshake authentication a client has nothing else to say. It may
// come in pieces, but must end its record (RFC 8446 5.1).
static int judge_message13(struct stream *stream, const uint8_t *data, size_t len)
{
    static const uint8_t expected[MESSAGE_HEADER] = {KEY_UPDATE, 0, 0, 1};
    size_t at = 0;
    while (at < len && stream->key_update_at < MESSAGE_HEADER && data[at] == expected[stream->key_update_at]) {
        stream->key_update_at++;
        at++;
    }
    if (len == 0 || (at < len && stream->key_update_at < MESSAGE_HEADER))
        return fail(stream, ALERT_UNEXPECTED_MESSAGE);
    if (at == len)
        return SAGATE_AGAIN;
    stream->key_update_at = 0;
    if (at + 1 != len || ++stream->updates > UPDATES_MAX)
        return fail(stream, ALERT_UNEXPECTED_MESSAGE);
    if (data[at] > 1)
        return fail(stream, ALERT_ILLEGAL_PARAMETER);
    int rc = follow_key_update(stream, data[at] == 1);
    if (rc == SAGATE_EUNSUPPORTED)
        return leave(stream);
    return rc == SAGATE_OK ? SAGATE_AGAIN : fail(stream, ALERT_INTERNAL_ERROR);
}

static int judge(struct stream *stream, uint8_t type, const uint8_t *data, size_t *len)
{
    size_t n = *len;
    if (type == TLS_APPLICATION && stream->key_update_at == 0) {
        if (n == 0)
            return quiet(stream) == SAGATE_AGAIN ? SAGATE_OK : SAGATE_EGONE;
        stream->quiet = stream->refusals = stream->updates = 0;
        return SAGATE_OK;
    }
    *len = 0;
    if (type == TLS_HANDSHAKE)
        return stream->is_tls13 ? judge_message13(stream, data, n) : judge_message12(stream, data, n);
    if (type == TLS_ALERT && stream->key_update_at == 0)
        return judge_alert(stream, data, n);
    return fail(stream, ALERT_UNEXPECTED_MESSAGE);
}

static int open13(struct stream *stream, const struct tls_record *record, uint8_t *out, size_t cap, uint8_t *type,
                  size_t *len)
{
    uint8_t wide[TLS13_INNER_MAX]; // content, type and padding need a byte more than the content may have
    size_t tag = aead_properties(stream->tls13.aead)->tag;
    if (record->body.len <= cap + tag || record->body.len > sizeof wide + tag)
        return tls13_open(&stream->tls13, record, out, cap, type, len);
    int rc = tls13_open(&stream->tls13, record, wide, sizeof wide, type, len);
    if (rc == SAGATE_OK && *len > cap)
        rc = SAGATE_ETOOBIG;
    if (rc == SAGATE_OK)
        memcpy(out, wide, *len);
    return rc;
}

unsigned stream_to_kernel(struct stream *stream, const struct record_kernel *kernel)
{
    unsigned done = 0;
    if (stream->dead || stream->kernel_tries == KERNEL_TRIES_MAX || (stream->kernel_out && stream->kernel_in))
        return 0;
    stream->kernel = kernel;
    stream->kernel_tries++;
    if (!stream->kernel_out && stream->out_len == 0 && kernel_keys(stream, true) == SAGATE_OK) {
        stream->kernel_out = true;
        done |= RECORD_KERNEL_OUT;
    }
    bool between = stream->in_at == stream->in_len && stream->lent_len == 0 && stream->key_update_at == 0;
    if (!stream->kernel_in && between && kernel_keys(stream, false) == SAGATE_OK) {
        stream->kernel_in = true;
        done |= RECORD_KERNEL_IN;
    }
    return done;
}

int stream_control(struct stream *stream, uint8_t type, const uint8_t *data, size_t len)
{
    if (stream->dead || !stream->kernel_in || stream->in_at != stream->in_len || stream->lent_len > 0)
        return SAGATE_EGONE;
    if (type == IO_RECORD_FORGED || type == IO_RECORD_TOO_LONG)
        return fail(stream, type == IO_RECORD_FORGED ? ALERT_BAD_RECORD_MAC : ALERT_RECORD_OVERFLOW);
    if (type == TLS_APPLICATION)
        return SAGATE_AGAIN;
    int rc = judge(stream, type, data, &len);
    // A kernel that takes new keys gives nothing more before it has them, so that the rest of a KeyUpdate that comes in
    // pieces would never be seen.
    bool stuck = rc == SAGATE_AGAIN && stream->key_update_at > 0 && stream->kernel->support->rekey;
    return stuck ? leave(stream) : rc;
}

// The kernel opens: what was handed over is data.
static size_t take_plain(struct stream *stream, uint8_t *out, size_t cap, int *status)
{
    bool own = stream->in_at < stream->in_len;
    size_t have = own ? stream->in_len - stream->in_at : stream->lent_len;
    size_t n = have < cap ? have : cap;
    *status = n > 0 ? SAGATE_OK : SAGATE_AGAIN;
    if (n == 0) {
        drop_input(stream);
        return 0;
    }
    memcpy(out, own ? stream->in + stream->in_at : stream->lent, n);
    if (own) {
        stream->in_at += (uint32_t)n;
    } else {
        stream->lent += n;
        stream->lent_len -= (uint32_t)n;
    }
    stream->quiet = stream->refusals = stream->updates = 0;
    return n;
}

size_t stream_open(struct stream *stream, uint8_t *out, size_t cap, int *status)
{
    struct tls_record record;
    size_t len = 0;
    if (stream->kernel_in && !stream->dead)
        return take_plain(stream, out, cap, status);
    int rc = stream->dead ? SAGATE_EGONE : SAGATE_AGAIN;
    while (rc == SAGATE_AGAIN) {
        rc = next_record(stream, &record);
        if (rc == SAGATE_AGAIN)
            break;
        uint8_t type = record.type;
        if (rc == SAGATE_OK)
            rc = stream->is_tls13 ? open13(stream, &record, out, cap, &type, &len)
                                  : tls12_open(&stream->tls12, &record, out, cap, &len);
        rc = rc == SAGATE_OK ? judge(stream, type, out, &len) : fail(stream, alert_of(rc));
    }
    if (rc == SAGATE_DONE || rc == SAGATE_EGONE) {
        drop_input(stream);
        stream->lent_len = 0;
    }
    *status = rc;
    return rc == SAGATE_OK ? len : 0;
}

int stream_seal(struct stream *stream, const uint8_t *data, size_t len)
{
    if (stream->dead)
        return SAGATE_EGONE;
    if (len > INT32_MAX / 2)
        return SAGATE_ETOOBIG;
    stream->stopped = false;
    int rc = flush(stream);
    stream->whole = true;
    for (size_t at = 0; rc == SAGATE_OK && at < len;) {
        size_t n = len - at < TLS_PLAINTEXT_MAX ? len - at : TLS_PLAINTEXT_MAX;
        rc = mind_limit(stream);
        if (rc == SAGATE_OK)
            rc = send_record(stream, TLS_APPLICATION, data + at, n);
        if (rc != SAGATE_OK)
            rc = SAGATE_EGONE;
        at += n;
    }
    stream->whole = false;
    if (rc != SAGATE_OK)
        return rc;
    return stream->stopped ? SAGATE_AGAIN : SAGATE_OK;
}

void stream_close(struct stream *stream)
{
    send_alert(stream, WARNING, ALERT_CLOSE_NOTIFY);
}

const char *stream_protocol(const struct stream *stream)
{
    return stream->is_tls13 ? "TLSv1.3" : "TLSv1.2";
}

const char *stream_cipher(const struct stream *stream)
{
    return stream->cipher;
}
