// Log lines: one write each, so that lines of several processes do not mix.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/log.h"

#include "common/clock.h"
#include "common/error.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1024, SAMPLE_INTERVAL_MS = 1000 };

static const char *process_name = "sagate";
static _Atomic int threshold = LOG_LEVEL_INFO;
static const char *const names[] = {"error", "warning", "info", "debug"};
static const char *const syslog_prefix[] = {"<3>", "<4>", "<6>", "<7>"};

void log_set_process(const char *name)
{
    process_name = name;
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&threshold, (int)level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
    return (enum log_level)atomic_load_explicit(&threshold, memory_order_relaxed);
}

int log_level_parse(const char *text, enum log_level *level)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(text, names[i]) == 0) {
            *level = (enum log_level)i;
            return SAGATE_OK;
        }
    }
    return SAGATE_EINVAL;
}

const char *log_level_name(enum log_level level)
{
    return names[level];
}

static void write_line(enum log_level level, const char *text, uint64_t dropped)
{
    char line[LINE_MAX_BYTES + 160];
    int used;
    // systemd sets JOURNAL_STREAM and adds the time itself.
    if (getenv("JOURNAL_STREAM") != NULL) {
        used = snprintf(line, sizeof line, "%s%s: %s", syslog_prefix[level], process_name, text);
    } else {
        struct timespec now;
        struct tm parts;
        char when[32];
        clock_gettime(CLOCK_REALTIME, &now);
        gmtime_r(&now.tv_sec, &parts);
        (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &parts);
        used = snprintf(line, sizeof line, "%s.%03ldZ %s %s: %s", when, now.tv_nsec / 1000000, names[level],
                        process_name, text);
    }
    if (used < 0)
        return;
    size_t len = (size_t)used < sizeof line ? (size_t)used : sizeof line - 1;
    if (dropped > 0 && len < sizeof line - 48)
        len += (size_t)snprintf(line + len, sizeof line - len, " (and %llu more like it)", (unsigned long long)dropped);
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    }
    line[len] = '\n';
    // A log that cannot be written has nowhere to complain to.
    ssize_t ignored = write(STDERR_FILENO, line, len + 1);
    (void)ignored;
}

void log_line(enum log_level level, const char *format, ...)
{
    if ((int)level > atomic_load_explicit(&threshold, memory_order_relaxed))
        return;
    char text[LINE_MAX_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    write_line(level, text, 0);
}

void log_sampled(struct log_sample *sample, enum log_level level, const char *format, ...)
{
    if ((int)level > atomic_load_explicit(&threshold, memory_order_relaxed))
        return;
    uint64_t now = clock_ms();
    if (sample->last_ms != 0 && now - sample->last_ms < SAMPLE_INTERVAL_MS) {
        sample->dropped++;
        return;
    }
    char text[LINE_MAX_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    write_line(level, text, sample->dropped);
    sample->last_ms = now;
    sample->dropped = 0;
}
