// Private to uring.c and the uring_*.c files: the state of one ring and what they share.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_IO_URING_H
#define SAGATE_DATAPLANE_IO_URING_H

#include "dataplane/io/io.h"

#include <liburing.h>
#include <sys/queue.h>
#include <sys/uio.h>

enum {
    URING_SOURCES_MAX = 1024,    // datagram sockets, listeners and polled descriptors together
    URING_STREAM_BUFFER = 16384, // one stream receive buffer, and one chunk of an output queue
    URING_SEND_CHUNKS = 4,       // chunks that one send takes
    URING_CHUNKS_KEPT = 256,     // unused chunks kept for the next need
    URING_LINGER_MAX = 1024,     // closed streams that still drain; beyond it the oldest is reset
    URING_LINGER_US = 5000000,   // how long one drains
    URING_HANDSHAKE = 22,        // content types of TLS
    URING_APPLICATION = 23,
    URING_ACCEPT_RETRY_US = 100000, // pause after accept failed for want of descriptors or memory
    URING_TRAINS = 64,              // trains on their way at a time
    URING_TRAIN_MAX = 32,           // datagrams of one
    URING_TRAIN_DATAGRAM_MAX = 1200 // longer ones may not fit the path and travel alone
};

// What a completion is for. URING_CANCEL is added to the operation that a cancellation is meant for.
enum { URING_CANCEL = 0x100 };
enum uring_op { URING_SOURCE, URING_TRANSMIT, URING_CONNECT, URING_RECEIVE, URING_SEND };

// A ring of provided buffers. `free` counts those not known to be consumed: unseen completions may hold some of it.
struct uring_pool {
    struct io_uring_buf_ring *ring;
    uint8_t *base;
    size_t mapped, stride;
    unsigned count, size, free;
    uint16_t group;
};

enum uring_kind { URING_FREE, URING_DATAGRAM, URING_LISTENER, URING_POLL };

// A slot is used again only when no completion for it can come any more. Completions carry its generation all the same:
// kernels have been seen to deliver one after the last, and it must not pass for another socket's.
struct uring_source {
    enum uring_kind kind;
    uint16_t generation;
    bool armed;      // its multishot (or poll) request is in the kernel
    bool cancelling; // and a cancellation for it as well
    bool removed;    // waits for its last completions
    bool failed;     // the kernel refuses its request for good: not armed again
    bool starved;    // its request ended because no buffer was left
    bool kicked;
    int fd;
    unsigned sending; // requests to send in flight
    // A connected socket's last request to send, which others may join until the submission of that number.
    uint32_t joinable;
    uint64_t joinable_until;
    bool alone; // its path takes no trains
    struct io_user *user;
    TAILQ_ENTRY(uring_source) kick;
};
TAILQ_HEAD(uring_source_list, uring_source);

// Datagrams of one length over one connected socket that the network stack takes as one (UDP_SEGMENT, udp(7)) and cuts
// up again as late as it can.
struct uring_train {
    unsigned count;
    uint32_t next_free;
    struct msghdr message;
    struct iovec vector[URING_TRAIN_MAX];
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(uint16_t))];
};

struct uring_transmit {
    struct address to;
    uint32_t source, len;
    uint32_t next;             // of the free list, or of a train
    struct uring_train *train; // of which it is the first; NULL: it travels alone
    struct io_uring_sqe *sqe;  // until it is submitted
    unsigned position;         // of that in the submission queue
    bool failed;               // its completion, which only a failure has, waits to be looked at
    uint8_t data[IO_DATAGRAM_MAX];
};

// Received bytes on their way to the caller, in a provided buffer or (buffer < 0) in a chunk, whose first member it is.
struct uring_held {
    STAILQ_ENTRY(uring_held) next;
    uint8_t *data;
    size_t len;
    int buffer;
    uint8_t record; // as in struct io_event
};
STAILQ_HEAD(uring_held_list, uring_held);

struct uring_chunk {
    struct uring_held held;
    STAILQ_ENTRY(uring_chunk) next;
    size_t start, end;
    uint8_t record; // 0: goes out as it is; else the content type of the records that the kernel makes of it
    bool rekey;     // the keys of the stream that wait are set before it goes
    uint8_t data[URING_STREAM_BUFFER];
};
STAILQ_HEAD(uring_chunk_list, uring_chunk);

enum uring_state {
    URING_UNUSED,
    URING_OPEN,    // the caller's (perhaps still connecting)
    URING_CLOSING, // closed by the caller, drains
    URING_DEAD,    // waits for its last completions
};

struct uring_stream {
    enum uring_state state;
    uint32_t generation;
    uint16_t serial; // of this use of the slot
    int fd;
    bool connected;
    bool connect_busy, receive_busy, send_busy;                // requests in the kernel
    bool connect_cancelled, receive_cancelled, send_cancelled; // and cancellations of them
    bool connected_due, writable_due, eof_due, closed_due;     // events to deliver
    bool paused, starved, receive_done, writable_wanted, shut;
    bool on_kick, on_ready, on_linger;
    bool tls_layer, tls_out, tls_in; // kernel TLS: the layer is on the socket, and has keys for these
    bool rekey_due;                  // a handshake message came: what follows may need new keys
    bool keys_awaited;               // and does: the kernel gives nothing before it has them
    bool rekey_next;                 // the next chunk begins under the keys that wait
    struct ktls_keys *rekey;         // keys for sending that wait until what was queued before has gone; NULL: none
    uint64_t records;                // that the kernel has made since, at most
    uint8_t control[CMSG_SPACE(1)];  // of the record type being sent
    int error;                       // of connecting, receiving or sending: the errno of the last event
    struct io_user *user;
    uint64_t fed_in; // number of the io_wait that last delivered an IO_DATA
    size_t queued;
    struct uring_chunk_list output;
    struct uring_chunk *last; // of output, when that is not empty
    struct uring_held_list held;
    struct msghdr message;
    struct iovec vector[URING_SEND_CHUNKS];
    struct address peer, local;
    uint64_t deadline; // of draining
    TAILQ_ENTRY(uring_stream) kick, ready, linger;
    SLIST_ENTRY(uring_stream) unused;
};
TAILQ_HEAD(uring_stream_list, uring_stream);
SLIST_HEAD(uring_stream_stack, uring_stream);

struct uring {
    struct io base;
    struct io_options options;
    struct io_uring ring;
    bool enabled;
    struct uring_pool datagram_pool, stream_pool;

    // The batch being filled.
    struct io_event *events;
    size_t count, max;

    struct uring_stream *fed[IO_BATCH_MAX]; // streams with an IO_DATA in the batch
    size_t fed_count;

    // What goes back with the next io_wait.
    uint16_t datagrams_out[IO_BATCH_MAX];
    size_t datagrams_out_count;
    struct uring_held_list held_out;

    struct uring_source sources[URING_SOURCES_MAX];
    struct uring_source_list source_kick; // sources for which requests are due
    uint64_t accept_retry;                // when listeners are armed again; 0: no pause

    struct msghdr receive_message; // the shape of every received datagram
    uint64_t submissions;          // so far
    struct uring_train *trains;
    uint32_t train_free; // head of the list of free ones; URING_TRAINS: none
    struct uring_transmit *transmits;
    uint32_t *leaving; // first transmits of the requests to send of which nothing is known yet, in their order
    size_t leaving_count;
    uint32_t transmit_free;  // head of the list of free ones; transmit_count: none
    uint32_t transmit_count; // how many there are
    uint32_t reserved;       // the reserved one; transmit_count: none
    size_t reserved_len;

    struct uring_stream *streams;
    size_t stream_slots, streams_live, lingering_count, linger_max;
    struct uring_stream_list kick;      // streams for which requests are due
    struct uring_stream_list ready;     // streams with events to deliver
    struct uring_stream_list lingering; // in the order of their deadlines
    struct uring_stream_stack unused;
    struct uring_held *held; // one for each buffer of stream_pool
    struct uring_chunk_list chunks;
    size_t chunks_kept;
};

static inline struct uring *uring_of(struct io *io)
{
    return (struct uring *)io; // base is its first member
}

// user_data: the slot's serial number (16 bits), what the request is (16), the slot (32).
static inline uint64_t uring_data(enum uring_op op, size_t index, uint16_t serial)
{
    return (uint64_t)serial << 48 | (uint64_t)op << 32 | (uint32_t)index;
}

static inline uint16_t uring_serial(const struct io_uring_cqe *cqe)
{
    return (uint16_t)(cqe->user_data >> 48);
}

// The next event of the batch, zeroed. Callers know that there is room.
struct io_event *uring_emit(struct uring *io);

// A submission entry, after submitting when there is none; NULL when the kernel takes no more now.
struct io_uring_sqe *uring_sqe(struct uring *io);

// Asks for cancellation of the request with this user_data. False: no submission entry.
bool uring_cancel(struct uring *io, uint64_t data);

static inline uint8_t *uring_pool_at(struct uring_pool *pool, unsigned buffer)
{
    return pool->base + (size_t)buffer * pool->stride;
}
void uring_pool_put(struct uring_pool *pool, unsigned buffer);

// uring.c: the source with this id, or NULL. kick: a request for it is due with the next submission. settle: closes
// and frees a removed source once nothing is in flight.
struct uring_source *uring_source_find(struct uring *io, io_id id);
io_id uring_source_id(const struct uring *io, const struct uring_source *source);
void uring_source_kick(struct uring *io, struct uring_source *source);
void uring_source_settle(struct uring *io, struct uring_source *source);

// uring_datagram.c: failed: the completion of a request to send; settle: after a submission, gives back what was sent.
int uring_datagram_open(struct uring *io);
void uring_datagram_free(struct uring *io);
bool uring_datagram_arm(struct uring *io, struct uring_source *source);
void uring_datagram_received(struct uring *io, struct uring_source *source, const struct io_uring_cqe *cqe);
void uring_datagram_failed(struct uring *io, uint32_t index, int result);
void uring_datagram_settle(struct uring *io);
uint8_t *uring_datagram_reserve(struct io *base, size_t len);
int uring_datagram_commit(struct io *base, io_id id, const struct address *to, size_t len);

// uring_tls.c: rekey: sets the keys that wait. describe: the type of a record to sendmsg. wants: `error`, which recv
// said, is about a record. take: takes a record that recv refused because of its type (or that is a bad one) into the
// list of what is held: 1, go on; 0, the end; a negative errno.
bool uring_tls_rekey(struct uring_stream *stream);
void uring_tls_describe(struct uring_stream *stream, uint8_t type);
bool uring_tls_wants(const struct uring_stream *stream, int error);
int uring_tls_take(struct uring *io, struct uring_stream *stream, int error);
void uring_tls_forget(struct uring_stream *stream);

// uring_stream_request.c: work: makes the requests that are due.
void uring_stream_work_all(struct uring *io);
void uring_stream_cancel_missed(struct uring *io, enum uring_op op, uint32_t index);
void uring_stream_completed(struct uring *io, enum uring_op op, uint32_t index, const struct io_uring_cqe *cqe);

// uring_stream.c: find: an open stream; kick: requests may be due for it; ready: whether it has an event may have
// changed; relocate: what it holds leaves provided buffers that run low; kill: ends it; settle: closes and frees an
// ended one once nothing is in flight; chunk_take: NULL without memory. open and free the tables; batch_begin: streams
// that had an IO_DATA in the last batch may have events again; deliver: one event of the first stream that has one
// (false: none has); expire: end the streams that drained for too long.
struct uring_stream *uring_stream_find(struct uring *io, io_stream id);
void uring_stream_kick(struct uring *io, struct uring_stream *stream);
void uring_stream_ready(struct uring *io, struct uring_stream *stream);
void uring_stream_relocate(struct uring *io, struct uring_stream *stream);
void uring_stream_drop_output(struct uring *io, struct uring_stream *stream);
void uring_stream_kill(struct uring *io, struct uring_stream *stream);
void uring_stream_settle(struct uring *io, struct uring_stream *stream);
struct uring_chunk *uring_chunk_take(struct uring *io);
void uring_chunk_put(struct uring *io, struct uring_chunk *chunk);
int uring_stream_queue(struct io *base, io_stream id, uint8_t record, const void *data, size_t len);
int uring_stream_open(struct uring *io);
void uring_stream_free(struct uring *io);
void uring_stream_return_buffers(struct uring *io);
void uring_stream_batch_begin(struct uring *io);
bool uring_stream_deliver_one(struct uring *io);
void uring_stream_expire(struct uring *io, uint64_t now);
void uring_stream_accepted(struct uring *io, const struct uring_source *listener, int fd);
int uring_stream_connect(struct io *base, const struct address *to, struct io_user *user, io_stream *id);
int uring_stream_set_user(struct io *base, io_stream id, struct io_user *user);
struct io_user *uring_stream_user(struct io *base, io_stream id);
int uring_stream_write(struct io *base, io_stream id, const void *data, size_t len);
size_t uring_stream_queued(struct io *base, io_stream id);
int uring_stream_pause(struct io *base, io_stream id, bool paused);
int uring_stream_kernel_tls(struct io *base, io_stream id, enum io_direction direction, const struct ktls_keys *keys);
int uring_stream_write_record(struct io *base, io_stream id, uint8_t type, const void *data, size_t len);
uint64_t uring_stream_records(struct io *base, io_stream id);
void uring_stream_close(struct io *base, io_stream id);
void uring_stream_abort(struct io *base, io_stream id);

#endif
