// A hashed wheel: a bucket holds the slots of all times that fall on it, and is looked at every 1024 seconds.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/association/wheel.h"

#include <string.h>

static uint32_t *bucket(struct store *store, uint32_t at_s)
{
    return &store->header->wheel[at_s % REGION_BUCKETS];
}

// Links that the other side does not confirm are none: the list ends there.
static struct slot *next_of(const struct store *store, store_slot slot, const struct slot *head)
{
    struct slot *next = region_slot(store, head->wheel_next);
    return next != NULL && next->wheel_prev == slot ? next : NULL;
}

static struct slot *previous_of(const struct store *store, store_slot slot, const struct slot *head)
{
    struct slot *previous = region_slot(store, head->wheel_prev);
    return previous != NULL && previous->wheel_next == slot ? previous : NULL;
}

void wheel_file(struct store *store, store_slot slot, uint32_t at_s)
{
    struct slot *head = region_slot(store, slot);
    if (at_s <= store->header->wheel_s)
        at_s = store->header->wheel_s + 1;
    uint32_t *list = bucket(store, at_s);
    struct slot *next = region_slot(store, *list);
    head->look_s = at_s;
    head->wheel_prev = 0;
    head->wheel_next = next == NULL ? 0 : *list;
    if (next != NULL)
        next->wheel_prev = slot;
    *list = slot;
}

void wheel_unlink(struct store *store, store_slot slot)
{
    struct slot *head = region_slot(store, slot);
    struct slot *next = next_of(store, slot, head);
    struct slot *previous = previous_of(store, slot, head);
    uint32_t *list = bucket(store, head->look_s);
    const uint32_t behind = next == NULL ? 0 : head->wheel_next;
    if (previous != NULL)
        previous->wheel_next = behind;
    else if (*list == slot)
        *list = behind;
    if (store->header->wheel_pending == slot)
        store->header->wheel_pending = behind;
    if (next != NULL)
        next->wheel_prev = previous == NULL ? 0 : head->wheel_prev;
    head->wheel_next = head->wheel_prev = 0;
}

bool wheel_valid(const struct store *store)
{
    const struct region_header *header = store->header;
    bool valid = header->wheel_pending == 0 || region_published(store, header->wheel_pending) != NULL;
    for (size_t i = 0; valid && i < REGION_BUCKETS; i++)
        valid = header->wheel[i] == 0 || region_published(store, header->wheel[i]) != NULL;
    return valid;
}

void wheel_clear(struct store *store)
{
    store->header->wheel_pending = 0;
    memset(store->header->wheel, 0, sizeof store->header->wheel);
}

static void file_again(struct store *store, store_slot slot, uint32_t at_s)
{
    region_begin(store);
    wheel_unlink(store, slot);
    wheel_file(store, slot, at_s);
    region_end(store);
}

void store_look_at(struct store *store, store_slot slot, uint32_t at_s)
{
    if (region_published(store, slot) != NULL)
        file_again(store, slot, at_s);
}

// Looks at the first of the slots that wait. It stays in the list meanwhile, so that it is not forgotten when the
// process ends in between.
static void look(struct store *store, uint32_t now_s, store_due *due, void *context)
{
    const store_slot slot = store->header->wheel_pending;
    struct slot *head = region_published(store, slot);
    if (head == NULL) { // damaged
        store->header->wheel_pending = 0;
        return;
    }
    head->wheel_prev = 0;
    if (head->look_s > now_s) {
        file_again(store, slot, head->look_s);
        return;
    }
    const uint32_t generation = head->generation;
    uint32_t at_s = due(context, slot, now_s);
    if (region_published(store, slot) == NULL || head->generation != generation)
        return;
    file_again(store, slot, at_s > now_s ? at_s : now_s + 1);
}

// Takes the slots of the next second off their bucket, since those that are filed again may come back to it.
static void turn(struct store *store)
{
    struct region_header *header = store->header;
    region_begin(store);
    uint32_t *list = bucket(store, header->wheel_s + 1);
    header->wheel_s++;
    header->wheel_pending = *list;
    *list = 0;
    region_end(store);
}

bool store_run(struct store *store, uint32_t now_s, unsigned budget, store_due *due, void *context)
{
    struct region_header *header = store->header;
    // After a long pause one turn looks at all; a second far ahead is damage.
    const uint32_t behind_s = now_s > REGION_BUCKETS ? now_s - REGION_BUCKETS : 0;
    if (header->wheel_s < behind_s || header->wheel_s > now_s + REGION_BUCKETS)
        header->wheel_s = behind_s;
    for (;;) {
        while (header->wheel_pending != 0) {
            if (budget == 0)
                return true;
            budget--;
            look(store, now_s, due, context);
        }
        if (header->wheel_s >= now_s)
            return false;
        turn(store);
    }
}
