// DTLS 1.3 records (RFC 9147 4): unified header, record number protection, key updates. No I/O, no allocation; one
// thread per state.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_RECORD_DTLS13_H
#define SAGATE_DATAPLANE_RECORD_DTLS13_H

#include "dataplane/record/aead.h"

#include <stdint.h>

enum { DTLS13_BYTES = 256 };

// The whole state of both directions: plain data without pointers, which may be mapped elsewhere (but never used twice:
// a nonce would repeat). The owner wipes it.
struct dtls13 {
    uint64_t next_out;       // epoch (16 bits) and sequence number (48 bits) of the next record to be sealed
    uint64_t newest, window; // the newest that was authentic, its epoch included; bit i: newest - i was seen
    uint32_t failed;         // records of this epoch that were not authentic
    uint8_t aead;            // enum aead
    uint8_t cid_in_len, cid_out_len;
    uint8_t flags;
    // Each way, one behind the other: key, IV, record number key, traffic secret; then the Connection IDs, in and out.
    // How long each part is follows from the suite.
    uint8_t bytes[DTLS13_BYTES];
};
_Static_assert(sizeof(struct dtls13) == 288, "a slot of 384 bytes has room for this");

#endif
