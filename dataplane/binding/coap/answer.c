// Answers to devices.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/binding/coap/answer.h"

#include "common/error.h"

#include <stdio.h>

enum { JSON_FORMAT = 50, TIMESTAMP_SECONDS = 15, TIMESTAMP_FRACTION = 22 };

static void reset(struct answer *answer, uint8_t code)
{
    answer->code = code;
    answer->options.count = 0;
    answer->options.full = false;
    answer->options.scratch_len = 0;
    answer->payload = (struct slice){0};
}

static void add_row(struct answer *answer, const struct answer_echo *echo, int row, struct slice value)
{
    uint16_t number = numbering_rows[row].number[echo->numbering];
    if (number == 0 || value.data == NULL)
        return;
    if (numbering_rows[row].uint)
        coap_list_add_uint_value(&answer->options, number, value);
    else
        coap_list_add(&answer->options, number, value);
}

static void add_echo(struct answer *answer, const struct answer_echo *echo)
{
    uint16_t number = numbering_rows[ONEM2M_RSC].number[echo->numbering];
    add_row(answer, echo, ONEM2M_RQI, echo->request_id);
    if (answer->rsc != 0)
        coap_list_add_uint(&answer->options, number, (uint32_t)answer->rsc);
}

int answer_rsc_of_code(uint8_t code, enum onem2m_operation operation)
{
    switch (code) {
    case COAP_CONTINUE:
        return 0;
    case COAP_CREATED:
        return RSC_CREATED;
    case COAP_DELETED:
        return RSC_DELETED;
    case COAP_CHANGED:
        return operation == ONEM2M_UPDATE ? RSC_UPDATED : RSC_OK;
    case COAP_CODE(4, 1):
    case COAP_CODE(4, 3):
        return RSC_ORIGINATOR_HAS_NO_PRIVILEGE;
    case COAP_CODE(4, 4):
        return RSC_NOT_FOUND;
    case COAP_METHOD_NOT_ALLOWED:
        return RSC_OPERATION_NOT_ALLOWED;
    case COAP_CODE(4, 15):
        return RSC_UNSUPPORTED_MEDIA_TYPE;
    case COAP_CODE(5, 1):
        return RSC_NOT_IMPLEMENTED;
    case COAP_UNAVAILABLE:
        return RSC_TARGET_NOT_REACHABLE;
    case COAP_GATEWAY_TIMEOUT:
        return RSC_REQUEST_TIMEOUT;
    default:
        break;
    }
    if (coap_class(code) == 2)
        return RSC_OK;
    return coap_class(code) == 4 ? RSC_BAD_REQUEST : RSC_INTERNAL_SERVER_ERROR;
}

// One oneM2M option of the CSE's. False: unusable.
static bool translate_row(int row, struct slice value, const struct answer_echo *echo, struct slice seen[],
                          struct answer *answer)
{
    const struct numbering_row *entry = &numbering_rows[row];
    if (seen[row].data != NULL)
        return false;
    // A fraction of a second does not fit the option (TS-0008 table 6.2.2.4.0-1), yet CSEs send it.
    if (entry->timestamp && value.len > TIMESTAMP_SECONDS && value.len <= TIMESTAMP_FRACTION)
        value.len = TIMESTAMP_SECONDS;
    if (value.len < entry->min || value.len > entry->max)
        return false;
    seen[row] = value;
    if (row == ONEM2M_RSC)
        answer->rsc = (int)coap_uint(value);
    else if (row != ONEM2M_RQI)
        add_row(answer, echo, row, value);
    return true;
}

// Any other option of the CSE's. False: it is critical and not known in an answer.
static bool translate_other(const struct coap_message *message, size_t index, struct answer *answer)
{
    const struct coap_option *option = &message->options[index];
    const struct standard_option *standard = numbering_standard(option->number);
    bool again = index > 0 && message->options[index - 1].number == option->number;
    if (standard != NULL && standard->response && option->value.len >= standard->min &&
        option->value.len <= standard->max && (standard->repeatable || !again)) {
        if (standard->uint)
            coap_list_add_uint_value(&answer->options, option->number, option->value);
        else
            coap_list_add(&answer->options, option->number, option->value);
        return true;
    }
    if (coap_is_critical(option->number))
        return false;
    if (standard == NULL && !coap_is_unsafe(option->number) && !numbering_is_onem2m(option->number) &&
        !numbering_is_identity(option->number))
        coap_list_add(&answer->options, option->number, option->value);
    return true;
}

int answer_translate(const struct coap_message *message, enum numbering from, const struct answer_echo *echo,
                     struct answer *answer)
{
    struct slice seen[NUMBERING_OPTIONS] = {0};
    // 2.31 is a word of the block-wise layer and no primitive: oneM2M's options, which are critical, would only make a
    // client that does not know them refuse it in the middle of its upload.
    bool interim = message->code == COAP_CONTINUE;
    reset(answer, message->code);
    answer->rsc = answer_rsc_of_code(message->code, echo->operation);
    if (message->critical_cut)
        return SAGATE_EMALFORMED;
    for (size_t i = 0; i < message->option_count; i++) {
        int row = numbering_find(from, message->options[i].number);
        if (row >= 0 && interim)
            continue;
        bool usable = row >= 0 ? translate_row(row, message->options[i].value, echo, seen, answer)
                               : translate_other(message, i, answer);
        if (!usable)
            return SAGATE_EMALFORMED;
    }
    answer->payload = message->payload;
    if (interim)
        return SAGATE_OK;
    if (seen[ONEM2M_RVI].data == NULL)
        add_row(answer, echo, ONEM2M_RVI, echo->release_version);
    add_echo(answer, echo);
    return SAGATE_OK;
}

void answer_own(const struct answer_echo *echo, uint8_t code, int rsc, const char *debug, unsigned max_age,
                struct answer *answer)
{
    reset(answer, code != 0 ? code : onem2m_rsc_coap(rsc, echo->operation));
    answer->rsc = rsc;
    coap_list_add_uint(&answer->options, COAP_CONTENT_FORMAT, JSON_FORMAT);
    if (max_age != 0)
        coap_list_add_uint(&answer->options, COAP_MAX_AGE, max_age);
    add_row(answer, echo, ONEM2M_RVI, echo->release_version);
    add_echo(answer, echo);
    int len = snprintf(answer->text, sizeof answer->text, "{\"m2m:dbg\":\"%s\"}", debug);
    answer->payload = slice_of(answer->text, len < 0 || (size_t)len >= sizeof answer->text ? 0 : (size_t)len);
}

int answer_write(struct answer *answer, enum coap_type type, uint16_t mid, const struct coap_token *token, uint8_t *out,
                 size_t cap)
{
    struct coap_writer writer;
    coap_begin(&writer, out, cap, type, answer->code, mid, token);
    coap_list_write(&answer->options, &writer);
    coap_add_payload(&writer, answer->payload);
    return coap_end(&writer);
}
