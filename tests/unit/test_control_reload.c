// The control process, configurations: what a new one changes, what a bad one does not; reload and upgrade through the
// supervisor.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/control_world.h"

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
    {"a bad key of a MAF leaves the former configuration", a_bad_key_of_a_maf_leaves_the_former_configuration},
    {"reload revokes what is gone", reload_revokes_what_is_gone},
    {"a bad configuration changes nothing", a_bad_configuration_changes_nothing},
    {"a check changes nothing", a_check_changes_nothing},
    {"a check needs something in force", a_check_needs_something_in_force},
    {"reload goes through the supervisor", reload_goes_through_the_supervisor},
    {"upgrade goes through the supervisor", upgrade_goes_through_the_supervisor},
};

UNIT_MAIN("control_reload", tests)
