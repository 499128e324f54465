// A control process in a child, with the test around it.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "tests/unit/control_rig.h"

#include "common/error.h"
#include "controlplane/config/config.h"
#include "controlplane/control/control.h"
#include "controlplane/metrics/metrics.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WAIT_MS = 20000 };

static void path_of(const struct rig *rig, const char *name, char out[160])
{
    (void)snprintf(out, 160, "%s/%s", rig->folder, name);
}

static void put(const struct rig *rig, const char *name, const char *content)
{
    char path[160];
    path_of(rig, name, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    close(fd);
}

static void listen_unix(struct rig *rig)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/control.sock", rig->folder);
    rig->control_socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(bind(rig->control_socket, (const struct sockaddr *)&address, sizeof address), 0);
    CU_ASSERT_EQUAL_FATAL(listen(rig->control_socket, 64), 0);
}

static void listen_metrics(struct rig *rig)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    rig->metrics_socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(bind(rig->metrics_socket, (const struct sockaddr *)&address, sizeof address), 0);
    CU_ASSERT_EQUAL_FATAL(listen(rig->metrics_socket, 16), 0);
    CU_ASSERT_EQUAL_FATAL(getsockname(rig->metrics_socket, (struct sockaddr *)&address, &len), 0);
    rig->metrics_port = ntohs(address.sin_port);
}

void rig_create(struct rig *rig)
{
    char path[160];
    char config[2048];
    memset(rig, 0, sizeof *rig);
    (void)snprintf(rig->folder, sizeof rig->folder, "/tmp/sagate-test-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(rig->folder));
    path_of(rig, "state", path);
    CU_ASSERT_EQUAL_FATAL(mkdir(path, 0700), 0);
    listen_unix(rig);
    listen_metrics(rig);
    (void)snprintf(
        config, sizeof config,
        "process: { user = \"\"; control_user = \"\"; state_directory = \"%s/state\"; workers = %d; };\n"
        "upstreams = ( { name = \"in\"; sp_id = \"//sp.example\"; cse_id = \"/id-in\"; servers = ( { name = "
        "\"in-1\"; http = \"127.0.0.1:8080\"; coap = \"127.0.0.1:5683\"; } ); } );\n"
        "listeners = ( { name = \"coaps\"; transport = \"dtls\"; binding = \"coap\"; upstream = \"in\"; } );\n"
        "credentials_file = \"%s/credentials.conf\";\n"
        "control: { socket = \"%s/control.sock\"; };\nmetrics: { port = %d; };\n",
        rig->folder, RIG_WORKERS, rig->folder, rig->folder, rig->metrics_port);
    put(rig, "sagate.conf", config);
    rig->stats_fd = memfd_create("stats", MFD_CLOEXEC);
    CU_ASSERT_EQUAL_FATAL(ftruncate(rig->stats_fd, (off_t)(METRICS_STRIDE * RIG_WORKERS)), 0);
    uint8_t *stats = mmap(NULL, METRICS_STRIDE * RIG_WORKERS, PROT_READ | PROT_WRITE, MAP_SHARED, rig->stats_fd, 0);
    CU_ASSERT_NOT_EQUAL_FATAL(stats, MAP_FAILED);
    for (unsigned i = 0; i < RIG_WORKERS; i++) {
        int fds[2];
        CU_ASSERT_EQUAL_FATAL(plane_pair(fds), SAGATE_OK);
        rig->worker[i] = fds[0];
        rig->worker_far[i] = fds[1];
        rig->stats[i] = (struct stats *)(void *)(stats + METRICS_STRIDE * i);
    }
}

void rig_destroy(struct rig *rig)
{
    static const char *const names[] = {"state/registrations.db",
                                        "state/credentials.conf",
                                        "state",
                                        "credentials.conf",
                                        "sagate.conf",
                                        "control.sock",
                                        "maf.key",
                                        "log"};
    char path[160];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        path_of(rig, names[i], path);
        (void)remove(path);
    }
    CU_ASSERT_EQUAL(rmdir(rig->folder), 0); // nothing else was written
    (void)munmap(rig->stats[0], METRICS_STRIDE * RIG_WORKERS);
    close(rig->stats_fd);
    close(rig->control_socket);
    close(rig->metrics_socket);
    if (rig->supervisor > 0)
        close(rig->supervisor);
    for (unsigned i = 0; i < RIG_WORKERS; i++) {
        close(rig->worker[i]);
        close(rig->worker_far[i]);
    }
}

void rig_credentials(struct rig *rig, const char *content)
{
    put(rig, "credentials.conf", content);
}

void rig_maf(struct rig *rig, const char *key)
{
    static const char maf[] =
        "mafs = ( { name = \"maf\"; fqdn = \"maf.sp.example\"; address = \"127.0.0.1\"; port = 9; upstream = \"in\"; "
        "psk_identity = \"km@maf.sp.example\"; psk = \"file:maf.key\"; admin_fqdn = \"admin.sp.example\"; "
        "register = false; } );\n";
    char path[160];
    put(rig, "maf.key", key);
    if (rig->maf)
        return;
    rig->maf = true;
    path_of(rig, "sagate.conf", path);
    FILE *file = fopen(path, "ae");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    (void)fputs(maf, file);
    (void)fclose(file);
}

void rig_spawn(struct rig *rig)
{
    int fds[2];
    char path[160];
    if (rig->supervisor > 0)
        close(rig->supervisor);
    CU_ASSERT_EQUAL_FATAL(plane_pair(fds), SAGATE_OK);
    path_of(rig, "log", path);
    rig->pid = fork();
    CU_ASSERT_TRUE_FATAL(rig->pid >= 0);
    if (rig->pid == 0) {
        int log = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
        (void)dup2(log, STDERR_FILENO);
        close(log);
        close(fds[0]);
        for (unsigned i = 0; i < RIG_WORKERS; i++) {
            close(rig->worker[i]);
            close(rig->worker_far[i]);
        }
        exit(control_main(fds[1]));
    }
    close(fds[1]);
    rig->supervisor = fds[0];
}

size_t rig_log(struct rig *rig, char *text, size_t cap)
{
    char path[160];
    path_of(rig, "log", path);
    FILE *file = fopen(path, "re");
    size_t len = file == NULL ? 0 : fread(text, 1, cap - 1, file);
    text[len] = '\0';
    if (file != NULL)
        (void)fclose(file);
    return len;
}

int rig_stop(struct rig *rig)
{
    static char log[65536];
    int status = -1;
    close(rig->supervisor);
    rig->supervisor = 0;
    CU_ASSERT_EQUAL(waitpid(rig->pid, &status, 0), rig->pid);
    rig->pid = 0;
    int result = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (result != 0 && rig_log(rig, log, sizeof log) > 0)
        (void)fputs(log, stderr);
    return result;
}

static void hand_over(struct rig *rig, const struct plane_message *message, int fd)
{
    CU_ASSERT_EQUAL(plane_send(rig->supervisor, message, fd), SAGATE_OK);
}

static void send_config(struct rig *rig)
{
    char path[160];
    struct config *config = NULL;
    struct config_errors errors = {0};
    path_of(rig, "sagate.conf", path);
    int result = config_load(path, &config, &errors);
    if (result != SAGATE_OK)
        (void)fprintf(stderr, "%s\n", errors.text);
    CU_ASSERT_EQUAL_FATAL(result, SAGATE_OK);
    int memory = memfd_create("config", MFD_CLOEXEC);
    CU_ASSERT_EQUAL_FATAL(write(memory, config->text, strlen(config->text)), (ssize_t)strlen(config->text));
    hand_over(rig, &(struct plane_message){.type = PLANE_CONFIG_TEXT}, memory);
    close(memory);
    int file = open(config->credentials_file, O_RDONLY | O_CLOEXEC);
    struct plane_message message = {.type = PLANE_CONFIG_FILE,
                                    .config_file = {.path = slice_text(config->credentials_file)}};
    hand_over(rig, &message, file);
    close(file);
    if (rig->maf) {
        path_of(rig, "maf.key", path);
        file = open(path, O_RDONLY | O_CLOEXEC);
        message.config_file.path = slice_text(path);
        hand_over(rig, &message, file);
        close(file);
    }
    config_free(config);
}

static int commit(struct rig *rig, uint64_t generation, uint8_t check_only)
{
    struct plane_message message = {.type = PLANE_CONFIG_COMMIT,
                                    .config_commit = {.generation = generation, .check_only = check_only}};
    hand_over(rig, &message, -1);
    rig_expect(rig, rig->supervisor, PLANE_CONFIG_RESULT, &message);
    CU_ASSERT_EQUAL(message.config_result.generation, generation);
    (void)snprintf(rig->text, sizeof rig->text, "%.*s", (int)message.config_result.text.len,
                   message.config_result.text.data);
    return message.config_result.result;
}

int rig_configure(struct rig *rig, uint64_t generation, bool all)
{
    struct plane_message message = {.type = PLANE_CONFIG_BEGIN, .config_begin = {.generation = generation}};
    hand_over(rig, &message, -1);
    send_config(rig);
    for (unsigned i = 0; all && i < RIG_WORKERS; i++) {
        message = (struct plane_message){.type = PLANE_CHANNEL, .channel = {.worker = i}};
        hand_over(rig, &message, rig->worker_far[i]);
    }
    if (all) {
        message = (struct plane_message){.type = PLANE_STATS, .stats = {.workers = RIG_WORKERS}};
        hand_over(rig, &message, rig->stats_fd);
        message = (struct plane_message){.type = PLANE_SOCKET, .socket = {.name = slice_text("control")}};
        hand_over(rig, &message, rig->control_socket);
        message.socket.name = slice_text("metrics");
        hand_over(rig, &message, rig->metrics_socket);
    }
    return commit(rig, generation, 0);
}

int rig_check(struct rig *rig, uint64_t generation)
{
    struct plane_message message = {.type = PLANE_CONFIG_BEGIN, .config_begin = {.generation = generation}};
    hand_over(rig, &message, -1);
    send_config(rig);
    return commit(rig, generation, 1);
}

int rig_next(struct rig *rig, int fd, struct plane_message *message)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    for (;;) {
        int received = -1;
        int result = plane_receive(fd, rig->buffer, message, &received);
        if (received >= 0)
            close(received);
        if (result != SAGATE_AGAIN)
            return result;
        if (poll(&ready, 1, WAIT_MS) <= 0)
            return SAGATE_ETIMEOUT;
    }
}

void rig_expect(struct rig *rig, int fd, enum plane_type type, struct plane_message *message)
{
    int result;
    do {
        result = rig_next(rig, fd, message);
    } while (result == SAGATE_OK && message->type != type);
    if (result != SAGATE_OK)
        (void)fprintf(stderr, "no message of type %d came: %s\n", (int)type, sagate_strerror(result));
    CU_ASSERT_EQUAL_FATAL(result, SAGATE_OK);
}

void rig_send(struct rig *rig, int fd, const struct plane_message *message)
{
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    int result;
    (void)rig;
    while ((result = plane_send(fd, message, -1)) == SAGATE_AGAIN && poll(&ready, 1, WAIT_MS) > 0) {
    }
    CU_ASSERT_EQUAL_FATAL(result, SAGATE_OK);
}

int rig_begin_ask(struct rig *rig, const char *command)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/control.sock", rig->folder);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    // The other side may close in the middle of a line that is too long.
    (void)send(fd, command, strlen(command), MSG_NOSIGNAL);
    (void)send(fd, "\n", 1, MSG_NOSIGNAL);
    return fd;
}

size_t rig_read_line(struct rig *rig, int fd, char *line, size_t cap)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    size_t used = 0;
    (void)rig;
    while (used < cap - 1 && poll(&ready, 1, WAIT_MS) > 0) {
        ssize_t got = read(fd, line + used, 1);
        if (got <= 0 || line[used] == '\n')
            break;
        used++;
    }
    line[used] = '\0';
    return used;
}

void rig_ask(struct rig *rig, const char *command, char *answer, size_t cap)
{
    int fd = rig_begin_ask(rig, command);
    (void)rig_read_line(rig, fd, answer, cap);
    close(fd);
}

size_t rig_http(struct rig *rig, const char *path, char *answer, size_t cap)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons(rig->metrics_port)};
    char request[256];
    size_t used = 0;
    ssize_t got;
    int len = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", path);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    CU_ASSERT_EQUAL(write(fd, request, (size_t)len), len);
    while (used < cap - 1 && (got = read(fd, answer + used, cap - 1 - used)) > 0)
        used += (size_t)got;
    answer[used] = '\0';
    close(fd);
    return used;
}

mode_t rig_mode(struct rig *rig, const char *name)
{
    char path[160];
    struct stat status;
    path_of(rig, name, path);
    return stat(path, &status) == 0 ? status.st_mode & 0777 : 0;
}

bool rig_holds_key(const char *text, size_t len)
{
    static const struct {
        const char *bytes;
        size_t len;
    } forms[] = {
        {RIG_KEY_NODE, 16},    {RIG_KEY_NODE_HEX, 32},   {"MDEyMzQ1Njc4OWFiY2RlRg", 22}, {RIG_KEY_NEW, 16},
        {RIG_KEY_NEW_HEX, 32}, {"DEADBEEFDEADBEEF", 16}, {"deadbeefdead", 12},           {"3q2+796tvu/erb7v3q2+7w", 22},
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (memmem(text, len, forms[i].bytes, forms[i].len) != NULL)
            return true;
    }
    return false;
}

void rig_all_documented(const char *metrics)
{
    char *documents = NULL;
    size_t len = 0;
    FILE *file = fopen("docs/metrics.md", "re");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_TRUE(getdelim(&documents, &len, '\0', file) > 0);
    (void)fclose(file);
    for (const char *at = metrics; (at = strstr(at, "# HELP ")) != NULL; at++) {
        char name[128], quoted[160];
        CU_ASSERT_EQUAL(sscanf(at, "# HELP %127s", name), 1);
        (void)snprintf(quoted, sizeof quoted, "`%s`", name);
        if (strstr(documents, quoted) == NULL)
            (void)fprintf(stderr, "not in docs/metrics.md: %s\n", name);
        CU_ASSERT_PTR_NOT_NULL(strstr(documents, quoted));
    }
    free(documents);
}
