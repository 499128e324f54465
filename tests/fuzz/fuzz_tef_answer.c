// Fuzz target: what TEFs answer. The first byte chooses the kind of answer and the encoding; what is taken keeps its
// bounds, and what is refused leaves nothing of a key behind.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "common/error.h"
#include "controlplane/tef/answer.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void inspect(int rc, const char *why, const struct tef_key *key)
{
    static const struct tef_key nothing;
    if (rc != SAGATE_OK) {
        if (memcmp(key->key, nothing.key, sizeof key->key) != 0 || why == NULL ||
            (rc == SAGATE_EMALFORMED && why[0] == '\0'))
            abort();
        return;
    }
    if (key->key_len > TEF_KEY_MAX || key->target_count > TEF_TARGETS_MAX || strlen(key->source_id) > TEF_ID_MAX ||
        key->expires_at < 0 || (key->suid != 0 && (key->suid < 10 || key->suid > 99)) ||
        (key->relative_key_id[0] != '\0' && !tef_relative_key_id_ok(slice_text(key->relative_key_id))))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct tef_key key;
    struct tef_registration registration;
    const char *why = NULL;
    if (len < 1)
        return 0;
    struct tef_profile profile = *tef_profile_default((data[0] & 1) != 0 ? TEF_MEF : TEF_MAF);
    profile.encoding = (enum tef_encoding)(data[0] >> 1 & 3) % 3;
    struct slice body = slice_of(data + 1, len - 1);
    int rc = tef_parse_key(&profile, body, &key, &why);
    inspect(rc, why, &key);
    rc = tef_parse_credentials(&profile, body, 1700000000, &key, &why);
    inspect(rc, why, &key);
    rc = tef_parse_registration(&profile, body, &registration, &why);
    if (strlen(registration.id) > TEF_ID_MAX || (rc != SAGATE_OK && registration.id[0] != '\0'))
        abort();
    int64_t seconds;
    if (tef_parse_time(body, &seconds) == SAGATE_OK) {
        char text[16];
        tef_format_time(seconds, text);
    }
    tef_key_wipe(&key);
    return 0;
}
