// Memory for keys: locked, left out of core files and forks, zeroised on release; and compares that take constant time.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_COMMON_SECRET_H
#define SAGATE_COMMON_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Allocates `len` zeroed bytes in locked memory that is excluded from core files (MADV_DONTDUMP) and wiped in a child
// (MADV_WIPEONFORK). Owned by the caller until secret_free. Thread-safe. NULL when memory is short or `len` is 0 or
// more than 1 MiB. Where the lock limit (RLIMIT_MEMLOCK) forbids mlock the memory is still given and
// secret_unlocked_bytes() counts it, so that the operator can be told once.
void *secret_alloc(size_t len);

// Zeroises and releases what secret_alloc gave; NULL is allowed.
void secret_free(void *secret);

// Bytes that could not be locked so far, whole process.
size_t secret_unlocked_bytes(void);

// Overwrites memory in a way the compiler may not remove.
void secret_zero(void *memory, size_t len);

// True when both ranges hold the same bytes; takes the same time whatever they hold.
bool secret_equal(const void *a, const void *b, size_t len);

#endif
