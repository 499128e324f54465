// What the files of this folder share: contexts with their listening objects, and a handshake in progress.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_HANDSHAKE_INTERNAL_H
#define SAGATE_DATAPLANE_HANDSHAKE_INTERNAL_H

#include "dataplane/handshake/handshake.h"
#include "dataplane/handshake/peek.h"
#include "dataplane/handshake/session.h"
#include "dataplane/handshake/tickets.h"

enum {
    HANDSHAKE_KEY_MAX = 64, // what wolfSSL takes
    HANDSHAKE_RANDOM_KEY = 32,
    HANDSHAKE_COOKIE = 32,            // of DTLS 1.2
    HANDSHAKE_RETRY_MAC = 32,         // at the end of the library's cookie of DTLS 1.3
    HANDSHAKE_HELD_MAX = 24,          // DTLS records held while parked,
    HANDSHAKE_HELD_BYTES = 16 * 1024, // and their bytes: about eight datagrams
};

// One (listener, certificate).
struct context {
    WOLFSSL_CTX *ctx;
    struct session *listening; // DTLS: answers hellos without state; NULL until needed, replaced when it took a cookie
};

struct context_listener {
    bool dtls, psk, tls12, tls13;
    bool unknown_name_refused;
    enum config_client_certificates client_certificates;
    uint8_t binding[32]; // SHA-256 of its name and of what it asks of peers: tickets are good for it alone
    size_t count;        // contexts; at least one
    struct context *contexts;
    struct config_certificate **certificates; // their server names only; NULL entry: no certificate
};

struct handshake_contexts {
    size_t references; // the owner's, and one for each handshake
    size_t listener_count;
    struct context_listener *listeners;
    uint8_t *cookie_secret; // in secret memory, and behind it what is derived from it for DTLS 1.3
    uint8_t cid_len;        // of Connection IDs; 0: none
    void (*make_cid)(void *context, uint8_t *cid);
    void *make_cid_context;
    struct tickets tickets; // lifetime 0: none are given or taken
    uint8_t *ticket_secret; // in secret memory
    bool exports;           // handshakes keep what the exporter needs
};

struct handshake_contexts *contexts_reference(struct handshake_contexts *contexts);

// DTLS 1.2: the cookie for a hello (`peer`: as given to wolfSSL_dtls_set_peer), the same that the library makes with
// our secret. False when it fails.
bool contexts_cookie12(const struct handshake_contexts *contexts, const struct peek_hello *hello, struct slice peer,
                       uint8_t cookie[HANDSHAKE_COOKIE]);

// True when the cookie of a second ClientHello was made with our secret for the same peer (`peer`: as given to
// wolfSSL_dtls_set_peer). The library looks itself when it gets the ClientHello.
bool contexts_made_cookie12(const struct handshake_contexts *contexts, const struct peek_hello *hello,
                            struct slice peer);
bool contexts_made_cookie13(const struct handshake_contexts *contexts, const struct peek_hello *hello,
                            struct slice peer);

// The context for a server name (absent: a NULL pointer): NULL when the name is unknown and such are refused.
struct context *contexts_select(struct context_listener *listener, struct slice server_name);

// The peer's own certificate, copied when the library has verified it.
struct leaf {
    uint8_t *der; // NULL: none
    size_t len;
    bool refused;                  // one came that is not good
    WOLFSSL_CERT_MANAGER *issuers; // which has taken in others that came with it
};

// verify.c: has the library ask for certificates of peers and verify them with these anchors (PEM, `count`). SAGATE_OK,
// or SAGATE_ECONFIG with the index of the one that is of no use in *bad.
int verify_set_up(WOLFSSL_CTX *ctx, enum config_client_certificates wanted, const struct slice *anchors, size_t count,
                  size_t *bad);
// Around every call of the library that may verify: what it finds goes to `leaf`.
void verify_begin(struct leaf *leaf);
void verify_end(struct leaf *leaf);

enum handshake_state {
    HANDSHAKE_HELLO,   // TLS: the ClientHello is not complete
    HANDSHAKE_RUNNING, // all input goes to wolfSSL
    HANDSHAKE_KEY,     // a PSK suite was chosen: input is withheld until the identity is known
    HANDSHAKE_PARKED,
    HANDSHAKE_ESTABLISHED,
    HANDSHAKE_FAILED,
};

struct held_record {
    uint8_t *bytes;
    size_t len;
    uint8_t type;
    uint16_t epoch;
};

struct handshake {
    struct session *session; // TLS: NULL until the ClientHello is complete
    bool dtls;
    enum handshake_state state;
    enum handshake_cause cause;
    char text[96];

    uint8_t identity[HANDSHAKE_IDENTITY_MAX];
    size_t identity_len;
    bool identity_known;
    bool identity_unusable; // empty, or with a NUL byte, which the library would take for its end
    bool hello_parked;      // the identity came with the ClientHello, which is held
    bool psk_declined;      // (D)TLS 1.3: the identity is unknown, and a certificate may serve instead
    bool certificate_usable;
    bool key_used; // the library asked for the key, for exactly the identity that was peeked
    uint8_t *key;  // secret memory
    size_t key_len;
    bool key_random;       // nobody has this key: the handshake must not succeed
    const char *psk_suite; // (D)TLS 1.3: the suite that goes with the PSK
    bool ticket;           // the ClientHello has a ticket of ours, whose identity, if it has one, is the peeked one
    bool ticket_used;      // the library was given what is in it
    // (D)TLS 1.3, in the ClientHello that is held: what is left to ask for when a ticket is refused
    struct slice psk_external;
    uint32_t ticket_key; // tickets_key of the key that its identity must still have

    bool certificate_asked; // of the peer
    struct leaf leaf;

    struct handshake_sink sink;
    struct handshake_contexts *contexts; // referenced
    struct context_listener *listener;   // one of theirs

    // TLS
    uint8_t *early; // bytes of the ClientHello while there is no session
    size_t early_len, early_cap;
    size_t hello_end; // bytes of the stream up to the end of the ClientHello
    struct peek_stream stream;

    // DTLS
    uint8_t random[PEEK_RANDOM];
    uint16_t retry_suite;           // DTLS 1.3: the suite that the HelloRetryRequest has named
    struct peek_assembly *assembly; // of a fragmented ClientKeyExchange
    struct held_record held[HANDSHAKE_HELD_MAX];
    size_t held_count, held_bytes;
    bool key_exchange_given, cipher_changed; // what wolfSSL has had
};

// A handshake without a session: NULL when memory is short.
struct handshake *handshake_new(struct handshake_contexts *contexts, struct context_listener *listener,
                                const struct handshake_sink *sink);

// Gives the handshake its session, and the session its owner.
void handshake_own(struct handshake *handshake, struct session *session);

// Lets wolfSSL go on with what it may see: SAGATE_AGAIN, SAGATE_DONE, SAGATE_EHANDSHAKE.
int handshake_step(struct handshake *handshake);

// Takes a peeked identity and parks, or answers an unusable one at once: as handshake_run.
int handshake_park(struct handshake *handshake, struct slice identity);

// Ends the handshake as failed; an alert of this description (0: none) goes out: SAGATE_EHANDSHAKE.
int handshake_fail(struct handshake *handshake, enum handshake_cause cause, uint8_t alert, const char *text);

// True when the version that was negotiated is TLS 1.3 or DTLS 1.3.
bool handshake_is_tls13(const struct handshake *handshake);

// Whether the peer is asked for a certificate: as the listener says, but not where the hello makes the library choose a
// PSK suite of (D)TLS 1.2 (RFC 4279 2). Called once there is a session.
void handshake_choose_certificate(struct handshake *handshake, const struct peek_hello *hello);

// True when a PSK suite of TLS 1.2 was negotiated.
bool handshake_psk_suite(const struct handshake *handshake);

// TLS 1.2: true when the library has taken a ticket and shortens the handshake.
bool handshake_resumes(const struct handshake *handshake);

// TLS and DTLS halves of handshake_run, and what each does when the key is there.
int tls_run(struct handshake *handshake, struct slice bytes);
int tls_unpark(struct handshake *handshake);
int dtls_run(struct handshake *handshake, struct slice datagram);
int dtls_unpark(struct handshake *handshake);

// What a ClientHello that is held offers to prove: a ticket of ours goes before a PSK. Parks for its identity, or goes
// on where there is none: as handshake_run. `tls13`: (D)TLS 1.3 will be negotiated.
int offer_take(struct handshake *handshake, const struct peek_hello *hello, bool tls13);
// The identity of the ticket is not to be had: the handshake goes on as if there were no ticket.
int offer_refuse_ticket(struct handshake *handshake);
// False when the hello surely has no ticket of ours, by the shape of what it has.
bool offer_may_have_ticket(const struct handshake_contexts *contexts, const struct peek_hello *hello, bool tls13);
// The best suite of (D)TLS 1.3 that the hello offers and that an external PSK goes with: NULL when there is none.
const char *offer_suite_for_psk(const struct peek_hello *hello);

// PSK callbacks of wolfSSL.
unsigned int handshake_psk_tls12(WOLFSSL *ssl, const char *identity, unsigned char *key, unsigned int max);
unsigned int handshake_psk_tls13(WOLFSSL *ssl, const char *identity, unsigned char *key, unsigned int max,
                                 const char **suite);

// Ticket callback of wolfSSL.
int handshake_ticket(WOLFSSL *ssl, unsigned char *name, unsigned char *iv, unsigned char *mac, int seal,
                     unsigned char *body, int len, int *out_len, void *context);

#endif
