// The CSEs as one worker sees them: weighted rendezvous hashing, health by checks and by what requests meet.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/upstream/upstream.h"

#include "common/error.h"
#include "common/hash.h"
#include "common/log.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BINDINGS = STATS_BINDINGS };

static const char *const binding_names[BINDINGS] = {"CoAP", "HTTP"};

struct server;

struct health {
    struct server *server;
    enum config_binding binding;
    bool up;
    unsigned in_a_row;  // results that speak against the state
    uint64_t asked_ms;  // when the check that is under way began
    bool asking;        // a check is under way
    uint32_t in_flight; // requests
    struct timer timer;
};

struct server {
    struct upstreams *upstreams;
    const struct config_upstream *upstream;
    const struct config_server *config; // NULL: no server has this number
    uint64_t seed;
    struct health health[BINDINGS];
};

struct upstreams {
    const struct config *config;
    struct timer_wheel *wheel;
    struct stats *stats;
    struct upstream_checker checkers[BINDINGS];
    uint64_t random;
    struct server *servers; // CONFIG_SERVERS_MAX, by config_server.number
};

static bool has_binding(const struct config_server *server, enum config_binding binding)
{
    return binding == CONFIG_COAP ? server->has_coap : server->has_http;
}

static const struct address *address_of(const struct config_server *server, enum config_binding binding)
{
    return binding == CONFIG_COAP ? &server->coap : &server->http;
}

static enum config_health checks_of(const struct config_upstream *upstream, enum config_binding binding)
{
    return binding == CONFIG_COAP ? upstream->coap_health : upstream->http_health;
}

static struct stats_server *stats_of(const struct upstreams *upstreams, const struct config_server *server)
{
    return upstreams->stats == NULL ? NULL : &upstreams->stats->servers[server->number];
}

static struct health *health_of(const struct upstreams *upstreams, const struct config_server *server,
                                enum config_binding binding)
{
    if (server->number >= CONFIG_SERVERS_MAX || upstreams->servers[server->number].config == NULL)
        return NULL;
    return &upstreams->servers[server->number].health[binding];
}

static void show(const struct health *health)
{
    struct stats_server *stats = stats_of(health->server->upstreams, health->server->config);
    if (stats == NULL)
        return;
    bool serves = health->up && has_binding(health->server->config, health->binding);
    stats_set(&stats->healthy[health->binding], serves ? 1 : 0);
    stats_set(&stats->in_flight[health->binding], health->in_flight);
}

// ---- checks ----

// A number below `bound`; spreads the checks of the workers, so it need not be unforeseeable.
static uint64_t random_below(struct upstreams *upstreams, uint64_t bound)
{
    upstreams->random ^= upstreams->random << 13;
    upstreams->random ^= upstreams->random >> 7;
    upstreams->random ^= upstreams->random << 17;
    return bound == 0 ? 0 : upstreams->random % bound;
}

static uint64_t interval_ms(const struct config_upstream *upstream)
{
    return (upstream->health_seconds == 0 ? 1 : upstream->health_seconds) * 1000ULL;
}

static void fire(struct timer *timer, void *context, uint64_t now_ms)
{
    struct health *health = context;
    struct upstreams *upstreams = health->server->upstreams;
    const struct config_upstream *upstream = health->server->upstream;
    const struct upstream_checker *checker = &upstreams->checkers[health->binding];
    uint64_t interval = interval_ms(upstream);
    // Seven to nine eighths of the interval: workers that began together drift apart.
    timer_set(upstreams->wheel, timer, now_ms + interval - interval / 8 + random_below(upstreams, interval / 4 + 1));
    // One check at a time; one whose result never came does not end the checking.
    bool waiting = health->asking && now_ms - health->asked_ms <= upstream->health_timeout_milliseconds + interval;
    if (checker->check == NULL || waiting)
        return;
    health->asking = true;
    health->asked_ms = now_ms;
    checker->check(checker->context, upstream, health->server->config);
}

static void set_state(struct health *health, bool up)
{
    const struct server *server = health->server;
    health->up = up;
    health->in_a_row = 0;
    show(health);
    if (up)
        log_info("upstream %s: server %s is healthy again over %s", server->upstream->name, server->config->name,
                 binding_names[health->binding]);
    else
        log_warning("upstream %s: server %s is not healthy over %s", server->upstream->name, server->config->name,
                    binding_names[health->binding]);
}

static void judge(struct health *health, bool good)
{
    const struct config_upstream *upstream = health->server->upstream;
    unsigned needed = health->up ? upstream->health_fall : upstream->health_rise;
    if (good == health->up)
        health->in_a_row = 0;
    else if (++health->in_a_row >= needed)
        set_state(health, good);
}

void upstream_health_result(struct upstreams *upstreams, const struct config_server *server,
                            enum config_binding binding, bool healthy)
{
    struct health *health = health_of(upstreams, server, binding);
    if (health == NULL)
        return;
    health->asking = false;
    judge(health, healthy);
}

bool upstream_is_healthy(const struct upstreams *upstreams, const struct config_server *server,
                         enum config_binding binding)
{
    const struct health *health = health_of(upstreams, server, binding);
    return health != NULL && health->up && has_binding(server, binding);
}

void upstream_set_checker(struct upstreams *upstreams, enum config_binding binding,
                          const struct upstream_checker *checker)
{
    upstreams->checkers[binding] = *checker;
}

// ---- life ----

static struct server *make_servers(struct upstreams *upstreams, const struct config *config)
{
    struct server *servers = calloc(CONFIG_SERVERS_MAX, sizeof *servers);
    for (size_t i = 0; servers != NULL && i < config->upstream_count; i++) {
        const struct config_upstream *upstream = &config->upstreams[i];
        for (size_t j = 0; j < upstream->server_count; j++) {
            const struct config_server *given = &upstream->servers[j];
            struct server *server = &servers[given->number];
            *server = (struct server){.upstreams = upstreams,
                                      .upstream = upstream,
                                      .config = given,
                                      .seed = hash_stable(given->name, strlen(given->name), 0)};
            for (enum config_binding b = CONFIG_COAP; b <= CONFIG_HTTP; b++)
                server->health[b] = (struct health){.server = server, .binding = b, .up = true};
        }
    }
    return servers;
}

static void start_checks(struct upstreams *upstreams, uint64_t now_ms)
{
    for (size_t i = 0; i < CONFIG_SERVERS_MAX; i++) {
        struct server *server = &upstreams->servers[i];
        if (server->config == NULL) {
            if (upstreams->stats != NULL) { // a gauge of a server that is gone must not stay
                struct stats_server *stats = &upstreams->stats->servers[i];
                for (enum config_binding b = CONFIG_COAP; b <= CONFIG_HTTP; b++) {
                    stats_set(&stats->healthy[b], 0);
                    stats_set(&stats->in_flight[b], 0);
                }
            }
            continue;
        }
        for (enum config_binding b = CONFIG_COAP; b <= CONFIG_HTTP; b++) {
            struct health *health = &server->health[b];
            show(health);
            if (!has_binding(server->config, b) || checks_of(server->upstream, b) == CONFIG_HEALTH_NONE)
                continue;
            health->timer = (struct timer){.fire = fire, .context = health};
            timer_set(upstreams->wheel, &health->timer,
                      now_ms + 1 + random_below(upstreams, interval_ms(server->upstream)));
        }
    }
}

static void release_servers(struct server *servers)
{
    for (size_t i = 0; servers != NULL && i < CONFIG_SERVERS_MAX; i++) {
        timer_cancel(&servers[i].health[CONFIG_COAP].timer);
        timer_cancel(&servers[i].health[CONFIG_HTTP].timer);
    }
    free(servers);
}

struct upstreams *upstream_new(const struct config *config, struct timer_wheel *wheel, struct stats *stats,
                               uint64_t now_ms)
{
    struct upstreams *upstreams = calloc(1, sizeof *upstreams);
    if (upstreams == NULL)
        return NULL;
    struct hash_key key;
    hash_key_random(&key);
    *upstreams = (struct upstreams){.config = config, .wheel = wheel, .stats = stats, .random = key.k0 | 1};
    upstreams->servers = make_servers(upstreams, config);
    if (upstreams->servers == NULL) {
        free(upstreams);
        return NULL;
    }
    start_checks(upstreams, now_ms);
    return upstreams;
}

void upstream_free(struct upstreams *upstreams)
{
    if (upstreams == NULL)
        return;
    release_servers(upstreams->servers);
    free(upstreams);
}

static bool same_server(const struct server *a, const struct server *b)
{
    return strcmp(a->config->name, b->config->name) == 0 && strcmp(a->upstream->name, b->upstream->name) == 0;
}

// Takes over what the old servers knew: health, and the requests that are still in flight.
static void inherit(struct server *server, const struct server *old)
{
    for (enum config_binding b = CONFIG_COAP; b <= CONFIG_HTTP; b++) {
        if (!has_binding(server->config, b) || !has_binding(old->config, b) ||
            !address_equal(address_of(server->config, b), address_of(old->config, b)))
            continue;
        server->health[b].in_flight = old->health[b].in_flight;
        // Without checks nothing would ever bring it back.
        if (checks_of(server->upstream, b) == CONFIG_HEALTH_NONE)
            continue;
        server->health[b].up = old->health[b].up;
        server->health[b].in_a_row = old->health[b].in_a_row;
    }
}

int upstream_reload(struct upstreams *upstreams, const struct config *config, uint64_t now_ms)
{
    struct server *servers = make_servers(upstreams, config);
    if (servers == NULL)
        return SAGATE_ENOMEM;
    for (size_t i = 0; i < CONFIG_SERVERS_MAX; i++) {
        for (size_t j = 0; servers[i].config != NULL && j < CONFIG_SERVERS_MAX; j++) {
            if (upstreams->servers[j].config != NULL && same_server(&servers[i], &upstreams->servers[j]))
                inherit(&servers[i], &upstreams->servers[j]);
        }
    }
    release_servers(upstreams->servers);
    upstreams->servers = servers;
    upstreams->config = config;
    start_checks(upstreams, now_ms);
    return SAGATE_OK;
}

// ---- requests ----

// Weighted rendezvous hashing: the hash as a number u in (0, 1), the score -w/ln(u). A server's share is its weight's,
// and what the others score does not depend on it.
static double score(const struct server *server, struct slice originator)
{
    uint64_t hash = hash_stable(originator.data, originator.len, server->seed);
    double u = ((double)(hash >> 11) + 0.5) * 0x1p-53;
    return -(double)server->config->weight / log(u);
}

int upstream_pick(struct upstreams *upstreams, size_t index, enum config_binding binding, struct slice originator,
                  const struct config_server **server)
{
    if (index >= upstreams->config->upstream_count)
        return SAGATE_EUNAVAILABLE;
    const struct config_upstream *upstream = &upstreams->config->upstreams[index];
    const struct config_server *best = NULL;
    double best_score = -1;
    for (size_t i = 0; i < upstream->server_count; i++) {
        const struct config_server *given = &upstream->servers[i];
        if (!upstream_is_healthy(upstreams, given, binding))
            continue;
        double own = upstream->server_count == 1 ? 0 : score(&upstreams->servers[given->number], originator);
        if (own > best_score) {
            best = given;
            best_score = own;
        }
    }
    if (best == NULL)
        return SAGATE_EUNAVAILABLE;
    *server = best;
    return SAGATE_OK;
}

int upstream_begin(struct upstreams *upstreams, const struct config_upstream *upstream,
                   const struct config_server *server, enum config_binding binding)
{
    struct health *health = health_of(upstreams, server, binding);
    if (health == NULL)
        return SAGATE_ELIMIT;
    const struct health *both = health->server->health;
    if (both[CONFIG_COAP].in_flight + both[CONFIG_HTTP].in_flight >= upstream->requests) {
        if (upstreams->stats != NULL)
            stats_add(upstreams->stats, STAT_LIMIT_IN_FLIGHT_UPSTREAM, 1);
        return SAGATE_ELIMIT;
    }
    health->in_flight++;
    struct stats_server *stats = stats_of(upstreams, server);
    if (stats != NULL) {
        stats_count(&stats->requests[binding], 1);
        stats_set(&stats->in_flight[binding], health->in_flight);
    }
    return SAGATE_OK;
}

void upstream_end(struct upstreams *upstreams, const struct config_server *server, enum config_binding binding,
                  enum upstream_outcome outcome, uint64_t latency_us)
{
    struct health *health = health_of(upstreams, server, binding);
    if (health == NULL)
        return;
    if (health->in_flight > 0)
        health->in_flight--;
    struct stats_server *stats = stats_of(upstreams, server);
    if (stats != NULL) {
        stats_set(&stats->in_flight[binding], health->in_flight);
        if (outcome == UPSTREAM_ANSWERED) {
            stats_count(&stats->latency[binding][stats_latency_bucket(latency_us)], 1);
            stats_count(&stats->latency_sum_us[binding], latency_us);
        } else if (outcome == UPSTREAM_FAILED) {
            stats_count(&stats->failures[binding], 1);
        }
    }
    if (outcome == UPSTREAM_UNTOLD || checks_of(health->server->upstream, binding) == CONFIG_HEALTH_NONE)
        return; // without checks nothing would bring the server back
    // An answer ends a row of failures, but only checks bring a server back.
    if (health->up || outcome == UPSTREAM_FAILED)
        judge(health, outcome == UPSTREAM_ANSWERED);
}
