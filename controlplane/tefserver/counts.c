// Metrics of a TEF over libevent's HTTP server.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/tefserver/counts.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IDLE_SECONDS = 10, HEAD_MAX = 8192 };

static const int codes[COUNTS_CODES] = {RSC_OK,
                                        RSC_CREATED,
                                        RSC_DELETED,
                                        RSC_UPDATED,
                                        RSC_BAD_REQUEST,
                                        RSC_NOT_FOUND,
                                        RSC_OPERATION_NOT_ALLOWED,
                                        RSC_ORIGINATOR_HAS_NO_PRIVILEGE,
                                        RSC_CONFLICT,
                                        RSC_ORIGINATOR_NOT_AUTHENTICATED,
                                        RSC_INTERNAL_SERVER_ERROR,
                                        0};

void counts_answer(struct counts *counts, const struct procedure_answer *answer)
{
    size_t at = 0;
    while (at < COUNTS_CODES - 1 && codes[at] != (int)answer->rsc)
        at++;
    counts->answers[answer->procedure][at]++;
}

static void render_answers(const struct counts *counts, FILE *out)
{
    (void)fprintf(out, "# HELP sagate_tef_answers_total Answers by procedure and response status code.\n"
                       "# TYPE sagate_tef_answers_total counter\n");
    for (size_t p = 0; p < PROCEDURE_TOTAL; p++) {
        for (size_t c = 0; c < COUNTS_CODES; c++) {
            char code[16] = "other";
            if (counts->answers[p][c] == 0)
                continue;
            if (codes[c] != 0)
                (void)snprintf(code, sizeof code, "%d", codes[c]);
            (void)fprintf(out, "sagate_tef_answers_total{procedure=\"%s\",rsc=\"%s\"} %llu\n",
                          procedure_name((enum procedure)p), code, (unsigned long long)counts->answers[p][c]);
        }
    }
}

char *counts_render(const struct counts *counts)
{
    static const char *const results[COUNTS_HANDSHAKES] = {"psk", "certificate", "failed"};
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (out == NULL)
        return NULL;
    (void)fprintf(out,
                  "# HELP sagate_tef_connections Connections of clients.\n# TYPE sagate_tef_connections gauge\n"
                  "sagate_tef_connections %llu\n"
                  "# HELP sagate_tef_connections_refused_total Connections over the limit.\n"
                  "# TYPE sagate_tef_connections_refused_total counter\nsagate_tef_connections_refused_total %llu\n"
                  "# HELP sagate_tef_handshakes_total Handshakes by how the client proved itself.\n"
                  "# TYPE sagate_tef_handshakes_total counter\n",
                  (unsigned long long)counts->connections, (unsigned long long)counts->refused);
    for (size_t i = 0; i < COUNTS_HANDSHAKES; i++)
        (void)fprintf(out, "sagate_tef_handshakes_total{result=\"%s\"} %llu\n", results[i],
                      (unsigned long long)counts->handshakes[i]);
    render_answers(counts, out);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

struct counts_http {
    struct evhttp *server;
    const struct counts *counts;
};

static void on_request(struct evhttp_request *request, void *context)
{
    const struct counts_http *http = context;
    const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request));
    struct evbuffer *body = evbuffer_new();
    char *text = NULL;
    int status = HTTP_NOTFOUND;
    if (body != NULL && path != NULL && strcmp(path, "/metrics") == 0) {
        text = counts_render(http->counts);
        status = text == NULL ? HTTP_INTERNAL : HTTP_OK;
    } else if (body != NULL && path != NULL && strcmp(path, "/healthz") == 0) {
        text = strdup("ok\n");
        status = HTTP_OK;
    }
    if (text != NULL)
        (void)evbuffer_add(body, text, strlen(text));
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
    (void)evhttp_add_header(headers, "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    (void)evhttp_add_header(headers, "Connection", "close");
    evhttp_send_reply(request, status, status == HTTP_OK ? "OK" : "Not Found", body);
    if (body != NULL)
        evbuffer_free(body);
    free(text);
}

struct counts_http *counts_http_new(struct event_base *base, const struct address *address, const struct counts *counts)
{
    struct counts_http *http = calloc(1, sizeof *http);
    if (http == NULL)
        return NULL;
    http->counts = counts;
    http->server = evhttp_new(base);
    struct evconnlistener *listener =
        evconnlistener_new_bind(base, NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE, -1,
                                &address->any, (int)address->len);
    if (http->server == NULL || listener == NULL || evhttp_bind_listener(http->server, listener) == NULL) {
        if (listener != NULL)
            evconnlistener_free(listener);
        counts_http_free(http);
        return NULL;
    }
    evhttp_set_timeout(http->server, IDLE_SECONDS);
    evhttp_set_max_headers_size(http->server, HEAD_MAX);
    evhttp_set_max_body_size(http->server, 0);
    evhttp_set_allowed_methods(http->server, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
    evhttp_set_gencb(http->server, on_request, http);
    return http;
}

void counts_http_free(struct counts_http *http)
{
    if (http == NULL)
        return;
    if (http->server != NULL)
        evhttp_free(http->server); // closes the listening socket too
    free(http);
}
