// The ring between two workers: order, limits, use in place, and two threads at once.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/worker/ring.h"
#include "tests/unit/unit.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

static struct address peer_of(uint16_t port)
{
    struct address peer;
    (void)address_parse("192.0.2.7", port, &peer);
    return peer;
}

static void gives_what_it_got(void)
{
    struct ring *ring = ring_new();
    CU_ASSERT_PTR_NOT_NULL_FATAL(ring);
    CU_ASSERT_PTR_NULL(ring_peek(ring));
    struct address peer = peer_of(700);
    CU_ASSERT_EQUAL(ring_push(ring, 3, &peer, "first", 5), SAGATE_OK);
    peer = peer_of(701);
    CU_ASSERT_EQUAL(ring_push(ring, 254, &peer, NULL, 0), SAGATE_OK);
    struct ring_datagram *datagram = ring_peek(ring);
    CU_ASSERT_PTR_NOT_NULL_FATAL(datagram);
    CU_ASSERT_PTR_EQUAL(ring_peek(ring), datagram);
    CU_ASSERT_EQUAL(datagram->listener, 3);
    CU_ASSERT_EQUAL(datagram->len, 5);
    CU_ASSERT_EQUAL(memcmp(datagram->data, "first", 5), 0);
    peer = peer_of(700);
    CU_ASSERT_TRUE(address_equal(&datagram->peer, &peer));
    ring_pop(ring);
    datagram = ring_peek(ring);
    CU_ASSERT_PTR_NOT_NULL_FATAL(datagram);
    CU_ASSERT_EQUAL(datagram->listener, 254);
    CU_ASSERT_EQUAL(datagram->len, 0);
    ring_pop(ring);
    CU_ASSERT_PTR_NULL(ring_peek(ring));
    ring_free(ring);
}

static void is_bounded(void)
{
    static const uint8_t long_one[RING_DATAGRAM_MAX + 1];
    struct ring *ring = ring_new();
    const struct address peer = peer_of(1);
    CU_ASSERT_EQUAL(ring_push(ring, 0, &peer, long_one, sizeof long_one), SAGATE_ETOOBIG);
    CU_ASSERT_PTR_NULL(ring_peek(ring));
    for (unsigned turn = 0; turn < 3; turn++) {
        for (unsigned i = 0; i < RING_PLACES; i++)
            CU_ASSERT_EQUAL(ring_push(ring, (uint8_t)i, &peer, long_one, RING_DATAGRAM_MAX), SAGATE_OK);
        CU_ASSERT_EQUAL(ring_push(ring, 0, &peer, long_one, 1), SAGATE_ELIMIT);
        for (unsigned i = 0; i < RING_PLACES; i++) {
            const struct ring_datagram *datagram = ring_peek(ring);
            CU_ASSERT_PTR_NOT_NULL_FATAL(datagram);
            CU_ASSERT_EQUAL(datagram->listener, (uint8_t)i);
            CU_ASSERT_EQUAL(datagram->len, RING_DATAGRAM_MAX);
            ring_pop(ring);
        }
        CU_ASSERT_PTR_NULL(ring_peek(ring));
    }
    ring_free(ring);
    ring_free(NULL);
}

enum { MANY = 200000 };

// Each datagram is its number, as often as it fits a length that follows from the number.
static size_t content_of(uint32_t number, uint32_t *words)
{
    size_t count = 1 + number % 37;
    for (size_t i = 0; i < count; i++)
        words[i] = number;
    return count * sizeof *words;
}

static void *write_many(void *context)
{
    struct ring *ring = context;
    uint32_t words[37];
    for (uint32_t i = 0; i < MANY;) {
        size_t len = content_of(i, words);
        const struct address peer = peer_of((uint16_t)i);
        if (ring_push(ring, (uint8_t)i, &peer, words, len) == SAGATE_OK)
            i++;
        else
            sched_yield();
    }
    return NULL;
}

static void two_threads_agree(void)
{
    struct ring *ring = ring_new();
    pthread_t writer;
    uint32_t words[37];
    unsigned wrong = 0;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&writer, NULL, write_many, ring), 0);
    for (uint32_t i = 0; i < MANY;) {
        struct ring_datagram *datagram = ring_peek(ring);
        if (datagram == NULL) {
            sched_yield();
            continue;
        }
        size_t len = content_of(i, words);
        const struct address peer = peer_of((uint16_t)i);
        wrong += datagram->len != len || memcmp(datagram->data, words, len) != 0 || datagram->listener != (uint8_t)i ||
                 !address_equal(&datagram->peer, &peer);
        memset(datagram->data, 0xff, len); // as when it is decrypted where it lies
        ring_pop(ring);
        i++;
    }
    pthread_join(writer, NULL);
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_PTR_NULL(ring_peek(ring));
    ring_free(ring);
}

static const struct unit_test tests[] = {
    {"gives what it got", gives_what_it_got},
    {"is bounded", is_bounded},
    {"two threads agree", two_threads_agree},
};

UNIT_MAIN("ring", tests)
