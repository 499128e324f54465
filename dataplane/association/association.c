// The association table: an array of places for identifiers, and a chained hash for addresses.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/association/association.h"

#include "common/error.h"
#include "common/hash.h"

#include <stdlib.h>
#include <string.h>

struct place {
    struct association *association; // NULL: free
    uint32_t generation;
    uint32_t next_free; // index + 1; 0: the end
};

struct association_table {
    struct place *places;
    size_t max, used, count; // used: places ever taken
    uint32_t free_list;      // index + 1
    struct association **buckets;
    size_t bucket_mask;
    struct hash_key key;
};

struct association_table *association_table_new(size_t max)
{
    struct association_table *table = calloc(1, sizeof *table);
    if (table == NULL)
        return NULL;
    size_t buckets = 64;
    while (buckets < max)
        buckets *= 2;
    table->max = max;
    table->bucket_mask = buckets - 1;
    table->buckets = calloc(buckets, sizeof(struct association *));
    table->places = calloc(max, sizeof *table->places);
    hash_key_random(&table->key);
    if (table->buckets == NULL || table->places == NULL) {
        association_table_free(table);
        return NULL;
    }
    return table;
}

void association_table_free(struct association_table *table)
{
    if (table == NULL)
        return;
    free(table->buckets);
    free(table->places);
    free(table);
}

static struct association **bucket_of(const struct association_table *table, io_id socket, const struct address *peer)
{
    uint8_t bytes[24] = {0};
    size_t len;
    memcpy(bytes, &socket, sizeof socket);
    if (peer->any.sa_family == AF_INET) {
        memcpy(bytes + 4, &peer->v4.sin_port, 2);
        memcpy(bytes + 6, &peer->v4.sin_addr, 4);
        len = 10;
    } else {
        memcpy(bytes + 4, &peer->v6.sin6_port, 2);
        memcpy(bytes + 6, &peer->v6.sin6_addr, 16);
        len = 22;
    }
    return &table->buckets[hash_bytes(&table->key, bytes, len) & table->bucket_mask];
}

int association_insert(struct association_table *table, struct association *association, bool by_address)
{
    struct endpoint *endpoint = &association->endpoint;
    if (by_address && association_by_address(table, endpoint->socket, &endpoint->peer) != NULL)
        return SAGATE_EEXISTS;
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
    place->generation++;
    association->place = index;
    association->device.association = ((uint64_t)place->generation << 32) | (index + 1U);
    association->next_by_address = association; // stands for "not in the address index"
    if (by_address) {
        struct association **bucket = bucket_of(table, endpoint->socket, &endpoint->peer);
        association->next_by_address = *bucket;
        *bucket = association;
    }
    table->count++;
    return SAGATE_OK;
}

void association_remove(struct association_table *table, struct association *association)
{
    if (association->next_by_address != association) {
        struct association **link = bucket_of(table, association->endpoint.socket, &association->endpoint.peer);
        while (*link != NULL && *link != association)
            link = &(*link)->next_by_address;
        if (*link == association)
            *link = association->next_by_address;
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

struct association *association_by_address(const struct association_table *table, io_id socket,
                                           const struct address *peer)
{
    struct association *association = *bucket_of(table, socket, peer);
    while (association != NULL &&
           (association->endpoint.socket != socket || !address_equal(&association->endpoint.peer, peer)))
        association = association->next_by_address;
    return association;
}

size_t association_count(const struct association_table *table)
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
