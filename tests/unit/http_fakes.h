// A bench for the HTTP binding: an io driver that records what CSEs see, a device port that records what a device
// sees, and small stand-ins for the originator check, the choice of a CSE and the content scan.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_UNIT_HTTP_FAKES_H
#define SAGATE_TESTS_UNIT_HTTP_FAKES_H

#include "common/error.h"
#include "dataplane/binding/http/http.h"

#include <stdlib.h>
#include <string.h>

enum { BENCH_STREAMS = 256, BENCH_DEVICES = 4 };

struct bench_text {
    char *data;
    size_t len;
};

struct bench_stream {
    io_stream id;
    struct io_user *user;
    struct address to;
    struct bench_text written;
    bool open, connected, paused, closed, aborted;
};

struct bench_device {
    struct device device;
    struct bench_text received;
    bool paused, closed, gone;
};

struct bench {
    struct config config;
    struct config_upstream upstream;
    struct config_server servers[2];
    struct config_listener listener;
    struct timer_wheel *wheel;
    struct io *io;
    struct http *http;
    struct stats *stats;
    uint64_t now_us;
    struct bench_device devices[BENCH_DEVICES];
    int send_result;    // what port.send returns after taking the bytes (or without, when negative)
    int write_result;   // what io_stream_write returns, in the same way
    int connect_result; // what io_stream_connect returns
    struct bench_stream streams[BENCH_STREAMS];
    size_t stream_count;
    // The stand-ins' records.
    bool unavailable;
    unsigned room; // requests in flight that upstream_begin admits
    unsigned begun, ended_answered, ended_failed, ended_untold;
    unsigned health_good, health_bad;
    unsigned answers; // pep_answer calls
    int answer_rsc;
    char answer_content[256];
    size_t answer_len;
    const struct upstream_checker *checker;
};

// One device (number 0) is connected as principal "12-dev1"; its AE-ID is Cdev1 (Cdev2 is the same principal's).
struct bench *bench_new(void);
void bench_free(struct bench *bench);

// Bytes of device `n`, and of CSE connection `s` (index in the order of connecting).
void bench_device_says(struct bench *bench, size_t n, const void *data, size_t len);
void bench_says(struct bench *bench, const char *text); // device 0
void bench_connected(struct bench *bench, size_t s);
void bench_refused(struct bench *bench, size_t s);
void bench_cse_says(struct bench *bench, size_t s, const char *text);
void bench_cse_data(struct bench *bench, size_t s, const void *data, size_t len);
void bench_cse_event(struct bench *bench, size_t s, enum io_event_type type, int error);
void bench_device_gone(struct bench *bench, size_t n);
void bench_wait(struct bench *bench, uint64_t milliseconds);

// What was received or written since the last call, as text that lives until the next one.
const char *bench_heard(struct bench *bench, size_t n);   // by device n
const char *bench_written(struct bench *bench, size_t s); // to CSE connection s

uint64_t bench_stat(const struct bench *bench, enum stat_id stat);

#endif
