// A file with the identities and keys of devices, as "sagate-tef key add --output" writes it.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "perf/load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CREDENTIALS_STEP = 1024, LINE_MAX_BYTES = 1024 };

unsigned load_key_of(const char *hex, uint8_t key[LOAD_KEY_MAX])
{
    unsigned len = 0;
    for (; hex[0] != '\0' && hex[1] != '\0' && len < LOAD_KEY_MAX; hex += 2) {
        const char pair[3] = {hex[0], hex[1], '\0'};
        key[len++] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return len;
}

static void add(struct load_options *options, const char *identity, const char *hex)
{
    if (options->identities % CREDENTIALS_STEP == 0) {
        size_t count = (size_t)options->identities + CREDENTIALS_STEP;
        struct load_credential *more = realloc(options->credentials, count * sizeof *more);
        if (more == NULL)
            load_fail("memory is short");
        options->credentials = more;
    }
    struct load_credential *credential = &options->credentials[options->identities++];
    *credential = (struct load_credential){.identity = strdup(identity)};
    if (credential->identity == NULL)
        load_fail("memory is short");
    credential->key_len = load_key_of(hex, credential->key);
}

void load_credentials_read(struct load_options *options)
{
    char line[LINE_MAX_BYTES];
    FILE *file = fopen(options->credentials_file, "r");
    if (file == NULL)
        load_fail("%s: %s", options->credentials_file, strerror(errno));
    options->identities = 0;
    // cppcheck-suppress nullPointerRedundantCheck // load_fail does not return
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\r\n")] = '\0';
        char *gap = strchr(line, ' ');
        if (gap == NULL || gap == line || gap - line >= LOAD_TEXT_MAX)
            load_fail("%s: line %u is not \"IDENTITY HEXKEY\"", options->credentials_file, options->identities + 1);
        *gap = '\0';
        add(options, line, gap + 1);
    }
    (void)fclose(file);
    if (options->identities == 0)
        load_fail("%s is empty", options->credentials_file);
    options->identity = options->credentials[0].identity;
}

void load_credentials_free(struct load_options *options)
{
    for (unsigned i = 0; options->credentials != NULL && i < options->identities; i++)
        free(options->credentials[i].identity);
    free(options->credentials);
    options->credentials = NULL;
}
