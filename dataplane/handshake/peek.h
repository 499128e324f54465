// Peek: what stands in clear in a handshake, read before wolfSSL sees it: records, ClientHello, ClientKeyExchange,
// ServerHello (RFC 5246, 6347, 8446, 9146, 9147, 4279, 6066). Pure functions over bytes.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_HANDSHAKE_PEEK_H
#define SAGATE_DATAPLANE_HANDSHAKE_PEEK_H

#include "common/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PEEK_TYPE_CHANGE_CIPHER_SPEC = 20,
    PEEK_TYPE_ALERT = 21,
    PEEK_TYPE_HANDSHAKE = 22,
    PEEK_TYPE_APPLICATION = 23,
    PEEK_TYPE_CID = 25,     // RFC 9146 4
    PEEK_TYPE_ACK = 26,     // RFC 9147 7
    PEEK_TYPE_UNIFIED = 32, // no content type, but the fixed bits of a DTLS 1.3 record header (RFC 9147 4)
    PEEK_CLIENT_HELLO = 1,
    PEEK_SERVER_HELLO = 2,
    PEEK_HELLO_VERIFY_REQUEST = 3,
    PEEK_NEW_SESSION_TICKET = 4,
    PEEK_CLIENT_KEY_EXCHANGE = 16,
    PEEK_DTLS_HEADER = 13,
    PEEK_TLS_HEADER = 5,
    PEEK_RANDOM = 32,
    PEEK_HELLO_MAX = 16384, // longest ClientHello that is taken
    PEEK_KEY_MAX = 1024,    // longest ClientKeyExchange: an identity of 512 bytes and an EC point fit
};

// Views into the bytes that were parsed. A slice that is absent has a NULL pointer.
struct peek_hello {
    uint16_t version; // legacy_version
    const uint8_t *random;
    struct slice session; // session_id
    struct slice cookie;  // DTLS
    struct slice suites, compression;
    struct slice server_name;  // host_name, as sent
    struct slice psk_identity; // the first one offered (TLS 1.3),
    struct slice psk_external; // and the first without an age, as external ones have it (RFC 8446 4.2.11)
    struct slice retry_cookie; // extension cookie (RFC 8446 4.2.2)
    struct slice cid;          // extension connection_id (RFC 9146 3); may be there and empty
    struct slice ticket;       // extension session_ticket (RFC 5077); may be there and empty
    bool versions;             // supported_versions is there, and names
    bool tls12, tls13;         // these (or those of DTLS)
    bool signature_algorithms;
    bool key_share; // at least one (RFC 8446 4.2.8)
};

// The body of a ClientHello (after the handshake header): SAGATE_OK or SAGATE_EMALFORMED.
int peek_client_hello(struct slice body, bool dtls, struct peek_hello *hello);

// True when the hello offers this cipher suite.
bool peek_offers(const struct peek_hello *hello, uint16_t suite);

// The body of a ClientKeyExchange of a PSK suite; the identity is its first field in PSK, DHE_PSK and ECDHE_PSK.
// SAGATE_OK or SAGATE_EMALFORMED.
int peek_client_key_exchange(struct slice body, struct slice *identity);

// Whole TLS records that a server sent: true when the last ServerHello in clear in them accepts a PSK (TLS 1.3). `seen`
// tells whether there was one. And the same for a datagram.
bool peek_server_took_psk(struct slice records, bool *seen);
bool peek_dtls_server_took_psk(struct slice datagram, bool *seen);

struct peek_record {
    uint8_t type;
    uint16_t version, epoch; // PEEK_TYPE_UNIFIED: no version, and the two lowest bits of the epoch
    uint64_t sequence;       // PEEK_TYPE_UNIFIED: 0, since it is encrypted
    struct slice cid;        // absent where the record has none
    struct slice whole, body;
};

// Takes the next record off a datagram: SAGATE_OK; SAGATE_AGAIN at its end; SAGATE_EMALFORMED (the rest is unusable).
// `cid_len`: bytes of the Connection IDs that its receiver has given out, which no header tells; 0: a record with one
// is malformed.
int peek_dtls_record(struct slice *datagram, size_t cid_len, struct peek_record *record);

struct peek_fragment {
    uint8_t type;
    uint16_t message_seq;
    uint32_t length, offset; // of the message; of this fragment in it
    struct slice data;
};

// Takes the next handshake fragment off a record in clear: as peek_dtls_record.
int peek_dtls_fragment(struct slice *body, struct peek_fragment *fragment);

// The check before any other work: true when the datagram begins with a record in epoch 0 that holds one whole, sane
// ClientHello. A fragmented ClientHello is not taken, since joining it would need state before the cookie.
bool peek_dtls_hello(struct slice datagram, struct peek_hello *hello, struct peek_record *record);

// The client's random of a datagram that begins with a ClientHello, or with its first fragment: NULL when it does not.
const uint8_t *peek_dtls_random(struct slice datagram);

// Joins the fragments of one DTLS message; zero-initialised means empty.
struct peek_assembly {
    bool started;
    uint16_t message_seq;
    uint32_t length, missing;
    uint8_t bytes[PEEK_KEY_MAX];
    uint8_t seen[PEEK_KEY_MAX / 8];
};

// SAGATE_DONE: the message is complete in `bytes`; SAGATE_AGAIN; SAGATE_EMALFORMED (the fragment contradicts earlier
// ones or is too long; it was ignored).
int peek_assembly_add(struct peek_assembly *assembly, const struct peek_fragment *fragment);

// Reads handshake messages off a TLS stream, split at any byte. Zero-initialise; set `limit`, the longest message.
struct peek_stream {
    size_t limit;
    uint8_t header[PEEK_TLS_HEADER];
    size_t header_len;  // 0: between two records
    size_t record_left; // bytes of the record's body still to come
    uint8_t *message;   // with its header of four bytes
    size_t len, cap;
};

// Consumes bytes up to the end of one message and says in *used how many. SAGATE_AGAIN; SAGATE_DONE: a message is
// complete, see peek_stream_message; SAGATE_EUNSUPPORTED: a record of another type (its header was not consumed whole);
// SAGATE_EMALFORMED: no TLS; SAGATE_ETOOBIG: longer than the limit; SAGATE_ENOMEM.
int peek_stream_push(struct peek_stream *stream, struct slice bytes, size_t *used);

// The complete message: its type, and its body, valid until the next push.
struct slice peek_stream_message(const struct peek_stream *stream, uint8_t *type);

// Forgets the message, keeps the place in the record.
void peek_stream_next(struct peek_stream *stream, size_t limit);
void peek_stream_release(struct peek_stream *stream);

#endif
