// Counting of allocations: the program's own malloc and calloc over the C library's, or a sanitizer's hook.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/allocations.h"

#include "tests/unit/worker_rig.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif

static uint64_t counted;
static bool counting;

static void note(void)
{
    if (counting)
        counted++;
}

#ifdef SANITIZED
// Of the sanitizers' runtime; the header that has it comes with clang alone.
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *block, size_t size),
                                              void (*on_free)(const volatile void *block));

static void on_malloc(const volatile void *block, size_t size)
{
    (void)block;
    (void)size;
    note();
}

static void on_free(const volatile void *block)
{
    (void)block;
}

static void install(void)
{
    static bool installed;
    if (!installed)
        (void)__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
    installed = true;
}
#else
// Those of the C library, under the names that it keeps for programs with functions of their own.
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size)
{
    note();
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    note();
    return __libc_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
    note();
    return __libc_realloc(block, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    note();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    note();
    *block = __libc_memalign(alignment, size);
    return *block == NULL ? 12 : 0;
}

static void install(void)
{
}
#endif

uint64_t allocations_counted(void)
{
    return counted;
}

static int round_counted(struct worker *worker, int64_t timeout_us)
{
    counting = true;
    int result = worker_round(worker, timeout_us);
    counting = false;
    return result;
}

// --- the driver is left out --------------------------------------------------------------------------------------

static struct io_driver driver;

// The call as it is, without counting.
#define LEFT_OUT(call)               \
    do {                             \
        bool before = counting;      \
        counting = false;            \
        __auto_type result = (call); \
        counting = before;           \
        return result;               \
    } while (0)

static int left_wait(struct io *io, struct io_event *events, size_t max, int64_t timeout_us)
{
    LEFT_OUT(io_mem_driver.wait(io, events, max, timeout_us));
}

static uint8_t *left_reserve(struct io *io, size_t len)
{
    LEFT_OUT(io_mem_driver.datagram_reserve(io, len));
}

static int left_commit(struct io *io, io_id id, const struct address *to, size_t len)
{
    LEFT_OUT(io_mem_driver.datagram_commit(io, id, to, len));
}

static int left_write(struct io *io, io_stream stream, const void *data, size_t len)
{
    LEFT_OUT(io_mem_driver.stream_write(io, stream, data, len));
}

void allocations_count(void)
{
    install();
    driver = *scene.io->driver;
    driver.wait = left_wait;
    driver.datagram_reserve = left_reserve;
    driver.datagram_commit = left_commit;
    driver.stream_write = left_write;
    scene.io->driver = &driver;
    scene.round = round_counted;
}
