// What the files of the CoAP binding share: the instance, its exchanges, and the servers it talks to. Not for others.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_BINDING_COAP_STATE_H
#define SAGATE_DATAPLANE_BINDING_COAP_STATE_H

#include "common/hash.h"
#include "dataplane/binding/coap/answer.h"
#include "dataplane/binding/coap/coap.h"
#include "dataplane/binding/coap/recorded.h"
#include "dataplane/binding/coap/request.h"
#include "dataplane/binding/coap/transfer.h"

// RFC 7252 section 4.8; PIGGYBACK_MS is how long a confirmable request waits for its empty ACK.
enum { ACK_TIMEOUT_MS = 2000, ACK_RANDOM_MS = 1000, MAX_RETRANSMIT = 4, PIGGYBACK_MS = 1000 };
enum {
    MID_BUCKETS = 1024,
    RECENT_MAX = 32,
    EXCHANGE_CHUNK = 64,
    EXCHANGE_CHUNKS = 4096,
    EXCHANGE_TOKEN = 8,
    UNAVAILABLE_MAX_AGE = 5
};

struct exchange;
struct server;

// What CoAP keeps for an association that has sent a request (device->binding_state).
struct peer {
    struct device *device;
    uint64_t owner; // keyed hash of the Credential-ID
    uint64_t hash;  // of the association
    struct exchange *exchanges;
    uint32_t open;         // exchanges that are no idle observation
    uint32_t observations; // registered or being served
    uint16_t next_mid;
    struct peer *next_free;
    struct address text_of; // len 0: none yet
    char text[ADDRESS_TEXT_MAX];
};

enum { PEER_CHUNK = 256 };
struct peer_chunk {
    struct peer_chunk *next;
    struct peer peers[PEER_CHUNK];
};

// One UDP socket towards a CSE.
struct upstream_socket {
    struct io_user user; // first
    struct server *server;
    bool open; // `id` is valid
    io_id id;
    unsigned number;
    uint16_t next_mid;
    bool mid_block_reused;
    uint64_t mid_block_used_ms[256];      // when Message IDs with this high byte were last used; 0: never
    struct exchange *by_mid[MID_BUCKETS]; // waiting for an ACK
    struct exchange *exchanges;           // waiting for an answer, or observing
    struct {                              // CON and NON messages of the CSE that were taken
        uint16_t mid;
        uint64_t until_ms;
    } recent[RECENT_MAX];
    unsigned recent_at;
};

// A health check under way; on the first socket.
struct probe {
    bool active;
    bool ping;
    uint16_t mid;
    struct coap_token token;
    struct timer timer;
};

enum { SERVER_SOCKETS_MAX = 64 };

struct server {
    const struct config_server *config;
    const struct config_upstream *upstream;
    size_t upstream_index;
    struct coap *coap;
    struct probe probe;
    bool failed;           // a socket could not be opened, which has been logged
    unsigned socket_count; // for every request
    unsigned extra_count;  // behind them, opened when more transfers at a time have the same path; only for such
    struct upstream_socket *sockets; // SERVER_SOCKETS_MAX, set up as far as they are counted
};

struct buffer {
    struct buffer *next;
    uint16_t len;
    uint8_t data[IO_DATAGRAM_MAX];
};

enum cse_leg { CSE_DONE, CSE_SENT, CSE_ACKNOWLEDGED };

// A request on its way, and later the answer that waits for its ACK, and the observation that it may have begun.
struct exchange {
    uint32_t index, secret; // the two halves of the token towards the CSE
    bool used;
    struct exchange *next_free;
    struct coap *coap;

    // The device's leg. peer NULL: the device has gone.
    struct peer *peer;
    struct exchange *peer_next, **peer_link;
    enum onem2m_operation operation;
    enum numbering numbering;
    struct coap_token token;
    uint16_t mid;      // of the request
    bool open;         // the request has no answer yet
    bool confirmable;  // the request is
    bool acknowledged; // an empty ACK went out
    bool registers;    // Observe 0 went to the CSE
    bool observing;
    bool confirming; // our CON in `buffer` waits for its ACK
    bool replaced;   // `buffer` holds a newer notification than the one that was sent
    bool has_answer_mid;
    uint16_t answer_mid; // last message sent to the device under a Message ID of ours
    uint8_t tries;
    uint8_t request_id_len, release_version_len;
    uint32_t wait_ms;
    uint32_t sequence; // Observe of the notification in `buffer`
    uint64_t received_ms;
    struct timer device_timer;

    // The CSE's leg.
    enum cse_leg cse;
    struct upstream_socket *socket; // NULL: nothing is expected from a CSE
    struct exchange *socket_next, **socket_link;
    struct exchange *mid_next; // chain of socket->by_mid while CSE_SENT
    uint16_t cse_mid;
    uint8_t cse_tries;
    uint32_t cse_wait_ms;
    uint64_t sent_us;
    struct timer cse_timer, deadline;
    struct transfer *transfer;   // whose block this is, while it waits for the CSE
    struct principal *principal; // held while `pending` waits for the answer

    struct buffer *buffer; // the request until it is acknowledged, then the answer until it is

    // Long, and for a new request not cleared but for their lengths.
    uint8_t request_id[255], release_version[2];
    struct pep_pending pending;
};

struct coap {
    const struct config *config;
    struct io *io;
    struct timer_wheel *wheel;
    struct upstreams *upstreams;
    struct pep *pep;
    struct stats *stats;
    struct device_port port;
    uint32_t io_user_kind;
    struct hash_key key;
    uint64_t draws, drawn; // of coap_random
    uint64_t jitter;       // state of coap_ack_timeout, not 0
    struct recorded *recorded;
    unsigned recorded_bytes;
    struct transfers transfers;
    size_t exchange_count; // made so far
    struct exchange *chunks[EXCHANGE_CHUNKS];
    struct exchange *free_exchanges;
    struct buffer *free_buffers;
    struct peer_chunk *peer_chunks;
    struct peer *free_peers;
    size_t server_count;
    struct server *servers[CONFIG_SERVERS_MAX];
    size_t in_flight, observations;
    struct answer answer; // under construction
    struct coap_list list;
    struct coap_message message; // in hand
    struct coap_request request;
    struct pep_verdict verdict;
    struct content_found found[2];
    uint8_t out[IO_DATAGRAM_MAX];
};

// --- exchange.c: the pool, and the message layer towards devices -------------------------------------------------

static inline void coap_count(struct coap *coap, enum stat_id id)
{
    if (coap->stats != NULL)
        stats_add(coap->stats, id, 1);
}
uint32_t coap_random(struct coap *coap); // not to be guessed
uint32_t coap_ack_timeout(struct coap *coap);

// The device's address as text, which is told with each of its requests.
const char *peer_text(struct peer *peer);

// The peer of a device, made when it has none; NULL when memory is short.
struct peer *peer_of(struct coap *coap, struct device *device);
void peer_free(struct coap *coap, struct peer *peer); // which has no exchanges
void exchange_pool_free(struct coap *coap);           // everything, with no look at devices

// An exchange for a request of `peer`, open; NULL at the limit of the pool or when memory is short.
struct exchange *exchange_new(struct coap *coap, struct peer *peer);
void exchange_free(struct exchange *exchange);
// The device has gone: what waits for a CSE goes on without it, so that a registration is not missed; the rest ends.
void exchange_orphan(struct exchange *exchange);
struct exchange *exchange_by_token(struct coap *coap, const struct coap_token *token); // NULL: not ours
void exchange_token(const struct exchange *exchange, struct coap_token *token);
bool exchange_need_buffer(struct exchange *exchange); // false: memory is short
void exchange_drop_buffer(struct exchange *exchange);
void exchange_set_observing(struct exchange *exchange, bool observing);
struct answer_echo exchange_echo(const struct exchange *exchange);

// Answers the open request, or passes a notification on with `type`. coap->answer is what is sent. `observing`: more
// may follow. Frees the exchange when nothing of it is left to do.
void exchange_answer(struct exchange *exchange, enum coap_type type, bool observing, uint64_t now_ms);

// The same with an answer of sagate's own.
void exchange_answer_own(struct exchange *exchange, uint8_t code, int rsc, const char *debug, unsigned max_age,
                         uint64_t now_ms);

// Answers a request that has no exchange, with coap->answer, and keeps the reply for duplicates.
void device_answer(struct coap *coap, struct peer *peer, const struct coap_message *request,
                   enum onem2m_operation operation, uint64_t now_ms);

// An empty ACK or RST, or an empty message to send.
void device_empty_received(struct coap *coap, struct peer *peer, enum coap_type type, uint16_t mid, uint64_t now_ms);
void device_send_empty(struct coap *coap, const struct device *device, enum coap_type type, uint16_t mid);

// True when a request with this Message ID is known: what was sent before was sent again.
bool device_is_duplicate(struct coap *coap, struct peer *peer, uint16_t mid, uint64_t now_ms);

// --- client.c: the message layer towards CSEs --------------------------------------------------------------------

// A new configuration is prepared first, which may fail with SAGATE_ENOMEM and then has changed nothing, and then
// committed, which may not: sockets are opened, kept and closed so that they fit it. A server whose sockets cannot be
// opened counts as unhealthy until they can.
struct client_plan {
    size_t count;
    struct server *servers[CONFIG_SERVERS_MAX];
    bool kept[CONFIG_SERVERS_MAX]; // it is one of coap->servers
    const struct config_server *configs[CONFIG_SERVERS_MAX];
    size_t upstreams[CONFIG_SERVERS_MAX];
};
int client_prepare(struct coap *coap, const struct config *config, struct client_plan *plan);
void client_discard(struct client_plan *plan);
void client_commit(struct coap *coap, const struct config *config, const struct client_plan *plan, uint64_t now_ms);
// Opens those sockets of the server that are not open. False, and logged the first time: one cannot be.
bool client_open(struct server *server);
// Opens one more, for a transfer; NULL: there are SERVER_SOCKETS_MAX, or it cannot be opened.
struct upstream_socket *client_open_extra(struct server *server);
void client_close(struct coap *coap);
struct server *client_server(struct coap *coap, const struct config_server *config); // NULL: not known
struct server *client_server_of(struct coap *coap, const void *server);              // the same by its own address

// Next Message ID of a socket.
uint16_t client_mid(struct upstream_socket *socket, uint64_t now_ms);
void client_send(struct coap *coap, struct upstream_socket *socket, const uint8_t *data, size_t len);

// Sends the request in exchange->buffer, whose Message ID is exchange->cse_mid. upstream_begin has been called.
void client_begin(struct exchange *exchange, struct upstream_socket *socket, uint64_t now_us);

// Ends the CSE's leg, if it is not done; upstream_end is told.
void client_end(struct exchange *exchange, enum upstream_outcome outcome, uint64_t now_us);
void client_attach(struct exchange *exchange, struct upstream_socket *socket);
void client_detach(struct exchange *exchange); // nothing more is expected from the CSE

// --- health.c ----------------------------------------------------------------------------------------------------

void health_check(void *context, const struct config_upstream *upstream, const struct config_server *server);
// True when the message was the answer to a health check.
bool health_received(struct upstream_socket *socket, const struct coap_message *message);
void health_error(struct upstream_socket *socket);

#endif
