// Taking the keys out of a WOLFSSL object, and what the peer may still say about the handshake once it is gone.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/record/fold.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/secret.h"

#include <stdlib.h>
#include <string.h>

enum {
    // Longest datagram that is sent: what wolfSSL takes for DTLS by default, so that nothing changes with the fold.
    DATAGRAM_MAX = 1400,
    // How often, and how long, the last flight is sent again for a peer that repeats its own (RFC 6347 4.2.4).
    LAST_FLIGHT_MAX = 8,
    LAST_FLIGHT_SECONDS = 60,
    REFUSALS_MAX = 4, // warnings against renegotiation between two records of data
    INPUT_MAX = 64 * 1024,
    FINISHED = 20, // handshake message types
    CLIENT_HELLO = 1,
    VERIFY_DATA = 12,
    MESSAGE_HEADER = 12,
    FINISHED_LEN = MESSAGE_HEADER + VERIFY_DATA,
};

static enum aead aead_of(WOLFSSL *ssl)
{
    int key = wolfSSL_GetKeySize(ssl);
    int tag = wolfSSL_GetAeadMacSize(ssl);
    switch (wolfSSL_GetBulkCipher(ssl)) {
    case wolfssl_aes_gcm:
        return key == 16 ? AEAD_AES_128_GCM : key == 32 ? AEAD_AES_256_GCM : AEAD_NONE;
    case wolfssl_aes_ccm:
        if (key != 16)
            return AEAD_NONE;
        return tag == 16 ? AEAD_AES_128_CCM : tag == 8 ? AEAD_AES_128_CCM_8 : AEAD_NONE;
    case wolfssl_chacha:
        return key == 32 ? AEAD_CHACHA20_POLY1305 : AEAD_NONE;
    default:
        return AEAD_NONE;
    }
}

static bool take_cids(struct dtls12 *state, WOLFSSL *ssl)
{
    unsigned int in = 0;
    unsigned int out = 0;
    if (wolfSSL_dtls_cid_is_enabled(ssl) != 1)
        return true;
    if (wolfSSL_dtls_cid_get_rx_size(ssl, &in) != WOLFSSL_SUCCESS ||
        wolfSSL_dtls_cid_get_tx_size(ssl, &out) != WOLFSSL_SUCCESS || in > DTLS12_CID_MAX || out > DTLS12_CID_MAX)
        return false;
    state->cid_in_len = (uint8_t)in;
    state->cid_out_len = (uint8_t)out;
    return (in == 0 || wolfSSL_dtls_cid_get_rx(ssl, state->cid_in, in) == WOLFSSL_SUCCESS) &&
           (out == 0 || wolfSSL_dtls_cid_get_tx(ssl, state->cid_out, out) == WOLFSSL_SUCCESS);
}

static bool take_keys(struct dtls12 *state, WOLFSSL *ssl)
{
    if (wolfSSL_GetVersion(ssl) != WOLFSSL_DTLSV1_2)
        return false;
    const struct aead_properties *aead = aead_properties(aead_of(ssl));
    const uint8_t *key_in = wolfSSL_GetClientWriteKey(ssl);
    const uint8_t *key_out = wolfSSL_GetServerWriteKey(ssl);
    const uint8_t *iv_in = wolfSSL_GetClientWriteIV(ssl);
    const uint8_t *iv_out = wolfSSL_GetServerWriteIV(ssl);
    if (aead->key == 0 || key_in == NULL || key_out == NULL || iv_in == NULL || iv_out == NULL)
        return false;
    state->aead = (uint8_t)aead_of(ssl);
    memcpy(state->key_in, key_in, aead->key);
    memcpy(state->key_out, key_out, aead->key);
    memcpy(state->iv_in, iv_in, aead->iv);
    memcpy(state->iv_out, iv_out, aead->iv);
    return take_cids(state, ssl);
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
static bool take_finished(struct fold *fold, const struct session *session)
{
    struct dtls12 *state = &fold->dtls12;
    struct dtls12 peer;
    struct dtls12_record record;
    struct slice rest = slice_of(session->sealed, session->sealed_len);
    uint8_t message[SESSION_SEALED_MAX];
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
    fold->message_seq = (uint16_t)(message[4] << 8 | message[5]);
    memcpy(fold->verify_data, message + MESSAGE_HEADER, VERIFY_DATA);
    secret_zero(message, sizeof message);
    return true;
}

bool fold_take(struct fold *fold, struct session *session)
{
    *fold = (struct fold){.sink = session->sink, .flights = LAST_FLIGHT_MAX};
    // The window starts empty: all that the peer has sealed before is its Finished, which may do no harm twice.
    bool ok = session->dtls && !session->broken && session->next_sequence < UINT32_MAX &&
              take_keys(&fold->dtls12, session->ssl) && take_finished(fold, session) &&
              fold_input(fold, slice_of(session->in + session->in_at, session->in_len - session->in_at)) == SAGATE_OK;
    if (!ok) {
        fold_release(fold);
        return false;
    }
    fold->clear_next = (uint32_t)session->next_sequence;
    fold->since_s = (uint32_t)(clock_ms() / 1000);
    fold->cipher = wolfSSL_get_cipher_name(session->ssl);
    session_free(session);
    return true;
}

static void drop_datagram(struct fold *fold)
{
    free(fold->own);
    fold->own = NULL;
    fold->datagram = NULL;
    fold->left = 0;
}

void fold_release(struct fold *fold)
{
    drop_datagram(fold);
    secret_zero(fold, sizeof *fold);
}

int fold_input(struct fold *fold, struct slice datagram)
{
    if (fold->own == NULL)
        drop_datagram(fold);
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
    if (datagram.len <= INPUT_MAX) {
        fold->datagram = datagram.data;
        fold->left = (uint32_t)datagram.len;
    }
}

// ChangeCipherSpec and Finished again. A repeated message keeps its message_seq; each record has a new sequence number
// (RFC 6347 4.2.2, 4.2.4).
static int send_flight(struct fold *fold)
{
    uint8_t message[FINISHED_LEN] = {FINISHED, 0, 0, VERIFY_DATA};
    uint8_t datagram[DTLS12_HEADER + 1 + FINISHED_LEN + DTLS12_OVERHEAD_MAX] = {
        DTLS12_CHANGE_CIPHER_SPEC, 0xfe, 0xfd, 0, 0, 0, 0};
    size_t at = 7;
    size_t len;
    message[4] = (uint8_t)(fold->message_seq >> 8);
    message[5] = (uint8_t)fold->message_seq;
    message[11] = VERIFY_DATA;
    memcpy(message + MESSAGE_HEADER, fold->verify_data, VERIFY_DATA);
    uint32_t number = fold->clear_next++;
    for (int shift = 24; shift >= 0; shift -= 8)
        datagram[at++] = (uint8_t)(number >> shift);
    datagram[at++] = 0;
    datagram[at++] = 1;
    datagram[at++] = 1;
    int rc = dtls12_seal(&fold->dtls12, DTLS12_HANDSHAKE, message, sizeof message, datagram + at, sizeof datagram - at,
                         &len);
    return rc == SAGATE_OK ? fold->sink.send(fold->sink.context, datagram, at + len) : rc;
}

static bool flight_is_kept(const struct fold *fold)
{
    return fold->flights > 0 && (uint32_t)(clock_ms() / 1000) - fold->since_s < LAST_FLIGHT_SECONDS;
}

// An authentic handshake message: true when something was done about it.
static bool answer_message(struct fold *fold, const uint8_t *message, size_t len)
{
    static const uint8_t no_renegotiation[] = {1, 100}; // RFC 5246 7.2.2
    if (len == 0)
        return false;
    if (message[0] == FINISHED && flight_is_kept(fold)) {
        fold->flights--;
        (void)send_flight(fold);
        return true;
    }
    if (message[0] == CLIENT_HELLO && fold->refusals < REFUSALS_MAX) {
        fold->refusals++;
        (void)fold_send(fold, DTLS12_ALERT, no_renegotiation, sizeof no_renegotiation);
        return true;
    }
    return false;
}

static void data_came(struct fold *fold)
{
    fold->refusals = 0;
    if (fold->flights == 0)
        return;
    // The peer has our Finished.
    fold->flights = 0;
    secret_zero(fold->verify_data, sizeof fold->verify_data);
}

// The verdict on one record: as record_open's status, but SAGATE_AGAIN: it was no data, look at the next.
static int open_one(struct fold *fold, const struct dtls12_record *record, uint8_t *out, size_t cap, size_t *len)
{
    // The rest of a repeated flight of the peer; its Finished, which is authentic, will be answered.
    if (record->epoch == 0 && (record->type == DTLS12_HANDSHAKE || record->type == DTLS12_CHANGE_CIPHER_SPEC) &&
        flight_is_kept(fold))
        return SAGATE_AGAIN;
    switch (dtls12_open(&fold->dtls12, record, out, cap, len, NULL)) {
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
    default:
        return SAGATE_ERECORD;
    }
}

size_t fold_open(struct fold *fold, uint8_t *out, size_t cap, int *status)
{
    for (;;) {
        struct dtls12_record record;
        struct slice rest = slice_of(fold->datagram, fold->left);
        size_t len = 0;
        int rc = dtls12_next(&fold->dtls12, &rest, &record);
        if (rc != SAGATE_OK) {
            drop_datagram(fold);
            *status = rc == SAGATE_AGAIN ? SAGATE_AGAIN : SAGATE_ERECORD;
            return 0;
        }
        fold->datagram = rest.data;
        fold->left = (uint32_t)rest.len;
        rc = open_one(fold, &record, out, cap, &len);
        if (rc == SAGATE_AGAIN)
            continue;
        if (rc == SAGATE_DONE || rc == SAGATE_EGONE)
            drop_datagram(fold);
        *status = rc;
        return len;
    }
}

int fold_send(struct fold *fold, uint8_t type, const uint8_t *data, size_t len)
{
    const struct handshake_sink *sink = &fold->sink;
    size_t need = dtls12_sealed_len(&fold->dtls12, len);
    uint8_t buffer[DATAGRAM_MAX];
    size_t made;
    if (need > DATAGRAM_MAX)
        return SAGATE_ETOOBIG;
    uint8_t *out = sink->reserve != NULL ? sink->reserve(sink->context, need) : buffer;
    if (out == NULL)
        return SAGATE_OK; // lost, as on any network
    int rc = dtls12_seal(&fold->dtls12, type, data, len, out, need, &made);
    if (rc != SAGATE_OK)
        return rc;
    return out == buffer ? sink->send(sink->context, out, made) : sink->commit(sink->context, made);
}
