// Key files and association files.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/device/association.h"

#include "common/error.h"
#include "common/file.h"
#include "common/secret.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int nibble(uint8_t digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    digit |= 0x20;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

static struct slice trim(struct slice text)
{
    while (text.len > 0 && memchr(" \t\r\n", text.data[0], 4) != NULL)
        text = slice_of(text.data + 1, text.len - 1);
    while (text.len > 0 && memchr(" \t\r\n", text.data[text.len - 1], 4) != NULL)
        text.len--;
    return text;
}

int association_parse_key(struct slice text, uint8_t key[ASSOCIATION_KEY_MAX])
{
    text = trim(text);
    if (text.len == 0 || text.len % 2 != 0 || text.len > 2 * (size_t)ASSOCIATION_KEY_MAX)
        return SAGATE_EMALFORMED;
    for (size_t i = 0; i < text.len; i += 2) {
        int high = nibble(text.data[i]);
        int low = nibble(text.data[i + 1]);
        if (high < 0 || low < 0) {
            secret_zero(key, ASSOCIATION_KEY_MAX);
            return SAGATE_EMALFORMED;
        }
        key[i / 2] = (uint8_t)(high << 4 | low);
    }
    return (int)(text.len / 2);
}

static bool parse_line(struct slice line, struct association *out)
{
    line = trim(line);
    if (line.len == 0 || line.data[0] == '#')
        return true;
    const uint8_t *equals = memchr(line.data, '=', line.len);
    if (equals == NULL)
        return false;
    struct slice name = trim(slice_of(line.data, (size_t)(equals - line.data)));
    struct slice value = trim(slice_of(equals + 1, (size_t)(line.data + line.len - equals) - 1));
    if (slice_is(name, "identity") && out->identity[0] == '\0' && value.len > 0 &&
        value.len <= ASSOCIATION_IDENTITY_MAX && memchr(value.data, 0, value.len) == NULL) {
        memcpy(out->identity, value.data, value.len);
        out->identity[value.len] = '\0';
        return true;
    }
    int len = slice_is(name, "key") && out->key_len == 0 ? association_parse_key(value, out->key) : 0;
    out->key_len = len > 0 ? (size_t)len : out->key_len;
    return len > 0;
}

int association_parse(struct slice text, struct association *out)
{
    bool good = true;
    secret_zero(out, sizeof *out);
    while (good && text.len > 0) {
        const uint8_t *end = memchr(text.data, '\n', text.len);
        size_t len = end == NULL ? text.len : (size_t)(end - text.data) + 1;
        good = parse_line(slice_of(text.data, len), out);
        text = slice_of(text.data + len, text.len - len);
    }
    if (good && out->identity[0] != '\0' && out->key_len > 0)
        return SAGATE_OK;
    secret_zero(out, sizeof *out);
    return SAGATE_EMALFORMED;
}

// Reads a file and lets `parse` look at it; its text is wiped.
static int read_with(const char *path, struct association *out, int (*parse)(struct slice, struct association *))
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t *text = secret_alloc(ASSOCIATION_FILE_MAX);
    int rc = SAGATE_ESYS;
    if (fd >= 0 && text != NULL) {
        ssize_t len = file_read(fd, text, ASSOCIATION_FILE_MAX);
        rc = len < 0 ? (int)len : parse(slice_of(text, (size_t)len), out);
    }
    secret_free(text);
    if (fd >= 0)
        close(fd);
    return rc;
}

static int parse_only_key(struct slice text, struct association *out)
{
    int len = association_parse_key(text, out->key);
    out->key_len = len > 0 ? (size_t)len : 0;
    return len > 0 ? SAGATE_OK : SAGATE_EMALFORMED;
}

int association_read(const char *path, struct association *out)
{
    return read_with(path, out, association_parse);
}

int association_read_key(const char *path, struct association *out)
{
    return read_with(path, out, parse_only_key);
}

int association_write(const char *path, const struct association *association)
{
    char *text = secret_alloc(ASSOCIATION_FILE_MAX);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool written = false;
    if (text != NULL && fd >= 0 && fchmod(fd, 0600) == 0) {
        int len = snprintf(text, ASSOCIATION_FILE_MAX, "identity = %s\nkey = ", association->identity);
        for (size_t i = 0; i < association->key_len; i++)
            len += snprintf(text + len, ASSOCIATION_FILE_MAX - (size_t)len, "%02x", association->key[i]);
        text[len++] = '\n';
        written = write(fd, text, (size_t)len) == len;
    }
    if (fd >= 0)
        written = close(fd) == 0 && written;
    secret_free(text);
    return written ? SAGATE_OK : SAGATE_ESYS;
}
