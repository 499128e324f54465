// Which server an originator gets, what moves when one fails, and when a server counts as healthy.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/upstream/upstream.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

enum { SERVERS = 4, ORIGINATORS = 4000, NOW = 1000 };

static char names[SERVERS + 1][8] = {"cse1", "cse2", "cse3", "cse4", "cse5"};
static char upstream_names[2][8] = {"main", "other"};
static struct config_server servers[SERVERS];
static struct config_server other_servers[1];
static struct config_upstream upstream_configs[2];
static struct config config;
static struct stats stats;
static struct timer_wheel *wheel;
static struct upstreams *upstreams;
static unsigned checks[CONFIG_SERVERS_MAX];
static uint64_t first_check[CONFIG_SERVERS_MAX];
static uint64_t clock_now;

static void fill_server(struct config_server *server, char *name, size_t number, bool coap)
{
    *server = (struct config_server){.name = name, .number = number, .has_http = true, .has_coap = coap, .weight = 10};
    CU_ASSERT_EQUAL(address_parse("127.0.0.1", (uint16_t)(8000 + number), &server->http), SAGATE_OK);
    CU_ASSERT_EQUAL(address_parse("127.0.0.1", (uint16_t)(9000 + number), &server->coap), SAGATE_OK);
}

static void fill_config(void)
{
    for (size_t i = 0; i < SERVERS; i++)
        fill_server(&servers[i], names[i], i, i != 3);
    fill_server(&other_servers[0], names[SERVERS], SERVERS, false);
    for (size_t i = 0; i < 2; i++)
        upstream_configs[i] = (struct config_upstream){.name = upstream_names[i],
                                                       .requests = 3,
                                                       .http_health = CONFIG_HEALTH_REQUEST,
                                                       .coap_health = CONFIG_HEALTH_PING,
                                                       .health_seconds = 10,
                                                       .health_timeout_milliseconds = 2000,
                                                       .health_rise = 2,
                                                       .health_fall = 3};
    upstream_configs[0].servers = servers;
    upstream_configs[0].server_count = SERVERS;
    upstream_configs[1].servers = other_servers;
    upstream_configs[1].server_count = 1;
    config = (struct config){.upstream_count = 2, .upstreams = upstream_configs};
}

static void on_check(void *context, const struct config_upstream *upstream, const struct config_server *server)
{
    CU_ASSERT_PTR_EQUAL(context, &checks);
    CU_ASSERT_PTR_EQUAL(upstream, &upstream_configs[server->number == SERVERS]);
    if (checks[server->number]++ == 0)
        first_check[server->number] = clock_now;
    upstream_health_result(upstreams, server, CONFIG_HTTP, true);
}

static void start(void)
{
    memset(&stats, 0, sizeof stats);
    memset(checks, 0, sizeof checks);
    wheel = timer_wheel_new(NOW);
    upstreams = upstream_new(&config, wheel, &stats, NOW);
    CU_ASSERT_PTR_NOT_NULL_FATAL(upstreams);
}

static void stop(void)
{
    upstream_free(upstreams);
    timer_wheel_free(wheel);
}

static size_t pick(unsigned originator, enum config_binding binding)
{
    char text[64];
    const struct config_server *server = NULL;
    (void)snprintf(text, sizeof text, "//sp.example/id-in/Cdev%u", originator);
    int result = upstream_pick(upstreams, 0, binding, slice_text(text), &server);
    CU_ASSERT_EQUAL_FATAL(result, SAGATE_OK);
    return server->number;
}

static void fail(size_t number, enum config_binding binding)
{
    for (unsigned i = 0; i < 3; i++)
        upstream_health_result(upstreams, &servers[number], binding, false);
}

static void only_the_failed_servers_originators_move(void)
{
    static size_t before[ORIGINATORS];
    unsigned moved = 0;
    fill_config();
    start();
    for (unsigned i = 0; i < ORIGINATORS; i++)
        before[i] = pick(i, CONFIG_HTTP);
    fail(1, CONFIG_HTTP);
    for (unsigned i = 0; i < ORIGINATORS; i++) {
        size_t now = pick(i, CONFIG_HTTP);
        CU_ASSERT_NOT_EQUAL(now, 1);
        if (before[i] != 1)
            CU_ASSERT_EQUAL(now, before[i]);
        moved += now != before[i];
    }
    CU_ASSERT_TRUE(moved > ORIGINATORS / 8 && moved < ORIGINATORS / 2);
    upstream_health_result(upstreams, &servers[1], CONFIG_HTTP, true);
    upstream_health_result(upstreams, &servers[1], CONFIG_HTTP, true);
    for (unsigned i = 0; i < ORIGINATORS; i++)
        CU_ASSERT_EQUAL(pick(i, CONFIG_HTTP), before[i]);
    stop();
    // Another worker, another run, the servers in another order: the same choice.
    struct config_server first = servers[0];
    servers[0] = servers[2];
    servers[2] = first;
    start();
    for (unsigned i = 0; i < ORIGINATORS; i++)
        CU_ASSERT_EQUAL(pick(i, CONFIG_HTTP), before[i]);
    stop();
}

static void weights_are_respected(void)
{
    unsigned got[SERVERS] = {0};
    fill_config();
    servers[0].weight = 40;
    servers[1].weight = 30;
    servers[2].weight = 20;
    servers[3].weight = 10;
    start();
    for (unsigned i = 0; i < ORIGINATORS; i++)
        got[pick(i, CONFIG_HTTP)]++;
    for (size_t i = 0; i < SERVERS; i++) {
        unsigned expected = ORIGINATORS * servers[i].weight / 100;
        CU_ASSERT_TRUE(got[i] > expected * 8 / 10 && got[i] < expected * 12 / 10);
    }
    stop();
}

static void a_binding_needs_an_address(void)
{
    const struct config_server *server = NULL;
    fill_config();
    start();
    for (unsigned i = 0; i < ORIGINATORS; i++)
        CU_ASSERT_NOT_EQUAL(pick(i, CONFIG_COAP), 3);
    CU_ASSERT_EQUAL(stats.servers[3].healthy[STATS_COAP], 0);
    CU_ASSERT_EQUAL(stats.servers[3].healthy[STATS_HTTP], 1);
    CU_ASSERT_FALSE(upstream_is_healthy(upstreams, &servers[3], CONFIG_COAP));
    CU_ASSERT_EQUAL(upstream_pick(upstreams, 1, CONFIG_COAP, slice_text("x"), &server), SAGATE_EUNAVAILABLE);
    CU_ASSERT_EQUAL(upstream_pick(upstreams, 1, CONFIG_HTTP, slice_of(NULL, 0), &server), SAGATE_OK);
    CU_ASSERT_PTR_EQUAL(server, &other_servers[0]);
    CU_ASSERT_EQUAL(upstream_pick(upstreams, 2, CONFIG_HTTP, slice_text("x"), &server), SAGATE_EUNAVAILABLE);
    for (size_t i = 0; i < SERVERS; i++)
        fail(i, CONFIG_HTTP);
    CU_ASSERT_EQUAL(upstream_pick(upstreams, 0, CONFIG_HTTP, slice_text("x"), &server), SAGATE_EUNAVAILABLE);
    CU_ASSERT_EQUAL(upstream_pick(upstreams, 0, CONFIG_COAP, slice_text("x"), &server), SAGATE_OK);
    stop();
}

static void results_in_a_row_change_the_state(void)
{
    static const struct {
        bool result, healthy;
    } steps[] = {{false, true}, {false, true},  {true, true},  {false, true}, {false, true}, {false, false},
                 {true, false}, {false, false}, {true, false}, {true, true},  {false, true}};
    fill_config();
    start();
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        upstream_health_result(upstreams, &servers[0], CONFIG_HTTP, steps[i].result);
        CU_ASSERT_EQUAL(upstream_is_healthy(upstreams, &servers[0], CONFIG_HTTP), steps[i].healthy);
        CU_ASSERT_EQUAL(stats.servers[0].healthy[STATS_HTTP], steps[i].healthy);
        CU_ASSERT_TRUE(upstream_is_healthy(upstreams, &servers[0], CONFIG_COAP));
    }
    stop();
}

static void requests_are_bounded_and_judged(void)
{
    fill_config();
    start();
    CU_ASSERT_EQUAL(upstream_begin(upstreams, &upstream_configs[0], &servers[0], CONFIG_HTTP), SAGATE_OK);
    CU_ASSERT_EQUAL(upstream_begin(upstreams, &upstream_configs[0], &servers[0], CONFIG_HTTP), SAGATE_OK);
    CU_ASSERT_EQUAL(upstream_begin(upstreams, &upstream_configs[0], &servers[0], CONFIG_COAP), SAGATE_OK);
    CU_ASSERT_EQUAL(upstream_begin(upstreams, &upstream_configs[0], &servers[0], CONFIG_COAP), SAGATE_ELIMIT);
    CU_ASSERT_EQUAL(stats.counters[STAT_LIMIT_IN_FLIGHT_UPSTREAM], 1);
    CU_ASSERT_EQUAL(upstream_begin(upstreams, &upstream_configs[0], &servers[1], CONFIG_COAP), SAGATE_OK);
    CU_ASSERT_EQUAL(stats.servers[0].in_flight[STATS_HTTP], 2);
    upstream_end(upstreams, &servers[0], CONFIG_HTTP, UPSTREAM_ANSWERED, 150);
    CU_ASSERT_EQUAL(stats.servers[0].in_flight[STATS_HTTP], 1);
    CU_ASSERT_EQUAL(stats.servers[0].requests[STATS_HTTP], 2);
    CU_ASSERT_EQUAL(stats.servers[0].latency[STATS_HTTP][1], 1);
    CU_ASSERT_EQUAL(stats.servers[0].latency_sum_us[STATS_HTTP], 150);
    CU_ASSERT_EQUAL(upstream_begin(upstreams, &upstream_configs[0], &servers[0], CONFIG_COAP), SAGATE_OK);
    // Requests without an answer count like failed checks; an answer ends the row but does not bring the server back.
    upstream_end(upstreams, &servers[0], CONFIG_HTTP, UPSTREAM_FAILED, 0);
    upstream_end(upstreams, &servers[0], CONFIG_HTTP, UPSTREAM_FAILED, 0);
    upstream_end(upstreams, &servers[0], CONFIG_HTTP, UPSTREAM_ANSWERED, 1);
    upstream_end(upstreams, &servers[0], CONFIG_HTTP, UPSTREAM_FAILED, 0);
    upstream_end(upstreams, &servers[0], CONFIG_HTTP, UPSTREAM_FAILED, 0);
    CU_ASSERT_TRUE(upstream_is_healthy(upstreams, &servers[0], CONFIG_HTTP));
    upstream_end(upstreams, &servers[0], CONFIG_HTTP, UPSTREAM_FAILED, 0);
    CU_ASSERT_FALSE(upstream_is_healthy(upstreams, &servers[0], CONFIG_HTTP));
    CU_ASSERT_EQUAL(stats.servers[0].failures[STATS_HTTP], 5);
    CU_ASSERT_EQUAL(stats.servers[0].in_flight[STATS_HTTP], 0);
    for (unsigned i = 0; i < 5; i++)
        upstream_end(upstreams, &servers[0], CONFIG_HTTP, UPSTREAM_ANSWERED, 1);
    CU_ASSERT_FALSE(upstream_is_healthy(upstreams, &servers[0], CONFIG_HTTP));
    stop();
    // What was cancelled or ran out of time says nothing, however often one device brings it about.
    start();
    CU_ASSERT_EQUAL(upstream_begin(upstreams, &upstream_configs[0], &servers[0], CONFIG_HTTP), SAGATE_OK);
    uint64_t failures = stats.servers[0].failures[STATS_HTTP], latency = stats.servers[0].latency_sum_us[STATS_HTTP];
    for (unsigned i = 0; i < 10; i++)
        upstream_end(upstreams, &servers[0], CONFIG_HTTP, UPSTREAM_UNTOLD, 70);
    CU_ASSERT_TRUE(upstream_is_healthy(upstreams, &servers[0], CONFIG_HTTP));
    CU_ASSERT_EQUAL(stats.servers[0].in_flight[STATS_HTTP], 0);
    CU_ASSERT_EQUAL(stats.servers[0].failures[STATS_HTTP], failures);
    CU_ASSERT_EQUAL(stats.servers[0].latency_sum_us[STATS_HTTP], latency);
    upstream_end(upstreams, &servers[0], CONFIG_HTTP, UPSTREAM_FAILED, 0);
    upstream_end(upstreams, &servers[0], CONFIG_HTTP, UPSTREAM_FAILED, 0);
    upstream_end(upstreams, &servers[0], CONFIG_HTTP, UPSTREAM_UNTOLD, 0); // nor does it end a row of failures
    upstream_end(upstreams, &servers[0], CONFIG_HTTP, UPSTREAM_FAILED, 0);
    CU_ASSERT_FALSE(upstream_is_healthy(upstreams, &servers[0], CONFIG_HTTP));
    stop();
    // Without checks a server is never taken out.
    upstream_configs[0].http_health = CONFIG_HEALTH_NONE;
    start();
    for (unsigned i = 0; i < 10; i++)
        upstream_end(upstreams, &servers[0], CONFIG_HTTP, UPSTREAM_FAILED, 0);
    CU_ASSERT_TRUE(upstream_is_healthy(upstreams, &servers[0], CONFIG_HTTP));
    stop();
}

static void run_until(uint64_t end)
{
    for (; clock_now < end; clock_now += 10)
        timer_wheel_run(wheel, clock_now);
}

static void checks_are_spread(void)
{
    static const struct upstream_checker checker = {&checks, on_check};
    fill_config();
    start();
    upstream_set_checker(upstreams, CONFIG_HTTP, &checker);
    clock_now = NOW;
    run_until(NOW + 200000);
    bool together = true;
    for (size_t i = 0; i <= SERVERS; i++) {
        CU_ASSERT_TRUE(checks[i] >= 17 && checks[i] <= 24); // every 8.75 to 11.25 seconds
        CU_ASSERT_TRUE(first_check[i] <= NOW + 10010);
        together = together && first_check[i] == first_check[0];
    }
    CU_ASSERT_FALSE(together);
    CU_ASSERT_EQUAL(checks[SERVERS + 1], 0);
    stop();
}

static void ask_only(void *context, const struct config_upstream *upstream, const struct config_server *server)
{
    (void)context;
    (void)upstream;
    checks[server->number]++;
}

static void a_lost_result_does_not_end_the_checks(void)
{
    static const struct upstream_checker checker = {NULL, ask_only};
    fill_config();
    upstream_configs[0].http_health = CONFIG_HEALTH_NONE;
    start();
    upstream_set_checker(upstreams, CONFIG_COAP, &checker);
    clock_now = NOW;
    run_until(NOW + 200000);
    CU_ASSERT_TRUE(checks[0] >= 5 && checks[0] <= 12);
    CU_ASSERT_EQUAL(checks[3], 0); // no CoAP there
    stop();
}

static void health_outlives_a_reload(void)
{
    static struct config_server moved[3];
    static struct config_upstream upstream;
    struct config next;
    fill_config();
    start();
    fail(0, CONFIG_HTTP);
    fail(1, CONFIG_HTTP);
    fail(1, CONFIG_COAP);
    CU_ASSERT_EQUAL(upstream_begin(upstreams, &upstream_configs[0], &servers[0], CONFIG_HTTP), SAGATE_OK);
    // cse1 has another number now, cse2 another HTTP address, cse3 and cse4 are gone, one is new.
    upstream = upstream_configs[0];
    moved[0] = servers[0];
    moved[0].number = 7;
    moved[1] = servers[1];
    CU_ASSERT_EQUAL(address_parse("127.0.0.1", 7777, &moved[1].http), SAGATE_OK);
    fill_server(&moved[2], names[4], 2, true);
    upstream.servers = moved;
    upstream.server_count = 3;
    next = (struct config){.upstream_count = 1, .upstreams = &upstream};
    CU_ASSERT_EQUAL(upstream_reload(upstreams, &next, NOW + 5), SAGATE_OK);
    CU_ASSERT_FALSE(upstream_is_healthy(upstreams, &moved[0], CONFIG_HTTP));
    CU_ASSERT_TRUE(upstream_is_healthy(upstreams, &moved[0], CONFIG_COAP));
    CU_ASSERT_TRUE(upstream_is_healthy(upstreams, &moved[1], CONFIG_HTTP));
    CU_ASSERT_FALSE(upstream_is_healthy(upstreams, &moved[1], CONFIG_COAP));
    CU_ASSERT_TRUE(upstream_is_healthy(upstreams, &moved[2], CONFIG_HTTP));
    CU_ASSERT_EQUAL(stats.servers[0].healthy[STATS_HTTP], 0);
    CU_ASSERT_EQUAL(stats.servers[0].healthy[STATS_COAP], 0);
    CU_ASSERT_EQUAL(stats.servers[3].healthy[STATS_HTTP], 0);
    CU_ASSERT_EQUAL(stats.servers[7].healthy[STATS_COAP], 1);
    CU_ASSERT_EQUAL(stats.servers[7].in_flight[STATS_HTTP], 1);
    CU_ASSERT_EQUAL(stats.servers[0].in_flight[STATS_HTTP], 0);
    // A result for a server that is gone has no effect.
    fail(3, CONFIG_HTTP);
    upstream_end(upstreams, &moved[0], CONFIG_HTTP, UPSTREAM_ANSWERED, 1);
    upstream_end(upstreams, &moved[0], CONFIG_HTTP, UPSTREAM_ANSWERED, 1);
    CU_ASSERT_EQUAL(stats.servers[7].in_flight[STATS_HTTP], 0);
    clock_now = NOW;
    run_until(NOW + 30000);
    stop();
}

static const struct unit_test tests[] = {
    {"only the failed server's originators move", only_the_failed_servers_originators_move},
    {"weights are respected", weights_are_respected},
    {"a binding needs an address", a_binding_needs_an_address},
    {"results in a row change the state", results_in_a_row_change_the_state},
    {"requests are bounded and judged", requests_are_bounded_and_judged},
    {"checks are spread", checks_are_spread},
    {"a lost result does not end the checks", a_lost_result_does_not_end_the_checks},
    {"health outlives a reload", health_outlives_a_reload},
};

UNIT_MAIN("upstream", tests)
