// The configuration: a libconfig file, checked whole, as one immutable object.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_CONFIG_CONFIG_H
#define SAGATE_CONTROLPLANE_CONFIG_CONFIG_H

#include "common/address.h"
#include "common/log.h"
#include "controlplane/tef/profile.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum config_transport { CONFIG_DTLS, CONFIG_TLS };
enum config_binding { CONFIG_COAP, CONFIG_HTTP };
enum config_numbering { CONFIG_NUMBERING_CURRENT, CONFIG_NUMBERING_OLD, CONFIG_NUMBERING_BOTH };
enum config_from_form { CONFIG_FROM_STEM, CONFIG_FROM_SP_RELATIVE, CONFIG_FROM_ABSOLUTE };
enum config_identity {
    CONFIG_IDENTITY_NONE,
    CONFIG_IDENTITY_HEADERS,
    CONFIG_IDENTITY_OPTIONS,
    CONFIG_IDENTITY_PROXY_V2
};
enum config_health { CONFIG_HEALTH_NONE, CONFIG_HEALTH_CONNECT, CONFIG_HEALTH_REQUEST, CONFIG_HEALTH_PING };
enum config_kernel_tls { CONFIG_KERNEL_TLS_AUTO, CONFIG_KERNEL_TLS_ON, CONFIG_KERNEL_TLS_OFF };
enum config_tls_version { CONFIG_TLS_1_2, CONFIG_TLS_1_3 };
enum config_client_certificates {
    CONFIG_CLIENT_CERTIFICATES_NONE,
    CONFIG_CLIENT_CERTIFICATES_OPTIONAL,
    CONFIG_CLIENT_CERTIFICATES_REQUIRED
};

enum {
    CONFIG_LISTENERS_MAX = 64,
    CONFIG_SERVERS_MAX = 64,
    CONFIG_WORKERS_MAX = 64,
    CONFIG_CERTIFICATES_MAX = 256,
    CONFIG_TRUST_ANCHORS_MAX = 64,
    CONFIG_TEFS_MAX = 32
};

struct config_process {
    char *user;            // of the data process; "" keeps the caller's
    char *control_user;    // of the control process
    char *state_directory; // registrations learned from CSEs
    unsigned workers;      // 0 in the file: one per core; here never 0
    bool pin_workers;      // and the control process to cores without one, where there are such
    unsigned control_nice; // how much the control process gives way to workers
    bool lock_memory;      // keep the keys of associations out of swap space
    enum log_level log_level;
    enum config_kernel_tls kernel_tls;
};

struct config_limits {
    unsigned handshakes;                // in progress, per worker
    unsigned handshake_seconds;         // deadline of one handshake
    unsigned parked;                    // handshakes waiting for the control plane, per worker
    unsigned parked_milliseconds;       // deadline of one wait
    unsigned associations;              // per worker
    unsigned association_idle_seconds;  // without a record from the peer
    unsigned associations_per_identity; // of one Credential-ID, per worker; 0: any number
    unsigned eviction_idle_seconds;    // a full table gives up the longest idle association, if idle that long; 0: none
    unsigned connection_id_bytes;      // of the Connection IDs that are issued (RFC 9146, 9147): 4 … 8, 0: none
    unsigned session_ticket_seconds;   // for which a ticket is good, TLS and DTLS; 0: no tickets
    unsigned connections;              // accepted TCP connections per worker
    unsigned requests_per_association; // in flight
    unsigned coap_exchange_bytes;      // memory for recorded exchanges, per worker
    unsigned observations_per_association;
    unsigned http_head_bytes;
    unsigned http_head_seconds;      // from the first byte of a head to its last
    unsigned http_idle_seconds;      // between two requests
    unsigned http_body_seconds;      // for each quarter of http_body_buffer_bytes of a body
    unsigned http_body_buffer_bytes; // a body up to this is checked whole before the CSE sees a byte of it
    unsigned http_body_bytes;        // longest body
    unsigned content_depth;          // nesting of JSON, CBOR, XML
};

struct config_certificate {
    char *name;
    char *chain_file; // PEM, leaf first
    char *key_file;   // PEM
    size_t server_name_count;
    char **server_names; // lower case, exact; for SNI
};

struct config_trust_anchor {
    char *name;
    char *file; // PEM, one or more certificates of CAs
};

struct config_listener {
    char *name;
    enum config_transport transport;
    enum config_binding binding;
    struct address address;
    size_t upstream; // index into config.upstreams
    bool psk;
    size_t certificate_count;
    size_t *certificates;                                // indices; the first is the default
    enum config_client_certificates client_certificates; // of devices (TS-0003 8.2.2.2)
    size_t trust_anchor_count;
    size_t *trust_anchors;            // indices
    bool unknown_server_name_refused; // else the default certificate serves
    enum config_tls_version version_min, version_max;
    enum config_numbering coap_numbering; // which oneM2M option numbers devices may use
    char *release_version_default;        // rvi given to a request that has none; "" forwards it without
};

struct config_server {
    char *name;
    size_t number; // index in stats.servers, unique in the whole configuration
    bool has_http, has_coap;
    struct address http, coap;
    unsigned weight; // 1 … 100
};

struct config_upstream {
    char *name;
    char *sp_id;  // "//sp.example"
    char *cse_id; // "/id-in"
    enum config_identity http_identity, coap_identity;
    enum config_numbering coap_numbering; // current or old
    enum config_from_form from_form;
    char
        *authorization; // whole value of the Authorization header towards an HTTP CSE, or "" (secret; read from a file)
    size_t full_access_count;
    char *
        *full_access_originators;  // refused from every device, whatever its credential says; compared in absolute form
    unsigned request_id_bytes;     // longest request identifier that this CSE takes
    unsigned request_milliseconds; // deadline of one request
    unsigned requests;             // in flight per worker and server
    unsigned connections;          // HTTP connections per worker and server
    unsigned connection_idle_seconds;
    unsigned coap_source_ports; // UDP sockets per worker and server
    enum config_health http_health, coap_health;
    char *health_path;       // request target, for instance "/"
    char *health_originator; // X-M2M-Origin of health requests
    unsigned health_seconds, health_timeout_milliseconds;
    unsigned health_rise, health_fall; // answers in a row that change the state
    bool registration_substitute; // an AE with one fixed AE-ID that registers as "", "C" or "S" gets that AE-ID; else
                                  // 4106
    size_t server_count;
    struct config_server *servers;
};

// A MAF or MEF that keys are fetched from (TS-0003 8.2.2.3, 8.3.4.3).
struct config_tef {
    char *name;
    enum tef_kind kind;
    bool coap;  // CoAP over DTLS, else HTTP over TLS
    char *fqdn; // lower case: what stands after '@' in identities, server name and name in its certificate
    struct address address;
    size_t upstream;       // whose CSE-ID sagate has towards it; index into config.upstreams
    char *admin_fqdn;      // administrating stakeholder of registrations
    bool admin_checked;    // an answer must name admin_fqdn
    bool targets_required; // an answer without targets is refused
    bool first_half;       // the PSK is the first half of a key (TS-0003 8.8.1), else the whole one (8.2.2.3)
    bool register_client;
    char *psk_identity; // KmID; "" with a certificate
    char *psk;          // keystore reference (controlplane/keystore/keystore.h); "" with a certificate
    size_t certificate; // index; only without psk_identity
    size_t trust_anchor_count;
    size_t *trust_anchors; // indices; what the TEF's certificate is verified with
    unsigned connections, requests_per_connection, timeout_milliseconds, registration_seconds;
    struct tef_profile profile; // every string is its own
};

struct config_resolver {
    unsigned waiting; // identities that are being asked for at TEFs
    unsigned cached;  // keys and unknown identities that are held
    unsigned deadline_milliseconds;
    unsigned negative_seconds; // for which an unknown identity is remembered
    unsigned cache_seconds;    // for which a key is held at most
};

// The least protection level (TS-0003 6.3.1) of a home of long-term keys, by kind of credential.
struct config_protection {
    unsigned credentials, tef_keys, private_keys; // Kpsa in credentials_file; Km; keys of certificates
};

struct config {
    struct config_process process;
    struct config_limits limits;
    size_t certificate_count;
    struct config_certificate *certificates;
    size_t trust_anchor_count;
    struct config_trust_anchor *trust_anchors;
    size_t upstream_count;
    struct config_upstream *upstreams;
    size_t listener_count;
    struct config_listener *listeners;
    size_t tef_count;
    struct config_tef *tefs;
    struct config_resolver resolver;
    struct config_protection minimum_protection_level;
    char *credentials_file; // "" for none
    char *control_socket;   // path
    mode_t control_socket_mode;
    char *control_socket_group; // "" keeps the caller's
    struct address metrics;     // len 0: no metrics listener
    char *text;                 // the whole configuration without @include, for the control process
};

// Where errors go: one complete line each ("FILE:LINE: setting 'a.b': what is wrong, what was expected").
struct config_errors {
    size_t count;
    char *text; // lines joined by '\n'; NULL when there is none
};
void config_errors_free(struct config_errors *errors);

// Reads, checks and completes a configuration file. Relative paths in it are taken from the file's own folder.
// SAGATE_OK with *config owned by the caller; SAGATE_ECONFIG with every error found, not only the first; SAGATE_ENOMEM.
// Opens no file but the configuration, its includes and the authorization files.
int config_load(const char *path, struct config **config, struct config_errors *errors);

// The same from the text that config.text of another process holds (checked again: it crosses a process boundary).
int config_parse(const char *text, struct config **config, struct config_errors *errors);

// The same text without MAFs and MEFs, for the data process, which has nothing to do with them: a reference to a key
// may hold the PIN of a token. To wipe and free; NULL when memory is short.
char *config_text_for_data(const struct config *config);

// Gives `config` the values of `running` for what only a new start changes: process.workers, user, control_user,
// state_directory, lock_memory, limits.associations and limits.connection_id_bytes; its text follows. 1 when one of
// them was different, 0 when none was, SAGATE_ENOMEM (then config_free is all that may be done with it).
int config_keep_fixed(struct config *config, const struct config *running);

// Where a TEF stands in the file, for messages; in config.tefs the MAFs come first.
struct config_tef_place {
    const char *list; // "mafs" or "mefs"
    size_t index;     // in it
};
struct config_tef_place config_tef_place(const struct config *config, size_t tef);

void config_free(struct config *config); // zeroises secrets; NULL is allowed

// What the configuration would do, for people ("sagate -t"); a string to free, NULL when memory is short.
char *config_describe(const struct config *config);

#endif
