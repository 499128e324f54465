// One worker and the control process: what is asked and told, and what is done on its orders.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/unit.h"
#include "tests/unit/worker_rig.h"

#include <sys/socket.h>

#define DTLS scene_counted(STAT_ASSOCIATIONS_DTLS)
#define TLS  scene_counted(STAT_ASSOCIATIONS_TLS)

// A scene whose control process is the test, with one device.
static struct scene_device *open_with(const char *identity, const char *aes)
{
    scene_open("");
    scene.asks = true;
    struct scene_device *device = scene_dtls(identity, "192.0.2.1", 40000);
    scene_pump();
    CU_ASSERT_TRUE(scene_control_hears_resolve(identity));
    scene_resolved(identity, SAGATE_OK, aes);
    scene_pump();
    CU_ASSERT_EQUAL_FATAL(device->state, SAGATE_DONE);
    return device;
}

// Whether the device may act as the AE: true when the CSE gets its request.
static bool may(struct scene_device *device, uint16_t mid, const char *ae)
{
    char text[128];
    static uint8_t answer[2048];
    (void)snprintf(text, sizeof text, "CON GET @t /a 279=%s 283=r1", ae);
    size_t before = scene.cse_count;
    scene_device_says(device, mid, text);
    bool passed = scene.cse_count > before;
    scene.cse_count = before;
    (void)tls_client_read(device->client, answer, sizeof answer);
    return passed;
}

static bool is_alive(struct scene_device *device)
{
    char byte[2048];
    return tls_client_read(device->client, byte, sizeof byte) != SAGATE_EGONE;
}

static void control_starts_anew(void)
{
    scene_open("");
    scene.asks = true;
    struct scene_device *first = scene_dtls("dev1", "192.0.2.1", 1);
    struct scene_device *second = scene_dtls("dev2", "192.0.2.2", 1);
    scene_pump();
    CU_ASSERT_TRUE(scene_control_hears_resolve("dev1"));
    CU_ASSERT_TRUE(scene_control_hears_resolve("dev2"));
    scene_resolved("dev2", SAGATE_OK, "Cdev2");
    const struct plane_message hello = {.type = PLANE_HELLO, .hello = {.boot = 7}};
    scene_control_says(&hello);
    scene_pump();
    CU_ASSERT_EQUAL(second->state, SAGATE_DONE);
    const struct plane_message *message = scene_control_hears();
    CU_ASSERT_TRUE_FATAL(message != NULL && message->type == PLANE_HELLO);
    CU_ASSERT_EQUAL(message->hello.boot, scene.worker->boot);
    CU_ASSERT_TRUE(scene_control_hears_resolve("dev1"));
    CU_ASSERT_PTR_NULL(scene_control_hears());
    scene_resolved("dev1", SAGATE_OK, "Cdev1");
    scene_pump();
    CU_ASSERT_EQUAL(first->state, SAGATE_DONE);
    scene_close();
}

static void revoke(const char *identity, const char *credential_id)
{
    const struct plane_message message = {
        .type = PLANE_REVOKED,
        .revoked = {.identity = slice_text(identity), .credential_id = slice_text(credential_id)}};
    scene_control_says(&message);
    scene_pump();
    for (int i = 0; i < 10; i++)
        scene_advance(1);
}

static void revoked(void)
{
    scene_open("");
    struct scene_device *first = scene_dtls("dev1", "192.0.2.1", 1);
    struct scene_device *second = scene_dtls("dev2", "192.0.2.2", 1);
    struct scene_device *again = scene_dtls("dev1", "192.0.2.3", 1);
    struct scene_device *stream = scene_tls("dev1", true);
    scene_pump();
    struct scene_device *waiting = scene_dtls_without_finished("dev1", "192.0.2.4", 1);
    struct scene_device *other = scene_dtls_without_finished("dev2", "192.0.2.5", 1);
    CU_ASSERT_EQUAL(DTLS, 3);
    CU_ASSERT_EQUAL(TLS, 1);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_IN_PROGRESS), 2);
    CU_ASSERT_EQUAL(scene.resolves, 2);
    // First only the key: associations stay, and the next device asks anew.
    revoke("dev1", "");
    CU_ASSERT_EQUAL(DTLS, 3);
    revoke("dev1", "12-dev1");
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_ENDED_REVOKED), 3);
    CU_ASSERT_EQUAL(DTLS, 1);
    CU_ASSERT_EQUAL(TLS, 0);
    CU_ASSERT_FALSE(is_alive(first));
    CU_ASSERT_FALSE(is_alive(again));
    CU_ASSERT_FALSE(is_alive(stream));
    CU_ASSERT_TRUE(is_alive(second));
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_IN_PROGRESS), 1);
    waiting->held = other->held = false;
    scene_pump();
    CU_ASSERT_NOT_EQUAL(waiting->state, SAGATE_DONE);
    CU_ASSERT_EQUAL(other->state, SAGATE_DONE);
    CU_ASSERT_TRUE(scene_establish(scene_dtls("dev1", "192.0.2.6", 1)));
    CU_ASSERT_EQUAL(scene.resolves, 3);
    scene_close();
}

static void principal_changes(void)
{
    struct scene_device *device = open_with("dev1", "Cdev1");
    CU_ASSERT_TRUE(may(device, 1, "Cdev1"));
    CU_ASSERT_FALSE(may(device, 2, "Cother"));
    struct plane_message message = {.type = PLANE_PRINCIPAL,
                                    .principal = {.principal = scene_principal("dev1", "Cdev1 Cother")}};
    scene_control_says(&message);
    scene_pump();
    CU_ASSERT_TRUE(may(device, 3, "Cdev1"));
    CU_ASSERT_TRUE(may(device, 4, "Cother"));
    message.principal.principal = scene_principal("dev1", "Cother");
    scene_control_says(&message);
    message.principal.principal = scene_principal("nobody", "Cdev1"); // no one's here
    scene_control_says(&message);
    scene_pump();
    CU_ASSERT_FALSE(may(device, 5, "Cdev1"));
    CU_ASSERT_TRUE(may(device, 6, "Cother"));
    // An answer for another peer with the same credential changes the one principal as well.
    scene_resolved("dev1", SAGATE_OK, "Cthird");
    scene_pump();
    CU_ASSERT_TRUE(may(device, 7, "Cthird"));
    CU_ASSERT_FALSE(may(device, 8, "Cother"));
    scene_close();
}

#define AE "{\"m2m:ae\":{\"api\":\"N1\",\"rr\":true,\"srv\":[\"3\"]}}"

static void register_ae(struct scene_device *device, uint16_t mid, const char *aei)
{
    char text[256];
    scene_device_says(device, mid, "CON POST @t /cse 279=C 283=r1 267=#2 12=#50 |" AE);
    CU_ASSERT_TRUE(scene.cse_count == 1);
    scene.last = scene.to_cse[scene.cse_first];
    scene.cse_count = 0;
    (void)snprintf(text, sizeof text,
                   "ACK 2.01 @* 12=#50 283=r1 307=#2001 |{\"m2m:ae\":{\"rn\":\"x\",\"ri\":\"i%s\",\"aei\":\"%s\"}}",
                   aei, aei);
    scene_cse_says(text);
    uint8_t answer[2048];
    CU_ASSERT_TRUE(tls_client_read(device->client, answer, sizeof answer) > 0);
}

static void delete_ae(struct scene_device *device, uint16_t mid, const char *ae)
{
    char text[128];
    (void)snprintf(text, sizeof text, "CON DELETE @t /i%s 279=%s 283=r1", ae, ae);
    scene_device_says(device, mid, text);
    CU_ASSERT_TRUE(scene.cse_count == 1);
    scene.last = scene.to_cse[scene.cse_first];
    scene.cse_count = 0;
    scene_cse_says("ACK 2.02 @* 283=r1 307=#2002");
    uint8_t answer[2048];
    CU_ASSERT_TRUE(tls_client_read(device->client, answer, sizeof answer) > 0);
}

static bool hears_registered(const char *aei)
{
    const struct plane_message *message = scene_control_hears();
    return message != NULL && message->type == PLANE_REGISTERED && slice_is(message->registered.aei, aei) &&
           slice_is(message->registered.credential_id, "12-wild1") && slice_is(message->registered.upstream, "in");
}

static bool hears_deleted(const char *to)
{
    const struct plane_message *message = scene_control_hears();
    return message != NULL && message->type == PLANE_DELETED && slice_is(message->deleted.to, to) &&
           slice_is(message->deleted.upstream, "in");
}

static void registration(void)
{
    struct scene_device *device = open_with("wild1", "C*");
    CU_ASSERT_FALSE(may(device, 1, "Cnew"));
    register_ae(device, 2, "Cnew");
    CU_ASSERT_TRUE(hears_registered("Cnew"));
    CU_ASSERT_TRUE(may(device, 3, "Cnew"));
    delete_ae(device, 4, "Cnew");
    CU_ASSERT_TRUE(hears_deleted("iCnew"));
    CU_ASSERT_PTR_NULL(scene_control_hears());
    scene_close();
}

static void owners(void)
{
    static uint8_t entries[256];
    int len = plane_append_text(entries, 0, sizeof entries, slice_text("Cowned"));
    len = plane_append_text(entries, (size_t)len, sizeof entries, slice_text(""));
    len = plane_append_text(entries, (size_t)len, sizeof entries, slice_text("12-dev2"));
    struct scene_device *device = open_with("wild1", "C*");
    struct plane_message message = {.type = PLANE_OWNERS, .owners = {.entries = slice_of(entries, (size_t)len)}};
    scene_control_says(&message);
    scene_pump();
    scene_device_says(device, 1, "CON POST @t /cse 279=Cowned 283=r1 267=#2 12=#50 |" AE);
    CU_ASSERT_EQUAL(scene.cse_count, 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_REFUSED_ORIGINATOR), 1);
    message.owners.remove = 1;
    scene_control_says(&message);
    scene_pump();
    scene_device_says(device, 2, "CON POST @t /cse 279=Cowned 283=r2 267=#2 12=#50 |" AE);
    CU_ASSERT_EQUAL(scene.cse_count, 1);
    scene_close();
}

// Reads one LISTED; the ids go to `ids`, the cursor comes back.
static uint64_t listed(uint64_t ticket, uint64_t *ids, size_t *count)
{
    const struct plane_message *message = scene_control_hears();
    CU_ASSERT_TRUE_FATAL(message != NULL && message->type == PLANE_LISTED);
    CU_ASSERT_EQUAL(message->listed.ticket, ticket);
    struct slice entries = message->listed.entries;
    struct plane_association entry;
    while (plane_next_association(&entries, &entry) == SAGATE_OK)
        ids[(*count)++] = entry.id;
    return message->listed.next;
}

static void list(uint64_t ticket, uint64_t cursor, uint32_t limit)
{
    const struct plane_message message = {.type = PLANE_LIST,
                                          .list = {.ticket = ticket, .cursor = cursor, .limit = limit}};
    scene_control_says(&message);
    scene_pump();
}

static void listing(void)
{
    scene_open("");
    (void)scene_dtls("dev1", "192.0.2.1", 1);
    (void)scene_dtls("dev1", "192.0.2.2", 1);
    (void)scene_dtls("dev1", "192.0.2.3", 1);
    (void)scene_tls("dev1", true);
    (void)scene_tls(NULL, true);
    scene_pump();
    CU_ASSERT_EQUAL(DTLS + TLS, 5);
    scene.asks = true;
    uint64_t ids[8] = {0};
    size_t count = 0;
    uint64_t cursor = 0;
    int parts = 0;
    do {
        list(7, cursor, 2);
        cursor = listed(7, ids, &count);
    } while (cursor != 0 && ++parts < 9 && count <= 5);
    CU_ASSERT_EQUAL(cursor, 0);
    CU_ASSERT_EQUAL(count, 5);
    for (size_t i = 0; i < 5; i++) {
        for (size_t j = 0; j < i; j++)
            CU_ASSERT_NOT_EQUAL(ids[i], ids[j]);
    }
    list(8, UINT64_MAX, 2); // a cursor from nowhere
    count = 0;
    CU_ASSERT_EQUAL(listed(8, ids, &count), 0);
    CU_ASSERT_EQUAL(count, 0);
    scene_close();
}

static void what_a_list_says(void)
{
    struct scene_device *device = open_with("dev1", "Cdev1");
    scene_advance(3000);
    CU_ASSERT_TRUE(may(device, 1, "Cdev1"));
    scene_advance(2000);
    list(1, 0, 10);
    const struct plane_message *message = scene_control_hears();
    CU_ASSERT_TRUE_FATAL(message != NULL && message->type == PLANE_LISTED);
    struct slice entries = message->listed.entries;
    struct plane_association entry;
    CU_ASSERT_EQUAL_FATAL(plane_next_association(&entries, &entry), SAGATE_OK);
    CU_ASSERT_TRUE(slice_is(entry.peer, "192.0.2.1:40000"));
    CU_ASSERT_TRUE(slice_is(entry.credential_id, "12-dev1"));
    CU_ASSERT_TRUE(slice_is(entry.listener, "dtls"));
    CU_ASSERT_TRUE(slice_is(entry.protocol, "DTLSv1.2"));
    CU_ASSERT_TRUE(slice_is(entry.cipher, "PSK-AES128-CCM-8"));
    CU_ASSERT_EQUAL(entry.framework, FRAMEWORK_PSK);
    CU_ASSERT_EQUAL(entry.age_ms, 5000);
    CU_ASSERT_EQUAL(entry.idle_ms, 2000);
    CU_ASSERT_TRUE(entry.bytes_in > 0);
    scene_close();
}

static void kill(uint64_t ticket, uint64_t association, const char *credential_id, uint32_t killed)
{
    const struct plane_message order = {
        .type = PLANE_KILL,
        .kill = {.ticket = ticket, .association = association, .credential_id = slice_text(credential_id)}};
    scene_control_says(&order);
    scene_pump();
    for (int i = 0; i < 10; i++)
        scene_advance(1);
    const struct plane_message *message = scene_control_hears();
    CU_ASSERT_TRUE_FATAL(message != NULL && message->type == PLANE_KILLED);
    CU_ASSERT_EQUAL(message->killed.ticket, ticket);
    CU_ASSERT_EQUAL(message->killed.count, killed);
    CU_ASSERT_PTR_NULL(scene_control_hears());
}

static void killing(void)
{
    scene_open("");
    struct scene_device *first = scene_dtls("dev1", "192.0.2.1", 1);
    struct scene_device *second = scene_dtls("dev2", "192.0.2.2", 1);
    struct scene_device *third = scene_tls("dev1", false);
    CU_ASSERT_TRUE(scene_establish(first) && second->state == SAGATE_DONE && third->state == SAGATE_DONE);
    scene.asks = true;
    uint64_t ids[4];
    size_t count = 0;
    list(1, 0, 10);
    (void)listed(1, ids, &count);
    kill(2, ids[1], "", 1);
    kill(3, ids[1], "", 0);
    CU_ASSERT_EQUAL(DTLS + TLS, 2);
    CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_ENDED_OPERATOR), 1);
    kill(4, 0, "12-nobody", 0);
    uint32_t left = (is_alive(first) ? 1U : 0U) + (is_alive(third) ? 1U : 0U);
    CU_ASSERT_EQUAL(left + (is_alive(second) ? 1U : 0U), 2);
    kill(5, 0, "12-dev1", left);
    kill(6, 0, "12-dev1", 0);
    CU_ASSERT_FALSE(is_alive(first));
    CU_ASSERT_FALSE(is_alive(third));
    // The keys are still good: whoever was ended may come back.
    CU_ASSERT_TRUE(scene_establish(scene_dtls("dev1", "192.0.2.8", 1)));
    CU_ASSERT_PTR_NULL(scene_control_hears());
    scene_close();
}

static void draining(void)
{
    scene_open("");
    struct scene_device *old = scene_dtls("dev1", "192.0.2.1", 1);
    struct scene_device *stream = scene_tls("dev1", true);
    CU_ASSERT_TRUE(scene_establish(old) && stream->state == SAGATE_DONE);
    struct plane_message order = {.type = PLANE_DRAIN, .drain = {.on = 1}};
    scene_control_says(&order);
    scene_pump();
    struct scene_device *late = scene_dtls("dev1", "192.0.2.2", 1);
    struct scene_device *late_stream = scene_tls("dev1", true);
    CU_ASSERT_FALSE(scene_establish(late));
    CU_ASSERT_EQUAL(scene_counted(STAT_COOKIES_SENT), 1);
    CU_ASSERT_EQUAL(mem_peer_state(late_stream->stream), MEM_RESET);
    CU_ASSERT_TRUE(may(old, 1, "Cdev1"));
    scene_device_writes(stream, "GET /a HTTP/1.1\r\nHost: gw\r\nX-M2M-Origin: Cdev1\r\nX-M2M-RI: r1\r\n\r\n");
    (void)scene_cse_reads(0);
    scene_cse_writes(0, "HTTP/1.1 200 OK\r\nX-M2M-RSC: 2000\r\nX-M2M-RI: r1\r\nContent-Length: 0\r\n\r\n");
    CU_ASSERT_PTR_NOT_NULL(strstr(scene_device_reads(stream), "Connection: close\r\n"));
    CU_ASSERT_EQUAL(TLS, 0);
    order.drain.on = 0;
    scene_control_says(&order);
    scene_pump();
    tls_client_timeout(late->client);
    CU_ASSERT_TRUE(scene_establish(late));
    scene_close();
}

static void log_level(void)
{
    scene_open("");
    struct plane_message order = {.type = PLANE_LOG_LEVEL, .log_level = {.level = LOG_LEVEL_WARNING}};
    scene_control_says(&order);
    scene_pump();
    CU_ASSERT_EQUAL(log_get_level(), LOG_LEVEL_WARNING);
    order.log_level.level = 99;
    scene_control_says(&order);
    scene_pump();
    CU_ASSERT_EQUAL(log_get_level(), LOG_LEVEL_WARNING);
    scene_close();
}

static void malformed_messages(void)
{
    scene_open("");
    log_set_level(LOG_LEVEL_ERROR);
    scene.asks = true;
    uint8_t long_name[ONEM2M_CREDENTIAL_MAX + 100];
    memset(long_name, 'x', sizeof long_name);
    uint8_t encoded[1024];
    const struct plane_message wrong_way = {.type = PLANE_REGISTERED};
    struct plane_message message = {.type = PLANE_LIST, .list = {.ticket = 1, .limit = 5}};
    int len = plane_encode(&message, encoded, sizeof encoded);
    CU_ASSERT_TRUE_FATAL(len > 0);
    for (size_t cut = 1; cut < (size_t)len; cut++)
        (void)send(scene.control, encoded, cut, MSG_DONTWAIT | MSG_NOSIGNAL);
    for (size_t i = 0; i < PLANE_HEADER; i++) {
        uint8_t spoilt[1024];
        memcpy(spoilt, encoded, (size_t)len);
        spoilt[i] ^= 0x40;
        (void)send(scene.control, spoilt, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    scene_control_says(&wrong_way);
    message = (struct plane_message){.type = PLANE_REVOKED,
                                     .revoked = {.credential_id = slice_of(long_name, sizeof long_name)}};
    scene_control_says(&message);
    message =
        (struct plane_message){.type = PLANE_KILL, .kill = {.credential_id = slice_of(long_name, sizeof long_name)}};
    scene_control_says(&message);
    message = (struct plane_message){.type = PLANE_PRINCIPAL};
    message.principal.principal = slice_of(long_name, 9);
    scene_control_says(&message);
    message = (struct plane_message){.type = PLANE_OWNERS, .owners = {.entries = slice_of(long_name, 9)}};
    scene_control_says(&message);
    message = (struct plane_message){.type = PLANE_REGISTREES, .registrees = {.cse_ids = slice_of(long_name, 9)}};
    scene_control_says(&message);
    message = (struct plane_message){
        .type = PLANE_RESOLVED,
        .resolved = {.identity = slice_text("dev1"), .key = slice_of(long_name, 16), .principal = slice_of("x", 1)}};
    scene_control_says(&message);
    scene_pump();
    while (scene_control_hears() != NULL)
        continue;
    list(77, 0, 5);
    uint64_t ids[4];
    size_t count = 0;
    CU_ASSERT_EQUAL(listed(77, ids, &count), 0);
    // An answer that makes no sense is no answer.
    struct scene_device *device = scene_dtls("dev1", "192.0.2.1", 1);
    scene_pump();
    CU_ASSERT_TRUE(scene_control_hears_resolve("dev1"));
    scene_control_says(&message);
    scene_pump();
    CU_ASSERT_NOT_EQUAL(device->state, SAGATE_DONE);
    scene_resolved("dev1", SAGATE_OK, "Cdev1");
    scene_pump();
    CU_ASSERT_EQUAL(device->state, SAGATE_DONE);
    scene_close();
}

// Fills what the control process has not read yet. Returns the number of messages.
static size_t fill(void)
{
    static uint8_t big[60000];
    const struct plane_message message = {.type = PLANE_LISTED, .listed = {.entries = slice_of(big, sizeof big)}};
    const struct plane_message small = {.type = PLANE_KILLED};
    size_t count = 0;
    while (count < 1000000 && plane_send(scene.channel, &message, -1) == SAGATE_OK)
        count++;
    while (count < 1000000 && plane_send(scene.channel, &small, -1) == SAGATE_OK)
        count++;
    return count;
}

static void full_socket_keeps_the_order(void)
{
    struct scene_device *device = open_with("wild1", "C*");
    size_t filled = fill();
    register_ae(device, 1, "Cone");
    delete_ae(device, 2, "Cone");
    register_ae(device, 3, "Ctwo");
    list(5, 0, 10);
    delete_ae(device, 4, "Ctwo");
    for (size_t i = 0; i < filled; i++)
        CU_ASSERT_PTR_NOT_NULL(scene_control_hears());
    CU_ASSERT_PTR_NULL(scene_control_hears());
    register_ae(device, 5, "Cthree"); // there is room now, but others wait
    CU_ASSERT_PTR_NULL(scene_control_hears());
    scene_advance(10);
    CU_ASSERT_TRUE(hears_registered("Cone"));
    CU_ASSERT_TRUE(hears_deleted("iCone"));
    CU_ASSERT_TRUE(hears_registered("Ctwo"));
    uint64_t ids[4];
    size_t count = 0;
    CU_ASSERT_EQUAL(listed(5, ids, &count), 0);
    CU_ASSERT_EQUAL(count, 1);
    CU_ASSERT_TRUE(hears_deleted("iCtwo"));
    CU_ASSERT_TRUE(hears_registered("Cthree"));
    CU_ASSERT_PTR_NULL(scene_control_hears());
    delete_ae(device, 6, "Cthree");
    CU_ASSERT_TRUE(hears_deleted("iCthree"));
    scene_close();
}

// Control has started anew while messages wait for it: every identity is asked about all the same.
static void full_socket_and_another_control(void)
{
    struct scene_device *device = open_with("wild1", "C*");
    scene.asks = true;
    const struct plane_message hello = {.type = PLANE_HELLO, .hello = {.boot = 7}};
    scene_control_says(&hello);
    scene_advance(10);
    while (scene_control_hears() != NULL)
        ;
    size_t filled = fill();
    register_ae(device, 1, "Cone");
    const struct plane_message another = {.type = PLANE_HELLO, .hello = {.boot = 8}};
    scene_control_says(&another);
    scene_advance(10);
    for (size_t i = 0; i < filled; i++)
        CU_ASSERT_PTR_NOT_NULL(scene_control_hears());
    scene_advance(10);
    CU_ASSERT_TRUE(hears_registered("Cone"));
    const struct plane_message *message = scene_control_hears();
    CU_ASSERT_TRUE(message != NULL && message->type == PLANE_HELLO);
    scene_advance(10);
    scene_advance(10);
    CU_ASSERT_TRUE(scene_control_hears_resolve("wild1"));
    scene_close();
}

// A long list waits as well as a short message.
static void full_socket_and_a_long_list(void)
{
    char identity[420];
    scene_open("");
    // Long identities, so that a list is long with few associations.
    memset(identity, 'i', sizeof identity - 1);
    identity[sizeof identity - 1] = '\0';
    for (uint16_t i = 0; i < 39; i++)
        (void)scene_dtls(identity, "192.0.2.1", (uint16_t)(1000 + i));
    scene.asks = true;
    scene_pump();
    CU_ASSERT_TRUE(scene_control_hears_resolve(identity));
    scene_resolved(identity, SAGATE_OK, "Cdev1");
    scene_pump();
    CU_ASSERT_EQUAL(DTLS, 39);
    size_t filled = fill();
    list(9, 0, 100);
    for (size_t i = 0; i < filled; i++)
        (void)scene_control_hears();
    scene_advance(10);
    uint64_t ids[SCENE_DEVICES];
    size_t count = 0;
    (void)listed(9, ids, &count);
    CU_ASSERT_EQUAL(count, 39);
    scene_close();
}

static const struct unit_test tests[] = {
    {"the control process starts anew", control_starts_anew},
    {"a revoked credential ends its own", revoked},
    {"a changed principal changes what an association may do", principal_changes},
    {"registration and deletion are told", registration},
    {"an AE-ID that another credential owns", owners},
    {"listing in parts", listing},
    {"what a list says", what_a_list_says},
    {"killing by id and by credential", killing},
    {"draining", draining},
    {"log level", log_level},
    {"malformed messages are survived", malformed_messages},
    {"a full socket keeps the order", full_socket_keeps_the_order},
    {"a full socket and another control process", full_socket_and_another_control},
    {"a full socket and a long list", full_socket_and_a_long_list},
};
UNIT_MAIN("worker: plane", tests)
