// HTTP over TLS in a closed loop: each connection has one request under way, or is closed and opened again at once.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/clock.h"
#include "perf/load.h"

#include <wolfssl/options.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <wolfssl/ssl.h>

enum { ANSWER_MAX = 32 * 1024, EVENTS = 256, WAIT_MS = 50 };

struct connection {
    int fd;
    WOLFSSL *ssl;
    bool established;
    uint32_t number; // of the request under way
    uint64_t sent_us;
    size_t received;
    uint8_t answer[ANSWER_MAX];
};

static const struct load_options *options;
static WOLFSSL_CTX *context;
static int epoll;
static struct connection *connections;

static unsigned int give_psk(WOLFSSL *ssl, const char *hint, char *identity, unsigned int identity_max,
                             unsigned char *key, unsigned int key_max)
{
    (void)ssl;
    (void)hint;
    char text[LOAD_TEXT_MAX];
    load_text(options->identity, 0, text);
    if (strlen(text) >= identity_max || options->key_len > key_max)
        return 0;
    memcpy(identity, text, strlen(text) + 1);
    memcpy(key, options->key, options->key_len);
    return options->key_len;
}

static unsigned int give_psk13(WOLFSSL *ssl, const char *hint, char *identity, unsigned int identity_max,
                               unsigned char *key, unsigned int key_max, const char **suite)
{
    *suite = options->cipher != NULL ? options->cipher : "TLS13-AES128-GCM-SHA256";
    return give_psk(ssl, hint, identity, identity_max, key, key_max);
}

static void make_context(void)
{
    (void)wolfSSL_Init();
    bool tls13 = options->security == LOAD_TLS13;
    context = wolfSSL_CTX_new(tls13 ? wolfTLSv1_3_client_method() : wolfTLSv1_2_client_method());
    if (context == NULL)
        load_fail("memory is short");
    // A load generator does not judge certificates: it talks to servers on this machine that were just set up.
    wolfSSL_CTX_set_verify(context, WOLFSSL_VERIFY_NONE, NULL);
    if (options->identity != NULL && tls13)
        wolfSSL_CTX_set_psk_client_tls13_callback(context, give_psk13);
    else if (options->identity != NULL)
        wolfSSL_CTX_set_psk_client_callback(context, give_psk);
    if (options->cipher != NULL && wolfSSL_CTX_set_cipher_list(context, options->cipher) != WOLFSSL_SUCCESS)
        load_fail("unknown cipher %s", options->cipher);
}

static void send_request(struct connection *connection)
{
    uint8_t request[LOAD_REQUEST_MAX];
    char from[LOAD_TEXT_MAX];
    if (options->from != NULL)
        load_text(options->from, 0, from);
    connection->number++;
    size_t len = load_request_http(options->path, options->from != NULL ? from : NULL, options->target_text,
                                   connection->number, request);
    connection->sent_us = clock_us();
    connection->received = 0;
    if (wolfSSL_write(connection->ssl, request, (int)len) != (int)len)
        load_counters.errors++;
}

static void open_connection(struct connection *connection)
{
    const struct address *target = &options->target;
    connection->fd = socket(target->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 || connect(connection->fd, &target->any, target->len) != 0)
        load_fail("%s: %s", options->target_text, strerror(errno));
    (void)fcntl(connection->fd, F_SETFL, O_NONBLOCK);
    int one = 1;
    (void)setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connection->ssl = wolfSSL_new(context);
    if (connection->ssl == NULL || wolfSSL_set_fd(connection->ssl, connection->fd) != WOLFSSL_SUCCESS)
        load_fail("memory is short");
    connection->established = false;
    connection->received = 0;
    connection->sent_us = clock_us();
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    (void)epoll_ctl(epoll, EPOLL_CTL_ADD, connection->fd, &event);
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
        load_counters.handshakes++;
        if (options->mode != LOAD_HANDSHAKE) {
            connection->established = true;
            send_request(connection);
            return;
        }
        latency_add(clock_us() - connection->sent_us);
        close_connection(connection);
        open_connection(connection);
        (void)wolfSSL_connect(connection->ssl); // sends the hello; what comes back is an event
        return;
    }
    int error = wolfSSL_get_error(connection->ssl, result);
    if (error == WOLFSSL_ERROR_WANT_READ || error == WOLFSSL_ERROR_WANT_WRITE)
        return;
    if (load_counters.handshakes_failed++ == 0)
        (void)fprintf(stderr, "sagate-load: handshake: %s\n", wolfSSL_ERR_reason_error_string((unsigned long)error));
    close_connection(connection);
    open_connection(connection);
    (void)wolfSSL_connect(connection->ssl);
}

static void readable(struct connection *connection)
{
    while (connection->established) {
        int got = wolfSSL_read(connection->ssl, connection->answer + connection->received,
                               (int)(ANSWER_MAX - connection->received));
        if (got <= 0) {
            if (wolfSSL_get_error(connection->ssl, got) == WOLFSSL_ERROR_WANT_READ)
                return;
            load_counters.errors++;
            close_connection(connection);
            open_connection(connection);
            (void)wolfSSL_connect(connection->ssl);
            return;
        }
        size_t used = 0;
        connection->received += (size_t)got;
        enum load_answer answer = load_answer_http(connection->answer, connection->received, &used);
        if (answer == LOAD_MORE)
            continue;
        load_counters.requests++;
        load_counters.refused += answer == LOAD_REFUSED ? 1U : 0U;
        latency_add(clock_us() - connection->sent_us);
        send_request(connection);
    }
}

static void run_for(unsigned seconds)
{
    struct epoll_event events[EVENTS];
    uint64_t end = clock_us() + seconds * 1000000ULL;
    while (clock_us() < end) {
        int count = epoll_wait(epoll, events, EVENTS, WAIT_MS);
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (connection->established)
                readable(connection);
            else
                handshake(connection);
        }
    }
}

void stream_run(const struct load_options *given)
{
    options = given;
    if (options->mode != LOAD_REQUESTS && options->mode != LOAD_HANDSHAKE)
        load_fail("this mode is for devices over datagrams");
    make_context();
    epoll = epoll_create1(EPOLL_CLOEXEC);
    connections = calloc(options->window, sizeof *connections);
    if (connections == NULL)
        load_fail("memory is short");
    for (unsigned i = 0; i < options->window; i++) {
        open_connection(&connections[i]);
        handshake(&connections[i]);
    }
    run_for(options->warm_up);
    // The caller takes the server's CPU time at the two lines.
    printf("{\"event\":\"begin\"}\n");
    (void)fflush(stdout);
    load_counters = (struct load_counters){0};
    latency_clear();
    double cpu = load_cpu_seconds();
    uint64_t start = clock_us();
    run_for(options->seconds);
    load_report("end", (double)(clock_us() - start) / 1e6, load_cpu_seconds() - cpu, NULL);
}
