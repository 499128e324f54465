// The clients of the configured MAFs and MEFs: made from settings, kept over a reload that does not change theirs.
// One thread (the event loop's).
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_CONTROL_TEFS_H
#define SAGATE_CONTROLPLANE_CONTROL_TEFS_H

#include "controlplane/config/config.h"
#include "controlplane/keystore/keystore.h"
#include "controlplane/resolver/remote.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

enum { TEFS_ERROR_MAX = 512 };

struct tefs;

// `files` opens what a configuration names and is copied. NULL when memory is short.
struct tefs *tefs_new(struct event_base *base, const struct keystore_files *files);
void tefs_free(struct tefs *tefs); // what waits is failed; NULL is allowed

// Reads the keys and certificates of a configuration and makes what clients it needs beside those in force, which go
// on. With `check_only` none of them registers. SAGATE_OK: tefs_commit or tefs_discard must follow, `config` living
// until then; else the reason is in `why` and nothing has changed.
int tefs_prepare(struct tefs *tefs, const struct config *config, bool check_only, char why[TEFS_ERROR_MAX]);

// What remote_apply takes, of the prepared set; the strings live until tefs_commit or tefs_discard.
size_t tefs_remote(const struct tefs *tefs, struct remote_tef out[REMOTE_TEFS_MAX]);

// Puts the prepared set in force. Call remote_apply before it: clients that are not in the set fail what waits here.
void tefs_commit(struct tefs *tefs);
void tefs_discard(struct tefs *tefs);

// De-registers everywhere; `done` is called once, within about `timeout_ms`, perhaps from inside.
void tefs_leave(struct tefs *tefs, unsigned timeout_ms, void (*done)(void *context), void *context);

// The client at an index of the configuration in force: false when there is none.
bool tefs_status(const struct tefs *tefs, size_t index, const char **name, struct tef_status *status);

#endif
