// The store: what is found by what, limits, moves, the wheel, walks, and going on in a region that another one has
// left.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/association/store.h"

#include "common/error.h"
#include "tests/unit/store_rig.h"
#include "tests/unit/unit.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct store_rig rig;

static void is_found_once_published(void)
{
    store_rig_new(&rig, 100);
    struct store *store = rig.store;
    const struct address peer = store_rig_peer(1);
    uint8_t cid[8];
    store_new_cid(store, cid);
    CU_ASSERT_EQUAL(store_cid_worker(cid), 3);
    const store_slot slot = store_take(store, RECORD_DTLS12);
    CU_ASSERT_NOT_EQUAL_FATAL(slot, 0);
    CU_ASSERT_EQUAL(store_count(store), 0);
    CU_ASSERT_EQUAL(store_by_address(store, 0, &peer), 0);
    CU_ASSERT_EQUAL(store_by_cid(store, cid), 0);
    CU_ASSERT_EQUAL(store_by_id(store, store_id(store, slot)), 0);
    ((struct dtls12 *)store_keys(store, slot))->next_out = 77;
    CU_ASSERT_EQUAL(store_publish(store, slot, 0, &peer, slice_of(cid, 8), slice_text(""), slice_text(""), 10, 1000),
                    SAGATE_OK);
    CU_ASSERT_EQUAL(store_count(store), 1);
    CU_ASSERT_EQUAL(store_by_address(store, 0, &peer), slot);
    CU_ASSERT_EQUAL(store_by_cid(store, cid), slot);
    CU_ASSERT_EQUAL(store_by_id(store, store_id(store, slot)), slot);
    CU_ASSERT_EQUAL(store_head(store, slot)->started_s, 1000);
    CU_ASSERT_EQUAL(((struct dtls12 *)store_keys(store, slot))->next_out, 77);
    cid[7] ^= 1;
    CU_ASSERT_EQUAL(store_by_cid(store, cid), 0);
    cid[7] ^= 1;
    CU_ASSERT_EQUAL(store_by_address(store, 1, &peer), 0); // another listener
    const uint64_t id = store_id(store, slot);
    store_release(store, slot);
    CU_ASSERT_EQUAL(store_count(store), 0);
    CU_ASSERT_EQUAL(store_by_address(store, 0, &peer), 0);
    CU_ASSERT_EQUAL(store_by_cid(store, cid), 0);
    CU_ASSERT_EQUAL(store_by_id(store, id), 0);
    CU_ASSERT_PTR_NULL(store_head(store, slot));
    CU_ASSERT_EQUAL(store_take(store, RECORD_DTLS12), slot); // the same memory, wiped
    CU_ASSERT_EQUAL(((struct dtls12 *)store_keys(store, slot))->next_out, 0);
    CU_ASSERT_NOT_EQUAL(store_id(store, slot), id);
    store_rig_free(&rig);
}

static void refuses_what_cannot_be(void)
{
    store_rig_new(&rig, 100);
    struct store *store = rig.store;
    static const uint8_t zeros[8];
    const struct slice none = slice_of(NULL, 0);
    const struct slice big = store_rig_principal(1, STORE_PRINCIPAL_MAX);
    struct address peer = store_rig_peer(1);
    struct address nobody = {.len = 0};
    struct address odd = store_rig_peer(9);
    odd.v6.sin6_addr.s6_addr[3] = 1; // a link-local address that has no room for the scope
    const store_slot slot = store_take(store, RECORD_DTLS13);
    CU_ASSERT_EQUAL(store_take(store, RECORD_HELD), 0);
    CU_ASSERT_EQUAL(store_publish(store, slot, 1, &peer, none, none, none, 1, 1), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(store_publish(store, slot, 0, &nobody, none, none, none, 1, 1), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(store_publish(store, slot, 0, &odd, none, none, none, 1, 1), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(store_publish(store, slot, 0, &peer, slice_of(zeros, 8), none, none, 1, 1), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(store_publish(store, slot, 0, &peer, slice_of("1234567", 7), none, none, 1, 1), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(store_publish(store, slot, 0, &peer, none, slice_text("no such"), big, 1, 1), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(
        store_publish(store, slot, 0, &peer, none, store_rig_name(1), slice_of(big.data, big.len + 1), 1, 1),
        SAGATE_EINVAL);
    CU_ASSERT_EQUAL(store_publish(store, slot + 1, 0, &peer, none, none, none, 1, 1), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(store_move(store, slot, &peer), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(store_publish(store, slot, 0, &peer, none, none, none, 1, 1), SAGATE_OK);
    CU_ASSERT_EQUAL(store_publish(store, slot, 0, &peer, none, none, none, 1, 1), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(store_listener(store, &nobody), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(store_by_address(store, 0, &odd), 0);
    CU_ASSERT_PTR_NULL(store_secret(store, 4));
    store_release(store, 0);
    store_release(store, UINT32_MAX);
    CU_ASSERT_PTR_NULL(store_head(store, UINT32_MAX));
    CU_ASSERT_EQUAL(store_count(store), 1);
    store_rig_free(&rig);
}

static void options_are_checked(void)
{
    struct store *store;
    enum store_found found;
    struct store_options options = {.fd = memfd_create("store", MFD_CLOEXEC), .max = 100, .connection_id_bytes = 8};
    CU_ASSERT_EQUAL(store_open(&options, &store, &found), SAGATE_EINVAL); // too small
    CU_ASSERT_EQUAL_FATAL(ftruncate(options.fd, (off_t)store_bytes(100)), 0);
    static const uint32_t lengths[] = {1, 2, 3, 9, UINT32_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        options.connection_id_bytes = lengths[i];
        CU_ASSERT_EQUAL(store_open(&options, &store, &found), SAGATE_EINVAL);
    }
    options.connection_id_bytes = 0;
    options.max = 0;
    CU_ASSERT_EQUAL(store_open(&options, &store, &found), SAGATE_EINVAL);
    options.max = STORE_MAX + 1;
    CU_ASSERT_EQUAL(store_open(&options, &store, &found), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(store_bytes(STORE_MAX + 1), 0);
    options.max = 100;
    options.lock = true;
    CU_ASSERT_EQUAL_FATAL(store_open(&options, &store, &found), SAGATE_OK);
    (void)store_locked(store); // as the limits of whoever runs this have it
    const uint8_t cid[8] = {1};
    CU_ASSERT_EQUAL(store_by_cid(store, cid), 0);
    store_close(store);
    store_close(NULL);
    close(options.fd);
}

static void address_families_are_apart(void)
{
    store_rig_new(&rig, 100);
    struct store *store = rig.store;
    static const char *const texts[] = {"192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "fe80::1", "fe80::1", "::"};
    struct address peers[6];
    store_slot slots[6];
    for (size_t i = 0; i < 6; i++) {
        CU_ASSERT_EQUAL_FATAL(address_parse(texts[i], 5000, &peers[i]), SAGATE_OK);
        if (i == 3 || i == 4)
            peers[i].v6.sin6_scope_id = (uint32_t)i;
        slots[i] = store_take(store, RECORD_DTLS12);
        CU_ASSERT_EQUAL(
            store_publish(store, slots[i], 0, &peers[i], slice_of(NULL, 0), slice_text(""), slice_text(""), 10, 10),
            SAGATE_OK);
    }
    for (size_t i = 0; i < 6; i++) {
        struct address back;
        store_peer(store, slots[i], &back);
        CU_ASSERT_TRUE(address_equal(&back, &peers[i]));
        CU_ASSERT_EQUAL(back.len, peers[i].len);
        CU_ASSERT_EQUAL(store_by_address(store, 0, &peers[i]), slots[i]);
    }
    store_rig_free(&rig);
}

static void is_full_at_max(void)
{
    enum { MAX = 500 };
    store_rig_new(&rig, MAX);
    for (unsigned turn = 0; turn < 3; turn++) {
        for (uint32_t i = 1; i <= MAX; i++)
            CU_ASSERT_NOT_EQUAL_FATAL(store_rig_add(&rig, i % 2 == turn % 2 ? RECORD_DTLS12 : RECORD_DTLS13, i, i), 0);
        CU_ASSERT_EQUAL(store_take(rig.store, RECORD_DTLS12), 0);
        CU_ASSERT_EQUAL(store_count(rig.store), MAX);
        store_rig_check(&rig);
        for (uint32_t i = 1; i <= MAX; i++) {
            const struct address peer = store_rig_peer(turn == 1 ? MAX + 1 - i : i);
            store_release(rig.store, store_by_address(rig.store, 0, &peer));
        }
        CU_ASSERT_EQUAL(store_count(rig.store), 0);
    }
    store_rig_free(&rig);
}

static void one_association_at_an_address(void)
{
    store_rig_new(&rig, 10);
    const store_slot one = store_rig_add(&rig, RECORD_DTLS12, 1, 1);
    const store_slot two = store_rig_add(&rig, RECORD_DTLS13, 2, 1);
    CU_ASSERT_NOT_EQUAL(one, 0);
    CU_ASSERT_EQUAL(store_rig_add(&rig, RECORD_DTLS13, 1, 2), 0);
    CU_ASSERT_EQUAL(store_principal_of(rig.store, store_rig_name(2)).len, 0);
    const struct address here = store_rig_peer(1);
    const struct address elsewhere = store_rig_peer(9);
    CU_ASSERT_EQUAL(store_move(rig.store, one, &here), SAGATE_OK);
    CU_ASSERT_EQUAL(store_move(rig.store, one, &elsewhere), SAGATE_OK);
    CU_ASSERT_EQUAL(store_by_address(rig.store, 0, &elsewhere), one);
    CU_ASSERT_EQUAL(store_by_address(rig.store, 0, &here), 0);
    CU_ASSERT_EQUAL(store_move(rig.store, two, &here), SAGATE_OK);
    store_rig_check(&rig);
    // The same Connection ID a second time.
    const store_slot three = store_take(rig.store, RECORD_DTLS12);
    const struct address third = store_rig_peer(3);
    const struct slice cid = slice_of(store_rig_cid(&rig, one), 8);
    CU_ASSERT_EQUAL(store_publish(rig.store, three, 0, &third, cid, slice_text(""), slice_text(""), 1, 1),
                    SAGATE_EEXISTS);
    CU_ASSERT_EQUAL(store_by_cid(rig.store, cid.data), one);
    store_release(rig.store, three);
    store_rig_check(&rig);
    store_rig_free(&rig);
}

// A device behind a NAT may get the address that another one had.
static void address_of_another(void)
{
    struct address peer;
    store_rig_new(&rig, 10);
    const store_slot one = store_rig_add(&rig, RECORD_DTLS12, 1, 1);
    const store_slot two = store_rig_add(&rig, RECORD_DTLS13, 2, 1);
    const struct address first = store_rig_peer(1);
    const struct address second = store_rig_peer(2);
    CU_ASSERT_EQUAL(store_move(rig.store, one, &second), SAGATE_OK);
    for (int turn = 0; turn < 2; turn++) {
        CU_ASSERT_EQUAL(store_by_address(rig.store, 0, &first), 0);
        CU_ASSERT_EQUAL(store_by_address(rig.store, 0, &second), two);
        CU_ASSERT_EQUAL(store_by_cid(rig.store, store_rig_cid(&rig, one)), one);
        store_peer(rig.store, one, &peer);
        CU_ASSERT_TRUE(address_equal(&peer, &second));
        store_rig_check(&rig);
        store_rig_reopen(&rig);
    }
    // It moves on, and the other one gives its address up for a third.
    CU_ASSERT_EQUAL(store_move(rig.store, one, &first), SAGATE_OK);
    CU_ASSERT_EQUAL(store_by_address(rig.store, 0, &first), one);
    CU_ASSERT_EQUAL(store_yield_address(rig.store, two), SAGATE_OK);
    CU_ASSERT_EQUAL(store_yield_address(rig.store, two), SAGATE_OK);
    CU_ASSERT_EQUAL(store_by_address(rig.store, 0, &second), 0);
    CU_ASSERT_NOT_EQUAL(store_rig_add(&rig, RECORD_DTLS12, 2, 2), 0);
    store_rig_check(&rig);
    store_release(rig.store, two);
    CU_ASSERT_NOT_EQUAL(store_by_address(rig.store, 0, &second), 0);
    CU_ASSERT_EQUAL(store_yield_address(rig.store, 0), SAGATE_EINVAL);
    // Without a Connection ID it would not be found at all.
    const store_slot bare = store_take(rig.store, RECORD_DTLS12);
    const struct address third = store_rig_peer(3);
    CU_ASSERT_EQUAL(store_publish(rig.store, bare, 0, &third, slice_of(NULL, 0), slice_text(""), slice_text(""), 1, 1),
                    SAGATE_OK);
    CU_ASSERT_EQUAL(store_yield_address(rig.store, bare), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(store_move(rig.store, bare, &first), SAGATE_EEXISTS);
    CU_ASSERT_EQUAL(store_by_address(rig.store, 0, &third), bare);
    store_release(rig.store, bare);
    store_rig_check(&rig);
    store_rig_free(&rig);
}

static void connection_ids_differ(void)
{
    struct store *store;
    enum store_found found;
    struct store_options options = {
        .fd = memfd_create("store", MFD_CLOEXEC), .max = 50, .worker = 0x1ff, .connection_id_bytes = 4};
    CU_ASSERT_EQUAL_FATAL(ftruncate(options.fd, (off_t)store_bytes(50)), 0);
    CU_ASSERT_EQUAL_FATAL(store_open(&options, &store, &found), SAGATE_OK);
    uint8_t cids[1000][5];
    unsigned same = 0;
    for (size_t i = 0; i < 1000; i++) {
        cids[i][4] = 0x5a;
        store_new_cid(store, cids[i]);
        CU_ASSERT_EQUAL(cids[i][0], 0xff);
        CU_ASSERT_EQUAL(cids[i][4], 0x5a);
        for (size_t k = 0; k < i; k++)
            same += memcmp(cids[i], cids[k], 4) == 0;
    }
    CU_ASSERT(same < 3); // by chance: 500,000 pairs, 2^24 values
    store_close(store);
    close(options.fd);
}

static void listeners_keep_their_numbers(void)
{
    store_rig_new(&rig, 10);
    struct address address;
    for (uint16_t i = 1; i < 255; i++) {
        CU_ASSERT_EQUAL(address_parse("127.0.0.2", i, &address), SAGATE_OK);
        CU_ASSERT_EQUAL(store_listener(rig.store, &address), i);
    }
    CU_ASSERT_EQUAL(address_parse("127.0.0.2", 1000, &address), SAGATE_OK);
    CU_ASSERT_EQUAL(store_listener(rig.store, &address), SAGATE_ELIMIT);
    store_rig_reopen(&rig);
    CU_ASSERT_EQUAL(rig.found, STORE_RESUMED);
    CU_ASSERT_EQUAL(address_parse("127.0.0.2", 254, &address), SAGATE_OK);
    CU_ASSERT_EQUAL(store_listener(rig.store, &address), 254);
    CU_ASSERT_TRUE(address_equal(store_listener_address(rig.store, 254), &address));
    CU_ASSERT_PTR_NULL(store_listener_address(rig.store, 255));
    store_rig_free(&rig);
}

static void goes_on_in_a_region(void)
{
    enum { MAX = 300 };
    store_rig_new(&rig, MAX);
    uint64_t ids[MAX];
    uint8_t secret[STORE_SECRET];
    memcpy(secret, store_secret(rig.store, 2), sizeof secret);
    CU_ASSERT_NOT_EQUAL(memcmp(secret, store_secret(rig.store, 1), sizeof secret), 0);
    for (uint32_t i = 1; i < MAX; i++)
        ids[i] = store_id(rig.store, store_rig_add(&rig, i % 2 == 0 ? RECORD_DTLS12 : RECORD_DTLS13, i, i % 50));
    CU_ASSERT_NOT_EQUAL(store_take(rig.store, RECORD_DTLS12), 0); // never published
    store_head(rig.store, store_by_id(rig.store, ids[17]))->busy = 1;
    store_rig_reopen(&rig);
    CU_ASSERT_EQUAL(rig.found, STORE_RESUMED);
    CU_ASSERT_EQUAL(store_count(rig.store), MAX - 2);
    CU_ASSERT_EQUAL(store_lost(rig.store), 1);
    CU_ASSERT_EQUAL(store_by_id(rig.store, ids[17]), 0);
    CU_ASSERT_EQUAL(memcmp(secret, store_secret(rig.store, 2), sizeof secret), 0);
    store_rig_check(&rig);
    const struct address peer = store_rig_peer(33);
    CU_ASSERT_EQUAL(store_by_address(rig.store, 0, &peer), store_by_id(rig.store, ids[33]));
    CU_ASSERT_NOT_EQUAL(store_rig_add(&rig, RECORD_DTLS13, 5000, 1), 0);
    CU_ASSERT_NOT_EQUAL(store_rig_add(&rig, RECORD_DTLS13, 5001, 1), 0);
    CU_ASSERT_EQUAL(store_rig_add(&rig, RECORD_DTLS13, 5002, 1), 0);
    store_rig_free(&rig);
}

static void another_region_is_refused(void)
{
    store_rig_new(&rig, 50);
    CU_ASSERT_NOT_EQUAL(store_rig_add(&rig, RECORD_DTLS12, 1, 1), 0);
    uint8_t secret[STORE_SECRET];
    memcpy(secret, store_secret(rig.store, 0), sizeof secret);
    rig.options.worker = 4;
    store_rig_reopen(&rig);
    CU_ASSERT_EQUAL(rig.found, STORE_REFUSED);
    CU_ASSERT_EQUAL(store_count(rig.store), 0);
    CU_ASSERT_PTR_NULL(store_listener_address(rig.store, 0));
    CU_ASSERT_NOT_EQUAL(memcmp(secret, store_secret(rig.store, 0), sizeof secret), 0);
    rig.options.connection_id_bytes = 4;
    rig.options.lock = true;
    store_rig_reopen(&rig);
    CU_ASSERT_EQUAL(store_count(rig.store), 0);
    CU_ASSERT_EQUAL(store_walk(rig.store, &(uint64_t){0}, &(size_t){100}), 0);
    CU_ASSERT_EQUAL(rig.found, STORE_REFUSED);
    rig.options.max = 49;
    store_rig_reopen(&rig);
    CU_ASSERT_EQUAL(rig.found, STORE_REFUSED);
    store_rig_reopen(&rig);
    CU_ASSERT_EQUAL(rig.found, STORE_RESUMED);
    static const uint8_t junk[4096] = {0x5a};
    CU_ASSERT_EQUAL(pwrite(rig.options.fd, junk, sizeof junk, 0), sizeof junk);
    store_rig_reopen(&rig);
    CU_ASSERT_EQUAL(rig.found, STORE_REFUSED);
    store_rig_free(&rig);
}

static void walks_in_pieces(void)
{
    store_rig_new(&rig, 100);
    for (uint32_t i = 1; i <= 60; i++)
        CU_ASSERT_NOT_EQUAL(store_rig_add(&rig, i % 2 == 0 ? RECORD_DTLS12 : RECORD_DTLS13, i, 0), 0);
    uint64_t cursor = 0;
    unsigned met = 0;
    unsigned pieces = 0;
    do {
        size_t budget = 7;
        while (store_walk(rig.store, &cursor, &budget) != 0)
            met++;
        CU_ASSERT(cursor == 0 || budget == 0);
        pieces++;
    } while (cursor != 0 && pieces < 1000);
    CU_ASSERT_EQUAL(met, 60);
    CU_ASSERT_EQUAL(pieces, 9); // 60 places, 7 at a time
    store_rig_free(&rig);
}

static void finds_the_idle(void)
{
    store_rig_new(&rig, 1000);
    CU_ASSERT_EQUAL(store_idle_longest(rig.store, STORE_RIG_NOW, 0), 0);
    for (uint32_t i = 1; i <= 600; i++) {
        const store_slot slot = store_rig_add(&rig, i % 2 == 0 ? RECORD_DTLS12 : RECORD_DTLS13, i, 0);
        store_head(rig.store, slot)->last_s = 2000 + i;
    }
    CU_ASSERT_EQUAL(store_idle_longest(rig.store, 2700, 700), 0);
    // Whatever the sample is, nothing is found that was heard within the time, and all of the store has its turn.
    bool young = false;
    unsigned found = 0;
    for (unsigned i = 0; i < 20; i++) {
        const store_slot slot = store_idle_longest(rig.store, 2700, 400);
        if (slot == 0)
            continue;
        found++;
        young = young || store_head(rig.store, slot)->last_s > 2300;
    }
    CU_ASSERT_FALSE(young);
    CU_ASSERT(found >= 5);
    store_rig_free(&rig);
}

static const struct unit_test tests[] = {
    {"is found once published", is_found_once_published},
    {"refuses what cannot be", refuses_what_cannot_be},
    {"options are checked", options_are_checked},
    {"address families are apart", address_families_are_apart},
    {"is full at max", is_full_at_max},
    {"one association at an address", one_association_at_an_address},
    {"the address of another", address_of_another},
    {"Connection IDs differ", connection_ids_differ},
    {"listeners keep their numbers", listeners_keep_their_numbers},
    {"goes on in a region", goes_on_in_a_region},
    {"another region is refused", another_region_is_refused},
    {"walks in pieces", walks_in_pieces},
    {"finds the idle", finds_the_idle},
};

UNIT_MAIN("store", tests)
