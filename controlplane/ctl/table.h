// Tables for people: columns as wide as their widest cell.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_CTL_TABLE_H
#define SAGATE_CONTROLPLANE_CTL_TABLE_H

#include <stddef.h>

enum { TABLE_COLUMNS_MAX = 12 };

struct table {
    size_t columns, cells, room;
    char **cell; // row by row; the titles are the first row
};

// A cell, in reading order; the first `columns` cells are the titles. Control characters become '?'.
// Ends the program when memory is short.
void table_add(struct table *table, const char *text);
void table_add_format(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Writes the table to standard output and frees its cells.
void table_print(struct table *table);

#endif
