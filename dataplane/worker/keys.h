// What a worker knows of PSK identities: keys of the moment and principals, bounded, from the control plane's answers.
// One thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_WORKER_KEYS_H
#define SAGATE_DATAPLANE_WORKER_KEYS_H

#include "common/principal.h"
#include "common/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct keys;

enum key_state {
    KEY_NONE,    // never heard of
    KEY_ASKED,   // the control plane has been asked
    KEY_KNOWN,   // key and principal are at hand
    KEY_REFUSED, // the control plane knows no such identity; remembered for a short time
};

struct key {
    enum key_state state;
    uint8_t *bytes; // secret_alloc; valid while KEY_KNOWN
    size_t len;
    struct principal *principal; // valid while KEY_KNOWN; the entry holds a reference
};

// `max`: entries; the least recently used goes first. NULL when memory is short.
struct keys *keys_new(size_t max);
void keys_free(struct keys *keys);

// What is known now; an entry past its time is KEY_NONE. The pointer is valid until the next call that changes entries.
const struct key *keys_find(struct keys *keys, struct slice identity, uint64_t now_ms);

// Notes that the control plane was asked. SAGATE_OK or SAGATE_ENOMEM.
int keys_asked(struct keys *keys, struct slice identity, uint64_t now_ms);

// The one object of a credential in this worker, with a reference for the caller: the one that is there, or a new one
// that says what `packed` says. NULL when that is malformed or memory is short.
struct principal *keys_intern(struct keys *keys, struct slice packed);

// The same for a principal that another proof than a key of control's has made: what it says holds from now on, also
// for the object that is there. Takes the reference over. NULL when memory is short.
struct principal *keys_intern_proven(struct keys *keys, struct principal *fresh);

// Notes an answer. `packed`: the principal as it came (plane_pack_principal); an empty key means KEY_REFUSED.
// The principal becomes the one object of its credential in this worker: when there is one already it is changed in
// place, so that associations under way see the change. SAGATE_OK, SAGATE_EMALFORMED, SAGATE_ENOMEM.
int keys_answered(struct keys *keys, struct slice identity, struct slice key, struct slice packed,
                  uint32_t cache_seconds, uint64_t now_ms);

// Removes entries past their time from the next `buckets` buckets, so that no key stays longer than it is of use.
void keys_expire(struct keys *keys, uint64_t now_ms, size_t buckets);

// Forgets every answer; questions that wait for one stay.
void keys_forget_answers(struct keys *keys);

// Whether an association or a key of this credential may be alive in this worker.
bool keys_has_principal(struct keys *keys, const char *credential_id);

// Forgets an identity's entry.
void keys_forget(struct keys *keys, struct slice identity);

// Changes the principal of a credential in place, if this worker has it. SAGATE_OK, SAGATE_ENOTFOUND,
// SAGATE_EMALFORMED.
int keys_update_principal(struct keys *keys, struct slice packed);

// Calls `each` for every identity in state KEY_ASKED (to ask again after the control plane's restart).
void keys_each_asked(struct keys *keys, void (*each)(void *context, struct slice identity), void *context);

#endif
