// A wolfSSL client and a server's session over memory, for what no handshake module is needed for: DTLS 1.3, and
// Connection IDs of any length with both versions.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_UNIT_DTLS_PAIR_H
#define SAGATE_TESTS_UNIT_DTLS_PAIR_H

#include "dataplane/handshake/session.h"
#include "dataplane/record/record.h"

struct pair_options {
    bool dtls13;
    const char *suite; // wolfSSL's name
    bool psk;          // else a certificate of the server
    bool client_certificate;
    bool tickets;
    bool cid;                // both offer the extension,
    uint8_t cid_in, cid_out; // and want to be sent so many bytes: the server, the client
};

struct pair_chunk {
    struct pair_chunk *next;
    size_t len;
    uint8_t bytes[];
};

struct pair_queue {
    struct pair_chunk *first, **last;
};

struct pair {
    struct pair_options options;
    WOLFSSL_CTX *client_ctx, *server_ctx;
    WOLFSSL *client;
    struct session *session; // NULL once it has become the record
    struct record *record;
    struct pair_queue to_client, to_server;
    size_t sent; // datagrams of the server side
    bool client_done;
};

// A finished handshake, but for `record`: false when it did not come to that. Close it in any case.
bool pair_open(struct pair *pair, const struct pair_options *options);
// The same, and the record; what the server sent last has not been read by the client.
bool pair_establish(struct pair *pair, const struct pair_options *options);
void pair_close(struct pair *pair);

struct handshake_sink pair_sink(struct pair *pair);
// Lets the client read what waits for it: bytes, 0 when there was no data, -1 when the association has ended.
int pair_client_reads(struct pair *pair, void *out, size_t cap);
// Lets the record open what waits for it: the status of the last record_open, with *len bytes when that is SAGATE_OK.
int pair_server_reads(struct pair *pair, uint8_t *out, size_t cap, size_t *len);
// The next datagram on its way: NULL when there is none; else to be freed.
struct pair_chunk *pair_take(struct pair_queue *queue);
void pair_put(struct pair_queue *queue, const uint8_t *bytes, size_t len);
size_t pair_drop(struct pair_queue *queue); // returns how many there were

// Data both ways: true when all of it arrived.
bool pair_echo(struct pair *pair, size_t len);

#endif
