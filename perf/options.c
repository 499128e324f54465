// The command line of the load generator.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "perf/load.h"

#include "common/error.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: sagate-load --target ADDRESS:PORT [options]\n"
    "  --mode requests|handshake|idle|hold   what to do (requests)\n"
    "  --security none|dtls1.2|dtls1.3|tls1.2|tls1.3   plain CoAP, CoAP over DTLS, HTTP over TLS (dtls1.2)\n"
    "  --identity ID --key-hex HEX           pre-shared key; {} in ID is the number of the identity\n"
    "  --identities N                        device i uses identity i mod N (1)\n"
    "  --credentials FILE                    instead: lines \"IDENTITY HEXKEY\", device i has line i (from the start "
    "again)\n"
    "  --certificate FILE --certificate-key FILE --trust FILE   of the devices; CA of the server\n"
    "  --cipher NAME                         wolfSSL's name of the only suite\n"
    "  --cid BYTES | --no-cid                Connection ID for the server to use (0: none, but take the server's)\n"
    "  --from ORIGINATOR --path PATH         of requests; {} as above; without --from no oneM2M parameters\n"
    "  --devices N                           (64) simulated devices; handshake: addresses that are used in turn\n"
    "  --window N                            (64) handshakes or requests in progress\n"
    "  --sample N                            (10000) idle: devices that are asked at the end\n"
    "  --tries N                             (4) how often a request is sent before the device begins anew\n"
    "  --seconds N --warm-up N               (5, 1) idle: seconds to hold\n"
    "  --source ADDRESS                      (127.1.0.0) first source address\n";

enum option_id {
    MODE = 256,
    SECURITY,
    TARGET,
    IDENTITY,
    KEY_HEX,
    IDENTITIES,
    CREDENTIALS,
    CERTIFICATE,
    CERTIFICATE_KEY,
    TRUST,
    CIPHER,
    CID,
    NO_CID,
    FROM,
    PATH,
    DEVICES,
    WINDOW_SIZE,
    SAMPLE,
    TRIES,
    SECONDS,
    WARM_UP,
    SOURCE,
};

static const struct option names[] = {
    {"mode", 1, NULL, MODE},
    {"security", 1, NULL, SECURITY},
    {"target", 1, NULL, TARGET},
    {"identity", 1, NULL, IDENTITY},
    {"key-hex", 1, NULL, KEY_HEX},
    {"identities", 1, NULL, IDENTITIES},
    {"credentials", 1, NULL, CREDENTIALS},
    {"certificate", 1, NULL, CERTIFICATE},
    {"certificate-key", 1, NULL, CERTIFICATE_KEY},
    {"trust", 1, NULL, TRUST},
    {"cipher", 1, NULL, CIPHER},
    {"cid", 1, NULL, CID},
    {"no-cid", 0, NULL, NO_CID},
    {"from", 1, NULL, FROM},
    {"path", 1, NULL, PATH},
    {"devices", 1, NULL, DEVICES},
    {"window", 1, NULL, WINDOW_SIZE},
    {"sample", 1, NULL, SAMPLE},
    {"tries", 1, NULL, TRIES},
    {"seconds", 1, NULL, SECONDS},
    {"warm-up", 1, NULL, WARM_UP},
    {"source", 1, NULL, SOURCE},
    {NULL, 0, NULL, 0},
};

// The place of `text` in a list of names; -1: not in it.
static int place_of(const char *text, const char *const *list, int count)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(text, list[i]) == 0)
            return i;
    }
    return -1;
}

static unsigned number(const char *text)
{
    return (unsigned)strtoul(text, NULL, 10);
}

// Settings with a number, and where they go; NULL: none of them.
static unsigned *number_of(struct load_options *options, int id)
{
    switch (id) {
    case IDENTITIES:
        return &options->identities;
    case CID:
        return &options->cid_bytes;
    case DEVICES:
        return &options->devices;
    case WINDOW_SIZE:
        return &options->window;
    case SAMPLE:
        return &options->sample;
    case TRIES:
        return &options->tries;
    case SECONDS:
        return &options->seconds;
    case WARM_UP:
        return &options->warm_up;
    default:
        return NULL;
    }
}

static const char **text_of(struct load_options *options, int id)
{
    switch (id) {
    case TARGET:
        return &options->target_text;
    case IDENTITY:
        return &options->identity;
    case CREDENTIALS:
        return &options->credentials_file;
    case CERTIFICATE:
        return &options->certificate;
    case CERTIFICATE_KEY:
        return &options->certificate_key;
    case TRUST:
        return &options->trust;
    case CIPHER:
        return &options->cipher;
    case FROM:
        return &options->from;
    case PATH:
        return &options->path;
    default:
        return NULL;
    }
}

static bool take(struct load_options *options, int id, const char *text)
{
    static const char *const modes[] = {"requests", "handshake", "idle", "hold"};
    static const char *const securities[] = {"none", "dtls1.2", "dtls1.3", "tls1.2", "tls1.3"};
    unsigned *value = number_of(options, id);
    const char **string = text_of(options, id);
    struct address source;
    int place;
    if (value != NULL) {
        *value = number(text);
        return true;
    }
    if (string != NULL) {
        *string = text;
        return true;
    }
    switch (id) {
    case MODE:
        place = place_of(text, modes, sizeof modes / sizeof *modes);
        options->mode = place >= 0 ? (enum load_mode)place : LOAD_REQUESTS;
        return place >= 0;
    case SECURITY:
        place = place_of(text, securities, sizeof securities / sizeof *securities);
        options->security = place >= 0 ? (enum load_security)place : LOAD_NONE;
        return place >= 0;
    case KEY_HEX:
        options->key_len = load_key_of(text, options->key);
        return true;
    case NO_CID:
        options->no_cid = true;
        return true;
    case SOURCE:
        if (address_parse(text, 0, &source) != SAGATE_OK || source.any.sa_family != AF_INET)
            return false;
        options->source = ntohl(source.v4.sin_addr.s_addr);
        return true;
    default:
        return false;
    }
}

int load_options_parse(int argc, char **argv, struct load_options *options)
{
    *options = (struct load_options){.mode = LOAD_REQUESTS,
                                     .security = LOAD_DTLS12,
                                     .path = "/",
                                     .identities = 1,
                                     .source = 0x7f010000, // 127.1.0.0
                                     .devices = 64,
                                     .window = 64,
                                     .sample = 10000,
                                     .tries = 4,
                                     .seconds = 5,
                                     .warm_up = 1};
    bool ok = true;
    int id;
    while ((id = getopt_long(argc, argv, "", names, NULL)) != -1)
        ok = take(options, id, optarg) && ok;
    ok = ok && optind == argc && options->target_text != NULL &&
         address_parse_pair(options->target_text, &options->target) == SAGATE_OK && options->devices > 0 &&
         options->window > 0 && options->identities > 0 && options->cid_bytes <= 16 &&
         (options->certificate == NULL) == (options->certificate_key == NULL);
    if (!ok)
        (void)fputs(usage, stderr);
    else if (options->credentials_file != NULL)
        load_credentials_read(options);
    return ok ? 0 : -1;
}

void load_text(const char *pattern, uint32_t value, char out[LOAD_TEXT_MAX])
{
    const char *mark = strstr(pattern, "{}");
    if (mark == NULL)
        (void)snprintf(out, LOAD_TEXT_MAX, "%s", pattern);
    else
        (void)snprintf(out, LOAD_TEXT_MAX, "%.*s%u%s", (int)(mark - pattern), pattern, value, mark + 2);
}
