// Clients of MAFs and MEFs. Each has an image of all that it was made of; the same image at a reload keeps it.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/control/tefs.h"

#include "common/error.h"
#include "common/file.h"
#include "common/secret.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PEM_MAX = 512 * 1024 };

// Bytes that may hold a key.
struct bytes {
    uint8_t *data; // from secret_alloc; NULL: none
    size_t len;
};

// What one client is made of, as long as it takes to make it.
struct material {
    struct bytes psk, certificate, private_key, trust_anchors;
    char *client_id;
};

struct tef {
    char *name;
    struct tef_profile profile; // own strings: the client outlives the configuration
    struct bytes image;
    struct tef_client *client;
    bool kept; // while a set is prepared: in both sets
};

struct set {
    struct tef *tef[CONFIG_TEFS_MAX];
    size_t count;
};

struct tefs {
    struct event_base *base;
    struct keystore_files files;
    struct set running, prepared;
    const struct config *config;    // of the prepared set
    char *targets[CONFIG_TEFS_MAX]; // the same
    void (*left)(void *context);
    void *left_context;
    size_t leaving;
};

struct tefs *tefs_new(struct event_base *base, const struct keystore_files *files)
{
    struct tefs *tefs = calloc(1, sizeof *tefs);
    if (tefs != NULL)
        *tefs = (struct tefs){.base = base, .files = *files};
    return tefs;
}

static void profile_strings(struct tef_profile *profile, char **out[13])
{
    char **const all[13] = {
        &profile->registration_path, &profile->key_path,  &profile->registration_root, &profile->key_root,
        &profile->expiration_time,   &profile->labels,    &profile->admin_fqdn,        &profile->suid,
        &profile->target_ids,        &profile->source_id, &profile->key_value,         &profile->relative_key_id,
        &profile->resource_id};
    memcpy(out, all, sizeof all);
}

static void tef_free(struct tef *tef)
{
    char **strings[13];
    tef_client_free(tef->client);
    profile_strings(&tef->profile, strings);
    for (size_t i = 0; i < 13; i++)
        free(*strings[i]);
    secret_free(tef->image.data);
    free(tef->name);
    free(tef);
}

static bool profile_copy(const struct tef_profile *from, struct tef_profile *to)
{
    char **strings[13];
    bool whole = true;
    *to = *from;
    profile_strings(to, strings);
    for (size_t i = 0; i < 13; i++) {
        *strings[i] = *strings[i] == NULL ? NULL : strdup(*strings[i]);
        whole = whole && *strings[i] != NULL;
    }
    return whole;
}

static void set_free(struct set *set)
{
    for (size_t i = 0; i < set->count; i++)
        tef_free(set->tef[i]);
    *set = (struct set){0};
}

static void forget_targets(struct tefs *tefs)
{
    for (size_t i = 0; i < CONFIG_TEFS_MAX; i++) {
        free(tefs->targets[i]);
        tefs->targets[i] = NULL;
    }
    tefs->config = NULL;
}

void tefs_discard(struct tefs *tefs)
{
    for (size_t i = 0; i < tefs->prepared.count; i++) {
        struct tef *tef = tefs->prepared.tef[i];
        if (tef->kept)
            tef->kept = false;
        else
            tef_free(tef);
    }
    tefs->prepared = (struct set){0};
    forget_targets(tefs);
}

void tefs_commit(struct tefs *tefs)
{
    struct set old = tefs->running;
    tefs->running = tefs->prepared;
    tefs->prepared = (struct set){0};
    forget_targets(tefs);
    for (size_t i = 0; i < old.count; i++) {
        if (old.tef[i]->kept)
            old.tef[i]->kept = false;
        else
            tef_free(old.tef[i]);
    }
}

void tefs_free(struct tefs *tefs)
{
    if (tefs == NULL)
        return;
    tefs_discard(tefs);
    set_free(&tefs->running);
    free(tefs);
}

static int read_all(int fd, const char *path, struct bytes *out, char *why)
{
    struct stat status;
    if (fstat(fd, &status) != 0 || status.st_size <= 0 || status.st_size > PEM_MAX) {
        (void)snprintf(why, TEFS_ERROR_MAX, "%s: empty, or larger than %d bytes", path, PEM_MAX);
        return SAGATE_ECONFIG;
    }
    size_t len = (size_t)status.st_size;
    uint8_t *joined = secret_alloc(out->len + 1 + len);
    if (joined == NULL)
        return SAGATE_ENOMEM;
    if (out->len > 0) {
        memcpy(joined, out->data, out->len);
        joined[out->len++] = '\n'; // which the last line of a PEM file may do without
    }
    ssize_t got = file_read(fd, (char *)joined + out->len, len);
    if (got < 0) {
        (void)snprintf(why, TEFS_ERROR_MAX, "%s: %s", path, strerror(errno));
        secret_free(joined);
        return SAGATE_ESYS;
    }
    secret_free(out->data);
    *out = (struct bytes){.data = joined, .len = out->len + (size_t)got};
    return SAGATE_OK;
}

// Appends a file to what is there.
static int append_file(const struct tefs *tefs, const char *path, struct bytes *out, char *why)
{
    int fd = tefs->files.open_file(tefs->files.context, path);
    if (fd < 0) {
        (void)snprintf(why, TEFS_ERROR_MAX, "%s: %s", path, strerror(errno));
        return SAGATE_ESYS;
    }
    int result = read_all(fd, path, out, why);
    close(fd);
    return result;
}

static void material_free(struct material *material)
{
    secret_free(material->psk.data);
    secret_free(material->certificate.data);
    secret_free(material->private_key.data);
    secret_free(material->trust_anchors.data);
    free(material->client_id);
    *material = (struct material){0};
}

static int load_psk(const struct tefs *tefs, const struct config_tef *tef, struct material *material, char *why)
{
    char problem[KEYSTORE_ERROR_MAX] = "";
    int result = keystore_load(tef->psk, &tefs->files, &material->psk.data, &material->psk.len, problem);
    if (result < 0)
        (void)snprintf(why, TEFS_ERROR_MAX, "key of '%s': %s", tef->name, problem);
    return result;
}

static int load(const struct tefs *tefs, const struct config *config, const struct config_tef *tef,
                struct material *material, char *why)
{
    const struct config_upstream *upstream = &config->upstreams[tef->upstream];
    if (asprintf(&material->client_id, "%s%s", upstream->sp_id, upstream->cse_id) < 0) {
        material->client_id = NULL;
        return SAGATE_ENOMEM;
    }
    if (tef->psk_identity[0] != '\0')
        return load_psk(tefs, tef, material, why);
    const struct config_certificate *own = &config->certificates[tef->certificate];
    int result = append_file(tefs, own->chain_file, &material->certificate, why);
    if (result == SAGATE_OK)
        result = append_file(tefs, own->key_file, &material->private_key, why);
    for (size_t i = 0; result == SAGATE_OK && i < tef->trust_anchor_count; i++)
        result = append_file(tefs, config->trust_anchors[tef->trust_anchors[i]].file, &material->trust_anchors, why);
    return result;
}

static struct slice slice_from(const struct bytes *bytes)
{
    return slice_of(bytes->data, bytes->len);
}

static struct tef_client_settings settings_of(const struct config_tef *tef, const struct material *material)
{
    return (struct tef_client_settings){
        .kind = tef->kind,
        .binding = tef->coap ? TEF_COAP : TEF_HTTP,
        .name = tef->name,
        .fqdn = tef->fqdn,
        .address = tef->address,
        .profile = &tef->profile,
        .client_id = material->client_id,
        .admin_fqdn = tef->admin_fqdn,
        .psk_identity = tef->psk_identity[0] == '\0' ? NULL : tef->psk_identity,
        .psk = slice_from(&material->psk),
        .certificate = slice_from(&material->certificate),
        .private_key = slice_from(&material->private_key),
        .trust_anchors = slice_from(&material->trust_anchors),
        .register_client = tef->register_client,
        .connections = tef->connections,
        .in_flight = tef->requests_per_connection,
        .timeout_ms = tef->timeout_milliseconds,
        .registration_seconds = tef->registration_seconds,
    };
}

// Appends a length and bytes; with no room behind `image` it counts only.
static void put(struct bytes *image, const void *data, size_t len)
{
    if (image->data != NULL) {
        memcpy(image->data + image->len, &len, sizeof len);
        if (len > 0)
            memcpy(image->data + image->len + sizeof len, data, len);
    }
    image->len += sizeof len + len;
}

static void put_text(struct bytes *image, const char *text)
{
    put(image, text, text == NULL ? 0 : strlen(text) + 1);
}

static void put_all(struct bytes *image, const struct tef_client_settings *from)
{
    struct tef_profile profile = *from->profile;
    char **strings[13];
    const unsigned numbers[] = {from->kind,
                                from->binding,
                                from->register_client,
                                from->connections,
                                from->in_flight,
                                from->timeout_ms,
                                from->registration_seconds,
                                profile.registration_type,
                                profile.key_type,
                                profile.encoding,
                                profile.method,
                                profile.coap_numbering};
    const struct slice secrets[] = {from->psk, from->certificate, from->private_key, from->trust_anchors};
    const char *const texts[] = {from->name, from->fqdn, from->client_id, from->admin_fqdn, from->psk_identity};
    put(image, numbers, sizeof numbers);
    put(image, &from->address.any, from->address.len);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        put_text(image, texts[i]);
    profile_strings(&profile, strings);
    for (size_t i = 0; i < 13; i++)
        put_text(image, *strings[i]);
    for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++)
        put(image, secrets[i].data, secrets[i].len);
}

static bool make_image(const struct tef_client_settings *settings, struct bytes *image)
{
    put_all(image, settings);
    image->data = secret_alloc(image->len);
    image->len = 0;
    if (image->data == NULL)
        return false;
    put_all(image, settings);
    return true;
}

static struct tef *find_same(const struct set *set, const struct bytes *image)
{
    for (size_t i = 0; i < set->count; i++) {
        struct tef *tef = set->tef[i];
        if (!tef->kept && tef->image.len == image->len && secret_equal(tef->image.data, image->data, image->len))
            return tef;
    }
    return NULL;
}

static int make(const struct tefs *tefs, struct tef_client_settings *settings, struct tef *tef, char *why)
{
    char problem[TEF_ERROR_MAX] = "";
    tef->name = strdup(settings->name);
    if (!profile_copy(settings->profile, &tef->profile) || tef->name == NULL)
        return SAGATE_ENOMEM;
    settings->profile = &tef->profile;
    int result = tef_client_new(tefs->base, settings, &tef->client, problem);
    if (result < 0)
        (void)snprintf(why, TEFS_ERROR_MAX, "'%s': %s", tef->name, problem);
    return result;
}

static int prepare_one(struct tefs *tefs, const struct config_tef *from, const struct material *material,
                       bool check_only, char *why)
{
    struct tef_client_settings settings = settings_of(from, material);
    struct bytes image = {0};
    if (!make_image(&settings, &image)) {
        secret_free(image.data);
        return SAGATE_ENOMEM;
    }
    struct tef *tef = find_same(&tefs->running, &image);
    if (tef != NULL) {
        secret_free(image.data);
        tef->kept = true;
    } else {
        tef = calloc(1, sizeof *tef);
        if (tef == NULL) {
            secret_free(image.data);
            return SAGATE_ENOMEM;
        }
        tef->image = image;
        if (check_only)
            settings.register_client = false;
        int result = make(tefs, &settings, tef, why);
        if (result < 0) {
            tef_free(tef);
            return result;
        }
    }
    tefs->prepared.tef[tefs->prepared.count++] = tef;
    return SAGATE_OK;
}

int tefs_prepare(struct tefs *tefs, const struct config *config, bool check_only, char why[TEFS_ERROR_MAX])
{
    int result = SAGATE_OK;
    why[0] = '\0';
    tefs_discard(tefs);
    tefs->config = config;
    for (size_t i = 0; result == SAGATE_OK && i < config->tef_count && i < CONFIG_TEFS_MAX; i++) {
        struct material material = {0};
        result = load(tefs, config, &config->tefs[i], &material, why);
        if (result == SAGATE_OK)
            result = prepare_one(tefs, &config->tefs[i], &material, check_only, why);
        tefs->targets[i] = material.client_id;
        material.client_id = NULL;
        material_free(&material);
    }
    if (result == SAGATE_OK)
        return SAGATE_OK;
    if (why[0] == '\0')
        (void)snprintf(why, TEFS_ERROR_MAX, "%s", sagate_strerror(result));
    tefs_discard(tefs);
    return result;
}

static int fetch(void *context, struct slice relative_key_id, tef_done *done, void *done_context)
{
    return tef_client_fetch(context, relative_key_id, done, done_context);
}

size_t tefs_remote(const struct tefs *tefs, struct remote_tef out[REMOTE_TEFS_MAX])
{
    for (size_t i = 0; i < tefs->prepared.count; i++) {
        const struct config_tef *from = &tefs->config->tefs[i];
        out[i] = (struct remote_tef){
            .name = from->name,
            .fqdn = from->fqdn,
            .kind = from->kind,
            .fetcher = {.fetch = fetch, .context = tefs->prepared.tef[i]->client},
            .admin_fqdn = from->admin_checked ? from->admin_fqdn : "",
            .target = tefs->targets[i],
            .target_required = from->targets_required,
            .suid_optional = from->kind == TEF_MEF && from->profile.method == TEF_METHOD_FETCH_CREDENTIALS,
            .first_half = from->first_half,
            .sp_id = tefs->config->upstreams[from->upstream].sp_id,
            // The key is for one CSE, and another may have given the same stem to another AE (TS-0001 7.2).
            .upstream = tefs->config->upstream_count > 1 ? tefs->config->upstreams[from->upstream].name : "",
        };
    }
    return tefs->prepared.count;
}

static void on_left(void *context)
{
    struct tefs *tefs = context;
    if (--tefs->leaving == 0)
        tefs->left(tefs->left_context);
}

void tefs_leave(struct tefs *tefs, unsigned timeout_ms, void (*done)(void *context), void *context)
{
    tefs->left = done;
    tefs->left_context = context;
    tefs->leaving = 1; // so that clients which are done at once do not end it early
    for (size_t i = 0; i < tefs->running.count; i++) {
        tefs->leaving++;
        tef_client_leave(tefs->running.tef[i]->client, timeout_ms, on_left, tefs);
    }
    on_left(tefs);
}

bool tefs_status(const struct tefs *tefs, size_t index, const char **name, struct tef_status *status)
{
    if (tefs == NULL || index >= tefs->running.count)
        return false;
    *name = tefs->running.tef[index]->name;
    tef_client_status(tefs->running.tef[index]->client, status);
    return true;
}
