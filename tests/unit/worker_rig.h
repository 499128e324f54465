// One worker over the mem io driver, with everybody around it: devices (real DTLS and TLS clients), a CSE, the control
// process, and a clock that only tests move. SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_UNIT_WORKER_RIG_H
#define SAGATE_TESTS_UNIT_WORKER_RIG_H

#include "common/error.h"
#include "dataplane/io/mem.h"
#include "dataplane/worker/internal.h"
#include "tests/unit/coap_text.h"
#include "tests/unit/tls_client.h"

enum { SCENE_DEVICES = 40, SCENE_CONNECTIONS = 16, SCENE_MESSAGES = 64, SCENE_TEXT = 64 * 1024 };

struct scene_device {
    struct tls_client *client;
    struct address address;
    struct mem_peer *stream; // TLS
    int state;               // of the client's handshake
    bool held;               // what it would send waits in the client
    bool used, dtls;
    uint16_t mid; // of the last CoAP message that it got
};

// A datagram to the CSE, or to an address where no device of the scene is.
struct scene_message {
    io_id socket;
    size_t len;
    uint8_t bytes[IO_DATAGRAM_MAX];
};

struct scene {
    struct config *config;
    struct handshake_files files;
    struct worker_snapshot snapshot;
    int listener_fds[CONFIG_LISTENERS_MAX];
    struct stats *stats;
    struct worker *worker;
    struct io *io;
    int control, channel; // both ends of the plane socket
    int store_fd;         // the memory of DTLS associations
    io_id channel_id;
    bool deaf; // the worker is not told of plane messages
    bool asks; // a RESOLVE is left to the test; else it is answered at once from the identity itself
    unsigned resolves;
    uint8_t *plane;
    struct scene_device devices[SCENE_DEVICES];
    size_t device_count;
    struct mem_peer *connections[SCENE_CONNECTIONS]; // to the CSE
    struct address connected_to[SCENE_CONNECTIONS];
    size_t connection_count;
    bool refuse; // connections to the CSE
    struct scene_message to_cse[SCENE_MESSAGES], strays[SCENE_MESSAGES];
    size_t cse_first, cse_count, stray_count;
    struct scene_message last;                               // what the CSE read last
    int (*round)(struct worker *worker, int64_t timeout_us); // in place of worker_round, if not NULL
    void (*watch)(bool stream, const struct address *from, const uint8_t *data, size_t len); // what devices send
};
extern struct scene scene;

// `limits`: text inside the configuration's limits group. Listeners: DTLS (index 0) and TLS 1.2 and 1.3 (index 1).
void scene_open(const char *limits);
void scene_open_config(const char *text);
const char *scene_config(const char *limits, const char *servers, const char *listeners);
#define SCENE_SERVER "{ name = \"s1\"; http = \"127.0.0.1:8080\"; coap = \"127.0.0.1:5683\"; }"
#define SCENE_DTLS                                                                                                 \
    "{ name = \"dtls\"; transport = \"dtls\"; binding = \"coap\"; address = \"127.0.0.1\"; port = 5684; upstream " \
    "= \"in\"; }"
#define SCENE_TLS                                                                                                  \
    "{ name = \"tls\"; transport = \"tls\"; binding = \"http\"; address = \"127.0.0.1\"; port = 8443; upstream = " \
    "\"in\"; version_max = \"1.3\"; certificates = [ \"one\" ]; }"
// Offers another configuration; `fresh`: indices of listeners that get a new socket, as bits. True when it was taken.
bool scene_swap(const char *text, unsigned fresh);
void scene_close(void);
// The worker ends, keeping its associations, and another one goes on with what is in the store. Streams end.
void scene_restart(void);

void scene_pump(void);                     // until nothing moves
void scene_advance(unsigned milliseconds); // moves the clock, then pumps
uint64_t scene_counted(enum stat_id id);

// Devices. `identity` NULL: checks the certificate instead. The key is made of the identity.
struct scene_device *scene_dtls(const char *identity, const char *host, uint16_t port);
struct scene_device *scene_tls(const char *identity, bool tls13);
struct scene_device *scene_tls_with_suites(const char *identity, bool tls13, const char *suites);
struct slice scene_key(const char *identity);
struct scene_device *scene_dtls_with_key(const char *identity, struct slice key, const char *host, uint16_t port);
// One that offers connection_id (RFC 9146, RFC 9147), for itself with the value `own`, which may be empty.
struct scene_device *scene_dtls_with_cid(const char *identity, bool dtls13, struct slice own, const char *host,
                                         uint16_t port);
// The same with AES-128-CCM-8, whatever the version, so that its records may be worked on side by side.
struct scene_device *scene_dtls_with_ccm(const char *identity, bool dtls13, const char *host, uint16_t port);
// One with a certificate of its own (PEM), or none (NULL), and the key of tls_device_certificates.h.
struct scene_device *scene_with_certificate(const char *pem, bool dtls, bool tls13, const char *host, uint16_t port);
// Its address changes, as behind a NAT.
void scene_move(struct scene_device *device, const char *host, uint16_t port);
// Has sent its ClientKeyExchange and keeps the rest of its last flight.
struct scene_device *scene_dtls_without_finished(const char *identity, const char *host, uint16_t port);
bool scene_establish(struct scene_device *device); // pumps; true when the handshake is done
void scene_drop(struct scene_device *device);      // it is gone without a word
void scene_inject(const struct address *from, const void *data, size_t len);
void scene_flush(struct scene_device *device); // sends what waits in a held device's client, once

// CoAP in the form of coap_text.h. A device's message, what it gets (NULL: nothing), and the same for the CSE.
void scene_device_says(struct scene_device *device, uint16_t mid, const char *text);
bool scene_device_hears(struct scene_device *device, const char *text);
bool scene_cse_hears(const char *text);
void scene_cse_says(const char *text); // with message id and "@*" of what it read last

// HTTP. Text that lives until the next call.
void scene_device_writes(struct scene_device *device, const char *text);
const char *scene_device_reads(struct scene_device *device);
const char *scene_cse_reads(size_t connection);
void scene_cse_writes(size_t connection, const char *text);

// Control. The next message, NULL when there is none; valid until the next call.
const struct plane_message *scene_control_hears(void);
bool scene_control_hears_resolve(const char *identity);
void scene_control_says(const struct plane_message *message);
// Answers as the resolver would: identity "X" has credential "12-X" and AE-ID "CX"; "wild…": the pattern "C*".
void scene_resolved(const char *identity, int result, const char *aes);
struct slice scene_principal(const char *identity, const char *aes);

#endif
