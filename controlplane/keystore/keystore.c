// The key store: what a reference names, and keys from files and from the kernel keyring.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/keystore/keystore.h"

#include "common/error.h"
#include "common/file.h"
#include "common/secret.h"
#include "controlplane/keystore/credentials.h"
#include "controlplane/keystore/keystore_pkcs11.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
    const char *prefix, *name;
    unsigned level;
} homes[] = {
    [KEYSTORE_FILE] = {"file:", "file", KEYSTORE_LEVEL_LOW},
    [KEYSTORE_KEYRING] = {"keyring:", "keyring", KEYSTORE_LEVEL_LOW},
    [KEYSTORE_PKCS11] = {"pkcs11:", "pkcs11", KEYSTORE_LEVEL_MEDIUM},
};

static int fail(char why[KEYSTORE_ERROR_MAX], int result, const char *text)
{
    (void)snprintf(why, KEYSTORE_ERROR_MAX, "%s", text);
    return result;
}

int keystore_parse(const char *reference, enum keystore_home *home, char why[KEYSTORE_ERROR_MAX])
{
    if (strlen(reference) > KEYSTORE_REFERENCE_MAX)
        return fail(why, SAGATE_EINVAL, "the reference to the key is longer than 1024 bytes");
    for (size_t i = 0; i < sizeof homes / sizeof *homes; i++) {
        size_t len = strlen(homes[i].prefix);
        if (strncmp(reference, homes[i].prefix, len) != 0)
            continue;
        if (reference[len] == '\0')
            return fail(why, SAGATE_EINVAL, "the reference names a home of keys and no key in it");
        *home = (enum keystore_home)i;
        return *home == KEYSTORE_PKCS11 ? keystore_pkcs11_check(reference, why) : SAGATE_OK;
    }
    // What stands there is not repeated: it could be the key itself.
    return fail(why, SAGATE_EINVAL, "expected a reference to a key: file:PATH, keyring:DESCRIPTION or pkcs11:…");
}

const char *keystore_home_name(enum keystore_home home)
{
    return homes[home].name;
}

unsigned keystore_level(enum keystore_home home)
{
    return homes[home].level;
}

const char *keystore_file_path(const char *reference)
{
    size_t len = strlen(homes[KEYSTORE_FILE].prefix);
    return strncmp(reference, homes[KEYSTORE_FILE].prefix, len) == 0 && reference[len] != '\0' ? reference + len : NULL;
}

static int check_status(int fd, char why[KEYSTORE_ERROR_MAX])
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return fail(why, SAGATE_ESYS, "cannot read the status of the key's file");
    if (!S_ISREG(status.st_mode))
        return fail(why, SAGATE_EPERM, "the key is in no regular file");
    if (status.st_uid != 0 && status.st_uid != geteuid())
        return fail(why, SAGATE_EPERM, "the key's file belongs to neither root nor the user who runs sagate");
    mode_t forbidden = status.st_gid == 0 ? 037 : 077;
    if ((status.st_mode & forbidden) != 0) {
        (void)snprintf(why, KEYSTORE_ERROR_MAX, "the mode %04o lets others read or change the key, expected 0600",
                       status.st_mode & 07777U);
        return SAGATE_EPERM;
    }
    return SAGATE_OK;
}

static int take(const uint8_t *from, size_t count, uint8_t **key, size_t *len, char why[KEYSTORE_ERROR_MAX])
{
    if ((*key = secret_alloc(count)) == NULL)
        return fail(why, SAGATE_ENOMEM, sagate_strerror(SAGATE_ENOMEM));
    memcpy(*key, from, count);
    *len = count;
    return SAGATE_OK;
}

static int load_file(int fd, uint8_t **key, size_t *len, char why[KEYSTORE_ERROR_MAX])
{
    enum { CONTENT_MAX = 4 * KEYSTORE_KEY_MAX }; // the digits and white space behind them
    uint8_t bytes[CREDENTIALS_KEY_MAX];
    size_t count = 0;
    int result = check_status(fd, why);
    if (result != SAGATE_OK)
        return result;
    char *text = secret_alloc(CONTENT_MAX);
    if (text == NULL)
        return fail(why, SAGATE_ENOMEM, sagate_strerror(SAGATE_ENOMEM));
    ssize_t got = file_read(fd, text, CONTENT_MAX);
    if (got == SAGATE_ESYS) {
        secret_free(text);
        return fail(why, SAGATE_ESYS, "cannot read the key's file");
    }
    while (got > 0 && strchr(" \t\r\n", text[got - 1]) != NULL && text[got - 1] != '\0')
        got--;
    if (got <= 0 || credentials_parse_hex(text, (size_t)got, bytes, &count) != SAGATE_OK)
        result = fail(why, SAGATE_EINVAL, "the key's file holds no even number of 2 to 128 hexadecimal digits");
    else
        result = take(bytes, count, key, len, why);
    secret_zero(bytes, sizeof bytes);
    secret_free(text);
    return result;
}

static int open_and_load(const char *path, const struct keystore_files *files, uint8_t **key, size_t *len,
                         char why[KEYSTORE_ERROR_MAX])
{
    // Without O_NONBLOCK a FIFO would hold the caller up.
    int fd = files != NULL ? files->open_file(files->context, path)
                           : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        int result = errno == ENOENT ? SAGATE_ENOTFOUND : errno == EACCES ? SAGATE_EPERM : SAGATE_ESYS;
        (void)snprintf(why, KEYSTORE_ERROR_MAX, "cannot open the key's file: %s", strerror(errno));
        return result;
    }
    int result = load_file(fd, key, len, why);
    (void)close(fd);
    return result;
}

static int load_keyring(const char *description, uint8_t **key, size_t *len, char why[KEYSTORE_ERROR_MAX])
{
    static const int rings[] = {KEY_SPEC_SESSION_KEYRING, KEY_SPEC_USER_KEYRING};
    uint8_t bytes[KEYSTORE_KEY_MAX];
    long id = -1, got;
    for (size_t i = 0; id < 0 && i < sizeof rings / sizeof *rings; i++)
        id = syscall(SYS_keyctl, KEYCTL_SEARCH, rings[i], "user", description, 0);
    if (id < 0) {
        int error = errno;
        (void)snprintf(why, KEYSTORE_ERROR_MAX, "cannot find the key in the kernel keyring: %s", strerror(error));
        if (error == ENOSYS)
            return SAGATE_EUNSUPPORTED;
        return error == ENOKEY ? SAGATE_ENOTFOUND : error == EACCES || error == EPERM ? SAGATE_EPERM : SAGATE_ESYS;
    }
    got = syscall(SYS_keyctl, KEYCTL_READ, id, bytes, sizeof bytes);
    int result;
    if (got < 0)
        result =
            fail(why, errno == EACCES ? SAGATE_EPERM : SAGATE_ESYS, "the kernel keyring does not give the key out");
    else if (got == 0 || (size_t)got > sizeof bytes)
        result = fail(why, SAGATE_EINVAL, "the key in the kernel keyring has no length from 1 to 64 bytes");
    else
        result = take(bytes, (size_t)got, key, len, why);
    secret_zero(bytes, sizeof bytes);
    return result;
}

int keystore_load(const char *reference, const struct keystore_files *files, uint8_t **key, size_t *len,
                  char why[KEYSTORE_ERROR_MAX])
{
    enum keystore_home home;
    int result = keystore_parse(reference, &home, why);
    if (result != SAGATE_OK)
        return result;
    if (home == KEYSTORE_FILE)
        return open_and_load(keystore_file_path(reference), files, key, len, why);
    if (home == KEYSTORE_KEYRING)
        return load_keyring(reference + strlen(homes[home].prefix), key, len, why);
    return keystore_pkcs11_load(reference, key, len, why);
}
