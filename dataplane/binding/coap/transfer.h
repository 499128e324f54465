// Bodies that arrive in blocks (RFC 7959 Block1) and pass through block by block: the scan for a second originator goes
// on from block to block, so that the last one leaves only when the whole was clean. One thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_BINDING_COAP_TRANSFER_H
#define SAGATE_DATAPLANE_BINDING_COAP_TRANSFER_H

#include "dataplane/binding/coap/message.h"
#include "dataplane/binding/content/content.h"

enum { TRANSFERS_MAX = 256, TRANSFERS_PER_ASSOCIATION = 4, TRANSFER_LIFETIME_MS = 247000, TRANSFER_FROM_MAX = 255 };

struct transfer {
    uint64_t association; // 0: free
    uint64_t path;        // hash of the path, keyed
    uint64_t expires_ms;
    uint32_t offset; // of the next block
    int content_format;
    // Where the blocks go. A CSE joins blocks by peer address and path, so two transfers to one path never share these.
    const void *server;
    unsigned socket;
    size_t from_len;
    char from[TRANSFER_FROM_MAX];
    struct content_scan *scan;
};

struct transfers {
    struct transfer all[TRANSFERS_MAX];
};

// One block of a transfer, as a device sent it.
struct transfer_block {
    uint64_t association, path;
    struct slice from; // From as sent, the same on every block
    int content_format;
    struct coap_block block;
    struct slice payload;
};

void transfers_free(struct transfers *transfers); // memory of the scans

// Takes a block into account. Block 0 begins a transfer, and again ends one of the same path.
// SAGATE_OK: forward it, *transfer is where it belongs. SAGATE_DONE: the last one; its scan (transfer->scan) is
// complete and well-formed; the caller looks at what was found, and forgets the transfer.
// The transfer is forgotten with: SAGATE_ENOTFOUND (out of order, or unknown: 4.08), SAGATE_EDENIED (another From),
// SAGATE_EMALFORMED (content, block size, or format). SAGATE_ELIMIT, SAGATE_ENOMEM: no room for another one.
int transfer_take(struct transfers *transfers, const struct transfer_block *block, unsigned depth_max, uint64_t now_ms,
                  struct transfer **transfer);

// True when another transfer to that path goes over that socket of that server.
bool transfer_conflicts(const struct transfers *transfers, const struct transfer *transfer, const void *server,
                        unsigned socket, uint64_t now_ms);

void transfer_forget(struct transfer *transfer);
void transfers_forget_association(struct transfers *transfers, uint64_t association);
void transfers_forget_server(struct transfers *transfers, const void *server);

#endif
