// The names that a TEF is spoken to with where the configuration says nothing.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/tef/profile.h"

// The members are writable strings since a configuration owns its own; nobody writes to these.
static char slash[] = "/", maf_root[] = "sec:mafClientReg", mef_root[] = "sec:mefClientReg",
            key_root[] = "sec:symmKeyReg", et[] = "et", lbl[] = "lbl", admin[] = "adminFQDN", suid[] = "SUID",
            targets[] = "targetIDs", source[] = "sourceID", value[] = "keyValue", relative[] = "relativeKeyID",
            ri[] = "ri";

#define PROFILE(root)                                                                                                 \
    {                                                                                                                 \
        .registration_path = slash, .key_path = slash, .registration_type = 1, .key_type = 2,                         \
        .registration_root = (root), .key_root = key_root, .expiration_time = et, .labels = lbl, .admin_fqdn = admin, \
        .suid = suid, .target_ids = targets, .source_id = source, .key_value = value, .relative_key_id = relative,    \
        .resource_id = ri, .encoding = TEF_ENCODING_AUTO, .method = TEF_METHOD_KEY_RETRIEVAL,                         \
        .coap_numbering = TEF_NUMBERING_CURRENT                                                                       \
    }

static const struct tef_profile maf_profile = PROFILE(maf_root), mef_profile = PROFILE(mef_root);

const struct tef_profile *tef_profile_default(enum tef_kind kind)
{
    return kind == TEF_MAF ? &maf_profile : &mef_profile;
}
