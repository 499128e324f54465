// CoAP messages to and from requests of a TEF.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/tefserver/coap.h"

#include "common/error.h"
#include "dataplane/binding/coap/numbering.h"

#include <string.h>

enum { FORMAT_JSON = 50, TYPE_MAX = 65535 };

static uint16_t number_of(enum numbering_option option)
{
    return numbering_rows[option].number[NUMBERING_CURRENT];
}

// Options that say nothing to a TEF.
static bool is_ignored(uint16_t number)
{
    return number == COAP_URI_HOST || number == COAP_URI_PORT || number == COAP_URI_QUERY || number == COAP_ACCEPT ||
           number == number_of(ONEM2M_RVI) || !coap_is_critical(number);
}

static int add_segment(char target[COAP_TARGET_MAX], size_t *len, struct slice segment)
{
    if (*len + 1 + segment.len >= COAP_TARGET_MAX || memchr(segment.data, '/', segment.len) != NULL)
        return SAGATE_EMALFORMED;
    target[(*len)++] = '/';
    memcpy(target + *len, segment.data, segment.len);
    *len += segment.len;
    return SAGATE_OK;
}

static int take_option(const struct coap_option *option, char target[COAP_TARGET_MAX], size_t *len,
                       struct procedure_request *request, struct slice *id)
{
    if (option->number == COAP_URI_PATH)
        return add_segment(target, len, option->value);
    if (option->number == number_of(ONEM2M_FR)) {
        bool again = request->origin.data != NULL;
        request->origin = option->value;
        return again || option->value.len > TEF_ID_MAX ? SAGATE_EMALFORMED : SAGATE_OK;
    }
    if (option->number == number_of(ONEM2M_RQI)) {
        bool again = id->len > 0;
        *id = option->value;
        return again || option->value.len > TEF_ID_MAX ? SAGATE_EMALFORMED : SAGATE_OK;
    }
    if (option->number == number_of(ONEM2M_TY)) {
        uint32_t type = coap_uint(option->value);
        request->type = type > TYPE_MAX ? 0 : type;
        return SAGATE_OK;
    }
    if (option->number == COAP_CONTENT_FORMAT)
        return coap_uint(option->value) == FORMAT_JSON ? SAGATE_OK : SAGATE_EUNSUPPORTED;
    return is_ignored(option->number) ? SAGATE_OK : SAGATE_EUNSUPPORTED;
}

int coap_read_request(const struct coap_message *message, char target[COAP_TARGET_MAX],
                      struct procedure_request *request, struct slice *id)
{
    static const enum onem2m_operation operations[] = {[COAP_GET] = ONEM2M_RETRIEVE,
                                                       [COAP_POST] = ONEM2M_CREATE,
                                                       [COAP_PUT] = ONEM2M_UPDATE,
                                                       [COAP_DELETE] = ONEM2M_DELETE};
    size_t len = 0;
    int result = message->code > COAP_DELETE || message->critical_cut ? SAGATE_EUNSUPPORTED : SAGATE_OK;
    *request = (struct procedure_request){.content = message->payload};
    *id = slice_of("", 0);
    for (size_t i = 0; i < message->option_count; i++) {
        // To the end, for the identifier of the request.
        int one = take_option(&message->options[i], target, &len, request, id);
        result = result == SAGATE_OK ? one : result;
    }
    if (result != SAGATE_OK)
        return result;
    request->operation = operations[message->code];
    if (len == 0)
        target[len++] = '/';
    request->target = slice_of(target, len);
    return SAGATE_OK;
}

int coap_write_answer(const struct coap_message *message, const struct procedure_answer *answer, struct slice id,
                      uint8_t out[COAP_ANSWER_MAX])
{
    static const enum onem2m_operation operations[] = {ONEM2M_RETRIEVE, ONEM2M_RETRIEVE, ONEM2M_CREATE, ONEM2M_UPDATE,
                                                       ONEM2M_DELETE};
    size_t method = message->code < sizeof operations / sizeof *operations ? message->code : 0;
    struct coap_list list = {0};
    struct coap_writer writer;
    struct slice content = slice_text(answer->content);
    enum coap_type type = message->type == COAP_CON ? COAP_ACK : COAP_NON;
    coap_begin(&writer, out, COAP_ANSWER_MAX, type, onem2m_rsc_coap((int)answer->rsc, operations[method]), message->mid,
               &message->token);
    coap_list_add_uint(&list, number_of(ONEM2M_RSC), (uint32_t)answer->rsc);
    if (id.len > 0)
        coap_list_add(&list, number_of(ONEM2M_RQI), id);
    if (answer->rsc == RSC_CREATED)
        coap_list_add(&list, COAP_LOCATION_PATH, slice_text(answer->id));
    if (content.len > 0)
        coap_list_add_uint(&list, COAP_CONTENT_FORMAT, FORMAT_JSON);
    coap_list_write(&list, &writer);
    coap_add_payload(&writer, content);
    return coap_end(&writer);
}
