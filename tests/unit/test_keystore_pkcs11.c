// Keys in a PKCS#11 token: SoftHSM with a token of this test's own.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "common/secret.h"
#include "controlplane/keystore/keystore.h"
#include "tests/unit/unit.h"

#include <p11-kit/p11-kit.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODULE "/usr/lib/softhsm/libsofthsm2.so"
#define TOKEN  "pkcs11:token=sagate-test;"
#define PIN    "?pin-value=4711&module-path=" MODULE

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libsofthsm2.so\nleak:libcrypto.so\nleak:libp11-kit.so";
}

static char folder[] = "/tmp/sagate-pkcs11-XXXXXX";
static const uint8_t secret[] = "0123456789abcdef0123456789abcdef";

static void write_file(const char *name, const char *text, char path[128])
{
    (void)snprintf(path, 128, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    (void)fputs(text, file);
    CU_ASSERT_EQUAL_FATAL(fclose(file), 0);
}

static void add_object(CK_FUNCTION_LIST *module, CK_SESSION_HANDLE session, const char *label, CK_ULONG len,
                       CK_BBOOL extractable)
{
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_GENERIC_SECRET;
    CK_BBOOL yes = CK_TRUE;
    CK_BBOOL sensitive = extractable == CK_TRUE ? CK_FALSE : CK_TRUE;
    CK_OBJECT_HANDLE object;
    uint8_t value[96];
    char name[32];
    memset(value, 'x', sizeof value);
    memcpy(value, secret, 32);
    (void)snprintf(name, sizeof name, "%s", label);
    CK_ATTRIBUTE attributes[] = {{CKA_CLASS, &class, sizeof class},
                                 {CKA_KEY_TYPE, &type, sizeof type},
                                 {CKA_TOKEN, &yes, sizeof yes},
                                 {CKA_PRIVATE, &yes, sizeof yes},
                                 {CKA_SENSITIVE, &sensitive, sizeof sensitive},
                                 {CKA_EXTRACTABLE, &extractable, sizeof extractable},
                                 {CKA_LABEL, name, strlen(name)},
                                 {CKA_VALUE, value, len}};
    CU_ASSERT_EQUAL_FATAL(module->C_CreateObject(session, attributes, sizeof attributes / sizeof *attributes, &object),
                          CKR_OK);
}

// A token with three keys; false: SoftHSM is not there.
static bool make_token(void)
{
    char path[128];
    char text[256];
    CK_SLOT_ID slot;
    CK_ULONG count = 1;
    CK_SESSION_HANDLE session;
    CK_UTF8CHAR label[32];
    CK_UTF8CHAR pin[] = "4711";
    if (access(MODULE, R_OK) != 0)
        return false;
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/tokens", folder);
    CU_ASSERT_EQUAL_FATAL(mkdir(path, 0700), 0);
    (void)snprintf(text, sizeof text,
                   "directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n", folder);
    write_file("softhsm2.conf", text, path);
    CU_ASSERT_EQUAL_FATAL(setenv("SOFTHSM2_CONF", path, 1), 0);
    CK_FUNCTION_LIST *module = p11_kit_module_load(MODULE, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(module);
    CU_ASSERT_EQUAL_FATAL(p11_kit_module_initialize(module), CKR_OK);
    CU_ASSERT_EQUAL_FATAL(module->C_GetSlotList(CK_TRUE, &slot, &count), CKR_OK);
    memset(label, ' ', sizeof label);
    memcpy(label, "sagate-test", strlen("sagate-test"));
    CU_ASSERT_EQUAL_FATAL(module->C_InitToken(slot, pin, 4, label), CKR_OK);
    count = 1; // the token has moved to another slot, the first one
    CU_ASSERT_TRUE_FATAL(module->C_GetSlotList(CK_TRUE, NULL, &count) == CKR_OK && count >= 1);
    CK_SLOT_ID slots[8];
    count = 8;
    CU_ASSERT_EQUAL_FATAL(module->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        if (module->C_GetTokenInfo(slots[i], &info) == CKR_OK && memcmp(info.label, label, sizeof label) == 0)
            slot = slots[i];
    }
    CU_ASSERT_EQUAL_FATAL(module->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session),
                          CKR_OK);
    CU_ASSERT_EQUAL_FATAL(module->C_Login(session, CKU_SO, pin, 4), CKR_OK);
    CU_ASSERT_EQUAL_FATAL(module->C_InitPIN(session, pin, 4), CKR_OK);
    CU_ASSERT_EQUAL_FATAL(module->C_Logout(session), CKR_OK);
    CU_ASSERT_EQUAL_FATAL(module->C_Login(session, CKU_USER, pin, 4), CKR_OK);
    add_object(module, session, "km", 32, CK_TRUE);
    add_object(module, session, "kept", 32, CK_FALSE);
    add_object(module, session, "long", 65, CK_TRUE);
    add_object(module, session, "twice", 32, CK_TRUE);
    add_object(module, session, "twice", 32, CK_TRUE);
    (void)module->C_CloseSession(session);
    (void)p11_kit_module_finalize(module);
    p11_kit_module_release(module);
    return true;
}

static void load(const char *reference, int expected, const char *word)
{
    char why[KEYSTORE_ERROR_MAX] = "";
    uint8_t *key = NULL;
    size_t len = 0;
    CU_ASSERT_EQUAL(keystore_load(reference, NULL, &key, &len, why), expected);
    if (expected == SAGATE_OK) {
        CU_ASSERT_EQUAL_FATAL(len, 32);
        CU_ASSERT_EQUAL(memcmp(key, secret, 32), 0);
    } else {
        CU_ASSERT_PTR_NULL(key);
        CU_ASSERT_PTR_NOT_NULL(strstr(why, word));
        CU_ASSERT_PTR_NULL(strstr(why, "4711"));
        CU_ASSERT_PTR_NULL(strstr(why, "0123456789"));
    }
    secret_free(key);
}

static void token(void)
{
    char path[128];
    char reference[512];
    if (!make_token()) {
        (void)puts("skipped: " MODULE " is not there");
        return;
    }
    load(TOKEN "object=km" PIN, SAGATE_OK, "");
    load(TOKEN "object=km;type=secret-key" PIN, SAGATE_OK, "");
    write_file("pin", "4711\n", path);
    (void)snprintf(reference, sizeof reference, TOKEN "object=km?pin-source=file:%s&module-path=" MODULE, path);
    load(reference, SAGATE_OK, "");
    load(TOKEN "object=km?pin-source=file:/nowhere/pin&module-path=" MODULE, SAGATE_EPERM, "PIN");
    load(TOKEN "object=km?pin-value=wrong&module-path=" MODULE, SAGATE_EPERM, "PIN");
    load(TOKEN "object=km?module-path=" MODULE, SAGATE_ENOTFOUND, "PIN");
    load(TOKEN "object=none" PIN, SAGATE_ENOTFOUND, "no such key");
    load(TOKEN "object=kept" PIN, SAGATE_EUNSUPPORTED, "extractable");
    load(TOKEN "object=long" PIN, SAGATE_EINVAL, "64");
    load(TOKEN "object=twice" PIN, SAGATE_EINVAL, "several");
    load("pkcs11:token=other;object=km" PIN, SAGATE_ENOTFOUND, "no token");
    load(TOKEN "object=km?pin-value=4711&module-path=/nowhere/module.so", SAGATE_ENOTFOUND, "/nowhere/module.so");
}

static void references(void)
{
    load("pkcs11:token=sagate-test" PIN, SAGATE_EINVAL, "no object");
    load("pkcs11:object", SAGATE_EINVAL, "malformed");
    load("pkcs11:object=km;colour=red", SAGATE_EINVAL, "not known");
}

static const struct unit_test tests[] = {
    {"what is no reference", references},
    {"keys in a token", token},
};

int main(void)
{
    int status = unit_main("keystore_pkcs11", tests, sizeof tests / sizeof *tests);
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return strchr(folder, 'X') == NULL && system(command) != 0 ? EXIT_FAILURE : status;
}
