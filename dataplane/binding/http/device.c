// The server side: one strict reader of a device's stream, one request at a time, answers in order.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "common/profile.h"
#include "dataplane/binding/http/internal.h"

static const struct config_limits *limits(const struct http_conn *conn)
{
    return &conn->http->config->limits;
}

static void set_timer(struct http_conn *conn, unsigned seconds)
{
    timer_set(conn->http->options.wheel, &conn->timer, http_now_ms(conn->http) + (uint64_t)seconds * 1000);
}

void http_conn_body_wait(struct http_conn *conn)
{
    if (conn->state != HTTP_CONN_BODY)
        return;
    conn->progress = 0;
    set_timer(conn, limits(conn)->http_body_seconds);
}

// A body must keep a minimum rate, else a byte now and then would hold a connection of the CSE for ever.
static void body_progress(struct http_conn *conn, size_t len)
{
    conn->progress += len;
    if (conn->progress >= limits(conn)->http_body_buffer_bytes / 4)
        http_conn_body_wait(conn);
}

struct buffer *http_conn_out(struct http_conn *conn)
{
    if (conn->out.cap == 0 && !conn->out.failed) {
        conn->out = conn->http->spare_out;
        conn->http->spare_out = (struct buffer){0};
    }
    return &conn->out;
}

static void give_out_back(struct http_conn *conn)
{
    struct buffer *spare = &conn->http->spare_out;
    buffer_reuse(&conn->out, spare->cap == 0 ? HTTP_KEPT_WIRE : 0);
    if (conn->out.cap == 0)
        return;
    *spare = conn->out;
    conn->out = (struct buffer){0};
}

void http_conn_close(struct http_conn *conn)
{
    if (conn->state == HTTP_CONN_DEAD)
        return;
    conn->state = HTTP_CONN_DEAD;
    timer_cancel(&conn->timer);
    timer_cancel(&conn->stall);
    conn->in.len = 0;
    give_out_back(conn);
    if (conn->exchange != NULL)
        http_exchange_abandon(conn->exchange);
    conn->http->options.port.close(conn->http->options.port.context, conn->device->association);
}

bool http_conn_flush(struct http_conn *conn)
{
    const struct device_port *port = &conn->http->options.port;
    if (conn->out.failed)
        conn->broken = true;
    if (conn->out.len > 0 && !conn->broken) {
        int result = port->send(port->context, conn->device->association, conn->out.data, conn->out.len);
        if (result < 0)
            conn->broken = true;
        if (result == SAGATE_AGAIN && !conn->blocked) {
            conn->blocked = true;
            timer_set(conn->http->options.wheel, &conn->stall,
                      http_now_ms(conn->http) + (uint64_t)limits(conn)->http_body_seconds * 1000);
        }
    }
    give_out_back(conn);
    return !conn->broken;
}

static void become_idle(struct http_conn *conn)
{
    conn->state = HTTP_CONN_IDLE;
    set_timer(conn, limits(conn)->http_idle_seconds);
}

void http_conn_answered(struct http_conn *conn)
{
    bool sent = http_conn_flush(conn);
    if (!sent || conn->close) {
        http_conn_close(conn);
        return;
    }
    if (conn->body_unread) {
        conn->state = HTTP_CONN_DRAIN;
        set_timer(conn, limits(conn)->http_body_seconds);
    } else {
        become_idle(conn);
    }
    http_conn_resume(conn);
}

void http_conn_refuse(struct http_conn *conn, const struct http_problem *problem)
{
    struct http *http = conn->http;
    struct http_exchange *exchange = conn->exchange;
    const struct http_request *request = &exchange->request;
    size_t drainable = limits(conn)->http_body_buffer_bytes;
    if (problem->stat != STAT_COUNT)
        http_count(http, problem->stat);
    if (exchange->answering) { // too late for another answer
        http_conn_close(conn);
        return;
    }
    if (problem->close || request->close || http->draining)
        conn->close = true;
    // A device that waits for 100 may or may not send its body after another answer, so the stream cannot go on.
    if (conn->body_unread && (request->expect || (!conn->body_chunked && conn->left > drainable)))
        conn->close = true;
    if (conn->body_unread && conn->body_chunked)
        conn->left = drainable;
    struct slice version = request->primitive.release_version;
    if (version.len == 0)
        version = slice_text(conn->device->listener->release_version_default);
    const struct http_answer answer = {.status = problem->status,
                                       .rsc = problem->rsc,
                                       .request_id = request->primitive.request_id,
                                       .release_version = version,
                                       .debug = problem->debug,
                                       .is_head = request->is_head,
                                       .close = conn->close};
    http_answer_own(http_conn_out(conn), &answer);
    if (http->options.stats != NULL) {
        unsigned operation = request->operation_known ? (unsigned)request->primitive.operation : 0;
        stats_count(&http->options.stats->primitives[STATS_HTTP][operation][stats_rsc_row(problem->rsc)], 1);
    }
    http_exchange_end(exchange, UPSTREAM_UNTOLD);
    http_conn_answered(conn);
}

static void refuse_syntax(struct http_conn *conn, int error)
{
    struct http_problem problem = {.status = 400,
                                   .rsc = RSC_BAD_REQUEST,
                                   .stat = STAT_REFUSED_MALFORMED,
                                   .debug = "malformed HTTP",
                                   .close = true};
    if (error == SAGATE_ETOOBIG) {
        problem.status = 431;
        problem.debug = "request head is too long";
    } else if (error == SAGATE_EVERSION) {
        problem.status = 505;
        problem.debug = "not HTTP/1.1";
    } else if (error == SAGATE_ENOMEM) {
        problem = (struct http_problem){503, RSC_TARGET_NOT_REACHABLE, STAT_REFUSED_LIMIT, "no memory for this", true};
    }
    if (error != SAGATE_ENOMEM)
        http_count(conn->http, STAT_HTTP_MALFORMED);
    http_conn_refuse(conn, &problem);
}

// An originator in the query must be the one that was checked.
static bool query_passes(struct http_conn *conn)
{
    struct http_exchange *exchange = conn->exchange;
    struct slice query = http_request_query(&exchange->head);
    char value[ONEM2M_ABSOLUTE_MAX + 1];
    size_t len = 0;
    while (http_query_originator(&query, value, &len)) {
        int rsc = pep_check_second(conn->http->options.pep, conn->device, &exchange->request.primitive,
                                   &exchange->verdict, slice_of(value, len));
        if (rsc == 0)
            continue;
        const struct http_problem problem = {.status = onem2m_rsc_http(rsc),
                                             .rsc = rsc,
                                             .stat = STAT_COUNT, // counted by pep_check_second
                                             .debug = "a second originator in the request"};
        http_conn_refuse(conn, &problem);
        return false;
    }
    return true;
}

// The originator check. True when the primitive may go on.
static bool admit(struct http_conn *conn)
{
    struct http_exchange *exchange = conn->exchange;
    struct pep *pep = conn->http->options.pep;
    const struct primitive *primitive = &exchange->request.primitive;
    struct pep_verdict *verdict = &exchange->verdict;
    struct http_problem problem = {.stat = STAT_COUNT};
    profile_enter(PROFILE_PEP);
    int checked = pep_check(pep, conn->device, primitive, verdict);
    profile_leave();
    if (checked != SAGATE_OK || conn->device->principal == NULL) {
        if (verdict->rsc == 0) {
            verdict->rsc = RSC_INTERNAL_SERVER_ERROR;
            verdict->debug = "the originator could not be checked";
        }
    }
    if (verdict->rsc != 0) {
        problem.status = onem2m_rsc_http(verdict->rsc);
        problem.rsc = verdict->rsc;
        problem.debug = verdict->debug == NULL ? "refused" : verdict->debug;
        http_conn_refuse(conn, &problem);
        return false;
    }
    if (!query_passes(conn))
        return false;
    exchange->principal = principal_reference(conn->device->principal);
    if (!pep_wants_answer(primitive, verdict, &exchange->pending))
        exchange->pending.kind = 0;
    return true;
}

static void on_head(struct http_conn *conn)
{
    struct http_exchange *exchange = conn->exchange;
    struct http_problem problem;
    timer_cancel(&conn->timer);
    int result =
        http_request_read(&exchange->head, conn->device->upstream->request_id_bytes, &exchange->request, &problem);
    if (result == SAGATE_ENOMEM) {
        refuse_syntax(conn, result);
        return;
    }
    conn->close = exchange->request.close;
    conn->body_chunked = exchange->request.chunked;
    conn->left = exchange->request.length;
    conn->body_unread = conn->body_chunked || conn->left > 0;
    http_chunked_init(&conn->chunked);
    if (result == SAGATE_OK && conn->left > limits(conn)->http_body_bytes) {
        problem = (struct http_problem){413, RSC_BAD_REQUEST, STAT_REFUSED_LIMIT, "content is too long", true};
        result = SAGATE_EDENIED;
    }
    if (result != SAGATE_OK) {
        if (problem.close && problem.stat == STAT_REFUSED_MALFORMED)
            http_count(conn->http, STAT_HTTP_MALFORMED);
        http_conn_refuse(conn, &problem);
        return;
    }
    if (!admit(conn))
        return;
    if (!conn->body_unread) {
        conn->state = HTTP_CONN_WAIT;
        http_exchange_body_end(exchange);
        return;
    }
    if (http_exchange_body_begin(exchange) != SAGATE_OK) {
        refuse_syntax(conn, SAGATE_ENOMEM);
        return;
    }
    conn->state = HTTP_CONN_BODY;
    http_conn_body_wait(conn);
}

static size_t take_head(struct http_conn *conn, const uint8_t *data, size_t len)
{
    if (conn->state == HTTP_CONN_IDLE) {
        conn->exchange = http_exchange_new(conn);
        if (conn->exchange == NULL) {
            http_conn_close(conn);
            return len;
        }
        conn->close = false;
        conn->body_unread = false;
        conn->state = HTTP_CONN_HEAD;
        set_timer(conn, limits(conn)->http_head_seconds);
    }
    size_t used = 0;
    int result = http_head_feed(&conn->exchange->head, data, len, &used);
    if (result == SAGATE_OK) {
        on_head(conn);
    } else if (result != SAGATE_AGAIN) {
        http_request_glean(&conn->exchange->head, &conn->exchange->request);
        refuse_syntax(conn, result);
    }
    return used;
}

// Reads the next piece of a body, whatever becomes of it. SAGATE_AGAIN, SAGATE_DONE or an error.
static int body_piece(struct http_conn *conn, const uint8_t *data, size_t len, size_t *used, struct slice *piece)
{
    if (conn->body_chunked) {
        int result = http_chunked_feed(&conn->chunked, data, len, used, piece);
        if (result == SAGATE_DONE)
            conn->body_unread = false;
        return result;
    }
    *used = len < conn->left ? len : (size_t)conn->left;
    *piece = slice_of(data, *used);
    conn->left -= *used;
    if (conn->left > 0)
        return SAGATE_AGAIN;
    conn->body_unread = false;
    return SAGATE_DONE;
}

static size_t take_body(struct http_conn *conn, const uint8_t *data, size_t len)
{
    struct http_exchange *exchange = conn->exchange;
    struct slice piece;
    size_t used = 0;
    int result = body_piece(conn, data, len, &used, &piece);
    if (result < 0) {
        refuse_syntax(conn, SAGATE_EMALFORMED);
        return used;
    }
    body_progress(conn, piece.len);
    if (exchange->received + piece.len > limits(conn)->http_body_bytes) {
        const struct http_problem problem = {413, RSC_BAD_REQUEST, STAT_REFUSED_LIMIT, "content is too long", true};
        http_conn_refuse(conn, &problem);
        return used;
    }
    if (result == SAGATE_DONE) {
        conn->state = HTTP_CONN_WAIT;
        timer_cancel(&conn->timer);
    }
    if (piece.len > 0)
        http_exchange_body(exchange, piece);
    if (result == SAGATE_DONE && conn->exchange == exchange)
        http_exchange_body_end(exchange);
    return used;
}

static size_t take_drain(struct http_conn *conn, const uint8_t *data, size_t len)
{
    struct slice piece;
    size_t used = 0;
    int result = body_piece(conn, data, len, &used, &piece);
    if (conn->body_chunked) {
        result = used > conn->left ? SAGATE_ETOOBIG : result;
        conn->left -= used < conn->left ? used : conn->left;
    }
    if (result < 0)
        http_conn_close(conn);
    else if (result == SAGATE_DONE)
        become_idle(conn);
    return used;
}

static bool can_take(const struct http_conn *conn)
{
    if (conn->state == HTTP_CONN_DEAD)
        return true;
    if (conn->blocked || conn->state == HTTP_CONN_WAIT)
        return false;
    return conn->state != HTTP_CONN_BODY || !http_exchange_full(conn->exchange);
}

static size_t consume(struct http_conn *conn, const uint8_t *data, size_t len)
{
    size_t at = 0;
    while (at < len && can_take(conn)) {
        switch (conn->state) {
        case HTTP_CONN_IDLE:
        case HTTP_CONN_HEAD:
            at += take_head(conn, data + at, len - at);
            break;
        case HTTP_CONN_BODY:
            at += take_body(conn, data + at, len - at);
            break;
        case HTTP_CONN_DRAIN:
            at += take_drain(conn, data + at, len - at);
            break;
        default:
            return len;
        }
    }
    return at;
}

// "Expect: 100-continue": said when the device waits for it, that is, has sent nothing of the body.
static void invite_body(struct http_conn *conn)
{
    struct http_exchange *exchange = conn->exchange;
    if (conn->state != HTTP_CONN_BODY || !exchange->request.expect || exchange->received > 0)
        return;
    exchange->request.expect = false;
    buffer_text(http_conn_out(conn), "HTTP/1.1 100 Continue\r\n\r\n");
    if (!http_conn_flush(conn))
        http_conn_close(conn);
}

static void settle(struct http_conn *conn)
{
    const struct device_port *port = &conn->http->options.port;
    if (conn->state == HTTP_CONN_DEAD)
        conn->in.len = 0;
    invite_body(conn);
    if (conn->eof && conn->in.len == 0 && conn->state != HTTP_CONN_WAIT && conn->state != HTTP_CONN_DEAD)
        http_conn_close(conn);
    if (conn->in.len == 0)
        buffer_release(&conn->in);
    bool pause = conn->in.len > 0;
    if (pause != conn->paused) {
        conn->paused = pause;
        port->pause(port->context, conn->device->association, pause);
    }
}

void http_conn_resume(struct http_conn *conn)
{
    if (conn->processing)
        return;
    conn->processing = true;
    size_t used = consume(conn, conn->in.data, conn->in.len);
    buffer_drop(&conn->in, used);
    conn->processing = false;
    settle(conn);
}

static void on_timer(struct timer *timer, void *context, uint64_t now_ms)
{
    struct http_conn *conn = context;
    (void)timer;
    http_set_ms(conn->http, now_ms);
    struct http_problem problem = {408, RSC_BAD_REQUEST, STAT_HTTP_SLOW, "the request took too long", true};
    switch (conn->state) {
    case HTTP_CONN_HEAD:
        http_request_glean(&conn->exchange->head, &conn->exchange->request);
        http_conn_refuse(conn, &problem);
        break;
    case HTTP_CONN_BODY:
        if (http_exchange_full(conn->exchange) || conn->blocked) {
            http_conn_body_wait(conn); // it is the CSE that is slow, or `stall` that decides
        } else {
            http_conn_refuse(conn, &problem);
        }
        break;
    case HTTP_CONN_DRAIN:
        http_count(conn->http, STAT_HTTP_SLOW);
        http_conn_close(conn);
        break;
    case HTTP_CONN_IDLE:
        http_conn_close(conn);
        break;
    default:
        break;
    }
}

// The device does not read what it asked for.
static void on_stall(struct timer *timer, void *context, uint64_t now_ms)
{
    struct http_conn *conn = context;
    (void)timer;
    http_set_ms(conn->http, now_ms);
    http_count(conn->http, STAT_HTTP_SLOW);
    http_conn_close(conn);
}

static struct http_conn *conn_of(struct http *http, struct device *device)
{
    if (device->binding_state != NULL)
        return device->binding_state;
    struct http_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL)
        return NULL;
    conn->http = http;
    conn->device = device;
    conn->timer = (struct timer){.fire = on_timer, .context = conn};
    conn->stall = (struct timer){.fire = on_stall, .context = conn};
    conn->next = http->conns;
    conn->link = &http->conns;
    if (http->conns != NULL)
        http->conns->link = &conn->next;
    http->conns = conn;
    device->binding_state = conn;
    become_idle(conn);
    return conn;
}

void http_from_device(struct http *http, struct device *device, const uint8_t *data, size_t len, uint64_t now_us)
{
    http->now_us = now_us;
    struct http_conn *conn = conn_of(http, device);
    if (conn == NULL) {
        http->options.port.close(http->options.port.context, device->association);
        return;
    }
    if (conn->in.len > 0) {
        if (conn->in.len + len > HTTP_HELD_INPUT_MAX)
            conn->in.failed = true;
        buffer_add(&conn->in, data, len);
    } else {
        conn->processing = true;
        size_t used = consume(conn, data, len);
        conn->processing = false;
        buffer_add(&conn->in, data + used, len - used);
    }
    if (conn->in.failed)
        http_conn_close(conn);
    settle(conn);
}

void http_device_eof(struct http *http, struct device *device, uint64_t now_us)
{
    struct http_conn *conn = device->binding_state;
    http->now_us = now_us;
    if (conn == NULL) {
        http->options.port.close(http->options.port.context, device->association);
        return;
    }
    conn->eof = true;
    settle(conn);
}

void http_device_writable(struct http *http, struct device *device, uint64_t now_us)
{
    struct http_conn *conn = device->binding_state;
    http->now_us = now_us;
    if (conn == NULL || !conn->blocked)
        return;
    conn->blocked = false;
    timer_cancel(&conn->stall);
    bool under_way = conn->state == HTTP_CONN_BODY || conn->state == HTTP_CONN_WAIT;
    if (under_way && conn->exchange->client != NULL)
        http_client_unpause(conn->exchange->client);
    http_conn_resume(conn);
}

void http_device_gone(struct http *http, struct device *device, uint64_t now_us)
{
    struct http_conn *conn = device->binding_state;
    http->now_us = now_us;
    if (conn == NULL)
        return;
    timer_cancel(&conn->timer);
    timer_cancel(&conn->stall);
    if (conn->exchange != NULL)
        http_exchange_abandon(conn->exchange);
    if (conn->dedicated)
        http_pools_forget(http, device->association);
    device->binding_state = NULL;
    *conn->link = conn->next;
    if (conn->next != NULL)
        conn->next->link = conn->link;
    buffer_release(&conn->in);
    buffer_release(&conn->out);
    free(conn);
}
