// CoAP request to oneM2M primitive and on to the CSE's options.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/binding/coap/request.h"

#include "common/error.h"

static int refuse(struct coap_refusal *refusal, uint8_t code, int rsc, const char *debug)
{
    *refusal = (struct coap_refusal){.code = code, .rsc = rsc, .counter = STAT_REFUSED_MALFORMED, .debug = debug};
    return SAGATE_EDENIED;
}

static int refuse_option(struct coap_refusal *refusal, const char *debug)
{
    (void)refuse(refusal, COAP_BAD_OPTION, RSC_BAD_REQUEST, debug);
    refusal->rejected = true;
    return SAGATE_EDENIED;
}

static bool repeats(const struct coap_message *message, size_t index)
{
    return index > 0 && message->options[index - 1].number == message->options[index].number;
}

// A standard option that is there, has a permitted length and is no supernumerary occurrence (RFC 7252 5.4.3, 5.4.5).
static const struct standard_option *standard_at(const struct coap_message *message, size_t index)
{
    const struct coap_option *option = &message->options[index];
    const struct standard_option *standard = numbering_standard(option->number);
    if (standard == NULL || option->value.len < standard->min || option->value.len > standard->max)
        return NULL;
    return repeats(message, index) && !standard->repeatable ? NULL : standard;
}

// What each option is. The oneM2M options that are well-formed are taken here, since an answer needs them also when the
// request is refused for another option.
static void sort_options(struct coap_request *request)
{
    const struct coap_message *message = request->message;
    for (size_t i = 0; i < message->option_count; i++) {
        int row = numbering_find(request->numbering, message->options[i].number);
        request->rows[i] = (int16_t)row;
        request->standard[i] = row < 0 ? standard_at(message, i) : NULL;
        if (row < 0 || request->options[row].data != NULL)
            continue;
        struct slice value = message->options[i].value;
        if (value.len < numbering_rows[row].min || value.len > numbering_rows[row].max)
            continue;
        request->options[row] = value;
        request->present |= 1U << row;
    }
    request->primitive.from = request->options[ONEM2M_FR];
    request->primitive.request_id = request->options[ONEM2M_RQI];
    request->primitive.release_version = request->options[ONEM2M_RVI];
    if (request->options[ONEM2M_TY].data != NULL)
        request->primitive.ty = (int)coap_uint(request->options[ONEM2M_TY]);
}

static int check_options(struct coap_request *request, struct coap_refusal *refusal)
{
    const struct coap_message *message = request->message;
    if (message->critical_cut)
        return refuse_option(refusal, "too many options");
    for (size_t i = 0; i < message->option_count; i++) {
        const struct coap_option *option = &message->options[i];
        int row = request->rows[i];
        if (row >= 0) {
            if (repeats(message, i))
                return refuse_option(refusal, "a oneM2M option is repeated");
            if (option->value.len < numbering_rows[row].min || option->value.len > numbering_rows[row].max)
                return refuse_option(refusal, "a oneM2M option has a bad length");
            continue;
        }
        if (request->standard[i] == NULL && coap_is_critical(option->number))
            return refuse_option(refusal, "unknown or repeated critical option");
    }
    return SAGATE_OK;
}

// Control bytes and '/' inside a segment would make one path mean two things.
static bool segment_ok(struct slice segment)
{
    if (slice_is(segment, ".") || slice_is(segment, ".."))
        return false;
    static const bool bad[UINT8_MAX + 1] = {[0 ... 0x1f] = true, [0x7f] = true, ['/'] = true};
    for (size_t i = 0; i < segment.len; i++) {
        if (bad[segment.data[i]])
            return false;
    }
    return true;
}

static bool append(struct coap_request *request, const void *data, size_t len)
{
    if (sizeof request->to - request->to_len < len)
        return false;
    if (len > 0)
        memcpy(request->to + request->to_len, data, len);
    request->to_len += len;
    return true;
}

// To from Uri-Path: "~" first is "/", "_" first is "//" (TS-0008 6.2.2.3).
static int read_path(struct coap_request *request, struct coap_refusal *refusal)
{
    const struct coap_message *message = request->message;
    bool first = true, slash = false;
    for (size_t i = 0; i < message->option_count; i++) {
        struct slice segment = message->options[i].value;
        bool fits = true;
        if (message->options[i].number != COAP_URI_PATH)
            continue;
        if (!segment_ok(segment))
            return refuse(refusal, 0, RSC_BAD_REQUEST, "Uri-Path is malformed");
        if (first && (slice_is(segment, "~") || slice_is(segment, "_"))) {
            fits = append(request, "//", segment.data[0] == '~' ? 1 : 2);
        } else {
            fits = (!slash || append(request, "/", 1)) && append(request, segment.data, segment.len);
            slash = true;
        }
        if (!fits)
            return refuse(refusal, 0, RSC_BAD_REQUEST, "Uri-Path is too long");
        first = false;
    }
    request->primitive.to = slice_of(request->to, request->to_len);
    return SAGATE_OK;
}

// The value of "name=value" when the query has that name.
static bool query_value(struct slice query, const char *name, struct slice *value)
{
    size_t len = strlen(name);
    if (query.len <= len || memcmp(query.data, name, len) != 0 || query.data[len] != '=')
        return false;
    *value = slice_of(query.data + len + 1, query.len - len - 1);
    return true;
}

// `op` and `fr` of the query; all else is the CSE's.
static int read_query(struct coap_request *request, int *op, struct coap_refusal *refusal)
{
    const struct coap_message *message = request->message;
    *op = 0;
    for (size_t i = 0; i < message->option_count; i++) {
        struct slice value;
        if (message->options[i].number != COAP_URI_QUERY)
            continue;
        if (query_value(message->options[i].value, "fr", &value)) {
            if (request->query_from.data != NULL && !slice_equal(request->query_from, value))
                return refuse(refusal, 0, RSC_BAD_REQUEST, "more than one originator");
            request->query_from = value;
        }
        if (query_value(message->options[i].value, "op", &value)) {
            if (value.len != 1 || value.data[0] < '1' || value.data[0] > '5')
                return refuse(refusal, 0, RSC_BAD_REQUEST, "op is malformed");
            if (*op != 0 && *op != value.data[0] - '0')
                return refuse(refusal, 0, RSC_BAD_REQUEST, "more than one op");
            *op = value.data[0] - '0';
        }
    }
    return SAGATE_OK;
}

// TS-0008 6.2.1: the method; for POST the query `op`, else TY there is CREATE and TY absent NOTIFY.
static enum onem2m_operation operation_of(uint8_t method, int op, int ty)
{
    switch (method) {
    case COAP_GET:
        return ONEM2M_RETRIEVE;
    case COAP_PUT:
        return ONEM2M_UPDATE;
    case COAP_DELETE:
        return ONEM2M_DELETE;
    default:
        if (op != 0)
            return (enum onem2m_operation)op;
        return ty != PRIMITIVE_TY_ABSENT ? ONEM2M_CREATE : ONEM2M_NOTIFY;
    }
}

static int read_primitive(struct coap_request *request, const struct config_listener *listener, unsigned request_id_max,
                          struct coap_refusal *refusal)
{
    struct primitive *primitive = &request->primitive;
    uint8_t method = request->message->code;
    int op;
    int status = read_query(request, &op, refusal);
    if (status != SAGATE_OK)
        return status;
    primitive->operation = operation_of(method, op, primitive->ty);
    if (op != 0 && method != COAP_POST && (int)primitive->operation != op)
        return refuse(refusal, 0, RSC_BAD_REQUEST, "op contradicts the method");
    // A CSE that tells a CREATE by TY alone must not see one where another operation was checked.
    if (primitive->ty != PRIMITIVE_TY_ABSENT && primitive->operation != ONEM2M_CREATE)
        return refuse(refusal, 0, RSC_BAD_REQUEST, "ty belongs to a CREATE");
    status = read_path(request, refusal);
    if (status != SAGATE_OK)
        return status;
    if (primitive->request_id.len == 0)
        return refuse(refusal, 0, RSC_BAD_REQUEST, "the request identifier is missing");
    if (primitive->request_id.len > request_id_max)
        return refuse(refusal, 0, RSC_BAD_REQUEST, "the request identifier is too long");
    if (primitive->release_version.data == NULL && listener->release_version_default[0] != '\0')
        primitive->release_version = slice_text(listener->release_version_default);
    return SAGATE_OK;
}

static int read_transfer(struct coap_request *request, struct coap_refusal *refusal)
{
    const struct coap_message *message = request->message;
    for (size_t i = 0; i < message->option_count; i++) {
        struct slice value = message->options[i].value;
        struct coap_block ignored;
        if (request->standard[i] == NULL)
            continue;
        switch (message->options[i].number) {
        case COAP_CONTENT_FORMAT:
            request->content_format = (int)coap_uint(value);
            break;
        case COAP_BLOCK1:
            request->has_block1 = true;
            if (!coap_block_parse(value, &request->block1))
                return refuse(refusal, 0, RSC_BAD_REQUEST, "Block1 is malformed");
            break;
        case COAP_BLOCK2:
            if (!coap_block_parse(value, &ignored))
                return refuse(refusal, 0, RSC_BAD_REQUEST, "Block2 is malformed");
            break;
        case COAP_OBSERVE:
            if (message->code == COAP_GET && coap_uint(value) <= 1)
                request->observe = (int)coap_uint(value);
            break;
        default:
            break;
        }
    }
    // Whether Observe travels depends on what else is observed, but blocks of one transfer travel with equal options.
    if (coap_request_in_blocks(request))
        request->observe = COAP_NO_OBSERVE;
    return SAGATE_OK;
}

static bool asks_for_proxy(const struct coap_message *message)
{
    for (size_t i = 0; i < message->option_count && message->options[i].number <= COAP_PROXY_SCHEME; i++) {
        if (message->options[i].number == COAP_PROXY_URI || message->options[i].number == COAP_PROXY_SCHEME)
            return true;
    }
    return false;
}

int coap_request_read(const struct coap_message *message, const struct config_listener *listener,
                      unsigned request_id_max, struct coap_request *request, struct coap_refusal *refusal)
{
    memset(request, 0, offsetof(struct coap_request, to));
    request->message = message;
    request->primitive.ty = PRIMITIVE_TY_ABSENT;
    request->content_format = COAP_NO_FORMAT;
    request->observe = COAP_NO_OBSERVE;
    bool mixed = numbering_of(message, listener->coap_numbering, &request->numbering) != SAGATE_OK;
    if (mixed)
        request->numbering = listener->coap_numbering == CONFIG_NUMBERING_OLD ? NUMBERING_OLD : NUMBERING_CURRENT;
    sort_options(request);
    if (message->code > COAP_DELETE)
        return refuse(refusal, COAP_METHOD_NOT_ALLOWED, RSC_OPERATION_NOT_ALLOWED, "no oneM2M operation");
    request->primitive.operation = operation_of(message->code, 0, request->primitive.ty);
    if (asks_for_proxy(message))
        return refuse(refusal, COAP_NO_PROXYING, RSC_NOT_IMPLEMENTED, "proxying is not supported");
    if (mixed)
        return refuse_option(refusal, "option numbers of two numberings");
    int status = check_options(request, refusal);
    if (status == SAGATE_OK)
        status = read_primitive(request, listener, request_id_max, refusal);
    return status == SAGATE_OK ? read_transfer(request, refusal) : status;
}

static void add_standard(const struct coap_request *request, bool with_observe, struct coap_list *list)
{
    const struct coap_message *message = request->message;
    for (size_t i = 0; i < message->option_count; i++) {
        const struct coap_option *option = &message->options[i];
        const struct standard_option *standard = request->standard[i];
        if (standard == NULL || !standard->request)
            continue;
        if (option->number == COAP_OBSERVE && (!with_observe || request->observe == COAP_NO_OBSERVE))
            continue;
        // About the answer, which only the last block gets (RFC 7959 section 3.3). No other may differ in it, see
        // transfer_key_of.
        if (request->has_block1 && request->block1.more &&
            (option->number == COAP_BLOCK2 || option->number == COAP_SIZE2))
            continue;
        if (standard->uint)
            coap_list_add_uint_value(list, option->number, option->value);
        else
            coap_list_add(list, option->number, option->value);
    }
}

static int add_onem2m(const struct coap_request *request, enum numbering numbering, struct slice from,
                      struct coap_list *list, struct coap_refusal *refusal)
{
    uint32_t rows = request->present & ~(1U << ONEM2M_FR);
    if (from.len > 0)
        rows |= 1U << ONEM2M_FR;
    if (request->primitive.release_version.data != NULL) // perhaps the listener's
        rows |= 1U << ONEM2M_RVI;
    for (; rows != 0; rows &= rows - 1) {
        int row = __builtin_ctz(rows);
        struct slice value = row == ONEM2M_RVI  ? request->primitive.release_version
                             : row == ONEM2M_FR ? from
                                                : request->options[row];
        uint16_t number = numbering_rows[row].number[numbering];
        if (number == 0 && !numbering_rows[row].informative)
            return refuse_option(refusal, "the CSE has no number for a oneM2M option");
        if (number == 0)
            continue;
        if (numbering_rows[row].uint)
            coap_list_add_uint_value(list, number, value);
        else
            coap_list_add(list, number, value);
    }
    return SAGATE_OK;
}

int coap_request_options(const struct coap_request *request, const struct device *device,
                         const struct config_upstream *upstream, const struct pep_verdict *verdict,
                         const char *peer_text, bool with_observe, struct coap_list *list, struct coap_refusal *refusal)
{
    enum numbering numbering = upstream->coap_numbering == CONFIG_NUMBERING_OLD ? NUMBERING_OLD : NUMBERING_CURRENT;
    if (verdict->from_len > numbering_rows[ONEM2M_FR].max)
        return refuse(refusal, 0, RSC_BAD_REQUEST, "From is too long for an option");
    add_standard(request, with_observe, list);
    int status = add_onem2m(request, numbering, slice_of(verdict->from, verdict->from_len), list, refusal);
    if (status != SAGATE_OK)
        return status;
    if (upstream->coap_identity == CONFIG_IDENTITY_OPTIONS) {
        if (verdict->originator_len > 0)
            coap_list_add(list, COAP_SAGATE_ORIGINATOR, slice_of(verdict->originator, verdict->originator_len));
        if (device->principal != NULL)
            coap_list_add(list, COAP_SAGATE_CREDENTIAL_ID, slice_text(device->principal->credential_id));
        coap_list_add(list, COAP_SAGATE_PEER, slice_text(peer_text));
    }
    return SAGATE_OK;
}
