// oneM2M identifiers and response status codes: their forms, names and places in HTTP and CoAP.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/onem2m.h"

#include "common/error.h"

#include <stddef.h>

#define COAP(class, detail) ((uint8_t)(((class) << 5) | (detail)))

// X(code, name, HTTP status, CoAP code) (TS-0004 table 6.6.3; TS-0009 6.3.2; TS-0008 6.2.4). 4128 has no row in either
// binding: it goes with its neighbours 4126 and 4127. 2000 is completed by the operation.
#define RSC_TABLE(X)                                                              \
    X(1000, "ACCEPTED", 202, COAP(2, 4))                                          \
    X(1001, "ACCEPTED_NONBLOCKING_REQUEST_SYNCH", 202, COAP(2, 1))                \
    X(1002, "ACCEPTED_NONBLOCKING_REQUEST_ASYNCH", 202, COAP(2, 4))               \
    X(2000, "OK", 200, COAP(2, 4))                                                \
    X(2001, "CREATED", 201, COAP(2, 1))                                           \
    X(2002, "DELETED", 200, COAP(2, 2))                                           \
    X(2004, "UPDATED", 200, COAP(2, 4))                                           \
    X(4000, "BAD_REQUEST", 400, COAP(4, 0))                                       \
    X(4001, "RELEASE_VERSION_NOT_SUPPORTED", 501, COAP(5, 1))                     \
    X(4004, "NOT_FOUND", 404, COAP(4, 4))                                         \
    X(4005, "OPERATION_NOT_ALLOWED", 405, COAP(4, 5))                             \
    X(4008, "REQUEST_TIMEOUT", 504, COAP(5, 4))                                   \
    X(4015, "UNSUPPORTED_MEDIA_TYPE", 415, COAP(4, 15))                           \
    X(4101, "SUBSCRIPTION_CREATOR_HAS_NO_PRIVILEGE", 403, COAP(4, 3))             \
    X(4102, "CONTENTS_UNACCEPTABLE", 400, COAP(4, 0))                             \
    X(4103, "ORIGINATOR_HAS_NO_PRIVILEGE", 403, COAP(4, 3))                       \
    X(4104, "GROUP_REQUEST_IDENTIFIER_EXISTS", 409, COAP(4, 0))                   \
    X(4105, "CONFLICT", 409, COAP(4, 3))                                          \
    X(4106, "ORIGINATOR_NOT_AUTHENTICATED", 403, COAP(4, 3))                      \
    X(4107, "SECURITY_ASSOCIATION_REQUIRED", 403, COAP(4, 3))                     \
    X(4108, "INVALID_CHILD_RESOURCE_TYPE", 403, COAP(4, 3))                       \
    X(4109, "NO_MEMBERS", 403, COAP(4, 3))                                        \
    X(4110, "GROUP_MEMBER_TYPE_INCONSISTENT", 400, COAP(4, 0))                    \
    X(4111, "ESPRIM_UNSUPPORTED_OPTION", 403, COAP(4, 3))                         \
    X(4112, "ESPRIM_UNKNOWN_KEY_ID", 403, COAP(4, 3))                             \
    X(4113, "ESPRIM_UNKNOWN_ORIG_RAND_ID", 403, COAP(4, 3))                       \
    X(4114, "ESPRIM_UNKNOWN_RECV_RAND_ID", 403, COAP(4, 3))                       \
    X(4115, "ESPRIM_BAD_MAC", 403, COAP(4, 3))                                    \
    X(4116, "ESPRIM_IMPERSONATION_ERROR", 403, COAP(4, 3))                        \
    X(4117, "ORIGINATOR_HAS_ALREADY_REGISTERED", 403, COAP(4, 3))                 \
    X(4118, "ONTOLOGY_NOT_AVAILABLE", 404, COAP(4, 4))                            \
    X(4119, "LINKED_SEMANTICS_NOT_AVAILABLE", 404, COAP(4, 4))                    \
    X(4120, "INVALID_SEMANTICS", 400, COAP(4, 2))                                 \
    X(4121, "MASHUP_MEMBER_NOT_FOUND", 404, COAP(4, 4))                           \
    X(4122, "INVALID_TRIGGER_PURPOSE", 400, COAP(4, 2))                           \
    X(4123, "ILLEGAL_TRANSACTION_STATE_TRANSITION_ATTEMPTED", 400, COAP(4, 0))    \
    X(4124, "BLOCKING_SUBSCRIPTION_ALREADY_EXISTS", 409, COAP(4, 0))              \
    X(4125, "SPECIALIZATION_SCHEMA_NOT_FOUND", 501, COAP(5, 1))                   \
    X(4126, "APP_RULE_VALIDATION_FAILED", 403, COAP(4, 3))                        \
    X(4127, "OPERATION_DENIED_BY_REMOTE_ENTITY", 403, COAP(4, 3))                 \
    X(4128, "SERVICE_SUBSCRIPTION_NOT_ESTABLISHED", 403, COAP(4, 3))              \
    X(5000, "INTERNAL_SERVER_ERROR", 500, COAP(5, 0))                             \
    X(5001, "NOT_IMPLEMENTED", 501, COAP(5, 1))                                   \
    X(5103, "TARGET_NOT_REACHABLE", 404, COAP(4, 4))                              \
    X(5105, "RECEIVER_HAS_NO_PRIVILEGE", 403, COAP(4, 3))                         \
    X(5106, "ALREADY_EXISTS", 409, COAP(4, 0))                                    \
    X(5107, "REMOTE_ENTITY_NOT_REACHABLE", 404, COAP(4, 4))                       \
    X(5203, "TARGET_NOT_SUBSCRIBABLE", 403, COAP(4, 3))                           \
    X(5204, "SUBSCRIPTION_VERIFICATION_INITIATION_FAILED", 500, COAP(5, 0))       \
    X(5205, "SUBSCRIPTION_HOST_HAS_NO_PRIVILEGE", 403, COAP(4, 3))                \
    X(5206, "NON_BLOCKING_SYNCH_REQUEST_NOT_SUPPORTED", 501, COAP(5, 1))          \
    X(5207, "NOT_ACCEPTABLE", 406, COAP(4, 6))                                    \
    X(5208, "DISCOVERY_DENIED_BY_IPE", 403, COAP(4, 3))                           \
    X(5209, "GROUP_MEMBERS_NOT_RESPONDED", 500, COAP(5, 0))                       \
    X(5210, "ESPRIM_DECRYPTION_ERROR", 500, COAP(5, 0))                           \
    X(5211, "ESPRIM_ENCRYPTION_ERROR", 500, COAP(5, 0))                           \
    X(5212, "SPARQL_UPDATE_ERROR", 500, COAP(5, 0))                               \
    X(5214, "TARGET_HAS_NO_SESSION_CAPABILITY", 403, COAP(4, 3))                  \
    X(5215, "SESSION_IS_ONLINE", 403, COAP(4, 3))                                 \
    X(5216, "JOIN_MULTICAST_GROUP_FAILED", 500, COAP(5, 0))                       \
    X(5217, "LEAVE_MULTICAST_GROUP_FAILED", 500, COAP(5, 0))                      \
    X(5218, "TRIGGERING_DISABLED_FOR_RECIPIENT", 403, COAP(4, 3))                 \
    X(5219, "UNABLE_TO_REPLACE_REQUEST", 409, COAP(4, 0))                         \
    X(5220, "UNABLE_TO_RECALL_REQUEST", 409, COAP(4, 0))                          \
    X(5221, "CROSS_RESOURCE_OPERATION_FAILURE", 500, COAP(5, 0))                  \
    X(5222, "TRANSACTION_PROCESSING_IS_INCOMPLETE", 403, COAP(4, 3))              \
    X(6003, "EXTERNAL_OBJECT_NOT_REACHABLE", 404, COAP(4, 4))                     \
    X(6005, "EXTERNAL_OBJECT_NOT_FOUND", 404, COAP(4, 4))                         \
    X(6010, "MAX_NUMBER_OF_MEMBER_EXCEEDED", 400, COAP(4, 0))                     \
    X(6020, "MGMT_SESSION_CANNOT_BE_ESTABLISHED", 500, COAP(5, 0))                \
    X(6021, "MGMT_SESSION_ESTABLISHMENT_TIMEOUT", 500, COAP(5, 0))                \
    X(6022, "INVALID_CMDTYPE", 400, COAP(4, 0))                                   \
    X(6023, "INVALID_ARGUMENTS", 400, COAP(4, 0))                                 \
    X(6024, "INSUFFICIENT_ARGUMENTS", 400, COAP(4, 0))                            \
    X(6025, "MGMT_CONVERSION_ERROR", 500, COAP(5, 0))                             \
    X(6026, "MGMT_CANCELLATION_FAILED", 500, COAP(5, 0))                          \
    X(6028, "ALREADY_COMPLETE", 409, COAP(4, 0))                                  \
    X(6029, "MGMT_COMMAND_NOT_CANCELLABLE", 409, COAP(4, 0))                      \
    X(6030, "EXTERNAL_OBJECT_NOT_REACHABLE_BEFORE_RQET_TIMEOUT", 504, COAP(5, 4)) \
    X(6031, "EXTERNAL_OBJECT_NOT_REACHABLE_BEFORE_OET_TIMEOUT", 504, COAP(5, 4))

const char *onem2m_operation_name(enum onem2m_operation operation)
{
    static const char *const names[] = {"UNKNOWN", "CREATE", "RETRIEVE", "UPDATE", "DELETE", "NOTIFY"};
    return (size_t)operation < sizeof names / sizeof *names ? names[operation] : "UNKNOWN";
}

const char *onem2m_rsc_name(int rsc)
{
    switch (rsc) {
#define X(code, name, http, coap) \
    case code:                    \
        return name;
        RSC_TABLE(X)
#undef X
    default:
        return "UNKNOWN";
    }
}

int onem2m_rsc_http(int rsc)
{
    switch (rsc) {
#define X(code, name, http, coap) \
    case code:                    \
        return http;
        RSC_TABLE(X)
#undef X
    default:
        break;
    }
    switch (rsc / 1000) {
    case 1:
        return 202;
    case 2:
        return 200;
    case 4:
        return 400;
    default:
        return 500;
    }
}

uint8_t onem2m_rsc_coap(int rsc, enum onem2m_operation operation)
{
    if (rsc == RSC_OK && operation == ONEM2M_RETRIEVE)
        return COAP(2, 5);
    switch (rsc) {
#define X(code, name, http, coap) \
    case code:                    \
        return coap;
        RSC_TABLE(X)
#undef X
    default:
        break;
    }
    switch (rsc / 1000) {
    case 1:
    case 2:
        return COAP(2, 4);
    case 4:
        return COAP(4, 0);
    default:
        return COAP(5, 0);
    }
}

static bool is_lower(uint8_t c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_alnum(uint8_t c)
{
    return (c >= '0' && c <= '9') || is_lower(c) || (c >= 'A' && c <= 'Z');
}

static bool is_unreserved(uint8_t c)
{
    static const bool unreserved[UINT8_MAX + 1] = {
        ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true, ['-'] = true,
        ['.'] = true,         ['_'] = true,         ['~'] = true};
    return unreserved[c];
}

// Segments joined by single slashes, none of them empty. "." and ".." are refused: a reader that normalises paths would
// see another identifier.
static bool segments_ok(const uint8_t *data, size_t len)
{
    size_t start = 0;
    for (size_t i = 0; i <= len; i++) {
        if (i < len && data[i] != '/') {
            bool stem = data[start] == 'C' || data[start] == 'S';
            if (!is_unreserved(data[i]) && !(stem && data[i] == ','))
                return false;
            continue;
        }
        size_t size = i - start;
        if (size == 0 || (size <= 2 && data[start] == '.' && data[i - 1] == '.'))
            return false;
        start = i + 1;
    }
    return true;
}

// "//SP/…": the SP part is a host name in lower case, so that one identifier has one spelling.
static bool absolute_ok(const uint8_t *data, size_t len)
{
    size_t i = 2;
    while (i < len && data[i] != '/') {
        if (!is_lower(data[i]) && !(data[i] >= '0' && data[i] <= '9') && data[i] != '-' && data[i] != '.')
            return false;
        i++;
    }
    return i > 2 && i + 1 < len && segments_ok(data + i + 1, len - i - 1);
}

enum onem2m_id_kind onem2m_id_kind(struct slice id)
{
    if (id.data == NULL || id.len == 0 || id.len > ONEM2M_ID_MAX)
        return ONEM2M_ID_INVALID;
    if (id.len >= 2 && id.data[0] == '/' && id.data[1] == '/')
        return absolute_ok(id.data, id.len) ? ONEM2M_ID_ABSOLUTE : ONEM2M_ID_INVALID;
    if (id.data[0] == '/')
        return segments_ok(id.data + 1, id.len - 1) ? ONEM2M_ID_SP_RELATIVE : ONEM2M_ID_INVALID;
    if (!segments_ok(id.data, id.len))
        return ONEM2M_ID_INVALID;
    if (memchr(id.data, '/', id.len) != NULL)
        return ONEM2M_ID_OTHER;
    if (id.data[0] == 'C')
        return ONEM2M_ID_STEM_C;
    return id.data[0] == 'S' ? ONEM2M_ID_STEM_S : ONEM2M_ID_OTHER;
}

bool onem2m_id_is_wish(struct slice id)
{
    return slice_is(id, "C") || slice_is(id, "S");
}

int onem2m_absolute(struct slice id, const char *sp_id, const char *cse_id, char *out, size_t cap)
{
    return onem2m_absolute_of(onem2m_id_kind(id), id, sp_id, cse_id, out, cap);
}

int onem2m_absolute_of(enum onem2m_id_kind kind, struct slice id, const char *sp_id, const char *cse_id, char *out,
                       size_t cap)
{
    struct slice parts[4] = {slice_text(sp_id), slice_text(""), slice_text(""), id};
    switch (kind) {
    case ONEM2M_ID_INVALID:
        return SAGATE_EINVAL;
    case ONEM2M_ID_STEM_C:
    case ONEM2M_ID_OTHER: // known to the registrar alone, like a C stem
        parts[1] = slice_text(cse_id);
        parts[2] = slice_text("/");
        break;
    case ONEM2M_ID_STEM_S:
        parts[2] = slice_text("/");
        break;
    case ONEM2M_ID_SP_RELATIVE:
        break;
    case ONEM2M_ID_ABSOLUTE:
        parts[0] = slice_text("");
        break;
    }
    size_t len = 0;
    for (size_t i = 0; i < 4; i++) {
        if (cap == 0 || parts[i].len > cap - 1 - len)
            return SAGATE_ETOOBIG;
        if (parts[i].len > 0)
            memcpy(out + len, parts[i].data, parts[i].len);
        len += parts[i].len;
    }
    out[len] = '\0';
    return (int)len;
}

bool onem2m_stem_match(const char *pattern, struct slice stem)
{
    // The last '*' seen takes one character more each time the rest does not fit: linear space, no recursion.
    const char *star = NULL;
    size_t mark = 0;
    size_t i = 0;
    while (i < stem.len) {
        if (*pattern == '*') {
            star = ++pattern;
            mark = i;
        } else if (*pattern != '\0' && (uint8_t)*pattern == stem.data[i]) {
            pattern++;
            i++;
        } else if (star != NULL) {
            pattern = star;
            i = ++mark;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

bool onem2m_credential_value_ok(struct slice text)
{
    if (text.data == NULL || text.len == 0)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (!is_alnum(c) && c != '.' && c != '_' && c != '-' && c != '@')
            return false;
    }
    return true;
}
