// Asks the kernel what it does with TLS sockets, and prints a table: a line per question, a column per cipher and
// version.
// SPDX-License-Identifier: GPL-3.0-or-later
//
// "ok" means yes, "-" that it is no question there; anything else is the error that came instead, and "stalled" that
// nothing came; EINTR, that a call waited which should not have. Where the question is which error comes, the answer is
// its name.
#include "ktls_probe.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

static const struct cipher ciphers[] = {
    {"AES-128-GCM", TLS_CIPHER_AES_GCM_128, sizeof(struct tls12_crypto_info_aes_gcm_128)},
    {"AES-256-GCM", TLS_CIPHER_AES_GCM_256, sizeof(struct tls12_crypto_info_aes_gcm_256)},
    {"AES-128-CCM", TLS_CIPHER_AES_CCM_128, sizeof(struct tls12_crypto_info_aes_ccm_128)},
    {"CHACHA20", TLS_CIPHER_CHACHA20_POLY1305, sizeof(struct tls12_crypto_info_chacha20_poly1305)},
};
static const uint16_t versions[] = {TLS_1_2_VERSION, TLS_1_3_VERSION};

enum { CIPHERS = sizeof ciphers / sizeof *ciphers, VERSIONS = 2, PROBE_SECONDS = 10 };

static int ask_keys(struct pair *pair)
{
    return pair->left >= 0 ? 0 : -EBADF;
}

static int ask_data(struct pair *pair)
{
    int rc = pair_feed(pair->left, 1 << 20, 40000);
    return rc == 0 ? pair_drain(pair->right, 1 << 20) : rc;
}

static int ask_one_byte(struct pair *pair)
{
    int rc = pair_feed(pair->left, 300, 1);
    return rc == 0 ? pair_drain(pair->right, 300) : rc;
}

// Data, an alert, data: each comes by itself and with its type.
static int ask_types(struct pair *pair)
{
    static const uint8_t types[] = {RECORD_DATA, RECORD_ALERT, RECORD_DATA};
    for (size_t i = 0; i < 3; i++) {
        int rc = pair_send_record(pair->left, types[i], "ab", 2);
        if (rc != 0)
            return rc;
    }
    for (size_t i = 0; i < 3; i++) {
        uint8_t type;
        char data[64];
        int got = pair_receive(pair->right, &type, data, sizeof data);
        if (got != 2 || type != types[i])
            return got < 0 ? got : -EBADMSG;
    }
    return 0;
}

// What recv() without room for a control message says of an alert.
static int ask_alert_recv(struct pair *pair)
{
    int rc = pair_send_record(pair->left, RECORD_ALERT, "\1", 2);
    char data[64];
    if (rc == 0 && recv(pair->right, data, sizeof data, 0) < 0)
        rc = -errno;
    return rc;
}

// Whether recvmsg() with room for it still gets the alert that recv() has failed over.
static int ask_alert_again(struct pair *pair)
{
    char data[64];
    uint8_t type = 0;
    ask_alert_recv(pair);
    struct pollfd ready = {.fd = pair->right, .events = POLLIN};
    if (poll(&ready, 1, 1000) != 1)
        return -ETIMEDOUT;
    int got = pair_receive(pair->right, &type, data, sizeof data);
    return got < 0 ? got : got == 2 && type == RECORD_ALERT ? 0 : -EBADMSG;
}

// An empty record of data: recv() must not take it for the end of the stream. Records of one byte surround it.
static int ask_empty(struct pair *pair)
{
    int rc = pair_send_record(pair->left, RECORD_DATA, "", 0);
    if (rc == 0)
        rc = pair_feed(pair->left, 1, 1);
    char data[8];
    if (rc == 0) {
        ssize_t got = recv(pair->right, data, sizeof data, 0);
        rc = got < 0 ? -errno : got == 1 ? 0 : -ENODATA;
    }
    return rc;
}

// Records that came before the kernel had the keys are opened by it afterwards.
static int ask_early(struct pair *pair)
{
    struct pair other = *pair;
    int rc = pair_connect(&other.left, &other.right);
    if (rc == 0)
        rc = pair_layer(other.left);
    if (rc == 0)
        rc = pair_install(&other, other.left, TLS_TX);
    if (rc == 0)
        rc = pair_feed(other.left, 5000, 1000);
    struct pollfd ready = {.fd = other.right, .events = POLLIN};
    poll(&ready, 1, 1000);
    usleep(50000);
    if (rc == 0)
        rc = pair_layer(other.right);
    if (rc == 0)
        rc = pair_install(&other, other.right, TLS_RX);
    return rc == 0 ? pair_drain(other.right, 5000) : rc;
}

// The layer can still be put on when the peer has ended its side already.
static int ask_after_end(struct pair *pair)
{
    (void)pair;
    int left, right;
    int rc = pair_connect(&left, &right);
    if (rc == 0)
        shutdown(left, SHUT_WR);
    struct pollfd ready = {.fd = right, .events = POLLIN};
    poll(&ready, 1, 1000);
    if (rc == 0)
        rc = pair_layer(right);
    return rc;
}

// The sequence number of the next record, read back after five.
static int ask_sequence(struct pair *pair, int fd, int direction)
{
    for (size_t i = 0; i < 5; i++) {
        char data[8];
        if (send(pair->left, "x", 1, MSG_NOSIGNAL) < 0 || recv(pair->right, data, sizeof data, 0) < 0)
            return -errno;
    }
    union keys keys;
    socklen_t size = (socklen_t)pair->cipher->size;
    if (getsockopt(fd, SOL_TLS, direction, &keys, &size) < 0)
        return -errno;
    return ((const uint8_t *)&keys)[size - 1] == 5 ? 0 : -ERANGE;
}

static int ask_sequence_tx(struct pair *pair)
{
    return ask_sequence(pair, pair->left, TLS_TX);
}
static int ask_sequence_rx(struct pair *pair)
{
    return ask_sequence(pair, pair->right, TLS_RX);
}

// A connection whose receiver has other keys than the sender, with a record on its way and the error of recv() taken.
static int forge(struct pair *pair, struct pair *other)
{
    *other = *pair;
    pair_keys(other);
    int rc = pair_connect(&other->left, &other->right);
    if (rc == 0)
        rc = pair_layer(other->left);
    if (rc == 0)
        rc = pair_layer(other->right);
    if (rc == 0)
        rc = pair_install(other, other->left, TLS_TX);
    if (rc == 0)
        rc = pair_install(pair, other->right, TLS_RX);
    if (rc == 0)
        rc = pair_feed(other->left, 100, 100);
    char data[256];
    if (rc == 0 && recv(other->right, data, sizeof data, 0) < 0)
        rc = -errno;
    return rc;
}

// What recv() says of a record that is not authentic.
static int ask_forged(struct pair *pair)
{
    struct pair other;
    return forge(pair, &other);
}

// The receiver tells the sender by an alert. The error stays with the socket until SO_ERROR has been read.
static int tell(struct pair *pair, bool read_error)
{
    struct pair other = *pair;
    forge(pair, &other);
    int rc = pair_install(pair, other.right, TLS_TX);
    if (rc == 0)
        rc = pair_install(pair, other.left, TLS_RX);
    int error = 0;
    socklen_t size = sizeof error;
    if (rc == 0 && read_error && getsockopt(other.right, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        rc = -errno;
    if (rc == 0)
        rc = pair_send_record(other.right, RECORD_ALERT, "\2", 2);
    uint8_t type = 0;
    char data[16];
    int got = rc == 0 ? pair_receive(other.left, &type, data, sizeof data) : rc;
    return got < 0 ? got : got == 2 && type == RECORD_ALERT ? 0 : -EBADMSG;
}

static int ask_tell(struct pair *pair)
{
    return tell(pair, false);
}
static int ask_tell_error_read(struct pair *pair)
{
    return tell(pair, true);
}

// Whether poll() stays silent while a record is there in part only. The other end has no keys and sends by hand.
static int ask_partial(struct pair *pair)
{
    struct pair other = *pair;
    int rc = pair_connect(&other.left, &other.right);
    if (rc == 0)
        rc = pair_layer(other.right);
    if (rc == 0)
        rc = pair_install(&other, other.right, TLS_RX);
    if (rc == 0 && send(other.left, "\x17\x03\x03\x01\x00partial", 12, MSG_NOSIGNAL) < 0)
        rc = -errno;
    struct pollfd ready = {.fd = other.right, .events = POLLIN};
    if (rc == 0 && poll(&ready, 1, 200) != 0)
        rc = -EAGAIN;
    return rc;
}

// What recv() says of bytes that can be no record.
static int ask_bytes(struct pair *pair, const void *data, size_t size)
{
    struct pair other = *pair;
    int rc = pair_connect(&other.left, &other.right);
    if (rc == 0)
        rc = pair_layer(other.right);
    if (rc == 0)
        rc = pair_install(&other, other.right, TLS_RX);
    if (rc == 0 && send(other.left, data, size, MSG_NOSIGNAL) < 0)
        rc = -errno;
    char got[64];
    if (rc == 0 && recv(other.right, got, sizeof got, 0) < 0)
        rc = -errno;
    return rc;
}

static int ask_long(struct pair *pair)
{
    return ask_bytes(pair, "\x17\x03\x03\x50\x00 and more than that", 25);
}
static int ask_short(struct pair *pair)
{
    return ask_bytes(pair, "\x17\x03\x03\x00\x03xyz and more", 17);
}
static int ask_version(struct pair *pair)
{
    return ask_bytes(pair, "GET / HTTP/1.1\r\n", 16);
}

// Keys for one direction alone; the other stays bytes as they are.
static int ask_transmit_only(struct pair *pair)
{
    char data[4];
    if (send(pair->right, "raw", 3, MSG_NOSIGNAL) < 0)
        return -errno;
    return recv(pair->left, data, sizeof data, 0) == 3 && memcmp(data, "raw", 3) == 0 ? 0 : -EBADMSG;
}

const struct probe probes_plain[] = {
    {"keys taken, both directions", ask_keys, 0},
    {"1 MiB by send and recv", ask_data, 0},
    {"records of one byte", ask_one_byte, 0},
    {"keys for sending alone, received bytes stay raw", ask_transmit_only, 0},
    {"record types by sendmsg and recvmsg", ask_types, 0},
    {"error of recv at an alert", ask_alert_recv, 0},
    {"recvmsg gets an alert after recv's error", ask_alert_again, 0},
    {"empty record is passed over by recv", ask_empty, 0},
    {"records that came before the keys", ask_early, 0},
    {"layer after the peer's end", ask_after_end, 0},
    {"sequence number read back, sending", ask_sequence_tx, 0},
    {"sequence number read back, receiving", ask_sequence_rx, 0},
    {"error of recv at a forged record", ask_forged, 0},
    {"alert after that", ask_tell, 0},
    {"alert after that and after SO_ERROR", ask_tell_error_read, 0},
    {"error of recv at a record that is too long", ask_long, 0},
    {"error of recv at a record that is too short", ask_short, 0},
    {"error of recv at bytes of another protocol", ask_version, 0},
    {"poll is silent at a part of a record", ask_partial, 0},
    {NULL, NULL, 0},
};

// --- The table ---

static void answer(const struct probe *probe, size_t cipher, uint16_t version, char cell[static 24])
{
    if (probe->version != 0 && probe->version != version) {
        snprintf(cell, 24, "-");
        return;
    }
    pid_t child = fork();
    if (child == 0) {
        setpgid(0, 0);
        struct pair pair;
        int rc = pair_open(&pair, &ciphers[cipher], version);
        if (rc == 0)
            rc = probe->ask(&pair);
        _exit(rc < -254 ? 255 : -rc);
    }
    int status = -1;
    pid_t done = 0;
    for (int i = 0; i < PROBE_SECONDS * 200 && done == 0; i++) {
        done = waitpid(child, &status, WNOHANG);
        if (done == 0)
            usleep(5000);
    }
    kill(-child, SIGKILL); // and what it has made
    if (done == 0) {
        waitpid(child, &status, 0);
        snprintf(cell, 24, "stalled");
    } else if (!WIFEXITED(status)) {
        snprintf(cell, 24, "died");
    } else {
        int error = WEXITSTATUS(status);
        const char *name = error == 0 ? "ok" : strerrorname_np(error);
        snprintf(cell, 24, "%s", name != NULL ? name : "unknown");
    }
}

static void print_list(const char *title, const struct probe *probe)
{
    printf("\n%-56s", title);
    for (size_t i = 0; i < CIPHERS * VERSIONS; i++)
        printf("%-12s", ciphers[i / VERSIONS].name);
    printf("\n%-56s", "");
    for (size_t i = 0; i < CIPHERS * VERSIONS; i++)
        printf("%-12s", versions[i % VERSIONS] == TLS_1_2_VERSION ? "1.2" : "1.3");
    printf("\n");
    for (; probe->name != NULL; probe++) {
        printf("%-56s", probe->name);
        for (size_t i = 0; i < CIPHERS * VERSIONS; i++) {
            char cell[24];
            fflush(stdout);
            answer(probe, i / VERSIONS, versions[i % VERSIONS], cell);
            printf("%-12s", cell);
        }
        printf("\n");
    }
}

int main(void)
{
    struct utsname name;
    uname(&name);
    signal(SIGPIPE, SIG_IGN);
    printf("Linux %s\n", name.release);
    print_list("send and recv", probes_plain);
    print_list("KeyUpdate", probes_rekey);
    print_list("io_uring", probes_uring);
    print_list("splice", probes_splice);
    return 0;
}
