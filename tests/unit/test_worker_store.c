// DTLS associations of a worker in their store: they rest and wake, outlive their worker, move with their Connection
// IDs, find their way from worker to worker, and give way when there are too many.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/unit.h"
#include "tests/unit/worker_rig.h"

#include <arpa/inet.h>
#include <sys/mman.h>
#include <unistd.h>

#define GET_1   "CON GET @t /a 279=Cdev1 283=r1"
#define CSE_1   "CON GET @* /a 279=Cdev1 283=r1 65020=//sp.example/id-in/Cdev1 65052=12-dev1 65084="
#define CSE_OK  "ACK 2.05 @* 283=r1 307=#2000 |{}"
#define OK_1    "ACK 2.05 @t 283=r1 307=#2000 |{}"
#define HOME    "192.0.2.1", 40000
#define DEVICES scene_counted(STAT_ASSOCIATIONS_DTLS)

static const struct slice no_cid = {0};

// A GET goes to the CSE, which is told that it comes from there, and its answer comes back.
static void request_from(struct scene_device *device, uint16_t mid, const char *from)
{
    char wanted[256];
    (void)snprintf(wanted, sizeof wanted, CSE_1 "%s", from);
    scene_device_says(device, mid, GET_1);
    CU_ASSERT_TRUE(scene_cse_hears(wanted));
    scene_cse_says(CSE_OK);
    CU_ASSERT_TRUE(scene_device_hears(device, OK_1));
}

static void request(struct scene_device *device, uint16_t mid)
{
    request_from(device, mid, "192.0.2.1:40000");
}

static size_t at_hand_count;
static void count_at_hand(void *context, struct association *association)
{
    (void)context;
    (void)association;
    at_hand_count++;
}

static size_t at_hand(void)
{
    at_hand_count = 0;
    association_each(scene.worker->associations, count_at_hand, NULL);
    return at_hand_count;
}

static void rests_and_wakes(void)
{
    scene_open("");
    struct scene_device *device = scene_dtls("dev1", HOME);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    request(device, 1);
    for (uint16_t mid = 2; mid < 5; mid++) {
        for (int i = 0; i < 25; i++)
            scene_advance(500);
        CU_ASSERT_EQUAL(at_hand(), 0);
        CU_ASSERT_EQUAL(DEVICES, 1);
        request(device, mid);
        CU_ASSERT_EQUAL(at_hand(), 1);
    }
    // What was answered before it rested is answered the same way again, without the CSE.
    for (int i = 0; i < 25; i++)
        scene_advance(500);
    scene_device_says(device, 4, GET_1);
    CU_ASSERT_TRUE(scene_cse_hears(NULL));
    CU_ASSERT_TRUE(scene_device_hears(device, OK_1));
    scene_close();
}

// As long as an answer is awaited it stays.
static void does_not_rest_while_it_waits(void)
{
    scene_open("");
    struct scene_device *device = scene_dtls("dev1", HOME);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    scene_device_says(device, 1, "CON GET @t /a 6= 279=Cdev1 283=r1");
    CU_ASSERT_TRUE(scene_cse_hears("CON GET @* 6=#0 /a 279=Cdev1 283=r1 65020=//sp.example/id-in/Cdev1 65052=12-dev1 "
                                   "65084=192.0.2.1:40000"));
    scene_cse_says("ACK 2.05 @* 6=#5 283=r1 307=#2000 |{}");
    CU_ASSERT_TRUE(scene_device_hears(device, "ACK 2.05 @t 6=#5 283=r1 307=#2000 |{}"));
    for (int i = 0; i < 50; i++)
        scene_advance(500);
    CU_ASSERT_EQUAL(at_hand(), 1);
    scene_cse_says("CON 2.05 @* 6=#6 283=r1 307=#2000 |{}");
    CU_ASSERT_TRUE(scene_device_hears(device, "CON 2.05 @t 6=#6 283=r1 307=#2000 |{}"));
    scene_close();
}

static void outlives_its_worker(void)
{
    scene_open("");
    struct scene_device *device = scene_dtls("dev1", HOME);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    request(device, 1);
    uint64_t handshakes = scene_counted(STAT_HANDSHAKES_STARTED);
    for (uint16_t mid = 2; mid < 6; mid++) {
        scene_restart();
        CU_ASSERT_EQUAL(DEVICES, 1);
        request(device, mid);
    }
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_STARTED), handshakes);
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_RESUMED), 4);
    // And it ends as any other.
    tls_client_close(device->client);
    scene_pump();
    CU_ASSERT_EQUAL(DEVICES, 0);
    scene_close();
}

// A key that was removed while no worker was there to hear of it.
static void removed_meanwhile(void)
{
    scene_open("");
    struct scene_device *device = scene_dtls("dev1", HOME);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    scene.asks = true;
    while (scene_control_hears() != NULL)
        ;
    scene_restart();
    const struct plane_message hello = {.type = PLANE_HELLO, .hello = {.boot = 7}};
    scene_control_says(&hello);
    scene_advance(10);
    scene_advance(10);
    const struct plane_message *message;
    while ((message = scene_control_hears()) != NULL && message->type == PLANE_HELLO)
        ;
    CU_ASSERT_PTR_NOT_NULL_FATAL(message);
    CU_ASSERT_EQUAL(message->type, PLANE_RESOLVE);
    scene_resolved("dev1", SAGATE_ENOTFOUND, "");
    scene_advance(10);
    scene_advance(10);
    CU_ASSERT_EQUAL(DEVICES, 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_ENDED_REVOKED), 1);
    CU_ASSERT_EQUAL(tls_client_read(device->client, (char[64]){0}, 64), SAGATE_EGONE);
    scene_close();
}

// A walk in pieces of one place each finds streams and slots.
static void walks_in_pieces(void)
{
    scene_open("");
    CU_ASSERT_TRUE_FATAL(scene_establish(scene_dtls("dev1", HOME)));
    CU_ASSERT_TRUE_FATAL(scene_establish(scene_tls("dev2", false)));
    uint64_t cursor = 0;
    unsigned streams = 0;
    unsigned slots = 0;
    struct lifetime_item item;
    do {
        size_t budget = 1;
        while (lifetime_walk(scene.worker, &cursor, &budget, &item)) {
            streams += item.association != NULL;
            slots += item.slot != 0;
        }
    } while (cursor != 0);
    CU_ASSERT_EQUAL(streams, 1);
    CU_ASSERT_EQUAL(slots, 1);
    scene_close();
}

// A process that cannot start ends nothing: the next one goes on.
static void a_worker_that_cannot_start(void)
{
    scene_open("");
    struct scene_device *device = scene_dtls("dev1", HOME);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    request(device, 1);
    struct config *config = NULL;
    struct config_errors errors = {0};
    const char *text = scene_config("", SCENE_SERVER,
                                    "{ name = \"d\"; transport = \"dtls\"; binding = \"coap\"; address = "
                                    "\"127.0.0.9\"; port = 9; upstream = \"in\"; }");
    CU_ASSERT_EQUAL_FATAL(config_parse(text, &config, &errors), SAGATE_OK);
    struct address taken;
    for (uint16_t port = 1; port < 255; port++) { // leaves no number for its listener
        (void)address_parse("127.0.0.8", port, &taken);
        (void)store_listener(scene.worker->store, &taken);
    }
    worker_stop_keeping(scene.worker);
    struct stats *stats = calloc(1, sizeof *stats);
    char error[128];
    struct worker_snapshot snapshot = {.config = config, .listener_fds = (int[]){-1}};
    CU_ASSERT_EQUAL_FATAL(handshake_contexts_new(config, &scene.files, &snapshot.contexts, error, sizeof error),
                          SAGATE_OK);
    const struct worker_options options = {.driver = &io_mem_driver,
                                           .stats = stats,
                                           .channel_fd = -1,
                                           .wake_fd = -1,
                                           .store_fd = scene.store_fd,
                                           .snapshot = &snapshot};
    struct worker *other = NULL;
    CU_ASSERT_NOT_EQUAL(worker_new(&options, &other), SAGATE_OK);
    handshake_contexts_free(snapshot.contexts);
    scene_restart();
    CU_ASSERT_EQUAL(DEVICES, 1);
    request(device, 2);
    config_free(config);
    config_errors_free(&errors);
    free(stats);
    scene_close();
}

// Its process died while it changed the keys: nobody can use it, and it is given up with the first record.
static void keys_half_changed(void)
{
    scene_open("");
    struct scene_device *device = scene_dtls_with_cid("dev1", true, no_cid, HOME);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    request(device, 1);
    uint64_t cursor = 0;
    size_t budget = 10;
    store_slot slot = store_walk(scene.worker->store, &cursor, &budget);
    dtls13_change(store_keys(scene.worker->store, slot));
    scene_restart();
    CU_ASSERT_EQUAL(DEVICES, 1);
    scene_device_says(device, 2, GET_1);
    CU_ASSERT_TRUE(scene_cse_hears(NULL));
    CU_ASSERT_EQUAL(DEVICES, 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_LOST), 1);
    scene_close();
}

static void a_listener_that_is_gone(void)
{
    scene_open("");
    struct scene_device *device = scene_dtls("dev1", HOME);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    for (int i = 0; i < 25; i++)
        scene_advance(500);
    CU_ASSERT_EQUAL(at_hand(), 0);
    CU_ASSERT_TRUE(scene_swap(scene_config("", SCENE_SERVER, SCENE_TLS), 0));
    scene_advance(10);
    CU_ASSERT_EQUAL(DEVICES, 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_ENDED_OPERATOR), 1);
    scene_close();
}

// --- Connection IDs ----------------------------------------------------------------------------------------------

static uint8_t caught[8][IO_DATAGRAM_MAX];
static size_t caught_len[8], caught_count;
static void watch(bool stream, const struct address *from, const uint8_t *data, size_t len)
{
    (void)from;
    if (stream || caught_count == 8)
        return;
    memcpy(caught[caught_count], data, len);
    caught_len[caught_count++] = len;
}

static void follows_its_device_of(bool dtls13)
{
    scene_open("");
    struct scene_device *device = scene_dtls_with_cid("dev1", dtls13, slice_text("me"), HOME);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    uint64_t handshakes = scene_counted(STAT_HANDSHAKES_STARTED);
    request(device, 1);
    CU_ASSERT_EQUAL(scene_counted(STAT_REBINDINGS), 0);
    scene_move(device, "198.51.100.7", 7);
    request_from(device, 2, "198.51.100.7:7");
    CU_ASSERT_EQUAL(scene_counted(STAT_REBINDINGS), 1);
    scene_restart();
    scene_move(device, "198.51.100.8", 8);
    request_from(device, 3, "198.51.100.8:8");
    CU_ASSERT_EQUAL(scene_counted(STAT_REBINDINGS), 2);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_STARTED), handshakes);
    CU_ASSERT_EQUAL(DEVICES, 1);
    scene_close();
}

static void follows_its_device(void)
{
    follows_its_device_of(false);
}

static void follows_its_device_13(void)
{
    follows_its_device_of(true);
}

// A copy of a record, a damaged one, and one that came late move nothing.
static void stays_where_its_device_is(void)
{
    struct address thief;
    scene_open("");
    struct scene_device *device = scene_dtls_with_cid("dev1", false, no_cid, HOME);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    (void)address_parse("203.0.113.66", 66, &thief);
    request(device, 1);
    scene.watch = watch;
    caught_count = 0;
    device->held = true;
    scene_device_says(device, 2, GET_1); // caught, but not sent yet
    scene.watch = NULL;
    device->held = false;
    request(device, 3);
    scene.watch = watch;
    caught_count = 0;
    request(device, 4);
    scene.watch = NULL;
    CU_ASSERT_EQUAL_FATAL(caught_count, 1);
    scene_inject(&thief, caught[0], caught_len[0]);
    caught[0][caught_len[0] - 1] ^= 1;
    scene_inject(&thief, caught[0], caught_len[0]);
    scene_pump();
    CU_ASSERT_EQUAL(scene_counted(STAT_REBINDINGS), 0);
    CU_ASSERT_EQUAL(scene.stray_count, 0);
    request(device, 5);
    scene_close();
}

static void late_record_moves_nothing(void)
{
    struct address thief;
    scene_open("");
    struct scene_device *device = scene_dtls_with_cid("dev1", false, no_cid, HOME);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    (void)address_parse("203.0.113.66", 66, &thief);
    // The older of two records is held back by the thief, who sends it from his address.
    uint8_t data[64];
    size_t len = text_to_coap("CON GET @t /a 279=Cdev1 283=r1", 7, NULL, data, sizeof data);
    struct slice chunk;
    CU_ASSERT_EQUAL(tls_client_write(device->client, data, len), SAGATE_OK);
    CU_ASSERT_TRUE_FATAL(tls_client_output(device->client, &chunk));
    memcpy(caught[0], chunk.data, chunk.len);
    caught_len[0] = chunk.len;
    request(device, 8);
    scene_inject(&thief, caught[0], caught_len[0]);
    scene_pump();
    // It is authentic and goes to the CSE, but the answer goes to the device.
    CU_ASSERT_TRUE(scene_cse_hears(CSE_1 "192.0.2.1:40000"));
    scene_cse_says(CSE_OK);
    CU_ASSERT_TRUE(scene_device_hears(device, OK_1));
    CU_ASSERT_EQUAL(scene_counted(STAT_REBINDINGS), 0);
    CU_ASSERT_EQUAL(scene.stray_count, 0);
    scene_close();
}

static void guessed_connection_ids(void)
{
    struct address thief;
    uint8_t datagram[64] = {25, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9};
    scene_open("");
    struct scene_device *device = scene_dtls_with_cid("dev1", false, no_cid, HOME);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    (void)address_parse("203.0.113.66", 66, &thief);
    for (unsigned i = 0; i < 1000; i++) {
        memcpy(datagram + 12, &i, sizeof i);
        scene_inject(&thief, datagram, sizeof datagram);
        scene_pump();
    }
    CU_ASSERT_EQUAL(scene_counted(STAT_RECORDS_UNKNOWN_CID), 1000);
    CU_ASSERT_EQUAL(scene.stray_count, 0);
    // And those of a worker that there is not.
    datagram[11] = 9;
    scene_inject(&thief, datagram, sizeof datagram);
    scene_pump();
    CU_ASSERT_EQUAL(scene_counted(STAT_RECORDS_UNKNOWN_CID), 1001);
    request(device, 1);
    scene_close();
}

// Another device gets the address that the first one had. Both go on.
static void address_changes_hands(void)
{
    scene_open("");
    struct scene_device *first = scene_dtls_with_cid("dev1", false, no_cid, HOME);
    CU_ASSERT_TRUE_FATAL(scene_establish(first));
    scene_move(first, "198.51.100.7", 7); // of which sagate has not heard yet
    struct scene_device *second = scene_dtls_with_cid("dev2", false, no_cid, HOME);
    CU_ASSERT_TRUE_FATAL(scene_establish(second));
    CU_ASSERT_EQUAL(DEVICES, 2);
    request_from(first, 1, "198.51.100.7:7");
    // The same device again, rebooted: its old association ends.
    scene_drop(second);
    CU_ASSERT_TRUE_FATAL(scene_establish(scene_dtls_with_cid("dev2", false, no_cid, HOME)));
    CU_ASSERT_EQUAL(DEVICES, 2);
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_ENDED_REPLACED), 1);
    scene_close();
}

static void right_worker(void)
{
    scene_open("");
    struct scene_device *device = scene_dtls_with_cid("dev1", false, no_cid, HOME);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    struct stats *stats = calloc(1, sizeof *stats);
    struct worker_snapshot snapshot = {.config = scene.config, .listener_fds = scene.listener_fds};
    char error[128];
    CU_ASSERT_EQUAL_FATAL(handshake_contexts_new(scene.config, &scene.files, &snapshot.contexts, error, sizeof error),
                          SAGATE_OK);
    const struct worker_options options = {.index = 1,
                                           .driver = &io_mem_driver,
                                           .stats = stats,
                                           .channel_fd = -1,
                                           .wake_fd = -1,
                                           .store_fd = -1,
                                           .snapshot = &snapshot};
    struct worker *other = NULL;
    CU_ASSERT_EQUAL_FATAL(worker_new(&options, &other), SAGATE_OK);
    struct worker *workers[] = {scene.worker, other};
    CU_ASSERT_EQUAL_FATAL(worker_link(workers, 2), SAGATE_OK);
    // The device has moved, and the kernel brings what it says to the other worker.
    struct slice chunk;
    uint8_t data[64];
    size_t len = text_to_coap(GET_1, 1, NULL, data, sizeof data);
    scene_move(device, "198.51.100.7", 7);
    CU_ASSERT_EQUAL(tls_client_write(device->client, data, len), SAGATE_OK);
    CU_ASSERT_TRUE_FATAL(tls_client_output(device->client, &chunk));
    (void)mem_inject(worker_io(other), other->listeners[0]->id, &device->address, chunk.data, chunk.len);
    CU_ASSERT_EQUAL(worker_round(other, 0), SAGATE_OK);
    CU_ASSERT_EQUAL(stats_get(&stats->counters[STAT_RECORDS_HANDED_OVER]), 1);
    scene_pump();
    CU_ASSERT_TRUE(scene_cse_hears(CSE_1 "198.51.100.7:7"));
    scene_cse_says(CSE_OK);
    CU_ASSERT_TRUE(scene_device_hears(device, OK_1));
    worker_free(other);
    scene_close();
    free(stats);
}

// --- too many ----------------------------------------------------------------------------------------------------

static void longest_silent_gives_way(void)
{
    scene_open("associations = 3; eviction_idle_seconds = 60; association_idle_seconds = 3600;");
    struct scene_device *devices[3];
    static const char *const names[] = {"dev1", "dev2", "dev3"};
    for (uint16_t i = 0; i < 3; i++) {
        devices[i] = scene_dtls(names[i], "192.0.2.1", (uint16_t)(40000 + i));
        CU_ASSERT_TRUE_FATAL(scene_establish(devices[i]));
    }
    CU_ASSERT_FALSE(scene_establish(scene_dtls("dev4", "192.0.2.1", 50000)) && DEVICES > 3);
    CU_ASSERT_EQUAL(scene_counted(STAT_LIMIT_ASSOCIATIONS), 1);
    scene_advance(70000);
    request(devices[0], 1);
    CU_ASSERT_TRUE(scene_establish(scene_dtls("dev5", "192.0.2.1", 50001)));
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_ENDED_EVICTED), 1);
    CU_ASSERT_EQUAL(DEVICES, 3);
    request(devices[0], 2);
    scene_close();
}

static void limit_per_identity(void)
{
    scene_open("associations_per_identity = 2;");
    struct scene_device *devices[3];
    for (uint16_t i = 0; i < 3; i++) {
        devices[i] = scene_dtls("dev1", "192.0.2.1", (uint16_t)(40000 + i));
        CU_ASSERT_TRUE_FATAL(scene_establish(devices[i]));
        scene_advance(2000);
    }
    CU_ASSERT_EQUAL(DEVICES, 2);
    CU_ASSERT_EQUAL(scene_counted(STAT_LIMIT_IDENTITY), 1);
    CU_ASSERT_EQUAL(tls_client_read(devices[0]->client, (char[64]){0}, 64), SAGATE_EGONE);
    request_from(devices[2], 1, "192.0.2.1:40002");
    scene_close();
}

static void idle_ones_end(void)
{
    scene_open("association_idle_seconds = 100;");
    struct scene_device *device = scene_dtls("dev1", HOME);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    for (int i = 0; i < 5; i++)
        scene_advance(19000);
    request(device, 1);
    for (int i = 0; i < 5; i++)
        scene_advance(19000);
    CU_ASSERT_EQUAL(DEVICES, 1);
    for (int i = 0; i < 3; i++)
        scene_advance(5000);
    CU_ASSERT_EQUAL(DEVICES, 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_ENDED_IDLE), 1);
    scene_close();
}

// A limit that was lowered counts for those that are there.
static void idle_limit_is_lowered(void)
{
    scene_open("association_idle_seconds = 86400;");
    CU_ASSERT_TRUE_FATAL(scene_establish(scene_dtls("dev1", HOME)));
    CU_ASSERT_TRUE(
        scene_swap(scene_config("association_idle_seconds = 100;", SCENE_SERVER, SCENE_DTLS ", " SCENE_TLS), 0));
    scene_advance(50000);
    CU_ASSERT_EQUAL(DEVICES, 1);
    scene_advance(51000);
    CU_ASSERT_EQUAL(DEVICES, 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_ENDED_IDLE), 1);
    scene_close();
}

// However many end at one time, the worker does not sleep until all have.
static void many_end_at_once(void)
{
    scene_open("association_idle_seconds = 100; http_idle_seconds = 100;");
    struct store *store = scene.worker->store;
    struct address peer;
    for (uint16_t i = 0; i < 300; i++) {
        store_slot slot = store_take(store, RECORD_DTLS12);
        (void)address_parse("192.0.2.200", (uint16_t)(1000 + i), &peer);
        CU_ASSERT_EQUAL(store_publish(store, slot, scene.worker->listeners[0]->number, &peer, no_cid, no_cid, no_cid,
                                      100, (uint32_t)(scene.worker->now_ms / 1000)),
                        SAGATE_OK);
    }
    scene_advance(99000);
    CU_ASSERT_EQUAL(store_count(store), 300);
    for (uint64_t slept = 0; slept <= 1010;) {
        uint64_t wait = timer_wheel_wait(scene.worker->wheel, scene.worker->now_ms, 250);
        bool under_way = store_count(store) > 0 && store_count(store) < 300;
        CU_ASSERT_TRUE(!under_way || wait <= 1);
        scene_advance((unsigned)wait);
        slept += wait;
    }
    CU_ASSERT_EQUAL(store_count(store), 0);
    scene_close();
}

// Associations of others whose principals leave no room for any more.
static void fill_principals(void)
{
    static uint8_t packed[STORE_PRINCIPAL_MAX];
    struct store *store = scene.worker->store;
    struct address peer;
    uint16_t port = 2000;
    (void)address_parse("192.0.2.200", 1, &peer);
    for (size_t len = 40000; len > 64; len /= 2) {
        int result = SAGATE_OK;
        while (result == SAGATE_OK) {
            char name[16];
            int n = snprintf(name, sizeof name, "10-%u", port);
            memcpy(packed, name, (size_t)n);
            peer.v4.sin_port = htons(port++);
            store_slot slot = store_take(store, RECORD_DTLS12);
            CU_ASSERT_NOT_EQUAL_FATAL(slot, 0);
            result = store_publish(store, slot, scene.worker->listeners[0]->number, &peer, no_cid, slice_text(name),
                                   slice_of(packed, len), 1000, 1000);
            if (result != SAGATE_OK)
                store_release(store, slot);
        }
        CU_ASSERT_EQUAL(result, SAGATE_ELIMIT);
    }
}

// A credential may do less now, and there is no room to say so: what was kept must not come back.
static void no_room_for_a_principal(void)
{
    scene_open("associations = 60;");
    struct scene_device *device = scene_dtls("dev1", HOME);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    fill_principals();
    uint64_t others = store_count(scene.worker->store) - 1;
    char aes[200];
    (void)snprintf(aes, sizeof aes, "C%0150d", 1);
    const struct plane_message changed = {.type = PLANE_PRINCIPAL,
                                          .principal = {.principal = scene_principal("dev1", aes)}};
    scene_control_says(&changed);
    scene_advance(10);
    scene_advance(10);
    CU_ASSERT_EQUAL(store_count(scene.worker->store), others);
    CU_ASSERT_EQUAL(tls_client_read(device->client, (char[64]){0}, 64), SAGATE_EGONE);
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_ENDED_REVOKED), 1);
    scene_close();
}

// An association for which there is no room is told so.
static void no_room_for_another_principal(void)
{
    scene_open("associations = 60;");
    fill_principals();
    uint64_t others = store_count(scene.worker->store);
    struct scene_device *device = scene_dtls("dev1", HOME);
    (void)scene_establish(device);
    CU_ASSERT_EQUAL(store_count(scene.worker->store), others);
    CU_ASSERT_EQUAL(scene_counted(STAT_LIMIT_ASSOCIATIONS), 1);
    CU_ASSERT_EQUAL(tls_client_read(device->client, (char[64]){0}, 64), SAGATE_EGONE);
    scene_close();
}

// However many associations a credential has in the store, its streams end as well.
static void revoked_everywhere(void)
{
    enum { COUNT = 2000 };
    scene_open("associations = 3000; associations_per_identity = 0;");
    struct scene_device *stream = scene_tls("dev1", false);
    CU_ASSERT_TRUE_FATAL(scene_establish(stream));
    struct store *store = scene.worker->store;
    struct slice principal = scene_principal("dev1", "Cdev1");
    struct address peer;
    for (uint16_t i = 0; i < COUNT; i++) {
        store_slot slot = store_take(store, RECORD_DTLS12);
        (void)address_parse("192.0.2.200", (uint16_t)(1000 + i), &peer);
        CU_ASSERT_EQUAL(store_publish(store, slot, scene.worker->listeners[0]->number, &peer, no_cid,
                                      slice_text("12-dev1"), principal, 1000, 1000),
                        SAGATE_OK);
    }
    const struct plane_message gone = {
        .type = PLANE_REVOKED, .revoked = {.identity = slice_text("dev1"), .credential_id = slice_text("12-dev1")}};
    scene_control_says(&gone);
    for (int i = 0; i < 5; i++)
        scene_advance(10);
    CU_ASSERT_EQUAL(store_count(store), 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_TLS), 0);
    scene_close();
}

static const struct unit_test tests[] = {
    {"an association rests and wakes", rests_and_wakes},
    {"it does not rest while it waits", does_not_rest_while_it_waits},
    {"it outlives its worker", outlives_its_worker},
    {"a key that was removed meanwhile", removed_meanwhile},
    {"a walk in pieces", walks_in_pieces},
    {"a worker that cannot start", a_worker_that_cannot_start},
    {"keys half changed", keys_half_changed},
    {"a listener that is gone", a_listener_that_is_gone},
    {"it follows its device", follows_its_device},
    {"it follows its device, DTLS 1.3", follows_its_device_13},
    {"it stays where its device is", stays_where_its_device_is},
    {"a record that comes late moves nothing", late_record_moves_nothing},
    {"guessed Connection IDs", guessed_connection_ids},
    {"an address changes hands", address_changes_hands},
    {"the right worker", right_worker},
    {"the longest silent one gives way", longest_silent_gives_way},
    {"limit per identity", limit_per_identity},
    {"idle ones end", idle_ones_end},
    {"the idle limit is lowered", idle_limit_is_lowered},
    {"many end at once", many_end_at_once},
    {"revoked everywhere", revoked_everywhere},
    {"no room for a principal", no_room_for_a_principal},
    {"no room for another principal", no_room_for_another_principal},
};
UNIT_MAIN("worker_store", tests)
