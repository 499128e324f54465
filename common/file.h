// Reading the whole of what a descriptor holds.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_COMMON_FILE_H
#define SAGATE_COMMON_FILE_H

#include <stddef.h>
#include <sys/types.h>

// Reads a file from its start to its end into `bytes`, wherever the descriptor stands, and leaves it there. Any thread.
// The number of bytes, or SAGATE_ESYS (errno says why); SAGATE_ETOOBIG when there are more than `cap`.
ssize_t file_read(int fd, void *bytes, size_t cap);

#endif
