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
    // Of all sizes together, for each thread: several hundred handshakes at once, as many as devices make that come
    // back together. Beyond, the system's allocator merges and splits what they leave, now and then for a long time.
    KEPT_BYTES = 8 << 20,
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

static _Thread_local struct kept *lists[CLASSES];
static _Thread_local size_t kept_bytes; // as the classes count them

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
    struct kept *block = lists[class];
    if (block == NULL)
        return malloc(class_size(class));
    lists[class] = block->next;
    kept_bytes -= class_size(class);
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
    if (kept_bytes + class_size(class) > KEPT_BYTES) {
        free(block);
        return;
    }
    struct kept *kept = block;
    kept->next = lists[class];
    lists[class] = kept;
    kept_bytes += class_size(class);
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
        while (lists[class] != NULL) {
            struct kept *block = lists[class];
            lists[class] = block->next;
            free(block);
        }
    }
    kept_bytes = 0;
}
