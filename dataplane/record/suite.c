// The library's bulk ciphers by key and tag.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "dataplane/record/suite.h"

enum aead suite_aead(WOLFSSL *ssl)
{
    int key = wolfSSL_GetKeySize(ssl);
    int tag = wolfSSL_GetAeadMacSize(ssl);
    switch (wolfSSL_GetBulkCipher(ssl)) {
    case wolfssl_aes_gcm:
        return key == 16 ? AEAD_AES_128_GCM : key == 32 ? AEAD_AES_256_GCM : AEAD_NONE;
    case wolfssl_aes_ccm:
        if (key != 16)
            return AEAD_NONE;
        return tag == 16 ? AEAD_AES_128_CCM : tag == 8 ? AEAD_AES_128_CCM_8 : AEAD_NONE;
    case wolfssl_chacha:
        return key == 32 ? AEAD_CHACHA20_POLY1305 : AEAD_NONE;
    default:
        return AEAD_NONE;
    }
}
