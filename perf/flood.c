// Floods: datagrams from many addresses that lead to no association, at a rate or as fast as they go.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/clock.h"
#include "perf/hello.h"
#include "perf/load.h"
#include "perf/net.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

enum {
    BURST = 64, // datagrams from one socket
    WAIT_MAX_US = 50000,
    BODY_MIN = 32,
    BODY_RANGE = 224, // bytes of garbage, or of a record
    CID_DEFAULT = 8,
    CID_RECORD = 25, // RFC 9146 4
    APPLICATION = 23,
    UNIFIED_CID = 0x3f, // RFC 9147 4: with Connection ID, 16-bit number and length, epoch 3
    UNIFIED = 0x2f,
    COOKIE = 32,
};

static const struct load_options *options;
static uint64_t sent, bytes, received, received_bytes;
static uint64_t random_state[2];

// xorshift128+: nothing secret comes of it.
static uint64_t next_random(void)
{
    uint64_t a = random_state[0];
    uint64_t b = random_state[1];
    random_state[0] = b;
    a ^= a << 23;
    random_state[1] = a ^ b ^ a >> 18 ^ b >> 5;
    return random_state[1] + b;
}

static void fill(uint8_t *out, size_t len)
{
    for (size_t at = 0; at < len; at += sizeof(uint64_t)) {
        uint64_t word = next_random();
        memcpy(out + at, &word, len - at < sizeof word ? len - at : sizeof word);
    }
}

static size_t write_hello(uint8_t *out, bool with_cookie)
{
    uint8_t random[HELLO_RANDOM];
    uint8_t cookie[COOKIE];
    char identity[LOAD_TEXT_MAX];
    struct hello hello = {.dtls13 = options->security == LOAD_DTLS13, .random = random, .cookie = cookie};
    fill(random, sizeof random);
    fill(cookie, sizeof cookie);
    hello.cookie_len = with_cookie ? sizeof cookie : 0;
    if (options->identity != NULL) {
        load_text(options->identity, (uint32_t)(next_random() % options->identities), identity);
        hello.identity = identity;
    }
    return hello_write(&hello, out);
}

// A record as one of an association that nobody has: its Connection ID and content are random.
static size_t write_record(uint8_t *out)
{
    size_t cid = options->no_cid ? 0 : options->cid_bytes > 0 ? options->cid_bytes : CID_DEFAULT;
    size_t body = BODY_MIN + next_random() % BODY_RANGE;
    size_t at = 0;
    if (options->security == LOAD_DTLS13) {
        out[at++] = cid > 0 ? UNIFIED_CID : UNIFIED;
        fill(out + at, cid + 2);
        at += cid + 2;
    } else {
        const uint8_t head[] = {cid > 0 ? CID_RECORD : APPLICATION, 0xfe, 0xfd, 0, 1, 0, 0};
        memcpy(out, head, sizeof head);
        at = sizeof head;
        fill(out + at, 4 + cid); // sequence number
        at += 4 + cid;
    }
    out[at++] = (uint8_t)(body >> 8);
    out[at++] = (uint8_t)body;
    fill(out + at, body);
    return at + body;
}

static size_t write_one(uint8_t *out)
{
    size_t len;
    switch (options->flood) {
    case FLOOD_HELLO:
        return write_hello(out, false);
    case FLOOD_COOKIE:
        return write_hello(out, true);
    case FLOOD_RECORD:
        return write_record(out);
    case FLOOD_GARBAGE:
    default:
        len = BODY_MIN + next_random() % BODY_RANGE;
        fill(out, len);
        return len;
    }
}

// So many datagrams from addresses of one socket, drawn at random.
static void send_burst(unsigned count)
{
    uint32_t groups = (options->devices + NET_ADDRESSES - 1) / NET_ADDRESSES;
    uint32_t first = (uint32_t)(next_random() % groups) * NET_ADDRESSES;
    uint32_t range = options->devices - first < NET_ADDRESSES ? options->devices - first : NET_ADDRESSES;
    for (unsigned i = 0; i < count; i++) {
        uint32_t endpoint = net_endpoint(first + (uint32_t)(next_random() % range), 0);
        size_t len = write_one(net_reserve(endpoint));
        net_commit(endpoint, len);
        sent++;
        bytes += len;
    }
}

static void count_answer(uint32_t device, unsigned generation, uint8_t *data, size_t len)
{
    (void)device;
    (void)generation;
    (void)data;
    received++;
    received_bytes += len;
}

static void flood_for(unsigned seconds)
{
    static const struct net_handlers handlers = {.datagram = count_answer};
    uint64_t start = clock_us();
    uint64_t end = start + seconds * 1000000ULL;
    uint64_t before = sent;
    for (uint64_t now = start; now < end; now = clock_us()) {
        uint64_t wait = 0;
        unsigned count = BURST;
        if (options->rate > 0) {
            uint64_t due = (uint64_t)((double)(now - start) * options->rate / 1e6) + 1;
            uint64_t done = sent - before;
            count = due - done < BURST && due >= done ? (unsigned)(due - done) : due < done ? 0 : BURST;
            uint64_t next = start + (uint64_t)((double)(done + count) * 1e6 / options->rate);
            wait = next > now ? next - now : 0;
        }
        send_burst(count);
        (void)net_wait(wait < WAIT_MAX_US ? wait : WAIT_MAX_US, &handlers);
    }
}

void flood_run(const struct load_options *given)
{
    static const char *const names[] = {"hello", "garbage", "record", "cookie"};
    options = given;
    if (getrandom(random_state, sizeof random_state, 0) != (ssize_t)sizeof random_state)
        load_fail("no random numbers");
    random_state[0] |= 1;
    net_setup();
    net_open(&options->target, options->source, options->devices, 1);
    flood_for(options->warm_up);
    printf("{\"event\":\"begin\"}\n");
    (void)fflush(stdout);
    sent = bytes = received = received_bytes = 0;
    uint64_t dropped = net_dropped();
    double cpu = load_cpu_seconds();
    uint64_t start = clock_us();
    flood_for(options->seconds);
    double seconds = (double)(clock_us() - start) / 1e6;
    double rate = seconds > 0 ? (double)sent / seconds : 0;
    printf("{\"event\":\"end\",\"seconds\":%.6f,\"client_cpu\":%.3f,\"flood\":\"%s\",\"sent\":%" PRIu64
           ",\"sent_bytes\":%" PRIu64 ",\"received\":%" PRIu64 ",\"received_bytes\":%" PRIu64
           ",\"send_failed\":%" PRIu64 ",\"rate_wanted\":%u,\"rate_done\":%.1f,\"client_limited\":%s}\n",
           seconds, load_cpu_seconds() - cpu, names[options->flood], sent, bytes, received, received_bytes,
           net_dropped() - dropped, options->rate, rate, rate < 0.98 * options->rate ? "true" : "false");
    (void)fflush(stdout);
}
