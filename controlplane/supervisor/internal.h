// What the files of the supervisor share. Not for others.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_SUPERVISOR_INTERNAL_H
#define SAGATE_CONTROLPLANE_SUPERVISOR_INTERNAL_H

#include "common/plane.h"
#include "controlplane/supervisor/build.h"
#include "controlplane/supervisor/generation.h"
#include "controlplane/supervisor/memory.h"

#include <stdbool.h>
#include <sys/types.h>

enum child_number { CHILD_CONTROL, CHILD_DATA, CHILD_COUNT };

struct child {
    const char *role;
    char *user;
    pid_t pid; // 0: not running
    int fd;    // socket to it; -1: not running
    bool ready;
    uint32_t restarts;
    uint32_t early_ends; // in a row: it lived only for a short while
    uint32_t crashes;    // the same, of these by a signal
    uint64_t started_ms, start_at_ms;
    uint64_t asked;                     // number of the generation that was handed to it last
    bool checking;                      // it was to check it only
    uint64_t answer_by_ms;              // deadline of its answer; 0: none is due
    int control_socket, metrics_socket; // that it has; -1: none
};

// Control checks, the data process takes the configuration, control takes it. Before the second is done nothing has
// changed anywhere; after it the new generation is the one in use, whatever becomes of control.
enum reload_step { RELOAD_IDLE, RELOAD_CHECK, RELOAD_DATA, RELOAD_CONTROL };

struct reload {
    enum reload_step step;
    uint64_t ticket;         // of the control socket's client; 0: SIGHUP
    struct generation *next; // until the data process has taken it
};

// What the data process is started with.
struct program {
    int fd; // -1: /proc/self/exe
    struct build build;
};

// The other program is asked what it is; the data process quits and keeps its associations; the one of the other
// program takes them over. If it does not get ready, one of the former program does.
enum upgrade_step { UPGRADE_IDLE, UPGRADE_PROBE, UPGRADE_QUIT, UPGRADE_START, UPGRADE_BACK };

struct upgrade {
    enum upgrade_step step;
    uint64_t ticket; // of the control socket's client
    bool force;
    struct program other; // UPGRADE_PROBE, UPGRADE_QUIT: the next one; after that the former one
    pid_t probe;          // 0: not running
    int probe_fd;         // its output; -1: none
    uint64_t until_ms;    // deadline of the step
    char reason[512];     // why it has failed
};

struct supervisor {
    const char *config_path;
    const char *program_path; // by which it was started; absolute
    struct generation *now;
    // The generation that the control process has taken last, when it is not `now`. A control process that is started
    // then gets this one first, so that it can tell the workers which credentials have changed since.
    struct generation *before;
    int channels[CONFIG_WORKERS_MAX][2]; // [0]: control's end, [1]: the worker's
    int signal_fd;
    struct memory memory;
    struct program data_program;
    int64_t data_started;                 // wall clock, seconds
    uint64_t resumed_before, lost_before; // counters at that start
    uint64_t last_number;
    struct plane_state state;
    struct child children[CHILD_COUNT];
    struct reload reload;
    struct upgrade upgrade;
    bool reload_again, stopping, failed, once_ready;
    uint64_t stop_at_ms;
};

#endif
