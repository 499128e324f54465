// The view of a oneM2M primitive that a binding gives (TS-0004 7.2); never a copy of its content.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_BINDING_PRIMITIVE_H
#define SAGATE_DATAPLANE_BINDING_PRIMITIVE_H

#include "common/onem2m.h"
#include "common/slice.h"

enum { PRIMITIVE_TY_ABSENT = -1 };

struct primitive {
    enum onem2m_operation operation;
    struct slice to;   // oneM2M form: CSE-relative "cse/ae", SP-relative "/cse/…", absolute "//sp/cse/…"; no query
    struct slice from; // data NULL: absent; empty but present counts as absent
    struct slice request_id; // data NULL: absent
    struct slice release_version;
    int ty; // resource type of a CREATE, or PRIMITIVE_TY_ABSENT
};

#endif
