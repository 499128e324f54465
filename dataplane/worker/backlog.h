// What handshakes have to do and could not do yet: it waits, so that the records of associations go first.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_WORKER_BACKLOG_H
#define SAGATE_DATAPLANE_WORKER_BACKLOG_H

#include "dataplane/io/io.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct worker;
struct listener;

// In the order in which they get their turn.
enum backlog_class {
    BACKLOG_BEGUN, // input of a handshake that is under way
    BACKLOG_FRESH, // of strangers: a first ClientHello, a connection
    BACKLOG_CLASSES
};

struct backlog_item;

struct backlog {
    struct backlog_item *first[BACKLOG_CLASSES], **last[BACKLOG_CLASSES];
    size_t bytes;       // held, bounded
    int64_t credit_us;  // what handshakes may use of the worker's time; below 0: they had more than their share
    uint64_t others_us; // when something else was last done
    bool turn;          // they have it: nothing is put back
};

void backlog_init(struct backlog *backlog);

// Copies an event (IO_DATAGRAM, IO_ACCEPTED, IO_DATA or IO_EOF), with the listener that it came to, or NULL for a
// stream's. A stream is paused until its turn (not for IO_EOF), so that its order stays. False: this is the turn, or
// there is no room, and the event is still the caller's.
bool backlog_put(struct worker *worker, enum backlog_class class, struct listener *listener,
                 const struct io_event *event);

// True when something waits, parked handshakes whose wait is over included.
bool backlog_waits(const struct worker *worker);

// The turn of handshakes, at the end of a round. With `others` (something else was done in this round) it lasts an
// eighth of what the rest of the round took, on average; what that rest has sent leaves before. Beyond that it ends
// when something has arrived. Else it is short enough to look at the driver again soon.
void backlog_turn(struct worker *worker, bool others);

// A listener is about to close: nothing of it gets a turn any more.
void backlog_forget(struct worker *worker, const struct listener *listener);

void backlog_free(struct backlog *backlog);

#endif
