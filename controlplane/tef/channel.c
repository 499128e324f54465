// A connection is driven by two events of its descriptor and two timers.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/tef/channel.h"

#include "common/error.h"
#include "common/secret.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 16384, READS = 16 }; // a chunk takes a whole record, which over DTLS is a message

enum channel_state { CHANNEL_CONNECTING, CHANNEL_HANDSHAKE, CHANNEL_OPEN, CHANNEL_CLOSED };

struct tef_channel {
    enum channel_state state;
    struct tef_socket socket;
    struct tef_tls *tls;
    WOLFSSL *session;
    struct event *readable, *writable, *timer;
    struct event *flight; // DTLS: when what the handshake sent goes out again
    struct tef_channel_owner owner;
    bool *gone; // set when the channel is freed while it tells its owner something
    uint8_t *out;
    size_t out_len, out_cap, out_sent;
    size_t attempt; // a write that could not end is to be repeated with the same length
};

int tef_connect_tcp(void *context, const struct address *address)
{
    (void)context;
    int one = 1;
    int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, &address->any, address->len) == 0 || errno == EINPROGRESS)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

int tef_connect_udp(void *context, const struct address *address)
{
    (void)context;
    int fd = socket(address->any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, &address->any, address->len) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static void fail(struct tef_channel *channel, int result, const char *why)
{
    channel->state = CHANNEL_CLOSED;
    (void)event_del(channel->readable);
    (void)event_del(channel->writable);
    (void)event_del(channel->timer);
    (void)event_del(channel->flight);
    channel->owner.closed(channel->owner.context, result, why);
}

static void want_write(struct tef_channel *channel)
{
    (void)event_add(channel->writable, NULL);
}

static void flush(struct tef_channel *channel)
{
    char why[TEF_ERROR_MAX] = "";
    while (channel->out_sent < channel->out_len) {
        bool write;
        size_t left = channel->attempt > 0 ? channel->attempt : channel->out_len - channel->out_sent;
        int n = wolfSSL_write(channel->session, channel->out + channel->out_sent, (int)left);
        if (n <= 0) {
            int rc = tef_tls_result(channel->session, n, &write, why);
            if (rc != SAGATE_AGAIN) {
                fail(channel, rc, why);
                return;
            }
            channel->attempt = left;
            if (write)
                want_write(channel);
            return;
        }
        channel->attempt = 0;
        channel->out_sent += (size_t)n;
    }
    channel->out_len = channel->out_sent = 0;
}

static void await_flight(struct tef_channel *channel)
{
    struct timeval wait = {.tv_sec = wolfSSL_dtls_get_current_timeout(channel->session)};
    if (tef_tls_is_datagram(channel->tls))
        (void)event_add(channel->flight, &wait);
}

static void handshake(struct tef_channel *channel)
{
    char why[TEF_ERROR_MAX] = "";
    bool write = false;
    int rc = tef_tls_connect(channel->tls, channel->session, &write, why);
    if (rc == SAGATE_AGAIN) {
        if (write)
            want_write(channel);
        await_flight(channel);
        return;
    }
    if (rc != SAGATE_DONE) {
        fail(channel, rc, why);
        return;
    }
    // The last flight of DTLS 1.3 is acknowledged (RFC 9147 5.8.3), and goes out again until then.
    channel->state = CHANNEL_OPEN;
    await_flight(channel);
    (void)event_del(channel->timer);
    channel->owner.open(channel->owner.context, wolfSSL_get_version(channel->session),
                        wolfSSL_get_cipher_name(channel->session));
}

// False when the channel failed or its owner gave it up, and with it may be gone.
static bool receive(struct tef_channel *channel)
{
    uint8_t chunk[CHUNK];
    char why[TEF_ERROR_MAX] = "";
    bool write, gone = false;
    int n = 1;
    // cppcheck-suppress autoVariables; it is taken back before the end, where the channel is still there
    channel->gone = &gone;
    // A bound, so that other channels have their turn; the library may hold bytes for which no event comes.
    for (unsigned i = 0; n > 0 && !gone && i < READS; i++) {
        n = wolfSSL_read(channel->session, chunk, sizeof chunk);
        if (n > 0) {
            (void)event_del(channel->flight); // the TEF has the whole handshake
            channel->owner.bytes(channel->owner.context, slice_of(chunk, (size_t)n));
        }
    }
    secret_zero(chunk, sizeof chunk);
    if (gone)
        return false;
    channel->gone = NULL;
    if (n > 0) {
        if (wolfSSL_pending(channel->session) > 0)
            event_active(channel->readable, EV_READ, 0);
        return true;
    }
    int rc = tef_tls_result(channel->session, n, &write, why);
    if (rc == SAGATE_AGAIN) {
        if (write)
            want_write(channel);
        return true;
    }
    fail(channel, rc, why);
    return false;
}

static void connected(struct tef_channel *channel)
{
    int error = 0;
    char why[TEF_ERROR_MAX];
    socklen_t len = sizeof error;
    if (getsockopt(channel->socket.fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    if (error != 0) {
        (void)snprintf(why, sizeof why, "connecting failed: %s", strerror(error));
        fail(channel, SAGATE_EUNAVAILABLE, why);
        return;
    }
    channel->state = CHANNEL_HANDSHAKE;
    (void)event_add(channel->readable, NULL);
    handshake(channel);
}

static void on_event(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    struct tef_channel *channel = context;
    switch (channel->state) {
    case CHANNEL_CONNECTING:
        connected(channel);
        break;
    case CHANNEL_HANDSHAKE:
        handshake(channel);
        break;
    case CHANNEL_OPEN:
        // Read first: where the TEF has hung up, its alert says why, and a write would only fail.
        if (receive(channel) && (what & EV_WRITE) != 0)
            flush(channel);
        break;
    case CHANNEL_CLOSED:
        break;
    }
}

static void on_timeout(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct tef_channel *channel = context;
    char why[TEF_ERROR_MAX] = "connecting took too long";
    int result = channel->state == CHANNEL_CONNECTING ? SAGATE_EUNAVAILABLE
                                                      : tef_tls_silence(channel->tls, &channel->socket, why);
    fail(channel, result, why);
}

static void on_flight(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct tef_channel *channel = context;
    if (wolfSSL_dtls_got_timeout(channel->session) == WOLFSSL_SUCCESS || channel->state == CHANNEL_HANDSHAKE)
        await_flight(channel); // the deadline of the handshake, and that of requests, end it
}

struct tef_channel *tef_channel_new(struct event_base *base, struct tef_tls *tls, int fd, unsigned timeout_ms,
                                    const struct tef_channel_owner *owner)
{
    struct timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000};
    struct tef_channel *channel = calloc(1, sizeof *channel);
    if (channel == NULL) {
        close(fd);
        return NULL;
    }
    channel->socket.fd = fd;
    channel->tls = tls;
    channel->owner = *owner;
    channel->session = tef_tls_session(tls, &channel->socket);
    channel->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_event, channel);
    channel->writable = event_new(base, fd, EV_WRITE, on_event, channel);
    channel->timer = evtimer_new(base, on_timeout, channel);
    channel->flight = evtimer_new(base, on_flight, channel);
    if (channel->session == NULL || channel->readable == NULL || channel->writable == NULL || channel->timer == NULL ||
        channel->flight == NULL || event_add(channel->writable, NULL) != 0 ||
        event_add(channel->timer, &timeout) != 0) {
        tef_channel_free(channel);
        return NULL;
    }
    return channel;
}

void tef_channel_free(struct tef_channel *channel)
{
    if (channel == NULL)
        return;
    if (channel->gone != NULL)
        *channel->gone = true;
    if (channel->state == CHANNEL_OPEN)
        (void)wolfSSL_shutdown(channel->session);
    if (channel->readable != NULL)
        event_free(channel->readable);
    if (channel->writable != NULL)
        event_free(channel->writable);
    if (channel->timer != NULL)
        event_free(channel->timer);
    if (channel->flight != NULL)
        event_free(channel->flight);
    wolfSSL_free(channel->session);
    close(channel->socket.fd);
    free(channel->out);
    free(channel);
}

int tef_channel_send(struct tef_channel *channel, struct slice bytes)
{
    if (tef_tls_is_datagram(channel->tls)) {
        (void)wolfSSL_write(channel->session, bytes.data, (int)bytes.len); // reading tells what is wrong with it
        return SAGATE_OK;
    }
    if (channel->out_len + bytes.len > channel->out_cap) {
        size_t cap = 2 * (channel->out_len + bytes.len);
        uint8_t *grown = realloc(channel->out, cap);
        if (grown == NULL)
            return SAGATE_ENOMEM;
        channel->out = grown;
        channel->out_cap = cap;
    }
    memcpy(channel->out + channel->out_len, bytes.data, bytes.len);
    channel->out_len += bytes.len;
    want_write(channel); // several requests of one turn go into one record
    return SAGATE_OK;
}
