// A world in memory around the CoAP binding: one device, a recorder for what it and the CSEs are sent, and simple
// stand-ins for the originator check and the choice of a CSE.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_TESTS_UNIT_COAP_FAKES_H
#define SAGATE_TESTS_UNIT_COAP_FAKES_H

#include "dataplane/binding/coap/coap.h"
#include "dataplane/binding/coap/message.h"

enum { WORLD_SENT_MAX = 512, WORLD_SOCKETS_MAX = 80 };

struct world_message {
    io_id id; // socket towards a CSE; 0: to the device
    uint64_t association;
    size_t len;
    uint8_t data[IO_DATAGRAM_MAX];
};

struct world {
    struct config config;
    struct config_upstream upstream;
    struct config_server servers[2];
    struct config_listener listener;
    struct principal *principal; // AE-IDs C1 and C2, pattern S*
    struct device device;
    struct timer_wheel *wheel;
    struct stats *stats;
    struct coap *coap;
    uint64_t now_us;
    size_t sent_count, sent_seen;               // in order of sending; beyond WORLD_SENT_MAX only counted
    struct io_user *sockets[WORLD_SOCKETS_MAX]; // by io_id
    size_t device_datagram_max;
    // what the stand-ins saw or shall say
    bool unavailable, full;
    io_id sockets_max; // that can be opened; 0: all of WORLD_SOCKETS_MAX
    unsigned begun, ended_answered, ended_failed, ended_untold, dropped /* with a removed server */, healthy, unhealthy,
        pep_answers, pep_answers_gone;
    int pep_answer_rsc;
    struct upstream_checker checker;
    struct world_message sent[WORLD_SENT_MAX]; // last: not cleared
};

extern struct world world;

// Prepares world.config with one CSE and everything else; change it, then call world_start.
void world_prepare(void);
void world_start(void);
void world_stop(void);

void world_advance(uint64_t ms);         // time passes, timers run
void world_advance_to_next(uint64_t ms); // until something is sent, or that time has passed
void world_device_sends(const uint8_t *data, size_t len);
void world_cse_sends(io_id id, const uint8_t *data, size_t len);
void world_cse_error(io_id id);
void world_device_gone(void);
// The next message that was sent and not seen yet, or NULL.
const struct world_message *world_next(void);

#endif
