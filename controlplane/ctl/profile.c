// Where the workers' time went, stage by stage.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/ctl/profile.h"

#include "controlplane/ctl/table.h"

#include <stdbool.h>
#include <stdio.h>

static json_int_t whole(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

static double number(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

static void print_head(const json_t *answer)
{
    double seconds = number(answer, "nanoseconds") / 1e9;
    json_int_t workers = whole(answer, "workers");
    json_int_t batches = whole(answer, "batches");
    (void)printf("%.1f s of %lld worker%s, %.1f %% busy; %lld batches", workers == 0 ? 0 : seconds / (double)workers,
                 (long long)workers, workers == 1 ? "" : "s", number(answer, "busy") * 100, (long long)batches);
    if (batches > 0)
        (void)printf(" of %.1f events", number(answer, "events") / (double)batches);
    (void)printf(", %lld requests, %lld handshakes", (long long)whole(answer, "requests"),
                 (long long)whole(answer, "handshakes"));
    if (number(answer, "ticks_per_nanosecond") > 1.001)
        (void)printf("; a microsecond is %.0f cycles", number(answer, "ticks_per_nanosecond") * 1000);
    (void)puts("");
}

static void cell(struct table *table, const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    if (json_is_number(value))
        table_add_format(table, "%.0f", json_number_value(value));
    else
        table_add(table, "-");
}

static void print_stages(const json_t *answer)
{
    const char *unit = json_string_value(json_object_get(answer, "unit"));
    struct table table = {.columns = 7};
    size_t index;
    json_t *stage;
    table_add(&table, "STAGE");
    table_add(&table, "CALLS");
    table_add(&table, "SHARE OF BUSY");
    table_add_format(&table, "%s PER CALL", unit);
    table_add(&table, "PER BATCH");
    table_add(&table, "PER REQUEST");
    table_add(&table, "PER HANDSHAKE");
    json_array_foreach(json_object_get(answer, "stages"), index, stage)
    {
        const json_t *share = json_object_get(stage, "share");
        if (whole(stage, "ticks") == 0)
            continue;
        table_add(&table, json_string_value(json_object_get(stage, "stage")));
        table_add_format(&table, "%lld", (long long)whole(stage, "calls"));
        if (json_is_number(share))
            table_add_format(&table, "%.1f %%", json_number_value(share) * 100);
        else
            table_add(&table, "-");
        cell(&table, stage, "per_call");
        cell(&table, stage, "per_batch");
        cell(&table, stage, "per_request");
        cell(&table, stage, "per_handshake");
    }
    table_add(&table, "all but io wait");
    table_add(&table, "");
    table_add(&table, "");
    table_add(&table, "");
    table_add(&table, "");
    cell(&table, answer, "busy_per_request");
    cell(&table, answer, "busy_per_handshake");
    table_print(&table);
}

void profile_print(const json_t *answer)
{
    print_head(answer);
    if (whole(answer, "workers") > 0)
        print_stages(answer);
}
