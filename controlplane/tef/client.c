// The client: a queue of requests and the connections that take them.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/clock.h"
#include "common/error.h"
#include "common/secret.h"
#include "controlplane/tef/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

const unsigned tef_latency_bounds[TEF_LATENCY_BUCKETS - 1] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000};

void client_note(struct tef_client *client, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(client->status.last_error, sizeof client->status.last_error, format, arguments);
    va_end(arguments);
    client->status.last_error_at = clock_wall();
    log_sampled(&client->sample, LOG_LEVEL_WARNING, "%s: %s", client->label, client->status.last_error);
}

uint32_t client_random(struct tef_client *client, uint32_t limit)
{
    uint32_t value;
    if (getrandom(&value, sizeof value, GRND_NONBLOCK) != (ssize_t)sizeof value)
        value = client->random ^ (uint32_t)clock_us(); // chance enough for jitter
    return value % limit;
}

unsigned client_back_off(struct tef_client *client, unsigned failures, unsigned least_ms, unsigned most_ms)
{
    unsigned ms = least_ms;
    for (unsigned i = 1; i < failures && ms < most_ms; i++)
        ms *= 2;
    ms = ms > most_ms ? most_ms : ms;
    return ms / 2 + client_random(client, ms / 2 + 1);
}

void client_timer(struct event *event, uint64_t ms)
{
    struct timeval delay = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    (void)event_add(event, &delay);
}

static void kick(struct tef_client *client)
{
    if (!client->ending)
        client_timer(client->kick, 0);
}

static void set_deadline(struct tef_client *client)
{
    const struct request *first = TAILQ_FIRST(&client->all);
    if (first == NULL) {
        (void)event_del(client->deadline);
        return;
    }
    uint64_t now = clock_ms();
    client_timer(client->deadline, first->deadline_ms > now ? first->deadline_ms - now : 0);
}

int client_ask(struct tef_client *client, enum request_kind kind, struct slice id, tef_done *done, void *context)
{
    if (client->waiting_count + client->sent_count >= WAITING_MAX)
        return SAGATE_ELIMIT;
    struct request *request = calloc(1, sizeof *request + id.len + 1);
    if (request == NULL)
        return SAGATE_ENOMEM;
    request->kind = kind;
    request->done = done;
    request->context = context;
    request->deadline_ms = clock_ms() + client->settings.timeout_ms;
    if (id.len > 0)
        memcpy(request->id, id.data, id.len);
    TAILQ_INSERT_TAIL(&client->all, request, in_order);
    TAILQ_INSERT_TAIL(&client->waiting, request, in_queue);
    client->waiting_count++;
    client->status.requests++;
    if (TAILQ_FIRST(&client->all) == request)
        set_deadline(client);
    kick(client);
    return SAGATE_OK;
}

int tef_client_fetch(struct tef_client *client, struct slice relative_key_id, tef_done *done, void *context)
{
    int rc = client->ending ? SAGATE_ELIMIT : client_ask(client, REQUEST_FETCH, relative_key_id, done, context);
    if (rc == SAGATE_ELIMIT)
        client->status.refused++;
    return rc;
}

static void count(struct tef_status *status, int result)
{
    switch (result) {
    case SAGATE_OK:
        status->ok++;
        break;
    case SAGATE_ENOTFOUND:
        status->not_found++;
        break;
    case SAGATE_EMALFORMED:
        status->malformed++;
        break;
    case SAGATE_ETIMEOUT:
        status->timeouts++;
        break;
    case SAGATE_EHANDSHAKE:
        break; // counted by connection
    default:
        status->unavailable++;
    }
}

// Out of the queue that it stands in.
static void take(struct tef_client *client, struct request *request)
{
    if (request->link == NULL) {
        TAILQ_REMOVE(&client->waiting, request, in_queue);
        client->waiting_count--;
        return;
    }
    delivery_end(request);
    TAILQ_REMOVE(&request->link->sent, request, in_queue);
    request->link->sent_count--;
    client->sent_count--;
    request->link = NULL;
}

static void finish(struct tef_client *client, struct request *request, int result, const struct tef_key *key,
                   const struct tef_response *response)
{
    take(client, request);
    TAILQ_REMOVE(&client->all, request, in_order);
    count(&client->status, result);
    if (request->kind != REQUEST_FETCH && !client->ending)
        registration_done(client, request, result, response);
    else if (request->done != NULL)
        request->done(request->context, result, result == SAGATE_OK ? key : NULL);
    free(request);
}

void client_finish(struct tef_client *client, struct request *request, int result, const struct tef_key *key)
{
    finish(client, request, result, key, NULL);
}

// Back to the head of the queue, or the end when it was lost too often.
static void put_back(struct tef_client *client, struct request *request)
{
    if (request->attempts >= ATTEMPTS_MAX) {
        client_finish(client, request, SAGATE_EUNAVAILABLE, NULL);
        return;
    }
    take(client, request);
    TAILQ_INSERT_HEAD(&client->waiting, request, in_queue);
    client->waiting_count++;
}

// Frees a link; what it was sent is asked again elsewhere.
static void drop(struct link *link)
{
    struct tef_client *client = link->client;
    struct request *request;
    TAILQ_REMOVE(&client->links, link, in_client);
    client->link_count--;
    if (!link->open)
        client->connecting--;
    tef_channel_free(link->channel);
    secret_free(link->response);
    while ((request = TAILQ_LAST(&link->sent, requests)) != NULL)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it takes itself out of the list, through tqe_prev
        put_back(client, request);
    free(link);
    kick(client);
}

static bool any_open(const struct tef_client *client)
{
    const struct link *link;
    TAILQ_FOREACH(link, &client->links, in_client)
    {
        if (link->open)
            return true;
    }
    return false;
}

static void failed(struct tef_client *client, int result, const char *why)
{
    client->failures++;
    client->last_failure = result;
    client->next_try_ms = clock_ms() + client_back_off(client, client->failures, BACK_OFF_MIN_MS, BACK_OFF_MAX_MS);
    client_note(client, "%s", why);
    if (result != SAGATE_EHANDSHAKE)
        return;
    client->status.handshake_failures++;
    if (any_open(client))
        return;
    // Who does not prove himself, or does not take our credential, will not do so before their deadlines either. Those
    // that come while this is told wait for the next try.
    for (unsigned left = client->waiting_count; left > 0 && !TAILQ_EMPTY(&client->waiting); left--)
        client_finish(client, TAILQ_FIRST(&client->waiting), SAGATE_EHANDSHAKE, NULL);
}

static void on_closed(void *context, int result, const char *why)
{
    struct link *link = context;
    struct tef_client *client = link->client;
    bool worked = link->worked;
    bool lost = link->sent_count > 0;
    drop(link);
    if (!worked) {
        failed(client, result == SAGATE_EHANDSHAKE ? result : SAGATE_EUNAVAILABLE, why);
    } else if (lost || result != SAGATE_EGONE) {
        client_note(client, "%s", why);
    }
}

static void on_open(void *context, const char *version, const char *suite)
{
    struct link *link = context;
    struct tef_client *client = link->client;
    link->open = true;
    delivery_open(link);
    client->connecting--;
    client->status.connects++;
    log_line(client->failures > 0 ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG, "%s: connected, %s, %s", client->label, version,
             suite);
    kick(client);
}

static void measure(struct tef_status *status, uint64_t us)
{
    size_t bucket = 0;
    while (bucket < TEF_LATENCY_BUCKETS - 1 && us > (uint64_t)tef_latency_bounds[bucket] * 1000)
        bucket++;
    status->latency[bucket]++;
    status->latency_sum_us += us;
}

bool client_answered(struct request *request, struct tef_response *response)
{
    struct link *link = request->link;
    struct tef_client *client = link->client;
    const char *why;
    struct tef_key *key = secret_alloc(sizeof *key);
    int rc = key == NULL ? SAGATE_EUNAVAILABLE : request_judge(client, request, response, key, &why);
    link->worked = true;
    client->failures = 0;
    client->last_failure = SAGATE_OK;
    measure(&client->status, clock_us() - request->sent_us);
    if (rc == SAGATE_EMALFORMED)
        client_note(client, "the answer is not understood: %s", why);
    else if (rc == SAGATE_EUNAVAILABLE)
        client_note(client, "it answers with status %d, response status code %u", response->status, response->rsc);
    bool keep = !response->close;
    finish(client, request, rc, key, response);
    secret_free(key);
    tef_response_reset(response);
    return keep;
}

void client_silent(struct link *link)
{
    static const char why[] = "it does not answer any more";
    struct tef_client *client = link->client;
    bool worked = link->worked;
    drop(link);
    if (worked)
        client_note(client, "%s", why);
    else
        failed(client, SAGATE_EUNAVAILABLE, why);
}

// Takes one complete answer; false when the link is to be given up.
static bool answered(struct link *link)
{
    struct request *request = TAILQ_FIRST(&link->sent);
    if (request != NULL)
        return client_answered(request, link->response);
    client_note(link->client, "an answer that nobody asked for");
    return false;
}

static bool over_coap(const struct tef_client *client)
{
    return client->settings.binding == TEF_COAP;
}

static void on_bytes(void *context, struct slice bytes)
{
    struct link *link = context;
    struct tef_client *client = link->client;
    if (over_coap(client)) {
        delivery_take(link, bytes);
        kick(client);
        return;
    }
    while (bytes.len > 0) {
        size_t used;
        int rc = tef_response_feed(link->response, bytes, &used);
        bytes = slice_of(bytes.data + used, bytes.len - used);
        if (rc == SAGATE_AGAIN)
            return;
        if (rc == SAGATE_EMALFORMED) {
            struct request *request = TAILQ_FIRST(&link->sent);
            client_note(client, "the answer is not understood: %s", link->response->why);
            if (request != NULL)
                client_finish(client, request, SAGATE_EMALFORMED, NULL);
        }
        if (rc == SAGATE_EMALFORMED || !answered(link)) {
            drop(link);
            return;
        }
    }
    kick(client);
}

static bool connect_link(struct tef_client *client)
{
    struct link *link = calloc(1, sizeof *link);
    struct tef_response *response = secret_alloc(sizeof *response);
    int fd =
        link == NULL || response == NULL ? -1 : client->connect(client->connect_context, &client->settings.address);
    if (fd < 0) {
        int error = errno;
        free(link);
        secret_free(response);
        char why[TEF_ERROR_MAX];
        (void)snprintf(why, sizeof why, "connecting failed: %s", strerror(error));
        failed(client, SAGATE_EUNAVAILABLE, why);
        return false;
    }
    struct tef_channel_owner owner = {.open = on_open, .bytes = on_bytes, .closed = on_closed, .context = link};
    link->client = client;
    link->response = response;
    TAILQ_INIT(&link->sent);
    link->channel = tef_channel_new(client->base, client->tls, fd, client->settings.timeout_ms, &owner);
    if (link->channel == NULL) {
        free(link);
        secret_free(response);
        failed(client, SAGATE_EUNAVAILABLE, sagate_strerror(SAGATE_ENOMEM));
        return false;
    }
    TAILQ_INSERT_TAIL(&client->links, link, in_client);
    client->link_count++;
    client->connecting++;
    return true;
}

static unsigned window(const struct link *link)
{
    return over_coap(link->client) ? link->window : link->client->settings.in_flight;
}

static struct link *least_loaded(const struct tef_client *client)
{
    struct link *link, *best = NULL;
    TAILQ_FOREACH(link, &client->links, in_client)
    {
        if (link->open && link->sent_count < window(link) && (best == NULL || link->sent_count < best->sent_count))
            best = link;
    }
    return best;
}

static int send_http(const struct link *link, const struct tef_message *message)
{
    char bytes[TEF_REQUEST_MAX];
    int len = tef_request_write(message, bytes, sizeof bytes);
    return len < 0 ? len : tef_channel_send(link->channel, slice_of(bytes, (size_t)len));
}

static void send_to(struct link *link, struct request *request)
{
    struct tef_client *client = link->client;
    struct request_text text;
    int rc = request_describe(client, request, &text);
    take(client, request);
    request->link = link;
    request->attempts++;
    request->sent_us = clock_us();
    TAILQ_INSERT_TAIL(&link->sent, request, in_queue);
    link->sent_count++;
    client->sent_count++;
    if (rc == SAGATE_OK)
        rc = over_coap(client) ? delivery_start(request, &text.message) : send_http(link, &text.message);
    free(text.body);
    if (rc != SAGATE_OK) {
        client_note(client, "a request cannot be sent: %s", sagate_strerror(rc));
        client_finish(client, request, SAGATE_EUNAVAILABLE, NULL);
    }
}

static void connect_more(struct tef_client *client)
{
    // One at a time while it is not known whether there is anybody.
    while (client->link_count < client->settings.connections &&
           client->waiting_count > client->connecting * client->settings.in_flight &&
           (client->connecting == 0 || client->failures == 0)) {
        uint64_t now = clock_ms();
        if (client->failures > 0 && now < client->next_try_ms) {
            client_timer(client->kick, client->next_try_ms - now);
            return;
        }
        if (!connect_link(client))
            continue; // which has set the time of the next try
    }
}

static void on_kick(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct tef_client *client = context;
    struct link *link;
    while (client->waiting_count > 0 && (link = least_loaded(client)) != NULL)
        send_to(link, TAILQ_FIRST(&client->waiting));
    connect_more(client);
}

static void expire(struct tef_client *client, struct request *request)
{
    struct link *link = request->link;
    int result = SAGATE_ETIMEOUT;
    // Answers over HTTP come in order: what stands behind the one that does not come goes to another connection.
    bool lost = link != NULL && (!over_coap(client) || !delivery_heard(link, request->sent_us));
    if (link == NULL && !any_open(client))
        result = client->last_failure != SAGATE_OK ? client->last_failure : SAGATE_EUNAVAILABLE;
    if (result == SAGATE_ETIMEOUT)
        client_note(client, "no answer within %u ms", client->settings.timeout_ms);
    else if (client->last_failure == SAGATE_OK) // else the cause is noted already
        client_note(client, "no connection within %u ms", client->settings.timeout_ms);
    client_finish(client, request, result, NULL);
    if (lost)
        drop(link);
}

static void on_deadline(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct tef_client *client = context;
    struct request *request;
    uint64_t now = clock_ms();
    while ((request = TAILQ_FIRST(&client->all)) != NULL && request->deadline_ms <= now)
        expire(client, request);
    set_deadline(client);
}

void tef_client_set_connect(struct tef_client *client, tef_connect *connect, void *context)
{
    client->connect = connect != NULL ? connect : over_coap(client) ? tef_connect_udp : tef_connect_tcp;
    client->connect_context = context;
}

static bool plain(const char *text)
{
    if (text == NULL || *text == '\0' || strlen(text) > TEF_ID_MAX)
        return false;
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text <= 0x20 || *text == 0x7f)
            return false;
    }
    return true;
}

static const char *check(const struct tef_client_settings *settings)
{
    if (!plain(settings->fqdn))
        return "the FQDN is none";
    if (!plain(settings->client_id))
        return "the client's ID is none";
    // Only registrations name it.
    if (!plain(settings->admin_fqdn) && (settings->register_client || settings->admin_fqdn[0] != '\0'))
        return "the FQDN of the administrator is none";
    if (!plain(settings->profile->registration_path) ||
        (settings->profile->key_path[0] != '\0' && !plain(settings->profile->key_path)))
        return "a path is none";
    if (settings->address.len == 0)
        return "there is no address";
    if (settings->connections < 1 || settings->connections > 16 || settings->in_flight < 1 || settings->in_flight > 64)
        return "connections or requests per connection out of range";
    if (settings->timeout_ms == 0 || (settings->register_client && settings->registration_seconds == 0))
        return "a time is 0";
    return NULL;
}

static int copy_settings(struct tef_client *client, const struct tef_client_settings *from)
{
    char address[ADDRESS_TEXT_MAX];
    struct tef_client_settings *to = &client->settings;
    unsigned port =
        ntohs(from->address.any.sa_family == AF_INET6 ? from->address.v6.sin6_port : from->address.v4.sin_port);
    *to = *from;
    to->psk = to->certificate = to->private_key = to->trust_anchors = slice_of(NULL, 0);
    to->psk_identity = NULL;
    to->name = strdup(from->name);
    to->fqdn = strdup(from->fqdn);
    to->client_id = strdup(from->client_id);
    to->admin_fqdn = strdup(from->admin_fqdn);
    if (to->name == NULL || to->fqdn == NULL || to->client_id == NULL || to->admin_fqdn == NULL)
        return SAGATE_ENOMEM;
    (void)snprintf(client->host, sizeof client->host, "%s:%u", to->fqdn, port);
    (void)snprintf(client->label, sizeof client->label, "%s '%.64s' at %s", to->kind == TEF_MAF ? "MAF" : "MEF",
                   to->name, address_format(&to->address, address));
    return SAGATE_OK;
}

static int set_up(struct tef_client *client, const struct tef_client_settings *settings, char why[TEF_ERROR_MAX])
{
    int rc = copy_settings(client, settings);
    if (rc == SAGATE_OK)
        rc = tef_tls_new(settings, &client->tls, why);
    if (rc != SAGATE_OK)
        return rc;
    client->random = client_random(client, UINT32_MAX);
    client->kick = evtimer_new(client->base, on_kick, client);
    client->deadline = evtimer_new(client->base, on_deadline, client);
    if (client->kick == NULL || client->deadline == NULL)
        return SAGATE_ENOMEM;
    return registration_start(client);
}

int tef_client_check(const struct tef_client_settings *settings, char why[TEF_ERROR_MAX])
{
    struct tef_tls *tls = NULL;
    int result = tef_tls_new(settings, &tls, why);
    tef_tls_free(tls);
    return result;
}

int tef_client_new(struct event_base *base, const struct tef_client_settings *settings, struct tef_client **client,
                   char why[TEF_ERROR_MAX])
{
    const char *wrong = check(settings);
    why[0] = '\0';
    if (wrong != NULL) {
        (void)snprintf(why, TEF_ERROR_MAX, "%s", wrong);
        return SAGATE_EINVAL;
    }
    struct tef_client *new = calloc(1, sizeof *new);
    if (new == NULL)
        return SAGATE_ENOMEM;
    new->base = base;
    TAILQ_INIT(&new->all);
    TAILQ_INIT(&new->waiting);
    TAILQ_INIT(&new->links);
    new->settings.binding = settings->binding;
    tef_client_set_connect(new, NULL, NULL);
    int rc = set_up(new, settings, why);
    if (rc != SAGATE_OK) {
        tef_client_free(new);
        return rc;
    }
    *client = new;
    return SAGATE_OK;
}

void tef_client_free(struct tef_client *client)
{
    if (client == NULL)
        return;
    struct request *request;
    client->ending = true;
    while ((request = TAILQ_FIRST(&client->all)) != NULL)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it takes itself out of the list, through tqe_prev
        client_finish(client, request, SAGATE_EUNAVAILABLE, NULL);
    while (!TAILQ_EMPTY(&client->links))
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it takes itself out of the list, through tqe_prev
        drop(TAILQ_FIRST(&client->links));
    registration_end(client);
    if (client->kick != NULL)
        event_free(client->kick);
    if (client->deadline != NULL)
        event_free(client->deadline);
    tef_tls_free(client->tls);
    free((void *)(uintptr_t)client->settings.name);
    free((void *)(uintptr_t)client->settings.fqdn);
    free((void *)(uintptr_t)client->settings.client_id);
    free((void *)(uintptr_t)client->settings.admin_fqdn);
    free(client);
}

void tef_client_status(const struct tef_client *client, struct tef_status *status)
{
    *status = client->status;
    status->waiting = client->waiting_count;
    status->in_flight = client->sent_count;
    status->connections = client->link_count - client->connecting;
}
