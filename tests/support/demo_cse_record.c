// What reached the demonstration CSE, as one JSON object per line, flushed at once, so that tests can prove it.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "demo_cse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int record_open(struct demo *demo)
{
    if (demo->options.record_file == NULL)
        return 0;
    demo->record = fopen(demo->options.record_file, "ae");
    if (demo->record == NULL) {
        fprintf(stderr, "sagate-demo-cse: %s: %s\n", demo->options.record_file, strerror(errno));
        return -1;
    }
    return 0;
}

void record_close(struct demo *demo)
{
    if (demo->record != NULL)
        fclose(demo->record);
    demo->record = NULL;
}

json_t *record_text(const void *data, size_t len)
{
    json_t *text = json_stringn(data, len);
    if (text != NULL)
        return text;
    const uint8_t *bytes = data;
    char *hex = malloc(2 * len + 1);
    if (hex == NULL)
        return json_null();
    for (size_t i = 0; i < len; i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    text = json_pack("{s:s#}", "hex", hex, 2 * len);
    free(hex);
    return text;
}

void record_request(struct demo *demo, const char *event, const struct request *request, json_t *fields)
{
    static const char *const operations[] = {"unknown", "create", "retrieve", "update", "delete", "notify"};
    json_t *line = fields != NULL ? fields : json_object();
    if (demo->record == NULL) {
        json_decref(line);
        return;
    }
    json_object_set_new(line, "event", json_string(event));
    json_object_set_new(line, "binding", json_string(request->binding));
    json_object_set_new(line, "operation", json_string(operations[request->operation]));
    json_object_set_new(line, "to", record_text(request->to, strlen(request->to)));
    json_object_set_new(line, "target", record_text(request->target, strlen(request->target)));
    json_object_set_new(line, "from",
                        request->has_from ? record_text(request->from, strlen(request->from)) : json_null());
    json_object_set_new(line, "rqi", request->has_rqi ? record_text(request->rqi, strlen(request->rqi)) : json_null());
    json_object_set_new(line, "ty", request->ty >= 0 ? json_integer(request->ty) : json_null());
    json_object_set_new(line, "body",
                        record_text(request->body != NULL ? (const char *)request->body : "", request->body_len));
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    json_object_set_new(line, "time", json_real((double)now.tv_sec + (double)now.tv_nsec / 1e9));
    json_dumpf(line, demo->record, JSON_COMPACT);
    fputc('\n', demo->record);
    fflush(demo->record);
    json_decref(line);
}
