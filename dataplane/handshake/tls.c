// TLS: the stream is read up to the ClientHello before there is a WOLFSSL object, since the server name chooses its
// context, and withheld at the ClientKeyExchange until the key is there.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/handshake/internal.h"

#include <stdlib.h>
#include <string.h>

enum { MESSAGE_HEADER = 4 };

int handshake_tls_new(struct handshake_contexts *contexts, size_t listener, const struct handshake_sink *sink,
                      struct handshake **handshake)
{
    struct handshake *new = handshake_new(contexts, &contexts->listeners[listener], sink);
    if (new == NULL)
        return SAGATE_ENOMEM;
    new->stream.limit = MESSAGE_HEADER + PEEK_HELLO_MAX;
    *handshake = new;
    return SAGATE_OK;
}

static int refuse_bytes(struct handshake *handshake, int rc)
{
    switch (rc) {
    case SAGATE_ENOMEM:
        return handshake_fail(handshake, HANDSHAKE_CAUSE_PROTOCOL, ALERT_INTERNAL_ERROR, "out of memory");
    case SAGATE_EUNSUPPORTED:
        return handshake_fail(handshake, HANDSHAKE_CAUSE_PROTOCOL, ALERT_UNEXPECTED_MESSAGE,
                              "the first record is no handshake");
    case SAGATE_ETOOBIG:
        return handshake_fail(handshake, HANDSHAKE_CAUSE_PROTOCOL, ALERT_ILLEGAL_PARAMETER,
                              "the ClientHello is too long");
    default:
        return handshake_fail(handshake, HANDSHAKE_CAUSE_PROTOCOL, ALERT_DECODE_ERROR, "no well-formed ClientHello");
    }
}

static int go_on(struct handshake *handshake)
{
    handshake->state = HANDSHAKE_RUNNING;
    session_release_all(handshake->session);
    return handshake_step(handshake);
}

static int look_for_key_exchange(struct handshake *handshake, struct slice bytes)
{
    size_t used;
    uint8_t type;
    struct slice identity;
    int rc = peek_stream_push(&handshake->stream, bytes, &used);
    if (rc == SAGATE_AGAIN)
        return SAGATE_AGAIN;
    if (rc == SAGATE_ETOOBIG && handshake->stream.message[0] == PEEK_CLIENT_KEY_EXCHANGE)
        return handshake_park(handshake, (struct slice){0}); // nobody has an identity that long
    if (rc != SAGATE_DONE)
        return go_on(handshake); // an alert, or what the library has to refuse
    struct slice body = peek_stream_message(&handshake->stream, &type);
    if (type != PEEK_CLIENT_KEY_EXCHANGE || peek_client_key_exchange(body, &identity) != SAGATE_OK)
        return go_on(handshake);
    return handshake_park(handshake, identity);
}

static int after_hello(struct handshake *handshake)
{
    struct session *session = handshake->session;
    handshake->state = HANDSHAKE_RUNNING;
    session_release(session, handshake->hello_end);
    int rc = handshake_step(handshake);
    if (rc != SAGATE_AGAIN)
        return rc;
    size_t left = session->in_len - session->in_released;
    if (!handshake_psk_suite(handshake) || handshake_resumes(handshake))
        return left > 0 ? go_on(handshake) : SAGATE_AGAIN;
    handshake->state = HANDSHAKE_KEY;
    peek_stream_next(&handshake->stream, MESSAGE_HEADER + PEEK_KEY_MAX);
    if (left == 0)
        return SAGATE_AGAIN;
    return look_for_key_exchange(handshake, slice_of(session->in + session->in_released, left));
}

int tls_unpark(struct handshake *handshake)
{
    if (handshake->hello_parked) {
        handshake->hello_parked = false;
        return after_hello(handshake);
    }
    return go_on(handshake);
}

static int hello_complete(struct handshake *handshake)
{
    uint8_t type;
    struct peek_hello hello;
    struct context_listener *listener = handshake->listener;
    struct slice body = peek_stream_message(&handshake->stream, &type);
    if (type != PEEK_CLIENT_HELLO)
        return refuse_bytes(handshake, SAGATE_EUNSUPPORTED);
    if (peek_client_hello(body, false, &hello) != SAGATE_OK)
        return refuse_bytes(handshake, SAGATE_EMALFORMED);
    // The library looks at this extension only where TLS 1.3 is on (RFC 8446 4.2.1).
    if (hello.versions && !(hello.tls12 && listener->tls12) && !(hello.tls13 && listener->tls13))
        return handshake_fail(handshake, HANDSHAKE_CAUSE_PROTOCOL, ALERT_PROTOCOL_VERSION, "no common version");
    struct context *context = contexts_select(listener, hello.server_name);
    if (context == NULL)
        return handshake_fail(handshake, HANDSHAKE_CAUSE_PROTOCOL, ALERT_UNRECOGNIZED_NAME, "unknown server name");
    struct session *session = session_new(context->ctx, false, &handshake->sink);
    if (session == NULL)
        return refuse_bytes(handshake, SAGATE_ENOMEM);
    handshake_own(handshake, session);
    handshake_choose_certificate(handshake, &hello);
    if (handshake->contexts->tickets.lifetime == 0) {
        (void)wolfSSL_NoTicketTLSv12(session->ssl);
        (void)wolfSSL_no_ticket_TLSv13(session->ssl);
    }
    bool certificate = listener->certificates[0] != NULL;
    int rc = session_input(session, slice_of(handshake->early, handshake->early_len));
    free(handshake->early);
    handshake->early = NULL;
    if (rc != SAGATE_OK)
        return refuse_bytes(handshake, rc);
    handshake->certificate_usable = certificate && hello.signature_algorithms;
    return offer_take(handshake, &hello, listener->tls13 && hello.tls13);
}

static int take_hello(struct handshake *handshake, struct slice bytes)
{
    size_t used;
    size_t before = handshake->early_len;
    if (before + bytes.len > SESSION_INPUT_MAX)
        return refuse_bytes(handshake, SAGATE_ETOOBIG);
    if (before + bytes.len > handshake->early_cap) {
        size_t cap = before + bytes.len < 1024 ? 1024 : 2 * (before + bytes.len);
        uint8_t *grown = realloc(handshake->early, cap);
        if (grown == NULL)
            return refuse_bytes(handshake, SAGATE_ENOMEM);
        handshake->early = grown;
        handshake->early_cap = cap;
    }
    if (bytes.len > 0)
        memcpy(handshake->early + before, bytes.data, bytes.len);
    handshake->early_len += bytes.len;
    int rc = peek_stream_push(&handshake->stream, bytes, &used);
    if (rc == SAGATE_AGAIN)
        return SAGATE_AGAIN;
    if (rc != SAGATE_DONE)
        return refuse_bytes(handshake, rc);
    handshake->hello_end = before + used;
    return hello_complete(handshake);
}

int tls_run(struct handshake *handshake, struct slice bytes)
{
    if (handshake->state == HANDSHAKE_HELLO)
        return take_hello(handshake, bytes);
    int rc = session_input(handshake->session, bytes);
    if (rc != SAGATE_OK)
        return handshake_fail(handshake, HANDSHAKE_CAUSE_PROTOCOL, ALERT_INTERNAL_ERROR, sagate_strerror(rc));
    if (handshake->state == HANDSHAKE_PARKED)
        return SAGATE_PARKED;
    if (handshake->state == HANDSHAKE_KEY) {
        if (session_flush(handshake->session) == SAGATE_EGONE)
            return handshake_fail(handshake, HANDSHAKE_CAUSE_PEER, 0, "the connection is gone");
        return look_for_key_exchange(handshake, bytes);
    }
    return go_on(handshake);
}
