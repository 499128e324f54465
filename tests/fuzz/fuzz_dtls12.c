// Fuzz target: datagrams for a folded DTLS 1.2 association. The first byte chooses the AEAD and the Connection IDs; the
// rest is opened as it came, then sealed by a peer with the right keys, with a type of the input's choice, and opened
// again with the sequence number that the input gives: what is authentic must come back as it was.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/record/dtls12.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { EPOCH_SHIFT = 48, BUFFER = 20000 };

static struct dtls12 make(uint8_t choice, bool peer)
{
    struct dtls12 state = {.aead = (uint8_t)(1 + choice % 5), .next_out = 1ULL << EPOCH_SHIFT};
    memset(state.key_in, peer ? 1 : 2, sizeof state.key_in);
    memset(state.key_out, peer ? 2 : 1, sizeof state.key_out);
    memset(state.iv_in, peer ? 3 : 4, sizeof state.iv_in);
    memset(state.iv_out, peer ? 4 : 3, sizeof state.iv_out);
    memset(state.cid_in, 0x55, sizeof state.cid_in);
    memset(state.cid_out, 0x55, sizeof state.cid_out);
    state.cid_in_len = state.cid_out_len = (uint8_t)((choice / 5) % 17);
    return state;
}

// Opens all records of a datagram; returns the number of those that were authentic.
static unsigned open_all(struct dtls12 *state, struct slice datagram, struct slice want)
{
    static uint8_t out[BUFFER];
    struct dtls12_record record;
    unsigned authentic = 0;
    while (dtls12_next(state, &datagram, &record) == SAGATE_OK) {
        size_t n;
        enum dtls12_verdict verdict = dtls12_open(state, &record, out, sizeof out, &n, NULL);
        if (verdict > DTLS12_UNWANTED)
            continue;
        authentic++;
        if (n > 0 && !slice_equal(slice_of(out, n), want))
            abort();
    }
    return authentic;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static uint8_t sealed[BUFFER];
    if (len < 4 || len > 16384)
        return 0;
    struct dtls12 server = make(data[0], false);
    struct dtls12 client = make(data[0], true);
    struct slice body = slice_of(data + 4, len - 4);
    (void)open_all(&server, body, (struct slice){0}); // wrong keys are as good as none: what opens here has n 0
    if (server.failed > 0 && server.window != 0)
        abort();
    client.next_out += (uint64_t)data[2] << 8 | data[3];
    size_t made;
    struct dtls12 before = server;
    int rc = dtls12_seal(&client, data[1], body.data, body.len, sealed, sizeof sealed, &made);
    if (rc != SAGATE_OK || made != dtls12_sealed_len(&client, body.len))
        abort();
    bool cid_type = client.cid_out_len == 0 && data[1] == DTLS12_CID; // no peer can seal that
    // With type 0 behind a Connection ID the type is whatever byte of the body comes last.
    bool hidden = client.cid_out_len > 0 && data[1] == 0;
    if (!hidden && !cid_type && open_all(&server, slice_of(sealed, made), body) != 1)
        abort();
    if (!hidden && !cid_type && open_all(&server, slice_of(sealed, made), body) != 0) // a replay
        abort();
    sealed[(size_t)(data[2] << 8 | data[3]) % made] ^= (uint8_t)(1U << data[1] % 8);
    if (open_all(&before, slice_of(sealed, made), body) != 0)
        abort();
    return 0;
}
