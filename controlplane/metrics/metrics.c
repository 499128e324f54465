// Prometheus text from the workers' counters.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/metrics/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct row {
    enum stat_id id;
    const char *name, *labels, *type, *help;
};

static const struct row rows[] = {
#define X(id, name, labels, type, help) {STAT_##id, name, labels, type, help},
    SAGATE_STATS(X)
#undef X
};

static const int rsc_of_row[] = {
#define X(rsc) rsc,
    SAGATE_STATS_RSC(X)
#undef X
};

static const char *const binding_names[STATS_BINDINGS] = {[STATS_COAP] = "coap", [STATS_HTTP] = "http"};
static const char *const operation_names[STATS_OPERATIONS] = {"unknown", "create", "retrieve",
                                                              "update",  "delete", "notify"};

_Static_assert((int)CONFIG_COAP == (int)STATS_COAP && (int)CONFIG_HTTP == (int)STATS_HTTP,
               "bindings have one number in configuration and counters");

// NULL for a worker that has not written its counters yet, or of another layout.
static const struct stats *stats_of(const struct metrics_source *source, unsigned worker)
{
    const struct stats *stats =
        (const void *)((const uint8_t *)source->stats + (size_t)worker * (size_t)METRICS_STRIDE);
    return stats_get(&stats->layout) == STATS_LAYOUT ? stats : NULL;
}

uint64_t metrics_sum(const struct metrics_source *source, enum stat_id stat)
{
    uint64_t sum = 0;
    for (unsigned i = 0; source->stats != NULL && i < source->workers; i++) {
        const struct stats *stats = stats_of(source, i);
        if (stats != NULL)
            sum += stats_get(&stats->counters[stat]);
    }
    return sum;
}

static uint64_t primitives(const struct metrics_source *source, unsigned binding, unsigned operation, unsigned rsc)
{
    uint64_t sum = 0;
    for (unsigned i = 0; source->stats != NULL && i < source->workers; i++) {
        const struct stats *stats = stats_of(source, i);
        if (stats != NULL)
            sum += stats_get(&stats->primitives[binding][operation][rsc]);
    }
    return sum;
}

void metrics_server(const struct metrics_source *source, const struct config_server *server,
                    enum config_binding binding, struct metrics_upstream *out)
{
    unsigned seen = 0;
    *out = (struct metrics_upstream){.healthy = true};
    for (unsigned i = 0; source->stats != NULL && i < source->workers; i++) {
        const struct stats *stats = stats_of(source, i);
        if (stats == NULL || server->number >= STATS_SERVERS_MAX)
            continue;
        const struct stats_server *one = &stats->servers[server->number];
        seen++;
        out->healthy = out->healthy && stats_get(&one->healthy[binding]) != 0;
        out->requests += stats_get(&one->requests[binding]);
        out->failures += stats_get(&one->failures[binding]);
        out->in_flight += stats_get(&one->in_flight[binding]);
        out->connections += stats_get(&one->connections);
        out->latency_sum_us += stats_get(&one->latency_sum_us[binding]);
        for (unsigned n = 0; n < STATS_LATENCY_BUCKETS; n++) {
            uint64_t count = stats_get(&one->latency[binding][n]);
            out->latency[n] += count;
            out->answers += count;
        }
    }
    out->healthy = out->healthy && seen > 0;
}

static void head(struct evbuffer *out, const char *name, const char *type, const char *help)
{
    (void)evbuffer_add_printf(out, "# HELP sagate_%s %s\n# TYPE sagate_%s %s\n", name, help, name, type);
}

static void sample(struct evbuffer *out, const char *name, const char *labels, uint64_t value)
{
    const char *open = labels[0] == '\0' ? "" : "{";
    const char *close = labels[0] == '\0' ? "" : "}";
    (void)evbuffer_add_printf(out, "sagate_%s%s%s%s %" PRIu64 "\n", name, open, labels, close, value);
}

static void render_rows(const struct metrics_source *source, struct evbuffer *out)
{
    const char *last = "";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rows[i].name, last) != 0)
            head(out, rows[i].name, rows[i].type, rows[i].help);
        last = rows[i].name;
        sample(out, rows[i].name, rows[i].labels, metrics_sum(source, rows[i].id));
    }
}

static void render_values(const struct metrics_source *source, struct evbuffer *out)
{
    const char *last = "";
    for (size_t i = 0; i < source->value_count; i++) {
        const struct metrics_value *value = &source->values[i];
        if (strcmp(value->name, last) != 0)
            head(out, value->name, value->type, value->help);
        last = value->name;
        sample(out, value->name, value->labels, value->value);
    }
}

// Only what has occurred: most of the combinations never will.
static void render_primitives(const struct metrics_source *source, struct evbuffer *out)
{
    head(out, "primitives_total", "counter", "Primitives answered, by binding, operation and response status code");
    for (unsigned binding = 0; binding < STATS_BINDINGS; binding++) {
        for (unsigned operation = 0; operation < STATS_OPERATIONS; operation++) {
            for (unsigned rsc = 0; rsc < STATS_RSC_COUNT; rsc++) {
                uint64_t value = primitives(source, binding, operation, rsc);
                char labels[96];
                char code[16] = "other";
                if (value == 0)
                    continue;
                if (rsc != STATS_RSC_OTHER)
                    (void)snprintf(code, sizeof code, "%d", rsc_of_row[rsc]);
                (void)snprintf(labels, sizeof labels, "binding=\"%s\",operation=\"%s\",rsc=\"%s\"",
                               binding_names[binding], operation_names[operation], code);
                sample(out, "primitives_total", labels, value);
            }
        }
    }
}

// A label value: backslash, quote and line break are escaped.
static void escape(const char *text, char *out, size_t cap)
{
    size_t used = 0;
    for (; *text != '\0' && used + 3 < cap; text++) {
        if (*text == '\\' || *text == '"' || *text == '\n')
            out[used++] = '\\';
        out[used++] = *text == '\n' ? 'n' : *text;
    }
    out[used] = '\0';
}

struct upstream_metric {
    const char *name, *type, *help;
    void (*write)(struct evbuffer *out, const char *name, const char *labels, const struct metrics_upstream *sums);
};

static void write_healthy(struct evbuffer *out, const char *name, const char *labels,
                          const struct metrics_upstream *sums)
{
    sample(out, name, labels, sums->healthy ? 1 : 0);
}

static void write_requests(struct evbuffer *out, const char *name, const char *labels,
                           const struct metrics_upstream *sums)
{
    sample(out, name, labels, sums->requests);
}

static void write_failures(struct evbuffer *out, const char *name, const char *labels,
                           const struct metrics_upstream *sums)
{
    sample(out, name, labels, sums->failures);
}

static void write_in_flight(struct evbuffer *out, const char *name, const char *labels,
                            const struct metrics_upstream *sums)
{
    sample(out, name, labels, sums->in_flight);
}

static void write_latency(struct evbuffer *out, const char *name, const char *labels,
                          const struct metrics_upstream *sums)
{
    uint64_t below = 0;
    for (unsigned i = 0; i < STATS_LATENCY_BUCKETS - 1; i++) {
        below += sums->latency[i];
        uint64_t bound_us = 100ULL << i;
        (void)evbuffer_add_printf(out, "sagate_%s_bucket{%s,le=\"%" PRIu64 ".%04" PRIu64 "\"} %" PRIu64 "\n", name,
                                  labels, bound_us / 1000000, bound_us % 1000000 / 100, below);
    }
    (void)evbuffer_add_printf(out, "sagate_%s_bucket{%s,le=\"+Inf\"} %" PRIu64 "\n", name, labels, sums->answers);
    (void)evbuffer_add_printf(out, "sagate_%s_sum{%s} %" PRIu64 ".%06" PRIu64 "\n", name, labels,
                              sums->latency_sum_us / 1000000, sums->latency_sum_us % 1000000);
    (void)evbuffer_add_printf(out, "sagate_%s_count{%s} %" PRIu64 "\n", name, labels, sums->answers);
}

static const struct upstream_metric upstream_metrics[] = {
    {"upstream_healthy", "gauge", "1 when every worker holds the server of the upstream for healthy", write_healthy},
    {"upstream_requests_total", "counter", "Requests sent to the server", write_requests},
    {"upstream_failures_total", "counter", "Requests that the server refused, broke off or answered malformed",
     write_failures},
    {"upstream_requests_in_flight", "gauge", "Requests that wait for the server's answer", write_in_flight},
    {"upstream_latency_seconds", "histogram", "Time from a request to the server's answer", write_latency},
};

typedef void server_visit(const struct metrics_source *source, const struct config_server *server, const char *labels,
                          struct evbuffer *out, const struct upstream_metric *metric);

static void server_bindings(const struct metrics_source *source, const struct config_server *server, const char *labels,
                            struct evbuffer *out, const struct upstream_metric *metric)
{
    for (unsigned binding = 0; binding < STATS_BINDINGS; binding++) {
        if (binding == STATS_HTTP ? !server->has_http : !server->has_coap)
            continue;
        struct metrics_upstream sums;
        char all[640];
        metrics_server(source, server, (enum config_binding)binding, &sums);
        (void)snprintf(all, sizeof all, "%s,binding=\"%s\"", labels, binding_names[binding]);
        metric->write(out, metric->name, all, &sums);
    }
}

static void server_connections(const struct metrics_source *source, const struct config_server *server,
                               const char *labels, struct evbuffer *out, const struct upstream_metric *metric)
{
    struct metrics_upstream sums;
    (void)metric;
    metrics_server(source, server, CONFIG_HTTP, &sums);
    if (server->has_http)
        sample(out, "upstream_connections", labels, sums.connections);
}

static void each_server(const struct metrics_source *source, server_visit *visit, struct evbuffer *out,
                        const struct upstream_metric *metric)
{
    const struct config *config = source->config;
    for (size_t i = 0; config != NULL && i < config->upstream_count; i++) {
        const struct config_upstream *upstream = &config->upstreams[i];
        for (size_t n = 0; n < upstream->server_count; n++) {
            char name[256], server[256], labels[600];
            escape(upstream->name, name, sizeof name);
            escape(upstream->servers[n].name, server, sizeof server);
            (void)snprintf(labels, sizeof labels, "upstream=\"%s\",server=\"%s\"", name, server);
            visit(source, &upstream->servers[n], labels, out, metric);
        }
    }
}

static void render_upstreams(const struct metrics_source *source, struct evbuffer *out)
{
    for (size_t i = 0; i < sizeof upstream_metrics / sizeof *upstream_metrics; i++) {
        head(out, upstream_metrics[i].name, upstream_metrics[i].type, upstream_metrics[i].help);
        each_server(source, server_bindings, out, &upstream_metrics[i]);
    }
    head(out, "upstream_connections", "gauge", "Open HTTP connections to the server");
    each_server(source, server_connections, out, NULL);
}

static const struct {
    const char *name, *labels, *type, *help;
    size_t offset; // of a uint64_t in struct tef_status
} tef_counters[] = {
#define TEF_REQUESTS(result, member, help)                                                                   \
    {                                                                                                        \
        "tef_requests_total", ",result=\"" result "\"", "counter", help, offsetof(struct tef_status, member) \
    }
    TEF_REQUESTS("ok", ok, "Requests to MAFs and MEFs that have ended, by result"),
    TEF_REQUESTS("not_found", not_found, ""),
    TEF_REQUESTS("malformed", malformed, ""),
    TEF_REQUESTS("timeout", timeouts, ""),
    TEF_REQUESTS("unavailable", unavailable, ""),
    TEF_REQUESTS("handshake", handshake_failures, ""),
    TEF_REQUESTS("refused", refused, ""),
#undef TEF_REQUESTS
    {"tef_connects_total", "", "counter", "Connections to the MAF or MEF that were begun",
     offsetof(struct tef_status, connects)},
};

typedef void tef_write(struct evbuffer *out, const char *labels, const struct tef_status *status);

static void tef_registered(struct evbuffer *out, const char *labels, const struct tef_status *status)
{
    sample(out, "tef_registered", labels, status->registered ? 1 : 0);
}

static void tef_connections(struct evbuffer *out, const char *labels, const struct tef_status *status)
{
    sample(out, "tef_connections", labels, status->connections);
}

static void tef_waiting(struct evbuffer *out, const char *labels, const struct tef_status *status)
{
    sample(out, "tef_requests_waiting", labels, status->waiting);
}

static void tef_in_flight(struct evbuffer *out, const char *labels, const struct tef_status *status)
{
    sample(out, "tef_requests_in_flight", labels, status->in_flight);
}

static void tef_latency(struct evbuffer *out, const char *labels, const struct tef_status *status)
{
    static const char name[] = "tef_latency_seconds";
    uint64_t below = 0;
    for (unsigned i = 0; i < TEF_LATENCY_BUCKETS - 1; i++) {
        below += status->latency[i];
        (void)evbuffer_add_printf(out, "sagate_%s_bucket{%s,le=\"%u.%03u\"} %" PRIu64 "\n", name, labels,
                                  tef_latency_bounds[i] / 1000, tef_latency_bounds[i] % 1000, below);
    }
    below += status->latency[TEF_LATENCY_BUCKETS - 1];
    (void)evbuffer_add_printf(out, "sagate_%s_bucket{%s,le=\"+Inf\"} %" PRIu64 "\n", name, labels, below);
    (void)evbuffer_add_printf(out, "sagate_%s_sum{%s} %" PRIu64 ".%06" PRIu64 "\n", name, labels,
                              status->latency_sum_us / 1000000, status->latency_sum_us % 1000000);
    (void)evbuffer_add_printf(out, "sagate_%s_count{%s} %" PRIu64 "\n", name, labels, below);
}

static const struct {
    const char *name, *type, *help;
    tef_write *write;
} tef_metrics[] = {
    {"tef_registered", "gauge", "1 while sagate is registered at the MAF or MEF, or need not be", tef_registered},
    {"tef_connections", "gauge", "Open connections to the MAF or MEF", tef_connections},
    {"tef_requests_waiting", "gauge", "Requests that wait for a connection to the MAF or MEF", tef_waiting},
    {"tef_requests_in_flight", "gauge", "Requests that wait for the answer of the MAF or MEF", tef_in_flight},
    {"tef_latency_seconds", "histogram", "Time from a request to the answer of the MAF or MEF", tef_latency},
};

static void tef_labels(const struct metrics_tef *tef, const char *more, char *labels, size_t len)
{
    char name[256];
    escape(tef->name, name, sizeof name);
    (void)snprintf(labels, len, "tef=\"%s\"%s", name, more);
}

static void render_tefs(const struct metrics_source *source, struct evbuffer *out)
{
    char labels[320];
    const char *last = "";
    for (size_t i = 0; i < sizeof tef_counters / sizeof *tef_counters; i++) {
        if (strcmp(tef_counters[i].name, last) != 0)
            head(out, tef_counters[i].name, tef_counters[i].type, tef_counters[i].help);
        last = tef_counters[i].name;
        for (size_t n = 0; n < source->tef_count; n++) {
            uint64_t count;
            memcpy(&count, (const char *)&source->tefs[n].status + tef_counters[i].offset, sizeof count);
            tef_labels(&source->tefs[n], tef_counters[i].labels, labels, sizeof labels);
            sample(out, last, labels, count);
        }
    }
    for (size_t i = 0; i < sizeof tef_metrics / sizeof *tef_metrics; i++) {
        head(out, tef_metrics[i].name, tef_metrics[i].type, tef_metrics[i].help);
        for (size_t n = 0; n < source->tef_count; n++) {
            tef_labels(&source->tefs[n], "", labels, sizeof labels);
            tef_metrics[i].write(out, labels, &source->tefs[n].status);
        }
    }
}

void metrics_render(const struct metrics_source *source, struct evbuffer *out)
{
    head(out, "build_info", "gauge", "1, with the version as label");
    sample(out, "build_info", "version=\"" SAGATE_VERSION "\"", 1);
    head(out, "process_restarts_total", "counter", "Restarts of a process by the supervisor");
    sample(out, "process_restarts_total", "process=\"control\"",
           source->processes == NULL ? 0 : source->processes->control_restarts);
    sample(out, "process_restarts_total", "process=\"data\"",
           source->processes == NULL ? 0 : source->processes->data_restarts);
    head(out, "workers", "gauge", "Workers that should run");
    sample(out, "workers", "", source->workers);
    head(out, "workers_present", "gauge", "Workers that have reported to the control process");
    sample(out, "workers_present", "", source->present);
    render_values(source, out);
    render_rows(source, out);
    render_primitives(source, out);
    render_upstreams(source, out);
    render_tefs(source, out);
}

static bool is_any_healthy(const struct metrics_source *source)
{
    for (size_t i = 0; i < source->config->upstream_count; i++) {
        const struct config_upstream *upstream = &source->config->upstreams[i];
        for (size_t n = 0; n < upstream->server_count; n++) {
            const struct config_server *server = &upstream->servers[n];
            struct metrics_upstream http, coap;
            metrics_server(source, server, CONFIG_HTTP, &http);
            metrics_server(source, server, CONFIG_COAP, &coap);
            if ((server->has_http && http.healthy) || (server->has_coap && coap.healthy))
                return true;
        }
    }
    return false;
}

bool metrics_ready(const struct metrics_source *source, char *reason, size_t len)
{
    if (source->config == NULL)
        (void)snprintf(reason, len, "no configuration yet");
    else if (source->processes != NULL && source->processes->data == 0)
        (void)snprintf(reason, len, "the data process is not running");
    else if (source->workers == 0 || source->present < source->workers)
        (void)snprintf(reason, len, "%u of %u workers have reported", source->present, source->workers);
    else if (source->draining)
        (void)snprintf(reason, len, "draining");
    else if (!is_any_healthy(source))
        (void)snprintf(reason, len, "no upstream is healthy");
    else
        return true;
    return false;
}
