// The HTTP binding of a TEF (TS-0009): requests from a stream, with a body of a stated length, and answers as bytes.
// No I/O; any thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_TEFSERVER_MESSAGE_H
#define SAGATE_CONTROLPLANE_TEFSERVER_MESSAGE_H

#include "controlplane/tefserver/procedures.h"
#include "dataplane/binding/http/head.h"

enum { MESSAGE_HEAD_MAX = 8192, MESSAGE_ID_MAX = 255 };

// One request being read.
struct message {
    struct http_head head;
    bool head_done;
    uint8_t *body; // secret memory
    size_t body_len, body_have;
    struct procedure_request request; // complete: slices into the head and the body
    struct slice id;                  // X-M2M-RI; empty for none
    bool close;                       // the connection is to end with the answer
};

void message_init(struct message *message);
void message_release(struct message *message); // wipes the body; message_init begins the next

// Takes bytes; *used says how many. SAGATE_OK: `request` is complete. SAGATE_AGAIN: all are taken, more is needed.
// Else the request gets a refusal (message_refusal) and the connection ends: SAGATE_EMALFORMED, SAGATE_ETOOBIG,
// SAGATE_EVERSION (not HTTP/1.1), SAGATE_EUNSUPPORTED (a method or an encoding that is not there), SAGATE_ENOMEM.
int message_feed(struct message *message, const uint8_t *data, size_t len, size_t *used);

// The response status code for such an error.
enum onem2m_rsc message_refusal(int error);

// Appends the answer; `out` may come to hold a key. `id`: X-M2M-RI of the request, may be empty.
void message_answer(const struct procedure_answer *answer, struct slice id, bool close, struct buffer *out);

#endif
