// Tables for people.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/ctl/table.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void take(struct table *table, char *text)
{
    if (table->cells == table->room) {
        table->room = table->room == 0 ? 64 : table->room * 2;
        char **grown = reallocarray(table->cell, table->room, sizeof *grown);
        if (grown == NULL)
            text = NULL;
        else
            table->cell = grown;
    }
    if (text == NULL) {
        (void)fputs("sagatectl: out of memory\n", stderr);
        exit(2);
    }
    // A peer or a configuration chose some of these texts; the terminal should not obey them.
    for (char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    }
    table->cell[table->cells++] = text;
}

void table_add(struct table *table, const char *text)
{
    take(table, strdup(text));
}

void table_add_format(struct table *table, const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int len = vasprintf(&text, format, arguments);
    va_end(arguments);
    take(table, len < 0 ? NULL : text);
}

// Characters, for text in UTF-8.
static size_t width(const char *text)
{
    size_t count = 0;
    for (; *text != '\0'; text++)
        count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

void table_print(struct table *table)
{
    size_t widths[TABLE_COLUMNS_MAX] = {0};
    for (size_t i = 0; i < table->cells; i++) {
        size_t column = i % table->columns;
        size_t this = width(table->cell[i]);
        widths[column] = this > widths[column] ? this : widths[column];
    }
    for (size_t i = 0; i < table->cells; i++) {
        size_t column = i % table->columns;
        bool last = column == table->columns - 1;
        size_t pad = last ? 0 : widths[column] - width(table->cell[i]) + 2;
        (void)printf("%s%*s%s", table->cell[i], (int)pad, "", last ? "\n" : "");
        free(table->cell[i]);
    }
    free(table->cell);
    *table = (struct table){0};
}
