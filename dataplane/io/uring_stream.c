// The uring driver, streams: connections, their output queues, and what was received and is not yet delivered.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/io/uring.h"

#include "common/clock.h"
#include "common/error.h"

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

void uring_stream_drop_output(struct uring *io, struct uring_stream *stream)
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
void uring_stream_relocate(struct uring *io, struct uring_stream *stream)
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

void uring_stream_kick(struct uring *io, struct uring_stream *stream)
{
    if (stream->on_kick)
        return;
    stream->on_kick = true;
    TAILQ_INSERT_TAIL(&io->kick, stream, kick);
}

static bool has_event(const struct uring *io, const struct uring_stream *stream)
{
    // What follows an IO_DATA waits for the next batch, so that a pause always comes in time.
    if (stream->fed_in == io->base.counters.waits)
        return false;
    bool received = !STAILQ_EMPTY(&stream->held) || stream->eof_due || stream->closed_due;
    return stream->connected_due || stream->writable_due || (received && !stream->paused);
}

void uring_stream_ready(struct uring *io, struct uring_stream *stream)
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

void uring_stream_settle(struct uring *io, struct uring_stream *stream)
{
    if (stream->state != URING_DEAD || stream->connect_busy || stream->receive_busy || stream->send_busy)
        return;
    close(stream->fd);
    uring_stream_drop_output(io, stream);
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
    uring_stream_ready(io, stream);
    io->streams_live--;
}

void uring_stream_kill(struct uring *io, struct uring_stream *stream)
{
    linger_end(io, stream);
    stream->state = URING_DEAD;
    uring_stream_kick(io, stream);
    uring_stream_settle(io, stream);
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
        uring_stream_drop_output(io, stream);
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

void uring_stream_expire(struct uring *io, uint64_t now)
{
    struct uring_stream *stream;
    while ((stream = TAILQ_FIRST(&io->lingering)) != NULL && stream->deadline <= now) {
        if (!stream->shut)
            reset_on_close(stream->fd);
        uring_stream_kill(io, stream);
    }
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
        uring_stream_kill(io, stream);
        return;
    }
    set_nodelay(fd);
    io->base.counters.streams_accepted++;
    // Receiving starts with the next io_wait, when the caller has set its user.
    uring_stream_kick(io, stream);
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
        uring_stream_ready(io, io->fed[i]);
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
        uring_stream_kick(io, stream);
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
        uring_stream_kill(io, stream);
    } else {
        uring_stream_ready(io, stream);
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
    uring_stream_kick(io, stream);
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
    uring_stream_kick(io, stream);
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
        uring_stream_relocate(io, stream);
    uring_stream_ready(io, stream);
    uring_stream_kick(io, stream);
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
        uring_stream_kill(io, stream);
        return;
    }
    if (io->lingering_count == io->linger_max) {
        struct uring_stream *oldest = TAILQ_FIRST(&io->lingering);
        reset_on_close(oldest->fd);
        uring_stream_kill(io, oldest);
    }
    stream->state = URING_CLOSING;
    stream->deadline = clock_us() + URING_LINGER_US;
    stream->on_linger = true;
    TAILQ_INSERT_TAIL(&io->lingering, stream, linger);
    io->lingering_count++;
    uring_stream_kick(io, stream);
}

void uring_stream_abort(struct io *base, io_stream id)
{
    struct uring *io = uring_of(base);
    struct uring_stream *stream = uring_stream_find(io, id);
    if (stream == NULL)
        return;
    reset_on_close(stream->fd);
    disown(io, stream);
    uring_stream_kill(io, stream);
}
