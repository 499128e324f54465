// A server side in memory for tests: contexts of one listener, a recording sink, and a loop that lets a client and a
// handshake talk until both are settled.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_UNIT_HANDSHAKE_RIG_H
#define SAGATE_TESTS_UNIT_HANDSHAKE_RIG_H

#include "dataplane/handshake/handshake.h"
#include "dataplane/record/record.h"
#include "tests/unit/tls_client.h"

struct rig_options {
    bool dtls, psk;
    size_t certificates; // 0 … 2: one.example, two.example
    bool unknown_name_refused;
    enum config_tls_version version_min, version_max;
    size_t cid_len; // of the Connection IDs that are given out
    enum config_client_certificates client_certificates;
    const char *anchors; // PEM
};

struct rig_chunk {
    struct rig_chunk *next;
    size_t len;
    uint8_t bytes[];
};

struct rig {
    struct handshake_contexts *contexts;
    struct address peer;
    struct rig_chunk *sent, **sent_end; // what the sink took
    size_t sent_count;                  // since the start
    int sink_says;                      // what the sink answers; SAGATE_OK at first
    struct handshake *handshake;
    enum handshake_first first; // the last verdict of handshake_dtls_first
    int server, client;         // last results
    unsigned parked;            // times parked
    struct slice key;           // the answer to a park; NULL pointer: leave it parked
    size_t step;                // TLS: hand over this many bytes at a time; 0: all
    char identity[600];         // last peeked
    enum framework framework;
    bool resumed;              // by a ticket
    uint8_t certificate[2048]; // of the client
    size_t certificate_len;
    struct record *record;
    enum handshake_cause cause;
    size_t cid_len;
    unsigned cids; // Connection IDs made; each is its number, as many times as it is long
};

// SAGATE_OK, or what handshake_contexts_new said.
int rig_open(struct rig *rig, const struct rig_options *options);
// TLS: a connection was accepted.
int rig_accept(struct rig *rig);
void rig_close(struct rig *rig); // frees handshake and record as well

// One datagram or piece of the stream towards the server side.
void rig_give(struct rig *rig, const uint8_t *data, size_t len);
// All that waits, one way each.
void rig_client_to_server(struct rig *rig, struct tls_client *client);
void rig_server_to_client(struct rig *rig, struct tls_client *client);
// The sink that keeps what the server side sends.
struct handshake_sink rig_sink(struct rig *rig);
// Throws away what the server sent; returns the number of chunks.
size_t rig_drop_sent(struct rig *rig);

// Both sides until nothing moves. Afterwards `record` is there when the server side was established.
void rig_run(struct rig *rig, struct tls_client *client);

// Records both ways, then an orderly end: true when all arrived as it should.
bool rig_echo(struct rig *rig, struct tls_client *client, size_t len);

#endif
