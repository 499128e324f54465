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
    "  --mode requests|handshake|idle|hold|flood   what to do (requests)\n"
    "  --security none|dtls1.2|dtls1.3|tls1.2|tls1.3   plain CoAP, CoAP over DTLS, HTTP over TLS (dtls1.2)\n"
    "  --identity ID --key-hex HEX           pre-shared key; {} in ID is the number of the identity\n"
    "  --identities N                        device i uses identity i mod N (1)\n"
    "  --credentials FILE                    instead: lines \"IDENTITY HEXKEY\", device i has line i (from the start "
    "again)\n"
    "  --certificate FILE --certificate-key FILE --trust FILE   of the devices; CA of the server\n"
    "  --cipher NAME                         wolfSSL's name of the only suite\n"
    "  --cid BYTES | --no-cid                Connection ID for the server to use (0: none, but take the server's)\n"
    "  --from ORIGINATOR --path PATH         of requests; {} as above; without --from no oneM2M parameters\n"
    "  --devices N                           (64; TLS: window; flood: 65536) simulated devices; handshake: addresses "
    "that are\n"
    "                                        used in turn\n"
    "  --window N                            (64) handshakes or requests in progress\n"
    "  --sample N                            (10000) idle: devices that are asked at the end\n"
    "  --tries N                             (4) how often a request is sent before the device begins anew\n"
    "  --seconds N --warm-up N               (5, 1) idle: seconds to hold\n"
    "  --source ADDRESS                      (127.1.0.0) first source address\n"
    "  --rate N                              open loop: requests per second over all devices, at a constant rate\n"
    "  --think MS                            closed loop: mean pause of a device before its next request\n"
    "  --mix NAME=N,...                      weights of retrieve, create, discover and notify (retrieve=1)\n"
    "  --payload BYTES                       (64) content of a create, up to 65536\n"
    "  --rebind SECONDS --churn SECONDS      mean times: another source address and port; close_notify, new handshake\n"
    "  --flood hello|garbage|record|cookie   (hello) mode flood, with --rate N datagrams per second (0: all it can)\n"
    "  --resume                              handshakes with the ticket of the one before\n"
    "  --alerts                              handshakes that are to end with an alert: wrong keys, unknown identities\n"
    "  --histogram --progress                latencies in full; a line per second on standard error\n";

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
    RATE,
    THINK,
    MIX,
    PAYLOAD,
    REBIND,
    CHURN,
    FLOOD,
    RESUME,
    ALERTS,
    HISTOGRAM,
    PROGRESS,
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
    {"rate", 1, NULL, RATE},
    {"think", 1, NULL, THINK},
    {"mix", 1, NULL, MIX},
    {"payload", 1, NULL, PAYLOAD},
    {"rebind", 1, NULL, REBIND},
    {"churn", 1, NULL, CHURN},
    {"flood", 1, NULL, FLOOD},
    {"resume", 0, NULL, RESUME},
    {"alerts", 0, NULL, ALERTS},
    {"histogram", 0, NULL, HISTOGRAM},
    {"progress", 0, NULL, PROGRESS},
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
    case RATE:
        return &options->rate;
    case THINK:
        return &options->think;
    case PAYLOAD:
        return &options->payload;
    case REBIND:
        return &options->rebind;
    case CHURN:
        return &options->churn;
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

static bool *flag_of(struct load_options *options, int id)
{
    switch (id) {
    case NO_CID:
        return &options->no_cid;
    case RESUME:
        return &options->resume;
    case ALERTS:
        return &options->alerts;
    case HISTOGRAM:
        return &options->histogram;
    case PROGRESS:
        return &options->progress;
    default:
        return NULL;
    }
}

// Names, and what they stand for.
static bool take_name(struct load_options *options, int id, const char *text)
{
    static const char *const modes[] = {"requests", "handshake", "idle", "hold", "flood"};
    static const char *const securities[] = {"none", "dtls1.2", "dtls1.3", "tls1.2", "tls1.3"};
    static const char *const floods[] = {"hello", "garbage", "record", "cookie"};
    int place;
    switch (id) {
    case MODE:
        place = place_of(text, modes, sizeof modes / sizeof *modes);
        options->mode = place >= 0 ? (enum load_mode)place : LOAD_REQUESTS;
        return place >= 0;
    case SECURITY:
        place = place_of(text, securities, sizeof securities / sizeof *securities);
        options->security = place >= 0 ? (enum load_security)place : LOAD_NONE;
        return place >= 0;
    case FLOOD:
        place = place_of(text, floods, sizeof floods / sizeof *floods);
        options->flood = place >= 0 ? (enum load_flood)place : FLOOD_HELLO;
        return place >= 0;
    default:
        return false;
    }
}

static bool take(struct load_options *options, int id, const char *text)
{
    unsigned *value = number_of(options, id);
    const char **string = text_of(options, id);
    bool *flag = flag_of(options, id);
    struct address source;
    if (value != NULL) {
        *value = number(text);
        return true;
    }
    if (string != NULL) {
        *string = text;
        return true;
    }
    if (flag != NULL) {
        *flag = true;
        return true;
    }
    switch (id) {
    case KEY_HEX:
        options->key_len = load_key_of(text, options->key);
        return true;
    case MIX:
        return request_mix_parse(text, &options->mix);
    case SOURCE:
        if (address_parse(text, 0, &source) != SAGATE_OK || source.any.sa_family != AF_INET)
            return false;
        options->source = ntohl(source.v4.sin_addr.s_addr);
        return true;
    default:
        return take_name(options, id, text);
    }
}

// What depends on other options.
static void complete(struct load_options *options)
{
    enum { DEVICES_DEFAULT = 64, FLOOD_DEVICES = 65536, SOURCE_DEFAULT = 0x7f010000 /* 127.1.0.0 */, LOOPBACK = 127 };
    bool stream = options->security == LOAD_TLS12 || options->security == LOAD_TLS13;
    bool loopback =
        options->target.any.sa_family == AF_INET && ntohl(options->target.v4.sin_addr.s_addr) >> 24 == LOOPBACK;
    if (options->devices == 0)
        options->devices = options->mode == LOAD_FLOOD ? FLOOD_DEVICES : stream ? options->window : DEVICES_DEFAULT;
    // Connections elsewhere come from wherever the kernel takes them.
    if (options->source == 0 && (!stream || loopback))
        options->source = SOURCE_DEFAULT;
}

static bool fits(const struct load_options *options)
{
    bool stream = options->security == LOAD_TLS12 || options->security == LOAD_TLS13;
    return options->window > 0 && options->identities > 0 && options->cid_bytes <= 16 &&
           (options->certificate == NULL) == (options->certificate_key == NULL) &&
           (options->rate == 0 || options->think == 0) && options->payload <= REQUEST_CONTENT_MAX &&
           (options->mode != LOAD_HANDSHAKE || options->security != LOAD_NONE) &&
           (options->mode != LOAD_FLOOD || !stream);
}

int load_options_parse(int argc, char **argv, struct load_options *options)
{
    *options = (struct load_options){.mode = LOAD_REQUESTS,
                                     .security = LOAD_DTLS12,
                                     .path = "/",
                                     .identities = 1,
                                     .window = 64,
                                     .sample = 10000,
                                     .tries = 4,
                                     .seconds = 5,
                                     .warm_up = 1,
                                     .payload = 64,
                                     .mix = {.weight = {[REQUEST_RETRIEVE] = 1}, .total = 1}};
    bool ok = true;
    int id;
    while ((id = getopt_long(argc, argv, "", names, NULL)) != -1)
        ok = take(options, id, optarg) && ok;
    ok = ok && optind == argc && options->target_text != NULL &&
         address_parse_pair(options->target_text, &options->target) == SAGATE_OK && fits(options);
    if (!ok) {
        (void)fputs(usage, stderr);
        return -1;
    }
    complete(options);
    if (options->credentials_file != NULL)
        load_credentials_read(options);
    return 0;
}

void load_text(const char *pattern, uint32_t value, char out[LOAD_TEXT_MAX])
{
    const char *mark = strstr(pattern, "{}");
    if (mark == NULL)
        (void)snprintf(out, LOAD_TEXT_MAX, "%s", pattern);
    else
        (void)snprintf(out, LOAD_TEXT_MAX, "%.*s%u%s", (int)(mark - pattern), pattern, value, mark + 2);
}
