// sagate-load: simulated devices that load a server; the result is JSON, one object a line, on standard output.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "perf/load.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

struct load_counters load_counters;
struct latency load_latency, load_late;

noreturn void load_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)fputs("sagate-load: ", stderr);
    (void)vfprintf(stderr, format, arguments);
    (void)fputc('\n', stderr);
    va_end(arguments);
    exit(EXIT_FAILURE);
}

double load_cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void load_clear(void)
{
    load_counters = (struct load_counters){0};
    latency_clear(&load_latency);
    latency_clear(&load_late);
}

// True when the generator, and not the server, was the limit.
static bool was_limit(const struct load_options *options, const struct load_report *report, double done)
{
    enum { LATE_US = 1000 };
    if (report->seconds < 0.1)
        return false; // nothing was measured
    if (options->rate == 0)
        return report->cpu > 0.9 * report->seconds;
    if (latency_percentile(&load_late, 0.99) > LATE_US)
        return true;
    // Where requests waited for devices, it was the server that was slow.
    return done < 0.98 * options->rate && (double)report->waited < 0.01 * options->rate * report->seconds;
}

static void report_rates(const struct load_options *options, const struct load_report *report)
{
    double done = report->seconds > 0 ? (double)load_counters.requests / report->seconds : 0;
    printf(",\"rate_wanted\":%u,\"rate_done\":%.1f,\"waited\":%" PRIu64 ",\"late_p99_us\":%" PRIu64
           ",\"client_limited\":%s",
           options->rate, done, report->waited, latency_percentile(&load_late, 0.99),
           was_limit(options, report, done) ? "true" : "false");
}

static void report_latency(const struct load_options *options)
{
    const struct latency *latency = &load_latency;
    printf(",\"p50_us\":%" PRIu64 ",\"p90_us\":%" PRIu64 ",\"p99_us\":%" PRIu64 ",\"p999_us\":%" PRIu64
           ",\"max_us\":%" PRIu64,
           latency_percentile(latency, 0.5), latency_percentile(latency, 0.9), latency_percentile(latency, 0.99),
           latency_percentile(latency, 0.999), latency->max_us);
    if (!options->histogram)
        return;
    printf(",\"histogram\":");
    latency_print(latency, stdout);
}

void load_report(const struct load_options *options, const struct load_report *report)
{
    const struct load_counters *c = &load_counters;
    printf("{\"event\":\"%s\",\"seconds\":%.6f,\"client_cpu\":%.3f,\"requests\":%" PRIu64 ",\"refused\":%" PRIu64
           ",\"handshakes\":%" PRIu64 ",\"handshakes_failed\":%" PRIu64 ",\"with_cid\":%" PRIu64
           ",\"retransmitted\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"again\":%" PRIu64 ",\"errors\":%" PRIu64
           ",\"nonce_repeats\":%" PRIu64 ",\"nonce_unknown\":%" PRIu64 ",\"rebound\":%" PRIu64 ",\"churned\":%" PRIu64
           ",\"resumed\":%" PRIu64 ",\"alerted\":%" PRIu64 ",\"operations\":{",
           report->event, report->seconds, report->cpu, c->requests, c->refused, c->handshakes, c->handshakes_failed,
           c->with_cid, c->retransmitted, c->lost, c->again, c->errors, c->nonce_repeats, c->nonce_unknown, c->rebound,
           c->churned, c->resumed, c->alerted);
    for (unsigned i = 0; i < REQUEST_OPERATIONS; i++)
        printf("%s\"%s\":%" PRIu64, i > 0 ? "," : "", request_operation_names[i], c->operations[i]);
    (void)putchar('}');
    report_latency(options);
    report_rates(options, report);
    printf("%s}\n", report->more != NULL ? report->more : "");
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    struct load_options options;
    if (load_options_parse(argc, argv, &options) != 0)
        return 2;
    if (options.mode == LOAD_FLOOD)
        flood_run(&options);
    else
        tasks_run(&options);
    load_credentials_free(&options);
    return EXIT_SUCCESS;
}
