// Taking the keys of DTLS 1.2 out of a WOLFSSL object, and what the peer may still say about the handshake once it is
// gone.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/clock.h"
#include "common/error.h"
#include "common/secret.h"
#include "dataplane/record/fold.h"
#include "dataplane/record/suite.h"

#include <string.h>

enum {
    REFUSALS_MAX = 4, // warnings against renegotiation between two records of data
    FINISHED = 20,    // handshake message types
    CLIENT_HELLO = 1,
    VERIFY_DATA = 12,
    MESSAGE_HEADER = 12,
    FINISHED_LEN = MESSAGE_HEADER + VERIFY_DATA,
    CLEAR_MAX = UINT16_MAX - 2 * FOLD_FLIGHTS_MAX, // numbers of epoch 0 that a session may have used
};

static bool take_keys(struct dtls12 *state, WOLFSSL *ssl)
{
    const struct aead_properties *aead = aead_properties(suite_aead(ssl));
    const uint8_t *key_in = wolfSSL_GetClientWriteKey(ssl);
    const uint8_t *key_out = wolfSSL_GetServerWriteKey(ssl);
    const uint8_t *iv_in = wolfSSL_GetClientWriteIV(ssl);
    const uint8_t *iv_out = wolfSSL_GetServerWriteIV(ssl);
    if (aead->key == 0 || key_in == NULL || key_out == NULL || iv_in == NULL || iv_out == NULL)
        return false;
    state->aead = (uint8_t)suite_aead(ssl);
    memcpy(state->key_in, key_in, aead->key);
    memcpy(state->key_out, key_out, aead->key);
    memcpy(state->iv_in, iv_in, aead->iv);
    memcpy(state->iv_out, iv_out, aead->iv);
    struct fold_cids cids;
    if (!fold_take_cids(ssl, &cids))
        return false;
    state->cid_in_len = cids.in_len;
    state->cid_out_len = cids.out_len;
    memcpy(state->cid_in, cids.in, sizeof state->cid_in);
    memcpy(state->cid_out, cids.out, sizeof state->cid_out);
    return true;
}

// The peer's view of a state, to open what we have sealed.
static void mirror(struct dtls12 *peer, const struct dtls12 *state)
{
    *peer = (struct dtls12){.next_out = state->next_out, .aead = state->aead, .cid_in_len = state->cid_out_len};
    memcpy(peer->key_in, state->key_out, sizeof peer->key_in);
    memcpy(peer->iv_in, state->iv_out, sizeof peer->iv_in);
    memcpy(peer->cid_in, state->cid_out, sizeof peer->cid_in);
}

// Opens our own Finished, the only record that the library has sealed in epoch 1. It shows that keys and numbers are
// right, and leaves what is needed to repeat it.
static bool take_finished(struct record_place *place, const struct session *session)
{
    struct dtls12 *state = place->keys;
    struct dtls12 peer;
    struct dtls12_record record;
    struct slice rest = slice_of(session->sealed, session->sealed_len);
    uint8_t message[FINISHED_LEN + 1 + AEAD_TAG_MAX];
    size_t len = 0;
    state->next_out = 1ULL << 48;
    mirror(&peer, state);
    bool opened = dtls12_next(&peer, &rest, &record) == SAGATE_OK && rest.len == 0 &&
                  dtls12_open(&peer, &record, message, sizeof message, &len, NULL) == DTLS12_MESSAGE;
    secret_zero(&peer, sizeof peer);
    if (!opened || len != FINISHED_LEN || message[0] != FINISHED)
        return false;
    state->next_out += record.sequence + 1;
    // The library's explicit nonces begin at a random value, ours are epoch and sequence number: they must not meet.
    const struct aead_properties *aead = aead_properties(state->aead);
    if (aead->explicit_nonce > 0) {
        uint64_t nonce = 0;
        for (size_t i = 0; i < aead->explicit_nonce; i++)
            nonce = nonce << 8 | record.body.data[i];
        if (nonce >= state->next_out && nonce - state->next_out <= aead->seal_limit)
            return false;
    }
    struct record_flight *flight = place->flight;
    flight->rest.finished.message_seq = (uint16_t)(message[4] << 8 | message[5]);
    memcpy(flight->rest.finished.verify_data, message + MESSAGE_HEADER, VERIFY_DATA);
    secret_zero(message, sizeof message);
    return true;
}

// The peer has our Finished.
static void flight_arrived(struct record_flight *flight)
{
    flight->flights = 0;
    secret_zero(flight->rest.finished.verify_data, sizeof flight->rest.finished.verify_data);
}

bool fold12_take(struct fold *fold, const struct session *session)
{
    // The window starts empty: all that the peer has sealed before is its Finished, which may do no harm twice.
    struct record_flight *flight = fold->place.flight;
    if (session->next_sequence > CLEAR_MAX || session->ticket_missed || !take_keys(fold->place.keys, session->ssl) ||
        !take_finished(&fold->place, session))
        return false;
    flight->rest.finished.clear_next = (uint16_t)session->next_sequence;
    // In an abbreviated handshake the last flight is the peer's (RFC 5246 7.3): who has sent it has had ours.
    if (wolfSSL_session_reused(session->ssl) == 1)
        flight_arrived(flight);
    return true;
}

bool fold12_is_sane(const struct record_place *place)
{
    const struct dtls12 *state = place->keys;
    return aead_properties(state->aead)->key > 0 && state->cid_in_len <= DTLS12_CID_MAX &&
           state->cid_out_len <= DTLS12_CID_MAX && state->next_out >> 48 == 1 && state->newest >> 48 == 0 &&
           place->flight->flights <= FOLD_FLIGHTS_MAX && place->flight->refusals <= REFUSALS_MAX;
}

// A record in clear, with the next number: returns its length.
static size_t put_clear(struct record_flight *flight, uint8_t type, const uint8_t *data, size_t len, uint8_t *out)
{
    uint16_t number = flight->rest.finished.clear_next++;
    const uint8_t header[DTLS12_HEADER] = {
        type, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, (uint8_t)(number >> 8), (uint8_t)number, (uint8_t)(len >> 8), (uint8_t)len};
    memcpy(out, header, sizeof header);
    memcpy(out + sizeof header, data, len);
    return sizeof header + len;
}

// NewSessionTicket, where there was one, ChangeCipherSpec and Finished again. A repeated message keeps its message_seq;
// each record has a new sequence number (RFC 6347 4.2.2, 4.2.4).
static int send_flight(struct fold *fold)
{
    static const uint8_t change[] = {1};
    struct record_flight *flight = fold->place.flight;
    uint8_t message[FINISHED_LEN] = {FINISHED, 0, 0, VERIFY_DATA};
    uint8_t datagram[DTLS12_HEADER + SESSION_TICKET_MAX + DTLS12_HEADER + 1 + FINISHED_LEN + DTLS12_OVERHEAD_MAX];
    size_t at = 0;
    size_t len;
    fold_flush(fold);
    message[4] = (uint8_t)(flight->rest.finished.message_seq >> 8);
    message[5] = (uint8_t)flight->rest.finished.message_seq;
    message[11] = VERIFY_DATA;
    memcpy(message + MESSAGE_HEADER, flight->rest.finished.verify_data, VERIFY_DATA);
    if (fold->ticket != NULL)
        at = put_clear(flight, DTLS12_HANDSHAKE, fold->ticket, fold->ticket_len, datagram);
    at += put_clear(flight, DTLS12_CHANGE_CIPHER_SPEC, change, sizeof change, datagram + at);
    int rc = dtls12_seal(fold->place.keys, DTLS12_HANDSHAKE, message, sizeof message, datagram + at,
                         sizeof datagram - at, &len);
    return rc == SAGATE_OK ? fold->sink.send(fold->sink.context, datagram, at + len) : rc;
}

// An authentic handshake message: true when something was done about it.
static bool answer_message(struct fold *fold, const uint8_t *message, size_t len)
{
    static const uint8_t no_renegotiation[] = {1, 100}; // RFC 5246 7.2.2
    struct record_flight *flight = fold->place.flight;
    if (len == 0)
        return false;
    if (message[0] == FINISHED && fold_flight_is_kept(fold)) {
        flight->flights--;
        (void)send_flight(fold);
        return true;
    }
    if (message[0] == CLIENT_HELLO && flight->refusals < REFUSALS_MAX) {
        flight->refusals++;
        (void)fold12_send(fold, DTLS12_ALERT, no_renegotiation, sizeof no_renegotiation);
        return true;
    }
    return false;
}

static void data_came(struct fold *fold)
{
    struct record_flight *flight = fold->place.flight;
    flight->refusals = 0;
    if (flight->flights > 0)
        flight_arrived(flight);
    free(fold->ticket);
    fold->ticket = NULL;
}

static int open_one(struct fold *fold, const struct dtls12_record *record, uint8_t *out, size_t cap, size_t *len)
{
    // The rest of a repeated flight of the peer; its Finished, which is authentic, will be answered.
    if (record->epoch == 0 && (record->type == DTLS12_HANDSHAKE || record->type == DTLS12_CHANGE_CIPHER_SPEC) &&
        fold_flight_is_kept(fold))
        return SAGATE_AGAIN;
    bool newest;
    const struct dtls12_job *ahead = fold->opening == NULL ? NULL : &fold->opening->dtls12;
    enum dtls12_verdict verdict = dtls12_open_ahead(fold->place.keys, record, ahead, out, cap, len, &newest);
    if (verdict <= DTLS12_UNWANTED)
        fold->newest = newest && record->cid.len > 0;
    switch (verdict) {
    case DTLS12_DATA:
        data_came(fold);
        return SAGATE_OK;
    case DTLS12_MESSAGE: {
        bool answered = answer_message(fold, out, *len);
        *len = 0;
        return answered ? SAGATE_AGAIN : SAGATE_ERECORD;
    }
    case DTLS12_WARNING:
        return SAGATE_AGAIN;
    case DTLS12_CLOSED:
        return SAGATE_DONE;
    case DTLS12_FATAL:
        fold->fatal = true;
        return SAGATE_EGONE;
    case DTLS12_EXHAUSTED:
        return SAGATE_EGONE;
    case DTLS12_FORGED: // so is what came with it: a datagram counts once
        return SAGATE_EMALFORMED;
    default:
        return SAGATE_ERECORD;
    }
}

int fold12_open(struct fold *fold, struct slice *datagram, uint8_t *out, size_t cap, size_t *len)
{
    struct dtls12_record record;
    if (dtls12_next(fold->place.keys, datagram, &record) != SAGATE_OK)
        return SAGATE_EMALFORMED;
    return open_one(fold, &record, out, cap, len);
}

// Leaves the record to be sealed with others. The number is used up all the same.
static int send_later(struct fold *fold, struct record_sealing *sealing, const uint8_t *data, size_t len, size_t need)
{
    struct dtls12_job *job = &sealing->dtls12;
    sealing->kind = RECORD_DTLS12;
    int rc =
        dtls12_seal_prepare(fold->place.keys, DTLS12_APPLICATION, data, len, sealing->bytes, need, &sealing->len, job);
    if (rc != SAGATE_OK)
        return rc;
    if (job->aead.in == data) { // which does not stay
        memcpy(job->aead.out, data, len);
        job->aead.in = job->aead.out;
    }
    fold->sink.together->put(fold->sink.context);
    return SAGATE_OK;
}

int fold12_send(struct fold *fold, uint8_t type, const uint8_t *data, size_t len)
{
    uint8_t buffer[FOLD_DATAGRAM_MAX];
    size_t made;
    size_t need = dtls12_sealed_len(fold->place.keys, len);
    if (need > FOLD_DATAGRAM_MAX)
        return SAGATE_ETOOBIG;
    struct record_sealing *sealing = fold_sealing(fold, type, ((const struct dtls12 *)fold->place.keys)->aead, need);
    if (sealing != NULL)
        return send_later(fold, sealing, data, len, need);
    uint8_t *out = fold_room(fold, buffer, need);
    if (out == NULL)
        return SAGATE_OK;
    int rc = dtls12_seal(fold->place.keys, type, data, len, out, need, &made);
    return rc == SAGATE_OK ? fold_commit(fold, buffer, out, made) : rc;
}
