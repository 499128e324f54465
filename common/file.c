// Reading files whole.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/file.h"

#include "common/error.h"

#include <errno.h>
#include <stdint.h>
#include <unistd.h>

ssize_t file_read(int fd, void *bytes, size_t cap)
{
    size_t used = 0;
    for (;;) {
        uint8_t beyond;
        ssize_t got = used < cap ? pread(fd, (uint8_t *)bytes + used, cap - used, (off_t)used)
                                 : pread(fd, &beyond, 1, (off_t)used);
        if (got == 0)
            return (ssize_t)used;
        if (got > 0 && used == cap)
            return SAGATE_ETOOBIG;
        if (got > 0)
            used += (size_t)got;
        else if (errno != EINTR)
            return SAGATE_ESYS;
    }
}
