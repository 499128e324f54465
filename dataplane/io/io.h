// The io driver interface: datagrams and streams in batches, behind it a driver (uring, mem; room for dpdk).
// One `struct io` per worker; every call from that worker's thread only, unless a line says otherwise.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_IO_IO_H
#define SAGATE_DATAPLANE_IO_IO_H

#include "common/address.h"
#include "common/ktls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct io;

// What `user` pointers point at: the first member tells the worker which part an event is for.
struct io_user {
    uint32_t kind; // enum worker_user, dataplane/worker/worker.h
};

typedef uint32_t io_id;     // a datagram socket, a listener or a polled descriptor; 0 is none
typedef uint64_t io_stream; // a stream; carries a generation, so that a stale one is refused; 0 is none

enum io_event_type {
    IO_DATAGRAM = 1,   // id, user, peer, local, data, len: one datagram received
    IO_DATAGRAM_ERROR, // id, user, error: a connected socket reports an error (ECONNREFUSED); the socket stays usable
    IO_ACCEPTED,  // id and user of the listener, stream, peer, local; set the stream's user with io_stream_set_user
    IO_CONNECTED, // stream, user, error: 0, or errno and the stream is gone
    IO_DATA,      // stream, user, data, len; at most one of a stream in a batch
    IO_EOF,       // stream, user: the peer sends no more; writing still works
    IO_WRITABLE,  // stream, user: what was written drained below the low-water mark after an SAGATE_AGAIN
    IO_CLOSED,    // stream, user, error: the stream is gone; its last event; not sent after io_stream_close/abort
    IO_READABLE,  // id, user: a descriptor added with io_add_poll has input
};

// Valid, with what it points at, until the next io_wait.
struct io_event {
    enum io_event_type type;
    io_id id;
    io_stream stream;
    struct io_user *user;
    int error;
    const struct address *peer;
    const struct address *local; // NULL where the driver cannot tell
    uint8_t *data;               // may be changed in place (decryption)
    size_t len;
    uint8_t record; // IO_DATA of a stream that the kernel decrypts: 0: application data; else see io_stream_kernel_tls
};

// Which way keys are for.
enum io_direction { IO_OUT, IO_IN };
// Instead of a content type: a record was longer than any may be, or not authentic. Nothing follows it.
enum { IO_RECORD_TOO_LONG = 254, IO_RECORD_FORGED = 255 };

struct io_options {
    unsigned worker;          // for messages
    unsigned receive_buffers; // buffers of 2 KiB for datagrams and 16 KiB for streams, each this many; power of two
    unsigned streams_max;     // accepted and connected; an accept beyond it is closed at once and counted
    size_t stream_high_water; // bytes queued on a stream from which io_stream_write says SAGATE_AGAIN
    size_t stream_limit;      // bytes queued on a stream that are never exceeded
};

enum { IO_DATAGRAM_MAX = 2048, IO_BATCH_MAX = 256 };

struct io_counters {
    uint64_t datagrams_received, datagrams_sent, datagrams_truncated, datagrams_send_failed, datagrams_no_buffer;
    uint64_t streams_accepted, streams_refused, bytes_received, bytes_sent, waits;
    uint64_t submissions, enters; // requests made to the kernel, and system calls that took them there or waited
};

// What a driver provides; reached through the functions below. Every pointer is set: a driver for datagrams alone gives
// stream functions (and add_listener) that return SAGATE_EUNSUPPORTED or do nothing.
struct io_driver {
    const char *name;
    int (*create)(const struct io_options *options, struct io **io);
    void (*destroy)(struct io *io);
    int (*add_datagram)(struct io *io, int fd, struct io_user *user, io_id *id);
    int (*add_listener)(struct io *io, int fd, struct io_user *user, io_id *id);
    int (*add_poll)(struct io *io, int fd, struct io_user *user, io_id *id);
    void (*remove)(struct io *io, io_id id);
    int (*wait)(struct io *io, struct io_event *events, size_t max, int64_t timeout_us);
    bool (*waits)(const struct io *io);
    uint8_t *(*datagram_reserve)(struct io *io, size_t len);
    int (*datagram_commit)(struct io *io, io_id id, const struct address *to, size_t len);
    int (*stream_connect)(struct io *io, const struct address *to, struct io_user *user, io_stream *stream);
    int (*stream_set_user)(struct io *io, io_stream stream, struct io_user *user);
    struct io_user *(*stream_user)(struct io *io, io_stream stream);
    int (*stream_write)(struct io *io, io_stream stream, const void *data, size_t len);
    size_t (*stream_queued)(struct io *io, io_stream stream);
    int (*stream_pause)(struct io *io, io_stream stream, bool paused);
    int (*stream_kernel_tls)(struct io *io, io_stream stream, enum io_direction direction,
                             const struct ktls_keys *keys);
    int (*stream_write_record)(struct io *io, io_stream stream, uint8_t type, const void *data, size_t len);
    uint64_t (*stream_records)(struct io *io, io_stream stream);
    void (*stream_close)(struct io *io, io_stream stream);
    void (*stream_abort)(struct io *io, io_stream stream);
};

extern const struct io_driver io_uring_driver; // dataplane/io/uring.c
extern const struct io_driver io_mem_driver;   // dataplane/io/mem.c; its other side: dataplane/io/mem.h

// Every driver's struct io begins with this.
struct io {
    const struct io_driver *driver;
    struct io_counters counters;
};

// Creates an instance: 0; SAGATE_ENOMEM; SAGATE_EUNSUPPORTED when the kernel lacks what the driver needs;
// SAGATE_ESYS with errno set.
static inline int io_create(const struct io_driver *driver, const struct io_options *options, struct io **io)
{
    return driver->create(options, io);
}

// Closes every socket and stream and releases all memory.
static inline void io_destroy(struct io *io)
{
    if (io != NULL)
        io->driver->destroy(io);
}

// Adds a bound (or connected) UDP socket, or a listening TCP socket. The descriptor becomes the driver's.
// 0, SAGATE_ELIMIT, SAGATE_ENOMEM.
static inline int io_add_datagram(struct io *io, int fd, struct io_user *user, io_id *id)
{
    return io->driver->add_datagram(io, fd, user, id);
}
static inline int io_add_listener(struct io *io, int fd, struct io_user *user, io_id *id)
{
    return io->driver->add_listener(io, fd, user, id);
}

// Reports input on any other descriptor (a plane socket), which stays the caller's. Level-triggered: an IO_READABLE
// comes with each io_wait while there is input. 0, SAGATE_ELIMIT.
static inline int io_add_poll(struct io *io, int fd, struct io_user *user, io_id *id)
{
    return io->driver->add_poll(io, fd, user, id);
}

// Ends a datagram socket or listener (closing its descriptor) or a poll. No further events of it are delivered.
// Accepted streams live on.
static inline void io_remove(struct io *io, io_id id)
{
    io->driver->remove(io, id);
}

// Sends what is queued, then waits up to `timeout_us` (0: only look; negative: without end) for at least one event.
// Returns the number of events written, at most `max`; 0 on timeout. SAGATE_ESYS is fatal. Buffers of the events of
// the call before go back to the driver.
static inline int io_wait(struct io *io, struct io_event *events, size_t max, int64_t timeout_us)
{
    return io->driver->wait(io, events, max, timeout_us);
}

// True when an io_wait would find something, as far as that can be told without a system call: cheap enough to ask
// between two pieces of work. What it overlooks is there with the next io_wait; what it sees may be no event.
static inline bool io_waits(const struct io *io)
{
    return io->driver->waits(io);
}

// Sending a datagram without a copy: reserve room for `len` bytes (<= IO_DATAGRAM_MAX), write them, commit with the
// length used (<= reserved). `to` may be NULL on a connected socket. A reservation that is not committed is given up by
// the next reserve. Reserve returns NULL when all transmit buffers are in flight (counted; the datagram is dropped, as
// a network may). Commit: 0 or SAGATE_EINVAL.
static inline uint8_t *io_datagram_reserve(struct io *io, size_t len)
{
    return io->driver->datagram_reserve(io, len);
}
static inline int io_datagram_commit(struct io *io, io_id id, const struct address *to, size_t len)
{
    return io->driver->datagram_commit(io, id, to, len);
}

// The same with a copy: 0, SAGATE_ELIMIT (no buffer), SAGATE_ETOOBIG.
int io_datagram_send(struct io *io, io_id id, const struct address *to, const void *data, size_t len);

// Opens a TCP connection (TCP_NODELAY); IO_CONNECTED follows. 0, SAGATE_ELIMIT, SAGATE_ESYS.
static inline int io_stream_connect(struct io *io, const struct address *to, struct io_user *user, io_stream *stream)
{
    return io->driver->stream_connect(io, to, user, stream);
}

static inline int io_stream_set_user(struct io *io, io_stream stream, struct io_user *user)
{
    return io->driver->stream_set_user(io, stream, user);
}

// The user of a stream at this moment; NULL when the stream is gone. An event's own `user` is that of the moment when
// io_wait returned, and an earlier event of the batch may have changed it.
static inline struct io_user *io_stream_user(struct io *io, io_stream stream)
{
    return io->driver->stream_user(io, stream);
}

// Queues all of `data` (copied) or nothing. SAGATE_OK; SAGATE_AGAIN: taken, but write no more until IO_WRITABLE;
// SAGATE_ELIMIT: nothing taken, stream_limit would be exceeded; SAGATE_EGONE.
static inline int io_stream_write(struct io *io, io_stream stream, const void *data, size_t len)
{
    return io->driver->stream_write(io, stream, data, len);
}

// Bytes written and not yet taken by the kernel.
static inline size_t io_stream_queued(struct io *io, io_stream stream)
{
    return io->driver->stream_queued(io, stream);
}

// While paused no IO_DATA and no IO_EOF are delivered; nothing is lost; TCP's window holds the peer back. 0,
// SAGATE_EGONE. Takes effect at once: events of the batch in hand that were delivered already are the caller's.
static inline int io_stream_pause(struct io *io, io_stream stream, bool paused)
{
    return io->driver->stream_pause(io, stream, paused);
}

// Hands keys of TLS to the kernel. IO_OUT: what is written from now on goes out in records that the kernel makes; what
// was written before goes first, as it is. IO_IN: what has not been delivered is opened by the kernel: IO_DATA then
// holds data, or (`record` is its content type) one record of another type, whole. Each again: new keys after a
// KeyUpdate, for what follows it. SAGATE_OK; SAGATE_AGAIN (not now: IO_IN, bytes have been received that are not
// delivered yet; IO_OUT, the keys before wait for their turn); SAGATE_EUNSUPPORTED (nothing has changed); SAGATE_EGONE.
static inline int io_stream_kernel_tls(struct io *io, io_stream stream, enum io_direction direction,
                                       const struct ktls_keys *keys)
{
    return io->driver->stream_kernel_tls(io, stream, direction, keys);
}

// After IO_OUT: as io_stream_write, one record of another content type than application data. A handshake message is
// not taken (SAGATE_ELIMIT) while keys wait for their turn.
static inline int io_stream_write_record(struct io *io, io_stream stream, uint8_t type, const void *data, size_t len)
{
    return io->driver->stream_write_record(io, stream, type, data, len);
}

// How many records the kernel has made with the last keys at most; what is queued is not in it.
static inline uint64_t io_stream_records(struct io *io, io_stream stream)
{
    return io->driver->stream_records(io, stream);
}

// Sends what is queued (for at most some seconds), then closes. The id is invalid at once, and no event follows.
static inline void io_stream_close(struct io *io, io_stream stream)
{
    io->driver->stream_close(io, stream);
}

// Closes at once; what is queued is lost; the peer may see a reset. The id is invalid at once, and no event follows.
static inline void io_stream_abort(struct io *io, io_stream stream)
{
    io->driver->stream_abort(io, stream);
}

#endif
