// Associations that a process has at hand: every TLS association, and those DTLS associations for which something is
// under way (all of them lie in the store, dataplane/association/store.h). Found by identifier or by slot. One thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_ASSOCIATION_ASSOCIATION_H
#define SAGATE_DATAPLANE_ASSOCIATION_ASSOCIATION_H

#include "common/principal.h"
#include "dataplane/association/store.h"
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
    struct batch *batch; // datagrams: of the worker; NULL: it has none
    io_id socket;        // datagrams: the listener's socket
    io_stream stream;    // streams; 0 for datagrams
    struct address peer;
};

struct association {
    struct io_user user; // of the stream's events
    struct device device;
    struct endpoint endpoint;
    struct record *record;
    void *worker;
    store_slot slot;              // DTLS: where its state lies; 0: a stream
    struct timer idle;            // stream
    uint64_t started_ms, last_ms; // stream; last: when the peer was heard
    uint64_t bytes_in, bytes_out; // stream
    enum framework framework;
    bool paused;  // stream: the binding wants no input now
    bool closing; // will be ended when the event in hand is done
    bool ready;   // on the worker's list of associations to look at after the event in hand
    bool eof;     // stream: the peer sends no more
    struct association *next_ready;
    // DTLS: nothing is under way, and the slot alone would do; oldest first.
    struct association *resting_next, **resting_link; // link NULL: not resting
    uint64_t resting_ms;
    struct association *next; // the table's own
    uint32_t place;           // the table's own
};

struct association_table;

enum { ASSOCIATION_LIVE_BUCKETS = 1 << 15 };

// Room for `max` streams. NULL when memory is short.
struct association_table *association_table_new(size_t max);
void association_table_free(struct association_table *table); // the associations themselves are the caller's

// Takes a stream in and sets device.association, with bit 63 (which no slot's identifier has); or one with a slot,
// which no other association at hand may have. SAGATE_OK, SAGATE_ELIMIT (streams: full).
int association_insert(struct association_table *table, struct association *association);
void association_remove(struct association_table *table, struct association *association);

// A stream. NULL when there is none.
struct association *association_by_id(const struct association_table *table, uint64_t id);
// NULL when none is at hand.
struct association *association_by_slot(const struct association_table *table, store_slot slot);

size_t association_streams(const struct association_table *table);

// Walks the streams in pieces: the next one at or after place *cursor, which moves on; NULL at the end, or when
// `budget` places were looked at (then *cursor is not 0). Start with *cursor 0; it is 0 again at the end.
struct association *association_walk(const struct association_table *table, uint64_t *cursor, size_t *budget);

// Calls `each` for every stream and every association at hand; it may end the one that it is called for.
void association_each(struct association_table *table, void (*each)(void *context, struct association *association),
                      void *context);

#endif
