// Fuzz target: what strangers send to a listener, and what arrives on handshakes and associations that are under way.
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The first byte chooses DTLS or TLS, the second how a park ends; the rest is a list of datagrams or pieces (two bytes
// of length each). With bit 7 of the first byte a real client has got as far as its second flight, so that the input
// meets a handshake that waits for the ClientKeyExchange or (DTLS 1.3, bit 5) for the Finished; with bit 6 it is
// established, so that the input meets its records. With bit 4 that client offers a Connection ID, and with bit 3 it
// has a ticket from another handshake, so that the input meets an abbreviated one (DTLS).
#include "common/error.h"
#include "dataplane/handshake/session.h"
#include "tests/unit/handshake_rig.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const uint8_t key[16] = {1, 2, 3};
static const uint8_t secret[HANDSHAKE_COOKIE_SECRET] = {4, 5, 6}; // so that the cookies in the seeds are good

// A whole handshake that leaves nothing but a session with a ticket.
static WOLFSSL_SESSION *get_ticket(struct rig *rig, const struct tls_client_options *options)
{
    uint8_t byte;
    struct tls_client *client = tls_client_new(options);
    if (client == NULL)
        abort();
    (void)wolfSSL_UseSessionTicket(tls_client_object(client));
    rig_run(rig, client);
    (void)tls_client_read(client, &byte, 1);
    WOLFSSL_SESSION *session = wolfSSL_get1_session(tls_client_object(client));
    tls_client_free(client);
    record_free(rig->record);
    rig->record = NULL;
    rig->server = SAGATE_AGAIN;
    (void)rig_drop_sent(rig);
    return session;
}

static struct tls_client *advance(struct rig *rig, bool dtls, uint8_t how)
{
    bool whole = (how & 0x40) != 0;
    bool tls13 = dtls && (how & 0x20) != 0;
    const struct tls_client_options options = {.dtls = dtls,
                                               .tls13 = tls13,
                                               .offer_cid = dtls && (how & 0x10) != 0,
                                               .cid = {key, 5},
                                               .ciphers = tls13 ? "TLS13-AES128-GCM-SHA256" : "PSK-AES128-CCM-8",
                                               .identity = "dev",
                                               .key = {key, sizeof key}};
    WOLFSSL_SESSION *session = dtls && (how & 0x08) != 0 ? get_ticket(rig, &options) : NULL;
    struct tls_client *client = tls_client_new(&options);
    if (client == NULL)
        abort();
    if (session != NULL) {
        (void)wolfSSL_UseSessionTicket(tls_client_object(client));
        (void)wolfSSL_set_session(tls_client_object(client), session);
        wolfSSL_SESSION_free(session);
    }
    if (whole) {
        rig_run(rig, client);
        if (rig->record == NULL)
            abort();
        return client;
    }
    for (int round = 0; round < (dtls ? 2 : 1); round++) {
        (void)tls_client_run(client);
        rig_client_to_server(rig, client);
        rig_server_to_client(rig, client);
    }
    if (rig->server != SAGATE_AGAIN || rig->handshake == NULL)
        abort();
    return client;
}

static void open_all(struct rig *rig, bool dtls)
{
    static uint8_t out[RECORD_PLAINTEXT_MAX];
    int status = SAGATE_OK;
    while (status == SAGATE_OK || status == SAGATE_ERECORD)
        (void)record_open(rig->record, out, sizeof out, &status);
    if (dtls && status != SAGATE_AGAIN)
        abort(); // nothing in clear and nothing forged ends a DTLS association
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const struct rig_options dtls_options = {
        .dtls = true, .psk = true, .certificates = 1, .version_max = CONFIG_TLS_1_3, .cid_len = 8};
    static const struct rig_options tls_options = {
        .psk = true, .certificates = 2, .version_min = CONFIG_TLS_1_2, .version_max = CONFIG_TLS_1_3};
    struct rig rig;
    struct tls_client *client = NULL;
    if (len < 2 || len > 40000)
        return 0;
    bool dtls = data[0] % 2 == 0;
    if (rig_open(&rig, dtls ? &dtls_options : &tls_options) != SAGATE_OK)
        abort();
    handshake_cookie_secret(rig.contexts, secret);
    if (handshake_contexts_tickets(rig.contexts, secret, 7200) != SAGATE_OK)
        abort();
    rig.key = slice_of(key, sizeof key);
    if (!dtls && rig_accept(&rig) != SAGATE_OK)
        abort();
    if ((data[0] & 0xc0) != 0)
        client = advance(&rig, dtls, data[0]);
    if (data[1] % 3 != 0)
        rig.key = data[1] % 3 == 1 ? slice_of("", 0) : (struct slice){0};
    size_t at = 2;
    while (at + 2 <= len && (dtls || rig.handshake != NULL || rig.record != NULL)) {
        size_t n = (size_t)data[at] << 8 | data[at + 1];
        at += 2;
        n = n < len - at ? n : len - at;
        rig_give(&rig, data + at, n);
        at += n;
        if (rig.record != NULL)
            open_all(&rig, dtls);
    }
    if (rig.handshake != NULL && handshake_timer_ms(rig.handshake) > 0)
        (void)handshake_timeout(rig.handshake);
    tls_client_free(client);
    rig_close(&rig);
    return 0;
}
