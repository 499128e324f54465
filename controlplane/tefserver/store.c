// The store: prepared statements over three SQLite tables, and the encryption of what is secret in them.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/tefserver/store.h"

#include "common/derive.h"
#include "common/error.h"
#include "common/secret.h"

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/aes.h>

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { SCHEMA_VERSION = 1, BUSY_MS = 5000, NONCE = 12, TAG = 16, SEALED_MAX = NONCE + TEF_KEY_MAX + TAG };

#define CLIENT "id, coalesce(psk_identity, ''), admins, target_any"
#define KEY    "kind, relative_key_id, source_id, admin_fqdn, suid, targets, labels, expires_at"

// X(id, text)
#define STATEMENTS(X)                                                                                               \
    X(CLIENT_ADD, "INSERT INTO clients (id, psk_identity, admins, target_any, name, psk) VALUES (?1, ?2, ?3, ?4, "  \
                  "?5, ?6)")                                                                                        \
    X(CLIENT_REMOVE, "DELETE FROM clients WHERE id = ?1")                                                           \
    X(CLIENT_REMOVE_KEYS, "DELETE FROM keys WHERE source_id = ?1")                                                  \
    X(CLIENT_REMOVE_REGISTRATIONS, "DELETE FROM registrations WHERE client_id = ?1")                                \
    X(CLIENT_BY_ID, "SELECT " CLIENT ", psk FROM clients WHERE id = ?1")                                            \
    X(CLIENT_BY_NAME, "SELECT " CLIENT ", psk FROM clients WHERE name = ?1")                                        \
    X(CLIENT_BY_IDENTITY, "SELECT " CLIENT ", psk FROM clients WHERE psk_identity = ?1")                            \
    X(CLIENT_ALL, "SELECT " CLIENT " FROM clients ORDER BY id")                                                     \
    X(REGISTRATION_PUT, "INSERT OR REPLACE INTO registrations (kind, id, client_id, admin_fqdn, labels, "           \
                        "expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")                                              \
    X(REGISTRATION_FIND, "SELECT id, client_id, admin_fqdn, labels, expires_at FROM registrations WHERE kind = ?1 " \
                         "AND id = ?2 AND expires_at > ?3")                                                         \
    X(REGISTRATION_REMOVE, "DELETE FROM registrations WHERE kind = ?1 AND id = ?2")                                 \
    X(REGISTRATION_COUNT, "SELECT count(*) FROM registrations WHERE kind = ?1 AND client_id = ?2")                  \
    X(REGISTRATION_EXPIRE, "DELETE FROM registrations WHERE expires_at <= ?1")                                      \
    X(KEY_ADD, "INSERT INTO keys (" KEY ", value) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")                     \
    X(KEY_UPDATE, "UPDATE keys SET targets = ?3, labels = ?4, expires_at = ?5 WHERE kind = ?1 AND "                 \
                  "relative_key_id = ?2")                                                                           \
    X(KEY_FIND, "SELECT " KEY ", value FROM keys WHERE kind = ?1 AND relative_key_id = ?2 AND expires_at > ?3")     \
    X(KEY_REMOVE, "DELETE FROM keys WHERE kind = ?1 AND relative_key_id = ?2")                                      \
    X(KEY_COUNT, "SELECT count(*) FROM keys WHERE kind = ?1 AND source_id = ?2")                                    \
    X(KEY_EXPIRE, "DELETE FROM keys WHERE expires_at <= ?1")                                                        \
    X(KEY_ALL, "SELECT " KEY " FROM keys ORDER BY kind, relative_key_id")                                           \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                                     \
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

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS proof (one INTEGER PRIMARY KEY CHECK (one = 1), value BLOB NOT NULL);"
    "CREATE TABLE IF NOT EXISTS clients (id TEXT PRIMARY KEY, psk_identity TEXT UNIQUE, admins TEXT NOT NULL,"
    " target_any INTEGER NOT NULL, name TEXT NOT NULL UNIQUE COLLATE NOCASE, psk BLOB) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS registrations (kind INTEGER NOT NULL, id TEXT NOT NULL, client_id TEXT NOT NULL,"
    " admin_fqdn TEXT NOT NULL, labels TEXT NOT NULL, expires_at INTEGER NOT NULL, PRIMARY KEY (kind, id))"
    " WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS registrations_by_client ON registrations (client_id, kind);"
    "CREATE INDEX IF NOT EXISTS registrations_by_expiry ON registrations (expires_at);"
    "CREATE TABLE IF NOT EXISTS keys (kind INTEGER NOT NULL, relative_key_id TEXT NOT NULL, source_id TEXT NOT NULL,"
    " admin_fqdn TEXT NOT NULL, suid INTEGER NOT NULL, targets TEXT NOT NULL, labels TEXT NOT NULL,"
    " expires_at INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (kind, relative_key_id)) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS keys_by_source ON keys (source_id, kind);"
    "CREATE INDEX IF NOT EXISTS keys_by_expiry ON keys (expires_at);";

struct tef_store {
    sqlite3 *database;
    Aes *aes; // in secret memory
    sqlite3_stmt *statements[STATEMENT_TOTAL];
};

// --- Encryption --------------------------------------------------------------------------------------------------

// What a sealed value belongs to: it opens nowhere else.
static size_t place_of(char place[TEF_ID_MAX + 32], const char *table, int kind, const char *id)
{
    int len = snprintf(place, TEF_ID_MAX + 32, "%s %d %s", table, kind, id);
    return len > 0 && len < TEF_ID_MAX + 32 ? (size_t)len : 0;
}

static int seal(struct tef_store *store, const char *place, size_t place_len, struct slice value,
                uint8_t out[SEALED_MAX], size_t *len)
{
    if (place_len == 0 || value.len == 0 || value.len > TEF_KEY_MAX || getrandom(out, NONCE, 0) != NONCE)
        return SAGATE_ESYS;
    *len = NONCE + value.len + TAG;
    return wc_AesGcmEncrypt(store->aes, out + NONCE, value.data, (word32)value.len, out, NONCE, out + NONCE + value.len,
                            TAG, (const byte *)place, (word32)place_len) == 0
               ? SAGATE_OK
               : SAGATE_ESYS;
}

static int unseal(struct tef_store *store, const char *place, size_t place_len, struct slice sealed,
                  uint8_t out[TEF_KEY_MAX], size_t *len)
{
    if (place_len == 0 || sealed.len <= NONCE + TAG || sealed.len > SEALED_MAX)
        return SAGATE_EKEY;
    *len = sealed.len - NONCE - TAG;
    if (wc_AesGcmDecrypt(store->aes, out, sealed.data + NONCE, (word32)*len, sealed.data, NONCE,
                         sealed.data + NONCE + *len, TAG, (const byte *)place, (word32)place_len) == 0)
        return SAGATE_OK;
    secret_zero(out, *len);
    *len = 0;
    return SAGATE_EKEY;
}

// --- Opening -----------------------------------------------------------------------------------------------------

static int prove_key(struct tef_store *store)
{
    static const char text[] = "sagate-tef store";
    sqlite3_stmt *statement = NULL;
    uint8_t bytes[SEALED_MAX];
    size_t len = 0;
    if (sqlite3_prepare_v2(store->database, "SELECT value FROM proof", -1, &statement, NULL) != SQLITE_OK)
        return SAGATE_ESYS;
    int step = sqlite3_step(statement);
    if (step == SQLITE_ROW) {
        struct slice sealed = slice_of(sqlite3_column_blob(statement, 0), (size_t)sqlite3_column_bytes(statement, 0));
        int result = unseal(store, text, sizeof text, sealed, bytes, &len);
        sqlite3_finalize(statement);
        return result;
    }
    sqlite3_finalize(statement);
    if (step != SQLITE_DONE || seal(store, text, sizeof text, slice_text(text), bytes, &len) != SAGATE_OK ||
        sqlite3_prepare_v2(store->database, "INSERT INTO proof (one, value) VALUES (1, ?1)", -1, &statement, NULL) !=
            SQLITE_OK)
        return SAGATE_ESYS;
    (void)sqlite3_bind_blob(statement, 1, bytes, (int)len, SQLITE_STATIC);
    step = sqlite3_step(statement);
    sqlite3_finalize(statement);
    return step == SQLITE_DONE ? SAGATE_OK : SAGATE_ESYS;
}

static int check_version(sqlite3 *database)
{
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(database, "PRAGMA user_version", -1, &statement, NULL) != SQLITE_OK)
        return SAGATE_ESYS;
    int version = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int(statement, 0) : -1;
    sqlite3_finalize(statement);
    return version < 0 ? SAGATE_ESYS : version > SCHEMA_VERSION ? SAGATE_EVERSION : SAGATE_OK;
}

static int set_up(struct tef_store *store)
{
    char version[64];
    (void)snprintf(version, sizeof version, "PRAGMA user_version = %d", SCHEMA_VERSION);
    (void)sqlite3_busy_timeout(store->database, BUSY_MS);
    int result = check_version(store->database);
    if (result != SAGATE_OK)
        return result;
    // A deleted key leaves no trace in the file.
    if (sqlite3_exec(store->database,
                     "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA secure_delete = ON;"
                     "PRAGMA temp_store = MEMORY;",
                     NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(store->database, schema, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(store->database, version, NULL, NULL, NULL) != SQLITE_OK)
        return SAGATE_ESYS;
    for (int i = 0; i < STATEMENT_TOTAL; i++) {
        if (sqlite3_prepare_v3(store->database, statement_texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &store->statements[i], NULL) != SQLITE_OK)
            return SAGATE_ESYS;
    }
    return prove_key(store);
}

static bool make_file(const char *path)
{
    if (strcmp(path, ":memory:") == 0)
        return true;
    // SQLite would make it with the process's umask.
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

int tef_store_open(const char *path, const uint8_t key[TEF_STORE_KEY], struct tef_store **out,
                   char why[TEF_STORE_ERROR_MAX])
{
    *out = NULL;
    if (!make_file(path)) {
        (void)snprintf(why, TEF_STORE_ERROR_MAX, "%s: %s", path, strerror(errno));
        return SAGATE_ESYS;
    }
    struct tef_store *store = calloc(1, sizeof *store);
    if (store != NULL)
        store->aes = secret_alloc(sizeof *store->aes);
    if (store == NULL || store->aes == NULL) {
        free(store);
        (void)snprintf(why, TEF_STORE_ERROR_MAX, "%s", sagate_strerror(SAGATE_ENOMEM));
        return SAGATE_ENOMEM;
    }
    int result = SAGATE_ESYS;
    if (wc_AesInit(store->aes, NULL, INVALID_DEVID) == 0 && wc_AesGcmSetKey(store->aes, key, TEF_STORE_KEY) == 0 &&
        sqlite3_open_v2(path, &store->database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) == SQLITE_OK)
        result = set_up(store);
    if (result == SAGATE_OK) {
        *out = store;
        return SAGATE_OK;
    }
    (void)snprintf(why, TEF_STORE_ERROR_MAX, "%s: %s", path,
                   result == SAGATE_EKEY       ? "it was encrypted with another store_key"
                   : result == SAGATE_EVERSION ? "it was made by a newer version"
                                               : sqlite3_errmsg(store->database));
    tef_store_close(store);
    return result;
}

void tef_store_close(struct tef_store *store)
{
    if (store == NULL)
        return;
    for (int i = 0; i < STATEMENT_TOTAL; i++)
        sqlite3_finalize(store->statements[i]);
    sqlite3_close(store->database);
    wc_AesFree(store->aes);
    secret_free(store->aes);
    free(store);
}

// --- Statements --------------------------------------------------------------------------------------------------

static sqlite3_stmt *use(struct tef_store *store, enum statement id)
{
    return store->statements[id];
}

static void text(sqlite3_stmt *statement, int at, struct slice value)
{
    (void)sqlite3_bind_text(statement, at, value.len > 0 ? (const char *)value.data : "", (int)value.len,
                            SQLITE_STATIC);
}

static void number(sqlite3_stmt *statement, int at, int64_t value)
{
    (void)sqlite3_bind_int64(statement, at, value);
}

static int finish(sqlite3_stmt *statement, int result)
{
    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
    return result;
}

// Runs a statement that gives no rows.
static int run(sqlite3_stmt *statement)
{
    int step = sqlite3_step(statement);
    int result = step == SQLITE_DONE ? SAGATE_OK : (step & 0xff) == SQLITE_CONSTRAINT ? SAGATE_EEXISTS : SAGATE_ESYS;
    return finish(statement, result);
}

static int run_on_one(struct tef_store *store, sqlite3_stmt *statement)
{
    int result = run(statement);
    return result == SAGATE_OK && sqlite3_changes(store->database) == 0 ? SAGATE_ENOTFOUND : result;
}

static int row(sqlite3_stmt *statement)
{
    int step = sqlite3_step(statement);
    return step == SQLITE_ROW ? SAGATE_OK : step == SQLITE_DONE ? SAGATE_ENOTFOUND : SAGATE_ESYS;
}

static void column(sqlite3_stmt *statement, int at, char *out, size_t cap)
{
    const char *value = (const char *)sqlite3_column_text(statement, at);
    (void)snprintf(out, cap, "%s", value == NULL ? "" : value);
}

static struct slice blob(sqlite3_stmt *statement, int at)
{
    return slice_of(sqlite3_column_blob(statement, at), (size_t)sqlite3_column_bytes(statement, at));
}

// --- Clients -----------------------------------------------------------------------------------------------------

int tef_store_client_add(struct tef_store *store, const struct tef_store_client *client, struct slice psk)
{
    char name[TEF_ID_MAX + 1];
    char place[TEF_ID_MAX + 32];
    uint8_t sealed[SEALED_MAX];
    size_t len = 0;
    if (derive_target_fqdn(slice_text(client->id), name, sizeof name) < 0)
        return SAGATE_EINVAL;
    if (psk.len > 0 && seal(store, place, place_of(place, "client", 0, client->id), psk, sealed, &len) != SAGATE_OK)
        return SAGATE_ESYS;
    sqlite3_stmt *statement = use(store, STATEMENT_CLIENT_ADD);
    text(statement, 1, slice_text(client->id));
    if (client->psk_identity[0] != '\0')
        text(statement, 2, slice_text(client->psk_identity));
    text(statement, 3, slice_text(client->admins));
    number(statement, 4, client->target_any);
    text(statement, 5, slice_text(name));
    if (len > 0)
        (void)sqlite3_bind_blob(statement, 6, sealed, (int)len, SQLITE_STATIC);
    return run(statement);
}

int tef_store_client_remove(struct tef_store *store, const char *id)
{
    static const enum statement others[] = {STATEMENT_CLIENT_REMOVE_KEYS, STATEMENT_CLIENT_REMOVE_REGISTRATIONS};
    int result = tef_store_begin(store);
    for (size_t i = 0; i < 2 && result == SAGATE_OK; i++) {
        text(use(store, others[i]), 1, slice_text(id));
        result = run(use(store, others[i]));
    }
    int found = SAGATE_OK;
    if (result == SAGATE_OK) {
        text(use(store, STATEMENT_CLIENT_REMOVE), 1, slice_text(id));
        found = run_on_one(store, use(store, STATEMENT_CLIENT_REMOVE));
        result = tef_store_commit(store);
    }
    return result == SAGATE_OK ? found : result;
}

static void read_client(sqlite3_stmt *statement, struct tef_store_client *client)
{
    column(statement, 0, client->id, sizeof client->id);
    column(statement, 1, client->psk_identity, sizeof client->psk_identity);
    column(statement, 2, client->admins, sizeof client->admins);
    client->target_any = sqlite3_column_int(statement, 3) != 0;
}

static int find_client(struct tef_store *store, enum statement id, struct slice value, struct tef_store_client *client)
{
    sqlite3_stmt *statement = use(store, id);
    text(statement, 1, value);
    int result = row(statement);
    if (result == SAGATE_OK)
        read_client(statement, client);
    return finish(statement, result);
}

int tef_store_client_by_id(struct tef_store *store, struct slice id, struct tef_store_client *client)
{
    return find_client(store, STATEMENT_CLIENT_BY_ID, id, client);
}

int tef_store_client_by_name(struct tef_store *store, struct slice name, struct tef_store_client *client)
{
    return find_client(store, STATEMENT_CLIENT_BY_NAME, name, client);
}

int tef_store_client_by_identity(struct tef_store *store, struct slice identity, struct tef_store_client *client,
                                 uint8_t psk[TEF_KEY_MAX], size_t *psk_len)
{
    char place[TEF_ID_MAX + 32];
    sqlite3_stmt *statement = use(store, STATEMENT_CLIENT_BY_IDENTITY);
    *psk_len = 0;
    text(statement, 1, identity);
    int result = row(statement);
    if (result == SAGATE_OK) {
        read_client(statement, client);
        result = unseal(store, place, place_of(place, "client", 0, client->id), blob(statement, 4), psk, psk_len);
    }
    return finish(statement, result);
}

int tef_store_client_each(struct tef_store *store, void (*each)(void *context, const struct tef_store_client *client),
                          void *context)
{
    struct tef_store_client client;
    sqlite3_stmt *statement = use(store, STATEMENT_CLIENT_ALL);
    int result;
    while ((result = row(statement)) == SAGATE_OK) {
        read_client(statement, &client);
        each(context, &client);
    }
    return finish(statement, result == SAGATE_ENOTFOUND ? SAGATE_OK : result);
}

// --- Registrations -----------------------------------------------------------------------------------------------

int tef_store_registration_put(struct tef_store *store, enum tef_kind kind,
                               const struct tef_store_registration *registration)
{
    sqlite3_stmt *statement = use(store, STATEMENT_REGISTRATION_PUT);
    number(statement, 1, kind);
    text(statement, 2, slice_text(registration->id));
    text(statement, 3, slice_text(registration->client_id));
    text(statement, 4, slice_text(registration->admin_fqdn));
    text(statement, 5, slice_text(registration->labels));
    number(statement, 6, registration->expires_at);
    return run(statement);
}

int tef_store_registration_find(struct tef_store *store, enum tef_kind kind, struct slice id, int64_t now,
                                struct tef_store_registration *registration)
{
    sqlite3_stmt *statement = use(store, STATEMENT_REGISTRATION_FIND);
    number(statement, 1, kind);
    text(statement, 2, id);
    number(statement, 3, now);
    int result = row(statement);
    if (result == SAGATE_OK) {
        column(statement, 0, registration->id, sizeof registration->id);
        column(statement, 1, registration->client_id, sizeof registration->client_id);
        column(statement, 2, registration->admin_fqdn, sizeof registration->admin_fqdn);
        column(statement, 3, registration->labels, sizeof registration->labels);
        registration->expires_at = sqlite3_column_int64(statement, 4);
    }
    return finish(statement, result);
}

static int remove_one(struct tef_store *store, enum statement id, enum tef_kind kind, const char *name)
{
    number(use(store, id), 1, kind);
    text(use(store, id), 2, slice_text(name));
    return run_on_one(store, use(store, id));
}

static int count_of(struct tef_store *store, enum statement id, enum tef_kind kind, const char *name, size_t *count)
{
    sqlite3_stmt *statement = use(store, id);
    number(statement, 1, kind);
    text(statement, 2, slice_text(name));
    int result = row(statement);
    *count = result == SAGATE_OK ? (size_t)sqlite3_column_int64(statement, 0) : 0;
    return finish(statement, result);
}

int tef_store_registration_remove(struct tef_store *store, enum tef_kind kind, const char *id)
{
    return remove_one(store, STATEMENT_REGISTRATION_REMOVE, kind, id);
}

int tef_store_registration_count(struct tef_store *store, enum tef_kind kind, const char *client_id, size_t *count)
{
    return count_of(store, STATEMENT_REGISTRATION_COUNT, kind, client_id, count);
}

// --- Keys --------------------------------------------------------------------------------------------------------

enum { TARGETS_TEXT = TEF_TARGETS_MAX * (TEF_ID_MAX + 1) };

// One after another, separated by single spaces, which no identifier has.
static void join_targets(const struct tef_key *key, char out[TARGETS_TEXT])
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < key->target_count; i++) {
        int n = snprintf(out + at, TARGETS_TEXT - at, "%s%s", i > 0 ? " " : "", key->targets[i]);
        at += n > 0 ? (size_t)n : 0;
    }
}

static void split_targets(const char *joined, struct tef_key *key)
{
    key->target_count = 0;
    while (*joined != '\0' && key->target_count < TEF_TARGETS_MAX) {
        size_t len = strcspn(joined, " ");
        (void)snprintf(key->targets[key->target_count++], TEF_ID_MAX + 1, "%.*s", (int)len, joined);
        joined += len + (joined[len] == ' ' ? 1 : 0);
    }
}

int tef_store_key_add(struct tef_store *store, enum tef_kind kind, const struct tef_store_key *key)
{
    char place[TEF_ID_MAX + 32];
    char targets[TARGETS_TEXT];
    uint8_t sealed[SEALED_MAX];
    size_t len = 0;
    const struct tef_key *k = &key->key;
    int result = seal(store, place, place_of(place, "key", (int)kind, k->relative_key_id), slice_of(k->key, k->key_len),
                      sealed, &len);
    if (result != SAGATE_OK)
        return result;
    join_targets(k, targets);
    sqlite3_stmt *statement = use(store, STATEMENT_KEY_ADD);
    number(statement, 1, kind);
    text(statement, 2, slice_text(k->relative_key_id));
    text(statement, 3, slice_text(k->source_id));
    text(statement, 4, slice_text(k->admin_fqdn));
    number(statement, 5, k->suid);
    text(statement, 6, slice_text(targets));
    text(statement, 7, slice_text(key->labels));
    number(statement, 8, k->expires_at);
    (void)sqlite3_bind_blob(statement, 9, sealed, (int)len, SQLITE_STATIC);
    return run(statement);
}

int tef_store_key_update(struct tef_store *store, enum tef_kind kind, const struct tef_store_key *key)
{
    char targets[TARGETS_TEXT];
    sqlite3_stmt *statement = use(store, STATEMENT_KEY_UPDATE);
    join_targets(&key->key, targets);
    number(statement, 1, kind);
    text(statement, 2, slice_text(key->key.relative_key_id));
    text(statement, 3, slice_text(targets));
    text(statement, 4, slice_text(key->labels));
    number(statement, 5, key->key.expires_at);
    return run_on_one(store, statement);
}

static enum tef_kind read_key(sqlite3_stmt *statement, struct tef_store_key *key)
{
    struct tef_key *k = &key->key;
    *k = (struct tef_key){0};
    column(statement, 1, k->relative_key_id, sizeof k->relative_key_id);
    column(statement, 2, k->source_id, sizeof k->source_id);
    column(statement, 3, k->admin_fqdn, sizeof k->admin_fqdn);
    k->suid = (unsigned)sqlite3_column_int(statement, 4);
    const char *targets = (const char *)sqlite3_column_text(statement, 5);
    split_targets(targets == NULL ? "" : targets, k);
    column(statement, 6, key->labels, sizeof key->labels);
    k->expires_at = sqlite3_column_int64(statement, 7);
    return sqlite3_column_int(statement, 0) == TEF_MAF ? TEF_MAF : TEF_MEF;
}

int tef_store_key_find(struct tef_store *store, enum tef_kind kind, struct slice relative_key_id, int64_t now,
                       struct tef_store_key *key)
{
    char place[TEF_ID_MAX + 32];
    sqlite3_stmt *statement = use(store, STATEMENT_KEY_FIND);
    number(statement, 1, kind);
    text(statement, 2, relative_key_id);
    number(statement, 3, now);
    int result = row(statement);
    if (result == SAGATE_OK) {
        (void)read_key(statement, key);
        result = unseal(store, place, place_of(place, "key", (int)kind, key->key.relative_key_id), blob(statement, 8),
                        key->key.key, &key->key.key_len);
    }
    return finish(statement, result);
}

int tef_store_key_remove(struct tef_store *store, enum tef_kind kind, const char *relative_key_id)
{
    return remove_one(store, STATEMENT_KEY_REMOVE, kind, relative_key_id);
}

int tef_store_key_count(struct tef_store *store, enum tef_kind kind, const char *source_id, size_t *count)
{
    return count_of(store, STATEMENT_KEY_COUNT, kind, source_id, count);
}

int tef_store_key_each(struct tef_store *store,
                       void (*each)(void *context, enum tef_kind kind, const struct tef_store_key *key), void *context)
{
    sqlite3_stmt *statement = use(store, STATEMENT_KEY_ALL);
    struct tef_store_key key;
    int result;
    while ((result = row(statement)) == SAGATE_OK) {
        enum tef_kind kind = read_key(statement, &key);
        each(context, kind, &key);
    }
    return finish(statement, result == SAGATE_ENOTFOUND ? SAGATE_OK : result);
}

int tef_store_begin(struct tef_store *store)
{
    return run(use(store, STATEMENT_BEGIN));
}

int tef_store_commit(struct tef_store *store)
{
    int result = run(use(store, STATEMENT_COMMIT));
    if (result != SAGATE_OK)
        (void)sqlite3_exec(store->database, "ROLLBACK", NULL, NULL, NULL);
    return result;
}

int tef_store_expire(struct tef_store *store, int64_t now)
{
    static const enum statement both[] = {STATEMENT_KEY_EXPIRE, STATEMENT_REGISTRATION_EXPIRE};
    int result = SAGATE_OK;
    for (size_t i = 0; i < 2 && result == SAGATE_OK; i++) {
        number(use(store, both[i]), 1, now);
        result = run(use(store, both[i]));
    }
    return result;
}
