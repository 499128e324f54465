// The modes of the load generator over a fleet of devices.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/clock.h"
#include "perf/fleet.h"
#include "perf/net.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROGRESS_US = 5000000, MORE_MAX = 512 };

static const struct load_options *options;

static void run_for(unsigned seconds)
{
    uint64_t end = clock_us() + seconds * 1000000ULL;
    while (clock_us() < end)
        (void)fleet_turn();
}

static void report(const char *event, uint64_t since_us, double cpu)
{
    char more[MORE_MAX];
    (void)snprintf(more, sizeof more,
                   ",\"established\":%u,\"answered\":%u,\"answered_again\":%u,\"unanswered\":%u,"
                   "\"send_failed\":%" PRIu64 ",\"at_us\":%" PRIu64,
                   fleet.established, fleet.answered, fleet.answered_again, fleet.unanswered, net_dropped(),
                   clock_us());
    load_report(event, (double)(clock_us() - since_us) / 1e6, load_cpu_seconds() - cpu, more);
}

// Until all is done: establishing, or a sample.
static void run_out(const char *event)
{
    uint64_t start = clock_us();
    uint64_t progress = start + PROGRESS_US;
    double cpu = load_cpu_seconds();
    while (!fleet_done()) {
        (void)fleet_turn();
        if (clock_us() < progress)
            continue;
        progress += PROGRESS_US;
        (void)fprintf(stderr, "sagate-load: %u of %u established, %u + %u answered\n", fleet.established, fleet.count,
                      fleet.answered, fleet.answered_again);
    }
    report(event, start, cpu);
}

// For a time, after a warm-up. The caller takes the server's CPU time at the two lines.
static void run_measured(enum fleet_task task)
{
    fleet_begin(task, options->window);
    run_for(options->warm_up);
    load_counters = (struct load_counters){0};
    latency_clear();
    printf("{\"event\":\"begin\"}\n");
    (void)fflush(stdout);
    double cpu = load_cpu_seconds();
    uint64_t start = clock_us();
    run_for(options->seconds);
    report("end", start, cpu);
}

static void establish(void)
{
    fleet_begin(FLEET_ESTABLISH, options->window);
    run_out("established");
}

static void sample(uint32_t size, uint32_t window, unsigned tries)
{
    fleet.tries = tries;
    fleet_draw(size);
    latency_clear();
    fleet_begin(FLEET_SAMPLE, window);
    run_out("sampled");
    fleet.tries = options->tries;
}

static void probed(void)
{
    printf("{\"event\":\"probed\",\"answered\":%s,\"at_us\":%" PRIu64 ",\"sent\":%u,\"nonce_repeats\":%" PRIu64 "}\n",
           fleet.probe_answered_us > 0 ? "true" : "false", fleet.probe_answered_us, fleet.probes_sent,
           load_counters.nonce_repeats);
    (void)fflush(stdout);
}

// Tells what was counted since the last time, or the start, and begins to count anew.
static void measure(void)
{
    static uint64_t since_us;
    report("measured", since_us != 0 ? since_us : clock_us(), 0);
    since_us = clock_us();
    load_counters = (struct load_counters){0};
    latency_clear();
}

// One order. False: the last one.
static bool obey(const char *order)
{
    unsigned size;
    unsigned window;
    unsigned tries;
    if (strcmp(order, "load") == 0) {
        fleet_begin(FLEET_REQUESTS, options->window);
        report("loading", clock_us(), load_cpu_seconds());
    } else if (strcmp(order, "rest") == 0) {
        fleet_begin(FLEET_REST, 0);
        report("resting", clock_us(), load_cpu_seconds());
    } else if (strcmp(order, "measure") == 0) {
        measure();
    } else if (sscanf(order, "probe %u", &size) == 1) { // NOLINT(cert-err34-c)
        fleet_probe(size);
        while (fleet_probing())
            (void)fleet_turn();
        probed();
    } else if (sscanf(order, "sample %u %u %u", &size, &window, &tries) == 3) { // NOLINT(cert-err34-c)
        sample(size, window, tries);
    } else {
        return false;
    }
    return true;
}

static void hold(void)
{
    char line[128];
    size_t used = 0;
    net_watch(STDIN_FILENO);
    for (;;) {
        while (!fleet_turn()) {
        }
        ssize_t got = read(STDIN_FILENO, line + used, sizeof line - 1 - used);
        if (got <= 0)
            return;
        used += (size_t)got;
        line[used] = '\0';
        for (char *end = strchr(line, '\n'); end != NULL; end = strchr(line, '\n')) {
            *end = '\0';
            if (!obey(line))
                return;
            used -= (size_t)(end + 1 - line);
            memmove(line, end + 1, used + 1);
        }
    }
}

void fleet_run(const struct load_options *given)
{
    options = given;
    fleet_open(options);
    switch (options->mode) {
    case LOAD_REQUESTS:
        run_measured(FLEET_REQUESTS);
        break;
    case LOAD_HANDSHAKE:
        run_measured(FLEET_HANDSHAKES);
        break;
    case LOAD_IDLE:
        establish();
        fleet_begin(FLEET_REST, 0);
        run_for(options->seconds);
        sample(options->sample, options->window, options->tries);
        break;
    case LOAD_HOLD:
    default:
        establish();
        hold();
        report("end", clock_us(), 0);
        break;
    }
}
