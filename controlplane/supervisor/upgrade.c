// The steps of an upgrade.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/supervisor/upgrade.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "controlplane/supervisor/probe.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROBE_MS = 5000, QUIT_MS = 10000, START_MS = 10000, BACK_MS = 20000 };

static struct child *data_of(struct supervisor *supervisor)
{
    return &supervisor->children[CHILD_DATA];
}

static void close_program(struct program *program)
{
    if (program->fd >= 0)
        close(program->fd);
    program->fd = -1;
}

static void swap_programs(struct supervisor *supervisor)
{
    struct program other = supervisor->upgrade.other;
    supervisor->upgrade.other = supervisor->data_program;
    supervisor->data_program = other;
}

static void answer(struct supervisor *supervisor, uint64_t ticket, int result, const char *text)
{
    const struct memory *memory = &supervisor->memory;
    const struct plane_message message = {
        .type = PLANE_UPGRADE_RESULT,
        .upgrade_result = {.ticket = ticket,
                           .result = result,
                           .text = slice_text(text),
                           .version = slice_text(supervisor->data_program.build.version),
                           .resumed = memory_sum(memory, STAT_ASSOCIATIONS_RESUMED) - supervisor->resumed_before,
                           .lost = memory_sum(memory, STAT_ASSOCIATIONS_LOST) - supervisor->lost_before}};
    int control = supervisor->children[CHILD_CONTROL].fd;
    if (control < 0 || plane_send(control, &message, -1) != SAGATE_OK)
        log_error("the control process does not take the result of an upgrade");
}

// Ends the upgrade, with SAGATE_OK or because of upgrade.reason.
static void finish(struct supervisor *supervisor, int result)
{
    struct upgrade *upgrade = &supervisor->upgrade;
    close_program(&upgrade->other);
    if (upgrade->probe_fd >= 0)
        close(upgrade->probe_fd);
    upgrade->probe_fd = -1;
    upgrade->step = UPGRADE_IDLE;
    if (result == SAGATE_OK)
        log_info("upgrade: the data process is one of sagate %s", supervisor->data_program.build.version);
    else
        log_error("upgrade: %s", upgrade->reason);
    answer(supervisor, upgrade->ticket, result, upgrade->reason);
}

__attribute__((format(printf, 3, 4))) static void refuse(struct supervisor *supervisor, int result, const char *format,
                                                         ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(supervisor->upgrade.reason, sizeof supervisor->upgrade.reason, format, arguments);
    va_end(arguments);
    finish(supervisor, result);
}

static bool ready(const struct supervisor *supervisor)
{
    return supervisor->children[CHILD_CONTROL].ready && supervisor->children[CHILD_DATA].ready &&
           supervisor->reload.step == RELOAD_IDLE;
}

static void enter(struct supervisor *supervisor, enum upgrade_step step, uint64_t milliseconds)
{
    supervisor->upgrade.step = step;
    supervisor->upgrade.until_ms = clock_ms() + milliseconds;
}

void upgrade_begin(struct supervisor *supervisor, const struct plane_upgrade *order)
{
    struct upgrade *upgrade = &supervisor->upgrade;
    char path[PATH_MAX];
    if (upgrade->step != UPGRADE_IDLE) {
        answer(supervisor, order->ticket, SAGATE_EBUSY, "an upgrade is under way; try again when it has ended");
        return;
    }
    upgrade->ticket = order->ticket;
    upgrade->force = order->force == 1;
    upgrade->reason[0] = '\0';
    (void)snprintf(path, sizeof path, "%.*s", (int)order->path.len, (const char *)order->path.data);
    if (order->path.len == 0)
        (void)snprintf(path, sizeof path, "%s", supervisor->program_path);
    if (!ready(supervisor)) {
        refuse(supervisor, SAGATE_EBUSY, "a process is being started, or a reload is under way; try again later");
        return;
    }
    if (path[0] != '/' || order->path.len >= sizeof path) {
        refuse(supervisor, SAGATE_EINVAL, "the path of the program must be absolute");
        return;
    }
    upgrade->other.fd = probe_open(path, upgrade->reason, sizeof upgrade->reason);
    if (upgrade->other.fd < 0) {
        int result = upgrade->other.fd;
        upgrade->other.fd = -1;
        finish(supervisor, result);
        return;
    }
    pid_t pid = probe_start(upgrade->other.fd, data_of(supervisor)->user, &upgrade->probe_fd);
    if (pid < 0) {
        refuse(supervisor, SAGATE_ESYS, "cannot start %s: %s", path, strerror(errno));
        return;
    }
    upgrade->probe = pid;
    enter(supervisor, UPGRADE_PROBE, PROBE_MS);
}

static void quit_data(struct supervisor *supervisor)
{
    struct child *data = data_of(supervisor);
    const struct plane_message quit = {.type = PLANE_QUIT, .quit = {.keep = 1}};
    enter(supervisor, UPGRADE_QUIT, QUIT_MS);
    log_info("upgrade: from sagate %s to %s", supervisor->data_program.build.version,
             supervisor->upgrade.other.build.version);
    data->ready = false;
    // DTLS associations survive the one way and the other.
    if (plane_send(data->fd, &quit, -1) != SAGATE_OK)
        (void)kill(data->pid, SIGKILL);
}

void upgrade_on_probe_end(struct supervisor *supervisor, pid_t pid, int status)
{
    struct upgrade *upgrade = &supervisor->upgrade;
    struct build *next = &upgrade->other.build;
    struct build own;
    if (upgrade->probe == 0 || pid != upgrade->probe)
        return;
    upgrade->probe = 0;
    build_own(&own);
    if (upgrade->step != UPGRADE_PROBE)
        return;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || probe_answer(upgrade->probe_fd, next) != SAGATE_OK)
        refuse(supervisor, SAGATE_EUNSUPPORTED,
               "the program does not say that it is a sagate (--probe, run as user \"%s\")", data_of(supervisor)->user);
    else if (!build_fits(&own, next, upgrade->reason, sizeof upgrade->reason))
        finish(supervisor, SAGATE_EVERSION);
    else if (!upgrade->force &&
             !build_keeps(&supervisor->data_program.build, next, upgrade->reason, sizeof upgrade->reason))
        finish(supervisor, SAGATE_EVERSION);
    else if (!ready(supervisor))
        refuse(supervisor, SAGATE_EBUSY, "a process is being started; try again later");
    else
        quit_data(supervisor);
}

__attribute__((format(printf, 2, 3))) static void add_reason(struct upgrade *upgrade, const char *format, ...)
{
    size_t used = strlen(upgrade->reason);
    va_list arguments;
    va_start(arguments, format);
    (void)snprintf(upgrade->reason + used, sizeof upgrade->reason - used, "; ");
    used = strlen(upgrade->reason);
    (void)vsnprintf(upgrade->reason + used, sizeof upgrade->reason - used, format, arguments);
    va_end(arguments);
}

static void no_way_back(struct supervisor *supervisor)
{
    add_reason(&supervisor->upgrade, "one of sagate %s does not get ready either, and is tried again",
               supervisor->data_program.build.version);
    finish(supervisor, SAGATE_EUNAVAILABLE);
}

void upgrade_on_result(struct supervisor *supervisor, const struct plane_config_result *result)
{
    struct upgrade *upgrade = &supervisor->upgrade;
    if (upgrade->step != UPGRADE_START && upgrade->step != UPGRADE_BACK)
        return;
    if (result->result != SAGATE_OK) { // it is being ended
        if (upgrade->step == UPGRADE_START)
            (void)snprintf(upgrade->reason, sizeof upgrade->reason,
                           "the data process of sagate %s does not take the configuration: %.*s",
                           supervisor->data_program.build.version, (int)result->text.len,
                           (const char *)result->text.data);
        return;
    }
    if (!data_of(supervisor)->ready)
        return;
    if (upgrade->step == UPGRADE_BACK)
        add_reason(upgrade, "sagate %s serves again", supervisor->data_program.build.version);
    finish(supervisor, upgrade->step == UPGRADE_START ? SAGATE_OK : SAGATE_EUNAVAILABLE);
}

bool upgrade_on_data_end(struct supervisor *supervisor)
{
    struct upgrade *upgrade = &supervisor->upgrade;
    switch (upgrade->step) {
    case UPGRADE_QUIT:
        swap_programs(supervisor);
        enter(supervisor, UPGRADE_START, START_MS);
        return true;
    case UPGRADE_START:
        if (upgrade->reason[0] == '\0')
            (void)snprintf(upgrade->reason, sizeof upgrade->reason,
                           "the data process of sagate %s ended before it was ready",
                           supervisor->data_program.build.version);
        log_error("upgrade: %s", upgrade->reason);
        swap_programs(supervisor);
        enter(supervisor, UPGRADE_BACK, BACK_MS);
        return true;
    case UPGRADE_BACK:
        no_way_back(supervisor);
        return false;
    case UPGRADE_IDLE:
    case UPGRADE_PROBE:
        break;
    }
    return false;
}

void upgrade_overdue(struct supervisor *supervisor)
{
    struct upgrade *upgrade = &supervisor->upgrade;
    struct child *data = data_of(supervisor);
    if (upgrade->step == UPGRADE_IDLE || clock_ms() < upgrade->until_ms)
        return;
    switch (upgrade->step) {
    case UPGRADE_PROBE:
        (void)kill(upgrade->probe, SIGKILL);
        refuse(supervisor, SAGATE_ETIMEOUT, "the program does not answer to --probe");
        return;
    case UPGRADE_QUIT:
        log_error("upgrade: the data process does not end by itself");
        break;
    case UPGRADE_START:
        (void)snprintf(upgrade->reason, sizeof upgrade->reason, "the data process of sagate %s was not ready in %d s",
                       supervisor->data_program.build.version, START_MS / 1000);
        break;
    case UPGRADE_BACK:
        no_way_back(supervisor);
        return;
    case UPGRADE_IDLE:
        break;
    }
    upgrade->until_ms = clock_ms() + QUIT_MS;
    if (data->pid != 0)
        (void)kill(data->pid, SIGKILL);
}

bool upgrade_undo(struct supervisor *supervisor)
{
    if (supervisor->data_program.fd < 0)
        return false;
    close_program(&supervisor->data_program);
    build_own(&supervisor->data_program.build);
    return true;
}

void upgrade_release(struct supervisor *supervisor)
{
    struct upgrade *upgrade = &supervisor->upgrade;
    if (upgrade->probe > 0)
        (void)kill(upgrade->probe, SIGKILL);
    if (upgrade->probe_fd >= 0)
        close(upgrade->probe_fd);
    close_program(&upgrade->other);
    close_program(&supervisor->data_program);
}
