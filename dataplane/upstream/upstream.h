// The CSEs behind sagate, as one worker sees them: which one serves an originator, and which are healthy.
// Connections belong to the bindings; this module only decides and counts. One thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_UPSTREAM_UPSTREAM_H
#define SAGATE_DATAPLANE_UPSTREAM_UPSTREAM_H

#include "common/slice.h"
#include "common/stats.h"
#include "controlplane/config/config.h"
#include "dataplane/worker/timer.h"

struct upstreams;

// How health is asked for; given by the bindings. `check` sends one health request to the server over the binding and
// calls upstream_health_result later, once per check (also on its own timeout).
struct upstream_checker {
    void *context;
    void (*check)(void *context, const struct config_upstream *upstream, const struct config_server *server);
};

// `stats` may be NULL. The configuration must outlive the object or be replaced by upstream_reload.
struct upstreams *upstream_new(const struct config *config, struct timer_wheel *wheel, struct stats *stats,
                               uint64_t now_ms);
void upstream_free(struct upstreams *upstreams);

// Sets who checks for a binding; before the first timer runs.
void upstream_set_checker(struct upstreams *upstreams, enum config_binding binding,
                          const struct upstream_checker *checker);

// Takes a new configuration: servers with the same name, address and upstream name keep their health. 0 or
// SAGATE_ENOMEM (the old one stays).
int upstream_reload(struct upstreams *upstreams, const struct config *config, uint64_t now_ms);

// The server for an originator: rendezvous hashing by weight over the healthy servers of upstream number `index` that
// speak `binding`, so that one originator stays with one CSE and only the originators of a failed CSE move.
// A server is healthy until checks say otherwise. SAGATE_OK, or SAGATE_EUNAVAILABLE.
int upstream_pick(struct upstreams *upstreams, size_t index, enum config_binding binding, struct slice originator,
                  const struct config_server **server);

// Room for one more request in flight at the server (config requests): SAGATE_OK and counted, or SAGATE_ELIMIT, which
// is counted here too (LIMIT_IN_FLIGHT_UPSTREAM).
int upstream_begin(struct upstreams *upstreams, const struct config_upstream *upstream,
                   const struct config_server *server, enum config_binding binding);

// How a request ended, as far as it tells of the CSE.
enum upstream_outcome {
    UPSTREAM_ANSWERED, // a well-formed answer, of any status
    UPSTREAM_FAILED,   // no connection, an end of the connection or a reset instead of an answer, or a malformed answer
    UPSTREAM_UNTOLD    // nothing: cancelled, or out of time
};

// The request has ended. ANSWERED: the latency is recorded, and a row of failures ends. FAILED: counts like a failed
// health check, so health_fall in a row take the server out, when checks are there to bring it back. UNTOLD changes
// nothing: a deadline may be the device's choice (Request Expiration Timestamp, TS-0001 clause 8.1.2) and a CSE holds
// some requests long by design (polling channels), so one device could else take a CSE out of service for all. That a
// CSE hangs is found by the checks.
void upstream_end(struct upstreams *upstreams, const struct config_server *server, enum config_binding binding,
                  enum upstream_outcome outcome, uint64_t latency_us);

// The outcome of a check; health_rise and health_fall in a row change the state, and the change is logged.
void upstream_health_result(struct upstreams *upstreams, const struct config_server *server,
                            enum config_binding binding, bool healthy);

bool upstream_is_healthy(const struct upstreams *upstreams, const struct config_server *server,
                         enum config_binding binding);

#endif
