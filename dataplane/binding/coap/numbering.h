// The oneM2M options of CoAP in their two numberings, and which standard options travel (TS-0008 table 6.2.2.4.0-1).
// SPDX-License-Identifier: GPL-3.0-or-later
#ifndef SAGATE_DATAPLANE_BINDING_COAP_NUMBERING_H
#define SAGATE_DATAPLANE_BINDING_COAP_NUMBERING_H

#include "controlplane/config/config.h"
#include "dataplane/binding/coap/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Current: TS-0008 V2.6 and later (FR 279, RQI 283). Old: Releases 1 and 2 (FR 256, RQI 257).
enum numbering { NUMBERING_CURRENT, NUMBERING_OLD };

// In the order of their current numbers, so that options that are added one after the other need no sorting.
enum numbering_option {
    ONEM2M_OT,
    ONEM2M_RTURI,
    ONEM2M_TY,
    ONEM2M_RVI,
    ONEM2M_ASRI,
    ONEM2M_FR,
    ONEM2M_RQI,
    ONEM2M_RQET,
    ONEM2M_RSET,
    ONEM2M_OET,
    ONEM2M_EC,
    ONEM2M_RSC,
    ONEM2M_GID,
    ONEM2M_CTO,
    ONEM2M_CTS,
    ONEM2M_ATI,
    ONEM2M_VSI,
    ONEM2M_GTM,
    ONEM2M_AUS,
    ONEM2M_OMR,
    ONEM2M_PRPI,
    ONEM2M_MSU,
    ONEM2M_NM,
    NUMBERING_OPTIONS
};

struct numbering_row {
    uint16_t number[2]; // by enum numbering; 0: this numbering has none
    uint16_t min, max;  // length of the value in bytes
    bool uint;
    bool timestamp;   // seconds; a CSE's fraction is cut off towards a device
    bool informative; // a request may lose it when the other side's numbering has no number for it
};

extern const struct numbering_row numbering_rows[NUMBERING_OPTIONS];

enum { NUMBERING_FIRST = 256, NUMBERING_LAST = 351, NUMBERING_NUMBERS = NUMBERING_LAST - NUMBERING_FIRST + 1 };

// Row + 1 of each number from NUMBERING_FIRST on, 0: none. What is behind the last number is of no meaning.
extern const uint8_t numbering_by_number[2][NUMBERING_NUMBERS + NUMBERING_OPTIONS];

// Which row a number has in a numbering, or -1.
static inline int numbering_find(enum numbering numbering, uint16_t number)
{
    if (number < NUMBERING_FIRST || number > NUMBERING_LAST)
        return -1;
    return numbering_by_number[numbering][number - NUMBERING_FIRST] - 1;
}

// True when either numbering has the number: such a number never passes untranslated.
bool numbering_is_onem2m(uint16_t number);

// Which numbering a device's message is in. 259 (OT), 263 (RTURI) and 267 (TY) stand in both with one meaning, so FR
// and RQI decide; without them any other number that only one numbering has; without such `spoken`'s own (both:
// current). A listener that speaks one numbering always reads in that one.
// SAGATE_OK, or SAGATE_EMALFORMED: FR or RQI of both numberings in one message, whatever the listener speaks.
int numbering_of(const struct coap_message *message, enum config_numbering spoken, enum numbering *numbering);

// A standard option: where it may travel, and its length.
struct standard_option {
    uint16_t number;
    uint16_t min, max;
    bool repeatable;
    bool request, response; // passes in that direction
    bool uint;
};

extern const struct standard_option numbering_standard_options[COAP_REQUEST_TAG + 1]; // by number; unknown: number 0

// NULL for a number that is not known. Options that are known and pass nowhere (Uri-Host …) end here.
static inline const struct standard_option *numbering_standard(uint16_t number)
{
    if (number > COAP_REQUEST_TAG || numbering_standard_options[number].number == 0)
        return NULL;
    return &numbering_standard_options[number];
}

// sagate's own options towards a CSE (elective, safe to forward, not part of the cache key; experimental range).
enum { COAP_SAGATE_ORIGINATOR = 65020, COAP_SAGATE_CREDENTIAL_ID = 65052, COAP_SAGATE_PEER = 65084 };
static inline bool numbering_is_identity(uint16_t number)
{
    return number == COAP_SAGATE_ORIGINATOR || number == COAP_SAGATE_CREDENTIAL_ID || number == COAP_SAGATE_PEER;
}

#endif
