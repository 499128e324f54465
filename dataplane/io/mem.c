// The io driver in memory: the semantics of io.h without a kernel, deterministic, for tests and fuzz targets.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/io/mem.h"

#include "common/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

enum { SOURCES_MAX = 1024, STREAM_BUFFER = 16384 };

// Something that will be an event, or a datagram that was sent.
struct item {
    TAILQ_ENTRY(item) next;
    enum io_event_type type;
    io_id id;
    struct mem_peer *stream;
    int error;
    struct address address;
    size_t len;
    uint8_t *data;
};
TAILQ_HEAD(item_list, item);

enum kind { KIND_DATAGRAM = 1, KIND_LISTENER, KIND_POLL };

// Ids are never used again while the instance lives: a stale one is always told apart.
struct source {
    enum kind kind;
    bool removed, readable;
    int fd;
    struct io_user *user;
};

// Bytes in order.
struct bytes {
    uint8_t *data;
    size_t len, size;
};

struct mem_peer {
    TAILQ_ENTRY(mem_peer) next;
    struct mem *io;
    io_stream id;
    struct io_user *user;
    struct address peer;
    bool taken;     // mem_take_connect gave it out
    bool connected; // accepted by either side
    bool fresh;     // accepted in the batch just delivered: the worker may not have set its user yet
    bool owned;     // the worker's id is valid
    bool closing;   // closed by the worker, drains
    bool reset;     // ended by either side's force
    bool eof;       // the peer sends no more
    bool paused, writable_wanted;
    struct bytes output, inbox; // on the worker's and on the peer's side
    size_t window;
};

TAILQ_HEAD(peer_list, mem_peer);

struct mem {
    struct io base;
    struct io_options options;
    struct source sources[SOURCES_MAX];
    size_t source_count, streams_live;
    struct peer_list peers;
    io_stream last_stream;
    struct item_list pending, delivered, sent, taken;
    struct item *reserved;
};

static struct mem *mem_of(struct io *io)
{
    return (struct mem *)io; // base is its first member
}

static void item_free(struct item *item)
{
    if (item == NULL)
        return;
    free(item->data);
    free(item);
}

static struct item *item_new(enum io_event_type type, const void *data, size_t len)
{
    struct item *item = calloc(1, sizeof *item);
    if (item == NULL)
        return NULL;
    item->type = type;
    item->len = len;
    // Exactly as long as the data, so that a read past its end is seen.
    item->data = malloc(len > 0 ? len : 1);
    if (item->data == NULL) {
        free(item);
        return NULL;
    }
    if (data != NULL && len > 0)
        memcpy(item->data, data, len);
    return item;
}

static void items_free(struct item_list *list)
{
    struct item *item;
    while ((item = TAILQ_FIRST(list)) != NULL) {
        TAILQ_REMOVE(list, item, next);
        item_free(item);
    }
}

static bool bytes_append(struct bytes *bytes, const uint8_t *data, size_t len)
{
    if (len > bytes->size - bytes->len) {
        uint8_t *grown = realloc(bytes->data, bytes->len + len);
        if (grown == NULL)
            return false;
        bytes->data = grown;
        bytes->size = bytes->len + len;
    }
    if (len > 0)
        memcpy(bytes->data + bytes->len, data, len);
    bytes->len += len;
    return true;
}

static void bytes_consume(struct bytes *bytes, size_t len)
{
    if (len == 0)
        return;
    memmove(bytes->data, bytes->data + len, bytes->len - len);
    bytes->len -= len;
}

static bool stream_event(struct mem_peer *stream, enum io_event_type type, int error)
{
    struct item *item = item_new(type, NULL, 0);
    if (item == NULL)
        return false;
    item->stream = stream;
    item->error = error;
    TAILQ_INSERT_TAIL(&stream->io->pending, item, next);
    return true;
}

// Sources.

static struct source *source_find(struct mem *io, io_id id, enum kind kind)
{
    if (id == 0 || id > io->source_count)
        return NULL;
    struct source *source = &io->sources[id - 1];
    return source->removed || source->kind != kind ? NULL : source;
}

static int source_add(struct io *base, enum kind kind, int fd, struct io_user *user, io_id *id)
{
    struct mem *io = mem_of(base);
    if (io->source_count == SOURCES_MAX)
        return SAGATE_ELIMIT;
    io->sources[io->source_count++] = (struct source){.kind = kind, .fd = fd, .user = user};
    *id = (io_id)io->source_count;
    return SAGATE_OK;
}

static int mem_add_datagram(struct io *io, int fd, struct io_user *user, io_id *id)
{
    return source_add(io, KIND_DATAGRAM, fd, user, id);
}

static int mem_add_listener(struct io *io, int fd, struct io_user *user, io_id *id)
{
    return source_add(io, KIND_LISTENER, fd, user, id);
}

static int mem_add_poll(struct io *io, int fd, struct io_user *user, io_id *id)
{
    return source_add(io, KIND_POLL, fd, user, id);
}

static void source_end(struct source *source)
{
    if (source->removed)
        return;
    source->removed = true;
    if (source->kind != KIND_POLL && source->fd >= 0)
        close(source->fd);
}

static void mem_remove(struct io *base, io_id id)
{
    struct mem *io = mem_of(base);
    if (id != 0 && id <= io->source_count)
        source_end(&io->sources[id - 1]);
}

// Datagrams.

static int inject(struct io *base, io_id id, struct item *item)
{
    if (item == NULL)
        return SAGATE_ENOMEM;
    struct mem *io = mem_of(base);
    if (source_find(io, id, KIND_DATAGRAM) == NULL) {
        item_free(item);
        return SAGATE_EINVAL;
    }
    item->id = id;
    if (item->len > IO_DATAGRAM_MAX) {
        io->base.counters.datagrams_truncated++;
        item_free(item);
        return SAGATE_OK;
    }
    TAILQ_INSERT_TAIL(&io->pending, item, next);
    return SAGATE_OK;
}

int mem_inject(struct io *io, io_id id, const struct address *peer, const void *data, size_t len)
{
    struct item *item = item_new(IO_DATAGRAM, data, len);
    if (item != NULL)
        item->address = *peer;
    return inject(io, id, item);
}

int mem_inject_error(struct io *io, io_id id, int error)
{
    struct item *item = item_new(IO_DATAGRAM_ERROR, NULL, 0);
    if (item != NULL)
        item->error = error;
    return inject(io, id, item);
}

bool mem_take(struct io *base, io_id *id, struct address *to, const uint8_t **data, size_t *len)
{
    struct mem *io = mem_of(base);
    items_free(&io->taken);
    struct item *item = TAILQ_FIRST(&io->sent);
    if (item == NULL)
        return false;
    TAILQ_REMOVE(&io->sent, item, next);
    TAILQ_INSERT_TAIL(&io->taken, item, next);
    *id = item->id;
    *to = item->address;
    *data = item->data;
    *len = item->len;
    return true;
}

static uint8_t *mem_reserve(struct io *base, size_t len)
{
    struct mem *io = mem_of(base);
    item_free(io->reserved);
    io->reserved = len <= IO_DATAGRAM_MAX ? item_new(IO_DATAGRAM, NULL, len) : NULL;
    if (io->reserved == NULL) {
        io->base.counters.datagrams_no_buffer++;
        return NULL;
    }
    return io->reserved->data;
}

static int mem_commit(struct io *base, io_id id, const struct address *to, size_t len)
{
    struct mem *io = mem_of(base);
    struct item *item = io->reserved;
    if (source_find(io, id, KIND_DATAGRAM) == NULL || item == NULL || len > item->len)
        return SAGATE_EINVAL;
    io->reserved = NULL;
    item->len = len;
    item->id = id;
    if (to != NULL)
        item->address = *to;
    TAILQ_INSERT_TAIL(&io->sent, item, next);
    io->base.counters.datagrams_sent++;
    io->base.counters.bytes_sent += len;
    return SAGATE_OK;
}

void mem_set_readable(struct io *base, io_id id, bool readable)
{
    struct source *source = source_find(mem_of(base), id, KIND_POLL);
    if (source != NULL)
        source->readable = readable;
}

// Streams, the worker's side.

static struct mem_peer *stream_find(struct mem *io, io_stream id)
{
    struct mem_peer *stream;
    TAILQ_FOREACH(stream, &io->peers, next)
    {
        if (stream->id == id)
            return stream->owned ? stream : NULL;
    }
    return NULL;
}

static struct mem_peer *stream_new(struct mem *io, const struct address *address)
{
    struct mem_peer *stream = calloc(1, sizeof *stream);
    if (stream == NULL)
        return NULL;
    stream->io = io;
    stream->id = ++io->last_stream;
    stream->peer = *address;
    stream->owned = true;
    stream->window = SIZE_MAX;
    TAILQ_INSERT_TAIL(&io->peers, stream, next);
    io->streams_live++;
    return stream;
}

static void stream_disown(struct mem_peer *stream)
{
    stream->owned = false;
    stream->user = NULL;
    stream->io->streams_live--;
}

static int mem_connect(struct io *base, const struct address *to, struct io_user *user, io_stream *id)
{
    struct mem *io = mem_of(base);
    struct mem_peer *stream = io->streams_live < io->options.streams_max ? stream_new(io, to) : NULL;
    if (stream == NULL)
        return SAGATE_ELIMIT;
    stream->user = user;
    *id = stream->id;
    return SAGATE_OK;
}

static int mem_set_user(struct io *base, io_stream id, struct io_user *user)
{
    struct mem_peer *stream = stream_find(mem_of(base), id);
    if (stream == NULL)
        return SAGATE_EGONE;
    stream->user = user;
    return SAGATE_OK;
}

static struct io_user *mem_user(struct io *base, io_stream id)
{
    const struct mem_peer *stream = stream_find(mem_of(base), id);
    return stream == NULL ? NULL : stream->user;
}

static int mem_write(struct io *base, io_stream id, const void *data, size_t len)
{
    struct mem *io = mem_of(base);
    struct mem_peer *stream = stream_find(io, id);
    if (stream == NULL || stream->reset)
        return SAGATE_EGONE;
    if (len > io->options.stream_limit || stream->output.len > io->options.stream_limit - len ||
        !bytes_append(&stream->output, data, len))
        return SAGATE_ELIMIT;
    if (stream->output.len < io->options.stream_high_water)
        return SAGATE_OK;
    stream->writable_wanted = true;
    return SAGATE_AGAIN;
}

static size_t mem_queued(struct io *base, io_stream id)
{
    const struct mem_peer *stream = stream_find(mem_of(base), id);
    return stream == NULL ? 0 : stream->output.len;
}

static int mem_pause(struct io *base, io_stream id, bool paused)
{
    struct mem_peer *stream = stream_find(mem_of(base), id);
    if (stream == NULL)
        return SAGATE_EGONE;
    stream->paused = paused;
    return SAGATE_OK;
}

static void mem_close(struct io *base, io_stream id)
{
    struct mem_peer *stream = stream_find(mem_of(base), id);
    if (stream == NULL)
        return;
    stream->closing = true;
    if (!stream->connected && stream->output.len == 0)
        stream->reset = true;
    stream_disown(stream);
}

static void mem_abort(struct io *base, io_stream id)
{
    struct mem_peer *stream = stream_find(mem_of(base), id);
    if (stream == NULL)
        return;
    stream->reset = true;
    stream->output.len = 0;
    stream_disown(stream);
}

// Moves what the worker wrote to the peer, as far as its window goes.
static void stream_flush(struct mem_peer *stream)
{
    struct mem *io = stream->io;
    if (!stream->connected || stream->reset)
        return;
    size_t room = stream->inbox.len < stream->window ? stream->window - stream->inbox.len : 0;
    size_t part = stream->output.len < room ? stream->output.len : room;
    if (!bytes_append(&stream->inbox, stream->output.data, part))
        return; // stays queued
    bytes_consume(&stream->output, part);
    io->base.counters.bytes_sent += part;
    if (stream->owned && stream->writable_wanted &&
        (stream->output.len == 0 || stream->output.len < io->options.stream_high_water / 2))
        stream->writable_wanted = !stream_event(stream, IO_WRITABLE, 0);
}

// Streams, the peer's side.

struct mem_peer *mem_open(struct io *base, io_id id, const struct address *from)
{
    struct mem *io = mem_of(base);
    if (source_find(io, id, KIND_LISTENER) == NULL)
        return NULL;
    if (io->streams_live >= io->options.streams_max) {
        io->base.counters.streams_refused++;
        return NULL;
    }
    struct item *item = item_new(IO_ACCEPTED, NULL, 0);
    struct mem_peer *stream = item == NULL ? NULL : stream_new(io, from);
    if (stream == NULL) {
        item_free(item);
        return NULL;
    }
    stream->connected = true;
    io->base.counters.streams_accepted++;
    item->id = id;
    item->stream = stream;
    TAILQ_INSERT_TAIL(&io->pending, item, next);
    return stream;
}

struct mem_peer *mem_take_connect(struct io *base, struct address *to)
{
    struct mem_peer *stream;
    TAILQ_FOREACH(stream, &mem_of(base)->peers, next)
    {
        if (stream->connected || stream->taken || stream->reset)
            continue;
        stream->taken = true;
        if (to != NULL)
            *to = stream->peer;
        return stream;
    }
    return NULL;
}

void mem_accept(struct mem_peer *peer)
{
    if (peer->connected || peer->reset)
        return;
    peer->connected = true;
    if (peer->owned)
        stream_event(peer, IO_CONNECTED, 0);
}

void mem_refuse(struct mem_peer *peer, int error)
{
    if (peer->connected || peer->reset)
        return;
    peer->reset = true;
    if (peer->owned)
        stream_event(peer, IO_CONNECTED, error);
}

int mem_peer_write(struct mem_peer *peer, const void *data, size_t len)
{
    const uint8_t *from = data;
    if (!peer->connected || !peer->owned || peer->eof || peer->reset)
        return SAGATE_EGONE;
    while (len > 0) {
        size_t part = len < STREAM_BUFFER ? len : STREAM_BUFFER;
        struct item *item = item_new(IO_DATA, from, part);
        if (item == NULL)
            return SAGATE_ENOMEM;
        item->stream = peer;
        TAILQ_INSERT_TAIL(&peer->io->pending, item, next);
        from += part;
        len -= part;
    }
    return SAGATE_OK;
}

size_t mem_peer_read(struct mem_peer *peer, void *data, size_t size)
{
    size_t part = peer->inbox.len < size ? peer->inbox.len : size;
    if (part > 0)
        memcpy(data, peer->inbox.data, part);
    bytes_consume(&peer->inbox, part);
    return part;
}

void mem_peer_window(struct mem_peer *peer, size_t bytes)
{
    peer->window = bytes;
}

void mem_peer_eof(struct mem_peer *peer)
{
    if (peer->eof || peer->reset || !peer->connected)
        return;
    peer->eof = true;
    if (peer->owned)
        stream_event(peer, IO_EOF, 0);
}

void mem_peer_reset(struct mem_peer *peer, int error)
{
    if (peer->reset || !peer->connected)
        return;
    peer->reset = true;
    peer->output.len = 0;
    if (peer->owned)
        stream_event(peer, IO_CLOSED, error);
}

enum mem_peer_state mem_peer_state(const struct mem_peer *peer)
{
    if (peer->reset)
        return MEM_RESET;
    if (!peer->connected)
        return MEM_CONNECTING;
    return peer->closing && peer->output.len == 0 ? MEM_CLOSED : MEM_OPEN;
}

// Waiting.

// Whether the object of an item is still there.
static bool item_wanted(struct mem *io, const struct item *item)
{
    if (item->id != 0 && io->sources[item->id - 1].removed)
        return false;
    return item->stream == NULL || item->stream->owned;
}

static bool item_withheld(const struct item *item)
{
    const struct mem_peer *stream = item->stream;
    if (stream == NULL)
        return false;
    return stream->fresh ||
           (stream->paused && (item->type == IO_DATA || item->type == IO_EOF || item->type == IO_CLOSED));
}

static void item_deliver(struct mem *io, struct item *item, struct io_event *event)
{
    *event = (struct io_event){.type = item->type, .id = item->id, .error = item->error};
    struct mem_peer *stream = item->stream;
    if (stream != NULL) {
        event->stream = stream->id;
        event->user = stream->user;
    }
    if (item->id != 0)
        event->user = io->sources[item->id - 1].user;
    switch (item->type) {
    case IO_DATAGRAM:
        event->peer = &item->address;
        io->base.counters.datagrams_received++;
        io->base.counters.bytes_received += item->len;
        break;
    case IO_DATA:
        io->base.counters.bytes_received += item->len;
        stream->fresh = true;
        break;
    case IO_ACCEPTED:
        stream->fresh = true;
        event->peer = &stream->peer;
        break;
    case IO_CONNECTED:
        if (item->error != 0)
            stream_disown(stream);
        break;
    case IO_CLOSED:
        stream_disown(stream);
        break;
    default:
        break;
    }
    if (item->type == IO_DATAGRAM || item->type == IO_DATA) {
        event->data = item->data;
        event->len = item->len;
    }
}

// An accept of a removed listener that was not delivered: the connection ends, as the kernel would end it.
static void item_discard(struct item *item)
{
    if (item->type == IO_ACCEPTED && item->stream->owned) {
        item->stream->reset = true;
        stream_disown(item->stream);
    }
    item_free(item);
}

static int mem_wait(struct io *base, struct io_event *events, size_t max, int64_t timeout_us)
{
    struct mem *io = mem_of(base);
    (void)timeout_us;
    io->base.counters.waits++;
    items_free(&io->delivered);
    struct mem_peer *stream;
    TAILQ_FOREACH(stream, &io->peers, next)
    {
        stream->fresh = false;
        stream_flush(stream);
    }
    size_t limit = max < IO_BATCH_MAX ? max : IO_BATCH_MAX;
    size_t count = 0;
    for (size_t i = 0; i < io->source_count && count < limit; i++) {
        struct source *source = &io->sources[i];
        if (source->kind == KIND_POLL && source->readable && !source->removed)
            events[count++] = (struct io_event){.type = IO_READABLE, .id = (io_id)(i + 1), .user = source->user};
    }
    struct item *item = TAILQ_FIRST(&io->pending);
    while (item != NULL && count < limit) {
        struct item *after = TAILQ_NEXT(item, next);
        if (!item_wanted(io, item)) {
            TAILQ_REMOVE(&io->pending, item, next);
            item_discard(item);
        } else if (!item_withheld(item)) {
            TAILQ_REMOVE(&io->pending, item, next);
            TAILQ_INSERT_TAIL(&io->delivered, item, next);
            item_deliver(io, item, &events[count++]);
        }
        item = after;
    }
    return (int)count;
}

static bool mem_waits(const struct io *base)
{
    return !TAILQ_EMPTY(&((const struct mem *)base)->pending);
}

static int mem_create(const struct io_options *options, struct io **out)
{
    struct mem *io = calloc(1, sizeof *io);
    if (io == NULL)
        return SAGATE_ENOMEM;
    io->base.driver = &io_mem_driver;
    io->options = *options;
    TAILQ_INIT(&io->peers);
    TAILQ_INIT(&io->pending);
    TAILQ_INIT(&io->delivered);
    TAILQ_INIT(&io->sent);
    TAILQ_INIT(&io->taken);
    *out = &io->base;
    return SAGATE_OK;
}

static void mem_destroy(struct io *base)
{
    struct mem *io = mem_of(base);
    for (size_t i = 0; i < io->source_count; i++)
        source_end(&io->sources[i]);
    struct mem_peer *stream;
    while ((stream = TAILQ_FIRST(&io->peers)) != NULL) {
        TAILQ_REMOVE(&io->peers, stream, next);
        free(stream->output.data);
        free(stream->inbox.data);
        free(stream);
    }
    items_free(&io->pending);
    items_free(&io->delivered);
    items_free(&io->sent);
    items_free(&io->taken);
    item_free(io->reserved);
    free(io);
}

static int mem_kernel_tls(struct io *base, io_stream id, enum io_direction direction, const struct ktls_keys *keys)
{
    (void)base;
    (void)id;
    (void)direction;
    (void)keys;
    return SAGATE_EUNSUPPORTED;
}

static int mem_write_record(struct io *base, io_stream id, uint8_t type, const void *data, size_t len)
{
    (void)base;
    (void)id;
    (void)type;
    (void)data;
    (void)len;
    return SAGATE_EUNSUPPORTED;
}

static uint64_t mem_records(struct io *base, io_stream id)
{
    (void)base;
    (void)id;
    return 0;
}

const struct io_driver io_mem_driver = {
    .name = "mem",
    .create = mem_create,
    .destroy = mem_destroy,
    .add_datagram = mem_add_datagram,
    .add_listener = mem_add_listener,
    .add_poll = mem_add_poll,
    .remove = mem_remove,
    .wait = mem_wait,
    .waits = mem_waits,
    .datagram_reserve = mem_reserve,
    .datagram_commit = mem_commit,
    .stream_connect = mem_connect,
    .stream_set_user = mem_set_user,
    .stream_user = mem_user,
    .stream_write = mem_write,
    .stream_queued = mem_queued,
    .stream_pause = mem_pause,
    .stream_kernel_tls = mem_kernel_tls,
    .stream_write_record = mem_write_record,
    .stream_records = mem_records,
    .stream_close = mem_close,
    .stream_abort = mem_abort,
};
