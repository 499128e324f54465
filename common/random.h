// Random bytes of the kernel's generator, drawn in bulk: none of our own. Also the generator that wolfSSL is built to
// use (CUSTOM_RAND_GENERATE_BLOCK).
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_COMMON_RANDOM_H
#define SAGATE_COMMON_RANDOM_H

#include <stdbool.h>
#include <stddef.h>

// Fills `out` with `len` bytes that are good for keys. Any thread, but no signal handler. What is drawn ahead waits in
// locked memory of the thread (4 KiB, see secret_alloc), is overwritten as it is handed out, and is never given to a
// forked child too. False when the kernel gives none; `out` is then zeroed.
bool random_bytes(void *out, size_t len);

// The same for wolfSSL: 0, or -1.
int sagate_random_block(unsigned char *out, unsigned int len);

#endif
