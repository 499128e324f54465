// Kernel TLS: keys in the form that the kernel takes, and what this kernel can do with them.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_COMMON_KTLS_H
#define SAGATE_COMMON_KTLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ktls_cipher { KTLS_AES_128_GCM, KTLS_AES_256_GCM, KTLS_AES_128_CCM, KTLS_CHACHA20_POLY1305, KTLS_CIPHERS };

enum { KTLS_KEYS_MAX = 64, KTLS_IV = 12 };

// Keys of one direction (struct tls12_crypto_info_… of linux/tls.h). The owner wipes them.
struct ktls_keys {
    uint8_t bytes[KTLS_KEYS_MAX];
    uint32_t len;
};

// `iv`: of TLS 1.3 and of ChaCha20-Poly1305 all twelve bytes; else four. `sequence`: of the next record, which is also
// the explicit nonce of the records of TLS 1.2 that have one.
void ktls_make(bool tls13, enum ktls_cipher cipher, const uint8_t *key, const uint8_t iv[KTLS_IV], uint64_t sequence,
               struct ktls_keys *keys);

// Puts the layer on a connected TCP socket: 0, or -1 with errno (ENOENT: this kernel has none). Until keys are set
// nothing changes.
int ktls_layer(int fd);

// Sets the keys of one direction: 0, or -1 with errno (EBUSY: there are keys already, and this kernel takes no others).
int ktls_set(int fd, bool out, const struct ktls_keys *keys);

struct ktls_support {
    bool out[2][KTLS_CIPHERS], in[2][KTLS_CIPHERS]; // TLS 1.2, TLS 1.3
    bool rekey;                                     // new keys after a KeyUpdate
};

// Tries it on connections to itself. Where the layer is a module it is loaded on the way only for a process that may
// (CAP_NET_ADMIN). True when anything is supported in both directions; else the reason is in errno.
bool ktls_probe(struct ktls_support *support);

// The same in one line for people, without a line feed.
void ktls_describe(const struct ktls_support *support, char *text, size_t cap);

#endif
