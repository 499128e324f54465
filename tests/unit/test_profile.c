// The stage profile: each stage gets its own time, whatever lies within it, and nothing is counted while nobody asks.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/profile.h"
#include "tests/unit/unit.h"

#include <string.h>

static struct profile profile;
static struct stats_profile counts;

static void spend(uint64_t ticks)
{
    uint64_t from = profile_ticks();
    while (profile_ticks() - from < ticks)
        continue;
}

static uint64_t sum(void)
{
    uint64_t ticks = 0;
    for (size_t i = 0; i < PROFILE_STAGE_COUNT; i++)
        ticks += counts.stages[i].ticks;
    return ticks;
}

static void time_goes_to_the_innermost_stage(void)
{
    profile_begin(&profile, &counts, PROFILE_PLANE);
    profile_next(PROFILE_LOOKUP);
    profile_enter(PROFILE_OPEN);
    profile_enter(PROFILE_BINDING);
    spend(1000000);
    profile_leave();
    spend(10000);
    profile_leave();
    profile_next(PROFILE_TIMERS);
    profile_end(7);
    CU_ASSERT_EQUAL(counts.ticket, 7);
    CU_ASSERT_EQUAL(counts.stages[PROFILE_LOOKUP].calls, 1);
    CU_ASSERT_EQUAL(counts.stages[PROFILE_OPEN].calls, 1);
    CU_ASSERT_EQUAL(counts.stages[PROFILE_BINDING].calls, 1);
    CU_ASSERT_EQUAL(counts.stages[PROFILE_SEAL].calls, 0);
    CU_ASSERT_TRUE(counts.stages[PROFILE_BINDING].ticks >= 1000000);
    CU_ASSERT_TRUE(counts.stages[PROFILE_OPEN].ticks >= 10000);
    CU_ASSERT_EQUAL(counts.stages[PROFILE_SEAL].ticks, 0);
    CU_ASSERT_EQUAL(sum(), counts.ticks); // none is lost and none counted twice
    CU_ASSERT_TRUE(counts.nanoseconds > 0);
}

static void begins_anew_each_time(void)
{
    profile_begin(&profile, &counts, PROFILE_PLANE);
    profile_enter(PROFILE_SEAL);
    profile_leave();
    profile_end(1);
    profile_begin(&profile, &counts, PROFILE_PLANE);
    profile_end(2);
    CU_ASSERT_EQUAL(counts.stages[PROFILE_SEAL].calls, 0);
    CU_ASSERT_EQUAL(counts.ticket, 2);
    CU_ASSERT_EQUAL(sum(), counts.ticks);
}

static void counts_nothing_while_nobody_asks(void)
{
    struct stats_profile before;
    profile_begin(&profile, &counts, PROFILE_PLANE);
    profile_end(3);
    before = counts;
    CU_ASSERT_FALSE(profile_is_on());
    profile_next(PROFILE_LOOKUP);
    profile_enter(PROFILE_OPEN);
    profile_leave();
    CU_ASSERT_EQUAL(memcmp(&before, &counts, sizeof counts), 0);
    profile_end(4);
    CU_ASSERT_EQUAL(counts.ticket, 3);
}

// It may begin and end at any place within the stages.
static void entering_and_leaving_need_not_match(void)
{
    profile_begin(&profile, &counts, PROFILE_PLANE);
    profile_leave();
    profile_leave();
    for (unsigned i = 0; i < 3 * PROFILE_DEPTH; i++)
        profile_enter(PROFILE_CONTENT);
    for (unsigned i = 0; i < 3 * PROFILE_DEPTH; i++)
        profile_leave();
    CU_ASSERT_EQUAL(profile.stages[0], PROFILE_PLANE);
    CU_ASSERT_EQUAL(profile.depth, 0);
    profile_end(5);
    CU_ASSERT_EQUAL(counts.stages[PROFILE_CONTENT].calls, 3 * PROFILE_DEPTH);
    CU_ASSERT_EQUAL(sum(), counts.ticks);
}

static const struct unit_test tests[] = {
    {"time goes to the innermost stage", time_goes_to_the_innermost_stage},
    {"begins anew each time", begins_anew_each_time},
    {"counts nothing while nobody asks", counts_nothing_while_nobody_asks},
    {"entering and leaving need not match", entering_and_leaving_need_not_match},
};

UNIT_MAIN("profile", tests)
