// The commands of the control socket: the table, and those that need to wait for nobody.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/control/commands.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "controlplane/control/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

json_t *commands_text(struct slice text)
{
    json_t *string = json_stringn(text.data == NULL ? "" : (const char *)text.data, text.len);
    if (string != NULL)
        return string;
    char *plain = malloc(text.len + 1);
    if (plain == NULL)
        return NULL;
    for (size_t i = 0; i < text.len; i++)
        plain[i] = text.data[i] >= 0x20 && text.data[i] < 0x7f ? (char)text.data[i] : '?';
    plain[text.len] = '\0';
    string = json_string(plain);
    free(plain);
    return string;
}

json_t *commands_time(int64_t seconds)
{
    char text[32];
    time_t when = (time_t)seconds;
    struct tm parts;
    if (seconds == 0 || gmtime_r(&when, &parts) == NULL)
        return json_null();
    (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return json_string(text);
}

bool commands_limit(struct control_request *request, const json_t *command, size_t fallback, size_t most, size_t *limit)
{
    const json_t *value = json_object_get(command, "limit");
    *limit = fallback;
    if (value == NULL)
        return true;
    json_int_t wanted = json_integer_value(value);
    if (wanted < 1) {
        control_request_fail(request, "\"limit\" must be a number above 0");
        return false;
    }
    *limit = (uint64_t)wanted < most ? (size_t)wanted : most;
    return true;
}

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *process(int64_t pid, json_t *restarts)
{
    json_t *object = json_pack("{s:I}", "pid", (json_int_t)pid);
    if (restarts != NULL)
        (void)json_object_set_new(object, "restarts", restarts);
    return object;
}

static json_t *data_process(const struct plane_processes *processes)
{
    json_t *object = process(processes->data, number(processes->data_restarts));
    int64_t age = processes->data_started == 0 ? 0 : clock_wall() - processes->data_started;
    (void)json_object_set_new(object, "version", commands_text(processes->data_version));
    (void)json_object_set_new(object, "started", commands_time(processes->data_started));
    (void)json_object_set_new(object, "uptime_seconds", json_integer(age > 0 ? age : 0));
    (void)json_object_set_new(object, "associations_resumed", number(processes->data_resumed));
    (void)json_object_set_new(object, "associations_lost", number(processes->data_lost));
    return object;
}

// Servers that are healthy in at least one binding, and all.
static json_t *upstream_summary(const struct control *control, const struct metrics_source *source)
{
    uint64_t healthy = 0;
    uint64_t servers = 0;
    for (size_t i = 0; i < control->config->upstream_count; i++) {
        const struct config_upstream *upstream = &control->config->upstreams[i];
        for (size_t n = 0; n < upstream->server_count; n++) {
            const struct config_server *server = &upstream->servers[n];
            struct metrics_upstream http, coap;
            metrics_server(source, server, CONFIG_HTTP, &http);
            metrics_server(source, server, CONFIG_COAP, &coap);
            servers++;
            healthy += (server->has_http && http.healthy) || (server->has_coap && coap.healthy);
        }
    }
    return json_pack("{s:o, s:o}", "servers", number(servers), "healthy", number(healthy));
}

static void status(struct control *control, struct control_request *request, const json_t *command)
{
    struct metrics_source source;
    char reason[128] = "";
    (void)command;
    control_metrics_source(control, &source);
    bool ready = metrics_ready(&source, reason, sizeof reason);
    const struct plane_processes *processes = &control->processes;
    json_t *answer = json_object();
    (void)json_object_set_new(answer, "version", json_string(SAGATE_VERSION));
    (void)json_object_set_new(answer, "uptime_seconds", json_integer(clock_wall() - control->started_at));
    (void)json_object_set_new(answer, "ready", json_boolean(ready));
    if (!ready)
        (void)json_object_set_new(answer, "reason", json_string(reason));
    (void)json_object_set_new(answer, "processes",
                              json_pack("{s:o, s:o, s:o}", "supervisor", process(processes->supervisor, NULL),
                                        "control", process(getpid(), number(processes->control_restarts)), "data",
                                        data_process(processes)));
    (void)json_object_set_new(
        answer, "workers",
        json_pack("{s:o, s:o}", "configured", number(source.workers), "present", number(source.present)));
    (void)json_object_set_new(answer, "associations",
                              json_pack("{s:o, s:o}", "dtls", number(metrics_sum(&source, STAT_ASSOCIATIONS_DTLS)),
                                        "tls", number(metrics_sum(&source, STAT_ASSOCIATIONS_TLS))));
    uint64_t ok = metrics_sum(&source, STAT_HANDSHAKES_OK_PSK) + metrics_sum(&source, STAT_HANDSHAKES_OK_NONE) +
                  metrics_sum(&source, STAT_HANDSHAKES_OK_CERTIFICATE);
    uint64_t failed = metrics_sum(&source, STAT_HANDSHAKES_FAILED_CREDENTIAL) +
                      metrics_sum(&source, STAT_HANDSHAKES_FAILED_CERTIFICATE) +
                      metrics_sum(&source, STAT_HANDSHAKES_FAILED_PROTOCOL) +
                      metrics_sum(&source, STAT_HANDSHAKES_FAILED_TIMEOUT) +
                      metrics_sum(&source, STAT_HANDSHAKES_FAILED_GONE);
    (void)json_object_set_new(answer, "handshakes",
                              json_pack("{s:o, s:o, s:o, s:o}", "ok", number(ok), "failed", number(failed),
                                        "in_progress", number(metrics_sum(&source, STAT_HANDSHAKES_IN_PROGRESS)),
                                        "parked", number(metrics_sum(&source, STAT_HANDSHAKES_PARKED))));
    (void)json_object_set_new(answer, "upstreams", upstream_summary(control, &source));
    (void)json_object_set_new(answer, "identities",
                              json_pack("{s:o, s:o}", "file", number(resolver_count(control->resolver, RESOLVER_FILE)),
                                        "run-time", number(resolver_count(control->resolver, RESOLVER_RUN_TIME))));
    (void)json_object_set_new(answer, "registrations", number(registrations_count(control->registrations)));
    (void)json_object_set_new(answer, "generation", number(control->generation));
    (void)json_object_set_new(answer, "drain", json_boolean(control->draining));
    (void)json_object_set_new(answer, "log_level", json_string(log_level_name(log_get_level())));
    control_request_answer(request, answer);
}

static json_t *server_binding(const struct metrics_source *source, const struct config_server *server,
                              enum config_binding binding)
{
    struct metrics_upstream sums;
    char address[ADDRESS_TEXT_MAX];
    metrics_server(source, server, binding, &sums);
    json_t *object = json_object();
    (void)json_object_set_new(
        object, "address",
        json_string(address_format(binding == CONFIG_HTTP ? &server->http : &server->coap, address)));
    (void)json_object_set_new(object, "healthy", json_boolean(sums.healthy));
    (void)json_object_set_new(object, "requests", number(sums.requests));
    (void)json_object_set_new(object, "failures", number(sums.failures));
    (void)json_object_set_new(object, "in_flight", number(sums.in_flight));
    if (binding == CONFIG_HTTP)
        (void)json_object_set_new(object, "connections", number(sums.connections));
    (void)json_object_set_new(
        object, "mean_latency_ms",
        sums.answers == 0 ? json_null() : json_real((double)sums.latency_sum_us / (double)sums.answers / 1000.0));
    return object;
}

static void upstreams(struct control *control, struct control_request *request, const json_t *command)
{
    struct metrics_source source;
    (void)command;
    control_metrics_source(control, &source);
    json_t *list = json_array();
    for (size_t i = 0; i < control->config->upstream_count; i++) {
        const struct config_upstream *upstream = &control->config->upstreams[i];
        json_t *servers = json_array();
        for (size_t n = 0; n < upstream->server_count; n++) {
            const struct config_server *server = &upstream->servers[n];
            json_t *object = json_pack("{s:o}", "name", commands_text(slice_text(server->name)));
            if (server->has_http)
                (void)json_object_set_new(object, "http", server_binding(&source, server, CONFIG_HTTP));
            if (server->has_coap)
                (void)json_object_set_new(object, "coap", server_binding(&source, server, CONFIG_COAP));
            (void)json_array_append_new(servers, object);
        }
        (void)json_array_append_new(list, json_pack("{s:o, s:o, s:o}", "name",
                                                    commands_text(slice_text(upstream->name)), "cse_id",
                                                    commands_text(slice_text(upstream->cse_id)), "servers", servers));
    }
    control_request_answer(request, json_pack("{s:o}", "upstreams", list));
}

static void reload(struct control *control, struct control_request *request, const json_t *command)
{
    (void)command;
    operations_reload(control, request);
}

// So that the order outlives this process.
static void tell_supervisor(const struct control *control)
{
    const struct plane_message message = {.type = PLANE_STATE,
                                          .state = {.drain = control->draining ? 1 : 0,
                                                    .log_level_set = control->log_level_set ? 1 : 0,
                                                    .log_level = (uint8_t)log_get_level()}};
    if (plane_send(control->supervisor_fd, &message, -1) != SAGATE_OK)
        log_warning("control: the supervisor has not taken the order; it would be lost if this process ended");
}

static void drain(struct control *control, struct control_request *request, const json_t *command)
{
    const json_t *on = json_object_get(command, "on");
    if (on != NULL && !json_is_boolean(on)) {
        control_request_fail(request, "\"on\" must be true or false");
        return;
    }
    if (on != NULL) {
        control->draining = json_is_true(on);
        log_info("control: drain %s", control->draining ? "on" : "off");
        struct plane_message message = {.type = PLANE_DRAIN, .drain = {.on = control->draining ? 1 : 0}};
        workers_broadcast(control->workers, &message);
        tell_supervisor(control);
    }
    control_request_answer(request, json_pack("{s:b}", "drain", control->draining ? 1 : 0));
}

static void log_level(struct control *control, struct control_request *request, const json_t *command)
{
    const json_t *wanted = json_object_get(command, "level");
    const char *text = json_string_value(wanted);
    enum log_level level = log_get_level();
    if (wanted != NULL && (text == NULL || log_level_parse(text, &level) != SAGATE_OK)) {
        control_request_fail(request, "\"level\" must be error, warning, info or debug");
        return;
    }
    if (wanted != NULL) {
        control->log_level_set = true;
        log_set_level(level);
        struct plane_message message = {.type = PLANE_LOG_LEVEL, .log_level = {.level = (uint8_t)level}};
        workers_broadcast(control->workers, &message);
        tell_supervisor(control);
    }
    control_request_answer(request, json_pack("{s:s}", "log_level", log_level_name(level)));
}

static const struct {
    const char *name;
    void (*run)(struct control *control, struct control_request *request, const json_t *command);
} table[] = {
    {"status", status},
    {"associations list", associations_list},
    {"associations show", associations_show},
    {"associations kill", associations_kill},
    {"identities list", identities_list},
    {"identities add", identities_add},
    {"identities remove", identities_remove},
    {"identities forget", identities_forget},
    {"identities flush", identities_flush},
    {"tef status", tefs_status_command},
    {"upstreams", upstreams},
    {"reload", reload},
    {"upgrade", operations_upgrade},
    {"drain", drain},
    {"log level", log_level},
    {"profile", operations_profile},
};

void commands_dispatch(void *context, struct control_request *request, const char *name, const json_t *command)
{
    struct control *control = context;
    control->commands++;
    if (!control->running) {
        control_request_fail(request, "sagate has no configuration yet");
        return;
    }
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strcmp(table[i].name, name) == 0) {
            table[i].run(control, request, command);
            return;
        }
    }
    control_request_fail(request, "unknown command");
}
