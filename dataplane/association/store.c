// The store: opening it, and the life of a slot.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/association/store.h"

#include "common/error.h"
#include "common/secret.h"
#include "dataplane/association/principals.h"
#include "dataplane/association/rebuild.h"
#include "dataplane/association/region.h"
#include "dataplane/association/slots.h"
#include "dataplane/association/wheel.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { GENERATION_MASK = 0x7fffffff };

int store_open(const struct store_options *options, struct store **store, enum store_found *found)
{
    struct store *opened = calloc(1, sizeof *opened);
    if (opened == NULL)
        return SAGATE_ENOMEM;
    int result = region_map(opened, options);
    if (result != SAGATE_OK) {
        free(opened);
        return result;
    }
    if (!region_fits(opened, options)) {
        *found = opened->header->magic == 0 ? STORE_FRESH : STORE_REFUSED;
        region_make(opened, options);
    } else if (rebuild_sound(opened)) {
        *found = STORE_RESUMED;
        rebuild_drop(opened);
    } else {
        *found = STORE_REBUILT;
        rebuild_all(opened);
    }
    opened->fd = -1;
    *store = opened;
    return SAGATE_OK;
}

bool store_locked(const struct store *store)
{
    return store->locked;
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    region_unmap(store);
    secret_zero(store, sizeof *store);
    free(store);
}

uint32_t store_count(const struct store *store)
{
    return store->header->published;
}

uint32_t store_lost(const struct store *store)
{
    return store->lost;
}

uint8_t *store_secret(struct store *store, unsigned which)
{
    return which < REGION_SECRETS ? store->header->secrets[which] : NULL;
}

// --- the life of a slot ------------------------------------------------------------------------------------------

store_slot store_take(struct store *store, uint8_t kind)
{
    static const size_t sizes[REGION_ARENAS] = {STORE_SLOT_DTLS12, STORE_SLOT_DTLS13};
    if ((kind != RECORD_DTLS12 && kind != RECORD_DTLS13) || store->header->taken >= store->max)
        return 0;
    const unsigned arena = kind == RECORD_DTLS13;
    region_begin(store);
    const store_slot slot = slots_take(store, arena);
    struct slot *head = region_slot(store, slot);
    if (head != NULL) {
        memset((uint8_t *)head + sizeof head->generation, 0, sizes[arena] - sizeof head->generation);
        head->generation = (head->generation + 1) & GENERATION_MASK;
        head->kind = kind;
        store->header->taken++;
    }
    region_end(store);
    return slot;
}

// A Connection ID of ours as a number; 0: none, or one that cannot be.
static uint64_t cid_number(const struct store *store, const uint8_t *cid)
{
    uint64_t number = 0;
    memcpy(&number, cid, store->cid_bytes);
    return number;
}

static int publish(struct store *store, store_slot slot, struct slice credential_id, struct slice principal)
{
    if (!slots_index(store, slot))
        return SAGATE_EEXISTS;
    int result = principals_attach(store, slot, credential_id, principal);
    if (result != SAGATE_OK)
        slots_unindex(store, slot);
    return result;
}

int store_publish(struct store *store, store_slot slot, uint8_t listener, const struct address *peer, struct slice cid,
                  struct slice credential_id, struct slice principal, uint32_t idle_seconds, uint32_t now_s)
{
    struct slot *head = region_slot(store, slot);
    struct peer_key key;
    if (head == NULL || head->kind == 0 || head->published != 0 || store_listener_address(store, listener) == NULL ||
        !slots_key(peer, listener, &key) || (cid.len != 0 && cid.len != store->cid_bytes) ||
        !principals_acceptable(credential_id, principal))
        return SAGATE_EINVAL;
    const uint64_t number = cid.len == 0 ? 0 : cid_number(store, cid.data);
    if (cid.len != 0 && number == 0)
        return SAGATE_EINVAL;
    region_begin(store);
    slots_set_peer(head, &key);
    store->cids[slot - 1] = number;
    int result = publish(store, slot, credential_id, principal);
    if (result == SAGATE_OK) {
        head->started_s = head->last_s = now_s;
        wheel_file(store, slot, now_s > UINT32_MAX - idle_seconds ? UINT32_MAX : now_s + idle_seconds);
        store->header->published++;
        atomic_signal_fence(memory_order_seq_cst);
        head->published = 1;
    } else {
        store->cids[slot - 1] = 0;
    }
    region_end(store);
    return result;
}

void store_release(struct store *store, store_slot slot)
{
    struct slot *head = region_slot(store, slot);
    if (head == NULL || head->kind == 0)
        return;
    region_begin(store);
    if (head->published != 0) {
        head->published = 0;
        atomic_signal_fence(memory_order_seq_cst);
        store->header->published--;
        slots_unindex(store, slot);
        wheel_unlink(store, slot);
        principals_detach(store, slot);
    }
    slots_free(store, slot);
    store->header->taken--;
    region_end(store);
}

// Gives a slot another key, so that whenever the process dies there is the old one or the new one.
static void change_key(struct store *store, store_slot slot, const struct peer_key *key)
{
    struct slot *head = region_slot(store, slot);
    struct region_move *move = &store->header->move;
    region_begin(store);
    slots_unindex(store, slot);
    move->port = head->port;
    move->family = head->family;
    memcpy(move->address, head->address, sizeof move->address);
    atomic_signal_fence(memory_order_seq_cst);
    move->slot = slot;
    atomic_signal_fence(memory_order_seq_cst);
    slots_set_peer(head, key);
    (void)slots_index(store, slot);
    atomic_signal_fence(memory_order_seq_cst);
    move->slot = 0;
    region_end(store);
}

int store_move(struct store *store, store_slot slot, const struct address *peer)
{
    const struct slot *head = region_published(store, slot);
    struct peer_key key;
    if (head == NULL || !slots_key(peer, head->listener, &key))
        return SAGATE_EINVAL;
    const store_slot there = slots_by_key(store, &key);
    if (there == slot)
        return SAGATE_OK;
    if (there != 0 && store->cids[slot - 1] == 0)
        return SAGATE_EEXISTS;
    if (there != 0)
        key.family |= SLOTS_YIELDED;
    change_key(store, slot, &key);
    return SAGATE_OK;
}

int store_yield_address(struct store *store, store_slot slot)
{
    const struct slot *head = region_published(store, slot);
    struct address peer;
    struct peer_key key;
    if (head == NULL || store->cids[slot - 1] == 0 || !slots_peer(head, &peer) ||
        !slots_key(&peer, head->listener, &key))
        return SAGATE_EINVAL;
    key.family |= SLOTS_YIELDED;
    change_key(store, slot, &key);
    return SAGATE_OK;
}

struct slot *store_head(struct store *store, store_slot slot)
{
    struct slot *head = region_slot(store, slot);
    return head == NULL || head->kind == 0 ? NULL : head;
}

void *store_keys(struct store *store, store_slot slot)
{
    struct slot *head = store_head(store, slot);
    return head == NULL ? NULL : head + 1;
}

// --- lookup ------------------------------------------------------------------------------------------------------

uint64_t store_id(const struct store *store, store_slot slot)
{
    const struct slot *head = region_slot(store, slot);
    return head == NULL || head->kind == 0 ? 0 : (uint64_t)(head->generation & GENERATION_MASK) << 32 | slot;
}

store_slot store_by_id(const struct store *store, uint64_t id)
{
    const store_slot slot = (store_slot)id;
    return region_published(store, slot) != NULL && store_id(store, slot) == id ? slot : 0;
}

void store_peer(const struct store *store, store_slot slot, struct address *peer)
{
    const struct slot *head = region_published(store, slot);
    if (head == NULL || !slots_peer(head, peer))
        memset(peer, 0, sizeof *peer);
}

store_slot store_by_address(const struct store *store, uint8_t listener, const struct address *peer)
{
    struct peer_key key;
    return slots_key(peer, listener, &key) ? slots_by_key(store, &key) : 0;
}

store_slot store_by_cid(const struct store *store, const uint8_t *cid)
{
    return slots_by_cid(store, cid_number(store, cid));
}

static void random_bytes(struct store *store, uint8_t *out, size_t len)
{
    if (store->random_used + len > sizeof store->random) {
        if (getrandom(store->random, sizeof store->random, 0) != (ssize_t)sizeof store->random)
            abort();
        store->random_used = 0;
    }
    memcpy(out, store->random + store->random_used, len);
    secret_zero(store->random + store->random_used, len);
    store->random_used += len;
}

void store_new_cid(struct store *store, uint8_t *cid)
{
    if (store->cid_bytes == 0)
        return;
    cid[0] = (uint8_t)store->header->worker;
    do {
        random_bytes(store, cid + 1, store->cid_bytes - 1);
    } while (cid_number(store, cid) == 0 || store_by_cid(store, cid) != 0);
}

// --- listeners ---------------------------------------------------------------------------------------------------

int store_listener(struct store *store, const struct address *address)
{
    struct store_listener *listeners = store->header->listeners;
    struct peer_key key;
    int unused = SAGATE_ELIMIT;
    if (!slots_key(address, 0, &key))
        return SAGATE_EINVAL;
    for (int i = 0; i < REGION_LISTENERS; i++) {
        if (listeners[i].address.len == 0)
            unused = unused < 0 ? i : unused;
        else if (address_equal(&listeners[i].address, address))
            return i;
    }
    if (unused < 0)
        return unused;
    struct address *own = &listeners[unused].address;
    if (address->any.sa_family == AF_INET)
        own->v4 = address->v4;
    else
        own->v6 = address->v6;
    atomic_signal_fence(memory_order_seq_cst);
    own->len = address->any.sa_family == AF_INET ? sizeof own->v4 : sizeof own->v6;
    return unused;
}

void store_listener_forget(struct store *store, uint8_t listener)
{
    if (listener < REGION_LISTENERS)
        store->header->listeners[listener].address.len = 0;
}

const struct address *store_listener_address(const struct store *store, uint8_t listener)
{
    const struct address *address = listener < REGION_LISTENERS ? &store->header->listeners[listener].address : NULL;
    return address != NULL && address->len != 0 ? address : NULL;
}
