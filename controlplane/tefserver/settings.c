// From the file to checked settings, with the tables and messages of the gateway's own configuration.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/tefserver/settings.h"

#include "common/derive.h"
#include "common/error.h"
#include "controlplane/config/tree.h"
#include "controlplane/keystore/keystore.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// Texts that become something else.
struct raw {
    char *metrics, *store_key;
};
struct raw_function {
    char *address;
    int coap;
};
struct raw_mef {
    char *address, *psk;
    int coap, derived;
};

static const struct tree_choice log_levels[] = {{"error", LOG_LEVEL_ERROR},
                                                {"warning", LOG_LEVEL_WARNING},
                                                {"info", LOG_LEVEL_INFO},
                                                {"debug", LOG_LEVEL_DEBUG},
                                                {NULL, 0}};
static const struct tree_choice recipes[] = {
    {"named", SETTINGS_RECIPE_NAMED}, {"usage", SETTINGS_RECIPE_USAGE}, {NULL, 0}};
static const struct tree_choice kinds[] = {{"maf", TEF_MAF}, {"mef", TEF_MEF}, {NULL, 0}};
static const struct tree_choice bindings[] = {{"http", false}, {"coap", true}, {NULL, 0}};
static const struct tree_choice kms[] = {{"registered", false}, {"derived", true}, {NULL, 0}};
static const struct tree_choice versions[] = {{"1.2", CONFIG_TLS_1_2}, {"1.3", CONFIG_TLS_1_3}, {NULL, 0}};

static bool fqdn_ok(const char *text)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
    size_t len = strlen(text);
    return len > 0 && len <= 253 && strspn(text, letters) == len && text[0] != '.' && text[len - 1] != '.';
}

// RFC 5705 4: printable.
static bool label_ok(const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= ' ' || text[i] > '~')
            return false;
    }
    return len <= 64;
}

struct parsed {
    struct settings settings;
    struct raw raw;
};
struct parsed_function {
    struct settings_function function;
    struct raw_function raw;
};
struct parsed_mef {
    struct settings_mef mef;
    struct raw_mef raw;
};

#define AT(s, m) .offset = offsetof(s, m)
#define NUMBER(m, least, most, preset)                                                                 \
    {                                                                                                  \
        .name = #m, .kind = TREE_NUMBER, AT(struct settings_limits, m), .min = (least), .max = (most), \
        .default_value = (preset)                                                                      \
    }

static const struct tree_setting root_table[] = {
    {.name = "store", .kind = TREE_PATH, AT(struct parsed, settings.store), .default_text = "tef.db"},
    {.name = "store_key", .kind = TREE_TEXT, .flags = TREE_MANDATORY, AT(struct parsed, raw.store_key)},
    {.name = "audit_log",
     .kind = TREE_PATH,
     .flags = TREE_EMPTY_OK,
     AT(struct parsed, settings.audit_log),
     .default_text = "tef-audit.jsonl"},
    {.name = "metrics",
     .kind = TREE_TEXT,
     .flags = TREE_EMPTY_OK,
     AT(struct parsed, raw.metrics),
     .default_text = "127.0.0.1:9471"},
    {.name = "log_level",
     .kind = TREE_CHOICE,
     AT(struct parsed, settings.log_level),
     .choices = log_levels,
     .default_value = LOG_LEVEL_INFO},
    {.name = "answer_delay_milliseconds",
     .kind = TREE_NUMBER,
     AT(struct parsed, settings.answer_delay_milliseconds),
     .max = 60000},
    {.name = "credential_recipe",
     .kind = TREE_CHOICE,
     AT(struct parsed, settings.credential_recipe),
     .choices = recipes,
     .default_value = SETTINGS_RECIPE_NAMED},
    {.name = "functions", .kind = TREE_NESTED},
    {.name = "mefs", .kind = TREE_NESTED},
    {.name = "limits", .kind = TREE_NESTED},
};

static const struct tree_setting function_table[] = {
    {.name = "kind",
     .kind = TREE_CHOICE,
     AT(struct parsed_function, function.kind),
     .choices = kinds,
     .default_value = TEF_MAF},
    {.name = "fqdn",
     .kind = TREE_TEXT,
     .flags = TREE_MANDATORY,
     AT(struct parsed_function, function.fqdn),
     .valid = fqdn_ok,
     .expected = "a domain name"},
    {.name = "address", .kind = TREE_TEXT, .flags = TREE_MANDATORY, AT(struct parsed_function, raw.address)},
    {.name = "binding",
     .kind = TREE_CHOICE,
     AT(struct parsed_function, raw.coap),
     .choices = bindings,
     .default_value = false},
    {.name = "psk", .kind = TREE_BOOL, AT(struct parsed_function, function.psk), .default_value = true},
    {.name = "chain_file",
     .kind = TREE_PATH,
     .flags = TREE_EMPTY_OK,
     AT(struct parsed_function, function.chain_file),
     .default_text = ""},
    {.name = "key_file",
     .kind = TREE_PATH,
     .flags = TREE_EMPTY_OK,
     AT(struct parsed_function, function.key_file),
     .default_text = ""},
    {.name = "trust_anchors_file",
     .kind = TREE_PATH,
     .flags = TREE_EMPTY_OK,
     AT(struct parsed_function, function.trust_anchors_file),
     .default_text = ""},
    {.name = "version_max",
     .kind = TREE_CHOICE,
     AT(struct parsed_function, function.version_max),
     .choices = versions,
     .default_value = CONFIG_TLS_1_3},
    {.name = "export_label",
     .kind = TREE_TEXT,
     .flags = TREE_EMPTY_OK,
     AT(struct parsed_function, function.export_label),
     .default_text = "",
     .valid = label_ok,
     .expected = "at most 64 printable characters"},
};

// The place is a part of a designator, which takes no parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define MEF_TEXT(m, k, at)                                                                            \
    {                                                                                                 \
        .name = #m, .kind = (k), .flags = TREE_EMPTY_OK, .offset = offsetof(struct parsed_mef, at.m), \
        .default_text = ""                                                                            \
    }
// NOLINTEND(bugprone-macro-parentheses)

static const struct tree_setting mef_table[] = {
    {.name = "fqdn",
     .kind = TREE_TEXT,
     .flags = TREE_MANDATORY,
     AT(struct parsed_mef, mef.fqdn),
     .valid = fqdn_ok,
     .expected = "a domain name"},
    {.name = "km", .kind = TREE_CHOICE, AT(struct parsed_mef, raw.derived), .choices = kms, .default_value = true},
    MEF_TEXT(address, TREE_TEXT, raw),
    {.name = "binding",
     .kind = TREE_CHOICE,
     AT(struct parsed_mef, raw.coap),
     .choices = bindings,
     .default_value = false},
    MEF_TEXT(psk_identity, TREE_TEXT, mef),
    MEF_TEXT(psk, TREE_SECRET, raw),
    MEF_TEXT(chain_file, TREE_PATH, mef),
    MEF_TEXT(key_file, TREE_PATH, mef),
    MEF_TEXT(trust_anchors_file, TREE_PATH, mef),
    {.name = "timeout_milliseconds",
     .kind = TREE_NUMBER,
     AT(struct parsed_mef, mef.timeout_milliseconds),
     .min = 10,
     .max = 60000,
     .default_value = 2000},
};

static const struct tree_setting limits_table[] = {
    NUMBER(connections, 1, 100000, 1024),
    NUMBER(handshake_seconds, 1, 300, 10),
    NUMBER(idle_seconds, 1, 86400, 120),
    NUMBER(key_seconds, 1, 315360000, 86400),
    NUMBER(registration_seconds, 1, 315360000, 2592000),
    NUMBER(keys_per_client, 1, 10000000, 1000),
    NUMBER(registrations_per_client, 1, 10000, 16),
};

static const struct tree_group root_group = {"", root_table, sizeof root_table / sizeof *root_table};
static const struct tree_group function_group = {"functions", function_table,
                                                 sizeof function_table / sizeof *function_table};
static const struct tree_group mef_group = {"mefs", mef_table, sizeof mef_table / sizeof *mef_table};
static const struct tree_group limits_group = {"limits", limits_table, sizeof limits_table / sizeof *limits_table};
static const struct tree_group *const groups[] = {&root_group, &function_group, &mef_group, &limits_group, NULL};

static void take_address(struct tree *tree, const config_setting_t *group, const char *name, const char *text,
                         struct address *out)
{
    char shown[TREE_SHOWN_MAX];
    if (text != NULL && text[0] != '\0' && address_parse_pair(text, out) != SAGATE_OK)
        tree_complain(tree, group, name,
                      "found the string %s, expected a numeric address and a port such as \"127.0.0.1:8443\"",
                      tree_show(text, shown));
}

static void complete_function(struct tree *tree, const config_setting_t *element, struct settings_function *function)
{
    if (function->chain_file == NULL || function->key_file == NULL || function->trust_anchors_file == NULL ||
        function->export_label == NULL)
        return; // complained about already
    bool chain = function->chain_file[0] != '\0';
    if (chain != (function->key_file[0] != '\0'))
        tree_complain(tree, element, "chain_file", "'chain_file' and 'key_file' go together");
    if (!chain && function->trust_anchors_file[0] != '\0')
        tree_complain(tree, element, "trust_anchors_file",
                      "clients with certificates need a server certificate: "
                      "expected 'chain_file' and 'key_file'");
    if (!function->psk && function->trust_anchors_file[0] == '\0')
        tree_complain(tree, element, "psk", "no client could authenticate; expected true, or 'trust_anchors_file'");
    if (function->export_label[0] == '\0') {
        free(function->export_label);
        function->export_label = strdup(function->kind == TEF_MAF ? DERIVE_LABEL_CONNECTION : DERIVE_LABEL_BOOTSTRAP);
        tree->no_memory |= function->export_label == NULL;
    }
}

static void read_functions(struct tree *tree, const config_setting_t *root, struct settings *settings)
{
    settings->function_count = tree_list(tree, root, "functions", SETTINGS_FUNCTIONS_MAX, true);
    for (size_t i = 0; i < settings->function_count; i++) {
        struct parsed_function parsed = {0};
        const config_setting_t *element = tree_element(tree, root, "functions", i);
        tree_read(tree, element, &function_group, &parsed, groups);
        if (element != NULL) {
            take_address(tree, element, "address", parsed.raw.address, &parsed.function.address);
            complete_function(tree, element, &parsed.function);
        }
        parsed.function.coap = parsed.raw.coap != 0;
        settings->functions[i] = parsed.function;
        free(parsed.raw.address);
        for (size_t k = 0; k < i && parsed.function.fqdn != NULL; k++) {
            const char *other = settings->functions[k].fqdn;
            if (other != NULL && strcasecmp(other, parsed.function.fqdn) == 0 &&
                settings->functions[k].coap == parsed.function.coap)
                tree_complain(tree, element, "fqdn", "another function has this name and binding");
        }
    }
}

// A keystore reference; the path of a file becomes absolute.
static char *absolute_reference(struct tree *tree, const config_setting_t *group, const char *name,
                                const char *reference)
{
    enum keystore_home home;
    char why[KEYSTORE_ERROR_MAX];
    char *made = NULL;
    if (reference == NULL)
        return NULL;
    if (keystore_parse(reference, &home, why) != SAGATE_OK) {
        tree_complain(tree, group, name, "%s", why);
        return NULL;
    }
    const char *path = keystore_file_path(reference);
    int len = path == NULL || path[0] == '/' ? asprintf(&made, "%s", reference)
                                             : asprintf(&made, "file:%s/%s", tree->folder, path);
    tree->no_memory |= len < 0;
    return len < 0 ? NULL : made;
}

static bool has_function(const struct settings *settings, enum tef_kind kind, const char *fqdn)
{
    for (size_t i = 0; i < settings->function_count; i++) {
        const struct settings_function *function = &settings->functions[i];
        if (function->kind == kind && function->fqdn != NULL && (fqdn == NULL || strcasecmp(function->fqdn, fqdn) == 0))
            return true;
    }
    return false;
}

// Towards an MEF elsewhere all MAFs of the process would be one client, so that there may be one name only.
static bool has_one_maf(const struct settings *settings)
{
    const char *first = NULL;
    for (size_t i = 0; i < settings->function_count; i++) {
        const struct settings_function *function = &settings->functions[i];
        if (function->kind != TEF_MAF || function->fqdn == NULL)
            continue;
        if (first != NULL && strcasecmp(first, function->fqdn) != 0)
            return false;
        first = function->fqdn;
    }
    return first != NULL && strchr(first, '.') != NULL;
}

static void check_mef(struct tree *tree, const config_setting_t *element, const struct settings *settings,
                      const struct settings_mef *mef)
{
    if (mef->fqdn == NULL || mef->psk_identity == NULL || mef->chain_file == NULL || mef->key_file == NULL ||
        mef->trust_anchors_file == NULL)
        return; // complained about already
    if (mef->address.len == 0 && !has_function(settings, TEF_MEF, mef->fqdn))
        tree_complain(tree, element, "fqdn", "no function of kind \"mef\" has this name; expected 'address' beside it");
    if (mef->address.len == 0)
        return;
    bool psk = mef->psk_identity[0] != '\0' && mef->psk != NULL;
    bool certificate = mef->chain_file[0] != '\0' && mef->key_file[0] != '\0' && mef->trust_anchors_file[0] != '\0';
    if (psk == certificate)
        tree_complain(tree, element, NULL,
                      "expected 'psk_identity' and 'psk', or 'chain_file', 'key_file' and 'trust_anchors_file'");
    if (!has_one_maf(settings))
        tree_complain(tree, element, "address",
                      "expected functions of kind \"maf\" of one name, with two labels at least");
}

static void read_mefs(struct tree *tree, const config_setting_t *root, struct settings *settings)
{
    settings->mef_count = tree_list(tree, root, "mefs", SETTINGS_MEFS_MAX, false);
    for (size_t i = 0; i < settings->mef_count; i++) {
        struct parsed_mef parsed = {0};
        const config_setting_t *element = tree_element(tree, root, "mefs", i);
        tree_read(tree, element, &mef_group, &parsed, groups);
        parsed.mef.coap = parsed.raw.coap != 0;
        parsed.mef.derived = parsed.raw.derived != 0;
        if (element != NULL) {
            take_address(tree, element, "address", parsed.raw.address, &parsed.mef.address);
            if (parsed.raw.psk != NULL && parsed.raw.psk[0] != '\0')
                parsed.mef.psk = absolute_reference(tree, element, "psk", parsed.raw.psk);
            check_mef(tree, element, settings, &parsed.mef);
        }
        settings->mefs[i] = parsed.mef;
        free(parsed.raw.address);
        free(parsed.raw.psk);
    }
}

static void read_all(struct tree *tree, struct parsed *parsed)
{
    const config_setting_t *root = config_root_setting(&tree->tree);
    tree_read(tree, root, &root_group, parsed, groups);
    tree_read(tree, config_setting_get_member(root, "limits"), &limits_group, &parsed->settings.limits, groups);
    take_address(tree, root, "metrics", parsed->raw.metrics, &parsed->settings.metrics);
    parsed->settings.store_key = absolute_reference(tree, root, "store_key", parsed->raw.store_key);
    free(parsed->raw.metrics);
    free(parsed->raw.store_key);
    read_functions(tree, root, &parsed->settings);
    read_mefs(tree, root, &parsed->settings);
}

static char *folder_of(const char *path)
{
    char *copy = strdup(path);
    char *slash = copy == NULL ? NULL : strrchr(copy, '/');
    if (slash != NULL)
        slash[slash == copy ? 1 : 0] = '\0';
    char *folder = copy == NULL ? NULL : realpath(slash == NULL ? "." : copy, NULL);
    free(copy);
    return folder;
}

int settings_load(const char *path, struct settings **out, struct config_errors *errors)
{
    *out = NULL;
    *errors = (struct config_errors){0};
    char *folder = folder_of(path);
    struct parsed *parsed = calloc(1, sizeof *parsed);
    struct tree tree = {.errors = errors, .folder = folder};
    int result = parsed == NULL ? SAGATE_ENOMEM : SAGATE_OK;
    if (result == SAGATE_OK && folder == NULL) {
        config_errors_add(errors, "%s: cannot read the configuration", path);
        result = SAGATE_ECONFIG;
    }
    if (result == SAGATE_OK)
        result = source_read(&tree.source, path, folder, errors);
    if (result == SAGATE_OK)
        result = tree_parse(&tree);
    if (result == SAGATE_OK) {
        read_all(&tree, parsed);
        result = tree.no_memory ? SAGATE_ENOMEM : errors->count > 0 ? SAGATE_ECONFIG : SAGATE_OK;
    }
    tree_free(&tree);
    free(folder);
    if (result == SAGATE_OK)
        *out = &parsed->settings;
    else if (parsed != NULL)
        settings_free(&parsed->settings);
    return result;
}

void settings_free(struct settings *settings)
{
    if (settings == NULL)
        return;
    free(settings->store);
    free(settings->store_key);
    free(settings->audit_log);
    for (size_t i = 0; i < settings->function_count; i++) {
        struct settings_function *function = &settings->functions[i];
        free(function->fqdn);
        free(function->chain_file);
        free(function->key_file);
        free(function->trust_anchors_file);
        free(function->export_label);
    }
    for (size_t i = 0; i < settings->mef_count; i++) {
        struct settings_mef *mef = &settings->mefs[i];
        free(mef->fqdn);
        free(mef->psk_identity);
        free(mef->psk);
        free(mef->chain_file);
        free(mef->key_file);
        free(mef->trust_anchors_file);
    }
    free(settings); // the first member of the memory that settings_load made
}
