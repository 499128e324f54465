// The data process's main thread: the configuration from the supervisor, the workers' threads, reloads.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/worker/data.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/file.h"
#include "common/log.h"
#include "common/plane.h"
#include "common/secret.h"
#include "dataplane/handshake/allocator.h"
#include "dataplane/worker/worker.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX = 1 << 20, SWAP_SECONDS = 10, PAGE = 4096 };

// One file that the configuration names, as the supervisor opened it.
struct named_file {
    char *path;
    uint8_t *bytes; // secret_alloc, with a NUL behind
    size_t len;
};

// What CONFIG_BEGIN … CONFIG_COMMIT brought.
struct incoming {
    uint64_t generation;
    char *text;
    size_t file_count;
    struct named_file *files;
    size_t listener_count;
    struct incoming_listener {
        char *name;
        uint32_t worker;
        int fd;
    } * listeners;
};

struct thread {
    pthread_t id;
    struct worker *worker;
    int wake_fd, channel_fd, store_fd;
    bool started;
    int core; // -1: anywhere
    atomic_int result;
};

struct data {
    int supervisor_fd, signal_fd;
    struct incoming incoming;
    struct config *config; // in use by the workers
    size_t thread_count;
    struct thread threads[CONFIG_WORKERS_MAX];
    struct worker *workers[CONFIG_WORKERS_MAX]; // of the threads
    uint8_t *stats;                             // mapping
    size_t stats_stride;
    struct ktls_support kernel_tls;
    bool kernel_tls_used;
    int (*lock_down)(void);
    bool ended, keep; // keep: associations stay for the next process
};

static void incoming_clear(struct incoming *incoming)
{
    for (size_t i = 0; i < incoming->file_count; i++) {
        secret_free(incoming->files[i].bytes);
        free(incoming->files[i].path);
    }
    for (size_t i = 0; i < incoming->listener_count; i++) {
        if (incoming->listeners[i].fd >= 0)
            close(incoming->listeners[i].fd);
        free(incoming->listeners[i].name);
    }
    free(incoming->files);
    free(incoming->listeners);
    if (incoming->text != NULL)
        secret_zero(incoming->text, strlen(incoming->text));
    free(incoming->text);
    *incoming = (struct incoming){0};
}

static void take_text(struct incoming *incoming, int fd)
{
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0 || info.st_size <= 0 || info.st_size > FILE_MAX)
        return;
    char *text = calloc(1, (size_t)info.st_size + 2);
    if (text == NULL)
        return;
    if (file_read(fd, text, (size_t)info.st_size) < 0) {
        free(text);
        return;
    }
    free(incoming->text);
    incoming->text = text;
}

static void take_file(struct incoming *incoming, struct slice path, int fd)
{
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0 || info.st_size > FILE_MAX - 2)
        return;
    struct named_file *grown = realloc(incoming->files, (incoming->file_count + 1) * sizeof *grown);
    if (grown == NULL)
        return;
    incoming->files = grown;
    struct named_file file = {.path = slice_copy(path), .bytes = secret_alloc((size_t)info.st_size + 2)};
    ssize_t len = file.bytes == NULL ? -1 : file_read(fd, file.bytes, (size_t)info.st_size);
    file.len = len < 0 ? 0 : (size_t)len;
    incoming->files[incoming->file_count++] = file;
}

static bool take_listener(struct incoming *incoming, const struct plane_listener *message, int fd)
{
    struct incoming_listener *grown = realloc(incoming->listeners, (incoming->listener_count + 1) * sizeof *grown);
    if (grown == NULL)
        return false;
    incoming->listeners = grown;
    incoming->listeners[incoming->listener_count++] =
        (struct incoming_listener){.name = slice_copy(message->name), .worker = message->worker, .fd = fd};
    return true;
}

static struct slice find_file(const struct incoming *incoming, const char *path)
{
    for (size_t i = 0; i < incoming->file_count; i++) {
        if (incoming->files[i].path != NULL && strcmp(incoming->files[i].path, path) == 0)
            return slice_of(incoming->files[i].bytes, incoming->files[i].len);
    }
    return slice_of(NULL, 0);
}

static void gather_files(const struct incoming *incoming, const struct config *config, struct handshake_files *files)
{
    memset(files, 0, sizeof *files);
    for (size_t i = 0; i < config->certificate_count; i++) {
        files->chain[i] = find_file(incoming, config->certificates[i].chain_file);
        files->key[i] = find_file(incoming, config->certificates[i].key_file);
    }
    for (size_t i = 0; i < config->trust_anchor_count; i++)
        files->anchors[i] = find_file(incoming, config->trust_anchors[i].file);
}

// The descriptor for a listener and worker; it is then the caller's.
static int claim_listener(struct incoming *incoming, const char *name, uint32_t worker)
{
    for (size_t i = 0; i < incoming->listener_count; i++) {
        struct incoming_listener *listener = &incoming->listeners[i];
        if (listener->fd >= 0 && listener->worker == worker && listener->name != NULL &&
            strcmp(listener->name, name) == 0) {
            int fd = listener->fd;
            listener->fd = -1;
            return fd;
        }
    }
    return -1;
}

static void *thread_main(void *context)
{
    struct thread *thread = context;
    atomic_store(&thread->result, worker_run(thread->worker));
    allocator_release();
    return NULL;
}

static void pin(const struct thread *thread)
{
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET((size_t)thread->core, &cores);
    if (pthread_setaffinity_np(thread->id, sizeof cores, &cores) != 0)
        log_warning("cannot pin a worker to core %d", thread->core);
}

static void answer(struct data *data, uint64_t generation, int result, const char *text)
{
    const struct plane_message message = {
        .type = PLANE_CONFIG_RESULT,
        .config_result = {.generation = generation, .result = result, .text = slice_text(text)}};
    if (plane_send(data->supervisor_fd, &message, -1) != SAGATE_OK)
        log_error("cannot answer the supervisor");
}

// A snapshot for one worker: its contexts and the sockets that came for it.
static int make_snapshot(struct data *data, const struct config *config, const struct handshake_files *files,
                         uint32_t worker, int *fds, struct worker_snapshot *snapshot, char *error, size_t error_cap)
{
    *snapshot = (struct worker_snapshot){.config = config, .listener_fds = fds};
    int result = handshake_contexts_new(config, files, &snapshot->contexts, error, error_cap);
    if (result != SAGATE_OK)
        return result;
    for (size_t i = 0; i < config->listener_count; i++)
        fds[i] = claim_listener(&data->incoming, config->listeners[i].name, worker);
    return SAGATE_OK;
}

static int start_worker(struct data *data, struct config *config, const struct handshake_files *files, uint32_t index,
                        char *error, size_t error_cap)
{
    struct thread *thread = &data->threads[index];
    struct worker_snapshot snapshot;
    int fds[CONFIG_LISTENERS_MAX];
    int result = make_snapshot(data, config, files, index, fds, &snapshot, error, error_cap);
    if (result != SAGATE_OK)
        return result;
    thread->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    const struct worker_options options = {.index = index,
                                           .driver = &io_uring_driver,
                                           .stats = (struct stats *)(void *)(data->stats + index * data->stats_stride),
                                           .channel_fd = thread->channel_fd,
                                           .wake_fd = thread->wake_fd,
                                           .store_fd = thread->store_fd,
                                           .lock_memory = config->process.lock_memory,
                                           .kernel_tls = data->kernel_tls_used ? &data->kernel_tls : NULL,
                                           .first = index == 0 ? NULL : data->threads[0].worker,
                                           .snapshot = &snapshot};
    result = worker_new(&options, &thread->worker);
    if (result != SAGATE_OK) {
        (void)snprintf(error, error_cap, "worker %u cannot start: %s%s%s", index, sagate_strerror(result),
                       errno != 0 ? ": " : "", errno != 0 ? strerror(errno) : "");
        handshake_contexts_free(snapshot.contexts);
        return result;
    }
    thread->core = config->process.pin_workers ? (int)(index % (uint32_t)sysconf(_SC_NPROCESSORS_ONLN)) : -1;
    return SAGATE_OK;
}

static void warn_of_unlocked(const struct data *data)
{
    for (size_t i = 0; i < data->thread_count; i++) {
        if (!worker_memory_locked(data->threads[i].worker)) {
            log_warning("keys of associations may reach swap space: their memory cannot be locked (LimitMEMLOCK)");
            return;
        }
    }
}

static int link_workers(struct data *data)
{
    for (size_t i = 0; i < data->thread_count; i++)
        data->workers[i] = data->threads[i].worker;
    return worker_link(data->workers, data->thread_count);
}

// Once, before the system call filter: what this kernel can do with TLS.
static void look_at_kernel(struct data *data, const struct config *config)
{
    char text[512];
    if (config->process.kernel_tls == CONFIG_KERNEL_TLS_OFF)
        return;
    data->kernel_tls_used = ktls_probe(&data->kernel_tls);
    if (data->kernel_tls_used)
        ktls_describe(&data->kernel_tls, text, sizeof text);
    else
        (void)snprintf(text, sizeof text, "this kernel offers none (%s)", strerror(errno));
    log_info("kernel TLS: %s", text);
}

static int start(struct data *data, struct config *config, const struct handshake_files *files, char *error,
                 size_t error_cap)
{
    look_at_kernel(data, config);
    for (uint32_t i = 0; i < data->thread_count; i++) {
        int result = start_worker(data, config, files, i, error, error_cap);
        if (result != SAGATE_OK)
            return result;
    }
    data->config = config;
    warn_of_unlocked(data);
    log_info("records: %s", worker_engine(data->threads[0].worker));
    if (link_workers(data) != SAGATE_OK) {
        (void)snprintf(error, error_cap, "out of memory");
        return SAGATE_ENOMEM;
    }
    for (size_t i = 0; i < data->thread_count; i++) {
        if (pthread_create(&data->threads[i].id, NULL, thread_main, &data->threads[i]) != 0) {
            (void)snprintf(error, error_cap, "cannot start a thread");
            return SAGATE_ESYS;
        }
        data->threads[i].started = true;
        // By this thread, since the system call is not among those that workers keep.
        if (data->threads[i].core >= 0)
            pin(&data->threads[i]);
    }
    if (data->lock_down() != 0) {
        (void)snprintf(error, error_cap, "cannot install the system call filter");
        return SAGATE_ESYS;
    }
    return SAGATE_OK;
}

static bool listens_already(const struct config *config, const struct config_listener *wanted)
{
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_listener *listener = &config->listeners[i];
        if (listener->transport == wanted->transport && address_equal(&listener->address, &wanted->address))
            return true;
    }
    return false;
}

// Every listener needs a new socket or one that the worker has: checked before any worker changes anything.
static bool has_sockets(const struct data *data, const struct config *config, const int *fds)
{
    for (size_t i = 0; i < config->listener_count; i++) {
        if (fds[i] < 0 && !listens_already(data->config, &config->listeners[i]))
            return false;
    }
    return true;
}

static void close_all(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
}

// A worker that takes no snapshot takes no packets either, and workers with different configurations are no state to be
// in: a new process is better.
static void wait_for_swap(struct data *data, const struct worker_snapshot *snapshots)
{
    uint64_t deadline = clock_ms() + SWAP_SECONDS * 1000;
    for (size_t i = 0; i < data->thread_count; i++) {
        while (!worker_swapped(data->threads[i].worker)) {
            if (clock_ms() > deadline) {
                log_error("worker %zu does not respond", i);
                abort();
            }
            (void)poll(NULL, 0, 1);
        }
        if (snapshots[i].refused) {
            log_error("worker %zu cannot take the new configuration", i);
            abort();
        }
    }
}

static int reload(struct data *data, struct config *config, const struct handshake_files *files, char *error,
                  size_t error_cap)
{
    static struct worker_snapshot snapshots[CONFIG_WORKERS_MAX];
    static int fds[CONFIG_WORKERS_MAX][CONFIG_LISTENERS_MAX];
    size_t made = 0;
    int result = SAGATE_OK;
    for (; made < data->thread_count && result == SAGATE_OK; made++) {
        result = make_snapshot(data, config, files, (uint32_t)made, fds[made], &snapshots[made], error, error_cap);
        if (result == SAGATE_OK && !has_sockets(data, config, fds[made])) {
            (void)snprintf(error, error_cap, "a worker has no socket for a listener");
            result = SAGATE_ENOTFOUND;
        }
    }
    if (result != SAGATE_OK) {
        for (size_t i = 0; i < made; i++) {
            close_all(fds[i], snapshots[i].contexts == NULL ? 0 : config->listener_count);
            handshake_contexts_free(snapshots[i].contexts);
        }
        return result;
    }
    for (size_t i = 0; i < data->thread_count; i++)
        worker_swap(data->threads[i].worker, &snapshots[i]);
    wait_for_swap(data, snapshots);
    return SAGATE_OK;
}

static void commit(struct data *data)
{
    char error[512] = "";
    struct config *config = NULL;
    struct config_errors errors = {0};
    struct handshake_files files;
    struct incoming *incoming = &data->incoming;
    uint64_t generation = incoming->generation;
    int result = incoming->text == NULL ? SAGATE_EMALFORMED : config_parse(incoming->text, &config, &errors);
    if (result != SAGATE_OK) {
        (void)snprintf(error, sizeof error, "%s", errors.text == NULL ? sagate_strerror(result) : errors.text);
    } else {
        gather_files(incoming, config, &files);
        struct config *old = data->config;
        result = old == NULL ? start(data, config, &files, error, sizeof error)
                             : reload(data, config, &files, error, sizeof error);
        if (result == SAGATE_OK) {
            log_set_level(config->process.log_level);
            data->config = config;
            config_free(old);
        } else if (old != NULL) {
            config_free(config);
        } else {
            data->config = NULL; // what has started of it ends; without the filter nobody is served
        }
    }
    incoming_clear(incoming);
    config_errors_free(&errors);
    answer(data, generation, result, error);
    if (result != SAGATE_OK && data->config == NULL)
        data->ended = true;
}

static void map_stats(struct data *data, uint32_t workers, int fd)
{
    data->stats_stride = (sizeof(struct stats) + PAGE - 1) / PAGE * PAGE;
    data->thread_count = workers;
    void *mapping = mmap(NULL, data->stats_stride * workers, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    data->stats = mapping == MAP_FAILED ? NULL : mapping;
}

static void handle(struct data *data, const struct plane_message *message, int fd)
{
    struct incoming *incoming = &data->incoming;
    switch (message->type) {
    case PLANE_CONFIG_BEGIN:
        incoming_clear(incoming);
        incoming->generation = message->config_begin.generation;
        break;
    case PLANE_CONFIG_TEXT:
        take_text(incoming, fd);
        break;
    case PLANE_CONFIG_FILE:
        take_file(incoming, message->config_file.path, fd);
        break;
    case PLANE_LISTENER:
        if (fd >= 0 && take_listener(incoming, &message->listener, fd))
            return; // keeps the descriptor
        break;
    case PLANE_CHANNEL:
        if (fd >= 0 && message->channel.worker < CONFIG_WORKERS_MAX && data->config == NULL) {
            data->threads[message->channel.worker].channel_fd = fd;
            return;
        }
        break;
    case PLANE_STORE:
        if (fd >= 0 && message->store.worker < CONFIG_WORKERS_MAX &&
            data->threads[message->store.worker].store_fd < 0) {
            data->threads[message->store.worker].store_fd = fd;
            return;
        }
        break;
    case PLANE_QUIT:
        data->keep = message->quit.keep == 1;
        data->ended = true;
        break;
    case PLANE_STATS:
        if (fd >= 0 && data->stats == NULL && message->stats.workers <= CONFIG_WORKERS_MAX)
            map_stats(data, message->stats.workers, fd);
        break;
    case PLANE_CONFIG_COMMIT:
        if (data->stats == NULL || data->thread_count == 0)
            data->ended = true;
        else
            commit(data);
        break;
    default:
        log_error("unexpected message %d from the supervisor", (int)message->type);
        break;
    }
    if (fd >= 0)
        close(fd);
}

static void receive(struct data *data)
{
    static uint8_t buffer[PLANE_MESSAGE_MAX];
    while (!data->ended) {
        struct plane_message message;
        int fd = -1;
        int result = plane_receive(data->supervisor_fd, buffer, &message, &fd);
        if (result == SAGATE_AGAIN)
            return;
        if (result != SAGATE_OK) {
            data->ended = true;
            return;
        }
        handle(data, &message, fd);
    }
}

static void stop(struct data *data)
{
    for (size_t i = 0; i < data->thread_count; i++) {
        struct worker *worker = data->threads[i].worker;
        if (worker != NULL && data->keep)
            worker_stop_keeping(worker);
        else if (worker != NULL)
            worker_stop(worker);
    }
    // As long as one runs it hands datagrams over to the others.
    for (size_t i = 0; i < data->thread_count; i++) {
        if (data->threads[i].started)
            pthread_join(data->threads[i].id, NULL);
    }
    for (size_t i = 0; i < data->thread_count; i++) {
        struct thread *thread = &data->threads[i];
        worker_free(thread->worker);
        if (thread->wake_fd >= 0)
            close(thread->wake_fd);
        if (thread->channel_fd >= 0)
            close(thread->channel_fd);
        if (thread->store_fd >= 0)
            close(thread->store_fd);
    }
    incoming_clear(&data->incoming);
    config_free(data->config);
}

static bool worker_failed(struct data *data)
{
    for (size_t i = 0; i < data->thread_count; i++) {
        int result = atomic_load(&data->threads[i].result);
        if (result < 0) {
            log_error("worker %zu: %s", i, sagate_strerror(result));
            return true;
        }
    }
    return false;
}

int data_main(int supervisor_fd, int (*lock_down)(void))
{
    static struct data data;
    allocator_install();
    data.supervisor_fd = supervisor_fd;
    data.lock_down = lock_down;
    for (size_t i = 0; i < CONFIG_WORKERS_MAX; i++)
        data.threads[i].channel_fd = data.threads[i].wake_fd = data.threads[i].store_fd = -1;
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); // before threads, which inherit it
    data.signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    bool failed = false;
    while (!data.ended && !failed) {
        struct pollfd polls[] = {{.fd = supervisor_fd, .events = POLLIN}, {.fd = data.signal_fd, .events = POLLIN}};
        if (poll(polls, 2, 1000) < 0 && errno != EINTR)
            break;
        struct signalfd_siginfo info;
        if ((polls[1].revents & POLLIN) != 0 && read(data.signal_fd, &info, sizeof info) == (ssize_t)sizeof info &&
            info.ssi_signo == SIGTERM)
            break;
        if (polls[0].revents != 0)
            receive(&data);
        failed = worker_failed(&data);
    }
    failed = failed || data.config == NULL;
    data.keep = data.keep || failed;
    stop(&data);
    close(data.signal_fd);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
