// The control socket. Input is read into a buffer of our own, since it may hold a key and must be wiped.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/control/socket.h"

#include "common/error.h"
#include "common/log.h"
#include "common/secret.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/listener.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

struct client {
    LIST_ENTRY(client) link;
    struct control_socket *socket;
    int fd;
    struct event *readable, *writable;
    struct control_request *request; // in progress
    struct evbuffer *out;
    bool closing; // after the answer has gone
    bool ended;   // sends no more, but may wait for an answer
    size_t used;
    char in[SOCKET_LINE_MAX];
};

struct control_request {
    struct client *client; // NULL: has gone
};

struct control_socket {
    struct event_base *base;
    const struct control_handler *handler;
    struct evconnlistener *listener;
    LIST_HEAD(client_list, client) clients;
    size_t client_count;
};

static void wipe_free(void *memory)
{
    if (memory == NULL)
        return;
    secret_zero(memory, malloc_usable_size(memory));
    free(memory);
}

void control_json_wipes(void)
{
    json_set_alloc_funcs(malloc, wipe_free);
}

struct control_socket *control_socket_new(struct event_base *base, const struct control_handler *handler)
{
    struct control_socket *socket = calloc(1, sizeof *socket);
    if (socket == NULL)
        return NULL;
    socket->base = base;
    socket->handler = handler;
    LIST_INIT(&socket->clients);
    return socket;
}

static void client_free(struct client *client)
{
    if (client->request != NULL)
        client->request->client = NULL;
    LIST_REMOVE(client, link);
    client->socket->client_count--;
    if (client->readable != NULL)
        event_free(client->readable);
    if (client->writable != NULL)
        event_free(client->writable);
    if (client->out != NULL)
        evbuffer_free(client->out);
    close(client->fd);
    secret_zero(client->in, sizeof client->in);
    free(client);
}

void control_socket_free(struct control_socket *socket)
{
    if (socket == NULL)
        return;
    struct client *client;
    while ((client = LIST_FIRST(&socket->clients)) != NULL)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it takes itself out of the list, through le_prev
        client_free(client);
    if (socket->listener != NULL)
        evconnlistener_free(socket->listener);
    free(socket);
}

// Waits for the next event of the client: its next command, room for the answer, or its turn to be let go.
static void client_wait(struct client *client)
{
    static const struct timeval idle = {.tv_sec = SOCKET_IDLE_SECONDS};
    if (evbuffer_get_length(client->out) > 0 || client->closing || (client->ended && client->request == NULL))
        (void)event_add(client->writable, &idle);
    if (!client->ended)
        (void)event_add(client->readable, &idle);
}

static void put_line(struct client *client, json_t *answer)
{
    char *text = json_dumps(answer, JSON_COMPACT);
    if (text != NULL) {
        (void)evbuffer_add(client->out, text, strlen(text));
        (void)evbuffer_add(client->out, "\n", 1);
        wipe_free(text);
    }
    json_decref(answer);
}

static json_t *error_answer(const char *text)
{
    return json_pack("{s:i, s:b, s:s}", "v", SOCKET_PROTOCOL, "ok", 0, "error", text);
}

// A line that is no command: the client is told and let go, since what follows cannot be trusted to be one.
static void refuse(struct client *client, const char *text)
{
    put_line(client, error_answer(text));
    client->closing = true;
}

static void begin(struct client *client, const char *line, size_t len)
{
    json_error_t error;
    json_t *command = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
    const char *name = json_string_value(json_object_get(command, "command"));
    if (!json_is_object(command)) {
        refuse(client, "the line is not a JSON object");
    } else if (json_integer_value(json_object_get(command, "v")) != SOCKET_PROTOCOL) {
        refuse(client, "\"v\" is missing or not a version that this sagate speaks (1)");
    } else if (name == NULL) {
        refuse(client, "\"command\" is missing");
    } else {
        struct control_request *request = calloc(1, sizeof *request);
        if (request == NULL) {
            refuse(client, sagate_strerror(SAGATE_ENOMEM));
        } else {
            request->client = client;
            client->request = request;
            client->socket->handler->command(client->socket->handler->context, request, name, command);
        }
    }
    json_decref(command);
}

// Takes complete lines, one command at a time: the next is begun only when the last answer has gone, which bounds what
// waits here.
static void take_lines(struct client *client)
{
    while (client->request == NULL && !client->closing && evbuffer_get_length(client->out) == 0) {
        char *end = memchr(client->in, '\n', client->used);
        if (end == NULL) {
            if (client->used == sizeof client->in)
                refuse(client, "the line is longer than 64 KiB");
            return;
        }
        size_t len = (size_t)(end - client->in);
        size_t rest = client->used - len - 1;
        if (len > 0)
            begin(client, client->in, len);
        memmove(client->in, end + 1, rest);
        secret_zero(client->in + rest, client->used - rest);
        client->used = rest;
    }
}

static void on_writable(evutil_socket_t fd, short what, void *context)
{
    struct client *client = context;
    bool failed = (what & EV_TIMEOUT) != 0;
    if (!failed && evbuffer_get_length(client->out) > 0)
        failed = evbuffer_write(client->out, fd) < 0 && errno != EAGAIN && errno != EINTR;
    if (!failed)
        take_lines(client);
    bool finished = client->closing || (client->ended && client->request == NULL);
    if (failed || (finished && evbuffer_get_length(client->out) == 0))
        client_free(client);
    else
        client_wait(client);
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    struct client *client = context;
    if ((what & EV_TIMEOUT) != 0 && client->request == NULL) {
        client_free(client);
        return;
    }
    char *into = client->in + client->used;
    size_t room = sizeof client->in - client->used;
    if (room == 0) // commands sent ahead wait in the socket until the one in progress is answered
        return;
    ssize_t got = read(fd, into, room);
    if (got < 0 && errno != EAGAIN && errno != EINTR) {
        client_free(client);
        return;
    }
    if (got == 0)
        client->ended = true;
    else if (got > 0)
        client->used += (size_t)got;
    take_lines(client);
    client_wait(client);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address, int len,
                      void *context)
{
    struct control_socket *socket = context;
    (void)listener;
    (void)address;
    (void)len;
    struct client *client = socket->client_count < SOCKET_CLIENTS_MAX ? calloc(1, sizeof *client) : NULL;
    if (client == NULL) {
        static const char full[] = "{\"v\":1,\"ok\":false,\"error\":\"too many clients\"}\n";
        ssize_t ignored = write(fd, full, sizeof full - 1);
        (void)ignored;
        close(fd);
        return;
    }
    client->socket = socket;
    client->fd = fd;
    LIST_INSERT_HEAD(&socket->clients, client, link);
    socket->client_count++;
    client->readable = event_new(socket->base, fd, EV_READ, on_readable, client);
    client->writable = event_new(socket->base, fd, EV_WRITE, on_writable, client);
    client->out = evbuffer_new();
    if (client->readable == NULL || client->writable == NULL || client->out == NULL)
        client_free(client);
    else
        client_wait(client);
}

int control_socket_listen(struct control_socket *socket, int fd)
{
    (void)evutil_make_socket_nonblocking(fd);
    struct evconnlistener *listener =
        evconnlistener_new(socket->base, on_accept, socket, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    if (listener == NULL) {
        close(fd);
        return SAGATE_ENOMEM;
    }
    if (socket->listener != NULL)
        evconnlistener_free(socket->listener);
    socket->listener = listener;
    return SAGATE_OK;
}

void control_request_answer(struct control_request *request, json_t *answer)
{
    struct client *client = request->client;
    free(request);
    if (client == NULL) {
        json_decref(answer);
        return;
    }
    client->request = NULL;
    if (answer == NULL)
        answer = error_answer(sagate_strerror(SAGATE_ENOMEM));
    if (json_object_get(answer, "v") == NULL) {
        (void)json_object_set_new(answer, "v", json_integer(SOCKET_PROTOCOL));
        (void)json_object_set_new(answer, "ok", json_true());
    }
    put_line(client, answer);
    client_wait(client);
}

void control_request_fail(struct control_request *request, const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int len = vasprintf(&text, format, arguments);
    va_end(arguments);
    control_request_answer(request, error_answer(len < 0 ? sagate_strerror(SAGATE_ENOMEM) : text));
    if (len >= 0)
        free(text);
}

size_t control_socket_clients(const struct control_socket *socket)
{
    return socket->client_count;
}
