// What sagate-device tells of each step: lines for people on standard error, or JSON objects on standard output.
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_CONTROLPLANE_DEVICE_REPORT_H
#define SAGATE_CONTROLPLANE_DEVICE_REPORT_H

#include <jansson.h>
#include <stdbool.h>

// Exit statuses of the program.
enum {
    EXIT_DONE = 0,
    EXIT_REFUSED = 1,   // the answer is no success
    EXIT_USAGE = 2,     // the command line, or a file of it
    EXIT_CONNECT = 3,   // nobody is there
    EXIT_HANDSHAKE = 4, // no association
    EXIT_ANSWER = 5,    // no answer, or none that can be understood
};

struct report {
    bool json;
};

// A step that went well. `details` (an object, or NULL) is taken over; it must hold no key.
void report_step(const struct report *report, const char *step, json_t *details);

// The step that failed, why, and what to look at (NULL: nothing to say). Returns `status`.
int report_failure(const struct report *report, const char *step, json_t *details, const char *why, const char *hint,
                   int status);

// What an alert means for who sees it: name and hint; static strings. "unknown alert" and NULL for other numbers.
const char *report_alert_name(int alert);
const char *report_alert_hint(int alert);

#endif
