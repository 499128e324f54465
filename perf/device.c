// Handshakes of simulated devices, and their records.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "perf/device.h"

#include "common/error.h"
#include "perf/net.h"

#include <wolfssl/options.h>

#include <stdio.h>
#include <string.h>
#include <wolfssl/ssl.h>

enum {
    EPOCH_SHIFT = 48,
    // The library has sealed a Finished, once for each time that the flight was sent: numbers from here on are free.
    FIRST_SEQUENCE = 16,
    WINDOW = 64,
};

static const struct load_options *options;
static WOLFSSL_CTX *context;
// What wolfSSL reads next: the datagram in hand.
static const uint8_t *inbox;
static size_t inbox_len;

static int receive(WOLFSSL *ssl, char *buffer, int size, void *device)
{
    (void)ssl;
    (void)device;
    if (inbox_len == 0)
        return WOLFSSL_CBIO_ERR_WANT_READ;
    size_t len = inbox_len < (size_t)size ? inbox_len : (size_t)size;
    memcpy(buffer, inbox, len);
    inbox_len = 0;
    return (int)len;
}

static int transmit(WOLFSSL *ssl, char *buffer, int size, void *context_of_device)
{
    (void)ssl;
    const struct device *device = context_of_device;
    net_send(device->index, buffer, (size_t)size);
    return size;
}

static unsigned int give_psk(WOLFSSL *ssl, const char *hint, char *identity, unsigned int identity_max,
                             unsigned char *key, unsigned int key_max)
{
    (void)hint;
    char text[LOAD_TEXT_MAX];
    const struct device *device = wolfSSL_GetIOReadCtx(ssl);
    uint32_t number = device->index % options->identities;
    const struct load_credential *own = options->credentials != NULL ? &options->credentials[number] : NULL;
    unsigned int key_len = own != NULL ? own->key_len : options->key_len;
    if (own != NULL)
        (void)snprintf(text, sizeof text, "%s", own->identity);
    else
        load_text(options->identity, number, text);
    if (strlen(text) >= identity_max || key_len > key_max)
        return 0;
    memcpy(identity, text, strlen(text) + 1);
    memcpy(key, own != NULL ? own->key : options->key, key_len);
    for (unsigned i = 0; own == NULL && i < 4 && i < key_len; i++)
        key[key_len - 1 - i] ^= (unsigned char)(number >> 8 * i);
    return key_len;
}

static unsigned int give_psk13(WOLFSSL *ssl, const char *hint, char *identity, unsigned int identity_max,
                               unsigned char *key, unsigned int key_max, const char **suite)
{
    *suite = options->cipher != NULL ? options->cipher : "TLS13-AES128-GCM-SHA256";
    return give_psk(ssl, hint, identity, identity_max, key, key_max);
}

static void load_files(void)
{
    if (options->certificate != NULL &&
        (wolfSSL_CTX_use_certificate_chain_file(context, options->certificate) != WOLFSSL_SUCCESS ||
         wolfSSL_CTX_use_PrivateKey_file(context, options->certificate_key, WOLFSSL_FILETYPE_PEM) != WOLFSSL_SUCCESS))
        load_fail("%s and %s: no usable certificate and key", options->certificate, options->certificate_key);
    if (options->trust == NULL)
        wolfSSL_CTX_set_verify(context, WOLFSSL_VERIFY_NONE, NULL);
    else if (wolfSSL_CTX_load_verify_locations(context, options->trust, NULL) != WOLFSSL_SUCCESS)
        load_fail("%s: no usable certificate", options->trust);
}

void device_setup(const struct load_options *given)
{
    options = given;
    if (options->security == LOAD_NONE)
        return;
    (void)wolfSSL_Init();
    context =
        wolfSSL_CTX_new(options->security == LOAD_DTLS13 ? wolfDTLSv1_3_client_method() : wolfDTLSv1_2_client_method());
    if (context == NULL)
        load_fail("memory is short");
    if (options->cipher != NULL && wolfSSL_CTX_set_cipher_list(context, options->cipher) != WOLFSSL_SUCCESS)
        load_fail("unknown cipher %s", options->cipher);
    load_files();
    (void)wolfSSL_CTX_set_group_messages(context);
    wolfSSL_CTX_SetIORecv(context, receive);
    wolfSSL_CTX_SetIOSend(context, transmit);
}

static void drop_object(struct device *device)
{
    wolfSSL_free(device->ssl);
    device->ssl = NULL;
}

static WOLFSSL *new_object(struct device *device)
{
    WOLFSSL *ssl = wolfSSL_new(context);
    if (ssl == NULL)
        load_fail("memory is short");
    wolfSSL_SetIOReadCtx(ssl, device);
    wolfSSL_SetIOWriteCtx(ssl, device);
    wolfSSL_dtls_set_using_nonblock(ssl, 1);
    if (options->identity != NULL && options->security == LOAD_DTLS13)
        wolfSSL_set_psk_client_tls13_callback(ssl, give_psk13);
    else if (options->identity != NULL)
        wolfSSL_set_psk_client_callback(ssl, give_psk);
    if (options->security == LOAD_DTLS13)
        (void)wolfSSL_UseKeyShare(ssl, WOLFSSL_ECC_SECP256R1);
    if (!options->no_cid) {
        uint8_t cid[DTLS12_CID_MAX] = {0};
        memcpy(cid, &device->index, sizeof device->index);
        if (wolfSSL_dtls_cid_use(ssl) != WOLFSSL_SUCCESS ||
            wolfSSL_dtls_cid_set(ssl, cid, options->cid_bytes) != WOLFSSL_SUCCESS)
            load_fail("Connection IDs are not to be had");
    }
    return ssl;
}

static enum aead aead_of(WOLFSSL *ssl)
{
    int key = wolfSSL_GetKeySize(ssl);
    switch (wolfSSL_GetBulkCipher(ssl)) {
    case wolfssl_aes_gcm:
        return key == 16 ? AEAD_AES_128_GCM : AEAD_AES_256_GCM;
    case wolfssl_aes_ccm:
        if (key != 16)
            return AEAD_NONE;
        return wolfSSL_GetAeadMacSize(ssl) == 8 ? AEAD_AES_128_CCM_8 : AEAD_AES_128_CCM;
    case wolfssl_chacha:
        return AEAD_CHACHA20_POLY1305;
    default:
        return AEAD_NONE;
    }
}

// The library's client never ends the handshake when the server does not agree to a Connection ID that is not empty. So
// what it has of its own is in use.
static bool take_cids(struct dtls12 *keys, WOLFSSL *ssl)
{
    unsigned int in = 0;
    unsigned int out = 0;
    if (wolfSSL_dtls_cid_is_enabled(ssl) != 1)
        return true;
    if (wolfSSL_dtls_cid_get_rx_size(ssl, &in) != WOLFSSL_SUCCESS ||
        wolfSSL_dtls_cid_get_tx_size(ssl, &out) != WOLFSSL_SUCCESS || in > DTLS12_CID_MAX || out > DTLS12_CID_MAX)
        return false;
    keys->cid_in_len = (uint8_t)in;
    keys->cid_out_len = (uint8_t)out;
    load_counters.with_cid += in + out > 0 ? 1U : 0U;
    return (in == 0 || wolfSSL_dtls_cid_get_rx(ssl, keys->cid_in, in) == WOLFSSL_SUCCESS) &&
           (out == 0 || wolfSSL_dtls_cid_get_tx(ssl, keys->cid_out, out) == WOLFSSL_SUCCESS);
}

static bool fold(struct device *device)
{
    WOLFSSL *ssl = device->ssl;
    struct dtls12 *keys = &device->keys;
    if (wolfSSL_GetVersion(ssl) != WOLFSSL_DTLSV1_2)
        return false;
    const struct aead_properties *aead = aead_properties(aead_of(ssl));
    const uint8_t *key_in = wolfSSL_GetServerWriteKey(ssl);
    const uint8_t *key_out = wolfSSL_GetClientWriteKey(ssl);
    const uint8_t *iv_in = wolfSSL_GetServerWriteIV(ssl);
    const uint8_t *iv_out = wolfSSL_GetClientWriteIV(ssl);
    // The window begins with the server's Finished, which the library has read.
    *keys = (struct dtls12){.next_out = 1ULL << EPOCH_SHIFT | FIRST_SEQUENCE, .window = 1};
    if (aead->key == 0 || key_in == NULL || key_out == NULL || iv_in == NULL || iv_out == NULL || !take_cids(keys, ssl))
        return false;
    keys->aead = (uint8_t)aead_of(ssl);
    memcpy(keys->key_in, key_in, aead->key);
    memcpy(keys->key_out, key_out, aead->key);
    memcpy(keys->iv_in, iv_in, aead->iv);
    memcpy(keys->iv_out, iv_out, aead->iv);
    return true;
}

static enum device_event step(struct device *device)
{
    unsigned int cid = 0;
    int rc = wolfSSL_connect(device->ssl);
    if (rc == WOLFSSL_SUCCESS) {
        device->state = DEVICE_HELD;
        if (fold(device)) {
            drop_object(device);
            device->state = DEVICE_FOLDED;
        } else if (wolfSSL_dtls_cid_get_tx_size(device->ssl, &cid) == WOLFSSL_SUCCESS && cid > 0) {
            load_counters.with_cid++;
        }
        return DEVICE_READY;
    }
    int error = wolfSSL_get_error(device->ssl, rc);
    if (error == WOLFSSL_ERROR_WANT_READ || error == WOLFSSL_ERROR_WANT_WRITE)
        return DEVICE_SAME;
    if (load_counters.handshakes_failed++ == 0)
        (void)fprintf(stderr, "sagate-load: handshake: %s\n", wolfSSL_ERR_reason_error_string((unsigned long)error));
    drop_object(device);
    device->state = DEVICE_NEW;
    return DEVICE_GONE;
}

enum device_event device_start(struct device *device)
{
    if (options->security == LOAD_NONE) {
        device->state = DEVICE_PLAIN;
        return DEVICE_READY;
    }
    inbox_len = 0;
    device->ssl = new_object(device);
    device->state = DEVICE_HANDSHAKE;
    return step(device);
}

enum device_event device_timeout(struct device *device)
{
    inbox_len = 0;
    if (wolfSSL_dtls_got_timeout(device->ssl) == WOLFSSL_SUCCESS)
        return DEVICE_SAME;
    load_counters.handshakes_failed++;
    drop_object(device);
    device->state = DEVICE_NEW;
    return DEVICE_GONE;
}

// Was a record with this number received before?
static void check_number(const struct dtls12 *keys, const struct dtls12_record *record)
{
    if (record->epoch != 1 || record->sequence > keys->newest)
        return;
    uint64_t behind = keys->newest - record->sequence;
    if (behind >= WINDOW)
        load_counters.nonce_unknown++;
    else if ((keys->window >> behind & 1) != 0)
        load_counters.nonce_repeats++;
}

static enum device_event open_record(struct device *device, const struct dtls12_record *record, device_data *data)
{
    uint8_t *out = (uint8_t *)(uintptr_t)record->body.data; // the datagram is ours
    size_t len;
    check_number(&device->keys, record);
    const size_t nonce = aead_properties(device->keys.aead)->explicit_nonce;
    switch (dtls12_open(&device->keys, record, out + nonce, record->body.len, &len, NULL)) {
    case DTLS12_DATA:
        data(device, out + nonce, len);
        return DEVICE_SAME;
    case DTLS12_CLOSED:
    case DTLS12_FATAL:
    case DTLS12_EXHAUSTED:
        device->state = DEVICE_NEW;
        return DEVICE_GONE;
    case DTLS12_FORGED:
    case DTLS12_MALFORMED:
        load_counters.errors++;
        return DEVICE_SAME;
    default: // the rest of a flight that came again, a warning, a repeat that was counted
        return DEVICE_SAME;
    }
}

static enum device_event read_held(struct device *device, device_data *data)
{
    uint8_t out[LOAD_REQUEST_MAX];
    for (;;) {
        int len = wolfSSL_read(device->ssl, out, sizeof out);
        if (len > 0) {
            data(device, out, (size_t)len);
            if (device->state != DEVICE_HELD)
                return DEVICE_SAME;
            continue;
        }
        int error = wolfSSL_get_error(device->ssl, len);
        if (error == WOLFSSL_ERROR_WANT_READ || error == WOLFSSL_ERROR_WANT_WRITE)
            return DEVICE_SAME;
        drop_object(device);
        device->state = DEVICE_NEW;
        return DEVICE_GONE;
    }
}

enum device_event device_input(struct device *device, uint8_t *datagram, size_t len, device_data *data)
{
    struct slice rest = slice_of(datagram, len);
    struct dtls12_record record;
    inbox = datagram;
    inbox_len = len;
    switch ((enum device_state)device->state) {
    case DEVICE_HANDSHAKE:
        return step(device);
    case DEVICE_HELD:
        return read_held(device, data);
    case DEVICE_PLAIN:
        data(device, datagram, len);
        return DEVICE_SAME;
    case DEVICE_FOLDED:
        while (device->state == DEVICE_FOLDED && dtls12_next(&device->keys, &rest, &record) == SAGATE_OK) {
            enum device_event event = open_record(device, &record, data);
            if (event != DEVICE_SAME)
                return event;
        }
        return DEVICE_SAME;
    case DEVICE_NEW:
    default:
        return DEVICE_SAME;
    }
}

static void seal(struct device *device, uint8_t type, const uint8_t *data, size_t len)
{
    size_t made;
    uint8_t *out = net_reserve(device->index);
    if (dtls12_seal(&device->keys, type, data, len, out, NET_DATAGRAM_MAX, &made) == SAGATE_OK)
        net_commit(device->index, made);
    else
        load_counters.errors++;
}

void device_send(struct device *device, const uint8_t *data, size_t len)
{
    if (device->state == DEVICE_FOLDED)
        seal(device, DTLS12_APPLICATION, data, len);
    else if (device->state == DEVICE_PLAIN)
        net_send(device->index, data, len);
    else if (device->state == DEVICE_HELD && wolfSSL_write(device->ssl, data, (int)len) != (int)len)
        load_counters.errors++;
}

void device_close(struct device *device)
{
    static const uint8_t close_notify[] = {1, 0}; // RFC 5246 7.2.1
    inbox_len = 0;
    if (device->state == DEVICE_FOLDED)
        seal(device, DTLS12_ALERT, close_notify, sizeof close_notify);
    else if (device->state == DEVICE_HELD)
        (void)wolfSSL_shutdown(device->ssl);
    device_forget(device);
}

void device_forget(struct device *device)
{
    drop_object(device);
    device->state = DEVICE_NEW;
}
