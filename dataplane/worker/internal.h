// What the files of the worker share. Not for others.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_WORKER_INTERNAL_H
#define SAGATE_DATAPLANE_WORKER_INTERNAL_H

#include "common/hash.h"
#include "common/log.h"
#include "common/plane.h"
#include "common/profile.h"
#include "dataplane/association/association.h"
#include "dataplane/association/store.h"
#include "dataplane/binding/coap/coap.h"
#include "dataplane/binding/http/http.h"
#include "dataplane/pep/pep.h"
#include "dataplane/upstream/upstream.h"
#include "dataplane/worker/backlog.h"
#include "dataplane/worker/keys.h"
#include "dataplane/worker/ring.h"
#include "dataplane/worker/timer.h"
#include "dataplane/worker/worker.h"

enum {
    WORKER_EVENTS = 128,
    WORKER_OUTBOX_MAX = 4096, // messages for control that its socket could not take yet
    WORKER_HANDSHAKE_BUCKETS = 8192,
    WORKER_PARKED_BUCKETS = 1024,
    WORKER_LISTENER_NUMBERS = 256, // of the store's table
    WORKER_SECRET_COOKIES = 0,     // store_secret
    WORKER_SECRET_TICKETS = 1,
};

struct listener {
    struct io_user user;
    struct worker *worker;
    size_t index; // in config.listeners
    const struct config_listener *config;
    io_id id;       // 0: not open
    uint8_t number; // DTLS: in the store's table of listeners
};

// A handshake in progress with what the worker keeps beside it.
struct pending {
    struct io_user user;
    struct worker *worker;
    struct handshake *handshake; // NULL only in the spare
    struct endpoint endpoint;
    size_t listener;
    struct timer deadline, retransmit, park;
    uint64_t started_ms;
    bool parked;
    bool due;                                   // parked, but the wait is over, one way or the other
    bool overdue;                               // there was no answer in time
    bool input_waits;                           // in the backlog: of a stream
    bool counted_stream;                        // is one of worker.stream_count
    struct principal *principal;                // of the identity whose key the handshake was given; holds a reference
    struct pending *next_by_address;            // DTLS
    struct pending *next_parked, **parked_link; // by identity, or of those that are due
    struct pending *next, **link;               // all of them
};

struct outbox_entry {
    struct outbox_entry *next;
    size_t len;
    uint8_t bytes[];
};

// A walk over all associations in pieces that ends those of one credential.
struct sweep {
    struct sweep *next;
    char *credential_id;
    uint64_t cursor;
    enum stat_id reason;
    uint32_t ended;
    uint64_t ticket; // of a KILL that wants an answer; 0: none
};

struct worker {
    unsigned index;
    struct io *io;
    struct batch *batch_records; // NULL: records are opened and sealed one after another
    struct timer_wheel *wheel;
    struct stats *stats;
    const struct config *config;
    struct handshake_contexts *contexts;
    struct listener *listeners[CONFIG_LISTENERS_MAX];   // by config index
    struct listener *numbered[WORKER_LISTENER_NUMBERS]; // DTLS, by their number in the store
    struct store *store;                                // DTLS associations
    const uint8_t *ticket_secret;                       // in the store of the first worker
    bool locked;                                        // its memory stays out of swap space, if that was asked for
    int private_fd;                                     // memory of a store that nobody gave; -1: none
    struct association_table *associations;             // those at hand
    struct association *resting, **resting_tail;        // at hand with nothing under way, longest first
    size_t resting_count;
    struct association *spare_associations;
    const struct address *sender; // of the datagram in hand
    struct worker *const *peers;  // all workers of the process, this one included
    size_t peer_count;
    struct ring *inbound[CONFIG_WORKERS_MAX];  // by the worker that puts in
    atomic_bool rung;                          // something was put in
    struct pending *pendings, **pendings_tail; // all handshakes, oldest first
    struct pending *pending_buckets[WORKER_HANDSHAKE_BUCKETS];
    struct pending *spare;                         // its endpoint is the sink of stateless answers
    struct pending *parked[WORKER_PARKED_BUCKETS]; // by identity
    struct pending *due, **due_tail;               // parked handshakes whose wait is over, first come first served
    struct backlog backlog;
    bool others; // something else than handshakes was at hand in this round
    size_t pending_count, parked_count;
    size_t stream_count;         // connections of devices, established or not
    struct record_kernel kernel; // without `support`: no kernel TLS
    struct keys *keys;
    struct pep *pep;
    struct upstreams *upstreams;
    struct coap *coap;
    struct http *http;
    struct association *ready; // to look at after the event in hand
    struct io_user channel_user, wake_user;
    int channel_fd, wake_fd;
    uint64_t boot;
    struct outbox_entry *outbox, **outbox_tail;
    size_t outbox_count;
    struct timer outbox_timer, sweep_timer, stats_timer, recheck_timer, gone_timer, due_timer;
    uint64_t control_boot; // of the control process that was last heard; 0: none yet
    bool resumed;          // associations of an earlier process go on, about which control was not asked yet
    uint64_t recheck;      // cursor of the walk that asks about identities again
    uint64_t gone;         // cursor of the walk that ends associations of listeners that are gone
    struct sweep *sweeps, **sweeps_tail;
    bool draining;
    uint64_t now_ms, now_us;
    struct io_event events[WORKER_EVENTS];
    struct io_event *batch; // events in hand that were not looked at yet
    size_t batch_count;
    struct hash_key hash_key;
    _Atomic(struct worker_snapshot *) offered;
    atomic_bool stopping, keeping;
    struct io_counters counted; // what of io's counters went into stats
    struct profile profile;     // in use while the thread's profile_thread is not NULL
    struct timer profile_timer;
    uint64_t profile_ticket;
    struct log_sample sample_handshake, sample_limit, sample_plane;
    uint8_t message[PLANE_MESSAGE_MAX];
    uint8_t plaintext[RECORD_PLAINTEXT_MAX];
    uint8_t packed[STORE_PRINCIPAL_MAX];
};

// worker.c: what an event is for does its work with it
void worker_dispatch(struct worker *worker, const struct io_event *event);
// What is about to be freed gets no more of the events in hand; `by`, if not NULL, gets them
void worker_replace_user(struct worker *worker, const struct io_user *user, struct io_user *by);

// endpoint.c: where bytes go
int endpoint_send(void *endpoint, const uint8_t *data, size_t len); // a handshake_sink
uint8_t *endpoint_reserve(void *endpoint, size_t len);              // and its part for datagrams
int endpoint_commit(void *endpoint, size_t len);
struct record_kernel endpoint_kernel(const struct ktls_support *support); // of streams
struct device_port worker_port(struct worker *worker);

// batch.c: records that are opened and sealed side by side
struct batch *batch_new(void); // NULL: there is no engine for it
void batch_free(struct batch *batch);
const char *batch_engine(const struct batch *batch);                            // its name; NULL allowed
void batch_begin(struct worker *worker, struct io_event *events, size_t count); // opens what it can of a batch
void batch_at(struct worker *worker, size_t event); // the event in hand; WORKER_EVENTS: none
// What was opened ahead of the datagram in hand, for this slot; NULL: nothing.
const struct record_opening *batch_opening(const struct worker *worker, store_slot slot);
void batch_flush(struct batch *batch); // seals and sends what waits; NULL allowed
void batch_end(struct worker *worker);
extern const struct record_together batch_together; // of endpoints with a batch

// handshaking.c: from the first byte to the established association
void handshaking_datagram(struct worker *worker, struct listener *listener, const struct io_event *event);
// The same for what has waited in the backlog.
void handshaking_datagram_turn(struct worker *worker, struct listener *listener, const struct io_event *event);
bool handshaking_run_due(struct worker *worker); // goes on with one parked handshake whose wait is over; false: none
void handshaking_accept(struct worker *worker, struct listener *listener, const struct io_event *event);
void handshaking_stream(struct pending *pending, const struct io_event *event);
void handshaking_end(struct pending *pending, enum stat_id result);
void handshaking_resolved(struct worker *worker, struct slice identity);
bool handshaking_is_hello(const uint8_t *data, size_t len);
// Whose record a datagram seems to begin with, before anything else of its batch has happened; 0: nobody's.
store_slot handshaking_owner(const struct worker *worker, const struct listener *listener,
                             const struct io_event *event);

// lifetime.c: DTLS associations between the store and the hand, and how long associations live
struct lifetime_item { // a stream, or a slot
    struct association *association;
    store_slot slot;
};
// The association of a slot, at hand. NULL: memory is short, its listener is gone, or its state was of no use, and the
// slot is free.
struct association *lifetime_wake(struct worker *worker, store_slot slot);
// Nothing is under way for a DTLS association: it may leave the hand any time from now on.
void lifetime_rest(struct association *association);
void lifetime_busy(struct association *association); // something is, and it stays at hand
void lifetime_free(struct association *association); // no more at hand; its slot stays
void lifetime_release(struct worker *worker, store_slot slot);
void lifetime_end_slot(struct worker *worker, store_slot slot, enum stat_id reason);
struct association *lifetime_find(struct worker *worker, uint64_t id); // only if it is at hand
void lifetime_run(struct worker *worker); // some of what the store's wheel has due, and a timer for more
void lifetime_look_sooner(struct worker *worker, store_slot slot); // where the limits allow it less time now
void lifetime_due(struct timer *timer, void *context, uint64_t now_ms);
void lifetime_tick(struct worker *worker);
// An association for a handshake that is done; takes record and principal over. NULL: no room or no memory, and both
// stay the caller's.
struct association *lifetime_stream(struct pending *pending, enum framework framework, struct principal *principal,
                                    struct record *record);
struct association *lifetime_datagrams(struct pending *pending, enum framework framework, struct principal *principal,
                                       struct record *record);
// Walks streams, then slots, in pieces; false: at the end (*cursor is 0) or `budget` places were looked at.
bool lifetime_walk(struct worker *worker, uint64_t *cursor, size_t *budget, struct lifetime_item *item);

// rings.c: datagrams for other workers
void rings_hand_over(struct worker *worker, const struct listener *listener, const struct io_event *event,
                     uint32_t owner);
void rings_drain(struct worker *worker);
void rings_free(struct worker *worker);

// traffic.c: records of established associations
void traffic_datagram(struct association *association, const struct address *sender, const uint8_t *data, size_t len);
void traffic_stream(struct association *association, const struct io_event *event);
void traffic_ready(struct association *association); // have it looked at after the event in hand
void traffic_run_ready(struct worker *worker);
void traffic_establish(struct pending *pending);
void traffic_end(struct association *association, enum stat_id reason);
void traffic_sent(struct association *association, size_t len); // a record with so much data was sealed

// channel.c: the control plane
void channel_receive(struct worker *worker);
void channel_send(struct worker *worker, const struct plane_message *message);
void channel_hello(struct worker *worker);
void channel_resolve(struct worker *worker, struct slice identity);
int channel_pep(struct worker *worker); // makes worker->pep
void channel_init(struct worker *worker);
void channel_free(struct worker *worker);

// profile.c: counting how long each stage takes
void profile_init(struct worker *worker);
void profile_free(struct worker *worker);
void profile_order(struct worker *worker, const struct plane_profile *order);
int profile_wait(struct worker *worker, int64_t timeout_us); // io_wait, while the thread counts

static inline void worker_count(struct worker *worker, enum stat_id id, uint64_t n)
{
    stats_add(worker->stats, id, n);
}

static inline void worker_gauge(struct worker *worker, enum stat_id id, uint64_t value)
{
    stats_set(&worker->stats->counters[id], value);
}

#endif
