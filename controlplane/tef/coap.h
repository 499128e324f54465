// One request to a TEF over CoAP and its answer (TS-0008 over RFC 7252), in blocks where a message would not do
// (RFC 7959). Bytes only, no I/O and no time; any thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_TEF_COAP_H
#define SAGATE_CONTROLPLANE_TEF_COAP_H

#include "controlplane/tef/http.h"
#include "dataplane/binding/coap/message.h"

enum { TEF_COAP_MESSAGE_MAX = 2048, TEF_COAP_BLOCK = 1024 };

struct tef_exchange;

// `message` as for HTTP, copied; its `host` without a port becomes Uri-Host. SAGATE_OK with *exchange for
// tef_exchange_free; SAGATE_ETOOBIG (a path segment of more than 255 bytes, or options that fill a message);
// SAGATE_ENOMEM.
int tef_exchange_new(const struct tef_message *message, enum tef_numbering numbering, struct tef_exchange **exchange);
void tef_exchange_free(struct tef_exchange *exchange); // wipes; NULL is allowed

// The next message of the request, confirmable, under a Message ID and a token that no other message under way has. It
// lives until the next call.
struct slice tef_exchange_next(struct tef_exchange *exchange, uint16_t mid, uint64_t token);

// The message under way: its bytes, to be sent again, and what it is known by.
struct slice tef_exchange_message(const struct tef_exchange *exchange);
uint16_t tef_exchange_mid(const struct tef_exchange *exchange);
bool tef_exchange_is(const struct tef_exchange *exchange, const struct coap_token *token);

// Takes the answer to the message under way (its token has been compared). SAGATE_DONE: `response` is the whole answer,
// `status` in it the class times 100 and the detail (4.04 is 404). SAGATE_AGAIN: the next message must be sent.
// SAGATE_EMALFORMED with response->why: a critical option that is not known, a content format that is not JSON, blocks
// that do not fit together, more than TEF_BODY_MAX bytes. SAGATE_ENOMEM. `response` may be memory of several exchanges:
// it is overwritten, and holds what came (a key, perhaps) until it is reset.
int tef_exchange_take(struct tef_exchange *exchange, const struct coap_message *message, struct tef_response *response);

#endif
