// The server side in memory.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/handshake_rig.h"

#include "common/error.h"
#include "tests/unit/tls_certificates.h"

#include <stdlib.h>
#include <string.h>

static int record_chunk(void *context, const uint8_t *data, size_t len)
{
    struct rig *rig = context;
    if (rig->sink_says != SAGATE_OK && rig->sink_says != SAGATE_AGAIN)
        return rig->sink_says;
    struct rig_chunk *chunk = malloc(sizeof *chunk + len);
    if (chunk == NULL)
        abort();
    chunk->next = NULL;
    chunk->len = len;
    memcpy(chunk->bytes, data, len);
    *rig->sent_end = chunk;
    rig->sent_end = &chunk->next;
    rig->sent_count++;
    return rig->sink_says;
}

struct handshake_sink rig_sink(struct rig *rig)
{
    return (struct handshake_sink){.send = record_chunk, .context = rig};
}

static void make_cid(void *context, uint8_t *cid)
{
    struct rig *rig = context;
    rig->cids++;
    memset(cid, (int)rig->cids, rig->cid_len);
}

int rig_open(struct rig *rig, const struct rig_options *options)
{
    static char name_one[] = "one.example";
    static char name_two[] = "two.example";
    static char file[] = "test.pem";
    static char listener_name[] = "test";
    char *names[2][1] = {{name_one}, {name_two}};
    struct config_certificate certificates[2] = {
        {.chain_file = file, .key_file = file, .server_name_count = 1, .server_names = names[0]},
        {.chain_file = file, .key_file = file, .server_name_count = 1, .server_names = names[1]}};
    struct config_trust_anchor anchor = {.file = file};
    size_t indices[2] = {0, 1};
    struct config_listener listener = {
        .name = listener_name,
        .transport = options->dtls ? CONFIG_DTLS : CONFIG_TLS,
        .psk = options->psk,
        .certificate_count = options->certificates,
        .certificates = indices,
        .unknown_server_name_refused = options->unknown_name_refused,
        .version_min = options->version_min,
        .version_max = options->version_max,
        .client_certificates = options->client_certificates,
        .trust_anchor_count = options->anchors != NULL ? 1 : 0,
        .trust_anchors = indices,
    };
    struct config config = {.certificate_count = 2,
                            .certificates = certificates,
                            .trust_anchor_count = 1,
                            .trust_anchors = &anchor,
                            .listener_count = 1,
                            .listeners = &listener};
    struct handshake_files *files = calloc(1, sizeof *files);
    char error[256];
    if (files == NULL)
        abort();
    files->chain[0] = slice_text(tls_certificate_one);
    files->key[0] = slice_text(tls_key_one);
    files->chain[1] = slice_text(tls_certificate_two);
    files->key[1] = slice_text(tls_key_two);
    files->anchors[0] = slice_text(options->anchors);
    *rig = (struct rig){.sink_says = SAGATE_OK};
    rig->sent_end = &rig->sent;
    (void)address_parse("192.0.2.7", 40000, &rig->peer);
    int rc = handshake_contexts_new(&config, files, &rig->contexts, error, sizeof error);
    free(files);
    rig->cid_len = options->cid_len;
    if (rc == SAGATE_OK)
        handshake_contexts_cid(rig->contexts, options->cid_len, make_cid, rig);
    return rc;
}

int rig_accept(struct rig *rig)
{
    struct handshake_sink sink = rig_sink(rig);
    return handshake_tls_new(rig->contexts, 0, &sink, &rig->handshake);
}

size_t rig_drop_sent(struct rig *rig)
{
    size_t count = 0;
    while (rig->sent != NULL) {
        struct rig_chunk *chunk = rig->sent;
        rig->sent = chunk->next;
        free(chunk);
        count++;
    }
    rig->sent_end = &rig->sent;
    return count;
}

void rig_close(struct rig *rig)
{
    handshake_free(rig->handshake);
    record_free(rig->record);
    handshake_contexts_free(rig->contexts);
    (void)rig_drop_sent(rig);
    *rig = (struct rig){0};
}

static void judge(struct rig *rig, int rc)
{
    rig->server = rc;
    while (rig->server == SAGATE_PARKED) {
        struct slice identity = handshake_identity(rig->handshake);
        rig->parked++;
        if (identity.len < sizeof rig->identity) {
            memcpy(rig->identity, identity.data, identity.len);
            rig->identity[identity.len] = '\0';
        }
        if (rig->key.data == NULL)
            return;
        rig->server = handshake_resolve(rig->handshake, rig->key);
    }
    if (rig->server == SAGATE_EHANDSHAKE) {
        rig->cause = handshake_failure(rig->handshake, NULL);
        handshake_free(rig->handshake);
        rig->handshake = NULL;
    } else if (rig->server == SAGATE_DONE) {
        rig->resumed = handshake_resumed(rig->handshake);
        struct slice certificate = handshake_certificate(rig->handshake);
        rig->certificate_len = certificate.len <= sizeof rig->certificate ? certificate.len : 0;
        if (rig->certificate_len > 0)
            memcpy(rig->certificate, certificate.data, certificate.len);
        if (handshake_finish(rig->handshake, &rig->framework, &rig->record) != SAGATE_OK)
            abort();
        rig->handshake = NULL;
    }
}

void rig_give(struct rig *rig, const uint8_t *data, size_t len)
{
    struct handshake_sink sink = rig_sink(rig);
    if (rig->record != NULL) {
        (void)record_input(rig->record, data, len);
        return;
    }
    if (rig->handshake != NULL) {
        judge(rig, handshake_run(rig->handshake, data, len));
        return;
    }
    rig->first = handshake_dtls_first(rig->contexts, 0, &rig->peer, data, len, &sink, &rig->handshake);
    if (rig->first == HANDSHAKE_STARTED)
        judge(rig, handshake_run(rig->handshake, NULL, 0));
}

static void give_in_steps(struct rig *rig, struct slice bytes)
{
    size_t step = rig->step == 0 ? bytes.len : rig->step;
    for (size_t at = 0; at < bytes.len; at += step) {
        size_t n = bytes.len - at < step ? bytes.len - at : step;
        if (rig->handshake != NULL || rig->record != NULL)
            rig_give(rig, bytes.data + at, n);
    }
}

void rig_client_to_server(struct rig *rig, struct tls_client *client)
{
    struct slice chunk;
    while (tls_client_output(client, &chunk)) {
        if (rig->step > 0)
            give_in_steps(rig, chunk);
        else if (rig->server != SAGATE_EHANDSHAKE)
            rig_give(rig, chunk.data, chunk.len);
    }
}

void rig_server_to_client(struct rig *rig, struct tls_client *client)
{
    for (struct rig_chunk *chunk = rig->sent; chunk != NULL; chunk = chunk->next)
        tls_client_input(client, chunk->bytes, chunk->len);
    (void)rig_drop_sent(rig);
}

void rig_run(struct rig *rig, struct tls_client *client)
{
    rig->client = SAGATE_AGAIN;
    for (int round = 0; round < 12; round++) {
        if (rig->client != SAGATE_EHANDSHAKE)
            rig->client = tls_client_run(client);
        rig_client_to_server(rig, client);
        rig_server_to_client(rig, client);
    }
}

static bool arrives(struct rig *rig, const uint8_t *want, size_t len)
{
    uint8_t *got = malloc(RECORD_PLAINTEXT_MAX);
    size_t have = 0;
    int status = SAGATE_OK;
    bool same = got != NULL;
    while (same && have < len && status == SAGATE_OK) {
        size_t n = record_open(rig->record, got, RECORD_PLAINTEXT_MAX, &status);
        same = n <= len - have && memcmp(got, want + have, n) == 0;
        have += n;
    }
    free(got);
    return same && have == len;
}

bool rig_echo(struct rig *rig, struct tls_client *client, size_t len)
{
    uint8_t *data = calloc(2, len);
    if (data == NULL || rig->record == NULL) {
        free(data);
        return false;
    }
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 7 + 1);
    bool ok = tls_client_write(client, data, len) == SAGATE_OK;
    rig_client_to_server(rig, client);
    ok = ok && arrives(rig, data, len) && record_seal(rig->record, data, len) == SAGATE_OK;
    rig_server_to_client(rig, client);
    size_t have = 0;
    while (ok && have < len) {
        int n = tls_client_read(client, data + len + have, len - have);
        ok = n > 0;
        have += ok ? (size_t)n : 0;
    }
    ok = ok && memcmp(data, data + len, len) == 0;
    free(data);
    return ok;
}
