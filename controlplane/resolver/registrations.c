// The store of AE-IDs that CSEs assigned: prepared statements over one SQLite table.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/resolver/registrations.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SCHEMA_VERSION = 1, BUSY_MS = 2000 };

#define COLUMNS "credential_id, upstream, aei, resource_id, structured"

// A structured address without its first segment. An AE is a child of the CSEBase alone (TS-0001 9.6.5), so that the
// first segment under which a CSE created one names the CSEBase: by its name, its resource ID or "-" (TS-0001 7.2).
#define TAIL "substr(structured, instr(structured, '/'))"

// X(id, text)
#define STATEMENTS(X)                                                                                         \
    X(PUT, "INSERT OR REPLACE INTO registrations (" COLUMNS ", learned_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")  \
    X(FIND, "SELECT " COLUMNS " FROM registrations WHERE upstream = ?1 AND (aei = ?2 OR resource_id = ?2 OR " \
            "structured = ?2) LIMIT 1")                                                                       \
    X(FIND_BELOW_BASE, "SELECT " COLUMNS " FROM registrations WHERE upstream = ?1 AND " TAIL " = ?2 LIMIT 1") \
    X(NAMES_BASE, "SELECT 1 FROM registrations WHERE upstream = ?1 AND structured > ?2 || '/' AND "           \
                  "structured < ?2 || '0' LIMIT 1")                                                           \
    X(REMOVE, "DELETE FROM registrations WHERE upstream = ?1 AND aei = ?2")                                   \
    X(FORGET, "DELETE FROM registrations WHERE credential_id = ?1 AND aei = ?2")                              \
    X(ALL, "SELECT " COLUMNS " FROM registrations ORDER BY learned_at, aei")                                  \
    X(OF_AEI, "SELECT " COLUMNS " FROM registrations WHERE aei = ?1")                                         \
    X(PLACE, "SELECT 1 FROM registrations WHERE upstream = ?1 AND aei = ?2")                                  \
    X(COUNT, "SELECT count(*) FROM registrations")                                                            \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                               \
    X(COMMIT, "COMMIT")

enum statement {
#define X(id, text) STATEMENT_##id,
    STATEMENTS(X)
#undef X
        STATEMENT_TOTAL
};

static const char *const statement_texts[] = {
#define X(id, text) text,
    STATEMENTS(X)
#undef X
};

static const char schema[] = "CREATE TABLE IF NOT EXISTS registrations ("
                             " upstream TEXT NOT NULL, aei TEXT NOT NULL, credential_id TEXT NOT NULL,"
                             " resource_id TEXT NOT NULL, structured TEXT NOT NULL, learned_at INTEGER NOT NULL,"
                             " PRIMARY KEY (upstream, aei)) WITHOUT ROWID;"
                             "CREATE INDEX IF NOT EXISTS by_aei ON registrations (aei, credential_id);"
                             "CREATE INDEX IF NOT EXISTS by_resource ON registrations (upstream, resource_id);"
                             "CREATE INDEX IF NOT EXISTS by_structured ON registrations (upstream, structured);"
                             "CREATE INDEX IF NOT EXISTS by_tail ON registrations (upstream, " TAIL ");";

struct registrations {
    sqlite3 *database;
    sqlite3_stmt *statements[STATEMENT_TOTAL];
    size_t count;
    bool changed; // a transaction is open
};

static void say(char *problem, size_t len, const char *path, const char *what)
{
    (void)snprintf(problem, len, "%s: %s", path, what);
}

static int read_version(sqlite3 *database)
{
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(database, "PRAGMA user_version", -1, &statement, NULL) != SQLITE_OK)
        return SAGATE_ESYS;
    int version = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int(statement, 0) : SAGATE_ESYS;
    sqlite3_finalize(statement);
    return version;
}

static int prepare(struct registrations *registrations)
{
    char version[64];
    (void)snprintf(version, sizeof version, "PRAGMA user_version = %d", SCHEMA_VERSION);
    sqlite3 *database = registrations->database;
    int found = read_version(database);
    if (found < 0)
        return SAGATE_ESYS;
    if (found > SCHEMA_VERSION)
        return SAGATE_EVERSION;
    // The journal stays in the state directory; temporary tables would want another one.
    if (sqlite3_exec(database, "PRAGMA journal_mode = DELETE; PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY;",
                     NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(database, schema, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(database, version, NULL, NULL, NULL) != SQLITE_OK)
        return SAGATE_ESYS;
    for (int i = 0; i < STATEMENT_TOTAL; i++) {
        if (sqlite3_prepare_v3(database, statement_texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &registrations->statements[i], NULL) != SQLITE_OK)
            return SAGATE_ESYS;
    }
    sqlite3_stmt *count = registrations->statements[STATEMENT_COUNT];
    if (sqlite3_step(count) != SQLITE_ROW)
        return SAGATE_ESYS;
    registrations->count = (size_t)sqlite3_column_int64(count, 0);
    sqlite3_reset(count);
    return SAGATE_OK;
}

int registrations_open(const char *path, struct registrations **out, char *problem, size_t problem_len)
{
    // SQLite would create the file with the process's umask; AE-IDs are nobody else's business.
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        say(problem, problem_len, path, strerror(errno));
        return SAGATE_ESYS;
    }
    close(fd);
    struct registrations *registrations = calloc(1, sizeof *registrations);
    if (registrations == NULL) {
        say(problem, problem_len, path, sagate_strerror(SAGATE_ENOMEM));
        return SAGATE_ENOMEM;
    }
    int result = SAGATE_ESYS;
    if (sqlite3_open_v2(path, &registrations->database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) ==
        SQLITE_OK) {
        (void)sqlite3_busy_timeout(registrations->database, BUSY_MS);
        result = prepare(registrations);
    }
    if (result != SAGATE_OK) {
        say(problem, problem_len, path,
            result == SAGATE_EVERSION ? "written by a later version of sagate"
                                      : sqlite3_errmsg(registrations->database));
        registrations_close(registrations);
        return result;
    }
    *out = registrations;
    return SAGATE_OK;
}

void registrations_close(struct registrations *registrations)
{
    if (registrations == NULL)
        return;
    (void)registrations_flush(registrations);
    for (int i = 0; i < STATEMENT_TOTAL; i++)
        sqlite3_finalize(registrations->statements[i]);
    sqlite3_close(registrations->database);
    free(registrations);
}

static int failed(struct registrations *registrations, const char *what)
{
    static struct log_sample sample;
    log_sampled(&sample, LOG_LEVEL_ERROR, "registrations: cannot %s: %s", what,
                sqlite3_errmsg(registrations->database));
    return SAGATE_ESYS;
}

static void bind(sqlite3_stmt *statement, int index, struct slice text)
{
    // Valid until the statement is reset at the end of the same call.
    (void)sqlite3_bind_text(statement, index, text.len == 0 ? "" : (const char *)text.data, (int)text.len,
                            SQLITE_STATIC);
}

static void finish(sqlite3_stmt *statement)
{
    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
}

static int run(struct registrations *registrations, enum statement id, const char *what)
{
    sqlite3_stmt *statement = registrations->statements[id];
    int result = sqlite3_step(statement);
    int outcome = result == SQLITE_DONE ? SAGATE_OK : failed(registrations, what);
    finish(statement);
    return outcome;
}

static int begin(struct registrations *registrations)
{
    if (registrations->changed)
        return SAGATE_OK;
    int result = run(registrations, STATEMENT_BEGIN, "begin a change");
    registrations->changed = result == SAGATE_OK;
    return result;
}

int registrations_flush(struct registrations *registrations)
{
    if (!registrations->changed)
        return SAGATE_OK;
    int result = run(registrations, STATEMENT_COMMIT, "store changes");
    // A failed COMMIT may have ended the transaction; SQLite tells.
    registrations->changed = sqlite3_get_autocommit(registrations->database) == 0;
    return result;
}

int registrations_put(struct registrations *registrations, const struct registration *registration)
{
    if (begin(registrations) != SAGATE_OK)
        return SAGATE_ESYS;
    sqlite3_stmt *place = registrations->statements[STATEMENT_PLACE];
    bind(place, 1, registration->upstream);
    bind(place, 2, registration->aei);
    bool taken = sqlite3_step(place) == SQLITE_ROW;
    finish(place);
    sqlite3_stmt *statement = registrations->statements[STATEMENT_PUT];
    bind(statement, 1, registration->credential_id);
    bind(statement, 2, registration->upstream);
    bind(statement, 3, registration->aei);
    bind(statement, 4, registration->resource_id);
    bind(statement, 5, registration->structured);
    (void)sqlite3_bind_int64(statement, 6, clock_wall());
    int result = run(registrations, STATEMENT_PUT, "store a registration");
    if (result == SAGATE_OK && !taken)
        registrations->count++;
    return result;
}

static struct slice column(sqlite3_stmt *statement, int index)
{
    const unsigned char *text = sqlite3_column_text(statement, index);
    return slice_of(text == NULL ? (const unsigned char *)"" : text, (size_t)sqlite3_column_bytes(statement, index));
}

static void row(sqlite3_stmt *statement, struct registration *registration)
{
    *registration = (struct registration){
        .credential_id = column(statement, 0),
        .upstream = column(statement, 1),
        .aei = column(statement, 2),
        .resource_id = column(statement, 3),
        .structured = column(statement, 4),
    };
}

// Whether the first segment of an address stands for the CSEBase. Anything else may be the resource ID of a container
// that some device made ("cnt-7/lamp", TS-0001 7.2 allows such mixed addresses): deleting what is below it must not
// take an AE of the same name from its owner, and the table does not know containers. So there has to be proof: the
// configuration, or an AE that the CSE created under this very segment.
static bool is_base(struct registrations *registrations, struct slice upstream, struct slice first, struct slice base)
{
    if (first.len == 0)
        return false;
    if (slice_is(first, "-") || slice_equal(first, base))
        return true;
    sqlite3_stmt *statement = registrations->statements[STATEMENT_NAMES_BASE];
    bind(statement, 1, upstream);
    bind(statement, 2, first);
    bool names = sqlite3_step(statement) == SQLITE_ROW;
    finish(statement);
    return names;
}

static int look(sqlite3_stmt *find, struct slice upstream, struct slice text)
{
    bind(find, 1, upstream);
    bind(find, 2, text);
    return sqlite3_step(find);
}

int registrations_remove(struct registrations *registrations, struct slice upstream, struct slice to, struct slice base,
                         registrations_visit *removed, void *context)
{
    if (to.len == 0)
        return SAGATE_ENOTFOUND;
    const uint8_t *slash = memchr(to.data, '/', to.len);
    size_t first_len = slash == NULL ? 0 : (size_t)(slash - to.data);
    struct slice tail = slice_of(to.data + first_len, to.len - first_len);
    sqlite3_stmt *find = registrations->statements[STATEMENT_FIND];
    int step = look(find, upstream, to);
    if (step == SQLITE_DONE && tail.len > 1 && is_base(registrations, upstream, slice_of(to.data, first_len), base)) {
        finish(find);
        find = registrations->statements[STATEMENT_FIND_BELOW_BASE];
        step = look(find, upstream, tail);
    }
    int result = step == SQLITE_ROW    ? SAGATE_OK
                 : step == SQLITE_DONE ? SAGATE_ENOTFOUND
                                       : failed(registrations, "look for a registration");
    struct registration registration;
    if (result == SAGATE_OK) {
        row(find, &registration);
        result = begin(registrations);
    }
    if (result == SAGATE_OK) {
        sqlite3_stmt *statement = registrations->statements[STATEMENT_REMOVE];
        bind(statement, 1, registration.upstream);
        bind(statement, 2, registration.aei);
        result = run(registrations, STATEMENT_REMOVE, "remove a registration");
    }
    if (result == SAGATE_OK) {
        registrations->count--;
        removed(context, &registration); // the columns live until FIND is reset
    }
    finish(find);
    return result;
}

int registrations_forget(struct registrations *registrations, struct slice credential_id, struct slice aei)
{
    if (begin(registrations) != SAGATE_OK)
        return SAGATE_ESYS;
    sqlite3_stmt *statement = registrations->statements[STATEMENT_FORGET];
    bind(statement, 1, credential_id);
    bind(statement, 2, aei);
    if (run(registrations, STATEMENT_FORGET, "forget a registration") != SAGATE_OK)
        return SAGATE_ESYS;
    int removed = sqlite3_changes(registrations->database);
    registrations->count -= (size_t)removed;
    return removed;
}

int registrations_each(struct registrations *registrations, struct slice aei, registrations_visit *visit, void *context)
{
    sqlite3_stmt *statement = registrations->statements[aei.data == NULL ? STATEMENT_ALL : STATEMENT_OF_AEI];
    if (aei.data != NULL)
        bind(statement, 1, aei);
    int step;
    while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
        struct registration registration;
        row(statement, &registration);
        visit(context, &registration);
    }
    int result = step == SQLITE_DONE ? SAGATE_OK : failed(registrations, "read registrations");
    finish(statement);
    return result;
}

size_t registrations_count(const struct registrations *registrations)
{
    return registrations->count;
}
