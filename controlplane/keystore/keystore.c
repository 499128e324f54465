// References to keys, and keys in files.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/keystore/keystore.h"

#include "common/error.h"
#include "common/file.h"
#include "common/secret.h"
#include "controlplane/keystore/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
    const char *prefix, *name;
    unsigned level;
} homes[] = {
    [KEYSTORE_FILE] = {"file:", "file", KEYSTORE_LEVEL_LOW},
    [KEYSTORE_KEYRING] = {"keyring:", "keyring", KEYSTORE_LEVEL_LOW},
    [KEYSTORE_PKCS11] = {"pkcs11:", "PKCS#11 token", KEYSTORE_LEVEL_MEDIUM},
};

int keystore_parse(const char *reference, enum keystore_home *home, char why[KEYSTORE_ERROR_MAX])
{
    if (strlen(reference) > KEYSTORE_REFERENCE_MAX) {
        (void)snprintf(why, KEYSTORE_ERROR_MAX, "the reference is longer than %d bytes", KEYSTORE_REFERENCE_MAX);
        return SAGATE_EINVAL;
    }
    for (const char *c = reference; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            (void)snprintf(why, KEYSTORE_ERROR_MAX, "the reference has a control character in it");
            return SAGATE_EINVAL;
        }
    }
    for (size_t i = 0; i < sizeof homes / sizeof *homes; i++) {
        size_t len = strlen(homes[i].prefix);
        if (strncmp(reference, homes[i].prefix, len) != 0 || reference[len] == '\0')
            continue;
        *home = (enum keystore_home)i;
        return SAGATE_OK;
    }
    (void)snprintf(why, KEYSTORE_ERROR_MAX, "expected \"file:PATH\", \"keyring:DESCRIPTION\" or \"pkcs11:…\"");
    return SAGATE_EINVAL;
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
    return strncmp(reference, homes[KEYSTORE_FILE].prefix, len) == 0 ? reference + len : NULL;
}

static int read_key(int fd, uint8_t *text, size_t cap, uint8_t *key, size_t *len, char why[KEYSTORE_ERROR_MAX])
{
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        (void)snprintf(why, KEYSTORE_ERROR_MAX, "it is no regular file");
        return SAGATE_EINVAL;
    }
    bool group = (status.st_mode & 077) == 040 && status.st_gid == 0;
    if ((status.st_mode & 077) != 0 && !group) {
        (void)snprintf(why, KEYSTORE_ERROR_MAX, "the mode %04o lets others read or change the key, expected 0600",
                       status.st_mode & 07777U);
        return SAGATE_EPERM;
    }
    ssize_t got = file_read(fd, text, cap);
    while (got > 0 && strchr("\r\n \t", text[got - 1]) != NULL)
        got--;
    if (got <= 0 || credentials_parse_hex((const char *)text, (size_t)got, key, len) != SAGATE_OK) {
        (void)snprintf(why, KEYSTORE_ERROR_MAX,
                       "expected a key of 1 to %d bytes as hexadecimal digits and nothing else", KEYSTORE_KEY_MAX);
        return SAGATE_EINVAL;
    }
    return SAGATE_OK;
}

int keystore_load(const char *reference, const struct keystore_files *files, uint8_t **key, size_t *len,
                  char why[KEYSTORE_ERROR_MAX])
{
    enum { TEXT_MAX = 2 * KEYSTORE_KEY_MAX + 16 };
    enum keystore_home home;
    *key = NULL;
    if (keystore_parse(reference, &home, why) != SAGATE_OK)
        return SAGATE_EINVAL;
    if (home != KEYSTORE_FILE) {
        (void)snprintf(why, KEYSTORE_ERROR_MAX, "this build reads keys from files only");
        return SAGATE_EUNSUPPORTED;
    }
    const char *path = keystore_file_path(reference);
    int fd = files != NULL ? files->open_file(files->context, path) : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        (void)snprintf(why, KEYSTORE_ERROR_MAX, "%s", strerror(errno));
        return errno == ENOENT ? SAGATE_ENOTFOUND : SAGATE_ESYS;
    }
    uint8_t *text = secret_alloc(TEXT_MAX), *bytes = secret_alloc(KEYSTORE_KEY_MAX);
    int result = SAGATE_ENOMEM;
    if (text == NULL || bytes == NULL)
        (void)snprintf(why, KEYSTORE_ERROR_MAX, "%s", sagate_strerror(SAGATE_ENOMEM));
    else
        result = read_key(fd, text, TEXT_MAX, bytes, len, why);
    close(fd);
    secret_free(text);
    if (result == SAGATE_OK)
        *key = bytes;
    else
        secret_free(bytes);
    return result;
}
