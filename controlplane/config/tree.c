// Reading groups of settings by table, and saying what is wrong with them.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/config/tree.h"

#include "common/error.h"
#include "common/secret.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// libconfig's accessors take pointers to non-const even to read.
static config_setting_t *member_of(const config_setting_t *setting, const char *name)
{
    return setting == NULL || name == NULL || !config_setting_is_group(setting)
               ? NULL
               : config_setting_get_member(setting, name);
}

int tree_parse(struct tree *tree)
{
    config_init(&tree->tree);
    tree->parsed = true;
    if (config_read_string(&tree->tree, tree->source.text.data == NULL ? "" : tree->source.text.data) == CONFIG_TRUE)
        return SAGATE_OK;
    const char *text = config_error_text(&tree->tree);
    struct source_line where = source_locate(&tree->source, (unsigned)config_error_line(&tree->tree));
    bool plain = text == NULL || strcmp(text, "syntax error") == 0;
    config_errors_add(tree->errors, "%s:%u: %s%s", tree->source.files[where.file], where.line,
                      plain ? "syntax error" : text,
                      plain ? "; look here and in the line before for a missing ';', ',', '=', quote or bracket, or an "
                              "unquoted text"
                            : "");
    return SAGATE_ECONFIG;
}

// Overwrites the copies of string values that libconfig keeps, before they go back to the heap.
static void wipe(const config_setting_t *setting)
{
    if (config_setting_type(setting) == CONFIG_TYPE_STRING) {
        const char *value = config_setting_get_string(setting);
        // The accessor gives a const view of the tree's own buffer, which nothing else reads any more.
        if (value != NULL)
            secret_zero((void *)(uintptr_t)value, strlen(value));
        return;
    }
    if (!config_setting_is_aggregate(setting))
        return;
    for (int i = 0; i < config_setting_length(setting); i++)
        wipe(config_setting_get_elem(setting, (unsigned)i));
}

void tree_free(struct tree *tree)
{
    if (tree->parsed) {
        wipe(config_root_setting(&tree->tree));
        config_destroy(&tree->tree);
    }
    source_free(&tree->source);
    tree->parsed = false;
}

static void add_path(const config_setting_t *setting, struct text *out)
{
    const config_setting_t *parent = config_setting_parent(setting);
    if (parent == NULL)
        return;
    add_path(parent, out);
    if (config_setting_name(setting) == NULL)
        text_add(out, "[%d]", config_setting_index(setting));
    else
        text_add(out, "%s%s", out->len > 0 ? "." : "", config_setting_name(setting));
}

static void complain(struct tree *tree, const config_setting_t *setting, const char *member, int index,
                     const char *format, va_list arguments)
{
    const config_setting_t *at = member_of(setting, member);
    struct text path = {0};
    char *what = NULL;
    // An index is found by a search: not for thousands of errors that nobody sees.
    if (tree->errors->count >= CONFIG_ERRORS_SHOWN) {
        tree->errors->count++;
        return;
    }
    add_path(setting, &path);
    if (member != NULL)
        text_add(&path, "%s%s", path.len > 0 ? "." : "", member);
    if (index >= 0)
        text_add(&path, "[%d]", index);
    if (vasprintf(&what, format, arguments) < 0)
        what = NULL;
    // libconfig keeps lines in 16 bits: in a longer text they would be wrong.
    bool line_known = tree->source.line_count <= USHRT_MAX;
    struct source_line where =
        source_locate(&tree->source, line_known ? config_setting_source_line(at != NULL ? at : setting) : 0);
    const char *file = tree->source.files[where.file];
    const char *shown = path.len == 0 ? "" : path.data;
    if (what == NULL || path.failed)
        tree->no_memory = true;
    else if (where.line == 0)
        config_errors_add(tree->errors, "%s: setting '%s': %s", file, shown, what);
    else
        config_errors_add(tree->errors, "%s:%u: setting '%s': %s", file, where.line, shown, what);
    free(what);
    text_free(&path);
}

void tree_complain(struct tree *tree, const config_setting_t *setting, const char *member, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    complain(tree, setting, member, -1, format, arguments);
    va_end(arguments);
}

void tree_complain_at(struct tree *tree, const config_setting_t *setting, const char *member, size_t index,
                      const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    complain(tree, setting, member, (int)index, format, arguments);
    va_end(arguments);
}

const char *tree_show(const char *value, char out[TREE_SHOWN_MAX])
{
    size_t len = strlen(value), shown = len > 60 ? 60 : len, at = 0;
    // Not in the middle of a character of UTF-8.
    while (shown < len && shown > 0 && ((unsigned char)value[shown] & 0xc0) == 0x80)
        shown--;
    out[at++] = '"';
    for (size_t i = 0; i < shown; i++)
        out[at++] = (unsigned char)value[i] < 0x20 || value[i] == 0x7f ? '?' : value[i];
    out[at++] = '"';
    (void)snprintf(out + at, TREE_SHOWN_MAX - at, "%s", shown < len ? " (cut)" : "");
    return out;
}

// "the string "10s"", "the integer 5", …; the type only where values are secrets.
static const char *found(const struct tree *tree, const config_setting_t *setting, bool hide, char out[128])
{
    char shown[TREE_SHOWN_MAX];
    hide |= tree->hide_values;
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_STRING:
        (void)snprintf(out, 128, "%s%s", hide ? "a string" : "the string ",
                       hide ? "" : tree_show(config_setting_get_string(setting), shown));
        break;
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        if (hide)
            (void)snprintf(out, 128, "an integer");
        else
            (void)snprintf(out, 128, "the integer %lld", config_setting_get_int64(setting));
        break;
    case CONFIG_TYPE_FLOAT:
        if (hide)
            (void)snprintf(out, 128, "a floating-point number");
        else
            (void)snprintf(out, 128, "the floating-point number %g", config_setting_get_float(setting));
        break;
    case CONFIG_TYPE_BOOL:
        (void)snprintf(out, 128, "the boolean %s", config_setting_get_bool(setting) ? "true" : "false");
        break;
    case CONFIG_TYPE_GROUP:
        (void)snprintf(out, 128, "a group { … }");
        break;
    default:
        (void)snprintf(out, 128, "a list");
        break;
    }
    return out;
}

#define FIELD(object, offset, type) ((type *)(void *)((char *)(object) + (offset)))

static void set_text(struct tree *tree, char **field, const char *value)
{
    char *text = strdup(value);
    if (text == NULL)
        tree->no_memory = true;
    free(*field);
    *field = text;
}

static void set_default(struct tree *tree, const struct tree_setting *s, void *object)
{
    switch (s->kind) {
    case TREE_BOOL:
        *FIELD(object, s->offset, bool) = s->default_value != 0;
        break;
    case TREE_NUMBER:
    case TREE_CHOICE:
        *FIELD(object, s->offset, unsigned) = s->default_value;
        break;
    case TREE_TEXT:
    case TREE_PATH:
    case TREE_SECRET:
        if (s->default_text == NULL)
            break;
        if (s->kind != TREE_PATH || tree->folder == NULL || s->default_text[0] == '/' || s->default_text[0] == '\0')
            set_text(tree, FIELD(object, s->offset, char *), s->default_text);
        else if (asprintf(FIELD(object, s->offset, char *), "%s/%s", tree->folder, s->default_text) < 0)
            tree->no_memory = true;
        break;
    case TREE_TEXTS: {
        size_t count = 0;
        while (s->default_texts != NULL && s->default_texts[count] != NULL)
            count++;
        char **texts = count == 0 ? NULL : calloc(count, sizeof *texts);
        if (texts == NULL) {
            tree->no_memory |= count > 0;
            break;
        }
        for (size_t i = 0; i < count; i++)
            set_text(tree, &texts[i], s->default_texts[i]);
        *FIELD(object, s->offset, char **) = texts;
        *FIELD(object, s->count_offset, size_t) = count;
        break;
    }
    case TREE_NESTED:
        break;
    }
}

static void free_texts(const struct tree_setting *s, void *object)
{
    char ***texts = FIELD(object, s->offset, char **);
    size_t *count = FIELD(object, s->count_offset, size_t);
    for (size_t i = 0; i < *count; i++)
        free((*texts)[i]);
    free(*texts);
    *texts = NULL;
    *count = 0;
}

void tree_release(const struct tree_group *group, void *object)
{
    for (size_t i = 0; i < group->count; i++) {
        const struct tree_setting *s = &group->settings[i];
        if (s->kind == TREE_TEXTS)
            free_texts(s, object);
        if (s->kind != TREE_TEXT && s->kind != TREE_PATH && s->kind != TREE_SECRET)
            continue;
        char **text = FIELD(object, s->offset, char *);
        if (s->kind == TREE_SECRET && *text != NULL)
            secret_zero(*text, strlen(*text));
        free(*text);
        *text = NULL;
    }
}

// Units that people write and what one of them is, in milliseconds or bytes.
static const struct unit {
    const char *name;
    bool time;
    uint64_t factor;
} units[] = {
    {"ms", true, 1},          {"msec", true, 1},        {"milliseconds", true, 1},
    {"s", true, 1000},        {"sec", true, 1000},      {"seconds", true, 1000},
    {"min", true, 60000},     {"minutes", true, 60000}, {"h", true, 3600000},
    {"hours", true, 3600000}, {"d", true, 86400000},    {"days", true, 86400000},
    {"b", false, 1},          {"bytes", false, 1},      {"k", false, 1024},
    {"kb", false, 1024},      {"kib", false, 1024},     {"kilobytes", false, 1024},
    {"mb", false, 1 << 20},   {"mib", false, 1 << 20},  {"megabytes", false, 1 << 20},
    {"g", false, 1 << 30},    {"gb", false, 1 << 30},   {"gib", false, 1 << 30},
};

static const struct unit *unit_named(const char *name)
{
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcasecmp(units[i].name, name) == 0)
            return &units[i];
    }
    return NULL;
}

// The unit that a setting's name ends with, and where that suffix begins.
static const struct unit *unit_of(const char *name, size_t *stem)
{
    const char *last = strrchr(name, '_');
    *stem = strlen(name);
    if (last == NULL)
        return NULL;
    const struct unit *unit = unit_named(last + 1);
    if (unit != NULL)
        *stem = (size_t)(last - name);
    return unit;
}

// For a number that was written as a text: "; write 10000" when the intent is clear.
static void hint(const char *name, const char *value, char out[64])
{
    size_t stem = 0;
    char *end = NULL;
    const struct unit *base = unit_of(name, &stem);
    out[0] = '\0';
    if (value[0] < '0' || value[0] > '9' || strlen(value) > 18)
        return;
    uint64_t number = strtoull(value, &end, 10);
    while (*end == ' ')
        end++;
    const struct unit *unit = *end == '\0' ? NULL : unit_named(end);
    if (*end == '\0') {
        (void)snprintf(out, 64, "; write %llu without quotes", (unsigned long long)number);
    } else if (base != NULL && unit != NULL && unit->time == base->time && number < 1000000000 &&
               number * unit->factor % base->factor == 0) {
        (void)snprintf(out, 64, "; write %llu", (unsigned long long)(number * unit->factor / base->factor));
    }
}

static void read_number(struct tree *tree, const config_setting_t *value, const struct tree_setting *s, void *object)
{
    char text[128], help[64] = "", unit_text[48] = "";
    size_t stem = 0;
    const struct unit *unit = unit_of(s->name, &stem);
    int type = config_setting_type(value);
    if (unit != NULL)
        (void)snprintf(unit_text, sizeof unit_text, " (unit: %s, as the name says)", s->name + stem + 1);
    if (type == CONFIG_TYPE_STRING && !tree->hide_values)
        hint(s->name, config_setting_get_string(value), help);
    bool number = type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64;
    // libconfig silently cuts hexadecimal numbers to 32 bits.
    bool hexadecimal = number && config_setting_get_format(value) == CONFIG_FORMAT_HEX;
    long long given = number ? config_setting_get_int64(value) : 0;
    if (number && !hexadecimal && given >= (long long)s->min && given <= (long long)s->max) {
        *FIELD(object, s->offset, unsigned) = (unsigned)given;
        return;
    }
    tree_complain(tree, value, NULL, "found %s, expected an integer from %u to %u%s%s",
                  hexadecimal ? "a hexadecimal number" : found(tree, value, false, text), s->min, s->max, unit_text,
                  help);
}

static void read_choice(struct tree *tree, const config_setting_t *value, const struct tree_setting *s, void *object)
{
    char text[128], list[256] = "";
    size_t used = 0;
    for (const struct tree_choice *c = s->choices; c->name != NULL; c++) {
        if (config_setting_type(value) == CONFIG_TYPE_STRING &&
            strcmp(config_setting_get_string(value), c->name) == 0) {
            *FIELD(object, s->offset, unsigned) = (unsigned)c->value;
            return;
        }
        used += (size_t)snprintf(list + used, sizeof list - used, "%s\"%s\"", used == 0 ? "" : " or ", c->name);
    }
    tree_complain(tree, value, NULL, "found %s, expected %s", found(tree, value, false, text), list);
}

static void read_text(struct tree *tree, const config_setting_t *value, const struct tree_setting *s, void *object)
{
    char text[128];
    char **field = FIELD(object, s->offset, char *);
    const char *given = config_setting_type(value) == CONFIG_TYPE_STRING ? config_setting_get_string(value) : NULL;
    // Empty says "none" exactly where that is the default.
    bool empty_ok = (s->flags & TREE_EMPTY_OK) != 0;
    if (given == NULL || (given[0] == '\0' && !empty_ok) ||
        (given[0] != '\0' && s->valid != NULL && !s->valid(given))) {
        tree_complain(tree, value, NULL, "found %s, expected %s%s", found(tree, value, s->kind == TREE_SECRET, text),
                      s->expected == NULL ? "a string" : s->expected, empty_ok ? ", or \"\" for none" : "");
        return;
    }
    if (s->kind != TREE_PATH || given[0] == '/' || given[0] == '\0' || tree->folder == NULL) {
        set_text(tree, field, given);
        return;
    }
    free(*field);
    if (asprintf(field, "%s/%s", tree->folder, given) < 0) {
        *field = NULL;
        tree->no_memory = true;
    }
}

static void read_texts(struct tree *tree, const config_setting_t *value, const struct tree_setting *s, void *object)
{
    char text[128];
    int type = config_setting_type(value);
    if (type != CONFIG_TYPE_ARRAY && type != CONFIG_TYPE_LIST) {
        tree_complain(tree, value, NULL, "found %s, expected a list of strings: [ \"…\", \"…\" ]",
                      found(tree, value, false, text));
        return;
    }
    size_t count = (size_t)config_setting_length(value);
    if (count == 0 && (s->flags & TREE_EMPTY_OK) == 0) {
        tree_complain(tree, value, NULL, "the list is empty; expected %s, or leave the setting out", s->expected);
        return;
    }
    if (count > s->max) {
        tree_complain(tree, value, NULL, "found %zu entries, expected at most %u", count, s->max);
        return;
    }
    free_texts(s, object);
    char **texts = count == 0 ? NULL : calloc(count, sizeof *texts);
    if (texts == NULL) {
        tree->no_memory |= count > 0;
        return;
    }
    *FIELD(object, s->offset, char **) = texts;
    *FIELD(object, s->count_offset, size_t) = count;
    for (size_t i = 0; i < count; i++) {
        const config_setting_t *element = config_setting_get_elem(value, (unsigned)i);
        const char *given =
            config_setting_type(element) == CONFIG_TYPE_STRING ? config_setting_get_string(element) : NULL;
        set_text(tree, &texts[i], given == NULL ? "" : given);
        if (given == NULL || !s->valid(given))
            tree_complain(tree, element, NULL, "found %s, expected %s", found(tree, element, false, text), s->expected);
        for (size_t k = 0; k < i && given != NULL && texts[k] != NULL; k++) {
            if (strcmp(texts[k], given) == 0) {
                tree_complain(tree, element, NULL, "the same entry stands in the list already");
                break;
            }
        }
    }
}

static void read_value(struct tree *tree, const config_setting_t *value, const struct tree_setting *s, void *object)
{
    char text[128];
    switch (s->kind) {
    case TREE_BOOL:
        if (config_setting_type(value) == CONFIG_TYPE_BOOL)
            *FIELD(object, s->offset, bool) = config_setting_get_bool(value) == CONFIG_TRUE;
        else
            tree_complain(tree, value, NULL, "found %s, expected true or false", found(tree, value, false, text));
        break;
    case TREE_NUMBER:
        read_number(tree, value, s, object);
        break;
    case TREE_CHOICE:
        read_choice(tree, value, s, object);
        break;
    case TREE_TEXT:
    case TREE_PATH:
    case TREE_SECRET:
        read_text(tree, value, s, object);
        break;
    case TREE_TEXTS:
        read_texts(tree, value, s, object);
        break;
    case TREE_NESTED:
        break;
    }
}

static bool is_known(const struct tree *tree, const struct tree_setting *s)
{
    return (s->flags & (tree->other_process ? TREE_FILE_ONLY : TREE_TEXT_ONLY)) == 0;
}

static void complain_unknown(struct tree *tree, const config_setting_t *value, const struct tree_group *group,
                             const struct tree_group *const *others)
{
    struct text suggestion = {0};
    tree_suggest(config_setting_name(value), group, others, &suggestion);
    tree_complain(tree, value, NULL, "unknown setting%s", suggestion.len == 0 ? "" : suggestion.data);
    text_free(&suggestion);
}

void tree_read(struct tree *tree, const config_setting_t *setting, const struct tree_group *group, void *object,
               const struct tree_group *const *others)
{
    bool usable = setting != NULL && config_setting_is_group(setting);
    char text[128];
    if (setting != NULL && !usable)
        tree_complain(tree, setting, NULL, "found %s, expected a group: { … }", found(tree, setting, false, text));
    for (size_t i = 0; i < group->count; i++) {
        const struct tree_setting *s = &group->settings[i];
        set_default(tree, s, object);
        const config_setting_t *value = usable && is_known(tree, s) ? member_of(setting, s->name) : NULL;
        if (value != NULL)
            read_value(tree, value, s, object);
        else if (usable && (s->flags & TREE_MANDATORY) != 0)
            tree_complain(tree, setting, s->name, "missing; expected %s",
                          s->expected != NULL ? s->expected : "this setting, which has no default");
    }
    for (int i = 0; usable && i < config_setting_length(setting); i++) {
        const config_setting_t *value = config_setting_get_elem(setting, (unsigned)i);
        bool known = false;
        for (size_t k = 0; k < group->count && !known; k++)
            known =
                is_known(tree, &group->settings[k]) && strcmp(group->settings[k].name, config_setting_name(value)) == 0;
        if (!known)
            complain_unknown(tree, value, group, others);
    }
}

size_t tree_list(struct tree *tree, const config_setting_t *parent, const char *member, size_t max, bool mandatory)
{
    const config_setting_t *list = member_of(parent, member);
    char text[128];
    if (list == NULL) {
        if (mandatory)
            tree_complain(tree, parent, member, "missing; expected a list with at least one group: ( { … } )");
        return 0;
    }
    int type = config_setting_type(list);
    if (type != CONFIG_TYPE_LIST && type != CONFIG_TYPE_ARRAY) {
        tree_complain(tree, list, NULL, "found %s, expected a list of groups: ( { … }, { … } )",
                      found(tree, list, false, text));
        return 0;
    }
    size_t count = (size_t)config_setting_length(list);
    if (count == 0)
        tree_complain(tree, list, NULL, "the list is empty; expected at least one group: ( { … } )%s",
                      mandatory ? "" : ", or leave the setting out");
    if (count > max)
        tree_complain(tree, list, NULL, "found %zu entries, expected at most %zu", count, max);
    return count > max ? max : count;
}

const config_setting_t *tree_element(struct tree *tree, const config_setting_t *parent, const char *member,
                                     size_t index)
{
    const config_setting_t *element = config_setting_get_elem(member_of(parent, member), (unsigned)index);
    char text[128];
    if (config_setting_is_group(element))
        return element;
    tree_complain(tree, element, NULL, "found %s, expected a group: { … }", found(tree, element, false, text));
    return NULL;
}

// Edits (insert, delete, replace, swap of neighbours) between two names; names longer than 63 are never near.
static size_t distance(const char *a, const char *b)
{
    enum { LONGEST = 63 };
    size_t rows[3][LONGEST + 1], la = strlen(a), lb = strlen(b);
    if (la > LONGEST || lb > LONGEST)
        return LONGEST;
    for (size_t j = 0; j <= lb; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *twice = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t best = above[j - 1] + (a[i - 1] != b[j - 1]);
            best = above[j] + 1 < best ? above[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && twice[j - 2] + 1 < best)
                best = twice[j - 2] + 1;
            row[j] = best;
        }
    }
    return rows[la % 3][lb];
}

void tree_suggest(const char *name, const struct tree_group *group, const struct tree_group *const *others,
                  struct text *out)
{
    size_t stem = 0, known_stem = 0, best = 2 + strlen(name) / 6;
    const char *nearest = NULL;
    (void)unit_of(name, &stem);
    for (size_t i = 0; i < group->count; i++) {
        const char *known = group->settings[i].name;
        const struct unit *unit = unit_of(known, &known_stem);
        if ((group->settings[i].flags & TREE_TEXT_ONLY) != 0)
            continue;
        if (unit != NULL && known_stem == stem && strncmp(name, known, stem) == 0) {
            text_add(out, "; did you mean '%s' (its unit is %s)?", known, known + known_stem + 1);
            return;
        }
        // "authorization" for "authorization_file" is far by edits, and near all the same.
        bool prefix = strlen(name) >= 4 && strncmp(known, name, strlen(name)) == 0;
        size_t edits = prefix ? 1 : distance(name, known);
        if (edits <= best && edits < strlen(known)) {
            nearest = known;
            best = edits == 0 ? 0 : edits - 1;
        }
    }
    for (; nearest == NULL && others != NULL && *others != NULL; others++) {
        for (size_t i = 0; i < (*others)->count; i++) {
            if ((*others)->name != group->name && strcmp((*others)->settings[i].name, name) == 0) {
                text_add(out, "; did you mean the one in '%s'?", (*others)->name);
                return;
            }
        }
    }
    if (nearest != NULL)
        text_add(out, "; did you mean '%s'?", nearest);
}
