// The control socket: a UNIX stream socket, one JSON object per line each way, one command at a time per client.
// One thread (the event loop's).
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_CONTROL_SOCKET_H
#define SAGATE_CONTROLPLANE_CONTROL_SOCKET_H

#include <event2/event.h>
#include <jansson.h>
#include <stddef.h>

enum {
    SOCKET_PROTOCOL = 1,
    SOCKET_LINE_MAX = 64 * 1024,
    SOCKET_CLIENTS_MAX = 32,
    SOCKET_IDLE_SECONDS = 300, // without a command, or without taking an answer
};

struct control_socket;
struct control_request; // one command that has not been answered yet

struct control_handler {
    void *context;
    // A command: an object whose "v" is SOCKET_PROTOCOL and whose "command" is a string. `command` ends with the call.
    // The request is the callee's until it calls control_request_answer or _fail, now or later, exactly once.
    void (*command)(void *context, struct control_request *request, const char *name, const json_t *command);
};

// Makes jansson wipe what it frees: commands carry keys. Call once, before any JSON is made.
void control_json_wipes(void);

// `handler` outlives the object. NULL when memory is short.
struct control_socket *control_socket_new(struct event_base *base, const struct control_handler *handler);
void control_socket_free(struct control_socket *socket); // requests that wait must have been answered; NULL is allowed

// Takes a listening socket, owned from now on, in place of the one before; clients stay. SAGATE_OK, or SAGATE_ENOMEM
// (`fd` is closed, the old one stays).
int control_socket_listen(struct control_socket *socket, int fd);

// Answers with `answer` (its reference is taken; "v" and "ok" are added), or with an error text.
void control_request_answer(struct control_request *request, json_t *answer);
void control_request_fail(struct control_request *request, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

size_t control_socket_clients(const struct control_socket *socket);

#endif
