// The control process and the clients of its control socket, and what it shows of itself in metrics.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/profile.h"
#include "common/stats.h"
#include "controlplane/control/socket.h"
#include "tests/unit/control_world.h"

#include <sys/socket.h>
#include <unistd.h>

// Answers LIST as a worker with three associations, two a page.
static void answer_list(unsigned worker)
{
    uint8_t list[1024];
    struct plane_message message;
    do {
        rig_expect(&rig, rig.worker[worker], PLANE_LIST, &message);
    } while (message.list.ticket == 0); // the probe
    uint64_t from = message.list.cursor + 1;
    uint64_t to = message.list.limit < 2 ? from : from + 1;
    int used = 0;
    for (uint64_t id = from; id <= to && id <= 3; id++) {
        struct plane_association entry = {.id = id,
                                          .peer = slice_text("192.0.2.1:4000"),
                                          .credential_id = slice_text(id == 2 ? "12-node@x" : "12-dev@x"),
                                          .listener = slice_text("coaps"),
                                          .protocol = slice_text("DTLS 1.2"),
                                          .cipher = slice_of("\x1b[31m", 5),
                                          .framework = FRAMEWORK_PSK,
                                          .age_ms = 5000};
        used = plane_append_association(list, (size_t)used, sizeof list, &entry);
        CU_ASSERT_TRUE_FATAL(used > 0);
    }
    struct plane_message listed = {
        .type = PLANE_LISTED,
        .listed = {.ticket = message.list.ticket, .next = to >= 3 ? 0 : to, .entries = slice_of(list, (size_t)used)}};
    CU_ASSERT_EQUAL(plane_send(rig.worker[worker], &listed, -1), SAGATE_OK);
}

static void ids_are(const json_t *answer, const char *expected)
{
    char ids[256] = "";
    size_t index;
    const json_t *one;
    json_array_foreach(json_object_get(answer, "associations"), index, one)
    {
        size_t used = strlen(ids);
        (void)snprintf(ids + used, sizeof ids - used, "%s ", json_string_value(json_object_get(one, "id")));
    }
    CU_ASSERT_STRING_EQUAL(ids, expected);
}

static void associations_of_all_workers_are_listed(void)
{
    start();
    int fd = rig_begin_ask(&rig, "{\"v\":1,\"command\":\"associations list\"}");
    answer_list(0);
    answer_list(0);
    answer_list(1);
    answer_list(1);
    json_t *answer = finish_ask(fd);
    ids_are(answer, "0-1 0-2 0-3 1-1 1-2 1-3 ");
    CU_ASSERT_PTR_NULL(json_object_get(answer, "next"));
    json_decref(answer);
    fd = rig_begin_ask(&rig, "{\"v\":1,\"command\":\"associations list\",\"limit\":4}");
    answer_list(0);
    answer_list(0);
    answer_list(1);
    answer = finish_ask(fd);
    ids_are(answer, "0-1 0-2 0-3 1-1 ");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(answer, "next")), "1-1");
    json_decref(answer);
    fd = rig_begin_ask(&rig, "{\"v\":1,\"command\":\"associations list\",\"limit\":4,\"cursor\":\"1-1\"}");
    answer_list(1);
    answer = finish_ask(fd);
    ids_are(answer, "1-2 1-3 ");
    json_decref(answer);
    fd = rig_begin_ask(&rig, "{\"v\":1,\"command\":\"associations list\",\"identity\":\"node@x\"}");
    for (unsigned i = 0; i < 4; i++)
        answer_list(i / 2);
    answer = finish_ask(fd);
    ids_are(answer, "0-2 1-2 ");
    json_decref(answer);
    fd = rig_begin_ask(&rig, "{\"v\":1,\"command\":\"associations show\",\"id\":\"1-3\"}");
    answer_list(1);
    answer_list(1);
    answer = finish_ask(fd);
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(json_object_get(answer, "association"), "credential_id")),
                           "12-dev@x");
    json_decref(answer);
    refused("{\"v\":1,\"command\":\"associations show\",\"id\":\"9-3\"}", "no such association");
    refused("{\"v\":1,\"command\":\"associations show\",\"id\":\"x\"}", "\"id\" must be");
    refused("{\"v\":1,\"command\":\"associations list\",\"limit\":0}", "\"limit\" must be");
    stop();
}

static void associations_are_killed(void)
{
    struct plane_message message;
    start();
    int fd = rig_begin_ask(&rig, "{\"v\":1,\"command\":\"associations kill\",\"identity\":\"node@x\"}");
    for (unsigned i = 0; i < RIG_WORKERS; i++) {
        rig_expect(&rig, rig.worker[i], PLANE_KILL, &message);
        CU_ASSERT_TRUE(slice_is(message.kill.credential_id, "12-node@x"));
        CU_ASSERT_EQUAL(message.kill.association, 0);
        struct plane_message killed = {.type = PLANE_KILLED, .killed = {.ticket = message.kill.ticket, .count = 1 + i}};
        CU_ASSERT_EQUAL(plane_send(rig.worker[i], &killed, -1), SAGATE_OK);
    }
    json_t *answer = finish_ask(fd);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(answer, "killed")), 3);
    json_decref(answer);
    fd = rig_begin_ask(&rig, "{\"v\":1,\"command\":\"associations kill\",\"id\":\"1-17\"}");
    rig_expect(&rig, rig.worker[1], PLANE_KILL, &message);
    CU_ASSERT_EQUAL(message.kill.association, 17);
    struct plane_message killed = {.type = PLANE_KILLED, .killed = {.ticket = message.kill.ticket}};
    CU_ASSERT_EQUAL(plane_send(rig.worker[1], &killed, -1), SAGATE_OK);
    answer = finish_ask(fd);
    CU_ASSERT_FALSE(is_ok(answer));
    json_decref(answer);
    refused("{\"v\":1,\"command\":\"associations kill\"}", "either");
    stop();
}

static void count_profile(unsigned worker, uint64_t ticket)
{
    struct stats *stats = rig.stats[worker];
    stats->layout = STATS_LAYOUT;
    stats->profile = (struct stats_profile){.ticket = ticket,
                                            .unit = PROFILE_CYCLES,
                                            .ticks = 1000,
                                            .nanoseconds = 500,
                                            .batches = 5,
                                            .events = 10,
                                            .requests = 4};
    stats->profile.stages[PROFILE_WAIT].ticks = 200;
    stats->profile.stages[PROFILE_PEP].calls = 8;
    stats->profile.stages[PROFILE_PEP].ticks = 400;
    struct plane_message profiled = {.type = PLANE_PROFILED, .profiled = {.ticket = ticket}};
    CU_ASSERT_EQUAL(plane_send(rig.worker[worker], &profiled, -1), SAGATE_OK);
}

static const json_t *stage_of(const json_t *answer, const char *name)
{
    size_t index;
    json_t *stage;
    json_array_foreach(json_object_get(answer, "stages"), index, stage)
    {
        if (strcmp(json_string_value(json_object_get(stage, "stage")), name) == 0)
            return stage;
    }
    return NULL;
}

static double real_of(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

static void workers_are_profiled(void)
{
    struct plane_message message;
    start();
    int fd = rig_begin_ask(&rig, "{\"v\":1,\"command\":\"profile\",\"seconds\":2}");
    for (unsigned i = 0; i < RIG_WORKERS; i++) {
        rig_expect(&rig, rig.worker[i], PLANE_PROFILE, &message);
        CU_ASSERT_EQUAL(message.profile.milliseconds, 2000);
        if (i == 0)
            refused("{\"v\":1,\"command\":\"profile\"}", "under way");
        count_profile(i, message.profile.ticket);
    }
    json_t *answer = finish_ask(fd);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(answer, "workers")), 2);
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(answer, "unit")), "cycles");
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(answer, "requests")), 8);
    CU_ASSERT_DOUBLE_EQUAL(real_of(answer, "busy"), 0.8, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(real_of(answer, "ticks_per_nanosecond"), 2, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(real_of(answer, "busy_per_request"), 200, 1e-9);
    CU_ASSERT_TRUE(json_is_null(json_object_get(answer, "busy_per_handshake")));
    const json_t *pep = stage_of(answer, "pep");
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(pep, "calls")), 16);
    CU_ASSERT_DOUBLE_EQUAL(real_of(pep, "share"), 0.5, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(real_of(pep, "per_call"), 50, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(real_of(pep, "per_request"), 100, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(real_of(pep, "per_batch"), 80, 1e-9);
    CU_ASSERT_TRUE(json_is_null(json_object_get(stage_of(answer, "io wait"), "share")));
    CU_ASSERT_PTR_NULL(json_object_get(answer, "silent_workers"));
    json_decref(answer);
    refused("{\"v\":1,\"command\":\"profile\",\"seconds\":0}", "\"seconds\" must be");
    refused("{\"v\":1,\"command\":\"profile\",\"seconds\":\"x\"}", "\"seconds\" must be");
    stop();
}

static void a_worker_that_does_not_count_is_told(void)
{
    struct plane_message message;
    start();
    int fd = rig_begin_ask(&rig, "{\"v\":1,\"command\":\"profile\",\"seconds\":1}");
    for (unsigned i = 0; i < RIG_WORKERS; i++) {
        rig_expect(&rig, rig.worker[i], PLANE_PROFILE, &message);
        if (i == 0)
            count_profile(i, message.profile.ticket);
    }
    // Its counts are those of an earlier order.
    rig.stats[1]->layout = STATS_LAYOUT;
    rig.stats[1]->profile = (struct stats_profile){.ticket = message.profile.ticket - 1, .requests = 99};
    json_t *answer = finish_ask(fd);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(answer, "workers")), 1);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(answer, "requests")), 4);
    CU_ASSERT_EQUAL(json_integer_value(json_array_get(json_object_get(answer, "silent_workers"), 0)), 1);
    json_decref(answer);
    stop();
}

#define ADD "{\"v\":1,\"command\":\"identities add\",\"identity\":\"new@x\",\"key_hex\":"

static void identities_come_and_go_at_run_time(void)
{
    struct plane_message message;
    start();
    for (unsigned i = 0; i < RIG_WORKERS; i++)
        rig_expect(&rig, rig.worker[i], PLANE_OWNERS, &message);
    accepted(ADD "\"" RIG_KEY_NEW_HEX "\",\"ae_ids\":[\"Cn1\",\"Cn2\"],\"expires\":\"2199-01-01T00:00:00Z\"}");
    // A worker that remembers the identity as unknown must ask again.
    rig_expect(&rig, rig.worker[1], PLANE_REVOKED, &message);
    CU_ASSERT_TRUE(slice_is(message.revoked.identity, "new@x"));
    CU_ASSERT_EQUAL(message.revoked.credential_id.len, 0);
    rig_expect(&rig, rig.worker[1], PLANE_OWNERS, &message);
    CU_ASSERT_TRUE(owners_name(message.owners.entries, "Cn2", "", "12-new@x"));
    resolve("new@x", &message);
    CU_ASSERT_EQUAL(message.resolved.result, SAGATE_OK);
    CU_ASSERT_EQUAL(message.resolved.key.len, 16);
    refused(ADD "\"" RIG_KEY_NEW_HEX "\",\"ae_ids\":[\"Cn3\"]}", "already");
    json_t *answer = ask("{\"v\":1,\"command\":\"identities list\",\"limit\":3}");
    CU_ASSERT_EQUAL(json_array_size(json_object_get(answer, "identities")), 3);
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(answer, "next")), "node@x");
    const json_t *new = json_array_get(json_object_get(answer, "identities"), 1);
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(new, "source")), "run-time");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(new, "expires")), "2199-01-01T00:00:00Z");
    json_decref(answer);
    answer = ask("{\"v\":1,\"command\":\"identities list\",\"cursor\":\"node@x\"}");
    CU_ASSERT_EQUAL(json_array_size(json_object_get(answer, "identities")), 1);
    json_decref(answer);
    // It survives a restart, in a file that nobody else reads.
    CU_ASSERT_EQUAL(rig_stop(&rig), 0);
    CU_ASSERT_EQUAL(rig_mode(&rig, "state/credentials.conf"), 0600);
    rig_spawn(&rig);
    CU_ASSERT_EQUAL_FATAL(rig_configure(&rig, 1, true), SAGATE_OK);
    resolve("new@x", &message);
    CU_ASSERT_EQUAL(message.resolved.result, SAGATE_OK);
    accepted("{\"v\":1,\"command\":\"identities remove\",\"identity\":\"new@x\"}");
    rig_expect(&rig, rig.worker[0], PLANE_REVOKED, &message);
    CU_ASSERT_TRUE(slice_is(message.revoked.credential_id, "12-new@x"));
    resolve("new@x", &message);
    CU_ASSERT_EQUAL(message.resolved.result, SAGATE_ENOTFOUND);
    refused("{\"v\":1,\"command\":\"identities remove\",\"identity\":\"new@x\"}", "no such identity");
    refused("{\"v\":1,\"command\":\"identities remove\",\"identity\":\"dev@x\"}", "reload");
    tell_registered();
    rig_expect(&rig, rig.worker[1], PLANE_PRINCIPAL, &message);
    accepted("{\"v\":1,\"command\":\"identities forget\",\"identity\":\"node@x\",\"ae_id\":\"Cnew\"}");
    refused("{\"v\":1,\"command\":\"identities forget\",\"identity\":\"node@x\",\"ae_id\":\"Cnew\"}", "not learned");
    stop();
}

static void no_answer_holds_key_bytes(void)
{
    static const char *const commands[] = {
        ADD "\"" RIG_KEY_NEW_HEX "\",\"ae_ids\":[\"Cn1\"]}",
        ADD "\"" RIG_KEY_NEW_HEX "\",\"ae_ids\":[\"Cn1\"]}",
        ADD "\"" RIG_KEY_NEW_HEX "f\",\"ae_ids\":[\"Cn1\"]}",
        ADD "\"zz" RIG_KEY_NEW_HEX "\",\"ae_ids\":[\"Cn1\"]}",
        ADD "\"" RIG_KEY_NEW_HEX RIG_KEY_NEW_HEX RIG_KEY_NEW_HEX RIG_KEY_NEW_HEX RIG_KEY_NEW_HEX "\"}",
        ADD "[\"" RIG_KEY_NEW_HEX "\"]}",
        ADD "\"" RIG_KEY_NEW_HEX "\",\"ae_ids\":[\"bad id\"]}",
        ADD "\"" RIG_KEY_NEW_HEX,
        ADD "\"" RIG_KEY_NEW_HEX "\",\"identity\":\"x\"}",
        "{\"v\":1,\"command\":\"" RIG_KEY_NEW_HEX "\"}",
        "{\"v\":1,\"command\":\"status\"}",
        "{\"v\":1,\"command\":\"upstreams\"}",
        "{\"v\":1,\"command\":\"identities list\"}",
        "{\"v\":1,\"command\":\"identities list\",\"identity\":\"node@x\"}",
        "{\"v\":1,\"command\":\"identities remove\",\"identity\":\"dev@x\"}",
    };
    static char answer[1 << 20];
    start();
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        rig_ask(&rig, commands[i], answer, sizeof answer);
        CU_ASSERT_TRUE(strlen(answer) > 10);
        CU_ASSERT_FALSE(rig_holds_key(answer, strlen(answer)));
    }
    size_t len = rig_http(&rig, "/metrics", answer, sizeof answer);
    CU_ASSERT_TRUE(len > 1000);
    CU_ASSERT_FALSE(rig_holds_key(answer, len));
    CU_ASSERT_EQUAL(rig_stop(&rig), 0);
    // Nor does a log line of any of this.
    len = rig_log(&rig, answer, sizeof answer);
    CU_ASSERT_TRUE(len > 0);
    CU_ASSERT_FALSE(rig_holds_key(answer, len));
    rig_destroy(&rig);
}

static void what_is_no_command_is_refused(void)
{
    static char line[SOCKET_LINE_MAX + 4096];
    static char answer[4096];
    start();
    refused("nonsense", "not a JSON object");
    refused("[1]", "not a JSON object");
    refused("{\"command\":\"status\"}", "\"v\" is missing");
    refused("{\"v\":2,\"command\":\"status\"}", "\"v\" is missing or not a version");
    refused("{\"v\":1}", "\"command\" is missing");
    refused("{\"v\":1,\"command\":\"selfdestruct\"}", "unknown command");
    refused("{\"v\":1,\"command\":\"drain\",\"on\":\"yes\"}", "true or false");
    refused("{\"v\":1,\"command\":\"log level\",\"level\":\"loud\"}", "must be error");
    refused("{\"v\":1,\"command\":\"identities add\"}", "\"identity\" is missing");
    refused(ADD "\"00\",\"ae_ids\":[\"Cx\"]}", "shorter than 16");
    memset(line, ' ', sizeof line - 1);
    rig_ask(&rig, line, answer, sizeof answer);
    CU_ASSERT_PTR_NOT_NULL(strstr(answer, "longer than 64 KiB"));
    // Deep nesting ends in an error, not in a stack that is too small.
    memset(line, '[', SOCKET_LINE_MAX - 10);
    line[SOCKET_LINE_MAX - 10] = '\0';
    rig_ask(&rig, line, answer, sizeof answer);
    CU_ASSERT_PTR_NOT_NULL(strstr(answer, "not a JSON object"));
    accepted("{\"v\":1,\"command\":\"status\"}");
    stop();
}

static void clients_are_bounded_and_served_in_turn(void)
{
    static char line[65536];
    int fds[SOCKET_CLIENTS_MAX];
    start();
    for (int i = 0; i < SOCKET_CLIENTS_MAX; i++)
        fds[i] = rig_begin_ask(&rig, "{\"v\":1,\"command\":\"drain\"}");
    for (int i = 0; i < SOCKET_CLIENTS_MAX; i++) {
        rig_read_line(&rig, fds[i], line, sizeof line);
        CU_ASSERT_STRING_EQUAL(line, "{\"drain\":false,\"v\":1,\"ok\":true}");
    }
    int more = rig_begin_ask(&rig, "{\"v\":1,\"command\":\"drain\"}");
    rig_read_line(&rig, more, line, sizeof line);
    CU_ASSERT_PTR_NOT_NULL(strstr(line, "too many clients"));
    close(more);
    for (int i = 1; i < SOCKET_CLIENTS_MAX; i++)
        close(fds[i]);
    // Several commands ahead are answered one by one, also when the client has closed its side.
    const char two[] = "{\"v\":1,\"command\":\"drain\"}\n\n{\"v\":1,\"command\":\"log level\"}\n";
    CU_ASSERT_EQUAL(write(fds[0], two, sizeof two - 1), (ssize_t)sizeof two - 1);
    CU_ASSERT_EQUAL(shutdown(fds[0], SHUT_WR), 0);
    rig_read_line(&rig, fds[0], line, sizeof line);
    CU_ASSERT_PTR_NOT_NULL(strstr(line, "drain"));
    rig_read_line(&rig, fds[0], line, sizeof line);
    CU_ASSERT_PTR_NOT_NULL(strstr(line, "log_level"));
    CU_ASSERT_EQUAL(rig_read_line(&rig, fds[0], line, sizeof line), 0); // and then it is let go
    close(fds[0]);
    stop();
}

static void status_and_metrics_tell_what_is(void)
{
    static char text[1 << 20];
    struct plane_message processes = {.type = PLANE_PROCESSES,
                                      .processes = {.supervisor = 11,
                                                    .control = 12,
                                                    .data = 13,
                                                    .data_restarts = 2,
                                                    .data_started = 1900000000,
                                                    .data_resumed = 70,
                                                    .data_lost = 3,
                                                    .data_version = slice_text("9.8.7")}};
    struct plane_message hello = {.type = PLANE_HELLO, .hello = {.boot = 5}};
    start();
    rig_send(&rig, rig.supervisor, &processes);
    (void)rig_http(&rig, "/readyz", text, sizeof text);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, " 503 "));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "0 of 2 workers have reported"));
    for (unsigned i = 0; i < RIG_WORKERS; i++) {
        rig.stats[i]->layout = STATS_LAYOUT;
        rig.stats[i]->servers[0].healthy[STATS_HTTP] = 1;
        stats_add(rig.stats[i], STAT_ASSOCIATIONS_TLS, 4);
        hello.hello.worker = i;
        rig_send(&rig, rig.worker[i], &hello);
    }
    struct plane_message message;
    resolve("nobody", &message);
    struct plane_message request = {.type = PLANE_RESOLVE, .resolve = {.identity = slice_text("nobody")}};
    rig_send(&rig, rig.worker[1], &request);
    rig_expect(&rig, rig.worker[1], PLANE_RESOLVED, &message);
    (void)rig_http(&rig, "/readyz", text, sizeof text);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, " 200 "));
    json_t *answer = ask("{\"v\":1,\"command\":\"status\"}");
    CU_ASSERT_TRUE(json_is_true(json_object_get(answer, "ready")));
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(json_object_get(answer, "associations"), "tls")), 8);
    const json_t *data = json_object_get(json_object_get(answer, "processes"), "data");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(data, "version")), "9.8.7");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(data, "started")), "2030-03-17T17:46:40Z");
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(data, "associations_resumed")), 70);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(data, "associations_lost")), 3);
    json_decref(answer);
    answer = ask("{\"v\":1,\"command\":\"upstreams\"}");
    const json_t *upstream = json_array_get(json_object_get(answer, "upstreams"), 0);
    const json_t *server = json_array_get(json_object_get(upstream, "servers"), 0);
    CU_ASSERT_TRUE(json_is_true(json_object_get(json_object_get(server, "http"), "healthy")));
    CU_ASSERT_FALSE(json_is_true(json_object_get(json_object_get(server, "coap"), "healthy")));
    json_decref(answer);
    (void)rig_http(&rig, "/metrics", text, sizeof text);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\nsagate_process_restarts_total{process=\"data\"} 2\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\nsagate_resolutions_total{result=\"unknown\"} 2\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\nsagate_identities{source=\"file\"} 3\n"));
    rig_all_documented(text);
    // Without a data process nothing is ready, whatever was said before.
    processes.processes.data = 0;
    rig_send(&rig, rig.supervisor, &processes);
    CU_ASSERT_EQUAL(rig_configure(&rig, 2, false), SAGATE_OK);
    (void)rig_http(&rig, "/readyz", text, sizeof text);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "the data process is not running"));
    stop();
}

static void mafs_are_shown(void)
{
    static char text[1 << 20];
    start_with_maf();
    json_t *answer = ask("{\"v\":1,\"command\":\"tef status\"}");
    const json_t *one = json_array_get(json_object_get(answer, "tefs"), 0);
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(one, "name")), "maf");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(one, "kind")), "maf");
    json_decref(answer);
    accepted("{\"v\":1,\"command\":\"identities flush\",\"end_associations\":true}");
    accepted("{\"v\":1,\"command\":\"identities flush\",\"identity\":\"k1@maf.sp.example\"}");
    refused("{\"v\":1,\"command\":\"identities flush\",\"identity\":7}", "must be a string");
    size_t len = rig_http(&rig, "/metrics", text, sizeof text);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "sagate_tef_requests_total{tef=\"maf\",result=\"ok\"} 0"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "sagate_resolver_remote_refused_total{reason=\"key\"} 0"));
    CU_ASSERT_FALSE(rig_holds_key(text, len));
    rig_all_documented(text);
    stop();
}

static const struct unit_test tests[] = {
    {"MAFs are shown", mafs_are_shown},
    {"associations of all workers are listed", associations_of_all_workers_are_listed},
    {"associations are killed", associations_are_killed},
    {"workers are profiled", workers_are_profiled},
    {"a worker that does not count is told", a_worker_that_does_not_count_is_told},
    {"identities come and go at run time", identities_come_and_go_at_run_time},
    {"no answer holds key bytes", no_answer_holds_key_bytes},
    {"what is no command is refused", what_is_no_command_is_refused},
    {"clients are bounded and served in turn", clients_are_bounded_and_served_in_turn},
    {"status and metrics tell what is", status_and_metrics_tell_what_is},
};

UNIT_MAIN("control_commands", tests)
