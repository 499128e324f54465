// DTLS associations of a TEF's clients and their CoAP messages. What is sent twice is answered from memory (RFC 7252
// 4.5), since a key must not be registered twice.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/tefserver/datagram.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/secret.h"
#include "controlplane/tefserver/coap.h"
#include "controlplane/tefserver/peer.h"

#include <event2/event.h>

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DATAGRAM_MAX = 65536, BATCH = 64, RECENT = 8, BUCKETS = 256 };

// An answer that was given.
struct recent {
    uint16_t mid, len; // len 0: none
    uint8_t bytes[COAP_ANSWER_MAX];
};

struct association {
    struct datagram *datagram;
    struct association **link, *next; // of its bucket
    struct address address;
    struct handshake *handshake;
    struct record *record;
    struct event *timer; // of the handshake's flights, then of idleness
    uint64_t deadline_ms;
    struct peer peer;
    struct recent *recent; // RECENT of them, secret memory; they hold keys
    unsigned recent_next;
    bool dead;
};

struct datagram {
    struct server *server;
    const struct settings_function *function;
    size_t index;
    int fd;
    struct event *readable;
    struct association *buckets[BUCKETS];
};

// A sink for who has no association yet.
struct stranger {
    const struct datagram *datagram;
    struct address address;
};

static int send_to(const struct datagram *datagram, const struct address *address, const uint8_t *data, size_t len)
{
    (void)sendto(datagram->fd, data, len, MSG_DONTWAIT, &address->any, address->len);
    return SAGATE_OK; // what is not sent is lost, as a datagram may be
}

static int send_to_stranger(void *context, const uint8_t *data, size_t len)
{
    const struct stranger *stranger = context;
    return send_to(stranger->datagram, &stranger->address, data, len);
}

static int send_to_peer(void *context, const uint8_t *data, size_t len)
{
    const struct association *association = context;
    return send_to(association->datagram, &association->address, data, len);
}

// By port alone: a list is at most limits.connections long, and only who sent a cookie back is in it.
static struct association **bucket_of(struct datagram *datagram, const struct address *address)
{
    unsigned port = address->any.sa_family == AF_INET ? address->v4.sin_port : address->v6.sin6_port;
    return &datagram->buckets[(port ^ port >> 8) % BUCKETS];
}

static struct association *find(struct datagram *datagram, const struct address *address)
{
    struct association *at = *bucket_of(datagram, address);
    while (at != NULL && !address_equal(&at->address, address))
        at = at->next;
    return at;
}

static void association_free(struct association *association)
{
    handshake_free(association->handshake);
    record_free(association->record);
    peer_release(&association->peer);
    secret_free(association->recent);
    if (association->timer != NULL)
        event_free(association->timer);
    if (association->next != NULL)
        association->next->link = association->link;
    *association->link = association->next;
    association->datagram->server->counts->connections--;
    free(association);
}

// --- Messages ----------------------------------------------------------------------------------------------------

static void send_message(struct association *association, const uint8_t *data, size_t len)
{
    if (record_seal(association->record, data, len) == SAGATE_EGONE)
        association->dead = true;
}

static bool answer_again(struct association *association, uint16_t mid)
{
    for (size_t i = 0; i < RECENT; i++) {
        const struct recent *recent = &association->recent[i];
        if (recent->len > 0 && recent->mid == mid) {
            send_message(association, recent->bytes, recent->len);
            return true;
        }
    }
    return false;
}

static void run_request(struct association *association, const struct coap_message *message)
{
    struct datagram *datagram = association->datagram;
    struct server *server = datagram->server;
    struct procedure_answer answer = {.rsc = RSC_BAD_REQUEST};
    struct procedure_request request;
    struct slice id;
    char target[COAP_TARGET_MAX];
    const struct procedure_peer peer = {
        .client_id = association->peer.client_id, .exported = association->peer.exported, .km = association->peer.km};
    if (coap_read_request(message, target, &request, &id) == SAGATE_OK)
        procedure_run(server->settings, datagram->function, server->store, &peer, &request, clock_wall(), &answer);
    struct recent *recent = &association->recent[association->recent_next++ % RECENT];
    int len = coap_write_answer(message, &answer, id, recent->bytes);
    if (len < 0) {
        procedure_answer_release(&answer);
        answer.rsc = RSC_INTERNAL_SERVER_ERROR; // it does not fit into a datagram
        len = coap_write_answer(message, &answer, id, recent->bytes);
    }
    recent->mid = message->mid;
    recent->len = len < 0 ? 0 : (uint16_t)len;
    counts_answer(server->counts, &answer);
    audit_write(server->audit, datagram->function->fqdn, association->peer.client_id, &answer);
    procedure_answer_release(&answer);
    send_message(association, recent->bytes, recent->len);
}

static void take_message(struct association *association, const uint8_t *data, size_t len)
{
    static struct coap_message message; // one thread
    uint8_t empty[COAP_HEAD];
    int result = coap_parse(data, len, &message);
    if (result == SAGATE_EINVAL)
        return;
    bool request = result == SAGATE_OK && coap_is_request(message.code);
    if (request && (message.type == COAP_CON || message.type == COAP_NON)) {
        if (!answer_again(association, message.mid))
            run_request(association, &message);
    } else if (message.type == COAP_CON) {
        coap_write_empty(empty, COAP_RST, message.mid); // a ping, or nothing that is understood
        send_message(association, empty, sizeof empty);
    }
}

static void pump(struct association *association)
{
    static uint8_t plaintext[RECORD_PLAINTEXT_MAX]; // one thread; wiped below
    while (!association->dead) {
        int status;
        size_t len = record_open(association->record, plaintext, sizeof plaintext, &status);
        if (status == SAGATE_OK) {
            take_message(association, plaintext, len);
            secret_zero(plaintext, len);
        } else if (status == SAGATE_AGAIN) {
            return;
        } else if (status != SAGATE_ERECORD) {
            association->dead = true;
        }
    }
}

// --- Handshakes --------------------------------------------------------------------------------------------------

static void set_timer(struct association *association, uint64_t ms)
{
    const struct timeval wait = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
    (void)event_add(association->timer, &wait);
}

static void established(struct association *association)
{
    struct datagram *datagram = association->datagram;
    struct handshake *handshake = association->handshake;
    association->handshake = NULL;
    bool known = peer_take(datagram->server, datagram->function, handshake, &association->peer, &association->record);
    association->recent = known ? secret_alloc(RECENT * sizeof *association->recent) : NULL;
    if (association->recent == NULL) {
        if (association->record != NULL)
            record_close(association->record);
        association->dead = true;
        return;
    }
    set_timer(association, (uint64_t)datagram->server->settings->limits.idle_seconds * 1000);
    pump(association);
}

static void on_resolved(void *context, const struct tef_key *km);

static void go_on(struct association *association, int result)
{
    struct datagram *datagram = association->datagram;
    while (result == SAGATE_PARKED && association->peer.wait == NULL)
        result = peer_resolve(datagram->server, datagram->function, association->handshake, &association->peer,
                              on_resolved, association);
    if (result == SAGATE_DONE) {
        established(association);
    } else if (result != SAGATE_AGAIN && result != SAGATE_PARKED) {
        peer_failed(datagram->server, datagram->function, association->handshake);
        association->dead = true;
    } else {
        uint64_t now = clock_ms();
        uint64_t left = association->deadline_ms > now ? association->deadline_ms - now : 0;
        uint64_t flight = result == SAGATE_PARKED ? 0 : handshake_timer_ms(association->handshake);
        set_timer(association, flight > 0 && flight < left ? flight : left);
    }
}

static void on_resolved(void *context, const struct tef_key *km)
{
    struct association *association = context;
    go_on(association, peer_resolved(association->handshake, &association->peer, km));
    if (association->dead)
        association_free(association);
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    struct association *association = context;
    (void)fd;
    (void)what;
    if (association->record != NULL) {
        record_close(association->record);
        association->dead = true;
    } else if (clock_ms() >= association->deadline_ms) {
        association->datagram->server->counts->handshakes[COUNTS_FAILED]++;
        association->dead = true;
    } else {
        go_on(association, handshake_timeout(association->handshake));
    }
    if (association->dead)
        association_free(association);
}

static void begin(struct datagram *datagram, const struct address *address, const uint8_t *data, size_t len)
{
    struct server *server = datagram->server;
    if (server->counts->connections >= server->settings->limits.connections) {
        server->counts->refused++;
        return;
    }
    // Before a cookie has come back nothing of this stays.
    struct stranger stranger = {.datagram = datagram, .address = *address};
    const struct handshake_sink to_stranger = {.send = send_to_stranger, .context = &stranger};
    struct association *association = calloc(1, sizeof *association);
    struct handshake *handshake = NULL;
    const struct handshake_sink sink = {.send = send_to_peer, .context = association};
    if (association != NULL) {
        association->datagram = datagram;
        association->address = *address;
    }
    if (handshake_dtls_first(server->contexts, datagram->index, address, data, len,
                             association == NULL ? &to_stranger : &sink, &handshake) != HANDSHAKE_STARTED ||
        association == NULL) {
        handshake_free(handshake);
        free(association);
        return;
    }
    struct association **bucket = bucket_of(datagram, address);
    association->handshake = handshake;
    association->link = bucket;
    association->next = *bucket;
    if (association->next != NULL)
        association->next->link = &association->next;
    *bucket = association;
    server->counts->connections++;
    association->deadline_ms = clock_ms() + (uint64_t)server->settings->limits.handshake_seconds * 1000;
    association->timer = evtimer_new(server->base, on_timer, association);
    if (association->timer == NULL)
        association->dead = true;
    else
        go_on(association, handshake_run(handshake, NULL, 0));
    if (association->dead)
        association_free(association);
}

static bool is_hello(const uint8_t *data, size_t len)
{
    enum { TYPE_HANDSHAKE = 22, EPOCH_AT = 3, MESSAGE_AT = 13, CLIENT_HELLO = 1 };
    return len > MESSAGE_AT && data[0] == TYPE_HANDSHAKE && data[EPOCH_AT] == 0 && data[EPOCH_AT + 1] == 0 &&
           data[MESSAGE_AT] == CLIENT_HELLO;
}

static void take_datagram(struct datagram *datagram, const struct address *address, const uint8_t *data, size_t len)
{
    struct association *association = find(datagram, address);
    bool anew =
        association != NULL &&
        (association->record != NULL ? is_hello(data, len) : !handshake_owns(association->handshake, data, len));
    if (association == NULL) {
        begin(datagram, address, data, len);
        return;
    }
    if (anew) {
        // From a port that is used again. Without a cookie this could be anybody, so the old association stays until
        // its own time, unless the hello proves the address (RFC 6347 4.2.8).
        struct stranger stranger = {.datagram = datagram, .address = *address};
        const struct handshake_sink sink = {.send = send_to_stranger, .context = &stranger};
        struct handshake *handshake = NULL;
        if (handshake_dtls_first(datagram->server->contexts, datagram->index, address, data, len, &sink, &handshake) ==
            HANDSHAKE_STARTED) {
            handshake_free(handshake);
            association_free(association);
            begin(datagram, address, data, len);
        }
        return;
    }
    if (association->record == NULL) {
        go_on(association, handshake_run(association->handshake, data, len));
    } else if (record_lend(association->record, data, len) == SAGATE_OK) {
        set_timer(association, (uint64_t)datagram->server->settings->limits.idle_seconds * 1000);
        pump(association);
    }
    if (association->dead)
        association_free(association);
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    static uint8_t bytes[DATAGRAM_MAX]; // one thread
    struct datagram *datagram = context;
    (void)what;
    for (int i = 0; i < BATCH; i++) {
        struct address address = {.len = sizeof address.v6};
        ssize_t len = recvfrom(fd, bytes, sizeof bytes, MSG_DONTWAIT, &address.any, &address.len);
        if (len < 0)
            return;
        take_datagram(datagram, &address, bytes, (size_t)len);
    }
}

struct datagram *datagram_new(struct server *server, size_t function)
{
    const struct address *address = &server->settings->functions[function].address;
    struct datagram *datagram = calloc(1, sizeof *datagram);
    if (datagram == NULL)
        return NULL;
    datagram->server = server;
    datagram->function = &server->settings->functions[function];
    datagram->index = function;
    datagram->fd = socket(address->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (datagram->fd >= 0 && bind(datagram->fd, &address->any, address->len) == 0)
        datagram->readable = event_new(server->base, datagram->fd, EV_READ | EV_PERSIST, on_readable, datagram);
    if (datagram->readable == NULL || event_add(datagram->readable, NULL) != 0) {
        datagram_free(datagram);
        return NULL;
    }
    return datagram;
}

void datagram_free(struct datagram *datagram)
{
    if (datagram == NULL)
        return;
    for (size_t i = 0; i < BUCKETS; i++) {
        struct association *next;
        for (struct association *at = datagram->buckets[i]; at != NULL; at = next) {
            next = at->next;
            association_free(at);
        }
    }
    if (datagram->readable != NULL)
        event_free(datagram->readable);
    if (datagram->fd >= 0)
        close(datagram->fd);
    free(datagram);
}
