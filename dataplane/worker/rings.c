// Datagrams that the kernel brought to the wrong worker: the Connection ID names the right one, and a ring takes them
// there (RFC 9146 6: a peer's address may change, and with it the worker that its datagrams are spread to).
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/worker/internal.h"

#include <unistd.h>

int worker_link(struct worker *const *workers, size_t count)
{
    for (size_t to = 0; to < count; to++) {
        workers[to]->peers = workers;
        workers[to]->peer_count = count;
        for (size_t from = 0; from < count; from++) {
            if (from == to)
                continue;
            workers[to]->inbound[from] = ring_new();
            if (workers[to]->inbound[from] == NULL)
                return SAGATE_ENOMEM;
        }
    }
    return SAGATE_OK;
}

static void ring_bell(struct worker *worker)
{
    if (!atomic_exchange(&worker->rung, true) && worker->wake_fd >= 0) {
        uint64_t one = 1;
        ssize_t ignored = write(worker->wake_fd, &one, sizeof one);
        (void)ignored;
    }
}

void rings_hand_over(struct worker *worker, const struct listener *listener, const struct io_event *event,
                     uint32_t owner)
{
    if (owner >= worker->peer_count) {
        worker_count(worker, STAT_RECORDS_UNKNOWN_CID, 1);
        return;
    }
    struct worker *to = worker->peers[owner];
    int result = ring_push(to->inbound[worker->index], (uint8_t)listener->index, event->peer, event->data, event->len);
    if (result != SAGATE_OK) {
        worker_count(worker, STAT_RECORDS_HANDOVER_FULL, 1);
        return;
    }
    worker_count(worker, STAT_RECORDS_HANDED_OVER, 1);
    ring_bell(to);
}

// At most as much as fits at one time, or others that never stop would keep this worker from all else.
static bool drain(struct worker *worker, struct ring *ring)
{
    struct ring_datagram *datagram;
    for (unsigned taken = 0; (datagram = ring_peek(ring)) != NULL; taken++) {
        if (taken == RING_PLACES)
            return false;
        // The other worker may have another configuration for a moment.
        struct listener *listener =
            datagram->listener < CONFIG_LISTENERS_MAX ? worker->listeners[datagram->listener] : NULL;
        const struct io_event event = {
            .type = IO_DATAGRAM, .peer = &datagram->peer, .data = datagram->data, .len = datagram->len};
        if (listener != NULL && listener->config->transport == CONFIG_DTLS)
            handshaking_datagram(worker, listener, &event);
        ring_pop(ring);
    }
    return true;
}

void rings_drain(struct worker *worker)
{
    if (!atomic_load_explicit(&worker->rung, memory_order_relaxed) || !atomic_exchange(&worker->rung, false))
        return;
    bool drained = true;
    for (size_t from = 0; from < worker->peer_count; from++)
        drained = (worker->inbound[from] == NULL || drain(worker, worker->inbound[from])) && drained;
    if (!drained)
        ring_bell(worker);
    traffic_run_ready(worker);
}

void rings_free(struct worker *worker)
{
    for (size_t from = 0; from < CONFIG_WORKERS_MAX; from++)
        ring_free(worker->inbound[from]);
}
