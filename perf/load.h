// What the parts of the load generator share.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_PERF_LOAD_H
#define SAGATE_PERF_LOAD_H

#include "common/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>

enum { LOAD_REQUEST_MAX = 2048, LOAD_TEXT_MAX = 256, LOAD_KEY_MAX = 64 };

enum load_mode {
    LOAD_REQUESTS,  // each device has one request under way, for a time
    LOAD_HANDSHAKE, // as many handshakes as go, for a time
    LOAD_IDLE,      // all devices establish, then some of them send a request
    LOAD_HOLD,      // all devices establish, then orders come on standard input
};

enum load_security { LOAD_NONE, LOAD_DTLS12, LOAD_DTLS13, LOAD_TLS12, LOAD_TLS13 };

// A line of a file of credentials: one device's.
struct load_credential {
    char *identity;
    uint8_t key[LOAD_KEY_MAX];
    unsigned key_len;
};

// In `identity` and `from` "{}" stands for the number of the identity; device i uses identity i mod `identities`.
struct load_options {
    enum load_mode mode;
    enum load_security security;
    struct address target;
    const char *target_text;
    const char *identity; // PSK identity; NULL: certificates
    uint8_t key[LOAD_KEY_MAX];
    unsigned key_len; // the number of the identity is added to the last four bytes (XOR, big-endian)
    unsigned identities;
    const char *credentials_file; // in place of identity and key: identity i is its line i; NULL: none
    struct load_credential *credentials;
    const char *cipher;                        // wolfSSL's name; NULL: its choice
    const char *certificate, *certificate_key; // of the devices, PEM files; NULL: none
    const char *trust;                         // PEM file; NULL: the server's certificate is not judged
    const char *from;                          // originator; NULL: no oneM2M parameters at all
    const char *path;
    uint32_t source;                         // first source address, host byte order
    bool no_cid;                             // do not offer Connection IDs
    unsigned cid_bytes;                      // of the Connection ID that the server is to use; 0: none
    unsigned devices, window, sample, tries; // window: handshakes or requests in progress
    unsigned seconds, warm_up;
};

struct load_counters {
    uint64_t requests, refused;
    uint64_t handshakes, handshakes_failed;
    uint64_t with_cid;      // of the handshakes: Connection IDs were agreed
    uint64_t retransmitted; // requests and flights that were sent again
    uint64_t lost;          // requests without an answer after the last try
    uint64_t again;         // handshakes of devices that had an association before
    uint64_t errors;        // malformed answers, records that do not open, alerts
    uint64_t nonce_repeats; // records whose epoch and sequence number had come before in the association
    uint64_t nonce_unknown; // so far behind the newest that nobody can tell
};

extern struct load_counters load_counters;

noreturn void load_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
double load_cpu_seconds(void);
// One line of JSON with all counters; `event` is its first member, `more` (may be NULL) is put behind it.
void load_report(const char *event, double seconds, double cpu, const char *more);

// options.c: 0, or -1 after a usage message.
int load_options_parse(int argc, char **argv, struct load_options *options);
// "perf{}@sp.example" becomes "perf7@sp.example".
void load_text(const char *pattern, uint32_t number, char out[LOAD_TEXT_MAX]);

// credentials.c: reads a file of lines "IDENTITY HEXKEY" and sets `identities` to their number; ends the program when
// it cannot be read.
void load_credentials_read(struct load_options *options);
void load_credentials_free(struct load_options *options);
// Digits in pairs; what does not fit is left out. The number of bytes.
unsigned load_key_of(const char *hex, uint8_t key[LOAD_KEY_MAX]);

// Writes one request; the length. `number` makes message id, token and request identifier unique. `from`: may be NULL.
size_t load_request_coap(const char *path, const char *from, uint32_t number, uint8_t out[LOAD_REQUEST_MAX]);
size_t load_request_http(const char *path, const char *from, const char *host, uint32_t number,
                         uint8_t out[LOAD_REQUEST_MAX]);

enum load_answer { LOAD_MORE, LOAD_OK, LOAD_REFUSED, LOAD_MALFORMED };

// Judges an answer. CoAP: one datagram; LOAD_MORE for an empty acknowledgement or another request's answer; a separate
// confirmable answer sets *acknowledge and the 4 bytes to send. HTTP: everything received so far for this request;
// *used is the length of the answer when it is whole.
enum load_answer load_answer_coap(const uint8_t *data, size_t len, uint32_t number, bool *acknowledge,
                                  uint8_t acknowledgement[4]);
enum load_answer load_answer_http(const uint8_t *data, size_t len, size_t *used);

// latency.c: one histogram of answer times, logarithmic, about 0.5 % wide.
void latency_add(uint64_t us);
void latency_clear(void);
double latency_percentile(double part);

// stream.c: HTTP over TLS, requests or handshakes; prints its result.
void stream_run(const struct load_options *options);
// tasks.c: CoAP over DTLS or plain UDP, every mode; prints its result.
void fleet_run(const struct load_options *options);

#endif
