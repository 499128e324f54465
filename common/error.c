// Texts of the error table.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"

const char *sagate_strerror(int error)
{
    switch (error) {
#define X(name, value, text) \
    case name:               \
        return text;
        SAGATE_ERRORS(X)
#undef X
    case SAGATE_OK:
        return "success";
    case SAGATE_AGAIN:
        return "try again later";
    case SAGATE_PARKED:
        return "parked";
    case SAGATE_DONE:
        return "done";
    default:
        return "unknown error";
    }
}
