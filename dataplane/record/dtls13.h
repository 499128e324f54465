// DTLS 1.3 records (RFC 9147 4): unified header, record number protection, key updates. No I/O, no allocation; one
// thread per state.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_RECORD_DTLS13_H
#define SAGATE_DATAPLANE_RECORD_DTLS13_H

#include "common/slice.h"
#include "dataplane/record/aead.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DTLS13_ALERT = 21, // content types
    DTLS13_HANDSHAKE = 22,
    DTLS13_APPLICATION = 23,
    DTLS13_ACK = 26,
    DTLS13_BYTES = 256,
    DTLS13_CID_MAX = 16,
    DTLS13_SECRET_MAX = 48,
    DTLS13_HEADER_MAX = 1 + DTLS13_CID_MAX + 2 + 2,
    DTLS13_CIPHERTEXT_MIN = 16,                                                     // for the record number's mask
    DTLS13_OVERHEAD_MAX = DTLS13_HEADER_MAX + DTLS13_CIPHERTEXT_MIN + AEAD_TAG_MAX, // of one record
    DTLS13_RESERVE = 16, // records kept back from data, for alerts
    DTLS13_EPOCH_HANDSHAKE = 2,
    DTLS13_EPOCH_FIRST = 3, // of application data
};

enum {                     // flags
    DTLS13_CHANGING = 1,   // keys are being replaced: useless when the process has died meanwhile
    DTLS13_UPDATE_IN = 2,  // the peer has announced its next epoch
    DTLS13_UPDATE_OUT = 4, // we have announced ours, and wait for the ACK
};

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
    // How long each part is follows from the suite. Where that would not fit (AES-256-GCM with long Connection IDs)
    // the record number keys are left out, and derived for each record.
    uint8_t bytes[DTLS13_BYTES];
};
_Static_assert(sizeof(struct dtls13) == 288, "a slot of 384 bytes has room for this");

// Bytes of the traffic secrets that go with an AEAD, 32 or 48; 0: not one of ours.
size_t dtls13_secret_len(enum aead aead);

// Fills a zeroed state, both ways in `epoch`: `secret_in` and `secret_out` are the epoch's traffic secrets. SAGATE_OK;
// SAGATE_EINVAL (aead, or a Connection ID longer than DTLS13_CID_MAX); SAGATE_EINTERNAL.
int dtls13_init(struct dtls13 *state, enum aead aead, uint16_t epoch, const uint8_t *secret_in,
                const uint8_t *secret_out, struct slice cid_in, struct slice cid_out);
// The peer's view of a state, to open what was sealed with it.
void dtls13_mirror(struct dtls13 *peer, const struct dtls13 *state);
// False for what cannot be a state, or was left half changed.
bool dtls13_is_sane(const struct dtls13 *state);

// Views, valid while the state is.
struct slice dtls13_cid_in(const struct dtls13 *state);
struct slice dtls13_cid_out(const struct dtls13 *state);
// Replaces the outgoing one (RFC 9147 9): false when there is no room for it.
bool dtls13_set_cid_out(struct dtls13 *state, struct slice cid);

struct dtls13_record {
    bool clear;         // a DTLSPlaintext; nothing but `whole` is set
    uint8_t epoch_bits; // the two lowest
    uint8_t number_len; // 1 or 2 bytes, still masked, at `number_at` of the header
    uint8_t number_at;
    struct slice whole, header, cid, body; // body: with the tag
};

// Takes the next record off a datagram with Connection IDs of `cid_len` bytes: SAGATE_OK; SAGATE_AGAIN at its end;
// SAGATE_EMALFORMED (the rest is unusable).
int dtls13_next(uint8_t cid_len, struct slice *datagram, struct dtls13_record *record);

enum dtls13_verdict {
    DTLS13_DATA,     // application data
    DTLS13_CLOSED,   // close_notify
    DTLS13_FATAL,    // any other alert but user_canceled (RFC 8446 6)
    DTLS13_WARNING,  // user_canceled
    DTLS13_MESSAGE,  // a handshake record: bytes as with data
    DTLS13_ACKED,    // an ACK: bytes as with data
    DTLS13_UNWANTED, // authentic, but of no use here: another type, a malformed alert, nothing inside
    DTLS13_CLEAR,    // not encrypted; this and the following were dropped before any decryption
    DTLS13_EARLIER,  // of the handshake, whose keys are gone
    DTLS13_OTHER_EPOCH,
    DTLS13_OTHER_CID, // a Connection ID that is not ours, or none where one was agreed
    DTLS13_MALFORMED, // for a record number's mask, or longer than `cap` or 2^14 bytes
    DTLS13_REPLAYED,  // seen before, or older than the window of 64
    DTLS13_FORGED,    // not authentic
    DTLS13_EXHAUSTED, // not authentic, and the limit of such is reached: the association must end
};

struct dtls13_opened {
    size_t len;
    uint64_t number; // epoch and sequence number
    bool newest;     // it was the newest so far (RFC 9147 9 with RFC 9146 6: condition to adopt a new address)
    bool new_epoch;  // it was the first of the peer's next epoch, whose keys are in use now
};

// Opens a record into `out`: DTLS13_DATA, DTLS13_MESSAGE and DTLS13_ACKED give opened->len bytes, possibly 0. The
// window moves only for what is authentic, and so do the keys after a KeyUpdate.
enum dtls13_verdict dtls13_open(struct dtls13 *state, const struct dtls13_record *record, uint8_t *out, size_t cap,
                                struct dtls13_opened *opened);

// Bytes of a record with `len` bytes of content.
size_t dtls13_sealed_len(const struct dtls13 *state, size_t len);

// Seals one record into `out`, which must not overlap `data`. The sequence number is used up before anything is
// encrypted. SAGATE_OK with *out_len bytes; SAGATE_ETOOBIG (does not fit `cap`, or more than 2^14 bytes; nothing used
// up); SAGATE_EGONE (a limit of the key or the last sequence number is reached: the association must end; alerts have
// DTLS13_RESERVE records left); SAGATE_EINTERNAL.
int dtls13_seal(struct dtls13 *state, uint8_t type, const uint8_t *data, size_t len, uint8_t *out, size_t cap,
                size_t *out_len);

// The same for many records at once. A job holds pointers into itself and into the state: it must not be moved, and
// neither keys nor place of the state may change until it is done.
struct dtls13_job {
    struct aead_job aead;
    const struct dtls13 *state;
    uint64_t number; // epoch and sequence number
    uint8_t header[DTLS13_HEADER_MAX];
    uint8_t mask[DTLS13_CIPHERTEXT_MIN];
};
// DTLS13_DATA: the job is ready for aead_open, and then for dtls13_open_ahead. Else it is left to dtls13_open, which
// has a verdict or more to do for it.
enum dtls13_verdict dtls13_open_prepare(const struct dtls13 *state, const struct dtls13_record *record, uint8_t *out,
                                        size_t cap, struct dtls13_job *job);
// dtls13_open of a record that was opened ahead of its turn; everything but the keys is as the state is now. The record
// is opened again where `ahead` is not about it, or keys have changed since.
enum dtls13_verdict dtls13_open_ahead(struct dtls13 *state, const struct dtls13_record *record,
                                      const struct dtls13_job *ahead, uint8_t *out, size_t cap,
                                      struct dtls13_opened *opened);
// Uses a number up, writes header and content to `out` and fills the job: results of dtls13_seal. After aead_seal,
// dtls13_seal_finish makes it a record: false when the job failed.
int dtls13_seal_prepare(struct dtls13 *state, uint8_t type, const uint8_t *data, size_t len, uint8_t *out, size_t cap,
                        size_t *out_len, struct dtls13_job *job);
bool dtls13_seal_finish(const struct dtls13_job *job, uint8_t *out);

// Key updates (RFC 9147 8). True when our key has sealed most of what it may.
bool dtls13_update_is_due(const struct dtls13 *state);
// Marks the state as changing, until the update of our keys below is done.
void dtls13_change(struct dtls13 *state);
// Our next epoch: SAGATE_OK; SAGATE_EGONE (there is none, or the library failed: the association must end).
int dtls13_update_out(struct dtls13 *state);

#endif
