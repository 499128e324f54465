// What the files of the worker share. Not for others.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_WORKER_INTERNAL_H
#define SAGATE_DATAPLANE_WORKER_INTERNAL_H

#include "common/hash.h"
#include "common/log.h"
#include "common/plane.h"
#include "dataplane/association/association.h"
#include "dataplane/binding/coap/coap.h"
#include "dataplane/binding/http/http.h"
#include "dataplane/pep/pep.h"
#include "dataplane/upstream/upstream.h"
#include "dataplane/worker/keys.h"
#include "dataplane/worker/timer.h"
#include "dataplane/worker/worker.h"

enum {
    WORKER_EVENTS = 128,
    WORKER_OUTBOX_MAX = 4096, // messages for control that its socket could not take yet
    WORKER_HANDSHAKE_BUCKETS = 8192,
    WORKER_CLIENT_RANDOM = 32,
};

struct listener {
    struct io_user user;
    struct worker *worker;
    size_t index; // in config.listeners
    const struct config_listener *config;
    io_id id; // 0: not open
};

// A handshake in progress with what the worker keeps beside it.
struct pending {
    struct io_user user;
    struct worker *worker;
    struct handshake *handshake; // NULL only in the spare
    struct endpoint endpoint;
    size_t listener;
    uint8_t client_random[WORKER_CLIENT_RANDOM]; // DTLS: tells a repeated ClientHello from that of a rebooted device
    struct timer deadline, retransmit, park;
    uint64_t started_ms;
    bool parked;
    bool counted_stream;             // is one of worker.stream_count
    struct principal *principal;     // of the identity whose key the handshake was given; holds a reference
    struct pending *next_by_address; // DTLS
    struct pending *next_parked, **parked_link;
    struct pending *next, **link; // all of them
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
    struct timer_wheel *wheel;
    struct stats *stats;
    const struct config *config;
    struct handshake_contexts *contexts;
    struct listener *listeners[CONFIG_LISTENERS_MAX]; // by config index
    struct association_table *associations;
    struct pending *pendings, **pendings_tail; // all handshakes, oldest first
    struct pending *pending_buckets[WORKER_HANDSHAKE_BUCKETS];
    struct pending *spare; // its endpoint is the sink of stateless answers
    struct pending *parked;
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
    struct timer outbox_timer, sweep_timer, stats_timer, recheck_timer;
    uint64_t control_boot; // of the control process that was last heard; 0: none yet
    uint64_t recheck;      // cursor of the walk that asks about identities again
    struct sweep *sweeps;
    bool draining;
    uint64_t now_ms, now_us;
    struct io_event events[WORKER_EVENTS];
    struct io_event *batch; // events in hand that were not looked at yet
    size_t batch_count;
    struct hash_key hash_key;
    _Atomic(struct worker_snapshot *) offered;
    atomic_bool stopping;
    struct io_counters counted; // what of io's counters went into stats
    struct log_sample sample_handshake, sample_limit, sample_plane;
    uint8_t message[PLANE_MESSAGE_MAX];
    uint8_t plaintext[RECORD_PLAINTEXT_MAX];
};

// worker.c: what is about to be freed gets no more of the events in hand; `by`, if not NULL, gets them
void worker_replace_user(struct worker *worker, const struct io_user *user, struct io_user *by);

// endpoint.c: where bytes go
int endpoint_send(void *endpoint, const uint8_t *data, size_t len); // a handshake_sink
uint8_t *endpoint_reserve(void *endpoint, size_t len);              // and its part for datagrams
int endpoint_commit(void *endpoint, size_t len);
struct record_kernel endpoint_kernel(const struct ktls_support *support); // of streams
struct device_port worker_port(struct worker *worker);

// handshaking.c: from the first byte to the established association
void handshaking_datagram(struct worker *worker, struct listener *listener, const struct io_event *event);
void handshaking_input(struct pending *pending, const uint8_t *data, size_t len);
void handshaking_accept(struct worker *worker, struct listener *listener, const struct io_event *event);
void handshaking_stream(struct pending *pending, const struct io_event *event);
struct pending *handshaking_by_address(struct worker *worker, io_id socket, const struct address *peer);
void handshaking_end(struct pending *pending, enum stat_id result);
void handshaking_resolved(struct worker *worker, struct slice identity);
bool handshaking_is_hello(const uint8_t *data, size_t len);
const uint8_t *handshaking_client_random(const uint8_t *data);
int handshaking_spare(struct worker *worker);

// traffic.c: records of established associations
void traffic_datagram(struct association *association, const uint8_t *data, size_t len);
void traffic_stream(struct association *association, const struct io_event *event);
void traffic_pump(struct association *association);
void traffic_ready(struct association *association); // have it looked at after the event in hand
void traffic_run_ready(struct worker *worker);
void traffic_establish(struct pending *pending);
void traffic_end(struct association *association, enum stat_id reason);

// channel.c: the control plane
void channel_receive(struct worker *worker);
void channel_send(struct worker *worker, const struct plane_message *message);
void channel_hello(struct worker *worker);
void channel_resolve(struct worker *worker, struct slice identity);
int channel_pep(struct worker *worker); // makes worker->pep
int channel_sweep(struct worker *worker, const char *credential_id, enum stat_id reason, uint64_t ticket);
void channel_init(struct worker *worker);
void channel_free(struct worker *worker);

static inline void worker_count(struct worker *worker, enum stat_id id, uint64_t n)
{
    stats_add(worker->stats, id, n);
}

static inline void worker_gauge(struct worker *worker, enum stat_id id, uint64_t value)
{
    stats_set(&worker->stats->counters[id], value);
}

#endif
