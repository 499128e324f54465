// Handing a configuration over.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/supervisor/handover.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "common/secret.h"
#include "controlplane/keystore/keystore.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SEND_WAIT_MS = 2000, ANSWER_MS = 20000 };

static bool is_control(const struct supervisor *supervisor, const struct child *child)
{
    return child == &supervisor->children[CHILD_CONTROL];
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

static int send_text(int to, const char *text)
{
    int fd = memfd_create("sagate-config", MFD_CLOEXEC);
    size_t len = strlen(text);
    int result = SAGATE_ESYS;
    if (fd >= 0 && write(fd, text, len) == (ssize_t)len) {
        const struct plane_message message = {.type = PLANE_CONFIG_TEXT};
        result = send_patiently(to, &message, fd);
    }
    if (fd >= 0)
        close(fd);
    return result;
}

static int send_text_to_data(int to, const struct config *config)
{
    char *text = config_text_for_data(config);
    if (text == NULL)
        return SAGATE_ENOMEM;
    int result = send_text(to, text);
    secret_zero(text, strlen(text));
    free(text);
    return result;
}

// Both processes may get the same copy, each with a position of its own in it.
static int send_file(int to, const char *path, const struct file_copy *copy)
{
    const struct plane_message message = {.type = PLANE_CONFIG_FILE, .config_file = {.path = slice_text(path)}};
    int fd = file_copy_open(copy);
    int result = fd < 0 ? SAGATE_ESYS : send_patiently(to, &message, fd);
    if (fd >= 0)
        close(fd);
    return result;
}

static int send_socket(int to, const char *name, int fd)
{
    const struct plane_message message = {.type = PLANE_SOCKET, .socket = {.name = slice_text(name)}};
    return fd < 0 ? SAGATE_OK : send_patiently(to, &message, fd);
}

// What a new process needs.
static int send_common(const struct supervisor *supervisor, const struct child *child)
{
    unsigned workers = supervisor->now->sockets.workers;
    int end = is_control(supervisor, child) ? 0 : 1;
    const struct plane_message stats = {.type = PLANE_STATS, .stats = {.workers = workers}};
    const struct plane_message state = {.type = PLANE_STATE, .state = supervisor->state};
    int result = send_patiently(child->fd, &stats, supervisor->memory.stats_fd);
    for (unsigned i = 0; i < workers && result == SAGATE_OK; i++) {
        const struct plane_message channel = {.type = PLANE_CHANNEL, .channel = {.worker = i}};
        result = send_patiently(child->fd, &channel, supervisor->channels[i][end]);
    }
    if (is_control(supervisor, child))
        return result == SAGATE_OK ? send_patiently(child->fd, &state, -1) : result;
    for (unsigned i = 0; i < workers && result == SAGATE_OK; i++) {
        const struct plane_message store = {.type = PLANE_STORE, .store = {.worker = i}};
        result = send_patiently(child->fd, &store, supervisor->memory.stores[i]);
    }
    return result;
}

static int send_to_data(struct child *child, const struct generation *generation, bool all)
{
    const struct config *config = generation->config;
    const struct sockets *sockets = &generation->sockets;
    int result = SAGATE_OK;
    for (size_t i = 0; i < config->certificate_count && result == SAGATE_OK; i++) {
        result = send_file(child->fd, config->certificates[i].chain_file, &generation->certificates[i][0]);
        if (result == SAGATE_OK)
            result = send_file(child->fd, config->certificates[i].key_file, &generation->certificates[i][1]);
    }
    for (size_t i = 0; i < config->trust_anchor_count && result == SAGATE_OK; i++)
        result = send_file(child->fd, config->trust_anchors[i].file, &generation->trust_anchors[i]);
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

static int send_certificate(int to, const struct generation *generation, size_t i)
{
    const struct config_certificate *certificate = &generation->config->certificates[i];
    int result = send_file(to, certificate->chain_file, &generation->certificates[i][0]);
    return result == SAGATE_OK ? send_file(to, certificate->key_file, &generation->certificates[i][1]) : result;
}

// What the control process reaches MAFs and MEFs with. What several of them use is sent once.
static int send_tef_files(int to, const struct generation *generation)
{
    const struct config *config = generation->config;
    bool certificates[CONFIG_CERTIFICATES_MAX] = {false};
    bool anchors[CONFIG_TRUST_ANCHORS_MAX] = {false};
    int result = SAGATE_OK;
    for (size_t i = 0; i < config->tef_count && result == SAGATE_OK; i++) {
        const struct config_tef *tef = &config->tefs[i];
        if (generation->tef_keys[i].fd >= 0)
            result = send_file(to, keystore_file_path(tef->psk), &generation->tef_keys[i]);
        if (tef->psk_identity[0] != '\0')
            continue;
        if (!certificates[tef->certificate])
            result = send_certificate(to, generation, tef->certificate);
        certificates[tef->certificate] = true;
        for (size_t k = 0; k < tef->trust_anchor_count && result == SAGATE_OK; k++) {
            size_t anchor = tef->trust_anchors[k];
            if (!anchors[anchor])
                result = send_file(to, config->trust_anchors[anchor].file, &generation->trust_anchors[anchor]);
            anchors[anchor] = true;
        }
    }
    return result;
}

static int send_to_control(struct child *child, const struct generation *generation, bool check_only)
{
    const struct config *config = generation->config;
    const struct sockets *sockets = &generation->sockets;
    int result = SAGATE_OK;
    if (config->credentials_file[0] != '\0')
        result = send_file(child->fd, config->credentials_file, &generation->credentials);
    if (result == SAGATE_OK)
        result = send_tef_files(child->fd, generation);
    if (check_only)
        return result;
    // The numbers differ when the sockets do: the old ones are still open while new ones are opened.
    if (result == SAGATE_OK && child->control_socket != sockets->control)
        result = send_socket(child->fd, "control", sockets->control);
    if (result == SAGATE_OK && child->metrics_socket != sockets->metrics)
        result = send_socket(child->fd, "metrics", sockets->metrics);
    child->control_socket = sockets->control;
    child->metrics_socket = sockets->metrics;
    return result;
}

int handover_config(struct supervisor *supervisor, struct child *child, struct generation *generation, bool all,
                    bool check_only)
{
    const struct plane_message begin = {.type = PLANE_CONFIG_BEGIN, .config_begin = {.generation = generation->number}};
    const struct plane_message commit = {
        .type = PLANE_CONFIG_COMMIT,
        .config_commit = {.generation = generation->number, .check_only = check_only ? 1 : 0}};
    int result = send_patiently(child->fd, &begin, -1);
    if (result == SAGATE_OK)
        result = is_control(supervisor, child) ? send_text(child->fd, generation->config->text)
                                               : send_text_to_data(child->fd, generation->config);
    if (result == SAGATE_OK && all)
        result = send_common(supervisor, child);
    if (result == SAGATE_OK)
        result = is_control(supervisor, child) ? send_to_control(child, generation, check_only)
                                               : send_to_data(child, generation, all);
    if (result == SAGATE_OK)
        result = send_patiently(child->fd, &commit, -1);
    if (result != SAGATE_OK)
        log_error("cannot hand the configuration to the %s process: %s", child->role, sagate_strerror(result));
    else if (all && !is_control(supervisor, child))
        handover_mark_sent(&generation->sockets);
    child->asked = generation->number;
    child->checking = check_only;
    child->answer_by_ms = clock_ms() + ANSWER_MS;
    return result;
}

void handover_mark_sent(struct sockets *sockets)
{
    for (size_t i = 0; i < sockets->group_count; i++)
        sockets->groups[i].sent = true;
}
