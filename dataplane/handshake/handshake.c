// A handshake from its first run to its end: what TLS and DTLS share, the PSK callbacks, and why it failed.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/handshake/handshake.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/random.h"
#include "common/secret.h"
#include "dataplane/handshake/internal.h"
#include "dataplane/record/adopt.h"

#include <wolfssl/error-ssl.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// DTLS 1.3: the part of a timer after which a gap in the peer's flight is acknowledged (RFC 9147 7.1).
enum { QUICK_PART = 4 };

struct handshake *handshake_new(struct handshake_contexts *contexts, struct context_listener *listener,
                                const struct handshake_sink *sink)
{
    struct handshake *handshake = calloc(1, sizeof *handshake);
    if (handshake != NULL) {
        handshake->contexts = contexts_reference(contexts);
        handshake->listener = listener;
        handshake->dtls = listener->dtls;
        handshake->sink = *sink;
        handshake->state = listener->dtls ? HANDSHAKE_RUNNING : HANDSHAKE_HELLO;
    }
    return handshake;
}

void handshake_own(struct handshake *handshake, struct session *session)
{
    handshake->session = session;
    session->owner = handshake;
    session->sink = handshake->sink;
    if (handshake->contexts->exports)
        wolfSSL_KeepArrays(session->ssl);
}

int handshake_export(const struct handshake *handshake, const char *label, uint8_t *out, size_t len)
{
    if (handshake->state == HANDSHAKE_ESTABLISHED && handshake->contexts->exports &&
        wolfSSL_export_keying_material(handshake->session->ssl, out, len, label, strlen(label), NULL, 0, 0) ==
            WOLFSSL_SUCCESS)
        return SAGATE_OK;
    secret_zero(out, len);
    return SAGATE_EUNSUPPORTED;
}

static void wipe_key(struct handshake *handshake)
{
    secret_free(handshake->key);
    handshake->key = NULL;
    handshake->key_len = 0;
}

void handshake_free(struct handshake *handshake)
{
    if (handshake == NULL)
        return;
    wipe_key(handshake);
    free(handshake->leaf.der);
    session_free(handshake->session);
    handshake_contexts_free(handshake->contexts);
    peek_stream_release(&handshake->stream);
    free(handshake->early);
    free(handshake->assembly);
    for (size_t i = 0; i < handshake->held_count; i++)
        free(handshake->held[i].bytes);
    free(handshake);
}

int handshake_fail(struct handshake *handshake, enum handshake_cause cause, uint8_t alert, const char *text)
{
    wipe_key(handshake);
    handshake->state = HANDSHAKE_FAILED;
    handshake->cause = cause;
    (void)snprintf(handshake->text, sizeof handshake->text, "%s", text);
    if (alert != 0 && handshake->session != NULL)
        session_alert(handshake->session, alert);
    else if (alert != 0)
        session_alert_bare(&handshake->sink, handshake->dtls, 0, alert);
    return SAGATE_EHANDSHAKE;
}

bool handshake_is_tls13(const struct handshake *handshake)
{
    int version = wolfSSL_GetVersion(handshake->session->ssl);
    return version == WOLFSSL_TLSV1_3 || version == WOLFSSL_DTLSV1_3;
}

static const uint16_t psk_suites[] = {
    0x00a8, // PSK-AES128-GCM-SHA256
    0xc0a8, // PSK-AES128-CCM-8
    0x00ae, // PSK-AES128-CBC-SHA256
    0xc0a4, // PSK-AES128-CCM
    0xc037, // ECDHE-PSK-AES128-CBC-SHA256
    0xd001, // ECDHE-PSK-AES128-GCM-SHA256
};

bool handshake_psk_suite(const struct handshake *handshake)
{
    if (handshake_is_tls13(handshake))
        return false;
    int suite = (int)wolfSSL_get_current_cipher_suite(handshake->session->ssl);
    for (size_t i = 0; i < sizeof psk_suites / sizeof *psk_suites; i++) {
        if (suite == psk_suites[i])
            return true;
    }
    return false;
}

// The suites with PSK go first.
static bool leads_to_psk(const struct context_listener *listener, const struct peek_hello *hello)
{
    if (!listener->psk || (listener->tls13 && hello->tls13))
        return false;
    for (size_t i = 0; i < sizeof psk_suites / sizeof *psk_suites; i++) {
        if (peek_offers(hello, psk_suites[i]))
            return true;
    }
    return false;
}

void handshake_choose_certificate(struct handshake *handshake, const struct peek_hello *hello)
{
    const struct context_listener *listener = handshake->listener;
    if (listener->client_certificates == CONFIG_CLIENT_CERTIFICATES_NONE)
        return;
    handshake->certificate_asked = !leads_to_psk(listener, hello);
    if (!handshake->certificate_asked)
        wolfSSL_set_verify(handshake->session->ssl, WOLFSSL_VERIFY_NONE, NULL);
}

bool handshake_resumes(const struct handshake *handshake)
{
    return handshake->ticket_used && wolfSSL_session_reused(handshake->session->ssl) == 1;
}

// True when what the peer sent shows that it has another key (RFC 4279 2, RFC 8446 4.2.11).
static bool is_wrong_key(int error)
{
    switch (error) {
    case WC_NO_ERR_TRACE(VERIFY_MAC_ERROR):
    case WC_NO_ERR_TRACE(DECRYPT_ERROR):
    case WC_NO_ERR_TRACE(VERIFY_FINISHED_ERROR):
    case WC_NO_ERR_TRACE(BAD_BINDER):
    case WC_NO_ERR_TRACE(AES_GCM_AUTH_E):
    case WC_NO_ERR_TRACE(AES_CCM_AUTH_E):
    case WC_NO_ERR_TRACE(MAC_CMP_FAILED_E):
        return true;
    default:
        return false;
    }
}

static uint8_t alert_for(int error)
{
    switch (error) {
    case WC_NO_ERR_TRACE(BAD_BINDER):
    case WC_NO_ERR_TRACE(VERIFY_FINISHED_ERROR):
        return ALERT_DECRYPT_ERROR;
    case WC_NO_ERR_TRACE(BUFFER_ERROR):
    case WC_NO_ERR_TRACE(CLIENT_ID_ERROR):
        return ALERT_DECODE_ERROR;
    case WC_NO_ERR_TRACE(VERSION_ERROR):
        return ALERT_PROTOCOL_VERSION;
    case WC_NO_ERR_TRACE(UNKNOWN_RECORD_TYPE):
    case WC_NO_ERR_TRACE(OUT_OF_ORDER_E):
        return ALERT_UNEXPECTED_MESSAGE;
    case WC_NO_ERR_TRACE(MEMORY_E):
        return ALERT_INTERNAL_ERROR;
    default:
        return is_wrong_key(error) ? ALERT_BAD_RECORD_MAC : ALERT_HANDSHAKE_FAILURE;
    }
}

static bool is_bad_certificate(const struct handshake *handshake, int error)
{
    switch (error) {
    case WC_NO_ERR_TRACE(NO_PEER_CERT):
    case WC_NO_ERR_TRACE(NO_PEER_VERIFY):
    case WC_NO_ERR_TRACE(VERIFY_SIGN_ERROR):
    case WC_NO_ERR_TRACE(VERIFY_CERT_ERROR):
    case WC_NO_ERR_TRACE(SIG_VERIFY_E):
        return true;
    default:
        return handshake->leaf.refused;
    }
}

static int library_failed(struct handshake *handshake, int error)
{
    WOLFSSL *ssl = handshake->session->ssl;
    WOLFSSL_ALERT_HISTORY alerts = {{-1, -1}, {-1, -1}};
    (void)wolfSSL_get_alert_history(ssl, &alerts);
    bool psk = handshake->key_used;
    bool peer = error == WC_NO_ERR_TRACE(ZERO_RETURN) || alerts.last_rx.level == alert_fatal ||
                (handshake_is_tls13(handshake) && alerts.last_rx.code > 0);
    enum handshake_cause cause = HANDSHAKE_CAUSE_PROTOCOL;
    if (psk && (is_wrong_key(error) || alerts.last_rx.code == ALERT_DECRYPT_ERROR ||
                alerts.last_rx.code == ALERT_BAD_RECORD_MAC))
        cause = HANDSHAKE_CAUSE_CREDENTIAL;
    else if (handshake->listener->client_certificates != CONFIG_CLIENT_CERTIFICATES_NONE &&
             is_bad_certificate(handshake, error))
        cause = HANDSHAKE_CAUSE_CERTIFICATE;
    else if (peer)
        cause = HANDSHAKE_CAUSE_PEER;
    // The library sends no alert for some of its errors. In clear it is right as long as the peer expects it so.
    bool in_clear = !handshake_is_tls13(handshake) || !handshake->session->server_hello;
    uint8_t alert = peer || !in_clear || alerts.last_tx.level == alert_fatal ? 0 : alert_for(error);
    // A wrong binder is a decrypt_error (RFC 8446 4.2.11), which the library takes for an illegal parameter.
    if (handshake->session->alert_held)
        alert = error == WC_NO_ERR_TRACE(BAD_BINDER) ? ALERT_DECRYPT_ERROR : ALERT_ILLEGAL_PARAMETER;
    // What the library says to an identity that is too long for it would tell it apart from a wrong key.
    if (alert != 0 && handshake->identity_unusable) {
        cause = HANDSHAKE_CAUSE_CREDENTIAL;
        alert = handshake_is_tls13(handshake) ? ALERT_DECRYPT_ERROR : ALERT_BAD_RECORD_MAC;
    }
    return handshake_fail(handshake, cause, alert, wolfSSL_ERR_reason_error_string((unsigned long)(long)error));
}

bool handshake_resumed(const struct handshake *handshake)
{
    return handshake->ticket_used && // opened, but used only if
           (handshake_is_tls13(handshake) ? handshake->session->psk_accepted : handshake_resumes(handshake));
}

static bool proven_by_psk(const struct handshake *handshake)
{
    if (handshake_resumed(handshake))
        return handshake->identity_known;
    return handshake->key_used &&
           (handshake_is_tls13(handshake) ? handshake->session->psk_accepted : handshake_psk_suite(handshake));
}

static bool requires_certificate(const struct handshake *handshake)
{
    return handshake->listener->client_certificates == CONFIG_CLIENT_CERTIFICATES_REQUIRED;
}

static int established(struct handshake *handshake)
{
    bool psk = proven_by_psk(handshake);
    bool psk_suite = handshake_psk_suite(handshake);
    wipe_key(handshake);
    if ((psk && handshake->key_random) || (psk_suite && !psk))
        return handshake_fail(handshake, HANDSHAKE_CAUSE_CREDENTIAL, 0, "no key for this identity");
    // The library asks for none where a PSK was in sight, which it has not used in the end.
    if (!psk && handshake->leaf.der == NULL && requires_certificate(handshake))
        return handshake_fail(handshake, HANDSHAKE_CAUSE_CERTIFICATE, 0, "neither a key nor a certificate");
    handshake->state = HANDSHAKE_ESTABLISHED;
    return SAGATE_DONE;
}

int handshake_step(struct handshake *handshake)
{
    struct session *session = handshake->session;
    verify_begin(&handshake->leaf);
    int rc = session_flush(session) == SAGATE_EGONE ? WOLFSSL_FATAL_ERROR : wolfSSL_accept(session->ssl);
    verify_end(&handshake->leaf);
    if (session->broken)
        return handshake_fail(handshake, HANDSHAKE_CAUSE_PEER, 0, "the connection is gone");
    if (rc == WOLFSSL_SUCCESS)
        return established(handshake);
    int error = wolfSSL_get_error(session->ssl, rc);
    if (error == WOLFSSL_ERROR_WANT_READ || error == WOLFSSL_ERROR_WANT_WRITE)
        return SAGATE_AGAIN;
    return library_failed(handshake, error);
}

int handshake_run(struct handshake *handshake, const uint8_t *data, size_t len)
{
    if (handshake->dtls)
        return dtls_run(handshake, slice_of(data, len));
    switch (handshake->state) {
    case HANDSHAKE_ESTABLISHED:
        // What follows the handshake already belongs to the record.
        if (session_input(handshake->session, slice_of(data, len)) != SAGATE_OK)
            return handshake_fail(handshake, HANDSHAKE_CAUSE_PROTOCOL, 0,
                                  "too much input before the session was taken");
        return SAGATE_DONE;
    case HANDSHAKE_FAILED:
        return SAGATE_EHANDSHAKE;
    default:
        return tls_run(handshake, slice_of(data, len));
    }
}

struct slice handshake_identity(const struct handshake *handshake)
{
    if (!handshake->identity_known)
        return (struct slice){0};
    return slice_of(handshake->identity, handshake->identity_len);
}

int handshake_park(struct handshake *handshake, struct slice identity)
{
    handshake->identity_known = true;
    handshake->state = HANDSHAKE_PARKED;
    handshake->identity_unusable = identity.len == 0 || identity.len > sizeof handshake->identity ||
                                   memchr(identity.data, '\0', identity.len) != NULL;
    if (handshake->identity_unusable)
        return handshake_resolve(handshake, (struct slice){0});
    memcpy(handshake->identity, identity.data, identity.len);
    handshake->identity_len = identity.len;
    return SAGATE_PARKED;
}

static bool is_key_of_ticket(const struct handshake *handshake, struct slice key)
{
    return tickets_key(&handshake->contexts->tickets, key) == handshake->ticket_key;
}

int handshake_resolve(struct handshake *handshake, struct slice key)
{
    if (handshake->state != HANDSHAKE_PARKED)
        return SAGATE_EINVAL;
    wipe_key(handshake);
    bool unknown = key.len == 0 || key.len > HANDSHAKE_KEY_MAX || handshake->identity_unusable;
    if (handshake->ticket && handshake->hello_parked && (unknown || !is_key_of_ticket(handshake, key)))
        return offer_refuse_ticket(handshake);
    handshake->psk_declined = unknown && handshake->hello_parked && handshake->certificate_usable;
    if (!handshake->psk_declined) {
        handshake->key_len = unknown ? HANDSHAKE_RANDOM_KEY : key.len;
        handshake->key = secret_alloc(handshake->key_len);
        if (handshake->key == NULL)
            return handshake_fail(handshake, HANDSHAKE_CAUSE_PROTOCOL, ALERT_INTERNAL_ERROR, "out of memory");
        handshake->key_random = unknown;
        // Who proves to have a key needs no certificate besides.
        if (handshake->hello_parked && handshake->certificate_asked && requires_certificate(handshake))
            wolfSSL_set_verify(handshake->session->ssl, WOLFSSL_VERIFY_PEER, NULL);
        if (!unknown)
            memcpy(handshake->key, key.data, key.len);
        else if (!random_bytes(handshake->key, handshake->key_len))
            return handshake_fail(handshake, HANDSHAKE_CAUSE_PROTOCOL, ALERT_INTERNAL_ERROR, "no random bytes");
    }
    handshake->state = HANDSHAKE_RUNNING;
    return handshake->dtls ? dtls_unpark(handshake) : tls_unpark(handshake);
}

static bool is_peeked(const struct handshake *handshake, const char *identity)
{
    return strlen(identity) == handshake->identity_len &&
           memcmp(identity, handshake->identity, handshake->identity_len) == 0;
}

static unsigned int give_key(struct handshake *handshake, unsigned char *key, unsigned int max)
{
    if (handshake->key == NULL || handshake->key_len > max)
        return 0;
    memcpy(key, handshake->key, handshake->key_len);
    handshake->key_used = true;
    return (unsigned int)handshake->key_len;
}

unsigned int handshake_psk_tls12(WOLFSSL *ssl, const char *identity, unsigned char *key, unsigned int max)
{
    struct session *session = wolfSSL_GetIOReadCtx(ssl);
    struct handshake *handshake = session->owner;
    if (handshake == NULL || handshake_is_tls13(handshake))
        return 0;
    if (handshake->identity_known && (handshake->identity_unusable || is_peeked(handshake, identity)))
        return give_key(handshake, key, max);
    // Not what was peeked: fails as a wrong key does.
    unsigned int len = max < HANDSHAKE_RANDOM_KEY ? max : HANDSHAKE_RANDOM_KEY;
    return random_bytes(key, len) ? len : 0;
}

// DTLS 1.3 before there is a proven cookie: the library only wants to know which suite a HelloRetryRequest has to name,
// and takes no notice of the key.
static unsigned int claim_key(const struct session *session, unsigned char *key, unsigned int max, const char **suite)
{
    if (session->psk_suite == NULL || wolfSSL_is_stateful(session->ssl) || max < HANDSHAKE_RANDOM_KEY)
        return 0;
    memset(key, 0, HANDSHAKE_RANDOM_KEY);
    *suite = session->psk_suite;
    return HANDSHAKE_RANDOM_KEY;
}

unsigned int handshake_psk_tls13(WOLFSSL *ssl, const char *identity, unsigned char *key, unsigned int max,
                                 const char **suite)
{
    struct session *session = wolfSSL_GetIOReadCtx(ssl);
    struct handshake *handshake = session->owner;
    if (handshake == NULL)
        return claim_key(session, key, max, suite);
    if (!handshake->identity_known || handshake->psk_suite == NULL ||
        !(handshake->identity_unusable || is_peeked(handshake, identity)))
        return 0;
    *suite = handshake->psk_suite;
    return give_key(handshake, key, max);
}

// What a new ticket is to say of the peer: NULL when it must not be of use to anybody.
static const struct ticket_proof *proof_of(const struct handshake *handshake, struct ticket_proof *proof)
{
    bool psk = proven_by_psk(handshake);
    // A ticket does not carry a certificate, and must not stand for one.
    bool nobody =
        !handshake_psk_suite(handshake) && handshake->listener->client_certificates == CONFIG_CLIENT_CERTIFICATES_NONE;
    *proof = (struct ticket_proof){0};
    if (psk) {
        proof->identity = handshake_identity(handshake);
        proof->key = tickets_key(&handshake->contexts->tickets, slice_of(handshake->key, handshake->key_len));
    }
    return psk || nobody ? proof : NULL;
}

int handshake_ticket(WOLFSSL *ssl, unsigned char *name, unsigned char *iv, unsigned char *mac, int seal,
                     unsigned char *body, int len, int *out_len, void *context)
{
    struct session *session = wolfSSL_GetIOReadCtx(ssl);
    struct handshake *handshake = session->owner;
    (void)context;
    if (handshake == NULL || handshake->contexts->tickets.lifetime == 0)
        return WOLFSSL_TICKET_RET_REJECT; // also in DTLS before the cookie is proven
    const struct tickets *tickets = &handshake->contexts->tickets;
    struct slice binding = slice_of(handshake->listener->binding, sizeof handshake->listener->binding);
    if (seal != 0) {
        struct ticket_proof proof;
        const struct ticket_parts parts = {.name = name, .iv = iv, .body = body, .mac = mac, .len = (size_t)*out_len};
        return tickets_seal(tickets, binding, proof_of(handshake, &proof), (size_t)len, clock_wall(), &parts) ==
                       SAGATE_OK
                   ? WOLFSSL_TICKET_RET_OK
                   : WOLFSSL_TICKET_RET_FATAL;
    }
    // The parts lie behind one another, as they came. Of several tickets only those of the identity that was peeked,
    // and of the key that was found for it.
    struct ticket ticket;
    struct slice bytes = slice_of(name, (size_t)TICKETS_FRAME + (size_t)len);
    bool good = handshake->ticket && tickets_open(tickets, binding, bytes, clock_wall(), &ticket) == SAGATE_OK;
    good = good && slice_equal(ticket.proof.identity, handshake_identity(handshake)) &&
           ticket.proof.key == handshake->ticket_key;
    if (good) {
        memcpy(body, ticket.bytes, ticket.len);
        handshake->ticket_used = true;
    }
    secret_zero(&ticket, sizeof ticket);
    return good ? WOLFSSL_TICKET_RET_OK : WOLFSSL_TICKET_RET_REJECT;
}

unsigned handshake_timer_ms(const struct handshake *handshake)
{
    if (!handshake->dtls || (handshake->state != HANDSHAKE_RUNNING && handshake->state != HANDSHAKE_KEY))
        return 0;
    WOLFSSL *ssl = handshake->session->ssl;
    unsigned ms = (unsigned)wolfSSL_dtls_get_current_timeout(ssl) * 1000U;
    return wolfSSL_dtls13_use_quick_timeout(ssl) ? ms / QUICK_PART : ms;
}

int handshake_timeout(struct handshake *handshake)
{
    if (handshake_timer_ms(handshake) == 0)
        return handshake->state == HANDSHAKE_FAILED ? SAGATE_EHANDSHAKE : SAGATE_AGAIN;
    if (wolfSSL_dtls_got_timeout(handshake->session->ssl) == WOLFSSL_SUCCESS)
        return SAGATE_AGAIN;
    return handshake_fail(handshake, HANDSHAKE_CAUSE_PEER, 0, "the peer does not answer");
}

enum handshake_cause handshake_failure(const struct handshake *handshake, const char **text)
{
    if (text != NULL)
        *text = handshake->text;
    return handshake->cause;
}

struct slice handshake_certificate(const struct handshake *handshake)
{
    bool established = handshake->state == HANDSHAKE_ESTABLISHED && handshake->leaf.der != NULL;
    return established && !proven_by_psk(handshake) ? slice_of(handshake->leaf.der, handshake->leaf.len)
                                                    : (struct slice){0};
}

int handshake_finish(struct handshake *handshake, enum framework *framework, struct record **record)
{
    int rc = SAGATE_EINVAL;
    if (handshake->state == HANDSHAKE_ESTABLISHED) {
        bool psk = proven_by_psk(handshake);
        bool certificate = !psk && handshake->leaf.der != NULL;
        *framework = psk ? FRAMEWORK_PSK : certificate ? FRAMEWORK_CERTIFICATE : FRAMEWORK_NONE;
        *record = record_adopt(handshake->session);
        rc = *record == NULL ? SAGATE_ENOMEM : SAGATE_OK;
        if (rc == SAGATE_OK)
            handshake->session = NULL;
    }
    handshake_free(handshake);
    return rc;
}
