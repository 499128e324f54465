// Opening and asking a program.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/supervisor/probe.h"

#include "common/error.h"
#include "controlplane/supervisor/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FIRST_FD = 16 };

static const char *fault_of(const struct stat *info)
{
    if (!S_ISREG(info->st_mode) || (info->st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)) == 0)
        return "not a program";
    if (info->st_uid != 0 && info->st_uid != geteuid())
        return "the program must belong to root or to the user who started sagate";
    if ((info->st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return "others may write the program";
    return NULL;
}

int probe_open(const char *path, char *reason, size_t cap)
{
    struct stat info;
    // Non-blocking for the case that it is a FIFO.
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) != 0) {
        (void)snprintf(reason, cap, "%s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return SAGATE_ESYS;
    }
    const char *fault = fault_of(&info);
    // Away from the numbers that a child uses for others.
    int high = fault == NULL ? fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD) : -1;
    if (high < 0)
        (void)snprintf(reason, cap, "%s: %s", path, fault == NULL ? strerror(errno) : fault);
    close(fd);
    return high >= 0 ? high : SAGATE_EPERM;
}

__attribute__((noreturn)) static void child(int program, const char *user, int output)
{
    char path[64];
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(nothing, STDERR_FILENO) < 0 ||
        dup2(output, STDOUT_FILENO) < 0 || confine_user(user) != SAGATE_OK)
        _exit(EXIT_FAILURE);
    // Left open, since the interpreter of a script opens it once more.
    (void)fcntl(program, F_SETFD, 0);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", program);
    execl(path, "sagate", "--probe", (char *)NULL);
    _exit(EXIT_FAILURE);
}

pid_t probe_start(int program, const char *user, int *output)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return SAGATE_ESYS;
    pid_t pid = fork();
    if (pid == 0)
        child(program, user, ends[1]);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return SAGATE_ESYS;
    }
    *output = ends[0];
    return pid;
}

int probe_answer(int output, struct build *build)
{
    char text[BUILD_TEXT_MAX];
    size_t used = 0;
    ssize_t got;
    while (used < sizeof text - 1 && (got = read(output, text + used, sizeof text - 1 - used)) > 0)
        used += (size_t)got;
    text[used] = '\0';
    return build_read(text, build);
}
