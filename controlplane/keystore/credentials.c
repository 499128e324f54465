// The set of credentials: what a valid one is, search, change. SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/keystore/credentials.h"

#include "common/error.h"
#include "common/onem2m.h"
#include "common/secret.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void clear(struct credential *credential)
{
    free(credential->identity);
    secret_free(credential->key);
    free(credential->cse_id);
    for (size_t i = 0; i < credential->ae_count; i++)
        free(credential->aes[i]);
    free(credential->aes);
    *credential = (struct credential){0};
}

struct credentials *credentials_new(bool allow_short_keys)
{
    struct credentials *credentials = calloc(1, sizeof *credentials);
    if (credentials != NULL)
        credentials->allow_short_keys = allow_short_keys;
    return credentials;
}

void credentials_free(struct credentials *credentials)
{
    if (credentials == NULL)
        return;
    for (size_t i = 0; i < credentials->count; i++)
        clear(&credentials->entries[i]);
    free(credentials->entries);
    free(credentials);
}

// The length of the character of UTF-8 at `c` (RFC 3629: no surrogates, no long forms), 0 when there is none.
static size_t utf8_length(const uint8_t *c, size_t left, uint32_t *code)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = c[0] < 0x80             ? 1
                 : (c[0] & 0xe0) == 0xc0 ? 2
                 : (c[0] & 0xf0) == 0xe0 ? 3
                 : (c[0] & 0xf8) == 0xf0 ? 4
                                         : 0;
    if (len == 0 || len > left)
        return 0;
    *code = len == 1 ? c[0] : c[0] & (0x7fU >> len);
    for (size_t i = 1; i < len; i++) {
        if ((c[i] & 0xc0) != 0x80)
            return 0;
        *code = *code << 6 | (c[i] & 0x3fU);
    }
    bool valid = *code >= smallest[len] && *code <= 0x10ffff && (*code < 0xd800 || *code > 0xdfff);
    return valid ? len : 0;
}

static bool identity_ok(const char *identity)
{
    const uint8_t *c = (const uint8_t *)identity;
    size_t left = strlen(identity);
    if (left == 0 || left > CREDENTIALS_IDENTITY_MAX)
        return false;
    while (left > 0) {
        uint32_t code = 0;
        size_t len = utf8_length(c, left, &code);
        if (len == 0 || code < 0x20 || (code >= 0x7f && code <= 0x9f))
            return false;
        c += len;
        left -= len;
    }
    return true;
}

// Unreserved characters of RFC 3986, and the comma that a CSE in the field puts into the AE-IDs that it assigns.
static bool characters_ok(const char *text, const char *more)
{
    for (const char *c = text; *c != '\0'; c++) {
        bool known = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
                     strchr("._~-", *c) != NULL || strchr(more, *c) != NULL;
        if (!known)
            return false;
    }
    return true;
}

// The letters "C" and "S" alone are wishes and no identifiers (TS-0001 10.2.2.2); patterns as in TS-0001 9.6.29.
bool credential_ae_ok(const char *stem)
{
    size_t len = strlen(stem);
    bool begins = stem[0] == '*' || ((stem[0] == 'C' || stem[0] == 'S') && len > 1);
    return begins && len <= ONEM2M_ID_MAX && characters_ok(stem, ",*");
}

static bool cse_id_ok(const char *cse_id)
{
    return cse_id[0] == '/' && cse_id[1] != '\0' && strlen(cse_id) <= 128 && characters_ok(cse_id + 1, "");
}

// NULL, or what is wrong.
static const char *judge(const struct credentials *credentials, const struct credential *credential)
{
    if (credential->identity == NULL || !identity_ok(credential->identity))
        return "'identity' is no UTF-8 text of 1 to 512 bytes without control characters";
    if (credential->key == NULL || credential->key_len == 0 || credential->key_len > CREDENTIALS_KEY_MAX)
        return "the key has no length from 1 to 64 bytes";
    if (credential->key_len < CREDENTIALS_KEY_SHORT && !credentials->allow_short_keys)
        return "the key is shorter than 16 bytes; expected a longer one, or allow_short_keys = true at the top of the "
               "credentials file (tests only)";
    if (credential->cse_id == NULL && credential->ae_count == 0)
        return "the credential says not who its holder is; expected 'ae_ids' or 'cse_id'";
    if (credential->cse_id != NULL && credential->ae_count > 0)
        return "the credential has 'ae_ids' and 'cse_id'; expected one of them";
    if (credential->cse_id != NULL && !cse_id_ok(credential->cse_id))
        return "'cse_id' is no SP-relative CSE-ID such as \"/mn1\"";
    if (credential->ae_count > PRINCIPAL_AES_MAX)
        return "'ae_ids' has more than 256 entries";
    for (size_t i = 0; i < credential->ae_count; i++) {
        if (credential->aes[i] == NULL || !credential_ae_ok(credential->aes[i]))
            return "'ae_ids' has an entry that is no AE-ID-Stem such as \"Cdev1\" and no pattern such as \"C*\"";
        for (size_t k = 0; k < i; k++) {
            if (strcmp(credential->aes[i], credential->aes[k]) == 0)
                return "'ae_ids' has the same entry twice";
        }
    }
    bool in_range = credential->expires_at >= 0 && credential->expires_at <= 253402300799;
    return in_range ? NULL : "'expires' lies before 1970 or after the year 9999";
}

int credentials_check(const struct credentials *credentials, const struct credential *credential,
                      char why[CREDENTIALS_ERROR_MAX])
{
    const char *wrong = judge(credentials, credential);
    if (wrong == NULL)
        return SAGATE_OK;
    (void)snprintf(why, CREDENTIALS_ERROR_MAX, "%s", wrong);
    return SAGATE_EINVAL;
}

static int compare(const char *identity, struct slice wanted)
{
    size_t len = strlen(identity);
    int order = memcmp(identity, wanted.data, len < wanted.len ? len : wanted.len);
    return order != 0 ? order : (len > wanted.len) - (len < wanted.len);
}

// Index of the identity, or of where it belongs.
static size_t position(const struct credentials *credentials, struct slice identity, bool *found)
{
    size_t low = 0, high = credentials->count;
    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare(credentials->entries[middle].identity, identity);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct credential *credentials_find(const struct credentials *credentials, struct slice identity)
{
    bool found = false;
    size_t at = identity.data == NULL ? 0 : position(credentials, identity, &found);
    return found ? &credentials->entries[at] : NULL;
}

bool credential_is_expired(const struct credential *credential, int64_t now)
{
    return credential->expires_at != 0 && credential->expires_at <= now;
}

static bool copy(struct credential *to, const struct credential *from)
{
    *to = (struct credential){.key_len = from->key_len, .expires_at = from->expires_at};
    to->identity = strdup(from->identity);
    to->key = secret_alloc(from->key_len);
    if (from->cse_id != NULL)
        to->cse_id = strdup(from->cse_id);
    if (from->ae_count > 0)
        to->aes = calloc(from->ae_count, sizeof *to->aes);
    bool ok = to->identity != NULL && to->key != NULL && (from->cse_id == NULL || to->cse_id != NULL) &&
              (from->ae_count == 0 || to->aes != NULL);
    for (size_t i = 0; ok && i < from->ae_count; i++) {
        to->aes[i] = strdup(from->aes[i]);
        to->ae_count = i + 1;
        ok = to->aes[i] != NULL;
    }
    if (ok)
        memcpy(to->key, from->key, from->key_len);
    else
        clear(to);
    return ok;
}

static bool grow(struct credentials *credentials)
{
    size_t count = credentials->count;
    // Room is made when the count is a power of two, so that no capacity need be kept.
    if (count != 0 && (count & (count - 1)) != 0)
        return true;
    struct credential *entries =
        reallocarray(credentials->entries, count == 0 ? 1 : count * 2, sizeof *credentials->entries);
    if (entries != NULL)
        credentials->entries = entries;
    return entries != NULL;
}

int credentials_add(struct credentials *credentials, const struct credential *credential,
                    char why[CREDENTIALS_ERROR_MAX])
{
    struct credential entry;
    bool found = false;
    if (credentials_check(credentials, credential, why) != SAGATE_OK)
        return SAGATE_EINVAL;
    size_t at = position(credentials, slice_text(credential->identity), &found);
    if (found) {
        (void)snprintf(why, CREDENTIALS_ERROR_MAX, "a credential with this identity exists already");
        return SAGATE_EEXISTS;
    }
    if (!grow(credentials) || !copy(&entry, credential)) {
        (void)snprintf(why, CREDENTIALS_ERROR_MAX, "%s", sagate_strerror(SAGATE_ENOMEM));
        return SAGATE_ENOMEM;
    }
    memmove(&credentials->entries[at + 1], &credentials->entries[at],
            (credentials->count - at) * sizeof *credentials->entries);
    credentials->entries[at] = entry;
    credentials->count++;
    credentials->short_keys += entry.key_len < CREDENTIALS_KEY_SHORT;
    return SAGATE_OK;
}

int credentials_remove(struct credentials *credentials, struct slice identity)
{
    bool found = false;
    size_t at = identity.data == NULL ? 0 : position(credentials, identity, &found);
    if (!found)
        return SAGATE_ENOTFOUND;
    credentials->short_keys -= credentials->entries[at].key_len < CREDENTIALS_KEY_SHORT;
    clear(&credentials->entries[at]);
    credentials->count--;
    memmove(&credentials->entries[at], &credentials->entries[at + 1],
            (credentials->count - at) * sizeof *credentials->entries);
    return SAGATE_OK;
}

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int credentials_parse_hex(const char *hex, size_t len, uint8_t *key, size_t *key_len)
{
    if (len == 0 || len % 2 != 0 || len > (size_t)2 * CREDENTIALS_KEY_MAX)
        return SAGATE_EINVAL;
    for (size_t i = 0; i < len; i += 2) {
        int high = digit(hex[i]), low = digit(hex[i + 1]);
        if (high < 0 || low < 0) {
            secret_zero(key, CREDENTIALS_KEY_MAX);
            return SAGATE_EINVAL;
        }
        key[i / 2] = (uint8_t)(high << 4 | low);
    }
    *key_len = len / 2;
    return SAGATE_OK;
}

int credentials_parse_time(const char *text, int64_t *seconds)
{
    static const char form[] = "dddd-dd-ddTdd:dd:ddZ";
    struct tm tm = {0}, again;
    if (strlen(text) != sizeof form - 1)
        return SAGATE_EINVAL;
    for (size_t i = 0; i < sizeof form - 1; i++) {
        if (form[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
            return SAGATE_EINVAL;
    }
    if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2dZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
               &tm.tm_sec) != 6)
        return SAGATE_EINVAL;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    again = tm;
    time_t time = timegm(&again);
    // timegm takes the 31st of February for a day in March: what it changed was no date.
    if (time < 1 || again.tm_year != tm.tm_year || again.tm_mon != tm.tm_mon || again.tm_mday != tm.tm_mday ||
        again.tm_hour != tm.tm_hour || again.tm_min != tm.tm_min || again.tm_sec != tm.tm_sec)
        return SAGATE_EINVAL;
    *seconds = time;
    return SAGATE_OK;
}
