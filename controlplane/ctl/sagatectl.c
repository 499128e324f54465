// sagatectl: the operator's command line, a client of the control socket (docs/control.md).
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/secret.h"
#include "controlplane/control/socket.h"
#include "controlplane/ctl/profile.h"
#include "controlplane/ctl/table.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { EXIT_REFUSED = 1, EXIT_TROUBLE = 2, KEY_FILE_MAX = 1024, ANSWER_MAX = 64 << 20, LIMIT_DEFAULT = 1000 };

static const char usage_text[] =
    "Usage: sagatectl [-s SOCKET] [--json] COMMAND\n"
    "\n"
    "  status                              what sagate is doing\n"
    "  associations list [--identity ID] [--limit N]\n"
    "  associations show ASSOCIATION\n"
    "  associations kill ASSOCIATION | --identity ID\n"
    "  identities list [--identity ID] [--limit N]\n"
    "  identities add ID --key-file FILE (--ae-id AE-ID … | --cse-id CSE-ID) [--expires TIME]\n"
    "  identities remove ID\n"
    "  identities forget ID AE-ID          forget an AE-ID that a CSE assigned\n"
    "  identities flush [--identity ID] [--end-associations]\n"
    "                                      forget what MAFs and MEFs have said\n"
    "  tef status                          MAFs and MEFs, registration and load\n"
    "  upstreams                           CSEs, their health and load\n"
    "  reload                              read the configuration anew\n"
    "  upgrade [--binary PATH] [--force]   go on with the data process of a new program\n"
    "  drain [on|off]                      take no new associations\n"
    "  log level [error|warning|info|debug]\n"
    "  profile [SECONDS]                   where the workers' time goes (default: 5 seconds)\n"
    "\n"
    "  -s, --socket SOCKET   control socket (default /run/sagate/control.sock)\n"
    "  --json                print sagate's answer as JSON\n"
    "  --limit N             how many to list (default 1000; 0: all)\n"
    "  --key-file FILE       file with the key in hexadecimal digits; - for standard input\n"
    "  --expires TIME        such as 2030-01-01T00:00:00Z\n"
    "  --binary PATH         the new program (default: the path by which sagate was started)\n"
    "  --force               also when DTLS associations would be lost\n"
    "  --end-associations    end the associations of what is flushed\n"
    "\n"
    "Exit status: 0 done, 1 refused by sagate, 2 wrong usage or sagate not reached.\n";

struct options {
    const char *socket, *identity, *key_file, *cse_id, *expires, *binary;
    json_t *ae_ids;
    json_int_t limit;
    bool json, limit_set, force, end_associations;
};

struct session {
    struct options options;
    char **words;
    size_t word_count;
    FILE *in, *out;
};

__attribute__((noreturn, format(printf, 1, 2))) static void stop(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)fputs("sagatectl: ", stderr);
    (void)vfprintf(stderr, format, arguments);
    (void)fputc('\n', stderr);
    va_end(arguments);
    exit(EXIT_TROUBLE);
}

static void session_connect(struct session *session)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(session->options.socket) >= sizeof address.sun_path)
        stop("%s: the path is too long for a socket", session->options.socket);
    memcpy(address.sun_path, session->options.socket, strlen(session->options.socket) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        stop("%s: %s", session->options.socket,
             errno == ENOENT || errno == ECONNREFUSED ? "sagate does not run here (or see -s)" : strerror(errno));
    session->in = fdopen(fd, "r");
    session->out = fdopen(dup(fd), "w");
    if (session->in == NULL || session->out == NULL)
        stop("%s", strerror(errno));
    // The buffer would keep a copy of a key.
    (void)setvbuf(session->out, NULL, _IONBF, 0);
}

// Sends a command (its reference is taken) and waits for the answer. Ends the program when sagate refuses.
static json_t *ask(struct session *session, const char *name, json_t *command)
{
    if (command == NULL || json_object_set_new(command, "v", json_integer(SOCKET_PROTOCOL)) != 0 ||
        json_object_set_new(command, "command", json_string(name)) != 0)
        stop("out of memory, or an argument is not UTF-8");
    if (session->in == NULL)
        session_connect(session);
    char *text = json_dumps(command, JSON_COMPACT);
    json_decref(command);
    bool sent = text != NULL && fputs(text, session->out) >= 0 && fputc('\n', session->out) != EOF;
    if (text != NULL)
        secret_zero(text, strlen(text));
    free(text);
    char *line = NULL;
    size_t room = 0;
    ssize_t len = sent ? getline(&line, &room, session->in) : -1;
    if (len <= 0 || len > ANSWER_MAX)
        stop("sagate closed the connection without an answer");
    json_t *answer = json_loadb(line, (size_t)len, 0, NULL);
    free(line);
    if (!json_is_object(answer))
        stop("sagate's answer is not understood");
    if (!json_is_true(json_object_get(answer, "ok"))) {
        const char *error = json_string_value(json_object_get(answer, "error"));
        if (session->options.json)
            (void)json_dumpf(answer, stdout, JSON_INDENT(2));
        (void)fprintf(stderr, "%ssagatectl: %s\n", session->options.json ? "\n" : "",
                      error == NULL ? "refused" : error);
        json_decref(answer);
        exit(EXIT_REFUSED);
    }
    return answer;
}

static json_int_t parse_number(const char *text, const char *what)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < 0)
        stop("%s: a number of at least 0 is needed", what);
    return value;
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text == NULL ? "-" : text;
}

static json_int_t number_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

// True when the answer has been printed as JSON and nothing more is to do. Takes no reference.
static bool print_json(const struct session *session, const json_t *answer)
{
    if (!session->options.json)
        return false;
    (void)json_dumpf(answer, stdout, JSON_INDENT(2));
    (void)putchar('\n');
    return true;
}

static void span(char *out, size_t cap, json_int_t seconds)
{
    if (seconds < 120)
        (void)snprintf(out, cap, "%" JSON_INTEGER_FORMAT " s", seconds);
    else if (seconds < 7200)
        (void)snprintf(out, cap, "%" JSON_INTEGER_FORMAT " min", seconds / 60);
    else if (seconds < 172800)
        (void)snprintf(out, cap, "%" JSON_INTEGER_FORMAT " h", seconds / 3600);
    else
        (void)snprintf(out, cap, "%" JSON_INTEGER_FORMAT " d", seconds / 86400);
}

static void print_status(const json_t *answer)
{
    struct table table = {.columns = 2};
    const json_t *processes = json_object_get(answer, "processes");
    const json_t *data = json_object_get(processes, "data");
    const json_t *control = json_object_get(processes, "control");
    const json_t *workers = json_object_get(answer, "workers");
    const json_t *associations = json_object_get(answer, "associations");
    const json_t *handshakes = json_object_get(answer, "handshakes");
    const json_t *upstreams = json_object_get(answer, "upstreams");
    const json_t *identities = json_object_get(answer, "identities");
    char uptime[32];
    span(uptime, sizeof uptime, number_of(answer, "uptime_seconds"));
#define N(object, name) (long long)number_of(object, name)
#define ROW(title, ...) (table_add(&table, title), table_add_format(&table, __VA_ARGS__))
    ROW("version", "%s", text_of(answer, "version"));
    bool ready = json_is_true(json_object_get(answer, "ready"));
    ROW("ready", "%s%s", ready ? "yes" : "no: ", ready ? "" : text_of(answer, "reason"));
    ROW("control process", "pid %lld, up %s, %lld restarts", N(control, "pid"), uptime, N(control, "restarts"));
    span(uptime, sizeof uptime, number_of(data, "uptime_seconds"));
    ROW("data process", "pid %lld, up %s, %lld restarts, version %s", N(data, "pid"), uptime, N(data, "restarts"),
        text_of(data, "version"));
    ROW("at its start", "%lld associations went on, %lld were lost", N(data, "associations_resumed"),
        N(data, "associations_lost"));
    ROW("supervisor", "pid %lld", N(json_object_get(processes, "supervisor"), "pid"));
    ROW("workers", "%lld of %lld", N(workers, "present"), N(workers, "configured"));
    ROW("associations", "%lld DTLS, %lld TLS", N(associations, "dtls"), N(associations, "tls"));
    ROW("handshakes", "%lld ok, %lld failed, %lld in progress, %lld parked", N(handshakes, "ok"),
        N(handshakes, "failed"), N(handshakes, "in_progress"), N(handshakes, "parked"));
    ROW("upstreams", "%lld of %lld servers healthy", N(upstreams, "healthy"), N(upstreams, "servers"));
    ROW("identities", "%lld from the file, %lld added at run time", N(identities, "file"), N(identities, "run-time"));
    ROW("AE-IDs learned", "%lld", N(answer, "registrations"));
    ROW("configuration", "generation %lld", N(answer, "generation"));
    ROW("drain", "%s", json_is_true(json_object_get(answer, "drain")) ? "on" : "off");
    ROW("log level", "%s", text_of(answer, "log_level"));
#undef ROW
#undef N
    table_print(&table);
}

static int command_status(struct session *session)
{
    json_t *answer = ask(session, "status", json_object());
    if (!print_json(session, answer))
        print_status(answer);
    json_decref(answer);
    return EXIT_SUCCESS;
}

// Asks page by page and gathers the arrays called `name` in one answer.
static json_t *ask_pages(struct session *session, const char *command, const char *name)
{
    json_t *all = json_array();
    json_t *last = NULL;
    json_t *cursor = NULL;
    json_int_t limit = session->options.limit_set ? session->options.limit : LIMIT_DEFAULT;
    do {
        json_t *request = json_object();
        json_int_t have = (json_int_t)json_array_size(all);
        (void)json_object_set_new(request, "limit", json_integer(limit == 0 ? LIMIT_DEFAULT : limit - have));
        if (session->options.identity != NULL)
            (void)json_object_set_new(request, "identity", json_string(session->options.identity));
        if (cursor != NULL)
            (void)json_object_set(request, "cursor", cursor);
        json_decref(last);
        last = ask(session, command, request);
        (void)json_array_extend(all, json_object_get(last, name));
        cursor = json_object_get(last, "next");
    } while (cursor != NULL && (limit == 0 || (json_int_t)json_array_size(all) < limit));
    (void)json_object_set_new(last, name, all);
    return last;
}

static void print_more(const json_t *answer)
{
    const json_t *silent = json_object_get(answer, "silent_workers");
    if (json_object_get(answer, "next") != NULL)
        (void)fprintf(stderr, "sagatectl: there are more; see --limit\n");
    for (size_t i = 0; i < json_array_size(silent); i++)
        (void)fprintf(stderr, "sagatectl: worker %lld did not answer\n",
                      (long long)json_integer_value(json_array_get(silent, i)));
}

static int associations_list(struct session *session)
{
    static const char *const titles[] = {"ID",     "PEER", "CREDENTIAL-ID", "LISTENER", "PROTOCOL",
                                         "CIPHER", "AGE",  "IDLE",          "IN",       "OUT"};
    json_t *answer = ask_pages(session, "associations list", "associations");
    struct table table = {.columns = sizeof titles / sizeof *titles};
    size_t index;
    json_t *one;
    if (!print_json(session, answer)) {
        for (size_t i = 0; i < table.columns; i++)
            table_add(&table, titles[i]);
        json_array_foreach(json_object_get(answer, "associations"), index, one)
        {
            char age[32], idle[32];
            span(age, sizeof age, number_of(one, "age_ms") / 1000);
            span(idle, sizeof idle, number_of(one, "idle_ms") / 1000);
            table_add(&table, text_of(one, "id"));
            table_add(&table, text_of(one, "peer"));
            table_add(&table, text_of(one, "credential_id"));
            table_add(&table, text_of(one, "listener"));
            table_add(&table, text_of(one, "protocol"));
            table_add(&table, text_of(one, "cipher"));
            table_add(&table, age);
            table_add(&table, idle);
            table_add_format(&table, "%lld", (long long)number_of(one, "bytes_in"));
            table_add_format(&table, "%lld", (long long)number_of(one, "bytes_out"));
        }
        table_print(&table);
        print_more(answer);
    }
    json_decref(answer);
    return EXIT_SUCCESS;
}

static int associations_show(struct session *session)
{
    static const char *const fields[] = {"id",     "peer",   "credential_id", "framework", "listener", "protocol",
                                         "cipher", "age_ms", "idle_ms",       "bytes_in",  "bytes_out"};
    json_t *answer = ask(session, "associations show", json_pack("{s:s}", "id", session->words[0]));
    const json_t *one = json_object_get(answer, "association");
    struct table table = {.columns = 2};
    if (!print_json(session, answer)) {
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
            const json_t *value = json_object_get(one, fields[i]);
            table_add(&table, fields[i]);
            if (json_is_integer(value))
                table_add_format(&table, "%lld", (long long)json_integer_value(value));
            else
                table_add(&table, text_of(one, fields[i]));
        }
        table_print(&table);
    }
    json_decref(answer);
    return EXIT_SUCCESS;
}

static int associations_kill(struct session *session)
{
    json_t *request;
    if ((session->word_count == 1) == (session->options.identity != NULL))
        stop("name either an association or --identity");
    if (session->word_count == 1)
        request = json_pack("{s:s}", "id", session->words[0]);
    else
        request = json_pack("{s:s}", "identity", session->options.identity);
    json_t *answer = ask(session, "associations kill", request);
    if (!print_json(session, answer)) {
        (void)printf("%lld ended\n", (long long)number_of(answer, "killed"));
        print_more(answer);
    }
    json_decref(answer);
    return EXIT_SUCCESS;
}

// "C1, C2" of a JSON array of texts, "C1 at in, C2 at in" of one of learned AE-IDs; to free.
static char *join(const json_t *array)
{
    char *text = NULL;
    size_t len = 0;
    FILE *stream = open_memstream(&text, &len);
    if (stream == NULL)
        stop("out of memory");
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *one = json_array_get(array, i);
        (void)fputs(i == 0 ? "" : ", ", stream);
        if (json_is_string(one))
            (void)fputs(json_string_value(one), stream);
        else
            (void)fprintf(stream, "%s at %s", text_of(one, "ae_id"), text_of(one, "upstream"));
    }
    if (json_array_size(array) == 0)
        (void)fputc('-', stream);
    (void)fclose(stream);
    return text;
}

static int identities_list(struct session *session)
{
    static const char *const titles[] = {"IDENTITY", "SOURCE", "MAY ACT AS", "LEARNED", "EXPIRES"};
    json_t *answer = ask_pages(session, "identities list", "identities");
    struct table table = {.columns = sizeof titles / sizeof *titles};
    size_t index;
    json_t *one;
    if (!print_json(session, answer)) {
        for (size_t i = 0; i < table.columns; i++)
            table_add(&table, titles[i]);
        json_array_foreach(json_object_get(answer, "identities"), index, one)
        {
            bool is_cse = json_is_string(json_object_get(one, "cse_id"));
            char *aes = join(json_object_get(one, "ae_ids"));
            char *learned = join(json_object_get(one, "learned"));
            table_add(&table, text_of(one, "identity"));
            table_add(&table, text_of(one, "source"));
            table_add_format(&table, "%s%s", is_cse ? "CSE " : "", is_cse ? text_of(one, "cse_id") : aes);
            table_add(&table, learned);
            table_add_format(&table, "%s%s",
                             json_is_string(json_object_get(one, "expires")) ? text_of(one, "expires") : "never",
                             json_is_true(json_object_get(one, "expired")) ? " (expired)" : "");
            free(aes);
            free(learned);
        }
        table_print(&table);
        print_more(answer);
    }
    json_decref(answer);
    return EXIT_SUCCESS;
}

// The key in hexadecimal digits from a file or standard input, without blanks at its ends, as a JSON string. It is
// never an argument, where other users of the machine could read it.
static json_t *read_key(const char *path)
{
    char *text = secret_alloc(KEY_FILE_MAX);
    bool standard = strcmp(path, "-") == 0;
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    size_t used = 0;
    if (text == NULL)
        stop("out of memory");
    if (fd < 0)
        stop("%s: %s", path, strerror(errno));
    for (;;) {
        ssize_t got = read(fd, text + used, KEY_FILE_MAX - used);
        if (got < 0 && errno != EINTR)
            stop("%s: %s", path, strerror(errno));
        used += got > 0 ? (size_t)got : 0;
        if (got == 0)
            break;
        if (used == KEY_FILE_MAX)
            stop("%s: more than a key", path);
    }
    if (!standard)
        close(fd);
    size_t from = strspn(text, " \t\r\n");
    while (used > from && strchr(" \t\r\n", text[used - 1]) != NULL)
        used--;
    json_t *key = used > from ? json_stringn(text + from, used - from) : NULL;
    secret_free(text);
    if (key == NULL)
        stop("%s: holds no key in hexadecimal digits", path);
    return key;
}

static int identities_add(struct session *session)
{
    const struct options *options = &session->options;
    if (options->key_file == NULL)
        stop("--key-file is needed");
    if ((options->ae_ids == NULL) == (options->cse_id == NULL))
        stop("either --ae-id or --cse-id is needed");
    json_t *request = json_pack("{s:s, s:o}", "identity", session->words[0], "key_hex", read_key(options->key_file));
    if (options->ae_ids != NULL)
        (void)json_object_set(request, "ae_ids", options->ae_ids);
    if (options->cse_id != NULL)
        (void)json_object_set_new(request, "cse_id", json_string(options->cse_id));
    if (options->expires != NULL)
        (void)json_object_set_new(request, "expires", json_string(options->expires));
    json_t *answer = ask(session, "identities add", request);
    if (!print_json(session, answer))
        (void)printf("%s added\n", session->words[0]);
    json_decref(answer);
    return EXIT_SUCCESS;
}

static int identities_remove(struct session *session)
{
    json_t *answer = ask(session, "identities remove", json_pack("{s:s}", "identity", session->words[0]));
    if (!print_json(session, answer))
        (void)printf("%s removed\n", session->words[0]);
    json_decref(answer);
    return EXIT_SUCCESS;
}

static int identities_forget(struct session *session)
{
    json_t *answer = ask(session, "identities forget",
                         json_pack("{s:s, s:s}", "identity", session->words[0], "ae_id", session->words[1]));
    if (!print_json(session, answer))
        (void)printf("%s forgotten\n", session->words[1]);
    json_decref(answer);
    return EXIT_SUCCESS;
}

static int identities_flush(struct session *session)
{
    json_t *request = json_pack("{s:b}", "end_associations", session->options.end_associations ? 1 : 0);
    if (session->options.identity != NULL)
        (void)json_object_set_new(request, "identity", json_string(session->options.identity));
    json_t *answer = ask(session, "identities flush", request);
    if (!print_json(session, answer))
        (void)printf("%lld flushed\n", (long long)number_of(answer, "flushed"));
    json_decref(answer);
    return EXIT_SUCCESS;
}

static int tef_status(struct session *session)
{
    static const char *const titles[] = {"NAME",       "KIND",        "FQDN",     "BINDING",  "ADDRESS",
                                         "REGISTERED", "CONNECTIONS", "REQUESTS", "FAILURES", "LAST ERROR"};
    json_t *answer = ask(session, "tef status", json_object());
    struct table table = {.columns = sizeof titles / sizeof *titles};
    size_t index;
    json_t *one;
    if (!print_json(session, answer)) {
        for (size_t i = 0; i < table.columns; i++)
            table_add(&table, titles[i]);
        json_array_foreach(json_object_get(answer, "tefs"), index, one)
        {
            bool error = json_is_string(json_object_get(one, "last_error"));
            for (size_t i = 0; i < 5; i++) {
                static const char *const members[] = {"name", "kind", "fqdn", "binding", "address"};
                table_add(&table, text_of(one, members[i]));
            }
            table_add(&table, json_is_true(json_object_get(one, "registered")) ? "yes" : "no");
            table_add_format(&table, "%lld", (long long)number_of(one, "connections"));
            table_add_format(&table, "%lld", (long long)number_of(one, "requests"));
            table_add_format(&table, "%lld", (long long)number_of(one, "failures"));
            table_add(&table, error ? text_of(one, "last_error") : "-");
        }
        table_print(&table);
    }
    json_decref(answer);
    return EXIT_SUCCESS;
}

static void upstream_row(struct table *table, const json_t *upstream, const json_t *server, const char *binding)
{
    const json_t *one = json_object_get(server, binding);
    const json_t *latency = json_object_get(one, "mean_latency_ms");
    if (one == NULL)
        return;
    table_add(table, text_of(upstream, "name"));
    table_add(table, text_of(server, "name"));
    table_add(table, binding);
    table_add(table, text_of(one, "address"));
    table_add(table, json_is_true(json_object_get(one, "healthy")) ? "yes" : "no");
    table_add_format(table, "%lld", (long long)number_of(one, "in_flight"));
    table_add_format(table, "%lld", (long long)number_of(one, "requests"));
    table_add_format(table, "%lld", (long long)number_of(one, "failures"));
    if (json_is_number(latency))
        table_add_format(table, "%.3f ms", json_number_value(latency));
    else
        table_add(table, "-");
}

static int command_upstreams(struct session *session)
{
    static const char *const titles[] = {"UPSTREAM",  "SERVER",   "BINDING",  "ADDRESS",     "HEALTHY",
                                         "IN FLIGHT", "REQUESTS", "FAILURES", "MEAN LATENCY"};
    json_t *answer = ask(session, "upstreams", json_object());
    struct table table = {.columns = sizeof titles / sizeof *titles};
    size_t i, n;
    json_t *upstream, *server;
    if (!print_json(session, answer)) {
        for (size_t column = 0; column < table.columns; column++)
            table_add(&table, titles[column]);
        json_array_foreach(json_object_get(answer, "upstreams"), i, upstream)
        {
            json_array_foreach(json_object_get(upstream, "servers"), n, server)
            {
                upstream_row(&table, upstream, server, "http");
                upstream_row(&table, upstream, server, "coap");
            }
        }
        table_print(&table);
    }
    json_decref(answer);
    return EXIT_SUCCESS;
}

static int command_reload(struct session *session)
{
    json_t *answer = ask(session, "reload", json_object());
    if (!print_json(session, answer))
        (void)printf("generation %lld is in force\n", (long long)number_of(answer, "generation"));
    json_decref(answer);
    return EXIT_SUCCESS;
}

// sagate does not know this program's working directory.
static json_t *absolute(const char *path)
{
    char *real = realpath(path, NULL);
    if (real == NULL)
        stop("%s: %s", path, strerror(errno));
    json_t *text = json_string(real);
    free(real);
    return text;
}

static int command_upgrade(struct session *session)
{
    json_t *request = json_pack("{s:b}", "force", session->options.force ? 1 : 0);
    if (session->options.binary != NULL)
        (void)json_object_set_new(request, "binary", absolute(session->options.binary));
    json_t *answer = ask(session, "upgrade", request);
    if (!print_json(session, answer))
        (void)printf("sagate %s serves; %lld associations went on, %lld were lost\n", text_of(answer, "version"),
                     (long long)number_of(answer, "associations_resumed"),
                     (long long)number_of(answer, "associations_lost"));
    json_decref(answer);
    return EXIT_SUCCESS;
}

static int command_drain(struct session *session)
{
    json_t *request = json_object();
    if (session->word_count == 1) {
        bool on = strcmp(session->words[0], "on") == 0;
        if (!on && strcmp(session->words[0], "off") != 0)
            stop("drain is on or off");
        (void)json_object_set_new(request, "on", json_boolean(on));
    }
    json_t *answer = ask(session, "drain", request);
    if (!print_json(session, answer))
        (void)printf("drain is %s\n", json_is_true(json_object_get(answer, "drain")) ? "on" : "off");
    json_decref(answer);
    return EXIT_SUCCESS;
}

static int log_level(struct session *session)
{
    json_t *request = json_object();
    if (session->word_count == 1)
        (void)json_object_set_new(request, "level", json_string(session->words[0]));
    json_t *answer = ask(session, "log level", request);
    if (!print_json(session, answer))
        (void)printf("log level is %s\n", text_of(answer, "log_level"));
    json_decref(answer);
    return EXIT_SUCCESS;
}

static int command_profile(struct session *session)
{
    json_t *request = json_object();
    if (session->word_count == 1)
        (void)json_object_set_new(request, "seconds", json_integer(parse_number(session->words[0], "profile")));
    json_t *answer = ask(session, "profile", request);
    if (!print_json(session, answer)) {
        profile_print(answer);
        print_more(answer);
    }
    json_decref(answer);
    return EXIT_SUCCESS;
}

enum allowed { IDENTITY = 1, LIMIT = 2, KEY = 4, PROGRAM = 8, END = 16 };

static const struct {
    const char *first, *second; // words of the command
    size_t least, most;         // arguments
    unsigned allowed;           // options
    int (*run)(struct session *session);
} commands[] = {
    {"status", NULL, 0, 0, 0, command_status},
    {"associations", "list", 0, 0, IDENTITY | LIMIT, associations_list},
    {"associations", "show", 1, 1, 0, associations_show},
    {"associations", "kill", 0, 1, IDENTITY, associations_kill},
    {"identities", "list", 0, 0, IDENTITY | LIMIT, identities_list},
    {"identities", "add", 1, 1, KEY, identities_add},
    {"identities", "remove", 1, 1, 0, identities_remove},
    {"identities", "forget", 2, 2, 0, identities_forget},
    {"identities", "flush", 0, 0, IDENTITY | END, identities_flush},
    {"tef", "status", 0, 0, 0, tef_status},
    {"upstreams", NULL, 0, 0, 0, command_upstreams},
    {"reload", NULL, 0, 0, 0, command_reload},
    {"upgrade", NULL, 0, 0, PROGRAM, command_upgrade},
    {"drain", NULL, 0, 1, 0, command_drain},
    {"log", "level", 0, 1, 0, log_level},
    {"profile", NULL, 0, 1, 0, command_profile},
};

static int run(struct session *session)
{
    const struct options *options = &session->options;
    unsigned used = (options->identity != NULL ? IDENTITY : 0U) | (options->limit_set ? LIMIT : 0U);
    if (options->key_file != NULL || options->cse_id != NULL || options->ae_ids != NULL || options->expires != NULL)
        used |= KEY;
    if (options->binary != NULL || options->force)
        used |= PROGRAM;
    if (options->end_associations)
        used |= END;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        size_t words = commands[i].second == NULL ? 1 : 2;
        if (session->word_count < words || strcmp(session->words[0], commands[i].first) != 0 ||
            (words == 2 && strcmp(session->words[1], commands[i].second) != 0))
            continue;
        session->words += words;
        session->word_count -= words;
        if (session->word_count < commands[i].least || session->word_count > commands[i].most)
            stop("wrong number of arguments; see sagatectl --help");
        if ((used & ~commands[i].allowed) != 0)
            stop("an option does not belong to this command; see sagatectl --help");
        return commands[i].run(session);
    }
    stop("unknown command; see sagatectl --help");
}

enum {
    JSON = 256,
    IDENTITY_OPTION,
    LIMIT_OPTION,
    KEY_FILE,
    AE_ID,
    CSE_ID,
    EXPIRES,
    BINARY,
    FORCE,
    END_ASSOCIATIONS,
    VERSION
};

static void take_ae_id(struct options *options, const char *text)
{
    if (options->ae_ids == NULL)
        options->ae_ids = json_array();
    if (json_array_append_new(options->ae_ids, json_string(text)) != 0)
        stop("--ae-id: not UTF-8");
}

static void take_option(struct options *options, int option)
{
    switch (option) {
    case 's':
        options->socket = optarg;
        break;
    case JSON:
        options->json = true;
        break;
    case IDENTITY_OPTION:
        options->identity = optarg;
        break;
    case LIMIT_OPTION:
        options->limit = parse_number(optarg, "--limit");
        options->limit_set = true;
        break;
    case KEY_FILE:
        options->key_file = optarg;
        break;
    case AE_ID:
        take_ae_id(options, optarg);
        break;
    case CSE_ID:
        options->cse_id = optarg;
        break;
    case EXPIRES:
        options->expires = optarg;
        break;
    case BINARY:
        options->binary = optarg;
        break;
    case FORCE:
        options->force = true;
        break;
    case END_ASSOCIATIONS:
        options->end_associations = true;
        break;
    case 'h':
        (void)fputs(usage_text, stdout);
        exit(EXIT_SUCCESS);
    case VERSION:
        (void)puts("sagatectl " SAGATE_VERSION);
        exit(EXIT_SUCCESS);
    default:
        exit(EXIT_TROUBLE); // getopt has said why
    }
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"socket", required_argument, NULL, 's'},
        {"json", no_argument, NULL, JSON},
        {"identity", required_argument, NULL, IDENTITY_OPTION},
        {"limit", required_argument, NULL, LIMIT_OPTION},
        {"key-file", required_argument, NULL, KEY_FILE},
        {"ae-id", required_argument, NULL, AE_ID},
        {"cse-id", required_argument, NULL, CSE_ID},
        {"expires", required_argument, NULL, EXPIRES},
        {"binary", required_argument, NULL, BINARY},
        {"force", no_argument, NULL, FORCE},
        {"end-associations", no_argument, NULL, END_ASSOCIATIONS},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, VERSION},
        {NULL, 0, NULL, 0},
    };
    struct session session = {.options = {.socket = "/run/sagate/control.sock"}};
    control_json_wipes();
    int option;
    while ((option = getopt_long(argc, argv, "s:h", longs, NULL)) != -1)
        take_option(&session.options, option);
    session.words = argv + optind;
    session.word_count = (size_t)(argc - optind);
    if (session.word_count == 0) {
        (void)fputs(usage_text, stderr);
        return EXIT_TROUBLE;
    }
    int status = run(&session);
    json_decref(session.options.ae_ids);
    if (session.in != NULL)
        (void)fclose(session.in);
    if (session.out != NULL)
        (void)fclose(session.out);
    return status;
}
