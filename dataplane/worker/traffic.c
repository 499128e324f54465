// Established associations: records in, primitives to the binding; how an association begins and ends.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/handshake/certificate.h"
#include "dataplane/worker/internal.h"

static bool is_stream(const struct association *association)
{
    return association->slot == 0;
}

void traffic_ready(struct association *association)
{
    struct worker *worker = association->worker;
    if (association->ready)
        return;
    lifetime_busy(association);
    association->ready = true;
    association->next_ready = worker->ready;
    worker->ready = association;
}

// Slots have 48 bits for each of these.
static void add48(uint16_t *high, uint32_t *low, size_t more)
{
    uint64_t sum = ((uint64_t)*high << 32 | *low) + more;
    *high = (uint16_t)(sum >> 32);
    *low = (uint32_t)sum;
}

void traffic_sent(struct association *association, size_t len)
{
    struct worker *worker = association->worker;
    worker_count(worker, STAT_RECORDS_SEALED, 1);
    worker_count(worker, STAT_BYTES_OUT, len);
    if (is_stream(association)) {
        association->bytes_out += len;
        return;
    }
    struct slot *head = store_head(worker->store, association->slot);
    add48(&head->bytes_out_high, &head->bytes_out, len);
    traffic_ready(association);
}

static void heard(struct association *association, size_t len)
{
    struct worker *worker = association->worker;
    worker_count(worker, STAT_RECORDS_OPENED, 1);
    worker_count(worker, STAT_BYTES_IN, len);
    if (is_stream(association)) {
        association->bytes_in += len;
        association->last_ms = worker->now_ms;
        return;
    }
    struct slot *head = store_head(worker->store, association->slot);
    add48(&head->bytes_in_high, &head->bytes_in, len);
    head->last_s = (uint32_t)(worker->now_ms / 1000);
}

static void to_binding(struct association *association, const uint8_t *data, size_t len)
{
    struct worker *worker = association->worker;
    heard(association, len);
    profile_enter(PROFILE_BINDING);
    if (is_stream(association))
        http_from_device(worker->http, &association->device, data, len, worker->now_us);
    else
        coap_from_device(worker->coap, &association->device, data, len, worker->now_us);
    profile_leave();
}

// The peer's address has changed. Only the newest authentic record may say so, and only with a Connection ID, or
// anybody could draw the answers to himself with a copy of an old one (RFC 9146 6).
static void follow(struct association *association)
{
    struct worker *worker = association->worker;
    if (worker->sender == NULL || !record_newest(association->record) ||
        address_equal(worker->sender, &association->endpoint.peer))
        return;
    (void)store_move(worker->store, association->slot, worker->sender);
    association->endpoint.peer = association->device.peer = *worker->sender;
    worker_count(worker, STAT_REBINDINGS, 1);
}

// The peer has ended its side. It may still wait for answers to what it asked before (RFC 8446 6.1: half-close).
static void stream_done(struct association *association)
{
    struct worker *worker = association->worker;
    association->eof = true;
    http_device_eof(worker->http, &association->device, worker->now_us);
}

// Opens what was handed to the record layer, until it has nothing more or the binding wants a pause.
static void traffic_pump(struct association *association)
{
    struct worker *worker = association->worker;
    while (!association->closing && !association->paused) {
        int status;
        size_t len = record_open(association->record, worker->plaintext, sizeof worker->plaintext, &status);
        switch (status) {
        case SAGATE_OK:
            follow(association);
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

void traffic_datagram(struct association *association, const struct address *sender, const uint8_t *data, size_t len)
{
    struct worker *worker = association->worker;
    store_slot slot = association->slot;
    uint32_t generation = store_head(worker->store, slot)->generation;
    worker->others = true;
    worker->sender = sender;
    profile_enter(PROFILE_OPEN);
    if (record_lend(association->record, data, len) == SAGATE_OK) {
        record_ahead(association->record, batch_opening(worker, slot));
        traffic_pump(association);
    }
    profile_leave();
    worker->sender = NULL;
    const struct slot *head = store_head(worker->store, slot);
    if (head != NULL && head->generation == generation)
        traffic_ready(association);
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
        profile_enter(PROFILE_OPEN);
        if (event->record != 0)
            stream_control_record(association, event);
        else
            stream_input(association, event->data, event->len);
        profile_leave();
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
        } else if (!is_stream(association)) {
            lifetime_rest(association);
        } else if (!association->paused) {
            profile_enter(PROFILE_OPEN);
            traffic_pump(association);
            profile_leave();
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

// True when the peer gets no close_notify: it is gone, or another association has its address.
static bool ends_silently(const struct association *association)
{
    return association->closing || (is_stream(association) && association->endpoint.stream == 0);
}

void traffic_end(struct association *association, enum stat_id reason)
{
    struct worker *worker = association->worker;
    store_slot slot = association->slot;
    if (slot != 0)
        coap_device_gone(worker->coap, &association->device, worker->now_us);
    else
        http_device_gone(worker->http, &association->device, worker->now_us);
    if (!ends_silently(association))
        record_close(association->record);
    forget_ready(worker, association);
    worker_count(worker, reason, 1);
    if (slot != 0) {
        lifetime_free(association);
        lifetime_release(worker, slot);
        return;
    }
    worker_replace_user(worker, &association->user, NULL);
    if (association->endpoint.stream != 0)
        io_stream_close(worker->io, association->endpoint.stream);
    worker->stream_count--;
    timer_cancel(&association->idle);
    lifetime_free(association);
    worker_gauge(worker, STAT_ASSOCIATIONS_TLS, association_streams(worker->associations));
}

static void refuse(struct pending *pending, struct principal *principal, struct record *record, enum stat_id why)
{
    principal_release(principal);
    if (record != NULL)
        record_close(record);
    record_free(record);
    handshaking_end(pending, why);
}

// A DTLS association lives in the store, so it must have left its object; the suites of the listeners all allow it.
static bool is_usable(const struct pending *pending, const struct record *record)
{
    bool folded = record_kind(record) == RECORD_DTLS12 || record_kind(record) == RECORD_DTLS13;
    return pending->endpoint.stream != 0 || folded;
}

// Who a handshake that is done has proven its peer to be: a reference, or NULL for nobody. SAGATE_OK, or an error when
// that cannot be told.
static int find_principal(struct pending *pending, struct principal **principal)
{
    struct worker *worker = pending->worker;
    struct principal *fresh = NULL;
    struct slice certificate = handshake_certificate(pending->handshake);
    *principal = pending->principal; // of the key that was asked for
    pending->principal = NULL;
    if (certificate.len == 0)
        return SAGATE_OK;
    principal_release(*principal);
    *principal = NULL;
    int result = certificate_principal(worker->config, certificate, &fresh);
    if (result == SAGATE_OK && fresh != NULL) {
        *principal = keys_intern_proven(worker->keys, fresh);
        result = *principal == NULL ? SAGATE_ENOMEM : SAGATE_OK;
    }
    return result;
}

static enum stat_id success_of(enum framework framework)
{
    switch (framework) {
    case FRAMEWORK_PSK:
        return STAT_HANDSHAKES_OK_PSK;
    case FRAMEWORK_MAF:
        return STAT_HANDSHAKES_OK_MAF;
    case FRAMEWORK_CERTIFICATE:
        return STAT_HANDSHAKES_OK_CERTIFICATE;
    default:
        return STAT_HANDSHAKES_OK_NONE;
    }
}

// Application data may have come with the last flight.
static void first_traffic(struct association *association)
{
    struct worker *worker = association->worker;
    uint64_t id = association->device.association;
    traffic_ready(association);
    profile_enter(PROFILE_OPEN);
    traffic_pump(association);
    profile_leave();
    if (association_by_id(worker->associations, id) == association)
        to_kernel(association);
}

// The handshake is done: an association takes its place. On any trouble the handshake counts as failed.
void traffic_establish(struct pending *pending)
{
    struct worker *worker = pending->worker;
    enum framework framework = FRAMEWORK_NONE;
    struct record *record = NULL;
    bool stream = pending->endpoint.stream != 0;
    struct principal *principal = NULL;
    int proof = find_principal(pending, &principal);
    if (handshake_resumed(pending->handshake))
        worker_count(worker, STAT_HANDSHAKES_RESUMED, 1);
    int result = handshake_finish(pending->handshake, &framework, &record);
    pending->handshake = NULL;
    if (framework == FRAMEWORK_NONE) {
        principal_release(principal);
        principal = NULL;
    }
    if (framework == FRAMEWORK_CERTIFICATE && principal == NULL)
        framework = FRAMEWORK_NONE; // it names nobody
    if (result != SAGATE_OK || proof != SAGATE_OK || (framework == FRAMEWORK_PSK && principal == NULL) ||
        !is_usable(pending, record)) {
        refuse(pending, principal, record,
               proof != SAGATE_OK ? STAT_HANDSHAKES_FAILED_CERTIFICATE : STAT_HANDSHAKES_FAILED_CREDENTIAL);
        return;
    }
    if (framework == FRAMEWORK_PSK)
        framework = principal->framework; // whose key it was: provisioned, or handed out by a MAF
    struct association *association = stream ? lifetime_stream(pending, framework, principal, record)
                                             : lifetime_datagrams(pending, framework, principal, record);
    if (association == NULL) {
        refuse(pending, principal, record, STAT_HANDSHAKES_FAILED_GONE);
        return;
    }
    if (stream) {
        (void)io_stream_set_user(worker->io, association->endpoint.stream, &association->user);
        worker_replace_user(worker, &pending->user, &association->user);
        pending->endpoint.stream = 0;
        pending->counted_stream = false;
        worker_gauge(worker, STAT_ASSOCIATIONS_TLS, association_streams(worker->associations));
    }
    handshaking_end(pending, success_of(framework));
    first_traffic(association);
}
