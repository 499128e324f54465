// sagate-tef: a small MAF and MEF.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "common/log.h"
#include "common/secret.h"
#include "controlplane/keystore/keystore.h"
#include "controlplane/tefserver/commands.h"
#include "controlplane/tefserver/server.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

static void usage(FILE *out)
{
    (void)fprintf(out,
                  "usage: sagate-tef -c FILE [-t | COMMAND]\n"
                  "  -c, --config FILE   the configuration\n"
                  "  -t, --test          check it, with the files that it names, and exit\n"
                  "  -V, --version       print the version and exit\n"
                  "  -h, --help          print this and exit\n"
                  "commands:\n%s",
                  command_usage);
}

static struct settings *load_settings(const char *path)
{
    struct settings *settings = NULL;
    struct config_errors errors;
    int result = settings_load(path, &settings, &errors);
    if (errors.text != NULL)
        (void)fprintf(stderr, "%s\n", errors.text);
    else if (result != SAGATE_OK)
        (void)fprintf(stderr, "%s: %s\n", path, sagate_strerror(result));
    config_errors_free(&errors);
    return settings;
}

static struct tef_store *open_store(const struct settings *settings)
{
    char why[KEYSTORE_ERROR_MAX];
    struct tef_store *store = NULL;
    uint8_t *key = NULL;
    size_t len = 0;
    _Static_assert((int)TEF_STORE_ERROR_MAX <= (int)KEYSTORE_ERROR_MAX, "one text for both");
    if (keystore_load(settings->store_key, NULL, &key, &len, why) != SAGATE_OK)
        (void)fprintf(stderr, "sagate-tef: store_key: %s\n", why);
    else if (len != TEF_STORE_KEY)
        (void)fprintf(stderr, "sagate-tef: store_key: found %zu bytes, expected %d\n", len, TEF_STORE_KEY);
    else if (tef_store_open(settings->store, key, &store, why) != SAGATE_OK)
        (void)fprintf(stderr, "sagate-tef: %s\n", why);
    secret_free(key);
    return store;
}

static int check(const struct settings *settings)
{
    char why[SERVER_ERROR_MAX] = "";
    char text[ADDRESS_TEXT_MAX];
    struct handshake_contexts *contexts = NULL;
    struct tef_store *store = open_store(settings);
    int result = store == NULL ? SAGATE_ECONFIG : server_contexts(settings, &contexts, why);
    tef_store_close(store);
    handshake_contexts_free(contexts);
    if (result != SAGATE_OK) {
        if (why[0] != '\0')
            (void)fprintf(stderr, "sagate-tef: %s\n", why);
        return EXIT_FAILURE;
    }
    for (size_t i = 0; i < settings->function_count; i++) {
        const struct settings_function *function = &settings->functions[i];
        (void)printf("%s %s at %s: %s%s%s\n", function->kind == TEF_MAF ? "MAF" : "MEF", function->fqdn,
                     address_format(&function->address, text), function->psk ? "PSK" : "",
                     function->psk && function->trust_anchors_file[0] != '\0' ? ", " : "",
                     function->trust_anchors_file[0] != '\0' ? "certificates" : "");
    }
    return EXIT_SUCCESS;
}

static void on_stop(evutil_socket_t signal, short what, void *context)
{
    (void)signal;
    (void)what;
    (void)event_base_loopbreak(context);
}

static void on_hangup(evutil_socket_t signal, short what, void *context)
{
    (void)signal;
    (void)what;
    if (audit_reopen(context) != SAGATE_OK)
        log_error("the audit log cannot be opened anew: %s", strerror(errno));
}

static struct event *watch(struct event_base *base, int signal, event_callback_fn callback, void *context)
{
    struct event *event = evsignal_new(base, signal, callback, context);
    if (event != NULL)
        (void)event_add(event, NULL);
    return event;
}

static int loop(struct event_base *base, const struct settings *settings, struct tef_store *store, struct audit *audit)
{
    static struct counts counts;
    char why[SERVER_ERROR_MAX] = "";
    struct handshake_contexts *contexts = NULL;
    struct server *server = NULL;
    struct counts_http *http = NULL;
    int result = server_contexts(settings, &contexts, why);
    if (result == SAGATE_OK)
        result = server_new(base, settings, store, audit, &counts, contexts, &server, why);
    if (result == SAGATE_OK && settings->metrics.len > 0) {
        http = counts_http_new(base, &settings->metrics, &counts);
        if (http == NULL) {
            (void)snprintf(why, sizeof why, "metrics: %s", strerror(errno));
            result = SAGATE_ESYS;
        }
    }
    if (result != SAGATE_OK) {
        log_error("%s", why[0] != '\0' ? why : sagate_strerror(result));
    } else {
        struct event *events[] = {watch(base, SIGTERM, on_stop, base), watch(base, SIGINT, on_stop, base),
                                  watch(base, SIGHUP, on_hangup, audit)};
        log_info("ready");
        (void)event_base_dispatch(base);
        for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
            if (events[i] != NULL)
                event_free(events[i]);
        }
    }
    counts_http_free(http);
    server_free(server);
    return result == SAGATE_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int serve(const struct settings *settings)
{
    int status = EXIT_FAILURE;
    (void)signal(SIGPIPE, SIG_IGN);
    struct tef_store *store = open_store(settings);
    struct audit *audit = store == NULL ? NULL : audit_open(settings->audit_log);
    struct event_base *base = audit == NULL ? NULL : event_base_new();
    if (store != NULL && audit == NULL)
        log_error("%s: %s", settings->audit_log, strerror(errno));
    if (base != NULL) {
        status = loop(base, settings, store, audit);
        event_base_free(base);
    }
    audit_close(audit);
    tef_store_close(store);
    return status;
}

static int provision(const struct settings *settings, int argc, char **argv)
{
    struct tef_store *store = open_store(settings);
    int status = store == NULL ? EXIT_FAILURE : command_run(settings, store, argc, argv);
    tef_store_close(store);
    if (status == 2)
        usage(stderr);
    return status;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"test", no_argument, NULL, 't'},
                                            {"version", no_argument, NULL, 'V'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *path = NULL;
    bool test = false;
    int option;
    while ((option = getopt_long(argc, argv, "+c:tVh", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            path = optarg;
            break;
        case 't':
            test = true;
            break;
        case 'V':
            (void)puts("sagate-tef " SAGATE_VERSION);
            return EXIT_SUCCESS;
        case 'h':
            usage(stdout);
            return EXIT_SUCCESS;
        default:
            usage(stderr);
            return 2;
        }
    }
    if (path == NULL || (test && optind != argc)) {
        usage(stderr);
        return 2;
    }
    log_set_process("tef");
    (void)prctl(PR_SET_DUMPABLE, 0); // no core file, no debugger: keys are in memory
    struct settings *settings = load_settings(path);
    if (settings == NULL)
        return EXIT_FAILURE;
    log_set_level(settings->log_level);
    int status = test            ? check(settings)
                 : optind < argc ? provision(settings, argc - optind, argv + optind)
                                 : serve(settings);
    settings_free(settings);
    return status;
}
