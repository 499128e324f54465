// TLS: the stream is read up to the ClientHello before there is a WOLFSSL object, since the server name chooses its
// context, and withheld at the ClientKeyExchange until the key is there. Of several identities that TLS 1.3 offers, a
// ticket of ours that comes first is used, or the first external one.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/clock.h"
#include "common/error.h"
#include "common/secret.h"
#include "dataplane/handshake/internal.h"

#include <stdlib.h>
#include <string.h>

enum { MESSAGE_HEADER = 4 };

int handshake_tls_new(struct handshake_contexts *contexts, size_t listener, const struct handshake_sink *sink,
                      struct handshake **handshake)
{
    struct handshake *new = handshake_new(false, sink);
    if (new == NULL)
        return SAGATE_ENOMEM;
    new->contexts = contexts_reference(contexts);
    new->listener = &contexts->listeners[listener];
    new->client_certificates = new->listener->client_certificates;
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

// An external PSK goes with SHA-256 unless agreed otherwise (RFC 8446 4.2.11): the best of these suites that the peer
// offers.
const char *handshake_suite_for_psk(const struct peek_hello *hello)
{
    static const struct {
        uint16_t id;
        const char *name;
    } suites[] = {{0x1301, "TLS13-AES128-GCM-SHA256"},
                  {0x1303, "TLS13-CHACHA20-POLY1305-SHA256"},
                  {0x1304, "TLS13-AES128-CCM-SHA256"},
                  {0x1305, "TLS13-AES128-CCM-8-SHA256"}};
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++) {
        if (peek_offers(hello, suites[i].id))
            return suites[i].name;
    }
    return NULL;
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

// The ClientHello may go to the library, once its external PSK, if it has one, is known.
static int begin(struct handshake *handshake)
{
    if (handshake->psk_suite == NULL)
        return after_hello(handshake);
    handshake->hello_parked = true;
    return handshake_park(handshake, handshake->psk_external);
}

int tls_refuse_ticket(struct handshake *handshake)
{
    handshake->ticket = handshake->hello_parked = handshake->identity_known = false;
    handshake->identity_len = 0;
    return begin(handshake);
}

// A ticket that opens goes before a PSK. The identity that it carries is asked for as if it had been peeked, so that
// nobody resumes what would not be established anew. One without an identity must not keep a peer from proving its own.
static int begin_with_ticket(struct handshake *handshake, struct slice bytes)
{
    struct ticket ticket;
    const struct tickets *tickets = &handshake->contexts->tickets;
    struct slice binding = slice_of(handshake->listener->binding, sizeof handshake->listener->binding);
    if (tickets->lifetime == 0 || tickets_open(tickets, binding, bytes, clock_wall(), &ticket) != SAGATE_OK)
        return begin(handshake);
    bool proven = ticket.identity.len > 0;
    int rc;
    bool asked = handshake->client_certificates != CONFIG_CLIENT_CERTIFICATES_NONE;
    handshake->ticket = proven || (handshake->psk_suite == NULL && !asked);
    if (handshake->ticket && proven) {
        handshake->hello_parked = true;
        rc = handshake_park(handshake, ticket.identity);
    } else {
        rc = begin(handshake);
    }
    secret_zero(&ticket, sizeof ticket);
    return rc;
}

// Which identity is to be asked for as an external one: the first without an age. Where all have one it is the first,
// since ages of external ones are not to be looked at (RFC 8446 4.2.11), unless it looks like a ticket.
static void choose_external(struct handshake *handshake, const struct peek_hello *hello)
{
    bool tickets = handshake->contexts->tickets.lifetime > 0;
    handshake->psk_external = hello->psk_external.data != NULL ? hello->psk_external : hello->psk_identity;
    if (hello->psk_external.data != NULL || !(tickets && tickets_shaped(hello->psk_identity)))
        handshake->psk_suite = handshake_suite_for_psk(hello);
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
    if (handshake_leads_to_psk(listener, &hello))
        wolfSSL_set_verify(session->ssl, WOLFSSL_VERIFY_NONE, NULL);
    if (handshake->contexts->tickets.lifetime == 0) {
        (void)wolfSSL_NoTicketTLSv12(session->ssl);
        (void)wolfSSL_no_ticket_TLSv13(session->ssl);
    }
    bool tls13_psk = listener->tls13 && listener->psk && hello.tls13 && hello.psk_identity.data != NULL;
    bool certificate = listener->certificates[0] != NULL;
    int rc = session_input(session, slice_of(handshake->early, handshake->early_len));
    free(handshake->early);
    handshake->early = NULL;
    if (rc != SAGATE_OK)
        return refuse_bytes(handshake, rc);
    if (tls13_psk)
        choose_external(handshake, &hello);
    handshake->certificate_usable = certificate && hello.signature_algorithms;
    return begin_with_ticket(handshake, listener->tls13 && hello.tls13 ? hello.psk_identity : hello.ticket);
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
