// The plane socket to the control process: identities to resolve, registrations to tell, orders to follow.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "common/secret.h"
#include "dataplane/worker/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// How the Credential-ID of a provisioned key begins (TS-0003 10.4, table 10.4-1: KpsaID).
#define CREDENTIAL_TYPE_PSK "12-"
enum { CREDENTIAL_TYPE_LEN = sizeof CREDENTIAL_TYPE_PSK - 1, RECHECK_QUESTIONS = 64 };

static const struct slice packed_none = {0};

enum { OUTBOX_RETRY_MS = 10, SWEEP_PLACES = 2000, MESSAGES_PER_ROUND = 16, ENTRIES_MAX = 32 * 1024 };

static void outbox_append(struct worker *worker, const struct plane_message *message)
{
    if (worker->outbox_count >= WORKER_OUTBOX_MAX) {
        log_sampled(&worker->sample_plane, LOG_LEVEL_ERROR, "worker %u: the control process takes no messages",
                    worker->index);
        return;
    }
    static _Thread_local uint8_t encoded[PLANE_MESSAGE_MAX];
    int len = plane_encode(message, encoded, sizeof encoded);
    struct outbox_entry *entry = len < 0 ? NULL : malloc(sizeof *entry + (size_t)len);
    if (entry == NULL)
        return;
    entry->next = NULL;
    entry->len = (size_t)len;
    memcpy(entry->bytes, encoded, (size_t)len);
    *worker->outbox_tail = entry;
    worker->outbox_tail = &entry->next;
    worker->outbox_count++;
    if (!timer_is_set(&worker->outbox_timer))
        timer_set(worker->wheel, &worker->outbox_timer, worker->now_ms + OUTBOX_RETRY_MS);
}

static void outbox_retry(struct timer *timer, void *context, uint64_t now_ms)
{
    struct worker *worker = context;
    while (worker->outbox != NULL) {
        struct outbox_entry *entry = worker->outbox;
        struct plane_message message;
        if (plane_decode(entry->bytes, entry->len, &message) == SAGATE_OK &&
            plane_send(worker->channel_fd, &message, -1) == SAGATE_AGAIN) {
            timer_set(worker->wheel, timer, now_ms + OUTBOX_RETRY_MS);
            return;
        }
        worker->outbox = entry->next;
        if (worker->outbox == NULL)
            worker->outbox_tail = &worker->outbox;
        worker->outbox_count--;
        free(entry);
    }
}

void channel_send(struct worker *worker, const struct plane_message *message)
{
    if (worker->channel_fd < 0)
        return;
    // Order matters (registered, then deleted), so nothing overtakes what waits.
    if (worker->outbox != NULL || plane_send(worker->channel_fd, message, -1) == SAGATE_AGAIN)
        outbox_append(worker, message);
}

void channel_hello(struct worker *worker)
{
    const struct plane_message message = {.type = PLANE_HELLO,
                                          .hello = {.worker = worker->index, .boot = worker->boot}};
    channel_send(worker, &message);
}

void channel_resolve(struct worker *worker, struct slice identity)
{
    const struct plane_message message = {.type = PLANE_RESOLVE, .resolve = {.identity = identity}};
    channel_send(worker, &message);
}

static void ask_again(void *context, struct slice identity)
{
    channel_resolve(context, identity);
}

// What the originator check learns from answers goes to the control plane.
static void on_registered(void *context, const struct principal *principal, size_t upstream, struct slice aei,
                          struct slice resource_id, struct slice structured)
{
    struct worker *worker = context;
    const struct plane_message message = {
        .type = PLANE_REGISTERED,
        .registered = {.credential_id = slice_text(principal->credential_id),
                       .upstream = slice_text(worker->config->upstreams[upstream].name),
                       .aei = aei,
                       .resource_id = resource_id,
                       .structured = structured}};
    channel_send(worker, &message);
}

static void on_deleted(void *context, size_t upstream, struct slice to)
{
    struct worker *worker = context;
    const struct plane_message message = {
        .type = PLANE_DELETED, .deleted = {.upstream = slice_text(worker->config->upstreams[upstream].name), .to = to}};
    channel_send(worker, &message);
}

int channel_pep(struct worker *worker)
{
    const struct pep_events events = {.context = worker, .registered = on_registered, .deleted = on_deleted};
    worker->pep = pep_new(&events, worker->stats);
    return worker->pep == NULL ? SAGATE_ENOMEM : SAGATE_OK;
}

static void sweep_done(struct worker *worker, struct sweep *sweep)
{
    if (sweep->ticket != 0) {
        const struct plane_message message = {.type = PLANE_KILLED,
                                              .killed = {.ticket = sweep->ticket, .count = sweep->ended}};
        channel_send(worker, &message);
    }
    worker->sweeps = sweep->next;
    if (worker->sweeps == NULL)
        worker->sweeps_tail = &worker->sweeps;
    free(sweep->credential_id);
    free(sweep);
}

// Ends those in the store, which knows them by their Credential-ID. True when none is left, and there is budget for
// the next.
static bool sweep_slots(struct worker *worker, struct sweep *sweep, size_t *budget)
{
    store_slot slot;
    while ((slot = store_next_of(worker->store, slice_text(sweep->credential_id), 0)) != 0) {
        if (*budget == 0)
            return false;
        (*budget)--;
        sweep->ended++;
        lifetime_end_slot(worker, slot, sweep->reason);
    }
    return *budget > 0;
}

static bool sweep_streams(struct worker *worker, struct sweep *sweep, size_t *budget)
{
    struct association *association;
    while ((association = association_walk(worker->associations, &sweep->cursor, budget)) != NULL) {
        const struct principal *principal = association->device.principal;
        if (principal != NULL && strcmp(principal->credential_id, sweep->credential_id) == 0) {
            sweep->ended++;
            traffic_end(association, sweep->reason);
        }
    }
    return sweep->cursor == 0;
}

// One piece of the oldest sweeps, so that a million associations never hold the worker up.
static void sweep_step(struct timer *timer, void *context, uint64_t now_ms)
{
    struct worker *worker = context;
    struct sweep *sweep;
    size_t budget = SWEEP_PLACES;
    while ((sweep = worker->sweeps) != NULL && sweep_slots(worker, sweep, &budget) &&
           sweep_streams(worker, sweep, &budget)) {
        sweep_done(worker, sweep);
        budget -= budget > 0;
    }
    if (worker->sweeps != NULL)
        timer_set(worker->wheel, timer, now_ms + 1);
}

static int channel_sweep(struct worker *worker, const char *credential_id, enum stat_id reason, uint64_t ticket)
{
    struct sweep *sweep = calloc(1, sizeof *sweep);
    if (sweep == NULL)
        return SAGATE_ENOMEM;
    sweep->credential_id = strdup(credential_id);
    if (sweep->credential_id == NULL) {
        free(sweep);
        return SAGATE_ENOMEM;
    }
    sweep->reason = reason;
    sweep->ticket = ticket;
    *worker->sweeps_tail = sweep;
    worker->sweeps_tail = &sweep->next;
    if (!timer_is_set(&worker->sweep_timer))
        timer_set(worker->wheel, &worker->sweep_timer, worker->now_ms + 1);
    return SAGATE_OK;
}

// The Credential-ID of an item whose key is one of control's; empty: it has none.
static struct slice credential_of(struct worker *worker, const struct lifetime_item *item)
{
    struct plane_packed packed = {0};
    if (item->association == NULL) {
        bool key = plane_packed_principal(store_principal(worker->store, item->slot), &packed) &&
                   framework_has_key(packed.framework);
        return key ? packed.credential_id : packed_none;
    }
    const struct principal *principal = item->association->device.principal;
    return principal != NULL && framework_has_key(item->association->framework) ? slice_text(principal->credential_id)
                                                                                : packed_none;
}

// Asks about the identities of all associations again, in pieces, and never more at a time than control can take.
static void recheck_step(struct timer *timer, void *context, uint64_t now_ms)
{
    struct worker *worker = context;
    size_t budget = SWEEP_PLACES;
    unsigned asked = 0;
    struct lifetime_item item;
    if (worker->outbox != NULL) { // goes first
        timer_set(worker->wheel, timer, now_ms + OUTBOX_RETRY_MS);
        return;
    }
    while (worker->outbox == NULL && asked < RECHECK_QUESTIONS &&
           lifetime_walk(worker, &worker->recheck, &budget, &item)) {
        struct slice credential_id = credential_of(worker, &item);
        if (credential_id.len <= CREDENTIAL_TYPE_LEN)
            continue;
        struct slice identity =
            slice_of(credential_id.data + CREDENTIAL_TYPE_LEN, credential_id.len - CREDENTIAL_TYPE_LEN);
        if (keys_find(worker->keys, identity, now_ms)->state == KEY_NONE &&
            keys_asked(worker->keys, identity, now_ms) == SAGATE_OK) {
            channel_resolve(worker, identity);
            asked++;
        }
    }
    if (worker->recheck != 0)
        timer_set(worker->wheel, timer, now_ms + 1);
}

// The control process has started anew; what it was asked before is lost, and what it would have told meanwhile too: a
// credential may have been removed. So every answer is forgotten, and every association's identity asked about again.
static void on_hello(struct worker *worker, uint64_t boot)
{
    // What another process has left may be about credentials that were removed meanwhile.
    bool again = (worker->control_boot != 0 && worker->control_boot != boot) || worker->resumed;
    worker->control_boot = boot;
    worker->resumed = false;
    channel_hello(worker);
    keys_each_asked(worker->keys, ask_again, worker);
    if (!again)
        return;
    keys_forget_answers(worker->keys);
    worker->recheck = 0;
    timer_set(worker->wheel, &worker->recheck_timer, worker->now_ms + 1);
}

static bool credential_text(struct slice identity, char out[ONEM2M_CREDENTIAL_MAX + 1])
{
    int len = snprintf(out, ONEM2M_CREDENTIAL_MAX + 1, CREDENTIAL_TYPE_PSK "%.*s", (int)identity.len,
                       (const char *)identity.data);
    return len > 0 && len <= ONEM2M_CREDENTIAL_MAX;
}

// Control knows no such identity (any more): associations that were built on it end.
static void end_unknown(struct worker *worker, struct slice identity)
{
    char credential_id[ONEM2M_CREDENTIAL_MAX + 1];
    if (credential_text(identity, credential_id) && (keys_has_principal(worker->keys, credential_id) ||
                                                     store_next_of(worker->store, slice_text(credential_id), 0) != 0))
        (void)channel_sweep(worker, credential_id, STAT_ASSOCIATIONS_ENDED_REVOKED, 0);
}

// What the store knows of a credential that has associations there. Where there is no room for it they end, since what
// is kept there may allow more.
static void keep_principal(struct worker *worker, struct slice packed)
{
    struct plane_packed head;
    char credential_id[ONEM2M_CREDENTIAL_MAX + 1];
    if (!plane_packed_principal(packed, &head) || head.credential_id.len > ONEM2M_CREDENTIAL_MAX ||
        store_set_principal(worker->store, head.credential_id, packed) != SAGATE_ELIMIT)
        return;
    log_sampled(&worker->sample_plane, LOG_LEVEL_ERROR, "worker %u: no room for what a credential may do",
                worker->index);
    memcpy(credential_id, head.credential_id.data, head.credential_id.len);
    credential_id[head.credential_id.len] = '\0';
    (void)channel_sweep(worker, credential_id, STAT_ASSOCIATIONS_ENDED_REVOKED, 0);
}

static void on_resolved(struct worker *worker, const struct plane_resolved *resolved)
{
    // At least a second, so that the handshakes that wait for it find the answer.
    uint32_t seconds = resolved->cache_seconds > 0 ? resolved->cache_seconds : 1;
    int result = keys_answered(worker->keys, resolved->identity,
                               resolved->result == SAGATE_OK ? resolved->key : slice_of(NULL, 0), resolved->principal,
                               seconds, worker->now_ms);
    if (result == SAGATE_OK && resolved->result == SAGATE_OK)
        keep_principal(worker, resolved->principal);
    if (resolved->result == SAGATE_ENOTFOUND)
        end_unknown(worker, resolved->identity);
    handshaking_resolved(worker, resolved->identity);
}

static void on_revoked(struct worker *worker, const struct plane_revoked *revoked)
{
    keys_forget(worker->keys, revoked->identity);
    if (revoked->credential_id.len == 0 || revoked->credential_id.len > ONEM2M_CREDENTIAL_MAX)
        return;
    // Handshakes that were given the key must not become associations.
    struct pending *next;
    for (struct pending *pending = worker->pendings; pending != NULL; pending = next) {
        next = pending->next;
        if (!pending->parked && slice_equal(handshake_identity(pending->handshake), revoked->identity))
            handshaking_end(pending, STAT_HANDSHAKES_FAILED_CREDENTIAL);
    }
    char credential_id[ONEM2M_CREDENTIAL_MAX + 1];
    memcpy(credential_id, revoked->credential_id.data, revoked->credential_id.len);
    credential_id[revoked->credential_id.len] = '\0';
    (void)channel_sweep(worker, credential_id, STAT_ASSOCIATIONS_ENDED_REVOKED, 0);
}

static void on_registrees(struct worker *worker, struct slice list)
{
    struct slice rest = list;
    struct slice text;
    size_t count = 0;
    while (plane_next_text(&rest, &text) == SAGATE_OK)
        count++;
    struct slice *texts = calloc(count + 1, sizeof *texts);
    if (texts == NULL)
        return;
    for (size_t i = 0; i < count; i++)
        (void)plane_next_text(&list, &texts[i]);
    if (pep_set_registrees(worker->pep, texts, count) != SAGATE_OK)
        log_sampled(&worker->sample_plane, LOG_LEVEL_ERROR, "worker %u: out of memory", worker->index);
    free(texts);
}

static void on_owners(struct worker *worker, const struct plane_owners *owners)
{
    struct slice list = owners->entries;
    struct slice stem;
    struct slice upstream;
    struct slice credential_id;
    if (owners->replace != 0)
        pep_clear_owners(worker->pep);
    while (plane_next_text(&list, &stem) == SAGATE_OK && plane_next_text(&list, &upstream) == SAGATE_OK &&
           plane_next_text(&list, &credential_id) == SAGATE_OK) {
        if (owners->remove != 0)
            pep_remove_owner(worker->pep, stem, upstream, credential_id);
        else
            (void)pep_add_owner(worker->pep, stem, upstream, credential_id);
    }
}

static void describe_slot(const struct worker *worker, store_slot slot, struct address *peer,
                          struct plane_association *entry)
{
    const struct slot *head = store_head(worker->store, slot);
    const struct listener *listener = worker->numbered[head->listener];
    struct plane_packed packed = {0};
    uint32_t now_s = (uint32_t)(worker->now_ms / 1000);
    (void)plane_packed_principal(store_principal(worker->store, slot), &packed);
    store_peer(worker->store, slot, peer);
    *entry = (struct plane_association){
        .id = store_id(worker->store, slot),
        .credential_id = packed.credential_id,
        .listener = slice_text(listener == NULL ? "" : listener->config->name),
        .protocol = slice_text(record_protocol_name((enum record_kind)head->kind)),
        .cipher = slice_text(record_suite_name(head->flight.suite)),
        .framework = head->framework,
        .age_ms = (uint64_t)(now_s - head->started_s) * 1000,
        .idle_ms = (uint64_t)(now_s - head->last_s) * 1000,
        .bytes_in = (uint64_t)head->bytes_in_high << 32 | head->bytes_in,
        .bytes_out = (uint64_t)head->bytes_out_high << 32 | head->bytes_out,
    };
}

static void describe_stream(const struct worker *worker, const struct association *association, struct address *peer,
                            struct plane_association *entry)
{
    const struct principal *principal = association->device.principal;
    *peer = association->endpoint.peer;
    *entry = (struct plane_association){
        .id = association->device.association,
        .credential_id = slice_text(principal == NULL ? "" : principal->credential_id),
        .listener = slice_text(association->device.listener->name),
        .protocol = slice_text(record_protocol(association->record)),
        .cipher = slice_text(record_cipher(association->record)),
        .framework = (uint8_t)association->framework,
        .age_ms = worker->now_ms - association->started_ms,
        .idle_ms = worker->now_ms - association->last_ms,
        .bytes_in = association->bytes_in,
        .bytes_out = association->bytes_out,
    };
}

static void on_list(struct worker *worker, const struct plane_list *list)
{
    static _Thread_local uint8_t entries[ENTRIES_MAX];
    size_t used = 0;
    size_t budget = SWEEP_PLACES;
    uint64_t cursor = list->cursor;
    uint32_t count = 0;
    struct lifetime_item item;
    while (count < list->limit && lifetime_walk(worker, &cursor, &budget, &item)) {
        char text[ADDRESS_TEXT_MAX];
        struct address peer;
        struct plane_association entry;
        if (item.association != NULL)
            describe_stream(worker, item.association, &peer, &entry);
        else
            describe_slot(worker, item.slot, &peer, &entry);
        entry.peer = slice_text(address_format(&peer, text));
        int grown = plane_append_association(entries, used, sizeof entries, &entry);
        if (grown < 0) {
            cursor--; // this one comes first in the next part
            break;
        }
        used = (size_t)grown;
        count++;
    }
    const struct plane_message message = {
        .type = PLANE_LISTED, .listed = {.ticket = list->ticket, .next = cursor, .entries = slice_of(entries, used)}};
    channel_send(worker, &message);
}

// True when there was such an association.
static bool kill_one(struct worker *worker, uint64_t id)
{
    struct association *association = association_by_id(worker->associations, id);
    store_slot slot = association == NULL ? store_by_id(worker->store, id) : 0;
    if (association != NULL)
        traffic_end(association, STAT_ASSOCIATIONS_ENDED_OPERATOR);
    else if (slot != 0)
        lifetime_end_slot(worker, slot, STAT_ASSOCIATIONS_ENDED_OPERATOR);
    return association != NULL || slot != 0;
}

static void on_kill(struct worker *worker, const struct plane_kill *order)
{
    if (order->association == 0 && order->credential_id.len <= ONEM2M_CREDENTIAL_MAX) {
        char credential_id[ONEM2M_CREDENTIAL_MAX + 1];
        memcpy(credential_id, order->credential_id.data, order->credential_id.len);
        credential_id[order->credential_id.len] = '\0';
        (void)channel_sweep(worker, credential_id, STAT_ASSOCIATIONS_ENDED_OPERATOR, order->ticket);
        return;
    }
    const struct plane_message message = {
        .type = PLANE_KILLED,
        .killed = {.ticket = order->ticket, .count = kill_one(worker, order->association) ? 1 : 0}};
    channel_send(worker, &message);
}

static void handle(struct worker *worker, const struct plane_message *message)
{
    switch (message->type) {
    case PLANE_HELLO:
        on_hello(worker, message->hello.boot);
        break;
    case PLANE_RESOLVED:
        on_resolved(worker, &message->resolved);
        break;
    case PLANE_REVOKED:
        on_revoked(worker, &message->revoked);
        break;
    case PLANE_PRINCIPAL:
        (void)keys_update_principal(worker->keys, message->principal.principal);
        keep_principal(worker, message->principal.principal);
        break;
    case PLANE_REGISTREES:
        on_registrees(worker, message->registrees.cse_ids);
        break;
    case PLANE_OWNERS:
        on_owners(worker, &message->owners);
        break;
    case PLANE_LIST:
        on_list(worker, &message->list);
        break;
    case PLANE_KILL:
        on_kill(worker, &message->kill);
        break;
    case PLANE_DRAIN:
        worker->draining = message->drain.on != 0;
        http_drain(worker->http, worker->draining);
        break;
    case PLANE_PROFILE:
        profile_order(worker, &message->profile);
        break;
    case PLANE_LOG_LEVEL:
        if (message->log_level.level <= LOG_LEVEL_DEBUG)
            log_set_level((enum log_level)message->log_level.level);
        break;
    default:
        log_sampled(&worker->sample_plane, LOG_LEVEL_ERROR, "worker %u: unexpected plane message %d", worker->index,
                    (int)message->type);
        break;
    }
}

void channel_receive(struct worker *worker)
{
    for (int i = 0; i < MESSAGES_PER_ROUND; i++) {
        struct plane_message message;
        int fd = -1;
        int result = plane_receive(worker->channel_fd, worker->message, &message, &fd);
        if (result == SAGATE_EMALFORMED) {
            log_sampled(&worker->sample_plane, LOG_LEVEL_ERROR, "worker %u: malformed plane message", worker->index);
            continue;
        }
        if (result != SAGATE_OK)
            return;
        handle(worker, &message);
        // Only the key: the whole buffer is long.
        if (message.type == PLANE_RESOLVED && message.resolved.key.len > 0)
            secret_zero(worker->message + (message.resolved.key.data - worker->message), message.resolved.key.len);
    }
}

void channel_init(struct worker *worker)
{
    worker->outbox_tail = &worker->outbox;
    worker->sweeps_tail = &worker->sweeps;
    worker->outbox_timer = (struct timer){.fire = outbox_retry, .context = worker};
    worker->sweep_timer = (struct timer){.fire = sweep_step, .context = worker};
    worker->recheck_timer = (struct timer){.fire = recheck_step, .context = worker};
}

void channel_free(struct worker *worker)
{
    while (worker->outbox != NULL) {
        struct outbox_entry *entry = worker->outbox;
        worker->outbox = entry->next;
        free(entry);
    }
    while (worker->sweeps != NULL) {
        struct sweep *sweep = worker->sweeps;
        worker->sweeps = sweep->next;
        free(sweep->credential_id);
        free(sweep);
    }
}
