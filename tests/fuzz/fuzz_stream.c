// Fuzz target: bytes for a folded TLS association. The first byte chooses version and AEAD, the second how the bytes
// are cut into pieces. What follows is a script: a type byte, two length bytes and as many bytes of content, which a
// peer with the right keys seals (type 255: they come as they are). Data must come back as it was, and nothing after
// the end. With bit 6 of the first byte a kernel opens and seals, and hands over what a peer said.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/record/record.h"
#include "dataplane/record/stream.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { RAW = 255, STEP_HEADER = 3, WIRE = 20000, ALERT_MAX = 200, ANSWERS_MAX = 32 };

struct peer {
    bool tls13;
    struct tls12 tls12;
    struct tls13 state13;
    bool honest;    // all so far was sealed with the right keys, in order
    unsigned sends; // of the server
};

static int take_keys(void *context, bool out, const struct ktls_keys *keys)
{
    (void)context;
    (void)out;
    if (keys->len == 0 || keys->len > sizeof keys->bytes)
        abort();
    return SAGATE_OK;
}

static int take_record(void *context, uint8_t type, const uint8_t *data, size_t len)
{
    struct peer *peer = context;
    if (len == 0 || data == NULL || (type != TLS_ALERT && type != TLS_HANDSHAKE))
        abort();
    peer->sends++;
    return SAGATE_OK;
}

static uint64_t no_records(void *context)
{
    (void)context;
    return 0;
}

static const struct ktls_support support = {.out = {{true, true, true, true}, {true, true, true, true}},
                                            .in = {{true, true, true, true}, {true, true, true, true}},
                                            .rekey = true};
static const struct record_kernel kernel = {
    .support = &support, .keys = take_keys, .send = take_record, .records = no_records};

static int count(void *context, const uint8_t *data, size_t len)
{
    struct peer *peer = context;
    if (len < TLS_HEADER || len > ALERT_MAX || data[0] < TLS_ALERT || data[0] > TLS_APPLICATION)
        abort(); // alerts and KeyUpdates only
    peer->sends++;
    return SAGATE_OK;
}

static struct stream *make(uint8_t choice, struct peer *peer)
{
    static const uint8_t here[TLS13_SECRET_MAX] = {1};
    static const uint8_t there[TLS13_SECRET_MAX] = {2};
    enum aead aead = (enum aead)(1 + choice % 5);
    struct stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL)
        abort();
    *peer = (struct peer){.tls13 = choice >= 128, .honest = true};
    stream->sink = (struct handshake_sink){.send = count, .context = peer};
    stream->is_tls13 = peer->tls13;
    if (peer->tls13 && (tls13_init(&stream->tls13, aead, here, there, 32) != SAGATE_OK ||
                        tls13_init(&peer->state13, aead, there, here, 32) != SAGATE_OK))
        abort();
    if (!peer->tls13) {
        stream->tls12 =
            (struct tls12){.aead = (uint8_t)aead, .key_in = {1}, .key_out = {2}, .iv_in = {3}, .iv_out = {4}};
        peer->tls12 = (struct tls12){.aead = (uint8_t)aead, .key_in = {2}, .key_out = {1}, .iv_in = {4}, .iv_out = {3}};
    }
    return stream;
}

// Hands the bytes over in pieces and checks what is opened: the last status.
static int feed(struct stream *stream, struct slice wire, size_t step, const struct peer *peer, struct slice want)
{
    static uint8_t out[RECORD_PLAINTEXT_MAX];
    int status = SAGATE_AGAIN;
    for (size_t at = 0; at < wire.len; at += step) {
        stream_lend(stream, slice_of(wire.data + at, wire.len - at < step ? wire.len - at : step));
        do {
            size_t n = stream_open(stream, out, sizeof out, &status);
            if (status != SAGATE_OK && n != 0)
                abort();
            if (n > 0 && !(peer->honest && slice_equal(slice_of(out, n), want)))
                abort();
        } while (status == SAGATE_OK);
        if (status != SAGATE_AGAIN)
            break;
    }
    return status;
}

static size_t seal(struct peer *peer, uint8_t type, struct slice body, uint8_t *wire)
{
    size_t made;
    int rc = peer->tls13 ? tls13_seal(&peer->state13, type, body.data, body.len, wire, WIRE, &made)
                         : tls12_seal(&peer->tls12, type, body.data, body.len, wire, WIRE, &made);
    if (rc != SAGATE_OK)
        abort();
    return made;
}

// The same behind a kernel.
static int play_kernel(struct stream *stream, struct peer *peer, uint8_t type, struct slice body, size_t step)
{
    if (type == TLS_APPLICATION && step > 0) {
        stream_lend(stream, body);
        static uint8_t out[RECORD_PLAINTEXT_MAX];
        int status;
        size_t n = stream_open(stream, out, sizeof out, &status);
        if (n != body.len || (n > 0 && memcmp(out, body.data, n) != 0))
            abort();
        return stream_open(stream, out, sizeof out, &status) == 0 ? status : SAGATE_EINTERNAL;
    }
    peer->honest = false;
    return stream_control(stream, type, body.data, body.len);
}

// One step of the script: the status of the stream.
static int play(struct stream *stream, struct peer *peer, uint8_t type, struct slice body, size_t step)
{
    static uint8_t wire[WIRE];
    if (stream->kernel_in)
        return play_kernel(stream, peer, type, body, step);
    if (type == RAW) {
        peer->honest = body.len == 0 && peer->honest;
        return feed(stream, body, step, peer, body);
    }
    // With type 0 the type is whatever byte of the body comes last.
    size_t inner = body.len;
    while (peer->tls13 && type == 0 && inner > 0 && body.data[inner - 1] == 0)
        inner--;
    struct slice want = peer->tls13 && type == 0 && inner > 0 ? slice_of(body.data, inner - 1) : body;
    size_t len = seal(peer, type, body, wire);
    int status = feed(stream, slice_of(wire, len), step, peer, want);
    if (peer->tls13 && stream->tls13.in.next == 0 && peer->honest && status == SAGATE_AGAIN)
        (void)tls13_update(&peer->state13, &peer->state13.out); // a KeyUpdate was accepted
    if (peer->honest && type == TLS_APPLICATION && body.len > 0 && status == SAGATE_AGAIN &&
        stream->in_at != stream->in_len)
        abort(); // an honest record leaves nothing
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct peer peer;
    if (len < 2 || len > 40000)
        return 0;
    struct stream *stream = make(data[0], &peer);
    size_t step = data[1] == 0 ? WIRE : data[1];
    int status = SAGATE_AGAIN;
    bool small_tag = data[0] % 5 == 3; // AES-128-CCM-8
    if ((data[0] & 0x40) != 0 && stream_to_kernel(stream, &kernel) != (small_tag ? 0 : 3))
        abort();
    for (size_t at = 2; at + STEP_HEADER <= len && status == SAGATE_AGAIN;) {
        size_t want = (size_t)data[at + 1] << 8 | data[at + 2];
        size_t left = len - at - STEP_HEADER;
        size_t n = want < left ? want : left;
        if (n > TLS_PLAINTEXT_MAX)
            n = TLS_PLAINTEXT_MAX;
        unsigned before = peer.sends;
        status = play(stream, &peer, data[at], slice_of(data + at + STEP_HEADER, n), step);
        if (peer.sends - before > ANSWERS_MAX)
            abort();
        at += STEP_HEADER + n;
    }
    if (status == SAGATE_EGONE && stream_seal(stream, data, 1) != SAGATE_EGONE)
        abort();
    stream_free(stream);
    return 0;
}
