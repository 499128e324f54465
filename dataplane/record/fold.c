// What folded associations of all versions share: their place, the datagram in hand, and the room for what is sent.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/record/fold.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/secret.h"

#include <stdlib.h>
#include <string.h>

enum { INPUT_MAX = 64 * 1024 };

// Where the state lies until it is settled.
struct state {
    struct record_flight flight; // first: it leads back to the allocation
    union record_keys keys;
};

static size_t keys_size(enum record_kind kind)
{
    return kind == RECORD_DTLS12 ? sizeof(struct dtls12) : sizeof(struct dtls13);
}

bool fold_take_cids(WOLFSSL *ssl, struct fold_cids *cids)
{
    unsigned int in = 0;
    unsigned int out = 0;
    *cids = (struct fold_cids){0};
    if (wolfSSL_dtls_cid_is_enabled(ssl) != 1)
        return true;
    if (wolfSSL_dtls_cid_get_rx_size(ssl, &in) != WOLFSSL_SUCCESS ||
        wolfSSL_dtls_cid_get_tx_size(ssl, &out) != WOLFSSL_SUCCESS || in > sizeof cids->in || out > sizeof cids->out)
        return false;
    cids->in_len = (uint8_t)in;
    cids->out_len = (uint8_t)out;
    return (in == 0 || wolfSSL_dtls_cid_get_rx(ssl, cids->in, in) == WOLFSSL_SUCCESS) &&
           (out == 0 || wolfSSL_dtls_cid_get_tx(ssl, cids->out, out) == WOLFSSL_SUCCESS);
}

static bool take_state(struct fold *fold, const struct session *session)
{
    struct record_flight *flight = fold->place.flight;
    flight->since_s = (uint32_t)(clock_ms() / 1000);
    flight->suite = (uint16_t)wolfSSL_get_current_cipher_suite(session->ssl);
    flight->flights = FOLD_FLIGHTS_MAX;
    switch (wolfSSL_GetVersion(session->ssl)) {
    case WOLFSSL_DTLSV1_2:
        fold->kind = RECORD_DTLS12;
        return fold12_take(fold, session);
    case WOLFSSL_DTLSV1_3:
        fold->kind = RECORD_DTLS13;
        return fold13_take(fold, session);
    default:
        return false;
    }
}

bool fold_take(struct fold *fold, struct session *session)
{
    *fold = (struct fold){.sink = session->sink};
    if (!session->dtls || session->broken)
        return false;
    struct state *state = calloc(1, sizeof *state);
    if (state == NULL)
        return false;
    fold->place = (struct record_place){.flight = &state->flight, .keys = &state->keys};
    if (!take_state(fold, session) ||
        fold_input(fold, slice_of(session->in + session->in_at, session->in_len - session->in_at)) != SAGATE_OK) {
        fold_release(fold);
        return false;
    }
    fold->ticket = session->ticket;
    fold->ticket_len = session->ticket_len;
    session->ticket = NULL;
    session_free(session);
    return true;
}

bool fold_resume(struct fold *fold, enum record_kind kind, const struct record_place *place,
                 const struct handshake_sink *sink)
{
    *fold = (struct fold){.place = *place, .sink = *sink, .kind = (uint8_t)kind, .settled = true};
    switch (kind) {
    case RECORD_DTLS12:
        return fold12_is_sane(place);
    case RECORD_DTLS13:
        return fold13_is_sane(place);
    default:
        return false;
    }
}

static void free_state(struct fold *fold)
{
    if (fold->settled || fold->place.flight == NULL)
        return;
    struct state *state = (struct state *)(void *)fold->place.flight;
    secret_zero(state, sizeof *state);
    free(state);
}

void fold_settle(struct fold *fold, const struct record_place *place)
{
    *place->flight = *fold->place.flight;
    memcpy(place->keys, fold->place.keys, keys_size(fold->kind));
    free_state(fold);
    fold->place = *place;
    fold->settled = true;
}

static void drop_datagram(struct fold *fold)
{
    free(fold->own);
    fold->own = NULL;
    fold->datagram = NULL;
    fold->opening = NULL;
    fold->left = 0;
}

void fold_release(struct fold *fold)
{
    drop_datagram(fold);
    free(fold->ticket);
    free_state(fold);
    *fold = (struct fold){0};
}

int fold_input(struct fold *fold, struct slice datagram)
{
    if (fold->own == NULL)
        drop_datagram(fold);
    fold->newest = false;
    if (datagram.len == 0)
        return SAGATE_OK;
    if (fold->left + datagram.len > INPUT_MAX)
        return SAGATE_ELIMIT;
    uint8_t *own = malloc(fold->left + datagram.len);
    if (own == NULL)
        return SAGATE_ENOMEM;
    if (fold->left > 0)
        memcpy(own, fold->datagram, fold->left);
    memcpy(own + fold->left, datagram.data, datagram.len);
    uint32_t left = fold->left + (uint32_t)datagram.len;
    free(fold->own);
    fold->own = own;
    fold->datagram = own;
    fold->left = left;
    return SAGATE_OK;
}

void fold_lend(struct fold *fold, struct slice datagram)
{
    // What was copied came first.
    if (fold->own != NULL && fold->left > 0) {
        (void)fold_input(fold, datagram);
        return;
    }
    drop_datagram(fold);
    fold->newest = false;
    if (datagram.len <= INPUT_MAX) {
        fold->datagram = datagram.data;
        fold->left = (uint32_t)datagram.len;
    }
}

void fold_ahead(struct fold *fold, const struct record_opening *opening)
{
    if (fold->own == NULL && opening != NULL && opening->kind == fold->kind)
        fold->opening = opening;
}

bool fold_flight_is_kept(const struct fold *fold)
{
    const struct record_flight *flight = fold->place.flight;
    return flight->flights > 0 && (uint32_t)(clock_ms() / 1000) - flight->since_s < FOLD_FLIGHTS_SECONDS;
}

size_t fold_open(struct fold *fold, uint8_t *out, size_t cap, int *status)
{
    for (;;) {
        struct slice rest = slice_of(fold->datagram, fold->left);
        size_t len = 0;
        if (rest.len == 0) {
            drop_datagram(fold);
            *status = SAGATE_AGAIN;
            return 0;
        }
        int rc = fold->kind == RECORD_DTLS13 ? fold13_open(fold, &rest, out, cap, &len)
                                             : fold12_open(fold, &rest, out, cap, &len);
        fold->datagram = rest.data;
        fold->left = (uint32_t)rest.len;
        if (rc == SAGATE_AGAIN)
            continue;
        if (rc == SAGATE_DONE || rc == SAGATE_EGONE || rc == SAGATE_EMALFORMED)
            drop_datagram(fold);
        *status = rc == SAGATE_EMALFORMED ? SAGATE_ERECORD : rc;
        return len;
    }
}

struct record_sealing *fold_sealing(struct fold *fold, uint8_t type, uint8_t aead, size_t len)
{
    const struct record_together *together = fold->sink.together;
    return together != NULL && type == DTLS12_APPLICATION ? together->room(fold->sink.context, aead, len) : NULL;
}

void fold_flush(struct fold *fold)
{
    if (fold->sink.together != NULL)
        fold->sink.together->flush(fold->sink.context);
}

uint8_t *fold_room(struct fold *fold, uint8_t *buffer, size_t len)
{
    fold_flush(fold);
    return fold->sink.reserve != NULL ? fold->sink.reserve(fold->sink.context, len) : buffer;
}

int fold_commit(struct fold *fold, const uint8_t *buffer, const uint8_t *out, size_t len)
{
    const struct handshake_sink *sink = &fold->sink;
    return out == buffer ? sink->send(sink->context, out, len) : sink->commit(sink->context, len);
}

static int send_record(struct fold *fold, uint8_t type, const uint8_t *data, size_t len)
{
    return fold->kind == RECORD_DTLS13 ? fold13_send(fold, type, data, len) : fold12_send(fold, type, data, len);
}

int fold_send(struct fold *fold, const uint8_t *data, size_t len)
{
    return send_record(fold, DTLS12_APPLICATION, data, len);
}

void fold_alert(struct fold *fold, uint8_t level, uint8_t description)
{
    const uint8_t alert[] = {level, description};
    (void)send_record(fold, DTLS12_ALERT, alert, sizeof alert);
}

struct slice fold_cid(const struct fold *fold)
{
    if (fold->kind == RECORD_DTLS13)
        return dtls13_cid_in(fold->place.keys);
    const struct dtls12 *state = fold->place.keys;
    return slice_of(state->cid_in, state->cid_in_len);
}
