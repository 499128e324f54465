// The records of one batch of events, side by side: received ones are opened before the first event is looked at, but
// count only in their turn (dataplane/record/together.h); answers wait, sealed by none, for the end of the batch.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/worker/internal.h"

#include <stdlib.h>

enum {
    PLAIN_MAX = 128 * 1024, // of all records of a batch that are opened ahead; the rest wait for their turn
    PLAIN_ALIGNMENT = 64,
    SEALED_LEN_MAX = 1408, // longer ones do not wait
    SEALED_MAX = WORKER_EVENTS,
};

struct opened {
    store_slot slot; // 0: the event has none
    uint32_t generation;
    struct record_opening record;
};

struct sealed {
    struct endpoint endpoint; // a copy: the association may leave the hand meanwhile
    struct record_sealing record;
    uint8_t bytes[SEALED_LEN_MAX];
};

struct batch {
    struct engine *engine;
    size_t event;       // in hand
    size_t event_count; // that `opened` is about
    bool sealing;       // records may wait
    size_t sealed_count;
    struct aead_job *jobs[WORKER_EVENTS];
    struct opened opened[WORKER_EVENTS]; // by event
    struct sealed sealed[SEALED_MAX];
    uint8_t plain[PLAIN_MAX];
};

_Static_assert((int)WORKER_EVENTS <= (int)ENGINE_JOBS_MAX, "a batch is opened in one go");

struct batch *batch_new(void)
{
    struct engine *engine = engine_new();
    struct batch *batch = engine == NULL ? NULL : calloc(1, sizeof *batch);
    if (batch == NULL) {
        engine_free(engine);
        return NULL;
    }
    batch->engine = engine;
    return batch;
}

void batch_free(struct batch *batch)
{
    if (batch == NULL)
        return;
    engine_free(batch->engine);
    free(batch);
}

const char *batch_engine(const struct batch *batch)
{
    return engine_name(batch == NULL ? NULL : batch->engine);
}

// True when the first record of an event's datagram is to be opened into `out`.
static bool prepare(struct worker *worker, const struct io_event *event, struct opened *opened, uint8_t *out,
                    size_t cap)
{
    opened->slot = 0;
    if (event->type != IO_DATAGRAM || event->user == NULL || event->user->kind != WORKER_USER_LISTENER)
        return false;
    const struct listener *listener = (const struct listener *)event->user;
    store_slot slot = handshaking_owner(worker, listener, event);
    const struct slot *head = slot == 0 ? NULL : store_head(worker->store, slot);
    if (head == NULL ||
        !record_opening_prepare(&opened->record, worker->batch_records->engine, (enum record_kind)head->kind,
                                store_keys(worker->store, slot), slice_of(event->data, event->len), out, cap))
        return false;
    opened->slot = slot;
    opened->generation = head->generation;
    return true;
}

void batch_begin(struct worker *worker, struct io_event *events, size_t count)
{
    struct batch *batch = worker->batch_records;
    if (batch == NULL || count < ENGINE_JOBS_MIN)
        return;
    size_t jobs = 0;
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        struct opened *opened = &batch->opened[i];
        if (!prepare(worker, &events[i], opened, batch->plain + used, sizeof batch->plain - used))
            continue;
        batch->jobs[jobs] = record_opening_job(&opened->record);
        used += (batch->jobs[jobs]->len + PLAIN_ALIGNMENT - 1) / PLAIN_ALIGNMENT * PLAIN_ALIGNMENT;
        jobs++;
    }
    if (jobs >= ENGINE_JOBS_MIN) {
        profile_enter(PROFILE_OPEN);
        engine_open(batch->engine, batch->jobs, jobs);
        profile_leave();
        worker_count(worker, STAT_RECORDS_OPENED_TOGETHER, jobs);
        batch->event_count = count;
    }
    batch->sealing = true;
}

void batch_at(struct worker *worker, size_t event)
{
    if (worker->batch_records != NULL)
        worker->batch_records->event = event;
}

const struct record_opening *batch_opening(const struct worker *worker, store_slot slot)
{
    const struct batch *batch = worker->batch_records;
    if (batch == NULL || batch->event >= batch->event_count)
        return NULL;
    const struct opened *opened = &batch->opened[batch->event];
    // What an event before this one has ended, or begun in the same slot, has other keys.
    if (opened->slot != slot || opened->generation != store_head(worker->store, slot)->generation)
        return NULL;
    return &opened->record;
}

static struct record_sealing *room(void *context, uint8_t aead, size_t len)
{
    struct endpoint *endpoint = context;
    struct batch *batch = endpoint->batch;
    if (!batch->sealing || len > SEALED_LEN_MAX || !engine_takes(batch->engine, (enum aead)aead))
        return NULL;
    if (batch->sealed_count == SEALED_MAX)
        batch_flush(batch);
    struct sealed *sealed = &batch->sealed[batch->sealed_count];
    sealed->record.bytes = sealed->bytes;
    return &sealed->record;
}

static void put(void *context)
{
    const struct endpoint *endpoint = context;
    struct batch *batch = endpoint->batch;
    batch->sealed[batch->sealed_count++].endpoint = *endpoint;
}

static void flush(void *context)
{
    const struct endpoint *endpoint = context;
    batch_flush(endpoint->batch);
}

const struct record_together batch_together = {.room = room, .put = put, .flush = flush};

void batch_flush(struct batch *batch)
{
    if (batch == NULL || batch->sealed_count == 0)
        return;
    size_t count = batch->sealed_count;
    batch->sealed_count = 0;
    for (size_t i = 0; i < count; i++)
        batch->jobs[i] = record_sealing_job(&batch->sealed[i].record);
    profile_enter(PROFILE_SEAL);
    engine_seal(batch->engine, batch->jobs, count);
    profile_leave();
    if (count >= ENGINE_JOBS_MIN)
        stats_add(batch->sealed[0].endpoint.stats, STAT_RECORDS_SEALED_TOGETHER, count);
    for (size_t i = 0; i < count; i++) {
        struct sealed *sealed = &batch->sealed[i];
        if (record_sealing_finish(&sealed->record))
            (void)endpoint_send(&sealed->endpoint, sealed->bytes, sealed->record.len);
        else // as lost on any network; its number is used up
            stats_add(sealed->endpoint.stats, STAT_DATAGRAMS_DROPPED_BUFFER, 1);
    }
}

void batch_end(struct worker *worker)
{
    struct batch *batch = worker->batch_records;
    if (batch == NULL)
        return;
    batch_flush(batch);
    batch->sealing = false;
    batch->event_count = 0;
}
