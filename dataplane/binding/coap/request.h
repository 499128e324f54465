// A device's CoAP request read as a oneM2M primitive, and the same primitive written for a CSE (TS-0008 6.2).
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_BINDING_COAP_REQUEST_H
#define SAGATE_DATAPLANE_BINDING_COAP_REQUEST_H

#include "common/stats.h"
#include "dataplane/binding/coap/message.h"
#include "dataplane/binding/coap/numbering.h"
#include "dataplane/binding/device.h"
#include "dataplane/binding/primitive.h"
#include "dataplane/pep/pep.h"

enum { COAP_TO_MAX = 1024, COAP_NO_FORMAT = -1, COAP_NO_OBSERVE = -1 };

struct coap_request {
    const struct coap_message *message;
    enum numbering numbering;
    struct primitive primitive;              // points into the datagram and into `to`
    struct slice options[NUMBERING_OPTIONS]; // of the oneM2M options that are there; data NULL: absent
    uint32_t present;                        // the same as bits
    int content_format;
    bool has_block1;
    struct coap_block block1;
    int observe;             // of a GET: 0 register, 1 deregister
    struct slice query_from; // an originator in a query "fr=…"; data NULL: none
    size_t to_len;
    char to[COAP_TO_MAX];
    // Of each option of the message: its row when it is one of oneM2M's, else -1; then its entry among the standard
    // options, or NULL when it is none, or one that is ill-sized or repeated without leave.
    int16_t rows[COAP_OPTIONS_MAX];
    const struct standard_option *standard[COAP_OPTIONS_MAX];
};

// One block of several of a request's content.
static inline bool coap_request_in_blocks(const struct coap_request *request)
{
    return request->has_block1 && (request->block1.number > 0 || request->block1.more);
}

// Why a request is not forwarded.
struct coap_refusal {
    uint8_t code; // CoAP code; 0: the one that belongs to `rsc`
    int rsc;
    enum stat_id counter;
    const char *debug; // static
    bool rejected;     // RFC 7252 5.4.1: a non-confirmable message is rejected in silence
};

// Reads a request. SAGATE_OK; SAGATE_EDENIED with *refusal filled. In both cases numbering, request identifier,
// release version and operation (0: cannot be told) are filled as far as they are there, for the answer.
// Refused are: methods without a oneM2M operation (4.05), proxy options (5.05); with 4.02 unknown critical options,
// repeated or ill-sized oneM2M options and mixed numberings; with 4000 a request identifier that is missing or longer
// than `request_id_max`, and paths and queries that two readers could understand in two ways.
int coap_request_read(const struct coap_message *message, const struct config_listener *listener,
                      unsigned request_id_max, struct coap_request *request, struct coap_refusal *refusal);

// Adds the options of the request as the CSE gets them: what travels (numbering.h) unchanged, oneM2M options in the
// numbering of the upstream, FR from the verdict, sagate's identity options when the upstream takes them. The list
// points into the request, the verdict, the device's principal and `peer_text`, which must outlive it.
// `with_observe` false leaves Observe out. SAGATE_OK, or SAGATE_EDENIED with *refusal filled: an option that the
// upstream's numbering cannot express and that may not be left out.
int coap_request_options(const struct coap_request *request, const struct device *device,
                         const struct config_upstream *upstream, const struct pep_verdict *verdict,
                         const char *peer_text, bool with_observe, struct coap_list *list,
                         struct coap_refusal *refusal);

#endif
