// The store of sagate-tef: what is put in comes out, what is secret is bound to its row and to the store's key.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/tefserver_rig.h"
#include "tests/unit/unit.h"

#include <string.h>
#include <unistd.h>

static void open_rig(struct tef_rig *rig)
{
    CU_ASSERT_TRUE_FATAL(rig_open(rig, TEF_MAF));
}

static struct tef_store_key make_key(const char *id, int64_t expires_at)
{
    struct tef_store_key key = {.labels = "[\"a\"]"};
    (void)snprintf(key.key.relative_key_id, sizeof key.key.relative_key_id, "%s", id);
    (void)snprintf(key.key.source_id, sizeof key.key.source_id, "%s", RIG_SOURCE);
    (void)snprintf(key.key.admin_fqdn, sizeof key.key.admin_fqdn, "%s", RIG_ADMIN);
    (void)snprintf(key.key.targets[0], sizeof key.key.targets[0], "%s", RIG_TARGET);
    (void)snprintf(key.key.targets[1], sizeof key.key.targets[1], "%s", RIG_OTHER);
    key.key.target_count = 2;
    key.key.suid = 34;
    key.key.expires_at = expires_at;
    key.key.key_len = DERIVE_KEY;
    memset(key.key.key, 0x5a, DERIVE_KEY);
    return key;
}

static void clients_are_found_by_all_their_names(void)
{
    struct tef_rig rig;
    struct tef_store_client client;
    uint8_t psk[TEF_KEY_MAX];
    size_t len;
    open_rig(&rig);
    CU_ASSERT_EQUAL(tef_store_client_by_id(rig.store, slice_text(RIG_SOURCE), &client), SAGATE_OK);
    CU_ASSERT_STRING_EQUAL(client.admins, "second.example " RIG_ADMIN);
    CU_ASSERT_EQUAL(tef_store_client_by_name(rig.store, slice_text("ID-IN.sp.Example"), &client), SAGATE_OK);
    CU_ASSERT_STRING_EQUAL(client.id, RIG_TARGET);
    CU_ASSERT_EQUAL(tef_store_client_by_identity(rig.store, slice_text("dev1@maf.sp.example"), &client, psk, &len),
                    SAGATE_OK);
    CU_ASSERT_STRING_EQUAL(client.id, RIG_SOURCE);
    CU_ASSERT_EQUAL(len, sizeof rig_psk);
    CU_ASSERT_EQUAL(memcmp(psk, rig_psk, sizeof rig_psk), 0);
    CU_ASSERT_EQUAL(tef_store_client_by_identity(rig.store, slice_text(""), &client, psk, &len), SAGATE_ENOTFOUND);
    CU_ASSERT_FALSE(rig_client(rig.store, RIG_SOURCE, "else@maf.sp.example", "", false));
    CU_ASSERT_FALSE(rig_client(rig.store, "//sp.example/Selse", "dev1@maf.sp.example", "", false));
    tef_store_close(rig.store);
}

static void keys_come_back_until_they_expire(void)
{
    struct tef_rig rig;
    struct tef_store_key key = make_key("AA", RIG_NOW + 10), found;
    size_t count;
    open_rig(&rig);
    CU_ASSERT_EQUAL(tef_store_key_add(rig.store, TEF_MAF, &key), SAGATE_OK);
    CU_ASSERT_EQUAL(tef_store_key_add(rig.store, TEF_MAF, &key), SAGATE_EEXISTS);
    CU_ASSERT_EQUAL(tef_store_key_find(rig.store, TEF_MAF, slice_text("AA"), RIG_NOW, &found), SAGATE_OK);
    CU_ASSERT_EQUAL(found.key.key_len, DERIVE_KEY);
    CU_ASSERT_EQUAL(memcmp(found.key.key, key.key.key, DERIVE_KEY), 0);
    CU_ASSERT_EQUAL(found.key.target_count, 2);
    CU_ASSERT_STRING_EQUAL(found.key.targets[1], RIG_OTHER);
    CU_ASSERT_STRING_EQUAL(found.labels, "[\"a\"]");
    CU_ASSERT_EQUAL(tef_store_key_find(rig.store, TEF_MEF, slice_text("AA"), RIG_NOW, &found), SAGATE_ENOTFOUND);
    CU_ASSERT_EQUAL(tef_store_key_find(rig.store, TEF_MAF, slice_text("AA"), RIG_NOW + 10, &found), SAGATE_ENOTFOUND);
    CU_ASSERT_EQUAL(tef_store_expire(rig.store, RIG_NOW + 9), SAGATE_OK);
    CU_ASSERT_EQUAL(tef_store_key_count(rig.store, TEF_MAF, RIG_SOURCE, &count), SAGATE_OK);
    CU_ASSERT_EQUAL(count, 1);
    CU_ASSERT_EQUAL(tef_store_expire(rig.store, RIG_NOW + 10), SAGATE_OK);
    CU_ASSERT_EQUAL(tef_store_key_count(rig.store, TEF_MAF, RIG_SOURCE, &count), SAGATE_OK);
    CU_ASSERT_EQUAL(count, 0);
    tef_store_close(rig.store);
}

static void a_client_takes_its_keys_with_it(void)
{
    struct tef_rig rig;
    struct tef_store_key key = make_key("AA", RIG_NOW + 10), found;
    open_rig(&rig);
    CU_ASSERT_EQUAL(tef_store_key_add(rig.store, TEF_MAF, &key), SAGATE_OK);
    CU_ASSERT_EQUAL(tef_store_client_remove(rig.store, RIG_SOURCE), SAGATE_OK);
    CU_ASSERT_EQUAL(tef_store_client_remove(rig.store, RIG_SOURCE), SAGATE_ENOTFOUND);
    CU_ASSERT_EQUAL(tef_store_key_find(rig.store, TEF_MAF, slice_text("AA"), RIG_NOW, &found), SAGATE_ENOTFOUND);
    tef_store_close(rig.store);
}

static void another_store_key_is_noticed(void)
{
    char path[] = "/tmp/sagate-test-tef-XXXXXX";
    char why[TEF_STORE_ERROR_MAX], side[64];
    static const uint8_t other[TEF_STORE_KEY] = {9};
    struct tef_store *store;
    int fd = mkstemp(path);
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    close(fd);
    CU_ASSERT_EQUAL_FATAL(tef_store_open(path, rig_store_key, &store, why), SAGATE_OK);
    CU_ASSERT_TRUE(rig_client(store, RIG_SOURCE, "dev1@maf.sp.example", "", false));
    tef_store_close(store);
    CU_ASSERT_EQUAL(tef_store_open(path, other, &store, why), SAGATE_EKEY);
    CU_ASSERT_PTR_NULL(store);
    CU_ASSERT_EQUAL(tef_store_open(path, rig_store_key, &store, why), SAGATE_OK);
    tef_store_close(store);
    (void)unlink(path);
    (void)snprintf(side, sizeof side, "%s-wal", path);
    (void)unlink(side);
    (void)snprintf(side, sizeof side, "%s-shm", path);
    (void)unlink(side);
}

static const struct unit_test tests[] = {
    {"clients are found by all their names", clients_are_found_by_all_their_names},
    {"keys come back until they expire", keys_come_back_until_they_expire},
    {"a client takes its keys with it", a_client_takes_its_keys_with_it},
    {"another store key is noticed", another_store_key_is_noticed},
};

UNIT_MAIN("tef_store", tests)
