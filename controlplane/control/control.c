// The control process: event loop, worker messages, timers, and the numbers that it counts itself.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/control/control.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "common/secret.h"
#include "controlplane/control/configure.h"
#include "controlplane/control/state.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { EXPIRY_CHECK_SECONDS = 60, LEAVE_MS = 1000, OWNERS_BATCH = PLANE_MESSAGE_MAX - 64 };

// A list that grows until it fills a message.
struct batch {
    struct control *control;
    unsigned worker;
    bool replace;
    size_t used;
};

static void owners_flush(struct batch *batch)
{
    struct plane_message message = {
        .type = PLANE_OWNERS,
        .owners = {.replace = batch->replace ? 1 : 0, .entries = slice_of(batch->control->list, batch->used)}};
    (void)workers_send(batch->control->workers, batch->worker, &message);
    batch->replace = false;
    batch->used = 0;
}

static bool owners_append(struct batch *batch, struct slice stem, struct slice upstream, struct slice credential_id)
{
    int used = plane_append_text(batch->control->list, batch->used, OWNERS_BATCH, stem);
    if (used >= 0)
        used = plane_append_text(batch->control->list, (size_t)used, OWNERS_BATCH, upstream);
    if (used >= 0)
        used = plane_append_text(batch->control->list, (size_t)used, OWNERS_BATCH, credential_id);
    if (used >= 0)
        batch->used = (size_t)used;
    return used >= 0;
}

static void owners_add(void *context, struct slice stem, struct slice upstream, struct slice credential_id)
{
    struct batch *batch = context;
    if (owners_append(batch, stem, upstream, credential_id))
        return;
    owners_flush(batch);
    (void)owners_append(batch, stem, upstream, credential_id); // fits into an empty message
}

static void registrees_add(void *context, struct slice cse_id)
{
    struct batch *batch = context;
    int used = plane_append_text(batch->control->list, batch->used, sizeof batch->control->list - 64, cse_id);
    if (used >= 0) // resolver_apply has checked that all fit
        batch->used = (size_t)used;
}

static void send_sets(struct control *control, unsigned worker)
{
    struct batch registrees = {.control = control, .worker = worker};
    resolver_registrees(control->resolver, registrees_add, &registrees);
    struct plane_message message = {.type = PLANE_REGISTREES,
                                    .registrees = {.cse_ids = slice_of(control->list, registrees.used)}};
    (void)workers_send(control->workers, worker, &message);
    struct batch owners = {.control = control, .worker = worker, .replace = true};
    resolver_owners(control->resolver, owners_add, &owners);
    if (owners.used > 0 || owners.replace)
        owners_flush(&owners);
}

void control_send_sets(struct control *control)
{
    for (unsigned i = 0; i < workers_count(control->workers); i++)
        send_sets(control, i);
}

static void on_greeted(void *context, unsigned worker)
{
    struct control *control = context;
    send_sets(control, worker);
    // Also "off": a worker may drain by order of a control process that is gone.
    struct plane_message drain = {.type = PLANE_DRAIN, .drain = {.on = control->draining ? 1 : 0}};
    (void)workers_send(control->workers, worker, &drain);
    if (control->log_level_set) {
        struct plane_message message = {.type = PLANE_LOG_LEVEL, .log_level = {.level = (uint8_t)log_get_level()}};
        (void)workers_send(control->workers, worker, &message);
    }
}

// The CSEBase of an upstream as its health_path tells it: "/cse-in" and "/cse-in?rcn=0"; deeper paths tell none.
static struct slice base_of(const struct control *control, struct slice upstream)
{
    for (size_t i = 0; control->config != NULL && i < control->config->upstream_count; i++) {
        const struct config_upstream *one = &control->config->upstreams[i];
        if (!slice_is(upstream, one->name))
            continue;
        const char *name = one->health_path + 1;
        size_t len = strcspn(name, "?");
        return memchr(name, '/', len) == NULL ? slice_of(name, len) : slice_text("");
    }
    return slice_text("");
}

static void on_message(void *context, unsigned worker, const struct plane_message *message)
{
    static struct log_sample sample;
    struct control *control = context;
    switch (message->type) {
    case PLANE_RESOLVE:
        resolving_ask(control, worker, message->resolve.identity);
        break;
    case PLANE_REGISTERED: {
        const struct plane_registered *from = &message->registered;
        struct registration registration = {.credential_id = from->credential_id,
                                            .upstream = from->upstream,
                                            .aei = from->aei,
                                            .resource_id = from->resource_id,
                                            .structured = from->structured};
        (void)resolver_registered(control->resolver, &registration);
        break;
    }
    case PLANE_DELETED:
        (void)resolver_deleted(control->resolver, message->deleted.upstream, message->deleted.to,
                               base_of(control, message->deleted.upstream));
        break;
    case PLANE_LISTED:
        operations_listed(control, worker, &message->listed);
        break;
    case PLANE_KILLED:
        operations_killed(control, worker, &message->killed);
        break;
    case PLANE_PROFILED:
        operations_profiled(control, worker, &message->profiled);
        break;
    default:
        log_sampled(&sample, LOG_LEVEL_WARNING, "control: message of type %d from worker %u is not one for control",
                    (int)message->type, worker);
    }
}

static void on_idle(void *context)
{
    struct control *control = context;
    (void)registrations_flush(control->registrations);
}

static void on_revoked(void *context, const char *identity, const char *credential_id)
{
    struct control *control = context;
    if (!control->running) // nobody has been told anything yet
        return;
    struct plane_message message = {
        .type = PLANE_REVOKED,
        .revoked = {.identity = slice_text(identity), .credential_id = slice_text(credential_id)}};
    workers_broadcast(control->workers, &message);
}

static void on_principal(void *context, const struct principal *principal)
{
    struct control *control = context;
    uint8_t packed[PLANE_MESSAGE_MAX];
    int len = plane_pack_principal(principal, packed, sizeof packed);
    if (!control->running || len < 0)
        return;
    struct plane_message message = {.type = PLANE_PRINCIPAL};
    message.principal.principal = slice_of(packed, (size_t)len);
    workers_broadcast(control->workers, &message);
}

static void on_owner(void *context, struct slice stem, struct slice upstream, struct slice credential_id, bool removed)
{
    struct control *control = context;
    struct batch batch = {.control = control};
    if (!owners_append(&batch, stem, upstream, credential_id))
        return;
    struct plane_message message = {
        .type = PLANE_OWNERS, .owners = {.remove = removed ? 1 : 0, .entries = slice_of(control->list, batch.used)}};
    workers_broadcast(control->workers, &message);
}

void control_schedule_expiry(struct control *control)
{
    int64_t now = clock_wall();
    int64_t next = resolver_expire(control->resolver, now);
    int64_t remote = remote_expire(control->remote, now);
    if (remote != 0 && (next == 0 || remote < next))
        next = remote;
    // The wall clock may be set: look again at least once a minute.
    int64_t wait = next != 0 && next - now < EXPIRY_CHECK_SECONDS ? next - now : EXPIRY_CHECK_SECONDS;
    struct timeval timeout = {.tv_sec = (time_t)wait};
    control->expiry_at = now + wait;
    (void)event_add(control->expiry, &timeout);
}

static void on_expiry(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    control_schedule_expiry(context);
}

static void value(struct control *control, size_t *count, struct metrics_value one)
{
    if (*count < METRICS_VALUES_MAX)
        control->values[(*count)++] = one;
}

#define VALUE(...) value(control, count, (struct metrics_value){__VA_ARGS__})

// Why answers of MAFs and MEFs were not taken.
static void collect_refusals(struct control *control, size_t *count, const struct remote_counters *counters)
{
    static char labels[REMOTE_REFUSALS][40];
    for (unsigned i = 0; i < REMOTE_REFUSALS; i++) {
        (void)snprintf(labels[i], sizeof labels[i], "reason=\"%s\"", remote_refusal_name((enum remote_refusal)i));
        VALUE("resolver_remote_refused_total", labels[i], "counter",
              "Answers of MAFs and MEFs that were not taken, by reason", counters->refused[i]);
    }
}

// Identities whose keys are at MAFs and MEFs.
static void collect_remote(struct control *control, size_t *count)
{
    static const char name[] = "resolver_remote_total";
    struct remote_counters counters;
    remote_counters(control->remote, &counters);
    VALUE(name, "result=\"cache_hit\"", "counter", "Identities looked for at MAFs and MEFs, by what came of it",
          counters.cache_hits);
    VALUE(name, "result=\"negative_hit\"", "counter", "", counters.negative_hits);
    VALUE(name, "result=\"asked\"", "counter", "", counters.asked);
    VALUE(name, "result=\"joined\"", "counter", "", counters.joined);
    VALUE(name, "result=\"found\"", "counter", "", counters.found);
    VALUE(name, "result=\"not_found\"", "counter", "", counters.not_found);
    VALUE(name, "result=\"failed\"", "counter", "", counters.failed);
    VALUE(name, "result=\"deadline\"", "counter", "", counters.deadline);
    VALUE(name, "result=\"overflow\"", "counter", "", counters.overflow);
    VALUE(name, "result=\"malformed\"", "counter", "", counters.malformed_identity);
    VALUE(name, "result=\"unknown_fqdn\"", "counter", "", counters.unknown_fqdn);
    VALUE("resolver_remote_dropped_total", "reason=\"expired\"", "counter",
          "Keys and unknown identities that are held no longer, by reason", counters.expired);
    VALUE("resolver_remote_dropped_total", "reason=\"flushed\"", "counter", "", counters.flushed);
    VALUE("resolver_remote_dropped_total", "reason=\"evicted\"", "counter", "", counters.evicted);
    VALUE("resolver_remote_entries", "state=\"waiting\"", "gauge",
          "Identities of MAFs and MEFs that are asked for, known, and known to be unknown", counters.waiting);
    VALUE("resolver_remote_entries", "state=\"cached\"", "gauge", "", counters.cached);
    VALUE("resolver_remote_entries", "state=\"negative\"", "gauge", "", counters.negative);
    collect_refusals(control, count, &counters);
}

#undef VALUE

// The control process's own numbers; those of one name stand together.
static size_t collect(struct control *control)
{
    size_t n = 0;
#define VALUE(...) value(control, &n, (struct metrics_value){__VA_ARGS__})
    VALUE("start_time_seconds", "", "gauge", "Start of the control process, seconds since 1970",
          (uint64_t)control->started_at);
    VALUE("config_generation", "", "gauge", "Number of the configuration in force", control->generation);
    VALUE("config_reloads_total", "result=\"ok\"", "counter", "Configurations taken and refused by the control process",
          control->reloads);
    VALUE("config_reloads_total", "result=\"failed\"", "counter", "", control->reloads_failed);
    VALUE("draining", "", "gauge", "1 while no new associations are taken by order of the operator",
          control->draining ? 1 : 0);
    VALUE("control_clients", "", "gauge", "Clients of the control socket", control_socket_clients(control->socket));
    VALUE("control_commands_total", "", "counter", "Commands taken from the control socket", control->commands);
    VALUE("worker_messages_queued", "", "gauge", "Messages that wait for workers to read",
          workers_queued(control->workers));
    VALUE("worker_messages_dropped_total", "", "counter", "Messages dropped because a worker did not read",
          workers_dropped(control->workers));
    VALUE("unlocked_secret_bytes", "", "gauge", "Key memory of the control process that could not be locked",
          secret_unlocked_bytes());
    if (control->resolver == NULL)
        return n;
    const struct resolver_counters *counters = resolver_get_counters(control->resolver);
    VALUE("identities", "source=\"file\"", "gauge", "Identities that are provisioned",
          resolver_count(control->resolver, RESOLVER_FILE));
    VALUE("identities", "source=\"run_time\"", "gauge", "", resolver_count(control->resolver, RESOLVER_RUN_TIME));
    VALUE("resolutions_total", "result=\"found\"", "counter", "Identities that workers asked for, by result",
          counters->found);
    VALUE("resolutions_total", "result=\"unknown\"", "counter", "", counters->unknown);
    VALUE("resolutions_total", "result=\"expired\"", "counter", "", counters->expired);
    VALUE("registrations", "", "gauge", "AE-IDs assigned by CSEs that are remembered",
          registrations_count(control->registrations));
    VALUE("registration_changes_total", "result=\"stored\"", "counter",
          "Registrations told by workers: stored, removed, or refused and why", counters->stored);
    VALUE("registration_changes_total", "result=\"removed\"", "counter", "", counters->removed);
    VALUE("registration_changes_total", "result=\"owned_by_another\"", "counter", "", counters->refused_owner);
    VALUE("registration_changes_total", "result=\"no_pattern\"", "counter", "", counters->refused_pattern);
    VALUE("registration_changes_total", "result=\"limit\"", "counter", "", counters->refused_limit);
    VALUE("registration_changes_total", "result=\"failed\"", "counter", "", counters->failed);
#undef VALUE
    collect_remote(control, &n);
    return n;
}

void control_metrics_source(void *context, struct metrics_source *out)
{
    struct control *control = context;
    *out = (struct metrics_source){
        .config = control->config,
        .stats = control->stats,
        .draining = control->draining,
        .processes = control->processes_known ? &control->processes : NULL,
        .values = control->values,
        .value_count = collect(control),
        .workers = workers_count(control->workers),
        .tefs = control->tef_values,
    };
    while (out->tef_count < CONFIG_TEFS_MAX &&
           tefs_status(control->tefs, out->tef_count, &control->tef_values[out->tef_count].name,
                       &control->tef_values[out->tef_count].status))
        out->tef_count++;
    if (out->workers > control->stats_workers) // not all have shared memory (yet)
        out->stats = NULL;
    for (unsigned i = 0; i < out->workers; i++)
        out->present += workers_present(control->workers, i);
}

static void on_left(void *context)
{
    struct control *control = context;
    (void)event_base_loopbreak(control->base);
}

// The TEFs are told first, which a second signal cuts short.
static void on_terminate(evutil_socket_t fd, short what, void *context)
{
    struct control *control = context;
    (void)fd;
    (void)what;
    if (control->leaving) {
        (void)event_base_loopbreak(control->base);
        return;
    }
    control->leaving = true;
    tefs_leave(control->tefs, LEAVE_MS, on_left, control);
}

static void control_free(struct control *control)
{
    if (control->base == NULL)
        return;
    if (control->socket != NULL)
        operations_end(control);
    control_socket_free(control->socket);
    metrics_http_free(control->metrics);
    resolving_end(control);
    workers_free(control->workers);
    resolver_free(control->resolver);
    registrations_close(control->registrations);
    configure_discard(control);
    credentials_free(control->file);
    credentials_free(control->run_time);
    config_free(control->config);
    free(control->run_time_path);
    if (control->stats != NULL)
        (void)munmap((void *)(uintptr_t)control->stats, control->stats_len);
    struct event *events[] = {control->supervisor_readable, control->expiry, control->terminate};
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        if (events[i] != NULL)
            event_free(events[i]);
    }
    event_base_free(control->base);
}

static bool start(struct control *control)
{
    control->started_at = clock_wall();
    // So that an answer to the process before this one is not taken for one of ours.
    control->last_ticket = (uint64_t)control->started_at << 20;
    control->workers_events = (struct workers_events){control, on_message, on_greeted, on_idle};
    control->resolver_events = (struct resolver_events){control, on_revoked, on_principal, on_owner};
    control->handler = (struct control_handler){control, commands_dispatch};
    control->pending.control_fd = control->pending.metrics_fd = -1;
    LIST_INIT(&control->operations);
    control->base = event_base_new();
    if (control->base == NULL)
        return false;
    control->workers = workers_new(control->base, &control->workers_events);
    control->socket = control_socket_new(control->base, &control->handler);
    control->metrics = metrics_http_new(control->base, control_metrics_source, control);
    control->supervisor_readable =
        event_new(control->base, control->supervisor_fd, EV_READ | EV_PERSIST, configure_on_supervisor, control);
    control->expiry = evtimer_new(control->base, on_expiry, control);
    control->terminate = evsignal_new(control->base, SIGTERM, on_terminate, control);
    return resolving_start(control) && control->workers != NULL && control->socket != NULL &&
           control->metrics != NULL && control->supervisor_readable != NULL && control->expiry != NULL &&
           control->terminate != NULL && event_add(control->supervisor_readable, NULL) == 0 &&
           event_add(control->terminate, NULL) == 0;
}

static void on_library_log(int severity, const char *text)
{
    static struct log_sample sample;
    log_sampled(&sample, severity >= EVENT_LOG_WARN ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG, "libevent: %s", text);
}

int control_main(int supervisor_fd)
{
    log_set_process("control");
    event_set_log_callback(on_library_log);
    (void)signal(SIGPIPE, SIG_IGN);
    // The supervisor gets these from a terminal or an operator, and decides.
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    control_json_wipes();
    struct control *control = calloc(1, sizeof *control);
    if (control == NULL) {
        log_error("control: %s", sagate_strerror(SAGATE_ENOMEM));
        return EXIT_FAILURE;
    }
    control->supervisor_fd = supervisor_fd;
    bool started = start(control);
    if (started)
        (void)event_base_dispatch(control->base);
    else
        log_error("control: cannot start: %s", sagate_strerror(SAGATE_ESYS));
    control_free(control);
    free(control);
    close(supervisor_fd);
    return started ? EXIT_SUCCESS : EXIT_FAILURE;
}
