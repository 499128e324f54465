// The table of associations at hand: places for streams, identifiers that are never used again, slots, walks in pieces.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/association/association.h"
#include "tests/unit/unit.h"

static struct association associations[200];

static struct association *stream(size_t i)
{
    associations[i] = (struct association){.endpoint = {.stream = i + 1}};
    return &associations[i];
}

static struct association *slotted(size_t i, store_slot slot)
{
    associations[i] = (struct association){.slot = slot};
    return &associations[i];
}

static void by_slot(void)
{
    struct association_table *table = association_table_new(1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(table);
    struct association *a = slotted(0, 1);
    struct association *b = slotted(1, 1 + ASSOCIATION_LIVE_BUCKETS); // of the same bucket
    struct association *c = slotted(2, UINT32_MAX);
    CU_ASSERT_PTR_NULL(association_by_slot(table, 1));
    CU_ASSERT_EQUAL(association_insert(table, a), SAGATE_OK);
    CU_ASSERT_EQUAL(association_insert(table, b), SAGATE_OK);
    CU_ASSERT_EQUAL(association_insert(table, c), SAGATE_OK);
    CU_ASSERT_PTR_EQUAL(association_by_slot(table, 1), a);
    CU_ASSERT_PTR_EQUAL(association_by_slot(table, 1 + ASSOCIATION_LIVE_BUCKETS), b);
    CU_ASSERT_PTR_EQUAL(association_by_slot(table, UINT32_MAX), c);
    CU_ASSERT_PTR_NULL(association_by_slot(table, 2));
    // They take no place of a stream.
    CU_ASSERT_EQUAL(association_streams(table), 0);
    CU_ASSERT_EQUAL(association_insert(table, stream(3)), SAGATE_OK);
    association_remove(table, a);
    CU_ASSERT_PTR_NULL(association_by_slot(table, 1));
    CU_ASSERT_PTR_EQUAL(association_by_slot(table, 1 + ASSOCIATION_LIVE_BUCKETS), b);
    association_table_free(table);
    association_table_free(NULL);
}

static void identifiers(void)
{
    struct association_table *table = association_table_new(2);
    uint64_t seen[64];
    for (size_t i = 0; i < 64; i++) {
        struct association *association = stream(0);
        CU_ASSERT_EQUAL_FATAL(association_insert(table, association), SAGATE_OK);
        seen[i] = association->device.association;
        // Slots have identifiers without this bit.
        CU_ASSERT_NOT_EQUAL(seen[i] & 1ULL << 63, 0);
        CU_ASSERT_PTR_EQUAL(association_by_id(table, seen[i]), association);
        for (size_t j = 0; j < i; j++)
            CU_ASSERT_PTR_NULL(association_by_id(table, seen[j]));
        association_remove(table, association);
        CU_ASSERT_PTR_NULL(association_by_id(table, seen[i]));
    }
    CU_ASSERT_PTR_NULL(association_by_id(table, 0));
    CU_ASSERT_PTR_NULL(association_by_id(table, 3));
    CU_ASSERT_PTR_NULL(association_by_id(table, UINT64_MAX));
    association_table_free(table);
}

static void full(void)
{
    struct association_table *table = association_table_new(2);
    CU_ASSERT_EQUAL(association_insert(table, stream(0)), SAGATE_OK);
    CU_ASSERT_EQUAL(association_insert(table, stream(1)), SAGATE_OK);
    CU_ASSERT_EQUAL(association_insert(table, stream(2)), SAGATE_ELIMIT);
    association_remove(table, &associations[0]);
    CU_ASSERT_EQUAL(association_insert(table, &associations[2]), SAGATE_OK);
    CU_ASSERT_EQUAL(association_streams(table), 2);
    association_table_free(table);
}

// All are met once, also when pieces are small and some are removed on the way.
static void walking(void)
{
    struct association_table *table = association_table_new(200);
    uint64_t cursor = 0;
    size_t budget = 10;
    CU_ASSERT_PTR_NULL(association_walk(table, &cursor, &budget));
    CU_ASSERT_EQUAL(cursor, 0);
    for (size_t i = 0; i < 200; i++)
        CU_ASSERT_EQUAL(association_insert(table, stream(i)), SAGATE_OK);
    for (size_t i = 0; i < 200; i += 3)
        association_remove(table, &associations[i]);
    size_t met = 0;
    size_t pieces = 0;
    do {
        budget = 7;
        pieces++;
        struct association *association;
        while ((association = association_walk(table, &cursor, &budget)) != NULL) {
            CU_ASSERT_NOT_EQUAL((association - associations) % 3, 0);
            association_remove(table, association);
            met++;
        }
        CU_ASSERT_TRUE_FATAL(pieces < 100);
    } while (cursor != 0);
    CU_ASSERT_EQUAL(met, 133);
    CU_ASSERT_TRUE(pieces >= 200 / 7);
    CU_ASSERT_EQUAL(association_streams(table), 0);
    association_table_free(table);
}

static struct association_table *each_table;
static size_t each_met;
static void end_it(void *context, struct association *association)
{
    (*(size_t *)context)++;
    association_remove(each_table, association);
}

static void each_may_end(void)
{
    each_table = association_table_new(20);
    for (size_t i = 0; i < 20; i++)
        CU_ASSERT_EQUAL(association_insert(each_table, stream(i)), SAGATE_OK);
    for (uint32_t i = 20; i < 60; i++)
        CU_ASSERT_EQUAL(association_insert(each_table, slotted(i, 1 + i % 3 * ASSOCIATION_LIVE_BUCKETS + i)),
                        SAGATE_OK);
    association_each(each_table, end_it, &each_met);
    CU_ASSERT_EQUAL(each_met, 60);
    CU_ASSERT_EQUAL(association_streams(each_table), 0);
    association_each(each_table, end_it, &each_met);
    CU_ASSERT_EQUAL(each_met, 60);
    association_table_free(each_table);
}

static const struct unit_test tests[] = {
    {"by slot", by_slot},           {"identifiers are never used again", identifiers},
    {"a full table", full},         {"walking in pieces", walking},
    {"each may end", each_may_end},
};
UNIT_MAIN("association", tests)
