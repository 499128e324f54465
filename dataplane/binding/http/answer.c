// A CSE's answer on its way to the device: read strictly, its head built anew, its body passed on with bounded memory.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/binding/http/internal.h"

static void malformed(struct http_client *client)
{
    http_count(client->http, STAT_HTTP_UPSTREAM_MALFORMED);
    http_exchange_unanswered(client->exchange, UPSTREAM_FAILED, "the CSE's answer is malformed");
}

static void show_to_pep(struct http_exchange *exchange, struct slice content)
{
    struct http *http = exchange->http;
    if (exchange->pending.kind != 0 && exchange->upstream != NULL)
        pep_answer(http->options.pep, exchange->principal, exchange->upstream_index, exchange->upstream,
                   &exchange->pending, exchange->client->response.rsc, content);
    exchange->pending.kind = 0;
}

// Puts the head for the device; what follows is framed as said.
static void answer_head(struct http_exchange *exchange, enum http_framing framing, uint64_t length)
{
    struct http_conn *conn = exchange->conn;
    struct http_client *client = exchange->client;
    exchange->answering = true;
    exchange->collecting = false;
    exchange->out_framing = framing;
    if (conn == NULL)
        return;
    // An answer before the end of the request: the rest of the request cannot be told from the next one any more.
    conn->close = conn->close || exchange->http->draining || !exchange->sent;
    http_answer_head(http_conn_out(conn), &client->head, &client->response, exchange->request.primitive.request_id,
                     framing, length, conn->close);
}

static void answer_body(struct http_exchange *exchange, struct slice piece)
{
    if (exchange->conn == NULL)
        return;
    struct buffer *out = http_conn_out(exchange->conn);
    if (exchange->out_framing == HTTP_BODY_CHUNKED)
        http_chunked_write(out, piece);
    else
        buffer_slice(out, piece);
}

static size_t collect_max(const struct http_exchange *exchange)
{
    return exchange->pending.kind != 0 ? (size_t)HTTP_REGISTRATION_ANSWER_MAX : (size_t)HTTP_HELD_ANSWER_MAX;
}

// The final head is there. SAGATE_AGAIN: a body follows; SAGATE_DONE: none does.
static int begin_answer(struct http_client *client)
{
    struct http_exchange *exchange = client->exchange;
    const struct http_response *response = &client->response;
    client->state = HTTP_CLIENT_BODY;
    client->left = response->length;
    http_chunked_init(&client->chunked);
    // What is short is held until it is whole: a CSE that breaks off then still gives the device a complete answer.
    exchange->collecting = response->framing != HTTP_BODY_LENGTH || response->length <= collect_max(exchange);
    if (response->framing == HTTP_BODY_UNTIL_CLOSE && !response->closes)
        timer_set(client->http->options.wheel, &client->timer, http_now_ms(client->http) + HTTP_SILENCE_MS);
    if (!exchange->collecting) {
        show_to_pep(exchange, (struct slice){0});
        answer_head(exchange, HTTP_BODY_LENGTH, response->length);
    }
    return response->framing == HTTP_BODY_NONE ? SAGATE_DONE : SAGATE_AGAIN;
}

// More came than is held: the device gets it as it comes.
static void stop_collecting(struct http_client *client)
{
    struct http_exchange *exchange = client->exchange;
    bool length_known = client->response.framing == HTTP_BODY_LENGTH;
    show_to_pep(exchange, (struct slice){0});
    answer_head(exchange, length_known ? HTTP_BODY_LENGTH : HTTP_BODY_CHUNKED, client->response.length);
    answer_body(exchange, buffer_view(&exchange->answer));
    buffer_reuse(&exchange->answer, HTTP_KEPT_BYTES);
}

static void take_piece(struct http_client *client, struct slice piece)
{
    struct http_exchange *exchange = client->exchange;
    if (!exchange->collecting) {
        answer_body(exchange, piece);
        return;
    }
    buffer_slice(&exchange->answer, piece);
    struct slice held = buffer_view(&exchange->answer);
    if (held.len > 0 && !slice_is(held, "\r") && !slice_is(held, "\r\n"))
        timer_cancel(&client->timer);
    if (held.len > collect_max(exchange) || exchange->answer.failed)
        stop_collecting(client);
}

// The answer is whole. `keep`: nothing is left on the connection, so that it may be used again.
static void end_answer(struct http_client *client, bool keep)
{
    struct http_exchange *exchange = client->exchange;
    struct http_conn *conn = exchange->conn;
    struct http *http = client->http;
    int rsc = client->response.rsc;
    if (exchange->collecting) {
        struct slice content = buffer_view(&exchange->answer);
        // Without framing, a CRLF alone is the stray one that a CSE sends after each answer.
        if (client->response.framing == HTTP_BODY_UNTIL_CLOSE && slice_is(content, "\r\n"))
            content.len = 0;
        show_to_pep(exchange, content);
        answer_head(exchange, content.len == 0 ? HTTP_BODY_NONE : HTTP_BODY_LENGTH, content.len);
        answer_body(exchange, content);
    } else if (exchange->out_framing == HTTP_BODY_CHUNKED && conn != NULL) {
        http_chunked_finish(http_conn_out(conn));
    }
    if (http->options.stats != NULL)
        stats_count(
            &http->options.stats->primitives[STATS_HTTP][exchange->request.primitive.operation][stats_rsc_row(rsc)], 1);
    keep = keep && client->response.keep && exchange->sent;
    exchange->client = NULL;
    http_exchange_end(exchange, UPSTREAM_ANSWERED);
    http_client_release(client, keep);
    if (conn != NULL)
        http_conn_answered(conn);
}

// Bytes that no request asked for. The CRLF after a body is let pass; anything else ends the connection.
static bool stray_ok(struct http_client *client, const uint8_t *data, size_t len)
{
    static const char crlf[] = "\r\n";
    if (client->stray + len > 2 || memcmp(data, crlf + client->stray, len) != 0)
        return false;
    client->stray += (unsigned)len;
    return true;
}

static int take_head(struct http_client *client, const uint8_t *data, size_t len, size_t *used)
{
    struct http_exchange *exchange = client->exchange;
    int result = http_head_feed(&client->head, data, len, used);
    if (result != SAGATE_OK)
        return result;
    // An answer to what was not asked yet is none.
    if (!exchange->head_sent ||
        http_response_read(&client->head, &exchange->request.primitive, &client->response) != SAGATE_OK)
        return SAGATE_EMALFORMED;
    if (client->response.status >= 200)
        return begin_answer(client);
    if (++client->interim > HTTP_INTERIM_MAX)
        return SAGATE_EMALFORMED;
    http_head_again(&client->head, HTTP_RESPONSE_HEAD, HTTP_RESPONSE_HEAD_MAX, HTTP_KEPT_HEAD);
    return SAGATE_AGAIN;
}

static int take_body(struct http_client *client, const uint8_t *data, size_t len, size_t *used)
{
    struct slice piece = slice_of(data, len);
    int result = SAGATE_AGAIN;
    *used = len;
    if (client->response.framing == HTTP_BODY_CHUNKED) {
        result = http_chunked_feed(&client->chunked, data, len, used, &piece);
    } else if (client->response.framing == HTTP_BODY_LENGTH) {
        *used = len < client->left ? len : (size_t)client->left;
        piece = slice_of(data, *used);
        client->left -= *used;
        result = client->left == 0 ? SAGATE_DONE : SAGATE_AGAIN;
    }
    if (result >= 0 && piece.len > 0)
        take_piece(client, piece);
    return result;
}

// After a part of an answer: to the device with it, and the CSE waits when the device does not keep up.
static void pass_on(struct http_client *client)
{
    struct http_exchange *exchange = client->exchange;
    struct http_conn *conn = exchange->conn;
    if (client->state == HTTP_CLIENT_BODY)
        http_exchange_wait(exchange);
    if (conn == NULL)
        return;
    if (!http_conn_flush(conn)) {
        http_conn_close(conn);
    } else if (conn->blocked && exchange->answering) {
        http_client_pause(client);
        timer_cancel(&exchange->deadline); // the device's own deadline runs
    }
}

void http_client_input(struct http_client *client, const uint8_t *data, size_t len)
{
    size_t at = 0;
    int result = SAGATE_AGAIN;
    if (client->state == HTTP_CLIENT_IDLE) {
        bool ok = stray_ok(client, data, len);
        if (!ok)
            http_count(client->http, STAT_HTTP_UPSTREAM_MALFORMED);
        if (!ok || client->stray == 1) // half a CRLF would be in the way of the next answer
            http_client_drop(client);
        return;
    }
    while (at < len && result == SAGATE_AGAIN) {
        size_t used = 0;
        if (client->state == HTTP_CLIENT_HEAD)
            result = take_head(client, data + at, len - at, &used);
        else
            result = take_body(client, data + at, len - at, &used);
        at += used;
    }
    if (result < 0) {
        malformed(client);
        return;
    }
    if (result == SAGATE_AGAIN) {
        pass_on(client);
        return;
    }
    bool clean = stray_ok(client, data + at, len - at);
    if (!clean)
        http_count(client->http, STAT_HTTP_UPSTREAM_MALFORMED);
    end_answer(client, clean && client->stray != 1);
}

// A request that only reads may be sent once more, when a kept-alive connection ended under it.
static bool retry(struct http_client *client)
{
    struct http_exchange *exchange = client->exchange;
    if (client->served == 0 || exchange->retried || exchange->streaming || exchange->conn == NULL ||
        exchange->request.primitive.operation != ONEM2M_RETRIEVE || client->interim > 0 ||
        exchange->pool->upstream == NULL)
        return false;
    exchange->retried = true;
    exchange->client = NULL;
    exchange->head_sent = exchange->sent = exchange->blocked = false;
    client->exchange = NULL;
    struct http_pool *pool = exchange->pool;
    bool serving = pool->serving;
    pool->serving = true; // the place that gets free is for this request
    http_client_drop(client);
    pool->serving = serving;
    int result = http_pool_assign(pool, exchange, true);
    if (result != SAGATE_OK) {
        bool here = result == SAGATE_ENOMEM || result == SAGATE_ELIMIT;
        http_exchange_unanswered(exchange, here ? UPSTREAM_UNTOLD : UPSTREAM_FAILED, "the CSE cannot be reached");
        http_pool_serve(pool);
    }
    return true;
}

void http_client_ended(struct http_client *client)
{
    if (client->exchange == NULL) {
        http_client_drop(client);
    } else if (client->state == HTTP_CLIENT_BODY && client->response.framing == HTTP_BODY_UNTIL_CLOSE &&
               !client->ended_badly) {
        end_answer(client, false);
    } else if (client->state != HTTP_CLIENT_HEAD || client->head.bytes.len > 0 || !retry(client)) {
        http_exchange_unanswered(client->exchange, http_exchange_blame(client->exchange),
                                 "the CSE ended the connection");
    }
}

void http_client_silence(struct http_client *client)
{
    if (client->state == HTTP_CLIENT_BODY)
        end_answer(client, false);
}
