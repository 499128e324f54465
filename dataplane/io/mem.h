// The other side of the mem io driver: what the network and the kernel would do, done by a test or fuzz target.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_IO_MEM_H
#define SAGATE_DATAPLANE_IO_MEM_H

#include "dataplane/io/io.h"

// Every `io` here was made with io_mem_driver; one thread for both sides. The driver never waits: io_wait returns 0
// when nothing is pending, whatever the timeout, since nobody could bring an event meanwhile. Events come in the order
// in which they were caused. Each event's bytes have memory of their own that the next io_wait frees, so that
// AddressSanitizer sees a use after that. io_add_* take any fd; -1 is none, others are closed as the header says.
// A closed stream drains as mem_peer_window lets it, without a bound in time.

// Datagrams. Inject: brings one datagram to `id` (copied; one longer than IO_DATAGRAM_MAX is dropped and counted as
// truncated). 0; SAGATE_EINVAL: no datagram socket has this id; SAGATE_ENOMEM.
int mem_inject(struct io *io, io_id id, const struct address *peer, const void *data, size_t len);

// Makes the connected socket `id` report `error`. Returns as mem_inject.
int mem_inject_error(struct io *io, io_id id, int error);

// Takes the oldest datagram that was committed: false when there is none. `to` has len 0 when it was sent without an
// address. `data` is valid until the next mem_take or io_destroy.
bool mem_take(struct io *io, io_id *id, struct address *to, const uint8_t **data, size_t *len);

// Whether the descriptor added as `id` has input (at first: no). While it has, each io_wait gives IO_READABLE.
void mem_set_readable(struct io *io, io_id id, bool readable);

// The peer's end of a stream; lives until io_destroy.
struct mem_peer;

// Connects to listener `id`. NULL: no such listener, refused by streams_max (counted), or no memory.
struct mem_peer *mem_open(struct io *io, io_id id, const struct address *from);

// The oldest io_stream_connect that was neither taken nor given up, and where it went (`to` may be NULL); NULL: none.
// Answer it with mem_accept or mem_refuse.
struct mem_peer *mem_take_connect(struct io *io, struct address *to);
void mem_accept(struct mem_peer *peer);
void mem_refuse(struct mem_peer *peer, int error);

// Sends to the worker: each call one IO_DATA, or several when longer than 16 KiB. 0; SAGATE_EGONE after eof, reset, or
// the worker's close; SAGATE_ENOMEM.
int mem_peer_write(struct mem_peer *peer, const void *data, size_t len);

// Takes up to `size` bytes that the worker sent; they arrive in io_wait. 0: none now.
size_t mem_peer_read(struct mem_peer *peer, void *data, size_t size);

// Bytes that may lie unread on the peer's side (at first without bound); what is more stays queued with the worker.
void mem_peer_window(struct mem_peer *peer, size_t bytes);

// Ends the peer's sending (IO_EOF), or the stream (IO_CLOSED with `error`, such as ECONNRESET).
void mem_peer_eof(struct mem_peer *peer);
void mem_peer_reset(struct mem_peer *peer, int error);

// What the peer sees of the worker's side. An end after unread bytes shows at once; read them all the same.
enum mem_peer_state { MEM_CONNECTING, MEM_OPEN, MEM_CLOSED, MEM_RESET };
enum mem_peer_state mem_peer_state(const struct mem_peer *peer);

#endif
