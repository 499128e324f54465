// The steps of a reload.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/supervisor/reload.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "controlplane/supervisor/handover.h"

#include <signal.h>
#include <stdio.h>

static struct child *control_of(struct supervisor *supervisor)
{
    return &supervisor->children[CHILD_CONTROL];
}

static struct child *data_of(struct supervisor *supervisor)
{
    return &supervisor->children[CHILD_DATA];
}

// Its state is not known any more; with the next process it is.
static void give_up(struct child *child)
{
    child->ready = false;
    if (child->pid != 0)
        (void)kill(child->pid, SIGKILL);
}

static void answer(struct supervisor *supervisor, uint64_t ticket, int result, const char *text)
{
    if (ticket == 0 || control_of(supervisor)->fd < 0)
        return;
    const struct plane_message message = {
        .type = PLANE_RELOAD_RESULT, .reload_result = {.ticket = ticket, .result = result, .text = slice_text(text)}};
    if (plane_send(control_of(supervisor)->fd, &message, -1) != SAGATE_OK)
        log_error("the control process does not take the result of a reload");
}

static void refuse(struct supervisor *supervisor, int result, const char *text)
{
    struct reload *reload = &supervisor->reload;
    uint64_t ticket = reload->ticket;
    generation_free(reload->next, &supervisor->now->sockets);
    *reload = (struct reload){0};
    log_error("reload: the old configuration stays in use: %s", text);
    answer(supervisor, ticket, result, text);
}

// Both have it, or control will be started with it.
static void finish(struct supervisor *supervisor)
{
    const struct generation *now = supervisor->now;
    uint64_t ticket = supervisor->reload.ticket;
    supervisor->reload = (struct reload){0};
    log_info("reload %llu: the new configuration is in use%s%s", (unsigned long long)now->number,
             now->note[0] == '\0' ? "" : "; ", now->note);
    answer(supervisor, ticket, SAGATE_OK, now->note);
}

static void give(struct supervisor *supervisor, struct child *child, struct generation *generation, bool check_only)
{
    if (handover_config(supervisor, child, generation, false, check_only) != SAGATE_OK)
        give_up(child); // reload_on_end does the rest
}

void reload_begin(struct supervisor *supervisor, uint64_t ticket)
{
    struct reload *reload = &supervisor->reload;
    char error[4096] = "";
    bool ready = control_of(supervisor)->ready && data_of(supervisor)->ready;
    bool upgrading = supervisor->upgrade.step != UPGRADE_IDLE;
    if (reload->step != RELOAD_IDLE || upgrading || !ready) {
        if (ticket == 0)
            supervisor->reload_again = true;
        else
            answer(supervisor, ticket, SAGATE_EBUSY,
                   upgrading ? "an upgrade is under way; try again when it has ended"
                   : ready   ? "a reload is under way; try again when it has ended"
                             : "a process is being started; try again when sagate is ready");
        return;
    }
    *reload = (struct reload){.step = RELOAD_CHECK, .ticket = ticket};
    int result = generation_load(supervisor->config_path, supervisor->now->config, &reload->next, error, sizeof error);
    if (result == SAGATE_OK)
        result =
            sockets_open(reload->next->config, &supervisor->now->sockets, &reload->next->sockets, error, sizeof error);
    if (result != SAGATE_OK) {
        refuse(supervisor, result, error);
        return;
    }
    reload->next->number = ++supervisor->last_number;
    give(supervisor, control_of(supervisor), reload->next, true);
}

void reload_remembered(struct supervisor *supervisor)
{
    if (!supervisor->reload_again || supervisor->stopping || supervisor->reload.step != RELOAD_IDLE ||
        supervisor->upgrade.step != UPGRADE_IDLE || !control_of(supervisor)->ready || !data_of(supervisor)->ready)
        return;
    supervisor->reload_again = false;
    reload_begin(supervisor, 0);
}

// The data process has the new generation, so it is the one in use.
static void adopt(struct supervisor *supervisor)
{
    struct reload *reload = &supervisor->reload;
    handover_mark_sent(&reload->next->sockets);
    supervisor->before = supervisor->now;
    supervisor->now = reload->next;
    reload->next = NULL;
    reload->step = RELOAD_CONTROL;
    supervisor->state.log_level_set = 0;
    log_set_level(supervisor->now->config->process.log_level);
    struct child *control = control_of(supervisor);
    if (control->ready)
        give(supervisor, control, supervisor->now, false);
    else
        finish(supervisor); // it has been started with what is now `before` and gets this one next
}

static void control_has_taken(struct supervisor *supervisor)
{
    struct child *control = control_of(supervisor);
    if (control->asked != supervisor->now->number) {
        give(supervisor, control, supervisor->now, false);
        return;
    }
    control->ready = true;
    generation_free(supervisor->before, &supervisor->now->sockets);
    supervisor->before = NULL;
    if (supervisor->reload.step == RELOAD_CONTROL)
        finish(supervisor);
}

static void tell_ready(struct supervisor *supervisor)
{
    if (supervisor->once_ready || !control_of(supervisor)->ready || !data_of(supervisor)->ready)
        return;
    supervisor->once_ready = true;
    log_info("ready: version %s, %zu listeners, %u workers", SAGATE_VERSION, supervisor->now->config->listener_count,
             supervisor->now->sockets.workers);
}

static void on_refusal(struct supervisor *supervisor, struct child *child, int result, const char *text)
{
    enum reload_step step = supervisor->reload.step;
    bool data = child == data_of(supervisor);
    if (child->ready && ((step == RELOAD_CHECK && !data) || (step == RELOAD_DATA && data))) {
        // Some workers may have taken it and some not.
        if (data && result == SAGATE_EINTERNAL)
            give_up(child);
        refuse(supervisor, result, text);
        return;
    }
    log_error("%s: %s", child->role, text);
    if (!data && supervisor->before != NULL && child->asked == supervisor->now->number) {
        // Then without the step in between.
        generation_free(supervisor->before, &supervisor->now->sockets);
        supervisor->before = NULL;
    }
    give_up(child);
}

void reload_on_result(struct supervisor *supervisor, struct child *child, const struct plane_config_result *result)
{
    struct reload *reload = &supervisor->reload;
    char text[4096];
    if (child->answer_by_ms == 0 || result->generation != child->asked) {
        log_debug("the %s process answers for a configuration that was given up", child->role);
        return;
    }
    child->answer_by_ms = 0;
    if (child->checking && reload->step != RELOAD_CHECK)
        return; // that reload has failed for another reason
    (void)snprintf(text, sizeof text, "%.*s", (int)result->text.len, (const char *)result->text.data);
    if (result->result != SAGATE_OK) {
        on_refusal(supervisor, child, result->result, text);
    } else if (reload->step == RELOAD_CHECK && child == control_of(supervisor) && child->ready) {
        reload->step = RELOAD_DATA;
        give(supervisor, data_of(supervisor), reload->next, false);
    } else if (reload->step == RELOAD_DATA && child == data_of(supervisor) && child->ready) {
        adopt(supervisor);
    } else if (child == control_of(supervisor)) {
        control_has_taken(supervisor);
    } else {
        child->ready = true;
    }
    tell_ready(supervisor);
}

void reload_overdue(struct supervisor *supervisor)
{
    for (size_t i = 0; i < CHILD_COUNT; i++) {
        struct child *child = &supervisor->children[i];
        if (child->answer_by_ms == 0 || clock_ms() < child->answer_by_ms)
            continue;
        log_error("the %s process has not answered to a configuration", child->role);
        child->answer_by_ms = 0;
        give_up(child);
    }
}

void reload_on_end(struct supervisor *supervisor, const struct child *child)
{
    enum reload_step step = supervisor->reload.step;
    bool data = child == data_of(supervisor);
    if (step == RELOAD_CHECK || (step == RELOAD_DATA && data))
        refuse(supervisor, SAGATE_EGONE,
               data ? "the data process ended during the reload" : "the control process ended during the reload");
    else if (step == RELOAD_CONTROL && !data)
        finish(supervisor);
}
