// Requests of a device as bytes, and what comes back: CoAP (TS-0008) and HTTP (TS-0009). Pure functions; any thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_DEVICE_MESSAGE_H
#define SAGATE_CONTROLPLANE_DEVICE_MESSAGE_H

#include "common/onem2m.h"
#include "dataplane/binding/coap/message.h"

enum { REQUEST_MAX = 72 * 1024, CONTENT_MAX = 64 * 1024, COAP_CONTENT_MAX = 1024, REPLY_ID_MAX = 256 };
enum observe { OBSERVE_NOT, OBSERVE_BEGIN, OBSERVE_END };

struct request {
    enum onem2m_operation operation;
    const char *to, *from, *host, *id;
    unsigned type; // 0: none
    struct slice content;
    enum observe observe; // CoAP
    uint32_t block;       // CoAP: number of the Block2 that is asked for, 0: none
    uint32_t block_size;  // its size in bytes
};

struct reply {
    int code;  // HTTP status, or CoAP code
    int rsc;   // 0: the answer has none
    bool coap; // what `code` is
    bool observed, more;
    uint32_t sequence, block, block_size; // CoAP: of Observe, of Block2
    char id[REPLY_ID_MAX];                // request identifier, "" when there is none
    size_t content_len;
    uint8_t content[CONTENT_MAX];
};

// The length, or SAGATE_ETOOBIG. CoAP takes at most COAP_CONTENT_MAX bytes of content.
int request_write_coap(const struct request *request, uint16_t mid, const struct coap_token *token, uint8_t *out,
                       size_t cap);
int request_write_http(const struct request *request, uint8_t *out, size_t cap);

// One datagram. SAGATE_OK: the answer to the request with this token, appended to `reply` when its block goes on from
// there. SAGATE_AGAIN: nothing of it (an empty acknowledgement, another's answer). SAGATE_EGONE: a reset.
// SAGATE_EMALFORMED, SAGATE_ETOOBIG. `acknowledge`: the message wants an ACK with Message ID `mid`.
int reply_read_coap(const uint8_t *data, size_t len, const struct coap_token *token, struct reply *reply,
                    bool *acknowledge, uint16_t *mid);

// What has come so far, with `ended` when nothing more will: SAGATE_OK, SAGATE_AGAIN (incomplete), SAGATE_EMALFORMED,
// SAGATE_ETOOBIG, SAGATE_EVERSION, SAGATE_ENOMEM.
int reply_read_http(const uint8_t *data, size_t len, bool ended, struct reply *reply);

// Whether the answer is a success: by its response status code, or without one by the code of the binding.
bool reply_good(const struct reply *reply);

#endif
