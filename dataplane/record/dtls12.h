// DTLS 1.2 records (RFC 6347 4.1) with an AEAD and, where one was agreed, a Connection ID (RFC 9146). No I/O, no
// allocation; one thread per state.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_RECORD_DTLS12_H
#define SAGATE_DATAPLANE_RECORD_DTLS12_H

#include "common/slice.h"
#include "dataplane/record/aead.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DTLS12_CHANGE_CIPHER_SPEC = 20, // content types
    DTLS12_ALERT = 21,
    DTLS12_HANDSHAKE = 22,
    DTLS12_APPLICATION = 23,
    DTLS12_CID = 25, // RFC 9146 4
    DTLS12_CID_MAX = 16,
    DTLS12_HEADER = 13,                                                          // without a Connection ID
    DTLS12_OVERHEAD_MAX = DTLS12_HEADER + DTLS12_CID_MAX + 8 + 1 + AEAD_TAG_MAX, // of one record
    DTLS12_ADDITIONAL_MAX = 8 + 1 + 1 + 1 + 2 + 8 + DTLS12_CID_MAX + 2,          // RFC 9146 5.3
    DTLS12_RESERVE = 16, // records kept back from data below each limit, for alerts
};

// The whole state of both directions of one epoch: plain data without pointers, which may be copied and mapped
// elsewhere (but never used twice: a nonce would repeat). Zero-initialise, fill in keys, IVs, aead, Connection IDs and
// next_out; the rest begins at 0. The owner wipes it.
struct dtls12 {
    uint64_t next_out;       // epoch (16 bits) and sequence number (48 bits) of the next record to be sealed
    uint64_t newest, window; // highest sequence number that was authentic; bit i of the window: newest - i was seen
    uint64_t failed;         // records of this epoch that were not authentic
    uint8_t key_in[AEAD_KEY_MAX], key_out[AEAD_KEY_MAX];
    uint8_t iv_in[AEAD_IV_MAX], iv_out[AEAD_IV_MAX];
    uint8_t aead;                    // enum aead
    uint8_t cid_in_len, cid_out_len; // 0: records without Connection ID
    uint8_t reserved;
    uint8_t cid_in[DTLS12_CID_MAX], cid_out[DTLS12_CID_MAX];
};
_Static_assert(sizeof(struct dtls12) <= 160, "must stay small: there is one for each association");

struct dtls12_record {
    uint8_t type;
    uint16_t version, epoch;
    uint64_t sequence;
    struct slice cid, body; // absent without DTLS12_CID; with explicit nonce and tag
};

// Takes the next record off a datagram: SAGATE_OK; SAGATE_AGAIN at its end; SAGATE_EMALFORMED (the rest is unusable).
int dtls12_next(const struct dtls12 *state, struct slice *datagram, struct dtls12_record *record);

enum dtls12_verdict {
    DTLS12_DATA,        // application data
    DTLS12_CLOSED,      // close_notify
    DTLS12_FATAL,       // a fatal alert
    DTLS12_WARNING,     // any other alert
    DTLS12_MESSAGE,     // a handshake record: bytes as with data
    DTLS12_UNWANTED,    // authentic, but of no use here: another type, a malformed alert, nothing inside
    DTLS12_OTHER_EPOCH, // the following were dropped before any decryption
    DTLS12_OTHER_CID,   // a Connection ID that is not ours, or none where one was agreed
    DTLS12_MALFORMED,   // wrong version, too short, or longer than `cap` or 2^14 bytes
    DTLS12_REPLAYED,    // seen before, or older than the window of 64 (RFC 6347 4.1.2.6)
    DTLS12_FORGED,      // not authentic
    DTLS12_EXHAUSTED,   // not authentic, and the limit of such is reached: the association must end
};

// Opens a record into `out` (may be the bytes that follow the explicit nonce in the datagram itself): DTLS12_DATA and
// DTLS12_MESSAGE give *len bytes, possibly 0. The window moves only for what is authentic. `newest` (may be NULL) says
// whether the record was the newest so far (RFC 9146 6: condition to adopt a new address).
enum dtls12_verdict dtls12_open(struct dtls12 *state, const struct dtls12_record *record, uint8_t *out, size_t cap,
                                size_t *len, bool *newest);

// The same for many records at once, of one association or several: prepare each (DTLS12_DATA: the job is ready; else
// the verdict, and no job), aead_open all jobs, judge each in the order in which they came. A job
// holds pointers into itself: it must not be moved.
struct dtls12_job {
    struct aead_job aead;
    uint64_t sequence;
    uint8_t type;
    uint8_t additional[DTLS12_ADDITIONAL_MAX];
};
enum dtls12_verdict dtls12_open_prepare(const struct dtls12 *state, const struct dtls12_record *record, uint8_t *out,
                                        size_t cap, struct dtls12_job *job);
enum dtls12_verdict dtls12_open_judge(struct dtls12 *state, const struct dtls12_job *job, size_t *len, bool *newest);

// dtls12_open of a record that was opened ahead of its turn: `ahead` was prepared, and its job done, while the state
// had the same keys. Everything else is as the state is now. The record is opened again where `ahead` is not about it.
enum dtls12_verdict dtls12_open_ahead(struct dtls12 *state, const struct dtls12_record *record,
                                      const struct dtls12_job *ahead, uint8_t *out, size_t cap, size_t *len,
                                      bool *newest);

// Bytes of a record with `len` bytes of content.
size_t dtls12_sealed_len(const struct dtls12 *state, size_t len);

// Seals one record into `out`, which must not overlap `data`. The sequence number is used up before anything is
// encrypted. SAGATE_OK with *out_len bytes; SAGATE_ETOOBIG (does not fit `cap`, or more than 2^14 bytes; nothing used
// up); SAGATE_EGONE (a limit of the key or the last sequence number is reached: the association must end; alerts have
// DTLS12_RESERVE records left); SAGATE_EINTERNAL.
int dtls12_seal(struct dtls12 *state, uint8_t type, const uint8_t *data, size_t len, uint8_t *out, size_t cap,
                size_t *out_len);

// The first part of it, for batches: writes the header and fills the job; then aead_seal. Results as of dtls12_seal.
int dtls12_seal_prepare(struct dtls12 *state, uint8_t type, const uint8_t *data, size_t len, uint8_t *out, size_t cap,
                        size_t *out_len, struct dtls12_job *job);

#endif
