// Lines of the audit log, each with one write.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/tefserver/audit.h"

#include "common/error.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct audit {
    char *path;
    int fd; // -1: no log
    struct log_sample failed;
};

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
}

struct audit *audit_open(const char *path)
{
    struct audit *audit = calloc(1, sizeof *audit);
    if (audit == NULL)
        return NULL;
    audit->path = strdup(path);
    audit->fd = path[0] == '\0' ? -1 : open_file(path);
    if (audit->path == NULL || (path[0] != '\0' && audit->fd < 0)) {
        int error = errno;
        audit_close(audit);
        errno = error;
        return NULL;
    }
    return audit;
}

void audit_close(struct audit *audit)
{
    if (audit == NULL)
        return;
    if (audit->fd >= 0)
        close(audit->fd);
    free(audit->path);
    free(audit);
}

int audit_reopen(struct audit *audit)
{
    if (audit->fd < 0)
        return SAGATE_OK;
    int fd = open_file(audit->path);
    if (fd < 0)
        return SAGATE_ESYS;
    close(audit->fd);
    audit->fd = fd;
    return SAGATE_OK;
}

void audit_write(struct audit *audit, const char *fqdn, const char *client_id, const struct procedure_answer *answer)
{
    char when[32];
    struct tm tm;
    time_t now = time(NULL);
    if (audit->fd < 0)
        return;
    (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    json_t *line = json_pack("{ss ss ss ss ss si}", "time", when, "function", fqdn, "client", client_id, "procedure",
                             procedure_name(answer->procedure), "id", answer->id, "rsc", (int)answer->rsc);
    char *text = line == NULL ? NULL : json_dumps(line, JSON_COMPACT);
    char *whole = NULL;
    int len = text == NULL ? -1 : asprintf(&whole, "%s\n", text);
    if (len < 0 || write(audit->fd, whole, (size_t)len) != len)
        log_sampled(&audit->failed, LOG_LEVEL_ERROR, "audit log %s: a line is lost: %s", audit->path, strerror(errno));
    if (len >= 0)
        free(whole);
    free(text);
    json_decref(line);
}
