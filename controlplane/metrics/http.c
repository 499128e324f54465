// The HTTP server for monitoring, over libevent.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/clock.h"
#include "common/error.h"
#include "controlplane/metrics/metrics.h"

#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// A connection ends with its answer, or when nothing comes for IDLE_SECONDS; accepting at most ACCEPT_MAX in such a
// time keeps a port scan from taking all descriptors.
enum { IDLE_SECONDS = 10, ACCEPT_MAX = 256, HEAD_MAX = 8192, BODY_MAX = 0 };

struct metrics_http {
    struct event_base *base;
    void (*fill)(void *context, struct metrics_source *out);
    void *context;
    struct evhttp *server;
    struct evhttp_bound_socket *bound;
    struct event *resume;
    uint64_t window_ms;
    unsigned accepted;
};

static void reply(struct evhttp_request *request, int status, const char *reason, const char *type,
                  struct evbuffer *body)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
    (void)evhttp_add_header(headers, "Content-Type", type);
    (void)evhttp_add_header(headers, "Connection", "close");
    evhttp_send_reply(request, status, reason, body);
}

static void on_request(struct evhttp_request *request, void *context)
{
    struct metrics_http *http = context;
    const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request));
    struct evbuffer *body = evbuffer_new();
    struct metrics_source source = {0};
    char reason[128];
    if (body == NULL || path == NULL) {
        reply(request, HTTP_INTERNAL, "Internal Server Error", "text/plain", NULL);
    } else if (strcmp(path, "/metrics") == 0) {
        http->fill(http->context, &source);
        metrics_render(&source, body);
        reply(request, HTTP_OK, "OK", "text/plain; version=0.0.4; charset=utf-8", body);
    } else if (strcmp(path, "/healthz") == 0) {
        (void)evbuffer_add_printf(body, "ok\n");
        reply(request, HTTP_OK, "OK", "text/plain", body);
    } else if (strcmp(path, "/readyz") == 0) {
        http->fill(http->context, &source);
        bool ready = metrics_ready(&source, reason, sizeof reason);
        (void)evbuffer_add_printf(body, "%s\n", ready ? "ready" : reason);
        reply(request, ready ? HTTP_OK : HTTP_SERVUNAVAIL, ready ? "OK" : "Service Unavailable", "text/plain", body);
    } else {
        (void)evbuffer_add_printf(body, "not found; there is /metrics, /healthz, /readyz\n");
        reply(request, HTTP_NOTFOUND, "Not Found", "text/plain", body);
    }
    if (body != NULL)
        evbuffer_free(body);
}

static void on_resume(evutil_socket_t fd, short what, void *context)
{
    struct metrics_http *http = context;
    (void)fd;
    (void)what;
    if (http->bound != NULL)
        (void)evconnlistener_enable(evhttp_bound_socket_get_listener(http->bound));
}

// Called for each connection accepted.
static struct bufferevent *on_accept(struct event_base *base, void *context)
{
    static const struct timeval pause = {.tv_sec = IDLE_SECONDS};
    struct metrics_http *http = context;
    uint64_t now = clock_ms();
    if (now - http->window_ms >= IDLE_SECONDS * 1000U) {
        http->window_ms = now;
        http->accepted = 0;
    }
    if (++http->accepted >= ACCEPT_MAX) {
        (void)evconnlistener_disable(evhttp_bound_socket_get_listener(http->bound));
        (void)event_add(http->resume, &pause);
    }
    return bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
}

struct metrics_http *metrics_http_new(struct event_base *base, void (*fill)(void *context, struct metrics_source *out),
                                      void *context)
{
    struct metrics_http *http = calloc(1, sizeof *http);
    if (http == NULL)
        return NULL;
    http->base = base;
    http->fill = fill;
    http->context = context;
    http->server = evhttp_new(base);
    http->resume = evtimer_new(base, on_resume, http);
    if (http->server == NULL || http->resume == NULL) {
        metrics_http_free(http);
        return NULL;
    }
    evhttp_set_timeout(http->server, IDLE_SECONDS);
    evhttp_set_max_headers_size(http->server, HEAD_MAX);
    evhttp_set_max_body_size(http->server, BODY_MAX);
    evhttp_set_allowed_methods(http->server, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
    evhttp_set_bevcb(http->server, on_accept, http);
    evhttp_set_gencb(http->server, on_request, http);
    return http;
}

void metrics_http_free(struct metrics_http *http)
{
    if (http == NULL)
        return;
    if (http->server != NULL)
        evhttp_free(http->server); // closes the listening socket too
    if (http->resume != NULL)
        event_free(http->resume);
    free(http);
}

int metrics_http_listen(struct metrics_http *http, int fd)
{
    struct evhttp_bound_socket *bound = NULL;
    if (fd >= 0) {
        (void)evutil_make_socket_nonblocking(fd);
        bound = evhttp_accept_socket_with_handle(http->server, fd);
        if (bound == NULL) {
            close(fd);
            return SAGATE_ENOMEM;
        }
    }
    if (http->bound != NULL)
        evhttp_del_accept_socket(http->server, http->bound);
    http->bound = bound;
    return SAGATE_OK;
}
