// Block1 transfers.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/binding/coap/transfer.h"

#include "common/error.h"

#include <stdlib.h>

enum { ORIGINATOR_FIELDS = sizeof content_originator_fields / sizeof *content_originator_fields };

void transfers_free(struct transfers *transfers)
{
    for (size_t i = 0; i < TRANSFERS_MAX; i++)
        free(transfers->all[i].scan);
}

void transfer_forget(struct transfer *transfer)
{
    transfer->association = 0;
    transfer->server = NULL;
}

void transfers_forget_association(struct transfers *transfers, uint64_t association)
{
    for (size_t i = 0; i < TRANSFERS_MAX; i++) {
        if (transfers->all[i].association == association)
            transfer_forget(&transfers->all[i]);
    }
}

void transfers_forget_server(struct transfers *transfers, const void *server)
{
    for (size_t i = 0; i < TRANSFERS_MAX; i++) {
        if (transfers->all[i].server == server)
            transfer_forget(&transfers->all[i]);
    }
}

// The transfer that a block belongs to, or one that is free for it in *room, both NULL when there is none.
static struct transfer *find(struct transfers *transfers, const struct transfer_block *block, uint64_t now_ms,
                             struct transfer **room)
{
    unsigned same = 0;
    *room = NULL;
    for (size_t i = 0; i < TRANSFERS_MAX; i++) {
        struct transfer *transfer = &transfers->all[i];
        if (transfer->association != 0 && transfer->expires_ms <= now_ms)
            transfer_forget(transfer);
        if (transfer->association == 0) {
            if (*room == NULL)
                *room = transfer;
        } else if (transfer->association == block->association) {
            if (transfer->path == block->path)
                return transfer;
            same++;
        }
    }
    if (same >= TRANSFERS_PER_ASSOCIATION)
        *room = NULL;
    return NULL;
}

static int begin(struct transfer *transfer, const struct transfer_block *block, unsigned depth_max)
{
    if (transfer->scan == NULL)
        transfer->scan = malloc(content_scan_size());
    if (transfer->scan == NULL)
        return SAGATE_ENOMEM;
    if (block->from.len > TRANSFER_FROM_MAX)
        return SAGATE_EMALFORMED;
    enum content_kind kind =
        block->content_format < 0 ? CONTENT_UNKNOWN : content_kind_of_format((unsigned)block->content_format);
    content_scan_init(transfer->scan, kind, content_originator_fields, ORIGINATOR_FIELDS, depth_max);
    transfer->association = block->association;
    transfer->path = block->path;
    transfer->offset = 0;
    transfer->content_format = block->content_format;
    transfer->server = NULL;
    transfer->from_len = block->from.len;
    if (block->from.len > 0)
        memcpy(transfer->from, block->from.data, block->from.len);
    return SAGATE_OK;
}

// SAGATE_OK, SAGATE_DONE, or why the transfer ends.
static int feed(struct transfer *transfer, const struct transfer_block *block)
{
    if (block->block.offset != transfer->offset)
        return SAGATE_ENOTFOUND;
    if (!slice_equal(block->from, slice_of(transfer->from, transfer->from_len)))
        return SAGATE_EDENIED;
    bool sized = block->block.more ? block->payload.len == block->block.size : block->payload.len <= block->block.size;
    if (!sized || block->content_format != transfer->content_format)
        return SAGATE_EMALFORMED;
    if (content_scan_feed(transfer->scan, block->payload.data, block->payload.len) != SAGATE_OK)
        return SAGATE_EMALFORMED;
    transfer->offset += (uint32_t)block->payload.len;
    if (block->block.more)
        return SAGATE_OK;
    return content_scan_end(transfer->scan) == SAGATE_OK ? SAGATE_DONE : SAGATE_EMALFORMED;
}

int transfer_take(struct transfers *transfers, const struct transfer_block *block, unsigned depth_max, uint64_t now_ms,
                  struct transfer **transfer)
{
    struct transfer *room;
    struct transfer *at = find(transfers, block, now_ms, &room);
    if (block->block.number == 0) {
        at = at != NULL ? at : room;
        if (at == NULL)
            return SAGATE_ELIMIT;
        int status = begin(at, block, depth_max);
        if (status != SAGATE_OK) {
            transfer_forget(at);
            return status;
        }
    }
    if (at == NULL)
        return SAGATE_ENOTFOUND;
    int status = feed(at, block);
    if (status != SAGATE_OK && status != SAGATE_DONE)
        transfer_forget(at);
    at->expires_ms = now_ms + TRANSFER_LIFETIME_MS;
    *transfer = at;
    return status;
}

bool transfer_conflicts(const struct transfers *transfers, const struct transfer *transfer, const void *server,
                        unsigned socket, uint64_t now_ms)
{
    for (size_t i = 0; i < TRANSFERS_MAX; i++) {
        const struct transfer *other = &transfers->all[i];
        if (other != transfer && other->association != 0 && other->expires_ms > now_ms &&
            other->path == transfer->path && other->server == server && other->socket == socket)
            return true;
    }
    return false;
}
