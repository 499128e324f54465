// The demonstration CSE's HTTP/1.1 server. It reads with plain recv, since some real CSEs want a head and its body in
// one, and writes exactly the bytes that the options ask for.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "demo_cse.h"

#include <ctype.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/listener.h>
#include <event2/util.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { INPUT_MAX = 32 << 20, RECEIVE_BYTES = 64 << 10, HEADERS_MAX = 100 };

struct demo_http {
    struct evconnlistener *listener;
    struct connection *first;
    unsigned long accepted;
};

struct connection {
    struct demo *demo;
    struct connection *next, *previous;
    evutil_socket_t fd;
    struct event *readable, *writable, *timer;
    struct evbuffer *out;
    uint8_t *in;
    size_t in_len, in_cap, need;
    unsigned long number;
    bool proxy_done, waiting, continued, close_when_sent, reset_when_sent;
    json_t *proxy;
};

struct message {
    char method[16];
    json_t *headers;
    size_t head_len, total_len;
    uint8_t *body; // owned when `unchunked`
    bool unchunked, close, expects_continue;
    struct request request;
};

enum parse { PARSE_MORE, PARSE_COMPLETE, PARSE_BAD };

static void connection_free(struct connection *c)
{
    struct demo_http *http = c->demo->http;
    if (c->previous != NULL)
        c->previous->next = c->next;
    else
        http->first = c->next;
    if (c->next != NULL)
        c->next->previous = c->previous;
    event_free(c->readable);
    event_free(c->writable);
    event_free(c->timer);
    evbuffer_free(c->out);
    json_decref(c->proxy);
    free(c->in);
    close(c->fd);
    free(c);
}

// False when the connection has gone.
static bool flush(struct connection *c)
{
    while (evbuffer_get_length(c->out) > 0) {
        int n = evbuffer_write(c->out, c->fd);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            event_add(c->writable, NULL);
            return true;
        }
        if (n <= 0) {
            connection_free(c);
            return false;
        }
    }
    if (c->close_when_sent) {
        if (c->reset_when_sent)
            setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
        connection_free(c);
        return false;
    }
    return true;
}

// --- Reading -----------------------------------------------------------------------------------------------------

static void to_from_target(struct request *request, const char *target)
{
    size_t path_len = strcspn(target, "?");
    char path[1024];
    if (!percent_decode(target, path_len, path, sizeof path))
        return;
    if (strncmp(path, "/~/", 3) == 0)
        snprintf(request->to, sizeof request->to, "%s", path + 2);
    else if (strncmp(path, "/_/", 3) == 0)
        snprintf(request->to, sizeof request->to, "//%s", path + 3);
    else
        snprintf(request->to, sizeof request->to, "%s", path[0] == '/' ? path + 1 : path);
    const char *query = target + path_len;
    while (*query != '\0') {
        size_t len = strcspn(++query, "&");
        request_add_query(request, query, len);
        query += len;
    }
}

static void take_header(struct message *message, const char *name, const char *value, size_t *length, bool *chunked)
{
    struct request *request = &message->request;
    if (strcasecmp(name, "X-M2M-Origin") == 0) {
        // As one CSE in the field does: a second header is joined to the first.
        size_t used = request->has_from ? strlen(request->from) : 0;
        snprintf(request->from + used, sizeof request->from - used, "%s%s", request->has_from ? "," : "", value);
        request->has_from = true;
    } else if (strcasecmp(name, "X-M2M-RI") == 0) {
        snprintf(request->rqi, sizeof request->rqi, "%s", value);
        request->has_rqi = true;
    } else if (strcasecmp(name, "X-M2M-RVI") == 0) {
        snprintf(request->rvi, sizeof request->rvi, "%s", value);
    } else if (strcasecmp(name, "Content-Length") == 0) {
        *length = strtoul(value, NULL, 10);
    } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
        *chunked = strcasecmp(value, "chunked") == 0;
    } else if (strcasecmp(name, "Connection") == 0) {
        message->close = strcasecmp(value, "close") == 0;
    } else if (strcasecmp(name, "Expect") == 0) {
        message->expects_continue = true;
    } else if (strcasecmp(name, "Content-Type") == 0) {
        const char *ty = strcasestr(value, "ty=");
        request->json_type = strcasestr(value, "json") != NULL;
        if (ty != NULL)
            request->ty = (int)strtol(ty + 3, NULL, 10);
    }
}

static enum parse unchunk(const struct connection *c, struct message *message)
{
    size_t at = message->head_len, used = 0;
    message->body = malloc(c->in_len);
    message->unchunked = true;
    if (message->body == NULL)
        return PARSE_BAD;
    for (;;) {
        const uint8_t *line_end = memmem(c->in + at, c->in_len - at, "\r\n", 2);
        if (line_end == NULL)
            return PARSE_MORE;
        char *end;
        size_t size = strtoul((const char *)c->in + at, &end, 16);
        if (end == (const char *)c->in + at || size > INPUT_MAX)
            return PARSE_BAD;
        at = (size_t)(line_end - c->in) + 2;
        if (size == 0) { // trailers are not expected: an empty line ends the message
            if (c->in_len - at < 2)
                return PARSE_MORE;
            message->total_len = at + 2;
            message->request.body = message->body;
            message->request.body_len = used;
            return memcmp(c->in + at, "\r\n", 2) == 0 ? PARSE_COMPLETE : PARSE_BAD;
        }
        if (c->in_len - at < size + 2)
            return PARSE_MORE;
        memcpy(message->body + used, c->in + at, size);
        used += size;
        at += size + 2;
    }
}

static bool parse_head(char *head, struct message *message, size_t *length, bool *chunked)
{
    char *save = NULL, *line = strtok_r(head, "\r\n", &save);
    char version[16];
    struct request *request = &message->request;
    if (line == NULL || sscanf(line, "%15s %1023s %15s", message->method, request->target, version) != 3)
        return false;
    message->close = strcmp(version, "HTTP/1.0") == 0;
    while ((line = strtok_r(NULL, "\r\n", &save)) != NULL) {
        char *colon = strchr(line, ':');
        if (colon == NULL || json_array_size(message->headers) >= HEADERS_MAX)
            return false;
        *colon = '\0';
        char *value = colon + 1;
        value += strspn(value, " \t");
        size_t value_len = strlen(value);
        while (value_len > 0 && (value[value_len - 1] == ' ' || value[value_len - 1] == '\t'))
            value[--value_len] = '\0';
        json_array_append_new(message->headers,
                              json_pack("[o,o]", record_text(line, strlen(line)), record_text(value, value_len)));
        take_header(message, line, value, length, chunked);
    }
    return true;
}

static enum parse parse_message(struct connection *c, struct message *message)
{
    static const char *const methods[] = {"", "POST", "GET", "PUT", "DELETE"};
    size_t length = 0;
    bool chunked = false;
    memset(message, 0, sizeof *message);
    if (c->in_len < c->need)
        return PARSE_MORE;
    const uint8_t *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
    if (end == NULL)
        return PARSE_MORE;
    message->head_len = (size_t)(end - c->in) + 4;
    message->headers = json_array();
    message->request.binding = "http";
    message->request.ty = -1;
    char *head = strndup((const char *)c->in, message->head_len);
    bool ok = head != NULL && parse_head(head, message, &length, &chunked);
    free(head);
    if (!ok || length > INPUT_MAX)
        return PARSE_BAD;
    for (int i = OP_CREATE; i <= OP_DELETE; i++)
        if (strcmp(message->method, methods[i]) == 0)
            message->request.operation = i;
    if (message->request.operation == OP_CREATE && message->request.ty < 0)
        message->request.operation = OP_NOTIFY;
    to_from_target(&message->request, message->request.target);
    if (chunked)
        return unchunk(c, message);
    message->total_len = message->head_len + length;
    message->request.body = c->in + message->head_len;
    message->request.body_len = length;
    c->need = message->total_len;
    return c->in_len >= message->total_len ? PARSE_COMPLETE : PARSE_MORE;
}

static void message_free(struct message *message)
{
    json_decref(message->headers);
    if (message->unchunked)
        free(message->body);
}

// PROXY protocol v2: the header is taken off and its TLVs are recorded. True when there is no more of it to wait for.
static bool take_proxy_header(struct connection *c)
{
    static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";
    if (!c->demo->options.proxy_v2 || c->proxy_done)
        return true;
    if (c->in_len < 16)
        return false;
    size_t len = (size_t)(c->in[14] << 8 | c->in[15]), at;
    if (memcmp(c->in, signature, sizeof signature) != 0) {
        c->proxy = json_string("missing");
        c->proxy_done = true;
        return true;
    }
    if (c->in_len < 16 + len)
        return false;
    c->proxy = json_pack("{s:i, s:i}", "command", c->in[12] & 15, "family", c->in[13]);
    size_t addresses = c->in[13] >> 4 == 1 ? 12 : c->in[13] >> 4 == 2 ? 36 : 0;
    for (at = 16 + addresses; at + 3 <= 16 + len;) {
        size_t tlv_len = (size_t)(c->in[at + 1] << 8 | c->in[at + 2]);
        char name[8];
        if (at + 3 + tlv_len > 16 + len)
            break;
        snprintf(name, sizeof name, "0x%02X", c->in[at]);
        json_object_set_new(c->proxy, name, record_text(c->in + at + 3, tlv_len));
        at += 3 + tlv_len;
    }
    memmove(c->in, c->in + 16 + len, c->in_len - 16 - len);
    c->in_len -= 16 + len;
    c->proxy_done = true;
    return true;
}

// --- Answering ---------------------------------------------------------------------------------------------------

static void append_answer(struct connection *c, struct evbuffer *out, const struct request *request,
                          const struct answer *answer, bool close_after)
{
    const struct demo_options *options = &c->demo->options;
    char *body = answer->content != NULL ? json_dumps(answer->content, JSON_COMPACT) : NULL;
    size_t len = body != NULL ? strlen(body) : 0;
    evbuffer_add_printf(out, "HTTP/1.1 %d \r\nX-M2M-RSC: %d\r\n", rsc_http_status(answer->rsc), answer->rsc);
    if (request->has_rqi)
        evbuffer_add_printf(out, "X-M2M-RI: %s\r\n", request->rqi);
    evbuffer_add_printf(out, "X-M2M-RVI: %s\r\n", request->rvi[0] != '\0' ? request->rvi : "3");
    if (answer->location[0] != '\0')
        evbuffer_add_printf(out, "Content-Location: %s\r\n", answer->location);
    if (len > 0)
        evbuffer_add_printf(out, "Content-Type: application/json\r\n");
    if (close_after)
        evbuffer_add_printf(out, "Connection: close\r\n");
    if (options->chunked && len > 0) {
        size_t half = len / 2 > 0 ? len / 2 : len;
        evbuffer_add_printf(out, "Transfer-Encoding: chunked\r\n\r\n%zx\r\n%.*s\r\n", half, (int)half, body);
        if (half < len)
            evbuffer_add_printf(out, "%zx;x=y\r\n%s\r\n", len - half, body + half);
        evbuffer_add_printf(out, "0\r\n\r\n");
    } else {
        if (len > 0 || !options->no_content_length)
            evbuffer_add_printf(out, "Content-Length: %zu\r\n", len);
        evbuffer_add_printf(out, "\r\n%s", body != NULL ? body : "");
    }
    if (options->stray_crlf)
        evbuffer_add_printf(out, "\r\n");
    free(body);
}

static void on_timer(evutil_socket_t fd, short what, void *arg);
static void process_input(struct connection *c);

// Puts the answer out, at once or after the configured delay.
static void answer_message(struct connection *c, const struct message *message, const struct answer *answer)
{
    const struct demo_options *options = &c->demo->options;
    enum fail_mode fail = demo_fail_now(c->demo, message->request.target);
    bool empty_without_length = answer->content == NULL && options->no_content_length;
    bool close_after = message->close || options->close_each || empty_without_length;
    if (fail == FAIL_NEVER) {
        c->waiting = true;
        return;
    }
    if (fail == FAIL_RESET) {
        c->close_when_sent = c->reset_when_sent = true;
    } else if (fail == FAIL_NONSENSE) {
        evbuffer_add_printf(c->out, "\x01\x02nonsense \xff\xfe 42\r\n{]]}\r\n\r\n\r\n");
        c->close_when_sent = true;
    } else {
        append_answer(c, c->out, &message->request, answer, close_after);
        c->close_when_sent = close_after;
    }
    if (fail == FAIL_ANSWER_TWICE) {
        append_answer(c, c->out, &message->request, answer, close_after);
    } else if (fail == FAIL_CLOSE_MID_ANSWER) {
        size_t keep = evbuffer_get_length(c->out) * 2 / 3;
        struct evbuffer *part = evbuffer_new();
        evbuffer_remove_buffer(c->out, part, keep);
        evbuffer_drain(c->out, evbuffer_get_length(c->out));
        evbuffer_add_buffer(c->out, part);
        evbuffer_free(part);
        c->close_when_sent = true;
    }
    if (options->delay_ms > 0) {
        struct timeval delay = {options->delay_ms / 1000, (suseconds_t)(options->delay_ms % 1000) * 1000};
        c->waiting = true;
        event_add(c->timer, &delay);
    }
}

static bool is_admin(const struct message *message)
{
    return strcmp(message->request.target, "/__demo/mode") == 0;
}

static void answer_admin(struct connection *c, const struct message *message)
{
    bool ok = demo_set_mode(c->demo, message->request.body, message->request.body_len);
    evbuffer_add_printf(c->out, "HTTP/1.1 %d \r\nContent-Length: 0\r\n\r\n", ok ? 204 : 400);
}

static void record_message(struct connection *c, const char *event, struct message *message)
{
    json_t *fields = json_pack("{s:s, s:I, s:O}", "method", message->method, "connection", (json_int_t)c->number,
                               "headers", message->headers);
    if (c->proxy != NULL)
        json_object_set(fields, "proxy", c->proxy);
    record_request(c->demo, event, &message->request, fields);
}

// Handles one complete message.
static void handle_message(struct connection *c, struct message *message)
{
    const struct demo_options *options = &c->demo->options;
    struct answer answer;
    if (is_admin(message)) {
        answer_admin(c, message);
        return;
    }
    if (options->rqi_max > 0 && strlen(message->request.rqi) > options->rqi_max) {
        record_message(c, "rqi too long", message);
        c->close_when_sent = true;
        return;
    }
    record_message(c, "request", message);
    primitive_handle(c->demo, &message->request, &answer);
    answer_message(c, message, &answer);
    json_decref(answer.content);
}

// Takes complete messages from the input, one after the other, as long as none of them waits.
static void process_input(struct connection *c)
{
    while (!c->waiting && !c->close_when_sent && take_proxy_header(c)) {
        struct message message;
        enum parse result;
        while (c->in_len >= 2 && memcmp(c->in, "\r\n", 2) == 0) { // RFC 9112 2.2: an empty line before a request
            c->in_len -= 2;
            memmove(c->in, c->in + 2, c->in_len);
        }
        result = parse_message(c, &message);
        if (result == PARSE_COMPLETE) {
            handle_message(c, &message);
            c->in_len -= message.total_len;
            memmove(c->in, c->in + message.total_len, c->in_len);
            c->need = 0;
            c->continued = false;
        } else if (result == PARSE_BAD) {
            evbuffer_add_printf(c->out, "HTTP/1.1 400 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            record_message(c, "malformed", &message);
            c->close_when_sent = true;
        } else if (c->demo->options.one_recv && c->in_len > 0) {
            message.request.binding = "http";
            record_message(c, "split", &message);
            c->close_when_sent = true;
        } else if (message.expects_continue && !c->continued) {
            evbuffer_add_printf(c->out, "HTTP/1.1 100 Continue\r\n\r\n");
            c->continued = true;
        }
        message_free(&message);
        if (result != PARSE_COMPLETE)
            break;
    }
    if (!c->waiting)
        flush(c);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct connection *c = arg;
    c->waiting = false;
    if (flush(c))
        process_input(c);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct connection *c = arg;
    if (c->in_cap - c->in_len < RECEIVE_BYTES) {
        size_t cap = c->in_cap * 2 + RECEIVE_BYTES;
        uint8_t *grown = cap > 2 * (size_t)INPUT_MAX ? NULL : realloc(c->in, cap + 1);
        if (grown == NULL) {
            connection_free(c);
            return;
        }
        c->in = grown;
        c->in_cap = cap;
    }
    ssize_t n = recv(fd, c->in + c->in_len, RECEIVE_BYTES, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        connection_free(c);
        return;
    }
    c->in_len += (size_t)n;
    c->in[c->in_len] = '\0'; // for strtoul on chunk sizes
    process_input(c);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct connection *c = arg;
    if (flush(c))
        process_input(c);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer, int len, void *arg)
{
    (void)listener;
    (void)peer;
    (void)len;
    struct demo *demo = arg;
    struct connection *c = calloc(1, sizeof *c);
    if (c == NULL) {
        close(fd);
        return;
    }
    c->demo = demo;
    c->fd = fd;
    c->number = ++demo->http->accepted;
    c->out = evbuffer_new();
    c->readable = event_new(demo->base, fd, EV_READ | EV_PERSIST, on_readable, c);
    c->writable = event_new(demo->base, fd, EV_WRITE, on_writable, c);
    c->timer = evtimer_new(demo->base, on_timer, c);
    c->next = demo->http->first;
    if (c->next != NULL)
        c->next->previous = c;
    demo->http->first = c;
    event_add(c->readable, NULL);
}

int http_start(struct demo *demo, const char *address)
{
    struct sockaddr_storage storage;
    int len = sizeof storage;
    demo->http = calloc(1, sizeof *demo->http);
    if (demo->http == NULL || evutil_parse_sockaddr_port(address, (struct sockaddr *)&storage, &len) != 0) {
        fprintf(stderr, "sagate-demo-cse: %s is no address:port\n", address);
        return -1;
    }
    demo->http->listener = evconnlistener_new_bind(demo->base, on_accept, demo,
                                                   LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC,
                                                   512, (struct sockaddr *)&storage, len);
    if (demo->http->listener == NULL) {
        fprintf(stderr, "sagate-demo-cse: HTTP on %s: %s\n", address, strerror(errno));
        return -1;
    }
    return 0;
}

void http_stop(struct demo *demo)
{
    if (demo->http == NULL)
        return;
    while (demo->http->first != NULL)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it takes itself out of the list
        connection_free(demo->http->first);
    if (demo->http->listener != NULL)
        evconnlistener_free(demo->http->listener);
    free(demo->http);
    demo->http = NULL;
}
