// Taking the secrets of DTLS 1.3 out of a WOLFSSL object, and what may follow the handshake: ACKs, key updates, other
// messages (RFC 9147 7, 8, 9). There is no timer here: a KeyUpdate is sent again with later records, and a
// NewSessionTicket of the library that was lost is not.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/clock.h"
#include "common/error.h"
#include "common/secret.h"
#include "dataplane/record/fold.h"
#include "dataplane/record/number.h"
#include "dataplane/record/suite.h"

#include <string.h>

enum {
    MESSAGE_HEADER = 12,
    REQUEST_CONNECTION_ID = 9, // handshake message types
    NEW_CONNECTION_ID = 10,
    FINISHED = 20,
    KEY_UPDATE = 24,
    ACK_ENTRY = 16,        // epoch and sequence number, 8 bytes each
    ACKED_BEFORE_MAX = 15, // records that one repeated ACK names besides that of the Finished
    ACKED_MAX = 1 + ACKED_BEFORE_MAX + FOLD_FLIGHTS_MAX,
    SEALED_COUNT_MAX = 64, // records that may be noted by a session
    UPDATES_MAX = 8,       // KeyUpdates of the peer in one minute
    UPDATE_REPEAT = 64,    // our KeyUpdate goes again with every so many records until there is an ACK
    ALERT_FATAL = 2,
};

// --- taking over -------------------------------------------------------------------------------------------------

static bool take_keys(struct dtls13 *state, const struct session *session)
{
    struct fold_cids cids;
    enum aead aead = suite_aead(session->ssl);
    return dtls13_secret_len(aead) > 0 && dtls13_secret_len(aead) == session->secret_len &&
           fold_take_cids(session->ssl, &cids) &&
           dtls13_init(state, aead, DTLS13_EPOCH_FIRST, session->client_secret, session->server_secret,
                       slice_of(cids.in, cids.in_len), slice_of(cids.out, cids.out_len)) == SAGATE_OK;
}

// What the records that the library has sealed last tell: read from the newest back to our Finished.
struct told {
    bool finished, acked;
    bool message_known;
    uint16_t message; // message_seq of the newest message
    uint64_t traffic; // records in epoch 3
    struct dtls13 peer, peer_handshake;
};

static void read_ack(struct record_flight *flight, const uint8_t *ack, size_t len)
{
    uint64_t first = UINT64_MAX;
    uint64_t last = 0;
    for (size_t at = 2; at + ACK_ENTRY <= len; at += ACK_ENTRY) {
        uint64_t sequence = number_get(ack + at + 8, 8);
        if (number_get(ack + at, 8) != DTLS13_EPOCH_HANDSHAKE || sequence > UINT32_MAX)
            continue;
        first = sequence < first ? sequence : first;
        last = sequence > last ? sequence : last;
    }
    if (first > last)
        return;
    uint64_t before = last - first;
    flight->rest.post.acked_sequence = (uint32_t)last;
    flight->rest.post.acked_before = (uint8_t)(before < ACKED_BEFORE_MAX ? before : ACKED_BEFORE_MAX);
    flight->flights = FOLD_FLIGHTS_MAX;
}

// False when it does not open, or its number is not the one that it should have.
static bool read_sealed(struct told *told, struct record_flight *flight, const struct dtls13_record *record)
{
    uint8_t bytes[SESSION_SEALED_MAX];
    struct dtls13_opened opened;
    bool traffic = record->epoch_bits == DTLS13_EPOCH_FIRST;
    enum dtls13_verdict verdict =
        dtls13_open(traffic ? &told->peer : &told->peer_handshake, record, bytes, sizeof bytes, &opened);
    if (verdict > DTLS13_UNWANTED)
        return false;
    if (traffic && (opened.number & NUMBER_SEQUENCE_MASK) >= told->traffic)
        return false;
    if (verdict == DTLS13_ACKED && !told->acked) {
        read_ack(flight, bytes, opened.len);
        told->acked = true;
    }
    if (verdict == DTLS13_MESSAGE && opened.len >= MESSAGE_HEADER) {
        uint16_t message = (uint16_t)number_get(bytes + 4, 2);
        told->message = message > told->message ? message : told->message;
        told->message_known = true;
        told->finished = bytes[0] == FINISHED;
    }
    secret_zero(bytes, sizeof bytes);
    return true;
}

static bool read_all_sealed(struct told *told, struct record_flight *flight, const struct session *session,
                            uint8_t cid_len)
{
    struct dtls13_record records[SEALED_COUNT_MAX];
    struct slice rest = slice_of(session->sealed, session->sealed_len);
    size_t count = 0;
    while (count < SEALED_COUNT_MAX && dtls13_next(cid_len, &rest, &records[count]) == SAGATE_OK)
        count++;
    while (count > 0 && !told->finished)
        if (!read_sealed(told, flight, &records[--count]))
            return false;
    return told->message_known;
}

bool fold13_take(struct fold *fold, const struct session *session)
{
    struct dtls13 *state = fold->place.keys;
    struct record_flight *flight = fold->place.flight;
    struct told told = {.traffic = session->traffic_sealed};
    if (!take_keys(state, session))
        return false;
    flight->flights = 0; // until it is known which records may have to be acknowledged again
    dtls13_mirror(&told.peer, state);
    bool ok = dtls13_init(&told.peer_handshake, state->aead, DTLS13_EPOCH_HANDSHAKE, session->handshake_secret,
                          session->handshake_secret, dtls13_cid_out(state), dtls13_cid_in(state)) == SAGATE_OK &&
              read_all_sealed(&told, flight, session, state->cid_out_len);
    state->next_out += session->traffic_sealed;
    flight->rest.post.message_out = (uint16_t)(told.message + 1);
    secret_zero(&told, sizeof told);
    return ok;
}

bool fold13_is_sane(const struct record_place *place)
{
    const struct record_flight *flight = place->flight;
    return dtls13_is_sane(place->keys) && flight->flights <= FOLD_FLIGHTS_MAX && flight->refusals <= UPDATES_MAX &&
           flight->rest.post.acked_before <= ACKED_BEFORE_MAX;
}

// --- sending -----------------------------------------------------------------------------------------------------

static int send_record(struct fold *fold, uint8_t type, const uint8_t *data, size_t len)
{
    uint8_t buffer[FOLD_DATAGRAM_MAX];
    size_t made;
    size_t need = dtls13_sealed_len(fold->place.keys, len);
    if (need > FOLD_DATAGRAM_MAX)
        return SAGATE_ETOOBIG;
    struct record_sealing *sealing = fold_sealing(fold, type, ((const struct dtls13 *)fold->place.keys)->aead, need);
    if (sealing != NULL) {
        sealing->kind = RECORD_DTLS13;
        int result = dtls13_seal_prepare(fold->place.keys, type, data, len, sealing->bytes, need, &sealing->len,
                                         &sealing->dtls13);
        if (result == SAGATE_OK)
            fold->sink.together->put(fold->sink.context);
        return result;
    }
    uint8_t *out = fold_room(fold, buffer, need);
    if (out == NULL)
        return SAGATE_OK;
    int rc = dtls13_seal(fold->place.keys, type, data, len, out, need, &made);
    return rc == SAGATE_OK ? fold_commit(fold, buffer, out, made) : rc;
}

// The last of `count` records that are acknowledged, which lie one behind the other.
static void send_ack(struct fold *fold, uint64_t epoch, uint64_t last, size_t count)
{
    uint8_t ack[2 + ACKED_MAX * ACK_ENTRY];
    number_put(ack, count * ACK_ENTRY, 2);
    for (size_t i = 0; i < count; i++) {
        number_put(ack + 2 + i * ACK_ENTRY, epoch, 8);
        number_put(ack + 2 + i * ACK_ENTRY + 8, last - (count - 1 - i), 8);
    }
    (void)send_record(fold, DTLS13_ACK, ack, 2 + count * ACK_ENTRY);
}

static void send_update(struct fold *fold)
{
    uint8_t message[MESSAGE_HEADER + 1] = {KEY_UPDATE, 0, 0, 1}; // update_not_requested
    number_put(message + 4, fold->place.flight->rest.post.message_out, 2);
    message[11] = 1;
    (void)send_record(fold, DTLS13_HANDSHAKE, message, sizeof message);
}

static uint64_t update_at(const struct record_flight *flight)
{
    return (uint64_t)flight->rest.post.update_high << 32 | flight->rest.post.update_low;
}

// RFC 9147 8: the new keys are used once this one is acknowledged.
static void start_update(struct fold *fold)
{
    struct dtls13 *state = fold->place.keys;
    struct record_flight *flight = fold->place.flight;
    if ((state->flags & DTLS13_UPDATE_OUT) != 0)
        return;
    uint64_t sequence = state->next_out & NUMBER_SEQUENCE_MASK;
    flight->rest.post.update_low = (uint32_t)sequence;
    flight->rest.post.update_high = (uint16_t)(sequence >> 32);
    atomic_signal_fence(memory_order_seq_cst);
    state->flags |= DTLS13_UPDATE_OUT;
    send_update(fold);
}

int fold13_send(struct fold *fold, uint8_t type, const uint8_t *data, size_t len)
{
    const struct dtls13 *state = fold->place.keys;
    if (type == DTLS13_APPLICATION) {
        bool waiting = (state->flags & DTLS13_UPDATE_OUT) != 0;
        uint64_t behind = (state->next_out & NUMBER_SEQUENCE_MASK) - update_at(fold->place.flight);
        if (!waiting && dtls13_update_is_due(state))
            start_update(fold);
        else if (waiting && behind % UPDATE_REPEAT == 0)
            send_update(fold);
    }
    return send_record(fold, type, data, len);
}

// --- what came ---------------------------------------------------------------------------------------------------

// Ends the association: SAGATE_EGONE.
static int fail(struct fold *fold, uint8_t description)
{
    fold_alert(fold, ALERT_FATAL, description);
    fold->fatal = true;
    return SAGATE_EGONE;
}

// Only our KeyUpdates are waited for, so that an ACK of any record since the first of them is one of them.
static int acked(struct fold *fold, const uint8_t *ack, size_t len)
{
    struct dtls13 *state = fold->place.keys;
    struct record_flight *flight = fold->place.flight;
    if (len < 2 || number_get(ack, 2) != len - 2 || (len - 2) % ACK_ENTRY != 0)
        return SAGATE_ERECORD;
    for (size_t at = 2; at < len && (state->flags & DTLS13_UPDATE_OUT) != 0; at += ACK_ENTRY) {
        uint64_t epoch = number_get(ack + at, 8);
        uint64_t sequence = number_get(ack + at + 8, 8);
        if (epoch != state->next_out >> NUMBER_EPOCH_SHIFT || sequence < update_at(flight) ||
            sequence >= (state->next_out & NUMBER_SEQUENCE_MASK))
            continue;
        fold_flush(fold); // with the keys that they were made for
        dtls13_change(state);
        flight->rest.post.message_out++;
        if (dtls13_update_out(state) != SAGATE_OK) {
            fold->fatal = true;
            return SAGATE_EGONE;
        }
    }
    return SAGATE_AGAIN;
}

static bool is_flood(struct record_flight *flight)
{
    uint8_t minute = (uint8_t)(clock_ms() / 60000);
    if (minute != flight->rest.post.minute) {
        flight->rest.post.minute = minute;
        flight->refusals = 0;
    }
    if (flight->refusals == UPDATES_MAX)
        return true;
    flight->refusals++;
    return false;
}

static int update_came(struct fold *fold, struct slice body)
{
    struct dtls13 *state = fold->place.keys;
    if (body.len != 1)
        return fail(fold, ALERT_DECODE_ERROR);
    if (body.data[0] > 1)
        return fail(fold, ALERT_ILLEGAL_PARAMETER);
    if (is_flood(fold->place.flight) || state->newest >> NUMBER_EPOCH_SHIFT == UINT16_MAX)
        return fail(fold, ALERT_INTERNAL_ERROR);
    state->flags |= DTLS13_UPDATE_IN;
    return SAGATE_OK;
}

// RFC 9147 9. Spare ones are of no use here; one that is to be used at once is.
static int new_cid_came(struct fold *fold, struct slice body)
{
    struct dtls13 *state = fold->place.keys;
    if (state->cid_out_len == 0)
        return fail(fold, ALERT_UNEXPECTED_MESSAGE);
    size_t list = body.len >= 3 ? (size_t)number_get(body.data, 2) : 0;
    if (body.len < 3 || list != body.len - 3)
        return fail(fold, ALERT_DECODE_ERROR);
    if (body.data[body.len - 1] != 0 || list == 0)
        return SAGATE_OK;
    if (body.data[2] > list - 1)
        return fail(fold, ALERT_DECODE_ERROR);
    return dtls13_set_cid_out(state, slice_of(body.data + 3, body.data[2])) ? SAGATE_OK
                                                                            : fail(fold, ALERT_INTERNAL_ERROR);
}

// SAGATE_OK: taken, to be acknowledged.
static int message_came(struct fold *fold, uint8_t type, struct slice body)
{
    const struct dtls13 *state = fold->place.keys;
    switch (type) {
    case KEY_UPDATE:
        return update_came(fold, body);
    case NEW_CONNECTION_ID:
        return new_cid_came(fold, body);
    case REQUEST_CONNECTION_ID: // no more than the one that it has
        return state->cid_in_len > 0 ? SAGATE_OK : fail(fold, ALERT_UNEXPECTED_MESSAGE);
    default:
        return fail(fold, ALERT_UNEXPECTED_MESSAGE);
    }
}

// A handshake record: SAGATE_AGAIN (answered), SAGATE_ERECORD (dropped), SAGATE_EGONE.
static int messages_came(struct fold *fold, uint64_t number, struct slice rest)
{
    struct record_flight *flight = fold->place.flight;
    bool update_wanted = false;
    do {
        if (rest.len < MESSAGE_HEADER)
            return fail(fold, ALERT_DECODE_ERROR);
        size_t len = (size_t)number_get(rest.data + 1, 3);
        uint16_t message = (uint16_t)number_get(rest.data + 4, 2);
        bool known = flight->rest.post.message_in != 0;
        // Nothing that is taken here is long enough to be sent in pieces.
        bool whole = number_get(rest.data + 6, 3) == 0 && number_get(rest.data + 9, 3) == len;
        if (!whole || len > rest.len - MESSAGE_HEADER || (known && message > flight->rest.post.message_in))
            return SAGATE_ERECORD;
        struct slice body = slice_of(rest.data + MESSAGE_HEADER, len);
        if (!known || message == flight->rest.post.message_in) {
            int rc = message_came(fold, rest.data[0], body);
            if (rc != SAGATE_OK)
                return rc;
            flight->rest.post.message_in = (uint16_t)(message + 1);
            update_wanted = update_wanted || (rest.data[0] == KEY_UPDATE && body.data[0] == 1);
        }
        rest = slice_of(body.data + len, rest.len - MESSAGE_HEADER - len);
    } while (rest.len > 0);
    send_ack(fold, number >> NUMBER_EPOCH_SHIFT, number & NUMBER_SEQUENCE_MASK, 1);
    if (update_wanted)
        start_update(fold);
    return SAGATE_AGAIN;
}

// A record of epoch 2: the peer repeats its last flight, since it has no ACK. The keys are gone, so that this is not
// checked; whoever else sends such records can have a few ACKs sent to the peer, no more. Each that comes stands for
// one more number, since a repeated record has a new one, and the peer may have forgotten the old.
static int repeat_ack(struct fold *fold)
{
    struct record_flight *flight = fold->place.flight;
    if (!fold_flight_is_kept(fold))
        return SAGATE_ERECORD;
    flight->flights--;
    size_t repeated = (size_t)FOLD_FLIGHTS_MAX - flight->flights;
    send_ack(fold, DTLS13_EPOCH_HANDSHAKE, flight->rest.post.acked_sequence + repeated,
             1 + flight->rest.post.acked_before + repeated);
    return SAGATE_AGAIN;
}

static int judge(struct fold *fold, enum dtls13_verdict verdict, const struct dtls13_opened *opened, uint8_t *out)
{
    switch (verdict) {
    case DTLS13_DATA:
        return SAGATE_OK;
    case DTLS13_MESSAGE:
        return messages_came(fold, opened->number, slice_of(out, opened->len));
    case DTLS13_ACKED:
        return acked(fold, out, opened->len);
    case DTLS13_WARNING:
        return SAGATE_AGAIN;
    case DTLS13_CLOSED:
        return SAGATE_DONE;
    case DTLS13_FATAL:
        fold->fatal = true;
        return SAGATE_EGONE;
    case DTLS13_EXHAUSTED:
        return SAGATE_EGONE;
    case DTLS13_FORGED: // so is what came with it: a datagram counts once
        return SAGATE_EMALFORMED;
    case DTLS13_EARLIER:
        return repeat_ack(fold);
    default:
        return SAGATE_ERECORD;
    }
}

int fold13_open(struct fold *fold, struct slice *datagram, uint8_t *out, size_t cap, size_t *len)
{
    struct dtls13 *state = fold->place.keys;
    struct dtls13_record record;
    struct dtls13_opened opened;
    if (dtls13_next(state->cid_in_len, datagram, &record) != SAGATE_OK)
        return SAGATE_EMALFORMED;
    const struct dtls13_job *ahead = fold->opening == NULL ? NULL : &fold->opening->dtls13;
    enum dtls13_verdict verdict = dtls13_open_ahead(state, &record, ahead, out, cap, &opened);
    if (verdict <= DTLS13_UNWANTED)
        fold->newest = opened.newest && record.cid.len > 0;
    if (opened.new_epoch)
        fold->place.flight->flights = 0; // who updates keys has seen the handshake end
    int rc = judge(fold, verdict, &opened, out);
    *len = rc == SAGATE_OK ? opened.len : 0;
    return rc;
}
