// Blocks of the system's allocator by size, in a few lists per thread. A block belongs to nobody: any thread may give
// it back, and any may free() it.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/handshake/allocator.h"

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/memory.h>

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

enum {
    SMALLEST_BITS = 6, // 64 bytes
    LARGEST_BITS = 15, // 32 KiB; larger ones are rare
    STEPS = 4,         // sizes between two powers of two
    CLASSES = (LARGEST_BITS - SMALLEST_BITS) * STEPS + 1,
    LARGEST = 1 << LARGEST_BITS,
    KEPT_BLOCKS = 64, // of one size,
    KEPT_BYTES = 512 * 1024,
};

// Sanitizers have to see every block come and go.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif
#else
enum { SANITIZED = 0 };
#endif

struct kept {
    struct kept *next;
};

static _Thread_local struct {
    struct kept *first;
    unsigned count;
} lists[CLASSES];

static size_t class_size(unsigned class)
{
    size_t power = (size_t)1 << (SMALLEST_BITS + class / STEPS);
    return power + power / STEPS * (class % STEPS);
}

// The largest class whose blocks are at most so long. `size` is at least that of the first.
static unsigned class_below(size_t size)
{
    unsigned bits = (unsigned)(63 - __builtin_clzll(size));
    if (bits >= LARGEST_BITS)
        return CLASSES - 1;
    return (bits - SMALLEST_BITS) * STEPS + (unsigned)(size >> (bits - 2) & (STEPS - 1));
}

static unsigned class_for(size_t size)
{
    if (size <= (size_t)1 << SMALLEST_BITS)
        return 0;
    unsigned below = class_below(size);
    return class_size(below) == size ? below : below + 1;
}

static void *take(size_t size)
{
    if (size > LARGEST)
        return malloc(size);
    unsigned class = class_for(size);
    struct kept *block = lists[class].first;
    if (block == NULL)
        return malloc(class_size(class));
    lists[class].first = block->next;
    lists[class].count--;
    return block;
}

static void give(void *block)
{
    size_t size = block == NULL ? 0 : malloc_usable_size(block);
    if (size < (size_t)1 << SMALLEST_BITS || size >= 2 * LARGEST) {
        free(block);
        return;
    }
    unsigned class = class_below(size);
    if (lists[class].count >= KEPT_BLOCKS || lists[class].count * class_size(class) >= KEPT_BYTES) {
        free(block);
        return;
    }
    struct kept *kept = block;
    kept->next = lists[class].first;
    lists[class].first = kept;
    lists[class].count++;
}

static void *change(void *block, size_t size)
{
    if (block == NULL)
        return take(size);
    size_t had = malloc_usable_size(block);
    if (size <= had)
        return block;
    void *grown = take(size);
    if (grown == NULL)
        return NULL;
    memcpy(grown, block, had);
    give(block);
    return grown;
}

void allocator_install(void)
{
    if (!SANITIZED)
        (void)wolfSSL_SetAllocators(take, give, change);
}

void allocator_release(void)
{
    for (unsigned class = 0; class < CLASSES; class ++) {
        while (lists[class].first != NULL) {
            struct kept *block = lists[class].first;
            lists[class].first = block->next;
            free(block);
        }
        lists[class].count = 0;
    }
}
