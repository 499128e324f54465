// One simulated device: its handshake by wolfSSL's client, then its DTLS 1.2 association on the record layer of the
// data plane in the client's role, so that an idle one costs some 200 bytes. What cannot be folded stays on its object.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_PERF_DEVICE_H
#define SAGATE_PERF_DEVICE_H

#include "dataplane/record/dtls12.h"
#include "perf/load.h"

enum device_state {
    DEVICE_NEW,
    DEVICE_HANDSHAKE,
    DEVICE_FOLDED, // established
    DEVICE_HELD,   // established, on its object
    DEVICE_PLAIN,  // no security at all
};

struct device {
    struct dtls12 keys; // of DEVICE_FOLDED
    void *ssl;          // WOLFSSL, of DEVICE_HANDSHAKE and DEVICE_HELD
    uint64_t first_us;  // when the request or handshake under way began
    uint64_t sent_us;   // when it, or a flight of it, was sent last
    uint32_t index;     // endpoint, see net.h
    uint32_t number;    // of the request under way; counted per device, as message IDs are (RFC 7252 4.4)
    uint32_t slot;      // of the fleet, plus 1; 0: nothing is under way
    uint8_t state;      // enum device_state
    uint8_t tries;      // how often the request or flight under way was sent
    uint8_t attempts;   // handshakes that were begun in this slot
    bool had_one;       // has had an association before
};
_Static_assert(sizeof(struct device) <= 256, "there may be a million");

// Once, before anything else; ends the program when it fails.
void device_setup(const struct load_options *options);

static inline bool device_established(const struct device *device)
{
    return device->state >= DEVICE_FOLDED;
}

enum device_event {
    DEVICE_SAME,
    DEVICE_READY, // the handshake is done
    DEVICE_GONE,  // the handshake failed, or the server has ended the association: the device is new again
};

// Begins a handshake; DEVICE_READY at once when there is no security.
enum device_event device_start(struct device *device);
// A datagram for the device, changed in place; `data` is called for what it brought.
typedef void device_data(struct device *device, const uint8_t *data, size_t len);
enum device_event device_input(struct device *device, uint8_t *datagram, size_t len, device_data *data);
// Sends the flight again.
enum device_event device_timeout(struct device *device);
void device_send(struct device *device, const uint8_t *data, size_t len);
// Says close_notify when established, and is new again; forget: without a word.
void device_close(struct device *device);
void device_forget(struct device *device);

#endif
