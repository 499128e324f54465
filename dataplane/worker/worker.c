// The worker: its loop, and how it takes a new configuration between two batches.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/worker/worker.h"

#include "common/clock.h"
#include "common/error.h"
#include "dataplane/worker/internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    RECEIVE_BUFFERS = 512,
    STREAM_HIGH_WATER = 64 * 1024,
    STREAM_LIMIT = 256 * 1024,
    UPSTREAM_STREAMS_MAX = 16384, // connections to CSEs and their health checks
    KEYS_MAX = 65536,
    KEYS_SWEEP = 512, // buckets looked through with each STATS_MS: all of them in about a minute
    WAIT_MAX_MS = 250,
    END_BATCH = 128, // associations ended between two looks at the driver
    END_WAITS = 100,
    END_MS = 2000, // a million peers cannot all be told that they are not served any more
    GONE_PLACES = 2000,
    END_WAIT_US = 20000,
    STATS_MS = 500,
};

static struct listener *listener_like(struct worker *worker, const struct config_listener *config)
{
    for (size_t i = 0; i < CONFIG_LISTENERS_MAX; i++) {
        struct listener *listener = worker->listeners[i];
        if (listener != NULL && listener->config->transport == config->transport &&
            address_equal(&listener->config->address, &config->address))
            return listener;
    }
    return NULL;
}

// The number under which the slots of the store know a listener.
static bool number_listener(struct worker *worker, struct listener *listener)
{
    int number = store_listener(worker->store, &listener->config->address);
    if (number < 0)
        return false;
    listener->number = (uint8_t)number;
    return true;
}

static struct listener *listener_open(struct worker *worker, const struct config_listener *config, int fd)
{
    struct listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL)
        return NULL;
    *listener = (struct listener){.user = {.kind = WORKER_USER_LISTENER}, .worker = worker, .config = config};
    if (config->transport == CONFIG_DTLS && !number_listener(worker, listener)) {
        free(listener);
        return NULL;
    }
    int result = config->transport == CONFIG_DTLS ? io_add_datagram(worker->io, fd, &listener->user, &listener->id)
                                                  : io_add_listener(worker->io, fd, &listener->user, &listener->id);
    if (result != SAGATE_OK) {
        free(listener);
        return NULL;
    }
    return listener;
}

static void listener_close(struct worker *worker, struct listener *listener)
{
    backlog_forget(worker, listener);
    io_remove(worker->io, listener->id);
    free(listener);
}

// Fills `next` with a listener for each of the new configuration: a new socket, or the one that is open already.
// On an error the new ones are closed.
static int listeners_for(struct worker *worker, const struct worker_snapshot *snapshot, struct listener **next)
{
    struct listener *opened[CONFIG_LISTENERS_MAX];
    size_t opened_count = 0;
    for (size_t i = 0; i < snapshot->config->listener_count; i++) {
        int fd = snapshot->listener_fds[i];
        const struct config_listener *config = &snapshot->config->listeners[i];
        bool fresh = fd >= 0 || worker->config == NULL;
        next[i] = fresh ? listener_open(worker, config, fd) : listener_like(worker, config);
        if (next[i] == NULL) {
            while (opened_count > 0)
                listener_close(worker, opened[--opened_count]);
            return SAGATE_ENOTFOUND;
        }
        if (fresh)
            opened[opened_count++] = next[i];
    }
    return SAGATE_OK;
}

static void listeners_close_unused(struct worker *worker, struct listener **next)
{
    for (size_t i = 0; i < CONFIG_LISTENERS_MAX; i++) {
        struct listener *listener = worker->listeners[i];
        bool used = listener == NULL;
        for (size_t j = 0; !used && j < CONFIG_LISTENERS_MAX; j++)
            used = next[j] == listener;
        if (!used)
            listener_close(worker, listener);
    }
    memcpy(worker->listeners, next, sizeof worker->listeners);
}

struct point {
    struct worker *worker;
    const struct config *config;
};

static void point_association_at(void *context, struct association *association)
{
    const struct point *point = context;
    const struct config *config = point->config;
    const struct config_listener *old = association->device.listener;
    size_t i = 0;
    while (i < config->listener_count && (config->listeners[i].transport != old->transport ||
                                          !address_equal(&config->listeners[i].address, &old->address)))
        i++;
    if (i == config->listener_count) {
        traffic_end(association, STAT_ASSOCIATIONS_ENDED_OPERATOR);
        return;
    }
    association->device.listener = &config->listeners[i];
    association->device.upstream_index = config->listeners[i].upstream;
    association->device.upstream = &config->upstreams[config->listeners[i].upstream];
}

// Handshakes and associations refer to listeners and upstreams of the configuration that goes away.
static void point_at(struct worker *worker, const struct config *config)
{
    struct pending *next;
    for (struct pending *pending = worker->pendings; pending != NULL; pending = next) {
        next = pending->next;
        const struct config_listener *old = &worker->config->listeners[pending->listener];
        size_t i = 0;
        while (i < config->listener_count && (config->listeners[i].transport != old->transport ||
                                              !address_equal(&config->listeners[i].address, &old->address)))
            i++;
        if (i == config->listener_count)
            handshaking_end(pending, STAT_HANDSHAKES_FAILED_GONE);
        else
            pending->listener = i;
    }
    association_each(worker->associations, point_association_at, &(struct point){worker, config});
}

// Goes through the store in pieces after a change of the configuration: associations whose listener is gone end, and
// its number is given up then; others may have less time than before.
static void end_gone(struct timer *timer, void *context, uint64_t now_ms)
{
    struct worker *worker = context;
    size_t budget = GONE_PLACES;
    store_slot slot;
    while ((slot = store_walk(worker->store, &worker->gone, &budget)) != 0) {
        if (worker->numbered[store_head(worker->store, slot)->listener] == NULL)
            lifetime_end_slot(worker, slot, STAT_ASSOCIATIONS_ENDED_OPERATOR);
        else
            lifetime_look_sooner(worker, slot);
    }
    if (worker->gone != 0)
        timer_set(worker->wheel, timer, now_ms + 1);
    for (size_t i = 0; worker->gone == 0 && i < WORKER_LISTENER_NUMBERS; i++) {
        if (worker->numbered[i] == NULL)
            store_listener_forget(worker->store, (uint8_t)i);
    }
}

static void new_cid(void *context, uint8_t *cid)
{
    const struct worker *worker = context;
    store_new_cid(worker->store, cid);
}

static int take_snapshot(struct worker *worker, struct worker_snapshot *snapshot)
{
    struct listener *next[CONFIG_LISTENERS_MAX] = {NULL};
    const struct config *config = snapshot->config;
    if (handshake_contexts_tickets(snapshot->contexts, worker->ticket_secret, config->limits.session_ticket_seconds) !=
            SAGATE_OK ||
        listeners_for(worker, snapshot, next) != SAGATE_OK)
        return SAGATE_EINTERNAL;
    point_at(worker, config);
    if (upstream_reload(worker->upstreams, config, worker->now_ms) != SAGATE_OK ||
        coap_reload(worker->coap, config, worker->now_ms) != SAGATE_OK ||
        http_reload(worker->http, config, worker->now_ms) != SAGATE_OK) {
        // Some parts have the new configuration and some the old one: a new process is the only consistent state.
        log_error("worker %u: out of memory while taking the new configuration", worker->index);
        abort();
    }
    listeners_close_unused(worker, next);
    memset(worker->numbered, 0, sizeof worker->numbered);
    for (size_t i = 0; i < config->listener_count; i++) {
        struct listener *listener = worker->listeners[i];
        listener->index = i;
        listener->config = &config->listeners[i];
        if (listener->config->transport == CONFIG_DTLS)
            worker->numbered[listener->number] = listener;
    }
    worker->gone = 0;
    timer_set(worker->wheel, &worker->gone_timer, worker->now_ms + 1);
    handshake_cookie_secret(snapshot->contexts, store_secret(worker->store, WORKER_SECRET_COOKIES));
    handshake_contexts_cid(snapshot->contexts, config->limits.connection_id_bytes, new_cid, worker);
    handshake_contexts_free(worker->contexts);
    worker->contexts = snapshot->contexts;
    worker->config = config;
    return SAGATE_OK;
}

static void check_offered(struct worker *worker)
{
    struct worker_snapshot *snapshot = atomic_load_explicit(&worker->offered, memory_order_acquire);
    if (snapshot == NULL)
        return;
    snapshot->refused = take_snapshot(worker, snapshot) != SAGATE_OK;
    atomic_store_explicit(&worker->offered, NULL, memory_order_release);
}

void worker_swap(struct worker *worker, struct worker_snapshot *snapshot)
{
    atomic_store_explicit(&worker->offered, snapshot, memory_order_release);
    uint64_t one = 1;
    ssize_t ignored = worker->wake_fd >= 0 ? write(worker->wake_fd, &one, sizeof one) : 0;
    (void)ignored;
}

bool worker_swapped(struct worker *worker)
{
    return atomic_load_explicit(&worker->offered, memory_order_acquire) == NULL;
}

void worker_stop_keeping(struct worker *worker)
{
    atomic_store_explicit(&worker->keeping, true, memory_order_release);
    worker_stop(worker);
}

void worker_stop(struct worker *worker)
{
    atomic_store_explicit(&worker->stopping, true, memory_order_release);
    uint64_t one = 1;
    ssize_t ignored = worker->wake_fd >= 0 ? write(worker->wake_fd, &one, sizeof one) : 0;
    (void)ignored;
}

bool worker_memory_locked(const struct worker *worker)
{
    return worker->locked;
}

const char *worker_engine(const struct worker *worker)
{
    return batch_engine(worker->batch_records);
}

struct io *worker_io(struct worker *worker)
{
    return worker->io;
}

static void copy_counters(struct timer *timer, void *context, uint64_t now_ms)
{
    struct worker *worker = context;
    const struct io_counters *now = &worker->io->counters;
    worker_count(worker, STAT_STREAMS_REFUSED, now->streams_refused - worker->counted.streams_refused);
    worker_count(worker, STAT_DATAGRAMS_DROPPED_MALFORMED,
                 now->datagrams_truncated - worker->counted.datagrams_truncated);
    worker_count(worker, STAT_IO_BATCHES, now->waits - worker->counted.waits);
    worker_count(worker, STAT_IO_SUBMISSIONS, now->submissions - worker->counted.submissions);
    worker_count(worker, STAT_IO_ENTERS, now->enters - worker->counted.enters);
    worker->counted = *now;
    keys_expire(worker->keys, now_ms, KEYS_SWEEP);
    lifetime_tick(worker);
    timer_set(worker->wheel, timer, now_ms + STATS_MS);
}

void worker_dispatch(struct worker *worker, const struct io_event *event)
{
    struct listener *listener = (struct listener *)event->user;
    switch ((enum worker_user)event->user->kind) {
    case WORKER_USER_LISTENER:
        profile_next(PROFILE_LOOKUP);
        if (event->type == IO_DATAGRAM)
            handshaking_datagram(worker, listener, event);
        else if (event->type == IO_ACCEPTED)
            handshaking_accept(worker, listener, event);
        break;
    case WORKER_USER_HANDSHAKE:
        profile_next(PROFILE_HANDSHAKE);
        handshaking_stream((struct pending *)event->user, event);
        break;
    case WORKER_USER_ASSOCIATION:
        worker->others = true;
        profile_next(PROFILE_LOOKUP);
        traffic_stream((struct association *)event->user, event);
        break;
    case WORKER_USER_COAP_UPSTREAM:
        worker->others = true;
        profile_next(PROFILE_ANSWER);
        coap_from_upstream(worker->coap, event, worker->now_us);
        break;
    case WORKER_USER_HTTP_UPSTREAM:
        worker->others = true;
        profile_next(PROFILE_ANSWER);
        http_from_upstream(worker->http, event, worker->now_us);
        break;
    case WORKER_USER_CHANNEL:
        profile_next(PROFILE_PLANE);
        channel_receive(worker);
        break;
    case WORKER_USER_WAKE: {
        uint64_t ignored;
        ssize_t got = read(worker->wake_fd, &ignored, sizeof ignored);
        (void)got;
        break;
    }
    }
    traffic_run_ready(worker);
}

void worker_replace_user(struct worker *worker, const struct io_user *user, struct io_user *by)
{
    for (size_t i = 0; i < worker->batch_count; i++) {
        if (worker->batch[i].user == user)
            worker->batch[i].user = by;
    }
}

// An earlier event of the batch may have ended what this one is for, or handed its stream on, so the driver is asked.
// It cannot be about a stream whose end this event is; there the event's own user counts, unless it was forgotten.
static struct io_user *user_of(const struct worker *worker, const struct io_event *event)
{
    bool last = event->type == IO_CLOSED || (event->type == IO_CONNECTED && event->error != 0);
    if (event->stream == 0 || event->type == IO_ACCEPTED || last)
        return event->user;
    return io_stream_user(worker->io, event->stream);
}

int worker_round(struct worker *worker, int64_t timeout_us)
{
    struct io_event *events = worker->events;
    int64_t wait_us = backlog_waits(worker) ? 0 : timeout_us;
    int count = profile_is_on() ? profile_wait(worker, wait_us) : io_wait(worker->io, events, WORKER_EVENTS, wait_us);
    if (count < 0)
        return count;
    worker->now_us = clock_us();
    worker->now_ms = worker->now_us / 1000;
    worker->others = false;
    batch_begin(worker, events, (size_t)count);
    for (int i = 0; i < count; i++) {
        batch_at(worker, (size_t)i);
        worker->batch = &events[i + 1];
        worker->batch_count = (size_t)(count - i - 1);
        events[i].user = user_of(worker, &events[i]);
        if (events[i].user != NULL)
            worker_dispatch(worker, &events[i]);
    }
    worker->batch_count = 0;
    batch_at(worker, WORKER_EVENTS); // what follows is none of them
    profile_next(PROFILE_LOOKUP);
    rings_drain(worker);
    profile_next(PROFILE_TIMERS);
    lifetime_run(worker);
    timer_wheel_run(worker->wheel, worker->now_ms);
    traffic_run_ready(worker);
    profile_next(PROFILE_WORKER);
    batch_end(worker);
    backlog_turn(worker, worker->others);
    check_offered(worker);
    return SAGATE_OK;
}

// Ends the association of an item, or with `keeping` only takes it off the hand.
static void end_item(struct worker *worker, const struct lifetime_item *item)
{
    if (item->association != NULL)
        traffic_end(item->association, STAT_ASSOCIATIONS_ENDED_OPERATOR);
    else
        lifetime_end_slot(worker, item->slot, STAT_ASSOCIATIONS_ENDED_OPERATOR);
}

static void leave_at_hand(void *context, struct association *association)
{
    struct worker *worker = context;
    coap_device_gone(worker->coap, &association->device, worker->now_us);
    lifetime_free(association);
}

static void end_all(struct worker *worker)
{
    while (worker->pendings != NULL)
        handshaking_end(worker->pendings, STAT_HANDSHAKES_FAILED_GONE);
    bool keeping = atomic_load_explicit(&worker->keeping, memory_order_acquire);
    uint64_t cursor = 0;
    size_t budget = SIZE_MAX;
    struct lifetime_item item;
    struct io_event events[WORKER_EVENTS];
    size_t ended = 0;
    uint64_t deadline = clock_ms() + END_MS;
    while (worker->store != NULL && lifetime_walk(worker, &cursor, &budget, &item)) {
        if (item.association == NULL && keeping)
            break;
        end_item(worker, &item);
        // Transmit buffers are few; lets the close_notify of those before leave.
        if (++ended % END_BATCH != 0)
            continue;
        (void)io_wait(worker->io, events, WORKER_EVENTS, 0);
        if (item.association == NULL && clock_ms() > deadline)
            break;
    }
    worker->ready = NULL;
    if (worker->store != NULL)
        association_each(worker->associations, leave_at_hand, worker);
    // The last ones too; nobody looks at what arrives meanwhile.
    for (unsigned i = 0; ended > 0 && i < END_WAITS; i++) {
        if (io_wait(worker->io, events, WORKER_EVENTS, END_WAIT_US) <= 0)
            break;
    }
}

int worker_run(struct worker *worker)
{
    channel_hello(worker);
    int result = SAGATE_OK;
    while (result == SAGATE_OK && !atomic_load_explicit(&worker->stopping, memory_order_acquire)) {
        uint64_t wait = timer_wheel_wait(worker->wheel, clock_ms(), WAIT_MAX_MS);
        result = worker_round(worker, (int64_t)wait * 1000);
    }
    if (result != SAGATE_OK)
        atomic_store_explicit(&worker->keeping, true, memory_order_relaxed);
    // Here and not in worker_free: only this thread may send.
    end_all(worker);
    return result;
}

static void reset_gauges(struct stats *stats)
{
    static const enum stat_id gauges[] = {STAT_HANDSHAKES_IN_PROGRESS, STAT_HANDSHAKES_PARKED, STAT_ASSOCIATIONS_DTLS,
                                          STAT_ASSOCIATIONS_TLS, STAT_COAP_OBSERVATIONS};
    for (size_t i = 0; i < sizeof gauges / sizeof *gauges; i++)
        stats_set(&stats->counters[gauges[i]], 0);
    for (size_t i = 0; i < STATS_SERVERS_MAX; i++) {
        stats_set(&stats->servers[i].connections, 0);
        stats_set(&stats->servers[i].in_flight[STATS_COAP], 0);
        stats_set(&stats->servers[i].in_flight[STATS_HTTP], 0);
    }
}

static int make_bindings(struct worker *worker, const struct config *config)
{
    const struct device_port port = worker_port(worker);
    worker->upstreams = upstream_new(config, worker->wheel, worker->stats, worker->now_ms);
    if (worker->upstreams == NULL || channel_pep(worker) != SAGATE_OK)
        return SAGATE_ENOMEM;
    const struct coap_options coap = {.config = config,
                                      .io = worker->io,
                                      .wheel = worker->wheel,
                                      .upstreams = worker->upstreams,
                                      .pep = worker->pep,
                                      .stats = worker->stats,
                                      .port = port,
                                      .io_user_kind = WORKER_USER_COAP_UPSTREAM};
    int result = coap_new(&coap, &worker->coap);
    if (result != SAGATE_OK)
        return result;
    const struct http_options http = {.config = config,
                                      .io = worker->io,
                                      .wheel = worker->wheel,
                                      .upstreams = worker->upstreams,
                                      .pep = worker->pep,
                                      .stats = worker->stats,
                                      .port = port,
                                      .io_user_kind = WORKER_USER_HTTP_UPSTREAM};
    return http_new(&http, &worker->http);
}

// A request whose head and body are held until they are checked goes to the CSE in one write.
static size_t stream_limit(const struct config *config)
{
    size_t one_write = (size_t)config->limits.http_head_bytes + config->limits.http_body_buffer_bytes;
    return STREAM_LIMIT + one_write;
}

// Without memory of the supervisor's, as in tests, associations end with the process.
static int private_memory(struct worker *worker, size_t bytes)
{
    worker->private_fd = memfd_create("sagate-associations", MFD_CLOEXEC);
    return worker->private_fd >= 0 && ftruncate(worker->private_fd, (off_t)bytes) == 0 ? SAGATE_OK : SAGATE_ESYS;
}

static int open_store(struct worker *worker, const struct worker_options *options)
{
    const struct config_limits *limits = &options->snapshot->config->limits;
    if (options->store_fd < 0) {
        int result = private_memory(worker, store_bytes(limits->associations));
        if (result != SAGATE_OK)
            return result;
    }
    const struct store_options store = {.fd = options->store_fd >= 0 ? options->store_fd : worker->private_fd,
                                        .worker = worker->index,
                                        .max = limits->associations,
                                        .connection_id_bytes = limits->connection_id_bytes,
                                        .lock = options->lock_memory};
    enum store_found found;
    int result = store_open(&store, &worker->store, &found);
    if (result != SAGATE_OK)
        return result;
    worker->locked = !options->lock_memory || store_locked(worker->store);
    // Like the associations, tickets are good for the next process as well.
    worker->ticket_secret =
        options->first != NULL ? options->first->ticket_secret : store_secret(worker->store, WORKER_SECRET_TICKETS);
    if (found == STORE_REFUSED)
        log_warning("worker %u: the associations of an earlier process are of another layout and are lost",
                    worker->index);
    uint32_t count = store_count(worker->store);
    worker->resumed = count > 0;
    if (count > 0 || store_lost(worker->store) > 0)
        log_info("worker %u: %u associations go on%s, %u are lost", worker->index, count,
                 found == STORE_REBUILT ? " (indexes made anew)" : "", store_lost(worker->store));
    worker_count(worker, STAT_ASSOCIATIONS_RESUMED, count);
    worker_count(worker, STAT_ASSOCIATIONS_LOST, store_lost(worker->store));
    worker_gauge(worker, STAT_ASSOCIATIONS_DTLS, count);
    return SAGATE_OK;
}

static int make_parts(struct worker *worker, const struct worker_options *options)
{
    const struct config *config = options->snapshot->config;
    const struct io_options io = {.worker = worker->index,
                                  .receive_buffers = RECEIVE_BUFFERS,
                                  .streams_max = config->limits.connections + UPSTREAM_STREAMS_MAX,
                                  .stream_high_water = STREAM_HIGH_WATER,
                                  .stream_limit = stream_limit(config)};
    int result = io_create(options->driver, &io, &worker->io);
    if (result != SAGATE_OK)
        return result;
    worker->wheel = timer_wheel_new(worker->now_ms);
    worker->associations = association_table_new(config->limits.connections);
    worker->keys = keys_new(KEYS_MAX);
    worker->batch_records = batch_new();
    if (worker->wheel == NULL || worker->associations == NULL || worker->keys == NULL)
        return SAGATE_ENOMEM;
    result = open_store(worker, options);
    if (result != SAGATE_OK)
        return result;
    result = make_bindings(worker, config);
    if (result != SAGATE_OK)
        return result;
    if (options->channel_fd >= 0) {
        io_id id;
        result = io_add_poll(worker->io, options->channel_fd, &worker->channel_user, &id);
    }
    if (result == SAGATE_OK && options->wake_fd >= 0) {
        io_id id;
        result = io_add_poll(worker->io, options->wake_fd, &worker->wake_user, &id);
    }
    if (result != SAGATE_OK)
        return result;
    timer_set(worker->wheel, &worker->stats_timer, worker->now_ms + STATS_MS);
    return take_snapshot(worker, options->snapshot);
}

int worker_new(const struct worker_options *options, struct worker **out)
{
    struct worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL)
        return SAGATE_ENOMEM;
    worker->index = options->index;
    worker->pendings_tail = &worker->pendings;
    worker->due_tail = &worker->due;
    backlog_init(&worker->backlog);
    worker->resting_tail = &worker->resting;
    worker->private_fd = -1;
    worker->gone_timer = (struct timer){.fire = end_gone, .context = worker};
    worker->due_timer = (struct timer){.fire = lifetime_due, .context = worker};
    worker->stats = options->stats;
    worker->channel_fd = options->channel_fd;
    worker->wake_fd = options->wake_fd;
    worker->channel_user.kind = WORKER_USER_CHANNEL;
    worker->wake_user.kind = WORKER_USER_WAKE;
    worker->kernel = endpoint_kernel(options->kernel_tls);
    worker->now_us = clock_us();
    worker->now_ms = worker->now_us / 1000;
    worker->stats_timer = (struct timer){.fire = copy_counters, .context = worker};
    hash_key_random(&worker->hash_key);
    worker->boot = worker->hash_key.k0 ^ worker->now_us;
    worker->stats->layout = STATS_LAYOUT;
    reset_gauges(worker->stats);
    channel_init(worker);
    profile_init(worker);
    int result = make_parts(worker, options);
    if (result != SAGATE_OK) {
        worker->contexts = NULL; // still the caller's
        atomic_store_explicit(&worker->keeping, true, memory_order_relaxed);
        worker_free(worker);
        return result;
    }
    *out = worker;
    return SAGATE_OK;
}

void worker_free(struct worker *worker)
{
    if (worker == NULL)
        return;
    profile_free(worker);
    end_all(worker);
    http_free(worker->http);
    coap_free(worker->coap);
    pep_free(worker->pep);
    upstream_free(worker->upstreams);
    keys_free(worker->keys);
    batch_free(worker->batch_records);
    association_table_free(worker->associations);
    store_close(worker->store);
    if (worker->private_fd >= 0)
        close(worker->private_fd);
    rings_free(worker);
    while (worker->spare_associations != NULL) {
        struct association *spare = worker->spare_associations;
        worker->spare_associations = spare->next;
        free(spare);
    }
    handshake_contexts_free(worker->contexts);
    free(worker->spare);
    backlog_free(&worker->backlog);
    channel_free(worker);
    for (size_t i = 0; i < CONFIG_LISTENERS_MAX; i++)
        free(worker->listeners[i]);
    io_destroy(worker->io);
    timer_wheel_free(worker->wheel);
    free(worker);
}
