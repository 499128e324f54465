// The CoAP binding (RFC 7252, 7641, 7959; TS-0008): the message layer towards devices and towards CSEs, and the way of
// a primitive between them. One instance per worker, one thread; time comes from the worker.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_BINDING_COAP_COAP_H
#define SAGATE_DATAPLANE_BINDING_COAP_COAP_H

#include "dataplane/binding/device.h"
#include "dataplane/io/io.h"
#include "dataplane/pep/pep.h"
#include "dataplane/upstream/upstream.h"
#include "dataplane/worker/timer.h"

struct coap;

struct coap_options {
    const struct config *config;
    struct io *io; // for the sockets towards CSEs
    struct timer_wheel *wheel;
    struct upstreams *upstreams;
    struct pep *pep;
    struct stats *stats; // may be NULL
    struct device_port port;
    uint32_t io_user_kind; // `kind` of the io_user of every socket this module adds
};

// Opens the sockets towards the CoAP servers of the configuration. A server whose sockets cannot be opened is no error:
// it is unhealthy, and each health check tries again. 0, SAGATE_ENOMEM.
int coap_new(const struct coap_options *options, struct coap **coap);
void coap_free(struct coap *coap);

// Takes a new configuration, after upstream_reload: exchanges with servers that stay go on; those with removed servers
// end with 5103. 0, or SAGATE_ENOMEM: nothing has changed, and the old configuration must stay valid, since all goes on
// with that. Sockets that cannot be opened: as for coap_new.
int coap_reload(struct coap *coap, const struct config *config, uint64_t now_ms);

// One decrypted datagram of a device. Answers leave through port.send, requests through io.
void coap_from_device(struct coap *coap, struct device *device, const uint8_t *data, size_t len, uint64_t now_us);

// An io event (IO_DATAGRAM, IO_DATAGRAM_ERROR) whose user has io_user_kind.
void coap_from_upstream(struct coap *coap, const struct io_event *event, uint64_t now_us);

// The association has ended: its exchanges and observations are given up (an observation is cancelled at the CSE).
void coap_device_gone(struct coap *coap, struct device *device, uint64_t now_us);

// True when nothing is under way for a device: it may be forgotten without coap_device_gone, after coap_device_rest,
// which gives up what is kept for it. A later message makes new state; what was answered before is still known.
bool coap_device_is_idle(const struct device *device);
void coap_device_rest(struct coap *coap, struct device *device);

// Requests that wait for a CSE (for a drain).
size_t coap_in_flight(const struct coap *coap);

#endif
