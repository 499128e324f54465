// What a ClientHello offers to prove: of several identities of (D)TLS 1.3, a ticket of ours that comes first is used,
// or the first external one; in (D)TLS 1.2 a ticket. The hello is held meanwhile.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/clock.h"
#include "common/error.h"
#include "common/secret.h"
#include "dataplane/handshake/internal.h"
#include "dataplane/record/tls.h"

// Where the library's session, as it is in a ticket, names the suite, and the nonce of that ticket (1.3): version,
// suite, secret, time, extended master secret, age, group, length of the nonce.
enum { SUITE_AT = 2, NONCE_AT = 2 + 2 + 48 + 8 + 1 + 4 + 2 + 1, NONCE_LAST = 255 };

// An external PSK goes with SHA-256 unless agreed otherwise (RFC 8446 4.2.11): the best of these suites that the peer
// offers.
const char *offer_suite_for_psk(const struct peek_hello *hello)
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

// The ClientHello may go to the library, once its external PSK, if it has one, is known.
static int begin(struct handshake *handshake)
{
    handshake->hello_parked = true;
    if (handshake->psk_suite != NULL)
        return handshake_park(handshake, handshake->psk_external);
    handshake->state = HANDSHAKE_RUNNING;
    return handshake->dtls ? dtls_unpark(handshake) : tls_unpark(handshake);
}

int offer_refuse_ticket(struct handshake *handshake)
{
    handshake->ticket = handshake->identity_known = false;
    handshake->identity_len = 0;
    return begin(handshake);
}

static struct slice ticket_in(const struct peek_hello *hello, bool tls13)
{
    return tls13 ? hello->psk_identity : hello->ticket;
}

bool offer_may_have_ticket(const struct handshake_contexts *contexts, const struct peek_hello *hello, bool tls13)
{
    return contexts->tickets.lifetime > 0 && tickets_shaped(ticket_in(hello, tls13));
}

// Whether the peer can go on with the ticket's suite: it offers it, and (DTLS 1.3) the HelloRetryRequest has named no
// other, which it would have to refuse (RFC 8446 4.1.4). That was named without a look at the ticket, and is its own as
// long as the peer offers the same suites.
static bool suite_fits(const struct handshake *handshake, const struct peek_hello *hello, const struct ticket *ticket)
{
    uint16_t suite = (uint16_t)tls_get(ticket->bytes + SUITE_AT, 2);
    return peek_offers(hello, suite) && (handshake->retry_suite == 0 || handshake->retry_suite == suite);
}

// Each ticket of (D)TLS 1.3 has a nonce one above that of the ticket which its handshake resumed, and the library ends
// a handshake that would go beyond the last. A handshake in full, which begins at the first again, takes its place.
static bool chain_goes_on(const struct ticket *ticket, bool tls13)
{
    return !tls13 || (ticket->len > NONCE_AT && ticket->bytes[NONCE_AT] != NONCE_LAST);
}

// A ticket that opens goes before a PSK. The identity that it carries is asked for as if it had been peeked, so that
// nobody resumes what would not be established anew. One without an identity must not keep a peer from proving its own,
// nor stand for a certificate.
static int begin_with_ticket(struct handshake *handshake, const struct peek_hello *hello, bool tls13)
{
    struct ticket ticket;
    struct slice bytes = ticket_in(hello, tls13);
    struct slice binding = slice_of(handshake->listener->binding, sizeof handshake->listener->binding);
    if (tickets_open(&handshake->contexts->tickets, binding, bytes, clock_wall(), &ticket) != SAGATE_OK)
        return begin(handshake);
    bool proven = ticket.proof.identity.len > 0;
    int rc;
    handshake->ticket_key = ticket.proof.key;
    bool asked = handshake->listener->client_certificates != CONFIG_CLIENT_CERTIFICATES_NONE;
    handshake->ticket = suite_fits(handshake, hello, &ticket) && chain_goes_on(&ticket, tls13) &&
                        (proven || (handshake->psk_suite == NULL && !asked));
    if (handshake->ticket && proven) {
        handshake->hello_parked = true;
        rc = handshake_park(handshake, ticket.proof.identity);
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
    handshake->psk_external = hello->psk_external.data != NULL ? hello->psk_external : hello->psk_identity;
    if (hello->psk_external.data != NULL || !offer_may_have_ticket(handshake->contexts, hello, true))
        handshake->psk_suite = offer_suite_for_psk(hello);
}

int offer_take(struct handshake *handshake, const struct peek_hello *hello, bool tls13)
{
    if (tls13 && handshake->listener->psk && hello->psk_identity.data != NULL)
        choose_external(handshake, hello);
    if (offer_may_have_ticket(handshake->contexts, hello, tls13))
        return begin_with_ticket(handshake, hello, tls13);
    return begin(handshake);
}
