// A parsed libconfig tree and the table-driven reading of its groups, with errors that name file, line and setting.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_CONFIG_TREE_H
#define SAGATE_CONTROLPLANE_CONFIG_TREE_H

#include "controlplane/config/source.h"

#include <libconfig.h>

struct tree {
    config_t tree;
    bool parsed;
    struct source source;
    struct config_errors *errors;
    const char *folder; // what relative paths are relative to; NULL: they stay as they are
    bool hide_values;   // values are secrets and appear in no message
    bool other_process; // text that sagate wrote: settings of TREE_TEXT_ONLY are known, of TREE_FILE_ONLY are not
    bool no_memory;
};

enum tree_kind {
    TREE_BOOL,   // bool
    TREE_NUMBER, // unsigned
    TREE_TEXT,   // char *
    TREE_PATH,   // char *, made absolute
    TREE_SECRET, // char *, shown in no message
    TREE_CHOICE, // an enum
    TREE_TEXTS,  // char **, and a size_t count at `count_offset`
    TREE_NESTED, // a group or list that the caller reads
};

struct tree_choice {
    const char *name; // NULL ends the list
    int value;
};

enum tree_flag { TREE_MANDATORY = 1, TREE_EMPTY_OK = 2, TREE_FILE_ONLY = 4, TREE_TEXT_ONLY = 8 };

// One setting. What is not given takes its default; a NULL default_text of an optional text stays NULL.
struct tree_setting {
    const char *name;
    enum tree_kind kind;
    unsigned flags;
    size_t offset, count_offset;
    unsigned min, max;      // numbers: range; texts: most entries
    unsigned default_value; // numbers, booleans, choices
    const char *default_text;
    const char *const *default_texts; // NULL-terminated
    const struct tree_choice *choices;
    bool (*valid)(const char *text);
    const char *expected; // what `valid` wants, for messages
};

struct tree_group {
    const char *name; // for suggestions: where a setting belongs
    const struct tree_setting *settings;
    size_t count;
};

// Parses source.text (filled before): SAGATE_OK, or SAGATE_ECONFIG with the syntax error added.
int tree_parse(struct tree *tree);
void tree_free(struct tree *tree);

// Adds an error at `setting`, or at its member `member` ("FILE:LINE: setting 'PATH': TEXT"). A member that is not there
// is named with the line of the group.
void tree_complain(struct tree *tree, const config_setting_t *setting, const char *member, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

// The same at element `index` of the list `member`.
void tree_complain_at(struct tree *tree, const config_setting_t *setting, const char *member, size_t index,
                      const char *format, ...) __attribute__((format(printf, 5, 6)));

// A value for messages: quoted, control characters as '?', cut to 60 bytes. Returns `out`.
enum { TREE_SHOWN_MAX = 80 };
const char *tree_show(const char *value, char out[TREE_SHOWN_MAX]);

// Fills `object` from `setting` (NULL or of a wrong type: defaults only, and what is mandatory is complained about).
// `others`, ended by NULL, are groups in which unknown names are looked for.
void tree_read(struct tree *tree, const config_setting_t *setting, const struct tree_group *group, void *object,
               const struct tree_group *const *others);

// Releases the texts of an object that tree_read filled; secrets are wiped.
void tree_release(const struct tree_group *group, void *object);

// The member as a list of groups: its length, at most `max` (more is an error), 0 when it is missing or of a wrong
// type (an error as well, as is an empty list, when `mandatory`).
size_t tree_list(struct tree *tree, const config_setting_t *parent, const char *member, size_t max, bool mandatory);

// Element of such a list when it is a group; else NULL and an error.
const config_setting_t *tree_element(struct tree *tree, const config_setting_t *parent, const char *member,
                                     size_t index);

// Nearest known name for an unknown one; appends "; did you mean …" to `out` when there is one.
void tree_suggest(const char *name, const struct tree_group *group, const struct tree_group *const *others,
                  struct text *out);

#endif
