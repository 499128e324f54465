// A hash table from identities to the workers that wait for them.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/control/waiters.h"

#include "common/error.h"
#include "common/hash.h"

#include <stdlib.h>
#include <sys/queue.h>

enum { BUCKETS = 1024 };

struct waiter {
    LIST_ENTRY(waiter) chain;
    uint64_t workers;
    char *identity;
    size_t len;
};
LIST_HEAD(chain, waiter);

struct waiters {
    struct hash_key key;
    size_t count;
    struct chain buckets[BUCKETS];
};

struct waiters *waiters_new(void)
{
    struct waiters *waiters = calloc(1, sizeof *waiters);
    if (waiters != NULL)
        hash_key_random(&waiters->key);
    return waiters;
}

static void drop(struct waiters *waiters, struct waiter *waiter)
{
    LIST_REMOVE(waiter, chain);
    waiters->count--;
    free(waiter->identity);
    free(waiter);
}

void waiters_free(struct waiters *waiters)
{
    for (size_t i = 0; waiters != NULL && i < BUCKETS; i++) {
        struct waiter *next;
        for (struct waiter *waiter = LIST_FIRST(&waiters->buckets[i]); waiter != NULL; waiter = next) {
            next = LIST_NEXT(waiter, chain);
            free(waiter->identity);
            free(waiter);
        }
    }
    free(waiters);
}

static struct chain *bucket_of(struct waiters *waiters, struct slice identity)
{
    return &waiters->buckets[hash_bytes(&waiters->key, identity.data, identity.len) % BUCKETS];
}

static struct waiter *find(struct chain *bucket, struct slice identity)
{
    for (struct waiter *waiter = LIST_FIRST(bucket); waiter != NULL; waiter = LIST_NEXT(waiter, chain)) {
        if (slice_equal(identity, slice_of(waiter->identity, waiter->len)))
            return waiter;
    }
    return NULL;
}

int waiters_add(struct waiters *waiters, struct slice identity, unsigned worker)
{
    struct chain *bucket = bucket_of(waiters, identity);
    struct waiter *waiter = find(bucket, identity);
    if (waiter == NULL) {
        waiter = calloc(1, sizeof *waiter);
        char *copy = waiter == NULL ? NULL : slice_copy(identity);
        if (copy == NULL) {
            free(waiter);
            return SAGATE_ENOMEM;
        }
        waiter->identity = copy;
        waiter->len = identity.len;
        LIST_INSERT_HEAD(bucket, waiter, chain);
        waiters->count++;
    }
    waiter->workers |= UINT64_C(1) << worker;
    return SAGATE_OK;
}

uint64_t waiters_take(struct waiters *waiters, struct slice identity)
{
    struct waiter *waiter = find(bucket_of(waiters, identity), identity);
    if (waiter == NULL)
        return 0;
    uint64_t workers = waiter->workers;
    drop(waiters, waiter);
    return workers;
}

size_t waiters_count(const struct waiters *waiters)
{
    return waiters->count;
}
