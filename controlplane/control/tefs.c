// The MAFs and MEFs of the configuration in force.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/control/tefs.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/file.h"
#include "common/log.h"
#include "common/onem2m.h"
#include "common/secret.h"
#include "controlplane/config/source.h"
#include "controlplane/control/configure.h"
#include "controlplane/control/tefs_internal.h"
#include "controlplane/keystore/keystore.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/sha256.h>

enum { PEM_MAX = 1 << 20, CREDENTIAL_TYPE_LEN = 3 };

// What a client is made from, read and not yet in use.
struct material {
    uint8_t *psk, *certificate, *private_key, *anchors; // secret_alloc
    size_t psk_len, certificate_len, private_key_len, anchors_len;
};

static void material_free(struct material *material)
{
    secret_free(material->psk);
    secret_free(material->certificate);
    secret_free(material->private_key);
    secret_free(material->anchors);
}

static int open_file(void *context, const char *path)
{
    return configure_open_file(context, path);
}

// Appends a file that came with the configuration; a line end goes between two.
static int append_file(struct control *control, const char *path, uint8_t **bytes, size_t *len)
{
    struct stat status;
    int fd = configure_open_file(control, path);
    if (fd < 0 || fstat(fd, &status) != 0 || status.st_size <= 0 || status.st_size > PEM_MAX - 2) {
        if (fd >= 0)
            close(fd);
        return SAGATE_ESYS;
    }
    uint8_t *grown = secret_alloc(*len + (size_t)status.st_size + 1);
    ssize_t got = grown == NULL ? -1 : file_read(fd, grown + *len, (size_t)status.st_size);
    close(fd);
    if (got < 0) {
        secret_free(grown);
        return grown == NULL ? SAGATE_ENOMEM : SAGATE_ESYS;
    }
    if (*bytes != NULL)
        memcpy(grown, *bytes, *len);
    *len += (size_t)got;
    grown[(*len)++] = '\n';
    secret_free(*bytes);
    *bytes = grown;
    return SAGATE_OK;
}

static const char *kind_name(enum tef_kind kind)
{
    return kind == TEF_MAF ? "MAF" : "MEF";
}

static int read_pem(struct control *control, const struct config_tef *tef, const char *path, uint8_t **bytes,
                    size_t *len, struct config_errors *errors)
{
    int result = append_file(control, path, bytes, len);
    if (result != SAGATE_OK)
        config_errors_add(errors, "%s \"%s\": %s cannot be read: %s", kind_name(tef->kind), tef->name, path,
                          result == SAGATE_ENOMEM ? sagate_strerror(result) : strerror(errno));
    return result;
}

static int read_material(struct control *control, const struct config *config, const struct config_tef *tef,
                         struct material *material, struct config_errors *errors)
{
    const struct keystore_files files = {open_file, control};
    char why[KEYSTORE_ERROR_MAX];
    int result = SAGATE_OK;
    if (tef->psk_identity[0] != '\0') {
        result = keystore_load(tef->psk, &files, &material->psk, &material->psk_len, why);
        if (result != SAGATE_OK)
            config_errors_add(errors, "%s \"%s\": the key %s cannot be had: %s", kind_name(tef->kind), tef->name,
                              tef->psk, why);
    } else {
        const struct config_certificate *own = &config->certificates[tef->certificate];
        result = read_pem(control, tef, own->chain_file, &material->certificate, &material->certificate_len, errors);
        if (result == SAGATE_OK)
            result = read_pem(control, tef, own->key_file, &material->private_key, &material->private_key_len, errors);
    }
    for (size_t i = 0; i < tef->trust_anchor_count && result == SAGATE_OK; i++)
        result = read_pem(control, tef, config->trust_anchors[tef->trust_anchors[i]].file, &material->anchors,
                          &material->anchors_len, errors);
    return result == SAGATE_OK || result == SAGATE_ENOMEM ? result : SAGATE_ECONFIG;
}

static void add(wc_Sha256 *hash, const void *data, size_t len)
{
    const uint64_t length = len;
    (void)wc_Sha256Update(hash, (const uint8_t *)&length, sizeof length);
    if (len > 0)
        (void)wc_Sha256Update(hash, data, (word32)len);
}

static void add_text(wc_Sha256 *hash, const char *text)
{
    add(hash, text, strlen(text));
}

static char **profile_strings(struct tef_profile *profile, size_t i)
{
    char **const strings[] = {
        &profile->registration_path, &profile->key_path,  &profile->registration_root, &profile->key_root,
        &profile->expiration_time,   &profile->labels,    &profile->admin_fqdn,        &profile->suid,
        &profile->target_ids,        &profile->source_id, &profile->key_value,         &profile->relative_key_id,
        &profile->resource_id};
    return i < sizeof strings / sizeof *strings ? strings[i] : NULL;
}

// What tells one client from another: equal digests, equal clients.
static void digest(const struct config *config, const struct config_tef *tef, const struct material *material,
                   uint8_t out[TEF_DIGEST])
{
    wc_Sha256 hash;
    struct tef_profile profile = tef->profile;
    const struct config_upstream *upstream = &config->upstreams[tef->upstream];
    const uint32_t numbers[] = {tef->kind,
                                tef->coap,
                                tef->register_client,
                                tef->connections,
                                tef->requests_per_connection,
                                tef->timeout_milliseconds,
                                tef->registration_seconds,
                                profile.registration_type,
                                profile.key_type,
                                profile.encoding,
                                profile.method};
    (void)wc_InitSha256(&hash);
    add(&hash, numbers, sizeof numbers);
    add(&hash, &tef->address, sizeof tef->address);
    add_text(&hash, tef->name);
    add_text(&hash, tef->fqdn);
    add_text(&hash, tef->admin_fqdn);
    add_text(&hash, tef->psk_identity);
    add_text(&hash, upstream->sp_id);
    add_text(&hash, upstream->cse_id);
    for (size_t i = 0; profile_strings(&profile, i) != NULL; i++)
        add_text(&hash, *profile_strings(&profile, i));
    add(&hash, material->psk, material->psk_len);
    add(&hash, material->certificate, material->certificate_len);
    add(&hash, material->private_key, material->private_key_len);
    add(&hash, material->anchors, material->anchors_len);
    (void)wc_Sha256Final(&hash, out);
    wc_Sha256Free(&hash);
}

static bool copy_profile(struct tef_profile *to, const struct tef_profile *from)
{
    bool ok = true;
    *to = *from;
    for (size_t i = 0; profile_strings(to, i) != NULL; i++) {
        char **text = profile_strings(to, i);
        *text = strdup(*text);
        ok = ok && *text != NULL;
    }
    return ok;
}

static void one_free(struct one_tef *one)
{
    if (one == NULL)
        return;
    tef_client_free(one->client);
    for (size_t i = 0; profile_strings(&one->profile, i) != NULL; i++)
        free(*profile_strings(&one->profile, i));
    free(one->name);
    free(one->fqdn);
    free(one->client_id);
    free(one);
}

static int make_client(struct control *control, const struct config_tef *tef, const struct material *material,
                       struct one_tef *one, struct config_errors *errors)
{
    char why[TEF_ERROR_MAX];
    bool psk = tef->psk_identity[0] != '\0';
    const struct tef_client_settings settings = {
        .kind = tef->kind,
        .binding = tef->coap ? TEF_COAP : TEF_HTTP,
        .name = one->name,
        .fqdn = one->fqdn,
        .address = tef->address,
        .profile = &one->profile,
        .client_id = one->client_id,
        .admin_fqdn = tef->admin_fqdn,
        .psk_identity = psk ? tef->psk_identity : NULL,
        .psk = slice_of(material->psk, material->psk_len),
        .certificate = slice_of(material->certificate, material->certificate_len),
        .private_key = slice_of(material->private_key, material->private_key_len),
        .trust_anchors = slice_of(material->anchors, material->anchors_len),
        .register_client = tef->register_client,
        .connections = tef->connections,
        .in_flight = tef->requests_per_connection,
        .timeout_ms = tef->timeout_milliseconds,
        .registration_seconds = tef->registration_seconds,
    };
    int result = tef_client_new(control->base, &settings, &one->client, why);
    if (result != SAGATE_OK)
        config_errors_add(errors, "%s \"%s\": %s", kind_name(tef->kind), tef->name,
                          result == SAGATE_EINVAL ? why : sagate_strerror(result));
    return result == SAGATE_OK || result == SAGATE_ENOMEM ? result : SAGATE_ECONFIG;
}

static int one_new(struct control *control, const struct config *config, const struct config_tef *tef,
                   const struct material *material, struct one_tef **out, struct config_errors *errors)
{
    const struct config_upstream *upstream = &config->upstreams[tef->upstream];
    struct one_tef *one = calloc(1, sizeof *one);
    if (one == NULL)
        return SAGATE_ENOMEM;
    one->kind = tef->kind;
    one->name = strdup(tef->name);
    one->fqdn = strdup(tef->fqdn);
    digest(config, tef, material, one->digest);
    bool ok = asprintf(&one->client_id, "%s%s", upstream->sp_id, upstream->cse_id) >= 0;
    ok = copy_profile(&one->profile, &tef->profile) && ok && one->name != NULL && one->fqdn != NULL;
    int result = ok ? make_client(control, tef, material, one, errors) : SAGATE_ENOMEM;
    if (result == SAGATE_OK)
        *out = one;
    else
        one_free(one);
    return result;
}

static struct one_tef *running(const struct tefs *tefs, const uint8_t wanted[TEF_DIGEST])
{
    for (size_t i = 0; i < tefs->count; i++) {
        if (secret_equal(tefs->list[i]->digest, wanted, TEF_DIGEST))
            return tefs->list[i];
    }
    return NULL;
}

int tefs_check(struct control *control, const struct config *config, struct config_errors *errors)
{
    int result = SAGATE_OK;
    for (size_t i = 0; i < config->tef_count && result == SAGATE_OK; i++) {
        struct material material = {0};
        result = read_material(control, config, &config->tefs[i], &material, errors);
        material_free(&material);
    }
    return result;
}

static int fetch(void *context, struct slice relative_key_id, tef_done *done, void *done_context)
{
    return tef_client_fetch(context, relative_key_id, done, done_context);
}

static int apply_remote(struct tefs *tefs, const struct config *config, struct one_tef *const *list)
{
    struct remote_tef remote[CONFIG_TEFS_MAX];
    for (size_t i = 0; i < config->tef_count; i++) {
        const struct config_tef *tef = &config->tefs[i];
        remote[i] = (struct remote_tef){
            .name = tef->name,
            .fqdn = tef->fqdn,
            .kind = tef->kind,
            .fetcher = {fetch, list[i]->client},
            .admin_fqdn = tef->admin_checked ? tef->admin_fqdn : "",
            .target = list[i]->client_id,
            .target_required = tef->targets_required,
            .first_half = tef->first_half,
            .sp_id = config->upstreams[tef->upstream].sp_id,
            // An AE-ID is one CSE's, and need not be bound to it where there is no other.
            .upstream = config->upstream_count > 1 ? config->upstreams[tef->upstream].name : "",
        };
    }
    const struct config_resolver *limits = &config->resolver;
    return remote_apply(tefs->remote, remote, config->tef_count,
                        &(struct remote_limits){.waiting = limits->waiting,
                                                .cached = limits->cached,
                                                .deadline_ms = limits->deadline_milliseconds,
                                                .negative_seconds = limits->negative_seconds,
                                                .cache_seconds = limits->cache_seconds});
}

static bool in_list(struct one_tef *const *list, size_t count, const struct one_tef *one)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i] == one)
            return true;
    }
    return false;
}

// Ends those of `list` that are not in `kept`. What waits for them fails, which the resolver hears.
static void end_others(struct one_tef **list, size_t count, struct one_tef *const *kept, size_t kept_count)
{
    for (size_t i = 0; i < count; i++) {
        if (!in_list(kept, kept_count, list[i]))
            one_free(list[i]);
    }
}

int tefs_apply(struct control *control, const struct config *config, struct config_errors *errors)
{
    struct tefs *tefs = control->tefs;
    struct one_tef *list[CONFIG_TEFS_MAX];
    size_t count = 0;
    int result = SAGATE_OK;
    while (count < config->tef_count && result == SAGATE_OK) {
        struct material material = {0};
        uint8_t wanted[TEF_DIGEST];
        const struct config_tef *tef = &config->tefs[count];
        result = read_material(control, config, tef, &material, errors);
        if (result == SAGATE_OK) {
            digest(config, tef, &material, wanted);
            list[count] = running(tefs, wanted);
            if (list[count] == NULL)
                result = one_new(control, config, tef, &material, &list[count], errors);
        }
        material_free(&material);
        count += result == SAGATE_OK ? 1 : 0;
    }
    if (result == SAGATE_OK)
        result = apply_remote(tefs, config, list);
    if (result != SAGATE_OK) {
        end_others(list, count, tefs->list, tefs->count);
        return result;
    }
    end_others(tefs->list, tefs->count, list, count);
    memcpy(tefs->list, list, count * sizeof *list);
    tefs->count = count;
    return SAGATE_OK;
}

// The Credential-ID of a source client, as an identity that the operator has provisioned says whose it is (TS-0003
// 8.2.1 d).
static int map(void *context, struct slice credential_id, struct principal *principal)
{
    struct control *control = context;
    struct resolver_identity known;
    if (credential_id.len <= CREDENTIAL_TYPE_LEN ||
        resolver_find(control->resolver,
                      slice_of(credential_id.data + CREDENTIAL_TYPE_LEN, credential_id.len - CREDENTIAL_TYPE_LEN),
                      &known) != SAGATE_OK ||
        credential_is_expired(known.credential, clock_wall()))
        return SAGATE_ENOTFOUND;
    if (known.principal->cse_id != NULL && (principal->cse_id = strdup(known.principal->cse_id)) == NULL)
        return SAGATE_ENOTFOUND;
    for (size_t i = 0; i < known.principal->ae_count; i++) {
        const struct principal_ae *ae = &known.principal->aes[i];
        if (principal_add_ae(principal, slice_text(ae->stem), slice_text(ae->upstream)) != SAGATE_OK)
            return SAGATE_ENOTFOUND;
    }
    return SAGATE_OK;
}

static void answer_worker(struct control *control, unsigned worker, struct slice identity,
                          const struct remote_answer *answer)
{
    uint8_t packed[PLANE_MESSAGE_MAX];
    struct plane_message message = {
        .type = PLANE_RESOLVED,
        .resolved = {.identity = identity, .result = answer->result, .cache_seconds = answer->cache_seconds}};
    if (answer->result == SAGATE_OK) {
        int len = plane_pack_principal(answer->principal, packed, sizeof packed);
        if (len > 0) {
            message.resolved.key = answer->key;
            message.resolved.principal = slice_of(packed, (size_t)len);
        } else {
            message.resolved.result = SAGATE_EUNAVAILABLE;
        }
    }
    (void)workers_send(control->workers, worker, &message);
}

static void on_resolved(void *context, struct slice identity, uint64_t askers, const struct remote_answer *answer)
{
    struct control *control = context;
    for (unsigned worker = 0; worker < CONFIG_WORKERS_MAX; worker++) {
        if ((askers >> worker & 1) != 0)
            answer_worker(control, worker, identity, answer);
    }
    if (answer->result == SAGATE_OK)
        control_schedule_expiry(control);
}

static void on_revoked(void *context, const char *identity, const char *credential_id)
{
    struct control *control = context;
    struct plane_message message = {
        .type = PLANE_REVOKED,
        .revoked = {.identity = slice_text(identity), .credential_id = slice_text(credential_id)}};
    workers_broadcast(control->workers, &message);
}

void tefs_resolve(struct control *control, unsigned worker, struct slice identity)
{
    struct remote_answer answer;
    int result = remote_resolve(control->tefs->remote, identity, worker, clock_wall(), &answer);
    if (result == SAGATE_PARKED)
        return;
    if (result != SAGATE_OK)
        answer = (struct remote_answer){.result = SAGATE_ENOTFOUND, .cache_seconds = RESOLVER_NEGATIVE_CACHE_SECONDS};
    answer_worker(control, worker, identity, &answer);
}

int tefs_open(struct control *control)
{
    struct tefs *tefs = calloc(1, sizeof *tefs);
    if (tefs == NULL)
        return SAGATE_ENOMEM;
    tefs->events = (struct remote_events){control, on_resolved, on_revoked};
    tefs->remote = remote_new(control->base, &tefs->events, map, control);
    if (tefs->remote == NULL) {
        free(tefs);
        return SAGATE_ENOMEM;
    }
    control->tefs = tefs;
    return SAGATE_OK;
}

void tefs_close(struct tefs *tefs)
{
    if (tefs == NULL)
        return;
    end_others(tefs->list, tefs->count, NULL, 0);
    remote_free(tefs->remote);
    free(tefs);
}

static void on_left(void *context)
{
    struct control *control = context;
    if (--control->tefs->leaving == 0)
        control->tefs->left(control);
}

void tefs_leave(struct control *control, void (*left)(struct control *control))
{
    struct tefs *tefs = control->tefs;
    tefs->left = left;
    // One more, so that `left` is called once however early the clients are done.
    tefs->leaving = tefs->count + 1;
    for (size_t i = 0; i < tefs->count; i++)
        tef_client_leave(tefs->list[i]->client, TEFS_LEAVE_MS, on_left, control);
    on_left(control);
}
