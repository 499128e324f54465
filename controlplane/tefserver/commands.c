// Provisioning from the command line, straight into the store, which the running server shares.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/tefserver/commands.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/onem2m.h"
#include "common/secret.h"
#include "controlplane/keystore/keystore.h"
#include "controlplane/tefserver/procedures.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <unistd.h>

enum { GENERATED = 32, PSK_MIN = 16, COUNT_MAX = 1000000 };

const char command_usage[] =
    "  client add --id ID [--psk-identity IDENTITY (--psk-hex-file FILE | --generate)] [--admin FQDN]… [--target-any]\n"
    "  client list\n"
    "  client remove --id ID\n"
    "  key list\n"
    "  key add [--kind maf|mef] --source ID --target ID --suid N --count N --output FILE\n";

struct options {
    const char *id, *psk_identity, *psk_file, *source, *target, *output;
    bool generate;
    enum tef_kind kind;
    unsigned long suid, count;
    struct tef_store_client client; // admins and target_any
};

static int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)fputs("sagate-tef: ", stderr);
    (void)vfprintf(stderr, format, arguments);
    (void)fputc('\n', stderr);
    va_end(arguments);
    return 1;
}

static bool add_admin(struct tef_store_client *client, const char *fqdn)
{
    size_t at = strlen(client->admins);
    size_t len = strlen(fqdn);
    if (len == 0 || len > 253 || at + len + 2 > sizeof client->admins)
        return false;
    if (at > 0)
        client->admins[at++] = ' ';
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)fqdn[i];
        if (!isalnum(c) && c != '.' && c != '-')
            return false;
        client->admins[at + i] = (char)tolower(c);
    }
    client->admins[at + len] = '\0';
    return true;
}

static bool take_number(const char *text, unsigned long most, unsigned long *out)
{
    char *end = NULL;
    errno = 0;
    *out = strtoul(text, &end, 10);
    return isdigit((unsigned char)text[0]) && *end == '\0' && errno == 0 && *out <= most;
}

static bool take_option(int option, const char *value, struct options *options)
{
    switch (option) {
    case 'i':
        options->id = value;
        return true;
    case 'p':
        options->psk_identity = value;
        return true;
    case 'f':
        options->psk_file = value;
        return true;
    case 'g':
        options->generate = true;
        return true;
    case 'a':
        return add_admin(&options->client, value);
    case 'y':
        options->client.target_any = true;
        return true;
    case 's':
        options->source = value;
        return true;
    case 't':
        options->target = value;
        return true;
    case 'o':
        options->output = value;
        return true;
    case 'u':
        return take_number(value, 99, &options->suid);
    case 'n':
        return take_number(value, COUNT_MAX, &options->count);
    case 'k':
        options->kind = strcmp(value, "mef") == 0 ? TEF_MEF : TEF_MAF;
        return strcmp(value, "mef") == 0 || strcmp(value, "maf") == 0;
    default:
        return false;
    }
}

static bool read_options(int argc, char **argv, struct options *options)
{
    static const struct option known[] = {{"id", required_argument, NULL, 'i'},
                                          {"psk-identity", required_argument, NULL, 'p'},
                                          {"psk-hex-file", required_argument, NULL, 'f'},
                                          {"generate", no_argument, NULL, 'g'},
                                          {"admin", required_argument, NULL, 'a'},
                                          {"target-any", no_argument, NULL, 'y'},
                                          {"source", required_argument, NULL, 's'},
                                          {"target", required_argument, NULL, 't'},
                                          {"output", required_argument, NULL, 'o'},
                                          {"suid", required_argument, NULL, 'u'},
                                          {"count", required_argument, NULL, 'n'},
                                          {"kind", required_argument, NULL, 'k'},
                                          {NULL, 0, NULL, 0}};
    int option;
    *options = (struct options){.kind = TEF_MAF, .count = 1};
    optind = 0; // a second run of getopt
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (!take_option(option, optarg, options))
            return false;
    }
    return optind == argc;
}

static bool absolute_ok(const char *id)
{
    return id != NULL && strlen(id) <= TEF_ID_MAX && onem2m_id_kind(slice_text(id)) == ONEM2M_ID_ABSOLUTE;
}

static void print_hex(FILE *out, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        (void)fprintf(out, "%02x", bytes[i]);
}

// --- Clients -----------------------------------------------------------------------------------------------------

// The key that the options name, in secret memory; NULL after the reason was printed.
static uint8_t *make_psk(const struct options *options, size_t *len)
{
    char why[KEYSTORE_ERROR_MAX] = "";
    char *reference = NULL;
    uint8_t *psk = NULL;
    if (options->generate) {
        psk = secret_alloc(GENERATED);
        *len = GENERATED;
        if (psk != NULL && getrandom(psk, GENERATED, 0) == GENERATED)
            return psk;
        (void)fail("no random bytes");
    } else if (asprintf(&reference, "file:%s", options->psk_file) >= 0) {
        int result = keystore_load(reference, NULL, &psk, len, why);
        free(reference);
        if (result == SAGATE_OK && *len >= PSK_MIN)
            return psk;
        (void)fail("%s: %s", options->psk_file, result == SAGATE_OK ? "a key has at least 16 bytes" : why);
    }
    secret_free(psk);
    return NULL;
}

static int client_add(struct tef_store *store, struct options *options)
{
    struct tef_store_client *client = &options->client;
    uint8_t *psk = NULL;
    size_t len = 0;
    bool file = options->psk_file != NULL;
    if (!absolute_ok(options->id))
        return fail("--id: expected an absolute CSE-ID or AE-ID such as //sp.example/Sdev1");
    if (options->psk_identity != NULL ? file == options->generate : file || options->generate)
        return fail("--psk-identity goes with one of --psk-hex-file and --generate");
    (void)snprintf(client->id, sizeof client->id, "%s", options->id);
    if (options->psk_identity != NULL) {
        size_t identity_len = strlen(options->psk_identity);
        if (identity_len == 0 || identity_len > TEF_STORE_IDENTITY_MAX)
            return fail("--psk-identity: expected 1 to %d bytes", TEF_STORE_IDENTITY_MAX);
        (void)snprintf(client->psk_identity, sizeof client->psk_identity, "%s", options->psk_identity);
        psk = make_psk(options, &len);
        if (psk == NULL)
            return 1;
    }
    int result = tef_store_client_add(store, client, slice_of(psk, len));
    if (result == SAGATE_OK && options->generate) {
        print_hex(stdout, psk, len);
        (void)putchar('\n');
    }
    secret_free(psk);
    if (result == SAGATE_EEXISTS)
        return fail("there is a client with this ID, PSK identity or public domain name");
    return result == SAGATE_OK ? 0 : fail("%s", sagate_strerror(result));
}

static void print_client(void *context, const struct tef_store_client *client)
{
    (void)context;
    (void)printf("%s\t%s\t%s\t%s\n", client->id, client->psk_identity[0] != '\0' ? client->psk_identity : "certificate",
                 client->admins[0] != '\0' ? client->admins : "-", client->target_any ? "target-any" : "-");
}

static int client_remove(struct tef_store *store, const struct options *options)
{
    if (options->id == NULL)
        return fail("--id is missing");
    int result = tef_store_client_remove(store, options->id);
    return result == SAGATE_OK ? 0 : fail("%s: %s", options->id, sagate_strerror(result));
}

// --- Keys --------------------------------------------------------------------------------------------------------

static void print_key(void *context, enum tef_kind kind, const struct tef_store_key *key)
{
    char when[16];
    (void)context;
    tef_format_time(key->key.expires_at, when);
    (void)printf("%s\t%s\t%s\t%u\t%s\t%s%s\n", kind == TEF_MAF ? "maf" : "mef", key->key.relative_key_id,
                 key->key.source_id, key->key.suid, when, key->key.target_count > 0 ? key->key.targets[0] : "-",
                 key->key.target_count > 1 ? " …" : "");
}

static const char *fqdn_of(const struct settings *settings, enum tef_kind kind)
{
    for (size_t i = 0; i < settings->function_count; i++) {
        if (settings->functions[i].kind == kind)
            return settings->functions[i].fqdn;
    }
    return NULL;
}

static int write_keys(struct tef_store *store, const struct options *options, const char *fqdn,
                      struct tef_store_key *key, FILE *out)
{
    int result = tef_store_begin(store);
    for (unsigned long i = 0; i < options->count && result == SAGATE_OK; i++) {
        if (!procedure_random_key(&key->key, GENERATED))
            result = SAGATE_ESYS;
        if (result == SAGATE_OK)
            result = tef_store_key_add(store, options->kind, key);
        (void)fprintf(out, "%s@%s ", key->key.relative_key_id, fqdn);
        print_hex(out, key->key.key, key->key.key_len);
        (void)fputc('\n', out);
    }
    if (result == SAGATE_OK && fflush(out) != 0)
        result = SAGATE_ESYS;
    return result == SAGATE_OK ? tef_store_commit(store) : result;
}

static int key_add(const struct settings *settings, struct tef_store *store, const struct options *options)
{
    struct tef_store_client source;
    const char *fqdn = fqdn_of(settings, options->kind);
    if (fqdn == NULL)
        return fail("the configuration has no such function");
    if (!absolute_ok(options->target) || options->source == NULL || options->output == NULL)
        return fail("--source, --target, --suid and --output are needed; IDs are absolute");
    if (options->suid / 10 != (options->kind == TEF_MAF ? 3 : 2)) // TS-0004 6.3.4.2.39
        return fail("--suid: expected 3x for keys of a MAF, 2x for those of an MEF");
    if (tef_store_client_by_id(store, slice_text(options->source), &source) != SAGATE_OK)
        return fail("%s: no such client", options->source);
    int fd = open(options->output, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
    struct tef_store_key *key = out == NULL ? NULL : secret_alloc(sizeof *key);
    if (key == NULL)
        return fail("%s: %s", options->output, strerror(errno));
    size_t admin = strcspn(source.admins, " ");
    (void)snprintf(key->key.admin_fqdn, sizeof key->key.admin_fqdn, "%.*s", (int)admin, source.admins);
    (void)snprintf(key->key.source_id, sizeof key->key.source_id, "%s", options->source);
    (void)snprintf(key->key.targets[0], sizeof key->key.targets[0], "%s", options->target);
    key->key.target_count = 1;
    key->key.suid = (unsigned)options->suid;
    key->key.expires_at = clock_wall() + settings->limits.key_seconds;
    int result = write_keys(store, options, fqdn, key, out);
    secret_free(key);
    if (fclose(out) != 0 && result == SAGATE_OK)
        result = SAGATE_ESYS;
    if (result != SAGATE_OK)
        (void)unlink(options->output); // keys that are nowhere else
    return result == SAGATE_OK ? 0 : fail("%s", sagate_strerror(result));
}

int command_run(const struct settings *settings, struct tef_store *store, int argc, char **argv)
{
    struct options options;
    const char *noun = argc > 0 ? argv[0] : "";
    const char *verb = argc > 1 ? argv[1] : "";
    if (argc < 2 || !read_options(argc - 1, argv + 1, &options))
        return 2;
    if (strcmp(noun, "client") == 0 && strcmp(verb, "add") == 0)
        return client_add(store, &options);
    if (strcmp(noun, "client") == 0 && strcmp(verb, "list") == 0)
        return tef_store_client_each(store, print_client, NULL) == SAGATE_OK ? 0 : 1;
    if (strcmp(noun, "client") == 0 && strcmp(verb, "remove") == 0)
        return client_remove(store, &options);
    if (strcmp(noun, "key") == 0 && strcmp(verb, "list") == 0)
        return tef_store_key_each(store, print_key, NULL) == SAGATE_OK ? 0 : 1;
    if (strcmp(noun, "key") == 0 && strcmp(verb, "add") == 0)
        return key_add(settings, store, &options);
    return 2;
}
