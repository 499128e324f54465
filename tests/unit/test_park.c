// Handshakes that wait for a key in each version, their messages in pieces: parked once, silent meanwhile, then whole.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "tests/unit/handshake_rig.h"
#include "tests/unit/unit.h"

#include <string.h>

static const uint8_t key_right[16] = "0123456789abcde";

enum {
    TYPE_CIPHER = 20,
    TYPE_HANDSHAKE = 22,
    TYPE_APPLICATION = 23,
    CLIENT_KEY_EXCHANGE = 16,
    TLS_HEADER = 5,
    DTLS_HEADER = 13,
    MESSAGE_HEADER = 12,
    PIECE = 7,
    SPREAD = 64, // sequence numbers that one record in clear may become
    PIECES_MAX = 64,
    DATAGRAM = 2048
};

#define PSK .identity = "dev@maf.sp.example", .key = {key_right, sizeof key_right}

static const struct rig_options dtls = {.dtls = true, .psk = true, .version_max = CONFIG_TLS_1_3};
static const struct rig_options tls = {.psk = true, .version_min = CONFIG_TLS_1_2, .version_max = CONFIG_TLS_1_3};

static const struct version {
    const struct rig_options *listener;
    struct tls_client_options peer;
} versions[] = {
    {&dtls, {PSK, .dtls = true, .ciphers = "PSK-AES128-CCM-8"}},
    {&dtls, {PSK, .dtls = true, .ciphers = "ECDHE-PSK-AES128-GCM-SHA256:PSK-AES128-GCM-SHA256"}},
    {&dtls, {PSK, .dtls = true, .tls13 = true, .ciphers = "TLS13-AES128-GCM-SHA256"}},
    {&tls, {PSK, .ciphers = "PSK-AES128-CBC-SHA256"}},
    {&tls, {PSK, .ciphers = "PSK-AES128-GCM-SHA256"}},
    {&tls, {PSK, .tls13 = true, .ciphers = "TLS13-AES128-GCM-SHA256"}},
};

static size_t number(const uint8_t *at, size_t len)
{
    size_t value = 0;
    for (size_t i = 0; i < len; i++)
        value = value << 8 | at[i];
    return value;
}

static void put(uint8_t *at, size_t len, size_t value)
{
    for (size_t i = len; i > 0; i--, value >>= 8)
        at[i - 1] = (uint8_t)value;
}

// A stream in clear, cut into records of a few bytes up to the change of cipher.
static void give_stream_in_pieces(struct rig *rig, struct slice bytes, bool *ciphered)
{
    size_t at = 0;
    while (at + TLS_HEADER <= bytes.len) {
        const uint8_t *record = bytes.data + at;
        size_t len = number(record + 3, 2);
        *ciphered = *ciphered || record[0] != TYPE_HANDSHAKE;
        size_t step = *ciphered ? len : PIECE;
        for (size_t from = 0; from < len; from += step) {
            uint8_t piece[TLS_HEADER + DATAGRAM];
            size_t n = len - from < step ? len - from : step;
            memcpy(piece, record, TLS_HEADER);
            put(piece + 3, 2, n);
            memcpy(piece + TLS_HEADER, record + TLS_HEADER + from, n);
            if (rig->handshake != NULL || rig->record != NULL)
                rig_give(rig, piece, TLS_HEADER + n);
        }
        at += TLS_HEADER + len;
    }
}

// One record of a handshake message in clear as fragments, each a datagram, the last one first.
static void give_fragments(struct rig *rig, const uint8_t *record, size_t sequence)
{
    const uint8_t *message = record + DTLS_HEADER;
    size_t len = number(message + 1, 3);
    size_t count = (len + PIECE - 1) / PIECE;
    for (size_t i = count; i > 0; i--) {
        uint8_t piece[DTLS_HEADER + MESSAGE_HEADER + PIECE];
        size_t from = (i - 1) * PIECE;
        size_t n = len - from < PIECE ? len - from : PIECE;
        memcpy(piece, record, DTLS_HEADER + MESSAGE_HEADER);
        put(piece + 5, 6, sequence + count - i);
        put(piece + 11, 2, MESSAGE_HEADER + n);
        put(piece + DTLS_HEADER + 6, 3, from);
        put(piece + DTLS_HEADER + 9, 3, n);
        memcpy(piece + DTLS_HEADER + MESSAGE_HEADER, message + MESSAGE_HEADER + from, n);
        rig_give(rig, piece, DTLS_HEADER + MESSAGE_HEADER + n);
    }
}

// A datagram, its ClientKeyExchange in fragments. Records in clear get numbers that leave room for these.
static void give_datagram_in_pieces(struct rig *rig, struct slice bytes)
{
    uint8_t copy[DATAGRAM];
    size_t at = 0;
    while (at + DTLS_HEADER <= bytes.len) {
        CU_ASSERT_TRUE_FATAL(bytes.len <= sizeof copy);
        memcpy(copy, bytes.data + at, bytes.len - at);
        bool clear = copy[0] >= TYPE_CIPHER && copy[0] <= TYPE_APPLICATION && number(copy + 3, 2) == 0;
        if (!clear) { // to the end: records of DTLS 1.3 have another header
            rig_give(rig, copy, bytes.len - at);
            return;
        }
        size_t len = DTLS_HEADER + number(copy + 11, 2);
        size_t sequence = number(copy + 5, 6) * SPREAD;
        if (copy[0] == TYPE_HANDSHAKE && copy[DTLS_HEADER] == CLIENT_KEY_EXCHANGE) {
            give_fragments(rig, copy, sequence);
        } else {
            put(copy + 5, 6, sequence);
            rig_give(rig, copy, len);
        }
        at += len;
    }
}

static void client_to_server(struct rig *rig, struct tls_client *client, bool *ciphered)
{
    struct slice chunk;
    while (tls_client_output(client, &chunk)) {
        if (rig->record != NULL)
            rig_give(rig, chunk.data, chunk.len);
        else if (ciphered == NULL) // DTLS
            give_datagram_in_pieces(rig, chunk);
        else
            give_stream_in_pieces(rig, chunk, ciphered);
    }
}

static void run_in_pieces(struct rig *rig, struct tls_client *client, bool *ciphered)
{
    for (int round = 0; round < 8; round++) {
        rig->client = tls_client_run(client);
        client_to_server(rig, client, ciphered);
        rig_server_to_client(rig, client);
    }
}

static void try_version(const struct version *version, bool single)
{
    struct rig rig;
    bool ciphered = false;
    bool *stream = version->peer.dtls ? NULL : &ciphered;
    struct tls_client_options peer = version->peer;
    peer.single_messages = single;
    CU_ASSERT_EQUAL_FATAL(rig_open(&rig, version->listener), SAGATE_OK);
    struct tls_client *client = tls_client_new(&peer);
    CU_ASSERT_PTR_NOT_NULL_FATAL(client);
    if (!version->peer.dtls)
        CU_ASSERT_EQUAL_FATAL(rig_accept(&rig), SAGATE_OK);
    run_in_pieces(&rig, client, stream); // without a key
    CU_ASSERT_EQUAL_FATAL(rig.server, SAGATE_PARKED);
    CU_ASSERT_STRING_EQUAL(rig.identity, "dev@maf.sp.example");
    CU_ASSERT_EQUAL(handshake_timer_ms(rig.handshake), 0);
    size_t sent = rig.sent_count;
    for (int k = 0; version->peer.dtls && k < 5; k++) {
        tls_client_timeout(client);
        client_to_server(&rig, client, stream);
    }
    CU_ASSERT_EQUAL(rig.server, SAGATE_PARKED);
    CU_ASSERT_EQUAL(rig.sent_count, sent);
    rig.key = slice_of(key_right, sizeof key_right);
    rig_give(&rig, NULL, 0);
    rig_server_to_client(&rig, client);
    run_in_pieces(&rig, client, stream);
    if (rig.server != SAGATE_DONE || rig.client != SAGATE_DONE)
        printf("\n%s: server %d client %d\n", peer.ciphers, rig.server, rig.client);
    CU_ASSERT_EQUAL(rig.server, SAGATE_DONE);
    CU_ASSERT_EQUAL(rig.client, SAGATE_DONE);
    CU_ASSERT_EQUAL(rig.framework, FRAMEWORK_PSK);
    CU_ASSERT_TRUE(rig.record != NULL && rig_echo(&rig, client, 100));
    tls_client_free(client);
    rig_close(&rig);
}

static void messages_in_pieces_are_parked(void)
{
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        try_version(&versions[i], true);
        try_version(&versions[i], false);
    }
}

static const struct unit_test tests[] = {
    {"messages in pieces are parked in each version", messages_in_pieces_are_parked},
};

UNIT_MAIN("park", tests)
