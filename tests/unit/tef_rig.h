// A TEF for tests: it serves, over socket pairs and in the test's own event loop, what the test's script answers.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_UNIT_TEF_RIG_H
#define SAGATE_TESTS_UNIT_TEF_RIG_H

#include "controlplane/tef/internal.h"
#include "dataplane/binding/coap/message.h"

enum { RIG_PEERS_MAX = 32, RIG_REQUEST_MAX = 4096, RIG_ANSWER_MAX = 20000 };

#define RIG_IDENTITY "km@maf.example"
#define RIG_KEY      "0123456789abcdef0123456789abcdef"

struct rig;

// Writes the answer to a request; 0 bytes: none. Closing, and later answers, are rig_close and rig_answer.
typedef void rig_script(struct rig *rig, size_t peer, const char *request, char answer[RIG_ANSWER_MAX]);

// The same over CoAP: what is answered goes through rig_coap.
typedef void rig_coap_script(struct rig *rig, size_t peer, const struct coap_message *request);

struct rig {
    struct event_base *base;
    void *ctx; // WOLFSSL_CTX of the server
    struct tef_client *client;
    rig_script *script;
    rig_coap_script *coap; // NULL: HTTP
    bool refuse;           // connections fail as those of a TEF that is down
    bool plain_text;       // speaks no TLS
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
void rig_open_dtls(struct rig *rig, rig_coap_script *script, enum rig_proof proof, bool dtls13, const char *suites);
void rig_close(struct rig *rig);
struct tef_client_settings rig_settings(enum rig_proof proof);
void rig_client(struct rig *rig, const struct tef_client_settings *settings);
void rig_answer(struct rig *rig, size_t peer, const char *answer);
void rig_hang_up(struct rig *rig, size_t peer);
void rig_forget(struct rig *rig, size_t peer); // without a word, and what comes for it is lost

// Sends a message with a response status code (0: none) and a body; a Block2 option unless it is negative.
void rig_coap(struct rig *rig, size_t peer, enum coap_type type, uint8_t code, uint16_t mid,
              const struct coap_token *token, unsigned rsc, int block2, const char *body);

// Fetches "0A1B"; runs the loop until `done` fetches ended or the requests that came are `requests`.
void rig_fetch(struct rig *rig);
void rig_run(struct rig *rig, unsigned done, unsigned requests);
void rig_format(char answer[RIG_ANSWER_MAX], int status, unsigned rsc, const char *body);

#endif
