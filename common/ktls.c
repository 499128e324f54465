// Kernel TLS: socket options of SOL_TLS.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/ktls.h"

#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

enum { SALT = 4, SEQUENCE = 8, IV_REST = KTLS_IV - SALT };

static const struct {
    const char *name;
    uint16_t type;
    uint8_t key;
} ciphers[KTLS_CIPHERS] = {
    [KTLS_AES_128_GCM] = {"AES-128-GCM", TLS_CIPHER_AES_GCM_128, 16},
    [KTLS_AES_256_GCM] = {"AES-256-GCM", TLS_CIPHER_AES_GCM_256, 32},
    [KTLS_AES_128_CCM] = {"AES-128-CCM", TLS_CIPHER_AES_CCM_128, 16},
    [KTLS_CHACHA20_POLY1305] = {"ChaCha20-Poly1305", TLS_CIPHER_CHACHA20_POLY1305, 32},
};
_Static_assert(sizeof(struct tls12_crypto_info_aes_gcm_128) == 4 + IV_REST + 16 + SALT + SEQUENCE &&
                   sizeof(struct tls12_crypto_info_aes_gcm_256) == 4 + IV_REST + 32 + SALT + SEQUENCE &&
                   sizeof(struct tls12_crypto_info_chacha20_poly1305) == 4 + KTLS_IV + 32 + SEQUENCE &&
                   sizeof(struct tls12_crypto_info_chacha20_poly1305) <= KTLS_KEYS_MAX,
               "IV, key, salt and sequence number stand behind one another");

static uint8_t *add(uint8_t *at, const void *bytes, size_t len)
{
    memcpy(at, bytes, len);
    return at + len;
}

void ktls_make(bool tls13, enum ktls_cipher cipher, const uint8_t *key, const uint8_t iv[KTLS_IV], uint64_t sequence,
               struct ktls_keys *keys)
{
    const struct tls_crypto_info info = {.version = tls13 ? TLS_1_3_VERSION : TLS_1_2_VERSION,
                                         .cipher_type = ciphers[cipher].type};
    uint8_t number[SEQUENCE];
    for (size_t i = 0; i < SEQUENCE; i++)
        number[i] = (uint8_t)(sequence >> (8 * (SEQUENCE - 1 - i)));
    uint8_t *at = add(keys->bytes, &info, sizeof info);
    if (cipher == KTLS_CHACHA20_POLY1305) {
        at = add(at, iv, KTLS_IV);
        at = add(at, key, ciphers[cipher].key);
    } else {
        at = add(at, tls13 ? iv + SALT : number, IV_REST);
        at = add(at, key, ciphers[cipher].key);
        at = add(at, iv, SALT);
    }
    at = add(at, number, SEQUENCE);
    keys->len = (uint32_t)(at - keys->bytes);
}

int ktls_layer(int fd)
{
    return setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof "tls");
}

int ktls_set(int fd, bool out, const struct ktls_keys *keys)
{
    return setsockopt(fd, SOL_TLS, out ? TLS_TX : TLS_RX, keys->bytes, keys->len);
}

// Two connected TCP sockets, since the layer goes on no others.
static bool connect_pair(int pair[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pair[1] = -1;
    if (listener >= 0 && pair[0] >= 0 && bind(listener, (struct sockaddr *)&address, len) == 0 &&
        listen(listener, 1) == 0 && getsockname(listener, (struct sockaddr *)&address, &len) == 0 &&
        connect(pair[0], (struct sockaddr *)&address, len) == 0)
        pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    int error = errno;
    if (listener >= 0)
        close(listener);
    if (pair[1] < 0 && pair[0] >= 0)
        close(pair[0]);
    errno = error;
    return pair[1] >= 0;
}

static bool try_cipher(bool tls13, enum ktls_cipher cipher, struct ktls_support *support)
{
    static const uint8_t key[32] = {1};
    static const uint8_t iv[KTLS_IV] = {2};
    struct ktls_keys keys;
    int pair[2];
    if (!connect_pair(pair))
        return false;
    bool layer = ktls_layer(pair[0]) == 0;
    int error = errno;
    if (layer) {
        ktls_make(tls13, cipher, key, iv, 0, &keys);
        support->out[tls13][cipher] = ktls_set(pair[0], true, &keys) == 0;
        support->in[tls13][cipher] = ktls_set(pair[0], false, &keys) == 0;
        error = errno;
        if (tls13 && support->out[tls13][cipher] && support->in[tls13][cipher])
            support->rekey |= ktls_set(pair[0], true, &keys) == 0 && ktls_set(pair[0], false, &keys) == 0;
    }
    close(pair[0]);
    close(pair[1]);
    errno = error;
    return layer;
}

bool ktls_probe(struct ktls_support *support)
{
    bool any = false;
    int error = 0;
    *support = (struct ktls_support){0};
    for (int version = 0; version < 2; version++) {
        for (int cipher = 0; cipher < KTLS_CIPHERS; cipher++) {
            if (!try_cipher(version == 1, (enum ktls_cipher)cipher, support))
                return false;
            error = errno;
            any |= support->out[version][cipher] && support->in[version][cipher];
        }
    }
    errno = error;
    return any;
}

void ktls_describe(const struct ktls_support *support, char *text, size_t cap)
{
    size_t at = 0;
    text[0] = '\0';
    for (int version = 0; version < 2; version++) {
        for (int cipher = 0; cipher < KTLS_CIPHERS && at < cap; cipher++) {
            bool out = support->out[version][cipher];
            bool in = support->in[version][cipher];
            if (!out && !in)
                continue;
            int n =
                snprintf(text + at, cap - at, "%sTLS 1.%d %s%s", at > 0 ? ", " : "", version + 2, ciphers[cipher].name,
                         out && in ? ""
                         : out     ? " (sending)"
                                   : " (receiving)");
            at += n > 0 ? (size_t)n : 0;
        }
    }
    if (at < cap)
        (void)snprintf(text + at, cap - at, "; new keys: %s", support->rekey ? "yes" : "no");
}
