// The buddy system over units of 64 bytes.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/association/blocks.h"

#include <string.h>

enum {
    BLOCK_FREE = 0x80,    // state of the first unit of a free block, with its order
    BLOCK_CLAIMED = 0x40, // of each unit in use, while the lists are made anew
};

struct free_block { // what a free block begins with; both are unit + 1
    uint32_t next, previous;
};

unsigned blocks_order(size_t bytes)
{
    unsigned order = 0;
    while (order < REGION_ORDERS - 1 && (size_t)REGION_UNIT << order < bytes)
        order++;
    return order;
}

void *blocks_memory(const struct store *store, uint32_t block)
{
    return store->units + (size_t)(block - 1) * REGION_UNIT;
}

bool blocks_valid(const struct store *store, uint32_t block, unsigned order)
{
    uint32_t unit = block - 1;
    return block != 0 && unit < store->header->chunks_used * REGION_CHUNK && (unit & ((1U << order) - 1)) == 0;
}

// The head of a free block of that order; NULL when it is none.
static struct free_block *free_block(const struct store *store, uint32_t block, unsigned order)
{
    if (!blocks_valid(store, block, order) || store->unit_state[block - 1] != (BLOCK_FREE | order))
        return NULL;
    return blocks_memory(store, block);
}

static void push(struct store *store, uint32_t block, unsigned order)
{
    uint32_t *list = &store->header->blocks_free[order];
    struct free_block *next = free_block(store, *list, order);
    if (next != NULL)
        next->previous = block;
    struct free_block *head = blocks_memory(store, block);
    *head = (struct free_block){.next = next == NULL ? 0 : *list};
    store->unit_state[block - 1] = (uint8_t)(BLOCK_FREE | order);
    *list = block;
}

static void unlink_block(struct store *store, uint32_t block, struct free_block *head, unsigned order)
{
    struct free_block *next = free_block(store, head->next, order);
    struct free_block *previous = free_block(store, head->previous, order);
    if (next != NULL)
        next->previous = head->previous;
    if (previous != NULL)
        previous->next = next == NULL ? 0 : head->next;
    else if (store->header->blocks_free[order] == block)
        store->header->blocks_free[order] = next == NULL ? 0 : head->next;
    store->unit_state[block - 1] = 0;
}

static uint32_t pop(struct store *store, unsigned order)
{
    uint32_t block = store->header->blocks_free[order];
    struct free_block *head = free_block(store, block, order);
    if (head == NULL) {
        store->header->blocks_free[order] = 0;
        return 0;
    }
    head->previous = 0;
    unlink_block(store, block, head, order);
    return block;
}

uint32_t blocks_take(struct store *store, unsigned order)
{
    uint32_t block = 0;
    unsigned found = order;
    while (found < REGION_ORDERS && (block = pop(store, found)) == 0)
        found++;
    if (block == 0) {
        if (store->header->chunks_used >= store->chunks)
            return 0;
        block = store->header->chunks_used++ * REGION_CHUNK + 1;
        found = REGION_ORDERS - 1;
    }
    while (found > order) {
        found--;
        push(store, block + (1U << found), found);
    }
    return block;
}

void blocks_release(struct store *store, uint32_t block, unsigned order)
{
    if (!blocks_valid(store, block, order) || (store->unit_state[block - 1] & BLOCK_FREE) != 0)
        return;
    while (order < REGION_ORDERS - 1) {
        uint32_t buddy = ((block - 1) ^ (1U << order)) + 1;
        struct free_block *head = free_block(store, buddy, order);
        if (head == NULL)
            break;
        unlink_block(store, buddy, head, order);
        block = buddy < block ? buddy : block;
        order++;
    }
    push(store, block, order);
}

void blocks_rebuild_begin(struct store *store)
{
    struct region_header *header = store->header;
    if (header->chunks_used > store->chunks)
        header->chunks_used = store->chunks;
    memset(header->blocks_free, 0, sizeof header->blocks_free);
    memset(store->unit_state, 0, (size_t)header->chunks_used * REGION_CHUNK);
}

bool blocks_claim(struct store *store, uint32_t block, unsigned order)
{
    if (!blocks_valid(store, block, order))
        return false;
    uint8_t *state = store->unit_state + block - 1;
    for (size_t i = 0; i < (size_t)1 << order; i++) {
        if (state[i] != 0)
            return false;
    }
    memset(state, BLOCK_CLAIMED, (size_t)1 << order);
    return true;
}

void blocks_disclaim(struct store *store, uint32_t block, unsigned order)
{
    memset(store->unit_state + block - 1, 0, (size_t)1 << order);
}

// Whether the block of `order` that begins at `unit` has nothing in use.
static bool unclaimed(const struct store *store, size_t unit, unsigned order)
{
    return memchr(store->unit_state + unit, BLOCK_CLAIMED, (size_t)1 << order) == NULL;
}

void blocks_rebuild_end(struct store *store)
{
    const size_t units = (size_t)store->header->chunks_used * REGION_CHUNK;
    for (size_t unit = 0; unit < units;) {
        if (store->unit_state[unit] == BLOCK_CLAIMED) {
            store->unit_state[unit++] = 0;
            continue;
        }
        unsigned order = 0;
        while (order < REGION_ORDERS - 1 && (unit & ((2U << order) - 1)) == 0 && unclaimed(store, unit, order + 1))
            order++;
        push(store, (uint32_t)unit + 1, order);
        unit += (size_t)1 << order;
    }
}
