// The engine where libipsec-mb is not built in: there is none, and records go one after another.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/record/engine.h"

#include <stddef.h>

struct engine *engine_new(void)
{
    return NULL;
}

void engine_free(struct engine *engine)
{
    (void)engine;
}

const char *engine_name(const struct engine *engine)
{
    (void)engine;
    return "wolfCrypt";
}

bool engine_takes(const struct engine *engine, enum aead aead)
{
    (void)engine;
    (void)aead;
    return false;
}

void engine_open(struct engine *engine, struct aead_job *const *jobs, size_t count)
{
    (void)engine;
    aead_open(jobs, count);
}

void engine_seal(struct engine *engine, struct aead_job *const *jobs, size_t count)
{
    (void)engine;
    aead_seal(jobs, count);
}
