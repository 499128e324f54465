// What is the same for every io driver.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/io/io.h"

#include "common/error.h"

#include <string.h>

int io_datagram_send(struct io *io, io_id id, const struct address *to, const void *data, size_t len)
{
    if (len > IO_DATAGRAM_MAX)
        return SAGATE_ETOOBIG;
    uint8_t *room = io_datagram_reserve(io, len);
    if (room == NULL)
        return SAGATE_ELIMIT;
    if (len > 0)
        memcpy(room, data, len);
    return io_datagram_commit(io, id, to, len);
}
