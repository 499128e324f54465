// A wolfSSL client and a folded server side in memory, with the client's keys beside it, for tests of streams.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_UNIT_STREAM_PAIR_H
#define SAGATE_TESTS_UNIT_STREAM_PAIR_H

#include "dataplane/record/record.h"
#include "dataplane/record/stream.h"
#include "tests/unit/tls_client.h"

enum {
    PAIR_SEALED = 20000,
    PAIR_LONG = 40000,
    PAIR_SUITES = 11,
    PAIR_TLS12 = 2, // two of the suites
    PAIR_TLS13 = 6, // and all from here on are of TLS 1.3
};

extern const struct pair_suite {
    bool tls13;
    const char *name;
    bool offered; // by listeners, to who has a PSK
} pair_suites[PAIR_SUITES];

extern uint8_t pair_psk[16];
extern uint8_t pair_plain[RECORD_PLAINTEXT_MAX]; // what was opened last
extern uint8_t pair_pattern[PAIR_LONG];

// A client, the folded server side, and the client's keys, to seal what no library would.
struct pair {
    struct tls_client *client;
    WOLFSSL_CTX *context;
    struct session *session;
    struct stream *stream;
    const char *suite;
    int sink_says;
    size_t sent;               // records
    uint8_t last[PAIR_SEALED]; // what the server sent last
    size_t last_len;
    bool tls13;
    struct tls12 tls12; // the client's
    struct tls13 state13;
    uint8_t client_secret[48], server_secret[48];
    size_t secret_len;
};

// Shakes hands and folds; a failure is fatal for the test.
void pair_open(struct pair *pair, const struct pair_suite *suite);
void pair_close(struct pair *pair);

// A record as the client would have sealed it, in PAIR_SEALED bytes: its length.
size_t pair_craft(struct pair *pair, uint8_t type, const void *data, size_t len, uint8_t *out);

// Opens into pair_plain; hands over bytes and does so; seals them first: the status.
int pair_open_next(struct pair *pair, size_t *len);
int pair_give(struct pair *pair, const uint8_t *data, size_t len);
int pair_give_crafted(struct pair *pair, uint8_t type, const void *data, size_t len);

// Opens what the server sent last, one record, as the client would: SAGATE_OK, SAGATE_ENOTFOUND, SAGATE_ERECORD.
int pair_last_sent(struct pair *pair, uint8_t *type, uint8_t *content, size_t cap, size_t *len);
bool pair_sent_alert(struct pair *pair, uint8_t level, uint8_t description);

// True when no buffer is held.
bool pair_idle_is_small(const struct pair *pair);

// Data both ways between the library and the folded side: true when it arrived, and no buffer was left.
bool pair_echo(struct pair *pair, size_t len);

#endif
