// What the parts of the HTTP binding share: the connection of a device (device.c), the exchange of one request and its
// answer (exchange.c, answer.c), the connections to CSEs (client.c) and their health checks (health.c).
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_BINDING_HTTP_INTERNAL_H
#define SAGATE_DATAPLANE_BINDING_HTTP_INTERNAL_H

#include "dataplane/binding/http/chunked.h"
#include "dataplane/binding/http/forward.h"
#include "dataplane/binding/http/http.h"
#include "dataplane/binding/http/proxy_v2.h"
#include "dataplane/binding/http/response.h"

enum {
    HTTP_RESPONSE_HEAD_MAX = 16384,
    HTTP_REGISTRATION_ANSWER_MAX = 65536, // an answer that the originator check must see whole
    // An answer of a CSE is held until it is whole, unless it is longer than this: it then goes to the device with its
    // length, and a CSE that breaks off leaves the device with a complete answer of sagate's own (5103).
    HTTP_HELD_ANSWER_MAX = 16384,
    HTTP_SILENCE_MS = 200,        // after a head without framing: the answer has no content
    HTTP_INTERIM_MAX = 8,         // 1xx answers before the final one
    HTTP_HELD_INPUT_MAX = 262144, // of a device that was paused, of a CSE that was paused
    // What is kept for the next request, so that none allocates in steady state: of each buffer so much, of exchanges
    // so many, of the buffers that are one for all so much.
    HTTP_KEPT_HEAD = 4096,
    HTTP_KEPT_BYTES = 16384,
    HTTP_KEPT_EXCHANGES = 256,
    HTTP_KEPT_WIRE = 65536,
};

// What io events point at.
struct http_link {
    struct io_user user;
    bool is_check;
    io_stream stream; // 0: gone
};

struct http_exchange;
struct http_client;

struct http_queue {
    struct http_exchange *first, **tail;
};

// The CSE connections of one server. An upload is an exchange whose body is not complete: how long it holds a
// connection is up to the device, so uploads have at most half of the connections, and wait in a queue of their own.
struct http_pool {
    struct http *http;
    const struct config_upstream *upstream; // NULL: the server has left the configuration
    const struct config_server *server;
    struct http_client *idle; // most recently used first
    struct http_queue whole, uploads;
    unsigned count; // connections, idle or not
    unsigned queued, queued_uploads;
    unsigned uploading; // connections that uploads hold
    bool serving;
    bool renew; // while reloading: the connections must not be used again
    struct http_pool *next;
};

enum http_client_state {
    HTTP_CLIENT_CONNECTING,
    HTTP_CLIENT_IDLE,
    HTTP_CLIENT_HEAD,
    HTTP_CLIENT_BODY,
    HTTP_CLIENT_DEAD
};

struct http_client {
    struct http_link link;
    struct http *http;
    struct http_pool *pool;
    struct http_exchange *exchange;
    enum http_client_state state;
    struct http_client *next, *previous; // in the idle list, or of the dead
    struct timer timer;                  // idle, or silence after a head
    unsigned served;                     // exchanges before this one
    unsigned interim;
    unsigned stray; // bytes of a CRLF after a body
    bool paused, ended, ended_badly;
    bool announce;        // the PROXY header is still to be sent
    uint64_t association; // PROXY protocol: whom the connection is dedicated to
    char *originator;
    struct buffer in; // arrived while paused
    struct http_head head;
    struct http_chunked chunked;
    struct http_response response;
    uint64_t left;
};

enum http_conn_state {
    HTTP_CONN_IDLE,
    HTTP_CONN_HEAD,
    HTTP_CONN_BODY,
    HTTP_CONN_WAIT,
    HTTP_CONN_DRAIN,
    HTTP_CONN_DEAD
};

// A device's stream. It has an exchange in the states HEAD, BODY and WAIT, and in no other.
struct http_conn {
    struct http *http;
    struct device *device;
    enum http_conn_state state;
    struct http_exchange *exchange;
    struct buffer in;  // not yet read; the device is paused while there is any
    struct buffer out; // to be flushed; see http_conn_out
    struct timer timer, stall;
    struct http_chunked chunked;
    uint64_t left;   // of the body; or what may still be drained
    size_t progress; // bytes of the body since its timer was set
    bool body_chunked, body_unread;
    bool processing, paused, blocked, eof, broken;
    bool close;     // after the answer in hand
    bool dedicated; // has had a CSE connection of its own
    struct http_conn *next, **link;
};

// One request on its way, from its first byte to the end of its answer.
struct http_exchange {
    // Large, or memory for the next request too: not cleared for it, but for what http_exchange_new does.
    struct http_head head;
    struct pep_verdict verdict;
    struct pep_pending pending;
    struct buffer body; // whole, or while streaming what waits for the CSE
    struct buffer answer;
    struct content_scan *scan_memory;
    // Cleared for each request from here on.
    struct http *http;
    struct http_conn *conn; // NULL: the device has gone, the answer is wanted all the same
    struct http_request request;
    struct principal *principal;            // a reference
    const struct config_upstream *upstream; // NULL before exchange_begin, or gone
    size_t upstream_index;
    const struct config_server *server; // not NULL: counted by upstream_begin
    struct http_pool *pool;
    struct http_client *client;
    struct http_queue *queue; // NULL: waits for no connection
    struct http_exchange *queue_next;
    bool uploading;            // counted by the pool: holds a connection while its body is not complete
    struct content_scan *scan; // NULL: there is no body
    uint32_t originators[2];   // found in the content and checked, by field
    uint64_t received;
    bool begun;     // given to an upstream
    bool streaming; // the CSE gets the body while it arrives
    bool body_done; // whole and checked
    bool head_sent, sent, blocked;
    bool retried;
    uint64_t started_us;
    struct timer deadline;
    bool answering; // the head of the answer is being or has been given to the device
    bool collecting;
    enum http_framing out_framing;
    struct http_exchange *next, **link;
};

struct http_check;

struct http {
    struct http_options options;
    const struct config *config;
    uint64_t now_us;
    bool draining;
    size_t in_flight;
    struct http_conn *conns;
    struct http_exchange *exchanges;
    struct http_exchange *spare; // ended; by `next`
    unsigned spare_count;
    struct buffer wire;      // what goes to a CSE, while it is put together
    struct buffer spare_out; // memory for the next http_conn.out
    struct http_pool *pools;
    struct http_client *dead; // freed by the reaper, since an event of the batch in hand may point at them
    struct timer reaper;
    struct http_check *checks;
    struct upstream_checker checker;
};

static inline uint64_t http_now_ms(const struct http *http)
{
    return http->now_us / 1000;
}

static inline void http_set_ms(struct http *http, uint64_t now_ms)
{
    if (now_ms > http->now_us / 1000)
        http->now_us = now_ms * 1000;
}

void http_count(struct http *http, enum stat_id stat);

// device.c ------------------------------------------------------------------------------------------------------------

// Answers the request in hand with one of sagate's own answers; the exchange is freed. The stream goes on unless
// problem->close, or the rest of the body is too long to be read and dropped.
void http_conn_refuse(struct http_conn *conn, const struct http_problem *problem);

// The answer in hand has been put into conn->out whole; the exchange is gone.
void http_conn_answered(struct http_conn *conn);

// conn->out, to put something into. It has memory only until it is flushed, since idle devices are many.
struct buffer *http_conn_out(struct http_conn *conn);

// Gives conn->out to the device. False when the device cannot take it: the stream must end.
bool http_conn_flush(struct http_conn *conn);

// Reads on in what was held back.
void http_conn_resume(struct http_conn *conn);

// The device has the whole time again for the next part of a body: it was sagate that could not take more.
void http_conn_body_wait(struct http_conn *conn);

// Ends the stream and gives up its request.
void http_conn_close(struct http_conn *conn);

// exchange.c ----------------------------------------------------------------------------------------------------------

struct http_exchange *http_exchange_new(struct http_conn *conn);
void http_exchanges_free(struct http *http); // those that are kept for the next requests

// The head is there and allowed: the body begins. SAGATE_ENOMEM.
int http_exchange_body_begin(struct http_exchange *exchange);

// A piece of the body, and its end. May end with the exchange freed (conn->exchange NULL) or refused.
void http_exchange_body(struct http_exchange *exchange, struct slice piece);
void http_exchange_body_end(struct http_exchange *exchange);

// True while no more of the body can be taken.
bool http_exchange_full(const struct http_exchange *exchange);

// Sends what can be sent now.
void http_exchange_pump(struct http_exchange *exchange);

// The CSE did not answer, or not well: 5103 to the device, or the end of its stream when an answer has begun. `outcome`
// as for upstream_end.
void http_exchange_unanswered(struct http_exchange *exchange, enum upstream_outcome outcome, const char *debug);

// What the end of a CSE's connection tells of it: nothing while it waits for a device's body, since a CSE may well lose
// patience then.
static inline enum upstream_outcome http_exchange_blame(const struct http_exchange *exchange)
{
    return exchange->body_done ? UPSTREAM_FAILED : UPSTREAM_UNTOLD;
}

// Ends an exchange without a word to the device. `outcome` as for upstream_end.
void http_exchange_end(struct http_exchange *exchange, enum upstream_outcome outcome);

// Sets the CSE's deadline anew: one request time from now.
void http_exchange_wait(struct http_exchange *exchange);

// The device has gone or is being closed: cancelled, or carried on without it when pep wants the answer.
void http_exchange_abandon(struct http_exchange *exchange);

// answer.c ------------------------------------------------------------------------------------------------------------

// Bytes of a CSE.
void http_client_input(struct http_client *client, const uint8_t *data, size_t len);

// The CSE sends no more.
void http_client_ended(struct http_client *client);

// The silence after a head without framing: the answer ends with what came.
void http_client_silence(struct http_client *client);

// client.c ------------------------------------------------------------------------------------------------------------

struct http_pool *http_pool_get(struct http *http, const struct config_upstream *upstream,
                                const struct config_server *server);

// A connection for the exchange: at once, when one is there or can be opened, else when its turn comes. `fresh`: one
// that has carried nothing. SAGATE_OK; SAGATE_ELIMIT (queue full, or no connection can be opened here); SAGATE_ENOMEM;
// another error (the CSE cannot be reached).
int http_pool_assign(struct http_pool *pool, struct http_exchange *exchange, bool fresh);
void http_pool_unqueue(struct http_exchange *exchange);

// The exchange is no upload any more: its body is complete, or it ends. True when a connection may go to another upload
// thereby; http_pool_serve is the caller's then.
bool http_pool_uploaded(struct http_exchange *exchange);

// Gives what is free to those who wait.
void http_pool_serve(struct http_pool *pool);

// After an exchange: keeps the connection for another one, or closes it in order.
void http_client_release(struct http_client *client, bool keep);

// Ends a connection: an idle one in order, else aborted, so that the CSE cannot take what it has for a whole request.
void http_client_drop(struct http_client *client);

void http_client_event(struct http_client *client, const struct io_event *event);
void http_client_pause(struct http_client *client);
void http_client_unpause(struct http_client *client);

// Ends the connections that were dedicated to an association.
void http_pools_forget(struct http *http, uint64_t association);
void http_pools_reload(struct http *http, const struct config *config);
void http_pools_free(struct http *http);
void http_reap(struct http *http);

// Finds a server of the old configuration in the new one. False when it is not there, or has another address: *server
// is NULL then, and *upstream too unless there is one of that name.
bool http_find_server(const struct config *config, const char *upstream_name, const struct config_server *old,
                      const struct config_upstream **upstream, const struct config_server **server);

// health.c ------------------------------------------------------------------------------------------------------------

void http_check_start(void *context, const struct config_upstream *upstream, const struct config_server *server);
void http_check_event(struct http *http, const struct io_event *event);
void http_checks_reload(struct http *http, const struct config *config);
void http_checks_free(struct http *http);

#endif
