// Health checks of CSEs over CoAP: a ping (empty CON, answered by RST) or a RETRIEVE of the health path.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/binding/coap/state.h"

#include <stdio.h>

enum { REQUEST_ID_MAX = 32 };

static void conclude(struct server *server, bool healthy)
{
    server->probe.active = false;
    timer_cancel(&server->probe.timer);
    upstream_health_result(server->coap->upstreams, server->config, CONFIG_COAP, healthy);
}

static void fire(struct timer *timer, void *context, uint64_t now_ms)
{
    (void)timer;
    (void)now_ms;
    conclude(context, false);
}

// "/a/b?c=d&e" as Uri-Path and Uri-Query.
static void add_target(struct coap_list *list, const char *target)
{
    const char *at = target[0] == '/' ? target + 1 : target;
    uint16_t number = COAP_URI_PATH;
    while (*at != '\0') {
        size_t len = strcspn(at, number == COAP_URI_PATH ? "/?" : "&");
        coap_list_add(list, number, slice_of(at, len));
        at += len;
        if (*at == '?')
            number = COAP_URI_QUERY;
        at += *at != '\0';
    }
}

static int write_request(struct server *server, uint8_t *out, size_t cap)
{
    const struct config_upstream *upstream = server->upstream;
    struct coap *coap = server->coap;
    enum numbering numbering = upstream->coap_numbering == CONFIG_NUMBERING_OLD ? NUMBERING_OLD : NUMBERING_CURRENT;
    char request_id[REQUEST_ID_MAX];
    struct coap_writer writer;
    coap->list.count = 0;
    coap->list.full = false;
    coap->list.scratch_len = 0;
    (void)snprintf(request_id, sizeof request_id, "health-%08x", coap_random(coap));
    add_target(&coap->list, upstream->health_path);
    if (upstream->health_originator[0] != '\0')
        coap_list_add(&coap->list, numbering_rows[ONEM2M_FR].number[numbering],
                      slice_text(upstream->health_originator));
    coap_list_add(&coap->list, numbering_rows[ONEM2M_RQI].number[numbering], slice_text(request_id));
    if (numbering == NUMBERING_CURRENT)
        coap_list_add(&coap->list, numbering_rows[ONEM2M_RVI].number[numbering], slice_text("3"));
    coap_begin(&writer, out, cap, COAP_CON, COAP_GET, server->probe.mid, &server->probe.token);
    coap_list_write(&coap->list, &writer);
    return coap_end(&writer);
}

// A token that no exchange has: those are longer.
static void draw_token(struct server *server)
{
    uint32_t random = coap_random(server->coap);
    server->probe.token.len = sizeof random;
    memcpy(server->probe.token.bytes, &random, sizeof random);
}

// Runs from a timer, since a check is asked for without the time.
static void start(struct timer *timer, void *context, uint64_t now_ms)
{
    struct server *server = context;
    struct probe *probe = &server->probe;
    uint8_t out[IO_DATAGRAM_MAX];
    int len = COAP_HEAD;
    probe->mid = client_mid(&server->sockets[0], now_ms);
    draw_token(server);
    if (probe->ping)
        coap_write_empty(out, COAP_CON, probe->mid);
    else
        len = write_request(server, out, sizeof out);
    timer->fire = fire;
    timer_set(server->coap->wheel, timer, now_ms + server->upstream->health_timeout_milliseconds);
    if (len > 0)
        client_send(server->coap, &server->sockets[0], out, (size_t)len);
}

void health_check(void *context, const struct config_upstream *upstream, const struct config_server *config)
{
    struct coap *coap = context;
    struct server *server = client_server(coap, config);
    if (server == NULL)
        return;
    if (!client_open(server)) {
        upstream_health_result(coap->upstreams, config, CONFIG_COAP, false);
        return;
    }
    if (upstream->coap_health != CONFIG_HEALTH_REQUEST && upstream->coap_health != CONFIG_HEALTH_PING) {
        upstream_health_result(coap->upstreams, config, CONFIG_COAP, true);
        return;
    }
    if (server->probe.active)
        conclude(server, false);
    server->probe.active = true;
    server->probe.ping = upstream->coap_health == CONFIG_HEALTH_PING;
    server->probe.timer = (struct timer){.fire = start, .context = server};
    timer_set(coap->wheel, &server->probe.timer, 0);
}

bool health_received(struct upstream_socket *socket, const struct coap_message *message)
{
    struct probe *probe = &socket->server->probe;
    if (!probe->active || socket->number != 0)
        return false;
    if (message->code == 0) {
        if (message->type == COAP_CON || message->mid != probe->mid)
            return false;
        // A request's empty ACK promises an answer; its RST is a refusal.
        if (probe->ping || message->type == COAP_RST)
            conclude(socket->server, probe->ping);
        return true;
    }
    if (probe->ping || !coap_token_equal(&message->token, &probe->token))
        return false;
    conclude(socket->server, coap_class(message->code) != 5);
    return true;
}

void health_error(struct upstream_socket *socket)
{
    if (socket->number == 0 && socket->server->probe.active)
        conclude(socket->server, false);
}
