// Two ends of a TCP connection over loopback whose records the kernel makes: what the probe tries its calls on.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_KERNEL_KTLS_PAIR_H
#define SAGATE_TESTS_KERNEL_KTLS_PAIR_H

#include <linux/tls.h>
#include <stddef.h>
#include <stdint.h>

enum { RECORD_ALERT = 21, RECORD_HANDSHAKE = 22, RECORD_DATA = 23 };

struct cipher {
    const char *name;
    uint16_t type; // TLS_CIPHER_*
    size_t size;   // of its structure
};

union keys {
    struct tls_crypto_info info;
    struct tls12_crypto_info_aes_gcm_128 gcm128;
    struct tls12_crypto_info_aes_gcm_256 gcm256;
    struct tls12_crypto_info_aes_ccm_128 ccm128;
    struct tls12_crypto_info_chacha20_poly1305 chacha;
};

// `left` sends to `right`; `left` has transmit keys, `right` has receive keys. The other way
// stays without keys.
struct pair {
    int left, right;
    const struct cipher *cipher;
    uint16_t version; // TLS_1_2_VERSION or TLS_1_3_VERSION
    union keys keys;
};

// All functions return 0 or a negative errno, unless they say otherwise.

// A connection without keys.
int pair_connect(int *left, int *right);

// Fresh random keys with sequence number 0.
void pair_keys(struct pair *pair);

// Puts the TLS layer on a socket; without keys it changes nothing yet.
int pair_layer(int fd);

// Gives the keys of the pair to one end; `direction` is TLS_TX or TLS_RX.
int pair_install(const struct pair *pair, int fd, int direction);

// A connection with keys at both ends.
int pair_open(struct pair *pair, const struct cipher *cipher, uint16_t version);

// One record of a type of its own.
int pair_send_record(int fd, uint8_t type, const void *data, size_t size);

// The next piece of input and its record type. Returns its size, 0 at the end of the stream, or a negative errno.
int pair_receive(int fd, uint8_t *type, void *data, size_t size);

// Bytes that tell where in the stream they belong.
void pair_fill(uint8_t *data, size_t size, size_t offset);

// 0, or -EILSEQ when these are other bytes than pair_fill() makes for this place.
int pair_check(const uint8_t *data, size_t size, size_t offset);

// Sends `total` bytes as pair_fill() makes them, in a process of its own that then ends.
int pair_feed(int fd, size_t total, size_t piece);

// Receives `total` bytes and checks them.
int pair_drain(int fd, size_t total);

#endif
