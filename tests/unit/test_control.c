// The control process between a fake supervisor and two fake workers: what these hear from it, and what it keeps.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/clock.h"
#include "common/log.h"
#include "tests/unit/control_world.h"

#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

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

static const struct unit_test tests[] = {
    {"every worker that asked hears of a remote identity", every_worker_that_asked_hears_of_a_remote_identity},
    {"workers hear who there is", workers_hear_who_there_is},
    {"identities are resolved", identities_are_resolved},
    {"registrations survive a killed control process", registrations_survive_a_killed_control_process},
    {"orders outlive the process", orders_outlive_the_process},
    {"expired credential ends its associations", expired_credential_ends_its_associations},
    {"restarted worker is told again", restarted_worker_is_told_again},
    {"a worker that reads late gets all answers", a_worker_that_reads_late_gets_all_answers},
    {"a removal reaches the next worker", a_removal_reaches_the_next_worker},
    {"ends when told", ends_when_told},
};

UNIT_MAIN("control", tests)
