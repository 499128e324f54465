// The credentials file. libconfig never sees a key: before it parses, every key string is taken out of the text and a
// number stands in its place, so that its heap holds nothing to wipe. SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "common/secret.h"
#include "controlplane/config/tree.h"
#include "controlplane/keystore/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct span {
    size_t at, len; // of the file
};

// The file, and the same without keys and comments.
struct redaction {
    const char *data;
    size_t len;
    struct text text;
    size_t count, cap;
    struct span *keys;
    bool failed;
};

struct raw_credential {
    char *identity, *key_hex, *key_text, *cse_id, *expires;
    size_t ae_count;
    char **aes;
};

struct top {
    bool allow_short_keys;
};

// A credential, and which one of the file it is.
struct candidate {
    struct credential credential;
    size_t index;
};

#define IDENTITY_EXPECTED "the PSK identity, such as \"dev1@sp.example\""

static const struct tree_setting top_settings[] = {
    {.name = "allow_short_keys", .kind = TREE_BOOL, .offset = offsetof(struct top, allow_short_keys)},
    {.name = "credentials", .kind = TREE_NESTED},
};
static const struct tree_setting settings[] = {
    {.name = "identity",
     .kind = TREE_TEXT,
     .flags = TREE_MANDATORY,
     .offset = offsetof(struct raw_credential, identity),
     .expected = IDENTITY_EXPECTED},
    {.name = "key_hex",
     .kind = TREE_SECRET,
     .offset = offsetof(struct raw_credential, key_hex),
     .expected = "the key as a string of hexadecimal digits"},
    {.name = "key_text",
     .kind = TREE_SECRET,
     .offset = offsetof(struct raw_credential, key_text),
     .expected = "the key as a string"},
    {.name = "ae_ids",
     .kind = TREE_TEXTS,
     .offset = offsetof(struct raw_credential, aes),
     .count_offset = offsetof(struct raw_credential, ae_count),
     .max = PRINCIPAL_AES_MAX,
     .valid = credential_ae_ok,
     .expected = "an AE-ID-Stem such as \"Cdev1\" or a pattern such as \"C*\""},
    {.name = "cse_id",
     .kind = TREE_TEXT,
     .offset = offsetof(struct raw_credential, cse_id),
     .expected = "an SP-relative CSE-ID such as \"/mn1\""},
    {.name = "expires",
     .kind = TREE_TEXT,
     .offset = offsetof(struct raw_credential, expires),
     .expected = "a time in UTC such as \"2030-01-01T00:00:00Z\""},
};
static const struct tree_group top_group = {"the top level", top_settings, sizeof top_settings / sizeof *top_settings};
static const struct tree_group group = {"credentials", settings, sizeof settings / sizeof *settings};
static const struct tree_group *const all_groups[] = {&top_group, &group, NULL};

static size_t copy_line_breaks(struct redaction *r, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        if (r->data[i] == '\n')
            text_bytes(&r->text, "\n", 1);
    }
    return to;
}

static size_t comment_end(const struct redaction *r, size_t at)
{
    const char *end = NULL;
    if (r->data[at] == '/' && r->data[at + 1] == '*') {
        end = memmem(r->data + at + 2, r->len - at - 2, "*/", 2);
        return end == NULL ? r->len : (size_t)(end - r->data) + 2;
    }
    end = memchr(r->data + at, '\n', r->len - at);
    return end == NULL ? r->len : (size_t)(end - r->data);
}

// At a quote: the index behind the closing one, or the end.
static size_t string_end(const struct redaction *r, size_t at)
{
    for (at++; at < r->len && r->data[at] != '"'; at++) {
        if (r->data[at] == '\\')
            at++;
    }
    return at >= r->len ? r->len : at + 1;
}

static size_t name_end(const struct redaction *r, size_t at)
{
    while (at < r->len && ((r->data[at] >= 'a' && r->data[at] <= 'z') || (r->data[at] >= 'A' && r->data[at] <= 'Z') ||
                           (r->data[at] >= '0' && r->data[at] <= '9') || r->data[at] == '*' || r->data[at] == '_' ||
                           r->data[at] == '-'))
        at++;
    return at;
}

static void hide_key(struct redaction *r, size_t at, size_t end)
{
    if (r->count == r->cap) {
        size_t cap = r->cap == 0 ? 64 : r->cap * 2;
        struct span *keys = reallocarray(r->keys, cap, sizeof *keys);
        if (keys == NULL) {
            r->failed = true;
            return;
        }
        r->keys = keys;
        r->cap = cap;
    }
    // Brackets, so that strings in a row, which libconfig joins, are no number.
    text_add(&r->text, "\"<%zu>\"", r->count);
    r->keys[r->count++] = (struct span){.at = at + 1, .len = end - at - 2};
    (void)copy_line_breaks(r, at, end);
}

static void redact(struct redaction *r)
{
    bool key = false;
    size_t at = 0;
    while (at < r->len && !r->failed) {
        char c = r->data[at];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '*';
        size_t end = at + 1;
        if (c == '#' || (c == '/' && at + 1 < r->len && (r->data[at + 1] == '/' || r->data[at + 1] == '*'))) {
            at = copy_line_breaks(r, at, comment_end(r, at));
            text_bytes(&r->text, " ", 1);
            continue;
        }
        if (letter) {
            end = name_end(r, at);
            key = (end - at == 7 && memcmp(r->data + at, "key_hex", 7) == 0) ||
                  (end - at == 8 && memcmp(r->data + at, "key_text", 8) == 0);
        } else if (c == '"') {
            end = string_end(r, at);
            bool closed = end - at >= 2 && r->data[end - 1] == '"';
            if (key && closed) {
                hide_key(r, at, end);
                at = end;
                continue;
            }
        } else if (c == '{' || c == '}') {
            key = false;
        }
        text_bytes(&r->text, r->data + at, end - at);
        at = end;
    }
}

// The file's bytes that a stand-in names.
static bool find_key(const struct redaction *r, const char *stand_in, struct span *key)
{
    char again[32];
    if (stand_in[0] != '<')
        return false;
    size_t index = strtoull(stand_in + 1, NULL, 10);
    (void)snprintf(again, sizeof again, "<%zu>", index);
    if (index >= r->count || strcmp(again, stand_in) != 0)
        return false;
    *key = r->keys[index];
    return true;
}

// libconfig's escapes; an unknown one stands for itself. Returns the length, or more than `cap` when it is longer.
static size_t unescape(const char *from, size_t len, uint8_t *to, size_t cap)
{
    static const char letters[] = "nrtf\\\"", values[] = "\n\r\t\f\\\"";
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = (uint8_t)from[i], code[CREDENTIALS_KEY_MAX];
        size_t code_len = 0;
        const char *letter = from[i] == '\\' && i + 1 < len ? strchr(letters, from[i + 1]) : NULL;
        if (letter != NULL && *letter != '\0') {
            byte = (uint8_t)values[letter - letters];
            i++;
        } else if (from[i] == '\\' && i + 3 < len && (from[i + 1] == 'x' || from[i + 1] == 'X') &&
                   credentials_parse_hex(from + i + 2, 2, code, &code_len) == SAGATE_OK) {
            byte = code[0];
            i += 3;
        }
        if (used == cap)
            return cap + 1;
        to[used++] = byte;
    }
    return used;
}

static void read_key(struct tree *tree, const config_setting_t *at, const struct redaction *r,
                     const struct raw_credential *raw, struct credential *out)
{
    const char *stand_in = raw->key_hex != NULL ? raw->key_hex : raw->key_text;
    const char *name = raw->key_hex != NULL ? "key_hex" : "key_text";
    struct span key;
    if (config_setting_get_member(at, "key_hex") != NULL && config_setting_get_member(at, "key_text") != NULL) {
        tree_complain(tree, at, NULL, "found 'key_hex' and 'key_text', expected one of them");
        return;
    }
    if (stand_in == NULL) {
        if (config_setting_get_member(at, "key_hex") == NULL && config_setting_get_member(at, "key_text") == NULL)
            tree_complain(tree, at, NULL, "the key is missing; expected 'key_hex' or 'key_text'");
        return;
    }
    if (!find_key(r, stand_in, &key)) {
        tree_complain(tree, at, name, "expected the key as one string");
        return;
    }
    out->key = secret_alloc(CREDENTIALS_KEY_MAX);
    if (out->key == NULL) {
        tree->no_memory = true;
        return;
    }
    if (raw->key_hex == NULL) {
        out->key_len = unescape(r->data + key.at, key.len, out->key, CREDENTIALS_KEY_MAX);
        if (out->key_len == 0 || out->key_len > CREDENTIALS_KEY_MAX)
            tree_complain(tree, at, name, "found a key of %s, expected 1 to %d",
                          out->key_len == 0 ? "0 bytes" : "more than 64 bytes", CREDENTIALS_KEY_MAX);
    } else if (credentials_parse_hex(r->data + key.at, key.len, out->key, &out->key_len) != SAGATE_OK) {
        tree_complain(tree, at, name, "expected an even number of hexadecimal digits, at least 2 and at most %d",
                      2 * CREDENTIALS_KEY_MAX);
        out->key_len = 0;
    }
}

static void read_one(struct tree *tree, const config_setting_t *at, const struct redaction *r,
                     const struct credentials *set, struct candidate *candidate)
{
    struct raw_credential raw = {0};
    struct credential *credential = &candidate->credential;
    char why[CREDENTIALS_ERROR_MAX];
    size_t before = tree->errors->count;
    tree_read(tree, at, &group, &raw, all_groups);
    read_key(tree, at, r, &raw, credential);
    if (raw.expires != NULL && credentials_parse_time(raw.expires, &credential->expires_at) != SAGATE_OK)
        tree_complain(tree, at, "expires", "expected a time in UTC such as \"2030-01-01T00:00:00Z\"");
    credential->identity = raw.identity;
    credential->cse_id = raw.cse_id;
    credential->aes = raw.aes;
    credential->ae_count = raw.ae_count;
    raw.identity = raw.cse_id = NULL;
    raw.aes = NULL;
    raw.ae_count = 0;
    tree_release(&group, &raw);
    if (!tree->no_memory && tree->errors->count == before && credentials_check(set, credential, why) != SAGATE_OK)
        tree_complain(tree, at, NULL, "%s", why);
}

static int by_identity(const void *a, const void *b)
{
    const struct candidate *left = a, *right = b;
    int order = strcmp(left->credential.identity, right->credential.identity);
    return order != 0 ? order : (left->index > right->index) - (left->index < right->index);
}

// In sorted order, so that each is added at the end.
static void add_all(struct tree *tree, const config_setting_t *root, struct candidate *candidates, size_t count,
                    struct credentials *set)
{
    char why[CREDENTIALS_ERROR_MAX];
    qsort(candidates, count, sizeof *candidates, by_identity);
    for (size_t i = 0; i < count && !tree->no_memory; i++) {
        int result = credentials_add(set, &candidates[i].credential, why);
        if (result == SAGATE_EEXISTS)
            tree_complain(tree, tree_element(tree, root, "credentials", candidates[i].index), "identity",
                          "the same identity stands in credentials[%zu]", candidates[i - 1].index);
        else if (result != SAGATE_OK)
            tree->no_memory = true;
    }
}

static void read_list(struct tree *tree, const struct redaction *r, struct credentials *set)
{
    const config_setting_t *root = config_root_setting(&tree->tree);
    struct top top;
    tree_read(tree, root, &top_group, &top, all_groups);
    set->allow_short_keys = top.allow_short_keys;
    const config_setting_t *list = config_setting_get_member(root, "credentials");
    int type = list == NULL ? CONFIG_TYPE_NONE : config_setting_type(list);
    bool empty = (type == CONFIG_TYPE_LIST || type == CONFIG_TYPE_ARRAY) && config_setting_length(list) == 0;
    size_t count = empty ? 0 : tree_list(tree, root, "credentials", SIZE_MAX, false);
    if (count == 0)
        return;
    struct candidate *candidates = calloc(count, sizeof *candidates);
    if (candidates == NULL) {
        tree->no_memory = true;
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const config_setting_t *at = tree_element(tree, root, "credentials", i);
        candidates[i].index = i;
        if (at != NULL)
            read_one(tree, at, r, set, &candidates[i]);
    }
    if (tree->errors->count == 0 && !tree->no_memory)
        add_all(tree, root, candidates, count, set);
    for (size_t i = 0; i < count; i++) {
        struct credential *credential = &candidates[i].credential;
        secret_free(credential->key);
        struct raw_credential raw = {.identity = credential->identity,
                                     .cse_id = credential->cse_id,
                                     .aes = credential->aes,
                                     .ae_count = credential->ae_count};
        tree_release(&group, &raw);
    }
    free(candidates);
}

static int check_status(int fd, const char *path, uid_t owner, struct config_errors *errors)
{
    struct stat status;
    if (fstat(fd, &status) != 0) {
        config_errors_add(errors, "%s: cannot read the credentials: %s", path, strerror(errno));
        return SAGATE_ESYS;
    }
    if (!S_ISREG(status.st_mode)) {
        config_errors_add(errors, "%s: the credentials are in no regular file", path);
        return SAGATE_EPERM;
    }
    int result = SAGATE_OK;
    if (status.st_uid != 0 && status.st_uid != owner) {
        config_errors_add(errors, "%s: the file belongs to user %u, expected root or user %u: chown %u %s", path,
                          (unsigned)status.st_uid, (unsigned)owner, (unsigned)owner, path);
        result = SAGATE_EPERM;
    }
    if ((status.st_mode & 077) != 0) {
        config_errors_add(errors,
                          "%s: the mode %04o lets group or others read or change keys, expected 0600: chmod 600 %s",
                          path, (unsigned)status.st_mode & 07777U, path);
        result = SAGATE_EPERM;
    }
    return result;
}

static int read_content(int fd, const char *path, struct text *content, struct config_errors *errors)
{
    static const size_t piece = 1 << 16;
    char *buffer = secret_alloc(piece);
    ssize_t got = buffer == NULL ? 0 : 1;
    while (got > 0 && content->len <= CREDENTIALS_FILE_MAX) {
        do {
            got = read(fd, buffer, piece);
        } while (got < 0 && errno == EINTR);
        if (got > 0)
            text_bytes(content, buffer, (size_t)got);
    }
    int result = buffer == NULL || content->failed ? SAGATE_ENOMEM : SAGATE_OK;
    if (got < 0) {
        config_errors_add(errors, "%s: cannot read the credentials: %s", path, strerror(errno));
        result = SAGATE_ESYS;
    } else if (content->len > CREDENTIALS_FILE_MAX) {
        config_errors_add(errors, "%s: the file is larger than 256 MiB", path);
        result = SAGATE_ECONFIG;
    }
    secret_free(buffer);
    return result;
}

int credentials_read(int fd, const char *path, uid_t owner, struct credentials **credentials,
                     struct config_errors *errors)
{
    struct text content = {0};
    struct tree tree = {.errors = errors, .hide_values = true};
    struct redaction redaction = {0};
    struct credentials *set = credentials_new(false);
    *credentials = NULL;
    *errors = (struct config_errors){0};
    int result = set == NULL ? SAGATE_ENOMEM : check_status(fd, path, owner, errors);
    if (result == SAGATE_OK)
        result = read_content(fd, path, &content, errors);
    if (result == SAGATE_OK) {
        redaction.data = content.data == NULL ? "" : content.data;
        redaction.len = content.len;
        redact(&redaction);
        text_bytes(&redaction.text, "", 0);
        result = redaction.failed || redaction.text.failed
                     ? SAGATE_ENOMEM
                     : source_take(&tree.source, path, redaction.text.data, redaction.text.len, errors);
    }
    if (result == SAGATE_OK)
        result = tree_parse(&tree);
    if (result == SAGATE_OK) {
        read_list(&tree, &redaction, set);
        result = tree.no_memory ? SAGATE_ENOMEM : errors->count > 0 ? SAGATE_ECONFIG : SAGATE_OK;
    }
    tree_free(&tree);
    text_free(&redaction.text);
    free(redaction.keys);
    text_free(&content);
    if (result != SAGATE_OK) {
        credentials_free(set);
        set = NULL;
    }
    *credentials = set;
    return result;
}

static void write_key(struct text *out, const struct credential *credential)
{
    static const char digits[] = "0123456789abcdef";
    text_add(out, ", key_hex = \"");
    for (size_t i = 0; i < credential->key_len; i++) {
        text_bytes(out, &digits[credential->key[i] >> 4], 1);
        text_bytes(out, &digits[credential->key[i] & 15], 1);
    }
    text_add(out, "\"");
}

static void write_one(struct text *out, const struct credential *credential)
{
    text_add(out, "    { identity = ");
    text_quoted(out, credential->identity);
    write_key(out, credential);
    if (credential->cse_id != NULL) {
        text_add(out, ", cse_id = ");
        text_quoted(out, credential->cse_id);
    } else {
        text_add(out, ", ae_ids = [");
        for (size_t i = 0; i < credential->ae_count; i++) {
            text_add(out, i == 0 ? " " : ", ");
            text_quoted(out, credential->aes[i]);
        }
        text_add(out, " ]");
    }
    if (credential->expires_at != 0) {
        char when[64];
        struct tm tm;
        time_t time = credential->expires_at;
        if (gmtime_r(&time, &tm) != NULL && strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm) > 0)
            text_add(out, ", expires = \"%s\"", when);
    }
    text_add(out, " }");
}

int credentials_write_fd(int fd, const struct credentials *credentials)
{
    struct text out = {0};
    int result = SAGATE_OK;
    text_add(&out, "# Credentials, written by sagate. Keep this file closed to others.\n");
    if (credentials->allow_short_keys)
        text_add(&out, "allow_short_keys = true;\n");
    text_add(&out, "credentials = (");
    for (size_t i = 0; i < credentials->count; i++) {
        text_add(&out, i == 0 ? "\n" : ",\n");
        write_one(&out, &credentials->entries[i]);
    }
    text_add(&out, "\n);\n");
    if (out.failed)
        result = SAGATE_ENOMEM;
    for (size_t done = 0; result == SAGATE_OK && done < out.len;) {
        ssize_t wrote = write(fd, out.data + done, out.len - done);
        if (wrote >= 0)
            done += (size_t)wrote;
        else if (errno != EINTR)
            result = SAGATE_ESYS;
    }
    int error = errno;
    text_free(&out);
    errno = error;
    return result;
}

static int sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
    if (folder == NULL)
        return SAGATE_ENOMEM;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = fd >= 0 && fsync(fd) == 0 ? SAGATE_OK : SAGATE_ESYS;
    int error = errno;
    if (fd >= 0)
        close(fd);
    free(folder);
    errno = error;
    return result;
}

int credentials_write(const char *path, const struct credentials *credentials)
{
    char *temporary = NULL;
    if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
        return SAGATE_ENOMEM;
    int fd = mkostemp(temporary, O_CLOEXEC); // mode 0600
    int result = fd < 0 ? SAGATE_ESYS : credentials_write_fd(fd, credentials);
    if (result == SAGATE_OK && (fsync(fd) != 0 || rename(temporary, path) != 0))
        result = SAGATE_ESYS;
    int error = errno;
    if (fd >= 0) {
        close(fd);
        if (result != SAGATE_OK)
            (void)unlink(temporary);
    }
    free(temporary);
    errno = error;
    return result == SAGATE_OK ? sync_folder(path) : result;
}
