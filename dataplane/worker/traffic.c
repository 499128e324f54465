// Established associations: records in, primitives to the binding; how an association begins and ends.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/clock.h"
#include "common/error.h"
#include "dataplane/worker/internal.h"

#include <stdlib.h>

static bool is_stream(const struct association *association)
{
    return association->endpoint.stream != 0;
}

void traffic_ready(struct association *association)
{
    struct worker *worker = association->worker;
    if (association->ready)
        return;
    association->ready = true;
    association->next_ready = worker->ready;
    worker->ready = association;
}

static void to_binding(struct association *association, const uint8_t *data, size_t len)
{
    struct worker *worker = association->worker;
    worker_count(worker, STAT_RECORDS_OPENED, 1);
    worker_count(worker, STAT_BYTES_IN, len);
    association->bytes_in += len;
    association->last_ms = worker->now_ms;
    if (is_stream(association))
        http_from_device(worker->http, &association->device, data, len, worker->now_us);
    else
        coap_from_device(worker->coap, &association->device, data, len, worker->now_us);
}

// The peer has ended its side. It may still wait for answers to what it asked before (RFC 8446 6.1: half-close).
static void stream_done(struct association *association)
{
    struct worker *worker = association->worker;
    association->eof = true;
    http_device_eof(worker->http, &association->device, worker->now_us);
}

// Opens what was handed to the record layer, until it has nothing more or the binding wants a pause.
void traffic_pump(struct association *association)
{
    struct worker *worker = association->worker;
    while (!association->closing && !association->paused) {
        int status;
        size_t len = record_open(association->record, worker->plaintext, sizeof worker->plaintext, &status);
        switch (status) {
        case SAGATE_OK:
            if (len > 0)
                to_binding(association, worker->plaintext, len);
            continue;
        case SAGATE_ERECORD:
            worker_count(worker, STAT_DATAGRAMS_DROPPED_RECORD, 1);
            continue;
        case SAGATE_AGAIN:
            return;
        case SAGATE_DONE:
            if (is_stream(association))
                stream_done(association);
            else
                traffic_end(association, STAT_ASSOCIATIONS_ENDED_PEER);
            return;
        default:
            traffic_end(association, STAT_ASSOCIATIONS_ENDED_ERROR);
            return;
        }
    }
}

void traffic_datagram(struct association *association, const uint8_t *data, size_t len)
{
    if (record_lend(association->record, data, len) == SAGATE_OK)
        traffic_pump(association);
}

// What the kernel can do of a stream's records it does from here on.
static void to_kernel(struct association *association)
{
    struct worker *worker = association->worker;
    if (worker->kernel.support == NULL || association->closing || !is_stream(association))
        return;
    unsigned done = record_to_kernel(association->record, &worker->kernel);
    if ((done & RECORD_KERNEL_OUT) != 0)
        worker_count(worker, STAT_KERNEL_TLS_OUT, 1);
    if ((done & RECORD_KERNEL_IN) != 0)
        worker_count(worker, STAT_KERNEL_TLS_IN, 1);
}

// A record of another type than data, opened by the kernel.
static void stream_control_record(struct association *association, const struct io_event *event)
{
    switch (record_control(association->record, event->record, event->data, event->len)) {
    case SAGATE_AGAIN:
        break;
    case SAGATE_DONE:
        stream_done(association);
        break;
    default:
        traffic_end(association, STAT_ASSOCIATIONS_ENDED_ERROR);
        break;
    }
}

// Hands over a piece of the stream; the record layer takes a bounded amount at a time.
static void stream_input(struct association *association, const uint8_t *data, size_t len)
{
    struct worker *worker = association->worker;
    uint64_t id = association->device.association;
    while (len > 0) {
        size_t piece = len < 4096 || record_folded(association->record) ? len : 4096;
        int result = record_lend(association->record, data, piece);
        if (result == SAGATE_ELIMIT && association->paused) {
            // More than a pause can leave behind: the peer's record layer or ours is out of step.
            traffic_end(association, STAT_ASSOCIATIONS_ENDED_ERROR);
            return;
        }
        if (result == SAGATE_OK) {
            data += piece;
            len -= piece;
        } else if (result != SAGATE_ELIMIT) {
            traffic_end(association, STAT_ASSOCIATIONS_ENDED_ERROR);
            return;
        }
        if (!association->paused)
            traffic_pump(association);
        if (association_by_id(worker->associations, id) == NULL || association->closing)
            return;
        if (record_keep(association->record) != SAGATE_OK) { // left behind by a pause
            traffic_end(association, STAT_ASSOCIATIONS_ENDED_ERROR);
            return;
        }
    }
    to_kernel(association);
}

void traffic_stream(struct association *association, const struct io_event *event)
{
    struct worker *worker = association->worker;
    switch (event->type) {
    case IO_DATA:
        if (event->record != 0)
            stream_control_record(association, event);
        else
            stream_input(association, event->data, event->len);
        break;
    case IO_EOF:
        stream_done(association);
        break;
    case IO_WRITABLE:
        // A record that found no room waits in the record layer.
        if (record_seal(association->record, NULL, 0) == SAGATE_OK)
            http_device_writable(worker->http, &association->device, worker->now_us);
        break;
    case IO_CLOSED:
        association->endpoint.stream = 0;
        traffic_end(association, STAT_ASSOCIATIONS_ENDED_PEER);
        break;
    default:
        break;
    }
}

void traffic_run_ready(struct worker *worker)
{
    while (worker->ready != NULL) {
        struct association *association = worker->ready;
        worker->ready = association->next_ready;
        association->ready = false;
        if (association->closing) {
            // Clear it, so that ending the association can still send close_notify.
            association->closing = false;
            traffic_end(association, STAT_ASSOCIATIONS_ENDED_PEER);
        } else if (!association->paused) {
            traffic_pump(association);
        }
    }
}

static void forget_ready(struct worker *worker, struct association *association)
{
    if (!association->ready)
        return;
    struct association **link = &worker->ready;
    while (*link != association)
        link = &(*link)->next_ready;
    *link = association->next_ready;
}

void traffic_end(struct association *association, enum stat_id reason)
{
    struct worker *worker = association->worker;
    bool datagrams = association->user.kind != WORKER_USER_ASSOCIATION;
    if (datagrams)
        coap_device_gone(worker->coap, &association->device, worker->now_us);
    else
        http_device_gone(worker->http, &association->device, worker->now_us);
    if (!association->closing && (datagrams || association->endpoint.stream != 0))
        record_close(association->record);
    record_free(association->record);
    worker_replace_user(worker, &association->user, NULL);
    if (association->endpoint.stream != 0)
        io_stream_close(worker->io, association->endpoint.stream);
    if (!datagrams)
        worker->stream_count--;
    timer_cancel(&association->idle);
    forget_ready(worker, association);
    association_remove(worker->associations, association);
    principal_release(association->device.principal);
    worker_count(worker, reason, 1);
    enum stat_id gauge = datagrams ? STAT_ASSOCIATIONS_DTLS : STAT_ASSOCIATIONS_TLS;
    worker_gauge(worker, gauge, worker->stats->counters[gauge] - 1);
    free(association);
}

// When to look again: the idle limit, or the end of the credential's life if that is nearer (TS-0001 11.3.2).
static uint64_t next_look(const struct association *association, uint64_t now_ms)
{
    const struct worker *worker = association->worker;
    const struct principal *principal = association->device.principal;
    unsigned seconds = worker->config->limits.association_idle_seconds;
    unsigned fresh_seconds = worker->config->limits.http_idle_seconds;
    // Who proved nothing, or has said nothing yet over TLS, does not hold an association for a day.
    bool fresh = principal == NULL || (is_stream(association) && association->bytes_in == 0);
    if (fresh && seconds > fresh_seconds)
        seconds = fresh_seconds;
    uint64_t idle = association->last_ms + (uint64_t)seconds * 1000;
    if (principal != NULL && principal->expires_at != 0) {
        int64_t left = principal->expires_at - clock_wall();
        uint64_t end = now_ms + (left > 0 ? (uint64_t)left * 1000 : 0);
        if (end < idle)
            idle = end;
    }
    return idle;
}

static void look(struct timer *timer, void *context, uint64_t now_ms)
{
    struct association *association = context;
    uint64_t next = next_look(association, now_ms);
    if (next > now_ms) {
        timer_set(((struct worker *)association->worker)->wheel, timer, next);
        return;
    }
    const struct principal *principal = association->device.principal;
    bool expired = principal != NULL && principal->expires_at != 0 && principal->expires_at <= clock_wall();
    traffic_end(association, expired ? STAT_ASSOCIATIONS_ENDED_REVOKED : STAT_ASSOCIATIONS_ENDED_IDLE);
}

static struct association *make(struct pending *pending, enum framework framework, struct principal *principal)
{
    struct worker *worker = pending->worker;
    struct association *association = calloc(1, sizeof *association);
    if (association == NULL)
        return NULL;
    const struct config_listener *listener = &worker->config->listeners[pending->listener];
    association->user.kind = pending->endpoint.stream != 0 ? WORKER_USER_ASSOCIATION : 0;
    association->worker = worker;
    association->endpoint = pending->endpoint;
    association->framework = framework;
    association->started_ms = association->last_ms = worker->now_ms;
    association->idle = (struct timer){.fire = look, .context = association};
    association->device = (struct device){
        .principal = principal,
        .peer = pending->endpoint.peer,
        .listener = listener,
        .upstream = &worker->config->upstreams[listener->upstream],
        .upstream_index = listener->upstream,
    };
    return association;
}

// Application data may have come with the last flight.
static void first_traffic(struct association *association)
{
    struct worker *worker = association->worker;
    uint64_t id = association->device.association;
    traffic_pump(association);
    if (association_by_id(worker->associations, id) == association)
        to_kernel(association);
}

// The handshake is done: an association takes its place. On any trouble the handshake counts as failed.
void traffic_establish(struct pending *pending)
{
    struct worker *worker = pending->worker;
    enum framework framework = FRAMEWORK_NONE;
    struct record *record = NULL;
    struct principal *principal = pending->principal;
    pending->principal = NULL;
    if (handshake_resumed(pending->handshake))
        worker_count(worker, STAT_HANDSHAKES_RESUMED, 1);
    int result = handshake_finish(pending->handshake, &framework, &record);
    pending->handshake = NULL;
    if (framework != FRAMEWORK_PSK) {
        principal_release(principal);
        principal = NULL;
    }
    bool refused = result != SAGATE_OK || (framework == FRAMEWORK_PSK && principal == NULL);
    struct association *association = refused ? NULL : make(pending, framework, principal);
    if (association == NULL) {
        principal_release(principal);
        record_free(record);
        handshaking_end(pending, STAT_HANDSHAKES_FAILED_CREDENTIAL);
        return;
    }
    association->record = record;
    bool datagrams = !is_stream(association);
    struct handshake_sink sink = {.send = endpoint_send, .context = &association->endpoint};
    if (datagrams) {
        sink.reserve = endpoint_reserve;
        sink.commit = endpoint_commit;
    }
    record_set_sink(record, &sink);
    if (datagrams) {
        struct association *old =
            association_by_address(worker->associations, association->endpoint.socket, &association->endpoint.peer);
        // The same peer address proved an identity anew: a rebooted device. Only now may the old one end.
        if (old != NULL) {
            old->closing = true; // no close_notify into the new association
            traffic_end(old, STAT_ASSOCIATIONS_ENDED_REPLACED);
        }
    }
    if (association_insert(worker->associations, association, datagrams) != SAGATE_OK) {
        worker_count(worker, STAT_LIMIT_ASSOCIATIONS, 1);
        log_sampled(&worker->sample_limit, LOG_LEVEL_WARNING, "limits.associations (%u per worker) is reached",
                    worker->config->limits.associations);
        principal_release(principal);
        record_close(record);
        record_free(record);
        free(association);
        handshaking_end(pending, STAT_HANDSHAKES_FAILED_GONE);
        return;
    }
    if (!datagrams) {
        (void)io_stream_set_user(worker->io, association->endpoint.stream, &association->user);
        worker_replace_user(worker, &pending->user, &association->user);
        pending->endpoint.stream = 0;
        pending->counted_stream = false;
    }
    enum stat_id gauge = datagrams ? STAT_ASSOCIATIONS_DTLS : STAT_ASSOCIATIONS_TLS;
    worker_gauge(worker, gauge, worker->stats->counters[gauge] + 1);
    timer_set(worker->wheel, &association->idle, next_look(association, worker->now_ms));
    handshaking_end(pending, framework == FRAMEWORK_PSK ? STAT_HANDSHAKES_OK_PSK : STAT_HANDSHAKES_OK_NONE);
    first_traffic(association);
}
