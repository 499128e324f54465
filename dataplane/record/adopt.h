// How a handshake hands its session over to a record.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_RECORD_ADOPT_H
#define SAGATE_DATAPLANE_RECORD_ADOPT_H

#include "dataplane/handshake/session.h"
#include "dataplane/record/record.h"

// Takes the established session, with what was received behind the handshake, and folds it where that is possible. NULL
// when memory is short: the session stays the caller's.
struct record *record_adopt(struct session *session);

#endif
