// The public functions: from a file or a text to a checked configuration, and its end.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/config/config.h"

#include "common/error.h"
#include "common/secret.h"
#include "controlplane/config/tables.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// `tree` holds the source; both are used up.
static int build(struct tree *tree, struct config **out)
{
    struct config *config = calloc(1, sizeof *config);
    int result = config == NULL ? SAGATE_ENOMEM : tree_parse(tree);
    if (result == SAGATE_OK) {
        size_t before = tree->errors->count;
        config_read_tree(tree, config);
        if (!tree->no_memory)
            config_check_tree(tree, config);
        if (tree->no_memory)
            result = SAGATE_ENOMEM;
        else if (tree->errors->count > before)
            result = SAGATE_ECONFIG;
    }
    if (result == SAGATE_OK) {
        config->text = config_write_text(config);
        if (config->text == NULL)
            result = SAGATE_ENOMEM;
    }
    tree_free(tree);
    if (result != SAGATE_OK) {
        config_free(config);
        config = NULL;
    }
    *out = config;
    return result;
}

// Absolute path of the folder that holds the file; to free.
static char *folder_of(const char *path)
{
    char *copy = strdup(path);
    if (copy == NULL)
        return NULL;
    char *slash = strrchr(copy, '/');
    char *folder = NULL;
    if (slash == NULL) {
        folder = realpath(".", NULL);
    } else {
        slash[slash == copy ? 1 : 0] = '\0';
        folder = realpath(copy, NULL);
    }
    free(copy);
    return folder;
}

int config_load(const char *path, struct config **config, struct config_errors *errors)
{
    *config = NULL;
    *errors = (struct config_errors){0};
    char *folder = folder_of(path);
    if (folder == NULL && errno != ENOMEM) {
        config_errors_add(errors, "%s: cannot read the configuration: %s", path, strerror(errno));
        return SAGATE_ECONFIG;
    }
    struct tree tree = {.errors = errors, .folder = folder};
    int result = folder == NULL ? SAGATE_ENOMEM : source_read(&tree.source, path, folder, errors);
    if (result == SAGATE_OK)
        result = build(&tree, config);
    else
        tree_free(&tree);
    free(folder);
    return result;
}

int config_parse(const char *text, struct config **config, struct config_errors *errors)
{
    *config = NULL;
    *errors = (struct config_errors){0};
    struct tree tree = {.errors = errors, .other_process = true};
    int result = source_take(&tree.source, "configuration text", text, strlen(text), errors);
    if (result == SAGATE_OK)
        return build(&tree, config);
    tree_free(&tree);
    return result;
}

void config_free(struct config *config)
{
    if (config == NULL)
        return;
    tree_release(&table_process, &config->process);
    for (size_t i = 0; i < config->certificate_count; i++)
        tree_release(&table_certificate, &config->certificates[i]);
    free(config->certificates);
    for (size_t i = 0; i < config->trust_anchor_count; i++)
        tree_release(&table_trust_anchor, &config->trust_anchors[i]);
    free(config->trust_anchors);
    for (size_t i = 0; i < config->upstream_count; i++) {
        struct raw_upstream raw = {.upstream = config->upstreams[i]};
        for (size_t s = 0; s < raw.upstream.server_count; s++)
            free(raw.upstream.servers[s].name);
        free(raw.upstream.servers);
        tree_release(&table_upstream, &raw);
    }
    free(config->upstreams);
    for (size_t i = 0; i < config->listener_count; i++) {
        free(config->listeners[i].name);
        free(config->listeners[i].certificates);
        free(config->listeners[i].trust_anchors);
        free(config->listeners[i].release_version_default);
    }
    free(config->listeners);
    for (size_t i = 0; i < config->tef_count; i++) {
        struct raw_tef raw = {.tef = config->tefs[i]};
        free(raw.tef.trust_anchors);
        tree_release(&table_profile, &raw.tef.profile);
        tree_release(&table_tef, &raw);
    }
    free(config->tefs);
    free(config->credentials_file);
    free(config->control_socket);
    free(config->control_socket_group);
    if (config->text != NULL)
        secret_zero(config->text, strlen(config->text));
    free(config->text);
    free(config);
}

// Whether the text was different; `failed` when there was no memory to change it.
static bool keep_text(char **text, const char *running, bool *failed)
{
    if (strcmp(*text, running) == 0)
        return false;
    char *copy = strdup(running);
    if (copy == NULL) {
        *failed = true;
        return true;
    }
    free(*text);
    *text = copy;
    return true;
}

static bool keep_number(unsigned *number, unsigned running)
{
    bool differs = *number != running;
    *number = running;
    return differs;
}

int config_keep_fixed(struct config *config, const struct config *running)
{
    bool failed = false;
    bool changed = keep_text(&config->process.user, running->process.user, &failed);
    changed |= keep_text(&config->process.control_user, running->process.control_user, &failed);
    changed |= keep_text(&config->process.state_directory, running->process.state_directory, &failed);
    changed |= keep_number(&config->process.workers, running->process.workers);
    changed |= config->process.kernel_tls != running->process.kernel_tls;
    config->process.kernel_tls = running->process.kernel_tls;
    changed |= keep_number(&config->limits.associations, running->limits.associations);
    changed |= config->process.lock_memory != running->process.lock_memory;
    config->process.lock_memory = running->process.lock_memory;
    changed |= keep_number(&config->limits.connection_id_bytes, running->limits.connection_id_bytes);
    if (!changed)
        return 0;
    char *text = failed ? NULL : config_write_text(config);
    if (text == NULL)
        return SAGATE_ENOMEM;
    secret_zero(config->text, strlen(config->text));
    free(config->text);
    config->text = text;
    return 1;
}
