// Handshakes of simulated devices, and what they send and receive.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "perf/device.h"

#include "perf/folded.h"
#include "perf/net.h"
#include "perf/tcp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CID_MAX = 16,
    RECORD_PIECE = 16384,           // of application data in one TLS record
    STREAM_ROOM = 4 * RECORD_PIECE, // bytes that one receive takes
};

// The library's object and what its functions note.
struct handshake {
    WOLFSSL *ssl;
    struct device *device;
    bool ticket; // one has come
    struct folded_secrets secrets;
};

// Of DEVICE_HANDSHAKE, DEVICE_TICKET and DEVICE_HELD, where else keys are.
union room {
    struct handshake *handshake;
};

static const struct load_options *options;
static const struct device_handlers *handlers;
static WOLFSSL_CTX *context;
static struct device *devices;
static uint8_t *rooms;
static size_t room_size;
static WOLFSSL_SESSION **sessions; // for --resume; by device
// What wolfSSL reads next of a datagram: that in hand.
static const uint8_t *inbox;
static size_t inbox_len;

uint32_t device_index(const struct device *device)
{
    return (uint32_t)(device - devices);
}

bool device_is_stream(void)
{
    return options->security == LOAD_TLS12 || options->security == LOAD_TLS13;
}

static void *keys_of(const struct device *device)
{
    return rooms + room_size * device_index(device);
}

static struct handshake *handshake_of(const struct device *device)
{
    return ((union room *)keys_of(device))->handshake;
}

// --- the library -------------------------------------------------------------------------------------------------

static int receive(WOLFSSL *ssl, char *buffer, int size, void *given)
{
    (void)ssl;
    const struct handshake *handshake = given;
    if (device_is_stream()) {
        ssize_t got = tcp_receive(device_index(handshake->device), buffer, (size_t)size);
        return got > 0 ? (int)got : got == 0 ? WOLFSSL_CBIO_ERR_CONN_CLOSE : WOLFSSL_CBIO_ERR_WANT_READ;
    }
    if (inbox_len == 0)
        return WOLFSSL_CBIO_ERR_WANT_READ;
    size_t len = inbox_len < (size_t)size ? inbox_len : (size_t)size;
    memcpy(buffer, inbox, len);
    inbox_len = 0;
    return (int)len;
}

static int transmit(WOLFSSL *ssl, char *buffer, int size, void *given)
{
    (void)ssl;
    const struct device *device = ((const struct handshake *)given)->device;
    if (device_is_stream())
        return tcp_send(device_index(device), buffer, (size_t)size) ? size : WOLFSSL_CBIO_ERR_CONN_CLOSE;
    net_send(net_endpoint(device_index(device), device->generation), buffer, (size_t)size);
    return size;
}

static unsigned int give_psk(WOLFSSL *ssl, const char *hint, char *identity, unsigned int identity_max,
                             unsigned char *key, unsigned int key_max)
{
    (void)hint;
    char text[LOAD_TEXT_MAX];
    const struct handshake *handshake = wolfSSL_GetIOReadCtx(ssl);
    uint32_t number = device_index(handshake->device) % options->identities;
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

static int note_secret(WOLFSSL *ssl, int id, const unsigned char *secret, int len, void *given)
{
    (void)ssl;
    struct handshake *handshake = given;
    if (len <= 0 || len > FOLDED_SECRET_MAX || (id != CLIENT_TRAFFIC_SECRET && id != SERVER_TRAFFIC_SECRET))
        return 0;
    memcpy(id == CLIENT_TRAFFIC_SECRET ? handshake->secrets.out : handshake->secrets.in, secret, (size_t)len);
    handshake->secrets.len = (size_t)len;
    return 0;
}

static int note_ticket(WOLFSSL *ssl, const unsigned char *ticket, int len, void *given)
{
    (void)ssl;
    (void)ticket;
    ((struct handshake *)given)->ticket = len > 0;
    return 0;
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

static WOLFSSL_METHOD *method_of(enum load_security security)
{
    switch (security) {
    case LOAD_DTLS13:
        return wolfDTLSv1_3_client_method();
    case LOAD_TLS12:
        return wolfTLSv1_2_client_method();
    case LOAD_TLS13:
        return wolfTLSv1_3_client_method();
    case LOAD_NONE:
    case LOAD_DTLS12:
    default:
        return wolfDTLSv1_2_client_method();
    }
}

static void make_context(void)
{
    (void)wolfSSL_Init();
    context = wolfSSL_CTX_new(method_of(options->security));
    if (context == NULL)
        load_fail("memory is short");
    if (options->cipher != NULL && wolfSSL_CTX_set_cipher_list(context, options->cipher) != WOLFSSL_SUCCESS)
        load_fail("unknown cipher %s", options->cipher);
    load_files();
    (void)wolfSSL_CTX_set_group_messages(context);
    wolfSSL_CTX_SetIORecv(context, receive);
    wolfSSL_CTX_SetIOSend(context, transmit);
}

struct device *device_setup(const struct load_options *given, const struct device_handlers *given_handlers)
{
    options = given;
    handlers = given_handlers;
    size_t folded = folded_size(options->security);
    room_size = folded > sizeof(union room) ? (folded + 7) / 8 * 8 : sizeof(union room);
    devices = calloc(options->devices, sizeof *devices);
    rooms = calloc(options->devices, room_size);
    sessions = options->resume ? calloc(options->devices, sizeof *sessions) : NULL;
    if (devices == NULL || rooms == NULL || (options->resume && sessions == NULL))
        load_fail("memory is short");
    if (options->security != LOAD_NONE)
        make_context();
    net_setup();
    if (device_is_stream())
        tcp_open(&options->target, options->source, options->devices);
    else
        net_open(&options->target, options->source, options->devices, options->rebind > 0 ? NET_GENERATIONS : 1);
    return devices;
}

static void prepare(struct handshake *handshake, WOLFSSL *ssl)
{
    bool new_version = options->security == LOAD_DTLS13 || options->security == LOAD_TLS13;
    wolfSSL_SetIOReadCtx(ssl, handshake);
    wolfSSL_SetIOWriteCtx(ssl, handshake);
    if (!device_is_stream())
        wolfSSL_dtls_set_using_nonblock(ssl, 1);
    if (options->identity != NULL && new_version)
        wolfSSL_set_psk_client_tls13_callback(ssl, give_psk13);
    else if (options->identity != NULL)
        wolfSSL_set_psk_client_callback(ssl, give_psk);
    if (new_version)
        (void)wolfSSL_set_tls13_secret_cb(ssl, note_secret, handshake);
    if (options->security == LOAD_DTLS13)
        (void)wolfSSL_UseKeyShare(ssl, WOLFSSL_ECC_SECP256R1);
    if (options->resume) {
        (void)wolfSSL_UseSessionTicket(ssl);
        (void)wolfSSL_set_SessionTicket_cb(ssl, note_ticket, handshake);
    }
}

static void offer_cid(WOLFSSL *ssl, uint32_t index)
{
    uint8_t cid[CID_MAX] = {0};
    memcpy(cid, &index, sizeof index);
    if (wolfSSL_dtls_cid_use(ssl) != WOLFSSL_SUCCESS ||
        wolfSSL_dtls_cid_set(ssl, cid, options->cid_bytes) != WOLFSSL_SUCCESS)
        load_fail("Connection IDs are not to be had");
}

static void new_object(struct device *device)
{
    struct handshake *handshake = calloc(1, sizeof *handshake);
    WOLFSSL *ssl = wolfSSL_new(context);
    if (handshake == NULL || ssl == NULL)
        load_fail("memory is short");
    *handshake = (struct handshake){.ssl = ssl, .device = device};
    prepare(handshake, ssl);
    if (!options->no_cid && !device_is_stream())
        offer_cid(ssl, device_index(device));
    if (sessions != NULL && sessions[device_index(device)] != NULL)
        (void)wolfSSL_set_session(ssl, sessions[device_index(device)]);
    ((union room *)keys_of(device))->handshake = handshake;
}

static void drop_object(struct device *device)
{
    struct handshake *handshake = handshake_of(device);
    wolfSSL_free(handshake->ssl);
    free(handshake);
    ((union room *)keys_of(device))->handshake = NULL;
}

static bool has_object(const struct device *device)
{
    return device->state == DEVICE_HANDSHAKE || device->state == DEVICE_TICKET || device->state == DEVICE_HELD;
}

void device_forget(struct device *device)
{
    if (has_object(device))
        drop_object(device);
    if (device_is_stream())
        tcp_close(device_index(device));
    device->state = DEVICE_NEW;
}

// --- handshakes --------------------------------------------------------------------------------------------------

static void keep_session(const struct handshake *handshake)
{
    WOLFSSL_SESSION **session = &sessions[device_index(handshake->device)];
    wolfSSL_SESSION_free(*session);
    *session = wolfSSL_get1_session(handshake->ssl);
}

static enum device_event establish(struct device *device)
{
    unsigned int cid = 0;
    uint64_t keys[64];
    struct handshake *handshake = handshake_of(device);
    load_counters.resumed += options->resume && wolfSSL_session_reused(handshake->ssl) == 1 ? 1U : 0U;
    if (sessions != NULL)
        keep_session(handshake);
    device->state = DEVICE_HELD;
    if (room_size <= sizeof keys && folded_take(options->security, keys, handshake->ssl, &handshake->secrets)) {
        drop_object(device);
        memcpy(keys_of(device), keys, folded_size(options->security));
        device->state = DEVICE_FOLDED;
        load_counters.with_cid += folded_with_cid(options->security, keys) ? 1U : 0U;
    } else if (!device_is_stream() && wolfSSL_dtls_cid_get_tx_size(handshake->ssl, &cid) == WOLFSSL_SUCCESS &&
               cid > 0) {
        load_counters.with_cid++;
    }
    return DEVICE_READY;
}

// That a fatal alert came, which is what --alerts is for.
static bool was_alerted(const struct device *device)
{
    WOLFSSL_ALERT_HISTORY history;
    return options->alerts && wolfSSL_get_alert_history(handshake_of(device)->ssl, &history) == WOLFSSL_SUCCESS &&
           history.last_rx.level == alert_fatal;
}

static enum device_event fail(struct device *device, int error)
{
    if (was_alerted(device)) {
        load_counters.alerted++;
        device_forget(device);
        return DEVICE_ALERTED;
    }
    if (load_counters.handshakes_failed++ == 0)
        (void)fprintf(stderr, "sagate-load: handshake: %s\n", wolfSSL_ERR_reason_error_string((unsigned long)error));
    if (sessions != NULL) { // a ticket that is not taken: in full the next time
        wolfSSL_SESSION_free(sessions[device_index(device)]);
        sessions[device_index(device)] = NULL;
    }
    device_forget(device);
    return DEVICE_GONE;
}

static bool wants_more(int error)
{
    return error == WOLFSSL_ERROR_WANT_READ || error == WOLFSSL_ERROR_WANT_WRITE;
}

// Tickets of version 1.3 come behind the handshake (RFC 8446 4.6.1).
static enum device_event await_ticket(struct device *device)
{
    uint8_t byte;
    struct handshake *handshake = handshake_of(device);
    int len = wolfSSL_peek(handshake->ssl, &byte, 1);
    if (handshake->ticket || len > 0)
        return establish(device);
    int error = wolfSSL_get_error(handshake->ssl, len);
    return wants_more(error) ? DEVICE_SAME : fail(device, error);
}

static enum device_event step(struct device *device)
{
    struct handshake *handshake = handshake_of(device);
    if (device->state == DEVICE_TICKET)
        return await_ticket(device);
    int rc = wolfSSL_connect(handshake->ssl);
    if (rc == WOLFSSL_SUCCESS) {
        bool later = options->resume && (options->security == LOAD_TLS13 || options->security == LOAD_DTLS13);
        if (!later || handshake->ticket)
            return establish(device);
        device->state = DEVICE_TICKET;
        return await_ticket(device);
    }
    int error = wolfSSL_get_error(handshake->ssl, rc);
    return wants_more(error) ? DEVICE_SAME : fail(device, error);
}

enum device_event device_start(struct device *device)
{
    if (options->security == LOAD_NONE) {
        device->state = DEVICE_PLAIN;
        return DEVICE_READY;
    }
    if (device_is_stream() && !tcp_connect(device_index(device))) {
        load_counters.handshakes_failed++;
        return DEVICE_GONE;
    }
    inbox_len = 0;
    new_object(device);
    device->state = DEVICE_HANDSHAKE;
    return step(device);
}

enum device_event device_timeout(struct device *device)
{
    inbox_len = 0;
    if (device->state == DEVICE_TICKET)
        return establish(device); // without one
    if (!device_is_stream() && wolfSSL_dtls_got_timeout(handshake_of(device)->ssl) == WOLFSSL_SUCCESS)
        return DEVICE_SAME;
    load_counters.handshakes_failed++;
    device_forget(device);
    return DEVICE_GONE;
}

// --- data --------------------------------------------------------------------------------------------------------

static void send_record(struct device *device, enum folded_type type, const uint8_t *data, size_t len)
{
    static uint8_t record[FOLDED_RECORD_MAX];
    uint32_t index = device_index(device);
    uint32_t endpoint = net_endpoint(index, device->generation);
    bool stream = device_is_stream();
    uint8_t *out = stream ? record : net_reserve(endpoint);
    size_t made = folded_seal(options->security, keys_of(device), type, data, len, out,
                              stream ? sizeof record : NET_DATAGRAM_MAX);
    if (made == 0)
        load_counters.errors++;
    else if (stream)
        (void)tcp_send(index, record, made); // that it is broken is an event of its own
    else
        net_commit(endpoint, made);
}

void device_send(struct device *device, const uint8_t *data, size_t len)
{
    if (device->state == DEVICE_PLAIN) {
        net_send(net_endpoint(device_index(device), device->generation), data, len);
    } else if (device->state == DEVICE_HELD) {
        if (wolfSSL_write(handshake_of(device)->ssl, data, (int)len) != (int)len)
            load_counters.errors++;
    } else if (device->state == DEVICE_FOLDED) {
        for (size_t at = 0; at < len; at += RECORD_PIECE)
            send_record(device, FOLDED_DATA, data + at, len - at < RECORD_PIECE ? len - at : RECORD_PIECE);
    }
}

void device_rebind(struct device *device)
{
    device->generation = (uint8_t)((device->generation + 1U) % NET_GENERATIONS);
    load_counters.rebound++;
}

void device_close(struct device *device)
{
    static const uint8_t close_notify[] = {1, 0}; // RFC 5246 7.2.1
    inbox_len = 0;
    if (device->state == DEVICE_FOLDED)
        send_record(device, FOLDED_ALERT, close_notify, sizeof close_notify);
    else if (device->state == DEVICE_HELD)
        (void)wolfSSL_shutdown(handshake_of(device)->ssl);
    device_forget(device);
}

static enum device_event gone(struct device *device)
{
    device_forget(device);
    return DEVICE_GONE;
}

static enum device_event read_held(struct device *device)
{
    static uint8_t out[RECORD_PIECE];
    for (;;) {
        WOLFSSL *ssl = handshake_of(device)->ssl;
        int len = wolfSSL_read(ssl, out, sizeof out);
        if (len <= 0)
            return wants_more(wolfSSL_get_error(ssl, len)) ? DEVICE_SAME : gone(device);
        handlers->data(device, out, (size_t)len);
        if (device->state != DEVICE_HELD)
            return DEVICE_SAME;
    }
}

// Opens all whole records; *data and *len are what is left.
static enum device_event read_records(struct device *device, uint8_t **data, size_t *len)
{
    while (device->state == DEVICE_FOLDED) {
        struct folded_content content = {.data = NULL};
        switch (folded_open(options->security, keys_of(device), data, len, &content)) {
        case FOLDED_GOT:
            handlers->data(device, content.data, content.len);
            break;
        case FOLDED_ANSWER:
            send_record(device, content.type, content.data, content.len);
            folded_answered(options->security, keys_of(device), &content);
            break;
        case FOLDED_GONE:
            return gone(device);
        case FOLDED_END:
            return DEVICE_SAME;
        case FOLDED_NOTHING:
        default:
            break;
        }
    }
    return DEVICE_SAME;
}

static enum device_event read_stream(struct device *device)
{
    static uint8_t room[STREAM_ROOM];
    uint32_t index = device_index(device);
    while (device->state == DEVICE_FOLDED) {
        ssize_t got = tcp_receive(index, room, sizeof room);
        if (got < 0)
            return DEVICE_SAME;
        if (got == 0)
            return gone(device);
        uint8_t *data = room;
        size_t len = (size_t)got;
        enum device_event event = read_records(device, &data, &len);
        if (event != DEVICE_SAME || device->state != DEVICE_FOLDED)
            return event;
        if (len > 0 && !tcp_put_back(index, data, len))
            return gone(device);
    }
    return DEVICE_SAME;
}

static enum device_event input(struct device *device, uint8_t *data, size_t len)
{
    inbox = data;
    inbox_len = len;
    switch ((enum device_state)device->state) {
    case DEVICE_HANDSHAKE:
    case DEVICE_TICKET:
        return step(device);
    case DEVICE_HELD:
        return read_held(device);
    case DEVICE_PLAIN:
        handlers->data(device, data, len);
        return DEVICE_SAME;
    case DEVICE_FOLDED:
        return device_is_stream() ? read_stream(device) : read_records(device, &data, &len);
    case DEVICE_NEW:
    default:
        return DEVICE_SAME;
    }
}

static void tell(struct device *device, enum device_event event)
{
    if (event != DEVICE_SAME)
        handlers->event(device, event);
}

static void datagram_came(uint32_t index, unsigned generation, uint8_t *data, size_t len)
{
    struct device *device = &devices[index];
    if (device->generation == generation)
        tell(device, input(device, data, len));
}

static void stream_moved(uint32_t index)
{
    struct device *device = &devices[index];
    if (device->state == DEVICE_NEW)
        return;
    if (!tcp_flush(index)) {
        tell(device, gone(device));
        return;
    }
    enum device_event event = input(device, NULL, 0);
    tell(device, event);
    // What came right behind the handshake brings no other event.
    if (event == DEVICE_READY && device_established(device))
        tell(device, input(device, NULL, 0));
}

bool device_wait(uint64_t timeout_us)
{
    static const struct net_handlers of_net = {.datagram = datagram_came, .stream = stream_moved};
    return net_wait(timeout_us, &of_net);
}
