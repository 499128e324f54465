// Opens and seals the records of many associations side by side: libipsec-mb where sagate was built with it and the
// processor suits; wolfCrypt (aead.h), one after another, for all else. One thread for each engine.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_RECORD_ENGINE_H
#define SAGATE_DATAPLANE_RECORD_ENGINE_H

#include "dataplane/record/aead.h"

#include <stdbool.h>

struct engine;

enum {
    ENGINE_JOBS_MAX = 128, // that are worked on at a time; more are done in turns
    // Fewer than this cost less one after another (perf/README.md).
    ENGINE_JOBS_MIN = 4,
};

// An engine with scratch memory of its own, locked as all memory for keys (common/secret.h). NULL: the library is not
// built in, the processor lacks AES instructions, the library's self-test fails, or memory is short; records are then
// opened and sealed one after another. Allocates and asks the processor: before a system call filter.
struct engine *engine_new(void);
// Wipes; NULL is allowed.
void engine_free(struct engine *engine);

// What the engine is, for people: "libipsec-mb 1.3.0, AVX512"; "wolfCrypt" for NULL. Static.
const char *engine_name(const struct engine *engine);
// True when it takes records of this AEAD side by side; of others it has no advantage.
bool engine_takes(const struct engine *engine, enum aead aead);

// As aead_open and aead_seal, also with NULL and for every AEAD. A job's buffers may not overlap another's.
void engine_open(struct engine *engine, struct aead_job *const *jobs, size_t count);
void engine_seal(struct engine *engine, struct aead_job *const *jobs, size_t count);

#endif
