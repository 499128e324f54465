// Versions and layouts of programs.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/supervisor/build.h"

#include "common/error.h"
#include "common/plane.h"
#include "common/stats.h"
#include "dataplane/association/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void build_own(struct build *build)
{
    *build = (struct build){.plane = PLANE_VERSION, .store = STORE_LAYOUT, .counters = STATS_LAYOUT};
    (void)snprintf(build->version, sizeof build->version, "%s", SAGATE_VERSION);
}

void build_write(const struct build *build, char text[BUILD_TEXT_MAX])
{
    (void)snprintf(text, BUILD_TEXT_MAX, "sagate %s\nplane %" PRIu32 "\nstore %" PRIu32 "\ncounters %" PRIu32 "\n",
                   build->version, build->plane, build->store, build->counters);
}

// The number in the line "NAME NUMBER" at *text, which moves behind it.
static bool take_number(const char **text, const char *name, uint32_t *number)
{
    size_t len = strlen(name);
    uint64_t value = 0;
    if (strncmp(*text, name, len) != 0 || (*text)[len] != ' ')
        return false;
    const char *at = *text + len + 1;
    const char *first = at;
    for (; *at >= '0' && *at <= '9' && value <= UINT32_MAX; at++)
        value = value * 10 + (uint64_t)(*at - '0');
    if (at == first || *at != '\n' || value > UINT32_MAX)
        return false;
    *number = (uint32_t)value;
    *text = at + 1;
    return true;
}

int build_read(const char *text, struct build *build)
{
    static const char start[] = "sagate ";
    *build = (struct build){0};
    if (strncmp(text, start, sizeof start - 1) != 0)
        return SAGATE_EMALFORMED;
    text += sizeof start - 1;
    size_t len = strcspn(text, "\n");
    if (len == 0 || len >= sizeof build->version || text[len] != '\n')
        return SAGATE_EMALFORMED;
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= ' ' || text[i] > '~')
            return SAGATE_EMALFORMED;
    }
    memcpy(build->version, text, len);
    text += len + 1;
    return take_number(&text, "plane", &build->plane) && take_number(&text, "store", &build->store) &&
                   take_number(&text, "counters", &build->counters)
               ? SAGATE_OK
               : SAGATE_EMALFORMED;
}

bool build_fits(const struct build *own, const struct build *next, char *reason, size_t cap)
{
    if (own->plane == next->plane && own->counters == next->counters)
        return true;
    (void)snprintf(reason, cap,
                   "sagate %s speaks to its data process in another way than sagate %s (plane %" PRIu32 " and %" PRIu32
                   ", counters %" PRIu32 " and %" PRIu32 "): restart the service instead",
                   next->version, own->version, next->plane, own->plane, next->counters, own->counters);
    return false;
}

bool build_keeps(const struct build *current, const struct build *next, char *reason, size_t cap)
{
    if (current->store == next->store)
        return true;
    (void)snprintf(reason, cap,
                   "sagate %s keeps associations in another layout than sagate %s (%" PRIu32 " and %" PRIu32
                   "): all would be lost; --force does it all the same",
                   next->version, current->version, next->store, current->store);
    return false;
}
