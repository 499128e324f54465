// The CoAP binding of a TEF (TS-0008, current option numbers): one message to a request, an answer to one message. A
// body is as long as a datagram; there are no block transfers. Pure; any thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_TEFSERVER_COAP_H
#define SAGATE_CONTROLPLANE_TEFSERVER_COAP_H

#include "controlplane/tefserver/procedures.h"
#include "dataplane/binding/coap/message.h"

enum { COAP_TARGET_MAX = 512, COAP_ANSWER_MAX = 1300 };

// SAGATE_OK with `request` (the target is put together in `target`; the rest points into the message) and `id`, the
// oneM2M-RQI, empty for none. SAGATE_EMALFORMED; SAGATE_EUNSUPPORTED (a critical option that is not known).
int coap_read_request(const struct coap_message *message, char target[COAP_TARGET_MAX],
                      struct procedure_request *request, struct slice *id);

// Writes the answer to `message` into `out`: its length, or SAGATE_ETOOBIG.
int coap_write_answer(const struct coap_message *message, const struct procedure_answer *answer, struct slice id,
                      uint8_t out[COAP_ANSWER_MAX]);

#endif
