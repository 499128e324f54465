// One worker and its DTLS devices: from the first ClientHello to the end of the association.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/unit.h"
#include "tests/unit/worker_rig.h"

#define GET_1  "CON GET @t /a 279=Cdev1 283=r1"
#define CSE_1  "CON GET @* /a 279=Cdev1 283=r1 65020=//sp.example/id-in/Cdev1 65052=12-dev1 65084=192.0.2.1:40000"
#define CSE_OK "ACK 2.05 @* 283=r1 307=#2000 |{}"
#define OK_1   "ACK 2.05 @t 283=r1 307=#2000 |{}"
#define REFUSED                                                                                                  \
    "ACK 4.03 @t 12=#50 283=r1 307=#4106 |{\"m2m:dbg\":\"From is not an identity that the security association " \
    "proved\"}"
#define DEV1        "dev1", "192.0.2.1", 40000
#define IN_PROGRESS scene_counted(STAT_HANDSHAKES_IN_PROGRESS)
#define DEVICES     scene_counted(STAT_ASSOCIATIONS_DTLS)

// A GET goes to the CSE and its answer comes back.
static void one_request(struct scene_device *device, uint16_t mid)
{
    scene_device_says(device, mid, GET_1);
    CU_ASSERT_TRUE(scene_cse_hears(CSE_1));
    scene_cse_says(CSE_OK);
    CU_ASSERT_TRUE(scene_device_hears(device, OK_1));
}

static void identity_is_asked_for_once(void)
{
    scene_open("");
    scene.asks = true;
    struct scene_device *first = scene_dtls(DEV1);
    struct scene_device *second = scene_dtls("dev1", "192.0.2.2", 40000);
    scene_pump();
    CU_ASSERT_TRUE(scene_control_hears_resolve("dev1"));
    CU_ASSERT_PTR_NULL(scene_control_hears());
    CU_ASSERT_EQUAL(first->state, SAGATE_AGAIN);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_PARKED), 2);
    CU_ASSERT_EQUAL(DEVICES, 0);
    scene_resolved("dev1", SAGATE_OK, "Cdev1");
    scene_pump();
    CU_ASSERT_EQUAL(first->state, SAGATE_DONE);
    CU_ASSERT_EQUAL(second->state, SAGATE_DONE);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_PARKED), 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_PARKED_TOTAL), 2);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_OK_PSK), 2);
    CU_ASSERT_EQUAL(DEVICES, 2);
    CU_ASSERT_EQUAL(IN_PROGRESS, 0);
    one_request(first, 1);
    // One that comes later finds the key.
    CU_ASSERT_TRUE(scene_establish(scene_dtls("dev1", "192.0.2.3", 40000)));
    CU_ASSERT_PTR_NULL(scene_control_hears());
    scene_close();
}

// What a device sends again while its key is asked for is not answered and asks for nothing.
static void repetitions_while_parked_cost_nothing(void)
{
    for (int version = 2; version <= 3; version++) {
        scene_open("parked_milliseconds = 30000;");
        scene.asks = true;
        struct scene_device *device = scene_dtls_with_cid("dev1", version == 3, slice_of("", 0), "192.0.2.1", 40000);
        scene_pump();
        CU_ASSERT_TRUE(scene_control_hears_resolve("dev1"));
        uint64_t repeated = scene_counted(STAT_HANDSHAKES_PARKED_TOTAL);
        unsigned resolves = scene.resolves;
        for (int i = 0; i < 5; i++) { // the client gives up later
            tls_client_timeout(device->client);
            scene_flush(device);
            scene_advance(100);
        }
        CU_ASSERT_PTR_NULL(scene_control_hears());
        CU_ASSERT_EQUAL(scene.resolves, resolves);
        CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_PARKED_TOTAL), repeated);
        CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_PARKED), 1);
        CU_ASSERT_EQUAL(IN_PROGRESS, 1);
        scene_resolved("dev1", SAGATE_OK, "Cdev1");
        scene_pump();
        CU_ASSERT_EQUAL_FATAL(device->state, SAGATE_DONE);
        one_request(device, 1);
        scene_close();
    }
}

static void key_lives_as_long_as_control_said(void)
{
    scene_open("");
    scene.asks = true;
    struct scene_device *device = scene_dtls(DEV1);
    scene_pump();
    CU_ASSERT_TRUE(scene_control_hears_resolve("dev1"));
    const struct plane_message answer = {.type = PLANE_RESOLVED,
                                         .resolved = {.identity = slice_text("dev1"),
                                                      .key = scene_key("dev1"),
                                                      .cache_seconds = 5,
                                                      .principal = scene_principal("dev1", "Cdev1")}};
    scene_control_says(&answer);
    scene_pump();
    CU_ASSERT_EQUAL(device->state, SAGATE_DONE);
    scene_advance(4900);
    CU_ASSERT_TRUE(scene_establish(scene_dtls("dev1", "192.0.2.2", 40000)));
    CU_ASSERT_PTR_NULL(scene_control_hears());
    scene_advance(200);
    CU_ASSERT_FALSE(scene_establish(scene_dtls("dev1", "192.0.2.3", 40000)));
    CU_ASSERT_TRUE(scene_control_hears_resolve("dev1"));
    scene_close();
}

static void cookie_comes_first(void)
{
    scene_open("");
    struct scene_device *device = scene_dtls(DEV1);
    device->held = true;
    scene_flush(device);
    for (int i = 0; i < 3; i++)
        (void)worker_round(scene.worker, 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_COOKIES_SENT), 1);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_STARTED), 0);
    CU_ASSERT_EQUAL(IN_PROGRESS, 0);
    device->held = false;
    CU_ASSERT_TRUE(scene_establish(device));
    CU_ASSERT_EQUAL(scene_counted(STAT_COOKIES_SENT), 1);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_STARTED), 1);
    scene_close();
}

// The cookie of one address does not serve another.
static uint8_t watched[IO_DATAGRAM_MAX];
static size_t watched_len;
static void watch(bool stream, const struct address *from, const uint8_t *data, size_t len)
{
    (void)stream;
    (void)from;
    if (handshaking_is_hello(data, len) && len <= sizeof watched) {
        memcpy(watched, data, len);
        watched_len = len;
    }
}

static void stolen_cookie(void)
{
    scene_open("");
    scene.watch = watch;
    struct scene_device *device = scene_dtls(DEV1);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    struct address thief;
    (void)address_parse("192.0.2.66", 40000, &thief);
    scene_inject(&thief, watched, watched_len);
    scene_pump();
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_STARTED), 1);
    CU_ASSERT_EQUAL(scene_counted(STAT_COOKIES_SENT), 2);
    CU_ASSERT_EQUAL(IN_PROGRESS, 0);
    scene_close();
}

static size_t describe_end(struct scene_device *device, char *out, size_t cap)
{
    return (size_t)snprintf(out, cap, "state %d alert %d", device->state, tls_client_alert(device->client));
}

// Who has no key and who has a wrong one sees the same.
static void unknown_identity_and_wrong_key(void)
{
    static const struct {
        const char *identity;
        const char *key;
    } cases[] = {{"unknown", "unknown"}, {"dev1", "wrong"}};
    char ends[2][64];
    for (size_t i = 0; i < 2; i++) {
        scene_open("");
        struct scene_device *device = scene_dtls_with_key(cases[i].identity, scene_key(cases[i].key), "192.0.2.1", 1);
        CU_ASSERT_FALSE(scene_establish(device));
        // The record of a wrong key is dropped as one that may be forged; the deadline ends the handshake.
        scene_advance(31000);
        CU_ASSERT_EQUAL(DEVICES, 0);
        CU_ASSERT_EQUAL(IN_PROGRESS, 0);
        (void)describe_end(device, ends[i], sizeof ends[i]);
        (void)snprintf(ends[i] + strlen(ends[i]), sizeof ends[i] - strlen(ends[i]), " %u %u",
                       (unsigned)scene_counted(STAT_HANDSHAKES_FAILED_CREDENTIAL),
                       (unsigned)scene_counted(STAT_HANDSHAKES_FAILED_TIMEOUT));
        scene_close();
    }
    CU_ASSERT_STRING_EQUAL(ends[0], ends[1]);
}

static void silent_control(void)
{
    scene_open("parked_milliseconds = 500;");
    scene.asks = true;
    struct scene_device *device = scene_dtls(DEV1);
    scene_pump();
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_PARKED), 1);
    scene_advance(499);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_PARKED), 1);
    scene_advance(1);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_PARKED), 0);
    scene_advance(31000);
    CU_ASSERT_EQUAL(IN_PROGRESS, 0);
    CU_ASSERT_NOT_EQUAL(device->state, SAGATE_DONE);
    scene_close();
}

static void another_originator(void)
{
    scene_open("");
    struct scene_device *device = scene_dtls(DEV1);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    scene_device_says(device, 1, "CON GET @t /a 279=Cdev2 283=r1");
    CU_ASSERT_TRUE(scene_device_hears(device, REFUSED));
    CU_ASSERT_TRUE(scene_cse_hears(NULL));
    CU_ASSERT_EQUAL(scene_counted(STAT_REFUSED_ORIGINATOR), 1);
    scene_close();
}

// A rebooted device begins anew from the same address.
static void reboot(void)
{
    scene_open("");
    scene.asks = true;
    struct scene_device *old = scene_dtls(DEV1);
    scene_pump();
    scene_resolved("dev1", SAGATE_OK, "Cdev1");
    scene_pump();
    CU_ASSERT_EQUAL_FATAL(old->state, SAGATE_DONE);
    (void)scene_control_hears();
    struct scene_device *fresh = scene_dtls("again", "192.0.2.1", 40000);
    scene_pump();
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_PARKED), 1);
    // In between the old one goes on. (It has no ear here, since its address is the other's by now.)
    scene_drop(fresh);
    one_request(old, 1);
    CU_ASSERT_EQUAL(DEVICES, 1);
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_ENDED_REPLACED), 0);
    fresh->used = true;
    scene_resolved("again", SAGATE_OK, "Cdev1");
    scene_pump();
    CU_ASSERT_EQUAL(fresh->state, SAGATE_DONE);
    CU_ASSERT_EQUAL(DEVICES, 1);
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_ENDED_REPLACED), 1);
    scene_device_says(fresh, 1, GET_1);
    CU_ASSERT_TRUE(scene_cse_hears("CON GET @* /a 279=Cdev1 283=r1 65020=//sp.example/id-in/Cdev1 65052=12-again "
                                   "65084=192.0.2.1:40000"));
    scene_cse_says(CSE_OK);
    CU_ASSERT_TRUE(scene_device_hears(fresh, OK_1));
    // What still comes from the old one is noise.
    scene_device_says(old, 2, GET_1);
    CU_ASSERT_EQUAL(scene_counted(STAT_DATAGRAMS_DROPPED_RECORD), 1);
    CU_ASSERT_TRUE(scene_cse_hears(NULL));
    scene_close();
}

// Who forges a device's address can begin, but ends nothing.
static void forged_address(void)
{
    scene_open("");
    struct scene_device *device = scene_dtls(DEV1);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    struct scene_device *forger = scene_dtls(DEV1);
    forger->held = true;
    scene_flush(forger);
    scene_drop(forger); // the answers go to the device
    scene_pump();
    CU_ASSERT_EQUAL(scene_counted(STAT_COOKIES_SENT), 2);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_STARTED), 1);
    CU_ASSERT_EQUAL(IN_PROGRESS, 0);
    one_request(device, 1);
    // The same while nothing but the cookie is right: the wrong key never replaces.
    struct scene_device *wrong = scene_dtls_with_key("dev1", scene_key("wrong"), "192.0.2.1", 40000);
    CU_ASSERT_FALSE(scene_establish(wrong));
    scene_drop(wrong);
    scene_advance(31000);
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_ENDED_REPLACED), 0);
    CU_ASSERT_EQUAL(DEVICES, 1);
    one_request(device, 2);
    scene_close();
}

// The old association's close_notify and alerts under its own keys arrive while a new handshake is under way.
static void garbage(void)
{
    static const uint8_t short_ones[][16] = {{0}, {22}, {22, 0xfe, 0xfd}, {23, 0xfe, 0xfd, 0, 1}};
    static const uint8_t epoch_9[] = {23, 0xfe, 0xfd, 0, 9, 0, 0, 0, 0, 0, 5, 0, 3, 1, 2, 3};
    static const uint8_t clear_data[] = {23, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 3, 1, 2, 3};
    static const uint8_t clear_alert[] = {21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40};
    static const uint8_t cut[] = {23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0x10, 0, 1, 2, 3};
    scene_open("");
    struct scene_device *device = scene_dtls(DEV1);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    struct address stranger;
    (void)address_parse("192.0.2.66", 1, &stranger);
    uint64_t sent = scene.io->counters.datagrams_sent;
    for (size_t i = 0; i < 4; i++)
        scene_inject(&device->address, short_ones[i], 1 + i * 2);
    scene_inject(&stranger, "", 0);
    scene_pump();
    CU_ASSERT_EQUAL(scene_counted(STAT_DATAGRAMS_DROPPED_MALFORMED), 5);
    scene_inject(&stranger, epoch_9, sizeof epoch_9);
    scene_inject(&stranger, clear_alert, sizeof clear_alert);
    scene_pump();
    CU_ASSERT_EQUAL(scene_counted(STAT_DATAGRAMS_DROPPED_UNKNOWN), 2);
    scene_inject(&device->address, epoch_9, sizeof epoch_9);
    scene_inject(&device->address, clear_data, sizeof clear_data);
    scene_inject(&device->address, clear_alert, sizeof clear_alert);
    scene_inject(&device->address, cut, sizeof cut);
    scene_pump();
    CU_ASSERT_EQUAL(scene_counted(STAT_DATAGRAMS_DROPPED_RECORD), 4);
    CU_ASSERT_EQUAL(scene.io->counters.datagrams_sent, sent);
    CU_ASSERT_EQUAL(DEVICES, 1);
    CU_ASSERT_EQUAL(IN_PROGRESS, 0);
    one_request(device, 1);
    scene_close();
}

static void lost_flights(void)
{
    scene_open("");
    struct scene_device *device = scene_dtls(DEV1);
    device->held = true;
    scene_flush(device);
    scene_pump();
    scene_flush(device); // with the cookie
    scene_drop(device);  // the server's flight is lost
    scene_pump();
    CU_ASSERT_EQUAL(IN_PROGRESS, 1);
    CU_ASSERT_EQUAL(scene.stray_count, 1);
    device->used = true;
    scene_advance(1100);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKE_RETRANSMISSIONS), 1);
    device->held = false;
    CU_ASSERT_TRUE(scene_establish(device));
    one_request(device, 1);
    scene_close();
}

// Leaves a handshake that has begun and does not go on.
static struct scene_device *half_open(const char *host)
{
    struct scene_device *device = scene_dtls("dev1", host, 40000);
    device->held = true;
    scene_flush(device);
    scene_pump();
    scene_flush(device);
    scene_pump();
    return device;
}

static void handshakes_are_limited(void)
{
    scene_open("handshakes = 2;");
    (void)half_open("192.0.2.10");
    (void)half_open("192.0.2.11");
    CU_ASSERT_EQUAL(IN_PROGRESS, 2);
    struct scene_device *third = half_open("192.0.2.12");
    CU_ASSERT_EQUAL(IN_PROGRESS, 2);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_STARTED), 2);
    CU_ASSERT_TRUE(scene_counted(STAT_LIMIT_HANDSHAKES) > 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_FAILED_TIMEOUT), 0);
    // The oldest had its second: it gives way.
    scene_advance(1000);
    tls_client_timeout(third->client);
    third->held = false;
    CU_ASSERT_TRUE(scene_establish(third));
    CU_ASSERT_TRUE(scene_counted(STAT_HANDSHAKES_FAILED_TIMEOUT) >= 1);
    CU_ASSERT_TRUE(IN_PROGRESS <= 2);
    scene_close();
}

static void parks_are_limited(void)
{
    scene_open("parked = 1;");
    scene.asks = true;
    struct scene_device *first = scene_dtls(DEV1);
    scene_pump();
    struct scene_device *second = scene_dtls("dev2", "192.0.2.2", 40000);
    scene_pump();
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_PARKED), 1);
    CU_ASSERT_EQUAL(scene_counted(STAT_LIMIT_PARKED), 1);
    CU_ASSERT_TRUE(scene_control_hears_resolve("dev1"));
    CU_ASSERT_PTR_NULL(scene_control_hears());
    scene_resolved("dev1", SAGATE_OK, "Cdev1");
    scene_pump();
    CU_ASSERT_EQUAL(first->state, SAGATE_DONE);
    CU_ASSERT_NOT_EQUAL(second->state, SAGATE_DONE);
    scene_close();
}

static void associations_are_limited(void)
{
    scene_open("associations = 1;");
    struct scene_device *first = scene_dtls(DEV1);
    CU_ASSERT_TRUE_FATAL(scene_establish(first));
    struct scene_device *second = scene_dtls("dev2", "192.0.2.2", 40000);
    (void)scene_establish(second);
    CU_ASSERT_EQUAL(DEVICES, 1);
    CU_ASSERT_EQUAL(scene_counted(STAT_LIMIT_ASSOCIATIONS), 1);
    CU_ASSERT_EQUAL(IN_PROGRESS, 0);
    char byte[1];
    CU_ASSERT_EQUAL(tls_client_read(second->client, byte, 1), SAGATE_EGONE);
    one_request(first, 1);
    // A place that was given back serves the next; also the same device anew, in its own place.
    tls_client_close(first->client);
    scene_pump();
    scene_drop(first);
    CU_ASSERT_TRUE(scene_establish(scene_dtls("dev2", "192.0.2.3", 40000)));
    CU_ASSERT_TRUE(scene_establish(scene_dtls("dev2", "192.0.2.3", 40000)));
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_ENDED_REPLACED), 1);
    CU_ASSERT_EQUAL(DEVICES, 1);
    scene_close();
}

static void device_says_goodbye(void)
{
    scene_open("");
    struct scene_device *device = scene_dtls(DEV1);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    scene_device_says(device, 1, GET_1);
    CU_ASSERT_TRUE(scene_cse_hears(CSE_1));
    tls_client_close(device->client);
    scene_pump();
    CU_ASSERT_EQUAL(DEVICES, 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_ENDED_PEER), 1);
    // The CSE's answer finds nobody.
    scene_cse_says(CSE_OK);
    uint64_t unknown = scene_counted(STAT_DATAGRAMS_DROPPED_UNKNOWN);
    (void)tls_client_write(device->client, "x", 1);
    scene_pump();
    CU_ASSERT_TRUE(scene_counted(STAT_DATAGRAMS_DROPPED_UNKNOWN) >= unknown);
    CU_ASSERT_EQUAL(DEVICES, 0);
    scene_close();
}

static void idle_association(void)
{
    scene_open("association_idle_seconds = 60;");
    struct scene_device *device = scene_dtls(DEV1);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    scene_advance(59000);
    one_request(device, 1);
    scene_advance(59000);
    CU_ASSERT_EQUAL(DEVICES, 1);
    // What cannot be opened keeps nothing alive.
    static const uint8_t forged[] = {23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 3, 1, 2, 3};
    scene_inject(&device->address, forged, sizeof forged);
    scene_advance(1000);
    CU_ASSERT_EQUAL(DEVICES, 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_ENDED_IDLE), 1);
    char byte[1];
    CU_ASSERT_EQUAL(tls_client_read(device->client, byte, 1), SAGATE_EGONE); // close_notify
    scene_close();
}

static const struct unit_test tests[] = {
    {"an identity is asked for once, and then served", identity_is_asked_for_once},
    {"repetitions while parked cost nothing", repetitions_while_parked_cost_nothing},
    {"a key is kept as long as the control process said", key_lives_as_long_as_control_said},
    {"no state before the cookie", cookie_comes_first},
    {"a cookie serves one address", stolen_cookie},
    {"an unknown identity and a wrong key end alike", unknown_identity_and_wrong_key},
    {"a control process that does not answer", silent_control},
    {"From of another is refused here", another_originator},
    {"a rebooted device takes over when it has proven itself", reboot},
    {"a forged address ends nothing", forged_address},
    {"garbage is counted and dropped", garbage},
    {"a lost flight is sent again", lost_flights},
    {"handshakes are limited, and the oldest gives way", handshakes_are_limited},
    {"parked handshakes are limited", parks_are_limited},
    {"associations are limited", associations_are_limited},
    {"close_notify ends the association", device_says_goodbye},
    {"an idle association ends", idle_association},
};
UNIT_MAIN("worker: DTLS", tests)
