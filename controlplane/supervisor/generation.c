// Loading a configuration with copies of the files that it names.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/supervisor/generation.h"

#include "common/error.h"
#include "common/file.h"
#include "common/ktls.h"
#include "common/secret.h"
#include "controlplane/keystore/credentials.h"
#include "controlplane/keystore/keystore.h"
#include "controlplane/tef/client.h"
#include "dataplane/handshake/handshake.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX = 1 << 20, PIECE = 1 << 16 };

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

static bool write_whole(int fd, const uint8_t *bytes, size_t len)
{
    size_t done = 0;
    while (done < len) {
        ssize_t put = write(fd, bytes + done, len - done);
        if (put < 0 && errno != EINTR)
            return false;
        done += put < 0 ? 0 : (size_t)put;
    }
    return true;
}

// From where `from` stands to its end, at most `most` bytes.
static bool copy_bytes(int from, int to, size_t most)
{
    uint8_t *buffer = secret_alloc(PIECE);
    size_t copied = 0;
    ssize_t got = buffer == NULL ? -1 : 1;
    while (got > 0 && copied <= most) {
        do {
            got = read(from, buffer, PIECE);
        } while (got < 0 && errno == EINTR);
        if (got > 0 && !write_whole(to, buffer, (size_t)got))
            got = -1;
        copied += got < 0 ? 0 : (size_t)got;
    }
    int error = errno;
    secret_free(buffer);
    errno = copied > most ? EFBIG : error;
    return got >= 0 && copied <= most;
}

// Who may not give the file its group leaves it with one of his own; that must not be taken for root's.
static bool take_group(int fd, const struct stat *info)
{
    return info->st_gid == getegid() || fchown(fd, (uid_t)-1, info->st_gid) == 0 || getegid() != 0;
}

// A copy in locked memory that nothing can change any more. It has the owner, the group and the mode of the file, so
// that the checks of them can be made on the copy, here and by the control process. False with errno.
static bool copy_sealed(int file, const struct stat *info, size_t most, struct file_copy *copy)
{
    struct stat made;
    int fd = memfd_create("sagate-file", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    bool ok = fd >= 0 && copy_bytes(file, fd, most) &&
              (info->st_uid == geteuid() || fchown(fd, info->st_uid, (gid_t)-1) == 0) && take_group(fd, info) &&
              fchmod(fd, info->st_mode & 0777) == 0 &&
              fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0 &&
              fstat(fd, &made) == 0;
    if (!ok) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        errno = error;
        return false;
    }
    *copy = (struct file_copy){.fd = fd, .len = (size_t)made.st_size, .pages = MAP_FAILED};
    if (copy->len > 0)
        copy->pages = mmap(NULL, copy->len, PROT_READ, MAP_PRIVATE, fd, 0);
    // A limit for locked memory that is too small is no reason to refuse service; control says so for its own part.
    if (copy->pages != MAP_FAILED) {
        (void)madvise(copy->pages, copy->len, MADV_DONTDUMP);
        (void)mlock(copy->pages, copy->len);
    }
    return true;
}

int file_copy_open(const struct file_copy *copy)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", copy->fd);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static void copy_free(struct file_copy *copy)
{
    if (copy->fd < 0)
        return;
    if (copy->pages != MAP_FAILED)
        (void)munmap(copy->pages, copy->len);
    close(copy->fd);
    copy->fd = -1;
}

static int load_credentials(struct report *report, struct generation *generation)
{
    const struct config *config = generation->config;
    const char *path = config->credentials_file;
    struct stat info;
    if (path[0] == '\0')
        return SAGATE_OK;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file >= 0 && fstat(file, &info) == 0) {
        if (!S_ISREG(info.st_mode))
            errno = EINVAL;
        else
            (void)copy_sealed(file, &info, CREDENTIALS_FILE_MAX, &generation->credentials);
    }
    int error = errno;
    if (file >= 0)
        close(file);
    if (generation->credentials.fd < 0) {
        complain(report, "setting 'credentials_file': %s: %s\n", path, strerror(error));
        return SAGATE_ECONFIG;
    }
    struct credentials *credentials = NULL;
    struct config_errors errors = {0};
    (void)lseek(generation->credentials.fd, 0, SEEK_SET);
    int result = credentials_read(generation->credentials.fd, path, credentials_owner(config), &credentials, &errors);
    if (result != SAGATE_OK)
        complain(report, "%s\n", errors.text == NULL ? sagate_strerror(result) : errors.text);
    credentials_free(credentials);
    config_errors_free(&errors);
    return result == SAGATE_OK ? SAGATE_OK : SAGATE_ECONFIG;
}

// A copy of a small file in *copy, and its bytes in secret memory; NULL with a complaint.
static uint8_t *load(struct report *report, const char *path, bool key, struct file_copy *copy, size_t *len)
{
    struct stat info;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0 || fstat(file, &info) != 0) {
        complain(report, "certificate file %s: %s\n", path, strerror(errno));
        if (file >= 0)
            close(file);
        return NULL;
    }
    uint8_t *bytes = NULL;
    if (!S_ISREG(info.st_mode) || info.st_size == 0 || info.st_size > FILE_MAX - 2) {
        complain(report, "certificate file %s: not a file of 1 byte to 1 MiB\n", path);
    } else if (key && (info.st_mode & 07) != 0) {
        complain(report, "private key %s: readable or writable for everybody (mode %04o); expected 0640 or less\n",
                 path, info.st_mode & 07777U);
    } else if (!copy_sealed(file, &info, FILE_MAX - 2, copy)) {
        complain(report, "certificate file %s: %s\n", path, strerror(errno));
    } else if ((bytes = secret_alloc(copy->len + 2)) != NULL) {
        ssize_t got = file_read(copy->fd, bytes, copy->len);
        *len = got < 0 ? 0 : (size_t)got;
    }
    close(file);
    return bytes;
}

// What proves sagate to a MAF or MEF, and what such a one has to show: parsed as the control process will do it.
static void check_tef_certificate(struct report *report, const struct config *config, size_t tef,
                                  const struct handshake_files *files)
{
    const struct config_tef *from = &config->tefs[tef];
    const struct config_tef_place place = config_tef_place(config, tef);
    struct tef_client_settings settings = {.fqdn = from->fqdn,
                                           .certificate = files->chain[from->certificate],
                                           .private_key = files->key[from->certificate]};
    char why[TEF_ERROR_MAX] = "";
    // One set of anchors at a time, so that the complaint names the right one.
    for (size_t i = 0; i < from->trust_anchor_count; i++) {
        const struct config_trust_anchor *anchors = &config->trust_anchors[from->trust_anchors[i]];
        settings.trust_anchors = files->anchors[from->trust_anchors[i]];
        if (tef_client_check(&settings, why) != SAGATE_OK) {
            complain(report, "setting '%s[%zu]': %s, with certificate '%s' (%s) and trust anchors '%s' (%s)\n",
                     place.list, place.index, why, config->certificates[from->certificate].name,
                     config->certificates[from->certificate].chain_file, anchors->name, anchors->file);
            return;
        }
    }
}

static int load_certificates(struct report *report, struct generation *generation)
{
    static struct handshake_files files;
    static uint8_t *loaded[CONFIG_CERTIFICATES_MAX][2];
    static uint8_t *anchors[CONFIG_TRUST_ANCHORS_MAX];
    const struct config *config = generation->config;
    size_t before = report->used;
    memset(&files, 0, sizeof files);
    memset(loaded, 0, sizeof loaded);
    memset(anchors, 0, sizeof anchors);
    for (size_t i = 0; i < config->certificate_count; i++) {
        size_t chain_len = 0;
        size_t key_len = 0;
        struct file_copy *copies = generation->certificates[i];
        loaded[i][0] = load(report, config->certificates[i].chain_file, false, &copies[0], &chain_len);
        loaded[i][1] = load(report, config->certificates[i].key_file, true, &copies[1], &key_len);
        files.chain[i] = slice_of(loaded[i][0], chain_len);
        files.key[i] = slice_of(loaded[i][1], key_len);
    }
    for (size_t i = 0; i < config->trust_anchor_count; i++) {
        size_t len = 0;
        anchors[i] = load(report, config->trust_anchors[i].file, false, &generation->trust_anchors[i], &len);
        files.anchors[i] = slice_of(anchors[i], len);
    }
    struct handshake_contexts *contexts = NULL;
    char text[512] = "";
    if (report->used == before && handshake_contexts_new(config, &files, &contexts, text, sizeof text) != SAGATE_OK)
        complain(report, "%s\n", text);
    handshake_contexts_free(contexts);
    bool complete = report->used == before;
    for (size_t i = 0; complete && i < config->tef_count; i++) {
        if (config->tefs[i].psk_identity[0] == '\0')
            check_tef_certificate(report, config, i, &files);
    }
    for (size_t i = 0; i < config->certificate_count; i++) {
        secret_free(loaded[i][0]);
        secret_free(loaded[i][1]);
    }
    for (size_t i = 0; i < config->trust_anchor_count; i++)
        secret_free(anchors[i]);
    return report->used == before ? SAGATE_OK : SAGATE_ECONFIG;
}

static int open_tef_key(void *context, const char *path)
{
    (void)path;
    return file_copy_open(context);
}

// The key of one MAF or MEF, where it is in a file; the other homes are for the control process to ask.
static void load_tef_key(struct report *report, const struct config *config, size_t tef, struct file_copy *copy)
{
    const struct config_tef_place place = config_tef_place(config, tef);
    const char *path = keystore_file_path(config->tefs[tef].psk);
    const struct keystore_files files = {.open_file = open_tef_key, .context = copy};
    char why[KEYSTORE_ERROR_MAX];
    struct stat info;
    uint8_t *key = NULL;
    size_t len = 0;
    if (path == NULL)
        return;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool known = file >= 0 && fstat(file, &info) == 0;
    if (known && !S_ISREG(info.st_mode))
        complain(report, "setting '%s[%zu].psk': %s: no regular file\n", place.list, place.index, path);
    else if (!known || !copy_sealed(file, &info, FILE_MAX, copy))
        complain(report, "setting '%s[%zu].psk': %s: %s\n", place.list, place.index, path, strerror(errno));
    else if (keystore_load(config->tefs[tef].psk, &files, &key, &len, why) != SAGATE_OK)
        complain(report, "setting '%s[%zu].psk': %s: %s\n", place.list, place.index, path, why);
    secret_free(key);
    if (file >= 0)
        close(file);
}

static int load_tef_keys(struct report *report, struct generation *generation)
{
    size_t before = report->used;
    for (size_t i = 0; i < generation->config->tef_count; i++)
        load_tef_key(report, generation->config, i, &generation->tef_keys[i]);
    return report->used == before ? SAGATE_OK : SAGATE_ECONFIG;
}

static struct generation *generation_new(void)
{
    struct generation *generation = calloc(1, sizeof *generation);
    if (generation == NULL)
        return NULL;
    generation->credentials.fd = -1;
    for (size_t i = 0; i < CONFIG_CERTIFICATES_MAX; i++)
        generation->certificates[i][0].fd = generation->certificates[i][1].fd = -1;
    for (size_t i = 0; i < CONFIG_TRUST_ANCHORS_MAX; i++)
        generation->trust_anchors[i].fd = -1;
    for (size_t i = 0; i < CONFIG_TEFS_MAX; i++)
        generation->tef_keys[i].fd = -1;
    sockets_init(&generation->sockets, 0);
    return generation;
}

// What only a new start can change keeps its value; says so.
static int keep_fixed(struct generation *generation, const struct config *running)
{
    int changed = running == NULL ? 0 : config_keep_fixed(generation->config, running);
    if (changed > 0)
        (void)snprintf(generation->note, sizeof generation->note,
                       "changes of process.workers, user, control_user, state_directory, lock_memory, kernel_tls, "
                       "limits.associations and connection_id_bytes take effect at the next start");
    return changed < 0 ? changed : SAGATE_OK;
}

// Here, since only a process with all its rights has the kernel load the module.
static int check_kernel_tls(struct report *report, const struct config_process *process)
{
    struct ktls_support support;
    if (process->kernel_tls == CONFIG_KERNEL_TLS_OFF || ktls_probe(&support) ||
        process->kernel_tls == CONFIG_KERNEL_TLS_AUTO)
        return SAGATE_OK;
    complain(report, "process.kernel_tls is \"on\", but this kernel offers no TLS (%s); is its module 'tls' there?\n",
             strerror(errno));
    return SAGATE_ECONFIG;
}

static int check_files(struct report *report, struct generation *generation, const struct config *running)
{
    const struct config_process *process = &generation->config->process;
    bool ok = check_user(report, "process.user", process->user) == SAGATE_OK;
    ok &= check_user(report, "process.control_user", process->control_user) == SAGATE_OK;
    ok &= check_kernel_tls(report, process) == SAGATE_OK;
    int result = keep_fixed(generation, running);
    if (result != SAGATE_OK) {
        complain(report, "%s\n", sagate_strerror(result));
        return result;
    }
    ok &= load_credentials(report, generation) == SAGATE_OK;
    ok &= load_certificates(report, generation) == SAGATE_OK;
    ok &= load_tef_keys(report, generation) == SAGATE_OK;
    return ok ? SAGATE_OK : SAGATE_ECONFIG;
}

int generation_load(const char *path, const struct config *running, struct generation **out, char *error,
                    size_t error_cap)
{
    struct report report = {.text = error, .cap = error_cap};
    struct config_errors errors = {0};
    struct generation *generation = generation_new();
    *out = NULL;
    int result = generation == NULL ? SAGATE_ENOMEM : config_load(path, &generation->config, &errors);
    if (result != SAGATE_OK) {
        complain(&report, "%s", errors.text == NULL ? sagate_strerror(result) : errors.text);
    } else {
        result = check_files(&report, generation, running);
    }
    config_errors_free(&errors);
    while (report.used > 0 && error[report.used - 1] == '\n')
        error[--report.used] = '\0';
    if (result != SAGATE_OK)
        generation_free(generation, NULL);
    else
        *out = generation;
    return result;
}

void generation_free(struct generation *generation, const struct sockets *kept)
{
    if (generation == NULL)
        return;
    sockets_close(&generation->sockets, kept);
    copy_free(&generation->credentials);
    for (size_t i = 0; i < CONFIG_CERTIFICATES_MAX; i++) {
        for (int j = 0; j < 2; j++)
            copy_free(&generation->certificates[i][j]);
    }
    for (size_t i = 0; i < CONFIG_TRUST_ANCHORS_MAX; i++)
        copy_free(&generation->trust_anchors[i]);
    for (size_t i = 0; i < CONFIG_TEFS_MAX; i++)
        copy_free(&generation->tef_keys[i]);
    config_free(generation->config);
    free(generation);
}

int generation_directories(const struct config *config, char *error, size_t error_cap)
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
