// Folded DTLS associations: traffic keys instead of a WOLFSSL object, in a place that may outlive the process. For
// record.c only; one thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_RECORD_FOLD_H
#define SAGATE_DATAPLANE_RECORD_FOLD_H

#include "dataplane/handshake/session.h"
#include "dataplane/record/place.h"
#include "dataplane/record/together.h"

enum {
    // How often, and how long, the last flight is sent again for a peer that repeats its own (RFC 6347 4.2.4).
    FOLD_FLIGHTS_MAX = 8,
    FOLD_FLIGHTS_SECONDS = 60,
};

struct fold {
    struct record_place place;
    struct handshake_sink sink;
    const uint8_t *datagram; // what is still to be opened of the datagram in hand: borrowed, or part of `own`
    uint8_t *own;
    const struct record_opening *opening; // what of it was opened ahead; NULL: nothing
    uint8_t
        *ticket; // DTLS 1.2: the NewSessionTicket of the last flight, with its header; NULL: none, or wanted no more
    uint32_t left;
    uint16_t ticket_len;
    uint8_t kind; // RECORD_DTLS12, RECORD_DTLS13
    bool settled; // the place is somebody else's memory; else an allocation of our own
    bool fatal;   // the peer has sent a fatal alert: nothing is to be answered (RFC 5246 7.2.2)
    bool newest;  // the last authentic record was the newest, and came with a Connection ID
};

// Takes keys, numbers, unread input and sink out of an established session and frees it. False when it cannot fold:
// no AEAD suite that we have, what it sealed last does not open with the keys, memory is short; it is as it was then.
bool fold_take(struct fold *fold, struct session *session);
// Goes on with state that lies in a place. False when that is no sane state.
bool fold_resume(struct fold *fold, enum record_kind kind, const struct record_place *place,
                 const struct handshake_sink *sink);
// Moves the state to a place of zeroed memory, and wipes its own.
void fold_settle(struct fold *fold, const struct record_place *place);
// Frees what was handed over, wipes and frees the state where it is not settled.
void fold_release(struct fold *fold);

// Hands over a datagram: copied, behind what is still to be opened; or borrowed, in place of it (that was lost then).
// SAGATE_OK, SAGATE_ELIMIT (64 KiB wait), SAGATE_ENOMEM.
int fold_input(struct fold *fold, struct slice datagram);
void fold_lend(struct fold *fold, struct slice datagram);
// Of a datagram that was lent: its first record was opened ahead. Must stay as long as the datagram.
void fold_ahead(struct fold *fold, const struct record_opening *opening);

// As record_open.
size_t fold_open(struct fold *fold, uint8_t *out, size_t cap, int *status);
// Seals application data and sends it: results of record_seal.
int fold_send(struct fold *fold, const uint8_t *data, size_t len);
// Sends an alert (RFC 8446 6).
void fold_alert(struct fold *fold, uint8_t level, uint8_t description);
// The Connection ID that the peer sends; empty: none.
struct slice fold_cid(const struct fold *fold);

// --- for the files of one version --------------------------------------------------------------------------------

// True while the last flight may still be asked for.
bool fold_flight_is_kept(const struct fold *fold);
// Room for a datagram of `len` bytes: the sink's, or `buffer` (of FOLD_DATAGRAM_MAX bytes); NULL: lost, as on any
// network. Then fold_commit sends it.
enum {
    // Longest datagram that is sent: what wolfSSL takes for DTLS by default, so that nothing changes with the fold.
    FOLD_DATAGRAM_MAX = 1400
};
uint8_t *fold_room(struct fold *fold, uint8_t *buffer, size_t len);
// Room to have a record of application data sealed together with others; NULL: seal it now.
struct record_sealing *fold_sealing(struct fold *fold, uint8_t type, uint8_t aead, size_t len);
// Has those sealed that wait, before something that must not overtake them, or that changes keys.
void fold_flush(struct fold *fold);
int fold_commit(struct fold *fold, const uint8_t *buffer, const uint8_t *out, size_t len);

// The Connection IDs that were agreed. False when one is longer than any of ours.
struct fold_cids {
    uint8_t in_len, out_len; // 0: none
    uint8_t in[DTLS12_CID_MAX], out[DTLS12_CID_MAX];
};
bool fold_take_cids(WOLFSSL *ssl, struct fold_cids *cids);

// Fills the place from a session that stays as it is. False when it cannot fold.
bool fold12_take(struct fold *fold, const struct session *session);
bool fold12_is_sane(const struct record_place *place);
// Opens the next record off a datagram: as record_open's status, but SAGATE_AGAIN: it was no data, look at the next;
// SAGATE_EMALFORMED: the rest of the datagram is unusable.
int fold12_open(struct fold *fold, struct slice *datagram, uint8_t *out, size_t cap, size_t *len);
// Seals a record of this content type and sends it.
int fold12_send(struct fold *fold, uint8_t type, const uint8_t *data, size_t len);

// The same for DTLS 1.3.
bool fold13_take(struct fold *fold, const struct session *session);
bool fold13_is_sane(const struct record_place *place);
int fold13_open(struct fold *fold, struct slice *datagram, uint8_t *out, size_t cap, size_t *len);
int fold13_send(struct fold *fold, uint8_t type, const uint8_t *data, size_t len);

#endif
