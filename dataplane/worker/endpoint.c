// Where bytes go: datagrams and streams of peers, and the port through which bindings answer devices.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/worker/internal.h"

int endpoint_send(void *context, const uint8_t *data, size_t len)
{
    struct endpoint *endpoint = context;
    if (endpoint->stream != 0)
        return io_stream_write(endpoint->io, endpoint->stream, data, len);
    int result = io_datagram_send(endpoint->io, endpoint->socket, &endpoint->peer, data, len);
    if (result == SAGATE_OK)
        stats_add(endpoint->stats, STAT_DATAGRAMS_SENT, 1);
    else
        stats_add(endpoint->stats, STAT_DATAGRAMS_DROPPED_BUFFER, 1);
    // A datagram that cannot be sent is lost as on any network; whoever sent it repeats it.
    return SAGATE_OK;
}

uint8_t *endpoint_reserve(void *context, size_t len)
{
    struct endpoint *endpoint = context;
    uint8_t *room = io_datagram_reserve(endpoint->io, len);
    if (room == NULL)
        stats_add(endpoint->stats, STAT_DATAGRAMS_DROPPED_BUFFER, 1);
    return room;
}

int endpoint_commit(void *context, size_t len)
{
    struct endpoint *endpoint = context;
    if (io_datagram_commit(endpoint->io, endpoint->socket, &endpoint->peer, len) == SAGATE_OK)
        stats_add(endpoint->stats, STAT_DATAGRAMS_SENT, 1);
    else
        stats_add(endpoint->stats, STAT_DATAGRAMS_DROPPED_BUFFER, 1);
    return SAGATE_OK;
}

static int kernel_keys(void *context, bool out, const struct ktls_keys *keys)
{
    struct endpoint *endpoint = context;
    return io_stream_kernel_tls(endpoint->io, endpoint->stream, out ? IO_OUT : IO_IN, keys);
}

static int kernel_send(void *context, uint8_t type, const uint8_t *data, size_t len)
{
    struct endpoint *endpoint = context;
    return io_stream_write_record(endpoint->io, endpoint->stream, type, data, len);
}

static uint64_t kernel_records(void *context)
{
    struct endpoint *endpoint = context;
    return io_stream_records(endpoint->io, endpoint->stream);
}

struct record_kernel endpoint_kernel(const struct ktls_support *support)
{
    return (struct record_kernel){
        .support = support, .keys = kernel_keys, .send = kernel_send, .records = kernel_records};
}

static int port_send(void *context, uint64_t id, const uint8_t *data, size_t len)
{
    struct worker *worker = context;
    struct association *association = lifetime_find(worker, id);
    if (association == NULL || association->closing)
        return SAGATE_EGONE;
    profile_enter(PROFILE_SEAL);
    int result = record_seal(association->record, data, len);
    profile_leave();
    if (result == SAGATE_OK || result == SAGATE_AGAIN)
        traffic_sent(association, len);
    return result;
}

static void port_pause(void *context, uint64_t id, bool paused)
{
    struct worker *worker = context;
    struct association *association = lifetime_find(worker, id);
    if (association == NULL || association->endpoint.stream == 0 || association->paused == paused)
        return;
    association->paused = paused;
    (void)io_stream_pause(worker->io, association->endpoint.stream, paused);
    // Records that were handed over before the pause wait in the record layer, and no event will announce them.
    if (!paused)
        traffic_ready(association);
}

static void port_close(void *context, uint64_t id)
{
    struct worker *worker = context;
    struct association *association = lifetime_find(worker, id);
    if (association == NULL || association->closing)
        return;
    association->closing = true;
    traffic_ready(association);
}

static struct device *port_find(void *context, uint64_t id)
{
    struct worker *worker = context;
    struct association *association = lifetime_find(worker, id);
    return association == NULL ? NULL : &association->device;
}

static void port_idle(void *context, uint64_t id)
{
    struct association *association = lifetime_find(context, id);
    if (association != NULL)
        traffic_ready(association);
}

struct device_port worker_port(struct worker *worker)
{
    return (struct device_port){.context = worker,
                                .send = port_send,
                                .pause = port_pause,
                                .close = port_close,
                                .find = port_find,
                                .idle = port_idle};
}
