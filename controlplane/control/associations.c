// Commands that wait for somebody else: associations of the workers, reload and upgrade of the supervisor.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "common/onem2m.h"
#include "controlplane/control/commands.h"
#include "controlplane/control/state.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT_DEFAULT = 100, LIMIT_MAX = 1000, STEP_SECONDS = 5, RELOAD_SECONDS = 60, UPGRADE_SECONDS = 90 };
enum { PROFILE_SECONDS = 5, PROFILE_SECONDS_MAX = 240 }; // less than a connection may be silent
enum kind { OPERATION_LIST, OPERATION_SHOW, OPERATION_KILL, OPERATION_RELOAD, OPERATION_UPGRADE, OPERATION_PROFILE };

struct operation {
    LIST_ENTRY(operation) link;
    struct control *control;
    struct control_request *request;
    struct event *deadline;
    uint64_t ticket;
    enum kind kind;
    char credential_id[ONEM2M_CREDENTIAL_MAX + 1]; // list, kill: only of this one; "": all
    // list, show
    json_t *entries, *silent; // silent: numbers of workers that did not answer
    size_t limit;
    unsigned worker; // asked now
    uint64_t cursor;
    uint64_t sought; // show: association
    // kill, profile
    bool waiting[CONFIG_WORKERS_MAX];
    uint64_t killed;
};

static void operation_free(struct operation *operation)
{
    LIST_REMOVE(operation, link);
    operation->control->operation_count--;
    if (operation->deadline != NULL)
        event_free(operation->deadline);
    json_decref(operation->entries);
    json_decref(operation->silent);
    free(operation);
}

static void finish(struct operation *operation, json_t *answer)
{
    struct control_request *request = operation->request;
    operation_free(operation);
    control_request_answer(request, answer);
}

static void fail(struct operation *operation, const char *text)
{
    struct control_request *request = operation->request;
    operation_free(operation);
    control_request_fail(request, "%s", text);
}

// With the supervisor's text.
static void fail_as_told(struct operation *operation, int result, struct slice text)
{
    struct control_request *request = operation->request;
    operation_free(operation);
    if (text.len > 0)
        control_request_fail(request, "%.*s", (int)text.len, (const char *)text.data);
    else
        control_request_fail(request, "%s", sagate_strerror(result));
}

static void on_deadline(evutil_socket_t fd, short what, void *context);

// NULL, with the request answered, when there are too many.
static struct operation *operation_new(struct control *control, struct control_request *request, enum kind kind)
{
    struct operation *operation = control->operation_count < OPERATIONS_MAX ? calloc(1, sizeof *operation) : NULL;
    if (operation == NULL) {
        control_request_fail(request, "too many commands wait for workers; try again");
        return NULL;
    }
    operation->control = control;
    operation->request = request;
    operation->kind = kind;
    operation->ticket = ++control->last_ticket;
    LIST_INSERT_HEAD(&control->operations, operation, link);
    control->operation_count++;
    operation->deadline = evtimer_new(control->base, on_deadline, operation);
    operation->entries = json_array();
    operation->silent = json_array();
    if (operation->deadline == NULL || operation->entries == NULL || operation->silent == NULL) {
        fail(operation, sagate_strerror(SAGATE_ENOMEM));
        return NULL;
    }
    return operation;
}

static struct operation *find(struct control *control, uint64_t ticket, enum kind a, enum kind b)
{
    struct operation *operation = LIST_FIRST(&control->operations);
    while (operation != NULL && (operation->ticket != ticket || (operation->kind != a && operation->kind != b)))
        operation = LIST_NEXT(operation, link);
    return operation;
}

static void arm(struct operation *operation, int seconds)
{
    struct timeval wait = {.tv_sec = seconds};
    (void)event_add(operation->deadline, &wait);
}

static void list_finish(struct operation *operation)
{
    if (operation->kind == OPERATION_SHOW) {
        fail(operation,
             json_array_size(operation->silent) > 0 ? "the worker does not answer" : "there is no such association");
        return;
    }
    json_t *answer = json_object();
    (void)json_object_set(answer, "associations", operation->entries);
    if (json_array_size(operation->silent) > 0)
        (void)json_object_set(answer, "silent_workers", operation->silent);
    if (operation->worker < workers_count(operation->control->workers)) {
        char next[64];
        (void)snprintf(next, sizeof next, "%u-%" PRIu64, operation->worker, operation->cursor);
        (void)json_object_set_new(answer, "next", json_string(next));
    }
    finish(operation, answer);
}

// Asks the worker that is next; finishes when all have been asked or there is enough.
static void list_step(struct operation *operation)
{
    struct control *control = operation->control;
    while (operation->worker < workers_count(control->workers)) {
        size_t have = json_array_size(operation->entries);
        if (have >= operation->limit)
            break;
        struct plane_message message = {.type = PLANE_LIST,
                                        .list = {.ticket = operation->ticket,
                                                 .cursor = operation->cursor,
                                                 .limit = (uint32_t)(operation->limit - have)}};
        if (workers_send(control->workers, operation->worker, &message) == SAGATE_OK) {
            arm(operation, STEP_SECONDS);
            return;
        }
        (void)json_array_append_new(operation->silent, json_integer((json_int_t)operation->worker));
        operation->worker = operation->kind == OPERATION_SHOW ? CONFIG_WORKERS_MAX : operation->worker + 1;
        operation->cursor = 0;
    }
    list_finish(operation);
}

// Those that have not answered are silent.
static void note_silent(struct operation *operation)
{
    for (unsigned i = 0; i < CONFIG_WORKERS_MAX; i++) {
        if (operation->waiting[i])
            (void)json_array_append_new(operation->silent, json_integer((json_int_t)i));
    }
}

// Asks one worker; whether it can be asked.
static bool ask_worker(struct operation *operation, unsigned worker, const struct plane_message *message)
{
    operation->waiting[worker] = workers_send(operation->control->workers, worker, message) == SAGATE_OK;
    if (!operation->waiting[worker])
        (void)json_array_append_new(operation->silent, json_integer((json_int_t)worker));
    return operation->waiting[worker];
}

// One has answered; whether all have now.
static bool all_answered(struct operation *operation, unsigned worker)
{
    operation->waiting[worker] = false;
    for (unsigned i = 0; i < CONFIG_WORKERS_MAX; i++) {
        if (operation->waiting[i])
            return false;
    }
    return true;
}

static void profile_finish(struct operation *operation)
{
    note_silent(operation);
    json_t *answer = profile_describe(operation->control, operation->ticket);
    if (json_array_size(operation->silent) > 0)
        (void)json_object_set(answer, "silent_workers", operation->silent);
    finish(operation, answer);
}

static void kill_finish(struct operation *operation)
{
    json_t *answer = json_object();
    note_silent(operation);
    (void)json_object_set_new(answer, "killed", json_integer((json_int_t)operation->killed));
    if (json_array_size(operation->silent) > 0)
        (void)json_object_set(answer, "silent_workers", operation->silent);
    if (operation->killed == 0 && operation->credential_id[0] == '\0') {
        bool silent = json_array_size(operation->silent) > 0;
        json_decref(answer);
        fail(operation, silent ? "the worker does not answer" : "there is no such association");
        return;
    }
    finish(operation, answer);
}

static void on_deadline(evutil_socket_t fd, short what, void *context)
{
    struct operation *operation = context;
    (void)fd;
    (void)what;
    if (operation->kind == OPERATION_RELOAD) {
        fail(operation, "the supervisor has not finished the reload in time; see its log");
    } else if (operation->kind == OPERATION_UPGRADE) {
        fail(operation, "the supervisor has not finished the upgrade in time; see its log");
    } else if (operation->kind == OPERATION_KILL) {
        kill_finish(operation);
    } else if (operation->kind == OPERATION_PROFILE) {
        profile_finish(operation);
    } else {
        (void)json_array_append_new(operation->silent, json_integer((json_int_t)operation->worker));
        operation->worker = operation->kind == OPERATION_SHOW ? CONFIG_WORKERS_MAX : operation->worker + 1;
        operation->cursor = 0;
        list_step(operation);
    }
}

static json_t *describe(unsigned worker, const struct plane_association *entry)
{
    char id[64];
    (void)snprintf(id, sizeof id, "%u-%" PRIu64, worker, entry->id);
    json_t *object = json_object();
    (void)json_object_set_new(object, "id", json_string(id));
    (void)json_object_set_new(object, "peer", commands_text(entry->peer));
    (void)json_object_set_new(object, "credential_id", commands_text(entry->credential_id));
    (void)json_object_set_new(object, "framework", json_string(framework_name((enum framework)entry->framework)));
    (void)json_object_set_new(object, "listener", commands_text(entry->listener));
    (void)json_object_set_new(object, "protocol", commands_text(entry->protocol));
    (void)json_object_set_new(object, "cipher", commands_text(entry->cipher));
    (void)json_object_set_new(object, "age_ms", json_integer((json_int_t)entry->age_ms));
    (void)json_object_set_new(object, "idle_ms", json_integer((json_int_t)entry->idle_ms));
    (void)json_object_set_new(object, "bytes_in", json_integer((json_int_t)entry->bytes_in));
    (void)json_object_set_new(object, "bytes_out", json_integer((json_int_t)entry->bytes_out));
    return object;
}

void operations_listed(struct control *control, unsigned worker, const struct plane_listed *listed)
{
    struct operation *operation = find(control, listed->ticket, OPERATION_LIST, OPERATION_SHOW);
    if (operation == NULL || operation->worker != worker)
        return;
    struct slice entries = listed->entries;
    struct plane_association entry;
    while (plane_next_association(&entries, &entry) == SAGATE_OK) {
        if (operation->kind == OPERATION_SHOW) {
            if (entry.id == operation->sought) {
                finish(operation, json_pack("{s:o}", "association", describe(worker, &entry)));
                return;
            }
        } else if (operation->credential_id[0] == '\0' || slice_is(entry.credential_id, operation->credential_id)) {
            (void)json_array_append_new(operation->entries, describe(worker, &entry));
        }
    }
    operation->cursor = listed->next;
    if (listed->next == 0)
        operation->worker = operation->kind == OPERATION_SHOW ? CONFIG_WORKERS_MAX : operation->worker + 1;
    list_step(operation);
}

void operations_killed(struct control *control, unsigned worker, const struct plane_killed *killed)
{
    struct operation *operation = find(control, killed->ticket, OPERATION_KILL, OPERATION_KILL);
    if (operation == NULL || !operation->waiting[worker])
        return;
    operation->killed += killed->count;
    if (all_answered(operation, worker))
        kill_finish(operation);
}

// "<worker>-<number>"
static bool parse_id(const char *text, unsigned *worker, uint64_t *number)
{
    int used = 0;
    return text != NULL && text[0] >= '0' && text[0] <= '9' &&
           sscanf(text, "%3u-%20" SCNu64 "%n", worker, number, &used) == 2 && text[used] == '\0' &&
           *worker < CONFIG_WORKERS_MAX;
}

// Reads "identity" into `credential_id` as "12-identity"; false, with the request answered, when it cannot be one.
static bool take_identity(struct control_request *request, const json_t *command, char *credential_id, size_t cap)
{
    const char *identity = json_string_value(json_object_get(command, "identity"));
    credential_id[0] = '\0';
    if (identity == NULL)
        return true;
    int len = snprintf(credential_id, cap, "12-%s", identity);
    if (identity[0] != '\0' && len > 0 && (size_t)len < cap)
        return true;
    control_request_fail(request, "\"identity\" is empty or too long");
    return false;
}

void associations_list(struct control *control, struct control_request *request, const json_t *command)
{
    const char *after = json_string_value(json_object_get(command, "cursor"));
    char credential_id[ONEM2M_CREDENTIAL_MAX + 1];
    unsigned worker = 0;
    uint64_t cursor = 0;
    size_t limit;
    if (!commands_limit(request, command, LIMIT_DEFAULT, LIMIT_MAX, &limit) ||
        !take_identity(request, command, credential_id, sizeof credential_id))
        return;
    if (after != NULL && !parse_id(after, &worker, &cursor)) {
        control_request_fail(request, "\"cursor\" is not one that an answer's \"next\" gave");
        return;
    }
    struct operation *operation = operation_new(control, request, OPERATION_LIST);
    if (operation == NULL)
        return;
    memcpy(operation->credential_id, credential_id, sizeof credential_id);
    operation->limit = limit;
    operation->worker = worker;
    operation->cursor = cursor;
    list_step(operation);
}

void associations_show(struct control *control, struct control_request *request, const json_t *command)
{
    unsigned worker;
    uint64_t number;
    if (!parse_id(json_string_value(json_object_get(command, "id")), &worker, &number)) {
        control_request_fail(request, "\"id\" must be an association's id, such as \"0-17\"");
        return;
    }
    struct operation *operation = operation_new(control, request, OPERATION_SHOW);
    if (operation == NULL)
        return;
    operation->limit = LIMIT_MAX;
    operation->worker = worker;
    operation->sought = number;
    list_step(operation);
}

void associations_kill(struct control *control, struct control_request *request, const json_t *command)
{
    const char *id = json_string_value(json_object_get(command, "id"));
    char credential_id[ONEM2M_CREDENTIAL_MAX + 1];
    unsigned worker = 0;
    uint64_t number = 0;
    if (!take_identity(request, command, credential_id, sizeof credential_id))
        return;
    if ((id == NULL) == (credential_id[0] == '\0')) {
        control_request_fail(request, "either \"id\" or \"identity\" is needed");
        return;
    }
    if (id != NULL && (!parse_id(id, &worker, &number) || number == 0)) {
        control_request_fail(request, "\"id\" must be an association's id, such as \"0-17\"");
        return;
    }
    struct operation *operation = operation_new(control, request, OPERATION_KILL);
    if (operation == NULL)
        return;
    memcpy(operation->credential_id, credential_id, sizeof credential_id);
    struct plane_message message = {
        .type = PLANE_KILL,
        .kill = {.ticket = operation->ticket, .association = number, .credential_id = slice_text(credential_id)}};
    bool asked = false;
    for (unsigned i = 0; i < workers_count(control->workers); i++) {
        if (id != NULL && i != worker)
            continue;
        asked = ask_worker(operation, i, &message) || asked;
    }
    if (asked)
        arm(operation, STEP_SECONDS);
    else
        kill_finish(operation);
}

void operations_reload(struct control *control, struct control_request *request)
{
    struct operation *operation = operation_new(control, request, OPERATION_RELOAD);
    if (operation == NULL)
        return;
    struct plane_message message = {.type = PLANE_RELOAD, .reload = {.ticket = operation->ticket}};
    if (plane_send(control->supervisor_fd, &message, -1) == SAGATE_OK)
        arm(operation, RELOAD_SECONDS);
    else
        fail(operation, "the supervisor cannot be reached");
}

void operations_reload_result(struct control *control, const struct plane_reload_result *result)
{
    struct operation *operation = find(control, result->ticket, OPERATION_RELOAD, OPERATION_RELOAD);
    if (operation == NULL)
        return;
    if (result->result == SAGATE_OK) {
        json_t *answer = json_pack("{s:I}", "generation", (json_int_t)control->generation);
        if (result->text.len > 0)
            (void)json_object_set_new(answer, "text", commands_text(result->text));
        finish(operation, answer);
        return;
    }
    fail_as_told(operation, result->result, result->text);
}

void operations_upgrade(struct control *control, struct control_request *request, const json_t *command)
{
    const json_t *binary = json_object_get(command, "binary");
    const json_t *force = json_object_get(command, "force");
    const char *path = json_string_value(binary);
    if (binary != NULL && (path == NULL || path[0] != '/' || strlen(path) >= PATH_MAX)) {
        control_request_fail(request, "\"binary\" must be the absolute path of a program");
        return;
    }
    if (force != NULL && !json_is_boolean(force)) {
        control_request_fail(request, "\"force\" must be true or false");
        return;
    }
    struct operation *operation = operation_new(control, request, OPERATION_UPGRADE);
    if (operation == NULL)
        return;
    struct plane_message message = {.type = PLANE_UPGRADE,
                                    .upgrade = {.ticket = operation->ticket,
                                                .force = json_is_true(force) ? 1 : 0,
                                                .path = slice_text(path == NULL ? "" : path)}};
    if (plane_send(control->supervisor_fd, &message, -1) == SAGATE_OK)
        arm(operation, UPGRADE_SECONDS);
    else
        fail(operation, "the supervisor cannot be reached");
}

void operations_upgrade_result(struct control *control, const struct plane_upgrade_result *result)
{
    struct operation *operation = find(control, result->ticket, OPERATION_UPGRADE, OPERATION_UPGRADE);
    if (operation == NULL)
        return;
    if (result->result != SAGATE_OK) {
        fail_as_told(operation, result->result, result->text);
        return;
    }
    finish(operation, json_pack("{s:o, s:I, s:I}", "version", commands_text(result->version), "associations_resumed",
                                (json_int_t)result->resumed, "associations_lost", (json_int_t)result->lost));
}

static bool is_profiling(const struct control *control)
{
    const struct operation *operation = LIST_FIRST(&control->operations);
    while (operation != NULL && operation->kind != OPERATION_PROFILE)
        operation = LIST_NEXT(operation, link);
    return operation != NULL;
}

void operations_profile(struct control *control, struct control_request *request, const json_t *command)
{
    const json_t *wanted = json_object_get(command, "seconds");
    json_int_t seconds = wanted == NULL ? PROFILE_SECONDS : json_integer_value(wanted);
    if (seconds < 1 || seconds > PROFILE_SECONDS_MAX) {
        control_request_fail(request, "\"seconds\" must be a number from 1 to %d", PROFILE_SECONDS_MAX);
        return;
    }
    if (is_profiling(control)) { // its counts have one place
        control_request_fail(request, "a profile is under way; try again when it is done");
        return;
    }
    struct operation *operation = operation_new(control, request, OPERATION_PROFILE);
    if (operation == NULL)
        return;
    const struct plane_message message = {
        .type = PLANE_PROFILE, .profile = {.ticket = operation->ticket, .milliseconds = (uint32_t)seconds * 1000}};
    bool asked = false;
    for (unsigned i = 0; i < workers_count(control->workers); i++)
        asked = ask_worker(operation, i, &message) || asked;
    if (asked)
        arm(operation, (int)seconds + STEP_SECONDS);
    else
        profile_finish(operation);
}

void operations_profiled(struct control *control, unsigned worker, const struct plane_profiled *profiled)
{
    struct operation *operation = find(control, profiled->ticket, OPERATION_PROFILE, OPERATION_PROFILE);
    if (operation != NULL && operation->waiting[worker] && all_answered(operation, worker))
        profile_finish(operation);
}

void operations_end(struct control *control)
{
    struct operation *operation;
    while ((operation = LIST_FIRST(&control->operations)) != NULL)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it takes itself out of the list, through le_prev
        fail(operation, "sagate is stopping");
}
