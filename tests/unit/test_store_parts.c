// The store's wheel, and its principals.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/association/store.h"
#include "tests/unit/store_rig.h"
#include "tests/unit/unit.h"

#include <string.h>

static struct store_rig rig;

// --- wheel -------------------------------------------------------------------------------------------------------

enum { SLOTS = 400 };

static uint32_t looks[SLOTS + 1], again_s, clock_s;

static uint32_t note_look(void *context, store_slot slot, uint32_t now_s)
{
    (void)context;
    CU_ASSERT_EQUAL(now_s, clock_s);
    CU_ASSERT_FATAL(slot <= SLOTS);
    looks[slot]++;
    return again_s;
}

static uint32_t end_it(void *context, store_slot slot, uint32_t now_s)
{
    (void)context;
    (void)now_s;
    looks[slot]++;
    store_release(rig.store, slot);
    return 0;
}

static void start_wheel(void)
{
    memset(looks, 0, sizeof looks);
    store_rig_new(&rig, SLOTS);
    clock_s = STORE_RIG_NOW;
    (void)store_run(rig.store, clock_s, UINT32_MAX, note_look, NULL);
}

static void looks_when_the_time_has_come(void)
{
    static const uint32_t distances[] = {1, 2, 299, 1023, 1024, 1025, 5000, 100000};
    for (size_t i = 0; i < sizeof distances / sizeof *distances; i++) {
        start_wheel();
        const store_slot slot = store_rig_add(&rig, RECORD_DTLS12, 1, 0);
        store_look_at(rig.store, slot, STORE_RIG_NOW + distances[i]);
        again_s = UINT32_MAX;
        while (clock_s < STORE_RIG_NOW + distances[i] + 2000) {
            clock_s++;
            CU_ASSERT_FALSE(store_run(rig.store, clock_s, 100, note_look, NULL));
            CU_ASSERT_EQUAL(looks[slot], clock_s >= STORE_RIG_NOW + distances[i]);
        }
        store_rig_free(&rig);
    }
}

static void keeps_to_its_budget(void)
{
    start_wheel();
    for (uint32_t i = 1; i <= SLOTS; i++)
        CU_ASSERT_NOT_EQUAL(store_rig_add(&rig, RECORD_DTLS12, i, 0), 0);
    again_s = 0; // nothing of the kind: the slot is still there, so it is looked at in the next second
    clock_s += 300;
    unsigned calls = 1;
    while (store_run(rig.store, clock_s, 30, note_look, NULL)) {
        uint32_t sum = 0;
        for (size_t i = 1; i <= SLOTS; i++)
            sum += looks[i];
        CU_ASSERT_EQUAL(sum, calls * 30);
        calls++;
        if (calls == 5) { // the rest waits for the next process
            store_rig_reopen(&rig);
            CU_ASSERT_EQUAL(rig.found, STORE_RESUMED);
            store_rig_check(&rig);
            break;
        }
    }
    CU_ASSERT_EQUAL(calls, 5);
    store_rig_free(&rig);
}

static void looks_again_in_the_next_second(void)
{
    start_wheel();
    const store_slot slot = store_rig_add(&rig, RECORD_DTLS12, 1, 0);
    clock_s += 300;
    again_s = 1; // long ago
    CU_ASSERT_FALSE(store_run(rig.store, clock_s, 100, note_look, NULL));
    CU_ASSERT_EQUAL(looks[slot], 1);
    clock_s++;
    CU_ASSERT_FALSE(store_run(rig.store, clock_s, 100, note_look, NULL));
    CU_ASSERT_EQUAL(looks[slot], 2);
    clock_s += 50000; // once, after whatever pause
    CU_ASSERT_FALSE(store_run(rig.store, clock_s, 100, note_look, NULL));
    CU_ASSERT_EQUAL(looks[slot], 3);
    store_rig_free(&rig);
}

static void ends_what_is_due(void)
{
    start_wheel();
    for (uint32_t i = 1; i <= SLOTS; i++)
        store_look_at(rig.store, store_rig_add(&rig, RECORD_DTLS12, i, i % 9), STORE_RIG_NOW + i % 20);
    for (clock_s++; clock_s < STORE_RIG_NOW + 10; clock_s++) {
        while (store_run(rig.store, clock_s, 3, end_it, NULL))
            ;
    }
    CU_ASSERT_EQUAL(store_count(rig.store), SLOTS / 20 * 10);
    store_rig_check(&rig);
    store_rig_free(&rig);
}

// --- principals --------------------------------------------------------------------------------------------------

static void are_shared_and_go_with_the_last(void)
{
    store_rig_new(&rig, 100);
    struct store *store = rig.store;
    store_slot slots[3];
    for (uint32_t i = 0; i < 3; i++)
        slots[i] = store_rig_add(&rig, i == 1 ? RECORD_DTLS13 : RECORD_DTLS12, i + 1, 7);
    CU_ASSERT_EQUAL(store_rig_add(&rig, RECORD_DTLS12, 10, 0) == 0, false);
    store_head(store, slots[0])->last_s = 900;
    store_head(store, slots[1])->last_s = 800;
    store_slot oldest = 0;
    CU_ASSERT_EQUAL(store_principal_count(store, store_rig_name(7), &oldest), 3);
    CU_ASSERT_EQUAL(oldest, slots[1]);
    CU_ASSERT_TRUE(slice_equal(store_principal(store, slots[2]), store_rig_principal(7, 90)));
    CU_ASSERT_EQUAL(store_principal_count(store, store_rig_name(8), &oldest), 0);
    CU_ASSERT_EQUAL(oldest, 0);
    store_rig_check(&rig);
    store_release(store, slots[1]);
    store_rig_check(&rig);
    store_release(store, slots[0]);
    CU_ASSERT_EQUAL(store_principal_count(store, store_rig_name(7), &oldest), 1);
    CU_ASSERT_EQUAL(oldest, slots[2]);
    store_release(store, slots[2]);
    CU_ASSERT_EQUAL(store_principal_count(store, store_rig_name(7), NULL), 0);
    CU_ASSERT_EQUAL(store_principal_of(store, store_rig_name(7)).len, 0);
    CU_ASSERT_EQUAL(store_next_of(store, store_rig_name(7), 0), 0);
    store_rig_check(&rig);
    store_rig_free(&rig);
}

static void grow_and_shrink(void)
{
    store_rig_new(&rig, 100);
    for (uint32_t i = 1; i <= 60; i++)
        CU_ASSERT_NOT_EQUAL(store_rig_add(&rig, RECORD_DTLS12, i, i % 20 + 1), 0);
    for (size_t len = 30; len <= STORE_PRINCIPAL_MAX / 2; len = len * 3 / 2) {
        for (uint32_t i = 1; i <= 20; i++)
            CU_ASSERT_EQUAL(store_set_principal(rig.store, store_rig_name(i), store_rig_principal(i, len)), SAGATE_OK);
        store_rig_check(&rig);
        for (uint32_t i = 1; i <= 20; i++)
            CU_ASSERT_TRUE(slice_equal(store_principal_of(rig.store, store_rig_name(i)), store_rig_principal(i, len)));
    }
    const struct slice longest = store_rig_principal(5, STORE_PRINCIPAL_MAX);
    CU_ASSERT_EQUAL(store_set_principal(rig.store, store_rig_name(5), longest), SAGATE_OK);
    CU_ASSERT_TRUE(slice_equal(store_principal_of(rig.store, store_rig_name(5)), longest));
    CU_ASSERT_EQUAL(store_set_principal(rig.store, store_rig_name(5), store_rig_principal(4, 90)), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(store_set_principal(rig.store, store_rig_name(5), slice_text("")), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(store_set_principal(rig.store, store_rig_name(44), store_rig_principal(44, 90)), SAGATE_ENOTFOUND);
    // What is published later says what holds now.
    CU_ASSERT_NOT_EQUAL(store_rig_add(&rig, RECORD_DTLS12, 61, 5), 0);
    CU_ASSERT_TRUE(slice_equal(store_principal_of(rig.store, store_rig_name(5)), store_rig_principal(5, 90)));
    store_rig_check(&rig);
    store_rig_free(&rig);
}

// Fills the room for principals: the number of the longest ones that fit. Then all of them are gone.
static unsigned fill(struct store_rig *rig_)
{
    unsigned count = 0;
    for (uint32_t i = 1; i <= 100; i++) {
        const store_slot slot = store_rig_add(rig_, RECORD_DTLS12, i, i);
        if (store_set_principal(rig_->store, store_rig_name(i), store_rig_principal(i, STORE_PRINCIPAL_MAX)) ==
            SAGATE_OK)
            count++;
        else
            store_release(rig_->store, slot);
    }
    store_rig_check(rig_);
    for (uint32_t i = 1; i <= 100; i++) {
        const struct address peer = store_rig_peer(i);
        store_release(rig_->store, store_by_address(rig_->store, 0, &peer));
    }
    return count;
}

static void room_is_limited_and_comes_back(void)
{
    store_rig_new(&rig, 100);
    const unsigned first = fill(&rig);
    CU_ASSERT(first >= 10); // a mebibyte
    CU_ASSERT(first < 100);
    CU_ASSERT_EQUAL(fill(&rig), first);
    // Many small ones between them leave nothing behind either.
    for (uint32_t i = 1; i <= 100; i++)
        CU_ASSERT_NOT_EQUAL(store_rig_add(&rig, RECORD_DTLS12, i, i), 0);
    for (uint32_t i = 1; i <= 100; i++) {
        const struct address peer = store_rig_peer(i * 37 % 101);
        store_release(rig.store, store_by_address(rig.store, 0, &peer));
    }
    CU_ASSERT_EQUAL(store_count(rig.store), 0);
    CU_ASSERT_EQUAL(fill(&rig), first);
    store_rig_free(&rig);
}

static void a_walk_ends(void)
{
    store_rig_new(&rig, 500);
    for (uint32_t i = 1; i <= 500; i++) {
        store_head(rig.store, store_rig_add(&rig, RECORD_DTLS12, i, 1))->last_s = i > 64 ? 1 : 100000 - i;
    }
    store_slot oldest = 0;
    CU_ASSERT_EQUAL(store_principal_count(rig.store, store_rig_name(1), &oldest), 500);
    CU_ASSERT_EQUAL(store_head(rig.store, oldest)->last_s, 100000 - 64); // among the first 64
    unsigned walked = 0;
    for (store_slot slot = store_next_of(rig.store, store_rig_name(1), 0); slot != 0;) {
        const store_slot next = store_next_of(rig.store, store_rig_name(1), slot);
        if (walked % 2 == 0)
            store_release(rig.store, slot);
        slot = next;
        walked++;
    }
    CU_ASSERT_EQUAL(walked, 500);
    CU_ASSERT_EQUAL(store_principal_count(rig.store, store_rig_name(1), NULL), 250);
    store_rig_free(&rig);
}

static const struct unit_test tests[] = {
    {"wheel: looks when the time has come", looks_when_the_time_has_come},
    {"wheel: keeps to its budget", keeps_to_its_budget},
    {"wheel: looks again in the next second", looks_again_in_the_next_second},
    {"wheel: ends what is due", ends_what_is_due},
    {"principals: are shared and go with the last", are_shared_and_go_with_the_last},
    {"principals: grow and shrink", grow_and_shrink},
    {"principals: room is limited and comes back", room_is_limited_and_comes_back},
    {"principals: a walk ends", a_walk_ends},
};

UNIT_MAIN("store parts", tests)
