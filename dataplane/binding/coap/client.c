// The message layer towards CSEs: connected sockets, Message IDs, retransmission, deadlines, and matching of answers.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "common/log.h"
#include "dataplane/binding/coap/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// --- sockets and servers -----------------------------------------------------------------------------------------

static bool open_socket(struct coap *coap, const struct address *to, struct upstream_socket *out)
{
    int fd = socket(to->any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    if (connect(fd, &to->any, to->len) != 0 || io_add_datagram(coap->io, fd, &out->user, &out->id) != SAGATE_OK) {
        int reason = errno;
        (void)close(fd);
        errno = reason;
        return false;
    }
    out->open = true;
    return true;
}

bool client_open(struct server *server)
{
    bool all = true;
    for (unsigned i = 0; i < server->socket_count && all; i++)
        all = server->sockets[i].open || open_socket(server->coap, &server->config->coap, &server->sockets[i]);
    if (!all && !server->failed)
        log_warning("upstream %s: a CoAP socket towards server %s cannot be opened: %s", server->upstream->name,
                    server->config->name, strerror(errno));
    server->failed = !all;
    return all;
}

static void init_socket(struct server *server, unsigned number)
{
    struct upstream_socket *socket = &server->sockets[number];
    socket->user.kind = server->coap->io_user_kind;
    socket->server = server;
    socket->number = number;
    socket->next_mid = (uint16_t)coap_random(server->coap);
}

struct upstream_socket *client_open_extra(struct server *server)
{
    unsigned number = server->socket_count + server->extra_count;
    if (number >= SERVER_SOCKETS_MAX)
        return NULL;
    init_socket(server, number);
    if (!open_socket(server->coap, &server->config->coap, &server->sockets[number]))
        return NULL;
    server->extra_count++;
    return &server->sockets[number];
}

static void server_close(struct server *server)
{
    if (server == NULL)
        return;
    timer_cancel(&server->probe.timer);
    for (unsigned i = 0; i < server->socket_count + server->extra_count; i++) {
        if (server->sockets[i].open)
            io_remove(server->coap->io, server->sockets[i].id);
    }
    free(server->sockets);
    free(server);
}

static unsigned ports_of(const struct config_upstream *upstream)
{
    return upstream->coap_source_ports == 0 ? 1 : upstream->coap_source_ports;
}

// A server with its sockets not open yet; NULL when memory is short.
static struct server *server_new(struct coap *coap, const struct config_upstream *upstream)
{
    struct server *server = calloc(1, sizeof *server);
    unsigned count = ports_of(upstream);
    if (server == NULL)
        return NULL;
    server->coap = coap;
    server->sockets = calloc(SERVER_SOCKETS_MAX, sizeof *server->sockets);
    if (server->sockets == NULL) {
        free(server);
        return NULL;
    }
    server->socket_count = count;
    for (unsigned i = 0; i < count; i++)
        init_socket(server, i);
    return server;
}

static bool same_server(const struct server *server, const struct config_upstream *upstream,
                        const struct config_server *config)
{
    return strcmp(server->upstream->name, upstream->name) == 0 && strcmp(server->config->name, config->name) == 0 &&
           address_equal(&server->config->coap, &config->coap);
}

// Exchanges with a server that is no longer configured end here. `successor`: the same server under the new
// configuration, with other sockets; upstream.h keeps its count of requests in flight. A removed server has none.
static void server_fail(struct server *server, const struct config_server *successor, uint64_t now_ms)
{
    struct coap *coap = server->coap;
    transfers_forget_server(&coap->transfers, server);
    for (unsigned i = 0; i < server->socket_count + server->extra_count; i++) {
        while (server->sockets[i].exchanges != NULL) {
            struct exchange *exchange = server->sockets[i].exchanges;
            if (exchange->cse != CSE_DONE && successor != NULL)
                upstream_end(coap->upstreams, successor, CONFIG_COAP, UPSTREAM_UNTOLD, 0);
            client_detach(exchange);
            coap_count(coap, STAT_REFUSED_UNAVAILABLE);
            exchange_answer_own(exchange, COAP_UNAVAILABLE, RSC_TARGET_NOT_REACHABLE, "the path to the CSE was closed",
                                UNAVAILABLE_MAX_AGE, now_ms);
        }
    }
}

// Finds or makes the server of one row of the configuration.
static int plan_row(struct coap *coap, const struct config *config, size_t upstream, size_t row,
                    struct client_plan *plan)
{
    const struct config_upstream *of = &config->upstreams[upstream];
    size_t at = plan->count;
    for (size_t i = 0; i < coap->server_count && plan->servers[at] == NULL; i++) {
        if (same_server(coap->servers[i], of, &of->servers[row]) && coap->servers[i]->socket_count == ports_of(of)) {
            plan->servers[at] = coap->servers[i];
            plan->kept[at] = true;
        }
    }
    if (plan->servers[at] == NULL)
        plan->servers[at] = server_new(coap, of);
    if (plan->servers[at] == NULL)
        return SAGATE_ENOMEM;
    plan->configs[at] = &of->servers[row];
    plan->upstreams[at] = upstream;
    plan->count++;
    return SAGATE_OK;
}

int client_prepare(struct coap *coap, const struct config *config, struct client_plan *plan)
{
    *plan = (struct client_plan){0};
    for (size_t i = 0; i < config->upstream_count; i++) {
        for (size_t j = 0; j < config->upstreams[i].server_count; j++) {
            // A configuration has at most CONFIG_SERVERS_MAX servers in all.
            if (!config->upstreams[i].servers[j].has_coap || plan->count == CONFIG_SERVERS_MAX)
                continue;
            if (plan_row(coap, config, i, j, plan) != SAGATE_OK) {
                client_discard(plan);
                return SAGATE_ENOMEM;
            }
        }
    }
    return SAGATE_OK;
}

void client_discard(struct client_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        if (!plan->kept[i])
            server_close(plan->servers[i]);
    }
    plan->count = 0;
}

// Ends the servers that the plan does not keep.
static void close_others(struct coap *coap, const struct config *config, const struct client_plan *plan,
                         uint64_t now_ms)
{
    for (size_t i = 0; i < coap->server_count; i++) {
        bool kept = false;
        const struct config_server *successor = NULL;
        for (size_t j = 0; j < plan->count; j++) {
            kept = kept || plan->servers[j] == coap->servers[i];
            if (same_server(coap->servers[i], &config->upstreams[plan->upstreams[j]], plan->configs[j]))
                successor = plan->configs[j];
        }
        if (kept)
            continue;
        server_fail(coap->servers[i], successor, now_ms);
        server_close(coap->servers[i]);
    }
}

void client_commit(struct coap *coap, const struct config *config, const struct client_plan *plan, uint64_t now_ms)
{
    close_others(coap, config, plan, now_ms);
    coap->server_count = plan->count;
    for (size_t i = 0; i < plan->count; i++) {
        struct server *server = plan->servers[i];
        const struct config_upstream *upstream = &config->upstreams[plan->upstreams[i]];
        coap->servers[i] = server;
        server->config = plan->configs[i];
        server->upstream_index = plan->upstreams[i];
        server->upstream = upstream;
        if (plan->kept[i] || client_open(server))
            continue;
        // No check is needed to know it: as many failed ones as make a server unhealthy at once.
        for (unsigned n = 0; n == 0 || n < upstream->health_fall; n++)
            upstream_health_result(coap->upstreams, server->config, CONFIG_COAP, false);
    }
}

void client_close(struct coap *coap)
{
    for (size_t i = 0; i < coap->server_count; i++)
        server_close(coap->servers[i]);
    coap->server_count = 0;
}

struct server *client_server(struct coap *coap, const struct config_server *config)
{
    for (size_t i = 0; i < coap->server_count; i++) {
        if (coap->servers[i]->config == config)
            return coap->servers[i];
    }
    return NULL;
}

struct server *client_server_of(struct coap *coap, const void *server)
{
    for (size_t i = 0; i < coap->server_count; i++) {
        if (coap->servers[i] == server)
            return coap->servers[i];
    }
    return NULL;
}

// --- sending -----------------------------------------------------------------------------------------------------

static struct exchange *by_mid(const struct upstream_socket *socket, uint16_t mid)
{
    struct exchange *at = socket->by_mid[mid % MID_BUCKETS];
    while (at != NULL && at->cse_mid != mid)
        at = at->mid_next;
    return at;
}

uint16_t client_mid(struct upstream_socket *socket, uint64_t now_ms)
{
    uint16_t mid = socket->next_mid++;
    // A Message ID whose exchange still waits would match two answers; there are far fewer of those than numbers.
    for (unsigned i = 0; i < UINT16_MAX && by_mid(socket, mid) != NULL; i++)
        mid = socket->next_mid++;
    uint64_t *used = &socket->mid_block_used_ms[mid >> 8];
    if ((mid & 0xffU) == 0)
        socket->mid_block_reused = *used != 0 && now_ms - *used < EXCHANGE_LIFETIME_MS;
    *used = now_ms == 0 ? 1 : now_ms;
    if (socket->mid_block_reused)
        coap_count(socket->server->coap, STAT_COAP_MESSAGE_IDS_REUSED);
    return mid;
}

void client_send(struct coap *coap, struct upstream_socket *socket, const uint8_t *data, size_t len)
{
    uint8_t *out = socket->open ? io_datagram_reserve(coap->io, len) : NULL;
    if (out == NULL)
        return;
    memcpy(out, data, len);
    (void)io_datagram_commit(coap->io, socket->id, NULL, len);
}

static void send_empty(struct upstream_socket *socket, enum coap_type type, uint16_t mid)
{
    uint8_t empty[COAP_HEAD];
    coap_write_empty(empty, type, mid);
    client_send(socket->server->coap, socket, empty, sizeof empty);
}

void client_attach(struct exchange *exchange, struct upstream_socket *socket)
{
    exchange->socket = socket;
    exchange->socket_next = socket->exchanges;
    exchange->socket_link = &socket->exchanges;
    if (socket->exchanges != NULL)
        socket->exchanges->socket_link = &exchange->socket_next;
    socket->exchanges = exchange;
}

static void forget_mid(struct exchange *exchange)
{
    struct exchange **link = &exchange->socket->by_mid[exchange->cse_mid % MID_BUCKETS];
    timer_cancel(&exchange->cse_timer);
    while (*link != NULL && *link != exchange)
        link = &(*link)->mid_next;
    if (*link == exchange)
        *link = exchange->mid_next;
}

static void settle_transfer(struct exchange *exchange, uint64_t now_ms)
{
    if (exchange->transfer != NULL)
        transfer_settled(exchange->transfer, now_ms);
    exchange->transfer = NULL;
}

// The accounting of a request that waits for a CSE no longer.
static void finish(struct exchange *exchange)
{
    if (exchange->cse == CSE_SENT)
        forget_mid(exchange);
    exchange->cse = CSE_DONE;
    exchange->coap->in_flight--;
    if (exchange->peer != NULL && exchange->peer->device->in_flight > 0)
        exchange->peer->device->in_flight--;
    settle_transfer(exchange, 0);
    timer_cancel(&exchange->deadline);
}

void client_end(struct exchange *exchange, enum upstream_outcome outcome, uint64_t now_us)
{
    if (exchange->cse == CSE_DONE)
        return;
    settle_transfer(exchange, now_us / 1000);
    finish(exchange);
    upstream_end(exchange->coap->upstreams, exchange->socket->server->config, CONFIG_COAP, outcome,
                 now_us > exchange->sent_us ? now_us - exchange->sent_us : 0);
}

void client_detach(struct exchange *exchange)
{
    if (exchange->socket == NULL)
        return;
    if (exchange->cse != CSE_DONE)
        finish(exchange);
    *exchange->socket_link = exchange->socket_next;
    if (exchange->socket_next != NULL)
        exchange->socket_next->socket_link = exchange->socket_link;
    exchange->socket = NULL;
}

// What the CSE has of this transfer is not known, so that no further block may join it.
static void end_transfer(struct exchange *exchange)
{
    if (exchange->transfer != NULL)
        transfer_forget(exchange->transfer);
}

static void fail(struct exchange *exchange, uint8_t code, int rsc, const char *debug, uint64_t now_ms)
{
    end_transfer(exchange);
    coap_count(exchange->coap, rsc == RSC_REQUEST_TIMEOUT ? STAT_REFUSED_TIMEOUT : STAT_REFUSED_UNAVAILABLE);
    client_end(exchange, rsc == RSC_REQUEST_TIMEOUT ? UPSTREAM_UNTOLD : UPSTREAM_FAILED, now_ms * 1000);
    exchange_answer_own(exchange, code, rsc, debug, rsc == RSC_REQUEST_TIMEOUT ? 0 : UNAVAILABLE_MAX_AGE, now_ms);
}

static void fire_deadline(struct timer *timer, void *context, uint64_t now_ms)
{
    (void)timer;
    fail(context, COAP_GATEWAY_TIMEOUT, RSC_REQUEST_TIMEOUT, "the CSE did not answer in time", now_ms);
}

static void fire_retransmission(struct timer *timer, void *context, uint64_t now_ms)
{
    struct exchange *exchange = context;
    if (exchange->cse_tries == MAX_RETRANSMIT) {
        fail(exchange, COAP_GATEWAY_TIMEOUT, RSC_REQUEST_TIMEOUT, "the CSE did not answer in time", now_ms);
        return;
    }
    exchange->cse_tries++;
    exchange->cse_wait_ms *= 2;
    coap_count(exchange->coap, STAT_COAP_RETRANSMISSIONS_UPSTREAM);
    client_send(exchange->coap, exchange->socket, exchange->buffer->data, exchange->buffer->len);
    timer_set(exchange->coap->wheel, timer, now_ms + exchange->cse_wait_ms);
}

void client_begin(struct exchange *exchange, struct upstream_socket *socket, uint64_t now_us)
{
    struct coap *coap = exchange->coap;
    struct exchange **bucket = &socket->by_mid[exchange->cse_mid % MID_BUCKETS];
    uint64_t now_ms = now_us / 1000;
    client_detach(exchange); // of the observation that it may have been
    client_attach(exchange, socket);
    exchange->cse = CSE_SENT;
    exchange->mid_next = *bucket;
    *bucket = exchange;
    exchange->sent_us = now_us;
    exchange->cse_tries = 0;
    exchange->cse_wait_ms = coap_ack_timeout(coap);
    exchange->cse_timer = (struct timer){.fire = fire_retransmission, .context = exchange};
    exchange->deadline = (struct timer){.fire = fire_deadline, .context = exchange};
    timer_set(coap->wheel, &exchange->cse_timer, now_ms + exchange->cse_wait_ms);
    timer_set(coap->wheel, &exchange->deadline, now_ms + socket->server->upstream->request_milliseconds);
    coap->in_flight++;
    exchange->peer->device->in_flight++;
    client_send(coap, socket, exchange->buffer->data, exchange->buffer->len);
}

// --- receiving ---------------------------------------------------------------------------------------------------

static void malformed(struct coap *coap)
{
    coap_count(coap, STAT_COAP_UPSTREAM_MALFORMED);
}

// True when a message of the CSE with that Message ID was taken before (RFC 7252 section 4.5); else it is now.
static bool taken_before(struct upstream_socket *socket, uint16_t mid, uint64_t now_ms)
{
    for (unsigned i = 0; i < RECENT_MAX; i++) {
        if (socket->recent[i].mid == mid && socket->recent[i].until_ms > now_ms)
            return true;
    }
    socket->recent[socket->recent_at].mid = mid;
    socket->recent[socket->recent_at].until_ms = now_ms + EXCHANGE_LIFETIME_MS;
    socket->recent_at = (socket->recent_at + 1) % RECENT_MAX;
    return false;
}

// The message that was just taken is rejected after all: a repetition is to be rejected as well.
static void take_back(struct upstream_socket *socket)
{
    socket->recent[(socket->recent_at + RECENT_MAX - 1) % RECENT_MAX].until_ms = 0;
}

static void show_to_pep(struct exchange *exchange)
{
    struct coap *coap = exchange->coap;
    const struct server *server = exchange->socket->server;
    if (exchange->pending.kind == 0 || exchange->principal == NULL || coap->answer.rsc == 0)
        return;
    pep_answer(coap->pep, exchange->principal, server->upstream_index, server->upstream, &exchange->pending,
               coap->answer.rsc, coap->answer.payload);
    exchange->pending.kind = 0;
}

// coap->answer is the CSE's answer or notification, translated.
static void answered(struct exchange *exchange, const struct coap_message *message, uint64_t now_us)
{
    bool lasting = coap_class(message->code) == 2 && coap_find(message, COAP_OBSERVE) != NULL;
    bool observing = lasting && (exchange->cse != CSE_DONE ? exchange->registers : exchange->observing);
    show_to_pep(exchange);
    if (coap_class(message->code) != 2)
        end_transfer(exchange);
    client_end(exchange, UPSTREAM_ANSWERED, now_us);
    exchange_answer(exchange, message->type == COAP_NON ? COAP_NON : COAP_CON, observing, now_us / 1000);
}

// Which exchange a response belongs to; NULL: none, it has been dealt with.
static struct exchange *match(struct upstream_socket *socket, const struct coap_message *message, uint64_t now_ms)
{
    struct coap *coap = socket->server->coap;
    struct exchange *exchange = exchange_by_token(coap, &message->token);
    bool known = exchange != NULL && exchange->socket == socket;
    if (message->type == COAP_ACK) {
        if (known && exchange->cse == CSE_SENT && exchange->cse_mid == message->mid)
            return exchange;
        malformed(coap);
        return NULL;
    }
    if (taken_before(socket, message->mid, now_ms)) {
        if (message->type == COAP_CON)
            send_empty(socket, COAP_ACK, message->mid);
        return NULL;
    }
    if (known && (exchange->cse != CSE_DONE || exchange->observing))
        return exchange;
    // Also how an observation is cancelled whose device has gone (RFC 7641 section 3.6).
    malformed(coap);
    take_back(socket);
    send_empty(socket, COAP_RST, message->mid);
    return NULL;
}

static void response(struct upstream_socket *socket, const struct coap_message *message, uint64_t now_us)
{
    struct coap *coap = socket->server->coap;
    struct exchange *exchange = match(socket, message, now_us / 1000);
    if (exchange == NULL)
        return;
    enum numbering from =
        socket->server->upstream->coap_numbering == CONFIG_NUMBERING_OLD ? NUMBERING_OLD : NUMBERING_CURRENT;
    struct answer_echo echo = exchange_echo(exchange);
    if (answer_translate(message, from, &echo, &coap->answer) != SAGATE_OK) {
        malformed(coap);
        if (message->type != COAP_ACK)
            take_back(socket);
        if (message->type == COAP_CON)
            send_empty(socket, COAP_RST, message->mid);
        return;
    }
    if (message->type == COAP_CON)
        send_empty(socket, COAP_ACK, message->mid);
    answered(exchange, message, now_us);
}

static void empty(struct upstream_socket *socket, const struct coap_message *message, uint64_t now_ms)
{
    if (message->type == COAP_CON) {
        send_empty(socket, COAP_RST, message->mid);
        return;
    }
    struct exchange *exchange = by_mid(socket, message->mid);
    if (exchange == NULL) {
        malformed(socket->server->coap);
    } else if (message->type == COAP_ACK) {
        forget_mid(exchange);
        exchange->cse = CSE_ACKNOWLEDGED;
        exchange_drop_buffer(exchange);
    } else {
        fail(exchange, COAP_UNAVAILABLE, RSC_TARGET_NOT_REACHABLE, "the CSE rejected the request", now_ms);
    }
}

static void socket_error(struct upstream_socket *socket, uint64_t now_ms)
{
    health_error(socket);
    struct exchange *at = socket->exchanges;
    while (at != NULL) {
        struct exchange *next = at->socket_next;
        if (at->cse != CSE_DONE)
            fail(at, COAP_UNAVAILABLE, RSC_TARGET_NOT_REACHABLE, "the CSE cannot be reached", now_ms);
        at = next;
    }
}

void coap_from_upstream(struct coap *coap, const struct io_event *event, uint64_t now_us)
{
    struct upstream_socket *socket = (struct upstream_socket *)(void *)event->user;
    struct coap_message *message = &coap->message;
    if (event->type == IO_DATAGRAM_ERROR) {
        socket_error(socket, now_us / 1000);
        return;
    }
    if (event->type != IO_DATAGRAM)
        return;
    int status = coap_parse(event->data, event->len, message);
    if (status != SAGATE_OK || coap_is_request(message->code)) {
        malformed(coap);
        if (status != SAGATE_EINVAL && message->type == COAP_CON)
            send_empty(socket, COAP_RST, message->mid);
        return;
    }
    if (health_received(socket, message)) {
        if (message->type == COAP_CON)
            send_empty(socket, COAP_ACK, message->mid);
    } else if (message->code == 0) {
        empty(socket, message, now_us / 1000);
    } else {
        response(socket, message, now_us);
    }
}
