// Locked memory for keys. Small secrets share pages, since each mapping of its own would cost a page and a lock.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/secret.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

enum {
    SLOT_SIZE = 128, // a key of 64 bytes and its header fit
    PAGE_SIZE_ASSUMED = 4096,
    SLOTS_PER_CHUNK = 512,
    CHUNK_SIZE = SLOT_SIZE * SLOTS_PER_CHUNK,
    SECRET_MAX = 1 << 20,
};

// Stands before each secret; `len` tells secret_free how much to wipe.
struct header {
    size_t len;
    size_t mapped; // 0: lives in a slot; else the size of its own mapping
};

union slot {
    union slot *next_free;
    struct header header;
    uint8_t bytes[SLOT_SIZE];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static union slot *free_slots;
static size_t unlocked_bytes;

static void *map_protected(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    if (mlock(memory, size) != 0)
        unlocked_bytes += size;
    (void)madvise(memory, size, MADV_DONTDUMP);
    (void)madvise(memory, size, MADV_WIPEONFORK);
    return memory;
}

static union slot *take_slot(void)
{
    if (free_slots == NULL) {
        union slot *chunk = map_protected(CHUNK_SIZE);
        if (chunk == NULL)
            return NULL;
        for (size_t i = 0; i < SLOTS_PER_CHUNK; i++) {
            chunk[i].next_free = free_slots;
            free_slots = &chunk[i];
        }
    }
    union slot *slot = free_slots;
    free_slots = slot->next_free;
    return slot;
}

void *secret_alloc(size_t len)
{
    if (len == 0 || len > SECRET_MAX)
        return NULL;
    struct header *header = NULL;
    size_t mapped = 0;
    pthread_mutex_lock(&lock);
    if (len + sizeof *header <= SLOT_SIZE) {
        header = (struct header *)take_slot();
    } else {
        mapped = (len + sizeof *header + PAGE_SIZE_ASSUMED - 1) / PAGE_SIZE_ASSUMED * PAGE_SIZE_ASSUMED;
        header = map_protected(mapped);
    }
    pthread_mutex_unlock(&lock);
    if (header == NULL)
        return NULL;
    *header = (struct header){.len = len, .mapped = mapped};
    memset(header + 1, 0, len);
    return header + 1;
}

void secret_free(void *secret)
{
    if (secret == NULL)
        return;
    struct header *header = (struct header *)secret - 1;
    secret_zero(secret, header->len);
    pthread_mutex_lock(&lock);
    if (header->mapped != 0) {
        munmap(header, header->mapped);
    } else {
        union slot *slot = (union slot *)header;
        slot->next_free = free_slots;
        free_slots = slot;
    }
    pthread_mutex_unlock(&lock);
}

size_t secret_unlocked_bytes(void)
{
    pthread_mutex_lock(&lock);
    size_t bytes = unlocked_bytes;
    pthread_mutex_unlock(&lock);
    return bytes;
}

void secret_zero(void *memory, size_t len)
{
    explicit_bzero(memory, len);
}

bool secret_equal(const void *a, const void *b, size_t len)
{
    const volatile uint8_t *left = a;
    const volatile uint8_t *right = b;
    uint8_t difference = 0;
    for (size_t i = 0; i < len; i++)
        difference |= (uint8_t)(left[i] ^ right[i]);
    return difference == 0;
}
