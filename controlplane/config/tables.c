// Every setting with its type, range and default. docs/configuration.md and conf/sagate.conf say the same for people;
// tests/unit/test_config.c compares them.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/config/tables.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(enum config_transport) == sizeof(unsigned) && sizeof(enum log_level) == sizeof(unsigned),
               "choices are stored as unsigned");

static const char alphanumeric[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

static bool all_of(const char *text, const char *more, size_t max)
{
    size_t len = strlen(text);
    for (const char *c = text; *c != '\0'; c++) {
        if (strchr(alphanumeric, *c) == NULL && strchr(more, *c) == NULL)
            return false;
    }
    return len > 0 && len <= max;
}

static bool printable(const char *text, bool space)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (*c < (space ? 0x20 : 0x21) || *c > 0x7e)
            return false;
    }
    return true;
}

static bool name_ok(const char *text)
{
    return all_of(text, "._-", 63);
}

static bool user_ok(const char *text)
{
    return all_of(text, "._-$", 32) && text[0] != '-';
}

static bool path_ok(const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return false;
    }
    return strlen(text) <= 2048;
}

static bool host_name_ok(const char *text)
{
    size_t label = 0, len = strlen(text);
    for (size_t i = 0; i <= len; i++) {
        if (text[i] == '.' || text[i] == '\0') {
            if (label == 0 || label > 63 || text[i - 1] == '-')
                return false;
            label = 0;
            continue;
        }
        bool letter = (text[i] >= 'a' && text[i] <= 'z') || (text[i] >= '0' && text[i] <= '9');
        if (!letter && (text[i] != '-' || label == 0))
            return false;
        label++;
    }
    return len <= 253;
}

// Upper case is taken, since names compare without regard to case; it is lowered afterwards.
static bool server_name_ok(const char *text)
{
    char lower[254];
    size_t len = strlen(text);
    if (len >= sizeof lower)
        return false;
    for (size_t i = 0; i <= len; i++)
        lower[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + ('a' - 'A') : text[i]);
    return host_name_ok(lower);
}

static bool sp_id_ok(const char *text)
{
    return text[0] == '/' && text[1] == '/' && host_name_ok(text + 2);
}

static bool cse_id_ok(const char *text)
{
    return text[0] == '/' && all_of(text + 1, "._~-", 127);
}

static bool originator_ok(const char *text)
{
    return all_of(text, "._~-,/", 255);
}

// A PSK identity: any text without control characters (RFC 4279 5.3 asks for at least 128 bytes).
static bool identity_ok(const char *text)
{
    return path_ok(text) && strlen(text) <= 512;
}

// A member of an object in JSON, such as "sec:mafClientReg".
static bool member_ok(const char *text)
{
    return all_of(text, "._:-", 63);
}

// Of a request; what distinguishes resources is appended to it.
static bool base_ok(const char *text)
{
    return text[0] == '/' && printable(text, false) && strpbrk(text, "?#") == NULL && strlen(text) <= 255;
}

static bool target_ok(const char *text)
{
    return text[0] == '/' && printable(text, false) && strchr(text, '#') == NULL && strlen(text) <= 512;
}

static bool version_ok(const char *text)
{
    return all_of(text, "", 4);
}

// "Basic …", "Bearer …": RFC 9110 11.4.
static bool authorization_ok(const char *text)
{
    const char *space = strchr(text, ' ');
    return space != NULL && space != text && space[1] != '\0' && printable(text, true) && strlen(text) <= 4096;
}

// Octal as a text, since libconfig would read 0660 as six hundred and sixty. Others may never reach the socket.
static bool mode_ok(const char *text)
{
    size_t len = strlen(text);
    return (len == 3 || (len == 4 && text[0] == '0')) && strspn(text, "01234567") == len && text[len - 1] == '0';
}

static const struct tree_choice kernel_tls[] = {
    {"auto", CONFIG_KERNEL_TLS_AUTO}, {"on", CONFIG_KERNEL_TLS_ON}, {"off", CONFIG_KERNEL_TLS_OFF}, {NULL, 0}};
static const struct tree_choice log_levels[] = {{"error", LOG_LEVEL_ERROR},
                                                {"warning", LOG_LEVEL_WARNING},
                                                {"info", LOG_LEVEL_INFO},
                                                {"debug", LOG_LEVEL_DEBUG},
                                                {NULL, 0}};
static const struct tree_choice transports[] = {{"dtls", CONFIG_DTLS}, {"tls", CONFIG_TLS}, {NULL, 0}};
static const struct tree_choice bindings[] = {{"coap", CONFIG_COAP}, {"http", CONFIG_HTTP}, {NULL, 0}};
static const struct tree_choice versions[] = {{"1.2", CONFIG_TLS_1_2}, {"1.3", CONFIG_TLS_1_3}, {NULL, 0}};
static const struct tree_choice client_certificates[] = {{"none", CONFIG_CLIENT_CERTIFICATES_NONE},
                                                         {"optional", CONFIG_CLIENT_CERTIFICATES_OPTIONAL},
                                                         {"required", CONFIG_CLIENT_CERTIFICATES_REQUIRED},
                                                         {NULL, 0}};
static const struct tree_choice unknown_names[] = {{"default", 0}, {"refuse", 1}, {NULL, 0}};
static const struct tree_choice listener_numberings[] = {
    {"both", CONFIG_NUMBERING_BOTH}, {"current", CONFIG_NUMBERING_CURRENT}, {"old", CONFIG_NUMBERING_OLD}, {NULL, 0}};
static const struct tree_choice upstream_numberings[] = {
    {"current", CONFIG_NUMBERING_CURRENT}, {"old", CONFIG_NUMBERING_OLD}, {NULL, 0}};
static const struct tree_choice http_identities[] = {{"headers", CONFIG_IDENTITY_HEADERS},
                                                     {"proxy_v2", CONFIG_IDENTITY_PROXY_V2},
                                                     {"none", CONFIG_IDENTITY_NONE},
                                                     {NULL, 0}};
static const struct tree_choice coap_identities[] = {
    {"options", CONFIG_IDENTITY_OPTIONS}, {"none", CONFIG_IDENTITY_NONE}, {NULL, 0}};
static const struct tree_choice from_forms[] = {{"stem", CONFIG_FROM_STEM},
                                                {"sp_relative", CONFIG_FROM_SP_RELATIVE},
                                                {"absolute", CONFIG_FROM_ABSOLUTE},
                                                {NULL, 0}};
static const struct tree_choice http_healths[] = {
    {"request", CONFIG_HEALTH_REQUEST}, {"connect", CONFIG_HEALTH_CONNECT}, {"none", CONFIG_HEALTH_NONE}, {NULL, 0}};
static const struct tree_choice coap_healths[] = {
    {"ping", CONFIG_HEALTH_PING}, {"request", CONFIG_HEALTH_REQUEST}, {"none", CONFIG_HEALTH_NONE}, {NULL, 0}};
static const struct tree_choice encodings[] = {
    {"auto", TEF_ENCODING_AUTO}, {"base64", TEF_ENCODING_BASE64}, {"hex", TEF_ENCODING_HEX}, {NULL, 0}};
static const struct tree_choice methods[] = {
    {"key_retrieval", TEF_METHOD_KEY_RETRIEVAL}, {"fetch_credentials", TEF_METHOD_FETCH_CREDENTIALS}, {NULL, 0}};
static const struct tree_choice tef_numberings[] = {
    {"current", TEF_NUMBERING_CURRENT}, {"old", TEF_NUMBERING_OLD}, {NULL, 0}};
// What known CSEs let do everything when it stands in From.
static const char *const full_access[] = {"CAdmin", "Sponde", "/Sponde", "Sandwich", NULL};

#define NAME_EXPECTED    "a name of 1 to 63 letters, digits, '.', '_' or '-'"
#define PAIR_EXPECTED    "a numeric address and a port such as \"127.0.0.1:8080\" or \"[::1]:5683\""
#define ADDRESS_EXPECTED "a numeric IPv4 or IPv6 address such as \"127.0.0.1\" or \"::1\""
#define FQDN_EXPECTED    "a host name without wildcard, such as \"maf.sp.example\""
#define BASE_EXPECTED    "a path of at most 255 bytes that begins with '/'"
#define MEMBER_EXPECTED  "a name of 1 to 63 letters, digits, '.', '_', ':' or '-'"
#define PATH_EXPECTED    "a path of at most 2048 bytes without control characters"

#define NUMBER(s, m, lo, hi, preset)                                                                                   \
    {                                                                                                                  \
        .name = #m, .kind = TREE_NUMBER, .offset = offsetof(s, m), .min = (lo), .max = (hi), .default_value = (preset) \
    }
#define BOOLEAN(s, m, preset)                                                              \
    {                                                                                      \
        .name = #m, .kind = TREE_BOOL, .offset = offsetof(s, m), .default_value = (preset) \
    }
#define CHOICE(n, s, m, list, preset)                                                                            \
    {                                                                                                            \
        .name = (n), .kind = TREE_CHOICE, .offset = offsetof(s, m), .choices = (list), .default_value = (preset) \
    }
#define TEXT(n, s, m, k, f, preset, check, want)                                                                      \
    {                                                                                                                 \
        .name = (n), .kind = (k), .flags = (f), .offset = offsetof(s, m), .default_text = (preset), .valid = (check), \
        .expected = (want)                                                                                            \
    }
#define TEXTS(n, s, m, c, f, most, preset, check, want)                                                          \
    {                                                                                                            \
        .name = (n), .kind = TREE_TEXTS, .flags = (f), .offset = offsetof(s, m), .count_offset = offsetof(s, c), \
        .max = (most), .default_texts = (preset), .valid = (check), .expected = (want)                           \
    }
#define NESTED(n)                        \
    {                                    \
        .name = (n), .kind = TREE_NESTED \
    }
#define GROUP(variable, text, table) \
    const struct tree_group variable = {.name = (text), .settings = (table), .count = sizeof(table) / sizeof *(table)}

static const struct tree_setting root[] = {
    NESTED("process"),
    NESTED("limits"),
    NESTED("certificates"),
    NESTED("trust_anchors"),
    NESTED("upstreams"),
    NESTED("listeners"),
    NESTED("mafs"),
    NESTED("mefs"),
    NESTED("resolver"),
    NESTED("minimum_protection_level"),
    NESTED("control"),
    NESTED("metrics"),
    TEXT("credentials_file", struct config, credentials_file, TREE_PATH, TREE_EMPTY_OK, "credentials.conf", path_ok,
         PATH_EXPECTED),
};

static const struct tree_setting process[] = {
    TEXT("user", struct config_process, user, TREE_TEXT, TREE_EMPTY_OK, "nobody", user_ok, "a user name"),
    TEXT("control_user", struct config_process, control_user, TREE_TEXT, TREE_EMPTY_OK, "daemon", user_ok,
         "a user name"),
    TEXT("state_directory", struct config_process, state_directory, TREE_PATH, 0, "/var/lib/sagate", path_ok,
         PATH_EXPECTED),
    NUMBER(struct config_process, workers, 0, CONFIG_WORKERS_MAX, 0),
    BOOLEAN(struct config_process, pin_workers, true),
    NUMBER(struct config_process, control_nice, 0, 19, 10),
    BOOLEAN(struct config_process, lock_memory, true),
    CHOICE("log_level", struct config_process, log_level, log_levels, LOG_LEVEL_INFO),
    CHOICE("kernel_tls", struct config_process, kernel_tls, kernel_tls, CONFIG_KERNEL_TLS_AUTO),
};

static const struct tree_setting limits[] = {
    NUMBER(struct config_limits, handshakes, 1, 1000000, 4096),
    NUMBER(struct config_limits, handshake_seconds, 1, 600, 30),
    NUMBER(struct config_limits, parked, 1, 1000000, 1024),
    NUMBER(struct config_limits, parked_milliseconds, 10, 120000, 5000),
    // At most STORE_MAX of dataplane/association/store.h.
    NUMBER(struct config_limits, associations, 1, 16777216, 200000),
    NUMBER(struct config_limits, association_idle_seconds, 10, 31536000, 86400),
    NUMBER(struct config_limits, associations_per_identity, 0, 10000000, 64),
    NUMBER(struct config_limits, eviction_idle_seconds, 0, 31536000, 60),
    NUMBER(struct config_limits, connection_id_bytes, 0, 8, 8),
    NUMBER(struct config_limits, session_ticket_seconds, 0, 604800, 7200),
    NUMBER(struct config_limits, connections, 1, 1000000, 20000),
    NUMBER(struct config_limits, requests_per_association, 1, 1024, 16),
    NUMBER(struct config_limits, coap_exchange_bytes, 1048576, 4294967295U, 67108864),
    NUMBER(struct config_limits, observations_per_association, 0, 4096, 16),
    NUMBER(struct config_limits, http_head_bytes, 1024, 65536, 8192),
    NUMBER(struct config_limits, http_head_seconds, 1, 600, 10),
    NUMBER(struct config_limits, http_idle_seconds, 1, 86400, 120),
    NUMBER(struct config_limits, http_body_seconds, 1, 3600, 30),
    NUMBER(struct config_limits, http_body_buffer_bytes, 1024, 16777216, 65536),
    NUMBER(struct config_limits, http_body_bytes, 1024, 1073741824, 1048576),
    NUMBER(struct config_limits, content_depth, 4, 64, 32),
};

static const struct tree_setting certificate[] = {
    TEXT("name", struct config_certificate, name, TREE_TEXT, TREE_MANDATORY, NULL, name_ok, NAME_EXPECTED),
    TEXT("chain_file", struct config_certificate, chain_file, TREE_PATH, TREE_MANDATORY, NULL, path_ok, PATH_EXPECTED),
    TEXT("key_file", struct config_certificate, key_file, TREE_PATH, TREE_MANDATORY, NULL, path_ok, PATH_EXPECTED),
    TEXTS("server_names", struct config_certificate, server_names, server_name_count, 0, 256, NULL, server_name_ok,
          "a host name without wildcard, such as \"in.sp.example\""),
};

static const struct tree_setting trust_anchor[] = {
    TEXT("name", struct config_trust_anchor, name, TREE_TEXT, TREE_MANDATORY, NULL, name_ok, NAME_EXPECTED),
    TEXT("file", struct config_trust_anchor, file, TREE_PATH, TREE_MANDATORY, NULL, path_ok, PATH_EXPECTED),
};

static const struct tree_setting server[] = {
    TEXT("name", struct config_server, name, TREE_TEXT, TREE_MANDATORY, NULL, name_ok, NAME_EXPECTED),
    TEXT("http", struct raw_server, http, TREE_TEXT, 0, NULL, NULL, PAIR_EXPECTED),
    TEXT("coap", struct raw_server, coap, TREE_TEXT, 0, NULL, NULL, PAIR_EXPECTED),
    NUMBER(struct config_server, weight, 1, 100, 1),
};

static const struct tree_setting upstream[] = {
    TEXT("name", struct config_upstream, name, TREE_TEXT, TREE_MANDATORY, NULL, name_ok, NAME_EXPECTED),
    TEXT("sp_id", struct config_upstream, sp_id, TREE_TEXT, TREE_MANDATORY, NULL, sp_id_ok,
         "an SP-ID: \"//\" and a host name in lower case, such as \"//sp.example\""),
    TEXT("cse_id", struct config_upstream, cse_id, TREE_TEXT, TREE_MANDATORY, NULL, cse_id_ok,
         "an SP-relative CSE-ID: \"/\" and one segment, such as \"/id-in\""),
    CHOICE("http_identity", struct config_upstream, http_identity, http_identities, CONFIG_IDENTITY_HEADERS),
    CHOICE("coap_identity", struct config_upstream, coap_identity, coap_identities, CONFIG_IDENTITY_OPTIONS),
    CHOICE("coap_numbering", struct config_upstream, coap_numbering, upstream_numberings, CONFIG_NUMBERING_CURRENT),
    CHOICE("from_form", struct config_upstream, from_form, from_forms, CONFIG_FROM_STEM),
    TEXT("authorization_file", struct raw_upstream, authorization_file, TREE_PATH, TREE_EMPTY_OK | TREE_FILE_ONLY, "",
         path_ok, PATH_EXPECTED),
    TEXT("authorization", struct config_upstream, authorization, TREE_SECRET, TREE_EMPTY_OK | TREE_TEXT_ONLY, "",
         authorization_ok, "the value of an Authorization header: scheme, space, credentials"),
    TEXTS("full_access_originators", struct config_upstream, full_access_originators, full_access_count, TREE_EMPTY_OK,
          64, full_access, originator_ok, "an originator such as \"CAdmin\" or \"/id-in/CAdmin\""),
    NUMBER(struct config_upstream, request_id_bytes, 8, 255, 255),
    NUMBER(struct config_upstream, request_milliseconds, 10, 600000, 10000),
    NUMBER(struct config_upstream, requests, 1, 65535, 1024),
    NUMBER(struct config_upstream, connections, 1, 4096, 64),
    NUMBER(struct config_upstream, connection_idle_seconds, 1, 86400, 60),
    NUMBER(struct config_upstream, coap_source_ports, 1, 64, 8),
    CHOICE("http_health", struct config_upstream, http_health, http_healths, CONFIG_HEALTH_REQUEST),
    CHOICE("coap_health", struct config_upstream, coap_health, coap_healths, CONFIG_HEALTH_PING),
    TEXT("health_path", struct config_upstream, health_path, TREE_TEXT, 0, "/", target_ok,
         "a path of at most 512 bytes that begins with '/'"),
    TEXT("health_originator", struct config_upstream, health_originator, TREE_TEXT, 0, "Csagate", originator_ok,
         "an originator such as \"Csagate\""),
    NUMBER(struct config_upstream, health_seconds, 1, 3600, 5),
    NUMBER(struct config_upstream, health_timeout_milliseconds, 10, 600000, 2000),
    NUMBER(struct config_upstream, health_rise, 1, 100, 2),
    NUMBER(struct config_upstream, health_fall, 1, 100, 3),
    BOOLEAN(struct config_upstream, registration_substitute, true),
    NESTED("servers"),
};

// The default of port (0 here) depends on the transport; parse.c puts it in.
static const struct tree_setting listener[] = {
    TEXT("name", struct config_listener, name, TREE_TEXT, TREE_MANDATORY, NULL, name_ok, NAME_EXPECTED),
    {.name = "transport",
     .kind = TREE_CHOICE,
     .flags = TREE_MANDATORY,
     .offset = offsetof(struct config_listener, transport),
     .choices = transports,
     .expected = "\"dtls\" or \"tls\""},
    {.name = "binding",
     .kind = TREE_CHOICE,
     .flags = TREE_MANDATORY,
     .offset = offsetof(struct config_listener, binding),
     .choices = bindings,
     .expected = "\"coap\" or \"http\""},
    TEXT("address", struct raw_listener, host, TREE_TEXT, 0, "0.0.0.0", NULL, ADDRESS_EXPECTED),
    NUMBER(struct raw_listener, port, 1, 65535, 0),
    TEXT("upstream", struct raw_listener, upstream, TREE_TEXT, TREE_MANDATORY, NULL, NULL, "the name of an upstream"),
    BOOLEAN(struct config_listener, psk, true),
    TEXTS("certificates", struct raw_listener, names, name_count, 0, CONFIG_CERTIFICATES_MAX, NULL, name_ok,
          "the name of a certificate"),
    CHOICE("client_certificates", struct config_listener, client_certificates, client_certificates,
           CONFIG_CLIENT_CERTIFICATES_NONE),
    TEXTS("trust_anchors", struct raw_listener, anchors, anchor_count, 0, CONFIG_TRUST_ANCHORS_MAX, NULL, name_ok,
          "the name of a trust anchor"),
    CHOICE("unknown_server_name", struct raw_listener, unknown_name, unknown_names, 0),
    CHOICE("version_min", struct config_listener, version_min, versions, CONFIG_TLS_1_2),
    CHOICE("version_max", struct config_listener, version_max, versions, CONFIG_TLS_1_3),
    CHOICE("coap_numbering", struct config_listener, coap_numbering, listener_numberings, CONFIG_NUMBERING_BOTH),
    TEXT("release_version_default", struct config_listener, release_version_default, TREE_TEXT, TREE_EMPTY_OK, "",
         version_ok, "a release version such as \"3\" or \"2a\""),
};

// The defaults of port (0 here) and profile depend on binding and list; parse.c puts them in.
static const struct tree_setting tef[] = {
    TEXT("name", struct config_tef, name, TREE_TEXT, TREE_MANDATORY, NULL, name_ok, NAME_EXPECTED),
    CHOICE("binding", struct raw_tef, binding, bindings, CONFIG_HTTP),
    TEXT("fqdn", struct config_tef, fqdn, TREE_TEXT, TREE_MANDATORY, NULL, server_name_ok, FQDN_EXPECTED),
    TEXT("address", struct raw_tef, host, TREE_TEXT, TREE_MANDATORY, NULL, NULL, ADDRESS_EXPECTED),
    NUMBER(struct raw_tef, port, 1, 65535, 0),
    TEXT("upstream", struct raw_tef, upstream, TREE_TEXT, TREE_MANDATORY, NULL, NULL, "the name of an upstream"),
    TEXT("admin_fqdn", struct config_tef, admin_fqdn, TREE_TEXT, TREE_EMPTY_OK, "", server_name_ok, FQDN_EXPECTED),
    BOOLEAN(struct config_tef, admin_checked, false),
    BOOLEAN(struct config_tef, targets_required, false),
    BOOLEAN(struct config_tef, first_half, false),
    {.name = "register",
     .kind = TREE_BOOL,
     .offset = offsetof(struct config_tef, register_client),
     .default_value = true},
    TEXT("psk_identity", struct config_tef, psk_identity, TREE_TEXT, TREE_EMPTY_OK, "", identity_ok,
         "a PSK identity of at most 512 bytes without control characters"),
    // A reference may hold the PIN of a token.
    TEXT("psk", struct config_tef, psk, TREE_SECRET, TREE_EMPTY_OK, "", NULL,
         "a reference to a key: \"file:PATH\", \"keyring:DESCRIPTION\" or \"pkcs11:…\""),
    TEXT("certificate", struct raw_tef, certificate, TREE_TEXT, TREE_EMPTY_OK, "", name_ok,
         "the name of a certificate"),
    TEXTS("trust_anchors", struct raw_tef, anchors, anchor_count, 0, CONFIG_TRUST_ANCHORS_MAX, NULL, name_ok,
          "the name of a trust anchor"),
    NUMBER(struct config_tef, connections, 1, 16, 4),
    NUMBER(struct config_tef, requests_per_connection, 1, 64, 8),
    NUMBER(struct config_tef, timeout_milliseconds, 10, 60000, 2000),
    NUMBER(struct config_tef, registration_seconds, 60, 31536000, 86400),
    NESTED("profile"),
};

#define MEMBER(m) TEXT(#m, struct tef_profile, m, TREE_TEXT, 0, NULL, member_ok, MEMBER_EXPECTED)

static const struct tree_setting profile[] = {
    TEXT("registration_path", struct tef_profile, registration_path, TREE_TEXT, 0, NULL, base_ok, BASE_EXPECTED),
    TEXT("key_path", struct tef_profile, key_path, TREE_TEXT, TREE_EMPTY_OK, NULL, base_ok, BASE_EXPECTED),
    NUMBER(struct tef_profile, registration_type, 1, 65535, 0),
    NUMBER(struct tef_profile, key_type, 1, 65535, 0),
    MEMBER(registration_root),
    MEMBER(key_root),
    MEMBER(expiration_time),
    MEMBER(labels),
    MEMBER(admin_fqdn),
    MEMBER(suid),
    MEMBER(target_ids),
    MEMBER(source_id),
    MEMBER(key_value),
    MEMBER(relative_key_id),
    MEMBER(resource_id),
    CHOICE("encoding", struct tef_profile, encoding, encodings, TEF_ENCODING_AUTO),
    CHOICE("method", struct tef_profile, method, methods, TEF_METHOD_KEY_RETRIEVAL),
    CHOICE("coap_numbering", struct tef_profile, coap_numbering, tef_numberings, TEF_NUMBERING_CURRENT),
};

static const struct tree_setting resolver[] = {
    NUMBER(struct config_resolver, waiting, 1, 1000000, 10000),
    NUMBER(struct config_resolver, cached, 1, 10000000, 100000),
    NUMBER(struct config_resolver, deadline_milliseconds, 10, 120000, 4000),
    NUMBER(struct config_resolver, negative_seconds, 0, 86400, 10),
    NUMBER(struct config_resolver, cache_seconds, 1, 31536000, 86400),
};

static const struct tree_setting protection[] = {
    NUMBER(struct config_protection, credentials, 0, 3, 0),
    NUMBER(struct config_protection, tef_keys, 0, 3, 0),
    NUMBER(struct config_protection, private_keys, 0, 3, 0),
};

static const struct tree_setting control[] = {
    TEXT("socket", struct raw_control, socket, TREE_PATH, 0, "/run/sagate/control.sock", path_ok, PATH_EXPECTED),
    TEXT("socket_mode", struct raw_control, mode, TREE_TEXT, 0, "0660", mode_ok,
         "an octal mode as a string that gives others nothing, such as \"0660\""),
    TEXT("socket_group", struct raw_control, group, TREE_TEXT, TREE_EMPTY_OK, "", user_ok, "a group name"),
};

static const struct tree_setting metrics[] = {
    TEXT("address", struct raw_metrics, host, TREE_TEXT, 0, "127.0.0.1", NULL, ADDRESS_EXPECTED),
    NUMBER(struct raw_metrics, port, 0, 65535, 9464),
};

GROUP(table_root, "the top level", root);
GROUP(table_process, "process", process);
GROUP(table_limits, "limits", limits);
GROUP(table_certificate, "certificates", certificate);
GROUP(table_trust_anchor, "trust_anchors", trust_anchor);
GROUP(table_server, "servers", server);
GROUP(table_upstream, "upstreams", upstream);
GROUP(table_listener, "listeners", listener);
GROUP(table_tef, "mafs", tef);
GROUP(table_profile, "profile", profile);
GROUP(table_resolver, "resolver", resolver);
GROUP(table_protection, "minimum_protection_level", protection);
GROUP(table_control, "control", control);
GROUP(table_metrics, "metrics", metrics);

const struct tree_group *const table_all[] = {
    &table_process,  &table_limits,  &table_root,     &table_upstream,    &table_server,
    &table_listener, &table_control, &table_metrics,  &table_certificate, &table_trust_anchor,
    &table_tef,      &table_profile, &table_resolver, &table_protection,  NULL};
