// Fuzz target: a configuration text; what is taken can be described, and its own text gives the same again.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "controlplane/config/config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
const char *__lsan_default_suppressions(void);

// libconfig 1.5 loses the strings of a list that a syntax error cuts short.
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig.so";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct config *config = NULL, *again = NULL;
    struct config_errors errors;
    char *text = malloc(len + 1);
    if (text == NULL)
        return 0;
    if (len > 0)
        memcpy(text, data, len);
    text[len] = '\0';
    int result = config_parse(text, &config, &errors);
    if ((result == SAGATE_OK) != (errors.count == 0) || (result == SAGATE_OK) != (config != NULL))
        abort();
    config_errors_free(&errors);
    if (config != NULL) {
        if (config_parse(config->text, &again, &errors) != SAGATE_OK || strcmp(config->text, again->text) != 0)
            abort();
        free(config_describe(config));
    }
    config_free(again);
    config_free(config);
    free(text);
    return 0;
}
