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
    transfer->ended = transfer->busy;
    if (transfer->busy)
        return;
    transfer->association = 0;
    transfer->server = NULL;
}

void transfer_sent(struct transfer *transfer)
{
    transfer->busy = true;
}

void transfer_settled(struct transfer *transfer, uint64_t now_ms)
{
    transfer->busy = false;
    if (transfer->ended)
        transfer_forget(transfer);
    else if (now_ms > transfer->used_ms)
        transfer->used_ms = now_ms;
}

bool transfer_yields(const struct transfer *transfer, uint64_t now_ms)
{
    return !transfer->busy && now_ms - transfer->used_ms > TRANSFER_YIELD_MS;
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

// The transfer under way that a block may belong to, or NULL.
static struct transfer *find(struct transfers *transfers, const struct transfer_block *block, uint64_t now_ms)
{
    struct transfer *found = NULL;
    for (size_t i = 0; i < TRANSFERS_MAX; i++) {
        struct transfer *transfer = &transfers->all[i];
        if (transfer->association == 0 || transfer->ended)
            continue;
        if (!transfer->busy && now_ms - transfer->used_ms >= TRANSFER_LIFETIME_MS)
            transfer_forget(transfer);
        else if (transfer->association == block->association && transfer->key.path == block->key.path)
            found = transfer;
    }
    return found;
}

static void prefer_older(struct transfer **oldest, struct transfer *transfer, uint64_t now_ms)
{
    if (transfer_yields(transfer, now_ms) && (*oldest == NULL || transfer->used_ms < (*oldest)->used_ms))
        *oldest = transfer;
}

// A free place for a new transfer, if need be that of the one that was used least recently; NULL when none gives way.
static struct transfer *make_room(struct transfers *transfers, const struct transfer_block *block, uint64_t now_ms)
{
    unsigned of_association = 0, of_principal = 0;
    struct transfer *room = NULL, *all = NULL, *association = NULL, *principal = NULL;
    for (size_t i = 0; i < TRANSFERS_MAX; i++) {
        struct transfer *transfer = &transfers->all[i];
        if (transfer->association == 0) {
            room = transfer;
            continue;
        }
        prefer_older(&all, transfer, now_ms);
        if (transfer->principal == block->principal) {
            of_principal++;
            prefer_older(&principal, transfer, now_ms);
        }
        if (transfer->association == block->association) {
            of_association++;
            prefer_older(&association, transfer, now_ms);
        }
    }
    if (of_association >= TRANSFERS_PER_ASSOCIATION)
        room = association;
    else if (of_principal >= TRANSFERS_PER_PRINCIPAL)
        room = principal;
    else if (room == NULL)
        room = all;
    if (room != NULL)
        transfer_forget(room);
    return room;
}

static int begin(struct transfer *transfer, const struct transfer_block *block, unsigned depth_max)
{
    if (transfer->scan == NULL)
        transfer->scan = malloc(content_scan_size());
    if (transfer->scan == NULL)
        return SAGATE_ENOMEM;
    enum content_kind kind =
        block->content_format < 0 ? CONTENT_UNKNOWN : content_kind_of_format((unsigned)block->content_format);
    content_scan_init(transfer->scan, kind, content_originator_fields, ORIGINATOR_FIELDS, depth_max);
    transfer->association = block->association;
    transfer->principal = block->principal;
    transfer->key = block->key;
    transfer->offset = 0;
    transfer->content_format = block->content_format;
    transfer->server = NULL;
    return SAGATE_OK;
}

// SAGATE_OK, SAGATE_DONE, or why the transfer ends.
static int feed(struct transfer *transfer, const struct transfer_block *block)
{
    if (block->block.offset != transfer->offset)
        return SAGATE_ENOTFOUND;
    if (block->key.from != transfer->key.from)
        return SAGATE_EDENIED;
    if (block->key.request_id != transfer->key.request_id)
        return SAGATE_EINVAL;
    bool sized = block->block.more ? block->payload.len == block->block.size : block->payload.len <= block->block.size;
    if (!sized || block->content_format != transfer->content_format)
        return SAGATE_EMALFORMED;
    if (block->key.whole != transfer->key.whole)
        return SAGATE_ENOTFOUND;
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
    struct transfer *at = find(transfers, block, now_ms);
    if (block->block.number == 0) {
        if (at != NULL)
            transfer_forget(at);
        at = make_room(transfers, block, now_ms);
        if (at == NULL)
            return SAGATE_ELIMIT;
        int status = begin(at, block, depth_max);
        if (status != SAGATE_OK)
            return status;
    } else if (at == NULL || at->key.tag != block->key.tag) {
        return SAGATE_ENOTFOUND;
    }
    if (at->busy)
        return SAGATE_EBUSY;
    int status = feed(at, block);
    if (status != SAGATE_OK && status != SAGATE_DONE)
        transfer_forget(at);
    at->used_ms = now_ms;
    *transfer = at;
    return status;
}

struct transfer *transfer_on(struct transfers *transfers, const struct transfer *transfer, const void *server,
                             unsigned socket)
{
    for (size_t i = 0; i < TRANSFERS_MAX; i++) {
        struct transfer *other = &transfers->all[i];
        if (other != transfer && other->association != 0 && other->key.path == transfer->key.path &&
            other->server == server && other->socket == socket)
            return other;
    }
    return NULL;
}
