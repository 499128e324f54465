// Fuzz target: datagrams for a folded DTLS 1.3 association. The first byte chooses the AEAD and the Connection IDs; the
// rest is opened as it came, then sealed by a peer with the right keys, with a type of the input's choice, and opened
// again: data that is authentic must come back as it was, and messages, ACKs and alerts reach what reads them. What is
// sent in answer must be for the peer to open.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/clock.h"
#include "common/error.h"
#include "dataplane/record/record.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { BUFFER = 20000 };

struct memory {
    struct record_flight flight;
    struct dtls13 keys;
};

struct ends {
    struct memory memory; // ours
    struct dtls13 peer;
};

// Opens an answer as the peer does.
static int answer(void *context, const uint8_t *data, size_t len)
{
    struct ends *ends = context;
    struct dtls13 *peer = &ends->peer;
    if (!slice_equal(dtls13_cid_in(peer), dtls13_cid_out(&ends->memory.keys))) // it was replaced
        return SAGATE_OK;
    struct slice rest = slice_of(data, len);
    struct dtls13_record record;
    struct dtls13_opened opened;
    uint8_t out[1400];
    if (dtls13_next(peer->cid_in_len, &rest, &record) != SAGATE_OK || rest.len != 0)
        abort();
    if (dtls13_open(peer, &record, out, sizeof out, &opened) > DTLS13_UNWANTED)
        abort();
    return SAGATE_OK;
}

static void make(struct ends *ends, uint8_t choice)
{
    uint8_t in[DTLS13_SECRET_MAX];
    uint8_t out[DTLS13_SECRET_MAX];
    uint8_t cid[DTLS13_CID_MAX];
    memset(in, 1, sizeof in);
    memset(out, 2, sizeof out);
    memset(cid, 0x55, sizeof cid);
    size_t cid_len = (choice / 5) % 17;
    *ends = (struct ends){.memory.flight = {.flights = 8, .since_s = (uint32_t)(clock_ms() / 1000)}};
    if (dtls13_init(&ends->memory.keys, (enum aead)(1 + choice % 5), DTLS13_EPOCH_FIRST, in, out,
                    slice_of(cid, cid_len), slice_of(cid, 16 - cid_len)) != SAGATE_OK)
        abort();
    dtls13_mirror(&ends->peer, &ends->memory.keys);
}

// Gives a datagram; returns the number of records of data, which must hold `want`.
static unsigned give(struct record *record, const uint8_t *datagram, size_t len, struct slice want)
{
    static uint8_t out[RECORD_PLAINTEXT_MAX];
    unsigned count = 0;
    int status;
    (void)record_lend(record, datagram, len);
    do {
        size_t n = record_open(record, out, sizeof out, &status);
        if (status == SAGATE_OK && !slice_equal(slice_of(out, n), want))
            abort();
        count += status == SAGATE_OK ? 1 : 0;
    } while (status == SAGATE_OK || status == SAGATE_ERECORD);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static uint8_t sealed[BUFFER];
    struct ends ends;
    if (len < 4 || len > 16000)
        return 0;
    struct slice body = slice_of(data + 4, len - 4);
    const struct slice nothing = {0};
    make(&ends, data[0]);
    struct dtls13 client = ends.peer;
    const struct record_place place = {.flight = &ends.memory.flight, .keys = &ends.memory.keys};
    const struct handshake_sink sink = {.send = answer, .context = &ends};
    struct record *record = record_resume(RECORD_DTLS13, &place, &sink);
    if (record == NULL)
        abort();
    if (give(record, body.data, body.len, nothing) != 0 || ends.memory.keys.window != 0)
        abort();
    client.next_out += (uint64_t)data[2] << 8 | data[3];
    size_t made;
    if (dtls13_seal(&client, data[1], body.data, body.len, sealed, sizeof sealed, &made) != SAGATE_OK ||
        made != dtls13_sealed_len(&client, body.len))
        abort();
    bool is_data = data[1] == DTLS13_APPLICATION && body.len < RECORD_PLAINTEXT_MAX;
    bool hidden = data[1] == 0; // the type is whatever byte of the body comes last
    if (!hidden && give(record, sealed, made, body) != (is_data ? 1 : 0))
        abort();
    if (!hidden && give(record, sealed, made, body) != 0) // a replay
        abort();
    record_free(record);
    make(&ends, data[0]);
    record = record_resume(RECORD_DTLS13, &place, &sink);
    if (record == NULL)
        abort();
    sealed[(size_t)(data[2] << 8 | data[3]) % made] ^= (uint8_t)(1U << data[1] % 8);
    if (give(record, sealed, made, nothing) != 0)
        abort();
    record_free(record);
    return 0;
}
