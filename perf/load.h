// What the parts of the load generator share.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_PERF_LOAD_H
#define SAGATE_PERF_LOAD_H

#include "common/address.h"
#include "perf/latency.h"
#include "perf/request.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>

enum { LOAD_TEXT_MAX = 256, LOAD_KEY_MAX = 64 };

enum load_mode {
    LOAD_REQUESTS,  // each device has one request under way, or requests come at a rate, for a time
    LOAD_HANDSHAKE, // as many handshakes as go, for a time
    LOAD_IDLE,      // all devices establish, then some of them send a request
    LOAD_HOLD,      // all devices establish, then orders come on standard input
    LOAD_FLOOD,     // datagrams that lead to nothing
};

enum load_security { LOAD_NONE, LOAD_DTLS12, LOAD_DTLS13, LOAD_TLS12, LOAD_TLS13 };

enum load_flood { FLOOD_HELLO, FLOOD_GARBAGE, FLOOD_RECORD, FLOOD_COOKIE };

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
    unsigned rate;  // open loop: requests per second over all devices; 0: closed
    unsigned think; // closed loop: milliseconds between an answer and the next request, in the mean; 0: none
    struct request_mix mix;
    unsigned payload;       // bytes of the content of a create
    unsigned rebind, churn; // seconds in the mean; 0: never
    enum load_flood flood;
    bool histogram, progress, resume, alerts;
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
    uint64_t rebound;       // devices that went on from another endpoint
    uint64_t churned;       // associations that were ended, to be made anew
    uint64_t resumed;       // of the handshakes: with a ticket
    uint64_t alerted;       // with --alerts: handshakes that the server ended with an alert
    uint64_t operations[REQUEST_OPERATIONS]; // of the requests
};

extern struct load_counters load_counters;
extern struct latency load_latency; // of answers, or of handshakes in their mode
extern struct latency load_late;    // open loop: how late requests went by the generator's own fault

noreturn void load_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
double load_cpu_seconds(void);
// One line of JSON with all counters; `event` is its first member, `more` (may be NULL) is put behind it. `waited`:
// requests of an open loop that found no device.
struct load_report {
    const char *event, *more;
    double seconds, cpu;
    uint64_t waited;
};
void load_report(const struct load_options *options, const struct load_report *report);
// Begins to count anew.
void load_clear(void);

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

// tasks.c: CoAP over DTLS or plain UDP, HTTP over TLS, every mode but floods; prints its result.
void tasks_run(const struct load_options *options);
// flood.c: prints its result.
void flood_run(const struct load_options *options);

#endif
