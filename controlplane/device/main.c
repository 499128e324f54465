// sagate-device: the device side of sagate, for trying and testing (docs/device.md).
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/derive.h"
#include "common/error.h"
#include "common/file.h"
#include "common/secret.h"
#include "controlplane/device/exchange.h"
#include "controlplane/device/registration.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char usage_text[] =
    "Usage: sagate-device COMMAND OPTIONS\n"
    "\n"
    "  request       associates, sends one request, shows the answer\n"
    "  observe       associates, observes a resource (CoAP), shows --count notifications\n"
    "  associate     only the handshake\n"
    "  register-key  registers a key at a MAF and writes an association file\n"
    "  enrol         the same at an MEF\n"
    "\n"
    "  --connect HOST:PORT  --maf HOST:PORT  --mef HOST:PORT   the server\n"
    "  --dtls 1.2|1.3 (CoAP) or --tls 1.2|1.3 (HTTP)           register-key, enrol: TLS only, default 1.2\n"
    "  --psk-identity ID --psk-file F   key in hexadecimal digits\n"
    "  --certificate PEM --key PEM      in place of a PSK\n"
    "  --association F                  what register-key and enrol wrote\n"
    "  --ca PEM           what the server's certificate is verified with; without it, it is not\n"
    "  --server-name N    SNI, and the name that the certificate must have\n"
    "  --cipher NAME      cipher suite, in wolfSSL's words\n"
    "  --cid              asks for a Connection ID (DTLS)\n"
    "  --binding coap|http   that of the transport\n"
    "  --timeout SECONDS  of each step (10)\n"
    "  --json             one JSON object for each step on standard output\n"
    "\n"
    "  request, observe: --from AE-ID --to /path [--op create|retrieve|update|delete|notify] [--ty N]\n"
    "                    [--content JSON|@FILE] [--count N]\n"
    "  register-key, enrol: --fqdn NAME --client-id //SP/ID --target //SP/ID … --admin FQDN --output F\n"
    "                    [--suid N] [--lifetime SECONDS] [--key-value-file F]\n"
    "  enrol: [--derive km|kpsa|usage --for //SP/ID]   the file gets a key that is derived from the registered one\n"
    "\n"
    "Exit status: 0 done, 1 the answer is no success, 2 wrong usage or file, 3 not connected, 4 no handshake,\n"
    "5 no answer.\n";

struct session {
    struct options options;
    struct report report;
    struct association *credential; // NULL: a certificate
    struct link *link;
    struct reply *reply;
    char id[24]; // request identifier
};

static int fail_file(const struct session *session, const char *path, int rc)
{
    char why[512];
    (void)snprintf(why, sizeof why, "%s: %s", path, rc == SAGATE_ESYS ? strerror(errno) : sagate_strerror(rc));
    return report_failure(&session->report, "options", NULL, why,
                          rc == SAGATE_ESYS ? NULL : "a key is 1 to 64 bytes as hexadecimal digits", EXIT_USAGE);
}

static int load_credential(struct session *session)
{
    const struct options *options = &session->options;
    if (options->certificate != NULL)
        return EXIT_DONE;
    session->credential = secret_alloc(sizeof *session->credential);
    if (session->credential == NULL)
        return report_failure(&session->report, "options", NULL, "memory is short", NULL, EXIT_USAGE);
    const char *path = options->association != NULL ? options->association : options->psk_file;
    int rc = options->association != NULL ? association_read(path, session->credential)
                                          : association_read_key(path, session->credential);
    if (rc != SAGATE_OK)
        return fail_file(session, path, rc);
    if (options->psk_identity != NULL)
        memcpy(session->credential->identity, options->psk_identity, strlen(options->psk_identity) + 1);
    return EXIT_DONE;
}

// The content as it is, or of a file; `held` is what is to be freed.
static int load_content(const struct session *session, struct slice *content, uint8_t **held)
{
    const char *text = session->options.content;
    *held = NULL;
    *content = slice_text(text == NULL ? "" : text);
    if (text == NULL || text[0] != '@')
        return EXIT_DONE;
    int fd = open(text + 1, O_RDONLY | O_CLOEXEC);
    *held = malloc(CONTENT_MAX);
    ssize_t len = fd < 0 || *held == NULL ? SAGATE_ESYS : file_read(fd, *held, CONTENT_MAX);
    int error = errno;
    if (fd >= 0)
        close(fd);
    errno = error;
    if (len < 0)
        return fail_file(session, text + 1, (int)len);
    *content = slice_of(*held, (size_t)len);
    return EXIT_DONE;
}

static struct request request_of(struct session *session)
{
    const struct options *options = &session->options;
    (void)snprintf(session->id, sizeof session->id, "%016llx", (unsigned long long)exchange_random());
    return (struct request){.operation = options->operation,
                            .to = options->to,
                            .from = options->from,
                            .host = options->server_name != NULL ? options->server_name : options->host,
                            .id = session->id,
                            .type = options->type};
}

static int run_request(struct session *session)
{
    const struct options *options = &session->options;
    struct request request = request_of(session);
    struct coap_token token = {0};
    uint8_t *held;
    int status = load_content(session, &request.content, &held);
    if (status == EXIT_DONE && options->dtls && request.content.len > COAP_CONTENT_MAX)
        status = report_failure(&session->report, "options", NULL, "--content is larger than one CoAP message takes",
                                "at most 1024 bytes; --tls takes 64 KiB", EXIT_USAGE);
    if (status == EXIT_DONE)
        status = link_open(options, session->credential, &session->report, &session->link);
    if (status == EXIT_DONE)
        status = options->dtls
                     ? exchange_coap(session->link, options, &request, &token, session->reply, &session->report)
                     : exchange_http(session->link, options, &request, session->reply, &session->report);
    free(held);
    return status == EXIT_DONE ? exchange_tell(session->reply, "response", &session->report) : status;
}

static int run_observe(struct session *session)
{
    const struct options *options = &session->options;
    struct request request = request_of(session);
    struct coap_token token = {0};
    request.observe = OBSERVE_BEGIN;
    int status = link_open(options, session->credential, &session->report, &session->link);
    if (status == EXIT_DONE)
        status = exchange_coap(session->link, options, &request, &token, session->reply, &session->report);
    if (status == EXIT_DONE)
        status = exchange_tell(session->reply, "response", &session->report);
    if (status == EXIT_DONE && !session->reply->observed)
        return report_failure(&session->report, "observe", NULL, "the server answers without Observe",
                              "it does not let this resource be observed", EXIT_REFUSED);
    for (unsigned i = 0; i < options->count && status == EXIT_DONE; i++) {
        status = exchange_await(session->link, options, &token, session->reply, &session->report);
        if (status == EXIT_DONE)
            status = exchange_tell(session->reply, "notification", &session->report);
    }
    if (status != EXIT_DONE)
        return status;
    request = request_of(session);
    request.observe = OBSERVE_END;
    return exchange_coap(session->link, options, &request, &token, session->reply, &session->report);
}

static int run_associate(struct session *session)
{
    return link_open(&session->options, session->credential, &session->report, &session->link);
}

// The answer's identifier and the key that belongs to it, as a file. `expected`: the ID of the session, or NULL.
static int keep_key(const struct session *session, struct association *made, const char *expected)
{
    const struct options *options = &session->options;
    char id[REGISTRATION_ID_MAX];
    if (registration_read(slice_of(session->reply->content, session->reply->content_len), id) != SAGATE_OK)
        return report_failure(&session->report, "key", NULL, "the answer names no relativeKeyID",
                              "is this server a MAF or MEF, with these resource names?", EXIT_ANSWER);
    if (expected != NULL && strcmp(id, expected) != 0)
        return report_failure(&session->report, "key", json_pack("{s:s}", "relative_key_id", id),
                              "the server's relativeKeyID is not the one of this session",
                              "it exports with another label, or made a key of its own", EXIT_ANSWER);
    int len = snprintf(made->identity, sizeof made->identity, "%s@%s", id, options->fqdn);
    if (len < 0 || (size_t)len >= sizeof made->identity)
        return report_failure(&session->report, "key", NULL, "the identity is too long", NULL, EXIT_ANSWER);
    int rc = registration_derive(options, made->key, made->key_len);
    if (rc != SAGATE_OK)
        return report_failure(&session->report, "key", NULL, sagate_strerror(rc),
                              "--derive needs a registered key of 32 bytes, and --for an absolute identifier",
                              EXIT_USAGE);
    rc = association_write(options->output, made);
    if (rc != SAGATE_OK)
        return fail_file(session, options->output, rc);
    report_step(&session->report, "key", json_pack("{s:s, s:s}", "identity", made->identity, "file", options->output));
    return EXIT_DONE;
}

// The key of the registration: given, or exported from the session (with its ID) by way of `exported`.
static int make_key(const struct session *session, struct association *made, uint8_t *exported, char id[DERIVE_ID_TEXT])
{
    const struct options *options = &session->options;
    if (options->key_value_file != NULL) {
        int rc = association_read_key(options->key_value_file, made);
        return rc == SAGATE_OK ? EXIT_DONE : fail_file(session, options->key_value_file, rc);
    }
    const char *label = options->command == COMMAND_ENROL ? DERIVE_LABEL_BOOTSTRAP : DERIVE_LABEL_CONNECTION;
    if (link_export(session->link, label, exported, DERIVE_EXPORTED) != SAGATE_OK)
        return report_failure(&session->report, "export", NULL, "the session gives no keying material", NULL,
                              EXIT_HANDSHAKE);
    derive_split(exported, id, made->key);
    made->key_len = DERIVE_KEY;
    report_step(&session->report, "export", json_pack("{s:s}", "label", label));
    return EXIT_DONE;
}

static int register_on_link(struct session *session, struct association *made, uint8_t *exported)
{
    const struct options *options = &session->options;
    bool given = options->key_value_file != NULL;
    char id[DERIVE_ID_TEXT];
    int status = make_key(session, made, exported, id);
    if (status != EXIT_DONE)
        return status;
    char *content = registration_content(options, slice_of(made->key, given ? made->key_len : 0), time(NULL));
    if (content == NULL)
        return report_failure(&session->report, "request", NULL, "memory is short", NULL, EXIT_USAGE);
    struct request request = request_of(session);
    request.operation = ONEM2M_CREATE;
    request.to = "/";
    request.from = options->client_id;
    request.host = options->fqdn;
    request.type = 2; // key registration, controlplane/tef/profile.h
    request.content = slice_text(content);
    status = exchange_http(session->link, options, &request, session->reply, &session->report);
    secret_free(content);
    if (status == EXIT_DONE)
        status = exchange_tell(session->reply, "response", &session->report);
    return status == EXIT_DONE ? keep_key(session, made, given ? NULL : id) : status;
}

static int run_register(struct session *session)
{
    struct association *made = secret_alloc(sizeof *made);
    uint8_t *exported = secret_alloc(DERIVE_EXPORTED);
    if (made == NULL || exported == NULL) {
        secret_free(made);
        secret_free(exported);
        return report_failure(&session->report, "options", NULL, "memory is short", NULL, EXIT_USAGE);
    }
    int status = link_open(&session->options, session->credential, &session->report, &session->link);
    if (status == EXIT_DONE)
        status = register_on_link(session, made, exported);
    secret_free(made);
    secret_free(exported);
    return status;
}

int main(int argc, char **argv)
{
    static int (*const runs[])(struct session *) = {[COMMAND_REQUEST] = run_request,
                                                    [COMMAND_OBSERVE] = run_observe,
                                                    [COMMAND_ASSOCIATE] = run_associate,
                                                    [COMMAND_REGISTER_KEY] = run_register,
                                                    [COMMAND_ENROL] = run_register};
    struct session session = {0};
    char why[512];
    (void)signal(SIGPIPE, SIG_IGN);
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        (void)fputs(usage_text, stdout);
        return EXIT_DONE;
    }
    if (options_parse(argc, argv, &session.options, why, sizeof why) != SAGATE_OK) {
        (void)fprintf(stderr, "sagate-device: %s\nsagate-device --help tells all\n", why);
        return EXIT_USAGE;
    }
    session.report.json = session.options.json;
    session.reply = calloc(1, sizeof *session.reply);
    int status = session.reply == NULL
                     ? report_failure(&session.report, "options", NULL, "memory is short", NULL, EXIT_USAGE)
                     : load_credential(&session);
    if (status == EXIT_DONE)
        status = runs[session.options.command](&session);
    link_close(session.link);
    secret_free(session.credential);
    free(session.reply);
    return status;
}
