// What the workers and the control process count, summed, as Prometheus text (exposition format 0.0.4), and whether
// sagate is ready. One thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_METRICS_METRICS_H
#define SAGATE_CONTROLPLANE_METRICS_METRICS_H

#include "common/plane.h"
#include "common/stats.h"
#include "controlplane/config/config.h"
#include "controlplane/tef/client.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Distance of two workers' struct stats in the shared memory: whole pages.
enum { METRICS_STRIDE = (int)((sizeof(struct stats) + 4095) / 4096 * 4096) };

// A number of the control process's own. Those of one name stand together; `help` is read from the first.
struct metrics_value {
    const char *name; // without "sagate_"
    const char *labels, *type, *help;
    uint64_t value;
};

// The client of a MAF or MEF.
struct metrics_tef {
    const char *name;
    struct tef_status status;
};

struct metrics_source {
    const struct config *config;             // names of upstreams and servers; NULL: none yet
    const void *stats;                       // shared memory; NULL: none yet
    unsigned workers;                        // in it
    unsigned present;                        // workers that have said something
    bool draining;                           // by order of the operator: not ready for more
    const struct plane_processes *processes; // NULL: not told yet
    const struct metrics_value *values;
    size_t value_count;
    const struct metrics_tef *tefs;
    size_t tef_count;
};

// One server of an upstream over all workers.
struct metrics_upstream {
    bool healthy; // in the eyes of every worker that runs
    uint64_t requests, failures, in_flight, connections;
    uint64_t latency[STATS_LATENCY_BUCKETS], answers, latency_sum_us;
};

// Sum of a counter over the workers; 0 for one that has not started.
uint64_t metrics_sum(const struct metrics_source *source, enum stat_id stat);

void metrics_server(const struct metrics_source *source, const struct config_server *server,
                    enum config_binding binding, struct metrics_upstream *out);

// Appends all metrics.
void metrics_render(const struct metrics_source *source, struct evbuffer *out);

// True when every worker is there and a server of an upstream is healthy; else the reason, a line without its end.
bool metrics_ready(const struct metrics_source *source, char *reason, size_t len);

// The HTTP server: GET /metrics, /healthz (200 while the event loop runs), /readyz (200 or 503 with the reason).
struct metrics_http;

// `fill` gives the source when a request comes; it stays valid until the next turn of the event loop.
// NULL when memory is short.
struct metrics_http *metrics_http_new(struct event_base *base, void (*fill)(void *context, struct metrics_source *out),
                                      void *context);
void metrics_http_free(struct metrics_http *http); // NULL is allowed

// Takes a listening socket, owned from now on, in place of the one before; -1: serves no longer. SAGATE_OK, or
// SAGATE_ENOMEM (`fd` is closed, the old one stays).
int metrics_http_listen(struct metrics_http *http, int fd);

#endif
