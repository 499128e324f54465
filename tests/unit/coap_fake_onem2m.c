// Stand-in for the code table while the CoAP tests link without common/onem2m.c; weak, so that the real one wins.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/onem2m.h"

__attribute__((weak)) uint8_t onem2m_rsc_coap(int rsc, enum onem2m_operation operation)
{
    (void)operation;
    switch (rsc) {
    case RSC_ORIGINATOR_NOT_AUTHENTICATED:
    case RSC_SECURITY_ASSOCIATION_REQUIRED:
        return 4 << 5 | 3;
    default:
        return (uint8_t)(rsc / 1000 == 5 ? 5 << 5 : 4 << 5);
    }
}
