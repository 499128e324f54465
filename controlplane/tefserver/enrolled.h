// Keys that clients of a MAF bring from an MEF (TS-0003 8.3.1.2, 8.8.2.2, 8.8.2.3): from an identity KeID to Km, which
// the MEF tells that is a function of this process, or another over the network. For the server's files.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_TEFSERVER_ENROLLED_H
#define SAGATE_CONTROLPLANE_TEFSERVER_ENROLLED_H

#include "controlplane/tefserver/connection.h"

struct enrolled;      // clients of MEFs elsewhere
struct enrolled_wait; // a question to one of them

// SAGATE_OK; SAGATE_ECONFIG with the reason in `why`; SAGATE_ENOMEM. The server must outlive it.
int enrolled_new(struct server *server, struct enrolled **enrolled, char why[SERVER_ERROR_MAX]);
void enrolled_free(struct enrolled *enrolled); // what waits must have been given up; NULL is allowed

// What an identity stands for; NULL: nobody that may come in. The key ends with the call.
typedef void enrolled_done(void *context, const struct tef_key *km);

// Whom a PSK identity stands for that no client was provisioned with, at this MAF: RELATIVE@MEF, or RELATIVE@MAF once
// the MAF has assigned it (KmID). SAGATE_OK with `km` (secret memory): the key, until when, and whose it is.
// SAGATE_PARKED with *wait: `done` will be called later, once, unless it is given up. Anything else: nobody.
int enrolled_find(struct server *server, const struct settings_function *function, struct slice identity,
                  enrolled_done *done, void *context, struct enrolled_wait **wait, struct tef_key *km);
void enrolled_give_up(struct enrolled_wait *wait); // NULL is allowed

// The ID that a MAF has at its MEFs, and that keys for it must name as target: "//sp.example/maf" of "maf.sp.example",
// so that its public domain name (TS-0001 6.5.1.1) is its FQDN again. False when the FQDN has only one label.
bool enrolled_maf_id(const char *fqdn, char id[TEF_ID_MAX + 1]);

#endif
