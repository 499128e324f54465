// Records of an established association: opens what came, seals what goes (buffers in, buffers out, no I/O). DTLS
// with an AEAD suite is folded: traffic keys instead of a WOLFSSL object, in a place that may outlive the process. All
// else stays on its object. One thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_RECORD_RECORD_H
#define SAGATE_DATAPLANE_RECORD_RECORD_H

#include "dataplane/handshake/handshake.h"
#include "dataplane/record/place.h"

#include <stddef.h>
#include <stdint.h>

enum { RECORD_PLAINTEXT_MAX = 16384 };

// Replaces where sealed bytes go (the handshake's sink is used until then).
void record_set_sink(struct record *record, const struct handshake_sink *sink);

// Hands over one datagram, or bytes of the stream (copied; bounded). SAGATE_OK; SAGATE_ELIMIT (stream: call record_open
// until SAGATE_AGAIN first).
int record_input(struct record *record, const uint8_t *data, size_t len);

// The same without a copy where the association is folded: the bytes must stay until record_open has returned with a
// status other than SAGATE_OK and SAGATE_ERECORD. What is left of an earlier one by then is lost.
int record_lend(struct record *record, const uint8_t *data, size_t len);

// Opens the next record handed over into `out` (RECORD_PLAINTEXT_MAX bytes; for datagrams at most one record's).
// >= 0: bytes of application data (0: an empty record). Else:
//   SAGATE_AGAIN is told apart by *status, which is always set:
//   SAGATE_OK       bytes were returned
//   SAGATE_AGAIN    nothing more to open
//   SAGATE_DONE     close_notify: the peer has ended the association
//   SAGATE_ERECORD  a record was dropped (DTLS: not authentic, replayed, unknown epoch); go on
//   SAGATE_EGONE    the association is broken (TLS bad record or renegotiation attempt, fatal alert, a limit of the
//                   AEAD is reached): end it
size_t record_open(struct record *record, uint8_t *out, size_t cap, int *status);

// Seals application data and gives it to the sink: SAGATE_OK; SAGATE_AGAIN (taken; the sink says stop); SAGATE_ELIMIT
// (nothing taken); SAGATE_ETOOBIG (datagram too large for one record or for the path: 1400 bytes of plaintext at most);
// SAGATE_EGONE (also when the AEAD's limit is reached: the next record_open says so too). Stream: where the sink
// refuses a record that is made already, it is kept and offered again with the next call; `len` 0 does only that (call
// it when the sink has room again): SAGATE_OK when nothing is left.
int record_seal(struct record *record, const uint8_t *data, size_t len);

// Sends close_notify. Best effort.
void record_close(struct record *record);

// True when the association has no WOLFSSL object any more.
bool record_folded(const struct record *record);
enum record_kind record_kind(const struct record *record);

// Moves the state of a folded DTLS association to a place (zeroed memory, the caller's, which must stay as long as the
// record), wipes and frees the record's own, and goes on there. Nothing happens to other kinds.
void record_settle(struct record *record, const struct record_place *place);
// A record over state that lies in a place already. NULL when memory is short or that is no sane state of this kind.
struct record *record_resume(enum record_kind kind, const struct record_place *place,
                             const struct handshake_sink *sink);

// Of the datagram in hand: true when the last authentic record was the newest so far and came with a Connection ID, so
// that the sender's address may be adopted (RFC 9146 6, RFC 9147 9). False for other kinds than folded DTLS.
bool record_newest(const struct record *record);

// The Connection ID that the peer sends, valid until the record is settled or freed; empty: none.
struct slice record_cid(const struct record *record);

// "DTLSv1.2", "TLSv1.3"; "PSK-AES128-CCM-8". Static strings or the record's.
const char *record_protocol(const struct record *record);
const char *record_cipher(const struct record *record);
// The same of a kind (RECORD_DTLS12, RECORD_DTLS13; else "") and a cipher suite (IANA; unknown: "None"). Static
// strings.
const char *record_protocol_name(enum record_kind kind);
const char *record_suite_name(uint16_t suite);

// NULL is allowed; wipes keys, but not those in a place that it was settled in.
void record_free(struct record *record);

#endif
