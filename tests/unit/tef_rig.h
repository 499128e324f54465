// A TEF for tests: it serves, over socket pairs and in the test's own event loop, what the test's script answers.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_UNIT_TEF_RIG_H
#define SAGATE_TESTS_UNIT_TEF_RIG_H

#include "controlplane/tef/internal.h"

enum { RIG_PEERS_MAX = 32, RIG_REQUEST_MAX = 4096, RIG_ANSWER_MAX = 20000 };

#define RIG_IDENTITY "km@maf.example"
#define RIG_KEY      "0123456789abcdef0123456789abcdef"

struct rig;

// Writes the answer to a request; 0 bytes: none. Closing, and later answers, are rig_close and rig_answer.
typedef void rig_script(struct rig *rig, size_t peer, const char *request, char answer[RIG_ANSWER_MAX]);

struct rig {
    struct event_base *base;
    void *ctx; // WOLFSSL_CTX of the server
    struct tef_client *client;
    rig_script *script;
    bool refuse;     // connections fail as those of a TEF that is down
    bool plain_text; // speaks no TLS
    unsigned connects, requests;
    struct rig_peer *peers[RIG_PEERS_MAX];
    char last[RIG_REQUEST_MAX];
    // Results of fetches.
    unsigned done;
    int result;
    struct tef_key key;
};

enum rig_proof { RIG_PSK, RIG_CERTIFICATE };

void rig_open(struct rig *rig, rig_script *script, enum rig_proof proof, bool tls13, const char *suites);
void rig_close(struct rig *rig);
struct tef_client_settings rig_settings(enum rig_proof proof);
void rig_client(struct rig *rig, const struct tef_client_settings *settings);
void rig_answer(struct rig *rig, size_t peer, const char *answer);
void rig_hang_up(struct rig *rig, size_t peer);

// Fetches "0A1B"; runs the loop until `done` fetches ended or the requests that came are `requests`.
void rig_fetch(struct rig *rig);
void rig_run(struct rig *rig, unsigned done, unsigned requests);
void rig_format(char answer[RIG_ANSWER_MAX], int status, unsigned rsc, const char *body);

#endif
