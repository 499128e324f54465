// The HTTP binding (RFC 9110, 9112; TS-0009): a strict HTTP/1.1 server towards devices, a client with kept-alive
// connections towards CSEs, and the way of a primitive between them. One instance per worker, one thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_BINDING_HTTP_HTTP_H
#define SAGATE_DATAPLANE_BINDING_HTTP_HTTP_H

#include "dataplane/binding/device.h"
#include "dataplane/io/io.h"
#include "dataplane/pep/pep.h"
#include "dataplane/upstream/upstream.h"
#include "dataplane/worker/timer.h"

struct http;

struct http_options {
    const struct config *config;
    struct io *io; // for the connections to CSEs
    struct timer_wheel *wheel;
    struct upstreams *upstreams;
    struct pep *pep;
    struct stats *stats; // may be NULL
    struct device_port port;
    uint32_t io_user_kind; // `kind` of the io_user of every connection this module opens
};

int http_new(const struct http_options *options, struct http **http); // 0, SAGATE_ENOMEM
void http_free(struct http *http);

// Takes a new configuration: connections to servers that stay are kept; requests under way finish. To be called after
// devices and `upstreams` have got it. SAGATE_OK: nothing here points into the old one any more. It needs no memory, so
// it does not fail; an error would be SAGATE_ENOMEM, with the old configuration in use as if it had not been called.
int http_reload(struct http *http, const struct config *config, uint64_t now_ms);

// Decrypted bytes of a device's stream, taken whole. After it has paused the device (port.pause) the binding is given
// at most the rest of one TLS record more.
void http_from_device(struct http *http, struct device *device, const uint8_t *data, size_t len, uint64_t now_us);

// The device sends no more (close_notify or FIN). A request that is complete is still answered.
void http_device_eof(struct http *http, struct device *device, uint64_t now_us);

// What was sent has drained after a SAGATE_AGAIN of port.send.
void http_device_writable(struct http *http, struct device *device, uint64_t now_us);

// The association has ended; device->binding_state is released.
void http_device_gone(struct http *http, struct device *device, uint64_t now_us);

// An event (IO_CONNECTED, IO_DATA, IO_EOF, IO_WRITABLE, IO_CLOSED) whose user has io_user_kind.
void http_from_upstream(struct http *http, const struct io_event *event, uint64_t now_us);

// Requests that wait for a CSE (for a drain).
size_t http_in_flight(const struct http *http);

// No new request is begun on kept-alive connections of devices: each is answered with "Connection: close".
void http_drain(struct http *http, bool on);

#endif
