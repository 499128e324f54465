// One connection to a TEF, in the event loop: TCP, TLS and bytes both ways, or UDP, DTLS and messages.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_TEF_CHANNEL_H
#define SAGATE_CONTROLPLANE_TEF_CHANNEL_H

#include "controlplane/tef/tls.h"

struct tef_channel;

// What a channel tells its owner, from the event loop only. In `bytes` and `closed` the owner may free the channel.
struct tef_channel_owner {
    void (*open)(void *context, const char *version, const char *suite);
    void (*bytes)(void *context, struct slice bytes);
    // SAGATE_EUNAVAILABLE, SAGATE_EHANDSHAKE, SAGATE_EGONE (the TEF closed); nothing more is told after it.
    void (*closed)(void *context, int result, const char *why);
    void *context;
};

// How a connection is made: a non-blocking descriptor that is connected or connecting, or -1 with errno.
typedef int tef_connect(void *context, const struct address *address);
int tef_connect_tcp(void *context, const struct address *address);
int tef_connect_udp(void *context, const struct address *address);

// Takes the descriptor, also when it fails. `timeout_ms` for connecting and handshake together. NULL when memory is
// short.
struct tef_channel *tef_channel_new(struct event_base *base, struct tef_tls *tls, int fd, unsigned timeout_ms,
                                    const struct tef_channel_owner *owner);
void tef_channel_free(struct tef_channel *channel); // NULL is allowed

// Queues bytes on an open channel and sends what can be sent; a failure is told later: SAGATE_OK or SAGATE_ENOMEM. Over
// DTLS the bytes are one message and go at once, or are lost.
int tef_channel_send(struct tef_channel *channel, struct slice bytes);

#endif
