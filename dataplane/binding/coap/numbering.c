// The option tables.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/binding/coap/numbering.h"

#include "common/error.h"

const struct numbering_row numbering_rows[NUMBERING_OPTIONS] = {
    // Timestamps are accepted with fewer digits than the 15 of the table; some senders leave seconds out.
    [ONEM2M_FR] = {.number = {279, 256}, .max = 255},
    [ONEM2M_RQI] = {.number = {283, 257}, .max = 255},
    [ONEM2M_NM] = {.number = {0, 258}, .max = 255},
    [ONEM2M_OT] = {.number = {259, 259}, .min = 1, .max = 15, .timestamp = true},
    [ONEM2M_RQET] = {.number = {291, 260}, .min = 1, .max = 15, .timestamp = true},
    [ONEM2M_RSET] = {.number = {295, 261}, .min = 1, .max = 15, .timestamp = true},
    [ONEM2M_OET] = {.number = {299, 262}, .min = 1, .max = 15, .timestamp = true},
    [ONEM2M_RTURI] = {.number = {263, 263}, .max = 255},
    [ONEM2M_EC] = {.number = {303, 264}, .max = 1, .uint = true},
    [ONEM2M_RSC] = {.number = {307, 265}, .max = 2, .uint = true},
    [ONEM2M_GID] = {.number = {311, 266}, .max = 255},
    [ONEM2M_TY] = {.number = {267, 267}, .max = 2, .uint = true},
    [ONEM2M_CTO] = {.number = {319, 268}, .max = 2, .uint = true},
    [ONEM2M_CTS] = {.number = {323, 269}, .max = 2, .uint = true},
    [ONEM2M_ATI] = {.number = {327, 270}, .max = 255},
    [ONEM2M_RVI] = {.number = {271, 0}, .min = 1, .max = 2, .informative = true},
    [ONEM2M_ASRI] = {.number = {275, 0}, .max = 255},
    [ONEM2M_VSI] = {.number = {331, 0}, .max = 255, .informative = true},
    [ONEM2M_GTM] = {.number = {335, 0}, .max = 512},
    [ONEM2M_AUS] = {.number = {339, 0}, .max = 255},
    [ONEM2M_OMR] = {.number = {343, 0}, .max = 255},
    [ONEM2M_PRPI] = {.number = {347, 0}, .max = 255},
    [ONEM2M_MSU] = {.number = {351, 0}, .max = 255},
};

static const struct standard_option standard_options[] = {
    {.number = COAP_IF_MATCH, .max = 8, .repeatable = true, .request = true},
    {.number = COAP_URI_HOST, .min = 1, .max = 255},
    {.number = COAP_ETAG, .min = 1, .max = 8, .repeatable = true, .request = true, .response = true},
    {.number = COAP_IF_NONE_MATCH, .request = true},
    {.number = COAP_OBSERVE, .max = 3, .request = true, .response = true},
    {.number = COAP_URI_PORT, .max = 2},
    {.number = COAP_LOCATION_PATH, .max = 255, .repeatable = true, .response = true},
    {.number = COAP_URI_PATH, .max = 255, .repeatable = true, .request = true},
    {.number = COAP_CONTENT_FORMAT, .max = 2, .request = true, .response = true},
    {.number = COAP_MAX_AGE, .max = 4, .response = true},
    {.number = COAP_URI_QUERY, .max = 255, .repeatable = true, .request = true},
    {.number = COAP_ACCEPT, .max = 2, .request = true},
    {.number = COAP_LOCATION_QUERY, .max = 255, .repeatable = true, .response = true},
    {.number = COAP_BLOCK2, .max = 3, .request = true, .response = true},
    {.number = COAP_BLOCK1, .max = 3, .request = true, .response = true},
    {.number = COAP_SIZE2, .max = 4, .request = true, .response = true},
    {.number = COAP_SIZE1, .max = 4, .request = true, .response = true},
    {.number = COAP_ECHO, .min = 1, .max = 40, .request = true, .response = true},
    {.number = COAP_REQUEST_TAG, .max = 8, .repeatable = true, .request = true},
};

int numbering_find(enum numbering numbering, uint16_t number)
{
    if (number < 256 || number > 351)
        return -1;
    for (int row = 0; row < NUMBERING_OPTIONS; row++) {
        if (numbering_rows[row].number[numbering] == number)
            return row;
    }
    return -1;
}

bool numbering_is_onem2m(uint16_t number)
{
    return numbering_find(NUMBERING_CURRENT, number) >= 0 || numbering_find(NUMBERING_OLD, number) >= 0;
}

int numbering_of(const struct coap_message *message, enum config_numbering spoken, enum numbering *numbering)
{
    unsigned identity[2] = {0};
    unsigned only[2] = {0};
    for (size_t i = 0; i < message->option_count; i++) {
        uint16_t number = message->options[i].number;
        int current = numbering_find(NUMBERING_CURRENT, number);
        int old = numbering_find(NUMBERING_OLD, number);
        identity[NUMBERING_CURRENT] += current == ONEM2M_FR || current == ONEM2M_RQI;
        identity[NUMBERING_OLD] += old == ONEM2M_FR || old == ONEM2M_RQI;
        only[NUMBERING_CURRENT] += current >= 0 && old < 0;
        only[NUMBERING_OLD] += old >= 0 && current < 0;
    }
    if (identity[NUMBERING_CURRENT] > 0 && identity[NUMBERING_OLD] > 0)
        return SAGATE_EMALFORMED;
    *numbering = NUMBERING_CURRENT;
    if (spoken == CONFIG_NUMBERING_OLD)
        *numbering = NUMBERING_OLD;
    if (spoken == CONFIG_NUMBERING_BOTH && identity[NUMBERING_CURRENT] == 0 &&
        (identity[NUMBERING_OLD] > 0 || (only[NUMBERING_OLD] > 0 && only[NUMBERING_CURRENT] == 0)))
        *numbering = NUMBERING_OLD;
    return SAGATE_OK;
}

const struct standard_option *numbering_standard(uint16_t number)
{
    for (size_t i = 0; i < sizeof standard_options / sizeof *standard_options; i++) {
        if (standard_options[i].number == number)
            return &standard_options[i];
    }
    return NULL;
}
