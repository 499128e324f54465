// The text of a configuration with its @include files put in place, and where each line of it came from.
// The includes are resolved here, since libconfig ends the process when a name turns out to be a folder.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_CONFIG_SOURCE_H
#define SAGATE_CONTROLPLANE_CONFIG_SOURCE_H

#include "controlplane/config/config.h"
#include "controlplane/config/text.h"

struct source_line {
    unsigned file; // index into files
    unsigned line; // from 1
};

struct source {
    struct text text; // without @include
    size_t file_count;
    char **files; // as messages name them
    size_t line_count, line_cap;
    struct source_line *lines; // [line of the text - 1]
    bool failed;               // memory was short
};

enum { SOURCE_BYTES_MAX = 4 << 20, SOURCE_DEPTH_MAX = 10 };

// Reads a file and what it includes (names relative to `folder`). SAGATE_OK; SAGATE_ECONFIG with every file that
// cannot be read, comment or string that never ends, NUL byte or inclusion in a circle in `errors`; SAGATE_ENOMEM.
int source_read(struct source *source, const char *path, const char *folder, struct config_errors *errors);

// Takes a text in which @include is an error; `label` names it in messages. Returns as source_read.
int source_take(struct source *source, const char *label, const char *data, size_t len, struct config_errors *errors);

// Where line `line` of the text came from; line 0 and unknown lines give the first file and 0.
struct source_line source_locate(const struct source *source, unsigned line);

void source_free(struct source *source); // wipes the text

// Appends one line to the errors. The first CONFIG_ERRORS_SHOWN are kept, the others only counted.
enum { CONFIG_ERRORS_SHOWN = 100 };
void config_errors_add(struct config_errors *errors, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
