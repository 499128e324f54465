// One worker with handshakes and associations at the same time: who goes first, and what may wait.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/unit.h"
#include "tests/unit/worker_rig.h"

#include <stdio.h>
#include <string.h>

enum { STRANGERS = 30, CSE_COAP = 5683, HELLO_BYTES = 2000, HELLOS = 100, ROUNDS = 8, HELD_MAX = 1 << 20 };

static const char get[] = "CON GET @t /a 279=Cdev1 283=r1";

static struct scene_device *association(void)
{
    struct scene_device *device = scene_dtls("dev1", "192.0.2.1", 40000);
    CU_ASSERT_TRUE_FATAL(scene_establish(device));
    return device;
}

// What it asks arrives with the next round, behind what was sent before.
static void ask(struct scene_device *device)
{
    uint8_t data[IO_DATAGRAM_MAX];
    size_t len = text_to_coap(get, 1, NULL, data, sizeof data);
    device->held = true;
    CU_ASSERT_EQUAL(tls_client_write(device->client, data, len), SAGATE_OK);
    scene_flush(device);
    device->held = false;
}

static void rounds(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        CU_ASSERT_EQUAL(worker_round(scene.worker, 0), SAGATE_OK);
}

// Whether the worker has sent something to the CSE first of all.
static bool cse_is_first(void)
{
    io_id id;
    struct address to;
    const uint8_t *data;
    size_t len;
    return mem_take(scene.io, &id, &to, &data, &len) && (to.len == 0 || ntohs(to.v4.sin_port) == CSE_COAP);
}

static struct scene_device *stranger(unsigned number, const char *identity)
{
    char host[32];
    (void)snprintf(host, sizeof host, "192.0.2.%u", 10 + number);
    return scene_dtls(identity, host, 40000);
}

static void records_go_first(void)
{
    struct scene_device *strangers[STRANGERS];
    scene_open("");
    struct scene_device *device = association();
    uint64_t cookies = scene_counted(STAT_COOKIES_SENT);
    for (unsigned i = 0; i < STRANGERS; i++) {
        strangers[i] = stranger(i, "dev2");
        strangers[i]->held = true;
        scene_flush(strangers[i]);
    }
    ask(device);
    rounds(1);
    CU_ASSERT_EQUAL(scene_counted(STAT_COOKIES_SENT), cookies);
    CU_ASSERT_TRUE(cse_is_first());
    // Nobody else has anything to do: the strangers get what they wait for.
    rounds(1);
    CU_ASSERT_EQUAL(scene_counted(STAT_COOKIES_SENT), cookies + STRANGERS);
    for (unsigned i = 0; i < STRANGERS; i++)
        strangers[i]->held = false;
    scene_pump();
    for (unsigned i = 0; i < STRANGERS; i++)
        CU_ASSERT_EQUAL(strangers[i]->state, SAGATE_DONE);
    scene_close();
}

static void keys_that_come_at_once(void)
{
    struct scene_device *strangers[STRANGERS];
    scene_open("");
    struct scene_device *device = association();
    scene.asks = true;
    for (unsigned i = 0; i < STRANGERS; i++)
        strangers[i] = stranger(i, "dev2");
    scene_pump();
    CU_ASSERT_TRUE(scene_control_hears_resolve("dev2"));
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_PARKED), STRANGERS);
    scene_resolved("dev2", SAGATE_OK, "Cdev2");
    mem_set_readable(scene.io, scene.channel_id, true);
    ask(device);
    rounds(1);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_PARKED), STRANGERS);
    CU_ASSERT_TRUE(cse_is_first());
    scene_pump();
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_PARKED), 0);
    for (unsigned i = 0; i < STRANGERS; i++)
        CU_ASSERT_EQUAL(strangers[i]->state, SAGATE_DONE);
    scene_close();
}

// One that goes away, and one whose time is over, while they are the next to have their turn.
static void ends_before_its_turn(void)
{
    struct scene_device *strangers[3];
    scene_open("parked_milliseconds = 100;");
    struct scene_device *device = association();
    scene.asks = true;
    for (unsigned i = 0; i < 3; i++)
        strangers[i] = stranger(i, "dev2");
    scene_pump();
    CU_ASSERT_TRUE(scene_control_hears_resolve("dev2"));
    scene_resolved("dev2", SAGATE_OK, "Cdev2");
    mem_set_readable(scene.io, scene.channel_id, true);
    ask(device);
    rounds(1);
    CU_ASSERT_TRUE_FATAL(scene.worker->due != NULL);
    handshaking_end(scene.worker->due->next_parked, STAT_HANDSHAKES_FAILED_GONE);
    handshaking_end(scene.worker->due->next_parked, STAT_HANDSHAKES_FAILED_GONE);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_PARKED), 1);
    scene_pump();
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_PARKED), 0);
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_IN_PROGRESS), 0);
    CU_ASSERT_EQUAL((strangers[0]->state == SAGATE_DONE) + (strangers[1]->state == SAGATE_DONE) +
                        (strangers[2]->state == SAGATE_DONE),
                    1);
    scene_close();
}

static void a_stream_waits_too(void)
{
    scene_open("");
    struct scene_device *device = association();
    struct scene_device *stream = scene_tls("dev2", true);
    ask(device);
    rounds(1);
    CU_ASSERT_TRUE(cse_is_first());
    CU_ASSERT_EQUAL(scene_counted(STAT_STREAMS_ACCEPTED), 0);
    scene_pump();
    CU_ASSERT_EQUAL(scene_counted(STAT_STREAMS_ACCEPTED), 1);
    CU_ASSERT_EQUAL(stream->state, SAGATE_DONE);
    // Reset while its connection waits.
    struct scene_device *gone = scene_tls("dev2", false);
    ask(device);
    rounds(1);
    mem_peer_reset(gone->stream, 104);
    scene_drop(gone);
    scene_pump();
    CU_ASSERT_EQUAL(scene_counted(STAT_HANDSHAKES_IN_PROGRESS), 0);
    CU_ASSERT_FALSE(backlog_waits(scene.worker));
    scene_close();
}

static void too_many_wait(void)
{
    static uint8_t hello[HELLO_BYTES] = {22, 0xfe, 0xfd, [13] = 1};
    static const uint8_t record[] = {23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 3, 1, 2, 3};
    scene_open("");
    struct scene_device *device = association();
    for (unsigned i = 0; i < ROUNDS; i++) {
        scene_inject(&device->address, record, sizeof record);
        for (unsigned j = 0; j < HELLOS; j++) {
            struct address from = device->address;
            from.v4.sin_port = htons((uint16_t)(20000 + j));
            scene_inject(&from, hello, sizeof hello);
        }
        rounds(1);
        CU_ASSERT_TRUE(scene.worker->backlog.bytes <= HELD_MAX);
    }
    CU_ASSERT_TRUE(scene.worker->backlog.bytes > HELD_MAX / 2);
    CU_ASSERT_TRUE(scene_counted(STAT_LIMIT_BACKLOG) > 0);
    rounds(HELD_MAX / HELLO_BYTES);
    CU_ASSERT_EQUAL(scene.worker->backlog.bytes, 0);
    CU_ASSERT_FALSE(backlog_waits(scene.worker));
    CU_ASSERT_EQUAL(device->state, SAGATE_DONE);
    scene_close();
}

// What has come to a listener that a reload closes gets no turn; what waits at the end of the worker is given up.
static void listener_goes(void)
{
    scene_open("");
    struct scene_device *device = association();
    struct scene_device *left = stranger(0, "dev2");
    left->held = true;
    scene_flush(left);
    (void)scene_tls("dev2", true);
    ask(device);
    rounds(1);
    CU_ASSERT_TRUE(backlog_waits(scene.worker));
    backlog_forget(scene.worker, scene.worker->listeners[0]);
    backlog_forget(scene.worker, scene.worker->listeners[1]);
    uint64_t cookies = scene_counted(STAT_COOKIES_SENT);
    rounds(1);
    CU_ASSERT_FALSE(backlog_waits(scene.worker));
    CU_ASSERT_EQUAL(scene_counted(STAT_COOKIES_SENT), cookies);
    CU_ASSERT_EQUAL(scene_counted(STAT_STREAMS_ACCEPTED), 0);
    scene_flush(left);
    ask(device);
    rounds(1);
    scene_close();
}

static const struct unit_test tests[] = {
    {"records go before the handshakes of their batch", records_go_first},
    {"a key for many handshakes holds up nobody else", keys_that_come_at_once},
    {"a handshake that ends before its turn", ends_before_its_turn},
    {"connections and their handshakes wait too", a_stream_waits_too},
    {"what waits is bounded", too_many_wait},
    {"what has come to a listener that closes", listener_goes},
};
UNIT_MAIN("worker: backlog", tests)
