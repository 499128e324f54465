// sagate-load: simulated devices in a closed loop. Each connection has one request under way; the result is JSON.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "perf/load.h"

#include "common/address.h"
#include "common/clock.h"
#include "common/error.h"

#include <wolfssl/options.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>
#include <wolfssl/ssl.h>

enum {
    ANSWER_MAX = 32 * 1024,
    LATENCY_BUCKETS = 4000, // logarithmic, about 0.5 % wide
    REPEAT_MS = 2000,       // a request without an answer is sent again (RFC 7252 ACK_TIMEOUT)
    EVENTS = 256,
};

struct connection {
    int fd;
    WOLFSSL *ssl;
    bool established;
    uint32_t number; // of the request under way; counted per connection, as message IDs are (RFC 7252 4.4)
    uint64_t sent_us;
    size_t received;
    uint8_t answer[ANSWER_MAX];
};

struct load {
    struct load_options options;
    bool datagrams;
    WOLFSSL_CTX *ctx;
    int epoll;
    struct address target;
    struct connection *connections;
    uint8_t key[64];
    unsigned key_len;
    bool counting;
    uint64_t requests, refused, errors, repeats, handshakes;
    uint64_t latency[LATENCY_BUCKETS];
};

static struct load load;

static unsigned psk_callback(WOLFSSL *ssl, const char *hint, char *identity, unsigned identity_max, unsigned char *key,
                             unsigned key_max)
{
    (void)ssl;
    (void)hint;
    if (load.options.identity == NULL || load.key_len > key_max)
        return 0;
    (void)snprintf(identity, identity_max, "%s", load.options.identity);
    memcpy(key, load.key, load.key_len);
    return load.key_len;
}

static unsigned bucket_of(uint64_t us)
{
    unsigned bucket = 0;
    double bound = 10.0;
    while (bucket < LATENCY_BUCKETS - 1 && (double)us > bound) {
        bound *= 1.005;
        bucket++;
    }
    return bucket;
}

static double bucket_bound(unsigned bucket)
{
    double bound = 10.0;
    while (bucket-- > 0)
        bound *= 1.005;
    return bound;
}

static void send_request(struct connection *connection)
{
    uint8_t request[LOAD_REQUEST_MAX];
    connection->number++;
    size_t len = load.datagrams ? load_request_coap(&load.options, connection->number, request)
                                : load_request_http(&load.options, connection->number, request);
    connection->sent_us = clock_us();
    connection->received = 0;
    if (wolfSSL_write(connection->ssl, request, (int)len) != (int)len)
        load.errors++;
}

static void answered(struct connection *connection, enum load_answer answer)
{
    if (load.counting) {
        load.requests++;
        if (answer == LOAD_REFUSED)
            load.refused++;
        load.latency[bucket_of(clock_us() - connection->sent_us)]++;
    }
    send_request(connection);
}

static void open_connection(struct connection *connection)
{
    connection->fd = socket(load.target.any.sa_family, (load.datagrams ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 || connect(connection->fd, &load.target.any, load.target.len) != 0) {
        (void)fprintf(stderr, "sagate-load: %s: %s\n", load.options.target, strerror(errno));
        exit(EXIT_FAILURE);
    }
    (void)fcntl(connection->fd, F_SETFL, O_NONBLOCK);
    int one = 1;
    if (!load.datagrams)
        (void)setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connection->ssl = wolfSSL_new(load.ctx);
    if (connection->ssl == NULL || wolfSSL_set_fd(connection->ssl, connection->fd) != WOLFSSL_SUCCESS)
        exit(EXIT_FAILURE);
    if (load.datagrams) {
        (void)wolfSSL_dtls_set_peer(connection->ssl, &load.target.any, (unsigned)load.target.len);
        wolfSSL_dtls_set_using_nonblock(connection->ssl, 1);
    }
    connection->established = false;
    connection->received = 0;
    connection->sent_us = clock_us();
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    (void)epoll_ctl(load.epoll, EPOLL_CTL_ADD, connection->fd, &event);
}

static void close_connection(struct connection *connection)
{
    (void)wolfSSL_shutdown(connection->ssl);
    wolfSSL_free(connection->ssl);
    close(connection->fd);
    connection->fd = -1;
    connection->ssl = NULL;
}

static void handshake(struct connection *connection)
{
    int result = wolfSSL_connect(connection->ssl);
    if (result == WOLFSSL_SUCCESS) {
        connection->established = true;
        if (load.counting)
            load.handshakes++;
        if (load.options.handshakes) {
            close_connection(connection);
            open_connection(connection);
            handshake(connection);
        } else {
            send_request(connection);
        }
        return;
    }
    int error = wolfSSL_get_error(connection->ssl, result);
    if (error != WOLFSSL_ERROR_WANT_READ && error != WOLFSSL_ERROR_WANT_WRITE) {
        load.errors++;
        if (load.errors == 1)
            (void)fprintf(stderr, "sagate-load: handshake: %s\n",
                          wolfSSL_ERR_reason_error_string((unsigned long)error));
        close_connection(connection);
        open_connection(connection);
    }
}

static void readable(struct connection *connection)
{
    while (connection->ssl != NULL && connection->established) {
        int got = wolfSSL_read(connection->ssl, connection->answer + connection->received,
                               (int)(ANSWER_MAX - connection->received));
        if (got <= 0) {
            int error = wolfSSL_get_error(connection->ssl, got);
            if (error == WOLFSSL_ERROR_WANT_READ)
                return;
            load.errors++;
            close_connection(connection);
            open_connection(connection);
            return;
        }
        if (load.datagrams) {
            bool acknowledge;
            uint8_t acknowledgement[4];
            enum load_answer answer =
                load_answer_coap(connection->answer, (size_t)got, connection->number, &acknowledge, acknowledgement);
            if (acknowledge)
                (void)wolfSSL_write(connection->ssl, acknowledgement, sizeof acknowledgement);
            if (answer != LOAD_MORE)
                answered(connection, answer);
        } else {
            size_t used = 0;
            connection->received += (size_t)got;
            enum load_answer answer = load_answer_http(connection->answer, connection->received, &used);
            if (answer != LOAD_MORE)
                answered(connection, answer);
        }
    }
}

// Datagrams get lost; a request or a flight without an answer is sent again.
static void repeat_lost(uint64_t now_us)
{
    for (unsigned i = 0; i < load.options.connections; i++) {
        struct connection *connection = &load.connections[i];
        if (now_us - connection->sent_us < REPEAT_MS * 1000ULL)
            continue;
        load.repeats++;
        connection->sent_us = now_us;
        if (connection->established)
            send_request(connection);
        else if (wolfSSL_dtls_got_timeout(connection->ssl) != WOLFSSL_SUCCESS)
            load.errors++;
    }
}

static void run_until(uint64_t end_us)
{
    struct epoll_event events[EVENTS];
    uint64_t next_look = clock_us() + 100000;
    while (clock_us() < end_us) {
        int count = epoll_wait(load.epoll, events, EVENTS, 50);
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (!connection->established)
                handshake(connection);
            else
                readable(connection);
        }
        uint64_t now = clock_us();
        if (load.datagrams && now > next_look) {
            repeat_lost(now);
            next_look = now + 100000;
        }
    }
}

static double percentile(double part)
{
    uint64_t total = 0;
    uint64_t seen = 0;
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
        total += load.latency[i];
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        seen += load.latency[i];
        if (total > 0 && (double)seen >= part * (double)total)
            return bucket_bound(i);
    }
    return 0;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void make_context(void)
{
    wolfSSL_Init();
    WOLFSSL_METHOD *method = load.datagrams ? wolfDTLSv1_2_client_method() : wolfTLSv1_2_client_method();
    load.ctx = wolfSSL_CTX_new(method);
    if (load.ctx == NULL)
        exit(EXIT_FAILURE);
    // A load generator does not judge certificates: it talks to servers on this machine that were just set up.
    wolfSSL_CTX_set_verify(load.ctx, WOLFSSL_VERIFY_NONE, NULL);
    if (load.options.identity != NULL)
        wolfSSL_CTX_set_psk_client_callback(load.ctx, psk_callback);
    if (load.options.cipher != NULL && wolfSSL_CTX_set_cipher_list(load.ctx, load.options.cipher) != WOLFSSL_SUCCESS) {
        (void)fprintf(stderr, "sagate-load: unknown cipher %s\n", load.options.cipher);
        exit(2);
    }
}

static int parse_options(int argc, char **argv)
{
    static const struct option names[] = {
        {"mode", 1, NULL, 'm'},    {"target", 1, NULL, 't'},      {"identity", 1, NULL, 'u'},
        {"key-hex", 1, NULL, 'k'}, {"cipher", 1, NULL, 'C'},      {"from", 1, NULL, 'f'},
        {"path", 1, NULL, 'p'},    {"connections", 1, NULL, 'n'}, {"seconds", 1, NULL, 's'},
        {"warm-up", 1, NULL, 'w'}, {"handshakes", 0, NULL, 'H'},  {NULL, 0, NULL, 0}};
    struct load_options *o = &load.options;
    *o = (struct load_options){.mode = "coap", .path = "/", .connections = 64, .seconds = 5, .warm_up = 1};
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case 'm':
            o->mode = optarg;
            break;
        case 't':
            o->target = optarg;
            break;
        case 'u':
            o->identity = optarg;
            break;
        case 'k':
            o->key_hex = optarg;
            break;
        case 'C':
            o->cipher = optarg;
            break;
        case 'f':
            o->from = optarg;
            break;
        case 'p':
            o->path = optarg;
            break;
        case 'n':
            o->connections = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 's':
            o->seconds = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'w':
            o->warm_up = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'H':
            o->handshakes = true;
            break;
        default:
            return -1;
        }
    }
    load.datagrams = strcmp(o->mode, "coap") == 0;
    for (const char *hex = o->key_hex; hex != NULL && hex[0] != '\0' && hex[1] != '\0'; hex += 2) {
        char pair[3] = {hex[0], hex[1], '\0'};
        if (load.key_len < sizeof load.key)
            load.key[load.key_len++] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return o->target != NULL && address_parse_pair(o->target, &load.target) == SAGATE_OK && o->connections > 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
    if (parse_options(argc, argv) != 0) {
        (void)fprintf(stderr,
                      "usage: sagate-load --target ADDRESS:PORT [--mode coap|https] [--identity ID --key-hex HEX]\n"
                      "  [--cipher NAME] [--from ORIGINATOR] [--path PATH] [--connections N] [--seconds N]\n"
                      "  [--warm-up N] [--handshakes]\n");
        return 2;
    }
    make_context();
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.connections = calloc(load.options.connections, sizeof *load.connections);
    if (load.connections == NULL)
        return EXIT_FAILURE;
    for (unsigned i = 0; i < load.options.connections; i++) {
        open_connection(&load.connections[i]);
        handshake(&load.connections[i]);
    }
    run_until(clock_us() + load.options.warm_up * 1000000ULL);
    // The caller takes the server's CPU time at these two moments.
    printf("{\"event\":\"begin\"}\n");
    (void)fflush(stdout);
    load.counting = true;
    double cpu = cpu_seconds();
    uint64_t start = clock_us();
    run_until(start + load.options.seconds * 1000000ULL);
    load.counting = false;
    double seconds = (double)(clock_us() - start) / 1e6;
    cpu = cpu_seconds() - cpu;
    printf("{\"event\":\"end\",\"seconds\":%.3f,\"requests\":%llu,\"handshakes\":%llu,\"refused\":%llu,\"errors\":%llu,"
           "\"repeats\":%llu,\"client_cpu\":%.3f,\"p50_us\":%.0f,\"p99_us\":%.0f}\n",
           seconds, (unsigned long long)load.requests, (unsigned long long)load.handshakes,
           (unsigned long long)load.refused, (unsigned long long)load.errors, (unsigned long long)load.repeats, cpu,
           percentile(0.5), percentile(0.99));
    (void)fflush(stdout);
    return EXIT_SUCCESS;
}
