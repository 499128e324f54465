// Records of an established association: opens what came, seals what goes (buffers in, buffers out, no I/O). With an
// AEAD suite it is folded: traffic keys instead of a WOLFSSL object, those of DTLS in a place that may outlive the
// process. All else stays on its object. One thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_RECORD_RECORD_H
#define SAGATE_DATAPLANE_RECORD_RECORD_H

#include "common/ktls.h"
#include "dataplane/handshake/handshake.h"
#include "dataplane/record/place.h"
#include "dataplane/record/together.h"

#include <stddef.h>
#include <stdint.h>

enum { RECORD_PLAINTEXT_MAX = 16384 };

// Replaces where sealed bytes go (the handshake's sink is used until then).
void record_set_sink(struct record *record, const struct handshake_sink *sink);

// Hands over one datagram, or bytes of the stream (copied; bounded). SAGATE_OK; SAGATE_ELIMIT (stream: call record_open
// until SAGATE_AGAIN first).
int record_input(struct record *record, const uint8_t *data, size_t len);

// The same without a copy where the association is folded: the bytes must stay until record_open has returned with a
// status other than SAGATE_OK and SAGATE_ERECORD. What is left of an earlier datagram by then is lost; of a stream
// nothing is, if record_keep is called before the bytes go.
int record_lend(struct record *record, const uint8_t *data, size_t len);

// Of a datagram just lent: its first record was opened ahead (dataplane/record/together.h), while the association was
// the same. NULL: it was not. Nothing happens to other kinds than folded DTLS.
void record_ahead(struct record *record, const struct record_opening *opening);

// Stream: copies what is left of bytes lent. SAGATE_OK; SAGATE_ELIMIT (more would wait than may); SAGATE_ENOMEM.
int record_keep(struct record *record);

// Opens the next record handed over into `out` (RECORD_PLAINTEXT_MAX bytes; for datagrams at most one record's).
// >= 0: bytes of application data (0: an empty record). Else:
//   SAGATE_AGAIN is told apart by *status, which is always set:
//   SAGATE_OK       bytes were returned
//   SAGATE_AGAIN    nothing more to open
//   SAGATE_DONE     close_notify: the peer has ended the association
//   SAGATE_ERECORD  a record was dropped (DTLS: not authentic, and the rest of its datagram with it; replayed; of an
//                   unknown epoch); go on
//   SAGATE_EGONE    the association is broken (TLS bad record or renegotiation attempt, fatal alert, a limit of the
//                   AEAD is reached): end it
size_t record_open(struct record *record, uint8_t *out, size_t cap, int *status);

// Kernel TLS. What the owner of the socket offers for it; `context` is that of the sink, which gets application data in
// clear once the kernel seals. Results of io_stream_kernel_tls, io_stream_write_record and io_stream_records.
struct record_kernel {
    const struct ktls_support *support;
    int (*keys)(void *context, bool out, const struct ktls_keys *keys);
    int (*send)(void *context, uint8_t type, const uint8_t *data, size_t len);
    uint64_t (*records)(void *context);
};

// Hands a folded stream to the kernel, each direction as soon as that is possible: call it after record_set_sink and
// again when input was opened to its end. `kernel` must stay as long as the record. Returns what was handed over by
// this call.
enum { RECORD_KERNEL_OUT = 1, RECORD_KERNEL_IN = 2 };
unsigned record_to_kernel(struct record *record, const struct record_kernel *kernel);

// A record of another type than data that the kernel has opened (IO_RECORD_FORGED, IO_RECORD_TOO_LONG: one that it has
// not). What was handed over before must have been opened. SAGATE_AGAIN, SAGATE_DONE, SAGATE_EGONE as of record_open.
int record_control(struct record *record, uint8_t type, const uint8_t *data, size_t len);

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
