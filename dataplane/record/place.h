// Where the state of a folded DTLS association lies: plain data without pointers, which may outlive a process.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_RECORD_PLACE_H
#define SAGATE_DATAPLANE_RECORD_PLACE_H

#include "dataplane/record/dtls12.h"
#include "dataplane/record/dtls13.h"

#include <stdint.h>

enum record_kind {     // kept in memory that may outlive a process: never renumber
    RECORD_HELD = 0,   // on its WOLFSSL object
    RECORD_DTLS12 = 1, // folded
    RECORD_DTLS13 = 2,
    RECORD_STREAM = 3, // folded TLS 1.2 or 1.3
};

// What may still be asked of the handshake.
struct record_flight {
    uint32_t since_s; // CLOCK_MONOTONIC seconds: when the handshake ended
    uint16_t suite;   // cipher suite (IANA)
    uint8_t flights;  // times that the last flight may still be repeated; 0 once data has come
    uint8_t refusals; // renegotiations refused since data came last; DTLS 1.3: KeyUpdates of the peer in one minute
    union {
        struct {                     // DTLS 1.2
            uint8_t verify_data[12]; // of our Finished (RFC 5246 7.4.9)
            uint16_t message_seq;    // its own
            uint16_t clear_next;     // next sequence number of epoch 0, for the ChangeCipherSpec of a repeated flight
        } finished;
        struct {                     // DTLS 1.3
            uint32_t acked_sequence; // of the peer's Finished in epoch 2, to be acknowledged again (RFC 9147 7)
            uint16_t message_in;     // next message_seq of the peer; 0: not known yet
            uint16_t message_out;    // of our next message
            uint32_t update_low;  // sequence number of the first record with our KeyUpdate, while its ACK is missing:
            uint16_t update_high; // its upper 16 of 48 bits
            uint8_t minute;       // of the last KeyUpdate of the peer, the lowest 8 bits
            uint8_t acked_before; // records right before acked_sequence that are acknowledged with it
        } post;
    } rest;
};

_Static_assert(sizeof(struct record_flight) == 24, "a slot has room for this");

union record_keys {
    struct dtls12 dtls12;
    struct dtls13 dtls13;
};

struct record_place {
    struct record_flight *flight;
    void *keys; // struct dtls12 or struct dtls13
};

#endif
