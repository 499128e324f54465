// The uring driver, datagrams: multishot receive into provided buffers, sending from a fixed pool.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/io/uring.h"

#include <assert.h>
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>

// A received datagram lies in its buffer as io_uring_recvmsg_out, name, payload (no control data is asked for). The
// room for the name is a `struct address`, so that the event can point at it once its length is filled in.
static_assert(sizeof(struct address) % 16 == 0, "the payload stays aligned");

int uring_datagram_open(struct uring *io)
{
    io->receive_message.msg_namelen = sizeof(struct address);
    io->transmit_count = io->options.receive_buffers < 64 ? 64 : io->options.receive_buffers;
    io->transmits = calloc(io->transmit_count, sizeof *io->transmits);
    io->leaving = calloc(io->transmit_count, sizeof *io->leaving);
    if (io->transmits == NULL || io->leaving == NULL)
        return SAGATE_ENOMEM;
    for (uint32_t i = 0; i < io->transmit_count; i++)
        io->transmits[i].next = i + 1;
    io->transmit_free = 0;
    io->reserved = io->transmit_count;
    io->trains = calloc(URING_TRAINS, sizeof *io->trains);
    if (io->trains == NULL)
        return SAGATE_ENOMEM;
    for (uint32_t i = 0; i < URING_TRAINS; i++)
        io->trains[i].next_free = i + 1;
    return SAGATE_OK;
}

void uring_datagram_free(struct uring *io)
{
    free(io->transmits);
    free(io->leaving);
    free(io->trains);
}

// False: try again with the next io_wait.
bool uring_datagram_arm(struct uring *io, struct uring_source *source)
{
    if (source->starved && io->datagram_pool.free == 0)
        return false;
    struct io_uring_sqe *sqe = uring_sqe(io);
    if (sqe == NULL)
        return false;
    io_uring_prep_recvmsg_multishot(sqe, source->fd, &io->receive_message, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = io->datagram_pool.group;
    io_uring_sqe_set_data64(sqe, uring_data(URING_SOURCE, (size_t)(source - io->sources), source->generation));
    source->armed = true;
    source->starved = false;
    return true;
}

static void report_error(struct uring *io, struct uring_source *source, int error)
{
    struct io_event *event = uring_emit(io);
    event->type = IO_DATAGRAM_ERROR;
    event->id = uring_source_id(io, source);
    event->user = source->user;
    event->error = error;
}

static void receive_failed(struct uring *io, struct uring_source *source, int error)
{
    switch (error) {
    case ENOBUFS:
        io->base.counters.datagrams_no_buffer++;
        source->starved = true;
        return;
    case ECANCELED:
    case EINTR:
    case EAGAIN:
        return;
    case EBADF:
    case EFAULT:
    case EINVAL:
    case ENOTSOCK:
    case EOPNOTSUPP:
        source->failed = true; // would fail again at once, for ever
        break;
    default:
        break;
    }
    report_error(io, source, error);
}

void uring_datagram_received(struct uring *io, struct uring_source *source, const struct io_uring_cqe *cqe)
{
    struct uring_pool *pool = &io->datagram_pool;
    if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) {
        unsigned buffer = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        pool->free--;
        struct io_uring_recvmsg_out *out =
            io_uring_recvmsg_validate(uring_pool_at(pool, buffer), cqe->res, &io->receive_message);
        if (out == NULL || source->removed) {
            uring_pool_put(pool, buffer);
        } else if ((out->flags & MSG_TRUNC) != 0 || out->namelen > sizeof(struct sockaddr_in6)) {
            io->base.counters.datagrams_truncated++;
            uring_pool_put(pool, buffer);
        } else {
            struct address *peer = io_uring_recvmsg_name(out);
            peer->len = out->namelen;
            struct io_event *event = uring_emit(io);
            event->type = IO_DATAGRAM;
            event->id = uring_source_id(io, source);
            event->user = source->user;
            event->peer = peer;
            event->data = io_uring_recvmsg_payload(out, &io->receive_message);
            event->len = io_uring_recvmsg_payload_length(out, cqe->res, &io->receive_message);
            io->base.counters.datagrams_received++;
            io->base.counters.bytes_received += event->len;
            io->datagrams_out[io->datagrams_out_count++] = (uint16_t)buffer;
        }
    } else if (cqe->res < 0 && !source->removed) {
        receive_failed(io, source, -cqe->res);
    }
}

uint8_t *uring_datagram_reserve(struct io *base, size_t len)
{
    struct uring *io = uring_of(base);
    if (len > IO_DATAGRAM_MAX)
        return NULL;
    if (io->reserved == io->transmit_count) {
        if (io->transmit_free == io->transmit_count) {
            io->base.counters.datagrams_no_buffer++;
            return NULL;
        }
        io->reserved = io->transmit_free;
        io->transmit_free = io->transmits[io->reserved].next;
    }
    io->reserved_len = len;
    return io->transmits[io->reserved].data;
}

static void release(struct uring *io, uint32_t index)
{
    io->transmits[index].next = io->transmit_free;
    io->transmit_free = index;
}

// With MSG_DONTWAIT a request to send is done with when its submission is. So only a failure needs a completion, and
// waiting for input need not end, and begin again, because something was sent.
static void describe(struct io_uring_sqe *sqe, uint32_t index)
{
    io_uring_sqe_set_data64(sqe, uring_data(URING_TRANSMIT, index, 0));
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

// Makes the request to send a datagram. False: it is lost, no submission entry.
static bool send_alone(struct uring *io, struct uring_source *source, uint32_t index)
{
    struct uring_transmit *transmit = &io->transmits[index];
    struct io_uring_sqe *sqe = uring_sqe(io);
    if (sqe == NULL) {
        io->base.counters.datagrams_send_failed++;
        release(io, index);
        return false;
    }
    transmit->train = NULL;
    transmit->sqe = sqe;
    // Without MSG_DONTWAIT a full socket buffer would keep the transmit buffer waiting; a datagram is better dropped.
    io_uring_prep_send(sqe, source->fd, transmit->data, transmit->len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (transmit->to.len > 0)
        io_uring_prep_send_set_addr(sqe, &transmit->to.any, (uint16_t)transmit->to.len);
    describe(sqe, index);
    transmit->position = io->ring.sq.sqe_tail;
    transmit->failed = false;
    io->leaving[io->leaving_count++] = index;
    source->sending++;
    return true;
}

// Makes a train of a request that is not submitted yet. False: too many are on their way.
static bool couple(struct uring *io, const struct uring_source *source, uint32_t index)
{
    struct uring_transmit *first = &io->transmits[index];
    if (io->train_free == URING_TRAINS)
        return false;
    struct uring_train *train = &io->trains[io->train_free];
    io->train_free = train->next_free;
    train->count = 1;
    train->vector[0] = (struct iovec){.iov_base = first->data, .iov_len = first->len};
    train->message = (struct msghdr){
        .msg_iov = train->vector, .msg_control = train->control, .msg_controllen = sizeof train->control};
    struct cmsghdr *control = CMSG_FIRSTHDR(&train->message);
    *control =
        (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(uint16_t)), .cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT};
    uint16_t len = (uint16_t)first->len;
    memcpy(CMSG_DATA(control), &len, sizeof len);
    first->train = train;
    first->next = io->transmit_count;
    io_uring_prep_sendmsg(first->sqe, source->fd, &train->message, MSG_DONTWAIT | MSG_NOSIGNAL);
    describe(first->sqe, index);
    return true;
}

// Lets a datagram travel with the one before it over the same connected socket. False: it does not fit.
static bool join(struct uring *io, const struct uring_source *source, uint32_t index)
{
    struct uring_transmit *transmit = &io->transmits[index];
    struct uring_transmit *first = &io->transmits[source->joinable];
    if (source->alone || source->joinable_until != io->submissions + 1 || first->len != transmit->len ||
        transmit->len == 0 || transmit->len > URING_TRAIN_DATAGRAM_MAX)
        return false;
    if (first->train == NULL && !couple(io, source, source->joinable))
        return false;
    struct uring_train *train = first->train;
    if (train->count == URING_TRAIN_MAX)
        return false;
    train->vector[train->count++] = (struct iovec){.iov_base = transmit->data, .iov_len = transmit->len};
    train->message.msg_iovlen = train->count;
    transmit->next = first->next;
    first->next = index;
    return true;
}

int uring_datagram_commit(struct io *base, io_id id, const struct address *to, size_t len)
{
    struct uring *io = uring_of(base);
    struct uring_source *source = uring_source_find(io, id);
    if (source == NULL || source->kind != URING_DATAGRAM || io->reserved == io->transmit_count ||
        len > io->reserved_len || (to != NULL && to->len > sizeof(struct sockaddr_in6)))
        return SAGATE_EINVAL;
    uint32_t index = io->reserved;
    io->reserved = io->transmit_count;
    struct uring_transmit *transmit = &io->transmits[index];
    transmit->to.len = 0;
    if (to != NULL)
        transmit->to = *to;
    transmit->source = (uint32_t)(source - io->sources);
    transmit->len = (uint32_t)len;
    if (transmit->to.len == 0 && join(io, source, index))
        return SAGATE_OK;
    if (send_alone(io, source, index) && transmit->to.len == 0) {
        source->joinable = index;
        source->joinable_until = io->submissions + 1;
    }
    return SAGATE_OK;
}

static bool is_loss(int error)
{
    return error == EAGAIN || error == ENOBUFS || error == ECANCELED;
}

// A train has gone, or what it was made of goes on alone: the kernel gives a socket's pending error to whichever call
// comes first, and some paths (IPsec, devices without checksums, 6.1) take no trains at all.
static void train_sent(struct uring *io, struct uring_source *source, uint32_t index, int result)
{
    struct uring_train *train = io->transmits[index].train;
    bool again = result < 0 && !is_loss(-result) && !source->removed;
    bool refused = result == -EIO || result == -EINVAL || result == -EMSGSIZE || result == -EOPNOTSUPP;
    source->alone = source->alone || refused;
    if (again && !refused)
        report_error(io, source, -result);
    if (result >= 0) {
        io->base.counters.datagrams_sent += train->count;
        io->base.counters.bytes_sent += (uint64_t)train->count * io->transmits[index].len;
    } else if (!again) {
        io->base.counters.datagrams_send_failed += train->count;
    }
    train->next_free = io->train_free;
    io->train_free = (uint32_t)(train - io->trains);
    uint32_t next;
    for (; index != io->transmit_count; index = next) {
        next = io->transmits[index].next;
        if (again)
            (void)send_alone(io, source, index);
        else
            release(io, index);
    }
}

static void sent(struct uring *io, uint32_t index, int result)
{
    struct uring_transmit *transmit = &io->transmits[index];
    struct uring_source *source = &io->sources[transmit->source];
    source->sending--;
    if (transmit->train != NULL) {
        train_sent(io, source, index, result);
        uring_source_settle(io, source);
        return;
    }
    if (result >= 0) {
        io->base.counters.datagrams_sent++;
        io->base.counters.bytes_sent += transmit->len;
    } else {
        io->base.counters.datagrams_send_failed++;
        // The kernel gives a connected socket's pending error to whichever call comes first.
        if (transmit->to.len == 0 && !source->removed && !is_loss(-result))
            report_error(io, source, -result);
    }
    release(io, index);
    uring_source_settle(io, source);
}

void uring_datagram_failed(struct uring *io, uint32_t index, int result)
{
    size_t at = 0;
    // A completion that was not in the ring yet when its submission was settled: kernels keep some back when the ring
    // is full.
    while (!io->transmits[index].failed && at < io->leaving_count && io->leaving[at] != index)
        at++;
    if (!io->transmits[index].failed && at < io->leaving_count)
        memmove(io->leaving + at, io->leaving + at + 1, (--io->leaving_count - at) * sizeof *io->leaving);
    io->transmits[index].failed = false;
    sent(io, index, result);
}

static void mark_failed(struct uring *io)
{
    struct io_uring_cqe *cqe;
    unsigned head;
    io_uring_for_each_cqe(&io->ring, head, cqe)
    {
        if ((cqe->user_data >> 32 & UINT16_MAX) == URING_TRANSMIT)
            io->transmits[(uint32_t)cqe->user_data].failed = true;
    }
}

void uring_datagram_settle(struct uring *io)
{
    if (io->leaving_count == 0 || io_uring_cq_has_overflow(&io->ring))
        return;
    unsigned taken = io_uring_smp_load_acquire(io->ring.sq.khead);
    size_t settled = 0;
    mark_failed(io);
    for (; settled < io->leaving_count; settled++) {
        uint32_t index = io->leaving[settled];
        if ((int)(taken - io->transmits[index].position) < 0)
            break;
        if (!io->transmits[index].failed)
            sent(io, index, 0);
    }
    io->leaving_count -= settled;
    memmove(io->leaving, io->leaving + settled, io->leaving_count * sizeof *io->leaving);
}
