// Reading what descriptors and paths hold; apart, since <fcntl.h> and common/stats.h both claim the tag "stat".
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_CONTROL_FILES_H
#define SAGATE_CONTROLPLANE_CONTROL_FILES_H

#include <stddef.h>

// The whole content of a descriptor of at most `most` bytes, from its beginning, with a NUL behind it; to free. NULL
// when it is larger, cannot be read, or memory is short.
char *files_read_all(int fd, size_t most, size_t *len);

// Maps the first `len` bytes of a descriptor read-only; NULL when there are fewer or it cannot be mapped.
const void *files_map(int fd, size_t len);

// Opens a file for reading, following no symbolic link: the descriptor, or -1 with errno.
int files_open(const char *path);

#endif
