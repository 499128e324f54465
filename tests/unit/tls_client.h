// A wolfSSL client over memory, for tests and measurements: PSK or server certificate, DTLS or TLS, no I/O.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_UNIT_TLS_CLIENT_H
#define SAGATE_TESTS_UNIT_TLS_CLIENT_H

#include "common/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tls_client;

struct tls_client_options {
    bool dtls;               // else TLS
    bool tls13;              // 1.3 only; else 1.2 only
    bool any_version;        // DTLS: offers 1.3 and 1.2
    bool psk_alone;          // (D)TLS 1.3: PSK without (EC)DHE (psk_ke)
    bool offer_cid;          // DTLS: offers the extension connection_id, for itself with this value; may be empty
    struct slice cid;        // not copied
    const char *ciphers;     // wolfSSL names, colon separated
    const char *identity;    // NULL: no PSK
    struct slice key;        // copied
    const char *psk_suite13; // TLS 1.3: the suite that goes with the PSK; NULL: TLS13-AES128-GCM-SHA256
    const char *server_name; // sent as SNI and checked against the certificate; NULL: neither
    const char *ca;          // PEM to check the server with; NULL: not checked
    const char *certificate; // the client's own, PEM, with others behind it; and its key
    const char *certificate_key;
    bool single_messages; // one datagram or write for each handshake message, instead of grouped
};

// NULL when it cannot be made. Free with tls_client_free (NULL is allowed).
struct tls_client *tls_client_new(const struct tls_client_options *options);
void tls_client_free(struct tls_client *client);

// Goes on with the handshake: SAGATE_AGAIN (hand over input), SAGATE_DONE, SAGATE_EHANDSHAKE.
int tls_client_run(struct tls_client *client);
// DTLS: sends its last flight again.
void tls_client_timeout(struct tls_client *client);

// Hands over what the server sent (a datagram, or bytes; copied), and takes what is to be sent: the next datagram or
// write, valid until the next call of any function; false when there is none.
void tls_client_input(struct tls_client *client, const uint8_t *data, size_t len);
bool tls_client_output(struct tls_client *client, struct slice *out);

// Application data: SAGATE_OK or SAGATE_EGONE; and bytes read, 0 when there is nothing,
// SAGATE_EGONE when the server has closed or sent a fatal alert.
int tls_client_write(struct tls_client *client, const void *data, size_t len);
int tls_client_read(struct tls_client *client, void *out, size_t cap);
void tls_client_close(struct tls_client *client);
// (D)TLS 1.3: sends a KeyUpdate.
bool tls_client_update_keys(struct tls_client *client);

// The last alert that came (its description), or -1.
int tls_client_alert(const struct tls_client *client);
const char *tls_client_cipher(const struct tls_client *client);
// The WOLFSSL object itself (struct WOLFSSL).
void *tls_client_object(const struct tls_client *client);

#endif
