// The region of a store's tests.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/store_rig.h"

#include "common/error.h"
#include "common/plane.h"
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { IDLE_SECONDS = 300 };

void store_rig_new(struct store_rig *rig, uint32_t max)
{
    *rig = (struct store_rig){
        .options = {.fd = memfd_create("store", MFD_CLOEXEC), .worker = 3, .max = max, .connection_id_bytes = 8}};
    struct address listener;
    CU_ASSERT_FATAL(rig->options.fd >= 0 && ftruncate(rig->options.fd, (off_t)store_bytes(max)) == 0);
    CU_ASSERT_EQUAL_FATAL(store_open(&rig->options, &rig->store, &rig->found), SAGATE_OK);
    CU_ASSERT_EQUAL(rig->found, STORE_FRESH);
    CU_ASSERT_EQUAL(address_parse("127.0.0.1", 5684, &listener), SAGATE_OK);
    CU_ASSERT_EQUAL(store_listener(rig->store, &listener), STORE_RIG_LISTENER);
}

void store_rig_reopen(struct store_rig *rig)
{
    store_close(rig->store);
    CU_ASSERT_EQUAL_FATAL(store_open(&rig->options, &rig->store, &rig->found), SAGATE_OK);
}

void store_rig_free(struct store_rig *rig)
{
    store_close(rig->store);
    close(rig->options.fd);
}

struct address store_rig_peer(uint32_t number)
{
    struct address peer = {.len = sizeof peer.v4};
    if (number % 3 != 0) {
        peer.v4.sin_family = AF_INET;
        peer.v4.sin_port = htons((uint16_t)(number & 0xffff));
        peer.v4.sin_addr.s_addr = htonl(0x0a000000 + (number >> 16));
        return peer;
    }
    (void)address_parse(number % 9 == 0 ? "fe80::5" : "2001:db8::5", (uint16_t)(number & 0xffff), &peer);
    memcpy(peer.v6.sin6_addr.s6_addr + 10, &number, sizeof number);
    peer.v6.sin6_scope_id = number % 9 == 0 ? 7 : 0;
    return peer;
}

struct slice store_rig_name(uint32_t number)
{
    static char names[4][32];
    static unsigned next;
    char *name = names[next++ % 4];
    return slice_of(name, (size_t)snprintf(name, sizeof names[0], "10-device%u", number));
}

struct slice store_rig_principal(uint32_t number, size_t len)
{
    static uint8_t bytes[STORE_PRINCIPAL_MAX];
    char name[32] = {0};
    struct slice id = store_rig_name(number);
    memcpy(name, id.data, id.len);
    const struct principal principal = {.framework = FRAMEWORK_PSK, .credential_id = name};
    int used = plane_pack_principal(&principal, bytes, sizeof bytes);
    for (size_t i = (size_t)used; i < len; i++)
        bytes[i] = (uint8_t)number;
    return slice_of(bytes, (size_t)used > len ? (size_t)used : len);
}

uint8_t *store_rig_cid(struct store_rig *rig, store_slot slot)
{
    const struct slot *head = store_head(rig->store, slot);
    void *keys = store_keys(rig->store, slot);
    return head->kind == RECORD_DTLS12 ? ((struct dtls12 *)keys)->cid_in : ((struct dtls13 *)keys)->bytes;
}

// Where the keys of a slot, of either kind, have room for the number of its principal: the records that failed.
static uint32_t *number_of(struct store_rig *rig, store_slot slot)
{
    return (uint32_t *)store_keys(rig->store, slot) + 6;
}

store_slot store_rig_add(struct store_rig *rig, uint8_t kind, uint32_t number, uint32_t principal)
{
    const store_slot slot = store_take(rig->store, kind);
    if (slot == 0)
        return 0;
    uint8_t *cid = store_rig_cid(rig, slot);
    store_new_cid(rig->store, cid);
    *number_of(rig, slot) = principal;
    const struct address peer = store_rig_peer(number);
    int result = store_publish(rig->store, slot, STORE_RIG_LISTENER, &peer, slice_of(cid, 8), store_rig_name(principal),
                               principal == 0 ? slice_of(NULL, 0) : store_rig_principal(principal, 90), IDLE_SECONDS,
                               STORE_RIG_NOW);
    if (result == SAGATE_OK)
        return slot;
    store_release(rig->store, slot);
    return 0;
}

static struct slice name_in(struct slice packed)
{
    uint32_t len = 0;
    CU_ASSERT_FATAL(packed.len > 13);
    memcpy(&len, packed.data + 9, sizeof len);
    return slice_of(packed.data + 13, len);
}

// Associations of the principal of a slot, by walking them; each must be of it.
static void check_principal(struct store *store, store_slot slot)
{
    const struct slice packed = store_principal(store, slot);
    const struct slice name = name_in(packed);
    uint32_t walked = 0;
    bool met = false;
    CU_ASSERT_TRUE(slice_equal(store_principal_of(store, name), packed));
    for (store_slot of = 0; (of = store_next_of(store, name, of)) != 0 && walked <= store_count(store);) {
        CU_ASSERT_EQUAL(store_head(store, of)->principal, store_head(store, slot)->principal);
        met = met || of == slot;
        walked++;
    }
    CU_ASSERT_TRUE(met);
    CU_ASSERT_EQUAL(store_principal_count(store, name, NULL), walked);
}

static void check_slot(struct store_rig *rig, store_slot slot)
{
    struct store *store = rig->store;
    struct address peer;
    store_peer(store, slot, &peer);
    CU_ASSERT_NOT_EQUAL(peer.len, 0);
    // One without a Connection ID, of which there may be such in a test, or whose address another one has.
    if ((store_head(store, slot)->family & 0x80) == 0)
        CU_ASSERT_EQUAL(store_by_address(store, STORE_RIG_LISTENER, &peer), slot);
    CU_ASSERT_EQUAL(store_by_cid(store, store_rig_cid(rig, slot)), slot);
    CU_ASSERT_EQUAL(store_by_id(store, store_id(store, slot)), slot);
    CU_ASSERT_EQUAL(store_id(store, slot) >> 63, 0);
    CU_ASSERT_EQUAL(store_head(store, slot)->busy, 0);
    CU_ASSERT_EQUAL(store_head(store, slot)->principal != 0, *number_of(rig, slot) != 0);
    if (store_head(store, slot)->principal != 0) {
        CU_ASSERT_TRUE(slice_equal(name_in(store_principal(store, slot)), store_rig_name(*number_of(rig, slot))));
        check_principal(store, slot);
    }
}

static uint32_t looked;

static uint32_t count_look(void *context, store_slot slot, uint32_t now_s)
{
    (void)context;
    (void)slot;
    looked++;
    return now_s + IDLE_SECONDS;
}

void store_rig_check(struct store_rig *rig)
{
    uint64_t cursor = 0;
    uint32_t walked = 0;
    uint32_t now_s = STORE_RIG_NOW + 100 * IDLE_SECONDS;
    do {
        size_t budget = 100;
        store_slot slot;
        while ((slot = store_walk(rig->store, &cursor, &budget)) != 0) {
            check_slot(rig, slot);
            walked++;
            while (store_head(rig->store, slot)->look_s > now_s)
                now_s += 100 * IDLE_SECONDS; // an earlier check has put it off
        }
    } while (cursor != 0);
    CU_ASSERT_EQUAL(walked, store_count(rig->store));
    // The wheel has every association once.
    looked = 0;
    while (store_run(rig->store, now_s, 64, count_look, NULL))
        ;
    CU_ASSERT_EQUAL(looked, walked);
}
