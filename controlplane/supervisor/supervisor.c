// The supervisor's loop: children and signals.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/supervisor/supervisor.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "controlplane/supervisor/handover.h"
#include "controlplane/supervisor/internal.h"
#include "controlplane/supervisor/reload.h"
#include "controlplane/supervisor/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    RESTART_FAST_MS = 5000, // a child that lived shorter is started again only after a while
    RESTART_WAIT_MS = 500,  // which doubles each time,
    RESTART_DOUBLINGS = 4,  // to 8 s
    CRASHES_MAX = 3,        // of short-lived data processes in a row, until what they have in common is given up
    STOP_MS = 10000,
};

static void note_start(struct supervisor *supervisor)
{
    supervisor->data_started = clock_wall();
    supervisor->resumed_before = memory_sum(&supervisor->memory, STAT_ASSOCIATIONS_RESUMED);
    supervisor->lost_before = memory_sum(&supervisor->memory, STAT_ASSOCIATIONS_LOST);
}

// The control process does not hold up workers: it gets what they leave of the cores that they are on, and stays away
// from these where there are others. In the child, before it is another user.
static void give_way(const struct config_process *process)
{
    cpu_set_t cores;
    if (setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + (int)process->control_nice) != 0 ||
        !process->pin_workers || sched_getaffinity(0, sizeof cores, &cores) != 0)
        return;
    for (unsigned i = 0; i < process->workers; i++)
        CPU_CLR(i % (unsigned)sysconf(_SC_NPROCESSORS_ONLN), &cores);
    if (CPU_COUNT(&cores) > 0)
        (void)sched_setaffinity(0, sizeof cores, &cores);
}

static void spawn(struct supervisor *supervisor, struct child *child)
{
    int pair[2];
    bool data = child == &supervisor->children[CHILD_DATA];
    char program[64] = "/proc/self/exe";
    if (data && supervisor->data_program.fd >= 0)
        (void)snprintf(program, sizeof program, "/proc/self/fd/%d", supervisor->data_program.fd);
    if (data)
        note_start(supervisor);
    child->start_at_ms = clock_ms() + RESTART_WAIT_MS; // should it not succeed
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
        if (!data)
            give_way(&supervisor->now->config->process);
        if (dup2(pair[1], SUPERVISOR_CHILD_FD) < 0)
            _exit(EXIT_FAILURE);
        if (pair[1] == SUPERVISOR_CHILD_FD)
            (void)fcntl(SUPERVISOR_CHILD_FD, F_SETFD, 0);
        // Every other descriptor is close-on-exec. The program is started anew so that nothing of the supervisor's
        // memory is left in the child.
        execl(program, "sagate", role, user, (char *)NULL);
        _exit(EXIT_FAILURE);
    }
    close(pair[1]);
    child->pid = pid;
    child->fd = pair[0];
    child->started_ms = clock_ms();
    child->ready = false;
    child->control_socket = child->metrics_socket = -1;
    bool behind = child == &supervisor->children[CHILD_CONTROL] && supervisor->before != NULL;
    log_info("the %s process is %d", child->role, (int)pid);
    if (handover_config(supervisor, child, behind ? supervisor->before : supervisor->now, true, false) != SAGATE_OK)
        (void)kill(pid, SIGKILL);
}

static void tell_processes(struct supervisor *supervisor)
{
    struct child *control = &supervisor->children[CHILD_CONTROL];
    struct child *data = &supervisor->children[CHILD_DATA];
    if (control->pid == 0)
        return;
    const struct memory *memory = &supervisor->memory;
    const struct plane_message message = {
        .type = PLANE_PROCESSES,
        .processes = {.supervisor = getpid(),
                      .control = control->pid,
                      .data = data->pid,
                      .control_restarts = control->restarts,
                      .data_restarts = data->restarts,
                      .data_started = supervisor->data_started,
                      .data_resumed = memory_sum(memory, STAT_ASSOCIATIONS_RESUMED) - supervisor->resumed_before,
                      .data_lost = memory_sum(memory, STAT_ASSOCIATIONS_LOST) - supervisor->lost_before,
                      .data_version = slice_text(supervisor->data_program.build.version)}};
    (void)plane_send(control->fd, &message, -1);
}

static void describe_exit(const struct child *child, int status)
{
    if (WIFSIGNALED(status))
        log_error("the %s process (%d) was ended by signal %d", child->role, (int)child->pid, WTERMSIG(status));
    else
        log_error("the %s process (%d) ended with status %d", child->role, (int)child->pid, WEXITSTATUS(status));
}

static void receive(struct supervisor *supervisor, struct child *child);

// When a child that has ended is started again: at once, but after a while if it keeps ending soon.
static void schedule_restart(struct child *child)
{
    uint64_t now = clock_ms();
    if (now - child->started_ms >= RESTART_FAST_MS)
        child->early_ends = 0;
    uint32_t doublings = child->early_ends == 0 ? 0 : child->early_ends - 1;
    if (doublings > RESTART_DOUBLINGS)
        doublings = RESTART_DOUBLINGS;
    child->start_at_ms = now + (child->early_ends == 0 ? 0 : (uint64_t)RESTART_WAIT_MS << doublings);
    child->early_ends++;
    child->restarts++;
}

// What several data processes died of in a row may be what they have in common: the associations that they found, or a
// program that was put in place by an upgrade.
static void count_crash(struct supervisor *supervisor, struct child *child, int status)
{
    if (!WIFSIGNALED(status) || clock_ms() - child->started_ms >= RESTART_FAST_MS) {
        child->crashes = 0;
        return;
    }
    if (++child->crashes < CRASHES_MAX)
        return;
    child->crashes = 0;
    memory_clear_stores(&supervisor->memory);
    log_error(
        "the data process has crashed %d times, each within %d s of its start: its DTLS associations are given up",
        (int)CRASHES_MAX, RESTART_FAST_MS / 1000);
    if (upgrade_undo(supervisor))
        log_error("the next data process is one of sagate %s again", supervisor->data_program.build.version);
}

static void schedule(struct supervisor *supervisor, struct child *child, int status)
{
    if (child != &supervisor->children[CHILD_DATA]) {
        schedule_restart(child);
    } else if (upgrade_on_data_end(supervisor)) {
        child->start_at_ms = clock_ms();
        child->restarts++;
    } else {
        count_crash(supervisor, child, status);
        schedule_restart(child);
    }
}

static void on_child_end(struct supervisor *supervisor, struct child *child, int status)
{
    // A child that is told to stop before it has set itself up ends by the signal.
    bool clean = (WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
                 (supervisor->stopping && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    bool wanted = supervisor->stopping || supervisor->upgrade.step == UPGRADE_QUIT;
    if (!wanted || !clean)
        describe_exit(child, status);
    if (!clean && supervisor->stopping)
        supervisor->failed = true;
    child->pid = 0;
    receive(supervisor, child); // what it has said before
    bool was_ready = child->ready;
    close(child->fd);
    child->fd = -1;
    child->ready = false;
    child->answer_by_ms = 0;
    if (supervisor->stopping)
        return;
    if (!supervisor->once_ready && !was_ready) {
        // What fails at the first start fails for a reason that a restart does not change.
        supervisor->stopping = supervisor->failed = true;
        return;
    }
    schedule(supervisor, child, status);
    reload_on_end(supervisor, child);
}

static void reap(struct supervisor *supervisor)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (size_t i = 0; i < CHILD_COUNT; i++) {
            if (supervisor->children[i].pid == pid)
                on_child_end(supervisor, &supervisor->children[i], status);
        }
        upgrade_on_probe_end(supervisor, pid, status);
    }
}

static void start_due(struct supervisor *supervisor)
{
    for (size_t i = 0; i < CHILD_COUNT && !supervisor->stopping; i++) {
        struct child *child = &supervisor->children[i];
        if (child->pid != 0 || clock_ms() < child->start_at_ms)
            continue;
        spawn(supervisor, child);
        tell_processes(supervisor);
    }
}

static void on_result(struct supervisor *supervisor, struct child *child, const struct plane_config_result *result)
{
    reload_on_result(supervisor, child, result);
    if (child != &supervisor->children[CHILD_DATA])
        return;
    tell_processes(supervisor); // with the associations that it has found
    upgrade_on_result(supervisor, result);
}

static void receive(struct supervisor *supervisor, struct child *child)
{
    static uint8_t buffer[PLANE_MESSAGE_MAX];
    struct plane_message message;
    int fd = -1;
    bool control = child == &supervisor->children[CHILD_CONTROL];
    while (child->fd >= 0 && plane_receive(child->fd, buffer, &message, &fd) == SAGATE_OK) {
        if (fd >= 0)
            close(fd);
        if (message.type == PLANE_CONFIG_RESULT)
            on_result(supervisor, child, &message.config_result);
        else if (message.type == PLANE_UPGRADE && control)
            upgrade_begin(supervisor, &message.upgrade);
        else if (message.type == PLANE_RELOAD && control)
            reload_begin(supervisor, message.reload.ticket);
        else if (message.type == PLANE_STATE && control)
            supervisor->state = message.state;
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
        reload_overdue(supervisor);
        upgrade_overdue(supervisor);
        reload_remembered(supervisor);
    }
}

static int make_shared(struct supervisor *supervisor)
{
    unsigned workers = supervisor->now->sockets.workers;
    if (memory_make(&supervisor->memory, workers, supervisor->now->config->limits.associations) != SAGATE_OK)
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
    generation_free(supervisor->reload.next, &supervisor->now->sockets);
    generation_free(supervisor->before, &supervisor->now->sockets);
    generation_free(supervisor->now, NULL);
    for (unsigned i = 0; i < CONFIG_WORKERS_MAX; i++) {
        for (int j = 0; j < 2; j++) {
            if (supervisor->channels[i][j] > 0)
                close(supervisor->channels[i][j]);
        }
    }
    memory_release(&supervisor->memory);
    upgrade_release(supervisor);
    close(supervisor->signal_fd);
}

// Listeners for each worker and copies of files take many descriptors; copies are locked in memory.
static void raise_limits(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_MEMLOCK, &limit);
    }
}

// Not resolved: a symbolic link may lead to another program at the time of an upgrade.
static void find_program(const char *program, char path[PATH_MAX])
{
    char folder[PATH_MAX] = "";
    ssize_t len = strchr(program, '/') == NULL ? readlink("/proc/self/exe", path, PATH_MAX - 1) : 0;
    if (len > 0)
        path[len] = '\0';
    else if (program[0] == '/' || getcwd(folder, sizeof folder) == NULL)
        (void)snprintf(path, PATH_MAX, "%s", program);
    else if (snprintf(path, PATH_MAX, "%s/%s", folder, program) >= PATH_MAX)
        path[0] = '\0';
}

int supervisor_run(const char *config_path, const char *program)
{
    static struct supervisor supervisor;
    static char program_path[PATH_MAX];
    char error[8192] = "";
    find_program(program, program_path);
    supervisor.config_path = config_path;
    supervisor.program_path = program_path;
    supervisor.data_program.fd = supervisor.upgrade.other.fd = supervisor.upgrade.probe_fd = -1;
    build_own(&supervisor.data_program.build);
    memory_init(&supervisor.memory);
    supervisor.children[CHILD_CONTROL] = (struct child){.role = "control", .fd = -1};
    supervisor.children[CHILD_DATA] = (struct child){.role = "data", .fd = -1};
    raise_limits();
    if (generation_load(config_path, NULL, &supervisor.now, error, sizeof error) != SAGATE_OK) {
        (void)fprintf(stderr, "%s\n", error);
        return EXIT_FAILURE;
    }
    const struct config *config = supervisor.now->config;
    log_set_level(config->process.log_level);
    supervisor.signal_fd = catch_signals();
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    struct sockets none;
    sockets_init(&none, config->process.workers);
    int result = generation_directories(config, error, sizeof error);
    if (result == SAGATE_OK)
        result = sockets_open(config, &none, &supervisor.now->sockets, error, sizeof error);
    if (result == SAGATE_OK && make_shared(&supervisor) != SAGATE_OK) {
        result = SAGATE_ESYS;
        (void)snprintf(error, sizeof error, "cannot make shared memory: %s", strerror(errno));
    }
    if (result != SAGATE_OK) {
        (void)fprintf(stderr, "sagate: %s\n", error);
        release(&supervisor);
        return EXIT_FAILURE;
    }
    supervisor.children[CHILD_CONTROL].user = strdup(config->process.control_user);
    supervisor.children[CHILD_DATA].user = strdup(config->process.user);
    loop(&supervisor);
    free(supervisor.children[CHILD_CONTROL].user);
    free(supervisor.children[CHILD_DATA].user);
    release(&supervisor);
    return supervisor.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int supervisor_check(const char *config_path)
{
    char error[8192] = "";
    struct generation *generation = NULL;
    raise_limits();
    if (generation_load(config_path, NULL, &generation, error, sizeof error) != SAGATE_OK) {
        (void)fprintf(stderr, "%s\n", error);
        return EXIT_FAILURE;
    }
    char *text = config_describe(generation->config);
    printf("%s", text == NULL ? "" : text);
    free(text);
    generation_free(generation, NULL);
    return EXIT_SUCCESS;
}
