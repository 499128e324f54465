// From handshakes to clients.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/tefserver/peer.h"

#include "common/derive.h"
#include "common/error.h"
#include "common/log.h"
#include "common/secret.h"
#include "controlplane/tefserver/identity.h"

#include <stdlib.h>
#include <string.h>

static struct log_sample failed_sample;

void peer_release(struct peer *peer)
{
    enrolled_give_up(peer->wait);
    secret_free(peer->exported);
    secret_free(peer->km);
    peer->wait = NULL;
    peer->exported = NULL;
    peer->km = NULL;
}

int peer_resolved(struct handshake *handshake, struct peer *peer, const struct tef_key *km)
{
    peer->wait = NULL;
    peer->km = km == NULL ? NULL : secret_alloc(sizeof *km);
    if (peer->km != NULL)
        *peer->km = *km;
    return handshake_resolve(handshake, peer->km == NULL ? slice_of("", 0) : slice_of(km->key, km->key_len));
}

static int resolve_enrolled(struct server *server, const struct settings_function *function,
                            struct handshake *handshake, struct peer *peer, enrolled_done *done, void *context)
{
    struct tef_key *km = secret_alloc(sizeof *km);
    int found = km == NULL
                    ? SAGATE_ENOMEM
                    : enrolled_find(server, function, handshake_identity(handshake), done, context, &peer->wait, km);
    int result = SAGATE_PARKED;
    if (found != SAGATE_PARKED)
        result = peer_resolved(handshake, peer, found == SAGATE_OK ? km : NULL);
    secret_free(km);
    return result;
}

int peer_resolve(struct server *server, const struct settings_function *function, struct handshake *handshake,
                 struct peer *peer, enrolled_done *done, void *context)
{
    struct tef_store_client client;
    size_t len = 0;
    uint8_t *psk = secret_alloc(TEF_KEY_MAX);
    if (psk == NULL)
        return SAGATE_EHANDSHAKE;
    secret_free(peer->km); // of an identity before this one
    peer->km = NULL;
    int found = tef_store_client_by_identity(server->store, handshake_identity(handshake), &client, psk, &len);
    int result = found == SAGATE_OK ? handshake_resolve(handshake, slice_of(psk, len))
                                    : resolve_enrolled(server, function, handshake, peer, done, context);
    secret_free(psk);
    return result;
}

static void identify(struct tef_store *store, enum framework framework, struct slice identity, struct slice certificate,
                     struct peer *peer)
{
    struct tef_store_client client = {0};
    uint8_t *psk = secret_alloc(TEF_KEY_MAX);
    size_t len = 0;
    int result = SAGATE_ENOMEM;
    if (framework == FRAMEWORK_PSK && peer->km != NULL)
        result = tef_store_client_by_id(store, slice_text(peer->km->source_id), &client);
    else if (framework == FRAMEWORK_PSK && psk != NULL)
        result = tef_store_client_by_identity(store, identity, &client, psk, &len);
    else if (framework == FRAMEWORK_CERTIFICATE)
        result = identity_of_certificate(store, certificate, &client);
    secret_free(psk);
    if (result == SAGATE_OK)
        memcpy(peer->client_id, client.id, sizeof peer->client_id);
}

static void export_keys(const struct handshake *handshake, const char *label, struct peer *peer)
{
    peer->exported = secret_alloc(DERIVE_EXPORTED);
    if (peer->exported == NULL || handshake_export(handshake, label, peer->exported, DERIVE_EXPORTED) != SAGATE_OK) {
        secret_free(peer->exported);
        peer->exported = NULL;
    }
}

bool peer_take(struct server *server, const struct settings_function *function, struct handshake *handshake,
               struct peer *peer, struct record **record)
{
    struct counts *counts = server->counts;
    enum framework framework = FRAMEWORK_NONE;
    struct slice identity = handshake_identity(handshake), certificate = handshake_certificate(handshake);
    char *identity_copy = slice_copy(identity);
    char *certificate_copy = slice_copy(certificate);
    export_keys(handshake, function->export_label, peer);
    *record = NULL;
    int result = handshake_finish(handshake, &framework, record);
    if (result == SAGATE_OK && identity_copy != NULL && certificate_copy != NULL)
        identify(server->store, framework, slice_of(identity_copy, identity.len),
                 slice_of(certificate_copy, certificate.len), peer);
    free(identity_copy);
    free(certificate_copy);
    if (peer->client_id[0] == '\0') {
        counts->handshakes[COUNTS_FAILED]++;
        log_sampled(&failed_sample, LOG_LEVEL_WARNING, "%s: a client was proven that is none of ours", function->fqdn);
        return false;
    }
    counts->handshakes[framework == FRAMEWORK_PSK ? COUNTS_PSK : COUNTS_CERTIFICATE]++;
    return true;
}

void peer_failed(struct server *server, const struct settings_function *function, const struct handshake *handshake)
{
    const char *text = "";
    (void)handshake_failure(handshake, &text);
    server->counts->handshakes[COUNTS_FAILED]++;
    log_sampled(&failed_sample, LOG_LEVEL_INFO, "%s: handshake failed: %s", function->fqdn, text);
}
