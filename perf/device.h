// One simulated device: its handshake by wolfSSL's client, then its association on the record layers of the data plane
// in the client's role, so that an idle one costs some 170 bytes (DTLS 1.2). What cannot be folded stays on its object.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_PERF_DEVICE_H
#define SAGATE_PERF_DEVICE_H

#include "perf/load.h"

enum device_state {
    DEVICE_NEW,
    DEVICE_HANDSHAKE,
    DEVICE_TICKET, // established, but for the ticket that it wants
    DEVICE_FOLDED, // established
    DEVICE_HELD,   // established, on its object
    DEVICE_PLAIN,  // no security at all
};

// What is under way is in its slot, keys and object are device.c's.
struct device {
    uint32_t number;    // of the message under way; counted per device, as message IDs are (RFC 7252 4.4)
    uint32_t slot;      // of the fleet, plus 1; 0: nothing is under way
    uint8_t state;      // enum device_state
    uint8_t generation; // which of its endpoints it uses, see net.h
    bool had_one;       // has had an association before
    bool ends : 1;      // its association is to be ended,
    bool moves : 1;     // and its endpoint changed, once nothing is under way
};
_Static_assert(sizeof(struct device) <= 12, "there may be ten million");

enum device_event {
    DEVICE_SAME,
    DEVICE_READY,   // the handshake is done
    DEVICE_ALERTED, // the server ended the handshake with an alert, as --alerts expects: the device is new again
    DEVICE_GONE,    // the handshake failed, or the server has ended the association: the device is new again
};

struct device_handlers {
    void (*data)(struct device *device, const uint8_t *data, size_t len); // application data came
    void (*event)(struct device *device, enum device_event event);        // but DEVICE_SAME
};

// Once, before anything else: the devices, all new. Ends the program when it fails.
struct device *device_setup(const struct load_options *options, const struct device_handlers *handlers);
uint32_t device_index(const struct device *device);
bool device_is_stream(void);

static inline bool device_established(const struct device *device)
{
    return device->state >= DEVICE_FOLDED;
}

// Begins a handshake; DEVICE_READY at once when there is no security, DEVICE_GONE when there is no connection. The
// handlers hear of what comes later.
enum device_event device_start(struct device *device);
// Waits for network, and for the watched descriptor: see net_wait.
bool device_wait(uint64_t timeout_us);
// Sends the flight again.
enum device_event device_timeout(struct device *device);
void device_send(struct device *device, const uint8_t *data, size_t len);
// Goes on from another endpoint; what still comes to the one before is lost.
void device_rebind(struct device *device);
// Says close_notify when established, and is new again; forget: without a word.
void device_close(struct device *device);
void device_forget(struct device *device);

#endif
