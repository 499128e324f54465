// Who is this identity? Asked of what is provisioned first, then of the MAF or MEF that its FQDN names.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "controlplane/control/configure.h"
#include "controlplane/control/state.h"

#include <string.h>

// Forms of Credential-IDs (TS-0003 10.4): 11 and 12.
enum { CREDENTIAL_TYPE_LEN = 3, FAILED_CACHE_SECONDS = 1 };

static void send_answer(struct control *control, uint64_t workers, struct slice identity,
                        const struct remote_answer *answer)
{
    uint8_t packed[PLANE_MESSAGE_MAX];
    struct plane_message message = {.type = PLANE_RESOLVED,
                                    .resolved = {.identity = identity,
                                                 .result = answer->result,
                                                 .key = answer->key,
                                                 .cache_seconds = answer->cache_seconds}};
    if (answer->result == SAGATE_OK) {
        int len = plane_pack_principal(answer->principal, packed, sizeof packed);
        message.resolved.principal = slice_of(packed, len < 0 ? 0 : (size_t)len);
    }
    for (unsigned worker = 0; workers != 0; worker++, workers >>= 1) {
        if ((workers & 1) != 0)
            (void)workers_send(control->workers, worker, &message);
    }
}

void resolving_ask(struct control *control, unsigned worker, struct slice identity)
{
    const struct remote_answer failed = {.result = SAGATE_EUNAVAILABLE, .cache_seconds = FAILED_CACHE_SECONDS};
    struct resolver_identity provisioned;
    struct remote_answer remote;
    int64_t now = clock_wall();
    uint64_t asker = UINT64_C(1) << worker;
    // What is provisioned wins also when it has expired: the operator said so.
    int result = resolver_find(control->resolver, identity, &provisioned) == SAGATE_OK
                     ? SAGATE_ENOTFOUND
                     : remote_resolve(control->remote, identity, now, &remote);
    if (result == SAGATE_PARKED) {
        if (waiters_add(control->waiters, identity, worker) != SAGATE_OK)
            send_answer(control, asker, identity, &failed);
        return;
    }
    if (result != SAGATE_OK) {
        struct resolver_answer answer;
        resolver_resolve(control->resolver, identity, now, &answer);
        remote = (struct remote_answer){.result = answer.result,
                                        .key = answer.key,
                                        .cache_seconds = answer.cache_seconds,
                                        .principal = answer.principal};
    }
    send_answer(control, asker, identity, &remote);
}

static void on_resolved(void *context, struct slice identity, const struct remote_answer *answer)
{
    struct control *control = context;
    send_answer(control, waiters_take(control->waiters, identity), identity, answer);
    // From inside here nothing may expire: the timer does that.
    int64_t left = answer->result == SAGATE_OK ? answer->principal->expires_at - clock_wall() : INT64_MAX;
    if (left < control->expiry_at - clock_wall()) {
        struct timeval timeout = {.tv_sec = (time_t)(left > 0 ? left : 0)};
        control->expiry_at = answer->principal->expires_at;
        (void)event_add(control->expiry, &timeout);
    }
}

static void on_revoked(void *context, const char *identity, const char *credential_id)
{
    struct control *control = context;
    struct plane_message message = {
        .type = PLANE_REVOKED,
        .revoked = {.identity = slice_text(identity), .credential_id = slice_text(credential_id)}};
    workers_broadcast(control->workers, &message);
}

// A provisioned identity that is the value of the Credential-ID tells as whom its holder may act.
static int map(void *context, struct slice credential_id, struct principal *principal)
{
    const struct control *control = context;
    struct resolver_identity found;
    if (credential_id.len <= CREDENTIAL_TYPE_LEN)
        return SAGATE_ENOTFOUND;
    struct slice value = slice_of(credential_id.data + CREDENTIAL_TYPE_LEN, credential_id.len - CREDENTIAL_TYPE_LEN);
    if (resolver_find(control->resolver, value, &found) != SAGATE_OK ||
        credential_is_expired(found.credential, clock_wall()))
        return SAGATE_ENOTFOUND;
    for (size_t i = 0; i < found.credential->ae_count; i++) {
        int result = principal_add_ae(principal, slice_text(found.credential->aes[i]), slice_text(""));
        if (result < 0 && result != SAGATE_EEXISTS)
            return SAGATE_ENOTFOUND;
    }
    if (found.credential->cse_id != NULL)
        principal->cse_id = strdup(found.credential->cse_id);
    return SAGATE_OK;
}

static int open_file(void *context, const char *path)
{
    return configure_open_file(context, path);
}

bool resolving_start(struct control *control)
{
    const struct remote_events events = {.context = control, .resolved = on_resolved, .revoked = on_revoked};
    const struct keystore_files files = {.open_file = open_file, .context = control};
    control->remote = remote_new(control->base, &events, map, control);
    control->tefs = tefs_new(control->base, &files);
    control->waiters = waiters_new();
    return control->remote != NULL && control->tefs != NULL && control->waiters != NULL;
}

void resolving_end(struct control *control)
{
    remote_free(control->remote); // before the clients, whose last answers nobody needs
    tefs_free(control->tefs);
    waiters_free(control->waiters);
}

void resolving_apply(struct control *control)
{
    const struct config_resolver *from = &control->pending.config->resolver;
    const struct remote_limits limits = {.waiting = from->waiting,
                                         .cached = from->cached,
                                         .deadline_ms = from->deadline_milliseconds,
                                         .negative_seconds = from->negative_seconds,
                                         .cache_seconds = from->cache_seconds};
    struct remote_tef tefs[REMOTE_TEFS_MAX];
    size_t count = tefs_remote(control->tefs, tefs);
    if (remote_apply(control->remote, tefs, count, &limits) == SAGATE_OK) {
        tefs_commit(control->tefs);
        return;
    }
    log_error("control: the MAFs and MEFs of the former configuration stay: %s", sagate_strerror(SAGATE_ENOMEM));
    tefs_discard(control->tefs);
}
