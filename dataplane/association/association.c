// The table of associations at hand: an array of places for streams, and a chained hash for slots.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/association/association.h"

#include "common/error.h"

#include <stdlib.h>

#define STREAM_BIT (1ULL << 63)

struct place {
    struct association *association; // NULL: free
    uint32_t generation;
    uint32_t next_free; // index + 1; 0: the end
};

struct association_table {
    struct place *places;
    size_t max, used, count; // used: places ever taken
    uint32_t free_list;      // index + 1
    struct association *buckets[ASSOCIATION_LIVE_BUCKETS];
};

struct association_table *association_table_new(size_t max)
{
    struct association_table *table = calloc(1, sizeof *table);
    if (table == NULL)
        return NULL;
    table->max = max;
    table->places = calloc(max, sizeof *table->places);
    if (table->places == NULL) {
        association_table_free(table);
        return NULL;
    }
    return table;
}

void association_table_free(struct association_table *table)
{
    if (table == NULL)
        return;
    free(table->places);
    free(table);
}

// Slot numbers are ours and given densely: no hash is needed to spread them.
static size_t bucket_of(store_slot slot)
{
    return slot % ASSOCIATION_LIVE_BUCKETS;
}

int association_insert(struct association_table *table, struct association *association)
{
    if (association->slot != 0) {
        struct association **bucket = &table->buckets[bucket_of(association->slot)];
        association->next = *bucket;
        *bucket = association;
        return SAGATE_OK;
    }
    uint32_t index;
    if (table->free_list != 0) {
        index = table->free_list - 1;
        table->free_list = table->places[index].next_free;
    } else if (table->used < table->max) {
        index = (uint32_t)table->used++;
    } else {
        return SAGATE_ELIMIT;
    }
    struct place *place = &table->places[index];
    place->association = association;
    place->generation = (place->generation + 1) & 0x7fffffffU;
    association->place = index;
    association->device.association = STREAM_BIT | ((uint64_t)place->generation << 32) | (index + 1U);
    table->count++;
    return SAGATE_OK;
}

void association_remove(struct association_table *table, struct association *association)
{
    if (association->slot != 0) {
        struct association **link = &table->buckets[bucket_of(association->slot)];
        while (*link != NULL && *link != association)
            link = &(*link)->next;
        if (*link == association)
            *link = association->next;
        return;
    }
    struct place *place = &table->places[association->place];
    place->association = NULL;
    place->next_free = table->free_list;
    table->free_list = association->place + 1;
    table->count--;
}

struct association *association_by_id(const struct association_table *table, uint64_t id)
{
    uint32_t index = (uint32_t)id;
    if (index == 0 || index > table->used)
        return NULL;
    struct association *association = table->places[index - 1].association;
    return association != NULL && association->device.association == id ? association : NULL;
}

struct association *association_by_slot(const struct association_table *table, store_slot slot)
{
    struct association *association = table->buckets[bucket_of(slot)];
    while (association != NULL && association->slot != slot)
        association = association->next;
    return association;
}

size_t association_streams(const struct association_table *table)
{
    return table->count;
}

struct association *association_walk(const struct association_table *table, uint64_t *cursor, size_t *budget)
{
    while (*cursor < table->used) {
        if (*budget == 0)
            return NULL;
        (*budget)--;
        struct association *association = table->places[(*cursor)++].association;
        if (association != NULL)
            return association;
    }
    *cursor = 0;
    return NULL;
}

void association_each(struct association_table *table, void (*each)(void *context, struct association *association),
                      void *context)
{
    for (size_t i = 0; i < table->used; i++) {
        if (table->places[i].association != NULL)
            each(context, table->places[i].association);
    }
    for (size_t i = 0; i < ASSOCIATION_LIVE_BUCKETS; i++) {
        struct association *next;
        for (struct association *association = table->buckets[i]; association != NULL; association = next) {
            next = association->next;
            each(context, association);
        }
    }
}
