// The backlog of handshakes: copies of their input in two queues, and the account of the time that they may use.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/worker/backlog.h"

#include "common/clock.h"
#include "common/error.h"
#include "dataplane/worker/internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    BYTES_MAX = 1 << 20,
    SHARE = 8,          // handshakes get one part where all else gets so many
    CREDIT_MAX_US = 50, // what is saved up, or else they would come in bursts
    DEBT_MAX_US = 2000, // the worker itself may have been held up in a step, which is nobody's debt
    ALONE_US = 100,     // until the driver is looked at again
    RECENT_US = 10000,  // so long after something else was done, more of it is expected at any moment
    STEPS_MAX = 32,     // of one turn
};

struct backlog_item {
    struct backlog_item *next;
    struct listener *listener;
    enum io_event_type type;
    io_stream stream; // 0: a datagram
    struct address peer;
    size_t len;
    uint8_t data[];
};

void backlog_init(struct backlog *backlog)
{
    *backlog = (struct backlog){0};
    for (size_t i = 0; i < BACKLOG_CLASSES; i++)
        backlog->last[i] = &backlog->first[i];
}

bool backlog_put(struct worker *worker, enum backlog_class class, struct listener *listener,
                 const struct io_event *event)
{
    struct backlog *backlog = &worker->backlog;
    size_t len = event->type == IO_DATAGRAM || event->type == IO_DATA ? event->len : 0;
    size_t bytes = sizeof(struct backlog_item) + len;
    if (backlog->turn || backlog->bytes + bytes > BYTES_MAX)
        return false;
    struct backlog_item *item = malloc(bytes);
    if (item == NULL)
        return false;
    *item = (struct backlog_item){.listener = listener, .type = event->type, .stream = event->stream, .len = len};
    if (event->peer != NULL)
        item->peer = *event->peer;
    if (len > 0)
        memcpy(item->data, event->data, len);
    *backlog->last[class] = item;
    backlog->last[class] = &item->next;
    backlog->bytes += bytes;
    if (event->stream != 0 && event->type != IO_EOF)
        (void)io_stream_pause(worker->io, event->stream, true);
    return true;
}

static struct backlog_item *take(struct backlog *backlog)
{
    for (size_t i = 0; i < BACKLOG_CLASSES; i++) {
        struct backlog_item *item = backlog->first[i];
        if (item == NULL)
            continue;
        backlog->first[i] = item->next;
        if (item->next == NULL)
            backlog->last[i] = &backlog->first[i];
        backlog->bytes -= sizeof *item + item->len;
        return item;
    }
    return NULL;
}

bool backlog_waits(const struct worker *worker)
{
    bool waits = worker->due != NULL;
    for (size_t i = 0; i < BACKLOG_CLASSES; i++)
        waits = waits || worker->backlog.first[i] != NULL;
    return waits;
}

// A stream may have ended meanwhile, or have become an association's.
static void run_stream(struct worker *worker, struct backlog_item *item, struct io_event *event)
{
    if (item->type != IO_EOF && io_stream_pause(worker->io, item->stream, false) != SAGATE_OK)
        return;
    event->stream = item->stream;
    event->user = item->type == IO_ACCEPTED ? &item->listener->user : io_stream_user(worker->io, item->stream);
    if (event->user != NULL)
        worker_dispatch(worker, event);
}

static void run(struct worker *worker, struct backlog_item *item)
{
    struct io_event event = {.type = item->type, .peer = &item->peer, .data = item->data, .len = item->len};
    bool gone = item->listener == NULL && (item->type == IO_DATAGRAM || item->type == IO_ACCEPTED);
    if (gone && item->stream != 0)
        io_stream_abort(worker->io, item->stream);
    else if (item->stream != 0)
        run_stream(worker, item, &event);
    else if (!gone)
        handshaking_datagram_turn(worker, item->listener, &event);
    free(item);
    traffic_run_ready(worker);
}

// One piece of work. False: there is none.
static bool step(struct worker *worker)
{
    if (handshaking_run_due(worker))
        return true;
    struct backlog_item *item = take(&worker->backlog);
    if (item == NULL)
        return false;
    run(worker, item);
    return true;
}

// Adds to the account what a round of other work entitles to; how much that is.
static int64_t earn(struct backlog *backlog, uint64_t now_us, uint64_t round_us)
{
    int64_t share = (int64_t)(round_us / SHARE);
    int64_t most = share > CREDIT_MAX_US ? share : CREDIT_MAX_US;
    backlog->others_us = now_us;
    backlog->credit_us += share;
    backlog->credit_us = backlog->credit_us < most ? backlog->credit_us : most;
    return share;
}

void backlog_turn(struct worker *worker, bool others)
{
    struct backlog *backlog = &worker->backlog;
    uint64_t before = clock_us();
    int64_t share = others ? earn(backlog, before, before - worker->now_us) : 0;
    if (!backlog_waits(worker) || (others && backlog->credit_us <= 0))
        return;
    int64_t left = others ? backlog->credit_us : ALONE_US;
    // Beyond the share of this round, handshakes give way to what arrives while they have their turn.
    int64_t leave = before - backlog->others_us < RECENT_US ? left - share : INT64_MIN;
    if (others) // answers do not wait for handshakes
        (void)io_wait(worker->io, worker->events, 0, 0);
    backlog->turn = true;
    for (unsigned steps = 0; left > 0 && steps < STEPS_MAX && step(worker); steps++) {
        uint64_t now = clock_us();
        left -= (int64_t)(now - before);
        before = now;
        if (left <= leave && io_waits(worker->io))
            break;
    }
    backlog->turn = false;
    if (!others)
        left = 0;
    backlog->credit_us = left > -DEBT_MAX_US ? left : -DEBT_MAX_US;
}

void backlog_forget(struct worker *worker, const struct listener *listener)
{
    for (size_t i = 0; i < BACKLOG_CLASSES; i++) {
        for (struct backlog_item *item = worker->backlog.first[i]; item != NULL; item = item->next) {
            if (item->listener == listener)
                item->listener = NULL;
        }
    }
}

void backlog_free(struct backlog *backlog)
{
    struct backlog_item *item;
    while ((item = take(backlog)) != NULL)
        free(item);
}
