// How a binding sees the association that a primitive came over, and how it answers. Behind it stands the worker's
// record stage; in unit tests a recorder.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_BINDING_DEVICE_H
#define SAGATE_DATAPLANE_BINDING_DEVICE_H

#include "common/address.h"
#include "common/principal.h"
#include "controlplane/config/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Part of every association; valid until the binding is told that the device is gone.
struct device {
    uint64_t association;        // identifier, unique for the life of the worker, never 0
    struct principal *principal; // NULL: the peer proved no identity
    struct address peer;
    const struct config_listener *listener; // may change at a reload, never NULL
    const struct config_upstream *upstream; // of the listener
    size_t upstream_index;
    uint32_t in_flight;  // requests of this association that wait for a CSE; kept by the binding
    void *binding_state; // the binding's own, NULL at first (HTTP: its connection; CoAP: message IDs and so on)
};

// Answers go out through this. `send` on a DTLS association: one call, one record (a CoAP message). On a TLS
// association: bytes of the stream.
struct device_port {
    void *context;
    // SAGATE_OK; SAGATE_AGAIN (stream: taken, but write no more until the binding's `writable` is called);
    // SAGATE_ELIMIT (nothing taken); SAGATE_ETOOBIG (datagram); SAGATE_EGONE.
    int (*send)(void *context, uint64_t association, const uint8_t *data, size_t len);
    // Stream: give the binding no more input until called with false. No effect when the device is gone.
    void (*pause)(void *context, uint64_t association, bool paused);
    // Ends the association in order (close_notify after what is queued). The binding gets its `gone` call later.
    void (*close)(void *context, uint64_t association);
    // The device of an association that may have ended meanwhile; NULL when it has.
    struct device *(*find)(void *context, uint64_t association);
    // The binding may have no more use for its state of this device (coap_device_is_idle tells). May be NULL.
    void (*idle)(void *context, uint64_t association);
};

#endif
