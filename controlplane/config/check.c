// Cross checks: what is wrong between settings that are each well-formed.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "controlplane/config/tables.h"
#include "controlplane/keystore/keystore.h"

#include <string.h>

static const config_setting_t *element(struct tree *tree, const char *list, size_t index)
{
    config_setting_t *setting = config_setting_get_member(config_root_setting(&tree->tree), list);
    return config_setting_get_elem(setting, (unsigned)index);
}

static const config_setting_t *server_element(struct tree *tree, size_t upstream, size_t server)
{
    config_setting_t *list = config_setting_get_member(element(tree, "upstreams", upstream), "servers");
    return config_setting_get_elem(list, (unsigned)server);
}

static bool has(const config_setting_t *group, const char *name)
{
    return config_setting_is_group(group) && config_setting_get_member(group, name) != NULL;
}

static void repeated(struct tree *tree, const config_setting_t *at, const char *list, const char *name, size_t first)
{
    tree_complain(tree, at, "name", "the name \"%s\" is taken by %s[%zu]; expected a name of its own", name, list,
                  first);
}

static bool same(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

static void check_names(struct tree *tree, const struct config *config)
{
    for (size_t i = 0; i < config->certificate_count; i++) {
        for (size_t k = 0; k < i; k++) {
            if (same(config->certificates[i].name, config->certificates[k].name))
                repeated(tree, element(tree, "certificates", i), "certificates", config->certificates[i].name, k);
        }
    }
    for (size_t i = 0; i < config->trust_anchor_count; i++) {
        for (size_t k = 0; k < i; k++) {
            if (same(config->trust_anchors[i].name, config->trust_anchors[k].name))
                repeated(tree, element(tree, "trust_anchors", i), "trust_anchors", config->trust_anchors[i].name, k);
        }
    }
    for (size_t i = 0; i < config->upstream_count; i++) {
        const struct config_upstream *upstream = &config->upstreams[i];
        for (size_t k = 0; k < i; k++) {
            if (same(upstream->name, config->upstreams[k].name))
                repeated(tree, element(tree, "upstreams", i), "upstreams", upstream->name, k);
        }
        for (size_t s = 0; s < upstream->server_count; s++) {
            for (size_t k = 0; k < s; k++) {
                if (same(upstream->servers[s].name, upstream->servers[k].name))
                    repeated(tree, server_element(tree, i, s), "servers", upstream->servers[s].name, k);
            }
        }
    }
    for (size_t i = 0; i < config->listener_count; i++) {
        for (size_t k = 0; k < i; k++) {
            if (same(config->listeners[i].name, config->listeners[k].name))
                repeated(tree, element(tree, "listeners", i), "listeners", config->listeners[i].name, k);
        }
    }
}

static bool is_any(const struct address *address)
{
    return address->any.sa_family == AF_INET ? address->v4.sin_addr.s_addr == INADDR_ANY
                                             : IN6_IS_ADDR_UNSPECIFIED(&address->v6.sin6_addr) != 0;
}

// True when the kernel would refuse to bind both. IPv6 sockets are taken to be IPv6 only, so families do not collide.
static bool collide(const struct address *a, const struct address *b)
{
    if (a->len == 0 || b->len == 0 || a->any.sa_family != b->any.sa_family)
        return false;
    // The port is at the same place in both families.
    if (a->v4.sin_port != b->v4.sin_port)
        return false;
    return is_any(a) || is_any(b) || address_equal(a, b);
}

static void check_addresses(struct tree *tree, const struct config *config)
{
    char text[ADDRESS_TEXT_MAX], other[ADDRESS_TEXT_MAX];
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_listener *listener = &config->listeners[i];
        const char *protocol = listener->transport == CONFIG_DTLS ? "UDP" : "TCP";
        for (size_t k = 0; k < i; k++) {
            const struct config_listener *earlier = &config->listeners[k];
            if (earlier->transport == listener->transport && collide(&earlier->address, &listener->address))
                tree_complain(tree, element(tree, "listeners", i), "port",
                              "%s over %s collides with listeners[%zu] on %s; expected another address or port",
                              address_format(&listener->address, text), protocol, k,
                              address_format(&earlier->address, other));
        }
        if (listener->transport == CONFIG_TLS && collide(&config->metrics, &listener->address))
            tree_complain(tree, element(tree, "listeners", i), "port",
                          "%s over TCP collides with the metrics address %s; expected another address or port",
                          address_format(&listener->address, text), address_format(&config->metrics, other));
    }
}

static void check_transport(struct tree *tree, const config_setting_t *at, const struct config_listener *listener)
{
    bool dtls = listener->transport == CONFIG_DTLS;
    if (dtls != (listener->binding == CONFIG_COAP))
        tree_complain(tree, at, "binding", "found \"%s\" over transport \"%s\", expected \"%s\"",
                      dtls ? "http" : "coap", dtls ? "dtls" : "tls", dtls ? "coap" : "http");
    if (listener->version_min > listener->version_max)
        tree_complain(tree, at, "version_min", "found \"1.3\" above a version_max of \"1.2\", expected \"1.2\"");
    if (!dtls && has(at, "coap_numbering"))
        tree_complain(tree, at, "coap_numbering", "means nothing for binding \"http\"; leave it out");
}

// Which certificate serves a name must be clear within one listener.
static void check_server_names(struct tree *tree, const config_setting_t *at, const struct config *config,
                               const struct config_listener *listener)
{
    for (size_t i = 0; i < listener->certificate_count; i++) {
        const struct config_certificate *certificate = &config->certificates[listener->certificates[i]];
        for (size_t k = 0; k < i; k++) {
            const struct config_certificate *earlier = &config->certificates[listener->certificates[k]];
            for (size_t n = 0; n < certificate->server_name_count * earlier->server_name_count; n++) {
                const char *name = certificate->server_names[n / earlier->server_name_count];
                if (!same(name, earlier->server_names[n % earlier->server_name_count]) || name[0] == '\0')
                    continue;
                tree_complain_at(tree, at, "certificates", i,
                                 "the server name \"%s\" of \"%s\" is also one of \"%s\"; expected it in one "
                                 "certificate of the listener",
                                 name, certificate->name, earlier->name);
            }
        }
    }
}

static void check_client_certificates(struct tree *tree, const config_setting_t *at,
                                      const struct config_listener *listener)
{
    if (listener->client_certificates == CONFIG_CLIENT_CERTIFICATES_NONE)
        return;
    if (!has(at, "trust_anchors"))
        tree_complain(tree, at, "client_certificates",
                      "certificates of devices cannot be verified; expected 'trust_anchors' beside it");
    if (!has(at, "certificates"))
        tree_complain(
            tree, at, "client_certificates",
            "a device shows a certificate only to a listener that has one; expected 'certificates' beside it");
}

static void check_listeners(struct tree *tree, const struct config *config)
{
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_listener *listener = &config->listeners[i];
        const config_setting_t *at = element(tree, "listeners", i);
        if (!config_setting_is_group(at))
            continue;
        if (has(at, "transport") && has(at, "binding"))
            check_transport(tree, at, listener);
        if (!listener->psk && !has(at, "certificates"))
            tree_complain(tree, at, NULL,
                          "the listener offers no credential; expected psk = true, certificates, or both");
        if (listener->unknown_server_name_refused && listener->certificate_count == 0)
            tree_complain(tree, at, "unknown_server_name", "\"refuse\" needs certificates with server names");
        check_server_names(tree, at, config, listener);
        check_client_certificates(tree, at, listener);
        if (listener->upstream >= config->upstream_count || !has(at, "upstream"))
            continue;
        const struct config_upstream *upstream = &config->upstreams[listener->upstream];
        bool coap = listener->binding == CONFIG_COAP, served = upstream->server_count == 0;
        // An address that was given counts, even when it is wrong: one error is enough for it.
        for (size_t s = 0; s < upstream->server_count; s++) {
            const config_setting_t *server = server_element(tree, listener->upstream, s);
            bool http_given = has(server, "http"), coap_given = has(server, "coap");
            served |= http_given == coap_given || (coap ? coap_given : http_given);
        }
        if (!served && same(upstream->name, config_setting_get_string(config_setting_get_member(at, "upstream"))))
            tree_complain(tree, at, "upstream",
                          "no server of the upstream \"%s\" has an address for binding \"%s\"; expected '%s' in one of "
                          "its servers",
                          upstream->name, coap ? "coap" : "http", coap ? "coap" : "http");
    }
}

static void check_upstreams(struct tree *tree, const struct config *config)
{
    for (size_t i = 0; i < config->upstream_count; i++) {
        const struct config_upstream *upstream = &config->upstreams[i];
        if (upstream->health_timeout_milliseconds > upstream->health_seconds * 1000)
            tree_complain(tree, element(tree, "upstreams", i), "health_timeout_milliseconds",
                          "found %u, expected at most health_seconds, which is %u milliseconds",
                          upstream->health_timeout_milliseconds, upstream->health_seconds * 1000);
    }
}

static void check_limits(struct tree *tree, const struct config *config)
{
    const config_setting_t *root = config_root_setting(&tree->tree);
    const config_setting_t *at = config_setting_get_member(root, "limits");
    const struct config_limits *limits = &config->limits;
    if (at == NULL || !config_setting_is_group(at))
        return;
    if (limits->parked > limits->handshakes)
        tree_complain(tree, at, "parked", "found %u, expected at most 'handshakes', which is %u", limits->parked,
                      limits->handshakes);
    // A shorter one would leave too little behind the number of the worker that nobody can guess.
    if (limits->connection_id_bytes > 0 && limits->connection_id_bytes < 4)
        tree_complain(tree, at, "connection_id_bytes", "found %u, expected 0 (none) or 4 to 8",
                      limits->connection_id_bytes);
    if (limits->parked_milliseconds > limits->handshake_seconds * 1000)
        tree_complain(tree, at, "parked_milliseconds",
                      "found %u, expected at most 'handshake_seconds', which is %u milliseconds",
                      limits->parked_milliseconds, limits->handshake_seconds * 1000);
    if (limits->http_body_buffer_bytes > limits->http_body_bytes)
        tree_complain(tree, at, "http_body_buffer_bytes", "found %u, expected at most 'http_body_bytes', which is %u",
                      limits->http_body_buffer_bytes, limits->http_body_bytes);
}

// Whether a text was given, be it a wrong one: one error is enough for it.
static bool given(const config_setting_t *group, const char *name)
{
    const config_setting_t *setting = config_setting_get_member(group, name);
    return setting != NULL && !same(config_setting_get_string(setting), "");
}

static void check_tef_credential(struct tree *tree, const config_setting_t *at, const struct config_tef *tef)
{
    const char *what = tef->kind == TEF_MAF ? "MAF" : "MEF";
    bool identity = given(at, "psk_identity"), psk = given(at, "psk"), certificate = given(at, "certificate");
    if (!identity && !psk && !certificate)
        tree_complain(tree, at, NULL,
                      "sagate has no credential towards this %s; expected psk_identity and psk, or certificate", what);
    else if (certificate && (identity || psk))
        tree_complain(tree, at, "certificate", "there is a pre-shared key too; expected one of the two");
    else if (identity != psk)
        tree_complain(tree, at, identity ? "psk" : "psk_identity", "missing; expected it beside '%s'",
                      identity ? "psk_identity" : "psk");
    else if (certificate && !has(at, "trust_anchors"))
        tree_complain(tree, at, "certificate",
                      "the certificate of the %s cannot be verified; expected 'trust_anchors' beside it", what);
    else if (!certificate && has(at, "trust_anchors"))
        tree_complain(tree, at, "trust_anchors", "means nothing with a pre-shared key; leave it out");
}

static void check_tef_key(struct tree *tree, const config_setting_t *at, const struct config *config,
                          const struct config_tef *tef)
{
    char why[KEYSTORE_ERROR_MAX];
    enum keystore_home home;
    unsigned least = config->minimum_protection_level.tef_keys;
    if (tef->psk == NULL || tef->psk[0] == '\0')
        return;
    if (keystore_parse(tef->psk, &home, why) != SAGATE_OK)
        tree_complain(tree, at, "psk", "%s", why);
    else if (keystore_level(home) < least)
        tree_complain(tree, at, "psk",
                      "a key in a %s has protection level %u, expected a home of at least level %u "
                      "(minimum_protection_level.tef_keys)",
                      keystore_home_name(home), keystore_level(home), least);
}

static void check_tef(struct tree *tree, const config_setting_t *at, const struct config *config,
                      const struct config_tef *tef)
{
    const config_setting_t *profile = config_setting_get_member(at, "profile");
    check_tef_credential(tree, at, tef);
    check_tef_key(tree, at, config, tef);
    if (tef->admin_checked && !given(at, "admin_fqdn"))
        tree_complain(tree, at, "admin_checked", "nothing to compare with; expected 'admin_fqdn' beside it");
    else if (tef->register_client && !given(at, "admin_fqdn"))
        tree_complain(tree, at, "admin_fqdn",
                      "missing; a client registers for an administrating stakeholder (TS-0003 8.8.2.3): expected the "
                      "host name of one, or register = false");
    if (tef->kind == TEF_MAF && profile != NULL && has(profile, "method"))
        tree_complain(tree, profile, "method", "means nothing for a MAF; leave it out");
    if (!tef->coap && profile != NULL && has(profile, "coap_numbering"))
        tree_complain(tree, profile, "coap_numbering", "means nothing for binding \"http\"; leave it out");
}

static void check_tefs(struct tree *tree, const struct config *config)
{
    for (size_t i = 0; i < config->tef_count; i++) {
        struct config_tef_place place = config_tef_place(config, i);
        const config_setting_t *at = element(tree, place.list, place.index);
        if (!config_setting_is_group(at))
            continue;
        check_tef(tree, at, config, &config->tefs[i]);
        for (size_t k = 0; k < i; k++) {
            struct config_tef_place earlier = config_tef_place(config, k);
            if (same(config->tefs[i].name, config->tefs[k].name))
                repeated(tree, at, earlier.list, config->tefs[i].name, earlier.index);
            if (same(config->tefs[i].fqdn, config->tefs[k].fqdn))
                tree_complain(tree, at, "fqdn", "\"%s\" is the name of %s[%zu] too; expected a name of its own",
                              config->tefs[i].fqdn, earlier.list, earlier.index);
        }
    }
}

// Kpsa and the private keys of certificates are in files.
static void check_protection(struct tree *tree, const struct config *config)
{
    const struct config_protection *least = &config->minimum_protection_level;
    unsigned level = keystore_level(KEYSTORE_FILE);
    if (least->credentials > level && config->credentials_file != NULL && config->credentials_file[0] != '\0')
        tree_complain(tree, config_root_setting(&tree->tree), "credentials_file",
                      "keys in a file have protection level %u, expected a home of at least level %u "
                      "(minimum_protection_level.credentials), or \"\" for no file",
                      level, least->credentials);
    for (size_t i = 0; i < config->certificate_count && least->private_keys > level; i++)
        tree_complain(tree, element(tree, "certificates", i), "key_file",
                      "a key in a file has protection level %u, expected a home of at least level %u "
                      "(minimum_protection_level.private_keys)",
                      level, least->private_keys);
}

void config_check_tree(struct tree *tree, const struct config *config)
{
    const config_setting_t *root = config_root_setting(&tree->tree);
    const config_setting_t *control = config_setting_get_member(root, "control");
    check_names(tree, config);
    check_addresses(tree, config);
    check_listeners(tree, config);
    check_upstreams(tree, config);
    check_limits(tree, config);
    check_tefs(tree, config);
    check_protection(tree, config);
    // A longer path does not fit in struct sockaddr_un.
    if (config->control_socket != NULL && strlen(config->control_socket) > 107)
        tree_complain(tree, control == NULL ? root : control, "socket",
                      "the path has %zu bytes, expected at most 107 (with the folder of the configuration before it)",
                      strlen(config->control_socket));
}
