// How DTLS associations rest in the store and wake for what comes, and how long associations live.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/clock.h"
#include "common/error.h"
#include "dataplane/worker/internal.h"

#include <stdlib.h>

enum {
    // An association that does nothing stays at hand for a while, since most that have asked ask again.
    RESTING_MAX = 4096,
    RESTING_MS = 10000,
    DUE_BUDGET = 64, // slots looked at in one round
};

#define WALK_SLOTS (1ULL << 62)

// --- resting -----------------------------------------------------------------------------------------------------

void lifetime_busy(struct association *association)
{
    struct worker *worker = association->worker;
    if (association->resting_link == NULL)
        return;
    *association->resting_link = association->resting_next;
    if (association->resting_next != NULL)
        association->resting_next->resting_link = association->resting_link;
    else
        worker->resting_tail = association->resting_link;
    association->resting_link = NULL;
    worker->resting_count--;
}

static void take_off_hand(struct association *association)
{
    struct worker *worker = association->worker;
    lifetime_busy(association);
    if (association->slot != 0)
        coap_device_rest(worker->coap, &association->device);
    association_remove(worker->associations, association);
    record_free(association->record);
    if (association->slot == 0 && association->device.principal != NULL)
        association->device.principal->streams--;
    principal_release(association->device.principal);
}

// Its slot is all that is left of it. The object waits for the next one that wakes.
static void leave_to_slot(struct association *association)
{
    struct worker *worker = association->worker;
    take_off_hand(association);
    association->next = worker->spare_associations;
    worker->spare_associations = association;
}

void lifetime_free(struct association *association)
{
    if (association->slot != 0) {
        leave_to_slot(association);
        return;
    }
    take_off_hand(association);
    free(association);
}

void lifetime_rest(struct association *association)
{
    struct worker *worker = association->worker;
    lifetime_busy(association);
    if (association->ready || association->closing || !coap_device_is_idle(&association->device))
        return;
    association->resting_ms = worker->now_ms;
    association->resting_next = NULL;
    association->resting_link = worker->resting_tail;
    *worker->resting_tail = association;
    worker->resting_tail = &association->resting_next;
    if (++worker->resting_count > RESTING_MAX)
        leave_to_slot(worker->resting);
}

static void lifetime_forget_resting(struct worker *worker, uint64_t before_ms)
{
    while (worker->resting != NULL && worker->resting->resting_ms <= before_ms)
        leave_to_slot(worker->resting);
}

void lifetime_tick(struct worker *worker)
{
    if (worker->now_ms > RESTING_MS)
        lifetime_forget_resting(worker, worker->now_ms - RESTING_MS);
}

// --- waking ------------------------------------------------------------------------------------------------------

static struct association *new_association(struct worker *worker)
{
    struct association *association = worker->spare_associations;
    if (association == NULL)
        return calloc(1, sizeof *association);
    worker->spare_associations = association->next;
    *association = (struct association){0};
    return association;
}

static void fill_device(struct association *association, const struct config_listener *listener,
                        struct principal *principal)
{
    const struct worker *worker = association->worker;
    association->device = (struct device){
        .association = association->slot == 0 ? 0 : store_id(worker->store, association->slot),
        .principal = principal,
        .peer = association->endpoint.peer,
        .listener = listener,
        .upstream = &worker->config->upstreams[listener->upstream],
        .upstream_index = listener->upstream,
    };
}

static struct handshake_sink datagram_sink(struct association *association)
{
    return (struct handshake_sink){.send = endpoint_send,
                                   .context = &association->endpoint,
                                   .reserve = endpoint_reserve,
                                   .commit = endpoint_commit,
                                   .together = association->endpoint.batch == NULL ? NULL : &batch_together};
}

// An association at hand for a slot whose state is complete; takes the principal over, also when it fails.
static struct association *attach(struct worker *worker, store_slot slot, struct listener *listener,
                                  struct principal *principal)
{
    struct association *association = new_association(worker);
    if (association == NULL) {
        principal_release(principal);
        return NULL;
    }
    association->worker = worker;
    association->slot = slot;
    association->framework = (enum framework)store_head(worker->store, slot)->framework;
    association->endpoint = (struct endpoint){
        .io = worker->io, .stats = worker->stats, .batch = worker->batch_records, .socket = listener->id};
    store_peer(worker->store, slot, &association->endpoint.peer);
    fill_device(association, listener->config, principal);
    (void)association_insert(worker->associations, association);
    return association;
}

struct association *lifetime_wake(struct worker *worker, store_slot slot)
{
    struct association *association = association_by_slot(worker->associations, slot);
    struct slot *head = association != NULL ? NULL : store_head(worker->store, slot);
    if (head == NULL)
        return association;
    struct listener *listener = worker->numbered[head->listener];
    struct slice packed = store_principal(worker->store, slot);
    struct principal *principal = packed.len == 0 ? NULL : keys_intern(worker->keys, packed);
    if (listener == NULL || (packed.len > 0 && principal == NULL)) {
        principal_release(principal);
        return NULL;
    }
    association = attach(worker, slot, listener, principal);
    if (association == NULL)
        return NULL;
    const struct record_place place = {.flight = &head->flight, .keys = store_keys(worker->store, slot)};
    const struct handshake_sink sink = datagram_sink(association);
    association->record = record_resume((enum record_kind)head->kind, &place, &sink);
    if (association->record == NULL) { // an earlier process died while it changed the keys
        lifetime_free(association);
        worker_count(worker, STAT_ASSOCIATIONS_LOST, 1);
        lifetime_release(worker, slot);
        return NULL;
    }
    return association;
}

void lifetime_release(struct worker *worker, store_slot slot)
{
    batch_flush(worker->batch_records); // as long as the keys are there
    store_release(worker->store, slot);
    worker_gauge(worker, STAT_ASSOCIATIONS_DTLS, store_count(worker->store));
}

void lifetime_end_slot(struct worker *worker, store_slot slot, enum stat_id reason)
{
    struct association *association = lifetime_wake(worker, slot);
    if (association != NULL) {
        traffic_end(association, reason);
        return;
    }
    if (store_head(worker->store, slot) == NULL)
        return;
    worker_count(worker, reason, 1);
    lifetime_release(worker, slot);
}

struct association *lifetime_find(struct worker *worker, uint64_t id)
{
    struct association *association = association_by_id(worker->associations, id);
    if (association != NULL)
        return association;
    store_slot slot = store_by_id(worker->store, id);
    return slot == 0 ? NULL : association_by_slot(worker->associations, slot);
}

// --- time --------------------------------------------------------------------------------------------------------

// Seconds that an association may be silent. Who proved nothing, or has said nothing yet over TLS, does not hold one
// for a day.
static unsigned idle_seconds(const struct worker *worker, bool fresh)
{
    unsigned seconds = worker->config->limits.association_idle_seconds;
    unsigned fresh_seconds = worker->config->limits.http_idle_seconds;
    return fresh && seconds > fresh_seconds ? fresh_seconds : seconds;
}

// Seconds until a credential ends (TS-0001 11.3.2), at most `most`.
static unsigned credential_seconds(int64_t expires_at, unsigned most)
{
    if (expires_at == 0)
        return most;
    int64_t left = expires_at - clock_wall();
    return left <= 0 ? 0 : left < (int64_t)most ? (unsigned)left : most;
}

// When to look again: the idle limit, or the end of the credential's life if that is nearer.
static uint64_t next_look(const struct association *association, uint64_t now_ms)
{
    const struct worker *worker = association->worker;
    const struct principal *principal = association->device.principal;
    bool fresh = principal == NULL || association->bytes_in == 0;
    uint64_t idle = association->last_ms + (uint64_t)idle_seconds(worker, fresh) * 1000;
    if (principal == NULL)
        return idle;
    uint64_t end = now_ms + (uint64_t)credential_seconds(principal->expires_at, UINT32_MAX) * 1000;
    return end < idle ? end : idle;
}

static bool is_expired(int64_t expires_at)
{
    return expires_at != 0 && expires_at <= clock_wall();
}

static void look_at_stream(struct timer *timer, void *context, uint64_t now_ms)
{
    struct association *association = context;
    struct worker *worker = association->worker;
    uint64_t next = next_look(association, now_ms);
    if (next > now_ms) {
        timer_set(worker->wheel, timer, next);
        return;
    }
    const struct principal *principal = association->device.principal;
    bool expired = principal != NULL && is_expired(principal->expires_at);
    traffic_end(association, expired ? STAT_ASSOCIATIONS_ENDED_REVOKED : STAT_ASSOCIATIONS_ENDED_IDLE);
}

// Seconds from now until a slot is to be looked at, 0: its time has come.
static uint32_t slot_left(const struct worker *worker, const struct slot *head, int64_t expires_at, uint32_t now_s)
{
    unsigned idle = idle_seconds(worker, head->principal == 0);
    uint32_t silent = now_s - head->last_s;
    return silent >= idle ? 0 : credential_seconds(expires_at, idle - silent);
}

static int64_t slot_expiry(const struct worker *worker, store_slot slot)
{
    struct plane_packed principal;
    return plane_packed_principal(store_principal(worker->store, slot), &principal) ? principal.expires_at : 0;
}

static uint32_t look_at_slot(void *context, store_slot slot, uint32_t now_s)
{
    struct worker *worker = context;
    int64_t expires_at = slot_expiry(worker, slot);
    uint32_t left = slot_left(worker, store_head(worker->store, slot), expires_at, now_s);
    if (left > 0)
        return now_s + left;
    lifetime_end_slot(worker, slot,
                      is_expired(expires_at) ? STAT_ASSOCIATIONS_ENDED_REVOKED : STAT_ASSOCIATIONS_ENDED_IDLE);
    return 0;
}

void lifetime_look_sooner(struct worker *worker, store_slot slot)
{
    const struct slot *head = store_head(worker->store, slot);
    uint32_t now_s = (uint32_t)(worker->now_ms / 1000);
    uint32_t at_s = now_s + slot_left(worker, head, slot_expiry(worker, slot), now_s);
    if (at_s < head->look_s)
        store_look_at(worker->store, slot, at_s);
}

void lifetime_run(struct worker *worker)
{
    bool more = store_run(worker->store, (uint32_t)(worker->now_ms / 1000), DUE_BUDGET, look_at_slot, worker);
    if (more && !timer_is_set(&worker->due_timer))
        timer_set(worker->wheel, &worker->due_timer, worker->now_ms + 1);
}

void lifetime_due(struct timer *timer, void *context, uint64_t now_ms)
{
    (void)timer;
    (void)now_ms;
    lifetime_run(context);
}

// --- the beginning -----------------------------------------------------------------------------------------------

static void tell_full(struct worker *worker)
{
    worker_count(worker, STAT_LIMIT_ASSOCIATIONS, 1);
    log_sampled(&worker->sample_limit, LOG_LEVEL_WARNING, "limits.associations (%u per worker) is reached",
                worker->config->limits.associations);
}

static bool has_too_many(struct worker *worker, const struct principal *principal)
{
    unsigned limit = worker->config->limits.associations_per_identity;
    if (principal == NULL || limit == 0 || principal->streams < limit)
        return false;
    worker_count(worker, STAT_LIMIT_IDENTITY, 1);
    return true;
}

struct association *lifetime_stream(struct pending *pending, enum framework framework, struct principal *principal,
                                    struct record *record)
{
    struct worker *worker = pending->worker;
    struct association *association = has_too_many(worker, principal) ? NULL : calloc(1, sizeof *association);
    if (association == NULL)
        return NULL;
    association->user.kind = WORKER_USER_ASSOCIATION;
    association->worker = worker;
    association->endpoint = pending->endpoint;
    association->framework = framework;
    association->started_ms = association->last_ms = worker->now_ms;
    association->idle = (struct timer){.fire = look_at_stream, .context = association};
    fill_device(association, &worker->config->listeners[pending->listener], principal);
    if (association_insert(worker->associations, association) != SAGATE_OK) {
        free(association);
        return NULL;
    }
    association->record = record;
    if (principal != NULL)
        principal->streams++;
    const struct handshake_sink sink = {.send = endpoint_send, .context = &association->endpoint};
    record_set_sink(record, &sink);
    timer_set(worker->wheel, &association->idle, next_look(association, worker->now_ms));
    return association;
}

// A slot of this kind; when all are in use, the association that was silent for longest makes room.
static store_slot take_slot(struct worker *worker, enum record_kind kind)
{
    const struct config_limits *limits = &worker->config->limits;
    store_slot slot = store_take(worker->store, (uint8_t)kind);
    if (slot != 0 || limits->eviction_idle_seconds == 0)
        return slot;
    store_slot silent =
        store_idle_longest(worker->store, (uint32_t)(worker->now_ms / 1000), limits->eviction_idle_seconds);
    if (silent == 0)
        return 0;
    lifetime_end_slot(worker, silent, STAT_ASSOCIATIONS_ENDED_EVICTED);
    return store_take(worker->store, (uint8_t)kind);
}

// The same peer address proved an identity anew: a rebooted device. Only now may the old association end, silently,
// since a close_notify would go to the new one. One with a Connection ID that belongs to somebody else may have moved
// on: it only is not found by this address any more.
static void yield_address(struct worker *worker, uint8_t listener, const struct address *peer,
                          const struct principal *principal)
{
    store_slot old = store_by_address(worker->store, listener, peer);
    if (old == 0)
        return;
    struct plane_packed packed = {0};
    bool named = plane_packed_principal(store_principal(worker->store, old), &packed);
    bool same =
        principal == NULL ? !named : named && slice_equal(packed.credential_id, slice_text(principal->credential_id));
    if (!same && store_yield_address(worker->store, old) == SAGATE_OK)
        return;
    struct association *association = lifetime_wake(worker, old);
    if (association == NULL) {
        lifetime_end_slot(worker, old, STAT_ASSOCIATIONS_ENDED_REPLACED);
        return;
    }
    association->closing = true;
    traffic_end(association, STAT_ASSOCIATIONS_ENDED_REPLACED);
}

static void keep_to_identity_limit(struct worker *worker, const struct principal *principal)
{
    unsigned limit = worker->config->limits.associations_per_identity;
    store_slot oldest = 0;
    if (principal == NULL || limit == 0 ||
        store_principal_count(worker->store, slice_text(principal->credential_id), &oldest) < limit)
        return;
    worker_count(worker, STAT_LIMIT_IDENTITY, 1);
    lifetime_end_slot(worker, oldest, STAT_ASSOCIATIONS_ENDED_EVICTED);
}

static int publish(struct worker *worker, store_slot slot, const struct pending *pending,
                   const struct principal *principal, const struct record *record)
{
    struct slot *head = store_head(worker->store, slot);
    struct listener *listener = worker->listeners[pending->listener];
    uint32_t now_s = (uint32_t)(worker->now_ms / 1000);
    int packed = principal == NULL ? 0 : plane_pack_principal(principal, worker->packed, sizeof worker->packed);
    if (packed < 0)
        return packed;
    head->started_s = head->last_s = now_s;
    uint32_t idle =
        credential_seconds(principal == NULL ? 0 : principal->expires_at, idle_seconds(worker, principal == NULL));
    return store_publish(worker->store, slot, listener->number, &pending->endpoint.peer, record_cid(record),
                         slice_text(principal == NULL ? "" : principal->credential_id),
                         slice_of(worker->packed, (size_t)packed), idle, now_s);
}

struct association *lifetime_datagrams(struct pending *pending, enum framework framework, struct principal *principal,
                                       struct record *record)
{
    struct worker *worker = pending->worker;
    struct listener *listener = worker->listeners[pending->listener];
    enum record_kind kind = record_kind(record);
    yield_address(worker, listener->number, &pending->endpoint.peer, principal);
    keep_to_identity_limit(worker, principal);
    store_slot slot = take_slot(worker, kind);
    if (slot == 0) {
        tell_full(worker);
        return NULL;
    }
    struct slot *head = store_head(worker->store, slot);
    head->framework = (uint8_t)framework;
    const struct record_place place = {.flight = &head->flight, .keys = store_keys(worker->store, slot)};
    record_settle(record, &place);
    if (publish(worker, slot, pending, principal, record) != SAGATE_OK) {
        tell_full(worker);
        record_close(record); // as long as its keys are there
        store_release(worker->store, slot);
        return NULL;
    }
    struct association *association =
        attach(worker, slot, listener, principal == NULL ? NULL : principal_reference(principal));
    if (association == NULL) {
        record_close(record);
        lifetime_release(worker, slot);
        return NULL;
    }
    principal_release(principal);
    association->record = record;
    const struct handshake_sink sink = datagram_sink(association);
    record_set_sink(record, &sink);
    worker_gauge(worker, STAT_ASSOCIATIONS_DTLS, store_count(worker->store));
    return association;
}

// --- walks -------------------------------------------------------------------------------------------------------

bool lifetime_walk(struct worker *worker, uint64_t *cursor, size_t *budget, struct lifetime_item *item)
{
    *item = (struct lifetime_item){0};
    if ((*cursor & WALK_SLOTS) == 0) {
        item->association = association_walk(worker->associations, cursor, budget);
        if (item->association != NULL)
            return true;
        if (*cursor != 0)
            return false;
        *cursor = WALK_SLOTS;
        if (*budget == 0)
            return false;
    }
    uint64_t place = *cursor & ~WALK_SLOTS;
    item->slot = store_walk(worker->store, &place, budget);
    *cursor = place == 0 ? 0 : place | WALK_SLOTS;
    return item->slot != 0;
}
