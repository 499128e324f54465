// What the supervisor sends. A configuration is gathered, checked whole, and only then takes the place of the old one.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/control/configure.h"

#include "common/error.h"
#include "common/file.h"
#include "common/log.h"
#include "common/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONFIG_BYTES_MAX = 64 << 20, RESULT_TEXT_MAX = 32 * 1024, RESULT_WAIT_MS = 1000 };

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

// Takes the descriptor out of where it stands.
static int take_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

void configure_discard(struct control *control)
{
    struct pending *pending = &control->pending;
    config_free(pending->config);
    config_errors_free(&pending->errors);
    for (size_t i = 0; i < pending->file_count; i++) {
        free(pending->files[i].path);
        close_fd(&pending->files[i].fd);
    }
    close_fd(&pending->control_fd);
    close_fd(&pending->metrics_fd);
    *pending = (struct pending){.control_fd = -1, .metrics_fd = -1};
}

__attribute__((format(printf, 2, 3))) static void complain(struct config_errors *errors, const char *format, ...)
{
    char *line = NULL;
    va_list arguments;
    va_start(arguments, format);
    int len = vasprintf(&line, format, arguments);
    va_end(arguments);
    if (len < 0)
        return;
    char *text = NULL;
    if (asprintf(&text, "%s%s%s", errors->text == NULL ? "" : errors->text, errors->text == NULL ? "" : "\n", line) >=
        0) {
        free(errors->text);
        errors->text = text;
        errors->count++;
    }
    free(line);
}

// The whole content of a descriptor with a NUL behind it, to wipe and free; NULL when it is too large, cannot be read,
// or memory is short.
static char *read_text(int fd, size_t *len)
{
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0 || status.st_size < 0 || status.st_size > CONFIG_BYTES_MAX)
        return NULL;
    size_t cap = (size_t)status.st_size;
    char *text = malloc(cap + 1);
    ssize_t got = text == NULL ? -1 : file_read(fd, text, cap);
    if (got < 0) {
        if (text != NULL)
            secret_zero(text, cap);
        free(text);
        return NULL;
    }
    text[got] = '\0';
    *len = (size_t)got;
    return text;
}

static void take_text(struct pending *pending, int fd)
{
    size_t len = 0;
    char *text = read_text(fd, &len);
    if (text == NULL) {
        pending->config_result = SAGATE_ESYS;
        complain(&pending->errors, "the supervisor's configuration cannot be read");
        return;
    }
    config_free(pending->config);
    pending->config = NULL;
    pending->config_result = config_parse(text, &pending->config, &pending->errors);
    secret_zero(text, len); // credentials towards CSEs may stand in it
    free(text);
}

static void take_file(struct pending *pending, struct slice path, int *fd)
{
    if (*fd < 0 || pending->file_count == PENDING_FILES_MAX)
        return;
    char *copy = slice_copy(path);
    if (copy == NULL)
        return;
    pending->files[pending->file_count].path = copy;
    pending->files[pending->file_count++].fd = take_fd(fd);
}

static void take_stats(struct control *control, unsigned workers, int fd)
{
    struct stat status;
    size_t len = (size_t)workers * (size_t)METRICS_STRIDE;
    const void *stats = MAP_FAILED;
    if (workers > 0 && workers <= CONFIG_WORKERS_MAX && fd >= 0 && fstat(fd, &status) == 0 &&
        (size_t)status.st_size >= len)
        stats = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
    if (stats == MAP_FAILED) {
        log_error("control: shared counters for %u workers cannot be mapped", workers);
        return;
    }
    if (control->stats != NULL)
        (void)munmap((void *)(uintptr_t)control->stats, control->stats_len);
    control->stats = stats;
    control->stats_len = len;
    control->stats_workers = workers;
}

int configure_open_file(struct control *control, const char *path)
{
    const struct pending *pending = &control->pending;
    for (size_t i = 0; i < pending->file_count; i++) {
        if (strcmp(pending->files[i].path, path) != 0)
            continue;
        int fd = fcntl(pending->files[i].fd, F_DUPFD_CLOEXEC, 0);
        if (fd >= 0 && lseek(fd, 0, SEEK_SET) != 0)
            close_fd(&fd);
        return fd;
    }
    errno = ENOENT;
    return -1;
}

// The operator's credentials, from the file that the supervisor opened. An empty set when none is configured.
static int read_file(struct control *control, struct credentials **out)
{
    struct pending *pending = &control->pending;
    const char *path = pending->config->credentials_file;
    if (path[0] == '\0') {
        *out = credentials_new(false);
        return *out == NULL ? SAGATE_ENOMEM : SAGATE_OK;
    }
    int fd = configure_open_file(control, path);
    if (fd < 0) {
        complain(&pending->errors, "%s: the supervisor has not handed over this credentials file", path);
        return SAGATE_ECONFIG;
    }
    int result = credentials_read(fd, path, geteuid(), out, &pending->errors);
    close(fd);
    return result;
}

static int read_run_time(struct control *control, struct config_errors *errors)
{
    int fd = open(control->run_time_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT) {
        control->run_time = credentials_new(false);
        return control->run_time == NULL ? SAGATE_ENOMEM : SAGATE_OK;
    }
    if (fd < 0) {
        complain(errors, "%s: %s", control->run_time_path, strerror(errno));
        return SAGATE_ESYS;
    }
    int result = credentials_read(fd, control->run_time_path, geteuid(), &control->run_time, errors);
    close(fd);
    return result;
}

// What is opened once, with the first configuration.
static int open_state(struct control *control)
{
    struct pending *pending = &control->pending;
    const char *folder = pending->config->process.state_directory;
    char *path = NULL;
    char problem[256];
    int result = SAGATE_OK;
    if (control->registrations == NULL) {
        if (asprintf(&path, "%s/registrations.db", folder) < 0)
            return SAGATE_ENOMEM;
        result = registrations_open(path, &control->registrations, problem, sizeof problem);
        free(path);
        if (result < 0) {
            complain(&pending->errors, "%s", problem);
            return result;
        }
    }
    if (control->run_time == NULL) {
        free(control->run_time_path);
        control->run_time_path = NULL;
        if (asprintf(&control->run_time_path, "%s/credentials.conf", folder) < 0)
            return SAGATE_ENOMEM;
        result = read_run_time(control, &pending->errors);
    }
    if (result == SAGATE_OK && control->resolver == NULL)
        control->resolver = resolver_new(control->registrations, &control->resolver_events);
    return result == SAGATE_OK && control->resolver == NULL ? SAGATE_ENOMEM : result;
}

// After a first configuration that failed: the next may name another folder.
static void close_state(struct control *control)
{
    resolver_free(control->resolver);
    registrations_close(control->registrations);
    credentials_free(control->run_time);
    control->resolver = NULL;
    control->registrations = NULL;
    control->run_time = NULL;
}

static void take_sockets(struct control *control)
{
    struct pending *pending = &control->pending;
    if (pending->control_fd >= 0 && control_socket_listen(control->socket, take_fd(&pending->control_fd)) != SAGATE_OK)
        log_error("control: cannot listen on the control socket");
    if (pending->metrics_fd >= 0 || pending->config->metrics.len == 0) {
        if (metrics_http_listen(control->metrics, take_fd(&pending->metrics_fd)) != SAGATE_OK)
            log_error("control: cannot listen for metrics");
    }
}

// Whether a configuration came that may take the place of the one in force.
static int check_text(struct control *control)
{
    struct pending *pending = &control->pending;
    if (pending->config == NULL) {
        if (pending->errors.count == 0)
            complain(&pending->errors, "no configuration came before its commit");
        return pending->config_result < 0 ? pending->config_result : SAGATE_ECONFIG;
    }
    if (control->config != NULL &&
        strcmp(control->config->process.state_directory, pending->config->process.state_directory) != 0) {
        complain(&pending->errors, "setting 'process.state_directory' cannot change by a reload; restart sagate");
        return SAGATE_ECONFIG;
    }
    return SAGATE_OK;
}

static void warn(const struct control *control)
{
    if (!control->running && secret_unlocked_bytes() > 0)
        log_warning("control: %zu bytes of key memory could not be locked; raise the limit for locked memory "
                    "(LimitMEMLOCK)",
                    secret_unlocked_bytes());
    if (control->file->short_keys > 0)
        log_warning("control: %zu credentials have keys shorter than %d bytes, which are for tests only",
                    control->file->short_keys, CREDENTIALS_KEY_SHORT);
}

static int prepare_tefs(struct control *control, bool check_only)
{
    char why[TEFS_ERROR_MAX];
    int result = tefs_prepare(control->tefs, control->pending.config, check_only, why);
    if (result < 0)
        complain(&control->pending.errors, "tefs: %s", why);
    return result;
}

// Whether apply would succeed, as far as that can be known before it is done.
static int check(struct control *control)
{
    struct pending *pending = &control->pending;
    struct credentials *file = NULL;
    char problem[256];
    int result = check_text(control);
    if (result == SAGATE_OK && !control->running) {
        complain(&pending->errors, "there is no configuration yet that a check could leave in force");
        result = SAGATE_EINVAL;
    }
    if (result == SAGATE_OK)
        result = read_file(control, &file);
    if (result == SAGATE_OK) {
        result = resolver_check(control->resolver, file, control->run_time, problem, sizeof problem);
        if (result < 0)
            complain(&pending->errors, "%s", problem);
    }
    if (result == SAGATE_OK) {
        result = prepare_tefs(control, true);
        tefs_discard(control->tefs);
    }
    credentials_free(file);
    return result;
}

static int apply(struct control *control)
{
    struct pending *pending = &control->pending;
    struct credentials *file = NULL;
    char problem[256];
    int result = check_text(control);
    if (result == SAGATE_OK)
        result = read_file(control, &file);
    if (result == SAGATE_OK)
        result = open_state(control);
    if (result == SAGATE_OK)
        result = prepare_tefs(control, false);
    if (result == SAGATE_OK) {
        result = resolver_apply(control->resolver, file, control->run_time, problem, sizeof problem);
        if (result < 0)
            complain(&pending->errors, "%s", problem);
    }
    if (result < 0) {
        tefs_discard(control->tefs);
        if (!control->running)
            close_state(control);
        credentials_free(file);
        return result;
    }
    credentials_free(control->file);
    control->file = file;
    resolving_apply(control);
    take_sockets(control);
    config_free(control->config);
    control->config = pending->config;
    pending->config = NULL;
    control->generation = pending->generation;
    // A level by command holds until the next reload, even if the process that took the command is gone.
    if (control->running || !control->log_level_set) {
        log_set_level(control->config->process.log_level);
        control->log_level_set = false;
    }
    warn(control);
    return SAGATE_OK;
}

static void send_result(struct control *control, uint64_t generation, int result)
{
    const char *text = control->pending.errors.text != NULL ? control->pending.errors.text
                       : result < 0                         ? sagate_strerror(result)
                                                            : "";
    size_t len = strlen(text);
    struct plane_message message = {
        .type = PLANE_CONFIG_RESULT,
        .config_result = {.generation = generation,
                          .result = result,
                          .text = slice_of(text, len < RESULT_TEXT_MAX ? len : RESULT_TEXT_MAX)}};
    int sent = plane_send(control->supervisor_fd, &message, -1);
    if (sent == SAGATE_AGAIN) {
        struct pollfd wait = {.fd = control->supervisor_fd, .events = POLLOUT};
        (void)poll(&wait, 1, RESULT_WAIT_MS);
        sent = plane_send(control->supervisor_fd, &message, -1);
    }
    if (sent != SAGATE_OK)
        log_error("control: the supervisor does not take the answer to a configuration");
}

static void commit(struct control *control, uint64_t generation, bool check_only)
{
    struct pending *pending = &control->pending;
    bool first = !control->running;
    int result;
    if (!pending->begun || pending->generation != generation) {
        complain(&pending->errors, "configuration %llu was not begun", (unsigned long long)generation);
        result = SAGATE_ECONFIG;
    } else {
        result = check_only ? check(control) : apply(control);
    }
    if (result == SAGATE_OK && !check_only) {
        control->reloads++;
        control->running = true;
        workers_set_count(control->workers, control->config->process.workers);
        if (first)
            workers_start(control->workers);
        else
            control_send_sets(control);
        control_schedule_expiry(control);
    } else if (result != SAGATE_OK) {
        control->reloads_failed++;
    }
    send_result(control, generation, result);
    configure_discard(control);
}

static void take_socket(struct pending *pending, struct slice name, int *fd)
{
    int *place = slice_is(name, "control")   ? &pending->control_fd
                 : slice_is(name, "metrics") ? &pending->metrics_fd
                                             : NULL;
    if (place == NULL || *fd < 0)
        return;
    close_fd(place);
    *place = take_fd(fd);
}

static void take_processes(struct control *control, const struct plane_processes *processes)
{
    bool replaced = control->processes_known && control->processes.data != processes->data;
    control->processes = *processes;
    (void)snprintf(control->data_version, sizeof control->data_version, "%.*s", (int)processes->data_version.len,
                   (const char *)processes->data_version.data);
    control->processes.data_version = slice_text(control->data_version);
    control->processes_known = true;
    if (replaced)
        workers_probe(control->workers);
}

// What the control process before this one was ordered.
static void take_state(struct control *control, const struct plane_state *state)
{
    control->draining = state->drain == 1;
    control->log_level_set = state->log_level_set == 1 && state->log_level <= LOG_LEVEL_DEBUG;
    if (control->log_level_set)
        log_set_level((enum log_level)state->log_level);
}

// Takes `*fd` out when it is used.
static void take_message(struct control *control, const struct plane_message *message, int *fd)
{
    struct pending *pending = &control->pending;
    switch (message->type) {
    case PLANE_CONFIG_BEGIN:
        configure_discard(control);
        pending->begun = true;
        pending->generation = message->config_begin.generation;
        break;
    case PLANE_CONFIG_TEXT:
        take_text(pending, *fd);
        break;
    case PLANE_CONFIG_FILE:
        take_file(pending, message->config_file.path, fd);
        break;
    case PLANE_CHANNEL:
        if (*fd >= 0 && workers_set_channel(control->workers, message->channel.worker, take_fd(fd)) != SAGATE_OK)
            log_error("control: no channel to worker %u", message->channel.worker);
        break;
    case PLANE_STATS:
        take_stats(control, message->stats.workers, *fd);
        break;
    case PLANE_SOCKET:
        take_socket(pending, message->socket.name, fd);
        break;
    case PLANE_CONFIG_COMMIT:
        commit(control, message->config_commit.generation, message->config_commit.check_only == 1);
        break;
    case PLANE_RELOAD_RESULT:
        operations_reload_result(control, &message->reload_result);
        break;
    case PLANE_UPGRADE_RESULT:
        operations_upgrade_result(control, &message->upgrade_result);
        break;
    case PLANE_PROCESSES:
        take_processes(control, &message->processes);
        break;
    case PLANE_STATE:
        take_state(control, &message->state);
        break;
    default:
        log_warning("control: message of type %d from the supervisor is not one for control", (int)message->type);
    }
}

void configure_on_supervisor(evutil_socket_t fd, short what, void *context)
{
    struct control *control = context;
    (void)what;
    for (;;) {
        struct plane_message message;
        int received_fd;
        int result = plane_receive((int)fd, control->supervisor_buffer, &message, &received_fd);
        if (result == SAGATE_AGAIN)
            return;
        if (result == SAGATE_EMALFORMED) {
            log_error("control: malformed message from the supervisor");
            continue;
        }
        if (result != SAGATE_OK) {
            (void)event_base_loopbreak(control->base);
            return;
        }
        take_message(control, &message, &received_fd);
        close_fd(&received_fd);
    }
}
