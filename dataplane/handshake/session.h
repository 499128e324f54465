// A WOLFSSL object over memory: what was received waits in `in`, what it sends goes to the sink. Shared by handshake
// and record, and by nothing else.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_HANDSHAKE_SESSION_H
#define SAGATE_DATAPLANE_HANDSHAKE_SESSION_H

#include "dataplane/handshake/handshake.h"
#include "dataplane/handshake/peek.h"

#include <wolfssl/options.h>
// The library has an enumerator of the name of one of our functions; files that need both include this header.
#define handshake_failure wolfssl_alert_handshake_failure
#include <wolfssl/ssl.h>
#undef handshake_failure

enum {
    SESSION_INPUT_MAX = 64 * 1024,   // received and not yet read
    SESSION_PENDING_MAX = 64 * 1024, // produced, and refused by the sink, beyond what one seal makes
    SESSION_SEALED_MAX = 2048,       // records sealed last: a NewSessionTicket, ACKs, a Finished
    SESSION_SEALED_HANDSHAKE = 128,  // DTLS 1.3: longest of them in epoch 2
    SESSION_SECRET_MAX = 48,
    SESSION_TICKET_MAX = 512, // DTLS 1.2: longest NewSessionTicket that is noted, with its header
};

struct session {
    WOLFSSL *ssl;
    struct handshake_sink sink;
    bool dtls;
    uint8_t cid_len; // DTLS: bytes of the Connection IDs that we give out
    bool broken;     // the sink is gone, or more is pending than may be
    bool stopped;    // the sink's last answer was "taken, but stop" (or it refused, and bytes are pending)
    int refused;     // DTLS: what the sink said to the last datagram
    uint8_t sent;    // DTLS: content type that the last datagram sent began with
    // What the library wanted to say with illegal_parameter in clear; its owner says it, or what RFC 8446 4.2.11 wants.
    bool alert_held;
    // Received bytes [at, len); wolfSSL sees those before `released`. DTLS: whole records, one after another.
    uint8_t *in;
    size_t in_at, in_len, in_cap, in_released;
    // Stream: records that the sink refused. They go first at the next chance, so that no record is lost or halved.
    uint8_t *out;
    size_t out_len, out_cap;
    size_t pending_max; // raised while a seal runs, which is all or nothing
    // The last record that wolfSSL took (DTLS).
    struct peek_record last;
    uint64_t next_sequence; // DTLS, epoch 0: behind the last record sent
    // DTLS 1.2: the encrypted records of the last datagram sent that had any; none when they were longer. DTLS 1.3: the
    // last records that were encrypted, but for long ones of the handshake. Stream: the last record of the handshake.
    uint8_t sealed[SESSION_SEALED_MAX];
    size_t sealed_len;
    // DTLS 1.2: the NewSessionTicket that was sent (RFC 5077 3.3), with its header of twelve bytes; or one that could
    // not be kept.
    uint8_t *ticket;
    uint16_t ticket_len;
    bool ticket_missed;
    bool server_hello;     // a ServerHello was sent,
    bool psk_accepted;     // and took the PSK ((D)TLS 1.3)
    void *owner;           // the struct handshake while there is one, for the PSK callbacks
    const char *psk_suite; // DTLS 1.3 without an owner: the suite that a PSK of the hello in hand would go with
    // (D)TLS 1.3: the first application traffic secrets (RFC 8446 7.1), wiped with the session.
    uint8_t client_secret[SESSION_SECRET_MAX], server_secret[SESSION_SECRET_MAX];
    size_t secret_len; // 0: none yet
    // DTLS 1.3: the server's secret of the handshake, to read what is in `sealed`; and the records sent in epoch 3.
    uint8_t handshake_secret[SESSION_SECRET_MAX];
    uint64_t traffic_sealed;
};

// A session over a new object of `context`: NULL when memory is short. Free with session_free (NULL is allowed).
struct session *session_new(WOLFSSL_CTX *context, bool dtls, const struct handshake_sink *sink);
void session_free(struct session *session);

// Registers the input and output functions with a context.
void session_prepare(WOLFSSL_CTX *context);

// Appends received bytes: SAGATE_OK, SAGATE_ELIMIT (more than SESSION_INPUT_MAX would wait), SAGATE_ENOMEM. On a stream
// they are seen by wolfSSL only after session_release.
int session_input(struct session *session, struct slice bytes);
static inline void session_release(struct session *session, size_t len)
{
    size_t left = session->in_len - session->in_released;
    session->in_released += len < left ? len : left;
}
static inline void session_release_all(struct session *session)
{
    session->in_released = session->in_len;
}

// Stream: offers what is pending to the sink. SAGATE_OK: nothing is left; SAGATE_ELIMIT; SAGATE_EGONE.
int session_flush(struct session *session);

// Sends an alert in clear: for a failure before any key is in use towards the peer.
void session_alert(struct session *session, uint8_t description);
// The same before there is a session.
void session_alert_bare(const struct handshake_sink *sink, bool dtls, uint64_t sequence, uint8_t description);

enum { // RFC 8446 6
    ALERT_UNEXPECTED_MESSAGE = 10,
    ALERT_BAD_RECORD_MAC = 20,
    ALERT_HANDSHAKE_FAILURE = 40,
    ALERT_ILLEGAL_PARAMETER = 47,
    ALERT_DECODE_ERROR = 50,
    ALERT_DECRYPT_ERROR = 51,
    ALERT_PROTOCOL_VERSION = 70,
    ALERT_INTERNAL_ERROR = 80,
    ALERT_UNRECOGNIZED_NAME = 112,
};

#endif
