// The row of a response status code in sagate_primitives_total.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/stats.h"

enum stats_rsc_row stats_rsc_row(int rsc)
{
    switch (rsc) {
#define X(code) \
    case code:  \
        return STATS_RSC_##code;
        SAGATE_STATS_RSC(X)
#undef X
    default:
        return STATS_RSC_OTHER;
    }
}
