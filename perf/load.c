// sagate-load: simulated devices that load a server; the result is JSON, one object a line, on standard output.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "perf/load.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

struct load_counters load_counters;

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

void load_report(const char *event, double seconds, double cpu, const char *more)
{
    const struct load_counters *c = &load_counters;
    printf("{\"event\":\"%s\",\"seconds\":%.6f,\"client_cpu\":%.3f,\"requests\":%" PRIu64 ",\"refused\":%" PRIu64
           ",\"handshakes\":%" PRIu64 ",\"handshakes_failed\":%" PRIu64 ",\"with_cid\":%" PRIu64
           ",\"retransmitted\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"again\":%" PRIu64 ",\"errors\":%" PRIu64
           ",\"nonce_repeats\":%" PRIu64 ",\"nonce_unknown\":%" PRIu64 ",\"p50_us\":%.0f,\"p99_us\":%.0f%s}\n",
           event, seconds, cpu, c->requests, c->refused, c->handshakes, c->handshakes_failed, c->with_cid,
           c->retransmitted, c->lost, c->again, c->errors, c->nonce_repeats, c->nonce_unknown, latency_percentile(0.5),
           latency_percentile(0.99), more != NULL ? more : "");
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    struct load_options options;
    if (load_options_parse(argc, argv, &options) != 0)
        return 2;
    if (options.security == LOAD_TLS12 || options.security == LOAD_TLS13)
        stream_run(&options);
    else
        fleet_run(&options);
    load_credentials_free(&options);
    return EXIT_SUCCESS;
}
