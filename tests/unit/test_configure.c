// The files that come with a configuration, as the control process opens them.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/control/configure.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct control control = {.pending = {.control_fd = -1, .metrics_fd = -1}};

static void add(const char *path, const char *content)
{
    struct pending *pending = &control.pending;
    int fd = memfd_create("file", MFD_CLOEXEC);
    CU_ASSERT_EQUAL_FATAL(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    pending->files[pending->file_count].path = strdup(path);
    pending->files[pending->file_count++].fd = fd;
}

static void has(const char *path, const char *content)
{
    char found[64] = "";
    int fd = configure_open_file(&control, path);
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    CU_ASSERT_TRUE(read(fd, found, sizeof found - 1) >= 0);
    CU_ASSERT_STRING_EQUAL(found, content);
    CU_ASSERT_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
    close(fd);
}

static void files_are_read_from_their_beginning(void)
{
    add("/a", "first");
    add("/b", "second");
    // Twice, since the one that is open first leaves the position at the end.
    has("/b", "second");
    has("/b", "second");
    has("/a", "first");
    configure_discard(&control);
}

static void what_did_not_come_is_not_there(void)
{
    add("/a", "first");
    errno = 0;
    CU_ASSERT_EQUAL(configure_open_file(&control, "/etc/passwd"), -1);
    CU_ASSERT_EQUAL(errno, ENOENT);
    configure_discard(&control);
    errno = 0;
    CU_ASSERT_EQUAL(configure_open_file(&control, "/a"), -1);
    CU_ASSERT_EQUAL(errno, ENOENT);
}

static const struct unit_test tests[] = {
    {"files are read from their beginning", files_are_read_from_their_beginning},
    {"what did not come is not there", what_did_not_come_is_not_there},
};

int main(void)
{
    return unit_main("configure", tests, sizeof tests / sizeof *tests);
}
