// The key store: references, keys in files and in the kernel keyring, and that no message shows a key.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "common/secret.h"
#include "controlplane/keystore/keystore.h"
#include "tests/unit/unit.h"

#include <linux/keyctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KEY "00112233445566778899aabbccddeeff"

static void load(const char *content, mode_t mode, int expected, size_t expected_len)
{
    char reference[64], why[KEYSTORE_ERROR_MAX] = "";
    uint8_t *key = NULL;
    size_t len = 0;
    int fd = memfd_create("key", MFD_CLOEXEC);
    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    CU_ASSERT_EQUAL(fchmod(fd, mode), 0);
    (void)snprintf(reference, sizeof reference, "file:/proc/self/fd/%d", fd);
    CU_ASSERT_EQUAL(keystore_load(reference, NULL, &key, &len, why), expected);
    CU_ASSERT_EQUAL(len, expected_len);
    CU_ASSERT_EQUAL(why[0] == '\0', expected == SAGATE_OK);
    CU_ASSERT_PTR_NULL(strstr(why, "0011"));
    secret_free(key);
    close(fd);
}

static void files(void)
{
    load(KEY, 0600, SAGATE_OK, 16);
    load(KEY " \r\n", 0400, SAGATE_OK, 16);
    load(KEY KEY KEY KEY, 0600, SAGATE_OK, 64);
    load(KEY KEY KEY KEY "00", 0600, SAGATE_EINVAL, 0);
    load("", 0600, SAGATE_EINVAL, 0);
    load(KEY "0", 0600, SAGATE_EINVAL, 0);
    load(" " KEY, 0600, SAGATE_EINVAL, 0);
    load("0011xx", 0600, SAGATE_EINVAL, 0);
    load(KEY, 0644, SAGATE_EPERM, 0);
    load(KEY, 0660, SAGATE_EPERM, 0);
}

static void references(void)
{
    enum keystore_home home;
    char why[KEYSTORE_ERROR_MAX] = "";
    uint8_t *key = NULL;
    size_t len = 0;
    CU_ASSERT_EQUAL(keystore_parse("keyring:a", &home, why), SAGATE_OK);
    CU_ASSERT_EQUAL(home, KEYSTORE_KEYRING);
    CU_ASSERT_EQUAL(keystore_parse("file:", &home, why), SAGATE_EINVAL);
    CU_ASSERT_EQUAL(keystore_parse(KEY, &home, why), SAGATE_EINVAL);
    CU_ASSERT_PTR_NULL(strstr(why, "0011"));
    CU_ASSERT_EQUAL(keystore_level(KEYSTORE_PKCS11), KEYSTORE_LEVEL_MEDIUM);
    CU_ASSERT_PTR_NULL(keystore_file_path("keyring:a"));
    CU_ASSERT_STRING_EQUAL(keystore_file_path("file:/a"), "/a");
    CU_ASSERT_EQUAL(keystore_load("file:/nowhere/key", NULL, &key, &len, why), SAGATE_ENOTFOUND);
    CU_ASSERT_EQUAL(keystore_load("file:/dev/null", NULL, &key, &len, why), SAGATE_EPERM);
}

static void keyring(void)
{
    char why[KEYSTORE_ERROR_MAX];
    uint8_t *key = NULL;
    size_t len = 0;
    long id = syscall(SYS_add_key, "user", "sagate-test", "0123456789abcdef", 16, KEY_SPEC_SESSION_KEYRING);
    if (id < 0) {
        (void)puts("skipped: no kernel keyring here");
        return;
    }
    CU_ASSERT_EQUAL(keystore_load("keyring:sagate-test", NULL, &key, &len, why), SAGATE_OK);
    CU_ASSERT_EQUAL(len, 16);
    secret_free(key);
    CU_ASSERT_EQUAL(syscall(SYS_keyctl, KEYCTL_REVOKE, id), 0);
    CU_ASSERT_EQUAL(keystore_load("keyring:sagate-none", NULL, &key, &len, why), SAGATE_ENOTFOUND);
}

static const struct unit_test tests[] = {
    {"files", files},
    {"references", references},
    {"keyring", keyring},
};

UNIT_MAIN("keystore", tests)
