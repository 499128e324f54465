// The io driver over io_uring (kernel 6.1): the ring, its sources, and io_wait. Streams and datagrams: uring_*.c.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/io/uring.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/profile.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// The ring has one issuer and defers completion work to io_wait. The kernel takes as the issuer the thread that enables
// the ring; a ring is often created by the main thread and used by a worker, so it is created disabled and enabled by
// the first io_wait. Requests of sources and streams are made in io_wait only ("kick" lists), never between two calls:
// no unsubmitted request can name a descriptor that was closed and used again meanwhile.

enum { SUBMISSIONS = 1024, COMPLETIONS = 8192 };

struct io_event *uring_emit(struct uring *io)
{
    struct io_event *event = &io->events[io->count++];
    memset(event, 0, sizeof *event);
    return event;
}

static void count_enter(struct uring *io)
{
    io->submissions++;
    io->base.counters.enters++;
    io->base.counters.submissions += io_uring_sq_ready(&io->ring);
}

struct io_uring_sqe *uring_sqe(struct uring *io)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);
    if (sqe != NULL || !io->enabled)
        return sqe;
    count_enter(io);
    profile_enter(PROFILE_SYSTEM);
    int made = io_uring_submit(&io->ring);
    profile_leave();
    return made >= 0 ? io_uring_get_sqe(&io->ring) : NULL;
}

bool uring_cancel(struct uring *io, uint64_t data)
{
    struct io_uring_sqe *sqe = uring_sqe(io);
    if (sqe == NULL)
        return false;
    io_uring_prep_cancel64(sqe, data, 0);
    io_uring_sqe_set_data64(sqe, data | (uint64_t)URING_CANCEL << 32);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    return true;
}

// Buffers.

static int pool_open(struct uring *io, struct uring_pool *pool, uint16_t group, unsigned count, unsigned size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t head = (count * sizeof(struct io_uring_buf) + page - 1) / page * page;
    pool->stride = ((size_t)size + 63) / 64 * 64;
    pool->mapped = head + count * pool->stride;
    void *map = mmap(NULL, pool->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return SAGATE_ENOMEM;
    pool->ring = map;
    pool->base = (uint8_t *)map + head;
    pool->count = count;
    pool->size = size;
    pool->group = group;
    struct io_uring_buf_reg registration = {
        .ring_addr = (uint64_t)(uintptr_t)map, .ring_entries = count, .bgid = group};
    int rc = io_uring_register_buf_ring(&io->ring, &registration, 0);
    if (rc < 0) {
        errno = -rc;
        return rc == -EINVAL ? SAGATE_EUNSUPPORTED : rc == -ENOMEM ? SAGATE_ENOMEM : SAGATE_ESYS;
    }
    io_uring_buf_ring_init(pool->ring);
    for (unsigned i = 0; i < count; i++)
        uring_pool_put(pool, i);
    return SAGATE_OK;
}

static void pool_free(struct uring_pool *pool)
{
    if (pool->ring != NULL)
        munmap(pool->ring, pool->mapped);
}

void uring_pool_put(struct uring_pool *pool, unsigned buffer)
{
    io_uring_buf_ring_add(pool->ring, uring_pool_at(pool, buffer), pool->size, (unsigned short)buffer,
                          io_uring_buf_ring_mask(pool->count), 0);
    io_uring_buf_ring_advance(pool->ring, 1);
    pool->free++;
}

// Sources.

io_id uring_source_id(const struct uring *io, const struct uring_source *source)
{
    return (io_id)source->generation << 16 | (io_id)(source - io->sources + 1);
}

struct uring_source *uring_source_find(struct uring *io, io_id id)
{
    uint32_t index = (id & UINT16_MAX) - 1;
    if (index >= URING_SOURCES_MAX)
        return NULL;
    struct uring_source *source = &io->sources[index];
    bool valid = source->kind != URING_FREE && !source->removed && source->generation == id >> 16;
    return valid ? source : NULL;
}

void uring_source_kick(struct uring *io, struct uring_source *source)
{
    if (source->kicked)
        return;
    source->kicked = true;
    TAILQ_INSERT_TAIL(&io->source_kick, source, kick);
}

void uring_source_settle(struct uring *io, struct uring_source *source)
{
    if (!source->removed || source->armed || source->sending > 0)
        return;
    if (source->kicked)
        TAILQ_REMOVE(&io->source_kick, source, kick);
    if (source->kind != URING_POLL)
        close(source->fd);
    *source = (struct uring_source){.generation = (uint16_t)(source->generation + 1)};
}

static int source_add(struct uring *io, enum uring_kind kind, int fd, struct io_user *user, io_id *id)
{
    struct uring_source *source = io->sources;
    while (source < io->sources + URING_SOURCES_MAX && source->kind != URING_FREE)
        source++;
    if (source == io->sources + URING_SOURCES_MAX)
        return SAGATE_ELIMIT;
    // On a non-blocking descriptor the kernel would answer EAGAIN instead of waiting for input.
    int flags = fcntl(fd, F_GETFL);
    if (kind != URING_POLL && flags >= 0 && (flags & O_NONBLOCK) != 0)
        fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
    source->kind = kind;
    source->fd = fd;
    source->user = user;
    uring_source_kick(io, source);
    *id = uring_source_id(io, source);
    return SAGATE_OK;
}

static int uring_add_datagram(struct io *base, int fd, struct io_user *user, io_id *id)
{
    return source_add(uring_of(base), URING_DATAGRAM, fd, user, id);
}

static int uring_add_listener(struct io *base, int fd, struct io_user *user, io_id *id)
{
    return source_add(uring_of(base), URING_LISTENER, fd, user, id);
}

static int uring_add_poll(struct io *base, int fd, struct io_user *user, io_id *id)
{
    return source_add(uring_of(base), URING_POLL, fd, user, id);
}

static void uring_remove(struct io *base, io_id id)
{
    struct uring *io = uring_of(base);
    struct uring_source *source = uring_source_find(io, id);
    if (source == NULL)
        return;
    source->removed = true;
    uring_source_kick(io, source);
    uring_source_settle(io, source);
}

// Makes the request that is due for a source. False: no submission entry or no buffer; again with the next round.
static bool source_work(struct uring *io, struct uring_source *source)
{
    uint64_t data = uring_data(URING_SOURCE, (size_t)(source - io->sources), source->generation);
    if (source->removed) {
        if (!source->armed || source->cancelling)
            return true;
        source->cancelling = uring_cancel(io, data);
        return source->cancelling;
    }
    if (source->armed || source->failed)
        return true;
    if (source->kind == URING_DATAGRAM)
        return uring_datagram_arm(io, source);
    if (source->kind == URING_LISTENER && io->accept_retry != 0)
        return true; // expire() kicks it
    struct io_uring_sqe *sqe = uring_sqe(io);
    if (sqe == NULL)
        return false;
    if (source->kind == URING_LISTENER)
        io_uring_prep_multishot_accept(sqe, source->fd, NULL, NULL, SOCK_CLOEXEC);
    else
        io_uring_prep_poll_add(sqe, source->fd, POLLIN); // one shot, made anew with each io_wait: level-triggered
    io_uring_sqe_set_data64(sqe, data);
    source->armed = true;
    return true;
}

static void source_work_all(struct uring *io)
{
    struct uring_source_list due = TAILQ_HEAD_INITIALIZER(due);
    TAILQ_CONCAT(&due, &io->source_kick, kick);
    struct uring_source *source;
    while ((source = TAILQ_FIRST(&due)) != NULL) {
        TAILQ_REMOVE(&due, source, kick);
        source->kicked = false;
        if (!source_work(io, source))
            uring_source_kick(io, source);
    }
}

static void accepted(struct uring *io, struct uring_source *source, int result)
{
    if (result >= 0) {
        if (source->removed)
            close(result);
        else
            uring_stream_accepted(io, source, result);
        return;
    }
    switch (-result) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        io->base.counters.streams_refused++;
        io->accept_retry = clock_us() + URING_ACCEPT_RETRY_US;
        break;
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
    case EOPNOTSUPP:
        source->failed = true;
        break;
    default: // the connection went away before it was accepted, or the request was cancelled
        break;
    }
}

static void source_completed(struct uring *io, uint32_t index, const struct io_uring_cqe *cqe)
{
    struct uring_source *source = &io->sources[index];
    if (source->kind == URING_FREE || source->generation != uring_serial(cqe)) {
        if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) { // only datagram sockets use buffers
            io->datagram_pool.free--;
            uring_pool_put(&io->datagram_pool, cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        }
        return;
    }
    if ((cqe->flags & IORING_CQE_F_MORE) == 0) {
        source->armed = false;
        source->cancelling = false;
    }
    if (source->kind == URING_DATAGRAM) {
        uring_datagram_received(io, source, cqe);
    } else if (source->kind == URING_LISTENER) {
        accepted(io, source, cqe->res);
    } else if (!source->removed) {
        // On an error there is nothing to wait for: the caller finds it when it reads.
        source->failed = cqe->res < 0;
        struct io_event *event = uring_emit(io);
        event->type = IO_READABLE;
        event->id = uring_source_id(io, source);
        event->user = source->user;
    }
    if (!source->armed)
        uring_source_kick(io, source);
    uring_source_settle(io, source);
}

// Waiting.

static void return_buffers(struct uring *io)
{
    for (size_t i = 0; i < io->datagrams_out_count; i++)
        uring_pool_put(&io->datagram_pool, io->datagrams_out[i]);
    io->datagrams_out_count = 0;
    uring_stream_return_buffers(io);
}

// Does what has become due by time.
static void expire(struct uring *io)
{
    if (TAILQ_EMPTY(&io->lingering) && io->accept_retry == 0)
        return;
    uint64_t now = clock_us();
    uring_stream_expire(io, now);
    if (io->accept_retry != 0 && io->accept_retry <= now) {
        io->accept_retry = 0;
        for (size_t i = 0; i < URING_SOURCES_MAX; i++) {
            if (io->sources[i].kind == URING_LISTENER)
                uring_source_kick(io, &io->sources[i]);
        }
    }
}

// Microseconds until something must be done: the caller's deadline (0: none) or one of the driver's own. -1: never.
static int64_t wait_time(const struct uring *io, uint64_t deadline)
{
    const struct uring_stream *lingering = TAILQ_FIRST(&io->lingering);
    if (lingering != NULL && (deadline == 0 || lingering->deadline < deadline))
        deadline = lingering->deadline;
    if (io->accept_retry != 0 && (deadline == 0 || io->accept_retry < deadline))
        deadline = io->accept_retry;
    if (deadline == 0)
        return -1;
    uint64_t now = clock_us();
    return deadline > now ? (int64_t)(deadline - now) : 0;
}

// Submits and waits for one completion for up to `wait_us` (0: only looks, -1: without end). 0 or SAGATE_ESYS.
static int submit(struct uring *io, int64_t wait_us, bool *interrupted)
{
    int rc;
    count_enter(io);
    profile_enter(wait_us == 0 ? PROFILE_SYSTEM : PROFILE_WAIT);
    if (wait_us == 0) {
        rc = io_uring_submit_and_get_events(&io->ring);
    } else if (wait_us < 0) {
        rc = io_uring_submit_and_wait(&io->ring, 1);
    } else {
        struct __kernel_timespec time = {.tv_sec = wait_us / 1000000, .tv_nsec = wait_us % 1000000 * 1000};
        struct io_uring_cqe *cqe;
        rc = io_uring_submit_and_wait_timeout(&io->ring, &cqe, 1, &time, NULL);
    }
    profile_leave();
    uring_datagram_settle(io);
    *interrupted = rc == -EINTR;
    // EBUSY and EAGAIN: the kernel wants completions taken first, or has no memory just now.
    if (rc >= 0 || rc == -ETIME || rc == -EINTR || rc == -EBUSY || rc == -EAGAIN)
        return SAGATE_OK;
    errno = -rc;
    return SAGATE_ESYS;
}

// A cancellation that found its request tells nothing: the request completes by itself. One that did not has come too
// late, as a rule; if the request is there nevertheless, it is cancelled again.
static void cancel_missed(struct uring *io, enum uring_op op, uint32_t index)
{
    if (op == URING_SOURCE) {
        io->sources[index].cancelling = false;
        if (io->sources[index].removed)
            uring_source_kick(io, &io->sources[index]);
    } else {
        uring_stream_cancel_missed(io, op, index);
    }
}

static void completed(struct uring *io, const struct io_uring_cqe *cqe)
{
    uint32_t code = (uint32_t)(cqe->user_data >> 32) & UINT16_MAX;
    enum uring_op op = (enum uring_op)(code & ~(uint32_t)URING_CANCEL);
    uint32_t index = (uint32_t)cqe->user_data;
    if ((code & URING_CANCEL) != 0) {
        if (cqe->res == -ENOENT)
            cancel_missed(io, op, index);
        return;
    }
    switch (op) {
    case URING_SOURCE:
        source_completed(io, index, cqe);
        break;
    case URING_TRANSMIT:
        uring_datagram_failed(io, index, cqe->res);
        break;
    default:
        uring_stream_completed(io, op, index, cqe);
        break;
    }
}

// Fills the batch. What does not fit stays in the completion ring and in the streams: an id that the caller closes or
// removes before the next io_wait is therefore looked at then, and nothing of it is delivered.
static void collect(struct uring *io)
{
    while (io->count < io->max) {
        if (uring_stream_deliver_one(io))
            continue;
        if (io_uring_cq_ready(&io->ring) == 0)
            return;
        // A copy, so that the slot is free before requests made on the way can need it.
        struct io_uring_cqe cqe = io->ring.cq.cqes[*io->ring.cq.khead & io->ring.cq.ring_mask];
        io_uring_cq_advance(&io->ring, 1);
        completed(io, &cqe);
    }
}

static int uring_wait(struct io *base, struct io_event *events, size_t max, int64_t timeout_us)
{
    struct uring *io = uring_of(base);
    if (!io->enabled) {
        // liburing 2.3 declares io_uring_enable_rings and does not export it.
        int rc = io_uring_register((unsigned)io->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
        if (rc < 0) {
            errno = -rc;
            return SAGATE_ESYS;
        }
        io->enabled = true;
    }
    io->base.counters.waits++;
    io->events = events;
    io->count = 0;
    io->max = max < IO_BATCH_MAX ? max : IO_BATCH_MAX;
    return_buffers(io);
    uring_stream_batch_begin(io);
    uint64_t deadline = timeout_us > 0 ? clock_us() + (uint64_t)timeout_us : 0;
    for (;;) {
        expire(io);
        source_work_all(io);
        uring_stream_work_all(io);
        bool at_hand = timeout_us == 0 || !TAILQ_EMPTY(&io->ready) || io_uring_cq_ready(&io->ring) > 0;
        bool interrupted;
        int rc = submit(io, at_hand ? 0 : wait_time(io, deadline), &interrupted);
        if (rc != SAGATE_OK)
            return rc;
        collect(io);
        if (io->count > 0 || interrupted || timeout_us == 0 || max == 0)
            break;
        if (deadline != 0 && clock_us() >= deadline)
            break;
    }
    return (int)io->count;
}

// The kernel sets the flag when it has work to do for a request, which it does in io_wait; then there are completions.
static bool uring_waits(const struct io *base)
{
    const struct uring *io = (const struct uring *)base;
    return io_uring_cq_ready(&io->ring) > 0 || (IO_URING_READ_ONCE(*io->ring.sq.kflags) & IORING_SQ_TASKRUN) != 0;
}

// Making and ending.

static int ring_open(struct uring *io)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED |
                 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
        .cq_entries = COMPLETIONS,
    };
    int rc = io_uring_queue_init_params(SUBMISSIONS, &io->ring, &params);
    if (rc == 0)
        return SAGATE_OK;
    io->ring.ring_fd = -1;
    errno = -rc;
    switch (-rc) {
    case ENOSYS:
    case EINVAL:
    case EPERM:
    case EACCES:
        return SAGATE_EUNSUPPORTED;
    case ENOMEM:
        return SAGATE_ENOMEM;
    default:
        return SAGATE_ESYS;
    }
}

// Ends all requests, so that sockets are really closed when their descriptors are. Fails harmlessly in a thread other
// than the issuer: the kernel then ends them a moment after the ring is closed.
static void ring_quiesce(struct uring *io)
{
    if (!io->enabled)
        return;
    struct io_uring_sync_cancel_reg all = {
        .fd = -1, .flags = IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY, .timeout = {.tv_sec = 1}};
    io_uring_register_sync_cancel(&io->ring, &all);
    do {
        io_uring_get_events(&io->ring);
        struct io_uring_cqe *cqe;
        unsigned head;
        unsigned seen = 0;
        io_uring_for_each_cqe(&io->ring, head, cqe)
        {
            uint32_t index = (uint32_t)cqe->user_data;
            bool source = (cqe->user_data >> 32 & UINT16_MAX) == URING_SOURCE;
            if (source && io->sources[index].kind == URING_LISTENER && cqe->res >= 0)
                close(cqe->res); // accepted and never delivered
            seen++;
        }
        io_uring_cq_advance(&io->ring, seen);
    } while (io_uring_cq_has_overflow(&io->ring) && io_uring_get_events(&io->ring) >= 0);
}

static void uring_destroy(struct io *base)
{
    struct uring *io = uring_of(base);
    if (io->ring.ring_fd >= 0) {
        ring_quiesce(io);
        io_uring_queue_exit(&io->ring);
    }
    for (size_t i = 0; i < URING_SOURCES_MAX; i++) {
        if (io->sources[i].kind == URING_DATAGRAM || io->sources[i].kind == URING_LISTENER)
            close(io->sources[i].fd);
    }
    uring_stream_free(io);
    uring_datagram_free(io);
    pool_free(&io->datagram_pool);
    pool_free(&io->stream_pool);
    free(io);
}

static int uring_create(const struct io_options *options, struct io **out)
{
    unsigned buffers = options->receive_buffers;
    // The kernel's bound on a buffer ring is 32768 entries.
    if (buffers == 0 || buffers > 32768 || (buffers & (buffers - 1)) != 0)
        return SAGATE_EINVAL;
    struct uring *io = calloc(1, sizeof *io);
    if (io == NULL)
        return SAGATE_ENOMEM;
    io->base.driver = &io_uring_driver;
    io->options = *options;
    TAILQ_INIT(&io->source_kick);
    int rc = ring_open(io);
    if (rc == SAGATE_OK)
        rc = pool_open(io, &io->datagram_pool, 0, buffers,
                       sizeof(struct io_uring_recvmsg_out) + sizeof(struct address) + IO_DATAGRAM_MAX);
    if (rc == SAGATE_OK)
        rc = pool_open(io, &io->stream_pool, 1, buffers, URING_STREAM_BUFFER);
    if (rc == SAGATE_OK)
        rc = uring_datagram_open(io);
    if (rc == SAGATE_OK)
        rc = uring_stream_open(io);
    if (rc != SAGATE_OK) {
        int error = errno;
        uring_destroy(&io->base);
        errno = error;
        return rc;
    }
    *out = &io->base;
    return SAGATE_OK;
}

const struct io_driver io_uring_driver = {
    .name = "uring",
    .create = uring_create,
    .destroy = uring_destroy,
    .add_datagram = uring_add_datagram,
    .add_listener = uring_add_listener,
    .add_poll = uring_add_poll,
    .remove = uring_remove,
    .wait = uring_wait,
    .waits = uring_waits,
    .datagram_reserve = uring_datagram_reserve,
    .datagram_commit = uring_datagram_commit,
    .stream_connect = uring_stream_connect,
    .stream_set_user = uring_stream_set_user,
    .stream_user = uring_stream_user,
    .stream_write = uring_stream_write,
    .stream_queued = uring_stream_queued,
    .stream_pause = uring_stream_pause,
    .stream_kernel_tls = uring_stream_kernel_tls,
    .stream_write_record = uring_stream_write_record,
    .stream_records = uring_stream_records,
    .stream_close = uring_stream_close,
    .stream_abort = uring_stream_abort,
};
