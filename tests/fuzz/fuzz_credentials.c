// Fuzz target: a credentials file; what is read can be written and read again with the same result.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "controlplane/keystore/credentials.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
const char *__lsan_default_suppressions(void);

// libconfig 1.5 loses the strings of a list that a syntax error cuts short.
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig.so";
}

static int memory_file(void)
{
    int fd = memfd_create("credentials", MFD_CLOEXEC);
    if (fd < 0 || fchmod(fd, 0600) != 0)
        abort();
    return fd;
}

static void compare(const struct credentials *a, const struct credentials *b)
{
    if (a->count != b->count || a->short_keys != b->short_keys)
        abort();
    for (size_t i = 0; i < a->count; i++) {
        const struct credential *left = &a->entries[i];
        const struct credential *right = credentials_find(b, slice_text(left->identity));
        if (right == NULL || left->key_len != right->key_len || memcmp(left->key, right->key, left->key_len) != 0 ||
            left->ae_count != right->ae_count || left->expires_at != right->expires_at)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct credentials *first = NULL, *second = NULL;
    struct config_errors errors;
    int fd = memory_file();
    if (write(fd, data, len) != (ssize_t)len || lseek(fd, 0, SEEK_SET) != 0)
        abort();
    int result = credentials_read(fd, "credentials.conf", geteuid(), &first, &errors);
    if ((result == SAGATE_OK) != (errors.count == 0) || (result == SAGATE_OK) != (first != NULL))
        abort();
    config_errors_free(&errors);
    close(fd);
    if (first != NULL) {
        fd = memory_file();
        if (credentials_write_fd(fd, first) != SAGATE_OK || lseek(fd, 0, SEEK_SET) != 0 ||
            credentials_read(fd, "again", geteuid(), &second, &errors) != SAGATE_OK)
            abort();
        compare(first, second);
        close(fd);
    }
    credentials_free(first);
    credentials_free(second);
    return 0;
}
