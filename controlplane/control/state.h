// What the control process is made of; private to this folder. One thread: the event loop's.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_CONTROL_STATE_H
#define SAGATE_CONTROLPLANE_CONTROL_STATE_H

#include "common/plane.h"
#include "controlplane/config/config.h"
#include "controlplane/control/socket.h"
#include "controlplane/control/tefs.h"
#include "controlplane/control/waiters.h"
#include "controlplane/control/workers.h"
#include "controlplane/keystore/credentials.h"
#include "controlplane/metrics/metrics.h"
#include "controlplane/resolver/remote.h"
#include "controlplane/resolver/resolver.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

enum {
    // The credentials, and for each TEF a key, or chain and key of a certificate, and trust anchors.
    PENDING_FILES_MAX = 1 + 2 * CONFIG_TEFS_MAX + CONFIG_TRUST_ANCHORS_MAX,
    OPERATIONS_MAX = 64,
    METRICS_VALUES_MAX = 64
};

// A configuration that is being handed over, between CONFIG_BEGIN and CONFIG_COMMIT.
struct pending {
    bool begun;
    uint64_t generation;
    struct config *config;
    struct config_errors errors;
    int config_result;
    struct {
        char *path;
        int fd;
    } files[PENDING_FILES_MAX];
    size_t file_count;
    int control_fd, metrics_fd; // -1: unchanged
};

struct operation; // a command that waits for workers or the supervisor

struct control {
    struct event_base *base;
    int supervisor_fd;
    struct event *supervisor_readable, *expiry, *terminate;

    struct pending pending;
    struct config *config; // NULL before the first commit
    struct credentials *file, *run_time;
    char *run_time_path; // of run-time identities
    struct registrations *registrations;
    struct resolver *resolver;
    struct resolver_events resolver_events;
    struct remote *remote; // identities whose keys are at MAFs and MEFs
    struct tefs *tefs;
    struct waiters *waiters;
    int64_t expiry_at; // when `expiry` comes, wall clock
    bool leaving;      // SIGTERM has come; TEFs are being told
    struct workers *workers;
    struct workers_events workers_events;
    struct control_socket *socket;
    struct control_handler handler;
    struct metrics_http *metrics;
    struct metrics_value values[METRICS_VALUES_MAX];
    struct metrics_tef tef_values[CONFIG_TEFS_MAX];

    const void *stats; // mapped read-only
    size_t stats_len;
    unsigned stats_workers;
    struct plane_processes processes; // data_version is in the next member
    char data_version[64];
    bool processes_known;

    uint64_t generation, reloads, reloads_failed, commands;
    int64_t started_at; // wall clock
    bool running;       // the first configuration has been applied
    bool draining;
    bool log_level_set; // by command, until the next reload

    LIST_HEAD(operation_list, operation) operations;
    size_t operation_count;
    uint64_t last_ticket;
    uint8_t list[PLANE_MESSAGE_MAX]; // for lists inside messages
    uint8_t supervisor_buffer[PLANE_MESSAGE_MAX];
};

// control.c
void control_metrics_source(void *context, struct metrics_source *out);
void control_send_sets(struct control *control); // REGISTREES and OWNERS to all workers
void control_schedule_expiry(struct control *control);

// resolving.c
void resolving_ask(struct control *control, unsigned worker, struct slice identity);
bool resolving_start(struct control *control); // false when memory is short
void resolving_end(struct control *control);   // TEFs are closed, questions dropped
void resolving_apply(struct control *control); // the prepared TEFs (tefs_prepare) and limits take force

// commands.c
void commands_dispatch(void *context, struct control_request *request, const char *name, const json_t *command);

// associations.c
void associations_list(struct control *control, struct control_request *request, const json_t *command);
void associations_show(struct control *control, struct control_request *request, const json_t *command);
void associations_kill(struct control *control, struct control_request *request, const json_t *command);
void operations_reload(struct control *control, struct control_request *request);
void operations_listed(struct control *control, unsigned worker, const struct plane_listed *listed);
void operations_killed(struct control *control, unsigned worker, const struct plane_killed *killed);
void operations_reload_result(struct control *control, const struct plane_reload_result *result);
void operations_upgrade(struct control *control, struct control_request *request, const json_t *command);
void operations_upgrade_result(struct control *control, const struct plane_upgrade_result *result);
void operations_profile(struct control *control, struct control_request *request, const json_t *command);
void operations_profiled(struct control *control, unsigned worker, const struct plane_profiled *profiled);
void operations_end(struct control *control); // fails all that wait

// profile.c
json_t *profile_describe(const struct control *control, uint64_t ticket); // what workers counted on that order

// identities.c
void identities_list(struct control *control, struct control_request *request, const json_t *command);
void identities_add(struct control *control, struct control_request *request, const json_t *command);
void identities_remove(struct control *control, struct control_request *request, const json_t *command);
void identities_forget(struct control *control, struct control_request *request, const json_t *command);
void identities_flush(struct control *control, struct control_request *request, const json_t *command);

// tefs_status.c
void tefs_status_command(struct control *control, struct control_request *request, const json_t *command);

#endif
