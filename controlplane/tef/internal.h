// What the files of the client share: its requests, connections and registration.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_TEF_INTERNAL_H
#define SAGATE_CONTROLPLANE_TEF_INTERNAL_H

#include "common/log.h"
#include "controlplane/tef/channel.h"
#include "controlplane/tef/client.h"
#include "controlplane/tef/http.h"

#include <sys/queue.h>

enum {
    WAITING_MAX = 65536, // requests of one client that are not answered
    ATTEMPTS_MAX = 3,    // connections that a request may be lost with
    BACK_OFF_MIN_MS = 100,
    BACK_OFF_MAX_MS = 10000,
};

enum request_kind { REQUEST_FETCH, REQUEST_REGISTER, REQUEST_UPDATE, REQUEST_LEAVE };

struct link;
struct delivery;

struct request {
    TAILQ_ENTRY(request) in_order; // of deadlines
    TAILQ_ENTRY(request) in_queue; // of `waiting` or of a link
    enum request_kind kind;
    struct link *link;         // NULL: waits
    struct delivery *delivery; // its messages over CoAP; NULL over HTTP, and while it waits
    unsigned attempts;
    uint64_t deadline_ms, sent_us;
    int64_t asked_until; // expiry that a registration asked for
    char request_id[TEF_REQUEST_ID_MAX + 1];
    tef_done *done;
    void *context;
    char id[]; // RelativeKeyID, or of the registration
};
TAILQ_HEAD(requests, request);

struct link {
    TAILQ_ENTRY(link) in_client;
    struct tef_client *client;
    struct tef_channel *channel;
    struct tef_response *response; // of secret_alloc
    struct requests sent;
    unsigned sent_count;
    bool open, worked; // `worked`: an answer came
    // CoAP: requests at once, answers since that number grew, what the next message is known by, when anything came.
    unsigned window, answered;
    uint16_t next_mid;
    uint64_t next_token, heard_us;
};
TAILQ_HEAD(links, link);

enum registration_state { REGISTRATION_NONE, REGISTRATION_ASKED, REGISTRATION_HELD, REGISTRATION_LEAVING };

struct registration {
    enum registration_state state;
    char id[TEF_ID_MAX + 1];
    int64_t expires_at;
    unsigned failures;
    struct event *timer;
    void (*left)(void *context); // of tef_client_leave
    void *left_context;
};

struct tef_client {
    struct event_base *base;
    struct tef_client_settings settings; // strings are copies; the slices are empty
    char label[160];                     // "MAF 'name' at address", for logs
    char host[TEF_ID_MAX + 16];
    struct tef_tls *tls;
    tef_connect *connect;
    void *connect_context;
    struct requests all, waiting;
    struct links links;
    unsigned link_count, waiting_count, sent_count, connecting;
    struct event *kick, *deadline;
    bool ending;
    unsigned failures; // attempts to connect since one worked
    uint64_t next_try_ms;
    int last_failure;                     // result of requests that no connection took; SAGATE_OK while there is one
    uint64_t rtt_us, rtt_var_us, wait_ms; // CoAP: until a message is sent again; 0: not measured yet
    uint64_t request_number;
    uint32_t random;
    struct registration registration;
    struct tef_status status;
    struct log_sample sample;
};

// How connections are made from now on, for tests; NULL for TCP or UDP.
void tef_client_set_connect(struct tef_client *client, tef_connect *connect, void *context);

// Puts a request at the end of the queue: SAGATE_OK, SAGATE_ELIMIT, SAGATE_ENOMEM.
int client_ask(struct tef_client *client, enum request_kind kind, struct slice id, tef_done *done, void *context);

// Takes a request out of every queue, counts its result, tells it and frees it.
void client_finish(struct tef_client *client, struct request *request, int result, const struct tef_key *key);

// Takes the complete answer to a request, and ends it. False when its link is to be given up.
bool client_answered(struct request *request, struct tef_response *response);

// Gives up a link on which nothing comes any more, and asks again elsewhere what it was sent.
void client_silent(struct link *link);

// Notes what failed for the status and the log.
void client_note(struct tef_client *client, const char *format, ...) __attribute__((format(printf, 2, 3)));

// 0 … limit-1, for jitter.
uint32_t client_random(struct tef_client *client, uint32_t limit);

// The delay before attempt number `failures` (from 1): doubled each time, half of it chance.
unsigned client_back_off(struct tef_client *client, unsigned failures, unsigned least_ms, unsigned most_ms);

// Starts the timer of an event, from now.
void client_timer(struct event *event, uint64_t ms);

// What a request says. The strings live as long as this; `body` is for the caller to free.
struct request_text {
    struct tef_message message;
    char target[2048];
    char *body;
};
// SAGATE_OK or SAGATE_ENOMEM; gives the request a new identifier.
int request_describe(struct tef_client *client, struct request *request, struct request_text *text);

// Messages over CoAP: of a link that has opened; of a request that has just got its link (SAGATE_OK, SAGATE_ETOOBIG,
// SAGATE_ENOMEM); what came, whole; the end of a request, however it ended.
void delivery_open(struct link *link);
int delivery_start(struct request *request, const struct tef_message *message);
void delivery_take(struct link *link, struct slice bytes);
void delivery_end(struct request *request);
bool delivery_heard(const struct link *link, uint64_t since_us); // anything, since then

// What an answer means for a request; `key` is filled for a fetch. The reason of SAGATE_EMALFORMED in *why.
int request_judge(const struct tef_client *client, const struct request *request, const struct tef_response *response,
                  struct tef_key *key, const char **why);

// The registration: begins, takes the end of one of its requests, ends.
int registration_start(struct tef_client *client);
void registration_done(struct tef_client *client, const struct request *request, int result,
                       const struct tef_response *response);
void registration_end(struct tef_client *client);

#endif
