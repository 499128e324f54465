// From the tree of settings to the configuration: every group through its table, then names and addresses.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "controlplane/config/tables.h"
#include "controlplane/keystore/keystore.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static config_setting_t *member(const config_setting_t *group, const char *name)
{
    return group == NULL ? NULL : config_setting_get_member(group, name);
}

static void *allocate(struct tree *tree, size_t count, size_t size)
{
    void *memory = count == 0 ? NULL : calloc(count, size);
    if (memory == NULL && count > 0)
        tree->no_memory = true;
    return memory;
}

static unsigned online_cores(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count < 1 ? 1 : count > CONFIG_WORKERS_MAX ? CONFIG_WORKERS_MAX : (unsigned)count;
}

static void lower(char *text)
{
    for (char *c = text; c != NULL && *c != '\0'; c++)
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c + ('a' - 'A') : *c);
}

static void read_certificates(struct tree *tree, const config_setting_t *root, struct config *config)
{
    size_t count = tree_list(tree, root, "certificates", CONFIG_CERTIFICATES_MAX, false);
    config->certificates = allocate(tree, count, sizeof *config->certificates);
    if (config->certificates == NULL)
        return;
    config->certificate_count = count;
    for (size_t i = 0; i < count; i++) {
        struct config_certificate *certificate = &config->certificates[i];
        tree_read(tree, tree_element(tree, root, "certificates", i), &table_certificate, certificate, table_all);
        for (size_t k = 0; k < certificate->server_name_count; k++)
            lower(certificate->server_names[k]);
    }
}

static void read_trust_anchors(struct tree *tree, const config_setting_t *root, struct config *config)
{
    size_t count = tree_list(tree, root, "trust_anchors", CONFIG_TRUST_ANCHORS_MAX, false);
    config->trust_anchors = allocate(tree, count, sizeof *config->trust_anchors);
    if (config->trust_anchors == NULL)
        return;
    config->trust_anchor_count = count;
    for (size_t i = 0; i < count; i++)
        tree_read(tree, tree_element(tree, root, "trust_anchors", i), &table_trust_anchor, &config->trust_anchors[i],
                  table_all);
}

// The value of the Authorization header from a file of one line. The file holds a secret, so it may be nobody else's.
static void read_authorization(struct tree *tree, const config_setting_t *group, struct raw_upstream *raw)
{
    const char *path = raw->authorization_file;
    char buffer[4200] = "", *end = NULL, **value = &raw->upstream.authorization;
    struct stat status;
    if (path == NULL || path[0] == '\0')
        return;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t got = fd < 0 ? -1 : read(fd, buffer, sizeof buffer - 1);
    if (fd < 0 || fstat(fd, &status) != 0 || got < 0) {
        tree_complain(tree, group, "authorization_file", "cannot read %s: %s", path, strerror(errno));
    } else if (!S_ISREG(status.st_mode)) {
        tree_complain(tree, group, "authorization_file", "%s is no regular file", path);
    } else if ((status.st_uid != 0 && status.st_uid != geteuid()) || (status.st_mode & 077) != 0) {
        tree_complain(tree, group, "authorization_file",
                      "%s (owner %u, mode %04o) must belong to root or to the user who starts sagate and be closed to "
                      "others: chown root %s && chmod 600 %s",
                      path, (unsigned)status.st_uid, (unsigned)status.st_mode & 07777U, path, path);
    } else {
        buffer[got] = '\0';
        end = strpbrk(buffer, "\r\n");
        size_t len = end == NULL ? (size_t)got : (size_t)(end - buffer);
        bool one_line = strspn(buffer + len, "\r\n") == (size_t)got - len;
        buffer[len] = '\0';
        const struct tree_setting *setting = table_upstream.settings;
        while (strcmp(setting->name, "authorization") != 0)
            setting++;
        if (!one_line || !setting->valid(buffer)) {
            tree_complain(tree, group, "authorization_file", "the content of %s is not one line with %s", path,
                          setting->expected);
        } else {
            free(*value);
            *value = strdup(buffer);
            tree->no_memory |= *value == NULL;
        }
    }
    if (fd >= 0)
        close(fd);
    explicit_bzero(buffer, sizeof buffer);
}

static void read_address(struct tree *tree, const config_setting_t *group, const char *name, const char *text,
                         struct address *out, bool *has)
{
    char shown[TREE_SHOWN_MAX];
    if (text == NULL)
        return;
    if (address_parse_pair(text, out) == SAGATE_OK)
        *has = true;
    else
        tree_complain(tree, group, name,
                      "found the string %s, expected a numeric address and a port such as \"127.0.0.1:8080\" or "
                      "\"[::1]:5683\"",
                      tree_show(text, shown));
}

static void read_servers(struct tree *tree, const config_setting_t *group, struct config_upstream *upstream,
                         size_t *number)
{
    size_t count = tree_list(tree, group, "servers", CONFIG_SERVERS_MAX, true);
    if (*number + count > CONFIG_SERVERS_MAX) {
        tree_complain(tree, group, "servers", "found %zu servers in all upstreams up to here, expected at most %d",
                      *number + count, CONFIG_SERVERS_MAX);
        count = CONFIG_SERVERS_MAX - *number;
    }
    upstream->servers = allocate(tree, count, sizeof *upstream->servers);
    if (upstream->servers == NULL)
        return;
    upstream->server_count = count;
    for (size_t i = 0; i < count; i++) {
        struct raw_server raw = {.server = {.number = (*number)++}};
        const config_setting_t *element = tree_element(tree, group, "servers", i);
        tree_read(tree, element, &table_server, &raw, table_all);
        read_address(tree, element, "http", raw.http, &raw.server.http, &raw.server.has_http);
        read_address(tree, element, "coap", raw.coap, &raw.server.coap, &raw.server.has_coap);
        if (element != NULL && member(element, "http") == NULL && member(element, "coap") == NULL)
            tree_complain(tree, element, NULL, "the server has no address; expected 'http', 'coap' or both");
        upstream->servers[i] = raw.server;
        free(raw.http);
        free(raw.coap);
    }
}

static void read_upstreams(struct tree *tree, const config_setting_t *root, struct config *config)
{
    size_t count = tree_list(tree, root, "upstreams", CONFIG_UPSTREAMS_MAX, true);
    size_t number = 0;
    config->upstreams = allocate(tree, count, sizeof *config->upstreams);
    if (config->upstreams == NULL)
        return;
    config->upstream_count = count;
    for (size_t i = 0; i < count; i++) {
        struct raw_upstream raw = {0};
        const config_setting_t *element = tree_element(tree, root, "upstreams", i);
        tree_read(tree, element, &table_upstream, &raw, table_all);
        read_authorization(tree, element, &raw);
        if (element != NULL)
            read_servers(tree, element, &raw.upstream, &number);
        config->upstreams[i] = raw.upstream;
        free(raw.authorization_file);
    }
}

static void resolve_upstream(struct tree *tree, const config_setting_t *group, const struct config *config,
                             const char *wanted, size_t *upstream)
{
    struct text known = {0};
    char shown[TREE_SHOWN_MAX];
    if (wanted == NULL)
        return;
    for (size_t i = 0; i < config->upstream_count; i++) {
        const char *name = config->upstreams[i].name;
        if (name == NULL)
            continue;
        if (strcmp(name, wanted) == 0) {
            *upstream = i;
            text_free(&known);
            return;
        }
        text_add(&known, "%s\"%s\"", known.len == 0 ? "" : ", ", name);
    }
    tree_complain(tree, group, "upstream", "the upstream %s is not defined; defined: %s", tree_show(wanted, shown),
                  known.len == 0 ? "none" : known.data);
    text_free(&known);
}

// The index of a certificate or trust anchor by its name; SIZE_MAX: none.
static size_t certificate_named(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->certificate_count; i++) {
        if (config->certificates[i].name != NULL && strcmp(config->certificates[i].name, name) == 0)
            return i;
    }
    return SIZE_MAX;
}

static size_t trust_anchor_named(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->trust_anchor_count; i++) {
        if (config->trust_anchors[i].name != NULL && strcmp(config->trust_anchors[i].name, name) == 0)
            return i;
    }
    return SIZE_MAX;
}

static void resolve_certificates(struct tree *tree, const config_setting_t *group, const struct config *config,
                                 struct raw_listener *raw)
{
    struct config_listener *listener = &raw->listener;
    char shown[TREE_SHOWN_MAX];
    listener->certificates = allocate(tree, raw->name_count, sizeof *listener->certificates);
    if (listener->certificates == NULL)
        return;
    for (size_t i = 0; i < raw->name_count; i++) {
        const char *name = raw->names[i] == NULL ? "" : raw->names[i];
        size_t certificate = certificate_named(config, name);
        if (certificate != SIZE_MAX)
            listener->certificates[listener->certificate_count++] = certificate;
        else if (name[0] != '\0')
            tree_complain_at(tree, group, "certificates", i, "the certificate %s is not defined in 'certificates'",
                             tree_show(name, shown));
    }
}

// An array of indices, to free, of the anchors with these names.
static size_t *resolve_trust_anchors(struct tree *tree, const config_setting_t *group, const struct config *config,
                                     char *const *names, size_t name_count, size_t *count)
{
    char shown[TREE_SHOWN_MAX];
    size_t *anchors = allocate(tree, name_count, sizeof *anchors);
    for (size_t i = 0; anchors != NULL && i < name_count; i++) {
        const char *name = names[i] == NULL ? "" : names[i];
        size_t anchor = trust_anchor_named(config, name);
        if (anchor != SIZE_MAX)
            anchors[(*count)++] = anchor;
        else if (name[0] != '\0')
            tree_complain_at(tree, group, "trust_anchors", i, "the trust anchor %s is not defined in 'trust_anchors'",
                             tree_show(name, shown));
    }
    return anchors;
}

static void free_names(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

static void read_listener(struct tree *tree, const config_setting_t *group, const struct config *config,
                          struct config_listener *out)
{
    struct raw_listener raw = {0};
    char shown[TREE_SHOWN_MAX];
    tree_read(tree, group, &table_listener, &raw, table_all);
    bool dtls = raw.listener.transport == CONFIG_DTLS;
    if (raw.port == 0)
        raw.port = dtls ? 5684 : 443;
    raw.listener.unknown_server_name_refused = raw.unknown_name == 1;
    if (group != NULL) {
        if (raw.host != NULL && address_parse(raw.host, (uint16_t)raw.port, &raw.listener.address) != SAGATE_OK)
            tree_complain(tree, group, "address",
                          "found the string %s, expected a numeric IPv4 or IPv6 address such as \"0.0.0.0\" or \"::\"",
                          tree_show(raw.host, shown));
        resolve_upstream(tree, group, config, raw.upstream, &raw.listener.upstream);
        resolve_certificates(tree, group, config, &raw);
        raw.listener.trust_anchors =
            resolve_trust_anchors(tree, group, config, raw.anchors, raw.anchor_count, &raw.listener.trust_anchor_count);
    }
    *out = raw.listener;
    free(raw.host);
    free(raw.upstream);
    free_names(raw.names, raw.name_count);
    free_names(raw.anchors, raw.anchor_count);
}

static void read_listeners(struct tree *tree, const config_setting_t *root, struct config *config)
{
    size_t count = tree_list(tree, root, "listeners", CONFIG_LISTENERS_MAX, true);
    config->listeners = allocate(tree, count, sizeof *config->listeners);
    if (config->listeners == NULL)
        return;
    config->listener_count = count;
    for (size_t i = 0; i < count; i++)
        read_listener(tree, tree_element(tree, root, "listeners", i), config, &config->listeners[i]);
}

// What the configuration does not say is as the default of its kind.
static void read_profile(struct tree *tree, const config_setting_t *group, struct config_tef *tef)
{
    const struct tef_profile *preset = tef_profile_default(tef->kind);
    struct tef_profile *profile = &tef->profile;
    tree_read(tree, member(group, "profile"), &table_profile, profile, table_all);
    for (size_t i = 0; i < table_profile.count; i++) {
        const struct tree_setting *s = &table_profile.settings[i];
        if (s->kind != TREE_TEXT)
            continue;
        char **text = (char **)(void *)((char *)profile + s->offset);
        if (*text == NULL)
            *text = strdup(*(char *const *)(const void *)((const char *)preset + s->offset));
        tree->no_memory |= *text == NULL;
    }
    if (profile->registration_type == 0)
        profile->registration_type = preset->registration_type;
    if (profile->key_type == 0)
        profile->key_type = preset->key_type;
}

// "file:PATH" with a path from the configuration's folder.
static void complete_reference(struct tree *tree, char **reference)
{
    const char *path = *reference == NULL ? NULL : keystore_file_path(*reference);
    char *absolute = NULL;
    if (path == NULL || path[0] == '/' || path[0] == '\0' || tree->folder == NULL)
        return;
    if (asprintf(&absolute, "file:%s/%s", tree->folder, path) < 0) {
        tree->no_memory = true;
        return;
    }
    free(*reference);
    *reference = absolute;
}

static void read_tef(struct tree *tree, const config_setting_t *group, const struct config *config, enum tef_kind kind,
                     struct config_tef *out)
{
    struct raw_tef raw = {.tef = {.kind = kind}};
    char shown[TREE_SHOWN_MAX];
    tree_read(tree, group, &table_tef, &raw, table_all);
    read_profile(tree, group, &raw.tef);
    raw.tef.coap = raw.binding == CONFIG_COAP;
    if (raw.port == 0)
        raw.port = raw.tef.coap ? 5684 : 443;
    lower(raw.tef.fqdn);
    complete_reference(tree, &raw.tef.psk);
    if (group != NULL) {
        if (raw.host != NULL && address_parse(raw.host, (uint16_t)raw.port, &raw.tef.address) != SAGATE_OK)
            tree_complain(tree, group, "address",
                          "found the string %s, expected a numeric IPv4 or IPv6 address such as \"192.0.2.7\"",
                          tree_show(raw.host, shown));
        resolve_upstream(tree, group, config, raw.upstream, &raw.tef.upstream);
        raw.tef.trust_anchors =
            resolve_trust_anchors(tree, group, config, raw.anchors, raw.anchor_count, &raw.tef.trust_anchor_count);
        size_t certificate = raw.certificate == NULL ? 0 : certificate_named(config, raw.certificate);
        if (certificate != SIZE_MAX)
            raw.tef.certificate = certificate;
        else if (raw.certificate[0] != '\0')
            tree_complain(tree, group, "certificate", "the certificate %s is not defined in 'certificates'",
                          tree_show(raw.certificate, shown));
    }
    *out = raw.tef;
    free(raw.host);
    free(raw.upstream);
    free(raw.certificate);
    free_names(raw.anchors, raw.anchor_count);
}

static void read_tefs(struct tree *tree, const config_setting_t *root, struct config *config)
{
    size_t mafs = tree_list(tree, root, "mafs", CONFIG_TEFS_MAX, false);
    size_t mefs = tree_list(tree, root, "mefs", CONFIG_TEFS_MAX, false);
    if (mafs + mefs > CONFIG_TEFS_MAX) {
        tree_complain(tree, root, "mefs", "found %zu entries in 'mafs' and 'mefs', expected at most %d", mafs + mefs,
                      CONFIG_TEFS_MAX);
        mefs = CONFIG_TEFS_MAX - mafs;
    }
    config->tefs = allocate(tree, mafs + mefs, sizeof *config->tefs);
    if (config->tefs == NULL)
        return;
    config->tef_count = mafs + mefs;
    for (size_t i = 0; i < mafs + mefs; i++) {
        bool maf = i < mafs;
        const config_setting_t *element = tree_element(tree, root, maf ? "mafs" : "mefs", maf ? i : i - mafs);
        read_tef(tree, element, config, maf ? TEF_MAF : TEF_MEF, &config->tefs[i]);
    }
}

struct config_tef_place config_tef_place(const struct config *config, size_t tef)
{
    struct config_tef_place place = {.list = config->tefs[tef].kind == TEF_MAF ? "mafs" : "mefs"};
    for (size_t i = 0; i < tef; i++)
        place.index += config->tefs[i].kind == config->tefs[tef].kind;
    return place;
}

// A group that may be left out: the defaults then come from the table alone.
static void read_group(struct tree *tree, const config_setting_t *root, const struct tree_group *group, void *object)
{
    tree_read(tree, member(root, group->name), group, object, table_all);
}

static void read_control(struct tree *tree, const config_setting_t *root, struct config *config)
{
    struct raw_control raw = {0};
    read_group(tree, root, &table_control, &raw);
    config->control_socket = raw.socket;
    config->control_socket_group = raw.group;
    config->control_socket_mode = raw.mode == NULL ? 0 : (mode_t)strtoul(raw.mode, NULL, 8);
    free(raw.mode);
}

static void read_metrics(struct tree *tree, const config_setting_t *root, struct config *config)
{
    struct raw_metrics raw = {0};
    struct address address;
    char shown[TREE_SHOWN_MAX];
    read_group(tree, root, &table_metrics, &raw);
    if (raw.host != NULL && address_parse(raw.host, (uint16_t)raw.port, &address) == SAGATE_OK) {
        if (raw.port != 0)
            config->metrics = address;
    } else if (raw.host != NULL) {
        tree_complain(tree, member(root, "metrics"), "address",
                      "found the string %s, expected a numeric IPv4 or IPv6 address such as \"127.0.0.1\"",
                      tree_show(raw.host, shown));
    }
    free(raw.host);
}

// A default never contradicts what is set beside it.
static void bound_default(const config_setting_t *group, const char *name, unsigned *value, unsigned most)
{
    if (member(group, name) == NULL && *value > most)
        *value = most;
}

static void bound_defaults(const config_setting_t *root, struct config *config)
{
    const config_setting_t *group = member(root, "limits");
    struct config_limits *limits = &config->limits;
    bound_default(group, "parked", &limits->parked, limits->handshakes);
    bound_default(group, "parked_milliseconds", &limits->parked_milliseconds, limits->handshake_seconds * 1000);
    bound_default(group, "http_body_buffer_bytes", &limits->http_body_buffer_bytes, limits->http_body_bytes);
    const config_setting_t *upstreams = member(root, "upstreams");
    for (size_t i = 0; upstreams != NULL && config_setting_is_list(upstreams) && i < config->upstream_count; i++) {
        struct config_upstream *upstream = &config->upstreams[i];
        bound_default(config_setting_get_elem(upstreams, (unsigned)i), "health_timeout_milliseconds",
                      &upstream->health_timeout_milliseconds, upstream->health_seconds * 1000);
    }
}

void config_read_tree(struct tree *tree, struct config *config)
{
    const config_setting_t *root = config_root_setting(&tree->tree);
    tree_read(tree, root, &table_root, config, table_all);
    read_group(tree, root, &table_process, &config->process);
    if (config->process.workers == 0)
        config->process.workers = online_cores();
    read_group(tree, root, &table_limits, &config->limits);
    read_certificates(tree, root, config);
    read_trust_anchors(tree, root, config);
    read_upstreams(tree, root, config);
    read_listeners(tree, root, config);
    read_tefs(tree, root, config);
    read_group(tree, root, &table_resolver, &config->resolver);
    read_group(tree, root, &table_protection, &config->minimum_protection_level);
    read_control(tree, root, config);
    read_metrics(tree, root, config);
    bound_defaults(root, config);
}
