// Puts a ClientHello together, lengths last.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "perf/hello.h"

#include <string.h>

enum {
    HANDSHAKE = 22,
    CLIENT_HELLO = 1,
    DTLS12 = 0xfefd,
    DTLS13 = 0xfefc,
    RECORD_LENGTH_AT = 11,
    RECORD_HEADER = 13,
    MESSAGE_HEADER = 12,
    IDENTITY_MAX = 128,
    P256 = 23,
    P256_POINT = 65,
    EXTENSION_GROUPS = 10,
    EXTENSION_SIGNATURES = 13,
    EXTENSION_PSK = 41,
    EXTENSION_VERSIONS = 43,
    EXTENSION_COOKIE = 44,
    EXTENSION_PSK_MODES = 45,
    EXTENSION_KEY_SHARE = 51,
    EXTENSION_CID = 54,
    BINDER = 32,
};

struct writer {
    uint8_t *out;
    size_t len;
};

static void put(struct writer *writer, uint64_t value, unsigned bytes)
{
    while (bytes-- > 0)
        writer->out[writer->len++] = (uint8_t)(value >> 8 * bytes);
}

static void put_bytes(struct writer *writer, const void *data, size_t len)
{
    if (len > 0)
        memcpy(writer->out + writer->len, data, len);
    writer->len += len;
}

// Room for a length of two bytes, and what fills it.
static size_t open_part(struct writer *writer)
{
    put(writer, 0, 2);
    return writer->len;
}

static void close_part(struct writer *writer, size_t from)
{
    struct writer length = {.out = writer->out, .len = from - 2};
    put(&length, writer->len - from, 2);
}

static size_t open_extension(struct writer *writer, unsigned type)
{
    put(writer, type, 2);
    return open_part(writer);
}

static void put_suites(struct writer *writer, bool dtls13)
{
    static const uint16_t suites[] = {0xc0a8, 0xc0ae, 0xc02b, 0xd005}; // PSK and ECDHE, CCM-8 and GCM
    size_t part = open_part(writer);
    for (size_t i = 0; dtls13 && i < 2; i++)
        put(writer, i == 0 ? 0x1301 : 0x1305, 2);
    for (size_t i = 0; !dtls13 && i < sizeof suites / sizeof *suites; i++)
        put(writer, suites[i], 2);
    close_part(writer, part);
    put(writer, 0x0100, 2); // no compression
}

static void put_common(struct writer *writer)
{
    size_t part = open_extension(writer, EXTENSION_GROUPS);
    put(writer, 2, 2);
    put(writer, P256, 2);
    close_part(writer, part);
    part = open_extension(writer, EXTENSION_SIGNATURES);
    put(writer, 2, 2);
    put(writer, 0x0403, 2); // ecdsa_secp256r1_sha256
    close_part(writer, part);
    part = open_extension(writer, EXTENSION_CID);
    put(writer, 0, 1);
    close_part(writer, part);
}

static void put_psk(struct writer *writer, const char *identity)
{
    size_t len = strlen(identity) < IDENTITY_MAX ? strlen(identity) : IDENTITY_MAX;
    size_t part = open_extension(writer, EXTENSION_PSK);
    size_t list = open_part(writer);
    put(writer, len, 2);
    put_bytes(writer, identity, len);
    put(writer, 0, 4); // age
    close_part(writer, list);
    list = open_part(writer);
    put(writer, BINDER, 1);
    for (unsigned i = 0; i < BINDER; i++)
        put(writer, i, 1);
    close_part(writer, list);
    close_part(writer, part);
}

static void put_dtls13(struct writer *writer, const struct hello *hello)
{
    size_t part = open_extension(writer, EXTENSION_VERSIONS);
    put(writer, 2, 1);
    put(writer, DTLS13, 2);
    close_part(writer, part);
    part = open_extension(writer, EXTENSION_KEY_SHARE);
    put(writer, 2 + 2 + P256_POINT, 2);
    put(writer, P256, 2);
    put(writer, P256_POINT, 2);
    put(writer, 4, 1); // uncompressed; that it lies on no curve shows only later
    put_bytes(writer, hello->random, HELLO_RANDOM);
    put_bytes(writer, hello->random, HELLO_RANDOM);
    close_part(writer, part);
    if (hello->cookie_len > 0) {
        part = open_extension(writer, EXTENSION_COOKIE);
        put(writer, hello->cookie_len, 2);
        put_bytes(writer, hello->cookie, hello->cookie_len);
        close_part(writer, part);
    }
    if (hello->identity == NULL)
        return;
    part = open_extension(writer, EXTENSION_PSK_MODES);
    put(writer, 0x0101, 2); // with ECDHE
    close_part(writer, part);
    put_psk(writer, hello->identity); // the last one (RFC 8446 4.2.11)
}

size_t hello_write(const struct hello *hello, uint8_t out[HELLO_MAX])
{
    struct writer writer = {.out = out};
    uint8_t place = hello->cookie_len > 0 ? 1 : 0; // the second record, the second message
    put(&writer, HANDSHAKE, 1);
    put(&writer, DTLS12, 2);
    put(&writer, place, 8);
    put(&writer, 0, 2);
    put(&writer, CLIENT_HELLO, 1);
    put(&writer, 0, 3);
    put(&writer, place, 2);
    put(&writer, 0, 6);
    put(&writer, DTLS12, 2);
    put_bytes(&writer, hello->random, HELLO_RANDOM);
    put(&writer, 0, 1); // no session
    put(&writer, hello->dtls13 ? 0 : hello->cookie_len, 1);
    if (!hello->dtls13)
        put_bytes(&writer, hello->cookie, hello->cookie_len);
    put_suites(&writer, hello->dtls13);
    size_t extensions = open_part(&writer);
    put_common(&writer);
    if (hello->dtls13)
        put_dtls13(&writer, hello);
    close_part(&writer, extensions);
    size_t len = writer.len;
    writer.len = RECORD_LENGTH_AT;
    put(&writer, len - RECORD_HEADER, 2);
    put(&writer, CLIENT_HELLO, 1);
    put(&writer, len - RECORD_HEADER - MESSAGE_HEADER, 3);
    put(&writer, place, 2);
    put(&writer, 0, 3);
    put(&writer, len - RECORD_HEADER - MESSAGE_HEADER, 3);
    return len;
}
