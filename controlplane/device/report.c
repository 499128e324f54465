// Reports of steps, and the meaning of alerts.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/device/report.h"

#include <stdio.h>
#include <stdlib.h>

static const struct {
    int alert;
    const char *name, *hint;
} alerts[] = {
    {0, "close_notify", "the server has ended the association: it may be draining, or refuse this device"},
    {10, "unexpected_message", "the server did not expect this message: is something between that changes messages?"},
    {20, "bad_record_mac", "version 1.2 with a PSK: identity or key is wrong (both look alike on purpose)"},
    {40, "handshake_failure", "no cipher suite or version in common, or the credential is not accepted"},
    {42, "bad_certificate", "the certificate is damaged, or its signature does not fit"},
    {43, "unsupported_certificate", "the certificate's kind or key usage is not accepted"},
    {44, "certificate_revoked", "the certificate is on a revocation list"},
    {45, "certificate_expired", "the certificate's time is over, or a clock is wrong"},
    {46, "certificate_unknown", "the certificate names nobody that the server can map to an originator"},
    {47, "illegal_parameter", "a field of the handshake has a forbidden value"},
    {48, "unknown_ca", "the certificate's issuer is no trust anchor of the other side"},
    {49, "access_denied", "the server does not let this credential in"},
    {50, "decode_error", "a message could not be parsed"},
    {51, "decrypt_error",
     "version 1.3 with a PSK: identity or key is wrong (both look alike on purpose); else a signature is"},
    {70, "protocol_version", "the server does not speak this version: try the other of 1.2 and 1.3"},
    {71, "insufficient_security", "the server wants stronger cipher suites"},
    {80, "internal_error", "the server failed by itself: its log says more"},
    {109, "missing_extension", "the server misses an extension"},
    {112, "unrecognized_name", "the server has no certificate for this --server-name"},
    {115, "unknown_psk_identity", "the server does not know this PSK identity"},
    {116, "certificate_required", "the server wants a certificate: --certificate and --key"},
};

static size_t find(int alert)
{
    size_t i = 0;
    while (i < sizeof alerts / sizeof *alerts && alerts[i].alert != alert)
        i++;
    return i;
}

const char *report_alert_name(int alert)
{
    size_t i = find(alert);
    return i < sizeof alerts / sizeof *alerts ? alerts[i].name : "unknown alert";
}

const char *report_alert_hint(int alert)
{
    size_t i = find(alert);
    return i < sizeof alerts / sizeof *alerts ? alerts[i].hint : NULL;
}

static void print_for_people(const char *step, json_t *details, const char *why, const char *hint)
{
    const char *name;
    json_t *value;
    (void)fprintf(stderr, "%s: %s", step, why == NULL ? "ok" : "FAILED: ");
    if (why != NULL)
        (void)fputs(why, stderr);
    json_object_foreach(details, name, value)
    {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        if (json_is_string(value))
            (void)fprintf(stderr, " %s=%s", name, json_string_value(value));
        else if (text != NULL)
            (void)fprintf(stderr, " %s=%s", name, text);
        free(text);
    }
    (void)fputc('\n', stderr);
    if (hint != NULL)
        (void)fprintf(stderr, "  hint: %s\n", hint);
}

static void print(const struct report *report, const char *step, json_t *details, const char *why, const char *hint)
{
    if (report->json) {
        json_t *object = json_pack("{s:s, s:b, s:s*, s:s*}", "step", step, "ok", why == NULL, "why", why, "hint", hint);
        if (details != NULL)
            (void)json_object_update_missing(object, details);
        (void)json_dumpf(object, stdout, JSON_COMPACT);
        (void)fputc('\n', stdout);
        (void)fflush(stdout);
        json_decref(object);
    } else {
        print_for_people(step, details, why, hint);
    }
    json_decref(details);
}

void report_step(const struct report *report, const char *step, json_t *details)
{
    print(report, step, details, NULL, NULL);
}

int report_failure(const struct report *report, const char *step, json_t *details, const char *why, const char *hint,
                   int status)
{
    print(report, step, details, why, hint);
    return status;
}
