// Records of folded associations, and of those that stay on wolfSSL. There a datagram's records are opened one by one,
// so that each has its own verdict; wolfSSL's own check against replays stays on.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/record/record.h"

#include "common/error.h"
#include "dataplane/record/adopt.h"
#include "dataplane/record/fold.h"
#include "dataplane/record/place.h"
#include "dataplane/record/stream.h"

#include <wolfssl/error-ssl.h>

#include <stdlib.h>
#include <string.h>

enum {
    PLAINTEXT_DATAGRAM_MAX = 1400,
    // How often the last flight is sent again for a peer that repeats its own (RFC 6347 4.2.4), so that nobody can have
    // it sent without end.
    LAST_FLIGHT_MAX = 8,
};

// An association that stays on its WOLFSSL object.
struct held {
    struct session *session;
    size_t malformed; // datagrams whose end was no record, not yet told
    unsigned flights;
    bool opened; // application data has come: the last flight is not wanted any more
};

struct record {
    uint8_t kind; // enum record_kind
    bool ended;   // close_notify came, or the association broke
    bool closed;  // close_notify was sent
    int end_status;
    union {
        struct held held;
        struct fold fold;
        struct stream *stream;
    };
};
_Static_assert(sizeof(struct record) <= 160, "there is one for each association that is in use");

static bool is_datagram(const struct record *record)
{
    return record->kind == RECORD_DTLS12 || record->kind == RECORD_DTLS13;
}

struct record *record_adopt(struct session *session)
{
    struct record *record = calloc(1, sizeof *record);
    if (record == NULL)
        return NULL;
    session->owner = NULL;
    if (session->dtls && fold_take(&record->fold, session)) {
        record->kind = record->fold.kind;
        return record;
    }
    if (!session->dtls && (record->stream = stream_take(session)) != NULL) {
        record->kind = RECORD_STREAM;
        return record;
    }
    record->kind = RECORD_HELD;
    if (!session->dtls)
        session_release_all(session);
    record->held = (struct held){.session = session};
    return record;
}

struct record *record_resume(enum record_kind kind, const struct record_place *place, const struct handshake_sink *sink)
{
    struct record *record = calloc(1, sizeof *record);
    if (record == NULL)
        return NULL;
    record->kind = (uint8_t)kind;
    if (fold_resume(&record->fold, kind, place, sink))
        return record;
    free(record);
    return NULL;
}

void record_settle(struct record *record, const struct record_place *place)
{
    if (is_datagram(record))
        fold_settle(&record->fold, place);
}

enum record_kind record_kind(const struct record *record)
{
    return (enum record_kind)record->kind;
}

bool record_newest(const struct record *record)
{
    return is_datagram(record) && record->fold.newest;
}

struct slice record_cid(const struct record *record)
{
    return is_datagram(record) ? fold_cid(&record->fold) : (struct slice){0};
}

void record_free(struct record *record)
{
    if (record == NULL)
        return;
    if (record->kind == RECORD_STREAM)
        stream_free(record->stream);
    else if (is_datagram(record))
        fold_release(&record->fold);
    else
        session_free(record->held.session);
    free(record);
}

void record_set_sink(struct record *record, const struct handshake_sink *sink)
{
    if (record->kind == RECORD_STREAM)
        stream_set_sink(record->stream, sink);
    else if (is_datagram(record))
        record->fold.sink = *sink;
    else
        record->held.session->sink = *sink;
}

bool record_folded(const struct record *record)
{
    return record->kind != RECORD_HELD;
}

// What follows the end of a stream is ignored (RFC 5246 7.2.1, RFC 8446 6.1), and kept nowhere.
static bool is_beyond(const struct record *record)
{
    bool stream = record->kind == RECORD_STREAM || (record->kind == RECORD_HELD && !record->held.session->dtls);
    return record->ended && stream;
}

int record_input(struct record *record, const uint8_t *data, size_t len)
{
    if (is_beyond(record))
        return SAGATE_OK;
    if (record->kind == RECORD_STREAM)
        return stream_input(record->stream, slice_of(data, len));
    if (is_datagram(record)) {
        (void)fold_input(&record->fold, slice_of(data, len));
        return SAGATE_OK; // a datagram for which there is no room is one that was lost
    }
    struct session *session = record->held.session;
    if (!session->dtls) {
        int rc = session_input(session, slice_of(data, len));
        session_release_all(session);
        return rc;
    }
    // As long as each record fits its datagram; the rest of a malformed one is unusable.
    struct slice rest = slice_of(data, len);
    struct peek_record one;
    int rc = SAGATE_OK;
    while (rc == SAGATE_OK && peek_dtls_record(&rest, session->cid_len, &one) == SAGATE_OK)
        rc = session_input(session, one.whole);
    if (rest.len > 0 && rc == SAGATE_OK)
        record->held.malformed++;
    return SAGATE_OK;
}

int record_lend(struct record *record, const uint8_t *data, size_t len)
{
    if (record->kind == RECORD_HELD || is_beyond(record))
        return record_input(record, data, len);
    if (record->kind == RECORD_STREAM)
        stream_lend(record->stream, slice_of(data, len));
    else
        fold_lend(&record->fold, slice_of(data, len));
    return SAGATE_OK;
}

void record_ahead(struct record *record, const struct record_opening *opening)
{
    if (is_datagram(record))
        fold_ahead(&record->fold, opening);
}

unsigned record_to_kernel(struct record *record, const struct record_kernel *kernel)
{
    return record->kind == RECORD_STREAM && !record->ended ? stream_to_kernel(record->stream, kernel) : 0;
}

int record_keep(struct record *record)
{
    return record->kind == RECORD_STREAM ? stream_keep(record->stream) : SAGATE_OK;
}

static size_t end(struct record *record, int why, int *status)
{
    record->ended = true;
    record->end_status = why;
    *status = why;
    return 0;
}

static bool repeat_last_flight(struct record *record)
{
    WOLFSSL *ssl = record->held.session->ssl;
    if (record->held.opened)
        return false;
    if (record->held.flights < LAST_FLIGHT_MAX) {
        record->held.flights++;
        (void)wolfSSL_dtls_set_timeout_init(ssl, 1); // else the library counts these towards giving up
        (void)wolfSSL_dtls_got_timeout(ssl);
    }
    return true;
}

// What a record is that the library took without giving data or an error.
static int taken_quietly(struct record *record, const struct peek_record *one)
{
    if (one->type == PEEK_TYPE_HANDSHAKE && repeat_last_flight(record))
        return SAGATE_OK;
    return SAGATE_ERECORD; // dropped, or an empty one, which cannot be told apart
}

// The verdict on one record: SAGATE_DONE, SAGATE_ERECORD, SAGATE_EGONE, or SAGATE_OK with *len bytes; 0 bytes: it was
// no application data, look at the next.
static int open_one(struct record *record, const struct peek_record *one, uint8_t *out, size_t cap, size_t *len)
{
    struct session *session = record->held.session;
    size_t behind = session->in_at + one->whole.len;
    if (one->type != PEEK_TYPE_UNIFIED && one->epoch != 1) {
        session->in_at = session->in_released = behind;
        bool flight = one->epoch == 0 && !record->held.opened &&
                      (one->type == PEEK_TYPE_HANDSHAKE || one->type == PEEK_TYPE_CHANGE_CIPHER_SPEC);
        return flight ? SAGATE_OK : SAGATE_ERECORD;
    }
    session->in_released = behind;
    int n = wolfSSL_read(session->ssl, out, (int)cap);
    if (n > 0) {
        record->held.opened = true;
        *len = (size_t)n;
        return SAGATE_OK;
    }
    int error = wolfSSL_get_error(session->ssl, n);
    if (error == WOLFSSL_ERROR_WANT_READ || error == WOLFSSL_ERROR_WANT_WRITE)
        return taken_quietly(record, one);
    return error == WOLFSSL_ERROR_ZERO_RETURN || error == WC_NO_ERR_TRACE(ZERO_RETURN) ? SAGATE_DONE : SAGATE_EGONE;
}

static size_t open_datagrams(struct record *record, uint8_t *out, size_t cap, int *status)
{
    struct session *session = record->held.session;
    for (;;) {
        struct peek_record one;
        size_t len = 0;
        struct slice rest =
            slice_of(session->in == NULL ? out : session->in + session->in_at, session->in_len - session->in_at);
        int rc = peek_dtls_record(&rest, session->cid_len, &one);
        if (rc == SAGATE_OK)
            rc = open_one(record, &one, out, cap, &len);
        else if (record->held.malformed > 0)
            rc = (record->held.malformed--, SAGATE_ERECORD);
        else
            rc = SAGATE_AGAIN;
        if (rc == SAGATE_DONE || rc == SAGATE_EGONE)
            return end(record, rc, status);
        if (rc == SAGATE_OK && len == 0)
            continue;
        *status = rc;
        return len;
    }
}

static size_t open_stream(struct record *record, uint8_t *out, size_t cap, int *status)
{
    struct session *session = record->held.session;
    int n = wolfSSL_read(session->ssl, out, (int)cap);
    if (session->broken)
        return end(record, SAGATE_EGONE, status);
    if (n > 0) {
        *status = SAGATE_OK;
        return (size_t)n;
    }
    int error = wolfSSL_get_error(session->ssl, n);
    if (error == WOLFSSL_ERROR_WANT_READ || error == WOLFSSL_ERROR_WANT_WRITE) {
        *status = SAGATE_AGAIN;
        return 0;
    }
    bool notified = error == WOLFSSL_ERROR_ZERO_RETURN || error == WC_NO_ERR_TRACE(ZERO_RETURN);
    return end(record, notified ? SAGATE_DONE : SAGATE_EGONE, status);
}

int record_control(struct record *record, uint8_t type, const uint8_t *data, size_t len)
{
    int status = record->end_status;
    if (record->ended || record->kind != RECORD_STREAM)
        return record->ended ? status : SAGATE_EGONE;
    status = stream_control(record->stream, type, data, len);
    if (status != SAGATE_AGAIN)
        (void)end(record, status, &status);
    return status;
}

size_t record_open(struct record *record, uint8_t *out, size_t cap, int *status)
{
    if (record->ended) {
        *status = record->end_status;
        return 0;
    }
    if (cap > RECORD_PLAINTEXT_MAX)
        cap = RECORD_PLAINTEXT_MAX;
    if (record->kind != RECORD_HELD) {
        size_t len = record->kind == RECORD_STREAM ? stream_open(record->stream, out, cap, status)
                                                   : fold_open(&record->fold, out, cap, status);
        return *status == SAGATE_DONE || *status == SAGATE_EGONE ? end(record, *status, status) : len;
    }
    return record->held.session->dtls ? open_datagrams(record, out, cap, status)
                                      : open_stream(record, out, cap, status);
}

static int seal_datagram(struct session *session, const uint8_t *data, size_t len)
{
    if (len > PLAINTEXT_DATAGRAM_MAX)
        return SAGATE_ETOOBIG;
    if (len == 0)
        return SAGATE_OK;
    session->refused = SAGATE_OK;
    int n = wolfSSL_write(session->ssl, data, (int)len);
    if (n == (int)len)
        return session->refused == SAGATE_AGAIN || session->refused == SAGATE_ELIMIT ? session->refused : SAGATE_OK;
    return wolfSSL_get_error(session->ssl, n) == WC_NO_ERR_TRACE(DTLS_SIZE_ERROR) ? SAGATE_ETOOBIG : SAGATE_EGONE;
}

static int seal_stream(struct session *session, const uint8_t *data, size_t len)
{
    session->stopped = false;
    int rc = session_flush(session);
    if (rc != SAGATE_OK)
        return rc;
    if (len > 0) {
        if (len > INT32_MAX / 2)
            return SAGATE_ETOOBIG;
        session->pending_max = SESSION_PENDING_MAX + 2 * len;
        int n = wolfSSL_write(session->ssl, data, (int)len);
        session->pending_max = SESSION_PENDING_MAX;
        if (n != (int)len) {
            session->broken = true;
            return SAGATE_EGONE;
        }
    }
    return session->stopped ? SAGATE_AGAIN : SAGATE_OK;
}

static int seal_folded(struct record *record, const uint8_t *data, size_t len)
{
    int status;
    int rc = SAGATE_OK;
    if (record->kind == RECORD_STREAM)
        rc = stream_seal(record->stream, data, len);
    else if (len > 0)
        rc = fold_send(&record->fold, data, len);
    if (rc != SAGATE_EGONE && rc != SAGATE_EINTERNAL)
        return rc;
    (void)end(record, SAGATE_EGONE, &status);
    return SAGATE_EGONE;
}

int record_seal(struct record *record, const uint8_t *data, size_t len)
{
    bool broken = record->kind == RECORD_HELD && record->held.session->broken;
    if (record->closed || broken || (record->ended && record->end_status == SAGATE_EGONE))
        return SAGATE_EGONE;
    if (record->kind != RECORD_HELD)
        return seal_folded(record, data, len);
    struct session *session = record->held.session;
    return session->dtls ? seal_datagram(session, data, len) : seal_stream(session, data, len);
}

void record_close(struct record *record)
{
    bool broken =
        (is_datagram(record) && record->fold.fatal) || (record->kind == RECORD_HELD && record->held.session->broken);
    if (record->closed || broken)
        return;
    record->closed = true;
    if (record->kind == RECORD_STREAM)
        stream_close(record->stream);
    else if (is_datagram(record))
        fold_alert(&record->fold, 1, 0); // warning, close_notify
    else
        (void)wolfSSL_shutdown(record->held.session->ssl);
}

const char *record_protocol_name(enum record_kind kind)
{
    switch (kind) {
    case RECORD_DTLS12:
        return "DTLSv1.2";
    case RECORD_DTLS13:
        return "DTLSv1.3";
    default:
        return "";
    }
}

const char *record_suite_name(uint16_t suite)
{
    return wolfSSL_get_cipher_name_from_suite((unsigned char)(suite >> 8), (unsigned char)suite);
}

const char *record_protocol(const struct record *record)
{
    if (record->kind == RECORD_STREAM)
        return stream_protocol(record->stream);
    return is_datagram(record) ? record_protocol_name(record_kind(record))
                               : wolfSSL_get_version(record->held.session->ssl);
}

const char *record_cipher(const struct record *record)
{
    if (record->kind == RECORD_STREAM)
        return stream_cipher(record->stream);
    return is_datagram(record) ? record_suite_name(record->fold.place.flight->suite)
                               : wolfSSL_get_cipher_name(record->held.session->ssl);
}
