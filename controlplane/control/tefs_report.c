// What the MAF and MEF clients and the resolver tell people: metrics, and answers of the control socket.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/control/tefs.h"
#include "controlplane/control/tefs_internal.h"

#include <event2/buffer.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *kind_name(enum tef_kind kind)
{
    return kind == TEF_MAF ? "maf" : "mef";
}

static void head(struct evbuffer *out, const char *name, const char *type, const char *help)
{
    (void)evbuffer_add_printf(out, "# HELP sagate_%s %s\n# TYPE sagate_%s %s\n", name, help, name, type);
}

static void sample(struct evbuffer *out, const char *name, const char *labels, uint64_t value)
{
    (void)evbuffer_add_printf(out, "sagate_%s{%s} %" PRIu64 "\n", name, labels, value);
}

// Names of TEFs are letters, digits, '-', '_' and '.' (configuration), so that none needs escaping.
static void labels_of(const struct one_tef *one, char labels[512])
{
    (void)snprintf(labels, 512, "tef=\"%s\",kind=\"%s\"", one->name, kind_name(one->kind));
}

typedef uint64_t status_value(const struct tef_status *status);

static uint64_t value_registered(const struct tef_status *status)
{
    return status->registered ? 1 : 0;
}
static uint64_t value_connections(const struct tef_status *status)
{
    return status->connections;
}
static uint64_t value_connects(const struct tef_status *status)
{
    return status->connects;
}
static uint64_t value_waiting(const struct tef_status *status)
{
    return status->waiting;
}
static uint64_t value_in_flight(const struct tef_status *status)
{
    return status->in_flight;
}

static void render_simple(const struct tefs *tefs, struct evbuffer *out)
{
    static const struct {
        const char *name, *type, *help;
        status_value *value;
    } simple[] = {
        {"tef_registered", "gauge", "1 when registered at the MAF or MEF, or no registration is wanted",
         value_registered},
        {"tef_connections", "gauge", "Open connections to the MAF or MEF", value_connections},
        {"tef_connects_total", "counter", "Connections begun to the MAF or MEF", value_connects},
        {"tef_requests_waiting", "gauge", "Requests that wait for a connection", value_waiting},
        {"tef_requests_in_flight", "gauge", "Requests that wait for an answer", value_in_flight},
    };
    for (size_t n = 0; n < sizeof simple / sizeof *simple; n++) {
        head(out, simple[n].name, simple[n].type, simple[n].help);
        for (size_t i = 0; i < tefs->count; i++) {
            struct tef_status status;
            char labels[512];
            tef_client_status(tefs->list[i]->client, &status);
            labels_of(tefs->list[i], labels);
            sample(out, simple[n].name, labels, simple[n].value(&status));
        }
    }
}

static void render_results(const struct tefs *tefs, struct evbuffer *out)
{
    head(out, "tef_requests_total", "counter", "Requests to the MAF or MEF that have ended, by result");
    for (size_t i = 0; i < tefs->count; i++) {
        struct tef_status status;
        char labels[512];
        tef_client_status(tefs->list[i]->client, &status);
        labels_of(tefs->list[i], labels);
        const struct {
            const char *result;
            uint64_t value;
        } results[] = {
            {"ok", status.ok},
            {"not_found", status.not_found},
            {"malformed", status.malformed},
            {"timeout", status.timeouts},
            {"unavailable", status.unavailable},
            {"handshake", status.handshake_failures},
            {"limit", status.refused},
        };
        for (size_t n = 0; n < sizeof results / sizeof *results; n++) {
            char all[600];
            (void)snprintf(all, sizeof all, "%s,result=\"%s\"", labels, results[n].result);
            sample(out, "tef_requests_total", all, results[n].value);
        }
    }
}

static void render_latency(const struct tefs *tefs, struct evbuffer *out)
{
    head(out, "tef_latency_seconds", "histogram", "Time from a request to the answer of the MAF or MEF");
    for (size_t i = 0; i < tefs->count; i++) {
        struct tef_status status;
        char labels[512];
        uint64_t below = 0;
        tef_client_status(tefs->list[i]->client, &status);
        labels_of(tefs->list[i], labels);
        for (size_t n = 0; n < TEF_LATENCY_BUCKETS; n++) {
            below += status.latency[n];
            if (n < TEF_LATENCY_BUCKETS - 1)
                (void)evbuffer_add_printf(out, "sagate_tef_latency_seconds_bucket{%s,le=\"%u.%03u\"} %" PRIu64 "\n",
                                          labels, tef_latency_bounds[n] / 1000, tef_latency_bounds[n] % 1000, below);
        }
        (void)evbuffer_add_printf(out, "sagate_tef_latency_seconds_bucket{%s,le=\"+Inf\"} %" PRIu64 "\n", labels,
                                  below);
        (void)evbuffer_add_printf(out, "sagate_tef_latency_seconds_sum{%s} %" PRIu64 ".%06" PRIu64 "\n", labels,
                                  status.latency_sum_us / 1000000, status.latency_sum_us % 1000000);
        (void)evbuffer_add_printf(out, "sagate_tef_latency_seconds_count{%s} %" PRIu64 "\n", labels, below);
    }
}

static void render_resolver(const struct tefs *tefs, struct evbuffer *out)
{
    struct remote_counters counters;
    remote_counters(tefs->remote, &counters);
    const struct {
        const char *name, *labels;
        uint64_t value;
    } rows[] = {
        {"remote_resolutions_total", "result=\"found\"", counters.found},
        {"remote_resolutions_total", "result=\"not_found\"", counters.not_found},
        {"remote_resolutions_total", "result=\"failed\"", counters.failed},
        {"remote_resolutions_total", "result=\"deadline\"", counters.deadline},
        {"remote_resolutions_total", "result=\"overflow\"", counters.overflow},
        {"remote_resolutions_total", "result=\"cached\"", counters.cache_hits},
        {"remote_resolutions_total", "result=\"cached_negative\"", counters.negative_hits},
        {"remote_resolutions_total", "result=\"joined\"", counters.joined},
        {"remote_resolutions_total", "result=\"malformed_identity\"", counters.malformed_identity},
        {"remote_resolutions_total", "result=\"unknown_fqdn\"", counters.unknown_fqdn},
    };
    head(out, "remote_resolutions_total", "counter",
         "Identities that no credential is provisioned for, by what became of the question");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        sample(out, rows[i].name, rows[i].labels, rows[i].value);
    head(out, "remote_keys_refused_total", "counter", "Keys of a MAF or MEF that were not taken, by reason");
    for (unsigned i = 0; i < REMOTE_REFUSALS; i++) {
        char labels[64];
        (void)snprintf(labels, sizeof labels, "reason=\"%s\"", remote_refusal_name((enum remote_refusal)i));
        sample(out, "remote_keys_refused_total", labels, counters.refused[i]);
    }
    head(out, "remote_identities", "gauge", "Identities of MAFs and MEFs that are held or asked for");
    sample(out, "remote_identities", "state=\"key\"", counters.cached);
    sample(out, "remote_identities", "state=\"unknown\"", counters.negative);
    sample(out, "remote_identities", "state=\"waiting\"", counters.waiting);
    head(out, "remote_keys_ended_total", "counter", "Keys that are held no longer, by reason");
    sample(out, "remote_keys_ended_total", "reason=\"expired\"", counters.expired);
    sample(out, "remote_keys_ended_total", "reason=\"flushed\"", counters.flushed);
    sample(out, "remote_keys_ended_total", "reason=\"evicted\"", counters.evicted);
}

void tefs_write_metrics(void *context, struct evbuffer *out)
{
    const struct tefs *tefs = ((struct control *)context)->tefs;
    if (tefs == NULL || tefs->count == 0) // nobody has asked for what these tell
        return;
    render_simple(tefs, out);
    render_results(tefs, out);
    render_latency(tefs, out);
    render_resolver(tefs, out);
}

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *tef_status_json(const struct one_tef *one)
{
    struct tef_status status;
    tef_client_status(one->client, &status);
    uint64_t answers = 0;
    for (size_t i = 0; i < TEF_LATENCY_BUCKETS; i++)
        answers += status.latency[i];
    json_t *entry = json_pack("{s:s, s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:o}", "name", one->name, "kind",
                              kind_name(one->kind), "fqdn", one->fqdn, "client_id", one->client_id, "registered",
                              status.registered ? 1 : 0, "connections", number(status.connections), "waiting",
                              number(status.waiting), "in_flight", number(status.in_flight), "requests",
                              json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "ok", number(status.ok), "not_found",
                                        number(status.not_found), "malformed", number(status.malformed), "timeout",
                                        number(status.timeouts), "unavailable", number(status.unavailable), "handshake",
                                        number(status.handshake_failures)));
    if (entry == NULL)
        return NULL;
    if (answers > 0)
        (void)json_object_set_new(entry, "mean_latency_ms",
                                  json_real((double)status.latency_sum_us / 1000.0 / (double)answers));
    if (status.registration_expires_at > 0)
        (void)json_object_set_new(entry, "registration_expires_at", number((uint64_t)status.registration_expires_at));
    if (status.last_error[0] != '\0') {
        (void)json_object_set_new(entry, "last_error", json_string(status.last_error));
        (void)json_object_set_new(entry, "last_error_at", number((uint64_t)status.last_error_at));
    }
    return entry;
}

void tefs_status(struct control *control, struct control_request *request, const json_t *command)
{
    const struct tefs *tefs = control->tefs;
    struct remote_counters counters;
    (void)command;
    json_t *list = json_array();
    for (size_t i = 0; i < tefs->count; i++)
        (void)json_array_append_new(list, tef_status_json(tefs->list[i]));
    remote_counters(tefs->remote, &counters);
    control_request_answer(request, json_pack("{s:o, s:{s:o, s:o, s:o}}", "tefs", list, "identities", "keys",
                                              number(counters.cached), "unknown", number(counters.negative), "waiting",
                                              number(counters.waiting)));
}

void tefs_flush(struct control *control, struct control_request *request, const json_t *command)
{
    const json_t *identity = json_object_get(command, "identity");
    const json_t *end = json_object_get(command, "end_associations");
    if ((identity != NULL && !json_is_string(identity)) || (end != NULL && !json_is_boolean(end))) {
        control_request_fail(request, "\"identity\" must be a text, \"end_associations\" true or false");
        return;
    }
    struct slice wanted =
        identity == NULL ? slice_of(NULL, 0) : slice_of(json_string_value(identity), json_string_length(identity));
    size_t count = remote_flush(control->tefs->remote, wanted, json_is_true(end));
    control_request_answer(request, json_pack("{s:o}", "flushed", number(count)));
}
