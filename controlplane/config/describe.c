// What a configuration would do, for people.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "controlplane/config/tables.h"
#include "controlplane/keystore/keystore.h"

static const char *version_name(enum config_tls_version version)
{
    return version == CONFIG_TLS_1_3 ? "1.3" : "1.2";
}

static const char *health_name(enum config_health health)
{
    switch (health) {
    case CONFIG_HEALTH_CONNECT:
        return "connect";
    case CONFIG_HEALTH_REQUEST:
        return "request";
    case CONFIG_HEALTH_PING:
        return "ping";
    case CONFIG_HEALTH_NONE:
        break;
    }
    return "none";
}

static const char *identity_name(enum config_identity identity)
{
    switch (identity) {
    case CONFIG_IDENTITY_HEADERS:
        return "headers";
    case CONFIG_IDENTITY_OPTIONS:
        return "options";
    case CONFIG_IDENTITY_PROXY_V2:
        return "PROXY v2";
    case CONFIG_IDENTITY_NONE:
        break;
    }
    return "nothing";
}

static const char *numbering_name(enum config_numbering numbering)
{
    switch (numbering) {
    case CONFIG_NUMBERING_CURRENT:
        return "current";
    case CONFIG_NUMBERING_OLD:
        return "old";
    case CONFIG_NUMBERING_BOTH:
        break;
    }
    return "current and old";
}

static void describe_processes(struct text *out, const struct config *config)
{
    const struct config_process *process = &config->process;
    const struct config_limits *limits = &config->limits;
    text_add(out, "data process: user %s, %u worker%s%s%s\n", process->user[0] == '\0' ? "unchanged" : process->user,
             process->workers, process->workers == 1 ? "" : "s", process->pin_workers ? ", each on its own core" : "",
             process->lock_memory ? ", keys locked in memory" : "");
    text_add(out, "control process: user %s, state in %s, credentials from %s\n",
             process->control_user[0] == '\0' ? "unchanged" : process->control_user, process->state_directory,
             config->credentials_file[0] == '\0' ? "no file" : config->credentials_file);
    text_add(out, "control socket: %s, mode %04o%s%s\n", config->control_socket, (unsigned)config->control_socket_mode,
             config->control_socket_group[0] == '\0' ? "" : ", group ", config->control_socket_group);
    char address[ADDRESS_TEXT_MAX];
    text_add(out, "metrics: %s%s\n", config->metrics.len == 0 ? "off" : "http://",
             config->metrics.len == 0 ? "" : address_format(&config->metrics, address));
    text_add(out, "log level: %s\n", log_level_name(process->log_level));
    text_add(out,
             "limits per worker: %u handshakes (%u s each), %u parked (%u ms), %u associations (idle %u s), "
             "%u TCP connections\n",
             limits->handshakes, limits->handshake_seconds, limits->parked, limits->parked_milliseconds,
             limits->associations, limits->association_idle_seconds, limits->connections);
    if (limits->associations_per_identity > 0)
        text_add(out, "limit per identity: %u associations per worker\n", limits->associations_per_identity);
    if (limits->eviction_idle_seconds > 0)
        text_add(out, "a full worker gives up the association that is idle longest, if it is for %u s\n",
                 limits->eviction_idle_seconds);
    if (limits->connection_id_bytes > 0)
        text_add(out, "DTLS Connection IDs: %u bytes\n", limits->connection_id_bytes);
    else
        text_add(out, "DTLS Connection IDs: none\n");
    if (limits->session_ticket_seconds == 0)
        text_add(out, "session tickets: off\n");
    else
        text_add(out, "session tickets: good for %u s\n", limits->session_ticket_seconds);
    text_add(out, "limits per association: %u requests, %u observations\n", limits->requests_per_association,
             limits->observations_per_association);
    text_add(out, "limits of HTTP: head %u bytes in %u s, body %u bytes, idle %u s\n", limits->http_head_bytes,
             limits->http_head_seconds, limits->http_body_bytes, limits->http_idle_seconds);
}

static void describe_listener(struct text *out, const struct config *config, const struct config_listener *listener)
{
    char address[ADDRESS_TEXT_MAX];
    bool dtls = listener->transport == CONFIG_DTLS;
    text_add(out, "\nlistener %s: %s over %s %s", listener->name, listener->binding == CONFIG_COAP ? "CoAP" : "HTTP",
             dtls ? "DTLS" : "TLS", version_name(listener->version_min));
    if (listener->version_max != listener->version_min)
        text_add(out, " to %s", version_name(listener->version_max));
    text_add(out, " on %s (%s), to upstream %s\n", address_format(&listener->address, address), dtls ? "UDP" : "TCP",
             config->upstreams[listener->upstream].name);
    text_add(out, "  credentials offered: %s%s", listener->psk ? "pre-shared keys" : "",
             listener->psk && listener->certificate_count > 0 ? ", " : "");
    for (size_t i = 0; i < listener->certificate_count; i++) {
        const struct config_certificate *certificate = &config->certificates[listener->certificates[i]];
        text_add(out, "%scertificate %s%s", i == 0 ? "" : ", ", certificate->name, i == 0 ? " (default)" : "");
        for (size_t n = 0; n < certificate->server_name_count; n++)
            text_add(out, "%s%s", n == 0 ? " for " : " ", certificate->server_names[n]);
    }
    text_add(out, "\n");
    if (listener->certificate_count > 0)
        text_add(out, "  unknown server name: %s\n",
                 listener->unknown_server_name_refused ? "refused" : "served with the default certificate");
    if (listener->client_certificates != CONFIG_CLIENT_CERTIFICATES_NONE) {
        text_add(out, "  certificates of devices: %s, from",
                 listener->client_certificates == CONFIG_CLIENT_CERTIFICATES_REQUIRED
                     ? (listener->psk ? "required without a pre-shared key" : "required")
                     : "optional");
        for (size_t i = 0; i < listener->trust_anchor_count; i++)
            text_add(out, "%s %s", i == 0 ? "" : ",", config->trust_anchors[listener->trust_anchors[i]].name);
        text_add(out, "\n");
    }
    if (listener->binding == CONFIG_COAP)
        text_add(out, "  oneM2M option numbers from devices: %s\n", numbering_name(listener->coap_numbering));
    if (listener->release_version_default[0] != '\0')
        text_add(out, "  release version given to a request that has none: %s\n", listener->release_version_default);
}

static void describe_upstream(struct text *out, const struct config_upstream *upstream)
{
    static const char *const forms[] = {
        [CONFIG_FROM_STEM] = "stem", [CONFIG_FROM_SP_RELATIVE] = "SP-relative", [CONFIG_FROM_ABSOLUTE] = "absolute"};
    char address[ADDRESS_TEXT_MAX];
    text_add(out, "\nupstream %s: CSE %s%s, From as %s\n", upstream->name, upstream->sp_id, upstream->cse_id,
             forms[upstream->from_form]);
    text_add(out, "  identity: %s over HTTP%s, %s over CoAP (%s option numbers)\n",
             identity_name(upstream->http_identity),
             upstream->authorization[0] == '\0' ? "" : " with an Authorization header of its own",
             identity_name(upstream->coap_identity), numbering_name(upstream->coap_numbering));
    text_add(out, "  refused originators:");
    for (size_t i = 0; i < upstream->full_access_count; i++)
        text_add(out, " %s", upstream->full_access_originators[i]);
    text_add(out, "%s\n", upstream->full_access_count == 0 ? " none" : "");
    text_add(out, "  per worker and server: %u requests of at most %u ms, %u HTTP connections, %u UDP sockets\n",
             upstream->requests, upstream->request_milliseconds, upstream->connections, upstream->coap_source_ports);
    text_add(out, "  health every %u s: %s over HTTP, %s over CoAP; down after %u, up after %u\n",
             upstream->health_seconds, health_name(upstream->http_health), health_name(upstream->coap_health),
             upstream->health_fall, upstream->health_rise);
    for (size_t i = 0; i < upstream->server_count; i++) {
        const struct config_server *server = &upstream->servers[i];
        text_add(out, "  server %s: weight %u", server->name, server->weight);
        if (server->has_http)
            text_add(out, ", HTTP %s", address_format(&server->http, address));
        if (server->has_coap)
            text_add(out, ", CoAP %s", address_format(&server->coap, address));
        text_add(out, "\n");
    }
}

static void describe_tef(struct text *out, const struct config *config, const struct config_tef *tef)
{
    char address[ADDRESS_TEXT_MAX], why[KEYSTORE_ERROR_MAX];
    enum keystore_home home;
    text_add(out, "\n%s %s: %s at %s over %s, for upstream %s\n", tef->kind == TEF_MAF ? "MAF" : "MEF", tef->name,
             tef->fqdn, address_format(&tef->address, address), tef->coap ? "CoAP and DTLS" : "HTTP and TLS",
             config->upstreams[tef->upstream].name);
    if (tef->psk_identity[0] == '\0') {
        text_add(out, "  credential: certificate %s; the %s is verified with",
                 config->certificates[tef->certificate].name, tef->kind == TEF_MAF ? "MAF" : "MEF");
        for (size_t i = 0; i < tef->trust_anchor_count; i++)
            text_add(out, "%s %s", i == 0 ? "" : ",", config->trust_anchors[tef->trust_anchors[i]].name);
        text_add(out, "\n");
    } else if (keystore_parse(tef->psk, &home, why) == SAGATE_OK) {
        text_add(out, "  credential: pre-shared key of %s from a %s (protection level %u)\n", tef->psk_identity,
                 keystore_home_name(home), keystore_level(home));
    }
    if (tef->register_client)
        text_add(out, "  registers for %s, for %u s each time\n", tef->admin_fqdn, tef->registration_seconds);
    text_add(out, "  an answer must name%s%s%s; the PSK is %s of the key\n",
             tef->admin_checked ? " this administrator and" : "", tef->targets_required ? " targets, among them" : "",
             tef->targets_required ? " us" : " us, if it names targets",
             tef->first_half ? "the first half" : "the whole");
    text_add(out, "  at most %u connections with %u requests on each, %u ms for one\n", tef->connections,
             tef->requests_per_connection, tef->timeout_milliseconds);
    const struct tef_profile *profile = &tef->profile;
    text_add(out, "  registrations at %s, keys at %s%s\n", profile->registration_path,
             profile->key_path[0] == '\0' ? profile->registration_path : profile->key_path,
             profile->method == TEF_METHOD_FETCH_CREDENTIALS ? ", fetched by fetchCredentials" : "");
}

static void describe_resolver(struct text *out, const struct config *config)
{
    const struct config_resolver *resolver = &config->resolver;
    const struct config_protection *least = &config->minimum_protection_level;
    if (config->tef_count > 0)
        text_add(
            out,
            "\nidentities of MAFs and MEFs: %u asked for at once (%u ms each), %u held; a key for at most %u s, an "
            "unknown one for %u s\n",
            resolver->waiting, resolver->deadline_milliseconds, resolver->cached, resolver->cache_seconds,
            resolver->negative_seconds);
    if (least->credentials > 0 || least->tef_keys > 0 || least->private_keys > 0)
        text_add(out, "\nprotection levels, at least: credentials %u, keys towards MAFs and MEFs %u, private keys %u\n",
                 least->credentials, least->tef_keys, least->private_keys);
}

char *config_describe(const struct config *config)
{
    struct text out = {0};
    describe_processes(&out, config);
    for (size_t i = 0; i < config->listener_count; i++)
        describe_listener(&out, config, &config->listeners[i]);
    for (size_t i = 0; i < config->upstream_count; i++)
        describe_upstream(&out, &config->upstreams[i]);
    for (size_t i = 0; i < config->tef_count; i++)
        describe_tef(&out, config, &config->tefs[i]);
    describe_resolver(&out, config);
    return text_take(&out);
}
