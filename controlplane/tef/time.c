// Times as a TEF writes them: m2m:timestamp (TS-0004 6.3.3, basic format of ISO 8601) and RFC 3339.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "controlplane/tef/answer.h"

#include <time.h>

struct reader {
    const uint8_t *at, *end;
};

static bool take(struct reader *reader, char c)
{
    if (reader->at == reader->end || *reader->at != (uint8_t)c)
        return false;
    reader->at++;
    return true;
}

static bool digits(struct reader *reader, unsigned count, int *value)
{
    *value = 0;
    for (unsigned i = 0; i < count; i++) {
        if (reader->at == reader->end || *reader->at < '0' || *reader->at > '9')
            return false;
        *value = *value * 10 + (*reader->at++ - '0');
    }
    return true;
}

// ",5" or ".5": read and forgotten, seconds are fine enough for an expiry.
static bool fraction(struct reader *reader)
{
    if (!take(reader, ',') && !take(reader, '.'))
        return true;
    int digit;
    if (!digits(reader, 1, &digit))
        return false;
    while (digits(reader, 1, &digit)) {
    }
    return true;
}

static bool zone(struct reader *reader, int *offset)
{
    *offset = 0;
    if (take(reader, 'Z') || take(reader, 'z'))
        return true;
    bool west = take(reader, '-');
    int hours, minutes;
    if (!west && !take(reader, '+'))
        return false;
    if (!digits(reader, 2, &hours) || !take(reader, ':') || !digits(reader, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *offset = (west ? -1 : 1) * (hours * 3600 + minutes * 60);
    return true;
}

int tef_parse_time(struct slice text, int64_t *seconds)
{
    struct reader reader = {.at = text.data, .end = text.data + text.len};
    struct tm tm = {0};
    int offset = 0;
    bool extended = text.len > 4 && text.data[4] == '-';
    bool good = digits(&reader, 4, &tm.tm_year) && (!extended || take(&reader, '-')) &&
                digits(&reader, 2, &tm.tm_mon) && (!extended || take(&reader, '-')) &&
                digits(&reader, 2, &tm.tm_mday) && (take(&reader, 'T') || (extended && take(&reader, 't'))) &&
                digits(&reader, 2, &tm.tm_hour) && (!extended || take(&reader, ':')) &&
                digits(&reader, 2, &tm.tm_min) && (!extended || take(&reader, ':')) && digits(&reader, 2, &tm.tm_sec) &&
                fraction(&reader) && (!extended || zone(&reader, &offset)) && reader.at == reader.end;
    if (!good || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 59)
        return SAGATE_EMALFORMED;
    int day = tm.tm_mday;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    time_t time = timegm(&tm);
    if (tm.tm_mday != day) // timegm turns the 31st of February into a day of March
        return SAGATE_EMALFORMED;
    *seconds = (int64_t)time - offset;
    return SAGATE_OK;
}

void tef_format_time(int64_t seconds, char out[16])
{
    const int64_t newest = 253402300799; // the end of 9999
    time_t time = (time_t)(seconds < 0 ? 0 : seconds > newest ? newest : seconds);
    struct tm tm;
    (void)gmtime_r(&time, &tm);
    (void)strftime(out, 16, "%Y%m%dT%H%M%S", &tm);
}
