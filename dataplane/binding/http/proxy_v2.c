// The PROXY protocol header, version 2.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/binding/http/proxy_v2.h"

#include "common/error.h"

enum { FIXED = 16, TCP4 = 0x11, TCP6 = 0x21, TCP4_LEN = 12, TCP6_LEN = 36, TLV_HEAD = 3 };

static size_t put_tlv(uint8_t *out, uint8_t type, struct slice value)
{
    if (value.len == 0)
        return 0;
    out[0] = type;
    out[1] = (uint8_t)(value.len >> 8);
    out[2] = (uint8_t)value.len;
    memcpy(out + TLV_HEAD, value.data, value.len);
    return TLV_HEAD + value.len;
}

int proxy_v2_write(uint8_t *out, size_t cap, const struct address *peer, const struct address *local,
                   struct slice originator, struct slice credential_id)
{
    static const uint8_t signature[12] = {0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A};
    bool v4 = peer->len > 0 && peer->any.sa_family == AF_INET;
    if (peer->len == 0 || (!v4 && peer->any.sa_family != AF_INET6))
        return SAGATE_EINVAL;
    size_t addresses = v4 ? TCP4_LEN : TCP6_LEN;
    if (originator.len > UINT16_MAX / 4 || credential_id.len > UINT16_MAX / 4 ||
        FIXED + addresses + 2UL * TLV_HEAD + originator.len + credential_id.len > cap)
        return SAGATE_ETOOBIG;
    memcpy(out, signature, sizeof signature);
    out[12] = 0x21; // version 2, PROXY
    out[13] = v4 ? TCP4 : TCP6;
    uint8_t *at = out + FIXED;
    memset(at, 0, addresses);
    bool local_known = local->len > 0 && local->any.sa_family == peer->any.sa_family;
    if (v4) {
        memcpy(at, &peer->v4.sin_addr, 4);
        memcpy(at + 8, &peer->v4.sin_port, 2);
        if (local_known) {
            memcpy(at + 4, &local->v4.sin_addr, 4);
            memcpy(at + 10, &local->v4.sin_port, 2);
        }
    } else {
        memcpy(at, &peer->v6.sin6_addr, 16);
        memcpy(at + 32, &peer->v6.sin6_port, 2);
        if (local_known) {
            memcpy(at + 16, &local->v6.sin6_addr, 16);
            memcpy(at + 34, &local->v6.sin6_port, 2);
        }
    }
    at += addresses;
    at += put_tlv(at, PROXY_V2_ORIGINATOR, originator);
    at += put_tlv(at, PROXY_V2_CREDENTIAL_ID, credential_id);
    size_t len = (size_t)(at - out);
    out[14] = (uint8_t)((len - FIXED) >> 8);
    out[15] = (uint8_t)(len - FIXED);
    return (int)len;
}
