// sagate-device: its command line, its files, what it sends and how it reads answers.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/derive.h"
#include "common/error.h"
#include "common/secret.h"
#include "controlplane/device/association.h"
#include "controlplane/device/message.h"
#include "controlplane/device/options.h"
#include "controlplane/device/registration.h"
#include "controlplane/device/report.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct reply reply;
static const struct coap_token token = {.len = 2, .bytes = {7, 8}};

// Reads a command line that is given as one text.
static int parse(const char *line, struct options *out, char why[256])
{
    static char words[1024];
    static char name[] = "sagate-device";
    char *argv[64] = {name};
    int argc = 1;
    (void)snprintf(words, sizeof words, "%s", line);
    for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " "))
        argv[argc++] = word;
    why[0] = '\0';
    return options_parse(argc, argv, out, why, 256);
}

#define PSK " --psk-identity me --psk-file f "
#define KEY " --maf h:1 --fqdn m.example --client-id //sp/Sa --target //sp/in --admin a.example --output o "

static void command_lines_are_read(void)
{
    struct options options;
    char why[256];
    CU_ASSERT_EQUAL(
        parse("request --connect [::1]:5684 --dtls 1.3 --cid --from Ca --to /x --op create --ty 4" PSK, &options, why),
        SAGATE_OK);
    CU_ASSERT_STRING_EQUAL(options.host, "::1");
    CU_ASSERT_STRING_EQUAL(options.port, "5684");
    CU_ASSERT_TRUE(options.dtls && options.cid && options.version == 3 && options.type == 4);
    CU_ASSERT_EQUAL(options.operation, ONEM2M_CREATE);
    CU_ASSERT_EQUAL(parse("register-key" KEY PSK, &options, why), SAGATE_OK);
    CU_ASSERT_EQUAL(options.suid, 32);
    CU_ASSERT_EQUAL(options.version, 2);
    CU_ASSERT_EQUAL(parse("enrol" KEY "--tls 1.3 --target //sp/b" PSK, &options, why), SAGATE_OK);
    CU_ASSERT_EQUAL(options.suid, 22);
    CU_ASSERT_EQUAL(options.target_count, 2);
}

static void command_lines_are_refused_with_a_reason(void)
{
    static const struct {
        const char *line, *reason;
    } bad[] = {
        {"", "command"},
        {"send", "send"},
        {"request --connect h --dtls 1.2", "HOST:PORT"},
        {"request --connect ::1:5 --dtls 1.2", "HOST:PORT"},
        {"request --connect h:0 --dtls 1.2", "HOST:PORT"},
        {"request --connect h:65536 --dtls 1.2", "HOST:PORT"},
        {"request --dtls 1.2" PSK, "--connect"},
        {"request --connect h:1 --dtls 1.1", "1.2 or 1.3"},
        {"request --connect h:1 --dtls 1.2 --tls 1.2", "once"},
        {"request --connect h:1" PSK, "missing"},
        {"request --connect h:1 --dtls 1.2 --from Ca --to /x", "one of"},
        {"request --connect h:1 --dtls 1.2 --from Ca --to /x --association a" PSK, "one of"},
        {"request --connect h:1 --dtls 1.2 --from Ca --to /x --psk-identity i", "go together"},
        {"request --connect h:1 --dtls 1.2 --from Ca --to /x --key i", "go together"},
        {"request --connect h:1 --dtls 1.2 --to /x" PSK, "--from"},
        {"request --connect h:1 --dtls 1.2 --from Ca --to x" PSK, "--to"},
        {"request --connect h:1 --dtls 1.2 --from C\r\na --to /x" PSK, "control"},
        {"request --connect h:1 --dtls 1.2 --from Ca --to /x --op create" PSK, "--ty"},
        {"request --connect h:1 --dtls 1.2 --from Ca --to /x --op put" PSK, "--op put"},
        {"request --connect h:1 --dtls 1.2 --from Ca --to /x --ty 1x" PSK, "number"},
        {"request --connect h:1 --dtls 1.2 --from Ca --to /x --binding http" PSK, "coap"},
        {"request --connect h:1 --tls 1.2 --from Ca --to /x --cid" PSK, "--cid"},
        {"request --connect h:1 --tls 1.2 --from Ca --to /x more" PSK, "more"},
        {"request --what", "--what"},
        {"request --from", "argument"},
        {"observe --connect h:1 --tls 1.2 --from Ca --to /x" PSK, "CoAP"},
        {"register-key --maf h:1" PSK, "--fqdn"},
        {"register-key --dtls 1.2" KEY PSK, "TLS"},
        {"register-key" KEY "--client-id Sa" PSK, "absolute"},
        {"register-key" KEY "--lifetime 59" PSK, "number"},
        {"register-key" KEY "--derive kpsa --for //sp/x" PSK, "enrol"},
        {"enrol" KEY "--derive kpsa" PSK, "together"},
        {"enrol" KEY "--derive kp --for //sp/x" PSK, "kpsa"},
        {"register-key" KEY "--certificate c --key k", "--ca"},
    };
    struct options options;
    char why[256];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CU_ASSERT_EQUAL(parse(bad[i].line, &options, why), SAGATE_EINVAL);
        if (strstr(why, bad[i].reason) == NULL)
            (void)printf("'%s' gives '%s'\n", bad[i].line, why);
        CU_ASSERT_PTR_NOT_NULL(strstr(why, bad[i].reason));
    }
}

static void association_files_go_round(void)
{
    struct association made = {.identity = "0011@maf.example", .key = {1, 2, 0xfe}, .key_len = 3};
    struct association read;
    struct stat status;
    char path[] = "/tmp/test-device-XXXXXX";
    int fd = mkstemp(path);
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(fchmod(fd, 0644), 0);
    close(fd);
    CU_ASSERT_EQUAL(association_write(path, &made), SAGATE_OK);
    CU_ASSERT_EQUAL(stat(path, &status), 0);
    CU_ASSERT_EQUAL(status.st_mode & 0777, 0600);
    CU_ASSERT_EQUAL(association_read(path, &read), SAGATE_OK);
    CU_ASSERT_STRING_EQUAL(read.identity, made.identity);
    CU_ASSERT_TRUE(secret_equal(read.key, made.key, 3) && read.key_len == 3);
    CU_ASSERT_EQUAL(association_read_key(path, &read), SAGATE_EMALFORMED);
    (void)unlink(path);
    CU_ASSERT_EQUAL(association_read(path, &read), SAGATE_ESYS);
}

static void association_files_are_refused(void)
{
    static const char *const bad[] = {"",
                                      "identity = a",
                                      "key = 00",
                                      "identity = \nkey = 00",
                                      "identity = a\nkey = 0",
                                      "identity = a\nkey = 0g",
                                      "identity = a\nkey =",
                                      "identity = a\nkey = 00\nkey = 01",
                                      "identity = a\nidentity = b\nkey = 00",
                                      "identity = a\nkey = 00\nword",
                                      "identity = a\nkey = 00\nlock = 1"};
    struct association read;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CU_ASSERT_EQUAL(association_parse(slice_text(bad[i]), &read), SAGATE_EMALFORMED);
    CU_ASSERT_EQUAL(association_parse(slice_text("# c\n\n key=0aFF\r\nidentity=a=b"), &read), SAGATE_OK);
    CU_ASSERT_STRING_EQUAL(read.identity, "a=b");
    char key[2 * (ASSOCIATION_KEY_MAX + 1) + 1];
    memset(key, 'a', sizeof key - 1);
    key[sizeof key - 1] = '\0';
    CU_ASSERT_EQUAL(association_parse_key(slice_text(key), read.key), SAGATE_EMALFORMED);
    CU_ASSERT_EQUAL(association_parse_key(slice_text(key + 2), read.key), ASSOCIATION_KEY_MAX);
}

static const struct request create = {.operation = ONEM2M_CREATE,
                                      .to = "/cse-in/x?rcn=1&drt=2",
                                      .from = "Ca",
                                      .host = "cse.example",
                                      .id = "r1",
                                      .type = 4,
                                      .content = {.data = (const uint8_t *)"{}", .len = 2}};

static void coap_requests_are_written(void)
{
    uint8_t out[512];
    struct coap_message message;
    int len = request_write_coap(&create, 5, &token, out, sizeof out);
    CU_ASSERT_TRUE_FATAL(len > 0);
    CU_ASSERT_EQUAL_FATAL(coap_parse(out, (size_t)len, &message), SAGATE_OK);
    CU_ASSERT_EQUAL(message.code, COAP_POST);
    CU_ASSERT_EQUAL(message.mid, 5);
    CU_ASSERT_TRUE(slice_is(coap_find(&message, COAP_URI_PATH)->value, "cse-in"));
    CU_ASSERT_TRUE(slice_is(coap_find(&message, COAP_URI_QUERY)->value, "rcn=1"));
    CU_ASSERT_TRUE(slice_is(coap_find(&message, 279)->value, "Ca"));
    CU_ASSERT_EQUAL(coap_uint(coap_find(&message, 267)->value), 4);
    CU_ASSERT_TRUE(slice_is(message.payload, "{}"));
    CU_ASSERT_EQUAL(request_write_coap(&create, 5, &token, out, 20), SAGATE_ETOOBIG);
}

static void http_requests_are_written(void)
{
    uint8_t out[512];
    int len = request_write_http(&create, out, sizeof out);
    CU_ASSERT_TRUE_FATAL(len > 0);
    CU_ASSERT_TRUE(slice_is(slice_of(out, (size_t)len),
                            "POST /cse-in/x?rcn=1&drt=2 HTTP/1.1\r\nHost: cse.example\r\nX-M2M-Origin: Ca\r\n"
                            "X-M2M-RI: r1\r\nX-M2M-RVI: 3\r\nAccept: application/json\r\n"
                            "Content-Type: application/json;ty=4\r\nContent-Length: 2\r\n\r\n{}"));
    CU_ASSERT_EQUAL(request_write_http(&create, out, (size_t)len), SAGATE_ETOOBIG);
}

static int read_coap(enum coap_type type, uint8_t code, uint32_t block, const char *payload, bool *acknowledge)
{
    uint8_t data[256];
    struct coap_writer writer;
    uint8_t rsc[] = {0x10, 0x0a}; // 4106
    uint8_t block_value[] = {(uint8_t)block};
    uint16_t mid;
    coap_begin(&writer, data, sizeof data, type, code, 9, &token);
    if (block != UINT32_MAX)
        coap_add(&writer, COAP_BLOCK2, slice_of(block_value, 1));
    coap_add(&writer, 265 + 42, slice_of(rsc, 2));
    coap_add_payload(&writer, slice_text(payload));
    int len = coap_end(&writer);
    return len < 0 ? len : reply_read_coap(data, (size_t)len, &token, &reply, acknowledge, &mid);
}

static void coap_answers_are_read(void)
{
    bool acknowledge;
    uint16_t mid;
    reply = (struct reply){0};
    CU_ASSERT_EQUAL(read_coap(COAP_CON, COAP_CODE(4, 3), UINT32_MAX, "no", &acknowledge), SAGATE_OK);
    CU_ASSERT_TRUE(acknowledge);
    CU_ASSERT_EQUAL(reply.rsc, 4106);
    CU_ASSERT_FALSE(reply_good(&reply));
    CU_ASSERT_EQUAL(reply.content_len, 2);
    // Blocks of 16 bytes follow each other; one that does not is refused.
    CU_ASSERT_EQUAL(read_coap(COAP_ACK, COAP_CONTENT, 0x08, "0123456789abcdef", &acknowledge), SAGATE_OK);
    CU_ASSERT_TRUE(reply.more && !acknowledge && reply.block_size == 16);
    CU_ASSERT_EQUAL(read_coap(COAP_ACK, COAP_CONTENT, 0x20, "x", &acknowledge), SAGATE_EMALFORMED);
    CU_ASSERT_EQUAL(read_coap(COAP_ACK, COAP_CONTENT, 0x10, "ghi", &acknowledge), SAGATE_OK);
    CU_ASSERT_EQUAL(reply.content_len, 19);
    CU_ASSERT_FALSE(reply.more);
    static const uint8_t ack[] = {0x60, 0, 0, 9}, reset[] = {0x70, 0, 0, 9}, other[] = {0x61, 0x45, 0, 9, 1};
    CU_ASSERT_EQUAL(reply_read_coap(ack, 4, &token, &reply, &acknowledge, &mid), SAGATE_AGAIN);
    CU_ASSERT_EQUAL(reply_read_coap(reset, 4, &token, &reply, &acknowledge, &mid), SAGATE_EGONE);
    CU_ASSERT_EQUAL(reply_read_coap(other, 5, &token, &reply, &acknowledge, &mid), SAGATE_AGAIN);
    CU_ASSERT_EQUAL(reply_read_coap(other, 2, &token, &reply, &acknowledge, &mid), SAGATE_EMALFORMED);
}

static int read_http(const char *text, bool ended)
{
    reply = (struct reply){0};
    return reply_read_http((const uint8_t *)text, strlen(text), ended, &reply);
}

static void http_answers_are_read(void)
{
    static const char whole[] =
        "HTTP/1.1 201 Created\r\nX-M2M-RSC: 2001\r\nX-M2M-RI: r1\r\nContent-Length: 2\r\n\r\n{}";
    char part[sizeof whole];
    CU_ASSERT_EQUAL(read_http(whole, false), SAGATE_OK);
    CU_ASSERT_TRUE(reply_good(&reply) && reply.rsc == 2001 && reply.content_len == 2);
    CU_ASSERT_STRING_EQUAL(reply.id, "r1");
    for (size_t len = 0; len < sizeof whole - 1; len++) {
        memcpy(part, whole, len);
        part[len] = '\0';
        CU_ASSERT_EQUAL(read_http(part, false), SAGATE_AGAIN);
        CU_ASSERT_EQUAL(read_http(part, true), SAGATE_EMALFORMED);
    }
    CU_ASSERT_EQUAL(
        read_http("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", false),
        SAGATE_OK);
    CU_ASSERT_EQUAL(reply.content_len, 3);
    CU_ASSERT_EQUAL(read_http("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\n", false),
                    SAGATE_AGAIN);
    CU_ASSERT_EQUAL(read_http("HTTP/1.1 403 no\r\n\r\nuntil the end", true), SAGATE_OK);
    CU_ASSERT_FALSE(reply_good(&reply));
    CU_ASSERT_EQUAL(read_http("HTTP/1.1 100 go on\r\n\r\nHTTP/1.1 204 none\r\n\r\n", false), SAGATE_OK);
    CU_ASSERT_EQUAL(read_http("HTTP/1.1 200 OK\r\nX-M2M-RSC: 2x\r\n\r\n", true), SAGATE_EMALFORMED);
    CU_ASSERT_EQUAL(read_http("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", true), SAGATE_ETOOBIG);
}

static void registrations_are_written_and_read(void)
{
    struct options options = {
        .admin = "a.example", .targets = {"//sp/in"}, .target_count = 1, .suid = 32, .lifetime = 60};
    char *text = registration_content(&options, slice_of(NULL, 0), 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    CU_ASSERT_STRING_EQUAL(text, "{\"sec:symmKeyReg\":{\"et\":\"19700101T000100\",\"adminFQDN\":\"a.example\","
                                 "\"SUID\":32,\"targetIDs\":[\"//sp/in\"]}}");
    secret_free(text);
    text = registration_content(&options, slice_text("key"), 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, ",\"keyValue\":\"a2V5\"}}"));
    secret_free(text);
    char id[REGISTRATION_ID_MAX];
    CU_ASSERT_EQUAL(registration_read(slice_text("{\"sec:symmKeyReg\":{\"relativeKeyID\":\"0A\"}}"), id), SAGATE_OK);
    CU_ASSERT_STRING_EQUAL(id, "0A");
    static const char *const bad[] = {"",
                                      "{",
                                      "[]",
                                      "{\"sec:symmKeyReg\":1}",
                                      "{\"sec:symmKeyReg\":{\"relativeKeyID\":\"\"}}",
                                      "{\"sec:symmKeyReg\":{\"relativeKeyID\":\"a\\nkey = 00\"}}",
                                      "{\"sec:symmKeyReg\":{\"relativeKeyID\":\"a@b\"}}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CU_ASSERT_EQUAL(registration_read(slice_text(bad[i]), id), SAGATE_EMALFORMED);
}

static void keys_are_derived(void)
{
    struct options options = {.derive_for = "//sp.example/id-in", .suid = 22};
    uint8_t key[DERIVE_KEY] = {1};
    uint8_t made[DERIVE_KEY];
    CU_ASSERT_EQUAL(registration_derive(&options, key, sizeof key), SAGATE_OK);
    CU_ASSERT_EQUAL(key[0], 1);
    options.derivation = DERIVATION_KPSA;
    CU_ASSERT_EQUAL(derive_kpsa(key, slice_text(options.derive_for), made), SAGATE_OK);
    CU_ASSERT_EQUAL(registration_derive(&options, key, sizeof key), SAGATE_OK);
    CU_ASSERT_TRUE(secret_equal(key, made, sizeof key));
    options.derivation = DERIVATION_USAGE;
    CU_ASSERT_EQUAL(derive_usage(key, 22, slice_text("id-in.sp.example"), made), SAGATE_OK);
    CU_ASSERT_EQUAL(registration_derive(&options, key, sizeof key), SAGATE_OK);
    CU_ASSERT_TRUE(secret_equal(key, made, sizeof key));
    CU_ASSERT_EQUAL(registration_derive(&options, key, 16), SAGATE_EINVAL);
}

static void alerts_have_meanings(void)
{
    CU_ASSERT_STRING_EQUAL(report_alert_name(115), "unknown_psk_identity");
    CU_ASSERT_PTR_NOT_NULL(report_alert_hint(51));
    CU_ASSERT_STRING_EQUAL(report_alert_name(255), "unknown alert");
    CU_ASSERT_PTR_NULL(report_alert_hint(255));
}

static const struct unit_test tests[] = {
    {"command lines are read", command_lines_are_read},
    {"command lines are refused with a reason", command_lines_are_refused_with_a_reason},
    {"association files go round", association_files_go_round},
    {"association files are refused", association_files_are_refused},
    {"CoAP requests are written", coap_requests_are_written},
    {"HTTP requests are written", http_requests_are_written},
    {"CoAP answers are read", coap_answers_are_read},
    {"HTTP answers are read", http_answers_are_read},
    {"registrations are written and read", registrations_are_written_and_read},
    {"keys are derived", keys_are_derived},
    {"alerts have meanings", alerts_have_meanings},
};
UNIT_MAIN("device", tests)
