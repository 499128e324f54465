// The control process as a whole, between a fake supervisor, two fake workers and clients of its control socket.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "common/plane.h"
#include "controlplane/control/socket.h"
#include "controlplane/metrics/metrics.h"
#include "tests/unit/control_rig.h"
#include "tests/unit/unit.h"

#include <jansson.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

const size_t rig_stride = METRICS_STRIDE;

static struct rig rig;

static void start(void)
{
    rig_create(&rig);
    rig_credentials(&rig, RIG_USUAL);
    rig_spawn(&rig);
    CU_ASSERT_EQUAL_FATAL(rig_configure(&rig, 1, true), SAGATE_OK);
}

static void stop(void)
{
    CU_ASSERT_EQUAL(rig_stop(&rig), 0);
    rig_destroy(&rig);
}

// An answer to one command on a connection of its own; the caller decrefs.
static json_t *ask(const char *command)
{
    static char line[1 << 20];
    rig_ask(&rig, command, line, sizeof line);
    json_t *answer = json_loads(line, 0, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(answer);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(answer, "v")), 1);
    return answer;
}

static bool is_ok(const json_t *answer)
{
    return json_is_true(json_object_get(answer, "ok"));
}

static void refused(const char *command, const char *part)
{
    json_t *answer = ask(command);
    const char *error = json_string_value(json_object_get(answer, "error"));
    CU_ASSERT_FALSE(is_ok(answer));
    CU_ASSERT_PTR_NOT_NULL_FATAL(error);
    CU_ASSERT_PTR_NOT_NULL(strstr(error, part));
    if (strstr(error, part) == NULL)
        (void)fprintf(stderr, "error was: %s\n", error);
    json_decref(answer);
}

static void accepted(const char *command)
{
    json_t *answer = ask(command);
    CU_ASSERT_TRUE(is_ok(answer));
    if (!is_ok(answer))
        (void)fprintf(stderr, "error was: %s\n", json_string_value(json_object_get(answer, "error")));
    json_decref(answer);
}

static void workers_hear_who_there_is(void)
{
    struct plane_message message;
    struct slice text;
    start();
    for (unsigned i = 0; i < RIG_WORKERS; i++) {
        CU_ASSERT_EQUAL_FATAL(rig_next(&rig, rig.worker[i], &message), SAGATE_OK);
        CU_ASSERT_EQUAL(message.type, PLANE_HELLO);
        CU_ASSERT_EQUAL(message.hello.worker, i);
        CU_ASSERT_EQUAL_FATAL(rig_next(&rig, rig.worker[i], &message), SAGATE_OK);
        CU_ASSERT_EQUAL_FATAL(message.type, PLANE_REGISTREES);
        CU_ASSERT_EQUAL(plane_next_text(&message.registrees.cse_ids, &text), SAGATE_OK);
        CU_ASSERT_TRUE(slice_is(text, "/mn1"));
        CU_ASSERT_EQUAL(plane_next_text(&message.registrees.cse_ids, &text), SAGATE_DONE);
        CU_ASSERT_EQUAL_FATAL(rig_next(&rig, rig.worker[i], &message), SAGATE_OK);
        CU_ASSERT_EQUAL_FATAL(message.type, PLANE_OWNERS);
        CU_ASSERT_EQUAL(message.owners.replace, 1);
        CU_ASSERT_EQUAL(plane_next_text(&message.owners.entries, &text), SAGATE_OK);
        CU_ASSERT_TRUE(slice_is(text, "Cdev1"));
        CU_ASSERT_EQUAL(plane_next_text(&message.owners.entries, &text), SAGATE_OK);
        CU_ASSERT_EQUAL(text.len, 0); // configured: at every upstream
        CU_ASSERT_EQUAL(plane_next_text(&message.owners.entries, &text), SAGATE_OK);
        CU_ASSERT_TRUE(slice_is(text, "12-dev@x"));
        CU_ASSERT_EQUAL(plane_next_text(&message.owners.entries, &text), SAGATE_DONE);
    }
    stop();
}

static void resolve(const char *identity, struct plane_message *answer)
{
    struct plane_message ask_for = {.type = PLANE_RESOLVE, .resolve = {.identity = slice_text(identity)}};
    CU_ASSERT_EQUAL_FATAL(plane_send(rig.worker[0], &ask_for, -1), SAGATE_OK);
    rig_expect(&rig, rig.worker[0], PLANE_RESOLVED, answer);
    CU_ASSERT_TRUE(slice_is(answer->resolved.identity, identity));
}

static void identities_are_resolved(void)
{
    struct plane_message message;
    start();
    resolve("node@x", &message);
    CU_ASSERT_EQUAL(message.resolved.result, SAGATE_OK);
    CU_ASSERT_TRUE(slice_equal(message.resolved.key, slice_of(RIG_KEY_NODE, 16)));
    struct principal *principal = plane_unpack_principal(message.resolved.principal);
    CU_ASSERT_PTR_NOT_NULL_FATAL(principal);
    CU_ASSERT_STRING_EQUAL(principal->credential_id, "12-node@x");
    CU_ASSERT_STRING_EQUAL(principal->aes[0].stem, "C*");
    principal_release(principal);
    resolve("nobody", &message);
    CU_ASSERT_EQUAL(message.resolved.result, SAGATE_ENOTFOUND);
    CU_ASSERT_EQUAL(message.resolved.key.len, 0);
    CU_ASSERT_EQUAL(message.resolved.principal.len, 0);
    CU_ASSERT_EQUAL(message.resolved.cache_seconds, 10);
    stop();
}

static void tell_registered(void)
{
    struct plane_message message = {.type = PLANE_REGISTERED,
                                    .registered = {.credential_id = slice_text("12-node@x"),
                                                   .upstream = slice_text("in"),
                                                   .aei = slice_text("Cnew"),
                                                   .resource_id = slice_text("ri1"),
                                                   .structured = slice_text("cse/ae")}};
    CU_ASSERT_EQUAL_FATAL(plane_send(rig.worker[0], &message, -1), SAGATE_OK);
}

static bool owners_name(struct slice entries, const char *stem, const char *upstream, const char *credential_id)
{
    struct slice a, b, c;
    while (plane_next_text(&entries, &a) == SAGATE_OK && plane_next_text(&entries, &b) == SAGATE_OK &&
           plane_next_text(&entries, &c) == SAGATE_OK) {
        if (slice_is(a, stem) && slice_is(b, upstream) && slice_is(c, credential_id))
            return true;
    }
    return false;
}

static void registrations_survive_a_killed_control_process(void)
{
    struct plane_message message;
    start();
    for (unsigned i = 0; i < RIG_WORKERS; i++)
        rig_expect(&rig, rig.worker[i], PLANE_OWNERS, &message);
    tell_registered();
    for (unsigned i = 0; i < RIG_WORKERS; i++) {
        rig_expect(&rig, rig.worker[i], PLANE_PRINCIPAL, &message);
        struct principal *principal = plane_unpack_principal(message.principal.principal);
        CU_ASSERT_PTR_NOT_NULL_FATAL(principal);
        CU_ASSERT_EQUAL_FATAL(principal->ae_count, 2);
        CU_ASSERT_STRING_EQUAL(principal->aes[1].upstream, "in");
        principal_release(principal);
        rig_expect(&rig, rig.worker[i], PLANE_OWNERS, &message);
        CU_ASSERT_EQUAL(message.owners.remove, 0);
        CU_ASSERT_EQUAL(message.owners.replace, 0);
        CU_ASSERT_TRUE(owners_name(message.owners.entries, "Cnew", "in", "12-node@x"));
    }
    json_t *answer = ask("{\"v\":1,\"command\":\"identities list\",\"identity\":\"node@x\"}");
    const json_t *learned = json_object_get(json_array_get(json_object_get(answer, "identities"), 0), "learned");
    CU_ASSERT_EQUAL(json_array_size(learned), 1);
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(json_array_get(learned, 0), "ae_id")), "Cnew");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(json_array_get(learned, 0), "upstream")), "in");
    json_decref(answer);
    // The store is flushed before another worker is listened to.
    struct plane_message request = {.type = PLANE_RESOLVE, .resolve = {.identity = slice_text("nobody")}};
    rig_send(&rig, rig.worker[1], &request);
    rig_expect(&rig, rig.worker[1], PLANE_RESOLVED, &message);
    CU_ASSERT_EQUAL(kill(rig.pid, SIGKILL), 0);
    CU_ASSERT_EQUAL(waitpid(rig.pid, NULL, 0), rig.pid);
    rig_spawn(&rig);
    CU_ASSERT_EQUAL_FATAL(rig_configure(&rig, 1, true), SAGATE_OK);
    rig_expect(&rig, rig.worker[1], PLANE_HELLO, &message);
    rig_expect(&rig, rig.worker[1], PLANE_OWNERS, &message);
    CU_ASSERT_EQUAL(message.owners.replace, 1);
    CU_ASSERT_TRUE(owners_name(message.owners.entries, "Cnew", "in", "12-node@x"));
    struct plane_message deleted = {.type = PLANE_DELETED,
                                    .deleted = {.upstream = slice_text("in"), .to = slice_text("cse/ae")}};
    CU_ASSERT_EQUAL(plane_send(rig.worker[0], &deleted, -1), SAGATE_OK);
    rig_expect(&rig, rig.worker[1], PLANE_PRINCIPAL, &message);
    rig_expect(&rig, rig.worker[1], PLANE_OWNERS, &message);
    CU_ASSERT_EQUAL(message.owners.remove, 1);
    CU_ASSERT_TRUE(owners_name(message.owners.entries, "Cnew", "in", "12-node@x"));
    stop();
}

static void reload_revokes_what_is_gone(void)
{
    struct plane_message message;
    start();
    rig_credentials(&rig, RIG_WITHOUT_NODE);
    CU_ASSERT_EQUAL(rig_configure(&rig, 2, false), SAGATE_OK);
    for (unsigned i = 0; i < RIG_WORKERS; i++) {
        rig_expect(&rig, rig.worker[i], PLANE_REVOKED, &message);
        CU_ASSERT_TRUE(slice_is(message.revoked.identity, "node@x"));
        CU_ASSERT_TRUE(slice_is(message.revoked.credential_id, "12-node@x"));
        rig_expect(&rig, rig.worker[i], PLANE_OWNERS, &message);
    }
    resolve("node@x", &message);
    CU_ASSERT_EQUAL(message.resolved.result, SAGATE_ENOTFOUND);
    resolve("dev@x", &message);
    CU_ASSERT_EQUAL(message.resolved.result, SAGATE_OK);
    stop();
}

static void a_bad_configuration_changes_nothing(void)
{
    struct plane_message message;
    start();
    rig_credentials(&rig, "credentials = ( { identity = \"dev@x\"; key_hex = \"zz" RIG_KEY_NODE_HEX "\"; } );");
    CU_ASSERT_EQUAL(rig_configure(&rig, 2, false), SAGATE_ECONFIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.text, "credentials.conf"));
    CU_ASSERT_PTR_NULL(strstr(rig.text, RIG_KEY_NODE_HEX));
    resolve("node@x", &message);
    CU_ASSERT_EQUAL(message.resolved.result, SAGATE_OK);
    // A commit without a configuration, and one of another generation.
    struct plane_message commit = {.type = PLANE_CONFIG_COMMIT, .config_commit = {.generation = 7}};
    CU_ASSERT_EQUAL(plane_send(rig.supervisor, &commit, -1), SAGATE_OK);
    rig_expect(&rig, rig.supervisor, PLANE_CONFIG_RESULT, &message);
    CU_ASSERT_EQUAL(message.config_result.generation, 7);
    CU_ASSERT_TRUE(message.config_result.result < 0);
    accepted("{\"v\":1,\"command\":\"status\"}");
    rig_credentials(&rig, RIG_USUAL);
    CU_ASSERT_EQUAL(rig_configure(&rig, 3, false), SAGATE_OK);
    stop();
}

static void a_check_changes_nothing(void)
{
    struct plane_message message;
    start();
    rig_credentials(&rig, RIG_WITHOUT_NODE);
    CU_ASSERT_EQUAL(rig_check(&rig, 2), SAGATE_OK);
    resolve("node@x", &message);
    CU_ASSERT_EQUAL(message.resolved.result, SAGATE_OK);
    rig_credentials(&rig, "credentials = ( {");
    CU_ASSERT_EQUAL(rig_check(&rig, 3), SAGATE_ECONFIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.text, "credentials.conf"));
    // What was checked is not what a commit without a configuration would take.
    struct plane_message commit = {.type = PLANE_CONFIG_COMMIT, .config_commit = {.generation = 2}};
    CU_ASSERT_EQUAL(plane_send(rig.supervisor, &commit, -1), SAGATE_OK);
    rig_expect(&rig, rig.supervisor, PLANE_CONFIG_RESULT, &message);
    CU_ASSERT_TRUE(message.config_result.result < 0);
    resolve("node@x", &message);
    CU_ASSERT_EQUAL(message.resolved.result, SAGATE_OK);
    rig_credentials(&rig, RIG_WITHOUT_NODE);
    CU_ASSERT_EQUAL(rig_configure(&rig, 4, false), SAGATE_OK);
    rig_expect(&rig, rig.worker[0], PLANE_REVOKED, &message);
    CU_ASSERT_TRUE(slice_is(message.revoked.credential_id, "12-node@x"));
    stop();
}

static void a_check_needs_something_in_force(void)
{
    rig_create(&rig);
    rig_credentials(&rig, RIG_USUAL);
    rig_spawn(&rig);
    CU_ASSERT_TRUE(rig_check(&rig, 1) < 0);
    CU_ASSERT_EQUAL(rig_configure(&rig, 2, true), SAGATE_OK);
    stop();
}

static void orders_outlive_the_process(void)
{
    struct plane_message message;
    const struct plane_message state = {.type = PLANE_STATE,
                                        .state = {.drain = 1, .log_level_set = 1, .log_level = LOG_LEVEL_ERROR}};
    rig_create(&rig);
    rig_credentials(&rig, RIG_USUAL);
    rig_spawn(&rig);
    CU_ASSERT_EQUAL(plane_send(rig.supervisor, &state, -1), SAGATE_OK);
    CU_ASSERT_EQUAL_FATAL(rig_configure(&rig, 1, true), SAGATE_OK);
    rig_expect(&rig, rig.worker[0], PLANE_DRAIN, &message);
    CU_ASSERT_EQUAL(message.drain.on, 1);
    rig_expect(&rig, rig.worker[0], PLANE_LOG_LEVEL, &message);
    CU_ASSERT_EQUAL(message.log_level.level, LOG_LEVEL_ERROR);
    accepted("{\"v\":1,\"command\":\"drain\",\"on\":false}");
    rig_expect(&rig, rig.supervisor, PLANE_STATE, &message);
    CU_ASSERT_EQUAL(message.state.drain, 0);
    CU_ASSERT_EQUAL(message.state.log_level_set, 1);
    accepted("{\"v\":1,\"command\":\"log level\",\"level\":\"debug\"}");
    rig_expect(&rig, rig.supervisor, PLANE_STATE, &message);
    CU_ASSERT_EQUAL(message.state.log_level, LOG_LEVEL_DEBUG);
    stop();
}

static void expired_credential_ends_its_associations(void)
{
    struct plane_message message;
    char credentials[512], when[32];
    time_t soon = (time_t)clock_wall() + 2;
    struct tm parts;
    rig_create(&rig);
    (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&soon, &parts));
    (void)snprintf(credentials, sizeof credentials,
                   "credentials = ( { identity = \"brief@x\"; key_hex = \"" RIG_KEY_NODE_HEX
                   "\"; ae_ids = [ \"Cb\" ]; expires = \"%s\"; } );",
                   when);
    rig_credentials(&rig, credentials);
    rig_spawn(&rig);
    CU_ASSERT_EQUAL_FATAL(rig_configure(&rig, 1, true), SAGATE_OK);
    rig_expect(&rig, rig.worker[1], PLANE_REVOKED, &message);
    CU_ASSERT_TRUE(slice_is(message.revoked.credential_id, "12-brief@x"));
    resolve("brief@x", &message);
    CU_ASSERT_EQUAL(message.resolved.result, SAGATE_ENOTFOUND);
    stop();
}

static void restarted_worker_is_told_again(void)
{
    struct plane_message message;
    start();
    rig_expect(&rig, rig.worker[0], PLANE_DRAIN, &message);
    CU_ASSERT_EQUAL(message.drain.on, 0);
    accepted("{\"v\":1,\"command\":\"drain\",\"on\":true}");
    rig_expect(&rig, rig.worker[0], PLANE_DRAIN, &message);
    CU_ASSERT_EQUAL(message.drain.on, 1);
    accepted("{\"v\":1,\"command\":\"log level\",\"level\":\"error\"}");
    rig_expect(&rig, rig.worker[0], PLANE_LOG_LEVEL, &message);
    CU_ASSERT_EQUAL(message.log_level.level, LOG_LEVEL_ERROR);
    struct plane_message hello = {.type = PLANE_HELLO, .hello = {.worker = 0, .boot = 99}};
    CU_ASSERT_EQUAL(plane_send(rig.worker[0], &hello, -1), SAGATE_OK);
    // HELLO, so that it asks about the associations that the one before has left.
    rig_expect(&rig, rig.worker[0], PLANE_HELLO, &message);
    rig_expect(&rig, rig.worker[0], PLANE_REGISTREES, &message);
    rig_expect(&rig, rig.worker[0], PLANE_OWNERS, &message);
    rig_expect(&rig, rig.worker[0], PLANE_DRAIN, &message);
    CU_ASSERT_EQUAL(message.drain.on, 1);
    rig_expect(&rig, rig.worker[0], PLANE_LOG_LEVEL, &message);
    // A data process that was replaced comes with new channels.
    int fds[2];
    CU_ASSERT_EQUAL_FATAL(plane_pair(fds), SAGATE_OK);
    struct plane_message channel = {.type = PLANE_CHANNEL, .channel = {.worker = 0}};
    CU_ASSERT_EQUAL(plane_send(rig.supervisor, &channel, fds[1]), SAGATE_OK);
    close(fds[1]);
    rig_expect(&rig, fds[0], PLANE_HELLO, &message);
    rig_expect(&rig, fds[0], PLANE_OWNERS, &message);
    close(fds[0]);
    stop();
}

static void a_worker_that_reads_late_gets_all_answers(void)
{
    enum { ASKED = 8000 };
    struct plane_message message;
    char identity[64];
    start();
    for (int i = 0; i < ASKED; i++) {
        (void)snprintf(identity, sizeof identity, "unknown-%d", i);
        struct plane_message request = {.type = PLANE_RESOLVE, .resolve = {.identity = slice_text(identity)}};
        rig_send(&rig, rig.worker[0], &request);
    }
    for (int i = 0; i < ASKED; i++) {
        (void)snprintf(identity, sizeof identity, "unknown-%d", i);
        rig_expect(&rig, rig.worker[0], PLANE_RESOLVED, &message);
        CU_ASSERT_TRUE_FATAL(slice_is(message.resolved.identity, identity));
    }
    stop();
}

// Waits until the control process has read what was sent to it, and done what it says.
static void all_is_read(int fd)
{
    int unread = 0;
    while (ioctl(fd, SIOCOUTQ, &unread) == 0 && unread > 0)
        (void)poll(NULL, 0, 1);
    accepted("{\"v\":1,\"command\":\"status\"}");
}

// What a worker that ended had not read: its answers are of no use to the next one, but its associations go on there,
// and a credential that was removed must end them.
static void a_removal_reaches_the_next_worker(void)
{
    enum { ASKED = 16000 };
    struct plane_message message;
    char identity[64];
    start();
    accepted("{\"v\":1,\"command\":\"identities add\",\"identity\":\"new@x\",\"key_hex\":\"" RIG_KEY_NEW_HEX
             "\",\"ae_ids\":[\"Cn9\"]}");
    for (int i = 0; i < ASKED; i++) {
        (void)snprintf(identity, sizeof identity, "unknown-%d", i);
        struct plane_message request = {.type = PLANE_RESOLVE, .resolve = {.identity = slice_text(identity)}};
        rig_send(&rig, rig.worker[0], &request);
    }
    all_is_read(rig.worker[0]);
    accepted("{\"v\":1,\"command\":\"identities remove\",\"identity\":\"new@x\"}");
    struct plane_message hello = {.type = PLANE_HELLO, .hello = {.worker = 0, .boot = 99}};
    rig_send(&rig, rig.worker[0], &hello);
    all_is_read(rig.worker[0]);
    int answers = 0;
    do {
        CU_ASSERT_EQUAL_FATAL(rig_next(&rig, rig.worker[0], &message), SAGATE_OK);
        answers += message.type == PLANE_RESOLVED;
    } while (message.type != PLANE_REVOKED || message.revoked.credential_id.len == 0);
    CU_ASSERT_TRUE(slice_is(message.revoked.credential_id, "12-new@x"));
    CU_ASSERT_TRUE(answers < ASKED);
    rig_expect(&rig, rig.worker[0], PLANE_HELLO, &message);
    stop();
}

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

static json_t *finish_ask(int fd)
{
    static char line[1 << 16];
    rig_read_line(&rig, fd, line, sizeof line);
    close(fd);
    json_t *answer = json_loads(line, 0, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(answer);
    return answer;
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

static void reload_goes_through_the_supervisor(void)
{
    struct plane_message message;
    start();
    int fd = rig_begin_ask(&rig, "{\"v\":1,\"command\":\"reload\"}");
    rig_expect(&rig, rig.supervisor, PLANE_RELOAD, &message);
    uint64_t ticket = message.reload.ticket;
    CU_ASSERT_EQUAL(rig_configure(&rig, 5, false), SAGATE_OK);
    struct plane_message result = {.type = PLANE_RELOAD_RESULT, .reload_result = {.ticket = ticket}};
    CU_ASSERT_EQUAL(plane_send(rig.supervisor, &result, -1), SAGATE_OK);
    json_t *answer = finish_ask(fd);
    CU_ASSERT_TRUE(is_ok(answer));
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(answer, "generation")), 5);
    json_decref(answer);
    fd = rig_begin_ask(&rig, "{\"v\":1,\"command\":\"reload\"}");
    rig_expect(&rig, rig.supervisor, PLANE_RELOAD, &message);
    result.reload_result = (struct plane_reload_result){
        .ticket = message.reload.ticket, .result = SAGATE_ECONFIG, .text = slice_text("sagate.conf:3: no")};
    CU_ASSERT_EQUAL(plane_send(rig.supervisor, &result, -1), SAGATE_OK);
    answer = finish_ask(fd);
    CU_ASSERT_FALSE(is_ok(answer));
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(answer, "error")), "sagate.conf:3: no");
    json_decref(answer);
    stop();
}

static void upgrade_goes_through_the_supervisor(void)
{
    struct plane_message message;
    start();
    int fd = rig_begin_ask(&rig, "{\"v\":1,\"command\":\"upgrade\",\"binary\":\"/opt/sagate\",\"force\":true}");
    rig_expect(&rig, rig.supervisor, PLANE_UPGRADE, &message);
    CU_ASSERT_TRUE(slice_is(message.upgrade.path, "/opt/sagate"));
    CU_ASSERT_EQUAL(message.upgrade.force, 1);
    struct plane_message result = {
        .type = PLANE_UPGRADE_RESULT,
        .upgrade_result = {
            .ticket = message.upgrade.ticket, .version = slice_text("9.8.7"), .resumed = 1000, .lost = 2}};
    CU_ASSERT_EQUAL(plane_send(rig.supervisor, &result, -1), SAGATE_OK);
    json_t *answer = finish_ask(fd);
    CU_ASSERT_TRUE(is_ok(answer));
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(answer, "version")), "9.8.7");
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(answer, "associations_resumed")), 1000);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(answer, "associations_lost")), 2);
    json_decref(answer);
    fd = rig_begin_ask(&rig, "{\"v\":1,\"command\":\"upgrade\"}");
    rig_expect(&rig, rig.supervisor, PLANE_UPGRADE, &message);
    CU_ASSERT_EQUAL(message.upgrade.path.len, 0);
    CU_ASSERT_EQUAL(message.upgrade.force, 0);
    result.upgrade_result = (struct plane_upgrade_result){
        .ticket = message.upgrade.ticket, .result = SAGATE_EVERSION, .text = slice_text("another layout")};
    CU_ASSERT_EQUAL(plane_send(rig.supervisor, &result, -1), SAGATE_OK);
    answer = finish_ask(fd);
    CU_ASSERT_FALSE(is_ok(answer));
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(answer, "error")), "another layout");
    json_decref(answer);
    refused("{\"v\":1,\"command\":\"upgrade\",\"binary\":\"sagate\"}", "absolute path");
    refused("{\"v\":1,\"command\":\"upgrade\",\"binary\":7}", "absolute path");
    refused("{\"v\":1,\"command\":\"upgrade\",\"force\":\"yes\"}", "true or false");
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

static void ends_when_told(void)
{
    int status = -1;
    start();
    CU_ASSERT_EQUAL(kill(rig.pid, SIGTERM), 0);
    CU_ASSERT_EQUAL(waitpid(rig.pid, &status, 0), rig.pid);
    CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    rig.pid = 0;
    rig_destroy(&rig);
}

static void start_with_maf(void)
{
    rig_create(&rig);
    rig_credentials(&rig, RIG_USUAL);
    rig_maf(&rig, RIG_KEY_NODE_HEX "\n");
    rig_spawn(&rig);
    int result = rig_configure(&rig, 1, true);
    if (result != SAGATE_OK)
        (void)fprintf(stderr, "%s\n", rig.text);
    CU_ASSERT_EQUAL_FATAL(result, SAGATE_OK);
}

static void every_worker_that_asked_hears_of_a_remote_identity(void)
{
    static const char identity[] = "k1@maf.sp.example";
    struct plane_message message;
    start_with_maf();
    struct plane_message ask_for = {.type = PLANE_RESOLVE, .resolve = {.identity = slice_text(identity)}};
    for (unsigned i = 0; i < RIG_WORKERS; i++)
        rig_send(&rig, rig.worker[i], &ask_for);
    for (unsigned i = 0; i < RIG_WORKERS; i++) {
        rig_expect(&rig, rig.worker[i], PLANE_RESOLVED, &message);
        CU_ASSERT_TRUE(slice_is(message.resolved.identity, identity));
        CU_ASSERT_EQUAL(message.resolved.result, SAGATE_EUNAVAILABLE);
        CU_ASSERT_EQUAL(message.resolved.cache_seconds, 1);
    }
    resolve("dev@x", &message); // provisioned: nobody is asked
    CU_ASSERT_EQUAL(message.resolved.result, SAGATE_OK);
    resolve("k1@other.example", &message);
    CU_ASSERT_EQUAL(message.resolved.result, SAGATE_ENOTFOUND);
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

static void a_bad_key_of_a_maf_leaves_the_former_configuration(void)
{
    start_with_maf();
    rig_maf(&rig, "no key\n");
    CU_ASSERT_NOT_EQUAL(rig_check(&rig, 2), SAGATE_OK);
    CU_ASSERT_NOT_EQUAL(rig_configure(&rig, 3, false), SAGATE_OK);
    CU_ASSERT_PTR_NOT_NULL(strstr(rig.text, "key of 'maf'"));
    json_t *answer = ask("{\"v\":1,\"command\":\"tef status\"}");
    CU_ASSERT_EQUAL(json_array_size(json_object_get(answer, "tefs")), 1);
    json_decref(answer);
    rig_maf(&rig, RIG_KEY_NEW_HEX);
    CU_ASSERT_EQUAL(rig_check(&rig, 4), SAGATE_OK);
    CU_ASSERT_EQUAL(rig_configure(&rig, 5, false), SAGATE_OK);
    stop();
}

static const struct unit_test tests[] = {
    {"every worker that asked hears of a remote identity", every_worker_that_asked_hears_of_a_remote_identity},
    {"MAFs are shown", mafs_are_shown},
    {"a bad key of a MAF leaves the former configuration", a_bad_key_of_a_maf_leaves_the_former_configuration},
    {"workers hear who there is", workers_hear_who_there_is},
    {"identities are resolved", identities_are_resolved},
    {"registrations survive a killed control process", registrations_survive_a_killed_control_process},
    {"reload revokes what is gone", reload_revokes_what_is_gone},
    {"a bad configuration changes nothing", a_bad_configuration_changes_nothing},
    {"a check changes nothing", a_check_changes_nothing},
    {"a check needs something in force", a_check_needs_something_in_force},
    {"orders outlive the process", orders_outlive_the_process},
    {"expired credential ends its associations", expired_credential_ends_its_associations},
    {"restarted worker is told again", restarted_worker_is_told_again},
    {"a worker that reads late gets all answers", a_worker_that_reads_late_gets_all_answers},
    {"a removal reaches the next worker", a_removal_reaches_the_next_worker},
    {"associations of all workers are listed", associations_of_all_workers_are_listed},
    {"associations are killed", associations_are_killed},
    {"workers are profiled", workers_are_profiled},
    {"a worker that does not count is told", a_worker_that_does_not_count_is_told},
    {"reload goes through the supervisor", reload_goes_through_the_supervisor},
    {"upgrade goes through the supervisor", upgrade_goes_through_the_supervisor},
    {"identities come and go at run time", identities_come_and_go_at_run_time},
    {"no answer holds key bytes", no_answer_holds_key_bytes},
    {"what is no command is refused", what_is_no_command_is_refused},
    {"clients are bounded and served in turn", clients_are_bounded_and_served_in_turn},
    {"status and metrics tell what is", status_and_metrics_tell_what_is},
    {"ends when told", ends_when_told},
};

UNIT_MAIN("control", tests)
