// The plane connections to the workers.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/control/workers.h"

#include "common/error.h"
#include "common/log.h"
#include "common/secret.h"
#include "controlplane/config/config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <unistd.h>

enum { RECEIVE_AT_ONCE = 256 };

struct queued {
    STAILQ_ENTRY(queued) link;
    size_t len;
    bool secret;
    bool lasting;   // holds for the next worker too
    uint8_t *bytes; // an encoded message
};
STAILQ_HEAD(queue, queued);

struct worker {
    struct workers *workers;
    unsigned number;
    int fd; // -1: no channel
    struct event *readable, *writable;
    struct queue queue;
    size_t queued;
    uint64_t boot;
    bool present;
    bool overflowed; // must be greeted anew
};

struct workers {
    struct event_base *base;
    const struct workers_events *events;
    struct worker worker[CONFIG_WORKERS_MAX];
    unsigned count;
    uint64_t boot;
    uint64_t dropped;
    bool started;
    uint8_t buffer[PLANE_MESSAGE_MAX];
};

struct workers *workers_new(struct event_base *base, const struct workers_events *events)
{
    struct workers *workers = calloc(1, sizeof *workers);
    if (workers == NULL)
        return NULL;
    workers->base = base;
    workers->events = events;
    if (getrandom(&workers->boot, sizeof workers->boot, 0) != (ssize_t)sizeof workers->boot) {
        free(workers);
        return NULL;
    }
    for (unsigned i = 0; i < CONFIG_WORKERS_MAX; i++) {
        workers->worker[i] = (struct worker){.workers = workers, .number = i, .fd = -1};
        STAILQ_INIT(&workers->worker[i].queue);
    }
    return workers;
}

static void queued_free(struct queued *queued)
{
    if (queued->secret)
        secret_free(queued->bytes);
    else
        free(queued->bytes);
    free(queued);
}

static void clear_queue(struct worker *worker, bool lasting)
{
    struct queue all = STAILQ_HEAD_INITIALIZER(all);
    struct queued *queued;
    STAILQ_CONCAT(&all, &worker->queue);
    worker->queued = 0;
    while ((queued = STAILQ_FIRST(&all)) != NULL) {
        STAILQ_REMOVE_HEAD(&all, link);
        if (lasting || !queued->lasting) {
            queued_free(queued);
            continue;
        }
        STAILQ_INSERT_TAIL(&worker->queue, queued, link);
        worker->queued++;
    }
}

static void close_channel(struct worker *worker)
{
    struct event **events[] = {&worker->readable, &worker->writable};
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        if (*events[i] != NULL)
            event_free(*events[i]);
        *events[i] = NULL;
    }
    if (worker->fd >= 0)
        close(worker->fd);
    worker->fd = -1;
    worker->present = false;
    worker->overflowed = false;
    worker->boot = 0;
    clear_queue(worker, true);
}

void workers_free(struct workers *workers)
{
    if (workers == NULL)
        return;
    for (unsigned i = 0; i < CONFIG_WORKERS_MAX; i++)
        close_channel(&workers->worker[i]);
    secret_zero(workers->buffer, sizeof workers->buffer);
    free(workers);
}

static int enqueue(struct worker *worker, const struct plane_message *message)
{
    size_t limit = message->type == PLANE_REVOKED ? WORKERS_REVOKED_QUEUE_MAX : WORKERS_QUEUE_MAX;
    if (worker->queued >= limit) {
        worker->workers->dropped++;
        if (!worker->overflowed)
            log_warning("workers: worker %u takes no messages; %zu wait, more are dropped", worker->number,
                        worker->queued);
        worker->overflowed = true;
        return SAGATE_ELIMIT;
    }
    uint8_t bytes[PLANE_MESSAGE_MAX];
    int len = plane_encode(message, bytes, sizeof bytes);
    if (len < 0)
        return len;
    struct queued *queued = calloc(1, sizeof *queued);
    if (queued != NULL) {
        queued->len = (size_t)len;
        queued->secret = message->type == PLANE_RESOLVED;
        queued->lasting = message->type == PLANE_REVOKED;
        queued->bytes = queued->secret ? secret_alloc(queued->len) : malloc(queued->len);
    }
    bool complete = queued != NULL && queued->bytes != NULL;
    if (complete) {
        memcpy(queued->bytes, bytes, queued->len);
        STAILQ_INSERT_TAIL(&worker->queue, queued, link);
        worker->queued++;
    } else {
        free(queued);
    }
    secret_zero(bytes, (size_t)len);
    return complete ? SAGATE_OK : SAGATE_ENOMEM;
}

int workers_send(struct workers *workers, unsigned number, const struct plane_message *message)
{
    if (number >= CONFIG_WORKERS_MAX || workers->worker[number].fd < 0)
        return SAGATE_EGONE;
    struct worker *worker = &workers->worker[number];
    if (worker->queued == 0) {
        int result = plane_send(worker->fd, message, -1);
        if (result != SAGATE_AGAIN)
            return result;
    }
    int result = enqueue(worker, message);
    if (result == SAGATE_OK && worker->queued == 1)
        (void)event_add(worker->writable, NULL);
    return result;
}

void workers_broadcast(struct workers *workers, const struct plane_message *message)
{
    for (unsigned i = 0; i < workers->count; i++)
        (void)workers_send(workers, i, message);
}

static void probe(struct worker *worker)
{
    struct plane_message message = {.type = PLANE_LIST, .list = {.limit = 1}};
    (void)workers_send(worker->workers, worker->number, &message);
}

void workers_probe(struct workers *workers)
{
    for (unsigned i = 0; i < workers->count; i++) {
        workers->worker[i].present = false;
        if (workers->started)
            probe(&workers->worker[i]);
    }
}

static void greet(struct worker *worker)
{
    struct workers *workers = worker->workers;
    struct plane_message hello = {.type = PLANE_HELLO, .hello = {.worker = worker->number, .boot = workers->boot}};
    (void)workers_send(workers, worker->number, &hello);
    workers->events->greeted(workers->events->context, worker->number);
    probe(worker);
}

static void on_writable(evutil_socket_t fd, short what, void *context)
{
    struct worker *worker = context;
    (void)fd;
    (void)what;
    struct queued *queued;
    while ((queued = STAILQ_FIRST(&worker->queue)) != NULL) {
        struct plane_message message;
        int result = plane_decode(queued->bytes, queued->len, &message);
        if (result == SAGATE_OK)
            result = plane_send(worker->fd, &message, -1);
        if (result == SAGATE_AGAIN) {
            (void)event_add(worker->writable, NULL);
            return;
        }
        STAILQ_REMOVE_HEAD(&worker->queue, link);
        queued_free(queued);
        worker->queued--;
    }
    if (worker->overflowed) {
        worker->overflowed = false;
        worker->workers->boot++; // anew: the worker repeats what it has asked
        greet(worker);
    }
}

static void take(struct worker *worker, const struct plane_message *message)
{
    struct workers *workers = worker->workers;
    worker->present = true;
    if (message->type != PLANE_HELLO) {
        workers->events->message(workers->events->context, worker->number, message);
        return;
    }
    if (message->hello.boot == worker->boot)
        return;
    log_info("workers: worker %u has started", worker->number);
    worker->boot = message->hello.boot;
    // Answers were meant for the one before. Its DTLS associations go on, so that credentials that were removed, or
    // have another key, matter to this one.
    clear_queue(worker, false);
    worker->overflowed = false;
    // What the one before was told and had not done yet is lost with it: the HELLO has this one ask about the
    // associations that it found.
    greet(worker);
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    struct worker *worker = context;
    struct workers *workers = worker->workers;
    (void)what;
    int result = SAGATE_OK;
    for (int i = 0; i < RECEIVE_AT_ONCE; i++) {
        struct plane_message message;
        int received_fd;
        result = plane_receive((int)fd, workers->buffer, &message, &received_fd);
        if (result == SAGATE_EMALFORMED) {
            static struct log_sample sample;
            log_sampled(&sample, LOG_LEVEL_WARNING, "workers: malformed message from worker %u", worker->number);
            result = SAGATE_OK;
            continue;
        }
        if (result != SAGATE_OK)
            break;
        if (received_fd >= 0)
            close(received_fd);
        take(worker, &message);
    }
    if (result < 0) {
        log_warning("workers: worker %u is gone", worker->number);
        close_channel(worker);
    }
    workers->events->idle(workers->events->context);
}

static void listen_to(struct worker *worker)
{
    (void)event_add(worker->readable, NULL);
    greet(worker);
}

int workers_set_channel(struct workers *workers, unsigned number, int fd)
{
    if (number >= CONFIG_WORKERS_MAX) {
        close(fd);
        return SAGATE_EINVAL;
    }
    struct worker *worker = &workers->worker[number];
    close_channel(worker);
    worker->fd = fd;
    (void)evutil_make_socket_nonblocking(fd);
    worker->readable = event_new(workers->base, fd, EV_READ | EV_PERSIST, on_readable, worker);
    worker->writable = event_new(workers->base, fd, EV_WRITE, on_writable, worker);
    if (worker->readable == NULL || worker->writable == NULL) {
        close_channel(worker);
        return SAGATE_ENOMEM;
    }
    if (workers->started)
        listen_to(worker);
    return SAGATE_OK;
}

void workers_set_count(struct workers *workers, unsigned count)
{
    workers->count = count < CONFIG_WORKERS_MAX ? count : CONFIG_WORKERS_MAX;
    for (unsigned i = workers->count; i < CONFIG_WORKERS_MAX; i++)
        close_channel(&workers->worker[i]);
}

void workers_start(struct workers *workers)
{
    if (workers->started)
        return;
    workers->started = true;
    for (unsigned i = 0; i < workers->count; i++) {
        if (workers->worker[i].fd >= 0)
            listen_to(&workers->worker[i]);
    }
}

unsigned workers_count(const struct workers *workers)
{
    return workers->count;
}

bool workers_present(const struct workers *workers, unsigned worker)
{
    return worker < CONFIG_WORKERS_MAX && workers->worker[worker].present;
}

size_t workers_queued(const struct workers *workers)
{
    size_t queued = 0;
    for (unsigned i = 0; i < workers->count; i++)
        queued += workers->worker[i].queued;
    return queued;
}

uint64_t workers_dropped(const struct workers *workers)
{
    return workers->dropped;
}
