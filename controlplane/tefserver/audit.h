// The audit log of a TEF: one JSON object per line and procedure. It never holds a key. One thread.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_TEFSERVER_AUDIT_H
#define SAGATE_CONTROLPLANE_TEFSERVER_AUDIT_H

#include "controlplane/tefserver/procedures.h"

struct audit;

// Appends to the file (made with mode 0600); "" for no log. NULL with errno when it cannot be opened.
struct audit *audit_open(const char *path);
void audit_close(struct audit *audit); // NULL is allowed
// Opens the file anew (after a rotation); goes on with the old one when that fails: SAGATE_OK, SAGATE_ESYS.
int audit_reopen(struct audit *audit);

void audit_write(struct audit *audit, const char *fqdn, const char *client_id, const struct procedure_answer *answer);

#endif
