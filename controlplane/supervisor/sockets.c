// Opening and sharing of listening sockets.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/supervisor/sockets.h"

#include "common/error.h"

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { LISTEN_BACKLOG = 4096, DATAGRAM_BUFFER = 4 * 1024 * 1024, BIND_TRIES = 40, BIND_WAIT_MS = 50 };

void sockets_init(struct sockets *sockets, unsigned workers)
{
    memset(sockets, 0, sizeof *sockets);
    sockets->workers = workers;
    sockets->control = sockets->metrics = -1;
}

static int open_one(enum config_transport transport, const struct address *address, bool shared)
{
    int type = (transport == CONFIG_DTLS ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK;
    int fd = socket(address->any.sa_family, type, 0);
    if (fd < 0)
        return -1;
    int one = 1;
    int buffer = DATAGRAM_BUFFER;
    if (transport == CONFIG_TLS)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (address->any.sa_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (transport == CONFIG_DTLS && setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer) != 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    if (transport == CONFIG_DTLS && setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer) != 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    bool ok = !shared || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) == 0;
    if (ok && bind(fd, &address->any, address->len) == 0 &&
        (transport == CONFIG_DTLS || listen(fd, LISTEN_BACKLOG) == 0))
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

// With SO_REUSEPORT alone another process of the same user could be bound already and would take part of the traffic;
// a plain bind first finds that out. The kernel ends io_uring after the process that had it, so that the sockets of a
// sagate that has just ended may be there for a moment: `tries` of them, BIND_WAIT_MS apart.
static bool is_taken(enum config_transport transport, const struct address *address, unsigned tries)
{
    int fd = open_one(transport, address, false);
    while (fd < 0 && errno == EADDRINUSE && --tries > 0) {
        (void)poll(NULL, 0, BIND_WAIT_MS);
        fd = open_one(transport, address, false);
    }
    if (fd < 0)
        return true;
    close(fd);
    return false;
}

static int open_group(const struct config_listener *listener, unsigned workers, unsigned tries,
                      struct socket_group *group)
{
    *group = (struct socket_group){
        .name = strdup(listener->name), .transport = listener->transport, .address = listener->address};
    for (unsigned i = 0; i < CONFIG_WORKERS_MAX; i++)
        group->fds[i] = -1;
    if (group->name == NULL)
        return SAGATE_ENOMEM;
    if (is_taken(listener->transport, &listener->address, tries))
        return SAGATE_ESYS;
    for (unsigned i = 0; i < workers; i++) {
        group->fds[i] = open_one(listener->transport, &listener->address, true);
        if (group->fds[i] < 0)
            return SAGATE_ESYS;
    }
    return SAGATE_OK;
}

static const struct socket_group *find_group(const struct sockets *sockets, enum config_transport transport,
                                             const struct address *address)
{
    for (size_t i = 0; i < sockets->group_count; i++) {
        if (sockets->groups[i].transport == transport && address_equal(&sockets->groups[i].address, address))
            return &sockets->groups[i];
    }
    return NULL;
}

static int open_control(const struct config *config)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    size_t len = strlen(config->control_socket);
    if (len >= sizeof name.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(name.sun_path, config->control_socket, len + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    // A path left by a process that is gone is taken over; one that answers belongs to a running sagate.
    if (connect(fd, (struct sockaddr *)&name, sizeof name) == 0) {
        close(fd);
        errno = EADDRINUSE;
        return -1;
    }
    close(fd);
    struct stat info;
    if (lstat(config->control_socket, &info) == 0 && S_ISSOCK(info.st_mode))
        (void)unlink(config->control_socket);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t mask = umask(0177);
    int bound = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&name, sizeof name);
    umask(mask);
    const struct group *group = config->control_socket_group[0] == '\0' ? NULL : getgrnam(config->control_socket_group);
    if (config->control_socket_group[0] != '\0' && group == NULL && bound == 0) {
        errno = ENOENT;
        bound = -1;
    }
    if (bound == 0 && (group == NULL || chown(config->control_socket, (uid_t)-1, group->gr_gid) == 0) &&
        chmod(config->control_socket, config->control_socket_mode) == 0 && listen(fd, 64) == 0)
        return fd;
    int error = errno;
    if (fd >= 0)
        close(fd);
    errno = error;
    return -1;
}

static int open_others(const struct config *config, const struct sockets *current, struct sockets *next, char *error,
                       size_t error_cap)
{
    char text[ADDRESS_TEXT_MAX];
    if (current->control >= 0 && strcmp(current->control_path, config->control_socket) == 0)
        next->control = current->control;
    else
        next->control = open_control(config);
    next->control_path = strdup(config->control_socket);
    if (next->control < 0 || next->control_path == NULL) {
        (void)snprintf(error, error_cap, "control.socket %s: %s", config->control_socket, strerror(errno));
        return SAGATE_ESYS;
    }
    next->metrics_address = config->metrics;
    if (config->metrics.len == 0)
        return SAGATE_OK;
    if (current->metrics >= 0 && address_equal(&current->metrics_address, &config->metrics))
        next->metrics = current->metrics;
    else
        next->metrics = open_one(CONFIG_TLS, &config->metrics, false);
    if (next->metrics < 0) {
        (void)snprintf(error, error_cap, "metrics listener %s: %s", address_format(&config->metrics, text),
                       strerror(errno));
        return SAGATE_ESYS;
    }
    return SAGATE_OK;
}

int sockets_open(const struct config *config, const struct sockets *current, struct sockets *next, char *error,
                 size_t error_cap)
{
    char text[ADDRESS_TEXT_MAX];
    sockets_init(next, current->workers);
    int result = SAGATE_OK;
    unsigned tries = current->group_count == 0 ? BIND_TRIES : 1; // at a reload nobody must wait
    for (size_t i = 0; i < config->listener_count && result == SAGATE_OK; i++) {
        const struct config_listener *listener = &config->listeners[i];
        const struct socket_group *old = find_group(current, listener->transport, &listener->address);
        struct socket_group *group = &next->groups[next->group_count++];
        if (old != NULL) {
            *group = *old;
            group->name = strdup(listener->name);
            continue;
        }
        result = open_group(listener, next->workers, tries, group);
        if (result != SAGATE_OK)
            (void)snprintf(error, error_cap, "listener \"%s\" (%s %s): %s", listener->name,
                           listener->transport == CONFIG_DTLS ? "udp" : "tcp", address_format(&listener->address, text),
                           strerror(errno));
    }
    if (result == SAGATE_OK)
        result = open_others(config, current, next, error, error_cap);
    if (result != SAGATE_OK)
        sockets_close(next, current);
    return result;
}

static bool shares(const struct sockets *kept, int fd)
{
    if (kept == NULL)
        return false;
    if (fd == kept->control || fd == kept->metrics)
        return true;
    for (size_t i = 0; i < kept->group_count; i++) {
        if (kept->groups[i].fds[0] == fd)
            return true;
    }
    return false;
}

void sockets_close(struct sockets *old, const struct sockets *kept)
{
    for (size_t i = 0; i < old->group_count; i++) {
        bool keep = old->groups[i].fds[0] >= 0 && shares(kept, old->groups[i].fds[0]);
        for (unsigned j = 0; !keep && j < old->workers; j++) {
            if (old->groups[i].fds[j] >= 0)
                close(old->groups[i].fds[j]);
        }
        free(old->groups[i].name);
    }
    if (old->control >= 0 && !shares(kept, old->control)) {
        close(old->control);
        if (old->control_path != NULL)
            (void)unlink(old->control_path);
    }
    if (old->metrics >= 0 && !shares(kept, old->metrics))
        close(old->metrics);
    free(old->control_path);
    sockets_init(old, old->workers);
}
