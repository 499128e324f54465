// Plane messages: one walk over the fields of a message serves for encoding and decoding, so the two cannot differ.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/plane.h"

#include "common/error.h"
#include "common/onem2m.h"
#include "common/secret.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// Header: version (2), type (2), length of the body (4), little-endian like all numbers here.
struct walk {
    bool encode;
    bool failed;
    uint8_t *out;      // when encoding
    const uint8_t *in; // when decoding
    size_t used, cap;
};

static bool take(struct walk *walk, size_t len)
{
    if (walk->failed || len > walk->cap - walk->used) {
        walk->failed = true;
        return false;
    }
    return true;
}

static void number(struct walk *walk, void *value, size_t size)
{
    if (!take(walk, size))
        return;
    // Little-endian on the wire as in memory of every supported machine; a plane message never leaves the machine.
    if (walk->encode)
        memcpy(walk->out + walk->used, value, size);
    else
        memcpy(value, walk->in + walk->used, size);
    walk->used += size;
}

static void bytes(struct walk *walk, struct slice *value)
{
    uint32_t len = (uint32_t)value->len;
    number(walk, &len, sizeof len);
    if (!take(walk, len))
        return;
    if (walk->encode) {
        if (len > 0)
            memcpy(walk->out + walk->used, value->data, len);
    } else {
        *value = slice_of(walk->in + walk->used, len);
    }
    walk->used += len;
}

#define NUMBER(field) number(walk, &(field), sizeof(field))

// The fields of a message in their order on the wire; false for an unknown type. Long, since it is a table.
static bool fields(struct walk *walk, struct plane_message *m)
{
    switch (m->type) {
    case PLANE_HELLO:
        NUMBER(m->hello.worker);
        NUMBER(m->hello.boot);
        return true;
    case PLANE_RESOLVE:
        bytes(walk, &m->resolve.identity);
        return true;
    case PLANE_RESOLVED:
        bytes(walk, &m->resolved.identity);
        NUMBER(m->resolved.result);
        bytes(walk, &m->resolved.key);
        NUMBER(m->resolved.cache_seconds);
        bytes(walk, &m->resolved.principal);
        return true;
    case PLANE_REVOKED:
        bytes(walk, &m->revoked.identity);
        bytes(walk, &m->revoked.credential_id);
        return true;
    case PLANE_PRINCIPAL:
        bytes(walk, &m->principal.principal);
        return true;
    case PLANE_REGISTERED:
        bytes(walk, &m->registered.credential_id);
        bytes(walk, &m->registered.upstream);
        bytes(walk, &m->registered.aei);
        bytes(walk, &m->registered.resource_id);
        bytes(walk, &m->registered.structured);
        return true;
    case PLANE_DELETED:
        bytes(walk, &m->deleted.upstream);
        bytes(walk, &m->deleted.to);
        return true;
    case PLANE_REGISTREES:
        bytes(walk, &m->registrees.cse_ids);
        return true;
    case PLANE_OWNERS:
        NUMBER(m->owners.remove);
        NUMBER(m->owners.replace);
        bytes(walk, &m->owners.entries);
        return true;
    case PLANE_LIST:
        NUMBER(m->list.ticket);
        NUMBER(m->list.cursor);
        NUMBER(m->list.limit);
        return true;
    case PLANE_LISTED:
        NUMBER(m->listed.ticket);
        NUMBER(m->listed.next);
        bytes(walk, &m->listed.entries);
        return true;
    case PLANE_KILL:
        NUMBER(m->kill.ticket);
        NUMBER(m->kill.association);
        bytes(walk, &m->kill.credential_id);
        return true;
    case PLANE_KILLED:
        NUMBER(m->killed.ticket);
        NUMBER(m->killed.count);
        return true;
    case PLANE_DRAIN:
        NUMBER(m->drain.on);
        return true;
    case PLANE_LOG_LEVEL:
        NUMBER(m->log_level.level);
        return true;
    case PLANE_CONFIG_BEGIN:
        NUMBER(m->config_begin.generation);
        return true;
    case PLANE_CONFIG_TEXT:
        return true;
    case PLANE_CONFIG_FILE:
        bytes(walk, &m->config_file.path);
        return true;
    case PLANE_LISTENER:
        bytes(walk, &m->listener.name);
        NUMBER(m->listener.worker);
        return true;
    case PLANE_CHANNEL:
        NUMBER(m->channel.worker);
        return true;
    case PLANE_STATS:
        NUMBER(m->stats.workers);
        return true;
    case PLANE_SOCKET:
        bytes(walk, &m->socket.name);
        return true;
    case PLANE_CONFIG_COMMIT:
        NUMBER(m->config_commit.generation);
        NUMBER(m->config_commit.check_only);
        return true;
    case PLANE_CONFIG_RESULT:
        NUMBER(m->config_result.generation);
        NUMBER(m->config_result.result);
        bytes(walk, &m->config_result.text);
        return true;
    case PLANE_RELOAD:
        NUMBER(m->reload.ticket);
        return true;
    case PLANE_RELOAD_RESULT:
        NUMBER(m->reload_result.ticket);
        NUMBER(m->reload_result.result);
        bytes(walk, &m->reload_result.text);
        return true;
    case PLANE_PROCESSES:
        NUMBER(m->processes.supervisor);
        NUMBER(m->processes.control);
        NUMBER(m->processes.data);
        NUMBER(m->processes.control_restarts);
        NUMBER(m->processes.data_restarts);
        NUMBER(m->processes.data_started);
        NUMBER(m->processes.data_resumed);
        NUMBER(m->processes.data_lost);
        bytes(walk, &m->processes.data_version);
        return true;
    case PLANE_STATE:
        NUMBER(m->state.drain);
        NUMBER(m->state.log_level_set);
        NUMBER(m->state.log_level);
        return true;
    case PLANE_STORE:
        NUMBER(m->store.worker);
        return true;
    case PLANE_QUIT:
        NUMBER(m->quit.keep);
        return true;
    case PLANE_UPGRADE:
        NUMBER(m->upgrade.ticket);
        NUMBER(m->upgrade.force);
        bytes(walk, &m->upgrade.path);
        return true;
    case PLANE_UPGRADE_RESULT:
        NUMBER(m->upgrade_result.ticket);
        NUMBER(m->upgrade_result.result);
        bytes(walk, &m->upgrade_result.text);
        bytes(walk, &m->upgrade_result.version);
        NUMBER(m->upgrade_result.resumed);
        NUMBER(m->upgrade_result.lost);
        return true;
    case PLANE_PROFILE:
        NUMBER(m->profile.ticket);
        NUMBER(m->profile.milliseconds);
        return true;
    case PLANE_PROFILED:
        NUMBER(m->profiled.ticket);
        return true;
    case PLANE_TYPE_END:
        break;
    }
    return false;
}

int plane_encode(const struct plane_message *message, uint8_t *out, size_t cap)
{
    if (cap < PLANE_HEADER)
        return SAGATE_ETOOBIG;
    struct plane_message copy = *message;
    struct walk walk = {.encode = true, .out = out, .used = PLANE_HEADER, .cap = cap};
    if (!fields(&walk, &copy))
        return SAGATE_EINVAL;
    if (walk.failed)
        return SAGATE_ETOOBIG;
    uint16_t version = PLANE_VERSION;
    uint16_t type = (uint16_t)message->type;
    uint32_t body = (uint32_t)(walk.used - PLANE_HEADER);
    memcpy(out, &version, 2);
    memcpy(out + 2, &type, 2);
    memcpy(out + 4, &body, 4);
    return (int)walk.used;
}

int plane_decode(const uint8_t *data, size_t len, struct plane_message *message)
{
    uint16_t version, type;
    uint32_t body;
    if (len < PLANE_HEADER)
        return SAGATE_EMALFORMED;
    memcpy(&version, data, 2);
    memcpy(&type, data + 2, 2);
    memcpy(&body, data + 4, 4);
    if (version != PLANE_VERSION)
        return SAGATE_EVERSION;
    if (type == 0 || type >= PLANE_TYPE_END || body != len - PLANE_HEADER)
        return SAGATE_EMALFORMED;
    memset(message, 0, sizeof *message);
    message->type = (enum plane_type)type;
    struct walk walk = {.in = data, .used = PLANE_HEADER, .cap = len};
    if (!fields(&walk, message) || walk.failed || walk.used != len)
        return SAGATE_EMALFORMED;
    return SAGATE_OK;
}

int plane_send(int fd, const struct plane_message *message, int pass_fd)
{
    uint8_t buffer[PLANE_MESSAGE_MAX];
    int len = plane_encode(message, buffer, sizeof buffer);
    if (len < 0)
        return len;
    struct iovec vector = {.iov_base = buffer, .iov_len = (size_t)len};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};
    if (pass_fd >= 0) {
        memset(&control, 0, sizeof control);
        header.msg_control = control.bytes;
        header.msg_controllen = sizeof control.bytes;
        struct cmsghdr *part = CMSG_FIRSTHDR(&header);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(part), &pass_fd, sizeof pass_fd);
    }
    ssize_t sent;
    do {
        sent = sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    int error = errno;
    secret_zero(buffer, (size_t)len);
    if (sent == len)
        return SAGATE_OK;
    if (sent < 0 && (error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS))
        return SAGATE_AGAIN;
    return sent < 0 && (error == EPIPE || error == ECONNRESET) ? SAGATE_EGONE : SAGATE_ESYS;
}

int plane_receive(int fd, uint8_t *buffer, struct plane_message *message, int *received_fd)
{
    struct iovec vector = {.iov_base = buffer, .iov_len = PLANE_MESSAGE_MAX};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr header = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    *received_fd = -1;
    ssize_t got;
    do {
        got = recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return SAGATE_AGAIN;
        return errno == ECONNRESET ? SAGATE_EGONE : SAGATE_ESYS;
    }
    if (got == 0)
        return SAGATE_EGONE;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&header); part != NULL; part = CMSG_NXTHDR(&header, part)) {
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS && part->cmsg_len == CMSG_LEN(sizeof(int)))
            memcpy(received_fd, CMSG_DATA(part), sizeof(int));
    }
    if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || plane_decode(buffer, (size_t)got, message) != SAGATE_OK) {
        if (*received_fd >= 0)
            close(*received_fd);
        *received_fd = -1;
        return SAGATE_EMALFORMED;
    }
    return SAGATE_OK;
}

int plane_append_text(uint8_t *out, size_t used, size_t cap, struct slice text)
{
    struct walk walk = {.encode = true, .out = out, .used = used, .cap = cap};
    bytes(&walk, &text);
    return walk.failed ? SAGATE_ETOOBIG : (int)walk.used;
}

int plane_next_text(struct slice *list, struct slice *text)
{
    if (list->len == 0)
        return SAGATE_DONE;
    struct walk walk = {.in = list->data, .cap = list->len};
    bytes(&walk, text);
    if (walk.failed)
        return SAGATE_EMALFORMED;
    *list = slice_of(list->data + walk.used, list->len - walk.used);
    return SAGATE_OK;
}

static void association_fields(struct walk *walk, struct plane_association *entry)
{
    NUMBER(entry->id);
    bytes(walk, &entry->peer);
    bytes(walk, &entry->credential_id);
    bytes(walk, &entry->listener);
    bytes(walk, &entry->protocol);
    bytes(walk, &entry->cipher);
    NUMBER(entry->framework);
    NUMBER(entry->age_ms);
    NUMBER(entry->idle_ms);
    NUMBER(entry->bytes_in);
    NUMBER(entry->bytes_out);
}

int plane_append_association(uint8_t *out, size_t used, size_t cap, const struct plane_association *entry)
{
    struct walk walk = {.encode = true, .out = out, .used = used, .cap = cap};
    struct plane_association copy = *entry;
    association_fields(&walk, &copy);
    return walk.failed ? SAGATE_ETOOBIG : (int)walk.used;
}

int plane_next_association(struct slice *list, struct plane_association *entry)
{
    if (list->len == 0)
        return SAGATE_DONE;
    struct walk walk = {.in = list->data, .cap = list->len};
    memset(entry, 0, sizeof *entry);
    association_fields(&walk, entry);
    if (walk.failed)
        return SAGATE_EMALFORMED;
    *list = slice_of(list->data + walk.used, list->len - walk.used);
    return SAGATE_OK;
}

int plane_pack_principal(const struct principal *principal, uint8_t *out, size_t cap)
{
    struct walk walk = {.encode = true, .out = out, .cap = cap};
    uint8_t framework = (uint8_t)principal->framework;
    int64_t expires_at = principal->expires_at;
    struct slice credential_id = slice_text(principal->credential_id);
    struct slice cse_id = slice_text(principal->cse_id);
    number(&walk, &framework, sizeof framework);
    number(&walk, &expires_at, sizeof expires_at);
    bytes(&walk, &credential_id);
    bytes(&walk, &cse_id);
    for (size_t i = 0; i < principal->ae_count; i++) {
        struct slice stem = slice_text(principal->aes[i].stem);
        struct slice upstream = slice_text(principal->aes[i].upstream);
        bytes(&walk, &stem);
        bytes(&walk, &upstream);
    }
    return walk.failed ? SAGATE_ETOOBIG : (int)walk.used;
}

struct principal *plane_unpack_principal(struct slice packed)
{
    struct walk walk = {.in = packed.data, .cap = packed.len};
    uint8_t framework = 0;
    int64_t expires_at = 0;
    struct slice credential_id = {0};
    struct slice cse_id = {0};
    number(&walk, &framework, sizeof framework);
    number(&walk, &expires_at, sizeof expires_at);
    bytes(&walk, &credential_id);
    bytes(&walk, &cse_id);
    if (walk.failed || framework > FRAMEWORK_GBA)
        return NULL;
    struct principal *principal = principal_new((enum framework)framework, credential_id, cse_id);
    if (principal == NULL)
        return NULL;
    principal->expires_at = expires_at;
    while (walk.used < walk.cap) {
        struct slice stem = {0};
        struct slice upstream = {0};
        bytes(&walk, &stem);
        bytes(&walk, &upstream);
        if (walk.failed || stem.len > ONEM2M_ID_MAX || principal_add_ae(principal, stem, upstream) < 0) {
            principal_release(principal);
            return NULL;
        }
    }
    return principal;
}

bool plane_packed_principal(struct slice packed, struct plane_packed *head)
{
    struct walk walk = {.in = packed.data, .cap = packed.len};
    uint8_t framework = 0;
    *head = (struct plane_packed){0};
    number(&walk, &framework, sizeof framework);
    number(&walk, &head->expires_at, sizeof head->expires_at);
    bytes(&walk, &head->credential_id);
    head->framework = (enum framework)framework;
    return !walk.failed && framework <= FRAMEWORK_GBA;
}

int plane_pair(int fds[2])
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0)
        return SAGATE_ESYS;
    for (int i = 0; i < 2; i++) {
        // Room for many messages: a process that is being restarted reads nothing for a while.
        int size = 4 * 1024 * 1024;
        if (setsockopt(fds[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0)
            (void)setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    }
    return SAGATE_OK;
}
