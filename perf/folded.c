// The four record layers behind one face.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "perf/folded.h"

#include "common/error.h"
#include "dataplane/record/dtls12.h"
#include "dataplane/record/dtls13.h"
#include "dataplane/record/number.h"
#include "dataplane/record/suite.h"
#include "dataplane/record/tls12.h"
#include "dataplane/record/tls13.h"

#include <string.h>

enum {
    // The library has sealed a Finished, once for each time that the flight was sent: numbers from here on are free.
    FIRST_SEQUENCE = 16,
    KEY_UPDATE = 24,
    TLS_MESSAGE_HEADER = 4,
    ALERT_LEN = 2,
    ALERT_CLOSE_NOTIFY = 0,
    ALERT_FATAL = 2,
};
_Static_assert((int)FOLDED_DATA == (int)DTLS12_APPLICATION && (int)FOLDED_DATA == (int)DTLS13_APPLICATION &&
                   (int)FOLDED_DATA == (int)TLS_APPLICATION && (int)FOLDED_ACK == (int)DTLS13_ACK,
               "content types are the same");

size_t folded_size(enum load_security security)
{
    switch (security) {
    case LOAD_DTLS12:
        return sizeof(struct dtls12);
    case LOAD_DTLS13:
        return sizeof(struct dtls13);
    case LOAD_TLS12:
        return sizeof(struct tls12);
    case LOAD_TLS13:
        return sizeof(struct tls13);
    case LOAD_NONE:
    default:
        return 0;
    }
}

// --- taking keys -------------------------------------------------------------------------------------------------

struct cids {
    uint8_t in[DTLS12_CID_MAX], out[DTLS12_CID_MAX];
    unsigned int in_len, out_len;
};

// The library's client never ends the handshake when the server does not agree to a Connection ID that is not empty. So
// what it has of its own is in use.
static bool take_cids(WOLFSSL *ssl, struct cids *cids)
{
    *cids = (struct cids){.in_len = 0};
    if (wolfSSL_dtls_cid_is_enabled(ssl) != 1)
        return true;
    return wolfSSL_dtls_cid_get_rx_size(ssl, &cids->in_len) == WOLFSSL_SUCCESS &&
           wolfSSL_dtls_cid_get_tx_size(ssl, &cids->out_len) == WOLFSSL_SUCCESS && cids->in_len <= sizeof cids->in &&
           cids->out_len <= sizeof cids->out &&
           (cids->in_len == 0 || wolfSSL_dtls_cid_get_rx(ssl, cids->in, cids->in_len) == WOLFSSL_SUCCESS) &&
           (cids->out_len == 0 || wolfSSL_dtls_cid_get_tx(ssl, cids->out, cids->out_len) == WOLFSSL_SUCCESS);
}

// Keys and IVs of version 1.2, where the library gives them.
struct traffic {
    const uint8_t *key_in, *key_out, *iv_in, *iv_out;
    const struct aead_properties *aead;
};

static bool take_traffic(WOLFSSL *ssl, struct traffic *traffic)
{
    *traffic = (struct traffic){.key_in = wolfSSL_GetServerWriteKey(ssl),
                                .key_out = wolfSSL_GetClientWriteKey(ssl),
                                .iv_in = wolfSSL_GetServerWriteIV(ssl),
                                .iv_out = wolfSSL_GetClientWriteIV(ssl),
                                .aead = aead_properties(suite_aead(ssl))};
    return traffic->aead->key > 0 && traffic->key_in != NULL && traffic->key_out != NULL && traffic->iv_in != NULL &&
           traffic->iv_out != NULL;
}

static bool take_dtls12(struct dtls12 *keys, WOLFSSL *ssl)
{
    struct traffic traffic;
    struct cids cids;
    if (!take_traffic(ssl, &traffic) || !take_cids(ssl, &cids))
        return false;
    // The window begins with the server's Finished, which the library has read.
    *keys = (struct dtls12){.next_out = 1ULL << NUMBER_EPOCH_SHIFT | FIRST_SEQUENCE,
                            .window = 1,
                            .aead = (uint8_t)suite_aead(ssl),
                            .cid_in_len = (uint8_t)cids.in_len,
                            .cid_out_len = (uint8_t)cids.out_len};
    memcpy(keys->cid_in, cids.in, sizeof cids.in);
    memcpy(keys->cid_out, cids.out, sizeof cids.out);
    memcpy(keys->key_in, traffic.key_in, traffic.aead->key);
    memcpy(keys->key_out, traffic.key_out, traffic.aead->key);
    memcpy(keys->iv_in, traffic.iv_in, traffic.aead->iv);
    memcpy(keys->iv_out, traffic.iv_out, traffic.aead->iv);
    return true;
}

static bool take_dtls13(struct dtls13 *keys, WOLFSSL *ssl, const struct folded_secrets *secrets)
{
    struct cids cids;
    enum aead aead = suite_aead(ssl);
    memset(keys, 0, sizeof *keys);
    if (secrets->len == 0 || dtls13_secret_len(aead) != secrets->len || !take_cids(ssl, &cids) ||
        dtls13_init(keys, aead, DTLS13_EPOCH_FIRST, secrets->in, secrets->out, slice_of(cids.in, cids.in_len),
                    slice_of(cids.out, cids.out_len)) != SAGATE_OK)
        return false;
    keys->next_out += FIRST_SEQUENCE; // it may have sent ACKs
    return true;
}

static bool take_tls12(struct tls12 *keys, WOLFSSL *ssl)
{
    struct traffic traffic;
    if (!take_traffic(ssl, &traffic))
        return false;
    *keys = (struct tls12){.next_in = 1, .next_out = 1, .aead = (uint8_t)suite_aead(ssl)}; // behind the Finished
    memcpy(keys->key_in, traffic.key_in, traffic.aead->key);
    memcpy(keys->key_out, traffic.key_out, traffic.aead->key);
    memcpy(keys->iv_in, traffic.iv_in, traffic.aead->iv);
    memcpy(keys->iv_out, traffic.iv_out, traffic.aead->iv);
    return true;
}

bool folded_take(enum load_security security, void *keys, WOLFSSL *ssl, const struct folded_secrets *secrets)
{
    switch (security) {
    case LOAD_DTLS12:
        return wolfSSL_GetVersion(ssl) == WOLFSSL_DTLSV1_2 && take_dtls12(keys, ssl);
    case LOAD_DTLS13:
        return take_dtls13(keys, ssl, secrets);
    case LOAD_TLS12:
        return wolfSSL_GetVersion(ssl) == WOLFSSL_TLSV1_2 && take_tls12(keys, ssl);
    case LOAD_TLS13:
        return secrets->len > 0 &&
               tls13_init(keys, suite_aead(ssl), secrets->in, secrets->out, secrets->len) == SAGATE_OK;
    case LOAD_NONE:
    default:
        return false;
    }
}

bool folded_with_cid(enum load_security security, const void *keys)
{
    if (security == LOAD_DTLS12)
        return ((const struct dtls12 *)keys)->cid_in_len + ((const struct dtls12 *)keys)->cid_out_len > 0;
    if (security == LOAD_DTLS13)
        return ((const struct dtls13 *)keys)->cid_in_len + ((const struct dtls13 *)keys)->cid_out_len > 0;
    return false;
}

// --- sealing -----------------------------------------------------------------------------------------------------

size_t folded_seal(enum load_security security, void *keys, enum folded_type type, const uint8_t *data, size_t len,
                   uint8_t *out, size_t cap)
{
    size_t made = 0;
    int rc;
    switch (security) {
    case LOAD_DTLS12:
        rc = dtls12_seal(keys, (uint8_t)type, data, len, out, cap, &made);
        break;
    case LOAD_DTLS13:
        rc = dtls13_seal(keys, (uint8_t)type, data, len, out, cap, &made);
        break;
    case LOAD_TLS12:
        rc = tls12_seal(keys, (uint8_t)type, data, len, out, cap, &made);
        break;
    case LOAD_TLS13:
        rc = tls13_seal(keys, (uint8_t)type, data, len, out, cap, &made);
        break;
    case LOAD_NONE:
    default:
        return 0;
    }
    return rc == SAGATE_OK ? made : 0;
}

// --- opening -----------------------------------------------------------------------------------------------------

// Was a record with this number received before? An epoch's first window begins with nothing seen.
static void check_number(uint64_t newest, uint64_t window, uint64_t number)
{
    if (number > newest)
        return;
    uint64_t behind = newest - number;
    if (behind >= NUMBER_WINDOW)
        load_counters.nonce_unknown++;
    else if ((window >> behind & 1) != 0)
        load_counters.nonce_repeats++;
}

static enum folded_result open_dtls12(struct dtls12 *keys, struct slice *rest, struct folded_content *content)
{
    struct dtls12_record record;
    if (dtls12_next(keys, rest, &record) != SAGATE_OK)
        return FOLDED_END;
    if (record.epoch == 1)
        check_number(keys->newest, keys->window, record.sequence);
    uint8_t *out = (uint8_t *)(uintptr_t)record.body.data + aead_properties(keys->aead)->explicit_nonce;
    content->data = out;
    switch (dtls12_open(keys, &record, out, record.body.len, &content->len, NULL)) {
    case DTLS12_DATA:
        return FOLDED_GOT;
    case DTLS12_CLOSED:
    case DTLS12_FATAL:
    case DTLS12_EXHAUSTED:
        return FOLDED_GONE;
    case DTLS12_FORGED:
    case DTLS12_MALFORMED:
        load_counters.errors++;
        return FOLDED_NOTHING;
    default: // the rest of a flight that came again, a warning, a repeat that was counted
        return FOLDED_NOTHING;
    }
}

// Every handshake message is acknowledged (RFC 9147 7.1): a NewSessionTicket, a KeyUpdate.
static enum folded_result message_came(struct dtls13 *keys, const struct dtls13_opened *opened,
                                       struct folded_content *content)
{
    static uint8_t ack[2 + 16];
    if (content->len > 0 && content->data[0] == KEY_UPDATE)
        keys->flags |= DTLS13_UPDATE_IN;
    number_put(ack, 16, 2);
    number_put(ack + 2, opened->number >> NUMBER_EPOCH_SHIFT, 8);
    number_put(ack + 10, opened->number & NUMBER_SEQUENCE_MASK, 8);
    *content = (struct folded_content){.data = ack, .len = sizeof ack, .type = FOLDED_ACK};
    return FOLDED_ANSWER;
}

static enum folded_result open_dtls13(struct dtls13 *keys, struct slice *rest, struct folded_content *content)
{
    static uint8_t out[FOLDED_RECORD_MAX];
    struct dtls13_record record;
    struct dtls13_opened opened;
    if (dtls13_next(keys->cid_in_len, rest, &record) != SAGATE_OK)
        return FOLDED_END;
    enum dtls13_verdict verdict = dtls13_open(keys, &record, out, sizeof out, &opened);
    content->data = out;
    switch (verdict) {
    case DTLS13_DATA:
        content->len = opened.len;
        return FOLDED_GOT;
    case DTLS13_MESSAGE:
        content->len = opened.len;
        return message_came(keys, &opened, content);
    case DTLS13_CLOSED:
    case DTLS13_FATAL:
    case DTLS13_EXHAUSTED:
        return FOLDED_GONE;
    case DTLS13_REPLAYED:
        load_counters.nonce_repeats++;
        return FOLDED_NOTHING;
    case DTLS13_FORGED:
    case DTLS13_MALFORMED:
        load_counters.errors++;
        return FOLDED_NOTHING;
    default:
        return FOLDED_NOTHING;
    }
}

static enum folded_result judge_alert(const struct folded_content *content)
{
    if (content->len != ALERT_LEN || content->data[0] == ALERT_FATAL || content->data[1] == ALERT_CLOSE_NOTIFY)
        return FOLDED_GONE;
    return FOLDED_NOTHING;
}

static enum folded_result broken(void)
{
    load_counters.errors++;
    return FOLDED_GONE;
}

static enum folded_result open_tls12(struct tls12 *keys, struct slice *rest, struct folded_content *content)
{
    struct tls_record record;
    size_t need;
    int rc = tls_next(rest, TLS12_BODY_MAX, &record, &need);
    if (rc == SAGATE_AGAIN)
        return FOLDED_END;
    if (rc != SAGATE_OK)
        return broken();
    uint8_t *out = (uint8_t *)(uintptr_t)record.body.data + aead_properties(keys->aead)->explicit_nonce;
    content->data = out;
    if (tls12_open(keys, &record, out, record.body.len, &content->len) != SAGATE_OK)
        return broken();
    if (record.type == TLS_ALERT)
        return judge_alert(content);
    return record.type == TLS_APPLICATION ? FOLDED_GOT : FOLDED_NOTHING;
}

// Tickets are of no use here; a KeyUpdate is obeyed (RFC 8446 4.6.3).
static enum folded_result tls13_message(struct tls13 *keys, struct folded_content *content)
{
    static const uint8_t update[TLS_MESSAGE_HEADER + 1] = {KEY_UPDATE, 0, 0, 1, 0};
    if (content->len != sizeof update || content->data[0] != KEY_UPDATE)
        return FOLDED_NOTHING;
    bool wanted = content->data[TLS_MESSAGE_HEADER] == 1;
    if (tls13_update(keys, &keys->in) != SAGATE_OK)
        return broken();
    *content = (struct folded_content){.data = update, .len = sizeof update, .type = FOLDED_HANDSHAKE};
    return wanted ? FOLDED_ANSWER : FOLDED_NOTHING;
}

static enum folded_result open_tls13(struct tls13 *keys, struct slice *rest, struct folded_content *content)
{
    struct tls_record record;
    size_t need;
    uint8_t type;
    int rc = tls_next(rest, TLS13_BODY_MAX, &record, &need);
    if (rc == SAGATE_AGAIN)
        return FOLDED_END;
    if (rc != SAGATE_OK)
        return broken();
    if (record.type == TLS_CHANGE_CIPHER_SPEC)
        return FOLDED_NOTHING;
    uint8_t *out = (uint8_t *)(uintptr_t)record.body.data;
    content->data = out;
    if (tls13_open(keys, &record, out, record.body.len, &type, &content->len) != SAGATE_OK)
        return broken();
    if (type == TLS_ALERT)
        return judge_alert(content);
    return type == TLS_HANDSHAKE ? tls13_message(keys, content) : FOLDED_GOT;
}

enum folded_result folded_open(enum load_security security, void *keys, uint8_t **data, size_t *len,
                               struct folded_content *content)
{
    struct slice rest = slice_of(*data, *len);
    enum folded_result result = FOLDED_END;
    switch (security) {
    case LOAD_DTLS12:
        result = open_dtls12(keys, &rest, content);
        break;
    case LOAD_DTLS13:
        result = open_dtls13(keys, &rest, content);
        break;
    case LOAD_TLS12:
        result = open_tls12(keys, &rest, content);
        break;
    case LOAD_TLS13:
        result = open_tls13(keys, &rest, content);
        break;
    case LOAD_NONE:
    default:
        break;
    }
    *data = (uint8_t *)(uintptr_t)rest.data; // they are the caller's
    *len = rest.len;
    return result;
}

void folded_answered(enum load_security security, void *keys, const struct folded_content *content)
{
    if (security == LOAD_TLS13 && content->type == FOLDED_HANDSHAKE) {
        struct tls13 *tls = keys;
        if (tls13_update(tls, &tls->out) != SAGATE_OK)
            load_counters.errors++;
    }
}
