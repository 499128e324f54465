// Reading a device's request head.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/binding/http/request.h"

#include "common/error.h"

static int refuse(struct http_problem *problem, int status, int rsc, const char *debug, bool close)
{
    *problem = (struct http_problem){
        .status = status, .rsc = rsc, .stat = STAT_REFUSED_MALFORMED, .debug = debug, .close = close};
    return SAGATE_EDENIED;
}

static int bad(struct http_problem *problem, const char *debug)
{
    return refuse(problem, 400, RSC_BAD_REQUEST, debug, false);
}

// For what leaves open where the next request begins, or whom this one is for.
static int broken(struct http_problem *problem, const char *debug)
{
    return refuse(problem, 400, RSC_BAD_REQUEST, debug, true);
}

void http_request_glean(const struct http_head *head, struct http_request *request)
{
    struct slice value;
    *request = (struct http_request){.expires_ms = UINT64_MAX};
    request->primitive.ty = PRIMITIVE_TY_ABSENT;
    if (http_head_find(head, "X-M2M-RI", &value) == 1 && value.len > 0)
        request->primitive.request_id = value;
    if (http_head_find(head, "X-M2M-RVI", &value) == 1 && value.len > 0)
        request->primitive.release_version = value;
    request->is_head = slice_is(http_head_method(head), "HEAD");
}

static int read_framing(const struct http_head *head, struct http_request *request, struct http_problem *problem)
{
    struct slice length, coding;
    size_t lengths = http_head_find(head, "Content-Length", &length);
    size_t codings = http_head_find(head, "Transfer-Encoding", &coding);
    if (lengths > 1)
        return broken(problem, "Content-Length more than once");
    if (codings > 0 && lengths > 0)
        return broken(problem, "Content-Length beside Transfer-Encoding");
    if (codings > 1 || (codings == 1 && !http_same(coding, "chunked")))
        return broken(problem, "Transfer-Encoding is not chunked alone");
    if (lengths == 1 && http_number(length, &request->length) != SAGATE_OK)
        return broken(problem, "Content-Length is no number");
    request->chunked = codings == 1;
    return SAGATE_OK;
}

static int read_host(const struct http_head *head, struct http_problem *problem)
{
    struct slice host;
    if (http_head_find(head, "Host", &host) != 1)
        return broken(problem, "Host is missing or there more than once");
    for (size_t i = 0; i < host.len; i++) {
        uint8_t c = host.data[i];
        bool alphanumeric = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!alphanumeric && (c == '\0' || strchr("-._~%:[]!$&'()*+,;=", c) == NULL))
            return broken(problem, "Host is malformed");
    }
    return SAGATE_OK;
}

static bool is_hex(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f');
}

// origin-form with the characters of RFC 3986 alone, since readers differ in what they make of others.
static bool target_ok(struct slice target)
{
    if (target.len == 0 || target.data[0] != '/')
        return false;
    if (target.len > 1 && target.data[1] == '/') // some readers take what follows for an authority
        return false;
    for (size_t i = 0; i < target.len; i++) {
        uint8_t c = target.data[i];
        if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '/')
            continue;
        if (c == '%') {
            if (i + 2 >= target.len || !is_hex(target.data[i + 1]) || !is_hex(target.data[i + 2]))
                return false;
        } else if (strchr("-._~!$&'()*+,;=:@?", c) == NULL) {
            return false;
        }
    }
    return true;
}

static int read_method(const struct http_head *head, struct http_request *request, struct http_problem *problem)
{
    static const struct {
        const char *name;
        enum onem2m_operation operation;
    } methods[] = {
        {"POST", ONEM2M_NOTIFY}, {"GET", ONEM2M_RETRIEVE}, {"PUT", ONEM2M_UPDATE}, {"DELETE", ONEM2M_DELETE}};
    struct slice method = http_head_method(head);
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (slice_is(method, methods[i].name)) {
            request->primitive.operation = methods[i].operation; // POST: until `ty` says CREATE
            request->operation_known = methods[i].operation != ONEM2M_NOTIFY;
            return SAGATE_OK;
        }
    }
    (void)refuse(problem, 405, RSC_OPERATION_NOT_ALLOWED, "no oneM2M operation has this method", false);
    problem->stat = STAT_REFUSED_OPERATION;
    return SAGATE_EDENIED;
}

// To from the path (TS-0009 6.2.2.1), without decoding: what the CSE gets is this very text.
static int read_to(const struct http_head *head, struct http_request *request, struct http_problem *problem)
{
    struct slice target = http_head_target(head);
    const uint8_t *query = memchr(target.data, '?', target.len);
    struct slice path = slice_of(target.data, query == NULL ? target.len : (size_t)(query - target.data));
    struct slice to = slice_of(path.data + 1, path.len - 1);
    size_t least = 1;
    if (path.len >= 3 && memcmp(path.data, "/~/", 3) == 0) {
        to = slice_of(path.data + 2, path.len - 2);
        least = 2;
    } else if (path.len >= 3 && memcmp(path.data, "/_/", 3) == 0) {
        request->to_text = malloc(path.len);
        if (request->to_text == NULL)
            return SAGATE_ENOMEM;
        request->to_text[0] = '/';
        memcpy(request->to_text + 1, path.data + 2, path.len - 2);
        to = slice_of(request->to_text, path.len - 1);
        least = 3;
    }
    request->primitive.to = to;
    if (to.len < least || slice_is(path, "/~") || slice_is(path, "/_"))
        return bad(problem, "To is missing");
    return SAGATE_OK;
}

// A connection option that names a field meant for the CSE would take that field away after sagate had checked it.
static bool option_forbidden(struct slice option)
{
    static const char *const whole[] = {"Host", "Authorization", "Accept", "Expect", "Cookie", "Date", "Cache-Control"};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        if (http_same(option, whole[i]))
            return true;
    }
    return http_begins(option, "Content-") || http_begins(option, "X-M2M-") || http_begins(option, "If-");
}

static int read_connection(const struct http_head *head, struct http_request *request, struct http_problem *problem)
{
    bool upgrade = false;
    for (size_t i = 0; i < head->field_count; i++) {
        struct slice rest, option;
        if (!http_same(http_head_name(head, i), "Connection"))
            continue;
        rest = http_head_value(head, i);
        while (http_list_next(&rest, &option)) {
            if (!http_is_token(option) || option_forbidden(option))
                return broken(problem, "Connection names what it must not");
            request->close = request->close || http_same(option, "close");
            upgrade = upgrade || http_same(option, "upgrade");
        }
    }
    struct slice value;
    if (upgrade && http_head_find(head, "Upgrade", &value) > 0 && http_begins(value, "websocket"))
        return refuse(problem, 501, RSC_NOT_IMPLEMENTED, "no WebSocket here", false);
    size_t expectations = http_head_find(head, "Expect", &value);
    if (expectations > 1 || (expectations == 1 && !http_same(value, "100-continue")))
        return refuse(problem, 417, RSC_BAD_REQUEST, "unknown expectation", true);
    request->expect = expectations == 1;
    return SAGATE_OK;
}

static int read_once(const struct http_head *head, struct http_request *request, struct http_problem *problem)
{
    struct slice value;
    if (http_head_find(head, "X-M2M-Origin", &value) > 1) {
        (void)bad(problem, "X-M2M-Origin more than once");
        problem->stat = STAT_REFUSED_SECOND_ORIGINATOR;
        return SAGATE_EDENIED;
    }
    if (value.data != NULL)
        request->primitive.from = value;
    if (http_head_find(head, "X-M2M-RI", &value) > 1)
        return bad(problem, "X-M2M-RI more than once");
    if (http_head_find(head, "X-M2M-RVI", &value) > 1)
        return bad(problem, "X-M2M-RVI more than once");
    if (http_head_find(head, "Content-Type", &value) > 1)
        return bad(problem, "Content-Type more than once");
    if (http_head_find(head, "X-M2M-RET", &value) > 1)
        return bad(problem, "X-M2M-RET more than once");
    uint64_t expires = 0;
    // An absolute time has a 'T' in it and is left to the CSE.
    if (value.len > 0 && http_number(value, &expires) == SAGATE_OK)
        request->expires_ms = expires;
    return SAGATE_OK;
}

static struct slice trimmed(struct slice text)
{
    while (text.len > 0 && (text.data[0] == ' ' || text.data[0] == '\t'))
        text = slice_of(text.data + 1, text.len - 1);
    while (text.len > 0 && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t'))
        text.len--;
    return text;
}

// One parameter of a media type. A quoted value may hold a token only, so that nothing inside the quotes looks like a
// parameter to a simpler reader.
static int read_parameter(struct slice parameter, struct http_request *request, struct http_problem *problem)
{
    const uint8_t *equals = memchr(parameter.data, '=', parameter.len);
    if (equals == NULL)
        return bad(problem, "Content-Type is malformed");
    struct slice name = slice_of(parameter.data, (size_t)(equals - parameter.data));
    struct slice value = slice_of(equals + 1, parameter.len - name.len - 1);
    bool quoted = value.len >= 2 && value.data[0] == '"' && value.data[value.len - 1] == '"';
    if (quoted)
        value = slice_of(value.data + 1, value.len - 2);
    if (!http_is_token(name) || !http_is_token(value))
        return bad(problem, "Content-Type is malformed");
    if (http_same(name, "charset") && !http_same(value, "utf-8") && !http_same(value, "us-ascii"))
        return refuse(problem, 415, RSC_UNSUPPORTED_MEDIA_TYPE, "content must be UTF-8", false);
    if (!http_same(name, "ty"))
        return SAGATE_OK;
    uint64_t ty = 0;
    if (!slice_is(name, "ty") || quoted || request->primitive.ty != PRIMITIVE_TY_ABSENT || value.len > 5 ||
        http_number(value, &ty) != SAGATE_OK || value.data[0] == '0')
        return bad(problem, "resource type is malformed");
    request->primitive.ty = (int)ty;
    return SAGATE_OK;
}

static int read_media_type(struct slice value, struct http_request *request, struct http_problem *problem)
{
    bool first = true;
    struct slice rest = value;
    while (first || rest.len > 0) {
        const uint8_t *end = rest.len == 0 ? NULL : memchr(rest.data, ';', rest.len);
        struct slice part = trimmed(slice_of(rest.data, end == NULL ? rest.len : (size_t)(end - rest.data)));
        rest = end == NULL ? slice_of(rest.data, 0) : slice_of(end + 1, rest.len - (size_t)(end - rest.data) - 1);
        if (first) {
            const uint8_t *slash = part.len == 0 ? NULL : memchr(part.data, '/', part.len);
            if (slash == NULL || !http_is_token(slice_of(part.data, (size_t)(slash - part.data))) ||
                !http_is_token(slice_of(slash + 1, part.len - (size_t)(slash - part.data) - 1)))
                return bad(problem, "Content-Type is malformed");
        } else if (part.len > 0) {
            int result = read_parameter(part, request, problem);
            if (result != SAGATE_OK)
                return result;
        }
        first = false;
    }
    return SAGATE_OK;
}

static int read_content(const struct http_head *head, struct http_request *request, struct http_problem *problem)
{
    struct slice value;
    if (http_head_find(head, "Content-Encoding", &value) > 0 && !http_same(value, "identity"))
        return refuse(problem, 415, RSC_UNSUPPORTED_MEDIA_TYPE, "encoded content cannot be checked", false);
    if (http_head_find(head, "Content-Encoding", &value) > 1)
        return bad(problem, "Content-Encoding more than once");
    if (http_head_find(head, "Content-Type", &value) == 1) {
        int result = read_media_type(value, request, problem);
        if (result != SAGATE_OK)
            return result;
        request->content = content_kind_of_media_type(value);
    }
    struct primitive *primitive = &request->primitive;
    if (primitive->operation == ONEM2M_NOTIFY) {
        if (primitive->ty != PRIMITIVE_TY_ABSENT)
            primitive->operation = ONEM2M_CREATE;
        request->operation_known = true;
    } else {
        primitive->ty = PRIMITIVE_TY_ABSENT; // means nothing to the other operations (TS-0004 table 8.2.2-1)
    }
    return SAGATE_OK;
}

static int read_identifier(const struct http_request *request, size_t max, struct http_problem *problem)
{
    struct slice identifier = request->primitive.request_id;
    if (identifier.len == 0)
        return bad(problem, "X-M2M-RI is missing");
    if (identifier.len > max)
        return bad(problem, "X-M2M-RI is longer than the CSE takes");
    for (size_t i = 0; i < identifier.len; i++) {
        if (identifier.data[i] <= ' ' || identifier.data[i] >= 0x7f)
            return bad(problem, "X-M2M-RI is malformed");
    }
    return SAGATE_OK;
}

int http_request_read(const struct http_head *head, size_t request_id_max, struct http_request *request,
                      struct http_problem *problem)
{
    http_request_glean(head, request);
    int result = read_framing(head, request, problem);
    if (result == SAGATE_OK)
        result = read_host(head, problem);
    if (result == SAGATE_OK)
        result = read_connection(head, request, problem);
    if (result == SAGATE_OK)
        result = read_method(head, request, problem);
    if (result == SAGATE_OK && !target_ok(http_head_target(head)))
        result = broken(problem, "request target is not in origin form");
    if (result == SAGATE_OK)
        result = read_once(head, request, problem);
    if (result == SAGATE_OK)
        result = read_content(head, request, problem);
    if (result == SAGATE_OK)
        result = read_identifier(request, request_id_max, problem);
    if (result == SAGATE_OK)
        result = read_to(head, request, problem);
    return result;
}

struct slice http_request_query(const struct http_head *head)
{
    struct slice target = http_head_target(head);
    const uint8_t *mark = memchr(target.data, '?', target.len);
    if (mark == NULL)
        return slice_of(target.data, 0);
    return slice_of(mark + 1, target.len - (size_t)(mark + 1 - target.data));
}

static unsigned hex_value(uint8_t c)
{
    return c <= '9' ? c - 48U : (c | 0x20U) - 87U; // '0', 'a' - 10
}

// Decodes text that target_ok has passed. The length of the result, at most `cap`.
static size_t decode(struct slice text, char *out, size_t cap)
{
    size_t len = 0;
    for (size_t i = 0; i < text.len && len < cap; i++) {
        uint8_t c = text.data[i];
        if (c == '%' && i + 2 < text.len) {
            c = (uint8_t)(hex_value(text.data[i + 1]) << 4 | hex_value(text.data[i + 2]));
            i += 2;
        }
        out[len++] = (char)c;
    }
    return len;
}

// Also when a C string would end there with that name.
static bool is_from(struct slice name)
{
    char text[3];
    size_t len = decode(name, text, sizeof text);
    return len >= 2 && memcmp(text, "fr", 2) == 0 && (len == 2 || text[2] == '\0');
}

bool http_query_originator(struct slice *query, char value[ONEM2M_ABSOLUTE_MAX + 1], size_t *len)
{
    // A parameter may also begin after ';', as some readers have it. The value goes on to the next '&' then.
    const uint8_t *at = query->data, *end = query->data + query->len;
    while (at < end) {
        const uint8_t *name = at;
        while (at < end && *at != '=' && *at != '&' && *at != ';')
            at++;
        bool found = is_from(slice_of(name, (size_t)(at - name)));
        const uint8_t *begin = at < end && *at == '=' ? at + 1 : at;
        const uint8_t *amp = begin < end ? memchr(begin, '&', (size_t)(end - begin)) : NULL;
        if (found)
            *len = decode(slice_of(begin, (size_t)((amp == NULL ? end : amp) - begin)), value, ONEM2M_ABSOLUTE_MAX + 1);
        while (at < end && *at != '&' && *at != ';')
            at++;
        at += at < end;
        *query = slice_of(at, (size_t)(end - at));
        if (found)
            return true;
    }
    return false;
}

void http_request_release(struct http_request *request)
{
    free(request->to_text);
    request->to_text = NULL;
}
