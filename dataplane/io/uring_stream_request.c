// The uring driver, streams: the requests that they have in the kernel, and what comes of these.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/io/uring.h"

#include <errno.h>
#include <sys/socket.h>

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
        uring_stream_kick(io, stream);
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

static void send_failed(struct uring *io, struct uring_stream *stream, int error)
{
    uring_stream_drop_output(io, stream);
    if (stream->state == URING_CLOSING) {
        uring_stream_kill(io, stream);
        return;
    }
    // What the peer sent before is still read; the shutdown makes sure that reading ends, and IO_CLOSED follows then.
    if (stream->error == 0)
        stream->error = error;
    shutdown(stream->fd, SHUT_RDWR);
    if (stream->receive_done)
        stream->closed_due = true;
    uring_stream_ready(io, stream);
}

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
            uring_stream_kill(io, stream);
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
            uring_stream_kick(io, stream);
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
        uring_stream_ready(io, stream);
    } else if (stream->state == URING_CLOSING && result < 0) {
        uring_stream_kill(io, stream);
        return;
    }
    uring_stream_kick(io, stream);
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
            uring_stream_relocate(io, stream);
        uring_stream_ready(io, stream);
    }
    uring_stream_kick(io, stream);
}

static void send_completed(struct uring *io, struct uring_stream *stream, int result)
{
    stream->send_busy = false;
    uring_stream_kick(io, stream);
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
        uring_stream_ready(io, stream);
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
    uring_stream_settle(io, stream);
}
