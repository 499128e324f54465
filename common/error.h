// The one table of errors: every fallible function of sagate returns 0 (or a count) or one of these.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_COMMON_ERROR_H
#define SAGATE_COMMON_ERROR_H

// X(name, value, text). Errors are negative; what is no failure has its own name and is positive.
#define SAGATE_ERRORS(X)                                      \
    X(SAGATE_EINVAL, -1, "invalid argument")                  \
    X(SAGATE_ENOMEM, -2, "out of memory")                     \
    X(SAGATE_ESYS, -3, "system call failed")                  \
    X(SAGATE_ELIMIT, -4, "a configured limit is reached")     \
    X(SAGATE_EMALFORMED, -5, "malformed input")               \
    X(SAGATE_ETOOBIG, -6, "input larger than its limit")      \
    X(SAGATE_EUNSUPPORTED, -7, "not supported")               \
    X(SAGATE_ENOTFOUND, -8, "not found")                      \
    X(SAGATE_EEXISTS, -9, "exists already")                   \
    X(SAGATE_ECONFIG, -10, "configuration error")             \
    X(SAGATE_EPERM, -11, "not permitted")                     \
    X(SAGATE_ETIMEOUT, -12, "deadline passed")                \
    X(SAGATE_EGONE, -13, "the peer or object is gone")        \
    X(SAGATE_EUNAVAILABLE, -14, "no healthy upstream")        \
    X(SAGATE_EHANDSHAKE, -15, "handshake failed")             \
    X(SAGATE_ERECORD, -16, "record rejected")                 \
    X(SAGATE_EDENIED, -17, "refused by the originator check") \
    X(SAGATE_EBUSY, -18, "busy")                              \
    X(SAGATE_EINTERNAL, -19, "internal error")                \
    X(SAGATE_EKEY, -20, "key unusable")                       \
    X(SAGATE_EVERSION, -21, "version mismatch")

enum sagate_error {
#define X(name, value, text) name = (value),
    SAGATE_ERRORS(X)
#undef X
};

// No failures: the work goes on later, or has changed hands.
enum sagate_status {
    SAGATE_OK = 0,
    SAGATE_AGAIN = 1,  // nothing more can be done now; call again when told so
    SAGATE_PARKED = 2, // a handshake waits for the control plane (design: "park")
    SAGATE_DONE = 3,   // the last step of a sequence is done
};

// Text for an error or status; a static string, never NULL, safe in every thread.
const char *sagate_strerror(int error);

#endif
