// Established associations of one worker, and their table: by identifier, and by (listener socket, peer address).
// One thread; a fixed number of places, so that no lookup ever allocates.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_ASSOCIATION_ASSOCIATION_H
#define SAGATE_DATAPLANE_ASSOCIATION_ASSOCIATION_H

#include "common/principal.h"
#include "dataplane/binding/device.h"
#include "dataplane/io/io.h"
#include "dataplane/record/record.h"
#include "dataplane/worker/timer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Where bytes for a peer go: a datagram socket and address, or a stream.
struct endpoint {
    struct io *io;
    struct stats *stats;
    io_id socket;     // datagrams: the listener's socket
    io_stream stream; // streams; 0 for datagrams
    struct address peer;
};

struct association {
    struct io_user user; // of the stream's events
    struct device device;
    struct endpoint endpoint;
    struct record *record;
    void *worker;
    struct timer idle;
    uint64_t started_ms, last_ms; // last: when the peer was heard
    uint64_t bytes_in, bytes_out;
    enum framework framework;
    bool paused;  // stream: the binding wants no input now
    bool closing; // will be ended when the event in hand is done
    bool ready;   // on the worker's list of associations to look at after the event in hand
    bool eof;     // stream: the peer sends no more
    struct association *next_ready;
    struct association *next_by_address; // the table's own
    uint32_t place;                      // the table's own
};

struct association_table;

// Room for `max` associations. NULL when memory is short.
struct association_table *association_table_new(size_t max);
void association_table_free(struct association_table *table); // the associations themselves are the caller's

// Takes an association into the table and sets device.association; with `by_address` it is found by its endpoint too.
// SAGATE_OK, SAGATE_ELIMIT (full), SAGATE_EEXISTS (another one is at that address), SAGATE_ENOMEM.
int association_insert(struct association_table *table, struct association *association, bool by_address);
void association_remove(struct association_table *table, struct association *association);

// NULL when there is none.
struct association *association_by_id(const struct association_table *table, uint64_t id);
struct association *association_by_address(const struct association_table *table, io_id socket,
                                           const struct address *peer);

size_t association_count(const struct association_table *table);

// Walks the table in pieces: the next association at or after place *cursor, which moves on; NULL at the end, or when
// `budget` places were looked at (then *cursor is not 0). Start with *cursor 0; it is 0 again at the end.
struct association *association_walk(const struct association_table *table, uint64_t *cursor, size_t *budget);

#endif
