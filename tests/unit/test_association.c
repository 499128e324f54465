// The association table: places, identifiers that are never used again, addresses, and walks in pieces.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/association/association.h"
#include "tests/unit/unit.h"

static struct association associations[200];

static struct association *prepare(size_t i, io_id socket, const char *host, uint16_t port)
{
    associations[i] = (struct association){.endpoint = {.socket = socket}};
    (void)address_parse(host, port, &associations[i].endpoint.peer);
    return &associations[i];
}

static struct association *at(const struct association_table *table, io_id socket, const char *host, uint16_t port)
{
    struct address address;
    (void)address_parse(host, port, &address);
    return association_by_address(table, socket, &address);
}

static void by_address(void)
{
    struct association_table *table = association_table_new(8);
    CU_ASSERT_PTR_NOT_NULL_FATAL(table);
    struct association *a = prepare(0, 1, "192.0.2.1", 1);
    struct association *b = prepare(1, 1, "192.0.2.1", 2);
    struct association *c = prepare(2, 2, "192.0.2.1", 1);
    struct association *d = prepare(3, 1, "2001:db8::1", 1);
    struct association *e = prepare(4, 1, "192.0.2.1", 1);
    CU_ASSERT_EQUAL(association_insert(table, a, true), SAGATE_OK);
    CU_ASSERT_EQUAL(association_insert(table, b, true), SAGATE_OK);
    CU_ASSERT_EQUAL(association_insert(table, c, true), SAGATE_OK);
    CU_ASSERT_EQUAL(association_insert(table, d, true), SAGATE_OK);
    CU_ASSERT_EQUAL(association_insert(table, e, true), SAGATE_EEXISTS);
    CU_ASSERT_EQUAL(association_count(table), 4);
    CU_ASSERT_PTR_EQUAL(at(table, 1, "192.0.2.1", 1), a);
    CU_ASSERT_PTR_EQUAL(at(table, 1, "192.0.2.1", 2), b);
    CU_ASSERT_PTR_EQUAL(at(table, 2, "192.0.2.1", 1), c);
    CU_ASSERT_PTR_EQUAL(at(table, 1, "2001:db8::1", 1), d);
    CU_ASSERT_PTR_NULL(at(table, 2, "192.0.2.1", 2));
    CU_ASSERT_PTR_NULL(at(table, 1, "2001:db8::1", 2));
    // A stream with the same peer is in the table, but not under the address.
    CU_ASSERT_EQUAL(association_insert(table, e, false), SAGATE_OK);
    CU_ASSERT_PTR_EQUAL(at(table, 1, "192.0.2.1", 1), a);
    association_remove(table, e);
    CU_ASSERT_PTR_EQUAL(at(table, 1, "192.0.2.1", 1), a);
    association_remove(table, a);
    CU_ASSERT_PTR_NULL(at(table, 1, "192.0.2.1", 1));
    CU_ASSERT_EQUAL(association_insert(table, e, true), SAGATE_OK);
    CU_ASSERT_PTR_EQUAL(at(table, 1, "192.0.2.1", 1), e);
    association_table_free(table);
    association_table_free(NULL);
}

static void identifiers(void)
{
    struct association_table *table = association_table_new(2);
    uint64_t seen[64];
    for (size_t i = 0; i < 64; i++) {
        struct association *association = prepare(0, 1, "192.0.2.1", 1);
        CU_ASSERT_EQUAL_FATAL(association_insert(table, association, true), SAGATE_OK);
        seen[i] = association->device.association;
        CU_ASSERT_NOT_EQUAL(seen[i], 0);
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
    CU_ASSERT_EQUAL(association_insert(table, prepare(0, 1, "192.0.2.1", 1), true), SAGATE_OK);
    CU_ASSERT_EQUAL(association_insert(table, prepare(1, 1, "192.0.2.1", 2), true), SAGATE_OK);
    CU_ASSERT_EQUAL(association_insert(table, prepare(2, 1, "192.0.2.1", 3), true), SAGATE_ELIMIT);
    CU_ASSERT_EQUAL(association_insert(table, prepare(2, 1, "192.0.2.1", 3), false), SAGATE_ELIMIT);
    CU_ASSERT_PTR_NULL(at(table, 1, "192.0.2.1", 3));
    association_remove(table, &associations[0]);
    CU_ASSERT_EQUAL(association_insert(table, &associations[2], true), SAGATE_OK);
    CU_ASSERT_EQUAL(association_count(table), 2);
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
        CU_ASSERT_EQUAL(association_insert(table, prepare(i, 1, "192.0.2.1", (uint16_t)(i + 1)), true), SAGATE_OK);
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
            association->endpoint.socket = 1; // still readable
            association_remove(table, association);
            met++;
        }
        CU_ASSERT_TRUE_FATAL(pieces < 100);
    } while (cursor != 0);
    CU_ASSERT_EQUAL(met, 133);
    CU_ASSERT_TRUE(pieces >= 200 / 7);
    CU_ASSERT_EQUAL(association_count(table), 0);
    association_table_free(table);
}

static const struct unit_test tests[] = {
    {"by address", by_address},
    {"identifiers are never used again", identifiers},
    {"a full table", full},
    {"walking in pieces", walking},
};
UNIT_MAIN("association", tests)
