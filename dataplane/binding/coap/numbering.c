// The option tables.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/binding/coap/numbering.h"

#include "common/error.h"

// Row, current number, old number (0: none), and the rest of the row.
// Timestamps are accepted with fewer digits than the 15 of the table; some senders leave seconds out.
#define ROWS(X)                                                      \
    X(ONEM2M_FR, 279, 256, .max = 255)                               \
    X(ONEM2M_RQI, 283, 257, .max = 255)                              \
    X(ONEM2M_NM, 0, 258, .max = 255)                                 \
    X(ONEM2M_OT, 259, 259, .min = 1, .max = 15, .timestamp = true)   \
    X(ONEM2M_RQET, 291, 260, .min = 1, .max = 15, .timestamp = true) \
    X(ONEM2M_RSET, 295, 261, .min = 1, .max = 15, .timestamp = true) \
    X(ONEM2M_OET, 299, 262, .min = 1, .max = 15, .timestamp = true)  \
    X(ONEM2M_RTURI, 263, 263, .max = 255)                            \
    X(ONEM2M_EC, 303, 264, .max = 1, .uint = true)                   \
    X(ONEM2M_RSC, 307, 265, .max = 2, .uint = true)                  \
    X(ONEM2M_GID, 311, 266, .max = 255)                              \
    X(ONEM2M_TY, 267, 267, .max = 2, .uint = true)                   \
    X(ONEM2M_CTO, 319, 268, .max = 2, .uint = true)                  \
    X(ONEM2M_CTS, 323, 269, .max = 2, .uint = true)                  \
    X(ONEM2M_ATI, 327, 270, .max = 255)                              \
    X(ONEM2M_RVI, 271, 0, .min = 1, .max = 2, .informative = true)   \
    X(ONEM2M_ASRI, 275, 0, .max = 255)                               \
    X(ONEM2M_VSI, 331, 0, .max = 255, .informative = true)           \
    X(ONEM2M_GTM, 335, 0, .max = 512)                                \
    X(ONEM2M_AUS, 339, 0, .max = 255)                                \
    X(ONEM2M_OMR, 343, 0, .max = 255)                                \
    X(ONEM2M_PRPI, 347, 0, .max = 255)                               \
    X(ONEM2M_MSU, 351, 0, .max = 255)

#define ROW(row, current, old, ...) [row] = {.number = {current, old}, __VA_ARGS__},
const struct numbering_row numbering_rows[NUMBERING_OPTIONS] = {ROWS(ROW)};

// Rows without a number stand behind the last one, where nobody looks.
#define PLACE(row, number)                 [(number) == 0 ? NUMBERING_NUMBERS + (row) : (number)-NUMBERING_FIRST] = (row) + 1,
#define BY_CURRENT(row, current, old, ...) PLACE(row, current)
#define BY_OLD(row, current, old, ...)     PLACE(row, old)
const uint8_t numbering_by_number[2][NUMBERING_NUMBERS + NUMBERING_OPTIONS] = {
    [NUMBERING_CURRENT] = {ROWS(BY_CURRENT)},
    [NUMBERING_OLD] = {ROWS(BY_OLD)},
};

const struct standard_option numbering_standard_options[COAP_REQUEST_TAG + 1] = {
    [COAP_IF_MATCH] = {.number = COAP_IF_MATCH, .max = 8, .repeatable = true, .request = true},
    [COAP_URI_HOST] = {.number = COAP_URI_HOST, .min = 1, .max = 255},
    [COAP_ETAG] = {.number = COAP_ETAG, .min = 1, .max = 8, .repeatable = true, .request = true, .response = true},
    [COAP_IF_NONE_MATCH] = {.number = COAP_IF_NONE_MATCH, .request = true},
    [COAP_OBSERVE] = {.number = COAP_OBSERVE, .max = 3, .request = true, .response = true, .uint = true},
    [COAP_URI_PORT] = {.number = COAP_URI_PORT, .max = 2},
    [COAP_LOCATION_PATH] = {.number = COAP_LOCATION_PATH, .max = 255, .repeatable = true, .response = true},
    [COAP_URI_PATH] = {.number = COAP_URI_PATH, .max = 255, .repeatable = true, .request = true},
    [COAP_CONTENT_FORMAT] = {.number = COAP_CONTENT_FORMAT, .max = 2, .request = true, .response = true, .uint = true},
    [COAP_MAX_AGE] = {.number = COAP_MAX_AGE, .max = 4, .response = true, .uint = true},
    [COAP_URI_QUERY] = {.number = COAP_URI_QUERY, .max = 255, .repeatable = true, .request = true},
    [COAP_ACCEPT] = {.number = COAP_ACCEPT, .max = 2, .request = true, .uint = true},
    [COAP_LOCATION_QUERY] = {.number = COAP_LOCATION_QUERY, .max = 255, .repeatable = true, .response = true},
    [COAP_BLOCK2] = {.number = COAP_BLOCK2, .max = 3, .request = true, .response = true, .uint = true},
    [COAP_BLOCK1] = {.number = COAP_BLOCK1, .max = 3, .request = true, .response = true, .uint = true},
    [COAP_SIZE2] = {.number = COAP_SIZE2, .max = 4, .request = true, .response = true, .uint = true},
    [COAP_SIZE1] = {.number = COAP_SIZE1, .max = 4, .request = true, .response = true, .uint = true},
    [COAP_ECHO] = {.number = COAP_ECHO, .min = 1, .max = 40, .request = true, .response = true},
    [COAP_REQUEST_TAG] = {.number = COAP_REQUEST_TAG, .max = 8, .repeatable = true, .request = true},
};

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
        if (number < NUMBERING_FIRST || number > NUMBERING_LAST)
            continue;
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
