// The memory that DTLS associations live in: one region per worker, position-independent, so that the data process may
// die or be replaced and the next one goes on with it. Slots, their index by address and by Connection ID, their
// principals, and the wheel that ends idle ones. No allocation, no lock, no pointer in the region. One thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_ASSOCIATION_STORE_H
#define SAGATE_DATAPLANE_ASSOCIATION_STORE_H

#include "common/address.h"
#include "common/slice.h"
#include "dataplane/record/dtls12.h"
#include "dataplane/record/dtls13.h"
#include "dataplane/record/place.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    STORE_LAYOUT = 1, // raise it when what a byte of the region means changes, struct dtls12 and 13 included
    STORE_SLOT_DTLS12 = 256,
    STORE_SLOT_DTLS13 = 384,
    STORE_MAX = 1 << 24,                 // associations of one region
    STORE_CID_MAX = 8,                   // Connection IDs that we issue
    STORE_PRINCIPAL_MAX = 64 * 1024 - 8, // bytes of a packed principal
};

struct store;                // the process's handle of a region
typedef uint32_t store_slot; // number of a slot, 1 …; 0: none

// What lies in front of the keys in every slot. The first group belongs to the store; the second to who holds the slot.
struct slot {
    uint32_t generation; // raised each time that the slot is given away
    uint8_t kind;        // enum record_kind; 0: free
    uint8_t busy;        // its owner is changing what must change together: lost when the process dies meanwhile
    uint8_t family;      // 4 or 6; with 0x80: not found by its address
    uint8_t listener;    // number in the store's table of listeners
    uint32_t principal;  // 0: none
    uint32_t wheel_next, wheel_prev, same_next, same_prev;
    uint16_t port;       // network order
    uint8_t address[16]; // IPv4: the first four bytes. Of a link-local IPv6 address bytes 2 to 5, which are zero in it,
                         // hold the scope.

    uint8_t framework;                      // enum framework
    uint8_t published;                      // the store's: 1 once it is found, and then all the rest is valid
    uint32_t started_s, last_s;             // CLOCK_MONOTONIC: since when, and when the peer was heard
    uint16_t bytes_in_high, bytes_out_high; // upper 16 of 48 bits
    uint32_t bytes_in, bytes_out;
    struct record_flight flight; // what is left of the handshake
    uint32_t look_s;             // the store's: when the wheel looks at it
};
_Static_assert(sizeof(struct slot) + sizeof(struct dtls12) <= STORE_SLOT_DTLS12, "a slot has its size");
_Static_assert(sizeof(struct slot) + sizeof(struct dtls13) <= STORE_SLOT_DTLS13, "a slot has its size");
_Static_assert(sizeof(struct slot) % 8 == 0, "the keys behind it are aligned");

struct store_listener { // what slots of a listener refer to, so that a new process or configuration finds its own
    struct address address;
};

struct store_options {
    int fd;                       // memfd of store_bytes() bytes, shared; stays the caller's
    uint32_t worker;              // a region is for one worker
    uint32_t max;                 // associations at one time: 1 … STORE_MAX
    uint32_t connection_id_bytes; // of those that we issue: 0 (none) or 4 … STORE_CID_MAX; the first names the worker.
                                  // 4 are enough for 2^23 associations: random ones are then found soon.
    bool lock; // keep touched pages out of swap space (mlock2 with MLOCK_ONFAULT)
};

// Bytes of a region, most of which are not touched until they are needed. 0: no valid `max`.
size_t store_bytes(uint32_t max);

enum store_found {
    STORE_FRESH,   // the region was empty
    STORE_RESUMED, // associations of an earlier process go on
    STORE_REBUILT, // the same, but that process died in the middle of a change, or something did not fit together:
                   // index, wheel and lists were made anew from the slots
    STORE_REFUSED, // another layout, worker, size or length of Connection IDs: the region was cleared, what it held is
                   // lost
};

// Maps and checks a region; slots that were taken but not published are freed, those that were busy too. Nothing in a
// region, however damaged, makes this or what follows leave its memory or go on without end. SAGATE_OK with *store and
// what was found; SAGATE_ENOMEM; SAGATE_ESYS (mmap; errno); SAGATE_EINVAL (options, or a memfd that is too small). That
// locking failed is no error: see store_locked. Clearing gives the memory back with madvise(2), or fallocate(2) where
// it is locked; without either all of it is written to. Locking needs mlock2(2), and RLIMIT_MEMLOCK for all of the
// region. Whoever made the memfd must keep it from shrinking (F_SEAL_SHRINK).
int store_open(const struct store_options *options, struct store **store, enum store_found *found);
bool store_locked(const struct store *store);
void store_close(struct store *store); // unmaps; the region stays as it is. NULL is allowed

// Number of published associations; and of those that were lost at store_open because their slot was busy, or damaged.
uint32_t store_count(const struct store *store);
uint32_t store_lost(const struct store *store);

// Random bytes made with the region, wiped with it: secret of the DTLS cookies, and of session tickets.
enum { STORE_SECRET = 32 };
uint8_t *store_secret(struct store *store, unsigned which); // 0 … 3; else NULL

// --- slots -------------------------------------------------------------------------------------------------------

// Takes a free slot for an association of `kind` (RECORD_DTLS12, RECORD_DTLS13): everything but generation and kind is
// zero, and nothing but store_head and store_keys finds it before store_publish. 0 when `max` is reached (slots that
// are taken count), or with another kind.
store_slot store_take(struct store *store, uint8_t kind);

// Sets address, listener, started_s and last_s, and makes the slot visible: found by address, and by `cid` when that is
// not empty (the Connection ID that the peer sends, connection_id_bytes long; unique, from store_new_cid). The store
// keeps its own copy of it. `principal`: packed (plane_pack_principal), interned by its Credential-ID, whose bytes
// occur in it, or empty. When there is one of that Credential-ID already, what it says now replaces what it said. The
// wheel looks at the slot after `idle_seconds`. SAGATE_OK; SAGATE_EEXISTS (an association is at that address, or has
// that Connection ID); SAGATE_ELIMIT (no room for the principal); SAGATE_EINVAL (a slot that is not taken or published
// already, a listener without address, a peer that is no IPv4 or IPv6 address, a Connection ID of another length or all
// zero, a principal too long or without its Credential-ID). Unless SAGATE_OK the slot is still the caller's, to be
// freed with store_release.
int store_publish(struct store *store, store_slot slot, uint8_t listener, const struct address *peer, struct slice cid,
                  struct slice credential_id, struct slice principal, uint32_t idle_seconds, uint32_t now_s);

// Wipes a slot and frees it, published or not. What is no slot in use is ignored.
void store_release(struct store *store, store_slot slot);

// The slot's head, and behind it its keys: struct dtls12 or struct dtls13. NULL: no such slot, or a free one. Valid
// until store_close; what is behind it may be given to another association after store_release.
struct slot *store_head(struct store *store, store_slot slot);
void *store_keys(struct store *store, store_slot slot);

// An identifier for the control plane: 0 only for what is no slot in use, given twice only after 2^31 associations in
// one place. And back; 0 when it is gone, or not published. Bit 63 is never set.
uint64_t store_id(const struct store *store, store_slot slot);
store_slot store_by_id(const struct store *store, uint64_t id);

// Where the peer is; no address (len 0) for what is no published slot.
void store_peer(const struct store *store, store_slot slot, struct address *peer);

// --- lookup ------------------------------------------------------------------------------------------------------

store_slot store_by_address(const struct store *store, uint8_t listener, const struct address *peer);
// `cid` points at connection_id_bytes bytes. A wrong one costs one probe of the index, and no decryption.
store_slot store_by_cid(const struct store *store, const uint8_t *cid);

// A new Connection ID of connection_id_bytes: the worker, then what nobody can guess and no slot has (RFC 9146 3,
// RFC 9147 9). Handshakes that are not done do not count: store_publish finds such a pair out.
void store_new_cid(struct store *store, uint8_t *cid);
// The worker that a Connection ID of ours names. Any process.
static inline uint32_t store_cid_worker(const uint8_t *cid)
{
    return cid[0];
}

// The peer has moved (RFC 9146 6). When another association is at that address, that one stays the one that is found by
// it, and this one is found by its Connection ID alone. SAGATE_OK; SAGATE_EEXISTS: the same, but this one has no
// Connection ID, and keeps its old address; SAGATE_EINVAL: no published slot, or no address.
int store_move(struct store *store, store_slot slot, const struct address *peer);
// An association is not found by its address any more, so that another may be. SAGATE_OK; SAGATE_EINVAL: no published
// slot, or one without Connection ID.
int store_yield_address(struct store *store, store_slot slot);

// --- listeners ---------------------------------------------------------------------------------------------------

// The number of a listener's address, a new one when it has none yet. 0 … 254; SAGATE_ELIMIT when all are in use
// until store_listener_forget); SAGATE_EINVAL: no address.
int store_listener(struct store *store, const struct address *address);
// Takes a number back, which no slot may refer to any more.
void store_listener_forget(struct store *store, uint8_t listener);
const struct address *store_listener_address(const struct store *store, uint8_t listener); // NULL: not in use

// --- principals --------------------------------------------------------------------------------------------------

// Packed principal of a slot or of a Credential-ID; empty: none. Valid until the next call that changes one.
struct slice store_principal(const struct store *store, store_slot slot);
struct slice store_principal_of(const struct store *store, struct slice credential_id);
// Replaces the packed principal of a Credential-ID. SAGATE_OK, SAGATE_ENOTFOUND, SAGATE_ELIMIT (no room; unchanged),
// SAGATE_EINVAL (too long, or without its Credential-ID).
int store_set_principal(struct store *store, struct slice credential_id, struct slice principal);

// Associations of a Credential-ID, and the one of them that was heard longest ago among the first 64 (`oldest` may be
// NULL).
uint32_t store_principal_count(const struct store *store, struct slice credential_id, store_slot *oldest);
// Walks the associations of a Credential-ID: the first with 0, then the one behind `after`; 0 at the end. Ask for the
// next one before this one is released.
store_slot store_next_of(const struct store *store, struct slice credential_id, store_slot after);

// --- time --------------------------------------------------------------------------------------------------------

// Runs the wheel up to `now_s` (CLOCK_MONOTONIC seconds): calls `due` for the slots whose time has come, and looks at
// no more than `budget` slots (at each at least every 1024 s; those whose time has not come cost no call). `due`
// returns the second when to look again, at the earliest the next, or 0 when it has released the slot; it may release,
// publish and move any slots. True when more is due.
typedef uint32_t store_due(void *context, store_slot slot, uint32_t now_s);
bool store_run(struct store *store, uint32_t now_s, unsigned budget, store_due *due, void *context);
// Has a slot looked at earlier than was said.
void store_look_at(struct store *store, store_slot slot, uint32_t at_s);

// For a full store: of some slots that a hand comes to next, the one that was heard longest ago, if that is at least
// `idle_seconds` ago; else 0. A sampled "least recently used": constant time.
store_slot store_idle_longest(struct store *store, uint32_t now_s, uint32_t idle_seconds);

// Walks all slots in pieces: the next published one at or behind *cursor, which moves on; 0 at the end (*cursor is 0
// then), or when *budget places were looked at, which counts down.
store_slot store_walk(const struct store *store, uint64_t *cursor, size_t *budget);

#endif
