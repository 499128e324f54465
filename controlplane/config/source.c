// Reading a configuration file and its includes into one text. The little lexer knows libconfig's comments and strings,
// since "@include" inside them is none. SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/config/source.h"

#include "common/error.h"
#include "common/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct reader {
    struct source *source;
    const char *folder; // NULL: @include is an error
    struct config_errors *errors;
    unsigned open[SOURCE_DEPTH_MAX]; // files being read, to find circles
    unsigned depth;
};

void config_errors_add(struct config_errors *errors, const char *format, ...)
{
    errors->count++;
    if (errors->count > CONFIG_ERRORS_SHOWN)
        return;
    va_list arguments;
    va_start(arguments, format);
    char *line = NULL, *joined = NULL;
    if (errors->count == CONFIG_ERRORS_SHOWN)
        line = strdup("further errors are not shown");
    else if (vasprintf(&line, format, arguments) < 0)
        line = NULL;
    va_end(arguments);
    if (line == NULL)
        return;
    if (errors->text == NULL) {
        errors->text = line;
        return;
    }
    if (asprintf(&joined, "%s\n%s", errors->text, line) >= 0) {
        free(errors->text);
        errors->text = joined;
    }
    free(line);
}

void config_errors_free(struct config_errors *errors)
{
    free(errors->text);
    *errors = (struct config_errors){0};
}

static bool add_line(struct source *source, unsigned file, unsigned line)
{
    if (source->line_count == source->line_cap) {
        size_t cap = source->line_cap == 0 ? 256 : source->line_cap * 2;
        struct source_line *lines = reallocarray(source->lines, cap, sizeof *lines);
        if (lines == NULL) {
            source->failed = true;
            return false;
        }
        source->lines = lines;
        source->line_cap = cap;
    }
    source->lines[source->line_count++] = (struct source_line){.file = file, .line = line};
    return true;
}

// Index of the file's name, which is added when it is new.
static unsigned add_file(struct source *source, const char *name)
{
    for (size_t i = 0; i < source->file_count; i++) {
        if (strcmp(source->files[i], name) == 0)
            return (unsigned)i;
    }
    char **files = reallocarray(source->files, source->file_count + 1, sizeof *files);
    char *copy = strdup(name);
    if (files != NULL)
        source->files = files;
    if (files == NULL || copy == NULL) {
        free(copy);
        source->failed = true;
        return 0;
    }
    files[source->file_count] = copy;
    return (unsigned)source->file_count++;
}

static int read_all(const char *path, struct text *out, const char **why)
{
    char buffer[8192];
    struct stat status;
    // Non-blocking, so that a FIFO in the place of the file cannot hold the process.
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    *why = NULL;
    if (fd < 0) {
        *why = strerror(errno);
        return SAGATE_ECONFIG;
    }
    if (fstat(fd, &status) != 0) {
        *why = strerror(errno);
    } else if (!S_ISREG(status.st_mode)) {
        *why = "it is no regular file";
    }
    while (*why == NULL) {
        ssize_t got = read(fd, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            *why = strerror(errno);
        if (got <= 0)
            break;
        text_bytes(out, buffer, (size_t)got);
        if (out->len > SOURCE_BYTES_MAX)
            *why = "it is larger than 4 MiB";
    }
    secret_zero(buffer, sizeof buffer);
    close(fd);
    return *why == NULL ? SAGATE_OK : SAGATE_ECONFIG;
}

// Where the lexer is; `line` counts in the file, and `begin` is where what is open now began.
struct position {
    const char *data;
    size_t len, at;
    unsigned file, line, begin;
    bool line_start; // only blanks so far in this line
};

static void copy(struct reader *reader, struct position *p, size_t count)
{
    for (size_t i = 0; i < count && p->at < p->len; i++) {
        char c = p->data[p->at++];
        text_bytes(&reader->source->text, &c, 1);
        if (c == '\n') {
            p->line++;
            p->line_start = true;
            (void)add_line(reader->source, p->file, p->line);
        } else if (c != ' ' && c != '\t') {
            p->line_start = false;
        }
    }
}

static bool follows(const struct position *p, const char *text)
{
    size_t len = strlen(text);
    return p->len - p->at >= len && memcmp(p->data + p->at, text, len) == 0;
}

static void copy_comment(struct reader *reader, struct position *p)
{
    p->begin = p->line;
    copy(reader, p, 2);
    while (p->at < p->len && !follows(p, "*/"))
        copy(reader, p, 1);
    if (p->at == p->len)
        config_errors_add(reader->errors, "%s:%u: the comment that begins here never ends; expected \"*/\"",
                          reader->source->files[p->file], p->begin);
    copy(reader, p, 2);
}

static void copy_string(struct reader *reader, struct position *p)
{
    p->begin = p->line;
    copy(reader, p, 1);
    while (p->at < p->len && p->data[p->at] != '"')
        copy(reader, p, p->data[p->at] == '\\' ? 2 : 1);
    if (p->at == p->len)
        config_errors_add(reader->errors, "%s:%u: the string that begins here never ends; expected '\"'",
                          reader->source->files[p->file], p->begin);
    copy(reader, p, 1);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name(char c, bool first)
{
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '*';
    return letter || (!first && (is_digit(c) || c == '_' || c == '-'));
}

// libconfig cuts an integer without the suffix L to 32 bits and says nothing: a wrong number would be taken for a right
// one. The suffix is added here where it is needed.
static void copy_integer(struct reader *reader, struct position *p)
{
    size_t end = p->at;
    bool fraction = p->at > 0 && p->data[p->at - 1] == '.';
    while (end < p->len && is_digit(p->data[end]))
        end++;
    uint64_t value = 0;
    for (size_t i = p->at; i < end && value <= INT32_MAX; i++)
        value = value * 10 + (uint64_t)(p->data[i] - '0');
    copy(reader, p, end - p->at);
    if (value > INT32_MAX && !fraction && (p->at == p->len || strchr(".eELxX", p->data[p->at]) == NULL))
        text_bytes(&reader->source->text, "L", 1);
}

static void expand(struct reader *reader, unsigned file, const char *data, size_t len);

static void include(struct reader *reader, const struct position *p, const char *name)
{
    struct source *source = reader->source;
    const char *from = source->files[p->file], *why = NULL;
    char *path = NULL;
    struct text content = {0};
    if (reader->folder == NULL) {
        config_errors_add(reader->errors, "%s:%u: @include is not allowed here", from, p->line);
        return;
    }
    if (reader->depth == SOURCE_DEPTH_MAX) {
        config_errors_add(reader->errors, "%s:%u: @include \"%s\": more than %d files deep", from, p->line, name,
                          SOURCE_DEPTH_MAX);
        return;
    }
    if (asprintf(&path, "%s%s%s", name[0] == '/' ? "" : reader->folder, name[0] == '/' ? "" : "/", name) < 0) {
        source->failed = true;
        return;
    }
    unsigned file = add_file(source, path);
    for (unsigned i = 0; i < reader->depth && !source->failed; i++) {
        if (reader->open[i] == file)
            why = "the file includes itself";
    }
    if (why != NULL || read_all(path, &content, &why) != SAGATE_OK)
        config_errors_add(reader->errors,
                          "%s:%u: cannot include \"%s\": %s (names are relative to the folder of the "
                          "main configuration file)",
                          from, p->line, path, why);
    else if (!source->failed && !content.failed)
        expand(reader, file, content.data == NULL ? "" : content.data, content.len);
    source->failed |= content.failed;
    text_free(&content);
    free(path);
}

// At "@include" that begins a line: puts the file in its place. False when it has another form.
static bool take_include(struct reader *reader, struct position *p)
{
    size_t at = p->at + strlen("@include");
    char name[1024];
    size_t len = 0, blanks = at;
    while (at < p->len && (p->data[at] == ' ' || p->data[at] == '\t'))
        at++;
    if (at == blanks || at == p->len || p->data[at] != '"')
        return false;
    for (at++; at < p->len && p->data[at] != '"' && p->data[at] != '\n' && len < sizeof name - 1; at++)
        name[len++] = (unsigned char)p->data[at] < 0x20 ? '?' : p->data[at];
    if (at == p->len || p->data[at] != '"' || len == 0)
        return false;
    name[len] = '\0';
    p->at = at + 1;
    include(reader, p, name);
    // What follows in the line of the @include is this file's again.
    text_bytes(&reader->source->text, "\n", 1);
    (void)add_line(reader->source, p->file, p->line);
    p->line_start = false;
    return true;
}

static void expand(struct reader *reader, unsigned file, const char *data, size_t len)
{
    struct source *source = reader->source;
    struct position p = {.data = data, .len = len, .file = file, .line = 1, .line_start = true};
    if (memchr(data, '\0', len) != NULL) {
        config_errors_add(reader->errors, "%s: the file has a NUL byte, so it is no text", source->files[file]);
        return;
    }
    reader->open[reader->depth++] = file;
    if (source->line_count > 0)
        text_bytes(&source->text, "\n", 1);
    (void)add_line(source, file, 1);
    while (p.at < p.len && !source->failed) {
        if (reader->folder != NULL && source->text.len > SOURCE_BYTES_MAX) {
            config_errors_add(reader->errors, "%s:%u: the configuration is larger than 4 MiB", source->files[file],
                              p.line);
            break;
        }
        if (follows(&p, "/*")) {
            copy_comment(reader, &p);
        } else if (follows(&p, "//") || data[p.at] == '#') {
            while (p.at < p.len && data[p.at] != '\n')
                copy(reader, &p, 1);
        } else if (data[p.at] == '"') {
            copy_string(reader, &p);
        } else if (is_name(data[p.at], true)) {
            while (p.at < p.len && is_name(data[p.at], false))
                copy(reader, &p, 1);
        } else if (is_digit(data[p.at])) {
            copy_integer(reader, &p);
        } else if (!p.line_start || !follows(&p, "@include")) {
            copy(reader, &p, 1);
        } else if (!take_include(reader, &p)) {
            config_errors_add(reader->errors, "%s:%u: malformed @include; expected @include \"file name\"",
                              source->files[file], p.line);
            copy(reader, &p, 1);
        }
    }
    // libconfig takes a comment in the last line only when a line break ends it.
    text_bytes(&source->text, "\n", 1);
    (void)add_line(source, file, p.line);
    reader->depth--;
}

static int outcome(const struct source *source, const struct config_errors *errors, size_t before)
{
    if (source->failed || source->text.failed)
        return SAGATE_ENOMEM;
    return errors->count > before ? SAGATE_ECONFIG : SAGATE_OK;
}

int source_read(struct source *source, const char *path, const char *folder, struct config_errors *errors)
{
    struct reader reader = {.source = source, .folder = folder, .errors = errors};
    struct text content = {0};
    const char *why = NULL;
    size_t before = errors->count;
    *source = (struct source){0};
    unsigned file = add_file(source, path);
    if (read_all(path, &content, &why) != SAGATE_OK)
        config_errors_add(errors, "%s: cannot read the configuration: %s", path, why);
    else if (!source->failed && !content.failed)
        expand(&reader, file, content.data == NULL ? "" : content.data, content.len);
    source->failed |= content.failed;
    text_free(&content);
    return outcome(source, errors, before);
}

int source_take(struct source *source, const char *label, const char *data, size_t len, struct config_errors *errors)
{
    struct reader reader = {.source = source, .errors = errors};
    size_t before = errors->count;
    *source = (struct source){0};
    unsigned file = add_file(source, label);
    if (!source->failed)
        expand(&reader, file, data, len);
    return outcome(source, errors, before);
}

struct source_line source_locate(const struct source *source, unsigned line)
{
    if (line == 0 || line > source->line_count)
        return (struct source_line){0};
    return source->lines[line - 1];
}

void source_free(struct source *source)
{
    for (size_t i = 0; i < source->file_count; i++)
        free(source->files[i]);
    free(source->files);
    free(source->lines);
    text_free(&source->text);
    *source = (struct source){0};
}
