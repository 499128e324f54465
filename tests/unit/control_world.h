// What the tests of the control process share: one rig, started and stopped, and clients of its control socket.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_UNIT_CONTROL_WORLD_H
#define SAGATE_TESTS_UNIT_CONTROL_WORLD_H

#include "common/error.h"
#include "common/plane.h"
#include "tests/unit/control_rig.h"
#include "tests/unit/unit.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct rig rig;

static inline void start(void)
{
    rig_create(&rig);
    rig_credentials(&rig, RIG_USUAL);
    rig_spawn(&rig);
    CU_ASSERT_EQUAL_FATAL(rig_configure(&rig, 1, true), SAGATE_OK);
}

static inline void start_with_maf(void)
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

static inline void stop(void)
{
    CU_ASSERT_EQUAL(rig_stop(&rig), 0);
    rig_destroy(&rig);
}

// An answer to one command on a connection of its own; the caller decrefs.
static inline json_t *ask(const char *command)
{
    static char line[1 << 20];
    rig_ask(&rig, command, line, sizeof line);
    json_t *answer = json_loads(line, 0, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(answer);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(answer, "v")), 1);
    return answer;
}

// The same to the one that rig_begin_ask has sent.
static inline json_t *finish_ask(int fd)
{
    static char line[1 << 16];
    rig_read_line(&rig, fd, line, sizeof line);
    close(fd);
    json_t *answer = json_loads(line, 0, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(answer);
    return answer;
}

static inline bool is_ok(const json_t *answer)
{
    return json_is_true(json_object_get(answer, "ok"));
}

static inline void refused(const char *command, const char *part)
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

static inline void accepted(const char *command)
{
    json_t *answer = ask(command);
    CU_ASSERT_TRUE(is_ok(answer));
    if (!is_ok(answer))
        (void)fprintf(stderr, "error was: %s\n", json_string_value(json_object_get(answer, "error")));
    json_decref(answer);
}

static inline void resolve(const char *identity, struct plane_message *answer)
{
    struct plane_message ask_for = {.type = PLANE_RESOLVE, .resolve = {.identity = slice_text(identity)}};
    CU_ASSERT_EQUAL_FATAL(plane_send(rig.worker[0], &ask_for, -1), SAGATE_OK);
    rig_expect(&rig, rig.worker[0], PLANE_RESOLVED, answer);
    CU_ASSERT_TRUE(slice_is(answer->resolved.identity, identity));
}

static inline void tell_registered(void)
{
    struct plane_message message = {.type = PLANE_REGISTERED,
                                    .registered = {.credential_id = slice_text("12-node@x"),
                                                   .upstream = slice_text("in"),
                                                   .aei = slice_text("Cnew"),
                                                   .resource_id = slice_text("ri1"),
                                                   .structured = slice_text("cse/ae")}};
    CU_ASSERT_EQUAL_FATAL(plane_send(rig.worker[0], &message, -1), SAGATE_OK);
}

static inline bool owners_name(struct slice entries, const char *stem, const char *upstream, const char *credential_id)
{
    struct slice a, b, c;
    while (plane_next_text(&entries, &a) == SAGATE_OK && plane_next_text(&entries, &b) == SAGATE_OK &&
           plane_next_text(&entries, &c) == SAGATE_OK) {
        if (slice_is(a, stem) && slice_is(b, upstream) && slice_is(c, credential_id))
            return true;
    }
    return false;
}

#endif
