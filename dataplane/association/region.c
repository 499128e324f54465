// Regions: layout, mapping, and whether one is ours.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/association/region.h"

#include "common/error.h"
#include "dataplane/association/principals.h"
#include "dataplane/association/slots.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

static const uint64_t MAGIC = 0x65726f7473474153; // "SAGstore"

enum { PAGE = 4096, PRINCIPAL_BYTES = 128, PRINCIPAL_RESERVE = 1 << 20 };

// Where each part begins, in the order in which they lie there.
struct layout {
    size_t by_address, by_cid, by_name, cids, principals, unit_state, units, slots[REGION_ARENAS], bytes;
    uint32_t chunks;
};

static size_t part(size_t *end, size_t bytes)
{
    size_t begin = *end;
    *end = begin + (bytes + PAGE - 1) / PAGE * PAGE;
    return begin;
}

static struct layout lay_out(uint32_t max)
{
    const size_t chunk = (size_t)REGION_CHUNK * REGION_UNIT;
    struct layout layout = {.chunks =
                                (uint32_t)(((size_t)max * PRINCIPAL_BYTES + PRINCIPAL_RESERVE + chunk - 1) / chunk)};
    size_t end = 0;
    (void)part(&end, sizeof(struct region_header));
    layout.by_address = part(&end, index_bytes(max));
    layout.by_cid = part(&end, index_bytes(max));
    layout.by_name = part(&end, index_bytes(max));
    layout.cids = part(&end, (size_t)max * REGION_ARENAS * sizeof(uint64_t));
    layout.principals = part(&end, (size_t)max * sizeof(struct region_principal));
    layout.unit_state = part(&end, (size_t)layout.chunks * REGION_CHUNK);
    layout.units = part(&end, layout.chunks * chunk);
    layout.slots[0] = part(&end, (size_t)max * STORE_SLOT_DTLS12);
    layout.slots[1] = part(&end, (size_t)max * STORE_SLOT_DTLS13);
    layout.bytes = end;
    return layout;
}

size_t store_bytes(uint32_t max)
{
    return max == 0 || max > STORE_MAX ? 0 : lay_out(max).bytes;
}

static bool valid_options(const struct store_options *options)
{
    const uint32_t cid = options->connection_id_bytes;
    if (options->max == 0 || options->max > STORE_MAX || (cid != 0 && (cid < 4 || cid > STORE_CID_MAX)))
        return false;
    // At most half of the random ones are in use, so that the next is found soon.
    return cid == 0 || options->max <= 1ULL << (8 * (cid - 1) - 1);
}

static uint32_t *words(const struct store *store, size_t offset)
{
    return (uint32_t *)(void *)(store->base + offset);
}

static void find_parts(struct store *store, const struct layout *layout)
{
    store->header = (struct region_header *)(void *)store->base;
    store->cids = (uint64_t *)(void *)(store->base + layout->cids);
    store->principals = (struct region_principal *)(void *)(store->base + layout->principals);
    store->unit_state = store->base + layout->unit_state;
    store->units = store->base + layout->units;
    store->chunks = layout->chunks;
    for (unsigned i = 0; i < REGION_ARENAS; i++)
        store->slots[i] = store->base + layout->slots[i];
    uint32_t max = store->max;
    index_init(&store->by_address, words(store, layout->by_address), max, max * REGION_ARENAS, slots_hash_address,
               slots_match_address);
    index_init(&store->by_cid, words(store, layout->by_cid), max, max * REGION_ARENAS, slots_hash_cid, slots_match_cid);
    index_init(&store->by_name, words(store, layout->by_name), max, max, principals_hash, principals_match);
}

int region_map(struct store *store, const struct store_options *options)
{
    struct stat status;
    if (!valid_options(options))
        return SAGATE_EINVAL;
    const struct layout layout = lay_out(options->max);
    if (fstat(options->fd, &status) != 0 || status.st_size < 0 || (uint64_t)status.st_size < layout.bytes)
        return SAGATE_EINVAL;
    void *base = mmap(NULL, layout.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, options->fd, 0);
    if (base == MAP_FAILED)
        return SAGATE_ESYS;
    (void)madvise(base, layout.bytes, MADV_DONTDUMP);
    *store = (struct store){.base = base,
                            .bytes = layout.bytes,
                            .fd = options->fd,
                            .max = options->max,
                            .cid_bytes = options->connection_id_bytes,
                            .random_used = REGION_RANDOM};
    store->locked = options->lock && mlock2(base, layout.bytes, MLOCK_ONFAULT) == 0;
    find_parts(store, &layout);
    return SAGATE_OK;
}

void region_unmap(struct store *store)
{
    munmap(store->base, store->bytes);
}

void region_clear(const struct store *store, void *from, size_t bytes)
{
    const off_t offset = (uint8_t *)from - store->base;
    bytes = (bytes + PAGE - 1) / PAGE * PAGE;
    // The first is refused for locked memory, the second by the system call filter of the data process.
    if (madvise(from, bytes, MADV_REMOVE) != 0 &&
        fallocate(store->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, (off_t)bytes) != 0)
        memset(from, 0, bytes);
}

bool region_fits(const struct store *store, const struct store_options *options)
{
    const struct region_header *header = store->header;
    return header->magic == MAGIC && header->layout == STORE_LAYOUT && header->slot_bytes == sizeof(struct slot) &&
           header->dtls12_bytes == sizeof(struct dtls12) && header->dtls13_bytes == sizeof(struct dtls13) &&
           header->header_bytes == sizeof *header && header->max == options->max && header->worker == options->worker &&
           header->connection_id_bytes == options->connection_id_bytes;
}

static bool all_zero(const void *memory, size_t bytes)
{
    const uint8_t *at = memory;
    return at[0] == 0 && memcmp(at, at + 1, bytes - 1) == 0;
}

void region_make(struct store *store, const struct store_options *options)
{
    struct region_header *header = store->header;
    if (!all_zero(header, sizeof *header)) {
        // The header last: as long as it is there nobody takes the region for an empty one.
        uint8_t *rest = (uint8_t *)store->by_address.entries;
        region_clear(store, rest, store->bytes - (size_t)(rest - store->base));
        region_clear(store, header, sizeof *header);
    }
    header->layout = STORE_LAYOUT;
    header->slot_bytes = sizeof(struct slot);
    header->dtls12_bytes = sizeof(struct dtls12);
    header->dtls13_bytes = sizeof(struct dtls13);
    header->header_bytes = sizeof *header;
    header->max = options->max;
    header->worker = options->worker;
    header->connection_id_bytes = options->connection_id_bytes;
    hash_key_random(&header->key);
    if (getrandom(header->secrets, sizeof header->secrets, 0) != (ssize_t)sizeof header->secrets)
        abort();
    atomic_signal_fence(memory_order_seq_cst);
    header->magic = MAGIC;
}
