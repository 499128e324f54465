// The probe's questions about io_uring, with rings and requests as sagate makes them.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "ktls_probe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

enum { TOTAL = 1 << 20, BUFFERS = 32, BUFFER_SIZE = 4096, CONTROL = CMSG_SPACE(1) };

struct ring {
    struct io_uring uring;
    struct io_uring_buf_ring *buffers;
    uint8_t *bytes;
};

static int ring_open(struct ring *ring)
{
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                              IORING_SETUP_SUBMIT_ALL};
    int rc = io_uring_queue_init_params(64, &ring->uring, &params);
    if (rc < 0)
        return rc;
    ring->bytes = malloc(BUFFERS * BUFFER_SIZE);
    if (ring->bytes == NULL || posix_memalign((void **)&ring->buffers, 4096, 4096) != 0)
        return -ENOMEM;
    memset(ring->buffers, 0, 4096);
    struct io_uring_buf_reg registration = {.ring_addr = (uint64_t)(uintptr_t)ring->buffers, .ring_entries = BUFFERS};
    rc = io_uring_register_buf_ring(&ring->uring, &registration, 0);
    for (int i = 0; i < BUFFERS; i++)
        io_uring_buf_ring_add(ring->buffers, ring->bytes + i * BUFFER_SIZE, BUFFER_SIZE, (unsigned short)i, BUFFERS - 1,
                              i);
    io_uring_buf_ring_advance(ring->buffers, BUFFERS);
    return rc;
}

static void ring_give_back(struct ring *ring, unsigned short buffer)
{
    io_uring_buf_ring_add(ring->buffers, ring->bytes + buffer * BUFFER_SIZE, BUFFER_SIZE, buffer, BUFFERS - 1, 0);
    io_uring_buf_ring_advance(ring->buffers, 1);
}

// Submits what is there and takes one completion.
static struct io_uring_cqe ring_next(struct ring *ring)
{
    struct io_uring_cqe *cqe;
    int rc = io_uring_cq_ready(&ring->uring) > 0 ? 0 : io_uring_submit_and_wait(&ring->uring, 1);
    if (rc >= 0)
        rc = io_uring_peek_cqe(&ring->uring, &cqe);
    if (rc < 0)
        return (struct io_uring_cqe){.res = rc};
    struct io_uring_cqe copy = {.res = cqe->res, .flags = cqe->flags};
    io_uring_cqe_seen(&ring->uring, cqe);
    return copy;
}

// The threads of this process; io_uring's workers are among them.
static int threads(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/task");
    if (folder == NULL)
        return -errno;
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count - 2;
}

// To a reader that is slow to begin, through a small buffer, so that the request has to wait.
static int ask_send(struct pair *pair, bool zero_copy)
{
    struct ring ring;
    int rc = ring_open(&ring);
    static uint8_t data[TOTAL];
    if (rc != 0)
        return rc;
    pair_fill(data, TOTAL, 0);
    int small = 32768;
    setsockopt(pair->left, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    if (fork() == 0) {
        usleep(50000);
        _exit(-pair_drain(pair->right, TOTAL));
    }
    for (size_t sent = 0; sent < TOTAL;) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring.uring);
        if (zero_copy)
            io_uring_prep_send_zc(sqe, pair->left, data + sent, TOTAL - sent, MSG_NOSIGNAL, 0);
        else
            io_uring_prep_send(sqe, pair->left, data + sent, TOTAL - sent, MSG_NOSIGNAL);
        struct io_uring_cqe cqe = ring_next(&ring);
        if (cqe.res <= 0)
            return cqe.res < 0 ? cqe.res : -EPIPE;
        if ((cqe.flags & IORING_CQE_F_MORE) != 0)
            ring_next(&ring);
        sent += (size_t)cqe.res;
    }
    if (threads() != 1)
        return -EUSERS;
    int status;
    wait(&status);
    return WIFEXITED(status) ? -WEXITSTATUS(status) : -ECANCELED;
}

static int ask_send_plain(struct pair *pair)
{
    return ask_send(pair, false);
}
static int ask_send_zc(struct pair *pair)
{
    return ask_send(pair, true);
}

static int ask_recv(struct pair *pair)
{
    struct ring ring;
    int rc = ring_open(&ring);
    if (rc == 0)
        rc = pair_feed(pair->left, TOTAL, 40000);
    static uint8_t data[65536];
    for (size_t seen = 0; rc == 0 && seen < TOTAL;) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring.uring);
        io_uring_prep_recv(sqe, pair->right, data, sizeof data, 0);
        int got = ring_next(&ring).res;
        rc = got > 0 ? pair_check(data, (size_t)got, seen) : got < 0 ? got : -EPIPE;
        seen += got > 0 ? (size_t)got : 0;
    }
    return rc;
}

static void arm(struct ring *ring, int fd, struct msghdr *message)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    if (message != NULL)
        io_uring_prep_recvmsg_multishot(sqe, fd, message, 0);
    else
        io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = 0;
}

// Takes `total` bytes by one multishot request, made anew when the kernel ends it.
static int drain_multishot(struct pair *pair, size_t total)
{
    struct ring ring;
    int rc = ring_open(&ring);
    bool armed = false;
    for (size_t seen = 0; rc == 0 && seen < total;) {
        if (!armed)
            arm(&ring, pair->right, NULL);
        struct io_uring_cqe cqe = ring_next(&ring);
        armed = (cqe.flags & IORING_CQE_F_MORE) != 0;
        if (cqe.res == -ENOBUFS)
            continue;
        if (cqe.res <= 0 || (cqe.flags & IORING_CQE_F_BUFFER) == 0)
            return cqe.res < 0 ? cqe.res : -EPIPE;
        unsigned short buffer = (unsigned short)(cqe.flags >> IORING_CQE_BUFFER_SHIFT);
        rc = pair_check(ring.bytes + buffer * BUFFER_SIZE, (size_t)cqe.res, seen);
        seen += (size_t)cqe.res;
        ring_give_back(&ring, buffer);
    }
    return rc;
}

static int ask_multishot(struct pair *pair)
{
    int rc = pair_feed(pair->left, TOTAL, 40000);
    return rc == 0 ? drain_multishot(pair, TOTAL) : rc;
}

static int ask_multishot_small(struct pair *pair)
{
    int rc = pair_feed(pair->left, 2000, 7);
    return rc == 0 ? drain_multishot(pair, 2000) : rc;
}

static int ask_multishot_alert(struct pair *pair)
{
    int rc = pair_send_record(pair->left, RECORD_ALERT, "\1", 2);
    return rc == 0 ? drain_multishot(pair, 2) : rc;
}

static uint8_t type_of(struct msghdr *message)
{
    struct cmsghdr *head = CMSG_FIRSTHDR(message);
    bool known = head != NULL && head->cmsg_level == SOL_TLS && head->cmsg_type == TLS_GET_RECORD_TYPE;
    return known ? *CMSG_DATA(head) : 0;
}

static int send_three(struct pair *pair)
{
    int rc = pair_send_record(pair->left, RECORD_DATA, "ab", 2);
    if (rc == 0)
        rc = pair_send_record(pair->left, RECORD_ALERT, "cd", 2);
    return rc == 0 ? pair_send_record(pair->left, RECORD_DATA, "ef", 2) : rc;
}

static const uint8_t three_types[] = {RECORD_DATA, RECORD_ALERT, RECORD_DATA};

static int ask_recvmsg(struct pair *pair)
{
    struct ring ring;
    int rc = ring_open(&ring);
    if (rc == 0)
        rc = send_three(pair);
    for (size_t i = 0; rc == 0 && i < 3; i++) {
        uint8_t data[64];
        _Alignas(struct cmsghdr) uint8_t control[CONTROL];
        struct iovec part = {.iov_base = data, .iov_len = sizeof data};
        struct msghdr message = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        io_uring_prep_recvmsg(io_uring_get_sqe(&ring.uring), pair->right, &message, 0);
        int got = ring_next(&ring).res;
        rc = got < 0 ? got : got == 2 && type_of(&message) == three_types[i] ? 0 : -EBADMSG;
    }
    return rc;
}

// One completion of a multishot recvmsg with a control message.
static int take_message(struct ring *ring, struct msghdr *message, const struct io_uring_cqe *cqe, uint8_t *type,
                        const uint8_t **data)
{
    if (cqe->res < 0 || (cqe->flags & IORING_CQE_F_BUFFER) == 0)
        return cqe->res < 0 ? cqe->res : -EPIPE;
    void *buffer = ring->bytes + (cqe->flags >> IORING_CQE_BUFFER_SHIFT) * BUFFER_SIZE;
    struct io_uring_recvmsg_out *out = io_uring_recvmsg_validate(buffer, cqe->res, message);
    if (out == NULL)
        return -EMSGSIZE;
    struct cmsghdr *head = io_uring_recvmsg_cmsg_firsthdr(out, message);
    *type = head != NULL ? *CMSG_DATA(head) : 0;
    *data = io_uring_recvmsg_payload(out, message);
    return (int)io_uring_recvmsg_payload_length(out, cqe->res, message);
}

static int ask_recvmsg_multishot_types(struct pair *pair)
{
    struct ring ring;
    struct msghdr message = {.msg_controllen = CONTROL};
    int rc = ring_open(&ring);
    if (rc == 0)
        rc = send_three(pair);
    bool armed = false;
    for (size_t i = 0; rc == 0 && i < 3; i++) {
        if (!armed)
            arm(&ring, pair->right, &message);
        struct io_uring_cqe cqe = ring_next(&ring);
        armed = (cqe.flags & IORING_CQE_F_MORE) != 0;
        uint8_t type = 0;
        const uint8_t *data;
        int got = take_message(&ring, &message, &cqe, &type, &data);
        rc = got < 0 ? got : got == 2 && type == three_types[i] ? 0 : -EBADMSG;
    }
    return rc;
}

static int ask_recvmsg_multishot(struct pair *pair)
{
    struct ring ring;
    struct msghdr message = {.msg_controllen = CONTROL};
    int rc = ring_open(&ring);
    if (rc == 0)
        rc = pair_feed(pair->left, TOTAL, 40000);
    bool armed = false;
    for (size_t seen = 0; rc == 0 && seen < TOTAL;) {
        if (!armed)
            arm(&ring, pair->right, &message);
        struct io_uring_cqe cqe = ring_next(&ring);
        armed = (cqe.flags & IORING_CQE_F_MORE) != 0;
        if (cqe.res == -ENOBUFS)
            continue;
        uint8_t type = 0;
        const uint8_t *data;
        int got = take_message(&ring, &message, &cqe, &type, &data);
        if (got <= 0)
            return got < 0 ? got : -EPIPE;
        rc = type == RECORD_DATA ? pair_check(data, (size_t)got, seen) : -EBADMSG;
        seen += (size_t)got;
        ring_give_back(&ring, (unsigned short)(cqe.flags >> IORING_CQE_BUFFER_SHIFT));
    }
    return rc;
}

static int ask_sendmsg_alert(struct pair *pair)
{
    struct ring ring;
    int rc = ring_open(&ring);
    if (rc != 0)
        return rc;
    _Alignas(struct cmsghdr) uint8_t control[CONTROL] = {0};
    uint8_t warning[] = {1, 0};
    struct iovec part = {.iov_base = warning, .iov_len = sizeof warning};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CONTROL};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    *head = (struct cmsghdr){.cmsg_level = SOL_TLS, .cmsg_type = TLS_SET_RECORD_TYPE, .cmsg_len = CMSG_LEN(1)};
    *CMSG_DATA(head) = RECORD_ALERT;
    message.msg_controllen = head->cmsg_len;
    io_uring_prep_sendmsg(io_uring_get_sqe(&ring.uring), pair->left, &message, MSG_NOSIGNAL);
    int sent = ring_next(&ring).res;
    uint8_t type = 0;
    char data[8];
    int got = sent < 0 ? sent : pair_receive(pair->right, &type, data, sizeof data);
    return got < 0 ? got : got == 2 && type == RECORD_ALERT ? 0 : -EBADMSG;
}

// A multishot recv that waits when the layer and the keys are put on: what follows must come as data, not as records.
static int ask_armed_before(struct pair *pair)
{
    struct pair other = *pair;
    struct ring ring;
    int rc = ring_open(&ring);
    if (rc == 0)
        rc = pair_connect(&other.left, &other.right);
    if (rc != 0)
        return rc;
    arm(&ring, other.right, NULL);
    io_uring_submit_and_get_events(&ring.uring);
    rc = pair_layer(other.left);
    if (rc == 0)
        rc = pair_layer(other.right);
    if (rc == 0)
        rc = pair_install(&other, other.left, TLS_TX);
    if (rc == 0)
        rc = pair_install(&other, other.right, TLS_RX);
    if (rc == 0)
        rc = pair_feed(other.left, 100, 100);
    if (rc != 0)
        return rc;
    struct io_uring_cqe cqe = ring_next(&ring);
    return cqe.res < 0 ? cqe.res : cqe.res == 100 ? pair_check(ring.bytes, 100, 0) : -EBADMSG;
}

// A record of 100 bytes as it goes over the line, for a receiver with the keys of `pair`.
static int sealed(struct pair *pair, uint8_t *data, size_t size)
{
    struct pair other = *pair;
    int rc = pair_connect(&other.left, &other.right);
    if (rc == 0)
        rc = pair_layer(other.left);
    if (rc == 0)
        rc = pair_install(&other, other.left, TLS_TX);
    if (rc == 0)
        rc = pair_feed(other.left, 100, 100);
    if (rc != 0)
        return rc;
    ssize_t got = recv(other.right, data, size, 0);
    return got < 0 ? -errno : (int)got;
}

// Looks at the ring for 60 ms. 0, or what came.
static int quiet(struct ring *ring)
{
    for (size_t i = 0; i < 6; i++) {
        io_uring_submit_and_get_events(&ring->uring);
        if (io_uring_cq_ready(&ring->uring) > 0)
            return -EBADMSG;
        usleep(10000);
    }
    return threads() == 1 ? 0 : -EUSERS;
}

// Sends a part of a record, makes the request before or after it, and sends the rest. A request that waits meanwhile
// must take no thread of the kernel, and must come to its end.
static int part_then_rest(struct ring *ring, const int *ends, const uint8_t *record, size_t size, bool multishot,
                          bool late)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < 2; i++) {
        if ((i == 1) == late) {
            if (multishot)
                arm(ring, ends[1], NULL);
            else
                io_uring_prep_recv(io_uring_get_sqe(&ring->uring), ends[1], ring->bytes, BUFFER_SIZE, 0);
        } else if (send(ends[0], record, 12, MSG_NOSIGNAL) < 0) {
            return -errno;
        }
        rc = quiet(ring);
    }
    if (rc == 0 && send(ends[0], record + 12, size - 12, MSG_NOSIGNAL) < 0)
        rc = -errno;
    if (rc != 0)
        return rc;
    struct io_uring_cqe cqe = ring_next(ring);
    return cqe.res < 0 ? cqe.res : cqe.res == 100 ? pair_check(ring->bytes, 100, 0) : -EBADMSG;
}

static int ask_part_of(struct pair *pair, bool multishot, bool late)
{
    struct ring ring;
    uint8_t record[256];
    int ends[2];
    int size = sealed(pair, record, sizeof record);
    int rc = size < 0 ? size : ring_open(&ring);
    if (rc == 0)
        rc = pair_connect(&ends[0], &ends[1]);
    if (rc == 0)
        rc = pair_layer(ends[1]);
    if (rc == 0)
        rc = pair_install(pair, ends[1], TLS_RX);
    return rc == 0 ? part_then_rest(&ring, ends, record, (size_t)size, multishot, late) : rc;
}

static int ask_part(struct pair *pair)
{
    return ask_part_of(pair, false, false);
}
static int ask_part_multishot(struct pair *pair)
{
    return ask_part_of(pair, true, false);
}
static int ask_part_late(struct pair *pair)
{
    return ask_part_of(pair, false, true);
}
static int ask_part_multishot_late(struct pair *pair)
{
    return ask_part_of(pair, true, true);
}

// A multishot poll made when a part of a record is there tells at most once of the part (a waiter that then finds
// nothing to receive does not spin), and tells of the rest.
static int ask_poll(struct pair *pair)
{
    struct ring ring;
    uint8_t record[256];
    int ends[2];
    int size = sealed(pair, record, sizeof record);
    int rc = size < 0 ? size : ring_open(&ring);
    if (rc == 0)
        rc = pair_connect(&ends[0], &ends[1]);
    if (rc == 0)
        rc = pair_layer(ends[1]);
    if (rc == 0)
        rc = pair_install(pair, ends[1], TLS_RX);
    if (rc == 0 && send(ends[0], record, 12, MSG_NOSIGNAL) < 0)
        rc = -errno;
    if (rc != 0)
        return rc;
    io_uring_prep_poll_multishot(io_uring_get_sqe(&ring.uring), ends[1], POLLIN);
    if (quiet(&ring) == -EBADMSG)
        ring_next(&ring);
    rc = quiet(&ring);
    if (rc == 0 && send(ends[0], record + 12, (size_t)size - 12, MSG_NOSIGNAL) < 0)
        rc = -errno;
    if (rc != 0)
        return rc;
    struct io_uring_cqe cqe = ring_next(&ring);
    uint8_t data[128];
    if (cqe.res < 0 || recv(ends[1], data, sizeof data, MSG_DONTWAIT) != 100)
        return cqe.res < 0 ? cqe.res : -EAGAIN;
    return (cqe.flags & IORING_CQE_F_MORE) != 0 ? pair_check(data, 100, 0) : -ECANCELED;
}

// O_NONBLOCK comes to a socket whose multishot recv waits, and goes again, as a splice into it may need: the request
// lasts, and brings what comes before, meanwhile and after.
static int ask_nonblock(struct pair *pair)
{
    struct ring ring;
    int rc = ring_open(&ring);
    if (rc != 0)
        return rc;
    arm(&ring, pair->right, NULL);
    io_uring_submit_and_get_events(&ring.uring);
    for (size_t i = 0; i < 6; i++) {
        if (fcntl(pair->right, F_SETFL, i == 1 || i == 2 || i == 4 ? O_NONBLOCK : 0) < 0)
            return -errno;
        if (send(pair->left, "x", 1, MSG_NOSIGNAL) != 1)
            return -errno;
        struct io_uring_cqe cqe = ring_next(&ring);
        if (cqe.res != 1 || (cqe.flags & IORING_CQE_F_MORE) == 0)
            return cqe.res < 0 ? cqe.res : -ECANCELED;
    }
    return 0;
}

const struct probe probes_uring[] = {
    {"1 MiB by send", ask_send_plain, 0},
    {"1 MiB by send_zc", ask_send_zc, 0},
    {"1 MiB by recv", ask_recv, 0},
    {"1 MiB by multishot recv", ask_multishot, 0},
    {"286 small records by multishot recv", ask_multishot_small, 0},
    {"error of multishot recv at an alert", ask_multishot_alert, 0},
    {"record types by recvmsg", ask_recvmsg, 0},
    {"record types by multishot recvmsg", ask_recvmsg_multishot_types, 0},
    {"1 MiB by multishot recvmsg", ask_recvmsg_multishot, 0},
    {"alert by sendmsg", ask_sendmsg_alert, 0},
    {"multishot recv that waits already when keys come", ask_armed_before, 0},
    {"a part of a record, then multishot poll", ask_poll, 0},
    {"multishot recv lasts over O_NONBLOCK on and off", ask_nonblock, 0},
    {"recv, then a part of a record: no thread", ask_part, 0},
    {"multishot recv, then a part of a record: no thread", ask_part_multishot, 0},
    {"a part of a record, then recv: no thread", ask_part_late, 0},
    {"a part of a record, then multishot recv: no thread", ask_part_multishot_late, 0},
    {NULL, NULL, 0},
};
