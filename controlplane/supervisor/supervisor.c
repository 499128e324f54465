// The supervisor's loop: children, signals, reloads.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/supervisor/supervisor.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "common/stats.h"
#include "controlplane/supervisor/handover.h"
#include "controlplane/supervisor/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    RESTART_FAST_MS = 5000, // a child that lived shorter is started again only after a while
    RESTART_WAIT_MS = 500,
    STOP_MS = 10000,
    RELOAD_MS = 20000,
    PAGE = 4096,
};

static void spawn(struct supervisor *supervisor, struct child *child)
{
    int pair[2];
    if (plane_pair(pair) != SAGATE_OK) {
        log_error("cannot make a socket pair: %s", strerror(errno));
        return;
    }
    pid_t pid = fork();
    if (pid < 0) {
        log_error("cannot start the %s process: %s", child->role, strerror(errno));
        close(pair[0]);
        close(pair[1]);
        return;
    }
    if (pid == 0) {
        char role[32];
        char user[128];
        (void)snprintf(role, sizeof role, "--role=%s", child->role);
        (void)snprintf(user, sizeof user, "--user=%s", child->user);
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        if (dup2(pair[1], SUPERVISOR_CHILD_FD) < 0)
            _exit(EXIT_FAILURE);
        if (pair[1] == SUPERVISOR_CHILD_FD)
            (void)fcntl(SUPERVISOR_CHILD_FD, F_SETFD, 0);
        // Every other descriptor is close-on-exec. The program is started anew so that nothing of the supervisor's
        // memory is left in the child.
        execl("/proc/self/exe", "sagate", role, user, (char *)NULL);
        _exit(EXIT_FAILURE);
    }
    close(pair[1]);
    child->pid = pid;
    child->fd = pair[0];
    child->started_ms = clock_ms();
    child->ready = false;
    (void)handover_config(supervisor, child, supervisor->config, &supervisor->sockets, true);
}

static void tell_processes(struct supervisor *supervisor)
{
    struct child *control = &supervisor->children[CHILD_CONTROL];
    struct child *data = &supervisor->children[CHILD_DATA];
    if (control->pid == 0)
        return;
    const struct plane_message message = {.type = PLANE_PROCESSES,
                                          .processes = {.supervisor = getpid(),
                                                        .control = control->pid,
                                                        .data = data->pid,
                                                        .control_restarts = control->restarts,
                                                        .data_restarts = data->restarts}};
    (void)plane_send(control->fd, &message, -1);
}

static void describe_exit(const struct child *child, int status)
{
    if (WIFSIGNALED(status))
        log_error("the %s process (%d) was ended by signal %d", child->role, (int)child->pid, WTERMSIG(status));
    else
        log_error("the %s process (%d) ended with status %d", child->role, (int)child->pid, WEXITSTATUS(status));
}

static void reload_finish(struct supervisor *supervisor, int result, const char *text);

static void reap(struct supervisor *supervisor)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (size_t i = 0; i < CHILD_COUNT; i++) {
            struct child *child = &supervisor->children[i];
            if (child->pid != pid)
                continue;
            bool clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
            if (!supervisor->stopping || !clean)
                describe_exit(child, status);
            if (!clean && supervisor->stopping)
                supervisor->failed = true;
            close(child->fd);
            child->fd = -1;
            child->pid = 0;
            bool was_ready = child->ready;
            uint64_t lived = clock_ms() - child->started_ms;
            child->start_at_ms = clock_ms() + (lived < RESTART_FAST_MS && child->restarts > 0 ? RESTART_WAIT_MS : 0);
            if (supervisor->stopping)
                continue;
            if (!was_ready && !supervisor->once_ready) {
                // What fails at the first start fails for a reason that a restart does not change.
                supervisor->stopping = supervisor->failed = true;
                continue;
            }
            child->restarts++;
            if (supervisor->reload.active)
                reload_finish(supervisor, SAGATE_EGONE, "a process ended during the reload");
        }
    }
}

static void start_due(struct supervisor *supervisor)
{
    for (size_t i = 0; i < CHILD_COUNT && !supervisor->stopping; i++) {
        struct child *child = &supervisor->children[i];
        if (child->pid != 0 || clock_ms() < child->start_at_ms)
            continue;
        spawn(supervisor, child);
        log_info("the %s process is %d", child->role, (int)child->pid);
        tell_processes(supervisor);
    }
}

static void reload_finish(struct supervisor *supervisor, int result, const char *text)
{
    struct reload *reload = &supervisor->reload;
    if (result == SAGATE_OK) {
        handover_mark_sent(&reload->sockets);
        sockets_close(&supervisor->sockets, &reload->sockets);
        supervisor->sockets = reload->sockets;
        config_free(supervisor->config);
        supervisor->config = reload->config;
        log_set_level(supervisor->config->process.log_level);
        log_info("reload %llu: the new configuration is in use%s%s", (unsigned long long)supervisor->generation,
                 text[0] == '\0' ? "" : "; ", text);
    } else {
        sockets_close(&reload->sockets, &supervisor->sockets);
        config_free(reload->config);
        log_error("reload: the old configuration stays in use: %s", text);
    }
    if (reload->ticket != 0 && supervisor->children[CHILD_CONTROL].fd >= 0) {
        const struct plane_message message = {
            .type = PLANE_RELOAD_RESULT,
            .reload_result = {.ticket = reload->ticket, .result = result, .text = slice_text(text)}};
        (void)plane_send(supervisor->children[CHILD_CONTROL].fd, &message, -1);
    }
    *reload = (struct reload){0};
}

// What only a restart can change keeps its value; says so.
static void keep_fixed(struct supervisor *supervisor, const struct config *next, char *note, size_t note_cap)
{
    const struct config_process *now = &supervisor->config->process;
    note[0] = '\0';
    if (next->process.workers != now->workers || strcmp(next->process.user, now->user) != 0 ||
        strcmp(next->process.control_user, now->control_user) != 0 ||
        strcmp(next->process.state_directory, now->state_directory) != 0 ||
        next->limits.associations != supervisor->config->limits.associations)
        (void)snprintf(note, note_cap,
                       "changes of process.workers, user, control_user, state_directory and limits.associations take "
                       "effect at the next start");
}

static void reload_begin(struct supervisor *supervisor, uint64_t ticket)
{
    struct reload *reload = &supervisor->reload;
    char error[4096] = "";
    if (reload->active) {
        supervisor->reload_again = true;
        return;
    }
    *reload = (struct reload){.active = true, .ticket = ticket, .deadline_ms = clock_ms() + RELOAD_MS};
    sockets_init(&reload->sockets, supervisor->sockets.workers);
    int result = handover_load(supervisor->config_path, &reload->config, error, sizeof error);
    if (result == SAGATE_OK)
        result = sockets_open(reload->config, &supervisor->sockets, &reload->sockets, error, sizeof error);
    if (result == SAGATE_OK && supervisor->children[CHILD_DATA].fd < 0) {
        result = SAGATE_EGONE;
        (void)snprintf(error, sizeof error, "the data process is being started");
    }
    if (result != SAGATE_OK) {
        reload_finish(supervisor, result, error);
        return;
    }
    keep_fixed(supervisor, reload->config, reload->note, sizeof reload->note);
    supervisor->generation++;
    // First the data process, which may still find a certificate unusable; control then only follows.
    (void)handover_config(supervisor, &supervisor->children[CHILD_DATA], reload->config, &reload->sockets, false);
}

static void on_config_result(struct supervisor *supervisor, struct child *child,
                             const struct plane_config_result *result)
{
    char text[4096];
    (void)snprintf(text, sizeof text, "%.*s", (int)result->text.len, (const char *)result->text.data);
    if (!supervisor->reload.active || !child->ready) {
        if (result->result != 0) {
            log_error("%s: %s", child->role, text);
            return;
        }
        child->ready = true;
        bool all = supervisor->children[CHILD_CONTROL].ready && supervisor->children[CHILD_DATA].ready;
        if (all && !supervisor->once_ready) {
            supervisor->once_ready = true;
            log_info("ready: version %s, %zu listeners, %u workers", SAGATE_VERSION, supervisor->config->listener_count,
                     supervisor->sockets.workers);
        }
        return;
    }
    if (result->result != 0) {
        reload_finish(supervisor, result->result, text);
    } else if (child == &supervisor->children[CHILD_DATA] && supervisor->children[CHILD_CONTROL].fd >= 0) {
        (void)handover_config(supervisor, &supervisor->children[CHILD_CONTROL], supervisor->reload.config,
                              &supervisor->reload.sockets, false);
    } else {
        char note[sizeof supervisor->reload.note];
        memcpy(note, supervisor->reload.note, sizeof note);
        reload_finish(supervisor, SAGATE_OK, note);
    }
}

static void receive(struct supervisor *supervisor, struct child *child)
{
    static uint8_t buffer[PLANE_MESSAGE_MAX];
    struct plane_message message;
    int fd = -1;
    while (child->fd >= 0 && plane_receive(child->fd, buffer, &message, &fd) == SAGATE_OK) {
        if (fd >= 0)
            close(fd);
        if (message.type == PLANE_CONFIG_RESULT)
            on_config_result(supervisor, child, &message.config_result);
        else if (message.type == PLANE_RELOAD && child == &supervisor->children[CHILD_CONTROL])
            reload_begin(supervisor, message.reload.ticket);
        else
            log_error("unexpected message %d from the %s process", (int)message.type, child->role);
    }
}

static void begin_stop(struct supervisor *supervisor)
{
    supervisor->stopping = true;
    supervisor->stop_at_ms = clock_ms() + STOP_MS;
    for (size_t i = 0; i < CHILD_COUNT; i++) {
        if (supervisor->children[i].pid != 0)
            (void)kill(supervisor->children[i].pid, SIGTERM);
    }
}

static void on_signal(struct supervisor *supervisor)
{
    struct signalfd_siginfo info;
    while (read(supervisor->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        switch (info.ssi_signo) {
        case SIGCHLD:
            reap(supervisor);
            break;
        case SIGHUP:
            reload_begin(supervisor, 0);
            break;
        default:
            if (!supervisor->stopping)
                begin_stop(supervisor);
            break;
        }
    }
}

static bool children_left(const struct supervisor *supervisor)
{
    return supervisor->children[CHILD_CONTROL].pid != 0 || supervisor->children[CHILD_DATA].pid != 0;
}

static void loop(struct supervisor *supervisor)
{
    while (!supervisor->stopping || children_left(supervisor)) {
        start_due(supervisor);
        struct pollfd polls[CHILD_COUNT + 1] = {{.fd = supervisor->signal_fd, .events = POLLIN}};
        for (size_t i = 0; i < CHILD_COUNT; i++) {
            // A closed socket stays readable until SIGCHLD tells which child it was.
            polls[i + 1] = (struct pollfd){.fd = supervisor->children[i].fd, .events = POLLIN};
        }
        if (poll(polls, CHILD_COUNT + 1, 100) < 0 && errno != EINTR)
            break;
        on_signal(supervisor);
        for (size_t i = 0; i < CHILD_COUNT; i++) {
            if ((polls[i + 1].revents & POLLIN) != 0)
                receive(supervisor, &supervisor->children[i]);
        }
        reap(supervisor);
        if (supervisor->stopping && supervisor->stop_at_ms == 0)
            begin_stop(supervisor);
        if (supervisor->stopping && clock_ms() > supervisor->stop_at_ms) {
            for (size_t i = 0; i < CHILD_COUNT; i++) {
                if (supervisor->children[i].pid != 0)
                    (void)kill(supervisor->children[i].pid, SIGKILL);
            }
        }
        if (supervisor->reload.active && clock_ms() > supervisor->reload.deadline_ms)
            reload_finish(supervisor, SAGATE_ETIMEOUT, "no answer in time");
        if (supervisor->reload_again && !supervisor->reload.active) {
            supervisor->reload_again = false;
            reload_begin(supervisor, 0);
        }
    }
}

static int make_shared(struct supervisor *supervisor)
{
    unsigned workers = supervisor->sockets.workers;
    size_t stride = (sizeof(struct stats) + PAGE - 1) / PAGE * PAGE;
    supervisor->stats_fd = memfd_create("sagate-stats", MFD_CLOEXEC);
    if (supervisor->stats_fd < 0 || ftruncate(supervisor->stats_fd, (off_t)(stride * workers)) != 0)
        return SAGATE_ESYS;
    for (unsigned i = 0; i < workers; i++) {
        // Both ends stay here, so that messages wait while one of the processes is being replaced.
        if (plane_pair(supervisor->channels[i]) != SAGATE_OK)
            return SAGATE_ESYS;
    }
    return SAGATE_OK;
}

static int catch_signals(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    static const int caught[] = {SIGCHLD, SIGHUP, SIGTERM, SIGINT};
    for (size_t i = 0; i < sizeof caught / sizeof *caught; i++)
        sigaddset(&signals, caught[i]);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void release(struct supervisor *supervisor)
{
    sockets_close(&supervisor->sockets, NULL);
    for (unsigned i = 0; i < CONFIG_WORKERS_MAX; i++) {
        for (int j = 0; j < 2; j++) {
            if (supervisor->channels[i][j] > 0)
                close(supervisor->channels[i][j]);
        }
    }
    if (supervisor->stats_fd >= 0)
        close(supervisor->stats_fd);
    close(supervisor->signal_fd);
    config_free(supervisor->config);
}

int supervisor_run(const char *config_path)
{
    static struct supervisor supervisor;
    char error[8192] = "";
    supervisor.config_path = config_path;
    supervisor.stats_fd = -1;
    supervisor.children[CHILD_CONTROL] = (struct child){.role = "control", .fd = -1};
    supervisor.children[CHILD_DATA] = (struct child){.role = "data", .fd = -1};
    if (handover_load(config_path, &supervisor.config, error, sizeof error) != SAGATE_OK) {
        (void)fprintf(stderr, "%s\n", error);
        return EXIT_FAILURE;
    }
    log_set_level(supervisor.config->process.log_level);
    supervisor.signal_fd = catch_signals();
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    struct sockets none;
    sockets_init(&none, supervisor.config->process.workers);
    int result = handover_directories(supervisor.config, error, sizeof error);
    if (result == SAGATE_OK)
        result = sockets_open(supervisor.config, &none, &supervisor.sockets, error, sizeof error);
    else
        sockets_init(&supervisor.sockets, 0);
    if (result == SAGATE_OK && make_shared(&supervisor) != SAGATE_OK) {
        result = SAGATE_ESYS;
        (void)snprintf(error, sizeof error, "cannot make shared memory: %s", strerror(errno));
    }
    if (result != SAGATE_OK) {
        (void)fprintf(stderr, "sagate: %s\n", error);
        release(&supervisor);
        return EXIT_FAILURE;
    }
    supervisor.children[CHILD_CONTROL].user = strdup(supervisor.config->process.control_user);
    supervisor.children[CHILD_DATA].user = strdup(supervisor.config->process.user);
    loop(&supervisor);
    free(supervisor.children[CHILD_CONTROL].user);
    free(supervisor.children[CHILD_DATA].user);
    release(&supervisor);
    return supervisor.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int supervisor_check(const char *config_path)
{
    char error[8192] = "";
    struct config *config = NULL;
    if (handover_load(config_path, &config, error, sizeof error) != SAGATE_OK) {
        (void)fprintf(stderr, "%s\n", error);
        return EXIT_FAILURE;
    }
    char *text = config_describe(config);
    printf("%s", text == NULL ? "" : text);
    free(text);
    config_free(config);
    return EXIT_SUCCESS;
}
