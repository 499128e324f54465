// Handshakes: wolfSSL over buffers, no I/O. From the first ClientHello (cookie, RFC 6347 4.2.1, RFC 9147 5.1) to an
// established session that the record module takes over. One set of contexts per worker, one thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_HANDSHAKE_HANDSHAKE_H
#define SAGATE_DATAPLANE_HANDSHAKE_HANDSHAKE_H

#include "common/address.h"
#include "common/principal.h"
#include "common/slice.h"
#include "controlplane/config/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct handshake_contexts; // what listeners offer: WOLFSSL_CTX per (listener, certificate)
struct handshake;          // one handshake in progress; owns a WOLFSSL object
struct record;             // an established session, dataplane/record/record.h
struct record_together;    // dataplane/record/together.h

enum { HANDSHAKE_IDENTITY_MAX = 512 };

// Where a handshake's or record's bytes go: one call per datagram (DTLS), or a piece of the stream (TLS; all or
// nothing). SAGATE_OK, SAGATE_AGAIN (taken, see io_stream_write), SAGATE_ELIMIT (not taken), SAGATE_EGONE.
// A sink for datagrams may offer to have them written in place: `reserve` gives room for `len` bytes (NULL: none at
// present; the datagram counts as lost), `commit` sends the first `len` of them, with the results of `send`. What is
// not committed is given up with the next call. Both are NULL otherwise. `together` is for records of folded
// associations (dataplane/record/together.h); NULL: each is sealed and sent at once.
struct handshake_sink {
    int (*send)(void *context, const uint8_t *data, size_t len);
    void *context;
    uint8_t *(*reserve)(void *context, size_t len);
    int (*commit)(void *context, size_t len);
    const struct record_together *together;
};

// Certificates as PEM, by config certificate index, and what devices' are verified with, by trust anchor index; read by
// the supervisor. The key is wiped by the caller after use.
struct handshake_files {
    struct slice chain[CONFIG_CERTIFICATES_MAX];
    struct slice key[CONFIG_CERTIFICATES_MAX];
    struct slice anchors[CONFIG_TRUST_ANCHORS_MAX];
};

// Builds the contexts of every listener. SAGATE_OK; SAGATE_ECONFIG with a text (file and reason) in `error`;
// SAGATE_ENOMEM.
int handshake_contexts_new(const struct config *config, const struct handshake_files *files,
                           struct handshake_contexts **contexts, char *error, size_t error_cap);
// Handshakes and records made from them may outlive them.
void handshake_contexts_free(struct handshake_contexts *contexts);

enum { HANDSHAKE_COOKIE_SECRET = 32 };
// Replaces the random secret behind the DTLS cookies, so that a cookie that one worker gave is good for another.
void handshake_cookie_secret(struct handshake_contexts *contexts, const uint8_t secret[HANDSHAKE_COOKIE_SECRET]);

enum { HANDSHAKE_CID_MIN = 4, HANDSHAKE_CID_MAX = 8 };
// DTLS Connection IDs (RFC 9146, RFC 9147 9): peers that offer the extension get one of `len` bytes
// (HANDSHAKE_CID_MIN … HANDSHAKE_CID_MAX), made by `make` once their cookie was right; handshake_free does not give it
// back. 0, as at the start: an empty one, so that only the peer gets its own. `make` and its context must live as long
// as the contexts. For a peer whose own is longer than the library takes (wolfSSL_dtls_cid_max_size) the extension is
// left out.
void handshake_contexts_cid(struct handshake_contexts *contexts, size_t len, void (*make)(void *context, uint8_t *cid),
                            void *context);

// Turns session tickets on (RFC 5077, RFC 8446 4.6.1), which are good for `lifetime_seconds`, 0 turns them off again.
// Whoever has the same secret takes the tickets of others for a listener of the same name. A ticket carries the PSK
// identity that was proven: when it comes, its key is asked for as in a full handshake, and without one it is refused.
// SAGATE_OK, SAGATE_ENOMEM.
enum { HANDSHAKE_TICKET_SECRET = 32 };
int handshake_contexts_tickets(struct handshake_contexts *contexts, const uint8_t secret[HANDSHAKE_TICKET_SECRET],
                               uint32_t lifetime_seconds);

// Has every handshake keep what handshake_export needs, at the price of memory. Call before the first handshake.
void handshake_contexts_export(struct handshake_contexts *contexts);

// What one datagram from an address without an association begins with, without any state.
enum handshake_first {
    HANDSHAKE_NOT_A_HELLO, // no ClientHello in epoch 0: drop
    HANDSHAKE_COOKIE_SENT, // a HelloVerifyRequest or HelloRetryRequest went to the sink; nothing is kept
    HANDSHAKE_STARTED,     // the cookie was right: *handshake is new, and waits for handshake_run
    HANDSHAKE_REJECTED,    // a malformed ClientHello, a wrong version, an unknown server name or (DTLS 1.3) a wrong
                           // cookie: an alert may have been sent
};

// DTLS: judges the first datagram. `listener` is an index into config.listeners. The sink is used in the call and kept
// by a started handshake.
enum handshake_first handshake_dtls_first(struct handshake_contexts *contexts, size_t listener,
                                          const struct address *peer, const uint8_t *datagram, size_t len,
                                          const struct handshake_sink *sink, struct handshake **handshake);

// TLS: a handshake for an accepted connection: SAGATE_OK, SAGATE_ENOMEM.
int handshake_tls_new(struct handshake_contexts *contexts, size_t listener, const struct handshake_sink *sink,
                      struct handshake **handshake);

// Hands over input (a datagram, or bytes of the stream; copied) and goes on as far as possible; len 0 only goes on.
//   SAGATE_AGAIN   more input is needed
//   SAGATE_PARKED  the key of handshake_identity() is needed: call handshake_resolve, now or later. Input that comes
//                  meanwhile may be handed over (SAGATE_PARKED again) and is kept within bounds or dropped (DTLS).
//   SAGATE_DONE    established: take the session with handshake_finish
//   SAGATE_EHANDSHAKE  failed; an alert went to the sink where the RFC wants one; free it. handshake_failure() says
//   why.
int handshake_run(struct handshake *handshake, const uint8_t *data, size_t len);

// DTLS: false when the datagram begins with a ClientHello (or its first fragment) whose random is not that of this
// handshake: the peer began anew, so ask handshake_dtls_first. handshake_run drops such a datagram. True for all else.
bool handshake_owns(const struct handshake *handshake, const uint8_t *datagram, size_t len);

// The PSK identity that was peeked (RFC 4279 ClientKeyExchange; RFC 8446 pre_shared_key), or that a ticket of ours
// carries; valid until freed.
struct slice handshake_identity(const struct handshake *handshake);

// Ends a park: the key (at most 64 bytes, else it counts as unknown), or an empty slice for an identity that is unknown
// or not to be had, in which case the handshake goes on with a random key, so that it fails exactly as with a wrong
// one (or in full, where the identity came from a ticket: it may park again, with another). Then as handshake_run.
int handshake_resolve(struct handshake *handshake, struct slice key);

// DTLS flights (RFC 6347 4.2.4, RFC 9147 5.8): milliseconds until handshake_timeout is to be called, 0: no timer.
unsigned handshake_timer_ms(const struct handshake *handshake);
// Sends the last flight again, or what is to be acknowledged of the peer's. SAGATE_AGAIN, or SAGATE_EHANDSHAKE when the
// library gives up.
int handshake_timeout(struct handshake *handshake);

enum handshake_cause {
    HANDSHAKE_CAUSE_PROTOCOL,
    HANDSHAKE_CAUSE_CREDENTIAL,  // a PSK
    HANDSHAKE_CAUSE_CERTIFICATE, // the peer's
    HANDSHAKE_CAUSE_PEER,
};
// After SAGATE_EHANDSHAKE: whose fault, and the library's words for it (static or inside the handshake).
enum handshake_cause handshake_failure(const struct handshake *handshake, const char **text);

// After SAGATE_DONE: whether a session ticket shortened it.
bool handshake_resumed(const struct handshake *handshake);

// After SAGATE_DONE: the peer's own certificate (DER), which was verified (RFC 5280 6.1) and whose key the peer has
// proven to hold; empty: it has shown none. Valid until handshake_finish.
struct slice handshake_certificate(const struct handshake *handshake);

// After SAGATE_DONE, with handshake_contexts_export: `len` bytes of the session's exporter for `label`, without a
// context (RFC 5705, RFC 8446 7.5; TS-0003 10.3.1). SAGATE_OK; SAGATE_EUNSUPPORTED (the library does not give them;
// `out` is wiped).
int handshake_export(const struct handshake *handshake, const char *label, uint8_t *out, size_t len);

// After SAGATE_DONE: how the peer proved itself (FRAMEWORK_PSK: with handshake_identity(); FRAMEWORK_CERTIFICATE: with
// handshake_certificate(); FRAMEWORK_NONE: server certificate only), and the session. The handshake is freed. SAGATE_OK
// or SAGATE_ENOMEM.
int handshake_finish(struct handshake *handshake, enum framework *framework, struct record **record);

// NULL is allowed; wipes keys.
void handshake_free(struct handshake *handshake);

#endif
