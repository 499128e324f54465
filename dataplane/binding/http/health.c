// Health checks of CSEs, each on a connection of its own.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/binding/http/internal.h"

struct http_check {
    struct http_link link;
    struct http *http;
    const struct config_upstream *upstream; // NULL: has left the configuration, or the outcome was told
    const struct config_server *server;
    bool begun;
    struct timer timer;
    struct http_head head;
    unsigned interim;
    struct http_check *next;
};

static void release(struct http_check *check)
{
    struct http_check **at = &check->http->checks;
    while (*at != check)
        at = &(*at)->next;
    *at = check->next;
    timer_cancel(&check->timer);
    free(check);
}

// Tells the outcome, once. The check itself goes with its timer, since an event in hand may still point at it.
static void conclude(struct http_check *check, bool healthy)
{
    struct http *http = check->http;
    const struct config_upstream *upstream = check->upstream;
    if (check->link.stream != 0)
        io_stream_abort(http->options.io, check->link.stream);
    check->link.stream = 0;
    check->upstream = NULL;
    http_head_release(&check->head);
    timer_set(http->options.wheel, &check->timer, http_now_ms(http) + 1);
    if (upstream != NULL)
        upstream_health_result(http->options.upstreams, check->server, CONFIG_HTTP, healthy);
}

static void on_timer(struct timer *timer, void *context, uint64_t now_ms)
{
    struct http_check *check = context;
    struct http *http = check->http;
    (void)timer;
    http_set_ms(http, now_ms);
    if (check->upstream == NULL) {
        release(check);
        return;
    }
    if (check->begun) {
        conclude(check, false);
        return;
    }
    check->begun = true;
    timer_set(http->options.wheel, &check->timer, now_ms + check->upstream->health_timeout_milliseconds);
    if (io_stream_connect(http->options.io, &check->server->http, &check->link.user, &check->link.stream) != SAGATE_OK)
        conclude(check, false);
}

// The check is begun by its timer, which knows the time.
void http_check_start(void *context, const struct config_upstream *upstream, const struct config_server *server)
{
    struct http *http = context;
    struct http_check *check = calloc(1, sizeof *check);
    if (check == NULL) {
        upstream_health_result(http->options.upstreams, server, CONFIG_HTTP, false);
        return;
    }
    check->link.user.kind = http->options.io_user_kind;
    check->link.is_check = true;
    check->http = http;
    check->upstream = upstream;
    check->server = server;
    check->timer = (struct timer){.fire = on_timer, .context = check};
    http_head_init(&check->head, HTTP_RESPONSE_HEAD, HTTP_RESPONSE_HEAD_MAX);
    check->next = http->checks;
    http->checks = check;
    timer_set(http->options.wheel, &check->timer, 0);
}

static void put(struct buffer *out, const char *name, const char *value)
{
    if (value == NULL || value[0] == '\0')
        return;
    buffer_text(out, name);
    buffer_text(out, value);
    buffer_text(out, "\r\n");
}

static void send_request(struct http_check *check)
{
    const struct config_upstream *upstream = check->upstream;
    struct buffer out = {0};
    uint8_t header[PROXY_V2_MAX];
    char address[ADDRESS_TEXT_MAX];
    if (upstream->http_identity == CONFIG_IDENTITY_PROXY_V2) {
        int len = proxy_v2_write(header, sizeof header, &check->server->http, &check->server->http,
                                 slice_text(upstream->health_originator), (struct slice){0});
        buffer_add(&out, header, len < 0 ? 0 : (size_t)len);
    }
    buffer_text(&out, "GET ");
    buffer_text(&out, upstream->health_path);
    buffer_text(&out, " HTTP/1.1\r\n");
    put(&out, "Host: ", address_format(&check->server->http, address));
    put(&out, "X-M2M-Origin: ", upstream->health_originator);
    put(&out, "X-M2M-RI: ", "sagate-health");
    put(&out, "X-M2M-RVI: ", "3");
    put(&out, "Accept: ", "application/json");
    put(&out, "Authorization: ", upstream->authorization);
    put(&out, "Connection: ", "close");
    buffer_text(&out, "\r\n");
    bool sent =
        !out.failed && io_stream_write(check->http->options.io, check->link.stream, out.data, out.len) >= SAGATE_OK;
    buffer_release(&out);
    if (!sent)
        conclude(check, false);
}

static void take_answer(struct http_check *check, const uint8_t *data, size_t len)
{
    size_t at = 0;
    while (at < len) {
        size_t used = 0;
        int result = http_head_feed(&check->head, data + at, len - at, &used);
        at += used;
        if (result == SAGATE_AGAIN)
            return;
        if (result != SAGATE_OK || ++check->interim > HTTP_INTERIM_MAX) {
            conclude(check, false);
            return;
        }
        if (check->head.status >= 200) {
            conclude(check, check->head.status < 500);
            return;
        }
        http_head_release(&check->head);
        http_head_init(&check->head, HTTP_RESPONSE_HEAD, HTTP_RESPONSE_HEAD_MAX);
    }
}

void http_check_event(struct http *http, const struct io_event *event)
{
    struct http_check *check = (struct http_check *)(void *)event->user;
    (void)http;
    if (check->upstream == NULL)
        return;
    switch (event->type) {
    case IO_CONNECTED:
        if (event->error != 0)
            check->link.stream = 0;
        if (event->error != 0 || check->upstream->http_health == CONFIG_HEALTH_CONNECT)
            conclude(check, event->error == 0);
        else
            send_request(check);
        break;
    case IO_DATA:
        take_answer(check, event->data, event->len);
        break;
    case IO_CLOSED:
        check->link.stream = 0;
        conclude(check, false);
        break;
    case IO_EOF:
        conclude(check, false);
        break;
    default:
        break;
    }
}

void http_checks_reload(struct http *http, const struct config *config)
{
    for (struct http_check *check = http->checks; check != NULL; check = check->next) {
        if (check->upstream == NULL)
            continue;
        const struct config_server *server = check->server;
        if (http_find_server(config, check->upstream->name, server, &check->upstream, &check->server))
            continue;
        check->upstream = NULL; // nobody wants to know any more
        conclude(check, false);
    }
}

void http_checks_free(struct http *http)
{
    struct http_check *next = NULL;
    for (struct http_check *check = http->checks; check != NULL; check = next) {
        next = check->next;
        if (check->link.stream != 0)
            io_stream_abort(http->options.io, check->link.stream);
        http_head_release(&check->head);
        timer_cancel(&check->timer);
        free(check);
    }
    http->checks = NULL;
}
