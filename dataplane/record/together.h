// Records of many associations that are worked on together: opened ahead of their turn, and sealed a little after it.
// Neither changes what a record means: an association takes what was opened ahead only in its turn, with the checks of
// that moment, and has used up a number before a record waits to be sealed with it. One thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_RECORD_TOGETHER_H
#define SAGATE_DATAPLANE_RECORD_TOGETHER_H

#include "dataplane/record/engine.h"
#include "dataplane/record/place.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The first record of a datagram. Holds pointers into itself, the datagram and the association's keys.
struct record_opening {
    uint8_t kind; // enum record_kind
    union {
        struct dtls12_job dtls12;
        struct dtls13_job dtls13;
    };
};

// Looks at a datagram of a folded DTLS association, whose keys lie at `keys`, and changes nothing: true when its first
// record is to be opened into `out` with the job of record_opening_job, done by engine_open, and then given to
// record_ahead in its turn. `out` may be no part of the datagram. False when it is to be left to its turn: whatever is
// not plain, or nothing that the engine takes.
bool record_opening_prepare(struct record_opening *opening, const struct engine *engine, enum record_kind kind,
                            const void *keys, struct slice datagram, uint8_t *out, size_t cap);
struct aead_job *record_opening_job(struct record_opening *opening);

// One record that waits to be sealed. Its keys may neither change nor go until then.
struct record_sealing {
    uint8_t kind;   // enum record_kind
    uint8_t *bytes; // the owner's: header and content, then the whole record
    size_t len;     // of the whole record
    union {
        struct dtls12_job dtls12;
        struct dtls13_job dtls13;
    };
};
struct aead_job *record_sealing_job(struct record_sealing *sealing);
// After engine_seal: true when `bytes` hold a record that may be sent.
bool record_sealing_finish(struct record_sealing *sealing);

// What the owner of a sink offers for it; `context` is the sink's.
struct record_together {
    // Room for one record of `len` bytes; NULL: not now, nor for this AEAD. It is given up with the next call...
    struct record_sealing *(*room)(void *context, uint8_t aead, size_t len);
    void (*put)(void *context); // ... unless it is put with those that wait.
    // Seals and sends all that wait, also those of others.
    void (*flush)(void *context);
};

#endif
