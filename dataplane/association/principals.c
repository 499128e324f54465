// Principals: bytes in blocks, numbers that stay when the bytes move, an index by Credential-ID.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/association/principals.h"

#include "common/error.h"
#include "dataplane/association/blocks.h"

#include <string.h>

enum { OLDEST_SAMPLE = 64 };

// What lies in a block.
struct packed {
    uint32_t len;
    uint16_t id_at, id_len; // where the Credential-ID is in it
    uint8_t bytes[];
};
_Static_assert(sizeof(struct packed) + STORE_PRINCIPAL_MAX == (size_t)REGION_UNIT << (REGION_ORDERS - 1),
               "the longest fills the largest block");

static struct region_principal *principal_at(const struct store *store, uint32_t principal)
{
    return principal == 0 || principal > store->header->principals_used ? NULL : &store->principals[principal - 1];
}

static const struct packed *packed_in(const struct store *store, uint32_t block)
{
    if (!blocks_valid(store, block, 0))
        return NULL;
    const struct packed *packed = blocks_memory(store, block);
    if (packed->len > STORE_PRINCIPAL_MAX || (uint32_t)packed->id_at + packed->id_len > packed->len ||
        !blocks_valid(store, block, blocks_order(sizeof *packed + packed->len)))
        return NULL;
    return packed;
}

// What a principal in use says; NULL: it is none, or damaged.
static const struct packed *packed_of(const struct store *store, uint32_t principal)
{
    const struct region_principal *handle = principal_at(store, principal);
    return handle == NULL ? NULL : packed_in(store, handle->block);
}

static unsigned order_of(const struct packed *packed)
{
    return blocks_order(sizeof *packed + packed->len);
}

bool principals_valid(const struct store *store, uint32_t principal)
{
    return packed_of(store, principal) != NULL;
}

static struct slice id_of(const struct packed *packed)
{
    return slice_of(packed->bytes + packed->id_at, packed->id_len);
}

static uint64_t hash_id(const struct store *store, struct slice credential_id)
{
    return hash_bytes(&store->header->key, credential_id.data, credential_id.len);
}

uint64_t principals_hash(const struct store *store, uint32_t principal)
{
    const struct packed *packed = packed_of(store, principal);
    return packed == NULL ? 0 : hash_id(store, id_of(packed));
}

bool principals_match(const struct store *store, uint32_t principal, const void *credential_id)
{
    const struct packed *packed = packed_of(store, principal);
    return packed != NULL && slice_equal(id_of(packed), *(const struct slice *)credential_id);
}

static uint32_t find(const struct store *store, struct slice credential_id)
{
    if (credential_id.len == 0)
        return 0;
    return index_find(store, &store->by_name, hash_id(store, credential_id), &credential_id);
}

bool principals_acceptable(struct slice credential_id, struct slice packed)
{
    return packed.len == 0 || (packed.len <= STORE_PRINCIPAL_MAX && credential_id.len > 0 &&
                               memmem(packed.data, packed.len, credential_id.data, credential_id.len) != NULL);
}

// Writes a principal into a new block; 0: no room.
static uint32_t write_block(struct store *store, struct slice credential_id, struct slice from)
{
    const uint32_t block = blocks_take(store, blocks_order(sizeof(struct packed) + from.len));
    if (block == 0)
        return 0;
    struct packed *packed = blocks_memory(store, block);
    memcpy(packed->bytes, from.data, from.len);
    const uint8_t *id = memmem(packed->bytes, from.len, credential_id.data, credential_id.len);
    packed->len = (uint32_t)from.len;
    packed->id_at = (uint16_t)(id - packed->bytes);
    packed->id_len = (uint16_t)credential_id.len;
    atomic_signal_fence(memory_order_seq_cst);
    return block;
}

// A number that is not in use; 0: none, which does not happen as there are as many as slots.
static uint32_t take_number(struct store *store)
{
    struct region_header *header = store->header;
    uint32_t principal = header->principals_free;
    const struct region_principal *handle = principal_at(store, principal);
    if (handle != NULL && handle->block == 0) {
        header->principals_free = handle->first;
        return principal;
    }
    header->principals_free = 0; // the end, or damaged
    return header->principals_used < store->max ? ++header->principals_used : 0;
}

static void free_number(struct store *store, uint32_t principal)
{
    store->principals[principal - 1] = (struct region_principal){.first = store->header->principals_free};
    store->header->principals_free = principal;
}

static uint32_t create(struct store *store, struct slice credential_id, struct slice packed)
{
    const uint32_t principal = take_number(store);
    if (principal == 0)
        return 0;
    const uint32_t block = write_block(store, credential_id, packed);
    if (block != 0 && index_insert(&store->by_name, hash_id(store, credential_id), principal)) {
        store->principals[principal - 1] = (struct region_principal){.block = block};
        return principal;
    }
    if (block != 0)
        blocks_release(store, block, blocks_order(sizeof(struct packed) + packed.len));
    free_number(store, principal);
    return 0;
}

static void destroy(struct store *store, uint32_t principal)
{
    const struct packed *packed = packed_of(store, principal);
    const uint32_t block = store->principals[principal - 1].block;
    index_remove(store, &store->by_name, principal);
    free_number(store, principal);
    atomic_signal_fence(memory_order_seq_cst);
    if (packed != NULL)
        blocks_release(store, block, order_of(packed));
}

// The new bytes are all there before the old ones are given up.
static int replace(struct store *store, uint32_t principal, struct slice credential_id, struct slice packed)
{
    struct region_principal *handle = principal_at(store, principal);
    const struct packed *old = packed_in(store, handle->block);
    const uint32_t old_block = handle->block;
    if (old != NULL && slice_equal(slice_of(old->bytes, old->len), packed))
        return SAGATE_OK;
    const uint32_t block = write_block(store, credential_id, packed);
    if (block == 0)
        return SAGATE_ELIMIT;
    handle->block = block;
    atomic_signal_fence(memory_order_seq_cst);
    if (old != NULL)
        blocks_release(store, old_block, order_of(old));
    return SAGATE_OK;
}

// Puts a slot at the end of the circle, which is in front of the first.
static void link_slot(struct store *store, struct region_principal *handle, store_slot slot)
{
    struct slot *head = region_slot(store, slot);
    struct slot *first = region_slot(store, handle->first);
    struct slot *last = first == NULL ? NULL : region_slot(store, first->same_prev);
    handle->references++;
    if (last == NULL) {
        handle->first = head->same_next = head->same_prev = slot;
        return;
    }
    head->same_next = handle->first;
    head->same_prev = first->same_prev;
    last->same_next = slot;
    first->same_prev = slot;
}

// The slot behind that one in the circle; 0 when the two do not agree about it. So a walk from the first either comes
// back to it or ends: it cannot enter a circle anywhere else.
static store_slot behind(const struct store *store, store_slot slot)
{
    const struct slot *head = region_slot(store, slot);
    const struct slot *next = head == NULL ? NULL : region_published(store, head->same_next);
    return next != NULL && next->same_prev == slot && next->principal == head->principal ? head->same_next : 0;
}

static void unlink_slot(struct store *store, struct region_principal *handle, store_slot slot)
{
    struct slot *head = region_slot(store, slot);
    struct slot *next = region_slot(store, head->same_next);
    struct slot *previous = region_slot(store, head->same_prev);
    if (next != NULL && next->same_prev == slot)
        next->same_prev = head->same_prev;
    if (previous != NULL && previous->same_next == slot)
        previous->same_next = head->same_next;
    if (handle->first == slot)
        handle->first = head->same_next == slot ? 0 : head->same_next;
    head->same_next = head->same_prev = 0;
}

int principals_attach(struct store *store, store_slot slot, struct slice credential_id, struct slice packed)
{
    if (packed.len == 0)
        return SAGATE_OK;
    uint32_t principal = find(store, credential_id);
    if (principal == 0)
        principal = create(store, credential_id, packed);
    else if (replace(store, principal, credential_id, packed) != SAGATE_OK)
        return SAGATE_ELIMIT;
    if (principal == 0)
        return SAGATE_ELIMIT;
    link_slot(store, principal_at(store, principal), slot);
    region_slot(store, slot)->principal = principal;
    return SAGATE_OK;
}

void principals_detach(struct store *store, store_slot slot)
{
    struct slot *head = region_slot(store, slot);
    const uint32_t principal = head->principal;
    struct region_principal *handle = principal_at(store, principal);
    if (handle == NULL || handle->block == 0)
        return;
    unlink_slot(store, handle, slot);
    head->principal = 0;
    if (handle->references > 1)
        handle->references--;
    else
        destroy(store, principal);
}

struct slice store_principal(const struct store *store, store_slot slot)
{
    const struct slot *head = region_slot(store, slot);
    const struct packed *packed = head == NULL || head->kind == 0 ? NULL : packed_of(store, head->principal);
    return packed == NULL ? slice_of(NULL, 0) : slice_of(packed->bytes, packed->len);
}

struct slice store_principal_of(const struct store *store, struct slice credential_id)
{
    const struct packed *packed = packed_of(store, find(store, credential_id));
    return packed == NULL ? slice_of(NULL, 0) : slice_of(packed->bytes, packed->len);
}

int store_set_principal(struct store *store, struct slice credential_id, struct slice packed)
{
    if (packed.len == 0 || !principals_acceptable(credential_id, packed))
        return SAGATE_EINVAL;
    const uint32_t principal = find(store, credential_id);
    if (principal == 0)
        return SAGATE_ENOTFOUND;
    region_begin(store);
    int result = replace(store, principal, credential_id, packed);
    region_end(store);
    return result;
}

uint32_t store_principal_count(const struct store *store, struct slice credential_id, store_slot *oldest)
{
    const struct region_principal *handle = principal_at(store, find(store, credential_id));
    store_slot slot = handle == NULL ? 0 : handle->first;
    store_slot found = 0;
    uint32_t found_s = 0;
    for (unsigned i = 0; oldest != NULL && i < OLDEST_SAMPLE && region_published(store, slot) != NULL; i++) {
        const uint32_t last_s = region_slot(store, slot)->last_s;
        if (found == 0 || last_s < found_s) {
            found = slot;
            found_s = last_s;
        }
        slot = behind(store, slot);
        if (slot == handle->first)
            break;
    }
    if (oldest != NULL)
        *oldest = found;
    return handle == NULL ? 0 : handle->references;
}

store_slot store_next_of(const struct store *store, struct slice credential_id, store_slot after)
{
    const uint32_t principal = find(store, credential_id);
    if (principal == 0)
        return 0;
    const store_slot first = store->principals[principal - 1].first;
    const struct slot *head = region_published(store, after == 0 ? first : after);
    if (head == NULL || head->principal != principal)
        return 0;
    if (after == 0)
        return first;
    const store_slot next = behind(store, after);
    return next == first ? 0 : next;
}

void principals_rebuild_begin(struct store *store)
{
    struct region_header *header = store->header;
    if (header->principals_used > store->max)
        header->principals_used = store->max;
    header->principals_free = 0;
    blocks_rebuild_begin(store);
    for (uint32_t i = 0; i < header->principals_used; i++) {
        struct region_principal *handle = &store->principals[i];
        const struct packed *packed = packed_in(store, handle->block);
        if (packed == NULL || !blocks_claim(store, handle->block, order_of(packed)))
            handle->block = 0;
        handle->references = handle->first = 0;
    }
}

bool principals_join(struct store *store, store_slot slot)
{
    struct region_principal *handle = principal_at(store, region_slot(store, slot)->principal);
    if (handle == NULL || handle->block == 0)
        return false;
    link_slot(store, handle, slot);
    return true;
}

void principals_rebuild_end(struct store *store)
{
    for (uint32_t principal = store->header->principals_used; principal > 0; principal--) {
        struct region_principal *handle = &store->principals[principal - 1];
        const struct packed *packed = packed_in(store, handle->block);
        if (packed != NULL && handle->references > 0) {
            (void)index_insert(&store->by_name, hash_id(store, id_of(packed)), principal);
            continue;
        }
        if (packed != NULL)
            blocks_disclaim(store, handle->block, order_of(packed));
        free_number(store, principal);
    }
    blocks_rebuild_end(store);
}
