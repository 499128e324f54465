// Many records in one batch of events: whatever comes between them, each means what it means when they come one by one.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/unit.h"
#include "tests/unit/worker_rig.h"

enum { DEVICES = 6, QUEUE_MAX = 32, HEARD_MAX = 8192 };

static struct scene_device *devices[DEVICES];

// Datagrams on their way, in the order in which they will arrive.
static struct datagram {
    struct address from;
    size_t len;
    uint8_t bytes[512];
} queue[QUEUE_MAX];
static size_t queued;

static void establish(bool dtls13)
{
    scene_open("");
    queued = 0;
    for (unsigned i = 0; i < DEVICES; i++) {
        char identity[16];
        (void)snprintf(identity, sizeof identity, "dev%u", i);
        devices[i] = scene_dtls_with_ccm(identity, dtls13, "192.0.2.1", (uint16_t)(40000 + i));
        CU_ASSERT_TRUE_FATAL(scene_establish(devices[i]));
        devices[i]->held = true;
    }
}

// What a device has to send joins the queue.
static void take(struct scene_device *device)
{
    struct slice chunk;
    while (tls_client_output(device->client, &chunk)) {
        struct datagram *datagram = &queue[queued++];
        CU_ASSERT_TRUE_FATAL(queued <= QUEUE_MAX && chunk.len <= sizeof datagram->bytes);
        datagram->from = device->address;
        datagram->len = chunk.len;
        memcpy(datagram->bytes, chunk.data, chunk.len);
    }
}

static void asks(unsigned device, uint16_t mid)
{
    uint8_t data[IO_DATAGRAM_MAX];
    char text[128];
    (void)snprintf(text, sizeof text, "CON GET @t%u /a%u 279=Cdev%u 283=r%u", mid, mid, device, mid);
    size_t len = text_to_coap(text, mid, NULL, data, sizeof data);
    CU_ASSERT_EQUAL_FATAL(tls_client_write(devices[device]->client, data, len), SAGATE_OK);
    take(devices[device]);
}

static void others_ask(uint16_t mid)
{
    for (unsigned i = 1; i < DEVICES; i++)
        asks(i, mid);
}

// A copy of a queued datagram with one byte changed.
static void forge(size_t index, size_t byte)
{
    queue[queued] = queue[index];
    queue[queued++].bytes[byte] ^= 1;
}

// All that is on its way arrives, in one batch or one by one.
static void arrive(bool together)
{
    for (size_t i = 0; i < queued; i++) {
        scene_inject(&queue[i].from, queue[i].bytes, queue[i].len);
        if (!together)
            (void)worker_round(scene.worker, 0);
    }
    queued = 0;
    scene_pump();
}

// All that the CSE got since, in its order.
static const char *heard(void)
{
    static char text[2][HEARD_MAX];
    static unsigned turn;
    char *out = text[++turn % 2];
    size_t at = 0;
    for (; scene.cse_count > 0; scene.cse_count--) {
        const struct scene_message *message = &scene.to_cse[scene.cse_first];
        char one[1024];
        (void)coap_to_text(message->bytes, message->len, one, sizeof one);
        scene.cse_first = (scene.cse_first + 1) % SCENE_MESSAGES;
        int n = snprintf(out + at, HEARD_MAX - at, "%s\n", one);
        CU_ASSERT_TRUE_FATAL(n > 0 && (size_t)n < HEARD_MAX - at);
        at += (size_t)n;
    }
    out[at] = '\0';
    return out;
}

static unsigned lines(const char *text)
{
    unsigned count = 0;
    for (; *text != '\0'; text++)
        count += *text == '\n';
    return count;
}

// --- what may stand between records ------------------------------------------------------------------------------

static void two_of_one(void)
{
    asks(0, 1);
    asks(0, 2);
    others_ask(3);
}

static void twice_the_same(void)
{
    asks(0, 1);
    queue[queued] = queue[0];
    queued++;
    others_ask(2);
    queue[queued] = queue[0];
    queued++;
}

static void in_wrong_order(void)
{
    asks(0, 1);
    asks(0, 2);
    struct datagram first = queue[0];
    queue[0] = queue[1];
    queue[1] = first;
    others_ask(3);
}

static void forged_between(void)
{
    asks(0, 1);
    forge(0, queue[0].len - 1); // its tag
    forge(0, queue[0].len - 20);
    asks(0, 2);
    others_ask(3);
}

// The forged record comes first, and takes nothing from the one that it imitates.
static void forged_before(void)
{
    asks(0, 1);
    struct datagram real = queue[0];
    forge(0, real.len - 1);
    queue[0] = queue[1];
    queue[1] = real;
    others_ask(2);
}

// Behind a forged record the rest of its datagram is dropped, behind an authentic one it is not.
static void two_in_a_datagram(void)
{
    for (unsigned forged = 0; forged < 2; forged++) {
        size_t first = queued;
        asks(0, (uint16_t)(1 + 2 * forged));
        asks(0, (uint16_t)(2 + 2 * forged));
        struct datagram *one = &queue[first];
        memcpy(one->bytes + one->len, queue[first + 1].bytes, queue[first + 1].len);
        if (forged == 1)
            one->bytes[one->len - 1] ^= 1;
        one->len += queue[first + 1].len;
        queued--;
    }
    others_ask(5);
}

static void goodbye_between(void)
{
    others_ask(1);
    asks(0, 2);
    size_t later = queued;
    asks(0, 3); // sealed before the goodbye, arrives behind it
    tls_client_close(devices[0]->client);
    take(devices[0]);
    struct datagram kept = queue[later];
    memmove(&queue[later], &queue[later + 1], (queued - later - 1) * sizeof *queue);
    queue[queued - 1] = kept;
    asks(1, 4);
}

// A new address, from a record that is the newest, and then from one that is not.
static void from_another_address(void)
{
    asks(0, 1);
    asks(0, 2);
    (void)address_parse("192.0.2.7", 7, &queue[1].from);
    asks(0, 3);
    (void)address_parse("192.0.2.8", 8, &queue[2].from);
    struct datagram newest = queue[2];
    queue[2] = queue[1];
    queue[1] = newest;
    others_ask(4);
}

static void nonsense_between(void)
{
    asks(0, 1);
    for (size_t len = 0; len < 20; len += 6) {
        queue[queued] = queue[0];
        queue[queued++].len = len;
    }
    queue[queued] = queue[0];
    queue[queued++].bytes[2] ^= 1; // version, or the Connection ID
    others_ask(2);
}

static const struct order {
    const char *name;
    void (*write)(void);
    unsigned requests; // that reach the CSE
    unsigned dropped;  // records
} orders[] = {
    {"two of one association", two_of_one, DEVICES + 1, 0},
    {"the same twice", twice_the_same, DEVICES, 2},
    {"in the wrong order", in_wrong_order, DEVICES + 1, 0},
    {"forged between", forged_between, DEVICES + 1, 2},
    {"forged before", forged_before, DEVICES, 1},
    {"two in a datagram", two_in_a_datagram, DEVICES + 1, 1},
    {"a goodbye between", goodbye_between, DEVICES + 1, 0},
    {"from another address", from_another_address, DEVICES + 2, 0},
    {"nonsense between", nonsense_between, DEVICES, UINT16_MAX},
};

struct outcome {
    char heard[HEARD_MAX];
    uint64_t dropped, associations, ended, rebindings, opened, unknown;
};

static void play(const struct order *order, bool dtls13, bool together, struct outcome *outcome)
{
    establish(dtls13);
    uint64_t before = scene_counted(STAT_RECORDS_OPENED_TOGETHER);
    order->write();
    arrive(together);
    (void)snprintf(outcome->heard, sizeof outcome->heard, "%s", heard());
    outcome->dropped = scene_counted(STAT_DATAGRAMS_DROPPED_RECORD);
    outcome->associations = scene_counted(STAT_ASSOCIATIONS_DTLS);
    outcome->ended = scene_counted(STAT_ASSOCIATIONS_ENDED_PEER);
    outcome->rebindings = scene_counted(STAT_REBINDINGS);
    outcome->opened = scene_counted(STAT_RECORDS_OPENED);
    outcome->unknown = scene_counted(STAT_RECORDS_UNKNOWN_CID);
    bool engine = strcmp(worker_engine(scene.worker), "wolfCrypt") != 0;
    CU_ASSERT_EQUAL(scene_counted(STAT_RECORDS_OPENED_TOGETHER) > before, engine && together);
    scene_close();
}

static void orders_mean_the_same(void)
{
    static struct outcome single;
    static struct outcome batch;
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        for (int version = 2; version <= 3; version++) {
            play(&orders[i], version == 3, false, &single);
            play(&orders[i], version == 3, true, &batch);
            CU_ASSERT_STRING_EQUAL(batch.heard, single.heard);
            CU_ASSERT_EQUAL(lines(batch.heard), orders[i].requests);
            CU_ASSERT_EQUAL(batch.dropped, single.dropped);
            if (orders[i].dropped != UINT16_MAX)
                CU_ASSERT_EQUAL(batch.dropped, orders[i].dropped);
            CU_ASSERT_EQUAL(batch.associations, single.associations);
            CU_ASSERT_EQUAL(batch.ended, single.ended);
            CU_ASSERT_EQUAL(batch.rebindings, single.rebindings);
            CU_ASSERT_EQUAL(batch.opened, single.opened);
            CU_ASSERT_EQUAL(batch.unknown, single.unknown);
            if (strcmp(batch.heard, single.heard) != 0 || batch.dropped != single.dropped ||
                lines(batch.heard) != orders[i].requests)
                (void)printf("\n  %s, DTLS 1.%d: %u requests, %u dropped", orders[i].name, version, lines(batch.heard),
                             (unsigned)batch.dropped);
        }
    }
}

// --- answers -----------------------------------------------------------------------------------------------------

// The CSE answers all that it was asked, in one batch with what devices send meanwhile.
static void cse_answers(void)
{
    for (; scene.cse_count > 0; scene.cse_count--) {
        const struct scene_message *message = &scene.to_cse[scene.cse_first];
        uint8_t data[IO_DATAGRAM_MAX];
        struct coap_token token = {.len = COAP_TOKEN_MAX};
        struct address from;
        (void)address_parse("127.0.0.1", 5683, &from);
        memcpy(token.bytes, message->bytes + COAP_HEAD, COAP_TOKEN_MAX);
        size_t len = text_to_coap("ACK 2.05 @* 283=r1 307=#2000 |{}",
                                  (uint16_t)(message->bytes[2] << 8 | message->bytes[3]), &token, data, sizeof data);
        (void)mem_inject(scene.io, message->socket, &from, data, len);
        scene.cse_first = (scene.cse_first + 1) % SCENE_MESSAGES;
    }
}

static bool hears_one_answer(unsigned device)
{
    uint8_t data[IO_DATAGRAM_MAX];
    int n = tls_client_read(devices[device]->client, data, sizeof data);
    return n > 4 && data[1] == COAP_CONTENT;
}

static void ask_and_answer(unsigned mid)
{
    for (unsigned i = 0; i < DEVICES; i++)
        asks(i, (uint16_t)mid);
    arrive(true);
    CU_ASSERT_EQUAL(scene.cse_count, DEVICES);
    cse_answers();
    scene_pump();
}

static void answers_are_sealed_together(void)
{
    for (int version = 2; version <= 3; version++) {
        establish(version == 3);
        bool engine = strcmp(worker_engine(scene.worker), "wolfCrypt") != 0;
        for (unsigned round = 1; round <= 100; round++) {
            ask_and_answer(round);
            for (unsigned i = 0; i < DEVICES; i++)
                CU_ASSERT_TRUE(hears_one_answer(i));
        }
        CU_ASSERT_EQUAL(scene_counted(STAT_RECORDS_SEALED), 100 * DEVICES);
        CU_ASSERT_EQUAL(scene_counted(STAT_RECORDS_SEALED_TOGETHER), engine ? 100 * DEVICES : 0);
        CU_ASSERT_EQUAL(scene_counted(STAT_DATAGRAMS_DROPPED_RECORD), 0);
        scene_close();
    }
}

// A device says goodbye in the batch that brings its answer: that goes out first, as long as its keys are there.
static void answer_before_the_end(void)
{
    for (int version = 2; version <= 3; version++) {
        establish(version == 3);
        for (unsigned i = 0; i < DEVICES; i++)
            asks(i, 1);
        arrive(true);
        cse_answers();
        tls_client_close(devices[0]->client);
        take(devices[0]);
        arrive(true);
        for (unsigned i = 0; i < DEVICES; i++)
            CU_ASSERT_TRUE(hears_one_answer(i));
        CU_ASSERT_EQUAL(scene_counted(STAT_ASSOCIATIONS_DTLS), DEVICES - 1);
        scene_close();
    }
}

// The next process goes on behind the numbers that were used up.
static void numbers_go_on_after_a_restart(void)
{
    for (int version = 2; version <= 3; version++) {
        establish(version == 3);
        ask_and_answer(1);
        scene_restart();
        scene_pump();
        ask_and_answer(2);
        for (unsigned i = 0; i < DEVICES; i++) {
            CU_ASSERT_TRUE(hears_one_answer(i));
            CU_ASSERT_TRUE(hears_one_answer(i));
        }
        scene_close();
    }
}

// A KeyUpdate of the peer in the middle of a batch, and its next epoch in the next one.
static void keys_change_between(void)
{
    establish(true);
    for (unsigned round = 0; round < 3; round++) {
        uint16_t mid = (uint16_t)(4 * round + 1);
        others_ask(mid);
        asks(0, mid);
        CU_ASSERT_TRUE(tls_client_update_keys(devices[0]->client));
        take(devices[0]);
        asks(0, (uint16_t)(mid + 1));
        arrive(true);
        CU_ASSERT_EQUAL(lines(heard()), DEVICES + 1);
        uint8_t byte;
        CU_ASSERT_EQUAL(tls_client_read(devices[0]->client, &byte, sizeof byte), 0); // the ACK
        asks(0, (uint16_t)(mid + 2));
        asks(0, (uint16_t)(mid + 3));
        others_ask((uint16_t)(mid + 2));
        arrive(true);
        CU_ASSERT_EQUAL(lines(heard()), DEVICES + 1);
    }
    CU_ASSERT_EQUAL(scene_counted(STAT_DATAGRAMS_DROPPED_RECORD), 0);
    scene_close();
}

static const struct unit_test tests[] = {
    {"records of one batch mean what they mean one by one", orders_mean_the_same},
    {"answers of one batch reach their devices", answers_are_sealed_together},
    {"an answer goes out before its association ends", answer_before_the_end},
    {"numbers go on after a restart", numbers_go_on_after_a_restart},
    {"keys change between the records of a batch", keys_change_between},
};
UNIT_MAIN("worker batch", tests)
