// The configuration as one text for the other processes: every setting with its value, in the order of the tables.
// Written from the configuration and not from libconfig's tree, whose writer spoils UTF-8 in paths.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/config/tables.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIELD(object, offset, type) (*(type const *)(const void *)((const char *)(object) + (offset)))

static void write_texts(struct text *out, const struct tree_setting *s, const void *object)
{
    char *const *texts = FIELD(object, s->offset, char **);
    size_t count = FIELD(object, s->count_offset, size_t);
    if (count == 0 && (s->flags & TREE_EMPTY_OK) == 0)
        return;
    text_add(out, "%s = [", s->name);
    for (size_t i = 0; i < count; i++) {
        text_add(out, "%s ", i == 0 ? "" : ",");
        text_quoted(out, texts[i]);
    }
    text_add(out, " ];\n");
}

static void write_setting(struct text *out, const struct tree_setting *s, const void *object)
{
    const char *value = NULL;
    if ((s->flags & TREE_FILE_ONLY) != 0)
        return;
    switch (s->kind) {
    case TREE_BOOL:
        text_add(out, "%s = %s;\n", s->name, FIELD(object, s->offset, bool) ? "true" : "false");
        break;
    case TREE_NUMBER:
        text_add(out, "%s = %u%s;\n", s->name, FIELD(object, s->offset, unsigned),
                 FIELD(object, s->offset, unsigned) > INT32_MAX ? "L" : "");
        break;
    case TREE_CHOICE:
        for (const struct tree_choice *c = s->choices; c->name != NULL; c++) {
            if ((unsigned)c->value == FIELD(object, s->offset, unsigned))
                text_add(out, "%s = \"%s\";\n", s->name, c->name);
        }
        break;
    case TREE_TEXT:
    case TREE_PATH:
    case TREE_SECRET:
        value = FIELD(object, s->offset, char *);
        if (value == NULL)
            break;
        text_add(out, "%s = ", s->name);
        text_quoted(out, value);
        text_add(out, ";\n");
        break;
    case TREE_TEXTS:
        write_texts(out, s, object);
        break;
    case TREE_NESTED:
        break;
    }
}

static void write_settings(struct text *out, const struct tree_group *group, const void *object)
{
    for (size_t i = 0; i < group->count; i++)
        write_setting(out, &group->settings[i], object);
}

static void write_group(struct text *out, const struct tree_group *group, const void *object)
{
    text_add(out, "%s = {\n", group->name);
    write_settings(out, group, object);
    text_add(out, "};\n");
}

// Without the port, as tables want it.
static void host_of(const struct address *address, char host[ADDRESS_TEXT_MAX])
{
    (void)address_format(address, host);
    char *colon = strrchr(host, ':');
    if (colon != NULL)
        *colon = '\0';
}

static void write_upstream(struct text *out, const struct config_upstream *upstream)
{
    struct raw_upstream raw = {.upstream = *upstream};
    write_settings(out, &table_upstream, &raw);
    text_add(out, "servers = (\n");
    for (size_t i = 0; i < upstream->server_count; i++) {
        char http[ADDRESS_TEXT_MAX], coap[ADDRESS_TEXT_MAX];
        struct raw_server server = {.server = upstream->servers[i]};
        (void)address_format(&server.server.http, http);
        (void)address_format(&server.server.coap, coap);
        server.http = server.server.has_http ? http : NULL;
        server.coap = server.server.has_coap ? coap : NULL;
        text_add(out, "%s{\n", i == 0 ? "" : ",\n");
        write_settings(out, &table_server, &server);
        text_add(out, "}");
    }
    text_add(out, "\n);\n");
}

static bool means_something(const struct tree_setting *s, const struct config_listener *listener)
{
    return listener->binding == CONFIG_COAP || strcmp(s->name, "coap_numbering") != 0;
}

static bool write_listener(struct text *out, const struct config *config, const struct config_listener *listener)
{
    char host[ADDRESS_TEXT_MAX];
    size_t count = listener->certificate_count;
    size_t anchors = listener->trust_anchor_count;
    struct raw_listener raw = {
        .listener = *listener,
        .host = host,
        .port = ntohs(listener->address.v4.sin_port),
        .upstream = config->upstreams[listener->upstream].name,
        .unknown_name = listener->unknown_server_name_refused ? 1 : 0,
        .name_count = count,
        .names = count == 0 ? NULL : calloc(count, sizeof *raw.names),
        .anchor_count = anchors,
        .anchors = anchors == 0 ? NULL : calloc(anchors, sizeof *raw.anchors),
    };
    if ((count > 0 && raw.names == NULL) || (anchors > 0 && raw.anchors == NULL)) {
        free(raw.names);
        free(raw.anchors);
        return false;
    }
    for (size_t i = 0; i < anchors; i++)
        raw.anchors[i] = config->trust_anchors[listener->trust_anchors[i]].name;
    for (size_t i = 0; i < count; i++)
        raw.names[i] = config->certificates[listener->certificates[i]].name;
    host_of(&listener->address, host);
    for (size_t i = 0; i < table_listener.count; i++) {
        if (means_something(&table_listener.settings[i], listener))
            write_setting(out, &table_listener.settings[i], &raw);
    }
    free(raw.names);
    free(raw.anchors);
    return true;
}

static bool write_tef(struct text *out, const struct config *config, const struct config_tef *tef)
{
    char host[ADDRESS_TEXT_MAX];
    size_t count = tef->trust_anchor_count;
    struct raw_tef raw = {
        .tef = *tef,
        .host = host,
        .port = ntohs(tef->address.v4.sin_port),
        .binding = tef->coap ? CONFIG_COAP : CONFIG_HTTP,
        .upstream = config->upstreams[tef->upstream].name,
        .certificate = tef->psk_identity[0] == '\0' ? config->certificates[tef->certificate].name : NULL,
        .anchor_count = count,
        .anchors = count == 0 ? NULL : calloc(count, sizeof *raw.anchors),
    };
    if (count > 0 && raw.anchors == NULL)
        return false;
    for (size_t i = 0; i < count; i++)
        raw.anchors[i] = config->trust_anchors[tef->trust_anchors[i]].name;
    host_of(&tef->address, host);
    write_settings(out, &table_tef, &raw);
    free(raw.anchors);
    text_add(out, "profile = {\n");
    for (size_t i = 0; i < table_profile.count; i++) {
        const struct tree_setting *s = &table_profile.settings[i];
        if ((tef->kind == TEF_MEF || strcmp(s->name, "method") != 0) &&
            (tef->coap || strcmp(s->name, "coap_numbering") != 0))
            write_setting(out, s, &tef->profile);
    }
    text_add(out, "};\n");
    return true;
}

static bool write_tefs(struct text *out, const struct config *config, enum tef_kind kind)
{
    const char *list = kind == TEF_MAF ? "mafs" : "mefs";
    size_t count = 0;
    bool ok = true;
    for (size_t i = 0; i < config->tef_count && ok; i++) {
        if (config->tefs[i].kind != kind)
            continue;
        text_add(out, "%s%s{\n", count == 0 ? list : ",\n", count == 0 ? " = (\n" : "");
        ok = write_tef(out, config, &config->tefs[i]);
        text_add(out, "}");
        count++;
    }
    text_add(out, "%s", count == 0 ? "" : "\n);\n");
    return ok;
}

static char *write_text(const struct config *config, bool tefs)
{
    struct text out = {0};
    bool ok = true;
    char host[ADDRESS_TEXT_MAX] = "127.0.0.1", mode[16];
    struct raw_control control = {
        .socket = config->control_socket, .mode = mode, .group = config->control_socket_group};
    struct raw_metrics metrics = {.host = host};
    (void)snprintf(mode, sizeof mode, "%04o", (unsigned)config->control_socket_mode);
    if (config->metrics.len != 0) {
        host_of(&config->metrics, host);
        metrics.port = ntohs(config->metrics.v4.sin_port);
    }
    write_group(&out, &table_process, &config->process);
    write_group(&out, &table_limits, &config->limits);
    for (size_t i = 0; i < config->certificate_count; i++) {
        text_add(&out, i == 0 ? "certificates = (\n{\n" : ",\n{\n");
        write_settings(&out, &table_certificate, &config->certificates[i]);
        text_add(&out, i + 1 == config->certificate_count ? "}\n);\n" : "}");
    }
    for (size_t i = 0; i < config->trust_anchor_count; i++) {
        text_add(&out, i == 0 ? "trust_anchors = (\n{\n" : ",\n{\n");
        write_settings(&out, &table_trust_anchor, &config->trust_anchors[i]);
        text_add(&out, i + 1 == config->trust_anchor_count ? "}\n);\n" : "}");
    }
    text_add(&out, "upstreams = (\n");
    for (size_t i = 0; i < config->upstream_count; i++) {
        text_add(&out, i == 0 ? "{\n" : ",\n{\n");
        write_upstream(&out, &config->upstreams[i]);
        text_add(&out, "}");
    }
    text_add(&out, "\n);\nlisteners = (\n");
    for (size_t i = 0; i < config->listener_count; i++) {
        text_add(&out, i == 0 ? "{\n" : ",\n{\n");
        ok &= write_listener(&out, config, &config->listeners[i]);
        text_add(&out, "}");
    }
    text_add(&out, "\n);\n");
    if (tefs)
        ok &= write_tefs(&out, config, TEF_MAF) && write_tefs(&out, config, TEF_MEF);
    write_group(&out, &table_resolver, &config->resolver);
    write_group(&out, &table_protection, &config->minimum_protection_level);
    write_settings(&out, &table_root, config);
    write_group(&out, &table_control, &control);
    write_group(&out, &table_metrics, &metrics);
    if (!ok)
        out.failed = true;
    return text_take(&out);
}

char *config_write_text(const struct config *config)
{
    return write_text(config, true);
}

char *config_text_for_data(const struct config *config)
{
    return write_text(config, false);
}
