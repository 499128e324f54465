// The probe's questions about splice: bytes between a TLS socket and a plain one that user space never sees.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "ktls_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { TOTAL = 1 << 20, CHUNK = 65536, SMALL = 5000 };

typedef ssize_t mover(int from, int to, size_t size);

static ssize_t move_call(int from, int to, size_t size)
{
    ssize_t moved = splice(from, NULL, to, NULL, size, SPLICE_F_MOVE | SPLICE_F_MORE);
    return moved < 0 ? -errno : moved;
}

static ssize_t move_ring(int from, int to, size_t size)
{
    static struct io_uring ring;
    static bool open;
    if (!open && io_uring_queue_init(8, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) < 0)
        return -ENOSYS;
    open = true;
    struct io_uring_cqe *cqe;
    io_uring_prep_splice(io_uring_get_sqe(&ring), from, -1, to, -1, (unsigned)size, SPLICE_F_MOVE | SPLICE_F_MORE);
    int rc = io_uring_submit_and_wait(&ring, 1);
    if (rc >= 0)
        rc = io_uring_peek_cqe(&ring, &cqe);
    if (rc < 0)
        return rc;
    rc = cqe->res;
    io_uring_cqe_seen(&ring, cqe);
    return rc;
}

// Moves `total` bytes from one socket to another through a pipe.
static int relay(int from, int to, size_t total, mover *move)
{
    int ends[2];
    if (pipe(ends) < 0)
        return -errno;
    for (size_t seen = 0; seen < total;) {
        size_t want = total - seen < CHUNK ? total - seen : CHUNK;
        ssize_t got = move(from, ends[1], want);
        if (got <= 0)
            return got < 0 ? (int)got : -EPIPE;
        for (ssize_t put = 0; put < got;) {
            ssize_t rc = move(ends[0], to, (size_t)(got - put));
            if (rc <= 0)
                return rc < 0 ? (int)rc : -EPIPE;
            put += rc;
        }
        seen += (size_t)got;
    }
    return 0;
}

static int relay_child(int from, int to, size_t total, mover *move)
{
    pid_t child = fork();
    if (child != 0)
        return child < 0 ? -errno : 0;
    int rc = relay(from, to, total, move);
    if (rc != 0) // the receiver then fails, instead of waiting
        shutdown(to, SHUT_RDWR);
    _exit(-rc);
}

// TLS socket, pipe, plain socket.
static int ask_out(struct pair *pair, mover *move)
{
    int left, right;
    int rc = pair_connect(&left, &right);
    if (rc == 0)
        rc = pair_feed(pair->left, TOTAL, 40000);
    if (rc == 0)
        rc = relay_child(pair->right, left, TOTAL, move);
    return rc == 0 ? pair_drain(right, TOTAL) : rc;
}

// Plain socket, pipe, TLS socket.
static int ask_in(struct pair *pair, mover *move)
{
    int left, right;
    int rc = pair_connect(&left, &right);
    if (rc == 0)
        rc = pair_feed(left, TOTAL, 40000);
    if (rc == 0)
        rc = relay_child(right, pair->left, TOTAL, move);
    return rc == 0 ? pair_drain(pair->right, TOTAL) : rc;
}

static int ask_out_call(struct pair *pair)
{
    return ask_out(pair, move_call);
}
static int ask_in_call(struct pair *pair)
{
    return ask_in(pair, move_call);
}
static int ask_out_ring(struct pair *pair)
{
    return ask_out(pair, move_ring);
}
static int ask_in_ring(struct pair *pair)
{
    return ask_in(pair, move_ring);
}

// Takes `size` bytes out of the TLS socket by splice and checks them.
static int take(struct pair *pair, size_t size, size_t offset)
{
    int ends[2];
    uint8_t data[SMALL];
    if (pipe(ends) < 0)
        return -errno;
    ssize_t got = splice(pair->right, NULL, ends[1], NULL, size, 0);
    if (got < 0)
        return -errno;
    if ((size_t)got != size || read(ends[0], data, size) != got)
        return -EMSGSIZE;
    return pair_check(data, size, offset);
}

static int send_small(struct pair *pair)
{
    uint8_t data[SMALL];
    pair_fill(data, SMALL, 0);
    return pair_send_record(pair->left, RECORD_DATA, data, SMALL);
}

// A body may end within a record: splice takes the bytes asked for, and recv gets the rest.
static int ask_part(struct pair *pair)
{
    int rc = send_small(pair);
    if (rc == 0)
        rc = take(pair, 1000, 0);
    uint8_t data[SMALL];
    ssize_t got = rc == 0 ? recv(pair->right, data, sizeof data, 0) : 0;
    if (rc == 0)
        rc = got == SMALL - 1000 ? pair_check(data, SMALL - 1000, 1000) : got < 0 ? -errno : -EMSGSIZE;
    return rc;
}

// A body begins within a record: recv takes the head of the message, splice the rest.
static int ask_after_recv(struct pair *pair)
{
    int rc = send_small(pair);
    uint8_t data[1000];
    if (rc == 0 && recv(pair->right, data, sizeof data, 0) != sizeof data)
        rc = -EMSGSIZE;
    return rc == 0 ? take(pair, SMALL - 1000, 1000) : rc;
}

static int ask_alert(struct pair *pair)
{
    int rc = pair_send_record(pair->left, RECORD_ALERT, "\1", 2);
    return rc == 0 ? take(pair, 2, 0) : rc;
}

static int ask_alert_again(struct pair *pair)
{
    uint8_t type = 0;
    char data[8];
    ask_alert(pair);
    struct pollfd ready = {.fd = pair->right, .events = POLLIN};
    if (poll(&ready, 1, 1000) != 1)
        return -ETIMEDOUT;
    int got = pair_receive(pair->right, &type, data, sizeof data);
    return got < 0 ? got : got == 2 && type == RECORD_ALERT ? 0 : -EBADMSG;
}

static int ask_nothing(struct pair *pair)
{
    int ends[2];
    if (pipe(ends) < 0)
        return -errno;
    return splice(pair->right, NULL, ends[1], NULL, 100, SPLICE_F_NONBLOCK) < 0 ? -errno : 0;
}

static int ask_sendfile(struct pair *pair)
{
    int file = memfd_create("probe", MFD_CLOEXEC);
    static uint8_t data[TOTAL];
    pair_fill(data, sizeof data, 0);
    if (file < 0 || write(file, data, sizeof data) != (ssize_t)sizeof data)
        return -errno;
    off_t at = 0;
    if (fork() == 0) {
        while (at < (off_t)sizeof data && sendfile(pair->left, file, &at, sizeof data - (size_t)at) > 0)
            continue;
        if (at < (off_t)sizeof data)
            shutdown(pair->left, SHUT_RDWR);
        _exit(0);
    }
    return pair_drain(pair->right, TOTAL);
}

// Whether 64 KiB of a pipe become records of about the largest size (at most 8), and not one for each page. The
// receiver has no keys, so that it sees the records.
static int ask_records(struct pair *pair)
{
    struct pair other = *pair;
    int ends[2];
    static uint8_t data[2 * CHUNK];
    int rc = pair_connect(&other.left, &other.right);
    if (rc == 0)
        rc = pair_layer(other.left);
    if (rc == 0)
        rc = pair_install(&other, other.left, TLS_TX);
    if (rc == 0 && (pipe(ends) < 0 || write(ends[1], data, CHUNK) != CHUNK))
        rc = -errno;
    for (size_t put = 0; rc == 0 && put < CHUNK;) {
        ssize_t moved = splice(ends[0], NULL, other.left, NULL, CHUNK - put, 0);
        rc = moved <= 0 ? -errno : 0;
        put += moved > 0 ? (size_t)moved : 0;
    }
    size_t size = 0, count = 0;
    shutdown(other.left, SHUT_WR);
    for (ssize_t got = 1; rc == 0 && got > 0; size += got > 0 ? (size_t)got : 0)
        got = recv(other.right, data + size, sizeof data - size, 0);
    for (size_t at = 0; at + 5 <= size; at += 5u + (size_t)(data[at + 3] << 8 | data[at + 4]))
        count++;
    return rc != 0 ? rc : count <= 8 ? 0 : -E2BIG;
}

static void interrupt(int number)
{
    (void)number;
}

// Splices into a TLS socket whose peer does not read, until it takes no more; `flags` are those of the socket. A call
// that waits is interrupted.
static int fill(struct pair *pair, int flags)
{
    int ends[2];
    static const uint8_t data[CHUNK];
    if (pipe(ends) < 0 || fcntl(pair->left, F_SETFL, flags) < 0)
        return -errno;
    struct sigaction action = {.sa_handler = interrupt};
    struct itimerval timer = {.it_value.tv_usec = 500000, .it_interval.tv_usec = 100000};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
    for (size_t put = 0; put < 64 * TOTAL;) {
        if (write(ends[1], data, CHUNK) != CHUNK)
            return -errno;
        for (size_t left = CHUNK; left > 0;) {
            ssize_t moved = splice(ends[0], NULL, pair->left, NULL, left, SPLICE_F_NONBLOCK);
            if (moved <= 0)
                return moved < 0 ? -errno : -EPIPE;
            left -= (size_t)moved;
            put += (size_t)moved;
        }
    }
    return 0;
}

static int ask_full(struct pair *pair)
{
    return fill(pair, 0);
}
static int ask_full_nonblock(struct pair *pair)
{
    return fill(pair, O_NONBLOCK);
}

const struct probe probes_splice[] = {
    {"1 MiB from TLS to plain, splice", ask_out_call, 0},
    {"1 MiB from plain to TLS, splice", ask_in_call, 0},
    {"1 MiB from TLS to plain, splice by io_uring", ask_out_ring, 0},
    {"1 MiB from plain to TLS, splice by io_uring", ask_in_ring, 0},
    {"splice of a part of a record, recv of the rest", ask_part, 0},
    {"recv of a part of a record, splice of the rest", ask_after_recv, 0},
    {"error of splice at an alert", ask_alert, 0},
    {"recvmsg gets an alert after splice's error", ask_alert_again, 0},
    {"error of splice without waiting, nothing there", ask_nothing, 0},
    {"splice into a full socket, SPLICE_F_NONBLOCK", ask_full, 0},
    {"splice into a full socket, O_NONBLOCK", ask_full_nonblock, 0},
    {"1 MiB by sendfile", ask_sendfile, 0},
    {"64 KiB of a pipe become few records", ask_records, 0},
    {NULL, NULL, 0},
};
