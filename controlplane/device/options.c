// The command line of sagate-device.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/device/options.h"

#include "common/error.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PSK_IDENTITY_MAX = 512, COUNT_MAX = 1000000, LIFETIME_MAX = 31536000, TIMEOUT_MAX = 3600 };

// Options; those up to TEXT_OPTIONS only keep their text.
enum option_id {
    O_ASSOCIATION,
    O_PSK_IDENTITY,
    O_PSK_FILE,
    O_CERTIFICATE,
    O_KEY,
    O_CA,
    O_SERVER_NAME,
    O_CIPHER,
    O_FROM,
    O_TO,
    O_CONTENT,
    O_FQDN,
    O_CLIENT_ID,
    O_ADMIN,
    O_KEY_VALUE_FILE,
    O_OUTPUT,
    O_FOR,
    TEXT_OPTIONS,
    O_CONNECT,
    O_DTLS,
    O_TLS,
    O_BINDING,
    O_OP,
    O_TY,
    O_TARGET,
    O_LIFETIME,
    O_SUID,
    O_DERIVE,
    O_COUNT,
    O_TIMEOUT,
    O_CID,
    O_JSON,
};

static const struct option names[] = {{"association", 1, NULL, O_ASSOCIATION},
                                      {"psk-identity", 1, NULL, O_PSK_IDENTITY},
                                      {"psk-file", 1, NULL, O_PSK_FILE},
                                      {"certificate", 1, NULL, O_CERTIFICATE},
                                      {"key", 1, NULL, O_KEY},
                                      {"ca", 1, NULL, O_CA},
                                      {"server-name", 1, NULL, O_SERVER_NAME},
                                      {"cipher", 1, NULL, O_CIPHER},
                                      {"from", 1, NULL, O_FROM},
                                      {"to", 1, NULL, O_TO},
                                      {"content", 1, NULL, O_CONTENT},
                                      {"fqdn", 1, NULL, O_FQDN},
                                      {"client-id", 1, NULL, O_CLIENT_ID},
                                      {"admin", 1, NULL, O_ADMIN},
                                      {"key-value-file", 1, NULL, O_KEY_VALUE_FILE},
                                      {"output", 1, NULL, O_OUTPUT},
                                      {"for", 1, NULL, O_FOR},
                                      {"derive", 1, NULL, O_DERIVE},
                                      {"connect", 1, NULL, O_CONNECT},
                                      {"maf", 1, NULL, O_CONNECT},
                                      {"mef", 1, NULL, O_CONNECT},
                                      {"dtls", 1, NULL, O_DTLS},
                                      {"tls", 1, NULL, O_TLS},
                                      {"binding", 1, NULL, O_BINDING},
                                      {"op", 1, NULL, O_OP},
                                      {"ty", 1, NULL, O_TY},
                                      {"target", 1, NULL, O_TARGET},
                                      {"lifetime", 1, NULL, O_LIFETIME},
                                      {"suid", 1, NULL, O_SUID},
                                      {"count", 1, NULL, O_COUNT},
                                      {"timeout", 1, NULL, O_TIMEOUT},
                                      {"cid", 0, NULL, O_CID},
                                      {"json", 0, NULL, O_JSON},
                                      {NULL, 0, NULL, 0}};

// What is being read, and where the reason of a refusal goes.
struct reading {
    struct options *options;
    const char *binding;
    char *why;
    size_t cap;
};

__attribute__((format(printf, 2, 3))) static int refuse(const struct reading *reading, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(reading->why, reading->cap, format, arguments);
    va_end(arguments);
    return SAGATE_EINVAL;
}

int options_split_host(const char *text, char host[OPTIONS_HOST_MAX], const char **port)
{
    const char *colon = strrchr(text, ':');
    const char *from = text;
    if (colon == NULL || colon == text || colon[1] == '\0' || strspn(colon + 1, "0123456789") != strlen(colon + 1))
        return SAGATE_EINVAL;
    const char *end = colon;
    if (*text == '[' && colon[-1] == ']') {
        from = text + 1;
        end = colon - 1;
    } else if (memchr(text, ':', (size_t)(colon - text)) != NULL) {
        return SAGATE_EINVAL; // an IPv6 address without brackets
    }
    unsigned long number = strtoul(colon + 1, NULL, 10);
    size_t len = (size_t)(end - from);
    if (len == 0 || len >= OPTIONS_HOST_MAX || number == 0 || number > 65535)
        return SAGATE_EINVAL;
    memcpy(host, from, len);
    host[len] = '\0';
    *port = colon + 1;
    return SAGATE_OK;
}

static const char **text_of(struct options *options, int id)
{
    const char **const places[TEXT_OPTIONS] = {
        [O_ASSOCIATION] = &options->association,
        [O_PSK_IDENTITY] = &options->psk_identity,
        [O_PSK_FILE] = &options->psk_file,
        [O_CERTIFICATE] = &options->certificate,
        [O_KEY] = &options->certificate_key,
        [O_CA] = &options->ca,
        [O_SERVER_NAME] = &options->server_name,
        [O_CIPHER] = &options->cipher,
        [O_FROM] = &options->from,
        [O_TO] = &options->to,
        [O_CONTENT] = &options->content,
        [O_FQDN] = &options->fqdn,
        [O_CLIENT_ID] = &options->client_id,
        [O_ADMIN] = &options->admin,
        [O_KEY_VALUE_FILE] = &options->key_value_file,
        [O_OUTPUT] = &options->output,
        [O_FOR] = &options->derive_for,
    };
    return places[id];
}

static int take_number(const struct reading *reading, const char *name, unsigned long min, unsigned long max,
                       unsigned long *out)
{
    char *end;
    unsigned long value = strtoul(optarg, &end, 10);
    if (*optarg < '0' || *optarg > '9' || *end != '\0' || value < min || value > max)
        return refuse(reading, "--%s %s: expected a number from %lu to %lu", name, optarg, min, max);
    *out = value;
    return SAGATE_OK;
}

static int take_version(const struct reading *reading, bool dtls)
{
    struct options *options = reading->options;
    if (options->version != 0)
        return refuse(reading, "one of --dtls and --tls, once");
    if (strcmp(optarg, "1.2") != 0 && strcmp(optarg, "1.3") != 0)
        return refuse(reading, "--%s %s: expected 1.2 or 1.3", dtls ? "dtls" : "tls", optarg);
    options->dtls = dtls;
    options->version = optarg[2] - '0';
    return SAGATE_OK;
}

static int take_operation(const struct reading *reading)
{
    static const char *const operations[] = {"create", "retrieve", "update", "delete", "notify"};
    for (unsigned i = 0; i < sizeof operations / sizeof *operations; i++) {
        if (strcmp(optarg, operations[i]) == 0) {
            reading->options->operation = (enum onem2m_operation)(ONEM2M_CREATE + i);
            return SAGATE_OK;
        }
    }
    return refuse(reading, "--op %s: expected create, retrieve, update, delete or notify", optarg);
}

static int take_derivation(const struct reading *reading)
{
    static const char *const names_of[] = {"km", "kpsa", "usage"};
    for (unsigned i = 0; i < sizeof names_of / sizeof *names_of; i++) {
        if (strcmp(optarg, names_of[i]) == 0) {
            reading->options->derivation = (enum derivation)(DERIVATION_KM + i);
            return SAGATE_OK;
        }
    }
    return refuse(reading, "--derive %s: expected km, kpsa or usage", optarg);
}

static int take_counted(const struct reading *reading, int id)
{
    struct options *options = reading->options;
    unsigned long value = 0;
    int rc;
    switch (id) {
    case O_TY:
        rc = take_number(reading, "ty", 1, 65535, &value);
        options->type = (unsigned)value;
        return rc;
    case O_SUID:
        rc = take_number(reading, "suid", 10, 99, &value);
        options->suid = (unsigned)value;
        return rc;
    case O_COUNT:
        rc = take_number(reading, "count", 1, COUNT_MAX, &value);
        options->count = (unsigned)value;
        return rc;
    case O_LIFETIME:
        return take_number(reading, "lifetime", 60, LIFETIME_MAX, &options->lifetime);
    default:
        return take_number(reading, "timeout", 1, TIMEOUT_MAX, &options->timeout);
    }
}

static int take(struct reading *reading, int id)
{
    struct options *options = reading->options;
    switch (id) {
    case O_CONNECT:
        return options_split_host(optarg, options->host, &options->port) == SAGATE_OK
                   ? SAGATE_OK
                   : refuse(reading, "%s: expected HOST:PORT, or [ADDRESS]:PORT for IPv6", optarg);
    case O_DTLS:
    case O_TLS:
        return take_version(reading, id == O_DTLS);
    case O_BINDING:
        reading->binding = optarg;
        return SAGATE_OK;
    case O_OP:
        return take_operation(reading);
    case O_DERIVE:
        return take_derivation(reading);
    case O_TARGET:
        if (options->target_count == OPTIONS_TARGETS_MAX)
            return refuse(reading, "at most %d times --target", OPTIONS_TARGETS_MAX);
        options->targets[options->target_count++] = optarg;
        return SAGATE_OK;
    case O_CID:
        options->cid = true;
        return SAGATE_OK;
    case O_JSON:
        options->json = true;
        return SAGATE_OK;
    default:
        return take_counted(reading, id);
    }
}

// A text that goes into a line of a message: nothing that would end the line or a field in it.
static bool one_word(const char *text)
{
    for (; text != NULL && *text != '\0'; text++) {
        if ((unsigned char)*text <= ' ' || *text == 0x7f)
            return false;
    }
    return true;
}

static int check_credentials(const struct reading *reading)
{
    const struct options *options = reading->options;
    int ways = (options->association != NULL) + (options->psk_identity != NULL || options->psk_file != NULL) +
               (options->certificate != NULL || options->certificate_key != NULL);
    if (ways != 1)
        return refuse(reading, "one of --psk-identity with --psk-file, --certificate with --key, --association");
    if ((options->psk_identity == NULL) != (options->psk_file == NULL))
        return refuse(reading, "--psk-identity and --psk-file go together");
    if ((options->certificate == NULL) != (options->certificate_key == NULL))
        return refuse(reading, "--certificate and --key go together");
    if (options->psk_identity != NULL &&
        (options->psk_identity[0] == '\0' || strlen(options->psk_identity) > PSK_IDENTITY_MAX))
        return refuse(reading, "--psk-identity: 1 to %d bytes", PSK_IDENTITY_MAX);
    return SAGATE_OK;
}

static int check_request(const struct reading *reading)
{
    struct options *options = reading->options;
    if (reading->binding != NULL && strcmp(reading->binding, options->dtls ? "coap" : "http") != 0)
        return refuse(reading, "--binding %s: DTLS carries coap, and TLS http", reading->binding);
    if (options->command == COMMAND_ASSOCIATE)
        return SAGATE_OK;
    if (options->command == COMMAND_OBSERVE && !options->dtls)
        return refuse(reading, "observe is CoAP's (RFC 7641): it needs --dtls");
    if (options->from == NULL)
        return refuse(reading, "--from AE-ID is missing");
    if (options->to == NULL || options->to[0] != '/')
        return refuse(reading, "--to: expected a path that begins with /");
    if (!one_word(options->from) || strlen(options->from) > ONEM2M_ID_MAX || !one_word(options->to))
        return refuse(reading, "--from, --to: no spaces or control characters, and --from at most %d bytes",
                      ONEM2M_ID_MAX);
    if (options->operation == ONEM2M_CREATE && options->type == 0)
        return refuse(reading, "--op create needs --ty");
    return SAGATE_OK;
}

static int check_registration(const struct reading *reading)
{
    const struct options *options = reading->options;
    if (options->dtls)
        return refuse(reading, "keys are registered over TLS");
    if (options->fqdn == NULL || options->client_id == NULL || options->admin == NULL || options->output == NULL ||
        options->target_count == 0)
        return refuse(reading, "--fqdn, --client-id, --admin, --target and --output are needed");
    if (strncmp(options->client_id, "//", 2) != 0)
        return refuse(reading, "--client-id %s: expected an absolute AE-ID or CSE-ID, //sp.example/Sae",
                      options->client_id);
    if ((options->derivation != DERIVATION_NONE) != (options->derive_for != NULL) ||
        (options->derivation != DERIVATION_NONE && options->command != COMMAND_ENROL))
        return refuse(reading, "--derive and --for go together, and with enrol");
    if (!one_word(options->client_id) || !one_word(options->fqdn) || !one_word(options->admin))
        return refuse(reading, "--client-id, --fqdn, --admin: no spaces or control characters");
    if (options->certificate != NULL && options->ca == NULL)
        return refuse(reading, "--certificate needs --ca here: a key is not registered with whoever answers");
    return SAGATE_OK;
}

static int complete(const struct reading *reading)
{
    struct options *options = reading->options;
    bool registers = options->command == COMMAND_REGISTER_KEY || options->command == COMMAND_ENROL;
    if (options->port == NULL)
        return refuse(reading, "%s is missing", registers ? "--maf or --mef HOST:PORT" : "--connect HOST:PORT");
    if (options->version == 0 && !registers)
        return refuse(reading, "--dtls 1.2, --dtls 1.3, --tls 1.2 or --tls 1.3 is missing");
    if (options->version == 0)
        options->version = 2;
    if (options->cid && !options->dtls)
        return refuse(reading, "--cid is of DTLS");
    if (options->suid == 0)
        options->suid = options->command == COMMAND_ENROL ? 22 : 32;
    int rc = check_credentials(reading);
    if (rc != SAGATE_OK)
        return rc;
    return registers ? check_registration(reading) : check_request(reading);
}

static int take_command(const struct reading *reading, const char *word)
{
    static const char *const commands[] = {"request", "observe", "associate", "register-key", "enrol"};
    for (unsigned i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(word, commands[i]) == 0) {
            reading->options->command = (enum command)i;
            return SAGATE_OK;
        }
    }
    return refuse(reading, "%s: expected request, observe, associate, register-key or enrol", word);
}

int options_parse(int argc, char **argv, struct options *out, char *why, size_t cap)
{
    struct reading reading = {.options = out, .why = why, .cap = cap};
    *out = (struct options){.operation = ONEM2M_RETRIEVE, .count = 1, .timeout = 10, .lifetime = 86400};
    if (argc < 2)
        return refuse(&reading, "a command is missing");
    int rc = take_command(&reading, argv[1]);
    int id;
    optind = 0; // begins anew, also after another command line
    opterr = 0;
    while (rc == SAGATE_OK && (id = getopt_long(argc - 1, argv + 1, "+:", names, NULL)) != -1) {
        if (id == '?' || id == ':')
            rc = refuse(&reading, "%s: %s", argv[optind], id == '?' ? "no such option" : "its argument is missing");
        else if (id < TEXT_OPTIONS)
            *text_of(out, id) = optarg;
        else
            rc = take(&reading, id);
    }
    if (rc == SAGATE_OK && optind < argc - 1)
        rc = refuse(&reading, "%s: not expected", argv[1 + optind]);
    return rc == SAGATE_OK ? complete(&reading) : rc;
}
