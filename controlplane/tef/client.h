// The client of one TEF (MAF or MEF): registration and its renewal, key retrieval, over TLS (HTTP binding) or DTLS
// (CoAP binding) with PSK or certificate, kept-alive connections, back-off (TS-0003 8.8.2, 8.3.5.2; TS-0032). Works in
// the event loop of one thread; never blocks.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_TEF_CLIENT_H
#define SAGATE_CONTROLPLANE_TEF_CLIENT_H

#include "common/address.h"
#include "common/slice.h"
#include "controlplane/tef/answer.h"
#include "controlplane/tef/profile.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

enum tef_binding { TEF_HTTP, TEF_COAP };

// What a client is made of; copied. Exactly one of psk and certificate.
struct tef_client_settings {
    enum tef_kind kind;
    enum tef_binding binding;
    const char *name; // in the configuration, for logs
    const char *fqdn; // server name, Host, and what a certificate must show (TS-0003 10.1.1.7)
    struct address address;
    const struct tef_profile *profile;                    // outlives the client
    const char *client_id;                                // absolute CSE-ID: From of requests
    const char *admin_fqdn;                               // of the administrating stakeholder
    const char *psk_identity;                             // KmID; NULL: certificate
    struct slice psk;                                     // Km; copied into a secret
    struct slice certificate, private_key, trust_anchors; // PEM; copied
    bool register_client;                                 // register at start, renew, de-register at the end
    unsigned connections;                                 // at most, at once: 1 … 16
    unsigned in_flight;            // requests on one connection before another is opened: 1 … 64
    unsigned timeout_ms;           // of one request, connecting included
    unsigned registration_seconds; // lifetime that is asked for
    unsigned fetch_suid;           // for TEF_METHOD_FETCH_CREDENTIALS; 0: TEF_SUID_KPSA
};

// Results: SAGATE_OK with a key that has key_len > 0, or
//   SAGATE_ENOTFOUND     the TEF has no such key, or not for us (4xx, 4004, 4103)
//   SAGATE_EMALFORMED    the answer is not one (nonsense, too long, a key of a wrong length)
//   SAGATE_ETIMEOUT      no answer in time
//   SAGATE_EUNAVAILABLE  no connection, or the TEF failed (5xx)
//   SAGATE_EHANDSHAKE    the TEF did not prove who it is, or did not take our credential
//   SAGATE_ELIMIT        as many requests wait as are allowed
typedef void tef_done(void *context, int result, const struct tef_key *key); // the key ends with the call

struct tef_client;

// SAGATE_OK; SAGATE_EINVAL with the reason in `why` (TEF_ERROR_MAX bytes); SAGATE_ENOMEM. Connects when first needed,
// or at once to register.
enum { TEF_ERROR_MAX = 256 };
int tef_client_new(struct event_base *base, const struct tef_client_settings *settings, struct tef_client **client,
                   char why[TEF_ERROR_MAX]);

// Whether the credential and the trust anchors of these settings are usable, of which only these and `fqdn` are looked
// at: as tef_client_new. Any thread.
int tef_client_check(const struct tef_client_settings *settings, char why[TEF_ERROR_MAX]);

// Fails what waits with SAGATE_EUNAVAILABLE (callbacks are called), closes, wipes. NULL is allowed. Not from a
// callback.
void tef_client_free(struct tef_client *client);

// Fetches a key by its RelativeKeyID (already checked). `done` is called exactly once, later, never from inside.
// SAGATE_OK; SAGATE_ELIMIT, SAGATE_ENOMEM: `done` will not be called.
int tef_client_fetch(struct tef_client *client, struct slice relative_key_id, tef_done *done, void *context);

// De-registers; `done` (may be NULL) when the answer is there, it failed or `timeout_ms` passed. For the shutdown.
void tef_client_leave(struct tef_client *client, unsigned timeout_ms, void (*done)(void *context), void *context);

enum { TEF_LATENCY_BUCKETS = 12 }; // upper bounds in ms: 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, +Inf
extern const unsigned tef_latency_bounds[TEF_LATENCY_BUCKETS - 1];
struct tef_status {
    bool registered; // or need not be
    int64_t registration_expires_at;
    unsigned connections, waiting, in_flight;
    uint64_t requests, ok, not_found, malformed, timeouts, unavailable, handshake_failures, refused, connects;
    uint64_t latency[TEF_LATENCY_BUCKETS], latency_sum_us; // of answered requests
    char last_error[TEF_ERROR_MAX];                        // the newest, "" for none; holds no key
    int64_t last_error_at;
};
void tef_client_status(const struct tef_client *client, struct tef_status *status);

#endif
