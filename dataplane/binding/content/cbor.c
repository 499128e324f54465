// CBOR (RFC 8949): well-formedness, one root item. Names and texts count as major type 3 and as major type 2 alike,
// since the examples of TS-0004 use both.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "dataplane/binding/content/scan.h"

enum cbor_state { CBOR_HEAD, CBOR_ARGUMENT, CBOR_STRING };
enum cbor_sink { CBOR_SINK_NONE, CBOR_SINK_NAME, CBOR_SINK_VALUE };
enum { UNSIGNED, NEGATIVE, BYTES, TEXT, ARRAY, MAP, TAG, SIMPLE };
enum { INDEFINITE = 31, BREAK = 0xff };

static struct scan_cbor_frame *top(struct content_scan *scan)
{
    return scan->depth == 0 ? NULL : &scan->cbor.frames[scan->depth - 1];
}

static bool at_key(struct content_scan *scan)
{
    const struct scan_cbor_frame *frame = top(scan);
    return frame != NULL && frame->map && frame->key;
}

// How deep the name in progress lies, as scan_name_end wants it; 0: where nothing is looked for.
static unsigned name_level(const struct content_scan *scan)
{
    const struct scan_cbor_frame *frames = scan->cbor.frames;
    if (scan->depth > 2 || !frames[0].map || (scan->depth == 2 && (!frames[1].map || frames[1].in_key)))
        return 0;
    return scan->depth;
}

static void close_container(struct content_scan *scan)
{
    scan->cbor.nested_tags -= top(scan)->tags;
    scan->depth--;
    scan_name_begin(scan); // where the container was a key, the names inside it are not its name
}

// An item is complete, and with it every container whose last one it was.
static int end_item(struct content_scan *scan)
{
    for (;;) {
        struct scan_cbor_frame *frame = top(scan);
        if (frame == NULL) {
            scan->cbor.done = true;
            return SAGATE_OK;
        }
        if (frame->map && frame->key && !scan_name_end(scan, name_level(scan)))
            return SAGATE_EMALFORMED;
        frame->key = !frame->key;
        if (frame->indefinite || --frame->left > 0)
            return SAGATE_OK;
        close_container(scan);
    }
}

// An item that is neither text nor bytes begins.
static void begin_other(struct content_scan *scan)
{
    if (at_key(scan))
        scan_name_begin(scan); // a key without a name
    else
        scan_value_other(scan);
}

static int begin_container(struct content_scan *scan, bool map, bool indefinite)
{
    bool in_key = at_key(scan) || (scan->depth > 0 && top(scan)->in_key);
    begin_other(scan);
    uint64_t count = scan->cbor.value;
    if (scan->depth + scan->cbor.nested_tags + scan->cbor.tags >= scan->depth_max)
        return SAGATE_ETOOBIG;
    if (!indefinite && count == 0)
        return end_item(scan);
    if (map && count > UINT64_MAX / 2)
        return SAGATE_EMALFORMED; // no content is that long
    scan->cbor.nested_tags += scan->cbor.tags;
    scan->cbor.frames[scan->depth++] = (struct scan_cbor_frame){.left = map ? count * 2 : count,
                                                                .map = map,
                                                                .indefinite = indefinite,
                                                                .key = true,
                                                                .in_key = in_key,
                                                                .tags = scan->cbor.tags};
    return SAGATE_OK;
}

static int end_string(struct content_scan *scan)
{
    uint8_t sink = scan->cbor.sink;
    scan->cbor.sink = CBOR_SINK_NONE;
    scan->cbor.chunk = 0;
    if (sink == CBOR_SINK_VALUE)
        scan_value_end(scan);
    return end_item(scan);
}

static int begin_string(struct content_scan *scan, uint8_t major, bool indefinite)
{
    if (scan->cbor.chunk == 0) {
        scan->cbor.sink = CBOR_SINK_NONE;
        if (at_key(scan)) {
            scan_name_begin(scan);
            scan->cbor.sink = CBOR_SINK_NAME;
        } else if (scan_value_begin(scan)) {
            scan->cbor.sink = CBOR_SINK_VALUE;
        }
        if (indefinite) {
            scan->cbor.chunk = major;
            return SAGATE_OK;
        }
    }
    if (scan->cbor.value > 0) {
        scan->cbor.state = CBOR_STRING;
        return SAGATE_OK;
    }
    return scan->cbor.chunk != 0 ? SAGATE_OK : end_string(scan);
}

static int begin_tag(struct content_scan *scan)
{
    // A key under a tag may become any name in the reader. Shared values and string references (tags 25, 28, 29 and
    // 256) let one part of the content stand in another's place: nothing could be said about either.
    uint64_t tag = scan->cbor.value;
    if (at_key(scan) || tag == 25 || tag == 28 || tag == 29 || tag == 256)
        return SAGATE_EMALFORMED;
    if (scan->depth + scan->cbor.nested_tags + ++scan->cbor.tags > scan->depth_max)
        return SAGATE_ETOOBIG;
    return SAGATE_OK;
}

// A head with its argument in `value` is complete.
static int head(struct content_scan *scan, uint8_t major, bool indefinite)
{
    scan->cbor.state = CBOR_HEAD;
    if (scan->cbor.chunk != 0 && (major != scan->cbor.chunk || indefinite))
        return SAGATE_EMALFORMED;
    int result = SAGATE_OK;
    switch (major) {
    case BYTES:
    case TEXT:
        result = begin_string(scan, major, indefinite);
        break;
    case ARRAY:
    case MAP:
        result = begin_container(scan, major == MAP, indefinite);
        break;
    case TAG:
        return begin_tag(scan);
    default:
        begin_other(scan);
        result = end_item(scan);
        break;
    }
    scan->cbor.tags = 0;
    return result;
}

static int step_break(struct content_scan *scan)
{
    if (scan->cbor.chunk != 0)
        return end_string(scan);
    struct scan_cbor_frame *frame = top(scan);
    // Not after a tag, not between a key and its value.
    if (frame == NULL || !frame->indefinite || scan->cbor.tags > 0 || (frame->map && !frame->key))
        return SAGATE_EMALFORMED;
    close_container(scan);
    return end_item(scan);
}

static int step_head(struct content_scan *scan, uint8_t byte)
{
    if (scan->cbor.done)
        return SAGATE_EMALFORMED;
    if (byte == BREAK)
        return step_break(scan);
    uint8_t major = byte >> 5;
    uint8_t info = byte & 0x1f;
    scan->cbor.value = info;
    if (info < 24)
        return head(scan, major, false);
    if (info == INDEFINITE) {
        scan->cbor.value = 0;
        return major >= BYTES && major <= MAP ? head(scan, major, true) : SAGATE_EMALFORMED;
    }
    if (info > 27)
        return SAGATE_EMALFORMED;
    scan->cbor.initial = byte;
    scan->cbor.value = 0;
    scan->cbor.need = (uint8_t)(1U << (info - 24));
    scan->cbor.state = CBOR_ARGUMENT;
    return SAGATE_OK;
}

static int step_argument(struct content_scan *scan, uint8_t byte)
{
    uint8_t initial = scan->cbor.initial;
    scan->cbor.value = scan->cbor.value << 8 | byte;
    if (--scan->cbor.need > 0)
        return SAGATE_OK;
    if (initial == (SIMPLE << 5 | 24) && scan->cbor.value < 32)
        return SAGATE_EMALFORMED; // RFC 8949 3.3
    return head(scan, initial >> 5, false);
}

// Takes as much of the string as the piece holds; *taken is at least 1.
static int step_string(struct content_scan *scan, const uint8_t *data, size_t len, size_t *taken)
{
    size_t part = scan->cbor.value < len ? (size_t)scan->cbor.value : len;
    *taken = part;
    for (size_t i = 0; scan->cbor.sink != CBOR_SINK_NONE && i < part; i++) {
        if (scan->cbor.sink == CBOR_SINK_VALUE)
            scan_value_byte(scan, data[i]);
        else if (!scan_name_byte(scan, data[i]))
            return SAGATE_EMALFORMED;
    }
    scan->cbor.value -= part;
    if (scan->cbor.value > 0)
        return SAGATE_OK;
    scan->cbor.state = CBOR_HEAD;
    return scan->cbor.chunk != 0 ? SAGATE_OK : end_string(scan);
}

void scan_cbor_init(struct content_scan *scan)
{
    struct scan_cbor *cbor = &scan->cbor;
    cbor->value = 0;
    cbor->state = CBOR_HEAD;
    cbor->initial = cbor->need = cbor->tags = cbor->nested_tags = cbor->chunk = 0;
    cbor->sink = CBOR_SINK_NONE;
    cbor->done = false;
}

int scan_cbor_feed(struct content_scan *scan, const uint8_t *data, size_t len)
{
    int result = SAGATE_OK;
    size_t i = 0;
    while (result == SAGATE_OK && i < len) {
        size_t taken = 1;
        if (scan->cbor.state == CBOR_HEAD)
            result = step_head(scan, data[i]);
        else if (scan->cbor.state == CBOR_ARGUMENT)
            result = step_argument(scan, data[i]);
        else
            result = step_string(scan, data + i, len - i, &taken);
        i += taken;
    }
    return result;
}

int scan_cbor_end(struct content_scan *scan)
{
    return scan->cbor.done ? SAGATE_OK : SAGATE_EMALFORMED;
}
