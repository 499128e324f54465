// The pool of exchanges and the message layer towards devices (RFC 7252 section 4, RFC 7641 section 4.5).
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/clock.h"
#include "common/error.h"
#include "dataplane/binding/coap/state.h"

#include <stdlib.h>

// The first Message ID of a peer's state goes on with time, all of them once in 262 s: state that is made anew does not
// repeat those of the state before within EXCHANGE_LIFETIME (RFC 7252 4.8.2) below 250 messages a second.
enum { MID_MS = 4 };

uint32_t coap_random(struct coap *coap)
{
    // Two draws of each hash.
    if (coap->draws++ % 2 == 0)
        coap->drawn = hash_bytes(&coap->key, &coap->draws, sizeof coap->draws);
    else
        coap->drawn >>= 32;
    return (uint32_t)coap->drawn;
}

uint32_t coap_ack_timeout(struct coap *coap)
{
    // Only so that not all repeat at once (RFC 7252 section 4.2): it may be foreseen.
    coap->jitter ^= coap->jitter << 13;
    coap->jitter ^= coap->jitter >> 7;
    coap->jitter ^= coap->jitter << 17;
    return ACK_TIMEOUT_MS + (uint32_t)(coap->jitter % (ACK_RANDOM_MS + 1));
}

static bool grow_peers(struct coap *coap)
{
    struct peer_chunk *chunk = calloc(1, sizeof *chunk);
    if (chunk == NULL)
        return false;
    chunk->next = coap->peer_chunks;
    coap->peer_chunks = chunk;
    for (size_t i = 0; i < PEER_CHUNK; i++) {
        chunk->peers[i].next_free = coap->free_peers;
        coap->free_peers = &chunk->peers[i];
    }
    return true;
}

const char *peer_text(struct peer *peer)
{
    if (peer->text_of.len == 0 || !address_equal(&peer->text_of, &peer->device->peer)) {
        peer->text_of = peer->device->peer;
        (void)address_format(&peer->device->peer, peer->text);
    }
    return peer->text;
}

struct peer *peer_of(struct coap *coap, struct device *device)
{
    if (device->binding_state != NULL)
        return device->binding_state;
    if (coap->free_peers == NULL && !grow_peers(coap))
        return NULL;
    struct peer *peer = coap->free_peers;
    coap->free_peers = peer->next_free;
    // Whose share of the tables the association uses up: its credential's.
    const char *credential = device->principal == NULL ? "" : device->principal->credential_id;
    uint64_t hash = hash_bytes(&coap->key, &device->association, sizeof device->association);
    *peer = (struct peer){.device = device,
                          .owner = hash_bytes(&coap->key, credential, strlen(credential)),
                          .hash = hash,
                          .next_mid = (uint16_t)(hash + clock_ms() / MID_MS)};
    device->binding_state = peer;
    return peer;
}

void peer_free(struct coap *coap, struct peer *peer)
{
    peer->next_free = coap->free_peers;
    coap->free_peers = peer;
}

// --- the pool ----------------------------------------------------------------------------------------------------

static struct exchange *exchange_at(const struct coap *coap, size_t index)
{
    return &coap->chunks[index / EXCHANGE_CHUNK][index % EXCHANGE_CHUNK];
}

static bool grow(struct coap *coap)
{
    size_t chunk = coap->exchange_count / EXCHANGE_CHUNK;
    if (chunk == EXCHANGE_CHUNKS)
        return false;
    coap->chunks[chunk] = calloc(EXCHANGE_CHUNK, sizeof **coap->chunks);
    if (coap->chunks[chunk] == NULL)
        return false;
    for (size_t i = EXCHANGE_CHUNK; i > 0; i--) {
        struct exchange *exchange = &coap->chunks[chunk][i - 1];
        exchange->coap = coap;
        exchange->index = (uint32_t)(coap->exchange_count + i - 1);
        exchange->next_free = coap->free_exchanges;
        coap->free_exchanges = exchange;
    }
    coap->exchange_count += EXCHANGE_CHUNK;
    return true;
}

static void fire_device(struct timer *timer, void *context, uint64_t now_ms);

struct exchange *exchange_new(struct coap *coap, struct peer *peer)
{
    if (coap->free_exchanges == NULL && !grow(coap))
        return NULL;
    struct exchange *exchange = coap->free_exchanges;
    coap->free_exchanges = exchange->next_free;
    uint32_t index = exchange->index;
    memset(exchange, 0, offsetof(struct exchange, request_id));
    exchange->pending.kind = 0;
    exchange->coap = coap;
    exchange->index = index;
    exchange->secret = coap_random(coap);
    exchange->used = true;
    exchange->open = true;
    exchange->device_timer = (struct timer){.fire = fire_device, .context = exchange};
    exchange->peer = peer;
    exchange->peer_next = peer->exchanges;
    exchange->peer_link = &peer->exchanges;
    if (peer->exchanges != NULL)
        peer->exchanges->peer_link = &exchange->peer_next;
    peer->exchanges = exchange;
    peer->open++;
    return exchange;
}

static void leave_peer(struct exchange *exchange)
{
    if (exchange->peer == NULL)
        return;
    if (exchange->observing)
        exchange->peer->observations--;
    else
        exchange->peer->open--;
    *exchange->peer_link = exchange->peer_next;
    if (exchange->peer_next != NULL)
        exchange->peer_next->peer_link = exchange->peer_link;
    const struct device_port *port = &exchange->coap->port;
    if (exchange->peer->exchanges == NULL && port->idle != NULL)
        port->idle(port->context, exchange->peer->device->association);
    exchange->peer = NULL;
}

static void show_observations(struct coap *coap)
{
    if (coap->stats != NULL)
        stats_set(&coap->stats->counters[STAT_COAP_OBSERVATIONS], coap->observations);
}

void exchange_set_observing(struct exchange *exchange, bool observing)
{
    if (exchange->observing == observing || exchange->peer == NULL)
        return;
    exchange->observing = observing;
    if (observing) {
        exchange->peer->open--;
        exchange->peer->observations++;
        exchange->coap->observations++;
    } else {
        exchange->peer->open++;
        exchange->peer->observations--;
        exchange->coap->observations--;
    }
    show_observations(exchange->coap);
}

void exchange_free(struct exchange *exchange)
{
    struct coap *coap = exchange->coap;
    timer_cancel(&exchange->device_timer);
    exchange_set_observing(exchange, false);
    leave_peer(exchange);
    client_detach(exchange);
    exchange_drop_buffer(exchange);
    principal_release(exchange->principal);
    exchange->principal = NULL;
    exchange->used = false;
    exchange->next_free = coap->free_exchanges;
    coap->free_exchanges = exchange;
}

void exchange_orphan(struct exchange *exchange)
{
    if (exchange->cse == CSE_DONE) {
        exchange_free(exchange);
        return;
    }
    exchange_set_observing(exchange, false);
    timer_cancel(&exchange->device_timer);
    leave_peer(exchange);
}

void exchange_token(const struct exchange *exchange, struct coap_token *token)
{
    token->len = EXCHANGE_TOKEN;
    memcpy(token->bytes, &exchange->index, 4);
    memcpy(token->bytes + 4, &exchange->secret, 4);
}

struct exchange *exchange_by_token(struct coap *coap, const struct coap_token *token)
{
    uint32_t index, secret;
    if (token->len != EXCHANGE_TOKEN)
        return NULL;
    memcpy(&index, token->bytes, 4);
    memcpy(&secret, token->bytes + 4, 4);
    if (index >= coap->exchange_count)
        return NULL;
    struct exchange *exchange = exchange_at(coap, index);
    return exchange->used && exchange->secret == secret ? exchange : NULL;
}

bool exchange_need_buffer(struct exchange *exchange)
{
    struct coap *coap = exchange->coap;
    if (exchange->buffer != NULL)
        return true;
    struct buffer *buffer = coap->free_buffers;
    if (buffer != NULL)
        coap->free_buffers = buffer->next;
    else
        buffer = malloc(sizeof *buffer);
    exchange->buffer = buffer;
    return buffer != NULL;
}

void exchange_drop_buffer(struct exchange *exchange)
{
    if (exchange->buffer == NULL)
        return;
    exchange->buffer->next = exchange->coap->free_buffers;
    exchange->coap->free_buffers = exchange->buffer;
    exchange->buffer = NULL;
}

struct answer_echo exchange_echo(const struct exchange *exchange)
{
    return (struct answer_echo){
        .numbering = exchange->numbering,
        .operation = exchange->operation,
        .request_id = {.data = exchange->request_id_len > 0 ? exchange->request_id : NULL,
                       .len = exchange->request_id_len},
        .release_version = {.data = exchange->release_version_len > 0 ? exchange->release_version : NULL,
                            .len = exchange->release_version_len},
    };
}

void exchange_pool_free(struct coap *coap)
{
    for (size_t i = 0; i < coap->exchange_count; i++) {
        struct exchange *exchange = exchange_at(coap, i);
        timer_cancel(&exchange->device_timer);
        timer_cancel(&exchange->cse_timer);
        timer_cancel(&exchange->deadline);
        principal_release(exchange->principal);
        exchange_drop_buffer(exchange);
    }
    for (size_t i = 0; i < EXCHANGE_CHUNKS; i++)
        free(coap->chunks[i]);
    while (coap->free_buffers != NULL) {
        struct buffer *buffer = coap->free_buffers;
        coap->free_buffers = buffer->next;
        free(buffer);
    }
    while (coap->peer_chunks != NULL) {
        struct peer_chunk *chunk = coap->peer_chunks;
        coap->peer_chunks = chunk->next;
        free(chunk);
    }
}

// --- sending -----------------------------------------------------------------------------------------------------

static int send_to(struct coap *coap, const struct device *device, const uint8_t *data, size_t len)
{
    return coap->port.send(coap->port.context, device->association, data, len);
}

void device_send_empty(struct coap *coap, const struct device *device, enum coap_type type, uint16_t mid)
{
    uint8_t empty[COAP_HEAD];
    coap_write_empty(empty, type, mid);
    (void)send_to(coap, device, empty, sizeof empty);
}

static void record(struct coap *coap, const struct peer *peer, uint16_t mid, bool confirmable, uint64_t received_ms,
                   struct slice reply, uint64_t now_ms)
{
    uint64_t lifetime = confirmable ? EXCHANGE_LIFETIME_MS : NON_LIFETIME_MS;
    recorded_add(coap->recorded, peer->owner, peer->device->association, mid, reply, now_ms, received_ms + lifetime);
}

static void count_answer(struct coap *coap, enum onem2m_operation operation, int rsc)
{
    if (coap->stats != NULL)
        stats_count(&coap->stats->primitives[STATS_COAP][operation][stats_rsc_row(rsc)], 1);
}

// Writes coap->answer to `out` (IO_DATAGRAM_MAX bytes) and sends it. When it does not fit, an error goes in its place.
// Returns the length of what was written, 0 when nothing could be.
static size_t write_and_send(struct coap *coap, const struct peer *peer, const struct answer_echo *echo,
                             enum coap_type type, uint16_t mid, const struct coap_token *token, uint8_t *out)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        int len = answer_write(&coap->answer, type, mid, token, out, IO_DATAGRAM_MAX);
        if (len > 0 && send_to(coap, peer->device, out, (size_t)len) != SAGATE_ETOOBIG)
            return (size_t)len;
        answer_own(echo, 0, RSC_INTERNAL_SERVER_ERROR, "the answer does not fit a datagram", 0, &coap->answer);
    }
    return 0;
}

void device_answer(struct coap *coap, struct peer *peer, const struct coap_message *request,
                   enum onem2m_operation operation, uint64_t now_ms)
{
    struct answer_echo echo = {.numbering = coap->request.numbering, .operation = operation};
    bool confirmable = request->type == COAP_CON;
    uint16_t mid = confirmable ? request->mid : peer->next_mid++;
    size_t len = write_and_send(coap, peer, &echo, confirmable ? COAP_ACK : COAP_NON, mid, &request->token, coap->out);
    record(coap, peer, request->mid, confirmable, now_ms, slice_of(coap->out, len), now_ms);
    count_answer(coap, operation, coap->answer.rsc);
}

bool device_is_duplicate(struct coap *coap, struct peer *peer, uint16_t mid, uint64_t now_ms)
{
    struct slice reply;
    for (struct exchange *at = peer->exchanges; at != NULL; at = at->peer_next) {
        if (!at->open || at->mid != mid)
            continue;
        coap_count(coap, STAT_COAP_DUPLICATES);
        if (at->acknowledged)
            device_send_empty(coap, peer->device, COAP_ACK, mid);
        return true;
    }
    if (!recorded_find(coap->recorded, peer->owner, peer->device->association, mid, now_ms, &reply))
        return false;
    coap_count(coap, STAT_COAP_DUPLICATES);
    if (reply.len > 0)
        (void)send_to(coap, peer->device, reply.data, reply.len);
    return true;
}

// --- answers that wait for their ACK -----------------------------------------------------------------------------

// Nothing more is to be sent now: an observation stays, anything else ends.
static void rest(struct exchange *exchange)
{
    timer_cancel(&exchange->device_timer);
    exchange->confirming = false;
    exchange->replaced = false;
    exchange_drop_buffer(exchange);
    if (!exchange->observing)
        exchange_free(exchange);
}

static void give_up(struct exchange *exchange)
{
    exchange_set_observing(exchange, false);
    rest(exchange);
}

// Gives the message in the buffer a Message ID of its own.
static void renew_mid(struct exchange *exchange)
{
    exchange->answer_mid = exchange->peer->next_mid++;
    exchange->has_answer_mid = true;
    exchange->buffer->data[2] = (uint8_t)(exchange->answer_mid >> 8);
    exchange->buffer->data[3] = (uint8_t)exchange->answer_mid;
    exchange->replaced = false;
}

static void await_ack(struct exchange *exchange, uint64_t now_ms)
{
    exchange->confirming = true;
    exchange->tries = 0;
    exchange->wait_ms = coap_ack_timeout(exchange->coap);
    timer_set(exchange->coap->wheel, &exchange->device_timer, now_ms + exchange->wait_ms);
}

static void retransmit(struct exchange *exchange, uint64_t now_ms)
{
    if (exchange->tries == MAX_RETRANSMIT) {
        give_up(exchange);
        return;
    }
    exchange->tries++;
    exchange->wait_ms *= 2;
    if (exchange->replaced)
        renew_mid(exchange);
    coap_count(exchange->coap, STAT_COAP_RETRANSMISSIONS_DEVICE);
    (void)send_to(exchange->coap, exchange->peer->device, exchange->buffer->data, exchange->buffer->len);
    timer_set(exchange->coap->wheel, &exchange->device_timer, now_ms + exchange->wait_ms);
}

static void fire_device(struct timer *timer, void *context, uint64_t now_ms)
{
    struct exchange *exchange = context;
    (void)timer;
    if (exchange->peer == NULL)
        return;
    if (exchange->confirming) {
        retransmit(exchange, now_ms);
    } else if (exchange->open && exchange->confirmable && !exchange->acknowledged) {
        exchange->acknowledged = true;
        device_send_empty(exchange->coap, exchange->peer->device, COAP_ACK, exchange->mid);
    }
}

// Sends coap->answer as a message of our own under a new Message ID; a CON stays in the buffer until its ACK.
static void send_own(struct exchange *exchange, enum coap_type type, uint64_t now_ms)
{
    struct coap *coap = exchange->coap;
    struct answer_echo echo = exchange_echo(exchange);
    bool confirm = type == COAP_CON && exchange_need_buffer(exchange);
    uint8_t *out = confirm ? exchange->buffer->data : coap->out;
    exchange->answer_mid = exchange->peer->next_mid++;
    exchange->has_answer_mid = true;
    size_t len = write_and_send(coap, exchange->peer, &echo, confirm ? COAP_CON : COAP_NON, exchange->answer_mid,
                                &exchange->token, out);
    if (confirm && len > 0) {
        exchange->buffer->len = (uint16_t)len;
        await_ack(exchange, now_ms);
    } else {
        rest(exchange);
    }
}

static void answer_request(struct exchange *exchange, uint64_t now_ms)
{
    struct coap *coap = exchange->coap;
    struct peer *peer = exchange->peer;
    struct answer_echo echo = exchange_echo(exchange);
    uint8_t empty[COAP_HEAD];
    exchange->open = false;
    timer_cancel(&exchange->device_timer);
    count_answer(coap, exchange->operation, coap->answer.rsc);
    if (exchange->confirmable && exchange->acknowledged) {
        coap_write_empty(empty, COAP_ACK, exchange->mid);
        record(coap, peer, exchange->mid, true, exchange->received_ms, slice_of(empty, sizeof empty), now_ms);
        send_own(exchange, COAP_CON, now_ms);
        return;
    }
    uint16_t mid = exchange->mid;
    if (!exchange->confirmable) {
        mid = exchange->answer_mid = peer->next_mid++;
        exchange->has_answer_mid = true;
    }
    size_t len = write_and_send(coap, peer, &echo, exchange->confirmable ? COAP_ACK : COAP_NON, mid, &exchange->token,
                                coap->out);
    record(coap, peer, exchange->mid, exchange->confirmable, exchange->received_ms, slice_of(coap->out, len), now_ms);
    rest(exchange);
}

// RFC 7641 section 3.4, without the clock: both come from one CSE in short order.
static bool is_newer(uint32_t before, uint32_t after)
{
    return ((after - before) & 0xffffffU) < 0x800000U;
}

static uint32_t sequence_of(const struct answer *answer)
{
    for (size_t i = 0; i < answer->options.count; i++) {
        if (answer->options.options[i].number == COAP_OBSERVE)
            return coap_uint(answer->options.options[i].value);
    }
    return 0;
}

// A notification while an earlier one waits for its ACK takes that one's place (RFC 7641 section 4.5.2): it goes out
// when the attempt under way has been acknowledged or has timed out.
static void replace(struct exchange *exchange, bool final)
{
    struct coap *coap = exchange->coap;
    uint32_t sequence = sequence_of(&coap->answer);
    if (!final && !is_newer(exchange->sequence, sequence))
        return;
    int len = answer_write(&coap->answer, COAP_CON, 0, &exchange->token, exchange->buffer->data,
                           sizeof exchange->buffer->data);
    if (len <= 0) {
        give_up(exchange);
        return;
    }
    // Until then a retransmission must not go out under the old Message ID: retransmit() renews it.
    exchange->buffer->len = (uint16_t)len;
    exchange->sequence = sequence;
    exchange->replaced = true;
}

void exchange_answer(struct exchange *exchange, enum coap_type type, bool observing, uint64_t now_ms)
{
    if (exchange->peer == NULL) {
        exchange_free(exchange);
        return;
    }
    exchange_set_observing(exchange, observing);
    if (!observing)
        client_detach(exchange);
    if (exchange->open) {
        exchange->sequence = sequence_of(&exchange->coap->answer);
        exchange_drop_buffer(exchange);
        answer_request(exchange, now_ms);
    } else if (exchange->confirming) {
        replace(exchange, !observing);
    } else {
        exchange->sequence = sequence_of(&exchange->coap->answer);
        send_own(exchange, type, now_ms);
    }
}

void exchange_answer_own(struct exchange *exchange, uint8_t code, int rsc, const char *debug, unsigned max_age,
                         uint64_t now_ms)
{
    struct answer_echo echo = exchange_echo(exchange);
    answer_own(&echo, code, rsc, debug, max_age, &exchange->coap->answer);
    exchange_answer(exchange, COAP_CON, false, now_ms);
}

void device_empty_received(struct coap *coap, struct peer *peer, enum coap_type type, uint16_t mid, uint64_t now_ms)
{
    struct exchange *at = peer->exchanges;
    while (at != NULL && (!at->has_answer_mid || at->answer_mid != mid))
        at = at->peer_next;
    if (at == NULL || (!at->confirming && !at->observing))
        return;
    if (type == COAP_RST) {
        give_up(at);
    } else if (at->confirming && at->replaced) {
        renew_mid(at);
        (void)send_to(coap, peer->device, at->buffer->data, at->buffer->len);
        await_ack(at, now_ms);
    } else if (at->confirming) {
        rest(at);
    }
}
