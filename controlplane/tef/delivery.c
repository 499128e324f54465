// Requests over CoAP: confirmable messages, sent again until they are acknowledged (RFC 7252 4.2), with a wait that is
// measured (RFC 6298) and as many at once as the way bears (RFC 7252 4.7 leaves more than one to such a mechanism).
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/clock.h"
#include "common/error.h"
#include "common/secret.h"
#include "controlplane/tef/coap.h"
#include "controlplane/tef/internal.h"

#include <stdlib.h>

enum {
    WAIT_FIRST_MS = 1000, // before anything is measured (RFC 6298 2.1)
    WAIT_MIN_MS = 200,
    WAIT_MAX_MS = 8000,
    RETRANSMITS_MAX = 4,
    SILENT_SENDS = 3,  // of one message, without anything coming back: the association is gone
    WINDOW_FIRST = 10, // small messages (RFC 6928 2)
};

struct delivery {
    struct request *request;
    struct tef_exchange *exchange;
    struct event *timer;
    uint64_t sent_us; // the message under way, first
    uint64_t wait_ms;
    unsigned sends;
    bool acknowledged;
};

void delivery_open(struct link *link)
{
    unsigned most = link->client->settings.in_flight;
    link->window = most < WINDOW_FIRST ? most : WINDOW_FIRST;
    link->next_mid = (uint16_t)client_random(link->client, UINT16_MAX);
    link->heard_us = clock_us();
}

bool delivery_heard(const struct link *link, uint64_t since_us)
{
    return link->heard_us >= since_us;
}

void delivery_end(struct request *request)
{
    struct delivery *delivery = request->delivery;
    if (delivery == NULL)
        return;
    request->delivery = NULL;
    if (delivery->timer != NULL)
        event_free(delivery->timer);
    tef_exchange_free(delivery->exchange);
    free(delivery);
}

static void transmit(struct delivery *delivery)
{
    delivery->sends++;
    (void)tef_channel_send(delivery->request->link->channel, tef_exchange_message(delivery->exchange));
    client_timer(delivery->timer, delivery->wait_ms);
}

static void send_next(struct delivery *delivery)
{
    struct link *link = delivery->request->link;
    struct tef_client *client = link->client;
    uint64_t wait = client->wait_ms > 0 ? client->wait_ms : WAIT_FIRST_MS;
    (void)tef_exchange_next(delivery->exchange, link->next_mid++, ++link->next_token);
    delivery->sent_us = clock_us();
    delivery->wait_ms = wait + client_random(client, (uint32_t)wait / 2 + 1); // ACK_RANDOM_FACTOR
    delivery->sends = 0;
    delivery->acknowledged = false;
    transmit(delivery);
}

// What is lost says that the way is full: half as much from here on.
static void slow_down(struct link *link, const struct delivery *delivery)
{
    struct tef_client *client = link->client;
    if (delivery->sends > 1)
        return;
    link->window = link->window > 1 ? link->window / 2 : 1;
    link->answered = 0;
    if (client->wait_ms < delivery->wait_ms)
        client->wait_ms = delivery->wait_ms < WAIT_MAX_MS ? delivery->wait_ms : WAIT_MAX_MS;
}

// RFC 6298 2, from messages that were sent once.
static void measure(struct link *link, const struct delivery *delivery)
{
    struct tef_client *client = link->client;
    uint64_t us = clock_us() - delivery->sent_us;
    if (delivery->sends > 1 || delivery->acknowledged)
        return;
    if (client->rtt_us == 0) {
        client->rtt_us = us > 0 ? us : 1;
        client->rtt_var_us = us / 2;
    } else {
        uint64_t off = us > client->rtt_us ? us - client->rtt_us : client->rtt_us - us;
        client->rtt_var_us = (3 * client->rtt_var_us + off) / 4;
        client->rtt_us = (7 * client->rtt_us + us) / 8;
    }
    uint64_t ms = (client->rtt_us + 4 * client->rtt_var_us) / 1000;
    client->wait_ms = ms < WAIT_MIN_MS ? WAIT_MIN_MS : ms > WAIT_MAX_MS ? WAIT_MAX_MS : ms;
    if (++link->answered >= link->window && link->window < client->settings.in_flight) {
        link->window++;
        link->answered = 0;
    }
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct delivery *delivery = context;
    struct link *link = delivery->request->link;
    if (!delivery_heard(link, delivery->sent_us) && delivery->sends >= SILENT_SENDS) {
        client_silent(link);
    } else if (delivery->sends <= RETRANSMITS_MAX) { // else its deadline ends it
        slow_down(link, delivery);
        delivery->wait_ms *= 2;
        transmit(delivery);
    }
}

int delivery_start(struct request *request, const struct tef_message *message)
{
    struct tef_client *client = request->link->client;
    struct delivery *delivery = calloc(1, sizeof *delivery);
    if (delivery == NULL)
        return SAGATE_ENOMEM;
    request->delivery = delivery;
    delivery->request = request;
    delivery->timer = evtimer_new(client->base, on_timer, delivery);
    int rc = delivery->timer == NULL
                 ? SAGATE_ENOMEM
                 : tef_exchange_new(message, client->settings.profile->coap_numbering, &delivery->exchange);
    if (rc == SAGATE_OK)
        send_next(delivery);
    return rc; // client_finish ends what is not whole
}

// --- What comes --------------------------------------------------------------------------------------------------

static struct request *by_mid(const struct link *link, uint16_t mid)
{
    struct request *request;
    TAILQ_FOREACH(request, &link->sent, in_queue)
    {
        if (tef_exchange_mid(request->delivery->exchange) == mid)
            return request;
    }
    return NULL;
}

static struct request *by_token(const struct link *link, const struct coap_token *token)
{
    struct request *request;
    TAILQ_FOREACH(request, &link->sent, in_queue)
    {
        if (tef_exchange_is(request->delivery->exchange, token))
            return request;
    }
    return NULL;
}

static void send_empty(const struct link *link, enum coap_type type, uint16_t mid)
{
    uint8_t bytes[COAP_HEAD];
    coap_write_empty(bytes, type, mid);
    (void)tef_channel_send(link->channel, slice_of(bytes, sizeof bytes));
}

static void take_empty(struct link *link, const struct coap_message *message)
{
    struct request *request = by_mid(link, message->mid);
    if (message->type == COAP_CON) {
        send_empty(link, COAP_RST, message->mid); // a ping (RFC 7252 4.3)
    } else if (request == NULL) {
        return;
    } else if (message->type == COAP_ACK) { // the answer will come by itself
        measure(link, request->delivery);
        request->delivery->acknowledged = true;
        (void)event_del(request->delivery->timer);
    } else if (message->type == COAP_RST) {
        client_note(link->client, "it refuses a message with a reset");
        client_finish(link->client, request, SAGATE_EUNAVAILABLE, NULL);
    }
}

static void not_understood(struct link *link, struct request *request, const char *why)
{
    client_note(link->client, "the answer is not understood: %s", why);
    client_finish(link->client, request, SAGATE_EMALFORMED, NULL);
}

static void take_answer(struct link *link, struct request *request, const struct coap_message *message)
{
    struct tef_response *response = link->response;
    measure(link, request->delivery);
    int rc = tef_exchange_take(request->delivery->exchange, message, response);
    if (rc == SAGATE_AGAIN)
        send_next(request->delivery);
    else if (rc == SAGATE_DONE)
        client_answered(request, response);
    else if (rc == SAGATE_EMALFORMED)
        not_understood(link, request, response->why);
    else
        client_finish(link->client, request, SAGATE_EUNAVAILABLE, NULL);
    tef_response_reset(response);
}

void delivery_take(struct link *link, struct slice bytes)
{
    static struct coap_message message; // one thread
    int rc = coap_parse(bytes.data, bytes.len, &message);
    link->heard_us = clock_us();
    if (rc == SAGATE_EINVAL)
        return;
    if (rc == SAGATE_OK && message.code == 0) {
        take_empty(link, &message);
        return;
    }
    bool answer = rc == SAGATE_OK && !coap_is_request(message.code);
    struct request *request = answer ? by_token(link, &message.token) : NULL;
    bool piggybacked = message.type == COAP_ACK;
    if (!answer && piggybacked && (request = by_mid(link, message.mid)) != NULL)
        not_understood(link, request, "no CoAP message");
    else if (request == NULL && message.type == COAP_CON)
        send_empty(link, COAP_RST, message.mid); // nothing that is known of (RFC 7252 4.2)
    else if (request != NULL && message.type != COAP_RST &&
             (!piggybacked || tef_exchange_mid(request->delivery->exchange) == message.mid)) {
        if (message.type == COAP_CON)
            send_empty(link, COAP_ACK, message.mid);
        take_answer(link, request, &message);
    }
}
