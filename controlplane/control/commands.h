// The commands of the control socket (docs/control.md), and what their implementations share.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_CONTROL_COMMANDS_H
#define SAGATE_CONTROLPLANE_CONTROL_COMMANDS_H

#include "common/slice.h"
#include "controlplane/control/socket.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A JSON string of bytes that somebody else sent; what is not ASCII text becomes '?'. NULL when memory is short.
json_t *commands_text(struct slice text);

// Seconds since 1970 as "2030-01-01T00:00:00Z" (RFC 3339); JSON null for 0.
json_t *commands_time(int64_t seconds);

// Reads "limit": `fallback` when absent, at most `most`. False, with the request answered, when it is no number above
// 0.
bool commands_limit(struct control_request *request, const json_t *command, size_t fallback, size_t most,
                    size_t *limit);

#endif
