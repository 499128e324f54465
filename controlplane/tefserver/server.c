// Listening, the credentials of the functions, and the clearing of what has expired.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/clock.h"
#include "common/error.h"
#include "common/file.h"
#include "common/log.h"
#include "common/secret.h"
#include "controlplane/tefserver/connection.h"
#include "controlplane/tefserver/datagram.h"
#include "controlplane/tefserver/enrolled.h"

#include <event2/event.h>
#include <event2/listener.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PEM_MAX = 256 * 1024, EXPIRY_SECONDS = 30, BACKLOG = 1024 };

// --- Credentials -------------------------------------------------------------------------------------------------

struct slice server_read_pem(const char *path, char why[SERVER_ERROR_MAX])
{
    struct slice bytes = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t *memory = fd < 0 ? NULL : secret_alloc(PEM_MAX);
    ssize_t len = memory == NULL ? -1 : file_read(fd, memory, PEM_MAX);
    if (len > 0)
        bytes = slice_of(memory, (size_t)len);
    else
        (void)snprintf(why, SERVER_ERROR_MAX, "%s: %s", path, len == 0 ? "empty" : strerror(errno));
    if (len <= 0)
        secret_free(memory);
    if (fd >= 0)
        close(fd);
    return bytes;
}

void server_forget(struct slice bytes)
{
    union {
        const uint8_t *seen;
        uint8_t *own;
    } memory = {.seen = bytes.data};
    secret_free(memory.own);
}

// The gateway's handshakes are told what to offer in the gateway's words.
struct offer {
    struct config config;
    struct config_listener listeners[SETTINGS_FUNCTIONS_MAX];
    struct config_certificate certificates[SETTINGS_FUNCTIONS_MAX];
    struct config_trust_anchor anchors[SETTINGS_FUNCTIONS_MAX];
    size_t numbers[SETTINGS_FUNCTIONS_MAX];
    struct handshake_files files;
};

static bool add_function(struct offer *offer, const struct settings_function *function, char why[SERVER_ERROR_MAX])
{
    size_t at = offer->config.listener_count++;
    struct config_listener *listener = &offer->listeners[at];
    *listener = (struct config_listener){.name = function->fqdn,
                                         .transport = function->coap ? CONFIG_DTLS : CONFIG_TLS,
                                         .psk = function->psk,
                                         .version_min = CONFIG_TLS_1_2,
                                         .version_max = function->version_max};
    // Functions without a file leave a hole, which no listener names.
    offer->numbers[at] = at;
    if (function->chain_file[0] != '\0') {
        offer->certificates[at] =
            (struct config_certificate){.chain_file = function->chain_file, .key_file = function->key_file};
        listener->certificate_count = 1;
        listener->certificates = &offer->numbers[at];
        offer->files.chain[at] = server_read_pem(function->chain_file, why);
        if (offer->files.chain[at].len > 0)
            offer->files.key[at] = server_read_pem(function->key_file, why);
        if (offer->files.key[at].len == 0)
            return false;
    }
    if (function->trust_anchors_file[0] != '\0') {
        offer->anchors[at] = (struct config_trust_anchor){.file = function->trust_anchors_file};
        listener->trust_anchor_count = 1;
        listener->trust_anchors = &offer->numbers[at];
        listener->client_certificates =
            function->psk ? CONFIG_CLIENT_CERTIFICATES_OPTIONAL : CONFIG_CLIENT_CERTIFICATES_REQUIRED;
        offer->files.anchors[at] = server_read_pem(function->trust_anchors_file, why);
        if (offer->files.anchors[at].len == 0)
            return false;
    }
    return true;
}

int server_contexts(const struct settings *settings, struct handshake_contexts **contexts, char why[SERVER_ERROR_MAX])
{
    struct offer *offer = calloc(1, sizeof *offer);
    if (offer == NULL)
        return SAGATE_ENOMEM;
    offer->config.listeners = offer->listeners;
    offer->config.certificates = offer->certificates;
    offer->config.trust_anchors = offer->anchors;
    bool good = true;
    for (size_t i = 0; i < settings->function_count && good; i++)
        good = add_function(offer, &settings->functions[i], why);
    offer->config.certificate_count = offer->config.trust_anchor_count = offer->config.listener_count;
    int result =
        good ? handshake_contexts_new(&offer->config, &offer->files, contexts, why, SERVER_ERROR_MAX) : SAGATE_ECONFIG;
    if (result == SAGATE_OK)
        handshake_contexts_export(*contexts);
    for (size_t i = 0; i < SETTINGS_FUNCTIONS_MAX; i++) {
        server_forget(offer->files.chain[i]);
        server_forget(offer->files.key[i]);
        server_forget(offer->files.anchors[i]);
    }
    free(offer);
    return result;
}

// --- Listening ---------------------------------------------------------------------------------------------------

static void on_accept(struct evconnlistener *evlistener, evutil_socket_t fd, struct sockaddr *peer, int len,
                      void *context)
{
    const struct server_listener *listener = context;
    struct server *server = listener->server;
    int one = 1;
    (void)evlistener;
    (void)peer;
    (void)len;
    if (server->counts->connections >= server->settings->limits.connections) {
        server->counts->refused++;
        evutil_closesocket(fd);
        return;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connection_new(server, listener->function, fd);
}

static void on_expiry(evutil_socket_t fd, short what, void *context)
{
    const struct server *server = context;
    static struct log_sample failed;
    (void)fd;
    (void)what;
    int result = tef_store_expire(server->store, clock_wall());
    if (result != SAGATE_OK)
        log_sampled(&failed, LOG_LEVEL_ERROR, "what has expired cannot be deleted: %s", sagate_strerror(result));
}

static bool listen_at(struct server *server, size_t function, char why[SERVER_ERROR_MAX])
{
    char text[ADDRESS_TEXT_MAX];
    const struct address *address = &server->settings->functions[function].address;
    struct server_listener *listener = &server->listeners[function];
    listener->server = server;
    listener->function = function;
    if (server->settings->functions[function].coap) {
        listener->datagram = datagram_new(server, function);
        if (listener->datagram == NULL)
            (void)snprintf(why, SERVER_ERROR_MAX, "cannot listen at %s: %s", address_format(address, text),
                           strerror(errno));
        return listener->datagram != NULL;
    }
    listener->listener = evconnlistener_new_bind(server->base, on_accept, listener,
                                                 LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE,
                                                 BACKLOG, &address->any, (int)address->len);
    if (listener->listener == NULL)
        (void)snprintf(why, SERVER_ERROR_MAX, "cannot listen at %s: %s", address_format(address, text),
                       strerror(errno));
    return listener->listener != NULL;
}

int server_new(struct event_base *base, const struct settings *settings, struct tef_store *store, struct audit *audit,
               struct counts *counts, struct handshake_contexts *contexts, struct server **out,
               char why[SERVER_ERROR_MAX])
{
    const struct timeval period = {.tv_sec = EXPIRY_SECONDS};
    struct server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        handshake_contexts_free(contexts);
        (void)snprintf(why, SERVER_ERROR_MAX, "%s", sagate_strerror(SAGATE_ENOMEM));
        return SAGATE_ENOMEM;
    }
    *server = (struct server){
        .base = base, .settings = settings, .store = store, .audit = audit, .counts = counts, .contexts = contexts};
    server->expiry = event_new(base, -1, EV_PERSIST, on_expiry, server);
    bool good = server->expiry != NULL && event_add(server->expiry, &period) == 0;
    if (!good)
        (void)snprintf(why, SERVER_ERROR_MAX, "%s", sagate_strerror(SAGATE_ENOMEM));
    int result = good ? enrolled_new(server, &server->enrolled, why) : SAGATE_ENOMEM;
    for (size_t i = 0; i < settings->function_count && result == SAGATE_OK; i++)
        result = listen_at(server, i, why) ? SAGATE_OK : SAGATE_ESYS;
    if (result != SAGATE_OK) {
        server_free(server);
        return result;
    }
    *out = server;
    return SAGATE_OK;
}

void server_free(struct server *server)
{
    if (server == NULL)
        return;
    for (size_t i = 0; i < SETTINGS_FUNCTIONS_MAX; i++) {
        datagram_free(server->listeners[i].datagram);
        if (server->listeners[i].listener != NULL)
            evconnlistener_free(server->listeners[i].listener);
    }
    while (server->connections != NULL)
        connection_free(server->connections);
    enrolled_free(server->enrolled);
    if (server->expiry != NULL)
        event_free(server->expiry);
    handshake_contexts_free(server->contexts);
    free(server);
}
