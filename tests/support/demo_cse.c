// A demonstration CSE for tests and for scripts/quickstart: options, run-time mode, start and end.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "demo_cse.h"

#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const char *const fail_names[] = {"none", "close-mid-answer", "answer-twice", "nonsense", "never", "reset"};
static const char *const from_names[] = {"any", "stem", "sp-relative", "absolute"};

static const char usage[] =
    "Usage: sagate-demo-cse [options]\n"
    "A small oneM2M CSE for demonstrations and tests; it trusts every From.\n"
    "  --http ADDRESS:PORT, --coap ADDRESS:PORT   where to listen (at least one)\n"
    "  --cse-name NAME, --cse-id /ID, --sp-id //ID  default cse-in, /id-in, //sp.example\n"
    "  --admin ORIGINATOR        originator with full access (CAdmin)\n"
    "  --record FILE             one JSON object per line for what is received\n"
    "How other CSEs behave:\n"
    "  --one-recv                a request must come in one receive, else the connection is dropped\n"
    "  --close-each              close after each answer    --no-content-length   on answers without content\n"
    "  --stray-crlf              after each answer          --chunked             answers in chunks\n"
    "  --proxy-v2                connections begin with a PROXY protocol header\n"
    "  --old-options             CoAP option numbers of releases 1 and 2\n"
    "  --refuse-unknown-options  4.02 for any but the common oneM2M options\n"
    "  --separate                CoAP answers are separate\n"
    "  --from any|stem|sp-relative|absolute       other forms get 4103\n"
    "  --rqi-max N               a longer request identifier gets no answer\n"
    "  --delay MS                before each answer\n"
    "  --fail none|close-mid-answer|answer-twice|nonsense|never|reset\n"
    "POST /__demo/mode with a JSON object changes, while it runs: fail, count, match, delay, separate, chunked,\n"
    "close-each. Health requests fail too, unless \"match\" leaves them out.\n";

static int name_index(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (name != NULL && strcmp(names[i], name) == 0)
            return (int)i;
    return -1;
}

enum fail_mode demo_fail_now(struct demo *demo, const char *target)
{
    struct demo_options *options = &demo->options;
    enum fail_mode fail = options->fail;
    if (fail == FAIL_NONE ||
        (options->fail_match[0] != '\0' && (target == NULL || strstr(target, options->fail_match) == NULL)))
        return FAIL_NONE;
    if (target != NULL && options->fail_count > 0 && --options->fail_count == 0)
        options->fail = FAIL_NONE;
    return fail;
}

bool demo_set_mode(struct demo *demo, const uint8_t *body, size_t len)
{
    struct demo_options *options = &demo->options;
    json_t *mode = json_loadb((const char *)body, len, 0, NULL), *value;
    const char *name;
    bool ok = json_is_object(mode);
    if (json_object_get(mode, "fail") != NULL) { // a new failure forgets the conditions of the one before
        options->fail_count = 0;
        options->fail_match[0] = '\0';
    }
    json_object_foreach(mode, name, value)
    {
        if (strcmp(name, "fail") == 0) {
            int fail = name_index(fail_names, sizeof fail_names / sizeof fail_names[0], json_string_value(value));
            ok = ok && fail >= 0;
            options->fail = fail >= 0 ? (enum fail_mode)fail : FAIL_NONE;
        } else if (strcmp(name, "count") == 0) {
            options->fail_count = (unsigned)json_integer_value(value);
        } else if (strcmp(name, "match") == 0 && json_is_string(value)) {
            snprintf(options->fail_match, sizeof options->fail_match, "%s", json_string_value(value));
        } else if (strcmp(name, "delay") == 0) {
            options->delay_ms = (unsigned)json_integer_value(value);
        } else if (strcmp(name, "separate") == 0) {
            options->separate = json_is_true(value);
        } else if (strcmp(name, "chunked") == 0) {
            options->chunked = json_is_true(value);
        } else if (strcmp(name, "close-each") == 0) {
            options->close_each = json_is_true(value);
        } else {
            ok = false;
        }
    }
    json_decref(mode);
    return ok;
}

enum {
    OPT_HTTP = 256,
    OPT_COAP,
    OPT_NAME,
    OPT_CSE_ID,
    OPT_SP_ID,
    OPT_ADMIN,
    OPT_RECORD,
    OPT_FROM,
    OPT_RQI_MAX,
    OPT_DELAY,
    OPT_FAIL,
    OPT_HELP
};

static int parse_flag(struct demo_options *options, const char *name)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {
        {"one-recv", &options->one_recv},
        {"close-each", &options->close_each},
        {"no-content-length", &options->no_content_length},
        {"stray-crlf", &options->stray_crlf},
        {"chunked", &options->chunked},
        {"proxy-v2", &options->proxy_v2},
        {"old-options", &options->old_options},
        {"separate", &options->separate},
        {"refuse-unknown-options", &options->refuse_unknown_options},
    };
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (strcmp(flags[i].name, name) == 0) {
            *flags[i].flag = true;
            return 0;
        }
    }
    return -1;
}

static int parse_value(struct demo_options *options, int option, const char *value)
{
    int found;
    switch (option) {
    case OPT_HTTP:
        options->http = value;
        return 0;
    case OPT_COAP:
        options->coap = value;
        return 0;
    case OPT_NAME:
        options->cse_name = value;
        return 0;
    case OPT_CSE_ID:
        options->cse_id = value;
        return value[0] == '/' && value[1] != '\0' ? 0 : -1;
    case OPT_SP_ID:
        options->sp_id = value;
        return strncmp(value, "//", 2) == 0 ? 0 : -1;
    case OPT_ADMIN:
        options->admin = value;
        return 0;
    case OPT_RECORD:
        options->record_file = value;
        return 0;
    case OPT_FROM:
        found = name_index(from_names, sizeof from_names / sizeof from_names[0], value);
        options->from = (enum from_form)found;
        return found >= 0 ? 0 : -1;
    case OPT_RQI_MAX:
        options->rqi_max = (unsigned)strtoul(value, NULL, 10);
        return 0;
    case OPT_DELAY:
        options->delay_ms = (unsigned)strtoul(value, NULL, 10);
        return 0;
    case OPT_FAIL:
        found = name_index(fail_names, sizeof fail_names / sizeof fail_names[0], value);
        options->fail = (enum fail_mode)found;
        return found >= 0 ? 0 : -1;
    default:
        return -1;
    }
}

static int parse_options(struct demo_options *options, int argc, char **argv)
{
    static const struct option table[] = {
        {"http", 1, NULL, OPT_HTTP},
        {"coap", 1, NULL, OPT_COAP},
        {"cse-name", 1, NULL, OPT_NAME},
        {"cse-id", 1, NULL, OPT_CSE_ID},
        {"sp-id", 1, NULL, OPT_SP_ID},
        {"admin", 1, NULL, OPT_ADMIN},
        {"record", 1, NULL, OPT_RECORD},
        {"from", 1, NULL, OPT_FROM},
        {"rqi-max", 1, NULL, OPT_RQI_MAX},
        {"delay", 1, NULL, OPT_DELAY},
        {"fail", 1, NULL, OPT_FAIL},
        {"help", 0, NULL, OPT_HELP},
        {"one-recv", 0, NULL, 1},
        {"close-each", 0, NULL, 1},
        {"no-content-length", 0, NULL, 1},
        {"stray-crlf", 0, NULL, 1},
        {"chunked", 0, NULL, 1},
        {"proxy-v2", 0, NULL, 1},
        {"old-options", 0, NULL, 1},
        {"separate", 0, NULL, 1},
        {"refuse-unknown-options", 0, NULL, 1},
        {NULL, 0, NULL, 0},
    };
    int option, index = 0;
    while ((option = getopt_long(argc, argv, "", table, &index)) != -1) {
        if (option == OPT_HELP) {
            fputs(usage, stdout);
            exit(0);
        }
        int result = option == 1     ? parse_flag(options, table[index].name)
                     : option == '?' ? -1
                                     : parse_value(options, option, optarg);
        if (result != 0) {
            if (option != '?')
                fprintf(stderr, "sagate-demo-cse: --%s: wrong value\n", table[index].name);
            return -1;
        }
    }
    if (optind < argc || (options->http == NULL && options->coap == NULL)) {
        fputs(usage, stderr);
        return -1;
    }
    return 0;
}

static void on_signal(evutil_socket_t signal, short what, void *arg)
{
    (void)signal;
    (void)what;
    event_base_loopbreak(arg);
}

int main(int argc, char **argv)
{
    struct demo demo = {
        .options = {.cse_name = "cse-in", .cse_id = "/id-in", .sp_id = "//sp.example", .admin = "CAdmin"}};
    int status = 1;
    if (parse_options(&demo.options, argc, argv) != 0)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    demo.base = event_base_new();
    struct event *term = evsignal_new(demo.base, SIGTERM, on_signal, demo.base);
    struct event *interrupt = evsignal_new(demo.base, SIGINT, on_signal, demo.base);
    event_add(term, NULL);
    event_add(interrupt, NULL);
    if (record_open(&demo) == 0 && resources_init(&demo) == 0 &&
        (demo.options.http == NULL || http_start(&demo, demo.options.http) == 0) &&
        (demo.options.coap == NULL || coap_start(&demo, demo.options.coap) == 0)) {
        printf("ready\n");
        fflush(stdout);
        event_base_dispatch(demo.base);
        status = 0;
    }
    http_stop(&demo);
    coap_stop(&demo);
    resources_free(&demo);
    record_close(&demo);
    event_free(term);
    event_free(interrupt);
    event_base_free(demo.base);
    return status;
}
