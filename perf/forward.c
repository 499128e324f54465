// sagate-perf-forward: the limit that forwarding is measured against. Passes datagrams of devices on to a CSE and the
// answers back, over the io driver of the data plane: no records, no check, one table of who is to get which answer.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/address.h"
#include "common/error.h"
#include "dataplane/io/io.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WAITING = 65536, RECEIVE_BUFFERS = 512, HEADER = 4, SOCKET_BUFFER = 4 << 20 };

enum side { DEVICES = 1, CSE };

// Who sent the request that went on under this message ID (RFC 7252 4.4), and what its own was.
struct waiting {
    struct address device;
    uint8_t message_id[2];
};

static struct waiting waiting[WAITING];
static uint16_t next_id;
static struct io *io;
static io_id devices_id, cse_id;
static struct io_user devices_user = {.kind = DEVICES}, cse_user = {.kind = CSE};

static int open_socket(const struct address *address, bool connected)
{
    int size = SOCKET_BUFFER;
    int fd = socket(address->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int rc = connected ? connect(fd, &address->any, address->len) : bind(fd, &address->any, address->len);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (fd < 0 || rc != 0) {
        (void)fprintf(stderr, "sagate-perf-forward: %s\n", strerror(errno));
        exit(EXIT_FAILURE);
    }
    return fd;
}

static void pass(io_id id, const struct address *to, const uint8_t message_id[2], const uint8_t *data, size_t len)
{
    uint8_t *out = io_datagram_reserve(io, len);
    if (out == NULL)
        return;
    memcpy(out, data, len);
    memcpy(out + 2, message_id, 2);
    (void)io_datagram_commit(io, id, to, len);
}

static void take(const struct io_event *event)
{
    if (event->type != IO_DATAGRAM || event->len < HEADER)
        return;
    if (event->user->kind == DEVICES) {
        uint16_t id = next_id++;
        waiting[id].device = *event->peer;
        memcpy(waiting[id].message_id, event->data + 2, 2);
        pass(cse_id, NULL, (const uint8_t[]){(uint8_t)(id >> 8), (uint8_t)id}, event->data, event->len);
    } else {
        const struct waiting *request = &waiting[event->data[2] << 8 | event->data[3]];
        if (request->device.len > 0)
            pass(devices_id, &request->device, request->message_id, event->data, event->len);
    }
}

int main(int argc, char **argv)
{
    struct address devices;
    struct address cse;
    struct io_event events[IO_BATCH_MAX];
    const struct io_options options = {
        .receive_buffers = RECEIVE_BUFFERS, .streams_max = 1, .stream_high_water = 1, .stream_limit = 1};
    if (argc != 3 || address_parse_pair(argv[1], &devices) != SAGATE_OK ||
        address_parse_pair(argv[2], &cse) != SAGATE_OK) {
        (void)fprintf(stderr, "usage: sagate-perf-forward DEVICES-ADDRESS:PORT CSE-ADDRESS:PORT\n");
        return 2;
    }
    if (io_create(&io_uring_driver, &options, &io) != SAGATE_OK ||
        io_add_datagram(io, open_socket(&devices, false), &devices_user, &devices_id) != SAGATE_OK ||
        io_add_datagram(io, open_socket(&cse, true), &cse_user, &cse_id) != SAGATE_OK) {
        (void)fprintf(stderr, "sagate-perf-forward: the io driver does not start\n");
        return EXIT_FAILURE;
    }
    for (;;) {
        int count = io_wait(io, events, IO_BATCH_MAX, -1);
        if (count < 0)
            return EXIT_FAILURE;
        for (int i = 0; i < count; i++)
            take(&events[i]);
    }
}
