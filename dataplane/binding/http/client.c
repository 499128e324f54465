// Connections to CSEs: a pool per server, the most recently used first, a bounded queue when all are busy.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/binding/http/internal.h"

static void on_timer(struct timer *timer, void *context, uint64_t now_ms)
{
    struct http_client *client = context;
    (void)timer;
    http_set_ms(client->http, now_ms);
    if (client->exchange != NULL)
        http_client_silence(client);
    else
        http_client_drop(client);
}

struct http_pool *http_pool_get(struct http *http, const struct config_upstream *upstream,
                                const struct config_server *server)
{
    for (struct http_pool *pool = http->pools; pool != NULL; pool = pool->next) {
        if (pool->server == server && pool->upstream == upstream)
            return pool;
    }
    struct http_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return NULL;
    pool->http = http;
    pool->upstream = upstream;
    pool->server = server;
    pool->whole.tail = &pool->whole.first;
    pool->uploads.tail = &pool->uploads.first;
    pool->next = http->pools;
    http->pools = pool;
    return pool;
}

static void count_connections(struct http_pool *pool, int change)
{
    struct stats *stats = pool->http->options.stats;
    pool->count = change > 0 ? pool->count + 1 : pool->count - 1;
    if (stats != NULL && pool->server != NULL && pool->server->number < STATS_SERVERS_MAX)
        stats_set(&stats->servers[pool->server->number].connections, pool->count);
}

static void leave_idle(struct http_client *client)
{
    struct http_pool *pool = client->pool;
    if (client->previous != NULL)
        client->previous->next = client->next;
    else if (pool->idle == client)
        pool->idle = client->next;
    if (client->next != NULL)
        client->next->previous = client->previous;
    client->next = client->previous = NULL;
}

static void reap(struct timer *timer, void *context, uint64_t now_ms)
{
    struct http *http = context;
    (void)timer;
    http_set_ms(http, now_ms);
    http_reap(http);
}

void http_reap(struct http *http)
{
    while (http->dead != NULL) {
        struct http_client *client = http->dead;
        http->dead = client->next;
        free(client);
    }
    for (struct http_pool **at = &http->pools; *at != NULL;) {
        struct http_pool *pool = *at;
        if (pool->upstream == NULL && pool->count == 0 && pool->queued == 0) {
            *at = pool->next;
            free(pool);
        } else {
            at = &pool->next;
        }
    }
}

void http_client_drop(struct http_client *client)
{
    struct http *http = client->http;
    struct http_pool *pool = client->pool;
    if (client->state == HTTP_CLIENT_DEAD)
        return;
    timer_cancel(&client->timer);
    if (client->state == HTTP_CLIENT_IDLE)
        leave_idle(client);
    bool idle = client->state == HTTP_CLIENT_IDLE;
    client->state = HTTP_CLIENT_DEAD;
    if (client->link.stream != 0 && idle)
        io_stream_close(http->options.io, client->link.stream);
    else if (client->link.stream != 0)
        io_stream_abort(http->options.io, client->link.stream);
    client->link.stream = 0;
    http_head_release(&client->head);
    buffer_release(&client->in);
    free(client->originator);
    client->originator = NULL;
    client->next = http->dead;
    http->dead = client;
    http->reaper.fire = reap;
    http->reaper.context = http;
    if (!timer_is_set(&http->reaper))
        timer_set(http->options.wheel, &http->reaper, http_now_ms(http) + 1);
    count_connections(pool, -1);
    http_pool_serve(pool);
}

static bool dedicates(const struct http_pool *pool)
{
    return pool->upstream != NULL && pool->upstream->http_identity == CONFIG_IDENTITY_PROXY_V2;
}

static bool speaks_for(const struct http_client *client, const struct http_exchange *exchange)
{
    return client->originator != NULL &&
           slice_is(slice_of(exchange->verdict.originator, exchange->verdict.originator_len), client->originator);
}

static unsigned uploads_max(const struct http_pool *pool)
{
    return pool->upstream->connections < 2 ? 1 : pool->upstream->connections / 2;
}

static bool has_room(const struct http_pool *pool, const struct http_exchange *exchange)
{
    return exchange->body_done || pool->uploading < uploads_max(pool);
}

bool http_pool_uploaded(struct http_exchange *exchange)
{
    if (!exchange->uploading)
        return false;
    exchange->uploading = false;
    exchange->pool->uploading--;
    return true;
}

static void attach(struct http_client *client, struct http_exchange *exchange)
{
    if (!exchange->body_done) {
        exchange->uploading = true;
        client->pool->uploading++;
    }
    client->exchange = exchange;
    exchange->client = client;
    client->interim = 0;
    client->stray = 0;
    http_head_again(&client->head, HTTP_RESPONSE_HEAD, HTTP_RESPONSE_HEAD_MAX, HTTP_KEPT_HEAD);
    if (dedicates(client->pool) && exchange->conn != NULL)
        exchange->conn->dedicated = true;
}

static int open_client(struct http_pool *pool, struct http_exchange *exchange)
{
    struct http *http = pool->http;
    struct http_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        return SAGATE_ENOMEM;
    client->link.user.kind = http->options.io_user_kind;
    client->http = http;
    client->pool = pool;
    client->timer = (struct timer){.fire = on_timer, .context = client};
    if (dedicates(pool)) {
        client->announce = true;
        client->association = exchange->conn->device->association;
        client->originator = strndup(exchange->verdict.originator, exchange->verdict.originator_len);
    }
    int result = client->announce && client->originator == NULL ? SAGATE_ENOMEM : SAGATE_OK;
    if (result == SAGATE_OK)
        result = io_stream_connect(http->options.io, &pool->server->http, &client->link.user, &client->link.stream);
    if (result != SAGATE_OK) {
        free(client->originator);
        free(client);
        return result;
    }
    count_connections(pool, 1);
    attach(client, exchange);
    return SAGATE_OK;
}

// An idle connection that may carry the exchange. A dedicated one that speaks for another originator is ended.
static struct http_client *find_idle(struct http_pool *pool, const struct http_exchange *exchange)
{
    struct http_client *client = pool->idle;
    while (client != NULL && dedicates(pool)) {
        struct http_client *next = client->next;
        if (client->association == exchange->conn->device->association) {
            if (speaks_for(client, exchange))
                break;
            http_client_drop(client);
        }
        client = next;
    }
    return client;
}

// Makes room among dedicated connections by ending the one that was not used for longest.
static void make_room(struct http_pool *pool)
{
    struct http_client *client = pool->idle;
    while (client != NULL && client->next != NULL)
        client = client->next;
    if (client != NULL && pool->count >= pool->upstream->connections)
        http_client_drop(client);
}

static int assign(struct http_pool *pool, struct http_exchange *exchange, bool fresh)
{
    if (!has_room(pool, exchange))
        return SAGATE_AGAIN;
    struct http_client *client = fresh ? NULL : find_idle(pool, exchange);
    if (client != NULL) {
        leave_idle(client);
        timer_cancel(&client->timer);
        client->state = HTTP_CLIENT_HEAD;
        attach(client, exchange);
        return SAGATE_OK;
    }
    make_room(pool);
    if (pool->count < pool->upstream->connections)
        return open_client(pool, exchange);
    return SAGATE_AGAIN;
}

// Who is next of those that wait and may have a connection: the one that began first.
static struct http_exchange *next_waiting(const struct http_pool *pool)
{
    struct http_exchange *whole = pool->whole.first, *upload = pool->uploads.first;
    if (upload == NULL || (pool->upstream != NULL && !has_room(pool, upload)))
        return whole;
    return whole == NULL || upload->started_us < whole->started_us ? upload : whole;
}

int http_pool_assign(struct http_pool *pool, struct http_exchange *exchange, bool fresh)
{
    bool serving = pool->serving;
    pool->serving = true; // ending a connection here makes room for this exchange, not for the queue
    int result = fresh || next_waiting(pool) == NULL ? assign(pool, exchange, fresh) : SAGATE_AGAIN;
    pool->serving = serving;
    if (result != SAGATE_AGAIN)
        return result;
    // As many uploads may wait as may be under way, so that they do not take all of the requests in flight either.
    bool upload = !exchange->body_done;
    if (pool->queued >= pool->upstream->requests || (upload && pool->queued_uploads >= uploads_max(pool)))
        return SAGATE_ELIMIT;
    struct http_queue *queue = upload ? &pool->uploads : &pool->whole;
    exchange->queue = queue;
    exchange->queue_next = NULL;
    *queue->tail = exchange;
    queue->tail = &exchange->queue_next;
    pool->queued++;
    pool->queued_uploads += upload;
    return SAGATE_OK;
}

void http_pool_unqueue(struct http_exchange *exchange)
{
    struct http_pool *pool = exchange->pool;
    struct http_queue *queue = exchange->queue;
    struct http_exchange **at = &queue->first;
    while (*at != NULL && *at != exchange)
        at = &(*at)->queue_next;
    if (*at == NULL)
        return;
    *at = exchange->queue_next;
    if (queue->tail == &exchange->queue_next)
        queue->tail = at;
    exchange->queue = NULL;
    pool->queued--;
    pool->queued_uploads -= queue == &pool->uploads;
}

// Gives free connections to those who wait. One at a time, since what is done here may come back here.
void http_pool_serve(struct http_pool *pool)
{
    if (pool->serving)
        return;
    pool->serving = true;
    struct http_exchange *exchange;
    while ((exchange = next_waiting(pool)) != NULL) {
        int result = pool->upstream == NULL ? SAGATE_EGONE : assign(pool, exchange, false);
        if (result == SAGATE_AGAIN)
            break;
        http_pool_unqueue(exchange);
        if (result == SAGATE_OK)
            http_exchange_pump(exchange);
        else
            http_exchange_unanswered(exchange, result == SAGATE_ESYS ? UPSTREAM_FAILED : UPSTREAM_UNTOLD,
                                     "the CSE cannot be reached");
    }
    pool->serving = false;
}

void http_client_release(struct http_client *client, bool keep)
{
    struct http_pool *pool = client->pool;
    client->exchange = NULL;
    client->served++;
    timer_cancel(&client->timer);
    http_head_again(&client->head, HTTP_RESPONSE_HEAD, HTTP_RESPONSE_HEAD_MAX, HTTP_KEPT_HEAD);
    // The device of a dedicated connection may have gone meanwhile.
    if (client->originator != NULL &&
        client->http->options.port.find(client->http->options.port.context, client->association) == NULL)
        keep = false;
    client->state = HTTP_CLIENT_IDLE;
    client->next = pool->idle;
    client->previous = NULL;
    if (pool->idle != NULL)
        pool->idle->previous = client;
    pool->idle = client;
    if (!keep || client->ended || client->link.stream == 0 || pool->upstream == NULL) {
        http_client_drop(client);
        return;
    }
    timer_set(client->http->options.wheel, &client->timer,
              http_now_ms(client->http) + (uint64_t)pool->upstream->connection_idle_seconds * 1000);
    http_pool_serve(pool);
}

void http_client_pause(struct http_client *client)
{
    if (client->paused || client->link.stream == 0)
        return;
    client->paused = true;
    (void)io_stream_pause(client->http->options.io, client->link.stream, true);
}

void http_client_unpause(struct http_client *client)
{
    struct buffer held = client->in;
    if (!client->paused)
        return;
    client->paused = false;
    client->in = (struct buffer){0};
    if (client->link.stream != 0)
        (void)io_stream_pause(client->http->options.io, client->link.stream, false);
    if (client->exchange != NULL)
        http_exchange_wait(client->exchange);
    if (held.len > 0)
        http_client_input(client, held.data, held.len);
    buffer_release(&held);
    if (client->state != HTTP_CLIENT_DEAD && !client->paused && client->ended)
        http_client_ended(client);
}

static void on_connected(struct http_client *client, int error)
{
    struct http_exchange *exchange = client->exchange;
    if (error == 0) {
        client->state = HTTP_CLIENT_HEAD;
        http_exchange_pump(exchange);
        return;
    }
    client->link.stream = 0;
    http_exchange_unanswered(exchange, UPSTREAM_FAILED, "the CSE cannot be reached");
}

static void on_data(struct http_client *client, const uint8_t *data, size_t len)
{
    if (!client->paused) {
        http_client_input(client, data, len);
        return;
    }
    if (client->in.len + len > HTTP_HELD_INPUT_MAX)
        client->in.failed = true;
    buffer_add(&client->in, data, len);
    if (client->in.failed)
        http_exchange_unanswered(client->exchange, UPSTREAM_UNTOLD, "the answer cannot be held");
}

void http_client_event(struct http_client *client, const struct io_event *event)
{
    struct http_exchange *exchange = client->exchange;
    switch (event->type) {
    case IO_CONNECTED:
        if (client->state == HTTP_CLIENT_CONNECTING)
            on_connected(client, event->error);
        break;
    case IO_DATA:
        on_data(client, event->data, event->len);
        break;
    case IO_WRITABLE:
        if (exchange == NULL || !exchange->blocked)
            break;
        exchange->blocked = false;
        http_exchange_pump(exchange);
        break;
    case IO_EOF:
    case IO_CLOSED:
        client->ended = true;
        client->ended_badly = event->error != 0;
        if (event->type == IO_CLOSED)
            client->link.stream = 0;
        if (!client->paused)
            http_client_ended(client);
        break;
    default:
        break;
    }
}

void http_pools_forget(struct http *http, uint64_t association)
{
    for (struct http_pool *pool = http->pools; pool != NULL; pool = pool->next) {
        for (struct http_client *client = pool->idle; client != NULL;) {
            struct http_client *next = client->next;
            if (client->originator != NULL && client->association == association)
                http_client_drop(client);
            client = next;
        }
    }
}

bool http_find_server(const struct config *config, const char *upstream_name, const struct config_server *old,
                      const struct config_upstream **upstream, const struct config_server **server)
{
    for (size_t i = 0; i < config->upstream_count; i++) {
        if (strcmp(config->upstreams[i].name, upstream_name) != 0)
            continue;
        *upstream = &config->upstreams[i];
        for (size_t j = 0; old != NULL && j < (*upstream)->server_count; j++) {
            *server = &(*upstream)->servers[j];
            if (strcmp((*server)->name, old->name) == 0 && (*server)->has_http &&
                address_equal(&(*server)->http, &old->http))
                return true;
        }
        *server = NULL;
        return false;
    }
    *upstream = NULL;
    *server = NULL;
    return false;
}

void http_pools_reload(struct http *http, const struct config *config)
{
    for (struct http_exchange *exchange = http->exchanges; exchange != NULL; exchange = exchange->next) {
        if (!exchange->begun || exchange->upstream == NULL)
            continue;
        const struct config_upstream *upstream = NULL;
        (void)http_find_server(config, exchange->upstream->name, exchange->server, &upstream, &exchange->server);
        exchange->upstream = upstream;
        if (upstream != NULL)
            exchange->upstream_index = (size_t)(upstream - config->upstreams);
    }
    for (struct http_pool *pool = http->pools; pool != NULL; pool = pool->next) {
        enum config_identity before = pool->upstream == NULL ? CONFIG_IDENTITY_NONE : pool->upstream->http_identity;
        const struct config_server *server = pool->server;
        if (pool->upstream != NULL &&
            !http_find_server(config, pool->upstream->name, server, &pool->upstream, &pool->server))
            pool->upstream = NULL;
        // A connection announces itself once, so a change of the identity's form needs new ones.
        pool->renew = pool->upstream == NULL || pool->upstream->http_identity != before;
    }
    // What is done here may begin requests, which look for their pools: all point into the new configuration by now.
    for (struct http_pool *pool = http->pools; pool != NULL; pool = pool->next) {
        pool->serving = true; // those that wait must not get what is to be dropped
        while (pool->renew && pool->idle != NULL)
            http_client_drop(pool->idle);
        pool->serving = pool->renew = false;
        http_pool_serve(pool);
    }
}

void http_pools_free(struct http *http)
{
    for (struct http_pool *pool = http->pools; pool != NULL; pool = pool->next) {
        while (pool->idle != NULL)
            http_client_drop(pool->idle);
        pool->upstream = NULL;
    }
    http_reap(http);
    timer_cancel(&http->reaper);
}
