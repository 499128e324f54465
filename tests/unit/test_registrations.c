// The store of registrations: what was learned is there after a restart, and goes when the AE goes.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "controlplane/resolver/registrations.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static char path[96];
static char problem[256];
static char seen[512];

static struct registrations *fresh(void)
{
    (void)snprintf(folder, sizeof folder, "/tmp/sagate-test-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/registrations.db", folder);
    struct registrations *store = NULL;
    CU_ASSERT_EQUAL_FATAL(registrations_open(path, &store, problem, sizeof problem), SAGATE_OK);
    return store;
}

static void clean(void)
{
    (void)unlink(path);
    CU_ASSERT_EQUAL(rmdir(folder), 0); // nothing else was left in the state directory
}

static void note(void *context, const struct registration *r)
{
    (void)context;
    size_t used = strlen(seen);
    (void)snprintf(seen + used, sizeof seen - used, "%.*s=%.*s@%.*s ", (int)r->aei.len, r->aei.data,
                   (int)r->credential_id.len, r->credential_id.data, (int)r->upstream.len, r->upstream.data);
}

static int put(struct registrations *store, const char *credential, const char *upstream, const char *aei,
               const char *resource_id, const char *structured)
{
    struct registration registration = {slice_text(credential), slice_text(upstream), slice_text(aei),
                                        slice_text(resource_id), slice_text(structured)};
    return registrations_put(store, &registration);
}

static void survives_a_restart(void)
{
    struct registrations *store = fresh();
    CU_ASSERT_EQUAL(put(store, "12-a@x", "in", "Cae1", "Cae1", "cse/ae1"), SAGATE_OK);
    CU_ASSERT_EQUAL(put(store, "12-b@x", "in", "Sae2", "r2", ""), SAGATE_OK);
    registrations_close(store);
    struct stat status;
    CU_ASSERT_EQUAL(stat(path, &status), 0);
    CU_ASSERT_EQUAL(status.st_mode & 0777, 0600);
    CU_ASSERT_EQUAL_FATAL(registrations_open(path, &store, problem, sizeof problem), SAGATE_OK);
    CU_ASSERT_EQUAL(registrations_count(store), 2);
    seen[0] = '\0';
    CU_ASSERT_EQUAL(registrations_each(store, (struct slice){0}, note, NULL), SAGATE_OK);
    CU_ASSERT_STRING_EQUAL(seen, "Cae1=12-a@x@in Sae2=12-b@x@in ");
    registrations_close(store);
    clean();
}

static void flush_is_durable_without_close(void)
{
    struct registrations *store = fresh();
    struct registrations *reader = NULL;
    CU_ASSERT_EQUAL(put(store, "12-a@x", "in", "Cae1", "", ""), SAGATE_OK);
    CU_ASSERT_EQUAL(registrations_flush(store), SAGATE_OK);
    CU_ASSERT_EQUAL_FATAL(registrations_open(path, &reader, problem, sizeof problem), SAGATE_OK);
    seen[0] = '\0';
    CU_ASSERT_EQUAL(registrations_each(reader, slice_text("Cae1"), note, NULL), SAGATE_OK);
    CU_ASSERT_STRING_EQUAL(seen, "Cae1=12-a@x@in ");
    registrations_close(reader);
    registrations_close(store);
    clean();
}

static void removed_by_every_name_of_the_ae(void)
{
    static const char *const names[] = {"Cae1", "ri-1", "cse/ae1"};
    struct registrations *store = fresh();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        CU_ASSERT_EQUAL(put(store, "12-a@x", "in", "Cae1", "ri-1", "cse/ae1"), SAGATE_OK);
        seen[0] = '\0';
        // Another CSE's resource of the same name is another resource.
        CU_ASSERT_EQUAL(
            registrations_remove(store, slice_text("other"), slice_text(names[i]), slice_text(""), note, NULL),
            SAGATE_ENOTFOUND);
        CU_ASSERT_EQUAL(
            registrations_remove(store, slice_text("in"), slice_text("cse/ae1/cnt"), slice_text(""), note, NULL),
            SAGATE_ENOTFOUND);
        CU_ASSERT_EQUAL(registrations_remove(store, slice_text("in"), slice_text(""), slice_text(""), note, NULL),
                        SAGATE_ENOTFOUND);
        CU_ASSERT_EQUAL(registrations_remove(store, slice_text("in"), slice_text(names[i]), slice_text(""), note, NULL),
                        SAGATE_OK);
        CU_ASSERT_STRING_EQUAL(seen, "Cae1=12-a@x@in ");
        CU_ASSERT_EQUAL(registrations_count(store), 0);
    }
    registrations_close(store);
    clean();
}

static int remove_at(struct registrations *store, const char *to, const char *base)
{
    return registrations_remove(store, slice_text("in"), slice_text(to), slice_text(base), note, NULL);
}

static void the_csebase_has_several_names(void)
{
    static const struct {
        const char *stored, *deleted, *base;
        int result;
    } rows[] = {
        {"cse/ae1", "-/ae1", "", SAGATE_OK},
        {"-/ae1", "cse/ae1", "cse", SAGATE_OK},
        {"base-ri/ae1", "cse/ae1", "cse", SAGATE_OK},
        {"cse/ae1", "cse/ae1", "", SAGATE_OK},
        // Nothing shows that this is the CSEBase; it may be somebody's container.
        {"-/ae1", "cse/ae1", "", SAGATE_ENOTFOUND},
        {"-/ae1", "cnt-7/ae1", "cse", SAGATE_ENOTFOUND},
        {"cse/ae1", "cnt-7/ae1", "cse", SAGATE_ENOTFOUND},
        {"-/ae1", "cse/ae1/ae1", "cse", SAGATE_ENOTFOUND},
        {"-/ae1", "cse/", "cse", SAGATE_ENOTFOUND},
        {"-/ae1", "cse", "cse", SAGATE_ENOTFOUND},
        {"-/ae1", "/ae1", "", SAGATE_ENOTFOUND},
        {"", "cse/ae1", "cse", SAGATE_ENOTFOUND},
    };
    struct registrations *store = fresh();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CU_ASSERT_EQUAL(put(store, "12-a@x", "in", "Cae1", "ri-1", rows[i].stored), SAGATE_OK);
        int result = remove_at(store, rows[i].deleted, rows[i].base);
        CU_ASSERT_EQUAL(result, rows[i].result);
        if (result != rows[i].result)
            (void)fprintf(stderr, "row %zu: %d\n", i, result);
    }
    // Another AE that the CSE created there shows what the CSEBase is called; at this CSE only.
    CU_ASSERT_EQUAL(put(store, "12-a@x", "in", "Cae1", "ri-1", "-/ae1"), SAGATE_OK);
    CU_ASSERT_EQUAL(put(store, "12-b@x", "other", "Cae2", "ri-2", "cse/ae2"), SAGATE_OK);
    CU_ASSERT_EQUAL(remove_at(store, "cse/ae1", ""), SAGATE_ENOTFOUND);
    CU_ASSERT_EQUAL(put(store, "12-b@x", "in", "Cae2", "ri-2", "cse/ae2"), SAGATE_OK);
    CU_ASSERT_EQUAL(remove_at(store, "cs/ae1", ""), SAGATE_ENOTFOUND);
    seen[0] = '\0';
    CU_ASSERT_EQUAL(remove_at(store, "cse/ae1", ""), SAGATE_OK);
    CU_ASSERT_STRING_EQUAL(seen, "Cae1=12-a@x@in ");
    registrations_close(store);
    clean();
}

static void registering_again_replaces(void)
{
    struct registrations *store = fresh();
    CU_ASSERT_EQUAL(put(store, "12-a@x", "in", "Cae1", "old", ""), SAGATE_OK);
    CU_ASSERT_EQUAL(put(store, "12-a@x", "in", "Cae1", "new", ""), SAGATE_OK);
    CU_ASSERT_EQUAL(put(store, "12-a@x", "in2", "Cae1", "", ""), SAGATE_OK);
    CU_ASSERT_EQUAL(registrations_count(store), 2);
    CU_ASSERT_EQUAL(registrations_remove(store, slice_text("in"), slice_text("old"), slice_text(""), note, NULL),
                    SAGATE_ENOTFOUND);
    CU_ASSERT_EQUAL(registrations_forget(store, slice_text("12-a@x"), slice_text("Cae1")), 2);
    CU_ASSERT_EQUAL(registrations_count(store), 0);
    registrations_close(store);
    clean();
}

static void text_is_data_and_never_sql(void)
{
    struct registrations *store = fresh();
    CU_ASSERT_EQUAL(put(store, "12-a@x", "in", "C'); DROP TABLE registrations; --", "", ""), SAGATE_OK);
    CU_ASSERT_EQUAL(registrations_flush(store), SAGATE_OK);
    seen[0] = '\0';
    CU_ASSERT_EQUAL(registrations_each(store, slice_text("C'); DROP TABLE registrations; --"), note, NULL), SAGATE_OK);
    CU_ASSERT_STRING_EQUAL(seen, "C'); DROP TABLE registrations; --=12-a@x@in ");
    registrations_close(store);
    clean();
}

static void damaged_file_is_told(void)
{
    struct registrations *store = fresh();
    registrations_close(store);
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(write(fd, "this is no database, and long enough to be taken for one", 56), 56);
    close(fd);
    CU_ASSERT_EQUAL(registrations_open(path, &store, problem, sizeof problem), SAGATE_ESYS);
    CU_ASSERT_PTR_NOT_NULL(strstr(problem, path));
    CU_ASSERT_PTR_NOT_NULL(strstr(problem, "not a database"));
    clean();
    CU_ASSERT_EQUAL(registrations_open("/nonexistent/registrations.db", &store, problem, sizeof problem), SAGATE_ESYS);
    CU_ASSERT_PTR_NOT_NULL(strstr(problem, "No such file"));
}

static const struct unit_test tests[] = {
    {"survives a restart", survives_a_restart},
    {"flush is durable without close", flush_is_durable_without_close},
    {"removed by every name of the AE", removed_by_every_name_of_the_ae},
    {"the CSEBase has several names", the_csebase_has_several_names},
    {"registering again replaces", registering_again_replaces},
    {"text is data and never SQL", text_is_data_and_never_sql},
    {"damaged file is told", damaged_file_is_told},
};

UNIT_MAIN("registrations", tests)
