// What the supervisor checks, keeps and hands to the control process of the files that MAFs and MEFs need.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "controlplane/supervisor/handover.h"
#include "tests/unit/tls_certificates.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY "00112233445566778899aabbccddeeff"

static char folder[] = "/tmp/sagate-handover-XXXXXX";
static const char *const names[] = {"sagate.conf", "maf.key", "c.pem", "c.key", "d.pem", "d.key", "t.pem", "u.pem"};

static const char *path_of(const char *name)
{
    static char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void put(const char *name, const char *content, mode_t mode)
{
    int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    CU_ASSERT_EQUAL(fchmod(fd, mode), 0);
    close(fd);
}

// What the files of MEFs are is looked at; what is nobody's may be anything.
static const char *content_of(const char *name)
{
    if (strcmp(name, "c.pem") == 0)
        return tls_certificate_one;
    if (strcmp(name, "c.key") == 0)
        return tls_key_one;
    return strcmp(name, "t.pem") == 0 ? tls_certificate_two : name;
}

// Two MEFs share a certificate and an anchor; the certificate "d" and the anchor "u" are nobody's.
static void put_all(void)
{
    static const char configuration[] =
        "process: { user = \"\"; control_user = \"\"; state_directory = \"state\"; };\n"
        "certificates = ( { name = \"d\"; chain_file = \"d.pem\"; key_file = \"d.key\"; },\n"
        "  { name = \"c\"; chain_file = \"c.pem\"; key_file = \"c.key\"; } );\n"
        "trust_anchors = ( { name = \"u\"; file = \"u.pem\"; }, { name = \"t\"; file = \"t.pem\"; } );\n"
        "upstreams = ( { name = \"in\"; sp_id = \"//sp.example\"; cse_id = \"/id-in\";\n"
        "  servers = ( { name = \"s\"; http = \"127.0.0.1:80\"; } ); } );\n"
        "listeners = ( { name = \"https\"; transport = \"tls\"; binding = \"http\"; upstream = \"in\"; } );\n"
        "credentials_file = \"\";\n"
        "mafs = ( { name = \"m\"; fqdn = \"m\"; address = \"::1\"; upstream = \"in\"; register = false;\n"
        "  psk_identity = \"i\"; psk = \"file:maf.key\"; } );\n"
        "mefs = ( { name = \"e\"; fqdn = \"e\"; address = \"::1\"; upstream = \"in\"; register = false;\n"
        "  certificate = \"c\"; trust_anchors = [ \"t\" ]; },\n"
        "  { name = \"f\"; fqdn = \"f\"; address = \"::1\"; upstream = \"in\"; register = false; certificate = \"c\";\n"
        "  trust_anchors = [ \"t\" ]; } );\n";
    put("sagate.conf", configuration, 0644);
    put("maf.key", KEY "\n", 0600);
    for (size_t i = 2; i < sizeof names / sizeof *names; i++)
        put(names[i], content_of(names[i]), 0600);
}

static struct generation *load(const char *expected)
{
    static char error[4096];
    struct generation *generation = NULL;
    char path[128];
    (void)snprintf(path, sizeof path, "%s", path_of("sagate.conf"));
    int result = generation_load(path, NULL, &generation, error, sizeof error);
    CU_ASSERT_EQUAL(result, expected == NULL ? SAGATE_OK : SAGATE_ECONFIG);
    if ((result == SAGATE_OK) != (expected == NULL) || (expected != NULL && strstr(error, expected) == NULL))
        printf("\nexpected: %s\nfound: %s\n", expected == NULL ? "" : expected, error);
    if (expected != NULL)
        CU_ASSERT_PTR_NOT_NULL(strstr(error, expected));
    return generation;
}

// The next file that came; the caller closes it.
static int next_file(int fd, const char *name)
{
    static uint8_t buffer[PLANE_MESSAGE_MAX];
    struct plane_message message;
    int file = -1;
    CU_ASSERT_EQUAL_FATAL(plane_receive(fd, buffer, &message, &file), SAGATE_OK);
    CU_ASSERT_EQUAL_FATAL(message.type, PLANE_CONFIG_FILE);
    CU_ASSERT_TRUE(slice_is(message.config_file.path, path_of(name)));
    return file;
}

static void came(int fd, const char *name, const char *content)
{
    char found[2048] = "";
    int file = next_file(fd, name);
    CU_ASSERT_TRUE(read(file, found, sizeof found - 1) >= 0);
    CU_ASSERT_STRING_EQUAL(found, content);
    // Nothing can change it any more.
    CU_ASSERT_TRUE(write(file, "x", 1) < 0);
    close(file);
}

static int next_type(int fd)
{
    static uint8_t buffer[PLANE_MESSAGE_MAX];
    struct plane_message message;
    int passed = -1;
    CU_ASSERT_EQUAL_FATAL(plane_receive(fd, buffer, &message, &passed), SAGATE_OK);
    if (passed >= 0)
        close(passed);
    return (int)message.type;
}

static void control_gets_what_it_needs(void)
{
    static struct supervisor supervisor;
    struct child *control = &supervisor.children[CHILD_CONTROL];
    int ends[2];
    put_all();
    struct generation *generation = load(NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(generation);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        (void)unlink(path_of(names[i])); // the copies are enough
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    *control = (struct child){.role = "control", .fd = ends[0], .control_socket = -1, .metrics_socket = -1};
    // Twice: what one has read is there for the next.
    for (int i = 0; i < 2; i++) {
        CU_ASSERT_EQUAL(handover_config(&supervisor, control, generation, false, i == 0), SAGATE_OK);
        CU_ASSERT_EQUAL(next_type(ends[1]), PLANE_CONFIG_BEGIN);
        CU_ASSERT_EQUAL(next_type(ends[1]), PLANE_CONFIG_TEXT);
        came(ends[1], "maf.key", KEY "\n");
        came(ends[1], "c.pem", tls_certificate_one);
        came(ends[1], "c.key", tls_key_one);
        came(ends[1], "t.pem", tls_certificate_two);
        CU_ASSERT_EQUAL(next_type(ends[1]), PLANE_CONFIG_COMMIT);
    }
    close(ends[0]);
    close(ends[1]);
    generation_free(generation, NULL);
}

static void data_learns_nothing_of_them(void)
{
    static struct supervisor supervisor;
    static uint8_t buffer[PLANE_MESSAGE_MAX];
    struct child *data = &supervisor.children[CHILD_DATA];
    struct plane_message message;
    struct config *config = NULL;
    struct config_errors errors;
    char text[32768] = "";
    int ends[2], fd = -1;
    put_all();
    struct generation *generation = load(NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(generation);
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    *data = (struct child){.role = "data", .fd = ends[0], .control_socket = -1, .metrics_socket = -1};
    CU_ASSERT_EQUAL(handover_config(&supervisor, data, generation, false, false), SAGATE_OK);
    CU_ASSERT_EQUAL(next_type(ends[1]), PLANE_CONFIG_BEGIN);
    CU_ASSERT_EQUAL_FATAL(plane_receive(ends[1], buffer, &message, &fd), SAGATE_OK);
    CU_ASSERT_EQUAL_FATAL(message.type, PLANE_CONFIG_TEXT);
    CU_ASSERT_TRUE(pread(fd, text, sizeof text - 1, 0) > 0);
    close(fd);
    CU_ASSERT_PTR_NULL(strstr(text, "maf.key"));
    CU_ASSERT_EQUAL_FATAL(config_parse(text, &config, &errors), SAGATE_OK);
    CU_ASSERT_EQUAL(config->tef_count, 0);
    CU_ASSERT_EQUAL(config->certificate_count, 2);
    config_free(config);
    // All certificates and anchors, and no key of a MAF.
    static const char *const files[] = {"d.pem", "d.key", "c.pem", "c.key", "u.pem", "t.pem"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        came(ends[1], files[i], content_of(files[i]));
    CU_ASSERT_EQUAL(next_type(ends[1]), PLANE_CONFIG_COMMIT);
    close(ends[0]);
    close(ends[1]);
    generation_free(generation, NULL);
}

static void files_that_are_no_good(void)
{
    put_all();
    put("maf.key", KEY, 0640);
    CU_ASSERT_EQUAL(chown(path_of("maf.key"), (uid_t)-1, geteuid() == 0 ? 65534 : (gid_t)-1), 0);
    if (getegid() != 0 || geteuid() == 0) // what root's group may read is allowed
        (void)load("setting 'mafs[0].psk': ");
    put_all();
    put("maf.key", "not-hexadecimal-digits", 0600);
    (void)load("setting 'mafs[0].psk': ");
    CU_ASSERT_EQUAL(unlink(path_of("maf.key")), 0);
    (void)load("maf.key: No such file or directory");
    put_all();
    CU_ASSERT_EQUAL(unlink(path_of("c.key")), 0);
    (void)load("c.key: No such file or directory");
    put_all();
    put("c.key", tls_key_two, 0600);
    (void)load("setting 'mefs[0]': the private key does not belong to the certificate");
    put("c.key", tls_key_one, 0600);
    put("c.pem", "c.pem", 0644);
    (void)load("setting 'mefs[1]': no usable PEM certificate chain");
    put("c.pem", tls_certificate_one, 0644);
    put("t.pem", "t.pem", 0644);
    (void)load("setting 'mefs[0]': no usable PEM trust anchors");
    CU_ASSERT_EQUAL(unlink(path_of("t.pem")), 0);
    (void)load("t.pem: No such file or directory");
}

static const struct unit_test tests[] = {
    {"control gets the files of MAFs and MEFs", control_gets_what_it_needs},
    {"the data process learns nothing of them", data_learns_nothing_of_them},
    {"files that are no good", files_that_are_no_good},
};

int main(void)
{
    if (mkdtemp(folder) == NULL)
        return EXIT_FAILURE;
    int result = unit_main("handover", tests, sizeof tests / sizeof *tests);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        (void)unlink(path_of(names[i]));
    (void)rmdir(folder);
    return result;
}
