// Keys of session tickets, and what is inside one: session, zeros, identity, which key proved it, when the ticket was
// made, how long the identity is.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/handshake/tickets.h"

#include "common/error.h"
#include "common/random.h"
#include "common/secret.h"
#include "dataplane/record/aead.h"
#include "dataplane/record/tls.h"

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/hmac.h>
#include <wolfssl/wolfcrypt/sha256.h>

#include <string.h>

enum {
    PERIOD = 4, // bytes of the name that tell the key
    NONCE = AEAD_NONCE,
    TAG = 16,
    SPARE_NAME = TICKETS_NAME - PERIOD,
    SPARE_IV = TICKETS_IV - NONCE,
    SPARE_MAC = TICKETS_MAC - TAG,
    KEY = 4,
    MADE = 4,
    TRAILER = KEY + MADE + 1, // a byte for the length of the identity
    VOID = 0xff,              // an identity length that no identity has: nobody may use this ticket
    CLOCK_SLACK = 5,          // seconds by which a ticket may be from the future: clocks are set back
    ADDITIONAL_MAX = PERIOD + 64,
};
_Static_assert(SPARE_NAME + SPARE_IV + SPARE_MAC == TICKETS_SPARE, "as the header says");

// Periods begin at 1, since the library takes a name of zeros for none.
static uint32_t period_at(const struct tickets *tickets, int64_t now)
{
    return (uint32_t)((uint64_t)now / tickets->lifetime) + 1;
}

// The nonce, which is random, goes into the key as well: all workers seal with the secret, and in a long period they
// could make more tickets than one key may see random nonces (2^32, NIST SP 800-38D 8.3).
static bool make_key(const struct tickets *tickets, uint32_t period, const uint8_t *nonce, uint8_t key[AEAD_KEY_MAX])
{
    uint8_t info[16 + PERIOD + NONCE] = "session ticket";
    tls_put(info + 16, period, PERIOD);
    memcpy(info + 16 + PERIOD, nonce, NONCE);
    return wc_HKDF(WC_SHA256, tickets->secret, TICKETS_SECRET, NULL, 0, info, sizeof info, key, AEAD_KEY_MAX) == 0;
}

uint32_t tickets_key(const struct tickets *tickets, struct slice key)
{
    static const uint8_t label[] = "key of a session ticket";
    uint8_t out[KEY] = {0};
    if (key.len == 0 || wc_HKDF(WC_SHA256, key.data, (word32)key.len, tickets->secret, TICKETS_SECRET, label,
                                sizeof label, out, sizeof out) != 0)
        return 0;
    return (uint32_t)tls_get(out, sizeof out);
}

// One job over the body in a buffer of its own, where what is spread over the ticket lies together.
static int run(const struct tickets *tickets, struct slice binding, uint32_t period, const uint8_t *nonce,
               uint8_t *buffer, size_t len, bool seal)
{
    uint8_t key[AEAD_KEY_MAX];
    uint8_t additional[ADDITIONAL_MAX];
    if (binding.len > ADDITIONAL_MAX - PERIOD || !make_key(tickets, period, nonce, key))
        return SAGATE_EINTERNAL;
    tls_put(additional, period, PERIOD);
    memcpy(additional + PERIOD, binding.data, binding.len);
    struct aead_job job = {
        .aead = AEAD_AES_256_GCM,
        .key = key,
        .additional = additional,
        .additional_len = PERIOD + binding.len,
        .in = buffer,
        .out = buffer,
        .len = len,
    };
    struct aead_job *one = &job;
    memcpy(job.nonce, nonce, NONCE);
    if (seal)
        aead_seal(&one, 1);
    else
        aead_open(&one, 1);
    secret_zero(key, sizeof key);
    return job.result;
}

int tickets_seal(const struct tickets *tickets, struct slice binding, const struct ticket_proof *proof, size_t session,
                 int64_t now, const struct ticket_parts *parts)
{
    uint8_t buffer[TICKETS_BODY_MAX + TICKETS_SPARE + TAG] = {0};
    size_t len = parts->len + TICKETS_SPARE;
    if (parts->len < session || parts->len > TICKETS_BODY_MAX || len < session + TRAILER)
        return SAGATE_EINVAL;
    size_t identity = proof == NULL ? VOID : proof->identity.len;
    bool fits = identity < VOID && identity <= len - session - TRAILER;
    uint8_t *trailer = buffer + len - TRAILER;
    if (fits)
        memcpy(buffer, parts->body, session);
    if (fits && identity > 0)
        memcpy(trailer - identity, proof->identity.data, identity);
    tls_put(trailer, fits ? proof->key : 0, KEY);
    tls_put(trailer + KEY, (uint64_t)now, MADE);
    trailer[KEY + MADE] = fits ? (uint8_t)identity : VOID;
    uint32_t period = period_at(tickets, now);
    uint8_t nonce[NONCE];
    int rc = random_bytes(nonce, NONCE) ? SAGATE_OK : SAGATE_EINTERNAL;
    if (rc == SAGATE_OK)
        rc = run(tickets, binding, period, nonce, buffer, len, true);
    if (rc == SAGATE_OK) {
        const uint8_t *spare = buffer + parts->len;
        tls_put(parts->name, period, PERIOD);
        memcpy(parts->iv, nonce, NONCE);
        memcpy(parts->body, buffer, parts->len);
        memcpy(parts->name + PERIOD, spare, SPARE_NAME);
        memcpy(parts->iv + NONCE, spare + SPARE_NAME, SPARE_IV);
        memcpy(parts->mac + TAG, spare + SPARE_NAME + SPARE_IV, SPARE_MAC);
        memcpy(parts->mac, buffer + len, TAG);
    }
    secret_zero(buffer, sizeof buffer);
    return rc;
}

bool tickets_shaped(struct slice bytes)
{
    return bytes.len > TICKETS_FRAME && bytes.len <= TICKETS_FRAME + TICKETS_BODY_MAX &&
           tls_get(bytes.data + TICKETS_NAME + TICKETS_IV, TICKETS_LENGTH) == bytes.len - TICKETS_FRAME;
}

// Puts together what is spread over a ticket: nonce and period, then the body with its tag behind it.
static void gather(struct slice bytes, uint32_t *period, const uint8_t **nonce, uint8_t *buffer)
{
    size_t n = bytes.len - TICKETS_FRAME;
    const uint8_t *name = bytes.data;
    const uint8_t *iv = name + TICKETS_NAME;
    const uint8_t *body = iv + TICKETS_IV + TICKETS_LENGTH;
    const uint8_t *mac = body + n;
    uint8_t *spare = buffer + n;
    *period = (uint32_t)tls_get(name, PERIOD);
    *nonce = iv;
    memcpy(buffer, body, n);
    memcpy(spare, name + PERIOD, SPARE_NAME);
    memcpy(spare + SPARE_NAME, iv + NONCE, SPARE_IV);
    memcpy(spare + SPARE_NAME + SPARE_IV, mac + TAG, SPARE_MAC);
    memcpy(spare + TICKETS_SPARE, mac, TAG);
}

int tickets_open(const struct tickets *tickets, struct slice binding, struct slice bytes, int64_t now,
                 struct ticket *ticket)
{
    uint8_t buffer[TICKETS_BODY_MAX + TICKETS_SPARE + TAG];
    uint32_t period;
    const uint8_t *nonce;
    if (!tickets_shaped(bytes))
        return SAGATE_ERECORD;
    gather(bytes, &period, &nonce, buffer);
    size_t n = bytes.len - TICKETS_FRAME;
    size_t len = n + TICKETS_SPARE;
    uint32_t current = period_at(tickets, now);
    if ((period != current && period + 1 != current) ||
        run(tickets, binding, period, nonce, buffer, len, false) != SAGATE_OK)
        return SAGATE_ERECORD;
    const uint8_t *trailer = buffer + len - TRAILER;
    int32_t age = (int32_t)((uint32_t)now - (uint32_t)tls_get(trailer + KEY, MADE));
    size_t identity = trailer[KEY + MADE];
    bool good =
        age >= -CLOCK_SLACK && age <= (int64_t)tickets->lifetime && identity != VOID && identity <= len - TRAILER;
    if (good) {
        memcpy(ticket->bytes, buffer, len);
        ticket->len = n;
        ticket->proof = (struct ticket_proof){.identity = slice_of(ticket->bytes + len - TRAILER - identity, identity),
                                              .key = (uint32_t)tls_get(trailer, KEY)};
    }
    secret_zero(buffer, sizeof buffer);
    return good ? SAGATE_OK : SAGATE_ERECORD;
}
