// What a supervisor knows of programs, and the memory that it keeps for data processes.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "controlplane/supervisor/build.h"
#include "controlplane/supervisor/memory.h"
#include "controlplane/supervisor/probe.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void builds_are_read_as_written(void)
{
    struct build own, read;
    char text[BUILD_TEXT_MAX];
    build_own(&own);
    build_write(&own, text);
    CU_ASSERT_EQUAL(build_read(text, &read), SAGATE_OK);
    CU_ASSERT_STRING_EQUAL(read.version, SAGATE_VERSION);
    CU_ASSERT_EQUAL(read.plane, own.plane);
    CU_ASSERT_EQUAL(read.store, own.store);
    CU_ASSERT_EQUAL(read.counters, own.counters);
    CU_ASSERT_EQUAL(build_read("sagate 2.0-rc1\nplane 4294967295\nstore 0\ncounters 3\nmore 7\n", &read), SAGATE_OK);
    CU_ASSERT_EQUAL(read.plane, UINT32_MAX);
}

static void what_is_no_build_is_refused(void)
{
    static const char *const bad[] = {"",
                                      "sagate",
                                      "sagate \nplane 1\nstore 1\ncounters 1\n",
                                      "sagate 1 2\nplane 1\nstore 1\ncounters 1\n",
                                      "sagate 1\033[1m\nplane 1\nstore 1\ncounters 1\n",
                                      "sagate 1\nplane 1\nstore 1\ncounters 1",
                                      "sagate 1\nplane 1\nstore 1\n",
                                      "sagate 1\nplane -1\nstore 1\ncounters 1\n",
                                      "sagate 1\nplane 4294967296\nstore 1\ncounters 1\n",
                                      "sagate 1\nplane 99999999999999999999999\nstore 1\ncounters 1\n",
                                      "sagate 1\nplane \nstore 1\ncounters 1\n",
                                      "sagate 1\nstore 1\nplane 1\ncounters 1\n",
                                      "SAGATE 1\nplane 1\nstore 1\ncounters 1\n"};
    struct build build;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CU_ASSERT_EQUAL(build_read(bad[i], &build), SAGATE_EMALFORMED);
    char text[BUILD_TEXT_MAX];
    (void)snprintf(text, sizeof text, "sagate %0*d\nplane 1\nstore 1\ncounters 1\n", BUILD_VERSION_MAX, 1);
    CU_ASSERT_EQUAL(build_read(text, &build), SAGATE_EMALFORMED);
}

static void builds_that_do_not_fit_are_named(void)
{
    struct build own, next;
    char reason[512] = "";
    build_own(&own);
    next = own;
    CU_ASSERT_TRUE(build_fits(&own, &next, reason, sizeof reason));
    CU_ASSERT_TRUE(build_keeps(&own, &next, reason, sizeof reason));
    CU_ASSERT_STRING_EQUAL(reason, "");
    next.store++;
    CU_ASSERT_TRUE(build_fits(&own, &next, reason, sizeof reason));
    CU_ASSERT_FALSE(build_keeps(&own, &next, reason, sizeof reason));
    CU_ASSERT_PTR_NOT_NULL(strstr(reason, "--force"));
    next.plane++;
    CU_ASSERT_FALSE(build_fits(&own, &next, reason, sizeof reason));
    CU_ASSERT_PTR_NOT_NULL(strstr(reason, "restart the service"));
    next.plane = own.plane;
    next.counters++;
    CU_ASSERT_FALSE(build_fits(&own, &next, reason, sizeof reason));
}

static void memory_outlives_its_users_until_it_is_cleared(void)
{
    struct memory memory;
    memory_init(&memory);
    CU_ASSERT_EQUAL_FATAL(memory_make(&memory, 2, 10), SAGATE_OK);
    for (unsigned i = 0; i < 2; i++) {
        struct stat info;
        CU_ASSERT_EQUAL(fstat(memory.stores[i], &info), 0);
        CU_ASSERT_EQUAL((size_t)info.st_size, memory.store_len);
        // A process that has it cannot take it away from the next one.
        CU_ASSERT_NOT_EQUAL(ftruncate(memory.stores[i], 0), 0);
        CU_ASSERT_EQUAL(errno, EPERM);
        uint8_t *store = mmap(NULL, memory.store_len, PROT_READ | PROT_WRITE, MAP_SHARED, memory.stores[i], 0);
        CU_ASSERT_PTR_NOT_EQUAL_FATAL(store, MAP_FAILED);
        memset(store, 0xa5, memory.store_len);
        (void)munmap(store, memory.store_len);
    }
    memory_clear_stores(&memory);
    for (unsigned i = 0; i < 2; i++) {
        const uint8_t *store = mmap(NULL, memory.store_len, PROT_READ, MAP_SHARED, memory.stores[i], 0);
        CU_ASSERT_PTR_NOT_EQUAL_FATAL(store, MAP_FAILED);
        uint8_t any = 0;
        for (size_t at = 0; at < memory.store_len; at++)
            any |= store[at];
        CU_ASSERT_EQUAL(any, 0);
        (void)munmap((void *)(uintptr_t)store, memory.store_len);
    }
    memory_release(&memory);
    CU_ASSERT_EQUAL(memory.stores[0], -1);
}

static void counters_of_all_workers_are_summed(void)
{
    struct memory memory;
    memory_init(&memory);
    CU_ASSERT_EQUAL(memory_sum(&memory, STAT_ASSOCIATIONS_RESUMED), 0);
    CU_ASSERT_EQUAL_FATAL(memory_make(&memory, 3, 10), SAGATE_OK);
    struct stat info;
    CU_ASSERT_EQUAL(fstat(memory.stats_fd, &info), 0);
    size_t stride = (size_t)info.st_size / 3;
    uint8_t *all = mmap(NULL, stride * 3, PROT_READ | PROT_WRITE, MAP_SHARED, memory.stats_fd, 0);
    CU_ASSERT_PTR_NOT_EQUAL_FATAL(all, MAP_FAILED);
    for (size_t i = 0; i < 3; i++)
        stats_add((struct stats *)(void *)(all + i * stride), STAT_ASSOCIATIONS_RESUMED, 10 + i);
    CU_ASSERT_EQUAL(memory_sum(&memory, STAT_ASSOCIATIONS_RESUMED), 33);
    CU_ASSERT_EQUAL(memory_sum(&memory, STAT_ASSOCIATIONS_LOST), 0);
    (void)munmap(all, stride * 3);
    memory_release(&memory);
}

// A script in a folder of its own; false when it could not be made.
static bool make_program(char *path, const char *text, mode_t mode)
{
    int fd = mkstemp(path);
    bool made = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fchmod(fd, mode) == 0;
    if (fd >= 0)
        close(fd);
    return made;
}

static int answer_of(const char *text, struct build *build)
{
    char path[] = "/tmp/sagate-program-XXXXXX";
    char reason[256] = "";
    int output = -1;
    int status = 0;
    CU_ASSERT_TRUE_FATAL(make_program(path, text, 0755));
    int program = probe_open(path, reason, sizeof reason);
    CU_ASSERT_TRUE_FATAL(program >= 0);
    (void)unlink(path); // what was opened is what is started
    pid_t pid = probe_start(program, "", &output);
    CU_ASSERT_TRUE_FATAL(pid > 0);
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    int result = probe_answer(output, build);
    close(output);
    close(program);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? result : SAGATE_EGONE;
}

static void programs_are_asked(void)
{
    struct build build;
    CU_ASSERT_EQUAL(
        answer_of("#!/bin/sh\n[ \"$1\" = --probe ] && printf 'sagate 7\\nplane 1\\nstore 2\\ncounters 3\\n'\n", &build),
        SAGATE_OK);
    CU_ASSERT_STRING_EQUAL(build.version, "7");
    CU_ASSERT_EQUAL(build.store, 2);
    CU_ASSERT_EQUAL(answer_of("#!/bin/sh\necho hello\n", &build), SAGATE_EMALFORMED);
    CU_ASSERT_EQUAL(answer_of("#!/bin/sh\nhead -c 10000 /dev/zero\n", &build), SAGATE_EMALFORMED);
    CU_ASSERT_EQUAL(answer_of("#!/bin/sh\nexit 3\n", &build), SAGATE_EGONE);
    CU_ASSERT_EQUAL(answer_of("neither a script nor a program", &build), SAGATE_EGONE);
}

static void programs_of_others_are_refused(void)
{
    static const struct {
        mode_t mode;
        const char *told;
    } cases[] = {{0644, "not a program"}, {0775, "others may write"}, {0757, "others may write"}};
    char reason[256];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[] = "/tmp/sagate-program-XXXXXX";
        CU_ASSERT_TRUE_FATAL(make_program(path, "#!/bin/sh\n", cases[i].mode));
        CU_ASSERT_TRUE(probe_open(path, reason, sizeof reason) < 0);
        CU_ASSERT_PTR_NOT_NULL(strstr(reason, cases[i].told));
        (void)unlink(path);
    }
    CU_ASSERT_TRUE(probe_open("/nowhere/sagate", reason, sizeof reason) < 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(reason, "No such file"));
    CU_ASSERT_TRUE(probe_open("/tmp", reason, sizeof reason) < 0);
    CU_ASSERT_TRUE(probe_open("/dev/null", reason, sizeof reason) < 0);
}

static const struct unit_test tests[] = {
    {"builds are read as written", builds_are_read_as_written},
    {"what is no build is refused", what_is_no_build_is_refused},
    {"builds that do not fit are named", builds_that_do_not_fit_are_named},
    {"memory outlives its users until it is cleared", memory_outlives_its_users_until_it_is_cleared},
    {"counters of all workers are summed", counters_of_all_workers_are_summed},
    {"programs are asked", programs_are_asked},
    {"programs of others are refused", programs_of_others_are_refused},
};

UNIT_MAIN("supervisor", tests)
