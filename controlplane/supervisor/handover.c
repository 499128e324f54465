// Checking a configuration with its files, and handing it over.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/supervisor/handover.h"

#include "common/error.h"
#include "common/file.h"
#include "common/log.h"
#include "common/secret.h"
#include "controlplane/keystore/credentials.h"
#include "dataplane/handshake/handshake.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX = 1 << 20, SEND_WAIT_MS = 2000 };

struct report {
    char *text;
    size_t cap, used;
};

__attribute__((format(printf, 2, 3))) static void complain(struct report *report, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(report->text + report->used, report->cap - report->used, format, arguments);
    va_end(arguments);
    if (len > 0)
        report->used += (size_t)len < report->cap - report->used ? (size_t)len : report->cap - report->used - 1;
}

static int check_user(struct report *report, const char *setting, const char *user)
{
    if (geteuid() != 0 || user[0] == '\0' || getpwnam(user) != NULL)
        return SAGATE_OK;
    complain(report, "setting '%s': no user \"%s\" on this system; expected the name of one, or \"\"\n", setting, user);
    return SAGATE_ECONFIG;
}

static uid_t credentials_owner(const struct config *config)
{
    const struct passwd *entry =
        geteuid() == 0 && config->process.control_user[0] != '\0' ? getpwnam(config->process.control_user) : NULL;
    return entry == NULL ? geteuid() : entry->pw_uid;
}

static int check_credentials(struct report *report, const struct config *config)
{
    if (config->credentials_file[0] == '\0')
        return SAGATE_OK;
    int fd = open(config->credentials_file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        complain(report, "setting 'credentials_file': %s: %s\n", config->credentials_file, strerror(errno));
        return SAGATE_ECONFIG;
    }
    struct credentials *credentials = NULL;
    struct config_errors errors = {0};
    int result = credentials_read(fd, config->credentials_file, credentials_owner(config), &credentials, &errors);
    if (result != SAGATE_OK)
        complain(report, "%s\n", errors.text == NULL ? sagate_strerror(result) : errors.text);
    credentials_free(credentials);
    config_errors_free(&errors);
    close(fd);
    return result == SAGATE_OK ? SAGATE_OK : SAGATE_ECONFIG;
}

// A whole small file in secret memory; NULL with a complaint.
static uint8_t *load(struct report *report, const char *path, bool key, size_t *len)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) != 0) {
        complain(report, "certificate file %s: %s\n", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    uint8_t *bytes = NULL;
    if (!S_ISREG(info.st_mode) || info.st_size == 0 || info.st_size > FILE_MAX - 2) {
        complain(report, "certificate file %s: not a file of 1 byte to 1 MiB\n", path);
    } else if (key && (info.st_mode & 07) != 0) {
        complain(report, "private key %s: readable or writable for everybody (mode %04o); expected 0640 or less\n",
                 path, info.st_mode & 07777U);
    } else if ((bytes = secret_alloc((size_t)info.st_size + 2)) != NULL) {
        ssize_t got = file_read(fd, bytes, (size_t)info.st_size);
        *len = got < 0 ? 0 : (size_t)got;
    }
    close(fd);
    return bytes;
}

static int check_certificates(struct report *report, const struct config *config)
{
    static struct handshake_files files;
    static uint8_t *loaded[CONFIG_CERTIFICATES_MAX][2];
    size_t before = report->used;
    memset(&files, 0, sizeof files);
    memset(loaded, 0, sizeof loaded);
    for (size_t i = 0; i < config->certificate_count; i++) {
        size_t chain_len = 0;
        size_t key_len = 0;
        loaded[i][0] = load(report, config->certificates[i].chain_file, false, &chain_len);
        loaded[i][1] = load(report, config->certificates[i].key_file, true, &key_len);
        files.chain[i] = slice_of(loaded[i][0], chain_len);
        files.key[i] = slice_of(loaded[i][1], key_len);
    }
    struct handshake_contexts *contexts = NULL;
    char text[512] = "";
    if (report->used == before && handshake_contexts_new(config, &files, &contexts, text, sizeof text) != SAGATE_OK)
        complain(report, "%s\n", text);
    handshake_contexts_free(contexts);
    for (size_t i = 0; i < config->certificate_count; i++) {
        secret_free(loaded[i][0]);
        secret_free(loaded[i][1]);
    }
    return report->used == before ? SAGATE_OK : SAGATE_ECONFIG;
}

int handover_load(const char *path, struct config **config, char *error, size_t error_cap)
{
    struct report report = {.text = error, .cap = error_cap};
    struct config_errors errors = {0};
    int result = config_load(path, config, &errors);
    if (result != SAGATE_OK) {
        complain(&report, "%s", errors.text == NULL ? sagate_strerror(result) : errors.text);
        config_errors_free(&errors);
        return result;
    }
    int results[] = {check_user(&report, "process.user", (*config)->process.user),
                     check_user(&report, "process.control_user", (*config)->process.control_user),
                     check_credentials(&report, *config), check_certificates(&report, *config)};
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        if (results[i] != SAGATE_OK)
            result = SAGATE_ECONFIG;
    }
    if (result != SAGATE_OK) {
        config_free(*config);
        *config = NULL;
        while (report.used > 0 && error[report.used - 1] == '\n')
            error[--report.used] = '\0';
    }
    return result;
}

int handover_directories(const struct config *config, char *error, size_t error_cap)
{
    const char *state = config->process.state_directory;
    if (mkdir(state, 0700) != 0 && errno != EEXIST) {
        (void)snprintf(error, error_cap, "process.state_directory %s: %s", state, strerror(errno));
        return SAGATE_ESYS;
    }
    if (geteuid() == 0 && chown(state, credentials_owner(config), (gid_t)-1) != 0) {
        (void)snprintf(error, error_cap, "process.state_directory %s: %s", state, strerror(errno));
        return SAGATE_ESYS;
    }
    char *copy = strdup(config->control_socket);
    int result = SAGATE_OK;
    if (copy != NULL && mkdir(dirname(copy), 0755) != 0 && errno != EEXIST) {
        (void)snprintf(error, error_cap, "folder of control.socket %s: %s", config->control_socket, strerror(errno));
        result = SAGATE_ESYS;
    }
    free(copy);
    return result;
}

// A child that has just been started may not read yet; its socket holds many messages, and a short wait does for more.
static int send_patiently(int to, const struct plane_message *message, int pass_fd)
{
    for (;;) {
        int result = plane_send(to, message, pass_fd);
        struct pollfd room = {.fd = to, .events = POLLOUT};
        if (result != SAGATE_AGAIN || poll(&room, 1, SEND_WAIT_MS) != 1)
            return result;
    }
}

static int send_text(int to, const struct config *config)
{
    int fd = memfd_create("sagate-config", MFD_CLOEXEC);
    size_t len = strlen(config->text);
    int result = SAGATE_ESYS;
    if (fd >= 0 && write(fd, config->text, len) == (ssize_t)len) {
        const struct plane_message message = {.type = PLANE_CONFIG_TEXT};
        result = send_patiently(to, &message, fd);
    }
    if (fd >= 0)
        close(fd);
    return result;
}

static int send_file(int to, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return SAGATE_ESYS;
    const struct plane_message message = {.type = PLANE_CONFIG_FILE, .config_file = {.path = slice_text(path)}};
    int result = send_patiently(to, &message, fd);
    close(fd);
    return result;
}

static int send_socket(int to, const char *name, int fd)
{
    const struct plane_message message = {.type = PLANE_SOCKET, .socket = {.name = slice_text(name)}};
    return fd < 0 ? SAGATE_OK : send_patiently(to, &message, fd);
}

static int send_common(struct supervisor *supervisor, struct child *child, int end)
{
    unsigned workers = supervisor->sockets.workers;
    const struct plane_message stats = {.type = PLANE_STATS, .stats = {.workers = workers}};
    int result = send_patiently(child->fd, &stats, supervisor->stats_fd);
    for (unsigned i = 0; i < workers && result == SAGATE_OK; i++) {
        const struct plane_message channel = {.type = PLANE_CHANNEL, .channel = {.worker = i}};
        result = send_patiently(child->fd, &channel, supervisor->channels[i][end]);
    }
    return result;
}

static int send_to_data(struct supervisor *supervisor, struct child *child, const struct config *config,
                        const struct sockets *sockets, bool all)
{
    int result = all ? send_common(supervisor, child, 1) : SAGATE_OK;
    for (size_t i = 0; i < config->certificate_count && result == SAGATE_OK; i++) {
        result = send_file(child->fd, config->certificates[i].chain_file);
        if (result == SAGATE_OK)
            result = send_file(child->fd, config->certificates[i].key_file);
    }
    for (size_t i = 0; i < sockets->group_count && result == SAGATE_OK; i++) {
        const struct socket_group *group = &sockets->groups[i];
        for (unsigned j = 0; j < sockets->workers && (all || !group->sent) && result == SAGATE_OK; j++) {
            const struct plane_message message = {.type = PLANE_LISTENER,
                                                  .listener = {.name = slice_text(group->name), .worker = j}};
            result = send_patiently(child->fd, &message, group->fds[j]);
        }
    }
    return result;
}

static int send_to_control(struct supervisor *supervisor, struct child *child, const struct config *config,
                           const struct sockets *sockets, bool all)
{
    int result = all ? send_common(supervisor, child, 0) : SAGATE_OK;
    if (result == SAGATE_OK && config->credentials_file[0] != '\0')
        result = send_file(child->fd, config->credentials_file);
    if (result == SAGATE_OK && (all || sockets->control != supervisor->sockets.control))
        result = send_socket(child->fd, "control", sockets->control);
    if (result == SAGATE_OK && (all || sockets->metrics != supervisor->sockets.metrics))
        result = send_socket(child->fd, "metrics", sockets->metrics);
    return result;
}

int handover_config(struct supervisor *supervisor, struct child *child, const struct config *config,
                    const struct sockets *sockets, bool all)
{
    const struct plane_message begin = {.type = PLANE_CONFIG_BEGIN,
                                        .config_begin = {.generation = supervisor->generation}};
    const struct plane_message commit = {.type = PLANE_CONFIG_COMMIT,
                                         .config_commit = {.generation = supervisor->generation}};
    int result = send_patiently(child->fd, &begin, -1);
    if (result == SAGATE_OK)
        result = send_text(child->fd, config);
    if (result == SAGATE_OK && child == &supervisor->children[CHILD_DATA])
        result = send_to_data(supervisor, child, config, sockets, all);
    else if (result == SAGATE_OK)
        result = send_to_control(supervisor, child, config, sockets, all);
    if (result == SAGATE_OK)
        result = send_patiently(child->fd, &commit, -1);
    if (result != SAGATE_OK)
        log_error("cannot hand the configuration to the %s process: %s", child->role, sagate_strerror(result));
    else if (all && child == &supervisor->children[CHILD_DATA])
        handover_mark_sent(&supervisor->sockets);
    return result;
}

void handover_mark_sent(struct sockets *sockets)
{
    for (size_t i = 0; i < sockets->group_count; i++)
        sockets->groups[i].sent = true;
}
