// A worker counts how long its stages take when control asks, ends by itself and says so.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/unit.h"
#include "tests/unit/worker_rig.h"

static struct scene_device *open_with_device(void)
{
    scene_open("");
    struct scene_device *device = scene_dtls("dev1", "192.0.2.1", 40000);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    scene.asks = true; // what the worker says is left to the test
    return device;
}

static void order(uint64_t ticket, uint32_t milliseconds)
{
    const struct plane_message message = {.type = PLANE_PROFILE,
                                          .profile = {.ticket = ticket, .milliseconds = milliseconds}};
    scene_control_says(&message);
    scene_pump();
}

static bool profiled(uint64_t ticket)
{
    const struct plane_message *message = scene_control_hears();
    return message != NULL && message->type == PLANE_PROFILED && message->profiled.ticket == ticket;
}

static void request(struct scene_device *device, uint16_t mid)
{
    scene_device_says(device, mid, "CON GET @t /a 279=Cdev1 283=r1");
    CU_ASSERT_TRUE(scene_cse_hears("CON GET @* /a 279=Cdev1 283=r1 65020=//sp.example/id-in/Cdev1 "
                                   "65052=12-dev1 65084=192.0.2.1:40000"));
    scene_cse_says("ACK 2.05 @* 283=r1 307=#2000");
    CU_ASSERT_TRUE(scene_device_hears(device, "ACK 2.05 @t 283=r1 307=#2000"));
}

static void requests_are_counted_by_stage(void)
{
    struct scene_device *device = open_with_device();
    const struct stats_profile *counts = &scene.stats->profile;
    request(device, 1);
    order(17, 100);
    CU_ASSERT_TRUE(profile_is_on());
    for (uint16_t i = 2; i < 12; i++)
        request(device, i);
    CU_ASSERT_PTR_NULL(scene_control_hears());
    scene_advance(101);
    CU_ASSERT_FALSE(profile_is_on());
    CU_ASSERT_TRUE(profiled(17));
    CU_ASSERT_EQUAL(counts->ticket, 17);
    CU_ASSERT_EQUAL(counts->requests, 10);
    CU_ASSERT_EQUAL(counts->handshakes, 0);
    CU_ASSERT_TRUE(counts->batches >= 20 && counts->events >= 20);
    CU_ASSERT_EQUAL(counts->stages[PROFILE_OPEN].calls, 10);
    CU_ASSERT_EQUAL(counts->stages[PROFILE_BINDING].calls, 10);
    CU_ASSERT_EQUAL(counts->stages[PROFILE_PEP].calls, 10);
    CU_ASSERT_EQUAL(counts->stages[PROFILE_UPSTREAM].calls, 10);
    CU_ASSERT_EQUAL(counts->stages[PROFILE_ANSWER].calls, 10);
    CU_ASSERT_TRUE(counts->stages[PROFILE_SEAL].calls >= 10); // one that waits for others is met twice
    CU_ASSERT_EQUAL(counts->stages[PROFILE_HANDSHAKE].calls, 0);
    // After its end nothing is counted.
    request(device, 12);
    CU_ASSERT_EQUAL(counts->stages[PROFILE_OPEN].calls, 10);
    scene_close();
}

static void handshakes_are_counted(void)
{
    (void)open_with_device();
    const struct stats_profile *counts = &scene.stats->profile;
    scene.asks = false;
    order(18, 100);
    struct scene_device *second = scene_dtls("dev2", "192.0.2.2", 40000);
    struct scene_device *third = scene_tls("dev3", true);
    CU_ASSERT_TRUE(scene_establish(second));
    CU_ASSERT_TRUE(scene_establish(third));
    scene_advance(101);
    CU_ASSERT_EQUAL(counts->ticket, 18);
    CU_ASSERT_EQUAL(counts->handshakes, 2);
    CU_ASSERT_EQUAL(counts->requests, 0);
    CU_ASSERT_TRUE(counts->stages[PROFILE_HANDSHAKE].calls >= 4);
    CU_ASSERT_TRUE(counts->stages[PROFILE_PLANE].calls >= 1);
    scene_close();
}

static void a_new_order_ends_the_one_before(void)
{
    (void)open_with_device();
    order(19, 100000);
    order(20, 100);
    CU_ASSERT_TRUE(profiled(19));
    scene_advance(101);
    CU_ASSERT_TRUE(profiled(20));
    order(21, 100000);
    order(22, 0); // only ends it
    CU_ASSERT_TRUE(profiled(21));
    CU_ASSERT_PTR_NULL(scene_control_hears());
    CU_ASSERT_FALSE(profile_is_on());
    order(23, 100000);
    scene_close(); // in the midst of it
    CU_ASSERT_FALSE(profile_is_on());
}

static const struct unit_test tests[] = {
    {"requests are counted by stage", requests_are_counted_by_stage},
    {"handshakes are counted", handshakes_are_counted},
    {"a new order ends the one before", a_new_order_ends_the_one_before},
};

UNIT_MAIN("worker_profile", tests)
