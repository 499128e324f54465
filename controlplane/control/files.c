// Reading what descriptors and paths hold.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/control/files.h"

#include "common/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

char *files_read_all(int fd, size_t most, size_t *len)
{
    struct stat status;
    if (fstat(fd, &status) != 0 || status.st_size < 0 || (size_t)status.st_size > most)
        return NULL;
    *len = (size_t)status.st_size;
    char *text = malloc(*len + 1);
    size_t used = 0;
    while (text != NULL && used < *len) {
        ssize_t got = pread(fd, text + used, *len - used, (off_t)used);
        if (got == 0 || (got < 0 && errno != EINTR)) {
            secret_zero(text, *len);
            free(text);
            return NULL;
        }
        used += got > 0 ? (size_t)got : 0;
    }
    if (text != NULL)
        text[*len] = '\0';
    return text;
}

const void *files_map(int fd, size_t len)
{
    struct stat status;
    if (fstat(fd, &status) != 0 || (size_t)status.st_size < len)
        return NULL;
    const void *memory = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

int files_open(const char *path)
{
    return open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}
