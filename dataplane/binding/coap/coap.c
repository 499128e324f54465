// The way of a primitive from a device's CoAP request through the checks to a CSE.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/binding/coap/coap.h"

#include "common/error.h"
#include "common/profile.h"
#include "dataplane/binding/coap/state.h"

#include <stdlib.h>

enum { ORIGINATOR_FIELDS = sizeof content_originator_fields / sizeof *content_originator_fields };

int coap_new(const struct coap_options *options, struct coap **out)
{
    struct coap *coap = calloc(1, sizeof *coap);
    if (coap == NULL)
        return SAGATE_ENOMEM;
    coap->config = options->config;
    coap->io = options->io;
    coap->wheel = options->wheel;
    coap->upstreams = options->upstreams;
    coap->pep = options->pep;
    coap->stats = options->stats;
    coap->port = options->port;
    coap->io_user_kind = options->io_user_kind;
    hash_key_random(&coap->key);
    coap->jitter = coap->key.k1 | 1;
    coap->recorded_bytes = options->config->limits.coap_exchange_bytes;
    coap->recorded = recorded_new(coap->recorded_bytes, coap->stats);
    struct client_plan plan;
    if (coap->recorded == NULL || client_prepare(coap, options->config, &plan) != SAGATE_OK) {
        coap_free(coap);
        return SAGATE_ENOMEM;
    }
    client_commit(coap, options->config, &plan, 0);
    const struct upstream_checker checker = {.context = coap, .check = health_check};
    upstream_set_checker(coap->upstreams, CONFIG_COAP, &checker);
    *out = coap;
    return SAGATE_OK;
}

void coap_free(struct coap *coap)
{
    if (coap == NULL)
        return;
    client_close(coap);
    exchange_pool_free(coap);
    transfers_free(&coap->transfers);
    recorded_free(coap->recorded);
    free(coap);
}

int coap_reload(struct coap *coap, const struct config *config, uint64_t now_ms)
{
    struct client_plan plan;
    if (client_prepare(coap, config, &plan) != SAGATE_OK)
        return SAGATE_ENOMEM;
    if (coap->recorded_bytes != config->limits.coap_exchange_bytes) {
        struct recorded *resized = recorded_resize(coap->recorded, config->limits.coap_exchange_bytes, now_ms);
        if (resized == NULL) {
            client_discard(&plan);
            return SAGATE_ENOMEM;
        }
        coap->recorded = resized;
        coap->recorded_bytes = config->limits.coap_exchange_bytes;
    }
    client_commit(coap, config, &plan, now_ms);
    coap->config = config;
    return SAGATE_OK;
}

size_t coap_in_flight(const struct coap *coap)
{
    return coap->in_flight;
}

void coap_device_gone(struct coap *coap, struct device *device, uint64_t now_us)
{
    struct peer *peer = device->binding_state;
    (void)now_us;
    if (peer == NULL)
        return;
    transfers_forget_association(&coap->transfers, device->association);
    while (peer->exchanges != NULL)
        exchange_orphan(peer->exchanges);
    peer_free(coap, peer);
    device->binding_state = NULL;
    device->in_flight = 0;
}

bool coap_device_is_idle(const struct device *device)
{
    const struct peer *peer = device->binding_state;
    return peer == NULL || peer->exchanges == NULL;
}

void coap_device_rest(struct coap *coap, struct device *device)
{
    if (device->binding_state == NULL || !coap_device_is_idle(device))
        return;
    peer_free(coap, device->binding_state);
    device->binding_state = NULL;
}

// --- refusals ----------------------------------------------------------------------------------------------------

// Answers a request of `peer` that is not forwarded. coap->request is that request.
static void answer_refusal(struct coap *coap, struct peer *peer, const struct coap_refusal *refusal, uint64_t now_ms)
{
    const struct coap_request *request = &coap->request;
    const struct answer_echo echo = {.numbering = request->numbering,
                                     .operation = request->primitive.operation,
                                     .request_id = request->primitive.request_id,
                                     .release_version = request->primitive.release_version};
    if (refusal->rejected && request->message->type == COAP_NON)
        return;
    answer_own(&echo, refusal->code, refusal->rsc, refusal->debug,
               refusal->code == COAP_UNAVAILABLE ? UNAVAILABLE_MAX_AGE : 0, &coap->answer);
    device_answer(coap, peer, request->message, echo.operation, now_ms);
}

static int refuse(struct coap_refusal *refusal, uint8_t code, int rsc, enum stat_id counter, const char *debug)
{
    *refusal = (struct coap_refusal){.code = code, .rsc = rsc, .counter = counter, .debug = debug};
    return SAGATE_EDENIED;
}

static int unavailable(struct coap_refusal *refusal, enum stat_id counter, const char *debug)
{
    return refuse(refusal, COAP_UNAVAILABLE, RSC_TARGET_NOT_REACHABLE, counter, debug);
}

// --- checks ------------------------------------------------------------------------------------------------------

static int check_second(struct coap *coap, const struct device *device, struct slice second,
                        struct coap_refusal *refusal)
{
    int rsc = pep_check_second(coap->pep, device, &coap->request.primitive, &coap->verdict, second);
    if (rsc == 0)
        return SAGATE_OK;
    // Counted by pep_check_second.
    return refuse(refusal, 0, rsc, STAT_COUNT, "a second originator in the request");
}

static int check_found(struct coap *coap, const struct device *device, const struct content_found *found,
                       struct coap_refusal *refusal)
{
    if (found->count == 0)
        return SAGATE_OK;
    if (found->differs)
        return refuse(refusal, 0, RSC_BAD_REQUEST, STAT_REFUSED_SECOND_ORIGINATOR,
                      "a second originator in the content");
    return check_second(coap, device, slice_of(found->value, found->len), refusal);
}

static int check_whole(struct coap *coap, const struct device *device, struct coap_refusal *refusal)
{
    const struct coap_request *request = &coap->request;
    if (request->message->payload.len == 0)
        return SAGATE_OK;
    enum content_kind kind =
        request->content_format < 0 ? CONTENT_UNKNOWN : content_kind_of_format((unsigned)request->content_format);
    int status = content_scan_all(kind, request->message->payload, content_originator_fields, ORIGINATOR_FIELDS,
                                  coap->config->limits.content_depth, coap->found);
    if (status != SAGATE_OK)
        return refuse(refusal, 0, RSC_BAD_REQUEST, STAT_REFUSED_CONTENT, "the content is malformed");
    status = SAGATE_OK;
    for (size_t i = 0; i < ORIGINATOR_FIELDS && status == SAGATE_OK; i++)
        status = check_found(coap, device, &coap->found[i], refusal);
    return status;
}

static uint64_t hash_slice(const struct coap *coap, struct slice slice)
{
    return hash_bytes(&coap->key, slice.len == 0 ? (const void *)"" : slice.data, slice.len);
}

static uint64_t hash_add(const struct coap *coap, uint64_t before, uint64_t number, struct slice value)
{
    const uint64_t step[] = {before, number, hash_slice(coap, value)};
    return hash_bytes(&coap->key, step, sizeof step);
}

// What makes two blocks belong together. A CSE may join blocks by any of the options that it sees (RFC 7959 section
// 2.5, RFC 9175 section 3.3), so all of them count here, but for Block1 and Size1, which differ by nature, and Block2
// and Size2, which pass with the last block only: otherwise two transfers for the CSE could be one for the scan.
static struct transfer_key transfer_key_of(const struct coap *coap, const struct coap_request *request)
{
    const struct coap_message *message = request->message;
    struct transfer_key key = {.path = hash_bytes(&coap->key, request->to, request->to_len),
                               .from = hash_slice(coap, request->primitive.from),
                               .request_id = hash_slice(coap, request->primitive.request_id)};
    key.whole = hash_add(coap, 0, message->code, slice_of(coap->verdict.from, coap->verdict.from_len));
    for (size_t i = 0; i < message->option_count; i++) {
        const struct coap_option *option = &message->options[i];
        if (option->number == COAP_BLOCK1 || option->number == COAP_BLOCK2 || option->number == COAP_SIZE1 ||
            option->number == COAP_SIZE2)
            continue;
        key.whole = hash_add(coap, key.whole, option->number, option->value);
        if (option->number == COAP_REQUEST_TAG)
            key.tag = hash_add(coap, key.tag, option->number, option->value);
    }
    return key;
}

static int refuse_block(int status, struct coap_refusal *refusal)
{
    switch (status) {
    case SAGATE_ENOTFOUND:
        return refuse(refusal, COAP_INCOMPLETE, RSC_BAD_REQUEST, STAT_REFUSED_CONTENT, "a block is missing");
    case SAGATE_EDENIED:
        return refuse(refusal, 0, RSC_BAD_REQUEST, STAT_REFUSED_SECOND_ORIGINATOR, "From changes between blocks");
    case SAGATE_EINVAL:
        return refuse(refusal, 0, RSC_BAD_REQUEST, STAT_REFUSED_MALFORMED, "the request identifier changes");
    case SAGATE_EMALFORMED:
        return refuse(refusal, 0, RSC_BAD_REQUEST, STAT_REFUSED_CONTENT, "the content is malformed");
    case SAGATE_EBUSY:
        return unavailable(refusal, STAT_REFUSED_LIMIT, "the block before waits for the CSE");
    default:
        return unavailable(refusal, STAT_REFUSED_LIMIT, "too many transfers");
    }
}

// One block of a longer body. *transfer is where it belongs, and is forgotten already when *last.
static int check_block(struct coap *coap, const struct peer *peer, uint64_t now_ms, struct transfer **transfer,
                       bool *last, struct coap_refusal *refusal)
{
    const struct device *device = peer->device;
    const struct coap_request *request = &coap->request;
    const struct transfer_block block = {.association = device->association,
                                         .principal = peer->owner,
                                         .key = transfer_key_of(coap, request),
                                         .content_format = request->content_format,
                                         .block = request->block1,
                                         .payload = request->message->payload};
    int status = transfer_take(&coap->transfers, &block, coap->config->limits.content_depth, now_ms, transfer);
    if (status != SAGATE_OK && status != SAGATE_DONE)
        return refuse_block(status, refusal);
    *last = status == SAGATE_DONE;
    status = SAGATE_OK;
    for (size_t i = 0; *last && i < ORIGINATOR_FIELDS && status == SAGATE_OK; i++)
        status = check_found(coap, device, content_scan_found((*transfer)->scan, i), refusal);
    if (status != SAGATE_OK)
        transfer_forget(*transfer);
    return status;
}

// --- forwarding --------------------------------------------------------------------------------------------------

// The observation that a GET with Observe speaks of: that of the same device and token (RFC 7641 section 3.6).
static struct exchange *observation_of(const struct peer *peer, const struct coap_request *request)
{
    if (request->observe == COAP_NO_OBSERVE)
        return NULL;
    for (struct exchange *at = peer->exchanges; at != NULL; at = at->peer_next) {
        if (at->observing && coap_token_equal(&at->token, &request->message->token))
            return at;
    }
    return NULL;
}

// The socket for a request: always the same one for a device, since CSEs keep block-wise state by peer address. Of
// transfers that have one path at the same time each needs its own.
static struct upstream_socket *choose_socket(struct coap *coap, const struct device *device, struct server *server,
                                             struct transfer *transfer, uint64_t now_ms)
{
    const struct peer *peer = device->binding_state;
    unsigned first = (unsigned)(peer->hash % server->socket_count);
    if (transfer == NULL)
        return &server->sockets[first];
    if (transfer->server != NULL)
        return transfer->server == server ? &server->sockets[transfer->socket] : NULL;
    struct transfer *oldest = NULL;
    for (unsigned i = 0; i < server->socket_count + server->extra_count; i++) {
        unsigned at = i < server->socket_count ? (first + i) % server->socket_count : i;
        struct transfer *other = transfer_on(&coap->transfers, transfer, server, at);
        if (other == NULL) {
            transfer->server = server;
            transfer->socket = at;
            return &server->sockets[at];
        }
        if (transfer_yields(other, now_ms) && (oldest == NULL || other->used_ms < oldest->used_ms))
            oldest = other;
    }
    struct upstream_socket *socket = oldest != NULL ? &server->sockets[oldest->socket] : client_open_extra(server);
    if (socket == NULL)
        return NULL;
    if (oldest != NULL)
        transfer_forget(oldest);
    transfer->server = server;
    transfer->socket = socket->number;
    return socket;
}

static int choose(struct coap *coap, const struct device *device, const struct exchange *observation,
                  struct transfer *transfer, uint64_t now_ms, struct upstream_socket **socket,
                  struct coap_refusal *refusal)
{
    const struct config_server *picked;
    if (observation != NULL && observation->socket != NULL &&
        observation->socket->server->upstream_index == device->upstream_index) {
        *socket = observation->socket; // the CSE knows the observer by its address and token
        return SAGATE_OK;
    }
    if (upstream_pick(coap->upstreams, device->upstream_index, CONFIG_COAP, coap->verdict.route, &picked) != SAGATE_OK)
        return unavailable(refusal, STAT_REFUSED_UNAVAILABLE, "no CSE is available");
    struct server *server = transfer != NULL && transfer->server != NULL ? client_server_of(coap, transfer->server)
                                                                         : client_server(coap, picked);
    if (server != NULL && server->failed)
        return unavailable(refusal, STAT_REFUSED_UNAVAILABLE, "no CSE is available");
    *socket = server == NULL ? NULL : choose_socket(coap, device, server, transfer, now_ms);
    if (*socket == NULL)
        return unavailable(refusal, STAT_REFUSED_UNAVAILABLE, "no path to the CSE is free");
    return SAGATE_OK;
}

// Takes over what the answer will need.
static void remember(struct exchange *exchange, const struct coap_request *request, bool registers, uint64_t now_ms)
{
    const struct primitive *primitive = &request->primitive;
    exchange_set_observing(exchange, false);
    timer_cancel(&exchange->device_timer);
    exchange->open = true;
    exchange->confirming = exchange->replaced = exchange->has_answer_mid = exchange->acknowledged = false;
    exchange->operation = primitive->operation;
    exchange->numbering = request->numbering;
    exchange->token = request->message->token;
    exchange->mid = request->message->mid;
    exchange->confirmable = request->message->type == COAP_CON;
    exchange->registers = registers;
    exchange->received_ms = now_ms;
    exchange->request_id_len = (uint8_t)primitive->request_id.len;
    memcpy(exchange->request_id, primitive->request_id.data, primitive->request_id.len);
    exchange->release_version_len = 0;
    if (primitive->release_version.len > 0 && primitive->release_version.len <= sizeof exchange->release_version) {
        exchange->release_version_len = (uint8_t)primitive->release_version.len;
        memcpy(exchange->release_version, primitive->release_version.data, primitive->release_version.len);
    }
}

// Writes the request for the CSE to coap->out; its Message ID is put in later.
static int write_request(struct coap *coap, const struct device *device, const struct exchange *exchange,
                         const struct upstream_socket *socket, bool with_observe, size_t *len,
                         struct coap_refusal *refusal)
{
    struct coap_token token;
    struct coap_writer writer;
    coap->list.count = 0;
    coap->list.full = false;
    coap->list.scratch_len = 0;
    exchange_token(exchange, &token);
    int status = coap_request_options(&coap->request, device, socket->server->upstream, &coap->verdict,
                                      peer_text(device->binding_state), with_observe, &coap->list, refusal);
    if (status != SAGATE_OK)
        return status;
    coap_begin(&writer, coap->out, sizeof coap->out, COAP_CON, coap->request.message->code, 0, &token);
    coap_list_write(&coap->list, &writer);
    coap_add_payload(&writer, coap->request.message->payload);
    int written = coap_end(&writer);
    if (written < 0)
        return refuse(refusal, COAP_TOO_LARGE, RSC_BAD_REQUEST, STAT_REFUSED_MALFORMED, "the request is too large");
    *len = (size_t)written;
    return SAGATE_OK;
}

// Commits: from here on the exchange owns the request.
static void send_request(struct coap *coap, struct device *device, struct exchange *exchange,
                         struct upstream_socket *socket, struct transfer *transfer, bool registers, size_t len,
                         uint64_t now_us)
{
    uint64_t now_ms = now_us / 1000;
    remember(exchange, &coap->request, registers, now_ms);
    if (pep_wants_answer(&coap->request.primitive, &coap->verdict, &exchange->pending) && device->principal != NULL)
        exchange->principal = principal_reference(device->principal);
    exchange->cse_mid = client_mid(socket, now_ms);
    memcpy(exchange->buffer->data, coap->out, len);
    exchange->buffer->data[2] = (uint8_t)(exchange->cse_mid >> 8);
    exchange->buffer->data[3] = (uint8_t)exchange->cse_mid;
    exchange->buffer->len = (uint16_t)len;
    if (exchange->confirmable)
        timer_set(coap->wheel, &exchange->device_timer, now_ms + PIGGYBACK_MS);
    client_begin(exchange, socket, now_us);
    if (transfer != NULL)
        transfer_sent(transfer);
    exchange->transfer = transfer;
}

static int begin_upstream(struct coap *coap, const struct server *server, struct coap_refusal *refusal)
{
    if (upstream_begin(coap->upstreams, server->upstream, server->config, CONFIG_COAP) == SAGATE_OK)
        return SAGATE_OK;
    return unavailable(refusal, STAT_REFUSED_LIMIT, "the CSE has too many requests");
}

static int forward(struct coap *coap, struct peer *peer, struct transfer *transfer, uint64_t now_us,
                   struct coap_refusal *refusal)
{
    struct device *device = peer->device;
    const struct coap_request *request = &coap->request;
    struct exchange *observation = observation_of(peer, request);
    struct upstream_socket *socket;
    size_t len = 0;
    bool registers = request->observe == 0 &&
                     (observation != NULL || peer->observations < coap->config->limits.observations_per_association);
    int status = choose(coap, device, observation, transfer, now_us / 1000, &socket, refusal);
    if (status != SAGATE_OK)
        return status;
    struct exchange *exchange = observation != NULL ? observation : exchange_new(coap, peer);
    if (exchange == NULL || !exchange_need_buffer(exchange))
        status = unavailable(refusal, STAT_REFUSED_LIMIT, "too many requests");
    if (status == SAGATE_OK)
        status = write_request(coap, device, exchange, socket, registers || request->observe == 1, &len, refusal);
    if (status == SAGATE_OK)
        status = begin_upstream(coap, socket->server, refusal);
    if (status != SAGATE_OK) {
        if (exchange != NULL && exchange != observation)
            exchange_free(exchange);
        return status;
    }
    send_request(coap, device, exchange, socket, transfer, registers, len, now_us);
    return SAGATE_OK;
}

// --- requests of devices -----------------------------------------------------------------------------------------

static int check_and_forward(struct coap *coap, struct peer *peer, uint64_t now_us, struct coap_refusal *refusal)
{
    const struct device *device = peer->device;
    const struct coap_request *request = &coap->request;
    struct transfer *transfer = NULL;
    bool last = false;
    profile_enter(PROFILE_PEP);
    int status = pep_check(coap->pep, device, &request->primitive, &coap->verdict);
    profile_leave();
    if (status != SAGATE_OK)
        return refuse(refusal, 0, RSC_INTERNAL_SERVER_ERROR, STAT_COUNT, "the check failed");
    if (coap->verdict.rsc != 0) // counted by pep_check
        return refuse(refusal, 0, coap->verdict.rsc, STAT_COUNT, coap->verdict.debug);
    if (request->query_from.data != NULL)
        status = check_second(coap, device, request->query_from, refusal);
    if (status == SAGATE_OK && peer->open >= coap->config->limits.requests_per_association) {
        coap_count(coap, STAT_LIMIT_IN_FLIGHT_ASSOCIATION);
        status = unavailable(refusal, STAT_REFUSED_LIMIT, "too many requests of this association");
    }
    if (status != SAGATE_OK)
        return status;
    if (coap_request_in_blocks(request))
        status = check_block(coap, peer, now_us / 1000, &transfer, &last, refusal);
    else
        status = check_whole(coap, device, refusal);
    if (status == SAGATE_OK) {
        profile_enter(PROFILE_UPSTREAM);
        status = forward(coap, peer, transfer, now_us, refusal);
        profile_leave();
    }
    if (transfer != NULL && (last || status != SAGATE_OK))
        transfer_forget(transfer);
    return status;
}

static void request_received(struct coap *coap, struct peer *peer, const struct coap_message *message, uint64_t now_us)
{
    struct device *device = peer->device;
    struct coap_refusal refusal = {0};
    if (device_is_duplicate(coap, peer, message->mid, now_us / 1000))
        return;
    int status =
        coap_request_read(message, device->listener, device->upstream->request_id_bytes, &coap->request, &refusal);
    if (status == SAGATE_OK)
        status = check_and_forward(coap, peer, now_us, &refusal);
    if (status == SAGATE_OK)
        return;
    if (refusal.counter != STAT_COUNT)
        coap_count(coap, refusal.counter);
    answer_refusal(coap, peer, &refusal, now_us / 1000);
}

void coap_from_device(struct coap *coap, struct device *device, const uint8_t *data, size_t len, uint64_t now_us)
{
    struct coap_message *message = &coap->message;
    int status = coap_parse(data, len, message);
    bool nonsense = status != SAGATE_OK || (message->code != 0 && !coap_is_request(message->code));
    if (nonsense) {
        // A format error, or a response although nothing was asked (RFC 7252 sections 3, 4.2, 4.3).
        coap_count(coap, STAT_COAP_MALFORMED);
        if (status != SAGATE_EINVAL &&
            (message->type == COAP_CON || (message->type == COAP_NON && status == SAGATE_OK)))
            device_send_empty(coap, device, COAP_RST, message->mid);
        return;
    }
    if (message->code == 0 && message->type == COAP_CON) { // a ping
        device_send_empty(coap, device, COAP_RST, message->mid);
        return;
    }
    struct peer *peer = message->code == 0 ? device->binding_state : peer_of(coap, device);
    if (peer != NULL && message->code == 0)
        device_empty_received(coap, peer, message->type, message->mid, now_us / 1000);
    else if (peer != NULL)
        request_received(coap, peer, message, now_us);
}
