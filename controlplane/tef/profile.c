// The names that a TEF is spoken to with where the configuration says nothing.
// SPDX-License-Identifier: GPL-3.0-or-later
#include "controlplane/tef/profile.h"

// Arrays, since the members of a profile are not const: those of a configuration are its own.
static char root_path[] = "/", maf_registration[] = "sec:mafClientReg", mef_registration[] = "sec:mefClientReg",
            key_registration[] = "sec:symmKeyReg", expiration_time[] = "et", labels[] = "lbl",
            admin_fqdn[] = "adminFQDN", suid[] = "SUID", target_ids[] = "targetIDs", source_id[] = "sourceID",
            key_value[] = "keyValue", relative_key_id[] = "relativeKeyID", resource_id[] = "ri";

// `registration`: the root member of the resource of a registration.
#define PROFILE(registration)                                                                                       \
    {                                                                                                               \
        .registration_path = root_path, .key_path = root_path, .registration_type = 1, .key_type = 2,               \
        .registration_root = (registration), .key_root = key_registration, .expiration_time = expiration_time,      \
        .labels = labels, .admin_fqdn = admin_fqdn, .suid = suid, .target_ids = target_ids, .source_id = source_id, \
        .key_value = key_value, .relative_key_id = relative_key_id, .resource_id = resource_id,                     \
        .encoding = TEF_ENCODING_AUTO, .method = TEF_METHOD_KEY_RETRIEVAL                                           \
    }

const struct tef_profile *tef_profile_default(enum tef_kind kind)
{
    static const struct tef_profile maf = PROFILE(maf_registration), mef = PROFILE(mef_registration);
    return kind == TEF_MAF ? &maf : &mef;
}
