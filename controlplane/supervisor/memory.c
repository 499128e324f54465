// Shared memory: made once, handed to every data process.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/supervisor/memory.h"

#include "common/error.h"
#include "common/log.h"
#include "dataplane/association/store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, STRIDE = (int)((sizeof(struct stats) + PAGE - 1) / PAGE * PAGE) };

void memory_init(struct memory *memory)
{
    *memory = (struct memory){.stats_fd = -1};
    for (size_t i = 0; i < CONFIG_WORKERS_MAX; i++)
        memory->stores[i] = -1;
}

// Nothing of it is used until it is touched. The seals keep a data process from pulling it away under the next one.
static int make_store(size_t len)
{
    int fd = memfd_create("sagate-associations", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd >= 0 &&
        (ftruncate(fd, (off_t)len) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

int memory_make(struct memory *memory, unsigned workers, unsigned associations)
{
    size_t len = (size_t)STRIDE * workers;
    memory->workers = workers;
    memory->stats_fd = memfd_create("sagate-stats", MFD_CLOEXEC);
    if (memory->stats_fd < 0 || ftruncate(memory->stats_fd, (off_t)len) != 0)
        return SAGATE_ESYS;
    void *stats = mmap(NULL, len, PROT_READ, MAP_SHARED, memory->stats_fd, 0);
    if (stats == MAP_FAILED)
        return SAGATE_ESYS;
    memory->stats = stats;
    memory->store_len = store_bytes(associations);
    for (unsigned i = 0; i < workers; i++) {
        memory->stores[i] = make_store(memory->store_len);
        if (memory->stores[i] < 0)
            return SAGATE_ESYS;
    }
    return SAGATE_OK;
}

void memory_clear_stores(struct memory *memory)
{
    for (unsigned i = 0; i < memory->workers; i++) {
        if (fallocate(memory->stores[i], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)memory->store_len) != 0)
            log_error("cannot clear the associations of worker %u: %s", i, strerror(errno));
    }
}

uint64_t memory_sum(const struct memory *memory, enum stat_id stat)
{
    uint64_t sum = 0;
    for (unsigned i = 0; memory->stats != NULL && i < memory->workers; i++) {
        const struct stats *stats = (const void *)(memory->stats + (size_t)i * STRIDE);
        sum += stats_get(&stats->counters[stat]);
    }
    return sum;
}

void memory_release(struct memory *memory)
{
    if (memory->stats != NULL)
        (void)munmap((void *)(uintptr_t)memory->stats, (size_t)STRIDE * memory->workers);
    if (memory->stats_fd >= 0)
        close(memory->stats_fd);
    for (size_t i = 0; i < CONFIG_WORKERS_MAX; i++) {
        if (memory->stores[i] >= 0)
            close(memory->stores[i]);
    }
    memory_init(memory);
}
