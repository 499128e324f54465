// Bodies that arrive in blocks (RFC 7959 Block1) and pass through block by block: the scan for a second originator goes
// on from block to block, so that the last one leaves only when the whole was clean. One thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_BINDING_COAP_TRANSFER_H
#define SAGATE_DATAPLANE_BINDING_COAP_TRANSFER_H

#include "dataplane/binding/coap/message.h"
#include "dataplane/binding/content/content.h"

// A transfer lives as long as the next block can be on its way (MAX_TRANSMIT_WAIT, RFC 7252 section 4.8.2); after
// TRANSFER_YIELD_MS without a block it gives way when its place is needed. The limits per association and principal
// keep one device from filling the table.
enum {
    TRANSFERS_MAX = 256,
    TRANSFERS_PER_ASSOCIATION = 4,
    TRANSFERS_PER_PRINCIPAL = 8,
    TRANSFER_LIFETIME_MS = 93000,
    TRANSFER_YIELD_MS = 5000
};

// Keyed hashes of what every block of a transfer has in common.
struct transfer_key {
    uint64_t path;
    uint64_t tag; // Request-Tags (RFC 9175)
    uint64_t from, request_id;
    uint64_t whole; // of all that a CSE could tell transfers apart by
};

struct transfer {
    uint64_t association; // 0: free
    uint64_t principal;
    struct transfer_key key;
    uint64_t used_ms;
    uint32_t offset; // of the next block
    int content_format;
    // A block is on its way to the CSE, and may be sent again until it is answered: until then nothing else takes the
    // place of the transfer, also when it has ended.
    bool busy, ended;
    // Where the blocks go. A CSE joins blocks by peer address and path, so two transfers to one path never share these.
    const void *server;
    unsigned socket;
    struct content_scan *scan;
};

struct transfers {
    struct transfer all[TRANSFERS_MAX];
};

// One block of a transfer, as a device sent it.
struct transfer_block {
    uint64_t association, principal; // principal: keyed hash of the Credential-ID
    struct transfer_key key;
    int content_format;
    struct coap_block block;
    struct slice payload;
};

void transfers_free(struct transfers *transfers); // memory of the scans

// Takes a block into account. Block 0 begins a transfer, and ends one of the same association and path for good,
// whatever its other options are.
// SAGATE_OK: forward it, *transfer is where it belongs. SAGATE_DONE: the last one; its scan (transfer->scan) is
// complete and well-formed; the caller looks at what was found, and forgets the transfer.
// The transfer is forgotten with: SAGATE_ENOTFOUND (out of order, other options: 4.08), SAGATE_EDENIED (another From),
// SAGATE_EINVAL (another request identifier), SAGATE_EMALFORMED (content, block size, or format). It is not with:
// SAGATE_ENOTFOUND (another Request-Tag: of a transfer that was ended), SAGATE_EBUSY (the block before has no answer).
// SAGATE_ELIMIT, SAGATE_ENOMEM: no room for another one.
int transfer_take(struct transfers *transfers, const struct transfer_block *block, unsigned depth_max, uint64_t now_ms,
                  struct transfer **transfer);

// The other transfer to the same path that has that socket of that server, or NULL.
struct transfer *transfer_on(struct transfers *transfers, const struct transfer *transfer, const void *server,
                             unsigned socket);

// True when its place may be given to another one.
bool transfer_yields(const struct transfer *transfer, uint64_t now_ms);

// A block has gone to the CSE; its exchange there has ended. now_ms 0: not known.
void transfer_sent(struct transfer *transfer);
void transfer_settled(struct transfer *transfer, uint64_t now_ms);

void transfer_forget(struct transfer *transfer);
void transfers_forget_association(struct transfers *transfers, uint64_t association);
void transfers_forget_server(struct transfers *transfers, const void *server);

#endif
