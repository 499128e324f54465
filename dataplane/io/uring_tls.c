// The uring driver, kernel TLS: keys at their place in the stream, and records that are no data.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/io/uring.h"

#include "common/error.h"
#include "common/secret.h"

#include <errno.h>
#include <linux/tls.h>
#include <stdlib.h>
#include <string.h>

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

void uring_tls_forget(struct uring_stream *stream)
{
    if (stream->rekey == NULL)
        return;
    secret_zero(stream->rekey, sizeof *stream->rekey);
    free(stream->rekey);
    stream->rekey = NULL;
}

bool uring_tls_rekey(struct uring_stream *stream)
{
    bool set = stream->rekey != NULL && ktls_set(stream->fd, true, stream->rekey) == 0;
    uring_tls_forget(stream);
    STAILQ_FIRST(&stream->output)->rekey = false;
    stream->records = 0;
    return set;
}

void uring_tls_describe(struct uring_stream *stream, uint8_t type)
{
    stream->message.msg_control = stream->control;
    stream->message.msg_controllen = sizeof stream->control;
    struct cmsghdr *header = CMSG_FIRSTHDR(&stream->message);
    header->cmsg_level = SOL_TLS;
    header->cmsg_type = TLS_SET_RECORD_TYPE;
    header->cmsg_len = CMSG_LEN(1);
    *CMSG_DATA(header) = type;
}

static void hold(struct uring_stream *stream, struct uring_chunk *chunk, size_t len, uint8_t record)
{
    chunk->held = (struct uring_held){.data = chunk->data, .len = len, .buffer = -1, .record = record};
    STAILQ_INSERT_TAIL(&stream->held, &chunk->held, next);
}

static bool is_bad_record(int error)
{
    return error == EBADMSG || error == EMSGSIZE || error == EINVAL; // EINVAL: of another version
}

// What follows a bad record is of no use; the error is taken off the socket, so that an alert can go.
static void hold_bad(struct uring_stream *stream, struct uring_chunk *chunk, int why)
{
    int error;
    socklen_t len = sizeof error;
    (void)getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    stream->receive_done = true;
    hold(stream, chunk, 0, why == EMSGSIZE ? IO_RECORD_TOO_LONG : IO_RECORD_FORGED);
}

bool uring_tls_wants(const struct uring_stream *stream, int error)
{
    return stream->tls_in && (error == EIO || error == EKEYEXPIRED || is_bad_record(error));
}

int uring_tls_take(struct uring *io, struct uring_stream *stream, int error)
{
    union {
        struct cmsghdr header;
        uint8_t space[CMSG_SPACE(1)];
    } control;
    if (error == EKEYEXPIRED) {
        stream->keys_awaited = true; // the caller may have no more use for what would follow
        return 1;
    }
    struct uring_chunk *chunk = uring_chunk_take(io);
    if (chunk == NULL)
        return -ENOMEM;
    if (is_bad_record(error)) {
        hold_bad(stream, chunk, error);
        return 1;
    }
    struct iovec vector = {.iov_base = chunk->data, .iov_len = sizeof chunk->data};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
    ssize_t n = recvmsg(stream->fd, &message, MSG_DONTWAIT);
    if (n < 0 && is_bad_record(errno)) {
        hold_bad(stream, chunk, errno);
        return 1;
    }
    const struct cmsghdr *header = n < 0 ? NULL : CMSG_FIRSTHDR(&message);
    if (header == NULL) {
        error = errno;
        uring_chunk_put(io, chunk);
        return n == 0 ? 0 : error == EAGAIN || error == EINTR ? 1 : -error;
    }
    uint8_t type = *CMSG_DATA(header);
    stream->rekey_due = stream->rekey_due || type == URING_HANDSHAKE;
    hold(stream, chunk, (size_t)n, type == URING_APPLICATION ? 0 : type);
    return 1;
}

static int set_out(struct uring_stream *stream, const struct ktls_keys *keys)
{
    if (stream->rekey != NULL)
        return SAGATE_AGAIN;
    if (STAILQ_EMPTY(&stream->output)) {
        stream->records = 0;
        return ktls_set(stream->fd, true, keys) == 0 ? SAGATE_OK : SAGATE_EUNSUPPORTED;
    }
    stream->rekey = malloc(sizeof *stream->rekey);
    if (stream->rekey == NULL)
        return SAGATE_EUNSUPPORTED;
    *stream->rekey = *keys;
    stream->rekey_next = true;
    return SAGATE_OK;
}

// The ring runs what receives only while it is entered (IORING_SETUP_DEFER_TASKRUN), so between two entries nobody
// reads from the socket, and what has been read is either in our hands or in the completion ring.
static int set_in(struct uring *io, struct uring_stream *stream, const struct ktls_keys *keys)
{
    if (!stream->tls_in &&
        (!STAILQ_EMPTY(&stream->held) || io_uring_cq_ready(&io->ring) > 0 || io_uring_cq_has_overflow(&io->ring)))
        return SAGATE_AGAIN;
    if (ktls_set(stream->fd, false, keys) != 0)
        return SAGATE_EUNSUPPORTED;
    stream->rekey_due = stream->keys_awaited = false;
    uring_stream_kick(io, stream);
    return SAGATE_OK;
}

int uring_stream_kernel_tls(struct io *base, io_stream id, enum io_direction direction, const struct ktls_keys *keys)
{
    struct uring *io = uring_of(base);
    struct uring_stream *stream = uring_stream_find(io, id);
    if (stream == NULL || stream->error != 0)
        return SAGATE_EGONE;
    if (!stream->tls_layer && ktls_layer(stream->fd) != 0)
        return SAGATE_EUNSUPPORTED;
    stream->tls_layer = true;
    int rc = direction == IO_OUT ? set_out(stream, keys) : set_in(io, stream, keys);
    if (rc == SAGATE_OK && direction == IO_OUT)
        stream->tls_out = true;
    if (rc == SAGATE_OK && direction == IO_IN)
        stream->tls_in = true;
    return rc;
}

int uring_stream_write_record(struct io *base, io_stream id, uint8_t type, const void *data, size_t len)
{
    const struct uring_stream *stream = uring_stream_find(uring_of(base), id);
    if (len > URING_STREAM_BUFFER)
        return SAGATE_ETOOBIG;
    // It is a KeyUpdate, and new keys could not follow it.
    if (stream != NULL && stream->rekey != NULL && type == URING_HANDSHAKE)
        return SAGATE_ELIMIT;
    return uring_stream_queue(base, id, type, data, len);
}

uint64_t uring_stream_records(struct io *base, io_stream id)
{
    const struct uring_stream *stream = uring_stream_find(uring_of(base), id);
    return stream == NULL ? 0 : stream->records;
}
