// The procedures of a MAF and an MEF: from a request and who sent it to an answer, over the store. No I/O but that.
// TS-0003 8.8.2, 8.3.5.2, 8.3.2.1; TS-0032. One thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_TEFSERVER_PROCEDURES_H
#define SAGATE_CONTROLPLANE_TEFSERVER_PROCEDURES_H

#include "common/onem2m.h"
#include "controlplane/tefserver/settings.h"
#include "controlplane/tefserver/store.h"

// X(id, name in logs and metrics)
#define PROCEDURES(X)                                 \
    X(NONE, "none")                                   \
    X(CLIENT_REGISTRATION, "client_registration")     \
    X(CLIENT_RETRIEVAL, "client_retrieval")           \
    X(CLIENT_UPDATE, "client_update")                 \
    X(CLIENT_DEREGISTRATION, "client_deregistration") \
    X(KEY_REGISTRATION, "key_registration")           \
    X(KEY_RETRIEVAL, "key_retrieval")                 \
    X(KEY_UPDATE, "key_update")                       \
    X(KEY_DEREGISTRATION, "key_deregistration")       \
    X(FETCH_CREDENTIALS, "fetch_credentials")

enum procedure {
#define X(id, name) PROCEDURE_##id,
    PROCEDURES(X)
#undef X
        PROCEDURE_TOTAL
};
const char *procedure_name(enum procedure procedure);

// Who sent a request, as the handshake proved it, and what its session exports (TS-0003 10.3.1).
struct procedure_peer {
    const char *client_id;
    const uint8_t *exported;  // DERIVE_EXPORTED bytes; NULL: the session exports none
    const struct tef_key *km; // what it brought from an MEF, to be assigned to it here; NULL: none
};

struct procedure_request {
    enum onem2m_operation operation;
    unsigned type;       // of a CREATE; 0: none was given
    struct slice target; // absolute path without query
    struct slice origin; // X-M2M-Origin; data NULL: absent
    struct slice content;
};

struct procedure_answer {
    enum onem2m_rsc rsc;
    enum procedure procedure;
    char id[TEF_ID_MAX + 1]; // of the resource, "" for none
    char *content;           // JSON, NULL for none; may hold a key: procedure_answer_release wipes it
};
void procedure_answer_release(struct procedure_answer *answer);

// Always gives an answer. `now` in wall-clock seconds.
void procedure_run(const struct settings *settings, const struct settings_function *function, struct tef_store *store,
                   const struct procedure_peer *peer, const struct procedure_request *request, int64_t now,
                   struct procedure_answer *answer);

// A key of this many random bytes and a random RelativeKeyID, for "key add". False when the kernel gives none.
bool procedure_random_key(struct tef_key *key, size_t len);

#endif
