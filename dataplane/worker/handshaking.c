// Handshakes in progress: from a peer's first byte to the established association, with their timers, limits and parks.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "common/hash.h"
#include "dataplane/worker/internal.h"

#include <stdlib.h>
#include <string.h>

// Offsets in a DTLS record with an unfragmented ClientHello (RFC 6347 4.1, 4.2.2; RFC 5246 7.4.1.2).
enum {
    RECORD_TYPE = 0,
    RECORD_EPOCH = 3,
    HANDSHAKE_TYPE = 13,
    HANDSHAKE_FRAGMENT_OFFSET = 19,
    SESSION_ID = 59, // behind the random
    TYPE_HANDSHAKE = 22,
    TYPE_APPLICATION_DATA = 23,
    CLIENT_HELLO = 1,
    TYPE_CID = 25, // RFC 9146 4
    CID = 11,
    UNIFIED_MASK = 0xe0, // RFC 9147 4: the first byte of the unified header
    UNIFIED = 0x20,
    UNIFIED_CID = 0x10,
    UNIFIED_EPOCH = 0x03,
    EPOCH_HANDSHAKE = 2,
};

enum { GIVE_WAY_MS = 1000 };

bool handshaking_is_hello(const uint8_t *data, size_t len)
{
    return len >= SESSION_ID && data[RECORD_TYPE] == TYPE_HANDSHAKE && data[RECORD_EPOCH] == 0 &&
           data[RECORD_EPOCH + 1] == 0 && data[HANDSHAKE_TYPE] == CLIENT_HELLO &&
           memcmp(data + HANDSHAKE_FRAGMENT_OFFSET, "\0\0\0", 3) == 0;
}

static struct pending **bucket_of(struct worker *worker, io_id socket, const struct address *peer)
{
    uint8_t bytes[24] = {0};
    memcpy(bytes, &socket, sizeof socket);
    if (peer->any.sa_family == AF_INET) {
        memcpy(bytes + 4, &peer->v4.sin_port, 2);
        memcpy(bytes + 6, &peer->v4.sin_addr, 4);
    } else {
        memcpy(bytes + 4, &peer->v6.sin6_port, 2);
        memcpy(bytes + 6, &peer->v6.sin6_addr, 16);
    }
    return &worker->pending_buckets[hash_bytes(&worker->hash_key, bytes, sizeof bytes) % WORKER_HANDSHAKE_BUCKETS];
}

static struct pending *handshaking_by_address(struct worker *worker, io_id socket, const struct address *peer)
{
    if (worker->pending_count == 0)
        return NULL;
    struct pending *pending = *bucket_of(worker, socket, peer);
    while (pending != NULL && (pending->endpoint.socket != socket || !address_equal(&pending->endpoint.peer, peer)))
        pending = pending->next_by_address;
    return pending;
}

static struct pending **parked_bucket(struct worker *worker, struct slice identity)
{
    return &worker->parked[hash_bytes(&worker->hash_key, identity.data, identity.len) % WORKER_PARKED_BUCKETS];
}

static void unlink_parked(struct pending *pending)
{
    struct worker *worker = pending->worker;
    *pending->parked_link = pending->next_parked;
    if (pending->next_parked != NULL)
        pending->next_parked->parked_link = pending->parked_link;
    else if (pending->due)
        worker->due_tail = pending->parked_link;
}

// The wait of a parked handshake is over: it goes on when it has its turn.
static void make_due(struct pending *pending)
{
    struct worker *worker = pending->worker;
    if (pending->due)
        return;
    unlink_parked(pending);
    pending->due = true;
    pending->next_parked = NULL;
    pending->parked_link = worker->due_tail;
    *worker->due_tail = pending;
    worker->due_tail = &pending->next_parked;
}

static void unpark(struct pending *pending)
{
    struct worker *worker = pending->worker;
    if (!pending->parked)
        return;
    unlink_parked(pending);
    pending->parked = pending->due = false;
    timer_cancel(&pending->park);
    worker->parked_count--;
    worker_gauge(worker, STAT_HANDSHAKES_PARKED, worker->parked_count);
}

void handshaking_end(struct pending *pending, enum stat_id result)
{
    struct worker *worker = pending->worker;
    unpark(pending);
    timer_cancel(&pending->deadline);
    timer_cancel(&pending->retransmit);
    if (pending->endpoint.socket != 0) {
        struct pending **link = bucket_of(worker, pending->endpoint.socket, &pending->endpoint.peer);
        while (*link != NULL && *link != pending)
            link = &(*link)->next_by_address;
        if (*link == pending)
            *link = pending->next_by_address;
    }
    *pending->link = pending->next;
    if (pending->next != NULL)
        pending->next->link = pending->link;
    else
        worker->pendings_tail = pending->link;
    handshake_free(pending->handshake);
    worker_replace_user(worker, &pending->user, NULL);
    if (pending->endpoint.stream != 0)
        io_stream_close(worker->io, pending->endpoint.stream);
    principal_release(pending->principal);
    if (pending->counted_stream)
        worker->stream_count--;
    worker->pending_count--;
    worker_gauge(worker, STAT_HANDSHAKES_IN_PROGRESS, worker->pending_count);
    worker_count(worker, result, 1);
    free(pending);
}

static void progress(struct pending *pending, int result);

static void on_deadline(struct timer *timer, void *context, uint64_t now_ms)
{
    (void)timer;
    (void)now_ms;
    handshaking_end(context, STAT_HANDSHAKES_FAILED_TIMEOUT);
}

static void on_retransmit(struct timer *timer, void *context, uint64_t now_ms)
{
    (void)timer;
    (void)now_ms;
    struct pending *pending = context;
    worker_count(pending->worker, STAT_HANDSHAKE_RETRANSMISSIONS, 1);
    progress(pending, handshake_timeout(pending->handshake));
}

// The control plane did not answer in time: the handshake ends as with a wrong key.
static void on_park_deadline(struct timer *timer, void *context, uint64_t now_ms)
{
    (void)timer;
    (void)now_ms;
    struct pending *pending = context;
    pending->overdue = true;
    make_due(pending);
}

static void park(struct pending *pending)
{
    struct worker *worker = pending->worker;
    if (pending->parked)
        return;
    struct pending **bucket = parked_bucket(worker, handshake_identity(pending->handshake));
    pending->parked = true;
    pending->overdue = false;
    pending->next_parked = *bucket;
    pending->parked_link = bucket;
    if (*bucket != NULL)
        (*bucket)->parked_link = &pending->next_parked;
    *bucket = pending;
    worker->parked_count++;
    timer_cancel(&pending->retransmit);
    timer_set(worker->wheel, &pending->park, worker->now_ms + worker->config->limits.parked_milliseconds);
    worker_gauge(worker, STAT_HANDSHAKES_PARKED, worker->parked_count);
    worker_count(worker, STAT_HANDSHAKES_PARKED_TOTAL, 1);
}

// Gives the handshake its key if it is at hand, or parks it. Returns the handshake's next result.
static int resolve_or_park(struct pending *pending)
{
    struct worker *worker = pending->worker;
    struct slice identity = handshake_identity(pending->handshake);
    const struct key *key = keys_find(worker->keys, identity, worker->now_ms);
    if (key->state == KEY_KNOWN) {
        principal_release(pending->principal);
        pending->principal = principal_reference(key->principal);
        return handshake_resolve(pending->handshake, slice_of(key->bytes, key->len));
    }
    if (key->state == KEY_REFUSED)
        return handshake_resolve(pending->handshake, slice_of(NULL, 0));
    if (!pending->parked && worker->parked_count >= worker->config->limits.parked) {
        worker_count(worker, STAT_LIMIT_PARKED, 1);
        return handshake_resolve(pending->handshake, slice_of(NULL, 0));
    }
    if (key->state == KEY_NONE && keys_asked(worker->keys, identity, worker->now_ms) == SAGATE_OK)
        channel_resolve(worker, identity);
    park(pending);
    return SAGATE_PARKED;
}

static void failed(struct pending *pending)
{
    struct worker *worker = pending->worker;
    const char *text = "";
    char peer[ADDRESS_TEXT_MAX];
    enum handshake_cause cause = handshake_failure(pending->handshake, &text);
    static const enum stat_id counters[] = {
        [HANDSHAKE_CAUSE_PROTOCOL] = STAT_HANDSHAKES_FAILED_PROTOCOL,
        [HANDSHAKE_CAUSE_CREDENTIAL] = STAT_HANDSHAKES_FAILED_CREDENTIAL,
        [HANDSHAKE_CAUSE_CERTIFICATE] = STAT_HANDSHAKES_FAILED_CERTIFICATE,
        [HANDSHAKE_CAUSE_PEER] = STAT_HANDSHAKES_FAILED_GONE,
    };
    log_sampled(&worker->sample_handshake, LOG_LEVEL_INFO, "handshake with %s on listener \"%s\" failed: %s",
                address_format(&pending->endpoint.peer, peer), worker->config->listeners[pending->listener].name, text);
    handshaking_end(pending, counters[cause]);
}

static void progress(struct pending *pending, int result)
{
    struct worker *worker = pending->worker;
    // Where a ticket was refused the handshake asks for the key of another identity.
    while (result == SAGATE_PARKED && !pending->parked)
        result = resolve_or_park(pending);
    switch (result) {
    case SAGATE_PARKED:
        break;
    case SAGATE_AGAIN: {
        unsigned wait = pending->endpoint.stream != 0 ? 0 : handshake_timer_ms(pending->handshake);
        if (wait == 0)
            timer_cancel(&pending->retransmit);
        else if (!timer_is_set(&pending->retransmit))
            timer_set(worker->wheel, &pending->retransmit, worker->now_ms + wait);
        break;
    }
    case SAGATE_DONE:
        traffic_establish(pending);
        break;
    default:
        failed(pending);
        break;
    }
}

void handshaking_resolved(struct worker *worker, struct slice identity)
{
    // Only those of this identity wake up.
    struct pending *next;
    for (struct pending *pending = *parked_bucket(worker, identity); pending != NULL; pending = next) {
        next = pending->next_parked;
        if (slice_equal(handshake_identity(pending->handshake), identity))
            make_due(pending);
    }
}

bool handshaking_run_due(struct worker *worker)
{
    struct pending *pending = worker->due;
    if (pending == NULL)
        return false;
    unpark(pending);
    profile_enter(PROFILE_HANDSHAKE);
    progress(pending,
             pending->overdue ? handshake_resolve(pending->handshake, slice_of(NULL, 0)) : resolve_or_park(pending));
    profile_leave();
    return true;
}

static void handshaking_input(struct pending *pending, const uint8_t *data, size_t len)
{
    // The peer was heard: what it waits for is on its way, and the timer starts anew with the next flight.
    if (!pending->parked)
        timer_cancel(&pending->retransmit);
    profile_enter(PROFILE_HANDSHAKE);
    progress(pending, handshake_run(pending->handshake, data, len));
    profile_leave();
}

// True when a datagram has to wait for the turn of handshakes, or is dropped as there are too many that do.
static bool waits_for_turn(struct worker *worker, enum backlog_class class, struct listener *listener,
                           const struct io_event *event)
{
    if (worker->backlog.turn)
        return false;
    if (!backlog_put(worker, class, listener, event))
        worker_count(worker, STAT_LIMIT_BACKLOG, 1);
    return true;
}

static void begun_input(struct pending *pending, struct listener *listener, const struct io_event *event)
{
    if (!waits_for_turn(pending->worker, BACKLOG_BEGUN, listener, event))
        handshaking_input(pending, event->data, event->len);
}

// True when there is no room for one more handshake. The oldest gives way if it had its time: peers that begin and
// never go on would else keep everybody out until their deadlines.
static bool full(struct worker *worker)
{
    if (worker->pending_count < worker->config->limits.handshakes)
        return false;
    worker_count(worker, STAT_LIMIT_HANDSHAKES, 1);
    log_sampled(&worker->sample_limit, LOG_LEVEL_WARNING, "limits.handshakes (%u per worker) is reached",
                worker->config->limits.handshakes);
    struct pending *oldest = worker->pendings;
    if (oldest == NULL || worker->now_ms - oldest->started_ms < GIVE_WAY_MS)
        return true;
    handshaking_end(oldest, STAT_HANDSHAKES_FAILED_TIMEOUT);
    return false;
}

static int handshaking_spare(struct worker *worker)
{
    if (worker->spare == NULL)
        worker->spare = calloc(1, sizeof *worker->spare);
    return worker->spare == NULL ? SAGATE_ENOMEM : SAGATE_OK;
}

// Takes the spare as the new handshake: into the list of all, with its deadline running.
static struct pending *take_spare(struct worker *worker, size_t listener, struct handshake *handshake)
{
    struct pending *pending = worker->spare;
    worker->spare = NULL;
    pending->user.kind = WORKER_USER_HANDSHAKE;
    pending->worker = worker;
    pending->listener = listener;
    pending->handshake = handshake;
    pending->started_ms = worker->now_ms;
    pending->deadline = (struct timer){.fire = on_deadline, .context = pending};
    pending->retransmit = (struct timer){.fire = on_retransmit, .context = pending};
    pending->park = (struct timer){.fire = on_park_deadline, .context = pending};
    pending->next = NULL;
    pending->link = worker->pendings_tail;
    *pending->link = pending;
    worker->pendings_tail = &pending->next;
    worker->pending_count++;
    timer_set(worker->wheel, &pending->deadline,
              worker->now_ms + (uint64_t)worker->config->limits.handshake_seconds * 1000);
    worker_gauge(worker, STAT_HANDSHAKES_IN_PROGRESS, worker->pending_count);
    worker_count(worker, STAT_HANDSHAKES_STARTED, 1);
    return pending;
}

static void first_hello(struct worker *worker, struct listener *listener, const struct io_event *event)
{
    if (worker->draining || handshaking_spare(worker) != SAGATE_OK)
        return;
    struct pending *spare = worker->spare;
    struct handshake *handshake = NULL;
    spare->endpoint =
        (struct endpoint){.io = worker->io, .stats = worker->stats, .socket = listener->id, .peer = *event->peer};
    const struct handshake_sink sink = {.send = endpoint_send, .context = &spare->endpoint};
    profile_enter(PROFILE_HANDSHAKE);
    switch (handshake_dtls_first(worker->contexts, listener->index, event->peer, event->data, event->len, &sink,
                                 &handshake)) {
    case HANDSHAKE_COOKIE_SENT:
        worker_count(worker, STAT_COOKIES_SENT, 1);
        break;
    case HANDSHAKE_STARTED: {
        // A peer that begins again before it was done has given up the one before.
        struct pending *old = handshaking_by_address(worker, listener->id, event->peer);
        if (old != NULL)
            handshaking_end(old, STAT_HANDSHAKES_FAILED_GONE);
        // Only now: a ClientHello without a cookie must not make anybody give way.
        if (full(worker)) {
            handshake_free(handshake);
            break;
        }
        struct pending *pending = take_spare(worker, listener->index, handshake);
        struct pending **bucket = bucket_of(worker, listener->id, event->peer);
        pending->next_by_address = *bucket;
        *bucket = pending;
        progress(pending, handshake_run(handshake, NULL, 0));
        break;
    }
    case HANDSHAKE_REJECTED:
        worker_count(worker, STAT_HANDSHAKES_FAILED_PROTOCOL, 1);
        break;
    case HANDSHAKE_NOT_A_HELLO:
        worker_count(worker, STAT_DATAGRAMS_DROPPED_MALFORMED, 1);
        break;
    }
    profile_leave();
}

// The Connection ID that a datagram begins with, as long as those that we issue; NULL: none.
static const uint8_t *cid_of(const struct worker *worker, const uint8_t *data, size_t len)
{
    size_t cid_len = worker->config->limits.connection_id_bytes;
    if (cid_len == 0)
        return NULL;
    if (data[RECORD_TYPE] == TYPE_CID)
        return len >= CID + cid_len ? data + CID : NULL;
    bool unified = (data[RECORD_TYPE] & (UNIFIED_MASK | UNIFIED_CID)) == (UNIFIED | UNIFIED_CID);
    return unified && len > cid_len ? data + 1 : NULL;
}

// Wherever it came from (RFC 9146 6).
static void by_cid(struct worker *worker, struct listener *listener, const struct io_event *event, const uint8_t *cid)
{
    if (store_cid_worker(cid) != worker->index) {
        rings_hand_over(worker, listener, event, store_cid_worker(cid));
        return;
    }
    store_slot slot = store_by_cid(worker->store, cid);
    if (slot != 0 && store_head(worker->store, slot)->listener == listener->number) {
        struct association *association = lifetime_wake(worker, slot);
        if (association != NULL)
            traffic_datagram(association, event->peer, event->data, event->len);
        return;
    }
    // The last flight of a handshake carries it already.
    struct pending *pending = handshaking_by_address(worker, listener->id, event->peer);
    if (pending != NULL)
        begun_input(pending, listener, event);
    else
        worker_count(worker, STAT_RECORDS_UNKNOWN_CID, 1);
}

static bool is_application_data(const uint8_t *data)
{
    bool unified = (data[RECORD_TYPE] & UNIFIED_MASK) == UNIFIED;
    return data[RECORD_TYPE] == TYPE_APPLICATION_DATA || (unified && (data[0] & UNIFIED_EPOCH) != EPOCH_HANDSHAKE);
}

static void by_address(struct worker *worker, struct listener *listener, const struct io_event *event)
{
    struct pending *pending = handshaking_by_address(worker, listener->id, event->peer);
    store_slot slot = store_by_address(worker->store, listener->number, event->peer);
    // While a rebooted device proves itself, application data still belongs to its old association.
    if (pending != NULL && !(slot != 0 && is_application_data(event->data))) {
        begun_input(pending, listener, event);
        return;
    }
    struct association *association = slot == 0 ? NULL : lifetime_wake(worker, slot);
    if (association != NULL)
        traffic_datagram(association, event->peer, event->data, event->len);
    else
        worker_count(worker, STAT_DATAGRAMS_DROPPED_UNKNOWN, 1);
}

void handshaking_datagram_turn(struct worker *worker, struct listener *listener, const struct io_event *event)
{
    if (handshaking_is_hello(event->data, event->len)) {
        struct pending *pending = handshaking_by_address(worker, listener->id, event->peer);
        if (pending != NULL && handshake_owns(pending->handshake, event->data, event->len))
            begun_input(pending, listener, event);
        else if (!waits_for_turn(worker, BACKLOG_FRESH, listener, event))
            first_hello(worker, listener, event);
        return;
    }
    const uint8_t *cid = cid_of(worker, event->data, event->len);
    if (cid != NULL)
        by_cid(worker, listener, event, cid);
    else
        by_address(worker, listener, event);
}

void handshaking_datagram(struct worker *worker, struct listener *listener, const struct io_event *event)
{
    worker_count(worker, STAT_DATAGRAMS_RECEIVED, 1);
    if (event->len < HANDSHAKE_TYPE)
        worker_count(worker, STAT_DATAGRAMS_DROPPED_MALFORMED, 1);
    else
        handshaking_datagram_turn(worker, listener, event);
}

store_slot handshaking_owner(const struct worker *worker, const struct listener *listener, const struct io_event *event)
{
    if (event->len < HANDSHAKE_TYPE || handshaking_is_hello(event->data, event->len))
        return 0;
    const uint8_t *cid = cid_of(worker, event->data, event->len);
    if (cid == NULL)
        return store_by_address(worker->store, listener->number, event->peer);
    return store_cid_worker(cid) == worker->index ? store_by_cid(worker->store, cid) : 0;
}

void handshaking_accept(struct worker *worker, struct listener *listener, const struct io_event *event)
{
    struct handshake *handshake = NULL;
    if (backlog_put(worker, BACKLOG_FRESH, listener, event))
        return;
    // What the driver allows beyond limits.connections is for the connections to CSEs.
    if (worker->stream_count >= worker->config->limits.connections) {
        worker_count(worker, STAT_STREAMS_REFUSED, 1);
        io_stream_abort(worker->io, event->stream);
        return;
    }
    worker_count(worker, STAT_STREAMS_ACCEPTED, 1);
    if (worker->draining || full(worker) || handshaking_spare(worker) != SAGATE_OK) {
        io_stream_abort(worker->io, event->stream);
        return;
    }
    struct pending *spare = worker->spare;
    spare->endpoint =
        (struct endpoint){.io = worker->io, .stats = worker->stats, .stream = event->stream, .peer = *event->peer};
    const struct handshake_sink sink = {.send = endpoint_send, .context = &spare->endpoint};
    profile_next(PROFILE_HANDSHAKE);
    if (handshake_tls_new(worker->contexts, listener->index, &sink, &handshake) != SAGATE_OK) {
        io_stream_abort(worker->io, event->stream);
        return;
    }
    struct pending *pending = take_spare(worker, listener->index, handshake);
    pending->counted_stream = true;
    worker->stream_count++;
    (void)io_stream_set_user(worker->io, event->stream, &pending->user);
}

void handshaking_stream(struct pending *pending, const struct io_event *event)
{
    switch (event->type) {
    case IO_DATA:
        pending->input_waits = backlog_put(pending->worker, BACKLOG_BEGUN, NULL, event);
        if (!pending->input_waits)
            handshaking_input(pending, event->data, event->len);
        break;
    case IO_EOF: // which does not overtake what came before
        if (!pending->input_waits || !backlog_put(pending->worker, BACKLOG_BEGUN, NULL, event))
            handshaking_end(pending, STAT_HANDSHAKES_FAILED_GONE);
        break;
    case IO_CLOSED:
        pending->endpoint.stream = 0;
        handshaking_end(pending, STAT_HANDSHAKES_FAILED_GONE);
        break;
    default:
        break;
    }
}
