// DTLS: the stateless answer to hellos, and datagrams record by record: hellos of another try are left out, and what
// needs the key is held until that is there, in the order in which wolfSSL can use it: what follows the ServerHello of
// a PSK suite (DTLS 1.2), or the ClientHello with a PSK identity (DTLS 1.3) or a ticket, once its cookie was found
// good.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/handshake/internal.h"

#include <stdlib.h>
#include <string.h>

enum { VERSION_DTLS12 = 0xfefd, PEER_BYTES = 2 + 2 + 16 };

// What the cookie is bound to: family, port and address, without the padding of a socket address.
static unsigned int peer_bytes(const struct address *peer, uint8_t out[PEER_BYTES])
{
    out[0] = (uint8_t)peer->any.sa_family;
    out[1] = 0;
    if (peer->any.sa_family == AF_INET) {
        memcpy(out + 2, &peer->v4.sin_port, 2);
        memcpy(out + 4, &peer->v4.sin_addr, 4);
        return 8;
    }
    memcpy(out + 2, &peer->v6.sin6_port, 2);
    memcpy(out + 4, &peer->v6.sin6_addr, 16);
    return PEER_BYTES;
}

static struct session *new_listening(const struct handshake_contexts *contexts, struct context *context, bool tls13,
                                     const struct handshake_sink *sink)
{
    struct session *session = session_new(context->ctx, true, sink);
    if (session == NULL)
        return NULL;
    const uint8_t *secret = contexts->cookie_secret;
    session->cid_len = contexts->cid_len;
    if (contexts->tickets.lifetime == 0) {
        (void)wolfSSL_NoTicketTLSv12(session->ssl);
        (void)wolfSSL_no_ticket_TLSv13(session->ssl);
    }
    if (wolfSSL_DTLS_SetCookieSecret(session->ssl, secret, HANDSHAKE_COOKIE_SECRET) == 0 &&
        (!tls13 || wolfSSL_send_hrr_cookie(session->ssl, secret + HANDSHAKE_COOKIE_SECRET, HANDSHAKE_COOKIE_SECRET) ==
                       WOLFSSL_SUCCESS))
        return session;
    session_free(session);
    return NULL;
}

static void renew_listening(struct context *context)
{
    session_free(context->listening);
    context->listening = NULL;
}

// The context's listening object, for this peer and record.
static struct session *listen_to(struct handshake_contexts *contexts, struct context *context, bool tls13,
                                 struct slice peer, const struct peek_record *record, const struct handshake_sink *sink)
{
    if (context->listening == NULL)
        context->listening = new_listening(contexts, context, tls13, sink);
    struct session *session = context->listening;
    if (session == NULL)
        return NULL;
    session->sink = *sink;
    session->sent = 0;
    session->next_sequence = record->sequence; // RFC 6347 4.2.1
    if (wolfSSL_dtls_set_peer(session->ssl, (void *)(uintptr_t)peer.data, (unsigned)peer.len) == WOLFSSL_SUCCESS)
        return session;
    renew_listening(context);
    return NULL;
}

static bool is_held(const struct handshake *handshake, const struct peek_record *record)
{
    for (size_t i = 0; i < handshake->held_count; i++) {
        const struct held_record *held = &handshake->held[i];
        if (held->type != record->type || held->epoch != record->epoch || record->type == PEEK_TYPE_APPLICATION)
            continue;
        bool fragment = record->type == PEEK_TYPE_HANDSHAKE && record->epoch == 0;
        if (!fragment || (held->len == record->whole.len &&
                          memcmp(held->bytes + PEEK_DTLS_HEADER, record->body.data, record->body.len) == 0))
            return true;
    }
    return false;
}

static bool hold(struct handshake *handshake, const struct peek_record *record)
{
    size_t len = record->whole.len;
    if (handshake->held_count == HANDSHAKE_HELD_MAX || handshake->held_bytes + len > HANDSHAKE_HELD_BYTES ||
        is_held(handshake, record))
        return false;
    uint8_t *bytes = malloc(len);
    if (bytes == NULL)
        return false;
    memcpy(bytes, record->whole.data, len);
    handshake->held[handshake->held_count++] =
        (struct held_record){.bytes = bytes, .len = len, .type = record->type, .epoch = record->epoch};
    handshake->held_bytes += len;
    return true;
}

// A first hello and what it was found to be.
struct first {
    struct handshake_contexts *contexts;
    struct context_listener *listener;
    struct context *context;
    const struct handshake_sink *sink;
    struct peek_hello hello;
    struct peek_record record;
    bool tls13; // what will be negotiated
};

static enum handshake_first start(const struct first *first, struct handshake **handshake)
{
    struct handshake *new = handshake_new(first->contexts, first->listener, first->sink);
    if (new == NULL) {
        renew_listening(first->context);
        return HANDSHAKE_REJECTED;
    }
    memcpy(new->random, first->hello.random, PEEK_RANDOM);
    handshake_own(new, first->context->listening);
    handshake_choose_certificate(new, &first->hello);
    first->context->listening = NULL;
    *handshake = new;
    return HANDSHAKE_STARTED;
}

// Called once the cookie is known to be good, before the library reads the hello's extensions. Where we give out none
// the peer's own is used all the same: some peers do not understand that it was declined.
static int give_cid(WOLFSSL *ssl, void *context)
{
    const struct handshake_contexts *contexts = context;
    uint8_t cid[HANDSHAKE_CID_MAX];
    if (wolfSSL_dtls_cid_use(ssl) != WOLFSSL_SUCCESS)
        return -1;
    if (contexts->cid_len == 0)
        return 0;
    contexts->make_cid(contexts->make_cid_context, cid);
    return wolfSSL_dtls_cid_set(ssl, cid, contexts->cid_len) == WOLFSSL_SUCCESS ? 0 : -1;
}

// A peer that offers DTLS 1.3 too, and gets DTLS 1.2, may have dropped its own offer by then and end the handshake when
// it is taken up.
static bool wants_cid(const struct first *first)
{
    const struct peek_hello *hello = &first->hello;
    return hello->cid.data != NULL && hello->cid.len <= (size_t)wolfSSL_dtls_cid_max_size() &&
           hello->tls13 == first->tls13;
}

// The suite in a cookie of the library: behind the length of a digest, and the digest.
static uint16_t suite_of_cookie(struct slice cookie)
{
    size_t at = cookie.len > 0 ? 1 + (size_t)cookie.data[0] : 0;
    if (at + 2 > cookie.len)
        return 0;
    return (uint16_t)(cookie.data[at] << 8 | cookie.data[at + 1]);
}

// A hello with a good cookie, and a ticket or a PSK identity (DTLS 1.3): the library gets it when the key is there.
static enum handshake_first start_held(const struct first *first, struct handshake **handshake)
{
    const struct peek_hello *hello = &first->hello;
    if (wants_cid(first) && give_cid(first->context->listening->ssl, first->contexts) != 0) {
        renew_listening(first->context);
        return HANDSHAKE_REJECTED;
    }
    if (start(first, handshake) != HANDSHAKE_STARTED)
        return HANDSHAKE_REJECTED;
    struct handshake *new = *handshake;
    struct peek_hello held;
    struct peek_record record;
    new->retry_suite = first->tls13 ? suite_of_cookie(hello->retry_cookie) : 0;
    new->certificate_usable =
        first->listener->certificates[0] != NULL && hello->signature_algorithms && hello->key_share;
    if (hold(new, &first->record) && peek_dtls_hello(slice_of(new->held[0].bytes, new->held[0].len), &held, &record)) {
        (void)offer_take(new, &held, first->tls13); // handshake_run tells the result
        return HANDSHAKE_STARTED;
    }
    handshake_free(new);
    *handshake = NULL;
    return HANDSHAKE_REJECTED;
}

// What the library says to a hello.
static enum handshake_first ask_library(const struct first *first, struct handshake **handshake)
{
    struct context *context = first->context;
    struct session *session = context->listening;
    if (session_input(session, first->record.whole) != SAGATE_OK) {
        renew_listening(context);
        return HANDSHAKE_REJECTED;
    }
    session_release_all(session);
    if (wants_cid(first))
        (void)wolfDTLS_SetChGoodCb(session->ssl, give_cid, first->contexts);
    int rc = wolfDTLS_accept_stateless(session->ssl);
    (void)wolfDTLS_SetChGoodCb(session->ssl, NULL, NULL);
    if (rc == WOLFSSL_SUCCESS)
        return start(first, handshake);
    bool cookie_sent = rc == WOLFSSL_FAILURE && session->sent == PEEK_TYPE_HANDSHAKE;
    if (!cookie_sent || session->broken)
        renew_listening(context); // after an error it is never used again
    return cookie_sent ? HANDSHAKE_COOKIE_SENT : HANDSHAKE_REJECTED;
}

static enum handshake_first reject(const struct first *first, uint8_t alert)
{
    session_alert_bare(first->sink, true, first->record.sequence, alert);
    return HANDSHAKE_REJECTED;
}

// DTLS 1.2: the answer to a hello without a cookie (RFC 6347 4.2.1), in the hello's own numbers. The library takes the
// cookie in the hello that follows; it need not see this one.
static enum handshake_first send_cookie(const struct first *first, struct slice peer)
{
    enum { BODY = 2 + 1 + HANDSHAKE_COOKIE, HEADER = PEEK_DTLS_HEADER + 12, AT_COOKIE = HEADER + 3 };
    uint8_t record[HEADER + BODY] = {PEEK_TYPE_HANDSHAKE, 0xfe, 0xfd};
    for (int i = 0; i < 6; i++)
        record[5 + i] = (uint8_t)(first->record.sequence >> (40 - 8 * i));
    record[PEEK_DTLS_HEADER - 1] = HEADER - PEEK_DTLS_HEADER + BODY;
    record[PEEK_DTLS_HEADER] = PEEK_HELLO_VERIFY_REQUEST;
    record[PEEK_DTLS_HEADER + 3] = record[HEADER - 1] = BODY; // of the message, and of its only fragment
    record[HEADER] = 0xfe;
    record[HEADER + 1] = 0xff; // DTLS 1.0, whatever is negotiated
    record[HEADER + 2] = HANDSHAKE_COOKIE;
    if (!contexts_cookie12(first->contexts, &first->hello, peer, record + AT_COOKIE))
        return HANDSHAKE_REJECTED;
    (void)first->sink->send(first->sink->context, record, sizeof record);
    return HANDSHAKE_COOKIE_SENT;
}

// Tickets are looked at only behind a good cookie: before it the library's question about one is answered with no, and
// what is not held was found to have none.
static enum handshake_first judge(const struct first *first, struct slice peer, struct handshake **handshake)
{
    const struct peek_hello *hello = &first->hello;
    bool tls13 = first->tls13;
    if (!tls13 && hello->cookie.len == 0)
        return send_cookie(first, peer);
    bool ticket = offer_may_have_ticket(first->contexts, hello, tls13);
    bool proven =
        tls13 ? hello->retry_cookie.data != NULL : ticket && contexts_made_cookie12(first->contexts, hello, peer);
    if (tls13 && proven && !contexts_made_cookie13(first->contexts, hello, peer))
        return reject(first, ALERT_ILLEGAL_PARAMETER);
    struct session *session =
        listen_to(first->contexts, first->context, first->listener->tls13, peer, &first->record, first->sink);
    if (session == NULL)
        return HANDSHAKE_REJECTED;
    bool psk = tls13 && first->listener->psk && hello->psk_identity.data != NULL;
    session->psk_suite = psk ? offer_suite_for_psk(hello) : NULL;
    if (proven && (ticket || session->psk_suite != NULL))
        return start_held(first, handshake);
    return ask_library(first, handshake);
}

enum handshake_first handshake_dtls_first(struct handshake_contexts *contexts, size_t listener,
                                          const struct address *peer, const uint8_t *datagram, size_t len,
                                          const struct handshake_sink *sink, struct handshake **handshake)
{
    uint8_t bytes[PEER_BYTES];
    struct context_listener *where = &contexts->listeners[listener];
    struct first first = {.contexts = contexts, .listener = where, .sink = sink};
    const struct peek_hello *hello = &first.hello;
    if (!peek_dtls_hello(slice_of(datagram, len), &first.hello, &first.record))
        return HANDSHAKE_NOT_A_HELLO;
    first.tls13 = where->tls13 && hello->tls13;
    bool tls12 = where->tls12 && (hello->tls12 || !hello->versions);
    if (hello->version != VERSION_DTLS12 || !(tls12 || first.tls13))
        return reject(&first, ALERT_PROTOCOL_VERSION);
    first.context = contexts_select(where, hello->server_name);
    if (first.context == NULL)
        return reject(&first, ALERT_UNRECOGNIZED_NAME);
    return judge(&first, slice_of(bytes, peer_bytes(peer, bytes)), handshake);
}

static bool is_foreign_hello(const struct handshake *handshake, struct slice record)
{
    const uint8_t *random = peek_dtls_random(record);
    return random != NULL && memcmp(random, handshake->random, PEEK_RANDOM) != 0;
}

bool handshake_owns(const struct handshake *handshake, const uint8_t *datagram, size_t len)
{
    return !is_foreign_hello(handshake, slice_of(datagram, len));
}

// Whether an encrypted record of DTLS 1.2 carries what was agreed: the Connection ID that the peer got, or none.
static bool is_peers(const struct handshake *handshake, const struct peek_record *record)
{
    unsigned char *cid = NULL;
    bool given = wolfSSL_dtls_cid_is_enabled(handshake->session->ssl) == 1 &&
                 wolfSSL_dtls_cid_get0_rx(handshake->session->ssl, &cid) == WOLFSSL_SUCCESS && cid != NULL;
    if (!given || record->cid.data == NULL)
        return !given && record->cid.data == NULL;
    return memcmp(record->cid.data, cid, record->cid.len) == 0;
}

// Gives wolfSSL one record. A Finished that it cannot open, after it has the key and the change of cipher, shows that
// the peer has another key: the library would wait for another try for ever (RFC 6347 4.1.2.7 allows to end with
// bad_record_mac).
static int give(struct handshake *handshake, const struct peek_record *record)
{
    if (session_input(handshake->session, record->whole) != SAGATE_OK)
        return SAGATE_AGAIN; // as if it had been lost
    session_release_all(handshake->session);
    int rc = handshake_step(handshake);
    if (rc != SAGATE_AGAIN || !handshake->key_exchange_given || handshake_is_tls13(handshake))
        return rc;
    if (record->type == PEEK_TYPE_CHANGE_CIPHER_SPEC && record->epoch == 0)
        handshake->cipher_changed = true;
    bool sealed = record->type == PEEK_TYPE_HANDSHAKE || record->type == PEEK_TYPE_CID;
    if (handshake->cipher_changed && record->epoch == 1 && sealed)
        return handshake_fail(handshake, HANDSHAKE_CAUSE_CREDENTIAL, ALERT_BAD_RECORD_MAC,
                              "the peer's Finished does not open with the key");
    return SAGATE_AGAIN;
}

// Joins a fragment: SAGATE_AGAIN, SAGATE_DONE with the body of the whole message in *body, SAGATE_EMALFORMED.
static int join(struct handshake *handshake, const struct peek_fragment *fragment, struct slice *body)
{
    if (fragment->data.len == fragment->length) {
        *body = fragment->data;
        return SAGATE_DONE;
    }
    if (handshake->assembly == NULL)
        handshake->assembly = calloc(1, sizeof *handshake->assembly);
    if (handshake->assembly == NULL)
        return SAGATE_AGAIN;
    int rc = peek_assembly_add(handshake->assembly, fragment);
    if (rc == SAGATE_DONE)
        *body = slice_of(handshake->assembly->bytes, handshake->assembly->length);
    return rc;
}

// A handshake record in clear, while the ClientKeyExchange is awaited.
static int await_key_exchange(struct handshake *handshake, const struct peek_record *record)
{
    struct slice rest = record->body;
    struct slice body = {0};
    struct slice identity;
    struct peek_fragment fragment;
    if (peek_dtls_fragment(&rest, &fragment) != SAGATE_OK)
        return SAGATE_AGAIN;
    if (fragment.type != PEEK_CLIENT_KEY_EXCHANGE)
        return is_foreign_hello(handshake, record->whole) ? SAGATE_AGAIN : give(handshake, record);
    if (!hold(handshake, record))
        return SAGATE_AGAIN;
    int rc = SAGATE_OK;
    do {
        if (fragment.type == PEEK_CLIENT_KEY_EXCHANGE)
            rc = join(handshake, &fragment, &body);
    } while (rc != SAGATE_DONE && peek_dtls_fragment(&rest, &fragment) == SAGATE_OK);
    if (rc != SAGATE_DONE)
        return SAGATE_AGAIN;
    if (peek_client_key_exchange(body, &identity) != SAGATE_OK)
        return handshake_fail(handshake, HANDSHAKE_CAUSE_PROTOCOL, ALERT_DECODE_ERROR, "malformed ClientKeyExchange");
    return handshake_park(handshake, identity);
}

// False for a record that no peer sends in this version. While the ClientHello itself is held, there is none.
static bool is_possible(const struct handshake *handshake, const struct peek_record *record)
{
    if (handshake->hello_parked)
        return handshake->state != HANDSHAKE_PARKED;
    if (record->type == PEEK_TYPE_UNIFIED || record->type == PEEK_TYPE_ACK)
        return handshake_is_tls13(handshake);
    if (record->epoch == 0)
        return record->type != PEEK_TYPE_APPLICATION && record->type != PEEK_TYPE_CID;
    return record->epoch == 1 && !handshake_is_tls13(handshake) && is_peers(handshake, record);
}

static int take_record(struct handshake *handshake, const struct peek_record *record)
{
    bool clear_handshake = record->type == PEEK_TYPE_HANDSHAKE && record->epoch == 0;
    bool clear_alert = record->type == PEEK_TYPE_ALERT && record->epoch == 0;
    if (!is_possible(handshake, record))
        return SAGATE_AGAIN;
    switch (handshake->state) {
    case HANDSHAKE_KEY:
        if (clear_handshake)
            return await_key_exchange(handshake, record);
        if (clear_alert)
            return give(handshake, record);
        (void)hold(handshake, record);
        return SAGATE_AGAIN;
    case HANDSHAKE_PARKED:
        if (clear_alert)
            return give(handshake, record);
        if (!clear_handshake)
            (void)hold(handshake, record);
        return SAGATE_AGAIN;
    case HANDSHAKE_ESTABLISHED:
        (void)session_input(handshake->session, record->whole);
        return SAGATE_DONE;
    default:
        if (clear_handshake && is_foreign_hello(handshake, record->whole))
            return SAGATE_AGAIN;
        return give(handshake, record);
    }
}

static int verdict(const struct handshake *handshake)
{
    switch (handshake->state) {
    case HANDSHAKE_ESTABLISHED:
        return SAGATE_DONE;
    case HANDSHAKE_FAILED:
        return SAGATE_EHANDSHAKE;
    case HANDSHAKE_PARKED:
        return SAGATE_PARKED;
    default:
        return SAGATE_AGAIN;
    }
}

// DTLS 1.2: true when the ClientKeyExchange will tell the identity: none is known, or only that of a ticket which the
// library did not take up.
static bool awaits_identity(const struct handshake *handshake)
{
    return handshake->state == HANDSHAKE_RUNNING && (!handshake->identity_known || handshake->ticket) &&
           handshake_psk_suite(handshake) && !handshake_resumes(handshake);
}

int dtls_run(struct handshake *handshake, struct slice datagram)
{
    struct peek_record record;
    if (datagram.len == 0 && handshake->state == HANDSHAKE_RUNNING) {
        int rc = handshake_step(handshake);
        if (rc != SAGATE_AGAIN)
            return rc;
    }
    if (awaits_identity(handshake)) {
        handshake->state = HANDSHAKE_KEY;
        handshake->ticket = handshake->identity_known = false;
    }
    size_t cid_len = handshake->session->cid_len;
    while (handshake->state != HANDSHAKE_FAILED && peek_dtls_record(&datagram, cid_len, &record) == SAGATE_OK)
        (void)take_record(handshake, &record);
    return verdict(handshake);
}

// 0: the ClientKeyExchange, 1: the change of cipher, 2: what is encrypted.
static int rank(const struct held_record *held)
{
    if (held->epoch > 0)
        return 2;
    return held->type == PEEK_TYPE_HANDSHAKE ? 0 : 1;
}

int dtls_unpark(struct handshake *handshake)
{
    bool key_exchange = !handshake->hello_parked;
    handshake->hello_parked = false;
    for (int turn = 0; turn <= 2; turn++) {
        for (size_t i = 0; i < handshake->held_count && handshake->state != HANDSHAKE_FAILED; i++) {
            struct slice rest = slice_of(handshake->held[i].bytes, handshake->held[i].len);
            struct peek_record record;
            if (rank(&handshake->held[i]) == turn &&
                peek_dtls_record(&rest, handshake->session->cid_len, &record) == SAGATE_OK)
                (void)take_record(handshake, &record);
        }
        handshake->key_exchange_given = key_exchange;
    }
    for (size_t i = 0; i < handshake->held_count; i++)
        free(handshake->held[i].bytes);
    handshake->held_count = handshake->held_bytes = 0;
    free(handshake->assembly);
    handshake->assembly = NULL;
    return verdict(handshake);
}
