// Folded TLS associations: traffic keys, and the pieces of a record that are still on their way, instead of a WOLFSSL
// object. For record.c only; one thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_RECORD_STREAM_H
#define SAGATE_DATAPLANE_RECORD_STREAM_H

#include "dataplane/handshake/session.h"
#include "dataplane/record/record.h"
#include "dataplane/record/tls12.h"
#include "dataplane/record/tls13.h"

struct stream {
    union {
        struct tls12 tls12;
        struct tls13 tls13;
    };
    struct handshake_sink sink;
    const struct record_kernel *kernel; // NULL before stream_to_kernel
    const char *cipher;                 // static
    // Received and not yet opened: first what is ours, [in_at, in_len), then what is borrowed.
    uint8_t *in;
    const uint8_t *lent;
    uint32_t in_at, in_len, in_cap, lent_len;
    // Records that the sink refused. They go first at the next chance, so that no record is lost or halved.
    uint8_t *out;
    uint32_t out_len, out_cap;
    uint32_t skip; // TLS 1.2: bytes of a refused ClientHello still to come
    bool is_tls13;
    bool dead;                  // a fatal alert came or went, or the sink is gone: nothing more is sent
    bool stopped;               // the sink's last answer was "taken, but stop", or it refused and bytes are pending
    bool kernel_out, kernel_in; // the kernel seals, opens
    bool update_owed;           // the kernel seals: a KeyUpdate waits until nothing is pending
    bool whole;                 // a seal runs, which is all or nothing: the bound on what may be pending does not hold
    uint8_t quiet, refusals, updates;
    uint8_t kernel_tries;  // attempts to hand over a direction
    uint8_t key_update_at; // TLS 1.3: bytes of a KeyUpdate that have come
};
_Static_assert(sizeof(struct stream) <= 384, "all that an idle folded association needs");

// Takes keys, sequence numbers, unread input, unsent output and sink out of an established TLS 1.2 or 1.3 session and
// frees it. NULL when it cannot fold (no AEAD suite that we have, the last record sent does not open with the keys, no
// memory): the session is as it was then.
struct stream *stream_take(struct session *session);

// NULL is allowed; wipes keys.
void stream_free(struct stream *stream);

void stream_set_sink(struct stream *stream, const struct handshake_sink *sink);

// Hands over received bytes: copied, SAGATE_OK, SAGATE_ELIMIT (64 KiB wait), SAGATE_ENOMEM; or borrowed, until
// stream_open has said anything but SAGATE_OK, or stream_keep has copied what is left of them.
int stream_input(struct stream *stream, struct slice bytes);
void stream_lend(struct stream *stream, struct slice bytes);
int stream_keep(struct stream *stream);

// As record_to_kernel and record_control.
unsigned stream_to_kernel(struct stream *stream, const struct record_kernel *kernel);
int stream_control(struct stream *stream, uint8_t type, const uint8_t *data, size_t len);

// As record_open; `cap` is RECORD_PLAINTEXT_MAX at least. SAGATE_EGONE: the alert that says why is sent.
size_t stream_open(struct stream *stream, uint8_t *out, size_t cap, int *status);

// As record_seal.
int stream_seal(struct stream *stream, const uint8_t *data, size_t len);

// As record_close; nothing goes out when a fatal alert came or went.
void stream_close(struct stream *stream);

// "TLSv1.2", "TLSv1.3", and the library's name of the suite. Static strings.
const char *stream_protocol(const struct stream *stream);
const char *stream_cipher(const struct stream *stream);

#endif
