// The plane connections to the workers: bounded queues for what a socket does not take at once, and who is there.
// One thread (the event loop's).
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_CONTROL_WORKERS_H
#define SAGATE_CONTROLPLANE_CONTROL_WORKERS_H

#include "common/plane.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    WORKERS_QUEUE_MAX = 10000,          // messages that wait for one worker
    WORKERS_REVOKED_QUEUE_MAX = 200000, // the same with REVOKED, which is dropped last
};

struct workers;

struct workers_events {
    void *context;
    // A message other than HELLO. Its slices end with the call.
    void (*message)(void *context, unsigned worker, const struct plane_message *message);
    // The worker knows nothing (it has started, or its queue overflowed): send it all that it needs.
    void (*greeted)(void *context, unsigned worker);
    void (*idle)(void *context); // all that had arrived at once has been handled
};

// `events` outlives the object. NULL when memory is short.
struct workers *workers_new(struct event_base *base, const struct workers_events *events);
void workers_free(struct workers *workers); // closes the sockets, wipes the queues; NULL is allowed

// A plane socket for a worker, owned from now on; the one before is closed and what waited for it dropped.
// SAGATE_OK; SAGATE_EINVAL for a number above the limit or SAGATE_ENOMEM: `fd` is closed.
int workers_set_channel(struct workers *workers, unsigned worker, int fd);

// How many workers there should be (config process.workers). Channels above are closed.
void workers_set_count(struct workers *workers, unsigned count);

// From now on messages are read and each worker, now, after each new channel and when another one says HELLO on it, is
// sent HELLO, then `greeted` is called, then one LIST of one entry with ticket 0 goes out, whose answer shows that the
// worker is at work.
void workers_start(struct workers *workers);

// Nobody is present until it says something again, for which it is asked: after the data process was replaced.
void workers_probe(struct workers *workers);

// Sends, or queues when the socket is full. SAGATE_OK; SAGATE_EGONE: no channel; SAGATE_ELIMIT: the queue is full, the
// message is dropped, and the worker is greeted anew once its queue is empty; SAGATE_ETOOBIG; SAGATE_ENOMEM.
int workers_send(struct workers *workers, unsigned worker, const struct plane_message *message);
void workers_broadcast(struct workers *workers, const struct plane_message *message);

unsigned workers_count(const struct workers *workers);
bool workers_present(const struct workers *workers, unsigned worker); // has said something on its channel
size_t workers_queued(const struct workers *workers);                 // messages, all workers
uint64_t workers_dropped(const struct workers *workers);              // messages, since the start

#endif
