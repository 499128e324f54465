// Requests over an association, each awaited until its answer or the deadline, and reported.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_DEVICE_EXCHANGE_H
#define SAGATE_CONTROLPLANE_DEVICE_EXCHANGE_H

#include "controlplane/device/link.h"
#include "controlplane/device/message.h"

// Sends `request` and fills `reply`. The token (CoAP) is chosen when it is empty. EXIT_DONE: there is an answer, good
// or not; else the failure was reported and this is the exit status.
int exchange_coap(struct link *link, const struct options *options, struct request *request, struct coap_token *token,
                  struct reply *reply, const struct report *report);
int exchange_http(struct link *link, const struct options *options, const struct request *request, struct reply *reply,
                  const struct report *report);

// Waits for one more message with this token, `timeout` seconds at most.
int exchange_await(struct link *link, const struct options *options, const struct coap_token *token,
                   struct reply *reply, const struct report *report);

// Eight bytes that nobody can foretell, for identifiers.
uint64_t exchange_random(void);

// Reports an answer as the step `step`; EXIT_DONE or EXIT_REFUSED.
int exchange_tell(const struct reply *reply, const char *step, const struct report *report);

#endif
