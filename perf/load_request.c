// Requests that the load generator sends, and how it judges answers.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "perf/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { OPTION_URI_PATH = 11, OPTION_RVI = 271, OPTION_FR = 279, OPTION_RQI = 283 };

static size_t put_option(uint8_t *out, unsigned *last, unsigned number, const char *value, size_t len)
{
    size_t used = 1;
    unsigned delta = number - *last;
    unsigned delta_nibble = delta < 13 ? delta : delta < 269 ? 13 : 14;
    unsigned len_nibble = len < 13 ? (unsigned)len : 13;
    out[0] = (uint8_t)(delta_nibble << 4 | len_nibble);
    if (delta_nibble == 13) {
        out[used++] = (uint8_t)(delta - 13);
    } else if (delta_nibble == 14) {
        out[used++] = (uint8_t)((delta - 269) >> 8);
        out[used++] = (uint8_t)(delta - 269);
    }
    if (len_nibble == 13)
        out[used++] = (uint8_t)(len - 13);
    memcpy(out + used, value, len);
    *last = number;
    return used + len;
}

size_t load_request_coap(const char *path, const char *from, uint32_t number, uint8_t out[LOAD_REQUEST_MAX])
{
    unsigned last = 0;
    size_t used = 8;
    char request_id[16];
    out[0] = 0x44; // version 1, confirmable, token of 4 bytes
    out[1] = 0x01; // GET
    out[2] = (uint8_t)(number >> 8);
    out[3] = (uint8_t)number;
    memcpy(out + 4, &number, 4);
    const char *segment = path;
    while (*segment != '\0') {
        if (*segment == '/') {
            segment++;
            continue;
        }
        size_t len = strcspn(segment, "/");
        used += put_option(out + used, &last, OPTION_URI_PATH, segment, len);
        segment += len;
    }
    if (from != NULL) {
        int len = snprintf(request_id, sizeof request_id, "r%u", number);
        used += put_option(out + used, &last, OPTION_RVI, "3", 1);
        used += put_option(out + used, &last, OPTION_FR, from, strlen(from));
        used += put_option(out + used, &last, OPTION_RQI, request_id, (size_t)len);
    }
    return used;
}

size_t load_request_http(const char *path, const char *from, const char *host, uint32_t number,
                         uint8_t out[LOAD_REQUEST_MAX])
{
    char originator[256] = "";
    if (from != NULL)
        (void)snprintf(originator, sizeof originator, "X-M2M-Origin: %s\r\nX-M2M-RI: r%u\r\nX-M2M-RVI: 3\r\n", from,
                       number);
    int len = snprintf((char *)out, LOAD_REQUEST_MAX,
                       "GET %s HTTP/1.1\r\nHost: %s\r\n%sAccept: application/json\r\n\r\n", path, host, originator);
    return len < 0 ? 0 : (size_t)len;
}

enum load_answer load_answer_coap(const uint8_t *data, size_t len, uint32_t number, bool *acknowledge,
                                  uint8_t acknowledgement[4])
{
    *acknowledge = false;
    if (len < 4 || (data[0] >> 6) != 1)
        return LOAD_MALFORMED;
    if (data[1] == 0)
        return LOAD_MORE;
    if ((data[0] & 0x30) == 0) {
        *acknowledge = true;
        memcpy(acknowledgement, (const uint8_t[]){0x60, 0, data[2], data[3]}, 4);
    }
    if ((data[0] & 0x0f) != 4 || len < 8 || memcmp(data + 4, &number, 4) != 0)
        return LOAD_MORE;
    return (data[1] >> 5) == 2 ? LOAD_OK : LOAD_REFUSED;
}

enum load_answer load_answer_http(const uint8_t *data, size_t len, size_t *used)
{
    const char *end = memmem(data, len, "\r\n\r\n", 4);
    if (end == NULL)
        return LOAD_MORE;
    size_t head = (size_t)((const uint8_t *)end - data) + 4;
    size_t body = 0;
    static const char name[] = "content-length:";
    for (const uint8_t *line = data; line < data + head;) {
        if (strncasecmp((const char *)line, name, sizeof name - 1) == 0)
            body = strtoul((const char *)line + sizeof name - 1, NULL, 10);
        const uint8_t *next = memchr(line, '\n', (size_t)(data + head - line));
        line = next == NULL ? data + head : next + 1;
    }
    if (len < head + body)
        return LOAD_MORE;
    *used = head + body;
    return len > 9 && data[9] == '2' ? LOAD_OK : LOAD_REFUSED;
}
