// One worker of the data plane: an io driver, the associations on it, and the stages that their bytes go through.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_WORKER_WORKER_H
#define SAGATE_DATAPLANE_WORKER_WORKER_H

#include "common/stats.h"
#include "controlplane/config/config.h"
#include "dataplane/handshake/handshake.h"
#include "dataplane/io/io.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct worker;

// Kinds of io_user that a worker tells apart.
enum worker_user {
    WORKER_USER_LISTENER = 1,
    WORKER_USER_HANDSHAKE, // a stream whose handshake is under way
    WORKER_USER_ASSOCIATION,
    WORKER_USER_COAP_UPSTREAM,
    WORKER_USER_HTTP_UPSTREAM,
    WORKER_USER_CHANNEL, // plane socket to the control process
    WORKER_USER_WAKE,    // eventfd: a new snapshot, or the end
};

// A configuration with what belongs to it, made by the data process's main thread, read-only for workers, and released
// by the main thread once no worker uses it.
struct worker_snapshot {
    const struct config *config;
    struct handshake_contexts *contexts; // this worker's own; becomes the worker's
    const int *listener_fds;             // by listener index: a new socket to take over, or -1 to keep the one in use
    bool refused;                        // set by the worker when it could not take the snapshot
};

struct worker_options {
    unsigned index;
    const struct io_driver *driver;
    struct stats *stats; // never NULL
    int channel_fd;      // plane socket to control; -1 in tests that resolve by hand; stays the caller's
    const struct ktls_support *kernel_tls; // what the kernel can do, outlives the worker; NULL: nothing is handed to it
    int wake_fd;      // eventfd that worker_swap and worker_stop write to; -1 in tests; stays the caller's
    int store_fd;     // memfd of store_bytes(limits.associations) bytes; -1: private memory, for tests; stays the
                      // caller's
    bool lock_memory; // keep the store out of swap space, see worker_memory_locked
    const struct worker *first; // whose secret of session tickets is used, so that workers take each other's tickets;
                                // outlives the worker; NULL: its own
    struct worker_snapshot *snapshot;
};

// SAGATE_OK; SAGATE_ENOMEM; SAGATE_ESYS; SAGATE_EUNSUPPORTED (io driver). On an error the snapshot stays the caller's.
int worker_new(const struct worker_options *options, struct worker **worker);

// Lets the workers of a process hand over datagrams to each other; `workers` stays valid until the last one is freed.
// Before any of them runs. SAGATE_OK, SAGATE_ENOMEM.
int worker_link(struct worker *const *workers, size_t count);

// Runs until worker_stop. SAGATE_OK, or the fatal error of the io driver, after which DTLS associations stay in the
// store as with worker_stop_keeping. Worker's thread.
int worker_run(struct worker *worker);

// One round: waits at most `timeout_us` for events and works on them. SAGATE_OK or a fatal error. For tests.
int worker_round(struct worker *worker, int64_t timeout_us);

// Any thread: offers a snapshot; the worker takes it between two batches, and worker_swapped tells when it has.
// One at a time.
void worker_swap(struct worker *worker, struct worker_snapshot *snapshot);
bool worker_swapped(struct worker *worker);

// Any thread: ends worker_run after the batch in hand.
void worker_stop(struct worker *worker);

// The same, but DTLS associations stay in the store and nothing is said to their peers, for the process that comes
// next; TLS associations end (close_notify), since they are of this process. Any thread.
void worker_stop_keeping(struct worker *worker);

// False: lock_memory was asked for and could not be had. After worker_new, any thread.
bool worker_memory_locked(const struct worker *worker);

// How records of many associations are worked on, for people (dataplane/record/engine.h). Static, any thread.
const char *worker_engine(const struct worker *worker);

// The worker's io instance, for tests over the mem driver.
struct io *worker_io(struct worker *worker);

// Ends every association (close_notify; not those that are kept) and releases all. After worker_run has returned, of
// all workers that are linked, any thread.
void worker_free(struct worker *worker);

#endif
