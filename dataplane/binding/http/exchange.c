// One request on its way to a CSE: its body is checked and sent whole, or streamed with its end held back until the
// check is done.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "common/profile.h"
#include "dataplane/binding/http/internal.h"

static void on_deadline(struct timer *timer, void *context, uint64_t now_ms);

static struct http_exchange *take_spare(struct http *http)
{
    struct http_exchange *exchange = http->spare;
    if (exchange == NULL)
        return calloc(1, sizeof *exchange);
    http->spare = exchange->next;
    http->spare_count--;
    memset((uint8_t *)exchange + offsetof(struct http_exchange, http), 0,
           sizeof *exchange - offsetof(struct http_exchange, http));
    return exchange;
}

static void exchange_free(struct http_exchange *exchange)
{
    http_head_release(&exchange->head);
    buffer_release(&exchange->body);
    buffer_release(&exchange->answer);
    free(exchange->scan_memory);
    free(exchange);
}

static void give_spare(struct http *http, struct http_exchange *exchange)
{
    if (http->spare_count == HTTP_KEPT_EXCHANGES) {
        exchange_free(exchange);
        return;
    }
    buffer_reuse(&exchange->head.bytes, HTTP_KEPT_HEAD);
    buffer_reuse(&exchange->body, HTTP_KEPT_BYTES);
    buffer_reuse(&exchange->answer, HTTP_KEPT_BYTES);
    exchange->next = http->spare;
    http->spare = exchange;
    http->spare_count++;
}

void http_exchanges_free(struct http *http)
{
    while (http->spare != NULL) {
        struct http_exchange *exchange = http->spare;
        http->spare = exchange->next;
        exchange_free(exchange);
    }
}

struct http_exchange *http_exchange_new(struct http_conn *conn)
{
    struct http *http = conn->http;
    struct http_exchange *exchange = take_spare(http);
    if (exchange == NULL)
        return NULL;
    exchange->http = http;
    exchange->conn = conn;
    exchange->verdict.rsc = 0;
    exchange->verdict.debug = NULL;
    exchange->verdict.from_len = exchange->verdict.originator_len = 0;
    exchange->verdict.route = (struct slice){0};
    exchange->pending.kind = 0;
    exchange->pending.from_len = exchange->pending.to_len = 0;
    http_head_again(&exchange->head, HTTP_REQUEST_HEAD, http->config->limits.http_head_bytes, HTTP_KEPT_HEAD);
    exchange->deadline = (struct timer){.fire = on_deadline, .context = exchange};
    exchange->next = http->exchanges;
    exchange->link = &http->exchanges;
    if (http->exchanges != NULL)
        http->exchanges->link = &exchange->next;
    http->exchanges = exchange;
    return exchange;
}

static void leave_upstream(struct http_exchange *exchange, enum upstream_outcome outcome)
{
    struct http *http = exchange->http;
    struct http_client *client = exchange->client;
    timer_cancel(&exchange->deadline);
    if (exchange->queue != NULL)
        http_pool_unqueue(exchange);
    bool room = http_pool_uploaded(exchange);
    exchange->client = NULL;
    if (client != NULL) {
        client->exchange = NULL;
        http_client_drop(client);
    } else if (room) {
        http_pool_serve(exchange->pool);
    }
    if (!exchange->begun)
        return;
    exchange->begun = false;
    http->in_flight--;
    if (exchange->conn != NULL)
        exchange->conn->device->in_flight--;
    if (exchange->server != NULL)
        upstream_end(http->options.upstreams, exchange->server, CONFIG_HTTP, outcome,
                     http->now_us - exchange->started_us);
}

void http_exchange_end(struct http_exchange *exchange, enum upstream_outcome outcome)
{
    leave_upstream(exchange, outcome);
    if (exchange->conn != NULL)
        exchange->conn->exchange = NULL;
    *exchange->link = exchange->next;
    if (exchange->next != NULL)
        exchange->next->link = exchange->link;
    principal_release(exchange->principal);
    http_request_release(&exchange->request);
    give_spare(exchange->http, exchange);
}

void http_exchange_abandon(struct http_exchange *exchange)
{
    struct http_conn *conn = exchange->conn;
    if (exchange->sent && exchange->client != NULL && exchange->pending.kind != 0) {
        conn->device->in_flight--;
        conn->exchange = NULL;
        exchange->conn = NULL;
        http_client_unpause(exchange->client);
        return;
    }
    http_exchange_end(exchange, UPSTREAM_UNTOLD);
}

static void refuse(struct http_exchange *exchange, const struct http_problem *problem)
{
    if (exchange->conn == NULL) {
        http_exchange_end(exchange, UPSTREAM_UNTOLD);
    } else if (exchange->answering) {
        struct http_conn *conn = exchange->conn;
        http_exchange_end(exchange, UPSTREAM_UNTOLD);
        http_conn_close(conn);
    } else {
        http_conn_refuse(exchange->conn, problem);
    }
}

void http_exchange_unanswered(struct http_exchange *exchange, enum upstream_outcome outcome, const char *debug)
{
    const struct http_problem problem = {.status = onem2m_rsc_http(RSC_TARGET_NOT_REACHABLE),
                                         .rsc = RSC_TARGET_NOT_REACHABLE,
                                         .stat = STAT_REFUSED_UNAVAILABLE,
                                         .debug = debug};
    leave_upstream(exchange, outcome);
    refuse(exchange, &problem);
}

static void on_deadline(struct timer *timer, void *context, uint64_t now_ms)
{
    struct http_exchange *exchange = context;
    const struct http_problem problem = {.status = onem2m_rsc_http(RSC_REQUEST_TIMEOUT),
                                         .rsc = RSC_REQUEST_TIMEOUT,
                                         .stat = STAT_REFUSED_TIMEOUT,
                                         .debug = "the CSE did not answer in time"};
    (void)timer;
    http_set_ms(exchange->http, now_ms);
    leave_upstream(exchange, UPSTREAM_UNTOLD);
    refuse(exchange, &problem);
}

int http_exchange_body_begin(struct http_exchange *exchange)
{
    if (exchange->scan_memory == NULL)
        exchange->scan_memory = malloc(content_scan_size());
    if (exchange->scan_memory == NULL)
        return SAGATE_ENOMEM;
    exchange->scan = exchange->scan_memory;
    content_scan_init(exchange->scan, exchange->request.content, content_originator_fields,
                      sizeof content_originator_fields / sizeof *content_originator_fields,
                      exchange->http->config->limits.content_depth);
    return SAGATE_OK;
}

// Ends a request whose content does not pass. The CSE has seen at most an incomplete message, whose connection is
// aborted here.
static void refuse_content(struct http_exchange *exchange, int rsc, enum stat_id stat, const char *debug)
{
    const struct http_problem problem = {onem2m_rsc_http(rsc), rsc, stat, debug, exchange->streaming};
    leave_upstream(exchange, UPSTREAM_UNTOLD);
    refuse(exchange, &problem);
}

// Does the content, as far as it is known, name a second originator? The exchange is refused then.
static bool check_originators(struct http_exchange *exchange)
{
    for (size_t i = 0; i < sizeof content_originator_fields / sizeof *content_originator_fields; i++) {
        const struct content_found *found = content_scan_found(exchange->scan, i);
        int rsc = RSC_BAD_REQUEST;
        enum stat_id stat = STAT_REFUSED_SECOND_ORIGINATOR;
        if (found->count == exchange->originators[i])
            continue;
        exchange->originators[i] = found->count;
        if (!found->differs) {
            rsc = pep_check_second(exchange->http->options.pep, exchange->conn->device, &exchange->request.primitive,
                                   &exchange->verdict, slice_of(found->value, found->len));
            stat = STAT_COUNT; // counted by pep_check_second
        }
        if (rsc != 0) {
            refuse_content(exchange, rsc, stat, "the content names another originator");
            return false;
        }
    }
    return true;
}

// The whole content is known.
static bool check_content(struct http_exchange *exchange)
{
    if (exchange->scan == NULL)
        return true;
    if (content_scan_end(exchange->scan) != SAGATE_OK) {
        refuse_content(exchange, RSC_BAD_REQUEST, STAT_REFUSED_CONTENT, "content is malformed");
        return false;
    }
    return check_originators(exchange);
}

static int unavailable(struct http_problem *problem, enum stat_id stat, const char *debug)
{
    *problem = (struct http_problem){503, RSC_TARGET_NOT_REACHABLE, stat, debug, false};
    return SAGATE_EUNAVAILABLE;
}

void http_exchange_wait(struct http_exchange *exchange)
{
    if (exchange->upstream == NULL)
        return; // after a reload without it: what was set stays
    uint64_t wait = exchange->upstream->request_milliseconds;
    if (exchange->request.expires_ms < wait)
        wait = exchange->request.expires_ms;
    timer_set(exchange->http->options.wheel, &exchange->deadline, http_now_ms(exchange->http) + wait);
}

static int claim_server(struct http_exchange *exchange, struct http_problem *problem)
{
    struct http *http = exchange->http;
    struct device *device = exchange->conn->device;
    const struct pep_verdict *verdict = &exchange->verdict;
    const struct config_server *server = NULL;
    if (device->in_flight >= http->config->limits.requests_per_association) {
        http_count(http, STAT_LIMIT_IN_FLIGHT_ASSOCIATION);
        return unavailable(problem, STAT_REFUSED_LIMIT, "too many requests of this association");
    }
    if (upstream_pick(http->options.upstreams, device->upstream_index, CONFIG_HTTP, verdict->route, &server) !=
        SAGATE_OK)
        return unavailable(problem, STAT_REFUSED_UNAVAILABLE, "no CSE is reachable");
    if (upstream_begin(http->options.upstreams, device->upstream, server, CONFIG_HTTP) != SAGATE_OK)
        return unavailable(problem, STAT_REFUSED_LIMIT, "too many requests wait for the CSE");
    exchange->begun = true;
    exchange->upstream = device->upstream;
    exchange->upstream_index = device->upstream_index;
    exchange->server = server;
    exchange->started_us = http->now_us;
    device->in_flight++;
    http->in_flight++;
    exchange->pool = http_pool_get(http, device->upstream, server);
    return exchange->pool == NULL ? unavailable(problem, STAT_REFUSED_LIMIT, "no memory for this") : SAGATE_OK;
}

// Gives the request to a CSE. The exchange may be gone afterwards.
static void begin(struct http_exchange *exchange)
{
    struct http_problem problem;
    if (claim_server(exchange, &problem) != SAGATE_OK) {
        leave_upstream(exchange, UPSTREAM_UNTOLD);
        refuse(exchange, &problem);
        return;
    }
    http_exchange_wait(exchange);
    int result = http_pool_assign(exchange->pool, exchange, false);
    if (result == SAGATE_ELIMIT) {
        http_count(exchange->http, STAT_LIMIT_IN_FLIGHT_UPSTREAM);
        (void)unavailable(&problem, STAT_REFUSED_LIMIT, "too many requests wait for the CSE");
        leave_upstream(exchange, UPSTREAM_UNTOLD);
        refuse(exchange, &problem);
    } else if (result != SAGATE_OK) {
        http_exchange_unanswered(exchange, result == SAGATE_ENOMEM ? UPSTREAM_UNTOLD : UPSTREAM_FAILED,
                                 "the CSE cannot be reached");
    } else {
        http_exchange_pump(exchange);
    }
}

void http_exchange_body(struct http_exchange *exchange, struct slice piece)
{
    struct http_conn *conn = exchange->conn;
    size_t whole = exchange->http->config->limits.http_body_buffer_bytes;
    exchange->received += piece.len;
    exchange->request.expect = false;
    if (content_scan_feed(exchange->scan, piece.data, piece.len) != SAGATE_OK) {
        refuse_content(exchange, RSC_BAD_REQUEST, STAT_REFUSED_CONTENT, "content is malformed");
        return;
    }
    // Before any of the piece goes on: a CSE that reads a message before its end must not see the forgery either.
    if (!check_originators(exchange))
        return;
    buffer_slice(&exchange->body, piece);
    if (exchange->body.failed) {
        refuse_content(exchange, RSC_INTERNAL_SERVER_ERROR, STAT_REFUSED_LIMIT, "no memory for this");
        return;
    }
    // The last piece waits for http_exchange_body_end, so that an incomplete message is all that can be seen before.
    if (!conn->body_unread)
        return;
    if (exchange->streaming) {
        http_exchange_pump(exchange);
    } else if (exchange->body.len > whole) {
        exchange->streaming = true;
        begin(exchange);
    }
}

void http_exchange_body_end(struct http_exchange *exchange)
{
    if (!check_content(exchange))
        return;
    exchange->body_done = true;
    if (!exchange->streaming) {
        begin(exchange);
        return;
    }
    struct http_pool *room = http_pool_uploaded(exchange) ? exchange->pool : NULL;
    http_exchange_pump(exchange);
    if (room != NULL)
        http_pool_serve(room);
}

bool http_exchange_full(const struct http_exchange *exchange)
{
    return exchange->streaming && exchange->body.len >= exchange->http->config->limits.http_body_buffer_bytes;
}

static void put_announcement(struct buffer *wire, struct http_exchange *exchange)
{
    uint8_t header[PROXY_V2_MAX];
    const struct device *device = exchange->conn->device;
    const struct pep_verdict *verdict = &exchange->verdict;
    int len = proxy_v2_write(header, sizeof header, &device->peer, &device->listener->address,
                             slice_of(verdict->originator, verdict->originator_len),
                             slice_text(exchange->principal->credential_id));
    if (len < 0)
        wire->failed = true;
    else
        buffer_add(wire, header, (size_t)len);
}

static void put_head(struct buffer *wire, struct http_exchange *exchange)
{
    const struct http_request *request = &exchange->request;
    struct http_forward forward = {.head = &exchange->head,
                                   .request = request,
                                   .verdict = &exchange->verdict,
                                   .principal = exchange->principal,
                                   .upstream = exchange->pool->upstream,
                                   .server = exchange->pool->server,
                                   .peer = &exchange->conn->device->peer,
                                   .release_version = request->primitive.release_version,
                                   .chunked = exchange->streaming && request->chunked,
                                   .length = exchange->streaming ? request->length : exchange->body.len,
                                   .plain = exchange->pending.kind != 0};
    if (forward.release_version.len == 0)
        forward.release_version = slice_text(exchange->conn->device->listener->release_version_default);
    http_forward_head(wire, &forward);
}

// What can go now, in one run of bytes: some CSEs read a message with a single receive.
static void put_message(struct buffer *wire, struct http_exchange *exchange, struct slice body)
{
    bool chunked = exchange->streaming && exchange->request.chunked;
    if (exchange->client->announce)
        put_announcement(wire, exchange);
    if (!exchange->head_sent)
        put_head(wire, exchange);
    if (chunked)
        http_chunked_write(wire, body);
    else
        buffer_slice(wire, body);
    if (chunked && exchange->body_done)
        http_chunked_finish(wire);
}

// While a device sends slowly its own deadline runs (device.c); the CSE's runs when it is the CSE that is waited for.
static void move_deadline(struct http_exchange *exchange)
{
    if (!exchange->streaming || exchange->conn == NULL)
        return;
    if (exchange->sent || exchange->blocked)
        http_exchange_wait(exchange);
    else
        timer_cancel(&exchange->deadline);
}

void http_exchange_pump(struct http_exchange *exchange)
{
    struct http_client *client = exchange->client;
    struct buffer *wire = &exchange->http->wire;
    if (client == NULL || client->state == HTTP_CLIENT_CONNECTING || exchange->blocked || exchange->sent ||
        exchange->conn == NULL)
        return;
    if (exchange->pool->upstream == NULL && !exchange->head_sent) {
        http_exchange_unanswered(exchange, UPSTREAM_UNTOLD, "the CSE has left the configuration");
        return;
    }
    bool was_full = http_exchange_full(exchange);
    struct slice body = buffer_view(&exchange->body);
    // Until all is checked a byte stays here, for a reader that would take content for whole without its framing.
    if (!exchange->body_done && body.len > 0)
        body.len--;
    profile_enter(PROFILE_UPSTREAM);
    put_message(wire, exchange, body);
    int result = SAGATE_ENOMEM;
    if (!wire->failed)
        result = wire->len == 0
                     ? SAGATE_OK
                     : io_stream_write(exchange->http->options.io, client->link.stream, wire->data, wire->len);
    buffer_reuse(wire, HTTP_KEPT_WIRE);
    profile_leave();
    if (result < 0) {
        http_exchange_unanswered(exchange, result == SAGATE_EGONE ? http_exchange_blame(exchange) : UPSTREAM_UNTOLD,
                                 "the request cannot be sent");
        return;
    }
    client->announce = false;
    exchange->head_sent = true;
    exchange->sent = exchange->body_done;
    exchange->blocked = result == SAGATE_AGAIN;
    if (exchange->streaming)
        buffer_drop(&exchange->body, body.len);
    else if (exchange->request.primitive.operation != ONEM2M_RETRIEVE)
        buffer_reuse(&exchange->body, HTTP_KEPT_BYTES); // what may be sent a second time stays
    move_deadline(exchange);
    if (was_full && !http_exchange_full(exchange))
        http_conn_body_wait(exchange->conn);
    if (exchange->streaming)
        http_conn_resume(exchange->conn); // there is room again
}
