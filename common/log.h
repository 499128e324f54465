// Log lines on standard error: "<time> <level> <process> <text>", or with a syslog priority prefix under systemd.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_COMMON_LOG_H
#define SAGATE_COMMON_LOG_H

#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

// Name that each line carries ("supervisor", "control", "data"); a static string. Call once, before threads start.
void log_set_process(const char *name);

// Lines above `level` are dropped. Thread-safe.
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

// "error", "warning", "info", "debug" to a level: 0, or SAGATE_EINVAL.
int log_level_parse(const char *text, enum log_level *level);
const char *log_level_name(enum log_level level);

// One line; a line break or other control character in the text is written as '?'. Thread-safe. Never pass key bytes.
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

// At most one line per `struct log_sample` and second, with the number of lines dropped since: for what a peer can
// cause. One writer per sample.
struct log_sample {
    uint64_t last_ms;
    uint64_t dropped;
};
void log_sampled(struct log_sample *sample, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
