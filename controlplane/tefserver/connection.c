// A connection from its handshake to its end.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/tefserver/connection.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/secret.h"
#include "controlplane/tefserver/message.h"
#include "controlplane/tefserver/peer.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

#include <stdlib.h>
#include <string.h>

enum { OUTPUT_MAX = 1 << 20, WAITING_MAX = 1024, READ_MAX = 16384 };

// An answer that waits for its time (answer_delay_milliseconds).
struct waiting {
    struct waiting *next;
    uint64_t due_ms;
    struct buffer bytes;
    bool last;
};

struct connection {
    struct server *server;
    const struct settings_function *function;
    struct connection **link, *next; // the server's list
    struct bufferevent *socket;
    struct event *timer; // deadline of the handshake, then the next answer
    struct handshake *handshake;
    struct record *record;
    struct message message;
    struct peer peer;
    struct waiting *first, **last;
    unsigned waiting_count;
    bool refusing; // nothing more is read
    bool ending;   // ends when everything is sent
    bool dead;
};

static void wipe(struct buffer *buffer)
{
    if (buffer->data != NULL)
        secret_zero(buffer->data, buffer->cap);
    buffer_release(buffer);
}

void connection_free(struct connection *connection)
{
    handshake_free(connection->handshake);
    record_free(connection->record);
    message_release(&connection->message);
    peer_release(&connection->peer);
    while (connection->first != NULL) {
        struct waiting *waiting = connection->first;
        connection->first = waiting->next;
        wipe(&waiting->bytes);
        free(waiting);
    }
    if (connection->timer != NULL)
        event_free(connection->timer);
    if (connection->socket != NULL)
        bufferevent_free(connection->socket);
    if (connection->next != NULL)
        connection->next->link = connection->link;
    *connection->link = connection->next;
    connection->server->counts->connections--;
    free(connection);
}

// At the end of every callback: nothing of the connection is used behind it.
static void settle(struct connection *connection)
{
    bool sent = evbuffer_get_length(bufferevent_get_output(connection->socket)) == 0;
    if (connection->dead || (connection->ending && sent))
        connection_free(connection);
}

static int send_bytes(void *context, const uint8_t *data, size_t len)
{
    struct connection *connection = context;
    if (evbuffer_get_length(bufferevent_get_output(connection->socket)) > OUTPUT_MAX ||
        bufferevent_write(connection->socket, data, len) != 0)
        return SAGATE_EGONE;
    return SAGATE_OK;
}

// --- Answers -----------------------------------------------------------------------------------------------------

static void end(struct connection *connection)
{
    if (connection->record != NULL && !connection->ending)
        record_close(connection->record);
    connection->ending = true;
}

static void send_answer(struct connection *connection, struct buffer *bytes, bool last)
{
    if (bytes->failed || record_seal(connection->record, bytes->data, bytes->len) < 0)
        connection->dead = true;
    wipe(bytes);
    if (last)
        end(connection);
}

static void wait_for_next(struct connection *connection)
{
    if (connection->first == NULL)
        return;
    uint64_t now = clock_ms();
    uint64_t left = connection->first->due_ms > now ? connection->first->due_ms - now : 0;
    const struct timeval wait = {.tv_sec = (time_t)(left / 1000), .tv_usec = (suseconds_t)(left % 1000 * 1000)};
    (void)event_add(connection->timer, &wait);
}

static void hold_answer(struct connection *connection, struct buffer *bytes, bool last)
{
    struct waiting *waiting = calloc(1, sizeof *waiting);
    if (waiting == NULL || connection->waiting_count >= WAITING_MAX) {
        free(waiting);
        wipe(bytes);
        connection->dead = true;
        return;
    }
    waiting->due_ms = clock_ms() + connection->server->settings->answer_delay_milliseconds;
    waiting->bytes = *bytes;
    waiting->last = last;
    bool alone = connection->first == NULL;
    *connection->last = waiting;
    connection->last = &waiting->next;
    connection->waiting_count++;
    if (alone)
        wait_for_next(connection);
}

static void answer(struct connection *connection, const struct procedure_answer *answer, struct slice id, bool last)
{
    struct buffer bytes = {0};
    struct server *server = connection->server;
    counts_answer(server->counts, answer);
    audit_write(server->audit, connection->function->fqdn, connection->peer.client_id, answer);
    message_answer(answer, id, last, &bytes);
    connection->refusing |= last;
    if (server->settings->answer_delay_milliseconds > 0)
        hold_answer(connection, &bytes, last);
    else
        send_answer(connection, &bytes, last);
}

static void send_due(struct connection *connection)
{
    uint64_t now = clock_ms();
    while (connection->first != NULL && connection->first->due_ms <= now && !connection->dead) {
        struct waiting *waiting = connection->first;
        connection->first = waiting->next;
        if (connection->first == NULL)
            connection->last = &connection->first;
        connection->waiting_count--;
        send_answer(connection, &waiting->bytes, waiting->last);
        free(waiting);
    }
    if (connection->first == NULL && connection->refusing)
        end(connection); // the client had ended before its answers were due
    wait_for_next(connection);
}

// --- Requests ----------------------------------------------------------------------------------------------------

static void run_request(struct connection *connection)
{
    struct server *server = connection->server;
    struct message *message = &connection->message;
    struct procedure_answer made;
    const struct procedure_peer peer = {
        .client_id = connection->peer.client_id, .exported = connection->peer.exported, .km = connection->peer.km};
    procedure_run(server->settings, connection->function, server->store, &peer, &message->request, clock_wall(), &made);
    answer(connection, &made, message->id, message->close);
    procedure_answer_release(&made);
    message_release(message);
    message_init(message);
}

static void take_plaintext(struct connection *connection, const uint8_t *data, size_t len)
{
    while (len > 0 && !connection->refusing && !connection->dead) {
        size_t used = 0;
        int result = message_feed(&connection->message, data, len, &used);
        data += used;
        len -= used;
        if (result == SAGATE_OK) {
            run_request(connection);
        } else if (result != SAGATE_AGAIN) {
            const struct procedure_answer refusal = {.rsc = message_refusal(result)};
            answer(connection, &refusal, connection->message.id, true);
        }
    }
}

static void peer_done(struct connection *connection)
{
    connection->refusing = true;
    if (connection->first == NULL)
        end(connection);
}

static void pump(struct connection *connection)
{
    static uint8_t plaintext[RECORD_PLAINTEXT_MAX]; // one thread; wiped below
    while (!connection->dead && !connection->ending) {
        int status;
        size_t len = record_open(connection->record, plaintext, sizeof plaintext, &status);
        if (status == SAGATE_OK) {
            take_plaintext(connection, plaintext, len);
            secret_zero(plaintext, len);
            continue;
        }
        if (status == SAGATE_DONE)
            peer_done(connection);
        else if (status != SAGATE_AGAIN)
            connection->dead = true;
        if (status != SAGATE_ERECORD)
            return;
    }
}

// --- Handshake ---------------------------------------------------------------------------------------------------

static void established(struct connection *connection)
{
    struct handshake *handshake = connection->handshake;
    connection->handshake = NULL;
    bool known = peer_take(connection->server, connection->function, handshake, &connection->peer, &connection->record);
    if (connection->record == NULL) {
        connection->dead = true;
    } else if (!known) {
        peer_done(connection);
    } else {
        (void)event_del(connection->timer);
        pump(connection);
    }
}

static void on_resolved(void *context, const struct tef_key *km);

static void go_on(struct connection *connection, int result)
{
    while (result == SAGATE_PARKED && connection->peer.wait == NULL)
        result = peer_resolve(connection->server, connection->function, connection->handshake, &connection->peer,
                              on_resolved, connection);
    if (result == SAGATE_DONE) {
        established(connection);
    } else if (result != SAGATE_AGAIN && result != SAGATE_PARKED) {
        peer_failed(connection->server, connection->function, connection->handshake);
        connection->refusing = connection->ending = true; // an alert may still be on its way
    }
}

static void on_resolved(void *context, const struct tef_key *km)
{
    struct connection *connection = context;
    go_on(connection, peer_resolved(connection->handshake, &connection->peer, km));
    settle(connection);
}

static void shake_hands(struct connection *connection, const uint8_t *data, size_t len)
{
    go_on(connection, handshake_run(connection->handshake, data, len));
}

// --- Events ------------------------------------------------------------------------------------------------------

static void on_read(struct bufferevent *socket, void *context)
{
    struct connection *connection = context;
    uint8_t bytes[READ_MAX];
    size_t len;
    while (!connection->dead && !connection->ending && (len = bufferevent_read(socket, bytes, sizeof bytes)) > 0) {
        if (connection->record == NULL) {
            shake_hands(connection, bytes, len);
            continue;
        }
        if (record_input(connection->record, bytes, len) != SAGATE_OK)
            connection->dead = true;
        else
            pump(connection);
    }
    settle(connection);
}

static void on_written(struct bufferevent *socket, void *context)
{
    (void)socket;
    settle(context);
}

static void on_event(struct bufferevent *socket, short what, void *context)
{
    struct connection *connection = context;
    (void)socket;
    // After its last byte a client may still wait for answers.
    if ((what & BEV_EVENT_EOF) != 0 && connection->first != NULL)
        connection->refusing = true;
    else
        connection->dead = true;
    settle(connection);
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    struct connection *connection = context;
    (void)fd;
    (void)what;
    if (connection->record == NULL) {
        connection->server->counts->handshakes[COUNTS_FAILED] += connection->ending ? 0 : 1;
        connection->dead = true;
    } else {
        send_due(connection);
    }
    settle(connection);
}

void connection_new(struct server *server, size_t function, evutil_socket_t fd)
{
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) {
        evutil_closesocket(fd);
        return;
    }
    connection->server = server;
    connection->function = &server->settings->functions[function];
    connection->last = &connection->first;
    connection->link = &server->connections;
    connection->next = server->connections;
    if (connection->next != NULL)
        connection->next->link = &connection->next;
    server->connections = connection;
    server->counts->connections++;
    message_init(&connection->message);
    const struct handshake_sink sink = {.send = send_bytes, .context = connection};
    const struct timeval idle = {.tv_sec = (time_t)server->settings->limits.idle_seconds};
    const struct timeval deadline = {.tv_sec = (time_t)server->settings->limits.handshake_seconds};
    connection->socket = bufferevent_socket_new(server->base, fd, BEV_OPT_CLOSE_ON_FREE);
    if (connection->socket == NULL)
        evutil_closesocket(fd);
    connection->timer = evtimer_new(server->base, on_timer, connection);
    if (connection->socket == NULL || connection->timer == NULL || event_add(connection->timer, &deadline) != 0 ||
        handshake_tls_new(server->contexts, function, &sink, &connection->handshake) != SAGATE_OK) {
        connection_free(connection);
        return;
    }
    bufferevent_set_timeouts(connection->socket, &idle, &idle);
    bufferevent_setcb(connection->socket, on_read, on_written, on_event, connection);
    (void)bufferevent_enable(connection->socket, EV_READ | EV_WRITE);
}
