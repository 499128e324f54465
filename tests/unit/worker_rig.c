// The world around one worker.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/worker_rig.h"

#include "tests/unit/tls_certificates.h"
#include "tests/unit/tls_device_certificates.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct scene scene;

// The worker asks the system for the time. Here it gets one that stands still until a test moves it.
static uint64_t clock_now_ms;

int clock_gettime(clockid_t id, struct timespec *now)
{
    if (id != CLOCK_MONOTONIC)
        return (int)syscall(SYS_clock_gettime, id, now);
    *now = (struct timespec){.tv_sec = (time_t)(clock_now_ms / 1000), .tv_nsec = (long)(clock_now_ms % 1000) * 1000000};
    return 0;
}

static void must(bool condition, const char *what)
{
    if (condition)
        return;
    (void)fprintf(stderr, "worker rig: %s\n", what);
    abort();
}

// Configuration.

const char *scene_config(const char *limits, const char *servers, const char *listeners)
{
    static char text[8192];
    (void)snprintf(text, sizeof text,
                   "process: { workers = 1; };\nlimits: { %s };\n"
                   "certificates = ( { name = \"one\"; chain_file = \"one.pem\"; key_file = \"one.key\"; server_names "
                   "= [ \"one.example\" ]; } );\n"
                   "trust_anchors = ( { name = \"devices\"; file = \"devices.pem\"; } );\n"
                   "upstreams = ( { name = \"in\"; sp_id = \"//sp.example\"; cse_id = \"/id-in\"; http_health = "
                   "\"none\"; coap_health = \"none\"; coap_source_ports = 1; servers = ( %s ); } );\n"
                   "credentials_file = \"credentials.conf\";\nlisteners = ( %s );\n",
                   limits, servers, listeners);
    return text;
}

static struct config *parse(const char *text)
{
    struct config *config = NULL;
    struct config_errors errors = {0};
    if (config_parse(text, &config, &errors) != SAGATE_OK)
        (void)fprintf(stderr, "%s\n", errors.text);
    config_errors_free(&errors);
    must(config != NULL, "configuration");
    return config;
}

static void make_snapshot(struct config *config)
{
    char error[256] = "";
    scene.files.chain[0] = slice_text(tls_certificate_one);
    scene.files.key[0] = slice_text(tls_key_one);
    scene.files.anchors[0] = slice_text(tls_device_ca);
    scene.snapshot = (struct worker_snapshot){.config = config, .listener_fds = scene.listener_fds};
    must(handshake_contexts_new(config, &scene.files, &scene.snapshot.contexts, error, sizeof error) == SAGATE_OK,
         "contexts");
    for (size_t i = 0; i < CONFIG_LISTENERS_MAX; i++)
        scene.listener_fds[i] = -1;
}

static void start_worker(void)
{
    const struct worker_options options = {.driver = &io_mem_driver,
                                           .stats = scene.stats,
                                           .channel_fd = scene.channel,
                                           .wake_fd = -1,
                                           .store_fd = scene.store_fd,
                                           .snapshot = &scene.snapshot};
    must(worker_new(&options, &scene.worker) == SAGATE_OK, "worker");
    scene.io = worker_io(scene.worker);
    scene.channel_id = scene.worker->listeners[0]->id - 1; // the last descriptor added before the listeners
}

void scene_open_config(const char *text)
{
    int pair[2];
    scene = (struct scene){.config = parse(text)};
    clock_now_ms = 1000000;
    log_set_level(LOG_LEVEL_ERROR);
    make_snapshot(scene.config);
    scene.stats = calloc(1, sizeof *scene.stats);
    scene.plane = malloc(PLANE_MESSAGE_MAX);
    must(scene.stats != NULL && scene.plane != NULL && plane_pair(pair) == SAGATE_OK, "plane socket");
    scene.control = pair[0];
    scene.channel = pair[1];
    scene.store_fd = memfd_create("store", MFD_CLOEXEC);
    size_t bytes = store_bytes(scene.config->limits.associations);
    must(scene.store_fd >= 0 && ftruncate(scene.store_fd, (off_t)bytes) == 0, "memory of associations");
    start_worker();
}

void scene_restart(void)
{
    worker_stop_keeping(scene.worker);
    worker_free(scene.worker);
    make_snapshot(scene.config);
    for (size_t i = 0; i < scene.device_count; i++)
        scene.devices[i].used = scene.devices[i].used && scene.devices[i].dtls;
    scene.cse_count = scene.connection_count = 0;
    start_worker();
    channel_hello(scene.worker);
}

void scene_open(const char *limits)
{
    scene_open_config(scene_config(limits, SCENE_SERVER, SCENE_DTLS ", " SCENE_TLS));
}

bool scene_swap(const char *text, unsigned fresh)
{
    struct config *config = parse(text);
    make_snapshot(config);
    for (size_t i = 0; i < 32; i++) {
        if ((fresh & 1U << i) != 0)
            scene.listener_fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    worker_swap(scene.worker, &scene.snapshot);
    scene_pump();
    must(worker_swapped(scene.worker), "the snapshot is still on offer");
    if (scene.snapshot.refused) {
        handshake_contexts_free(scene.snapshot.contexts);
        config_free(config);
        return false;
    }
    config_free(scene.config); // nothing may refer to it any more
    scene.config = config;
    return true;
}

void scene_close(void)
{
    for (size_t i = 0; i < scene.device_count; i++)
        tls_client_free(scene.devices[i].client);
    worker_free(scene.worker);
    config_free(scene.config);
    close(scene.control);
    close(scene.channel);
    close(scene.store_fd);
    free(scene.stats);
    free(scene.plane);
    scene = (struct scene){0};
}

uint64_t scene_counted(enum stat_id id)
{
    return stats_get(&scene.stats->counters[id]);
}

// Devices.

struct slice scene_key(const char *identity)
{
    static uint8_t key[16];
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)(identity[i % strlen(identity)] + (int)i);
    return slice_of(key, sizeof key);
}

static struct scene_device *device_new(const struct tls_client_options *options)
{
    must(scene.device_count < SCENE_DEVICES, "too many devices");
    struct scene_device *device = &scene.devices[scene.device_count++];
    *device = (struct scene_device){
        .client = tls_client_new(options), .state = SAGATE_AGAIN, .used = true, .dtls = options->dtls};
    must(device->client != NULL, "client");
    return device;
}

static io_id listener_id(enum config_transport transport)
{
    for (size_t i = 0; i < CONFIG_LISTENERS_MAX; i++) {
        const struct listener *listener = scene.worker->listeners[i];
        if (listener != NULL && listener->config->transport == transport)
            return listener->id;
    }
    return 0;
}

static struct scene_device *dtls_new(const struct tls_client_options *options, const char *host, uint16_t port)
{
    struct scene_device *device = device_new(options);
    must(address_parse(host, port, &device->address) == SAGATE_OK, "address");
    return device;
}

struct scene_device *scene_dtls_with_cid(const char *identity, bool dtls13, struct slice own, const char *host,
                                         uint16_t port)
{
    const struct tls_client_options options = {.dtls = true,
                                               .tls13 = dtls13,
                                               .ciphers = dtls13 ? "TLS13-AES128-GCM-SHA256" : "PSK-AES128-CCM-8",
                                               .identity = identity,
                                               .key = scene_key(identity),
                                               .offer_cid = true,
                                               .cid = own};
    return dtls_new(&options, host, port);
}

struct scene_device *scene_dtls_with_ccm(const char *identity, bool dtls13, const char *host, uint16_t port)
{
    const struct tls_client_options options = {.dtls = true,
                                               .tls13 = dtls13,
                                               .ciphers = dtls13 ? "TLS13-AES128-CCM-8-SHA256" : "PSK-AES128-CCM-8",
                                               .psk_suite13 = "TLS13-AES128-CCM-8-SHA256",
                                               .identity = identity,
                                               .key = scene_key(identity),
                                               .offer_cid = true};
    return dtls_new(&options, host, port);
}

void scene_move(struct scene_device *device, const char *host, uint16_t port)
{
    must(address_parse(host, port, &device->address) == SAGATE_OK, "address");
}

struct scene_device *scene_dtls_with_key(const char *identity, struct slice key, const char *host, uint16_t port)
{
    const struct tls_client_options options = {
        .dtls = true, .ciphers = "PSK-AES128-CCM-8", .identity = identity, .key = key};
    return dtls_new(&options, host, port);
}

struct scene_device *scene_dtls_without_finished(const char *identity, const char *host, uint16_t port)
{
    const struct tls_client_options options = {.dtls = true,
                                               .ciphers = "PSK-AES128-CCM-8",
                                               .identity = identity,
                                               .key = scene_key(identity),
                                               .single_messages = true};
    struct scene_device *device = dtls_new(&options, host, port);
    struct slice chunk;
    device->held = true;
    for (int flight = 0; flight < 2; flight++) {
        scene_flush(device);
        scene_pump();
    }
    (void)tls_client_run(device->client);
    if (tls_client_output(device->client, &chunk)) // ClientKeyExchange
        scene_inject(&device->address, chunk.data, chunk.len);
    scene_pump();
    return device;
}

struct scene_device *scene_dtls(const char *identity, const char *host, uint16_t port)
{
    return scene_dtls_with_key(identity, scene_key(identity), host, port);
}

struct scene_device *scene_tls(const char *identity, bool tls13)
{
    const char *psk = tls13 ? "TLS13-AES128-GCM-SHA256" : "ECDHE-PSK-AES128-GCM-SHA256:PSK-AES128-GCM-SHA256";
    const char *certificate = tls13 ? "TLS13-AES128-GCM-SHA256" : "ECDHE-ECDSA-AES128-GCM-SHA256";
    return scene_tls_with_suites(identity, tls13, identity == NULL ? certificate : psk);
}

struct scene_device *scene_tls_with_suites(const char *identity, bool tls13, const char *suites)
{
    const struct tls_client_options options = {.tls13 = tls13,
                                               .ciphers = suites,
                                               .identity = identity,
                                               .key = identity == NULL ? slice_of(NULL, 0) : scene_key(identity),
                                               .server_name = identity == NULL ? "one.example" : NULL,
                                               .ca = identity == NULL ? tls_certificate_one : NULL};
    struct scene_device *device = device_new(&options);
    must(address_parse("192.0.2.9", (uint16_t)(50000 + scene.device_count), &device->address) == SAGATE_OK, "address");
    device->stream = mem_open(scene.io, listener_id(CONFIG_TLS), &device->address);
    must(device->stream != NULL, "stream");
    return device;
}

struct scene_device *scene_with_certificate(const char *pem, bool dtls, bool tls13, const char *host, uint16_t port)
{
    const struct tls_client_options options = {.dtls = dtls,
                                               .tls13 = tls13,
                                               .ciphers =
                                                   tls13 ? "TLS13-AES128-GCM-SHA256" : "ECDHE-ECDSA-AES128-GCM-SHA256",
                                               .certificate = pem,
                                               .certificate_key = tls_device_key};
    struct scene_device *device = dtls_new(&options, host, port);
    if (!dtls)
        device->stream = mem_open(scene.io, listener_id(CONFIG_TLS), &device->address);
    must(dtls || device->stream != NULL, "stream");
    return device;
}

void scene_drop(struct scene_device *device)
{
    device->used = false;
}

void scene_inject(const struct address *from, const void *data, size_t len)
{
    if (scene.watch != NULL)
        scene.watch(false, from, data, len);
    (void)mem_inject(scene.io, listener_id(CONFIG_DTLS), from, data, len);
}

static bool flush(struct scene_device *device)
{
    struct slice chunk;
    bool moved = false;
    if (device->state == SAGATE_AGAIN)
        device->state = tls_client_run(device->client);
    while (tls_client_output(device->client, &chunk)) {
        moved = true;
        if (device->stream == NULL) {
            scene_inject(&device->address, chunk.data, chunk.len);
            continue;
        }
        if (scene.watch != NULL)
            scene.watch(true, &device->address, chunk.data, chunk.len);
        (void)mem_peer_write(device->stream, chunk.data, chunk.len);
    }
    return moved;
}

void scene_flush(struct scene_device *device)
{
    (void)flush(device);
}

static bool device_move(struct scene_device *device)
{
    static uint8_t bytes[16384];
    bool moved = false;
    size_t n;
    while (device->stream != NULL && (n = mem_peer_read(device->stream, bytes, sizeof bytes)) > 0) {
        tls_client_input(device->client, bytes, n);
        moved = true;
    }
    return (!device->held && flush(device)) || moved;
}

// The network.

static void keep(struct scene_message *message, io_id id, const uint8_t *data, size_t len)
{
    message->socket = id;
    message->len = len;
    memcpy(message->bytes, data, len);
}

static void deliver(io_id id, const struct address *to, const uint8_t *data, size_t len)
{
    if (to->len == 0) { // sockets towards a CSE are connected
        if (scene.cse_count < SCENE_MESSAGES)
            keep(&scene.to_cse[(scene.cse_first + scene.cse_count++) % SCENE_MESSAGES], id, data, len);
        return;
    }
    // The newest of an address: a device that was dropped may have come back.
    for (size_t i = scene.device_count; i > 0; i--) {
        struct scene_device *device = &scene.devices[i - 1];
        if (device->used && device->dtls && address_equal(&device->address, to)) {
            tls_client_input(device->client, data, len);
            return;
        }
    }
    if (scene.stray_count < SCENE_MESSAGES)
        keep(&scene.strays[scene.stray_count++], id, data, len);
}

static void answer_resolve(const uint8_t *identity, size_t len)
{
    char text[128];
    char ae[140];
    if (len == 0 || len >= sizeof text)
        return;
    memcpy(text, identity, len);
    text[len] = '\0';
    bool wild = strncmp(text, "wild", 4) == 0;
    (void)snprintf(ae, sizeof ae, "C%s", wild ? "*" : text);
    scene_resolved(text, strncmp(text, "unknown", 7) == 0 ? SAGATE_ENOTFOUND : SAGATE_OK, ae);
}

static bool control_move(void)
{
    bool moved = false;
    struct plane_message message;
    int fd = -1;
    while (!scene.asks && plane_receive(scene.control, scene.plane, &message, &fd) == SAGATE_OK) {
        if (message.type != PLANE_RESOLVE)
            continue;
        uint8_t identity[HANDSHAKE_IDENTITY_MAX];
        size_t len = message.resolve.identity.len;
        memcpy(identity, message.resolve.identity.data, len);
        scene.resolves++;
        answer_resolve(identity, len);
        moved = true;
    }
    return moved;
}

static bool cse_move(void)
{
    struct address to;
    struct mem_peer *peer = mem_take_connect(scene.io, &to);
    if (peer == NULL)
        return false;
    if (scene.refuse || scene.connection_count == SCENE_CONNECTIONS) {
        mem_refuse(peer, 111);
        return true;
    }
    scene.connected_to[scene.connection_count] = to;
    scene.connections[scene.connection_count++] = peer;
    mem_accept(peer);
    return true;
}

void scene_pump(void)
{
    bool moved = true;
    for (int idle = 0; idle < 3; idle = moved ? 0 : idle + 1) {
        io_id id;
        struct address to;
        const uint8_t *data;
        size_t len;
        mem_set_readable(scene.io, scene.channel_id, !scene.deaf);
        must((scene.round != NULL ? scene.round : worker_round)(scene.worker, 0) == SAGATE_OK, "worker_round");
        moved = false;
        while (mem_take(scene.io, &id, &to, &data, &len)) {
            deliver(id, &to, data, len);
            moved = true;
        }
        for (size_t i = 0; i < scene.device_count; i++)
            moved = (scene.devices[i].used && device_move(&scene.devices[i])) || moved;
        moved = cse_move() || moved;
        moved = control_move() || moved;
    }
}

void scene_advance(unsigned milliseconds)
{
    clock_now_ms += milliseconds;
    scene_pump();
}

bool scene_establish(struct scene_device *device)
{
    scene_pump();
    return device->state == SAGATE_DONE;
}

// CoAP.

void scene_device_says(struct scene_device *device, uint16_t mid, const char *text)
{
    uint8_t data[IO_DATAGRAM_MAX];
    size_t len = text_to_coap(text, mid, NULL, data, sizeof data);
    must(tls_client_write(device->client, data, len) == SAGATE_OK, "a device cannot write");
    scene_pump();
}

static bool same(const char *who, const char *seen, const char *wanted)
{
    if (strcmp(seen, wanted) == 0)
        return true;
    printf("\n  %s got %s\n  instead of %s", who, seen, wanted);
    return false;
}

bool scene_device_hears(struct scene_device *device, const char *text)
{
    static uint8_t data[RECORD_PLAINTEXT_MAX];
    char seen[4096] = "nothing";
    int n = tls_client_read(device->client, data, sizeof data);
    if (n > 0) {
        (void)coap_to_text(data, (size_t)n, seen, sizeof seen);
        device->mid = (uint16_t)(data[2] << 8 | data[3]);
    }
    return same("the device", seen, text == NULL ? "nothing" : text);
}

bool scene_cse_hears(const char *text)
{
    char seen[4096] = "nothing";
    if (scene.cse_count > 0) {
        scene.last = scene.to_cse[scene.cse_first];
        scene.cse_first = (scene.cse_first + 1) % SCENE_MESSAGES;
        scene.cse_count--;
        (void)coap_to_text(scene.last.bytes, scene.last.len, seen, sizeof seen);
    }
    return same("the CSE", seen, text == NULL ? "nothing" : text);
}

void scene_cse_says(const char *text)
{
    uint8_t data[IO_DATAGRAM_MAX];
    struct coap_token token = {.len = COAP_TOKEN_MAX};
    memcpy(token.bytes, scene.last.bytes + COAP_HEAD, COAP_TOKEN_MAX);
    uint16_t mid = (uint16_t)(scene.last.bytes[2] << 8 | scene.last.bytes[3]);
    size_t len = text_to_coap(text, mid, &token, data, sizeof data);
    struct address from;
    (void)address_parse("127.0.0.1", 5683, &from);
    (void)mem_inject(scene.io, scene.last.socket, &from, data, len);
    scene_pump();
}

// HTTP.

void scene_device_writes(struct scene_device *device, const char *text)
{
    must(tls_client_write(device->client, text, strlen(text)) == SAGATE_OK, "a device cannot write");
    scene_pump();
}

const char *scene_device_reads(struct scene_device *device)
{
    static char text[SCENE_TEXT];
    size_t len = 0;
    int n = 0;
    while (len < sizeof text - 1 && (n = tls_client_read(device->client, text + len, sizeof text - 1 - len)) > 0)
        len += (size_t)n;
    text[len] = '\0';
    return text;
}

const char *scene_cse_reads(size_t connection)
{
    static char text[SCENE_TEXT];
    size_t len = 0;
    if (connection < scene.connection_count)
        len = mem_peer_read(scene.connections[connection], text, sizeof text - 1);
    text[len] = '\0';
    return text;
}

void scene_cse_writes(size_t connection, const char *text)
{
    must(connection < scene.connection_count, "no such connection");
    (void)mem_peer_write(scene.connections[connection], text, strlen(text));
    scene_pump();
}

// Control.

const struct plane_message *scene_control_hears(void)
{
    static struct plane_message message;
    int fd = -1;
    return plane_receive(scene.control, scene.plane, &message, &fd) == SAGATE_OK ? &message : NULL;
}

bool scene_control_hears_resolve(const char *identity)
{
    const struct plane_message *message = scene_control_hears();
    return message != NULL && message->type == PLANE_RESOLVE && slice_is(message->resolve.identity, identity);
}

void scene_control_says(const struct plane_message *message)
{
    must(plane_send(scene.control, message, -1) == SAGATE_OK, "the worker's socket is full");
}

struct slice scene_principal(const char *identity, const char *aes)
{
    static uint8_t packed[4096];
    char credential_id[160];
    (void)snprintf(credential_id, sizeof credential_id, "12-%s", identity);
    struct principal *principal = principal_new(FRAMEWORK_PSK, slice_text(credential_id), slice_of(NULL, 0));
    while (principal != NULL && *aes != '\0') {
        size_t len = strcspn(aes, " ");
        (void)principal_add_ae(principal, slice_of(aes, len), slice_text(""));
        aes += len;
        aes += strspn(aes, " ");
    }
    int len = principal == NULL ? -1 : plane_pack_principal(principal, packed, sizeof packed);
    must(len > 0, "principal");
    principal_release(principal);
    return slice_of(packed, (size_t)len);
}

void scene_resolved(const char *identity, int result, const char *aes)
{
    struct plane_message message = {
        .type = PLANE_RESOLVED, .resolved = {.identity = slice_text(identity), .result = result, .cache_seconds = 10}};
    if (result == SAGATE_OK) {
        message.resolved.key = scene_key(identity);
        message.resolved.cache_seconds = 300;
        message.resolved.principal = scene_principal(identity, aes);
    }
    scene_control_says(&message);
}
