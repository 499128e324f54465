// The modes of the load generator over a fleet of devices.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/clock.h"
#include "perf/fleet.h"
#include "perf/net.h"
#include "perf/pace.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROGRESS_US = 5000000, SECOND_US = 1000000, MORE_MAX = 512 };

static const struct load_options *options;
static size_t resident_before;

static size_t resident_bytes(void)
{
    unsigned long size = 0;
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file != NULL) {
        if (fscanf(file, "%lu %lu", &size, &pages) != 2) // NOLINT(cert-err34-c)
            pages = 0;
        (void)fclose(file);
    }
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

// A line per second for who looks on.
static void show_progress(void)
{
    static uint64_t next_us, requests, handshakes;
    uint64_t now = clock_us();
    if (now < next_us || !(options->progress || isatty(STDERR_FILENO) == 1))
        return;
    const struct load_counters *c = &load_counters;
    uint64_t new_requests = c->requests >= requests ? c->requests - requests : c->requests;
    uint64_t new_handshakes = c->handshakes >= handshakes ? c->handshakes - handshakes : c->handshakes;
    if (next_us != 0)
        (void)fprintf(
            stderr,
            "sagate-load: %u established, %u under way; %" PRIu64 " requests/s, %" PRIu64 " handshakes/s; p50 %" PRIu64
            " us, p99 %" PRIu64 " us; lost %" PRIu64 ", refused %" PRIu64 ", errors %" PRIu64 "\n",
            fleet.established, fleet.busy, new_requests, new_handshakes, latency_percentile(&load_latency, 0.5),
            latency_percentile(&load_latency, 0.99), c->lost, c->refused, c->errors);
    requests = c->requests;
    handshakes = c->handshakes;
    next_us = now + SECOND_US;
}

static bool turn(void)
{
    show_progress();
    return fleet_turn();
}

static void run_for(unsigned seconds)
{
    uint64_t end = clock_us() + seconds * 1000000ULL;
    while (clock_us() < end)
        (void)turn();
}

static void report(const char *event, uint64_t since_us, double cpu)
{
    char more[MORE_MAX];
    size_t resident = resident_bytes();
    (void)snprintf(more, sizeof more,
                   ",\"established\":%u,\"answered\":%u,\"answered_again\":%u,\"unanswered\":%u,"
                   "\"send_failed\":%" PRIu64 ",\"bytes_per_device\":%zu,\"at_us\":%" PRIu64,
                   fleet.established, fleet.answered, fleet.answered_again, fleet.unanswered, net_dropped(),
                   (resident > resident_before ? resident - resident_before : 0) / fleet.count, clock_us());
    load_report(options, &(struct load_report){.event = event,
                                               .more = more,
                                               .seconds = (double)(clock_us() - since_us) / 1e6,
                                               .cpu = load_cpu_seconds() - cpu,
                                               .waited = pace_waited()});
}

// Until all is done: establishing, or a sample.
static void run_out(const char *event)
{
    uint64_t start = clock_us();
    uint64_t progress = start + PROGRESS_US;
    double cpu = load_cpu_seconds();
    while (!fleet_done()) {
        (void)turn();
        if (clock_us() < progress)
            continue;
        progress += PROGRESS_US;
        (void)fprintf(stderr, "sagate-load: %u of %u established, %u + %u answered\n", fleet.established, fleet.count,
                      fleet.answered, fleet.answered_again);
    }
    if (event != NULL)
        report(event, start, cpu);
}

static bool is_paced(void)
{
    return options->rate > 0 || options->think > 0;
}

// For a time, after a warm-up. The caller takes the server's CPU time at the two lines.
static void run_measured(enum fleet_task task)
{
    if (task == FLEET_PACED) {
        fleet_begin(FLEET_ESTABLISH, options->window);
        run_out(NULL);
    }
    fleet_begin(task, options->window);
    run_for(options->warm_up);
    load_clear();
    (void)pace_waited();
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
    latency_clear(&load_latency);
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
    static double cpu;
    report("measured", since_us != 0 ? since_us : clock_us(), cpu > 0 ? cpu : load_cpu_seconds());
    since_us = clock_us();
    cpu = load_cpu_seconds();
    load_clear();
}

// One order. False: the last one.
static bool obey(const char *order)
{
    unsigned size;
    unsigned window;
    unsigned tries;
    if (strcmp(order, "load") == 0) {
        fleet_begin(is_paced() ? FLEET_PACED : FLEET_REQUESTS, options->window);
        report("loading", clock_us(), load_cpu_seconds());
    } else if (strcmp(order, "rest") == 0) {
        fleet_begin(FLEET_REST, 0);
        report("resting", clock_us(), load_cpu_seconds());
    } else if (strcmp(order, "measure") == 0) {
        measure();
    } else if (sscanf(order, "probe %u", &size) == 1) { // NOLINT(cert-err34-c)
        fleet_probe(size);
        while (fleet_probing())
            (void)turn();
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
        while (!turn()) {
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

void tasks_run(const struct load_options *given)
{
    options = given;
    resident_before = resident_bytes();
    fleet_open(options);
    switch (options->mode) {
    case LOAD_REQUESTS:
        run_measured(is_paced() ? FLEET_PACED : FLEET_REQUESTS);
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
        report("end", clock_us(), load_cpu_seconds());
        break;
    }
}
