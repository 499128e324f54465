// The options and content of answers to devices: those of a CSE, translated, and those that sagate gives itself.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_BINDING_COAP_ANSWER_H
#define SAGATE_DATAPLANE_BINDING_COAP_ANSWER_H

#include "common/onem2m.h"
#include "dataplane/binding/coap/message.h"
#include "dataplane/binding/coap/numbering.h"

// What of the request comes back in its answer. data NULL: the request had none.
struct answer_echo {
    enum numbering numbering;
    enum onem2m_operation operation; // 0: could not be told
    struct slice request_id, release_version;
};

// An answer without its head. Options and payload point into the message, the echo, or the answer itself, which must
// not be moved.
struct answer {
    uint8_t code;
    int rsc; // 0: none (2.31)
    struct coap_list options;
    struct slice payload;
    char text[160];
};

// Translates a CSE's answer from the upstream's numbering into the request's: oneM2M options by the table, the request
// identifier put back, RSC derived from the code when the CSE gave none, options that travel and unknown elective
// safe-to-forward ones as they are, all else left out.
// SAGATE_OK, or SAGATE_EMALFORMED: an unknown critical option or one of a bad length (RFC 7252 5.4.1).
int answer_translate(const struct coap_message *message, enum numbering from, const struct answer_echo *echo,
                     struct answer *answer);

// sagate's own: RSC, RQI, RVI and {"m2m:dbg":"…"}. `code` 0: the one that belongs to `rsc`. `debug` needs no escaping
// in JSON. `max_age` in seconds, 0: none.
void answer_own(const struct answer_echo *echo, uint8_t code, int rsc, const char *debug, unsigned max_age,
                struct answer *answer);

// Response status code for a CoAP code, for answers that carry none; 0 for 2.31.
int answer_rsc_of_code(uint8_t code, enum onem2m_operation operation);

// Writes the whole message: its length, or SAGATE_ETOOBIG.
int answer_write(struct answer *answer, enum coap_type type, uint16_t mid, const struct coap_token *token, uint8_t *out,
                 size_t cap);

#endif
