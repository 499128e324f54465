// The uring driver, streams: connections, their output queues, and what was received and is not yet delivered.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/io/uring.h"

#include "common/clock.h"
#include "common/error.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// A stream has at most one request of each kind in the kernel, named by its slot. The slot is used again only after all
// of them have completed. What a caller holds is slot and generation; the generation goes up when the caller's use
// ends.

int uring_stream_open(struct uring *io)
{
    TAILQ_INIT(&io->kick);
    TAILQ_INIT(&io->ready);
    TAILQ_INIT(&io->lingering);
    SLIST_INIT(&io->unused);
    STAILQ_INIT(&io->held_out);
    STAILQ_INIT(&io->chunks);
    // Slots beyond streams_max are for streams that drain or end while new ones come.
    io->linger_max = io->options.streams_max < URING_LINGER_MAX ? io->options.streams_max : URING_LINGER_MAX;
    io->stream_slots = io->options.streams_max + io->linger_max + 16;
    io->streams = calloc(io->stream_slots, sizeof *io->streams);
    io->held = calloc(io->stream_pool.count, sizeof *io->held);
    if (io->streams == NULL || io->held == NULL) {
        io->stream_slots = 0;
        return SAGATE_ENOMEM;
    }
    for (size_t i = io->stream_slots; i-- > 0;) {
        io->streams[i].generation = 1;
        SLIST_INSERT_HEAD(&io->unused, &io->streams[i], unused);
    }
    return SAGATE_OK;
}

// Chunks.

struct uring_chunk *uring_chunk_take(struct uring *io)
{
    struct uring_chunk *chunk = STAILQ_FIRST(&io->chunks);
    if (chunk != NULL) {
        STAILQ_REMOVE_HEAD(&io->chunks, next);
        io->chunks_kept--;
    } else {
        chunk = malloc(sizeof *chunk);
    }
    if (chunk != NULL) {
        chunk->start = chunk->end = 0;
        chunk->record = 0;
        chunk->rekey = false;
    }
    return chunk;
}

void uring_chunk_put(struct uring *io, struct uring_chunk *chunk)
{
    if (io->chunks_kept == URING_CHUNKS_KEPT) {
        free(chunk);
        return;
    }
    STAILQ_INSERT_HEAD(&io->chunks, chunk, next);
    io->chunks_kept++;
}

static void output_drop(struct uring *io, struct uring_stream *stream)
{
    struct uring_chunk *chunk;
    while ((chunk = STAILQ_FIRST(&stream->output)) != NULL) {
        STAILQ_REMOVE_HEAD(&stream->output, next);
        uring_chunk_put(io, chunk);
    }
    stream->queued = 0;
}

// Received bytes.

static void held_return(struct uring *io, struct uring_held *held)
{
    if (held->buffer >= 0)
        uring_pool_put(&io->stream_pool, (unsigned)held->buffer);
    else
        uring_chunk_put(io, (struct uring_chunk *)held);
}

static void held_return_all(struct uring *io, struct uring_held_list *list)
{
    struct uring_held *held;
    while ((held = STAILQ_FIRST(list)) != NULL) {
        STAILQ_REMOVE_HEAD(list, next);
        held_return(io, held);
    }
}

void uring_stream_return_buffers(struct uring *io)
{
    held_return_all(io, &io->held_out);
}

// Copies what a paused stream holds out of the provided buffers when these run low, so that paused streams cannot
// take them all and stop every other stream.
static void held_relocate(struct uring *io, struct uring_stream *stream)
{
    struct uring_held_list list = STAILQ_HEAD_INITIALIZER(list);
    STAILQ_CONCAT(&list, &stream->held);
    struct uring_held *held;
    while ((held = STAILQ_FIRST(&list)) != NULL) {
        STAILQ_REMOVE_HEAD(&list, next);
        struct uring_chunk *chunk = NULL;
        if (held->buffer >= 0 && io->stream_pool.free < io->stream_pool.count / 2)
            chunk = uring_chunk_take(io);
        if (chunk != NULL) {
            memcpy(chunk->data, held->data, held->len);
            chunk->held =
                (struct uring_held){.data = chunk->data, .len = held->len, .buffer = -1, .record = held->record};
            held_return(io, held);
            held = &chunk->held;
        }
        STAILQ_INSERT_TAIL(&stream->held, held, next);
    }
}

// Lists.

static void kick(struct uring *io, struct uring_stream *stream)
{
    if (stream->on_kick)
        return;
    stream->on_kick = true;
    TAILQ_INSERT_TAIL(&io->kick, stream, kick);
}

void uring_stream_kick(struct uring *io, struct uring_stream *stream)
{
    kick(io, stream);
}

static bool has_event(const struct uring *io, const struct uring_stream *stream)
{
    // What follows an IO_DATA waits for the next batch, so that a pause always comes in time.
    if (stream->fed_in == io->base.counters.waits)
        return false;
    bool received = !STAILQ_EMPTY(&stream->held) || stream->eof_due || stream->closed_due;
    return stream->connected_due || stream->writable_due || (received && !stream->paused);
}

static void ready_update(struct uring *io, struct uring_stream *stream)
{
    bool wanted = has_event(io, stream);
    if (wanted && !stream->on_ready)
        TAILQ_INSERT_TAIL(&io->ready, stream, ready);
    if (!wanted && stream->on_ready)
        TAILQ_REMOVE(&io->ready, stream, ready);
    stream->on_ready = wanted;
}

static void linger_end(struct uring *io, struct uring_stream *stream)
{
    if (!stream->on_linger)
        return;
    stream->on_linger = false;
    TAILQ_REMOVE(&io->lingering, stream, linger);
    io->lingering_count--;
}

// Beginning and ending.

static io_stream id_of(const struct uring *io, const struct uring_stream *stream)
{
    return (io_stream)stream->generation << 32 | (uint32_t)(stream - io->streams + 1);
}

struct uring_stream *uring_stream_find(struct uring *io, io_stream id)
{
    uint32_t index = (uint32_t)id - 1;
    if (index >= io->stream_slots)
        return NULL;
    struct uring_stream *stream = &io->streams[index];
    return stream->state == URING_OPEN && stream->generation == id >> 32 ? stream : NULL;
}

static struct uring_stream *slot_take(struct uring *io, int fd)
{
    struct uring_stream *stream = SLIST_FIRST(&io->unused);
    if (io->streams_live >= io->options.streams_max || stream == NULL)
        return NULL;
    SLIST_REMOVE_HEAD(&io->unused, unused);
    uint32_t generation = stream->generation;
    uint16_t serial = stream->serial;
    memset(stream, 0, sizeof *stream);
    stream->generation = generation;
    stream->serial = (uint16_t)(serial + 1);
    stream->state = URING_OPEN;
    stream->fd = fd;
    STAILQ_INIT(&stream->output);
    STAILQ_INIT(&stream->held);
    io->streams_live++;
    return stream;
}

static void slot_settle(struct uring *io, struct uring_stream *stream)
{
    if (stream->state != URING_DEAD || stream->connect_busy || stream->receive_busy || stream->send_busy)
        return;
    close(stream->fd);
    output_drop(io, stream);
    uring_tls_forget(stream);
    if (stream->on_kick)
        TAILQ_REMOVE(&io->kick, stream, kick);
    stream->on_kick = false;
    stream->state = URING_UNUSED;
    SLIST_INSERT_HEAD(&io->unused, stream, unused);
}

// Ends the caller's use of a stream: the id is stale, and no event is left.
static void disown(struct uring *io, struct uring_stream *stream)
{
    stream->generation++;
    stream->user = NULL;
    stream->connected_due = stream->writable_due = stream->eof_due = stream->closed_due = false;
    stream->writable_wanted = false;
    held_return_all(io, &stream->held);
    ready_update(io, stream);
    io->streams_live--;
}

static void kill_stream(struct uring *io, struct uring_stream *stream)
{
    linger_end(io, stream);
    stream->state = URING_DEAD;
    kick(io, stream);
    slot_settle(io, stream);
}

// Closing then resets the connection instead of leaving what is queued to the kernel.
static void reset_on_close(int fd)
{
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

static void set_nodelay(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void uring_stream_free(struct uring *io)
{
    for (size_t i = 0; i < io->stream_slots; i++) {
        struct uring_stream *stream = &io->streams[i];
        if (stream->state == URING_UNUSED)
            continue;
        close(stream->fd);
        output_drop(io, stream);
        uring_tls_forget(stream);
        STAILQ_CONCAT(&io->held_out, &stream->held);
    }
    struct uring_held *held;
    while (io->stream_slots > 0 && (held = STAILQ_FIRST(&io->held_out)) != NULL) {
        STAILQ_REMOVE_HEAD(&io->held_out, next);
        if (held->buffer < 0)
            free(held);
    }
    struct uring_chunk *chunk;
    while (io->stream_slots > 0 && (chunk = STAILQ_FIRST(&io->chunks)) != NULL) {
        STAILQ_REMOVE_HEAD(&io->chunks, next);
        free(chunk);
    }
    free(io->streams);
    free(io->held);
}

// Requests. Each returns false when there is no submission entry.

static uint64_t data_of(const struct uring *io, const struct uring_stream *stream, enum uring_op op)
{
    return uring_data(op, (size_t)(stream - io->streams), stream->serial);
}

static bool start_connect(struct uring *io, struct uring_stream *stream)
{
    struct io_uring_sqe *sqe = uring_sqe(io);
    if (sqe == NULL)
        return false;
    io_uring_prep_connect(sqe, stream->fd, &stream->peer.any, stream->peer.len);
    io_uring_sqe_set_data64(sqe, data_of(io, stream, URING_CONNECT));
    stream->connect_busy = true;
    stream->connect_cancelled = false;
    return true;
}

static bool start_receive(struct uring *io, struct uring_stream *stream)
{
    if (stream->starved && io->stream_pool.free == 0)
        return false;
    struct io_uring_sqe *sqe = uring_sqe(io);
    if (sqe == NULL)
        return false;
    io_uring_prep_recv_multishot(sqe, stream->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = io->stream_pool.group;
    io_uring_sqe_set_data64(sqe, data_of(io, stream, URING_RECEIVE));
    stream->receive_busy = true;
    stream->receive_cancelled = false;
    stream->starved = false;
    return true;
}

static bool start_send(struct uring *io, struct uring_stream *stream)
{
    struct io_uring_sqe *sqe = uring_sqe(io);
    if (sqe == NULL)
        return false;
    size_t count = 0;
    struct uring_chunk *chunk;
    const struct uring_chunk *first = STAILQ_FIRST(&stream->output);
    bool single = first->record != 0 && first->record != URING_APPLICATION; // a record of its own
    STAILQ_FOREACH(chunk, &stream->output, next)
    {
        if (count == URING_SEND_CHUNKS || chunk->record != first->record || chunk->rekey || (single && count > 0))
            break;
        stream->vector[count++] =
            (struct iovec){.iov_base = chunk->data + chunk->start, .iov_len = chunk->end - chunk->start};
    }
    stream->message = (struct msghdr){.msg_iov = stream->vector, .msg_iovlen = count};
    if (single)
        uring_tls_describe(stream, first->record);
    io_uring_prep_sendmsg(sqe, stream->fd, &stream->message, MSG_NOSIGNAL);
    io_uring_sqe_set_data64(sqe, data_of(io, stream, URING_SEND));
    stream->send_busy = true;
    stream->send_cancelled = false;
    return true;
}

static bool cancel(struct uring *io, struct uring_stream *stream, enum uring_op op, bool busy, bool *cancelled)
{
    if (!busy || *cancelled)
        return true;
    *cancelled = uring_cancel(io, data_of(io, stream, op));
    return *cancelled;
}

void uring_stream_cancel_missed(struct uring *io, enum uring_op op, uint32_t index)
{
    struct uring_stream *stream = &io->streams[index];
    if (op == URING_CONNECT)
        stream->connect_cancelled = false;
    else if (op == URING_RECEIVE)
        stream->receive_cancelled = false;
    else
        stream->send_cancelled = false;
    if (stream->state != URING_UNUSED)
        kick(io, stream);
}

static bool wants_to_receive(const struct uring_stream *stream)
{
    if (stream->receive_done)
        return false;
    // Draining: what comes is thrown away. Unread input would turn the close into a reset that can destroy our last
    // words on their way to the peer. What the kernel cannot open stays, and the time of draining passes.
    if (stream->state == URING_CLOSING)
        return !stream->rekey_due;
    return !stream->paused && !stream->keys_awaited && STAILQ_EMPTY(&stream->held);
}

static void send_failed(struct uring *io, struct uring_stream *stream, int error);

// Makes the requests that are due for a stream. False: not all could be made; again with the next round.
static bool work(struct uring *io, struct uring_stream *stream)
{
    if (stream->state == URING_DEAD) {
        bool done = cancel(io, stream, URING_CONNECT, stream->connect_busy, &stream->connect_cancelled);
        done &= cancel(io, stream, URING_RECEIVE, stream->receive_busy, &stream->receive_cancelled);
        done &= cancel(io, stream, URING_SEND, stream->send_busy, &stream->send_cancelled);
        return done;
    }
    if (!stream->connected)
        return stream->connect_busy || stream->error != 0 || start_connect(io, stream);
    bool done = true;
    if (!STAILQ_EMPTY(&stream->output) && !stream->send_busy && STAILQ_FIRST(&stream->output)->rekey &&
        !uring_tls_rekey(stream)) {
        send_failed(io, stream, EPROTO);
        return stream->state != URING_OPEN || !wants_to_receive(stream) || stream->receive_busy;
    }
    if (!STAILQ_EMPTY(&stream->output) && !stream->send_busy)
        done = start_send(io, stream);
    if (stream->state == URING_CLOSING && STAILQ_EMPTY(&stream->output) && !stream->send_busy) {
        if (stream->receive_done) {
            kill_stream(io, stream);
            return true;
        }
        if (!stream->shut)
            shutdown(stream->fd, SHUT_WR);
        stream->shut = true;
    }
    if (stream->paused && stream->state == URING_OPEN)
        done &= cancel(io, stream, URING_RECEIVE, stream->receive_busy, &stream->receive_cancelled);
    else if (!stream->receive_busy && wants_to_receive(stream))
        done &= start_receive(io, stream);
    return done;
}

void uring_stream_work_all(struct uring *io)
{
    struct uring_stream_list due = TAILQ_HEAD_INITIALIZER(due);
    TAILQ_CONCAT(&due, &io->kick, kick);
    struct uring_stream *stream;
    while ((stream = TAILQ_FIRST(&due)) != NULL) {
        TAILQ_REMOVE(&due, stream, kick);
        stream->on_kick = false;
        if (!work(io, stream))
            kick(io, stream);
    }
}

void uring_stream_expire(struct uring *io, uint64_t now)
{
    struct uring_stream *stream;
    while ((stream = TAILQ_FIRST(&io->lingering)) != NULL && stream->deadline <= now) {
        if (!stream->shut)
            reset_on_close(stream->fd);
        kill_stream(io, stream);
    }
}

// Completions.

static void connect_completed(struct uring *io, struct uring_stream *stream, int result)
{
    stream->connect_busy = false;
    stream->connected = result >= 0;
    if (result < 0)
        stream->error = -result;
    if (stream->state == URING_OPEN) {
        stream->connected_due = true;
        ready_update(io, stream);
    } else if (stream->state == URING_CLOSING && result < 0) {
        kill_stream(io, stream);
        return;
    }
    kick(io, stream);
}

// Input is over: its last event is IO_EOF, or IO_CLOSED when something failed.
static void receive_end(struct uring_stream *stream, int error)
{
    stream->receive_done = true;
    if (stream->error == 0)
        stream->error = error;
    if (stream->state != URING_OPEN)
        return;
    if (stream->error != 0)
        stream->closed_due = true;
    else
        stream->eof_due = true;
}

static void receive_completed(struct uring *io, struct uring_stream *stream, const struct io_uring_cqe *cqe)
{
    if ((cqe->flags & IORING_CQE_F_MORE) == 0)
        stream->receive_busy = false;
    if (cqe->res > 0)
        io->base.counters.bytes_received += (uint64_t)cqe->res;
    if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) {
        unsigned buffer = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        io->stream_pool.free--;
        if (cqe->res > 0 && stream->state == URING_OPEN) {
            struct uring_held *held = &io->held[buffer];
            *held = (struct uring_held){
                .data = uring_pool_at(&io->stream_pool, buffer), .len = (size_t)cqe->res, .buffer = (int)buffer};
            STAILQ_INSERT_TAIL(&stream->held, held, next);
        } else {
            uring_pool_put(&io->stream_pool, buffer);
        }
    }
    if (cqe->res == 0)
        receive_end(stream, 0);
    else if (uring_tls_wants(stream, -cqe->res)) {
        int rc = stream->state == URING_OPEN ? uring_tls_take(io, stream, -cqe->res) : cqe->res;
        if (rc <= 0)
            receive_end(stream, -rc);
    } else if (cqe->res == -ENOBUFS)
        stream->starved = true;
    else if (cqe->res < 0 && cqe->res != -ECANCELED && cqe->res != -EINTR && cqe->res != -EAGAIN)
        receive_end(stream, -cqe->res);
    if (stream->state == URING_OPEN) {
        if (stream->paused && io->stream_pool.free < io->stream_pool.count / 4)
            held_relocate(io, stream);
        ready_update(io, stream);
    }
    kick(io, stream);
}

static void send_failed(struct uring *io, struct uring_stream *stream, int error)
{
    output_drop(io, stream);
    if (stream->state == URING_CLOSING) {
        kill_stream(io, stream);
        return;
    }
    // What the peer sent before is still read; the shutdown makes sure that reading ends, and IO_CLOSED follows then.
    if (stream->error == 0)
        stream->error = error;
    shutdown(stream->fd, SHUT_RDWR);
    if (stream->receive_done)
        stream->closed_due = true;
    ready_update(io, stream);
}

static void send_completed(struct uring *io, struct uring_stream *stream, int result)
{
    stream->send_busy = false;
    kick(io, stream);
    if (stream->state == URING_DEAD)
        return;
    if (result < 0) {
        if (result != -EINTR && result != -EAGAIN)
            send_failed(io, stream, -result);
        return;
    }
    size_t left = (size_t)result;
    if (!STAILQ_EMPTY(&stream->output) && STAILQ_FIRST(&stream->output)->record != 0)
        stream->records += left / URING_STREAM_BUFFER + 2;
    io->base.counters.bytes_sent += left;
    stream->queued -= left;
    while (left > 0) {
        struct uring_chunk *chunk = STAILQ_FIRST(&stream->output);
        size_t part = chunk->end - chunk->start < left ? chunk->end - chunk->start : left;
        chunk->start += part;
        left -= part;
        if (chunk->start == chunk->end) {
            STAILQ_REMOVE_HEAD(&stream->output, next);
            uring_chunk_put(io, chunk);
        }
    }
    if (stream->writable_wanted && (stream->queued == 0 || stream->queued < io->options.stream_high_water / 2)) {
        stream->writable_wanted = false;
        stream->writable_due = true;
        ready_update(io, stream);
    }
}

void uring_stream_completed(struct uring *io, enum uring_op op, uint32_t index, const struct io_uring_cqe *cqe)
{
    struct uring_stream *stream = &io->streams[index];
    bool late = stream->state == URING_UNUSED || stream->serial != uring_serial(cqe);
    if (late || (op == URING_RECEIVE && stream->receive_done)) {
        if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) { // only receiving uses buffers
            io->stream_pool.free--;
            uring_pool_put(&io->stream_pool, cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        }
        if (!late && (cqe->flags & IORING_CQE_F_MORE) == 0)
            stream->receive_busy = false;
    } else if (op == URING_CONNECT) {
        connect_completed(io, stream, cqe->res);
    } else if (op == URING_RECEIVE) {
        receive_completed(io, stream, cqe);
    } else {
        send_completed(io, stream, cqe->res);
    }
    slot_settle(io, stream);
}

void uring_stream_accepted(struct uring *io, const struct uring_source *listener, int fd)
{
    struct uring_stream *stream = slot_take(io, fd);
    if (stream == NULL) {
        io->base.counters.streams_refused++;
        close(fd);
        return;
    }
    // The addresses are asked for here, since a multishot accept has only one place for them.
    stream->peer.len = sizeof stream->peer.v6;
    stream->local.len = sizeof stream->local.v6;
    stream->connected = true;
    if (getpeername(fd, &stream->peer.any, &stream->peer.len) != 0 ||
        getsockname(fd, &stream->local.any, &stream->local.len) != 0) {
        disown(io, stream); // the peer has reset the connection already
        kill_stream(io, stream);
        return;
    }
    set_nodelay(fd);
    io->base.counters.streams_accepted++;
    // Receiving starts with the next io_wait, when the caller has set its user.
    kick(io, stream);
    struct io_event *event = uring_emit(io);
    event->type = IO_ACCEPTED;
    event->id = uring_source_id(io, listener);
    event->user = listener->user;
    event->stream = id_of(io, stream);
    event->peer = &stream->peer;
    event->local = &stream->local;
}

void uring_stream_batch_begin(struct uring *io)
{
    for (size_t i = 0; i < io->fed_count; i++)
        ready_update(io, io->fed[i]);
    io->fed_count = 0;
}

bool uring_stream_deliver_one(struct uring *io)
{
    struct uring_stream *stream = TAILQ_FIRST(&io->ready);
    if (stream == NULL)
        return false;
    TAILQ_REMOVE(&io->ready, stream, ready);
    stream->on_ready = false;
    struct io_event *event = uring_emit(io);
    event->stream = id_of(io, stream);
    event->user = stream->user;
    struct uring_held *held = STAILQ_FIRST(&stream->held);
    bool gone = false;
    if (stream->connected_due) {
        stream->connected_due = false;
        event->type = IO_CONNECTED;
        event->error = stream->connected ? 0 : stream->error;
        gone = !stream->connected;
    } else if (stream->writable_due) {
        stream->writable_due = false;
        event->type = IO_WRITABLE;
    } else if (held != NULL) {
        STAILQ_REMOVE_HEAD(&stream->held, next);
        STAILQ_INSERT_TAIL(&io->held_out, held, next);
        event->type = IO_DATA;
        event->data = held->data;
        event->len = held->len;
        event->record = held->record;
        stream->fed_in = io->base.counters.waits;
        io->fed[io->fed_count++] = stream;
        kick(io, stream);
    } else if (stream->eof_due) {
        stream->eof_due = false;
        event->type = IO_EOF;
    } else {
        event->type = IO_CLOSED;
        event->error = stream->error;
        gone = true;
    }
    if (gone) {
        disown(io, stream);
        kill_stream(io, stream);
    } else {
        ready_update(io, stream);
    }
    return true;
}

// The driver's functions.

int uring_stream_connect(struct io *base, const struct address *to, struct io_user *user, io_stream *id)
{
    struct uring *io = uring_of(base);
    if (io->streams_live >= io->options.streams_max || SLIST_EMPTY(&io->unused))
        return SAGATE_ELIMIT;
    int fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return SAGATE_ESYS;
    set_nodelay(fd);
    struct uring_stream *stream = slot_take(io, fd);
    stream->user = user;
    stream->peer = *to;
    kick(io, stream);
    *id = id_of(io, stream);
    return SAGATE_OK;
}

int uring_stream_set_user(struct io *base, io_stream id, struct io_user *user)
{
    struct uring_stream *stream = uring_stream_find(uring_of(base), id);
    if (stream == NULL)
        return SAGATE_EGONE;
    stream->user = user;
    return SAGATE_OK;
}

struct io_user *uring_stream_user(struct io *base, io_stream id)
{
    const struct uring_stream *stream = uring_stream_find(uring_of(base), id);
    return stream == NULL ? NULL : stream->user;
}

// Appends a copy to the output queue, or nothing when there is no memory.
static bool append(struct uring *io, struct uring_stream *stream, uint8_t record, const uint8_t *data, size_t len)
{
    struct uring_chunk *chunk = STAILQ_EMPTY(&stream->output) ? NULL : stream->last;
    bool joins = record == 0 || record == URING_APPLICATION; // a record of another type stands alone
    if (chunk != NULL && (stream->rekey_next || chunk->record != record || !joins))
        chunk = NULL;
    size_t room = chunk == NULL ? 0 : URING_STREAM_BUFFER - chunk->end;
    struct uring_chunk_list fresh = STAILQ_HEAD_INITIALIZER(fresh);
    for (size_t have = room; have < len; have += URING_STREAM_BUFFER) {
        struct uring_chunk *more = uring_chunk_take(io);
        if (more == NULL) {
            while ((more = STAILQ_FIRST(&fresh)) != NULL) {
                STAILQ_REMOVE_HEAD(&fresh, next);
                uring_chunk_put(io, more);
            }
            return false;
        }
        more->record = record;
        STAILQ_INSERT_TAIL(&fresh, more, next);
    }
    if (stream->rekey_next && !STAILQ_EMPTY(&fresh)) {
        STAILQ_FIRST(&fresh)->rekey = true;
        stream->rekey_next = false;
    }
    if (room == 0)
        chunk = STAILQ_FIRST(&fresh);
    STAILQ_CONCAT(&stream->output, &fresh);
    // A send in flight reads only up to the end that it was given, so the last chunk may grow meanwhile.
    while (len > 0) {
        size_t part = URING_STREAM_BUFFER - chunk->end < len ? URING_STREAM_BUFFER - chunk->end : len;
        memcpy(chunk->data + chunk->end, data, part);
        chunk->end += part;
        stream->queued += part;
        data += part;
        len -= part;
        stream->last = chunk;
        chunk = STAILQ_NEXT(chunk, next);
    }
    return true;
}

int uring_stream_queue(struct io *base, io_stream id, uint8_t record, const void *data, size_t len)
{
    struct uring *io = uring_of(base);
    struct uring_stream *stream = uring_stream_find(io, id);
    if (stream == NULL || stream->error != 0)
        return SAGATE_EGONE;
    if (len > io->options.stream_limit || stream->queued > io->options.stream_limit - len)
        return SAGATE_ELIMIT;
    if (len > 0 && !append(io, stream, record, data, len))
        return SAGATE_ELIMIT;
    kick(io, stream);
    if (stream->queued < io->options.stream_high_water)
        return SAGATE_OK;
    stream->writable_wanted = true;
    return SAGATE_AGAIN;
}

int uring_stream_write(struct io *base, io_stream id, const void *data, size_t len)
{
    const struct uring_stream *stream = uring_stream_find(uring_of(base), id);
    return uring_stream_queue(base, id, stream != NULL && stream->tls_out ? URING_APPLICATION : 0, data, len);
}

size_t uring_stream_queued(struct io *base, io_stream id)
{
    const struct uring_stream *stream = uring_stream_find(uring_of(base), id);
    return stream == NULL ? 0 : stream->queued;
}

int uring_stream_pause(struct io *base, io_stream id, bool paused)
{
    struct uring *io = uring_of(base);
    struct uring_stream *stream = uring_stream_find(io, id);
    if (stream == NULL)
        return SAGATE_EGONE;
    stream->paused = paused;
    if (paused && io->stream_pool.free < io->stream_pool.count / 4)
        held_relocate(io, stream);
    ready_update(io, stream);
    kick(io, stream);
    return SAGATE_OK;
}

void uring_stream_close(struct io *base, io_stream id)
{
    struct uring *io = uring_of(base);
    struct uring_stream *stream = uring_stream_find(io, id);
    if (stream == NULL)
        return;
    bool over = stream->error != 0 || (!stream->connected && stream->queued == 0);
    disown(io, stream);
    if (over) {
        kill_stream(io, stream);
        return;
    }
    if (io->lingering_count == io->linger_max) {
        struct uring_stream *oldest = TAILQ_FIRST(&io->lingering);
        reset_on_close(oldest->fd);
        kill_stream(io, oldest);
    }
    stream->state = URING_CLOSING;
    stream->deadline = clock_us() + URING_LINGER_US;
    stream->on_linger = true;
    TAILQ_INSERT_TAIL(&io->lingering, stream, linger);
    io->lingering_count++;
    kick(io, stream);
}

void uring_stream_abort(struct io *base, io_stream id)
{
    struct uring *io = uring_of(base);
    struct uring_stream *stream = uring_stream_find(io, id);
    if (stream == NULL)
        return;
    reset_on_close(stream->fd);
    disown(io, stream);
    kill_stream(io, stream);
}
