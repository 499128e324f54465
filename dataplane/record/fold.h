// Folded DTLS 1.2 associations: traffic keys instead of a WOLFSSL object. For record.c only; one thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_RECORD_FOLD_H
#define SAGATE_DATAPLANE_RECORD_FOLD_H

#include "dataplane/handshake/session.h"
#include "dataplane/record/dtls12.h"

struct fold {
    struct dtls12 dtls12;
    struct handshake_sink sink;
    const char *cipher;      // static
    const uint8_t *datagram; // what is still to be opened of the datagram in hand: borrowed, or part of `own`
    uint8_t *own;
    uint32_t left;
    uint32_t clear_next;     // next sequence number of epoch 0, for the ChangeCipherSpec of a repeated last flight
    uint32_t since_s;        // monotonic seconds: when the handshake ended
    uint16_t message_seq;    // of our Finished
    uint8_t verify_data[12]; // RFC 5246 7.4.9
    uint8_t flights;         // times that the last flight may still be repeated; 0 once data has come
    uint8_t refusals;        // renegotiations refused since data came last
    bool fatal;              // the peer has sent a fatal alert: nothing is to be answered (RFC 5246 7.2.2)
};

// Takes keys, numbers, unread input and sink out of an established session and frees it. False when it cannot fold:
// not DTLS 1.2, no AEAD suite that we have, or its last flight does not open with the keys; it is as it was then.
bool fold_take(struct fold *fold, struct session *session);
// Wipes keys, frees what was handed over.
void fold_release(struct fold *fold);

// Hands over a datagram: copied, behind what is still to be opened; or borrowed, in place of it (that was lost then).
// SAGATE_OK, SAGATE_ELIMIT (64 KiB wait), SAGATE_ENOMEM.
int fold_input(struct fold *fold, struct slice datagram);
void fold_lend(struct fold *fold, struct slice datagram);

// As record_open.
size_t fold_open(struct fold *fold, uint8_t *out, size_t cap, int *status);
// Seals a record of this content type and sends it: results of record_seal.
int fold_send(struct fold *fold, uint8_t type, const uint8_t *data, size_t len);

#endif
